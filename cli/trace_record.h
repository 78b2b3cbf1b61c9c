/* A sequence that goes step by step through the network of a run, and the file that holds all that it leaves
 * (docs/file-formats.md). */
#ifndef STPN_CLI_TRACE_RECORD_H
#define STPN_CLI_TRACE_RECORD_H

#include "train/run.h"

#define TRACE_FILE "trace.safetensors"

/* The strongest change that a step makes in the fast components. */
typedef struct trace_change {
    int state; // index of the state tensor; -1: no synapse of the net changes
    int row, column;
    double value;
} trace_change;

typedef struct trace_record {
    const run *run;  // not owned
    int steps;       // T
    int32_t *tokens; // (T), or NULL
    float *inputs;   // (T, I), or NULL
    int has_answer;  // 1: label or targets of the sequence are known
    int answers;     // of them: T where the task asks at every step, else 1
    int32_t *labels; // (answers), or NULL
    float *targets;  // (answers, O), or NULL
    float *y;        // (T, H)
    float *energy;   // (T)
    float *logits;   // (T, O)
    int state_count;
    stpn_tensor *tensors; // (state_count) of a state of one sample; rank 3: a matrix over synapses
    float **states;       // (state_count), each (T + 1, values of the tensor)
} trace_record;

/* A sequence as the task writes it: "c9k8j3??k". */
stpn_status trace_from_text(trace_record *record, const run *r, const char *text, stpn_error *error);
/* Sequence `index` of the test set, cut to `steps` where that is more than 0. */
stpn_status trace_from_test(trace_record *record, const run *r, int64_t index, int64_t steps, stpn_error *error);
/* Runs it. */
stpn_status trace_run(trace_record *record, stpn_error *error);
void trace_free(trace_record *record);

/* Euclidean norm over all synapses of what stands in the fast components after step `step` (from 0), and the strongest
 * change that the step made. Fast components are the states that are matrices. */
double trace_fast_norm(const trace_record *record, int step);
trace_change trace_strongest(const trace_record *record, int step);

/* Replaces `path`, but no file that is not a trace. */
stpn_status trace_save(const trace_record *record, int best, const char *path, stpn_error *error);

#endif
