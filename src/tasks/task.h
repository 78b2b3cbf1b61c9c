/* Tasks with a data set. A task is one file and one row of the registry: its options, the shape of its sequences, how
 * its data is drawn or read, and how a sequence reads. */
#ifndef STPN_TASKS_TASK_H
#define STPN_TASKS_TASK_H

#include "base/option.h"

typedef enum task_loss {
    LOSS_CROSS_ENTROPY, // softmax over O classes, a label per answer
    LOSS_BINARY,        // sigmoid of one output, a label 0 or 1 per answer; decision at 0.5
    LOSS_SQUARED        // mean over the O outputs of (output - target)^2
} task_loss;

enum { TASK_TEXT = 1024, TASK_PATH = 4096 };

/* Options of every task; each uses the fields its table names. */
typedef struct task_options {
    int train, validation, test;               // number of sequences
    int pairs;                                 // retrieval: key-value pairs of a sequence
    int dimensions;                            // familiarity: d, length of a vector
    int steps;                                 // familiarity: T, vectors of a stream
    int distance;                              // familiarity: R, steps between a vector and its copy
    int regime;                                // familiarity: fixed (0) or fresh (1): a new training set in every epoch
    char file[TASK_TEXT];                      // sequences: the data, .safetensors, .npz or .csv; relative to `folder`
    char folder[TASK_PATH];                    // of the experiment file, or empty: the current one; no option
    double validation_fraction, test_fraction; // sequences, as far as the file does not say which is which
    int standardise;                           // sequences: inputs and targets to mean 0 and deviation 1
    int answers, ahead, window; // sequences: where answers are asked for; steps to look ahead; steps of a piece
    char sequence[TASK_TEXT], inputs[TASK_TEXT]; // sequences, .csv: headings of columns
    char label[TASK_TEXT], target[TASK_TEXT];
} task_options;

/* What the network and the learner need to know of the data. */
typedef struct task_shape {
    int inputs;      // I; for tokens, the number of symbols
    int outputs;     // O of the read-out; classes for LOSS_CROSS_ENTROPY, 1 for LOSS_BINARY
    int steps;       // T of the longest sequence
    stpn_input type; // STPN_INPUT_TOKEN or STPN_INPUT_FLOAT
    task_loss loss;
    int per_step; // 1: an answer at every step; 0: one after a sequence's last step
} task_shape;

/* Sequences of up to T steps. */
typedef struct task_split {
    int count, steps; // N, T
    int32_t *tokens;  // (N, T) for STPN_INPUT_TOKEN, else NULL
    float *inputs;    // (N, T, I) for STPN_INPUT_FLOAT, else NULL
    int32_t *lengths; // (N), each 1 to T, or NULL: all T
    int32_t *labels;  // (N), per step (N, T); negative: no answer is asked for there. NULL for LOSS_SQUARED
    float *targets;   // (N, O), per step (N, T, O); a NaN: not asked for. NULL unless LOSS_SQUARED
} task_split;

typedef struct task_data {
    task_split train, validation, test;
    task_shape shape; // of a file as it was when it was read; zeros where nothing was read
} task_data;

typedef struct task_type {
    const char *name;
    const option *options; // fields of task_options
    int option_count;
    task_options defaults;
    /* The shape, which may take a look at a file. Checks what the table of options cannot. */
    stpn_status (*describe)(const task_options *options, task_shape *shape, stpn_error *error);
    /* Draws or reads all sequences; whatever is drawn depends on the seed alone. */
    stpn_status (*draw)(const task_options *options, uint64_t seed, task_data *data, stpn_error *error);
    /* Draws the training sequences of epoch `epoch` (from 0) in place; returns 0 in *renewed where the options keep them. May be NULL. */
    stpn_status (*renew)(const task_options *options, uint64_t seed, int64_t epoch, task_split *train, int *renewed,
                         stpn_error *error);
    /* Further test sets that a summary reports by name ("R=1", ...): fills `split` (freed by the caller) and `name`;
     * *more = 0 past the last. May be NULL. */
    stpn_status (*probe)(const task_options *options, uint64_t seed, int index, char *name, size_t size,
                         task_split *split, int *more, stpn_error *error);
    /* One character per symbol: "c9k8j3??k"; a label's too; and back, -1 for none. NULL where symbols have no characters. */
    char (*symbol)(int32_t token);
    int32_t (*token)(char symbol);
} task_type;

const task_type *task_find(const char *name);
const task_type *task_at(int index);
void task_names(char *text, size_t size);

/* The path of the file of data: `file`, from `folder` on where it is relative. */
void task_file_path(const task_options *options, char path[TASK_PATH + TASK_TEXT]);
/* Whether the data that were drawn are those that were described. */
int task_shape_fits(const task_shape *shape, const task_data *data);
void task_split_free(task_split *split);
void task_data_free(task_data *data);

extern const task_type task_retrieval;
extern const task_type task_familiarity;
extern const task_type task_sequences;

#endif
