/* Hebbian traces backward over one segment of one sample: E (and T) before every step is rebuilt from the checkpoint, then
 * the adjoints run back. For each step: the way in goes from the adjoint of E' to those of d and of h', the way out from
 * s', the adjoint of p + G h, to those of E, alpha and h. */
#ifndef STPN_KERNELS_TRACE_BACKWARD_H
#define STPN_KERNELS_TRACE_BACKWARD_H

#include "kernels/cells.h"
#include "kernels/trace.h"

/* One live step of a segment. */
typedef struct trace_point {
    int t;
    const real *E, *T; // before the step
    const real *h;     // (Hp) after it
    trace_update update;
} trace_point;

typedef struct trace_work {
    real *slots;        // (segment, 1 or 2, panels, H, lanes) rebuilt E and T
    real *rates;        // (segment, Hp)
    trace_point *point; // (segment)
    real *to_product;   // (Hp) sum over columns of what goes to h' z, times z
    real *dz;           // (H, WIDTH) partial sums over neurons
    real *dh;           // (Hp)
} trace_work;

static size_t trace_backward_bytes(const trace_layer *L, int segment)
{
    size_t S = (size_t)segment, Hp = trace_row(L), matrices = L->retroactive ? 2 : 1;
    return S * (matrices * trace_matrix(L) + Hp) * sizeof(real) + rounded(S * sizeof(trace_point)) +
           (2 * Hp + Hp * WIDTH) * sizeof(real);
}

INLINE trace_work trace_carve(const trace_layer *L, int segment, void *work)
{
    size_t S = (size_t)segment, Hp = trace_row(L), matrices = L->retroactive ? 2 : 1;
    trace_work w = {.slots = work};
    w.rates = w.slots + S * matrices * trace_matrix(L);
    w.to_product = w.rates + S * Hp;
    w.dh = w.to_product + Hp;
    w.dz = w.dh + Hp;
    w.point = (trace_point *)(void *)(w.dz + Hp * WIDTH);
    return w;
}

/* E and T of step `i` from those of the step before, for one vector of neurons. */
INLINE void trace_rebuild_group(trace_mode m, const trace_layer *L, const trace_point *from, const trace_point *to,
                                int n)
{
    size_t start = tile_start((size_t)L->hidden * LANES, n);
    real *E = (real *)(uintptr_t)to->E + start, *T = m.retroactive ? (real *)(uintptr_t)to->T + start : NULL;
    const real *old_T = m.retroactive ? from->T + start : NULL;
    vec rate = load(from->update.rate + n * WIDTH);
    for (int k = 0; k < L->hidden; k++) {
        size_t at = (size_t)k * LANES;
        store(E + at, trace_next(m, &from->update, rate, k, load(from->E + start + at),
                                 m.retroactive ? old_T + at : NULL, m.retroactive ? T + at : NULL));
    }
}

/* Fills the points of the segment's live steps; returns how many there are. */
INLINE int trace_rebuild(trace_mode m, const trace_layer *L, const trace_back *b, const trace_work *w)
{
    size_t Hp = trace_row(L), matrix = trace_matrix(L), slot = m.retroactive ? 2 * matrix : matrix;
    const real *out = b->out, *checkpoint = b->checkpoint;
    int live = 0;
    for (int t = 0; t < b->steps; t++) {
        real *z = (real *)b->z + (size_t)t * Hp;
        if (!(b->flags[t] & STEP_LIVE)) {
            memset(z, 0, Hp * sizeof *z);
            continue;
        }
        int i = live++, reset = b->flags[t] & STEP_RESET;
        trace_point *point = &w->point[i];
        real *own = w->slots + (size_t)i * slot;
        if (reset) memset(z, 0, Hp * sizeof *z);
        else memcpy(z, out + (size_t)t * Hp, Hp * sizeof *z);
        if (reset) memset(own, 0, slot * sizeof *own);
        *point = (trace_point){.t = t, .E = i || reset ? own : checkpoint, .h = out + (size_t)(t + 1) * Hp};
        if (m.retroactive) point->T = point->E + matrix;
        point->update = trace_update_of(L, z, point->h, w->rates + (size_t)i * Hp);
    }
    for (int n = 0; n < trace_groups(L); n++)
        for (int i = 1; i < live; i++)
            if (!(b->flags[w->point[i].t] & STEP_RESET)) trace_rebuild_group(m, L, &w->point[i - 1], &w->point[i], n);
    return live;
}

/* ------------------------------------------------------------------------------------------------ way in and way out */

typedef struct trace_back_pass {
    const trace_layer *layer;
    const trace_grad *grad;
    const trace_work *work;
    const trace_point *out, *in; // steps whose way out and way in are gone; NULL: none
    const real *ds;              // (Hp) of the way out
    real *dE, *dT;               // adjoints of E' and T', then of E and T
    vec lost;                    // decay: sum of E' adjoint times E; retroactive: of T' adjoint times T
    vec to_m;                    // retroactive: sum of d's adjoint times T
} trace_back_pass;

/* d's adjoint over that of the unbounded E': both branches pass where d is 0. */
INLINE vec trace_slope(vec d, vec E)
{
    vec down = splat(1) - E, up = splat(1) + E;
    ivec positive = d > splat(0), negative = d < splat(0);
    return choose(positive, down, choose(negative, up, splat(2)));
}

INLINE void trace_back_tile(trace_mode m, int tile, int has_out, int has_in, trace_back_pass *p, int n)
{
    const trace_layer *L = p->layer;
    const trace_update *out = has_out ? &p->out->update : NULL, *in = has_in ? &p->in->update : NULL;
    int K = L->hidden, soft = m.rule == STPN_TRACE_SOFT, decay = m.rule == STPN_TRACE_DECAY;
    size_t start[TILE];
    vec ds[TILE], out_rate[TILE], in_rate[TILE], total[TILE];
    vec lost = splat(0), to_m = splat(0);
    vec out_keep = has_out ? splat(out->keep) : splat(0), in_keep = has_in ? splat(in->keep) : splat(0);
    vec out_m = has_out ? splat(out->m) : splat(0), in_m = has_in ? splat(in->m) : splat(0);
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        size_t row = (size_t)(n + g) * WIDTH;
        start[g] = tile_start((size_t)K * LANES, n + g);
        ds[g] = has_out ? load(p->ds + row) : splat(0);
        out_rate[g] = has_out ? load(out->rate + row) : splat(0);
        in_rate[g] = has_in ? load(in->rate + row) : splat(0);
        total[g] = splat(0);
    }
    for (int k = 0; k < K; k++) {
        vec out_z = has_out ? splat(out->z[k]) : splat(0), in_z = has_in ? splat(in->z[k]) : splat(0);
        vec dz = has_out && n > 0 ? load(p->work->dz + k * WIDTH) : splat(0);
#pragma GCC unroll 4
        for (int g = 0; g < tile; g++) {
            size_t at = start[g] + (size_t)k * LANES;
            vec adjoint = load(p->dE + at), dT = m.retroactive ? load(p->dT + at) : splat(0);
            if (has_out) {
                vec E = load(p->out->E + at), alpha = load((const real *)L->alpha + at), taken = adjoint;
                dz = fma_(ds[g], fma_(alpha, E, load((const real *)L->w + at)), dz);
                if (soft) {
                    vec d = m.retroactive ? out_m * load(p->out->T + at) : out_rate[g] * out_z;
                    taken = adjoint * trace_slope(d, E);
                    adjoint = fma_(-absolute(d), adjoint, adjoint);
                }
                if (decay) adjoint *= out_keep;
                dz = fma_(out_rate[g], m.retroactive ? dT : taken, dz);
                if (m.retroactive) dT = fma_(out_m, taken, out_keep * dT);
                vec through = ds[g] * out_z;
                real *dalpha = (real *)p->grad->alpha + at;
                store(dalpha, fma_(through, E, load(dalpha)));
                adjoint = fma_(through, alpha, adjoint);
            }
            if (has_in) {
                vec E = load(p->in->E + at), T = m.retroactive ? load(p->in->T + at) : splat(0);
                vec a = m.retroactive ? in_m : in_rate[g], b = m.retroactive ? T : in_z;
                if (trace_is_bounded(m.rule)) {
                    vec raw = trace_unbounded(m.rule, E, a, b, in_keep);
                    adjoint = choose(absolute(raw) > splat(1), splat(0), adjoint);
                }
                vec taken = soft ? adjoint * trace_slope(a * b, E) : adjoint;
                if (decay) lost = fma_(adjoint, E, lost);
                if (m.retroactive) {
                    lost = fma_(dT, T, lost);
                    to_m = fma_(taken, T, to_m);
                }
                total[g] = fma_(m.retroactive ? dT : taken, in_z, total[g]);
            }
            store(p->dE + at, adjoint);
            if (m.retroactive && has_out) store(p->dT + at, dT);
        }
        if (has_out) store(p->work->dz + k * WIDTH, dz);
    }
    p->lost += lost;
    p->to_m += to_m;
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++)
        if (has_in) store(p->work->to_product + (n + g) * WIDTH, total[g]);
}

INLINE void trace_back_tiles(trace_mode m, int has_out, int has_in, trace_back_pass *p)
{
    int vectors = trace_groups(p->layer), n = 0;
    for (; n + TILE <= vectors; n += TILE) trace_back_tile(m, TILE, has_out, has_in, p, n);
    for (; n + 2 <= vectors; n += 2) trace_back_tile(m, 2, has_out, has_in, p, n);
    for (; n < vectors; n++) trace_back_tile(m, 1, has_out, has_in, p, n);
}

INLINE void trace_back_columns(trace_mode m, trace_back_pass *p)
{
    p->lost = p->to_m = splat(0);
    if (p->out && p->in) trace_back_tiles(m, 1, 1, p);
    else if (p->out) trace_back_tiles(m, 1, 0, p);
    else trace_back_tiles(m, 0, 1, p);
}

/* What the way in of a step adds up to: gradients of eta and of m's parameters, the rest of the adjoint of h'. */
INLINE void trace_finish_in(const trace_back_pass *p, const trace_point *point)
{
    const trace_layer *L = p->layer;
    const trace_work *w = p->work;
    real eta = L->eta ? *(const real *)L->eta : 0, m = point->update.m;
    real factor = L->modulated && !L->retroactive ? m : eta;
    vec along = splat(0);
    for (int n = 0; n < trace_groups(L); n++) {
        vec to_product = load(w->to_product + n * WIDTH), h = load(point->h + n * WIDTH);
        along = fma_(to_product, h, along);
        store(w->dh + n * WIDTH, fma_(splat(factor), to_product, load(w->dh + n * WIDTH)));
    }
    along -= p->lost;
    if (L->eta) store(p->grad->eta, load(p->grad->eta) + along);
    if (!L->modulated) return;
    real dm = sum(L->retroactive ? p->to_m : along);
    if (L->modulation == STPN_MODULATION_TANH) dm *= 1 - m * m;
    if (L->modulation == STPN_MODULATION_SIGMOID) dm *= m * (1 - m);
    real *dweight = p->grad->weight_mod;
    *(real *)p->grad->bias_mod += dm;
    for (int n = 0; n < trace_groups(L); n++) {
        size_t row = (size_t)n * WIDTH;
        store(dweight + row, fma_(splat(dm), load(point->h + row), load(dweight + row)));
        store(w->dh + row, fma_(splat(dm), load((const real *)L->weight_mod + row), load(w->dh + row)));
    }
}

INLINE void trace_backward_mode(trace_mode m, const trace_layer *L, const trace_grad *grad, const trace_back *b,
                                void *work)
{
    trace_work w = trace_carve(L, b->segment, work);
    size_t Hp = trace_row(L), H = (size_t)L->hidden, matrix = trace_matrix(L);
    real *carried = b->dh;
    trace_back_pass pass = {.layer = L, .grad = grad, .work = &w, .dE = b->dE, .dT = b->dT};
    int in_done = 0, ends = b->ends; // ends: the adjoints of E' and T' are 0
    memset(b->ds, 0, (size_t)b->steps * Hp * sizeof(real));
    for (int i = trace_rebuild(m, L, b, &w) - 1; i >= 0; i--) {
        const trace_point *point = &w.point[i];
        real *ds = (real *)b->ds + (size_t)point->t * Hp;
        memcpy(w.dh, carried, Hp * sizeof *w.dh);
        if (point->t >= b->dy_begin) {
            const real *row = (const real *)b->dy + (size_t)(point->t - b->dy_begin) * b->dy_step;
            accumulate(H, w.dh, row);
        }
        if (!in_done && ends) {
            memset(w.to_product, 0, Hp * sizeof *w.to_product);
            pass.lost = pass.to_m = splat(0);
        } else if (!in_done) {
            pass.out = NULL;
            pass.in = point;
            trace_back_columns(m, &pass);
        }
        trace_finish_in(&pass, point);
        for (size_t j = 0; j < Hp; j += WIDTH) {
            vec h = load(point->h + j);
            store(ds + j, load(w.dh + j) * (splat(1) - h * h));
        }
        memset(carried, 0, Hp * sizeof *carried);
        in_done = 0;
        if (b->flags[point->t] & STEP_RESET) {
            /* E, T and h before the step were 0: nothing goes on, alpha gets nothing. */
            memset(b->dE, 0, matrix * sizeof(real));
            if (b->dT) memset(b->dT, 0, matrix * sizeof(real));
            ends = 1;
            continue;
        }
        /* The first step, from h = 0: alpha gets nothing either. */
        if (b->starts && i == 0 && trace_is_zero(L, point->update.z)) continue;
        ends = 0;
        pass.out = point;
        pass.in = i > 0 ? point - 1 : NULL;
        pass.ds = ds;
        trace_back_columns(m, &pass);
        in_done = i > 0;
        sum_each((int)H, w.dz, carried);
    }
}

static void trace_backward_segment(const trace_layer *L, const trace_grad *grad, const trace_back *back, void *work)
{
    trace_mode m = trace_mode_of(L);
    if (m.rule == STPN_TRACE_CLIP && !m.retroactive)
        trace_backward_mode((trace_mode){STPN_TRACE_CLIP, 0}, L, grad, back, work);
    else if (m.rule == STPN_TRACE_CLIP) trace_backward_mode((trace_mode){STPN_TRACE_CLIP, 1}, L, grad, back, work);
    else trace_backward_mode(m, L, grad, back, work);
}

#endif
