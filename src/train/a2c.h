/* Advantage actor-critic (Mnih et al. 2016): a policy and a value learned from what came of the policy's own actions.
 * Who runs the loop is open: it alternates act and record, and calls update where a rollout ends.
 *
 * The net's head "policy" has a score for each action, of which the softmax p is the policy; its head "value" has one
 * output v. With rewards r, returns R and advantages A, over the T steps of a rollout of B copies:
 *
 *   R_t  = r_t + discount ((1 - lambda) v_t+1 + lambda R_t+1)          R_T = v_T, the value of the next observation
 *   A_t  = R_t - v_t                                                   (generalised advantage estimation)
 *   loss = sum of -A_t log p(a_t) + value_weight A_t^2 + concentration_weight sum_a p_a^2 - entropy_weight entropy
 *
 * where A_t of the first term, and R_t, count as numbers; of continuous actions p(a_t) is the density (actor.h), and there
 * is no sum of p_a^2. Acting is recorded on a tape, so that an update needs no second forward pass: the gradient goes back
 * through the whole rollout. docs/mathematics.md. */
#ifndef STPN_TRAIN_A2C_H
#define STPN_TRAIN_A2C_H

#include "net/learn.h"
#include "train/actor.h"
#include "train/experiment.h"
#include "train/profile.h"

typedef struct a2c a2c;

/* Of `train` it takes the optimiser, its schedule and the limits of the gradient. The net and the pool are the caller's
 * and outlive it. */
stpn_status a2c_create(a2c **out, stpn_net *net, const train_options *train, const a2c_options *options,
                       const learner_plan *plan, stpn_pool *pool, uint64_t seed, stpn_error *error);
void a2c_free(a2c *a);
/* Its threads tell the profile, which outlives it, what they are at in an update; NULL (as at first): nobody. */
void a2c_set_profile(a2c *a, profile *p);
/* Whether the energy of steps is taken, at some cost; at first it is not. */
void a2c_set_energy(a2c *a, int wanted);
/* Who shares the chunks of copies; NULL (as at first): nobody. */
void a2c_set_ranks(a2c *a, stpn_ranks *ranks);

/* ---- acting. Ranges of copies [first, last) are whole chunks of copies (stpn_chunk_size), the last one maybe short; different ones
 * may be at work on different threads at once. Arrays are those of all copies; the rows of the range are used. Where a
 * range is refused, chunks before the one at fault have done the step. */

/* One step of the net, and an action for each copy. `observations` (B, I) of the plan's type; `reset` (B) or NULL: not 0
 * zeroes the copy's state first, as where a new episode starts. */
stpn_status a2c_act(a2c *a, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                    void *actions, stpn_error *error);

/* What came of it: `rewards` (B), and `ends` (B) or NULL: none: whether the episode is over, by itself or cut off. Nothing
 * that comes later counts for the returns before an end. Where an episode was cut off and `last_observations` (B, I) is
 * given, the value of the copy's row stands for what would have come; its state then is zeroed. NULL: nothing does. */
stpn_status a2c_record(a2c *a, int first, int last, const float *rewards, const uint8_t *ends,
                       const void *last_observations, stpn_error *error);

/* ---- learning. All copies have the same number of steps, each recorded. */

typedef struct a2c_stats {
    double loss; // that was learned from
    /* Means over steps and copies, without weights: -A log p(a), A^2, sum of p^2, entropy of the policy. */
    double policy_loss, value_loss, concentration, entropy;
    double gradient_norm; // after values were limited, before it was
    double reward;        // sum over steps, mean over copies
    double energy;        // mean over steps and copies; NaN where it was not taken
} a2c_stats;

/* One update from the rollout; the next one goes on from the state as it is. `next_observations` (B, I): values of the
 * copies whose episode goes on are bootstrapped; NULL: nothing is expected after the rollout. A loss or a gradient that
 * is not finite is STPN_ERROR_NUMERIC: the rollout is forgotten, parameters, optimiser and counter are as before. */
stpn_status a2c_update(a2c *a, const void *next_observations, a2c_stats *stats, stpn_error *error);
/* Forgets the rollout; `stats`: its reward and energy, the others NaN. */
void a2c_drop(a2c *a, a2c_stats *stats);
/* Between rollouts: every copy, or those of a range, starts from a state of zeros. Different ranges may be at work on
 * different threads. */
void a2c_restart(a2c *a);
void a2c_restart_range(a2c *a, int first, int last);

/* ---- what a checkpoint between rollouts holds, beside the parameters */

stpn_adam *a2c_adam(a2c *a);
/* Rollouts that were learned from or dropped: the place in burn-in and schedule, and the key of the actions' draws. */
int64_t a2c_rollouts(const a2c *a);
void a2c_set_rollouts(a2c *a, int64_t rollouts);
/* State of the copies, through stpn_state_tensor, _get and _set; not needed where a restart follows. */
stpn_state *a2c_state(a2c *a);

#endif
