/* Reading and planning a sweep where memory is out, one allocation after the other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/sweep_plan.h"
#include "support/failing.h"
#include "support/scratch.h"

static const char experiment_text[] =
    "{\"name\": \"small\", \"task\": {\"name\": \"retrieval\", \"train\": 32, \"validation\": 4, \"test\": 4},"
    "\"units\": [{\"name\": \"stpn_r\", \"hidden\": 5}], \"train\": {\"epochs\": 1, \"batch\": 32}}";
static const char sweep_text[] =
    "{\"experiment\": \"small.json\", \"search\": \"halving\", \"runs\": 3, \"factor\": 2,"
    "\"budget\": [1, 2], \"seeds\": \"0-1\", \"set\": [\"task.pairs=2\"],"
    "\"keys\": {\"train.learning_rate\": {\"log\": [0.001, 0.1]}, \"units.0.norm\": [\"pre\"]}}";

static int plan_sweep(const char *path, const char *out)
{
    static const char *const set[] = {"train.batch=16"};
    sweep s;
    sweep_plan p = {0};
    json_t *resolved = NULL;
    int ended = 0, code = sweep_read(&s, path, set, 1);
    if (!code) code = sweep_plan_open(&p, &s, out);
    if (!code) code = sweep_plan_add_round(&p);
    if (!code) code = sweep_plan_rank(&p, &ended);
    if (!code) code = sweep_plan_add_round(&p);
    if (!code) {
        assert_int_equal(p.all.run_count, 8);
        assert_false(ended);
        resolved = sweep_resolved(&s);
        code = resolved ? EXIT_DONE : EXIT_SYSTEM_FAILED;
    }
    json_decref(resolved);
    sweep_plan_free(&p);
    sweep_free(&s);
    return code;
}

static void every_allocation(void **state)
{
    (void)state;
    char file[SCRATCH_PATH], path[SCRATCH_PATH], out[SCRATCH_PATH];
    scratch_write(scratch_path(file, "small.json"), experiment_text, sizeof experiment_text - 1);
    scratch_write(scratch_path(path, "sweep.json"), sweep_text, sizeof sweep_text - 1);
    scratch_path(out, "runs");
    failing_use_for_jansson();
    failing_reset();
    assert_int_equal(plan_sweep(path, out), EXIT_DONE);
    const long live = failing_live();
    for (int lasting = 0; lasting < 2; lasting++)
        for (long n = 1;; n++) {
            if (lasting) failing_set_allocations_from(n);
            else failing_set_allocation(n);
            int code = plan_sweep(path, out);
            long tried = failing_allocations();
            failing_reset();
            if (code != (tried < n ? EXIT_DONE : EXIT_SYSTEM_FAILED)) fail_msg("allocation %ld: code %d", n, code);
            assert_int_equal(failing_live(), live);
            if (tried < n) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests_name("cli/sweep, failures", tests, scratch_make, scratch_remove);
}
