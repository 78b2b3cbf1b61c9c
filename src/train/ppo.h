/* Proximal policy optimisation (Schulman et al. 2017) for networks with a state: a policy and a value learned in several
 * passes over a rollout, in short sequences that are replayed from the state that was stored at their start. Who runs the
 * loop is open: it alternates act and record, and calls update where a rollout ends.
 *
 * Of a rollout of T steps of B copies, with R and A of generalised advantage estimation (actor_returns) and r the
 * probability of the action taken over that which it was taken with, a minibatch's loss is the mean over its steps of
 *
 *   -min(r A, cut(r, 1 - clip, 1 + clip) A) + value_weight min((v - R)^2, value_clip) - entropy_weight entropy
 *     + kl_weight sum p_old log(p_old / p)
 *
 * where R and A, by choice brought to mean 0 and deviation 1 over the rollout, count as numbers. The gradient goes back to
 * the start of a sequence, or to a reset inside it. docs/mathematics.md. */
#ifndef STPN_TRAIN_PPO_H
#define STPN_TRAIN_PPO_H

#include "net/learn.h"
#include "train/actor.h"
#include "train/experiment.h"
#include "train/profile.h"

typedef struct ppo ppo;

/* Of `train` it takes the optimiser, its schedule and the limits of the gradient. The net and the pool are the caller's
 * and outlive it. */
stpn_status ppo_create(ppo **out, stpn_net *net, const train_options *train, const ppo_options *options,
                       const learner_plan *plan, stpn_pool *pool, uint64_t seed, stpn_error *error);
void ppo_free(ppo *p);
/* Its threads tell the profile, which outlives it, what they are at in an update; NULL (as at first): nobody. */
void ppo_set_profile(ppo *p, profile *told);
/* Whether the energy of steps is taken, at some cost; at first it is not. */
void ppo_set_energy(ppo *p, int wanted);
/* Who shares the chunks of copies, and those of minibatches; NULL (as at first): nobody. */
void ppo_set_ranks(ppo *p, stpn_ranks *ranks);

/* As a2c_act and a2c_record (a2c.h); actions are int32_t (B), or float (B, A) where they are continuous. */
stpn_status ppo_act(ppo *p, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                    void *actions, stpn_error *error);
stpn_status ppo_record(ppo *p, int first, int last, const float *rewards, const uint8_t *ends,
                       const void *last_observations, stpn_error *error);

typedef struct ppo_stats {
    /* Means over the steps of all minibatches; terms without weights. */
    double loss, policy_loss, value_loss, entropy;
    double kl;                 // of the policy before and after, estimated by (r - 1) - log r, over the last pass
    double clip_fraction;      // steps with |r - 1| > clip, over the last pass
    double explained_variance; // 1 - variance of R - v over that of R, of the rollout; 0 where R does not vary
    double gradient_norm;      // mean over minibatches; after values were limited, before it was
    double energy;             // mean over steps and copies; NaN where it was not taken
} ppo_stats;

/* One update from the rollout; the next one goes on from the state as it is. `next_observations` (B, I): values of the
 * copies whose episode goes on are bootstrapped; NULL: nothing is expected after the rollout. A loss or a gradient that
 * is not finite is STPN_ERROR_NUMERIC: the rollout is forgotten, parameters, optimiser and counters are as before. */
stpn_status ppo_update(ppo *p, const void *next_observations, ppo_stats *stats, stpn_error *error);
/* Parameters that the rollout of the latest update was acted with: a block. */
const void *ppo_parameters_before(const ppo *p);
/* Forgets the rollout. */
void ppo_drop(ppo *p);
/* Every copy of a range starts from a state of zeros; in the middle of a rollout, `reset` of ppo_act is for that. */
void ppo_restart_range(ppo *p, int first, int last);

/* ---- what a checkpoint between rollouts holds, beside the parameters */

stpn_adam *ppo_adam(ppo *p);
/* Rollouts that were learned from or dropped: the place in the schedule, and the key of all draws. */
int64_t ppo_rollouts(const ppo *p);
void ppo_set_rollouts(ppo *p, int64_t rollouts);
/* Weight of the distance between policies; it changes where kl_weight is not 0. */
double ppo_kl_weight(const ppo *p);
void ppo_set_kl_weight(ppo *p, double weight);
/* State of the copies, through stpn_state_tensor, _get and _set. */
stpn_state *ppo_state(ppo *p);

#endif
