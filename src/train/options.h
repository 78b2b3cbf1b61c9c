/* The options of training: the key `train` of experiment files. */
#ifndef STPN_TRAIN_OPTIONS_H
#define STPN_TRAIN_OPTIONS_H

#include "base/option.h"

typedef enum train_method { METHOD_SUPERVISED, METHOD_A2C, METHOD_PPO } train_method;
typedef enum train_schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_STEP } train_schedule;

typedef struct train_options {
    int method;
    int epochs, iterations; // the one that the method has
    int rollout, steps; // of a copy between two updates, 0: whole episodes; of all copies, iterations follow from it
    int batch;
    int truncate; // steps of a window; 0: whole sequences
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    int schedule, warmup;         // of the learning rate; updates that it grows over
    double final_rate;            // linear, cosine: fraction of learning_rate at the end
    int step_every;               // step: updates,
    double step_factor;           // and what it is multiplied by after so many
    double clip_value, clip_norm; // 0: none
    double stop_reward;
    int shuffle;
    int patience;        // evaluations without a better one before the run ends; 0: never
    int evaluate_every;  // epochs, iterations
    int test_iterations; // of the test at the end
    int test_greedy;
} train_options;

typedef enum a2c_reduction {
    A2C_MEAN,  // over steps and copies
    A2C_STEPS, // sum over steps, mean over copies
    A2C_SUM    // over both
} a2c_reduction;

typedef enum a2c_baseline {
    A2C_OWN,   // v of the copy itself
    A2C_SHARED // v of copy 0 for every copy, but for v_T: a slip of published code, to reproduce it
} a2c_baseline;

typedef struct a2c_options {
    double discount, lambda;
    double value_weight, concentration_weight, entropy_weight;
    int reduction, baseline; // a2c_reduction, a2c_baseline
    int burn_in;             // first updates that change neither the parameters nor the optimiser
} a2c_options;

typedef struct ppo_options {
    int passes;              // times that a rollout is gone over
    int sequence, minibatch; // steps, at most
    double discount, lambda, clip;
    double value_weight, entropy_weight;
    int normalise_advantages, normalise_observations, normalise_rewards;
    double value_clip;           // bound of the squared error; 0: none
    double kl_weight, kl_target; // 0: without
} ppo_options;

/* The tables, and the defaults, which for the actor-critic are those of the maze, for PPO those of the pendulum. */
const option *train_option_table(int *count);
train_options train_option_defaults(void);
const option *a2c_option_table(int *count);
a2c_options a2c_option_defaults(void);
const option *ppo_option_table(int *count);
ppo_options ppo_option_defaults(void);

/* Whether an option of the first table has an effect with the others as they are; all of the other two have one where the
 * method is theirs. */
int train_option_applies(const train_options *options, const char *name);

#endif
