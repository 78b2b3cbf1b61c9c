/* Inside the maze, for its oracle (maze_oracle.c). */
#ifndef STPN_TASKS_MAZE_H
#define STPN_TASKS_MAZE_H

#include "tasks/env.h"

enum { START_CENTRE, START_RANDOM };
enum { MAZE_UP, MAZE_DOWN, MAZE_LEFT, MAZE_RIGHT, MAZE_ACTIONS };
enum { MAZE_SIZE_MOST = 99, MAZE_CELLS_MOST = MAZE_SIZE_MOST * MAZE_SIZE_MOST };

/* A cell is its place in the grid, row by row. */
typedef struct maze_copy {
    int64_t episode;
    int step;                  // moves made in it
    int agent, goal;           // cells
    int action;                // the last one, 0 before
    int bumped, hit;           // whether that one went into a wall; to the goal
    int goals;                 // hits in the episode,
    int first_goal, last_goal; // and the steps of the first and the last one
} maze_copy;

typedef struct maze {
    env head;
    maze_copy *copies; // (B)
    float *walls;      // (size, size), 1 for a wall
    int *cells;        // (free_count), the free ones in order
    int *places;       // (size, size), of a free cell in `cells`
    int free_count, centre;
    int moves[MAZE_ACTIONS]; // what an action adds to a cell
} maze;

extern const env_policy maze_oracle;

#endif
