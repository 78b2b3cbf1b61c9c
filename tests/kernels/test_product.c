#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

/* Every kernel's products against plain loops: rows in steps of samples, sizes with a rest of everything, inputs dense, one-hot
 * and all zero. */

typedef enum filling { DENSE, ONE_HOT, FEW, ZERO, FILLINGS } filling;

/* A shape, and its arrays in double as plain loops have them: rows = outer * inner. */
typedef struct shape {
    int outer, inner, N, K;
} shape;

static const shape shapes[] = {{1, 1, 1, 1},    {1, 1, 16, 16}, {2, 3, 17, 5},  {16, 1, 9, 37},
                               {16, 8, 47, 17}, {5, 2, 33, 70}, {3, 7, 100, 9}, {1, 13, 20, 128}};

static double draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(float)((double)(*seed >> 8) / (1 << 23) - 1);
}

static void put(const kernel_table *k, void *values, size_t at, double x)
{
    if (k->real == STPN_DOUBLE) ((double *)values)[at] = x;
    else ((float *)values)[at] = (float)x;
}

static double get(const kernel_table *k, const void *values, size_t at)
{
    return k->real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

static size_t panel_place(const kernel_table *k, int columns, int row, int column)
{
    return (size_t)((row / k->lanes * columns + column) * k->lanes + row % k->lanes);
}

static void *zeroed(const kernel_table *k, size_t count)
{
    void *values = memory_zeroed(count, k->size);
    assert_non_null(values);
    return values;
}

static void fill(double *a, int rows, int K, filling how, uint32_t *seed)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < K; c++) {
            int there =
                how == DENSE || (how == ONE_HOT && c == r * 7 % K) || (how == FEW && (c == K - 1 || c % 16 == 3));
            a[r * K + c] = there ? how == ONE_HOT ? 1 : draw(seed) : 0;
        }
}

/* The three products of one shape; `apart` values stand between the rows of a and more between its outer steps. */
static void compare(const kernel_table *k, const shape *s, filling how)
{
    int rows = s->outer * s->inner, N = s->N, K = s->K, apart = 3;
    int panels = (N + k->lanes - 1) / k->lanes, back_panels = (K + k->lanes - 1) / k->lanes;
    size_t Np = (size_t)(panels * k->lanes), Kp = (size_t)(back_panels * k->lanes);
    size_t a_step = (size_t)(K + apart), a_outer = (size_t)s->inner * a_step + 5, o_outer = (size_t)s->inner * Np + Np;
    uint32_t seed = 1;
    double tolerance = k->real == STPN_DOUBLE ? 1e-13 : 1e-5;
    double *a = calloc((size_t)(rows * K), sizeof *a), *w = calloc((size_t)(N * K), sizeof *w),
           *d = calloc((size_t)(rows * N), sizeof *d);
    assert_true(a && w && d);
    void *ka = zeroed(k, (size_t)s->outer * a_outer), *kw = zeroed(k, Np * (size_t)K),
         *kd = zeroed(k, (size_t)s->outer * o_outer);
    void *out = zeroed(k, (size_t)s->outer * o_outer), *bias = zeroed(k, Np), *dw = zeroed(k, Np * (size_t)K);
    void *dbias = zeroed(k, Np), *turned = zeroed(k, Kp * Np), *da = zeroed(k, (size_t)rows * Kp);
    fill(a, rows, K, how, &seed);
    for (int i = 0; i < N * K; i++) w[i] = draw(&seed);
    for (int i = 0; i < rows * N; i++) d[i] = draw(&seed);
    for (int n = 0; n < N; n++)
        for (int c = 0; c < K; c++) {
            put(k, kw, panel_place(k, K, n, c), w[n * K + c]);
            put(k, dw, panel_place(k, K, n, c), 0.5);
        }
    for (int n = 0; n < N; n++) put(k, bias, (size_t)n, 0.25 * n);
    for (int r = 0; r < rows; r++) {
        size_t outer = (size_t)(r / s->inner), inner = (size_t)(r % s->inner);
        for (int c = 0; c < K; c++) put(k, ka, outer * a_outer + inner * a_step + (size_t)c, a[r * K + c]);
        /* What stands between rows is no part of them. */
        for (int c = 0; c < apart; c++) put(k, ka, outer * a_outer + inner * a_step + (size_t)(K + c), NAN);
        for (int n = 0; n < N; n++) put(k, kd, outer * o_outer + inner * Np + (size_t)n, d[r * N + n]);
    }
    row_list in = {ka, rows, s->inner, a_outer, a_step}, sums = {out, rows, s->inner, o_outer, Np};
    row_list adjoints = {kd, rows, s->inner, o_outer, Np}, back = {da, rows, 1, Kp, 0};
    panel_matrix matrix = {kw, panels, K, (size_t)(K * k->lanes)}, gradient = matrix;
    panel_matrix transposed = {turned, back_panels, (int)Np, Np * (size_t)k->lanes};
    gradient.values = dw;
    k->product(&in, &matrix, bias, &sums);
    k->product(&in, &matrix, NULL, &sums);
    k->product_gradient(&adjoints, &in, &gradient, dbias);
    k->transpose(&matrix, turned);
    k->product(&adjoints, &transposed, NULL, &back);
    for (int r = 0; r < rows; r++) {
        size_t outer = (size_t)(r / s->inner), inner = (size_t)(r % s->inner);
        for (int n = 0; n < N; n++) {
            double sum = 0.25 * n;
            for (int c = 0; c < K; c++) sum += 2 * a[r * K + c] * w[n * K + c];
            assert_true(fabs(get(k, out, outer * o_outer + inner * Np + (size_t)n) - sum) <= tolerance * (K + n));
        }
        for (int c = 0; c < K; c++) {
            double sum = 0;
            for (int n = 0; n < N; n++) sum += d[r * N + n] * w[n * K + c];
            assert_true(fabs(get(k, da, (size_t)r * Kp + (size_t)c) - sum) <= tolerance * N);
        }
    }
    for (int n = 0; n < N; n++) {
        double sum = 0;
        for (int r = 0; r < rows; r++) sum += d[r * N + n];
        assert_true(fabs(get(k, dbias, (size_t)n) - sum) <= tolerance * rows);
        for (int c = 0; c < K; c++) {
            sum = 0.5;
            for (int r = 0; r < rows; r++) sum += d[r * N + n] * a[r * K + c];
            assert_true(fabs(get(k, dw, panel_place(k, K, n, c)) - sum) <= tolerance * rows);
        }
    }
    void *all[] = {ka, kw, kd, out, bias, dw, dbias, turned, da};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
    free(a);
    free(w);
    free(d);
}

static void agree_with_plain_loops(void **state)
{
    (void)state;
    for (int real = 0; real < 2; real++)
        for (int i = 0; kernel_at(real ? STPN_DOUBLE : STPN_FLOAT, i); i++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                for (int how = 0; how < FILLINGS; how++)
                    compare(kernel_at(real ? STPN_DOUBLE : STPN_FLOAT, i), &shapes[s], (filling)how);
}

/* An entry that is no number is no zero, however sparse its row. */
static void nan_is_an_entry(void **state)
{
    (void)state;
    for (int i = 0; kernel_at(STPN_FLOAT, i); i++) {
        const kernel_table *k = kernel_at(STPN_FLOAT, i);
        float *a = zeroed(k, 64), *w = zeroed(k, 64 * 16), *out = zeroed(k, 16);
        a[61] = NAN;
        row_list in = {a, 1, 1, 64, 0}, sums = {out, 1, 1, 16, 0};
        panel_matrix matrix = {w, 1, 64, 64 * 16};
        k->product(&in, &matrix, NULL, &sums);
        assert_true(isnan(out[0]) && isnan(out[15]));
        memory_free(a);
        memory_free(w);
        memory_free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agree_with_plain_loops), cmocka_unit_test(nan_is_an_entry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
