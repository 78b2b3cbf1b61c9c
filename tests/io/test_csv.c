#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "io/csv.h"
#include "support/scratch.h"

static csv_table parsed(const char *text)
{
    csv_table t;
    stpn_error error;
    if (csv_parse(&t, "a.csv", text, strlen(text), &error)) fail_msg("%s", error.message);
    return t;
}

static void assert_refused(const char *text, const char *message)
{
    csv_table t;
    stpn_error error;
    assert_int_equal(csv_parse(&t, "a.csv", text, strlen(text), &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, message);
    assert_null(t.cells);
}

static void tables_are_cut_into_cells(void **state)
{
    (void)state;
    /* Each is one heading of three columns and two rows. */
    static const char *const texts[] = {
        "a,b c,d\n1,x y,3\n4,,6\n",
        "a,b c,d\n1,x y,3\n4,,6",
        "a,b c,d\r\n1,x y,3\r\n4,,6\r\n\r\n",
        "a;b c;d\n1;x y;3\n4;;6\n",
        "a\tb c\td\n1\tx y\t3\n4\t\t6\n",
        "\xef\xbb\xbf"
        "a,b c,d\n1,x y,3\n4,,6\n",
        " a , b c,d \n 1,\tx y ,3\t\n4,  ,6 \n",
        "\"a\",\"b c\", \"d\" \n\"1\",\"x y\",\"3\"\n4,\"\",6\n",
    };
    static const char *const cells[] = {"a", "b c", "d", "1", "x y", "3", "4", "", "6"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        csv_table t = parsed(texts[i]);
        assert_int_equal(t.columns, 3);
        assert_int_equal(t.rows, 2);
        for (int k = 0; k < 9; k++) assert_string_equal(t.cells[k], cells[k]);
        assert_string_equal(csv_cell(&t, 1, 2), "6");
        assert_int_equal(csv_column(&t, "b c"), 1);
        assert_int_equal(csv_column(&t, "b"), -1);
        csv_free(&t);
        csv_free(&t);
    }
}

static void quotes_hold_separators_and_quotes(void **state)
{
    (void)state;
    csv_table t = parsed("a,b\n\"1,2\",\"say \"\"no\"\"\"\n\"\"\"\",\n");
    assert_string_equal(csv_cell(&t, 0, 0), "1,2");
    assert_string_equal(csv_cell(&t, 0, 1), "say \"no\"");
    assert_string_equal(csv_cell(&t, 1, 0), "\"");
    assert_string_equal(csv_cell(&t, 1, 1), "");
    csv_free(&t);
}

static void numbers_are_read(void **state)
{
    (void)state;
    setlocale(LC_ALL, "de_DE.UTF-8");
    csv_table t = parsed("a,b\n1,x\n-2.5e3,x\n,x\nnan,x\n+7,x\n");
    stpn_error error;
    double out[10];
    assert_int_equal(csv_numbers(&t, 0, out, 2, &error), STPN_OK);
    assert_true(out[0] == 1 && out[2] == -2500 && isnan(out[4]) && isnan(out[6]) && out[8] == 7);
    assert_int_equal(csv_numbers(&t, 1, out, 2, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "a.csv: line 2, column \"b\": \"x\" is no number");
    csv_free(&t);
    static const char *const none[] = {"1.2.3", "0x10", "1 2", "1,5", "nan(2)", "--1", "2024-01-01"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char text[64];
        snprintf(text, sizeof text, "a;b\n1;2\n3;%s\n", none[i]);
        t = parsed(text);
        assert_int_equal(csv_numbers(&t, 1, out, 1, &error), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, "a.csv: line 3, column \"b\": \""));
        csv_free(&t);
    }
}

static void damaged_tables_are_refused(void **state)
{
    (void)state;
    assert_refused("", "a.csv: line 1: is empty, expected a heading");
    assert_refused("\n\n", "a.csv: line 1: is empty, expected a heading");
    assert_refused("a,b\n", "a.csv: line 2: is missing, expected the first row");
    assert_refused("a,b\n1,2\n3\n", "a.csv: line 3: has 1 cells, expected 2 as in the heading");
    assert_refused("a,b\n1,2,3\n", "a.csv: line 2: has more than 2 cells, expected 2 as in the heading");
    assert_refused("a,b\n1,2\n\n3,4\n", "a.csv: line 3: has 1 cells, expected 2 as in the heading");
    assert_refused("a,a\n1,2\n", "a.csv: line 1: the heading has \"a\" twice, expected it once");
    assert_refused("a,b\n1,\"2\n3\",4\n", "a.csv: line 2: a cell in quotes does not end where it should");
    assert_refused("a,b\n\"1\"2,3\n", "a.csv: line 2: a cell in quotes does not end where it should");
    csv_table t;
    stpn_error error;
    assert_int_equal(csv_parse(&t, "a.csv", "a\n1\n\0\n", 7, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "a.csv: line 3: has a zero byte, expected text");
    /* Many short lines below a wide heading must not ask for room they cannot fill. */
    char wide[4000];
    memset(wide, ',', 2000);
    memset(wide + 2000, '\n', 1999);
    wide[3998] = '1';
    wide[3999] = 0;
    assert_refused(wide, "a.csv: line 2: has 1 cells, expected 2001 as in the heading");
}

static void files_are_read(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    csv_table t;
    stpn_error error;
    assert_int_equal(csv_read(&t, scratch_path(path, "missing.csv"), &error), STPN_ERROR_INPUT);
    scratch_write(path, "a\n1\n2\n3", 7);
    assert_int_equal(csv_read(&t, path, &error), STPN_OK);
    assert_int_equal(t.rows, 3);
    csv_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_cut_into_cells),
        cmocka_unit_test(quotes_hold_separators_and_quotes),
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(damaged_tables_are_refused),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests_name("io/csv", tests, scratch_make, scratch_remove);
}
