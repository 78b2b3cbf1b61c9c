/* Rollouts of some steps, in an environment of the test: when states begin anew, what is counted of episodes, and that one
 * half steps while the agent thinks for the other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "train/rollout.h"

static stpn_error error;

enum { BATCH = 37, HIDDEN = 5, CALLS_MOST = 4096 };

/* ---------------------------------------------------------------------------------------------------- an environment */

/* Copy b's episodes have 2 + b % 3 steps and show the step; the reward is 1 + its number. Even copies are cut off. */
typedef struct clockwork {
    env head;
    int t[BATCH];
    int calls; // of begin (+) and finish (-), as the first copy + 1
    int call[CALLS_MOST];
} clockwork;

static int length_of(int copy)
{
    return 2 + copy % 3;
}

static stpn_status describe(const env_options *o, env_shape *shape, stpn_error *e)
{
    (void)o;
    (void)e;
    *shape = (env_shape){.observations = 1, .actions = 3, .state = 1, .restarts = 1};
    return STPN_OK;
}

static void observe(const env *e, int first, int last, void *observations)
{
    for (int b = first; b < last; b++) ((float *)observations)[b] = (float)(1 + ((const clockwork *)e)->t[b]);
}

static stpn_status reset(env *e, int first, int last, void *observations, stpn_error *problem)
{
    (void)problem;
    for (int b = first; b < last; b++) ((clockwork *)e)->t[b] = 0;
    observe(e, first, last, observations);
    return STPN_OK;
}

static stpn_status step(env *e, int first, int last, const void *actions, void *observations, float *rewards,
                        uint8_t *ends, stpn_error *problem)
{
    (void)problem;
    (void)actions;
    clockwork *c = (clockwork *)e;
    for (int b = first; b < last; b++) {
        assert_true(c->t[b] < length_of(b));
        rewards[b] = (float)++c->t[b];
        ends[b] = c->t[b] < length_of(b) ? 0 : b % 2 ? STPN_TERMINATED : STPN_TRUNCATED;
    }
    observe(e, first, last, observations);
    return STPN_OK;
}

static void note(clockwork *c, int call)
{
    assert_true(c->calls < CALLS_MOST);
    c->call[c->calls++] = call;
}

static stpn_status begin(env *e, int first, int last, const void *actions, stpn_error *problem)
{
    (void)last;
    (void)actions;
    (void)problem;
    note((clockwork *)e, first + 1);
    return STPN_OK;
}

static stpn_status finish(env *e, int first, int last, void *observations, float *rewards, uint8_t *ends,
                          stpn_error *problem)
{
    note((clockwork *)e, -first - 1);
    return step(e, first, last, NULL, observations, rewards, ends, problem);
}

static stpn_status open_clockwork(env **e, const env *head, stpn_error *problem)
{
    (void)problem;
    clockwork *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->head = *head;
    *e = &c->head;
    return STPN_OK;
}

static void close_clockwork(env *e)
{
    free(e);
}

static const env_type here = {.name = "clockwork",
                              .describe = describe,
                              .open = open_clockwork,
                              .close = close_clockwork,
                              .reset = reset,
                              .step = step,
                              .observe = observe};

/* ----------------------------------------------------------------------------------------------------------- an agent */

typedef struct place {
    experiment e;
    env_type type;
    stpn_net *net;
    stpn_pool *pool;
    rollout *r;
} place;

static const char text[] = "{\"name\": \"small\", \"seed\": 5, \"task\": {\"name\": \"maze\"},"
                           " \"units\": [{\"name\": \"lstm\", \"hidden\": 5}],"
                           " \"train\": {\"batch\": 37, \"burn_in\": 0}}";

static place *opened(int steps, int elsewhere, int learns, int threads)
{
    place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    if (experiment_parse(&p->e, "small", text, sizeof text - 1, NULL, 0, NULL, &error)) fail_msg("%s", error.message);
    p->type = here;
    if (elsewhere) {
        p->type.begin = begin;
        p->type.finish = finish;
    }
    p->e.env = &p->type;
    p->e.env_options = p->type.defaults;
    assert_int_equal(describe(NULL, &p->e.env_shape, NULL), STPN_OK);
    p->e.shape.inputs = p->e.features = 1;
    p->e.train.rollout = steps;
    assert_int_equal(experiment_net(&p->net, &p->e, STPN_FLOAT, &error), STPN_OK);
    stpn_net_init(p->net, 5);
    assert_int_equal(stpn_pool_create(&p->pool, threads, &error), STPN_OK);
    if (rollout_create(&p->r, &p->e, p->net, learns, p->pool, &error)) fail_msg("%s", error.message);
    return p;
}

static void closed(place *p)
{
    rollout_free(p->r);
    stpn_pool_free(p->pool);
    stpn_net_free(p->net);
    experiment_free(&p->e);
    free(p);
}

/* ------------------------------------------------------------------------------------------------------------- tests */

/* An episode is as the one before, so that the state after a step is that of the same step of the first episode. */
static void states_begin_anew_with_an_episode(void **state)
{
    (void)state;
    enum { LONGEST = 4, ROUNDS = 40 };
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        static float h[BATCH * HIDDEN], first[LONGEST][BATCH * HIDDEN];
        place *p = opened(1, elsewhere, 1, 2);
        for (int t = 0; t < ROUNDS; t++) {
            a2c_stats stats;
            assert_int_equal(rollout_play(p->r, ACT_SAMPLE, &error), STPN_OK);
            a2c_drop(rollout_agent(p->r), &stats);
            stpn_state_get(a2c_state(rollout_agent(p->r)), 0, h);
            for (int b = 0; b < BATCH; b++) {
                int place_in = t % length_of(b), last = place_in + 1 == length_of(b);
                /* That of an episode cut off has been used up. */
                if (last && b % 2 == 0) continue;
                if (t < length_of(b)) memcpy(&first[place_in][b * HIDDEN], &h[b * HIDDEN], HIDDEN * sizeof *h);
                assert_memory_equal(&first[place_in][b * HIDDEN], &h[b * HIDDEN], HIDDEN * sizeof *h);
                if (place_in == 1) assert_memory_not_equal(&first[0][b * HIDDEN], &h[b * HIDDEN], HIDDEN * sizeof *h);
            }
        }
        closed(p);
    }
}

static void episodes_are_counted(void **state)
{
    (void)state;
    enum { STEPS = 7, CHUNKS = 5 };
    const int size = stpn_chunk_size(BATCH);
    assert_int_equal((BATCH - 1) / size + 1, CHUNKS);
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        place *p = opened(STEPS, elsewhere, 1, 3);
        int t[BATCH] = {0};
        rollout_latest latest = {0}, of_all = {0};
        for (int round = 0; round < 5; round++) {
            rollout_episodes expected = {0};
            double rewards[CHUNKS][STEPS * BATCH];
            int ended[CHUNKS] = {0}, all = 0;
            a2c_stats stats;
            assert_int_equal(rollout_play(p->r, ACT_SAMPLE, &error), STPN_OK);
            for (int i = 0; i < STEPS; i++)
                for (int b = 0; b < BATCH; b++) {
                    if (++t[b] < length_of(b)) continue;
                    expected.count++;
                    expected.steps += t[b];
                    expected.reward += t[b] * (t[b] + 1) / 2.0;
                    rewards[b / size][ended[b / size]++] = t[b] * (t[b] + 1) / 2.0;
                    t[b] = 0;
                }
            for (int chunk = 0; chunk < CHUNKS; chunk++)
                for (int i = 0; i < ended[chunk]; i++)
                    latest.reward[(latest.count + all++) % LATEST_EPISODES] = rewards[chunk][i];
            latest.count += all;
            for (int b = 0; b < BATCH; b++) assert_true(((const float *)rollout_next(p->r))[b] == (float)(1 + t[b]));
            rollout_episodes seen = {0};
            rollout_add_episodes(p->r, &seen, &of_all);
            assert_int_equal(of_all.count, latest.count);
            assert_memory_equal(of_all.reward, latest.reward, sizeof latest.reward);
            assert_int_equal(seen.count, expected.count);
            assert_int_equal(seen.steps, expected.steps);
            assert_true(seen.reward == expected.reward);
            assert_int_equal(a2c_update(rollout_agent(p->r), rollout_next(p->r), &stats, &error), STPN_OK);
            assert_true(isfinite(stats.loss));
        }
        rollout_episodes none = {0};
        rollout_add_episodes(p->r, &none, NULL);
        assert_int_equal(none.count, 0);
        closed(p);
    }
}

/* 37 copies are five chunks: halves of 24 and 13. */
static void one_half_steps_while_the_other_is_thought_for(void **state)
{
    (void)state;
    place *p = opened(3, 1, 1, 1);
    static const int expected[] = {1, 25, -1, 1, -25, 25, -1, 1, -25, 25, -1, -25};
    assert_int_equal(rollout_play(p->r, ACT_SAMPLE, &error), STPN_OK);
    const clockwork *c = (const clockwork *)rollout_env(p->r);
    assert_int_equal(c->calls, sizeof expected / sizeof *expected);
    assert_memory_equal(c->call, expected, sizeof expected);
    closed(p);
}

static void a_test_counts_the_first_episodes_of_each_copy(void **state)
{
    (void)state;
    enum { EPISODES = 3 };
    rollout_result results[2];
    double reward = 0, steps = 0;
    for (int b = 0; b < BATCH; b++) {
        int n = length_of(b);
        reward += n * (n + 1) / 2.0 / BATCH;
        steps += (double)n / BATCH;
    }
    for (int i = 0; i < 2; i++) {
        place *p = opened(2 + i, i, 0, 1 + i);
        assert_int_equal(rollout_test(p->r, EPISODES, ACT_SAMPLE, NULL, &results[i], &error), STPN_OK);
        assert_int_equal(results[i].episodes, EPISODES * BATCH);
        assert_true(fabs(results[i].reward - reward) < 1e-12);
        assert_true(fabs(results[i].steps - steps) < 1e-12);
        assert_true(isfinite(results[i].energy) && results[i].energy > 0);
        closed(p);
    }
    assert_true(results[0].energy == results[1].energy);
    place *p = opened(2, 1, 0, 1);
    const volatile int stop = 1;
    assert_int_equal(rollout_test(p->r, EPISODES, ACT_SAMPLE, &stop, &results[0], &error), STPN_STOPPED);
    closed(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_begin_anew_with_an_episode),
        cmocka_unit_test(episodes_are_counted),
        cmocka_unit_test(one_half_steps_while_the_other_is_thought_for),
        cmocka_unit_test(a_test_counts_the_first_episodes_of_each_copy),
    };
    return cmocka_run_group_tests_name("train/rollout_steps", tests, NULL, NULL);
}
