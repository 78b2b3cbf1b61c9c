#include "units/gated.h"

#include <math.h>
#include <string.h>

/* Steps whose input products are made at once, and whose adjoints are kept for one product. */
enum { BLOCK = 8 };

static const gated_cell *cell_of(const unit *u)
{
    return u->type->details;
}

typedef struct weights {
    panel_matrix x, h;         // h.columns 0: not recurrent
    const void *bias, *bias_h; // bias_h NULL: not apart
} weights;

static int is_recurrent(const unit *u)
{
    return cell_of(u)->recurrent;
}

/* The matrices of a block of parameters, or of a gradient. */
static weights weights_of(const unit *u, const void *block)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    int count = cell->groups * unit_panels(u), I = u->inputs, H = is_recurrent(u) ? u->options.hidden : 0;
    size_t lanes = (size_t)k->lanes;
    if (cell->apart)
        return (weights){
            .x = {unit_part(u, block, "weight_ih"), count, I, (size_t)I * lanes},
            .h = {unit_part(u, block, "weight_hh"), count, H, (size_t)H * lanes},
            .bias = unit_part(u, block, "bias_ih"),
            .bias_h = unit_part(u, block, "bias_hh"),
        };
    void *joint = unit_part(u, block, "weight");
    size_t step = (size_t)(I + H) * lanes;
    return (weights){
        .x = {joint, count, I, step},
        .h = {value_at(k, joint, (size_t)I * lanes), count, H, step},
        .bias = unit_part(u, block, "bias"),
    };
}

void gated_plan(unit *u)
{
    const gated_cell *cell = cell_of(u);
    int H = u->options.hidden, I = u->inputs, G = cell->groups;
    double bound = 1 / sqrt(cell->recurrent ? H : I);
    if (cell->apart) {
        unit_add_groups(u, "weight_ih", LAYOUT_MATRIX, G, H, I, -bound, bound);
        unit_add_groups(u, "weight_hh", LAYOUT_MATRIX, G, H, H, -bound, bound);
        unit_add_groups(u, "bias_ih", LAYOUT_VECTOR, G, H, 1, -bound, bound);
        unit_add_groups(u, "bias_hh", LAYOUT_VECTOR, G, H, 1, -bound, bound);
    } else {
        unit_add_groups(u, "weight", LAYOUT_MATRIX, G, H, I + (cell->recurrent ? H : 0), -bound, bound);
        unit_add_groups(u, "bias", LAYOUT_VECTOR, G, H, 1, -bound, bound);
    }
    if (cell->recurrent) unit_add_state(u, "h", LAYOUT_VECTOR, H, 1);
    if (cell->c_row >= 0) unit_add_state(u, "c", LAYOUT_VECTOR, H, 1);
}

/* A sample's tape: the second state row before the first step, then the cell's rows of every step. */
static size_t tape_first(const unit *u)
{
    const gated_cell *cell = cell_of(u);
    return cell->c_row >= 0 ? u->row : 0;
}

size_t gated_tape_values(const unit *u, int steps)
{
    const gated_cell *cell = cell_of(u);
    return tape_first(u) + (size_t)steps * (size_t)cell->tape_rows * u->row;
}

static size_t gate_values(const unit *u)
{
    const gated_cell *cell = cell_of(u);
    return (size_t)cell->groups * u->row;
}

/* ---------------------------------------------------------------------------------------------------------- forward */

typedef struct forward_space {
    void *gates;     // (CHUNK, BLOCK, groups, Hp)
    void *recurrent; // (CHUNK, groups, Hp)
    void *size_x;    // (I) sums over the rows of |Wx|
    void *size_h;    // (H)
    void *end;
} forward_space;

static forward_space forward_space_at(const unit *u, const void *work)
{
    const kernel_table *k = u->kernel;
    size_t gates = gate_values(u);
    forward_space s;
    s.gates = value_at(k, work, 0);
    s.recurrent = value_at(k, s.gates, CHUNK * BLOCK * gates);
    s.size_x = value_at(k, s.recurrent, CHUNK * gates);
    s.size_h = value_at(k, s.size_x, unit_input_row(u));
    s.end = value_at(k, s.size_h, u->row);
    return s;
}

size_t gated_forward_bytes(const unit *u)
{
    return (size_t)(uintptr_t)forward_space_at(u, NULL).end;
}

static void *state_row(const unit *u, const unit_sweep *s, int sample, int index)
{
    if (index >= u->state_count) return NULL;
    return value_at(u->kernel, s->state, (size_t)sample * s->state_sample + u->states[index].offset);
}

/* Step t of the sweep, `place` of its block, for one sample whose gates are ready. */
static void step_sample(const unit *u, const unit_sweep *s, const forward_space *space, int b, int t, int place)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    size_t gates = gate_values(u), row_bytes = u->row * k->size;
    void *out = value_at(k, s->out, (size_t)b * s->out_sample + (size_t)t * u->row);
    void *h = state_row(u, s, b, 0), *c = state_row(u, s, b, 1), *tape = NULL;
    if (s->tape)
        tape = value_at(k, s->tape,
                        (size_t)b * s->tape_sample + tape_first(u) +
                            (size_t)(s->begin + t) * (size_t)cell->tape_rows * u->row);
    if (s->flags[(size_t)b * s->flags_sample + (size_t)t] & STEP_LIVE) {
        cell_step step = {
            .gates = value_at(k, space->gates, ((size_t)b * BLOCK + (size_t)place) * gates),
            .recurrent = cell->apart ? value_at(k, space->recurrent, (size_t)b * gates) : NULL,
            .h = h ? h : out,
            .c = c,
            .tape = tape,
        };
        cell->forward(u, &step);
    } else if (tape && c) {
        memcpy(value_at(k, tape, (size_t)cell->c_row * u->row), c, row_bytes);
    }
    if (h) memcpy(out, h, row_bytes);
    else if (!(s->flags[(size_t)b * s->flags_sample + (size_t)t] & STEP_LIVE)) memset(out, 0, row_bytes);
}

static void add_energy(const unit *u, const unit_sweep *s, const forward_space *space, int b, int t)
{
    const kernel_table *k = u->kernel;
    void *energy = value_at(k, s->energy, (size_t)b * s->energy_sample + (size_t)t);
    k->add_energy((size_t)u->inputs, value_at(k, s->x, (size_t)b * s->x_sample + (size_t)t * s->x_step), space->size_x,
                  energy);
    if (is_recurrent(u)) k->add_energy((size_t)u->options.hidden, state_row(u, s, b, 0), space->size_h, energy);
}

/* What stands before the first step of a tape. */
static void record_start(const unit *u, const unit_sweep *s)
{
    const kernel_table *k = u->kernel;
    for (int b = 0; b < s->samples; b++) {
        void *before = value_at(k, s->out, (size_t)b * s->out_sample);
        void *h = state_row(u, s, b, 0), *c = state_row(u, s, b, 1);
        if (h) memcpy((char *)before - u->row * k->size, h, u->row * k->size);
        if (c && tape_first(u)) memcpy(value_at(k, s->tape, (size_t)b * s->tape_sample), c, u->row * k->size);
    }
}

void gated_forward(const unit *u, const void *parameters, const unit_sweep *s, void *work)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    weights w = weights_of(u, parameters);
    forward_space space = forward_space_at(u, work);
    size_t gates = gate_values(u);
    if (s->energy) {
        k->absolute_sums(&w.x, space.size_x);
        if (is_recurrent(u)) k->absolute_sums(&w.h, space.size_h);
    }
    if (s->tape && s->begin == 0) record_start(u, s);
    for (int begin = 0; begin < s->steps; begin += BLOCK) {
        int steps = s->steps - begin < BLOCK ? s->steps - begin : BLOCK, rows = s->samples * steps;
        row_list x = {value_at(k, s->x, (size_t)begin * s->x_step), rows, steps, s->x_sample, s->x_step};
        row_list out = {space.gates, rows, steps, BLOCK * gates, gates};
        k->product(&x, &w.x, w.bias, &out);
        for (int place = 0; place < steps; place++) {
            int t = begin + place;
            for (int b = 0; b < s->samples && is_recurrent(u); b++)
                if (s->flags[(size_t)b * s->flags_sample + (size_t)t] == (STEP_LIVE | STEP_RESET))
                    memset(value_at(k, s->state, (size_t)b * s->state_sample), 0, u->state_values * k->size);
            if (is_recurrent(u)) {
                row_list h = {state_row(u, s, 0, 0), s->samples, 1, s->state_sample, 0};
                row_list sum = {value_at(k, space.gates, (size_t)place * gates), s->samples, 1, BLOCK * gates, 0};
                if (cell->apart) sum = (row_list){space.recurrent, s->samples, 1, gates, 0};
                k->product(&h, &w.h, w.bias_h, &sum);
            }
            for (int b = 0; b < s->samples; b++) {
                if (s->energy && s->flags[(size_t)b * s->flags_sample + (size_t)t] & STEP_LIVE)
                    add_energy(u, s, &space, b, t);
                step_sample(u, s, &space, b, t, place);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- backward */

typedef struct backward_space {
    void *wx, *wh; // transposed
    void *d;       // (CHUNK, BLOCK, 1 or 2 times groups, Hp)
    void *before;  // (CHUNK, BLOCK, Hp) h before each step
    void *dh;      // (CHUNK, Hp) of a unit without state
    void *dx;      // (CHUNK, BLOCK, Ip)
    void *zero;    // (Hp)
    size_t d_row;  // values of a step of d
    void *end;
} backward_space;

static backward_space backward_space_at(const unit *u, const void *work)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    size_t gates = gate_values(u);
    backward_space s;
    s.d_row = gates * (cell->apart ? 2 : 1);
    s.wx = value_at(k, work, 0);
    s.wh = value_at(k, s.wx, unit_input_row(u) * gates);
    s.d = value_at(k, s.wh, is_recurrent(u) ? u->row * gates : 0);
    s.before = value_at(k, s.d, CHUNK * BLOCK * s.d_row);
    s.dh = value_at(k, s.before, CHUNK * BLOCK * u->row);
    s.dx = value_at(k, s.dh, CHUNK * u->row);
    s.zero = value_at(k, s.dx, CHUNK * BLOCK * unit_input_row(u));
    s.end = value_at(k, s.zero, u->row);
    return s;
}

size_t gated_backward_bytes(const unit *u)
{
    return (size_t)(uintptr_t)backward_space_at(u, NULL).end;
}

static int is_live(const unit_back *s, int b, int t)
{
    return t < s->steps[b] && s->flags[(size_t)b * s->flags_sample + (size_t)t] & STEP_LIVE;
}

static int is_reset(const unit_back *s, int b, int t)
{
    return s->flags[(size_t)b * s->flags_sample + (size_t)t] & STEP_RESET;
}

static void *dstate_row(const unit *u, const unit_back *s, const backward_space *space, int b, int index)
{
    if (index >= u->state_count) return index ? NULL : value_at(u->kernel, space->dh, (size_t)b * u->row);
    return value_at(u->kernel, s->dstate, (size_t)b * s->dstate_sample + u->states[index].offset);
}

/* The cell's part of step t of sample b, `place` in its segment. */
static void back_sample(const unit *u, const unit_back *s, const backward_space *space, int b, int t, int place)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    size_t sample = (size_t)b, step = (size_t)t, row_bytes = u->row * k->size, at = sample * BLOCK + (size_t)place;
    void *d = value_at(k, space->d, at * space->d_row), *before = value_at(k, space->before, at * u->row);
    if (!is_live(s, b, t)) {
        memset(d, 0, space->d_row * k->size);
        memset(before, 0, row_bytes);
        return;
    }
    int begin = s->dy_begin ? s->dy_begin[b] : 0, reset = is_reset(s, b, t);
    const char *tape = (const char *)s->tape + (sample * s->tape_sample + tape_first(u)) * k->size;
    size_t tape_bytes = (size_t)cell->tape_rows * row_bytes;
    const void *c_before = NULL;
    if (cell->c_row >= 0)
        c_before = t == 0 ? tape - row_bytes : tape + (step - 1) * tape_bytes + (size_t)cell->c_row * row_bytes;
    const void *h_before = value_at(k, s->out, sample * s->out_sample + step * u->row);
    if (reset || !is_recurrent(u)) h_before = space->zero;
    memcpy(before, h_before, row_bytes);
    void *dh = dstate_row(u, s, space, b, 0);
    if (t >= begin)
        k->accumulate((size_t)u->options.hidden, dh,
                      value_at(k, s->dy, sample * s->dy_sample + (size_t)(t - begin) * s->dy_step));
    cell_back back = {
        .tape = tape + step * tape_bytes,
        .h = value_at(k, s->out, sample * s->out_sample + (step + 1) * u->row),
        .h_before = h_before,
        .c_before = reset ? space->zero : c_before,
        .dh = dh,
        .dc = dstate_row(u, s, space, b, 1),
        .d = d,
    };
    cell->backward(u, &back);
}

/* Gradients of the matrices and of x from a segment's adjoints: steps [begin, end) of `samples` samples from b on. */
static void back_products(const unit *u, const unit_back *s, const backward_space *space, const weights *grad, int b,
                          int samples, int begin, int end)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    int steps = end - begin, rows = samples * steps, panel_count = cell->groups * unit_panels(u);
    if (steps <= 0) return;
    size_t gates = gate_values(u), sample = (size_t)b, d_step = BLOCK * space->d_row;
    row_list d = {value_at(k, space->d, sample * d_step), rows, steps, d_step, space->d_row};
    row_list x = {value_at(k, s->x, sample * s->x_sample + (size_t)begin * s->x_step), rows, steps, s->x_sample,
                  s->x_step};
    k->product_gradient(&d, &x, &grad->x, (void *)(uintptr_t)grad->bias);
    if (is_recurrent(u)) {
        row_list h = {value_at(k, space->before, sample * BLOCK * u->row), rows, steps, BLOCK * u->row, u->row};
        row_list dh = d;
        if (cell->apart) dh.values = value_at(k, d.values, gates);
        k->product_gradient(&dh, &h, &grad->h, (void *)(uintptr_t)grad->bias_h);
    }
    if (!s->dx) return;
    size_t row = unit_input_row(u), width = (size_t)panel_count * (size_t)k->lanes;
    panel_matrix back = {space->wx, (int)(row / (size_t)k->lanes), (int)width, width * (size_t)k->lanes};
    row_list dx = {space->dx, rows, steps, (size_t)steps * row, row};
    memset(space->dx, 0, (size_t)rows * row * k->size);
    k->product(&d, &back, NULL, &dx);
    for (int i = 0; i < samples; i++)
        for (int t = 0; t < steps; t++)
            memcpy(value_at(k, s->dx, (sample + (size_t)i) * s->dx_sample + (size_t)(begin + t) * s->dx_step),
                   value_at(k, space->dx, (size_t)(i * steps + t) * row), (size_t)u->inputs * k->size);
}

void gated_backward(const unit *u, const void *parameters, void *gradient, const unit_back *s, void *work)
{
    const gated_cell *cell = cell_of(u);
    const kernel_table *k = u->kernel;
    weights w = weights_of(u, parameters), grad = weights_of(u, gradient);
    backward_space space = backward_space_at(u, work);
    size_t gates = gate_values(u), lanes = (size_t)k->lanes;
    int longest = 0, equal = 1;
    for (int b = 0; b < s->samples; b++) {
        if (s->steps[b] > longest) longest = s->steps[b];
        equal = equal && s->steps[b] == s->steps[0];
    }
    memset(space.zero, 0, u->row * k->size);
    memset(space.dh, 0, CHUNK * u->row * k->size);
    if (s->dx) k->transpose(&w.x, space.wx);
    if (is_recurrent(u)) k->transpose(&w.h, space.wh);
    panel_matrix back = {space.wh, unit_panels(u), (int)gates, gates * lanes};
    for (int end = longest; end > 0;) {
        int begin = (end - 1) / BLOCK * BLOCK;
        for (int t = end - 1; t >= begin; t--) {
            int place = t - begin;
            for (int b = 0; b < s->samples; b++) back_sample(u, s, &space, b, t, place);
            if (!is_recurrent(u)) continue;
            row_list d = {value_at(k, space.d, (size_t)place * space.d_row + (cell->apart ? gates : 0)), s->samples, 1,
                          BLOCK * space.d_row, 0};
            row_list dh = {dstate_row(u, s, &space, 0, 0), s->samples, 1, s->dstate_sample, 0};
            if (t > 0 || s->dense) k->product(&d, &back, NULL, &dh);
            for (int b = 0; b < s->samples; b++)
                if (is_live(s, b, t) && is_reset(s, b, t))
                    memset(value_at(k, s->dstate, (size_t)b * s->dstate_sample), 0, u->state_values * k->size);
        }
        if (equal) back_products(u, s, &space, &grad, 0, s->samples, begin, end);
        else
            for (int b = 0; b < s->samples; b++)
                back_products(u, s, &space, &grad, b, 1, begin, s->steps[b] < end ? s->steps[b] : end);
        end = begin;
    }
}

void gated_operations(const unit *u, unit_operations *count)
{
    const gated_cell *cell = cell_of(u);
    double H = u->options.hidden, K = u->inputs + (cell->recurrent ? H : 0), rows = cell->groups * H;
    *count = (unit_operations){
        .multiply_accumulates = rows * K + H * cell->neuron.multiply_accumulates,
        .multiplies = H * cell->neuron.multiplies,
        .accumulates = rows * (cell->apart ? 2 : 1) + H * cell->neuron.accumulates,
        .functions = H * cell->neuron.functions,
        .reads = rows * K + rows * (cell->apart ? 2 : 1) + H * u->state_count,
        .writes = H * u->state_count,
    };
}

void gated_source(const unit *u, source_text *s)
{
    const gated_cell *cell = cell_of(u);
    int rows = cell->groups * u->options.hidden;
    source_row(s, "p", rows);
    if (cell->apart) source_row(s, "q", rows);
    source_put(s, "    for (int r = 0; r < %d; r++) {\n", rows);
    if (cell->apart)
        source_put(s, "        p[r] = bias_ih[r] + dot(I, weight_ih + r * I, x);\n"
                      "        q[r] = bias_hh[r] + dot(H, weight_hh + r * H, h);\n");
    else if (cell->recurrent)
        source_put(s,
                   "        p[r] = bias[r] + dot(I, weight + r * (I + H), x) + dot(H, weight + r * (I + H) + I, h);\n");
    else source_put(s, "        p[r] = bias[r] + dot(I, weight + r * I, x);\n");
    source_put(s, "    }\n    for (int j = 0; j < H; j++) {\n%s", cell->source);
    source_put(s, "%s    }\n", cell->recurrent ? "        h[j] = y[j];\n" : "");
}
