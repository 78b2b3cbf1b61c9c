/* What ranks own, and what they tell each other. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/error.h"
#include "support/ranks.h"

enum { CHUNKS_MOST = 40, ITEMS = 100 };

static void every_chunk_has_one_owner(void **state)
{
    (void)state;
    for (int count = 1; count <= RANKS_MOST; count++)
        for (int chunks = 1; chunks <= CHUNKS_MOST; chunks++) {
            int next = 0;
            for (int rank = 0; rank < count; rank++) {
                stpn_ranks r = {.rank = rank, .count = count};
                rank_share own = ranks_share(&r, chunks);
                assert_int_equal(own.first, next);
                assert_in_range(own.last - own.first, chunks / count, (chunks + count - 1) / count);
                for (int c = own.first; c < own.last; c++) assert_int_equal(ranks_owner(&r, c, chunks), rank);
                next = own.last;
            }
            assert_int_equal(next, chunks);
            stpn_ranks any = {.count = count};
            assert_int_equal(ranks_owner(&any, 0, chunks), 0);
        }
    rank_share all = ranks_share(NULL, 7);
    assert_int_equal(all.first, 0);
    assert_int_equal(all.last, 7);
    assert_int_equal(ranks_owner(NULL, 6, 7), 0);
}

typedef struct exchange {
    crew crew;
    int count, chunk; // of items
    int64_t items[RANKS_MOST][ITEMS], word[RANKS_MOST];
    stpn_status own[RANKS_MOST], status[RANKS_MOST];
    int32_t decision[RANKS_MOST];
    stpn_error error[RANKS_MOST];
} exchange;

static void gather(void *context, int rank)
{
    exchange *x = context;
    x->status[rank] = ranks_gather(&x->crew.ranks[rank], x->items[rank], sizeof(int64_t), x->count, x->chunk, NULL);
    if (!x->status[rank])
        x->status[rank] = ranks_broadcast(&x->crew.ranks[rank], &x->word[rank], sizeof x->word[rank], NULL);
}

static void items_come_from_their_owners(void **state)
{
    (void)state;
    static exchange x;
    static const int counts[] = {1, 2, 5, 16, 17, 63, ITEMS}, chunks[] = {1, 3, 16};
    for (int ranks = 1; ranks <= RANKS_MOST; ranks++)
        for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
            for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
                x.count = counts[n];
                x.chunk = chunks[k];
                int all = (x.count - 1) / x.chunk + 1;
                crew_open(&x.crew, ranks);
                for (int r = 0; r < ranks; r++) {
                    x.word[r] = 7 + r;
                    for (int i = 0; i < x.count; i++) x.items[r][i] = 1000 * r + i;
                }
                crew_run(&x.crew, gather, &x);
                for (int r = 0; r < ranks; r++) {
                    assert_int_equal(x.status[r], STPN_OK);
                    assert_int_equal(x.word[r], 7);
                    for (int i = 0; i < x.count; i++)
                        assert_int_equal(x.items[r][i], 1000 * ranks_owner(&x.crew.ranks[0], i / x.chunk, all) + i);
                }
                crew_close(&x.crew);
            }
    /* Alone there is nobody to tell. */
    assert_int_equal(ranks_gather(NULL, x.items[0], 8, 3, 1, NULL), STPN_OK);
    assert_int_equal(ranks_broadcast(NULL, x.items[0], 8, NULL), STPN_OK);
    assert_int_equal(ranks_agree(NULL, STPN_ERROR_INPUT, NULL), STPN_ERROR_INPUT);
}

enum { ANY = 1 }; // bits that any rank may set

static void decide(void *context, int rank)
{
    exchange *x = context;
    if (x->own[rank]) error_set(&x->error[rank], x->own[rank], "wrong");
    x->status[rank] = ranks_decide(&x->crew.ranks[rank], x->own[rank], &x->decision[rank], ANY, &x->error[rank]);
}

static void the_first_error_is_everyones(void **state)
{
    (void)state;
    static const stpn_status errors[] = {STPN_ERROR_INPUT, STPN_ERROR_MEMORY, STPN_ERROR_SYSTEM};
    static exchange x;
    for (int ranks = 1; ranks <= RANKS_MOST; ranks++)
        for (int bits = 0; bits < 1 << ranks; bits++) {
            int first = -1;
            crew_open(&x.crew, ranks);
            for (int r = ranks - 1; r >= 0; r--) {
                x.own[r] = bits >> r & 1 ? errors[r % 3] : STPN_OK;
                x.decision[r] = 2 * (40 + r) | (bits * 5 >> r & ANY);
                x.error[r].message[0] = 0;
                if (x.own[r]) first = r;
            }
            crew_run(&x.crew, decide, &x);
            for (int r = 0; r < ranks; r++) {
                char message[32] = "";
                if (first == 0) snprintf(message, sizeof message, "wrong");
                if (first > 0) snprintf(message, sizeof message, "rank %d: wrong", first);
                assert_int_equal(x.status[r], first >= 0 ? errors[first % 3] : STPN_OK);
                assert_string_equal(x.error[r].message, message);
                assert_int_equal(x.decision[r], 2 * 40 | ((bits * 5 & ((1 << ranks) - 1)) != 0));
            }
            crew_close(&x.crew);
        }
}

static void meet_without_one(void *context, int rank)
{
    exchange *x = context;
    if (rank == x->count) crew_leave(&x->crew, rank);
    else x->status[rank] = ranks_agree(&x->crew.ranks[rank], x->own[rank], &x->error[rank]);
    if (rank != x->count) crew_leave(&x->crew, rank);
}

static void a_lost_rank_is_an_error_of_the_system(void **state)
{
    (void)state;
    static exchange x;
    for (int ranks = 2; ranks <= RANKS_MOST; ranks++)
        for (int lost = 0; lost < ranks; lost++) {
            crew_open(&x.crew, ranks);
            x.count = lost;
            int failed = (lost + 1) % ranks; // has an error of its own
            for (int r = 0; r < ranks; r++) {
                x.own[r] = r == failed ? STPN_ERROR_INPUT : STPN_OK;
                snprintf(x.error[r].message, sizeof x.error[r].message, r == failed ? "wrong" : "");
            }
            crew_run(&x.crew, meet_without_one, &x);
            for (int r = 0; r < ranks; r++) {
                if (r == lost) continue;
                assert_int_equal(x.status[r], r == failed ? STPN_ERROR_INPUT : STPN_ERROR_SYSTEM);
                if (r == failed) assert_string_equal(x.error[r].message, "wrong");
                else assert_non_null(strstr(x.error[r].message, "rank "));
            }
            crew_close(&x.crew);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_has_one_owner),
        cmocka_unit_test(items_come_from_their_owners),
        cmocka_unit_test(the_first_error_is_everyones),
        cmocka_unit_test(a_lost_rank_is_an_error_of_the_system),
    };
    return cmocka_run_group_tests_name("base/ranks", tests, NULL, NULL);
}
