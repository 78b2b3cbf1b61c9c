/* Mazes for tests: an environment with its caller's arrays, and its picture read back from text. */
#ifndef STPN_TESTS_MAZE_CASE_H
#define STPN_TESTS_MAZE_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/env.h"

enum {
    COPIES = 33,
    OBSERVATION = 17,
    SIZE_MOST = 31,
    UP = 0,
    DOWN = 1,
    LEFT = 2,
    RIGHT = 3,
    NO_END = 0,
    LAST_STEP = 2
};

static stpn_error error;

/* An environment and the arrays of its caller. */
typedef struct bench {
    env *e;
    float observations[COPIES][OBSERVATION], rewards[COPIES];
    int32_t actions[COPIES];
    uint8_t ends[COPIES];
} bench;

static inline env_options options(int size, int steps, const char *start)
{
    env_options o = env_maze.defaults;
    o.size = size;
    o.steps = steps;
    o.start = strcmp(start, "random") == 0;
    return o;
}

static inline bench *opened_for(random_purpose purpose, env_options o, int copies, uint64_t seed)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    if (env_create(&b->e, &env_maze, &o, copies, purpose, seed, &error)) fail_msg("%s", error.message);
    return b;
}

static inline bench *opened(env_options o, int copies, uint64_t seed)
{
    return opened_for(RANDOM_TRAIN, o, copies, seed);
}

static inline void closed(bench *b)
{
    env_free(b->e);
    free(b);
}

static inline void reset(bench *b)
{
    assert_int_equal(env_maze.reset(b->e, 0, b->e->batch, b->observations[0], &error), STPN_OK);
}

static inline void step_range(bench *b, int first, int last)
{
    if (env_maze.step(b->e, first, last, b->actions, b->observations[0], b->rewards, b->ends, &error))
        fail_msg("%s", error.message);
}

/* The same action for all copies. */
static inline void step(bench *b, int action)
{
    for (int i = 0; i < b->e->batch; i++) b->actions[i] = action;
    step_range(b, 0, b->e->batch);
}

typedef struct picture {
    char text[SIZE_MOST * (SIZE_MOST + 1) + 1];
    int size, row, column, goal_row, goal_column;
} picture;

static inline char at(const picture *p, int row, int column)
{
    return p->text[row * (p->size + 1) + column];
}

static inline picture seen(const env *e, int copy)
{
    picture p = {.size = e->options.size};
    size_t length = env_maze.draw(e, copy, p.text, sizeof p.text);
    assert_int_equal(length, p.size * (p.size + 1));
    assert_int_equal(strlen(p.text), length);
    int agents = 0, goals = 0;
    for (int r = 0; r < p.size; r++) {
        assert_int_equal(at(&p, r, p.size), '\n');
        for (int c = 0; c < p.size; c++) {
            char what = at(&p, r, c);
            assert_non_null(strchr("#.@*$", what));
            if (what == '@' || what == '$') agents++, p.row = r, p.column = c;
            if (what == '*' || what == '$') goals++, p.goal_row = r, p.goal_column = c;
        }
    }
    assert_int_equal(agents, 1);
    assert_int_equal(goals, 1);
    return p;
}

static inline int is_wall(int size, int row, int column)
{
    if (row == (size - 1) / 2 && column == (size - 1) / 2) return 0;
    if (row % (size - 1) == 0 || column % (size - 1) == 0) return 1;
    return row % 2 == 0 && column % 2 == 0;
}

static inline int goal_is_the_start(const picture *p)
{
    return p->goal_row == p->row && p->goal_column == p->column;
}

/* A generator of the tests' own, so that the actions have nothing to do with the environment's draws. */
static inline int next_action(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return (int)(*x >> 40 & 3);
}

#endif
