/* Small learners of any kind, on random data. Include after cmocka.h. */
#ifndef STPN_TESTS_LEARNER_CASE_H
#define STPN_TESTS_LEARNER_CASE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "train/supervised.h"

static stpn_error error;

typedef struct learner_case {
    task_loss loss;
    int per_step, tokens, lengths, masks;
    int steps, count, batch, truncate, threads, outputs;
    stpn_real real;
    const char *unit; // NULL: stpn_r
    int units;        // 1: 5 of the unit; 2: and 4 of stpn_f on them
} learner_case;

enum { CASE_INPUTS = 3 };

typedef struct learner {
    learner_case c;
    task_shape shape;
    task_split split;
    train_options options;
    stpn_net *net;
    stpn_pool *pool;
    supervised *s;
} learner;

static inline const char *case_text(const learner_case *c)
{
    static char text[200];
    static const char *const losses[] = {"cross-entropy", "binary", "squared"};
    snprintf(text, sizeof text, "%s, %s, %s%s%s, T %d, batch %d of %d, truncate %d, %d x %s", losses[c->loss],
             c->per_step ? "per step" : "at the end", c->tokens ? "tokens" : "numbers", c->lengths ? ", lengths" : "",
             c->masks ? ", masks" : "", c->steps, c->batch, c->count, c->truncate, c->units,
             c->unit ? c->unit : "stpn_r");
    return text;
}

static inline task_split case_split(const learner_case *c, const task_shape *shape, uint64_t seed)
{
    size_t N = (size_t)c->count, T = (size_t)c->steps, O = (size_t)shape->outputs, rows = c->per_step ? N * T : N;
    task_split split = {.count = c->count, .steps = c->steps};
    random_stream stream = random_open(seed, RANDOM_BENCH, 1);
    if (c->tokens) split.tokens = memory_zeroed(N * T, sizeof *split.tokens);
    else split.inputs = memory_zeroed(N * T * CASE_INPUTS, sizeof *split.inputs);
    for (size_t i = 0; i < N * T && c->tokens; i++) split.tokens[i] = (int32_t)random_below(&stream, CASE_INPUTS);
    for (size_t i = 0; i < N * T * CASE_INPUTS && !c->tokens; i++) split.inputs[i] = (float)random_normal(&stream);
    if (c->lengths) {
        split.lengths = memory_zeroed(N, sizeof *split.lengths);
        for (size_t n = 0; n < N; n++) split.lengths[n] = 1 + (int32_t)random_below(&stream, (uint32_t)T);
    }
    if (c->loss == LOSS_SQUARED) split.targets = memory_zeroed(rows * O, sizeof *split.targets);
    else split.labels = memory_zeroed(rows, sizeof *split.labels);
    uint32_t classes = c->loss == LOSS_BINARY ? 2 : (uint32_t)O;
    for (size_t i = 0; i < (split.labels ? rows : rows * O); i++) {
        int masked = c->masks && random_below(&stream, 3) == 0;
        if (split.labels)
            split.labels[i] = masked ? -1 - (int32_t)random_below(&stream, 5) : (int32_t)random_below(&stream, classes);
        else split.targets[i] = masked ? NAN : (float)random_normal(&stream);
    }
    return split;
}

static inline learner learner_start(const learner_case *c)
{
    learner l = {.c = *c};
    l.shape = (task_shape){.inputs = CASE_INPUTS,
                           .outputs = c->loss == LOSS_BINARY ? 1
                                      : c->outputs           ? c->outputs
                                                             : 4,
                           .steps = c->steps,
                           .type = c->tokens ? STPN_INPUT_TOKEN : STPN_INPUT_FLOAT,
                           .loss = c->loss,
                           .per_step = c->per_step};
    l.split = case_split(c, &l.shape, 7);
    const stpn_unit units[2] = {stpn_unit_default(c->unit ? c->unit : "stpn_r", 5), stpn_unit_default("stpn_f", 4)};
    const stpn_head head = {"readout", l.shape.outputs};
    const stpn_net_desc desc = {.real = c->real,
                                .inputs = CASE_INPUTS,
                                .units = units,
                                .unit_count = c->units ? c->units : 1,
                                .heads = &head,
                                .head_count = 1};
    l.options = train_option_defaults();
    l.options.batch = c->batch;
    l.options.truncate = c->truncate;
    l.options.learning_rate = 0.01;
    l.options.epsilon = 1e-3;
    assert_int_equal(stpn_net_create(&l.net, &desc, &error), STPN_OK);
    stpn_net_init(l.net, 3);
    if (c->threads) assert_int_equal(stpn_pool_create(&l.pool, c->threads, &error), STPN_OK);
    if (supervised_create(&l.s, l.net, &l.options, &l.shape, l.pool, &error)) fail_msg("%s", error.message);
    return l;
}

static inline void learner_end(learner *l)
{
    supervised_free(l->s);
    stpn_pool_free(l->pool);
    stpn_net_free(l->net);
    task_split_free(&l->split);
}

static inline size_t learner_bytes(const learner *l)
{
    return l->net->block_values * l->net->kernel->size;
}

/* Window `window` of the batch from sequence `first` on. */
static inline loss_sums learner_update(learner *l, int first, int window)
{
    const supervised_batch batch = {.split = &l->split, .first = first, .count = l->c.batch};
    loss_sums sums;
    if (supervised_update(l->s, &batch, window, &sums, &error)) fail_msg("%s: %s", case_text(&l->c), error.message);
    return sums;
}

#endif
