/* The layer without memory: h = tanh(W x + b). */
#include "units/gated.h"

#include <stddef.h>
#include <string.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
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
    .c_row = -1,
    .neuron = {.functions = 1},
    .forward = cell_forward,
    .backward = cell_backward,
    .source = "        y[j] = tanhf(p[j]);\n",
};

const unit_type unit_mlp = {
    .name = "mlp",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "mlp"},
    .plan = gated_plan,
    .tape_values = gated_tape_values,
    .forward_bytes = gated_forward_bytes,
    .backward_bytes = gated_backward_bytes,
    .forward = gated_forward,
    .backward = gated_backward,
    .operations = gated_operations,
    .source = gated_source,
    .details = &cell,
};
