/* Small actor-critics on a world of random numbers. Include after cmocka.h. */
#ifndef STPN_TESTS_A2C_CASE_H
#define STPN_TESTS_A2C_CASE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "train/a2c_learner.h"

static stpn_error error;

/* Four outputs are scores of four actions, or means and scales of the two values of a continuous one. */
enum { CASE_INPUTS = 3, CASE_ACTIONS = 4, CASE_VALUES = 2, CASE_MOST = 64 * 32 };

typedef struct agent_case {
    stpn_real real;
    int units; // 1: stpn_r 5; 2: and stpn_f 4 on it
    int batch, steps, threads;
    int continuous;
    int ends;  // 0: none; 1: episodes terminate or are cut off; 2: and the last observations are given
    int ahead; // 1: the next observations are given
    a2c_options options;
    train_options train;
    int64_t updates; // of the schedule
} agent_case;

/* What a world holds for a rollout, whatever the agent does but for `rewards`. */
typedef struct world {
    double x[CASE_MOST * CASE_INPUTS], last[CASE_MOST * CASE_INPUTS]; // (T + 1, B, I), (T, B, I)
    float rewards[CASE_MOST];                                         // (T, B), for action 0
    uint8_t ends[CASE_MOST], reset[CASE_MOST + 64];                   // (T, B), (T + 1, B)
    int32_t actions[CASE_MOST];                                       // (T, B)
    float values[CASE_MOST * CASE_VALUES];                            // (T, B, 2) of continuous actions
} world;

typedef struct agent {
    agent_case c;
    stpn_net *net;
    stpn_pool *pool;
    a2c *a;
    world *w;
} agent;

static inline void world_make(world *w, const agent_case *c, uint64_t rollout)
{
    random_stream s = random_open(5, RANDOM_BENCH, rollout);
    int rows = c->batch * c->steps;
    assert_in_range(rows + c->batch, 1, CASE_MOST);
    for (int i = 0; i < (rows + c->batch) * CASE_INPUTS; i++) w->x[i] = (double)(float)random_normal(&s);
    for (int i = 0; i < rows * CASE_INPUTS; i++) w->last[i] = (double)(float)random_normal(&s);
    memset(w->reset, 0, sizeof w->reset);
    for (int i = 0; i < rows; i++) {
        w->rewards[i] = (float)random_range(&s, -1, 2);
        w->actions[i] = (int32_t)random_below(&s, CASE_ACTIONS);
        uint32_t draw = random_below(&s, 8);
        w->ends[i] = (uint8_t)(c->ends ? draw == 0 ? STPN_TERMINATED : draw <= 2 ? STPN_TRUNCATED : 0 : 0);
        /* Both at once is a termination. */
        if (draw == 0 && i % 3 == 0) w->ends[i] |= c->ends ? STPN_TRUNCATED : 0;
        w->reset[i + c->batch] = w->ends[i] != 0;
    }
    for (int i = 0; i < rows * CASE_VALUES && c->continuous; i++) w->values[i] = (float)random_normal(&s);
}

static inline agent_case agent_case_default(void)
{
    agent_case c = {.units = 1, .batch = 20, .steps = 6};
    c.options = a2c_option_defaults();
    c.options.burn_in = 0;
    c.train = train_option_defaults();
    c.train.learning_rate = 0.01;
    c.train.epsilon = 1e-4;
    return c;
}

static inline stpn_net *agent_net(stpn_real real, int units)
{
    const stpn_unit list[2] = {stpn_unit_default("stpn_r", 5), stpn_unit_default("stpn_f", 4)};
    const stpn_head heads[3] = {{"other", 2}, {"value", 1}, {"policy", CASE_ACTIONS}};
    const stpn_net_desc desc = {
        .real = real, .inputs = CASE_INPUTS, .units = list, .unit_count = units, .heads = heads, .head_count = 3};
    stpn_net *net;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    stpn_net_init(net, 7);
    return net;
}

static inline agent agent_start(const agent_case *c)
{
    agent g = {.c = *c, .net = agent_net(c->real, c->units), .w = calloc(1, sizeof *g.w)};
    const learner_plan plan = {.batch = c->batch,
                               .steps = c->steps,
                               .continuous = c->continuous ? CASE_VALUES : 0,
                               .type = STPN_INPUT_DOUBLE,
                               .updates = c->updates};
    assert_non_null(g.w);
    if (c->threads) assert_int_equal(stpn_pool_create(&g.pool, c->threads, &error), STPN_OK);
    if (a2c_create(&g.a, g.net, &c->train, &c->options, &plan, g.pool, 11, &error)) fail_msg("%s", error.message);
    return g;
}

static inline void agent_end(agent *g)
{
    a2c_free(g->a);
    stpn_pool_free(g->pool);
    stpn_net_free(g->net);
    free(g->w);
}

static inline size_t agent_bytes(const agent *g)
{
    return g->net->block_values * g->net->kernel->size;
}

/* A step of copies [first, last): rewards also depend on what was done. */
static inline void agent_step(const agent *g, int t, int first, int last, act_choice choice)
{
    const agent_case *c = &g->c;
    world *w = g->w;
    int at = t * c->batch;
    stpn_error e;
    void *actions = c->continuous ? (void *)(w->values + (size_t)at * CASE_VALUES) : (void *)(w->actions + at);
    if (a2c_act(g->a, first, last, w->x + (size_t)at * CASE_INPUTS, w->reset + at, choice, actions, &e))
        fail_msg("%s", e.message);
    if (choice != ACT_GIVEN)
        for (int b = first; b < last; b++)
            w->rewards[at + b] += c->continuous ? w->values[(size_t)(at + b) * CASE_VALUES] : (float)w->actions[at + b];
    if (a2c_record(g->a, first, last, w->rewards + at, c->ends ? w->ends + at : NULL,
                   c->ends == 2 ? w->last + (size_t)at * CASE_INPUTS : NULL, &e))
        fail_msg("%s", e.message);
}

static inline void agent_act_out(const agent *g, int steps, act_choice choice)
{
    for (int t = 0; t < steps; t++) agent_step(g, t, 0, g->c.batch, choice);
}

/* What comes after the last of so many steps, where the case has it. */
static inline const double *agent_ahead(const agent *g, int steps)
{
    return g->c.ahead ? g->w->x + (size_t)steps * (size_t)g->c.batch * CASE_INPUTS : NULL;
}

/* A rollout of world number `rollout`, and its update. */
static inline stpn_status agent_update(agent *g, uint64_t rollout, a2c_stats *stats)
{
    world_make(g->w, &g->c, rollout);
    agent_act_out(g, g->c.steps, ACT_SAMPLE);
    return a2c_update(g->a, agent_ahead(g, g->c.steps), stats, &error);
}

#endif
