/* STPN-R and STPN-F: the short-term-plasticity neuron (Garcia Rodriguez, Guo, Moraitis, ICML 2022), recurrent
 * (K = I + H) and feed-forward (K = I). The equations stand in kernels/stpn.h and docs/mathematics.md; here is what
 * they work on: parameters, state, tape. */
#include "units/segment.h"

#include "base/error.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

extern const unit_type unit_stpn_r, unit_stpn_f;

/* Of a segment of F, which should stay in a second-level cache. */
enum { F_BYTES = 512 * 1024 };

enum { PARAMETER_WEIGHT, PARAMETER_MOST = 6, STATE_F = 0 };

#define FIELD(name) offsetof(stpn_unit, name)

static const option options[] = {
    UNIT_OPTION_HIDDEN,
    {"norm", OPTION_CHOICE, FIELD(norm), "pre|post|output|none", 0, 0,
     "pre: output and kept F divided by ||W + F||; post: kept F divided by the norm after the update; output: only the "
     "output is divided; none: no division"},
    {"clamp", OPTION_NUMBER, FIELD(clamp), NULL, 0, 1e6, "bound of |F| after each update; 0: none"},
    {"plastic", OPTION_CHOICE, FIELD(plastic), "all|input|hidden", 0, 0, "columns that carry F"},
    {"granularity", OPTION_CHOICE, FIELD(granularity), "synapse|neuron|scalar", 0, 0,
     "Lambda and Gamma per synapse, per neuron, or one of each"},
    {"learn", OPTION_BOOLEAN, FIELD(learn), NULL, 0, 0, "true: Lambda and Gamma are trained; false: held"},
    {"lambda", OPTION_NUMBER, FIELD(lambda), NULL, -1e6, 1e6, "Lambda where learn is false"},
    {"gamma", OPTION_NUMBER, FIELD(gamma), NULL, -1e6, 1e6, "Gamma where learn is false"},
    {"rule", OPTION_CHOICE, FIELD(rule), "hebb|oja", 0, 0, "plastic product: z h, or h_j (z_k - sum_m h_m F_mk)"},
    {"decay", OPTION_CHOICE, FIELD(decay), "after|prompt", 0, 0,
     "after: Lambda F + Gamma P; prompt: Lambda (F + Gamma P)"},
    {"activation", OPTION_CHOICE, FIELD(activation), "tanh|sigmoid", 0, 0, "of the output"},
    {"layer_norm", OPTION_BOOLEAN, FIELD(layer_norm), NULL, 0, 0, "layer norm before the activation"},
    {"bias", OPTION_BOOLEAN, FIELD(bias), NULL, 0, 0, "a bias per neuron"},
    {"presynaptic", OPTION_CHOICE, FIELD(presynaptic), "previous|current", 0, 0,
     "recurrent part of z in the update of F: h before the step, or of the step"},
};

enum { OPTION_COUNT = sizeof options / sizeof *options };

static stpn_status check_feed_forward(const stpn_unit *o, int inputs, const char *place, stpn_error *error)
{
    (void)inputs;
    if (o->plastic == STPN_PLASTIC_HIDDEN)
        return error_set(error, STPN_ERROR_INPUT, "%s.plastic is \"hidden\", but stpn_f has no recurrent columns",
                         place);
    if (o->presynaptic == STPN_PRESYNAPTIC_CURRENT)
        return error_set(error, STPN_ERROR_INPUT, "%s.presynaptic is \"current\", but stpn_f has no recurrent columns",
                         place);
    return STPN_OK;
}

static int applies(const stpn_unit *o, const char *name)
{
    if (strcmp(name, "lambda") == 0 || strcmp(name, "gamma") == 0) return !o->learn;
    return strcmp(name, "granularity") != 0 || o->learn;
}

static int is_recurrent(const unit *u)
{
    return u->type == &unit_stpn_r;
}

static int column_count(const unit *u)
{
    return u->inputs + (is_recurrent(u) ? u->options.hidden : 0);
}

static size_t matrix_values(const unit *u)
{
    return u->row * (size_t)column_count(u);
}

static size_t pending_values(const unit *u)
{
    const stpn_layer sizes = {.columns = column_count(u), .panels = unit_panels(u)};
    return u->kernel->stpn_pending_values(&sizes);
}

static stpn_layer layer(const unit *u, const void *parameters)
{
    const stpn_unit *o = &u->options;
    int I = u->inputs, K = column_count(u);
    return (stpn_layer){
        .inputs = I,
        .hidden = o->hidden,
        .columns = K,
        .panels = unit_panels(u),
        .recurrent = is_recurrent(u),
        .plastic_begin = o->plastic == STPN_PLASTIC_HIDDEN ? I : 0,
        .plastic_end = o->plastic == STPN_PLASTIC_INPUT ? I : K,
        .norm = o->norm,
        .rule = o->rule,
        .decay = o->decay,
        .activation = o->activation,
        .granularity = o->learn ? o->granularity : STPN_GRANULARITY_SCALAR,
        .current = o->presynaptic == STPN_PRESYNAPTIC_CURRENT,
        .layer_norm = o->layer_norm,
        .clamp = o->clamp,
        .weight = unit_part(u, parameters, "weight"),
        .bias = unit_part(u, parameters, "bias"),
        .lambda = o->learn ? unit_part(u, parameters, "lambda") : u->held,
        .gamma =
            o->learn ? unit_part(u, parameters, "gamma") : value_at(u->kernel, u->held, PANEL_BYTES / u->kernel->size),
        .ln_weight = unit_part(u, parameters, "ln_weight"),
        .ln_bias = unit_part(u, parameters, "ln_bias"),
        .mask = u->mask,
    };
}

/* What of a sample's state says which columns are active; before it stand F and h, behind it what a sweep has left. */
static size_t active_values(const unit *u)
{
    return u->state_values - matrix_values(u) - u->row - pending_values(u);
}

static void plan(unit *u)
{
    const stpn_unit *o = &u->options;
    int H = o->hidden, K = column_count(u);
    double bound = 1 / sqrt(is_recurrent(u) ? H : u->inputs);
    unit_add_tensor(u, "weight", LAYOUT_MATRIX, H, K, -bound, bound);
    if (o->bias) unit_add_tensor(u, "bias", LAYOUT_VECTOR, H, 1, -bound, bound);
    if (o->learn) {
        tensor_layout layout = o->granularity == STPN_GRANULARITY_SYNAPSE  ? LAYOUT_MATRIX
                               : o->granularity == STPN_GRANULARITY_NEURON ? LAYOUT_VECTOR
                                                                           : LAYOUT_SCALAR;
        int rows = layout == LAYOUT_SCALAR ? 1 : H, columns = layout == LAYOUT_MATRIX ? K : 1;
        unit_add_tensor(u, "lambda", layout, rows, columns, 0, 1);
        unit_add_tensor(u, "gamma", layout, rows, columns, -0.001 * bound, 0.001 * bound);
    }
    if (o->layer_norm) {
        unit_add_tensor(u, "ln_weight", LAYOUT_VECTOR, H, 1, 1, 1);
        unit_add_tensor(u, "ln_bias", LAYOUT_VECTOR, H, 1, 0, 0);
    }
    unit_add_state(u, "F", LAYOUT_MATRIX, H, K);
    if (is_recurrent(u)) unit_add_state(u, "h", LAYOUT_VECTOR, H, 1);
    /* Behind the named state: h's row of a feed-forward unit (scratch of a sweep), the columns that carried a signal, and what
     * a sweep has left to the next. */
    if (!is_recurrent(u)) u->state_values += u->row;
    stpn_layer L = layer(u, NULL);
    u->state_values += u->kernel->stpn_active_values(&L) + pending_values(u);
    u->adjoint_from = matrix_values(u);
    u->segment = segment_length(u, matrix_values(u), F_BYTES);
}

/* A sample's tape: norm (T, Hp), drive (T, Hp), for norm post ||W + F^c|| (T, Hp), then per segment F and the active
 * columns. */
typedef struct tape_part {
    void *norm, *drive, *post, *checkpoints, *active;
    size_t values;
} tape_part;

static tape_part tape_at(const unit *u, const void *tape, int steps)
{
    const kernel_table *k = u->kernel;
    size_t rows = (size_t)steps * u->row, at = 0;
    tape_part part = {0};
    if (u->options.norm != STPN_NORM_NONE) {
        part.norm = value_at(k, tape, at);
        at += rows;
    }
    part.drive = value_at(k, tape, at);
    at += rows;
    if (u->options.norm == STPN_NORM_POST) {
        part.post = value_at(k, tape, at);
        at += rows;
    }
    part.checkpoints = value_at(k, tape, at);
    at += segment_count(u, steps) * matrix_values(u);
    part.active = value_at(k, tape, at);
    at += segment_count(u, steps) * active_values(u);
    part.values = at;
    return part;
}

static size_t tape_values(const unit *u, int steps)
{
    return tape_at(u, NULL, steps).values;
}

static stpn_layer_grad layer_grad(const unit *u, void *gradient, void *scales)
{
    void *lambda = unit_part(u, gradient, "lambda");
    return (stpn_layer_grad){
        .weight = unit_part(u, gradient, "weight"),
        .bias = unit_part(u, gradient, "bias"),
        .lambda = lambda,
        .gamma = unit_part(u, gradient, "gamma"),
        .ln_weight = unit_part(u, gradient, "ln_weight"),
        .ln_bias = unit_part(u, gradient, "ln_bias"),
        .input_scale = scales,
        .recurrent_scale = value_at(u->kernel, scales, u->row),
    };
}

/* A state's parts; the adjoint of a state has the same, its last part unused. */
static void *state_F(const unit *u, void *state)
{
    return value_at(u->kernel, state, u->states[STATE_F].offset);
}

static void *state_h(const unit *u, void *state)
{
    return value_at(u->kernel, state, matrix_values(u));
}

static void *state_active(const unit *u, void *state)
{
    return value_at(u->kernel, state, matrix_values(u) + u->row);
}

static void *state_pending(const unit *u, void *state)
{
    return value_at(u->kernel, state, u->state_values - pending_values(u));
}

static size_t forward_bytes(const unit *u)
{
    stpn_layer L = layer(u, NULL);
    return u->kernel->stpn_forward_bytes(&L);
}

/* The work space of a backward pass starts with the sums that end it (stpn_layer_grad). */
static size_t backward_bytes(const unit *u)
{
    stpn_layer L = layer(u, NULL);
    return 2 * u->row * u->kernel->size + u->kernel->stpn_backward_bytes(&L, u->segment);
}

static stpn_sweep sample_sweep(const unit *u, const unit_sweep *s, int index)
{
    const kernel_table *k = u->kernel;
    size_t sample = (size_t)index;
    void *state = value_at(k, s->state, sample * s->state_sample);
    stpn_sweep sweep = {
        .steps = s->steps,
        .begin = s->begin,
        .flags = s->flags + sample * s->flags_sample,
        .x = value_at(k, s->x, sample * s->x_sample),
        .x_step = s->x_step,
        .out = value_at(k, s->out, sample * s->out_sample),
        .energy = s->energy ? value_at(k, s->energy, sample * s->energy_sample) : NULL,
        .F = state_F(u, state),
        .h = state_h(u, state),
        .active = state_active(u, state),
        .pending = state_pending(u, state),
        .leave = s->leave,
    };
    if (!s->tape) return sweep;
    size_t past = (size_t)s->begin * u->row;
    tape_part part = tape_at(u, value_at(k, s->tape, sample * s->tape_sample), s->tape_steps);
    sweep.norm = part.norm ? value_at(k, part.norm, past) : NULL;
    sweep.drive = value_at(k, part.drive, past);
    sweep.post = part.post ? value_at(k, part.post, past) : NULL;
    sweep.checkpoints = part.checkpoints;
    sweep.checkpoint_active = part.active;
    sweep.segment = u->segment;
    if (s->begin == 0) memcpy((char *)sweep.out - u->row * k->size, sweep.h, u->row * k->size);
    return sweep;
}

static stpn_back sample_back(const unit *u, const unit_back *s, int index)
{
    const kernel_table *k = u->kernel;
    size_t sample = (size_t)index;
    void *dstate = value_at(k, s->dstate, sample * s->dstate_sample);
    tape_part part = tape_at(u, value_at(k, s->tape, sample * s->tape_sample), s->tape_steps);
    return (stpn_back){
        .steps = s->steps[sample],
        .flags = s->flags + sample * s->flags_sample,
        .x = value_at(k, s->x, sample * s->x_sample),
        .x_step = s->x_step,
        .out = value_at(k, s->out, sample * s->out_sample),
        .norm = part.norm,
        .drive = part.drive,
        .post = part.post,
        .checkpoints = part.checkpoints,
        .checkpoint_active = part.active,
        .segment = u->segment,
        .dy = value_at(k, s->dy, sample * s->dy_sample),
        .dy_step = s->dy_step,
        .dy_begin = s->dy_begin ? s->dy_begin[sample] : 0,
        .dx = s->dx ? value_at(k, s->dx, sample * s->dx_sample) : NULL,
        .dx_step = s->dx_step,
        .dF = state_F(u, dstate),
        .dh = state_h(u, dstate),
        .wanted = s->dense,
        .dense = s->dense || s->dx,
    };
}

static void forward(const unit *u, const void *parameters, const unit_sweep *s, void *work)
{
    stpn_layer L = layer(u, parameters);
    for (int b = 0; b < s->samples; b += STPN_BUNDLE) {
        int count = s->samples - b < STPN_BUNDLE ? s->samples - b : STPN_BUNDLE;
        stpn_sweep sweeps[STPN_BUNDLE];
        for (int i = 0; i < count; i++) sweeps[i] = sample_sweep(u, s, b + i);
        u->kernel->stpn_forward(&L, sweeps, count, work);
    }
}

static void backward(const unit *u, const void *parameters, void *gradient, const unit_back *s, void *work)
{
    stpn_layer L = layer(u, parameters);
    stpn_layer_grad grad = layer_grad(u, gradient, work);
    void *rest = value_at(u->kernel, work, 2 * u->row);
    memset(work, 0, 2 * u->row * u->kernel->size);
    for (int b = 0; b < s->samples; b += STPN_BUNDLE) {
        int count = s->samples - b < STPN_BUNDLE ? s->samples - b : STPN_BUNDLE;
        stpn_back backs[STPN_BUNDLE];
        for (int i = 0; i < count; i++) backs[i] = sample_back(u, s, b + i);
        u->kernel->stpn_backward(&L, &grad, backs, count, rest);
    }
    u->kernel->stpn_finish(&L, &grad);
}

/* Of the equations as they stand in docs/mathematics.md, each term once. */
static void operations(const unit *u, unit_operations *count)
{
    const stpn_unit *o = &u->options;
    stpn_layer L = layer(u, NULL);
    double H = L.hidden, all = H * L.columns, plastic = H * (L.plastic_end - L.plastic_begin);
    int has_norm = o->norm != STPN_NORM_NONE;
    double rates = L.granularity == STPN_GRANULARITY_SYNAPSE  ? 2 * plastic
                   : L.granularity == STPN_GRANULARITY_NEURON ? 2 * H
                                                              : 2;
    *count = (unit_operations){
        .multiply_accumulates = all,         // G . z
        .multiplies = 2 * plastic,           // z h, and one with Lambda or Gamma
        .accumulates = plastic,              // W + F
        .functions = H,                      // the activation
        .reads = all + plastic + rates,      // W, F, Lambda and Gamma
        .writes = plastic + H * L.recurrent, // F, h
    };
    count->multiply_accumulates += plastic; // Lambda F + Gamma P
    if (o->bias) count->accumulates += H, count->reads += H;
    if (L.recurrent) count->reads += H;
    if (has_norm) {
        count->multiply_accumulates += all; // ||G||
        count->multiplies += H;             // u / n
        count->functions += 2 * H;          // a root and a division
    }
    if (o->norm == STPN_NORM_PRE) count->multiplies += plastic;
    if (o->norm == STPN_NORM_POST) {
        count->accumulates += plastic;
        count->multiply_accumulates += all;
        count->multiplies += plastic;
        count->functions += 2 * H;
    }
    if (o->rule == STPN_RULE_OJA) {
        count->multiply_accumulates += plastic;
        count->accumulates += L.plastic_end - L.plastic_begin;
    }
    if (o->layer_norm) {
        count->accumulates += 3 * H; // mean, deviation, offset
        count->multiply_accumulates += H;
        count->multiplies += 2 * H;
        count->functions += 2;
        count->reads += 2 * H;
    }
}

/* Lambda or Gamma of synapse (j, k). */
static void rate_source(const unit *u, char text[SOURCE_NUMBER], const char *name, double held)
{
    static const char *const places[] = {"j * K + k", "j", "0"};
    if (u->options.learn) snprintf(text, SOURCE_NUMBER, "%s[%s]", name, places[u->options.granularity]);
    else source_number(text, held);
}

/* The output, and 1 / n where it is needed again. */
static void source_output(const unit *u, source_text *s)
{
    const stpn_unit *o = &u->options;
    int has_norm = o->norm != STPN_NORM_NONE;
    source_put(s,
               "    for (int j = 0; j < H; j++) {\n"
               "        const float *w = weight + j * K, *f = F + j * K;\n"
               "        float u = 0.0f%s;\n"
               "        for (int k = 0; k < K; k++) {\n"
               "            float g = w[k] + f[k];\n"
               "            u += g * z[k];\n",
               has_norm ? ", squares = 0.0f" : "");
    if (has_norm) source_put(s, "            squares += g * g;\n");
    source_put(s, "        }\n");
    if (o->norm == STPN_NORM_PRE) source_put(s, "        inverse[j] = inverse_norm(squares);\n");
    source_put(s, "        a[j] = u%s%s;\n    }\n",
               o->norm == STPN_NORM_PRE ? " * inverse[j]"
               : has_norm               ? " * inverse_norm(squares)"
                                        : "",
               o->bias ? " + bias[j]" : "");
    if (o->layer_norm) source_put(s, "    layer_norm(H, a, ln_weight, ln_bias);\n");
    source_put(s, "    for (int j = 0; j < H; j++) y[j] = %s(a[j]);\n",
               o->activation == STPN_ACTIVATION_TANH ? "tanhf" : "sigmoid");
}

/* F' of F; z holds v here. */
static void source_update(const unit *u, source_text *s)
{
    const stpn_unit *o = &u->options;
    stpn_layer L = layer(u, NULL);
    char lambda[SOURCE_NUMBER], gamma[SOURCE_NUMBER], clamp[SOURCE_NUMBER];
    const char *kept = o->norm == STPN_NORM_PRE ? "f[k] * inverse[j]" : "f[k]";
    rate_source(u, lambda, "lambda", o->lambda);
    rate_source(u, gamma, "gamma", o->gamma);
    source_put(s,
               "    for (int j = 0; j < H; j++) {\n"
               "        float *f = F + j * K;\n"
               "        for (int k = %d; k < %d; k++) {\n",
               L.plastic_begin, L.plastic_end);
    if (o->decay == STPN_DECAY_PROMPT)
        source_put(s, "            float next = %s * (%s + %s * (y[j] * z[k]));\n", lambda, kept, gamma);
    else source_put(s, "            float next = %s * (%s) + %s * (y[j] * z[k]);\n", lambda, kept, gamma);
    if (o->clamp > 0)
        source_put(s, "            f[k] = bounded(next, %s);\n        }\n", source_number(clamp, o->clamp));
    else source_put(s, "            f[k] = next;\n        }\n");
    if (o->norm == STPN_NORM_POST)
        source_put(s, "        float squares = 0.0f;\n"
                      "        for (int k = 0; k < K; k++) {\n"
                      "            float g = weight[j * K + k] + f[k];\n"
                      "            squares += g * g;\n"
                      "        }\n"
                      "        float inverse = inverse_norm(squares);\n"
                      "        for (int k = 0; k < K; k++) f[k] *= inverse;\n");
    source_put(s, "    }\n");
}

static void write_source(const unit *u, source_text *s)
{
    const stpn_unit *o = &u->options;
    int H = o->hidden, K = column_count(u), own = is_recurrent(u) || o->rule == STPN_RULE_OJA;
    source_put(s, "    enum { K = %d };\n", K);
    if (own) source_row(s, "z", K);
    else source_put(s, "    const float *z = x;\n");
    source_row(s, "a", H);
    if (o->norm == STPN_NORM_PRE) source_row(s, "inverse", H);
    if (own) source_put(s, "    for (int k = 0; k < I; k++) z[k] = x[k];\n");
    if (is_recurrent(u)) source_put(s, "    for (int k = 0; k < H; k++) z[I + k] = h[k];\n");
    source_output(u, s);
    if (o->presynaptic == STPN_PRESYNAPTIC_CURRENT) source_put(s, "    for (int k = 0; k < H; k++) z[I + k] = y[k];\n");
    if (o->rule == STPN_RULE_OJA)
        source_put(s, "    for (int j = 0; j < H; j++)\n"
                      "        for (int k = 0; k < K; k++) z[k] -= y[j] * F[j * K + k];\n");
    source_update(u, s);
    if (is_recurrent(u)) source_put(s, "    for (int j = 0; j < H; j++) h[j] = y[j];\n");
}

/* Columns without plasticity hold zeros. */
static stpn_status state_check(const unit *u, int index, const void *values, stpn_error *error)
{
    if (index != STATE_F) return STPN_OK;
    stpn_layer L = layer(u, NULL);
    for (int j = 0; j < L.hidden; j++)
        for (int c = 0; c < L.columns; c++) {
            if (c >= L.plastic_begin && c < L.plastic_end) continue;
            size_t at = (size_t)j * (size_t)L.columns + (size_t)c;
            double value = value_read(u->kernel, values, at);
            if (value != 0)
                return error_set(error, STPN_ERROR_INPUT,
                                 "F[%d][%d] is %g, but column %d has no plasticity: expected 0", j, c, value, c);
        }
    return STPN_OK;
}

/* An F from outside may be anything: every column counts as active, and nothing is still to be done to it. */
static void state_changed(const unit *u, int index, void *state)
{
    stpn_layer L = layer(u, NULL);
    if (index != STATE_F) return;
    u->kernel->stpn_activate_all(&L, state_active(u, state));
    memset(state_pending(u, state), 0, pending_values(u) * u->kernel->size);
}

const unit_type unit_stpn_r = {
    .name = "stpn_r",
    .options = options,
    .option_count = OPTION_COUNT,
    .defaults = {.name = "stpn_r", .learn = 1, .lambda = 0.9, .gamma = 0.01, .bias = 1},
    .applies = applies,
    .plan = plan,
    .tape_values = tape_values,
    .forward_bytes = forward_bytes,
    .backward_bytes = backward_bytes,
    .forward = forward,
    .backward = backward,
    .operations = operations,
    .source = write_source,
    .state_check = state_check,
    .state_changed = state_changed,
};

const unit_type unit_stpn_f = {
    .name = "stpn_f",
    .options = options,
    .option_count = OPTION_COUNT,
    .defaults = {.name = "stpn_f", .learn = 1, .lambda = 0.9, .gamma = 0.01, .bias = 1},
    .check = check_feed_forward,
    .applies = applies,
    .plan = plan,
    .tape_values = tape_values,
    .forward_bytes = forward_bytes,
    .backward_bytes = backward_bytes,
    .forward = forward,
    .backward = backward,
    .operations = operations,
    .source = write_source,
    .state_check = state_check,
    .state_changed = state_changed,
};
