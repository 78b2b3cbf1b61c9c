/* Every allocation and every system call of a trace made to fail in turn: an error, nothing left allocated, and the file
 * that stood there stays. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>

#include "cli/trace_record.h"
#include "support/lost.h"

static const char experiment_text[] =
    "{\"name\": \"small\", \"task\": {\"name\": \"retrieval\", \"train\": 32, \"validation\": 4, \"test\": 4},"
    "\"units\": [{\"name\": \"stpn_r\", \"hidden\": 5}], \"train\": {\"epochs\": 1, \"batch\": 32}}";

static run opened;
static char path[SCRATCH_PATH];

static int open_run(void **state)
{
    char file[SCRATCH_PATH], folder[SCRATCH_PATH];
    stpn_error error;
    if (scratch_make(state)) return 1;
    scratch_path(folder, "run");
    scratch_path(path, "trace");
    FILE *stream = fopen(scratch_path(file, "small.json"), "w");
    assert_non_null(stream);
    fputs(experiment_text, stream);
    assert_int_equal(fclose(stream), 0);
    stpn_run_options options = {.file = file, .out = folder, .threads = 1};
    if (stpn_run_train(&options, NULL, 0, &error)) fail_msg("%s", error.message);
    if (run_open_folder(&opened, folder, 0, 1, &error)) fail_msg("%s", error.message);
    failing_use_for_jansson();
    return 0;
}

static int close_run(void **state)
{
    failing_reset();
    run_close(&opened);
    return scratch_remove(state);
}

static stpn_status trace(int from_test, stpn_error *error)
{
    trace_record record = {0};
    stpn_status status = from_test ? trace_from_test(&record, &opened, 3, 0, error)
                                   : trace_from_text(&record, &opened, "c9k8j3??k", error);
    if (!status) status = trace_run(&record, error);
    if (!status) status = trace_save(&record, 0, path, error);
    trace_free(&record);
    return status;
}

static void every_allocation(void **state)
{
    (void)state;
    for (int from_test = 0; from_test < 2; from_test++) {
        stpn_error error;
        size_t size;
        failing_reset();
        assert_int_equal(trace(from_test, &error), STPN_OK);
        long count = failing_allocations();
        assert_true(count > 20);
        char *before = scratch_read(path, &size);
        long live = failing_live();
        for (long n = 1; n <= count; n++) {
            failing_set_allocation(n);
            assert_nothing_lost(trace(from_test, &error), STPN_ERROR_MEMORY, &error, live, path, before, size);
            failing_set_allocations_from(n);
            assert_nothing_lost(trace(from_test, &error), STPN_ERROR_MEMORY, &error, live, path, before, size);
        }
        free(before);
    }
}

static void a_full_disk(void **state)
{
    (void)state;
    stpn_error error;
    size_t size;
    failing_reset();
    assert_int_equal(trace(0, &error), STPN_OK);
    char *before = scratch_read(path, &size);
    long live = failing_live();
    for (long room = 0; room < (long)size; room += 997) {
        failing_set_disk(room);
        assert_nothing_lost(trace(0, &error), STPN_ERROR_SYSTEM, &error, live, path, before, size);
    }
    failing_set_call(FAILING_FSYNC, 1, EIO);
    assert_nothing_lost(trace(0, &error), STPN_ERROR_SYSTEM, &error, live, path, before, size);
    failing_set_call(FAILING_RENAME, 1, EACCES);
    assert_nothing_lost(trace(0, &error), STPN_ERROR_SYSTEM, &error, live, path, before, size);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation),
        cmocka_unit_test(a_full_disk),
    };
    return cmocka_run_group_tests(tests, open_run, close_run);
}
