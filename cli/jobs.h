/* The runs of a plan, some of them at a time, each on threads of its own. */
#ifndef STPN_CLI_JOBS_H
#define STPN_CLI_JOBS_H

#include "cli/plan.h"

#include <pthread.h>

typedef enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_STOPPED, JOB_FAILED } job_state;

typedef struct job {
    const plan_run *run;
    job_state state;
    int told;             // its end was shown
    stpn_progress report; // the latest
    int reports;
    double first;       // share of its training that was done at the first report
    double seconds;     // clock of its start, then how long it took
    stpn_status status; // why it failed
    stpn_error error;
} job;

typedef struct jobs {
    pthread_mutex_t lock; // of everything below
    pthread_cond_t ended; // a job or a worker did
    job *jobs;            // (count) the runs that were not finished before
    int count, next, workers;
    int before; // runs that were finished before
    const struct jobs_options *options;
    double start; // clock
} jobs;

typedef struct jobs_options {
    int at_once, threads; // runs, and threads of each
    int any_kernel, quiet;
    const char *title; // in front of the progress
    /* Told of each run that has ended, one at a time, and of the seconds that it took; or NULL. */
    void (*ended)(void *context, const plan_run *r, stpn_status status, const stpn_error *error, double seconds);
    void *context;
} jobs_options;

/* Trains every run of the plan that is not finished. Runs that fail are named on standard error once all have ended.
 * The code to exit with: 130 where it was interrupted, else the gravest of those that failed. */
int jobs_run(const plan *p, const jobs_options *options);

/* Share of the job's training that is done, by its latest report. */
double job_share(const job *j);
/* Seconds until all are done, by the work done so far; NaN where nothing is known. */
double jobs_seconds_left(const jobs *s, double now);

/* Shows how far all are; called with the lock held. */
typedef struct jobs_display {
    const char *title;
    int terminal, quiet;
    int lines; // that stand on the terminal
} jobs_display;

void jobs_display_open(jobs_display *d, const jobs_options *options);
void jobs_display_show(jobs_display *d, jobs *s);
void jobs_display_close(jobs_display *d, jobs *s);

#endif
