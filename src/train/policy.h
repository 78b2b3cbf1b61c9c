/* The distribution of actions that head "policy" stands for (actor.h): its logarithm, entropy and distance, and their
 * gradients, a row of outputs at a time, in double whatever the net's type. */
#ifndef STPN_TRAIN_POLICY_H
#define STPN_TRAIN_POLICY_H

#include <stdint.h>

/* Of A discrete actions, O = A scores; of a continuous one, O = 2 A: means, then raw scales. */
typedef struct policy_kind {
    int actions, continuous;
} policy_kind;

typedef struct policy_action {
    int32_t choice;       // discrete
    const double *values; // (A) continuous, or NULL
} policy_action;

/* log(1 + exp(x)), without overflow. */
double policy_softplus(double x);

/* log p of an action; `d` (O) or NULL: its gradient. */
double policy_log(const policy_kind *p, const double *outputs, policy_action action, double *d);
double policy_entropy(const policy_kind *p, const double *outputs, double *d);
/* sum p log(p / q), of p by `before` and q by `outputs`; the gradient is that of `outputs`. */
double policy_distance(const policy_kind *p, const double *before, const double *outputs, double *d);

#endif
