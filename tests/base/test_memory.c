#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <string.h>

#include "base/memory.h"

static void assert_zeroed(const void *block, size_t bytes)
{
    const unsigned char *byte = block;
    for (size_t i = 0; i < bytes; i++) assert_int_equal(byte[i], 0);
}

static void blocks_are_aligned_and_zeroed(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 63, 64, 65, 1000, 4096, 1000003, 1 << 20, (5 << 20) + 4099};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        /* Filled and given back before, so that a block that is used again shows whether it is zeroed. */
        for (int turn = 0; turn < 3; turn++) {
            unsigned char *block = memory_zeroed(sizes[i], 1);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 64, 0);
            assert_zeroed(block, sizes[i]);
            memset(block, 0xa5, sizes[i]);
            memory_free(block);
        }
    }
}

static void count_and_size_multiply(void **state)
{
    (void)state;
    char *block = memory_zeroed(100, 24);
    assert_non_null(block);
    memset(block, 1, 2400);
    memory_free(block);
}

static void no_bytes_give_a_block_to_free(void **state)
{
    (void)state;
    void *none = memory_zeroed(0, 8), *neither = memory_zeroed(8, 0);
    assert_non_null(none);
    assert_non_null(neither);
    assert_ptr_not_equal(none, neither);
    memory_free(none);
    memory_free(neither);
    memory_free(NULL);
}

static void overflow_gives_null(void **state)
{
    (void)state;
    assert_null(memory_zeroed(SIZE_MAX, 2));
    assert_null(memory_zeroed(2, SIZE_MAX));
    assert_null(memory_zeroed(SIZE_MAX / 8 + 1, 8));
    assert_null(memory_zeroed((size_t)1 << 32, (size_t)1 << 32));
    assert_null(memory_zeroed(SIZE_MAX, 1));
    assert_null(memory_zeroed(SIZE_MAX - 63, 1));
    assert_null(memory_zeroed((size_t)PTRDIFF_MAX, 1));
    assert_null(memory_zeroed((size_t)PTRDIFF_MAX + 1, 1));
}

static void resize_keeps_what_fits(void **state)
{
    (void)state;
    unsigned char *block = memory_resize(NULL, 0, 10);
    assert_non_null(block);
    assert_zeroed(block, 10);
    for (int i = 0; i < 10; i++) block[i] = (unsigned char)(i + 1);
    block = memory_resize(block, 10, 1000);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int i = 0; i < 10; i++) assert_int_equal(block[i], i + 1);
    assert_zeroed(block + 10, 990);
    block = memory_resize(block, 1000, 4);
    assert_non_null(block);
    for (int i = 0; i < 4; i++) assert_int_equal(block[i], i + 1);
    memory_free(block);
}

static void failed_resize_keeps_the_block(void **state)
{
    (void)state;
    char *block = memory_string("kept");
    assert_non_null(block);
    assert_null(memory_resize(block, 5, SIZE_MAX));
    assert_string_equal(block, "kept");
    memory_free(block);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char text[] = "a string with \xc3\xa4";
    char *copy = memory_string(text), *empty = memory_string("");
    assert_non_null(copy);
    assert_ptr_not_equal(copy, text);
    text[0] = 'X';
    assert_string_equal(copy, "a string with \xc3\xa4");
    assert_string_equal(empty, "");
    memory_free(copy);
    memory_free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_zeroed),
        cmocka_unit_test(count_and_size_multiply),
        cmocka_unit_test(no_bytes_give_a_block_to_free),
        cmocka_unit_test(overflow_gives_null),
        cmocka_unit_test(resize_keeps_what_fits),
        cmocka_unit_test(failed_resize_keeps_the_block),
        cmocka_unit_test(strings_are_copied),
    };
    return cmocka_run_group_tests_name("base/memory", tests, NULL, NULL);
}
