/* The backward sweep of an STPN layer over one sample: F is rebuilt from its checkpoints, segment by segment, then the
 * adjoints run back through it (the gradient of docs/mathematics.md, whose names the variables carry).
 *
 * W's gradient has the form sum_t (s' z / n + c F) + (sum_t c) W with one c per neuron and step: the last term needs W
 * once for a whole chunk of samples (`scale`, stpn_finish), and makes columns without a signal free. */
#ifndef STPN_KERNELS_STPN_BACKWARD_H
#define STPN_KERNELS_STPN_BACKWARD_H

#include "kernels/stpn_forward.h"
#include "kernels/stpn_rebuild.h"

/* What a step works on. */
typedef struct back_step {
    const stpn_layer *layer;
    const stpn_layer_grad *grad;
    const backward_work *work;
    const back_point *point;
    const real *F, *z, *v;                         // of the step
    const real *h, *inverse, *norm, *drive, *post; // (Hp) of the step
    real *dF;                                      // (panels, K, lanes) adjoint of F', then of F
    int dot_known;                                 // norm post: w->post_dot holds sum_k F'_k times its adjoint
} back_step;

INLINE void add_to(real *p, vec v)
{
    store(p, load(p) + v);
}

/* What the columns of a step add up to, for one group. */
typedef struct column_sums {
    vec to_h;          // sum_k P'_k v_k
    vec to_n;          // F~bar . F, norm pre
    vec lambda, gamma; // shared rates
} column_sums;

/* The step's constants of one group on the way in: from the adjoint of F' to that of P and F~. */
typedef struct way_in {
    vec now, inverse; // h, 1 / n
    vec inverse_post; // 1 / m
    vec post_factor;  // m' / r_m
    vec bound;        // of |F|
} way_in;

INLINE vec inverse_of(mode m, const real *inverse, size_t row)
{
    return m.norm == STPN_NORM_NONE ? splat(0) : load(inverse + row);
}

/* For norm post: m' / r_m = -(F^c . F' adjoint) / (m^2 r_m), where F^c = m F'. */
INLINE vec post_factor(vec dot, vec inverse_post, vec post)
{
    ivec is_zero = post == splat(0);
    return -dot * (post + splat(NORM_EPSILON)) * inverse_post * inverse_post / choose(is_zero, splat(1), post);
}

INLINE way_in way_in_at(mode m, const back_step *s, size_t row, vec post_dot)
{
    way_in in = {.now = load(s->h + row), .inverse = inverse_of(m, s->inverse, row)};
    in.bound = splat((real)s->layer->clamp);
    if (m.norm == STPN_NORM_POST) {
        vec post = load(s->post + row);
        in.inverse_post = inverse_norm(post);
        in.post_factor = post_factor(post_dot, in.inverse_post, post);
    }
    return in;
}

/* Adjoint of F^ from that of F': back through norm post and the clamp. */
INLINE vec column_undo(mode m, const back_step *s, size_t at, const way_in *in, vec F, vec signal, vec lambda,
                       vec gamma, vec adjoint)
{
    vec raw = updated(m, decayed(m, F, in->inverse), signal * in->now, lambda, gamma);
    if (m.norm == STPN_NORM_POST) {
        vec kept = m.clamp ? bounded(raw, in->bound) : raw;
        add_to((real *)s->grad->weight + at, in->post_factor * kept);
        adjoint = fma_(in->post_factor, load((const real *)s->layer->weight + at) + kept, adjoint * in->inverse_post);
    }
    return m.clamp ? choose(absolute(raw) > in->bound, splat(0), adjoint) : adjoint;
}

/* One column on the way in: gradients of Lambda and Gamma, what goes to h and n, and to v where rows are coupled.
 * Returns the adjoint of F^. `at` is the column's offset in (panels, K, lanes). */
INLINE vec column_in(mode m, const back_step *s, size_t at, int k, int first_group, const way_in *in, vec F, vec signal,
                     vec lambda, vec gamma, vec adjoint, column_sums *sums)
{
    if (m.clamp || m.norm == STPN_NORM_POST) adjoint = column_undo(m, s, at, in, F, signal, lambda, gamma, adjoint);
    vec for_lambda, for_gamma, to_product;
    if (m.prompt) {
        vec inside = adjoint * lambda, product = signal * in->now;
        to_product = inside * gamma;
        for_lambda = adjoint * fma_(gamma, product, decayed(m, F, in->inverse));
        for_gamma = inside * product;
        if (m.norm == STPN_NORM_PRE) sums->to_n = fma_(inside, F, sums->to_n);
    } else {
        vec along = adjoint * F;
        to_product = adjoint * gamma;
        for_lambda = decayed(m, along, in->inverse);
        for_gamma = adjoint * in->now * signal;
        if (m.norm == STPN_NORM_PRE) sums->to_n = fma_(along, lambda, sums->to_n);
    }
    if (m.learned && m.shared) {
        sums->lambda += for_lambda;
        sums->gamma += for_gamma;
    } else if (m.learned) {
        add_to((real *)s->grad->lambda + at, for_lambda);
        add_to((real *)s->grad->gamma + at, for_gamma);
    }
    sums->to_h = fma_(to_product, signal, sums->to_h);
    if (m.coupled) {
        real *dv = s->work->dv + (size_t)k * WIDTH;
        store(dv, first_group ? to_product * in->now : fma_(to_product, in->now, load(dv)));
    }
    return adjoint;
}

/* The step's constants of one group on the way out: from s' to the adjoints of W, F and z. */
typedef struct way_out {
    vec now, inverse;
    vec to_G;   // s' / n
    vec factor; // c = n' / r
} way_out;

/* Adds a column's part of z's adjoint, neuron by neuron. */
INLINE void add_to_dz(const back_step *s, int first_group, int k, vec to_z)
{
    real *sums = s->work->dz + (size_t)k * WIDTH;
    store(sums, first_group ? to_z : load(sums) + to_z);
}

/* One column on the way out; returns the adjoint of F from that of F^. */
INLINE vec column_out(mode m, const back_step *s, size_t at, int k, int first_group, const way_out *out, vec F,
                      vec lambda, vec gamma, vec adjoint)
{
    real *dweight = (real *)s->grad->weight + at;
    vec signal = splat(s->z[k]), G = load((const real *)s->layer->weight + at) + F, sum_weight = load(dweight), through;
    if (m.all_inputs || k >= s->layer->inputs) {
        vec to_z = out->to_G * G;
        if (!m.coupled) to_z = fma_((m.prompt ? adjoint * lambda : adjoint) * gamma, out->now, to_z);
        add_to_dz(s, first_group, k, to_z);
    }
    if (m.norm == STPN_NORM_NONE) {
        through = out->to_G * signal;
        store(dweight, sum_weight + through);
    } else {
        through = fma_(out->to_G, signal, out->factor * G);
        store(dweight, fma_(out->to_G, signal, fma_(out->factor, F, sum_weight)));
    }
    return fma_(m.norm == STPN_NORM_PRE ? adjoint * out->inverse : adjoint, lambda, through);
}

/* The way in for all columns of a group. */
INLINE void group_in(mode m, const back_step *s, group g, const way_in *in, column_sums *sums)
{
    const stpn_layer *L = s->layer;
    for (int i = 0; i < s->point->plastic_count; i++) {
        int k = s->point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec adjoint =
            column_in(m, s, at, k, g.row == 0, in, load(s->F + at), splat(s->v[k]), rate_at(m, L->lambda, g.lambda, at),
                      rate_at(m, L->gamma, g.gamma, at), load(s->dF + at), sums);
        if (m.clamp || m.norm == STPN_NORM_POST) store(s->dF + at, adjoint);
    }
}

/* The way out for columns [begin, end) of a group's list; for norm post also the next step's dot. */
INLINE void group_out(mode m, const back_step *s, group g, const way_out *out, int begin, int end, vec *post_dot)
{
    const stpn_layer *L = s->layer;
    for (int i = begin; i < end; i++) {
        int k = s->point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec F = load(s->F + at), lambda = rate_at(m, L->lambda, g.lambda, at);
        vec gamma = rate_at(m, L->gamma, g.gamma, at);
        vec adjoint = column_out(m, s, at, k, g.row == 0, out, F, lambda, gamma, load(s->dF + at));
        store(s->dF + at, adjoint);
        if (m.norm == STPN_NORM_POST) *post_dot = fma_(adjoint, F, *post_dot);
    }
}

/* The way out of step `s` and the way in of the step before it in one pass: the rates, F's adjoint and the gradients
 * pass through the registers once. */
INLINE void group_out_and_in(mode m, const back_step *s, const back_step *before, group g, const way_out *out,
                             const way_in *in, column_sums *sums)
{
    const stpn_layer *L = s->layer;
    for (int i = 0; i < before->point->plastic_count; i++) {
        int k = s->point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec lambda = rate_at(m, L->lambda, g.lambda, at), gamma = rate_at(m, L->gamma, g.gamma, at);
        vec adjoint = column_out(m, s, at, k, g.row == 0, out, load(s->F + at), lambda, gamma, load(s->dF + at));
        store(s->dF + at, adjoint);
        column_in(m, before, at, k, g.row == 0, in, load(before->F + at), splat(before->v[k]), lambda, gamma, adjoint,
                  sums);
    }
}

/* Columns without F. */
INLINE void group_out_fixed(mode m, const back_step *s, group g, const way_out *out)
{
    for (int i = 0; i < s->point->fixed_count; i++) {
        int k = s->point->fixed[i];
        size_t at = g.matrix + (size_t)k * LANES;
        if (m.all_inputs || k >= s->layer->inputs)
            add_to_dz(s, g.row == 0, k, out->to_G * load((const real *)s->layer->weight + at));
        add_to((real *)s->grad->weight + at, out->to_G * splat(s->z[k]));
    }
}

/* Through the activation of one group: the adjoint of what goes into it. */
INLINE vec through_activation(const stpn_layer *L, vec dh, vec now)
{
    return dh * (L->activation == STPN_ACTIVATION_TANH ? splat(1) - now * now : now - now * now);
}

/* c = n' / r with n' = -(s' u + F~bar . F) / n^2; `dot` is F~bar . F, `drive` u / n. */
INLINE vec norm_factor(vec ds, vec drive, vec dot, vec inverse, vec norm)
{
    ivec is_zero = norm == splat(0);
    vec dn = -fma_(dot, inverse, ds * drive) * inverse;
    return choose(is_zero, splat(0), dn / choose(is_zero, splat(1), norm));
}

/* Adjoint of u/n + b from that of h, for all neurons: layer norm couples them. */
INLINE void back_layer_norm(const back_step *s, const real *drive)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    const real *bias = L->bias;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec potential = load(drive + row);
        store(w->normalised + row, bias ? potential + load(bias + row) : potential);
    }
    real scale = layer_norm(L->hidden, L->mask, w->normalised);
    layer_norm_back(L->hidden, L->mask, w->normalised, scale, L->ln_weight, s->grad->ln_weight, s->grad->ln_bias,
                    w->ds);
}

/* v's adjoint, once all rows have given theirs: to z, to h of the step, and for oja to F. */
INLINE void back_coupling(const back_step *s)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    const back_point *point = s->point;
    int oja = L->rule == STPN_RULE_OJA;
    memset(w->dv_sum, 0, (size_t)L->columns * sizeof *w->dv_sum);
    for (int i = 0; i < point->plastic_count; i++) {
        int k = point->plastic[i];
        real total = sum(load(w->dv + (size_t)k * WIDTH));
        w->dv_sum[k] = total;
        if (L->current && k >= L->inputs) {
            w->dh[k - L->inputs] += total;
            w->dz_sum[k] = 0;
        } else {
            w->dz_sum[k] = total;
        }
    }
    if (!oja) return;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        vec dh = load(w->dh + g.row);
        for (int i = 0; i < point->plastic_count; i++) {
            int k = point->plastic[i];
            dh = fma_(splat(-w->dv_sum[k]), load(s->F + g.matrix + (size_t)k * LANES), dh);
        }
        store(w->dh + g.row, dh);
    }
}

/* The part of F's adjoint that comes through oja's v: - h_m v'_k; for norm post it counts in the next step's dot. */
INLINE void back_oja_F(const back_step *s, group g, vec now)
{
    vec post_dot = load(s->work->post_dot + g.row);
    for (int i = 0; i < s->point->plastic_count; i++) {
        int k = s->point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec through = now * splat(-s->work->dv_sum[k]);
        add_to(s->dF + at, through);
        post_dot = fma_(through, load(s->F + at), post_dot);
    }
    store(s->work->post_dot + g.row, post_dot);
}

/* For norm post and an adjoint from outside: sum_k F'_k times its adjoint, after the last step. */
INLINE vec final_dot(mode m, const back_step *s, group g)
{
    const stpn_layer *L = s->layer;
    way_in in = way_in_at(m, s, g.row, splat(0));
    vec dot = splat(0);
    for (int i = 0; i < s->point->plastic_count; i++) {
        int k = s->point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec last = updated(m, decayed(m, load(s->F + at), in.inverse), splat(s->v[k]) * in.now,
                           rate_at(m, L->lambda, g.lambda, at), rate_at(m, L->gamma, g.gamma, at));
        if (m.clamp) last = bounded(last, in.bound);
        dot = fma_(load(s->dF + at), last * in.inverse_post, dot);
    }
    return dot;
}

/* Sums of the way in that are complete with the group. */
INLINE void keep_sums(mode m, const back_step *s, group g, const way_in *in, const column_sums *sums)
{
    const backward_work *w = s->work;
    store(w->to_h + g.row, sums->to_h);
    store(w->dot + g.row, sums->to_n);
    if (m.norm == STPN_NORM_POST) add_to((real *)s->grad->scale + g.row, in->post_factor);
    if (m.learned && m.shared) {
        size_t at = s->layer->granularity == STPN_GRANULARITY_NEURON ? g.row : g.row % LANES;
        add_to((real *)s->grad->lambda + at, sums->lambda);
        add_to((real *)s->grad->gamma + at, sums->gamma);
    }
}

/* The way in of a step on its own. */
INLINE void step_in(mode m, const back_step *s, group g)
{
    column_sums sums = {splat(0), splat(0), splat(0), splat(0)};
    vec dot = splat(0);
    if (m.norm == STPN_NORM_POST && s->dot_known) dot = load(s->work->post_dot + g.row);
    if (m.norm == STPN_NORM_POST && !s->dot_known) dot = final_dot(m, s, g);
    way_in in = way_in_at(m, s, g.row, dot);
    group_in(m, s, g, &in, &sums);
    keep_sums(m, s, g, &in, &sums);
}

/* The way out of a step from s' on, and the way in of the step before, where there is one to join. */
INLINE void step_out(mode m, const back_step *s, const back_step *before, group g, vec ds)
{
    const backward_work *w = s->work;
    way_out out = {load(s->h + g.row), inverse_of(m, s->inverse, g.row), ds, splat(0)};
    if (s->grad->bias) add_to((real *)s->grad->bias + g.row, ds);
    if (m.norm != STPN_NORM_NONE) {
        out.to_G = ds * out.inverse;
        out.factor = norm_factor(ds, load(s->drive + g.row), load(w->dot + g.row), out.inverse, load(s->norm + g.row));
        add_to((real *)s->grad->scale + g.row, out.factor);
    }
    int joined = 0;
    vec post_dot = splat(0);
    if (before) {
        column_sums sums = {splat(0), splat(0), splat(0), splat(0)};
        way_in in = way_in_at(m, before, g.row, splat(0));
        group_out_and_in(m, s, before, g, &out, &in, &sums);
        keep_sums(m, before, g, &in, &sums);
        joined = before->point->plastic_count;
    }
    group_out(m, s, g, &out, joined, s->point->plastic_count, &post_dot);
    group_out_fixed(m, s, g, &out);
    if (m.norm == STPN_NORM_POST) store(w->post_dot + g.row, post_dot);
}

/* All groups of a step. Where nothing couples the rows each goes through alone, from end to end, while it is in the
 * first-level cache. `in_done`: the step after this one has done the way in. */
INLINE void back_groups(mode m, const back_step *s, const back_step *before, int in_done)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    int groups = group_count(L), together = m.coupled || L->layer_norm;
    for (int n = 0; n < groups; n++) {
        group g = group_at(m, L, n);
        if (!in_done) step_in(m, s, g);
        vec dh = load(w->dh + g.row) + load(w->to_h + g.row);
        if (together) store(w->dh + g.row, dh);
        else step_out(m, s, before, g, through_activation(L, dh, load(s->h + g.row)));
    }
    if (!together) return;
    if (m.coupled) back_coupling(s);
    for (int n = 0; n < groups; n++)
        store(w->ds + n * WIDTH, through_activation(L, load(w->dh + n * WIDTH), load(s->h + n * WIDTH)));
    if (L->layer_norm) back_layer_norm(s, s->drive);
    for (int n = 0; n < groups; n++) {
        group g = group_at(m, L, n);
        step_out(m, s, before, g, load(w->ds + g.row));
        if (L->rule == STPN_RULE_OJA) back_oja_F(s, g, load(s->h + g.row));
    }
}

/* z's adjoint of some columns: the sum over neurons, and v's share where that was kept apart; that of the h before goes
 * to `carried`. */
INLINE void sum_dz(mode m, const back_step *s, const int32_t *k, int count, int with_v, real *carried)
{
    const backward_work *w = s->work;
    int I = s->layer->inputs;
    for (int i = 0; i < count; i++) {
        if (!m.all_inputs && k[i] < I) continue;
        real total = sum(load(w->dz + (size_t)k[i] * WIDTH));
        if (with_v) total += w->dz_sum[k[i]];
        if (k[i] < I) w->dz_sum[k[i]] = total;
        else carried[k[i] - I] = total;
    }
}

/* Step `i` of a segment. */
INLINE back_step step_at(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *b, const backward_work *w,
                         int i)
{
    size_t Kp = padded_columns(L), Hp = padded_rows(L), t = (size_t)w->point[i].t;
    return (back_step){.layer = L,
                       .grad = grad,
                       .work = w,
                       .point = &w->point[i],
                       .F = segment_F(L, w, i),
                       .z = w->z + (size_t)i * Kp,
                       .v = w->v + (size_t)i * Kp,
                       .h = (const real *)b->out + (t + 1) * Hp,
                       .inverse = w->inverse + (size_t)i * Hp,
                       .norm = b->norm ? (const real *)b->norm + t * Hp : NULL,
                       .drive = (const real *)b->drive + t * Hp,
                       .post = b->post ? (const real *)b->post + t * Hp : NULL,
                       .dF = b->dF};
}

INLINE void backward_sweep(mode m, const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *b, void *work)
{
    backward_work w = backward_carve(L, b->segment, work);
    size_t I = (size_t)L->inputs, H = (size_t)L->hidden, Hp = padded_rows(L);
    const real *dy = b->dy;
    real *carried = b->dh, *dx = b->dx, *dF = b->dF;
    int can_join = !m.coupled && !m.clamp && m.norm != STPN_NORM_POST, dot_known = !b->dense;
    memset(w.post_dot, 0, Hp * sizeof *w.post_dot);
    if (!L->recurrent) memset(carried, 0, Hp * sizeof *carried); // no state of the sequence
    for (int t = 0; t < b->steps && dx; t++) memset(dx + (size_t)t * b->dx_step, 0, I * sizeof *dx);
    for (int segment = (b->steps - 1) / b->segment; segment >= 0 && b->steps > 0; segment--) {
        int in_done = 0;
        for (int i = rebuild_segment(m, L, b, &w, segment) - 1; i >= 0; i--) {
            const back_point *point = &w.point[i];
            size_t t = (size_t)point->t;
            back_step s = step_at(L, grad, b, &w, i), before;
            int reset = b->flags[t] & STEP_RESET, join = can_join && i > 0 && !reset;
            if (join) before = step_at(L, grad, b, &w, i - 1);
            s.dot_known = dot_known;
            memcpy(w.dh, carried, Hp * sizeof *w.dh);
            if (point->t >= b->dy_begin) {
                const real *row = dy + (t - (size_t)b->dy_begin) * b->dy_step;
                for (size_t j = 0; j < H; j++) w.dh[j] += row[j];
            }
            back_groups(m, &s, join ? &before : NULL, in_done);
            in_done = join;
            dot_known = 1;
            memset(carried, 0, Hp * sizeof *carried);
            sum_dz(m, &s, point->plastic, point->plastic_count, m.coupled, carried);
            sum_dz(m, &s, point->fixed, point->fixed_count, 0, carried);
            for (size_t k = 0; k < I && dx; k++) dx[t * b->dx_step + k] = w.dz_sum[k];
            if (reset) {
                memset(carried, 0, Hp * sizeof *carried);
                memset(dF, 0, matrix_values(L) * sizeof *dF);
                memset(w.post_dot, 0, Hp * sizeof *w.post_dot);
            }
        }
    }
}

/* The options of the paper's experiments get loops of their own, with and without the adjoint of the inputs. */
static void stpn_backward_sweep(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *back, void *work)
{
    mode m = layer_mode(L);
    m.coupled = L->rule == STPN_RULE_OJA || L->current;
    m.all_inputs = back->dx != NULL;
    m.learned = grad->lambda != NULL;
    int pre = m.norm == STPN_NORM_PRE && !m.clamp, post = m.norm == STPN_NORM_POST && m.clamp;
    int usual = !m.prompt && !m.shared && !m.coupled && m.learned;
    if (usual && pre && m.all_inputs)
        backward_sweep((mode){.norm = STPN_NORM_PRE, .all_inputs = 1, .learned = 1}, L, grad, back, work);
    else if (usual && pre) backward_sweep((mode){.norm = STPN_NORM_PRE, .learned = 1}, L, grad, back, work);
    else if (usual && post && m.all_inputs)
        backward_sweep((mode){.norm = STPN_NORM_POST, .clamp = 1, .all_inputs = 1, .learned = 1}, L, grad, back, work);
    else if (usual && post)
        backward_sweep((mode){.norm = STPN_NORM_POST, .clamp = 1, .learned = 1}, L, grad, back, work);
    else backward_sweep(m, L, grad, back, work);
}

/* dW += scale W, and the one sum of a scalar rate. */
static void stpn_finish_gradient(const stpn_layer *L, const stpn_layer_grad *grad)
{
    const real *weight = L->weight;
    real *dweight = grad->weight, *scale = grad->scale;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        vec factor = load(scale + g.row);
        for (int k = 0; k < L->columns; k++) {
            size_t at = g.matrix + (size_t)k * LANES;
            store(dweight + at, fma_(factor, load(weight + at), load(dweight + at)));
        }
    }
    if (L->granularity != STPN_GRANULARITY_SCALAR || !grad->lambda) return;
    real *rates[2] = {grad->lambda, grad->gamma};
    for (int i = 0; i < 2; i++) {
        real total = 0;
        for (int lane = 0; lane < LANES; lane++) total += rates[i][lane];
        memset(rates[i], 0, LANES * sizeof(real));
        rates[i][0] = total;
    }
}

#endif
