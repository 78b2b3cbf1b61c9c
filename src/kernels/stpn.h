/* What the forward and the backward sweep of an STPN layer share: lists of active columns and the update of F.
 *
 * One step, for each sample and neuron j (docs/mathematics.md; Garcia Rodriguez et al. 2022, equations 1 to 4):
 *     G_j = W_j + F_j            n_j = ||G_j|| + eps           h_j = act(G_j . z / n_j + b_j)
 *     F~_j = F_j / n_j (pre) or F_j
 *     F^_j = Lambda_j F~_j + Gamma_j v h_j     (after)   or   Lambda_j (F~_j + Gamma_j v h_j)     (prompt)
 *     F^c  = clip(F^, -c, c)     F_j' = F^c_j / (||W_j + F^c_j|| + eps) (post) or F^c_j
 * with v = z, or z - sum_m h_m F_m (oja), h in place of the h before in v's recurrent part where presynaptic is current.
 *
 * A column whose z has been 0 since the last reset has F = 0 exactly: it adds only its W to the norm. The sweeps visit
 * the other columns, in order, and use the sum of W^2 over the rest. */
#ifndef STPN_KERNELS_STPN_H
#define STPN_KERNELS_STPN_H

#include "kernels/vector.h"

#define NORM_EPSILON ((real)1e-16)

/* Which branches the inlined loops take; constants where a sweep is specialised. */
typedef struct mode {
    stpn_norm norm;
    int clamp;  // bound |F|
    int prompt; // decay prompt
    int shared; // one Lambda and one Gamma per neuron or layer
} mode;

INLINE mode layer_mode(const stpn_layer *L)
{
    return (mode){L->norm, L->clamp > 0, L->decay == STPN_DECAY_PROMPT, L->granularity != STPN_GRANULARITY_SYNAPSE};
}

/* Active columns in rising order; those at [plastic_begin, plastic_end) of the list carry F. */
typedef struct columns {
    int32_t *k;
    int count, plastic_begin, plastic_end;
} columns;

INLINE void list_columns(const stpn_layer *L, const real_bits *active, columns *list)
{
    int count = 0, begin = 0, end = 0;
    for (int k = 0; k < L->columns; k++) {
        if (k == L->plastic_begin) begin = count;
        list->k[count] = k;
        count += active[k] != 0;
        if (k == L->plastic_end - 1) end = count;
    }
    list->count = count;
    list->plastic_begin = begin;
    list->plastic_end = end;
}

/* Marks the columns where z is not 0; returns whether there is a new one. */
INLINE int mark_active(int count, const real *z, real_bits *active)
{
    real_bits fresh = 0;
    for (int k = 0; k < count; k++) {
        real_bits bits;
        memcpy(&bits, &z[k], sizeof bits);
        fresh |= bits & ~active[k];
    }
    if (!fresh) return 0;
    for (int k = 0; k < count; k++) active[k] = z[k] != 0 ? (real_bits)-1 : active[k];
    return 1;
}

INLINE int mark_recurrent(const stpn_layer *L, real_bits *active)
{
    int fresh = 0;
    for (int k = L->inputs; k < L->columns; k++) {
        fresh |= active[k] == 0;
        active[k] = (real_bits)-1;
    }
    return fresh;
}

/* The neurons of one vector: where their panel's columns start, and their rates where a row shares them. */
typedef struct group {
    size_t row;    // first neuron
    size_t matrix; // offset of column 0 in (panels, K, lanes)
    vec lambda, gamma;
} group;

INLINE int group_count(const stpn_layer *L)
{
    return (L->hidden + WIDTH - 1) / WIDTH;
}

INLINE group group_at(mode m, const stpn_layer *L, int index)
{
    size_t panel = (size_t)(index / VECTORS), vector = (size_t)(index % VECTORS);
    group g = {.row = (size_t)index * WIDTH, .matrix = panel * (size_t)L->columns * LANES + vector * WIDTH};
    const real *lambda = L->lambda, *gamma = L->gamma;
    if (m.shared && L->granularity == STPN_GRANULARITY_NEURON) {
        g.lambda = load(lambda + g.row);
        g.gamma = load(gamma + g.row);
    } else if (m.shared) {
        g.lambda = splat(lambda[0]);
        g.gamma = splat(gamma[0]);
    }
    return g;
}

/* Lambda or Gamma of the synapses at offset `at`. */
INLINE vec rate_at(mode m, const void *rates, vec shared, size_t at)
{
    return m.shared ? shared : load((const real *)rates + at);
}

/* 1 / (r + eps), and 0 where r is 0: a row of zeros has no direction, and nothing that is divided by its norm counts. */
INLINE vec inverse_norm(vec r)
{
    ivec is_zero = r == splat(0);
    return choose(is_zero, splat(0), splat(1) / (choose(is_zero, splat(1), r) + splat(NORM_EPSILON)));
}

/* F^ from F: the same instructions wherever it is needed, so that a rebuilt F has the bits of the first. `decayed` is
 * F / n for norm pre, F otherwise. */
INLINE vec decayed(mode m, vec F, vec inverse_norm)
{
    return m.norm == STPN_NORM_PRE ? F * inverse_norm : F;
}

INLINE vec updated(mode m, vec decayed_F, vec product, vec lambda, vec gamma)
{
    return m.prompt ? lambda * fma_(gamma, product, decayed_F) : fma_(gamma, product, lambda * decayed_F);
}

/* Sum of W^2 over the columns that are not listed. */
INLINE void sum_unlisted(const stpn_layer *L, const columns *list, real *squares)
{
    const real *weight = L->weight;
    for (int i = 0; i < group_count(L); i++) {
        group g = group_at((mode){.shared = 0}, L, i);
        vec total = splat(0);
        int next = 0;
        for (int k = 0; k < L->columns; k++) {
            if (next < list->count && list->k[next] == k) {
                next++;
                continue;
            }
            vec w = load(weight + g.matrix + (size_t)k * LANES);
            total = fma_(w, w, total);
        }
        store(squares + g.row, total);
    }
}

/* v = z - sum_m h_m F_m over the plastic columns of the list; z elsewhere. */
INLINE void oja_presynaptic(const stpn_layer *L, const columns *list, const real *F, const real *h, const real *z,
                            real *v)
{
    if (v != z) memcpy(v, z, (size_t)L->columns * sizeof *v);
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
        vec total = splat(0);
        for (int n = 0; n < group_count(L); n++) {
            group g = group_at((mode){.shared = 0}, L, n);
            total = fma_(load(h + g.row), load(F + g.matrix + (size_t)k * LANES), total);
        }
        v[k] = z[k] - sum(total);
    }
}

/* Work space is one block, cut from its start. */
INLINE void *carve(char **work, size_t bytes)
{
    void *part = *work;
    *work += (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
    return part;
}

INLINE size_t rounded(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

INLINE size_t padded_rows(const stpn_layer *L)
{
    return (size_t)L->panels * LANES;
}

INLINE size_t matrix_values(const stpn_layer *L)
{
    return padded_rows(L) * (size_t)L->columns;
}

#endif
