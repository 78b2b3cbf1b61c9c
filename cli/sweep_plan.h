/* The runs of a sweep, round by round, and what came of them. */
#ifndef STPN_CLI_SWEEP_PLAN_H
#define STPN_CLI_SWEEP_PLAN_H

#include "cli/plan.h"
#include "cli/sweep_file.h"

/* In the folder of a run whose loss was no longer finite: it has ended, and is nobody's best. */
#define SWEEP_DIVERGED "diverged.txt"

typedef struct sweep_result {
    int configuration;
    double value;  // mean over the seeds of what is ranked by; NaN where a run has none
    int finished;  // runs, diverged ones too
    int first_run; // in the plan: one for each seed
} sweep_result;

typedef struct sweep_round {
    sweep_result *results; // (count) in the order of their configurations, until they are ranked
    int count;
} sweep_round;

typedef struct sweep_plan {
    const sweep *sweep;
    const char *out;
    plan all;            // the runs of all rounds so far, round after round
    sweep_round *rounds; // (round_count)
    int round_count;
    int dropped; // configurations that were drawn a second time
} sweep_plan;

/* Room for every round. 0, or the code to exit with after a message. sweep_plan_free in any case. */
int sweep_plan_open(sweep_plan *p, const sweep *s, const char *out);
void sweep_plan_free(sweep_plan *p);
/* Adds the next round: the configurations that the one before it, which is ranked, has kept. */
int sweep_plan_add_round(sweep_plan *p);
/* Reads the results of the last round; `ended`: all its runs have. Where they have, the best stands first. */
int sweep_plan_rank(sweep_plan *p, int *ended);

/* All settings of a configuration, "train.learning_rate=0.003, units.0.hidden=11"; 0 where memory is out. */
int sweep_settings_text(const sweep *s, int configuration, buffer *text);

#endif
