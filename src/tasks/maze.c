/* Maze exploration (Miconi et al. 2019; Garcia Rodriguez et al. 2022, section 4.2). Walls stand all round and on every
 * cell with even row and even column, but never on the centre. An agent that stands on its goal after a move is
 * rewarded and put on another free cell at random, while the goal stays where it is for the whole episode: it has to be
 * found once and then found again.
 *
 * An observation is what the agent sees after its move, and after it was put elsewhere:
 *   0 to 8    the 3 x 3 cells around it, row by row, 1 for a wall
 *   9, 10     0, and 1
 *   11        moves made so far / T: 0 in the first observation, 1 in the last
 *   12        the reward of the last move, 0 before
 *   13 to 16  the last action, one-hot; action 0 before the first
 *
 * The copies' goals, and starts, are drawn uniformly from the free cells, the centre included; a start at random is
 * never on the goal, a start at the centre may be, and counts only once the agent comes back. */
#include "tasks/maze.h"

#include "base/error.h"
#include "base/memory.h"

#include <stddef.h>
#include <string.h>

enum { SEEN = 9, ZERO = SEEN, BIAS, TIME, REWARD, ACTION, OBSERVATIONS = ACTION + MAZE_ACTIONS };
enum { STATE = 10 };

#define FIELD(name) offsetof(env_options, name)

static const option options[] = {
    {"size", OPTION_INTEGER, FIELD(size), NULL, 5, MAZE_SIZE_MOST, "rows and columns, outer walls included; odd"},
    {"steps", OPTION_INTEGER, FIELD(steps), NULL, 1, 1 << 24, "T, moves of an episode"},
    {"reward", OPTION_NUMBER, FIELD(reward), NULL, -1e6, 1e6, "for reaching the goal"},
    {"wall_penalty", OPTION_NUMBER, FIELD(wall_penalty), NULL, 0, 1e6, "taken for a move into a wall"},
    {"start", OPTION_CHOICE, FIELD(start), "centre|random", 0, 0,
     "where an episode starts; random: any free cell but the goal"},
    ENV_MASK,
};

static stpn_status describe(const env_options *o, env_shape *shape, stpn_error *error)
{
    if (o->size % 2 == 0) return error_set(error, STPN_ERROR_INPUT, "task.size is %d, expected an odd number", o->size);
    *shape = (env_shape){.observations = OBSERVATIONS, .actions = MAZE_ACTIONS, .steps = o->steps, .state = STATE};
    return STPN_OK;
}

static void build(maze *m)
{
    int size = m->head.options.size;
    m->centre = size / 2 * size + size / 2;
    for (int cell = 0; cell < size * size; cell++) {
        int row = cell / size, column = cell % size;
        /* The size is odd: the last row and column are even too. */
        int wall = row == 0 || row == size - 1 || column == 0 || column == size - 1 ||
                   (row % 2 == 0 && column % 2 == 0 && cell != m->centre);
        m->walls[cell] = wall ? 1 : 0;
        m->places[cell] = wall ? -1 : m->free_count;
        if (!wall) m->cells[m->free_count++] = cell;
    }
    m->moves[MAZE_UP] = -size;
    m->moves[MAZE_DOWN] = size;
    m->moves[MAZE_LEFT] = -1;
    m->moves[MAZE_RIGHT] = 1;
}

/* A step of an episode has a block of the copy's own stream; step 0 is the start. */
static random_stream draws(const maze *m, int copy)
{
    const maze_copy *c = &m->copies[copy];
    random_stream stream = random_open(m->head.seed, m->head.purpose, (uint64_t)copy << 44 | (uint64_t)c->episode);
    stream.block = (uint32_t)c->step;
    return stream;
}

static int any_cell(const maze *m, random_stream *stream)
{
    return m->cells[random_below(stream, (uint32_t)m->free_count)];
}

static int any_cell_but(const maze *m, int cell, random_stream *stream)
{
    int place = (int)random_below(stream, (uint32_t)m->free_count - 1);
    return m->cells[place + (place >= m->places[cell])];
}

static void start(maze *m, int copy, int64_t episode)
{
    maze_copy *c = &m->copies[copy];
    *c = (maze_copy){.episode = episode};
    random_stream stream = draws(m, copy);
    c->goal = any_cell(m, &stream);
    c->agent = m->head.options.start == START_RANDOM ? any_cell_but(m, c->goal, &stream) : m->centre;
}

static void move(maze *m, int copy, int action)
{
    maze_copy *c = &m->copies[copy];
    int target = c->agent + m->moves[action];
    c->step++;
    c->action = action;
    c->bumped = m->places[target] < 0;
    if (!c->bumped) c->agent = target;
    c->hit = c->agent == c->goal;
    if (!c->hit) return;
    if (c->goals++ == 0) c->first_goal = c->step;
    c->last_goal = c->step;
    random_stream stream = draws(m, copy);
    c->agent = any_cell_but(m, c->goal, &stream);
}

static float reward(const maze *m, const maze_copy *c)
{
    const env_options *o = &m->head.options;
    return (float)((c->hit ? o->reward : 0) - (c->bumped ? o->wall_penalty : 0));
}

static void look(const maze *m, const maze_copy *c, float *x /* (I) */)
{
    int size = m->head.options.size;
    const float *corner = m->walls + c->agent - size - 1;
    for (int row = 0; row < 3; row++)
        for (int column = 0; column < 3; column++) x[3 * row + column] = corner[row * size + column];
    x[ZERO] = 0;
    x[BIAS] = 1;
    x[TIME] = (float)((double)c->step / m->head.options.steps);
    x[REWARD] = reward(m, c);
    for (int a = 0; a < MAZE_ACTIONS; a++) x[ACTION + a] = a == c->action ? 1 : 0;
}

static void observe(const env *e, int first, int last, void *observations)
{
    const maze *m = (const maze *)e;
    for (int b = first; b < last; b++) look(m, &m->copies[b], (float *)observations + (size_t)b * OBSERVATIONS);
}

static stpn_status reset(env *e, int first, int last, void *observations, stpn_error *error)
{
    (void)error;
    maze *m = (maze *)e;
    for (int b = first; b < last; b++) start(m, b, m->copies[b].episode + 1);
    observe(e, first, last, observations);
    return STPN_OK;
}

static stpn_status step(env *e, int first, int last, const void *chosen, void *observations, float *rewards,
                        uint8_t *ends, stpn_error *error)
{
    maze *m = (maze *)e;
    const int32_t *actions = chosen; // (B)
    int T = e->options.steps;
    for (int b = first; b < last; b++)
        if (actions[b] < 0 || actions[b] >= MAZE_ACTIONS)
            return error_set(error, STPN_ERROR_INPUT, "copy %d of maze: action %d, expected 0 to %d", b,
                             (int)actions[b], MAZE_ACTIONS - 1);
    for (int b = first; b < last; b++) {
        maze_copy *c = &m->copies[b];
        int goes_on = c->step < T;
        if (goes_on) move(m, b, actions[b]);
        rewards[b] = goes_on ? reward(m, c) : 0;
        ends[b] = c->step < T ? 0 : STPN_TRUNCATED;
    }
    observe(e, first, last, observations);
    return STPN_OK;
}

static void save(const env *e, int64_t *state)
{
    const maze *m = (const maze *)e;
    for (int b = 0; b < e->batch; b++) {
        const maze_copy *c = &m->copies[b];
        const int64_t values[STATE] = {c->episode, c->step, c->agent, c->goal,       c->action,
                                       c->bumped,  c->hit,  c->goals, c->first_goal, c->last_goal};
        memcpy(state + (size_t)b * STATE, values, sizeof values);
    }
}

static int is_free(const maze *m, int64_t cell)
{
    int size = m->head.options.size;
    return cell >= 0 && cell < size * size && m->places[cell] >= 0;
}

static int is_within(int64_t value, int64_t least, int64_t most)
{
    return value >= least && value <= most;
}

static int is_possible(const maze *m, const int64_t *s /* (S) */)
{
    return is_within(s[0], 0, ((int64_t)1 << 44) - 1) && is_within(s[1], 0, m->head.options.steps) &&
           is_free(m, s[2]) && is_free(m, s[3]) && is_within(s[4], 0, MAZE_ACTIONS - 1) && is_within(s[5], 0, 1) &&
           is_within(s[6], 0, 1) && is_within(s[7], 0, s[1]) && is_within(s[8], s[7] > 0, s[9]) &&
           is_within(s[9], s[7], s[7] ? s[1] : 0);
}

static stpn_status restore(env *e, const int64_t *state, const char *place, stpn_error *error)
{
    maze *m = (maze *)e;
    for (int b = 0; b < e->batch; b++)
        if (!is_possible(m, state + (size_t)b * STATE))
            return error_set(error, STPN_ERROR_INPUT, "%s: copy %d is in a state that this maze does not have", place,
                             b);
    for (int b = 0; b < e->batch; b++) {
        const int64_t *s = state + (size_t)b * STATE;
        m->copies[b] = (maze_copy){.episode = s[0],
                                   .step = (int)s[1],
                                   .agent = (int)s[2],
                                   .goal = (int)s[3],
                                   .action = (int)s[4],
                                   .bumped = (int)s[5],
                                   .hit = (int)s[6],
                                   .goals = (int)s[7],
                                   .first_goal = (int)s[8],
                                   .last_goal = (int)s[9]};
    }
    return STPN_OK;
}

static void goals(const env *e, int first, int last, env_goals *sum)
{
    const maze *m = (const maze *)e;
    for (int b = first; b < last; b++) {
        const maze_copy *c = &m->copies[b];
        sum->reached += c->goals;
        sum->returns += c->goals ? c->goals - 1 : 0;
        sum->return_steps += c->last_goal - c->first_goal;
    }
}

/* '#' wall, '.' free, '*' goal, '@' agent, '$' agent on its goal. */
static char symbol(const maze *m, const maze_copy *c, int cell)
{
    if (cell == c->agent) return cell == c->goal ? '$' : '@';
    if (cell == c->goal) return '*';
    return m->places[cell] < 0 ? '#' : '.';
}

static size_t draw(const env *e, int copy, char *text, size_t text_size)
{
    const maze *m = (const maze *)e;
    size_t used = 0;
    int size = e->options.size;
    for (int row = 0; row < size; row++)
        for (int column = 0; column <= size; column++, used++)
            if (used + 1 < text_size)
                text[used] = column < size ? symbol(m, &m->copies[copy], row * size + column) : '\n';
    if (text_size) text[used < text_size ? used : text_size - 1] = '\0';
    return used;
}

static const char *observation_name(int index)
{
    static const char *const names[OBSERVATIONS] = {
        "wall above left", "wall above", "wall above right", "wall left",  "wall here",  "wall right",
        "wall below left", "wall below", "wall below right", "zero",       "one",        "time",
        "reward",          "chose up",   "chose down",       "chose left", "chose right"};
    return names[index];
}

static const char *action_name(int action)
{
    static const char *const names[MAZE_ACTIONS] = {"up", "down", "left", "right"};
    return names[action];
}

static void close_maze(env *e)
{
    maze *m = (maze *)e;
    memory_free(m->copies);
    memory_free(m->walls);
    memory_free(m->cells);
    memory_free(m->places);
    memory_free(m);
}

static stpn_status open_maze(env **out, const env *head, stpn_error *error)
{
    size_t cells = (size_t)head->options.size * (size_t)head->options.size;
    maze *m = memory_zeroed(1, sizeof *m);
    if (!m) return error_memory(error, "the mazes");
    m->head = *head;
    m->copies = memory_zeroed((size_t)head->batch, sizeof *m->copies);
    m->walls = memory_zeroed(cells, sizeof *m->walls);
    m->cells = memory_zeroed(cells, sizeof *m->cells);
    m->places = memory_zeroed(cells, sizeof *m->places);
    if (!m->copies || !m->walls || !m->cells || !m->places) {
        close_maze(&m->head);
        return error_memory(error, "the mazes");
    }
    build(m);
    for (int b = 0; b < head->batch; b++) start(m, b, 0);
    *out = &m->head;
    return STPN_OK;
}

const env_type env_maze = {
    .name = "maze",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.size = 13, .steps = 200, .reward = 10, .start = START_CENTRE},
    .oracle = &maze_oracle,
    .describe = describe,
    .open = open_maze,
    .close = close_maze,
    .reset = reset,
    .step = step,
    .observe = observe,
    .save = save,
    .restore = restore,
    .goals = goals,
    .draw = draw,
    .observation_name = observation_name,
    .action_name = action_name,
};
