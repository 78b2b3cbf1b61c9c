/* HebbFF (Tyulmankov, Yang, Abbott 2022): h = sigmoid((W + A) x + b), A' = lambda A + eta h x^T, with one trained lambda =
 * sigmoid(a) and one trained eta = -exp(e). The loops stand in kernels/hebbff.h. */
#include "units/segment.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
};

static void plan(unit *u)
{
    int I = u->inputs, H = u->options.hidden;
    double bound = 1 / sqrt(I), logit = log(99), rate = log(5.0 / H); // lambda 0.99, eta -5 / H
    unit_add_tensor(u, "weight", LAYOUT_MATRIX, H, I, -bound, bound);
    unit_add_tensor(u, "bias", LAYOUT_VECTOR, H, 1, -bound, bound);
    unit_add_tensor(u, "lambda_logit", LAYOUT_SCALAR, 1, 1, logit, logit);
    unit_add_tensor(u, "eta_log", LAYOUT_SCALAR, 1, 1, rate, rate);
    unit_add_state(u, "A", LAYOUT_MATRIX, H, I);
    u->segment = segment_length(u, u->state_values, SEGMENT_BYTES);
}

static panel_matrix weight(const unit *u, const void *block)
{
    size_t lanes = (size_t)u->kernel->lanes;
    return (panel_matrix){unit_part(u, block, "weight"), unit_panels(u), u->inputs, (size_t)u->inputs * lanes};
}

static hebbff_layer layer(const unit *u, const void *parameters)
{
    return (hebbff_layer){
        .inputs = u->inputs,
        .hidden = u->options.hidden,
        .panels = unit_panels(u),
        .weight = unit_part(u, parameters, "weight"),
        .lambda_logit = unit_part(u, parameters, "lambda_logit"),
        .eta_log = unit_part(u, parameters, "eta_log"),
        .mask = u->mask,
    };
}

static size_t tape_values(const unit *u, int steps)
{
    return segment_count(u, steps) * u->state_values;
}

static size_t forward_bytes(const unit *u)
{
    hebbff_layer L = layer(u, NULL);
    return u->kernel->hebbff_forward_bytes(&L);
}

static void forward(const unit *u, const void *parameters, const unit_sweep *s, void *work)
{
    const kernel_table *k = u->kernel;
    hebbff_layer L = layer(u, parameters);
    panel_matrix w = weight(u, parameters);
    row_list x = {value_at(k, s->x, 0), s->samples * s->steps, s->steps, s->x_sample, s->x_step};
    row_list out = {s->out, s->samples * s->steps, s->steps, s->out_sample, u->row};
    k->product(&x, &w, unit_part(u, parameters, "bias"), &out);
    for (int b = 0; b < s->samples; b++) {
        size_t sample = (size_t)b;
        hebbff_sweep sweep = {
            .steps = s->steps,
            .begin = s->begin,
            .flags = s->flags + sample * s->flags_sample,
            .x = value_at(k, s->x, sample * s->x_sample),
            .x_step = s->x_step,
            .out = value_at(k, s->out, sample * s->out_sample),
            .energy = s->energy ? value_at(k, s->energy, sample * s->energy_sample) : NULL,
            .A = value_at(k, s->state, sample * s->state_sample),
            .checkpoints = s->tape ? value_at(k, s->tape, sample * s->tape_sample) : NULL,
            .segment = u->segment,
        };
        k->hebbff_forward(&L, &sweep, work);
    }
}

static size_t backward_bytes(const unit *u)
{
    hebbff_layer L = layer(u, NULL);
    return segment_inputs_values(u) * u->kernel->size + u->kernel->hebbff_backward_bytes(&L, u->segment);
}

static void backward(const unit *u, const void *parameters, void *gradient, const unit_back *s, void *work)
{
    const kernel_table *k = u->kernel;
    hebbff_layer L = layer(u, parameters);
    hebbff_grad grad = {unit_part(u, gradient, "lambda_logit"), unit_part(u, gradient, "eta_log")};
    segment_inputs in = {
        .weight = weight(u, parameters), .dweight = weight(u, gradient), .dbias = unit_part(u, gradient, "bias")};
    void *rest = segment_inputs_open(u, s, &in, work);
    for (int b = 0; b < s->samples; b++) {
        const void *tape = value_at(k, s->tape, (size_t)b * s->tape_sample);
        for (int i = (int)segment_count(u, s->steps[b]) - 1; i >= 0; i--) {
            back_segment segment = segment_at(u, s, b, i);
            hebbff_back back = {
                .steps = segment.steps,
                .segment = u->segment,
                .flags = segment.flags,
                .x = segment.x.values,
                .x_step = segment.x.inner_step,
                .out = segment.out,
                .checkpoint = value_at(k, tape, (size_t)i * u->state_values),
                .dy = segment.dy,
                .dy_step = s->dy_step,
                .dy_begin = segment.dy_begin,
                .dA = value_at(k, s->dstate, (size_t)b * s->dstate_sample),
                .ends = !s->dense && i == (int)segment_count(u, s->steps[b]) - 1,
                .starts = !s->dense && i == 0,
                .ds = in.ds,
                .dx = s->dx ? in.dx : NULL,
                .dx_step = row_values(k, u->inputs),
            };
            k->hebbff_backward(&L, &grad, &back, rest);
            segment_inputs_back(u, s, &segment, &in);
        }
    }
    k->fold(grad.lambda_logit);
    k->fold(grad.eta_log);
}

/* Of the equations as they stand in docs/mathematics.md, each term once. */
static void operations(const unit *u, unit_operations *count)
{
    double H = u->options.hidden, synapses = H * u->inputs;
    *count = (unit_operations){
        .multiply_accumulates = 2 * synapses, // (W + A) x, lambda A + (eta h) x^T
        .multiplies = synapses + H,           // lambda A, eta h
        .accumulates = synapses + H,          // W + A, b
        .functions = H + 2,
        .reads = 2 * synapses + H + 2,
        .writes = synapses,
    };
}

static void write_source(const unit *u, source_text *s)
{
    (void)u;
    source_put(s, "    const float lambda = sigmoid(lambda_logit[0]), eta = -expf(eta_log[0]);\n"
                  "    for (int j = 0; j < H; j++) {\n"
                  "        const float *fixed = weight + j * I;\n"
                  "        float *a = A + j * I, p = bias[j];\n"
                  "        for (int k = 0; k < I; k++) p += (fixed[k] + a[k]) * x[k];\n"
                  "        y[j] = sigmoid(p);\n"
                  "        for (int k = 0; k < I; k++) a[k] = lambda * a[k] + eta * y[j] * x[k];\n"
                  "    }\n");
}

const unit_type unit_hebbff = {
    .name = "hebbff",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "hebbff"},
    .plan = plan,
    .tape_values = tape_values,
    .forward_bytes = forward_bytes,
    .backward_bytes = backward_bytes,
    .forward = forward,
    .backward = backward,
    .operations = operations,
    .source = write_source,
};
