/* Differentiable plasticity (plastic), neuromodulated plasticity (modplast), retroactive modulation (modul).
 *
 *     h' = tanh(Wi x + bi + (w + alpha E) h)      m = modulation(Wm h' + bm)
 *     plastic   E' = rule(E, eta h' h^T)      modplast   E' = rule(E, m h' h^T)
 *     modul     E' = rule(E, m T),  T' = (1 - eta) T + eta h' h^T
 *     rule(E, d)   clip: clip(E + d, -1, 1)      soft: clip(E + max(d, 0) (1 - E) + min(d, 0) (E + 1), -1, 1)
 *                  add: E + d      decay: (1 - rate) E + d, rate being eta or m
 *
 * Energy: x^2 against |Wi| and h^2 against |w + alpha E|. */
#include "reference.h"

#include <math.h>
#include <string.h>

static int is_modulated(const stpn_unit *u)
{
    return strcmp(u->name, "plastic") != 0;
}

static int is_retroactive(const stpn_unit *u)
{
    return strcmp(u->name, "modul") == 0;
}

static int parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    int H = u->hidden, count = 4;
    list[0] = (reference_tensor){"weight_in", H, inputs};
    list[1] = (reference_tensor){"bias_in", H, 0};
    list[2] = (reference_tensor){"w", H, H};
    list[3] = (reference_tensor){"alpha", H, H};
    if (!is_modulated(u) || is_retroactive(u)) list[count++] = (reference_tensor){"eta", 1, 0};
    if (is_modulated(u)) list[count++] = (reference_tensor){"weight_mod", 1, H};
    if (is_modulated(u)) list[count++] = (reference_tensor){"bias_mod", 1, 0};
    return count;
}

static int states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    (void)inputs;
    list[0] = (reference_tensor){"h", u->hidden, 0};
    list[1] = (reference_tensor){"E", u->hidden, u->hidden};
    if (is_retroactive(u)) list[2] = (reference_tensor){"T", u->hidden, u->hidden};
    return 2 + is_retroactive(u);
}

static double clip(double value, reference_closeness *close)
{
    close->clamp_gap = fmin(close->clamp_gap, fabs(fabs(value) - 1));
    close->clamped += fabs(value) > 1;
    return fmax(-1, fmin(1, value));
}

static double apply_rule(const stpn_unit *u, double E, double change, double rate, reference_closeness *close)
{
    switch (u->trace) {
    case STPN_TRACE_CLIP: return clip(E + change, close);
    case STPN_TRACE_SOFT:
        if (change != 0) close->branch_gap = fmin(close->branch_gap, fabs(change));
        return clip(E + fmax(change, 0) * (1 - E) + fmin(change, 0) * (E + 1), close);
    case STPN_TRACE_ADD: return E + change;
    default: return (1 - rate) * E + change;
    }
}

static double modulation(const reference *r, const double *h)
{
    double s;
    reference_product(1, r->unit.hidden, reference_parameter(r, "weight_mod"), h, &s);
    s += *reference_parameter(r, "bias_mod");
    return r->unit.modulation == STPN_MODULATION_TANH      ? tanh(s)
           : r->unit.modulation == STPN_MODULATION_SIGMOID ? reference_sigmoid(s)
                                                           : s;
}

static double step(const reference *r, const double *x, const double *const *before, double *const *after, double *h,
                   reference_closeness *close)
{
    const double *Wi = reference_parameter(r, "weight_in"), *bi = reference_parameter(r, "bias_in");
    const double *w = reference_parameter(r, "w"), *alpha = reference_parameter(r, "alpha");
    const double *h_prev = before[0], *E = before[1];
    int I = r->inputs, H = r->unit.hidden;
    double G[REFERENCE_MOST_HIDDEN * REFERENCE_MOST_HIDDEN], recurrent[REFERENCE_MOST_HIDDEN];
    for (int i = 0; i < H * H; i++) G[i] = w[i] + alpha[i] * E[i];
    reference_product(H, I, Wi, x, h);
    reference_product(H, H, G, h_prev, recurrent);
    for (int j = 0; j < H; j++) h[j] = tanh(h[j] + bi[j] + recurrent[j]);

    double eta = is_modulated(&r->unit) && !is_retroactive(&r->unit) ? 0 : *reference_parameter(r, "eta");
    double m = is_modulated(&r->unit) ? modulation(r, h) : 0;
    for (int j = 0; j < H; j++)
        for (int k = 0; k < H; k++) {
            int i = j * H + k;
            double rate = is_modulated(&r->unit) ? m : eta, product = h[j] * h_prev[k];
            if (is_retroactive(&r->unit)) {
                after[1][i] = apply_rule(&r->unit, E[i], m * before[2][i], 0, close);
                after[2][i] = (1 - eta) * before[2][i] + eta * product;
            } else after[1][i] = apply_rule(&r->unit, E[i], rate * product, rate, close);
        }
    memcpy(after[0], h, (size_t)H * sizeof *h);
    return reference_power(H, I, Wi, x) + reference_power(H, H, G, h_prev);
}

const reference_kind reference_plastic = {"plastic", parameters, states, step};
const reference_kind reference_modplast = {"modplast", parameters, states, step};
const reference_kind reference_modul = {"modul", parameters, states, step};
