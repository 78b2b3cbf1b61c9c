/* Memory of agents and environments: every allocation of their making, saving and loading fails cleanly, and a loop of a
 * caller allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "support/failing.h"
#include "support/scratch.h"
#include "train/agent.h"

static stpn_error error;

static const char experiment_text[] =
    "{\"name\": \"n\", \"task\": {\"name\": \"gym\", \"id\": \"own\", \"observations\": 3, \"actions\": 2},"
    " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 3}], \"train\": {\"method\": \"ppo\", \"rollout\": 4, \"batch\": "
    "20,"
    " \"normalise_observations\": true, \"normalise_rewards\": true}}";
enum { COPIES = 20 };

typedef enum making { MAKE_AGENT, MAKE_ACTOR, MAKE_LOADED, MAKE_SAVED, MAKE_ENV, MAKINGS } making;

static stpn_agent *agent;
static char path[SCRATCH_PATH];

static stpn_status make(making what, stpn_agent **a, stpn_env **e)
{
    switch (what) {
    case MAKE_AGENT: return stpn_agent_create(a, experiment_text, 1, &error);
    case MAKE_ACTOR: return stpn_agent_create_actor(a, agent, 3, 1, &error);
    case MAKE_LOADED: return stpn_agent_load(a, path, 1, &error);
    case MAKE_SAVED: return stpn_agent_save(agent, path, &error);
    default: return stpn_env_create(e, "{\"name\": \"maze\"}", 3, 0, &error);
    }
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(stpn_agent_create(&agent, experiment_text, 1, &error), STPN_OK);
    assert_int_equal(stpn_agent_save(agent, scratch_path(path, "agent"), &error), STPN_OK);
    for (int what = 0; what < MAKINGS; what++) {
        long before = failing_live(), n = 0;
        stpn_status status = STPN_ERROR_MEMORY;
        while (status) {
            stpn_agent *a = NULL;
            stpn_env *e = NULL;
            failing_set_allocation(++n);
            status = make((making)what, &a, &e);
            failing_reset();
            if (status && status != STPN_ERROR_MEMORY) fail_msg("%d, allocation %ld: %s", what, n, error.message);
            if (status) assert_non_null(strstr(error.message, "out of memory"));
            assert_true(!status || (!a && !e));
            stpn_agent_free(a);
            stpn_env_free(e);
            assert_int_equal(failing_live(), before);
        }
        assert_true(n > 3);
    }
    stpn_agent_free(agent);
}

static void a_loop_allocates_nothing(void **state)
{
    (void)state;
    float x[COPIES * 3] = {1}, rewards[COPIES] = {2};
    int32_t actions[COPIES];
    uint8_t ends[COPIES] = {STPN_TERMINATED, STPN_TRUNCATED, STPN_SKIPPED};
    assert_int_equal(stpn_agent_create(&agent, experiment_text, 2, &error), STPN_OK);
    failing_set_allocations_from(1);
    for (int u = 0; u < 2; u++) {
        for (int t = 0; t < 4; t++) {
            assert_int_equal(stpn_agent_act(agent, x, STPN_CHOICE_SAMPLE, actions, &error), STPN_OK);
            assert_int_equal(stpn_agent_record(agent, rewards, ends, x, &error), STPN_OK);
        }
        assert_int_equal(stpn_agent_update(agent, x, &error), STPN_OK);
    }
    stpn_agent_restart(agent);
    assert_int_equal(failing_allocations(), 0);
    failing_reset();
    stpn_agent_free(agent);
}

int main(void)
{
    failing_use_for_jansson();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(a_loop_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
