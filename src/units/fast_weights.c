/* Fast weights (Ba et al. 2016): A' = lambda A + eta h h^T from the h before the step, p = W [x ; h] + b,
 * h^0 = tanh(LN(p)), then S times h^{s+1} = tanh(LN(p + A' h^s)). The loops stand in kernels/fast_weights.h. */
#include "units/segment.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
    {"lambda", OPTION_NUMBER, offsetof(stpn_unit, lambda), NULL, -1e6, 1e6, "decay of A"},
    {"eta", OPTION_NUMBER, offsetof(stpn_unit, eta), NULL, -1e6, 1e6, "rate of A"},
    {"inner_steps", OPTION_INTEGER, offsetof(stpn_unit, inner_steps), NULL, 1, 64,
     "S, times that A is applied in a step"},
};

/* Places of the state. */
enum { STATE_H, STATE_A };

static size_t matrix_values(const unit *u)
{
    return u->row * (size_t)u->options.hidden;
}

static void plan(unit *u)
{
    int H = u->options.hidden;
    double bound = 1 / sqrt(H);
    unit_add_tensor(u, "weight", LAYOUT_MATRIX, H, u->inputs + H, -bound, bound);
    unit_add_tensor(u, "bias", LAYOUT_VECTOR, H, 1, -bound, bound);
    unit_add_tensor(u, "ln_weight", LAYOUT_VECTOR, H, 1, 1, 1);
    unit_add_tensor(u, "ln_bias", LAYOUT_VECTOR, H, 1, 0, 0);
    unit_add_state(u, "h", LAYOUT_VECTOR, H, 1);
    unit_add_state(u, "A", LAYOUT_MATRIX, H, H);
    u->segment = segment_length(u, matrix_values(u), SEGMENT_BYTES);
}

/* The columns of W for x, and those for h. */
static panel_matrix weight_x(const unit *u, const void *block)
{
    size_t lanes = (size_t)u->kernel->lanes, K = (size_t)u->inputs + (size_t)u->options.hidden;
    return (panel_matrix){unit_part(u, block, "weight"), unit_panels(u), u->inputs, K * lanes};
}

static panel_matrix weight_h(const unit *u, const void *block)
{
    panel_matrix w = weight_x(u, block);
    w.values = value_at(u->kernel, w.values, (size_t)u->inputs * (size_t)u->kernel->lanes);
    w.columns = u->options.hidden;
    return w;
}

static fast_layer layer(const unit *u, const void *parameters)
{
    panel_matrix w = weight_h(u, parameters);
    return (fast_layer){
        .hidden = u->options.hidden,
        .panels = w.panels,
        .inner_steps = u->options.inner_steps,
        .lambda = u->options.lambda,
        .eta = u->options.eta,
        .weight = w.values,
        .weight_step = w.panel_step,
        .ln_weight = unit_part(u, parameters, "ln_weight"),
        .ln_bias = unit_part(u, parameters, "ln_bias"),
        .mask = u->mask,
    };
}

/* A sample's tape: rows of the inner steps, then A per segment. */
static size_t rows_values(const unit *u, int steps)
{
    fast_layer L = layer(u, NULL);
    return (size_t)steps * u->kernel->fast_step_values(&L);
}

static size_t tape_values(const unit *u, int steps)
{
    return rows_values(u, steps) + segment_count(u, steps) * matrix_values(u);
}

static size_t forward_bytes(const unit *u)
{
    fast_layer L = layer(u, NULL);
    return (row_values(u->kernel, u->inputs) + u->row) * u->kernel->size + u->kernel->fast_forward_bytes(&L);
}

static void forward(const unit *u, const void *parameters, const unit_sweep *s, void *work)
{
    const kernel_table *k = u->kernel;
    fast_layer L = layer(u, parameters);
    panel_matrix wx = weight_x(u, parameters), wh = weight_h(u, parameters);
    void *sizes_x = work, *sizes_h = value_at(k, work, row_values(k, u->inputs)), *rest = value_at(k, sizes_h, u->row);
    row_list x = {value_at(k, s->x, 0), s->samples * s->steps, s->steps, s->x_sample, s->x_step};
    row_list out = {s->out, s->samples * s->steps, s->steps, s->out_sample, u->row};
    k->product(&x, &wx, unit_part(u, parameters, "bias"), &out);
    if (s->energy) {
        k->absolute_sums(&wx, sizes_x);
        k->absolute_sums(&wh, sizes_h);
    }
    for (int b = 0; b < s->samples; b++) {
        size_t sample = (size_t)b;
        void *state = value_at(k, s->state, sample * s->state_sample);
        fast_sweep sweep = {
            .steps = s->steps,
            .begin = s->begin,
            .flags = s->flags + sample * s->flags_sample,
            .out = value_at(k, s->out, sample * s->out_sample),
            .energy = s->energy ? value_at(k, s->energy, sample * s->energy_sample) : NULL,
            .sizes = sizes_h,
            .A = value_at(k, state, u->states[STATE_A].offset),
            .h = value_at(k, state, u->states[STATE_H].offset),
            .segment = u->segment,
        };
        if (s->tape) {
            sweep.tape = value_at(k, s->tape, sample * s->tape_sample);
            sweep.checkpoints = value_at(k, sweep.tape, rows_values(u, s->tape_steps));
            if (s->begin == 0) memcpy((char *)sweep.out - u->row * k->size, sweep.h, u->row * k->size);
        }
        k->fast_forward(&L, &sweep, rest);
        for (int t = 0; t < s->steps && s->energy; t++)
            if (sweep.flags[t] & STEP_LIVE)
                k->add_energy((size_t)u->inputs, value_at(k, s->x, sample * s->x_sample + (size_t)t * s->x_step),
                              sizes_x, value_at(k, sweep.energy, (size_t)t));
    }
}

static size_t backward_bytes(const unit *u)
{
    fast_layer L = layer(u, NULL);
    size_t values = segment_inputs_values(u) + (size_t)u->segment * u->row + u->row * u->row;
    return values * u->kernel->size + u->kernel->fast_backward_bytes(&L, u->segment);
}

static void backward(const unit *u, const void *parameters, void *gradient, const unit_back *s, void *work)
{
    const kernel_table *k = u->kernel;
    fast_layer L = layer(u, parameters);
    fast_grad grad = {unit_part(u, gradient, "ln_weight"), unit_part(u, gradient, "ln_bias")};
    panel_matrix wh = weight_h(u, parameters), dwh = weight_h(u, gradient);
    segment_inputs in = {
        .weight = weight_x(u, parameters), .dweight = weight_x(u, gradient), .dbias = unit_part(u, gradient, "bias")};
    void *before = segment_inputs_open(u, s, &in, work);
    void *transposed = value_at(k, before, (size_t)u->segment * u->row);
    void *rest = value_at(k, transposed, u->row * u->row);
    size_t step = k->fast_step_values(&L);
    k->transpose(&wh, transposed);
    for (int b = 0; b < s->samples; b++) {
        const void *tape = value_at(k, s->tape, (size_t)b * s->tape_sample);
        const void *checkpoints = value_at(k, tape, rows_values(u, s->tape_steps));
        void *dstate = value_at(k, s->dstate, (size_t)b * s->dstate_sample);
        for (int i = (int)segment_count(u, s->steps[b]) - 1; i >= 0; i--) {
            back_segment segment = segment_at(u, s, b, i);
            fast_back back = {
                .steps = segment.steps,
                .segment = u->segment,
                .flags = segment.flags,
                .out = segment.out,
                .tape = value_at(k, tape, (size_t)segment.begin * step),
                .checkpoint = value_at(k, checkpoints, (size_t)i * matrix_values(u)),
                .transposed = transposed,
                .dy = segment.dy,
                .dy_step = s->dy_step,
                .dy_begin = segment.dy_begin,
                .dA = value_at(k, dstate, u->states[STATE_A].offset),
                .dh = value_at(k, dstate, u->states[STATE_H].offset),
                .ds = in.ds,
                .z = before,
            };
            k->fast_backward(&L, &grad, &back, rest);
            row_list ds = {in.ds, segment.steps, segment.steps, 0, u->row};
            row_list z = {before, segment.steps, segment.steps, 0, u->row};
            k->product_gradient(&ds, &z, &dwh, NULL);
            segment_inputs_back(u, s, &segment, &in);
        }
    }
}

/* Of the equations as they stand in docs/mathematics.md, each term once. */
static void operations(const unit *u, unit_operations *count)
{
    double H = u->options.hidden, all = H * (u->inputs + H), synapses = H * H, S = u->options.inner_steps;
    *count = (unit_operations){
        .multiply_accumulates = all + synapses + S * synapses, // W [x ; h], lambda A + (eta h) h^T, A' h^s
        .multiplies = synapses + H,                            // lambda A, eta h
        .accumulates = H,                                      // b
        .functions = (S + 1) * H,
        .reads = all + H + 2 * H + synapses + H,
        .writes = synapses + H,
    };
    /* Layer norm: mean, deviation, offset; variance; scale and gain; a root and a division. */
    count->accumulates += (S + 1) * 3 * H;
    count->multiply_accumulates += (S + 1) * H;
    count->multiplies += (S + 1) * 2 * H;
    count->functions += (S + 1) * 2;
}

static void write_source(const unit *u, source_text *s)
{
    char lambda[SOURCE_NUMBER], eta[SOURCE_NUMBER];
    source_row(s, "p", u->options.hidden);
    source_row(s, "q", u->options.hidden);
    source_put(s,
               "    for (int j = 0; j < H; j++) {\n"
               "        float *a = A + j * H;\n"
               "        for (int k = 0; k < H; k++) a[k] = %s * a[k] + %s * h[j] * h[k];\n"
               "        p[j] = bias[j] + dot(I, weight + j * (I + H), x) + dot(H, weight + j * (I + H) + I, h);\n"
               "    }\n",
               source_number(lambda, u->options.lambda), source_number(eta, u->options.eta));
    source_put(s,
               "    for (int s = 0; s <= %d; s++) {\n"
               "        for (int j = 0; j < H; j++) q[j] = s == 0 ? p[j] : p[j] + dot(H, A + j * H, y);\n"
               "        layer_norm(H, q, ln_weight, ln_bias);\n"
               "        for (int j = 0; j < H; j++) y[j] = tanhf(q[j]);\n"
               "    }\n"
               "    for (int j = 0; j < H; j++) h[j] = y[j];\n",
               u->options.inner_steps);
}

const unit_type unit_fast_weights = {
    .name = "fast_weights",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "fast_weights", .lambda = 0.9, .eta = 0.5, .inner_steps = 1},
    .plan = plan,
    .tape_values = tape_values,
    .forward_bytes = forward_bytes,
    .backward_bytes = backward_bytes,
    .forward = forward,
    .backward = backward,
    .operations = operations,
    .source = write_source,
};
