#include "train/options.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(train_options, name)

static const option train_table[] = {
    {"method", OPTION_CHOICE, FIELD(method), "supervised|a2c|ppo", 0, 0,
     "how the network learns; from data: supervised, the default there; in an environment: a2c, the default there "
     "where "
     "actions are discrete, or ppo"},
    {"epochs", OPTION_INTEGER, FIELD(epochs), NULL, 1, 1e9, "supervised: passes over the training sequences"},
    {"iterations", OPTION_INTEGER, FIELD(iterations), NULL, 1, 1e9,
     "a2c, whole episodes: episodes of every copy, an update after each"},
    {"steps", OPTION_INTEGER, FIELD(steps), NULL, 1, 2e9,
     "ppo, a2c in rollouts: agent steps of all copies together, rounded up to whole rollouts, which are the iterations "
     "of "
     "such a run"},
    {"rollout", OPTION_INTEGER, FIELD(rollout), NULL, 0, 1 << 20,
     "ppo, a2c: steps of every copy between two updates, episodes go on across; a2c, 0: whole episodes, where they "
     "have "
     "one length (default: ppo 2048; a2c 50, or 0 where it may be)"},
    {"batch", OPTION_INTEGER, FIELD(batch), NULL, 1, 1 << 20,
     "sequences of an update, a last partial batch is dropped; a2c, ppo: copies of the environment"},
    {"truncate", OPTION_INTEGER, FIELD(truncate), NULL, 0, 1 << 24,
     "supervised: steps of a window, each an update of its own, the state carried on; 0: whole sequences"},
    {"learning_rate", OPTION_NUMBER, FIELD(learning_rate), NULL, 1e-12, 1e3, "of Adam"},
    {"beta1", OPTION_NUMBER, FIELD(beta1), NULL, 0, 0.999999, "Adam's decay of the mean"},
    {"beta2", OPTION_NUMBER, FIELD(beta2), NULL, 0, 0.99999999, "Adam's decay of the square"},
    {"epsilon", OPTION_NUMBER, FIELD(epsilon), NULL, 1e-30, 1, "Adam's, outside the root"},
    {"weight_decay", OPTION_NUMBER, FIELD(weight_decay), NULL, 0, 1e3,
     "AdamW: fraction of every parameter, times the learning rate, that an update takes away"},
    {"schedule", OPTION_CHOICE, FIELD(schedule), "constant|linear|cosine|step", 0, 0, "course of the learning rate"},
    {"warmup", OPTION_INTEGER, FIELD(warmup), NULL, 0, 1e9, "first updates, over which the learning rate grows"},
    {"final_rate", OPTION_NUMBER, FIELD(final_rate), NULL, 0, 1,
     "linear, cosine: learning rate of the last update, as a fraction of learning_rate"},
    {"step_every", OPTION_INTEGER, FIELD(step_every), NULL, 1, 1e9, "step: updates between two steps"},
    {"step_factor", OPTION_NUMBER, FIELD(step_factor), NULL, 0, 1, "step: what a step multiplies the learning rate by"},
    {"clip_value", OPTION_NUMBER, FIELD(clip_value), NULL, 0, 1e30, "bound of every value of the gradient; 0: none"},
    {"clip_norm", OPTION_NUMBER, FIELD(clip_norm), NULL, 0, 1e30, "bound of the gradient's norm; 0: none"},
    {"shuffle", OPTION_BOOLEAN, FIELD(shuffle), NULL, 0, 0, "supervised: a new order in every epoch"},
    {"patience", OPTION_INTEGER, FIELD(patience), NULL, 0, 1e9,
     "evaluations without a better one before the run ends; 0: never"},
    {"stop_reward", OPTION_NUMBER, FIELD(stop_reward), NULL, -1e30, 1e30,
     "ppo, a2c in rollouts: the run ends with the row of metrics after which the mean reward of the latest 100 "
     "episodes is "
     "above this (default 1e30: it never is)"},
    {"evaluate_every", OPTION_INTEGER, FIELD(evaluate_every), NULL, 1, 1e9,
     "epochs between evaluations; a2c, ppo: iterations, which are updates, that a row of metrics sums up"},
    {"test_iterations", OPTION_INTEGER, FIELD(test_iterations), NULL, 1, 1e6,
     "a2c, ppo: episodes of every copy that the test takes"},
    {"test_greedy", OPTION_BOOLEAN, FIELD(test_greedy), NULL, 0, 0,
     "a2c, ppo: the test takes the most probable actions, of continuous ones the mean, in place of drawn ones "
     "(default: "
     "a2c false, ppo true)"},
};

enum { TRAIN_OPTIONS = sizeof train_table / sizeof *train_table };

const option *train_option_table(int *count)
{
    *count = TRAIN_OPTIONS;
    return train_table;
}

train_options train_option_defaults(void)
{
    return (train_options){.epochs = 200,
                           .iterations = 50000,
                           .steps = 1000000,
                           .batch = 128,
                           .learning_rate = 1e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .step_every = 1000,
                           .step_factor = 0.1,
                           .stop_reward = 1e30,
                           .evaluate_every = 1,
                           .test_iterations = 100};
}

int train_option_applies(const train_options *o, const char *name)
{
    static const char *const of_method[][7] = {
        [METHOD_SUPERVISED] = {"epochs", "truncate", "shuffle"},
        [METHOD_A2C] = {"iterations", "steps", "rollout", "stop_reward", "test_iterations", "test_greedy"},
        [METHOD_PPO] = {"steps", "rollout", "stop_reward", "test_iterations", "test_greedy"}};
    int known = 0, own = 0;
    for (int method = 0; method <= METHOD_PPO; method++)
        for (int i = 0; of_method[method][i]; i++) {
            int same = strcmp(name, of_method[method][i]) == 0;
            known |= same;
            own |= same && method == o->method;
        }
    if (known && !own) return 0;
    if (strcmp(name, "iterations") == 0) return o->rollout == 0;
    if (strcmp(name, "steps") == 0 || strcmp(name, "rollout") == 0 || strcmp(name, "stop_reward") == 0)
        return o->rollout > 0;
    if (strcmp(name, "final_rate") == 0) return o->schedule == SCHEDULE_LINEAR || o->schedule == SCHEDULE_COSINE;
    if (strncmp(name, "step_", 5) == 0) return o->schedule == SCHEDULE_STEP;
    return 1;
}

#define A2C_FIELD(name) offsetof(a2c_options, name)

static const option a2c_table[] = {
    {"discount", OPTION_NUMBER, A2C_FIELD(discount), NULL, 0, 1, "what a reward counts for a step earlier"},
    {"lambda", OPTION_NUMBER, A2C_FIELD(lambda), NULL, 0, 1,
     "generalised advantage estimation: 1: returns of all rewards, 0: of one reward and the next value"},
    {"value_weight", OPTION_NUMBER, A2C_FIELD(value_weight), NULL, 0, 1e6,
     "weight of the squared advantage in the loss"},
    {"concentration_weight", OPTION_NUMBER, A2C_FIELD(concentration_weight), NULL, 0, 1e6,
     "weight of the sum of the squared probabilities in the loss"},
    {"entropy_weight", OPTION_NUMBER, A2C_FIELD(entropy_weight), NULL, 0, 1e6,
     "weight of the policy's entropy, a bonus"},
    {"reduction", OPTION_CHOICE, A2C_FIELD(reduction), "mean|steps|sum", 0, 0,
     "the loss: mean over steps and copies; steps: sum over steps, mean over copies; sum: over both"},
    {"baseline", OPTION_CHOICE, A2C_FIELD(baseline), "own|shared", 0, 0,
     "value an advantage is taken against: own; shared: that of copy 0 for all, a slip of published code"},
    {"burn_in", OPTION_INTEGER, A2C_FIELD(burn_in), NULL, 0, 1e9,
     "first updates that change neither the parameters nor the optimiser"},
};

enum { A2C_OPTIONS = sizeof a2c_table / sizeof *a2c_table };

const option *a2c_option_table(int *count)
{
    *count = A2C_OPTIONS;
    return a2c_table;
}

a2c_options a2c_option_defaults(void)
{
    return (a2c_options){
        .discount = 0.9, .lambda = 1, .value_weight = 0.1, .concentration_weight = 0.03, .burn_in = 101};
}

#define PPO_FIELD(name) offsetof(ppo_options, name)

static const option ppo_table[] = {
    {"passes", OPTION_INTEGER, PPO_FIELD(passes), NULL, 1, 1000, "times that an update goes over the rollout"},
    {"sequence", OPTION_INTEGER, PPO_FIELD(sequence), NULL, 1, 1 << 16,
     "most steps of a sequence, which is replayed from the state at its start; the gradient goes back no further"},
    {"minibatch", OPTION_INTEGER, PPO_FIELD(minibatch), NULL, 1, 1 << 24,
     "most steps of the sequences that a step of the optimiser takes together; at least one sequence"},
    {"discount", OPTION_NUMBER, PPO_FIELD(discount), NULL, 0, 1, "what a reward counts for a step earlier"},
    {"lambda", OPTION_NUMBER, PPO_FIELD(lambda), NULL, 0, 1, "generalised advantage estimation, as for a2c"},
    {"clip", OPTION_NUMBER, PPO_FIELD(clip), NULL, 0, 1e6,
     "how far from 1 the ratio of an action's probabilities after and before may be to be worth more"},
    {"value_weight", OPTION_NUMBER, PPO_FIELD(value_weight), NULL, 0, 1e6, "weight of the value's squared error"},
    {"value_clip", OPTION_NUMBER, PPO_FIELD(value_clip), NULL, 0, 1e30, "bound of the value's squared error; 0: none"},
    {"entropy_weight", OPTION_NUMBER, PPO_FIELD(entropy_weight), NULL, 0, 1e6,
     "weight of the policy's entropy, a bonus"},
    {"kl_weight", OPTION_NUMBER, PPO_FIELD(kl_weight), NULL, 0, 1e6,
     "first weight of the divergence from the policy before, which then adapts; 0: without"},
    {"kl_target", OPTION_NUMBER, PPO_FIELD(kl_target), NULL, 1e-9, 1e6,
     "divergence that its weight is adapted to: times 1.5 above twice as much, halved below half as much"},
    {"normalise_advantages", OPTION_BOOLEAN, PPO_FIELD(normalise_advantages), NULL, 0, 0,
     "advantages of a rollout to mean 0 and deviation 1"},
    {"normalise_observations", OPTION_BOOLEAN, PPO_FIELD(normalise_observations), NULL, 0, 0,
     "observations to mean 0 and deviation 1 of all rollouts before, within -10 to 10"},
    {"normalise_rewards", OPTION_BOOLEAN, PPO_FIELD(normalise_rewards), NULL, 0, 0,
     "rewards, as they are learned from, divided by the deviation of discounted returns of all rollouts before"},
};

enum { PPO_OPTIONS = sizeof ppo_table / sizeof *ppo_table };

const option *ppo_option_table(int *count)
{
    *count = PPO_OPTIONS;
    return ppo_table;
}

ppo_options ppo_option_defaults(void)
{
    return (ppo_options){.passes = 10,
                         .sequence = 20,
                         .minibatch = 64,
                         .discount = 0.99,
                         .lambda = 0.95,
                         .clip = 0.2,
                         .value_weight = 1,
                         .entropy_weight = 0.01,
                         .kl_target = 0.01,
                         .normalise_advantages = 1};
}
