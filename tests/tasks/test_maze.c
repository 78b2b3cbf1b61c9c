/* The maze's rules one by one, and all of them at once against a slow maze of this file's own: a picture in text that is
 * read off the environment where something was drawn, and by the rules everywhere else. */
#include "maze_case.h"

#include <math.h>
#include <stdlib.h>

/* ---------------------------------------------------------------------------------------------------- rule by rule */

static void the_walls_of_the_paper(void **state)
{
    (void)state;
    static const char walls[] = "#############\n"
                                "#...........#\n"
                                "#.#.#.#.#.#.#\n"
                                "#...........#\n"
                                "#.#.#.#.#.#.#\n"
                                "#...........#\n"
                                "#.#.#...#.#.#\n"
                                "#...........#\n"
                                "#.#.#.#.#.#.#\n"
                                "#...........#\n"
                                "#.#.#.#.#.#.#\n"
                                "#...........#\n"
                                "#############\n";
    bench *b = opened(env_maze.defaults, 4, 1);
    reset(b);
    for (int i = 0; i < 4; i++) {
        picture p = seen(b->e, i);
        assert_int_equal(p.row, 6);
        assert_int_equal(p.column, 6);
        for (char *c = p.text; *c; c++)
            if (*c == '@' || *c == '*' || *c == '$') *c = '.';
        assert_string_equal(p.text, walls);
    }
    closed(b);
}

static void the_centre_is_free_in_every_size(void **state)
{
    (void)state;
    for (int size = 5; size <= SIZE_MOST; size += 2) {
        bench *b = opened(options(size, 10, "centre"), 1, 3);
        picture p = seen(b->e, 0);
        assert_int_equal(p.row, size / 2);
        assert_int_equal(p.column, size / 2);
        /* Out of the way. */
        step(b, UP);
        p = seen(b->e, 0);
        for (int r = 0; r < size; r++)
            for (int c = 0; c < size; c++) assert_int_equal(at(&p, r, c) == '#', is_wall(size, r, c));
        closed(b);
    }
}

static void the_first_observation(void **state)
{
    (void)state;
    /* No wall around the centre of 13, no step made, no reward, and action 0 in place of one. */
    static const float expected[OBSERVATION] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0};
    bench *b = opened(env_maze.defaults, 3, 1);
    env_maze.observe(b->e, 0, 3, b->observations[0]);
    for (int i = 0; i < 3; i++) assert_memory_equal(b->observations[i], expected, sizeof expected);
    step(b, RIGHT);
    reset(b);
    for (int i = 0; i < 3; i++) assert_memory_equal(b->observations[i], expected, sizeof expected);
    closed(b);
}

/* New episodes until the only copy's goal stands where it is wanted. */
static void reset_until(bench *b, int (*wanted)(const picture *))
{
    for (int episode = 0; episode < 10000; episode++) {
        reset(b);
        picture p = seen(b->e, 0);
        if (wanted(&p)) return;
    }
    fail_msg("no such goal");
}

static int goal_is_below(const picture *p)
{
    return p->goal_row > p->row;
}

/* From the centre (4, 4) of 9 x 9 to (1, 4), with the walls that are tried on the way. */
static void the_course_of_observations(void **state)
{
    (void)state;
    env_options o = options(9, 8, "centre");
    o.wall_penalty = 0.25;
    static const struct {
        int action, row, column;
        float x[OBSERVATION];
    } course[] = {
        {LEFT, 4, 3, {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0.125F, 0, 0, 0, 1, 0}},
        {LEFT, 4, 3, {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0.25F, -0.25F, 0, 0, 1, 0}},
        {UP, 3, 3, {1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0.375F, 0, 1, 0, 0, 0}},
        {UP, 2, 3, {0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0.5F, 0, 1, 0, 0, 0}},
        {UP, 1, 3, {1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0.625F, 0, 1, 0, 0, 0}},
        {UP, 1, 3, {1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0.75F, -0.25F, 1, 0, 0, 0}},
        {RIGHT, 1, 4, {1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0.875F, 0, 0, 0, 0, 1}},
        {DOWN, 1, 4, {1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, -0.25F, 0, 1, 0, 0}},
    };
    bench *b = opened(o, 1, 1);
    reset_until(b, goal_is_below);
    for (int t = 0; t < 8; t++) {
        step(b, course[t].action);
        picture p = seen(b->e, 0);
        assert_int_equal(p.row, course[t].row);
        assert_int_equal(p.column, course[t].column);
        for (int i = 0; i < OBSERVATION; i++) assert_true(b->observations[0][i] == course[t].x[i]);
        assert_true(b->rewards[0] == course[t].x[12]);
        assert_int_equal(b->ends[0], t < 7 ? NO_END : LAST_STEP);
    }
    closed(b);
}

static int goal_is_two_above(const picture *p)
{
    return p->goal_row == p->row - 2 && p->goal_column == p->column;
}

static int goal_is_one_above(const picture *p)
{
    return p->goal_row == p->row - 1 && p->goal_column == p->column;
}

/* The reward comes with the move that ends on the goal; what is seen then is the place that the agent was put on. */
static void the_reward_and_what_is_seen_with_it(void **state)
{
    (void)state;
    env_options o = options(11, 5, "centre");
    o.reward = 2.5;
    bench *b = opened(o, 1, 5);
    reset_until(b, goal_is_two_above);
    step(b, UP);
    assert_true(b->rewards[0] == 0);
    picture before = seen(b->e, 0);
    step(b, UP);
    picture after = seen(b->e, 0);
    assert_true(b->rewards[0] == 2.5F);
    assert_int_equal(b->ends[0], NO_END);
    assert_int_equal(after.goal_row, before.goal_row);
    assert_int_equal(after.goal_column, before.goal_column);
    assert_true(after.row != after.goal_row || after.column != after.goal_column);
    assert_true(abs(after.row - before.row) + abs(after.column - before.column) > 1);
    for (int i = 0; i < 9; i++)
        assert_true(b->observations[0][i] == (float)is_wall(11, after.row - 1 + i / 3, after.column - 1 + i % 3));
    assert_true(b->observations[0][12] == 2.5F);
    /* Seen as the previous reward once only. */
    step(b, after.row > 1 && !is_wall(11, after.row - 1, after.column) ? UP : DOWN);
    assert_true(b->observations[0][12] == b->rewards[0]);
    closed(b);
}

/* A goal at the start gives nothing before the agent comes back; one that is reached by the last move counts. */
static void a_goal_at_the_start_and_one_at_the_end(void **state)
{
    (void)state;
    bench *b = opened(options(13, 2, "centre"), 1, 9);
    reset_until(b, goal_is_the_start);
    assert_int_equal(strchr(seen(b->e, 0).text, '$') != NULL, 1);
    assert_true(b->observations[0][12] == 0);
    step(b, LEFT);
    assert_true(b->rewards[0] == 0);
    step(b, RIGHT);
    assert_true(b->rewards[0] == 10);
    assert_int_equal(b->ends[0], LAST_STEP);
    closed(b);
}

static void an_ended_episode_stays_as_it_is(void **state)
{
    (void)state;
    bench *b = opened(options(13, 1, "centre"), 1, 9);
    reset_until(b, goal_is_one_above);
    step(b, UP);
    assert_true(b->rewards[0] == 10);
    picture p = seen(b->e, 0);
    float x[OBSERVATION];
    memcpy(x, b->observations[0], sizeof x);
    for (int action = 0; action < 4; action++) {
        step(b, action);
        assert_true(b->rewards[0] == 0);
        assert_int_equal(b->ends[0], LAST_STEP);
        assert_string_equal(seen(b->e, 0).text, p.text);
        assert_memory_equal(b->observations[0], x, sizeof x);
    }
    reset(b);
    step(b, DOWN);
    assert_int_equal(b->ends[0], LAST_STEP);
    assert_int_equal(seen(b->e, 0).row, 7);
    closed(b);
}

/* -------------------------------------------------------------------------------------------------- a maze of its own */

typedef struct slow {
    picture p;
    int t, last_action, found;
    int64_t returns, return_steps;
    int last_found;
    double last_reward;
} slow;

/* What the specification says of one move; where the agent was put is looked up in the environment's own picture. */
static double slow_move(slow *s, const env *e, int copy, int action)
{
    static const int down[] = {-1, 1, 0, 0}, right[] = {0, 0, -1, 1};
    const env_options *o = &e->options;
    int row = s->p.row + down[action], column = s->p.column + right[action];
    double reward = 0;
    s->t += 1;
    s->last_action = action;
    if (is_wall(o->size, row, column)) {
        reward -= o->wall_penalty;
    } else {
        s->p.row = row;
        s->p.column = column;
    }
    if (s->p.row == s->p.goal_row && s->p.column == s->p.goal_column) {
        reward += o->reward;
        if (s->found > 0) {
            s->returns += 1;
            s->return_steps += s->t - s->last_found;
        }
        s->found += 1;
        s->last_found = s->t;
        picture now = seen(e, copy);
        s->p.row = now.row;
        s->p.column = now.column;
        assert_false(is_wall(o->size, now.row, now.column));
        assert_false(now.row == s->p.goal_row && now.column == s->p.goal_column);
    }
    s->last_reward = reward;
    return reward;
}

static void slow_observation(const slow *s, const env_options *o, float *x)
{
    int i = 0;
    for (int row = s->p.row - 1; row <= s->p.row + 1; row++)
        for (int column = s->p.column - 1; column <= s->p.column + 1; column++)
            x[i++] = is_wall(o->size, row, column) ? 1.0F : 0.0F;
    x[i++] = 0;
    x[i++] = 1;
    x[i++] = (float)s->t / (float)o->steps;
    x[i++] = (float)s->last_reward;
    for (int a = UP; a <= RIGHT; a++) x[i++] = s->last_action == a ? 1.0F : 0.0F;
    assert_int_equal(i, OBSERVATION);
}

static void assert_seen(const bench *b, int copy, const slow *s)
{
    float x[OBSERVATION];
    slow_observation(s, &b->e->options, x);
    for (int i = 0; i < OBSERVATION; i++)
        if (b->observations[copy][i] != x[i])
            fail_msg("copy %d, step %d, value %d: %g, expected %g", copy, s->t, i, (double)b->observations[copy][i],
                     (double)x[i]);
    picture now = seen(b->e, copy);
    assert_int_equal(now.row, s->p.row);
    assert_int_equal(now.column, s->p.column);
    assert_int_equal(now.goal_row, s->p.goal_row);
    assert_int_equal(now.goal_column, s->p.goal_column);
}

static int64_t follow(env_options o, int copies, int steps, uint64_t seed)
{
    bench *b = opened(o, copies, seed);
    slow s[COPIES];
    uint64_t x = seed * 2654435761U + 88172645463325252U;
    int64_t found = 0;
    for (int t = 0; t < steps; t++) {
        if (t % o.steps == 0) {
            reset(b);
            for (int i = 0; i < copies; i++) {
                s[i] = (slow){.p = seen(b->e, i)};
                assert_int_equal(!o.start && (s[i].p.row != o.size / 2 || s[i].p.column != o.size / 2), 0);
                assert_int_equal(o.start && goal_is_the_start(&s[i].p), 0);
                assert_seen(b, i, &s[i]);
            }
        }
        for (int i = 0; i < copies; i++) b->actions[i] = next_action(&x);
        step_range(b, 0, copies);
        env_goals sum = {0}, expected = {0};
        for (int i = 0; i < copies; i++) {
            double reward = slow_move(&s[i], b->e, i, b->actions[i]);
            assert_true(b->rewards[i] == (float)reward);
            assert_int_equal(b->ends[i], s[i].t == o.steps ? LAST_STEP : NO_END);
            assert_seen(b, i, &s[i]);
            expected.reached += s[i].found;
            expected.returns += s[i].returns;
            expected.return_steps += s[i].return_steps;
        }
        env_maze.goals(b->e, 0, copies, &sum);
        assert_int_equal(sum.reached, expected.reached);
        assert_int_equal(sum.returns, expected.returns);
        assert_int_equal(sum.return_steps, expected.return_steps);
        if ((t + 1) % o.steps == 0) found += sum.reached;
    }
    closed(b);
    return found;
}

static void ten_thousand_steps_beside_a_slow_maze(void **state)
{
    (void)state;
    assert_true(follow(env_maze.defaults, 5, 10000, 1) > 100);
    env_options o = options(7, 37, "random");
    o.wall_penalty = 0.1;
    o.reward = 0.7;
    assert_true(follow(o, 7, 2000, 2) > 200);
    /* Corners and centre, where walls meet in every way there is. */
    assert_true(follow(options(5, 50, "random"), COPIES, 500, 3) > 500);
    assert_true(follow(options(5, 50, "centre"), 3, 500, 4) > 30);
    o.size = SIZE_MOST;
    o.steps = 333;
    follow(o, 3, 999, 5);
}

/* ------------------------------------------------------------------------------------------------------------- draws */

/* Every free cell comes as often as the others, within five standard deviations, and those of `never` never. */
static void assert_even(const int *counts, int size, int draws, int cells, int never)
{
    double mean = (double)draws / cells;
    int missed = 0;
    for (int r = 0; r < size; r++)
        for (int c = 0; c < size; c++) {
            int count = counts[r * size + c];
            if (is_wall(size, r, c)) assert_int_equal(count, 0);
            else if (count == 0) missed++;
            else if (fabs(count - mean) > 5 * sqrt(mean))
                fail_msg("(%d, %d): %d of %d, expected about %g", r, c, count, draws, mean);
        }
    assert_int_equal(missed, never);
}

static void goals_and_starts_are_drawn_evenly(void **state)
{
    (void)state;
    /* 13 x 13 has 97 free cells: 121 inside less 24 pillars. */
    static int goals[13 * 13], starts[13 * 13];
    for (int random = 0; random < 2; random++) {
        bench *b = opened(options(13, 1, random ? "random" : "centre"), COPIES, 11);
        memset(goals, 0, sizeof goals);
        memset(starts, 0, sizeof starts);
        int draws = 0, same = 0;
        for (int episode = 0; episode < 1500; episode++) {
            reset(b);
            for (int i = 0; i < COPIES; i++, draws++) {
                picture p = seen(b->e, i);
                goals[p.goal_row * 13 + p.goal_column]++;
                starts[p.row * 13 + p.column]++;
                same += goal_is_the_start(&p);
            }
        }
        assert_even(goals, 13, draws, 97, 0);
        if (random) {
            assert_even(starts, 13, draws, 97, 0);
            assert_int_equal(same, 0);
        } else {
            assert_int_equal(starts[6 * 13 + 6], draws);
            assert_int_equal(same, goals[6 * 13 + 6]);
        }
        closed(b);
    }
}

static void the_agent_is_put_on_every_cell_but_the_goal(void **state)
{
    (void)state;
    /* 7 x 7: 25 inside less 4 pillars. A goal right above the start, over and over again. */
    static int places[7 * 7];
    bench *b = opened(options(7, 1, "centre"), 1, 12);
    int draws = 0;
    for (; draws < 4000; draws++) {
        reset_until(b, goal_is_one_above);
        step(b, UP);
        assert_true(b->rewards[0] == 10);
        picture p = seen(b->e, 0);
        places[p.row * 7 + p.column]++;
    }
    assert_even(places, 7, draws, 20, 1);
    assert_int_equal(places[2 * 7 + 3], 0);
    closed(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_walls_of_the_paper),
        cmocka_unit_test(the_centre_is_free_in_every_size),
        cmocka_unit_test(the_first_observation),
        cmocka_unit_test(the_course_of_observations),
        cmocka_unit_test(the_reward_and_what_is_seen_with_it),
        cmocka_unit_test(a_goal_at_the_start_and_one_at_the_end),
        cmocka_unit_test(an_ended_episode_stays_as_it_is),
        cmocka_unit_test(ten_thousand_steps_beside_a_slow_maze),
        cmocka_unit_test(goals_and_starts_are_drawn_evenly),
        cmocka_unit_test(the_agent_is_put_on_every_cell_but_the_goal),
    };
    return cmocka_run_group_tests_name("tasks/maze", tests, NULL, NULL);
}
