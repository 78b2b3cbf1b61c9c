/* A network inside: units, read-outs, the layout of its block; and the sweeps over one chunk of samples from which every
 * public call and the trainers are made. */
#ifndef STPN_NET_NET_H
#define STPN_NET_NET_H

#include "base/ranks.h"
#include "net/encoder.h"

#include <stdatomic.h>

enum { NET_MAX_NAME = 64 };

typedef struct net_head {
    char name[UNIT_NAME_SIZE];
    int outputs;
    unit_tensor weight, bias; // offsets from the start of the block
} net_head;

/* A parameter tensor of the net. */
typedef struct net_tensor {
    char name[NET_MAX_NAME];
    unit_tensor place; // offset from the start of the block
} net_tensor;

/* A state tensor of one sample. */
typedef struct net_state {
    char name[NET_MAX_NAME];
    int unit, index; // of the unit
    size_t offset;   // from the start of the sample
} net_state;

struct stpn_net {
    const kernel_table *kernel;
    int inputs; // values of a step's input
    net_encoder encoder;
    int features; // inputs of the first unit: the encoder's, or the same
    unit *units;  // (unit_count)
    int unit_count;
    size_t *unit_block; // (unit_count) start of each unit's parameters
    size_t *unit_state; // (unit_count) start of each unit's state in a sample's
    net_head *heads;    // (head_count)
    int head_count;
    net_tensor *tensors;
    int tensor_count;
    net_state *states;
    int state_count;
    size_t block_values, state_values;
    size_t input_row, widest_row; // values of an input row, of the widest unit's output row
    void *parameters;             // (block_values)
    atomic_uint *changes;         // how often a call has changed the parameters of units or encoder
};

struct stpn_state {
    const stpn_net *net;
    int batch;
    int chunk;    // samples of one
    void *values; // (B, state_values)
    void *work;   // work space of each chunk (chunks, net_forward_bytes)
    size_t work_bytes;
    int64_t *encoding; // (chunks) nanoseconds in the encoder since they were last taken, where they are wanted
    int watched;
    int leave; // see net_leave
};

struct stpn_tape {
    const stpn_net *net;
    int steps, batch, workers;
    int chunk;      // samples of one
    int *recorded;  // (B)
    unsigned *made; // (B) the net's `changes` at the sample's first step
    uint8_t *flags; // (B, T)
    void *x;        // (B, T, input_row) of the first unit
    void *kept;     // (B, T, encoder.kept) or NULL
    void **out;     // (unit_count) (B, T + 1, Hp)
    void **own;     // (unit_count) (B, tape_values)
    size_t *own_values;
    void *chunk_grad;   // (chunks, block_values)
    atomic_char *ready; // (chunks) parts of their sum
    void *work;         // (workers, work_bytes)
    size_t work_bytes;
    int64_t *encoding; // (workers) as in a state
    int watched;
};

/* Whether clocks are read around the encoder; the time of a chunk, or of a worker, since it was last taken. */
void net_watch(stpn_state *state, stpn_tape *tape);
int64_t net_take_time(int64_t *time);
/* From now on a forward call may leave the last update of the state to the next call, which then makes it in one go with its
 * first step: the same bits for less traffic where calls have a step each. Before parameters change, before anything but
 * forward calls and copies of whole states looks at the state, and before the backward pass of a tape, net_settle does
 * what is left for samples [first, last), all inside one chunk. `tape`: that of the latest call, or NULL. */
void net_leave(stpn_state *state);
void net_settle(stpn_state *state, int first, int last, stpn_tape *tape);
/* Nanoseconds of a clock. */
int64_t net_clock(void);

/* Called by what changes the parameters: tapes made before are of other ones. */
void net_changed(const stpn_net *net);
/* An input error where what is recorded of samples [first, last) was made with other parameters than the net's. */
stpn_status tape_check(const stpn_tape *tape, int first, int last, stpn_error *error);

/* stpn_state_create and stpn_tape_create with chunks of so many samples, 1 to CHUNK. */
stpn_status net_state_create(stpn_state **state, const stpn_net *net, int batch, int chunk, stpn_error *error);
stpn_status net_tape_create(stpn_tape **tape, const stpn_net *net, int steps, int batch, int chunk, int threads,
                            stpn_error *error);

/* Tensor `index` of sample `sample`'s state, row-major, to its place in `values` (B, ...). */
void net_state_sample(const stpn_state *state, int index, int sample, void *values);

/* Threads that so many steps of samples are worth, of `most`: to wake another one for less takes longer than it saves. */
int net_worth(const stpn_net *net, size_t steps, int most);

/* Outputs of the last unit. */
int net_outputs(const stpn_net *net);

/* Work space of one chunk: what stpn_forward needs beside the state. */
size_t net_forward_bytes(const stpn_net *net, int samples);

/* Runs samples [first, last) of the sequence, all inside one chunk of the state. `finals` of a state that net_leave was asked
 * for need a step. */
void net_forward_chunk(const stpn_net *net, stpn_state *state, const stpn_sequence *sequence, int first, int last,
                       void *y, void *energy, stpn_tape *tape);

/* Where the gradient of a chunk comes from and goes; strides in values. */
typedef struct net_back {
    int first, last; // samples of the tape
    const void *dy;  // (samples, T, H) of sample `first` on
    size_t dy_sample, dy_step;
    const int *dy_begin; // (samples) first step that has a row, NULL: 0
    stpn_state *dstate;  // or NULL
    void *grad;          // block, added to
    void *dx;            // (T, B, I) of the whole batch, or NULL
    int worker;
} net_back;

void net_backward_chunk(const stpn_net *net, stpn_tape *tape, const net_back *back);

/* Adds `count` blocks into the first, in a tree over their indices. */
void net_sum_blocks(const stpn_net *net, void *blocks, int count);

/* The same sum while blocks come in: called by whoever has block `index` ready, one of the process's own. Of two parts of
 * the tree, the one that is ready last adds both, where its values still are in cache; after all calls the first block is the
 * total of all `count`, where this process owns them all. `ready` (count) holds zeros before and after. */
void net_join_block(const stpn_net *net, void *blocks, int count, rank_share own, int index, atomic_char *ready);
/* After it: what is left to add of parts that several ranks own; the first block is the total on all of them. Blocks of
 * others are overwritten. */
stpn_status net_join_ranks(const stpn_net *net, void *blocks, int count, stpn_ranks *ranks, stpn_error *error);

/* Address of the output row (Hp values) of step `step` on the tape; the rows of a sample lie one after the other. */
const void *tape_output(const stpn_tape *tape, int sample, int step);

#endif
