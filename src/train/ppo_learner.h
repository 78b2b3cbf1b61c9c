/* Proximal policy optimisation inside: what acting and updates share. */
#ifndef STPN_TRAIN_PPO_LEARNER_H
#define STPN_TRAIN_PPO_LEARNER_H

#include "base/threads.h"
#include "train/heads.h"
#include "train/ppo.h"
#include "train/ppo_loss.h"

/* What one thread of an update works in. */
typedef struct ppo_worker {
    profile_lane *lane;     // or NULL
    void *logits, *dlogits; // (L, O)
    void *values, *dvalues; // (L)
    void *dy;               // (chunk, L, Hp)
    double *space;          // ppo_rows_space
} ppo_worker;

/* What a chunk of a minibatch adds to the sums; added in the order of the chunks. */
typedef struct ppo_part {
    ppo_sums sums;
    stpn_status status;
} ppo_part;

/* Steps [begin, begin + steps) of a copy. */
typedef struct ppo_sequence {
    int copy, begin, steps;
} ppo_sequence;

struct ppo {
    actor actor;
    stpn_pool *pool;
    train_options train;
    ppo_options options;
    int64_t updates; // of the schedule
    double kl_weight;
    int length, pieces; // L, the most steps of a sequence; sequences of a copy's rollout
    int most, chunk;    // N, the most sequences of a minibatch; those of a chunk of it
    int workers;
    stpn_adam *adam;
    void *kept[3]; // blocks: parameters and moments before the update
    head_pair heads;
    /* The rollout. */
    void *x;         // (B, T, I) observations
    uint8_t *resets; // (B, T)
    void *starts;    // (B, pieces, state_values)
    /* The value of what comes next. */
    stpn_state *ahead;           // (a chunk)
    void *ahead_y, *ahead_value; // (chunk, H), (chunk)
    /* What it comes to. */
    double *old_log, *advantages; // (B, T)
    ppo_sequence *sequences;      // (B pieces) in the order of a pass
    /* A minibatch. */
    stpn_state *state;    // (N)
    stpn_tape *tape;      // (N), L steps
    void *batch_x;        // (L, N, I)
    uint8_t *batch_reset; // (L, N)
    int32_t *batch_steps; // (N)
    ppo_worker *worker;   // (workers)
    ppo_part *parts;      // (chunks of N)
    stpn_error *errors;   // (chunks of N)
};

/* The policy's distribution. */
policy_kind ppo_policy(const ppo *p);

/* The loss of `count` sequences, its sums over their steps, and its gradient, in the tape's first chunk_grad. */
stpn_status ppo_gradient(ppo *p, const ppo_sequence *sequences, int count, ppo_sums *sums, double *loss,
                         stpn_error *error);

#endif
