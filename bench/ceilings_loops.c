/* Compiled once per instruction set, like src/kernels/table.c, with the same vectors. */
#include "bench/ceilings.h"

#include "kernels/vector.h"

/* As many independent sums as hide the latency and still stay in the 16 registers of AVX2. */
enum { SUMS = 12, AT_ONCE = CEILING_STRIDE / VECTOR_BYTES };

static float run_multiply_add(int64_t turns)
{
    vec sums[SUMS], factor = splat(0.999F), term = splat(0.001F);
    for (int i = 0; i < SUMS; i++) sums[i] = splat((real)i);
    for (int64_t t = 0; t < turns; t++)
        for (int i = 0; i < SUMS; i++) sums[i] = fma_(sums[i], factor, term);
    for (int i = 1; i < SUMS; i++) sums[0] += sums[i];
    return sum(sums[0]);
}

static float run_read(const float *values, size_t count, int64_t turns)
{
    enum { BLOCK = AT_ONCE > 8 ? 8 : AT_ONCE };
    vec sums[BLOCK];
    for (int i = 0; i < BLOCK; i++) sums[i] = splat(0);
    for (int64_t t = 0; t < turns; t++) {
        for (size_t k = 0; k < count; k += (size_t)BLOCK * WIDTH)
            for (int i = 0; i < BLOCK; i++) sums[i] += load(values + k + i * WIDTH);
        __asm__ volatile("" ::: "memory"); // every pass is made
    }
    for (int i = 1; i < BLOCK; i++) sums[0] += sums[i];
    return sum(sums[0]);
}

static void run_update(float *values, size_t count, int64_t turns)
{
    vec term = splat(0.001F);
    for (int64_t t = 0; t < turns; t++) {
        for (size_t k = 0; k < count; k += (size_t)AT_ONCE * WIDTH)
            for (int i = 0; i < AT_ONCE; i++) store(values + k + i * WIDTH, load(values + k + i * WIDTH) + term);
        __asm__ volatile("" ::: "memory");
    }
}

static void run_triad(float *values, size_t count, int64_t turns)
{
    size_t third = count / 3 / (CEILING_STRIDE / sizeof *values) * (CEILING_STRIDE / sizeof *values);
    const float *a = values + third, *b = values + 2 * third;
    vec factor = splat(0.999F);
    for (int64_t t = 0; t < turns; t++) {
        for (size_t k = 0; k < third; k += (size_t)AT_ONCE * WIDTH)
            for (int i = 0; i < AT_ONCE; i++) {
                size_t at = k + (size_t)(i * WIDTH);
                store(values + at, fma_(load(a + at), factor, load(b + at)));
            }
        __asm__ volatile("" ::: "memory");
    }
}

const ceiling_loops CEILING_TABLE = {
    .name = KERNEL_NAME,
    .width = WIDTH,
    .multiply_add = run_multiply_add,
    .sums = SUMS,
    .read = run_read,
    .update = run_update,
    .triad = run_triad,
};
