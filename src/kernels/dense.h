/* Inner loops that are not the STPN's own: read-outs, losses, the optimiser, sums over blocks. A read-out's weight is
 * stored like a layer's: (panels of outputs, k, lanes). */
#ifndef STPN_KERNELS_DENSE_H
#define STPN_KERNELS_DENSE_H

#include "kernels/vector.h"

static void convert(size_t count, stpn_input type, const void *x, void *out)
{
    real *to = out;
    if (type == STPN_INPUT_FLOAT) {
        const float *from = x;
        for (size_t i = 0; i < count; i++) to[i] = (real)from[i];
    } else if (type == STPN_INPUT_DOUBLE) {
        const double *from = x;
        for (size_t i = 0; i < count; i++) to[i] = (real)from[i];
    } else {
        const uint8_t *from = x;
        for (size_t i = 0; i < count; i++) to[i] = (real)from[i];
    }
}

static void linear_forward(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *b,
                           void *out)
{
    const real *weight = w, *bias = b;
    for (int row = 0; row < rows; row++) {
        const real *from = (const real *)y + (size_t)row * y_step;
        real *to = (real *)out + (size_t)row * (size_t)n;
        for (int first = 0; first < n; first += WIDTH) {
            const real *panel = weight + (size_t)(first / LANES) * (size_t)k * LANES + first % LANES;
            vec total = load(bias + first);
            for (int i = 0; i < k; i++) total = fma_(load(panel + (size_t)i * LANES), splat(from[i]), total);
            if (first + WIDTH <= n) store_unaligned(to + first, total);
            else memcpy(to + first, &total, (size_t)(n - first) * sizeof *to);
        }
    }
}

static void linear_backward(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *dout,
                            void *dw, void *db, void *dy, size_t dy_step)
{
    const real *weight = w;
    real *dweight = dw, *dbias = db;
    for (int row = 0; row < rows; row++) {
        const real *from = (const real *)y + (size_t)row * y_step;
        const real *up = (const real *)dout + (size_t)row * (size_t)n;
        real *down = dy ? (real *)dy + (size_t)row * dy_step : NULL;
        if (down) memset(down, 0, (size_t)k * sizeof *down);
        for (int first = 0; first < n; first += WIDTH) {
            size_t at = (size_t)(first / LANES) * (size_t)k * LANES + (size_t)(first % LANES);
            vec adjoint = splat(0);
            memcpy(&adjoint, up + first, (size_t)(n - first < WIDTH ? n - first : WIDTH) * sizeof *up);
            if (dbias) store(dbias + first, load(dbias + first) + adjoint);
            for (int i = 0; i < k; i++) {
                if (dweight) {
                    real *to = dweight + at + (size_t)i * LANES;
                    store(to, fma_(adjoint, splat(from[i]), load(to)));
                }
                if (down) down[i] += sum(adjoint * load(weight + at + (size_t)i * LANES));
            }
        }
    }
}

/* Softmax cross-entropy of one row, in the row's own maximum so that nothing overflows. */
static void cross_entropy(int rows, int classes, const void *logits, const int32_t *labels, double scale, void *losses,
                          void *dlogits)
{
    for (int row = 0; row < rows; row++) {
        const real *from = (const real *)logits + (size_t)row * (size_t)classes;
        real largest = from[0], label = from[labels[row]]; // dlogits may be the logits
        for (int i = 1; i < classes; i++) largest = from[i] > largest ? from[i] : largest;
        vec total = splat(0);
        for (int first = 0; first < classes; first += WIDTH) {
            size_t count = (size_t)(classes - first < WIDTH ? classes - first : WIDTH);
            vec part = splat(-(real)HUGE_VAL);
            memcpy(&part, from + first, count * sizeof *from);
            vec weight = exp_(part - splat(largest));
            total += weight;
            if (dlogits) memcpy((real *)dlogits + (size_t)row * (size_t)classes + first, &weight, count * sizeof *from);
        }
        real all = sum(total);
        if (losses) ((real *)losses)[row] = (real)log((double)all) - (label - largest);
        if (!dlogits) continue;
        real *to = (real *)dlogits + (size_t)row * (size_t)classes;
        real factor = (real)scale / all;
        for (int i = 0; i < classes; i++) to[i] *= factor;
        to[labels[row]] -= (real)scale;
    }
}

/* Blocks are padded to whole panels and aligned. */
static void add_block(size_t count, void *sum_block, const void *term)
{
    real *to = sum_block;
    const real *from = term;
    for (size_t i = 0; i < count; i += WIDTH) store(to + i, load(to + i) + load(from + i));
}

static double sum_squares(size_t count, const void *values)
{
    const real *from = values;
    double total = 0;
    for (size_t i = 0; i < count; i++) total += (double)from[i] * (double)from[i];
    return total;
}

static void scale_block(size_t count, void *values, double factor)
{
    real *to = values;
    for (size_t i = 0; i < count; i += WIDTH) store(to + i, load(to + i) * splat((real)factor));
}

static void limit_block(size_t count, void *values, double bound)
{
    real *to = values;
    for (size_t i = 0; i < count; i += WIDTH) store(to + i, bounded(load(to + i), splat((real)bound)));
}

static void adam_block(size_t count, void *p, const void *g, void *m, void *v, double rate, double decay, double beta1,
                       double beta2, double epsilon, double c1, double c2)
{
    real *parameter = p, *first = m, *second = v;
    const real *gradient = g;
    vec keep1 = splat((real)beta1), new1 = splat((real)(1 - beta1)), keep2 = splat((real)beta2);
    vec new2 = splat((real)(1 - beta2)), step = splat((real)(rate / c1)), root_c2 = splat((real)(1 / sqrt(c2)));
    vec eps = splat((real)epsilon), shrink = splat((real)(rate * decay));
    for (size_t i = 0; i < count; i += WIDTH) {
        vec d = load(gradient + i);
        vec mean = fma_(keep1, load(first + i), new1 * d);
        vec square = fma_(keep2, load(second + i), new2 * d * d);
        store(first + i, mean);
        store(second + i, square);
        vec before = load(parameter + i), change = step * mean / fma_(root(square), root_c2, eps);
        store(parameter + i, before - fma_(shrink, before, change));
    }
}

#endif
