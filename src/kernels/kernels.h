/* The table of inner loops: one per instruction set and real type, chosen when a net is made.
 *
 * Neurons lie along the lanes of a vector. They are cut into panels of 64 bytes (16 floats or 8 doubles); a matrix over
 * synapses is stored as (panels, K, lanes), so that one column of a panel is one cache line and sums over k need no
 * horizontal additions. Lanes past H hold zeros. */
#ifndef STPN_KERNELS_KERNELS_H
#define STPN_KERNELS_KERNELS_H

#include <stdint.h>
#include <stpn/stpn.h>

enum { PANEL_BYTES = 64 };

/* One STPN layer as a kernel sees it: sizes, options, and pointers into a parameter block. `real` arrays. */
typedef struct stpn_layer {
    int inputs, hidden, columns; // I, H, K
    int panels;                  // ceil(H / lanes)
    int recurrent;               // 1: z = [x ; h], 0: z = x
    int plastic_begin, plastic_end;
    stpn_norm norm;
    stpn_rule rule;
    stpn_decay decay;
    stpn_activation activation;
    stpn_granularity granularity; // a held rate counts as scalar
    int current;                  // presynaptic current
    int layer_norm;
    double clamp;          // 0: none
    const void *weight;    // (panels, K, lanes)
    const void *bias;      // (Hp) or NULL
    const void *lambda;    // (panels, K, lanes), (Hp) or (1)
    const void *gamma;     // the same
    const void *ln_weight; // (Hp)
    const void *ln_bias;   // (Hp)
    const void *mask;      // (Hp) 1 for a neuron, 0 for padding
} stpn_layer;

/* Where a layer's gradient is added. NULL: not learned. With scalar rates `lambda` and `gamma` have one partial sum per
 * lane, which stpn_finish folds into the first. */
typedef struct stpn_layer_grad {
    void *weight, *bias, *lambda, *gamma, *ln_weight, *ln_bias;
    /* (Hp) Sums over steps of what multiplies W in its own gradient, for columns that the sweeps leave out: of inputs, of
     * neurons. stpn_finish applies them. */
    void *input_scale, *recurrent_scale;
} stpn_layer_grad;

enum { STEP_LIVE = 1, STEP_RESET = 2 };

/* Samples that an STPN layer's sweeps take side by side. */
enum { STPN_BUNDLE = 4 };

/* One sample over consecutive steps. Rows of Hp values are padded and aligned; `active` (stpn_active_values) says which
 * inputs have carried a signal since the last reset: F of any other input's column is exactly 0. */
typedef struct stpn_sweep {
    int steps;            // T
    int begin;            // index of the first step on the tape
    const uint8_t *flags; // (T) STEP_LIVE, STEP_RESET
    const void *x;        // (T, I), rows x_step values apart
    size_t x_step;
    void *out;    // (T, Hp) outputs; a step that is not live repeats the state's h
    void *energy; // (T) added to, or NULL
    void *F;      // (panels, K, lanes) state, in and out
    void *h;      // (Hp) state, in and out
    void *active; // state, in and out; all zeros after a reset
    /* State, in and out (stpn_pending_values): the last update of F, where it is left to the sample's next sweep; all zeros
     * where none is. That sweep makes it in one go over F with its first step. */
    void *pending;
    /* Tape, or NULL; rows are those of steps begin, begin + 1, ... */
    void *norm;              // (T, Hp) ||G_j||
    void *drive;             // (T, Hp) G_j . z / n_j
    void *post;              // (T, Hp) ||W + F^c||, norm = post only
    void *checkpoints;       // (segments of the whole tape, panels, K, lanes)
    void *checkpoint_active; // (segments of the whole tape, stpn_active_values)
    int segment;             // steps between checkpoints
    int leave;               // the last update of F is left to the next sweep
} stpn_sweep;

/* The same sample backwards over all its recorded steps. */
typedef struct stpn_back {
    int steps;            // T
    int segment;          // steps between checkpoints
    const uint8_t *flags; // (T)
    const void *x;        // (T, I)
    size_t x_step;
    const void *out; // (T + 1, Hp): row t is h before step t
    const void *norm, *drive, *post;
    const void *checkpoints, *checkpoint_active;
    const void *dy; // (T - dy_begin, H), rows dy_step values apart; earlier steps have none
    size_t dy_step;
    void *dx; // (T, I) written, rows dx_step values apart, or NULL
    size_t dx_step;
    void *dF; // (panels, K, lanes) where wanted, in: adjoint of the final F; out: of the first
    void *dh; // (Hp) in: the same for h, 0 where not wanted
    int dy_begin;
    int wanted; // the adjoint of the final state comes in, that of the first is wanted
    int dense;  // that or dx is wanted: every column is visited, also those that never carried a signal
} stpn_back;

/* Rows of values: row r begins at (r / inner) outer_step + (r % inner) inner_step, so that the steps of several samples
 * are one list of rows. */
typedef struct row_list {
    void *values;
    int rows, inner;
    size_t outer_step, inner_step;
} row_list;

/* A matrix of `columns` columns inside (panels, K, lanes): column c of panel p begins at p panel_step + c lanes. */
typedef struct panel_matrix {
    void *values;
    int panels, columns;
    size_t panel_step;
} panel_matrix;

/* A layer with Hebbian traces (kernels/trace.h): plastic, modplast (modulated), modul (modulated and retroactive). */
typedef struct trace_layer {
    int hidden, panels; // H, ceil(H / lanes)
    stpn_trace rule;
    stpn_modulation modulation;
    int modulated, retroactive;
    const void *w, *alpha;  // (panels, H, lanes)
    const void *eta;        // (1) or NULL
    const void *weight_mod; // (Hp) or NULL
    const void *bias_mod;   // (1) or NULL
} trace_layer;

/* Where its gradient is added; that of w and of the inputs' weights follows from ds. `eta` has one partial sum per lane,
 * which `fold` brings together. */
typedef struct trace_grad {
    void *alpha, *eta, *weight_mod, *bias_mod;
} trace_grad;

/* One sample over consecutive steps. */
typedef struct trace_sweep {
    int steps;            // T
    int begin;            // index of the first step on the tape
    const uint8_t *flags; // (T) STEP_LIVE, STEP_RESET
    void *out;            // (T, Hp) in: Wi x + bi; out: h, where a step is not live that of the state
    void *energy;         // (T) the recurrent part is added to, or NULL
    void *E, *T, *h;      // state, in and out; T where retroactive
    void *checkpoints;    // (segments of the whole tape, E and T) or NULL
    int segment;          // steps between checkpoints
} trace_sweep;

/* One segment of one sample, backwards. */
typedef struct trace_back {
    int steps;   // of this segment
    int segment; // the most steps that one has
    const uint8_t *flags;
    const void *out;        // (steps + 1, Hp): row t is h before step t
    const void *checkpoint; // E and T before the first step
    const void *dy;         // (H) a row, rows dy_step values apart, the first of step dy_begin; earlier ones have none
    size_t dy_step;
    int dy_begin;
    void *dE, *dT, *dh; // in: adjoints of the state after the segment; out: before it
    int ends, starts;   // nothing comes in after the segment: dE, dT, dh are 0; nothing is wanted of before it
    void *ds;           // (steps, Hp) out: adjoint of Wi x + bi; 0 where a step is not live
    void *z;            // (steps, Hp) out: h before each step, 0 after a reset
} trace_back;

/* HebbFF (kernels/hebbff.h). */
typedef struct hebbff_layer {
    int inputs, hidden, panels;         // I, H, ceil(H / lanes)
    const void *weight;                 // (panels, I, lanes), for the energy
    const void *lambda_logit, *eta_log; // (1)
    const void *mask;                   // (Hp) 1 for a neuron, 0 for padding
} hebbff_layer;

/* One partial sum per lane, which `fold` brings together. */
typedef struct hebbff_grad {
    void *lambda_logit, *eta_log;
} hebbff_grad;

/* One sample over consecutive steps. */
typedef struct hebbff_sweep {
    int steps, begin;
    const uint8_t *flags; // (T)
    const void *x;        // (T, I), rows x_step values apart
    size_t x_step;
    void *out;         // (T, Hp) in: W x + b; out: h, 0 where a step is not live
    void *energy;      // (T) added to, or NULL
    void *A;           // (panels, I, lanes) state, in and out
    void *checkpoints; // (segments of the whole tape, panels, I, lanes) or NULL
    int segment;
} hebbff_sweep;

/* One segment of one sample, backwards. */
typedef struct hebbff_back {
    int steps, segment; // of this segment; the most that one has
    const uint8_t *flags;
    const void *x; // (steps, I)
    size_t x_step;
    const void *out; // (steps + 1, Hp): row t + 1 is h of step t
    const void *checkpoint;
    const void *dy; // as in trace_back
    size_t dy_step;
    int dy_begin;
    void *dA;         // in: adjoint of A after the segment; out: before it
    int ends, starts; // as in trace_back
    void *ds;         // (steps, Hp) out: adjoint of W x + b; 0 where a step is not live
    void *dx;         // (steps, I) out for live steps: the part of x's adjoint that goes through A, or NULL
    size_t dx_step;
} hebbff_back;

/* Fast weights (kernels/fast_weights.h). */
typedef struct fast_layer {
    int hidden, panels, inner_steps; // H, ceil(H / lanes), S
    double lambda, eta;
    const void *weight; // columns of h: column c of panel p at p weight_step + c lanes
    size_t weight_step;
    const void *ln_weight, *ln_bias; // (Hp)
    const void *mask;                // (Hp) 1 for a neuron, 0 for padding
} fast_layer;

typedef struct fast_grad {
    void *ln_weight, *ln_bias;
} fast_grad;

/* One sample over consecutive steps. */
typedef struct fast_sweep {
    int steps, begin;
    const uint8_t *flags; // (T)
    void *out;            // (T, Hp) in: Wx x + b; out: h, where a step is not live that of the state
    void *energy;         // (T) all but x's part is added to, or NULL
    const void *sizes;    // (H) sums over the rows of |Wh|, for the energy
    void *A, *h;          // state, in and out
    void *tape;           // (whole tape, fast_step_values) or NULL
    void *checkpoints;    // (segments of the whole tape, panels, H, lanes) or NULL
    int segment;
} fast_sweep;

/* One segment of one sample, backwards. */
typedef struct fast_back {
    int steps, segment; // of this segment; the most that one has
    const uint8_t *flags;
    const void *out;        // (steps + 1, Hp): row t is h before step t
    const void *tape;       // (steps, fast_step_values)
    const void *checkpoint; // A before the first step
    const void *transposed; // (panels, Hp, lanes) of Wh
    const void *dy;         // as in trace_back
    size_t dy_step;
    int dy_begin;
    void *dA, *dh; // in: adjoints of the state after the segment; out: before it
    void *ds;      // (steps, Hp) out: adjoint of p; 0 where a step is not live
    void *z;       // (steps, Hp) out: h before each step, 0 after a reset
} fast_back;

/* One kernel. Every function works on values of type `real`. */
typedef struct kernel_table {
    const char *name;
    stpn_real real;
    size_t size; // of a value
    int lanes;   // of a panel

    /* Bytes of work space that the two sweeps need; segments of up to `segment` steps. */
    size_t (*stpn_forward_bytes)(const stpn_layer *layer);
    size_t (*stpn_backward_bytes)(const stpn_layer *layer, int segment);
    /* Values that `active` takes; and how all inputs become active, for an F from outside. */
    size_t (*stpn_active_values)(const stpn_layer *layer);
    size_t (*stpn_pending_values)(const stpn_layer *layer);
    void (*stpn_activate_all)(const stpn_layer *layer, void *active);
    /* Up to STPN_BUNDLE samples. What comes out for one does not depend on the others, but for the gradient's order of
     * additions. */
    void (*stpn_forward)(const stpn_layer *layer, const stpn_sweep *sweeps, int count, void *work);
    void (*stpn_backward)(const stpn_layer *layer, const stpn_layer_grad *grad, const stpn_back *backs, int count,
                          void *work);
    void (*stpn_finish)(const stpn_layer *layer, const stpn_layer_grad *grad);

    /* out (rows, panels lanes) = bias (panels lanes) + a (rows, columns) w^T, or, where bias is NULL, is added to. Each row's
     * sum has one order, whatever rows stand beside it. */
    void (*product)(const row_list *a, const panel_matrix *w, const void *bias, const row_list *out);
    /* dw += d^T a, and dbias += sums over the rows of d (NULL: not wanted); d (rows, panels lanes), a (rows, columns). */
    void (*product_gradient)(const row_list *d, const row_list *a, const panel_matrix *dw, void *dbias);
    /* out (ceil(columns / lanes), panels lanes, lanes) = w transposed, zeros beyond the last column: product(d, out) is d w. */
    void (*transpose)(const panel_matrix *w, void *out);

    /* ---- cells of one sample, rows of `count` = Hp neurons (kernels/cells.h); a tape may be NULL */
    void (*tanh_forward)(size_t count, const void *p, void *h);
    void (*tanh_backward)(size_t count, const void *h, const void *dh, void *d);
    void (*lstm_forward)(size_t count, const void *gates, void *c, void *h, void *tape);
    void (*lstm_backward)(size_t count, const void *tape, const void *c_before, const void *dh, void *dc, void *d);
    void (*gru_forward)(size_t count, const void *inputs, const void *recurrent, void *h, void *tape);
    void (*gru_backward)(size_t count, const void *tape, const void *h_before, void *dh, void *d);
    /* to += from, any count and place. */
    void (*accumulate)(size_t count, void *to, const void *from);
    /* sizes (columns) = sums of |w| over the rows; energy += sum of z^2 sizes. */
    void (*absolute_sums)(const panel_matrix *w, void *sizes);
    void (*add_energy)(size_t count, const void *z, const void *sizes, void *energy);

    /* ---- matrices that are a state (kernels/trace.h, kernels/hebbff.h, kernels/fast_weights.h) */
    size_t (*trace_forward_bytes)(const trace_layer *layer);
    size_t (*trace_backward_bytes)(const trace_layer *layer, int segment);
    void (*trace_forward)(const trace_layer *layer, const trace_sweep *sweep, void *work);
    void (*trace_backward)(const trace_layer *layer, const trace_grad *grad, const trace_back *back, void *work);
    size_t (*hebbff_forward_bytes)(const hebbff_layer *layer);
    size_t (*hebbff_backward_bytes)(const hebbff_layer *layer, int segment);
    void (*hebbff_forward)(const hebbff_layer *layer, const hebbff_sweep *sweep, void *work);
    void (*hebbff_backward)(const hebbff_layer *layer, const hebbff_grad *grad, const hebbff_back *back, void *work);
    size_t (*fast_step_values)(const fast_layer *layer);
    size_t (*fast_forward_bytes)(const fast_layer *layer);
    size_t (*fast_backward_bytes)(const fast_layer *layer, int segment);
    void (*fast_forward)(const fast_layer *layer, const fast_sweep *sweep, void *work);
    void (*fast_backward)(const fast_layer *layer, const fast_grad *grad, const fast_back *back, void *work);
    /* The sum of a panel's lanes goes to its first value, 0 to the others. */
    void (*fold)(void *lanes);

    /* ---- the rest */
    /* out (count) from values of an input type. */
    void (*convert)(size_t count, stpn_input type, const void *x, void *out);
    /* out (rows, n) = y (rows, k; y_step apart) w^T (n, k) + b (n). */
    void (*linear_forward)(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *b,
                           void *out);
    /* dw += dout^T y, db += dout (both NULL: not wanted); dy (rows, k; dy_step apart) = dout w, or NULL. */
    void (*linear_backward)(int rows, int n, int k, const void *y, size_t y_step, const void *w, const void *dout,
                            void *dw, void *db, void *dy, size_t dy_step);
    /* values = (values - offset) scale; values = max(0, values); dout = 0 where out is not above 0. */
    void (*shift_scale)(size_t count, void *values, double offset, double scale);
    void (*relu_forward)(size_t count, void *values);
    void (*relu_backward)(size_t count, const void *out, void *dout);
    /* losses (rows), dlogits (rows, classes) times scale, answers (rows), the first of the largest logits: may be NULL. */
    void (*cross_entropy)(int rows, int classes, const void *logits, const int32_t *labels, double scale, void *losses,
                          void *dlogits, int32_t *answers);
    void (*add)(size_t count, void *sum, const void *term);
    double (*sum_squares)(size_t count, const void *values);
    void (*scale)(size_t count, void *values, double factor);
    void (*limit)(size_t count, void *values, double bound);
    /* One AdamW update; c1 = 1 - beta1^t, c2 = 1 - beta2^t. */
    void (*adam)(size_t count, void *p, const void *g, void *m, void *v, double rate, double decay, double beta1,
                 double beta2, double epsilon, double c1, double c2);
} kernel_table;

/* Kernel `index` of a type in order of preference among those this processor can run; NULL past the last. */
const kernel_table *kernel_at(stpn_real real, int index);
/* The kernel that STPN_KERNEL names, or the best one. */
stpn_status kernel_choose(const kernel_table **kernel, stpn_real real, stpn_error *error);

#endif
