#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/outcome.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int plan_inputs(const problem_plan *plan, int unit)
{
    return unit == 0 ? plan->inputs : plan->units[unit - 1].hidden;
}

int plan_outputs(const problem_plan *plan)
{
    return plan->units[plan->unit_count - 1].hidden;
}

static void add_parameter(problem *p, int unit, const reference_tensor *t)
{
    char full[32];
    snprintf(full, sizeof full, "units.%d.%s", unit, t->name);
    p->parameters[p->parameter_count++] = tensor_new(&p->shelf, full, t->columns ? 2 : 1, t->rows, t->columns, 0);
}

static void add_state(problem *p, int unit, const reference_tensor *t)
{
    char full[32];
    snprintf(full, sizeof full, "units.%d.%s", unit, t->name);
    p->states[p->state_count] = tensor_new(&p->shelf, full, t->columns ? 3 : 2, p->plan.batch, t->rows, t->columns);
    p->dstates[p->state_count] = tensor_like(&p->shelf, &p->states[p->state_count]);
    p->state_count++;
}

static void lay_out_reference(problem *p, int unit, const reference_kind *kind)
{
    const stpn_unit *u = &p->plan.units[unit];
    int inputs = plan_inputs(&p->plan, unit);
    reference_tensor list[REFERENCE_TENSORS];
    assert_in_range(u->hidden, 1, REFERENCE_MOST_HIDDEN);
    assert_in_range(inputs + u->hidden, 2, REFERENCE_MOST_COLUMNS);
    int count = kind->parameters(u, inputs, list);
    for (int k = 0; k < count; k++) add_parameter(p, unit, &list[k]);
    count = kind->states(u, inputs, list);
    for (int k = 0; k < count; k++) add_state(p, unit, &list[k]);
}

/* A unit that has no reference has the tensors that the library says. */
static void lay_out_library(problem *p, int unit)
{
    stpn_net *net = NULL;
    stpn_state *state = NULL;
    stpn_error error;
    stpn_net_desc desc = {
        .real = STPN_DOUBLE, .inputs = plan_inputs(&p->plan, unit), .units = &p->plan.units[unit], .unit_count = 1};
    if (stpn_net_create(&net, &desc, &error) || stpn_state_create(&state, net, 1, &error))
        fail_msg("%s", error.message);
    stpn_tensor t;
    for (int i = 0; stpn_net_tensor(net, i, &t); i++)
        add_parameter(p, unit, &(reference_tensor){strrchr(t.name, '.') + 1, t.shape[0], t.rank == 2 ? t.shape[1] : 0});
    for (int i = 0; stpn_state_tensor(state, i, &t); i++)
        add_state(p, unit, &(reference_tensor){strrchr(t.name, '.') + 1, t.shape[1], t.rank == 3 ? t.shape[2] : 0});
    stpn_state_free(state);
    stpn_net_free(net);
}

/* Empty tensors of the plan's sizes. */
static void lay_out(problem *p)
{
    const problem_plan *plan = &p->plan;
    int T = plan->steps, B = plan->batch;
    for (int i = 0; i < plan->unit_count; i++) {
        const reference_kind *kind = reference_find(plan->units[i].name);
        if (kind) lay_out_reference(p, i, kind);
        else lay_out_library(p, i);
    }
    p->x = tensor_new(&p->shelf, "x", 3, T, B, plan->inputs);
    p->dy = tensor_new(&p->shelf, "dy", 3, T, B, plan_outputs(plan));
    p->live = shelf_keep(&p->shelf, (size_t)T * (size_t)B);
    p->reset = shelf_keep(&p->shelf, (size_t)T * (size_t)B);
}

/* Between `low` and `high`, of either sign. */
static double draw_sized(random_stream *stream, double low, double high)
{
    double size = random_range(stream, low, high);
    return (float)(random_below(stream, 2) ? size : -size);
}

/* Weights keep away from 0, so that no row nearly vanishes; rates too, so that what is plastic matters. */
static double draw_parameter(const tensor *t, random_stream *stream, double strength)
{
    double width = 1.5 / sqrt(t->shape[1]);
    if (tensor_is(t, "gamma")) return draw_sized(stream, 0.5 * strength, strength);
    if (tensor_is(t, "lambda")) return (float)random_range(stream, 0.3, 1);
    if (tensor_is(t, "ln_weight")) return (float)random_range(stream, 0.5, 1.5);
    if (tensor_is(t, "alpha")) return draw_sized(stream, 0.5 * strength * width, strength * width);
    if (tensor_is(t, "eta")) return (float)random_range(stream, 0.5 * strength, strength);
    if (tensor_is(t, "lambda_logit")) return (float)random_range(stream, 0, 2);
    if (tensor_is(t, "eta_log")) return (float)log(random_range(stream, 0.5 * strength, strength));
    if (t->rank == 2) return draw_sized(stream, 0.2 * width, width);
    return draw_sized(stream, 0, 0.5);
}

static void draw_parameters(problem *p, random_stream *stream, double strength)
{
    for (int i = 0; i < p->parameter_count; i++) {
        tensor *t = &p->parameters[i];
        for (size_t k = 0; k < t->count; k++) t->values[k] = draw_parameter(t, stream, strength);
    }
    for (int i = 0; i < p->plan.unit_count; i++) {
        p->plan.units[i].lambda = (float)random_range(stream, 0.3, 1);
        p->plan.units[i].gamma = draw_sized(stream, 0.5 * strength, strength);
        if (p->plan.units[i].inner_steps) p->plan.units[i].eta = (float)random_range(stream, 0.5 * strength, strength);
    }
}

static void draw_state(problem *p, tensor *t, random_stream *stream, double size)
{
    tensor_fill(t, stream, -size, size);
    const stpn_unit *u = &p->plan.units[tensor_unit(t)];
    int begin, end;
    reference_range(u, plan_inputs(&p->plan, tensor_unit(t)), &begin, &end);
    for (size_t i = 0; i < t->count && t->rank == 3; i++) {
        int k = (int)(i % (size_t)t->shape[2]);
        if (k < begin || k >= end) t->values[i] = 0;
    }
}

static void draw_inputs(problem *p, random_stream *stream)
{
    size_t steps = (size_t)p->plan.steps * (size_t)p->plan.batch, I = (size_t)p->plan.inputs;
    double *x = p->x.values;
    if (p->plan.input == PLAN_TOKENS && !p->tokens) p->tokens = shelf_keep(&p->shelf, steps * sizeof *p->tokens);
    if (p->plan.input == PLAN_BYTES && !p->bytes) p->bytes = shelf_keep(&p->shelf, steps * I);
    tensor_fill(&p->x, stream, -1, 1);
    for (size_t i = 0; i < steps * I; i++) {
        if (p->plan.input == PLAN_SPARSE && random_below(stream, 4) > 0) x[i] = 0;
        if (p->plan.input == PLAN_BYTES) x[i] = p->bytes[i] = (uint8_t)random_below(stream, 4);
        if (p->plan.input == PLAN_TOKENS) x[i] = 0;
    }
    /* For differences, no row of zeros: a layer norm would come upon it. */
    for (size_t i = 0; i < steps && p->plan.input == PLAN_SPARSE && p->plan.smooth; i++)
        x[i * I + random_below(stream, (uint32_t)I)] = (float)random_range(stream, 0.5, 1);
    for (size_t i = 0; i < steps && p->plan.input == PLAN_TOKENS; i++) {
        p->tokens[i] = (int32_t)random_below(stream, (uint32_t)I);
        x[i * I + (size_t)p->tokens[i]] = 1;
    }
}

static void draw_flags(problem *p, random_stream *stream)
{
    int T = p->plan.steps, B = p->plan.batch;
    for (int b = 0; b < B; b++) {
        int length = b == 0 ? T : b == 1 ? 0 : (int)random_below(stream, (uint32_t)T + 1);
        for (int t = 0; t < T; t++) {
            int at = b * T + t;
            p->live[at] = !p->plan.lengths || t < length;
            if (p->plan.gaps) p->live[at] = random_below(stream, 3) > 0;
            p->reset[at] = p->plan.resets && random_below(stream, 4) == 0;
        }
    }
}

static void draw(problem *p, random_stream *stream, double strength)
{
    draw_parameters(p, stream, strength);
    for (int i = 0; i < p->state_count; i++) {
        if (p->plan.started) draw_state(p, &p->states[i], stream, p->states[i].rank == 3 ? strength : 0.9);
        draw_state(p, &p->dstates[i], stream, 1);
    }
    tensor_fill(&p->dy, stream, -1, 1);
    draw_inputs(p, stream);
    draw_flags(p, stream);
}

static double largest_error(const problem *p, const outcome *a, const outcome *b)
{
    double error = fmax(tensor_error(&a->y, &b->y), tensor_error(&a->energy, &b->energy));
    for (int i = 0; i < p->state_count; i++) error = fmax(error, tensor_error(&a->states[i], &b->states[i]));
    return error;
}

static void restore(tensor *t, const tensor *from)
{
    memcpy(t->values, from->values, t->count * sizeof *t->values);
}

static void jitter(tensor *t, random_stream *stream)
{
    for (size_t i = 0; i < t->count; i++) t->values[i] *= 1 + (random_below(stream, 2) ? 0x1p-24 : -0x1p-24);
}

/* How far the outcome moves where every weight does by half a unit in a float's last place and F and h are rounded to
 * floats after every step. */
static double sensitivity_to_rounding(problem *p, const outcome *exact, random_stream *stream)
{
    outcome moved;
    shelf own = {0};
    tensor before[PROBLEM_TENSORS];
    for (int i = 0; i < p->parameter_count; i++) {
        before[i] = tensor_copy(&own, &p->parameters[i]);
        jitter(&p->parameters[i], stream);
    }
    p->rounded = 1;
    reference_outcome(p, &moved);
    p->rounded = 0;
    for (int i = 0; i < p->parameter_count; i++) restore(&p->parameters[i], &before[i]);
    double error = largest_error(p, &moved, exact);
    outcome_free(&moved);
    shelf_clear(&own);
    return error;
}

/* A problem is drawn again, with ever less plasticity, while it is ill-conditioned: where rounding alone moves the outcome
 * by a part of a float's tolerance, nothing is learned about an implementation. For differences it must also keep away
 * from corners and from layer norms of zeros, whose derivative is 316 over a width of a thousandth. */
static int is_sound(problem *p, random_stream *stream)
{
    outcome exact;
    reference_outcome(p, &exact);
    reference_closeness close = p->closeness;
    int sound = close.largest < 10 && close.spread > 0.05 && sensitivity_to_rounding(p, &exact, stream) < 5e-7;
    if (p->plan.smooth) sound &= close.clamp_gap > 2e-4 && close.branch_gap > 1e-4 && close.flat == 0;
    p->closeness = close;
    outcome_free(&exact);
    return sound;
}

void problem_make(problem *p, const problem_plan *plan, uint64_t seed)
{
    *p = (problem){.plan = *plan};
    lay_out(p);
    random_stream stream = random_open(seed, RANDOM_BENCH, 1);
    double strength = 0.6;
    for (int attempt = 0; attempt < 1000; attempt++, strength *= 0.98) {
        draw(p, &stream, strength);
        if (plan->rough || is_sound(p, &stream)) return;
    }
    fail_msg("no such problem: %s", problem_text(p));
}

/* Rows of `size` bytes of samples [first, last) of (T, B, ...). */
static void take_rows(const problem *p, const problem *whole, int first, const void *from, void *to, size_t size)
{
    size_t B = (size_t)whole->plan.batch, taken = (size_t)p->plan.batch;
    for (size_t t = 0; t < (size_t)p->plan.steps && from; t++)
        memcpy((char *)to + t * taken * size, (const char *)from + (t * B + (size_t)first) * size, taken * size);
}

void problem_take(problem *p, const problem *whole, int first, int last)
{
    *p = (problem){.plan = whole->plan};
    p->plan.batch = last - first;
    lay_out(p);
    size_t T = (size_t)p->plan.steps, B = (size_t)p->plan.batch, I = (size_t)p->plan.inputs, begin = (size_t)first;
    for (int i = 0; i < p->parameter_count; i++)
        memcpy(p->parameters[i].values, whole->parameters[i].values, p->parameters[i].count * sizeof(double));
    for (int i = 0; i < p->state_count; i++) {
        size_t count = p->states[i].count;
        memcpy(p->states[i].values, whole->states[i].values + begin * (count / B), count * sizeof(double));
        memcpy(p->dstates[i].values, whole->dstates[i].values + begin * (count / B), count * sizeof(double));
    }
    if (whole->tokens) p->tokens = shelf_keep(&p->shelf, T * B * sizeof *p->tokens);
    if (whole->bytes) p->bytes = shelf_keep(&p->shelf, T * B * I);
    take_rows(p, whole, first, whole->x.values, p->x.values, I * sizeof(double));
    take_rows(p, whole, first, whole->dy.values, p->dy.values, (size_t)plan_outputs(&p->plan) * sizeof(double));
    take_rows(p, whole, first, whole->tokens, p->tokens, sizeof *p->tokens);
    take_rows(p, whole, first, whole->bytes, p->bytes, I);
    memcpy(p->live, whole->live + begin * T, B * T);
    memcpy(p->reset, whole->reset + begin * T, B * T);
}

void problem_free(problem *p)
{
    shelf_clear(&p->shelf);
}

const char *problem_text(const problem *p)
{
    static const char *const inputs[] = {"dense", "sparse", "tokens", "bytes"};
    static char text[1024];
    text[0] = 0;
    for (int i = 0; i < p->plan.unit_count; i++) {
        char unit[256];
        text_append(text, sizeof text, "%s%s", i ? " -> " : "", combination_text(&p->plan.units[i], unit, sizeof unit));
    }
    text_append(text, sizeof text, ", I=%d T=%d B=%d %s%s%s%s%s", p->plan.inputs, p->plan.steps, p->plan.batch,
                inputs[p->plan.input], p->plan.resets ? " resets" : "", p->plan.lengths ? " lengths" : "",
                p->plan.gaps ? " gaps" : "", p->plan.started ? " started" : "");
    return text;
}
