/* What a unit answers: its options, its parameters and state with their places in a block, its tape, forward, backward.
 * A unit is one file and one row of the registry; nothing else switches on a unit's name. */
#ifndef STPN_UNITS_UNIT_H
#define STPN_UNITS_UNIT_H

#include "base/option.h"
#include "base/source.h"
#include "kernels/kernels.h"

typedef struct unit unit;

/* ---- places in a block */

typedef enum tensor_layout {
    LAYOUT_MATRIX, // (rows, columns) stored as (panels, columns, lanes)
    LAYOUT_VECTOR, // (rows) padded to whole panels
    LAYOUT_ROW,    // (1, columns) padded to whole panels: what multiplies a row of neurons
    LAYOUT_SCALAR  // one value at the start of a panel
} tensor_layout;

typedef struct unit_tensor {
    const char *name; // "weight", ...
    tensor_layout layout;
    int rows, columns;
    int groups;       // rows lie in so many equal groups, each padded to whole panels (the gates of an LSTM)
    size_t offset;    // in values, from the start of the unit's part of the block
    double low, high; // initial values: uniform
    int split;        // columns from here on have initial values of their own; 0: none have
    double split_low, split_high;
} unit_tensor;

/* CHUNK: samples that a sweep has at most; stpn_chunk_size says how many of a batch one has. Their gradients are summed in
 * order; chunks are added in a fixed tree. */
enum { CHUNK = 16 };

enum { UNIT_MAX_WIDTH = 1 << 20, UNIT_MAX_TENSORS = 8, UNIT_MAX_STATES = 4, UNIT_NAME_SIZE = 32 };

/* Values that a tensor takes in a block. */
size_t tensor_values(const kernel_table *kernel, const unit_tensor *tensor);
/* Place of element (row, column) from the tensor's start. */
size_t tensor_at(const kernel_table *kernel, const unit_tensor *tensor, int row, int column);
/* Values of a row of `count` neurons, padded to whole panels. */
size_t row_values(const kernel_table *kernel, int count);

/* ---- sweeps over some samples; strides are in values of the kernel's type */

typedef struct unit_sweep {
    int samples, steps;
    int begin;            // steps on the tape before these
    const uint8_t *flags; // (samples, T) STEP_LIVE, STEP_RESET
    size_t flags_sample;
    const void *x; // (samples, T, I)
    size_t x_sample, x_step;
    void *out; // (samples, T, Hp); with a tape the row before the first is the tape's
    size_t out_sample;
    void *energy; // (samples, T) added to, or NULL
    size_t energy_sample;
    void *state; // (samples, state_values)
    size_t state_sample;
    void *tape; // (samples, unit_tape_values), or NULL
    size_t tape_sample;
    int tape_steps; // capacity of the tape
    int leave;      // what can wait for the next sweep may be left to it; the state then has it
} unit_sweep;

typedef struct unit_back {
    int samples;
    const int *steps; // (samples) recorded
    const uint8_t *flags;
    size_t flags_sample;
    const void *x;
    size_t x_sample, x_step;
    const void *out; // (samples, capacity + 1, Hp): row t is h before step t
    size_t out_sample;
    const void *tape;
    size_t tape_sample;
    int tape_steps;
    const void *dy; // (samples, T, H) from step dy_begin[sample] (NULL: 0) on
    size_t dy_sample, dy_step;
    const int *dy_begin;
    void *dx; // (samples, T, I) written, or NULL
    size_t dx_sample, dx_step;
    void *dstate; // (samples, state_values) in: of the final state; out: of the first
    size_t dstate_sample;
    int dense; // the outgoing dstate is wanted
} unit_back;

/* ---- what a step costs */

/* One step of one sample with every synapse counted once, zeros included (docs/energy.md). */
typedef struct unit_operations {
    double multiply_accumulates;    // a b + c
    double multiplies, accumulates; // a b alone, a + b alone
    double functions;               // tanh, sigmoid, exp, roots, divisions
    double reads, writes;           // values of parameters and of state, each once
} unit_operations;

/* ---- a unit of a network */

typedef struct unit_type {
    const char *name;
    const option *options; // fields of stpn_unit
    int option_count;
    stpn_unit defaults;
    /* Checks what the table cannot; `place` starts the message. NULL: nothing. */
    stpn_status (*check)(const stpn_unit *options, int inputs, const char *place, stpn_error *error);
    /* Whether option `name` has an effect with the others as they are. NULL: every one has. */
    int (*applies)(const stpn_unit *options, const char *name);
    /* Fills tensors, state, tape sizes of a unit whose options are checked. */
    void (*plan)(unit *u);
    size_t (*tape_values)(const unit *u, int steps);
    size_t (*forward_bytes)(const unit *u);
    size_t (*backward_bytes)(const unit *u);
    void (*forward)(const unit *u, const void *parameters, const unit_sweep *sweep, void *work);
    /* Adds to `gradient`, the unit's part of a block. */
    void (*backward)(const unit *u, const void *parameters, void *gradient, const unit_back *back, void *work);
    /* What a step costs. */
    void (*operations)(const unit *u, unit_operations *count);
    /* A step of one sample as the body of a C function (io/net_source.h). NULL: the unit cannot be exported. */
    void (*source)(const unit *u, source_text *s);
    /* Whether state tensor `index` of one sample may hold `values` (row-major), and what its having changed entails.
     * NULL: anything, nothing. */
    stpn_status (*state_check)(const unit *u, int index, const void *values, stpn_error *error);
    void (*state_changed)(const unit *u, int index, void *state);
    const void *details; // what an implementation that several units share knows this one by
} unit_type;

struct unit {
    const unit_type *type;
    stpn_unit options;
    const kernel_table *kernel;
    int inputs;
    unit_tensor tensors[UNIT_MAX_TENSORS]; // parameters
    int tensor_count;
    unit_tensor states[UNIT_MAX_STATES]; // rows of one sample; low and high unused
    int state_count;
    size_t block_values; // of the parameters
    size_t state_values; // of one sample, with what is derived
    size_t row;          // values of an output row, Hp
    size_t adjoint_from; // where no adjoint of the final state comes in, a state's values before this one are not read
    int segment;         // steps between checkpoints
    /* Constants that the sweeps need, of the kernel's type. */
    void *mask; // (Hp) 1 for a neuron, 0 for padding
    void *held; // lambda at its start, gamma one panel later, where they are not learned
};

/* Whether a unit has an option of that name, and whether it has an effect with the others as they are. */
int unit_has_option(const char *unit_name, const char *name);
int unit_applies(const stpn_unit *options, const char *name);

/* NULL where there is no unit of that name. */
const unit_type *unit_find(const char *name);
/* Row `index` of the registry; NULL past the last. */
const unit_type *unit_at(int index);
/* "stpn_r, stpn_f", for messages. */
void unit_names(char *text, size_t size);

/* Checks options against their table and the unit's own rules. */
stpn_status unit_check(const stpn_unit *options, int inputs, const char *place, stpn_error *error);
/* Makes a unit from checked options; unit_close frees what it holds. */
stpn_status unit_open(unit *u, const stpn_unit *options, int inputs, const kernel_table *kernel, stpn_error *error);
void unit_close(unit *u);

/* For `plan`: appends a parameter or a state tensor. */
void unit_add_tensor(unit *u, const char *name, tensor_layout layout, int rows, int columns, double low, double high);
/* The same for (groups rows, columns), every group padded to whole panels. */
void unit_add_groups(unit *u, const char *name, tensor_layout layout, int groups, int rows, int columns, double low,
                     double high);
void unit_add_state(unit *u, const char *name, tensor_layout layout, int rows, int columns);

/* Tensor `name` in a block of parameters, or in a gradient; NULL where the unit has none. */
void *unit_part(const unit *u, const void *block, const char *name);
int unit_has_tensor(const unit *u, const char *name);
/* Panels of a row of neurons; values of a padded row of inputs. */
int unit_panels(const unit *u);
size_t unit_input_row(const unit *u);

/* The row of every option table. */
#define UNIT_OPTION_HIDDEN                                                                                  \
    {                                                                                                       \
        "hidden", OPTION_INTEGER, offsetof(stpn_unit, hidden), NULL, 1, UNIT_MAX_WIDTH, "number of neurons" \
    }

/* Value `at` of an array of the kernel's type. */
static inline double value_read(const kernel_table *kernel, const void *values, size_t at)
{
    return kernel->real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

static inline void value_write(const kernel_table *kernel, void *values, size_t at, double value)
{
    if (kernel->real == STPN_DOUBLE) ((double *)values)[at] = value;
    else ((float *)values)[at] = (float)value;
}

/* Address of value `count` of an array of the kernel's type. */
static inline void *value_at(const kernel_table *kernel, const void *values, size_t count)
{
    return (void *)((uintptr_t)values + count * kernel->size);
}

#endif
