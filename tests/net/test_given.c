#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "support/small_net.h"

/* What a caller does not give, or takes from another network: an input error, or nothing done, never a stray access. */

enum { MOST = 128 };

/* `call` uses `error`. */
#define assert_missing(name, call)                           \
    do {                                                     \
        stpn_error error;                                    \
        assert_int_equal(call, STPN_ERROR_INPUT);            \
        assert_string_equal(error.message, name " is NULL"); \
    } while (0)

static void pointers_of_networks(void **state)
{
    (void)state;
    small_net b = small_net_open(H, T, B);
    static float x[T * B * I], y[T * B * H];
    const stpn_sequence q = {.steps = T, .batch = B, .x = x};
    stpn_unit unit = stpn_unit_default("stpn_r", H);
    const stpn_net_desc desc = {.inputs = I, .units = &unit, .unit_count = 1};
    stpn_net *net = b.net;
    stpn_state *s = b.state;
    stpn_tape *tape = b.tape;
    stpn_adam *adam = b.adam;
    stpn_pool *pool;
    assert_missing("net", stpn_net_create(NULL, &desc, &error));
    assert_missing("desc", stpn_net_create(&net, NULL, &error));
    assert_null(net);
    assert_missing("net", stpn_net_save(NULL, "net", &error));
    assert_missing("path", stpn_net_save(b.net, NULL, &error));
    assert_missing("net", stpn_net_load(NULL, "net", &error));
    assert_missing("path", stpn_net_load(b.net, NULL, &error));
    assert_missing("pool", stpn_pool_create(NULL, 1, &error));
    assert_int_equal(stpn_pool_create(&pool, 1, NULL), STPN_OK);
    stpn_pool_free(pool);
    assert_missing("state", stpn_state_create(NULL, b.net, 1, &error));
    assert_missing("net", stpn_state_create(&s, NULL, 1, &error));
    assert_null(s);
    assert_missing("state", stpn_state_set(NULL, 0, x, &error));
    assert_missing("values", stpn_state_set(b.state, 0, NULL, &error));
    assert_missing("tape", stpn_tape_create(NULL, b.net, 1, 1, 1, &error));
    assert_missing("net", stpn_tape_create(&tape, NULL, 1, 1, 1, &error));
    assert_null(tape);
    assert_missing("net", stpn_forward(NULL, b.state, &q, y, NULL, b.tape, NULL, &error));
    assert_missing("state", stpn_forward(b.net, NULL, &q, y, NULL, b.tape, NULL, &error));
    assert_missing("sequence", stpn_forward(b.net, b.state, NULL, y, NULL, b.tape, NULL, &error));
    assert_missing("net", stpn_backward(NULL, b.tape, y, NULL, b.grad, NULL, NULL, &error));
    assert_missing("tape", stpn_backward(b.net, NULL, y, NULL, b.grad, NULL, NULL, &error));
    assert_missing("adam", stpn_adam_create(NULL, b.net, 0.1, 0.9, 0.999, 1e-8, &error));
    assert_missing("net", stpn_adam_create(&adam, NULL, 0.1, 0.9, 0.999, 1e-8, &error));
    assert_null(adam);
    assert_missing("adam", stpn_adam_set_learning_rate(NULL, 0.1, &error));
    assert_missing("adam", stpn_adam_set_weight_decay(NULL, 0.1, &error));
    small_net_close(&b);
}

static void pointers_of_environments_agents_and_runs(void **state)
{
    (void)state;
    static const char experiment[] =
        "{\"name\": \"n\", \"task\": {\"name\": \"gym\", \"id\": \"mine\", \"observations\": 2, \"actions\": 2},"
        " \"units\": [{\"name\": \"rnn\", \"hidden\": 3}],"
        " \"train\": {\"method\": \"a2c\", \"batch\": 1, \"rollout\": 2}}";
    stpn_error why;
    stpn_env *env;
    stpn_agent *agent, *none;
    float observations[2] = {0};
    int32_t action = 0;
    assert_missing("env", stpn_env_create(NULL, "{}", 1, 0, &error));
    assert_missing("task", stpn_env_create(&env, NULL, 1, 0, &error));
    assert_missing("env", stpn_env_reset(NULL, 0, 1, observations, &error));
    assert_missing("env", stpn_env_step(NULL, 0, 1, &action, observations, observations, NULL, &error));
    assert_missing("agent", stpn_agent_create(NULL, experiment, 1, &error));
    assert_missing("experiment", stpn_agent_create(&agent, NULL, 1, &error));
    assert_missing("agent", stpn_agent_load(NULL, "file", 1, &error));
    assert_missing("path", stpn_agent_load(&agent, NULL, 1, &error));
    if (stpn_agent_create(&agent, experiment, 1, &why)) fail_msg("%s", why.message);
    assert_missing("actor", stpn_agent_create_actor(NULL, agent, 1, 1, &error));
    assert_missing("agent", stpn_agent_create_actor(&none, NULL, 1, 1, &error));
    assert_missing("agent", stpn_agent_act(NULL, observations, STPN_CHOICE_SAMPLE, &action, &error));
    assert_missing("observations", stpn_agent_act(agent, NULL, STPN_CHOICE_SAMPLE, &action, &error));
    assert_missing("actions", stpn_agent_act(agent, observations, STPN_CHOICE_SAMPLE, NULL, &error));
    assert_missing("agent", stpn_agent_record(NULL, observations, NULL, NULL, &error));
    assert_missing("rewards", stpn_agent_record(agent, NULL, NULL, NULL, &error));
    assert_missing("agent", stpn_agent_update(NULL, NULL, &error));
    assert_missing("agent", stpn_agent_save(NULL, "file", &error));
    assert_missing("path", stpn_agent_save(agent, NULL, &error));
    stpn_agent_free(agent);
    const char *const set[] = {NULL};
    assert_missing("options", stpn_run_train(NULL, NULL, 0, &error));
    assert_missing("options.file", stpn_run_train(&(stpn_run_options){0}, NULL, 0, &error));
    const stpn_run_options options = {.file = "no.json", .set = set, .set_count = 1};
    assert_int_equal(stpn_run_train(&options, NULL, 0, &why), STPN_ERROR_INPUT);
    assert_string_equal(why.message, "options.set has NULL, expected 1 words");
}

static void fill(float *values)
{
    for (int i = 0; i < MOST; i++) values[i] = 7;
}

static void assert_filled(const float *values)
{
    for (int i = 0; i < MOST; i++) assert_true(values[i] == 7);
}

static void tensors_and_heads_that_there_are_not(void **state)
{
    (void)state;
    static const int wrong[] = {-1, 6, 1000000, INT32_MIN, INT32_MAX};
    small_net b = small_net_open(H, T, B);
    float values[MOST], before[MOST], after[MOST];
    const float y[T * B * H] = {1, 2, 3};
    size_t size = stpn_net_block_size(b.net) * sizeof(float);
    static char kept[1 << 14];
    assert_in_range(size, 1, sizeof kept);
    memcpy(kept, stpn_net_parameters(b.net), size);
    stpn_tensor tensor;
    assert_int_equal(stpn_net_tensor(b.net, 6, &tensor), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fill(values);
        stpn_block_get(b.net, b.grad, wrong[i], values);
        stpn_block_set(b.net, stpn_net_parameters(b.net), wrong[i], values);
        stpn_state_get(b.state, wrong[i], values);
        stpn_head_forward(b.net, wrong[i], B, y, values);
        stpn_head_backward(b.net, wrong[i], B, y, y, b.grad, values);
        assert_filled(values);
    }
    assert_memory_equal(kept, stpn_net_parameters(b.net), size);
    stpn_block_get(b.net, b.grad, 4, before);
    memset(after, 0, sizeof after);
    assert_memory_equal(before, after, sizeof(float) * OUT * H);
    small_net_close(&b);
}

static void things_of_another_network(void **state)
{
    (void)state;
    small_net small = small_net_open(2, T, 1), large = small_net_open(30, T, 9);
    static float before[9 * 30 * (I + 30)], after[9 * 30 * (I + 30)];
    static char kept[1 << 15];
    size_t size = stpn_net_block_size(large.net) * sizeof(float);
    assert_in_range(size, 1, sizeof kept);
    memcpy(kept, stpn_net_parameters(large.net), size);
    for (size_t i = 0; i < size / sizeof(float); i++) large.grad[i] = 1;
    stpn_adam_update(small.adam, large.net, large.grad);
    assert_memory_equal(kept, stpn_net_parameters(large.net), size);
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) before[i] = (float)i;
    assert_int_equal(stpn_state_set(large.state, 0, before, NULL), STPN_OK);
    stpn_state_copy(small.state, large.state);
    stpn_state_copy(large.state, small.state);
    stpn_state_get(large.state, 0, after);
    stpn_tensor tensor;
    assert_int_equal(stpn_state_tensor(large.state, 0, &tensor), 1);
    assert_memory_equal(before, after, tensor.count * sizeof(float));
    /* Another batch. */
    stpn_state *more;
    assert_int_equal(stpn_state_create(&more, small.net, 2, NULL), STPN_OK);
    assert_int_equal(stpn_state_tensor(more, 0, &tensor), 1);
    assert_int_equal(stpn_state_set(more, 0, before, NULL), STPN_OK);
    stpn_state_copy(more, small.state);
    stpn_state_get(more, 0, after);
    assert_memory_equal(before, after, tensor.count * sizeof(float));
    stpn_state_free(more);
    small_net_close(&small);
    small_net_close(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointers_of_networks),
        cmocka_unit_test(pointers_of_environments_agents_and_runs),
        cmocka_unit_test(tensors_and_heads_that_there_are_not),
        cmocka_unit_test(things_of_another_network),
    };
    return cmocka_run_group_tests_name("net/given", tests, NULL, NULL);
}
