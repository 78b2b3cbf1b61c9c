/* An experiment: what an experiment file says, checked, with every default filled in. */
#ifndef STPN_TRAIN_EXPERIMENT_H
#define STPN_TRAIN_EXPERIMENT_H

#include "io/json.h"
#include "tasks/env.h"
#include "tasks/task.h"
#include "train/options.h"
#include "units/unit.h"

typedef struct experiment {
    char *name, *note; // note may be NULL
    uint64_t seed;
    /* One of the two is not NULL. */
    const task_type *task; // with a data set,
    task_options task_options;
    const env_type *env; // or an environment
    env_options env_options;
    env_shape env_shape;
    task_shape shape;   // of the task; of an environment, its inputs and steps
    stpn_conv *encoder; // (encoder_count) of images; NULL: none
    int encoder_count;
    int features;     // inputs of the first unit
    stpn_unit *units; // (unit_count)
    int unit_count;
    train_options train;
    a2c_options a2c;  // where train.method is a2c,
    ppo_options ppo;  // or ppo
    json_t *resolved; // every value, as it is written to experiment.json
} experiment;

/* Reads a file, applies "key=value" settings and then the seed if one is given, and checks everything. */
stpn_status experiment_read(experiment *e, const char *path, const char *const *set, int set_count,
                            const uint64_t *seed, stpn_error *error);
/* The same from memory; `name` stands in messages. */
stpn_status experiment_parse(experiment *e, const char *name, const char *text, size_t size, const char *const *set,
                             int set_count, const uint64_t *seed, stpn_error *error);
void experiment_free(experiment *e);

/* The keys of a layer of the encoder. */
const option *encoder_option_table(int *count);

/* The network that the experiment trains: its units and one read-out, or for an environment a policy and a value. */
stpn_status experiment_net(stpn_net **net, const experiment *e, stpn_real real, stpn_error *error);

#endif
