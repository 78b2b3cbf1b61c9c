/* The maze's oracle: what can be reached by an agent that knows the walls and where it stands, but its goal only once it
 * has been there. Until then it walks to the nearest free cell on which it has not yet stood after a move of this
 * episode, and from then on to the goal, by a shortest path in both cases. Nothing is drawn: where several first moves
 * are as good, the least action is taken. */
#include "tasks/maze.h"

#include <string.h>

/* The first move of a shortest path to the goal or, without one (-1), to the nearest cell that was not visited. */
static int32_t first_move(const maze *m, int from, int goal, const unsigned char *visited /* (size, size) */)
{
    uint16_t queue[MAZE_CELLS_MOST];
    signed char first[MAZE_CELLS_MOST]; // the first move on the way to a cell, -1: not reached
    int size = m->head.options.size, head = 0, tail = 0;
    memset(first, -1, (size_t)size * (size_t)size);
    for (int cell = from;; cell = queue[head++]) {
        for (int action = 0; action < MAZE_ACTIONS; action++) {
            int next = cell + m->moves[action];
            if (m->places[next] < 0 || first[next] >= 0) continue;
            first[next] = head == 0 ? (signed char)action : first[cell];
            if (goal >= 0 ? next == goal : !visited[next]) return first[next];
            queue[tail++] = (uint16_t)next;
        }
        if (head == tail) return 0;
    }
}

/* The notes are the cells that a copy has visited. */
static size_t notes_size(const env *e)
{
    return (size_t)e->options.size * (size_t)e->options.size;
}

static void act(const env *e, uint64_t seed, void *notes, int first, int last, void *chosen)
{
    (void)seed;
    int32_t *actions = chosen; // (B)
    const maze *m = (const maze *)e;
    for (int b = first; b < last; b++) {
        const maze_copy *c = &m->copies[b];
        unsigned char *visited = (unsigned char *)notes + (size_t)b * notes_size(e);
        if (c->step == 0) memset(visited, 0, notes_size(e));
        /* A centre that only was the start may be the goal; a start at random never is. */
        if (c->step > 0 || e->options.start == START_RANDOM) visited[c->agent] = 1;
        actions[b] = first_move(m, c->agent, c->goals ? c->goal : -1, visited);
    }
}

const env_policy maze_oracle = {.name = "oracle", .notes = notes_size, .act = act};
