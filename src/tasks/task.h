/* Tasks with a data set. A task is one file and one row of the registry: its options, its sizes, how its data is drawn
 * and how a sequence reads. */
#ifndef STPN_TASKS_TASK_H
#define STPN_TASKS_TASK_H

#include "base/option.h"

/* Options of every task; each uses the fields its table names. */
typedef struct task_options {
    int pairs;                   // retrieval: key-value pairs of a sequence
    int train, validation, test; // number of sequences
} task_options;

/* Sequences of equal length, one label each. */
typedef struct task_split {
    int count, steps;
    int32_t *tokens; // (count, T)
    int32_t *labels; // (count)
} task_split;

typedef struct task_data {
    task_split train, validation, test;
} task_data;

typedef struct task_type {
    const char *name;
    const option *options; // fields of task_options
    int option_count;
    task_options defaults;
    int (*symbols)(const task_options *options); // I
    int (*classes)(const task_options *options); // values of a label
    int (*steps)(const task_options *options);   // T
    /* Draws all sequences from the seed. */
    stpn_status (*draw)(const task_options *options, uint64_t seed, task_data *data, stpn_error *error);
    /* One character per symbol: "c9k8j3??k"; a label's too. */
    char (*symbol)(int32_t token);
} task_type;

const task_type *task_find(const char *name);
const task_type *task_at(int index);
void task_names(char *text, size_t size);

void task_data_free(task_data *data);

extern const task_type task_retrieval;

#endif
