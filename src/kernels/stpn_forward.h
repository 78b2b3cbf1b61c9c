/* The forward sweep of an STPN layer over one sample. The update of F after step t is fused with the sums of step t + 1:
 * F is read and written once a step. */
#ifndef STPN_KERNELS_STPN_FORWARD_H
#define STPN_KERNELS_STPN_FORWARD_H

#include "kernels/stpn.h"

typedef struct forward_work {
    real *z, *z_next, *v;           // (K) presynaptic now, of the next step, of a pending update
    real *unlisted;                 // (Hp) sum of W^2 over columns off the list
    real *squares, *drive, *potential; // (Hp) ||G||^2, G . z, before the activation
    real *norm, *inverse, *post;    // (Hp) ||G||, 1 / n of the latest step; ||W + F^c||
    columns list;
} forward_work;

static size_t forward_bytes(const stpn_layer *L)
{
    size_t row = padded_rows(L) * sizeof(real), columns_bytes = rounded((size_t)L->columns * sizeof(real));
    return 3 * columns_bytes + 7 * row + rounded((size_t)(L->columns + 1) * sizeof(int32_t));
}

static forward_work forward_carve(const stpn_layer *L, void *work)
{
    char *at = work;
    size_t row = padded_rows(L) * sizeof(real), columns_bytes = (size_t)L->columns * sizeof(real);
    forward_work w;
    w.z = carve(&at, columns_bytes);
    w.z_next = carve(&at, columns_bytes);
    w.v = carve(&at, columns_bytes);
    w.unlisted = carve(&at, row);
    w.squares = carve(&at, row);
    w.drive = carve(&at, row);
    w.potential = carve(&at, row);
    w.norm = carve(&at, row);
    w.inverse = carve(&at, row);
    w.post = carve(&at, row);
    w.list.k = carve(&at, (size_t)(L->columns + 1) * sizeof(int32_t));
    return w;
}

/* For the neurons of one group: F' from F (`update`), then G . z and ||G||^2 with it (`dot`), in one pass over the
 * listed columns; norm post needs ||W + F^c|| first and takes two. */
INLINE void forward_group(mode m, int update, int dot, const stpn_layer *L, group g, const forward_work *w, real *F,
                          const real *v, const real *z, const real *h)
{
    const real *weight = (const real *)L->weight + g.matrix;
    const columns *list = &w->list;
    F += g.matrix;
    vec unlisted = load(w->unlisted + g.row);
    vec drive = splat(0), squares = unlisted;
    vec now = splat(0), inverse = splat(0), bound = splat((real)L->clamp), inverse_post = splat(1);
    if (update) {
        now = load(h + g.row);
        inverse = load(w->inverse + g.row);
    }
    if (dot)
        for (int i = 0; i < list->plastic_begin; i++) {
            size_t at = (size_t)list->k[i] * LANES;
            vec G = load(weight + at);
            drive = fma_(G, splat(z[list->k[i]]), drive);
            squares = fma_(G, G, squares);
        }
    if (update && m.norm == STPN_NORM_POST) {
        vec total = unlisted;
        for (int i = 0; i < list->plastic_begin; i++) {
            vec G = load(weight + (size_t)list->k[i] * LANES);
            total = fma_(G, G, total);
        }
        for (int i = list->plastic_end; i < list->count; i++) {
            vec G = load(weight + (size_t)list->k[i] * LANES);
            total = fma_(G, G, total);
        }
        for (int i = list->plastic_begin; i < list->plastic_end; i++) {
            int k = list->k[i];
            size_t at = (size_t)k * LANES;
            vec next = updated(m, load(F + at), splat(v[k]) * now, rate_at(m, L->lambda, g.lambda, g.matrix + at),
                               rate_at(m, L->gamma, g.gamma, g.matrix + at));
            if (m.clamp) next = bounded(next, bound);
            store(F + at, next);
            vec G = load(weight + at) + next;
            total = fma_(G, G, total);
        }
        total = root(total);
        store(w->post + g.row, total);
        inverse_post = inverse_norm(total);
    }
    for (int i = list->plastic_begin; i < list->plastic_end; i++) {
        int k = list->k[i];
        size_t at = (size_t)k * LANES;
        vec next = load(F + at);
        if (update && m.norm == STPN_NORM_POST) {
            next = next * inverse_post;
            store(F + at, next);
        } else if (update) {
            next = updated(m, decayed(m, next, inverse), splat(v[k]) * now,
                           rate_at(m, L->lambda, g.lambda, g.matrix + at), rate_at(m, L->gamma, g.gamma, g.matrix + at));
            if (m.clamp) next = bounded(next, bound);
            store(F + at, next);
        }
        if (dot) {
            vec G = load(weight + at) + next;
            drive = fma_(G, splat(z[k]), drive);
            squares = fma_(G, G, squares);
        }
    }
    if (dot) {
        for (int i = list->plastic_end; i < list->count; i++) {
            size_t at = (size_t)list->k[i] * LANES;
            vec G = load(weight + at);
            drive = fma_(G, splat(z[list->k[i]]), drive);
            squares = fma_(G, G, squares);
        }
        store(w->drive + g.row, drive);
        store(w->squares + g.row, squares);
    }
}

/* Biased variance, eps 1e-5 (spec of layer norm in PyTorch). Writes the normalised values over `values` and returns
 * 1 / standard deviation. */
INLINE real normalise_layer(const stpn_layer *L, real *values)
{
    const real *mask = L->mask;
    vec total = splat(0);
    for (int n = 0; n < group_count(L); n++) total += load(values + n * WIDTH);
    vec mean = splat(sum(total) / (real)L->hidden);
    total = splat(0);
    for (int n = 0; n < group_count(L); n++) {
        vec centred = (load(values + n * WIDTH) - mean) * load(mask + n * WIDTH);
        store(values + n * WIDTH, centred);
        total = fma_(centred, centred, total);
    }
    real scale = 1 / (real)sqrt(sum(total) / (real)L->hidden + (real)1e-5);
    for (int n = 0; n < group_count(L); n++) store(values + n * WIDTH, load(values + n * WIDTH) * splat(scale));
    return scale;
}

/* h from the sums; leaves ||G||, 1 / n and G . z / n in the work space. */
INLINE void activate(const stpn_layer *L, const forward_work *w, real *h)
{
    const real *bias = L->bias, *gain = L->ln_weight, *offset = L->ln_bias, *mask = L->mask;
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec drive = load(w->drive + row);
        if (L->norm != STPN_NORM_NONE) {
            vec norm = root(load(w->squares + row));
            vec inverse = inverse_norm(norm);
            store(w->norm + row, norm);
            store(w->inverse + row, inverse);
            drive *= inverse;
        }
        store(w->drive + row, drive);
        if (bias) drive += load(bias + row);
        store(w->potential + row, drive);
    }
    if (L->layer_norm) {
        normalise_layer(L, w->potential);
        for (int n = 0; n < group_count(L); n++) {
            size_t row = (size_t)n * WIDTH;
            store(w->potential + row, fma_(load(w->potential + row), load(gain + row), load(offset + row)));
        }
    }
    for (int n = 0; n < group_count(L); n++) {
        size_t row = (size_t)n * WIDTH;
        vec s = load(w->potential + row);
        vec y = L->activation == STPN_ACTIVATION_TANH ? tanh_(s) : sigmoid_(s) * load(mask + row);
        store(h + row, y);
    }
}

/* sum_jk z_k^2 |G_jk| / n_j of the step (docs/mathematics.md, energy). */
INLINE real step_energy(const stpn_layer *L, const forward_work *w, const real *F, const real *z)
{
    vec total = splat(0);
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at((mode){.shared = 0}, L, n);
        const real *weight = (const real *)L->weight + g.matrix;
        vec row = splat(0);
        for (int i = 0; i < w->list.count; i++) {
            int k = w->list.k[i];
            size_t at = (size_t)k * LANES;
            row = fma_(splat(z[k] * z[k]), absolute(load(weight + at) + load(F + g.matrix + at)), row);
        }
        if (L->norm != STPN_NORM_NONE) row *= load(w->inverse + g.row);
        total += row;
    }
    return sum(total);
}

INLINE void forward_sweep(mode m, const stpn_layer *L, const stpn_sweep *s, void *work)
{
    forward_work w = forward_carve(L, work);
    size_t K = (size_t)L->columns, I = (size_t)L->inputs, Hp = padded_rows(L), H = (size_t)L->hidden;
    int groups = group_count(L), oja = L->rule == STPN_RULE_OJA;
    real *F = s->F, *h = s->h, *out = s->out, *energy = s->energy;
    real_bits *active = s->active;
    const real *x = s->x;
    const real *pending = NULL; // v of the update that is still to do
    int pending_step = 0, listed = 0;
    for (int t = 0; t < s->steps; t++) {
        int live = s->flags[t] & STEP_LIVE;
        if (live && (s->flags[t] & STEP_RESET)) {
            memset(F, 0, matrix_values(L) * sizeof *F);
            memset(h, 0, Hp * sizeof *h);
            memset(active, 0, K * sizeof *active);
            pending = NULL;
            listed = 0;
        }
        if (live) {
            memcpy(w.z_next, x + (size_t)t * s->x_step, I * sizeof *x);
            if (L->recurrent) memcpy(w.z_next + I, h, H * sizeof *h);
            int fresh = mark_active((int)K, w.z_next, active);
            if (L->current) fresh |= mark_recurrent(L, active);
            if (fresh || !listed) {
                list_columns(L, active, &w.list);
                if (L->norm != STPN_NORM_NONE) sum_unlisted(L, &w.list, w.unlisted);
                listed = 1;
            }
        }
        for (int n = 0; n < groups; n++) {
            group g = group_at(m, L, n);
            if (live && pending)
                forward_group(m, 1, 1, L, g, &w, F, pending, w.z_next, h);
            else if (live)
                forward_group(m, 0, 1, L, g, &w, F, NULL, w.z_next, h);
            else if (pending)
                forward_group(m, 1, 0, L, g, &w, F, pending, NULL, h);
        }
        if (s->post && pending) memcpy((real *)s->post + (size_t)pending_step * Hp, w.post, Hp * sizeof *h);
        pending = NULL;
        int index = s->begin + t;
        if (s->checkpoints && index % s->segment == 0) {
            size_t segment = (size_t)(index / s->segment);
            memcpy((real *)s->checkpoints + segment * matrix_values(L), F, matrix_values(L) * sizeof *F);
            memcpy((real_bits *)s->checkpoint_active + segment * K, active, K * sizeof *active);
        }
        if (live) {
            activate(L, &w, h);
            if (energy) energy[t] += step_energy(L, &w, F, w.z_next);
            if (s->norm) memcpy((real *)s->norm + (size_t)t * Hp, w.norm, Hp * sizeof *h);
            if (s->drive) memcpy((real *)s->drive + (size_t)t * Hp, w.drive, Hp * sizeof *h);
            real *swap = w.z;
            w.z = w.z_next;
            w.z_next = swap;
            if (L->current) memcpy(w.z + I, h, H * sizeof *h);
            pending = w.z;
            if (oja) {
                oja_presynaptic(L, &w.list, F, h, w.z, w.v);
                pending = w.v;
            }
            pending_step = t;
        }
        memcpy(out + (size_t)t * Hp, h, Hp * sizeof *h);
    }
    if (!pending) return;
    for (int n = 0; n < groups; n++)
        forward_group(m, 1, 0, L, group_at(m, L, n), &w, F, pending, NULL, h);
    if (s->post) memcpy((real *)s->post + (size_t)pending_step * Hp, w.post, Hp * sizeof *h);
}

/* The options of the paper's experiments get loops of their own. */
static void stpn_forward_sweep(const stpn_layer *L, const stpn_sweep *sweep, void *work)
{
    mode m = layer_mode(L);
    if (m.norm == STPN_NORM_PRE && !m.clamp && !m.prompt && !m.shared)
        forward_sweep((mode){STPN_NORM_PRE, 0, 0, 0}, L, sweep, work);
    else if (m.norm == STPN_NORM_POST && m.clamp && !m.prompt && !m.shared)
        forward_sweep((mode){STPN_NORM_POST, 1, 0, 0}, L, sweep, work);
    else
        forward_sweep(m, L, sweep, work);
}

#endif
