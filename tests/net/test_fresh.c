#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <stpn/stpn.h>

/* Starts at zero and ends that a call writes out itself: the same as stpn_state_zero before it and stpn_state_get after it, of
 * the samples that are run and of no others, on any number of threads. */

enum { I = 3, H = 20, STEPS = 70, B = 37, TENSORS = 4, ROOM = B * H * (I + H) };

typedef struct bench {
    stpn_net *net;
    stpn_state *state, *expected;
    stpn_pool *pool;
    float x[STEPS * B * I], y[STEPS * B * H], y_expected[STEPS * B * H];
    float *ends[TENSORS], *ends_expected[TENSORS];
} bench;

/* Both states hold what a first sequence left. */
static bench *bench_open(const char *unit, int threads)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    const stpn_unit units[2] = {stpn_unit_default(unit, H), stpn_unit_default("stpn_f", 5)};
    const stpn_net_desc desc = {.inputs = I, .units = units, .unit_count = 2};
    assert_int_equal(stpn_net_create(&b->net, &desc, NULL), STPN_OK);
    stpn_net_init(b->net, 3);
    assert_int_equal(stpn_state_create(&b->state, b->net, B, NULL), STPN_OK);
    assert_int_equal(stpn_state_create(&b->expected, b->net, B, NULL), STPN_OK);
    assert_int_equal(stpn_pool_create(&b->pool, threads, NULL), STPN_OK);
    for (int i = 0; i < STEPS * B * I; i++) b->x[i] = (float)(i * 7919 % 101) / 50 - 1;
    for (int i = 0; i < TENSORS; i++) {
        b->ends[i] = calloc(ROOM, sizeof(float));
        b->ends_expected[i] = calloc(ROOM, sizeof(float));
        assert_true(b->ends[i] && b->ends_expected[i]);
    }
    const stpn_sequence q = {.steps = 3, .batch = B, .x = b->x};
    assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, NULL, NULL, NULL), STPN_OK);
    stpn_state_copy(b->expected, b->state);
    return b;
}

static void bench_close(bench *b)
{
    for (int i = 0; i < TENSORS; i++) {
        free(b->ends[i]);
        free(b->ends_expected[i]);
    }
    stpn_pool_free(b->pool);
    stpn_state_free(b->state);
    stpn_state_free(b->expected);
    stpn_net_free(b->net);
    free(b);
}

static void get_all(const stpn_state *state, float **ends)
{
    stpn_tensor tensor;
    for (int i = 0; stpn_state_tensor(state, i, &tensor); i++) {
        assert_true(i < TENSORS && tensor.count <= ROOM);
        stpn_state_get(state, i, ends[i]);
    }
}

static void assert_same(const bench *b, float *const *ends)
{
    for (int i = 0; i < TENSORS; i++) assert_memory_equal(ends[i], b->ends_expected[i], ROOM * sizeof(float));
}

static void a_call_starts_at_zero_and_writes_its_ends(void **unused)
{
    (void)unused;
    static const char *const units[] = {"stpn_r", "lstm", "hebbff"};
    static const int lengths[] = {0, 1, STEPS};
    for (int n = 0; n < 18; n++) {
        bench *b = bench_open(units[n % 3], n / 9 ? 3 : 1);
        stpn_sequence q = {.steps = lengths[n / 3 % 3], .batch = B, .x = b->x};
        stpn_state_zero(b->expected);
        assert_int_equal(stpn_forward(b->net, b->expected, &q, b->y_expected, NULL, NULL, NULL, NULL), STPN_OK);
        get_all(b->expected, b->ends_expected);
        q.fresh = 1;
        q.finals = (void *const *)b->ends;
        assert_int_equal(stpn_forward(b->net, b->state, &q, b->y, NULL, NULL, b->pool, NULL), STPN_OK);
        assert_memory_equal(b->y, b->y_expected, sizeof b->y);
        assert_same(b, b->ends);
        get_all(b->state, b->ends); // the state itself is left there too
        assert_same(b, b->ends);
        bench_close(b);
    }
}

static void other_samples_and_tensors_are_left_alone(void **unused)
{
    (void)unused;
    bench *b = bench_open("stpn_r", 2);
    float *after[TENSORS], *some[TENSORS] = {b->ends[0], NULL, b->ends[2], NULL};
    enum { FIRST = 5, LAST = 21 };
    stpn_sequence q = {.steps = 9, .batch = B, .first = FIRST, .last = LAST, .x = b->x};
    stpn_state_zero(b->expected);
    assert_int_equal(stpn_forward(b->net, b->expected, &q, NULL, NULL, NULL, NULL, NULL), STPN_OK);
    get_all(b->state, b->ends_expected);
    for (int i = 0; i < TENSORS; i++) {
        after[i] = calloc(ROOM, sizeof(float));
        assert_non_null(after[i]);
        memset(b->ends[i], 0x5a, ROOM * sizeof(float));
    }
    stpn_tensor tensor;
    float *run = calloc(ROOM, sizeof(float));
    assert_non_null(run);
    q.fresh = 1;
    q.finals = (void *const *)some;
    assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, NULL, b->pool, NULL), STPN_OK);
    for (int i = 0; stpn_state_tensor(b->state, i, &tensor); i++) {
        size_t each = tensor.count / B;
        stpn_state_get(b->state, i, after[i]);
        stpn_state_get(b->expected, i, run);
        for (size_t v = 0; v < tensor.count; v++) {
            int inside = v / each >= FIRST && v / each < LAST;
            uint32_t written, untouched = 0x5a5a5a5a, wanted;
            memcpy(&written, &b->ends[i][v], sizeof written);
            memcpy(&wanted, &run[v], sizeof wanted);
            assert_true(after[i][v] == (inside ? run[v] : b->ends_expected[i][v]));
            assert_int_equal(written, inside && some[i] ? wanted : untouched);
        }
    }
    for (int i = 0; i < TENSORS; i++) free(after[i]);
    free(run);
    bench_close(b);
}

/* The way back through it would be wrong. */
static void a_tape_begins_fresh_or_not_at_all(void **unused)
{
    (void)unused;
    bench *b = bench_open("stpn_r", 1);
    stpn_tape *tape = NULL;
    stpn_error error;
    assert_int_equal(stpn_tape_create(&tape, b->net, 10, B, 1, NULL), STPN_OK);
    stpn_sequence q = {.steps = 4, .batch = B, .x = b->x, .fresh = 1};
    assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, tape, NULL, &error), STPN_OK);
    get_all(b->state, b->ends_expected);
    for (q.steps = 4; q.steps >= 0; q.steps -= 4) {
        assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, tape, NULL, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message,
                            "fresh is 1 with 4 steps of sample 0 on the tape, expected 0: `reset` starts anew between "
                            "steps");
    }
    /* One sample that has begun is enough. */
    stpn_tape_rewind(tape);
    q = (stpn_sequence){.steps = 2, .batch = B, .first = B - 1, .last = B, .x = b->x};
    assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, tape, NULL, &error), STPN_OK);
    get_all(b->state, b->ends_expected);
    q = (stpn_sequence){.batch = B, .fresh = 1};
    assert_int_equal(stpn_forward(b->net, b->state, &q, NULL, NULL, tape, NULL, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "2 steps of sample 36 on the tape"));
    get_all(b->state, b->ends);
    assert_same(b, b->ends);
    stpn_tape_free(tape);
    bench_close(b);
}

/* What the header says; and a small batch has chunks for several threads. */
static void small_batches_have_small_chunks(void **unused)
{
    (void)unused;
    static const int sizes[][2] = {{1, 4}, {16, 4}, {31, 4}, {32, 8}, {63, 8}, {64, 16}, {1 << 24, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(stpn_chunk_size(sizes[i][0]), sizes[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_starts_at_zero_and_writes_its_ends),
        cmocka_unit_test(other_samples_and_tensors_are_left_alone),
        cmocka_unit_test(a_tape_begins_fresh_or_not_at_all),
        cmocka_unit_test(small_batches_have_small_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
