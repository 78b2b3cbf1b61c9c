/* The actor-critic's returns and loss, one sample at a time. */
#ifndef STPN_TRAIN_A2C_LOSS_H
#define STPN_TRAIN_A2C_LOSS_H

#include "kernels/kernels.h"
#include "train/a2c.h"
#include "train/policy.h"

/* Sums over steps and copies, without weights. */
typedef struct a2c_sums {
    double policy, value, concentration, entropy;
} a2c_sums;

void a2c_sums_add(a2c_sums *sums, const a2c_sums *term);
/* The loss, times scale. */
double a2c_loss(const a2c_options *options, double scale, const a2c_sums *sums);

/* The terms of the policy: adds them to the sums and writes dlogits (T, A), the gradient of scale * loss; a step that was
 * skipped by `over` (T), the actor's, adds nothing. `losses` (T) is work space. */
void a2c_policy_rows(const kernel_table *kernel, const a2c_options *options, double scale, int steps, int actions,
                     const void *logits, const int32_t *taken, const uint8_t *over, const double *advantages,
                     void *losses, void *dlogits, a2c_sums *sums);
/* The same of continuous actions, `values` (T, A): outputs and their gradient (T, 2 A). There is no concentration. `space`
 * has a2c_values_space doubles. */
size_t a2c_values_space(int actions);
void a2c_policy_values(const kernel_table *kernel, const a2c_options *options, double scale, int steps, int actions,
                       const void *outputs, const double *values, const uint8_t *over, const double *advantages,
                       double *space, void *doutputs, a2c_sums *sums);

#endif
