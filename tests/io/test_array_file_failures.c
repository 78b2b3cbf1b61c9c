/* The .npz files of tests/fuzz/corpus_npz were written by NumPy. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>

#include "io/array_file.h"
#include "support/failing.h"
#include "support/scratch.h"

#define CORPUS STPN_SOURCE_DIR "/tests/fuzz/corpus_npz/"

static stpn_error error;

static array_file opened(const char *path)
{
    array_file file;
    if (array_file_read(&file, path, &error)) fail_msg("%s", error.message);
    return file;
}

static const array *found(const array_file *file, const char *name)
{
    const array *a;
    if (array_file_find(file, name, &a, &error)) fail_msg("%s", error.message);
    assert_non_null(a);
    return a;
}

static void assert_shape(const array *a, const char *expected)
{
    char text[128];
    array_shape_text(a, text, sizeof text);
    assert_string_equal(text, expected);
}

/* Signed: -1 0 1 2 99 4; unsigned one more. */
static void assert_types(const array_file *file, const char *prefix)
{
    static const char *const kinds[] = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"};
    static const char *const names[] = {"float32", "float64", "int8",   "int16",  "int32",
                                        "int64",   "uint8",   "uint16", "uint32", "uint64"};
    static const int values[] = {0, 1, 2, 3, 100, 5};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s%s", prefix, kinds[i]);
        const array *a = found(file, name);
        assert_string_equal(array_type_name(a->type), names[i]);
        assert_int_equal(array_is_integer(a), i >= 2);
        assert_shape(a, "(2, 3)");
        for (size_t k = 0; k < 6; k++) {
            int64_t whole, expected = values[k] - (kinds[i][0] != 'u');
            assert_true(array_real(a, k) == (double)expected);
            assert_true(array_whole(a, k, &whole) && whole == expected);
        }
    }
}

static void every_type_is_read(void **state)
{
    (void)state;
    array_file file = opened(CORPUS "types.npz");
    assert_types(&file, "");
    const array *flags = found(&file, "b1");
    int64_t whole;
    assert_string_equal(array_type_name(flags->type), "bool");
    for (size_t k = 0; k < 6; k++) assert_true(array_whole(flags, k, &whole) && whole == (k >= 3));
    array_file_free(&file);
    array_file_free(&file);
}

static void deflated_big_endian_arrays_are_read(void **state)
{
    (void)state;
    array_file file = opened(CORPUS "deflated.npz");
    assert_types(&file, "big_");
    array_file_free(&file);
}

static void orders_and_shapes_are_read(void **state)
{
    (void)state;
    array_file file = opened(CORPUS "orders.npz");
    const array *fortran = found(&file, "fortran"), *plain = found(&file, "plain");
    assert_shape(fortran, "(2, 3, 4)");
    for (size_t i = 0; i < 24; i++) {
        assert_true(array_real(plain, i) == (double)i);
        assert_true(array_real(fortran, i) == (double)i);
    }
    assert_shape(found(&file, "one"), "(3,)");
    assert_true(array_real(found(&file, "one"), 2) == 2);
    assert_shape(found(&file, "none"), "(2, 0, 3)");
    assert_int_equal(found(&file, "none")->count, 0);
    assert_shape(found(&file, "scalar"), "()");
    assert_true(array_real(found(&file, "scalar"), 0) == 7);
    array_file_free(&file);
}

static void versions_comments_and_other_members_are_taken(void **state)
{
    (void)state;
    array_file file = opened(CORPUS "other.npz");
    assert_int_equal(file.count, 2);
    assert_true(array_real(found(&file, "two"), 4) == 4);
    assert_true(array_real(found(&file, "three"), 4) == 4);
    const array *none;
    assert_int_equal(array_file_find(&file, "readme", &none, &error), STPN_OK);
    assert_null(none);
    array_file_free(&file);
}

static void what_is_no_number_is_refused_where_asked_for(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"text", "\"<U2\""}, {"complex", "\"<c16\""}, {"half", "\"<f2\""}, {"fields", "\"several fields\""}};
    array_file file = opened(CORPUS "refused.npz");
    assert_true(array_real(found(&file, "good"), 1) == 1);
    for (int i = 0; i < 4; i++) {
        const array *a;
        char expected[256];
        assert_int_equal(array_file_find(&file, cases[i][0], &a, &error), STPN_ERROR_INPUT);
        snprintf(expected, sizeof expected,
                 CORPUS "refused.npz: array \"%s\": its values are of type %s, expected f4, f8, i1 to i8, u1 to u8 or "
                        "b1 (bool)",
                 cases[i][0], cases[i][1]);
        assert_string_equal(error.message, expected);
        assert_null(a);
    }
    array_file_free(&file);
}

static void whole_numbers_are_told_from_others(void **state)
{
    (void)state;
    static const double values[] = {0, -3, 0x1p53, 0.5, NAN, INFINITY, 0x1p60, -0x1p60};
    const array a = {.type = ARRAY_F64, .rank = 1, .shape = {8}, .count = 8, .data = values};
    int64_t whole;
    for (size_t i = 0; i < 8; i++) assert_int_equal(array_whole(&a, i, &whole), i < 3);
    static const uint64_t large[] = {UINT64_MAX};
    const array b = {.type = ARRAY_U64, .rank = 1, .shape = {1}, .count = 1, .data = large};
    assert_false(array_whole(&b, 0, &whole));
    static const int64_t least[] = {INT64_MIN};
    const array c = {.type = ARRAY_I64, .rank = 1, .shape = {1}, .count = 1, .data = least};
    assert_true(array_whole(&c, 0, &whole) && whole == INT64_MIN);
}

static void safetensors_are_read(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    tensor_file *tensors;
    const int64_t shape[2] = {2, 2}, labels[4] = {1, 2, 3, 1L << 40};
    const float inputs[4] = {1, 2, 3, 4.5F};
    assert_int_equal(tensor_file_create(&tensors, &error), STPN_OK);
    assert_int_equal(tensor_file_add(tensors, "inputs", TENSOR_F32, 2, shape, inputs, &error), STPN_OK);
    assert_int_equal(tensor_file_add(tensors, "labels", TENSOR_I64, 2, shape, labels, &error), STPN_OK);
    assert_int_equal(tensor_file_save(tensors, scratch_path(path, "data.safetensors"), &error), STPN_OK);
    tensor_file_free(tensors);
    array_file file = opened(path);
    assert_true(array_real(found(&file, "inputs"), 3) == 4.5);
    int64_t whole;
    assert_true(array_whole(found(&file, "labels"), 3, &whole) && whole == 1L << 40);
    array_file_free(&file);
}

static void other_kinds_are_refused(void **state)
{
    (void)state;
    array_file file;
    assert_int_equal(array_file_read(&file, "data.mat", &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "data.mat: is of an unknown kind, expected .safetensors, .npz, .csv or .tsv");
    assert_int_equal(array_file_read(&file, "/nowhere/data.npz", &error), STPN_ERROR_INPUT);
    assert_int_equal(array_file_read(&file, ".npz", &error), STPN_ERROR_INPUT);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {CORPUS "types.npz", CORPUS "deflated.npz"};
    for (int i = 0; i < 2; i++) {
        size_t size;
        char *bytes = scratch_read(names[i], &size);
        for (size_t left = 0; left < size; left++) {
            array_file file;
            assert_int_equal(array_file_parse_npz(&file, "a.npz", bytes, left, &error), STPN_ERROR_INPUT);
            assert_memory_equal(error.message, "a.npz: ", 7);
        }
        free(bytes);
    }
}

/* The values lie behind the checksum. */
static void a_changed_value_is_noticed(void **state)
{
    (void)state;
    size_t size;
    char *bytes = scratch_read(CORPUS "types.npz", &size);
    array_file file;
    for (size_t i = 180; i < 200; i++) {
        bytes[i] ^= 4;
        assert_int_equal(array_file_parse_npz(&file, "a.npz", bytes, size, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, "a.npz: member \"f4.npy\": is damaged: its bytes do not fit its checksum");
        bytes[i] ^= 4;
    }
    free(bytes);
}

static void memory_that_is_out_is_told(void **state)
{
    (void)state;
    static const char *const names[] = {CORPUS "deflated.npz", CORPUS "refused.npz"};
    const long live = failing_live();
    for (int i = 0; i < 2; i++)
        for (long n = 1;; n++) {
            array_file file;
            failing_set_allocation(n);
            stpn_status status = array_file_read(&file, names[i], &error);
            long tried = failing_allocations();
            failing_reset();
            assert_int_equal(status, tried < n ? STPN_OK : STPN_ERROR_MEMORY);
            if (status) assert_memory_equal(error.message, "out of memory", 13);
            array_file_free(&file);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(deflated_big_endian_arrays_are_read),
        cmocka_unit_test(orders_and_shapes_are_read),
        cmocka_unit_test(versions_comments_and_other_members_are_taken),
        cmocka_unit_test(what_is_no_number_is_refused_where_asked_for),
        cmocka_unit_test(whole_numbers_are_told_from_others),
        cmocka_unit_test(safetensors_are_read),
        cmocka_unit_test(other_kinds_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_changed_value_is_noticed),
        cmocka_unit_test(memory_that_is_out_is_told),
    };
    return cmocka_run_group_tests_name("io/array_file", tests, scratch_make, scratch_remove);
}
