#include "train/heads.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/learn.h"

stpn_status heads_open(head_pair *h, const stpn_net *net, int policy, int value, stpn_error *error)
{
    const kernel_table *k = net->kernel;
    size_t H = row_values(k, net_outputs(net));
    *h = (head_pair){.net = net, .index = {policy, value}};
    for (int i = 0; i < 2; i++) h->down[i] = memory_zeroed(H, row_values(k, net->heads[h->index[i]].outputs) * k->size);
    h->zeros = memory_zeroed(H, k->size);
    return h->down[0] && h->down[1] && h->zeros ? STPN_OK : error_memory(error, "the agent");
}

void heads_close(head_pair *h)
{
    for (int i = 0; i < 2; i++) memory_free(h->down[i]);
    memory_free(h->zeros);
    *h = (head_pair){0};
}

void heads_transpose(const head_pair *h)
{
    const stpn_net *net = h->net;
    const kernel_table *k = net->kernel;
    for (int i = 0; i < 2; i++) {
        const net_head *head = &net->heads[h->index[i]];
        const panel_matrix weight = {.values = value_at(k, net->parameters, head->weight.offset),
                                     .panels = (int)row_values(k, head->outputs) / k->lanes,
                                     .columns = net_outputs(net),
                                     .panel_step = (size_t)net_outputs(net) * (size_t)k->lanes};
        k->transpose(&weight, h->down[i]);
    }
}

void heads_backward(const head_pair *h, const heads_rows *r, void *grad)
{
    const stpn_net *net = h->net;
    const kernel_table *k = net->kernel;
    size_t row = net->units[net->unit_count - 1].row, H = row_values(k, net_outputs(net));
    const void *const dout[2] = {r->dlogits, r->dvalues};
    const row_list down = {.values = r->dy, .rows = r->count, .inner = r->count, .inner_step = H};
    for (int i = 0; i < 2; i++) {
        int outputs = net->heads[h->index[i]].outputs;
        const row_list up = {
            .values = (void *)(uintptr_t)dout[i], .rows = r->count, .inner = r->count, .inner_step = (size_t)outputs};
        const panel_matrix weight = {.values = h->down[i],
                                     .panels = (int)H / k->lanes,
                                     .columns = outputs,
                                     .panel_step = row_values(k, outputs) * (size_t)k->lanes};
        net_head_backward(net, h->index[i], r->count, r->y, row, dout[i], grad, NULL);
        k->product(&up, &weight, i == 0 ? h->zeros : NULL, &down);
    }
}
