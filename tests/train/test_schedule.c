/* The learning rate of every update. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "train/schedule.h"

static const double pi = 3.14159265358979323846;

static train_options with(int schedule, int warmup, double final_rate)
{
    train_options o = train_option_defaults();
    o.learning_rate = 0.02;
    o.schedule = schedule;
    o.warmup = warmup;
    o.final_rate = final_rate;
    return o;
}

static void a_constant_rate_is_the_one_given(void **state)
{
    (void)state;
    const train_options o = with(SCHEDULE_CONSTANT, 0, 0);
    for (int64_t u = 0; u < 100; u++) assert_true(schedule_rate(&o, u, 100) == 0.02);
}

static void every_schedule_warms_up(void **state)
{
    (void)state;
    for (int schedule = SCHEDULE_CONSTANT; schedule <= SCHEDULE_STEP; schedule++) {
        const train_options o = with(schedule, 10, 0.5);
        for (int64_t u = 0; u < 10; u++) assert_true(fabs(schedule_rate(&o, u, 100) - 0.002 * (double)(u + 1)) < 1e-17);
        assert_true(schedule_rate(&o, 9, 100) == 0.02 && schedule_rate(&o, 10, 100) == 0.02);
        /* Longer than the run: it never gets there. */
        assert_true(fabs(schedule_rate(&o, 4, 5) - 0.01) < 1e-17);
    }
}

static void falling_rates_end_at_their_last(void **state)
{
    (void)state;
    for (int warmup = 0; warmup <= 20; warmup += 20)
        for (int f = 0; f <= 2; f++) {
            const train_options line = with(SCHEDULE_LINEAR, warmup, f * 0.5),
                                wave = with(SCHEDULE_COSINE, warmup, f * 0.5);
            for (int64_t u = warmup; u < 500; u++) {
                double p = (double)(u - warmup) / (double)(499 - warmup), F = f * 0.5;
                assert_true(fabs(schedule_rate(&line, u, 500) - 0.02 * (1 - (1 - F) * p)) < 1e-15);
                double expected = 0.02 * (F + (1 - F) * 0.5 * (1 + cos(pi * p)));
                assert_true(fabs(schedule_rate(&wave, u, 500) - expected) < 1e-15);
                assert_true(schedule_rate(&wave, u, 500) >= 0 && schedule_rate(&line, u, 500) >= 0);
            }
            assert_true(fabs(schedule_rate(&line, 499, 500) - 0.01 * f) < 1e-16);
            assert_true(fabs(schedule_rate(&wave, 499, 500) - 0.01 * f) < 1e-16);
        }
    const train_options single = with(SCHEDULE_COSINE, 0, 0);
    assert_true(schedule_rate(&single, 0, 1) == 0.02);
}

static void steps_multiply(void **state)
{
    (void)state;
    train_options o = with(SCHEDULE_STEP, 5, 0);
    o.step_every = 10;
    o.step_factor = 0.5;
    for (int64_t u = 5; u < 100; u++)
        assert_true(fabs(schedule_rate(&o, u, 100) - 0.02 * pow(0.5, floor((double)(u - 5) / 10))) < 1e-17);
    o.step_factor = 0;
    assert_true(schedule_rate(&o, 14, 100) == 0.02 && schedule_rate(&o, 15, 100) == 0);
    o.step_every = 1;
    o.step_factor = 0.999;
    assert_true(schedule_rate(&o, INT64_MAX / 2, INT64_MAX) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_rate_is_the_one_given),
        cmocka_unit_test(every_schedule_warms_up),
        cmocka_unit_test(falling_rates_end_at_their_last),
        cmocka_unit_test(steps_multiply),
    };
    return cmocka_run_group_tests_name("train/schedule", tests, NULL, NULL);
}
