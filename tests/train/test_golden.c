/* Golden files through golden_verify: all that are here, on every kernel; and files that are wrong in some way. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "io/safetensors.h"
#include "support/scratch.h"
#include "train/golden.h"

#define GOLDEN_FOLDER STPN_SOURCE_DIR "/tests/golden"
#define UNIT_FILE "stpn_r-pre.safetensors"
#define TRAINING_FILE "train-art-stpn_r.safetensors"
#define A2C_FILE "a2c-maze-stpn_r.safetensors"

static const char *golden_path(char *path, const char *name)
{
    snprintf(path, SCRATCH_PATH, "%s/%s", GOLDEN_FOLDER, name);
    return path;
}

/* ------------------------------------------------------------------------------------------------- files as they are */

/* Units and the files that each has. */
static const char *const covered[][2] = {
    {"stpn_r", "stpn_r-pre"},
    {"stpn_r", "stpn_r-post-clamp"},
    {"stpn_r", "train-art-stpn_r"},
    {"stpn_r", "a2c-maze-stpn_r"},
    {"stpn_f", "stpn_f-pre"},
    {"rnn", "rnn"},
    {"lstm", "lstm"},
    {"lstm", "train-art-lstm"},
    {"gru", "gru"},
    {"mlp", "mlp"},
    {"fast_weights", "fast_weights"},
    {"fast_weights", "fast_weights-3"},
    {"hebbff", "hebbff"},
    {"plastic", "plastic-clip"},
    {"plastic", "plastic-soft"},
    {"plastic", "plastic-add"},
    {"plastic", "plastic-decay"},
    {"modplast", "modplast-clip"},
    {"modplast", "modplast-soft-sigmoid"},
    {"modul", "modul-clip"},
};

static void every_unit_has_its_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof covered / sizeof *covered; i++) {
        char path[SCRATCH_PATH], name[64];
        golden_report report;
        stpn_error error;
        snprintf(name, sizeof name, "%s.safetensors", covered[i][1]);
        if (golden_verify(&report, golden_path(path, name), &error)) fail_msg("%s", error.message);
        assert_string_equal(report.unit, covered[i][0]);
    }
}

/* Tensors that a file expects, each of which is a row in both types. */
static int expected_rows(const char *path)
{
    static const char *const whole[] = {"y", "energy", "losses", "values", "logits", "loss"};
    static const char *const prefixes[] = {"stateT.", "grad.", "end."};
    tensor_file *file;
    const tensor_entry *entry;
    int rows = 0;
    assert_int_equal(tensor_file_read(&file, path, NULL), STPN_OK);
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++) {
        for (int k = 0; k < 6; k++) rows += strcmp(entry->name, whole[k]) == 0;
        for (int k = 0; k < 3; k++) rows += strncmp(entry->name, prefixes[k], strlen(prefixes[k])) == 0;
    }
    tensor_file_free(file);
    return 2 * rows;
}

static void every_file_passes_on_every_kernel(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    int files = 0, kernels = 0;
    for (int k = 0; stpn_kernel_name(k); k++, kernels++) {
        setenv("STPN_KERNEL", stpn_kernel_name(k), 1);
        DIR *folder = opendir(GOLDEN_FOLDER);
        assert_non_null(folder);
        struct dirent *entry;
        while ((entry = readdir(folder))) {
            if (!strstr(entry->d_name, ".safetensors")) continue;
            golden_report report;
            stpn_error error;
            stpn_status status = golden_verify(&report, golden_path(path, entry->d_name), &error);
            if (status) fail_msg("%s", error.message);
            assert_string_equal(report.kernel, stpn_kernel_name(k));
            assert_int_equal(report.count, expected_rows(path));
            assert_true(report.count >= 10);
            for (int i = 0; i < report.count; i++)
                if (!golden_row_passes(&report.rows[i]))
                    fail_msg("%s: kernel %s: %s is off by %g", path, report.kernel, report.rows[i].name,
                             report.rows[i].error);
            assert_true(golden_passes(&report));
            files++;
        }
        closedir(folder);
    }
    unsetenv("STPN_KERNEL");
    assert_true(files >= 33 * kernels);
}

static void both_types_are_held_to_their_tolerance(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    golden_report report;
    assert_int_equal(golden_verify(&report, golden_path(path, "stpn_r-pre.safetensors"), NULL), STPN_OK);
    assert_string_equal(report.kind, "unit");
    assert_string_equal(report.unit, "stpn_r");
    int reals[2] = {0};
    for (int i = 0; i < report.count; i++) {
        const golden_row *row = &report.rows[i];
        reals[row->real]++;
        double expected = row->real == STPN_DOUBLE ? 1e-10 : strncmp(row->name, "grad.", 5) == 0 ? 1e-4 : 1e-5;
        assert_true(row->tolerance == expected);
    }
    /* y, energy, grad.x; a gradient for each of four parameters; two states, each at its end and its gradient. */
    assert_int_equal(reals[STPN_FLOAT], 11);
    assert_int_equal(reals[STPN_DOUBLE], 11);
}

/* --------------------------------------------------------------------------------------------------- changed copies */

/* What differs in a copy of a golden file. */
typedef struct change {
    const char *tensor;     // changed, or
    int drop;               // left out
    double value;           // set in front, in place of what stands there
    int flatten;            // 1: given rank 1
    const char *key, *text; // metadata
    const char *extra;      // a tensor more
} change;

static const char *const metadata_keys[] = {"kind",     "unit",         "inputs",        "hidden",        "batch",
                                            "steps",    "updates",      "classes",       "learning_rate", "actions",
                                            "discount", "value_weight", "entropy_weight"};

static void write_copy(const char *from, const char *to, const change *c)
{
    tensor_file *source, *copy;
    assert_int_equal(tensor_file_read(&source, from, NULL), STPN_OK);
    assert_int_equal(tensor_file_create(&copy, NULL), STPN_OK);
    for (size_t i = 0; i < sizeof metadata_keys / sizeof *metadata_keys; i++) {
        const char *value = tensor_file_metadata(source, metadata_keys[i]);
        if (c->key && strcmp(c->key, metadata_keys[i]) == 0) value = c->text;
        if (value) assert_int_equal(tensor_file_set_metadata(copy, metadata_keys[i], value, NULL), STPN_OK);
    }
    const tensor_entry *entry;
    for (int i = 0; (entry = tensor_file_entry(source, i)); i++) {
        int chosen = c->tensor && strcmp(c->tensor, entry->name) == 0;
        if (chosen && c->drop) continue;
        size_t bytes = entry->count * tensor_type_size(entry->type);
        void *values = calloc(1, bytes);
        assert_non_null(values);
        memcpy(values, entry->data, bytes);
        int64_t flat = (int64_t)entry->count, integer = (int64_t)c->value;
        if (chosen && !c->flatten) memcpy(values, entry->type == TENSOR_I64 ? (void *)&integer : (void *)&c->value, 8);
        assert_int_equal(tensor_file_add(copy, entry->name, entry->type, chosen && c->flatten ? 1 : entry->rank,
                                         chosen && c->flatten ? &flat : entry->shape, values, NULL),
                         STPN_OK);
        free(values);
    }
    double one = 1;
    if (c->extra) assert_int_equal(tensor_file_add(copy, c->extra, TENSOR_F64, 0, NULL, &one, NULL), STPN_OK);
    assert_int_equal(tensor_file_save(copy, to, NULL), STPN_OK);
    tensor_file_free(copy);
    tensor_file_free(source);
}

/* A copy of `name` with one change; the status of verifying it. */
static stpn_status verify_changed(const char *name, const change *c, golden_report *report, stpn_error *error)
{
    char from[SCRATCH_PATH], to[SCRATCH_PATH];
    write_copy(golden_path(from, name), scratch_path(to, "changed.safetensors"), c);
    return golden_verify(report, to, error);
}

static void a_changed_value_fails(void **state)
{
    (void)state;
    static const char *const expected[] = {"y",      "energy",        "stateT.F",          "stateT.h",
                                           "grad.x", "grad.state0.F", "grad.param.weight", "grad.param.gamma"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        golden_report report;
        const change c = {.tensor = expected[i], .value = 0.321};
        assert_int_equal(verify_changed("stpn_r-pre.safetensors", &c, &report, NULL), STPN_OK);
        assert_false(golden_passes(&report));
        for (int r = 0; r < report.count; r++)
            assert_int_equal(golden_row_passes(&report.rows[r]), strcmp(report.rows[r].name, expected[i]) != 0);
    }
    static const char *const trained[] = {"losses", "end.param.lambda", "end.readout.bias"};
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++) {
        golden_report report;
        const change c = {.tensor = trained[i], .value = 0.321};
        assert_int_equal(verify_changed("train-art-stpn_r.safetensors", &c, &report, NULL), STPN_OK);
        assert_false(golden_passes(&report));
    }
    static const char *const acted[] = {"values",
                                        "logits",
                                        "loss",
                                        "grad.param.lambda",
                                        "grad.policy.weight",
                                        "grad.policy.bias",
                                        "grad.value.weight",
                                        "grad.value.bias"};
    for (size_t i = 0; i < sizeof acted / sizeof *acted; i++) {
        golden_report report;
        const change c = {.tensor = acted[i], .value = 0.321};
        assert_int_equal(verify_changed(A2C_FILE, &c, &report, NULL), STPN_OK);
        for (int r = 0; r < report.count; r++)
            assert_int_equal(golden_row_passes(&report.rows[r]), strcmp(report.rows[r].name, acted[i]) != 0);
    }
}

static void an_input_that_changed_fails(void **state)
{
    (void)state;
    static const char *const given[] = {"x", "dy", "dstateT.h", "state0.F", "param.lambda"};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        golden_report report;
        const change c = {.tensor = given[i], .value = 0.321};
        assert_int_equal(verify_changed("stpn_r-pre.safetensors", &c, &report, NULL), STPN_OK);
        assert_false(golden_passes(&report));
    }
    static const change acted[] = {{.tensor = "x", .value = 0.321},
                                   {.tensor = "actions", .value = 1},
                                   {.tensor = "rewards", .value = 0.321},
                                   {.tensor = "policy.bias", .value = 0.321},
                                   {.tensor = "value.weight", .value = 0.321},
                                   {.key = "discount", .text = "0.91"},
                                   {.key = "value_weight", .text = "0.2"},
                                   {.key = "entropy_weight", .text = "0"}};
    for (size_t i = 0; i < sizeof acted / sizeof *acted; i++) {
        golden_report report;
        assert_int_equal(verify_changed(A2C_FILE, &acted[i], &report, NULL), STPN_OK);
        assert_false(golden_passes(&report));
    }
}

static void what_is_not_a_number_fails(void **state)
{
    (void)state;
    golden_report report;
    const double values[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        const change c = {.tensor = "y", .value = values[i]};
        assert_int_equal(verify_changed("stpn_r-pre.safetensors", &c, &report, NULL), STPN_OK);
        assert_false(golden_passes(&report));
        assert_false(golden_row_passes(&report.rows[0]));
    }
    const golden_row row = {.error = NAN, .tolerance = 1};
    assert_false(golden_row_passes(&row));
}

/* One file, one change, and words of the message. */
typedef struct hostile {
    const char *file;
    change change;
    const char *message;
} hostile;

static void hostile_files_give_one_clear_error(void **state)
{
    (void)state;
    static const hostile files[] = {
        {UNIT_FILE, {.tensor = "x", .drop = 1}, "tensor x is missing"},
        {UNIT_FILE, {.tensor = "param.gamma", .drop = 1}, "tensor param.gamma is missing"},
        {UNIT_FILE, {.tensor = "grad.state0.F", .drop = 1}, "tensor grad.state0.F is missing"},
        {UNIT_FILE, {.tensor = "dstateT.h", .flatten = 1}, "tensor dstateT.h has another shape than (3, 4)"},
        {UNIT_FILE, {.tensor = "x", .value = NAN}, "tensor x: value 0 is"},
        {UNIT_FILE, {.extra = "grad.param.unheard_of"}, "tensor \"grad.param.unheard_of\" is none"},
        {UNIT_FILE, {.key = "kind"}, "is no golden file"},
        {UNIT_FILE, {.key = "kind", .text = "a3c"}, "\"a3c\", expected one of unit, training, a2c, ppo"},
        {UNIT_FILE, {.key = "unit"}, "metadata has no \"unit\""},
        {UNIT_FILE, {.key = "unit", .text = "{\"unit\": \"lsm\"}"}, "\"lsm\", expected one of stpn_r, stpn_f"},
        {UNIT_FILE, {.key = "unit", .text = "{\"unit\": \"stpn_r\", \"nrom\": \"pre\"}"}, "the nearest is \"norm\""},
        {UNIT_FILE, {.key = "unit", .text = "{\"unit\": \"stpn_r\", \"hidden\": 5}"}, "unit.hidden is 5"},
        {UNIT_FILE, {.key = "unit", .text = "{\"unit\": "}, "line 1"},
        {UNIT_FILE, {.key = "unit", .text = "[]"}, "expected an object"},
        {UNIT_FILE, {.key = "hidden"}, "metadata has no \"hidden\""},
        {UNIT_FILE, {.key = "hidden", .text = "1048576"}, "has another shape than (6, 3, 1048576)"},
        {UNIT_FILE, {.key = "hidden", .text = "99999999999999999999"}, "expected an integer from 1 to 1048576"},
        {UNIT_FILE, {.key = "steps", .text = "-1"}, "expected an integer from 1 to 1048576"},
        {UNIT_FILE, {.key = "steps", .text = "0"}, "expected an integer from 1 to 1048576"},
        {UNIT_FILE, {.key = "batch", .text = " 3"}, "expected an integer from 1 to 1048576"},
        {UNIT_FILE, {.key = "batch", .text = "3x"}, "expected an integer from 1 to 1048576"},
        {UNIT_FILE, {.key = "inputs", .text = "6"}, "tensor x has another shape than (6, 3, 6)"},
        {TRAINING_FILE, {.tensor = "tokens", .value = 37}, "tensor tokens: value 0 is 37, expected 0 to 36"},
        {TRAINING_FILE, {.tensor = "labels", .value = -1}, "tensor labels: value 0 is -1, expected 0 to 36"},
        {TRAINING_FILE, {.tensor = "end.readout.bias", .drop = 1}, "tensor end.readout.bias is missing"},
        {TRAINING_FILE, {.key = "classes", .text = "1048576"}, "tensor readout.weight has another shape"},
        {TRAINING_FILE, {.key = "updates", .text = "11"}, "tensor tokens has another shape than (11, 16, 9)"},
        {TRAINING_FILE, {.key = "learning_rate"}, "metadata has no \"learning_rate\""},
        {TRAINING_FILE, {.key = "learning_rate", .text = "nan"}, "expected a number above 0"},
        {TRAINING_FILE, {.key = "learning_rate", .text = "-1"}, "expected a number above 0"},
        {TRAINING_FILE, {.key = "learning_rate", .text = "1e-3 "}, "expected a number above 0"},
        {TRAINING_FILE, {.key = "kind", .text = "unit"}, "tensor x is missing"},
        {A2C_FILE, {.tensor = "actions", .value = 4}, "tensor actions: value 0 is 4, expected 0 to 3"},
        {A2C_FILE, {.tensor = "rewards", .value = NAN}, "tensor rewards: value 0 is"},
        {A2C_FILE, {.tensor = "grad.value.bias", .drop = 1}, "tensor grad.value.bias is missing"},
        {A2C_FILE, {.extra = "readout.bias"}, "tensor \"readout.bias\" is none"},
        {A2C_FILE, {.key = "actions", .text = "5"}, "tensor logits has another shape than (12, 4, 5)"},
        {A2C_FILE, {.key = "discount"}, "metadata has no \"discount\""},
        {A2C_FILE, {.key = "discount", .text = "1.5"}, "discount"},
        {A2C_FILE, {.key = "value_weight", .text = "-1"}, "expected a number not below 0"},
        {A2C_FILE, {.key = "entropy_weight", .text = "inf"}, "expected a number not below 0"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        golden_report report;
        stpn_error error;
        stpn_status status = verify_changed(files[i].file, &files[i].change, &report, &error);
        if (status != STPN_ERROR_INPUT || !strstr(error.message, files[i].message))
            fail_msg("file %zu: status %d, message \"%s\", expected \"%s\"", i, (int)status, error.message,
                     files[i].message);
        assert_non_null(strstr(error.message, "changed.safetensors"));
    }
}

/* Columns without plasticity carry no F: a file that gives one a value is wrong, a gradient there is not looked at. */
static void columns_without_plasticity(void **state)
{
    (void)state;
    golden_report report;
    stpn_error error;
    const change value = {.tensor = "state0.F", .value = 0.5};
    assert_int_equal(verify_changed("stpn_r-hidden.safetensors", &value, &report, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "state0.F"));
    const change gradient = {.tensor = "grad.state0.F", .value = 0.5};
    assert_int_equal(verify_changed("stpn_r-hidden.safetensors", &gradient, &report, NULL), STPN_OK);
    assert_true(golden_passes(&report));
    assert_int_equal(verify_changed("stpn_r-input.safetensors", &gradient, &report, NULL), STPN_OK);
    assert_false(golden_passes(&report));
}

static void a_truncated_file_is_an_input_error(void **state)
{
    (void)state;
    char from[SCRATCH_PATH], to[SCRATCH_PATH];
    size_t size;
    char *data = scratch_read(golden_path(from, "stpn_r-pre.safetensors"), &size);
    scratch_path(to, "truncated.safetensors");
    const size_t sizes[] = {0, 1, 7, 8, 9, 100, size / 2, size - 8, size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        golden_report report;
        stpn_error error;
        scratch_write(to, data, sizes[i]);
        assert_int_equal(golden_verify(&report, to, &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "truncated.safetensors"));
    }
    free(data);
    golden_report report;
    assert_int_equal(golden_verify(&report, scratch_path(to, "none.safetensors"), NULL), STPN_ERROR_INPUT);
    assert_int_equal(golden_verify(&report, scratch_folder, NULL), STPN_ERROR_INPUT);
}

/* Sizes that agree with each other, in a file of a few megabytes, but ask for hours. */
static void too_much_work_is_refused(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    tensor_file *file;
    assert_int_equal(tensor_file_create(&file, NULL), STPN_OK);
    static const char *const texts[][2] = {{"kind", "training"},     {"unit", "{\"unit\": \"stpn_r\"}"},
                                           {"inputs", "1"},          {"hidden", "1000"},
                                           {"batch", "1"},           {"steps", "1000"},
                                           {"updates", "2"},         {"classes", "1"},
                                           {"learning_rate", "1e-3"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(tensor_file_set_metadata(file, texts[i][0], texts[i][1], NULL), STPN_OK);
    double *zeros = calloc((size_t)1000 * 1001, sizeof *zeros);
    assert_non_null(zeros);
    const int64_t square[] = {1000, 1001}, neurons[] = {1000}, row[] = {1, 1000}, one[] = {1}, two[] = {2};
    const int64_t tokens[] = {2, 1, 1000}, labels[] = {2, 1};
    static const char *const prefixes[] = {"param.", "end.param."}, *const readouts[] = {"readout.", "end.readout."};
    static const char *const squares[] = {"weight", "lambda", "gamma"};
    char name[64];
    for (int p = 0; p < 2; p++) {
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "%s%s", prefixes[p], squares[i]);
            assert_int_equal(tensor_file_add(file, name, TENSOR_F64, 2, square, zeros, NULL), STPN_OK);
        }
        snprintf(name, sizeof name, "%sbias", prefixes[p]);
        assert_int_equal(tensor_file_add(file, name, TENSOR_F64, 1, neurons, zeros, NULL), STPN_OK);
        snprintf(name, sizeof name, "%sweight", readouts[p]);
        assert_int_equal(tensor_file_add(file, name, TENSOR_F64, 2, row, zeros, NULL), STPN_OK);
        snprintf(name, sizeof name, "%sbias", readouts[p]);
        assert_int_equal(tensor_file_add(file, name, TENSOR_F64, 1, one, zeros, NULL), STPN_OK);
    }
    assert_int_equal(tensor_file_add(file, "tokens", TENSOR_I64, 3, tokens, zeros, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "labels", TENSOR_I64, 2, labels, zeros, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(file, "losses", TENSOR_F64, 1, two, zeros, NULL), STPN_OK);
    assert_int_equal(tensor_file_save(file, scratch_path(path, "large.safetensors"), NULL), STPN_OK);
    tensor_file_free(file);
    free(zeros);
    golden_report report;
    stpn_error error;
    assert_int_equal(golden_verify(&report, path, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "synapses x samples x steps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_has_its_files),
        cmocka_unit_test(every_file_passes_on_every_kernel),
        cmocka_unit_test(both_types_are_held_to_their_tolerance),
        cmocka_unit_test(a_changed_value_fails),
        cmocka_unit_test(an_input_that_changed_fails),
        cmocka_unit_test(what_is_not_a_number_fails),
        cmocka_unit_test(hostile_files_give_one_clear_error),
        cmocka_unit_test(columns_without_plasticity),
        cmocka_unit_test(a_truncated_file_is_an_input_error),
        cmocka_unit_test(too_much_work_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
