#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"
#include "support/effort.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN_COUNT = 6, INPUT_COUNT = 3, BATCH_COUNT = 5, STEP_COUNT = 4 };

static const int hiddens[HIDDEN_COUNT] = {1, 3, 9, 16, 17, 33}, inputs[INPUT_COUNT] = {1, 5, 37};
static const int batches[BATCH_COUNT] = {1, 3, 16, 17, 40}, steps[STEP_COUNT] = {1, 2, 9, 20};

static const double forward_tolerance[] = {[STPN_FLOAT] = 1e-5, [STPN_DOUBLE] = 1e-10};
static const double by_differences = 1e-6, by_float = 1e-4, by_cornered_float = 2e-3, by_sparse = 1e-10;

/* The next form of one of the units, from *index on; 0 past the last. */
static int next_form(const char *names, int *index, int hidden, stpn_unit *unit)
{
    for (; *index < VARIANT_COUNT; ++*index) {
        *unit = variant(*index, hidden);
        if (variant_is_of(unit, names)) return 1;
    }
    return 0;
}

static int form_count(const char *names)
{
    stpn_unit unit;
    int forms = 0;
    for (int i = 0; next_form(names, &i, 1, &unit); i++) forms++;
    return forms;
}

/* Where there are many forms they share the settings among them: whether form `index` takes setting `at` of so many. Each
 * form takes some, and each setting is taken by some form. */
static int takes(const char *names, int index, int at, int settings)
{
    int forms = form_count(names), share = forms < 8 ? 1 : 3;
    if (SHARED_OUT) {
        int most = forms < 8 ? 3 : 9, fewer = forms < settings ? forms : settings;
        share = fewer < most ? fewer : most;
    }
    return (index + at) % share == 0;
}

static problem_plan one_unit(stpn_unit unit, int I, int T, int B)
{
    return (problem_plan){.units = {unit}, .unit_count = 1, .inputs = I, .steps = T, .batch = B};
}

static void set_flags(problem_plan *plan, int flags)
{
    plan->resets = flags & 1;
    plan->lengths = flags >> 1 & 1;
    plan->started = flags >> 2 & 1;
}

/* ---------------------------------------------------------------------------------------------------------- forward */

static void check_forward(const problem_plan *plan, uint64_t seed)
{
    problem p;
    outcome expected, actual;
    problem_make(&p, plan, seed);
    reference_outcome(&p, &expected);
    run r = {0};
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            r.real = (stpn_real)real;
            r.backward = (run_backward)(seed % 2); // with a tape too
            if (plan->steps == 0) r.backward = RUN_FORWARD;
            library_outcome(&p, &r, &actual);
            assert_forward_close(&p, &r, &actual, &expected, forward_tolerance[real]);
            outcome_free(&actual);
        }
    outcome_free(&expected);
    problem_free(&p);
}

/* Every pair of widths, every pair of batch and steps, with all kinds of inputs and uses of a sequence in turn. */
static void every_size(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 1, &unit); index++) {
        for (int i = 0; i < HIDDEN_COUNT * INPUT_COUNT; i++) {
            int at = index + i;
            if (!takes(names, index, i, HIDDEN_COUNT * INPUT_COUNT)) continue;
            unit.hidden = hiddens[i % HIDDEN_COUNT];
            problem_plan plan =
                one_unit(unit, inputs[i / HIDDEN_COUNT], steps[at % STEP_COUNT], batches[at % BATCH_COUNT]);
            plan.input = (plan_input)(at / 2 % 4);
            set_flags(&plan, at);
            check_forward(&plan, (uint64_t)at);
        }
        for (int i = 0; i < BATCH_COUNT * STEP_COUNT; i++) {
            int at = index + 7 * i;
            if (!takes(names, index, i, BATCH_COUNT * STEP_COUNT)) continue;
            unit.hidden = hiddens[at % HIDDEN_COUNT];
            problem_plan plan =
                one_unit(unit, inputs[at % INPUT_COUNT], steps[i / BATCH_COUNT], batches[i % BATCH_COUNT]);
            plan.input = (plan_input)(at / 3 % 4);
            set_flags(&plan, at + i);
            check_forward(&plan, (uint64_t)at);
        }
    }
}

/* Every kind of input with each of starting states, resets, lengths. */
static void every_kind_of_sequence(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 9, &unit); index++)
        for (int i = 0; i < 32; i++) {
            if (SHARED_OUT && !takes(names, index, i, 32)) continue;
            problem_plan plan = one_unit(unit, 7, 15, 5);
            plan.input = (plan_input)(i / 8);
            set_flags(&plan, i);
            check_forward(&plan, (uint64_t)i);
        }
}

static void no_steps_at_all(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 5, &unit); index++) {
        problem_plan plan = one_unit(unit, 4, 0, 3);
        plan.started = 1;
        check_forward(&plan, (uint64_t)index);
    }
}

/* Bytes, floats and doubles of the same values give the same bits. */
static void types_of_input_give_the_same_bits(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 7, &unit); index++)
        for (int k = 0; use_kernel(k); k++)
            for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
                problem_plan plan = one_unit(unit, 9, 6, 20);
                problem p, floats;
                outcome one, other;
                run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
                plan.input = PLAN_BYTES;
                plan.rough = 1;
                problem_make(&p, &plan, 5);
                for (size_t i = 0; i < p.x.count; i++) p.x.values[i] = p.bytes[i] = (uint8_t)(37 * i);
                floats = p;
                floats.bytes = NULL;
                library_outcome(&p, &r, &one);
                for (r.as_doubles = 0; r.as_doubles < 2; r.as_doubles++) {
                    library_outcome(&floats, &r, &other);
                    assert_forward_same_bits(&p, &r, &other, &one);
                    assert_gradient_same_bits(&p, &r, &other, &one);
                    outcome_free(&other);
                }
                outcome_free(&one);
                problem_free(&p);
            }
}

/* Plasticity matters in the problems that are drawn, and bounds are met where the unit has them. */
static void the_problems_are_not_empty(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 9, &unit); index++) {
        int64_t clipped = 0, has_matrix = 0;
        double largest = 0;
        for (int i = 0; i < 8; i++) {
            problem_plan plan = one_unit(unit, 7, 20, 3);
            problem p;
            problem_make(&p, &plan, (uint64_t)i);
            clipped += p.closeness.clamped;
            largest = fmax(largest, p.closeness.largest);
            for (int s = 0; s < p.state_count; s++) has_matrix |= p.states[s].rank == 3;
            problem_free(&p);
        }
        assert_true(!has_matrix || largest > 0.2);
        if (variant_is_of(&unit, "plastic modplast modul") && unit.trace == STPN_TRACE_CLIP) assert_true(clipped > 50);
    }
}

/* --------------------------------------------------------------------------------------------------------- gradient */

/* One run of the library that must agree with `expected`. */
static void check_run(const problem *p, const run *r, const outcome *expected, double tolerance)
{
    outcome actual;
    library_outcome(p, r, &actual);
    assert_gradient_close(p, r, &actual, expected, r->backward == RUN_SPARSE, tolerance);
    outcome_free(&actual);
}

/* Not where all that is left of a gradient is rounding: two neurons after a layer norm are 1 and -1. */
static void check_float(const problem *p, const run *doubles_run, const outcome *doubles, double tolerance)
{
    run r = *doubles_run;
    r.real = STPN_FLOAT;
    if (p->plan.units[0].hidden > 2 || !variant_is_of(&p->plan.units[0], "fast_weights"))
        check_run(p, &r, doubles, tolerance);
}

/* Over so many steps a plastic unit multiplies what was rounded. */
static double float_tolerance(const problem *p)
{
    return p->plan.steps > 20 ? 10 * by_float : by_float;
}

static void check_kernels(problem *p, const int *calls, int call_count)
{
    outcome dense;
    run r = {.real = STPN_DOUBLE, .calls = calls, .call_count = call_count};
    for (int i = 0; i < p->state_count; i++) memset(p->dstates[i].values, 0, p->dstates[i].count * sizeof(double));
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
        r.backward = RUN_DENSE;
        library_outcome(p, &r, &dense);
        r.backward = RUN_SPARSE;
        check_run(p, &r, &dense, by_sparse);
        check_float(p, &r, &dense, float_tolerance(p));
        outcome_free(&dense);
    }
}

/* At a change of exactly 0 the rule `soft` passes both of its branches, which no difference shows: the states are not at 0. */
static void start_soft(problem_plan *plan)
{
    if (variant_is_of(&plan->units[0], "plastic modplast modul") && plan->units[0].trace == STPN_TRACE_SOFT)
        plan->started = 1;
}

static void check_differences(problem_plan *plan, uint64_t seed, const int *calls, int call_count)
{
    problem p;
    outcome differences, dense;
    plan->smooth = 1;
    start_soft(plan);
    problem_make(&p, plan, seed);
    reference_gradient(&p, &differences);
    run r = {.real = STPN_DOUBLE, .backward = RUN_DENSE, .calls = calls, .call_count = call_count};
    for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
        library_outcome(&p, &r, &dense);
        assert_forward_close(&p, &r, &dense, &differences, forward_tolerance[STPN_DOUBLE]);
        assert_gradient_close(&p, &r, &dense, &differences, 0, by_differences);
        check_float(&p, &r, &dense, float_tolerance(&p));
        outcome_free(&dense);
    }
    check_kernels(&p, calls, call_count);
    outcome_free(&differences);
    problem_free(&p);
}

/* The backward pass against central differences of the reference: parameters, inputs and starting states, with gradients
 * coming in at every output and at the final state. Without dx and dstate against with them; in float. */
static void gradient_is_that_of_differences(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 1, &unit); index++)
        for (int i = 0; i < 24; i++) {
            if (SHARED_OUT && !takes(names, index, i, 24)) continue;
            unit.hidden = 1 + i % 5;
            problem_plan plan = one_unit(unit, 1 + (index + i) % 4, 1 + i % 6, 3);
            plan.input = (plan_input)(i % 3);
            set_flags(&plan, i / 3);
            check_differences(&plan, (uint64_t)(100 * index + i), NULL, 0);
        }
}

/* Rows on both sides of a vector and of a panel; several chunks of samples. */
static void gradient_of_every_width(void **state)
{
    const char *names = *state;
    static const int widths[] = {7, 8, 9, 16, 17};
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 1, &unit); index++)
        for (int i = 0; i < 5; i++) {
            if (!takes(names, index, i, 5)) continue;
            unit.hidden = widths[i];
            problem_plan plan = one_unit(unit, 1 + i, 2, i == 0 ? 17 : 1);
            plan.started = 1;
            check_differences(&plan, (uint64_t)i, NULL, 0);
        }
}

/* Over several segments, filled in several calls. */
static void gradient_of_long_runs(void **state)
{
    const char *names = *state;
    static const int calls[] = {1, 62, 1, 1, 5, 60};
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 2, &unit); index++)
        for (int i = 0; i < 4; i++) {
            if (!takes(names, index, i, 4)) continue;
            unit.hidden = 2 + i % 2;
            problem_plan plan = one_unit(unit, 2, i < 2 ? 70 : 130, 2);
            plan.input = i % 2 ? PLAN_TOKENS : PLAN_SPARSE;
            set_flags(&plan, 3 * i + 2);
            int whole = plan.steps == 130;
            check_differences(&plan, (uint64_t)i, whole ? calls : NULL, whole ? 6 : 0);
        }
}

/* Samples that end in one call and go on in a later one. */
static void gradient_of_samples_that_pause(void **state)
{
    const char *names = *state;
    int ones[70];
    stpn_unit unit;
    for (int i = 0; i < 70; i++) ones[i] = 1;
    for (int index = 0; next_form(names, &index, 3, &unit); index++)
        for (int i = 0; i < 6; i++) {
            problem_plan plan = one_unit(unit, 2, 9, 3);
            plan.input = i % 3 ? PLAN_SPARSE : PLAN_TOKENS;
            plan.gaps = 1;
            plan.resets = i & 1;
            plan.started = i >> 1 & 1;
            check_differences(&plan, (uint64_t)i, ones, plan.steps);
        }
}

/* Samples that value `at` of a tensor belongs to: all of them for a parameter. */
static void samples_of(const problem *p, const tensor *t, size_t at, int *first, int *last)
{
    size_t B = (size_t)p->plan.batch, inner = 1;
    int dimension = t == &p->x ? 1 : 0;
    *first = 0;
    *last = p->plan.batch;
    if (t >= p->parameters && t < p->parameters + PROBLEM_TENSORS) return;
    for (int i = dimension + 1; i < t->rank; i++) inner *= (size_t)t->shape[i];
    *first = (int)(at / inner % B);
    *last = *first + 1;
}

/* A few values of a gradient against differences. */
static void check_values(const problem *p, const run *r, tensor *t, const tensor *gradient)
{
    enum { VALUES = SHARED_OUT ? 1 : 3 };
    shelf own = {0};
    tensor mine = tensor_new(&own, t->name, 1, VALUES, 0, 0), differences = tensor_like(&own, &mine);
    for (size_t i = 0; i < VALUES; i++) {
        size_t at = (i * t->count / VALUES + 7 * i) % t->count;
        mine.values[i] = gradient->values[at];
        int first, last;
        samples_of(p, t, at, &first, &last);
        differences.values[i] = reference_difference(p, &t->values[at], first, last);
    }
    assert_close(p, r, &mine, &differences, by_differences);
    shelf_clear(&own);
}

/* Layers so wide that their segments are short, over two chunks of samples: some of the gradient's values. */
static void gradient_of_short_segments(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    int kernels = 0;
    while (kernels < 2 && stpn_kernel_name(kernels)) kernels++;
    for (int index = 0; next_form(names, &index, 75, &unit); index++) {
        /* With so many changes some are always near a corner. */
        if (variant_is_of(&unit, "plastic modplast modul") && unit.trace <= STPN_TRACE_SOFT) continue;
        if (form_count(names) >= 8 && index % 3 != 0) continue;
        problem_plan plan = one_unit(unit, 3, 12, 17);
        plan.rough = 1; // in double only
        problem p;
        outcome o;
        set_flags(&plan, 7 * (index % 2));
        problem_make(&p, &plan, (uint64_t)index);
        run r = {.real = STPN_DOUBLE, .kernel = stpn_kernel_name(index % kernels), .backward = RUN_DENSE};
        library_outcome(&p, &r, &o);
        for (int i = 0; i < p.parameter_count; i++) check_values(&p, &r, &p.parameters[i], &o.dparameters[i]);
        for (int i = 0; i < p.state_count; i++) check_values(&p, &r, &p.states[i], &o.dstates[i]);
        check_values(&p, &r, &p.x, &o.dx);
        outcome_free(&o);
        problem_free(&p);
    }
}

/* Wide layers and large batches: every kernel against the doubles of the first, and in float. */
static void gradient_of_wide_layers(void **state)
{
    const char *names = *state;
    stpn_unit unit;
    for (int index = 0; next_form(names, &index, 1, &unit); index++)
        for (int i = 0; i < 6; i++) {
            if (SHARED_OUT && !takes(names, index, i, 6)) continue;
            unit.hidden = hiddens[HIDDEN_COUNT - 1 - i % 3];
            problem_plan plan = one_unit(unit, i % 3 ? 31 : 70, i < 3 ? 20 : 9, batches[i % BATCH_COUNT]);
            plan.input = (plan_input)(i % 3);
            set_flags(&plan, i);
            /* So many changes come near a corner that a float may be on its other side. */
            int cornered = variant_is_of(&unit, "plastic modplast modul") && unit.trace <= STPN_TRACE_SOFT;
            problem p;
            outcome doubles;
            problem_make(&p, &plan, (uint64_t)i);
            run r = {.real = STPN_DOUBLE, .kernel = stpn_kernel_name(0), .backward = RUN_DENSE};
            library_outcome(&p, &r, &doubles);
            for (int k = 0; (r.kernel = stpn_kernel_name(k)); k++) {
                check_run(&p, &r, &doubles, by_sparse);
                check_float(&p, &r, &doubles, cornered ? by_cornered_float : by_float);
            }
            outcome_free(&doubles);
            problem_free(&p);
        }
}

int check_units(const char *group, const char *names)
{
    void *form = (void *)(uintptr_t)names;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(every_size, form),
        cmocka_unit_test_prestate(every_kind_of_sequence, form),
        cmocka_unit_test_prestate(no_steps_at_all, form),
        cmocka_unit_test_prestate(types_of_input_give_the_same_bits, form),
        cmocka_unit_test_prestate(the_problems_are_not_empty, form),
        cmocka_unit_test_prestate(gradient_is_that_of_differences, form),
        cmocka_unit_test_prestate(gradient_of_every_width, form),
        cmocka_unit_test_prestate(gradient_of_long_runs, form),
        cmocka_unit_test_prestate(gradient_of_samples_that_pause, form),
        cmocka_unit_test_prestate(gradient_of_short_segments, form),
        cmocka_unit_test_prestate(gradient_of_wide_layers, form),
    };
    return cmocka_run_group_tests_name(group, tests, NULL, NULL);
}
