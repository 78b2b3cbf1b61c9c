/* stpn reproduce: all runs of an experiment of the paper, and the table that compares them. */
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/jobs.h"
#include "cli/results.h"
#include "cli/stop.h"

#include <stdio.h>
#include <string.h>

enum { THREADS_MOST = 256, EPOCHS_MOST = 1000000000, STEPS_MOST = 2000000000 };

/* ----------------------------------------------------------------------------------------------------------- command */

static int run_plan(const arguments *a, const plan *p, const char *out, const jobs_options *how)
{
    catch_signals();
    int code = jobs_run(p, how);
    if (code == EXIT_INTERRUPTED) {
        say_how_to_resume(a, NULL, "stopped, all runs saved");
        return code;
    }
    int compared = results_compare(p, out, how->quiet);
    if (compared > code) code = compared;
    if (arguments_have(a, "--figures")) {
        int drawn = results_draw(p, out);
        if (drawn > code) code = drawn;
    }
    return code;
}

/* One process works in the folder at a time, and whatever is wrong is told before anything is computed. */
static int run_in_folder(const arguments *a, const plan_options *options, const jobs_options *how)
{
    plan p;
    stpn_error error;
    int lock = -1, code = plan_make(&p, options);
    if (!code) {
        stpn_status status = file_make_folder(options->out, &error);
        if (!status) status = file_lock_folder(options->out, &lock, &error);
        code = status ? complain(status, &error) : run_plan(a, &p, options->out, how);
        file_unlock(lock);
    }
    plan_free(&p);
    return code;
}

static int reproduce(const arguments *a, const char **settings)
{
    char out[RUN_PATH], epochs[64], episodes[64], all_steps[64];
    int64_t count = 0, iterations = 0, steps = 0, threads = 1, at_once = 0;
    plan_options options = {.name = a->operands[0],
                            .folder = arguments_value(a, "--experiments"),
                            .out = arguments_value(a, "--out"),
                            .seeds = arguments_value(a, "--seeds"),
                            .set = settings};
    int code = arguments_number(a, "--epochs", 1, EPOCHS_MOST, &count);
    if (!code) code = arguments_number(a, "--iterations", 1, EPOCHS_MOST, &iterations);
    if (!code) code = arguments_number(a, "--steps", 1, STEPS_MOST, &steps);
    if (!code) code = arguments_number(a, "--threads", 1, THREADS_MOST, &threads);
    if (!code) code = arguments_number(a, "--jobs", 1, THREADS_MOST, &at_once);
    if (code) return code;
    if (options.out && !*options.out) return complain_of_use("reproduce", "--out is empty, expected a folder");
    if (!at_once) at_once = machine_processors() / threads;
    snprintf(out, sizeof out, "runs/%.200s", options.name);
    if (!options.out) options.out = out;
    snprintf(epochs, sizeof epochs, "train.epochs=%lld", (long long)count);
    if (count) settings[options.set_count++] = epochs;
    snprintf(episodes, sizeof episodes, "train.iterations=%lld", (long long)iterations);
    if (iterations) settings[options.set_count++] = episodes;
    snprintf(all_steps, sizeof all_steps, "train.steps=%lld", (long long)steps);
    if (steps) settings[options.set_count++] = all_steps;
    options.set_count += arguments_settings(a, settings + options.set_count);
    const char *own_seed = setting_of_seed(settings, options.set_count);
    if (own_seed)
        return complain_of_use("reproduce", "--set %.100s has no effect: the runs' seeds are those of --seeds",
                               own_seed);
    jobs_options how = {.at_once = at_once < 1 ? 1 : (int)at_once,
                        .threads = (int)threads,
                        .any_kernel = arguments_have(a, "--any-kernel"),
                        .quiet = arguments_have(a, "--quiet"),
                        .title = options.name};
    return run_in_folder(a, &options, &how);
}

static int run_reproduce(const arguments *a)
{
    const char **settings = memory_zeroed((size_t)a->given_count + 4, sizeof *settings);
    int code = settings ? reproduce(a, settings) : complain_of_memory();
    memory_free((void *)settings);
    return code;
}

static const argument_option options[] = {
    {"--seeds", "LIST", 0, "seeds of every experiment: 0-4, or 0,2,5 (default: the manifest's)"},
    {"--epochs", "N", 0, "trains every run for N epochs: --set train.epochs=N"},
    {"--iterations", "N", 0, "trains every run in an environment for N iterations: --set train.iterations=N"},
    {"--steps", "N", 0, "trains every run that counts agent steps for N of them: --set train.steps=N"},
    {"--set", "KEY=VALUE", 1, "changes one value of every experiment"},
    {"--out", "DIR", 0, "folder of the runs and the tables (default runs/NAME)"},
    {"--jobs", "N", 0, "runs at a time (default: as many as the processors hold)"},
    {"--threads", "N", 0, "threads of each run (default 1); the results do not depend on them"},
    {"--experiments", "DIR", 0, "folder that holds NAME (default experiments, then what is installed)"},
    {"--figures", NULL, 0, "draws figures into DIR/figures with Python's matplotlib"},
    {"--any-kernel", NULL, 0, "resumes although another kernel wrote a checkpoint; the bits will differ"},
    {"--quiet", NULL, 0, "prints no progress and no table"},
};

const command command_reproduce = {
    .table = {"reproduce", options, sizeof options / sizeof *options, "NAME", 1, 1},
    .summary = "train every network of an experiment of the paper, and compare",
    .text =
        "Trains all experiments of experiments/NAME with several seeds, some runs at a time, and prints the table of "
        "stpn\n"
        "compare; table.md, table.csv and table.json stand beside the runs. A run that is finished is left as it is, "
        "one\n"
        "that was interrupted goes on: the same command can be given again at any time. Ctrl-C saves all and exits "
        "with\n"
        "130. A run that fails does not stop the others and is named at the end. experiments/NAME/reproduce.json says\n"
        "which experiments there are.\n",
    .run = run_reproduce,
};
