/* stpn trace: one sequence, step by step, through the network of a run: what its synapses do, and the answer. */
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/trace_record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 3, SHOWN = 40 };

/* ------------------------------------------------------------------------------------------------- the answers of a step */

typedef struct answer {
    int index;
    double value; // a probability; for real targets, the output
} answer;

/* The TOP most probable classes, in order; for a decision the probability of 1; for real targets the first outputs.
 * Returns how many. */
static int answers_of(const trace_record *record, int step, answer list[TOP])
{
    const task_shape *shape = &record->run->experiment.shape;
    int O = shape->outputs, count = 0;
    const float *logits = record->logits + (size_t)step * (size_t)O;
    if (shape->loss == LOSS_BINARY) {
        list[0] = (answer){1, 1 / (1 + exp(-(double)logits[0]))};
        return 1;
    }
    if (shape->loss == LOSS_SQUARED) {
        for (; count < TOP && count < O; count++) list[count] = (answer){count, (double)logits[count]};
        return count;
    }
    float most = logits[0];
    double sum = 0;
    for (int i = 1; i < O; i++) most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < O; i++) sum += exp((double)(logits[i] - most));
    for (int i = 0; i < O; i++) {
        double value = exp((double)(logits[i] - most)) / sum;
        if (count == TOP && value <= list[TOP - 1].value) continue;
        int at = count < TOP ? count++ : TOP - 1;
        for (; at > 0 && list[at - 1].value < value; at--) list[at] = list[at - 1];
        list[at] = (answer){i, value};
    }
    return count;
}

/* A symbol as the task writes it, or its number. */
static void name_of(const trace_record *record, int32_t index, char *text, size_t size)
{
    const task_type *task = record->run->experiment.task;
    if (task->symbol) snprintf(text, size, "%c", task->symbol(index));
    else snprintf(text, size, "%d", (int)index);
}

/* Label of step `step`, or -1 where none is known or asked for. */
static int32_t label_at(const trace_record *record, int step)
{
    int per_step = record->run->experiment.shape.per_step;
    if (!record->labels || (!per_step && step != record->steps - 1)) return -1;
    return record->labels[per_step ? step : 0];
}

/* The same for real targets: (O), or NULL. */
static const float *targets_at(const trace_record *record, int step)
{
    const task_shape *shape = &record->run->experiment.shape;
    if (!record->targets || (!shape->per_step && step != record->steps - 1)) return NULL;
    return record->targets + (shape->per_step ? (size_t)step * (size_t)shape->outputs : 0);
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

/* JSON has no infinity. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *answers_json(const trace_record *record, int step)
{
    answer list[TOP];
    int count = answers_of(record, step, list), failed = 0;
    json_t *array = json_array();
    int real = record->run->experiment.shape.loss == LOSS_SQUARED;
    for (int k = 0; k < count; k++) {
        char text[16];
        json_t *entry = json_object();
        name_of(record, list[k].index, text, sizeof text);
        failed |= real ? json_object_set_new(entry, "output", json_integer(list[k].index))
                       : json_object_set_new(entry, "label", json_string(text));
        failed |= json_object_set_new(entry, real ? "value" : "probability", number(list[k].value));
        failed |= json_array_append_new(array, entry);
    }
    if (!failed) return array;
    json_decref(array);
    return NULL;
}

static json_t *change_json(const trace_record *record, trace_change change)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, "tensor", json_string(record->tensors[change.state].name));
    failed |= json_object_set_new(object, "row", json_integer(change.row));
    failed |= json_object_set_new(object, "column", json_integer(change.column));
    failed |= json_object_set_new(object, "change", number(change.value));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *step_json(const trace_record *record, int step)
{
    trace_change change = trace_strongest(record, step);
    json_t *object = json_object();
    char text[16];
    int failed = json_object_set_new(object, "step", json_integer(step + 1));
    if (record->tokens) {
        name_of(record, record->tokens[step], text, sizeof text);
        failed |= json_object_set_new(object, "symbol", json_string(text));
    }
    failed |= json_object_set_new(object, "energy", number((double)record->energy[step]));
    if (change.state >= 0) {
        failed |= json_object_set_new(object, "fast_norm", number(trace_fast_norm(record, step)));
        failed |= json_object_set_new(object, "strongest_change", change_json(record, change));
    }
    failed |= json_object_set_new(object, "answer", answers_json(record, step));
    int32_t label = label_at(record, step);
    if (label >= 0) {
        name_of(record, label, text, sizeof text);
        failed |= json_object_set_new(object, "expected", json_string(text));
    }
    const float *targets = targets_at(record, step);
    json_t *expected = targets ? json_array() : NULL;
    for (int k = 0; targets && k < record->run->experiment.shape.outputs; k++)
        failed |= json_array_append_new(expected, number((double)targets[k]));
    if (targets) failed |= json_object_set_new(object, "expected", expected);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* Names need not be UTF-8, as a JSON string must. */
static json_t *path_json(const char *path)
{
    json_t *text = json_string(path);
    return text ? text : json_string("?");
}

static json_t *document_of(const trace_record *record, const char *folder, const char *path, int best)
{
    const experiment *e = &record->run->experiment;
    json_t *root = json_object(), *steps = json_array();
    int failed = json_object_set_new(root, "run", path_json(folder));
    failed |= json_object_set_new(root, "name", json_string(e->name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)e->seed));
    failed |= json_object_set_new(root, "parameters", json_string(best ? "best" : "last"));
    failed |= json_object_set_new(root, "file", path_json(path));
    for (int t = 0; t < record->steps; t++) failed |= json_array_append_new(steps, step_json(record, t));
    failed |= json_object_set_new(root, "steps", steps);
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------------- text */

static void print_step(const trace_record *record, int step)
{
    char symbol[16] = "", expected[16];
    answer list[TOP];
    int count = answers_of(record, step, list), real = record->run->experiment.shape.loss == LOSS_SQUARED;
    trace_change change = trace_strongest(record, step);
    if (record->tokens) name_of(record, record->tokens[step], symbol, sizeof symbol);
    printf("%6d %6s %10.5g", step + 1, symbol, (double)record->energy[step]);
    if (change.state >= 0)
        printf(" %10.5g %+10.5f at %4d,%4d", trace_fast_norm(record, step), change.value, change.row, change.column);
    else printf(" %10s %23s", "-", "-");
    printf("  ");
    for (int k = 0; k < count; k++) {
        char name[16];
        name_of(record, list[k].index, name, sizeof name);
        printf(real ? " %s: %.4g" : " %s %.3f ", name, list[k].value);
    }
    int32_t label = label_at(record, step);
    if (label >= 0) {
        name_of(record, label, expected, sizeof expected);
        printf(" (it is %s)", expected);
    }
    const float *targets = targets_at(record, step);
    for (int k = 0; targets && k < count; k++) printf(k ? ", %.4g" : "  (it is %.4g", (double)targets[k]);
    printf(targets ? ")\n" : "\n");
}

static void print_text(const trace_record *record, const char *folder, const char *path, int best)
{
    const experiment *e = &record->run->experiment;
    printf("%s: %s, %s parameters\n", folder, e->name, best ? "best" : "last");
    printf("%6s %6s %10s %10s %23s   %s\n", "step", "symbol", "energy", "fast norm", "strongest change",
           e->shape.loss == LOSS_SQUARED ? "outputs" : "answer");
    for (int t = 0; t < record->steps; t++) {
        if (record->steps > SHOWN && t == SHOWN / 2) {
            t = record->steps - SHOWN / 2;
            printf("%6s\n", "...");
        }
        print_step(record, t);
    }
    printf("the numbers: %s\n", path);
}

/* ---------------------------------------------------------------------------------------------------------- the command */

/* Which sequence: one of --sequence and --index. */
static int check_choice(const arguments *a, int64_t *index, int64_t *steps)
{
    int text = arguments_have(a, "--sequence"), number = arguments_have(a, "--index");
    if (text && number) return complain_of_use("trace", "--sequence and --index are both given");
    if (!text && !number)
        return complain_of_use("trace", "--sequence TEXT or --index N is missing; see stpn help trace");
    if (text && arguments_have(a, "--steps")) return complain_of_use("trace", "--steps goes with --index");
    int code = arguments_number(a, "--index", 0, INT32_MAX, index);
    return code ? code : arguments_number(a, "--steps", 1, INT32_MAX, steps);
}

static int run_trace(const arguments *a)
{
    const char *folder = a->operands[0], *text = arguments_value(a, "--sequence"), *path = arguments_value(a, "--out");
    char own[RUN_PATH];
    int64_t index = 0, steps = 0;
    int best = arguments_have(a, "--best"), code = check_choice(a, &index, &steps);
    if (code) return code;
    if (path && !*path) return complain_of_use("trace", "--out is empty, expected the name of a file");
    run r;
    trace_record record = {0};
    stpn_error error;
    stpn_status status = run_open_folder(&r, folder, best, 1, &error);
    if (status) return complain(status, &error);
    if (r.experiment.env) {
        code = complain_of_use("trace", "%.500s: %s is an environment and has no sequences; stpn play shows an episode",
                               folder, r.experiment.env->name);
        run_close(&r);
        return code;
    }
    if (!path) status = run_path(own, folder, TRACE_FILE, &error);
    if (!path) path = own;
    if (!status)
        status = text ? trace_from_text(&record, &r, text, &error) : trace_from_test(&record, &r, index, steps, &error);
    if (!status) status = trace_run(&record, &error);
    if (!status) status = trace_save(&record, best, path, &error);
    if (status) code = complain(status, &error);
    else if (arguments_have(a, "--json")) code = print_json(document_of(&record, folder, path, best));
    else print_text(&record, folder, path, best);
    trace_free(&record);
    run_close(&r);
    return code;
}

static const argument_option options[] = {
    {"--sequence", "TEXT", 0, "takes this sequence, a character per symbol: c9k8j3??k"},
    {"--index", "N", 0, "takes sequence N of the test set, counted from 0"},
    {"--steps", "N", 0, "with --index: takes its first N steps alone"},
    {"--best", NULL, 0, "takes the parameters of the best evaluation in place of the last ones"},
    {"--out", "FILE", 0, "names the file of the numbers (default RUN/trace.safetensors)"},
    {"--json", NULL, 0, "prints one JSON document and nothing else"},
};

const command command_trace = {
    .table = {"trace", options, sizeof options / sizeof *options, "RUN", 1, 1},
    .summary = "follow one sequence through a run's network, step by step",
    .text =
        "Runs one sequence through the network of the folder RUN and prints, for each step, the energy, the norm of "
        "the\n"
        "fast components after it, the strongest change of a synapse in it (and its row and column), and the answer\n"
        "that would be given then: the three most probable ones. Writes all states and parameters to a safetensors "
        "file,\n"
        "from which python -m stpn.plot draws the synapses.\n",
    .run = run_trace,
};
