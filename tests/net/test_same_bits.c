#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/effort.h"
#include "support/library.h"
#include "support/registered.h"

#include <stdlib.h>
#include <string.h>

/* However a sequence is run, every bit is the same: step by step, in several calls, sample by sample, in ranges of
 * samples, on any number of threads, with and without a tape or energy. On every kernel, in both real types. A sample
 * alone has the bits that it has in a batch for STPN units, the same values for the others. */

enum { STEPS = 13, BATCH = 40, STPN_SETTINGS = 24 };

/* STPN units: all norms with a sample of the other options; every third problem is a stack. */
static problem_plan stpn_setting(int index, int flags)
{
    problem_plan plan = {
        .unit_count = index % 3 == 2 ? 2 : 1, .inputs = 11, .steps = STEPS, .batch = BATCH, .rough = 1};
    plan.units[0] = index < 8 ? stpn_unit_default(index < 4 ? "stpn_r" : "stpn_f", 9)
                              : combination(combination_systematic() + index, index % 2 ? 9 : 17);
    plan.units[0].norm = (stpn_norm)(index % 4);
    if (index < 8 && index % 4 == 1) plan.units[0].clamp = 0.5;
    plan.units[1] = combination(combination_systematic() + 40 + index, 5);
    plan.input = (plan_input)(index / 2 % 3);
    plan.started = index % 2;
    plan.resets = flags;
    plan.lengths = flags;
    return plan;
}

/* Then every registered unit in every form, under and over others of them in turn. */
static int setting(int index, int flags, problem_plan *plan)
{
    if (index < STPN_SETTINGS) {
        *plan = stpn_setting(index, flags);
        return 1;
    }
    int form = index - STPN_SETTINGS, count = registered_count();
    if (form >= count) return 0;
    *plan = (problem_plan){.unit_count = 1 + form % 2, .inputs = 11, .steps = STEPS, .batch = BATCH, .rough = 1};
    registered(form, form % 3 ? 9 : 17, &plan->units[0]);
    registered((form + 7) % count, 5, &plan->units[1]);
    plan->input = (plan_input)(index / 2 % 4);
    plan->started = form / 2 % 2;
    plan->resets = flags;
    plan->lengths = flags;
    return 1;
}

static int is_exact(const problem *p)
{
    int exact = 1;
    for (int i = 0; i < p->plan.unit_count; i++) exact &= registered_is_exact(&p->plan.units[i]);
    return exact;
}

typedef void (*comparison)(const problem *p, const run *r, const outcome *whole);

static int kernel_count(void)
{
    int count = 0;
    while (stpn_kernel_name(count)) count++;
    return count;
}

/* Every setting on every kernel in each real type; or where cases are shared out, each setting on one kernel in one real
 * type, another one for each of the next settings: what is cut in other ways is above the kernels. */
static int takes(int index, int kernel, int real)
{
    const int ways = 2 * kernel_count();
    return !SHARED_OUT || (index + index / ways) % ways == 2 * kernel + real;
}

/* `whole` is the plain run. */
static void for_every_setting(int flags, comparison compare)
{
    problem_plan plan;
    for (int i = 0; setting(i, flags, &plan); i++) {
        problem p;
        problem_make(&p, &plan, (uint64_t)i);
        for (int k = 0; use_kernel(k); k++)
            for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
                if (!takes(i, k, real)) continue;
                run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k)};
                outcome whole;
                library_outcome(&p, &r, &whole);
                compare(&p, &r, &whole);
                outcome_free(&whole);
            }
        problem_free(&p);
    }
}

/* The run must have the bits of the whole one. */
static void check(const problem *p, const run *r, const outcome *whole)
{
    outcome other;
    library_outcome(p, r, &other);
    assert_forward_same_bits(p, r, &other, whole);
    outcome_free(&other);
}

static void by_step(const problem *p, const run *plain, const outcome *whole)
{
    run r = *plain;
    r.by_step = 1;
    check(p, &r, whole);
}

static void steps_are_a_forward_run(void **state)
{
    (void)state;
    on_one_thread();
    for_every_setting(0, by_step);
}

static void in_other_ways(const problem *p, const run *plain, const outcome *whole)
{
    static const int calls[] = {1, 0, 7, 2, 1, 2}, cuts[] = {3, 16, 17, 33};
    run r = *plain;
    r.no_energy = 1;
    check(p, &r, whole);
    r.backward = RUN_TAPE;
    check(p, &r, whole);
    r.no_energy = 0;
    check(p, &r, whole);
    r.calls = calls;
    r.call_count = 6;
    check(p, &r, whole);
    r.backward = RUN_FORWARD;
    check(p, &r, whole);
    r.cuts = cuts;
    r.cut_count = 4;
    check(p, &r, whole);
    r.calls = NULL;
    r.call_count = 0;
    check(p, &r, whole);
    r.backward = RUN_TAPE;
    check(p, &r, whole);
    r.cut_count = 0;
    r.as_doubles = 1;
    check(p, &r, whole);
}

static void calls_ranges_tapes_and_energy_change_nothing(void **state)
{
    (void)state;
    on_one_thread();
    for_every_setting(1, in_other_ways);
}

/* Forward calls of a step each as an actor makes them, then the gradient. */
static void leaving(const problem *p, const run *plain, const outcome *whole)
{
    static const int singly[STEPS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, calls[] = {1, 3, 1, 8};
    run r = *plain;
    outcome once, other;
    r.backward = RUN_DENSE;
    library_outcome(p, &r, &once);
    r.leave = 1;
    for (int i = 0; i < 2; i++) {
        r.calls = i ? calls : singly;
        r.call_count = i ? 4 : STEPS;
        library_outcome(p, &r, &other);
        assert_forward_same_bits(p, &r, &other, whole);
        assert_gradient_same_bits(p, &r, &other, &once);
        outcome_free(&other);
    }
    outcome_free(&once);
}

static void updates_left_to_the_next_call_change_nothing(void **state)
{
    (void)state;
    on_one_thread();
    for_every_setting(1, leaving);
}

static void on_threads(const problem *p, const run *plain, const outcome *whole)
{
    (void)whole;
    outcome one, several;
    run r = *plain;
    r.backward = RUN_DENSE;
    library_outcome(p, &r, &one);
    for (int threads = 1; threads <= 5; threads += threads == 3 ? 2 : 1) {
        r.threads = threads;
        library_outcome(p, &r, &several);
        assert_forward_same_bits(p, &r, &several, whole);
        assert_gradient_same_bits(p, &r, &several, &one);
        outcome_free(&several);
    }
    outcome_free(&one);
}

static void any_number_of_threads(void **state)
{
    (void)state;
    for_every_setting(1, on_threads);
}

/* Values of one sample inside (T, B, n). */
static tensor sample_of(const tensor *t, int sample, double *values)
{
    tensor one = *t;
    size_t T = (size_t)t->shape[0], B = (size_t)t->shape[1], n = t->count / (T * B);
    for (size_t s = 0; s < T; s++) memcpy(values + s * n, t->values + (s * B + (size_t)sample) * n, n * sizeof *values);
    one.count = T * n;
    one.values = values;
    return one;
}

/* For the others the values are the same, but the sums of a product may be in another order. */
static void compare_alone(const problem *p, const run *r, const tensor *a, const tensor *b)
{
    if (is_exact(p)) assert_same_bits(p, r, a, b);
    else assert_close(p, r, a, b, 1e-6);
}

static void alone(const problem *p, const run *plain, const outcome *whole)
{
    (void)whole;
    static double room[3][STEPS * 64];
    run r = *plain;
    outcome batch, single;
    r.backward = RUN_DENSE;
    library_outcome(p, &r, &batch);
    for (int b = 1; b < BATCH; b += 9) {
        problem one;
        problem_take(&one, p, b, b + 1);
        library_outcome(&one, &r, &single);
        tensor y = sample_of(&batch.y, b, room[0]), dx = sample_of(&batch.dx, b, room[1]);
        tensor energy = sample_of(&batch.energy, b, room[2]);
        compare_alone(&one, &r, &single.y, &y);
        compare_alone(&one, &r, &single.dx, &dx);
        compare_alone(&one, &r, &single.energy, &energy);
        for (int i = 0; i < p->state_count; i++) {
            tensor state = single.states[i], dstate = single.dstates[i];
            state.values = batch.states[i].values + (size_t)b * state.count;
            dstate.values = batch.dstates[i].values + (size_t)b * state.count;
            compare_alone(&one, &r, &single.states[i], &state);
            compare_alone(&one, &r, &single.dstates[i], &dstate);
        }
        outcome_free(&single);
        problem_free(&one);
    }
    outcome_free(&batch);
}

static void a_sample_alone_is_one_of_a_batch(void **state)
{
    (void)state;
    on_one_thread();
    for_every_setting(1, alone);
}

/* Steps [begin, end) as a problem of their own, from a zero state. */
static void take_steps(problem *p, const problem *whole, int begin, int end)
{
    problem_take(p, whole, 0, whole->plan.batch);
    size_t before = (size_t)(begin * p->plan.batch), I = (size_t)p->plan.inputs;
    p->plan.steps = end - begin;
    p->plan.started = 0;
    p->x.values += before * I;
    p->x.count = (size_t)((end - begin) * p->plan.batch) * I;
    p->tokens = p->tokens ? p->tokens + before : NULL;
    p->bytes = p->bytes ? p->bytes + before * I : NULL;
}

/* A reset before step 5 and an end after step 8: steps 5 to 8 are a run of their own. */
static void resets_and_lengths_cut_runs_out(void **state)
{
    (void)state;
    on_one_thread();
    enum { RESET = 5, END = 9 };
    problem_plan plan;
    for (int i = 0; setting(i, 0, &plan); i++) {
        problem p, own;
        outcome whole, part;
        plan.batch = 3;
        problem_make(&p, &plan, (uint64_t)i);
        take_steps(&own, &p, RESET, END);
        for (int b = 0; b < plan.batch; b++) {
            p.reset[b * STEPS + RESET] = 1;
            memset(p.live + b * STEPS + END, 0, STEPS - END);
        }
        run r = {0};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
            for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
                if (!takes(i, k, real)) continue;
                r.real = (stpn_real)real;
                library_outcome(&p, &r, &whole);
                library_outcome(&own, &r, &part);
                tensor y = whole.y, energy = whole.energy;
                size_t row = y.count / STEPS;
                for (size_t j = END * row; j < y.count; j++) assert_true(y.values[j] == 0);
                for (size_t j = END * 3; j < energy.count; j++) assert_true(energy.values[j] == 0);
                y.values += RESET * row;
                y.count = part.y.count;
                energy.values += RESET * 3;
                energy.count = part.energy.count;
                assert_same_bits(&p, &r, &part.y, &y);
                assert_same_bits(&p, &r, &part.energy, &energy);
                for (int s = 0; s < p.state_count; s++) assert_same_bits(&p, &r, &part.states[s], &whole.states[s]);
                outcome_free(&part);
                outcome_free(&whole);
            }
        problem_free(&own);
        problem_free(&p);
    }
}

/* Three updates on `threads` threads; the block of parameters afterwards, to be freed. */
static void *trained(const problem_plan *plan, stpn_real real, int threads, size_t *bytes)
{
    enum { CLASSES = 4, ROWS = STEPS * BATCH };
    stpn_net *net = NULL;
    stpn_state *state = NULL;
    stpn_tape *tape = NULL;
    stpn_pool *pool = NULL;
    stpn_adam *adam = NULL;
    stpn_head head = {"readout", CLASSES};
    stpn_net_desc desc = {.real = real,
                          .inputs = plan->inputs,
                          .units = plan->units,
                          .unit_count = plan->unit_count,
                          .heads = &head,
                          .head_count = 1};
    size_t size = real == STPN_DOUBLE ? sizeof(double) : sizeof(float), H = (size_t)plan_outputs(plan);
    int32_t tokens[ROWS], labels[ROWS];
    for (int i = 0; i < ROWS; i++) {
        tokens[i] = i * 7 % 11;
        labels[i] = i / 3 % CLASSES;
    }
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
    stpn_net_init(net, 5);
    assert_int_equal(stpn_pool_create(&pool, threads, NULL), STPN_OK);
    assert_int_equal(stpn_state_create(&state, net, BATCH, NULL), STPN_OK);
    assert_int_equal(stpn_tape_create(&tape, net, STEPS, BATCH, threads, NULL), STPN_OK);
    assert_int_equal(stpn_adam_create(&adam, net, 0.01, 0.9, 0.999, 1e-8, NULL), STPN_OK);
    char *y = calloc(ROWS * H, size), *dy = calloc(ROWS * H, size), *out = calloc(ROWS * CLASSES, size);
    *bytes = stpn_net_block_size(net) * size;
    char *block = malloc(*bytes);
    assert_true(y && dy && out && block);
    for (int update = 0; update < 3; update++) {
        void *grad = stpn_block_create(net);
        stpn_sequence q = {.steps = STEPS, .batch = BATCH, .type = STPN_INPUT_TOKEN, .x = tokens};
        stpn_state_zero(state);
        stpn_tape_rewind(tape);
        assert_int_equal(stpn_forward(net, state, &q, y, NULL, tape, pool, NULL), STPN_OK);
        stpn_head_forward(net, 0, ROWS, y, out);
        stpn_cross_entropy(net, ROWS, CLASSES, out, labels, 1.0 / ROWS, NULL, out);
        stpn_head_backward(net, 0, ROWS, y, out, grad, dy);
        assert_int_equal(stpn_backward(net, tape, dy, NULL, grad, NULL, pool, NULL), STPN_OK);
        stpn_clip_gradient(net, grad, 0, 1);
        stpn_adam_update(adam, net, grad);
        stpn_block_free(grad);
    }
    memcpy(block, stpn_net_parameters(net), *bytes);
    free(y);
    free(dy);
    free(out);
    stpn_adam_free(adam);
    stpn_tape_free(tape);
    stpn_state_free(state);
    stpn_pool_free(pool);
    stpn_net_free(net);
    return block;
}

static void updates_on_any_number_of_threads(void **state)
{
    (void)state;
    problem_plan plan;
    for (int i = 0; setting(i, 0, &plan); i++)
        for (int k = 0; use_kernel(k); k++) {
            if (!takes(i, k, STPN_FLOAT) && !takes(i, k, STPN_DOUBLE)) continue;
            size_t bytes;
            void *one = trained(&plan, (stpn_real)(i % 2), 1, &bytes);
            for (int threads = 2; threads <= 3; threads++) {
                void *several = trained(&plan, (stpn_real)(i % 2), threads, &bytes);
                assert_memory_equal(several, one, bytes);
                free(several);
            }
            free(one);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_a_forward_run),
        cmocka_unit_test(calls_ranges_tapes_and_energy_change_nothing),
        cmocka_unit_test(updates_left_to_the_next_call_change_nothing),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(updates_on_any_number_of_threads),
        cmocka_unit_test(a_sample_alone_is_one_of_a_batch),
        cmocka_unit_test(resets_and_lengths_cut_runs_out),
    };
    return cmocka_run_group_tests_name("net/same_bits", tests, NULL, NULL);
}
