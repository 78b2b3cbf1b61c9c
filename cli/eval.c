/* stpn eval: a run's parameters on its test and validation sets. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/stop.h"
#include "train/hardware.h"
#include "train/summary.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXAMPLES = 8, THREADS_MOST = 256, ITERATIONS_MOST = 1000000 };

/* A sequence, the answer to it and the right one, as the task writes them. */
static json_t *example(const task_type *task, const task_split *split, int index, int32_t answer)
{
    char sequence[512];
    int length = split->lengths ? split->lengths[index] : split->steps;
    int shown = length < (int)sizeof sequence - 1 ? length : (int)sizeof sequence - 1;
    for (int t = 0; t < shown; t++)
        sequence[t] = task->symbol(split->tokens[(size_t)index * (size_t)split->steps + (size_t)t]);
    char got = task->symbol(answer), expected = task->symbol(split->labels[index]);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "sequence", json_stringn(sequence, (size_t)shown));
    failed |= json_object_set_new(object, "answer", json_stringn(&got, 1));
    failed |= json_object_set_new(object, "expected", json_stringn(&expected, 1));
    failed |= json_object_set_new(object, "right", json_boolean(answer == split->labels[index]));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* The first sequences of the test set: taken as they come, not chosen. */
static stpn_status examples_of(run *r, int count, json_t **list, stpn_error *error)
{
    task_split first = r->data.test;
    if (first.count > count) first.count = count;
    *list = json_array();
    if (first.count == 0 || !r->experiment.task->symbol || r->experiment.shape.per_step) return STPN_OK;
    evaluation unused;
    int32_t *answers = memory_zeroed((size_t)first.count, sizeof *answers);
    int failed = !answers || !*list;
    stpn_status status = failed ? STPN_OK : supervised_evaluate(r->learner, &first, &unused, NULL, answers, error);
    for (int i = 0; i < first.count && !failed && !status; i++)
        failed = json_array_append_new(*list, example(r->experiment.task, &first, i, answers[i]));
    memory_free(answers);
    if (!failed && !status) return STPN_OK;
    json_decref(*list);
    *list = NULL;
    if (failed) snprintf(error->message, sizeof error->message, "out of memory");
    return failed ? STPN_ERROR_MEMORY : status;
}

static int print_text(const json_t *document)
{
    int colour = shows_colour(STDOUT_FILENO);
    printf("%s: %s, %s parameters, kernel %s\n", json_string_value(json_object_get(document, "run")),
           json_string_value(json_object_get(document, "name")),
           json_string_value(json_object_get(document, "parameters")),
           json_string_value(json_object_get(json_object_get(document, "machine"), "kernel")));
    print_measures_heading(json_object_get(document, "test"));
    print_measures("test", json_object_get(document, "test"));
    print_measures("validation", json_object_get(document, "validation"));
    print_probes(json_object_get(document, "probes"));
    const json_t *hardware = json_object_get(document, "hardware");
    printf("\n%.4g pJ a step by the table %s\n", json_number_value(json_object_get(hardware, "picojoules")),
           json_string_value(json_object_get(hardware, "table")));
    const json_t *list = json_object_get(document, "examples");
    size_t count = json_array_size(list);
    if (count) printf("\nthe first of the test set:\n");
    for (size_t i = 0; i < count; i++) {
        const json_t *e = json_array_get(list, i);
        int right = json_is_true(json_object_get(e, "right"));
        printf("  %s -> %s   %s%s%s", json_string_value(json_object_get(e, "sequence")),
               json_string_value(json_object_get(e, "answer")), colour ? right ? "\033[32m" : "\033[31m" : "",
               right ? "right" : "wrong", colour ? "\033[0m" : "");
        if (!right) printf(", it is %s", json_string_value(json_object_get(e, "expected")));
        printf("\n");
    }
    return EXIT_DONE;
}

static stpn_status evaluate(run *r, const char *folder, int best, int examples, const hardware_table *table,
                            json_t **document, stpn_error *error)
{
    unit_operations count = hardware_operations(r->net);
    json_t *test = NULL, *validation = NULL, *probes = NULL, *list = NULL;
    *document = NULL;
    stpn_status status = summary_of_split(r, &r->data.test, &test, error);
    if (!status) status = summary_of_split(r, &r->data.validation, &validation, error);
    if (!status) status = summary_of_probes(r, &probes, error);
    if (!status) status = examples_of(r, examples, &list, error);
    if (status) {
        json_decref(test);
        json_decref(validation);
        json_decref(probes);
        return status;
    }
    json_t *root = json_object();
    /* A folder's name need not be UTF-8, as a JSON string must. */
    json_t *name = json_string(folder);
    int failed = json_object_set_new(root, "run", name ? name : json_string("?"));
    failed |= json_object_set_new(root, "name", json_string(r->experiment.name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)r->experiment.seed));
    failed |= json_object_set_new(root, "parameters", json_string(best ? "best" : "last"));
    failed |= json_object_set_new(root, "test", test);
    failed |= json_object_set_new(root, "validation", validation);
    if (json_array_size(probes) > 0) failed |= json_object_set(root, "probes", probes);
    json_decref(probes);
    failed |= json_object_set_new(root, "hardware", hardware_to_json(&count, table));
    failed |= json_object_set_new(root, "examples", list);
    failed |= json_object_set_new(root, "machine", summary_machine(r));
    if (!failed) {
        *document = root;
        return STPN_OK;
    }
    json_decref(root);
    snprintf(error->message, sizeof error->message, "out of memory");
    return STPN_ERROR_MEMORY;
}

/* ------------------------------------------------------------------------------------------------- environments */

/* A policy by its name, of the environment of the experiment. */
static int find_policy(const char *name, const env_type *type, const env_policy **policy)
{
    const env_policy *known[] = {&env_random, type->oracle};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *policy = known[i];
        if (known[i] && strcmp(known[i]->name, name) == 0) return EXIT_DONE;
    }
    return complain_of_use("eval", "--policy is \"%.100s\", expected random%s%s", name, type->oracle ? " or " : "",
                           type->oracle ? type->oracle->name : "");
}

static json_t *episodes_document(const run *r, const char *name, const summary_test *how, int best,
                                 const hardware_table *table, json_t *test)
{
    unit_operations count = hardware_operations(r->net);
    json_t *root = json_object(), *path = json_string(name);
    int failed = json_object_set_new(root, "run", path ? path : json_string("?"));
    failed |= json_object_set_new(root, "name", json_string(r->experiment.name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)r->experiment.seed));
    if (how->policy) failed |= json_object_set_new(root, "policy", json_string(how->policy->name));
    else failed |= json_object_set_new(root, "parameters", json_string(best ? "best" : "last"));
    if (!how->policy)
        failed |= json_object_set_new(
            root, "actions", json_string(how->greedy || r->experiment.train.test_greedy ? "greedy" : "sampled"));
    failed |= json_object_set_new(root, "test", test);
    if (!how->policy) failed |= json_object_set_new(root, "hardware", hardware_to_json(&count, table));
    failed |= json_object_set_new(root, "machine", summary_machine(r));
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

static void print_episodes(const json_t *document)
{
    const char *policy = json_string_value(json_object_get(document, "policy"));
    const json_t *hardware = json_object_get(document, "hardware");
    printf("%s: %s, ", json_string_value(json_object_get(document, "run")),
           json_string_value(json_object_get(document, "name")));
    if (policy) printf("policy %s\n", policy);
    else
        printf("%s parameters, %s actions, kernel %s\n", json_string_value(json_object_get(document, "parameters")),
               json_string_value(json_object_get(document, "actions")),
               json_string_value(json_object_get(json_object_get(document, "machine"), "kernel")));
    print_measures_heading(json_object_get(document, "test"));
    print_measures("test", json_object_get(document, "test"));
    if (hardware)
        printf("\n%.4g pJ a step by the table %s\n", json_number_value(json_object_get(hardware, "picojoules")),
               json_string_value(json_object_get(hardware, "table")));
}

static int evaluate_episodes(const arguments *a, const run *r, const char *name, const summary_test *how, int best,
                             const hardware_table *table)
{
    stpn_error error;
    json_t *test;
    catch_signals();
    stpn_status status = summary_of_episodes(r, how, &test, &error);
    if (status) return complain(status, &error);
    json_t *document = episodes_document(r, name, how, best, table, test);
    if (arguments_have(a, "--json")) return print_json(document);
    if (!document) return complain_of_memory();
    print_episodes(document);
    json_decref(document);
    return EXIT_DONE;
}

/* A run, or with a policy an experiment too, which needs no parameters. */
static stpn_status open_operand(run *r, const char *name, int policy, int best, int threads, stpn_error *error)
{
    experiment e;
    *r = (run){0};
    if (!policy || file_is_folder(name)) return run_open_folder(r, name, best, threads, error);
    stpn_status status = experiment_read(&e, name, NULL, 0, NULL, error);
    return status ? status : run_open(r, &e, threads, NULL, error);
}

/* ------------------------------------------------------------------------------------------------------- command */

static int check_kind(const arguments *a, const run *r, const char *name)
{
    static const char *const of_data[] = {"--examples"}, *const of_env[] = {"--policy", "--greedy", "--iterations"};
    const char *const *wrong = r->experiment.env ? of_data : of_env;
    size_t count = r->experiment.env ? sizeof of_data / sizeof *of_data : sizeof of_env / sizeof *of_env;
    for (size_t i = 0; i < count; i++)
        if (arguments_have(a, wrong[i]))
            return complain_of_use("eval", "%.500s: %s does not apply: %s is %s", name, wrong[i],
                                   r->experiment.env ? r->experiment.env->name : r->experiment.task->name,
                                   r->experiment.env ? "an environment" : "no environment");
    if (arguments_have(a, "--policy") && (arguments_have(a, "--greedy") || arguments_have(a, "--best")))
        return complain_of_use("eval", "--policy excludes --greedy and --best");
    return EXIT_DONE;
}

static int evaluate_run(const arguments *a, run *r, const char *name, int examples, int iterations,
                        const hardware_table *table)
{
    stpn_error error;
    json_t *document = NULL;
    summary_test how = {.greedy = arguments_have(a, "--greedy"), .iterations = iterations, .stop = &stop_asked};
    const char *policy = arguments_value(a, "--policy");
    int best = arguments_have(a, "--best"), code = check_kind(a, r, name);
    if (!code && policy) code = find_policy(policy, r->experiment.env, &how.policy);
    if (code) return code;
    if (r->experiment.env) return evaluate_episodes(a, r, name, &how, best, table);
    stpn_status status = evaluate(r, name, best, examples, table, &document, &error);
    if (status) return complain(status, &error);
    if (arguments_have(a, "--json")) return print_json(document);
    code = print_text(document);
    json_decref(document);
    return code;
}

static int run_eval(const arguments *a)
{
    const char *name = a->operands[0];
    int64_t threads = 0, examples = EXAMPLES, iterations = 0;
    int code = arguments_number(a, "--threads", 0, THREADS_MOST, &threads);
    if (!code) code = arguments_number(a, "--examples", 0, 1000000, &examples);
    if (!code) code = arguments_number(a, "--iterations", 1, ITERATIONS_MOST, &iterations);
    if (code) return code;
    run r;
    stpn_error error;
    hardware_table table;
    stpn_status status = hardware_table_of(a, &table, &error);
    if (status) return complain(status, &error);
    status = open_operand(&r, name, arguments_have(a, "--policy"), arguments_have(a, "--best"), (int)threads, &error);
    code = status ? complain(status, &error) : evaluate_run(a, &r, name, (int)examples, (int)iterations, &table);
    run_close(&r);
    return code;
}

static const argument_option options[] = {
    {"--json", NULL, 0, "prints one JSON document and nothing else"},
    {"--best", NULL, 0, "takes the parameters of the best evaluation in place of the last ones"},
    {"--examples", "N", 0, "shows the answers to the first N test sequences (default 8)"},
    {"--greedy", NULL, 0, "in an environment: takes the most probable actions in place of sampled ones"},
    {"--iterations", "N", 0, "in an environment: episodes of every copy (default train.test_iterations)"},
    {"--policy", "NAME", 0,
     "in an environment: random or oracle in place of the network; RUN may be an experiment file"},
    {"--threads", "N", 0, "number of threads (default 0: one per processor)"},
    {"--energy-table", "FILE", 0, "takes the picojoules of an operation from FILE (docs/energy.md)"},
};

const command command_eval = {
    .table = {"eval", options, sizeof options / sizeof *options, "RUN", 1, 1},
    .summary = "evaluate a run",
    .text =
        "Measures accuracy, loss and energy per step of the folder RUN on its test and validation sets, and shows a\n"
        "few sequences with the answers. In an environment: the mean reward of an episode with its standard error, the "
        "goals\n"
        "reached in one, the steps from a known goal back to it, and the energy per step, on episodes that training "
        "never\n"
        "sees; a policy's are what a network's are held against.\n",
    .run = run_eval,
};
