/* Vectors of the instruction set that this file is compiled for, written with the compiler's own vector types; only what
 * they cannot say (fused multiply-add, sums, square roots) differs. `real` is the value type, `vec` WIDTH of them. */
#ifndef STPN_KERNELS_VECTOR_H
#define STPN_KERNELS_VECTOR_H

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#if defined(KERNEL_ISA_AVX2) || defined(KERNEL_ISA_AVX512)
#include <immintrin.h>
#elif defined(KERNEL_ISA_NEON)
#include <arm_neon.h>
#endif

#if KERNEL_DOUBLE
typedef double real;
typedef int64_t real_bits;
#else
typedef float real;
typedef int32_t real_bits;
#endif

#if defined(KERNEL_ISA_AVX512)
enum { VECTOR_BYTES = 64 };
#elif defined(KERNEL_ISA_AVX2)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef real_bits ivec __attribute__((vector_size(VECTOR_BYTES)));

enum {
    LANES = PANEL_BYTES / (int)sizeof(real),  /* neurons of a panel */
    WIDTH = VECTOR_BYTES / (int)sizeof(real), /* neurons of a vector */
    VECTORS = LANES / WIDTH                   /* vectors of a panel */
};

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const real *p)
{
    return *(const vec *)p;
}

INLINE void store(real *p, vec v)
{
    *(vec *)p = v;
}

INLINE vec load_unaligned(const real *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store_unaligned(real *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vec splat(real x)
{
    return x - (vec){0};
}

/* a b + c, rounded once where the instruction set can. */
INLINE vec fma_(vec a, vec b, vec c)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_fmadd_pd(a, b, c);
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    return _mm256_fmadd_pd(a, b, c);
#elif defined(KERNEL_ISA_AVX2)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(KERNEL_ISA_NEON) && KERNEL_DOUBLE
    return vfmaq_f64(c, a, b);
#elif defined(KERNEL_ISA_NEON)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

INLINE vec root(vec a)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_sqrt_pd(a);
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_sqrt_ps(a);
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    return _mm256_sqrt_pd(a);
#elif defined(KERNEL_ISA_AVX2)
    return _mm256_sqrt_ps(a);
#elif defined(KERNEL_ISA_NEON) && KERNEL_DOUBLE
    return vsqrtq_f64(a);
#elif defined(KERNEL_ISA_NEON)
    return vsqrtq_f32(a);
#else
    for (int i = 0; i < WIDTH; i++) a[i] = (real)sqrt(a[i]);
    return a;
#endif
}

/* Sum of the lanes, in an order that depends on the width alone. */
INLINE real sum(vec a)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_reduce_add_pd(a);
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_reduce_add_ps(a);
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    __m128d half = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
#elif defined(KERNEL_ISA_AVX2)
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
#else
    real total = a[0];
    for (int i = 1; i < WIDTH; i++) total += a[i];
    return total;
#endif
}

/* Lanes of `a` where the mask's lanes are all ones, of `b` where they are 0. */
INLINE vec choose(ivec mask, vec a, vec b)
{
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

/* 1 where any bit is set. */
INLINE int any_bit(ivec a)
{
#if defined(KERNEL_ISA_AVX512)
    return _mm512_test_epi32_mask((__m512i)a, (__m512i)a) != 0;
#elif defined(KERNEL_ISA_AVX2)
    return !_mm256_testz_si256((__m256i)a, (__m256i)a);
#elif defined(KERNEL_ISA_NEON)
    return vmaxvq_u32(vreinterpretq_u32_u8((uint8x16_t)a)) != 0;
#else
    uint64_t words[VECTOR_BYTES / sizeof(uint64_t)], all = 0;
    memcpy(words, &a, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) all |= words[i];
    return all != 0;
#endif
}

/* Bit i says whether value i of `count` <= WIDTH is other than 0. */
INLINE uint32_t entries_of(const real *p, int count)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    __mmask8 all = (__mmask8)((1U << count) - 1);
    return _mm512_mask_cmp_pd_mask(all, _mm512_maskz_loadu_pd(all, p), _mm512_setzero_pd(), _CMP_NEQ_UQ);
#elif defined(KERNEL_ISA_AVX512)
    __mmask16 all = (__mmask16)((1U << count) - 1);
    return _mm512_mask_cmp_ps_mask(all, _mm512_maskz_loadu_ps(all, p), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#else
#if defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    if (count == WIDTH)
        return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(p), _mm256_setzero_pd(), _CMP_NEQ_UQ));
#elif defined(KERNEL_ISA_AVX2)
    if (count == WIDTH)
        return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(p), _mm256_setzero_ps(), _CMP_NEQ_UQ));
#endif
    uint32_t bits = 0;
    for (int i = 0; i < count; i++) bits |= (uint32_t)(p[i] != 0) << i;
    return bits;
#endif
}

/* Lane i holds i. */
INLINE ivec lane_numbers(void)
{
    ivec lanes = {0};
    for (int i = 0; i < WIDTH; i++) lanes[i] = i;
    return lanes;
}

/* Up to WIDTH values of an unaligned row of which `count` are left; lanes past the last hold `fill`. */
INLINE vec load_part(const real *p, int count, real fill)
{
    if (count >= WIDTH) return load_unaligned(p);
    vec v = splat(fill); // a constant of every call
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_mask_loadu_pd(v, (__mmask8)((1U << count) - 1), p);
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_mask_loadu_ps(v, (__mmask16)((1U << count) - 1), p);
#elif defined(KERNEL_ISA_AVX2)
    ivec there = lane_numbers() < count - (ivec){0};
#if KERNEL_DOUBLE
    vec values = _mm256_maskload_pd(p, (__m256i)there);
#else
    vec values = _mm256_maskload_ps(p, (__m256i)there);
#endif
    return fill == 0 ? values : choose(there, values, v);
#else
    for (int i = 0; i < count; i++) v[i] = p[i];
    return v;
#endif
}

INLINE void store_part(real *p, int count, vec v)
{
    if (count >= WIDTH) {
        store_unaligned(p, v);
        return;
    }
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    _mm512_mask_storeu_pd(p, (__mmask8)((1U << count) - 1), v);
#elif defined(KERNEL_ISA_AVX512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1U << count) - 1), v);
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    _mm256_maskstore_pd(p, (__m256i)(lane_numbers() < count - (ivec){0}), v);
#elif defined(KERNEL_ISA_AVX2)
    _mm256_maskstore_ps(p, (__m256i)(lane_numbers() < count - (ivec){0}), v);
#else
    for (int i = 0; i < count; i++) p[i] = v[i];
#endif
}

INLINE vec absolute(vec a)
{
    ivec sign = (ivec)splat((real)-0.0);
    return (vec)((ivec)a & ~sign);
}

/* NaN passes: these instructions return their second operand where one is NaN. */
INLINE vec bounded(vec a, vec bound)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_max_pd(-bound, _mm512_min_pd(bound, a));
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_max_ps(-bound, _mm512_min_ps(bound, a));
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    return _mm256_max_pd(-bound, _mm256_min_pd(bound, a));
#elif defined(KERNEL_ISA_AVX2)
    return _mm256_max_ps(-bound, _mm256_min_ps(bound, a));
#else
    a = choose(a > bound, bound, a);
    return choose(a < -bound, -bound, a);
#endif
}

/* |a|, or b where that is larger or a is NaN; b is not negative. */
INLINE vec larger_size(vec a, vec b)
{
#if defined(KERNEL_ISA_AVX512) && KERNEL_DOUBLE
    return _mm512_range_pd(a, b, 0xb);
#elif defined(KERNEL_ISA_AVX512)
    return _mm512_range_ps(a, b, 0xb);
#elif defined(KERNEL_ISA_AVX2) && KERNEL_DOUBLE
    return _mm256_max_pd(absolute(a), b);
#elif defined(KERNEL_ISA_AVX2)
    return _mm256_max_ps(absolute(a), b);
#else
    return choose(absolute(a) > b, absolute(a), b);
#endif
}

#if KERNEL_DOUBLE
INLINE vec exp_(vec x)
{
    for (int i = 0; i < WIDTH; i++) x[i] = exp(x[i]);
    return x;
}

INLINE vec tanh_(vec x)
{
    for (int i = 0; i < WIDTH; i++) x[i] = tanh(x[i]);
    return x;
}
#else
/* exp to 1.5 units in the last place for -87 <= x <= 88: 2^k p(r) with k = round(x / ln 2); p is our minimax fit on
 * |r| <= ln(2) / 2. The lowest bits of `shifted` are k + 127, the exponent of 2^k. NaN passes. */
INLINE vec exp_inside(vec x)
{
    vec magic = splat(0x1.8p23F + 127.0F), shifted = fma_(x, splat(0x1.715476p+0F), magic);
    vec k = shifted - magic;
    vec r = fma_(k, splat(-0x1.62e4p-1F), x);
    r = fma_(k, splat(-0x1.7f7d1cp-20F), r);
    vec p = splat(1.395060309e-3F);
    p = fma_(p, r, splat(8.368953501e-3F));
    p = fma_(p, r, splat(4.166620413e-2F));
    p = fma_(p, r, splat(1.666651831e-1F));
    p = fma_(p, r, splat(0.5F));
    p = fma_(p * r, r, r) + splat(1.0F);
    return p * (vec)((ivec)shifted << 23);
}

/* The same for every x: below -87 the result is 0, above 88 infinity. */
INLINE vec exp_(vec x)
{
    vec top = splat(88.0F), low = splat(-87.0F);
    vec y = exp_inside(choose(x < low, low, choose(x > top, top, x)));
    y = choose(x > top, splat(HUGE_VALF), y);
    return choose(x < low, splat(0), y);
}

/* tanh to 2 units in the last place: an odd minimax polynomial up to 0.6, 1 - 2 / (exp(2|x|) + 1) beyond. */
INLINE vec tanh_(vec x)
{
    vec size = absolute(x), square = x * x, twice = size + size, top = splat(88.0F);
    vec p = splat(-0x1.830c04p-8F);
    p = fma_(p, square, splat(0x1.54e01ap-6F));
    p = fma_(p, square, splat(-0x1.b89edap-5F));
    p = fma_(p, square, splat(0x1.1109dcp-3F));
    p = fma_(p, square, splat(-0x1.55553ep-2F));
    vec small = fma_(p * square, x, x);
    vec large = splat(1.0F) - splat(2.0F) / (exp_inside(choose(twice > top, top, twice)) + splat(1.0F));
    large = (vec)((ivec)large | ((ivec)x & (ivec)splat(-0.0F)));
    return choose(size < splat(0.6F), small, large);
}
#endif

INLINE vec sigmoid_(vec x)
{
    return splat(1) / (splat(1) + exp_(-x));
}

#endif
