/* Run folders for the tests of runs: small experiments, and comparisons of what runs left. Include after cmocka.h. */
#ifndef STPN_TESTS_RUN_SUPPORT_H
#define STPN_TESTS_RUN_SUPPORT_H

#include "io/json.h"
#include "io/safetensors.h"
#include "support/scratch.h"
#include "train/run.h"

/* Group set-up: as scratch_make, in memory where there is such a folder, for runs sync thousands of times. */
static inline int make_run_scratch(void **state)
{
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    return scratch_make(state);
}

/* FOLDER/NAME in one of a few buffers, used in turn. */
static inline const char *run_file(const char *folder, const char *name)
{
    enum { BUFFERS = 4 };
    static char paths[BUFFERS][SCRATCH_PATH];
    static int next;
    char *path = paths[next = (next + 1) % BUFFERS];
    int length = snprintf(path, SCRATCH_PATH, "%s/%s", folder, name);
    assert_true(length > 0 && length < SCRATCH_PATH);
    return path;
}

static inline int is_there(const char *folder, const char *name)
{
    return access(run_file(folder, name), F_OK) == 0;
}

static inline void assert_same_file(const char *a, const char *b, const char *name)
{
    size_t sizes[2];
    char *data[2] = {scratch_read(run_file(a, name), &sizes[0]), scratch_read(run_file(b, name), &sizes[1])};
    if (sizes[0] != sizes[1] || memcmp(data[0], data[1], sizes[0]) != 0) fail_msg("%s differs: %s, %s", name, a, b);
    free(data[0]);
    free(data[1]);
}

static inline json_t *read_document(const char *folder, const char *name)
{
    stpn_error error;
    json_t *object;
    if (json_read_file(&object, run_file(folder, name), &error)) fail_msg("%s", error.message);
    return object;
}

/* Rows of metrics.csv up to the columns that tell the time. */
static inline void assert_same_metrics(const char *a, const char *b)
{
    char *data[2], *at[2];
    size_t size;
    for (int i = 0; i < 2; i++) at[i] = data[i] = scratch_read(run_file(i ? b : a, RUN_METRICS), &size);
    int timeless = 0;
    for (const char *c = data[0]; c < strstr(data[0], ",seconds,"); c++) timeless += *c == ',';
    timeless++;
    for (int row = 0; *at[0] || *at[1]; row++) {
        size_t length[2];
        for (int i = 0; i < 2; i++) {
            char *end = at[i];
            for (int commas = 0; *end && *end != '\n' && commas < timeless; end++) commas += *end == ',';
            length[i] = (size_t)(end - at[i]);
        }
        if (length[0] != length[1] || memcmp(at[0], at[1], length[0]) != 0)
            fail_msg("row %d of metrics.csv is \"%.*s\" and \"%.*s\"", row, (int)length[0], at[0], (int)length[1],
                     at[1]);
        for (int i = 0; i < 2; i++) at[i] += strcspn(at[i], "\n") + (strchr(at[i], '\n') != NULL);
    }
    free(data[0]);
    free(data[1]);
}

/* summary.json but for what depends on time and machine. */
static inline void assert_same_summary(const char *a, const char *b)
{
    static const char *const times[] = {"wall_seconds", "sequences_per_second", "iterations_per_second",
                                        "steps_per_second", "peak_memory_bytes"};
    json_t *documents[2] = {read_document(a, RUN_SUMMARY), read_document(b, RUN_SUMMARY)};
    for (int i = 0; i < 2; i++) {
        json_t *train = json_object_get(documents[i], "train");
        assert_true(json_is_object(json_object_get(documents[i], "machine")));
        json_object_del(documents[i], "machine");
        for (size_t k = 0; k < sizeof times / sizeof *times; k++) {
            const json_t *value = json_object_get(train, times[k]);
            assert_true(value ? json_number_value(value) > 0 : strstr(times[k], "per_second") != NULL);
            json_object_del(train, times[k]);
        }
    }
    char place[128];
    if (json_difference(documents[0], documents[1], place, sizeof place)) fail_msg("summaries differ at %s", place);
    json_decref(documents[0]);
    json_decref(documents[1]);
}

/* Two finished runs of one experiment. */
static inline void assert_same_runs(const char *a, const char *b)
{
    assert_same_file(a, b, RUN_EXPERIMENT);
    assert_same_file(a, b, RUN_LAST);
    assert_same_file(a, b, RUN_BEST);
    assert_same_metrics(a, b);
    assert_same_summary(a, b);
    assert_false(is_there(b, RUN_LAST ".tmp"));
}

/* A number for the names and bytes of a folder's files; with `times`, for when and where they were written, too. */
static inline uint64_t folder_print(const char *path, int times)
{
    DIR *folder = opendir(path);
    assert_non_null(folder);
    uint64_t print = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.') continue;
        size_t size;
        char *data = scratch_read(run_file(path, entry->d_name), &size);
        struct stat info;
        assert_int_equal(stat(run_file(path, entry->d_name), &info), 0);
        uint64_t one = UINT64_C(14695981039346656037);
        for (const char *c = entry->d_name; *c; c++) one = (one ^ (unsigned char)*c) * UINT64_C(1099511628211);
        for (size_t i = 0; i < size; i++) one = (one ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
        if (times)
            one += (uint64_t)info.st_ino * 31 + (uint64_t)info.st_mtim.tv_nsec * 37 + (uint64_t)info.st_mtim.tv_sec;
        print += one; /* whatever the order of the entries */
        free(data);
    }
    closedir(folder);
    return print;
}

static inline void copy_file(const char *from, const char *to, const char *name)
{
    size_t size;
    char *data = scratch_read(run_file(from, name), &size);
    scratch_write(run_file(to, name), data, size);
    free(data);
}

static inline void copy_folder(const char *from, const char *to)
{
    assert_int_equal(mkdir(to, 0777), 0);
    DIR *folder = opendir(from);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (entry->d_name[0] != '.') copy_file(from, to, entry->d_name);
    closedir(folder);
}

#endif
