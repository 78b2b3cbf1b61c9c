/* The first half of the backward sweep of an STPN layer: a segment's steps, rebuilt from its checkpoint. All about F is
 * local to a synapse once h, ||G|| and ||W + F^c|| are known, so a column goes through all steps in registers (oja, whose v
 * needs all of F, goes step by step). */
#ifndef STPN_KERNELS_STPN_REBUILD_H
#define STPN_KERNELS_STPN_REBUILD_H

#include "kernels/stpn.h"

/* One live step of a segment. */
typedef struct back_point {
    int t;
    int reset;             // F and h before it are 0
    int blank;             // F before it is 0, so are the recurrent columns' z, and nothing is wanted of before it
    int dense, count;      // which inputs are visited
    const int32_t *list;   // (count)
    const real *x, *h;     // (I), (H) z
    const real *vx, *vh;   // the same of v
    const real *now;       // (Hp) h of the step
    real *inverse, *scale; // (Hp) 1 / n; what a product with F~'s scaled adjoint is multiplied by: n, for norm pre
    real *inverse_post;    // (Hp) 1 / m
    real *product;         // (Hp) h scale
    int extinct;           // norm pre: a neuron has ||G|| = 0
} back_point;

/* One sample of a bundle. */
typedef struct back_sample {
    const stpn_back *back;
    back_point *point; // (segment)
    int live, next;    // live steps of the segment; those that are still to do
    const real *from;  // (panels, K, lanes) F before the first of them, NULL: 0
    real *F;           // F before each of them, history_step apart: (panels, K, bundle, lanes) from this sample's on
    real *rows;        // (4, segment, Hp) of the points
    real *v;           // (segment, Kp) oja's
    /* The points of a pass, out of one and into the one before it, and F before them. */
    const back_point *out, *in;
    real *F_out, *F_in, *dF_out; // dF_out: where the way out leaves dF
    uint32_t *bits;              // active inputs of the step that is rebuilt
    int32_t *lists;              // (segment + 1, I) a new one after each reset
    real *dF;                    // adjoint of F, or that of F^ over n, the same layout; among the histories
    int adjoint_known;           // dF is not 0 everywhere
    int in_done;                 // the step that was done last has done the next one's way in
    int point_is_last;           // the adjoint is that from outside
    uint8_t *clamped;            // (panels, K) of the bundle: the clamp was at work between two points of the segment
    real *dz;                    // (Kp, bundle, WIDTH) from this sample's on: partial sums over neurons of z's adjoint
    real *dv;                    // (Kp, WIDTH) the same of v's, where it is needed on its own, then
    real *dv_sum;                // (Kp) v's adjoint
    real *carried;               // (Hp) adjoint of h that comes from the step after
    real *dh;                    // (Hp) adjoint of h of the step
    real *ds;                    // (Hp) adjoint of u/n + b
    real *to_G;                  // (Hp) s' / n
    real *factor;                // (Hp) c = n' / r
    real *to_h, *dot;            // (Hp) sums of the way in: P' . v, F~bar . F
    real *z_dot;                 // (Hp) norm post: z . F and
    real *G_dot;                 // (Hp) G . F of the way in
    real *post_dot;              // (Hp) F' times its adjoint
    real *post_factor;           // (Hp) m' / r_m
    real *normalised;            // (Hp) layer norm
} back_sample;

typedef struct backward_work {
    back_sample sample[STPN_BUNDLE];
    real *zeros; // (Hp)
    /* For one panel: h, 1 / n and 1 / m of every point, (segment, bundle, 3, lanes); and where v lies, (2, segment, bundle). */
    real *packed;
    const real **v;
    real *dz_sum; // (Kp, bundle) z's adjoint
} backward_work;

/* The histories of a bundle's samples are interleaved, line by line: a pass over columns reads and writes three streams, F
 * before a step and the one before it, and the adjoint, which takes the place of the F that has served. What is at hand at
 * one time must not lie at the same place of a page, where lines meet in the sets of the first-level cache and a load is
 * taken for one of what was stored last: from step to step it moves on by a part of the page that all steps share alike. */
enum { PAGE_LINES = 4096 / PANEL_BYTES, STEP_COLOUR = 20 };

/* Lines from `from` on until `colour` lines into a page. */
INLINE size_t lines_to(size_t from, int colour)
{
    return ((size_t)(PAGE_LINES + colour) - from % PAGE_LINES) % PAGE_LINES;
}

/* From a step's F, (panels, K, bundle, lanes), to the next one's. */
INLINE size_t history_step(const stpn_layer *L)
{
    size_t lines = STPN_BUNDLE * matrix_values(L) / LANES;
    return (lines + lines_to(lines, STEP_COLOUR)) * LANES;
}

/* A sample's lines, from a layout of so many samples to another: its own, or a bundle's. */
INLINE void copy_lines(const stpn_layer *L, const real *from, int from_samples, real *to, int to_samples)
{
    size_t from_step = (size_t)from_samples * LANES, to_step = (size_t)to_samples * LANES;
    for (size_t line = 0; line < matrix_values(L) / LANES; line++)
        memcpy(to + line * to_step, from + line * from_step, LANES * sizeof *to);
}

/* Columns without F are left as they are. */
INLINE void from_bundle(const stpn_layer *L, const real *from, real *to)
{
    for (int p = 0; p < L->panels; p++)
        for (int k = L->plastic_begin; k < L->plastic_end; k++) {
            size_t line = (size_t)p * (size_t)L->columns + (size_t)k;
            memcpy(to + line * LANES, from + line * STPN_BUNDLE * LANES, LANES * sizeof *to);
        }
}

INLINE void clear_bundle(const stpn_layer *L, real *to)
{
    for (size_t line = 0; line < matrix_values(L) / LANES; line++)
        memset(to + line * STPN_BUNDLE * LANES, 0, LANES * sizeof *to);
}

enum { POINT_ROWS = 4, SAMPLE_ROWS = 11, PACKED_ROWS = 3 };

INLINE real *history_at(const stpn_layer *L, const back_sample *s, int i)
{
    return s->F + (size_t)i * history_step(L);
}

/* Values of a row of partial sums: blocks of vectors are folded together from either kind's first column on. */
INLINE size_t partial_values(const stpn_layer *L)
{
    return (padded_columns(L) + LANES) * WIDTH;
}

static size_t backward_sample_bytes(const stpn_layer *L, int segment)
{
    size_t row = rounded(padded_rows(L) * sizeof(real)), S = (size_t)segment, Kp = padded_columns(L);
    return PANEL_BYTES + POINT_ROWS * S * row + rounded(S * sizeof(back_point)) +
           rounded(L->rule == STPN_RULE_OJA ? S * Kp * sizeof(real) : 0) +
           rounded((size_t)signal_words(L) * sizeof(uint32_t)) +
           rounded((S + 1) * (size_t)L->inputs * sizeof(int32_t)) + rounded(partial_values(L) * sizeof(real)) +
           rounded(Kp * sizeof(real)) + SAMPLE_ROWS * row;
}

/* Only norm post with a clamp asks where that was at work. */
INLINE size_t clamped_bytes(const stpn_layer *L)
{
    return L->norm == STPN_NORM_POST && L->clamp > 0 ? (size_t)L->panels * (size_t)L->columns : 0;
}

static size_t backward_bytes(const stpn_layer *L, int segment)
{
    size_t S = (size_t)segment;
    return rounded(S * STPN_BUNDLE * PACKED_ROWS * PANEL_BYTES) + rounded(2 * S * STPN_BUNDLE * sizeof(real *)) +
           rounded(sizeof(backward_work)) + rounded(padded_rows(L) * sizeof(real)) +
           rounded((padded_columns(L) + LANES) * STPN_BUNDLE * sizeof(real)) +
           rounded(STPN_BUNDLE * partial_values(L) * sizeof(real)) + (S + 1) * history_step(L) * sizeof(real) +
           rounded(clamped_bytes(L)) + STPN_BUNDLE * backward_sample_bytes(L, segment);
}

static backward_work *backward_open(const stpn_layer *L, const stpn_back *backs, int count, void *work)
{
    char *at = work;
    size_t row = padded_rows(L) * sizeof(real), S = (size_t)backs[0].segment, Kp = padded_columns(L);
    backward_work *w = carve(&at, sizeof *w);
    w->zeros = carve(&at, row);
    w->dz_sum = carve(&at, (Kp + LANES) * STPN_BUNDLE * sizeof(real));
    real *dz = carve(&at, STPN_BUNDLE * partial_values(L) * sizeof(real));
    real *F = carve(&at, (S + 1) * history_step(L) * sizeof(real));
    w->packed = carve(&at, S * STPN_BUNDLE * PACKED_ROWS * PANEL_BYTES);
    w->v = carve(&at, 2 * S * STPN_BUNDLE * sizeof *w->v);
    uint8_t *clamped = carve(&at, clamped_bytes(L));
    memset(w->zeros, 0, row);
    for (int b = 0; b < count; b++) {
        back_sample *s = &w->sample[b];
        *s = (back_sample){.back = &backs[b], .F = F + b * LANES, .dz = dz + b * WIDTH, .clamped = clamped};
        s->carried = backs[b].dh;
        s->adjoint_known = s->point_is_last = backs[b].wanted;
        s->dF = history_at(L, s, backs[b].segment);
        if (backs[b].wanted) copy_lines(L, backs[b].dF, 1, s->dF, STPN_BUNDLE);
        else clear_bundle(L, s->dF);
        at += PANEL_BYTES; // the rows of samples lie in different lines of a page
        s->rows = carve(&at, POINT_ROWS * S * row);
        s->point = carve(&at, S * sizeof *s->point);
        s->v = carve(&at, L->rule == STPN_RULE_OJA ? S * Kp * sizeof(real) : 0);
        s->bits = carve(&at, (size_t)signal_words(L) * sizeof *s->bits);
        s->lists = carve(&at, (S + 1) * (size_t)L->inputs * sizeof *s->lists);
        s->dv = carve(&at, partial_values(L) * sizeof(real));
        s->dv_sum = carve(&at, Kp * sizeof(real));
        real **const rows[SAMPLE_ROWS] = {&s->dh,    &s->ds,    &s->to_G,     &s->factor,      &s->to_h,      &s->dot,
                                          &s->z_dot, &s->G_dot, &s->post_dot, &s->post_factor, &s->normalised};
        for (int i = 0; i < SAMPLE_ROWS; i++) *rows[i] = carve(&at, row);
        memset(s->post_dot, 0, row);
    }
    return w;
}

/* Points [first, last), between two resets, of one sample or alike of a whole bundle. */
typedef struct rebuild_call {
    const stpn_layer *layer;
    const back_sample *sample;
    int count; // 1 or a bundle
    int first, last;
    real *packed;   // of the first sample
    const real **v; // the same
} rebuild_call;

/* What all columns of a panel need of S samples' points, in the order in which they need it. */
INLINE void pack_points(mode m, int S, const rebuild_call *call, int panel)
{
    const stpn_layer *L = call->layer;
    size_t row = (size_t)panel * LANES, S_all = (size_t)call->sample->back->segment * STPN_BUNDLE;
    for (int t = call->first; t < call->last; t++)
        for (int b = 0; b < S; b++) {
            const back_point *point = &call->sample[b].point[t];
            size_t at = (size_t)t * STPN_BUNDLE + (size_t)b;
            real *to = call->packed + at * PACKED_ROWS * LANES;
            memcpy(to, point->now + row, PANEL_BYTES);
            if (m.norm == STPN_NORM_PRE) memcpy(to + LANES, point->inverse + row, PANEL_BYTES);
            if (m.norm == STPN_NORM_POST) memcpy(to + 2 * LANES, point->inverse_post + row, PANEL_BYTES);
            call->v[at] = point->vx;
            call->v[S_all + at] = point->vh - L->inputs;
        }
}

enum {
/* Columns and vectors of neurons that go through the steps together: as many as registers hold, and whole lines. */
#if defined(KERNEL_ISA_AVX512)
    REBUILD_COLUMNS = 4,
    REBUILD_VECTORS = 1
#elif defined(KERNEL_ISA_NEON)
    REBUILD_COLUMNS = 2,
    REBUILD_VECTORS = 2
#else
    REBUILD_COLUMNS = 1,
    REBUILD_VECTORS = 2
#endif
};

/* F of `columns` columns of `vectors` vectors from vector n and column k on, before points `first` to last - 1, in S
 * samples. `watched`: the mode leaves out the layer's clamp; returns whether it would have been at work. */
INLINE int rebuild_columns(mode m, int S, int columns, int vectors, const rebuild_call *call, int n, int recurrent,
                           int k, int first, int known, int watched)
{
    const stpn_layer *L = call->layer;
    const back_sample *s = call->sample;
    vec F[REBUILD_COLUMNS][REBUILD_VECTORS][STPN_BUNDLE];
    vec lambda[REBUILD_COLUMNS][REBUILD_VECTORS], gamma[REBUILD_COLUMNS][REBUILD_VECTORS];
    size_t from = column_place(L, 1, n, k), to_at = column_place(L, STPN_BUNDLE, n, k);
#pragma GCC unroll 4
    for (int i = 0; i < vectors; i++) {
        group g = group_at(m, L, n + i);
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++) {
            size_t at = from + (size_t)c * LANES + (size_t)i * WIDTH;
            lambda[c][i] = rate_at(m, L->lambda, g.lambda, at);
            gamma[c][i] = rate_at(m, L->gamma, g.gamma, at);
#pragma GCC unroll 4
            for (int b = 0; b < S; b++) F[c][i][b] = known && s[b].from ? load(s[b].from + at) : splat(0);
        }
    }
    vec largest = splat(0);
    size_t lane = (size_t)(n % VECTORS) * WIDTH;
    const real *const *all_v = call->v + (recurrent ? (size_t)s->back->segment * STPN_BUNDLE : 0);
    for (int t = first; t < call->last; t++) {
        real *to = history_at(L, s, t) + to_at;
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++)
#pragma GCC unroll 4
            for (int b = 0; b < S; b++)
#pragma GCC unroll 4
                for (int i = 0; i < vectors; i++)
                    store(to + (size_t)(c * STPN_BUNDLE + b) * LANES + (size_t)i * WIDTH, F[c][i][b]);
        if (t + 1 == call->last) break;
#pragma GCC unroll 4
        for (int b = 0; b < S; b++) {
            const real *v = all_v[t * STPN_BUNDLE + b] + k;
#pragma GCC unroll 4
            for (int i = 0; i < vectors; i++) {
                const real *rows =
                    call->packed + ((size_t)t * STPN_BUNDLE + (size_t)b) * PACKED_ROWS * LANES + lane + i * WIDTH;
                vec now = load(rows), inverse = splat(0), inverse_post = splat(1);
                if (m.norm == STPN_NORM_PRE) inverse = load(rows + LANES);
                if (m.norm == STPN_NORM_POST) inverse_post = load(rows + 2 * LANES);
#pragma GCC unroll 4
                for (int c = 0; c < columns; c++) {
                    vec product = splat(v[c]) * now;
                    vec raw = updated(m, F[c][i][b], inverse, product, lambda[c][i], gamma[c][i]);
                    if (watched) largest = larger_size(raw, largest);
                    F[c][i][b] = after_update(m, L, raw, inverse_post);
                }
            }
        }
    }
    return watched && any_bit(largest > splat((real)L->clamp));
}

/* Norm post begins without the clamp, which is rarely at work. */
INLINE void rebuild_vectors(mode m, int S, int columns, int vectors, const rebuild_call *call, int n, int recurrent,
                            int k, int first, int known)
{
    mode without = m;
    int watched = m.clamp && m.norm == STPN_NORM_POST;
    if (watched) without.clamp = 0;
    if (!rebuild_columns(without, S, columns, vectors, call, n, recurrent, k, first, known, watched)) return;
    (void)rebuild_columns(m, S, columns, vectors, call, n, recurrent, k, first, known, 0);
    memset(call->sample->clamped + (size_t)(n / VECTORS) * (size_t)call->layer->columns + (size_t)k, 1,
           (size_t)columns);
}

/* The same in every vector of a panel. */
INLINE void rebuild_block(mode m, int S, int columns, const rebuild_call *call, int panel, int recurrent, int k,
                          int first, int known)
{
    int n = panel * VECTORS, end = smaller((panel + 1) * VECTORS, group_count(call->layer));
    for (; n + REBUILD_VECTORS <= end; n += REBUILD_VECTORS)
        rebuild_vectors(m, S, columns, REBUILD_VECTORS, call, n, recurrent, k, first, known);
    for (; n < end; n++) rebuild_vectors(m, S, columns, 1, call, n, recurrent, k, first, known);
}

INLINE void rebuild_range(mode m, int S, const rebuild_call *call, int panel, int recurrent)
{
    column_part part = part_at(call->layer, recurrent);
    int k = part.begin;
    for (; k + REBUILD_COLUMNS <= part.end; k += REBUILD_COLUMNS)
        rebuild_block(m, S, REBUILD_COLUMNS, call, panel, recurrent, k, call->first, 1);
    for (; k < part.end; k++) rebuild_block(m, S, 1, call, panel, recurrent, k, call->first, 1);
}

/* The inputs of a sample's list, each from where it became active; 0 at the point before, into which the way back goes. */
INLINE void rebuild_list(mode m, const rebuild_call *call, int panel)
{
    const back_point *point = call->sample->point, *end = &point[call->last - 1];
    int known = point[call->first].count;
    for (int e = 0, start = call->first; e < end->count; e++) {
        while (point[start].count <= e) start++;
        rebuild_block(m, 1, 1, call, panel, 0, end->list[e], start > call->first ? start - 1 : start, e < known);
    }
}

INLINE void rebuild_samples(mode m, int S, const rebuild_call *call)
{
    const stpn_layer *L = call->layer;
    int inputs = part_at(L, 0).plastic, recurrent = L->recurrent && part_at(L, 1).plastic, all_dense = 1;
    for (int s = 0; s < S; s++) all_dense = all_dense && call->sample[s].point[call->last - 1].dense;
    for (int panel = 0; panel < L->panels; panel++) {
        pack_points(m, S, call, panel);
        if (inputs && all_dense) rebuild_range(m, S, call, panel, 0);
        for (int s = 0; s < S && inputs && !all_dense; s++) {
            rebuild_call one = {
                L, call->sample + s, 1, call->first, call->last, call->packed + s * PACKED_ROWS * LANES, call->v + s};
            if (one.sample->point[call->last - 1].dense) rebuild_range(m, 1, &one, panel, 0);
            else rebuild_list(m, &one, panel);
        }
        if (recurrent) rebuild_range(m, S, call, panel, 1);
    }
}

/* The loops of one mode. */
INLINE void rebuild_loops(mode m, const rebuild_call *call)
{
    if (call->count == STPN_BUNDLE) rebuild_samples(m, STPN_BUNDLE, call);
    else rebuild_samples(m, 1, call);
}

static void rebuild_pre(const rebuild_call *call)
{
    rebuild_loops(MODE_PRE, call);
}

static void rebuild_pre_shared(const rebuild_call *call)
{
    rebuild_loops(MODE_PRE_SHARED, call);
}

static void rebuild_post(const rebuild_call *call)
{
    rebuild_loops(MODE_POST, call);
}

static void rebuild_post_shared(const rebuild_call *call)
{
    rebuild_loops(MODE_POST_SHARED, call);
}

static void rebuild_output(const rebuild_call *call)
{
    rebuild_loops(MODE_OUTPUT, call);
}

static void rebuild_output_shared(const rebuild_call *call)
{
    rebuild_loops(MODE_OUTPUT_SHARED, call);
}

static void rebuild_none(const rebuild_call *call)
{
    rebuild_loops(MODE_NONE, call);
}

/* One sample, with all questions asked in the loop: what is rare. */
static void rebuild_any(mode m, const rebuild_call *call)
{
    rebuild_samples(m, 1, call);
}

static void rebuild_run(mode m, const rebuild_call *call)
{
    static void (*const loops[LOOP_KINDS])(const rebuild_call *) = {
        [LOOPS_PRE] = rebuild_pre,       [LOOPS_PRE_SHARED] = rebuild_pre_shared,
        [LOOPS_POST] = rebuild_post,     [LOOPS_POST_SHARED] = rebuild_post_shared,
        [LOOPS_OUTPUT] = rebuild_output, [LOOPS_OUTPUT_SHARED] = rebuild_output_shared,
        [LOOPS_NONE] = rebuild_none,
    };
    if (m.loops == LOOPS_ANY) rebuild_any(m, call);
    else loops[m.loops](call);
}

/* F of all points of a sample, from reset to reset. */
static void rebuild_sample(mode m, const stpn_layer *L, const backward_work *w, back_sample *s)
{
    for (int first = 0, last; first < s->live; first = last) {
        last = first + 1;
        while (last < s->live && !s->point[last].reset) last++;
        rebuild_run(m, &(rebuild_call){L, s, 1, first, last, w->packed, w->v});
        s->from = NULL;
    }
}

/* F of all points of a bundle. */
static void rebuild_all(mode m, const stpn_layer *L, backward_work *w, int count)
{
    int alike = count == STPN_BUNDLE && m.loops != LOOPS_ANY, live = w->sample[0].live;
    for (int b = 0; b < count; b++) {
        alike = alike && w->sample[b].live == live;
        for (int i = 1; i < live && alike; i++) alike = !w->sample[b].point[i].reset;
    }
    if (alike && live) rebuild_run(m, &(rebuild_call){L, w->sample, STPN_BUNDLE, 0, live, w->packed, w->v});
    for (int b = 0; b < count && !alike; b++) rebuild_sample(m, L, w, &w->sample[b]);
}

/* The rows of a point, once its h and norms are known. */
static void point_rows(mode m, const stpn_layer *L, back_point *point, const stpn_back *b)
{
    size_t Hp = padded_rows(L), row = (size_t)point->t * Hp;
    const real *mask = L->mask;
    point->extinct = 0;
    for (int n = 0; n < group_count(L) && m.norm != STPN_NORM_NONE; n++) {
        size_t at = (size_t)n * WIDTH;
        vec norm = load((const real *)b->norm + row + at), now = load(point->now + at);
        store(point->inverse + at, inverse_norm(norm));
        if (m.norm == STPN_NORM_POST)
            store(point->inverse_post + at, inverse_norm(load((const real *)b->post + row + at)));
        if (m.norm != STPN_NORM_PRE) continue;
        ivec is_zero = norm == splat(0);
        vec scale = choose(is_zero, splat(1), norm + splat(NORM_EPSILON));
        store(point->scale + at, scale);
        store(point->product + at, now * scale);
        point->extinct |= any_bit(is_zero & (load(mask + at) != splat(0)));
    }
}

/* What the way back reads of the tape and of the gradient from above comes from far: it is asked for early. */
INLINE void fetch_rows(const stpn_layer *L, const back_point *point, const stpn_back *b)
{
    const real *drive = (const real *)b->drive + (size_t)point->t * padded_rows(L);
    for (size_t j = 0; j < padded_rows(L); j += LANES) __builtin_prefetch(drive + j, 0, 2);
    if (point->t < b->dy_begin) return;
    const real *dy = (const real *)b->dy + (size_t)(point->t - b->dy_begin) * b->dy_step;
    for (int j = 0; j < L->hidden + LANES - 1; j += LANES) __builtin_prefetch(dy + smaller(j, L->hidden - 1), 0, 2);
}

/* F' of column k after a point, from F before it. */
INLINE vec after_point(mode m, const stpn_layer *L, const back_point *point, group g, int k, vec F)
{
    size_t at = g.matrix + (size_t)k * LANES;
    real v = k < L->inputs ? point->vx[k] : point->vh[k - L->inputs];
    vec inverse = m.norm == STPN_NORM_PRE ? load(point->inverse + g.row) : splat(0);
    vec inverse_post = m.norm == STPN_NORM_POST ? load(point->inverse_post + g.row) : splat(1);
    F = updated(m, F, inverse, splat(v) * load(point->now + g.row), rate_at(m, L->lambda, g.lambda, at),
                rate_at(m, L->gamma, g.gamma, at));
    return after_update(m, L, F, inverse_post);
}

/* Oja's v needs all of F: before point i, from that of the point before. */
static void rebuild_next(mode m, const stpn_layer *L, const back_sample *s, int i)
{
    int fresh = i == 0 || s->point[i].reset;
    for (int n = 0; n < group_count(L); n++) {
        group g = group_at(m, L, n);
        for (int k = L->plastic_begin; k < L->plastic_end; k++) {
            size_t place = column_place(L, STPN_BUNDLE, n, k);
            vec F = splat(0);
            if (i == 0 && s->from) F = load(s->from + g.matrix + (size_t)k * LANES);
            if (!fresh) F = after_point(m, L, &s->point[i - 1], g, k, load(history_at(L, s, i - 1) + place));
            store(history_at(L, s, i) + place, F);
        }
    }
}

/* z, v, active inputs and rows of every live step of a segment; for oja F as well. */
static void open_segment(mode m, const stpn_layer *L, const backward_work *w, back_sample *s, int segment)
{
    const stpn_back *b = s->back;
    size_t Hp = padded_rows(L), Kp = padded_columns(L);
    int begin = segment * b->segment, end = smaller(begin + b->segment, b->steps), oja = L->rule == STPN_RULE_OJA;
    const real *x = b->x, *out = b->out;
    const signals saved = signals_at(L, (const real *)b->checkpoint_active + (size_t)segment * signals_values(L));
    int32_t used = *saved.used, dense = *saved.dense, count = *saved.count;
    signals active = {&used, &dense, &count, s->bits, s->lists};
    memcpy(active.bits, saved.bits, (size_t)signal_words(L) * sizeof *active.bits);
    memcpy(active.list, saved.list, (size_t)count * sizeof *active.list);
    const real *first = (const real *)b->checkpoints + (size_t)segment * matrix_values(L);
    int live = 0;
    s->from = used ? first : NULL;
    for (int t = begin; t < end; t++) {
        if (!(b->flags[t] & STEP_LIVE)) continue;
        int i = live++;
        back_point *point = &s->point[i];
        *point = (back_point){.t = t, .reset = (b->flags[t] & STEP_RESET) != 0};
        if (point->reset) {
            if (i == 0) s->from = NULL;
            used = dense = count = 0;
            memset(active.bits, 0, (size_t)signal_words(L) * sizeof *active.bits);
            active.list += L->inputs;
        }
        real *rows = s->rows + (size_t)i * Hp;
        size_t all = (size_t)b->segment * Hp;
        point->x = point->vx = x + (size_t)t * b->x_step;
        point->h = point->vh = point->reset ? w->zeros : out + (size_t)t * Hp;
        point->now = out + (size_t)(t + 1) * Hp;
        point->inverse = rows;
        point->inverse_post = rows + all;
        point->scale = rows + 2 * all;
        point->product = rows + 3 * all;
        if (m.norm != STPN_NORM_PRE) point->product = (real *)(uintptr_t)point->now;
        if (L->current) point->vh = point->now;
        point_rows(m, L, point, b);
        fetch_rows(L, point, b);
        signals_add(L, &active, point->x);
        if (b->dense) dense = 1;
        point->blank = !used && !b->dense;
        for (int j = 0; j < L->hidden && L->recurrent && point->blank; j++) point->blank = point->h[j] == 0;
        used = 1;
        point->dense = dense;
        point->count = count;
        point->list = active.list;
        if (!oja) continue;
        rebuild_next(m, L, s, i);
        real *v = s->v + (size_t)i * Kp;
        oja_presynaptic(L, history_at(L, s, i), STPN_BUNDLE, point->now, point->x, point->vh, v);
        point->vx = v;
        point->vh = v + L->inputs;
    }
    s->live = s->next = live;
}

#endif
