/* Runs to be made: for stpn reproduce every experiment of a manifest, in every variation, with every seed; those of a sweep
 * (sweep_plan.h). */
#ifndef STPN_CLI_PLAN_H
#define STPN_CLI_PLAN_H

#include "cli/seeds.h"
#include "train/experiment.h"
#include "train/run.h"

#define PLAN_MANIFEST "reproduce.json"

enum { PLAN_RUNS_MOST = 10000 };

/* What the command line adds to the manifest. */
typedef struct plan_options {
    const char *name;   // of the folder of experiments: "retrieval"
    const char *folder; // folder of all of them; NULL: looked for
    const char *out;    // folder of the runs
    const char *seeds;  // NULL: the manifest's
    const char **set;   // (set_count) settings over those of the manifest
    int set_count;
} plan_options;

/* An experiment in one variation. */
typedef struct plan_entry {
    char *file;
    char **set; // (set_count) "key=value"
    int set_count;
    char *name;  // of the experiment, the variation's suffix with it
    double cost; // of one run, in no unit: what takes longest starts first
} plan_entry;

typedef struct plan_run {
    const plan_entry *entry;
    uint64_t seed;
    char name[160];        // NAME-sSEED
    char folder[RUN_PATH]; // OUT/NAME-sSEED
    int finished;          // it was before
} plan_run;

typedef struct plan {
    plan_entry *entries; // (entry_count)
    int entry_count;
    plan_run *runs; // (run_count) the longest first
    int run_count;
} plan;

/* Reads the manifest and every experiment, checks them and the runs that the folder `out` holds already: one that is of
 * another experiment is wrong use. 0, or the code to exit with after a message. plan_free in any case. */
int plan_make(plan *p, const plan_options *options);
void plan_free(plan *p);

/* For a plan of another kind, whose arrays the caller has made large enough. An experiment file with settings; a run of it,
 * in the folder OUT/NAME; the longest first. */
stpn_status plan_add_entry(plan *p, const char *file, const char *const *set, int set_count, stpn_error *error);
stpn_status plan_add_run(plan *p, const plan_entry *entry, uint64_t seed, const char *out, const char *name,
                         stpn_error *error);
void plan_sort(plan *p);

#endif
