/* Rollouts inside: what whole episodes (rollout.c) and rollouts of some steps (rollout_steps.c) share. */
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
    scaling observations, returns; // what the rollout adds to those below
} chunk_end;

/* What a copy, or all of them, have played in a test. */
typedef struct test_sums {
    int64_t episodes, steps;
    double reward, square; // of episodes
    double energy;         // of steps
} test_sums;

struct rollout {
    stpn_pool *pool;
    stpn_ranks *ranks; // or NULL
    profile *profile;  // or NULL
    actor *acting;     // of one of the learners, or its own
    a2c *a2c;          // or
    ppo *ppo;          // or
    actor own;         // that only acts, or
    const env_policy *policy;
    uint64_t seed;
    void *notes; // (B, N) of the policy
    env *env;
    int64_t *copies;            // (B, S) for its state in a checkpoint, where an agent learns
    int chunk, chunks, workers; // copies of a chunk; how many; threads
    int step_workers;           // of a step whose copies step elsewhere
    void *observations;         // (B, I)
    float *rewards;             // (B)
    double *sums;               // (B) rewards of the episode
    int64_t *lengths;           // (B) steps of it
    void *actions;              // (B)
    uint8_t *ends;              // (B)
    chunk_end *results;         // (chunks)
    /* Where a rollout has some steps and episodes go on from one to the next. */
    int steps;                  // T, or 0: whole episodes
    int started;                // the copies' episodes have begun
    uint8_t *fresh;             // (B) an episode begins with the next action
    rollout_episodes *finished; // (chunks) since they were last added
    rollout_latest *latest;     // (chunks) of those
    test_sums *tested;          // (B) of a test, or NULL
    int wanted;                 // episodes of a test that count of each copy
    /* Where they are scaled, by what was seen in the rollouts before; else of no width. */
    scaling observed, before; // as it is now, as it was in the latest rollout
    scaling returns;          // of discounted returns
    double *discounted;       // (B) return of the episode under way, up to now
    double discount;
    double *parts; // (chunks, part_values) what chunks add to those, for other ranks
    float *seen;   // (B, I) scaled observations
};

static inline int rollout_chunk_end(const rollout *r, int chunk)
{
    int last = (chunk + 1) * r->chunk;
    return last < r->env->batch ? last : r->env->batch;
}

/* This rank's chunks. */
static inline rank_share rollout_own(const rollout *r)
{
    return ranks_share(r->ranks, r->chunks);
}

/* A turn of every chunk of [first, last), which leaves its end in `results`, by up to so many threads. */
stpn_status rollout_run_chunks(rollout *r, int first, int last, int workers, pool_task turn, void *job,
                               stpn_error *error);

/* The episode of copy b is over, and the next one begins with its next action; one of a test counts while its copy has not
 * had all of its own. */
void rollout_count_episode(rollout *r, int chunk, int b);
/* Adds the episodes counted since rollout_add_episodes; forgets them. */
void rollout_sum_episodes(const rollout *r, rollout_episodes *sums);
void rollout_forget_episodes(rollout *r);
/* Between rollouts a new episode starts from a state of zeros, as it would from a checkpoint. */
void rollout_settle(rollout *r, int chunk);

/* Where observations or rewards are scaled (rollout_scaling.c). */
stpn_status rollout_open_scaling(rollout *r, const ppo_options *options, stpn_error *error);
void rollout_close_scaling(rollout *r);
/* Observations of a range as the net sees them. */
const void *rollout_look(rollout *r, int first, int last);
/* Takes in what copies see, and what came of a step, whose reward is scaled. */
void rollout_note_observations(rollout *r, int chunk);
void rollout_scale_reward(rollout *r, int chunk, int copy);
/* A rollout begins; it has ended, and the next one is scaled by what it was. */
void rollout_begin_scaling(rollout *r);
stpn_status rollout_end_scaling(rollout *r, stpn_error *error);

/* From all copies' sums to their means; a mean that is not finite is an error. `goals`: NULL where they are not counted. */
stpn_status rollout_conclude(const rollout *r, const test_sums *sums, const env_goals *goals, rollout_result *result,
                             stpn_error *error);

/* rollout_play and rollout_test where episodes are not played whole. */
stpn_status rollout_play_steps(rollout *r, act_choice choice, stpn_error *error);
stpn_status rollout_test_steps(rollout *r, int episodes, act_choice choice, const volatile int *stop,
                               rollout_result *result, stpn_error *error);

#endif
