#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"
#include "support/variant.h"

#include <string.h>

/* Units on top of each other: the whole against the reference, against differences, and against its units one by one. */

enum { STPN_STACKS = 48, STACKS = STPN_STACKS + VARIANT_COUNT };

/* Two or three units of different kinds and options: STPN units, then every other unit below, between or above others. */
static problem_plan stack(int index, int steps)
{
    problem_plan plan = {.unit_count = 2 + index % 2, .inputs = 2 + index % 3, .steps = steps, .batch = 3};
    for (int i = 0; i < plan.unit_count; i++)
        plan.units[i] = combination(combination_systematic() + 3 * index + i, 2 + (index + i) % 3);
    if (index >= STPN_STACKS)
        for (int i = 0; i < plan.unit_count; i += 1 + index % 2) // every one, or the first and the last
            plan.units[i] = variant((index - STPN_STACKS + 11 * i) % VARIANT_COUNT, 2 + (index + i) % 3);
    plan.input = (plan_input)(index % 3);
    plan.resets = index / 2 % 2;
    plan.lengths = index / 4 % 2;
    plan.started = index / 8 % 2;
    for (int i = 0; i < plan.unit_count; i++) // at a change of 0 `soft` has two gradients
        plan.started |= index >= STPN_STACKS && plan.units[i].trace == STPN_TRACE_SOFT;
    return plan;
}

static void forward_is_that_of_the_reference(void **state)
{
    (void)state;
    static const double tolerance[] = {[STPN_FLOAT] = 1e-5, [STPN_DOUBLE] = 1e-10};
    static const int wide[] = {1, 8, 9, 16, 17, 33};
    for (int i = 0; i < STACKS; i++) {
        problem_plan plan = stack(i, 1 + i % 20);
        for (int u = 0; u < plan.unit_count; u++) plan.units[u].hidden = wide[(i + u) % 6];
        problem p;
        outcome expected, actual;
        problem_make(&p, &plan, (uint64_t)i);
        reference_outcome(&p, &expected);
        run r = {0};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
            for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
                for (int tape = RUN_FORWARD; tape <= RUN_TAPE; tape++) {
                    r.real = (stpn_real)real;
                    r.backward = (run_backward)tape;
                    library_outcome(&p, &r, &actual);
                    assert_forward_close(&p, &r, &actual, &expected, tolerance[real]);
                    outcome_free(&actual);
                }
        outcome_free(&expected);
        problem_free(&p);
    }
}

/* Parameters of all units, inputs, starting states of all units; over a checkpoint's end too. */
static void gradient_is_that_of_differences(void **state)
{
    (void)state;
    for (int i = 0; i < STACKS; i++) {
        problem_plan plan = stack(i, i < STPN_STACKS && i % 10 == 9 ? 70 : 1 + i % 5);
        plan.smooth = 1;
        problem p;
        outcome differences, dense, sparse;
        problem_make(&p, &plan, (uint64_t)i);
        reference_gradient(&p, &differences);
        run r = {.real = STPN_DOUBLE, .backward = RUN_DENSE};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
            library_outcome(&p, &r, &dense);
            assert_gradient_close(&p, &r, &dense, &differences, 0, 1e-6);
            outcome_free(&dense);
        }
        outcome_free(&differences);
        for (int s = 0; s < p.state_count; s++)
            memset(p.dstates[s].values, 0, p.dstates[s].count * sizeof *p.dstates[s].values);
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
            r.backward = RUN_DENSE;
            library_outcome(&p, &r, &dense);
            r.backward = RUN_SPARSE;
            library_outcome(&p, &r, &sparse);
            assert_gradient_close(&p, &r, &sparse, &dense, 1, 1e-10);
            outcome_free(&sparse);
            outcome_free(&dense);
        }
        problem_free(&p);
    }
}

static int is_of(const tensor *t, int unit)
{
    return t->name[6] == '0' + unit; // "units.N."
}

/* Unit `unit` of a stack as a problem of its own, whose inputs are `x` (NULL: the whole's). */
static void take_unit(problem *one, const problem *whole, int unit, const tensor *x)
{
    problem_take(one, whole, 0, whole->plan.batch);
    int parameters = 0, states = 0;
    for (int i = 0; i < one->parameter_count; i++)
        if (is_of(&one->parameters[i], unit)) one->parameters[parameters++] = one->parameters[i];
    for (int i = 0; i < one->state_count; i++)
        if (is_of(&one->states[i], unit)) {
            one->states[states] = one->states[i];
            one->dstates[states++] = one->dstates[i];
        }
    one->parameter_count = parameters;
    one->state_count = states;
    for (int i = 0; i < parameters; i++) one->parameters[i].name[6] = '0';
    for (int i = 0; i < states; i++) one->states[i].name[6] = one->dstates[i].name[6] = '0';
    one->plan.units[0] = whole->plan.units[unit];
    one->plan.unit_count = 1;
    if (!x) return;
    one->plan.inputs = whole->plan.units[unit - 1].hidden;
    one->tokens = NULL;
    one->bytes = NULL;
    one->x = *x;
}

/* Separate nets, one after the other and back, have the same bits; their energies add up to the stack's. */
static void check_units(const problem *whole, const run *r)
{
    problem one[PROBLEM_UNITS];
    outcome expected, ahead[PROBLEM_UNITS], part[PROBLEM_UNITS];
    int top = whole->plan.unit_count - 1, states = 0, parameters = 0;
    run forward = *r;
    forward.backward = RUN_FORWARD;
    library_outcome(whole, r, &expected);
    for (int u = 0; u <= top; u++) {
        take_unit(&one[u], whole, u, u > 0 ? &ahead[u - 1].y : NULL);
        library_outcome(&one[u], &forward, &ahead[u]);
    }
    for (int u = top; u >= 0; u--) {
        one[u].dy = u == top ? whole->dy : part[u + 1].dx;
        library_outcome(&one[u], r, &part[u]);
    }
    assert_same_bits(whole, r, &part[top].y, &expected.y);
    assert_same_bits(whole, r, &part[0].dx, &expected.dx);
    for (int u = 0; u <= top; u++) {
        for (int s = 0; s < one[u].state_count; s++, states++) {
            assert_same_bits(whole, r, &part[u].states[s], &expected.states[states]);
            assert_same_bits(whole, r, &part[u].dstates[s], &expected.dstates[states]);
        }
        for (int t = 0; t < one[u].parameter_count; t++, parameters++)
            assert_same_bits(whole, r, &part[u].dparameters[t], &expected.dparameters[parameters]);
    }
    for (size_t e = 0; e < expected.energy.count; e++)
        for (int u = 1; u <= top; u++) part[0].energy.values[e] += part[u].energy.values[e];
    assert_close(whole, r, &part[0].energy, &expected.energy, 1e-6);
    for (int u = 0; u <= top; u++) {
        outcome_free(&ahead[u]);
        outcome_free(&part[u]);
        problem_free(&one[u]);
    }
    outcome_free(&expected);
}

static void a_stack_is_its_units_one_after_the_other(void **state)
{
    (void)state;
    for (int i = 0; i < STACKS; i++) {
        problem_plan plan = stack(i, 1 + i % 12);
        plan.units[i % 2].hidden = 17;
        plan.rough = 1;
        problem p;
        problem_make(&p, &plan, (uint64_t)i);
        run r = {.real = (stpn_real)(i / 2 % 2), .backward = RUN_DENSE};
        for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) check_units(&p, &r);
        problem_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_that_of_the_reference),
        cmocka_unit_test(gradient_is_that_of_differences),
        cmocka_unit_test(a_stack_is_its_units_one_after_the_other),
    };
    return cmocka_run_group_tests_name("net/stacking", tests, NULL, NULL);
}
