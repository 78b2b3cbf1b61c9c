/* The backward sweep of an STPN layer over one sample: F is rebuilt from its checkpoints, segment by segment, then the
 * adjoints run back through it (the gradient of docs/mathematics.md, whose names the variables carry).
 *
 * W's gradient has the form sum_t (s' z / n + c F) + (sum_t c) W with one c per neuron and step: the last term needs W
 * once for a whole chunk of samples (`scale`, stpn_finish), and makes columns without a signal free. */
#ifndef STPN_KERNELS_STPN_BACKWARD_H
#define STPN_KERNELS_STPN_BACKWARD_H

#include "kernels/stpn_forward.h"

typedef struct backward_work {
    const real *first; // (panels, K, lanes) F before the segment's first live step
    real *F;           // (segment, panels, K, lanes) rebuilt, from the segment's second live step on
    real *z, *v;       // (segment, K)
    int32_t *k;        // (segment, K + 1) column lists
    columns *list;     // (segment)
    int *step;         // (segment) index of each live step
    real_bits *active; // (K)
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
    return S * rounded(matrix_values(L) * sizeof(real)) + 2 * rounded(S * K * sizeof(real)) +
           rounded(S * (K + 1) * sizeof(int32_t)) + rounded(S * sizeof(columns)) + rounded(S * sizeof(int)) +
           3 * rounded(K * sizeof(real)) + 2 * rounded(K * WIDTH * sizeof(real)) + 4 * row;
}

static backward_work backward_carve(const stpn_layer *L, int segment, void *work)
{
    char *at = work;
    size_t row = padded_rows(L) * sizeof(real), K = (size_t)L->columns, S = (size_t)segment;
    backward_work w;
    w.F = carve(&at, S * matrix_values(L) * sizeof(real));
    w.z = carve(&at, S * K * sizeof(real));
    w.v = carve(&at, S * K * sizeof(real));
    w.k = carve(&at, S * (K + 1) * sizeof(int32_t));
    w.list = carve(&at, S * sizeof(columns));
    w.step = carve(&at, S * sizeof(int));
    w.active = carve(&at, K * sizeof(real_bits));
    w.dz_sum = carve(&at, K * sizeof(real));
    w.dv_sum = carve(&at, K * sizeof(real));
    w.dz = carve(&at, K * WIDTH * sizeof(real));
    w.dv = carve(&at, K * WIDTH * sizeof(real));
    w.dh = carve(&at, row);
    w.ds = carve(&at, row);
    w.dot = carve(&at, row);
    w.normalised = carve(&at, row);
    return w;
}

/* F before live step `i` of the segment. */
INLINE const real *segment_F(const stpn_layer *L, const backward_work *w, int i)
{
    return i == 0 ? w->first : w->F + (size_t)(i - 1) * matrix_values(L);
}

INLINE void clear_columns(const stpn_layer *L, real *F, const columns *list, const columns *except)
{
    int next = except ? except->plastic_begin : 0;
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
        if (except && next < except->plastic_end && except->k[next] == k) {
            next++;
            continue;
        }
        for (int p = 0; p < L->panels; p++)
            memset(F + ((size_t)p * (size_t)L->columns + (size_t)k) * LANES, 0, LANES * sizeof *F);
    }
}

/* One step of one group: `to` = F' of `from`. */
INLINE void rebuild_group(mode m, const stpn_layer *L, group g, const columns *list, const real *v, vec now, vec norm,
                          vec post, const real *from, real *to)
{
    vec inverse = inverse_norm(norm), bound = splat((real)L->clamp);
    vec inverse_post = m.norm == STPN_NORM_POST ? inverse_norm(post) : splat(1);
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
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

/* z, column lists, v and F of every live step of a segment; returns the number of live steps. */
INLINE int rebuild_segment(mode m, const stpn_layer *L, const stpn_back *b, backward_work *w, int segment)
{
    size_t K = (size_t)L->columns, I = (size_t)L->inputs, H = (size_t)L->hidden, Hp = padded_rows(L);
    int begin = segment * b->segment, end = begin + b->segment < b->steps ? begin + b->segment : b->steps, count = 0;
    const real *x = b->x, *out = b->out;
    w->first = (const real *)b->checkpoints + (size_t)segment * matrix_values(L);
    memcpy(w->active, (const real_bits *)b->checkpoint_active + (size_t)segment * K, K * sizeof *w->active);
    for (int t = begin; t < end; t++) {
        if (!(b->flags[t] & STEP_LIVE)) continue;
        int i = count++, reset = b->flags[t] & STEP_RESET, fresh = i == 0;
        real *z = w->z + (size_t)i * K, *v = w->v + (size_t)i * K;
        w->step[i] = t;
        memcpy(z, x + (size_t)t * b->x_step, I * sizeof *z);
        if (L->recurrent && reset) memset(z + I, 0, H * sizeof *z);
        if (L->recurrent && !reset) memcpy(z + I, out + (size_t)t * Hp, H * sizeof *z);
        if (reset && t > begin) {
            memset(w->active, 0, K * sizeof *w->active);
            fresh = 1;
        }
        /* Steps that were not live came first: the checkpoint is older than the reset, and the last slot is free. */
        if (reset && i == 0 && t > begin) {
            real *zero = w->F + (size_t)(b->segment - 1) * matrix_values(L);
            memset(zero, 0, matrix_values(L) * sizeof *zero);
            w->first = zero;
        }
        fresh |= mark_active((int)K, z, w->active);
        if (b->dense) memset(w->active, -1, K * sizeof *w->active);
        /* The adjoint of the h before goes through these columns even where that h is 0. */
        if (L->recurrent && (L->current || (t > 0 && !reset))) fresh |= mark_recurrent(L, w->active);
        if (fresh) {
            w->list[i].k = w->k + (size_t)i * (K + 1);
            list_columns(L, w->active, &w->list[i]);
        } else {
            w->list[i] = w->list[i - 1];
        }
        if (i > 0 && reset)
            clear_columns(L, w->F + (size_t)(i - 1) * matrix_values(L), &w->list[i], NULL);
        else if (i > 0 && fresh)
            clear_columns(L, w->F + (size_t)(i - 1) * matrix_values(L), &w->list[i], &w->list[i - 1]);
        memcpy(v, z, K * sizeof *v);
        if (L->current) memcpy(v + I, out + (size_t)(t + 1) * Hp, H * sizeof *v);
        /* Oja's product couples the rows: v needs all of F, so all groups go on together. */
        if (L->rule == STPN_RULE_OJA) {
            if (i > 0 && !reset)
                for (int n = 0; n < group_count(L); n++) {
                    group g = group_at(m, L, n);
                    size_t row = (size_t)w->step[i - 1] * Hp + g.row;
                    rebuild_group(m, L, g, &w->list[i - 1], v - K, load(out + row + Hp), row_or_zero(b->norm, row),
                                  row_or_zero(b->post, row), segment_F(L, w, i - 1),
                                  w->F + (size_t)(i - 1) * matrix_values(L));
                }
            oja_presynaptic(L, &w->list[i], segment_F(L, w, i), out + (size_t)(t + 1) * Hp, v, v);
        }
    }
    if (L->rule == STPN_RULE_OJA) return count;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at(m, L, n);
        for (int i = 0; i + 1 < count; i++) {
            if (b->flags[w->step[i + 1]] & STEP_RESET) continue;
            size_t row = (size_t)w->step[i] * Hp + g.row;
            rebuild_group(m, L, g, &w->list[i], w->v + (size_t)i * K, load(out + row + Hp), row_or_zero(b->norm, row),
                          row_or_zero(b->post, row), segment_F(L, w, i),
                          w->F + (size_t)i * matrix_values(L));
        }
    }
    return count;
}

/* What one step of one group works on. */
typedef struct back_step {
    const stpn_layer *layer;
    const stpn_layer_grad *grad;
    const backward_work *work;
    const columns *list;
    const real *F, *z, *v; // of the step
    real *dF;              // (panels, K, lanes) adjoint of F', then of F
    int all_inputs;        // dz of the inputs is wanted
    int coupled;           // v's adjoint is needed before any row's s'
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
    const columns *list = s->list;
    const real *weight = L->weight;
    vec bound = splat((real)L->clamp), inverse_post = splat(1), factor = splat(0);
    if (m.norm == STPN_NORM_POST) {
        vec dot = splat(0);
        for (int i = list->plastic_begin; i < list->plastic_end; i++) {
            int k = list->k[i];
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
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
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
    const columns *list = s->list;
    real *dlambda = s->grad->lambda, *dgamma = s->grad->gamma;
    vec shared_lambda = splat(0), shared_gamma = splat(0), to_h = splat(0), to_n = splat(0);
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec lambda = rate_at(m, L->lambda, g.lambda, at), gamma = rate_at(m, L->gamma, g.gamma, at);
        vec F = load(s->F + at), adjoint = load(s->dF + at), v = splat(s->v[k]);
        vec old = decayed(m, F, inverse), product = v * now;
        vec to_old = adjoint * lambda, to_product, for_lambda, for_gamma;
        if (m.prompt) {
            to_product = to_old * gamma;
            for_lambda = adjoint * fma_(gamma, product, old);
            for_gamma = to_old * product;
        } else {
            to_product = adjoint * gamma;
            for_lambda = adjoint * old;
            for_gamma = adjoint * product;
        }
        if (m.shared) {
            shared_lambda += for_lambda;
            shared_gamma += for_gamma;
        } else if (dlambda) {
            add_to(dlambda + at, for_lambda);
            add_to(dgamma + at, for_gamma);
        }
        to_h = fma_(to_product, v, to_h);
        if (m.norm == STPN_NORM_PRE) to_n = fma_(to_old, F, to_n);
        if (s->coupled) {
            real *dv = s->work->dv + (size_t)k * WIDTH;
            store(dv, g.row == 0 ? to_product * now : fma_(to_product, now, load(dv)));
        }
    }
    if (m.shared && dlambda) {
        size_t at = L->granularity == STPN_GRANULARITY_NEURON ? g.row : g.row % LANES;
        add_to(dlambda + at, shared_lambda);
        add_to(dgamma + at, shared_gamma);
    }
    *drive = to_h;
    *dot = to_n;
}

/* From s': the gradient of W, the adjoint of F in place of that of F^, and z's. */
INLINE void back_drive(mode m, const back_step *s, group g, vec ds, vec now, vec inverse, vec factor)
{
    const stpn_layer *L = s->layer;
    const columns *list = s->list;
    const real *weight = L->weight;
    real *dweight = s->grad->weight, *dz = s->work->dz;
    vec to_G = m.norm == STPN_NORM_NONE ? ds : ds * inverse;
    for (int i = 0; i < list->count; i++) {
        int k = list->k[i];
        size_t at = g.matrix + (size_t)k * LANES;
        vec z = splat(s->z[k]), W = load(weight + at), G = W, along = to_G * z, to_z;
        if (i >= list->plastic_begin && i < list->plastic_end) {
            vec F = load(s->F + at), adjoint = load(s->dF + at);
            G = W + F;
            vec to_old = adjoint * rate_at(m, L->lambda, g.lambda, at);
            to_z = to_G * G;
            if (!s->coupled) {
                vec gamma = rate_at(m, L->gamma, g.gamma, at);
                to_z = fma_((m.prompt ? to_old : adjoint) * gamma, now, to_z);
            }
            add_to(dweight + at, m.norm == STPN_NORM_NONE ? along : fma_(factor, F, along));
            vec through = m.norm == STPN_NORM_NONE ? along : fma_(factor, G, along);
            store(s->dF + at, m.norm == STPN_NORM_PRE ? fma_(to_old, inverse, through) : to_old + through);
        } else {
            to_z = to_G * G;
            add_to(dweight + at, along);
        }
        if (s->all_inputs || k >= L->inputs) {
            real *sums = dz + (size_t)k * WIDTH;
            store(sums, g.row == 0 ? to_z : load(sums) + to_z);
        }
    }
}

/* Adjoint of u/n + b from that of h, for all neurons. */
INLINE void back_activation(const back_step *s, const real *drive, const real *h)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    const real *bias = L->bias, *gain = L->ln_weight, *mask = L->mask;
    real *dbias = s->grad->bias, *dgain = s->grad->ln_weight, *doffset = s->grad->ln_bias;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec y = load(h + row);
        vec slope = L->activation == STPN_ACTIVATION_TANH ? splat(1) - y * y : y - y * y;
        store(w->ds + row, load(w->dh + row) * slope);
    }
    if (L->layer_norm) {
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
    if (!dbias) return;
    for (int n = 0; n < group_count(L); n++) add_to(dbias + n * WIDTH, load(w->ds + n * WIDTH));
}

/* Adds lanes up: (K, WIDTH) to (K) for the listed columns from `begin` on. */
INLINE void sum_columns(const columns *list, int begin, const real *partial, real *total)
{
    for (int i = 0; i < list->count; i++)
        if (list->k[i] >= begin) total[list->k[i]] = sum(load(partial + (size_t)list->k[i] * WIDTH));
}

/* v's adjoint, once all rows have given theirs: to z, to h of the step, and for oja to F. */
INLINE void back_coupling(const back_step *s)
{
    const stpn_layer *L = s->layer;
    const backward_work *w = s->work;
    const columns *list = s->list;
    int oja = L->rule == STPN_RULE_OJA;
    memset(w->dv_sum, 0, (size_t)L->columns * sizeof *w->dv_sum);
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
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
        for (int i = list->plastic_begin; i < list->plastic_end; i++) {
            int k = list->k[i];
            dh = fma_(splat(-w->dv_sum[k]), load(s->F + g.matrix + (size_t)k * LANES), dh);
        }
        store(w->dh + g.row, dh);
    }
}

/* The part of F's adjoint that comes through oja's v: - h_m v'_k. */
INLINE void back_oja_F(const back_step *s, group g, vec now)
{
    for (int i = s->list->plastic_begin; i < s->list->plastic_end; i++) {
        int k = s->list->k[i];
        real *dF = s->dF + g.matrix + (size_t)k * LANES;
        store(dF, fma_(now, splat(-s->work->dv_sum[k]), load(dF)));
    }
}

INLINE void backward_sweep(mode m, const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *b, void *work)
{
    backward_work w = backward_carve(L, b->segment, work);
    size_t K = (size_t)L->columns, I = (size_t)L->inputs, H = (size_t)L->hidden, Hp = padded_rows(L);
    const real *out = b->out, *dy = b->dy;
    real *carried = b->dh, *dx = b->dx, *scale = grad->scale;
    int groups = group_count(L), undo = m.clamp || m.norm == STPN_NORM_POST;
    if (dx)
        for (int t = 0; t < b->steps; t++) memset(dx + (size_t)t * b->dx_step, 0, I * sizeof *dx);
    back_step s = {.layer = L,
                   .grad = grad,
                   .work = &w,
                   .dF = b->dF,
                   .all_inputs = dx != NULL,
                   .coupled = L->rule == STPN_RULE_OJA || L->current};
    for (int segment = (b->steps - 1) / b->segment; segment >= 0 && b->steps > 0; segment--) {
        int count = rebuild_segment(m, L, b, &w, segment);
        for (int i = count - 1; i >= 0; i--) {
            int t = w.step[i];
            const real *h = out + (size_t)(t + 1) * Hp, *drive = (const real *)b->drive + (size_t)t * Hp;
            s.list = &w.list[i];
            s.F = segment_F(L, &w, i);
            s.z = w.z + (size_t)i * K;
            s.v = w.v + (size_t)i * K;
            memcpy(w.dh, carried, Hp * sizeof *w.dh);
            if (t >= b->dy_begin) {
                const real *row = dy + (size_t)(t - b->dy_begin) * b->dy_step;
                for (size_t j = 0; j < H; j++) w.dh[j] += row[j];
            }
            /* Up to s': rows by themselves where nothing couples them, then at once on to the rest of the row. */
            for (int n = 0; n < groups; n++) {
                group g = group_at(m, L, n);
                vec now = load(h + g.row), norm = row_or_zero(b->norm, (size_t)t * Hp + g.row);
                vec inverse = inverse_norm(norm), to_h, to_n;
                if (undo) {
                    vec factor =
                        undo_post_and_clamp(m, &s, g, now, inverse, row_or_zero(b->post, (size_t)t * Hp + g.row));
                    if (m.norm == STPN_NORM_POST) add_to(scale + g.row, factor);
                }
                back_product(m, &s, g, now, inverse, &to_h, &to_n);
                store(w.dh + g.row, load(w.dh + g.row) + to_h);
                store(w.dot + g.row, to_n);
            }
            if (s.coupled) back_coupling(&s);
            back_activation(&s, drive, h);
            for (int n = 0; n < groups; n++) {
                group g = group_at(m, L, n);
                vec now = load(h + g.row), norm = row_or_zero(b->norm, (size_t)t * Hp + g.row);
                vec inverse = inverse_norm(norm), ds = load(w.ds + g.row), factor = splat(0);
                if (m.norm != STPN_NORM_NONE) {
                    /* c = n' / r with n' = -(s' u + F~bar . F) / n^2 */
                    ivec is_zero = norm == splat(0);
                    vec dn = -fma_(load(w.dot + g.row), inverse, ds * load(drive + g.row)) * inverse;
                    factor = choose(is_zero, splat(0), dn / choose(is_zero, splat(1), norm));
                    add_to(scale + g.row, factor);
                }
                back_drive(m, &s, g, ds, now, inverse, factor);
                if (L->rule == STPN_RULE_OJA) back_oja_F(&s, g, now);
            }
            /* z' = sum over neurons, and v's share where it was kept apart. */
            if (s.coupled) {
                for (int c = 0; c < s.list->count; c++) {
                    int k = s.list->k[c];
                    int plastic = c >= s.list->plastic_begin && c < s.list->plastic_end;
                    if (s.all_inputs || k >= L->inputs)
                        w.dz_sum[k] = (plastic ? w.dz_sum[k] : 0) + sum(load(w.dz + (size_t)k * WIDTH));
                }
            } else {
                sum_columns(s.list, s.all_inputs ? 0 : L->inputs, w.dz, w.dz_sum);
            }
            if (dx) memcpy(dx + (size_t)t * b->dx_step, w.dz_sum, I * sizeof *dx);
            memset(carried, 0, Hp * sizeof *carried);
            if (b->flags[t] & STEP_RESET) {
                memset(s.dF, 0, matrix_values(L) * sizeof *s.dF);
            } else if (L->recurrent) {
                for (int c = s.list->count - 1; c >= 0 && s.list->k[c] >= L->inputs; c--)
                    carried[s.list->k[c] - L->inputs] = w.dz_sum[s.list->k[c]];
            }
        }
    }
}

static void stpn_backward_sweep(const stpn_layer *L, const stpn_layer_grad *grad, const stpn_back *back, void *work)
{
    mode m = layer_mode(L);
    if (m.norm == STPN_NORM_PRE && !m.clamp && !m.prompt && !m.shared)
        backward_sweep((mode){STPN_NORM_PRE, 0, 0, 0}, L, grad, back, work);
    else if (m.norm == STPN_NORM_POST && m.clamp && !m.prompt && !m.shared)
        backward_sweep((mode){STPN_NORM_POST, 1, 0, 0}, L, grad, back, work);
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
