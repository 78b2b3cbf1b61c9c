#include "reference.h"

#include <math.h>
#include <string.h>

static int is_recurrent(const stpn_unit *unit)
{
    return strcmp(unit->name, "stpn_r") == 0;
}

int reference_columns(const stpn_unit *unit, int inputs)
{
    return inputs + (is_recurrent(unit) ? unit->hidden : 0);
}

void reference_plastic(const stpn_unit *unit, int inputs, int *begin, int *end)
{
    *begin = unit->plastic == STPN_PLASTIC_HIDDEN ? inputs : 0;
    *end = unit->plastic == STPN_PLASTIC_INPUT ? inputs : reference_columns(unit, inputs);
}

static double rate(const reference *r, const double *rates, double held, int j, int k)
{
    if (!r->unit.learn) return held;
    if (r->unit.granularity == STPN_GRANULARITY_SCALAR) return rates[0];
    if (r->unit.granularity == STPN_GRANULARITY_NEURON) return rates[j];
    return rates[j * reference_columns(&r->unit, r->inputs) + k];
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

static void layer_norm(int H, double *s, const double *gain, const double *offset, reference_closeness *close)
{
    double mean = 0, variance = 0, largest = 0;
    for (int j = 0; j < H; j++) largest = fmax(largest, fabs(s[j]));
    for (int j = 0; j < H; j++) mean += s[j] / H;
    for (int j = 0; j < H; j++) variance += (s[j] - mean) * (s[j] - mean) / H;
    for (int j = 0; j < H; j++) s[j] = (s[j] - mean) / sqrt(variance + 1e-5) * gain[j] + offset[j];
    close->flat += H > 1 && largest == 0;
    if (H > 1 && largest > 0) close->spread = fmin(close->spread, sqrt(variance));
}

/* F and h before the step, F_next and h_next after it; returns the energy. */
static double step(const reference *r, const double *x, const double *F, const double *h, double *F_next,
                   double *h_next, reference_closeness *close)
{
    const stpn_unit *o = &r->unit;
    int I = r->inputs, H = o->hidden, K = reference_columns(o, I), begin, end;
    double z[REFERENCE_MOST_COLUMNS], v[REFERENCE_MOST_COLUMNS], s[REFERENCE_MOST_HIDDEN],
        inverse[REFERENCE_MOST_HIDDEN], energy = 0;
    reference_plastic(o, I, &begin, &end);
    for (int k = 0; k < K; k++) z[k] = k < I ? x[k] : h[k - I];

    for (int j = 0; j < H; j++) {
        const double *W_j = r->weight + j * K, *F_j = F + j * K;
        inverse[j] = o->norm == STPN_NORM_NONE ? 1 : inverse_norm(row_norm(K, W_j, F_j), close);
        double u = 0;
        for (int k = 0; k < K; k++) u += (W_j[k] + F_j[k]) * z[k];
        for (int k = 0; k < K; k++) energy += z[k] * z[k] * fabs(W_j[k] + F_j[k]) * inverse[j];
        s[j] = u * inverse[j] + (o->bias ? r->bias[j] : 0);
    }
    if (o->layer_norm) layer_norm(H, s, r->ln_weight, r->ln_bias, close);
    for (int j = 0; j < H; j++) h_next[j] = o->activation == STPN_ACTIVATION_TANH ? tanh(s[j]) : 1 / (1 + exp(-s[j]));

    for (int k = 0; k < K; k++) {
        v[k] = k >= I && o->presynaptic == STPN_PRESYNAPTIC_CURRENT ? h_next[k - I] : z[k];
        if (o->rule == STPN_RULE_OJA)
            for (int m = 0; m < H; m++) v[k] -= h_next[m] * F[m * K + k];
    }
    for (int j = 0; j < H; j++) {
        double *next = F_next + j * K;
        for (int k = 0; k < K; k++) next[k] = 0;
        for (int k = begin; k < end; k++) {
            double lambda = rate(r, r->lambda, o->lambda, j, k), gamma = rate(r, r->gamma, o->gamma, j, k);
            double before = o->norm == STPN_NORM_PRE ? F[j * K + k] * inverse[j] : F[j * K + k];
            double product = h_next[j] * v[k];
            next[k] =
                o->decay == STPN_DECAY_AFTER ? lambda * before + gamma * product : lambda * (before + gamma * product);
            if (o->clamp > 0) {
                close->clamp_gap = fmin(close->clamp_gap, fabs(fabs(next[k]) - o->clamp));
                close->clamped += fabs(next[k]) > o->clamp;
                next[k] = fmax(-o->clamp, fmin(o->clamp, next[k]));
            }
        }
        if (o->norm == STPN_NORM_POST) {
            double inverse_post = inverse_norm(row_norm(K, r->weight + j * K, next), close);
            for (int k = 0; k < K; k++) next[k] *= inverse_post;
        }
        for (int k = 0; k < K; k++) close->largest = fmax(close->largest, fabs(next[k]));
    }
    return energy;
}

void reference_run(const reference *r, int steps, const double *x, const uint8_t *live, const uint8_t *reset, double *F,
                   double *h, double *y, double *energy, reference_closeness *closeness)
{
    size_t H = (size_t)r->unit.hidden, matrix = H * (size_t)reference_columns(&r->unit, r->inputs);
    reference_closeness ignored = {0};
    if (!closeness) closeness = &ignored;
    for (int t = 0; t < steps; t++, x += r->inputs, F += matrix, h += H, y += H) {
        if (live && !live[t]) {
            memcpy(F + matrix, F, matrix * sizeof *F);
            memcpy(h + H, h, H * sizeof *h);
            memset(y, 0, H * sizeof *y);
            continue;
        }
        if (reset && reset[t]) {
            memset(F, 0, matrix * sizeof *F);
            memset(h, 0, H * sizeof *h);
        }
        energy[t] += step(r, x, F, h, F + matrix, h + H, closeness);
        memcpy(y, h + H, H * sizeof *y);
    }
}
