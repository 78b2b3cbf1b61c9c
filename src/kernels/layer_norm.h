/* Layer norm of one row of neurons: s = g a^ + o with a^ = (a - mean) / sqrt(variance + 1e-5), biased variance, as in
 * PyTorch. Rows are padded; `mask` is 1 for a neuron, 0 for padding. */
#ifndef STPN_KERNELS_LAYER_NORM_H
#define STPN_KERNELS_LAYER_NORM_H

#include "kernels/tile.h"

/* Writes a^ over `values` and returns 1 / standard deviation. */
INLINE real layer_norm(int hidden, const real *mask, real *values)
{
    int vectors = vector_count(hidden);
    vec total = splat(0);
    for (int n = 0; n < vectors; n++) total += load(values + n * WIDTH);
    vec mean = splat(sum(total) / (real)hidden);
    total = splat(0);
    for (int n = 0; n < vectors; n++) {
        vec centred = (load(values + n * WIDTH) - mean) * load(mask + n * WIDTH);
        store(values + n * WIDTH, centred);
        total = fma_(centred, centred, total);
    }
    real scale = 1 / (real)sqrt(sum(total) / (real)hidden + (real)1e-5);
    for (int n = 0; n < vectors; n++) store(values + n * WIDTH, load(values + n * WIDTH) * splat(scale));
    return scale;
}

/* s from a^. */
INLINE vec layer_norm_affine(const real *normalised, const real *gain, const real *offset, size_t row)
{
    return fma_(load(normalised + row), load(gain + row), load(offset + row));
}

/* The adjoint of s, in `ds`, becomes that of a; gradients of gain and offset are added to. */
INLINE void layer_norm_back(int hidden, const real *mask, const real *normalised, real scale, const real *gain,
                            real *dgain, real *doffset, real *ds)
{
    int vectors = vector_count(hidden);
    vec mean = splat(0), along = splat(0);
    for (int n = 0; n < vectors; n++) {
        size_t row = (size_t)n * WIDTH;
        vec up = load(ds + row), normal = load(normalised + row);
        store(dgain + row, load(dgain + row) + up * normal);
        store(doffset + row, load(doffset + row) + up);
        up *= load(gain + row);
        store(ds + row, up);
        mean += up;
        along = fma_(up, normal, along);
    }
    mean = splat(sum(mean) / (real)hidden);
    along = splat(sum(along) / (real)hidden);
    for (int n = 0; n < vectors; n++) {
        size_t row = (size_t)n * WIDTH;
        vec up = load(ds + row) - mean - load(normalised + row) * along;
        store(ds + row, up * splat(scale) * load(mask + row));
    }
}

#endif
