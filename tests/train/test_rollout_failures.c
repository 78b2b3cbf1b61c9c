/* Memory of episodes and of a whole run in an environment: what fails is an error, and loses nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "run_support.h"
#include "support/effort.h"
#include "support/failing.h"
#include "train/rollout.h"

static stpn_error error;

static const char text[] = "{\"name\": \"small\", \"task\": {\"name\": \"maze\", \"size\": 5, \"steps\": 6},\n"
                           " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 3}],\n"
                           " \"train\": {\"iterations\": 2, \"batch\": 20, \"test_iterations\": 1, \"burn_in\": 0}}";

static void making_episodes_fails_cleanly(void **state)
{
    (void)state;
    on_one_thread();
    experiment e;
    stpn_net *net;
    assert_int_equal(experiment_parse(&e, "small", text, sizeof text - 1, NULL, 0, NULL, &error), STPN_OK);
    assert_int_equal(experiment_net(&net, &e, STPN_FLOAT, &error), STPN_OK);
    for (int kind = 0; kind < 3; kind++) {
        const long before = failing_live();
        stpn_status status = STPN_ERROR_MEMORY;
        long n = 0;
        while (status) {
            rollout *r = (rollout *)1;
            failing_set_allocation(++n);
            status = kind == 2 ? rollout_create_policy(&r, &e, e.env->oracle, NULL, &error)
                               : rollout_create(&r, &e, net, kind, NULL, &error);
            failing_reset();
            if (status) {
                assert_int_equal(status, STPN_ERROR_MEMORY);
                assert_non_null(strstr(error.message, "out of memory"));
                assert_null(r);
            }
            rollout_free(r);
            assert_int_equal(failing_live(), before);
        }
        assert_true(n > 10);
    }
    stpn_net_free(net);
    experiment_free(&e);
}

static void episodes_allocate_nothing(void **state)
{
    (void)state;
    on_one_thread();
    experiment e;
    stpn_net *net;
    rollout *r;
    a2c_stats stats;
    assert_int_equal(experiment_parse(&e, "small", text, sizeof text - 1, NULL, 0, NULL, &error), STPN_OK);
    assert_int_equal(experiment_net(&net, &e, STPN_FLOAT, &error), STPN_OK);
    stpn_net_init(net, 1);
    assert_int_equal(rollout_create(&r, &e, net, 1, NULL, &error), STPN_OK);
    failing_set_allocations_from(1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rollout_play(r, ACT_SAMPLE, &error), STPN_OK);
        assert_int_equal(a2c_update(rollout_agent(r), NULL, &stats, &error), STPN_OK);
    }
    assert_int_equal(failing_allocations(), 0);
    failing_reset();
    rollout_free(r);
    stpn_net_free(net);
    experiment_free(&e);
}

static stpn_status train(const char *out)
{
    const stpn_run_options o = {.file = "small.json", .out = out, .resume = 1, .threads = 1};
    return stpn_run_train(&o, NULL, 0, &error);
}

/* Wherever memory runs out, the run goes on from there to the same bytes. */
static void a_run_survives_failed_allocations(void **state)
{
    (void)state;
    on_one_thread();
    assert_int_equal(train("whole"), STPN_OK);
    stpn_status status = STPN_ERROR_MEMORY;
    long n = 1, failed = 0;
    while (status) {
        const long before = failing_live();
        failing_set_allocation(n);
        status = train("run");
        failing_reset();
        if (status) assert_int_equal(status, STPN_ERROR_MEMORY);
        assert_int_equal(failing_live(), before);
        failed += status != STPN_OK;
        if (status) assert_int_equal(train("run"), STPN_OK);
        fprintf(stderr, "n %ld status %d %s\n", n, status, error.message);
        assert_same_runs("whole", "run");
        scratch_remove_tree("run");
        n += 1 + n / (SHARED_OUT ? 4 : 16);
    }
    assert_true(failed > 20);
}

static int make_experiment(void **state)
{
    if (make_run_scratch(state)) return 1;
    char path[SCRATCH_PATH];
    scratch_write(scratch_path(path, "small.json"), text, sizeof text - 1);
    failing_use_for_jansson();
    return chdir(scratch_folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(making_episodes_fails_cleanly),
        cmocka_unit_test(episodes_allocate_nothing),
        cmocka_unit_test(a_run_survives_failed_allocations),
    };
    return cmocka_run_group_tests_name("train/rollout_failures", tests, make_experiment, NULL);
}
