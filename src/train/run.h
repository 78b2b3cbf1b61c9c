/* A run: an experiment trained into a folder (docs/file-formats.md), and a run that is opened again to be looked at. */
#ifndef STPN_TRAIN_RUN_H
#define STPN_TRAIN_RUN_H

#include "train/experiment.h"
#include "train/rollout.h"
#include "train/supervised.h"

enum { RUN_PATH = 4096 };

#define RUN_EXPERIMENT "experiment.json"
#define RUN_METRICS "metrics.csv"
#define RUN_EVENTS "events.out.tfevents.stpn"
#define RUN_LAST "last.safetensors"
#define RUN_BEST "best.safetensors"
#define RUN_SUMMARY "summary.json"

/* FOLDER/NAME; an error where that is too long. */
stpn_status run_path(char path[RUN_PATH], const char *folder, const char *name, stpn_error *error);

/* What a run works with: in an environment, episodes and their agent, where it trains; else data and a learner. */
typedef struct run {
    experiment experiment;
    stpn_net *net;
    task_data data;
    stpn_pool *pool;
    stpn_ranks *ranks; // that train it together, or NULL
    supervised *learner;
    rollout *rollout;
    scaling scaling; // of observations, where an agent that is tested sees them scaled; else of no width
} run;

stpn_adam *run_adam(const run *r);

/* Net and pool, and data and learner where the task has data, of e, which the run takes over even on failure; run_close frees everything.
 * The profile may be NULL; it outlives the run. */
stpn_status run_open(run *r, experiment *e, int threads, profile *told, stpn_error *error);
/* What an environment is trained with. */
stpn_status run_open_rollout(run *r, profile *told, stpn_error *error);
void run_close(run *r);
/* Who trains it together from now on. */
void run_set_ranks(run *r, stpn_ranks *ranks);

/* Opens the folder of a run with its last parameters, or its best. */
stpn_status run_open_folder(run *r, const char *folder, int best, int threads, stpn_error *error);

#endif
