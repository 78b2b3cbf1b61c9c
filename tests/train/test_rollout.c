/* Episodes chunk by chunk on any threads, held against one loop over all copies, and tests against a slow count. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/effort.h"
#include "train/rollout.h"

static stpn_error error;

enum { BATCH = 37, STEPS = 30, HIDDEN = 5, INPUTS = 17, ITERATIONS = 3 };

static const char text[] = "{\"name\": \"small\", \"seed\": 5,\n"
                           " \"task\": {\"name\": \"maze\", \"size\": 7, \"steps\": 30, \"wall_penalty\": 0.25},\n"
                           " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 5, \"norm\": \"post\", \"clamp\": 1}],\n"
                           " \"train\": {\"method\": \"a2c\", \"batch\": 37, \"burn_in\": 0, \"learning_rate\": 0.01}}";

/* An experiment, its net and a pool. */
typedef struct place {
    experiment e;
    stpn_net *net;
    stpn_pool *pool;
} place;

static place open_place(int threads)
{
    place p;
    if (experiment_parse(&p.e, "small", text, sizeof text - 1, NULL, 0, NULL, &error)) fail_msg("%s", error.message);
    assert_int_equal(experiment_net(&p.net, &p.e, STPN_FLOAT, &error), STPN_OK);
    stpn_net_init(p.net, 5);
    assert_int_equal(stpn_pool_create(&p.pool, threads, &error), STPN_OK);
    return p;
}

static void close_place(place *p)
{
    stpn_pool_free(p->pool);
    stpn_net_free(p->net);
    experiment_free(&p->e);
}

/* ------------------------------------------------------------------------------------------------------------ testing */

typedef struct hits {
    double rewards[BATCH];
    int reached, returns, return_steps;
    int last[BATCH]; // step of the latest hit, -1 before
} hits;

/* A reward above 1 is a goal; the penalty of a wall never stands in the way of seeing it. */
static void count_hits(hits *h, const float *rewards, int t)
{
    for (int b = 0; b < BATCH; b++) {
        h->rewards[b] += (double)rewards[b];
        if (rewards[b] < 1) continue;
        h->reached++;
        if (h->last[b] >= 0) {
            h->returns++;
            h->return_steps += t - h->last[b];
        }
        h->last[b] = t;
    }
}

/* All copies in one range, a step at a time. */
static rollout_result slow_test(const place *p, const env_policy *policy, act_choice choice)
{
    static float x[BATCH * INPUTS], rewards[BATCH];
    static int32_t actions[BATCH];
    uint8_t ends[BATCH];
    env *e;
    a2c *agent = NULL;
    const learner_plan plan = {.batch = BATCH, .type = STPN_INPUT_FLOAT};
    assert_int_equal(env_create(&e, p->e.env, &p->e.env_options, BATCH, RANDOM_TEST, p->e.seed, &error), STPN_OK);
    if (!policy)
        assert_int_equal(a2c_create(&agent, p->net, &p->e.train, &p->e.a2c, &plan, NULL, p->e.seed, &error), 0);
    void *notes = policy ? calloc(BATCH, policy->notes(e)) : NULL;
    if (agent) a2c_set_energy(agent, 1);
    double all[ITERATIONS * BATCH], sum = 0, spread = 0, energy = 0;
    hits h = {.reached = 0};
    for (int i = 0; i < ITERATIONS; i++) {
        memset(h.rewards, 0, sizeof h.rewards);
        memset(h.last, -1, sizeof h.last);
        assert_int_equal(e->type->reset(e, 0, BATCH, x, &error), STPN_OK);
        if (agent) a2c_restart(agent);
        for (int t = 0; t < STEPS; t++) {
            if (policy) policy->act(e, p->e.seed, notes, 0, BATCH, actions);
            else assert_int_equal(a2c_act(agent, 0, BATCH, x, NULL, choice, actions, &error), STPN_OK);
            assert_int_equal(e->type->step(e, 0, BATCH, actions, x, rewards, ends, &error), STPN_OK);
            if (agent) assert_int_equal(a2c_record(agent, 0, BATCH, rewards, NULL, NULL, &error), STPN_OK);
            count_hits(&h, rewards, t);
        }
        a2c_stats stats;
        if (agent) a2c_drop(agent, &stats);
        if (agent) energy += stats.energy / ITERATIONS;
        memcpy(all + i * BATCH, h.rewards, sizeof h.rewards);
    }
    double n = ITERATIONS * BATCH;
    for (int i = 0; i < ITERATIONS * BATCH; i++) sum += all[i];
    for (int i = 0; i < ITERATIONS * BATCH; i++) spread += (all[i] - sum / n) * (all[i] - sum / n);
    free(notes);
    a2c_free(agent);
    env_free(e);
    return (rollout_result){.episodes = ITERATIONS * BATCH,
                            .reward = sum / n,
                            .reward_error = sqrt(spread / (n - 1) / n),
                            .energy = policy ? NAN : energy,
                            .goals = h.reached / n,
                            .return_steps = h.return_steps / (double)h.returns};
}

static void assert_near(double a, double b)
{
    if (isnan(a) && isnan(b)) return;
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b)))) fail_msg("%.17g, expected %.17g", a, b);
}

static void a_test_counts_what_a_slow_one_counts(void **state)
{
    (void)state;
    static const struct {
        int oracle, random;
        act_choice choice;
    } cases[] = {{0, 0, ACT_SAMPLE}, {0, 0, ACT_GREEDY}, {0, 1, ACT_SAMPLE}, {1, 0, ACT_SAMPLE}};
    for (int threads = 1; threads <= 3; threads++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            place p = open_place(threads);
            const env_policy *policy = cases[i].oracle ? p.e.env->oracle : cases[i].random ? &env_random : NULL;
            const rollout_result slow = slow_test(&p, policy, cases[i].choice);
            rollout *r;
            rollout_result result;
            stpn_status status = policy ? rollout_create_policy(&r, &p.e, policy, p.pool, &error)
                                        : rollout_create(&r, &p.e, p.net, 0, p.pool, &error);
            assert_int_equal(status, STPN_OK);
            assert_int_equal(rollout_test(r, ITERATIONS, cases[i].choice, NULL, &result, &error), STPN_OK);
            assert_int_equal(result.episodes, slow.episodes);
            assert_near(result.reward, slow.reward);
            assert_near(result.reward_error, slow.reward_error);
            assert_near(result.energy, slow.energy);
            assert_near(result.goals, slow.goals);
            assert_near(result.return_steps, slow.return_steps);
            assert_true(result.goals > (cases[i].oracle ? 1 : 0.01));
            assert_int_equal(isnan(result.energy), policy != NULL);
            rollout_free(r);
            close_place(&p);
        }
}

static void a_test_can_be_stopped(void **state)
{
    (void)state;
    place p = open_place(2);
    const volatile int stop = 1;
    rollout *r;
    rollout_result result;
    assert_int_equal(rollout_create(&r, &p.e, p.net, 0, p.pool, &error), STPN_OK);
    assert_int_equal(rollout_test(r, ITERATIONS, ACT_SAMPLE, &stop, &result, &error), STPN_STOPPED);
    rollout_free(r);
    close_place(&p);
}

/* Parameters that are not finite give energies that are not. */
static void a_test_that_is_not_finite_is_an_error(void **state)
{
    (void)state;
    place p = open_place(1);
    rollout *r;
    rollout_result result;
    float *parameters = p.net->parameters;
    for (size_t i = 0; i < p.net->block_values; i++) parameters[i] = NAN;
    assert_int_equal(rollout_create(&r, &p.e, p.net, 0, p.pool, &error), STPN_OK);
    assert_int_equal(rollout_test(r, 1, ACT_SAMPLE, NULL, &result, &error), STPN_ERROR_NUMERIC);
    assert_non_null(strstr(error.message, "not finite"));
    rollout_free(r);
    close_place(&p);
}

/* ----------------------------------------------------------------------------------------------------------- training */

/* Parameters after some iterations, with the last one's numbers; `by_hand`: all copies in one loop, on one thread. */
static void learn(int threads, int by_hand, float *parameters, a2c_stats *stats)
{
    static float x[BATCH * INPUTS], rewards[BATCH];
    int32_t actions[BATCH];
    uint8_t ends[BATCH];
    place p = open_place(threads);
    rollout *r;
    assert_int_equal(rollout_create(&r, &p.e, p.net, 1, p.pool, &error), STPN_OK);
    a2c *agent = rollout_agent(r);
    env *e = rollout_env(r);
    for (int i = 0; i < ITERATIONS; i++) {
        if (!by_hand) {
            assert_int_equal(rollout_play(r, ACT_SAMPLE, &error), STPN_OK);
        } else {
            assert_int_equal(e->type->reset(e, 0, BATCH, x, &error), STPN_OK);
            a2c_restart(agent);
            for (int t = 0; t < STEPS; t++) {
                assert_int_equal(a2c_act(agent, 0, BATCH, x, NULL, ACT_SAMPLE, actions, &error), STPN_OK);
                assert_int_equal(e->type->step(e, 0, BATCH, actions, x, rewards, ends, &error), STPN_OK);
                assert_int_equal(a2c_record(agent, 0, BATCH, rewards, ends, NULL, &error), STPN_OK);
            }
        }
        assert_int_equal(a2c_update(agent, NULL, stats, &error), STPN_OK);
    }
    memcpy(parameters, p.net->parameters, p.net->block_values * sizeof *parameters);
    rollout_free(r);
    close_place(&p);
}

static void iterations_have_the_bits_of_one_loop_on_any_threads(void **state)
{
    (void)state;
    enum { VALUES = 4096 };
    static float expected[VALUES], got[VALUES];
    a2c_stats first, other;
    place p = open_place(1);
    assert_true(p.net->block_values <= VALUES);
    close_place(&p);
    learn(1, 1, expected, &first);
    assert_true(first.reward != 0 && isnan(first.energy));
    for (int threads = 1; threads <= 4; threads++) {
        learn(threads, 0, got, &other);
        assert_memory_equal(got, expected, sizeof got);
        assert_true(other.reward == first.reward && other.loss == first.loss);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_test_counts_what_a_slow_one_counts),
        cmocka_unit_test(a_test_can_be_stopped),
        cmocka_unit_test(a_test_that_is_not_finite_is_an_error),
        cmocka_unit_test(iterations_have_the_bits_of_one_loop_on_any_threads),
    };
    return cmocka_run_group_tests_name("train/rollout", tests, NULL, NULL);
}
