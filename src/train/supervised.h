/* The supervised learner: updates from batches of sequences and the answers asked for, the mean loss of the read-out,
 * AdamW; and the evaluation of a split. Who runs the loop is open.
 *
 * Where train.truncate is above 0 and below T, a batch is cut into windows of so many steps: one update each, from the
 * gradient of its own steps alone, the state carried on from window to window as its values. */
#ifndef STPN_TRAIN_SUPERVISED_H
#define STPN_TRAIN_SUPERVISED_H

#include "net/learn.h"
#include "tasks/task.h"
#include "train/experiment.h"
#include "train/loss.h"
#include "train/profile.h"

typedef struct supervised supervised;

/* Batches of up to `batch` sequences of the shape. The net and the pool are the caller's and outlive it. */
stpn_status supervised_create(supervised **s, stpn_net *net, const train_options *options, const task_shape *shape,
                              stpn_pool *pool, stpn_error *error);
void supervised_free(supervised *s);
/* Its threads tell the profile what they are at, which outlives it; NULL (as at first): they tell nobody. */
void supervised_set_profile(supervised *s, profile *p);
/* Who shares the chunks of batches and of evaluations from now on; NULL (as at first): nobody. */
void supervised_set_ranks(supervised *s, stpn_ranks *ranks);
const stpn_net *supervised_net(const supervised *s);
stpn_adam *supervised_adam(supervised *s);

/* Windows of a batch, 1 or more. */
int supervised_windows(const supervised *s);

/* Sequence i of a batch is order[i] of the split, or i-th from `first` on where `order` is NULL. */
typedef struct supervised_batch {
    const task_split *split;
    const int32_t *order;
    int first, count;
} supervised_batch;

/* One update from window `window` of a batch: 0 starts the sequences, each next one follows the one before. `sums`: of
 * the window, before the update; their loss / asked is what is learned from. Where nothing is asked for no update is
 * made, and the state goes on. A loss or a gradient that is not finite is STPN_ERROR_NUMERIC and leaves the parameters
 * as they were. */
stpn_status supervised_update(supervised *s, const supervised_batch *batch, int window, loss_sums *sums,
                              stpn_error *error);

/* What window after window hands on: state tensor `index` (batch, ...), as stpn_state_tensor names it, for a checkpoint
 * in the middle of a batch. NULL past the last, and where there is only one window. */
const void *supervised_carried(const supervised *s, int index, stpn_tensor *tensor);
/* Between two windows: what other ranks have of it comes to all. */
stpn_status supervised_gather_carried(const supervised *s, stpn_error *error);
stpn_status supervised_set_carried(supervised *s, int index, const void *values, stpn_error *error);

/* Means over the answers asked for; NaN where the loss has no such thing. */
typedef struct evaluation {
    double loss, accuracy;
    double true_positive_rate, false_positive_rate;
    double energy; // mean over steps and sequences
} evaluation;

/* Every sequence of the split, in memory that does not grow with T but for one number a step. `energy` (T), the mean of
 * each step over the sequences that have it, and `answers` (N), per step (N, T), the classes decided for (-1 past a
 * sequence's end; of this rank's own chunks), may be NULL. A split that asks for nothing is an input error. */
stpn_status supervised_evaluate(supervised *s, const task_split *split, evaluation *result, double *energy,
                                int32_t *answers, stpn_error *error);

#endif
