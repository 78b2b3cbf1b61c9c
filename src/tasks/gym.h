/* Environments that a worker holds (tasks/worker.h): what gym and pong share. A copy's first episode, and that of each
 * reset, has a seed of its own; the episodes that follow go on with the environment's own random numbers. */
#ifndef STPN_TASKS_GYM_H
#define STPN_TASKS_GYM_H

#include "tasks/env.h"
#include "tasks/worker.h"

enum { GYM_STATE = 1 }; // numbers of a copy: its episode
enum { PREPROCESSING_DEEPMIND, PREPROCESSING_PAPER };

typedef struct gym {
    env head;
    const char *id; // of the environment, for messages
    worker *worker;
    int64_t *episodes; // (B)
    uint8_t *ended;    // (B) an episode is over; its next one has begun inside, and a reset tells
} gym;

/* The shape that the environment has, asked from a worker; what it is called and made of stands in the plan. */
stpn_status gym_ask(const worker_plan *plan, env_shape *shape, stpn_error *error);
/* Opens the copies; what the worker says has to be the shape in `head`. */
stpn_status gym_open(env **out, const env *head, const char *kind, const char *id, const char *arguments,
                     stpn_error *error);

void gym_close(env *e);
stpn_status gym_reset(env *e, int first, int last, void *observations, stpn_error *error);
stpn_status gym_step(env *e, int first, int last, const void *actions, void *observations, float *rewards,
                     uint8_t *ends, stpn_error *error);
stpn_status gym_begin(env *e, int first, int last, const void *actions, stpn_error *error);
double gym_elsewhere(const env *e);
stpn_status gym_film(env *e, const char *path, stpn_error *error);
stpn_status gym_finish(env *e, int first, int last, void *observations, float *rewards, uint8_t *ends,
                       stpn_error *error);
void gym_observe(const env *e, int first, int last, void *observations);
void gym_bounds(const env *e, int index, float *low, float *high);
void gym_save(const env *e, int64_t *state);
stpn_status gym_restore(env *e, const int64_t *state, const char *place, stpn_error *error);

#endif
