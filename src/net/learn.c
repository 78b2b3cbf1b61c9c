/* What learning needs beside the units: read-outs, the loss, limits on the gradient, Adam. */
#include "net/learn.h"

#include "base/error.h"
#include "base/memory.h"

#include <float.h>
#include <math.h>

void stpn_head_forward(const stpn_net *net, int head, int rows, const void *y, void *out)
{
    size_t H = (size_t)net_outputs(net);
    if (head < 0 || head >= net->head_count) return;
    net_head_forward(net, head, rows, y, H, out);
}

void net_head_forward(const stpn_net *net, int head, int rows, const void *y, size_t y_step, void *out)
{
    const kernel_table *k = net->kernel;
    const net_head *h = &net->heads[head];
    k->linear_forward(rows, h->outputs, net_outputs(net), y, y_step, value_at(k, net->parameters, h->weight.offset),
                      value_at(k, net->parameters, h->bias.offset), out);
}

void stpn_head_backward(const stpn_net *net, int head, int rows, const void *y, const void *dout, void *grad, void *dy)
{
    size_t H = (size_t)net_outputs(net);
    if (head < 0 || head >= net->head_count) return;
    net_head_backward(net, head, rows, y, H, dout, grad, dy);
}

void net_head_backward(const stpn_net *net, int head, int rows, const void *y, size_t y_step, const void *dout,
                       void *grad, void *dy)
{
    const kernel_table *k = net->kernel;
    const net_head *h = &net->heads[head];
    size_t H = (size_t)net_outputs(net);
    k->linear_backward(rows, h->outputs, (int)H, y, y_step, value_at(k, net->parameters, h->weight.offset), dout,
                       grad ? value_at(k, grad, h->weight.offset) : NULL,
                       grad ? value_at(k, grad, h->bias.offset) : NULL, dy, H);
}

static void fill_nan(const kernel_table *k, void *values, size_t from, size_t count)
{
    for (size_t i = 0; values && i < count; i++) value_write(k, values, from + i, NAN);
}

/* Kernels take labels as they are: rows whose label there is go to them, as many at once as follow each other. */
void stpn_cross_entropy(const stpn_net *net, int rows, int classes, const void *logits, const int32_t *labels,
                        double scale, void *losses, void *dlogits)
{
    const kernel_table *k = net->kernel;
    size_t C = (size_t)classes;
    for (int first = 0, last = 0; first < rows; first = ++last) {
        size_t at = (size_t)first;
        while (last < rows && labels[last] >= 0 && labels[last] < classes) last++;
        if (last > first)
            k->cross_entropy(last - first, classes, value_at(k, logits, at * C), labels + first, scale,
                             losses ? value_at(k, losses, at) : NULL, dlogits ? value_at(k, dlogits, at * C) : NULL,
                             NULL);
        if (last == rows) return;
        fill_nan(k, losses, (size_t)last, 1);
        fill_nan(k, dlogits, (size_t)last * C, C);
    }
}

double stpn_clip_gradient(const stpn_net *net, void *grad, double value, double norm)
{
    const kernel_table *k = net->kernel;
    if (value > 0) k->limit(net->block_values, grad, value);
    double length = sqrt(k->sum_squares(net->block_values, grad));
    if (norm > 0 && length > norm) k->scale(net->block_values, grad, norm / length);
    return length;
}

stpn_status stpn_adam_create(stpn_adam **out, const stpn_net *net, double learning_rate, double beta1, double beta2,
                             double epsilon, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "adam is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {net, "net"});
    if (status) return status;
    if (!(learning_rate > 0 && isfinite(learning_rate)))
        return error_set(error, STPN_ERROR_INPUT, "learning_rate is %g, expected more than 0", learning_rate);
    if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1))
        return error_set(error, STPN_ERROR_INPUT, "beta1 is %g and beta2 is %g, expected both in [0, 1)", beta1, beta2);
    double least = net->kernel->real == STPN_DOUBLE ? DBL_MIN : (double)FLT_MIN;
    if (!(epsilon >= least && isfinite(epsilon)))
        return error_set(error, STPN_ERROR_INPUT, "epsilon is %g, expected at least %g", epsilon, least);
    stpn_adam *adam = memory_zeroed(1, sizeof *adam);
    if (!adam) return error_memory(error, "the optimiser");
    *adam = (stpn_adam){.net = net,
                        .learning_rate = learning_rate,
                        .beta1 = beta1,
                        .beta2 = beta2,
                        .epsilon = epsilon,
                        .first = stpn_block_create(net),
                        .second = stpn_block_create(net)};
    if (!adam->first || !adam->second) {
        stpn_adam_free(adam);
        return error_memory(error, "the optimiser");
    }
    *out = adam;
    return STPN_OK;
}

void stpn_adam_free(stpn_adam *adam)
{
    if (!adam) return;
    memory_free(adam->first);
    memory_free(adam->second);
    memory_free(adam);
}

stpn_status stpn_adam_set_learning_rate(stpn_adam *adam, double learning_rate, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {adam, "adam"});
    if (status) return status;
    if (!(learning_rate >= 0 && isfinite(learning_rate)))
        return error_set(error, STPN_ERROR_INPUT, "learning_rate is %g, expected 0 or more", learning_rate);
    adam->learning_rate = learning_rate;
    return STPN_OK;
}

stpn_status stpn_adam_set_weight_decay(stpn_adam *adam, double weight_decay, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {adam, "adam"});
    if (status) return status;
    if (!(weight_decay >= 0 && isfinite(weight_decay)))
        return error_set(error, STPN_ERROR_INPUT, "weight_decay is %g, expected 0 or more", weight_decay);
    adam->weight_decay = weight_decay;
    return STPN_OK;
}

/* By squaring: the same bits with any C library. */
static double power(double base, int64_t exponent)
{
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2) result *= base;
    return result;
}

void stpn_adam_update(stpn_adam *adam, stpn_net *net, const void *grad)
{
    if (adam->net != net) return;
    adam->updates++;
    net_changed(net);
    double c1 = 1 - power(adam->beta1, adam->updates), c2 = 1 - power(adam->beta2, adam->updates);
    net->kernel->adam(net->block_values, net->parameters, grad, adam->first, adam->second, adam->learning_rate,
                      adam->weight_decay, adam->beta1, adam->beta2, adam->epsilon, c1, c2);
}
