#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <float.h>

#include "io/json.h"
#include "support/scratch.h"

static stpn_error error;

/* A document made with ' in place of ". */
static json_t *parsed(const char *text)
{
    char quoted[1024];
    json_t *object;
    snprintf(quoted, sizeof quoted, "%s", text);
    for (char *c = quoted; *c; c++)
        if (*c == '\'') *c = '"';
    if (json_read(&object, "file", quoted, strlen(quoted), &error)) fail_msg("%s: %s", text, error.message);
    return object;
}

static void assert_document(const json_t *object, const char *text)
{
    json_t *expected = parsed(text);
    if (!json_equal(object, expected)) {
        char *dumped = json_dumps(object, JSON_COMPACT);
        print_error("is %s, expected %s\n", dumped, text);
        free(dumped);
        fail();
    }
    json_decref(expected);
}

/* ---------------------------------------------------------------------------------------------------------- reading */

typedef struct wrong_text {
    const char *text, *message; // the message's start
} wrong_text;

static void assert_refused(const char *text, size_t size, const char *message)
{
    json_t *object = (json_t *)&error;
    error.message[0] = 0;
    stpn_status status = json_read(&object, "a.json", text, size, &error);
    if (status != STPN_ERROR_INPUT || strncmp(error.message, message, strlen(message)) != 0)
        fail_msg("%s: status %d, \"%s\", expected \"%s\"", text, status, error.message, message);
    assert_null(object);
    assert_int_equal(json_read(&object, "a.json", text, size, NULL), STPN_ERROR_INPUT);
    assert_null(object);
}

static void a_syntax_error_has_line_and_column(void **state)
{
    (void)state;
    static const wrong_text wrong[] = {
        {"", "a.json: line 1, column 1: found the end, expected a value"},
        {"x", "a.json: line 1, column 1: found 'x', expected a value"},
        {"3", "a.json: holds an integer, expected an object"},
        {"{\n  \"a\": 1,\n  \"b\" 2\n}", "a.json: line 3, column 7: found '2', expected ':'"},
        {"{\n  \"a\": 1,\n}", "a.json: line 3, column 1: found '}', expected a key"},
        {"{\"a\": 1", "a.json: line 1, column 8: found the end, expected ',' or '}'"},
        {"{\"a\": [1, 2}", "a.json: line 1, column 12: found '}', expected ',' or ']'"},
        {"{\"a\": 01}", "a.json: line 1, column 7: found 01, expected a number"},
        {"{\"a\": -}", "a.json: line 1, column 7: found -, expected a number"},
        {"{\"a\": 1.}", "a.json: line 1, column 7: found 1., expected a number"},
        {"{\"a\": 1e+}", "a.json: line 1, column 7: found 1e+, expected a number"},
        {"{\"a\": 1} b", "a.json: line 1, column 10: found 'b', expected the end"},
        {"{\"a\": NaN}", "a.json: line 1, column 7: found 'N', expected a value"},
        {"{\"a\": Infinity}", "a.json: line 1, column 7: found 'I', expected a value"},
        {"{\"a\": 1e999}", "a.json: line 1, column 7: found 1e999, expected a number that a double holds"},
        {"{\"a\": -1e999}", "a.json: line 1, column 7: found -1e999, expected a number that a double holds"},
        {"{\"a\": 9223372036854775808}",
         "a.json: line 1, column 7: found 9223372036854775808, expected an integer of 64 bits"},
        {"{\"a\": -9223372036854775809}",
         "a.json: line 1, column 7: found -9223372036854775809, expected an integer of 64 bits"},
        {"{'a': 1}", "a.json: line 1, column 2: "},
        {"{\"a\": \"b\n\"}", "a.json: line 1, column 9: found byte 0x0a, expected a string without control characters"},
        {"{\"a\": \"\xff\"}", "a.json: line 1, column 7: found a string that is not UTF-8"},
        {"{\"a\": \"\\u0000\"}", "a.json: line 1, column "},
        {"{\"a\\u0000\": 1}", "a.json: line 1, column "},
        {"{\"a\": \"\\ud800\"}", "a.json: line 1, column "},
        {"{\"a\": /* c */ 1}", "a.json: line 1, column 7: found '/', expected a value"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i].text, strlen(wrong[i].text), wrong[i].message);
    assert_refused("{\"a\": 1}\0", 9, "a.json: line 1, column 9: found byte 0x00, expected the end");
}

static void a_key_twice_is_an_error_at_any_depth(void **state)
{
    (void)state;
    static const wrong_text wrong[] = {
        {"{\"a\": 1, \"a\": 1}", "a.json: line 1, column 10: found the key \"a\" twice, expected it once"},
        {"{\"b\": [{\"a\": 1,\n\"a\": 2}]}", "a.json: line 2, column 1: found the key \"a\" twice"},
        {"{\"ab\": 1, \"\\u0061b\": 1}", "a.json: line 1, column 11: found the key \"ab\" twice"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i].text, strlen(wrong[i].text), wrong[i].message);
}

static void only_an_object_is_a_document(void **state)
{
    (void)state;
    assert_refused("[]", 2, "a.json: holds an array, expected an object");
    json_t *object = parsed("{}");
    assert_int_equal(json_object_size(object), 0);
    json_decref(object);
}

static void deep_nesting_is_an_error(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *text = malloc(DEPTH);
    assert_non_null(text);
    memset(text, '[', DEPTH);
    assert_refused(text, DEPTH, "a.json: line 1, column 202: found more than 200 levels");
    free(text);
}

static void a_file_is_named_in_its_errors(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], expected[SCRATCH_PATH + 64];
    json_t *object = (json_t *)&error;
    assert_int_equal(json_read_file(&object, scratch_path(path, "missing.json"), &error), STPN_ERROR_INPUT);
    assert_null(object);
    assert_non_null(strstr(error.message, "missing.json: cannot be opened: No such file or directory"));
    assert_int_equal(json_read_file(&object, scratch_folder, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, ": is not a regular file"));
    scratch_write(scratch_path(path, "wrong.json"), "{\n]", 3);
    assert_int_equal(json_read_file(&object, path, &error), STPN_ERROR_INPUT);
    snprintf(expected, sizeof expected, "%s: line 2, column 1: found ']', expected a key in double quotes", path);
    assert_string_equal(error.message, expected);
    scratch_write(scratch_path(path, "right.json"), "{\"a\": [1, true]}\n", 17);
    assert_int_equal(json_read_file(&object, path, &error), STPN_OK);
    assert_document(object, "{'a': [1, true]}");
    json_decref(object);
}

static void kinds_have_names(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {{"{}", "an object"},    {"[]", "an array"},  {"\"a\"", "a string"},
                                           {"1", "an integer"},    {"1.0", "a number"}, {"true", "a boolean"},
                                           {"false", "a boolean"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        json_t *value = json_loads(kinds[i][0], JSON_DECODE_ANY, NULL);
        assert_string_equal(json_kind(value), kinds[i][1]);
        json_decref(value);
    }
    assert_string_equal(json_kind(NULL), "null");
}

/* --------------------------------------------------------------------------------------------------------- settings */

#define DOCUMENT                                                                                                    \
    "{'name': 'n', 'train': {'epochs': 1, 'deep': {'x': 0}}, 'units': [{'hidden': 3}, {'hidden': 4}], 'list': [1, " \
    "[2]]}"

static void a_setting_replaces_or_adds_one_value(void **state)
{
    (void)state;
    static const struct {
        const char *assignment, *path; // of the value; its parts are looked up one by one
        const char *value;
    } settings[] = {
        {"name=other", "name", "'other'"},
        {"name='quoted'", "name", "'quoted'"},
        {"name=", "name", "''"},
        {"name=a=b", "name", "'a=b'"},
        {"name= 7", "name", "7"},
        {"name=7 8", "name", "'7 8'"},
        {"name=1e999", "name", "'1e999'"},
        {"name=nan", "name", "'nan'"},
        {"name=001", "name", "'001'"},
        {"name={'a':1,'a':2}", "name", "'{\\'a\\':1,\\'a\\':2}'"},
        {"name=\xc3\xa4", "name", "'\xc3\xa4'"},
        {"train.epochs=40", "train epochs", "40"},
        {"train.epochs=4.5", "train epochs", "4.5"},
        {"train.epochs=true", "train epochs", "true"},
        {"train.epochs=null", "train epochs", "null"},
        {"train.deep.x=[1,2]", "train deep x", "[1, 2]"},
        {"train.deep={'y':1}", "train deep", "{'y': 1}"},
        {"train.new=1", "train new", "1"},
        {"train.deep.new=a", "train deep new", "'a'"},
        {"new=1", "new", "1"},
        {"units.0.hidden=20", "units 0 hidden", "20"},
        {"units.1.hidden=20", "units 1 hidden", "20"},
        {"units.1.new=true", "units 1 new", "true"},
        {"units.1={'hidden':5}", "units 1", "{'hidden': 5}"},
        {"units=[]", "units", "[]"},
        {"list.0=9", "list 0", "9"},
        {"list.1.0=9", "list 1 0", "9"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        json_t *object = parsed(DOCUMENT), *at = object;
        char assignment[64], value[64], path[64], *rest = path;
        snprintf(assignment, sizeof assignment, "%s", settings[i].assignment);
        snprintf(value, sizeof value, "%s", settings[i].value);
        snprintf(path, sizeof path, "%s", settings[i].path);
        for (char *c = assignment; *c; c++) *c = *c == '\'' ? '"' : *c;
        for (char *c = value; *c; c++) *c = *c == '\'' ? '"' : *c;
        error.message[0] = 0;
        if (json_set_path(object, assignment, &error)) fail_msg("%s: %s", assignment, error.message);
        assert_string_equal(error.message, "");
        for (char *part = strtok_r(path, " ", &rest); part; part = strtok_r(NULL, " ", &rest))
            at = json_is_array(at) ? json_array_get(at, strtoul(part, NULL, 10)) : json_object_get(at, part);
        json_t *expected = json_loads(value, JSON_DECODE_ANY, NULL);
        if (!expected || !at || !json_equal(at, expected)) fail_msg("%s: is not %s", assignment, value);
        json_decref(expected);
        json_decref(object);
    }
}

static void a_setting_leaves_the_rest_alone(void **state)
{
    (void)state;
    json_t *object = parsed(DOCUMENT);
    assert_int_equal(json_set_path(object, "units.1.hidden=9", NULL), STPN_OK);
    assert_int_equal(json_set_path(object, "train.epochs=\"1\"", NULL), STPN_OK);
    assert_document(object,
                    "{'name': 'n', 'train': {'epochs': '1', 'deep': {'x': 0}}, 'units': [{'hidden': 3}, {'hidden': 9}],"
                    " 'list': [1, [2]]}");
    json_decref(object);
}

static void a_wrong_setting_changes_nothing(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"", "--set : expected KEY=VALUE, such as train.epochs=40"},
        {"train.epochs", "--set train.epochs: expected KEY=VALUE"},
        {"=1", "--set =1: expected KEY=VALUE"},
        {"nothing.a=1", "--set nothing.a=1: there is no \"nothing\" in the experiment"},
        {"train.nothing.a=1", "--set train.nothing.a=1: there is no \"nothing\" in the experiment"},
        {".a=1", "--set .a=1: there is no \"\" in the experiment"},
        {"name.a=1", "--set name.a=1: \"a\" is inside a string, expected an object or an array"},
        {"train.epochs.a=1", "--set train.epochs.a=1: \"a\" is inside an integer, expected an object or an array"},
        {"train.epochs.a.b=1", "--set train.epochs.a.b=1: \"a\" is inside an integer, expected an object or an array"},
        {"units.2.hidden=1", "--set units.2.hidden=1: \"2\" is not an index from 0 to 1"},
        {"units.2=1", "--set units.2=1: \"2\" is not an index from 0 to 1"},
        {"units.-1=1", "--set units.-1=1: \"-1\" is not an index from 0 to 1"},
        {"units.+1=1", "--set units.+1=1: \"+1\" is not an index from 0 to 1"},
        {"units. 1=1", "--set units. 1=1: \" 1\" is not an index from 0 to 1"},
        {"units.1x=1", "--set units.1x=1: \"1x\" is not an index from 0 to 1"},
        {"units.0x1=1", "--set units.0x1=1: \"0x1\" is not an index from 0 to 1"},
        {"units.=1", "--set units.=1: \"\" is not an index from 0 to 1"},
        {"units.hidden=1", "--set units.hidden=1: \"hidden\" is not an index from 0 to 1"},
        {"units.18446744073709551616=1",
         "--set units.18446744073709551616=1: \"18446744073709551616\" is not an index"},
        /* Bytes that are no text. */
        {"name=\xff", "--set name="},
        {"n\xff=1", "--set n"},
        {"n\xff=a", "--set n"},
        {"train.n\xff=1", "--set train.n"},
        {"units.0.n\xff=1", "--set units.0.n"},
        {"n\xff.a=1", "--set n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *object = parsed(DOCUMENT);
        error.message[0] = 0;
        assert_int_equal(json_set_path(object, wrong[i][0], &error), STPN_ERROR_INPUT);
        if (strncmp(error.message, wrong[i][1], strlen(wrong[i][1])) != 0)
            fail_msg("\"%s\", expected \"%s\"", error.message, wrong[i][1]);
        assert_true(*error.message);
        assert_int_equal(json_set_path(object, wrong[i][0], NULL), STPN_ERROR_INPUT);
        assert_document(object, DOCUMENT);
        json_decref(object);
    }
}

static void a_path_may_be_long_but_not_too_long(void **state)
{
    (void)state;
    char assignment[600];
    for (int length = 250; length < 270; length++) {
        json_t *object = parsed("{}");
        memset(assignment, 'k', (size_t)length);
        memcpy(assignment + length, "=1", 3);
        stpn_status status = json_set_path(object, assignment, &error);
        assert_int_equal(status, length < 256 ? STPN_OK : STPN_ERROR_INPUT);
        assert_int_equal(json_object_size(object), !status);
        json_decref(object);
    }
}

/* ---------------------------------------------------------------------------------------------------------- options */

typedef struct fields {
    int count, flag, choice, untouched; // no padding: compared as bytes
    double rate;
} fields;

static const option table[] = {
    {"count", OPTION_INTEGER, offsetof(fields, count), NULL, 1, 1000, "how many"},
    {"flag", OPTION_BOOLEAN, offsetof(fields, flag), NULL, 0, 0, "whether"},
    {"choice", OPTION_CHOICE, offsetof(fields, choice), "left|right", 0, 0, "where"},
    {"rate", OPTION_NUMBER, offsetof(fields, rate), NULL, -1, 1e300, "how fast"},
};

enum { ROWS = sizeof table / sizeof *table };

static const char *const others[] = {"name", "note", NULL};
static const fields start = {.count = 5, .flag = 0, .choice = 1, .rate = 0.25};

static stpn_status take(const char *text, const char *place, fields *f)
{
    json_t *object = parsed(text);
    *f = start;
    error.message[0] = 0;
    stpn_status status = options_from_json(object, place, table, ROWS, others, f, &error);
    json_decref(object);
    return status;
}

static void members_fill_the_fields_they_name(void **state)
{
    (void)state;
    fields f;
    assert_int_equal(take("{}", "p", &f), STPN_OK);
    assert_memory_equal(&f, &start, sizeof f);
    assert_int_equal(take("{'name': [], 'note': null, 'rate': 3}", "p", &f), STPN_OK);
    assert_int_equal(f.count, 5);
    assert_true(f.rate == 3);
    assert_int_equal(take("{'rate': -1.0, 'choice': 'left', 'flag': true, 'count': 1000}", "p", &f), STPN_OK);
    assert_int_equal(f.count, 1000);
    assert_int_equal(f.flag, 1);
    assert_int_equal(f.choice, 0);
    assert_true(f.rate == -1);
    assert_int_equal(take("{'flag': false, 'count': 1, 'rate': 1e300}", "p", &f), STPN_OK);
    assert_true(f.rate == 1e300);
}

static void an_unknown_key_names_the_nearest(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"{'coun': 1}", "p", "p.coun is not a known key; the nearest is \"count\""},
        {"{'Count': 1}", "p", "p.Count is not a known key; the nearest is \"count\""},
        {"{'raet': 1}", "units[2]", "units[2].raet is not a known key; the nearest is \"rate\""},
        {"{'names': 1}", "", "names is not a known key; the nearest is \"name\""},
        {"{'nte': 1}", "", "nte is not a known key; the nearest is \"note\""},
        {"{'': 1}", "p", "p. is not a known key; the nearest is \""},
        {"{'flg': 1, 'count': 0}", "p", "p.flg is not a known key; the nearest is \"flag\""},
        {"{'a_key_that_is_longer_than_all_of_the_known_ones': 1}", "p",
         "p.a_key_that_is_longer_than_all_of_the_known_ones is not a known key"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fields f;
        assert_int_equal(take(wrong[i][0], wrong[i][1], &f), STPN_ERROR_INPUT);
        if (strncmp(error.message, wrong[i][2], strlen(wrong[i][2])) != 0)
            fail_msg("\"%s\", expected \"%s\"", error.message, wrong[i][2]);
    }
    /* No known key at all. */
    json_t *object = parsed("{'a': 1}");
    assert_int_equal(options_from_json(object, "", NULL, 0, NULL, NULL, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "a is not a known key; the nearest is \"none\"");
    json_decref(object);
}

static void a_wrong_value_is_shown_with_what_was_expected(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"{'count': 0}", "p.count is 0, expected an integer from 1 to 1000"},
        {"{'count': 1001}", "p.count is 1001, expected an integer from 1 to 1000"},
        {"{'count': 4294967301}", "p.count is 4294967301, expected an integer from 1 to 1000"},
        {"{'count': -9223372036854775808}", "p.count is -9223372036854775808, expected an integer from 1 to 1000"},
        {"{'count': 5.0}", "p.count is 5.0, expected an integer from 1 to 1000"},
        {"{'count': '5'}", "p.count is \"5\", expected an integer from 1 to 1000"},
        {"{'count': true}", "p.count is true, expected an integer from 1 to 1000"},
        {"{'count': null}", "p.count is null, expected an integer from 1 to 1000"},
        {"{'count': []}", "p.count is [], expected an integer from 1 to 1000"},
        {"{'flag': 1}", "p.flag is 1, expected true or false"},
        {"{'flag': 'true'}", "p.flag is \"true\", expected true or false"},
        {"{'choice': 'up'}", "p.choice is \"up\", expected one of left|right"},
        {"{'choice': 'left|right'}", "p.choice is \"left|right\", expected one of left|right"},
        {"{'choice': 0}", "p.choice is 0, expected one of left|right"},
        {"{'rate': -1.5}", "p.rate is -1.5, expected a number from -1 to 1e+300"},
        {"{'rate': 1e301}", "p.rate is 1e301, expected a number from -1 to 1e+300"},
        {"{'rate': '0.5'}", "p.rate is \"0.5\", expected a number from -1 to 1e+300"},
        {"{'rate': {'a': 1}}", "p.rate is {\"a\": 1}, expected a number from -1 to 1e+300"},
        /* Too long to be shown. */
        {"{'choice': 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}",
         "p.choice is a string, expected one of left|right"},
        {"{'rate': [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29]}",
         "p.rate is an array, expected a number from -1 to 1e+300"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fields f;
        assert_int_equal(take(wrong[i][0], "p", &f), STPN_ERROR_INPUT);
        assert_string_equal(error.message, wrong[i][1]);
        assert_memory_equal(&f, &start, sizeof f);
    }
    /* Not from a file, but a program may build such a document. */
    json_t *object = json_object();
    assert_int_equal(json_object_set_new(object, "rate", json_real(0)), 0);
    static const double numbers[] = {DBL_MAX, -DBL_MAX};
    for (size_t i = 0; i < 2; i++) {
        fields f = start;
        json_real_set(json_object_get(object, "rate"), numbers[i]);
        assert_int_equal(options_from_json(object, "p", table, ROWS, NULL, &f, &error), STPN_ERROR_INPUT);
        assert_true(f.rate == start.rate);
    }
    json_decref(object);
}

static void a_key_with_control_characters_stays_one_line(void **state)
{
    (void)state;
    fields f;
    assert_int_equal(take("{'a\\n\\u001b[31m': 1}", "p", &f), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "p.a??[31m is not a known key"));
}

static void options_go_to_json_and_back(void **state)
{
    (void)state;
    const fields written = {.count = 17, .flag = 1, .choice = 0, .rate = 1.0 / 3};
    json_t *object = json_object();
    assert_int_equal(options_to_json(table, ROWS, &written, object), 1);
    assert_int_equal(json_object_size(object), ROWS);
    assert_true(json_is_true(json_object_get(object, "flag")));
    assert_string_equal(json_string_value(json_object_get(object, "choice")), "left");
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    json_t *again = parsed(text);
    fields read = start;
    assert_int_equal(options_from_json(again, "p", table, ROWS, NULL, &read, &error), STPN_OK);
    assert_memory_equal(&read, &written, sizeof read);
    free(text);
    json_decref(again);
    json_decref(object);
}

static void a_text_is_there_and_a_string(void **state)
{
    (void)state;
    const char *text = "x";
    json_t *object = parsed("{'a': 'b', 'n': 1}");
    assert_int_equal(json_text(object, "p", "a", &text, &error), STPN_OK);
    assert_string_equal(text, "b");
    assert_int_equal(json_text(object, "p", "c", &text, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "p.c is missing, expected a string");
    assert_null(text);
    assert_int_equal(json_text(object, "", "c", &text, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "c is missing, expected a string");
    assert_int_equal(json_text(object, "p", "n", &text, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "p.n is an integer, expected a string");
    json_decref(object);
}

/* ------------------------------------------------------------------------------------------------------ differences */

static void the_first_difference_is_named_by_its_path(void **state)
{
    (void)state;
    static const char *const pairs[][3] = {
        {"{'a': 1, 'b': {'c': [1, {'d': 2}]}}", "{'b': {'c': [1, {'d': 2}]}, 'a': 1}", NULL},
        {"{}", "{}", NULL},
        {"{'a': 1}", "{'a': 2}", "a"},
        {"{'a': 1}", "{'a': 1.0}", "a"},
        {"{'a': 1}", "{}", "a"},
        {"{}", "{'a': 1}", "a"},
        {"{'a': 1}", "{'a': 1, 'b': 2}", "b"},
        {"{'a': 1, 'b': 2}", "{'a': 1}", "b"},
        {"{'a': 1, 'b': 2, 'c': 3}", "{'a': 1, 'b': 3, 'c': 4}", "b"},
        {"{'t': {'e': 1, 'f': 2}}", "{'t': {'e': 1, 'f': 3}}", "t.f"},
        {"{'t': {'e': 1}}", "{'t': {'e': 1, 'g': 3}}", "t.g"},
        {"{'t': {'e': 1}}", "{'t': [1]}", "t"},
        {"{'u': [{'h': 1}, {'h': 2}]}", "{'u': [{'h': 1}, {'h': 3}]}", "u.1.h"},
        {"{'u': [{'h': 1}]}", "{'u': [{'h': 1}, {'h': 3}]}", "u"},
        {"{'u': [[1, 2], [3, 4]]}", "{'u': [[1, 2], [3, 5]]}", "u.1.1"},
        {"{'u': [1, 2]}", "{'u': [1, 'x']}", "u.1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        json_t *a = parsed(pairs[i][0]), *b = parsed(pairs[i][1]);
        char path[64];
        assert_int_equal(json_difference(a, b, path, sizeof path), pairs[i][2] != NULL);
        assert_string_equal(path, pairs[i][2] ? pairs[i][2] : "");
        assert_int_equal(json_difference(a, a, path, sizeof path), 0);
        /* However little room there is. */
        for (size_t size = 1; pairs[i][2] && size <= strlen(pairs[i][2]); size++) {
            memset(path, 'x', sizeof path);
            assert_int_equal(json_difference(a, b, path, size), 1);
            assert_int_equal(strlen(path), size - 1);
            assert_memory_equal(path, pairs[i][2], size - 1);
            assert_int_equal(path[size], 'x');
        }
        json_decref(a);
        json_decref(b);
    }
}

static void texts_go_to_json_and_back(void **state)
{
    (void)state;
    typedef struct texts {
        char path[8];
    } texts;
    const option path = {"path", OPTION_TEXT, offsetof(texts, path), NULL, 1, 7, "where"};
    static const char *const refused[][2] = {
        {"{\"path\": \"\"}", "task.path is \"\", expected a string of 1 to 7 bytes"},
        {"{\"path\": \"12345678\"}", "task.path is \"12345678\", expected a string of 1 to 7 bytes"},
        {"{\"path\": 3}", "task.path is 3, expected a string of 1 to 7 bytes"}};
    texts f = {""}, again = {""};
    json_t *object;
    assert_int_equal(json_read(&object, "a", "{\"path\": \"a/\\u00e9.c\"}", 22, &error), STPN_OK);
    assert_int_equal(options_from_json(object, "task", &path, 1, NULL, &f, &error), STPN_OK);
    assert_string_equal(f.path, "a/\xc3\xa9.c");
    json_t *out = json_object();
    assert_int_equal(options_to_json(&path, 1, &f, out), 1);
    assert_true(json_equal(object, out));
    json_decref(object);
    json_decref(out);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(json_read(&object, "a", refused[i][0], strlen(refused[i][0]), &error), STPN_OK);
        assert_int_equal(options_from_json(object, "task", &path, 1, NULL, &again, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, refused[i][1]);
        assert_string_equal(again.path, "");
        json_decref(object);
    }
}

static void lists_go_to_json_and_back(void **state)
{
    (void)state;
    const option row = {"mask", OPTION_LIST, 0, NULL, 0, 9, "which"};
    static const char *const refused[] = {"[10]", "[1,1]", "[1.0]", "[\"1\"]", "3", "[4294967296]"};
    option_list list = {0}, again = {0};
    json_t *object;
    assert_int_equal(json_read(&object, "a", "{\"mask\": [9, 0, 3]}", 19, &error), STPN_OK);
    assert_int_equal(options_from_json(object, "task", &row, 1, NULL, &list, &error), STPN_OK);
    assert_true(list.count == 3 && list.values[0] == 9 && list.values[1] == 0 && list.values[2] == 3);
    json_t *out = json_object();
    assert_int_equal(options_to_json(&row, 1, &list, out), 1);
    assert_true(json_equal(object, out));
    json_decref(object);
    json_decref(out);
    for (int i = 0; i < 6; i++) {
        char text[64], expected[160];
        int size = snprintf(text, sizeof text, "{\"mask\": %s}", refused[i]);
        snprintf(expected, sizeof expected,
                 "task.mask is %s, expected an array of at most 256 different integers from 0 to 9",
                 i == 1 ? "[1, 1]" : refused[i]);
        assert_int_equal(json_read(&object, "a", text, (size_t)size, &error), STPN_OK);
        assert_int_equal(options_from_json(object, "task", &row, 1, NULL, &again, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, expected);
        assert_int_equal(again.count, 0);
        json_decref(object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_syntax_error_has_line_and_column),
        cmocka_unit_test(a_key_twice_is_an_error_at_any_depth),
        cmocka_unit_test(only_an_object_is_a_document),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(a_file_is_named_in_its_errors),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(a_setting_replaces_or_adds_one_value),
        cmocka_unit_test(a_setting_leaves_the_rest_alone),
        cmocka_unit_test(a_wrong_setting_changes_nothing),
        cmocka_unit_test(a_path_may_be_long_but_not_too_long),
        cmocka_unit_test(members_fill_the_fields_they_name),
        cmocka_unit_test(an_unknown_key_names_the_nearest),
        cmocka_unit_test(a_wrong_value_is_shown_with_what_was_expected),
        cmocka_unit_test(a_key_with_control_characters_stays_one_line),
        cmocka_unit_test(options_go_to_json_and_back),
        cmocka_unit_test(texts_go_to_json_and_back),
        cmocka_unit_test(lists_go_to_json_and_back),
        cmocka_unit_test(a_text_is_there_and_a_string),
        cmocka_unit_test(the_first_difference_is_named_by_its_path),
    };
    return cmocka_run_group_tests_name("io/json", tests, scratch_make, scratch_remove);
}
