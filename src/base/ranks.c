#include "base/ranks.h"

#include "base/error.h"

#include <string.h>

/* Rank 0 owns the first chunk, however few there are. */
static int begin_of(const stpn_ranks *r, int rank, int chunks)
{
    return (int)(((int64_t)chunks * rank + r->count - 1) / r->count);
}

rank_share ranks_share_of(const stpn_ranks *r, int rank, int chunks)
{
    return (rank_share){begin_of(r, rank, chunks), begin_of(r, rank + 1, chunks)};
}

rank_share ranks_share(const stpn_ranks *r, int chunks)
{
    return r ? ranks_share_of(r, r->rank, chunks) : (rank_share){0, chunks};
}

int ranks_owner(const stpn_ranks *r, int chunk, int chunks)
{
    return r ? (int)((int64_t)chunk * r->count / chunks) : 0;
}

/* Others may wait for what comes after: it never does. */
static int fails(stpn_ranks *r, int failed)
{
    r->lost |= failed;
    return failed;
}

stpn_status ranks_send(stpn_ranks *r, int to, const void *data, size_t bytes, stpn_error *error)
{
    if (bytes == 0 || (!r->lost && !fails(r, r->send(r->context, to, data, bytes) != 0))) return STPN_OK;
    return error_set(error, STPN_ERROR_SYSTEM, "rank %d cannot be reached by rank %d", to, r->rank);
}

stpn_status ranks_receive(stpn_ranks *r, int from, void *data, size_t bytes, stpn_error *error)
{
    if (bytes == 0 || (!r->lost && !fails(r, r->receive(r->context, from, data, bytes) != 0))) return STPN_OK;
    return error_set(error, STPN_ERROR_SYSTEM, "rank %d is not heard by rank %d", from, r->rank);
}

/* Ranks in a tree: those that are multiples of 2 s are joined by those s after them. The largest s of a tree of all. */
static int widest(const stpn_ranks *r)
{
    int s = 1;
    while (2 * s < r->count) s *= 2;
    return s;
}

stpn_status ranks_broadcast(stpn_ranks *r, void *data, size_t bytes, stpn_error *error)
{
    stpn_status status = STPN_OK;
    if (!r) return status;
    for (int s = widest(r); s > 0 && !status; s /= 2) {
        if (r->rank % (2 * s) == s) status = ranks_receive(r, r->rank - s, data, bytes, error);
        else if (r->rank % (2 * s) == 0 && r->rank + s < r->count)
            status = ranks_send(r, r->rank + s, data, bytes, error);
    }
    return status;
}

/* First item of a rank, `count` past the last. */
static size_t item_of(const stpn_ranks *r, int rank, int count, int chunk)
{
    int chunks = (count - 1) / chunk + 1;
    int64_t item = rank < r->count ? (int64_t)begin_of(r, rank, chunks) * chunk : count;
    return (size_t)(item < count ? item : count);
}

stpn_status ranks_gather(stpn_ranks *r, void *items, size_t bytes, int count, int chunk, stpn_error *error)
{
    stpn_status status = STPN_OK;
    if (!r) return status;
    for (int s = 1; s < r->count && !status && r->rank % s == 0; s *= 2) {
        int sends = r->rank % (2 * s) == s, from = sends ? r->rank : r->rank + s;
        size_t first = item_of(r, from, count, chunk), last = item_of(r, from + s, count, chunk);
        char *data = (char *)items + first * bytes;
        if (sends) status = ranks_send(r, r->rank - s, data, (last - first) * bytes, error);
        else status = ranks_receive(r, from, data, (last - first) * bytes, error);
    }
    return status ? status : ranks_broadcast(r, items, (size_t)count * bytes, error);
}

typedef struct outcome {
    stpn_status status;
    int32_t decision;
    stpn_error error;
} outcome;

stpn_status ranks_agree(stpn_ranks *r, stpn_status own, stpn_error *error)
{
    int32_t decision = 0;
    return ranks_decide(r, own, &decision, 0, error);
}

stpn_status ranks_decide(stpn_ranks *r, stpn_status own, int32_t *decision, int32_t any, stpn_error *error)
{
    if (!r) return own;
    outcome all = {.status = own, .decision = *decision}, other = {.status = STPN_OK};
    stpn_error lost = {{0}};
    stpn_status status = STPN_OK;
    if (own && error && r->rank == 0) error_set(&all.error, own, "%s", error->message);
    else if (own && error) error_set(&all.error, own, "rank %d: %s", r->rank, error->message);
    for (int s = 1; s < r->count && !status && r->rank % s == 0; s *= 2) {
        if (r->rank % (2 * s) == s) {
            status = ranks_send(r, r->rank - s, &all, sizeof all, &lost);
        } else if (r->rank + s < r->count) {
            status = ranks_receive(r, r->rank + s, &other, sizeof other, &lost);
            if (status) break;
            int32_t both = all.decision | (other.decision & any);
            if (!all.status) all = other;
            all.decision = both;
        }
    }
    if (!status) status = ranks_broadcast(r, &all, sizeof all, &lost);
    *decision = all.decision;
    if (!status && !all.status) return STPN_OK;
    if (status && own) return own; // its message stands in `error`, and tells more
    if (error) *error = status ? lost : all.error;
    return status ? status : all.status;
}

stpn_status ranks_check(stpn_ranks *r, int chunks, const stpn_status *statuses, size_t stride, const stpn_error *errors,
                        stpn_error *error)
{
    rank_share own = ranks_share(r, chunks);
    for (int c = 0; c < chunks; c++) {
        stpn_status status;
        memcpy(&status, (const char *)statuses + (size_t)c * stride, sizeof status);
        if (!status) continue;
        if (c < own.first || c >= own.last) return ranks_agree(r, STPN_OK, error);
        return ranks_agree(r, error_set(error, status, "%s", errors[c].message), error);
    }
    return STPN_OK;
}
