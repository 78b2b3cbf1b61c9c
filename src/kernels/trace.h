/* Hebbian traces (plastic, modplast, modul): one sample forward over its steps, and backward over a segment of them.
 *
 * One step, for each sample, with p = Wi x + bi (docs/mathematics.md; Miconi et al. 2018, 2019):
 *     G = w + alpha E            h' = tanh(p + G h)            m = modulation(Wm h' + bm)
 *     E' = rule(E, d)            d = eta h' h^T, m h' h^T (modulated), or m T (retroactive)
 *     T' = (1 - eta) T + eta h' h^T
 *     rule: clip(E + d), clip(E + d - E |d|) (soft), E + d (add), (1 - eta) E + d (decay)
 *
 * The update after a step is fused with the product of the next one, and backward the way out of a step with the way in
 * of the one before it: each matrix passes through the registers once a step. */
#ifndef STPN_KERNELS_TRACE_H
#define STPN_KERNELS_TRACE_H

#include "kernels/tile.h"

/* Constants of every inlined loop. */
typedef struct trace_mode {
    stpn_trace rule;
    int retroactive;
} trace_mode;

INLINE trace_mode trace_mode_of(const trace_layer *L)
{
    return (trace_mode){L->rule, L->retroactive};
}

INLINE size_t trace_row(const trace_layer *L)
{
    return (size_t)L->panels * LANES;
}

INLINE size_t trace_matrix(const trace_layer *L)
{
    return trace_row(L) * (size_t)L->hidden;
}

INLINE int trace_groups(const trace_layer *L)
{
    return vector_count(L->hidden);
}

/* E' of E with d = a b: the same instructions forward, rebuilding and backward. `unbounded` is before the clip. */
INLINE vec trace_unbounded(stpn_trace rule, vec E, vec a, vec b, vec keep)
{
    if (rule == STPN_TRACE_SOFT) {
        vec d = a * b;
        return fma_(-absolute(d), E, E + d);
    }
    return fma_(a, b, rule == STPN_TRACE_DECAY ? keep * E : E);
}

INLINE int trace_is_bounded(stpn_trace rule)
{
    return rule == STPN_TRACE_CLIP || rule == STPN_TRACE_SOFT;
}

INLINE vec trace_taken_up(stpn_trace rule, vec E, vec a, vec b, vec keep)
{
    vec next = trace_unbounded(rule, E, a, b, keep);
    return trace_is_bounded(rule) ? bounded(next, splat(1)) : next;
}

INLINE int trace_is_zero(const trace_layer *L, const real *row)
{
    ivec bits = (ivec)splat(0);
    for (int n = 0; n < trace_groups(L); n++) bits |= (ivec)(load(row + n * WIDTH) != splat(0));
    return !any_bit(bits);
}

/* What the update after a step needs. */
typedef struct trace_update {
    const real *z;    // (Hp) h before the step
    const real *rate; // (Hp) eta h', modulated m h'
    real m;           // retroactive
    real keep;        // 1 - eta, modulated 1 - m
} trace_update;

/* E', and T', of the synapses at offset `at`; T and to_T only where retroactive. */
INLINE vec trace_next(trace_mode m, const trace_update *u, vec rate, int k, vec E, const real *T, real *to_T)
{
    vec z = splat(u->z[k]), keep = splat(u->keep);
    if (!m.retroactive) return trace_taken_up(m.rule, E, rate, z, keep);
    vec old = load(T);
    store(to_T, fma_(rate, z, keep * old));
    return trace_taken_up(m.rule, E, splat(u->m), old, keep);
}

/* m of a step, from its h. */
INLINE real trace_modulation(const trace_layer *L, const real *h)
{
    vec total = splat(0);
    const real *weight = L->weight_mod;
    for (int n = 0; n < trace_groups(L); n++) total = fma_(load(h + n * WIDTH), load(weight + n * WIDTH), total);
    vec s = splat(sum(total) + *(const real *)L->bias_mod);
    if (L->modulation == STPN_MODULATION_TANH) s = tanh_(s);
    if (L->modulation == STPN_MODULATION_SIGMOID) s = sigmoid_(s);
    return s[0];
}

/* The update after the step that ended with `h`; `rate` is written. */
INLINE trace_update trace_update_of(const trace_layer *L, const real *z, const real *h, real *rate)
{
    trace_update u = {.z = z, .rate = rate};
    real eta = L->eta ? *(const real *)L->eta : 0;
    if (L->modulated) u.m = trace_modulation(L, h);
    real factor = L->modulated && !L->retroactive ? u.m : eta;
    u.keep = 1 - factor;
    for (int n = 0; n < trace_groups(L); n++) store(rate + n * WIDTH, splat(factor) * load(h + n * WIDTH));
    return u;
}

/* ---------------------------------------------------------------------------------------------------------- forward */

typedef struct trace_pass {
    const trace_layer *layer;
    real *E, *T;
    const trace_update *update; // NULL: none is pending
    const real *z;              // (Hp) h before the step; NULL: no product
    real *drive;                // (Hp) added to
    int with_energy;
    vec energy;
} trace_pass;

/* Vectors [n, n + tile) of the neurons; `tile`, `update` and `dot` are constants of every call. */
INLINE void trace_forward_tile(trace_mode m, int tile, int update, int dot, int with_energy, trace_pass *p, int n)
{
    const trace_layer *L = p->layer;
    int K = L->hidden;
    size_t start[TILE];
    vec rate[TILE], total[TILE][TILE_CHAINS], energy[TILE];
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        start[g] = tile_start((size_t)K * LANES, n + g);
        rate[g] = update ? load(p->update->rate + (n + g) * WIDTH) : splat(0);
        total[g][0] = dot ? load(p->drive + (n + g) * WIDTH) : splat(0);
        total[g][1] = energy[g] = splat(0);
    }
    for (int pair = 0; pair < K; pair += TILE_CHAINS) {
#pragma GCC unroll 2
        for (int chain = 0; chain < TILE_CHAINS; chain++) {
            int k = pair + chain;
            if (k >= K) break;
            vec z = dot ? splat(p->z[k]) : splat(0), square = with_energy ? splat(p->z[k] * p->z[k]) : splat(0);
#pragma GCC unroll 4
            for (int g = 0; g < tile; g++) {
                size_t at = start[g] + (size_t)k * LANES;
                vec E = load(p->E + at);
                if (update) {
                    E = trace_next(m, p->update, rate[g], k, E, p->T + at, p->T + at);
                    store(p->E + at, E);
                }
                if (!dot) continue;
                vec G = fma_(load((const real *)L->alpha + at), E, load((const real *)L->w + at));
                total[g][chain] = fma_(G, z, total[g][chain]);
                if (with_energy) energy[g] = fma_(square, absolute(G), energy[g]);
            }
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        if (dot) store(p->drive + (n + g) * WIDTH, total[g][0] + total[g][1]);
        if (with_energy) p->energy += energy[g];
    }
}

INLINE void trace_forward_tiles(trace_mode m, int update, int dot, int with_energy, trace_pass *p)
{
    int vectors = trace_groups(p->layer), n = 0;
    for (; n + TILE <= vectors; n += TILE) trace_forward_tile(m, TILE, update, dot, with_energy, p, n);
    for (; n + 2 <= vectors; n += 2) trace_forward_tile(m, 2, update, dot, with_energy, p, n);
    for (; n < vectors; n++) trace_forward_tile(m, 1, update, dot, with_energy, p, n);
}

INLINE void trace_forward_mode(trace_mode m, trace_pass *p)
{
    if (!p->update && p->with_energy) trace_forward_tiles(m, 0, 1, 1, p);
    else if (!p->update) trace_forward_tiles(m, 0, 1, 0, p);
    else if (!p->z) trace_forward_tiles(m, 1, 0, 0, p);
    else if (p->with_energy) trace_forward_tiles(m, 1, 1, 1, p);
    else trace_forward_tiles(m, 1, 1, 0, p);
}

/* The rule of the paper's runs gets loops of its own. */
static void trace_forward_pass(trace_pass *p)
{
    trace_mode m = trace_mode_of(p->layer);
    if (m.rule == STPN_TRACE_CLIP && !m.retroactive) trace_forward_mode((trace_mode){STPN_TRACE_CLIP, 0}, p);
    else if (m.rule == STPN_TRACE_CLIP) trace_forward_mode((trace_mode){STPN_TRACE_CLIP, 1}, p);
    else trace_forward_mode(m, p);
}

static size_t trace_forward_bytes(const trace_layer *L)
{
    return 3 * trace_row(L) * sizeof(real);
}

static void trace_forward_sweep(const trace_layer *L, const trace_sweep *s, void *work)
{
    size_t Hp = trace_row(L), matrix = trace_matrix(L);
    real *z = work, *z_before = z + Hp, *rate = z_before + Hp, *h = s->h, *E = s->E, *T = s->T, *energy = s->energy;
    size_t checkpoint = L->retroactive ? 2 * matrix : matrix;
    trace_update pending;
    int has_pending = 0;
    memset(rate, 0, Hp * sizeof *rate);
    for (int t = 0; t < s->steps; t++) {
        real *out = (real *)s->out + (size_t)t * Hp;
        int live = s->flags[t] & STEP_LIVE, index = s->begin + t;
        if (live && s->flags[t] & STEP_RESET) {
            memset(E, 0, matrix * sizeof *E);
            if (T) memset(T, 0, matrix * sizeof *T);
            memset(h, 0, Hp * sizeof *h);
            has_pending = 0;
        }
        trace_pass pass = {.layer = L, .E = E, .T = T, .update = has_pending ? &pending : NULL, .drive = out};
        pass.energy = splat(0);
        if (live) {
            memcpy(z, h, Hp * sizeof *z);
            /* At the start of a sequence: G 0 is 0. */
            pass.z = trace_is_zero(L, h) ? NULL : z;
            pass.with_energy = pass.z && energy;
        }
        if (pass.z || pass.update) trace_forward_pass(&pass);
        has_pending = 0;
        if (s->checkpoints && index % s->segment == 0) {
            real *to = (real *)s->checkpoints + (size_t)(index / s->segment) * checkpoint;
            memcpy(to, E, matrix * sizeof *to);
            if (T) memcpy(to + matrix, T, matrix * sizeof *to);
        }
        if (live) {
            for (size_t i = 0; i < Hp; i += WIDTH) store(h + i, tanh_(load(out + i)));
            if (energy) energy[t] += sum(pass.energy);
            real *swap = z;
            z = z_before;
            z_before = swap;
            pending = trace_update_of(L, z_before, h, rate);
            has_pending = 1;
        }
        memcpy(out, h, Hp * sizeof *out);
    }
    if (!has_pending) return;
    trace_pass last = {.layer = L, .E = E, .T = T, .update = &pending};
    trace_forward_pass(&last);
}

#endif
