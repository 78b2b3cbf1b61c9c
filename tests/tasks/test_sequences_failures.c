/* Reading own data where memory is out, one allocation after the other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "support/failing.h"
#include "support/scratch.h"
#include "tasks/task.h"

static stpn_status describe_and_draw(const task_options *o, stpn_error *error)
{
    task_shape shape;
    task_data data;
    stpn_status status = task_sequences.describe(o, &shape, error);
    if (status) return status;
    status = task_sequences.draw(o, 1, &data, error);
    if (!status) assert_true(task_shape_fits(&shape, &data));
    task_data_free(&data);
    return status;
}

static void fail_each_allocation(const task_options *o)
{
    const long live = failing_live();
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1;; n++) {
            stpn_error error = {""};
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            stpn_status status = describe_and_draw(o, &error);
            long tried = failing_allocations();
            failing_reset();
            if (status != (tried < n ? STPN_OK : STPN_ERROR_MEMORY))
                fail_msg("allocation %ld: status %d, \"%s\"", n, status, error.message);
            if (status) assert_memory_equal(error.message, "out of memory", 13);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
}

static task_options of_file(const char *name)
{
    task_options o = task_sequences.defaults;
    strcpy(o.file, name);
    strcpy(o.folder, scratch_folder);
    o.validation_fraction = o.test_fraction = 0.3;
    return o;
}

static void tables(void **state)
{
    (void)state;
    static const char text[] = "id,x,y,word\na,1,2,up\na,2,3,\nb,1,2,down\nb,5,5,up\nc,1,1,up\nd,1,1,up\n";
    char path[SCRATCH_PATH];
    scratch_write(scratch_path(path, "table.csv"), text, sizeof text - 1);
    task_options o = of_file("table.csv");
    strcpy(o.sequence, "id");
    strcpy(o.inputs, "x, y");
    strcpy(o.label, "word");
    fail_each_allocation(&o);
    strcpy(o.label, "");
    strcpy(o.target, "y,x");
    strcpy(o.sequence, "");
    o.standardise = 1;
    o.window = 2;
    fail_each_allocation(&o);
}

static void arrays(void **state)
{
    (void)state;
    task_options o = task_sequences.defaults;
    snprintf(o.file, sizeof o.file, "%s", STPN_SOURCE_DIR "/tests/fuzz/corpus_npz/sequences.npz");
    fail_each_allocation(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables), cmocka_unit_test(arrays)};
    return cmocka_run_group_tests_name("tasks/sequences, failures", tests, scratch_make, scratch_remove);
}
