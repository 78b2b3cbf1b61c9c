#include "net/net.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_UNITS = 64, MAX_HEADS = 16 };

/* Plans are made of sizes that each fit; their product may not. */
static const size_t most_values = (size_t)1 << 40;

static stpn_status check_desc(const stpn_net_desc *desc, int *features, stpn_error *error)
{
    if (desc->real != STPN_FLOAT && desc->real != STPN_DOUBLE)
        return error_set(error, STPN_ERROR_INPUT, "real is %d, expected STPN_FLOAT or STPN_DOUBLE", (int)desc->real);
    if (desc->unit_count < 1 || desc->unit_count > MAX_UNITS)
        return error_set(error, STPN_ERROR_INPUT, "units has %d entries, expected 1 to %d", desc->unit_count,
                         (int)MAX_UNITS);
    if (desc->head_count < 0 || desc->head_count > MAX_HEADS)
        return error_set(error, STPN_ERROR_INPUT, "heads has %d entries, expected 0 to %d", desc->head_count,
                         (int)MAX_HEADS);
    stpn_status ready = error_given(error, {desc->units, "units"});
    if (!ready && desc->head_count) ready = error_given(error, {desc->heads, "heads"});
    if (!ready) ready = encoder_check(desc, features, error);
    if (ready) return ready;
    for (int i = 0; i < desc->unit_count; i++) {
        char place[32];
        snprintf(place, sizeof place, "units[%d]", i);
        int inputs = i == 0 ? *features : desc->units[i - 1].hidden;
        stpn_status status = unit_check(&desc->units[i], inputs, place, error);
        if (status) return status;
    }
    for (int i = 0; i < desc->head_count; i++) {
        const stpn_head *head = &desc->heads[i];
        size_t length = head->name ? strlen(head->name) : 0;
        if (length == 0 || length >= UNIT_NAME_SIZE)
            return error_set(error, STPN_ERROR_INPUT, "heads[%d].name has %zu characters, expected 1 to %d", i, length,
                             (int)UNIT_NAME_SIZE - 1);
        if (head->outputs < 1 || head->outputs > 1 << 20)
            return error_set(error, STPN_ERROR_INPUT, "heads[%d].outputs is %d, expected 1 to %d", i, head->outputs,
                             1 << 20);
        for (int j = 0; j < i; j++)
            if (strcmp(desc->heads[j].name, head->name) == 0)
                return error_set(error, STPN_ERROR_INPUT, "heads[%d].name is \"%s\", which heads[%d] has too", i,
                                 head->name, j);
    }
    return STPN_OK;
}

/* Returns 0 where the name is taken: by a head that is called like a unit. */
static int add_tensor(stpn_net *net, const char *prefix, unit_tensor place)
{
    net_tensor *tensor = &net->tensors[net->tensor_count];
    snprintf(tensor->name, sizeof tensor->name, "%s.%s", prefix, place.name);
    tensor->place = place;
    for (int i = 0; i < net->tensor_count; i++)
        if (strcmp(net->tensors[i].name, tensor->name) == 0) return 0;
    net->tensor_count++;
    return 1;
}

static stpn_status open_encoder(stpn_net *net, const stpn_net_desc *desc, stpn_error *error)
{
    stpn_status status = encoder_open(&net->encoder, desc, error);
    for (int i = 0; i < net->encoder.count && !status; i++) {
        net_conv *c = &net->encoder.layers[i];
        unit_tensor *const both[2] = {&c->weight, &c->bias};
        char prefix[32];
        snprintf(prefix, sizeof prefix, "encoder.%d", i);
        for (int t = 0; t < 2; t++) {
            both[t]->offset = net->block_values;
            net->block_values += tensor_values(net->kernel, both[t]);
            add_tensor(net, prefix, *both[t]);
        }
    }
    return status;
}

static stpn_status open_units(stpn_net *net, const stpn_net_desc *desc, stpn_error *error)
{
    for (int i = 0; i < desc->unit_count; i++) {
        unit *u = &net->units[i];
        int inputs = i == 0 ? net->features : desc->units[i - 1].hidden;
        stpn_status status = unit_open(u, &desc->units[i], inputs, net->kernel, error);
        if (status) return status;
        net->unit_count++;
        net->unit_block[i] = net->block_values;
        net->unit_state[i] = net->state_values;
        char prefix[32];
        snprintf(prefix, sizeof prefix, "units.%d", i);
        for (int t = 0; t < u->tensor_count; t++) {
            unit_tensor place = u->tensors[t];
            place.offset += net->block_values;
            add_tensor(net, prefix, place);
        }
        for (int s = 0; s < u->state_count; s++) {
            net_state *state = &net->states[net->state_count++];
            snprintf(state->name, sizeof state->name, "%s.%s", prefix, u->states[s].name);
            state->unit = i;
            state->index = s;
            state->offset = net->state_values + u->states[s].offset;
        }
        net->block_values += u->block_values;
        net->state_values += u->state_values;
        if (u->row > net->widest_row) net->widest_row = u->row;
        if (net->block_values > most_values || net->state_values > most_values)
            return error_set(error, STPN_ERROR_INPUT, "units[%d] with %d inputs and %d neurons is too large", i, inputs,
                             u->options.hidden);
    }
    return STPN_OK;
}

static stpn_status open_heads(stpn_net *net, const stpn_net_desc *desc, stpn_error *error)
{
    int H = net_outputs(net);
    double bound = 1 / sqrt(H);
    for (int i = 0; i < desc->head_count; i++) {
        net_head *head = &net->heads[net->head_count++];
        snprintf(head->name, sizeof head->name, "%s", desc->heads[i].name);
        head->outputs = desc->heads[i].outputs;
        head->weight = (unit_tensor){.name = "weight",
                                     .layout = LAYOUT_MATRIX,
                                     .rows = head->outputs,
                                     .columns = H,
                                     .groups = 1,
                                     .offset = net->block_values,
                                     .low = -bound,
                                     .high = bound};
        net->block_values += tensor_values(net->kernel, &head->weight);
        head->bias = head->weight;
        head->bias.name = "bias";
        head->bias.layout = LAYOUT_VECTOR;
        head->bias.columns = 1;
        head->bias.offset = net->block_values;
        net->block_values += tensor_values(net->kernel, &head->bias);
        if (!add_tensor(net, head->name, head->weight) || !add_tensor(net, head->name, head->bias))
            return error_set(error, STPN_ERROR_INPUT, "heads[%d].name is \"%s\", the name of a unit's tensors", i,
                             head->name);
    }
    return STPN_OK;
}

stpn_status stpn_net_create(stpn_net **out, const stpn_net_desc *desc, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "net is NULL");
    *out = NULL;
    int features = 0;
    stpn_status status = error_given(error, {desc, "desc"});
    if (!status) status = check_desc(desc, &features, error);
    if (status) return status;
    stpn_net *net = memory_zeroed(1, sizeof *net);
    if (!net) return error_memory(error, "a network");
    size_t units = (size_t)desc->unit_count, heads = (size_t)desc->head_count, layers = (size_t)desc->encoder_count;
    net->inputs = desc->inputs;
    net->features = features;
    net->units = memory_zeroed(units, sizeof *net->units);
    net->unit_block = memory_zeroed(units, sizeof *net->unit_block);
    net->unit_state = memory_zeroed(units, sizeof *net->unit_state);
    net->heads = memory_zeroed(heads, sizeof *net->heads);
    net->tensors = memory_zeroed(units * UNIT_MAX_TENSORS + 2 * (heads + layers), sizeof *net->tensors);
    net->states = memory_zeroed(units * UNIT_MAX_STATES, sizeof *net->states);
    if (!net->units || !net->unit_block || !net->unit_state || !net->heads || !net->tensors || !net->states)
        status = error_memory(error, "a network");
    if (!status) status = kernel_choose(&net->kernel, desc->real, error);
    if (!status) status = open_encoder(net, desc, error);
    if (!status) status = open_units(net, desc, error);
    if (!status) status = open_heads(net, desc, error);
    if (!status) {
        net->input_row = row_values(net->kernel, net->features);
        net->parameters = memory_zeroed(net->block_values, net->kernel->size);
        net->changes = memory_zeroed(1, sizeof *net->changes);
        if (!net->parameters || !net->changes) status = error_memory(error, "the parameters");
    }
    if (status) {
        stpn_net_free(net);
        return status;
    }
    *out = net;
    return STPN_OK;
}

void stpn_net_free(stpn_net *net)
{
    if (!net) return;
    for (int i = 0; i < net->unit_count; i++) unit_close(&net->units[i]);
    encoder_close(&net->encoder);
    memory_free(net->units);
    memory_free(net->unit_block);
    memory_free(net->unit_state);
    memory_free(net->heads);
    memory_free(net->tensors);
    memory_free(net->states);
    memory_free(net->parameters);
    memory_free(net->changes);
    memory_free(net);
}

void net_changed(const stpn_net *net)
{
    atomic_fetch_add_explicit(net->changes, 1, memory_order_relaxed);
}

int net_outputs(const stpn_net *net)
{
    return net->units[net->unit_count - 1].options.hidden;
}

/* Every element draws from its tensor's stream at its own place: row-major order, whatever the layout. */
void stpn_net_init(stpn_net *net, uint64_t seed)
{
    net_changed(net);
    for (int i = 0; i < net->tensor_count; i++) {
        const unit_tensor *place = &net->tensors[i].place;
        random_stream stream = random_open(seed, RANDOM_INIT, (uint64_t)i);
        for (int row = 0; row < place->rows; row++)
            for (int column = 0; column < place->columns; column++) {
                int other = place->split && column >= place->split;
                double low = other ? place->split_low : place->low, high = other ? place->split_high : place->high;
                double value = low == high ? low : random_range(&stream, low, high);
                size_t at = place->offset + tensor_at(net->kernel, place, row, column);
                value_write(net->kernel, net->parameters, at, value);
            }
    }
}

const char *stpn_net_kernel(const stpn_net *net)
{
    return net->kernel->name;
}

size_t stpn_net_block_size(const stpn_net *net)
{
    return net->block_values;
}

void *stpn_net_parameters(stpn_net *net)
{
    return net->parameters;
}

void *stpn_block_create(const stpn_net *net)
{
    return memory_zeroed(net->block_values, net->kernel->size);
}

void stpn_block_free(void *block)
{
    memory_free(block);
}

int stpn_net_tensor(const stpn_net *net, int index, stpn_tensor *tensor)
{
    if (index < 0 || index >= net->tensor_count) return 0;
    const unit_tensor *place = &net->tensors[index].place;
    int matrix = place->layout == LAYOUT_MATRIX || place->layout == LAYOUT_ROW;
    *tensor = (stpn_tensor){.name = net->tensors[index].name,
                            .rank = matrix ? 2 : 1,
                            .shape = {place->rows, matrix ? place->columns : 0, 0},
                            .count = (size_t)place->rows * (size_t)place->columns};
    return 1;
}

size_t stpn_net_parameter_count(const stpn_net *net)
{
    size_t count = 0;
    stpn_tensor tensor;
    for (int i = 0; stpn_net_tensor(net, i, &tensor); i++) count += tensor.count;
    return count;
}

typedef float four_floats __attribute__((vector_size(16)));

/* Transposes four rows by four columns: from[i][j] to to[j][i]; steps in values. */
static inline void transpose_four(float *to, size_t to_step, const float *from, size_t from_step)
{
    four_floats r0, r1, r2, r3;
    memcpy(&r0, from, sizeof r0);
    memcpy(&r1, from + from_step, sizeof r1);
    memcpy(&r2, from + 2 * from_step, sizeof r2);
    memcpy(&r3, from + 3 * from_step, sizeof r3);
    four_floats a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    four_floats c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    r0 = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    r1 = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    r2 = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    r3 = __builtin_shufflevector(c, d, 2, 3, 6, 7);
    memcpy(to, &r0, sizeof r0);
    memcpy(to + to_step, &r1, sizeof r1);
    memcpy(to + 2 * to_step, &r2, sizeof r2);
    memcpy(to + 3 * to_step, &r3, sizeof r3);
}

static inline size_t next_four(size_t at, size_t count)
{
    return at + 4 < count && at + 8 > count ? count - 4 : at + 4;
}

/* from (rows, columns) to to (columns, rows), four by four; the last four of a row overlap those before where need be. */
static void transpose_floats(float *to, size_t to_step, const float *from, size_t from_step, size_t rows,
                             size_t columns)
{
    if (rows < 4 || columns < 4) {
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++) to[c * to_step + r] = from[r * from_step + c];
        return;
    }
    for (size_t r = 0; r < rows; r = next_four(r, rows))
        for (size_t c = 0; c < columns; c = next_four(c, columns))
            transpose_four(to + c * to_step + r, to_step, from + r * from_step + c, from_step);
}

static void transpose_doubles(double *to, size_t to_step, const double *from, size_t from_step, size_t rows,
                              size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) to[c * to_step + r] = from[r * from_step + c];
}

/* Copies between a place in padded layout and row-major values, a panel of rows at a time: what lies there column by column,
 * a lane a row, lies here row by row. Vectors are panels of one column, a LAYOUT_ROW is one of a single lane. */
static void copy_tensor(const kernel_table *kernel, const unit_tensor *place, void *block, void *values, int into_block)
{
    size_t columns = (size_t)place->columns, lanes = (size_t)kernel->lanes;
    int group = place->rows / place->groups;
    size_t column_step = columns > 1 ? tensor_at(kernel, place, 0, 1) - tensor_at(kernel, place, 0, 0) : lanes;
    for (int row = 0, rows; row < place->rows; row += rows) {
        int left = group - row % group;
        rows = left < (int)lanes ? left : (int)lanes;
        void *inside = value_at(kernel, block, tensor_at(kernel, place, row, 0));
        void *outside = value_at(kernel, values, (size_t)row * columns);
        size_t r = (size_t)rows;
        if (kernel->real == STPN_DOUBLE) {
            if (into_block) transpose_doubles(inside, column_step, outside, columns, r, columns);
            else transpose_doubles(outside, columns, inside, column_step, columns, r);
        } else {
            if (into_block) transpose_floats(inside, column_step, outside, columns, r, columns);
            else transpose_floats(outside, columns, inside, column_step, columns, r);
        }
    }
}

void stpn_block_get(const stpn_net *net, const void *block, int index, void *values)
{
    if (index < 0 || index >= net->tensor_count) return;
    const unit_tensor *place = &net->tensors[index].place;
    copy_tensor(net->kernel, place, value_at(net->kernel, block, place->offset), values, 0);
}

void stpn_block_set(const stpn_net *net, void *block, int index, const void *values)
{
    if (index < 0 || index >= net->tensor_count) return;
    const unit_tensor *place = &net->tensors[index].place;
    copy_tensor(net->kernel, place, value_at(net->kernel, block, place->offset), value_at(net->kernel, values, 0), 1);
    /* Read-outs, the last tensors, are on no tape. */
    if (block == net->parameters && index < net->tensor_count - 2 * net->head_count) net_changed(net);
}

/* ------------------------------------------------------------------------------------------------------------ state */

/* Products that are worth a thread: some 10 microseconds, what it takes to wake one and wait for it. */
enum { WORTH = 1 << 17 };

int net_worth(const stpn_net *net, size_t steps, int most)
{
    size_t products = net->block_values + net->state_values;
    for (int i = 0; i < net->encoder.count; i++)
        products += net->encoder.layers[i].values * (size_t)net->encoder.layers[i].weight.columns;
    size_t worth = steps > SIZE_MAX / products ? (size_t)most : 1 + steps * products / WORTH;
    return worth < (size_t)most ? (int)worth : most;
}

int stpn_chunk_size(int batch)
{
    return batch < 32 ? CHUNK / 4 : batch < 64 ? CHUNK / 2 : CHUNK;
}

stpn_status stpn_state_create(stpn_state **out, const stpn_net *net, int batch, stpn_error *error)
{
    return net_state_create(out, net, batch, stpn_chunk_size(batch), error);
}

stpn_status net_state_create(stpn_state **out, const stpn_net *net, int batch, int chunk, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "state is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {net, "net"});
    if (status) return status;
    if (batch < 1 || batch > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "batch is %d, expected 1 to %d", batch, 1 << 24);
    stpn_state *state = memory_zeroed(1, sizeof *state);
    if (!state) return error_memory(error, "a state");
    size_t chunks = ((size_t)batch - 1) / (size_t)chunk + 1;
    state->net = net;
    state->batch = batch;
    state->chunk = chunk;
    state->work_bytes = net_forward_bytes(net, batch < chunk ? batch : chunk);
    state->values = memory_zeroed((size_t)batch, net->state_values * net->kernel->size);
    state->work = memory_zeroed(chunks, state->work_bytes);
    state->encoding = memory_zeroed(chunks, sizeof *state->encoding);
    if (!state->values || !state->work || !state->encoding) {
        stpn_state_free(state);
        return error_memory(error, "a state");
    }
    *out = state;
    return STPN_OK;
}

void stpn_state_free(stpn_state *state)
{
    if (!state) return;
    memory_free(state->values);
    memory_free(state->work);
    memory_free(state->encoding);
    memory_free(state);
}

void stpn_state_zero(stpn_state *state)
{
    memset(state->values, 0, (size_t)state->batch * state->net->state_values * state->net->kernel->size);
}

void stpn_state_copy(stpn_state *to, const stpn_state *from)
{
    if (to->net != from->net || to->batch != from->batch) return;
    memcpy(to->values, from->values, (size_t)from->batch * from->net->state_values * from->net->kernel->size);
}

static const unit_tensor *state_place(const stpn_net *net, int index)
{
    return &net->units[net->states[index].unit].states[net->states[index].index];
}

int stpn_state_tensor(const stpn_state *state, int index, stpn_tensor *tensor)
{
    const stpn_net *net = state->net;
    if (index < 0 || index >= net->state_count) return 0;
    const unit_tensor *place = state_place(net, index);
    int matrix = place->layout == LAYOUT_MATRIX || place->layout == LAYOUT_ROW;
    *tensor = (stpn_tensor){.name = net->states[index].name,
                            .rank = matrix ? 3 : 2,
                            .shape = {state->batch, place->rows, matrix ? place->columns : 0},
                            .count = (size_t)state->batch * (size_t)place->rows * (size_t)place->columns};
    return 1;
}

static void *sample_state(const stpn_state *state, int sample, size_t offset)
{
    return value_at(state->net->kernel, state->values, (size_t)sample * state->net->state_values + offset);
}

void net_state_sample(const stpn_state *state, int index, int sample, void *values)
{
    const stpn_net *net = state->net;
    const unit_tensor *place = state_place(net, index);
    size_t count = (size_t)place->rows * (size_t)place->columns;
    copy_tensor(net->kernel, place, sample_state(state, sample, net->states[index].offset),
                value_at(net->kernel, values, (size_t)sample * count), 0);
}

void stpn_state_get(const stpn_state *state, int index, void *values)
{
    const stpn_net *net = state->net;
    if (index < 0 || index >= net->state_count) return;
    for (int b = 0; b < state->batch; b++) net_state_sample(state, index, b, values);
}

/* The place of the first value that is not a number; `count` where there is none. */
static size_t first_nan(const kernel_table *kernel, const void *values, size_t count)
{
    if (kernel->real == STPN_FLOAT) {
        const float *floats = values;
        unsigned found = 0;
        for (size_t i = 0; i < count; i++) found |= floats[i] != floats[i];
        if (!found) return count;
    }
    size_t i = 0;
    while (i < count && !isnan(value_read(kernel, values, i))) i++;
    return i;
}

stpn_status stpn_state_set(stpn_state *state, int index, const void *values, stpn_error *error)
{
    error_clear(error);
    stpn_status given = error_given(error, {state, "state"}, {values, "values"});
    if (given) return given;
    const stpn_net *net = state->net;
    if (index < 0 || index >= net->state_count)
        return error_set(error, STPN_ERROR_INPUT, "the state has no tensor %d, expected 0 to %d", index,
                         net->state_count - 1);
    const unit_tensor *place = state_place(net, index);
    const net_state *entry = &net->states[index];
    const unit *u = &net->units[entry->unit];
    size_t count = (size_t)place->rows * (size_t)place->columns;
    for (int b = 0; b < state->batch; b++) {
        const void *from = value_at(net->kernel, values, (size_t)b * count);
        size_t at = first_nan(net->kernel, from, count);
        if (at < count)
            return error_set(error, STPN_ERROR_INPUT, "%s: value %zu of sample %d is not a number", entry->name, at, b);
        stpn_error inner = {{0}};
        stpn_status status = u->type->state_check ? u->type->state_check(u, entry->index, from, &inner) : STPN_OK;
        if (status) return error_set(error, status, "%s: sample %d: %s", entry->name, b, inner.message);
    }
    for (int b = 0; b < state->batch; b++) {
        void *from = value_at(net->kernel, values, (size_t)b * count);
        copy_tensor(net->kernel, place, sample_state(state, b, entry->offset), from, 1);
        if (u->type->state_changed)
            u->type->state_changed(u, entry->index, sample_state(state, b, net->unit_state[entry->unit]));
    }
    return STPN_OK;
}
