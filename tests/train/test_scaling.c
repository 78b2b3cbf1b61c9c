/* Means and deviations that come in row by row or part by part, and what is scaled by them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "base/random.h"
#include "train/scaling.h"

enum { WIDTH = 3, ROWS = 1000 };

static stpn_error error;

static void draw(float rows[ROWS][WIDTH])
{
    random_stream s = random_open(1, RANDOM_BENCH, 0);
    for (int t = 0; t < ROWS; t++) {
        rows[t][0] = (float)random_normal(&s);
        rows[t][1] = (float)(1e4 + random_range(&s, -1, 1));
        rows[t][2] = 7;
    }
}

static scaling opened(void)
{
    scaling s;
    assert_int_equal(scaling_open(&s, WIDTH, &error), STPN_OK);
    return s;
}

static void moments_are_those_of_all_rows(void **state)
{
    (void)state;
    static float rows[ROWS][WIDTH];
    draw(rows);
    scaling one = opened(), merged = opened(), part = opened();
    for (int t = 0; t < ROWS; t++) scaling_add(&one, rows[t]);
    for (int first = 0, size = 0; first < ROWS; first += size, size = size % 7 + 1) {
        scaling_clear(&part);
        for (int t = first; t < first + size && t < ROWS; t++) scaling_add(&part, rows[t]);
        scaling_merge(&merged, &part);
    }
    assert_int_equal(one.count, ROWS);
    assert_int_equal(merged.count, ROWS);
    for (int i = 0; i < WIDTH; i++) {
        double mean = 0, square = 0;
        for (int t = 0; t < ROWS; t++) mean += (double)rows[t][i] / ROWS;
        for (int t = 0; t < ROWS; t++) square += pow((double)rows[t][i] - mean, 2);
        assert_true(fabs(one.mean[i] - mean) < 1e-11 * fmax(1, fabs(mean)));
        assert_true(fabs(merged.mean[i] - mean) < 1e-11 * fmax(1, fabs(mean)));
        assert_true(fabs(one.squares[i] - square) < 1e-9 * fmax(1, square));
        assert_true(fabs(merged.squares[i] - square) < 1e-9 * fmax(1, square));
        assert_true(fabs(scaling_deviation(&one, i) - sqrt(square / ROWS + 1e-8)) < 1e-9);
    }
    scaling_close(&one);
    scaling_close(&merged);
    scaling_close(&part);
}

static void scaled_values_have_mean_0_and_deviation_1(void **state)
{
    (void)state;
    static float rows[ROWS][WIDTH];
    double sums[WIDTH] = {0}, squares[WIDTH] = {0};
    draw(rows);
    scaling s = opened(), copy = opened(), none = {0};
    for (int t = 0; t < ROWS; t++) scaling_add(&s, rows[t]);
    scaling_copy(&copy, &s);
    for (int t = 0; t < ROWS; t++) {
        float out[WIDTH];
        scaling_apply(&copy, rows[t], out);
        scaling_apply(&s, rows[t], rows[t]);
        for (int i = 0; i < WIDTH; i++) {
            assert_true(out[i] == rows[t][i]);
            sums[i] += (double)out[i] / ROWS;
            squares[i] += (double)out[i] * (double)out[i] / ROWS;
        }
    }
    for (int i = 0; i < 2; i++) assert_true(fabs(sums[i]) < 1e-5 && fabs(squares[i] - 1) < 1e-5);
    assert_true(sums[2] == 0 && squares[2] == 0);
    /* What is far off is cut. */
    float far[WIDTH] = {1e6F, -1e6F, 7.1F};
    scaling_apply(&s, far, far);
    assert_true(far[0] == 10 && far[1] == -10 && far[2] == 10);
    /* Before there are two rows, and where nothing is scaled, values stay as they are. */
    float same[WIDTH] = {3, -4, 5};
    scaling_clear(&s);
    scaling_apply(&s, same, same);
    scaling_apply(&none, same, same);
    scaling_add(&s, same);
    scaling_apply(&s, same, same);
    assert_true(same[0] == 3 && same[1] == -4 && same[2] == 5 && scaling_deviation(&s, 0) == 1);
    scaling_close(&s);
    scaling_close(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_those_of_all_rows),
        cmocka_unit_test(scaled_values_have_mean_0_and_deviation_1),
    };
    return cmocka_run_group_tests_name("train/scaling", tests, NULL, NULL);
}
