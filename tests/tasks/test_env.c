/* What every environment owes its caller, seen on the maze: the same bits in any ranges and on any threads, states that
 * are saved, bad input. */
#include "maze_case.h"

#include <math.h>
#include <stdio.h>

#include "base/threads.h"

/* All that a run of actions leaves, as one number. */
static uint64_t hash(uint64_t h, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211U;
    return h;
}

typedef struct job {
    bench *b;
    int width; // of a range
} job;

static void turn(void *context, int task, int worker)
{
    (void)worker;
    const job *j = context;
    int first = task * j->width, last = first + j->width < COPIES ? first + j->width : COPIES;
    step_range(j->b, first, last);
}

static uint64_t course(int width, int threads, random_purpose purpose, uint64_t seed)
{
    job j = {opened_for(purpose, options(7, 25, "random"), COPIES, seed), width};
    stpn_pool *pool = NULL;
    if (threads > 1) assert_int_equal(stpn_pool_create(&pool, threads, &error), STPN_OK);
    uint64_t h = 14695981039346656037U, x = 99;
    for (int t = 0; t < 100; t++) {
        if (t % 25 == 0) {
            /* Ranges in any order. */
            for (int first = COPIES - 1; first >= 0; first--)
                env_maze.reset(j.b->e, first, first + 1, j.b->observations[0], &error);
            h = hash(h, j.b->observations, sizeof j.b->observations);
        }
        for (int i = 0; i < COPIES; i++) j.b->actions[i] = next_action(&x);
        pool_run(pool, (COPIES + width - 1) / width, threads, turn, &j);
        h = hash(h, j.b->observations, sizeof j.b->observations);
        h = hash(h, j.b->rewards, sizeof j.b->rewards);
        h = hash(h, j.b->ends, sizeof j.b->ends);
    }
    for (int i = 0; i < COPIES; i++) {
        picture p = seen(j.b->e, i);
        h = hash(h, p.text, strlen(p.text));
    }
    stpn_pool_free(pool);
    closed(j.b);
    return h;
}

static void ranges_and_threads_give_the_same_bits(void **state)
{
    (void)state;
    uint64_t whole = course(COPIES, 1, RANDOM_TRAIN, 7);
    assert_true(course(1, 1, RANDOM_TRAIN, 7) == whole);
    assert_true(course(16, 2, RANDOM_TRAIN, 7) == whole);
    assert_true(course(5, 4, RANDOM_TRAIN, 7) == whole);
    assert_true(course(COPIES, 1, RANDOM_TRAIN, 8) != whole);
    assert_true(course(COPIES, 1, RANDOM_TEST, 7) != whole);
}

/* A range leaves the rows of others alone, and a copy's course does not depend on how many there are. */
static void a_range_is_its_own(void **state)
{
    (void)state;
    bench *b = opened(options(9, 20, "random"), 6, 3), *few = opened(options(9, 20, "random"), 4, 3);
    reset(b);
    reset(few);
    assert_memory_equal(b->observations, few->observations, sizeof b->observations[0] * 4);
    assert_string_not_equal(seen(b->e, 0).text, seen(b->e, 1).text);
    memset(b->rewards, 0x55, sizeof b->rewards);
    memset(b->ends, 0x55, sizeof b->ends);
    const bench before = *b;
    for (int i = 0; i < 6; i++) b->actions[i] = i % 4;
    step_range(b, 2, 4);
    memcpy(few->actions, b->actions, sizeof few->actions);
    step_range(few, 0, 4);
    for (int i = 0; i < 6; i++) {
        const bench *expected = i == 2 || i == 3 ? few : &before;
        assert_memory_equal(b->observations[i], expected->observations[i], sizeof b->observations[i]);
        assert_memory_equal(&b->rewards[i], &expected->rewards[i], sizeof b->rewards[i]);
        assert_int_equal(b->ends[i], expected->ends[i]);
    }
    closed(few);
    closed(b);
}

/* ------------------------------------------------------------------------------------------------------ saved states */

static void a_saved_state_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    env_options o = options(5, 40, "random");
    o.wall_penalty = 1;
    bench *one = opened(o, COPIES, 21), *other = opened(o, COPIES, 21);
    int64_t *saved = calloc(COPIES * (size_t)one->e->shape.state, sizeof *saved);
    uint64_t x = 4;
    for (int t = 0; t < 120; t++) {
        if (t % 40 == 0) reset(one);
        if (t % 7 == 0) {
            env_maze.save(one->e, saved);
            assert_int_equal(env_maze.restore(other->e, saved, "here", &error), STPN_OK);
            env_maze.observe(other->e, 0, COPIES, other->observations[0]);
            assert_memory_equal(other->observations, one->observations, sizeof one->observations);
        } else if (t % 40 == 0) {
            reset(other);
        }
        for (int i = 0; i < COPIES; i++) one->actions[i] = other->actions[i] = next_action(&x);
        step_range(one, 0, COPIES);
        step_range(other, 0, COPIES);
        assert_memory_equal(other->observations, one->observations, sizeof one->observations);
        assert_memory_equal(other->rewards, one->rewards, sizeof one->rewards);
        assert_memory_equal(other->ends, one->ends, sizeof one->ends);
        env_goals a = {0}, b = {0};
        env_maze.goals(one->e, 0, COPIES, &a);
        env_maze.goals(other->e, 0, COPIES, &b);
        assert_memory_equal(&a, &b, sizeof a);
    }
    free(saved);
    closed(one);
    closed(other);
}

static void a_state_that_cannot_be_changes_nothing(void **state)
{
    (void)state;
    bench *b = opened(options(5, 40, "centre"), 2, 21);
    int S = b->e->shape.state;
    int64_t *saved = calloc((size_t)S * 2, sizeof *saved), *broken = calloc((size_t)S * 2, sizeof *broken);
    reset(b);
    for (int t = 0; t < 30; t++) step(b, t / 2 % 4);
    env_maze.save(b->e, saved);
    picture p = seen(b->e, 0);
    for (int i = 0; i < S; i++)
        for (int k = 0; k < 3; k++) {
            memcpy(broken, saved, (size_t)S * 2 * sizeof *saved);
            /* The first copy's would be another one. */
            for (int j = 0; j < S; j++) broken[j] = saved[S + j];
            broken[S + i] = k == 0 ? -1 : k == 1 ? INT64_MAX : INT64_MIN;
            assert_int_equal(env_maze.restore(b->e, broken, "last.safetensors", &error), STPN_ERROR_INPUT);
            assert_string_equal(error.message, "last.safetensors: copy 1 is in a state that this maze does not have");
            assert_string_equal(seen(b->e, 0).text, p.text);
        }
    /* The cell of a wall. */
    memcpy(broken, saved, (size_t)S * 2 * sizeof *saved);
    broken[2] = 0;
    assert_int_equal(env_maze.restore(b->e, broken, "x", &error), STPN_ERROR_INPUT);
    free(saved);
    free(broken);
    closed(b);
}

/* ---------------------------------------------------------------------------------------------------- random actions */

static void random_actions_are_even_and_a_copys_own(void **state)
{
    (void)state;
    bench *b = opened(env_maze.defaults, COPIES, 1);
    assert_int_equal(env_random.notes(b->e), sizeof(uint64_t));
    uint64_t whole[COPIES] = {0}, parts[COPIES] = {0}, other[COPIES] = {0};
    int32_t again[COPIES];
    int counts[4] = {0}, pairs[4][4] = {{0}}, differing = 0;
    for (int t = 0; t < 2000; t++) {
        int before = b->actions[3];
        env_random.act(b->e, 6, other, 0, COPIES, again);
        env_random.act(b->e, 5, whole, 0, COPIES, b->actions);
        for (int i = 0; i < COPIES; i++) differing += again[i] != b->actions[i];
        for (int first = COPIES - 3; first >= 0; first -= 3) env_random.act(b->e, 5, parts, first, first + 3, again);
        assert_memory_equal(again, b->actions, sizeof again);
        for (int i = 0; i < COPIES; i++) counts[b->actions[i]]++;
        if (t > 0) pairs[before][b->actions[3]]++;
    }
    assert_true(abs(differing - 2000 * COPIES * 3 / 4) < 600);
    for (int i = 0; i < 4; i++) {
        assert_true(abs(counts[i] - 2000 * COPIES / 4) < 600);
        for (int k = 0; k < 4; k++) assert_true(abs(pairs[i][k] - 125) < 55);
    }
    closed(b);
}

/* ----------------------------------------------------------------------------------------------------- bad input */

static void options_out_of_range_give_one_message(void **state)
{
    (void)state;
    static const struct {
        int size, steps, start;
        double reward, penalty;
        const char *message;
    } cases[] = {
        {12, 200, 0, 10, 0, "task.size is 12, expected an odd number"},
        {3, 200, 0, 10, 0, "task.size is 3, expected an integer from 5 to 99"},
        {101, 200, 0, 10, 0, "task.size is 101, expected an integer from 5 to 99"},
        {13, 0, 0, 10, 0, "task.steps is 0, expected an integer from 1 to 16777216"},
        {13, 200, 2, 10, 0, "task.start is 2, expected one of centre|random"},
        {13, 200, 0, NAN, 0, "task.reward is nan, expected a number from -1000000 to 1000000"},
        {13, 200, 0, 10, -1, "task.wall_penalty is -1, expected a number from 0 to 1000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        env_options o = {.size = cases[i].size,
                         .steps = cases[i].steps,
                         .start = cases[i].start,
                         .reward = cases[i].reward,
                         .wall_penalty = cases[i].penalty};
        env *e = (env *)1;
        assert_int_equal(env_create(&e, &env_maze, &o, 1, RANDOM_TRAIN, 0, &error), STPN_ERROR_INPUT);
        assert_null(e);
        assert_string_equal(error.message, cases[i].message);
    }
    env *e;
    assert_int_equal(env_create(&e, &env_maze, &env_maze.defaults, 0, RANDOM_TRAIN, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "0 copies of maze, expected 1 to 1048576");
    assert_int_equal(env_create(&e, &env_maze, &env_maze.defaults, (1 << 20) + 1, RANDOM_TRAIN, 0, &error),
                     STPN_ERROR_INPUT);
    env_options largest = options(99, 1 << 24, "random");
    assert_int_equal(env_create(&e, &env_maze, &largest, 3, RANDOM_TRAIN, 0, &error), STPN_OK);
    env_free(e);
    env_free(NULL);
}

static void a_wrong_action_moves_no_copy(void **state)
{
    (void)state;
    bench *b = opened(env_maze.defaults, 3, 1);
    reset(b);
    bench before = *b;
    static const int32_t wrong[] = {4, -1, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        b->actions[2] = before.actions[2] = wrong[i];
        assert_int_equal(env_maze.step(b->e, 0, 3, b->actions, b->observations[0], b->rewards, b->ends, &error),
                         STPN_ERROR_INPUT);
        char expected[128];
        snprintf(expected, sizeof expected, "copy 2 of maze: action %d, expected 0 to 3", (int)wrong[i]);
        assert_string_equal(error.message, expected);
        assert_memory_equal(b, &before, sizeof before);
        for (int copy = 0; copy < 3; copy++) assert_int_equal(seen(b->e, copy).row, 6);
    }
    /* One outside the range is not looked at. */
    step_range(b, 0, 2);
    assert_int_equal(seen(b->e, 1).row, 5);
    closed(b);
}

static void the_picture_is_cut_to_its_room(void **state)
{
    (void)state;
    bench *b = opened(options(5, 10, "centre"), 1, 1);
    char whole[64], text[64];
    assert_int_equal(env_maze.draw(b->e, 0, whole, sizeof whole), 30);
    assert_int_equal(env_maze.draw(b->e, 0, NULL, 0), 30);
    for (size_t size = 1; size < sizeof text; size++) {
        memset(text, '!', sizeof text);
        assert_int_equal(env_maze.draw(b->e, 0, text, size), 30);
        size_t kept = size - 1 < 30 ? size - 1 : 30;
        assert_int_equal(strlen(text), kept);
        assert_memory_equal(text, whole, kept);
        for (size_t i = kept + 1; i < sizeof text; i++) assert_int_equal(text[i], '!');
    }
    closed(b);
}

static void hidden_columns_read_zero_and_change_nothing_else(void **state)
{
    (void)state;
    env_options o = options(7, 20, "random");
    bench *open = opened(o, COPIES, 3);
    o.mask = (option_list){3, {16, 10, 0}};
    bench *hidden = opened(o, COPIES, 3);
    uint64_t x = 5;
    int seen = 0;
    for (int t = 0; t < 20; t++) {
        for (int i = 0; i < COPIES; i++) open->actions[i] = hidden->actions[i] = next_action(&x);
        stpn_status status = STPN_OK;
        for (int i = 0; i < 2; i++) {
            bench *b = i ? hidden : open;
            if (t == 0) status |= env_reset(b->e, 0, COPIES, b->observations[0], &error);
            else if (t == 10) env_observe(b->e, 0, COPIES, b->observations[0]);
            else status |= env_step(b->e, 0, COPIES, b->actions, b->observations[0], b->rewards, b->ends, &error);
        }
        assert_int_equal(status, STPN_OK);
        for (int i = 0; i < COPIES; i++)
            for (int k = 0; k < OBSERVATION; k++) {
                int masked = k == 16 || k == 10 || k == 0;
                seen += masked && open->observations[i][k] != 0;
                assert_true(hidden->observations[i][k] == (masked ? 0 : open->observations[i][k]));
            }
    }
    assert_true(seen > 1000);
    closed(open);
    closed(hidden);
    env *e;
    o.mask.values[1] = OBSERVATION;
    assert_int_equal(env_create(&e, &env_maze, &o, 1, RANDOM_TRAIN, 0, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "task.mask has column 17, expected 0 to 16");
}

static void the_registry_and_the_shape(void **state)
{
    (void)state;
    char names[64];
    assert_ptr_equal(env_find("maze"), &env_maze);
    assert_ptr_equal(env_at(0), &env_maze);
    assert_null(env_at(-1));
    assert_null(env_find("mazes"));
    env_names(names, sizeof names);
    assert_string_equal(names, "maze, pendulum, gym, pong");
    bench *b = opened(env_maze.defaults, 2, 1);
    assert_ptr_equal(b->e->type, &env_maze);
    assert_int_equal(b->e->batch, 2);
    assert_int_equal(b->e->options.size, 13);
    assert_true(b->e->options.reward == 10 && b->e->options.wall_penalty == 0);
    assert_int_equal(b->e->shape.observations, OBSERVATION);
    assert_int_equal(b->e->shape.actions, 4);
    assert_int_equal(b->e->shape.continuous, 0);
    assert_int_equal(b->e->shape.steps, 200);
    closed(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_and_threads_give_the_same_bits),
        cmocka_unit_test(a_range_is_its_own),
        cmocka_unit_test(a_saved_state_goes_on_to_the_same_bits),
        cmocka_unit_test(a_state_that_cannot_be_changes_nothing),
        cmocka_unit_test(random_actions_are_even_and_a_copys_own),
        cmocka_unit_test(options_out_of_range_give_one_message),
        cmocka_unit_test(a_wrong_action_moves_no_copy),
        cmocka_unit_test(the_picture_is_cut_to_its_room),
        cmocka_unit_test(hidden_columns_read_zero_and_change_nothing_else),
        cmocka_unit_test(the_registry_and_the_shape),
    };
    return cmocka_run_group_tests_name("tasks/env", tests, NULL, NULL);
}
