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

/* A loop for each of these, as the values are no whole number of vectors. NaN passes. */
static void shift_scale(size_t count, void *values, double offset, double factor)
{
    real *to = values, shift = (real)offset, by = (real)factor;
    for (size_t i = 0; i < count; i++) to[i] = (to[i] - shift) * by;
}

static void relu_forward(size_t count, void *values)
{
    real *to = values;
    for (size_t i = 0; i < count; i++) to[i] = to[i] < 0 ? 0 : to[i];
}

static void relu_backward(size_t count, const void *out, void *dout)
{
    const real *at = out;
    real *to = dout;
    for (size_t i = 0; i < count; i++) to[i] = at[i] > 0 ? to[i] : 0;
}

INLINE vec greater(vec a, vec b)
{
    return choose(a > b, a, b);
}

INLINE real largest_lane(vec v)
{
    real lane[WIDTH];
    memcpy(lane, &v, sizeof lane);
    for (int half = WIDTH / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
    return lane[0];
}

enum { LINEAR_ROWS = 8, LINEAR_COLUMNS = 8, LINEAR_FEW = 3 }; // sums that are held in registers

/* One vector of outputs for `rows` rows, a constant of every call. */
INLINE void linear_rows(int rows, int k, const real *y, size_t y_step, const real *panel, const real *bias, real *out,
                        int n, int count)
{
    vec total[LINEAR_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) total[r] = load(bias);
    for (int i = 0; i < k; i++) {
        vec weight = load(panel + (size_t)i * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) total[r] = fma_(weight, splat(y[(size_t)r * y_step + (size_t)i]), total[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) store_part(out + (size_t)r * (size_t)n, count, total[r]);
}

static void linear_forward(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *b,
                           void *out)
{
    const real *weight = w, *bias = b;
    for (int first = 0; first < n; first += WIDTH) {
        const real *panel = weight + (size_t)(first / LANES) * (size_t)k * LANES + first % LANES;
        const real *from = y;
        real *to = (real *)out + first;
        int row = 0;
        for (; row + LINEAR_ROWS <= rows; row += LINEAR_ROWS)
            linear_rows(LINEAR_ROWS, k, from + (size_t)row * y_step, y_step, panel, bias + first,
                        to + (size_t)row * (size_t)n, n, n - first);
        for (; row < rows; row++)
            linear_rows(1, k, from + (size_t)row * y_step, y_step, panel, bias + first, to + (size_t)row * (size_t)n, n,
                        n - first);
    }
}

/* Gradient of `columns` columns of one vector of outputs, a constant of every call. */
INLINE void linear_columns(int columns, int rows, const real *y, size_t y_step, const real *up, int n, int count,
                           real *to)
{
    vec total[LINEAR_COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) total[i] = load(to + (size_t)i * LANES);
    for (int row = 0; row < rows; row++, y += y_step, up += n) {
        vec adjoint = load_part(up, count, 0);
#pragma GCC unroll 8
        for (int i = 0; i < columns; i++) total[i] = fma_(adjoint, splat(y[i]), total[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) store(to + (size_t)i * LANES, total[i]);
}

/* `columns`, a constant of every call, columns of the adjoint of a row's inputs. */
INLINE void linear_down(int columns, int n, size_t panel, const real *weight, const real *up, real *down)
{
    vec total[LINEAR_COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) total[i] = splat(0);
    for (int first = 0; first < n; first += WIDTH) {
        const real *at = weight + (size_t)(first / LANES) * panel + first % LANES;
        vec adjoint = load_part(up + first, n - first, 0);
#pragma GCC unroll 8
        for (int i = 0; i < columns; i++) total[i] = fma_(adjoint, load(at + (size_t)i * LANES), total[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) down[i] = sum(total[i]);
}

static void linear_backward(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *dout,
                            void *dw, void *db, void *dy, size_t dy_step)
{
    const real *from = y, *up = dout;
    real *dbias = db;
    for (int first = 0; first < n && dw; first += WIDTH) {
        real *to = (real *)dw + (size_t)(first / LANES) * (size_t)k * LANES + first % LANES;
        vec total = load(dbias + first);
        for (int row = 0; row < rows; row++) total += load_part(up + (size_t)row * (size_t)n + first, n - first, 0);
        store(dbias + first, total);
        int i = 0;
        for (; i + LINEAR_COLUMNS <= k; i += LINEAR_COLUMNS)
            linear_columns(LINEAR_COLUMNS, rows, from + i, y_step, up + first, n, n - first, to + (size_t)i * LANES);
        for (; i + LINEAR_FEW <= k; i += LINEAR_FEW)
            linear_columns(LINEAR_FEW, rows, from + i, y_step, up + first, n, n - first, to + (size_t)i * LANES);
        for (; i < k; i++) linear_columns(1, rows, from + i, y_step, up + first, n, n - first, to + (size_t)i * LANES);
    }
    for (int row = 0; row < rows && dy; row++, up += n) {
        const real *weight = w;
        real *down = (real *)dy + (size_t)row * dy_step;
        size_t panel = (size_t)k * LANES;
        int i = 0;
        for (; i + LINEAR_COLUMNS <= k; i += LINEAR_COLUMNS)
            linear_down(LINEAR_COLUMNS, n, panel, weight + (size_t)i * LANES, up, down + i);
        for (; i + LINEAR_FEW <= k; i += LINEAR_FEW)
            linear_down(LINEAR_FEW, n, panel, weight + (size_t)i * LANES, up, down + i);
        for (; i < k; i++) linear_down(1, n, panel, weight + (size_t)i * LANES, up, down + i);
    }
}

/* The first of the largest of a row, and its value; 0 where there is none, which a NaN may cause. */
INLINE int largest_of(const real *row, int count, real *largest)
{
    vec most = splat(-(real)HUGE_VAL), place = splat(-(real)HUGE_VAL);
    for (int first = 0; first < count; first += WIDTH)
        most = greater(load_part(row + first, count - first, -(real)HUGE_VAL), most);
    *largest = largest_lane(most);
    vec lanes = splat(0);
    for (int i = 0; i < WIDTH; i++) lanes[i] = (real)-i;
    for (int first = 0; first < count; first += WIDTH) {
        vec part = load_part(row + first, count - first, -(real)HUGE_VAL);
        place = greater(choose(part == splat(*largest), lanes - splat((real)first), splat(-(real)HUGE_VAL)), place);
    }
    real found = -largest_lane(place);
    return found < (real)count ? (int)found : 0;
}

/* Softmax cross-entropy of each row, in the row's own maximum so that nothing overflows. */
static void cross_entropy(int rows, int classes, const void *logits, const int32_t *labels, double scale, void *losses,
                          void *dlogits, int32_t *answers)
{
    for (int row = 0; row < rows; row++) {
        const real *from = (const real *)logits + (size_t)row * (size_t)classes;
        real *to = dlogits ? (real *)dlogits + (size_t)row * (size_t)classes : NULL;
        real largest, label = from[labels[row]]; // dlogits may be the logits
        int answer = largest_of(from, classes, &largest);
        vec total = splat(0);
        if (answers) answers[row] = answer;
        for (int first = 0; first < classes; first += WIDTH) {
            vec part = load_part(from + first, classes - first, -(real)HUGE_VAL);
            vec weight = exp_(part - splat(largest));
            total += weight;
            if (to) store_part(to + first, classes - first, weight);
        }
        real all = sum(total);
        if (losses) ((real *)losses)[row] = (real)log((double)all) - (label - largest);
        if (!to) continue;
        real factor = (real)scale / all;
        for (int first = 0; first < classes; first += WIDTH) {
            int count = classes - first;
            store_part(to + first, count, load_part(to + first, count, 0) * splat(factor));
        }
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

/* A sum for each lane of a panel, so that none waits for another. */
static double sum_squares(size_t count, const void *values)
{
    const real *from = values;
    double total[LANES] = {0}, all = 0;
    for (size_t i = 0; i < count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            total[lane] += (double)from[i + (size_t)lane] * (double)from[i + (size_t)lane];
    for (int lane = 0; lane < LANES; lane++) all += total[lane];
    return all;
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
