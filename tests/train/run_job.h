/* One small experiment, run in many ways, on a clock that makes every update be told. Include once, after cmocka.h. */
#ifndef STPN_TESTS_RUN_JOB_H
#define STPN_TESTS_RUN_JOB_H

#include "run_support.h"

#include <stdatomic.h>
#include <time.h>

/* Reports come at most some times a second. This clock, which the library sees in place of the system's, goes on by a
 * second whenever it is read, so that every update is reported and can be the one to stop at. */
static atomic_long ticks = 1000;
static int clock_stands; // 1: no time goes by

int clock_gettime(clockid_t clock, struct timespec *now);
int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){.tv_sec = atomic_fetch_add(&ticks, clock_stands ? 0 : 1)};
    return 0;
}

static stpn_error error;
static char experiment_path[SCRATCH_PATH];

enum { UPDATES = 8, EPOCHS = 3 };

enum { SETTINGS = 6 };

typedef struct job {
    const char *set[SETTINGS]; // up to the first NULL
    const char *out;
    int resume, threads, any_kernel;
    int stop_after; // updates that are reported before the run is asked to stop, or killed; 0: none
    int kill;
} job;

typedef struct watch {
    const job *job;
    volatile int stop;
    int updates;
    stpn_progress last;
} watch;

static inline void watch_progress(void *context, const stpn_progress *p)
{
    watch *w = context;
    w->last = *p;
    if (p->epoch_ended && !p->environment) return;
    w->updates++;
    if (w->updates != w->job->stop_after) return;
    if (w->job->kill) _exit(0);
    w->stop = 1;
}

static inline stpn_status run_job(const job *j, watch *w)
{
    watch own = {0};
    if (!w) w = &own;
    *w = (watch){.job = j};
    stpn_run_options o = {.file = experiment_path,
                          .set = j->set,
                          .out = j->out,
                          .resume = j->resume,
                          .threads = j->threads ? j->threads : 1,
                          .any_kernel = j->any_kernel,
                          .stop = &w->stop,
                          .progress = watch_progress,
                          .context = w};
    while (o.set_count < SETTINGS && j->set[o.set_count]) o.set_count++;
    char folder[SCRATCH_PATH];
    error.message[0] = 0;
    stpn_status status = stpn_run_train(&o, folder, sizeof folder, &error);
    assert_int_equal(status == STPN_OK, error.message[0] == 0);
    return status;
}

static inline void finish(job j)
{
    if (run_job(&j, NULL)) fail_msg("%s", error.message);
}

static inline job resumed(job j)
{
    j.resume = 1;
    j.stop_after = j.kill = 0;
    return j;
}

static inline void assert_message(const char *part)
{
    if (!strstr(error.message, part)) fail_msg("\"%s\", expected \"%s\"", error.message, part);
}

/* Group set-up: the experiment, the working folder, and in "whole" a run of it that nothing disturbed. */
static inline int make_whole_run(void **state)
{
    static const char text[] =
        "{\"name\": \"small\", \"seed\": 1,\n"
        " \"task\": {\"name\": \"retrieval\", \"pairs\": 2, \"train\": 270, \"validation\": 50, \"test\": 40},\n"
        " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 4}],\n"
        " \"train\": {\"epochs\": 3, \"batch\": 32, \"learning_rate\": 0.02}}\n";
    if (make_run_scratch(state)) return 1;
    scratch_write(scratch_path(experiment_path, "small.json"), text, sizeof text - 1);
    unsetenv("STPN_KERNEL");
    if (chdir(scratch_folder) != 0) return 1;
    finish((job){.out = "whole"});
    return 0;
}

#endif
