#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/outcome.h"

#include <math.h>
#include <string.h>

static reference take_unit(const problem *p, int unit)
{
    reference r = {.unit = p->plan.units[unit], .inputs = plan_inputs(&p->plan, unit)};
    for (int i = 0; i < p->parameter_count; i++) {
        if (tensor_unit(&p->parameters[i]) != unit) continue;
        r.names[r.count] = strrchr(p->parameters[i].name, '.') + 1;
        r.values[r.count++] = p->parameters[i].values;
    }
    return r;
}

/* A sample's rows of all steps: to or from (T, B, n). */
static void gather(const tensor *from, size_t sample, double *to)
{
    size_t T = (size_t)from->shape[0], B = (size_t)from->shape[1], n = (size_t)from->shape[2];
    for (size_t t = 0; t < T; t++) memcpy(to + t * n, from->values + (t * B + sample) * n, n * sizeof *to);
}

/* Room for one sample's run: rows between units, the state of all steps. */
typedef struct reference_space {
    double *rows[2], *state, *energy;
} reference_space;

static reference_space new_space(const problem_plan *plan, shelf *s)
{
    size_t T = (size_t)plan->steps, rows = T + 1, widest = (size_t)plan->inputs, most = 0;
    for (int i = 0; i < plan->unit_count; i++) {
        size_t H = (size_t)plan->units[i].hidden;
        size_t values = (size_t)reference_state_values(&plan->units[i], plan_inputs(plan, i));
        if (H > widest) widest = H;
        if (values > most) most = values;
    }
    reference_space space;
    for (int i = 0; i < 2; i++) space.rows[i] = shelf_keep(s, rows * widest * sizeof(double));
    space.state = shelf_keep(s, rows * most * sizeof(double));
    space.energy = shelf_keep(s, rows * sizeof(double));
    return space;
}

/* Runs one sample; adds up the loss sum(y dy) + sum(final state dstate). Where `o` is not NULL its values go there. */
static double run_sample(const problem *p, int sample, const reference_space *space, outcome *o,
                         reference_closeness *close)
{
    const problem_plan *plan = &p->plan;
    size_t T = (size_t)plan->steps, B = (size_t)plan->batch, b = (size_t)sample, H = (size_t)plan_outputs(plan);
    double loss = 0;
    int state = 0;
    memset(space->energy, 0, T * sizeof(double));
    gather(&p->x, b, space->rows[0]);
    for (int i = 0; i < plan->unit_count; i++) {
        reference r = take_unit(p, i);
        size_t row = (size_t)r.unit.hidden, values = (size_t)reference_state_values(&r.unit, r.inputs), offset = 0;
        int first = state;
        for (; state < p->state_count && tensor_unit(&p->states[state]) == i; state++) {
            size_t count = p->states[state].count / B;
            memcpy(space->state + offset, p->states[state].values + b * count, count * sizeof(double));
            offset += count;
        }
        size_t part = p->rounded ? 1 : T;
        for (size_t t = 0; t < T; t += part) {
            double *before = space->state + t * values;
            reference_run(&r, (int)part, space->rows[i % 2] + t * (size_t)r.inputs, p->live + b * T + t,
                          p->reset + b * T + t, before, space->rows[1 - i % 2] + t * row, space->energy + t, close);
            for (size_t k = 0; k < values && p->rounded; k++) before[values + k] = (float)before[values + k];
        }
        const double *final = space->state + T * values;
        for (int s = first; s < state; s++) {
            size_t count = p->states[s].count / B;
            for (size_t k = 0; k < count; k++) loss += final[k] * p->dstates[s].values[b * count + k];
            if (o) memcpy(o->states[s].values + b * count, final, count * sizeof(double));
            final += count;
        }
    }
    const double *y = space->rows[plan->unit_count % 2];
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < H; j++) loss += y[t * H + j] * p->dy.values[(t * B + b) * H + j];
    for (size_t t = 0; t < T && o; t++) {
        memcpy(o->y.values + (t * B + b) * H, y + t * H, H * sizeof(double));
        o->energy.values[t * B + b] = space->energy[t];
    }
    return loss;
}

void outcome_new(const problem *p, outcome *o)
{
    int T = p->plan.steps, B = p->plan.batch;
    *o = (outcome){0};
    o->y = tensor_new(&o->shelf, "y", 3, T, B, plan_outputs(&p->plan));
    o->energy = tensor_new(&o->shelf, "energy", 2, T, B, 0);
    for (int i = 0; i < p->state_count; i++) o->states[i] = tensor_like(&o->shelf, &p->states[i]);
}

void outcome_add_gradient(const problem *p, outcome *o)
{
    for (int i = 0; i < p->parameter_count; i++) o->dparameters[i] = tensor_like(&o->shelf, &p->parameters[i]);
    for (int i = 0; i < p->state_count; i++) o->dstates[i] = tensor_like(&o->shelf, &p->states[i]);
    o->dx = tensor_like(&o->shelf, &p->x);
}

void outcome_free(outcome *o)
{
    shelf_clear(&o->shelf);
}

void reference_outcome(problem *p, outcome *o)
{
    outcome_new(p, o);
    reference_space space = new_space(&p->plan, &o->shelf);
    p->closeness =
        (reference_closeness){.clamp_gap = INFINITY, .branch_gap = INFINITY, .norm = INFINITY, .spread = INFINITY};
    for (int b = 0; b < p->plan.batch; b++) run_sample(p, b, &space, o, &p->closeness);
}

/* Derivative of the loss of samples [first, last) with respect to a value that the problem holds. */
static double difference(const problem *p, const reference_space *space, double *value, int first, int last)
{
    static const double places[4] = {-2, -1, 1, 2}, factors[4] = {1, -8, 8, -1};
    double middle = *value, width = 1e-5, total = 0;
    for (int i = 0; i < 4; i++) {
        *value = middle + places[i] * width;
        for (int b = first; b < last; b++) total += factors[i] * run_sample(p, b, space, NULL, NULL);
    }
    *value = middle;
    return total / (12 * width);
}

double reference_difference(const problem *p, double *value, int first, int last)
{
    shelf own = {0};
    reference_space space = new_space(&p->plan, &own);
    double slope = difference(p, &space, value, first, last);
    shelf_clear(&own);
    return slope;
}

void reference_gradient(problem *p, outcome *o)
{
    reference_outcome(p, o);
    outcome_add_gradient(p, o);
    shelf own = {0};
    reference_space space = new_space(&p->plan, &own);
    int B = p->plan.batch;
    for (int i = 0; i < p->parameter_count; i++)
        for (size_t k = 0; k < p->parameters[i].count; k++)
            o->dparameters[i].values[k] = difference(p, &space, &p->parameters[i].values[k], 0, B);
    for (size_t k = 0; k < p->x.count; k++) {
        int b = (int)(k / (size_t)p->plan.inputs % (size_t)B);
        o->dx.values[k] = difference(p, &space, &p->x.values[k], b, b + 1);
    }
    for (int i = 0; i < p->state_count; i++) {
        const tensor *state = &p->states[i];
        int begin, end;
        reference_range(&p->plan.units[tensor_unit(state)], plan_inputs(&p->plan, tensor_unit(state)), &begin, &end);
        for (size_t k = 0; k < state->count; k++) {
            int b = (int)(k / (state->count / (size_t)B)), column = (int)(k % (size_t)state->shape[state->rank - 1]);
            if (state->rank == 3 && (column < begin || column >= end)) continue; // there is no such F
            o->dstates[i].values[k] = difference(p, &space, &state->values[k], b, b + 1);
        }
    }
    shelf_clear(&own);
}

double tensor_error(const tensor *a, const tensor *b)
{
    double largest = 1e-3, difference = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (!isfinite(a->values[i]) || !isfinite(b->values[i])) return NAN;
        largest = fmax(largest, fabs(b->values[i]));
        difference = fmax(difference, fabs(a->values[i] - b->values[i]));
    }
    return difference / largest;
}
