/* The actor-critic as a learner: what it draws, the same bits on any threads and in any ranges, and what
 * survives a checkpoint. Its loss and gradient: test_a2c_gradient.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "a2c_case.h"
#include "base/threads.h"

static void assert_same_parameters(const agent *a, const agent *b)
{
    assert_memory_equal(a->net->parameters, b->net->parameters, agent_bytes(a));
    assert_memory_equal(a2c_adam(a->a)->first, a2c_adam(b->a)->first, agent_bytes(a));
    assert_memory_equal(a2c_adam(a->a)->second, a2c_adam(b->a)->second, agent_bytes(a));
    assert_int_equal(a2c_adam(a->a)->updates, a2c_adam(b->a)->updates);
}

/* --------------------------------------------------------------------------------------------------- the same bits */

typedef struct chunk_job {
    const agent *agent;
} chunk_job;

static void chunk_turn(void *context, int chunk, int thread)
{
    const agent *g = ((const chunk_job *)context)->agent;
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
        c.batch = 70;
        c.ends = 2;
        c.ahead = 1;
        c.options.entropy_weight = 0.01;
        c.options.lambda = 0.9;
        c.options.baseline = i / 4;
        c.train.clip_norm = 0.5;
        agent one = agent_start(&c);
        c.threads = 2;
        agent two = agent_start(&c);
        profile *p;
        assert_int_equal(profile_create(&p, 2, &error), STPN_OK);
        a2c_set_profile(two.a, p);
        a2c_set_energy(one.a, 1);
        a2c_set_energy(two.a, 1);
        for (uint64_t r = 0; r < 3; r++) {
            a2c_stats a, b;
            chunk_job job = {&two};
            assert_int_equal(agent_update(&one, r, &a), STPN_OK);
            world_make(two.w, &c, r);
            if (r % 2 == 0) {
                pool_run(two.pool, 5, 2, chunk_turn, &job);
            } else {
                for (int t = 0; t < c.steps; t++) {
                    agent_step(&two, t, 48, 70, ACT_SAMPLE);
                    agent_step(&two, t, 0, 48, ACT_SAMPLE);
                }
            }
            assert_int_equal(a2c_update(two.a, agent_ahead(&two, c.steps), &b, &error), STPN_OK);
            assert_memory_equal(one.w->actions, two.w->actions, sizeof one.w->actions);
            assert_memory_equal(&a, &b, sizeof a);
            assert_same_parameters(&one, &two);
        }
        static const profile_part parts[] = {PROFILE_READ_OUT, PROFILE_BACKWARD, PROFILE_SUM};
        for (int k = 0; k < 3; k++)
            assert_true(profile_lane_of(p, 0)->spent[parts[k]] + profile_lane_of(p, 1)->spent[parts[k]] > 0);
        agent_end(&one);
        agent_end(&two);
        profile_free(p);
    }
}

/* Copies act by themselves: what one does depends on no other. */
static void fewer_copies_act_alike(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.batch = 40;
    agent many = agent_start(&c);
    c.batch = 21;
    agent few = agent_start(&c);
    world_make(many.w, &many.c, 1);
    for (int t = 0; t <= c.steps; t++)
        memcpy(few.w->x + (size_t)t * 21 * CASE_INPUTS, many.w->x + (size_t)t * 40 * CASE_INPUTS,
               sizeof *few.w->x * 21 * CASE_INPUTS);
    agent_act_out(&many, c.steps, ACT_SAMPLE);
    agent_act_out(&few, c.steps, ACT_SAMPLE);
    for (int t = 0; t < c.steps; t++)
        assert_memory_equal(few.w->actions + (size_t)t * 21, many.w->actions + (size_t)t * 40, 21 * sizeof(int32_t));
    agent_end(&many);
    agent_end(&few);
}

/* ------------------------------------------------------------------------------------------------------- checkpoints */

/* Everything that the header names, into a new learner. */
static void resume(const agent *from, agent *to)
{
    stpn_tensor tensor;
    double values[64 * 64];
    memcpy(to->net->parameters, from->net->parameters, agent_bytes(from));
    memcpy(a2c_adam(to->a)->first, a2c_adam(from->a)->first, agent_bytes(from));
    memcpy(a2c_adam(to->a)->second, a2c_adam(from->a)->second, agent_bytes(from));
    a2c_adam(to->a)->updates = a2c_adam(from->a)->updates;
    a2c_set_rollouts(to->a, a2c_rollouts(from->a));
    for (int i = 0; stpn_state_tensor(a2c_state(from->a), i, &tensor); i++) {
        assert_in_range(tensor.count, 1, 64 * 64);
        stpn_state_get(a2c_state(from->a), i, values);
        assert_int_equal(stpn_state_set(a2c_state(to->a), i, values, &error), STPN_OK);
    }
}

static void a_checkpoint_resumes_exactly(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        agent_case c = agent_case_default();
        c.real = i % 2 ? STPN_DOUBLE : STPN_FLOAT;
        c.ends = i / 2 * 2;
        c.ahead = 1;
        c.updates = 5;
        c.train.schedule = SCHEDULE_LINEAR;
        agent whole = agent_start(&c);
        a2c_stats a, b;
        for (uint64_t r = 0; r < 2; r++) assert_int_equal(agent_update(&whole, r, &a), STPN_OK);
        agent resumed = agent_start(&c);
        resume(&whole, &resumed);
        assert_int_equal(a2c_rollouts(resumed.a), 2);
        for (uint64_t r = 2; r < 4; r++) {
            assert_int_equal(agent_update(&whole, r, &a), STPN_OK);
            assert_int_equal(agent_update(&resumed, r, &b), STPN_OK);
            assert_memory_equal(&a, &b, sizeof a - sizeof a.energy);
            assert_same_parameters(&whole, &resumed);
        }
        /* The state has a part in it: from zeros other things happen. */
        a2c_restart(resumed.a);
        assert_int_equal(agent_update(&whole, 4, &a), STPN_OK);
        assert_int_equal(agent_update(&resumed, 4, &b), STPN_OK);
        assert_true(a.loss != b.loss);
        agent_end(&whole);
        agent_end(&resumed);
    }
}

/* ------------------------------------------------------------------------------------------------------ what is done */

/* A net whose policy is the same whatever it sees. */
static void fix_policy(stpn_net *net, const double *probabilities)
{
    stpn_tensor tensor;
    double weights[64] = {0}, logits[CASE_ACTIONS]; // values of either type
    for (size_t i = 0; i < CASE_ACTIONS; i++) value_write(net->kernel, logits, i, log(probabilities[i]) + 3);
    for (int i = 0; stpn_net_tensor(net, i, &tensor); i++) {
        if (strcmp(tensor.name, "policy.weight") == 0) stpn_block_set(net, net->parameters, i, weights);
        if (strcmp(tensor.name, "policy.bias") == 0) stpn_block_set(net, net->parameters, i, logits);
    }
}

/* Sum over counts of (count - expected)^2 / expected. */
static double chi_square(int cells, const int *counts, const double *probabilities, int total)
{
    double sum = 0;
    for (int i = 0; i < cells; i++) {
        double expected = probabilities[i] * total;
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return sum;
}

static void actions_are_drawn_from_the_policy(void **state)
{
    (void)state;
    static const double p[CASE_ACTIONS] = {0.1, 0.5, 0.15, 0.25};
    enum { STEPS = 30, BATCH = 64, ROLLOUTS = 10, TOTAL = STEPS * BATCH * ROLLOUTS, PAIRS = 16 };
    double pairs[PAIRS];
    for (int i = 0; i < PAIRS; i++) pairs[i] = p[i / 4] * p[i % 4];
    agent_case c = agent_case_default();
    c.real = STPN_DOUBLE;
    c.batch = BATCH;
    c.steps = STEPS;
    c.options.burn_in = ROLLOUTS;
    agent g = agent_start(&c);
    fix_policy(g.net, p);
    int counts[CASE_ACTIONS] = {0}, after_step[PAIRS] = {0}, after_copy[PAIRS] = {0}, after_rollout[PAIRS] = {0};
    static int32_t before[STEPS * BATCH];
    for (int r = 0; r < ROLLOUTS; r++) {
        a2c_stats stats;
        assert_int_equal(agent_update(&g, 0, &stats), STPN_OK);
        for (int i = 0; i < STEPS * BATCH; i++) {
            int action = g.w->actions[i];
            counts[action]++;
            if (i >= BATCH) after_step[4 * g.w->actions[i - BATCH] + action]++;
            if (i % BATCH) after_copy[4 * g.w->actions[i - 1] + action]++;
            if (r > 0) after_rollout[4 * before[i] + action]++;
            before[i] = action;
        }
    }
    /* Above these in one of a hundred thousand cases; 3 and 15 degrees of freedom. */
    assert_true(chi_square(CASE_ACTIONS, counts, p, TOTAL) < 25.9);
    assert_true(chi_square(PAIRS, after_step, pairs, TOTAL - BATCH * ROLLOUTS) < 50.5);
    assert_true(chi_square(PAIRS, after_copy, pairs, TOTAL - STEPS * ROLLOUTS) < 50.5);
    assert_true(chi_square(PAIRS, after_rollout, pairs, TOTAL - STEPS * BATCH) < 50.5);
    agent_end(&g);
}

static void greedy_takes_the_first_of_the_most_probable(void **state)
{
    (void)state;
    static const double p[][CASE_ACTIONS] = {{0.1, 0.2, 0.4, 0.3}, {0.2, 0.3, 0.2, 0.3}, {0.25, 0.25, 0.25, 0.25}};
    static const int expected[] = {2, 1, 0};
    for (int i = 0; i < 6; i++) {
        agent_case c = agent_case_default();
        c.real = i / 3 ? STPN_DOUBLE : STPN_FLOAT;
        agent g = agent_start(&c);
        fix_policy(g.net, p[i % 3]);
        world_make(g.w, &c, 0);
        agent_act_out(&g, c.steps, ACT_GREEDY);
        for (int k = 0; k < c.steps * c.batch; k++) assert_int_equal(g.w->actions[k], expected[i % 3]);
        agent_end(&g);
    }
}

/* An agent that only acts does what the learner does where it is told to be greedy, without end. */
static void acting_alone(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.ends = 2;
    agent learner = agent_start(&c);
    a2c_stats a, b;
    a2c_set_energy(learner.a, 1);
    world_make(learner.w, &c, 1);
    agent_act_out(&learner, c.steps, ACT_GREEDY);
    a2c *alone;
    const learner_plan plan = {.batch = c.batch, .type = STPN_INPUT_DOUBLE};
    assert_int_equal(a2c_create(&alone, learner.net, &c.train, &c.options, &plan, NULL, 11, &error), STPN_OK);
    a2c_set_energy(alone, 1);
    agent other = learner;
    other.a = alone;
    int32_t actions[CASE_MOST];
    memcpy(actions, learner.w->actions, sizeof actions);
    world_make(learner.w, &c, 1);
    agent_act_out(&other, c.steps, ACT_GREEDY);
    assert_memory_equal(actions, other.w->actions, sizeof actions);
    a2c_drop(alone, &a);
    a2c_drop(learner.a, &b);
    assert_true(a.reward == b.reward && a.reward != 0);
    assert_true(a.energy == b.energy && a.energy > 0);
    assert_true(isnan(a.loss) && isnan(a.entropy) && isnan(a.gradient_norm));
    assert_int_equal(a2c_rollouts(alone), 1);
    assert_int_equal(a2c_update(alone, NULL, &a, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "only acts"));
    /* Its draws are others than those of training. */
    a2c_set_rollouts(alone, a2c_rollouts(learner.a));
    agent_step(&learner, 0, 0, c.batch, ACT_SAMPLE);
    memcpy(actions, learner.w->actions, sizeof actions);
    agent_step(&other, 0, 0, c.batch, ACT_SAMPLE);
    assert_memory_not_equal(actions, other.w->actions, (size_t)c.batch * sizeof *actions);
    for (int t = 0; t < 10 * c.steps; t++) agent_step(&other, t % c.steps, 0, c.batch, ACT_SAMPLE);
    a2c_free(alone);
    agent_end(&learner);
}

/* A copy whose last observation was valued starts from zeros, whether the caller says so or not. */
static void a_valued_end_resets_the_state(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.ends = 2;
    c.ahead = 1;
    c.real = STPN_DOUBLE;
    agent both[2] = {agent_start(&c), agent_start(&c)}; // told of every end; only of those that are not valued
    const int rows = c.batch * c.steps;
    for (uint64_t r = 0; r < 3; r++) {
        a2c_stats stats[2];
        for (int k = 0; k < 2; k++) {
            world *w = both[k].w;
            uint8_t before[64];
            memcpy(before, w->reset + rows, (size_t)c.batch);
            world_make(w, &c, r);
            memcpy(w->reset, before, (size_t)c.batch);
            for (int i = 0; i < rows; i++)
                if (k == 1 && w->ends[i] == STPN_TRUNCATED) w->reset[i + c.batch] = 0;
            agent_act_out(&both[k], c.steps, ACT_SAMPLE);
            assert_int_equal(a2c_update(both[k].a, agent_ahead(&both[k], c.steps), &stats[k], &error), STPN_OK);
        }
        if (r == 0) assert_same_parameters(&both[0], &both[1]);
        /* A state of zeros that a rollout begins with is added up in another order than one that a reset zeroes. */
        assert_true(fabs(stats[0].loss - stats[1].loss) < 1e-10);
        assert_true(fabs(stats[0].gradient_norm - stats[1].gradient_norm) < 1e-10);
    }
    agent_end(&both[0]);
    agent_end(&both[1]);
}

/* ---------------------------------------------------------------------------------------------------------- updates */

static void burn_in_changes_nothing(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.options.burn_in = 3;
    agent g = agent_start(&c), untouched = agent_start(&c);
    a2c_stats stats;
    for (uint64_t r = 0; r < 3; r++) {
        assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
        assert_true(stats.gradient_norm > 0);
        assert_same_parameters(&g, &untouched);
    }
    assert_int_equal(agent_update(&g, 3, &stats), STPN_OK);
    assert_int_equal(a2c_adam(g.a)->updates, 1);
    assert_memory_not_equal(g.net->parameters, untouched.net->parameters, agent_bytes(&g));
    agent_end(&g);
    agent_end(&untouched);
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
        a2c_stats stats;
        assert_int_equal(agent_update(&g, r, &stats), STPN_OK);
        assert_true(fabs(a2c_adam(g.a)->learning_rate - expected[r]) < 1e-15);
    }
    agent_end(&g);
}

static void the_gradient_is_limited(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.real = STPN_DOUBLE;
    agent free_one = agent_start(&c);
    c.train.clip_norm = 0.125;
    agent limited = agent_start(&c);
    a2c_stats a, b;
    assert_int_equal(agent_update(&free_one, 0, &a), STPN_OK);
    assert_int_equal(agent_update(&limited, 0, &b), STPN_OK);
    assert_true(a.gradient_norm > 0.2 && a.gradient_norm == b.gradient_norm);
    const kernel_table *k = limited.net->kernel;
    double norm = sqrt(k->sum_squares(limited.net->block_values, limited.a->actor.tape->chunk_grad));
    assert_true(fabs(norm - 0.125) < 1e-12);
    agent_end(&free_one);
    agent_end(&limited);
}

static void what_is_not_finite_is_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        agent_case c = agent_case_default();
        c.options.reduction = A2C_SUM;
        c.options.value_weight = 1;
        c.train.clip_norm = 1;
        agent g = agent_start(&c), twin = agent_start(&c);
        a2c_stats stats;
        assert_int_equal(agent_update(&g, 0, &stats), STPN_OK);
        assert_int_equal(agent_update(&twin, 0, &stats), STPN_OK);
        world_make(g.w, &c, 1);
        const float bad[] = {NAN, INFINITY, 3e38F, 1};
        g.w->rewards[3 * c.batch + 17] = bad[i];
        if (i == 3) g.w->x[2] = NAN;
        agent_act_out(&g, c.steps, ACT_SAMPLE);
        assert_int_equal(a2c_update(g.a, NULL, &stats, &error), STPN_ERROR_NUMERIC);
        static const char *const words[] = {"the rewards of copy 17 add up to ", "the rewards of copy 17 add up to inf",
                                            "the gradient's norm is ", "the loss is "};
        if (!strstr(error.message, words[i])) fail_msg("case %d: \"%s\"", i, error.message);
        assert_same_parameters(&g, &twin);
        assert_int_equal(a2c_rollouts(g.a), 1);
        /* From there it goes on, as if that rollout had not been. */
        a2c_restart(g.a);
        a2c_restart(twin.a);
        assert_int_equal(agent_update(&g, 2, &stats), STPN_OK);
        assert_int_equal(agent_update(&twin, 2, &stats), STPN_OK);
        assert_same_parameters(&g, &twin);
        agent_end(&g);
        agent_end(&twin);
    }
}

/* With one copy the shared baseline is its own. */
static void a_shared_baseline_of_one_copy(void **state)
{
    (void)state;
    for (int batch = 1; batch <= 2; batch++) {
        agent_case c = agent_case_default();
        c.batch = batch;
        agent own = agent_start(&c);
        c.options.baseline = A2C_SHARED;
        agent shared = agent_start(&c);
        a2c_stats a, b;
        assert_int_equal(agent_update(&own, 0, &a), STPN_OK);
        assert_int_equal(agent_update(&shared, 0, &b), STPN_OK);
        assert_int_equal(a.loss == b.loss, batch == 1);
        assert_int_equal(memcmp(own.net->parameters, shared.net->parameters, agent_bytes(&own)) == 0, batch == 1);
        agent_end(&own);
        agent_end(&shared);
    }
}

/* A rollout may be shorter than the plan allows. */
static void short_rollouts(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    agent g = agent_start(&c);
    c.steps = 4;
    agent shorter = agent_start(&c);
    a2c_stats a, b;
    for (uint64_t r = 0; r < 2; r++) {
        world_make(g.w, &c, r);
        agent_act_out(&g, 4, ACT_SAMPLE);
        assert_int_equal(a2c_update(g.a, NULL, &a, &error), STPN_OK);
        assert_int_equal(agent_update(&shorter, r, &b), STPN_OK);
        assert_memory_equal(&a, &b, sizeof a - sizeof a.energy);
        assert_same_parameters(&g, &shorter);
    }
    agent_end(&g);
    agent_end(&shorter);
}

/* Tokens, the reward of which is to name them: a few updates suffice. */
static void it_learns(void **state)
{
    (void)state;
    enum { BATCH = 32, STEPS = 8 };
    const stpn_unit layer = stpn_unit_default("stpn_r", 8);
    const stpn_head heads[2] = {{"policy", 3}, {"value", 1}};
    const stpn_net_desc desc = {.inputs = 3, .units = &layer, .unit_count = 1, .heads = heads, .head_count = 2};
    const learner_plan plan = {.batch = BATCH, .steps = STEPS, .type = STPN_INPUT_TOKEN};
    agent_case c = agent_case_default();
    c.options.discount = 0;
    stpn_net *net;
    a2c *a;
    a2c_stats stats = {0};
    double first = 0;
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
    stpn_net_init(net, 1);
    assert_int_equal(a2c_create(&a, net, &c.train, &c.options, &plan, NULL, 1, &error), STPN_OK);
    for (uint64_t r = 0; r < 150; r++) {
        random_stream s = random_open(2, RANDOM_BENCH, r);
        int32_t tokens[BATCH], actions[BATCH];
        float rewards[BATCH];
        for (int t = 0; t < STEPS; t++) {
            for (int b = 0; b < BATCH; b++) tokens[b] = (int32_t)random_below(&s, 3);
            assert_int_equal(a2c_act(a, 0, BATCH, tokens, NULL, ACT_SAMPLE, actions, &error), STPN_OK);
            for (int b = 0; b < BATCH; b++) rewards[b] = actions[b] == tokens[b];
            assert_int_equal(a2c_record(a, 0, BATCH, rewards, NULL, NULL, &error), STPN_OK);
        }
        for (int b = 0; b < BATCH; b++) tokens[b] = 0;
        assert_int_equal(a2c_update(a, tokens, &stats, &error), STPN_OK);
        if (r == 0) first = stats.reward;
    }
    assert_true(first < 0.5 * STEPS);
    assert_true(stats.reward > 0.9 * STEPS);
    a2c_free(a);
    stpn_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_threads_and_ranges),
        cmocka_unit_test(fewer_copies_act_alike),
        cmocka_unit_test(a_checkpoint_resumes_exactly),
        cmocka_unit_test(actions_are_drawn_from_the_policy),
        cmocka_unit_test(greedy_takes_the_first_of_the_most_probable),
        cmocka_unit_test(acting_alone),
        cmocka_unit_test(a_valued_end_resets_the_state),
        cmocka_unit_test(burn_in_changes_nothing),
        cmocka_unit_test(the_rate_follows_its_schedule),
        cmocka_unit_test(the_gradient_is_limited),
        cmocka_unit_test(what_is_not_finite_is_an_error),
        cmocka_unit_test(a_shared_baseline_of_one_copy),
        cmocka_unit_test(short_rollouts),
        cmocka_unit_test(it_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
