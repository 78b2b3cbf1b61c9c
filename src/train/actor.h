/* What every learner that acts shares: the net's step for the copies of an environment, an action for each, what came of
 * it, and the values that stand for what did not come. The learners (a2c.h, ppo.h) embed it.
 *
 * The policy is what head "policy" puts out: a score for each of A discrete actions, of which the softmax is the policy;
 * or, where actions are continuous, A means and then A raw scales, whose softplus is the deviation of a normal
 * distribution for each value. Head "value" has one output. */
#ifndef STPN_TRAIN_ACTOR_H
#define STPN_TRAIN_ACTOR_H

#include "base/ranks.h"
#include "kernels/kernels.h"
#include "net/net.h"

typedef enum act_choice {
    ACT_SAMPLE, // drawn from the policy: a draw depends on the seed, the rollout, its step and the copy alone
    ACT_GREEDY, // the first of the most probable, or the mean
    ACT_GIVEN   // as the caller wrote them
} act_choice;

/* Of a step, beside STPN_SKIPPED: nothing follows; a last value was taken. */
enum { ACT_OVER = 1, ACT_CUT = 2 };

typedef struct actor_plan {
    int batch;       // B, copies of the environment
    int steps;       // T, the most steps of a rollout; 0: nothing is kept, it only acts
    int continuous;  // values of a continuous action; 0: actions are discrete
    stpn_input type; // of observations
    double discount; // of a value that stands for what was cut off
    uint64_t seed;
} actor_plan;

/* What a learner is made for. */
typedef struct learner_plan {
    int batch; // B, copies of the environment
    int steps; // T, the most steps of a rollout; a2c, 0: it only acts, without end and without a tape (evaluations)
    int continuous;  // values of a continuous action; 0: actions are discrete
    stpn_input type; // of observations
    int64_t updates; // at which the schedule of the learning rate ends; 0: it stays where it begins
} learner_plan;

/* That of the actor in it. */
static inline actor_plan actor_plan_of(const learner_plan *plan, double discount, uint64_t seed)
{
    return (actor_plan){.batch = plan->batch,
                        .steps = plan->steps,
                        .continuous = plan->continuous,
                        .type = plan->type,
                        .discount = discount,
                        .seed = seed};
}

typedef struct actor {
    stpn_net *net;
    actor_plan plan;
    int64_t rollouts;  // so far
    int policy, value; // heads
    int outputs;       // O of the policy
    int actions;       // A: discrete ones, or values of a continuous one
    int chunk, chunks; // copies of one; how many
    stpn_ranks *ranks; // that share the chunks, or NULL
    int energy_wanted;
    stpn_state *state;
    stpn_tape *tape; // that acting is recorded on, the learner's, or NULL
    /* Of each chunk, so that ranges stay apart. */
    int *acted, *recorded; // (chunks) steps
    void *scratch;         // (chunks, scratch_bytes)
    size_t scratch_bytes;
    /* Of each copy. */
    void *y, *energy;    // (B, H), (B) of a step
    uint8_t *reset;      // (B) whether the state was zeroed before the latest step
    uint8_t *ended;      // (B) whether the episode is over
    int32_t *lengths;    // (B)
    int64_t *counted;    // (B) steps before the episode was over
    double *reward_sums; // (B)
    double *energy_sums; // (B) over the steps counted
    double *bootstrap;   // (B) v_T
    /* The rollout; NULL where it only acts. */
    void *logits, *values; // (B, T, O), (B, T)
    int32_t *taken;        // (B, T) discrete actions, or
    double *taken_values;  // (B, T, A) continuous ones
    double *gains;         // (B, T) rewards, with what stands for an episode that was cut off; then the returns
    uint8_t *over;         // (B, T) ACT_OVER, ACT_CUT, STPN_SKIPPED
} actor;

/* Fills what was zeros; after an error too, actor_close frees what there is. Checks the plan and the net's heads. */
stpn_status actor_open(actor *a, stpn_net *net, const actor_plan *plan, stpn_error *error);
void actor_close(actor *a);

/* Ranges of copies [first, last) are whole chunks of copies (stpn_chunk_size), the last one maybe short; different ones may be at work
 * on different threads at once. */
stpn_status actor_check_range(const actor *a, int first, int last, stpn_error *error);
/* `actions` as in tasks/env.h: int32_t (B), or float (B, A). Wrong ones that were given change nothing. */
stpn_status actor_check_given(const actor *a, int first, int last, const void *actions, stpn_error *error);
stpn_status actor_act(actor *a, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                      void *actions, stpn_error *error);
stpn_status actor_record(actor *a, int first, int last, const float *rewards, const uint8_t *ends,
                         const void *last_observations, stpn_error *error);

/* What the latest steps of a chunk have left to do is done (net_leave): before an update changes parameters or goes back over
 * the tape, and before the state is kept. */
void actor_settle(const actor *a, int chunk);
/* The state, with nothing left to do, for whoever looks at it between two steps. */
stpn_state *actor_state(const actor *a);

/* Bytes of an observation. */
size_t actor_observation_bytes(const actor *a);
/* Values of the observations of a chunk into `bootstrap`, by a step of a copy of the state. `ahead` (samples of a chunk) is
 * that copy; `y` (samples, H) and `values` (samples) work space. */
stpn_status actor_look_ahead(actor *a, int chunk, const void *observations, stpn_state *ahead, void *y, void *values,
                             stpn_error *error);
/* Steps [begin, end) of a copy that were not skipped. */
int actor_count_taken(const actor *a, int copy, int begin, int end);
/* Whether a rollout is there, and each of this rank's copies has one as long as its others. */
stpn_status actor_check_rollout(const actor *a, stpn_error *error);

/* This rank's chunks. */
static inline rank_share actor_own(const actor *a)
{
    return ranks_share(a->ranks, a->chunks);
}

/* Something of each copy, or each chunk, comes to all ranks. */
stpn_status actor_gather(const actor *a, void *rows, size_t bytes, stpn_error *error);
stpn_status actor_gather_chunks(const actor *a, void *parts, size_t bytes, stpn_error *error);
/* actor_check_rollout of all ranks; then how many steps the rollout has, and its sums, are known to each. */
stpn_status actor_meet(actor *a, stpn_error *error);

typedef struct actor_sums {
    double reward; // sum over steps, mean over copies
    double energy; // mean over the steps before episodes were over; NaN where it was not taken
} actor_sums;

/* That mean, so far. */
double actor_energy(const actor *a);
/* Forgets the rollout; states are as they would come back from a checkpoint. */
actor_sums actor_end_rollout(actor *a);
/* Every copy of a range starts from a state of zeros. */
void actor_restart(actor *a, int first, int last);
/* Says more of a loss that is not finite, where the environment is the reason. */
void actor_blame_rewards(const actor *a, stpn_error *error);

static inline int actor_chunk_end(const actor *a, int chunk)
{
    int last = (chunk + 1) * a->chunk;
    return last < a->plan.batch ? last : a->plan.batch;
}

/* Rewards (T) become returns: of values (T) of the net's type, v_T = `bootstrap`, and `over` (T), not 0 where nothing that
 * comes later counts:  R_t = r_t + discount ((1 - lambda) v_t+1 + lambda R_t+1). */
void actor_returns(const kernel_table *kernel, double discount, double lambda, int steps, const void *values,
                   double bootstrap, const uint8_t *over, double *rewards);

#endif
