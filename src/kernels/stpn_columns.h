/* The loops over columns of an STPN layer's backward sweep, whose variables carry the names of the gradient in
 * docs/mathematics.md.
 *
 * A pass goes out of step t, from s' to the adjoints of W, z and F, and into step t - 1, from the adjoint of F to those of
 * Lambda, Gamma and of F^ there; joined, so that the rates, F's adjoint and the gradients pass through the registers once.
 * Between two passes dF holds X = F^bar / n (norm pre) or F^bar, the adjoint of F^ that both the next way out and, times
 * n h, all products need. */
#ifndef STPN_KERNELS_STPN_COLUMNS_H
#define STPN_KERNELS_STPN_COLUMNS_H

#include "kernels/stpn_rebuild.h"

typedef struct back_task {
    int out, in; // at least one
    int want_z;  // the adjoint of z is wanted
} back_task;

INLINE void add_to(real *p, vec v)
{
    store(p, load(p) + v);
}

/* Where some |F'| reaches this, the clamp may have been at work; rounding counted. */
INLINE vec clamp_threshold(mode m, const stpn_layer *L, vec inverse_post)
{
    vec bound = splat((real)(L->clamp * 0.99999));
    return m.norm == STPN_NORM_POST ? bound * inverse_post : bound;
}

/* One sample's constants in one vector of neurons. */
typedef struct back_rows {
    vec to_G, factor, carry;             // out: s' / n, c, n h
    vec now, inverse, scale, product;    // in: h, 1 / n, 1 / n or 1 where that is 0, n h
    vec post, inverse_post, post_factor; // in: m, 1 / m, m' / r_m
    vec threshold;                       // of |F'|
    vec alive_out, alive_in;             // 0 where ||G|| = 0, else 1
    vec to_h, dot, z_dot, G_dot;         // sums of the way in
    const real *z, *v;
} back_rows;

INLINE vec alive(const back_point *point, size_t row)
{
    return choose(load(point->inverse + row) == splat(0), splat(0), splat(1));
}

INLINE void rows_open(mode m, back_task task, const stpn_layer *L, group g, const back_sample *s, int recurrent,
                      back_rows *r)
{
    int offset = recurrent ? L->inputs : 0;
    *r = (back_rows){.z = NULL};
    if (task.out) {
        r->z = (recurrent ? s->out->h : s->out->x) - offset;
        r->to_G = load(s->to_G + g.row);
        if (m.norm != STPN_NORM_NONE) r->factor = load(s->factor + g.row);
        if (task.want_z) r->carry = load(s->out->product + g.row);
        if (m.extinct) r->alive_out = alive(s->out, g.row);
    }
    if (!task.in) return;
    r->v = (recurrent ? s->in->vh : s->in->vx) - offset;
    r->now = load(s->in->now + g.row);
    r->product = load(s->in->product + g.row);
    if (m.norm == STPN_NORM_PRE) {
        r->inverse = r->scale = load(s->in->inverse + g.row);
        if (m.extinct) r->alive_in = alive(s->in, g.row);
        if (m.extinct) r->scale = choose(r->inverse == splat(0), splat(1), r->inverse);
    }
    if (m.norm == STPN_NORM_POST) {
        r->post = load((const real *)s->back->post + (size_t)s->in->t * padded_rows(L) + g.row);
        r->inverse_post = load(s->in->inverse_post + g.row);
        r->post_factor = load(s->post_factor + g.row);
        r->z_dot = load(s->z_dot + g.row);
        r->G_dot = load(s->G_dot + g.row);
    }
    if (m.clamp) r->threshold = clamp_threshold(m, L, r->inverse_post);
    r->to_h = load(s->to_h + g.row);
    r->dot = load(s->dot + g.row);
}

INLINE void rows_close(mode m, back_task task, group g, const back_sample *s, const back_rows *r)
{
    if (!task.in) return;
    store(s->to_h + g.row, r->to_h);
    store(s->dot + g.row, r->dot);
    if (m.norm != STPN_NORM_POST) return;
    store(s->z_dot + g.row, r->z_dot);
    store(s->G_dot + g.row, r->G_dot);
}

/* What a column's samples share. */
typedef struct back_column {
    int k, listed, first_group;
    vec w, lambda, gamma, dw, dlambda, dgamma;
} back_column;

/* Out of a step: the adjoint of F, or 0 where the column has none. Columns of a list leave c W to stpn_finish. */
INLINE vec column_out(mode m, back_task task, int plastic, back_column *c, const back_rows *r, real *dz, vec F, vec X)
{
    vec G = plastic ? c->w + F : c->w, force = r->to_G * splat(r->z[c->k]);
    if (task.want_z) {
        vec to_z = r->to_G * G;
        if (plastic && !m.coupled) to_z = fma_((m.prompt ? X * c->lambda : X) * c->gamma, r->carry, to_z);
        store(dz, c->first_group ? to_z : load(dz) + to_z);
    }
    if (m.norm == STPN_NORM_NONE) {
        c->dw += force;
    } else if (c->listed) {
        if (plastic) force = fma_(r->factor, F, force);
        c->dw += force;
        force = fma_(r->factor, c->w, force);
    } else {
        force = fma_(r->factor, G, force);
        c->dw += force;
    }
    if (!plastic) return splat(0);
    return fma_(m.extinct ? X * r->alive_out : X, c->lambda, force);
}

/* Adjoint of F^ from that of F': back through norm post and the clamp. `after` is F', where it is at hand. */
INLINE vec column_undo(mode m, int after_known, const stpn_layer *L, back_column *c, const back_rows *r, vec F, vec v,
                       vec after, vec adjoint)
{
    vec bound = splat((real)L->clamp), raw = splat(0), kept = after;
    if (!after_known) {
        raw = updated(m, F, r->inverse, v * r->now, c->lambda, c->gamma);
        kept = m.clamp ? bounded(raw, bound) : raw;
    }
    if (m.norm == STPN_NORM_POST) {
        vec factor = after_known ? r->post : splat(1); // F^c is kept times this
        vec force = r->post_factor * (c->listed ? kept * factor : fma_(kept, factor, c->w));
        c->dw += force;
        if (c->listed) force = fma_(r->post_factor, c->w, force);
        adjoint = fma_(adjoint, r->inverse_post, force);
    }
    if (!m.clamp) return adjoint;
    if (after_known) {
        if (!any_bit(absolute(after) >= r->threshold)) return adjoint;
        raw = updated(m, F, r->inverse, v * r->now, c->lambda, c->gamma);
    }
    return choose(absolute(raw) > bound, splat(0), adjoint);
}

/* Into a step: X from the adjoint of F'. */
INLINE vec column_in(mode m, int after_known, const stpn_layer *L, back_column *c, back_rows *r, real *dv, vec F,
                     vec after, vec adjoint)
{
    vec v = splat(r->v[c->k]);
    if (m.clamp || m.norm == STPN_NORM_POST) adjoint = column_undo(m, after_known, L, c, r, F, v, after, adjoint);
    vec X = m.norm == STPN_NORM_PRE ? adjoint * r->scale : adjoint, through = X;
    if (m.norm == STPN_NORM_POST && !m.coupled) {
        r->z_dot = fma_(F, v, r->z_dot);
        r->G_dot = fma_(F, c->w + F, r->G_dot);
    }
    if (m.extinct) F *= r->alive_in;
    if (m.prompt) {
        through = X * c->lambda;
        c->dlambda = fma_(X, fma_(c->gamma, v * r->product, F), c->dlambda);
        if (m.norm == STPN_NORM_PRE || m.norm == STPN_NORM_POST) r->dot = fma_(through, F, r->dot);
    } else {
        vec to_F = X * F;
        c->dlambda += to_F;
        if (m.norm == STPN_NORM_PRE || m.norm == STPN_NORM_POST) r->dot = fma_(to_F, c->lambda, r->dot);
    }
    if (m.coupled) {
        vec to_v = through * c->gamma * r->product;
        store(dv, c->first_group ? to_v : load(dv) + to_v);
    }
    through *= v;
    r->to_h = fma_(through, c->gamma, r->to_h);
    c->dgamma = fma_(through, r->product, c->dgamma);
    return X;
}

/* Columns [begin, end) of one kind, or each sample's listed ones, in all vectors of a panel. */
typedef struct back_call {
    mode m;
    back_task task;
    const stpn_layer *layer;
    const stpn_layer_grad *grad;
    back_sample *const *sample;
    int count, panel, recurrent, plastic, begin, end;
    int listed; // the samples' lists, in place of [begin, end)
    const int32_t *list;
} back_call;

INLINE void back_columns(mode m, back_task task, int S, int plastic, int listed, const back_call *call, group g,
                         int begin, int end)
{
    const stpn_layer *L = call->layer;
    const real *weight = (const real *)L->weight + g.matrix;
    real *dweight = (real *)call->grad->weight + g.matrix, *dlambda = call->grad->lambda, *dgamma = call->grad->gamma;
    int own_rates = task.in && m.learned && !m.shared;
    back_rows rows[STPN_BUNDLE];
    back_column c = {.listed = listed, .first_group = g.row == 0, .lambda = g.lambda, .gamma = g.gamma};
    c.dlambda = c.dgamma = splat(0);
#pragma GCC unroll 4
    for (int s = 0; s < S; s++) rows_open(m, task, L, g, call->sample[s], call->recurrent, &rows[s]);
    size_t first = column_place(L, STPN_BUNDLE, (int)(g.row / WIDTH), 0);
    const back_sample *one = call->sample[0];
    const real *F_out = task.out ? one->F_out + first : NULL, *F_in = task.in ? one->F_in + first : NULL;
    const real *dF = one->dF + first;
    real *dF_out = (task.out ? one->dF_out : one->dF) + first, *dz = one->dz, *dv = one->dv;
    for (int i = begin; i < end; i++) {
        c.k = listed ? call->list[i] : i;
        size_t at = (size_t)c.k * LANES;
        c.w = load(weight + at);
        c.dw = load(dweight + at);
        if (plastic) {
            c.lambda = rate_at(m, L->lambda, g.lambda, g.matrix + at);
            c.gamma = rate_at(m, L->gamma, g.gamma, g.matrix + at);
        }
        if (own_rates) {
            c.dlambda = load(dlambda + g.matrix + at);
            c.dgamma = load(dgamma + g.matrix + at);
        }
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) {
            size_t place = ((size_t)c.k * STPN_BUNDLE + (size_t)s) * LANES;
            size_t partial = ((size_t)c.k * STPN_BUNDLE + (size_t)s) * WIDTH;
            vec after = splat(0), adjoint = splat(0);
            if (plastic) adjoint = load(dF + place);
            if (task.out && plastic) after = load(F_out + place);
            if (task.out) adjoint = column_out(m, task, plastic, &c, &rows[s], dz + partial, after, adjoint);
            if (task.in)
                adjoint = column_in(m, task.out, L, &c, &rows[s], dv + (size_t)c.k * WIDTH, load(F_in + place), after,
                                    adjoint);
            if (plastic) store(dF_out + place, adjoint);
        }
        if (task.out || m.norm == STPN_NORM_POST) store(dweight + at, c.dw);
        if (own_rates) {
            store(dlambda + g.matrix + at, c.dlambda);
            store(dgamma + g.matrix + at, c.dgamma);
        }
    }
#pragma GCC unroll 4
    for (int s = 0; s < S; s++) rows_close(m, task, g, call->sample[s], &rows[s]);
    if (!task.in || !m.learned || !m.shared) return;
    size_t at = L->granularity == STPN_GRANULARITY_NEURON ? g.row : g.row % LANES;
    add_to(dlambda + at, c.dlambda);
    add_to(dgamma + at, c.dgamma);
}

INLINE void back_panel(mode m, back_task task, int S, int plastic, int listed, const back_call *call)
{
    const stpn_layer *L = call->layer;
    int last = smaller((call->panel + 1) * VECTORS, group_count(L));
    for (int begin = call->begin, end; begin < call->end; begin = end) {
        end = call->end - begin > COLUMN_BLOCK ? begin + COLUMN_BLOCK : call->end;
        for (int n = call->panel * VECTORS; n < last; n++)
            back_columns(m, task, S, plastic, listed, call, group_at(m, L, n), begin, end);
    }
}

/* One sample after the other. A joined pass goes into the step before for all listed inputs: to no effect in those that were
 * not active there. */
INLINE void back_each(mode m, back_task task, int plastic, int listed, const back_call *call)
{
    back_call one = *call;
    one.count = 1;
    for (int s = 0; s < call->count; s++) {
        const back_point *point = task.out ? call->sample[s]->out : call->sample[s]->in;
        one.sample = call->sample + s;
        if (listed) {
            one.list = point->list;
            one.end = point->count;
        }
        back_panel(m, task, 1, plastic, listed, &one);
    }
}

/* Any columns, with all questions asked in the loop: what is rare. */
static void back_any(const back_call *call)
{
    back_each(call->m, call->task, call->plastic, call->listed, call);
}

/* The loops of one mode. */
INLINE void back_loops(mode m, const back_call *c)
{
    static const back_task join = {.out = 1, .in = 1}, join_z = {1, 1, 1}, out_z = {.out = 1, .want_z = 1};
    static const back_task out = {.out = 1}, in = {.in = 1};
    back_task t = c->task;
    int whole = c->count == STPN_BUNDLE;
    if (!c->plastic || c->m.extinct) back_any(c);
    else if (c->listed && t.out && t.in) back_each(m, join, 1, 1, c);
    else if (c->listed && t.out) back_each(m, out, 1, 1, c);
    else if (c->listed) back_each(m, in, 1, 1, c);
    else if (whole && t.out && t.in && t.want_z) back_panel(m, join_z, STPN_BUNDLE, 1, 0, c);
    else if (whole && t.out && t.in) back_panel(m, join, STPN_BUNDLE, 1, 0, c);
    else if (whole && t.out && t.want_z) back_panel(m, out_z, STPN_BUNDLE, 1, 0, c);
    else if (whole && t.in) back_panel(m, in, STPN_BUNDLE, 1, 0, c);
    else if (t.out && t.in && t.want_z) back_each(m, join_z, 1, 0, c);
    else if (t.out && t.in) back_each(m, join, 1, 0, c);
    else back_any(c);
}

static void back_pre(const back_call *c)
{
    back_loops(MODE_PRE, c);
}

static void back_pre_shared(const back_call *c)
{
    back_loops(MODE_PRE_SHARED, c);
}

/* Whether the clamp may have been at work in the step that is gone into: of the last one of a segment it is not known. */
static int clamp_at_work(const back_call *c)
{
    const uint8_t *clamped = c->sample[0]->clamped + (size_t)c->panel * (size_t)c->layer->columns;
    int some = !c->task.out || c->listed;
    for (int k = c->begin; k < c->end && !some; k++) some = clamped[k];
    return some;
}

static void back_post(const back_call *c)
{
    if (clamp_at_work(c)) back_loops(MODE_POST, c);
    else back_loops(MODE_POST_FREE, c);
}

static void back_post_shared(const back_call *c)
{
    if (clamp_at_work(c)) back_loops(MODE_POST_SHARED, c);
    else back_loops(MODE_POST_SHARED_FREE, c);
}

static void back_output(const back_call *c)
{
    back_loops(MODE_OUTPUT, c);
}

static void back_output_shared(const back_call *c)
{
    back_loops(MODE_OUTPUT_SHARED, c);
}

static void back_none(const back_call *c)
{
    back_loops(MODE_NONE, c);
}

static void back_call_loops(const back_call *c)
{
    static void (*const loops[LOOP_KINDS])(const back_call *) = {
        [LOOPS_ANY] = back_any,
        [LOOPS_PRE] = back_pre,
        [LOOPS_PRE_SHARED] = back_pre_shared,
        [LOOPS_POST] = back_post,
        [LOOPS_POST_SHARED] = back_post_shared,
        [LOOPS_OUTPUT] = back_output,
        [LOOPS_OUTPUT_SHARED] = back_output_shared,
        [LOOPS_NONE] = back_none,
    };
    loops[c->m.loops](c);
}

INLINE int visits_all(const back_call *call, int sample)
{
    const back_sample *s = call->sample[sample];
    return call->recurrent || (call->task.out ? s->out : s->in)->dense;
}

/* All columns of one kind in a panel: as a whole bundle where all samples visit them all or all their lists. */
static void back_part(back_call *call)
{
    column_part part = part_at(call->layer, call->recurrent);
    int count = call->count, dense = 0;
    call->plastic = part.plastic;
    call->begin = part.begin;
    call->end = part.end;
    if (!part.plastic) call->task.in = 0;
    if (!call->task.out && !call->task.in) return;
    for (int s = 0; s < count; s++) dense += visits_all(call, s);
    call->listed = dense == 0;
    if (call->listed) call->begin = 0;
    if (dense == count || call->listed) {
        back_call_loops(call);
        return;
    }
    back_call one = *call;
    one.count = 1;
    for (int s = 0; s < count; s++) {
        one.sample = call->sample + s;
        one.listed = !visits_all(&one, 0);
        one.end = part.end;
        back_call_loops(&one);
    }
}

/* A pass over all columns, for samples alike in `task` and in whether the step before is blank: its recurrent columns have
 * nothing to go into. */
static void back_pass(mode m, back_task task, int count, const stpn_layer *L, const stpn_layer_grad *grad,
                      back_sample *const *sample)
{
    int all_inputs = sample[0]->back->dx != NULL, into_recurrent = task.in && (m.coupled || !sample[0]->in->blank);
    for (int panel = 0; panel < L->panels; panel++) {
        back_task to_inputs = {task.out, task.in, task.out && all_inputs},
                  to_recurrent = {task.out, into_recurrent, task.out};
        back_call inputs = {m, to_inputs, L, grad, sample, .count = count, .panel = panel};
        back_call recurrent = {m, to_recurrent, L, grad, sample, .count = count, .panel = panel, .recurrent = 1};
        back_part(&inputs);
        if (L->recurrent) back_part(&recurrent);
    }
}

#endif
