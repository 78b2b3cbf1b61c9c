/* The backward sweep of an STPN layer over one sample: F is rebuilt from its checkpoints, segment by segment, then the
 * adjoints run back through it (the gradient of docs/mathematics.md, whose names the variables carry).
 *
 * W's gradient has the form sum_t (s' z / n + c F) + (sum_t c) W with one c per neuron and step: the last term needs W
 * once for a whole chunk of samples (`scale`, stpn_finish), and makes columns without a signal free. */
#ifndef STPN_KERNELS_STPN_BACKWARD_H
#define STPN_KERNELS_STPN_BACKWARD_H

#include "kernels/stpn_forward.h"

/* One live step of a segment. */
typedef struct back_point {
    int t;
    const int32_t *plastic, *fixed; // active columns with and without F
    int plastic_count, fixed_count;
} back_point;

typedef struct backward_work {
    const real *first; // (panels, K, lanes) F before the segment's first live step
    real *F;           // (segment, panels, K, lanes) rebuilt, from the segment's second live step on
    real *z, *v;       // (segment, Kp)
    real *inverse;     // (segment, Hp) 1 / n
    back_point *point; // (segment)
    real_bits *mask;   // (Kp) active columns of the step that is rebuilt
    int32_t *k;        // (segment, K) their lists, a new one after each reset
    real *dz;          // (K, WIDTH) partial sums over neurons, then
    real *dz_sum;      // (K) adjoint of z
    real *dv;          // (K, WIDTH) and
    real *dv_sum;      // (K) adjoint of v, where it is needed on its own
    real *dh;          // (Hp) adjoint of h of the step
    real *ds, *dot;    // (Hp) adjoint of u/n + b; F~bar . F
    real *normalised;  // (Hp) layer norm
} backward_work;

static size_t backward_bytes(const stpn_layer *L, int segment)
{
    size_t row = padded_rows(L) * sizeof(real), K = (size_t)L->columns, S = (size_t)segment;
    size_t columns_row = padded_columns(L) * sizeof(real);
    return S * (matrix_values(L) * sizeof(real) + 2 * columns_row + row) + rounded(S * sizeof(back_point)) +
           rounded(S * K * sizeof(int32_t)) + 3 * columns_row + 2 * rounded(K * WIDTH * sizeof(real)) + 4 * row;
}

static backward_work backward_carve(const stpn_layer *L, int segment, void *work)
{
    char *at = work;
    size_t row = padded_rows(L) * sizeof(real), K = (size_t)L->columns, S = (size_t)segment;
    size_t columns_row = padded_columns(L) * sizeof(real);
    backward_work w = {.first = NULL};
    w.F = carve(&at, S * matrix_values(L) * sizeof(real));
    w.z = carve(&at, S * columns_row);
    w.v = carve(&at, S * columns_row);
    w.inverse = carve(&at, S * row);
    w.point = carve(&at, S * sizeof(back_point));
    w.k = carve(&at, S * K * sizeof(int32_t));
    w.mask = carve(&at, columns_row);
    w.dz_sum = carve(&at, columns_row);
    w.dv_sum = carve(&at, columns_row);
    w.dz = carve(&at, K * WIDTH * sizeof(real));
    w.dv = carve(&at, K * WIDTH * sizeof(real));
    w.dh = carve(&at, row);
    w.ds = carve(&at, row);
    w.dot = carve(&at, row);
    w.normalised = carve(&at, row);
    return w;
}

/* F before live step `i` of the segment. */
INLINE real *segment_F(const stpn_layer *L, const backward_work *w, int i)
{
    return i == 0 ? (real *)(uintptr_t)w->first : w->F + (size_t)(i - 1) * matrix_values(L);
}

INLINE void clear_columns(const stpn_layer *L, real *F, const int32_t *k, int count)
{
    for (int i = 0; i < count; i++)
        for (int p = 0; p < L->panels; p++)
            memset(F + ((size_t)p * (size_t)L->columns + (size_t)k[i]) * LANES, 0, LANES * sizeof *F);
}

/* One step of one group: `to` = F' of `from`. */
INLINE void rebuild_group(mode m, const stpn_layer *L, group g, const back_point *point, const real *v, vec now,
                          vec inverse, vec post, const real *from, real *to)
{
    vec bound = splat((real)L->clamp), inverse_post = m.norm == STPN_NORM_POST ? inverse_norm(post) : splat(1);
    for (int i = 0; i < point->plastic_count; i++) {
        int k = point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec next = updated(m, decayed(m, load(from + at), inverse), splat(v[k]) * now,
                           rate_at(m, L->lambda, g.lambda, at), rate_at(m, L->gamma, g.gamma, at));
        if (m.clamp) next = bounded(next, bound);
        if (m.norm == STPN_NORM_POST) next = next * inverse_post;
        store(to + at, next);
    }
}

INLINE vec row_or_zero(const void *rows, size_t at)
{
    return rows ? load((const real *)rows + at) : splat(0);
}

/* F after live step `i` - 1, for the group: F before step `i`. */
INLINE void rebuild_step(mode m, const stpn_layer *L, const stpn_back *b, const backward_work *w, group g, int i)
{
    const back_point *before = &w->point[i - 1];
    size_t Hp = padded_rows(L), row = (size_t)before->t * Hp + g.row;
    rebuild_group(m, L, g, before, w->v + (size_t)(i - 1) * padded_columns(L), load((const real *)b->out + row + Hp),
                  load(w->inverse + (size_t)(i - 1) * Hp + g.row), row_or_zero(b->post, row), segment_F(L, w, i - 1),
                  segment_F(L, w, i));
}

/* z, active columns, v, 1 / n and F of every live step of a segment; returns the number of live steps. */
INLINE int rebuild_segment(mode m, const stpn_layer *L, const stpn_back *b, backward_work *w, int segment)
{
    size_t K = (size_t)L->columns, Kp = padded_columns(L), I = (size_t)L->inputs, H = (size_t)L->hidden;
    size_t Hp = padded_rows(L);
    int begin = segment * b->segment, end = begin + b->segment < b->steps ? begin + b->segment : b->steps;
    int live = 0, list_count[2], oja = L->rule == STPN_RULE_OJA;
    const real *x = b->x, *out = b->out;
    const columns saved = columns_at(L, (real_bits *)(uintptr_t)b->checkpoint_active + (size_t)segment * columns_values(L));
    columns active = {w->mask, w->k, list_count};
    memcpy(active.mask, saved.mask, Kp * sizeof *active.mask);
    memcpy(active.k, saved.k, K * sizeof *active.k);
    memcpy(active.count, saved.count, sizeof list_count);
    w->first = (const real *)b->checkpoints + (size_t)segment * matrix_values(L);
    for (int t = begin; t < end; t++) {
        if (!(b->flags[t] & STEP_LIVE)) continue;
        int i = live++, reset = b->flags[t] & STEP_RESET;
        real *z = w->z + (size_t)i * Kp, *v = w->v + (size_t)i * Kp;
        memset(z + K, 0, (Kp - K) * sizeof *z);
        memcpy(z, x + (size_t)t * b->x_step, I * sizeof *z);
        if (L->recurrent && reset) memset(z + I, 0, H * sizeof *z);
        if (L->recurrent && !reset) memcpy(z + I, out + (size_t)t * Hp, H * sizeof *z);
        if (reset && t > begin) {
            active.k += K;
            columns_clear(L, &active);
        }
        /* Steps that were not live came first: the checkpoint is older than the reset, and the last slot is free. */
        if (reset && i == 0 && t > begin) w->first = w->F + (size_t)(b->segment - 1) * matrix_values(L);
        int known = active.count[0];
        columns_add_signal(L, &active, z);
        if (b->dense) columns_add_range(L, &active, 0, L->columns);
        /* The adjoint of the h before goes through these columns even where that h is 0. */
        if (L->recurrent && (L->current || (t > 0 && !reset))) columns_add_range(L, &active, (int)I, L->columns);
        w->point[i] = (back_point){t, active.k, active.k + K - active.count[1], active.count[0], active.count[1]};
        clear_columns(L, segment_F(L, w, i), active.k + known, active.count[0] - known);
        for (int n = 0; n < group_count(L) && m.norm != STPN_NORM_NONE; n++)
            store(w->inverse + (size_t)i * Hp + (size_t)n * WIDTH,
                  inverse_norm(load((const real *)b->norm + (size_t)t * Hp + (size_t)n * WIDTH)));
        memcpy(v, z, K * sizeof *v);
        if (L->current) memcpy(v + I, out + (size_t)(t + 1) * Hp, H * sizeof *v);
        /* Oja's product couples the rows: v needs all of F, so all groups go on together. */
        if (!oja) continue;
        for (int n = 0; n < group_count(L) && i > 0 && !reset; n++) rebuild_step(m, L, b, w, group_at(m, L, n), i);
        oja_presynaptic(L, w->point[i].plastic, w->point[i].plastic_count, segment_F(L, w, i),
                        out + (size_t)(t + 1) * Hp, v, v);
    }
    for (int n = 0; n < group_count(L) && !oja; n++)
        for (int i = 1; i < live; i++)
            if (!(b->flags[w->point[i].t] & STEP_RESET)) rebuild_step(m, L, b, w, group_at(m, L, n), i);
    return live;
}

/* What one step of one group works on. */
typedef struct back_step {
    const stpn_layer *layer;
    const stpn_layer_grad *grad;
    const backward_work *work;
    const back_point *point;
    const real *F, *z, *v; // of the step
    real *dF;              // (panels, K, lanes) adjoint of F', then of F
} back_step;

INLINE void add_to(real *p, vec v)
{
    store(p, load(p) + v);
}

/* Adjoint of F^ from that of F', in place of it, for the norm post and the clamp; returns what the step adds to `scale`.
 */
INLINE vec undo_post_and_clamp(mode m, const back_step *s, group g, vec now, vec inverse, vec post)
{
    const stpn_layer *L = s->layer;
    const back_point *point = s->point;
    const real *weight = L->weight;
    vec bound = splat((real)L->clamp), inverse_post = splat(1), factor = splat(0);
    if (m.norm == STPN_NORM_POST) {
        vec dot = splat(0);
        for (int i = 0; i < point->plastic_count; i++) {
            int k = point->plastic[i];
            size_t at = g.matrix + (size_t)k * LANES;
            vec raw = updated(m, decayed(m, load(s->F + at), inverse), splat(s->v[k]) * now,
                              rate_at(m, L->lambda, g.lambda, at), rate_at(m, L->gamma, g.gamma, at));
            if (m.clamp) raw = bounded(raw, bound);
            dot = fma_(load(s->dF + at), raw, dot);
        }
        inverse_post = inverse_norm(post);
        ivec is_zero = post == splat(0);
        factor = -dot * inverse_post * inverse_post / choose(is_zero, splat(1), post);
    }
    for (int i = 0; i < point->plastic_count; i++) {
        int k = point->plastic[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec raw = updated(m, decayed(m, load(s->F + at), inverse), splat(s->v[k]) * now,
                          rate_at(m, L->lambda, g.lambda, at), rate_at(m, L->gamma, g.gamma, at));
        vec adjoint = load(s->dF + at);
        if (m.norm == STPN_NORM_POST) {
            vec kept = m.clamp ? bounded(raw, bound) : raw;
            add_to((real *)s->grad->weight + at, factor * kept);
            adjoint = fma_(factor, load(weight + at) + kept, adjoint * inverse_post);
        }
        if (m.clamp) adjoint = choose(absolute(raw) > bound, splat(0), adjoint);
        store(s->dF + at, adjoint);
    }
    return factor;
}

/* From the adjoint of F^: the gradients of Lambda and Gamma, sum_k P'_k v_k for h, F~bar . F for n; and v's adjoint
 * where rows are coupled. */
INLINE void back_product(mode m, const back_step *s, group g, vec now, vec inverse, vec *drive, vec *dot)
{
    const stpn_layer *L = s->layer;
    const back_point *point = s->point;
    const real *F = s->F + g.matrix, *dF = s->dF + g.matrix, *v = s->v;
    real *dlambda = s->grad->lambda, *dgamma = s->grad->gamma, *dv = s->work->dv;
    vec shared_lambda = splat(0), shared_gamma = splat(0), to_h = splat(0), to_n = splat(0);
    for (int i = 0; i < point->plastic_count; i++) {
        int k = point->plastic[i];
        size_t at = (size_t)k * LANES;
        vec lambda = rate_at(m, L->lambda, g.lambda, g.matrix + at);
        vec gamma = rate_at(m, L->gamma, g.gamma, g.matrix + at);
        vec old_F = load(F + at), adjoint = load(dF + at), signal = splat(v[k]), to_product;
        if (m.prompt) {
            /* F^ = Lambda (F~ + Gamma P) */
            vec inside = adjoint * lambda, product = signal * now;
            to_product = inside * gamma;
            vec for_lambda = adjoint * fma_(gamma, product, decayed(m, old_F, inverse)), for_gamma = inside * product;
            if (m.learned && m.shared) {
                shared_lambda += for_lambda;
                shared_gamma += for_gamma;
            } else if (m.learned) {
                add_to(dlambda + g.matrix + at, for_lambda);
                add_to(dgamma + g.matrix + at, for_gamma);
            }
            to_h = fma_(to_product, signal, to_h);
            if (m.norm == STPN_NORM_PRE) to_n = fma_(inside, old_F, to_n);
        } else {
            /* F^ = Lambda F~ + Gamma P; products are shared to save multiplications. */
            vec along_F = adjoint * old_F, along_h = adjoint * now;
            to_product = adjoint * gamma;
            if (m.learned && m.shared) {
                shared_lambda += decayed(m, along_F, inverse);
                shared_gamma = fma_(along_h, signal, shared_gamma);
            } else if (m.learned) {
                real *to_lambda = dlambda + g.matrix + at, *to_gamma = dgamma + g.matrix + at;
                vec sum_lambda = load(to_lambda);
                store(to_lambda, m.norm == STPN_NORM_PRE ? fma_(along_F, inverse, sum_lambda) : along_F + sum_lambda);
                store(to_gamma, fma_(along_h, signal, load(to_gamma)));
            }
            to_h = fma_(to_product, signal, to_h);
            if (m.norm == STPN_NORM_PRE) to_n = fma_(along_F, lambda, to_n);
        }
        if (m.coupled) {
            real *sums = dv + (size_t)k * WIDTH;
            store(sums, g.row == 0 ? to_product * now : fma_(to_product, now, load(sums)));
        }
    }
    if (m.learned && m.shared) {
        size_t at = L->granularity == STPN_GRANULARITY_NEURON ? g.row : g.row % LANES;
        add_to(dlambda + at, shared_lambda);
        add_to(dgamma + at, shared_gamma);
    }
    *drive = to_h;
    *dot = to_n;
}

/* Adds a column's part of z's adjoint, neuron by neuron. */
INLINE void add_to_dz(const back_step *s, group g, int k, vec to_z)
{
    real *sums = s->work->dz + (size_t)k * WIDTH;
    store(sums, g.row == 0 ? to_z : load(sums) + to_z);
}

/* From s': the gradient of W, the adjoint of F in place of that of F^, and z's. */
INLINE void back_drive(mode m, const back_step *s, group g, vec ds, vec now, vec inverse, vec factor)
{
    const stpn_layer *L = s->layer;
    const back_point *point = s->point;
    const real *weight = (const real *)L->weight + g.matrix, *F = s->F + g.matrix, *z = s->z;
    real *dweight = (real *)s->grad->weight + g.matrix, *dF = s->dF + g.matrix;
    vec to_G = m.norm == STPN_NORM_NONE ? ds : ds * inverse;
    for (int i = 0; i < point->plastic_count; i++) {
        int k = point->plastic[i];
        size_t at = (size_t)k * LANES;
        vec signal = splat(z[k]), old_F = load(F + at), G = load(weight + at) + old_F, adjoint = load(dF + at);
        vec lambda = rate_at(m, L->lambda, g.lambda, g.matrix + at), sum_weight = load(dweight + at), through;
        if (m.all_inputs || k >= L->inputs) {
            vec to_z = to_G * G;
            if (!m.coupled) {
                vec gamma = rate_at(m, L->gamma, g.gamma, g.matrix + at);
                to_z = fma_((m.prompt ? adjoint * lambda : adjoint) * gamma, now, to_z);
            }
            add_to_dz(s, g, k, to_z);
        }
        if (m.norm == STPN_NORM_NONE) {
            through = to_G * signal;
            store(dweight + at, sum_weight + through);
        } else {
            through = fma_(to_G, signal, factor * G);
            store(dweight + at, fma_(to_G, signal, fma_(factor, old_F, sum_weight)));
        }
        store(dF + at, fma_(m.norm == STPN_NORM_PRE ? adjoint * inverse : adjoint, lambda, through));
    }
    for (int i = 0; i < point->fixed_count; i++) {
        int k = point->fixed[i];
        size_t at = (size_t)k * LANES;
        if (m.all_inputs || k >= L->inputs) add_to_dz(s, g, k, to_G * load(weight + at));
        add_to(dweight + at, to_G * splat(z[k]));
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
    const real *bias = L->bias, *gain = L->ln_weight, *mask = L->mask;
    real *dgain = s->grad->ln_weight, *doffset = s->grad->ln_bias;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec potential = load(drive + row);
        store(w->normalised + row, bias ? potential + load(bias + row) : potential);
    }
    vec scale = splat(normalise_layer(L, w->normalised));
    vec mean = splat(0), along = splat(0);
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec ds = load(w->ds + row), normal = load(w->normalised + row);
        add_to(dgain + row, ds * normal);
        add_to(doffset + row, ds);
        ds *= load(gain + row);
        store(w->ds + row, ds);
        mean += ds;
        along = fma_(ds, normal, along);
    }
    mean = splat(sum(mean) / (real)L->hidden);
    along = splat(sum(along) / (real)L->hidden);
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec ds = load(w->ds + row) - mean - load(w->normalised + row) * along;
        store(w->ds + row, ds * scale * load(mask + row));
    }
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

/* The part of F's adjoint that comes through oja's v: - h_m v'_k. */
INLINE void back_oja_F(const back_step *s, group g, vec now)
{
    for (int i = 0; i < s->point->plastic_count; i++) {
        int k = s->point->plastic[i];
        real *dF = s->dF + g.matrix + (size_t)k * LANES;
        store(dF, fma_(now, splat(-s->work->dv_sum[k]), load(dF)));
    }
}

/* What of one step differs from group to group. */
typedef struct step_rows {
    const real *h, *drive, *norm, *post, *inverse;
} step_rows;

/* From the adjoint of F' and of h, in w->dh, to that of the potential's input: rates, h, F~bar . F. */
INLINE vec back_group_in(mode m, const back_step *s, group g, const step_rows *rows, vec now, vec inverse, vec *dot)
{
    vec to_h;
    if (m.clamp || m.norm == STPN_NORM_POST) {
        vec factor = undo_post_and_clamp(m, s, g, now, inverse, row_or_zero(rows->post, g.row));
        if (m.norm == STPN_NORM_POST) add_to((real *)s->grad->scale + g.row, factor);
    }
    back_product(m, s, g, now, inverse, &to_h, dot);
    return load(s->work->dh + g.row) + to_h;
}

/* From the adjoint of u/n + b on. */
INLINE void back_group_out(mode m, const back_step *s, group g, const step_rows *rows, vec ds, vec dot, vec now,
                           vec inverse)
{
    real *dbias = s->grad->bias;
    vec factor = splat(0);
    if (dbias) add_to(dbias + g.row, ds);
    if (m.norm != STPN_NORM_NONE) {
        factor = norm_factor(ds, load(rows->drive + g.row), dot, inverse, load(rows->norm + g.row));
        add_to((real *)s->grad->scale + g.row, factor);
    }
    back_drive(m, s, g, ds, now, inverse, factor);
}

/* All groups of a step. Where nothing couples the rows each goes through alone, from end to end, while it is in the
 * first-level cache. */
INLINE void back_groups(mode m, const back_step *s, const step_rows *rows)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    int groups = group_count(L), together = m.coupled || L->layer_norm;
    for (int n = 0; n < groups; n++) {
        group g = group_at(m, L, n);
        vec now = load(rows->h + g.row), dot;
        vec inverse = m.norm == STPN_NORM_NONE ? splat(0) : load(rows->inverse + g.row);
        vec dh = back_group_in(m, s, g, rows, now, inverse, &dot);
        if (!together) {
            back_group_out(m, s, g, rows, through_activation(L, dh, now), dot, now, inverse);
        } else {
            store(w->dh + g.row, dh);
            store(w->dot + g.row, dot);
        }
    }
    if (!together) return;
    if (m.coupled) back_coupling(s);
    for (int n = 0; n < groups; n++)
        store(w->ds + n * WIDTH, through_activation(L, load(w->dh + n * WIDTH), load(rows->h + n * WIDTH)));
    if (L->layer_norm) back_layer_norm(s, rows->drive);
    for (int n = 0; n < groups; n++) {
        group g = group_at(m, L, n);
        vec now = load(rows->h + g.row);
        vec inverse = m.norm == STPN_NORM_NONE ? splat(0) : load(rows->inverse + g.row);
        back_group_out(m, s, g, rows, load(w->ds + g.row), load(w->dot + g.row), now, inverse);
        if (L->rule == STPN_RULE_OJA) back_oja_F(s, g, now);
    }
}

/* z's adjoint of some columns: the sum over neurons, and v's share where that was kept apart. */
INLINE void sum_dz(mode m, const back_step *s, const int32_t *k, int count, int with_v)
{
    const backward_work *w = s->work;
    for (int i = 0; i < count; i++) {
        if (!m.all_inputs && k[i] < s->layer->inputs) continue;
        real total = sum(load(w->dz + (size_t)k[i] * WIDTH));
        w->dz_sum[k[i]] = with_v ? w->dz_sum[k[i]] + total : total;
    }
}

INLINE void carry_dh(const back_step *s, const int32_t *k, int count, real *carried)
{
    int I = s->layer->inputs;
    for (int i = 0; i < count; i++)
        if (k[i] >= I) carried[k[i] - I] = s->work->dz_sum[k[i]];
}

INLINE void backward_sweep(mode m, const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *b, void *work)
{
    backward_work w = backward_carve(L, b->segment, work);
    size_t Kp = padded_columns(L), I = (size_t)L->inputs, H = (size_t)L->hidden, Hp = padded_rows(L);
    const real *dy = b->dy;
    real *carried = b->dh, *dx = b->dx;
    back_step s = {.layer = L, .grad = grad, .work = &w, .dF = b->dF};
    for (int t = 0; t < b->steps && dx; t++) memset(dx + (size_t)t * b->dx_step, 0, I * sizeof *dx);
    for (int segment = (b->steps - 1) / b->segment; segment >= 0 && b->steps > 0; segment--) {
        int live = rebuild_segment(m, L, b, &w, segment);
        for (int i = live - 1; i >= 0; i--) {
            const back_point *point = &w.point[i];
            size_t t = (size_t)point->t;
            step_rows rows = {.h = (const real *)b->out + (t + 1) * Hp,
                              .drive = (const real *)b->drive + t * Hp,
                              .norm = b->norm ? (const real *)b->norm + t * Hp : NULL,
                              .post = b->post ? (const real *)b->post + t * Hp : NULL,
                              .inverse = w.inverse + (size_t)i * Hp};
            s.point = point;
            s.F = segment_F(L, &w, i);
            s.z = w.z + (size_t)i * Kp;
            s.v = w.v + (size_t)i * Kp;
            memcpy(w.dh, carried, Hp * sizeof *w.dh);
            if (point->t >= b->dy_begin) {
                const real *row = dy + (t - (size_t)b->dy_begin) * b->dy_step;
                for (size_t j = 0; j < H; j++) w.dh[j] += row[j];
            }
            back_groups(m, &s, &rows);
            sum_dz(m, &s, point->plastic, point->plastic_count, m.coupled);
            sum_dz(m, &s, point->fixed, point->fixed_count, 0);
            for (size_t k = 0; k < I && dx; k++) dx[t * b->dx_step + k] = w.dz_sum[k];
            memset(carried, 0, Hp * sizeof *carried);
            if (b->flags[t] & STEP_RESET) {
                memset(s.dF, 0, matrix_values(L) * sizeof *s.dF);
            } else if (L->recurrent) {
                carry_dh(&s, point->plastic, point->plastic_count, carried);
                carry_dh(&s, point->fixed, point->fixed_count, carried);
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
    else if (usual && pre)
        backward_sweep((mode){.norm = STPN_NORM_PRE, .learned = 1}, L, grad, back, work);
    else if (usual && post && m.all_inputs)
        backward_sweep((mode){.norm = STPN_NORM_POST, .clamp = 1, .all_inputs = 1, .learned = 1}, L, grad, back, work);
    else if (usual && post)
        backward_sweep((mode){.norm = STPN_NORM_POST, .clamp = 1, .learned = 1}, L, grad, back, work);
    else
        backward_sweep(m, L, grad, back, work);
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
