/* Processes that compute one thing together. Of the chunks that the work is cut into each of R ranks owns a run of neighbours;
 * nothing that is computed depends on R. What ranks tell each other goes through the two functions of stpn_ranks; NULL
 * stands for one process throughout. Calls that take an error are made by all ranks, in the same order. */
#ifndef STPN_BASE_RANKS_H
#define STPN_BASE_RANKS_H

#include <stpn/stpn.h>

/* Chunks [first, last). */
typedef struct rank_share {
    int first, last;
} rank_share;

/* Whether this process is the one that writes files. */
static inline int ranks_is_first(const stpn_ranks *r)
{
    return !r || r->rank == 0;
}

/* What this rank owns of so many chunks, maybe nothing; what another one does; and who owns one. */
rank_share ranks_share(const stpn_ranks *r, int chunks);
rank_share ranks_share_of(const stpn_ranks *r, int rank, int chunks);
int ranks_owner(const stpn_ranks *r, int chunk, int chunks);

stpn_status ranks_send(stpn_ranks *r, int to, const void *data, size_t bytes, stpn_error *error);
stpn_status ranks_receive(stpn_ranks *r, int from, void *data, size_t bytes, stpn_error *error);

/* What rank 0 has, to all. */
stpn_status ranks_broadcast(stpn_ranks *r, void *data, size_t bytes, stpn_error *error);
/* `count` items of so many bytes, of which every `chunk` items in a row are a chunk, the last one maybe short: each from
 * the rank that owns its chunk to all. */
stpn_status ranks_gather(stpn_ranks *r, void *items, size_t bytes, int count, int chunk, stpn_error *error);
/* The first rank's status that is no success, and its message, which says the rank where that is not 0, on all ranks. */
stpn_status ranks_agree(stpn_ranks *r, stpn_status own, stpn_error *error);
/* The same, and to all what rank 0 has decided, with those of the bits `any` that any rank has set. */
stpn_status ranks_decide(stpn_ranks *r, stpn_status own, int32_t *decision, int32_t any, stpn_error *error);
/* The first chunk's status that is no success, on all ranks, which have the statuses of all chunks, `stride` bytes apart; the
 * message is told by the rank that owns the chunk, which alone has it in `errors` (chunks). */
stpn_status ranks_check(stpn_ranks *r, int chunks, const stpn_status *statuses, size_t stride, const stpn_error *errors,
                        stpn_error *error);

#endif
