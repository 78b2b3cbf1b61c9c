#include "train/options.h"

#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(train_options, name)

static const option train_table[] = {
    {"method", OPTION_CHOICE, FIELD(method), "supervised|a2c", 0, 0,
     "how the network learns; from data: supervised, the default there; in an environment: a2c, the default there"},
    {"epochs", OPTION_INTEGER, FIELD(epochs), NULL, 1, 1e9, "supervised: passes over the training sequences"},
    {"iterations", OPTION_INTEGER, FIELD(iterations), NULL, 1, 1e9,
     "a2c, episodes of one length: episodes of every copy, an update after each"},
    {"steps", OPTION_INTEGER, FIELD(steps), NULL, 1, 2e9,
     "a2c, episodes of any length: agent steps of all copies together, rounded up to whole rollouts, which are the "
     "iterations of such a run"},
    {"rollout", OPTION_INTEGER, FIELD(rollout), NULL, 0, 1 << 20,
     "a2c, episodes of any length: steps of every copy between two updates; episodes go on across"},
    {"batch", OPTION_INTEGER, FIELD(batch), NULL, 1, 1 << 20,
     "sequences of an update, a last partial batch is dropped; a2c: copies of the environment"},
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
    {"evaluate_every", OPTION_INTEGER, FIELD(evaluate_every), NULL, 1, 1e9,
     "epochs between evaluations; a2c: iterations that a row of metrics sums up"},
    {"test_iterations", OPTION_INTEGER, FIELD(test_iterations), NULL, 1, 1e6,
     "a2c: episodes of every copy that the test takes"},
    {"test_greedy", OPTION_BOOLEAN, FIELD(test_greedy), NULL, 0, 0,
     "a2c: the test takes the most probable actions in place of drawn ones"},
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
                           .evaluate_every = 1,
                           .test_iterations = 100};
}

int train_option_applies(const train_options *o, const char *name)
{
    static const char *const of_method[][8] = {
        [METHOD_SUPERVISED] = {"epochs", "truncate", "shuffle"},
        [METHOD_A2C] = {"iterations", "steps", "rollout", "test_iterations", "test_greedy"}};
    const char *const *others = of_method[o->method == METHOD_A2C ? METHOD_SUPERVISED : METHOD_A2C];
    for (int i = 0; others[i]; i++)
        if (strcmp(name, others[i]) == 0) return 0;
    if (strcmp(name, "iterations") == 0) return o->rollout == 0;
    if (strcmp(name, "steps") == 0 || strcmp(name, "rollout") == 0) return o->rollout > 0;
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
