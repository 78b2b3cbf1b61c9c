/* The backward sweep of a small layer (stpn_narrow_forward.h) over a whole bundle that goes from zero through one segment: all
 * steps live, of the same number, and nothing wanted but the parameters' gradient. */
#ifndef STPN_KERNELS_STPN_NARROW_BACKWARD_H
#define STPN_KERNELS_STPN_NARROW_BACKWARD_H

#include "kernels/stpn_backward.h"
#include "kernels/stpn_narrow_forward.h"

/* Rows of a point in `packed`, and of the step under way. */
enum { NARROW_NOW, NARROW_INVERSE, NARROW_PRODUCT };
enum { NARROW_TO_G, NARROW_FACTOR, NARROW_TO_H, NARROW_DOT, NARROW_CARRIED, NARROW_ROWS };

typedef struct narrow_sample {
    const stpn_back *back;
    signals active;
    int32_t *count;    // (T) inputs on the list at each step
    real *F;           // history, as that of back_sample; the adjoint X takes the place of the F that has served
    real *packed;      // (T, bundle, 3, lanes) from this sample's on
    const real **v[2]; // (T, bundle) of inputs, of recurrent columns
    real *rows;        // (NARROW_ROWS, lanes)
    real *dz;          // (lanes, WIDTH) partial sums over neurons of the adjoint of h
} narrow_sample;

INLINE real *narrow_packed(const narrow_sample *s, int t, int row)
{
    return s->packed + ((size_t)t * STPN_BUNDLE * PACKED_ROWS + (size_t)row) * LANES;
}

/* All points of a sample; 0 where a neuron's ||G|| is. */
INLINE int narrow_points(int N, const stpn_layer *L, narrow_sample *s)
{
    const stpn_back *back = s->back;
    const real *norms = back->norm, *out = back->out, *x = back->x, *mask = L->mask;
    ivec extinct = {0};
    for (int t = 0; t < back->steps; t++) {
        const real *xt = x + (size_t)t * back->x_step;
        s->v[0][t * STPN_BUNDLE] = xt;
        s->v[1][t * STPN_BUNDLE] = out + (size_t)t * LANES - L->inputs;
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) {
            size_t at = (size_t)n * WIDTH;
            vec norm = load(norms + (size_t)t * LANES + at), now = load(out + (size_t)(t + 1) * LANES + at);
            extinct |= (norm == splat(0)) & (load(mask + at) != splat(0));
            store(narrow_packed(s, t, NARROW_NOW) + at, now);
            store(narrow_packed(s, t, NARROW_INVERSE) + at, inverse_norm(norm));
            store(narrow_packed(s, t, NARROW_PRODUCT) + at, now * (norm + splat(NORM_EPSILON)));
        }
        signals_add(L, &s->active, xt);
        s->count[t] = *s->active.count;
    }
    return !any_bit(extinct);
}

/* From the adjoint of h to s' / n and c of a step. */
INLINE void narrow_rows(int N, const stpn_layer *L, const stpn_layer_grad *grad, const narrow_sample *s, int t)
{
    const stpn_back *b = s->back;
    size_t row = (size_t)t * LANES;
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        size_t at = (size_t)n * WIDTH;
        vec norm = load((const real *)b->norm + row + at), inverse = load(narrow_packed(s, t, NARROW_INVERSE) + at);
        vec to_h = load(s->rows + NARROW_TO_H * LANES + at), carried = load(s->rows + NARROW_CARRIED * LANES + at);
        vec dh = fma_(to_h, norm + splat(NORM_EPSILON), carried);
        if (t >= b->dy_begin)
            dh +=
                load_part((const real *)b->dy + (size_t)(t - b->dy_begin) * b->dy_step + at, L->hidden - n * WIDTH, 0);
        vec ds = through_activation(L, dh, load(narrow_packed(s, t, NARROW_NOW) + at));
        vec factor = norm_factor(ds, load((const real *)b->drive + row + at), load(s->rows + NARROW_DOT * LANES + at),
                                 inverse, norm);
        if (grad->bias) add_to((real *)grad->bias + at, ds);
        add_to((real *)grad->input_scale + at, factor);
        if (t == 0) add_to((real *)grad->recurrent_scale + at, factor);
        store(s->rows + NARROW_TO_G * LANES + at, ds * inverse);
        store(s->rows + NARROW_FACTOR * LANES + at, factor);
    }
}

/* What the loops over columns hold of a sample: out of step t, into the one before. */
typedef struct narrow_held {
    const real *z, *v;
    const real *F, *F_in, *X;
    real *X_in;
    vec to_G[VECTORS], factor[VECTORS], carry[VECTORS], inverse[VECTORS], product[VECTORS], to_h[VECTORS], dot[VECTORS];
} narrow_held;

INLINE void narrow_hold(int N, int in, const stpn_layer *L, const narrow_sample *s, int t, int recurrent,
                        narrow_held *h)
{
    size_t step = history_step(L);
    h->z = s->v[recurrent][t * STPN_BUNDLE];
    h->v = in ? s->v[recurrent][(t - 1) * STPN_BUNDLE] : NULL;
    h->X_in = s->F + (size_t)t * step;
    h->F = h->X_in;
    h->F_in = in ? h->F - step : NULL;
    h->X = h->F + step;
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        size_t at = (size_t)n * WIDTH;
        h->to_G[n] = load(s->rows + NARROW_TO_G * LANES + at);
        h->factor[n] = load(s->rows + NARROW_FACTOR * LANES + at);
        h->carry[n] = load(narrow_packed(s, t, NARROW_PRODUCT) + at);
        h->inverse[n] = h->product[n] = splat(0);
        if (in) h->inverse[n] = load(narrow_packed(s, t - 1, NARROW_INVERSE) + at);
        if (in) h->product[n] = load(narrow_packed(s, t - 1, NARROW_PRODUCT) + at);
        h->to_h[n] = h->dot[n] = splat(0);
        if (recurrent) h->to_h[n] = load(s->rows + NARROW_TO_H * LANES + at);
        if (recurrent) h->dot[n] = load(s->rows + NARROW_DOT * LANES + at);
    }
}

INLINE void narrow_release(int N, const narrow_sample *s, const narrow_held *h)
{
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) {
        store(s->rows + NARROW_TO_H * LANES + n * WIDTH, h->to_h[n]);
        store(s->rows + NARROW_DOT * LANES + n * WIDTH, h->dot[n]);
    }
}

/* The parameters of a synapse and their gradient. */
typedef struct narrow_synapse {
    vec w, lambda, gamma, dw, dlambda, dgamma;
} narrow_synapse;

INLINE narrow_synapse synapse_open(const stpn_layer *L, const stpn_layer_grad *g, size_t at, int in)
{
    narrow_synapse c = {load((const real *)L->weight + at),
                        load((const real *)L->lambda + at),
                        load((const real *)L->gamma + at),
                        load((const real *)g->weight + at),
                        splat(0),
                        splat(0)};
    if (in) c.dlambda = load((const real *)g->lambda + at);
    if (in) c.dgamma = load((const real *)g->gamma + at);
    return c;
}

INLINE void synapse_close(const stpn_layer_grad *g, size_t at, int in, const narrow_synapse *c)
{
    store((real *)g->weight + at, c->dw);
    if (in) store((real *)g->lambda + at, c->dlambda);
    if (in) store((real *)g->gamma + at, c->dgamma);
}

/* Into the step before: column_in of norm pre. Written out here, as column_out is in the loops below, for the sums over
 * vectors stay in registers that way (AVX2: 3 % of a pass); a test holds both against each other. */
INLINE vec narrow_in(narrow_synapse *c, narrow_held *h, int n, vec v, vec F, vec adjoint)
{
    vec X = adjoint * h->inverse[n], to_F = X * F, through = X * v;
    c->dlambda += to_F;
    h->dot[n] = fma_(to_F, c->lambda, h->dot[n]);
    h->to_h[n] = fma_(through, c->gamma, h->to_h[n]);
    c->dgamma = fma_(through, h->product[n], c->dgamma);
    return X;
}

/* Inputs on a sample's list; c W is left to stpn_finish in all of them. `last`: nothing comes from a step after. */
INLINE void narrow_inputs(int N, int last, const stpn_layer *L, const stpn_layer_grad *grad, const narrow_sample *s,
                          int t)
{
    narrow_held h;
    const int32_t *list = s->active.list;
    narrow_hold(N, 1, L, s, t, 0, &h);
    for (int i = 0; i < s->count[t]; i++) {
        int k = list[i];
        vec z = splat(h.z[k]), v = splat(h.v[k]);
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) {
            size_t at = (size_t)k * LANES + (size_t)n * WIDTH, place = at + (size_t)k * (STPN_BUNDLE - 1) * LANES;
            narrow_synapse c = synapse_open(L, grad, at, 1);
            vec force = fma_(h.factor[n], load(h.F + place), h.to_G[n] * z);
            c.dw += force;
            force = fma_(h.factor[n], c.w, force);
            if (!last) force = fma_(load(h.X + place), c.lambda, force);
            store(h.X_in + place, narrow_in(&c, &h, n, v, load(h.F_in + place), force));
            synapse_close(grad, at, 1, &c);
        }
    }
    narrow_release(N, s, &h);
}

/* Recurrent columns of all samples. Before step 1 they have no F, and nothing goes in. */
INLINE void narrow_recurrent(int N, int in, int last, const stpn_layer *L, const stpn_layer_grad *grad,
                             const narrow_sample *s, int t)
{
    narrow_held h[STPN_BUNDLE];
#pragma GCC unroll 4
    for (int b = 0; b < STPN_BUNDLE; b++) narrow_hold(N, in, L, &s[b], t, 1, &h[b]);
    for (int k = L->inputs; k < L->columns; k++) {
        narrow_synapse c[VECTORS];
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) c[n] = synapse_open(L, grad, (size_t)k * LANES + (size_t)n * WIDTH, in);
#pragma GCC unroll 4
        for (int b = 0; b < STPN_BUNDLE; b++) {
            vec z = splat(h[b].z[k]), v = in ? splat(h[b].v[k]) : splat(0), to_z = splat(0);
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) {
                size_t place = (size_t)k * STPN_BUNDLE * LANES + (size_t)n * WIDTH;
                vec X = last ? splat(0) : load(h[b].X + place), G = c[n].w;
                if (in) G += load(h[b].F + place);
                to_z = fma_(h[b].to_G[n], G, to_z);
                if (!last) to_z = fma_(X * c[n].gamma, h[b].carry[n], to_z);
                vec force = fma_(h[b].factor[n], G, h[b].to_G[n] * z);
                c[n].dw += force;
                if (!in) continue;
                if (!last) force = fma_(X, c[n].lambda, force);
                store(h[b].X_in + place, narrow_in(&c[n], &h[b], n, v, load(h[b].F_in + place), force));
            }
            store(s[b].dz + (size_t)(k - L->inputs) * WIDTH, to_z);
        }
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) synapse_close(grad, (size_t)k * LANES + (size_t)n * WIDTH, in, &c[n]);
    }
#pragma GCC unroll 4
    for (int b = 0; b < STPN_BUNDLE && in; b++) narrow_release(N, &s[b], &h[b]);
}

/* F of all points. That of recurrent columns is 0 before step 1, that of inputs up to where they become active. */
INLINE void narrow_rebuild(const stpn_layer *L, const narrow_sample *s)
{
    back_sample rebuilt[STPN_BUNDLE];
    int T = s[0].back->steps, k = L->inputs;
    for (int b = 0; b < STPN_BUNDLE; b++) rebuilt[b] = (back_sample){.back = s[b].back, .F = s[b].F};
    rebuild_call call = {L, rebuilt, STPN_BUNDLE, 1, T, s[0].packed, s[0].v[0]};
    for (; k + REBUILD_COLUMNS <= L->columns; k += REBUILD_COLUMNS)
        rebuild_block(MODE_PRE, STPN_BUNDLE, REBUILD_COLUMNS, &call, 0, 1, k, 1, 0);
    for (; k < L->columns; k++) rebuild_block(MODE_PRE, STPN_BUNDLE, 1, &call, 0, 1, k, 1, 0);
    for (int b = 0; b < STPN_BUNDLE; b++) {
        rebuild_call one = {L, &rebuilt[b], 1, 0, T, s[b].packed, s[b].v[0]};
        for (int e = 0, start = 0; e < s[b].count[T - 1]; e++) {
            while (s[b].count[start] <= e) start++;
            rebuild_block(MODE_PRE, 1, 1, &one, 0, 0, s[b].active.list[e], start > 0 ? start - 1 : 0, 0);
        }
    }
}

INLINE void narrow_step(int N, int last, const stpn_layer *L, const stpn_layer_grad *grad, const narrow_sample *s,
                        int t)
{
    for (int b = 0; b < STPN_BUNDLE; b++) narrow_rows(N, L, grad, &s[b], t);
    for (int b = 0; b < STPN_BUNDLE; b++) narrow_inputs(N, last, L, grad, &s[b], t);
    if (t > 1) narrow_recurrent(N, 1, last, L, grad, s, t);
    else narrow_recurrent(N, 0, last, L, grad, s, t);
    for (int b = 0; b < STPN_BUNDLE; b++) sum_each(LANES, s[b].dz, s[b].rows + NARROW_CARRIED * LANES);
}

/* The first step has nothing before it, and only inputs with a signal have a gradient beside c W. */
INLINE void narrow_first_step(int N, const stpn_layer_grad *grad, const narrow_sample *s)
{
    const real *x = s->v[0][0];
    for (int i = 0; i < s->count[0]; i++)
        for (int n = 0; n < N; n++) {
            int k = s->active.list[i];
            vec force = load(s->rows + NARROW_TO_G * LANES + n * WIDTH) * splat(x[k]);
            add_to((real *)grad->weight + (size_t)k * LANES + (size_t)n * WIDTH, force);
        }
}

/* Inputs that all have a signal at once need no list: the general sweep takes them for all samples together. */
INLINE int all_signal(const stpn_layer *L, const real *x)
{
    for (int begin = 0; begin < L->inputs; begin += WIDTH) {
        int count = smaller(WIDTH, L->inputs - begin);
        if (entries_of(x + begin, count) != (1U << count) - 1) return 0;
    }
    return 1;
}

/* Whether a bundle is as simple as it has to be. */
static int narrow_takes(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, int count)
{
    if (count != STPN_BUNDLE || !grad->lambda || !is_narrow(L)) return 0;
    for (int b = 0; b < count; b++) {
        const stpn_back *back = &backs[b];
        const real *h = back->out;
        if (back->dx || back->wanted || back->steps > back->segment || back->steps != backs[0].steps) return 0;
        if (*signals_at(L, back->checkpoint_active).used || all_signal(L, back->x)) return 0;
        for (int j = 0; j < L->hidden; j++)
            if (h[j] != 0) return 0;
        for (int t = 0; t < back->steps; t++)
            if (!(back->flags[t] & STEP_LIVE) || (t > 0 && back->flags[t] & STEP_RESET)) return 0;
    }
    return backs[0].steps > 0;
}

/* 0, and nothing done, where a row of zeros asks for the general sweep. */
INLINE int narrow_backward(int N, const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, void *work)
{
    narrow_sample sample[STPN_BUNDLE];
    char *at = work;
    size_t S = (size_t)backs[0].segment, row = LANES * sizeof(real);
    real *F = carve(&at, (S + 1) * history_step(L) * sizeof(real));
    real *packed = carve(&at, S * STPN_BUNDLE * PACKED_ROWS * PANEL_BYTES);
    const real **v = carve(&at, 2 * S * STPN_BUNDLE * sizeof *v);
    int T = backs[0].steps;
    for (int b = 0; b < STPN_BUNDLE; b++) {
        narrow_sample *s = &sample[b];
        *s = (narrow_sample){.back = &backs[b],
                             .F = F + b * LANES,
                             .packed = packed + b * PACKED_ROWS * LANES,
                             .v = {v + b, v + S * STPN_BUNDLE + b}};
        s->active = signals_at(L, carve(&at, signals_values(L) * sizeof(real)));
        s->count = carve(&at, S * sizeof *s->count);
        s->rows = carve(&at, NARROW_ROWS * row);
        s->dz = carve(&at, LANES * WIDTH * sizeof(real));
        signals_clear(L, &s->active);
        memset(s->rows, 0, NARROW_ROWS * row);
        memset(s->dz, 0, LANES * WIDTH * sizeof(real));
        if (!narrow_points(N, L, s)) return 0;
    }
    narrow_rebuild(L, sample);
    for (int t = T - 1; t > 0; t--) {
        if (t == T - 1) narrow_step(N, 1, L, grad, sample, t);
        else narrow_step(N, 0, L, grad, sample, t);
    }
    for (int b = 0; b < STPN_BUNDLE; b++) {
        narrow_rows(N, L, grad, &sample[b], 0);
        narrow_first_step(N, grad, &sample[b]);
    }
    return 1;
}

static int narrow_backward_1(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, void *work)
{
    return narrow_backward(1, L, grad, backs, work);
}

#if !defined(KERNEL_ISA_AVX512)
static int narrow_backward_2(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, void *work)
{
    return narrow_backward(2, L, grad, backs, work);
}
#endif

static void stpn_backward_either(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, int count,
                                 void *work)
{
    int vectors = group_count(L), done = 0;
    if (vectors <= 2 && narrow_takes(L, grad, backs, count)) {
        if (vectors == 1) done = narrow_backward_1(L, grad, backs, work);
#if !defined(KERNEL_ISA_AVX512)
        else done = narrow_backward_2(L, grad, backs, work);
#endif
    }
    if (!done) stpn_backward_sweep(L, grad, backs, count, work);
}

#endif
