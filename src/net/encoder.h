/* The encoder of a network: convolutions of an image, each with ReLU, before the first unit. An image lies row by row,
 * with the channels of a pixel side by side, and so does what every layer makes of it: F filters are the channels of the
 * next one.
 *
 *     out(y, x, f) = max(0, b_f + sum over i, j < size and channels c of w_f(i, j, c) in(y stride + i, x stride + j, c))
 *
 * A row of a window is one piece of memory, so that a layer is a product for each of its rows (kernels/product.h): nothing
 * is copied, and a step's values have the same bits in any batch, on any number of threads. */
#ifndef STPN_NET_ENCODER_H
#define STPN_NET_ENCODER_H

#include "units/unit.h"

/* One layer, planned. */
typedef struct net_conv {
    int filters, size, stride;
    int width, channels;       // of what comes in
    int out_height, out_width; // of what goes out
    size_t in_values, values;  // of both
    unit_tensor weight, bias;  // (F, size size channels), (F); offsets from the start of the block
} net_conv;

typedef struct net_encoder {
    net_conv *layers; // (count); count 0: no encoder
    int count;
    double offset, scale; // a value v of the image is taken as (v - offset) scale
    size_t kept; // values that the backward pass needs of a step: the image and every layer's output but the last
} net_encoder;

/* Checks what the description says of an encoder, and tells the values it makes: the inputs of the first unit. Where there
 * is none, those are the description's. */
stpn_status encoder_check(const stpn_net_desc *desc, int *features, stpn_error *error);
/* Plans a checked encoder; its parameters are still to be given their places. */
stpn_status encoder_open(net_encoder *e, const stpn_net_desc *desc, stpn_error *error);
void encoder_close(net_encoder *e);

/* One step of one sample: `kept` is filled from the image x, and features (those of the last layer) are written. */
void encoder_forward(const net_encoder *e, const kernel_table *k, const void *parameters, stpn_input type,
                     const void *x, void *kept, void *features);

/* Work space of the backward pass; transposed weights, made once before any steps, and adjoints. */
size_t encoder_backward_bytes(const net_encoder *e, const kernel_table *k);
void encoder_backward_open(const net_encoder *e, const kernel_table *k, const void *parameters, void *work);
/* One step of one sample: adds to the gradient block; dfeatures is changed. */
void encoder_backward(const net_encoder *e, const kernel_table *k, void *gradient, const void *kept,
                      const void *features, void *dfeatures, void *work);

#endif
