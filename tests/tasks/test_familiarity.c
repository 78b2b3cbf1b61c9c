#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tasks/task.h"

static const task_type *const task = &task_familiarity;
static stpn_error error;

static task_options sizes(int steps, int dimensions, int distance)
{
    return (task_options){
        .steps = steps, .dimensions = dimensions, .distance = distance, .train = 2, .validation = 3, .test = 2};
}

static task_data drawn(const task_options *o, uint64_t seed)
{
    task_data data;
    if (task->draw(o, seed, &data, &error)) fail_msg("%s", error.message);
    return data;
}

static const float *vector(const task_split *split, int d, int n, int t)
{
    return split->inputs + ((size_t)n * (size_t)split->steps + (size_t)t) * (size_t)d;
}

static int32_t label(const task_split *split, int n, int t)
{
    return split->labels[n * split->steps + t];
}

static int equal(const float *a, const float *b, int d)
{
    return memcmp(a, b, (size_t)d * sizeof *a) == 0;
}

/* With 64 values two vectors are never the same by chance. */
static void assert_stream(const task_split *split, int d, int n, int distance)
{
    for (int t = 0; t < split->steps; t++) {
        const float *x = vector(split, d, n, t);
        for (int i = 0; i < d; i++) assert_true(x[i] == 1 || x[i] == -1);
        int seen = 0;
        for (int before = 0; before < t; before++) {
            if (!equal(x, vector(split, d, n, before), d)) continue;
            assert_int_equal(t - before, distance);
            assert_int_equal(label(split, n, before), 0);
            seen++;
        }
        assert_int_equal(label(split, n, t), seen);
    }
}

static void labels_are_those_of_a_search(void **state)
{
    (void)state;
    static const int distances[] = {1, 3, 6, 20, 299};
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        const task_options o = sizes(300, 64, distances[i]);
        task_data data = drawn(&o, i);
        const task_split *splits[] = {&data.train, &data.validation, &data.test};
        for (int s = 0; s < 3; s++) {
            assert_int_equal(splits[s]->count, s == 1 ? 3 : 2);
            assert_int_equal(splits[s]->steps, 300);
            assert_null(splits[s]->lengths);
            for (int n = 0; n < splits[s]->count; n++) assert_stream(splits[s], 64, n, distances[i]);
        }
        task_data_free(&data);
    }
}

/* A vector that could be copied is in half of the cases; then a third of all are copies: c = (1 - c) / 2. */
static void copies_have_their_frequency(void **state)
{
    (void)state;
    enum { T = 200000, R = 3 };
    const task_options o = sizes(T, 2, R);
    task_data data = drawn(&o, 1);
    int copies = 0, chances = 0, positive = 0, pairs[4] = {0};
    for (int t = R; t < T; t++) {
        copies += label(&data.train, 0, t);
        chances += !label(&data.train, 0, t - R);
        const float *x = vector(&data.train, 2, 0, t);
        positive += x[0] > 0;
        if (!label(&data.train, 0, t)) pairs[(x[0] > 0) * 2 + (x[1] > 0)]++;
    }
    /* Five standard deviations of a fair coin. */
    assert_true(fabs(copies / (double)chances - 0.5) < 5 * 0.5 / sqrt(chances));
    assert_true(fabs(copies / (double)T - 1.0 / 3) < 0.006);
    assert_true(fabs(positive / (double)T - 0.5) < 0.008);
    for (int i = 0; i < 4; i++) assert_true(fabs(pairs[i] / (T * 2.0 / 3) - 0.25) < 0.008);
    task_data_free(&data);
}

static int same(const task_split *a, const task_split *b, int d)
{
    size_t steps = (size_t)a->count * (size_t)a->steps;
    return memcmp(a->inputs, b->inputs, steps * (size_t)d * sizeof *a->inputs) == 0 &&
           memcmp(a->labels, b->labels, steps * sizeof *a->labels) == 0;
}

static void streams_depend_on_seed_purpose_and_place(void **state)
{
    (void)state;
    const task_options o = sizes(100, 32, 3);
    task_data a = drawn(&o, 7), b = drawn(&o, 7), c = drawn(&o, 8);
    assert_true(same(&a.train, &b.train, 32) && same(&a.validation, &b.validation, 32) && same(&a.test, &b.test, 32));
    assert_false(same(&a.train, &c.train, 32));
    assert_false(same(&a.train, &a.test, 32));
    assert_false(equal(vector(&a.train, 32, 0, 0), vector(&a.train, 32, 1, 0), 32));
    assert_false(equal(vector(&a.validation, 32, 0, 0), vector(&a.test, 32, 0, 0), 32));
    task_data_free(&a);
    task_data_free(&b);
    task_data_free(&c);
}

static void fresh_streams_come_with_every_epoch(void **state)
{
    (void)state;
    int renewed = 1;
    task_options o = sizes(100, 32, 3);
    task_data first = drawn(&o, 7), data = drawn(&o, 7);
    assert_int_equal(task->renew(&o, 7, 5, &data.train, &renewed, &error), STPN_OK);
    assert_int_equal(renewed, 0);
    assert_true(same(&data.train, &first.train, 32));
    o.regime = 1;
    assert_int_equal(task->renew(&o, 7, 0, &data.train, &renewed, &error), STPN_OK);
    assert_int_equal(renewed, 1);
    assert_true(same(&data.train, &first.train, 32));
    for (int epoch = 3; epoch >= 1; epoch--) {
        assert_int_equal(task->renew(&o, 7, epoch, &data.train, &renewed, &error), STPN_OK);
        assert_false(same(&data.train, &first.train, 32));
        for (int n = 0; n < 2; n++) assert_stream(&data.train, 32, n, 3);
    }
    /* What an epoch has does not depend on those drawn before. */
    task_data other = drawn(&o, 7);
    assert_int_equal(task->renew(&o, 7, 1, &other.train, &renewed, &error), STPN_OK);
    assert_true(same(&data.train, &other.train, 32));
    task_data_free(&other);
    task_data_free(&data);
    task_data_free(&first);
}

static void probes_are_streams_of_other_distances(void **state)
{
    (void)state;
    task_options o = sizes(100, 64, 3);
    char name[16], expected[16];
    task_split split;
    int more = 1, count = 0;
    for (;; count++) {
        assert_int_equal(task->probe(&o, 7, count, name, sizeof name, &split, &more, &error), STPN_OK);
        if (!more) break;
        snprintf(expected, sizeof expected, "R=%d", count + 1);
        assert_string_equal(name, expected);
        assert_int_equal(split.count, 2);
        for (int n = 0; n < 2; n++) assert_stream(&split, 64, n, count + 1);
        task_split_free(&split);
    }
    assert_int_equal(count, 20);
    o.steps = 10;
    for (count = 0; more || !count; count++) {
        assert_int_equal(task->probe(&o, 7, count, name, sizeof name, &split, &more, &error), STPN_OK);
        task_split_free(&split);
        if (!more) break;
    }
    assert_int_equal(count, 9);
}

static void the_shape_and_the_options(void **state)
{
    (void)state;
    task_options o = task->defaults;
    task_shape shape;
    assert_ptr_equal(task_find("familiarity"), task);
    assert_int_equal(task->describe(&o, &shape, &error), STPN_OK);
    assert_int_equal(shape.inputs, 100);
    assert_int_equal(shape.outputs, 1);
    assert_int_equal(shape.steps, 5000);
    assert_int_equal(shape.type, STPN_INPUT_FLOAT);
    assert_int_equal(shape.loss, LOSS_BINARY);
    assert_int_equal(shape.per_step, 1);
    assert_int_equal(options_check(task->options, task->option_count, &o, "task", &error), STPN_OK);
    o.steps = 3;
    assert_int_equal(task->describe(&o, &shape, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "task.distance is 3, expected less than the 3 of task.steps");
    /* More than any machine has. */
    o = task->defaults;
    o.train = 1000000;
    o.steps = o.dimensions = 1 << 20;
    task_data data;
    assert_int_equal(task->draw(&o, 0, &data, &error), STPN_ERROR_MEMORY);
    assert_null(data.train.inputs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_those_of_a_search),
        cmocka_unit_test(copies_have_their_frequency),
        cmocka_unit_test(streams_depend_on_seed_purpose_and_place),
        cmocka_unit_test(fresh_streams_come_with_every_epoch),
        cmocka_unit_test(probes_are_streams_of_other_distances),
        cmocka_unit_test(the_shape_and_the_options),
    };
    return cmocka_run_group_tests_name("tasks/familiarity", tests, NULL, NULL);
}
