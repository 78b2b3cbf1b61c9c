/* Products of rows of samples with matrices stored as panels: out = bias + a w^T, and the gradient of w. A block of rows
 * times a few vectors of neurons is held in registers while the columns go by; the panels are read as they lie, so
 * nothing is packed. Rows that are mostly zeros (one-hot inputs) are multiplied entry by entry: the same sums without the
 * zeros. */
#ifndef STPN_KERNELS_PRODUCT_H
#define STPN_KERNELS_PRODUCT_H

#include "kernels/vector.h"

enum {
#if defined(KERNEL_ISA_AVX512)
    BLOCK_ROWS = 8,
#else
    BLOCK_ROWS = 6, /* sixteen registers: 12 sums, 2 vectors of w, 1 of a */
#endif
    BLOCK_VECTORS = 2,
    SPARSE = 8 /* a row with at most one entry in so many is worth its own loop */
};

/* Goes through a list row by row; a division for every row would take as long as a small product. */
typedef struct row_walk {
    const row_list *list;
    size_t first, at; // offsets: of the outer step's first row, of the next row
    int inner;
} row_walk;

INLINE row_walk walk(const row_list *list)
{
    return (row_walk){.list = list};
}

INLINE real *next_row(row_walk *w)
{
    real *row = (real *)w->list->values + w->at;
    w->at += w->list->inner_step;
    if (++w->inner == w->list->inner) {
        w->inner = 0;
        w->first += w->list->outer_step;
        w->at = w->first;
    }
    return row;
}

/* Vector v of a panel matrix at column 0. */
INLINE real *vector_at(const panel_matrix *w, int v)
{
    return (real *)w->values + (size_t)(v / VECTORS) * w->panel_step + (size_t)(v % VECTORS) * WIDTH;
}

/* `rows` and `vectors` are constants of every call. */
INLINE void product_block(int rows, int vectors, int columns, real *const *a, real *const *out, const real *w0,
                          const real *w1, const real *bias, int v)
{
    vec total[BLOCK_ROWS][BLOCK_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        total[r][0] = load(bias ? bias + (size_t)v * WIDTH : out[r] + (size_t)v * WIDTH);
        if (vectors > 1) total[r][1] = load(bias ? bias + (size_t)(v + 1) * WIDTH : out[r] + (size_t)(v + 1) * WIDTH);
    }
    for (int c = 0; c < columns; c++) {
        vec first = load(w0 + (size_t)c * LANES), second = vectors > 1 ? load(w1 + (size_t)c * LANES) : first;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vec value = splat(a[r][c]);
            total[r][0] = fma_(value, first, total[r][0]);
            if (vectors > 1) total[r][1] = fma_(value, second, total[r][1]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        store(out[r] + (size_t)v * WIDTH, total[r][0]);
        if (vectors > 1) store(out[r] + (size_t)(v + 1) * WIDTH, total[r][1]);
    }
}

INLINE void product_rows(int rows, int columns, real *const *a, real *const *out, const panel_matrix *w,
                         const real *bias, int v)
{
    int pair = v + 1 < w->panels * VECTORS;
    const real *w0 = vector_at(w, v), *w1 = pair ? vector_at(w, v + 1) : w0;
    if (pair) product_block(rows, 2, columns, a, out, w0, w1, bias, v);
    else product_block(rows, 1, columns, a, out, w0, w1, bias, v);
}

/* Rows that are no whole block. */
static void product_rest(int rows, int columns, real *const *a, real *const *out, const panel_matrix *w,
                         const real *bias, int v)
{
    switch (rows) {
    case 1: product_rows(1, columns, a, out, w, bias, v); break;
    case 2: product_rows(2, columns, a, out, w, bias, v); break;
    case 3: product_rows(3, columns, a, out, w, bias, v); break;
    case 4: product_rows(4, columns, a, out, w, bias, v); break;
    case 5: product_rows(5, columns, a, out, w, bias, v); break;
#if defined(KERNEL_ISA_AVX512)
    case 6: product_rows(6, columns, a, out, w, bias, v); break;
    case 7: product_rows(7, columns, a, out, w, bias, v); break;
#endif
    default: product_rows(BLOCK_ROWS, columns, a, out, w, bias, v); break;
    }
}

INLINE uint32_t entries_at(const real *values, int columns, int c)
{
    return entries_of(values + c, columns - c < WIDTH ? columns - c : WIDTH);
}

/* Whether every row has few entries other than 0; gives up at the first that has many. */
static int is_sparse(const row_list *list, int columns)
{
    row_walk rows = walk(list);
    for (int row = 0; row < list->rows; row++) {
        const real *values = next_row(&rows);
        int entries = 0;
        for (int c = 0; c < columns; c += WIDTH) {
            entries += __builtin_popcount(entries_at(values, columns, c));
            if (entries * SPARSE > columns) return 0;
        }
    }
    return 1;
}

static void product_sparse(const row_list *a, const panel_matrix *w, const real *bias, const row_list *out)
{
    size_t width = (size_t)w->panels * LANES;
    row_walk from = walk(a), sums = walk(out);
    for (int row = 0; row < a->rows; row++) {
        const real *values = next_row(&from);
        real *to = next_row(&sums);
        if (bias) memcpy(to, bias, width * sizeof *to);
        for (int c = 0; c < w->columns; c += WIDTH)
            for (uint32_t left = entries_at(values, w->columns, c); left; left &= left - 1) {
                int column = c + __builtin_ctz(left);
                vec value = splat(values[column]);
                for (int v = 0; v < w->panels * VECTORS; v++) {
                    real *at = to + (size_t)v * WIDTH;
                    store(at, fma_(value, load(vector_at(w, v) + (size_t)column * LANES), load(at)));
                }
            }
    }
}

static void product(const row_list *a, const panel_matrix *w, const void *bias, const row_list *out)
{
    if (is_sparse(a, w->columns)) {
        product_sparse(a, w, bias, out);
        return;
    }
    real *from[BLOCK_ROWS], *to[BLOCK_ROWS];
    int vectors = w->panels * VECTORS;
    /* A group of vectors, which stays in the first-level cache, meets all rows before the next does. */
    for (int v = 0; v < vectors; v += BLOCK_VECTORS) {
        row_walk terms = walk(a), sums = walk(out);
        for (int row = 0; row < a->rows; row += BLOCK_ROWS) {
            int rows = a->rows - row < BLOCK_ROWS ? a->rows - row : BLOCK_ROWS;
            for (int r = 0; r < rows; r++) {
                from[r] = next_row(&terms);
                to[r] = next_row(&sums);
            }
            product_rest(rows, w->columns, from, to, w, bias, v);
        }
    }
}

/* Columns [c, c + columns) of the gradient of one or two vectors of neurons: sums over the rows, held in registers. */
INLINE void gradient_block(int columns, int vectors, const row_list *d, const row_list *a, const panel_matrix *dw,
                           int c, int v)
{
    vec total[BLOCK_ROWS][BLOCK_VECTORS];
    real *to0 = vector_at(dw, v) + (size_t)c * LANES,
         *to1 = vectors > 1 ? vector_at(dw, v + 1) + (size_t)c * LANES : to0;
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) {
        total[i][0] = load(to0 + (size_t)i * LANES);
        if (vectors > 1) total[i][1] = load(to1 + (size_t)i * LANES);
    }
    for (int i = 0; i < columns; i++) {
        __builtin_prefetch(to0 + (size_t)(columns + i) * LANES, 1);
        if (vectors > 1) __builtin_prefetch(to1 + (size_t)(columns + i) * LANES, 1);
    }
    for (int outer = 0; outer * d->inner < d->rows; outer++) {
        int left = d->rows - outer * d->inner, inner = left < d->inner ? left : d->inner;
        const real *up = (real *)d->values + (size_t)outer * d->outer_step + (size_t)v * WIDTH;
        const real *in = (real *)a->values + (size_t)outer * a->outer_step + c;
        for (int row = 0; row < inner; row++, up += d->inner_step, in += a->inner_step) {
            vec first = load(up), second = vectors > 1 ? load(up + WIDTH) : first;
#pragma GCC unroll 8
            for (int i = 0; i < columns; i++) {
                vec value = splat(in[i]);
                total[i][0] = fma_(value, first, total[i][0]);
                if (vectors > 1) total[i][1] = fma_(value, second, total[i][1]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < columns; i++) {
        store(to0 + (size_t)i * LANES, total[i][0]);
        if (vectors > 1) store(to1 + (size_t)i * LANES, total[i][1]);
    }
}

INLINE void gradient_columns(int columns, const row_list *d, const row_list *a, const panel_matrix *dw, int c, int v)
{
    if (v + 1 < dw->panels * VECTORS) gradient_block(columns, 2, d, a, dw, c, v);
    else gradient_block(columns, 1, d, a, dw, c, v);
}

static void gradient_rest(int columns, const row_list *d, const row_list *a, const panel_matrix *dw, int c, int v)
{
    switch (columns) {
    case 1: gradient_columns(1, d, a, dw, c, v); break;
    case 2: gradient_columns(2, d, a, dw, c, v); break;
    case 3: gradient_columns(3, d, a, dw, c, v); break;
    case 4: gradient_columns(4, d, a, dw, c, v); break;
    case 5: gradient_columns(5, d, a, dw, c, v); break;
#if defined(KERNEL_ISA_AVX512)
    case 6: gradient_columns(6, d, a, dw, c, v); break;
    case 7: gradient_columns(7, d, a, dw, c, v); break;
#endif
    default: gradient_columns(BLOCK_ROWS, d, a, dw, c, v); break;
    }
}

static void gradient_sparse(const row_list *d, const row_list *a, const panel_matrix *dw)
{
    row_walk from = walk(a), adjoints = walk(d);
    for (int row = 0; row < a->rows; row++) {
        const real *values = next_row(&from), *up = next_row(&adjoints);
        for (int c = 0; c < dw->columns; c += WIDTH)
            for (uint32_t left = entries_at(values, dw->columns, c); left; left &= left - 1) {
                int column = c + __builtin_ctz(left);
                vec value = splat(values[column]);
                for (int v = 0; v < dw->panels * VECTORS; v++) {
                    real *to = vector_at(dw, v) + (size_t)column * LANES;
                    store(to, fma_(value, load(up + (size_t)v * WIDTH), load(to)));
                }
            }
    }
}

/* d and a are lists of the same shape. */
static void product_gradient(const row_list *d, const row_list *a, const panel_matrix *dw, void *dbias)
{
    int vectors = dw->panels * VECTORS;
    row_walk rows = walk(d);
    for (int row = 0; row < d->rows && dbias; row++) {
        const real *up = next_row(&rows);
        real *to = dbias;
        for (int v = 0; v < vectors; v++)
            store(to + (size_t)v * WIDTH, load(to + (size_t)v * WIDTH) + load(up + (size_t)v * WIDTH));
    }
    if (is_sparse(a, dw->columns)) {
        gradient_sparse(d, a, dw);
        return;
    }
    for (int v = 0; v < vectors; v += BLOCK_VECTORS)
        for (int c = 0; c < dw->columns; c += BLOCK_ROWS)
            gradient_rest(dw->columns - c < BLOCK_ROWS ? dw->columns - c : BLOCK_ROWS, d, a, dw, c, v);
}

static void transpose(const panel_matrix *w, void *out)
{
    real *to = out;
    size_t rows = (size_t)w->panels * LANES, panels = ((size_t)w->columns + LANES - 1) / LANES;
    memset(to, 0, panels * rows * LANES * sizeof *to);
    for (size_t p = 0; p < (size_t)w->panels; p++)
        for (size_t c = 0; c < (size_t)w->columns; c++) {
            const real *from = (real *)w->values + p * w->panel_step + c * LANES;
            real *column = to + (c / LANES * rows + p * LANES) * LANES + c % LANES;
            for (size_t lane = 0; lane < LANES; lane++) column[lane * LANES] = from[lane];
        }
}

#endif
