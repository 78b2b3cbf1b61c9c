/* Long short-term memory (Hochreiter and Schmidhuber 1997), gates and their order as in PyTorch, one bias:
 * (i,f,g,o) = W [x;h] + b, c' = s(f) c + s(i) tanh(g), h' = s(o) tanh(c'). */
#include "units/gated.h"

#include <stddef.h>
#include <string.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
};

static void cell_forward(const unit *u, const cell_step *s)
{
    u->kernel->lstm_forward(u->row, s->gates, s->c, s->h, s->tape);
}

static void cell_backward(const unit *u, const cell_back *s)
{
    u->kernel->lstm_backward(u->row, s->tape, s->c_before, s->dh, s->dc, s->d);
    memset(s->dh, 0, u->row * u->kernel->size);
}

static const gated_cell cell = {
    .groups = 4,
    .recurrent = 1,
    .tape_rows = 6,
    .c_row = 4,
    .neuron = {.multiply_accumulates = 1, .multiplies = 2, .functions = 5},
    .forward = cell_forward,
    .backward = cell_backward,
    .source = "        c[j] = sigmoid(p[H + j]) * c[j] + sigmoid(p[j]) * tanhf(p[2 * H + j]);\n"
              "        y[j] = sigmoid(p[3 * H + j]) * tanhf(c[j]);\n",
};

const unit_type unit_lstm = {
    .name = "lstm",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "lstm"},
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
