/* Environments: tasks that answer actions. An environment is a batch of B copies behind a row of the registry. All that
 * a call reads or writes of a copy is that copy's own: different threads may work on different ranges [first, last) of
 * copies at once, and a copy's course depends on its options, seed, purpose, number and actions alone. Nothing is
 * allocated after creation.
 *
 * Actions are int32_t (B) from 0 to shape.actions - 1, or where the shape has continuous ones instead, float (B, A) with
 * A = shape.continuous: any number, cut to the environment's bounds by its step; one that is not a number is wrong.
 * Observations are (B, I) of shape.type: floats, or bytes where they are the pixels of an image. */
#ifndef STPN_TASKS_ENV_H
#define STPN_TASKS_ENV_H

#include "base/option.h"
#include "base/random.h"

#include <stddef.h>

enum { ENV_COPIES = 1 << 20 }; // B at most
enum { ENV_TEXT = 255 };       // bytes of a text option at most

/* Options of every environment; each uses the fields its table names. */
typedef struct env_options {
    int steps;                   // T of an episode
    int size;                    // maze: rows and columns
    double reward, wall_penalty; // maze: for the goal; taken for a move into a wall
    int start;                   // maze: START_CENTRE or START_RANDOM
    double noise;                // pendulum: bound of the start
    option_list mask;            // columns of an observation that read 0
    char id[ENV_TEXT + 1];       // gym: the environment's name, and more of what makes it, as JSON
    char arguments[ENV_TEXT + 1];
    int observations, actions, continuous; // gym: as in env_shape; all 0: the environment is asked
    double time_limit;                     // gym, pong: seconds that the worker may take for an answer
    int preprocessing;                     // pong: PREPROCESSING_DEEPMIND or PREPROCESSING_PAPER
} env_options;

/* The row of the mask, for the table of every environment. */
#define ENV_MASK                                                                 \
    {                                                                            \
        "mask", OPTION_LIST, offsetof(env_options, mask), NULL, 0, 1 << 24,      \
            "columns of an observation, from 0 on, that are hidden: they read 0" \
    }

typedef struct env_shape {
    int observations; // I, values of an observation
    stpn_input type;  // of them: STPN_INPUT_FLOAT or STPN_INPUT_BYTE
    int actions;      // number of discrete actions, or 0
    int continuous;   // A, values of a continuous action, or 0
    int steps;        // T of an episode; 0: it may last for ever
    int state;        // S, numbers that a copy's state is saved as
    int restarts;     // 1: an episode under way is not saved; a restored copy is at the start of its next one
    /* Of observations that are images: rows, columns, channels (last in the array); a network that takes bytes takes
     * (v - offset) scale. */
    int height, width, channels;
    double offset, scale;
} env_shape;

/* Goals reached in the episodes under way. The first goal of an episode has to be found, each further one is a return
 * to a known place. */
typedef struct env_goals {
    int64_t reached;
    int64_t returns;      // goals after an episode's first
    int64_t return_steps; // steps that the returns took: each from the goal before it
} env_goals;

typedef struct env_type env_type;
typedef struct env_policy env_policy;

/* What every environment starts with; read only. */
typedef struct env {
    const env_type *type;
    env_options options;
    env_shape shape;
    int batch; // B
    uint64_t seed;
    random_purpose purpose;
} env;

struct env_type {
    const char *name;
    const option *options; // fields of env_options
    int option_count;
    env_options defaults;
    const env_policy *oracle; // the best that can be done, or NULL
    /* The shape. Checks what the table of options cannot. */
    stpn_status (*describe)(const env_options *options, env_shape *shape, stpn_error *error);
    /* Called by env_create and env_free only; `head` is what the environment starts with. */
    stpn_status (*open)(env **e, const env *head, stpn_error *error);
    void (*close)(env *e);
    /* Starts the next episode of each copy of the range and writes its first observation. */
    stpn_status (*reset)(env *e, int first, int last, void *observations /* (B, I) */, stpn_error *error);
    /* One step of the range. `ends` gets 0 while an episode goes on, STPN_TERMINATED where it is over by itself, so that
     * nothing more could have come, STPN_TRUNCATED where it was only cut off, or both; the observation then is the last
     * one of the episode. A copy whose episode has ended stays as it is, at no reward, until it is reset, which the
     * caller does; an environment may refuse to step it. A wrong action moves no copy. */
    stpn_status (*step)(env *e, int first, int last, const void *actions, void *observations /* (B, I) */,
                        float *rewards /* (B) */, uint8_t *ends /* (B) */, stpn_error *error);
    /* The two halves of a step, so that copies step while the caller does something else: `begin` hands the actions over,
     * `finish` waits for what came of them, in the order of the ranges that were begun; all on one thread. NULL where
     * there is nothing to wait for. */
    stpn_status (*begin)(env *e, int first, int last, const void *actions, stpn_error *error);
    stpn_status (*finish)(env *e, int first, int last, void *observations, float *rewards, uint8_t *ends,
                          stpn_error *error);
    /* Seconds that another process has been at work on steps and resets. NULL where there is none. */
    double (*elsewhere)(const env *e);
    /* Fills in what was left to the environment, so that a run's file says it. NULL: nothing is. */
    void (*resolve)(env_options *options, const env_shape *shape);
    /* The last observations once more: after restore. */
    void (*observe)(const env *e, int first, int last, void *observations /* (B, I) */);
    /* What value `index` of a continuous action is cut to; the bounds may be infinite. NULL where actions are discrete. */
    void (*bounds)(const env *e, int index, float *low, float *high);
    /* All of the state of all copies; restored, it goes on to the same bits. A state that cannot be is an error and
     * changes nothing; `place` starts the message. */
    void (*save)(const env *e, int64_t *state /* (B, S) */);
    stpn_status (*restore)(env *e, const int64_t *state /* (B, S) */, const char *place, stpn_error *error);
    /* Adds what the range has reached. NULL where there are no goals. */
    void (*goals)(const env *e, int first, int last, env_goals *sum);
    /* The copy as lines of text, cut to `size` bytes with the zero byte; returns the length of all of it, as snprintf
     * does. NULL where there is nothing to see. */
    size_t (*draw)(const env *e, int copy, char *text, size_t size);
    /* Before the first reset: the first episode of copy 0 is filmed, in pictures as people see it, for the file `path`; NULL,
     * later on: writes it, whole or not at all. NULL where there are no pictures. */
    stpn_status (*film)(env *e, const char *path, stpn_error *error);
    /* A few words for people: value `index` of an observation, and an action. NULL where there are none. */
    const char *(*observation_name)(int index);
    const char *(*action_name)(int action);
};

/* Whether the copies are in another process: it may fail at any time, and their states cannot be had. */
static inline int env_is_elsewhere(const env_type *type)
{
    return type->begin != NULL;
}

/* A reference that networks are held against. It sees the environment from inside. */
struct env_policy {
    const char *name;
    /* Bytes of notes N that it keeps about a copy; the caller's, zeros before the first call. */
    size_t (*notes)(const env *e);
    /* The next actions of the range; to be called once before each step. */
    void (*act)(const env *e, uint64_t seed, void *notes /* (B, N) */, int first, int last, void *actions);
};

const env_type *env_find(const char *name);
const env_type *env_at(int index);
void env_names(char *text, size_t size);

/* Checks the options, the mask among them, and tells the shape. */
stpn_status env_describe(const env_type *type, const env_options *options, env_shape *shape, stpn_error *error);
/* Checks the options and makes `batch` copies, each in an episode 0 whose observation `observe` tells; with shape.restarts
 * they have to be reset first. Draws depend on `seed` and on what the copies are for: RANDOM_TRAIN, RANDOM_VALIDATION or
 * RANDOM_TEST. */
stpn_status env_create(env **e, const env_type *type, const env_options *options, int batch, random_purpose purpose,
                       uint64_t seed, stpn_error *error);
void env_free(env *e);

/* What callers call: the functions of the type, and the columns of the mask read 0 in what they write. */
stpn_status env_reset(env *e, int first, int last, void *observations /* (B, I) */, stpn_error *error);
stpn_status env_step(env *e, int first, int last, const void *actions, void *observations /* (B, I) */,
                     float *rewards /* (B) */, uint8_t *ends /* (B) */, stpn_error *error);
/* The second half of a step that e->type->begin began. */
stpn_status env_finish(env *e, int first, int last, void *observations /* (B, I) */, float *rewards /* (B) */,
                       uint8_t *ends /* (B) */, stpn_error *error);
void env_observe(const env *e, int first, int last, void *observations /* (B, I) */);
/* Bytes of a copy's observation, and of its action. */
size_t env_observation_bytes(const env_shape *shape);
size_t env_action_bytes(const env_shape *shape);

extern const env_type env_maze;
extern const env_type env_pendulum;
extern const env_type env_gym;
extern const env_type env_pong;
/* Every action as likely as the others, whatever the environment; of a value without bounds, standard normal. */
extern const env_policy env_random;

#endif
