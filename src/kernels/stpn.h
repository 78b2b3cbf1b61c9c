/* What the forward and the backward sweep of an STPN layer share: which columns are visited, and the update of F.
 *
 * One step, for each sample and neuron j (docs/mathematics.md; Garcia Rodriguez et al. 2022, equations 1 to 4):
 *     G_j = W_j + F_j            n_j = ||G_j|| + eps           h_j = act(G_j . z / n_j + b_j)
 *     F~_j = F_j / n_j (pre) or F_j
 *     F^_j = Lambda_j F~_j + Gamma_j v h_j     (after)   or   Lambda_j (F~_j + Gamma_j v h_j)     (prompt)
 *     F^c  = clip(F^, -c, c)     F_j' = F^c_j / (||W_j + F^c_j|| + eps) (post) or F^c_j
 * with v = z, or z - sum_m h_m F_m (oja), h in place of the h before in v's recurrent part where presynaptic is current.
 *
 * Up to STPN_BUNDLE samples go through a layer side by side, so that W, Lambda, Gamma and the gradient's sums pass
 * through the registers once for all of them. The arithmetic of a sample is the same in a bundle and alone.
 *
 * An input whose z has been 0 since the last reset has F = 0 exactly: it adds only its W to the norm. Until most inputs have
 * had a signal, the sweeps visit a list of those that have; recurrent columns are visited always. */
#ifndef STPN_KERNELS_STPN_H
#define STPN_KERNELS_STPN_H

#include "kernels/tile.h"

#define NORM_EPSILON ((real)1e-16)

enum {
    /* Columns that go through one vector of a panel before the next one's turn: a panel's lines stay in the first-level
     * cache. One vector is the whole panel where a vector is a line. */
    COLUMN_BLOCK = VECTORS == 1 ? 1 << 30 : 32,
    /* From 3 of 4 inputs on, a list costs more than the columns that it spares. */
    SIGNALS_ALL = 3,
    SIGNALS_ALL_OF = 4
};

/* Loops over columns of their own, for the options of the paper's experiments; the others share one that asks as it goes. */
typedef enum loop_kind {
    LOOPS_ANY,
    LOOPS_PRE,
    LOOPS_PRE_SHARED,
    LOOPS_POST,
    LOOPS_POST_SHARED,
    LOOPS_OUTPUT,
    LOOPS_OUTPUT_SHARED,
    LOOPS_NONE,
    LOOP_KINDS
} loop_kind;

/* Which branches the loops take; constants where they are specialised. */
typedef struct mode {
    stpn_norm norm;
    int clamp;  // bound |F|
    int prompt; // decay prompt
    int shared; // one Lambda and one Gamma per neuron or layer
    /* Of the backward sweep: */
    int coupled; // v's adjoint is needed before any row's s'
    int learned; // Lambda and Gamma are parameters
    int extinct; // pre: some rows have ||G|| = 0, and their F~ is 0
    loop_kind loops;
} mode;

#define MODE_PRE ((mode){.norm = STPN_NORM_PRE, .learned = 1})
#define MODE_PRE_SHARED ((mode){.norm = STPN_NORM_PRE, .learned = 1, .shared = 1})
#define MODE_POST ((mode){.norm = STPN_NORM_POST, .learned = 1, .clamp = 1})
#define MODE_POST_SHARED ((mode){.norm = STPN_NORM_POST, .learned = 1, .clamp = 1, .shared = 1})
/* The same where no |F^| is above the bound. */
#define MODE_POST_FREE ((mode){.norm = STPN_NORM_POST, .learned = 1})
#define MODE_POST_SHARED_FREE ((mode){.norm = STPN_NORM_POST, .learned = 1, .shared = 1})
#define MODE_OUTPUT ((mode){.norm = STPN_NORM_OUTPUT, .learned = 1})
#define MODE_OUTPUT_SHARED ((mode){.norm = STPN_NORM_OUTPUT, .learned = 1, .shared = 1})
#define MODE_NONE ((mode){.norm = STPN_NORM_NONE, .learned = 1, .clamp = 1})

INLINE mode layer_mode(const stpn_layer *L, int coupled, int learned)
{
    mode m = {.norm = L->norm,
              .clamp = L->clamp > 0,
              .prompt = L->decay == STPN_DECAY_PROMPT,
              .shared = L->granularity != STPN_GRANULARITY_SYNAPSE,
              .coupled = coupled,
              .learned = learned};
    if (m.prompt || m.coupled || !m.learned) return m;
    if (m.norm == STPN_NORM_PRE && !m.clamp) m.loops = m.shared ? LOOPS_PRE_SHARED : LOOPS_PRE;
    else if (m.norm == STPN_NORM_POST && m.clamp) m.loops = m.shared ? LOOPS_POST_SHARED : LOOPS_POST;
    else if (m.norm == STPN_NORM_OUTPUT && !m.clamp) m.loops = m.shared ? LOOPS_OUTPUT_SHARED : LOOPS_OUTPUT;
    else if (m.norm == STPN_NORM_NONE && m.clamp && !m.shared) m.loops = LOOPS_NONE;
    return m;
}

INLINE int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* ---------------------------------------------------------------------------------------------------- active inputs */

/* Which inputs carried a signal, as the state keeps it; all zeros after a reset. */
typedef struct signals {
    int32_t *used;  // 1: F may hold something
    int32_t *dense; // 1: every input is visited, all are on the list
    int32_t *count; // inputs on the list
    uint32_t *bits; // (ceil(I / WIDTH)) one for each of them
    int32_t *list;  // (I) in the order in which they became active
} signals;

INLINE int signal_words(const stpn_layer *L)
{
    return (L->inputs + WIDTH - 1) / WIDTH;
}

/* Values of the memory that a `signals` takes. */
static inline size_t signals_values(const stpn_layer *L)
{
    size_t words = 3 + (size_t)signal_words(L) + (size_t)L->inputs;
    size_t values = (words * sizeof(int32_t) + sizeof(real) - 1) / sizeof(real);
    return (values + LANES - 1) / LANES * LANES;
}

INLINE signals signals_at(const stpn_layer *L, const void *active)
{
    int32_t *words = (int32_t *)(uintptr_t)active;
    return (signals){words, words + 1, words + 2, (uint32_t *)words + 3, words + 3 + signal_words(L)};
}

INLINE void signals_clear(const stpn_layer *L, const signals *s)
{
    memset(s->used, 0, (3 + (size_t)signal_words(L)) * sizeof *s->used);
}

/* For an F from outside: any column may hold one. */
static inline void activate_all(const stpn_layer *L, void *active)
{
    signals s = signals_at(L, active);
    *s.used = *s.dense = 1;
}

/* Takes note of the inputs where x (I) is not 0; where those are most of them, of all. */
INLINE void signals_add(const stpn_layer *L, const signals *s, const real *x)
{
    for (int begin = 0; begin < L->inputs && !*s->dense; begin += WIDTH) {
        uint32_t *bits = s->bits + begin / WIDTH;
        uint32_t fresh = entries_of(x + begin, smaller(WIDTH, L->inputs - begin)) & ~*bits;
        *bits |= fresh;
        for (; fresh; fresh &= fresh - 1) s->list[(*s->count)++] = begin + __builtin_ctz(fresh);
    }
    if (*s->dense || *s->count * SIGNALS_ALL_OF < L->inputs * SIGNALS_ALL) return;
    *s->dense = 1;
    for (int k = 0; k < L->inputs; k++)
        if (!(s->bits[k / WIDTH] >> k % WIDTH & 1)) s->list[(*s->count)++] = k;
}

/* ----------------------------------------------------------------------------------------------------- rows of neurons */

INLINE int group_count(const stpn_layer *L)
{
    return vector_count(L->hidden);
}

INLINE size_t padded_rows(const stpn_layer *L)
{
    return (size_t)L->panels * LANES;
}

INLINE size_t matrix_values(const stpn_layer *L)
{
    return padded_rows(L) * (size_t)L->columns;
}

/* Length of arrays over columns: whole blocks of vectors, as sum_each takes them. */
INLINE size_t padded_columns(const stpn_layer *L)
{
    return ((size_t)L->columns + LANES - 1) / LANES * LANES;
}

/* Where column k of vector n stands in (panels, K, samples, lanes), for the first sample. */
INLINE size_t column_place(const stpn_layer *L, int samples, int n, int k)
{
    size_t step = (size_t)samples * LANES;
    return tile_start((size_t)L->columns * step, n) + (size_t)k * step;
}

/* The neurons of one vector: where their panel's columns start, and their rates where a row shares them. */
typedef struct group {
    size_t row;    // first neuron
    size_t matrix; // offset of column 0 in (panels, K, lanes)
    vec lambda, gamma;
} group;

INLINE group group_at(mode m, const stpn_layer *L, int index)
{
    group g = {.row = (size_t)index * WIDTH, .matrix = column_place(L, 1, index, 0)};
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

/* The columns of one kind: inputs or recurrent ones. */
typedef struct column_part {
    int begin, end; // columns
    int plastic;    // they carry F
} column_part;

INLINE column_part part_at(const stpn_layer *L, int recurrent)
{
    column_part part = {recurrent ? L->inputs : 0, recurrent ? L->columns : L->inputs, 0};
    part.plastic = L->plastic_begin <= part.begin && L->plastic_end >= part.end;
    return part;
}

/* ---------------------------------------------------------------------------------------------------------- update of F */

/* 1 / (r + eps), and 0 where r is 0: a row of zeros has no direction, and nothing that is divided by its norm counts. */
INLINE vec inverse_norm(vec r)
{
    ivec is_zero = r == splat(0);
    return splat(1) / (choose(is_zero, splat((real)HUGE_VAL), r) + splat(NORM_EPSILON));
}

/* F^ from F: the same instructions wherever it is needed, so that a rebuilt F has the bits of the first. `inverse` is 1 / n
 * for norm pre. */
INLINE vec updated(mode m, vec F, vec inverse, vec product, vec lambda, vec gamma)
{
    vec decayed = m.norm == STPN_NORM_PRE ? F * inverse : F;
    return m.prompt ? lambda * fma_(gamma, product, decayed) : fma_(gamma, product, lambda * decayed);
}

/* F' from F^; `inverse_post` is 1 / m for norm post. */
INLINE vec after_update(mode m, const stpn_layer *L, vec F, vec inverse_post)
{
    if (m.clamp) F = bounded(F, splat((real)L->clamp));
    return m.norm == STPN_NORM_POST ? F * inverse_post : F;
}

/* v = z - sum_m h_m F_m in the plastic columns, z in others; x (I) and h_before (H) are z. F is (panels, K, samples, lanes). */
INLINE void oja_presynaptic(const stpn_layer *L, const real *F, int samples, const real *h, const real *x,
                            const real *h_before, real *v)
{
    memcpy(v, x, (size_t)L->inputs * sizeof *v);
    if (L->recurrent) memcpy(v + L->inputs, h_before, (size_t)L->hidden * sizeof *v);
    for (int k = L->plastic_begin; k < L->plastic_end; k++) {
        vec total = splat(0);
        for (int n = 0; n < group_count(L); n++)
            total = fma_(load(h + n * WIDTH), load(F + column_place(L, samples, n, k)), total);
        v[k] -= sum(total);
    }
}

/* ----------------------------------------------------------------------------------------------------------- work space */

/* Work space is one block, cut from its start. */
INLINE void *carve(char **work, size_t bytes)
{
    void *part = *work;
    *work += rounded(bytes);
    return part;
}

#endif
