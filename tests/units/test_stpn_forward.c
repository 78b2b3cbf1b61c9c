#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/effort.h"
#include "support/library.h"

#include <math.h>
#include <string.h>

/* The library against the reference (tests/support/reference.c): outputs, energy and final states, on every kernel, in
 * both real types. Outputs hold NaN before each run, so that what is not written shows. */

enum { RANDOM_COMBINATIONS = SHARED_OUT ? 130 : 400, SIZE_COUNT = 12 };

static const int sizes[SIZE_COUNT] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 55};
static const double tolerance[] = {[STPN_FLOAT] = 1e-5, [STPN_DOUBLE] = 1e-10};

static void check(const problem_plan *plan, uint64_t seed)
{
    problem p;
    outcome expected, actual;
    problem_make(&p, plan, seed);
    reference_outcome(&p, &expected);
    run r = {0};
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            r.real = (stpn_real)real;
            library_outcome(&p, &r, &actual);
            assert_forward_close(&p, &r, &actual, &expected, tolerance[real]);
            outcome_free(&actual);
        }
    outcome_free(&expected);
    problem_free(&p);
}

static problem_plan one_unit(stpn_unit unit, int inputs, int steps, int batch)
{
    return (problem_plan){.units = {unit}, .unit_count = 1, .inputs = inputs, .steps = steps, .batch = batch};
}

/* Each combination in a few settings that are drawn for it. */
static void check_combination(int index)
{
    static const int step_counts[] = {0, 1, 2, 3, 5, 9};
    random_stream stream = random_open(3, RANDOM_BENCH, (uint64_t)index);
    for (int i = 0; i < 2; i++) {
        int H = sizes[random_below(&stream, SIZE_COUNT - 2)], I = sizes[random_below(&stream, SIZE_COUNT - 2)];
        problem_plan plan = one_unit(combination(index, H), I, step_counts[1 + random_below(&stream, 5)], 3);
        plan.input = (plan_input)random_below(&stream, 4);
        plan.resets = (int)random_below(&stream, 2);
        plan.lengths = (int)random_below(&stream, 2);
        plan.started = (int)random_below(&stream, 2);
        check(&plan, (uint64_t)(2 * index + i));
    }
}

static void every_option_and_every_pair_of_options(void **state)
{
    (void)state;
    assert_int_equal(combination_systematic(), 130);
    for (int i = 0; i < combination_systematic(); i++) check_combination(i);
}

static void random_combinations(void **state)
{
    (void)state;
    for (int i = 0; i < RANDOM_COMBINATIONS; i++) check_combination(combination_systematic() + i);
}

/* Every pair of sizes, with the options that have loops of their own in the kernels and some that do not. */
static void every_size(void **state)
{
    (void)state;
    for (int h = 0; h < SIZE_COUNT; h++)
        for (int i = 0; i < SIZE_COUNT; i++) {
            stpn_unit unit = stpn_unit_default(i % 2 ? "stpn_f" : "stpn_r", sizes[h]);
            problem_plan plan = one_unit(unit, sizes[i], 3, 2);
            plan.started = 1;
            check(&plan, 1);
            plan.units[0] = stpn_unit_default("stpn_r", sizes[h]);
            plan.units[0].norm = STPN_NORM_POST;
            plan.units[0].clamp = 0.25;
            plan.input = PLAN_SPARSE;
            check(&plan, 2);
            plan.units[0] = combination(combination_systematic() + SIZE_COUNT * h + i, sizes[h]);
            check(&plan, 3);
        }
}

/* Each kind of input with each use of a sequence, over long enough runs. */
static void every_kind_of_sequence(void **state)
{
    (void)state;
    for (int input = PLAN_DENSE; input <= PLAN_BYTES; input++)
        for (int flags = 0; flags < 8; flags++)
            for (int norm = 0; norm < 4; norm++) {
                stpn_unit unit = stpn_unit_default("stpn_r", 9);
                unit.norm = (stpn_norm)norm;
                unit.clamp = norm >= 2 ? 0.5 : 0;
                problem_plan plan = one_unit(unit, 7, 15, 5);
                plan.input = (plan_input)input;
                plan.resets = flags & 1;
                plan.lengths = flags >> 1 & 1;
                plan.started = flags >> 2 & 1;
                check(&plan, (uint64_t)(32 * input + 4 * flags + norm));
            }
}

static void no_steps_at_all(void **state)
{
    (void)state;
    for (int i = 0; i < combination_systematic(); i++) {
        problem_plan plan = one_unit(combination(i, 5), 4, 0, 3);
        plan.started = 1;
        check(&plan, (uint64_t)i);
    }
}

/* A clamp that never acts, or plasticity that hardly does, would prove little. */
static void the_problems_are_not_empty(void **state)
{
    (void)state;
    int with_clamp = 0, clamped = 0;
    double weakest = 1;
    for (int i = 0; i < combination_systematic() + RANDOM_COMBINATIONS; i++) {
        problem_plan plan = one_unit(combination(i, 9), 7, 9, 3);
        problem p;
        problem_make(&p, &plan, (uint64_t)i);
        with_clamp += plan.units[0].clamp > 0;
        clamped += plan.units[0].clamp > 0 && p.closeness.clamped > 20;
        if (p.closeness.largest < weakest) weakest = p.closeness.largest;
        problem_free(&p);
    }
    assert_true(with_clamp > RANDOM_COMBINATIONS / 4 && clamped > with_clamp * 2 / 3);
    assert_true(weakest > 0.05);
}

/* Bytes up to 255, whose sums lose digits in float: the same bits as the same values given as floats. Doubles that are
 * floats likewise. */
static void types_of_input_give_the_same_bits(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            problem_plan plan = one_unit(stpn_unit_default("stpn_r", 7), 9, 6, 4);
            problem p, floats;
            outcome one, other;
            run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k)};
            plan.input = PLAN_BYTES;
            problem_make(&p, &plan, 5);
            for (size_t i = 0; i < p.x.count; i++) p.x.values[i] = p.bytes[i] = (uint8_t)(37 * i);
            floats = p;
            floats.bytes = NULL;
            library_outcome(&p, &r, &one);
            for (r.as_doubles = 0; r.as_doubles < 2; r.as_doubles++) {
                library_outcome(&floats, &r, &other);
                assert_forward_same_bits(&p, &r, &other, &one);
                outcome_free(&other);
            }
            if (real == STPN_DOUBLE) {
                reference_outcome(&p, &other);
                assert_forward_close(&p, &r, &one, &other, tolerance[real]);
                outcome_free(&other);
            }
            outcome_free(&one);
            problem_free(&p);
        }
}

/* W = 0, b = 0: nothing is divided by the norm 0, every output and F is 0. With a bias h = tanh(b) and F = Gamma z h. */
static void rows_of_zeros(void **state)
{
    (void)state;
    for (int norm = 0; norm < 4; norm++)
        for (int biased = 0; biased < 2; biased++) {
            problem_plan plan = one_unit(stpn_unit_default("stpn_r", 3), 2, 4, 2);
            plan.units[0].norm = (stpn_norm)norm;
            problem p;
            outcome expected, actual;
            problem_make(&p, &plan, 6);
            memset(p.parameters[0].values, 0, p.parameters[0].count * sizeof(double));
            if (!biased) memset(p.parameters[1].values, 0, p.parameters[1].count * sizeof(double));
            reference_outcome(&p, &expected);
            assert_true(biased == (expected.y.values[0] != 0));
            run r = {0};
            for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
                for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
                    r.real = (stpn_real)real;
                    library_outcome(&p, &r, &actual);
                    assert_forward_close(&p, &r, &actual, &expected, tolerance[real]);
                    for (size_t i = 0; i < actual.y.count && !biased; i++) assert_true(actual.y.values[i] == 0);
                    outcome_free(&actual);
                }
            outcome_free(&expected);
            problem_free(&p);
        }
}

/* F = -W: the norm is 0 although F is not, and F / n counts as 0. */
static void efficacies_that_cancel(void **state)
{
    (void)state;
    for (int norm = 0; norm < 4; norm++) {
        problem_plan plan = one_unit(stpn_unit_default("stpn_r", 3), 2, 3, 1);
        plan.units[0].norm = (stpn_norm)norm;
        plan.started = 1;
        problem p;
        outcome expected, actual;
        problem_make(&p, &plan, 7);
        for (size_t i = 0; i < p.parameters[0].count; i++) p.states[0].values[i] = -p.parameters[0].values[i];
        reference_outcome(&p, &expected);
        run r = {0};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
            for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
                r.real = (stpn_real)real;
                library_outcome(&p, &r, &actual);
                assert_forward_close(&p, &r, &actual, &expected, tolerance[real]);
                outcome_free(&actual);
            }
        outcome_free(&expected);
        problem_free(&p);
    }
}

/* An input that is not a number gives outputs that are none, in its own sample only. */
static void a_nan_stays_in_its_sample(void **state)
{
    (void)state;
    problem_plan plan = one_unit(stpn_unit_default("stpn_r", 5), 3, 4, 3);
    problem p;
    outcome actual;
    problem_make(&p, &plan, 8);
    p.x.values[(1 * 3 + 1) * 3] = NAN; // step 1, sample 1
    run r = {0};
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            r.real = (stpn_real)real;
            library_outcome(&p, &r, &actual);
            for (int t = 0; t < 4; t++)
                for (int b = 0; b < 3; b++)
                    assert_int_equal(isnan(actual.y.values[(t * 3 + b) * 5]) != 0, b == 1 && t >= 1);
            outcome_free(&actual);
        }
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_and_every_pair_of_options),
        cmocka_unit_test(random_combinations),
        cmocka_unit_test(every_size),
        cmocka_unit_test(every_kind_of_sequence),
        cmocka_unit_test(no_steps_at_all),
        cmocka_unit_test(the_problems_are_not_empty),
        cmocka_unit_test(types_of_input_give_the_same_bits),
        cmocka_unit_test(rows_of_zeros),
        cmocka_unit_test(efficacies_that_cancel),
        cmocka_unit_test(a_nan_stays_in_its_sample),
    };
    return cmocka_run_group_tests_name("units/stpn_forward", tests, NULL, NULL);
}
