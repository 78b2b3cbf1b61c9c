/* Agents of the public header: the loop of a caller is that of the command, bit for bit; what is saved goes
 * on as if it had not been; steps that were none leave no trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support/scratch.h"
#include "support/texts.h"
#include "train/agent.h"

static stpn_error error;

static stpn_agent *agent_of(const char *described, int threads)
{
    char *text = quoted(described);
    stpn_agent *a;
    if (stpn_agent_create(&a, text, threads, &error)) fail_msg("%s", error.message);
    free(text);
    return a;
}

static void assert_same_net(const stpn_net *a, const stpn_net *b)
{
    assert_memory_equal(a->parameters, b->parameters, a->block_values * a->kernel->size);
}

static double statistic(const stpn_agent *a, const char *wanted)
{
    const char *name;
    double value;
    for (int i = 0; stpn_agent_statistic(a, i, &name, &value); i++)
        if (strcmp(name, wanted) == 0) return value;
    fail_msg("there is no statistic %s", wanted);
    return NAN;
}

/* ----------------------------------------------------------------------------------------- the loop of the command */

#define MAZE \
    "{'name': 'n', 'seed': 3, 'task': {'name': 'maze', 'steps': 15}, 'units': [{'name': 'stpn_r', 'hidden': 6}], "
#define BY_A2C \
    MAZE "'train': {'method': 'a2c', 'rollout': 10, 'batch': 20, 'steps': 1000, 'burn_in': 1, 'lambda': 0.9}}"
#define BY_PPO                                                                                   \
    MAZE "'train': {'method': 'ppo', 'rollout': 10, 'batch': 20, 'steps': 1000, 'sequence': 4, " \
         "'normalise_observations'"                                                              \
         ": true, 'normalise_rewards': true, 'schedule': 'linear', 'kl_weight': 0.1}}"

enum { COPIES = 20, INPUTS = 17, ROLLOUT = 10, UPDATES = 3 };

/* As stpn train does it: parameters after UPDATES updates, to be freed, and the episodes of the last. */
static void *trained(const char *described, rollout_episodes *episodes, size_t *bytes)
{
    char *text = quoted(described);
    experiment e;
    run r;
    if (experiment_parse(&e, "n", text, strlen(text), NULL, 0, NULL, &error)) fail_msg("%s", error.message);
    assert_int_equal(run_open(&r, &e, 1, NULL, &error), STPN_OK);
    assert_int_equal(run_open_rollout(&r, NULL, &error), STPN_OK);
    for (int u = 0; u < UPDATES; u++) {
        a2c_stats by_a2c;
        ppo_stats by_ppo;
        *episodes = (rollout_episodes){0};
        assert_int_equal(rollout_play(r.rollout, ACT_SAMPLE, &error), STPN_OK);
        if (rollout_ppo(r.rollout))
            assert_int_equal(ppo_update(rollout_ppo(r.rollout), rollout_next(r.rollout), &by_ppo, &error), STPN_OK);
        else assert_int_equal(a2c_update(rollout_agent(r.rollout), rollout_next(r.rollout), &by_a2c, &error), STPN_OK);
        rollout_add_episodes(r.rollout, episodes, NULL);
    }
    *bytes = r.net->block_values * r.net->kernel->size;
    void *copy = malloc(*bytes);
    assert_non_null(copy);
    memcpy(copy, r.net->parameters, *bytes);
    run_close(&r);
    free(text);
    return copy;
}

typedef struct place {
    stpn_env *env;
    float observations[COPIES * INPUTS], rewards[COPIES];
    int32_t actions[COPIES];
    uint8_t ends[COPIES];
} place;

static void open_place(place *p)
{
    assert_int_equal(stpn_env_create(&p->env, "{\"name\": \"maze\", \"steps\": 15}", COPIES, 3, &error), STPN_OK);
    stpn_env_shape shape;
    stpn_env_describe(p->env, &shape);
    assert_int_equal(shape.observations, INPUTS);
    assert_int_equal(shape.steps, 15);
    assert_int_equal(shape.actions, 4);
    assert_int_equal(shape.continuous + shape.bytes, 0);
    assert_int_equal(stpn_env_reset(p->env, 0, COPIES, p->observations, &error), STPN_OK);
}

static void play(stpn_agent *a, place *p)
{
    for (int t = 0; t < ROLLOUT; t++) {
        assert_int_equal(stpn_agent_act(a, p->observations, STPN_CHOICE_SAMPLE, p->actions, &error), STPN_OK);
        assert_int_equal(stpn_env_step(p->env, 0, COPIES, p->actions, p->observations, p->rewards, p->ends, &error),
                         STPN_OK);
        assert_int_equal(stpn_agent_record(a, p->rewards, p->ends, p->observations, &error), STPN_OK);
        for (int b = 0; b < COPIES; b++)
            if (p->ends[b]) assert_int_equal(stpn_env_reset(p->env, b, b + 1, p->observations, &error), STPN_OK);
    }
    assert_int_equal(stpn_agent_update(a, p->observations, &error), STPN_OK);
}

static void a_callers_loop_is_that_of_the_command(void **state)
{
    (void)state;
    const char *const experiments[] = {BY_A2C, BY_PPO};
    for (int i = 0; i < 4; i++) {
        rollout_episodes episodes;
        size_t bytes;
        void *expected = trained(experiments[i % 2], &episodes, &bytes);
        stpn_agent *a = agent_of(experiments[i % 2], 1 + i / 2);
        place p;
        open_place(&p);
        assert_true(isnan(statistic(a, "loss")));
        for (int u = 0; u < UPDATES; u++) play(a, &p);
        assert_memory_equal(stpn_agent_net(a)->parameters, expected, bytes);
        assert_int_equal(episodes.count, COPIES);
        assert_float_equal(statistic(a, "episodes"), COPIES, 0);
        assert_float_equal(statistic(a, "reward"), episodes.reward / COPIES, 0);
        assert_float_equal(statistic(a, "length"), 15, 0);
        assert_true(isfinite(statistic(a, "loss")) && statistic(a, "gradient_norm") > 0);
        stpn_env_free(p.env);
        stpn_agent_free(a);
        free(expected);
    }
}

/* ----------------------------------------------------------------------------------------------- a world of numbers */

#define OWN(actions, batch, rest)                                                                                      \
    "{'name': 'n', 'task': {'name': 'gym', 'id': 'own', 'observations': 3, " actions "}, 'units': [{'name': 'stpn_r'," \
    " 'hidden': 5}], 'train': {'batch': " batch ", 'steps': 100000, 'learning_rate': 0.01, 'epsilon': 0.0001, " rest   \
    "}}"

enum { WORLD_COPIES = 18 };

/* Step `t`: what is seen and what comes of it depend on nothing else, but rewards on the actions. */
static void world_step(stpn_agent *a, int t, int continuous)
{
    float x[WORLD_COPIES * 3], last[WORLD_COPIES * 3], rewards[WORLD_COPIES];
    int32_t choices[WORLD_COPIES];
    float values[WORLD_COPIES * 2];
    uint8_t ends[WORLD_COPIES];
    random_stream s = random_open(5, RANDOM_BENCH, (uint64_t)t);
    for (int i = 0; i < WORLD_COPIES * 3; i++) {
        x[i] = (float)random_normal(&s);
        last[i] = (float)random_normal(&s);
    }
    assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, continuous ? (void *)values : (void *)choices, &error),
                     STPN_OK);
    for (int b = 0; b < WORLD_COPIES; b++) {
        static const uint8_t kinds[8] = {STPN_TERMINATED, STPN_TRUNCATED, STPN_SKIPPED, 3};
        rewards[b] = (float)random_normal(&s) + (continuous ? values[2 * b] : (float)choices[b]);
        ends[b] = kinds[random_below(&s, 8)];
    }
    assert_int_equal(stpn_agent_record(a, rewards, ends, last, &error), STPN_OK);
}

static void world_update(stpn_agent *a, int update, int steps, int continuous)
{
    float next[WORLD_COPIES * 3];
    for (int t = 0; t < steps; t++) world_step(a, update * 100 + t, continuous);
    random_stream s = random_open(6, RANDOM_BENCH, (uint64_t)update);
    for (int i = 0; i < WORLD_COPIES * 3; i++) next[i] = (float)random_normal(&s);
    assert_int_equal(stpn_agent_update(a, next, &error), STPN_OK);
}

static void what_is_saved_goes_on(void **state)
{
    (void)state;
    const char *const experiments[] = {
        OWN("'actions': 4", "18", "'method': 'a2c', 'rollout': 6, 'burn_in': 0"),
        OWN("'continuous': 2", "18",
            "'method': 'ppo', 'rollout': 7, 'sequence': 3, 'normalise_observations': true, 'normalise_rewards': true, "
            "'kl_weight': 0.1, 'schedule': 'cosine', 'warmup': 3")};
    char path[SCRATCH_PATH], again[SCRATCH_PATH];
    for (int i = 0; i < 2; i++) {
        stpn_agent *a = agent_of(experiments[i], 1), *b;
        stpn_agent_restart(a);
        assert_int_equal(stpn_agent_save(a, scratch_path(path, "agent"), &error), STPN_OK);
        assert_int_equal(stpn_agent_load(&b, path, 1, &error), STPN_OK);
        for (int u = 0; u < 3; u++) {
            world_update(a, u, 6, i);
            world_update(b, u, 6, i);
        }
        assert_same_net(stpn_agent_net(a), stpn_agent_net(b));
        stpn_agent_free(b);
        assert_int_equal(stpn_agent_save(a, scratch_path(path, "agent"), &error), STPN_OK);
        if (stpn_agent_load(&b, path, 2, &error)) fail_msg("%s", error.message);
        assert_string_equal(stpn_agent_experiment(a), stpn_agent_experiment(b));
        assert_true(isnan(statistic(b, "loss")));
        assert_int_equal(stpn_agent_save(b, scratch_path(again, "again"), &error), STPN_OK);
        size_t size;
        char *first = scratch_read(path, &size);
        scratch_assert_content(again, first, size);
        free(first);
        for (int u = 3; u < 5; u++) {
            world_update(a, u, 6, i);
            world_update(b, u, 6, i);
        }
        assert_same_net(stpn_agent_net(a), stpn_agent_net(b));
        /* After a restart too. */
        world_step(a, 7, i);
        stpn_agent_restart(a);
        if (i == 0) stpn_agent_restart(a);
        assert_int_equal(stpn_agent_save(a, path, &error), STPN_OK);
        stpn_agent_free(b);
        assert_int_equal(stpn_agent_load(&b, path, 1, &error), STPN_OK);
        world_update(a, 5, 6, i);
        world_update(b, 5, 6, i);
        assert_same_net(stpn_agent_net(a), stpn_agent_net(b));
        stpn_agent_free(a);
        stpn_agent_free(b);
    }
}

/* One copy, two episodes of three steps; with `between` a step after each that is none, full of rubbish. */
static void two_episodes(stpn_agent *a, int between)
{
    float next[3] = {0.5F, -1, 2};
    for (int t = 0; t < 6; t++) {
        random_stream s = random_open(9, RANDOM_BENCH, (uint64_t)t);
        float x[3], reward = (float)random_normal(&s);
        for (int i = 0; i < 3; i++) x[i] = (float)random_normal(&s);
        int32_t action = (int32_t)random_below(&s, 4);
        uint8_t end = t % 3 == 2 ? t == 2 ? STPN_TRUNCATED : STPN_TERMINATED : 0;
        assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_GIVEN, &action, &error), STPN_OK);
        assert_int_equal(stpn_agent_record(a, &reward, &end, next, &error), STPN_OK);
        if (!end || !between) continue;
        const float rubbish[3] = {50, -70, 20}, much = 1000;
        const uint8_t skipped = STPN_SKIPPED;
        action = 3;
        assert_int_equal(stpn_agent_act(a, rubbish, STPN_CHOICE_GIVEN, &action, &error), STPN_OK);
        assert_int_equal(stpn_agent_record(a, &much, &skipped, rubbish, &error), STPN_OK);
    }
    if (!a->of) assert_int_equal(stpn_agent_update(a, next, &error), STPN_OK);
}

static void a_step_that_was_none_leaves_no_trace(void **state)
{
    (void)state;
    const char *const experiments[] = {
        OWN("'actions': 4", "1", "'method': 'a2c', 'rollout': 8, 'burn_in': 0, 'entropy_weight': 0.1"),
        OWN("'actions': 4", "1",
            "'method': 'a2c', 'rollout': 8, 'burn_in': 0, 'lambda': 0.7, 'reduction': 'steps', 'baseline': 'shared'"),
        OWN("'actions': 4", "1", "'method': 'ppo', 'rollout': 8, 'sequence': 8, 'passes': 2, 'kl_weight': 0.1"),
        OWN("'actions': 4", "1",
            "'method': 'ppo', 'rollout': 8, 'sequence': 8, 'passes': 2, 'normalise_advantages': false, "
            "'normalise_rewards': true")};
    for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++) {
        stpn_agent *a = agent_of(experiments[i], 1), *b = agent_of(experiments[i], 1);
        for (int u = 0; u < 3; u++) {
            two_episodes(a, 0);
            two_episodes(b, 1);
            const char *name;
            double value;
            for (int n = 0; stpn_agent_statistic(a, n, &name, &value); n++)
                if (fabs(statistic(b, name) - value) > 1e-4 * fmax(1, fabs(value)))
                    fail_msg("experiment %zu: %s is %g, expected %g", i, name, statistic(b, name), value);
        }
        const float *p = stpn_agent_net(a)->parameters, *q = stpn_agent_net(b)->parameters;
        stpn_agent *actors[2];
        for (int n = 0; n < 2; n++) {
            assert_int_equal(stpn_agent_create_actor(&actors[n], a, 1, 1, &error), STPN_OK);
            two_episodes(actors[n], n);
        }
        assert_float_equal(statistic(actors[0], "energy"), statistic(actors[1], "energy"), 1e-4);
        for (int n = 0; n < 2; n++) stpn_agent_free(actors[n]);
        for (size_t v = 0; v < stpn_agent_net(a)->block_values; v++)
            if (fabsf(p[v] - q[v]) > 1e-4F)
                fail_msg("experiment %zu: parameter %zu is %g, expected %g", i, v, (double)q[v], (double)p[v]);
        stpn_agent_free(a);
        stpn_agent_free(b);
    }
}

/* A sequence of a replay may begin with a step that was none, or be nothing else. */
static void sequences_of_skipped_steps_are_left_out(void **state)
{
    (void)state;
    stpn_agent *a =
        agent_of(OWN("'actions': 4", "1", "'method': 'ppo', 'rollout': 8, 'sequence': 1, 'minibatch': 1"), 1);
    two_episodes(a, 1);
    assert_true(isfinite(statistic(a, "loss")));
    stpn_agent_free(a);
}

/* As after a last step that has terminated. */
static void nothing_may_be_to_come(void **state)
{
    (void)state;
    stpn_agent *two[2];
    const float x[6] = {1, -1, 0.5F, 2, 0, 1}, rewards[2] = {1, -2};
    const uint8_t ends[2] = {STPN_TERMINATED, STPN_TERMINATED};
    int32_t actions[2];
    for (int i = 0; i < 2; i++) {
        two[i] = agent_of(OWN("'actions': 4", "2", "'method': 'a2c', 'rollout': 2, 'burn_in': 0"), 1);
        for (int t = 0; t < 2; t++) {
            assert_int_equal(stpn_agent_act(two[i], x, STPN_CHOICE_SAMPLE, actions, &error), STPN_OK);
            assert_int_equal(stpn_agent_record(two[i], rewards, t && i ? ends : NULL, NULL, &error), STPN_OK);
        }
        assert_int_equal(stpn_agent_update(two[i], i ? x : NULL, &error), STPN_OK);
    }
    assert_same_net(stpn_agent_net(two[0]), stpn_agent_net(two[1]));
    for (int i = 0; i < 2; i++) stpn_agent_free(two[i]);
}

/* ------------------------------------------------------------------------------------------------------------ actors */

static void an_actor_has_the_agents_net(void **state)
{
    (void)state;
    stpn_agent *a =
        agent_of(OWN("'actions': 4", "18", "'method': 'ppo', 'rollout': 6, 'normalise_observations': true"), 1);
    stpn_agent *between, *other;
    assert_int_equal(stpn_agent_create_actor(&between, a, 2, 1, &error), STPN_OK);
    assert_int_equal(stpn_agent_create_actor(&other, between, 3, 1, &error), STPN_OK);
    assert_ptr_equal(stpn_agent_net(other), stpn_agent_net(a));
    assert_string_equal(stpn_agent_experiment(between), stpn_agent_experiment(a));
    for (int u = 0; u < 4; u++) {
        float x[WORLD_COPIES * 3];
        int32_t expected[WORLD_COPIES], actions[3];
        for (int t = 0; t < 5; t++) {
            random_stream s = random_open(8, RANDOM_BENCH, (uint64_t)t);
            const float rewards[WORLD_COPIES] = {1, 2, 4};
            const uint8_t ends[3] = {0, t == 3 ? STPN_TERMINATED : 0, t == 4 ? STPN_SKIPPED : 0};
            for (int i = 0; i < WORLD_COPIES * 3; i++) x[i] = (float)random_normal(&s);
            assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_GREEDY, expected, &error), STPN_OK);
            assert_int_equal(stpn_agent_record(a, rewards, NULL, NULL, &error), STPN_OK);
            assert_int_equal(stpn_agent_act(other, x, STPN_CHOICE_GREEDY, actions, &error), STPN_OK);
            assert_int_equal(actions[0], expected[0]);
            if (t <= 3) assert_memory_equal(actions, expected, sizeof actions);
            assert_int_equal(stpn_agent_record(other, rewards, ends, NULL, &error), STPN_OK);
        }
        /* However old it is, it sees observations as the agent does now. */
        stpn_agent *late;
        assert_int_equal(stpn_agent_create_actor(&late, a, 3, 1, &error), STPN_OK);
        stpn_agent_restart(between);
        assert_int_equal(stpn_agent_act(late, x, STPN_CHOICE_GREEDY, actions, &error), STPN_OK);
        assert_int_equal(stpn_agent_act(between, x, STPN_CHOICE_GREEDY, actions, &error), STPN_OK);
        const float *y = between->run.rollout->acting->y, *expected_y = late->run.rollout->acting->y;
        for (int i = 0; i < 5; i++) assert_float_equal(y[i], expected_y[i], 1e-5);
        stpn_agent_free(late);
        assert_float_equal(statistic(other, "episodes"), 1, 0);
        assert_float_equal(statistic(other, "reward"), 8, 0);
        assert_float_equal(statistic(other, "length"), 4, 0);
        assert_true(statistic(other, "energy") > 0);
        stpn_agent_restart(a);
        stpn_agent_restart(other);
        world_update(a, u, 6, 0);
        stpn_agent_restart(a);
    }
    assert_int_equal(stpn_agent_update(other, NULL, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "only acts"));
    assert_int_equal(stpn_agent_save(other, "x", &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "only acts"));
    stpn_agent_free(other);
    stpn_agent_free(between);
    stpn_agent_free(a);
}

/* What a step leaves in an actor's state belongs to the parameters it was made with. */
static void an_actor_is_settled_before_an_update(void **state)
{
    (void)state;
    stpn_agent *a = agent_of(OWN("'actions': 4", "18", "'method': 'a2c', 'rollout': 6, 'burn_in': 0"), 1), *two[2];
    const float seen[2][3] = {{1, 2, -1}, {0.5F, -1, 2}}, reward = 0;
    int32_t action;
    for (int n = 0; n < 2; n++) {
        assert_int_equal(stpn_agent_create_actor(&two[n], a, 1, 1, &error), STPN_OK);
        for (int t = 0; t < 3; t++) {
            assert_int_equal(stpn_agent_act(two[n], seen[t % 2], STPN_CHOICE_GREEDY, &action, &error), STPN_OK);
            assert_int_equal(stpn_agent_record(two[n], &reward, NULL, NULL, &error), STPN_OK);
        }
    }
    (void)actor_state(two[0]->run.rollout->acting);
    world_update(a, 0, 6, 0);
    for (int n = 0; n < 2; n++)
        assert_int_equal(stpn_agent_act(two[n], seen[0], STPN_CHOICE_GREEDY, &action, &error), STPN_OK);
    assert_memory_equal(two[0]->run.rollout->acting->y, two[1]->run.rollout->acting->y, 5 * sizeof(float));
    for (int n = 0; n < 2; n++) stpn_agent_free(two[n]);
    stpn_agent_free(a);
}

/* ------------------------------------------------------------------------------------------------------- bad input */

static void assert_refused(stpn_status status, const char *words)
{
    assert_input_error(status, &error, words);
}

static void experiments_that_are_none(void **state)
{
    (void)state;
    const char *const wrong[][2] = {
        {"{", "experiment: line 1"},
        {OWN("'actions': 4", "1", "'rollouts': 3"), "rollout"},
        {OWN("'actions': 4, 'continuous': 2", "1", "'rollout': 3"), "and one of the others"},
        {MAZE "'train': {'batch': 2}}", "train.rollout is 0"},
        {"{'name': 'n', 'task': {'name': 'retrieval', 'pairs': 3}, 'units': [{'name': 'stpn_r', 'hidden': 3}]}",
         "expected an environment"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *text = quoted(wrong[i][0]);
        stpn_agent *a = (stpn_agent *)text;
        assert_refused(stpn_agent_create(&a, text, 1, &error), wrong[i][1]);
        assert_null(a);
        free(text);
    }
    stpn_agent_free(NULL);
}

static void calls_out_of_turn_and_values_that_are_none(void **state)
{
    (void)state;
    stpn_agent *a = agent_of(OWN("'actions': 4", "2", "'method': 'a2c', 'rollout': 2"), 1), *other;
    float x[6] = {0}, bad[6] = {0, 0, 0, 0, NAN}, rewards[2] = {0, INFINITY}, fine[2] = {0};
    int32_t actions[2] = {0, 4};
    uint8_t ends[2] = {0, 5}, cut[2] = {0, STPN_TRUNCATED};
    char path[SCRATCH_PATH];
    assert_refused(stpn_agent_record(a, fine, NULL, NULL, &error), "no action");
    assert_refused(stpn_agent_update(a, x, &error), "no step is recorded");
    assert_refused(stpn_agent_act(a, x, (stpn_choice)3, actions, &error), "choice is 3");
    assert_refused(stpn_agent_act(a, bad, STPN_CHOICE_SAMPLE, actions, &error),
                   "copy 1: a value of its observation is nan");
    assert_refused(stpn_agent_act(a, x, STPN_CHOICE_GIVEN, actions, &error), "the action of copy 1 is 4");
    assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, actions, &error), STPN_OK);
    assert_refused(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, actions, &error), "not recorded");
    assert_refused(stpn_agent_record(a, rewards, NULL, NULL, &error), "copy 1: its reward is inf");
    assert_refused(stpn_agent_record(a, fine, ends, NULL, &error), "copy 1: its end is 5, expected 0 to 3, or 4");
    assert_refused(stpn_agent_record(a, fine, cut, bad, &error), "copy 1: a value of its last observation is nan");
    assert_refused(stpn_agent_save(a, scratch_path(path, "none"), &error), "1 steps are recorded");
    assert_int_equal(stpn_agent_record(a, fine, NULL, NULL, &error), STPN_OK);
    assert_refused(stpn_agent_update(a, bad, &error), "copy 1");
    assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, actions, &error), STPN_OK);
    assert_int_equal(stpn_agent_record(a, fine, NULL, NULL, &error), STPN_OK);
    assert_refused(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, actions, &error), "has all of its 2 steps");
    assert_int_equal(stpn_agent_update(a, x, &error), STPN_OK);
    cut[0] = cut[1] = STPN_SKIPPED;
    assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_SAMPLE, actions, &error), STPN_OK);
    assert_int_equal(stpn_agent_record(a, fine, cut, NULL, &error), STPN_OK);
    assert_refused(stpn_agent_update(a, x, &error), "every step of the rollout was skipped");
    assert_refused(stpn_agent_create_actor(&other, a, 0, 1, &error), "0 copies");
    assert_null(other);
    assert_int_equal(stpn_net_save(stpn_agent_net(a), scratch_path(path, "net"), &error), STPN_OK);
    assert_refused(stpn_agent_load(&other, path, 1, &error), "is no saved agent");
    assert_int_equal(stpn_agent_load(&other, "/nowhere", 1, &error), STPN_ERROR_INPUT);
    assert_null(other);
    stpn_agent_free(a);
}

/* Copies beyond the first chunk too: none has acted then. */
static void a_wrong_action_moves_no_copy(void **state)
{
    (void)state;
    enum { B = 40 };
    stpn_agent *a = agent_of(OWN("'actions': 4", "40", "'method': 'a2c', 'rollout': 2"), 1), *other;
    float x[B * 3] = {0}, rewards[B] = {0};
    int32_t actions[B] = {0};
    for (int t = 0; t < 2; t++) {
        actions[35] = 4;
        assert_refused(stpn_agent_act(a, x, STPN_CHOICE_GIVEN, actions, &error), "the action of copy 35 is 4");
        actions[35] = 1;
        assert_int_equal(stpn_agent_act(a, x, STPN_CHOICE_GIVEN, actions, &error), STPN_OK);
        assert_int_equal(stpn_agent_record(a, rewards, NULL, NULL, &error), STPN_OK);
    }
    assert_int_equal(stpn_agent_update(a, x, &error), STPN_OK);
    assert_refused(stpn_agent_create_actor(&other, a, -5, 1, &error), "-5 copies, expected 1 or more");
    stpn_agent_free(a);
}

/* What A2C has recorded is of the network that acted: a change in between ends the rollout, and the next one learns. */
static void a_network_that_changes_within_a_rollout(void **state)
{
    (void)state;
    static const char changed[] = "the parameters have changed since the forward pass on this tape";
    stpn_agent *a = agent_of(BY_A2C, 2);
    place p = {0};
    open_place(&p);
    for (int steps = 1; steps <= 2; steps++) {
        stpn_agent_restart(a);
        for (int t = 0; t < steps; t++) {
            assert_int_equal(stpn_agent_act(a, p.observations, STPN_CHOICE_SAMPLE, p.actions, &error), STPN_OK);
            assert_int_equal(stpn_agent_record(a, p.rewards, NULL, NULL, &error), STPN_OK);
        }
        stpn_net_init(stpn_agent_net(a), 9);
        if (steps == 2)
            assert_refused(stpn_agent_act(a, p.observations, STPN_CHOICE_SAMPLE, p.actions, &error), changed);
        assert_refused(stpn_agent_update(a, p.observations, &error), changed);
        stpn_agent_restart(a);
        assert_int_equal(stpn_env_reset(p.env, 0, COPIES, p.observations, &error), STPN_OK);
        play(a, &p);
    }
    stpn_env_free(p.env);
    stpn_agent_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callers_loop_is_that_of_the_command),
        cmocka_unit_test(what_is_saved_goes_on),
        cmocka_unit_test(a_step_that_was_none_leaves_no_trace),
        cmocka_unit_test(sequences_of_skipped_steps_are_left_out),
        cmocka_unit_test(nothing_may_be_to_come),
        cmocka_unit_test(an_actor_has_the_agents_net),
        cmocka_unit_test(an_actor_is_settled_before_an_update),
        cmocka_unit_test(experiments_that_are_none),
        cmocka_unit_test(calls_out_of_turn_and_values_that_are_none),
        cmocka_unit_test(a_wrong_action_moves_no_copy),
        cmocka_unit_test(a_network_that_changes_within_a_rollout),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
