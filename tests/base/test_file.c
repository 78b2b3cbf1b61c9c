#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "support/scratch.h"

static void assert_failed(stpn_status status, stpn_status expected, const stpn_error *error, const char *fragment)
{
    assert_int_equal(status, expected);
    if (!strstr(error->message, fragment)) fail_msg("\"%s\" lacks \"%s\"", error->message, fragment);
    assert_null(strchr(error->message, '\n'));
}

/* ---------------------------------------------------------------------------------------------------------- reading */

static void reads_whole_files(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], content[5000], *data;
    size_t size;
    stpn_error error;
    for (size_t i = 0; i < sizeof content; i++) content[i] = (char)(i * 31);
    static const size_t sizes[] = {0, 1, 63, 64, 4096, sizeof content};
    scratch_path(path, "whole");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        scratch_write(path, content, sizes[i]);
        assert_int_equal(file_read(path, sizeof content, &data, &size, &error), STPN_OK);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(data, content, size);
        assert_int_equal(data[size], 0);
        memory_free(data);
    }
}

static void reads_up_to_the_limit(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], *data = (char *)1;
    size_t size;
    stpn_error error;
    scratch_write(scratch_path(path, "limit"), "12345", 5);
    assert_int_equal(file_read(path, 5, &data, &size, &error), STPN_OK);
    assert_string_equal(data, "12345");
    memory_free(data);
    data = (char *)1;
    assert_failed(file_read(path, 4, &data, &size, &error), STPN_ERROR_INPUT, &error,
                  "has 5 bytes, expected at most 4");
    assert_null(data);
    assert_non_null(strstr(error.message, path));
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], *data = (char *)1;
    size_t size;
    stpn_error error;
    scratch_path(path, "missing");
    assert_failed(file_read(path, 10, &data, &size, &error), STPN_ERROR_INPUT, &error, "missing: cannot be opened");
    assert_null(data);
    assert_failed(file_read(scratch_folder, 10, &data, &size, &error), STPN_ERROR_INPUT, &error, "not a regular file");
    assert_null(data);
    assert_failed(file_read("/dev/zero", 10, &data, &size, &error), STPN_ERROR_INPUT, &error, "not a regular file");
    assert_int_equal(file_read(path, 10, &data, &size, NULL), STPN_ERROR_INPUT);
}

static void a_pipe_does_not_make_it_wait(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], *data;
    size_t size;
    stpn_error error;
    assert_int_equal(mkfifo(scratch_path(path, "pipe"), 0600), 0);
    alarm(20);
    assert_failed(file_read(path, 10, &data, &size, &error), STPN_ERROR_INPUT, &error, "not a regular file");
    alarm(0);
}

/* ---------------------------------------------------------------------------------------------------------- writing */

static void writes_and_replaces(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    stpn_error error = {""};
    int before = scratch_count();
    const file_part first[] = {{"one ", 4}, {NULL, 0}, {"two", 3}}, second[] = {{"x", 1}};
    scratch_path(path, "replaced");
    assert_int_equal(file_replace(path, first, 3, &error), STPN_OK);
    scratch_assert_content(path, "one two", 7);
    assert_int_equal(file_replace(path, second, 1, &error), STPN_OK);
    scratch_assert_content(path, "x", 1);
    assert_int_equal(file_replace(path, NULL, 0, NULL), STPN_OK);
    scratch_assert_content(path, "", 0);
    assert_string_equal(error.message, "");
    assert_int_equal(scratch_count(), before + 1);
}

/* A link stays one; what is no file of ours stays what it is. */
static void replaces_regular_files_alone(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], link[SCRATCH_PATH], pipe[SCRATCH_PATH], nowhere[SCRATCH_PATH];
    struct stat info;
    stpn_error error;
    const file_part first = {"one", 3}, second = {"two", 3};
    assert_int_equal(file_replace(scratch_path(path, "target"), &first, 1, &error), STPN_OK);
    assert_int_equal(symlink("target", scratch_path(link, "link")), 0);
    assert_int_equal(file_replace(link, &second, 1, &error), STPN_OK);
    scratch_assert_content(path, "two", 3);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(mkfifo(scratch_path(pipe, "a-pipe"), 0600), 0);
    assert_failed(file_replace(pipe, &first, 1, &error), STPN_ERROR_INPUT, &error, "a-pipe: is not a regular file");
    assert_int_equal(lstat(pipe, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(symlink("nothing", scratch_path(nowhere, "nowhere")), 0);
    assert_failed(file_replace(nowhere, &first, 1, &error), STPN_ERROR_INPUT, &error, "nowhere: cannot be opened");
}

static void writes_much(void **state)
{
    (void)state;
    enum { BYTES = 5 << 20 };
    char path[SCRATCH_PATH], *content = malloc(BYTES);
    assert_non_null(content);
    for (size_t i = 0; i < BYTES; i++) content[i] = (char)(i * i >> 7);
    const file_part part = {content, BYTES};
    assert_int_equal(file_replace(scratch_path(path, "much"), &part, 1, NULL), STPN_OK);
    scratch_assert_content(path, content, BYTES);
    free(content);
}

static void a_left_over_temporary_file_is_no_obstacle(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], temporary[SCRATCH_PATH];
    const file_part part = {"new", 3};
    scratch_write(scratch_path(temporary, "left.tmp"), "from a killed run, and longer", 29);
    assert_int_equal(file_replace(scratch_path(path, "left"), &part, 1, NULL), STPN_OK);
    scratch_assert_content(path, "new", 3);
    assert_int_equal(access(temporary, F_OK), -1);
}

static void paths_without_a_folder_work(void **state)
{
    (void)state;
    char back[SCRATCH_PATH], path[SCRATCH_PATH];
    const file_part part = {"here", 4};
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(scratch_folder), 0);
    stpn_status status = file_replace("plain", &part, 1, NULL);
    assert_int_equal(chdir(back), 0);
    assert_int_equal(status, STPN_OK);
    scratch_assert_content(scratch_path(path, "plain"), "here", 4);
}

static void failed_writes_leave_nothing(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    stpn_error error;
    const file_part part = {"new", 3};
    int before = scratch_count();
    assert_failed(file_replace(scratch_path(path, "no/such/folder"), &part, 1, &error), STPN_ERROR_SYSTEM, &error,
                  "no/such/folder");
    assert_int_equal(scratch_count(), before);
    /* A folder in the way: the rename fails. */
    assert_int_equal(mkdir(scratch_path(path, "in-the-way"), 0700), 0);
    assert_failed(file_replace(path, &part, 1, &error), STPN_ERROR_SYSTEM, &error, "in-the-way: cannot be written");
    assert_int_equal(scratch_count(), before + 1);
    assert_int_equal(file_is_folder(path), 1);
    char *endless = malloc(PATH_MAX + 1);
    assert_non_null(endless);
    memset(endless, 'p', PATH_MAX);
    endless[PATH_MAX] = 0;
    assert_failed(file_replace(endless, &part, 1, &error), STPN_ERROR_INPUT, &error, "too long");
    free(endless);
}

/* ---------------------------------------------------------------------------------------------------------- folders */

static void makes_folders_with_their_parents(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    scratch_path(path, "a/b/c");
    assert_int_equal(file_is_folder(path), 0);
    assert_int_equal(file_make_folder(path, NULL), STPN_OK);
    assert_int_equal(file_is_folder(path), 1);
    assert_int_equal(file_make_folder(path, NULL), STPN_OK);
    assert_int_equal(file_make_folder(scratch_path(path, "a//d/"), NULL), STPN_OK);
    assert_int_equal(file_is_folder(path), 1);
    assert_int_equal(file_make_folder("/", NULL), STPN_OK);
    assert_int_equal(file_make_folder(".", NULL), STPN_OK);
}

static void refuses_folders_that_cannot_be(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    stpn_error error;
    assert_failed(file_make_folder("", &error), STPN_ERROR_INPUT, &error, "empty");
    scratch_write(scratch_path(path, "file"), "x", 1);
    assert_failed(file_make_folder(path, &error), STPN_ERROR_INPUT, &error, "is not a folder");
    assert_failed(file_make_folder(scratch_path(path, "file/below"), &error), STPN_ERROR_SYSTEM, &error,
                  "file/below: the folder cannot be made");
    char *endless = malloc(PATH_MAX + 1);
    assert_non_null(endless);
    memset(endless, 'p', PATH_MAX);
    endless[PATH_MAX] = 0;
    assert_failed(file_make_folder(endless, &error), STPN_ERROR_INPUT, &error, "too long");
    free(endless);
}

static void tells_files_from_folders(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    assert_int_equal(file_exists(scratch_path(path, "nothing")), 0);
    assert_int_equal(file_is_folder(path), 0);
    scratch_write(scratch_path(path, "something"), "", 0);
    assert_int_equal(file_exists(path), 1);
    assert_int_equal(file_is_folder(path), 0);
    assert_int_equal(file_exists(scratch_folder), 1);
    assert_int_equal(file_is_folder(scratch_folder), 1);
}

static void a_lock_keeps_others_out(void **state)
{
    (void)state;
    int lock, other;
    stpn_error error;
    assert_int_equal(file_lock_folder(scratch_folder, &lock, &error), STPN_OK);
    assert_true(lock >= 0);
    assert_failed(file_lock_folder(scratch_folder, &other, &error), STPN_ERROR_INPUT, &error, "another process");
    assert_int_equal(other, -1);
    file_unlock(other);
    file_unlock(lock);
    assert_int_equal(file_lock_folder(scratch_folder, &other, &error), STPN_OK);
    file_unlock(other);
    char path[SCRATCH_PATH];
    assert_failed(file_lock_folder(scratch_path(path, "none"), &lock, &error), STPN_ERROR_INPUT, &error, "none");
    assert_int_equal(lock, -1);
}

static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    int ready[2], lock;
    char byte = 0;
    stpn_error error;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        byte = (char)('0' + (int)file_lock_folder(scratch_folder, &lock, NULL));
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, '0');
    assert_failed(file_lock_folder(scratch_folder, &lock, &error), STPN_ERROR_INPUT, &error, "another process");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(file_lock_folder(scratch_folder, &lock, &error), STPN_OK);
    file_unlock(lock);
    close(ready[0]);
    close(ready[1]);
}

static void appends_to_what_has_the_size_expected(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    int appended = 1;
    stpn_error error;
    scratch_path(path, "appended");
    assert_int_equal(file_append(path, 0, "abc", 3, &appended, &error), STPN_OK);
    assert_int_equal(appended, 0);
    assert_false(file_exists(path));
    scratch_write(path, "12", 2);
    assert_int_equal(file_append(path, 3, "abc", 3, &appended, &error), STPN_OK);
    assert_int_equal(appended, 0);
    scratch_assert_content(path, "12", 2);
    assert_int_equal(file_append(path, 2, "abc", 3, &appended, &error), STPN_OK);
    assert_int_equal(appended, 1);
    assert_int_equal(file_append(path, 5, "", 0, &appended, &error), STPN_OK);
    assert_int_equal(appended, 1);
    scratch_assert_content(path, "12abc", 5);
    assert_failed(file_append(scratch_folder, 0, "a", 1, &appended, &error), STPN_ERROR_SYSTEM, &error,
                  "cannot be written");
}

static void checksums_are_those_of_zlib(void **state)
{
    (void)state;
    char path[SCRATCH_PATH];
    uint32_t crc;
    uint64_t size;
    stpn_error error;
    scratch_write(scratch_path(path, "checked"), "123456789", 9);
    assert_int_equal(file_checksum(path, &crc, &size, &error), STPN_OK);
    assert_int_equal(crc, 0xcbf43926);
    assert_int_equal(size, 9);
    scratch_write(path, "", 0);
    assert_int_equal(file_checksum(path, &crc, &size, &error), STPN_OK);
    assert_true(crc == 0 && size == 0);
    char *much = calloc(100000, 1);
    assert_non_null(much);
    scratch_write(path, much, 100000);
    free(much);
    assert_int_equal(file_checksum(path, &crc, &size, &error), STPN_OK);
    assert_int_equal(size, 100000);
    assert_int_equal(crc, 0xd411957d);
    assert_failed(file_checksum(scratch_folder, &crc, &size, &error), STPN_ERROR_INPUT, &error, "not a regular file");
    assert_failed(file_checksum("/nowhere/x", &crc, &size, &error), STPN_ERROR_INPUT, &error, "cannot be opened");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_whole_files),
        cmocka_unit_test(reads_up_to_the_limit),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(a_pipe_does_not_make_it_wait),
        cmocka_unit_test(writes_and_replaces),
        cmocka_unit_test(replaces_regular_files_alone),
        cmocka_unit_test(writes_much),
        cmocka_unit_test(a_left_over_temporary_file_is_no_obstacle),
        cmocka_unit_test(paths_without_a_folder_work),
        cmocka_unit_test(failed_writes_leave_nothing),
        cmocka_unit_test(makes_folders_with_their_parents),
        cmocka_unit_test(refuses_folders_that_cannot_be),
        cmocka_unit_test(tells_files_from_folders),
        cmocka_unit_test(a_lock_keeps_others_out),
        cmocka_unit_test(a_lock_ends_with_its_process),
        cmocka_unit_test(appends_to_what_has_the_size_expected),
        cmocka_unit_test(checksums_are_those_of_zlib),
    };
    return cmocka_run_group_tests_name("base/file", tests, scratch_make, scratch_remove);
}
