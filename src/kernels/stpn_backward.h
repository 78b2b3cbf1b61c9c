/* The backward sweep of an STPN layer over a bundle of samples: F is rebuilt from its checkpoints, segment by segment, then
 * the adjoints run back through it (the gradient of docs/mathematics.md, whose names the variables carry).
 *
 * W's gradient has the form sum_t (s' z / n + c F) + (sum_t c) W with one c per neuron and step. For columns that a step
 * does not visit the last term alone remains: the sums of c are kept (`scale`) and W is needed once for a whole chunk of
 * samples. */
#ifndef STPN_KERNELS_STPN_BACKWARD_H
#define STPN_KERNELS_STPN_BACKWARD_H

#include "kernels/layer_norm.h"
#include "kernels/stpn_columns.h"

/* ---------------------------------------------------------------------------------------------------- rows of neurons */

/* Through the activation of one vector: the adjoint of what goes into it. */
INLINE vec through_activation(const stpn_layer *L, vec dh, vec now)
{
    return dh * (L->activation == STPN_ACTIVATION_TANH ? splat(1) - now * now : now - now * now);
}

/* c = n' / r with n' = -(s' u + F~bar . F) / n^2; `dot` is F~bar . F / n, `drive` u / n. */
INLINE vec norm_factor(vec ds, vec drive, vec dot, vec inverse, vec norm)
{
    ivec is_zero = norm == splat(0);
    vec dn = -fma_(ds, drive, dot) * inverse;
    return choose(is_zero, splat(0), dn / choose(is_zero, splat(1), norm));
}

/* m' / r_m = -(F^c . F' adjoint) / (m^2 r_m), where F^c = m F'. */
INLINE vec post_factor(vec dot, vec inverse_post, vec post)
{
    ivec is_zero = post == splat(0);
    return -dot * (post + splat(NORM_EPSILON)) * inverse_post * inverse_post / choose(is_zero, splat(1), post);
}

/* m' / r_m of a step from the dot of its outcome with its adjoint; columns that are not visited leave it to stpn_finish. */
static void rows_before_way_in(mode m, const stpn_layer *L, const stpn_layer_grad *grad, const back_sample *s,
                               const back_point *point, int all_inputs)
{
    size_t row = (size_t)point->t * padded_rows(L);
    int inputs_left = !all_inputs || !part_at(L, 0).plastic;
    int recurrent_left = (point->blank && !m.coupled) || !part_at(L, 1).plastic;
    for (int n = 0; n < group_count(L) && m.norm == STPN_NORM_POST; n++) {
        size_t at = (size_t)n * WIDTH;
        vec factor = post_factor(load(s->post_dot + at), load(point->inverse_post + at),
                                 load((const real *)s->back->post + row + at));
        store(s->post_factor + at, factor);
        if (inputs_left) add_to((real *)grad->input_scale + at, factor);
        if (recurrent_left) add_to((real *)grad->recurrent_scale + at, factor);
    }
}

static void clear_sums(const stpn_layer *L, const back_sample *s)
{
    size_t bytes = padded_rows(L) * sizeof(real);
    memset(s->to_h, 0, bytes);
    memset(s->dot, 0, bytes);
    memset(s->z_dot, 0, bytes);
    memset(s->G_dot, 0, bytes);
}

/* Adjoint of u/n + b from that of h, for all neurons: layer norm couples them. */
static void back_layer_norm(const stpn_layer *L, const stpn_layer_grad *grad, const back_sample *s, const real *drive)
{
    const real *bias = L->bias;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec potential = load(drive + row);
        store(s->normalised + row, bias ? potential + load(bias + row) : potential);
    }
    real scale = layer_norm(L->hidden, L->mask, s->normalised);
    layer_norm_back(L->hidden, L->mask, s->normalised, scale, L->ln_weight, grad->ln_weight, grad->ln_bias, s->ds);
}

/* v's adjoint, once all rows have given theirs: kept for z, or to h of the step, and for oja to F. */
static void back_coupling(const stpn_layer *L, const back_sample *s)
{
    const back_point *point = s->out;
    for (int k = L->plastic_begin; k < L->plastic_end; k++) {
        int visited = k >= L->inputs || point->dense;
        for (int i = 0; i < point->count && !visited; i++) visited = point->list[i] == k;
        s->dv_sum[k] = visited ? sum(load(s->dv + (size_t)k * WIDTH)) : 0;
        if (L->current && k >= L->inputs) s->dh[k - L->inputs] += s->dv_sum[k];
    }
    if (L->rule != STPN_RULE_OJA) return;
    for (int n = 0; n < group_count(L); n++) {
        vec dh = load(s->dh + n * WIDTH);
        for (int k = L->plastic_begin; k < L->plastic_end; k++)
            dh = fma_(splat(-s->dv_sum[k]), load(s->F_out + column_place(L, STPN_BUNDLE, n, k)), dh);
        store(s->dh + n * WIDTH, dh);
    }
}

/* The adjoint of h: from above, from the step after, from the way in. */
INLINE vec adjoint_of_h(mode m, const stpn_layer *L, const back_sample *s, int n)
{
    const back_point *point = s->out;
    const stpn_back *b = s->back;
    size_t at = (size_t)n * WIDTH;
    vec to_h = load(s->to_h + at), dh = load(s->carried + at);
    if (m.norm == STPN_NORM_PRE) to_h *= load(point->scale + at);
    if (point->t >= b->dy_begin)
        dh += load_part((const real *)b->dy + (size_t)(point->t - b->dy_begin) * b->dy_step + at, L->hidden - n * WIDTH,
                        0);
    return dh + to_h;
}

/* From s' to what the way out needs of a row: s' / n, c, and for norm post F times its adjoint Lambda X + s' z / n + c G. */
INLINE void row_before_way_out(mode m, const stpn_layer_grad *grad, const back_sample *s, size_t at, size_t row, vec ds)
{
    const back_point *point = s->out;
    const stpn_back *b = s->back;
    vec to_G = ds, factor = splat(0);
    if (grad->bias) add_to((real *)grad->bias + at, ds);
    if (m.norm != STPN_NORM_NONE) {
        vec dot = m.norm == STPN_NORM_PRE ? load(s->dot + at) : splat(0), inverse = load(point->inverse + at);
        to_G = ds * inverse;
        factor = norm_factor(ds, load((const real *)b->drive + row + at), dot, inverse,
                             load((const real *)b->norm + row + at));
        if (!point->dense || point->blank) add_to((real *)grad->input_scale + at, factor);
        if (point->blank) add_to((real *)grad->recurrent_scale + at, factor);
    }
    store(s->to_G + at, to_G);
    store(s->factor + at, factor);
    if (m.norm != STPN_NORM_POST) return;
    store(s->post_dot + at, fma_(to_G, load(s->z_dot + at), fma_(factor, load(s->G_dot + at), load(s->dot + at))));
}

/* From h's adjoint to all that the way out of a step needs. */
static void rows_before_way_out(mode m, const stpn_layer *L, const stpn_layer_grad *grad, const back_sample *s)
{
    const back_point *point = s->out;
    size_t row = (size_t)point->t * padded_rows(L);
    int together = m.coupled || L->layer_norm;
    for (int n = 0; n < group_count(L); n++) {
        size_t at = (size_t)n * WIDTH;
        vec dh = adjoint_of_h(m, L, s, n);
        if (together) store(s->dh + at, dh);
        else row_before_way_out(m, grad, s, at, row, through_activation(L, dh, load(point->now + at)));
    }
    if (!together) return;
    if (m.coupled) back_coupling(L, s);
    for (int n = 0; n < group_count(L); n++)
        store(s->ds + n * WIDTH, through_activation(L, load(s->dh + n * WIDTH), load(point->now + n * WIDTH)));
    if (L->layer_norm) back_layer_norm(L, grad, s, (const real *)s->back->drive + row);
    for (int n = 0; n < group_count(L); n++)
        row_before_way_out(m, grad, s, (size_t)n * WIDTH, row, load(s->ds + n * WIDTH));
}

/* Coupled rows: the part of F's adjoint that comes through oja's v, - h_m v'_k, and for norm post the dot of F with its
 * adjoint, which does not follow from sums here. */
static void rows_after_way_out(mode m, const stpn_layer *L, const back_sample *s)
{
    const back_point *point = s->out;
    for (int n = 0; n < group_count(L); n++) {
        vec now = load(point->now + n * WIDTH), dot = splat(0);
        for (int part = 0; part <= L->recurrent; part++) {
            column_part columns = part_at(L, part);
            int listed = part == 0 && !point->dense, count = listed ? point->count : columns.end - columns.begin;
            for (int i = 0; i < count && columns.plastic; i++) {
                int k = listed ? point->list[i] : columns.begin + i;
                size_t at = column_place(L, STPN_BUNDLE, n, k);
                if (L->rule == STPN_RULE_OJA) add_to(s->dF + at, now * splat(-s->dv_sum[k]));
                dot = fma_(load(s->dF + at), load(s->F_out + at), dot);
            }
        }
        if (m.norm == STPN_NORM_POST) store(s->post_dot + n * WIDTH, dot);
    }
}

/* For norm post and an adjoint from outside: F' times its adjoint, after the last step. */
static void final_dot(mode m, const stpn_layer *L, const back_sample *s, const back_point *point, const real *F)
{
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at(m, L, n);
        vec dot = splat(0);
        for (int k = L->plastic_begin; k < L->plastic_end; k++) {
            size_t place = column_place(L, STPN_BUNDLE, n, k);
            dot = fma_(load(s->dF + place), after_point(m, L, point, g, k, load(F + place)), dot);
        }
        store(s->post_dot + g.row, dot);
    }
}

/* ------------------------------------------------------------------------------------------------------- one live step */

/* Before a blank step nothing is wanted, and only inputs with a signal have a gradient beside c W. */
static void back_first_step(const stpn_layer *L, const stpn_layer_grad *grad, const back_sample *s)
{
    const back_point *point = s->out;
    int count = point->dense ? L->inputs : point->count;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        vec to_G = load(s->to_G + g.row);
        for (int i = 0; i < count; i++) {
            int k = point->dense ? i : point->list[i];
            real *dw = (real *)grad->weight + g.matrix + (size_t)k * LANES;
            store(dw, fma_(to_G, splat(point->x[k]), load(dw)));
        }
    }
}

/* z's adjoint of one kind of columns, summed over neurons, for all samples of the bundle. */
static void sum_dz(const stpn_layer *L, const backward_work *w, int recurrent)
{
    column_part part = part_at(L, recurrent);
    int vectors = (part.end - part.begin) * STPN_BUNDLE;
    sum_each((vectors + WIDTH - 1) / WIDTH * WIDTH, w->sample[0].dz + (size_t)part.begin * STPN_BUNDLE * WIDTH,
             w->dz_sum + (size_t)part.begin * STPN_BUNDLE);
}

/* That of h before goes to `carried`, that of x to dx. */
static void take_dz(mode m, const stpn_layer *L, const backward_work *w, const back_sample *s)
{
    const back_point *point = s->out;
    const stpn_back *b = s->back;
    const real *from = w->dz_sum + (s - w->sample), *from_h = from + (size_t)L->inputs * STPN_BUNDLE;
    real *dx = b->dx ? (real *)b->dx + (size_t)point->t * b->dx_step : NULL;
    for (int k = 0; k < L->inputs && dx; k++) {
        dx[k] = from[k * STPN_BUNDLE];
        if (m.coupled && part_at(L, 0).plastic) dx[k] += s->dv_sum[k];
    }
    for (int j = 0; j < L->hidden && L->recurrent; j++) s->carried[j] = from_h[j * STPN_BUNDLE];
    for (int j = 0; j < L->hidden && L->recurrent && m.coupled && !L->current && part_at(L, 1).plastic; j++)
        s->carried[j] += s->dv_sum[L->inputs + j];
}

/* A step ends: what lies before a reset has no adjoint. */
static void back_close(mode m, const stpn_layer *L, const backward_work *w, back_sample *s, int joined)
{
    const back_point *point = s->out;
    if (!point->blank) {
        s->dF = s->dF_out;
        if (m.coupled) rows_after_way_out(m, L, s);
        take_dz(m, L, w, s);
    }
    s->in_done = joined;
    s->adjoint_known = 1;
    if (!point->reset) return;
    memset(s->carried, 0, padded_rows(L) * sizeof(real));
    memset(s->post_dot, 0, padded_rows(L) * sizeof(real));
    clear_bundle(L, s->dF);
    if (s->back->wanted) memset(s->back->dF, 0, matrix_values(L) * sizeof(real));
    s->adjoint_known = 0;
}

/* ----------------------------------------------------------------------------------------------------------- the sweep */

/* What a sample does next. */
typedef struct back_plan {
    int in;   // the step's way in, which the step after has not done
    int join; // the way into the step before together with the step's way out
} back_plan;

INLINE back_plan plan_step(mode m, const back_sample *s)
{
    const back_point *point = &s->point[s->next - 1];
    return (back_plan){.in = !s->in_done && (s->adjoint_known || m.coupled || m.norm == STPN_NORM_POST),
                       .join = !m.coupled && s->next > 1 && !point->reset && !point->blank};
}

/* One live step of samples that have the same to do. */
static void back_step(mode m, int count, const stpn_layer *L, const stpn_layer_grad *grad, const backward_work *w,
                      back_sample *const *sample)
{
    back_plan plan = plan_step(m, sample[0]);
    for (int i = 0; i < count; i++) {
        back_sample *s = sample[i];
        int index = --s->next;
        s->out = s->in = &s->point[index];
        s->F_out = s->F_in = history_at(L, s, index);
        s->dF_out = m.coupled ? s->dF : s->F_out;
        if (!s->in_done) clear_sums(L, s);
        if (plan.in) {
            if (m.norm == STPN_NORM_POST && s->adjoint_known && s->point_is_last) final_dot(m, L, s, s->in, s->F_in);
            rows_before_way_in(m, L, grad, s, s->in, s->in->dense);
        }
    }
    if (plan.in) back_pass(m, (back_task){.in = 1}, count, L, grad, sample);
    for (int i = 0; i < count; i++) {
        back_sample *s = sample[i];
        rows_before_way_out(m, L, grad, s);
        s->point_is_last = 0;
        if (plan.join) {
            clear_sums(L, s);
            s->in = s->out - 1;
            s->F_in = s->F_out - history_step(L);
            rows_before_way_in(m, L, grad, s, s->in, s->out->dense);
        }
    }
    if (sample[0]->out->blank)
        for (int i = 0; i < count; i++) back_first_step(L, grad, sample[i]);
    else {
        back_pass(m, (back_task){.out = 1, .in = plan.join}, count, L, grad, sample);
        if (sample[0]->back->dx) sum_dz(L, w, 0);
        if (L->recurrent) sum_dz(L, w, 1);
    }
    for (int i = 0; i < count; i++) back_close(m, L, w, sample[i], plan.join);
}

/* Rows of zeros are rare: their sample goes alone. */
static int extinct(mode m, const back_sample *s)
{
    return m.norm == STPN_NORM_PRE && (s->point[s->next - 1].extinct || (s->next > 1 && s->point[s->next - 2].extinct));
}

/* All samples whose segment has a live step left do one. */
static int back_bundle(mode m, int count, const stpn_layer *L, const stpn_layer_grad *grad, backward_work *w)
{
    back_sample *sample[STPN_BUNDLE];
    int some = 0, alike = count == STPN_BUNDLE;
    for (int b = 0; b < count; b++) {
        back_sample *s = sample[b] = &w->sample[b], *first = sample[0];
        some |= s->next > 0;
        if (!alike || !s->next || !first->next || extinct(m, s)) {
            alike = 0;
            continue;
        }
        back_plan a = plan_step(m, first), b_plan = plan_step(m, s);
        alike = s->next == first->next && a.in == b_plan.in && a.join == b_plan.join && s->in_done == first->in_done &&
                s->point[s->next - 1].blank == first->point[first->next - 1].blank &&
                (!a.join || s->point[s->next - 2].blank == first->point[first->next - 2].blank);
    }
    if (alike) {
        back_step(m, STPN_BUNDLE, L, grad, w, sample);
        return 1;
    }
    for (int b = 0; b < count; b++) {
        if (!sample[b]->next) continue;
        m.extinct = extinct(m, sample[b]);
        back_step(m, 1, L, grad, w, &sample[b]);
    }
    return some;
}

/* The adjoint goes behind the history before that is rebuilt. */
static void leave_history(const stpn_layer *L, back_sample *s)
{
    real *place = history_at(L, s, s->back->segment);
    if (place != s->dF) copy_lines(L, s->dF, STPN_BUNDLE, place, STPN_BUNDLE);
    s->dF = place;
}

static void stpn_backward_sweep(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *backs, int count,
                                void *work)
{
    mode m = layer_mode(L, L->rule == STPN_RULE_OJA || L->current, grad->lambda != NULL);
    backward_work *w = backward_open(L, backs, count, work);
    size_t Hp = padded_rows(L);
    int segment = 0;
    for (int b = 0; b < count; b++) {
        const stpn_back *back = &backs[b];
        if (!L->recurrent) memset(back->dh, 0, Hp * sizeof(real)); // no state of the sequence
        for (int t = 0; t < back->steps && back->dx; t++)
            memset((real *)back->dx + (size_t)t * back->dx_step, 0, (size_t)L->inputs * sizeof(real));
        int segments = (back->steps + back->segment - 1) / back->segment;
        segment = segments > segment ? segments : segment;
    }
    while (segment-- > 0) {
        for (int b = 0; b < count; b++) {
            back_sample *s = &w->sample[b];
            s->live = s->next = s->in_done = 0;
            if (segment * s->back->segment < s->back->steps) open_segment(m, L, w, s, segment);
        }
        memset(w->sample->clamped, 0, clamped_bytes(L));
        if (L->rule != STPN_RULE_OJA) rebuild_all(m, L, w, count);
        while (back_bundle(m, count, L, grad, w)) continue;
        for (int b = 0; b < count; b++)
            if (segment > 0 || backs[b].wanted) leave_history(L, &w->sample[b]);
    }
    for (int b = 0; b < count; b++)
        if (backs[b].wanted) from_bundle(L, w->sample[b].dF, backs[b].dF);
}

/* dW += scale W for what the sweeps left out, and the one sum of a scalar rate. */
static void stpn_finish_gradient(const stpn_layer *L, const stpn_layer_grad *grad)
{
    const real *weight = L->weight;
    real *dweight = grad->weight;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        for (int part = 0; part <= L->recurrent; part++) {
            column_part columns = part_at(L, part);
            vec factor = load((const real *)(part ? grad->recurrent_scale : grad->input_scale) + g.row);
            if (!any_bit(factor != splat(0))) continue;
            for (int k = columns.begin; k < columns.end; k++) {
                size_t at = g.matrix + (size_t)k * LANES;
                store(dweight + at, fma_(factor, load(weight + at), load(dweight + at)));
            }
        }
    }
    if (L->granularity != STPN_GRANULARITY_SCALAR || !grad->lambda) return;
    fold(grad->lambda);
    fold(grad->gamma);
}

#endif
