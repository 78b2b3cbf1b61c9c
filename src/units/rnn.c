/* The recurrent neural network: h' = tanh(W [x;h] + b). */
#include "units/gated.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(stpn_unit, name)

static const option options[] = {
    UNIT_OPTION_HIDDEN,
    {"init", OPTION_CHOICE, FIELD(init), "uniform|miconi", 0, 0,
     "initial values: U(+-1/sqrt(H)); miconi: input weights and bias U(+-1/sqrt(I)), recurrent weights 0.01 U(0,1)"},
};

static void cell_forward(const unit *u, const cell_step *s)
{
    u->kernel->tanh_forward(u->row, s->gates, s->h);
}

static void cell_backward(const unit *u, const cell_back *s)
{
    u->kernel->tanh_backward(u->row, s->h, s->dh, s->d);
    memset(s->dh, 0, u->row * u->kernel->size);
}

static const gated_cell cell = {
    .groups = 1,
    .recurrent = 1,
    .c_row = -1,
    .forward = cell_forward,
    .backward = cell_backward,
    .neuron = {.functions = 1},
    .source = "        y[j] = tanhf(p[j]);\n",
};

static void plan(unit *u)
{
    gated_plan(u);
    if (u->options.init == STPN_START_UNIFORM) return;
    double bound = 1 / sqrt(u->inputs);
    unit_tensor *weight = &u->tensors[0], *bias = &u->tensors[1];
    weight->low = bias->low = -bound;
    weight->high = bias->high = bound;
    weight->split = u->inputs;
    weight->split_high = 0.01;
}

const unit_type unit_rnn = {
    .name = "rnn",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "rnn"},
    .plan = plan,
    .tape_values = gated_tape_values,
    .forward_bytes = gated_forward_bytes,
    .backward_bytes = gated_backward_bytes,
    .forward = gated_forward,
    .backward = gated_backward,
    .operations = gated_operations,
    .source = gated_source,
    .details = &cell,
};
