/* The inverted pendulum: what MuJoCo makes of the model, each step against the equations of motion written out here, the
 * rules of the task, and what every environment owes its caller. With the argument `follow` the program is the other side
 * of test_pendulum_gymnasium.py: lines of state and action in, lines of what follows out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "tasks/pendulum.h"

enum { COPIES = 19, STATE = 9, SEEN = 4 };

static stpn_error error;

typedef struct place {
    double x, angle, dx, dangle;
} place;

static env *opened(env_options o, int copies, random_purpose purpose, uint64_t seed)
{
    env *e;
    if (env_create(&e, &env_pendulum, &o, copies, purpose, seed, &error)) fail_msg("%s", error.message);
    assert_int_equal(e->shape.state, STATE);
    return e;
}

static void put(env *e, int step, place p)
{
    int64_t state[STATE] = {0, step, 0};
    memcpy(state + PENDULUM_PLACE, &p, sizeof p);
    assert_int_equal(e->type->restore(e, state, "here", &error), STPN_OK);
}

static place seen(const env *e)
{
    int64_t state[STATE];
    place p;
    e->type->save(e, state);
    memcpy(&p, state + PENDULUM_PLACE, sizeof p);
    return p;
}

/* -------------------------------------------------------------------------------------------------------- the model */

typedef struct body {
    double mass, across, along; // moments of inertia across and along its axis
} body;

static const double pi = 3.14159265358979323846;

/* A capsule of radius r around an axis of length l, of a density of 1000 kg / m^3. */
static body capsule(double r, double l)
{
    double tube = 1000 * pi * r * r * l, ends = 1000 * 4 / 3.0 * pi * r * r * r;
    return (body){tube + ends, tube * (l * l / 12 + r * r / 4) + ends * (2 * r * r / 5 + l * l / 4 + 3 * l * r / 8),
                  tube * r * r / 2 + ends * 2 * r * r / 5};
}

static body cart_of_the_task(void)
{
    return capsule(0.1, 0.2);
}

static body pole_of_the_task(void)
{
    return capsule(0.049, sqrt(0.6 * 0.6 + 0.001 * 0.001));
}

static int by_size(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static void masses_and_inertias_are_those_of_the_task(void **state)
{
    (void)state;
    static const double masses[] = {10.47197551, 5.018591641};
    const body expected[] = {cart_of_the_task(), pole_of_the_task()};
    env *e = opened(env_pendulum.defaults, 1, RANDOM_TRAIN, 0);
    for (int i = 0; i < PENDULUM_BODIES; i++) {
        double mass, inertia[3];
        assert_int_equal(pendulum_body(e, i, &mass, inertia), 1);
        qsort(inertia, 3, sizeof *inertia, by_size);
        assert_true(fabs(mass - masses[i]) < 1e-8);
        assert_true(fabs(mass - expected[i].mass) < 1e-12);
        assert_true(fabs(inertia[0] - expected[i].along) < 1e-12);
        assert_true(fabs(inertia[1] - expected[i].across) < 1e-12);
        assert_true(fabs(inertia[2] - expected[i].across) < 1e-12);
    }
    env_free(e);
}

/* With q = a cos + c sin and h = c cos - a sin, the centre of the pole's mass in front of and above the hinge:
 *   (M + m) x'' + m h t'' - m q t'^2 = F - x'
 *   m h x'' + (I + m (a^2 + c^2)) t'' - m g q = -t' */
static place derivative(place p, double force)
{
    const double g = 9.81, a = 0.0005, c = 0.3, M = cart_of_the_task().mass, m = pole_of_the_task().mass;
    double q = a * cos(p.angle) + c * sin(p.angle), h = c * cos(p.angle) - a * sin(p.angle);
    double first = M + m, both = m * h, second = pole_of_the_task().across + m * (a * a + c * c);
    double push = force - p.dx + m * q * p.dangle * p.dangle, turn = m * g * q - p.dangle;
    double determinant = first * second - both * both;
    return (place){p.dx, p.dangle, (second * push - both * turn) / determinant,
                   (first * turn - both * push) / determinant};
}

static place moved(place p, double h, place d)
{
    return (place){p.x + h * d.x, p.angle + h * d.angle, p.dx + h * d.dx, p.dangle + h * d.dangle};
}

/* Runge and Kutta's method of fourth order, twice 0.02 s. */
static place step_by_hand(place p, double action)
{
    double force = 100 * fmin(fmax(action, -3), 3), h = 0.02;
    for (int i = 0; i < 2; i++) {
        place k1 = derivative(p, force), k2 = derivative(moved(p, h / 2, k1), force);
        place k3 = derivative(moved(p, h / 2, k2), force), k4 = derivative(moved(p, h, k3), force);
        p = moved(moved(moved(moved(p, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4);
    }
    return p;
}

static double difference(place a, place b)
{
    return fmax(fmax(fabs(a.x - b.x), fabs(a.angle - b.angle)), fmax(fabs(a.dx - b.dx), fabs(a.dangle - b.dangle)));
}

static void steps_follow_the_equations_of_motion(void **state)
{
    (void)state;
    env *e = opened(env_pendulum.defaults, 1, RANDOM_TRAIN, 0);
    random_stream r = random_open(3, RANDOM_BENCH, 0);
    int fallen = 0;
    for (int t = 0; t < 1000; t++) {
        place p = {random_range(&r, -0.8, 0.8), random_range(&r, -0.25, 0.25), random_range(&r, -2, 2),
                   random_range(&r, -3, 3)};
        float action = (float)random_range(&r, -4, 4), x[SEEN], reward;
        uint8_t end;
        put(e, t % 900, p);
        assert_int_equal(env_step(e, 0, 1, &action, x, &reward, &end, &error), STPN_OK);
        place expected = step_by_hand(p, (double)action), got = seen(e);
        assert_true(difference(expected, got) < 1e-11);
        int fell = fabs(expected.angle) > 0.2;
        assert_int_equal(end, fell ? STPN_TERMINATED : 0);
        assert_true(reward == (fell ? 0 : 1));
        assert_true(x[0] == (float)got.x && x[1] == (float)got.angle && x[2] == (float)got.dx &&
                    x[3] == (float)got.dangle);
        fallen += fell;
    }
    assert_true(fallen > 100 && fallen < 900);
    env_free(e);
}

static void the_rail_and_the_hinge_end(void **state)
{
    (void)state;
    env *e = opened(env_pendulum.defaults, 1, RANDOM_TRAIN, 0);
    float action = 3, x[SEEN], reward;
    uint8_t end;
    /* Without an end of the rail, 300 N would take it to 2.5 m in a second or less. */
    put(e, 0, (place){0.9, 0, 0, 0});
    for (int t = 0; t < 25; t++) {
        place p = seen(e);
        p.angle = p.dangle = 0;
        put(e, 0, p);
        assert_int_equal(env_step(e, 0, 1, &action, x, &reward, &end, &error), STPN_OK);
        assert_true(seen(e).x < 1.2);
    }
    env_free(e);
}

/* -------------------------------------------------------------------------------------------------------- the task */

static void episodes_start_near_the_middle_and_end_once(void **state)
{
    (void)state;
    env_options o = env_pendulum.defaults;
    o.steps = 6;
    env *e = opened(o, 500, RANDOM_TRAIN, 1);
    static float x[500][SEEN], actions[500], rewards[500];
    static uint8_t ends[500];
    assert_int_equal(env_reset(e, 0, 500, x[0], &error), STPN_OK);
    double sums[SEEN] = {0}, squares[SEEN] = {0};
    for (int b = 0; b < 500; b++)
        for (int i = 0; i < SEEN; i++) {
            assert_true(fabsf(x[b][i]) <= 0.01F);
            sums[i] += (double)x[b][i];
            squares[i] += (double)x[b][i] * (double)x[b][i];
        }
    for (int i = 0; i < SEEN; i++) {
        assert_true(fabs(sums[i] / 500) < 0.0012); // 4.6 deviations of the mean
        assert_true(fabs(sqrt(squares[i] / 500) - 0.01 / sqrt(3)) < 0.0006);
    }
    for (int t = 1; t <= 8; t++) {
        /* Copies from 400 on fall at once. */
        for (int b = 0; b < 500; b++) actions[b] = b < 400 ? 0 : t == 1 ? 3e30F : -INFINITY;
        assert_int_equal(env_step(e, 0, 500, actions, x[0], rewards, ends, &error), STPN_OK);
        for (int b = 0; b < 400; b++) {
            assert_int_equal(ends[b], t < 6 ? 0 : STPN_TRUNCATED);
            assert_true(rewards[b] == (t <= 6 ? 1 : 0));
        }
    }
    env_free(e);
    o.steps = 1000;
    e = opened(o, 1, RANDOM_TRAIN, 1);
    env_reset(e, 0, 1, x[0], &error);
    int lasted = 0;
    double total = 0;
    for (actions[0] = 3; lasted < 100 && !(lasted && ends[0]); lasted++) {
        assert_int_equal(env_step(e, 0, 1, actions, x[0], rewards, ends, &error), STPN_OK);
        total += (double)rewards[0];
    }
    assert_int_equal(ends[0], STPN_TERMINATED);
    assert_true(lasted < 20 && total == lasted - 1);
    float last[SEEN];
    memcpy(last, x[0], sizeof last);
    assert_int_equal(env_step(e, 0, 1, actions, x[0], rewards, ends, &error), STPN_OK);
    assert_true(ends[0] == STPN_TERMINATED && rewards[0] == 0);
    assert_memory_equal(last, x[0], sizeof last);
    env_free(e);
}

static void what_is_no_number_moves_no_copy(void **state)
{
    (void)state;
    env *e = opened(env_pendulum.defaults, 3, RANDOM_TRAIN, 1);
    float x[3][SEEN], actions[3] = {1, 1, NAN}, rewards[3];
    uint8_t ends[3];
    int64_t before[3 * STATE], after[3 * STATE];
    env_reset(e, 0, 3, x[0], &error);
    e->type->save(e, before);
    assert_int_equal(env_step(e, 0, 3, actions, x[0], rewards, ends, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, "copy 2 of pendulum: the action is not a number");
    e->type->save(e, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(env_step(e, 0, 2, actions, x[0], rewards, ends, &error), STPN_OK);
    env_free(e);
}

/* --------------------------------------------------------------------------------------- as every environment owes */

typedef struct job {
    env *e;
    int width;
    uint64_t notes[COPIES];
    float x[COPIES][SEEN], actions[COPIES], rewards[COPIES];
    uint8_t ends[COPIES];
} job;

static void turn(void *context, int task, int worker)
{
    (void)worker;
    job *j = context;
    stpn_error own;
    int first = task * j->width, last = first + j->width < COPIES ? first + j->width : COPIES;
    env_random.act(j->e, 5, j->notes, first, last, j->actions);
    if (env_step(j->e, first, last, j->actions, j->x[0], j->rewards, j->ends, &own)) abort();
    for (int b = first; b < last; b++)
        if (j->ends[b] && env_reset(j->e, b, b + 1, j->x[0], &own)) abort();
}

static void course(int width, int threads, random_purpose purpose, uint64_t seed, int64_t *state)
{
    job j = {.e = opened(env_pendulum.defaults, COPIES, purpose, seed), .width = width};
    stpn_pool *pool = NULL;
    if (threads > 1) assert_int_equal(stpn_pool_create(&pool, threads, &error), STPN_OK);
    for (int t = 0; t < 60; t++) pool_run(pool, (COPIES + width - 1) / width, threads, turn, &j);
    j.e->type->save(j.e, state);
    stpn_pool_free(pool);
    env_free(j.e);
}

static void ranges_and_threads_give_the_same_bits(void **state)
{
    (void)state;
    static int64_t whole[COPIES * STATE], other[COPIES * STATE];
    course(COPIES, 1, RANDOM_TRAIN, 7, whole);
    for (int b = 0; b < COPIES; b++) assert_true(whole[b * STATE + PENDULUM_EPISODE] >= 1);
    course(4, 2, RANDOM_TRAIN, 7, other);
    assert_memory_equal(other, whole, sizeof whole);
    course(1, 3, RANDOM_TRAIN, 7, other);
    assert_memory_equal(other, whole, sizeof whole);
    course(COPIES, 1, RANDOM_TEST, 7, other);
    assert_memory_not_equal(other, whole, sizeof whole);
    course(COPIES, 1, RANDOM_TRAIN, 8, other);
    assert_memory_not_equal(other, whole, sizeof whole);
}

/* Also at the end of the rail, where the engine begins its search where the last one ended. */
static void a_saved_state_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    env *one = opened(env_pendulum.defaults, COPIES, RANDOM_TRAIN, 2);
    env *other = opened(env_pendulum.defaults, COPIES, RANDOM_TRAIN, 2);
    static int64_t saved[COPIES * STATE], again[COPIES * STATE];
    static float x[2][COPIES][SEEN], actions[COPIES], rewards[COPIES];
    static uint8_t ends[COPIES];
    uint64_t notes[COPIES] = {0};
    int at_the_end = 0;
    env_reset(one, 0, COPIES, x[0][0], &error);
    for (int t = 0; t < 300; t++) {
        one->type->save(one, saved);
        if (t % 10 == 0) {
            for (int b = 0; b < 5; b++) {
                place p = {0.95, -0.1, 2 + b, -1};
                memcpy(saved + b * STATE + PENDULUM_PLACE, &p, sizeof p);
            }
            assert_int_equal(one->type->restore(one, saved, "here", &error), STPN_OK);
            env_observe(one, 0, COPIES, x[0][0]);
        }
        if (t % 3 == 0 || t % 10 == 0) {
            assert_int_equal(other->type->restore(other, saved, "here", &error), STPN_OK);
            env_observe(other, 0, COPIES, x[1][0]);
            assert_memory_equal(x[0], x[1], sizeof x[0]);
        }
        env_random.act(one, 1, notes, 0, COPIES, actions);
        assert_int_equal(env_step(other, 0, COPIES, actions, x[1][0], rewards, ends, &error), STPN_OK);
        assert_int_equal(env_step(one, 0, COPIES, actions, x[0][0], rewards, ends, &error), STPN_OK);
        for (int b = 0; b < COPIES; b++) {
            at_the_end += x[0][b][0] > 1;
            if (!ends[b]) continue;
            env_reset(one, b, b + 1, x[0][0], &error);
            env_reset(other, b, b + 1, x[1][0], &error);
        }
        assert_memory_equal(x[0], x[1], sizeof x[0]);
        one->type->save(one, saved);
        other->type->save(other, again);
        assert_memory_equal(saved, again, sizeof saved);
    }
    assert_true(at_the_end > 50);
    env_free(one);
    env_free(other);
}

static void a_state_that_cannot_be_changes_nothing(void **state)
{
    (void)state;
    env *e = opened(env_pendulum.defaults, 2, RANDOM_TRAIN, 2);
    const double wrong_values[] = {NAN, INFINITY, -2e9};
    int64_t saved[2 * STATE], broken[2 * STATE], after[2 * STATE];
    e->type->save(e, saved);
    for (int i = 0; i < STATE; i++)
        for (int k = 0; k < 3; k++) {
            memcpy(broken, saved, sizeof saved);
            broken[1] = 5;
            if (i < PENDULUM_PLACE) broken[STATE + i] = k == 0 ? -1 : k == 1 ? INT64_MAX : INT64_MIN;
            else memcpy(&broken[STATE + i], &wrong_values[k], sizeof wrong_values[k]);
            assert_int_equal(e->type->restore(e, broken, "last.safetensors", &error), STPN_ERROR_INPUT);
            assert_string_equal(error.message,
                                "last.safetensors: copy 1 is in a state that this pendulum does not have");
            e->type->save(e, after);
            assert_memory_equal(saved, after, sizeof saved);
        }
    /* Cut off before its time, or not at it. */
    memcpy(broken, saved, sizeof saved);
    broken[STATE + PENDULUM_END] = STPN_TRUNCATED;
    assert_int_equal(e->type->restore(e, broken, "x", &error), STPN_ERROR_INPUT);
    broken[STATE + PENDULUM_STEP] = 1000;
    assert_int_equal(e->type->restore(e, broken, "x", &error), STPN_OK);
    broken[STATE + PENDULUM_END] = 0;
    assert_int_equal(e->type->restore(e, broken, "x", &error), STPN_ERROR_INPUT);
    env_free(e);
}

static void velocities_can_be_hidden(void **state)
{
    (void)state;
    env_options o = env_pendulum.defaults;
    o.mask = (option_list){2, {2, 3}};
    env *e = opened(o, 2, RANDOM_TRAIN, 2);
    float x[2][SEEN], low, high;
    env_reset(e, 0, 2, x[0], &error);
    for (int b = 0; b < 2; b++) assert_true(x[b][0] != 0 && x[b][1] != 0 && x[b][2] == 0 && x[b][3] == 0);
    e->type->bounds(e, 0, &low, &high);
    assert_true(low == -3 && high == 3);
    assert_int_equal(e->shape.continuous, 1);
    assert_int_equal(e->shape.actions, 0);
    assert_int_equal(e->shape.steps, 1000);
    env_free(e);
}

/* ------------------------------------------------------------------------------------------- a build without MuJoCo */

static void a_build_without_the_engine_says_what_it_lacks(void **state)
{
    (void)state;
    env *e = (env *)1;
    assert_int_equal(env_create(&e, &env_pendulum, &env_pendulum.defaults, 1, RANDOM_TRAIN, 0, &error),
                     STPN_ERROR_INPUT);
    assert_null(e);
    assert_string_equal(error.message, "task pendulum takes MuJoCo, which this build of stpn is without: install "
                                       "libmujoco-dev (Debian), or name the folder of another with "
                                       "-DSTPN_MUJOCO=FOLDER, and build again");
}

static int follow(void)
{
    place p;
    double warm[2];
    float action, x[SEEN], reward;
    uint8_t end;
    env *e = opened(env_pendulum.defaults, 1, RANDOM_TRAIN, 0);
    printf("%d\n", pendulum_engine());
    while (scanf("%lf %lf %lf %lf %lf %lf %f", &p.x, &p.angle, &p.dx, &p.dangle, &warm[0], &warm[1], &action) == 7) {
        int64_t state[STATE] = {0};
        memcpy(state + PENDULUM_PLACE, &p, sizeof p);
        memcpy(state + STATE - 2, warm, sizeof warm);
        if (e->type->restore(e, state, "a line", &error)) return 1;
        if (env_step(e, 0, 1, &action, x, &reward, &end, &error)) return 1;
        p = seen(e);
        printf("%.17g %.17g %.17g %.17g %g %d\n", p.x, p.angle, p.dx, p.dangle, (double)reward, end);
    }
    env_free(e);
    return 0;
}

int main(int count, char **words)
{
    const struct CMUnitTest without[] = {cmocka_unit_test(a_build_without_the_engine_says_what_it_lacks)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masses_and_inertias_are_those_of_the_task),
        cmocka_unit_test(steps_follow_the_equations_of_motion),
        cmocka_unit_test(the_rail_and_the_hinge_end),
        cmocka_unit_test(episodes_start_near_the_middle_and_end_once),
        cmocka_unit_test(what_is_no_number_moves_no_copy),
        cmocka_unit_test(ranges_and_threads_give_the_same_bits),
        cmocka_unit_test(a_saved_state_goes_on_to_the_same_bits),
        cmocka_unit_test(a_state_that_cannot_be_changes_nothing),
        cmocka_unit_test(velocities_can_be_hidden),
    };
    if (count == 2 && strcmp(words[1], "follow") == 0) return pendulum_engine() ? follow() : 1;
    if (!pendulum_engine()) return cmocka_run_group_tests_name("tasks/pendulum", without, NULL, NULL);
    return cmocka_run_group_tests_name("tasks/pendulum", tests, NULL, NULL);
}
