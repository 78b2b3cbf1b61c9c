/* Fast weights (Ba et al. 2016): one sample forward over its steps, and backward over a segment of them.
 *
 *     A' = lambda A + eta h h^T                       from the h before the step
 *     p = W [x ; h] + b,   h^0 = tanh(LN(p)),   h^{s+1} = tanh(LN(p + A' h^s)),   s = 0 .. S - 1;   h' = h^S
 *
 * LN has one gain and one offset for all inner steps. The tape keeps each inner step's normalised row, from which
 * h^s follows, and its 1 / standard deviation. */
#ifndef STPN_KERNELS_FAST_WEIGHTS_H
#define STPN_KERNELS_FAST_WEIGHTS_H

#include "kernels/cells.h"
#include "kernels/layer_norm.h"

INLINE size_t fast_row(const fast_layer *L)
{
    return (size_t)L->panels * LANES;
}

INLINE size_t fast_matrix(const fast_layer *L)
{
    return fast_row(L) * (size_t)L->hidden;
}

/* A step's part of the tape: rows a^ of LN for h^0 to h^S, then their 1 / standard deviation. */
static size_t fast_step_values(const fast_layer *L)
{
    size_t rows = (size_t)L->inner_steps + 1;
    return rows * fast_row(L) + (rows + LANES - 1) / LANES * LANES;
}

INLINE real *fast_deviations(const fast_layer *L, const real *tape)
{
    return (real *)(uintptr_t)tape + ((size_t)L->inner_steps + 1) * fast_row(L);
}

/* A': the same instructions forward and rebuilding. */
INLINE vec fast_next(vec A, vec lambda, vec rate, real h)
{
    return fma_(rate, splat(h), lambda * A);
}

/* h^s of a row a^. */
INLINE void fast_activate(const fast_layer *L, const real *normalised, real *h)
{
    for (size_t row = 0; row < fast_row(L); row += WIDTH)
        store(h + row, tanh_(layer_norm_affine(normalised, L->ln_weight, L->ln_bias, row)));
}

/* ----------------------------------------------------------------------------------------------- matrix times vector */

typedef struct fast_pass {
    vec energy;                // sum of input^2 |matrix|
    vec lambda;                // of A, which is updated on the way,
    const real *rate, *before; // (Hp) with eta h and h before the step
    real *matrix;              // column c of panel p at p panel_step + c lanes
    size_t panel_step;
    const real *input; // (columns)
    real *sums;        // (vectors) added to
    int vectors, columns;
} fast_pass;

INLINE void fast_tile(int tile, int update, int with_energy, fast_pass *p, int n)
{
    size_t start[TILE];
    vec rate[TILE], total[TILE][TILE_CHAINS], energy[TILE];
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        start[g] = tile_start(p->panel_step, n + g);
        rate[g] = update ? load(p->rate + (n + g) * WIDTH) : splat(0);
        total[g][0] = load(p->sums + (n + g) * WIDTH);
        total[g][1] = energy[g] = splat(0);
    }
    for (int pair = 0; pair < p->columns; pair += TILE_CHAINS) {
#pragma GCC unroll 2
        for (int chain = 0; chain < TILE_CHAINS; chain++) {
            int k = pair + chain;
            if (k >= p->columns) break;
            vec input = splat(p->input[k]);
#pragma GCC unroll 4
            for (int g = 0; g < tile; g++) {
                real *at = p->matrix + start[g] + (size_t)k * LANES;
                vec value = load(at);
                if (update) {
                    value = fast_next(value, p->lambda, rate[g], p->before[k]);
                    store(at, value);
                }
                total[g][chain] = fma_(value, input, total[g][chain]);
                if (with_energy) energy[g] = fma_(input * input, absolute(value), energy[g]);
            }
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        store(p->sums + (n + g) * WIDTH, total[g][0] + total[g][1]);
        if (with_energy) p->energy += energy[g];
    }
}

INLINE void fast_tiles(int update, int with_energy, fast_pass *p)
{
    int n = 0;
    for (; n + TILE <= p->vectors; n += TILE) fast_tile(TILE, update, with_energy, p, n);
    for (; n + 2 <= p->vectors; n += 2) fast_tile(2, update, with_energy, p, n);
    for (; n < p->vectors; n++) fast_tile(1, update, with_energy, p, n);
}

static void fast_product(fast_pass *p, int update, int with_energy)
{
    if (update && with_energy) fast_tiles(1, 1, p);
    else if (update) fast_tiles(1, 0, p);
    else if (with_energy) fast_tiles(0, 1, p);
    else fast_tiles(0, 0, p);
}

/* ---------------------------------------------------------------------------------------------------------- forward */

static size_t fast_forward_bytes(const fast_layer *L)
{
    return 4 * fast_row(L) * sizeof(real);
}

/* One live step; `out` holds Wx x + b and then h'. */
static void fast_step(const fast_layer *L, const fast_sweep *s, real *out, real *energy, real *tape, real *work)
{
    size_t Hp = fast_row(L);
    real *h = s->h, *potential = work, *now = potential + Hp, *rate = now + Hp, *normalised = rate + Hp;
    fast_pass pass = {.vectors = vector_count(L->hidden), .columns = L->hidden, .energy = splat(0)};
    pass.panel_step = L->weight_step;
    pass.matrix = (real *)(uintptr_t)L->weight;
    pass.input = h;
    pass.sums = out;
    fast_product(&pass, 0, 0);
    if (energy) add_energy((size_t)L->hidden, h, s->sizes, energy);
    for (size_t row = 0; row < Hp; row += WIDTH) store(rate + row, splat((real)L->eta) * load(h + row));
    pass.panel_step = (size_t)L->hidden * LANES;
    pass.matrix = s->A;
    pass.lambda = splat((real)L->lambda);
    pass.rate = rate;
    pass.before = h;
    pass.input = now;
    pass.sums = potential;
    for (int inner = 0; inner <= L->inner_steps; inner++) {
        memcpy(potential, out, Hp * sizeof *out);
        if (inner > 0) fast_product(&pass, inner == 1, energy != NULL);
        memcpy(normalised, potential, Hp * sizeof *out);
        real scale = layer_norm(L->hidden, L->mask, normalised);
        fast_activate(L, normalised, now);
        if (!tape) continue;
        memcpy(tape + (size_t)inner * Hp, normalised, Hp * sizeof *tape);
        fast_deviations(L, tape)[inner] = scale;
    }
    memcpy(h, now, Hp * sizeof *h);
    if (energy) *energy += sum(pass.energy);
}

static void fast_forward_sweep(const fast_layer *L, const fast_sweep *s, void *work)
{
    size_t Hp = fast_row(L), matrix = fast_matrix(L);
    for (int t = 0; t < s->steps; t++) {
        real *out = (real *)s->out + (size_t)t * Hp;
        int live = s->flags[t] & STEP_LIVE, index = s->begin + t;
        if (live && s->flags[t] & STEP_RESET) {
            memset(s->A, 0, matrix * sizeof(real));
            memset(s->h, 0, Hp * sizeof(real));
        }
        if (s->checkpoints && index % s->segment == 0)
            memcpy((real *)s->checkpoints + (size_t)(index / s->segment) * matrix, s->A, matrix * sizeof(real));
        if (live)
            fast_step(L, s, out, s->energy ? (real *)s->energy + t : NULL,
                      s->tape ? (real *)s->tape + (size_t)index * fast_step_values(L) : NULL, work);
        memcpy(out, s->h, Hp * sizeof *out);
    }
}

/* --------------------------------------------------------------------------------------------------------- backward */

/* One live step of a segment. */
typedef struct fast_point {
    int t;
    const real *A;    // A' of the step
    const real *h;    // (Hp) h'
    const real *tape; // of the step
} fast_point;

typedef struct fast_work {
    real *slots;              // (segment, panels, H, lanes) rebuilt A'
    real *inner;              // (Hp) h^s
    real *dh, *dq, *dp;       // (Hp) adjoints of h^s, of p + A' h^s, of p
    real *rate;               // (Hp) scratch
    real *to_before;          // (Hp) A' adjoint times h
    real *to_inner, *through; // (H, WIDTH) partial sums over neurons: to h^s, and A' adjoint transposed times h
    fast_point *point;        // (segment)
} fast_work;

static size_t fast_backward_bytes(const fast_layer *L, int segment)
{
    size_t S = (size_t)segment, Hp = fast_row(L), points = (S * sizeof(fast_point) + PANEL_BYTES - 1) / PANEL_BYTES;
    return (S * fast_matrix(L) + 6 * Hp + 2 * Hp * WIDTH) * sizeof(real) + points * PANEL_BYTES;
}

INLINE fast_work fast_carve(const fast_layer *L, int segment, void *work)
{
    size_t Hp = fast_row(L);
    fast_work w = {.slots = work};
    w.inner = w.slots + (size_t)segment * fast_matrix(L);
    w.dh = w.inner + Hp;
    w.dq = w.dh + Hp;
    w.dp = w.dq + Hp;
    w.rate = w.dp + Hp;
    w.to_before = w.rate + Hp;
    w.to_inner = w.to_before + Hp;
    w.through = w.to_inner + Hp * WIDTH;
    w.point = (fast_point *)(void *)(w.through + Hp * WIDTH);
    return w;
}

/* Fills the points of the segment's live steps; returns how many there are. */
INLINE int fast_rebuild(const fast_layer *L, const fast_back *b, const fast_work *w)
{
    size_t Hp = fast_row(L), matrix = fast_matrix(L);
    const real *out = b->out, *A = b->checkpoint;
    vec lambda = splat((real)L->lambda), eta = splat((real)L->eta);
    int live = 0;
    for (int t = 0; t < b->steps; t++) {
        real *z = (real *)b->z + (size_t)t * Hp;
        if (!(b->flags[t] & STEP_LIVE)) {
            memset(z, 0, Hp * sizeof *z);
            continue;
        }
        int i = live++, reset = b->flags[t] & STEP_RESET;
        real *own = w->slots + (size_t)i * matrix;
        w->point[i] = (fast_point){.t = t,
                                   .A = own,
                                   .h = out + (size_t)(t + 1) * Hp,
                                   .tape = (const real *)b->tape + (size_t)t * fast_step_values(L)};
        if (reset) {
            memset(z, 0, Hp * sizeof *z);
            memset(own, 0, matrix * sizeof *own);
        } else {
            memcpy(z, out + (size_t)t * Hp, Hp * sizeof *z);
            for (int n = 0; n < vector_count(L->hidden); n++) {
                size_t start = tile_start((size_t)L->hidden * LANES, n);
                vec rate = eta * load(z + n * WIDTH);
                for (int k = 0; k < L->hidden; k++) {
                    size_t at = start + (size_t)k * LANES;
                    store(own + at, fast_next(load(A + at), lambda, rate, z[k]));
                }
            }
        }
        A = own;
    }
    return live;
}

typedef struct fast_back_pass {
    const fast_work *work;
    int hidden;
    const real *A, *z;
    real *dA;
    vec lambda;
} fast_back_pass;

/* Inner step s: A' adjoint += dq h^s^T, and the sums of A'^T dq; in the first (`last`: backward it is the last) also what
 * goes through the update of A. */
INLINE void fast_back_tile(int tile, int last, fast_back_pass *p, int n)
{
    const fast_work *w = p->work;
    size_t start[TILE];
    vec dq[TILE], before[TILE], total[TILE];
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++) {
        start[g] = tile_start((size_t)p->hidden * LANES, n + g);
        dq[g] = load(w->dq + (n + g) * WIDTH);
        before[g] = last ? load(p->z + (n + g) * WIDTH) : splat(0);
        total[g] = splat(0);
    }
    for (int k = 0; k < p->hidden; k++) {
        vec inner = splat(w->inner[k]), z = last ? splat(p->z[k]) : splat(0);
        vec to_inner = n > 0 ? load(w->to_inner + k * WIDTH) : splat(0);
        vec through = last && n > 0 ? load(w->through + k * WIDTH) : splat(0);
#pragma GCC unroll 4
        for (int g = 0; g < tile; g++) {
            size_t at = start[g] + (size_t)k * LANES;
            to_inner = fma_(dq[g], load(p->A + at), to_inner);
            vec adjoint = fma_(dq[g], inner, load(p->dA + at));
            if (last) {
                total[g] = fma_(adjoint, z, total[g]);
                through = fma_(adjoint, before[g], through);
                adjoint *= p->lambda;
            }
            store(p->dA + at, adjoint);
        }
        store(w->to_inner + k * WIDTH, to_inner);
        if (last) store(w->through + k * WIDTH, through);
    }
#pragma GCC unroll 4
    for (int g = 0; g < tile; g++)
        if (last) store(w->to_before + (n + g) * WIDTH, total[g]);
}

INLINE void fast_back_tiles(int last, fast_back_pass *p)
{
    int vectors = vector_count(p->hidden), n = 0;
    for (; n + TILE <= vectors; n += TILE) fast_back_tile(TILE, last, p, n);
    for (; n + 2 <= vectors; n += 2) fast_back_tile(2, last, p, n);
    for (; n < vectors; n++) fast_back_tile(1, last, p, n);
}

/* Adjoint of LN's input from that of h^s, through tanh and LN: dh to dq; dp takes it up. */
INLINE void fast_back_activation(const fast_layer *L, const fast_grad *grad, const fast_work *w, const real *h,
                                 const real *normalised, real scale)
{
    for (size_t row = 0; row < fast_row(L); row += WIDTH) {
        vec now = load(h + row);
        store(w->dq + row, load(w->dh + row) * (splat(1) - now * now));
    }
    layer_norm_back(L->hidden, L->mask, normalised, scale, L->ln_weight, grad->ln_weight, grad->ln_bias, w->dq);
    for (size_t row = 0; row < fast_row(L); row += WIDTH) store(w->dp + row, load(w->dp + row) + load(w->dq + row));
}

/* One live step, from `dh` in the work space; `carried` gets the adjoint of h before. */
static void fast_back_step(const fast_layer *L, const fast_grad *grad, const fast_back *b, const fast_work *w,
                           const fast_point *point, real *carried)
{
    size_t Hp = fast_row(L), H = (size_t)L->hidden;
    const real *tape = point->tape, *scale = fast_deviations(L, tape), *h = point->h;
    const real *z = (const real *)b->z + (size_t)point->t * Hp;
    fast_back_pass pass = {
        .work = w, .hidden = L->hidden, .A = point->A, .z = z, .dA = b->dA, .lambda = splat((real)L->lambda)};
    memset(w->dp, 0, Hp * sizeof *w->dp);
    for (int s = L->inner_steps; s > 0; s--) {
        fast_back_activation(L, grad, w, h, tape + (size_t)s * Hp, scale[s]);
        fast_activate(L, tape + (size_t)(s - 1) * Hp, w->inner);
        h = w->inner;
        if (s > 1) fast_back_tiles(0, &pass);
        else fast_back_tiles(1, &pass);
        sum_each(L->hidden, w->to_inner, w->dh);
    }
    fast_back_activation(L, grad, w, h, tape, scale[0]);
    memcpy((real *)b->ds + (size_t)point->t * Hp, w->dp, Hp * sizeof *w->dp);
    memset(carried, 0, Hp * sizeof *carried);
    if (b->flags[point->t] & STEP_RESET) {
        memset(b->dA, 0, fast_matrix(L) * sizeof(real));
        return;
    }
    sum_each(L->hidden, w->through, carried);
    vec eta = splat((real)L->eta);
    for (size_t row = 0; row < Hp; row += WIDTH)
        store(carried + row, eta * (load(carried + row) + load(w->to_before + row)));
    fast_pass back = {.vectors = vector_count(L->hidden), .columns = (int)H, .energy = splat(0)};
    back.panel_step = Hp * LANES;
    back.matrix = (real *)(uintptr_t)b->transposed;
    back.input = w->dp;
    back.sums = carried;
    fast_product(&back, 0, 0);
}

static void fast_backward_segment(const fast_layer *L, const fast_grad *grad, const fast_back *b, void *work)
{
    fast_work w = fast_carve(L, b->segment, work);
    size_t Hp = fast_row(L), H = (size_t)L->hidden;
    real *carried = b->dh;
    memset(b->ds, 0, (size_t)b->steps * Hp * sizeof(real));
    memset(w.to_before, 0, Hp * sizeof(real));
    for (int i = fast_rebuild(L, b, &w) - 1; i >= 0; i--) {
        const fast_point *point = &w.point[i];
        memcpy(w.dh, carried, Hp * sizeof *w.dh);
        if (point->t >= b->dy_begin)
            accumulate(H, w.dh, (const real *)b->dy + (size_t)(point->t - b->dy_begin) * b->dy_step);
        fast_back_step(L, grad, b, &w, point, carried);
    }
}

#endif
