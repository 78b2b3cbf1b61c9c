/* The loss of proximal policy optimisation, one sequence at a time. */
#ifndef STPN_TRAIN_PPO_LOSS_H
#define STPN_TRAIN_PPO_LOSS_H

#include "kernels/kernels.h"
#include "train/options.h"
#include "train/policy.h"

/* Sums over steps, without weights. */
typedef struct ppo_sums {
    int64_t steps;
    double policy, value, entropy, distance;
    double kl, clipped; // (r - 1) - log r; steps with |r - 1| > clip
} ppo_sums;

void ppo_sums_add(ppo_sums *sums, const ppo_sums *term);

/* Weights of the terms: of the options, and the distance's as it stands. */
typedef struct ppo_terms {
    const ppo_options *options;
    double kl_weight;
    double scale; // of the loss: 1 / steps of the minibatch
} ppo_terms;

/* The loss of these sums, times scale. */
double ppo_loss(const ppo_terms *terms, const ppo_sums *sums);

/* Consecutive steps of a copy. */
typedef struct ppo_rows {
    int steps;
    const void *logits, *values;                  // (steps, O), (steps) of the net's type, as it is now
    const void *old_logits;                       // (steps, O) as it acted
    const int32_t *taken;                         // (steps) discrete actions, or
    const double *taken_values;                   // (steps, A) continuous ones
    const double *old_log, *advantages, *returns; // (steps)
    const uint8_t *over;                          // (steps) of the actor: what was skipped adds nothing; or NULL
    void *dlogits, *dvalues;                      // (steps, O), (steps) out: the gradient of scale * loss
    double *space;                                // ppo_rows_space(O) numbers
} ppo_rows;

size_t ppo_rows_space(int outputs);
/* Adds the rows to the sums. */
void ppo_rows_back(const kernel_table *kernel, const ppo_terms *terms, const policy_kind *policy, const ppo_rows *rows,
                   ppo_sums *sums);

#endif
