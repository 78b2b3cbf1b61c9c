/* Runs side by side: those of one experiment with different seeds are one row. */
#ifndef STPN_CLI_COMPARISON_H
#define STPN_CLI_COMPARISON_H

#include "base/buffer.h"
#include "cli/runs.h"

typedef enum measure {
    MEASURE_REWARD,
    MEASURE_REWARD_BEST,
    MEASURE_GOALS,
    MEASURE_RETURN_STEPS,
    MEASURE_ACCURACY,
    MEASURE_ACCURACY_BEST,
    MEASURE_LOSS,
    MEASURE_LOSS_BEST,
    MEASURE_EPOCHS,
    MEASURE_ENERGY,
    MEASURE_ENERGY_PER_NEURON,
    MEASURE_PICOJOULES,
    MEASURE_SECONDS,
    MEASURES
} measure;

/* Of the runs that have the value. */
typedef struct statistic {
    int count;
    double mean;      // NaN without a value
    double deviation; // standard deviation of the sample (n - 1); NaN with fewer than two values
} statistic;

typedef struct group {
    int *members; // (count) places in the list of runs, by seed
    int count, finished;
    char *name;    // of the experiment; of the folder where it cannot be read
    char *setting; // what tells it from another of the same name: "units.0.hidden=6"; else empty
    char *network; // "stpn_r 11"
    statistic measures[MEASURES];
} group;

typedef struct comparison {
    const run_list *runs;
    group *groups; // (count) sorted by reward, then accuracy, then loss; without a finished run last
    int count;
    char **probes; // (probe_count) names of further test sets, in the order in which they were met
    int probe_count;
} comparison;

typedef enum comparison_style {
    COMPARISON_TEXT,
    COMPARISON_MARKDOWN,
    COMPARISON_CSV,
    COMPARISON_JSON
} comparison_style;

/* Compares runs, which have to outlive it. A second finished run of the same experiment and seed is told and left out.
 * 0, or the code to exit with after a message. comparison_free in any case. */
int comparison_make(comparison *c, const run_list *runs);
void comparison_free(comparison *c);

/* A run's value; NaN where there is none. */
double run_measure(const run_record *r, measure m);
/* A member of the run's probe of that name ("accuracy"); NaN where there is none. */
double run_probe(const run_record *r, const char *probe, const char *member);
statistic group_probe(const comparison *c, const group *g, const char *probe, const char *member);
/* -1 where it is unknown. */
int64_t run_seed(const run_record *r);
int64_t group_parameters(const comparison *c, const group *g);

/* Appends the tables to a buffer; returns 0 where memory is out. */
int comparison_write(const comparison *c, comparison_style style, buffer *out);

#endif
