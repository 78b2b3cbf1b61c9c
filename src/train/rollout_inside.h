/* A rollout inside: what playing and collecting share. */
#ifndef STPN_TRAIN_ROLLOUT_INSIDE_H
#define STPN_TRAIN_ROLLOUT_INSIDE_H

#include "base/threads.h"
#include "train/a2c_learner.h"
#include "train/ppo_learner.h"
#include "train/rollout.h"

/* What came of a chunk's turn. */
typedef struct chunk_end {
    stpn_status status;
    stpn_error error;
    rollout_episodes ended;
    scaling observations, returns; // what the rollout adds to those below
} chunk_end;

struct rollout {
    stpn_pool *pool;
    profile *profile; // or NULL
    actor *acting;    // of one of the learners, or its own
    a2c *a2c;         // or
    ppo *ppo;         // or
    actor own;        // that only acts, or
    const env_policy *policy;
    uint64_t seed;
    void *notes; // (B, N) of the policy
    env *env;
    int chunks, workers;
    float *observations; // (B, I)
    float *rewards;      // (B)
    double *sums;        // (B) rewards of the episode
    int64_t *lengths;    // (B) steps of it
    void *actions;       // (B)
    uint8_t *ends;       // (B)
    uint8_t *starts;     // (B) a new episode starts
    float *last;         // (B, I) last observations of episodes
    chunk_end *results;  // (chunks)
    /* Where they are scaled, by what was seen in the rollouts before; else of no width. */
    scaling observed, before; // as it is now, as it was in the latest rollout
    scaling returns;          // of discounted returns
    double *discounted;       // (B) return of the episode under way, up to now
    double discount;
    float *seen; // (B, I) scaled observations
};

/* Runs the turns of all chunks, and tells the first error. */
stpn_status rollout_run_chunks(rollout *r, pool_task turn, void *job, stpn_error *error);
/* Observations of a range as the net sees them. */
const float *rollout_look(rollout *r, int first, int last);
/* Where observations or rewards are scaled. */
stpn_status rollout_open_scaling(rollout *r, const ppo_options *options, stpn_error *error);
void rollout_close_scaling(rollout *r);

static inline int rollout_chunk_end(const rollout *r, int chunk)
{
    int last = (chunk + 1) * CHUNK;
    return last < r->env->batch ? last : r->env->batch;
}

#endif
