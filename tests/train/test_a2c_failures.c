/* Memory of the actor-critic: every allocation of its making fails cleanly, and a rollout allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "a2c_case.h"
#include "support/failing.h"

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    stpn_net *net = agent_net(STPN_FLOAT, 2);
    const train_options train = train_option_defaults();
    const a2c_options options = a2c_option_defaults();
    stpn_pool *pool;
    assert_int_equal(stpn_pool_create(&pool, 2, NULL), STPN_OK);
    for (int steps = 0; steps <= 3; steps += 3) {
        const learner_plan plan = {.batch = 40, .steps = steps};
        long before = failing_live(), n = 0;
        stpn_status status = STPN_ERROR_MEMORY;
        while (status) {
            a2c *a = NULL;
            failing_set_allocation(++n);
            status = a2c_create(&a, net, &train, &options, &plan, pool, 1, &error);
            failing_reset();
            if (status) {
                assert_int_equal(status, STPN_ERROR_MEMORY);
                assert_non_null(strstr(error.message, "out of memory"));
                assert_null(a);
            }
            a2c_free(a);
            assert_int_equal(failing_live(), before);
        }
        assert_true(n > (steps ? 30 : 10));
    }
    stpn_pool_free(pool);
    stpn_net_free(net);
}

static void a_rollout_allocates_nothing(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.ends = 2;
    c.ahead = 1;
    agent g = agent_start(&c);
    a2c_stats stats;
    failing_set_allocations_from(1);
    for (uint64_t r = 0; r < 2; r++) assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
    a2c_restart(g.a);
    a2c_drop(g.a, &stats);
    assert_int_equal(failing_allocations(), 0);
    failing_reset();
    agent_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(a_rollout_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
