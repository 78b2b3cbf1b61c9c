#include "train/golden_file.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/unit_json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Golden files are small; one that asks for more than a second's work was not made as one. */
static const double most_work = 1e9;

stpn_status golden_complain(const golden *g, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(g->error, STPN_ERROR_INPUT, "%s: %s", tensor_file_name(g->file), text);
}

/* ---------------------------------------------------------------------------------------------------------- reading */

stpn_status golden_read_size(const golden *g, const char *key, int *size)
{
    const char *text = tensor_file_metadata(g->file, key);
    if (!text) return golden_complain(g, "metadata has no \"%s\"", key);
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < 1 || value > UNIT_MAX_WIDTH)
        return golden_complain(g, "metadata \"%s\" is \"%.40s\", expected an integer from 1 to %d", key, text,
                               (int)UNIT_MAX_WIDTH);
    *size = (int)value;
    return STPN_OK;
}

stpn_status golden_read_number(const golden *g, const char *key, int positive, double *number)
{
    const char *text = tensor_file_metadata(g->file, key);
    if (!text) return golden_complain(g, "metadata has no \"%s\"", key);
    char *end;
    *number = strtod(text, &end);
    if (end == text || *end || !isfinite(*number) || *number < 0 || (positive && *number == 0))
        return golden_complain(g, "metadata \"%s\" is \"%.40s\", expected a number %s 0", key, text,
                               positive ? "above" : "not below");
    return STPN_OK;
}

static stpn_status read_unit(golden *g)
{
    const char *text = tensor_file_metadata(g->file, "unit");
    if (!text) return golden_complain(g, "metadata has no \"unit\"");
    json_t *object = NULL;
    stpn_error inner = {{0}};
    stpn_status status = json_read(&object, "metadata \"unit\"", text, strlen(text), &inner);
    if (!status) status = unit_from_json(&g->options, object, "unit", "unit", &inner);
    int stated = g->options.hidden;
    json_decref(object);
    if (status) return error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    if (stated && stated != g->hidden)
        return golden_complain(g, "unit.hidden is %d, but metadata \"hidden\" is %d", stated, g->hidden);
    g->options.hidden = g->hidden;
    snprintf(g->report->unit, sizeof g->report->unit, "%s", g->options.name);
    status = unit_check(&g->options, g->inputs, "unit", &inner);
    if (status) return error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    const kernel_table *kernel;
    status = kernel_choose(&kernel, STPN_DOUBLE, g->error);
    if (status) return status;
    g->report->kernel = kernel->name;
    return unit_open(&g->plan, &g->options, g->inputs, kernel, g->error);
}

stpn_status golden_read_metadata(golden *g)
{
    stpn_status status = golden_read_size(g, "inputs", &g->inputs);
    if (!status) status = golden_read_size(g, "hidden", &g->hidden);
    if (!status) status = golden_read_size(g, "batch", &g->batch);
    if (!status) status = golden_read_size(g, "steps", &g->steps);
    return status ? status : read_unit(g);
}

static double number_at(const tensor_entry *entry, size_t at)
{
    return entry->type == TENSOR_F64 ? ((const double *)entry->data)[at] : (double)((const float *)entry->data)[at];
}

static int64_t index_at(const tensor_entry *entry, size_t at)
{
    return entry->type == TENSOR_I64 ? ((const int64_t *)entry->data)[at] : (int64_t)((const int32_t *)entry->data)[at];
}

stpn_status golden_find(golden *g, const tensor_entry **entry, const char *prefix, const char *name, golden_role role,
                        golden_shape shape)
{
    char full[GOLDEN_NAME], expected[64] = "";
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const tensor_entry *e = *entry = tensor_file_find(g->file, full);
    if (!e) return golden_complain(g, "tensor %s is missing", full);
    int integer = e->type == TENSOR_I64 || e->type == TENSOR_I32;
    if (e->type == TENSOR_U8 || integer != (role == GOLDEN_INDEX))
        return golden_complain(g, "tensor %s has type %s, expected %s", full, tensor_type_name(e->type),
                               role == GOLDEN_INDEX ? "I64 or I32" : "F64 or F32");
    int equal = e->rank == shape.rank;
    for (int i = 0; i < shape.rank; i++) {
        size_t used = strlen(expected);
        equal = equal && e->shape[i] == shape.size[i];
        snprintf(expected + used, sizeof expected - used, "%s%d", i ? ", " : "", shape.size[i]);
    }
    if (!equal) return golden_complain(g, "tensor %s has another shape than (%s)", full, expected);
    for (size_t i = 0; i < e->count && role == GOLDEN_GIVEN; i++)
        if (!isfinite(number_at(e, i)))
            return golden_complain(g, "tensor %s: value %zu is %g, expected a finite number", full, i, number_at(e, i));
    if (g->seen_count < GOLDEN_TENSORS) g->seen[g->seen_count++] = e;
    return STPN_OK;
}

void golden_heads(unit_tensor tensors[GOLDEN_HEAD_TENSORS], int outputs, int hidden)
{
    static const char *const names[GOLDEN_HEAD_TENSORS] = {"policy.weight", "policy.bias", "value.weight",
                                                           "value.bias"};
    for (int i = 0; i < GOLDEN_HEAD_TENSORS; i++) {
        int is_bias = i % 2;
        tensors[i] = (unit_tensor){.name = names[i],
                                   .layout = is_bias ? LAYOUT_VECTOR : LAYOUT_MATRIX,
                                   .rows = i < 2 ? outputs : 1,
                                   .columns = is_bias ? 1 : hidden,
                                   .groups = 1};
    }
}

golden_shape golden_shape_of(const unit_tensor *place, int batch)
{
    golden_shape shape = {0};
    if (batch) shape.size[shape.rank++] = batch;
    shape.size[shape.rank++] = place->rows;
    if (place->layout == LAYOUT_MATRIX || place->layout == LAYOUT_ROW) shape.size[shape.rank++] = place->columns;
    return shape;
}

stpn_status golden_refuse_others(const golden *g)
{
    const tensor_entry *entry;
    for (int i = 0; (entry = tensor_file_entry(g->file, i)); i++) {
        int known = 0;
        for (int s = 0; s < g->seen_count && !known; s++) known = g->seen[s] == entry;
        if (!known)
            return golden_complain(g, "tensor \"%.100s\" is none that a file of this kind and unit has", entry->name);
    }
    return STPN_OK;
}

stpn_status golden_limit_work(const golden *g, double steps)
{
    size_t values = 0;
    for (int i = 0; i < g->plan.tensor_count; i++) {
        size_t count = (size_t)g->plan.tensors[i].rows * (size_t)g->plan.tensors[i].columns;
        if (count > values) values = count;
    }
    if ((double)values * g->batch * steps <= most_work) return STPN_OK;
    return golden_complain(g, "has %.3g synapses x samples x steps, expected at most %.0e",
                           (double)values * g->batch * steps, most_work);
}

stpn_status golden_read_indices(const golden *g, const tensor_entry *entry, int bound, int32_t **indices)
{
    *indices = memory_zeroed(entry->count, sizeof **indices);
    if (!*indices) return error_memory(g->error, "a golden file");
    for (size_t i = 0; i < entry->count; i++) {
        int64_t value = index_at(entry, i);
        if (value < 0 || value >= bound)
            return golden_complain(g, "tensor %s: value %zu is %" PRId64 ", expected 0 to %d", entry->name, i, value,
                                   bound - 1);
        (*indices)[i] = (int32_t)value;
    }
    return STPN_OK;
}

/* -------------------------------------------------------------------------------------------------------- comparing */

static double value_of(stpn_real real, const void *values, size_t at)
{
    return real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

size_t golden_real_size(stpn_real real)
{
    return real == STPN_DOUBLE ? sizeof(double) : sizeof(float);
}

void golden_compare(golden *g, const tensor_entry *expected, stpn_real real, const void *values, golden_terms terms,
                    const column_range *columns)
{
    golden_report *report = g->report;
    if (report->count >= GOLDEN_ROWS) return;
    double largest = 0, scale = 1e-3;
    for (size_t i = 0; i < expected->count; i++) {
        int column = columns ? (int)(i % (size_t)expected->shape[expected->rank - 1]) : 0;
        if (columns && (column < columns->begin || column >= columns->end)) continue;
        double wanted = number_at(expected, i), difference = fabs(value_of(real, values, i) - wanted);
        /* Written so that a difference that is not a number stays. */
        if (!(difference <= largest) && !isnan(largest)) largest = difference;
        if (fabs(wanted) > scale) scale = fabs(wanted);
    }
    golden_row *row = &report->rows[report->count++];
    *row = (golden_row){
        .real = terms.real, .error = largest / scale, .tolerance = terms.real == STPN_DOUBLE ? 1e-10 : terms.tolerance};
    snprintf(row->name, sizeof row->name, "%s", expected->name);
}

void *golden_values(const tensor_entry *entry, stpn_real real, const column_range *columns)
{
    void *values = memory_zeroed(entry->count, golden_real_size(real));
    for (size_t i = 0; i < entry->count && values; i++) {
        int column = columns ? (int)(i % (size_t)entry->shape[entry->rank - 1]) : 0;
        if (columns && (column < columns->begin || column >= columns->end)) continue;
        if (real == STPN_DOUBLE) ((double *)values)[i] = number_at(entry, i);
        else ((float *)values)[i] = (float)number_at(entry, i);
    }
    return values;
}

stpn_status golden_set_parameter(const golden *g, stpn_net *net, int index, const tensor_entry *entry, stpn_real real)
{
    void *values = golden_values(entry, real, NULL);
    if (!values) return error_memory(g->error, "a tensor");
    stpn_block_set(net, stpn_net_parameters(net), index, values);
    memory_free(values);
    return STPN_OK;
}

stpn_status golden_compare_block(golden *g, const stpn_net *net, const void *block, int index,
                                 const tensor_entry *expected, golden_terms terms)
{
    void *values = memory_zeroed(expected->count, golden_real_size(terms.real));
    if (!values) return error_memory(g->error, "a tensor");
    stpn_block_get(net, block, index, values);
    golden_compare(g, expected, terms.real, values, terms, NULL);
    memory_free(values);
    return STPN_OK;
}
