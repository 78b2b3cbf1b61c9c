/* The actor-critic inside: what acting and updates share. */
#ifndef STPN_TRAIN_A2C_LEARNER_H
#define STPN_TRAIN_A2C_LEARNER_H

#include "base/threads.h"
#include "train/a2c.h"
#include "train/a2c_loss.h"

/* What one thread of an update works in. */
typedef struct a2c_worker {
    profile_lane *lane; // or NULL
    stpn_state *state;  // (CHUNK) a copy, that looks ahead
    void *y, *values;   // (CHUNK, H), (CHUNK) of it
    double *advantages; // (T) of a sample
    double *shared;     // (T) sums over all copies
    void *losses;       // (T) -log p(a)
    void *dlogits;      // (T, A)
    void *dvalues;      // (T)
    void *dy;           // (CHUNK, T, Hp)
} a2c_worker;

/* What a chunk adds to the sums; added in the order of the chunks. */
typedef struct a2c_part {
    a2c_sums sums;
    stpn_status status;
    stpn_error error;
} a2c_part;

enum { A2C_OVER = 1, A2C_CUT = 2 }; // nothing follows; a last value was taken

struct a2c {
    stpn_net *net;
    stpn_pool *pool;
    train_options train;
    a2c_options options;
    a2c_plan plan;
    uint64_t seed;
    int64_t rollouts;
    int policy, value; // heads
    int actions;       // A
    int chunks, workers;
    int energy_wanted;
    stpn_state *state;
    stpn_adam *adam;
    /* Of each chunk, so that ranges stay apart. */
    int *acted, *recorded; // (chunks) steps
    void *scratch;         // (chunks, scratch_bytes)
    size_t scratch_bytes;
    /* Of each copy. */
    void *y, *energy;    // (B, H), (B) of a step
    uint8_t *reset;      // (B)
    int32_t *lengths;    // (B)
    double *reward_sums; // (B)
    double *energy_sums; // (B)
    double *bootstrap;   // (B) v_T
    /* The rollout; NULL where it only acts. */
    stpn_tape *tape;
    void *logits, *values; // (B, T, A), (B, T)
    int32_t *taken;        // (B, T) actions
    double *gains;         // (B, T) rewards, with what stands for an episode that was cut off; then the returns
    uint8_t *over;         // (B, T) A2C_OVER, A2C_CUT
    /* Updates. */
    void *down[2];      // weights of policy and value, transposed: (panels of H, padded outputs, lanes)
    void *zeros;        // (Hp)
    a2c_worker *worker; // (workers)
    a2c_part *parts;    // (chunks)
};

static inline int a2c_chunk_end(const a2c *a, int chunk)
{
    int last = (chunk + 1) * CHUNK;
    return last < a->plan.batch ? last : a->plan.batch;
}

#endif
