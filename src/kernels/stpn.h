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
 * the other columns, the active ones, and use the sum of W^2 over the rest. */
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
    /* Of the backward sweep: */
    int coupled;    // v's adjoint is needed before any row's s'
    int all_inputs; // the adjoint of the inputs is wanted
    int learned;    // Lambda and Gamma are parameters
} mode;

INLINE mode layer_mode(const stpn_layer *L)
{
    return (mode){.norm = L->norm,
                  .clamp = L->clamp > 0,
                  .prompt = L->decay == STPN_DECAY_PROMPT,
                  .shared = L->granularity != STPN_GRANULARITY_SYNAPSE};
}

/* The active columns, in the order in which they became so, as the state keeps them. */
typedef struct columns {
    real_bits *mask; // (K, padded) all ones where a column is active
    int32_t *k;      // (K) those that carry F from the front, those that do not from the back
    int32_t *count;  // (2) how many of each
} columns;

/* Row length of arrays over columns. */
INLINE size_t padded_columns(const stpn_layer *L)
{
    return ((size_t)L->columns + LANES - 1) / LANES * LANES;
}

/* Values of the memory that a `columns` takes. */
static inline size_t columns_values(const stpn_layer *L)
{
    return padded_columns(L) + ((size_t)L->columns + 2 + LANES - 1) / LANES * LANES;
}

INLINE columns columns_at(const stpn_layer *L, void *active)
{
    columns c = {.mask = active};
    c.k = (int32_t *)(c.mask + padded_columns(L));
    c.count = c.k + L->columns;
    return c;
}

INLINE void columns_clear(const stpn_layer *L, const columns *c)
{
    memset(c->mask, 0, padded_columns(L) * sizeof *c->mask);
    c->count[0] = c->count[1] = 0;
}

INLINE void columns_add(const stpn_layer *L, const columns *c, int k)
{
    c->mask[k] = (real_bits)-1;
    if (k >= L->plastic_begin && k < L->plastic_end) c->k[c->count[0]++] = k;
    else c->k[L->columns - ++c->count[1]] = k;
}

/* Adds columns [begin, end) that are not active yet; returns whether there was one. */
INLINE int columns_add_range(const stpn_layer *L, const columns *c, int begin, int end)
{
    int fresh = 0;
    for (int k = begin; k < end; k++)
        if (!c->mask[k]) {
            columns_add(L, c, k);
            fresh = 1;
        }
    return fresh;
}

/* For an F from outside: any column may hold one. */
static inline void activate_all(const stpn_layer *L, void *active)
{
    columns c = columns_at(L, active);
    columns_clear(L, &c);
    columns_add_range(L, &c, 0, L->columns);
}

/* Adds the columns where z (a padded row, zeros behind) is not 0; a vector at a time, as most are active already. */
INLINE int columns_add_signal(const stpn_layer *L, const columns *c, const real *z)
{
    int fresh = 0;
    if (c->count[0] + c->count[1] == L->columns) return 0;
    for (int k = 0; k < L->columns; k += WIDTH) {
        ivec bits = (ivec)load(z + k), mask;
        memcpy(&mask, c->mask + k, sizeof mask);
        if (!any_bit(bits & ~mask)) continue;
        for (int i = k; i < k + WIDTH; i++)
            if (z[i] != 0 && !c->mask[i]) {
                columns_add(L, c, i);
                fresh = 1;
            }
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

/* Sum of W^2 over the columns that are not active. */
INLINE void sum_inactive(const stpn_layer *L, const columns *c, real *squares)
{
    const real *weight = L->weight;
    int all = c->count[0] + c->count[1] == L->columns;
    for (int i = 0; i < group_count(L); i++) {
        group g = group_at((mode){.shared = 0}, L, i);
        vec even = splat(0), odd = splat(0);
        int k = 0;
        for (; k + 2 <= L->columns && !all; k += 2) {
            vec w0 = (vec)((ivec)load(weight + g.matrix + (size_t)k * LANES) & ~(c->mask[k] - (ivec){0}));
            vec w1 = (vec)((ivec)load(weight + g.matrix + (size_t)(k + 1) * LANES) & ~(c->mask[k + 1] - (ivec){0}));
            even = fma_(w0, w0, even);
            odd = fma_(w1, w1, odd);
        }
        for (; k < L->columns && !all; k++) {
            vec w = (vec)((ivec)load(weight + g.matrix + (size_t)k * LANES) & ~(c->mask[k] - (ivec){0}));
            even = fma_(w, w, even);
        }
        store(squares + g.row, even + odd);
    }
}

/* v = z - sum_m h_m F_m over the active plastic columns; z elsewhere. v may be z itself. */
INLINE void oja_presynaptic(const stpn_layer *L, const int32_t *k, int count, const real *F, const real *h,
                            const real *z, real *v)
{
    if (v != z) memcpy(v, z, (size_t)L->columns * sizeof *v);
    for (int i = 0; i < count; i++) {
        vec total = splat(0);
        for (int n = 0; n < group_count(L); n++) {
            group g = group_at((mode){.shared = 0}, L, n);
            total = fma_(load(h + g.row), load(F + g.matrix + (size_t)k[i] * LANES), total);
        }
        v[k[i]] = z[k[i]] - sum(total);
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
