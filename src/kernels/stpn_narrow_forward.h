/* The forward sweep of a small layer: norm pre, and neurons that fit one panel, so that rows are registers. What is done once
 * a step and sample weighs as much there as what is done once a synapse. */
#ifndef STPN_KERNELS_STPN_NARROW_FORWARD_H
#define STPN_KERNELS_STPN_NARROW_FORWARD_H

#include "kernels/stpn_forward.h"

enum { NARROW_COLUMNS = 128 }; // W, Lambda and Gamma in the first-level cache

/* Decided by the layer alone: the same arithmetic in a step and in a sequence. */
INLINE int is_narrow(const stpn_layer *L)
{
    mode m = layer_mode(L, L->rule == STPN_RULE_OJA || L->current, 1);
    return L->panels == 1 && L->columns <= NARROW_COLUMNS && L->recurrent && m.loops == LOOPS_PRE && !L->layer_norm &&
           L->plastic_begin == 0 && L->plastic_end == L->columns;
}

/* Columns [begin, end), or those places of a list, in all N vectors of neurons: what is to be done to F before the step, then
 * the sums of the step. */
INLINE void narrow_columns(int N, int update, int dot, const int32_t *list, const stpn_layer *L,
                           const forward_sample *s, int begin, int end, const real *z, const real *v, vec *drive,
                           vec *squares)
{
    const real *weight = L->weight, *lambda = L->lambda, *gamma = L->gamma;
    real *F = s->F;
    vec now[VECTORS], inverse[VECTORS], u[VECTORS], r[VECTORS];
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        now[n] = update ? load(s->now + n * WIDTH) : splat(0);
        inverse[n] = update ? load(s->inverse + n * WIDTH) : splat(0);
        u[n] = dot ? drive[n] : splat(0);
        r[n] = dot ? squares[n] : splat(0);
    }
    for (int i = begin; i < end; i++) {
        int k = list ? list[i] : i;
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) {
            size_t at = (size_t)k * LANES + (size_t)n * WIDTH;
            vec next = load(F + at);
            if (update) {
                next = updated(MODE_PRE, next, inverse[n], splat(v[k]) * now[n], load(lambda + at), load(gamma + at));
                store(F + at, next);
            }
            if (!dot) continue;
            vec G = load(weight + at) + next;
            u[n] = fma_(G, splat(z[k]), u[n]);
            r[n] = fma_(G, G, r[n]);
        }
    }
#pragma GCC unroll 4
    for (int n = 0; n < N && dot; n++) {
        drive[n] = u[n];
        squares[n] = r[n];
    }
}

/* Both kinds of columns of a sample. */
INLINE void narrow_pass(int N, int update, int dot, const stpn_layer *L, const forward_sample *s, vec *drive,
                        vec *squares)
{
    const real *z_h = s->h ? s->h - L->inputs : NULL, *v_h = update ? s->vh - L->inputs : NULL;
    int dense = dot ? s->dense : s->dense_before, count = dot ? s->count : s->count_before;
    /* How many columns a list has is hard to foresee: it comes last, while there is work under way. */
    if (!dot || !s->blank) narrow_columns(N, update, dot, NULL, L, s, L->inputs, L->columns, z_h, v_h, drive, squares);
    if (dense) narrow_columns(N, update, dot, NULL, L, s, 0, L->inputs, s->x, s->vx, drive, squares);
    else narrow_columns(N, update, dot, s->active.list, L, s, 0, count, s->x, s->vx, drive, squares);
}

typedef double wide_vec __attribute__((vector_size(WIDTH * sizeof(double))));

/* What is not visited has F = 0: its W^2 is in the norm. */
INLINE void narrow_rest(int N, const forward_work *w, const forward_sample *s, vec *squares)
{
    if (s->dense && !s->blank) return;
    const double *rest = s->rest, *recurrent = w->recurrent_squares;
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        wide_vec sum = {0};
        if (!s->dense) sum += *(const wide_vec *)(rest + n * WIDTH);
        if (s->blank) sum += *(const wide_vec *)(recurrent + n * WIDTH);
        vec left = __builtin_convertvector(sum, vec);
        /* Where all has been taken away it may be below 0 by rounding. */
        squares[n] += choose(left > splat(0), left, splat(0));
    }
}

/* A live step of one sample up to what goes into the activation. */
INLINE void narrow_potential(int N, const stpn_layer *L, const forward_work *w, forward_sample *s, int t)
{
    vec drive[VECTORS], squares[VECTORS];
    const real *bias = L->bias;
    const stpn_sweep *sweep = s->sweep;
    size_t row = (size_t)t * LANES;
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) drive[n] = squares[n] = splat(0);
    if (s->pending) narrow_pass(N, 1, 1, L, s, drive, squares);
    else narrow_pass(N, 0, 1, L, s, drive, squares);
    narrow_rest(N, w, s, squares);
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        size_t at = (size_t)n * WIDTH;
        vec norm = root(squares[n]), inverse = inverse_norm(norm);
        vec potential = drive[n] * inverse;
        store(s->inverse + at, inverse);
        if (sweep->norm) store((real *)sweep->norm + row + at, norm);
        if (sweep->drive) store((real *)sweep->drive + row + at, potential);
        store(s->drive + at, bias ? potential + load(bias + at) : potential);
    }
}

/* The output of a step, and what is now pending. */
INLINE void narrow_output(int N, const stpn_layer *L, forward_sample *s, int t)
{
    real *out = (real *)s->sweep->out + (size_t)t * LANES;
    const real *mask = L->mask;
    for (int n = 0; n < VECTORS; n++) {
        size_t at = (size_t)n * WIDTH;
        vec h = splat(0);
        if (n < N && L->activation == STPN_ACTIVATION_TANH) h = tanh_(load(s->drive + at));
        else if (n < N) h = sigmoid_(load(s->drive + at)) * load(mask + at);
        store(out + at, h);
    }
    s->now = out;
}

/* F of a checkpoint is that before its step. */
INLINE void narrow_forward(int N, const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    forward_work *w = forward_open(L, sweeps, count, work);
    int steps = sweeps[0].steps, waits = 0;
    for (int t = 0; t < steps; t++)
        for (int b = 0; b < count; b++) {
            forward_sample *s = &w->sample[b], *last = &w->sample[b > 0 ? b - 1 : count - 1];
            const stpn_sweep *sweep = s->sweep;
            int index = sweep->begin + t, live = sweep->flags[t] & STEP_LIVE;
            if (count == 1 && waits) narrow_output(N, L, last, t - 1), waits = 0;
            if (live) {
                step_open(L, w, s, t);
                narrow_potential(N, L, w, s, t);
            }
            if (sweep->checkpoints && index % sweep->segment == 0) {
                if (!live && s->pending) narrow_pass(N, 1, 0, L, s, NULL, NULL), s->pending = 0;
                save_checkpoint(L, s, index / sweep->segment);
            }
            if (waits) narrow_output(N, L, last, b > 0 ? t : t - 1);
            waits = live;
            if (!live) {
                memcpy((real *)sweep->out + (size_t)t * LANES, s->now, LANES * sizeof(real));
                continue;
            }
            if (sweep->energy) ((real *)sweep->energy)[t] += step_energy(L, s);
            *s->active.used = s->pending = 1;
            s->dense_before = s->dense;
            s->count_before = s->count;
            s->vx = s->x;
            s->vh = s->h;
        }
    if (waits) narrow_output(N, L, &w->sample[count - 1], steps - 1);
    for (int b = 0; b < count; b++) {
        forward_sample *s = &w->sample[b];
        if (sweeps[b].leave) leave_pending(L, s);
        else if (s->pending) narrow_pass(N, 1, 0, L, s, NULL, NULL);
        if (s->now != sweeps[b].h) memcpy(sweeps[b].h, s->now, LANES * sizeof(real));
    }
}

/* One function for each number of vectors. */
static void narrow_forward_1(const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    narrow_forward(1, L, sweeps, count, work);
}

#if !defined(KERNEL_ISA_AVX512)
static void narrow_forward_2(const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    narrow_forward(2, L, sweeps, count, work);
}
#endif

static void stpn_forward_either(const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    int vectors = group_count(L);
    if (vectors > 2 || !is_narrow(L)) stpn_forward_sweep(L, sweeps, count, work);
    else if (vectors == 1) narrow_forward_1(L, sweeps, count, work);
#if !defined(KERNEL_ISA_AVX512)
    else narrow_forward_2(L, sweeps, count, work);
#endif
}

#endif
