/* The supervised learner: one update from a batch of token sequences and their labels, cross-entropy of the read-out
 * after the last step, Adam; and the evaluation of a split. Who runs the loop is open. */
#ifndef STPN_TRAIN_SUPERVISED_H
#define STPN_TRAIN_SUPERVISED_H

#include "net/learn.h"
#include "tasks/task.h"
#include "train/experiment.h"

/* Brings the gradient's total together: `blocks` are this process's `count` chunk gradients, in order, from chunk
 * `first` of `total` on; the total must stand in the first block at the end, added as net_sum_blocks adds all `total`
 * blocks. NULL where one process owns all chunks. */
typedef struct reduction {
    stpn_status (*sum)(void *context, const stpn_net *net, void *blocks, int first, int count, int total);
    void *context;
} reduction;

typedef struct supervised supervised;

/* Batches of up to `batch` sequences of `steps` tokens. The net and the pool are the caller's and outlive it. */
stpn_status supervised_create(supervised **s, stpn_net *net, const train_options *options, int steps, stpn_pool *pool,
                              const reduction *reduce, stpn_error *error);
void supervised_free(supervised *s);
stpn_adam *supervised_adam(supervised *s);

/* One update. Sequence i of the batch is `order[i]` of the split, or i-th from `first` on where `order` is NULL.
 * loss: mean over the batch before the update; correct: right answers. A loss or a gradient that is not finite is
 * STPN_ERROR_NUMERIC and leaves the parameters as they were. */
stpn_status supervised_update(supervised *s, const task_split *split, const int32_t *order, int first, int batch,
                              double *loss, int *correct, stpn_error *error);

typedef struct evaluation {
    double loss, accuracy;
    double energy; // mean over steps and sequences
} evaluation;

/* Every sequence of the split. `energy` (T), the mean of each step, and `answers` (count), the answer to each sequence,
 * may be NULL. */
stpn_status supervised_evaluate(supervised *s, const task_split *split, evaluation *result, double *energy,
                                int32_t *answers, stpn_error *error);

#endif
