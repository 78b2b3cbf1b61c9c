/* Copies of an environment, played by an agent or by a reference policy, in one of two ways. Nothing that is computed
 * depends on which thread takes part.
 *
 * Whole episodes, where train.rollout is 0: a chunk of copies plays its episode from start to end on one thread, so that
 * what belongs to it stays in that thread's cache.
 *
 * Rollouts of train.rollout steps: episodes end and begin inside, at any step, and the states go on from one rollout to
 * the next. The copies are cut into two halves; where the environment works elsewhere, one of them steps while the agent
 * thinks for the other. */
#ifndef STPN_TRAIN_ROLLOUT_H
#define STPN_TRAIN_ROLLOUT_H

#include "tasks/env.h"
#include "train/a2c.h"
#include "train/experiment.h"
#include "train/ppo.h"
#include "train/scaling.h"

typedef struct rollout rollout;

/* The copies that e->train.batch says; net and pool are the caller's and outlive it. An agent that learns plays the
 * episodes of training, one that does not those of the test, and its energy is taken. */
stpn_status rollout_create(rollout **out, const experiment *e, stpn_net *net, int learns, stpn_pool *pool,
                           stpn_error *error);
/* The same for a policy, on the episodes of the test. */
stpn_status rollout_create_policy(rollout **out, const experiment *e, const env_policy *policy, stpn_pool *pool,
                                  stpn_error *error);
void rollout_free(rollout *r);
void rollout_set_profile(rollout *r, profile *p);
/* Who shares the copies; NULL (as at first): nobody. What has ended in a rollout, and what the next one is scaled by, is known
 * to all ranks. */
void rollout_set_ranks(rollout *r, stpn_ranks *ranks);
/* Of one that was just created and does not learn: the agent sees observations scaled by a copy of this. */
stpn_status rollout_set_scaling(rollout *r, const scaling *s, stpn_error *error);

/* The learner, of the method that the experiment says, or NULL; and what it plays in. */
a2c *rollout_agent(const rollout *r);
ppo *rollout_ppo(const rollout *r);
env *rollout_env(const rollout *r);

/* The next episode of every copy, the agent's states zeroed before, or its next steps; an update or a drop is to follow.
 * A policy chooses by itself. */
stpn_status rollout_play(rollout *r, act_choice choice, stpn_error *error);
/* What the copies see after their steps, for the update; NULL after whole episodes. */
const void *rollout_next(const rollout *r);

/* Episodes that have ended in rollouts of steps, their steps and rewards added up. */
typedef struct rollout_episodes {
    int64_t count, steps;
    double reward;
} rollout_episodes;

/* Rewards of the latest ones: that of episode i at i % LATEST_EPISODES. Those of one rollout count in the order of the chunks,
 * of a chunk's copies in the order in which they ended. */
enum { LATEST_EPISODES = 100 };

typedef struct rollout_latest {
    int64_t count; // episodes so far
    double reward[LATEST_EPISODES];
} rollout_latest;

/* Adds those since the last call; `latest` may be NULL. */
void rollout_add_episodes(rollout *r, rollout_episodes *sums, rollout_latest *latest);

/* What a checkpoint between rollouts of steps holds beside the environment and the learner: what the net remembers, and
 * of each copy rewards and steps of the episode under way. After those were restored, rollout_resume is to be called. */
stpn_state *rollout_state(const rollout *r);
double *rollout_rewards(rollout *r);
int64_t *rollout_copies(rollout *r); // (B, S) for the environment's state, of one that learns
int64_t *rollout_lengths(rollout *r);
/* And what observations and returns are scaled by, of no width where they are not; as it was in the latest rollout; the
 * discounted return of each episode under way, NULL where returns are not scaled. */
scaling *rollout_scaling(rollout *r);
const scaling *rollout_scaling_before(const rollout *r);
scaling *rollout_return_scaling(rollout *r);
double *rollout_discounted(rollout *r);
void rollout_resume(rollout *r);

/* Means over episodes of a test. */
typedef struct rollout_result {
    int64_t episodes;
    double reward;       // of an episode
    double reward_error; // standard error of it, by the spread of episodes' rewards; NaN of one
    double steps;        // of an episode
    double energy;       // of a step; NaN of a policy
    double goals;        // of an episode; NaN where there are none
    double return_steps; // from a known goal to the next hit; NaN where none was hit again
} rollout_result;

/* `iterations` episodes of every copy, of a rollout that was just created, as the draws count from there. `stop`, may be
 * NULL: not 0: STPN_STOPPED after the iteration, or step, under way. */
stpn_status rollout_test(rollout *r, int iterations, act_choice choice, const volatile int *stop,
                         rollout_result *result, stpn_error *error);

#endif
