/* The maze where memory is out, and that nothing is allocated after its creation. */
#include "maze_case.h"

#include "support/failing.h"

static void each_allocation_that_fails_is_told(void **state)
{
    (void)state;
    const long live = failing_live();
    for (long n = 1;; n++) {
        env *e;
        failing_set_allocation(n);
        stpn_status status = env_create(&e, &env_maze, &env_maze.defaults, 4, RANDOM_TRAIN, 1, &error);
        long tried = failing_allocations();
        failing_reset();
        assert_int_equal(status, tried < n ? STPN_OK : STPN_ERROR_MEMORY);
        if (status) {
            assert_null(e);
            assert_string_equal(error.message, "out of memory while allocating the mazes");
        }
        env_free(e);
        assert_int_equal(failing_live(), live);
        if (tried < n) break;
    }
}

static void nothing_is_allocated_after_creation(void **state)
{
    (void)state;
    bench *b = opened(options(13, 20, "random"), COPIES, 1);
    int64_t *saved = calloc(COPIES * (size_t)b->e->shape.state, sizeof *saved);
    unsigned char *notes = calloc(COPIES, env_maze.oracle->notes(b->e));
    char text[256];
    failing_set_allocations_from(1);
    for (int t = 0; t < 40; t++) {
        if (t % 20 == 0) reset(b);
        env_maze.oracle->act(b->e, 1, notes, 0, COPIES, b->actions);
        step_range(b, 0, COPIES);
        env_maze.save(b->e, saved);
        assert_int_equal(env_maze.restore(b->e, saved, "here", &error), STPN_OK);
        env_maze.observe(b->e, 0, COPIES, b->observations[0]);
        env_maze.draw(b->e, 0, text, sizeof text);
    }
    assert_int_equal(failing_allocations(), 0);
    failing_reset();
    free(notes);
    free(saved);
    closed(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_that_fails_is_told),
        cmocka_unit_test(nothing_is_allocated_after_creation),
    };
    return cmocka_run_group_tests_name("tasks/maze_failures", tests, NULL, NULL);
}
