/* The progress line fits whatever width it gets, and keeps what matters most. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "cli/progress.h"

static const stpn_progress report = {.epoch = 12,
                                     .epochs = 200,
                                     .loss = 0.123456,
                                     .accuracy = 0.98765,
                                     .sequences_per_second = 123456.7,
                                     .seconds_left = 3723};

static void a_wide_line_holds_everything(void **state)
{
    (void)state;
    char line[256];
    progress_line(line, sizeof line, "", &report, 79);
    assert_string_equal(line, "epoch 12/200  loss 0.1235  accuracy 0.9877  123457 sequences/s  1:02:03 left");
    progress_line(line, sizeof line, "seed 3", &report, 200);
    assert_string_equal(line, "seed 3  epoch 12/200  loss 0.1235  accuracy 0.9877  123457 sequences/s  1:02:03 left");
}

static void every_width_fits(void **state)
{
    (void)state;
    for (int columns = 0; columns < 120; columns++) {
        char line[256];
        progress_line(line, sizeof line, "", &report, columns);
        assert_true(strlen(line) <= (size_t)columns);
        if (columns >= 12) assert_non_null(strstr(line, "epoch 12/200"));
        if (columns >= 26) assert_non_null(strstr(line, "1:02:03 left"));
    }
}

static void what_is_not_known_is_not_a_number_on_the_screen(void **state)
{
    (void)state;
    stpn_progress start = report;
    start.loss = start.accuracy = start.seconds_left = NAN;
    char line[256];
    progress_line(line, sizeof line, "", &start, 100);
    assert_string_equal(line, "epoch 12/200  loss ?  accuracy ?  123457 sequences/s  ? left");
    start.seconds_left = 1e300;
    progress_line(line, sizeof line, "", &start, 100);
    assert_non_null(strstr(line, "? left"));
    start.seconds_left = 200000;
    progress_line(line, sizeof line, "", &start, 100);
    assert_non_null(strstr(line, "2 d 7 h left"));
}

static void in_an_environment_it_tells_iterations_and_rewards(void **state)
{
    (void)state;
    char line[256];
    stpn_progress r = report;
    r.environment = 1;
    r.reward = 12.3456;
    r.accuracy = NAN;
    r.sequences_per_second = 3.21234;
    progress_line(line, sizeof line, "", &r, 100);
    assert_string_equal(line, "iteration 12/200  loss 0.1235  reward 12.346  3.21 iterations/s  1:02:03 left");
    progress_line(line, sizeof line, "", &r, 50);
    assert_string_equal(line, "iteration 12/200  reward 12.346  1:02:03 left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wide_line_holds_everything),
        cmocka_unit_test(every_width_fits),
        cmocka_unit_test(in_an_environment_it_tells_iterations_and_rewards),
        cmocka_unit_test(what_is_not_known_is_not_a_number_on_the_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
