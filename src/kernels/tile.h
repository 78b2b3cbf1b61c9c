/* What the loops over a sample's own matrices share: tiles of a few vectors of neurons go through the columns together, so
 * that there are independent sums enough and a column's entries serve them all. */
#ifndef STPN_KERNELS_TILE_H
#define STPN_KERNELS_TILE_H

#include "kernels/vector.h"

enum {
#if defined(KERNEL_ISA_AVX512) || defined(KERNEL_ISA_NEON)
    TILE = 4, /* vectors of neurons */
#else
    TILE = 2, /* sixteen registers */
#endif
    TILE_CHAINS = 2 /* sums over even and over odd columns */
};

/* Where column 0 of vector `n` stands in (panels, columns, lanes). */
INLINE size_t tile_start(size_t panel_step, int n)
{
    return (size_t)(n / VECTORS) * panel_step + (size_t)(n % VECTORS) * WIDTH;
}

INLINE int vector_count(int neurons)
{
    return (neurons + WIDTH - 1) / WIDTH;
}

/* Sums over the lanes of `count` vectors that lie one after the other. */
INLINE void sum_each(int count, const real *vectors, real *sums)
{
    for (int i = 0; i < count; i++) sums[i] = sum(load(vectors + (size_t)i * WIDTH));
}

/* The partial sums in a panel's lanes become one value in the first. */
static void fold(void *lanes)
{
    real *values = lanes, total = 0;
    for (int i = 0; i < LANES; i++) total += values[i];
    memset(values, 0, LANES * sizeof *values);
    values[0] = total;
}

#endif
