/* Memory of PPO: every allocation of its making fails cleanly, and a rollout allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ppo_case.h"
#include "support/failing.h"

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    stpn_pool *pool;
    assert_int_equal(stpn_pool_create(&pool, 2, NULL), STPN_OK);
    for (int continuous = 0; continuous < 2; continuous++) {
        agent_case c = agent_case_default();
        c.continuous = continuous;
        c.units = 2;
        stpn_net *net = agent_net(&c);
        const learner_plan plan = {.batch = 40, .steps = 3, .continuous = continuous ? CASE_VALUES : 0};
        long before = failing_live(), n = 0;
        stpn_status status = STPN_ERROR_MEMORY;
        while (status) {
            ppo *p = NULL;
            failing_set_allocation(++n);
            status = ppo_create(&p, net, &c.train, &c.options, &plan, pool, 1, &error);
            failing_reset();
            if (status) {
                assert_int_equal(status, STPN_ERROR_MEMORY);
                assert_non_null(strstr(error.message, "out of memory"));
                assert_null(p);
            }
            ppo_free(p);
            assert_int_equal(failing_live(), before);
        }
        assert_true(n > 50);
        stpn_net_free(net);
    }
    stpn_pool_free(pool);
}

static void a_rollout_allocates_nothing(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.ends = 2;
    c.ahead = 1;
    agent g = agent_start(&c);
    ppo_stats stats;
    failing_set_allocations_from(1);
    for (uint64_t r = 0; r < 2; r++) assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
    ppo_restart_range(g.p, 0, c.batch);
    ppo_drop(g.p);
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
