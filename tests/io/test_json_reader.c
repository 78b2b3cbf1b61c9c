#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <string.h>

#include "io/json_reader.h"

static char scratch[256];
static stpn_error error;

static json_reader reader_of(const char *text)
{
    error.message[0] = 0;
    return (json_reader){
        .place = "here", .start = text, .at = text, .end = text + strlen(text), .scratch = scratch, .error = &error};
}

static void messages_name_line_and_column(void **state)
{
    (void)state;
    const char *text = "ab\n\ncd\n";
    static const char *const places[] = {"line 1, column 1", "line 1, column 2", "line 1, column 3",
                                         "line 2, column 1", "line 3, column 1", "line 3, column 2",
                                         "line 3, column 3", "line 4, column 1"};
    json_reader r = reader_of(text);
    for (size_t i = 0; i < 8; i++) {
        char expected[64] = "here: ";
        strcat(strcat(expected, places[i]), ": found 7");
        assert_int_equal(reader_complain(&r, text + i, "found %d", 7), STPN_ERROR_INPUT);
        assert_string_equal(error.message, expected);
    }
    r.error = NULL;
    assert_int_equal(reader_complain(&r, text, "lost"), STPN_ERROR_INPUT);
    assert_int_equal(reader_unexpected(&r, "lost"), STPN_ERROR_INPUT);
}

static void the_next_byte_is_described(void **state)
{
    (void)state;
    static const char *const texts[][2] = {{"x", "found 'x', expected more"},
                                           {"", "found the end, expected more"},
                                           {" ", "found byte 0x20, expected more"},
                                           {"\x7f", "found byte 0x7f, expected more"},
                                           {"\xc3\xa4", "found byte 0xc3, expected more"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_reader r = reader_of(texts[i][0]);
        assert_int_equal(reader_unexpected(&r, "more"), STPN_ERROR_INPUT);
        assert_non_null(strstr(error.message, texts[i][1]));
    }
}

static void tokens_are_read_in_turn(void **state)
{
    (void)state;
    json_reader r = reader_of(" {\t\"a\\tb\" :[ 1,0 ,9223372036854775807 ]\r\n,\"\":\"\"} ");
    const char *key, *other, *value;
    int64_t values[3];
    int count;
    assert_true(reader_next_is(&r, '{'));
    assert_false(reader_next_is(&r, '}'));
    assert_int_equal(reader_key(&r, &key), STPN_OK);
    assert_int_equal(reader_integers(&r, 3, values, &count), STPN_OK);
    assert_int_equal(count, 3);
    assert_int_equal(values[0], 1);
    assert_int_equal(values[1], 0);
    assert_int_equal(values[2], INT64_MAX);
    assert_true(reader_next_is(&r, ','));
    assert_int_equal(reader_key(&r, &other), STPN_OK);
    assert_int_equal(reader_string(&r, "a value", &value), STPN_OK);
    assert_true(reader_next_is(&r, '}'));
    assert_ptr_equal(reader_skip_space(&r), r.end);
    assert_false(reader_next_is(&r, '}'));
    /* Strings stay until `used` goes back. */
    assert_string_equal(key, "a\tb");
    assert_string_equal(other, "");
    assert_string_equal(value, "");
    assert_int_equal(r.used, 6);
    assert_string_equal(error.message, "");
}

static void an_empty_array_has_no_numbers(void **state)
{
    (void)state;
    json_reader r = reader_of("[ ]");
    int count = 7;
    assert_int_equal(reader_integers(&r, 0, NULL, &count), STPN_OK);
    assert_int_equal(count, 0);
}

/* Every code point there is, by its own encoder. */
static void utf8_is_told_from_what_is_not(void **state)
{
    (void)state;
    for (unsigned code = 1; code < 0x120000; code += code < 0x11000 ? 1 : 97) {
        char text[8] = {0};
        if (code < 0x80) {
            text[0] = (char)code;
        } else if (code < 0x800) {
            text[0] = (char)(0xc0 + code / 64);
            text[1] = (char)(0x80 + code % 64);
        } else if (code < 0x10000) {
            text[0] = (char)(0xe0 + code / 4096);
            text[1] = (char)(0x80 + code / 64 % 64);
            text[2] = (char)(0x80 + code % 64);
        } else {
            text[0] = (char)(0xf0 + code / 262144);
            text[1] = (char)(0x80 + code / 4096 % 64);
            text[2] = (char)(0x80 + code / 64 % 64);
            text[3] = (char)(0x80 + code % 64);
        }
        int valid = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
        assert_int_equal(text_is_utf8(text), valid);
    }
    static const char *const wrong[] = {"\x80",     "\xbf",         "\xc0\x80",         "\xc1\xbf", "\xc3",
                                        "\xc3x",    "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xe2\x82", "\xe2\x82x",
                                        "\xf0\x9f", "\xf0\x9f\x98", "\xf5\x80\x80\x80", "\xfe",     "\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(text_is_utf8(wrong[i]));
    assert_true(text_is_utf8(""));
}

static void shown_text_ends_between_characters(void **state)
{
    (void)state;
    const char *text = "ab\xe2\x82\xac"
                       "cd";
    static const int expected[] = {0, 1, 2, 2, 2, 5, 6, 7, 7, 7};
    for (int limit = 0; limit < 10; limit++) assert_int_equal(text_shown(text, limit), expected[limit]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_name_line_and_column), cmocka_unit_test(the_next_byte_is_described),
        cmocka_unit_test(tokens_are_read_in_turn),       cmocka_unit_test(an_empty_array_has_no_numbers),
        cmocka_unit_test(utf8_is_told_from_what_is_not), cmocka_unit_test(shown_text_ends_between_characters),
    };
    return cmocka_run_group_tests_name("io/json_reader", tests, NULL, NULL);
}
