/* The forward sweep of an STPN layer over a bundle of samples. The update of F after step t is fused with the sums of
 * step t + 1: F is read and written once a step (norm post: twice, the second time from the first-level cache). */
#ifndef STPN_KERNELS_STPN_FORWARD_H
#define STPN_KERNELS_STPN_FORWARD_H

#include "kernels/layer_norm.h"
#include "kernels/stpn.h"

/* What a pass does with a column. */
typedef struct forward_task {
    int update; // F becomes F^c of the step before, for norm post still to be divided
    int divide; // norm post: F^c becomes F'
    int sum;    // ||G||^2
    int dot;    // G . z, and ||G||^2
} forward_task;

/* One sample of a bundle. */
typedef struct forward_sample {
    const stpn_sweep *sweep;
    signals active;
    real *F;
    int step;                // the latest that was live; -1: in an earlier sweep
    int live, pending;       // there is a step to do, an update of F to do
    const real *x, *h;       // (I), (H) z of the step
    const real *vx, *vh;     // the same for v of the pending update
    const real *now;         // (Hp) the latest h
    real *out;               // (Hp) where that of the step goes
    int blank;               // recurrent columns have neither F nor z
    int dense, dense_before; // of the step, of the pending update's
    int count, count_before;
    double *rest,
        *rest_before;          // (Hp) sum of W^2 over the inputs that are not visited; the same, for the pending update
    real *squares, *drive;     // (Hp) ||G||^2, G . z
    real *norm, *inverse;      // (Hp) ||G||, 1 / n
    real *post, *inverse_post; // (Hp) ||W + F^c||, 1 / m
    real *v;                   // (K) oja's
} forward_sample;

typedef struct forward_work {
    forward_sample sample[STPN_BUNDLE];
    real *zeros;                               // (Hp)
    double *input_squares, *recurrent_squares; // (Hp) sums of W^2
} forward_work;

static size_t forward_bytes(const stpn_layer *L)
{
    size_t row = rounded(padded_rows(L) * sizeof(real)), wide = rounded(padded_rows(L) * sizeof(double));
    size_t each = 2 * wide + 6 * row + rounded(padded_columns(L) * sizeof(real));
    return rounded(sizeof(forward_work)) + row + 2 * wide + STPN_BUNDLE * each;
}

/* An update that one sweep leaves to the next: v (K), 1 / n (Hp), and whether there is one. */
typedef struct pending_update {
    real *v, *inverse, *waits;
} pending_update;

static size_t pending_values(const stpn_layer *L)
{
    return padded_columns(L) + padded_rows(L) + LANES;
}

INLINE pending_update pending_at(const stpn_layer *L, void *pending)
{
    real *v = pending, *inverse = v + padded_columns(L);
    return (pending_update){v, inverse, inverse + padded_rows(L)};
}

/* Takes up what the sweep before has left. */
INLINE void take_pending(const stpn_layer *L, forward_sample *s)
{
    pending_update left = pending_at(L, s->sweep->pending);
    if (*left.waits == 0) return;
    *left.waits = 0;
    s->pending = 1;
    s->step = -1;
    s->vx = left.v;
    s->vh = left.v + L->inputs;
    s->dense = s->dense_before = *s->active.dense;
    s->count = s->count_before = *s->active.count;
    memcpy(s->inverse, left.inverse, padded_rows(L) * sizeof *left.inverse);
}

/* Leaves it to the next one. */
INLINE void leave_pending(const stpn_layer *L, const forward_sample *s)
{
    pending_update left = pending_at(L, s->sweep->pending);
    if (!s->pending) return;
    *left.waits = 1;
    memmove(left.v, s->vx, (size_t)L->inputs * sizeof *left.v);
    if (L->recurrent) memmove(left.v + L->inputs, s->vh, (size_t)L->hidden * sizeof *left.v);
    memcpy(left.inverse, s->inverse, padded_rows(L) * sizeof *left.inverse);
}

/* Sums of W^2 over columns [begin, end). */
static void sum_squares_of(const stpn_layer *L, int begin, int end, double *sums)
{
    const real *weight = L->weight;
    for (int p = 0; p < L->panels; p++) {
        double *to = sums + p * LANES;
        for (int lane = 0; lane < LANES; lane++) to[lane] = 0;
        for (int k = begin; k < end; k++) {
            const real *w = weight + ((size_t)p * (size_t)L->columns + (size_t)k) * LANES;
            for (int lane = 0; lane < LANES; lane++) to[lane] += (double)w[lane] * (double)w[lane];
        }
    }
}

/* Takes the columns of `list` from on `from` on out of the sums. In double what remains is exact enough for a real. */
INLINE void take_from_rest(const stpn_layer *L, const int32_t *list, int from, int count, double *rest)
{
    const real *weight = L->weight;
    for (int i = from; i < count; i++)
        for (int p = 0; p < L->panels; p++) {
            const real *w = weight + ((size_t)p * (size_t)L->columns + (size_t)list[i]) * LANES;
            double *to = rest + p * LANES;
            for (int lane = 0; lane < LANES; lane++) to[lane] -= (double)w[lane] * (double)w[lane];
        }
}

static forward_work *forward_open(const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    char *at = work;
    size_t Hp = padded_rows(L), row = Hp * sizeof(real), wide = sizeof(double) * padded_rows(L);
    forward_work *w = carve(&at, sizeof *w);
    w->zeros = carve(&at, row);
    memset(w->zeros, 0, row);
    w->input_squares = carve(&at, wide);
    w->recurrent_squares = carve(&at, wide);
    int sparse = 0, first = 0;
    for (int b = 0; b < count; b++) {
        forward_sample *s = &w->sample[b];
        *s = (forward_sample){.sweep = &sweeps[b], .active = signals_at(L, sweeps[b].active), .F = sweeps[b].F};
        s->now = sweeps[b].h;
        s->rest = carve(&at, wide);
        s->rest_before = carve(&at, wide);
        s->squares = carve(&at, row);
        s->drive = carve(&at, row);
        s->norm = carve(&at, row);
        s->inverse = carve(&at, row);
        s->post = carve(&at, row);
        s->inverse_post = carve(&at, row);
        s->v = carve(&at, padded_columns(L) * sizeof(real));
        take_pending(L, s);
        sparse |= !*s->active.dense;
        first |= !*s->active.used;
        for (int t = 0; t < sweeps[b].steps; t++) first |= sweeps[b].flags[t] & STEP_RESET;
    }
    if (L->norm == STPN_NORM_NONE) return w;
    if (sparse || first) sum_squares_of(L, 0, L->inputs, w->input_squares);
    if (first) sum_squares_of(L, L->inputs, L->columns, w->recurrent_squares);
    for (int b = 0; b < count && sparse; b++) {
        forward_sample *s = &w->sample[b];
        memcpy(s->rest, w->input_squares, wide);
        if (!*s->active.dense) take_from_rest(L, s->active.list, 0, *s->active.count, s->rest);
        if (s->pending) memcpy(s->rest_before, s->rest, wide);
    }
    return w;
}

/* Columns [begin, end) of one kind, or each sample's listed ones, in all vectors of a panel. */
typedef struct forward_call {
    mode m;
    forward_task task;
    const stpn_layer *layer;
    forward_sample *const *sample;
    int count, panel, recurrent, plastic, begin, end;
    int listed; // the samples' lists, in place of [begin, end)
    const int32_t *list;
} forward_call;

INLINE void forward_columns(mode m, forward_task task, int S, int plastic, int listed, const forward_call *call,
                            group g, int begin, int end)
{
    const stpn_layer *L = call->layer;
    forward_sample *const *sample = call->sample;
    const real *weight = (const real *)L->weight + g.matrix;
    vec drive[STPN_BUNDLE], squares[STPN_BUNDLE], now[STPN_BUNDLE], inverse[STPN_BUNDLE], divisor[STPN_BUNDLE];
    const real *z[STPN_BUNDLE], *v[STPN_BUNDLE];
    real *F[STPN_BUNDLE];
    int offset = call->recurrent ? L->inputs : 0, update = task.update && plastic, divide = task.divide && plastic;
    int sum = (task.sum || task.dot) && m.norm != STPN_NORM_NONE;
    vec bound = splat((real)L->clamp);
    for (int s = 0; s < S; s++) {
        F[s] = sample[s]->F + g.matrix;
        drive[s] = squares[s] = now[s] = inverse[s] = divisor[s] = splat(0);
        z[s] = v[s] = NULL;
        if (task.dot) drive[s] = load(sample[s]->drive + g.row);
        if (task.dot) z[s] = (call->recurrent ? sample[s]->h : sample[s]->x) - offset;
        if (sum) squares[s] = load(sample[s]->squares + g.row);
        if (update) now[s] = load(sample[s]->now + g.row);
        if (update) v[s] = (call->recurrent ? sample[s]->vh : sample[s]->vx) - offset;
        if (update && m.norm == STPN_NORM_PRE) inverse[s] = load(sample[s]->inverse + g.row);
        if (divide) divisor[s] = load(sample[s]->inverse_post + g.row);
    }
    for (int i = begin; i < end; i++) {
        int k = listed ? call->list[i] : i;
        size_t at = (size_t)k * LANES;
        vec w = load(weight + at), lambda = splat(0), gamma = splat(0);
        if (update) {
            lambda = rate_at(m, L->lambda, g.lambda, g.matrix + at);
            gamma = rate_at(m, L->gamma, g.gamma, g.matrix + at);
        }
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) {
            vec G = w;
            if (plastic) {
                vec next = load(F[s] + at);
                if (update) next = updated(m, next, inverse[s], splat(v[s][k]) * now[s], lambda, gamma);
                if (update && m.clamp) next = bounded(next, bound);
                if (divide) next *= divisor[s];
                if (update || divide) store(F[s] + at, next);
                G += next;
            }
            if (task.dot) drive[s] = fma_(G, splat(z[s][k]), drive[s]);
            if (sum) squares[s] = fma_(G, G, squares[s]);
        }
    }
    for (int s = 0; s < S; s++) {
        if (task.dot) store(sample[s]->drive + g.row, drive[s]);
        if (sum) store(sample[s]->squares + g.row, squares[s]);
    }
}

INLINE void forward_panel(mode m, forward_task task, int S, int plastic, int listed, const forward_call *call)
{
    const stpn_layer *L = call->layer;
    int last = smaller((call->panel + 1) * VECTORS, group_count(L));
    for (int begin = call->begin, end; begin < call->end; begin = end) {
        end = call->end - begin > COLUMN_BLOCK ? begin + COLUMN_BLOCK : call->end;
        for (int n = call->panel * VECTORS; n < last; n++)
            forward_columns(m, task, S, plastic, listed, call, group_at(m, L, n), begin, end);
    }
}

/* One sample after the other. */
INLINE void forward_each(mode m, forward_task task, int plastic, int listed, const forward_call *call)
{
    forward_call one = *call;
    one.count = 1;
    for (int s = 0; s < call->count; s++) {
        one.sample = call->sample + s;
        if (listed) {
            one.list = one.sample[0]->active.list;
            one.end = task.sum ? one.sample[0]->count_before : one.sample[0]->count;
        }
        forward_panel(m, task, 1, plastic, listed, &one);
    }
}

/* Any columns, with all questions asked in the loop: what is rare. */
static void forward_any(const forward_call *call)
{
    forward_each(call->m, call->task, call->plastic, call->listed, call);
}

/* The loops of one task: a whole bundle, or each sample, where they have lists by those. */
INLINE void forward_task_loops(mode m, forward_task task, const forward_call *c)
{
    if (c->listed) forward_each(m, task, 1, 1, c);
    else if (c->count == STPN_BUNDLE) forward_panel(m, task, STPN_BUNDLE, 1, 0, c);
    else forward_each(m, task, 1, 0, c);
}

/* The loops of one mode. */
INLINE void forward_loops(mode m, const forward_call *c)
{
    static const forward_task both = {.update = 1, .dot = 1}, update = {.update = 1}, dot = {.dot = 1};
    static const forward_task update_sum = {.update = 1, .sum = 1}, divide_dot = {.divide = 1, .dot = 1};
    static const forward_task divide = {.divide = 1};
    forward_task t = c->task;
    int post = m.norm == STPN_NORM_POST && (t.update || t.divide);
    if (!c->plastic) forward_any(c);
    else if (post && t.sum) forward_task_loops(m, update_sum, c);
    else if (post && t.dot) forward_task_loops(m, divide_dot, c);
    else if (post) forward_task_loops(m, divide, c);
    else if (t.update && t.dot) forward_task_loops(m, both, c);
    else if (t.update) forward_task_loops(m, update, c);
    else forward_task_loops(m, dot, c);
}

static void forward_pre(const forward_call *c)
{
    forward_loops(MODE_PRE, c);
}

static void forward_pre_shared(const forward_call *c)
{
    forward_loops(MODE_PRE_SHARED, c);
}

static void forward_post(const forward_call *c)
{
    forward_loops(MODE_POST, c);
}

static void forward_post_shared(const forward_call *c)
{
    forward_loops(MODE_POST_SHARED, c);
}

static void forward_output(const forward_call *c)
{
    forward_loops(MODE_OUTPUT, c);
}

static void forward_output_shared(const forward_call *c)
{
    forward_loops(MODE_OUTPUT_SHARED, c);
}

static void forward_none(const forward_call *c)
{
    forward_loops(MODE_NONE, c);
}

static void forward_call_loops(const forward_call *c)
{
    static void (*const loops[LOOP_KINDS])(const forward_call *) = {
        [LOOPS_ANY] = forward_any,
        [LOOPS_PRE] = forward_pre,
        [LOOPS_PRE_SHARED] = forward_pre_shared,
        [LOOPS_POST] = forward_post,
        [LOOPS_POST_SHARED] = forward_post_shared,
        [LOOPS_OUTPUT] = forward_output,
        [LOOPS_OUTPUT_SHARED] = forward_output_shared,
        [LOOPS_NONE] = forward_none,
    };
    loops[c->m.loops](c);
}

/* All columns of one kind in a panel: as a whole bundle where all samples visit them all or all their lists. */
static void forward_part(mode m, forward_task task, int count, const stpn_layer *L, int panel,
                         forward_sample *const *sample, int recurrent)
{
    column_part part = part_at(L, recurrent);
    int visiting = 0, dense = 0;
    if (!part.plastic && !task.dot && !task.sum) return;
    forward_call call = {m, task, L, sample, count, panel, recurrent, part.plastic, part.begin, part.end, .list = NULL};
    for (int s = 0; s < count; s++) {
        visiting += !recurrent || !sample[s]->blank;
        dense += recurrent || (task.sum ? sample[s]->dense_before : sample[s]->dense);
    }
    call.listed = dense == 0;
    if (visiting == count && (dense == count || call.listed)) {
        forward_call_loops(&call);
        return;
    }
    call.count = 1;
    for (int s = 0; s < count && visiting; s++) {
        if (recurrent && sample[s]->blank) continue;
        call.sample = &sample[s];
        call.listed = !recurrent && !(task.sum ? sample[s]->dense_before : sample[s]->dense);
        forward_call_loops(&call);
    }
}

/* Sums of a pass start with what it does not visit. */
INLINE void start_sums(mode m, const forward_work *w, const forward_sample *s, int panel, int before)
{
    const double *rest = before ? s->rest_before : s->rest;
    int dense = before ? s->dense_before : s->dense, blank = s->blank && !before;
    size_t row = (size_t)panel * LANES;
    memset(s->drive + row, 0, LANES * sizeof *s->drive);
    memset(s->squares + row, 0, LANES * sizeof *s->squares);
    for (size_t j = row; j < row + LANES && m.norm != STPN_NORM_NONE && (blank || !dense); j++) {
        double start = dense || rest[j] < 0 ? 0 : rest[j];
        s->squares[j] = (real)(blank ? start + w->recurrent_squares[j] : start);
    }
}

static void forward_parts(mode m, forward_task task, int count, const stpn_layer *L, int panel,
                          forward_sample *const *sample)
{
    for (int recurrent = 0; recurrent <= L->recurrent; recurrent++)
        forward_part(m, task, count, L, panel, sample, recurrent);
}

/* ||W + F^c|| of the pending update onto the tape, where its step is on it. */
INLINE void keep_post(const stpn_layer *L, const forward_sample *s, const real *row)
{
    ptrdiff_t Hp = (ptrdiff_t)padded_rows(L);
    if (!s->sweep->post || s->sweep->begin + s->step < 0) return;
    memcpy((real *)s->sweep->post + s->step * Hp, row, (size_t)Hp * sizeof *row);
}

/* Samples of which all or none have an update to do, and all or none a step. */
static void forward_pass(mode m, int update, int dot, int count, const stpn_layer *L, const forward_work *w,
                         forward_sample *const *sample)
{
    for (int p = 0; p < L->panels; p++) {
        if (update && m.norm == STPN_NORM_POST) {
            /* Over the columns of the pending step: the same sum, whether the next step is known yet or not. */
            for (int s = 0; s < count; s++) start_sums(m, w, sample[s], p, 1);
            forward_parts(m, (forward_task){.update = 1, .sum = 1}, count, L, p, sample);
            for (int s = 0; s < count; s++)
                for (int row = p * LANES; row < (p + 1) * LANES; row += WIDTH) {
                    vec total = root(load(sample[s]->squares + row));
                    store(sample[s]->post + row, total);
                    store(sample[s]->inverse_post + row, inverse_norm(total));
                }
        }
        for (int s = 0; s < count && dot; s++) start_sums(m, w, sample[s], p, 0);
        if (update && m.norm == STPN_NORM_POST)
            forward_parts(m, (forward_task){.divide = 1, .dot = dot}, count, L, p, sample);
        else forward_parts(m, (forward_task){.update = update, .dot = dot}, count, L, p, sample);
    }
    for (int s = 0; s < count && update; s++) {
        keep_post(L, sample[s], sample[s]->post);
        sample[s]->pending = 0;
    }
}

/* The passes of a step for samples that have the same to do. */
static void forward_step(mode m, int count, const stpn_layer *L, const forward_work *w, forward_sample *const *sample)
{
    int live = sample[0]->live != 0, pending = sample[0]->pending;
    if (live || pending) forward_pass(m, pending, live, count, L, w, sample);
}

/* A whole bundle goes together where all have the same to do, else one sample after the other. */
static void forward_bundle(mode m, int count, const stpn_layer *L, forward_work *w)
{
    forward_sample *sample[STPN_BUNDLE];
    int alike = count == STPN_BUNDLE;
    for (int b = 0; b < count; b++) {
        sample[b] = &w->sample[b];
        alike = alike && !sample[b]->live == !sample[0]->live && sample[b]->pending == sample[0]->pending;
    }
    if (alike) {
        forward_step(m, STPN_BUNDLE, L, w, sample);
        return;
    }
    for (int b = 0; b < count; b++) forward_step(m, 1, L, w, &sample[b]);
}

/* From the sums to what goes into the activation; keeps ||G||, 1 / n and G . z / n. */
INLINE void potentials(const stpn_layer *L, const forward_sample *s, real *to)
{
    const real *bias = L->bias;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec drive = load(s->drive + row);
        if (L->norm != STPN_NORM_NONE) {
            vec norm = root(load(s->squares + row));
            vec inverse = inverse_norm(norm);
            store(s->norm + row, norm);
            store(s->inverse + row, inverse);
            drive *= inverse;
        }
        store(s->drive + row, drive);
        store(to + row, bias ? drive + load(bias + row) : drive);
    }
    if (!L->layer_norm) return;
    (void)layer_norm(L->hidden, L->mask, to);
    for (int n = 0; n < group_count(L); n++)
        store(to + n * WIDTH, layer_norm_affine(to, L->ln_weight, L->ln_bias, (size_t)n * WIDTH));
}

/* h of all samples that do a step: the long chains of operations of one overlap with those of the others. */
INLINE void activate(const stpn_layer *L, forward_work *w, int count, int t)
{
    size_t Hp = padded_rows(L);
    const real *mask = L->mask;
    for (int b = 0; b < count; b++) {
        forward_sample *s = &w->sample[b];
        s->out = (real *)s->sweep->out + (size_t)t * Hp;
        if (s->live) potentials(L, s, s->out);
    }
    for (int n = 0; n < group_count(L) && L->activation == STPN_ACTIVATION_TANH; n++)
        for (int b = 0; b < count; b++) {
            real *h = w->sample[b].out + n * WIDTH;
            if (w->sample[b].live) store(h, tanh_(load(h)));
        }
    for (int n = 0; n < group_count(L) && L->activation != STPN_ACTIVATION_TANH; n++)
        for (int b = 0; b < count; b++) {
            real *h = w->sample[b].out + n * WIDTH;
            if (w->sample[b].live) store(h, sigmoid_(load(h)) * load(mask + n * WIDTH));
        }
}

/* sum_jk z_k^2 |G_jk| / n_j of the step (docs/mathematics.md, energy). */
INLINE real step_energy(const stpn_layer *L, const forward_sample *s)
{
    vec total = splat(0);
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        const real *weight = (const real *)L->weight + g.matrix;
        vec row = splat(0);
        for (int k = 0; k < L->columns; k++) {
            real z = k < L->inputs ? s->x[k] : s->h[k - L->inputs];
            if (z == 0) continue;
            size_t at = (size_t)k * LANES;
            row = fma_(splat(z * z), absolute(load(weight + at) + load(s->F + g.matrix + at)), row);
        }
        if (L->norm != STPN_NORM_NONE) row *= load(s->inverse + g.row);
        total += row;
    }
    return sum(total);
}

/* F, and which inputs are active. */
INLINE void save_checkpoint(const stpn_layer *L, const forward_sample *s, int segment)
{
    size_t values = signals_values(L);
    memcpy((real *)s->sweep->checkpoint_active + (size_t)segment * values, s->sweep->active, values * sizeof(real));
    if (*s->active.used)
        memcpy((real *)s->sweep->checkpoints + (size_t)segment * matrix_values(L), s->F,
               matrix_values(L) * sizeof(real));
}

/* A live step begins: z, and which columns are visited. */
INLINE void step_open(const stpn_layer *L, const forward_work *w, forward_sample *s, int t)
{
    const stpn_sweep *sweep = s->sweep;
    size_t Hp = padded_rows(L);
    if (sweep->flags[t] & STEP_RESET) {
        if (*s->active.used) memset(s->F, 0, matrix_values(L) * sizeof *s->F);
        signals_clear(L, &s->active);
        s->now = w->zeros;
        /* The update that falls away leaves no norm behind. */
        if (s->pending) keep_post(L, s, w->zeros);
        s->pending = 0;
        if (L->norm != STPN_NORM_NONE) memcpy(s->rest, w->input_squares, Hp * sizeof *s->rest);
    }
    s->x = (const real *)sweep->x + (size_t)t * sweep->x_step;
    s->h = s->now;
    int known = *s->active.count;
    signals_add(L, &s->active, s->x);
    s->count = *s->active.count;
    s->dense = *s->active.dense;
    if (L->norm != STPN_NORM_NONE && !s->dense) take_from_rest(L, s->active.list, known, s->count, s->rest);
    s->blank = !*s->active.used;
    for (int j = 0; j < L->hidden && s->blank; j++) s->blank = s->h[j] == 0;
}

/* A live step ends: its output, its row on the tape, and the update that is now to do. */
INLINE void step_close(const stpn_layer *L, forward_sample *s, int t)
{
    const stpn_sweep *sweep = s->sweep;
    size_t Hp = padded_rows(L);
    real *out = s->out;
    if (sweep->energy) ((real *)sweep->energy)[t] += step_energy(L, s);
    if (sweep->norm) memcpy((real *)sweep->norm + (size_t)t * Hp, s->norm, Hp * sizeof *out);
    if (sweep->drive) memcpy((real *)sweep->drive + (size_t)t * Hp, s->drive, Hp * sizeof *out);
    s->now = out;
    s->step = t;
    s->pending = 1;
    *s->active.used = 1;
    s->dense_before = s->dense;
    s->count_before = s->count;
    if (L->norm == STPN_NORM_POST) memcpy(s->rest_before, s->rest, Hp * sizeof *s->rest);
    s->vx = s->x;
    s->vh = L->current ? out : s->h;
    if (L->rule != STPN_RULE_OJA) return;
    oja_presynaptic(L, s->F, 1, out, s->x, s->vh, s->v);
    s->vx = s->v;
    s->vh = s->v + L->inputs;
}

static void stpn_forward_sweep(const stpn_layer *L, const stpn_sweep *sweeps, int count, void *work)
{
    mode m = layer_mode(L, 0, 1);
    forward_work *w = forward_open(L, sweeps, count, work);
    size_t Hp = padded_rows(L);
    int steps = sweeps[0].steps;
    for (int t = 0; t < steps; t++) {
        for (int b = 0; b < count; b++) {
            forward_sample *s = &w->sample[b];
            s->live = sweeps[b].flags[t] & STEP_LIVE;
            s->blank = 0;
            if (s->live) step_open(L, w, s, t);
        }
        forward_bundle(m, count, L, w);
        activate(L, w, count, t);
        for (int b = 0; b < count; b++) {
            forward_sample *s = &w->sample[b];
            int index = sweeps[b].begin + t;
            if (sweeps[b].checkpoints && index % sweeps[b].segment == 0)
                save_checkpoint(L, s, index / sweeps[b].segment);
            if (s->live) step_close(L, s, t);
            else memcpy((real *)sweeps[b].out + (size_t)t * Hp, s->now, Hp * sizeof(real));
        }
    }
    for (int b = 0; b < count; b++) w->sample[b].live = w->sample[b].blank = 0;
    if (!sweeps[0].leave) forward_bundle(m, count, L, w);
    for (int b = 0; b < count; b++) {
        leave_pending(L, &w->sample[b]);
        if (w->sample[b].now != sweeps[b].h) memcpy(sweeps[b].h, w->sample[b].now, Hp * sizeof(real));
    }
}

#endif
