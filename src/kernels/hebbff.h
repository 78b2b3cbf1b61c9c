/* HebbFF (Tyulmankov et al. 2022): one sample forward over its steps, and backward over a segment of them.
 *
 *     h = sigmoid(p + A x)     p = W x + b     A' = lambda A + eta h x^T     lambda = sigmoid(a)     eta = -exp(e)
 *
 * The update after a step is fused with the product of the next one, and backward the way out of a step (from the adjoint
 * of p + A x) with the way in of the one before it (from the adjoint of A'). */
#ifndef STPN_KERNELS_HEBBFF_H
#define STPN_KERNELS_HEBBFF_H

#include "kernels/cells.h"
#include "kernels/tile.h"

INLINE size_t hebbff_row(const hebbff_layer *L)
{
    return (size_t)L->panels * LANES;
}

INLINE size_t hebbff_matrix(const hebbff_layer *L)
{
    return hebbff_row(L) * (size_t)L->inputs;
}

INLINE real hebbff_lambda(const hebbff_layer *L)
{
    return sigmoid_(splat(*(const real *)L->lambda_logit))[0];
}

INLINE real hebbff_eta(const hebbff_layer *L)
{
    return -exp_(splat(*(const real *)L->eta_log))[0];
}

/* eta h of a step. */
INLINE void hebbff_rate(const hebbff_layer *L, real eta, const real *h, real *rate)
{
    for (int n = 0; n < vector_count(L->hidden); n++) store(rate + n * WIDTH, splat(eta) * load(h + n * WIDTH));
}

/* A': the same instructions forward and rebuilding. */
INLINE vec hebbff_next(vec A, vec lambda, vec rate, real x)
{
    return fma_(rate, splat(x), lambda * A);
}

/* ---------------------------------------------------------------------------------------------------------- forward */

typedef struct hebbff_pass {
    const hebbff_layer *layer;
    real lambda;
    real *A;
    const real *before, *rate; // x and eta h of the step whose update is pending; NULL: none
    const real *x;             // NULL: no product
    real *drive;               // (Hp) added to
    vec energy;
} hebbff_pass;

INLINE void hebbff_forward_tile(int tile, int update, int dot, int with_energy, hebbff_pass *p, int n)
{
    int K = p->layer->inputs;
    size_t start[TILE];
    vec rate[TILE], total[TILE][TILE_CHAINS], energy[TILE], lambda = splat(p->lambda);
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        start[g] = tile_start((size_t)K * LANES, n + g);
        rate[g] = update ? load(p->rate + (n + g) * WIDTH) : splat(0);
        total[g][0] = dot ? load(p->drive + (n + g) * WIDTH) : splat(0);
        total[g][1] = energy[g] = splat(0);
    }
    for (int pair = 0; pair < K; pair += TILE_CHAINS) {
#pragma GCC unroll 2
        for (int chain = 0; chain < TILE_CHAINS; chain++) {
            int k = pair + chain;
            if (k >= K) break;
            vec x = dot ? splat(p->x[k]) : splat(0);
#pragma GCC unroll 4
            for (int g = 0; g < tile; g++) {
                size_t at = start[g] + (size_t)k * LANES;
                vec A = load(p->A + at);
                if (update) {
                    A = hebbff_next(A, lambda, rate[g], p->before[k]);
                    store(p->A + at, A);
                }
                if (dot) total[g][chain] = fma_(A, x, total[g][chain]);
                if (with_energy)
                    energy[g] = fma_(x * x, absolute(load((const real *)p->layer->weight + at) + A), energy[g]);
            }
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        if (dot) store(p->drive + (n + g) * WIDTH, total[g][0] + total[g][1]);
        if (with_energy) p->energy += energy[g];
    }
}

INLINE void hebbff_forward_tiles(int update, int dot, int with_energy, hebbff_pass *p)
{
    int vectors = vector_count(p->layer->hidden), n = 0;
    for (; n + TILE <= vectors; n += TILE) hebbff_forward_tile(TILE, update, dot, with_energy, p, n);
    for (; n + 2 <= vectors; n += 2) hebbff_forward_tile(2, update, dot, with_energy, p, n);
    for (; n < vectors; n++) hebbff_forward_tile(1, update, dot, with_energy, p, n);
}

static void hebbff_forward_pass(hebbff_pass *p, int with_energy)
{
    p->energy = splat(0);
    if (!p->before && with_energy) hebbff_forward_tiles(0, 1, 1, p);
    else if (!p->before) hebbff_forward_tiles(0, 1, 0, p);
    else if (!p->x) hebbff_forward_tiles(1, 0, 0, p);
    else if (with_energy) hebbff_forward_tiles(1, 1, 1, p);
    else hebbff_forward_tiles(1, 1, 0, p);
}

static size_t hebbff_forward_bytes(const hebbff_layer *L)
{
    return hebbff_row(L) * sizeof(real);
}

static void hebbff_forward_sweep(const hebbff_layer *L, const hebbff_sweep *s, void *work)
{
    size_t Hp = hebbff_row(L), matrix = hebbff_matrix(L);
    real *rate = work, *energy = s->energy, *A = s->A, eta = hebbff_eta(L);
    const real *mask = L->mask;
    hebbff_pass pass = {.layer = L, .lambda = hebbff_lambda(L), .A = A, .rate = rate};
    for (int t = 0; t < s->steps; t++) {
        real *out = (real *)s->out + (size_t)t * Hp;
        int live = s->flags[t] & STEP_LIVE, index = s->begin + t;
        if (live && s->flags[t] & STEP_RESET) {
            memset(A, 0, matrix * sizeof *A);
            pass.before = NULL;
        }
        pass.x = live ? (const real *)s->x + (size_t)t * s->x_step : NULL;
        pass.drive = out;
        if (pass.x || pass.before) hebbff_forward_pass(&pass, live && energy);
        pass.before = pass.x;
        if (s->checkpoints && index % s->segment == 0)
            memcpy((real *)s->checkpoints + (size_t)(index / s->segment) * matrix, A, matrix * sizeof *A);
        if (!live) {
            memset(out, 0, Hp * sizeof *out);
            continue;
        }
        for (size_t i = 0; i < Hp; i += WIDTH) store(out + i, sigmoid_(load(out + i)) * load(mask + i));
        hebbff_rate(L, eta, out, rate);
        if (energy) energy[t] += sum(pass.energy);
    }
    pass.x = NULL;
    if (pass.before) hebbff_forward_pass(&pass, 0);
}

/* --------------------------------------------------------------------------------------------------------- backward */

/* One live step of a segment. */
typedef struct hebbff_point {
    int t;
    const real *A; // before the step
    const real *h, *x, *rate;
} hebbff_point;

typedef struct hebbff_work {
    real *slots;   // (segment, panels, I, lanes) rebuilt A
    real *rates;   // (segment, Hp)
    real *along_x; // (Hp) sum over columns of A' adjoint times x
    real *dh;      // (Hp)
    real *dx;      // (I, WIDTH) partial sums over neurons
    hebbff_point *point;
} hebbff_work;

static size_t hebbff_backward_bytes(const hebbff_layer *L, int segment)
{
    size_t S = (size_t)segment, Hp = hebbff_row(L), points = (S * sizeof(hebbff_point) + PANEL_BYTES - 1) / PANEL_BYTES;
    return (S * (hebbff_matrix(L) + Hp) + 2 * Hp + (size_t)L->inputs * LANES) * sizeof(real) + points * PANEL_BYTES;
}

INLINE hebbff_work hebbff_carve(const hebbff_layer *L, int segment, void *work)
{
    size_t S = (size_t)segment, Hp = hebbff_row(L);
    hebbff_work w = {.slots = work};
    w.rates = w.slots + S * hebbff_matrix(L);
    w.along_x = w.rates + S * Hp;
    w.dh = w.along_x + Hp;
    w.dx = w.dh + Hp;
    w.point = (hebbff_point *)(void *)(w.dx + (size_t)L->inputs * LANES);
    return w;
}

/* Fills the points of the segment's live steps; returns how many there are. */
INLINE int hebbff_rebuild(const hebbff_layer *L, const hebbff_back *b, const hebbff_work *w)
{
    size_t Hp = hebbff_row(L), matrix = hebbff_matrix(L);
    real eta = hebbff_eta(L);
    vec lambda = splat(hebbff_lambda(L));
    int live = 0;
    for (int t = 0; t < b->steps; t++) {
        if (!(b->flags[t] & STEP_LIVE)) continue;
        int i = live++, reset = b->flags[t] & STEP_RESET;
        real *own = w->slots + (size_t)i * matrix, *rate = w->rates + (size_t)i * Hp;
        if (reset) memset(own, 0, matrix * sizeof *own);
        const real *h = (const real *)b->out + (size_t)(t + 1) * Hp;
        hebbff_rate(L, eta, h, rate);
        w->point[i] = (hebbff_point){.t = t,
                                     .A = i || reset ? own : b->checkpoint,
                                     .h = h,
                                     .x = (const real *)b->x + (size_t)t * b->x_step,
                                     .rate = rate};
    }
    for (int n = 0; n < vector_count(L->hidden); n++)
        for (int i = 1; i < live; i++) {
            if (b->flags[w->point[i].t] & STEP_RESET) continue;
            const hebbff_point *from = &w->point[i - 1];
            size_t start = tile_start((size_t)L->inputs * LANES, n);
            real *to = (real *)(uintptr_t)w->point[i].A + start;
            vec rate = load(from->rate + n * WIDTH);
            for (int k = 0; k < L->inputs; k++) {
                size_t at = (size_t)k * LANES;
                store(to + at, hebbff_next(load(from->A + start + at), lambda, rate, from->x[k]));
            }
        }
    return live;
}

typedef struct hebbff_back_pass {
    const hebbff_layer *layer;
    const hebbff_work *work;
    const hebbff_point *out, *in; // steps whose way out and way in are gone; NULL: none
    const real *ds;               // (Hp) of the way out
    real *dA;                     // adjoint of A', then of A
    real lambda;
    vec to_lambda; // sum of A' adjoint times A
} hebbff_back_pass;

/* `with_dx`: the sums over the neurons of ds A + eta h dA' are wanted. */
INLINE void hebbff_back_tile(int tile, int has_out, int has_in, int with_dx, hebbff_back_pass *p, int n)
{
    int K = p->layer->inputs;
    size_t start[TILE];
    vec ds[TILE], rate[TILE], total[TILE], to_lambda[TILE], lambda = splat(p->lambda);
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        size_t row = (size_t)(n + g) * WIDTH;
        start[g] = tile_start((size_t)K * LANES, n + g);
        ds[g] = has_out ? load(p->ds + row) : splat(0);
        rate[g] = with_dx ? load(p->out->rate + row) : splat(0);
        total[g] = to_lambda[g] = splat(0);
    }
    for (int k = 0; k < K; k++) {
        vec out_x = has_out ? splat(p->out->x[k]) : splat(0), in_x = has_in ? splat(p->in->x[k]) : splat(0);
        vec dx = with_dx && n > 0 ? load(p->work->dx + (size_t)k * WIDTH) : splat(0);
#pragma GCC unroll 4
        for (int g = 0; g < tile; g++) {
            size_t at = start[g] + (size_t)k * LANES;
            vec adjoint = load(p->dA + at);
            if (with_dx) dx = fma_(rate[g], adjoint, fma_(ds[g], load(p->out->A + at), dx));
            if (has_out) {
                adjoint = fma_(ds[g], out_x, lambda * adjoint);
                store(p->dA + at, adjoint);
            }
            if (has_in) {
                total[g] = fma_(adjoint, in_x, total[g]);
                to_lambda[g] = fma_(adjoint, load(p->in->A + at), to_lambda[g]);
            }
        }
        if (with_dx) store(p->work->dx + (size_t)k * WIDTH, dx);
    }
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        p->to_lambda += to_lambda[g];
        if (has_in) store(p->work->along_x + (n + g) * WIDTH, total[g]);
    }
}

INLINE void hebbff_back_tiles(int has_out, int has_in, int with_dx, hebbff_back_pass *p)
{
    int vectors = vector_count(p->layer->hidden), n = 0;
    for (; n + TILE <= vectors; n += TILE) hebbff_back_tile(TILE, has_out, has_in, with_dx, p, n);
    for (; n + 2 <= vectors; n += 2) hebbff_back_tile(2, has_out, has_in, with_dx, p, n);
    for (; n < vectors; n++) hebbff_back_tile(1, has_out, has_in, with_dx, p, n);
}

static void hebbff_back_columns(hebbff_back_pass *p, int with_dx)
{
    p->to_lambda = splat(0);
    if (!p->out) hebbff_back_tiles(0, 1, 0, p);
    else if (p->in && with_dx) hebbff_back_tiles(1, 1, 1, p);
    else if (p->in) hebbff_back_tiles(1, 1, 0, p);
    else if (with_dx) hebbff_back_tiles(1, 0, 1, p);
    else hebbff_back_tiles(1, 0, 0, p);
}

static void hebbff_backward_segment(const hebbff_layer *L, const hebbff_grad *grad, const hebbff_back *b, void *work)
{
    hebbff_work w = hebbff_carve(L, b->segment, work);
    size_t Hp = hebbff_row(L), I = (size_t)L->inputs;
    real eta = hebbff_eta(L), lambda = hebbff_lambda(L), *dlambda = grad->lambda_logit, *deta = grad->eta_log;
    hebbff_back_pass pass = {.layer = L, .work = &w, .dA = b->dA, .lambda = lambda};
    int in_done = 0, ends = b->ends; // ends: the adjoint of A' is 0
    memset(b->ds, 0, (size_t)b->steps * Hp * sizeof(real));
    for (int i = hebbff_rebuild(L, b, &w) - 1; i >= 0; i--) {
        const hebbff_point *point = &w.point[i];
        int reset = b->flags[point->t] & STEP_RESET;
        real *ds = (real *)b->ds + (size_t)point->t * Hp;
        if (!in_done && ends) {
            memset(w.along_x, 0, Hp * sizeof *w.along_x);
            pass.to_lambda = splat(0);
        } else if (!in_done) {
            pass.out = NULL;
            pass.in = point;
            hebbff_back_columns(&pass, 0);
        }
        memset(w.dh, 0, Hp * sizeof *w.dh);
        if (point->t >= b->dy_begin)
            memcpy(w.dh, (const real *)b->dy + (size_t)(point->t - b->dy_begin) * b->dy_step,
                   (size_t)L->hidden * sizeof *w.dh);
        vec to_eta = splat(0);
        for (size_t j = 0; j < Hp; j += WIDTH) {
            vec h = load(point->h + j), along = load(w.along_x + j);
            to_eta = fma_(along, h, to_eta);
            store(ds + j, fma_(splat(eta), along, load(w.dh + j)) * (h - h * h));
        }
        store(deta, fma_(splat(eta), to_eta, load(deta)));
        store(dlambda, fma_(splat(lambda - lambda * lambda), pass.to_lambda, load(dlambda)));
        pass.out = point;
        pass.in = i > 0 && !reset ? point - 1 : NULL;
        pass.ds = ds;
        ends = reset;
        if (b->dx || !(reset || (b->starts && i == 0))) hebbff_back_columns(&pass, b->dx != NULL);
        if (b->dx) sum_each(L->inputs, w.dx, (real *)b->dx + (size_t)point->t * b->dx_step);
        if (reset) memset(b->dA, 0, hebbff_row(L) * I * sizeof(real));
        in_done = pass.in != NULL;
    }
}

#endif
