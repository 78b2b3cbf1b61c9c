#include "train/a2c_loss.h"

#include "units/unit.h"

#include <string.h>

void a2c_sums_add(a2c_sums *sums, const a2c_sums *term)
{
    sums->policy += term->policy;
    sums->value += term->value;
    sums->concentration += term->concentration;
    sums->entropy += term->entropy;
}

double a2c_loss(const a2c_options *o, double scale, const a2c_sums *sums)
{
    return scale * (sums->policy + o->value_weight * sums->value + o->concentration_weight * sums->concentration -
                    o->entropy_weight * sums->entropy);
}

/* Row t: with p and l = log p, S = sum of p^2 and H the entropy, d/dlogits of
 *   -A log p(a)   A (p_k - [k = a])
 *   S             2 p_k (p_k - S)
 *   H             -p_k (l_k + H) */
void a2c_policy_rows(const kernel_table *k, const a2c_options *o, double scale, int steps, int actions,
                     const void *logits, const int32_t *taken, const uint8_t *over, const double *advantages,
                     void *losses, void *dlogits, a2c_sums *sums)
{
    k->cross_entropy(steps, actions, logits, taken, 1, losses, dlogits, NULL);
    for (int t = 0; t < steps; t++) {
        size_t row = (size_t)t * (size_t)actions;
        if (over[t] & STPN_SKIPPED) {
            memset(value_at(k, dlogits, row), 0, (size_t)actions * k->size);
            continue;
        }
        double loss = value_read(k, losses, (size_t)t), shift = value_read(k, logits, row + (size_t)taken[t]) + loss;
        double square = 0, entropy = 0;
        for (int i = 0; i < actions; i++) {
            double p = value_read(k, dlogits, row + (size_t)i) + (i == taken[t]);
            square += p * p;
            entropy -= p * (value_read(k, logits, row + (size_t)i) - shift);
        }
        for (int i = 0; i < actions; i++) {
            double d = value_read(k, dlogits, row + (size_t)i), p = d + (i == taken[t]);
            double log_p = value_read(k, logits, row + (size_t)i) - shift;
            double gradient = advantages[t] * d + o->concentration_weight * 2 * p * (p - square) +
                              o->entropy_weight * p * (log_p + entropy);
            value_write(k, dlogits, row + (size_t)i, scale * gradient);
        }
        sums->policy += advantages[t] * loss;
        sums->concentration += square;
        sums->entropy += entropy;
    }
}

/* A row of outputs, and two gradients of it. */
size_t a2c_values_space(int actions)
{
    return 3 * 2 * (size_t)actions;
}

void a2c_policy_values(const kernel_table *k, const a2c_options *o, double scale, int steps, int actions,
                       const void *outputs, const double *values, const uint8_t *over, const double *advantages,
                       double *space, void *doutputs, a2c_sums *sums)
{
    const policy_kind kind = {.actions = actions, .continuous = 1};
    size_t O = 2 * (size_t)actions;
    double *row = space, *dlog = row + O, *dentropy = dlog + O;
    for (size_t t = 0; t < (size_t)steps; t++) {
        if (over[t] & STPN_SKIPPED) {
            memset(value_at(k, doutputs, t * O), 0, O * k->size);
            continue;
        }
        for (size_t i = 0; i < O; i++) row[i] = value_read(k, outputs, t * O + i);
        const policy_action taken = {.values = values + t * (size_t)actions};
        sums->policy -= advantages[t] * policy_log(&kind, row, taken, dlog);
        sums->entropy += policy_entropy(&kind, row, dentropy);
        for (size_t i = 0; i < O; i++)
            value_write(k, doutputs, t * O + i, -scale * (advantages[t] * dlog[i] + o->entropy_weight * dentropy[i]));
    }
}
