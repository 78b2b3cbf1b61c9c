/* stpn sweep: many settings of one experiment, and which are best. */
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/jobs.h"
#include "cli/ranks.h"
#include "cli/results.h"
#include "cli/stop.h"
#include "cli/sweep_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { THREADS_MOST = 256, MEMBERS_MOST = 100000, NAME_SIZE = 128, TRIES = 200 };

#define SWEEP_FILE "sweep.json"

/* Which of the runs this process makes: every `of`-th, counted from `member`. */
typedef struct share {
    int member, of; // of 0: all
} share;

typedef struct work {
    const arguments *arguments;
    sweep_plan *plan;
    share share;
    jobs_options how;
    int computed;       // runs that this process has trained or gone on with
    double seconds;     // that it took for them,
    double run_seconds; // each of them, added up,
    double processors;  // and of the clocks of all processors
} work;

/* ----------------------------------------------------------------------------------------------------------- folder */

/* More runs and more seeds of a search without rounds are welcome in a folder; anything else is another sweep. */
static stpn_status check_sweep(const sweep *s, const char *out, stpn_error *error)
{
    static const char *const growing[] = {"runs", "seeds"};
    char path[RUN_PATH], place[256];
    json_t *before;
    stpn_status status = run_path(path, out, SWEEP_FILE, error);
    if (status || !file_exists(path)) return status;
    status = json_read_file(&before, path, error);
    if (status) return status;
    json_t *wanted = sweep_resolved(s);
    if (!wanted) status = error_memory(error, "the sweep");
    for (int i = 0; i < 2 && s->options.search != SWEEP_HALVING && !status; i++) {
        json_object_del(before, growing[i]);
        json_object_del(wanted, growing[i]);
    }
    if (!status && json_difference(before, wanted, place, sizeof place))
        status = error_set(error, STPN_ERROR_INPUT,
                           "%s: %s differs from this sweep's: name another folder with --out, or remove that one", path,
                           place);
    json_decref(wanted);
    json_decref(before);
    return status;
}

static stpn_status save_sweep(const sweep *s, const char *out, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = check_sweep(s, out, error);
    if (!status) status = run_path(path, out, SWEEP_FILE, error);
    json_t *wanted = status ? NULL : sweep_resolved(s);
    char *text = wanted ? json_to_text(wanted, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    if (!status && !text) status = error_memory(error, "the sweep");
    file_part parts[2] = {{text, text ? strlen(text) : 0}, {"\n", 1}};
    if (!status) status = file_replace(path, parts, 2, error);
    memory_free(text);
    json_decref(wanted);
    return status;
}

/* A member of an array needs the folder for a moment alone; others may have it just then. */
static stpn_status lock_folder(const char *out, const share *part, int *lock, stpn_error *error)
{
    const struct timespec moment = {.tv_nsec = 50000000};
    stpn_status status = file_lock_folder(out, lock, error);
    for (int i = 0; i < TRIES && status == STPN_ERROR_INPUT && part->of; i++) {
        nanosleep(&moment, NULL);
        status = file_lock_folder(out, lock, error);
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------------------- runs */

/* A loss that is not finite is the result of a run: it is written down, so that nobody tries again. */
static void keep_end(void *context, const plan_run *r, stpn_status status, const stpn_error *error, double seconds)
{
    work *w = context;
    w->run_seconds += seconds;
    char path[RUN_PATH];
    stpn_error unused;
    file_part parts[2] = {{error->message, strlen(error->message)}, {"\n", 1}};
    if (status != STPN_ERROR_NUMERIC || run_path(path, r->folder, SWEEP_DIVERGED, &unused)) return;
    (void)file_replace(path, parts, 2, &unused);
}

static double processor_seconds(void)
{
    double seconds = 0;
    const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int i = 0; i < 2; i++) {
        struct rusage usage;
        if (getrusage(whose[i], &usage) != 0) continue;
        seconds += (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec;
        seconds += (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    return seconds;
}

/* The runs of the last round that are this process's, the longest first. */
static int run_round(work *w)
{
    const sweep_plan *p = w->plan;
    const sweep_round *r = &p->rounds[p->round_count - 1];
    int seeds = p->sweep->seeds.count, first = r->count ? r->results[0].first_run : 0, code = EXIT_DONE;
    plan own = {.runs = memory_zeroed((size_t)r->count * (size_t)seeds, sizeof *own.runs)};
    if (!own.runs) return complain_of_memory();
    for (int i = 0; i < r->count * seeds; i++)
        if (!w->share.of || i % w->share.of == w->share.member) own.runs[own.run_count++] = p->all.runs[first + i];
    for (int i = 0; i < own.run_count; i++) w->computed += !own.runs[i].finished;
    plan_sort(&own);
    double start = machine_seconds(), used = processor_seconds();
    code = jobs_run(&own, &w->how);
    w->seconds += machine_seconds() - start;
    w->processors += processor_seconds() - used;
    memory_free(own.runs);
    if (code == EXIT_INTERRUPTED) say_how_to_resume(w->arguments, NULL, "stopped, all runs saved");
    /* What diverged has been told. */
    return code == EXIT_CHECK_FAILED ? EXIT_DONE : code;
}

static int all_rounds(work *w, int *ended)
{
    sweep_plan *p = w->plan;
    *ended = 1;
    for (int round = 0; round < p->sweep->rounds && *ended; round++) {
        int code = round ? sweep_plan_add_round(p) : EXIT_DONE;
        if (!code) code = run_round(w);
        if (!code) code = sweep_plan_rank(p, ended);
        if (code) return code;
    }
    return EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------------------ result */

static int tell_best(const sweep_plan *p)
{
    const sweep_round *last = &p->rounds[p->round_count - 1];
    const sweep_result *best = &last->results[0];
    buffer text = {0};
    int code = EXIT_DONE;
    if (isnan(best->value)) {
        printf("\nnone of %d has a %s\n", last->count, sweep_measure(p->sweep, NULL));
        return EXIT_DONE;
    }
    if (!sweep_settings_text(p->sweep, best->configuration, &text)) code = complain_of_memory();
    else
        printf("\nbest by %s, %.5g%s: %s (%s)\n", sweep_measure(p->sweep, NULL), best->value,
               p->sweep->seeds.count > 1 ? " over the seeds" : "", text.data, p->all.runs[best->first_run].folder);
    buffer_free(&text);
    return code;
}

static void tell_missing(const work *w)
{
    const sweep_plan *p = w->plan;
    const sweep_round *last = &p->rounds[p->round_count - 1];
    int missing = 0;
    for (int i = 0; i < last->count; i++) missing += p->sweep->seeds.count - last->results[i].finished;
    if (p->sweep->rounds > 1)
        say("round %d of %d: %d runs are still to be finished by other members; the same command then goes on",
            p->round_count, p->sweep->rounds, missing);
    else say("%d runs are still to be finished by other members of the array", missing);
}

static int run_sweep(work *w)
{
    const sweep_plan *p = w->plan;
    int ended, quiet = w->how.quiet, code = all_rounds(w, &ended);
    if (code == EXIT_INTERRUPTED) return code;
    if (w->computed && !quiet)
        fprintf(stderr, "%d runs in %.1f s: %.2f at a time, %.2f processors busy\n", w->computed, w->seconds,
                w->run_seconds / w->seconds, w->processors / w->seconds);
    if (!code && !ended) {
        tell_missing(w);
        return EXIT_DONE;
    }
    int lock = -1, compared = EXIT_DONE;
    stpn_error error;
    /* The last members of an array may come here together. */
    stpn_status status = w->share.of ? lock_folder(p->out, &w->share, &lock, &error) : STPN_OK;
    compared = status ? complain(status, &error) : results_compare(&p->all, p->out, quiet);
    if (!compared && !code && !quiet) compared = tell_best(p);
    if (!compared && arguments_have(w->arguments, "--figures")) compared = results_draw(NULL, p->out);
    file_unlock(lock);
    return compared > code ? compared : code;
}

/* --------------------------------------------------------------------------------------------------------- command */

static int list_runs(const sweep_plan *p)
{
    const sweep_round *first = &p->rounds[0];
    for (int i = 0; i < first->count; i++) {
        buffer text = {0};
        int done = sweep_settings_text(p->sweep, first->results[i].configuration, &text);
        if (done) printf("c%03d  %s\n", first->results[i].configuration, text.data);
        buffer_free(&text);
        if (!done) return complain_of_memory();
    }
    return EXIT_DONE;
}

/* "I/N"; ranks are members by themselves. */
static int read_share(const arguments *a, share *part)
{
    const char *text = arguments_value(a, "--array"), *slash = text ? strchr(text, '/') : NULL;
    char first[16];
    int64_t member, of;
    rank_place ranks = ranks_in_environment();
    *part = ranks.count > 1 ? (share){ranks.rank, ranks.count} : (share){0};
    if (!text) return EXIT_DONE;
    snprintf(first, sizeof first, "%.*s", slash ? (int)(slash - text) : 0, text);
    if (!slash || !read_integer(slash + 1, 1, MEMBERS_MOST, &of) || !read_integer(first, 0, of - 1, &member))
        return complain_of_use("sweep", "--array is \"%.100s\", expected I/N: member I, from 0 to N - 1, of N", text);
    *part = (share){(int)member, (int)of};
    return EXIT_DONE;
}

/* runs/sweep-NAME of a file NAME.json. */
static int folder_of(const arguments *a, char out[RUN_PATH])
{
    const char *given = arguments_value(a, "--out"), *path = a->operands[0], *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    if (given && !*given) return complain_of_use("sweep", "--out is empty, expected a folder");
    int length = given ? snprintf(out, RUN_PATH, "%s", given)
                       : snprintf(out, RUN_PATH, "runs/sweep-%.*s", dot && dot != name ? (int)(dot - name) : 200, name);
    return length < RUN_PATH ? EXIT_DONE : complain_of_use("sweep", "--out names a path that is too long");
}

static int run_in_folder(work *w, const sweep *s, const char *out)
{
    stpn_error error;
    int lock = -1;
    stpn_status status = file_make_folder(out, &error);
    if (!status) status = lock_folder(out, &w->share, &lock, &error);
    if (!status) status = save_sweep(s, out, &error);
    if (w->share.of) {
        file_unlock(lock);
        lock = -1;
    }
    int code = EXIT_DONE;
    catch_signals();
    if (status) code = complain(status, &error);
    else code = run_sweep(w);
    file_unlock(lock);
    return code;
}

static int sweep_file(const arguments *a, sweep *s, const char **settings)
{
    char out[RUN_PATH], title[NAME_SIZE];
    int64_t threads = 1, at_once = 0;
    share part;
    int code = arguments_number(a, "--threads", 1, THREADS_MOST, &threads);
    if (!code) code = arguments_number(a, "--jobs", 1, THREADS_MOST, &at_once);
    if (!code) code = read_share(a, &part);
    if (!code) code = folder_of(a, out);
    if (code) return code;
    code = sweep_read(s, a->operands[0], settings, arguments_settings(a, settings));
    if (code) return code;
    if (!at_once) at_once = machine_processors() / threads;
    const char *slash = strrchr(out, '/');
    snprintf(title, sizeof title, "%.100s", slash && slash[1] ? slash + 1 : out);
    sweep_plan p;
    work w = {.arguments = a,
              .plan = &p,
              .share = part,
              .how = {.at_once = at_once < 1 ? 1 : (int)at_once,
                      .threads = (int)threads,
                      .any_kernel = arguments_have(a, "--any-kernel"),
                      .quiet = arguments_have(a, "--quiet"),
                      .title = title,
                      .ended = keep_end}};
    w.how.context = &w;
    stpn_error error;
    /* Whatever is wrong is told before anything is computed. */
    stpn_status status = check_sweep(s, out, &error);
    if (status) return complain(status, &error);
    code = sweep_plan_open(&p, s, out);
    if (!code) code = sweep_plan_add_round(&p);
    if (!code && p.dropped && !w.how.quiet)
        say("%d of %d settings were drawn before and are left out", p.dropped, s->configurations);
    if (!code) code = arguments_have(a, "--list") ? list_runs(&p) : run_in_folder(&w, s, out);
    sweep_plan_free(&p);
    return code;
}

static int run_sweep_command(const arguments *a)
{
    sweep s = {0};
    const char **settings = memory_zeroed((size_t)a->given_count + 1, sizeof *settings);
    int code = settings ? sweep_file(a, &s, settings) : complain_of_memory();
    sweep_free(&s);
    memory_free((void *)settings);
    return code;
}

static const argument_option options[] = {
    {"--set", "KEY=VALUE", 1, "changes one value of every run"},
    {"--out", "DIR", 0, "folder of the runs and the tables (default runs/sweep-NAME of a file NAME.json)"},
    {"--jobs", "N", 0, "runs at a time (default: as many as the processors hold)"},
    {"--threads", "N", 0, "threads of each run (default 1); the results do not depend on them"},
    {"--array", "I/N", 0,
     "makes every N-th run, from number I on: member I of N, from 0, of a job array (mpirun's ranks are one)"},
    {"--list", NULL, 0, "prints the settings of the runs and trains none"},
    {"--figures", NULL, 0, "draws figures into DIR/figures with Python's matplotlib"},
    {"--any-kernel", NULL, 0, "resumes although another kernel wrote a checkpoint; the bits will differ"},
    {"--quiet", NULL, 0, "prints no progress and no table"},
};

const command command_sweep = {
    .table = {"sweep", options, sizeof options / sizeof *options, "FILE", 1, 1},
    .summary = "try many settings of an experiment, and rank them",
    .text =
        "Trains one experiment with the settings that FILE describes, a grid, random ones, or random ones of which "
        "the\n"
        "better go on for longer, some runs at a time, and prints the table of stpn compare and the best by the\n"
        "validation set. A run that is finished is left as it is, one that was interrupted goes on: the same command\n"
        "can be given again at any time. Ctrl-C saves all and exits with 130. docs/sweeps.md says what FILE may "
        "hold.\n",
    .run = run_sweep_command,
};
