#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>

#include "io/net_file.h"
#include "support/scratch.h"

enum { INPUTS = 5, OUTPUTS = 4 };

static char path[SCRATCH_PATH];
static stpn_error error;

/* A net of two units with every kind of tensor: matrices, vectors, scalars, widths that fill no whole panel. */
static stpn_net *new_net(stpn_real real, int inputs, int outputs, uint64_t seed)
{
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 3), stpn_unit_default("stpn_f", 9)};
    units[0].layer_norm = 1;
    units[0].granularity = STPN_GRANULARITY_SCALAR;
    units[1].granularity = STPN_GRANULARITY_NEURON;
    const stpn_head heads[2] = {{"policy", outputs}, {"value", 1}};
    const stpn_net_desc desc = {
        .real = real, .inputs = inputs, .units = units, .unit_count = 2, .heads = heads, .head_count = 2};
    stpn_net *net;
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s", error.message);
    stpn_net_init(net, seed);
    return net;
}

static size_t block_bytes(const stpn_net *net)
{
    return net->block_values * net->kernel->size;
}

static void *block_copy(const stpn_net *net)
{
    void *copy = stpn_block_create(net);
    assert_non_null(copy);
    memcpy(copy, net->parameters, block_bytes(net));
    return copy;
}

/* ------------------------------------------------------------------------------------------------------ round trips */

static void parameters_come_back_bit_for_bit(void **state)
{
    (void)state;
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
        for (int k = 0; stpn_kernel_name(k); k++) {
            setenv("STPN_KERNEL", stpn_kernel_name(k), 1);
            stpn_net *from = new_net((stpn_real)real, INPUTS, OUTPUTS, 7);
            assert_int_equal(stpn_net_save(from, scratch_path(path, "net"), &error), STPN_OK);
            /* Into every kernel, however it lays a block out. */
            for (int other = 0; stpn_kernel_name(other); other++) {
                setenv("STPN_KERNEL", stpn_kernel_name(other), 1);
                stpn_net *expected = new_net((stpn_real)real, INPUTS, OUTPUTS, 7);
                stpn_net *to = new_net((stpn_real)real, INPUTS, OUTPUTS, 8);
                assert_memory_not_equal(to->parameters, expected->parameters, block_bytes(to));
                assert_int_equal(stpn_net_load(to, path, &error), STPN_OK);
                assert_memory_equal(to->parameters, expected->parameters, block_bytes(to));
                stpn_net_free(to);
                stpn_net_free(expected);
            }
            stpn_net_free(from);
        }
    unsetenv("STPN_KERNEL");
}

static void odd_values_come_back_too(void **state)
{
    (void)state;
    static const float odd[] = {-0.0F, FLT_MIN, FLT_TRUE_MIN, -FLT_MAX, FLT_MAX, 1.0F / 3};
    stpn_net *from = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7), *to = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 8);
    stpn_tensor tensor;
    for (int i = 0; stpn_net_tensor(from, i, &tensor); i++) {
        float values[256];
        assert_in_range(tensor.count, 1, 256);
        for (size_t v = 0; v < tensor.count; v++) values[v] = odd[(v + (size_t)i) % 6];
        stpn_block_set(from, from->parameters, i, values);
    }
    assert_int_equal(stpn_net_save(from, scratch_path(path, "odd"), &error), STPN_OK);
    assert_int_equal(stpn_net_load(to, path, &error), STPN_OK);
    assert_memory_equal(to->parameters, from->parameters, block_bytes(to));
    stpn_net_free(from);
    stpn_net_free(to);
}

static void a_file_of_the_other_type_is_converted(void **state)
{
    (void)state;
    stpn_net *wide = new_net(STPN_DOUBLE, INPUTS, OUTPUTS, 7), *narrow = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 8);
    stpn_net *again = new_net(STPN_DOUBLE, INPUTS, OUTPUTS, 9);
    assert_int_equal(stpn_net_save(wide, scratch_path(path, "wide"), &error), STPN_OK);
    assert_int_equal(stpn_net_load(narrow, path, &error), STPN_OK);
    assert_int_equal(stpn_net_save(narrow, scratch_path(path, "narrow"), &error), STPN_OK);
    assert_int_equal(stpn_net_load(again, path, &error), STPN_OK);
    stpn_tensor tensor;
    for (int i = 0; stpn_net_tensor(wide, i, &tensor); i++) {
        double a[256], c[256];
        float b[256];
        assert_in_range(tensor.count, 1, 256);
        stpn_block_get(wide, wide->parameters, i, a);
        stpn_block_get(narrow, narrow->parameters, i, b);
        stpn_block_get(again, again->parameters, i, c);
        for (size_t v = 0; v < tensor.count; v++) {
            assert_true(b[v] == (float)a[v]);
            assert_true(c[v] == (double)b[v]);
        }
    }
    stpn_net_free(wide);
    stpn_net_free(narrow);
    stpn_net_free(again);
}

static void a_block_has_its_prefix(void **state)
{
    (void)state;
    stpn_net *net = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7);
    void *block = stpn_block_create(net), *kept = block_copy(net);
    tensor_file *file;
    assert_int_equal(tensor_file_create(&file, &error), STPN_OK);
    assert_int_equal(net_block_to_file(net, block, "", file, &error), STPN_OK);
    assert_int_equal(net_block_to_file(net, net->parameters, "adam.first.", file, &error), STPN_OK);
    assert_non_null(tensor_file_find(file, "units.0.weight"));
    const tensor_entry *entry = tensor_file_find(file, "adam.first.units.1.weight");
    assert_non_null(entry);
    assert_int_equal(entry->rank, 2);
    assert_int_equal(entry->shape[0], 9);
    assert_int_equal(entry->shape[1], 3);
    assert_int_equal(net_block_from_file(net, block, "adam.first.", file, &error), STPN_OK);
    assert_memory_equal(block, kept, block_bytes(net));
    assert_int_equal(net_block_from_file(net, block, "adam.second.", file, &error), STPN_ERROR_INPUT);
    assert_non_null(
        strstr(error.message, "tensor adam.second.units.0.weight is missing, expected one of shape (3, 8)"));
    assert_memory_equal(block, kept, block_bytes(net));
    /* The same name twice. */
    assert_int_equal(net_block_to_file(net, block, "", file, &error), STPN_ERROR_INPUT);
    tensor_file_free(file);
    stpn_block_free(block);
    stpn_block_free(kept);
    stpn_net_free(net);
}

/* -------------------------------------------------------------------------------------------------------- wrong files */

/* How a file differs from one that loads: tensor `name` is changed, or one of that name is added. */
typedef struct change {
    const char *name;
    enum { LEAVE_OUT, ADD, SHAPE, RANK, TYPE, VALUE, WIDE_VALUE } what;
    double value;
    const char *message; // NULL: loads
} change;

static void write_changed(const stpn_net *net, const change *c)
{
    tensor_file *file;
    stpn_tensor tensor;
    assert_int_equal(tensor_file_create(&file, &error), STPN_OK);
    for (int i = 0; stpn_net_tensor(net, i, &tensor); i++) {
        float values[256];
        double wide[256];
        stpn_block_get(net, net->parameters, i, values);
        int64_t shape[3] = {tensor.shape[0], tensor.shape[1], 1};
        int rank = tensor.rank;
        tensor_type type = TENSOR_F32;
        if (strcmp(tensor.name, c->name) == 0) {
            if (c->what == LEAVE_OUT) continue;
            if (c->what == SHAPE) shape[rank - 1]--;
            if (c->what == RANK) rank = 3;
            if (c->what == TYPE) type = TENSOR_I32;
            if (c->what == WIDE_VALUE) type = TENSOR_F64;
            values[tensor.count - 1] = c->what == VALUE ? (float)c->value : values[tensor.count - 1];
            for (size_t v = 0; v < tensor.count; v++) wide[v] = v + 1 == tensor.count ? c->value : (double)values[v];
        }
        if (rank == 3 && tensor.rank == 1) shape[1] = 1;
        assert_int_equal(tensor_file_add(file, tensor.name, type, rank, shape,
                                         type == TENSOR_F64 ? (const void *)wide : values, &error),
                         STPN_OK);
    }
    const float one = 1;
    if (c->what == ADD) assert_int_equal(tensor_file_add(file, c->name, TENSOR_F32, 0, NULL, &one, &error), STPN_OK);
    assert_int_equal(tensor_file_save(file, scratch_path(path, "changed"), &error), STPN_OK);
    tensor_file_free(file);
}

static void a_wrong_tensor_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const change changes[] = {
        {"none", LEAVE_OUT, 0, NULL},
        {"units.0.weight", LEAVE_OUT, 0, "tensor units.0.weight is missing, expected one of shape (3, 8)"},
        {"units.0.lambda", LEAVE_OUT, 0, "tensor units.0.lambda is missing, expected one of shape (1)"},
        {"units.1.bias", LEAVE_OUT, 0, "tensor units.1.bias is missing, expected one of shape (9)"},
        {"value.bias", LEAVE_OUT, 0, "tensor value.bias is missing, expected one of shape (1)"},
        {"units.2.weight", ADD, 0, "tensor \"units.2.weight\" belongs to another network"},
        {"units.0.weight ", ADD, 0, "tensor \"units.0.weight \" belongs to another network"},
        {"readout.weight", ADD, 0, "tensor \"readout.weight\" belongs to another network"},
        {"adam", ADD, 0, "tensor \"adam\" belongs to another network"},
        {"adam.first.units.0.weight", ADD, 0, NULL},
        {"progress.epoch", ADD, 0, NULL},
        {"units.0.weight", SHAPE, 0, "tensor units.0.weight has shape (3, 7), expected (3, 8)"},
        {"units.1.gamma", SHAPE, 0, "tensor units.1.gamma has shape (8), expected (9)"},
        {"units.0.ln_bias", RANK, 0, "tensor units.0.ln_bias has shape (3, 1, 1), expected (3)"},
        {"policy.weight", RANK, 0, "tensor policy.weight has shape (4, 9, 1), expected (4, 9)"},
        {"policy.weight", TYPE, 0, "tensor policy.weight has type I32, expected F32 or F64"},
        {"units.0.weight", VALUE, NAN, "tensor units.0.weight: value 23 is nan, expected a finite number"},
        {"units.1.lambda", VALUE, INFINITY, "tensor units.1.lambda: value 8 is inf, expected a finite number"},
        {"value.bias", VALUE, -INFINITY, "tensor value.bias: value 0 is -inf, expected a finite number"},
        {"units.0.gamma", VALUE, 1e30, NULL},
        {"value.bias", WIDE_VALUE, NAN, "tensor value.bias: value 0 is nan, expected a finite number"},
        {"value.bias", WIDE_VALUE, 0.5, NULL},
        {"value.bias", WIDE_VALUE, 1e-300, NULL},
        /* Finite in the file, but not in the net. */
        {"value.bias", WIDE_VALUE, 1e300, "tensor value.bias: value 0 is "},
        {"value.bias", WIDE_VALUE, -3.5e38, "tensor value.bias: value 0 is "},
    };
    stpn_net *from = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        write_changed(from, c);
        stpn_net *to = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 8);
        void *before = block_copy(to);
        stpn_status status = stpn_net_load(to, path, &error);
        if (status != (c->message ? STPN_ERROR_INPUT : STPN_OK))
            fail_msg("%s, %d: status %d, \"%s\"", c->name, c->what, status, error.message);
        if (c->message) {
            char expected[SCRATCH_PATH + 200];
            snprintf(expected, sizeof expected, "%s: %s", path, c->message);
            if (strncmp(error.message, expected, strlen(expected)) != 0)
                fail_msg("\"%s\", expected \"%s\"", error.message, expected);
            assert_memory_equal(to->parameters, before, block_bytes(to));
            assert_int_equal(stpn_net_load(to, path, NULL), STPN_ERROR_INPUT);
        } else {
            assert_string_equal(error.message, "");
        }
        stpn_block_free(before);
        stpn_net_free(to);
    }
    stpn_net_free(from);
}

/* A file says which format it has; one from elsewhere need not. */
static void another_format_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        stpn_status status;
    } cases[] = {{NULL, STPN_OK}, {"1", STPN_OK}, {"2", STPN_ERROR_INPUT}, {"", STPN_ERROR_INPUT}};
    stpn_net *net = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7);
    tensor_file *file;
    assert_int_equal(stpn_net_save(net, scratch_path(path, "format"), &error), STPN_OK);
    assert_int_equal(tensor_file_read(&file, path, &error), STPN_OK);
    assert_string_equal(tensor_file_metadata(file, "stpn_format"), "1");
    assert_string_equal(tensor_file_metadata(file, "stpn"), STPN_VERSION);
    tensor_file_free(file);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *before = block_copy(net);
        assert_int_equal(tensor_file_create(&file, &error), STPN_OK);
        assert_int_equal(net_block_to_file(net, net->parameters, "", file, &error), STPN_OK);
        if (cases[i].format)
            assert_int_equal(tensor_file_set_metadata(file, "stpn_format", cases[i].format, &error), STPN_OK);
        assert_int_equal(tensor_file_save(file, path, &error), STPN_OK);
        tensor_file_free(file);
        assert_int_equal(stpn_net_load(net, path, &error), cases[i].status);
        if (cases[i].status) assert_non_null(strstr(error.message, "format: has "));
        assert_memory_equal(net->parameters, before, block_bytes(net));
        stpn_block_free(before);
    }
    stpn_net_free(net);
}

static void another_nets_file_is_refused(void **state)
{
    (void)state;
    stpn_net *net = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7), *wider = new_net(STPN_FLOAT, INPUTS + 1, OUTPUTS, 7);
    assert_int_equal(stpn_net_save(net, scratch_path(path, "other"), &error), STPN_OK);
    void *before = block_copy(wider);
    assert_int_equal(stpn_net_load(wider, path, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "tensor units.0.weight has shape (3, 8), expected (3, 9)"));
    assert_memory_equal(wider->parameters, before, block_bytes(wider));
    stpn_block_free(before);
    stpn_net_free(wider);
    stpn_net_free(net);
}

/* A net of the same shapes whose second unit has other options. */
static stpn_net *net_of(const char *second, stpn_norm norm, double clamp, int learn)
{
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 3), stpn_unit_default(second, 3)};
    if (strcmp(second, "stpn_r") == 0) {
        units[1].norm = norm;
        units[1].clamp = clamp;
        units[1].learn = learn;
    }
    const stpn_net_desc desc = {.inputs = INPUTS, .units = units, .unit_count = 2};
    stpn_net *net;
    if (stpn_net_create(&net, &desc, &error)) fail_msg("%s", error.message);
    return net;
}

static void assert_refused(stpn_net *net, const char *file, const char *why)
{
    char message[SCRATCH_PATH + 200];
    void *before = block_copy(net);
    snprintf(message, sizeof message, "%s: %s", file, why);
    assert_int_equal(stpn_net_load(net, file, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, message);
    assert_memory_equal(net->parameters, before, block_bytes(net));
    stpn_block_free(before);
}

/* The same parameters would compute something else. */
static void units_with_other_options_are_refused(void **state)
{
    (void)state;
    stpn_net *post = net_of("stpn_r", STPN_NORM_POST, 1, 1), *same = net_of("stpn_r", STPN_NORM_POST, 1, 1);
    stpn_net *pre = net_of("stpn_r", STPN_NORM_PRE, 1, 1), *free_net = net_of("stpn_r", STPN_NORM_POST, 0, 1);
    assert_int_equal(stpn_net_save(post, scratch_path(path, "post"), &error), STPN_OK);
    assert_int_equal(stpn_net_load(same, path, &error), STPN_OK);
    assert_refused(pre, path, "units[1].norm is \"post\", but the net's is \"pre\"");
    assert_refused(free_net, path, "units[1].clamp is 1.0, but the net's is 0.0");
    stpn_net_free(free_net);
    stpn_net_free(pre);
    stpn_net_free(same);
    stpn_net_free(post);
    /* Rates that are not learned are no parameters. */
    stpn_net *fixed = net_of("stpn_r", STPN_NORM_PRE, 0, 0);
    fixed->units[1].options.lambda = 0.5;
    assert_int_equal(stpn_net_save(fixed, scratch_path(path, "fixed"), &error), STPN_OK);
    fixed->units[1].options.lambda = 0.25;
    assert_refused(fixed, path, "units[1].lambda is 0.5, but the net's is 0.25");
    stpn_net_free(fixed);
    /* Units of the same shapes: of runs before there was a key for them. */
    stpn_net *rnn = net_of("rnn", 0, 0, 0);
    static const struct {
        int is_own;
        const char *key, *text, *why;
    } told[] = {
        {1, "experiment", "{\"units\": [{\"name\": \"stpn_r\", \"hidden\": 3}, {\"name\": \"mlp\", \"hidden\": 3}]}",
         "units[1] is a unit mlp, but the net's is a unit rnn"},
        {1, "units", "[{\"name\": \"stpn_r\", \"hidden\": 3}]", "is of 1 units, expected 2"},
        {1, "units", "[{\"name\": \"stpn_r\", \"hidden\": 3, \"nrom\": \"post\"}, {\"name\": \"rnn\", \"hidden\": 3}]",
         "units[0].nrom is not a known key; the nearest is \"norm\""},
        {1, "units", "[{}, {}]", "units[0].name is missing, expected a string"},
        {1, "units", "[", "metadata \"units\": line 1, column 2: found the end, expected a value"},
        {0, "units", "128", NULL},
        {0, "experiment", "{\"units\": 128}", NULL},
        {0, "experiment", "an experiment of someone's", NULL},
        {1, "experiment", "{\"units\": [{\"name\": \"stpn_r\", \"hidden\": 3}, {\"name\": \"rnn\", \"hidden\": 3}]}",
         NULL},
    };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        tensor_file *file;
        assert_int_equal(tensor_file_create(&file, &error), STPN_OK);
        assert_int_equal(net_block_to_file(rnn, rnn->parameters, "", file, &error), STPN_OK);
        if (told[i].is_own) assert_int_equal(tensor_file_set_metadata(file, "stpn_format", "1", &error), STPN_OK);
        assert_int_equal(tensor_file_set_metadata(file, told[i].key, told[i].text, &error), STPN_OK);
        assert_int_equal(tensor_file_save(file, scratch_path(path, "told"), &error), STPN_OK);
        tensor_file_free(file);
        if (told[i].why) assert_refused(rnn, path, told[i].why);
        else assert_int_equal(stpn_net_load(rnn, path, &error), STPN_OK);
    }
    stpn_net_free(rnn);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    stpn_net *net = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7);
    void *before = block_copy(net);
    char whole_path[SCRATCH_PATH];
    size_t size;
    assert_int_equal(stpn_net_save(net, scratch_path(whole_path, "whole"), &error), STPN_OK);
    char *data = scratch_read(whole_path, &size);
    for (size_t kept = 0; kept < size; kept += kept < 16 || kept + 16 > size ? 1 : 29) {
        scratch_write(scratch_path(path, "part"), data, kept);
        assert_int_equal(stpn_net_load(net, path, &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "part: "));
        assert_memory_equal(net->parameters, before, block_bytes(net));
    }
    free(data);
    stpn_block_free(before);
    stpn_net_free(net);
}

static void a_path_that_cannot_be_used_is_named(void **state)
{
    (void)state;
    stpn_net *net = new_net(STPN_FLOAT, INPUTS, OUTPUTS, 7);
    assert_int_equal(stpn_net_load(net, scratch_path(path, "missing"), &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "missing: cannot be opened: No such file or directory"));
    assert_int_equal(stpn_net_load(net, scratch_folder, &error), STPN_ERROR_INPUT);
    assert_int_equal(stpn_net_save(net, scratch_path(path, "no/folder"), &error), STPN_ERROR_SYSTEM);
    assert_non_null(strstr(error.message, "no/folder"));
    stpn_net_free(net);
}

/* It could not be loaded: nothing is written, and what was there stays. */
static void values_that_are_not_finite_are_not_saved(void **state)
{
    (void)state;
    static const double wrong[] = {NAN, INFINITY, -INFINITY};
    static const char *const words[] = {"nan", "inf", "-inf"};
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
        for (int i = 0; i < 3; i++) {
            stpn_net *net = new_net((stpn_real)real, INPUTS, OUTPUTS, 7);
            char message[SCRATCH_PATH + 100], bias[9 * sizeof(double)] = {0};
            if (real == STPN_DOUBLE) ((double *)(void *)bias)[2] = wrong[i];
            else ((float *)(void *)bias)[2] = (float)wrong[i];
            int last = 0;
            stpn_tensor tensor;
            while (stpn_net_tensor(net, last + 1, &tensor)) last++;
            stpn_block_set(net, net->parameters, last - 2, bias); // policy.bias (4)
            scratch_write(scratch_path(path, "before"), "before", 6);
            snprintf(message, sizeof message, "%s: tensor policy.bias: value 2 is %s, expected a finite number", path,
                     words[i]);
            assert_int_equal(stpn_net_save(net, path, &error), STPN_ERROR_INPUT);
            assert_string_equal(error.message, message);
            scratch_assert_content(path, "before", 6);
            int files = scratch_count();
            assert_int_equal(stpn_net_save(net, scratch_path(path, "not-made"), &error), STPN_ERROR_INPUT);
            assert_int_equal(scratch_count(), files);
            stpn_net_free(net);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_come_back_bit_for_bit),
        cmocka_unit_test(odd_values_come_back_too),
        cmocka_unit_test(a_file_of_the_other_type_is_converted),
        cmocka_unit_test(a_block_has_its_prefix),
        cmocka_unit_test(a_wrong_tensor_is_named_and_changes_nothing),
        cmocka_unit_test(another_format_is_refused),
        cmocka_unit_test(another_nets_file_is_refused),
        cmocka_unit_test(units_with_other_options_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_path_that_cannot_be_used_is_named),
        cmocka_unit_test(values_that_are_not_finite_are_not_saved),
    };
    return cmocka_run_group_tests_name("io/net_file", tests, scratch_make, scratch_remove);
}
