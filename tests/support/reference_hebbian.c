/* Fast weights and HebbFF.
 *
 *     fast weights  A' = lambda A + eta h h^T from the h before;  p = W [x;h] + b;  h0 = tanh(LN(p));
 *                   then S times h_s+1 = tanh(LN(p + A' h_s))
 *                   energy: z^2 against |W|, and h_s^2 against |A'| for every inner step
 *     HebbFF        h = s(W x + b + A x);  A' = lambda A + eta h x^T;  lambda = s(a);  eta = -exp(e)
 *                   energy: x^2 against |W + A| */
#include "reference.h"

#include <math.h>
#include <string.h>

/* ---- fast weights */

static int fast_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    list[0] = (reference_tensor){"weight", u->hidden, inputs + u->hidden};
    list[1] = (reference_tensor){"bias", u->hidden, 0};
    list[2] = (reference_tensor){"ln_weight", u->hidden, 0};
    list[3] = (reference_tensor){"ln_bias", u->hidden, 0};
    return 4;
}

static int fast_states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    (void)inputs;
    list[0] = (reference_tensor){"h", u->hidden, 0};
    list[1] = (reference_tensor){"A", u->hidden, u->hidden};
    return 2;
}

static double fast_step(const reference *r, const double *x, const double *const *before, double *const *after,
                        double *h, reference_closeness *close)
{
    const double *W = reference_parameter(r, "weight"), *b = reference_parameter(r, "bias");
    const double *gain = reference_parameter(r, "ln_weight"), *offset = reference_parameter(r, "ln_bias");
    int I = r->inputs, H = r->unit.hidden;
    double z[REFERENCE_MOST_COLUMNS], p[REFERENCE_MOST_HIDDEN], Ah[REFERENCE_MOST_HIDDEN];
    double *A = after[1];
    for (int k = 0; k < I + H; k++) z[k] = k < I ? x[k] : before[0][k - I];
    for (int j = 0; j < H; j++)
        for (int k = 0; k < H; k++)
            A[j * H + k] = r->unit.lambda * before[1][j * H + k] + r->unit.eta * before[0][j] * before[0][k];
    reference_product(H, I + H, W, z, p);
    double energy = reference_power(H, I + H, W, z);
    for (int j = 0; j < H; j++) h[j] = p[j] += b[j];
    for (int s = 0; s <= r->unit.inner_steps; s++) {
        if (s > 0) {
            reference_product(H, H, A, h, Ah);
            energy += reference_power(H, H, A, h);
            for (int j = 0; j < H; j++) h[j] = p[j] + Ah[j];
        }
        reference_layer_norm(H, h, gain, offset, close);
        for (int j = 0; j < H; j++) h[j] = tanh(h[j]);
    }
    memcpy(after[0], h, (size_t)H * sizeof *h);
    return energy;
}

/* ---- HebbFF */

static int hebbff_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    list[0] = (reference_tensor){"weight", u->hidden, inputs};
    list[1] = (reference_tensor){"bias", u->hidden, 0};
    list[2] = (reference_tensor){"lambda_logit", 1, 0};
    list[3] = (reference_tensor){"eta_log", 1, 0};
    return 4;
}

static int hebbff_states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    list[0] = (reference_tensor){"A", u->hidden, inputs};
    return 1;
}

static double hebbff_step(const reference *r, const double *x, const double *const *before, double *const *after,
                          double *h, reference_closeness *close)
{
    (void)close;
    const double *W = reference_parameter(r, "weight"), *b = reference_parameter(r, "bias");
    double lambda = reference_sigmoid(*reference_parameter(r, "lambda_logit"));
    double eta = -exp(*reference_parameter(r, "eta_log")), energy = 0;
    int I = r->inputs, H = r->unit.hidden;
    for (int j = 0; j < H; j++) {
        const double *W_j = W + j * I, *A_j = before[0] + j * I;
        double s = b[j];
        for (int k = 0; k < I; k++) {
            s += (W_j[k] + A_j[k]) * x[k];
            energy += x[k] * x[k] * fabs(W_j[k] + A_j[k]);
        }
        h[j] = reference_sigmoid(s);
        for (int k = 0; k < I; k++) after[0][j * I + k] = lambda * A_j[k] + eta * h[j] * x[k];
    }
    return energy;
}

const reference_kind reference_fast_weights = {"fast_weights", fast_parameters, fast_states, fast_step};
const reference_kind reference_hebbff = {"hebbff", hebbff_parameters, hebbff_states, hebbff_step};
