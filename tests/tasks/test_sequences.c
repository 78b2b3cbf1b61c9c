#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "io/safetensors.h"
#include "support/scratch.h"
#include "tasks/task.h"

static const task_type *const task = &task_sequences;
static stpn_error error;

/* Options of a file in the scratch folder. */
static task_options of_file(const char *name)
{
    task_options o = task->defaults;
    snprintf(o.file, sizeof o.file, "%s", name);
    snprintf(o.folder, sizeof o.folder, "%s", scratch_folder);
    return o;
}

static task_options of_table(const char *text, const char *inputs)
{
    char path[SCRATCH_PATH];
    task_options o = of_file("table.csv");
    scratch_write(scratch_path(path, "table.csv"), text, strlen(text));
    snprintf(o.inputs, sizeof o.inputs, "%s", inputs);
    return o;
}

typedef struct given {
    const char *name;
    tensor_type type;
    int rank;
    int64_t shape[4];
    const void *values;
} given;

static task_options of_arrays(const given *arrays, int count)
{
    char path[SCRATCH_PATH];
    tensor_file *file;
    assert_int_equal(tensor_file_create(&file, &error), STPN_OK);
    for (int i = 0; i < count; i++) {
        const given *g = &arrays[i];
        assert_int_equal(tensor_file_add(file, g->name, g->type, g->rank, g->shape, g->values, &error), STPN_OK);
    }
    assert_int_equal(tensor_file_save(file, scratch_path(path, "arrays.safetensors"), &error), STPN_OK);
    tensor_file_free(file);
    return of_file("arrays.safetensors");
}

static task_shape shape_of(const task_options *o)
{
    task_shape shape;
    if (task->describe(o, &shape, &error)) fail_msg("%s", error.message);
    return shape;
}

static task_data drawn(const task_options *o, uint64_t seed)
{
    task_data data;
    if (task->draw(o, seed, &data, &error)) fail_msg("%s", error.message);
    return data;
}

/* What describe and draw say, without the folder. */
static void assert_refused(const task_options *o, const char *message)
{
    task_shape shape;
    task_data data;
    stpn_status status = task->describe(o, &shape, &error);
    if (!status) status = task->draw(o, 0, &data, &error);
    assert_int_equal(status, STPN_ERROR_INPUT);
    char *place = strstr(error.message, scratch_folder);
    if (place) memmove(place, place + strlen(scratch_folder) + 1, strlen(place + strlen(scratch_folder) + 1) + 1);
    assert_string_equal(error.message, message);
}

enum { N = 4, T = 3, I = 2 };

static const float inputs[N * T * I] = {0,  1,  2,  3,  4,  5,  10, 11, 12, 13, 14, 15,
                                        20, 21, 22, 23, 24, 25, 30, 31, 32, 33, 34, 35};
static const int32_t splits[N] = {0, 1, 0, 2}, lengths[N] = {3, 2, 1, 3};
static const int64_t step_labels[N * T] = {0, 1, 2, 0, 1, -7, 1, 99, -1, 2, -1, 0};
static const given real_inputs = {"inputs", TENSOR_F32, 3, {N, T, I}, inputs};
static const given split = {"split", TENSOR_I32, 1, {N}, splits};

static void arrays_with_labels_and_lengths(void **state)
{
    (void)state;
    const given arrays[] = {
        real_inputs, split, {"labels", TENSOR_I64, 2, {N, T}, step_labels}, {"lengths", TENSOR_I32, 1, {N}, lengths}};
    task_options o = of_arrays(arrays, 4);
    task_shape shape = shape_of(&o);
    assert_int_equal(shape.inputs, I);
    /* The 99 lies behind the end of its sequence. */
    assert_int_equal(shape.outputs, 3);
    assert_int_equal(shape.steps, T);
    assert_int_equal(shape.type, STPN_INPUT_FLOAT);
    assert_int_equal(shape.loss, LOSS_CROSS_ENTROPY);
    assert_int_equal(shape.per_step, 1);
    task_data data = drawn(&o, 0);
    static const float train[] = {0, 1, 2, 3, 4, 5, 20, 21, 0, 0, 0, 0};
    static const int32_t train_labels[] = {0, 1, 2, 1, -1, -1}, train_lengths[] = {3, 1};
    assert_int_equal(data.train.count, 2);
    assert_int_equal(data.train.steps, 3);
    assert_memory_equal(data.train.inputs, train, sizeof train);
    assert_memory_equal(data.train.labels, train_labels, sizeof train_labels);
    assert_memory_equal(data.train.lengths, train_lengths, sizeof train_lengths);
    assert_null(data.train.tokens);
    assert_null(data.train.targets);
    static const int32_t validation_labels[] = {0, 1}, test_labels[] = {2, -1, 0};
    assert_int_equal(data.validation.count, 1);
    assert_int_equal(data.validation.steps, 2);
    assert_null(data.validation.lengths);
    assert_memory_equal(data.validation.inputs, inputs + 6, 4 * sizeof *inputs);
    assert_memory_equal(data.validation.labels, validation_labels, sizeof validation_labels);
    assert_memory_equal(data.test.labels, test_labels, sizeof test_labels);
    task_data_free(&data);
}

static void tokens_with_a_label_each(void **state)
{
    (void)state;
    static const int64_t tokens[N * T] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 5, 5};
    static const uint8_t labels[N] = {1, 0, 0, 1};
    const given arrays[] = {{"tokens", TENSOR_I64, 2, {N, T}, tokens}, split, {"labels", TENSOR_U8, 1, {N}, labels}};
    task_options o = of_arrays(arrays, 3);
    task_shape shape = shape_of(&o);
    assert_int_equal(shape.inputs, 9);
    assert_int_equal(shape.outputs, 2);
    assert_int_equal(shape.type, STPN_INPUT_TOKEN);
    assert_int_equal(shape.per_step, 0);
    task_data data = drawn(&o, 0);
    static const int32_t train[] = {0, 1, 2, 6, 7, 8}, train_labels[] = {1, 0};
    assert_memory_equal(data.train.tokens, train, sizeof train);
    assert_memory_equal(data.train.labels, train_labels, sizeof train_labels);
    assert_null(data.train.inputs);
    assert_null(data.train.lengths);
    task_data_free(&data);
    o.standardise = 1;
    assert_refused(&o, "task.standardise has no effect on tokens and labels");
    o.standardise = 0;
    o.ahead = 1;
    assert_refused(&o, "task.ahead is 1, expected 0 where a sequence has one answer");
    o.ahead = 0;
    o.window = 2;
    assert_refused(&o, "task.window is 2, expected 0 where a sequence has one answer");
}

static void targets_of_every_shape(void **state)
{
    (void)state;
    static const double values[N * T * 3] = {0, 1, 2, 3, 4, 5, 6, 7, 8, NAN, 10, 11, 12};
    const struct {
        int rank;
        int64_t shape[3];
        int answers, outputs, per_step;
    } cases[] = {{1, {N}, 0, 1, 0},       {2, {N, 2}, 0, 2, 0}, {2, {N, T}, 0, 1, 1}, {2, {N, T}, 2, T, 0},
                 {3, {N, T, 3}, 0, 3, 1}, {1, {N}, 2, 1, 0},    {2, {N, T}, 1, 1, 1}, {3, {N, T, 3}, 1, 3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        given targets = {"targets", TENSOR_F64, cases[i].rank, {0}, values};
        memcpy(targets.shape, cases[i].shape, sizeof cases[i].shape);
        const given arrays[] = {real_inputs, split, targets};
        task_options o = of_arrays(arrays, 3);
        o.answers = cases[i].answers;
        task_shape shape = shape_of(&o);
        assert_int_equal(shape.loss, LOSS_SQUARED);
        assert_int_equal(shape.outputs, cases[i].outputs);
        assert_int_equal(shape.per_step, cases[i].per_step);
        task_data data = drawn(&o, 0);
        int places = (cases[i].per_step ? T : 1) * cases[i].outputs;
        for (int k = 0; k < places; k++) {
            assert_true(data.train.targets[k] == (float)values[k] || isnan(values[k]));
            double second = values[2 * places + k];
            float got = data.train.targets[places + k];
            assert_true(isnan(second) ? isnan(got) : got == (float)second);
        }
        assert_null(data.train.labels);
        task_data_free(&data);
    }
}

static void sequences_are_divided_by_the_seed(void **state)
{
    (void)state;
    enum { MANY = 50 };
    float values[MANY];
    int32_t labels[MANY];
    for (int i = 0; i < MANY; i++) {
        values[i] = (float)i;
        labels[i] = i % 2;
    }
    const given arrays[] = {{"inputs", TENSOR_F32, 3, {MANY, 1, 1}, values}, {"labels", TENSOR_I32, 1, {MANY}, labels}};
    task_options o = of_arrays(arrays, 2);
    o.validation_fraction = 0.2;
    task_data a = drawn(&o, 1), b = drawn(&o, 1), c = drawn(&o, 2);
    assert_int_equal(a.train.count, 35);
    assert_int_equal(a.validation.count, 10);
    assert_int_equal(a.test.count, 5);
    int seen[MANY] = {0};
    const task_split *all[] = {&a.train, &a.validation, &a.test};
    for (int s = 0; s < 3; s++)
        for (int n = 0; n < all[s]->count; n++) {
            int value = (int)all[s]->inputs[n];
            seen[value]++;
            assert_int_equal(all[s]->labels[n], value % 2);
            if (n) assert_true(all[s]->inputs[n] > all[s]->inputs[n - 1]);
        }
    for (int i = 0; i < MANY; i++) assert_int_equal(seen[i], 1);
    assert_memory_equal(a.validation.inputs, b.validation.inputs, 10 * sizeof(float));
    assert_memory_not_equal(a.validation.inputs, c.validation.inputs, 10 * sizeof(float));
    task_data_free(&a);
    task_data_free(&b);
    task_data_free(&c);
    o.validation_fraction = 0.005;
    char message[512];
    snprintf(message, sizeof message,
             "arrays.safetensors: has 50 sequences, too few for task.validation_fraction and "
             "task.test_fraction: each of training, validation and test takes one at least");
    assert_refused(&o, message);
    o.validation_fraction = 0.9;
    assert_refused(&o, message);
}

static const char table[] = "device,when,temp,load,state,split\n"
                            "a,08:00,1,10,ok,0\n"
                            "a,09:00,2,11,,0\n"
                            "a,10:00,3,12,hot,0\n"
                            "b,08:00,4,13,cold,1\n"
                            "b,09:00,5,14,ok,1\n"
                            "c,08:00,6,15,hot,2\n"
                            "c,09:00,7,16,hot,2\n";

static void tables_with_words_as_labels(void **state)
{
    (void)state;
    task_options o = of_table(table, "load , temp");
    strcpy(o.sequence, "device");
    strcpy(o.label, "state");
    task_shape shape = shape_of(&o);
    assert_int_equal(shape.inputs, 2);
    assert_int_equal(shape.outputs, 3);
    assert_int_equal(shape.steps, 3);
    assert_int_equal(shape.per_step, 1);
    task_data data = drawn(&o, 0);
    static const float train[] = {10, 1, 11, 2, 12, 3};
    /* cold, hot, ok in the order of the alphabet. */
    static const int32_t labels[] = {2, -1, 1}, test_labels[] = {1, 1};
    assert_int_equal(data.train.count, 1);
    assert_memory_equal(data.train.inputs, train, sizeof train);
    assert_memory_equal(data.train.labels, labels, sizeof labels);
    assert_memory_equal(data.test.labels, test_labels, sizeof test_labels);
    task_data_free(&data);
    o.answers = 2;
    assert_int_equal(shape_of(&o).per_step, 0);
    data = drawn(&o, 0);
    assert_int_equal(data.train.labels[0], 1);
    assert_int_equal(data.validation.labels[0], 2);
    task_data_free(&data);
}

static void streams_are_cut_in_time(void **state)
{
    (void)state;
    char text[4096] = "x,y\n";
    for (int i = 0; i < 100; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%d\n", i, 1000 + i);
    task_options o = of_table(text, "x");
    strcpy(o.target, "y, x");
    o.validation_fraction = 0.2;
    assert_int_equal(shape_of(&o).steps, 70);
    assert_int_equal(shape_of(&o).outputs, 2);
    task_data data = drawn(&o, 3);
    const int counts[] = {70, 20, 10}, firsts[] = {0, 70, 90};
    const task_split *all[] = {&data.train, &data.validation, &data.test};
    for (int s = 0; s < 3; s++) {
        assert_int_equal(all[s]->count, 1);
        assert_int_equal(all[s]->steps, counts[s]);
        for (int t = 0; t < counts[s]; t++) {
            assert_true(all[s]->inputs[t] == (float)(firsts[s] + t));
            assert_true(all[s]->targets[2 * t] == (float)(1000 + firsts[s] + t));
            assert_true(all[s]->targets[2 * t + 1] == (float)(firsts[s] + t));
        }
    }
    task_data_free(&data);
    o.ahead = 3;
    o.window = 30;
    assert_int_equal(shape_of(&o).steps, 30);
    data = drawn(&o, 3);
    assert_int_equal(data.train.count, 3);
    assert_int_equal(data.train.lengths[2], 10);
    for (int n = 0; n < 3; n++)
        for (int t = 0; t < 30; t++) {
            float target = data.train.targets[2 * (30 * n + t)];
            int at = 30 * n + t;
            /* Over the border of a piece, but not over that of a split. */
            if (at < 67) assert_true(target == (float)(1003 + at));
            else assert_true(isnan(target));
            assert_true(data.train.inputs[at] == (at < 70 ? (float)at : 0));
        }
    assert_int_equal(data.validation.count, 1);
    assert_true(data.validation.targets[0] == 1073);
    assert_true(isnan(data.validation.targets[2 * 17]));
    task_data_free(&data);
}

static void standardised_by_the_training_sequences(void **state)
{
    (void)state;
    task_options o = of_table("x,z,y,split\n1,5,10,0\n3,5,,0\n5,5,30,0\n100,5,70,1\n-7,6,1,2\n", "x,z");
    strcpy(o.target, "y");
    o.standardise = 1;
    task_data data = drawn(&o, 0);
    const double deviation = sqrt(8.0 / 3);
    assert_true(data.train.inputs[0] == (float)(-2 / deviation));
    assert_true(data.train.inputs[2] == 0);
    assert_true(data.train.inputs[4] == (float)(2 / deviation));
    assert_true(data.validation.inputs[0] == (float)(97 / deviation));
    /* A constant is only moved. */
    assert_true(data.train.inputs[1] == 0 && data.test.inputs[1] == 1);
    assert_true(data.train.targets[0] == -1 && isnan(data.train.targets[1]) && data.train.targets[2] == 1);
    assert_true(data.validation.targets[0] == 5);
    task_data_free(&data);
}

static void wrong_arrays_are_refused(void **state)
{
    (void)state;
    static const int64_t labels[N * T] = {0, 1, 2, 3};
    static const float bad[N] = {0, 0.5F, 1, 2};
    static const int64_t four[N] = {1, 2, 3, 4};
    const given good = {"labels", TENSOR_I64, 1, {N}, labels};
    float damaged[N * T * I];
    memcpy(damaged, inputs, sizeof damaged);
    damaged[13] = NAN;
    const given damaged_inputs = {"inputs", TENSOR_F32, 3, {N, T, I}, damaged};
    const struct {
        given arrays[3];
        int count;
        const char *message;
    } cases[] = {
        {{good}, 1, "arrays.safetensors: has neither array \"inputs\" nor \"tokens\", expected one of them"},
        {{real_inputs}, 1, "arrays.safetensors: has neither array \"labels\" nor \"targets\", expected one of them"},
        {{real_inputs, good, {"tokens", TENSOR_I64, 1, {N}, labels}},
         3,
         "arrays.safetensors: has both array \"inputs\" and \"tokens\", expected one of them"},
        {{{"inputs", TENSOR_F32, 2, {N, T}, inputs}, good},
         2,
         "arrays.safetensors: array \"inputs\" has shape (4, 3), expected (sequences, steps, inputs), none 0"},
        {{{"inputs", TENSOR_F32, 3, {0, T, I}, inputs}, good},
         2,
         "arrays.safetensors: array \"inputs\" has shape (0, 3, 2), expected (sequences, steps, inputs), none 0"},
        {{{"tokens", TENSOR_F32, 2, {N, 1}, bad}, good},
         2,
         "arrays.safetensors: array \"tokens\" at [1, 0]: is 0.5, expected an integer from 0 to 1048575"},
        {{real_inputs, {"labels", TENSOR_I64, 1, {3}, labels}},
         2,
         "arrays.safetensors: array \"labels\" has shape (3,), expected (sequences) or (sequences, steps) as the "
         "inputs "
         "have"},
        {{real_inputs, {"labels", TENSOR_F32, 1, {N}, bad}},
         2,
         "arrays.safetensors: array \"labels\" at [1]: is 0.5, expected an integer from 0 to 1048575"},
        {{real_inputs, {"targets", TENSOR_F32, 3, {N, 2, 1}, inputs}},
         2,
         "arrays.safetensors: array \"targets\" has shape (4, 2, 1), expected (sequences), (sequences, outputs), "
         "(sequences, steps) or (sequences, steps, outputs)"},
        {{real_inputs, good, {"lengths", TENSOR_I64, 1, {N}, four}},
         3,
         "arrays.safetensors: array \"lengths\" at [3]: is 4, expected an integer from 1 to 3"},
        {{real_inputs, good, {"split", TENSOR_I64, 1, {N}, four}},
         3,
         "arrays.safetensors: array \"split\" at [2]: is 3, expected an integer from 0 to 2"},
        {{real_inputs, good, {"split", TENSOR_I64, 1, {N}, labels}},
         3,
         "arrays.safetensors: array \"split\" at [3]: is 3, expected an integer from 0 to 2"},
        {{real_inputs, good, {"split", TENSOR_I32, 1, {2}, splits}},
         3,
         "arrays.safetensors: array \"split\" has shape (2,), expected one number per sequence"},
        {{damaged_inputs, good, split},
         3,
         "arrays.safetensors: array \"inputs\" at [2, 0, 1]: is missing or nan, expected a finite number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        task_options o = of_arrays(cases[i].arrays, cases[i].count);
        assert_refused(&o, cases[i].message);
    }
    static const int32_t no_test[N] = {0, 1, 0, 1}, none[N] = {-1, -1, -1, -1};
    const given two[] = {real_inputs, good, {"split", TENSOR_I32, 1, {N}, no_test}};
    task_options o = of_arrays(two, 3);
    assert_refused(&o, "arrays.safetensors: no sequence has split 2 (test), expected one at least");
    const given unasked[] = {real_inputs, {"labels", TENSOR_I32, 1, {N}, none}};
    o = of_arrays(unasked, 2);
    assert_refused(&o,
                   "arrays.safetensors: array \"labels\" at [0]: this and all others ask for no answer, expected some");
    o.answers = 1;
    assert_refused(&o,
                   "arrays.safetensors: array \"labels\" has shape (4,), expected the other one for this task.answers");
    o.answers = 0;
    strcpy(o.label, "x");
    assert_refused(&o, "task.label has no effect: arrays.safetensors is no table");
}

static void wrong_tables_are_refused(void **state)
{
    (void)state;
    task_options o = of_table(table, "");
    assert_refused(&o, "task.inputs is missing, expected headings of columns of table.csv");
    strcpy(o.inputs, "temp,lod");
    assert_refused(&o,
                   "task.inputs names \"lod\", expected columns of table.csv: device, when, temp, load, state, split");
    strcpy(o.inputs, "temp,when");
    assert_refused(&o, "table.csv: line 2, column \"when\": \"08:00\" is no number");
    strcpy(o.inputs, "temp");
    assert_refused(&o, "there is neither task.label nor task.target, expected one of them for table.csv");
    strcpy(o.label, "state");
    strcpy(o.target, "load");
    assert_refused(&o, "there are task.label and task.target, expected one of them for table.csv");
    strcpy(o.label, "");
    strcpy(o.target, "state");
    assert_refused(&o, "table.csv: line 2, column \"state\": \"ok\" is no number");
    strcpy(o.target, "");
    strcpy(o.label, "state,load");
    assert_refused(&o, "task.label names 2 columns, expected one");
    strcpy(o.label, "state");
    strcpy(o.sequence, "devise");
    assert_refused(
        &o, "task.sequence names \"devise\", expected columns of table.csv: device, when, temp, load, state, split");
    o = of_table("x,y\n1,0\n,1\n1,0\n1,1\n1,1\n", "x");
    strcpy(o.label, "y");
    o.validation_fraction = o.test_fraction = 0.2;
    assert_refused(&o, "table.csv: line 3, column \"x\": is missing or nan, expected a finite number");
    o = of_table("x,y\n1,0\n1e39,1\n1,0\n1,1\n1,1\n", "x");
    strcpy(o.label, "y");
    o.validation_fraction = o.test_fraction = 0.2;
    assert_refused(&o, "table.csv: line 3, column \"x\": is 1e+39, expected a finite float");
    o = of_table("x,y\n1,0\n1,1.5\n1,0\n", "x");
    strcpy(o.label, "y");
    assert_refused(&o, "table.csv: line 3, column \"y\": is 1.5, expected an integer from 0 to 1048575");
    o = of_table("x,y,split\n1,0,0\n1,1,3\n1,0,2\n", "x");
    strcpy(o.label, "y");
    assert_refused(&o,
                   "table.csv: line 3, column \"split\": is \"3\", expected 0 (training), 1 (validation) or 2 (test)");
    o = of_file("missing.csv");
    strcpy(o.inputs, "x");
    assert_refused(&o, "missing.csv: cannot be opened: No such file or directory");
    o = of_file("data.txt");
    assert_refused(&o, "data.txt: is of an unknown kind, expected .safetensors, .npz, .csv or .tsv");
    o = of_file("");
    assert_refused(&o, "task.file is missing, expected the path of the data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_with_labels_and_lengths),
        cmocka_unit_test(tokens_with_a_label_each),
        cmocka_unit_test(targets_of_every_shape),
        cmocka_unit_test(sequences_are_divided_by_the_seed),
        cmocka_unit_test(tables_with_words_as_labels),
        cmocka_unit_test(streams_are_cut_in_time),
        cmocka_unit_test(standardised_by_the_training_sequences),
        cmocka_unit_test(wrong_arrays_are_refused),
        cmocka_unit_test(wrong_tables_are_refused),
    };
    return cmocka_run_group_tests_name("tasks/sequences", tests, scratch_make, scratch_remove);
}
