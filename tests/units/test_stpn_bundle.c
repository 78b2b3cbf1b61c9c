#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"

#include <string.h>

/* Samples go through an STPN layer side by side, but each has its own signals, resets and length: whatever those beside it
 * do, a sample has the bits that it has alone, and the parameters' gradient is the sum over samples. */

enum { BATCH = 9, STEPS = 70, INPUTS = 11, SETTINGS = 56 };

/* Dense, one input at a time of a few, nothing at all, dense after a while; some start with a step of zeros. */
static void draw_signals(problem *p, random_stream *stream)
{
    for (int b = 0; b < BATCH; b++) {
        int kind = (int)random_below(stream, 4), turn = (int)random_below(stream, STEPS), few = 1 + b;
        int zero_first = (int)random_below(stream, 3) == 0;
        for (int t = 0; t < STEPS; t++) {
            double *x = p->x.values + (t * BATCH + b) * INPUTS;
            if (kind == 0 || (kind == 3 && t >= turn)) continue;
            memset(x, 0, INPUTS * sizeof *x);
            if (kind != 2) x[random_below(stream, (uint32_t)few)] = 1;
            if (zero_first && t == 0) memset(x, 0, INPUTS * sizeof *x);
        }
        int zeros = b % 4 == 1 ? 3 : 0; // the same number of steps in most
        memset(p->live + b * STEPS + STEPS - zeros, 0, (size_t)zeros);
        for (int t = 0; t < STEPS; t++) p->reset[b * STEPS + t] = b % 3 == 2 && random_below(stream, 12) == 0;
    }
}

/* The defaults of each norm, with clamp and without, with rates of synapses and shared ones, then combinations; in every other a neuron has a row of zeros. */
static void setting(problem *p, int index)
{
    problem_plan plan = {.unit_count = 1, .inputs = INPUTS, .steps = STEPS, .batch = BATCH, .rough = 1};
    plan.units[0] = index < 16 ? stpn_unit_default("stpn_r", 9) : combination(combination_systematic() + index, 9);
    if (index < 16) plan.units[0].norm = (stpn_norm)(index % 4);
    if (index < 16 && index % 8 < 4) plan.units[0].clamp = (float)0.1;
    if (index >= 8 && index < 16)
        plan.units[0].granularity = index % 2 ? STPN_GRANULARITY_NEURON : STPN_GRANULARITY_SCALAR;
    plan.started = index % 3 == 2;
    problem_make(p, &plan, (uint64_t)index);
    random_stream stream = random_open(7, RANDOM_BENCH, (uint64_t)index);
    draw_signals(p, &stream);
    if (index % 2) memset(p->parameters[0].values, 0, (size_t)p->parameters[0].shape[1] * sizeof(double));
}

/* Sample `b` of (T, B, n) and of (T, 1, n). */
static void assert_sample(const problem *p, const run *r, const tensor *batch, const tensor *one, int b)
{
    size_t n = one->count / STEPS;
    for (size_t t = 0; t < STEPS; t++) {
        tensor of_batch = *batch, alone = *one;
        of_batch.values += (t * BATCH + (size_t)b) * n;
        alone.values += t * n;
        of_batch.count = alone.count = n;
        assert_same_bits(p, r, &of_batch, &alone);
    }
}

static void check(const problem *p, const run *r)
{
    outcome batch, single;
    shelf own = {0};
    tensor sums[PROBLEM_TENSORS];
    library_outcome(p, r, &batch);
    for (int i = 0; i < p->parameter_count; i++) sums[i] = tensor_like(&own, &batch.dparameters[i]);
    for (int b = 0; b < BATCH; b++) {
        problem one;
        problem_take(&one, p, b, b + 1);
        library_outcome(&one, r, &single);
        assert_sample(&one, r, &batch.y, &single.y, b);
        assert_sample(&one, r, &batch.energy, &single.energy, b);
        if (r->backward == RUN_DENSE) assert_sample(&one, r, &batch.dx, &single.dx, b);
        for (int i = 0; i < p->state_count; i++) {
            tensor state = single.states[i], dstate = single.dstates[i];
            state.values = batch.states[i].values + (size_t)b * state.count;
            assert_same_bits(&one, r, &state, &single.states[i]);
            dstate.values = batch.dstates[i].values + (size_t)b * dstate.count;
            if (r->backward == RUN_DENSE) assert_same_bits(&one, r, &dstate, &single.dstates[i]);
        }
        for (int i = 0; i < p->parameter_count; i++)
            for (size_t k = 0; k < sums[i].count; k++) sums[i].values[k] += single.dparameters[i].values[k];
        outcome_free(&single);
        problem_free(&one);
    }
    for (int i = 0; i < p->parameter_count; i++) assert_close(p, r, &batch.dparameters[i], &sums[i], 1e-9);
    shelf_clear(&own);
    outcome_free(&batch);
}

static void a_sample_does_not_see_those_beside_it(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        problem p;
        setting(&p, i);
        run r = {.real = STPN_DOUBLE};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
            for (int backward = RUN_SPARSE; backward <= RUN_DENSE; backward++) {
                r.backward = (run_backward)backward;
                check(&p, &r);
            }
        problem_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_sample_does_not_see_those_beside_it)};
    return cmocka_run_group_tests_name("units/stpn_bundle", tests, NULL, NULL);
}
