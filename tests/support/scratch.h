/* A folder of its own for a test's files, below $TMPDIR or /tmp, and whole files through stdio (whose system calls
 * failing.c does not touch). Include after cmocka.h. */
#ifndef STPN_TESTS_SCRATCH_H
#define STPN_TESTS_SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_PATH = 4096 };

static char scratch_folder[1024];

/* "FOLDER/NAME" in a buffer of SCRATCH_PATH bytes. */
static inline const char *scratch_path(char *path, const char *name)
{
    int length = snprintf(path, SCRATCH_PATH, "%s/%s", scratch_folder, name);
    assert_true(length > 0 && length < SCRATCH_PATH);
    return path;
}

static inline void scratch_remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char inner[SCRATCH_PATH];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner) continue;
        if (unlink(inner) != 0) scratch_remove_tree(inner);
    }
    if (folder) closedir(folder);
    rmdir(path);
}

/* Group set-up and tear-down. */
static inline int scratch_make(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    int length = snprintf(scratch_folder, sizeof scratch_folder, "%s/stpn-test-XXXXXX", base && *base ? base : "/tmp");
    return length < 0 || (size_t)length >= sizeof scratch_folder || !mkdtemp(scratch_folder);
}

static inline int scratch_remove(void **state)
{
    (void)state;
    scratch_remove_tree(scratch_folder);
    return access(scratch_folder, F_OK) == 0;
}

/* Entries of the folder. */
static inline int scratch_count(void)
{
    DIR *folder = opendir(scratch_folder);
    assert_non_null(folder);
    int count = 0;
    while (readdir(folder)) count++;
    closedir(folder);
    return count - 2;
}

static inline void scratch_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(size == 0 || fwrite(data, 1, size, file) == size);
    assert_int_equal(fclose(file), 0);
}

/* The file's bytes, to be freed; a zero byte stands after their end. */
static inline char *scratch_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *data = calloc(*size + 1, 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static inline void scratch_assert_content(const char *path, const void *expected, size_t expected_size)
{
    size_t size;
    char *data = scratch_read(path, &size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(data, expected, expected_size);
    free(data);
}

#endif
