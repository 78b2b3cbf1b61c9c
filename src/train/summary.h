/* summary.json: what a finished run achieved, and where. */
#ifndef STPN_TRAIN_SUMMARY_H
#define STPN_TRAIN_SUMMARY_H

#include "train/checkpoint.h"
#include "train/run.h"

typedef struct summary_times {
    double seconds;    // of training, over all processes that took part
    int64_t sequences; // with a data set
    int64_t updates;
} summary_times;

/* {"accuracy", "loss", "energy", "energy_per_neuron", "energy_steps", ...} of a split; what the loss does not have is
 * left out. */
stpn_status summary_of_split(run *r, const task_split *split, json_t **object, stpn_error *error);

/* The same, without steps and with a name, of every further test set of the task: an array, empty where it has none. */
stpn_status summary_of_probes(run *r, json_t **array, stpn_error *error);

/* How the test of an environment is done: by the net as it is, or by a policy. */
typedef struct summary_test {
    const env_policy *policy; // or NULL
    int greedy;               // the most probable actions in place of sampled ones
    int iterations;           // 0: those of the experiment
    profile *told;            // or NULL
    const volatile int *stop; // or NULL: not 0: STPN_STOPPED soon
    const char *film; // file for a film of the first episode of copy 0, of an environment that has pictures; or NULL
} summary_test;

/* Whether the most probable actions are taken: asked for, or said by the experiment. */
int summary_is_greedy(const run *r, const summary_test *how);
/* {"reward", "reward_error", "goals", "return_steps", "energy", "energy_per_neuron", "episodes"} of the test of an
 * environment; what there is not is left out. */
stpn_status summary_of_episodes(const run *r, const summary_test *how, json_t **object, stpn_error *error);

/* Measures the test with the net's parameters and with those of the file `best`, and the validation set where there is
 * one; the net keeps its parameters. `how`: of an environment. The text is the caller's (memory_free). */
stpn_status summary_make(run *r, const progress_counts *counts, const char *best, const summary_times *times,
                         const summary_test *how, char **text, stpn_error *error);

/* {"processor", "system", "kernel", "threads"}. */
json_t *summary_machine(const run *r);

#endif
