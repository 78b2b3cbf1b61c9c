#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/machine.h"

static void names_are_one_line_and_fit(void **state)
{
    (void)state;
    void (*const names[])(char *, size_t) = {machine_processor, machine_system};
    for (int i = 0; i < 2; i++) {
        char whole[256], text[256];
        names[i](whole, sizeof whole);
        size_t length = strlen(whole);
        assert_in_range(length, 1, sizeof whole - 1);
        assert_null(strchr(whole, '\n'));
        assert_true(whole[0] != ' ');
        for (size_t size = 1; size <= length; size++) {
            memset(text, 'x', sizeof text);
            names[i](text, size);
            assert_int_equal(strlen(text), size - 1);
            assert_memory_equal(text, whole, size - 1);
            assert_int_equal(text[size], 'x');
        }
    }
}

static void the_system_is_named_with_its_architecture(void **state)
{
    (void)state;
    char text[256];
    machine_system(text, sizeof text);
#if defined(__linux__) && defined(__x86_64__)
    assert_string_equal(text, "Linux x86_64");
#else
    assert_non_null(strchr(text, ' '));
#endif
}

static void there_is_a_processor(void **state)
{
    (void)state;
    assert_in_range(machine_processors(), 1, 1 << 20);
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    double start = machine_seconds(), before = start;
    for (int i = 0; i < 1000; i++) {
        double now = machine_seconds();
        assert_true(now >= before);
        before = now;
    }
    const struct timespec nap = {.tv_nsec = 20000000};
    nanosleep(&nap, NULL);
    double slept = machine_seconds() - before;
    assert_true(slept > 0.019 && slept < 60);
}

static void peak_memory_sees_a_large_block(void **state)
{
    (void)state;
    enum { BYTES = 64 << 20 };
    size_t before = machine_peak_memory();
    assert_true(before > 100000);
    char *volatile block = malloc(BYTES);
    assert_non_null(block);
    memset(block, 1, BYTES);
    size_t with = machine_peak_memory();
    free(block);
    assert_true(with > BYTES);
    assert_true(with < before + ((size_t)4 << 30));
    assert_true(machine_peak_memory() >= with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_one_line_and_fit),     cmocka_unit_test(the_system_is_named_with_its_architecture),
        cmocka_unit_test(there_is_a_processor),           cmocka_unit_test(the_clock_goes_forward),
        cmocka_unit_test(peak_memory_sees_a_large_block),
    };
    return cmocka_run_group_tests_name("base/machine", tests, NULL, NULL);
}
