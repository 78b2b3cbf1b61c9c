#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static void set_formats_and_returns_the_status(void **state)
{
    (void)state;
    static const stpn_status statuses[] = {STPN_ERROR_INPUT, STPN_ERROR_MEMORY, STPN_ERROR_SYSTEM, STPN_ERROR_NUMERIC,
                                           STPN_STOPPED};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        stpn_error error = {"old"};
        assert_int_equal(error_set(&error, statuses[i], "units[%d] is \"%s\"", 3, "x"), statuses[i]);
        assert_string_equal(error.message, "units[3] is \"x\"");
    }
}

static void no_buffer_is_no_fault(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, STPN_ERROR_INPUT, "%s", "lost"), STPN_ERROR_INPUT);
    assert_int_equal(error_system(NULL, EIO, "%s", "lost"), STPN_ERROR_SYSTEM);
    assert_int_equal(error_system(NULL, ENOMEM, "%s", "lost"), STPN_ERROR_MEMORY);
    assert_int_equal(error_memory(NULL, "nothing"), STPN_ERROR_MEMORY);
    error_clear(NULL);
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char text[3000], untouched[4096];
    memset(untouched, 0x5a, sizeof untouched);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    /* A guard behind the buffer shows a write past its end. */
    struct {
        stpn_error error;
        char guard[4096];
    } it;
    memset(&it, 0x5a, sizeof it);
    (void)error_set(&it.error, STPN_ERROR_INPUT, "%s", text);
    assert_int_equal(strlen(it.error.message), sizeof it.error.message - 1);
    assert_memory_equal(it.guard, untouched, sizeof untouched);
    (void)error_system(&it.error, ENOSPC, "%s", text);
    assert_int_equal(strlen(it.error.message), sizeof it.error.message - 1);
    assert_memory_equal(it.guard, untouched, sizeof untouched);
    /* Room for a part of the system's words only. */
    for (size_t length = 1000; length <= 1030; length++) {
        (void)error_system(&it.error, ENOSPC, "%.*s", (int)length, text);
        assert_true(strlen(it.error.message) < sizeof it.error.message);
        assert_memory_equal(it.guard, untouched, sizeof untouched);
    }
}

static void control_characters_are_replaced(void **state)
{
    (void)state;
    stpn_error error;
    (void)error_set(&error, STPN_ERROR_INPUT, "a\nb\r\tc\x1b[31m\x7f%c", 1);
    assert_string_equal(error.message, "a?b??c?[31m??");
    (void)error_system(&error, ENOENT, "run\n1");
    assert_memory_equal(error.message, "run?1: ", 7);
    assert_null(strchr(error.message, '\n'));
    (void)error_set(&error, STPN_ERROR_INPUT, "%s", "gr\xc3\xbc\xc3\x9f");
    assert_string_equal(error.message, "gr\xc3\xbc\xc3\x9f");
}

static void system_errors_name_their_reason(void **state)
{
    (void)state;
    stpn_error error;
    char expected[256];
    assert_int_equal(error_system(&error, ENOSPC, "%s: cannot be written", "a/b"), STPN_ERROR_SYSTEM);
    snprintf(expected, sizeof expected, "a/b: cannot be written: %s", strerror(ENOSPC));
    assert_string_equal(error.message, expected);
    assert_int_equal(error_system(&error, ENOMEM, "x"), STPN_ERROR_MEMORY);
    snprintf(expected, sizeof expected, "x: %s", strerror(ENOMEM));
    assert_string_equal(error.message, expected);
    assert_int_equal(error_system(&error, 99999, "x"), STPN_ERROR_SYSTEM);
    assert_memory_equal(error.message, "x: ", 3);
}

static void memory_errors_say_what_for(void **state)
{
    (void)state;
    stpn_error error;
    assert_int_equal(error_memory(&error, "a tape"), STPN_ERROR_MEMORY);
    assert_string_equal(error.message, "out of memory while allocating a tape");
}

static void clear_empties(void **state)
{
    (void)state;
    stpn_error error = {"something"};
    error_clear(&error);
    assert_string_equal(error.message, "");
}

static void version_is_that_of_the_header(void **state)
{
    (void)state;
    char expected[64];
    snprintf(expected, sizeof expected, "%d.%d.%d", STPN_VERSION_MAJOR, STPN_VERSION_MINOR, STPN_VERSION_PATCH);
    assert_string_equal(STPN_VERSION, expected);
    assert_string_equal(stpn_version(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_formats_and_returns_the_status),
        cmocka_unit_test(no_buffer_is_no_fault),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(control_characters_are_replaced),
        cmocka_unit_test(system_errors_name_their_reason),
        cmocka_unit_test(memory_errors_say_what_for),
        cmocka_unit_test(clear_empties),
        cmocka_unit_test(version_is_that_of_the_header),
    };
    return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
