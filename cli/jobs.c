#include "cli/jobs.h"

#include "base/machine.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/stop.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What the callback of a run works with. */
typedef struct reporter {
    jobs *all;
    job *own;
} reporter;

double job_share(const job *j)
{
    const stpn_progress *r = &j->report;
    if (j->state == JOB_DONE) return 1;
    if (!j->reports || r->epochs < 1) return 0;
    if (r->epoch_ended) return (double)r->epoch / r->epochs;
    double within = r->updates > 0 ? (double)r->updates_done / (double)r->updates : 0;
    return (r->epoch - 1 + within) / r->epochs;
}

double jobs_seconds_left(const jobs *s, double now)
{
    double done = 0, left = 0, longest = 0;
    for (int i = 0; i < s->count; i++) {
        const job *j = &s->jobs[i];
        double cost = j->run->entry->cost, share = job_share(j);
        if (j->state == JOB_FAILED || j->state == JOB_STOPPED) continue;
        done += cost * (share - j->first);
        left += cost * (1 - share);
        if (j->state == JOB_RUNNING && j->reports && j->report.seconds_left > longest) longest = j->report.seconds_left;
    }
    if (!(done > 0)) return NAN;
    return fmax(left / done * (now - s->start), longest);
}

static void take_report(void *context, const stpn_progress *report)
{
    reporter *r = context;
    pthread_mutex_lock(&r->all->lock);
    r->own->report = *report;
    if (!r->own->reports++) r->own->first = job_share(r->own);
    pthread_mutex_unlock(&r->all->lock);
}

static void train_job(jobs *s, job *j)
{
    reporter r = {s, j};
    const plan_entry *entry = j->run->entry;
    stpn_error error;
    stpn_run_options options = {.file = entry->file,
                                .set = (const char *const *)entry->set,
                                .set_count = entry->set_count,
                                .has_seed = 1,
                                .seed = j->run->seed,
                                .out = j->run->folder,
                                .resume = 1,
                                .any_kernel = s->options->any_kernel,
                                .threads = s->options->threads,
                                .stop = &stop_asked,
                                .progress = take_report,
                                .context = &r};
    double start = machine_seconds();
    stpn_status status = stpn_run_train(&options, NULL, 0, &error);
    pthread_mutex_lock(&s->lock);
    j->seconds = machine_seconds() - start;
    j->status = status;
    j->error = error;
    j->state = status == STPN_OK ? JOB_DONE : status == STPN_STOPPED ? JOB_STOPPED : JOB_FAILED;
    if (s->options->ended) s->options->ended(s->options->context, j->run, status, &error, j->seconds);
    pthread_cond_signal(&s->ended);
    pthread_mutex_unlock(&s->lock);
}

static void *work(void *context)
{
    jobs *s = context;
    pthread_mutex_lock(&s->lock);
    while (s->next < s->count && !stop_is_asked()) {
        job *j = &s->jobs[s->next++];
        j->state = JOB_RUNNING;
        pthread_mutex_unlock(&s->lock);
        train_job(s, j);
        pthread_mutex_lock(&s->lock);
    }
    s->workers--;
    pthread_cond_signal(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void wait_and_show(jobs *s, jobs_display *d)
{
    enum { TENTH = 100000000, SECOND = 1000000000 };
    pthread_mutex_lock(&s->lock);
    while (s->workers > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TENTH;
        if (until.tv_nsec >= SECOND) {
            until.tv_nsec -= SECOND;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&s->ended, &s->lock, &until);
        jobs_display_show(d, s);
    }
    jobs_display_close(d, s);
    pthread_mutex_unlock(&s->lock);
}

/* One thread is enough to go on. */
static int start_workers(jobs *s, pthread_t *threads, int count)
{
    int started = 0, code = 0;
    pthread_mutex_lock(&s->lock);
    while (started < count && !code) {
        code = pthread_create(&threads[started], NULL, work, s);
        if (!code) started++;
    }
    s->workers = started;
    pthread_mutex_unlock(&s->lock);
    if (code) say("%d of %d threads could be started: %s", started, count, strerror(code));
    return started;
}

static int end_of(const jobs *s)
{
    int worst = EXIT_DONE, interrupted = 0, failed = 0;
    for (int i = 0; i < s->count; i++) {
        const job *j = &s->jobs[i];
        interrupted |= j->state == JOB_WAITING || j->state == JOB_STOPPED;
        if (j->state != JOB_FAILED) continue;
        int code = complain(j->status, &j->error);
        if (code > worst) worst = code;
        failed++;
    }
    if (failed) say("%d of %d runs failed", failed, s->before + s->count);
    return interrupted && stop_is_asked() ? EXIT_INTERRUPTED : worst;
}

static int run_all(jobs *s, const jobs_options *options)
{
    int count = options->at_once < s->count ? options->at_once : s->count;
    jobs_display display;
    pthread_t *threads = memory_zeroed((size_t)count, sizeof *threads);
    if (!threads) return complain_of_memory();
    jobs_display_open(&display, options);
    s->start = machine_seconds();
    int started = start_workers(s, threads, count), code = EXIT_SYSTEM_FAILED;
    if (started) {
        wait_and_show(s, &display);
        code = end_of(s);
    }
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    memory_free(threads);
    return code;
}

int jobs_run(const plan *p, const jobs_options *options)
{
    pthread_condattr_t monotonic;
    jobs s = {.options = options};
    s.jobs = memory_zeroed((size_t)p->run_count, sizeof *s.jobs);
    if (!s.jobs) return complain_of_memory();
    for (int i = 0; i < p->run_count; i++) {
        if (p->runs[i].finished) s.before++;
        else s.jobs[s.count++].run = &p->runs[i];
    }
    pthread_mutex_init(&s.lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s.ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = s.count ? run_all(&s, options) : EXIT_DONE;
    pthread_cond_destroy(&s.ended);
    pthread_mutex_destroy(&s.lock);
    memory_free(s.jobs);
    return code;
}
