/* The actor-critic inside: what acting and updates share. */
#ifndef STPN_TRAIN_A2C_LEARNER_H
#define STPN_TRAIN_A2C_LEARNER_H

#include "base/threads.h"
#include "train/a2c.h"
#include "train/a2c_loss.h"
#include "train/heads.h"

/* What one thread of an update works in. */
typedef struct a2c_worker {
    profile_lane *lane; // or NULL
    stpn_state *state;  // (chunk) a copy, that looks ahead
    void *y, *values;   // (chunk, H), (chunk) of it
    double *advantages; // (T) of a sample
    double *shared;     // (T) sums over all copies
    void *losses;       // (T) -log p(a)
    void *dlogits;      // (T, A), or (T, 2 A) of continuous actions
    double *space;      // of a2c_policy_values
    void *dvalues;      // (T)
    void *dy;           // (chunk, T, Hp)
} a2c_worker;

/* What a chunk adds to the sums; added in the order of the chunks. */
typedef struct a2c_part {
    a2c_sums sums;
    int64_t taken; // steps that were not skipped
    stpn_status status;
} a2c_part;

struct a2c {
    actor actor;
    stpn_pool *pool;
    train_options train;
    a2c_options options;
    int64_t updates; // of the schedule
    int workers;
    stpn_adam *adam;
    head_pair heads;
    a2c_worker *worker; // (workers)
    a2c_part *parts;    // (chunks)
    stpn_error *errors; // (chunks)
};

#endif
