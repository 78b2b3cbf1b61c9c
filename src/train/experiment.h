/* An experiment: what an experiment file says, checked, with every default filled in. */
#ifndef STPN_TRAIN_EXPERIMENT_H
#define STPN_TRAIN_EXPERIMENT_H

#include "io/json.h"
#include "tasks/task.h"
#include "units/unit.h"

typedef enum train_method { METHOD_SUPERVISED } train_method;
typedef enum train_schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_STEP } train_schedule;

typedef struct train_options {
    int method;
    int epochs, batch;
    int truncate; // steps of a window; 0: whole sequences
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    int schedule, warmup;         // of the learning rate; updates that it grows over
    double final_rate;            // linear, cosine: fraction of learning_rate at the end
    int step_every;               // step: updates,
    double step_factor;           // and what it is multiplied by after so many
    double clip_value, clip_norm; // 0: none
    int shuffle;
    int patience;       // evaluations without a better one before the run ends; 0: never
    int evaluate_every; // epochs
} train_options;

typedef struct experiment {
    char *name, *note; // note may be NULL
    uint64_t seed;
    const task_type *task;
    task_options task_options;
    task_shape shape; // of the task
    stpn_unit *units; // (unit_count)
    int unit_count;
    train_options train;
    json_t *resolved; // every value, as it is written to experiment.json
} experiment;

/* Reads a file, applies "key=value" settings and then the seed if one is given, and checks everything. */
stpn_status experiment_read(experiment *e, const char *path, const char *const *set, int set_count,
                            const uint64_t *seed, stpn_error *error);
/* The same from memory; `name` stands in messages. */
stpn_status experiment_parse(experiment *e, const char *name, const char *text, size_t size, const char *const *set,
                             int set_count, const uint64_t *seed, stpn_error *error);
void experiment_free(experiment *e);

/* A unit from {"name" or "unit": ..., options}, as experiment files and golden files have it. */
stpn_status unit_from_json(stpn_unit *options, const json_t *object, const char *name_key, const char *place,
                           stpn_error *error);

/* The network that the experiment trains: its units and one read-out. */
stpn_status experiment_net(stpn_net **net, const experiment *e, stpn_real real, stpn_error *error);

/* The table of `train`, and its defaults, for help and documentation. */
const option *train_option_table(int *count);
train_options train_option_defaults(void);
/* Whether option `name` has an effect with the others as they are. */
int train_option_applies(const train_options *options, const char *name);

#endif
