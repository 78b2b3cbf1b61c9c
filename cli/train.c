/* stpn train: one run, or one for each of several seeds. */
#include "base/error.h"
#include "base/memory.h"
#include "base/ranks.h"
#include "cli/cli.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/ranks.h"
#include "cli/runs.h"
#include "cli/seeds.h"
#include "cli/stop.h"
#include "io/json.h"
#include "train/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MOST = 256 };

/* ---------------------------------------------------------------------------------------------------------- results */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

/* What the test says: the reward, the accuracy, or the loss where there is neither. */
typedef struct outcome {
    double value;
    const char *measure;
} outcome;

static outcome outcome_of(const json_t *test)
{
    static const char *const measures[] = {"reward", "accuracy", "loss"};
    outcome found = {.measure = "loss"};
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
        const json_t *value = json_object_get(test, measures[i]);
        if (!value) continue;
        found = (outcome){json_number_value(value), measures[i]};
        break;
    }
    return found;
}

static int print_summary(const char *folder, outcome *result)
{
    char path[RUN_PATH];
    json_t *summary;
    stpn_error error;
    stpn_status status = run_path(path, folder, RUN_SUMMARY, &error);
    if (!status) status = json_read_file(&summary, path, &error);
    if (status) return complain(status, &error);
    const json_t *train = json_object_get(summary, "train"), *test = json_object_get(summary, "test");
    const json_t *iterations = json_object_get(train, "iterations");
    *result = outcome_of(test);
    printf("%s: %s, %lld %s in %.1f s%s\n", folder, text_of(summary, "name"),
           (long long)json_integer_value(iterations ? iterations : json_object_get(train, "epochs")),
           iterations ? "iterations" : "epochs", json_number_value(json_object_get(train, "wall_seconds")),
           json_is_true(json_object_get(train, "stopped_early")) ? ", stopped early" : "");
    print_measures_heading(test);
    print_measures("test", test);
    print_measures("test, best", json_object_get(summary, "test_best"));
    const json_t *validation = json_object_get(summary, "validation");
    if (validation) print_measures("validation", validation);
    print_probes(json_object_get(summary, "probes"));
    /* The next seed may take hours, or be killed. */
    fflush(stdout);
    json_decref(summary);
    return EXIT_DONE;
}

static void print_seeds(const outcome *outcomes, int count)
{
    double mean = 0, least = INFINITY, most = -INFINITY;
    for (int i = 0; i < count; i++) {
        mean += outcomes[i].value / count;
        least = fmin(least, outcomes[i].value);
        most = fmax(most, outcomes[i].value);
    }
    int fixed = strcmp(outcomes->measure, "loss") != 0;
    printf(fixed ? "%d seeds: test %s %.5f on average, %.5f to %.5f\n"
                 : "%d seeds: test %s %.5g on average, %.5g to %.5g\n",
           count, outcomes->measure, mean, least, most);
}

/* ------------------------------------------------------------------------------------------------------------- runs */

/* What the callback of a run works with. */
typedef struct reporter {
    progress shown;
    const stpn_run_options *options; // until the network was shown
    profile_record profile;
} reporter;

/* The network and its number of parameters, once the run is known to start. */
static void show_network(const stpn_run_options *o)
{
    char network[256];
    experiment e;
    stpn_net *net;
    if (experiment_read(&e, o->file, o->set, o->set_count, o->has_seed ? &o->seed : NULL, NULL) != STPN_OK) return;
    network_text(e.resolved, network, sizeof network);
    if (experiment_net(&net, &e, STPN_FLOAT, NULL) == STPN_OK) {
        fprintf(stderr, "%s: %s, %zu trained parameters\n", e.name, network, stpn_net_parameter_count(net));
        stpn_net_free(net);
    }
    experiment_free(&e);
}

static void show_progress(void *context, const stpn_progress *report)
{
    reporter *r = context;
    if (r->options) show_network(r->options);
    r->options = NULL;
    progress_show(&r->shown, report);
}

static void keep_profile(void *context, const stpn_profile *told)
{
    reporter *r = context;
    profile_keep(&r->profile, told);
}

/* Whether this is the rank that tells of the run. */
static int is_first(const stpn_run_options *choices)
{
    return !choices->ranks || choices->ranks->rank == 0;
}

static void print_profile(const profile_record *record, const char *folder, const rank_link *l)
{
    profile_print(record, folder);
    if (l->ranks.count == 1 || record->told.threads < 1) return;
    fprintf(stderr,
            "ranks: %d; rank 0 sent %" PRId64 " bytes in %" PRId64 " messages, received %" PRId64 " bytes in %" PRId64
            " messages, %.4f s in them, %" PRId64 " updates\n",
            l->ranks.count, l->sent, l->sends, l->received, l->receives, l->seconds, record->told.updates);
}

/* Rank 0 tells for all, unless one cannot be reached: then the others may know nothing of it. */
static int complain_among(const stpn_ranks *ranks, stpn_status status, const stpn_error *error)
{
    if (ranks && ranks->lost) say_again();
    return complain(status, error);
}

/* All ranks go on, or none does: one that leaves by itself would be waited for. What is wrong with rank 0's words is told;
 * its decision is everyone's. */
static int agree_to_go_on(stpn_ranks *ranks, int code, int32_t *decision)
{
    stpn_error error = {{0}};
    stpn_status own = code ? error_set(&error, STPN_ERROR_INPUT, "is given other words than rank 0") : STPN_OK;
    stpn_status status = ranks_decide(ranks, own, decision, 0, &error);
    return ranks && status && !code ? complain_among(ranks, status, &error) : code;
}

/* One run; `out` NULL: the library's choice. */
static int train_once(const arguments *a, const stpn_run_options *choices, const char *label, rank_link *link,
                      outcome *result)
{
    char folder[RUN_PATH];
    stpn_error error;
    reporter shown = {.options = choices};
    stpn_run_options own = *choices;
    int first = is_first(choices), quiet = !first || arguments_have(a, "--quiet");
    progress_open(&shown.shown, label);
    ranks_count_anew(link);
    own.context = &shown;
    if (!quiet) own.progress = show_progress;
    if (arguments_have(a, "--profile") && first) own.profile = keep_profile;
    stpn_status status = stpn_run_train(&own, folder, sizeof folder, &error);
    progress_close(&shown.shown);
    if (status == STPN_STOPPED) {
        if (!first) return EXIT_INTERRUPTED;
        print_profile(&shown.profile, folder, link);
        say_how_to_resume(a, "--resume", error.message);
        return EXIT_INTERRUPTED;
    }
    if (status) return complain_among(choices->ranks, status, &error);
    int32_t code = quiet ? EXIT_DONE : print_summary(folder, result);
    /* Where the first rank gives up, the others do not go on to the next seed. */
    if (choices->ranks) status = ranks_decide(choices->ranks, STPN_OK, &code, 0, &error);
    if (status) code = complain_among(choices->ranks, status, &error);
    print_profile(&shown.profile, folder, link);
    return code;
}

static int train_seeds(const arguments *a, const stpn_run_options *choices, const seed_list *list, rank_link *link)
{
    const char *out = choices->out;
    outcome *outcomes = memory_zeroed((size_t)list->count, sizeof *outcomes);
    int32_t seeds = list->count;
    int code = agree_to_go_on(choices->ranks, outcomes ? EXIT_DONE : complain_of_memory(), &seeds);
    if (code || !outcomes) {
        memory_free(outcomes);
        return code;
    }
    for (int i = 0; i < list->count && !code; i++) {
        char folder[RUN_PATH], label[64];
        stpn_run_options own = *choices;
        own.has_seed = 1;
        own.seed = list->seeds[i];
        snprintf(label, sizeof label, "seed %" PRIu64, own.seed);
        int length = snprintf(folder, sizeof folder, "%s/s%" PRIu64, out ? out : "", own.seed);
        if (length < 0 || (size_t)length >= sizeof folder) {
            code = complain_of_use("train", "--out names a path that is too long");
            break;
        }
        own.out = out ? folder : NULL;
        if (stop_is_asked() && !choices->ranks) {
            say_how_to_resume(a, "--resume", "stopped between two seeds");
            code = EXIT_INTERRUPTED;
            break;
        }
        code = train_once(a, &own, label, link, &outcomes[i]);
    }
    if (!code && list->count > 1 && is_first(choices) && !arguments_have(a, "--quiet"))
        print_seeds(outcomes, list->count);
    memory_free(outcomes);
    return code;
}

static int train_all(const arguments *a, const char **settings, seed_list *list, rank_link *link)
{
    int64_t threads = 0, seed = 0;
    stpn_run_options options = {.file = a->operands[0],
                                .set = settings,
                                .has_seed = arguments_have(a, "--seed"),
                                .out = arguments_value(a, "--out"),
                                .resume = arguments_have(a, "--resume"),
                                .any_kernel = arguments_have(a, "--any-kernel"),
                                .ranks = link->ranks.count > 1 ? &link->ranks : NULL,
                                .stop = &stop_asked};
    if (settings) options.set_count = arguments_settings(a, settings);
    int code = settings ? arguments_number(a, "--threads", 0, THREADS_MOST, &threads) : complain_of_memory();
    if (!code) code = arguments_number(a, "--seed", 0, INT64_MAX, &seed);
    options.threads = (int)threads;
    options.seed = (uint64_t)seed;
    const char *text = arguments_value(a, "--seeds");
    if (!code && (text || options.has_seed) && setting_of_seed(settings, options.set_count))
        code = complain_of_use("train", "--set seed=N has no effect with --seed and --seeds");
    if (!code && text && options.has_seed) code = complain_of_use("train", "--seed and --seeds exclude each other");
    if (!code && options.out && !*options.out) code = complain_of_use("train", "--out is empty, expected a folder");
    if (!code && text) code = read_seeds(list, text, "train: --seeds");
    /* As many runs on every rank; -1: one without a list. */
    int32_t runs = text ? list->count : -1, first = runs;
    code = agree_to_go_on(options.ranks, code, &first);
    if (!code) code = agree_to_go_on(options.ranks, first == runs ? EXIT_DONE : EXIT_WRONG_USE, &first);
    if (code) return code;
    catch_signals();
    outcome result;
    return text ? train_seeds(a, &options, list, link) : train_once(a, &options, "", link, &result);
}

static int run_train_command(const arguments *a)
{
    const char **settings = memory_zeroed((size_t)a->given_count + 1, sizeof *settings);
    seed_list list = {0};
    rank_link link = {.ranks = {.count = 1}};
    int code = ranks_open(&link);
    if (!code) code = train_all(a, settings, &list, &link);
    ranks_close(&link);
    memory_free(settings);
    seeds_free(&list);
    return code;
}

void train_refuse(int code)
{
    rank_link link = {.ranks = {.count = 1}};
    if (!ranks_possible()) return;
    if (!ranks_open(&link) && link.ranks.count > 1) (void)agree_to_go_on(&link.ranks, code, &(int32_t){0});
    ranks_close(&link);
}

static const argument_option options[] = {
    {"--set", "KEY=VALUE", 1, "changes one value of the experiment: train.epochs=40, units.0.hidden=20"},
    {"--seed", "N", 0, "takes this seed in place of the file's"},
    {"--seeds", "LIST", 0, "trains once with each of these seeds: 0-4, or 0,2,5"},
    {"--out", "DIR", 0, "the run's folder (default runs/NAME-sSEED); with --seeds, the folder of s0, s1, ..."},
    {"--resume", NULL, 0, "goes on from the last checkpoint, to the same bits as if it had never stopped"},
    {"--any-kernel", NULL, 0, "resumes although another kernel wrote the checkpoint; the bits will differ"},
    {"--threads", "N", 0, "number of threads (default 0: one per processor); the result does not depend on it"},
    {"--quiet", NULL, 0, "prints no progress and no result"},
    {"--profile", NULL, 0, "prints at the end where the time went, on standard error; the result is the same"},
};

const command command_train = {
    .table = {"train", options, sizeof options / sizeof *options, "FILE", 1, 1},
    .summary = "train an experiment",
    .text =
        "Trains the experiment that FILE describes and leaves a run folder: the resolved experiment, a row of metrics\n"
        "per evaluation, the last and the best parameters, and a summary. Ctrl-C finishes the update under way, "
        "saves,\n"
        "says how to go on, and exits with 130; a second one kills at once, which loses the updates of the last "
        "minute\n"
        "at most and nothing else. With mpirun -n N before it, N processes train together, to the same bits.\n"
        "stpn help keys lists what an experiment file may say.\n",
    .run = run_train_command,
};
