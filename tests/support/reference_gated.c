/* Units without plasticity.
 *
 *     RNN   h' = tanh(W [x;h] + b)              MLP   h = tanh(W x + b)
 *     LSTM  (i, f, g, o) = W [x;h] + b      c' = s(f) c + s(i) tanh(g)      h' = s(o) tanh(c')
 *     GRU   r = s(Wi_r x + bi_r + Wh_r h + bh_r), z alike; n = tanh(Wi_n x + bi_n + r (Wh_n h + bh_n));
 *           h' = (1 - z) n + z h
 *
 * Energy: inputs squared against |W|, over all gates. */
#include "reference.h"

#include <math.h>
#include <string.h>

static void concatenate(const reference *r, const double *x, const double *h, double *z)
{
    for (int k = 0; k < r->inputs; k++) z[k] = x[k];
    for (int k = 0; k < r->unit.hidden; k++) z[r->inputs + k] = h[k];
}

static int one_matrix(int rows, int columns, reference_tensor *list)
{
    list[0] = (reference_tensor){"weight", rows, columns};
    list[1] = (reference_tensor){"bias", rows, 0};
    return 2;
}

/* s = W z + b */
static double affine(const reference *r, int rows, int columns, const double *z, double *s)
{
    const double *W = reference_parameter(r, "weight"), *b = reference_parameter(r, "bias");
    reference_product(rows, columns, W, z, s);
    for (int j = 0; j < rows; j++) s[j] += b[j];
    return reference_power(rows, columns, W, z);
}

/* ---- RNN and MLP */

static int rnn_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    return one_matrix(u->hidden, inputs + u->hidden, list);
}

static double rnn_step(const reference *r, const double *x, const double *const *before, double *const *after,
                       double *h, reference_closeness *close)
{
    (void)close;
    int H = r->unit.hidden;
    double z[REFERENCE_MOST_COLUMNS];
    concatenate(r, x, before[0], z);
    double energy = affine(r, H, r->inputs + H, z, h);
    for (int j = 0; j < H; j++) after[0][j] = h[j] = tanh(h[j]);
    return energy;
}

static int mlp_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    return one_matrix(u->hidden, inputs, list);
}

static int no_states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    (void)u;
    (void)inputs;
    (void)list;
    return 0;
}

static double mlp_step(const reference *r, const double *x, const double *const *before, double *const *after,
                       double *h, reference_closeness *close)
{
    (void)before;
    (void)after;
    (void)close;
    double energy = affine(r, r->unit.hidden, r->inputs, x, h);
    for (int j = 0; j < r->unit.hidden; j++) h[j] = tanh(h[j]);
    return energy;
}

/* ---- LSTM */

static int lstm_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    return one_matrix(4 * u->hidden, inputs + u->hidden, list);
}

static int lstm_states(const stpn_unit *u, int inputs, reference_tensor *list)
{
    (void)inputs;
    list[0] = (reference_tensor){"h", u->hidden, 0};
    list[1] = (reference_tensor){"c", u->hidden, 0};
    return 2;
}

static double lstm_step(const reference *r, const double *x, const double *const *before, double *const *after,
                        double *h, reference_closeness *close)
{
    (void)close;
    int H = r->unit.hidden;
    double z[REFERENCE_MOST_COLUMNS], s[4 * REFERENCE_MOST_HIDDEN];
    const double *i = s, *f = s + H, *g = s + 2 * H, *o = s + 3 * H, *c = before[1];
    concatenate(r, x, before[0], z);
    double energy = affine(r, 4 * H, r->inputs + H, z, s);
    for (int j = 0; j < H; j++) {
        double next = reference_sigmoid(f[j]) * c[j] + reference_sigmoid(i[j]) * tanh(g[j]);
        after[1][j] = next;
        after[0][j] = h[j] = reference_sigmoid(o[j]) * tanh(next);
    }
    return energy;
}

/* ---- GRU */

static int gru_parameters(const stpn_unit *u, int inputs, reference_tensor *list)
{
    list[0] = (reference_tensor){"weight_ih", 3 * u->hidden, inputs};
    list[1] = (reference_tensor){"weight_hh", 3 * u->hidden, u->hidden};
    list[2] = (reference_tensor){"bias_ih", 3 * u->hidden, 0};
    list[3] = (reference_tensor){"bias_hh", 3 * u->hidden, 0};
    return 4;
}

static double gru_step(const reference *r, const double *x, const double *const *before, double *const *after,
                       double *h_next, reference_closeness *close)
{
    (void)close;
    int H = r->unit.hidden, I = r->inputs;
    const double *Wi = reference_parameter(r, "weight_ih"), *Wh = reference_parameter(r, "weight_hh");
    const double *bi = reference_parameter(r, "bias_ih"), *bh = reference_parameter(r, "bias_hh"), *h = before[0];
    double a[3 * REFERENCE_MOST_HIDDEN], b[3 * REFERENCE_MOST_HIDDEN];
    reference_product(3 * H, I, Wi, x, a);
    reference_product(3 * H, H, Wh, h, b);
    for (int j = 0; j < 3 * H; j++) {
        a[j] += bi[j];
        b[j] += bh[j];
    }
    for (int j = 0; j < H; j++) {
        double reset = reference_sigmoid(a[j] + b[j]), update = reference_sigmoid(a[H + j] + b[H + j]);
        double candidate = tanh(a[2 * H + j] + reset * b[2 * H + j]);
        after[0][j] = h_next[j] = (1 - update) * candidate + update * h[j];
    }
    return reference_power(3 * H, I, Wi, x) + reference_power(3 * H, H, Wh, h);
}

const reference_kind reference_rnn = {"rnn", rnn_parameters, reference_state_h, rnn_step};
const reference_kind reference_mlp = {"mlp", mlp_parameters, no_states, mlp_step};
const reference_kind reference_lstm = {"lstm", lstm_parameters, lstm_states, lstm_step};
const reference_kind reference_gru = {"gru", gru_parameters, reference_state_h, gru_step};
