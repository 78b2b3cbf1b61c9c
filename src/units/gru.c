/* The gated recurrent unit (Cho et al. 2014), as in PyTorch: (r,z) = s(W x + b + U h + c),
 * n = tanh(Wn x + bn + r (Un h + cn)), h' = (1 - z) n + z h. */
#include "units/gated.h"

#include <stddef.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
};

static void cell_forward(const unit *u, const cell_step *s)
{
    u->kernel->gru_forward(u->row, s->gates, s->recurrent, s->h, s->tape);
}

static void cell_backward(const unit *u, const cell_back *s)
{
    u->kernel->gru_backward(u->row, s->tape, s->h_before, s->dh, s->d);
}

static const gated_cell cell = {
    .groups = 3,
    .recurrent = 1,
    .apart = 1,
    .tape_rows = 4,
    .c_row = -1,
    .neuron = {.multiply_accumulates = 2, .accumulates = 3, .functions = 3},
    .forward = cell_forward,
    .backward = cell_backward,
    .source = "        float reset = sigmoid(p[j] + q[j]), keep = sigmoid(p[H + j] + q[H + j]);\n"
              "        float next = tanhf(p[2 * H + j] + reset * q[2 * H + j]);\n"
              "        y[j] = next + keep * (h[j] - next);\n",
};

const unit_type unit_gru = {
    .name = "gru",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "gru"},
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
