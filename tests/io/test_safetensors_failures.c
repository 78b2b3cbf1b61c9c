/* Every allocation and every system call of reading and writing made to fail in turn (see support/failing.h). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>

#include "io/safetensors.h"
#include "support/failing.h"
#include "support/scratch.h"

enum { TENSORS = 40, PAIRS = 20 };

static char old_path[SCRATCH_PATH]; /* a file that stands before each save */
static char *old_bytes, *new_bytes, *shifted_bytes;
static size_t old_size, new_size, shifted_size;

/* ------------------------------------------------------------------------------------------------------------- actions
 * Each leaves nothing allocated; `path` is where it reads or writes. */

static stpn_status build(tensor_file **file, stpn_error *error)
{
    static const double values[] = {1, 2, 3, 4, 5, 6};
    stpn_status status = tensor_file_create(file, error);
    for (int i = 0; i < TENSORS && !status; i++) {
        char name[64];
        snprintf(name, sizeof name, "a long and \"odd\" name of tensor %d", i);
        const int64_t shape[] = {1 + i % 3, 2};
        status = tensor_file_add(*file, name, i % 2 ? TENSOR_F64 : TENSOR_U8, 1 + i % 2, shape, values, error);
    }
    for (int i = 0; i < PAIRS && !status; i++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "key %d", i * 7 % (PAIRS - 3));
        snprintf(value, sizeof value, "value %d", i);
        status = tensor_file_set_metadata(*file, key, value, error);
    }
    return status;
}

static stpn_status build_only(const char *path, stpn_error *error)
{
    (void)path;
    tensor_file *file = NULL;
    stpn_status status = build(&file, error);
    tensor_file_free(file);
    return status;
}

static stpn_status build_and_save(const char *path, stpn_error *error)
{
    tensor_file *file = NULL;
    stpn_status status = build(&file, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}

static stpn_status read_only(const char *path, stpn_error *error)
{
    tensor_file *file = (tensor_file *)1;
    stpn_status status = tensor_file_read(&file, path, error);
    if (status) assert_null(file);
    tensor_file_free(file);
    return status;
}

/* Its data start at an odd byte, so that values are copied to be aligned. */
static stpn_status parse_only(const char *path, stpn_error *error)
{
    (void)path;
    tensor_file *file = (tensor_file *)1;
    stpn_status status = tensor_file_parse(&file, "shifted", shifted_bytes, shifted_size, error);
    if (status) assert_null(file);
    tensor_file_free(file);
    return status;
}

static int prepare(void **state)
{
    if (scratch_make(state)) return 1;
    failing_use_for_jansson();
    failing_reset();
    char path[SCRATCH_PATH];
    scratch_path(path, "new");
    assert_int_equal(build_and_save(path, NULL), STPN_OK);
    new_bytes = scratch_read(path, &new_size);
    unlink(path);
    uint64_t length;
    memcpy(&length, new_bytes, 8);
    shifted_size = new_size + 1;
    shifted_bytes = malloc(shifted_size);
    assert_non_null(shifted_bytes);
    memcpy(shifted_bytes, new_bytes, 8 + length);
    shifted_bytes[8 + length] = ' ';
    memcpy(shifted_bytes + 9 + length, new_bytes + 8 + length, new_size - 8 - length);
    length++;
    memcpy(shifted_bytes, &length, 8);
    tensor_file *old = NULL;
    const float value = 1;
    assert_int_equal(tensor_file_create(&old, NULL), STPN_OK);
    assert_int_equal(tensor_file_add(old, "old", TENSOR_F32, 0, NULL, &value, NULL), STPN_OK);
    assert_int_equal(tensor_file_save(old, scratch_path(old_path, "file"), NULL), STPN_OK);
    tensor_file_free(old);
    old_bytes = scratch_read(old_path, &old_size);
    return 0;
}

static int clean_up(void **state)
{
    free(old_bytes);
    free(new_bytes);
    free(shifted_bytes);
    return scratch_remove(state) || failing_live() != 0;
}

/* The earlier file stands at old_path and nothing else is left. */
static void assert_old_file_alone(void)
{
    scratch_assert_content(old_path, old_bytes, old_size);
    assert_int_equal(scratch_count(), 1);
}

static void assert_new_file_alone(void)
{
    scratch_assert_content(old_path, new_bytes, new_size);
    assert_int_equal(scratch_count(), 1);
    scratch_write(old_path, old_bytes, old_size);
}

/* ------------------------------------------------------------------------------------------------------ allocations */

/* Returns how many allocations there were to fail. */
static long fail_each_allocation(stpn_status (*action)(const char *, stpn_error *), const char *path)
{
    failing_reset();
    assert_int_equal(action(path, NULL), STPN_OK);
    const long total = failing_allocations();
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1; n <= total; n++) {
            stpn_error error = {""};
            long live = failing_live();
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            stpn_status status = action(path, &error);
            failing_reset();
            assert_int_equal(failing_live(), live);
            if (status != STPN_ERROR_MEMORY) fail_msg("allocation %ld: status %d, \"%s\"", n, status, error.message);
            assert_memory_equal(error.message, "out of memory while allocating ", 31);
        }
    return total;
}

static void building_survives_every_failed_allocation(void **state)
{
    (void)state;
    /* At least one for each tensor, its values and each pair. */
    assert_true(fail_each_allocation(build_only, NULL) > 2 * TENSORS + PAIRS);
}

static void saving_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (int lasting = 0; lasting < 2; lasting++) {
        tensor_file *file = NULL;
        assert_int_equal(build(&file, NULL), STPN_OK);
        stpn_status status = STPN_ERROR_MEMORY;
        for (long n = 1; status; n++) {
            stpn_error error = {""};
            long live = failing_live();
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            status = tensor_file_save(file, old_path, &error);
            long tried = failing_allocations();
            failing_reset();
            assert_int_equal(failing_live(), live);
            assert_int_equal(status, tried < n ? STPN_OK : STPN_ERROR_MEMORY);
            /* Jansson's allocations were among those counted. */
            if (!status) assert_true(tried > 5 * TENSORS);
            if (!status) break;
            assert_memory_equal(error.message, "out of memory while allocating ", 31);
            assert_old_file_alone();
        }
        assert_new_file_alone();
        tensor_file_free(file);
    }
}

static void reading_survives_every_failed_allocation(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    scratch_write(scratch_path(path, "to read"), new_bytes, new_size);
    assert_true(fail_each_allocation(read_only, path) > TENSORS + PAIRS - 3);
    unlink(path);
}

static void parsing_survives_every_failed_allocation(void **state)
{
    (void)state;
    /* More than reading: values of every F64 tensor are copied too. */
    assert_true(fail_each_allocation(parse_only, NULL) > TENSORS + PAIRS - 3 + TENSORS / 2);
}

/* What was added before stays usable after a failed addition. */
static void a_failed_addition_changes_nothing(void **state)
{
    (void)state;
    const float value = 3;
    tensor_file *file = NULL;
    assert_int_equal(build(&file, NULL), STPN_OK);
    for (long n = 1; n <= 2; n++) {
        failing_set_allocation(n);
        assert_int_equal(tensor_file_add(file, "further", TENSOR_F32, 0, NULL, &value, NULL), STPN_ERROR_MEMORY);
        failing_set_allocation(1);
        assert_int_equal(tensor_file_set_metadata(file, "key 0", "x", NULL), STPN_ERROR_MEMORY);
        failing_reset();
    }
    assert_null(tensor_file_find(file, "further"));
    assert_int_equal(tensor_file_save(file, old_path, NULL), STPN_OK);
    assert_new_file_alone();
    tensor_file_free(file);
}

/* ----------------------------------------------------------------------------------------------------- system calls */

static const char *const call_names[] = {"open", "write", "fsync", "rename", "close"};

/* Which of a save's calls come after the new file is in place: the folder's fsync, which is told, and its close. */
static int is_after_rename(failing_call kind, long n)
{
    return n == 2 && (kind == FAILING_FSYNC || kind == FAILING_CLOSE);
}

static void saving_survives_every_failed_call(void **state)
{
    (void)state;
    static const int codes[] = {EIO, ENOSPC, EDQUOT, EMFILE};
    long failed = 0, live = failing_live();
    for (int kind = 0; kind < FAILING_CALL_COUNT; kind++)
        for (int c = 0; c < 4; c++)
            for (long n = 1;; n++) {
                stpn_error error = {""};
                failing_set_call((failing_call)kind, n, codes[c]);
                stpn_status status = build_and_save(old_path, &error);
                long tried = failing_calls((failing_call)kind);
                failing_reset();
                assert_int_equal(failing_live(), live);
                if (tried < n) {
                    assert_int_equal(status, STPN_OK);
                    assert_new_file_alone();
                    break;
                }
                failed++;
                if (is_after_rename((failing_call)kind, n)) {
                    assert_int_equal(status, kind == FAILING_FSYNC ? STPN_ERROR_SYSTEM : STPN_OK);
                    assert_new_file_alone();
                } else {
                    if (status != STPN_ERROR_SYSTEM) fail_msg("%s %ld: status %d", call_names[kind], n, status);
                    assert_old_file_alone();
                }
                if (!status) continue;
                assert_non_null(strstr(error.message, old_path));
                assert_non_null(strstr(error.message, strerror(codes[c])));
            }
    /* Two opens, a write of the header and of each tensor, two fsyncs, a rename, two closes. */
    assert_int_equal(failed, 4 * (2 + (1 + TENSORS) + 2 + 1 + 2));
}

static void a_failed_first_save_leaves_nothing(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    scratch_path(path, "first");
    static const long counts[FAILING_CALL_COUNT] = {2, 1 + TENSORS, 1, 1, 1};
    for (int kind = 0; kind < FAILING_CALL_COUNT; kind++)
        for (long n = 1; n <= counts[kind]; n++) {
            failing_set_call((failing_call)kind, n, EIO);
            assert_int_equal(build_and_save(path, NULL), STPN_ERROR_SYSTEM);
            failing_reset();
            assert_old_file_alone();
        }
}

static void a_full_disk_keeps_the_earlier_file(void **state)
{
    (void)state;
    for (long room = 0; room < (long)new_size; room += room < 100 || room > (long)new_size - 100 ? 1 : 37) {
        stpn_error error = {""};
        failing_set_disk(room);
        assert_int_equal(build_and_save(old_path, &error), STPN_ERROR_SYSTEM);
        failing_reset();
        assert_non_null(strstr(error.message, strerror(ENOSPC)));
        assert_old_file_alone();
    }
    failing_set_disk((long)new_size);
    assert_int_equal(build_and_save(old_path, NULL), STPN_OK);
    failing_reset();
    assert_new_file_alone();
}

static void short_and_interrupted_writes_go_on(void **state)
{
    (void)state;
    static const size_t most[] = {1, 2, 7, 64, 1000};
    for (size_t i = 0; i < sizeof most / sizeof *most; i++)
        for (long n = 0; n <= 20; n++) {
            failing_set_short_writes(most[i]);
            failing_set_call(FAILING_WRITE, n, EINTR);
            assert_int_equal(build_and_save(old_path, NULL), STPN_OK);
            assert_true(failing_calls(FAILING_WRITE) > TENSORS);
            failing_reset();
            assert_new_file_alone();
        }
}

static void reading_survives_a_failed_open(void **state)
{
    (void)state;
    stpn_error error;
    failing_set_call(FAILING_OPEN, 1, EACCES);
    assert_int_equal(read_only(old_path, &error), STPN_ERROR_INPUT);
    failing_reset();
    assert_non_null(strstr(error.message, strerror(EACCES)));
}

/* ------------------------------------------------------------------------------------------------ the helper itself */

static void the_counts_are_right(void **state)
{
    (void)state;
    long live = failing_live();
    failing_reset();
    void *volatile a = malloc(10), *volatile b = calloc(2, 5), *volatile c = aligned_alloc(64, 64);
    assert_int_equal(failing_allocations(), 3);
    assert_int_equal(failing_live(), live + 3);
    a = realloc(a, 10000);
    assert_int_equal(failing_allocations(), 4);
    assert_int_equal(failing_live(), live + 3);
    failing_set_allocation(2);
    void *volatile d = malloc(1), *volatile e = malloc(1), *volatile f = malloc(1);
    assert_non_null(d);
    assert_null(e);
    assert_non_null(f);
    failing_set_allocation(1);
    void *volatile g = realloc(a, 20000);
    assert_null(g);
    failing_set_allocations_from(1);
    g = calloc(1, 1);
    assert_null(g);
    g = aligned_alloc(64, 64);
    assert_null(g);
    failing_reset();
    assert_int_equal(failing_live(), live + 5);
    /* Made inside libc: let through, not counted. */
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(old_path, "rb");
    assert_non_null(file);
    assert_true(getline(&line, &room, file) > 0);
    fclose(file);
    free(line);
    assert_int_equal(failing_live(), live + 5);
    free(a);
    free(b);
    free(c);
    free(d);
    free(f);
    free(NULL);
    assert_int_equal(failing_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counts_are_right),
        cmocka_unit_test(building_survives_every_failed_allocation),
        cmocka_unit_test(saving_survives_every_failed_allocation),
        cmocka_unit_test(reading_survives_every_failed_allocation),
        cmocka_unit_test(parsing_survives_every_failed_allocation),
        cmocka_unit_test(a_failed_addition_changes_nothing),
        cmocka_unit_test(saving_survives_every_failed_call),
        cmocka_unit_test(a_failed_first_save_leaves_nothing),
        cmocka_unit_test(a_full_disk_keeps_the_earlier_file),
        cmocka_unit_test(short_and_interrupted_writes_go_on),
        cmocka_unit_test(reading_survives_a_failed_open),
    };
    return cmocka_run_group_tests_name("io/safetensors, failures", tests, prepare, clean_up);
}
