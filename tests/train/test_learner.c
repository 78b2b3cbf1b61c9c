/* The learner on every kind of task: the gradient by finite differences, windows against a loop of public calls, the
 * same bits on any threads and from a state that was stored. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "learner_case.h"
#include "support/effort.h"

/* ------------------------------------------------------------------------------------------------------ the gradient */

/* Adam's first moment after an update from nothing, at a rate that leaves the parameters as they are, is the gradient times
 * 1 - beta1. */
static double loss_of(learner *l)
{
    const supervised_batch batch = {.split = &l->split, .first = 1, .count = l->c.batch};
    stpn_adam *adam = supervised_adam(l->s);
    loss_sums sums;
    memset(adam->first, 0, learner_bytes(l));
    assert_int_equal(stpn_adam_set_learning_rate(adam, 0, NULL), STPN_OK);
    assert_int_equal(supervised_update(l->s, &batch, 0, &sums, NULL), STPN_OK);
    return sums.loss / (double)sums.asked;
}

static void check_gradient(learner_case c)
{
    double kept[8192];
    c.real = STPN_DOUBLE;
    learner l = learner_start(&c);
    double *p = l.net->parameters;
    assert_in_range(l.net->block_values, 1, 8192);
    loss_of(&l);
    const stpn_adam *adam = supervised_adam(l.s);
    for (size_t i = 0; i < l.net->block_values; i++) kept[i] = ((const double *)adam->first)[i] / (1 - adam->beta1);
    int checked = 0;
    for (int index = 0; index < l.net->tensor_count; index++) {
        stpn_tensor tensor;
        double values[256], derivatives[256];
        assert_int_equal(stpn_net_tensor(l.net, index, &tensor), 1);
        assert_in_range(tensor.count, 1, 256);
        stpn_block_get(l.net, kept, index, derivatives);
        for (size_t i = 0; i < tensor.count; i++) {
            static const double weights[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12}, places[] = {-2, -1, 1, 2};
            const double h = 1e-6;
            double slope = 0;
            stpn_block_get(l.net, p, index, values);
            const double middle = values[i];
            for (int k = 0; k < 4; k++) {
                values[i] = middle + places[k] * h;
                stpn_block_set(l.net, p, index, values);
                slope += weights[k] * loss_of(&l) / h;
            }
            values[i] = middle;
            stpn_block_set(l.net, p, index, values);
            if (!(fabs(slope - derivatives[i]) <= 1e-7 + 1e-5 * fabs(slope)))
                fail_msg("%s: %s[%zu]: %g, by differences %g", case_text(&c), tensor.name, i, derivatives[i], slope);
            checked += fabs(slope) > 1e-6;
        }
    }
    assert_true(checked > 10);
    learner_end(&l);
}

static void gradients_are_those_of_the_mean_loss(void **state)
{
    (void)state;
    on_one_thread();
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_SQUARED; loss++)
        for (int bits = SHARED_OUT ? loss : 0; bits < 16; bits += SHARED_OUT ? 3 : 1)
            check_gradient((learner_case){.loss = (task_loss)loss,
                                          .per_step = bits & 1,
                                          .tokens = bits >> 1 & 1,
                                          .lengths = bits >> 2 & 1,
                                          .masks = bits >> 3 & 1,
                                          .steps = 6,
                                          .count = 22,
                                          .batch = 18,
                                          .units = 1 + bits % 2});
}

/* More steps than go to the net or to the read-out at once. */
static void gradients_of_long_sequences(void **state)
{
    (void)state;
    on_one_thread();
    for (int per_step = 0; per_step < 2; per_step++)
        check_gradient((learner_case){
            .loss = LOSS_BINARY, .per_step = per_step, .lengths = 1, .steps = 150, .count = 5, .batch = 3, .units = 1});
}

/* ------------------------------------------------------------------------------------------ by the public calls alone */

typedef struct plain {
    double loss;
    int64_t asked, correct, positives, true_positives, false_positives;
} plain;

/* What one answer loses, and its gradient, by the textbook. */
static void judge(const learner *l, const double *out, int n, int t, double scale, double *dout, plain *sums)
{
    const task_split *split = &l->split;
    size_t O = (size_t)l->shape.outputs, at = l->c.per_step ? (size_t)(n * l->c.steps + t) : (size_t)n;
    int32_t label = split->labels ? split->labels[at] : 0, best = 0;
    for (size_t o = 0; o < O; o++) dout[o] = 0;
    if (label < 0) return;
    for (size_t o = 0; o < O && l->c.loss == LOSS_SQUARED; o++) {
        double target = (double)split->targets[at * O + o];
        if (isnan(target)) continue;
        sums->loss += (out[o] - target) * (out[o] - target);
        dout[o] = scale * 2 * (out[o] - target);
        sums->asked++;
    }
    if (l->c.loss == LOSS_SQUARED) return;
    sums->asked++;
    if (l->c.loss == LOSS_BINARY) {
        double p = 1 / (1 + exp(-out[0]));
        sums->loss -= label ? log(p) : log(1 - p);
        dout[0] = scale * (p - label);
        best = p > 0.5;
        sums->positives += label;
        sums->true_positives += label && best;
        sums->false_positives += !label && best;
    } else {
        double total = 0;
        for (size_t o = 0; o < O; o++) total += exp(out[o]);
        for (size_t o = 0; o < O; o++) {
            dout[o] = scale * (exp(out[o]) / total - ((int32_t)o == label));
            if (out[o] > out[best]) best = (int32_t)o;
        }
        sums->loss -= log(exp(out[label]) / total);
    }
    sums->correct += best == label;
}

/* Steps [begin, begin + steps) of sequences [first, first + count), through state, tape and read-out; with an adam, an
 * update of them. */
static plain plain_window(learner *l, stpn_state *state, int first, int count, int begin, int steps, stpn_adam *adam,
                          double *energy)
{
    size_t B = (size_t)count, T = (size_t)steps, H = (size_t)net_outputs(l->net), O = (size_t)l->shape.outputs;
    const task_split *split = &l->split;
    float *x = calloc(T * B * CASE_INPUTS, sizeof *x);
    int32_t *tokens = calloc(T * B, sizeof *tokens), *lengths = calloc(B, sizeof *lengths);
    double *y = calloc(T * B * H, sizeof *y), *dy = calloc(T * B * H, sizeof *dy);
    double *out = calloc(T * B * O, sizeof *out), *dout = calloc(T * B * O, sizeof *dout);
    for (size_t b = 0; b < B; b++) {
        int n = first + (int)b, length = (split->lengths ? split->lengths[n] : split->steps) - begin;
        lengths[b] = length < 0 ? 0 : length < steps ? length : steps;
        for (size_t t = 0; t < T; t++) {
            size_t from = (size_t)(n * split->steps + begin) + t, to = t * B + b;
            if (l->c.tokens) tokens[to] = split->tokens[from];
            else memcpy(x + to * CASE_INPUTS, split->inputs + from * CASE_INPUTS, CASE_INPUTS * sizeof *x);
        }
    }
    const stpn_sequence sequence = {.steps = steps,
                                    .batch = count,
                                    .type = l->shape.type,
                                    .x = l->c.tokens ? (void *)tokens : x,
                                    .lengths = lengths};
    stpn_tape *tape;
    assert_int_equal(stpn_tape_create(&tape, l->net, steps, count, 1, &error), STPN_OK);
    assert_int_equal(stpn_forward(l->net, state, &sequence, y, energy, tape, NULL, &error), STPN_OK);
    stpn_head_forward(l->net, 0, steps * count, y, out);
    plain sums = {0}, unused;
    for (int pass = 0; pass < 2; pass++) {
        double scale = pass && sums.asked ? 1 / (double)sums.asked : 1;
        unused = (plain){0};
        for (int b = 0; b < count; b++)
            for (int t = 0; t < lengths[b]; t++) {
                int n = first + b, length = split->lengths ? split->lengths[n] : split->steps;
                size_t at = ((size_t)t * B + (size_t)b) * O;
                if (l->c.per_step || begin + t == length - 1)
                    judge(l, out + at, n, begin + t, scale, dout + at, pass ? &unused : &sums);
            }
    }
    if (adam && sums.asked) {
        void *grad = stpn_block_create(l->net);
        stpn_head_backward(l->net, 0, steps * count, y, dout, grad, dy);
        assert_int_equal(stpn_backward(l->net, tape, dy, NULL, grad, NULL, NULL, &error), STPN_OK);
        stpn_adam_update(adam, l->net, grad);
        stpn_block_free(grad);
    }
    stpn_tape_free(tape);
    void *arrays[] = {x, tokens, lengths, y, dy, out, dout};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    return sums;
}

static void assert_close(const learner_case *c, const char *what, double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
        fail_msg("%s: %s is %.17g, expected %.17g", case_text(c), what, a, b);
}

static void check_updates(learner_case c)
{
    c.real = STPN_DOUBLE;
    learner a = learner_start(&c), b = learner_start(&c);
    int window = c.truncate && c.truncate < c.steps ? c.truncate : c.steps, windows = (c.steps + window - 1) / window;
    assert_int_equal(supervised_windows(a.s), windows);
    stpn_adam *adam;
    const train_options *o = &a.options;
    assert_int_equal(stpn_adam_create(&adam, b.net, o->learning_rate, o->beta1, o->beta2, o->epsilon, &error), STPN_OK);
    for (int round = 0; round < 2; round++) {
        stpn_state *state;
        int first = round * (c.count - c.batch);
        assert_int_equal(stpn_state_create(&state, b.net, c.batch, &error), STPN_OK);
        for (int w = 0; w < windows; w++) {
            int begin = w * window, steps = c.steps - begin < window ? c.steps - begin : window;
            loss_sums sums = learner_update(&a, first, w);
            plain p = plain_window(&b, state, first, c.batch, begin, steps, adam, NULL);
            assert_int_equal(sums.asked, p.asked);
            assert_int_equal(sums.correct, p.correct);
            assert_int_equal(sums.positives, p.positives);
            assert_int_equal(sums.true_positives, p.true_positives);
            assert_int_equal(sums.false_positives, p.false_positives);
            assert_close(&c, "the loss", sums.loss, p.loss, 1e-9);
            assert_int_equal(supervised_adam(a.s)->updates, adam->updates);
        }
        stpn_state_free(state);
    }
    assert_true(adam->updates > 0);
    for (size_t i = 0; i < a.net->block_values; i++)
        assert_close(&c, "a parameter", ((double *)a.net->parameters)[i], ((double *)b.net->parameters)[i], 1e-9);
    stpn_adam_free(adam);
    learner_end(&a);
    learner_end(&b);
}

static void updates_equal_the_public_calls(void **state)
{
    (void)state;
    on_one_thread();
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_SQUARED; loss++)
        for (int bits = 0; bits < 16; bits++) {
            learner_case c = {.loss = (task_loss)loss,
                              .per_step = bits & 1,
                              .tokens = bits >> 1 & 1,
                              .lengths = bits >> 2 & 1,
                              .masks = bits >> 3 & 1,
                              .steps = 11,
                              .count = 40,
                              .batch = 37,
                              .units = 2};
            static const int truncations[] = {0, 4, 1, 11, 100};
            for (size_t t = 0; t < sizeof truncations / sizeof *truncations; t++) {
                c.truncate = truncations[t];
                check_updates(c);
            }
        }
}

/* Whatever the unit: windows, sequences that end early, one or many answers. */
static void every_unit_learns_alike(void **state)
{
    (void)state;
    on_one_thread();
    for (int i = 0; unit_at(i); i++)
        for (int bits = 0; bits < 8; bits++) {
            const learner_case c = {.loss = LOSS_BINARY,
                                    .per_step = bits & 1,
                                    .lengths = bits >> 1 & 1,
                                    .tokens = bits >> 2 & 1,
                                    .steps = 11,
                                    .count = 22,
                                    .batch = 19,
                                    .truncate = bits == 3 || bits == 4 ? 4 : 0,
                                    .unit = unit_at(i)->name};
            check_updates(c);
            check_gradient((learner_case){.loss = LOSS_SQUARED,
                                          .per_step = bits & 1,
                                          .lengths = bits >> 1 & 1,
                                          .tokens = bits >> 2 & 1,
                                          .steps = 5,
                                          .count = 6,
                                          .batch = 4,
                                          .unit = unit_at(i)->name});
        }
}

static void long_windows_equal_the_public_calls(void **state)
{
    (void)state;
    on_one_thread();
    for (int per_step = 0; per_step < 2; per_step++)
        for (int truncate = 0; truncate < 150; truncate += 70)
            check_updates((learner_case){.loss = LOSS_SQUARED,
                                         .per_step = per_step,
                                         .lengths = truncate > 0,
                                         .steps = 200,
                                         .count = 2,
                                         .batch = 1,
                                         .truncate = truncate});
}

static void evaluations_equal_the_public_calls(void **state)
{
    (void)state;
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_SQUARED; loss++)
        for (int bits = 0; bits < 16; bits++) {
            const learner_case c = {.loss = (task_loss)loss,
                                    .per_step = bits & 1,
                                    .tokens = bits >> 1 & 1,
                                    .lengths = bits >> 2 & 1,
                                    .masks = bits >> 3 & 1,
                                    .steps = bits & 2 ? 9 : 150,
                                    .count = 21,
                                    .batch = 2,
                                    .real = STPN_DOUBLE,
                                    .threads = 2};
            learner l = learner_start(&c);
            size_t T = (size_t)c.steps, N = (size_t)c.count;
            double *steps = calloc(T, sizeof *steps), *energy = calloc(T * N, sizeof *energy), all = 0, live = 0;
            evaluation e;
            stpn_state *from;
            assert_int_equal(stpn_state_create(&from, l.net, c.count, &error), STPN_OK);
            plain p = plain_window(&l, from, 0, c.count, 0, c.steps, NULL, energy);
            assert_int_equal(supervised_evaluate(l.s, &l.split, &e, steps, NULL, &error), STPN_OK);
            assert_close(&c, "the loss", e.loss, p.loss / (double)p.asked, 1e-9);
            if (loss == LOSS_SQUARED) assert_true(isnan(e.accuracy));
            else assert_true(e.accuracy == (double)p.correct / (double)p.asked);
            if (loss == LOSS_BINARY) {
                assert_true(e.true_positive_rate == (double)p.true_positives / (double)p.positives);
                assert_true(e.false_positive_rate == (double)p.false_positives / (double)(p.asked - p.positives));
            } else {
                assert_true(isnan(e.true_positive_rate) && isnan(e.false_positive_rate));
            }
            for (size_t t = 0; t < T; t++) {
                double sum = 0, having = 0;
                for (size_t n = 0; n < N; n++) {
                    sum += energy[t * N + n];
                    having += !c.lengths || l.split.lengths[n] > (int)t;
                }
                assert_close(&c, "a step's energy", steps[t], having > 0 ? sum / having : 0, 1e-9);
                all += sum;
                live += having;
            }
            assert_close(&c, "the energy", e.energy, all / live, 1e-9);
            stpn_state_free(from);
            free(steps);
            free(energy);
            learner_end(&l);
        }
}

/* ------------------------------------------------------------------------------------------------------ the same bits */

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (int loss = LOSS_CROSS_ENTROPY; loss <= LOSS_SQUARED; loss++)
        for (int truncate = 0; truncate < 20; truncate += 10) {
            void *expected = NULL;
            evaluation first = {0};
            for (int threads = 1; threads <= 3; threads++) {
                const learner_case c = {.loss = (task_loss)loss,
                                        .per_step = 1,
                                        .lengths = 1,
                                        .masks = 1,
                                        .steps = 23,
                                        .count = 70,
                                        .batch = 70,
                                        .truncate = truncate,
                                        .threads = threads};
                learner l = learner_start(&c);
                evaluation e;
                for (int u = 0; u < 3; u++)
                    for (int w = 0; w < supervised_windows(l.s); w++) learner_update(&l, 0, w);
                assert_int_equal(supervised_evaluate(l.s, &l.split, &e, NULL, NULL, &error), STPN_OK);
                if (expected) {
                    assert_memory_equal(l.net->parameters, expected, learner_bytes(&l));
                    assert_memory_equal(&e, &first, sizeof e);
                } else {
                    expected = stpn_block_create(l.net);
                    memcpy(expected, l.net->parameters, learner_bytes(&l));
                    first = e;
                }
                learner_end(&l);
            }
            stpn_block_free(expected);
        }
}

/* Parameters, moments and the state that is handed on are all that the next window depends on. */
static void a_stored_state_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    on_one_thread();
    for (int i = 0; unit_at(i / 2); i++) {
        const int tokens = i % 2, is_stpn = strcmp(unit_at(i / 2)->name, "stpn_r") == 0;
        const learner_case c = {.per_step = 1,
                                .unit = unit_at(i / 2)->name,
                                .tokens = tokens,
                                .lengths = 1,
                                .steps = 20,
                                .count = 40,
                                .batch = 19,
                                .truncate = 5,
                                .units = 2};
        learner a = learner_start(&c), b = learner_start(&c);
        for (int w = 0; w < 2; w++) learner_update(&a, 0, w);
        /* What was there before must not be seen. */
        for (int w = 0; w < 3; w++) learner_update(&b, 20, w);
        memcpy(b.net->parameters, a.net->parameters, learner_bytes(&a));
        stpn_adam *from = supervised_adam(a.s), *to = supervised_adam(b.s);
        memcpy(to->first, from->first, learner_bytes(&a));
        memcpy(to->second, from->second, learner_bytes(&a));
        to->updates = from->updates;
        stpn_tensor tensor;
        const void *values;
        int count = 0;
        for (; (values = supervised_carried(a.s, count, &tensor)); count++) {
            assert_int_equal(tensor.shape[0], 19);
            assert_int_equal(supervised_set_carried(b.s, count, values, &error), STPN_OK);
        }
        if (is_stpn) assert_int_equal(count, 3); // h and F of stpn_r, F of stpn_f
        for (int w = 2; w < 4; w++) {
            loss_sums one = learner_update(&a, 0, w), other = learner_update(&b, 0, w);
            assert_memory_equal(&one, &other, sizeof one);
            assert_memory_equal(a.net->parameters, b.net->parameters, learner_bytes(&a));
        }
        learner_end(&a);
        learner_end(&b);
    }
}

static void a_state_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const learner_case c = {.per_step = 1, .steps = 8, .count = 4, .batch = 3, .truncate = 4};
    learner l = learner_start(&c);
    float values[3 * 5 * 8];
    stpn_tensor tensor;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) values[i] = 0.25F;
    values[7] = NAN;
    assert_non_null(supervised_carried(l.s, 0, &tensor));
    assert_int_equal(supervised_set_carried(l.s, 0, values, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "is not a number"));
    assert_null(supervised_carried(l.s, 2, &tensor));
    assert_int_equal(supervised_set_carried(l.s, 2, values, &error), STPN_ERROR_INPUT);
    learner_end(&l);
    learner_case whole = c;
    whole.truncate = 0;
    l = learner_start(&whole);
    assert_null(supervised_carried(l.s, 0, &tensor));
    learner_end(&l);
}

/* ----------------------------------------------------------------------------------------------- what asks for nothing */

static void a_window_that_asks_for_nothing_learns_nothing(void **state)
{
    (void)state;
    const learner_case c = {.steps = 9, .count = 20, .batch = 20, .truncate = 3, .tokens = 1};
    learner l = learner_start(&c);
    void *before = stpn_block_create(l.net);
    memcpy(before, l.net->parameters, learner_bytes(&l));
    for (int w = 0; w < 2; w++) {
        loss_sums sums = learner_update(&l, 0, w);
        assert_int_equal(sums.asked, 0);
        assert_true(sums.loss == 0);
        assert_memory_equal(l.net->parameters, before, learner_bytes(&l));
        assert_int_equal(supervised_adam(l.s)->updates, 0);
    }
    assert_int_equal(learner_update(&l, 0, 2).asked, 20);
    assert_int_equal(supervised_adam(l.s)->updates, 1);
    assert_true(memcmp(l.net->parameters, before, learner_bytes(&l)) != 0);
    evaluation e;
    for (int i = 0; i < 20; i++) l.split.labels[i] = -1;
    assert_int_equal(supervised_evaluate(l.s, &l.split, &e, NULL, NULL, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "no answer is asked for"));
    stpn_block_free(before);
    learner_end(&l);
}

/* Answers come per step, -1 past a sequence's end. */
static void answers_are_those_of_each_step(void **state)
{
    (void)state;
    const learner_case c = {
        .loss = LOSS_BINARY, .per_step = 1, .lengths = 1, .masks = 1, .steps = 80, .count = 20, .batch = 2};
    learner l = learner_start(&c);
    int32_t *answers = calloc((size_t)c.steps * 20, sizeof *answers);
    evaluation e;
    int right = 0, asked = 0;
    assert_int_equal(supervised_evaluate(l.s, &l.split, &e, NULL, answers, &error), STPN_OK);
    for (int n = 0; n < c.count; n++)
        for (int t = 0; t < c.steps; t++) {
            int at = n * c.steps + t;
            if (t >= l.split.lengths[n]) {
                assert_int_equal(answers[at], -1);
                continue;
            }
            assert_in_range(answers[at], 0, 1);
            asked += l.split.labels[at] >= 0;
            right += l.split.labels[at] == answers[at];
        }
    assert_true(e.accuracy == (double)right / asked);
    free(answers);
    learner_end(&l);
}

/* Memory of a long stream grows with the window, not with the stream. */
static void the_tape_is_as_long_as_a_window(void **state)
{
    (void)state;
    const learner_case c = {.per_step = 1, .steps = 100000, .count = 1, .batch = 1, .truncate = 50};
    learner l = learner_start(&c);
    assert_int_equal(supervised_windows(l.s), 2000);
    for (int w = 0; w < 20; w++) assert_int_equal(learner_update(&l, 0, w).asked, 50);
    learner_end(&l);
}

static void what_is_too_long_for_a_gradient_says_so(void **state)
{
    (void)state;
    const learner_case c = {.steps = 4, .count = 1, .batch = 1};
    learner l = learner_start(&c);
    supervised *s;
    l.shape.steps = INT32_MAX;
    assert_int_equal(supervised_create(&s, l.net, &l.options, &l.shape, NULL, &error), STPN_ERROR_INPUT);
    assert_non_null(strstr(error.message, "2147483647 steps of 1 sequences are more than can be recorded"));
    assert_non_null(strstr(error.message, "train.truncate"));
    assert_null(s);
    l.options.truncate = 100;
    assert_int_equal(supervised_create(&s, l.net, &l.options, &l.shape, NULL, &error), STPN_OK);
    assert_int_equal(supervised_windows(s), INT32_MAX / 100 + 1);
    supervised_free(s);
    learner_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_mean_loss),
        cmocka_unit_test(gradients_of_long_sequences),
        cmocka_unit_test(updates_equal_the_public_calls),
        cmocka_unit_test(every_unit_learns_alike),
        cmocka_unit_test(long_windows_equal_the_public_calls),
        cmocka_unit_test(evaluations_equal_the_public_calls),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(a_stored_state_goes_on_to_the_same_bits),
        cmocka_unit_test(a_state_that_cannot_be_is_refused),
        cmocka_unit_test(a_window_that_asks_for_nothing_learns_nothing),
        cmocka_unit_test(answers_are_those_of_each_step),
        cmocka_unit_test(the_tape_is_as_long_as_a_window),
        cmocka_unit_test(what_is_too_long_for_a_gradient_says_so),
    };
    return cmocka_run_group_tests_name("train/learner", tests, NULL, NULL);
}
