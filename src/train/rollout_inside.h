/* Rollouts inside: what whole episodes (rollout.c) and rollouts of some steps (rollout_steps.c) share. */
#ifndef STPN_TRAIN_ROLLOUT_INSIDE_H
#define STPN_TRAIN_ROLLOUT_INSIDE_H

#include "base/threads.h"
#include "train/rollout.h"

/* What came of a chunk's turn. */
typedef struct chunk_end {
    stpn_status status;
    stpn_error error;
} chunk_end;

struct rollout {
    stpn_pool *pool;
    profile *profile; // or NULL
    a2c *agent;       // or
    const env_policy *policy;
    uint64_t seed;
    void *notes; // (B, N) of the policy
    env *env;
    int chunks, workers;
    void *observations; // (B, I)
    float *rewards;     // (B)
    double *sums;       // (B) rewards of the episode
    void *actions;      // (B)
    uint8_t *ends;      // (B)
    chunk_end *results; // (chunks)
    /* Where a rollout has some steps and episodes go on from one to the next. */
    int steps;                  // T, or 0: whole episodes
    int started;                // the copies' first episodes have begun
    uint8_t *fresh;             // (B) an episode begins with the next action
    int64_t *lengths;           // (B) steps of the episode so far
    rollout_episodes *finished; // (chunks) since the last rollout_take_episodes
    rollout_test_sums *tested;  // (B) of a test, or NULL
    int wanted;                 // episodes of a test that count of each copy
};

static inline int rollout_chunk_end(const rollout *r, int chunk)
{
    int last = (chunk + 1) * CHUNK;
    return last < r->env->batch ? last : r->env->batch;
}

/* rollout_play and rollout_test where r->steps is not 0. */
stpn_status rollout_play_steps(rollout *r, a2c_choice choice, stpn_error *error);
stpn_status rollout_test_steps(rollout *r, int episodes, a2c_choice choice, const volatile int *stop,
                               rollout_result *result, stpn_error *error);

#endif
