#include "cli/trace_record.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/net_file.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { SIZE_LIMIT = 256 << 20, SYMBOLS_MOST = 256 };

static const char KIND[] = "trace";

/* ------------------------------------------------------------------------------------------------------ the sequence */

static int is_per_step(const trace_record *record)
{
    return record->run->experiment.shape.per_step;
}

/* A step takes `step` values. */
static stpn_status check_size(int64_t steps, size_t step, stpn_error *error)
{
    size_t bytes = step * sizeof(float), most = SIZE_LIMIT / bytes;
    if ((uint64_t)steps <= most) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "the sequence has %" PRId64 " steps, expected at most %zu: what a step leaves takes %zu bytes",
                     steps, most, bytes);
}

static stpn_status plan_states(trace_record *record, size_t *values, stpn_error *error)
{
    stpn_state *state;
    stpn_tensor tensor;
    stpn_status status = stpn_state_create(&state, record->run->net, 1, error);
    if (status) return status;
    while (stpn_state_tensor(state, record->state_count, &tensor)) record->state_count++;
    record->tensors = memory_zeroed((size_t)record->state_count, sizeof *record->tensors);
    record->states = memory_zeroed((size_t)record->state_count, sizeof *record->states);
    int failed = !record->tensors || !record->states;
    for (int i = 0; i < record->state_count && !failed; i++) {
        stpn_state_tensor(state, i, &record->tensors[i]);
        *values += record->tensors[i].count;
    }
    stpn_state_free(state);
    return failed ? error_memory(error, "the trace") : STPN_OK;
}

/* All arrays for `steps` steps. */
static stpn_status make_room(trace_record *record, const run *r, int64_t steps, stpn_error *error)
{
    const task_shape *shape = &r->experiment.shape;
    size_t H = (size_t)net_outputs(r->net), O = (size_t)shape->outputs, T = (size_t)steps, size = sizeof(float);
    size_t I = shape->type == STPN_INPUT_TOKEN ? 1 : (size_t)shape->inputs, values = I + H + O + 1;
    *record = (trace_record){.run = r, .steps = (int)steps};
    stpn_status status = plan_states(record, &values, error);
    if (!status) status = check_size(steps, values, error);
    if (status) return status;
    if (shape->type == STPN_INPUT_TOKEN) record->tokens = memory_zeroed(T, sizeof *record->tokens);
    else record->inputs = memory_zeroed(T * I, size);
    record->y = memory_zeroed(T * H, size);
    record->energy = memory_zeroed(T, size);
    record->logits = memory_zeroed(T * O, size);
    int failed = (!record->tokens && !record->inputs) || !record->y || !record->energy || !record->logits;
    for (int i = 0; i < record->state_count && !failed; i++) {
        record->states[i] = memory_zeroed((T + 1) * record->tensors[i].count, size);
        failed = !record->states[i];
    }
    return failed ? error_memory(error, "the trace") : STPN_OK;
}

stpn_status trace_from_text(trace_record *record, const run *r, const char *text, stpn_error *error)
{
    const task_type *task = r->experiment.task;
    *record = (trace_record){0};
    if (!task->token)
        return error_set(error, STPN_ERROR_INPUT, "the symbols of the task %s have no characters: give --index N",
                         task->name);
    if (!*text) return error_set(error, STPN_ERROR_INPUT, "the sequence is empty");
    for (size_t t = 0; text[t]; t++) {
        int32_t token = task->token(text[t]);
        if (token >= 0 && token < r->experiment.shape.inputs) continue;
        char shown[8];
        snprintf(shown, sizeof shown, isprint((unsigned char)text[t]) ? "%c" : "\\x%02x", (unsigned char)text[t]);
        return error_set(error, STPN_ERROR_INPUT, "\"%s\", symbol %zu of the sequence, is none of the task %s", shown,
                         t + 1, task->name);
    }
    stpn_status status = make_room(record, r, (int64_t)strlen(text), error);
    for (int t = 0; t < record->steps && !status; t++) record->tokens[t] = task->token(text[t]);
    return status;
}

/* What the answers should be, as the test set has them. */
static stpn_status copy_answers(trace_record *record, const task_split *test, size_t row, int whole, stpn_error *error)
{
    size_t T = (size_t)test->steps, O = (size_t)record->run->experiment.shape.outputs;
    if (!is_per_step(record) && !whole) return STPN_OK;
    record->answers = is_per_step(record) ? record->steps : 1;
    size_t count = (size_t)record->answers, from = row * (is_per_step(record) ? T : 1);
    if (test->labels) {
        record->labels = memory_zeroed(count, sizeof *record->labels);
        if (!record->labels) return error_memory(error, "the trace");
        memcpy(record->labels, test->labels + from, count * sizeof *record->labels);
    } else if (test->targets) {
        record->targets = memory_zeroed(count * O, sizeof *record->targets);
        if (!record->targets) return error_memory(error, "the trace");
        memcpy(record->targets, test->targets + from * O, count * O * sizeof *record->targets);
    }
    record->has_answer = record->labels || record->targets;
    return STPN_OK;
}

stpn_status trace_from_test(trace_record *record, const run *r, int64_t index, int64_t steps, stpn_error *error)
{
    const task_split *test = &r->data.test;
    *record = (trace_record){0};
    if (test->count == 0) return error_set(error, STPN_ERROR_INPUT, "the test set is empty");
    if (index >= test->count)
        return error_set(error, STPN_ERROR_INPUT, "--index is %" PRId64 ", expected 0 to %d", index, test->count - 1);
    size_t row = (size_t)index, T = (size_t)test->steps, I = (size_t)r->experiment.shape.inputs;
    int64_t length = test->lengths ? test->lengths[row] : test->steps, taken = steps && steps < length ? steps : length;
    stpn_status status = make_room(record, r, taken, error);
    if (status) return status;
    if (record->tokens) memcpy(record->tokens, test->tokens + row * T, (size_t)taken * sizeof *record->tokens);
    else memcpy(record->inputs, test->inputs + row * T * I, (size_t)taken * I * sizeof *record->inputs);
    return copy_answers(record, test, row, taken == length, error);
}

void trace_free(trace_record *record)
{
    for (int i = 0; record->states && i < record->state_count; i++) memory_free(record->states[i]);
    memory_free(record->states);
    memory_free(record->tensors);
    memory_free(record->tokens);
    memory_free(record->inputs);
    memory_free(record->labels);
    memory_free(record->targets);
    memory_free(record->y);
    memory_free(record->energy);
    memory_free(record->logits);
    *record = (trace_record){0};
}

/* ---------------------------------------------------------------------------------------------------------- running it */

static void keep_states(const trace_record *record, const stpn_state *state, int row)
{
    for (int i = 0; i < record->state_count; i++)
        stpn_state_get(state, i, record->states[i] + (size_t)row * record->tensors[i].count);
}

stpn_status trace_run(trace_record *record, stpn_error *error)
{
    const run *r = record->run;
    const task_shape *shape = &r->experiment.shape;
    stpn_state *state;
    stpn_status status = stpn_state_create(&state, r->net, 1, error);
    if (status) return status;
    keep_states(record, state, 0);
    for (int t = 0; t < record->steps && !status; t++) {
        size_t at = (size_t)t;
        stpn_sequence step = {.steps = 1, .batch = 1, .type = shape->type};
        if (record->tokens) step.x = record->tokens + at;
        else step.x = record->inputs + at * (size_t)shape->inputs;
        status = stpn_forward(r->net, state, &step, record->y + at * (size_t)net_outputs(r->net), record->energy + at,
                              NULL, NULL, error);
        if (!status) keep_states(record, state, t + 1);
    }
    if (!status) stpn_head_forward(r->net, 0, record->steps, record->y, record->logits);
    stpn_state_free(state);
    return status;
}

/* ------------------------------------------------------------------------------------------------- the fast components */

enum { SYNAPSES = 3 }; // rank of a matrix over synapses: one sample, rows, columns

double trace_fast_norm(const trace_record *record, int step)
{
    double sum = 0;
    for (int i = 0; i < record->state_count; i++) {
        size_t count = record->tensors[i].count;
        if (record->tensors[i].rank != SYNAPSES) continue;
        const float *values = record->states[i] + (size_t)(step + 1) * count;
        for (size_t k = 0; k < count; k++) sum += (double)values[k] * (double)values[k];
    }
    return sqrt(sum);
}

trace_change trace_strongest(const trace_record *record, int step)
{
    trace_change strongest = {.state = -1};
    for (int i = 0; i < record->state_count; i++) {
        size_t count = record->tensors[i].count;
        if (record->tensors[i].rank != SYNAPSES) continue;
        const float *before = record->states[i] + (size_t)step * count, *after = before + count;
        for (size_t k = 0; k < count; k++) {
            double value = (double)after[k] - (double)before[k];
            if (strongest.state >= 0 && fabs(value) <= fabs(strongest.value)) continue;
            size_t columns = (size_t)record->tensors[i].shape[2];
            strongest = (trace_change){i, (int)(k / columns), (int)(k % columns), value};
        }
    }
    return strongest;
}

/* ------------------------------------------------------------------------------------------------------------ the file */

static stpn_status add(tensor_file *file, const char *name, tensor_type type, int64_t rows, int64_t columns,
                       const void *values, stpn_error *error)
{
    int64_t shape[2] = {rows, columns};
    return values ? tensor_file_add(file, name, type, columns ? 2 : 1, shape, values, error) : STPN_OK;
}

static stpn_status add_states(const trace_record *record, tensor_file *file, stpn_error *error)
{
    stpn_status status = STPN_OK;
    for (int i = 0; i < record->state_count && !status; i++) {
        const stpn_tensor *tensor = &record->tensors[i];
        int64_t shape[SYNAPSES] = {record->steps + 1, tensor->shape[1], tensor->shape[2]};
        status = tensor_file_add(file, tensor->name, TENSOR_F32, tensor->rank, shape, record->states[i], error);
    }
    return status;
}

/* All symbols of the task in the order of their numbers: the heading of the input columns. */
static stpn_status add_symbols(const trace_record *record, tensor_file *file, stpn_error *error)
{
    const experiment *e = &record->run->experiment;
    char text[SYMBOLS_MOST + 1] = "";
    if (!e->task->symbol || !record->tokens || e->shape.inputs > SYMBOLS_MOST) return STPN_OK;
    for (int i = 0; i < e->shape.inputs; i++) text[i] = e->task->symbol(i);
    stpn_status status = tensor_file_set_metadata(file, "symbols", text, error);
    char *sequence = memory_zeroed((size_t)record->steps + 1, 1);
    if (!sequence) return error_memory(error, "the trace");
    for (int t = 0; t < record->steps; t++) sequence[t] = e->task->symbol(record->tokens[t]);
    if (!status) status = tensor_file_set_metadata(file, "sequence", sequence, error);
    memory_free(sequence);
    return status;
}

static stpn_status add_metadata(const trace_record *record, int best, tensor_file *file, stpn_error *error)
{
    char *text = json_to_text(record->run->experiment.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return error_memory(error, "the trace");
    stpn_status status = net_file_mark(file, record->run->net, error);
    if (!status) status = tensor_file_set_metadata(file, "kind", KIND, error);
    if (!status) status = tensor_file_set_metadata(file, "kernel", stpn_net_kernel(record->run->net), error);
    if (!status) status = tensor_file_set_metadata(file, "experiment", text, error);
    if (!status) status = tensor_file_set_metadata(file, "parameters", best ? "best" : "last", error);
    if (!status) status = add_symbols(record, file, error);
    memory_free(text);
    return status;
}

/* A slip such as --out RUN/last.safetensors must not cost a checkpoint. */
static stpn_status may_replace(const char *path, stpn_error *error)
{
    if (!file_exists(path)) return STPN_OK;
    tensor_file *there = NULL;
    stpn_error unused;
    stpn_status status = tensor_file_read(&there, path, &unused);
    const char *kind = status ? NULL : tensor_file_metadata(there, "kind");
    int is_trace = kind && strcmp(kind, KIND) == 0;
    tensor_file_free(there);
    if (status == STPN_ERROR_MEMORY) return error_memory(error, path);
    if (is_trace) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: is there already and is no trace: name another file with --out",
                     path);
}

stpn_status trace_save(const trace_record *record, int best, const char *path, stpn_error *error)
{
    const run *r = record->run;
    const task_shape *shape = &r->experiment.shape;
    tensor_file *file = NULL;
    int64_t T = record->steps, O = shape->outputs;
    stpn_status status = may_replace(path, error);
    if (!status) status = tensor_file_create(&file, error);
    if (!status) status = add_metadata(record, best, file, error);
    if (!status) status = add(file, "tokens", TENSOR_I32, T, 0, record->tokens, error);
    if (!status) status = add(file, "inputs", TENSOR_F32, T, shape->inputs, record->inputs, error);
    if (!status) status = add(file, "labels", TENSOR_I32, record->answers, 0, record->labels, error);
    if (!status) status = add(file, "targets", TENSOR_F32, record->answers, O, record->targets, error);
    if (!status) status = add_states(record, file, error);
    if (!status) status = add(file, "y", TENSOR_F32, T, net_outputs(r->net), record->y, error);
    if (!status) status = add(file, "logits", TENSOR_F32, T, O, record->logits, error);
    if (!status) status = add(file, "energy", TENSOR_F32, T, 0, record->energy, error);
    if (!status) status = net_block_to_file(r->net, r->net->parameters, "", file, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}
