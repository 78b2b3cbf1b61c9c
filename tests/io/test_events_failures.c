#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/machine.h"
#include "io/events.h"
#include "support/failing.h"
#include "support/scratch.h"

enum { VERSION_RECORD = 40 };

static char path[SCRATCH_PATH];
static stpn_error error;

static metrics rows(int count)
{
    static const char heading[] = "epoch,updates,train_loss,train_accuracy,validation_loss,seconds\n";
    metrics m = {0};
    char line[128];
    assert_true(buffer_append(&m.text, heading, sizeof heading - 1));
    for (int i = 1; i <= count; i++) {
        snprintf(line, sizeof line, "%d,%d,%.9g,0.125,2.25,%.3f\n", i, 10 * i, 2.5 / i, 1.5 * i);
        assert_true(buffer_append(&m.text, line, strlen(line)));
        m.seconds = 1.5 * i;
    }
    return m;
}

static void save(events *e, const metrics *m)
{
    if (events_save(e, m, path, &error)) fail_msg("%s", error.message);
}

/* What one call leaves where nothing was before; to be freed. */
static char *whole(int count, size_t *size)
{
    events e = {0};
    metrics m = rows(count);
    unlink(path);
    save(&e, &m);
    events_free(&e);
    metrics_free(&m);
    return scratch_read(path, size);
}

static uint64_t length_at(const char *data)
{
    uint64_t length;
    memcpy(&length, data, sizeof length);
    return length;
}

static void records_are_framed(void **state)
{
    (void)state;
    scratch_path(path, "framed");
    size_t size, at = 0;
    char *file = whole(3, &size);
    double start;
    int records = 0;
    for (; at < size; records++) at += 12 + length_at(file + at) + 4;
    assert_int_equal(at, size);
    assert_int_equal(records, 4);
    assert_int_equal(length_at(file), 24);
    memcpy(&start, file + 13, sizeof start);
    assert_true(start > 1.6e9 && start <= machine_clock() - 4.5);
    assert_memory_equal(file + 21,
                        "\x1a\x0d"
                        "brain.Event:2",
                        15);
    /* The masked CRC32C of the eight bytes 24 0 0 ..., by another program. */
    assert_memory_equal(file + 8, "\xa3\x7f\x4b\x22", 4);
    free(file);
}

static void one_row_at_a_time_gives_the_same_file(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    scratch_path(path, "growing");
    events e = {0};
    metrics m = rows(0);
    unlink(path);
    save(&e, &m);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(before.st_size, VERSION_RECORD);
    for (int i = 1; i <= ROWS; i++) {
        metrics_free(&m);
        m = rows(i);
        save(&e, &m);
        save(&e, &m);
    }
    assert_int_equal(stat(path, &after), 0);
    /* Who follows the file has it open. */
    assert_true(after.st_ino == before.st_ino);
    scratch_assert_content(path, e.records.data, e.records.size);
    /* Another process goes on with the same clock. */
    events again = {0};
    save(&again, &m);
    assert_true(again.start == e.start);
    scratch_assert_content(path, e.records.data, e.records.size);
    assert_int_equal(again.records.size, e.records.size);
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_ino == before.st_ino);
    events_free(&again);
    events_free(&e);
    metrics_free(&m);
}

static void a_torn_file_is_mended(void **state)
{
    (void)state;
    scratch_path(path, "torn");
    size_t size;
    char *file = whole(3, &size);
    for (size_t left = 0; left <= size; left += 5) {
        events e = {0};
        metrics m = rows(3);
        scratch_write(path, file, left);
        save(&e, &m);
        if (left >= VERSION_RECORD) scratch_assert_content(path, file, size);
        else scratch_assert_content(path, e.records.data, size);
        events_free(&e);
        metrics_free(&m);
    }
    free(file);
}

static void a_changed_or_foreign_file_is_replaced(void **state)
{
    (void)state;
    scratch_path(path, "foreign");
    size_t size;
    char *file = whole(3, &size);
    for (size_t i = 0; i < size; i += 5) {
        events e = {0};
        metrics m = rows(3);
        file[i] ^= 1;
        scratch_write(path, file, size);
        file[i] ^= 1;
        save(&e, &m);
        if (i >= VERSION_RECORD) scratch_assert_content(path, file, size);
        else scratch_assert_content(path, e.records.data, size);
        events_free(&e);
        metrics_free(&m);
    }
    free(file);
}

static void rows_past_a_checkpoint_are_dropped(void **state)
{
    (void)state;
    scratch_path(path, "back");
    size_t size, shorter;
    char *file = whole(5, &size);
    events e = {0};
    metrics m = rows(3);
    save(&e, &m);
    shorter = e.records.size;
    assert_true(shorter < size);
    scratch_assert_content(path, file, shorter);
    events_free(&e);
    metrics_free(&m);
    free(file);
}

static void a_file_that_somebody_removed_comes_back(void **state)
{
    (void)state;
    scratch_path(path, "removed");
    events e = {0};
    metrics m = rows(2);
    unlink(path);
    save(&e, &m);
    unlink(path);
    metrics_free(&m);
    m = rows(3);
    save(&e, &m);
    scratch_assert_content(path, e.records.data, e.records.size);
    scratch_write(path, "short", 5);
    save(&e, &m);
    scratch_assert_content(path, e.records.data, e.records.size);
    events_free(&e);
    metrics_free(&m);
}

static void what_is_no_number_has_no_value(void **state)
{
    (void)state;
    scratch_path(path, "numbers");
    events e = {0};
    metrics m = {0};
    static const char text[] = "epoch,train_loss,validation_loss,note\n7,nan,0.5,text\n8,,inf,\n9,1\n";
    assert_true(buffer_append(&m.text, text, sizeof text - 1));
    save(&e, &m);
    size_t size;
    char *file = scratch_read(path, &size);
    /* 12 of the frame, 9 of the clock, 2 of the step, 2 of the summary's start, then the values. */
    const char *first = file + VERSION_RECORD;
    static const char value[] = "\x2a\x18\x0a\x16\x0a\x0floss/validation\x15\x00\x00\x00\x3f";
    assert_memory_equal(first + 21, "\x10\x07", 2);
    assert_int_equal(length_at(first), 9 + 2 + sizeof value - 1);
    assert_memory_equal(first + 23, value, sizeof value - 1);
    /* The empty cell before it is stepped over. */
    const char *second = first + 12 + length_at(first) + 4;
    assert_int_equal(length_at(second), length_at(first));
    assert_memory_equal(second + 21, "\x10\x08", 2);
    assert_memory_equal(second + 23 + sizeof value - 3, "\x80\x7f", 2);
    free(file);
    events_free(&e);
    metrics_free(&m);
}

static void failures_are_told_and_mended(void **state)
{
    (void)state;
    scratch_path(path, "failures");
    size_t size;
    char *file = whole(2, &size);
    free(file);
    const long live = failing_live();
    for (int kind = 0; kind < FAILING_CALL_COUNT; kind++)
        for (long n = 1;; n++) {
            events e = {0};
            metrics m = rows(1);
            unlink(path);
            save(&e, &m);
            metrics_free(&m);
            m = rows(2);
            failing_set_call((failing_call)kind, n, 5);
            stpn_status status = events_save(&e, &m, path, &error);
            long tried = failing_calls((failing_call)kind);
            failing_reset();
            if (status) {
                assert_int_equal(status, STPN_ERROR_SYSTEM);
                assert_non_null(strstr(error.message, path));
                save(&e, &m);
            }
            scratch_assert_content(path, e.records.data, e.records.size);
            assert_int_equal(e.records.size, size);
            events_free(&e);
            metrics_free(&m);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
    for (long room = 0; room < 50; room++) {
        events e = {0};
        metrics m = rows(1);
        unlink(path);
        save(&e, &m);
        metrics_free(&m);
        m = rows(2);
        failing_set_disk(room);
        assert_int_equal(events_save(&e, &m, path, &error), STPN_ERROR_SYSTEM);
        failing_reset();
        save(&e, &m);
        scratch_assert_content(path, e.records.data, e.records.size);
        events_free(&e);
        metrics_free(&m);
    }
}

static void memory_that_is_out_is_told(void **state)
{
    (void)state;
    scratch_path(path, "memory");
    const long live = failing_live();
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1;; n++) {
            events e = {0};
            metrics m = rows(2);
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            stpn_status status = events_save(&e, &m, path, &error);
            long tried = failing_allocations();
            failing_reset();
            assert_int_equal(status, tried < n ? STPN_OK : STPN_ERROR_MEMORY);
            save(&e, &m);
            scratch_assert_content(path, e.records.data, e.records.size);
            events_free(&e);
            metrics_free(&m);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_framed),
        cmocka_unit_test(one_row_at_a_time_gives_the_same_file),
        cmocka_unit_test(a_torn_file_is_mended),
        cmocka_unit_test(a_changed_or_foreign_file_is_replaced),
        cmocka_unit_test(rows_past_a_checkpoint_are_dropped),
        cmocka_unit_test(a_file_that_somebody_removed_comes_back),
        cmocka_unit_test(what_is_no_number_has_no_value),
        cmocka_unit_test(failures_are_told_and_mended),
        cmocka_unit_test(memory_that_is_out_is_told),
    };
    return cmocka_run_group_tests_name("io/events", tests, scratch_make, scratch_remove);
}
