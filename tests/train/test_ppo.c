/* PPO as a learner: what it draws, the same bits on any threads and in any ranges, what survives a checkpoint, what is
 * refused. Its loss and gradient: test_ppo_gradient.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/threads.h"
#include "ppo_case.h"

static void assert_same_parameters(const agent *a, const agent *b)
{
    assert_memory_equal(a->net->parameters, b->net->parameters, agent_bytes(a));
    assert_memory_equal(ppo_adam(a->p)->first, ppo_adam(b->p)->first, agent_bytes(a));
    assert_memory_equal(ppo_adam(a->p)->second, ppo_adam(b->p)->second, agent_bytes(a));
    assert_int_equal(ppo_adam(a->p)->updates, ppo_adam(b->p)->updates);
}

/* --------------------------------------------------------------------------------------------------- the same bits */

static void chunk_turn(void *context, int chunk, int thread)
{
    const agent *g = context;
    int size = stpn_chunk_size(g->c.batch), first = chunk * size;
    int last = first + size < g->c.batch ? first + size : g->c.batch;
    (void)thread;
    for (int t = 0; t < g->c.steps; t++) agent_step(g, t, first, last, ACT_SAMPLE);
}

static void any_threads_and_ranges(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        agent_case c = agent_case_default();
        c.real = i % 2 ? STPN_DOUBLE : STPN_FLOAT;
        c.units = 1 + i / 2 % 2;
        c.continuous = i / 4;
        c.batch = 70;
        c.ends = 2;
        c.ahead = 1;
        c.options.minibatch = 150; // 37 sequences and more: several chunks
        c.options.kl_weight = 0.1;
        c.train.clip_norm = 0.5;
        agent one = agent_start(&c);
        c.threads = 2;
        agent two = agent_start(&c);
        profile *told;
        assert_int_equal(profile_create(&told, 2, &error), STPN_OK);
        ppo_set_profile(two.p, told);
        ppo_set_energy(one.p, 1);
        ppo_set_energy(two.p, 1);
        for (uint64_t r = 0; r < 3; r++) {
            ppo_stats a, b;
            assert_int_equal(agent_update(&one, r, &a), STPN_OK);
            world_make(two.w, &c, r);
            if (r % 2 == 0) {
                pool_run(two.pool, 5, 2, chunk_turn, &two);
            } else {
                for (int t = 0; t < c.steps; t++) {
                    agent_step(&two, t, 48, 70, ACT_SAMPLE);
                    agent_step(&two, t, 0, 48, ACT_SAMPLE);
                }
            }
            assert_int_equal(ppo_update(two.p, agent_ahead(&two, c.steps), &b, &error), STPN_OK);
            assert_memory_equal(one.w->choices, two.w->choices, sizeof one.w->choices);
            assert_memory_equal(one.w->values, two.w->values, sizeof one.w->values);
            assert_memory_equal(&a, &b, sizeof a);
            assert_true(a.energy > 0 && a.kl != 0 && a.clip_fraction > 0);
            assert_same_parameters(&one, &two);
        }
        static const profile_part parts[] = {PROFILE_READ_OUT, PROFILE_BACKWARD, PROFILE_SUM};
        for (int k = 0; k < 3; k++)
            assert_true(profile_lane_of(told, 0)->spent[parts[k]] + profile_lane_of(told, 1)->spent[parts[k]] > 0);
        agent_end(&one);
        agent_end(&two);
        profile_free(told);
    }
}

/* ------------------------------------------------------------------------------------------------------- checkpoints */

/* Everything that the header names, into a new learner. */
static void resume(const agent *from, agent *to)
{
    stpn_tensor tensor;
    double values[64 * 64];
    memcpy(to->net->parameters, from->net->parameters, agent_bytes(from));
    memcpy(ppo_adam(to->p)->first, ppo_adam(from->p)->first, agent_bytes(from));
    memcpy(ppo_adam(to->p)->second, ppo_adam(from->p)->second, agent_bytes(from));
    ppo_adam(to->p)->updates = ppo_adam(from->p)->updates;
    ppo_set_rollouts(to->p, ppo_rollouts(from->p));
    ppo_set_kl_weight(to->p, ppo_kl_weight(from->p));
    for (int i = 0; stpn_state_tensor(ppo_state(from->p), i, &tensor); i++) {
        assert_in_range(tensor.count, 1, 64 * 64);
        stpn_state_get(ppo_state(from->p), i, values);
        assert_int_equal(stpn_state_set(ppo_state(to->p), i, values, &error), STPN_OK);
    }
}

static void a_checkpoint_resumes_exactly(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        agent_case c = agent_case_default();
        c.real = i % 2 ? STPN_DOUBLE : STPN_FLOAT;
        c.units = 1 + i / 2 % 2;
        c.continuous = i / 4;
        c.ends = 2;
        c.ahead = 1;
        c.updates = 5;
        c.options.kl_weight = 0.1;
        c.train.schedule = SCHEDULE_LINEAR;
        agent whole = agent_start(&c);
        ppo_stats a, b;
        for (uint64_t r = 0; r < 2; r++) assert_int_equal(agent_update(&whole, r, &a), STPN_OK);
        agent resumed = agent_start(&c);
        resume(&whole, &resumed);
        assert_int_equal(ppo_rollouts(resumed.p), 2);
        for (uint64_t r = 2; r < 4; r++) {
            assert_int_equal(agent_update(&whole, r, &a), STPN_OK);
            assert_int_equal(agent_update(&resumed, r, &b), STPN_OK);
            assert_memory_equal(&a, &b, sizeof a - sizeof a.energy);
            assert_same_parameters(&whole, &resumed);
        }
        /* The state has a part in it: from zeros other things happen. */
        ppo_restart_range(resumed.p, 0, c.batch);
        assert_int_equal(agent_update(&whole, 4, &a), STPN_OK);
        assert_int_equal(agent_update(&resumed, 4, &b), STPN_OK);
        assert_true(a.loss != b.loss);
        agent_end(&whole);
        agent_end(&resumed);
    }
}

/* ------------------------------------------------------------------------------------------------------ what is done */

/* A net whose policy is the same whatever it sees: means 1 and -2, deviations 0.5 and 3. */
static void fix_policy(stpn_net *net)
{
    stpn_tensor tensor;
    double weights[64] = {0}, outputs[2 * CASE_VALUES]; // values of either type
    const double wanted[2 * CASE_VALUES] = {1, -2, log(expm1(0.5)), log(expm1(3))};
    for (size_t i = 0; i < 2 * CASE_VALUES; i++) value_write(net->kernel, outputs, i, wanted[i]);
    for (int i = 0; stpn_net_tensor(net, i, &tensor); i++) {
        if (strcmp(tensor.name, "policy.weight") == 0) stpn_block_set(net, net->parameters, i, weights);
        if (strcmp(tensor.name, "policy.bias") == 0) stpn_block_set(net, net->parameters, i, outputs);
    }
}

/* Standard normal, each alone and next to the ones before, beside and after it. */
static void continuous_actions_are_drawn_from_the_policy(void **state)
{
    (void)state;
    enum { STEPS = 30, BATCH = 64, ROLLOUTS = 8, EACH = STEPS * BATCH, TOTAL = EACH * ROLLOUTS };
    static float before[EACH * CASE_VALUES];
    agent_case c = agent_case_default();
    c.continuous = 1;
    c.batch = BATCH;
    c.steps = STEPS;
    agent g = agent_start(&c);
    fix_policy(g.net);
    double sums[CASE_VALUES] = {0}, squares[CASE_VALUES] = {0}, fourth = 0, pairs[4] = {0};
    int within = 0;
    for (int r = 0; r < ROLLOUTS; r++) {
        world_make(g.w, &c, 0);
        agent_act_out(&g, STEPS, ACT_SAMPLE);
        ppo_drop(g.p);
        for (int i = 0; i < EACH; i++) {
            float *v = g.w->values + (size_t)i * CASE_VALUES;
            v[0] = (v[0] - 1) / 0.5F;
            v[1] = (v[1] + 2) / 3;
            for (int n = 0; n < CASE_VALUES; n++) {
                double u = (double)v[n];
                sums[n] += u;
                squares[n] += u * u;
                fourth += u * u * u * u;
                within += fabs(u) < 1;
            }
            pairs[0] += (double)(v[0] * v[1]);
            if (i >= BATCH) pairs[1] += (double)(v[0] * v[-BATCH * CASE_VALUES]);
            if (i % BATCH) pairs[2] += (double)(v[0] * v[-CASE_VALUES]);
            if (r > 0) pairs[3] += (double)(v[0] * before[i * CASE_VALUES]);
        }
        memcpy(before, g.w->values, sizeof before);
    }
    /* Five deviations each. */
    const double n = TOTAL;
    for (int i = 0; i < CASE_VALUES; i++) {
        assert_true(fabs(sums[i]) < 5 * sqrt(n));
        assert_true(fabs(squares[i] - n) < 5 * sqrt(2 * n));
    }
    assert_true(fabs(fourth - 3 * 2 * n) < 5 * sqrt(96 * 2 * n));
    assert_true(fabs(within - 0.6826894921 * 2 * n) < 5 * sqrt(0.2166 * 2 * n));
    for (int i = 0; i < 4; i++) assert_true(fabs(pairs[i]) < 5 * sqrt(n));
    world_make(g.w, &c, 0);
    agent_act_out(&g, STEPS, ACT_GREEDY);
    for (int i = 0; i < EACH; i++) assert_true(g.w->values[2 * i] == 1 && g.w->values[2 * i + 1] == -2);
    agent_end(&g);
}

static void soft_plus_of_anything(void **state)
{
    (void)state;
    assert_true(policy_softplus(1e6) == 1e6 && policy_softplus(-1e6) == 0);
    assert_true(fabs(policy_softplus(0) - log(2)) < 1e-16);
    assert_true(fabs(policy_softplus(-30) / exp(-30) - 1) < 1e-12 && fabs(policy_softplus(30) - 30) < 1e-12);
}

/* ---------------------------------------------------------------------------------------------------------- updates */

/* Every sequence is taken once in a pass, in another order each time. */
static void a_pass_takes_all(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.options.passes = 3;
    agent g = agent_start(&c);
    ppo_stats stats;
    assert_int_equal(g.p->pieces, 3);
    assert_int_equal(g.p->most, 24); // of one step
    int copies[2][60], seen[20][3] = {{0}};
    for (uint64_t r = 0; r < 2; r++) {
        assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
        /* Those of 4 steps: 6 of them make 24; the 20 of one step fill up or come beside them. */
        int64_t updates = ppo_adam(g.p)->updates;
        assert_in_range(updates, (r + 1) * 3 * 8, (r + 1) * 3 * 10);
        for (int i = 0; i < 60; i++) {
            const ppo_sequence *s = &g.p->sequences[i];
            assert_int_equal(s->steps, s->begin == 8 ? 1 : 4);
            if (r == 0) seen[s->copy][s->begin / 4]++;
            copies[r][i] = s->copy;
        }
    }
    for (int i = 0; i < 60; i++) assert_int_equal(seen[i / 3][i % 3], 1);
    assert_memory_not_equal(copies[0], copies[1], sizeof copies[0]);
    agent_end(&g);
}

/* A minibatch is no longer than it may be, but has one sequence at least. */
static void a_sequence_may_be_longer_than_a_minibatch(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.options.minibatch = 3;
    c.options.passes = 1;
    agent g = agent_start(&c);
    ppo_stats stats;
    assert_int_equal(agent_update(&g, 0, &stats), STPN_OK);
    assert_in_range(ppo_adam(g.p)->updates, 40 + 7, 60);
    agent_end(&g);
}

static void the_rate_follows_its_schedule(void **state)
{
    (void)state;
    static const double expected[] = {0.01, 0.0075, 0.005, 0.0025, 0, 0};
    agent_case c = agent_case_default();
    c.train.schedule = SCHEDULE_LINEAR;
    c.updates = 5;
    agent g = agent_start(&c);
    for (uint64_t r = 0; r < 6; r++) {
        ppo_stats stats;
        assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
        assert_true(fabs(ppo_adam(g.p)->learning_rate - expected[r]) < 1e-15);
    }
    agent_end(&g);
}

static void the_weight_of_the_distance_adapts(void **state)
{
    (void)state;
    static const struct {
        double weight, target, rate, after;
    } cases[] = {{0.25, 1e-9, 0.01, 0.375}, {0.25, 1e3, 0.01, 0.125}, {0, 1e-9, 0.01, 0}};
    for (int i = 0; i < 3; i++) {
        agent_case c = agent_case_default();
        c.options.kl_weight = cases[i].weight;
        c.options.kl_target = cases[i].target;
        agent g = agent_start(&c);
        ppo_stats stats;
        assert_int_equal(agent_update(&g, 0, &stats), STPN_OK);
        assert_true(ppo_kl_weight(g.p) == cases[i].after);
        agent_end(&g);
    }
}

/* What is learned is worth more: the policy comes to take the action that is rewarded. */
static void it_learns(void **state)
{
    (void)state;
    for (int continuous = 0; continuous < 2; continuous++) {
        agent_case c = agent_case_default();
        c.continuous = continuous;
        c.train.learning_rate = 0.003;
        c.options.passes = 4;
        agent g = agent_start(&c);
        double first = 0, last = 0;
        for (uint64_t r = 0; r < (continuous ? 120 : 40); r++) {
            ppo_stats stats;
            double sum = 0;
            assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
            for (int i = 0; i < c.batch * c.steps; i++)
                sum += continuous ? (double)g.w->values[i * CASE_VALUES] : g.w->choices[i];
            if (r == 0) first = sum / (c.batch * c.steps);
            last = sum / (c.batch * c.steps);
        }
        assert_true(last > first + 0.8);
        agent_end(&g);
    }
}

static void what_is_not_finite_is_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        agent_case c = agent_case_default();
        c.options.normalise_advantages = 0;
        c.options.value_weight = 1e6;
        c.train.clip_norm = 1;
        agent g = agent_start(&c), twin = agent_start(&c);
        ppo_stats stats;
        assert_int_equal(agent_update(&g, 0, &stats), STPN_OK);
        assert_int_equal(agent_update(&twin, 0, &stats), STPN_OK);
        world_make(g.w, &c, 1);
        const float bad[] = {NAN, INFINITY, 3e38F, 1};
        g.w->rewards[3 * c.batch + 17] = bad[i];
        if (i == 3) g.w->x[2] = NAN;
        agent_act_out(&g, c.steps, ACT_SAMPLE);
        assert_int_equal(ppo_update(g.p, NULL, &stats, &error), STPN_ERROR_NUMERIC);
        static const char *const words[] = {"the rewards of copy 17 add up to ", "the rewards of copy 17 add up to inf",
                                            "the gradient's norm is ", "the loss is "};
        if (!strstr(error.message, words[i])) fail_msg("case %d: \"%s\"", i, error.message);
        assert_same_parameters(&g, &twin);
        assert_int_equal(ppo_rollouts(g.p), 1);
        /* From there it goes on, as if that rollout had not been. */
        ppo_restart_range(g.p, 0, c.batch);
        ppo_restart_range(twin.p, 0, c.batch);
        assert_int_equal(agent_update(&g, 2, &stats), STPN_OK);
        assert_int_equal(agent_update(&twin, 2, &stats), STPN_OK);
        assert_same_parameters(&g, &twin);
        agent_end(&g);
        agent_end(&twin);
    }
}

/* A rollout may be shorter than the plan allows, and end inside a sequence. */
static void short_rollouts(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.real = STPN_DOUBLE;
    c.options.minibatch = 1 << 20;
    c.options.passes = 1;
    agent longer = agent_start(&c);
    c.steps = 6;
    agent exact = agent_start(&c);
    ppo_stats a, b;
    world_make(longer.w, &c, 0);
    agent_act_out(&longer, 6, ACT_SAMPLE);
    assert_int_equal(ppo_update(longer.p, NULL, &a, &error), STPN_OK);
    assert_int_equal(agent_update(&exact, 0, &b), STPN_OK);
    assert_true(fabs(a.loss - b.loss) < 1e-12 && a.explained_variance == b.explained_variance);
    agent_end(&longer);
    agent_end(&exact);
}

/* ---------------------------------------------------------------------------------------------------------- refused */

static void what_is_refused(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.continuous = 1;
    agent g = agent_start(&c);
    ppo_stats stats;
    ppo *other = (ppo *)1;
    world_make(g.w, &c, 0);
    assert_int_equal(ppo_update(g.p, NULL, &stats, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "no step is recorded to learn from");
    g.w->values[3] = INFINITY;
    assert_int_equal(ppo_act(g.p, 0, c.batch, g.w->x, NULL, ACT_GIVEN, g.w->values, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "the action of copy 1 is not finite");
    assert_int_equal(ppo_act(g.p, 3, c.batch, g.w->x, NULL, ACT_SAMPLE, g.w->values, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "copies [3, 20): expected whole chunks of 4"));
    for (int t = 0; t < c.steps; t++) agent_step(&g, t, 0, c.batch, ACT_SAMPLE);
    assert_int_equal(ppo_act(g.p, 0, c.batch, g.w->x, NULL, ACT_SAMPLE, g.w->values, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "copies [0, 4): the rollout has all of its 9 steps");
    learner_plan plan = {.batch = 3, .steps = 4, .continuous = 3, .type = STPN_INPUT_DOUBLE};
    assert_int_equal(ppo_create(&other, g.net, &c.train, &c.options, &plan, NULL, 0, &error), STPN_ERROR_INPUT);
    assert_null(other);
    assert_string_equal(error.message, "head \"policy\" has 4 outputs, expected 3 means and as many scales");
    plan = (learner_plan){.batch = 3, .continuous = 2, .type = STPN_INPUT_DOUBLE};
    assert_int_equal(ppo_create(&other, g.net, &c.train, &c.options, &plan, NULL, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "steps is 0, expected 1 to 16777216");
    plan.steps = 4;
    c.options.clip = NAN;
    assert_int_equal(ppo_create(&other, g.net, &c.train, &c.options, &plan, NULL, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "ppo.clip is nan, expected a number from 0 to 1000000");
    ppo_free(NULL);
    agent_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_threads_and_ranges),
        cmocka_unit_test(a_checkpoint_resumes_exactly),
        cmocka_unit_test(continuous_actions_are_drawn_from_the_policy),
        cmocka_unit_test(soft_plus_of_anything),
        cmocka_unit_test(a_pass_takes_all),
        cmocka_unit_test(a_sequence_may_be_longer_than_a_minibatch),
        cmocka_unit_test(the_rate_follows_its_schedule),
        cmocka_unit_test(the_weight_of_the_distance_adapts),
        cmocka_unit_test(it_learns),
        cmocka_unit_test(what_is_not_finite_is_an_error),
        cmocka_unit_test(short_rollouts),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("train/ppo", tests, NULL, NULL);
}
