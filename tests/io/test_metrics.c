#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>

#include "io/json.h"
#include "io/metrics.h"
#include "support/scratch.h"

#define HEADER                                                                                       \
    "epoch,updates,train_loss,train_accuracy,validation_loss,validation_accuracy,validation_energy," \
    "learning_rate,seconds,sequences_per_second\n"

static char path[SCRATCH_PATH];
static stpn_error error;

static metrics resumed(const char *text, size_t size, int64_t epoch)
{
    metrics m;
    scratch_write(scratch_path(path, "metrics.csv"), text, size);
    if (metrics_resume(&m, METRICS_ACCURACY, path, epoch, &error)) fail_msg("%s", error.message);
    return m;
}

static void assert_rows(const metrics *m, const char *rows)
{
    char expected[4096];
    snprintf(expected, sizeof expected, HEADER "%s", rows);
    assert_int_equal(m->text.size, strlen(expected));
    assert_memory_equal(m->text.data, expected, m->text.size);
    assert_true(m->text.size <= m->text.capacity);
}

static void rows_are_added_and_written(void **state)
{
    (void)state;
    metrics m;
    assert_int_equal(metrics_start(&m, METRICS_ACCURACY, &error), STPN_OK);
    assert_rows(&m, "");
    assert_true(m.seconds == 0);
    const metrics_row first = {
        1, 781, 2.5, 0.125, 2.25, 0.3125, NAN, NAN, 0.0078125, 0.001, 1.2344, 81234.6, .env = {.reward = 0}};
    const metrics_row second = {2, 1562, 1.0 / 3, 1, 1e-20, 0, 1, 1, 12345678, 0, 3600.0005, 1e6, .env = {.reward = 0}};
    assert_int_equal(metrics_add(&m, &first, &error), STPN_OK);
    assert_true(m.seconds == 1.2344);
    assert_int_equal(metrics_add(&m, &second, &error), STPN_OK);
    assert_rows(&m, "1,781,2.5,0.125,2.25,0.3125,0.0078125,0.001,1.234,81234.6\n"
                    "2,1562,0.333333333,1,1e-20,0,12345678,0,3600.001,1e+06\n");
    assert_int_equal(metrics_save(&m, scratch_path(path, "new.csv"), &error), STPN_OK);
    scratch_assert_content(path, m.text.data, m.text.size);
    metrics_free(&m);
    assert_null(m.text.data);
    metrics_free(&m);
}

static void the_longest_row_fits(void **state)
{
    (void)state;
    metrics m;
    assert_int_equal(metrics_start(&m, METRICS_ACCURACY | METRICS_RATES, &error), STPN_OK);
    const double most = -1.23456789e-300;
    const metrics_row row = {INT64_MIN, INT64_MIN,           most, most, most, most, most, most, most, most, -1e300,
                             most,      .env = {.reward = 0}};
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    assert_int_equal(m.text.data[m.text.size - 1], '\n');
    assert_null(memchr(m.text.data, 0, m.text.size));
    metrics_free(&m);
}

static void many_rows_grow_the_text(void **state)
{
    (void)state;
    enum { ROWS = 2000 };
    metrics m;
    assert_int_equal(metrics_start(&m, METRICS_ACCURACY, &error), STPN_OK);
    for (int i = 1; i <= ROWS; i++) {
        const metrics_row row = {.epoch = i, .updates = i, .seconds = i};
        assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    }
    metrics all = resumed(m.text.data, m.text.size, ROWS), half = resumed(m.text.data, m.text.size, ROWS / 2);
    assert_int_equal(all.text.size, m.text.size);
    assert_memory_equal(all.text.data, m.text.data, m.text.size);
    assert_true(all.seconds == ROWS && half.seconds == ROWS / 2);
    assert_memory_equal(half.text.data, m.text.data, half.text.size);
    assert_memory_equal(m.text.data + half.text.size, "1001,1001,", 10);
    metrics_free(&half);
    metrics_free(&all);
    metrics_free(&m);
}

static const char file[] = HEADER "1,10,2,0.5,2,0.5,0.1,0.01,1.500,100\n"
                                  "2,20,2,0.5,2,0.5,0.1,0.01,2.500,100\n"
                                  "4,40,2,0.5,2,0.5,0.1,0.01,4.500,100\n";

static void rows_up_to_an_epoch_are_kept(void **state)
{
    (void)state;
    static const struct {
        int64_t epoch;
        int rows;
        double seconds;
    } cases[] = {{0, 0, 0}, {1, 1, 1.5}, {2, 2, 2.5}, {3, 2, 2.5}, {4, 3, 4.5}, {INT64_MAX, 3, 4.5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metrics m = resumed(file, sizeof file - 1, cases[i].epoch);
        size_t row = strlen("1,10,2,0.5,2,0.5,0.1,0.01,1.500,100\n");
        assert_int_equal(m.text.size, sizeof HEADER - 1 + row * (size_t)cases[i].rows);
        assert_memory_equal(m.text.data, file, m.text.size);
        assert_true(m.seconds == cases[i].seconds);
        metrics_free(&m);
    }
}

static void a_resumed_file_goes_on(void **state)
{
    (void)state;
    metrics m = resumed(file, sizeof file - 1, 1);
    const metrics_row row = {2, 21, 2, 0.5, 2, 0.5, NAN, NAN, 0.1, 0.01, 2.25, 100, .env = {.reward = 0}};
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    assert_rows(&m, "1,10,2,0.5,2,0.5,0.1,0.01,1.500,100\n2,21,2,0.5,2,0.5,0.1,0.01,2.250,100\n");
    metrics_free(&m);
}

/* Only what the task measures has a column; a rate of nothing is an empty field. */
static void columns_are_those_of_the_task(void **state)
{
    (void)state;
    static const char rates[] = "epoch,updates,train_loss,train_accuracy,validation_loss,validation_accuracy,"
                                "validation_true_positive_rate,validation_false_positive_rate,validation_energy,"
                                "learning_rate,seconds,sequences_per_second\n"
                                "1,10,2,0.5,2,0.75,0.25,,0.1,0.01,1.500,2.5\n"
                                "2,10,2,0.5,2,0.75,,0.125,0.1,0.01,2.500,2.5\n";
    static const char none[] = "epoch,updates,train_loss,validation_loss,validation_energy,learning_rate,seconds,"
                               "sequences_per_second\n"
                               "1,10,2,2,0.1,0.01,1.500,2.5\n"
                               "2,10,2,2,0.1,0.01,2.500,2.5\n";
    for (int kind = 0; kind < 2; kind++) {
        int measures = kind ? METRICS_ACCURACY | METRICS_RATES : 0;
        metrics m, again;
        metrics_row row = {1, 10, 2, 0.5, 2, 0.75, 0.25, NAN, 0.1, 0.01, 1.5, 2.5, .env = {.reward = 0}};
        assert_int_equal(metrics_start(&m, measures, &error), STPN_OK);
        assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
        row = (metrics_row){2, 10, 2, 0.5, 2, 0.75, NAN, 0.125, 0.1, 0.01, 2.5, 2.5, .env = {.reward = 0}};
        assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
        assert_string_equal(m.text.data, kind ? rates : none);
        assert_int_equal(metrics_save(&m, scratch_path(path, "kinds.csv"), &error), STPN_OK);
        assert_int_equal(metrics_resume(&again, measures, path, 2, &error), STPN_OK);
        assert_string_equal(again.text.data, kind ? rates : none);
        assert_true(again.seconds == 2.5);
        metrics_free(&again);
        /* Rows of another kind are none. */
        assert_int_equal(metrics_resume(&again, METRICS_ACCURACY, path, 2, &error), STPN_OK);
        assert_null(strstr(again.text.data, "\n1,"));
        metrics_free(&again);
        metrics_free(&m);
    }
}

/* Where no episode has ended there is no reward, and the row is one all the same. */
static void rows_of_ppo(void **state)
{
    (void)state;
    static const char expected[] =
        "iteration,updates,steps,episodes,reward,length,loss,policy_loss,value_loss,entropy,kl,"
        "clip_fraction,explained_variance,gradient_norm,energy,learning_rate,seconds,"
        "iterations_per_second\n"
        "1,35,2048,0,,,1,2,3,4,0.5,0.25,-6,7,8,0.01,1.500,9\n"
        "2,70,4096,3,10.5,11.5,1,2,3,4,0.5,0.25,-6,7,8,0.01,2.500,9\n";
    metrics m, again;
    metrics_row row = {.epoch = 1,
                       .updates = 35,
                       .learning_rate = 0.01,
                       .seconds = 1.5,
                       .env = {.steps = 2048,
                               .reward = NAN,
                               .length = NAN,
                               .loss = 1,
                               .policy_loss = 2,
                               .value_loss = 3,
                               .entropy = 4,
                               .kl = 0.5,
                               .clip_fraction = 0.25,
                               .explained_variance = -6,
                               .gradient_norm = 7,
                               .energy = 8,
                               .iterations_per_second = 9}};
    assert_int_equal(metrics_start(&m, METRICS_PPO | METRICS_EPISODES, &error), STPN_OK);
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    row.epoch = 2;
    row.updates = 70;
    row.seconds = 2.5;
    row.env.steps = 4096;
    row.env.episodes = 3;
    row.env.reward = 10.5;
    row.env.length = 11.5;
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    assert_string_equal(m.text.data, expected);
    assert_int_equal(metrics_save(&m, scratch_path(path, "ppo.csv"), &error), STPN_OK);
    metrics_free(&m);
    assert_int_equal(metrics_resume(&again, METRICS_PPO | METRICS_EPISODES, path, 2, &error), STPN_OK);
    assert_string_equal(again.text.data, expected);
    assert_true(again.seconds == 2.5);
    metrics_free(&again);
    assert_int_equal(metrics_resume(&again, METRICS_REWARD, path, 2, &error), STPN_OK);
    assert_null(strstr(again.text.data, "\n1,"));
    metrics_free(&again);
}

static void an_environment_has_columns_of_its_own(void **state)
{
    (void)state;
    static const char expected[] = "iteration,updates,reward,loss,policy_loss,value_loss,concentration,entropy,"
                                   "gradient_norm,energy,learning_rate,seconds,iterations_per_second\n"
                                   "20,19,5.25,-1,2,3,0.25,1.5,7,60,0.01,1.500,2.5\n";
    metrics m, again;
    const metrics_row row = {.epoch = 20,
                             .updates = 19,
                             .learning_rate = 0.01,
                             .seconds = 1.5,
                             .env = {5.25, -1, 2, 3, 0.25, 1.5, 7, 60, 2.5}};
    assert_int_equal(metrics_start(&m, METRICS_REWARD, &error), STPN_OK);
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    assert_string_equal(m.text.data, expected);
    assert_int_equal(metrics_save(&m, scratch_path(path, "env.csv"), &error), STPN_OK);
    metrics_free(&m);
    /* Rows past the iteration, or of another kind, are left. */
    for (int measures = METRICS_ACCURACY; measures <= METRICS_REWARD; measures += 3)
        for (int iteration = 19; iteration <= 20; iteration++) {
            int kept = measures == METRICS_REWARD && iteration == 20;
            assert_int_equal(metrics_resume(&again, measures, path, iteration, &error), STPN_OK);
            assert_int_equal(strstr(again.text.data, "\n20,") != NULL, kept);
            assert_true(again.seconds == (kept ? 1.5 : 0));
            metrics_free(&again);
        }
}

static void a_missing_file_gives_no_rows(void **state)
{
    (void)state;
    metrics m;
    assert_int_equal(metrics_resume(&m, METRICS_ACCURACY, scratch_path(path, "missing.csv"), 7, &error), STPN_OK);
    assert_rows(&m, "");
    metrics_free(&m);
}

static void what_is_no_row_is_left_out(void **state)
{
    (void)state;
    static const char *const garbage[] = {
        "",
        "\n",
        "\n\n\n",
        "garbage\n",
        ",,,,,,,,,\n",
        "-1,2,3,4,5,6,7,8,9,10\n",
        "0,0,0,0,0,0,0,0,0,0\n",
        "9,9,9,9,9,9,9,9,9,9\n",
        "99999999999999999999,1,1,1,1,1,1,1,1,1\n",
        "-99999999999999999999,1,1,1,1,1,1,1,1,1\n",
        "nan,1,1,1,1,1,1,1,1,1\n",
        HEADER,
        "\r\n",
        "\xff\xfe\n",
        "x1,1,1,1,1,1,1,1,1,1\n",
        "1\n",
        "1,1,1,1,1,1,1,1,1\n",
        "1,1,1,1,1,1,1,1,1,1,1\n",
        "1,1,1,1,1,1,1,1,1,1 \n",
        "1x,1,1,1,1,1,1,1,1,1\n",
        "1,1,1,1,,1,1,1,1,1\n",
        "1,1,1, 1,1,1,1,1,1,1\n",
        "1,1,1,nan,1,1,1,1,1,1\n",
        "1.5,1,1,1,1,1,1,1,1,1\n",
        "1;1;1;1;1;1;1;1;1;1;1;1;1\n",
    };
    static const char one[] = "1,10,2,0.5,2,0.5,0.1,0.01,1.500,100\n", two[] = "2,20,2,0.5,2,0.5,0.1,0.01,2.500,100\n";
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
        for (int place = 0; place < 4; place++) {
            char text[1024], expected[256];
            int length = snprintf(text, sizeof text, "%s%s%s%s%s%s%s", place == 0 ? garbage[i] : "", HEADER,
                                  place == 1 ? garbage[i] : "", one, place == 2 ? garbage[i] : "", two,
                                  place == 3 ? garbage[i] : "");
            metrics m = resumed(text, (size_t)length, 8);
            snprintf(expected, sizeof expected, "%s%s", one, two);
            assert_rows(&m, expected);
            assert_true(m.seconds == 2.5);
            metrics_free(&m);
        }
}

static void a_row_without_its_end_is_left_out(void **state)
{
    (void)state;
    static const char one[] = "1,10,2,0.5,2,0.5,0.1,0.01,1.500,100\n";
    /* Whatever length of the second row a crash of another program left. */
    for (size_t size = sizeof HEADER - 1 + sizeof one - 1; size < sizeof HEADER - 1 + 2 * (sizeof one - 1); size++) {
        metrics m = resumed(file, size, 8);
        assert_rows(&m, one);
        assert_true(m.seconds == 1.5);
        metrics_free(&m);
    }
    /* A zero byte ends what can be read. */
    char text[sizeof file];
    memcpy(text, file, sizeof text);
    text[sizeof HEADER - 1 + sizeof one - 1 + 5] = 0;
    metrics m = resumed(text, sizeof text - 1, 8);
    assert_rows(&m, one);
    metrics_free(&m);
    for (size_t size = 0; size < sizeof HEADER; size++) {
        m = resumed(file, size, 8);
        assert_rows(&m, "");
        metrics_free(&m);
    }
}

/* A program may have set a locale whose numbers have a comma. */
static void numbers_have_a_point_in_any_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    int found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) found = setlocale(LC_ALL, names[i]) != NULL;
    if (!found) skip();
    metrics m;
    const metrics_row row = {.epoch = 1, .updates = 10, .train_loss = 0.5, .seconds = 1.5};
    assert_int_equal(metrics_start(&m, METRICS_ACCURACY, &error), STPN_OK);
    assert_int_equal(metrics_add(&m, &row, &error), STPN_OK);
    assert_rows(&m, "1,10,0.5,0,0,0,0,0,1.500,0\n");
    metrics again = resumed(m.text.data, m.text.size, 1);
    assert_int_equal(again.text.size, m.text.size);
    assert_true(again.seconds == 1.5);
    json_t *value;
    assert_int_equal(json_parse(&value, "a", "0.25", 4, &error), STPN_OK);
    assert_true(json_real_value(value) == 0.25);
    json_decref(value);
    setlocale(LC_ALL, "C");
    metrics_free(&again);
    metrics_free(&m);
}

static void seconds_that_are_none_are_not_taken(void **state)
{
    (void)state;
    static const char *const wrong[] = {"nan", "inf", "-inf", "1e999", "-5", "", "x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[512];
        int length = snprintf(text, sizeof text, HEADER "1,10,2,0.5,2,0.5,0.1,0.01,%s,100\n", wrong[i]);
        metrics m = resumed(text, (size_t)length, 8);
        assert_true(isfinite(m.seconds) && m.seconds >= 0);
        metrics_free(&m);
    }
}

static void what_is_no_file_is_an_error(void **state)
{
    (void)state;
    metrics m;
    assert_int_equal(metrics_resume(&m, METRICS_ACCURACY, scratch_folder, 7, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "is not a regular file"));
    metrics_free(&m);
    assert_int_equal(metrics_start(&m, METRICS_ACCURACY, &error), STPN_OK);
    assert_int_equal(metrics_save(&m, scratch_path(path, "no/folder.csv"), &error), STPN_ERROR_SYSTEM);
    metrics_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_added_and_written),
        cmocka_unit_test(the_longest_row_fits),
        cmocka_unit_test(many_rows_grow_the_text),
        cmocka_unit_test(rows_up_to_an_epoch_are_kept),
        cmocka_unit_test(a_resumed_file_goes_on),
        cmocka_unit_test(columns_are_those_of_the_task),
        cmocka_unit_test(rows_of_ppo),
        cmocka_unit_test(an_environment_has_columns_of_its_own),
        cmocka_unit_test(a_missing_file_gives_no_rows),
        cmocka_unit_test(what_is_no_row_is_left_out),
        cmocka_unit_test(a_row_without_its_end_is_left_out),
        cmocka_unit_test(seconds_that_are_none_are_not_taken),
        cmocka_unit_test(numbers_have_a_point_in_any_locale),
        cmocka_unit_test(what_is_no_file_is_an_error),
    };
    return cmocka_run_group_tests_name("io/metrics", tests, scratch_make, scratch_remove);
}
