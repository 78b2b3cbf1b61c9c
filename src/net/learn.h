/* Read-outs and the optimiser from inside the library. */
#ifndef STPN_NET_LEARN_H
#define STPN_NET_LEARN_H

#include "net/net.h"

/* m' = beta1 m + (1 - beta1) g, v' = beta2 v + (1 - beta2) g^2,
 * p' = p - rate (m' / c1 / (sqrt(v' / c2) + epsilon) + decay p). */
struct stpn_adam {
    const stpn_net *net;
    double learning_rate, weight_decay, beta1, beta2, epsilon;
    int64_t updates;
    void *first, *second; // blocks: m, v
};

/* stpn_head_forward and _backward for rows of y that are y_step values apart. */
void net_head_forward(const stpn_net *net, int head, int rows, const void *y, size_t y_step, void *out);
void net_head_backward(const stpn_net *net, int head, int rows, const void *y, size_t y_step, const void *dout,
                       void *grad, void *dy);

#endif
