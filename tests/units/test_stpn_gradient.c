#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/effort.h"
#include "support/library.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The library's backward pass against central differences of the reference, which shares no code with it: parameters,
 * inputs and starting states, with gradients coming in at every output and at the final state. */

enum { RANDOM_COMBINATIONS = SHARED_OUT ? 100 : 300 };

static const double by_differences = 1e-6, by_float = 1e-4, by_sparse = 1e-10;

static problem_plan one_unit(stpn_unit unit, int inputs, int steps, int batch)
{
    return (problem_plan){
        .units = {unit}, .unit_count = 1, .inputs = inputs, .steps = steps, .batch = batch, .smooth = 1};
}

/* One run of the library that must agree with `expected`. */
static void check_run(const problem *p, const run *r, const outcome *expected, double tolerance)
{
    outcome actual;
    library_outcome(p, r, &actual);
    assert_gradient_close(p, r, &actual, expected, r->backward == RUN_SPARSE, tolerance);
    outcome_free(&actual);
}

/* Floats against the doubles. Not where all that is left of a gradient is rounding: one column that is normalised is 1 or
 * -1, two neurons after a layer norm are 1 and -1, whatever the weights. */
static void check_float(const problem *p, const run *doubles_run, const outcome *doubles)
{
    const stpn_unit *u = &p->plan.units[0];
    run r = *doubles_run;
    r.real = STPN_FLOAT;
    int columns = p->parameters[0].shape[1];
    if (columns > 1 && (u->hidden > 2 || !u->layer_norm)) check_run(p, &r, doubles, by_float);
}

/* Dense: doubles against the differences. Sparse, which has no gradient with respect to the final state: against a dense
 * pass that is given zeros. Both on every kernel, and in float. */
static void check_problem(problem *p, const int *calls, int call_count)
{
    outcome differences, dense, sparse;
    reference_gradient(p, &differences);
    run r = {.real = STPN_DOUBLE, .calls = calls, .call_count = call_count};
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
        r.backward = RUN_DENSE;
        library_outcome(p, &r, &dense);
        assert_gradient_close(p, &r, &dense, &differences, 0, by_differences);
        check_float(p, &r, &dense);
        outcome_free(&dense);
    }
    outcome_free(&differences);
    for (int i = 0; i < p->state_count; i++) memset(p->dstates[i].values, 0, p->dstates[i].count * sizeof(double));
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
        r.backward = RUN_DENSE;
        library_outcome(p, &r, &dense);
        r.backward = RUN_SPARSE;
        library_outcome(p, &r, &sparse);
        assert_gradient_close(p, &r, &sparse, &dense, 1, by_sparse);
        check_float(p, &r, &sparse);
        outcome_free(&sparse);
        outcome_free(&dense);
    }
}

static void check(const problem_plan *plan, uint64_t seed)
{
    problem p;
    problem_make(&p, plan, seed);
    check_problem(&p, NULL, 0);
    problem_free(&p);
}

static void check_combination(int index)
{
    random_stream stream = random_open(4, RANDOM_BENCH, (uint64_t)index);
    int H = 1 + (int)random_below(&stream, 5), I = 1 + (int)random_below(&stream, 4);
    problem_plan plan = one_unit(combination(index, H), I, 1 + (int)random_below(&stream, 6), 3);
    plan.input = (plan_input)random_below(&stream, 3);
    plan.resets = (int)random_below(&stream, 2);
    plan.lengths = (int)random_below(&stream, 2);
    plan.started = (int)random_below(&stream, 2);
    check(&plan, (uint64_t)index + 500);
}

static void every_option_and_every_pair_of_options(void **state)
{
    (void)state;
    for (int i = 0; i < combination_systematic(); i++) check_combination(i);
}

static void random_combinations(void **state)
{
    (void)state;
    for (int i = 0; i < RANDOM_COMBINATIONS; i++) check_combination(combination_systematic() + i);
}

/* Rows on both sides of a vector and of a panel. */
static void every_width(void **state)
{
    (void)state;
    static const int widths[] = {7, 8, 9, 16, 17};
    for (int h = 0; h < 5; h++)
        for (int i = 0; i < 8; i += SHARED_OUT ? 3 : 1) {
            problem_plan plan = one_unit(combination(combination_systematic() + 8 * h + i, widths[h]), 1 + i, 3, 2);
            plan.started = 1;
            check(&plan, (uint64_t)(8 * h + i));
        }
}

/* Runs over several checkpoints of F, whose segments are rebuilt one by one. */
static void check_long(int index, int steps, int flags)
{
    static const int calls[] = {1, 62, 1, 1, 5, 60};
    problem_plan plan = one_unit(combination(index, 3), 2, steps, 3);
    plan.input = flags & 1 ? PLAN_TOKENS : PLAN_SPARSE;
    plan.resets = flags >> 1 & 1;
    plan.lengths = flags >> 2 & 1;
    plan.started = flags >> 3 & 1;
    problem p;
    problem_make(&p, &plan, (uint64_t)index);
    check_problem(&p, steps == 130 ? calls : NULL, steps == 130 ? 6 : 0);
    problem_free(&p);
}

static void longer_than_a_segment(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i += SHARED_OUT ? 3 : 1) check_long(combination_systematic() + i, i % 2 ? 70 : 130, i);
    for (int i = 0; i < 8; i += SHARED_OUT ? 3 : 1) check_long(i, i % 2 ? 70 : 130, i + 7);
}

/* A tape that is filled by several calls, one step at a time among them, gives the same bits. */
static void calls_fill_a_tape_alike(void **state)
{
    (void)state;
    static const int uneven[] = {7, 1, 1, 54, 3, 30, 0, 34}, even[] = {64, 64, 2};
    int ones[130];
    for (int i = 0; i < 130; i++) ones[i] = 1;
    for (int i = 0; i < 12; i++)
        for (int k = 0; use_kernel(k); k++) {
            problem_plan plan = one_unit(combination(combination_systematic() + i, 5), 4, 130, 3);
            plan.rough = 1;
            plan.input = (plan_input)(i % 3);
            plan.resets = plan.lengths = plan.started = 1;
            problem p;
            problem_make(&p, &plan, (uint64_t)i);
            for (int backward = RUN_SPARSE; backward <= RUN_DENSE; backward++) {
                run r = {.real = (stpn_real)(i / 3 % 2), .kernel = stpn_kernel_name(k)};
                r.backward = (run_backward)backward;
                outcome whole, parts;
                library_outcome(&p, &r, &whole);
                const int *calls[] = {uneven, even, ones};
                int counts[] = {8, 3, 130};
                for (int c = 0; c < 3; c++) {
                    r.calls = calls[c];
                    r.call_count = counts[c];
                    library_outcome(&p, &r, &parts);
                    assert_forward_same_bits(&p, &r, &parts, &whole);
                    for (int t = 0; t < p.parameter_count; t++)
                        assert_same_bits(&p, &r, &parts.dparameters[t], &whole.dparameters[t]);
                    if (backward == RUN_DENSE) assert_gradient_same_bits(&p, &r, &parts, &whole);
                    outcome_free(&parts);
                }
                outcome_free(&whole);
            }
            problem_free(&p);
        }
}

/* Samples that end in one call and go on in a later one: steps that are not theirs lie between, before a reset too. */
static void samples_that_pause(void **state)
{
    (void)state;
    int ones[70];
    for (int i = 0; i < 70; i++) ones[i] = 1;
    for (int i = 0; i < 24; i += SHARED_OUT ? 5 : 1) {
        problem_plan plan =
            one_unit(combination(i < 8 ? i : combination_systematic() + 2 * i, 3), 2, i % 2 ? 70 : 9, 3);
        plan.input = i % 3 ? PLAN_SPARSE : PLAN_TOKENS;
        plan.gaps = 1;
        plan.resets = i >> 1 & 1;
        plan.started = i >> 2 & 1;
        problem p;
        problem_make(&p, &plan, (uint64_t)i);
        check_problem(&p, ones, plan.steps);
        problem_free(&p);
    }
}

/* Wide layers, whose segments hold fewer steps: every kernel against the doubles of the first, and in float. */
static void kernels_agree_on_wide_layers(void **state)
{
    (void)state;
    for (int i = 0; i < 24; i += SHARED_OUT ? 5 : 1) {
        problem_plan plan =
            one_unit(combination(combination_systematic() + i, i % 2 ? 33 : 55), i % 3 ? 31 : 70, 20, 2);
        plan.input = (plan_input)(i % 3);
        plan.resets = i % 2;
        problem p;
        outcome doubles;
        problem_make(&p, &plan, (uint64_t)i);
        run r = {.real = STPN_DOUBLE, .kernel = stpn_kernel_name(0), .backward = RUN_DENSE};
        library_outcome(&p, &r, &doubles);
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
            check_run(&p, &r, &doubles, by_sparse);
            check_float(&p, &r, &doubles);
        }
        outcome_free(&doubles);
        problem_free(&p);
    }
}

/* ---------------------------------------------------------------------------------------------------- special places */

/* A net of one unit, by hand. */
typedef struct hand {
    stpn_net *net;
    stpn_state *state, *dstate;
    stpn_tape *tape;
    double *grad;
} hand;

static hand open_hand(const stpn_unit *unit, int inputs, int steps)
{
    hand h = {0};
    stpn_net_desc desc = {.real = STPN_DOUBLE, .inputs = inputs, .units = unit, .unit_count = 1};
    assert_int_equal(stpn_net_create(&h.net, &desc, NULL), STPN_OK);
    assert_int_equal(stpn_state_create(&h.state, h.net, 1, NULL), STPN_OK);
    assert_int_equal(stpn_state_create(&h.dstate, h.net, 1, NULL), STPN_OK);
    assert_int_equal(stpn_tape_create(&h.tape, h.net, steps, 1, 1, NULL), STPN_OK);
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

static void forward_hand(hand *h, int steps, const double *x, const uint8_t *reset)
{
    stpn_sequence q = {.steps = steps, .batch = 1, .type = STPN_INPUT_DOUBLE, .x = x, .reset = reset};
    assert_int_equal(stpn_forward(h->net, h->state, &q, NULL, NULL, h->tape, NULL, NULL), STPN_OK);
}

/* One synapse with Lambda 1, Gamma 0 and F at, inside and outside of the bound: F^ = F, and a tie passes the gradient. */
static void a_tie_of_the_clamp_passes(void **state)
{
    (void)state;
    static const double starts[] = {0.5, -0.5, 0.4999, 0.5001, -0.5001}, expected[] = {1, 1, 1, 0, 0};
    for (int k = 0; use_kernel(k); k++)
        for (int i = 0; i < 5; i++) {
            stpn_unit unit = stpn_unit_default("stpn_f", 1);
            unit.norm = STPN_NORM_NONE;
            unit.clamp = 0.5;
            unit.learn = 0;
            unit.lambda = 1;
            unit.gamma = 0;
            hand h = open_hand(&unit, 1, 1);
            double x = 0, dy = 0, one = 1, dF;
            assert_int_equal(stpn_state_set(h.state, 0, &starts[i], NULL), STPN_OK);
            assert_int_equal(stpn_state_set(h.dstate, 0, &one, NULL), STPN_OK);
            forward_hand(&h, 1, &x, NULL);
            assert_int_equal(stpn_backward(h.net, h.tape, &dy, h.dstate, h.grad, NULL, NULL, NULL), STPN_OK);
            stpn_state_get(h.dstate, 0, &dF);
            assert_true(dF == expected[i]);
            close_hand(&h);
        }
}

/* W = 0 and b = 0: h and F stay 0, every norm is 0, and by the text all that is divided by it is 0: db = sum over steps
 * of dy, and nothing else has a gradient. With norm none nothing is divided: F_t' = Lambda F_t+1' + s_t' z_t reaches h
 * through Gamma, and dW = sum of s' z. */
static void rows_of_zeros(void **state)
{
    (void)state;
    enum { T = 3, I = 2, H = 3, K = I + H };
    static const double x[T * I] = {1, -2, 0.5, 3, -1, 4}, dy[T * H] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const double lambda = 0.5, gamma = 0.25;
    for (int k = 0; use_kernel(k); k++)
        for (int norm = 0; norm < 4; norm++) {
            stpn_unit unit = stpn_unit_default("stpn_r", H);
            unit.norm = (stpn_norm)norm;
            hand h = open_hand(&unit, I, T);
            double rates[2][H * K], dx[T * I], dW[H * K], db[H], drates[2][H * K];
            for (int i = 0; i < H * K; i++) {
                rates[0][i] = lambda;
                rates[1][i] = gamma;
            }
            for (int i = 0; i < 2; i++) stpn_block_set(h.net, stpn_net_parameters(h.net), 2 + i, rates[i]);
            forward_hand(&h, T, x, NULL);
            assert_int_equal(stpn_backward(h.net, h.tape, dy, h.dstate, h.grad, dx, NULL, NULL), STPN_OK);
            stpn_block_get(h.net, h.grad, 0, dW);
            stpn_block_get(h.net, h.grad, 1, db);
            for (int i = 0; i < 2; i++) stpn_block_get(h.net, h.grad, 2 + i, drates[i]);
            for (int j = 0; j < H; j++) {
                double F[K] = {0}, W[K] = {0}, b = 0;
                for (int t = T - 1; t >= 0; t--) {
                    double s = dy[t * H + j];
                    for (int c = 0; c < I; c++) s += F[c] * gamma * x[t * I + c];
                    for (int c = 0; c < I; c++) W[c] += norm == STPN_NORM_NONE ? s * x[t * I + c] : 0;
                    for (int c = 0; c < I; c++) F[c] = norm == STPN_NORM_NONE ? lambda * F[c] + s * x[t * I + c] : 0;
                    b += s;
                }
                assert_true(fabs(db[j] - b) < 1e-12);
                for (int c = 0; c < K; c++) {
                    assert_true(fabs(dW[j * K + c] - W[c]) < 1e-12);
                    assert_true(drates[0][j * K + c] == 0 && drates[1][j * K + c] == 0);
                }
            }
            for (int i = 0; i < T * I; i++) assert_true(dx[i] == 0);
            close_hand(&h);
        }
}

/* One neuron of zeros among others: it says nothing, and the others have the gradient that they have by themselves. */
static void one_row_of_zeros(void **state)
{
    (void)state;
    for (int norm = 0; norm < 3; norm++) {
        problem_plan plan = one_unit(stpn_unit_default("stpn_r", 3), 2, 5, 2);
        plan.units[0].norm = (stpn_norm)norm;
        problem p;
        outcome expected, actual;
        problem_make(&p, &plan, 9);
        for (int c = 0; c < 5; c++) p.parameters[0].values[5 + c] = 0;
        p.parameters[1].values[1] = 0;
        reference_gradient(&p, &expected);
        run r = {.real = STPN_DOUBLE, .backward = RUN_DENSE};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
            library_outcome(&p, &r, &actual);
            /* Differences are taken across the jump at 0 there. The rows' own entries: dW = 0, db = what arrives. */
            for (int c = 0; c < 5; c++) {
                assert_true(actual.dparameters[0].values[5 + c] == 0);
                expected.dparameters[0].values[5 + c] = 0;
            }
            assert_true(isfinite(actual.dparameters[1].values[1]));
            expected.dparameters[1].values[1] = actual.dparameters[1].values[1];
            for (int b = 0; b < 2; b++)
                for (int c = 0; c < 5; c++) {
                    size_t at = (size_t)(b * 15 + 5 + c);
                    assert_true(isfinite(actual.dstates[0].values[at]));
                    expected.dstates[0].values[at] = actual.dstates[0].values[at];
                }
            assert_gradient_close(&p, &r, &actual, &expected, 0, by_differences);
            outcome_free(&actual);
        }
        outcome_free(&expected);
        problem_free(&p);
    }
}

/* sum(F F) / 2 over the final F has that F as its gradient: a copy of the final state is a dstate like any other. */
static void a_final_state_may_be_the_dstate(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++) {
        stpn_unit unit = stpn_unit_default("stpn_f", 3);
        double grads[2][64], x[4] = {0.5, -1, 2, 0.25}, dy[6] = {0};
        size_t size = 0;
        for (int copy = 0; copy < 2; copy++) {
            hand h = open_hand(&unit, 2, 2);
            size = stpn_net_block_size(h.net);
            assert_in_range(size, 1, 64);
            stpn_net_init(h.net, 1);
            forward_hand(&h, 2, x, NULL);
            double F[6];
            stpn_state_get(h.state, 0, F);
            if (copy) stpn_state_copy(h.dstate, h.state);
            else assert_int_equal(stpn_state_set(h.dstate, 0, F, NULL), STPN_OK);
            assert_int_equal(stpn_backward(h.net, h.tape, dy, h.dstate, h.grad, NULL, NULL, NULL), STPN_OK);
            memcpy(grads[copy], h.grad, size * sizeof(double));
            close_hand(&h);
        }
        for (size_t i = 0; i < size; i++) assert_true(grads[0][i] == grads[1][i]);
    }
}

static const double record_dy[12] = {1, 2, 3, -1, -2, -3, 0.5, 0.25, 1, 2, 0, 1};

/* Forward and backward over a reset, with columns that carry nothing at first; `dense` asks for dx and dstate. */
static void record(hand *h, int dense, double *dx, double *dF)
{
    static const uint8_t reset[4] = {0, 0, 1, 0};
    static const double x[8] = {0.5, 0, 2, 0.25, 0, 1, -0.5, 0};
    forward_hand(h, 4, x, reset);
    assert_int_equal(
        stpn_backward(h->net, h->tape, record_dy, dense ? h->dstate : NULL, h->grad, dense ? dx : NULL, NULL, NULL),
        STPN_OK);
    stpn_state_get(h->dstate, 0, dF);
}

/* What an earlier recording left behind, even of a run that broke down, is forgotten. */
static void a_rewound_tape_is_like_a_new_one(void **state)
{
    (void)state;
    static const double broken[8] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}, large[8] = {9, -8, 7, 6, -5, 4, 3, 2};
    for (int variant = 0; variant < 16; variant++)
        for (int k = 0; use_kernel(k); k++) {
            int dense = variant & 1;
            stpn_unit unit = stpn_unit_default("stpn_r", 3);
            unit.norm = (stpn_norm)(variant / 4);
            unit.rule = (stpn_rule)(variant / 2 % 2);
            unit.clamp = 1;
            hand fresh = open_hand(&unit, 2, 4), used = open_hand(&unit, 2, 4);
            double dx[2][8] = {{0}}, dF[2][15], dy[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
            stpn_net_init(fresh.net, 1);
            stpn_net_init(used.net, 1);
            for (int i = 0; i < 2; i++) {
                forward_hand(&used, 4, i ? broken : large, NULL);
                assert_int_equal(stpn_backward(used.net, used.tape, dy, NULL, used.grad, NULL, NULL, NULL), STPN_OK);
                stpn_tape_rewind(used.tape);
                assert_int_equal(stpn_tape_steps(used.tape, 0), 0);
                stpn_state_zero(used.state);
            }
            memset(used.grad, 0, stpn_net_block_size(used.net) * sizeof *used.grad);
            record(&fresh, dense, dx[0], dF[0]);
            record(&used, dense, dx[1], dF[1]);
            for (int i = 0; i < 8; i++) assert_true(dx[0][i] == dx[1][i]);
            for (int i = 0; i < 15; i++) assert_true(dF[0][i] == dF[1][i]);
            for (size_t i = 0; i < stpn_net_block_size(used.net); i++) assert_true(fresh.grad[i] == used.grad[i]);
            close_hand(&fresh);
            close_hand(&used);
        }
}

/* dx alone, dstate alone, both: what is asked for is the same each time, and so are the parameters' gradients. */
static void wishes_do_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++) {
        stpn_unit unit = combination(combination_systematic() + i, 3);
        unit.lambda = 0.5;
        unit.gamma = -0.25;
        for (int k = 0; use_kernel(k); k++) {
            double x[8] = {0.5, 0, 2, 0, 0, 1, -0.5, 0.75}, dx[4][8], dF[4][15];
            hand h[4];
            for (int wish = 0; wish < 4; wish++) {
                h[wish] = open_hand(&unit, 2, 4);
                stpn_net_init(h[wish].net, 1);
                forward_hand(&h[wish], 4, x, NULL);
                assert_int_equal(stpn_backward(h[wish].net, h[wish].tape, record_dy, wish & 1 ? h[wish].dstate : NULL,
                                               h[wish].grad, wish & 2 ? dx[wish] : NULL, NULL, NULL),
                                 STPN_OK);
                stpn_state_get(h[wish].dstate, 0, dF[wish]);
            }
            for (int j = 0; j < 8; j++) assert_true(fabs(dx[2][j] - dx[3][j]) <= 1e-12);
            for (int j = 0; j < (unit.name[5] == 'r' ? 15 : 6); j++) assert_true(fabs(dF[1][j] - dF[3][j]) <= 1e-12);
            for (size_t j = 0; j < stpn_net_block_size(h[0].net); j++)
                for (int wish = 0; wish < 3; wish++) assert_true(fabs(h[wish].grad[j] - h[3].grad[j]) <= 1e-10);
            for (int wish = 0; wish < 4; wish++) close_hand(&h[wish]);
        }
    }
}

/* The block's own values stay in the sum, and a second pass over the same tape gives the same again. */
static void gradients_are_added(void **state)
{
    (void)state;
    for (int i = 0; i < combination_systematic(); i++)
        for (int k = 0; use_kernel(k); k++) {
            stpn_unit unit = combination(i, 3);
            unit.lambda = 0.5;
            unit.gamma = -0.25;
            hand h = open_hand(&unit, 2, 4);
            size_t size = stpn_net_block_size(h.net);
            double *once = malloc(size * sizeof *once), dF[15];
            assert_non_null(once);
            stpn_net_init(h.net, 1);
            record(&h, 0, NULL, dF);
            memcpy(once, h.grad, size * sizeof *once);
            assert_int_equal(stpn_backward(h.net, h.tape, record_dy, NULL, h.grad, NULL, NULL, NULL), STPN_OK);
            for (size_t j = 0; j < size; j++) assert_true(h.grad[j] == 2 * once[j]);
            free(once);
            close_hand(&h);
        }
}

/* Over a batch of several chunks, the sum of what every sample gives by itself. */
static void batches_are_sums_of_samples(void **state)
{
    (void)state;
    static const int batches[] = {16, 17, 40, 60};
    for (int i = 0; i < 8; i++) {
        problem_plan plan = one_unit(combination(combination_systematic() + i, 3), 2, 3, batches[i % 4]);
        plan.rough = plan.resets = plan.lengths = plan.started = 1;
        problem p;
        outcome whole, part;
        problem_make(&p, &plan, (uint64_t)i);
        run r = {.real = STPN_DOUBLE, .backward = RUN_DENSE};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
            library_outcome(&p, &r, &whole);
            for (int b = 0; b < plan.batch; b++) {
                problem one;
                problem_take(&one, &p, b, b + 1);
                library_outcome(&one, &r, &part);
                for (int t = 0; t < p.parameter_count; t++)
                    for (size_t j = 0; j < part.dparameters[t].count; j++)
                        whole.dparameters[t].values[j] -= part.dparameters[t].values[j];
                outcome_free(&part);
                problem_free(&one);
            }
            for (int t = 0; t < p.parameter_count; t++)
                for (size_t j = 0; j < whole.dparameters[t].count; j++)
                    assert_true(fabs(whole.dparameters[t].values[j]) < 1e-11);
            outcome_free(&whole);
        }
        problem_free(&p);
    }
}

/* Samples with 3, 1 and no steps on the tape: dy past a sample's own steps is not read, dx there is 0. */
static void samples_may_have_recorded_less(void **state)
{
    (void)state;
    enum { B = 3, T = 3, I = 2, H = 3 };
    static const int recorded[B] = {3, 1, 0};
    stpn_unit unit = stpn_unit_default("stpn_r", H);
    stpn_net_desc desc = {.real = STPN_DOUBLE, .inputs = I, .units = &unit, .unit_count = 1};
    for (int k = 0; use_kernel(k); k++) {
        stpn_net *net = NULL;
        stpn_state *s = NULL, *dstate = NULL;
        stpn_tape *tape = NULL;
        double x[T * B * I], dy[T * B * H], dx[T * B * I], dh[B * H] = {0};
        assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
        stpn_net_init(net, 1);
        assert_int_equal(stpn_state_create(&s, net, B, NULL), STPN_OK);
        assert_int_equal(stpn_state_create(&dstate, net, B, NULL), STPN_OK);
        assert_int_equal(stpn_tape_create(&tape, net, 5, B, 1, NULL), STPN_OK);
        for (int i = 0; i < T * B * I; i++) x[i] = (i % 5 - 2) / 2.0;
        for (int i = 0; i < T * B * I; i++) dx[i] = NAN;
        for (int i = 0; i < T * B * H; i++) dy[i] = i / H / B < recorded[i / H % B] ? 1.0 + i % 4 : (double)NAN;
        stpn_sequence q = {.steps = T, .batch = B, .first = 0, .last = 1, .type = STPN_INPUT_DOUBLE, .x = x};
        assert_int_equal(stpn_forward(net, s, &q, NULL, NULL, tape, NULL, NULL), STPN_OK);
        q = (stpn_sequence){.steps = 1, .batch = B, .first = 1, .last = 2, .type = STPN_INPUT_DOUBLE, .x = x};
        assert_int_equal(stpn_forward(net, s, &q, NULL, NULL, tape, NULL, NULL), STPN_OK);
        double *grad = stpn_block_create(net), *alone = stpn_block_create(net);
        assert_true(grad && alone);
        assert_int_equal(stpn_backward(net, tape, dy, dstate, grad, dx, NULL, NULL), STPN_OK);
        for (int b = 0; b < 2; b++) { // each by itself
            hand h = open_hand(&unit, I, T);
            double own_x[T * I], own_dy[T * H], own_dx[T * I];
            stpn_net_init(h.net, 1);
            for (int t = 0; t < recorded[b]; t++) {
                memcpy(own_x + t * I, x + (t * B + b) * I, I * sizeof *x);
                memcpy(own_dy + t * H, dy + (t * B + b) * H, H * sizeof *dy);
            }
            forward_hand(&h, recorded[b], own_x, NULL);
            assert_int_equal(stpn_backward(h.net, h.tape, own_dy, h.dstate, h.grad, own_dx, NULL, NULL), STPN_OK);
            for (int i = 0; i < T * I; i++) {
                double value = dx[(i / I * B + b) * I + i % I];
                assert_true(i / I < recorded[b] ? value == own_dx[i] : value == 0);
            }
            for (size_t i = 0; i < stpn_net_block_size(net); i++) alone[i] += h.grad[i];
            close_hand(&h);
        }
        for (size_t i = 0; i < stpn_net_block_size(net); i++) assert_true(fabs(grad[i] - alone[i]) < 1e-12);
        for (int i = 0; i < T * I; i++) assert_true(dx[(i / I * B + 2) * I + i % I] == 0);
        stpn_state_get(dstate, 1, dh);
        for (int j = 0; j < H; j++) assert_true(dh[2 * H + j] == 0);
        stpn_block_free(grad);
        stpn_block_free(alone);
        stpn_tape_free(tape);
        stpn_state_free(dstate);
        stpn_state_free(s);
        stpn_net_free(net);
    }
}

/* Nothing recorded: the gradient of the final state is that of the starting one, and there is no other. */
static void an_empty_tape_passes_the_state_on(void **state)
{
    (void)state;
    for (int k = 0; use_kernel(k); k++) {
        stpn_unit unit = stpn_unit_default("stpn_r", 3);
        hand h = open_hand(&unit, 2, 4);
        double F[15], back[15], dh[3] = {1, 2, 3}, dy = 0;
        for (int i = 0; i < 15; i++) F[i] = i;
        assert_int_equal(stpn_state_set(h.dstate, 0, F, NULL), STPN_OK);
        assert_int_equal(stpn_state_set(h.dstate, 1, dh, NULL), STPN_OK);
        assert_int_equal(stpn_backward(h.net, h.tape, &dy, h.dstate, h.grad, NULL, NULL, NULL), STPN_OK);
        stpn_state_get(h.dstate, 0, back);
        assert_memory_equal(back, F, sizeof F);
        stpn_state_get(h.dstate, 1, back);
        assert_memory_equal(back, dh, sizeof dh);
        for (size_t i = 0; i < stpn_net_block_size(h.net); i++) assert_true(h.grad[i] == 0);
        close_hand(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_and_every_pair_of_options),
        cmocka_unit_test(random_combinations),
        cmocka_unit_test(every_width),
        cmocka_unit_test(longer_than_a_segment),
        cmocka_unit_test(calls_fill_a_tape_alike),
        cmocka_unit_test(samples_that_pause),
        cmocka_unit_test(kernels_agree_on_wide_layers),
        cmocka_unit_test(a_tie_of_the_clamp_passes),
        cmocka_unit_test(rows_of_zeros),
        cmocka_unit_test(one_row_of_zeros),
        cmocka_unit_test(a_final_state_may_be_the_dstate),
        cmocka_unit_test(a_rewound_tape_is_like_a_new_one),
        cmocka_unit_test(wishes_do_not_matter),
        cmocka_unit_test(gradients_are_added),
        cmocka_unit_test(batches_are_sums_of_samples),
        cmocka_unit_test(samples_may_have_recorded_less),
        cmocka_unit_test(an_empty_tape_passes_the_state_on),
    };
    return cmocka_run_group_tests_name("units/stpn_gradient", tests, NULL, NULL);
}
