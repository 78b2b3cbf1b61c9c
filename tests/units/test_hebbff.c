#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"

/* HebbFF against its reference (tests/support/checks.h). */

static const char names[] = "hebbff";

static void every_size(void **state)
{
    (void)state;
    check_forward_of_every_size(names);
}

static void every_kind_of_sequence(void **state)
{
    (void)state;
    check_forward_of_every_sequence(names);
}

static void no_steps_at_all(void **state)
{
    (void)state;
    check_no_steps(names);
}

static void types_of_input_give_the_same_bits(void **state)
{
    (void)state;
    check_types_of_input(names);
}

static void the_problems_are_not_empty(void **state)
{
    (void)state;
    check_problems_are_not_empty(names);
}

static void gradient_is_that_of_differences(void **state)
{
    (void)state;
    check_gradient(names);
}

static void gradient_of_every_width(void **state)
{
    (void)state;
    check_gradient_of_every_width(names);
}

static void gradient_of_long_runs(void **state)
{
    (void)state;
    check_gradient_of_long_runs(names);
}

static void gradient_of_samples_that_pause(void **state)
{
    (void)state;
    check_gradient_of_pauses(names);
}

static void gradient_of_short_segments(void **state)
{
    (void)state;
    check_gradient_of_short_segments(names);
}

static void gradient_of_wide_layers(void **state)
{
    (void)state;
    check_gradient_of_wide_layers(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),
        cmocka_unit_test(every_kind_of_sequence),
        cmocka_unit_test(no_steps_at_all),
        cmocka_unit_test(types_of_input_give_the_same_bits),
        cmocka_unit_test(the_problems_are_not_empty),
        cmocka_unit_test(gradient_is_that_of_differences),
        cmocka_unit_test(gradient_of_every_width),
        cmocka_unit_test(gradient_of_long_runs),
        cmocka_unit_test(gradient_of_samples_that_pause),
        cmocka_unit_test(gradient_of_short_segments),
        cmocka_unit_test(gradient_of_wide_layers),
    };
    return cmocka_run_group_tests_name("units/hebbff", tests, NULL, NULL);
}
