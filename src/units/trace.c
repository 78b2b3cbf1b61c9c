#include "units/trace.h"

#include "units/segment.h"

#include <math.h>
#include <string.h>

/* E, and T where there is one. */
static size_t checkpoint_values(const unit *u)
{
    return u->state_values - u->row;
}

void trace_plan(unit *u, int parts)
{
    int I = u->inputs, H = u->options.hidden;
    double in = 1 / sqrt(I), out = 1 / sqrt(H);
    unit_add_tensor(u, "weight_in", LAYOUT_MATRIX, H, I, -in, in);
    unit_add_tensor(u, "bias_in", LAYOUT_VECTOR, H, 1, -in, in);
    unit_add_tensor(u, "w", LAYOUT_MATRIX, H, H, 0, 0.01);
    unit_add_tensor(u, "alpha", LAYOUT_MATRIX, H, H, 0, 0.01);
    if (parts & TRACE_ETA) unit_add_tensor(u, "eta", LAYOUT_SCALAR, 1, 1, 0.01, 0.01);
    if (parts & TRACE_M) {
        unit_add_tensor(u, "weight_mod", LAYOUT_ROW, 1, H, -out, out);
        unit_add_tensor(u, "bias_mod", LAYOUT_SCALAR, 1, 1, -out, out);
    }
    unit_add_state(u, "h", LAYOUT_VECTOR, H, 1);
    unit_add_state(u, "E", LAYOUT_MATRIX, H, H);
    if (parts & TRACE_T) unit_add_state(u, "T", LAYOUT_MATRIX, H, H);
    u->segment = segment_length(u, checkpoint_values(u), SEGMENT_BYTES);
}

/* Tensor `name` of a state or its adjoint; NULL where the unit has none. */
static void *state_part(const unit *u, const void *state, const char *name)
{
    for (int i = 0; i < u->state_count; i++)
        if (strcmp(u->states[i].name, name) == 0) return value_at(u->kernel, state, u->states[i].offset);
    return NULL;
}

static panel_matrix matrix(const unit *u, const void *block, const char *name, int columns)
{
    return (panel_matrix){unit_part(u, block, name), unit_panels(u), columns,
                          (size_t)columns * (size_t)u->kernel->lanes};
}

static trace_layer layer(const unit *u, const void *parameters)
{
    const stpn_unit *o = &u->options;
    return (trace_layer){
        .hidden = o->hidden,
        .panels = unit_panels(u),
        .rule = o->trace,
        .modulation = o->modulation,
        .modulated = unit_part(u, parameters, "weight_mod") != NULL,
        .retroactive = state_part(u, NULL, "T") != NULL,
        .w = unit_part(u, parameters, "w"),
        .alpha = unit_part(u, parameters, "alpha"),
        .eta = unit_part(u, parameters, "eta"),
        .weight_mod = unit_part(u, parameters, "weight_mod"),
        .bias_mod = unit_part(u, parameters, "bias_mod"),
    };
}

size_t trace_tape_values(const unit *u, int steps)
{
    return segment_count(u, steps) * checkpoint_values(u);
}

size_t trace_forward_bytes(const unit *u)
{
    trace_layer L = layer(u, NULL);
    return unit_input_row(u) * u->kernel->size + u->kernel->trace_forward_bytes(&L);
}

void trace_forward(const unit *u, const void *parameters, const unit_sweep *s, void *work)
{
    const kernel_table *k = u->kernel;
    trace_layer L = layer(u, parameters);
    panel_matrix weight_in = matrix(u, parameters, "weight_in", u->inputs);
    void *sizes = work, *rest = value_at(k, work, unit_input_row(u));
    row_list x = {value_at(k, s->x, 0), s->samples * s->steps, s->steps, s->x_sample, s->x_step};
    row_list out = {s->out, s->samples * s->steps, s->steps, s->out_sample, u->row};
    k->product(&x, &weight_in, unit_part(u, parameters, "bias_in"), &out);
    if (s->energy) k->absolute_sums(&weight_in, sizes);
    for (int b = 0; b < s->samples; b++) {
        size_t sample = (size_t)b;
        void *state = value_at(k, s->state, sample * s->state_sample);
        trace_sweep sweep = {
            .steps = s->steps,
            .begin = s->begin,
            .flags = s->flags + sample * s->flags_sample,
            .out = value_at(k, s->out, sample * s->out_sample),
            .energy = s->energy ? value_at(k, s->energy, sample * s->energy_sample) : NULL,
            .E = state_part(u, state, "E"),
            .T = state_part(u, state, "T"),
            .h = state_part(u, state, "h"),
            .checkpoints = s->tape ? value_at(k, s->tape, sample * s->tape_sample) : NULL,
            .segment = u->segment,
        };
        if (s->tape && s->begin == 0) memcpy((char *)sweep.out - u->row * k->size, sweep.h, u->row * k->size);
        k->trace_forward(&L, &sweep, rest);
        for (int t = 0; t < s->steps && s->energy; t++)
            if (sweep.flags[t] & STEP_LIVE)
                k->add_energy((size_t)u->inputs, value_at(k, s->x, sample * s->x_sample + (size_t)t * s->x_step), sizes,
                              value_at(k, sweep.energy, (size_t)t));
    }
}

size_t trace_backward_bytes(const unit *u)
{
    trace_layer L = layer(u, NULL);
    size_t values = segment_inputs_values(u) + (size_t)u->segment * u->row;
    return values * u->kernel->size + u->kernel->trace_backward_bytes(&L, u->segment);
}

void trace_backward(const unit *u, const void *parameters, void *gradient, const unit_back *s, void *work)
{
    const kernel_table *k = u->kernel;
    trace_layer L = layer(u, parameters);
    trace_grad grad = {unit_part(u, gradient, "alpha"), unit_part(u, gradient, "eta"),
                       unit_part(u, gradient, "weight_mod"), unit_part(u, gradient, "bias_mod")};
    panel_matrix dw = matrix(u, gradient, "w", u->options.hidden);
    segment_inputs in = {
        .weight = matrix(u, parameters, "weight_in", u->inputs),
        .dweight = matrix(u, gradient, "weight_in", u->inputs),
        .dbias = unit_part(u, gradient, "bias_in"),
    };
    void *before = segment_inputs_open(u, s, &in, work), *rest = value_at(k, before, (size_t)u->segment * u->row);
    for (int b = 0; b < s->samples; b++) {
        const void *tape = value_at(k, s->tape, (size_t)b * s->tape_sample);
        void *dstate = value_at(k, s->dstate, (size_t)b * s->dstate_sample);
        for (int i = (int)segment_count(u, s->steps[b]) - 1; i >= 0; i--) {
            back_segment segment = segment_at(u, s, b, i);
            trace_back back = {
                .steps = segment.steps,
                .segment = u->segment,
                .flags = segment.flags,
                .out = segment.out,
                .checkpoint = value_at(k, tape, (size_t)i * checkpoint_values(u)),
                .dy = segment.dy,
                .dy_step = s->dy_step,
                .dy_begin = segment.dy_begin,
                .dE = state_part(u, dstate, "E"),
                .dT = state_part(u, dstate, "T"),
                .dh = state_part(u, dstate, "h"),
                .ends = !s->dense && i == (int)segment_count(u, s->steps[b]) - 1,
                .starts = !s->dense && i == 0,
                .ds = in.ds,
                .z = before,
            };
            k->trace_backward(&L, &grad, &back, rest);
            row_list ds = {in.ds, segment.steps, segment.steps, 0, u->row};
            row_list z = {before, segment.steps, segment.steps, 0, u->row};
            k->product_gradient(&ds, &z, &dw, NULL);
            segment_inputs_back(u, s, &segment, &in);
        }
    }
    if (grad.eta) k->fold(grad.eta);
}

void trace_operations(const unit *u, unit_operations *count)
{
    trace_layer L = layer(u, NULL);
    double I = u->inputs, H = u->options.hidden, synapses = H * H;
    int soft = L.rule == STPN_TRACE_SOFT, decay = L.rule == STPN_TRACE_DECAY;
    *count = (unit_operations){
        /* Wi x, w + alpha E, G h, E + d */
        .multiply_accumulates = H * I + 3 * synapses,
        .multiplies = H, // eta h', or m h'
        .accumulates = H,
        .functions = H,
        .reads = H * I + H + 2 * synapses + H + synapses,
        .writes = H + synapses,
    };
    /* soft: d, E + d; decay: (1 - eta) E */
    if (soft || decay) count->multiplies += synapses;
    if (soft) count->accumulates += synapses;
    if (L.eta) count->reads += 1;
    if (L.modulated) {
        count->multiply_accumulates += H;
        count->accumulates += 1;
        if (L.modulation != STPN_MODULATION_LINEAR) count->functions += 1;
        count->reads += H + 1;
    }
    /* T' = (1 - eta) T + eta h' h^T */
    if (L.retroactive) {
        count->multiply_accumulates += synapses;
        count->multiplies += synapses;
        count->reads += synapses;
        count->writes += synapses;
    }
}

/* E' of E and d. */
static const char *rule_source(const trace_layer *L)
{
    switch (L->rule) {
    case STPN_TRACE_CLIP: return "bounded(e[k] + d, 1.0f)";
    case STPN_TRACE_SOFT: return "bounded(e[k] + d - fabsf(d) * e[k], 1.0f)";
    case STPN_TRACE_ADD: return "e[k] + d";
    default: return "(1.0f - rate) * e[k] + d";
    }
}

void trace_source(const unit *u, source_text *s)
{
    trace_layer L = layer(u, NULL);
    static const char *const modulations[] = {"tanhf(m)", "sigmoid(m)", "m"};
    int has_eta = unit_has_tensor(u, "eta"), modulated = unit_has_tensor(u, "weight_mod");
    source_put(s, "    for (int j = 0; j < H; j++) {\n"
                  "        const float *a = alpha + j * H, *fixed = w + j * H, *e = E + j * H;\n"
                  "        float p = bias_in[j] + dot(I, weight_in + j * I, x);\n"
                  "        for (int k = 0; k < H; k++) p += (fixed[k] + a[k] * e[k]) * h[k];\n"
                  "        y[j] = tanhf(p);\n"
                  "    }\n");
    if (modulated)
        source_put(s,
                   "    float m = bias_mod[0] + dot(H, weight_mod, y);\n"
                   "    m = %s;\n",
                   modulations[L.modulation]);
    source_put(s, "    const float rate = %s;\n", has_eta ? "eta[0]" : "m");
    source_put(s, "    for (int j = 0; j < H; j++) {\n"
                  "        float *e = E + j * H, change = rate * y[j];\n");
    if (L.retroactive) source_put(s, "        float *trace = T + j * H;\n");
    source_put(s, "        for (int k = 0; k < H; k++) {\n");
    source_put(s, "            float d = %s;\n", L.retroactive ? "m * trace[k]" : "change * h[k]");
    source_put(s, "            e[k] = %s;\n", rule_source(&L));
    if (L.retroactive) source_put(s, "            trace[k] = (1.0f - rate) * trace[k] + change * h[k];\n");
    source_put(s, "        }\n    }\n    for (int j = 0; j < H; j++) h[j] = y[j];\n");
}
