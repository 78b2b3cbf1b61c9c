/* A chunk of sequences on its way through a net, a few steps at a time, as training and evaluation bring it. */
#ifndef STPN_TRAIN_SWEEP_H
#define STPN_TRAIN_SWEEP_H

#include "net/learn.h"
#include "train/loss.h"

enum { PIECE = 64 }; // steps that are brought to the net at once

/* Up to CHUNK sequences of a split. */
typedef struct chunk {
    const task_split *split;
    int count;
    int sequence[CHUNK]; // their places in the split
} chunk;

/* Sequences begin .. begin + count - 1 of an order, or of the split itself where `order` is NULL. */
chunk chunk_of(const task_split *split, const int32_t *order, int begin, int count);
/* Steps that a sequence, or the one of sample `sample`, has among [begin, begin + steps). */
int sequence_live(const task_split *split, int sequence, int begin, int steps);
int chunk_live(const chunk *c, int sample, int begin, int steps);

/* What a thread works in, whatever it does. */
typedef struct sweep {
    const stpn_net *net;
    const task_shape *shape;
    int samples;       // of a chunk, the most
    stpn_state *state; // (samples)
    void *x;           // (PIECE, samples) tokens, or (PIECE, samples, I) floats
    void *last;        // (samples, H) outputs after last steps
    float *targets;    // (samples, O) their targets
    void *out, *dout;  // (LOSS_ROWS, O) of the read-out
} sweep;

/* `samples`: the most that a chunk has. */
stpn_status sweep_open(sweep *s, const stpn_net *net, const task_shape *shape, int samples, stpn_error *error);
void sweep_close(sweep *s);

/* Runs steps [begin, begin + steps) of a chunk, at most PIECE. y (PIECE, samples, H), energy (PIECE, samples) and the tape
 * may be NULL. */
void sweep_run(sweep *s, const chunk *c, int begin, int steps, void *y, void *energy, stpn_tape *tape);

/* The samples whose sequences end within some steps, where that is where the answer is. */
typedef struct sweep_ends {
    int count;
    int sample[CHUNK], step[CHUNK]; // of the chunk; from the first of the steps
    int32_t labels[CHUNK];
} sweep_ends;

/* Finds them, with their labels or, in s->targets, their targets. */
sweep_ends sweep_find_ends(sweep *s, const chunk *c, int begin, int steps);
loss_wanted sweep_wanted(const sweep *s, const sweep_ends *ends);

#endif
