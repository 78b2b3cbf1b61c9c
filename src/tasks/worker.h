/* A Python process that holds copies of an environment and steps them (python/stpn/envs/worker.py). Arrays lie in memory
 * that both share, which has no name and so is gone with the last of the two; commands and answers are packets of a
 * socket. Whatever becomes of the process ends in an error: it died, gave no answer in time, answered something else,
 * or told what its environment did wrong. After an error nothing but worker_end may follow. */
#ifndef STPN_TASKS_WORKER_H
#define STPN_TASKS_WORKER_H

#include <stdint.h>
#include <stpn/stpn.h>

typedef struct worker_plan {
    const char *kind;      // "gym", "pong"
    const char *id;        // of the environment
    const char *arguments; // JSON, or ""
    int copies;            // B
    double time_limit;     // seconds for an answer
} worker_plan;

/* What the process says of its environment. */
typedef struct worker_space {
    int observations;  // I
    int bytes;         // 1: they are bytes, 0: floats
    int actions;       // number of discrete ones, or 0
    int continuous;    // A, or 0
    float *low, *high; // (A) bounds, maybe infinite
} worker_space;

/* Shared arrays. */
typedef struct worker_arrays {
    void *observations; // (B, I) of the last step; where that ended an episode, its last ones
    void *starts;       // (B, I) the first ones of the next episode, where one ended
    float *rewards;     // (B)
    uint8_t *ends;      // (B) STPN_TERMINATED, STPN_TRUNCATED
    void *actions;      // (B) int32_t, or (B, A) float
    int64_t *seeds;     // (B) of a reset
    int64_t *busy;      // (1) nanoseconds that the process was at work on commands
} worker_arrays;

typedef struct worker worker;

stpn_status worker_start(worker **out, const worker_plan *plan, stpn_error *error);
/* The process is gone when this returns; NULL is taken. */
void worker_end(worker *w);
const worker_space *worker_space_of(const worker *w);
const worker_arrays *worker_arrays_of(const worker *w);

typedef enum worker_command {
    WORKER_MAP = 1,   // the worker's own
    WORKER_RESET = 2, // starts episodes of a range from its seeds: observations
    WORKER_STEP = 3,  // steps a range by its actions: observations, rewards, ends, starts
    WORKER_FILM = 4   // worker_film's own
} worker_command;

enum { WORKER_PATH = 4096 };

/* Before the first reset: the first episode of copy 0 is filmed for the file `path`; NULL, later on: writes it. */
stpn_status worker_film(worker *w, const char *path, stpn_error *error);

/* Gives a command for copies [first, last), and waits for the answer to the oldest command that has none yet, which has to
 * be this one. Both belong to one thread at a time. */
stpn_status worker_send(worker *w, worker_command command, int first, int last, stpn_error *error);
stpn_status worker_wait(worker *w, worker_command command, int first, int last, stpn_error *error);

#endif
