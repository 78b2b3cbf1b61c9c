/* The total of the chunks' gradients: a tree over their indices, whoever has them, so that its bits are always the same. */
#include "net/net.h"

static void *block_at(const stpn_net *net, void *blocks, int index)
{
    return value_at(net->kernel, blocks, (size_t)index * net->block_values);
}

static void add_blocks(const stpn_net *net, void *blocks, int left, int right)
{
    net->kernel->add(net->block_values, block_at(net, blocks, left), block_at(net, blocks, right));
}

void net_sum_blocks(const stpn_net *net, void *blocks, int count)
{
    for (int stride = 1; stride < count; stride *= 2)
        for (int left = 0; left + stride < count; left += 2 * stride) add_blocks(net, blocks, left, left + stride);
}

/* Whether all below the branch of `left` and left + stride belongs to who owns `own`. */
static int is_within(rank_share own, int count, int left, int stride)
{
    int end = left + 2 * stride < count ? left + 2 * stride : count;
    return left >= own.first && end <= own.last;
}

void net_join_block(const stpn_net *net, void *blocks, int count, rank_share own, int index, atomic_char *ready)
{
    for (int stride = 1; stride < count; stride *= 2) {
        int left = index / (2 * stride) * (2 * stride), right = left + stride;
        index = left;
        if (right >= count) continue;
        if (!is_within(own, count, left, stride)) return;
        if (atomic_fetch_add(&ready[right], 1) == 0) return;
        atomic_store(&ready[right], 0);
        add_blocks(net, blocks, left, right);
    }
}

/* The branch over what two ranks own: one sends its part to where the other adds it. */
static stpn_status join_ranks(const stpn_net *net, void *blocks, int left, int right, int count, stpn_ranks *r,
                              stpn_error *error)
{
    size_t bytes = net->block_values * net->kernel->size;
    int to = ranks_owner(r, left, count), from = ranks_owner(r, right, count);
    stpn_status status = STPN_OK;
    if (from == r->rank && to != from) return ranks_send(r, to, block_at(net, blocks, right), bytes, error);
    if (to != r->rank) return STPN_OK;
    if (from != to) status = ranks_receive(r, from, block_at(net, blocks, right), bytes, error);
    if (!status) add_blocks(net, blocks, left, right);
    return status;
}

stpn_status net_join_ranks(const stpn_net *net, void *blocks, int count, stpn_ranks *r, stpn_error *error)
{
    stpn_status status = STPN_OK;
    if (!r || count == 0) return status;
    for (int stride = 1; stride < count; stride *= 2)
        for (int left = 0; left + stride < count && !status; left += 2 * stride) {
            rank_share own = ranks_share_of(r, ranks_owner(r, left, count), count);
            if (!is_within(own, count, left, stride))
                status = join_ranks(net, blocks, left, left + stride, count, r, error);
        }
    return status ? status : ranks_broadcast(r, blocks, net->block_values * net->kernel->size, error);
}
