#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/option.h"

typedef struct fields {
    char before;
    int count, choice, flag;
    double rate;
    char after;
} fields;

static const option table[] = {
    {"count", OPTION_INTEGER, offsetof(fields, count), NULL, -2, 100, "how many"},
    {"rate", OPTION_NUMBER, offsetof(fields, rate), NULL, 0, 1.5, "how fast"},
    {"flag", OPTION_BOOLEAN, offsetof(fields, flag), NULL, 0, 0, "whether"},
    {"choice", OPTION_CHOICE, offsetof(fields, choice), "pre|post|output|none", 0, 0, "which"},
};

enum { COUNT, RATE, FLAG, CHOICE, ROWS = sizeof table / sizeof *table };

static const fields good = {.before = 11, .count = 7, .choice = 2, .flag = 1, .rate = 0.5, .after = 13};

static stpn_status check(const fields *f, const char **message)
{
    static stpn_error error;
    error.message[0] = 0;
    stpn_status status = options_check(table, ROWS, f, "units[3]", &error);
    *message = error.message;
    return status;
}

static void words_of_a_choice(void **state)
{
    (void)state;
    static const char *const words[] = {"pre", "post", "output", "none"};
    const char *choices = table[CHOICE].choices;
    int length;
    for (int i = 0; i < 4; i++) {
        const char *word = option_choice(choices, i, &length);
        assert_non_null(word);
        assert_int_equal(length, strlen(words[i]));
        assert_memory_equal(word, words[i], (size_t)length);
        assert_int_equal(option_choice_index(choices, words[i]), i);
    }
    assert_null(option_choice(choices, 4, &length));
    assert_null(option_choice(choices, INT_MAX, &length));
    assert_int_equal(option_choice_index("only", "only"), 0);
    /* Neither a part of a word, nor more than one, nor another case. */
    static const char *const wrong[] = {"", "pr", "prep", "ost", "out", "pre|post", "|", "PRE", "none ", "zero"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(option_choice_index(choices, wrong[i]), -1);
}

static void fields_are_read_and_written_alone(void **state)
{
    (void)state;
    fields f = good;
    assert_int_equal(option_integer(&table[COUNT], &f), 7);
    assert_int_equal(option_integer(&table[FLAG], &f), 1);
    assert_int_equal(option_integer(&table[CHOICE], &f), 2);
    assert_true(option_number(&table[RATE], &f) == 0.5);
    option_set_integer(&table[COUNT], &f, -5);
    option_set_integer(&table[FLAG], &f, 0);
    option_set_integer(&table[CHOICE], &f, 3);
    option_set_number(&table[RATE], &f, 1.25);
    assert_int_equal(f.before, 11);
    assert_int_equal(f.count, -5);
    assert_int_equal(f.flag, 0);
    assert_int_equal(f.choice, 3);
    assert_true(f.rate == 1.25);
    assert_int_equal(f.after, 13);
}

static void bounds_are_inside(void **state)
{
    (void)state;
    const char *message;
    static const fields valid[] = {{.count = -2, .rate = 0},
                                   {.count = 100, .rate = 1.5, .flag = 1, .choice = 3},
                                   {.count = 0, .rate = 1e-300, .choice = 1}};
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        assert_int_equal(check(&valid[i], &message), STPN_OK);
        assert_string_equal(message, "");
    }
    assert_int_equal(options_check(table, 0, NULL, "nothing", NULL), STPN_OK);
}

static void a_message_names_field_value_and_expectation(void **state)
{
    (void)state;
    static const struct {
        fields fields;
        const char *message;
    } wrong[] = {
        {{.count = -3}, "units[3].count is -3, expected an integer from -2 to 100"},
        {{.count = 101}, "units[3].count is 101, expected an integer from -2 to 100"},
        {{.count = INT_MIN}, "units[3].count is -2147483648, expected an integer from -2 to 100"},
        {{.rate = 1.5000001}, "units[3].rate is 1.5000001, expected a number from 0 to 1.5"},
        {{.rate = -1e-300}, "units[3].rate is -1e-300, expected a number from 0 to 1.5"},
        {{.rate = INFINITY}, "units[3].rate is inf, expected a number from 0 to 1.5"},
        {{.rate = -INFINITY}, "units[3].rate is -inf, expected a number from 0 to 1.5"},
        {{.rate = NAN}, "units[3].rate is nan, expected a number from 0 to 1.5"},
        {{.flag = 2}, "units[3].flag is 2, expected true or false"},
        {{.flag = -1}, "units[3].flag is -1, expected true or false"},
        {{.choice = 4}, "units[3].choice is 4, expected one of pre|post|output|none"},
        {{.choice = -1}, "units[3].choice is -1, expected one of pre|post|output|none"},
        {{.choice = INT_MAX}, "units[3].choice is 2147483647, expected one of pre|post|output|none"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *message;
        assert_int_equal(check(&wrong[i].fields, &message), STPN_ERROR_INPUT);
        assert_string_equal(message, wrong[i].message);
        assert_int_equal(options_check(table, ROWS, &wrong[i].fields, "units[3]", NULL), STPN_ERROR_INPUT);
    }
}

static void no_bound_lets_in_what_is_not_finite(void **state)
{
    (void)state;
    const option open = {"rate", OPTION_NUMBER, offsetof(fields, rate), NULL, -INFINITY, INFINITY, "how fast"};
    static const double values[] = {-1e308, 0, 1e308, INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 6; i++) {
        const fields f = {.rate = values[i]};
        assert_int_equal(options_check(&open, 1, &f, "p", NULL), i < 3 ? STPN_OK : STPN_ERROR_INPUT);
    }
}

static void an_expectation_is_cut_to_fit(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        char whole[64], text[64];
        option_expectation(&table[i], whole, sizeof whole);
        for (size_t size = 1; size <= strlen(whole); size++) {
            memset(text, 'x', sizeof text);
            option_expectation(&table[i], text, size);
            assert_int_equal(strlen(text), size - 1);
            assert_memory_equal(text, whole, size - 1);
            assert_int_equal(text[size], 'x');
        }
    }
}

typedef struct texts {
    char before, path[6], title[5], after;
} texts;

static const option text_table[] = {
    {"path", OPTION_TEXT, offsetof(texts, path), NULL, 1, 5, "where"},
    {"title", OPTION_TEXT, offsetof(texts, title), NULL, 0, 4, "what"},
};

static void texts_fit_their_fields(void **state)
{
    (void)state;
    texts f = {.before = 11, .after = 13};
    assert_int_equal(option_set_text(&text_table[0], &f, ""), 0);
    assert_int_equal(option_set_text(&text_table[0], &f, "sixsix"), 0);
    assert_string_equal(f.path, "");
    assert_int_equal(option_set_text(&text_table[0], &f, "five5"), 1);
    assert_int_equal(option_set_text(&text_table[1], &f, "four"), 1);
    assert_string_equal(option_text(&text_table[0], &f), "five5");
    assert_string_equal(option_text(&text_table[1], &f), "four");
    assert_int_equal(option_set_text(&text_table[1], &f, ""), 1);
    assert_string_equal(f.title, "");
    assert_true(f.before == 11 && f.after == 13);
    stpn_error error;
    assert_int_equal(options_check(text_table, 2, &f, "task", &error), STPN_OK);
    memset(f.title, 'x', sizeof f.title);
    assert_int_equal(options_check(text_table, 2, &f, "task", &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "task.title is too short or too long, expected a string of at most 4 bytes");
    f.title[0] = f.path[0] = 0;
    assert_int_equal(options_check(text_table, 2, &f, "task", &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "task.path is too short or too long, expected a string of 1 to 5 bytes");
}

typedef struct lists {
    char before;
    option_list list;
    char after;
} lists;

static void lists_fit_their_bounds(void **state)
{
    (void)state;
    static const option row = {"mask", OPTION_LIST, offsetof(lists, list), NULL, 0, 9, "which"};
    static const option_list wrong[] = {{1, {10}},      {1, {-1}}, {2, {3, 3}},
                                        {3, {1, 2, 1}}, {-1, {0}}, {OPTION_LIST_MOST + 1, {0}}};
    lists f = {.before = 11, .after = 13};
    stpn_error error;
    assert_int_equal(option_set_list(&row, &f, &(option_list){3, {9, 0, 4}}), 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(option_set_list(&row, &f, &wrong[i]), 0);
        lists g = {.list = wrong[i]};
        assert_int_equal(options_check(&row, 1, &g, "task", &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, "task.mask is another list, expected an array of at most 256 different "
                                           "integers from 0 to 9");
    }
    assert_int_equal(option_list_of(&row, &f)->count, 3);
    assert_int_equal(option_list_of(&row, &f)->values[0], 9);
    assert_int_equal(options_check(&row, 1, &f, "task", &error), STPN_OK);
    assert_int_equal(option_set_list(&row, &f, &(option_list){0}), 1);
    assert_int_equal(option_list_of(&row, &f)->count, 0);
    assert_true(f.before == 11 && f.after == 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_a_choice),
        cmocka_unit_test(fields_are_read_and_written_alone),
        cmocka_unit_test(bounds_are_inside),
        cmocka_unit_test(a_message_names_field_value_and_expectation),
        cmocka_unit_test(no_bound_lets_in_what_is_not_finite),
        cmocka_unit_test(an_expectation_is_cut_to_fit),
        cmocka_unit_test(texts_fit_their_fields),
        cmocka_unit_test(lists_fit_their_bounds),
    };
    return cmocka_run_group_tests_name("base/option", tests, NULL, NULL);
}
