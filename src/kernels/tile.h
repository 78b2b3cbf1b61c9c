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

/* Bytes of a part of a work space, up to whole panels. */
INLINE size_t rounded(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

#if defined(KERNEL_ISA_AVX512)
/* Sums of neighbouring lanes: those of a, then those of b. */
INLINE vec sum_pairs(vec a, vec b)
{
#if KERNEL_DOUBLE
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#endif
}
#elif defined(KERNEL_ISA_AVX2)
/* Sums of neighbouring lanes in each half of a vector: those of a, then those of b. */
INLINE vec sum_pairs(vec a, vec b)
{
#if KERNEL_DOUBLE
    return __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
#else
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
#endif
}

/* Both halves of a added, then those of b. */
INLINE vec sum_halves(vec a, vec b)
{
#if KERNEL_DOUBLE
    return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
#else
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
#endif
}
#endif

/* Sums over the lanes of `count` vectors that lie one after the other; in long vectors a block of them is folded together,
 * with fewer instructions than each alone. */
INLINE void sum_each(int count, const real *vectors, real *sums)
{
    int i = 0;
#if defined(KERNEL_ISA_AVX512) || defined(KERNEL_ISA_AVX2)
    for (; i + WIDTH <= count; i += WIDTH) {
        vec part[WIDTH];
#pragma GCC unroll 16
        for (int v = 0; v < WIDTH; v++) part[v] = load(vectors + (size_t)(i + v) * WIDTH);
#pragma GCC unroll 4
        for (int left = WIDTH / 2; left > 0; left /= 2)
#pragma GCC unroll 8
            for (int v = 0; v < left; v++) {
#if defined(KERNEL_ISA_AVX2)
                if (left == 1) {
                    part[0] = sum_halves(part[0], part[1]);
                    break;
                }
#endif
                part[v] = sum_pairs(part[2 * v], part[2 * v + 1]);
            }
        store_unaligned(sums + i, part[0]);
    }
#endif
    for (; i < count; i++) sums[i] = sum(load(vectors + (size_t)i * WIDTH));
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
