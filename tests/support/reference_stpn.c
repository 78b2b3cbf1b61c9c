/* STPN-R and STPN-F.
 *
 *     G_j = W_j + F_j(t)      n_j = ||G_j|| + 1e-16 (1 for norm none)      h_j = act(LN(G_j . z / n_j + b_j))
 *     F~_j = F_j / n_j (pre) or F_j      P_jk = h_j v_k      v = z, or z_k - sum_m h_m F_mk (oja)
 *     F^ = Lambda F~ + Gamma P (after) or Lambda (F~ + Gamma P) (prompt), then clip, then / ||W + F^|| (post)
 *
 * What would be divided by a norm of exactly 0 is 0. */
#include "reference.h"

#include <math.h>
#include <string.h>

static int is_recurrent(const stpn_unit *unit)
{
    return strcmp(unit->name, "stpn_r") == 0;
}

static int columns_of(const stpn_unit *unit, int inputs)
{
    return inputs + (is_recurrent(unit) ? unit->hidden : 0);
}

void reference_range(const stpn_unit *unit, int inputs, int *begin, int *end)
{
    *begin = 0;
    *end = REFERENCE_MOST_COLUMNS;
    if (strncmp(unit->name, "stpn_", 5) != 0) return;
    *begin = unit->plastic == STPN_PLASTIC_HIDDEN ? inputs : 0;
    *end = unit->plastic == STPN_PLASTIC_INPUT ? inputs : columns_of(unit, inputs);
}

static int parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    int H = u->hidden, K = columns_of(u, inputs), count = 0;
    int rows = u->granularity == STPN_GRANULARITY_SCALAR ? 1 : H;
    int columns = u->granularity == STPN_GRANULARITY_SYNAPSE ? K : 0;
    list[count++] = (reference_tensor){"weight", H, K};
    if (u->bias) list[count++] = (reference_tensor){"bias", H, 0};
    if (u->learn) list[count++] = (reference_tensor){"lambda", rows, columns};
    if (u->learn) list[count++] = (reference_tensor){"gamma", rows, columns};
    if (u->layer_norm) list[count++] = (reference_tensor){"ln_weight", H, 0};
    if (u->layer_norm) list[count++] = (reference_tensor){"ln_bias", H, 0};
    return count;
}

static int states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    list[0] = (reference_tensor){"F", u->hidden, columns_of(u, inputs)};
    if (is_recurrent(u)) list[1] = (reference_tensor){"h", u->hidden, 0};
    return 1 + is_recurrent(u);
}

static double rate(const reference *r, const double *rates, double held, int j, int k)
{
    if (!r->unit.learn) return held;
    if (r->unit.granularity == STPN_GRANULARITY_SCALAR) return rates[0];
    if (r->unit.granularity == STPN_GRANULARITY_NEURON) return rates[j];
    return rates[j * columns_of(&r->unit, r->inputs) + k];
}

static double row_norm(int K, const double *W, const double *F)
{
    double square = 0;
    for (int k = 0; k < K; k++) square += (W[k] + F[k]) * (W[k] + F[k]);
    return sqrt(square);
}

static double inverse_norm(double norm, reference_closeness *close)
{
    close->norm = fmin(close->norm, norm);
    return norm == 0 ? 0 : 1 / (norm + 1e-16);
}

/* F and h before the step, F_next and h_next after it. */
static double step(const reference *r, const double *x, const double *const *before, double *const *after,
                   double *h_next, reference_closeness *close)
{
    const stpn_unit *o = &r->unit;
    const double *W = reference_parameter(r, "weight"), *b = reference_parameter(r, "bias"), *F = before[0];
    const double *lambdas = reference_parameter(r, "lambda"), *gammas = reference_parameter(r, "gamma");
    int I = r->inputs, H = o->hidden, K = columns_of(o, I), begin, end;
    double z[REFERENCE_MOST_COLUMNS], v[REFERENCE_MOST_COLUMNS], s[REFERENCE_MOST_HIDDEN],
        inverse[REFERENCE_MOST_HIDDEN], energy = 0;
    reference_range(o, I, &begin, &end);
    for (int k = 0; k < K; k++) z[k] = k < I ? x[k] : before[1][k - I];

    for (int j = 0; j < H; j++) {
        const double *W_j = W + j * K, *F_j = F + j * K;
        inverse[j] = o->norm == STPN_NORM_NONE ? 1 : inverse_norm(row_norm(K, W_j, F_j), close);
        double u = 0;
        for (int k = 0; k < K; k++) u += (W_j[k] + F_j[k]) * z[k];
        for (int k = 0; k < K; k++) energy += z[k] * z[k] * fabs(W_j[k] + F_j[k]) * inverse[j];
        s[j] = u * inverse[j] + (o->bias ? b[j] : 0);
    }
    if (o->layer_norm)
        reference_layer_norm(H, s, reference_parameter(r, "ln_weight"), reference_parameter(r, "ln_bias"), close);
    for (int j = 0; j < H; j++)
        h_next[j] = o->activation == STPN_ACTIVATION_TANH ? tanh(s[j]) : reference_sigmoid(s[j]);

    for (int k = 0; k < K; k++) {
        v[k] = k >= I && o->presynaptic == STPN_PRESYNAPTIC_CURRENT ? h_next[k - I] : z[k];
        if (o->rule == STPN_RULE_OJA)
            for (int m = 0; m < H; m++) v[k] -= h_next[m] * F[m * K + k];
    }
    for (int j = 0; j < H; j++) {
        double *next = after[0] + j * K;
        for (int k = 0; k < K; k++) next[k] = 0;
        for (int k = begin; k < end; k++) {
            double lambda = rate(r, lambdas, o->lambda, j, k), gamma = rate(r, gammas, o->gamma, j, k);
            double kept = o->norm == STPN_NORM_PRE ? F[j * K + k] * inverse[j] : F[j * K + k];
            double product = h_next[j] * v[k];
            next[k] =
                o->decay == STPN_DECAY_AFTER ? lambda * kept + gamma * product : lambda * (kept + gamma * product);
            if (o->clamp > 0) {
                close->clamp_gap = fmin(close->clamp_gap, fabs(fabs(next[k]) - o->clamp));
                close->clamped += fabs(next[k]) > o->clamp;
                next[k] = fmax(-o->clamp, fmin(o->clamp, next[k]));
            }
        }
        if (o->norm == STPN_NORM_POST) {
            double inverse_post = inverse_norm(row_norm(K, W + j * K, next), close);
            for (int k = 0; k < K; k++) next[k] *= inverse_post;
        }
    }
    if (is_recurrent(o)) memcpy(after[1], h_next, (size_t)H * sizeof *h_next);
    return energy;
}

const reference_kind reference_stpn_r = {"stpn_r", parameters, states, step};
const reference_kind reference_stpn_f = {"stpn_f", parameters, states, step};
