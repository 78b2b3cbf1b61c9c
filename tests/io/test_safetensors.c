#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>

#include "io/safetensors.h"
#include "support/scratch.h"

static tensor_file *new_file(void)
{
    tensor_file *file = NULL;
    assert_int_equal(tensor_file_create(&file, NULL), STPN_OK);
    assert_non_null(file);
    return file;
}

static void add(tensor_file *file, const char *name, tensor_type type, int rank, const int64_t *shape, const void *data)
{
    stpn_error error = {""};
    if (tensor_file_add(file, name, type, rank, shape, data, &error) != STPN_OK) fail_msg("%s", error.message);
}

static tensor_file *save_and_read(const tensor_file *file, const char *name)
{
    char path[SCRATCH_PATH];
    tensor_file *read = NULL;
    stpn_error error = {""};
    scratch_path(path, name);
    if (tensor_file_save(file, path, &error) != STPN_OK) fail_msg("%s", error.message);
    if (tensor_file_read(&read, path, &error) != STPN_OK) fail_msg("%s", error.message);
    assert_string_equal(tensor_file_name(read), path);
    return read;
}

static void assert_same_entries(const tensor_file *a, const tensor_file *b)
{
    for (int i = 0;; i++) {
        const tensor_entry *x = tensor_file_entry(a, i), *y = tensor_file_entry(b, i);
        if (!x || !y) {
            assert_ptr_equal(x, y);
            return;
        }
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->rank, y->rank);
        assert_memory_equal(x->shape, y->shape, sizeof x->shape);
        assert_int_equal(x->count, y->count);
        assert_non_null(y->data);
        assert_int_equal((uintptr_t)y->data % tensor_type_size(y->type), 0);
        if (x->count) assert_memory_equal(x->data, y->data, x->count * tensor_type_size(x->type));
    }
}

/* ------------------------------------------------------------------------------------------------------ round trips */

static const float floats[] = {0.0f, -0.0f, 1.5f, -3.25e-38f, 1e-45f, 3.4028235e38f, INFINITY, -INFINITY, NAN, 0.1f};
static const double doubles[] = {0.1, -0.0, 5e-324, 1.7976931348623157e308, -INFINITY, NAN};
static const int32_t ints[] = {0, -1, INT32_MIN, INT32_MAX};
static const int64_t longs[] = {INT64_MIN, INT64_MAX, 0, -1, 1, 42};
static const uint8_t bytes_of_all[] = {0, 1, 127, 128, 255};

static tensor_file *every_type(void)
{
    tensor_file *file = new_file();
    const int64_t five_two[] = {5, 2}, deep[] = {1, 1, 2, 1, 3, 1, 1, 1}, four[] = {4}, two_three[] = {2, 3},
                  empty[] = {3, 0, 2};
    const float one = 2.5f;
    add(file, "floats", TENSOR_F32, 2, five_two, floats);
    add(file, "doubles", TENSOR_F64, 8, deep, doubles);
    add(file, "bytes", TENSOR_U8, 1, (const int64_t[]){5}, bytes_of_all);
    add(file, "ints", TENSOR_I32, 1, four, ints);
    add(file, "longs", TENSOR_I64, 2, two_three, longs);
    add(file, "one", TENSOR_F32, 0, NULL, &one);
    add(file, "empty", TENSOR_F64, 3, empty, NULL);
    add(file, "bytes again", TENSOR_U8, 1, (const int64_t[]){5}, bytes_of_all);
    add(file, "none", TENSOR_U8, 1, (const int64_t[]){0}, NULL);
    return file;
}

static void every_type_comes_back(void **state)
{
    (void)state;
    tensor_file *file = every_type(), *read = save_and_read(file, "types");
    assert_same_entries(file, read);
    const tensor_entry *entry = tensor_file_find(read, "floats");
    assert_int_equal(entry->type, TENSOR_F32);
    assert_int_equal(entry->count, 10);
    assert_memory_equal(entry->data, floats, sizeof floats);
    assert_memory_equal(tensor_file_find(read, "doubles")->data, doubles, sizeof doubles);
    assert_memory_equal(tensor_file_find(read, "ints")->data, ints, sizeof ints);
    assert_memory_equal(tensor_file_find(read, "longs")->data, longs, sizeof longs);
    assert_memory_equal(tensor_file_find(read, "bytes")->data, bytes_of_all, sizeof bytes_of_all);
    entry = tensor_file_find(read, "one");
    assert_int_equal(entry->rank, 0);
    assert_int_equal(entry->count, 1);
    assert_true(*(const float *)entry->data == 2.5f);
    assert_int_equal(tensor_file_find(read, "empty")->count, 0);
    assert_int_equal(tensor_file_find(read, "doubles")->rank, 8);
    assert_null(tensor_file_find(read, "Floats"));
    assert_null(tensor_file_find(read, ""));
    assert_null(tensor_file_entry(read, 9));
    assert_null(tensor_file_entry(read, -1));
    tensor_file_free(file);
    tensor_file_free(read);
}

static void values_and_names_are_copied(void **state)
{
    (void)state;
    tensor_file *file = new_file();
    char name[] = "abc";
    int32_t value[] = {7, 8};
    int64_t shape[] = {2};
    add(file, name, TENSOR_I32, 1, shape, value);
    const tensor_entry *first = tensor_file_entry(file, 0);
    name[0] = 'X';
    value[0] = 0;
    shape[0] = 9;
    for (int i = 0; i < 100; i++) {
        char other[32];
        snprintf(other, sizeof other, "other%d", i);
        add(file, other, TENSOR_I32, 0, NULL, value);
    }
    assert_ptr_equal(tensor_file_entry(file, 0), first);
    assert_string_equal(first->name, "abc");
    assert_int_equal(first->shape[0], 2);
    assert_int_equal(((const int32_t *)first->data)[0], 7);
    tensor_file_free(file);
}

static void metadata_come_back(void **state)
{
    (void)state;
    tensor_file *file = new_file();
    static const char *const pairs[][2] = {{"seed", "12345678901234567890"},
                                           {"a", ""},
                                           {"", "empty key"},
                                           {"note", "line\nbreak \"and\" \\ \x01"},
                                           {"z", "\xf0\x9f\x90\x98 \xc3\xa9"}};
    enum { PAIRS = sizeof pairs / sizeof *pairs };
    for (int i = 0; i < PAIRS; i++)
        assert_int_equal(tensor_file_set_metadata(file, pairs[i][0], pairs[i][1], NULL), STPN_OK);
    tensor_file *read = save_and_read(file, "metadata");
    for (int i = 0; i < PAIRS; i++) assert_string_equal(tensor_file_metadata(read, pairs[i][0]), pairs[i][1]);
    assert_null(tensor_file_metadata(read, "b"));
    assert_null(tensor_file_entry(read, 0));
    tensor_file_free(file);
    tensor_file_free(read);
}

static void the_last_value_of_a_key_counts(void **state)
{
    (void)state;
    tensor_file *file = new_file();
    for (int i = 0; i < 100; i++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "key%d", i % 23);
        snprintf(value, sizeof value, "value%d", i);
        assert_int_equal(tensor_file_set_metadata(file, key, value, NULL), STPN_OK);
    }
    tensor_file *read = save_and_read(file, "last");
    for (int i = 77; i < 100; i++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "key%d", i % 23);
        snprintf(value, sizeof value, "value%d", i);
        assert_string_equal(tensor_file_metadata(file, key), value);
        assert_string_equal(tensor_file_metadata(read, key), value);
    }
    tensor_file_free(file);
    tensor_file_free(read);
}

static void odd_names_come_back(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        " ",
                                        "a\"b",
                                        "back\\slash",
                                        "new\nline",
                                        "\x01\x1f",
                                        "/slash/",
                                        "\x7f",
                                        "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                                        "units.0.weight",
                                        "__metadata",
                                        "dtype"};
    enum { NAMES = sizeof names / sizeof *names };
    tensor_file *file = new_file();
    for (int32_t i = 0; i < NAMES; i++) add(file, names[i], TENSOR_I32, 0, NULL, &i);
    tensor_file *read = save_and_read(file, "names");
    for (int32_t i = 0; i < NAMES; i++) {
        assert_string_equal(tensor_file_entry(read, i)->name, names[i]);
        assert_int_equal(*(const int32_t *)tensor_file_find(read, names[i])->data, i);
    }
    tensor_file_free(file);
    tensor_file_free(read);
}

static void thousands_of_tensors_keep_their_order(void **state)
{
    (void)state;
    enum { TENSORS = 3000 };
    tensor_file *file = new_file();
    for (int64_t i = 0; i < TENSORS; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d", (int)(i * 7919 % TENSORS));
        add(file, name, TENSOR_I64, 0, NULL, &i);
    }
    tensor_file *read = save_and_read(file, "many");
    assert_same_entries(file, read);
    assert_non_null(tensor_file_entry(read, TENSORS - 1));
    assert_null(tensor_file_entry(read, TENSORS));
    tensor_file_free(file);
    tensor_file_free(read);
}

/* -------------------------------------------------------------------------------------------------------- the bytes */

static void the_bytes_are_those_of_the_format(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    tensor_file *file = new_file();
    const float weight[] = {1, -2};
    const uint8_t flag[] = {9};
    add(file, "w\"1", TENSOR_F32, 2, (const int64_t[]){2, 1}, weight);
    add(file, "flag", TENSOR_U8, 0, NULL, flag);
    assert_int_equal(tensor_file_set_metadata(file, "seed", "5", NULL), STPN_OK);
    assert_int_equal(tensor_file_set_metadata(file, "kernel", "avx2", NULL), STPN_OK);
    assert_int_equal(tensor_file_save(file, scratch_path(path, "bytes"), NULL), STPN_OK);
    char expected[192 + 9];
    memset(expected, ' ', sizeof expected);
    const char header[] = "{\"__metadata__\":{\"kernel\":\"avx2\",\"seed\":\"5\"},"
                          "\"w\\\"1\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                          "\"flag\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}";
    _Static_assert(8 + sizeof header - 1 > 128 && 8 + sizeof header - 1 <= 192, "padded to 192");
    const uint64_t padded = 192 - 8;
    memcpy(expected, &padded, 8);
    memcpy(expected + 8, header, sizeof header - 1);
    memcpy(expected + 192, weight, 8);
    expected[200] = 9;
    scratch_assert_content(path, expected, sizeof expected);
    tensor_file_free(file);
}

static void an_empty_file_is_a_file(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], expected[64];
    tensor_file *file = new_file(), *read = save_and_read(file, "empty");
    memset(expected, ' ', sizeof expected);
    memcpy(expected, "\x38\0\0\0\0\0\0\0{}", 10);
    scratch_assert_content(scratch_path(path, "empty"), expected, sizeof expected);
    assert_null(tensor_file_entry(read, 0));
    assert_null(tensor_file_metadata(read, "x"));
    tensor_file_free(file);
    tensor_file_free(read);
}

static void equal_content_gives_equal_bytes(void **state)
{
    (void)state;
    static const char *const keys[] = {"b", "a", "c", "", "aa", "B"};
    static const int orders[][6] = {{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {2, 5, 0, 3, 1, 4}};
    char path[SCRATCH_PATH], *first = NULL;
    size_t first_size = 0;
    for (int k = 0; k < 6; k++) {
        tensor_file *file = every_type();
        for (int i = 0; i < 6; i++)
            assert_int_equal(tensor_file_set_metadata(file, keys[orders[k % 3][i]], keys[orders[k % 3][i]], NULL), 0);
        assert_int_equal(tensor_file_save(file, scratch_path(path, "equal"), NULL), STPN_OK);
        assert_int_equal(tensor_file_save(file, path, NULL), STPN_OK);
        tensor_file_free(file);
        if (!first) first = scratch_read(path, &first_size);
        scratch_assert_content(path, first, first_size);
    }
    /* Read and written again: the same. */
    tensor_file *read = NULL;
    assert_int_equal(tensor_file_read(&read, path, NULL), STPN_OK);
    assert_int_equal(tensor_file_save(read, scratch_path(path, "equal again"), NULL), STPN_OK);
    scratch_assert_content(path, first, first_size);
    tensor_file_free(read);
    free(first);
}

static void data_start_at_a_multiple_of_64(void **state)
{
    (void)state;
    for (int length = 0; length < 130; length++) {
        char path[SCRATCH_PATH], name[160];
        tensor_file *file = new_file();
        const double value = 0.25;
        memset(name, 'n', sizeof name);
        name[length] = 0;
        add(file, name, TENSOR_F64, 0, NULL, &value);
        tensor_file *read = save_and_read(file, "padded");
        assert_true(*(const double *)tensor_file_find(read, name)->data == 0.25);
        size_t size;
        char *bytes = scratch_read(scratch_path(path, "padded"), &size);
        assert_int_equal(size % 64, 8);
        assert_int_equal(size / 64, (8 + 52 + (size_t)length + 63) / 64);
        free(bytes);
        tensor_file_free(file);
        tensor_file_free(read);
    }
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    static const char *const names[] = {"F32", "F64", "I32", "I64", "U8"};
    static const size_t sizes[] = {4, 8, 4, 8, 1};
    for (int i = 0; i < 5; i++) {
        assert_string_equal(tensor_type_name((tensor_type)i), names[i]);
        assert_int_equal(tensor_type_size((tensor_type)i), sizes[i]);
    }
}

/* ------------------------------------------------------------------------------------------------ refused additions */

static void assert_not_added(tensor_file *file, const char *name, int rank, const int64_t *shape, const char *fragment)
{
    stpn_error error = {""};
    const float value = 0;
    assert_int_equal(tensor_file_add(file, name, TENSOR_F32, rank, shape, &value, &error), STPN_ERROR_INPUT);
    if (!strstr(error.message, fragment)) fail_msg("\"%s\" lacks \"%s\"", error.message, fragment);
    assert_null(strchr(error.message, '\n'));
    assert_null(tensor_file_entry(file, 1));
}

static void wrong_additions_are_refused(void **state)
{
    (void)state;
    tensor_file *file = new_file();
    const float value = 1;
    const int64_t one[TENSOR_MAX_RANK + 1] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    add(file, "w", TENSOR_F32, 1, one, &value);
    assert_not_added(file, "w", 1, one, "tensor \"w\": found the name twice, expected it once");
    assert_not_added(file, "__metadata__", 1, one, "tensor \"__metadata__\": the name is reserved");
    assert_not_added(file, "\xff", 1, one, "the name is not UTF-8");
    assert_not_added(file, "a\nb\xc3", 1, one, "tensor \"a?b\xc3\": the name is not UTF-8");
    assert_not_added(file, "v", 9, one, "tensor \"v\": rank is 9, expected 0 to 8");
    assert_not_added(file, "v", -1, one, "rank is -1, expected 0 to 8");
    assert_not_added(file, "v", 2, (const int64_t[]){1, -3}, "shape[1] is -3, expected at least 0");
    assert_not_added(file, "v", 2, (const int64_t[]){INT64_MAX, 3}, "the shape's product overflows");
    assert_not_added(file, "v", 1, (const int64_t[]){INT64_MAX}, "the shape's product overflows");
    stpn_error error;
    assert_int_equal(tensor_file_set_metadata(file, "\xff", "x", &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "metadata \"\xff\" is not UTF-8"));
    assert_int_equal(tensor_file_set_metadata(file, "x", "\xff", &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "metadata \"x\" is not UTF-8"));
    assert_null(tensor_file_metadata(file, "x"));
    tensor_file *read = save_and_read(file, "refused");
    assert_same_entries(file, read);
    tensor_file_free(file);
    tensor_file_free(read);
}

/* --------------------------------------------------------------------------------------------------------- the disk */

static void files_that_cannot_be_read_are_told(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    tensor_file *file = (tensor_file *)1;
    stpn_error error;
    assert_int_equal(tensor_file_read(&file, scratch_path(path, "missing"), &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "missing: cannot be opened"));
    assert_null(file);
    assert_int_equal(tensor_file_read(&file, scratch_folder, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "is not a regular file"));
    scratch_write(scratch_path(path, "short"), "abc", 3);
    assert_int_equal(tensor_file_read(&file, path, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "short: is no safetensors file: has 3 bytes, expected at least the 8"));
}

static void enormous_files_are_refused(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    scratch_write(scratch_path(path, "enormous"), "", 0);
    /* Sparse: it takes no room. */
    if (sizeof(off_t) < 8 || truncate(path, (off_t)((INT64_C(64) << 30) + 1)) != 0) skip();
    tensor_file *file;
    stpn_error error;
    assert_int_equal(tensor_file_read(&file, path, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "has 68719476737 bytes, expected at most 68719476736"));
    assert_null(file);
    assert_int_equal(unlink(path), 0);
}

static void files_are_replaced_as_a_whole(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], below[SCRATCH_PATH + 2];
    stpn_error error;
    int before = scratch_count();
    tensor_file *file = every_type(), *other = new_file();
    assert_int_equal(tensor_file_save(file, scratch_path(path, "replaced"), NULL), STPN_OK);
    size_t size;
    char *first = scratch_read(path, &size);
    int opened = open(path, O_RDONLY);
    assert_true(opened >= 0);
    assert_int_equal(tensor_file_save(other, path, NULL), STPN_OK);
    /* A reader that opened the old file still has all of it: nothing was written over. */
    char *still = malloc(size + 1);
    assert_non_null(still);
    assert_int_equal(read(opened, still, size + 1), size);
    assert_memory_equal(still, first, size);
    close(opened);
    free(still);
    free(first);
    tensor_file *now = NULL;
    assert_int_equal(tensor_file_read(&now, path, NULL), STPN_OK);
    assert_null(tensor_file_entry(now, 0));
    tensor_file_free(now);
    /* Where it cannot be written nothing changes. */
    snprintf(below, sizeof below, "%s/x", path);
    assert_int_equal(tensor_file_save(file, below, &error), STPN_ERROR_SYSTEM);
    assert_non_null(strstr(error.message, "replaced/x"));
    assert_int_equal(tensor_file_save(file, scratch_folder, &error), STPN_ERROR_SYSTEM);
    assert_int_equal(tensor_file_read(&now, path, NULL), STPN_OK);
    tensor_file_free(now);
    assert_int_equal(scratch_count(), before + 1);
    tensor_file_free(file);
    tensor_file_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(values_and_names_are_copied),
        cmocka_unit_test(metadata_come_back),
        cmocka_unit_test(the_last_value_of_a_key_counts),
        cmocka_unit_test(odd_names_come_back),
        cmocka_unit_test(thousands_of_tensors_keep_their_order),
        cmocka_unit_test(the_bytes_are_those_of_the_format),
        cmocka_unit_test(an_empty_file_is_a_file),
        cmocka_unit_test(equal_content_gives_equal_bytes),
        cmocka_unit_test(data_start_at_a_multiple_of_64),
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(wrong_additions_are_refused),
        cmocka_unit_test(files_that_cannot_be_read_are_told),
        cmocka_unit_test(enormous_files_are_refused),
        cmocka_unit_test(files_are_replaced_as_a_whole),
    };
    return cmocka_run_group_tests_name("io/safetensors", tests, scratch_make, scratch_remove);
}
