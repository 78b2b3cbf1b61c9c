/* What stpn trace writes is what streaming gives: stpn_step, one-hot input by one-hot input, leaves the same bits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "base/memory.h"
#include "cli/trace_record.h"
#include "io/safetensors.h"
#include "support/scratch.h"

static const char experiment_text[] =
    "{\"name\": \"small\", \"seed\": 4, \"task\": {\"name\": \"retrieval\", \"train\": 64,"
    "\"validation\": 8, \"test\": 8}, \"units\": [{\"name\": \"%s\", \"hidden\": 7},"
    "{\"name\": \"%s\", \"hidden\": 5}], \"train\": {\"epochs\": 1, \"batch\": 32}}";

static void train(char folder[SCRATCH_PATH], const char *first, const char *second)
{
    char file[SCRATCH_PATH], name[64];
    stpn_error error;
    snprintf(name, sizeof name, "%s-%s", first, second);
    scratch_path(folder, name);
    snprintf(name, sizeof name, "%s-%s.json", first, second);
    FILE *stream = fopen(scratch_path(file, name), "w");
    assert_non_null(stream);
    fprintf(stream, experiment_text, first, second);
    assert_int_equal(fclose(stream), 0);
    stpn_run_options options = {.file = file, .out = folder, .threads = 1};
    if (stpn_run_train(&options, NULL, 0, &error)) fail_msg("%s", error.message);
}

static const float *values_of(const tensor_file *file, const char *name, size_t count)
{
    const tensor_entry *entry = tensor_file_find(file, name);
    if (!entry) fail_msg("there is no tensor %s", name);
    assert_int_equal(entry->type, TENSOR_F32);
    assert_int_equal(entry->count, count);
    return entry->data;
}

static void assert_row(const float *all, size_t row, const float *values, size_t count, const char *name)
{
    if (memcmp(all + row * count, values, count * sizeof *values) != 0) fail_msg("row %zu of %s differs", row, name);
}

/* The states after `row` steps. */
static void compare_states(const tensor_file *file, const stpn_state *state, size_t row, size_t steps)
{
    stpn_tensor tensor;
    for (int i = 0; stpn_state_tensor(state, i, &tensor); i++) {
        float *values = calloc(tensor.count, sizeof *values);
        assert_non_null(values);
        stpn_state_get(state, i, values);
        assert_row(values_of(file, tensor.name, (steps + 1) * tensor.count), row, values, tensor.count, tensor.name);
        free(values);
    }
}

static void compare_with_streaming(const char *first, const char *second)
{
    static const char sequence[] = "c9k8j3??k";
    enum { STEPS = sizeof sequence - 1, I = 37, H = 5, O = 37 };
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];
    run r;
    stpn_error error;
    trace_record record;
    tensor_file *file;
    stpn_state *state;
    train(folder, first, second);
    snprintf(path, sizeof path, "%.4000s/%s", folder, TRACE_FILE);
    assert_int_equal(run_open_folder(&r, folder, 1, 1, &error), STPN_OK);
    assert_int_equal(trace_from_text(&record, &r, sequence, &error), STPN_OK);
    assert_int_equal(trace_run(&record, &error), STPN_OK);
    assert_int_equal(trace_save(&record, 1, path, &error), STPN_OK);
    if (tensor_file_read(&file, path, &error)) fail_msg("%s", error.message);
    assert_int_equal(stpn_state_create(&state, r.net, 1, &error), STPN_OK);
    compare_states(file, state, 0, STEPS);
    for (size_t t = 0; t < STEPS; t++) {
        float x[I] = {0}, y[H], logits[O];
        x[r.experiment.task->token(sequence[t])] = 1;
        stpn_step(r.net, state, x, y);
        stpn_head_forward(r.net, 0, 1, y, logits);
        compare_states(file, state, t + 1, STEPS);
        assert_row(values_of(file, "y", (size_t)STEPS * H), t, y, H, "y");
        assert_row(values_of(file, "logits", (size_t)STEPS * O), t, logits, O, "logits");
    }
    stpn_state_free(state);
    tensor_file_free(file);
    trace_free(&record);
    run_close(&r);
}

static void every_unit_is_as_in_streaming(void **state)
{
    (void)state;
    for (int i = 0; unit_at(i); i++) compare_with_streaming(unit_at(i)->name, i % 2 ? "stpn_r" : "stpn_f");
}

static void the_strongest_change_is_found(void **state)
{
    (void)state;
    char folder[SCRATCH_PATH];
    run r;
    stpn_error error;
    trace_record record;
    train(folder, "stpn_r", "stpn_r");
    assert_int_equal(run_open_folder(&r, folder, 0, 1, &error), STPN_OK);
    assert_int_equal(trace_from_test(&record, &r, 2, 0, &error), STPN_OK);
    assert_int_equal(record.steps, 9);
    assert_true(record.has_answer && record.labels[0] == r.data.test.labels[2]);
    assert_int_equal(trace_run(&record, &error), STPN_OK);
    int fast = 0;
    while (strcmp(record.tensors[fast].name, "units.1.F") != 0) fast++;
    size_t count = record.tensors[fast].count, columns = (size_t)record.tensors[fast].shape[2];
    record.states[fast][4 * count + 3 * columns + 6] = -1000;
    trace_change change = trace_strongest(&record, 3);
    assert_int_equal(change.state, fast);
    assert_int_equal(change.row, 3);
    assert_int_equal(change.column, 6);
    assert_true(fabs(change.value + 1000) < 1);
    assert_true(fabs(trace_fast_norm(&record, 3) - 1000) < 1);
    trace_free(&record);
    run_close(&r);
}

/* ---------------------------------------------------------------------------------- tasks whose inputs are no symbols */

enum { COUNT = 3, T = 4, I = 2, O = 1 };

static stpn_status draw_vectors(const task_options *options, uint64_t seed, task_data *data, stpn_error *error)
{
    (void)options;
    (void)seed;
    (void)error;
    task_split *splits[] = {&data->train, &data->validation, &data->test};
    *data = (task_data){0};
    for (int s = 0; s < 3; s++) {
        *splits[s] = (task_split){.count = COUNT, .steps = T};
        splits[s]->inputs = memory_zeroed((size_t)COUNT * T * I, sizeof(float));
        splits[s]->lengths = memory_zeroed(COUNT, sizeof(int32_t));
        splits[s]->labels = memory_zeroed((size_t)COUNT * T, sizeof(int32_t));
        for (int i = 0; i < COUNT * T * I; i++) splits[s]->inputs[i] = (float)i;
        for (int i = 0; i < COUNT * T; i++) splits[s]->labels[i] = i % 3 - 1;
        for (int i = 0; i < COUNT; i++) splits[s]->lengths[i] = T - i;
    }
    return STPN_OK;
}

static const task_type vectors = {.name = "vectors", .draw = draw_vectors};

static void vectors_are_taken_from_the_test_set(void **state)
{
    (void)state;
    char text[sizeof experiment_text + 64], path[SCRATCH_PATH];
    stpn_error error;
    experiment e;
    run r;
    trace_record record;
    tensor_file *file;
    snprintf(text, sizeof text, experiment_text, "stpn_r", "stpn_f");
    assert_int_equal(experiment_parse(&e, "text", text, strlen(text), NULL, 0, NULL, &error), STPN_OK);
    e.task = &vectors;
    e.train.batch = 1;
    e.shape = (task_shape){
        .inputs = I, .outputs = O, .steps = T, .type = STPN_INPUT_FLOAT, .loss = LOSS_BINARY, .per_step = 1};
    if (run_open(&r, &e, 1, NULL, &error)) fail_msg("%s", error.message);
    assert_int_equal(trace_from_text(&record, &r, "ab", &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "--index"));
    for (int n = 0; n < COUNT; n++) {
        int length = T - n;
        assert_int_equal(trace_from_test(&record, &r, n, 3, &error), STPN_OK);
        assert_int_equal(record.steps, length < 3 ? length : 3);
        trace_free(&record);
        if (trace_from_test(&record, &r, n, 0, &error)) fail_msg("%s", error.message);
        assert_int_equal(record.steps, length);
        assert_int_equal(trace_run(&record, &error), STPN_OK);
        assert_int_equal(trace_save(&record, 0, scratch_path(path, "vectors"), &error), STPN_OK);
        if (tensor_file_read(&file, path, &error)) fail_msg("%s", error.message);
        const float *inputs = values_of(file, "inputs", (size_t)length * I);
        const tensor_entry *labels = tensor_file_find(file, "labels");
        assert_int_equal(labels->count, length);
        for (int i = 0; i < length * I; i++) assert_true(inputs[i] == (float)(n * T * I + i));
        for (int i = 0; i < length; i++) assert_int_equal(((const int32_t *)labels->data)[i], (n * T + i) % 3 - 1);
        assert_null(tensor_file_find(file, "tokens"));
        assert_null(tensor_file_metadata(file, "sequence"));
        tensor_file_free(file);
        trace_free(&record);
    }
    assert_int_equal(trace_from_test(&record, &r, COUNT, 0, &error), STPN_ERROR_INPUT);
    trace_free(&record);
    run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_is_as_in_streaming),
        cmocka_unit_test(the_strongest_change_is_found),
        cmocka_unit_test(vectors_are_taken_from_the_test_set),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
