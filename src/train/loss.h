/* The losses of tasks: what rows of outputs lose against the answers asked for, and the gradient of it.
 *
 *   cross-entropy  log sum_k e^o_k - o_label
 *   binary         the same of the two logits (0, o), so that nothing overflows and nothing cancels
 *   squared        (o - target)^2 of each output
 */
#ifndef STPN_TRAIN_LOSS_H
#define STPN_TRAIN_LOSS_H

#include "kernels/kernels.h"
#include "tasks/task.h"

/* What the answers asked for add up to. An answer is a label, or for LOSS_SQUARED a number. */
typedef struct loss_sums {
    double loss;
    int64_t asked, correct;
    int64_t positives, true_positives, false_positives; // LOSS_BINARY: labels 1; answered 1 of those, of labels 0
} loss_sums;

void loss_add(loss_sums *sums, const loss_sums *term);

/* Answers of sequence n, from step t on where there is one per step. */
typedef struct loss_wanted {
    const int32_t *labels; // (rows), or NULL
    const float *targets;  // (rows, O), or NULL
} loss_wanted;

loss_wanted loss_wanted_at(const task_split *split, const task_shape *shape, int n, int t);

/* How many of `rows` answers are asked for. */
int64_t loss_asked(const task_shape *shape, loss_wanted wanted, int rows);

/* Most rows of one call. */
enum { LOSS_ROWS = 64 };

/* Adds what `rows` rows of outputs (rows, O) lose. `dout` (rows, O), or NULL: gradient of scale * sum of the losses,
 * 0 where nothing is asked for. `answers` (rows), or NULL: the classes decided for; unused by LOSS_SQUARED. */
void loss_rows(const kernel_table *kernel, const task_shape *shape, int rows, const void *out, loss_wanted wanted,
               double scale, void *dout, int32_t *answers, loss_sums *sums);

#endif
