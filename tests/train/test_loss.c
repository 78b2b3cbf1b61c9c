/* Losses of rows against the textbook, at the ends of the numbers, and where nothing is asked for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "train/loss.h"

typedef struct one {
    double loss, gradient;
    int32_t answer;
    loss_sums sums;
} one;

static one binary(stpn_real real, double logit, int32_t label, double scale)
{
    const kernel_table *k = kernel_at(real, 0);
    const task_shape shape = {.outputs = 1, .loss = LOSS_BINARY};
    float single = (float)logit, dsingle = 7;
    double value = logit, dvalue = 7;
    one o = {.answer = 7};
    loss_rows(k, &shape, 1, real == STPN_DOUBLE ? (void *)&value : &single, (loss_wanted){.labels = &label}, scale,
              real == STPN_DOUBLE ? (void *)&dvalue : &dsingle, &o.answer, &o.sums);
    o.loss = o.sums.loss;
    o.gradient = real == STPN_DOUBLE ? dvalue : (double)dsingle;
    return o;
}

static void binary_is_stable(void **state)
{
    (void)state;
    static const double logits[] = {0, 0.3, -0.3, 5, -5, 17, -17, 40, -40, 80, -80, 300, -300, 1e4, -1e4, 1e30, -1e30};
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
        for (size_t i = 0; i < sizeof logits / sizeof *logits; i++)
            for (int32_t label = 0; label < 2; label++) {
                double z = real == STPN_DOUBLE ? logits[i] : (double)(float)logits[i], tiny = real ? 1e-15 : 1e-6;
                double away = label ? -z : z; // loss log(1 + e^away), gradient towards 0 by e^away / (1 + e^away)
                double loss = away > 0 ? away + log1p(exp(-away)) : log1p(exp(away));
                double size = away > 0 ? 1 / (1 + exp(-away)) : exp(away) / (1 + exp(away));
                one o = binary((stpn_real)real, z, label, 0.5);
                assert_true(fabs(o.loss - loss) <= tiny * (1 + loss));
                double expected = 0.5 * (label ? -size : size);
                /* Small ones keep their digits, down to where a float has none. */
                assert_true(fabs(o.gradient - expected) <= 2 * tiny * fabs(expected) + 1e-37);
                assert_int_equal(o.answer, z > 0);
                assert_int_equal(o.sums.asked, 1);
                assert_int_equal(o.sums.correct, (z > 0) == label);
                assert_int_equal(o.sums.positives, label);
                assert_int_equal(o.sums.true_positives, label && z > 0);
                assert_int_equal(o.sums.false_positives, !label && z > 0);
            }
}

static void what_is_not_asked_for_counts_nowhere(void **state)
{
    (void)state;
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
        one o = binary((stpn_real)real, 3, -1, 1);
        const loss_sums none = {0};
        assert_true(o.gradient == 0);
        assert_memory_equal(&o.sums, &none, sizeof none);
    }
    const task_shape classes = {.outputs = 3, .loss = LOSS_CROSS_ENTROPY},
                     numbers = {.outputs = 3, .loss = LOSS_SQUARED};
    const double out[6] = {1, 2, 3, -1, INFINITY, 4};
    const int32_t labels[2] = {2, -7};
    const float targets[6] = {1, NAN, 5, NAN, NAN, NAN};
    double dout[6];
    int32_t answers[2];
    loss_sums sums = {0};
    const kernel_table *k = kernel_at(STPN_DOUBLE, 0);
    loss_rows(k, &classes, 2, out, (loss_wanted){.labels = labels}, 1, dout, answers, &sums);
    double all = exp(1) + exp(2) + exp(3);
    assert_true(fabs(sums.loss + log(exp(3) / all)) < 1e-14 && sums.asked == 1 && sums.correct == 1);
    assert_true(answers[0] == 2 && answers[1] == 1);
    assert_true(fabs(dout[0] - exp(1) / all) < 1e-15 && fabs(dout[2] - exp(3) / all + 1) < 1e-15);
    for (int i = 3; i < 6; i++) assert_true(dout[i] == 0);
    assert_int_equal(loss_asked(&classes, (loss_wanted){.labels = labels}, 2), 1);
    sums = (loss_sums){0};
    loss_rows(k, &numbers, 2, out, (loss_wanted){.targets = targets}, 0.25, dout, NULL, &sums);
    assert_true(sums.loss == 4 && sums.asked == 2 && sums.correct == 0);
    assert_true(dout[0] == 0 && dout[1] == 0 && dout[2] == 0.25 * 2 * -2);
    for (int i = 3; i < 6; i++) assert_true(dout[i] == 0);
    assert_int_equal(loss_asked(&numbers, (loss_wanted){.targets = targets}, 2), 2);
}

/* Sums go on; without a gradient or answers they are the same. */
static void rows_add_up(void **state)
{
    (void)state;
    enum { O = 5 };
    const kernel_table *k = kernel_at(STPN_FLOAT, 0);
    const task_shape shape = {.outputs = O, .loss = LOSS_CROSS_ENTROPY};
    float out[LOSS_ROWS * O], dout[LOSS_ROWS * O];
    int32_t labels[LOSS_ROWS], answers[LOSS_ROWS];
    for (int i = 0; i < LOSS_ROWS * O; i++) out[i] = (float)((i * 37) % 11) / 4;
    for (int i = 0; i < LOSS_ROWS; i++) labels[i] = i % 7 == 3 ? -1 : i % O;
    loss_sums whole = {0}, parts = {0};
    loss_rows(k, &shape, LOSS_ROWS, out, (loss_wanted){.labels = labels}, 1, dout, answers, &whole);
    for (int i = 0; i < LOSS_ROWS; i += 16)
        loss_rows(k, &shape, 16, out + i * O, (loss_wanted){.labels = labels + i}, 1, NULL, NULL, &parts);
    assert_memory_equal(&whole, &parts, sizeof whole);
    loss_sums twice = whole;
    loss_add(&twice, &parts);
    assert_true(twice.loss == 2 * whole.loss && twice.asked == 2 * whole.asked && twice.correct == 2 * whole.correct);
}

static void answers_are_found_in_a_split(void **state)
{
    (void)state;
    int32_t labels[6] = {10, 11, 12, 20, 21, 22};
    float targets[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const task_split split = {.count = 2, .steps = 3, .labels = labels, .targets = targets};
    const task_shape per_step = {.outputs = 2, .per_step = 1}, once = {.outputs = 2};
    assert_int_equal(*loss_wanted_at(&split, &per_step, 1, 2).labels, 22);
    assert_true(*loss_wanted_at(&split, &per_step, 1, 2).targets == 10);
    assert_int_equal(*loss_wanted_at(&split, &once, 1, 2).labels, 11);
    assert_true(*loss_wanted_at(&split, &once, 1, 2).targets == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_is_stable),
        cmocka_unit_test(what_is_not_asked_for_counts_nowhere),
        cmocka_unit_test(rows_add_up),
        cmocka_unit_test(answers_are_found_in_a_split),
    };
    return cmocka_run_group_tests_name("train/loss", tests, NULL, NULL);
}
