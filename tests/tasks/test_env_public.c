/* Environments of the public header: those of env.h, read from a task's text and held to their range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/texts.h"
#include "tasks/env.h"

enum { COPIES = 20, INPUTS = 17, ACTIONS = 4 };

static stpn_error error;

typedef struct place {
    stpn_env *env;
    float observations[COPIES * INPUTS], rewards[COPIES];
    int32_t actions[COPIES];
    uint8_t ends[COPIES];
} place;

static void open_place(place *p)
{
    stpn_env_shape shape;
    const char task[] = "{\"name\": \"maze\", \"steps\": 15, \"mask\": [2, 11]}";
    if (stpn_env_create(&p->env, task, COPIES, 3, &error)) fail_msg("%s", error.message);
    stpn_env_describe(p->env, &shape);
    assert_int_equal(shape.observations, INPUTS);
    assert_int_equal(shape.steps, 15);
    assert_int_equal(shape.actions, ACTIONS);
    assert_int_equal(shape.continuous + shape.bytes, 0);
}

static void the_episodes_are_those_of_training(void **state)
{
    (void)state;
    place p;
    env *e;
    env_options options = env_maze.defaults;
    static float observations[COPIES * INPUTS], rewards[COPIES];
    uint8_t ends[COPIES];
    options.steps = 15;
    options.mask = (option_list){2, {2, 11}};
    assert_int_equal(env_create(&e, &env_maze, &options, COPIES, RANDOM_TRAIN, 3, &error), STPN_OK);
    open_place(&p);
    for (int t = 0; t < 32; t++) {
        if (t % 16 == 0) {
            assert_int_equal(stpn_env_reset(p.env, 0, COPIES, p.observations, &error), STPN_OK);
            assert_int_equal(env_reset(e, 0, COPIES, observations, &error), STPN_OK);
        }
        for (int b = 0; b < COPIES; b++) p.actions[b] = (t + b * b) % ACTIONS;
        assert_int_equal(stpn_env_step(p.env, 0, 7, p.actions, p.observations, p.rewards, p.ends, &error), STPN_OK);
        assert_int_equal(stpn_env_step(p.env, 7, COPIES, p.actions, p.observations, p.rewards, p.ends, &error),
                         STPN_OK);
        assert_int_equal(env_step(e, 0, COPIES, p.actions, observations, rewards, ends, &error), STPN_OK);
        assert_memory_equal(p.observations, observations, sizeof observations);
        assert_memory_equal(p.rewards, rewards, sizeof rewards);
        assert_memory_equal(p.ends, ends, sizeof ends);
    }
    stpn_env_free(p.env);
    env_free(e);
}

static void assert_refused(stpn_status status, const char *words)
{
    assert_input_error(status, &error, words);
}

static void tasks_that_are_none(void **state)
{
    (void)state;
    const char *const wrong[][2] = {{"{\"name\": \"labyrinth\"}", "task.name is \"labyrinth\", expected one of maze"},
                                    {"{\"name\": \"retrieval\"}", "expected one of maze"},
                                    {"[]", "task: holds an array"},
                                    {"{", "task: line 1"},
                                    {"{}", "task.name"},
                                    {"{\"name\": \"maze\", \"sise\": 3}", "size"}};
    stpn_env *e = (stpn_env *)&error;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_refused(stpn_env_create(&e, wrong[i][0], 1, 0, &error), wrong[i][1]);
        assert_null(e);
    }
    assert_refused(stpn_env_create(&e, "{\"name\": \"maze\"}", 0, 0, &error), "0 copies");
    assert_null(e);
}

static void ranges_actions_and_drawing(void **state)
{
    (void)state;
    place p;
    char text[40];
    float low = 0, high = 0;
    open_place(&p);
    assert_refused(stpn_env_reset(p.env, 0, COPIES + 1, p.observations, &error), "expected a range of 20 copies");
    assert_refused(stpn_env_step(p.env, 3, 2, p.actions, p.observations, p.rewards, p.ends, &error), "[3, 2)");
    assert_int_equal(stpn_env_reset(p.env, 0, COPIES, p.observations, &error), STPN_OK);
    memset(p.actions, 9, sizeof p.actions);
    assert_int_equal(stpn_env_step(p.env, 2, 2, p.actions, p.observations, p.rewards, p.ends, &error), STPN_OK);
    assert_refused(stpn_env_step(p.env, 0, 2, p.actions, p.observations, p.rewards, p.ends, &error), "expected 0 to 3");
    size_t length = stpn_env_draw(p.env, 1, text, sizeof text);
    assert_true(length > sizeof text && strlen(text) == sizeof text - 1);
    assert_int_equal(stpn_env_draw(p.env, 1, NULL, 0), length);
    assert_int_equal(stpn_env_draw(p.env, COPIES, text, sizeof text), 0);
    assert_string_equal(text, "");
    stpn_env_bounds(p.env, 0, &low, &high);
    assert_true(isinf(low) && low < 0 && isinf(high) && high > 0);
    stpn_env_free(p.env);
    stpn_env_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_episodes_are_those_of_training),
        cmocka_unit_test(tasks_that_are_none),
        cmocka_unit_test(ranges_actions_and_drawing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
