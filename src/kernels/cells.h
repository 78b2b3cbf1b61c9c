/* What a gated unit does between its products: the cells of one sample, rows of Hp neurons. Padding lanes hold 0 and stay
 * so: every cell maps 0 to 0. */
#ifndef STPN_KERNELS_CELLS_H
#define STPN_KERNELS_CELLS_H

#include "kernels/vector.h"

/* h = tanh(p) */
static void tanh_forward(size_t count, const void *p, void *h)
{
    for (size_t i = 0; i < count; i += WIDTH) store((real *)h + i, tanh_(load((const real *)p + i)));
}

/* d = dh (1 - h^2) */
static void tanh_backward(size_t count, const void *h, const void *dh, void *d)
{
    for (size_t i = 0; i < count; i += WIDTH) {
        vec y = load((const real *)h + i), up = load((const real *)dh + i);
        store((real *)d + i, up - up * y * y);
    }
}

/* Rows of an LSTM's gates and of its tape. */
enum { LSTM_I, LSTM_F, LSTM_G, LSTM_O, LSTM_C, LSTM_TANH_C };

/* c' = s(f) c + s(i) tanh(g), h = s(o) tanh(c') */
static void lstm_forward(size_t count, const void *gates, void *c, void *h, void *tape)
{
    const real *p = gates;
    real *cell = c, *out = h, *kept = tape;
    for (size_t i = 0; i < count; i += WIDTH) {
        vec in = sigmoid_(load(p + LSTM_I * count + i)), forget = sigmoid_(load(p + LSTM_F * count + i));
        vec new = tanh_(load(p + LSTM_G * count + i)), show = sigmoid_(load(p + LSTM_O * count + i));
        vec after = fma_(in, new, forget * load(cell + i)), size = tanh_(after);
        store(cell + i, after);
        store(out + i, show * size);
        if (!kept) continue;
        store(kept + LSTM_I * count + i, in);
        store(kept + LSTM_F * count + i, forget);
        store(kept + LSTM_G * count + i, new);
        store(kept + LSTM_O * count + i, show);
        store(kept + LSTM_C * count + i, after);
        store(kept + LSTM_TANH_C * count + i, size);
    }
}

/* dc: in the adjoint of c', out of c. */
static void lstm_backward(size_t count, const void *tape, const void *c_before, const void *dh, void *dc, void *d)
{
    const real *kept = tape, *before = c_before, *up = dh;
    real *cell = dc, *out = d;
    vec one = splat(1);
    for (size_t i = 0; i < count; i += WIDTH) {
        vec in = load(kept + LSTM_I * count + i), forget = load(kept + LSTM_F * count + i);
        vec new = load(kept + LSTM_G * count + i), show = load(kept + LSTM_O * count + i);
        vec size = load(kept + LSTM_TANH_C * count + i), dout = load(up + i), old = load(before + i);
        vec dcell = fma_(dout * show, one - size * size, load(cell + i));
        store(out + LSTM_I * count + i, dcell * new *in *(one - in));
        store(out + LSTM_F * count + i, dcell * old * forget * (one - forget));
        store(out + LSTM_G * count + i, dcell * in * (one - new *new));
        store(out + LSTM_O * count + i, dout * size * show * (one - show));
        store(cell + i, dcell * forget);
    }
}

/* Rows of a GRU's gates and of its tape. */
enum { GRU_R, GRU_Z, GRU_N, GRU_HIDDEN };

/* r = s(pr + qr), z = s(pz + qz), n = tanh(pn + r qn), h' = n + z (h - n); p from the inputs, q from h. */
static void gru_forward(size_t count, const void *inputs, const void *recurrent, void *h, void *tape)
{
    const real *p = inputs, *q = recurrent;
    real *out = h, *kept = tape;
    for (size_t i = 0; i < count; i += WIDTH) {
        vec hidden = load(q + GRU_N * count + i);
        vec r = sigmoid_(load(p + GRU_R * count + i) + load(q + GRU_R * count + i));
        vec z = sigmoid_(load(p + GRU_Z * count + i) + load(q + GRU_Z * count + i));
        vec n = tanh_(fma_(r, hidden, load(p + GRU_N * count + i)));
        store(out + i, fma_(z, load(out + i) - n, n));
        if (!kept) continue;
        store(kept + GRU_R * count + i, r);
        store(kept + GRU_Z * count + i, z);
        store(kept + GRU_N * count + i, n);
        store(kept + GRU_HIDDEN * count + i, hidden);
    }
}

/* dh: in the adjoint of h', out the part of h's that does not go through the products. d: adjoints of p, then of q. */
static void gru_backward(size_t count, const void *tape, const void *h_before, void *dh, void *d)
{
    const real *kept = tape, *before = h_before;
    real *up = dh, *dp = d, *dq = dp + 3 * count;
    vec one = splat(1);
    for (size_t i = 0; i < count; i += WIDTH) {
        vec r = load(kept + GRU_R * count + i), z = load(kept + GRU_Z * count + i);
        vec n = load(kept + GRU_N * count + i), hidden = load(kept + GRU_HIDDEN * count + i);
        vec dout = load(up + i), dn = dout * (one - z) * (one - n * n);
        vec dz = dout * (load(before + i) - n) * z * (one - z), dr = dn * hidden * r * (one - r);
        store(dp + GRU_R * count + i, dr);
        store(dp + GRU_Z * count + i, dz);
        store(dp + GRU_N * count + i, dn);
        store(dq + GRU_R * count + i, dr);
        store(dq + GRU_Z * count + i, dz);
        store(dq + GRU_N * count + i, dn * r);
        store(up + i, dout * z);
    }
}

/* to += from; any place, any count. */
static void accumulate(size_t count, void *to, const void *from)
{
    real *sums = to;
    const real *terms = from;
    for (size_t i = 0; i < count; i++) sums[i] += terms[i];
}

/* sizes (columns) = sums over the rows of |w|. */
static void absolute_sums(const panel_matrix *w, void *sizes)
{
    real *out = sizes;
    for (int c = 0; c < w->columns; c++) {
        vec total = splat(0);
        for (int p = 0; p < w->panels; p++)
            for (int i = 0; i < LANES; i += WIDTH)
                total += absolute(load((real *)w->values + (size_t)p * w->panel_step + (size_t)c * LANES + i));
        out[c] = sum(total);
    }
}

/* energy += sum of z^2 sizes */
static void add_energy(size_t count, const void *z, const void *sizes, void *energy)
{
    const real *from = z, *size = sizes;
    vec total = splat(0);
    size_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        vec value = load_unaligned(from + i);
        total = fma_(value * value, load_unaligned(size + i), total);
    }
    real rest = sum(total);
    for (; i < count; i++) rest += from[i] * from[i] * size[i];
    *(real *)energy += rest;
}

#endif
