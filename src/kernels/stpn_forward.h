/* The forward sweep of an STPN layer over one sample. The update of F after step t is fused with the sums of step t + 1:
 * F is read and written once a step. */
#ifndef STPN_KERNELS_STPN_FORWARD_H
#define STPN_KERNELS_STPN_FORWARD_H

#include "kernels/layer_norm.h"
#include "kernels/stpn.h"

typedef struct forward_work {
    real *z, *z_next, *v;              // (K) presynaptic now, of the next step, of a pending update
    real *inactive;                    // (Hp) sum of W^2 over inactive columns
    real *inactive_before;             // (Hp) the same at the step whose update is pending
    int count_before[2];               // active columns at that step
    real *squares, *drive, *potential; // (Hp) ||G||^2, G . z, before the activation
    real *norm, *inverse, *post;       // (Hp) ||G||, 1 / n of the latest step; ||W + F^c||
    columns active;                    // of the state
} forward_work;

static size_t forward_bytes(const stpn_layer *L)
{
    size_t row = padded_rows(L) * sizeof(real), columns_bytes = padded_columns(L) * sizeof(real);
    return 3 * columns_bytes + 8 * row;
}

static forward_work forward_carve(const stpn_layer *L, void *active, void *work)
{
    char *at = work;
    size_t row = padded_rows(L) * sizeof(real), columns_bytes = padded_columns(L) * sizeof(real);
    forward_work w = {.count_before = {0, 0}};
    w.z = carve(&at, columns_bytes);
    w.z_next = carve(&at, columns_bytes);
    w.v = carve(&at, columns_bytes);
    w.inactive = carve(&at, row);
    w.inactive_before = carve(&at, row);
    w.squares = carve(&at, row);
    w.drive = carve(&at, row);
    w.potential = carve(&at, row);
    w.norm = carve(&at, row);
    w.inverse = carve(&at, row);
    w.post = carve(&at, row);
    w.active = columns_at(L, active);
    /* The padding behind z stays 0: it is read as a signal. */
    memset(w.z, 0, columns_bytes);
    memset(w.z_next, 0, columns_bytes);
    return w;
}

/* For the neurons of one group: F' from F (`update`), then G . z and ||G||^2 with it (`dot`), in one pass over the
 * listed columns; norm post needs ||W + F^c|| first and takes two. */
INLINE void forward_group(mode m, int update, int dot, const stpn_layer *L, group g, const forward_work *w, real *F,
                          const real *v, const real *z, const real *h)
{
    const real *weight = (const real *)L->weight + g.matrix;
    const int32_t *plastic = w->active.k, *fixed = w->active.k + L->columns - w->active.count[1];
    int plastic_count = w->active.count[0], fixed_count = w->active.count[1];
    F += g.matrix;
    vec drive = splat(0), squares = load(w->inactive + g.row);
    vec now = splat(0), inverse = splat(0), bound = splat((real)L->clamp), inverse_post = splat(1);
    if (update) {
        now = load(h + g.row);
        inverse = load(w->inverse + g.row);
    }
    if (update && m.norm == STPN_NORM_POST) {
        /* Over the columns of the pending step: the same sum, whether the next step is known yet or not. */
        vec total = load(w->inactive_before + g.row);
        for (int i = fixed_count - w->count_before[1]; i < fixed_count; i++) {
            vec G = load(weight + (size_t)fixed[i] * LANES);
            total = fma_(G, G, total);
        }
        for (int i = 0; i < w->count_before[0]; i++) {
            int k = plastic[i];
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
    for (int i = 0; i < plastic_count; i++) {
        int k = plastic[i];
        size_t at = (size_t)k * LANES;
        vec next = load(F + at);
        if (update && m.norm == STPN_NORM_POST) {
            next = next * inverse_post;
            store(F + at, next);
        } else if (update) {
            next =
                updated(m, decayed(m, next, inverse), splat(v[k]) * now, rate_at(m, L->lambda, g.lambda, g.matrix + at),
                        rate_at(m, L->gamma, g.gamma, g.matrix + at));
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
        for (int i = 0; i < fixed_count; i++) {
            vec G = load(weight + (size_t)fixed[i] * LANES);
            drive = fma_(G, splat(z[fixed[i]]), drive);
            squares = fma_(G, G, squares);
        }
        store(w->drive + g.row, drive);
        store(w->squares + g.row, squares);
    }
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
        (void)layer_norm(L->hidden, mask, w->potential);
        for (int n = 0; n < group_count(L); n++) {
            size_t row = (size_t)n * WIDTH;
            store(w->potential + row, layer_norm_affine(w->potential, gain, offset, row));
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
        for (int k = 0; k < L->columns; k++) {
            if (z[k] == 0) continue;
            size_t at = (size_t)k * LANES;
            row = fma_(splat(z[k] * z[k]), absolute(load(weight + at) + load(F + g.matrix + at)), row);
        }
        if (L->norm != STPN_NORM_NONE) row *= load(w->inverse + g.row);
        total += row;
    }
    return sum(total);
}

/* F of the active columns, and which they are. */
INLINE void save_checkpoint(const stpn_layer *L, const stpn_sweep *s, const columns *active, int segment)
{
    real *to = (real *)s->checkpoints + (size_t)segment * matrix_values(L);
    const real *from = s->F;
    memcpy((real *)s->checkpoint_active + (size_t)segment * columns_values(L), active->mask,
           columns_values(L) * sizeof *to);
    if (2 * active->count[0] > L->columns) {
        memcpy(to, from, matrix_values(L) * sizeof *to);
        return;
    }
    for (int p = 0; p < L->panels; p++)
        for (int i = 0; i < active->count[0]; i++) {
            size_t at = ((size_t)p * (size_t)L->columns + (size_t)active->k[i]) * LANES;
            memcpy(to + at, from + at, LANES * sizeof *to);
        }
}

INLINE void forward_sweep(mode m, const stpn_layer *L, const stpn_sweep *s, void *work)
{
    forward_work w = forward_carve(L, s->active, work);
    size_t I = (size_t)L->inputs, Hp = padded_rows(L), H = (size_t)L->hidden;
    int groups = group_count(L), oja = L->rule == STPN_RULE_OJA;
    real *F = s->F, *h = s->h, *out = s->out, *energy = s->energy;
    const real *x = s->x;
    const real *pending = NULL; // v of the update that is still to do
    int pending_step = 0, summed = 0;
    for (int t = 0; t < s->steps; t++) {
        int live = s->flags[t] & STEP_LIVE;
        if (live && (s->flags[t] & STEP_RESET)) {
            memset(F, 0, matrix_values(L) * sizeof *F);
            memset(h, 0, Hp * sizeof *h);
            columns_clear(L, &w.active);
            /* The update that falls away leaves no norm behind. */
            if (pending && s->post) memset((real *)s->post + (size_t)pending_step * Hp, 0, Hp * sizeof *h);
            pending = NULL;
            summed = 0;
        }
        if (live) {
            memcpy(w.z_next, x + (size_t)t * s->x_step, I * sizeof *x);
            if (L->recurrent) memcpy(w.z_next + I, h, H * sizeof *h);
            int fresh = columns_add_signal(L, &w.active, w.z_next);
            if (L->current) fresh |= columns_add_range(L, &w.active, (int)I, L->columns);
            if (L->norm != STPN_NORM_NONE && (fresh || !summed)) sum_inactive(L, &w.active, w.inactive);
            summed = 1;
        }
        for (int n = 0; n < groups; n++) {
            group g = group_at(m, L, n);
            if (live && pending) forward_group(m, 1, 1, L, g, &w, F, pending, w.z_next, h);
            else if (live) forward_group(m, 0, 1, L, g, &w, F, NULL, w.z_next, h);
            else if (pending) forward_group(m, 1, 0, L, g, &w, F, pending, NULL, h);
        }
        if (s->post && pending) memcpy((real *)s->post + (size_t)pending_step * Hp, w.post, Hp * sizeof *h);
        pending = NULL;
        int index = s->begin + t;
        if (s->checkpoints && index % s->segment == 0) save_checkpoint(L, s, &w.active, index / s->segment);
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
                oja_presynaptic(L, w.active.k, w.active.count[0], F, h, w.z, w.v);
                pending = w.v;
            }
            pending_step = t;
            if (m.norm == STPN_NORM_POST) {
                memcpy(w.inactive_before, w.inactive, Hp * sizeof *h);
                memcpy(w.count_before, w.active.count, sizeof w.count_before);
            }
        }
        memcpy(out + (size_t)t * Hp, h, Hp * sizeof *h);
    }
    if (!pending) return;
    for (int n = 0; n < groups; n++) forward_group(m, 1, 0, L, group_at(m, L, n), &w, F, pending, NULL, h);
    if (s->post) memcpy((real *)s->post + (size_t)pending_step * Hp, w.post, Hp * sizeof *h);
}

/* The options of the paper's experiments get loops of their own. */
static void stpn_forward_sweep(const stpn_layer *L, const stpn_sweep *sweep, void *work)
{
    mode m = layer_mode(L);
    if (m.norm == STPN_NORM_PRE && !m.clamp && !m.prompt && !m.shared)
        forward_sweep((mode){.norm = STPN_NORM_PRE}, L, sweep, work);
    else if (m.norm == STPN_NORM_POST && m.clamp && !m.prompt && !m.shared)
        forward_sweep((mode){.norm = STPN_NORM_POST, .clamp = 1}, L, sweep, work);
    else forward_sweep(m, L, sweep, work);
}

#endif
