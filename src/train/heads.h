/* The two read-outs of a learner that acts, backwards: policy and value. */
#ifndef STPN_TRAIN_HEADS_H
#define STPN_TRAIN_HEADS_H

#include "net/net.h"

typedef struct head_pair {
    const stpn_net *net;
    int index[2];  // policy, value
    void *down[2]; // their weights, transposed: (panels of H, padded outputs, lanes)
    void *zeros;   // (Hp)
} head_pair;

/* Fills what was zeros; after an error too, heads_close frees what there is. */
stpn_status heads_open(head_pair *h, const stpn_net *net, int policy, int value, stpn_error *error);
void heads_close(head_pair *h);

/* To be called after every change of the parameters, before heads_backward. */
void heads_transpose(const head_pair *h);

/* Steps of one sample on the tape. */
typedef struct heads_rows {
    int count;
    const void *y;                 // tape_output of the first
    const void *dlogits, *dvalues; // (count, O), (count)
    void *dy;                      // (count, Hp) out
} heads_rows;

/* Adds the read-outs' gradients to the block `grad`, and writes dy. */
void heads_backward(const head_pair *h, const heads_rows *rows, void *grad);

#endif
