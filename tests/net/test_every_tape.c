#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/net.h"
#include "support/library.h"
#include "support/registered.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a tape promises for every unit of the registry in every form: however it was filled, whatever it held before,
 * whatever is asked of it. In double, on every kernel. */

enum { WIDTH = 5, INPUTS = 3 };

typedef void (*contract)(stpn_unit form, int index);

static void for_every_form(contract check)
{
    stpn_unit form;
    for (int index = 0; registered(index, WIDTH, &form); index++)
        for (int k = 0; use_kernel(k); k++) check(form, index);
}

/* A net of one unit, by hand. */
typedef struct hand {
    stpn_net *net;
    stpn_state *state, *dstate;
    stpn_tape *tape;
    double *grad;
} hand;

static hand open_hand(const stpn_unit *form, int steps, int batch)
{
    hand h = {0};
    stpn_net_desc desc = {.real = STPN_DOUBLE, .inputs = INPUTS, .units = form, .unit_count = 1};
    assert_int_equal(stpn_net_create(&h.net, &desc, NULL), STPN_OK);
    stpn_net_init(h.net, 1);
    assert_int_equal(stpn_state_create(&h.state, h.net, batch, NULL), STPN_OK);
    assert_int_equal(stpn_state_create(&h.dstate, h.net, batch, NULL), STPN_OK);
    assert_int_equal(stpn_tape_create(&h.tape, h.net, steps, batch, 1, NULL), STPN_OK);
    h.grad = stpn_block_create(h.net);
    assert_non_null(h.grad);
    return h;
}

static void close_hand(hand *h)
{
    stpn_block_free(h->grad);
    stpn_tape_free(h->tape);
    stpn_state_free(h->dstate);
    stpn_state_free(h->state);
    stpn_net_free(h->net);
}

static void forward_hand(hand *h, int steps, int batch, int first, int last, const double *x, const uint8_t *reset)
{
    stpn_sequence q = {.steps = steps,
                       .batch = batch,
                       .first = first,
                       .last = last,
                       .type = STPN_INPUT_DOUBLE,
                       .x = x,
                       .reset = reset};
    assert_int_equal(stpn_forward(h->net, h->state, &q, NULL, NULL, h->tape, NULL, NULL), STPN_OK);
}

static void backward_hand(hand *h, const double *dy, int dense, double *dx)
{
    assert_int_equal(stpn_backward(h->net, h->tape, dy, dense ? h->dstate : NULL, h->grad, dx, NULL, NULL), STPN_OK);
}

static void assert_blocks_close(const hand *a, const hand *b, double factor, double tolerance)
{
    double most = 1e-3;
    for (size_t i = 0; i < stpn_net_block_size(a->net); i++) most = fmax(most, fabs(b->grad[i]));
    for (size_t i = 0; i < stpn_net_block_size(a->net); i++)
        assert_true(fabs(a->grad[i] - factor * b->grad[i]) <= tolerance * most);
}

/* Row-major values of every state tensor, one after the other; to be freed. */
static double *states_of(const stpn_state *state, size_t *count)
{
    stpn_tensor t;
    size_t total = 0;
    for (int i = 0; stpn_state_tensor(state, i, &t); i++) total += t.count;
    double *values = calloc(total + 1, sizeof *values);
    assert_non_null(values);
    *count = 0;
    for (int i = 0; stpn_state_tensor(state, i, &t); i++) {
        stpn_state_get(state, i, values + *count);
        *count += t.count;
    }
    return values;
}

static void assert_states_close(const stpn_state *a, const stpn_state *b, double tolerance)
{
    size_t count;
    double *one = states_of(a, &count), *two = states_of(b, &count);
    for (size_t i = 0; i < count; i++) assert_true(fabs(one[i] - two[i]) <= tolerance);
    free(one);
    free(two);
}

static void fill(double *values, int count, int seed)
{
    for (int i = 0; i < count; i++) values[i] = ((i * 7 + seed) % 11 - 5) / 4.0;
}

/* Steps in several calls, samples in several ranges. */
static void check_filled_in_parts(stpn_unit form, int index)
{
    static const int calls[] = {1, 0, 7, 2, 10}, cuts[] = {3, 16, 17};
    problem_plan plan = {.units = {form}, .unit_count = 1, .inputs = INPUTS, .steps = 20, .batch = 19, .rough = 1};
    problem p;
    outcome whole, parts;
    plan.started = 1;
    plan.resets = index % 2;
    plan.lengths = index / 2 % 2;
    plan.input = (plan_input)(index % 4);
    problem_make(&p, &plan, (uint64_t)index);
    run r = {.real = STPN_DOUBLE, .kernel = getenv("STPN_KERNEL"), .backward = RUN_DENSE};
    library_outcome(&p, &r, &whole);
    for (int way = 1; way < 4; way++) {
        run other = r;
        if (way & 1) other.calls = calls;
        other.call_count = way & 1 ? 5 : 0;
        if (way & 2) other.cuts = cuts;
        other.cut_count = way & 2 ? 3 : 0;
        library_outcome(&p, &other, &parts);
        assert_forward_same_bits(&p, &other, &parts, &whole);
        assert_gradient_same_bits(&p, &other, &parts, &whole);
        outcome_free(&parts);
    }
    outcome_free(&whole);
    problem_free(&p);
}

static void calls_and_ranges_fill_a_tape_alike(void **state)
{
    (void)state;
    for_every_form(check_filled_in_parts);
}

/* Samples with 3, 1 and no steps on a tape that has room for 5: dy past a sample's own steps is not read, dx there is 0. */
static void check_recorded_less(stpn_unit form, int index)
{
    enum { B = 3, T = 3 };
    static const int recorded[B] = {3, 1, 0};
    double x[T * B * INPUTS], dy[T * B * WIDTH], dx[T * B * INPUTS];
    hand all = open_hand(&form, 5, B), sum = open_hand(&form, 5, B);
    fill(x, T * B * INPUTS, index);
    fill(dy, T * B * WIDTH, index + 1);
    for (int i = 0; i < T * B * WIDTH; i++)
        if (i / WIDTH / B >= recorded[i / WIDTH % B]) dy[i] = NAN;
    memset(dx, 0xff, sizeof dx);
    forward_hand(&all, T, B, 0, 1, x, NULL);
    forward_hand(&all, 1, B, 1, 2, x, NULL);
    for (int b = 0; b < B; b++) assert_int_equal(stpn_tape_steps(all.tape, b), recorded[b]);
    backward_hand(&all, dy, 1, dx);
    for (int b = 0; b < 2; b++) { // each by itself
        hand h = open_hand(&form, T, 1);
        double own_x[T * INPUTS], own_dy[T * WIDTH], own_dx[T * INPUTS];
        for (int t = 0; t < recorded[b]; t++) {
            memcpy(own_x + t * INPUTS, x + (t * B + b) * INPUTS, INPUTS * sizeof *x);
            memcpy(own_dy + t * WIDTH, dy + (t * B + b) * WIDTH, WIDTH * sizeof *dy);
        }
        forward_hand(&h, recorded[b], 1, 0, 1, own_x, NULL);
        backward_hand(&h, own_dy, 1, own_dx);
        for (int i = 0; i < T * INPUTS; i++) {
            double value = dx[(i / INPUTS * B + b) * INPUTS + i % INPUTS];
            assert_true(i / INPUTS < recorded[b] ? fabs(value - own_dx[i]) < 1e-12 : value == 0);
        }
        for (size_t i = 0; i < stpn_net_block_size(all.net); i++) sum.grad[i] += h.grad[i];
        close_hand(&h);
    }
    for (int i = 0; i < T * INPUTS; i++) assert_true(dx[(i / INPUTS * B + 2) * INPUTS + i % INPUTS] == 0);
    assert_blocks_close(&all, &sum, 1, 1e-12);
    close_hand(&all);
    close_hand(&sum);
}

static void samples_may_have_recorded_less(void **state)
{
    (void)state;
    for_every_form(check_recorded_less);
}

/* What an earlier recording left behind, even of a run that broke down, is forgotten. */
static void check_rewound(stpn_unit form, int index)
{
    enum { B = 17, T = 9, LESS = 6 };
    static double broken[T * B * INPUTS], x[T * B * INPUTS], dy[T * B * WIDTH], dx[2][LESS * B * INPUTS];
    static uint8_t reset[T * B];
    hand fresh = open_hand(&form, T, B), used = open_hand(&form, T, B);
    for (int i = 0; i < T * B * INPUTS; i++) broken[i] = NAN;
    fill(x, T * B * INPUTS, index);
    fill(dy, T * B * WIDTH, index + 1);
    for (int i = 0; i < T * B; i++) reset[i] = i % 13 == 0;
    for (int i = 0; i < 2; i++) {
        forward_hand(&used, T, B, 0, 0, i ? broken : x, NULL);
        backward_hand(&used, dy, 0, NULL);
        stpn_tape_rewind(used.tape);
        assert_int_equal(stpn_tape_steps(used.tape, 0), 0);
        stpn_state_zero(used.state);
    }
    memset(used.grad, 0, stpn_net_block_size(used.net) * sizeof *used.grad);
    hand *both[] = {&fresh, &used};
    for (int i = 0; i < 2; i++) {
        forward_hand(both[i], LESS, B, 0, 0, x, reset);
        backward_hand(both[i], dy, 1, dx[i]);
    }
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
    assert_blocks_close(&fresh, &used, 1, 0);
    assert_states_close(fresh.state, used.state, 0);
    assert_states_close(fresh.dstate, used.dstate, 0);
    close_hand(&fresh);
    close_hand(&used);
}

static void a_rewound_tape_is_like_a_new_one(void **state)
{
    (void)state;
    for_every_form(check_rewound);
}

/* dx alone, dstate alone, both, none: what is asked for is the same each time, and so are the parameters' gradients.
 * A second pass over the same tape adds the same again. */
static void check_wishes(stpn_unit form, int index)
{
    enum { B = 18, T = 9 };
    static double x[T * B * INPUTS], dy[T * B * WIDTH], dx[4][T * B * INPUTS];
    hand h[4];
    fill(x, T * B * INPUTS, index);
    fill(dy, T * B * WIDTH, index + 1);
    for (int wish = 0; wish < 4; wish++) {
        h[wish] = open_hand(&form, T, B);
        forward_hand(&h[wish], T, B, 0, 0, x, NULL);
        backward_hand(&h[wish], dy, wish & 1, wish & 2 ? dx[wish] : NULL);
    }
    for (int i = 0; i < T * B * INPUTS; i++) assert_true(fabs(dx[2][i] - dx[3][i]) <= 1e-12);
    assert_states_close(h[1].dstate, h[3].dstate, 1e-12);
    for (int wish = 0; wish < 3; wish++) assert_blocks_close(&h[wish], &h[3], 1, 1e-11);
    backward_hand(&h[0], dy, 0, NULL);
    assert_blocks_close(&h[0], &h[3], 2, 1e-11);
    for (int wish = 0; wish < 4; wish++) close_hand(&h[wish]);
}

static void wishes_do_not_matter_and_gradients_are_added(void **state)
{
    (void)state;
    for_every_form(check_wishes);
}

/* A learner gives gradients from some step of each sample on, and none before: as if it gave zeros there. Over several
 * segments; some samples end earlier. */
static void check_late_gradients(stpn_unit form, int index)
{
    enum { B = 5, T = 75 };
    static double x[T * B * INPUTS], dy[T * B * WIDTH], late[B * T * WIDTH];
    int32_t lengths[B] = {T, 64, 3, 0, 71};
    const int begin[B] = {T - 1, 60, 2, 0, 40};
    hand all = open_hand(&form, T + 2, B), some = open_hand(&form, T + 2, B);
    fill(x, T * B * INPUTS, index);
    memset(dy, 0, sizeof dy);
    for (int i = 0; i < B * T * WIDTH; i++) late[i] = NAN;
    for (int b = 0; b < B; b++)
        for (int t = begin[b]; t < lengths[b]; t++)
            for (int j = 0; j < WIDTH; j++)
                late[(b * T + t - begin[b]) * WIDTH + j] = dy[(t * B + b) * WIDTH + j] = (t + 3 * j) % 7 - 3;
    hand *both[] = {&all, &some};
    for (int i = 0; i < 2; i++) {
        stpn_sequence q = {.steps = T, .batch = B, .type = STPN_INPUT_DOUBLE, .x = x, .lengths = lengths};
        assert_int_equal(stpn_forward(both[i]->net, both[i]->state, &q, NULL, NULL, both[i]->tape, NULL, NULL),
                         STPN_OK);
    }
    backward_hand(&all, dy, 0, NULL);
    const int chunk = stpn_chunk_size(B);
    for (int first = 0; first < B; first += chunk) {
        net_back back = {.first = first,
                         .last = first + chunk < B ? first + chunk : B,
                         .dy = late + first * T * WIDTH,
                         .dy_sample = T * WIDTH,
                         .dy_step = WIDTH,
                         .dy_begin = begin + first,
                         .grad = some.grad};
        net_backward_chunk(some.net, some.tape, &back);
    }
    assert_blocks_close(&some, &all, 1, 1e-12);
    close_hand(&all);
    close_hand(&some);
}

static void gradients_may_begin_late(void **state)
{
    (void)state;
    for_every_form(check_late_gradients);
}

/* Nothing recorded: the gradient of the final state is that of the starting one, and there is no other. */
static void check_nothing_recorded(stpn_unit form, int index)
{
    (void)index;
    double dy = 0, values[2 * WIDTH * (INPUTS + WIDTH)];
    stpn_tensor t;
    hand h = open_hand(&form, 4, 2), before = open_hand(&form, 4, 2);
    for (int i = 0; stpn_state_tensor(h.dstate, i, &t); i++) {
        assert_in_range(t.count, 1, sizeof values / sizeof *values);
        fill(values, (int)t.count, i);
        if (stpn_state_set(h.dstate, i, values, NULL) == STPN_OK) stpn_state_set(before.dstate, i, values, NULL);
    }
    backward_hand(&h, &dy, 1, NULL);
    assert_states_close(h.dstate, before.dstate, 0);
    for (size_t i = 0; i < stpn_net_block_size(h.net); i++) assert_true(h.grad[i] == 0);
    close_hand(&h);
    close_hand(&before);
}

static void an_empty_tape_passes_the_state_on(void **state)
{
    (void)state;
    for_every_form(check_nothing_recorded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_and_ranges_fill_a_tape_alike),
        cmocka_unit_test(samples_may_have_recorded_less),
        cmocka_unit_test(a_rewound_tape_is_like_a_new_one),
        cmocka_unit_test(wishes_do_not_matter_and_gradients_are_added),
        cmocka_unit_test(gradients_may_begin_late),
        cmocka_unit_test(an_empty_tape_passes_the_state_on),
    };
    return cmocka_run_group_tests_name("net/every_tape", tests, NULL, NULL);
}
