/* last.safetensors and best.safetensors: parameters, the optimiser's moments, and how far the run is. */
#ifndef STPN_TRAIN_CHECKPOINT_H
#define STPN_TRAIN_CHECKPOINT_H

#include "io/net_file.h"
#include "train/run.h"

/* Where a run stands. Nothing here depends on time, threads or paths. */
typedef struct progress_counts {
    int64_t epoch;      // epochs, or iterations in an environment, completed
    int64_t best_epoch; // of the best evaluation; 0: none yet
    int64_t waited;     // evaluations since the best
    /* With a data set. */
    int64_t update;                  // windows done of the epoch under way
    double loss_sum;                 // over their answers
    int64_t answers;                 // asked for in those
    int64_t correct;                 // right ones of those
    double best_loss, best_accuracy; // accuracy 0 where the loss has none
    /* In an environment. */
    int64_t since;             // iterations since the latest row of metrics
    a2c_stats sums;            // over those, but for the energy: a2c,
    ppo_stats ppo;             // or ppo
    rollout_episodes episodes; // that ended in those; in rollouts of steps
    rollout_latest latest;     // and the latest of all
    double best_reward;
} progress_counts;

/* What a checkpoint holds of the copies or sequences of other ranks comes to this one; before checkpoint_save. Nothing is allocated, so
 * that no rank alone can fail. */
stpn_status checkpoint_gather(const run *r, const progress_counts *counts, stpn_error *error);
/* Both write FOLDER/NAME atomically. `text` is the resolved experiment, `parameters` a block. */
stpn_status checkpoint_save(const char *path, const run *r, const progress_counts *counts, const char *text,
                            stpn_error *error);
/* `observations`: what they are scaled by, or of no width. */
stpn_status checkpoint_save_best(const char *path, const stpn_net *net, const void *parameters,
                                 const scaling *observations, const char *text, stpn_error *error);
/* Parameters, and what observations are scaled by, of either file or, where nothing is scaled, of any of the net's. */
stpn_status checkpoint_load_agent(run *r, const char *path, stpn_error *error);

/* Restores net, optimiser, counts and, in the middle of a batch, the state, or that of the environment; an error leaves
 * the first three as they were. `kernel` is the name that must have written the file; NULL: any. */
stpn_status checkpoint_load(const char *path, run *r, progress_counts *counts, const char *kernel, stpn_error *error);

#endif
