#include "units/unit.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* One row per unit: NAME of `const unit_type unit_NAME` in its file. */
#define REGISTRY(ROW) \
    ROW(stpn_r)       \
    ROW(stpn_f)       \
    ROW(rnn)          \
    ROW(lstm)         \
    ROW(gru)          \
    ROW(mlp)          \
    ROW(fast_weights) \
    ROW(plastic)      \
    ROW(modplast)     \
    ROW(modul)        \
    ROW(hebbff)

#define DECLARE(name) extern const unit_type unit_##name;
#define ADDRESS(name) &unit_##name,

REGISTRY(DECLARE)

static const unit_type *const registry[] = {REGISTRY(ADDRESS)};

enum { UNIT_COUNT = sizeof registry / sizeof *registry };

const unit_type *unit_at(int index)
{
    return index < 0 || index >= UNIT_COUNT ? NULL : registry[index];
}

const unit_type *unit_find(const char *name)
{
    for (int i = 0; i < UNIT_COUNT; i++)
        if (strcmp(registry[i]->name, name) == 0) return registry[i];
    return NULL;
}

void unit_names(char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < UNIT_COUNT && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", registry[i]->name);
}

stpn_unit stpn_unit_default(const char *name, int hidden)
{
    const unit_type *type = name ? unit_find(name) : NULL;
    stpn_unit options = type ? type->defaults : (stpn_unit){0};
    options.name = name;
    options.hidden = hidden;
    return options;
}

const char *stpn_unit_name(int index)
{
    const unit_type *type = unit_at(index);
    return type ? type->name : NULL;
}

const char *stpn_unit_option(const char *name, int index)
{
    const unit_type *type = name ? unit_find(name) : NULL;
    return type && index >= 0 && index < type->option_count ? type->options[index].name : NULL;
}

stpn_status unit_check(const stpn_unit *options, int inputs, const char *place, stpn_error *error)
{
    char known[256];
    unit_names(known, sizeof known);
    const unit_type *type = options->name ? unit_find(options->name) : NULL;
    if (!type)
        return error_set(error, STPN_ERROR_INPUT, "%s.name is \"%s\", expected one of %s", place,
                         options->name ? options->name : "", known);
    if (inputs < 1 || inputs > UNIT_MAX_WIDTH)
        return error_set(error, STPN_ERROR_INPUT, "%s has %d inputs, expected 1 to %d", place, inputs,
                         (int)UNIT_MAX_WIDTH);
    stpn_status status = options_check(type->options, type->option_count, options, place, error);
    if (status) return status;
    return type->check ? type->check(options, inputs, place, error) : STPN_OK;
}

int unit_has_option(const char *unit_name, const char *name)
{
    const unit_type *type = unit_find(unit_name);
    for (int i = 0; i < type->option_count; i++)
        if (strcmp(type->options[i].name, name) == 0) return 1;
    return 0;
}

int unit_applies(const stpn_unit *options, const char *name)
{
    const unit_type *type = unit_find(options->name);
    return !type->applies || type->applies(options, name);
}

size_t row_values(const kernel_table *kernel, int count)
{
    size_t lanes = (size_t)kernel->lanes;
    return ((size_t)count + lanes - 1) / lanes * lanes;
}

/* Place of a row among the rows of all groups, each padded. */
static size_t padded_row(const kernel_table *kernel, const unit_tensor *tensor, int row)
{
    int rows = tensor->rows / tensor->groups;
    return (size_t)(row / rows) * row_values(kernel, rows) + (size_t)(row % rows);
}

size_t tensor_values(const kernel_table *kernel, const unit_tensor *tensor)
{
    size_t rows = (size_t)tensor->groups * row_values(kernel, tensor->rows / tensor->groups);
    switch (tensor->layout) {
    case LAYOUT_MATRIX: return rows * (size_t)tensor->columns;
    case LAYOUT_VECTOR: return rows;
    case LAYOUT_ROW: return row_values(kernel, tensor->columns);
    case LAYOUT_SCALAR: return (size_t)kernel->lanes;
    }
    return 0;
}

size_t tensor_at(const kernel_table *kernel, const unit_tensor *tensor, int row, int column)
{
    size_t lanes = (size_t)kernel->lanes, r = padded_row(kernel, tensor, row);
    switch (tensor->layout) {
    case LAYOUT_MATRIX: return (r / lanes * (size_t)tensor->columns + (size_t)column) * lanes + r % lanes;
    case LAYOUT_VECTOR: return r;
    case LAYOUT_ROW: return (size_t)column;
    case LAYOUT_SCALAR: return 0;
    }
    return 0;
}

static void add_tensor(const kernel_table *kernel, unit_tensor *list, int *count, size_t *values, unit_tensor tensor)
{
    tensor.offset = *values;
    *values += tensor_values(kernel, &tensor);
    list[(*count)++] = tensor;
}

void unit_add_tensor(unit *u, const char *name, tensor_layout layout, int rows, int columns, double low, double high)
{
    unit_add_groups(u, name, layout, 1, rows, columns, low, high);
}

void unit_add_groups(unit *u, const char *name, tensor_layout layout, int groups, int rows, int columns, double low,
                     double high)
{
    add_tensor(u->kernel, u->tensors, &u->tensor_count, &u->block_values,
               (unit_tensor){.name = name,
                             .layout = layout,
                             .rows = groups * rows,
                             .columns = columns,
                             .groups = groups,
                             .low = low,
                             .high = high});
}

void unit_add_state(unit *u, const char *name, tensor_layout layout, int rows, int columns)
{
    add_tensor(u->kernel, u->states, &u->state_count, &u->state_values,
               (unit_tensor){.name = name, .layout = layout, .rows = rows, .columns = columns, .groups = 1});
}

void *unit_part(const unit *u, const void *block, const char *name)
{
    for (int i = 0; i < u->tensor_count; i++)
        if (strcmp(u->tensors[i].name, name) == 0) return value_at(u->kernel, block, u->tensors[i].offset);
    return NULL;
}

int unit_has_tensor(const unit *u, const char *name)
{
    for (int i = 0; i < u->tensor_count; i++)
        if (strcmp(u->tensors[i].name, name) == 0) return 1;
    return 0;
}

int unit_panels(const unit *u)
{
    return (int)(u->row / (size_t)u->kernel->lanes);
}

size_t unit_input_row(const unit *u)
{
    return row_values(u->kernel, u->inputs);
}

stpn_status unit_open(unit *u, const stpn_unit *options, int inputs, const kernel_table *kernel, stpn_error *error)
{
    *u = (unit){.type = unit_find(options->name), .options = *options, .kernel = kernel, .inputs = inputs};
    u->options.name = u->type->name;
    u->row = row_values(kernel, options->hidden);
    u->type->plan(u);
    u->mask = memory_zeroed(u->row, kernel->size);
    u->held = memory_zeroed(2, PANEL_BYTES);
    if (!u->mask || !u->held) {
        unit_close(u);
        return error_memory(error, "a unit");
    }
    double values[2] = {options->lambda, options->gamma}, one = 1;
    for (int i = 0; i < 2; i++) kernel->convert(1, STPN_INPUT_DOUBLE, &values[i], (char *)u->held + i * PANEL_BYTES);
    for (int j = 0; j < options->hidden; j++)
        kernel->convert(1, STPN_INPUT_DOUBLE, &one, value_at(kernel, u->mask, (size_t)j));
    return STPN_OK;
}

void unit_close(unit *u)
{
    memory_free(u->mask);
    memory_free(u->held);
    u->mask = u->held = NULL;
}
