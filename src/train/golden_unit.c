/* Kind `unit`: one unit from a starting state over a sequence, and the gradient of sum(y dy) + sum(stateT dstateT). */
#include "base/error.h"
#include "base/memory.h"
#include "train/golden_file.h"

#include <limits.h>
#include <string.h>

/* F has no entry outside of these. */
static column_range plastic_columns(const golden *g, const unit_tensor *place)
{
    column_range range = {0, INT_MAX};
    if (strcmp(place->name, "F") != 0) return range;
    if (g->options.plastic == STPN_PLASTIC_INPUT) range.end = g->inputs;
    if (g->options.plastic == STPN_PLASTIC_HIDDEN) range.begin = g->inputs;
    return range;
}

typedef struct unit_tensors {
    const tensor_entry *x, *dy, *y, *energy, *dx;
    const tensor_entry *parameters[UNIT_MAX_TENSORS], *dparameters[UNIT_MAX_TENSORS];
    const tensor_entry *first[UNIT_MAX_STATES], *last[UNIT_MAX_STATES];
    const tensor_entry *dlast[UNIT_MAX_STATES], *dfirst[UNIT_MAX_STATES];
} unit_tensors;

/* What a pass in one type allocates. */
typedef struct unit_pass {
    stpn_net *net;
    stpn_state *state, *dstate;
    stpn_tape *tape;
    void *x, *dy, *y, *energy, *dx, *gradient;
} unit_pass;

static stpn_status find_unit_tensors(golden *g, unit_tensors *t)
{
    const unit *u = &g->plan;
    golden_shape inputs = {3, {g->steps, g->batch, g->inputs}}, outputs = {3, {g->steps, g->batch, g->hidden}};
    golden_shape steps = {2, {g->steps, g->batch}};
    stpn_status status = golden_find(g, &t->x, "", "x", GOLDEN_GIVEN, inputs);
    if (!status) status = golden_find(g, &t->dy, "", "dy", GOLDEN_GIVEN, outputs);
    if (!status) status = golden_find(g, &t->y, "", "y", GOLDEN_EXPECTED, outputs);
    if (!status) status = golden_find(g, &t->energy, "", "energy", GOLDEN_EXPECTED, steps);
    if (!status) status = golden_find(g, &t->dx, "grad.", "x", GOLDEN_EXPECTED, inputs);
    for (int i = 0; i < u->tensor_count && !status; i++) {
        golden_shape shape = golden_shape_of(&u->tensors[i], 0);
        const char *name = u->tensors[i].name;
        status = golden_find(g, &t->parameters[i], "param.", name, GOLDEN_GIVEN, shape);
        if (!status) status = golden_find(g, &t->dparameters[i], "grad.param.", name, GOLDEN_EXPECTED, shape);
    }
    for (int i = 0; i < u->state_count && !status; i++) {
        golden_shape shape = golden_shape_of(&u->states[i], g->batch);
        const char *name = u->states[i].name;
        status = golden_find(g, &t->first[i], "state0.", name, GOLDEN_GIVEN, shape);
        if (!status) status = golden_find(g, &t->last[i], "stateT.", name, GOLDEN_EXPECTED, shape);
        if (!status) status = golden_find(g, &t->dlast[i], "dstateT.", name, GOLDEN_GIVEN, shape);
        if (!status) status = golden_find(g, &t->dfirst[i], "grad.state0.", name, GOLDEN_EXPECTED, shape);
    }
    if (!status) status = golden_refuse_others(g);
    return status ? status : golden_limit_work(g, g->steps);
}

static stpn_status set_state(const golden *g, stpn_state *state, int index, const tensor_entry *entry, stpn_real real,
                             const column_range *columns)
{
    stpn_error inner = {{0}};
    void *values = golden_values(entry, real, columns);
    if (!values) return error_memory(g->error, "a state");
    stpn_status status = stpn_state_set(state, index, values, &inner);
    memory_free(values);
    if (status) return error_set(g->error, status, "%s: %s: %s", tensor_file_name(g->file), entry->name, inner.message);
    return STPN_OK;
}

static stpn_status compare_state(golden *g, const stpn_state *state, int index, const tensor_entry *expected,
                                 golden_terms terms, const column_range *columns)
{
    void *values = memory_zeroed(expected->count, golden_real_size(terms.real));
    if (!values) return error_memory(g->error, "a state");
    stpn_state_get(state, index, values);
    golden_compare(g, expected, terms.real, values, terms, columns);
    memory_free(values);
    return STPN_OK;
}

static stpn_status open_unit_pass(golden *g, const unit_tensors *t, stpn_real real, unit_pass *p)
{
    stpn_net_desc desc = {.real = real, .inputs = g->inputs, .units = &g->options, .unit_count = 1};
    size_t size = golden_real_size(real);
    stpn_status status = stpn_net_create(&p->net, &desc, g->error);
    if (!status) status = stpn_state_create(&p->state, p->net, g->batch, g->error);
    if (!status) status = stpn_state_create(&p->dstate, p->net, g->batch, g->error);
    if (!status) status = stpn_tape_create(&p->tape, p->net, g->steps, g->batch, 1, g->error);
    if (status) return status;
    p->x = golden_values(t->x, STPN_DOUBLE, NULL);
    p->dy = golden_values(t->dy, real, NULL);
    p->y = memory_zeroed(t->y->count, size);
    p->energy = memory_zeroed(t->energy->count, size);
    p->dx = memory_zeroed(t->dx->count, size);
    p->gradient = stpn_block_create(p->net);
    if (!p->x || !p->dy || !p->y || !p->energy || !p->dx || !p->gradient)
        return error_memory(g->error, "a golden file");
    for (int i = 0; i < g->plan.tensor_count && !status; i++)
        status = golden_set_parameter(g, p->net, i, t->parameters[i], real);
    for (int i = 0; i < g->plan.state_count && !status; i++) {
        column_range columns = plastic_columns(g, &g->plan.states[i]);
        status = set_state(g, p->state, i, t->first[i], real, NULL);
        /* The file's full width has numbers where this F has no entry; setting them is refused. */
        if (!status) status = set_state(g, p->dstate, i, t->dlast[i], real, &columns);
    }
    return status;
}

static void close_unit_pass(unit_pass *p)
{
    stpn_tape_free(p->tape);
    stpn_state_free(p->state);
    stpn_state_free(p->dstate);
    stpn_block_free(p->gradient);
    stpn_net_free(p->net);
    memory_free(p->x);
    memory_free(p->dy);
    memory_free(p->y);
    memory_free(p->energy);
    memory_free(p->dx);
}

static stpn_status run_unit(golden *g, const unit_tensors *t, stpn_real real)
{
    const golden_terms value = {real, 1e-5}, gradient = {real, 1e-4};
    unit_pass p = {0};
    stpn_status status = open_unit_pass(g, t, real, &p);
    stpn_sequence sequence = {.steps = g->steps, .batch = g->batch, .type = STPN_INPUT_DOUBLE, .x = p.x};
    if (!status) status = stpn_forward(p.net, p.state, &sequence, p.y, p.energy, p.tape, NULL, g->error);
    if (!status) status = stpn_backward(p.net, p.tape, p.dy, p.dstate, p.gradient, p.dx, NULL, g->error);
    if (!status) {
        golden_compare(g, t->y, real, p.y, value, NULL);
        golden_compare(g, t->energy, real, p.energy, value, NULL);
        golden_compare(g, t->dx, real, p.dx, gradient, NULL);
    }
    for (int i = 0; i < g->plan.tensor_count && !status; i++)
        status = golden_compare_block(g, p.net, p.gradient, i, t->dparameters[i], gradient);
    for (int i = 0; i < g->plan.state_count && !status; i++) {
        column_range columns = plastic_columns(g, &g->plan.states[i]);
        status = compare_state(g, p.state, i, t->last[i], value, NULL);
        if (!status) status = compare_state(g, p.dstate, i, t->dfirst[i], gradient, &columns);
    }
    close_unit_pass(&p);
    return status;
}

stpn_status golden_verify_unit(golden *g)
{
    unit_tensors tensors = {0};
    stpn_status status = find_unit_tensors(g, &tensors);
    if (!status) status = run_unit(g, &tensors, STPN_FLOAT);
    return status ? status : run_unit(g, &tensors, STPN_DOUBLE);
}
