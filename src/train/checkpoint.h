/* last.safetensors and best.safetensors: parameters, the optimiser's moments, and how far the run is. */
#ifndef STPN_TRAIN_CHECKPOINT_H
#define STPN_TRAIN_CHECKPOINT_H

#include "io/net_file.h"
#include "net/learn.h"

/* Where a run stands. Nothing here depends on time, threads or paths. */
typedef struct progress_counts {
    int64_t epoch;      // epochs completed
    int64_t update;     // updates done of the epoch under way
    double loss_sum;    // over those updates
    int64_t correct;    // right answers of those
    int64_t best_epoch; // of the best evaluation; 0: none yet
    double best_accuracy;
    int64_t waited; // evaluations since the best
} progress_counts;

/* Both write FOLDER/NAME atomically. `experiment` is the resolved experiment as text. */
stpn_status checkpoint_save(const char *path, const stpn_net *net, const stpn_adam *adam, const progress_counts *counts,
                            const char *experiment, stpn_error *error);
stpn_status checkpoint_save_best(const char *path, const stpn_net *net, const char *experiment, stpn_error *error);

/* Restores net, optimiser and counts; an error leaves all three as they were. `kernel` is the name that must have
 * written the file; NULL: any. */
stpn_status checkpoint_load(const char *path, stpn_net *net, stpn_adam *adam, progress_counts *counts,
                            const char *kernel, stpn_error *error);

#endif
