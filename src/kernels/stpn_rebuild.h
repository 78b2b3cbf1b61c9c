/* The first half of the backward sweep of an STPN layer: a segment's steps, rebuilt from its checkpoint. All about F is
 * local to a row once h, ||G|| and ||W + F^c|| are known, so no sums are needed (oja's v excepted). */
#ifndef STPN_KERNELS_STPN_REBUILD_H
#define STPN_KERNELS_STPN_REBUILD_H

#include "kernels/stpn.h"

/* One live step of a segment. */
typedef struct back_point {
    int t;
    const int32_t *plastic, *fixed; // active columns with and without F
    int plastic_count, fixed_count;
} back_point;

typedef struct backward_work {
    const real *first; // (panels, K, lanes) F before the segment's first live step: its checkpoint
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
    real *ds;          // (Hp) adjoint of u/n + b
    real *to_h, *dot;  // (Hp) sums of the way in: P' . v, F~bar . F
    real *post_dot;    // (Hp) F' times its adjoint
    real *normalised;  // (Hp) layer norm
} backward_work;

static size_t backward_bytes(const stpn_layer *L, int segment)
{
    size_t row = padded_rows(L) * sizeof(real), K = (size_t)L->columns, S = (size_t)segment;
    size_t columns_row = padded_columns(L) * sizeof(real);
    return S * (matrix_values(L) * sizeof(real) + 2 * columns_row + row) + rounded(S * sizeof(back_point)) +
           rounded(S * K * sizeof(int32_t)) + 3 * columns_row + 2 * rounded(K * WIDTH * sizeof(real)) + 6 * row;
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
    w.to_h = carve(&at, row);
    w.dot = carve(&at, row);
    w.post_dot = carve(&at, row);
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
    const columns saved =
        columns_at(L, (real_bits *)(uintptr_t)b->checkpoint_active + (size_t)segment * columns_values(L));
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

#endif
