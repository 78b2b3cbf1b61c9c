/* The maze's oracle against distances of this file's own (relaxed until none gets shorter). */
#include "maze_case.h"

#include <stdio.h>

enum { CELLS_MOST = SIZE_MOST * SIZE_MOST, FAR = 1 << 20 };

/* Moves from (row, column) to every cell; FAR for walls. */
static void measure(int size, int row, int column, int *away /* (size, size) */)
{
    for (int i = 0; i < size * size; i++) away[i] = FAR;
    away[row * size + column] = 0;
    for (int changed = 1; changed;) {
        changed = 0;
        for (int i = size; i < size * size - size; i++) {
            if (is_wall(size, i / size, i % size)) continue;
            const int beside[] = {i - size, i + size, i - 1, i + 1};
            for (int k = 0; k < 4; k++)
                if (away[beside[k]] + 1 < away[i]) away[i] = away[beside[k]] + 1, changed = 1;
        }
    }
}

/* The way the oracle of one copy is on. */
typedef struct way {
    char visited[CELLS_MOST];
    int known; // whether it has been at the goal
    int left;  // moves to what it walks to
} way;

static int distance_wanted(const way *w, const picture *p)
{
    int away[CELLS_MOST], least = FAR;
    measure(p->size, p->row, p->column, away);
    if (w->known) return away[p->goal_row * p->size + p->goal_column];
    for (int i = 0; i < p->size * p->size; i++)
        if (!w->visited[i] && away[i] > 0 && away[i] < least) least = away[i];
    return least;
}

/* Every move of the oracle brings it nearer to the goal that it knows, or to the nearest cells that it does not, and
 * the goal is found when it comes to it. */
static int64_t walk(env_options o, int copies, int episodes)
{
    bench *b = opened(o, copies, 17);
    static way ways[COPIES];
    unsigned char *notes = calloc((size_t)copies, env_maze.oracle->notes(b->e));
    env_goals sum = {0};
    int64_t expected_returns = 0, expected_steps = 0;
    for (int t = 0; t < episodes * o.steps; t++) {
        if (t % o.steps == 0) {
            reset(b);
            memset(ways, 0, sizeof ways);
        }
        env_maze.oracle->act(b->e, 1, notes, 0, copies, b->actions);
        for (int i = 0; i < copies; i++) {
            picture p = seen(b->e, i);
            if (o.start && t % o.steps == 0) ways[i].visited[p.row * p.size + p.column] = 1;
            if (!ways[i].left) {
                ways[i].left = distance_wanted(&ways[i], &p);
                if (ways[i].known && t % o.steps + ways[i].left <= o.steps) {
                    expected_returns++;
                    expected_steps += ways[i].left;
                }
            }
        }
        step_range(b, 0, copies);
        for (int i = 0; i < copies; i++) {
            picture p = seen(b->e, i);
            int hit = b->rewards[i] > 0;
            if (--ways[i].left == 0 && ways[i].known) assert_true(hit);
            if (hit) {
                assert_int_equal(ways[i].left, 0);
                ways[i].known = 1;
            } else if (!ways[i].known) {
                char *visited = &ways[i].visited[p.row * p.size + p.column];
                assert_int_equal(*visited, ways[i].left > 0);
                *visited = 1;
            }
        }
        if ((t + 1) % o.steps == 0) env_maze.goals(b->e, 0, copies, &sum);
    }
    assert_int_equal(sum.returns, expected_returns);
    assert_int_equal(sum.return_steps, expected_steps);
    free(notes);
    closed(b);
    return sum.reached;
}

static void every_way_is_a_shortest_one(void **state)
{
    (void)state;
    assert_true(walk(env_maze.defaults, 20, 2) > 20 * 2 * 10);
    assert_true(walk(options(5, 50, "centre"), COPIES, 4) > COPIES * 4 * 10);
    assert_true(walk(options(7, 60, "random"), COPIES, 4) > COPIES * 4 * 8);
    walk(options(21, 400, "random"), 2, 1);
}

/* Within as many moves as the search of all cells takes at most, every copy has found its goal. */
static void every_goal_is_found(void **state)
{
    (void)state;
    bench *b = opened(options(13, 200, "centre"), COPIES, 23);
    unsigned char *notes = calloc(COPIES, env_maze.oracle->notes(b->e));
    for (int episode = 0; episode < 30; episode++) {
        reset(b);
        for (int t = 0; t < 200; t++) {
            env_maze.oracle->act(b->e, 1, notes, 0, COPIES, b->actions);
            step_range(b, 0, COPIES);
        }
        for (int i = 0; i < COPIES; i++) {
            env_goals one = {0};
            env_maze.goals(b->e, i, i + 1, &one);
            assert_true(one.reached > 0);
        }
    }
    free(notes);
    closed(b);
}

/* From the same start all copies that have not found their goal are at the same place. */
static void no_goal_is_known_before_it_is_found(void **state)
{
    (void)state;
    bench *b = opened(env_maze.defaults, COPIES, 29);
    unsigned char *notes = calloc(COPIES, env_maze.oracle->notes(b->e));
    reset(b);
    int searching = 0;
    for (int t = 0; t < 200; t++) {
        env_maze.oracle->act(b->e, 1, notes, 0, COPIES, b->actions);
        step_range(b, 0, COPIES);
        int row = 0, column = 0, alike = 0;
        for (int i = 0; i < COPIES; i++) {
            env_goals one = {0};
            env_maze.goals(b->e, i, i + 1, &one);
            if (one.reached) continue;
            picture p = seen(b->e, i);
            if (alike++ == 0) row = p.row, column = p.column;
            assert_int_equal(p.row, row);
            assert_int_equal(p.column, column);
        }
        searching += alike;
    }
    assert_true(searching > 200);
    free(notes);
    closed(b);
}

/* In any order of the copies. */
static void ranges_give_the_same_actions(void **state)
{
    (void)state;
    bench *b = opened(env_maze.defaults, COPIES, 3);
    size_t N = env_maze.oracle->notes(b->e);
    unsigned char *notes = calloc(COPIES, N), *others = calloc(COPIES, N);
    int32_t actions[COPIES];
    for (int t = 0; t < 400; t++) {
        if (t % 200 == 0) reset(b);
        for (int i = COPIES - 1; i >= 0; i--) env_maze.oracle->act(b->e, 1, others, i, i + 1, actions);
        env_maze.oracle->act(b->e, 2, notes, 0, COPIES, b->actions);
        assert_memory_equal(actions, b->actions, sizeof actions);
        step_range(b, 0, COPIES);
    }
    free(notes);
    free(others);
    closed(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_is_a_shortest_one),
        cmocka_unit_test(every_goal_is_found),
        cmocka_unit_test(no_goal_is_known_before_it_is_found),
        cmocka_unit_test(ranges_give_the_same_actions),
    };
    return cmocka_run_group_tests_name("tasks/maze_oracle", tests, NULL, NULL);
}
