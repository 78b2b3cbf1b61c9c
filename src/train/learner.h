/* The supervised learner inside: what its updates and its evaluations share. */
#ifndef STPN_TRAIN_LEARNER_H
#define STPN_TRAIN_LEARNER_H

#include "base/threads.h"
#include "train/supervised.h"
#include "train/sweep.h"

/* What one thread works in. */
typedef struct worker {
    sweep sweep;
    profile_lane *lane; // or NULL
    void *y;            // (PIECE, chunk, H) an evaluation's outputs
    void *energy;       // (PIECE, chunk)
    /* Of updates; NULL for a thread that never makes one. */
    stpn_tape *tape; // of a window
    void *dy;        // (samples, window, H)
    void *dlast;     // (chunk, H)
} worker;

/* What a chunk of samples adds to the sums; added in the order of the chunks. */
typedef struct chunk_result {
    loss_sums sums;
    stpn_status status; // of the state that was handed on
} chunk_result;

struct supervised {
    stpn_net *net;
    stpn_pool *pool;
    stpn_ranks *ranks; // or NULL
    train_options options;
    task_shape shape;
    int window, windows; // steps of a window; windows of a batch
    int workers;         // threads
    int chunk, chunks;   // samples of one; chunks of a batch
    worker *worker;      // (workers)
    stpn_adam *adam;
    void *blocks;          // (chunks, block_values) gradients
    atomic_char *ready;    // (chunks) parts of their sum
    chunk_result *results; // (chunks)
    void **carried;        // (state tensors) (chunks * chunk, ...) values, or NULL where there is one window
    int carried_count;
};

#endif
