#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "support/ranks.h"
#include "train/supervised.h"

static stpn_error error;

/* A net, its data and its learner. */
typedef struct learning {
    task_data data;
    task_options sizes;
    train_options options;
    stpn_net *net;
    stpn_pool *pool;
    supervised *learner;
} learning;

typedef struct plan {
    stpn_real real;
    int units; // 1: stpn_r 5; 2: stpn_r 5, stpn_f 9
    int batch, train, test, threads, pairs;
    double clip_value, clip_norm;
} plan;

static learning start(const plan *p)
{
    learning l = {.sizes = {.pairs = p->pairs ? p->pairs : 2, .train = p->train, .validation = 1, .test = p->test}};
    const task_type *task = &task_retrieval;
    task_shape shape;
    assert_int_equal(task->describe(&l.sizes, &shape, &error), STPN_OK);
    stpn_unit units[2] = {stpn_unit_default("stpn_r", 5), stpn_unit_default("stpn_f", 9)};
    const stpn_head head = {"readout", shape.outputs};
    const stpn_net_desc desc = {.real = p->real,
                                .inputs = shape.inputs,
                                .units = units,
                                .unit_count = p->units,
                                .heads = &head,
                                .head_count = 1};
    l.options = train_option_defaults();
    l.options.batch = p->batch;
    l.options.learning_rate = 0.01;
    /* Large enough that the rounding of a gradient near 0 does not become a step of Adam. */
    l.options.epsilon = 1e-3;
    l.options.clip_value = p->clip_value;
    l.options.clip_norm = p->clip_norm;
    assert_int_equal(task->draw(&l.sizes, 3, &l.data, &error), STPN_OK);
    assert_int_equal(stpn_net_create(&l.net, &desc, &error), STPN_OK);
    stpn_net_init(l.net, 3);
    if (p->threads) assert_int_equal(stpn_pool_create(&l.pool, p->threads, &error), STPN_OK);
    assert_int_equal(supervised_create(&l.learner, l.net, &l.options, &shape, l.pool, &error), STPN_OK);
    return l;
}

/* Whole sequences, one answer each. */
static stpn_status update_whole(supervised *learner, const task_split *split, const int32_t *order, int first,
                                int count, double *loss, int *correct, stpn_error *e)
{
    const supervised_batch batch = {.split = split, .order = order, .first = first, .count = count};
    loss_sums sums;
    stpn_status status = supervised_update(learner, &batch, 0, &sums, e);
    *loss = sums.loss / count;
    *correct = (int)sums.correct;
    if (!status) assert_int_equal(sums.asked, count);
    return status;
}

static void end(learning *l)
{
    supervised_free(l->learner);
    stpn_pool_free(l->pool);
    stpn_net_free(l->net);
    task_data_free(&l->data);
}

static size_t block_bytes(const stpn_net *net)
{
    return net->block_values * net->kernel->size;
}

static double value_in(const stpn_net *net, const void *values, size_t at)
{
    return net->kernel->real == STPN_DOUBLE ? ((const double *)values)[at] : (double)((const float *)values)[at];
}

/* max |a - b| over two blocks. */
static double furthest(const stpn_net *net, const void *a, const void *b)
{
    double most = 0;
    for (size_t i = 0; i < net->block_values; i++) {
        double d = fabs(value_in(net, a, i) - value_in(net, b, i));
        if (!(d <= most)) most = d;
    }
    return most;
}

/* --------------------------------------------------------------------------------------- by the public calls alone */

/* Sequences of a split through the public calls: what an update or an evaluation works from. */
typedef struct plain {
    int count, steps, classes, hidden;
    int32_t *tokens, *labels; // (T, B), (B)
    void *y, *dy, *last, *dlast, *logits, *dlogits, *losses, *energy;
    stpn_state *state;
    stpn_tape *tape;
} plain;

static plain plain_forward(const learning *l, const task_split *split, const int32_t *order, int first, int count)
{
    const size_t size = l->net->kernel->size;
    plain p = {.count = count, .steps = split->steps, .classes = 37, .hidden = net_outputs(l->net)};
    size_t B = (size_t)count, T = (size_t)p.steps, H = (size_t)p.hidden;
    p.tokens = calloc(T * B, sizeof *p.tokens);
    p.labels = calloc(B, sizeof *p.labels);
    void **arrays[] = {&p.y, &p.dy, &p.last, &p.dlast, &p.logits, &p.dlogits, &p.losses, &p.energy};
    const size_t counts[] = {T * B * H, T * B * H, B * H, B * H, B * 37, B * 37, B, T * B};
    for (int i = 0; i < 8; i++) assert_non_null(*arrays[i] = calloc(counts[i], size));
    for (int b = 0; b < count; b++) {
        int n = order ? order[b] : first + b;
        for (int t = 0; t < p.steps; t++) p.tokens[t * count + b] = split->tokens[n * p.steps + t];
        p.labels[b] = split->labels[n];
    }
    const stpn_sequence sequence = {.steps = p.steps, .batch = count, .type = STPN_INPUT_TOKEN, .x = p.tokens};
    assert_int_equal(stpn_state_create(&p.state, l->net, count, &error), STPN_OK);
    assert_int_equal(stpn_tape_create(&p.tape, l->net, p.steps, count, 1, &error), STPN_OK);
    assert_int_equal(stpn_forward(l->net, p.state, &sequence, p.y, p.energy, p.tape, NULL, &error), STPN_OK);
    memcpy(p.last, (char *)p.y + (T - 1) * B * H * size, B * H * size);
    stpn_head_forward(l->net, 0, count, p.last, p.logits);
    return p;
}

static void plain_free(plain *p)
{
    void *arrays[] = {p->tokens, p->labels, p->y,       p->dy,     p->last,
                      p->dlast,  p->logits, p->dlogits, p->losses, p->energy};
    for (int i = 0; i < 10; i++) free(arrays[i]);
    stpn_state_free(p->state);
    stpn_tape_free(p->tape);
}

static int answer_of(const stpn_net *net, const plain *p, int sample)
{
    int best = 0;
    size_t row = (size_t)sample * 37;
    for (int c = 1; c < p->classes; c++)
        if (value_in(net, p->logits, row + (size_t)c) > value_in(net, p->logits, row + (size_t)best)) best = c;
    return best;
}

static void plain_update(learning *l, stpn_adam *adam, const int32_t *order, int first, int batch, double *loss,
                         int *correct)
{
    const size_t size = l->net->kernel->size;
    plain p = plain_forward(l, &l->data.train, order, first, batch);
    void *grad = stpn_block_create(l->net);
    stpn_cross_entropy(l->net, batch, p.classes, p.logits, p.labels, 1.0 / batch, p.losses, p.dlogits);
    stpn_head_backward(l->net, 0, batch, p.last, p.dlogits, grad, p.dlast);
    size_t row = (size_t)batch * (size_t)p.hidden * size;
    memcpy((char *)p.dy + (size_t)(p.steps - 1) * row, p.dlast, row);
    assert_int_equal(stpn_backward(l->net, p.tape, p.dy, NULL, grad, NULL, NULL, &error), STPN_OK);
    stpn_clip_gradient(l->net, grad, l->options.clip_value, l->options.clip_norm);
    stpn_adam_update(adam, l->net, grad);
    *loss = 0;
    *correct = 0;
    for (int b = 0; b < batch; b++) {
        *loss += value_in(l->net, p.losses, (size_t)b) / batch;
        *correct += answer_of(l->net, &p, b) == p.labels[b];
    }
    stpn_block_free(grad);
    plain_free(&p);
}

static void updates_equal_the_public_calls(void **state)
{
    (void)state;
    static const plan plans[] = {
        {.real = STPN_FLOAT, .units = 1, .batch = 48},
        {.real = STPN_FLOAT, .units = 2, .batch = 48},
        {.real = STPN_FLOAT, .units = 1, .batch = 48, .clip_norm = 0.05},
        {.real = STPN_FLOAT, .units = 1, .batch = 48, .clip_value = 0.003},
        {.real = STPN_FLOAT, .units = 1, .batch = 37},
        {.real = STPN_FLOAT, .units = 1, .batch = 16},
        {.real = STPN_FLOAT, .units = 1, .batch = 1},
        {.real = STPN_DOUBLE, .units = 2, .batch = 37, .clip_value = 0.01, .clip_norm = 0.05},
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        for (int shuffled = 0; shuffled < 2; shuffled++) {
            plan p = plans[i];
            p.train = 200;
            p.test = 1;
            learning a = start(&p), b = start(&p);
            stpn_adam *adam;
            const train_options *o = &a.options;
            assert_int_equal(stpn_adam_create(&adam, b.net, o->learning_rate, o->beta1, o->beta2, o->epsilon, &error),
                             STPN_OK);
            for (int u = 0; u < 4; u++) {
                int32_t order[64];
                for (int k = 0; k < 64; k++) order[k] = (u * 31 + k * 7) % 200;
                double loss, plain_loss;
                int correct, plain_correct;
                assert_int_equal(update_whole(a.learner, &a.data.train, shuffled ? order : NULL, u * p.batch, p.batch,
                                              &loss, &correct, &error),
                                 STPN_OK);
                plain_update(&b, adam, shuffled ? order : NULL, u * p.batch, p.batch, &plain_loss, &plain_correct);
                assert_true(fabs(loss - plain_loss) < (p.real == STPN_DOUBLE ? 1e-14 : 1e-6) * plain_loss);
                assert_int_equal(correct, plain_correct);
                double off = furthest(a.net, a.net->parameters, b.net->parameters);
                if (!(off <= (p.real == STPN_DOUBLE ? 1e-13 : 1e-6))) fail_msg("plan %zu: off by %g", i, off);
                /* Gradients are compared as Adam's first moments. */
                off = furthest(a.net, supervised_adam(a.learner)->first, adam->first);
                if (!(off <= (p.real == STPN_DOUBLE ? 1e-15 : 1e-7))) fail_msg("plan %zu: moment off by %g", i, off);
            }
            assert_int_equal(supervised_adam(a.learner)->updates, 4);
            stpn_adam_free(adam);
            end(&a);
            end(&b);
        }
}

/* A learner made for larger batches does the same with a smaller one. */
static void a_batch_may_be_smaller_than_planned(void **state)
{
    (void)state;
    enum { SMALL = 68, LARGE = 90 }; // of the same chunks
    plan small = {.units = 1, .batch = SMALL, .train = 100, .test = 1}, large = small;
    large.batch = LARGE;
    learning a = start(&small), b = start(&large);
    double loss[2];
    int correct[2];
    for (int u = 0; u < 3; u++) {
        assert_int_equal(
            update_whole(b.learner, &b.data.train, NULL, 5, u ? SMALL : LARGE, &loss[1], &correct[1], &error), STPN_OK);
        if (u == 0) {
            /* From here on alike. */
            memcpy(a.net->parameters, b.net->parameters, block_bytes(a.net));
            memcpy(supervised_adam(a.learner)->first, supervised_adam(b.learner)->first, block_bytes(a.net));
            memcpy(supervised_adam(a.learner)->second, supervised_adam(b.learner)->second, block_bytes(a.net));
            supervised_adam(a.learner)->updates = 1;
            continue;
        }
        assert_int_equal(update_whole(a.learner, &a.data.train, NULL, 5, SMALL, &loss[0], &correct[0], &error),
                         STPN_OK);
        assert_true(loss[0] == loss[1] && correct[0] == correct[1]);
        assert_memory_equal(a.net->parameters, b.net->parameters, block_bytes(a.net));
    }
    end(&a);
    end(&b);
}

/* ------------------------------------------------------------------------------------------------------ the same bits */

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    static const int batches[] = {1, 16, 17, 100, 128};
    for (size_t c = 0; c < sizeof batches / sizeof *batches; c++) {
        void *expected = NULL;
        double losses[3];
        evaluation first = {0};
        for (int threads = 0; threads <= 3; threads++) {
            const plan p = {.units = 2, .batch = batches[c], .train = 128 * 3, .test = 333, .threads = threads};
            learning l = start(&p);
            evaluation e;
            double energy[7], loss;
            int correct;
            for (int u = 0; u < 3; u++) {
                assert_int_equal(
                    update_whole(l.learner, &l.data.train, NULL, u * p.batch, p.batch, &loss, &correct, &error),
                    STPN_OK);
                if (threads) assert_true(loss == losses[u]);
                losses[u] = loss;
            }
            assert_int_equal(supervised_evaluate(l.learner, &l.data.test, &e, energy, NULL, &error), STPN_OK);
            if (threads) {
                assert_memory_equal(l.net->parameters, expected, block_bytes(l.net));
                assert_true(e.loss == first.loss && e.accuracy == first.accuracy && e.energy == first.energy);
            } else {
                expected = stpn_block_create(l.net);
                memcpy(expected, l.net->parameters, block_bytes(l.net));
                first = e;
            }
            end(&l);
        }
        stpn_block_free(expected);
    }
}

/* A rank of two that has all chunks, as there is one only: what it sends is lost, or spoilt on its way out. */
static int refuse(void *context, int to, const void *data, size_t bytes)
{
    (void)to;
    (void)data;
    return bytes == *(const size_t *)context ? -1 : 0;
}

static void a_gradient_that_cannot_be_told_is_not_learned_from(void **state)
{
    (void)state;
    const plan p = {.units = 1, .batch = 4, .train = 4, .test = 1};
    learning l = start(&p);
    size_t bytes = block_bytes(l.net);
    stpn_ranks ranks = {.count = 2, .context = &bytes, .send = refuse};
    void *before = stpn_block_create(l.net);
    double loss;
    int correct;
    memcpy(before, l.net->parameters, bytes);
    supervised_set_ranks(l.learner, &ranks);
    error.message[0] = 0;
    assert_int_equal(update_whole(l.learner, &l.data.train, NULL, 0, 4, &loss, &correct, &error), STPN_ERROR_SYSTEM);
    assert_string_equal(error.message, "rank 1 cannot be reached by rank 0");
    assert_int_equal(update_whole(l.learner, &l.data.train, NULL, 0, 4, &loss, &correct, NULL), STPN_ERROR_SYSTEM);
    assert_memory_equal(l.net->parameters, before, bytes);
    assert_int_equal(supervised_adam(l.learner)->updates, 0);
    stpn_block_free(before);
    end(&l);
}

typedef struct spoiler {
    size_t bytes;
    float value;
} spoiler;

static int spoil(void *context, int to, const void *data, size_t bytes)
{
    const spoiler *s = context;
    (void)to;
    if (bytes == s->bytes) *(float *)(uintptr_t)data = s->value;
    return 0;
}

/* Limiting the values must not hide what is not finite. */
static void an_infinite_gradient_is_never_clipped(void **state)
{
    (void)state;
    static const float wrong[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 3; i++)
        for (int clip = 0; clip < 3; clip++) {
            const plan p = {.units = 1,
                            .batch = 4,
                            .train = 4,
                            .test = 1,
                            .clip_value = clip == 1 ? 1 : 0,
                            .clip_norm = clip == 2 ? 1 : 0};
            learning l = start(&p);
            spoiler s = {block_bytes(l.net), wrong[i]};
            stpn_ranks ranks = {.count = 2, .context = &s, .send = spoil};
            void *before = stpn_block_create(l.net);
            double loss;
            int correct;
            memcpy(before, l.net->parameters, block_bytes(l.net));
            supervised_set_ranks(l.learner, &ranks);
            assert_int_equal(update_whole(l.learner, &l.data.train, NULL, 0, 4, &loss, &correct, &error),
                             STPN_ERROR_NUMERIC);
            assert_non_null(strstr(error.message, "the gradient's norm is "));
            assert_memory_equal(l.net->parameters, before, block_bytes(l.net));
            stpn_block_free(before);
            end(&l);
        }
}

/* The tree as it is written down: block i takes block i + 1, 2, 4, ..., all others having done so before. */
static void sum_slowly(float *blocks, size_t values, int count)
{
    for (int stride = 1; stride < count; stride *= 2)
        for (int i = 0; i + stride < count; i += 2 * stride)
            for (size_t k = 0; k < values; k++)
                blocks[(size_t)i * values + k] += blocks[(size_t)(i + stride) * values + k];
}

typedef struct meeting {
    crew crew;
    const stpn_net *net;
    const float *start;
    int count;
    float *blocks[RANKS_MOST];
    stpn_status status[RANKS_MOST];
} meeting;

/* What is a rank's own is added first, then what ranks have together. */
static void join_as_rank(void *context, int rank)
{
    meeting *m = context;
    atomic_char ready[64] = {0};
    stpn_ranks *r = &m->crew.ranks[rank];
    rank_share own = ranks_share(r, m->count);
    size_t values = m->net->block_values;
    for (size_t i = 0; i < (size_t)m->count * values; i++) m->blocks[rank][i] = NAN;
    for (int c = own.first; c < own.last; c++)
        memcpy(m->blocks[rank] + (size_t)c * values, m->start + (size_t)c * values, values * sizeof(float));
    for (int c = own.last - 1; c >= own.first; c--) net_join_block(m->net, m->blocks[rank], m->count, own, c, ready);
    m->status[rank] = net_join_ranks(m->net, m->blocks[rank], m->count, r, NULL);
    for (int i = 0; i < m->count; i++)
        if (atomic_load(&ready[i])) m->status[rank] = STPN_ERROR_SYSTEM;
}

static void the_tree_does_not_depend_on_who_adds(void **state)
{
    (void)state;
    enum { MOST = 40 };
    const plan p = {.units = 1, .batch = 1, .train = 1, .test = 1};
    learning l = start(&p);
    const size_t bytes = block_bytes(l.net), values = l.net->block_values;
    char *whole = memory_zeroed(MOST, bytes), *slow = memory_zeroed(MOST, bytes);
    float *start_values = memory_zeroed(MOST, bytes);
    static meeting m;
    random_stream stream = random_open(1, RANDOM_BENCH, 0);
    for (size_t i = 0; i < MOST * values; i++) start_values[i] = (float)random_normal(&stream);
    for (int r = 0; r < RANKS_MOST; r++) m.blocks[r] = memory_zeroed(MOST, bytes);
    for (int count = 1; count <= MOST; count++) {
        memcpy(whole, start_values, (size_t)count * bytes);
        net_sum_blocks(l.net, whole, count);
        memcpy(slow, start_values, (size_t)count * bytes);
        sum_slowly((float *)slow, values, count);
        assert_memory_equal(slow, whole, bytes);
        m.net = l.net;
        m.start = start_values;
        m.count = count;
        for (int ranks = 1; ranks <= RANKS_MOST; ranks++) {
            crew_open(&m.crew, ranks);
            crew_run(&m.crew, join_as_rank, &m);
            for (int r = 0; r < ranks; r++) {
                assert_int_equal(m.status[r], STPN_OK);
                assert_memory_equal(m.blocks[r], whole, bytes);
            }
            crew_close(&m.crew);
        }
    }
    for (int r = 0; r < RANKS_MOST; r++) memory_free(m.blocks[r]);
    memory_free(whole);
    memory_free(slow);
    memory_free(start_values);
    end(&l);
}

typedef struct joining {
    const stpn_net *net;
    void *blocks;
    const int *order;
    int count;
    atomic_char *ready;
} joining;

static void join(void *context, int turn, int worker)
{
    const joining *j = context;
    (void)worker;
    net_join_block(j->net, j->blocks, j->count, (rank_share){0, j->count}, j->order[turn], j->ready);
}

/* Blocks come in whatever order, on any threads. */
static void the_tree_is_the_same_whoever_is_ready_first(void **state)
{
    (void)state;
    enum { MOST = 37 };
    const stpn_unit unit_options = stpn_unit_default("stpn_r", 20);
    const stpn_net_desc desc = {.real = STPN_FLOAT, .inputs = 5, .units = &unit_options, .unit_count = 1};
    stpn_net *net;
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    const size_t bytes = block_bytes(net);
    float *start_values = memory_zeroed(MOST, bytes), *alone = memory_zeroed(MOST, bytes);
    float *together = memory_zeroed(MOST, bytes);
    random_stream stream = random_open(1, RANDOM_BENCH, 0);
    for (size_t i = 0; i < MOST * net->block_values; i++) start_values[i] = (float)random_normal(&stream);
    for (int count = 1; count <= MOST; count++) {
        atomic_char ready[MOST] = {0};
        int order[MOST];
        memcpy(alone, start_values, MOST * bytes);
        net_sum_blocks(net, alone, count);
        memcpy(together, start_values, MOST * bytes);
        sum_slowly(together, net->block_values, count);
        assert_memory_equal(together, alone, bytes);
        for (int threads = 1; threads <= 4; threads++) {
            stpn_pool *pool;
            for (int i = 0; i < count; i++) order[i] = i;
            for (int i = count - 1; i > 0; i--) {
                int other = (int)random_below(&stream, (uint32_t)(i + 1)), swap = order[i];
                order[i] = order[other];
                order[other] = swap;
            }
            assert_int_equal(stpn_pool_create(&pool, threads, &error), STPN_OK);
            memcpy(together, start_values, MOST * bytes);
            joining j = {net, together, order, count, ready};
            pool_run(pool, count, threads, join, &j);
            assert_memory_equal(together, alone, bytes);
            for (int i = 0; i < count; i++) assert_int_equal(atomic_load(&ready[i]), 0);
            stpn_pool_free(pool);
        }
    }
    memory_free(start_values);
    memory_free(alone);
    memory_free(together);
    stpn_net_free(net);
}

/* ------------------------------------------------------------------------------------------------------- evaluation */

static void an_evaluation_counts_every_sequence(void **state)
{
    (void)state;
    static const int counts[] = {1, 15, 16, 17, 100, 333};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int units = 1; units <= 2; units++) {
            const int N = counts[c];
            const plan p = {.units = units, .batch = 64, .train = 640, .test = N, .threads = 2};
            learning l = start(&p);
            double loss;
            int correct;
            /* Learned a little, so that some answers are right. */
            for (int u = 0; u < 30; u++)
                assert_int_equal(update_whole(l.learner, &l.data.train, NULL, u % 10 * 64, 64, &loss, &correct, &error),
                                 STPN_OK);
            evaluation e, again;
            double energy[7] = {0}, plain_energy[7] = {0}, total = 0, plain_loss = 0;
            int32_t *answers = calloc((size_t)N, sizeof *answers);
            assert_int_equal(supervised_evaluate(l.learner, &l.data.test, &e, energy, answers, &error), STPN_OK);
            assert_int_equal(supervised_evaluate(l.learner, &l.data.test, &again, NULL, NULL, &error), STPN_OK);
            assert_true(e.loss == again.loss && e.accuracy == again.accuracy && e.energy == again.energy);
            plain f = plain_forward(&l, &l.data.test, NULL, 0, N);
            stpn_cross_entropy(l.net, N, f.classes, f.logits, f.labels, 1, f.losses, NULL);
            int right = 0, differing = 0;
            for (int n = 0; n < N; n++) {
                differing += answer_of(l.net, &f, n) != answers[n];
                right += answers[n] == l.data.test.labels[n];
                plain_loss += value_in(l.net, f.losses, (size_t)n) / N;
                for (int t = 0; t < 7; t++) plain_energy[t] += value_in(l.net, f.energy, (size_t)(t * N + n)) / N;
            }
            assert_int_equal(differing, 0);
            assert_true(e.accuracy == (double)right / N);
            if (N > 50) assert_true(right > 0 && right < N);
            assert_true(fabs(e.loss - plain_loss) < 1e-6 * plain_loss);
            for (int t = 0; t < 7; t++) {
                assert_true(fabs(energy[t] - plain_energy[t]) <= 1e-6 * plain_energy[t]);
                total += energy[t] / 7;
            }
            assert_true(fabs(e.energy - total) < 1e-12 && total > 0);
            free(answers);
            plain_free(&f);
            end(&l);
        }
}

/* Of equal logits the first is the answer. */
static void the_first_of_equal_answers_is_given(void **state)
{
    (void)state;
    const plan p = {.units = 1, .batch = 16, .train = 16, .test = 20};
    learning l = start(&p);
    int32_t answers[20];
    evaluation e;
    memset(l.net->parameters, 0, block_bytes(l.net));
    assert_int_equal(supervised_evaluate(l.learner, &l.data.test, &e, NULL, answers, &error), STPN_OK);
    for (int i = 0; i < 20; i++) assert_int_equal(answers[i], 0);
    assert_true(e.accuracy == 0 && e.energy == 0 && fabs(e.loss - log(37)) < 1e-6);
    end(&l);
}

static void an_evaluation_leaves_no_trace(void **state)
{
    (void)state;
    const plan p = {.units = 1, .batch = 40, .train = 80, .test = 50};
    learning a = start(&p), b = start(&p);
    for (int u = 0; u < 2; u++) {
        double loss[2];
        int correct[2];
        evaluation e;
        assert_int_equal(supervised_evaluate(a.learner, &a.data.test, &e, NULL, NULL, &error), STPN_OK);
        assert_int_equal(update_whole(a.learner, &a.data.train, NULL, u * 40, 40, &loss[0], &correct[0], &error), 0);
        assert_int_equal(update_whole(b.learner, &b.data.train, NULL, u * 40, 40, &loss[1], &correct[1], &error), 0);
        assert_true(loss[0] == loss[1]);
        assert_memory_equal(a.net->parameters, b.net->parameters, block_bytes(a.net));
    }
    end(&a);
    end(&b);
}

/* ------------------------------------------------------------------------------------------------- what is not finite */

/* Multiplies tensor `name` of the parameters. */
static void scale_tensor(const learning *l, const char *name, float factor)
{
    float values[37 * 48];
    stpn_tensor tensor;
    int index = 0;
    while (stpn_net_tensor(l->net, index, &tensor) && strcmp(tensor.name, name) != 0) index++;
    assert_string_equal(tensor.name, name);
    assert_in_range(tensor.count, 1, sizeof values / sizeof *values);
    stpn_block_get(l->net, l->net->parameters, index, values);
    for (size_t i = 0; i < tensor.count; i++) values[i] *= factor;
    stpn_block_set(l->net, l->net->parameters, index, values);
}

static void assert_update_refused(learning *l, const char *message)
{
    double loss;
    int correct;
    void *before = stpn_block_create(l->net);
    memcpy(before, l->net->parameters, block_bytes(l->net));
    error.message[0] = 0;
    stpn_status status = update_whole(l->learner, &l->data.train, NULL, 0, 40, &loss, &correct, &error);
    if (status != STPN_ERROR_NUMERIC || !strstr(error.message, message))
        fail_msg("status %d, \"%s\", expected \"%s\"", status, error.message, message);
    assert_memory_equal(l->net->parameters, before, block_bytes(l->net));
    assert_int_equal(supervised_adam(l->learner)->updates, 0);
    const float *moment = supervised_adam(l->learner)->first;
    for (size_t i = 0; i < l->net->block_values; i++) assert_true(moment[i] == 0);
    stpn_block_free(before);
}

static void a_parameter_that_is_no_number_stops_the_update(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        float factor;
    } wrong[] = {
        {"units.0.weight", NAN},      {"units.0.bias", NAN},       {"units.0.lambda", NAN},
        {"units.0.gamma", NAN},       {"readout.weight", NAN},     {"readout.bias", NAN},
        {"units.0.weight", INFINITY}, {"units.0.gamma", INFINITY}, {"readout.weight", INFINITY},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const plan p = {.units = 1, .batch = 40, .train = 40, .test = 1, .clip_value = 1, .clip_norm = 1};
        learning l = start(&p);
        scale_tensor(&l, wrong[i].tensor, wrong[i].factor);
        assert_update_refused(&l, "the loss is ");
        end(&l);
    }
}

/* A loss that is finite with a gradient that is not: weights so small that the gradient of their norm overflows. */
static void a_gradient_that_overflows_stops_the_update(void **state)
{
    (void)state;
    for (int clip = 0; clip < 3; clip++) {
        const plan p = {
            .units = 1, .batch = 40, .train = 40, .test = 1, .clip_norm = clip == 1, .clip_value = clip == 2};
        learning l = start(&p);
        scale_tensor(&l, "units.0.weight", 1e-15F);
        scale_tensor(&l, "readout.weight", 1e30F);
        assert_update_refused(&l, "the gradient's norm is ");
        end(&l);
    }
}

/* Numbers that are no numbers are no result: who saves the best of them would keep a broken network. */
static void an_evaluation_that_is_not_finite_is_an_error(void **state)
{
    (void)state;
    const plan p = {.units = 1, .batch = 16, .train = 16, .test = 20};
    learning l = start(&p);
    evaluation e;
    for (size_t i = 0; i < l.net->block_values; i++) ((float *)l.net->parameters)[i] = NAN;
    assert_int_equal(supervised_evaluate(l.learner, &l.data.test, &e, NULL, NULL, &error), STPN_ERROR_NUMERIC);
    end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_equal_the_public_calls),
        cmocka_unit_test(a_batch_may_be_smaller_than_planned),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(a_gradient_that_cannot_be_told_is_not_learned_from),
        cmocka_unit_test(an_infinite_gradient_is_never_clipped),
        cmocka_unit_test(the_tree_does_not_depend_on_who_adds),
        cmocka_unit_test(the_tree_is_the_same_whoever_is_ready_first),
        cmocka_unit_test(an_evaluation_counts_every_sequence),
        cmocka_unit_test(the_first_of_equal_answers_is_given),
        cmocka_unit_test(an_evaluation_leaves_no_trace),
        cmocka_unit_test(a_parameter_that_is_no_number_stops_the_update),
        cmocka_unit_test(a_gradient_that_overflows_stops_the_update),
        cmocka_unit_test(an_evaluation_that_is_not_finite_is_an_error),
    };
    return cmocka_run_group_tests_name("train/supervised", tests, NULL, NULL);
}
