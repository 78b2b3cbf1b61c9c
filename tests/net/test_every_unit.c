#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"
#include "support/registered.h"
#include "units/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every unit of the registry owes, whatever it computes, in every form that its options give it: nothing but its
 * place in the registry brings it here. Bits and allocations are in test_same_bits.c and test_step_failures.c. */

typedef void (*contract)(stpn_unit form, int index);

static void for_every_form(int hidden, contract check)
{
    stpn_unit form;
    int index = 0;
    for (; registered(index, hidden, &form); index++) check(form, index);
    assert_true(index >= 20);
}

static problem_plan one_unit(stpn_unit form, int inputs, int steps, int batch)
{
    return (problem_plan){
        .units = {form}, .unit_count = 1, .inputs = inputs, .steps = steps, .batch = batch, .started = 1, .rough = 1};
}

/* ------------------------------------------------------------------------------------------------------ differences */

static double loss_of(const problem *p, const run *r)
{
    outcome o;
    double loss = 0;
    run forward = *r;
    forward.backward = RUN_FORWARD;
    library_outcome(p, &forward, &o);
    for (size_t i = 0; i < o.y.count; i++) loss += o.y.values[i] * p->dy.values[i];
    for (int s = 0; s < p->state_count; s++)
        for (size_t i = 0; i < o.states[s].count; i++) loss += o.states[s].values[i] * p->dstates[s].values[i];
    outcome_free(&o);
    return loss;
}

/* The gradient's tensor against central differences of the library's own forward (fourth order). A matrix of the state
 * has no values outside of [begin, end). */
static void check_tensor(const problem *p, const run *r, tensor *t, const tensor *gradient, int begin, int end)
{
    static const double places[4] = {-2, -1, 1, 2}, factors[4] = {1, -8, 8, -1};
    shelf own = {0};
    tensor differences = tensor_copy(&own, gradient);
    for (size_t i = 0; i < t->count; i++) {
        double middle = t->values[i], width = 1e-5, sum = 0;
        int column = (int)(i % (size_t)t->shape[t->rank - 1]);
        if (t->rank == 3 && (column < begin || column >= end)) continue;
        for (int k = 0; k < 4; k++) {
            t->values[i] = middle + places[k] * width;
            sum += factors[k] * loss_of(p, r);
        }
        t->values[i] = middle;
        differences.values[i] = sum / (12 * width);
    }
    assert_close(p, r, gradient, &differences, 1e-6);
    shelf_clear(&own);
}

static void check_gradient(stpn_unit form, int index)
{
    problem_plan plan = one_unit(form, 2, 4, 2);
    problem p;
    outcome o;
    plan.resets = index % 2;
    plan.lengths = index / 2 % 2;
    problem_make(&p, &plan, (uint64_t)index);
    run r = {.real = STPN_DOUBLE, .kernel = stpn_kernel_name(0), .backward = RUN_DENSE};
    library_outcome(&p, &r, &o);
    for (int i = 0; i < p.parameter_count; i++) check_tensor(&p, &r, &p.parameters[i], &o.dparameters[i], 0, 0);
    int begin, end;
    reference_range(&form, plan.inputs, &begin, &end);
    for (int i = 0; i < p.state_count; i++) check_tensor(&p, &r, &p.states[i], &o.dstates[i], begin, end);
    check_tensor(&p, &r, &p.x, &o.dx, 0, plan.inputs);
    outcome_free(&o);
    problem_free(&p);
}

static void gradients_are_those_of_the_forward_pass(void **state)
{
    (void)state;
    for_every_form(3, check_gradient);
}

/* ---------------------------------------------------------------------------------------------------- not a number */

enum { STEPS = 9, BATCH = 20, WIDTH = 5 };

/* What a bad sample must leave alone: rows of all samples but one of (T, B, n). */
static void assert_others_same(const problem *p, const run *r, const tensor *a, const tensor *b, int steps, int bad)
{
    size_t n = a->count / (size_t)(steps * BATCH);
    for (int row = 0; row < steps * BATCH; row++) {
        if (row % BATCH == bad) continue;
        tensor mine = *a, theirs = *b;
        mine.values += (size_t)row * n;
        theirs.values += (size_t)row * n;
        mine.count = theirs.count = n;
        assert_same_bits(p, r, &mine, &theirs);
    }
}

static int is_finite(const tensor *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(t->values[i])) return 0;
    return 1;
}

static int has_nan(const tensor *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (isnan(t->values[i])) return 1;
    return 0;
}

/* A NaN in the input or in the upstream gradient of one sample reaches no other sample. */
static void check_leaks(stpn_unit form, int index)
{
    enum { BAD = 3 };
    problem_plan plan = one_unit(form, 4, STEPS, BATCH);
    problem p;
    plan.lengths = index % 2;
    problem_make(&p, &plan, (uint64_t)index);
    memset(p.live + BAD * STEPS, 1, STEPS);
    for (int k = 0; use_kernel(k); k++)
        for (int place = 0; place < 4; place++) {
            run r = {.real = (stpn_real)(place % 2), .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
            outcome clean, broken;
            library_outcome(&p, &r, &clean);
            tensor *t = place < 2 ? &p.x : &p.dy;
            size_t at = (size_t)(2 * BATCH + BAD) * (t->count / (STEPS * BATCH));
            double before = t->values[at];
            t->values[at] = NAN;
            library_outcome(&p, &r, &broken);
            t->values[at] = before;
            assert_true(has_nan(place < 2 ? &broken.y : &broken.dx));
            assert_others_same(&p, &r, &broken.y, &clean.y, STEPS, BAD);
            assert_others_same(&p, &r, &broken.energy, &clean.energy, STEPS, BAD);
            assert_others_same(&p, &r, &broken.dx, &clean.dx, STEPS, BAD);
            for (int i = 0; i < p.state_count; i++) {
                assert_others_same(&p, &r, &broken.states[i], &clean.states[i], 1, BAD);
                assert_others_same(&p, &r, &broken.dstates[i], &clean.dstates[i], 1, BAD);
            }
            outcome_free(&clean);
            outcome_free(&broken);
        }
    problem_free(&p);
}

static void a_nan_stays_in_its_sample(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_leaks);
}

/* NaN in inputs and upstream gradients of steps that a sample does not have is as if it were not there, in the
 * parameters' gradients too. */
static void check_padding(stpn_unit form, int index)
{
    problem_plan plan = one_unit(form, 4, STEPS, BATCH);
    problem p, padded;
    plan.lengths = 1;
    problem_make(&p, &plan, (uint64_t)index);
    problem_take(&padded, &p, 0, BATCH);
    for (int b = 0; b < BATCH; b++) {
        for (int t = 0; t < STEPS; t++) {
            if (p.live[b * STEPS + t]) continue;
            for (int i = 0; i < 4; i++) padded.x.values[(t * BATCH + b) * 4 + i] = NAN;
            for (int j = 0; j < WIDTH; j++) padded.dy.values[(t * BATCH + b) * WIDTH + j] = NAN;
        }
    }
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
            for (int backward = RUN_FORWARD; backward <= RUN_DENSE; backward++) {
                run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k), .backward = (run_backward)backward};
                outcome clean, other;
                library_outcome(&p, &r, &clean);
                library_outcome(&padded, &r, &other);
                assert_forward_same_bits(&p, &r, &other, &clean);
                for (int i = 0; i < p.parameter_count && backward >= RUN_SPARSE; i++)
                    assert_same_bits(&p, &r, &other.dparameters[i], &clean.dparameters[i]);
                if (backward == RUN_DENSE) assert_gradient_same_bits(&p, &r, &other, &clean);
                outcome_free(&clean);
                outcome_free(&other);
            }
    problem_free(&padded);
    problem_free(&p);
}

static void a_nan_in_padding_is_not_seen(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_padding);
}

/* A reset leaves nothing of a state that broke down: from it on, all is as in a sample that never did. */
static void check_recovery(stpn_unit form, int index)
{
    enum { BAD = 3, RESET = 4 };
    problem_plan plan = one_unit(form, 4, STEPS, BATCH);
    problem p;
    problem_make(&p, &plan, (uint64_t)index);
    p.reset[BAD * STEPS + RESET] = 1;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
            outcome clean, broken;
            library_outcome(&p, &r, &clean);
            double *x = &p.x.values[((RESET - 1) * BATCH + BAD) * 4], before = *x;
            *x = NAN;
            library_outcome(&p, &r, &broken);
            *x = before;
            assert_true(has_nan(&broken.y));
            const tensor *pairs[][2] = {
                {&broken.y, &clean.y}, {&broken.energy, &clean.energy}, {&broken.dx, &clean.dx}};
            for (int i = 0; i < 3; i++) {
                tensor mine = *pairs[i][0], theirs = *pairs[i][1];
                size_t skip = mine.count / STEPS * RESET;
                mine.values += skip;
                theirs.values += skip;
                mine.count = theirs.count = mine.count - skip;
                assert_same_bits(&p, &r, &mine, &theirs);
            }
            for (int i = 0; i < p.state_count; i++) assert_same_bits(&p, &r, &broken.states[i], &clean.states[i]);
            outcome_free(&clean);
            outcome_free(&broken);
        }
    problem_free(&p);
}

static void a_reset_ends_a_nan(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_recovery);
}

/* Inputs and states that drive every neuron to its bounds give finite values and gradients. */
static void check_saturated(stpn_unit form, int index)
{
    problem_plan plan = one_unit(form, 4, 3, 4);
    problem p;
    outcome o;
    problem_make(&p, &plan, (uint64_t)index);
    for (size_t i = 0; i < p.x.count; i++) p.x.values[i] *= i % 3 ? 1e6 : 100;
    for (int i = 0; i < p.state_count; i++)
        for (size_t k = 0; k < p.states[i].count; k++) p.states[i].values[k] *= 30;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
            library_outcome(&p, &r, &o);
            int finite = is_finite(&o.y) && is_finite(&o.energy) && is_finite(&o.dx);
            for (int i = 0; i < p.state_count; i++) finite &= is_finite(&o.states[i]) && is_finite(&o.dstates[i]);
            for (int i = 0; i < p.parameter_count; i++) finite &= is_finite(&o.dparameters[i]);
            if (!finite) fail_msg("%s %s: a value is not finite", r.kernel, problem_text(&p));
            outcome_free(&o);
        }
    problem_free(&p);
}

static void large_values_stay_finite(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_saturated);
}

/* -------------------------------------------------------------------------------------------------------- the state */

/* A state that was read out and set anew goes on to the same values. */
static void check_restored(stpn_unit form, int index)
{
    enum { HALF = 5 };
    problem_plan plan = one_unit(form, 4, STEPS, 3);
    problem p, first, second;
    plan.input = (plan_input)(index % 4);
    problem_make(&p, &plan, (uint64_t)index);
    problem_take(&first, &p, 0, 3);
    problem_take(&second, &p, 0, 3);
    first.plan.steps = HALF;
    second.plan.steps = STEPS - HALF;
    first.x.count = HALF * 3 * 4;
    second.x.values += HALF * 3 * 4;
    second.x.count = (STEPS - HALF) * 3 * 4;
    if (second.tokens) second.tokens += HALF * 3;
    if (second.bytes) second.bytes += HALF * 3 * 4;
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k)};
            double tolerance = real == STPN_DOUBLE ? 1e-12 : 1e-5;
            outcome whole, one, other;
            library_outcome(&p, &r, &whole);
            library_outcome(&first, &r, &one);
            for (int i = 0; i < p.state_count; i++)
                memcpy(second.states[i].values, one.states[i].values, one.states[i].count * sizeof(double));
            library_outcome(&second, &r, &other);
            tensor y = whole.y;
            y.values += HALF * 3 * WIDTH;
            y.count = other.y.count;
            assert_close(&p, &r, &other.y, &y, tolerance);
            for (int i = 0; i < p.state_count; i++) assert_close(&p, &r, &other.states[i], &whole.states[i], tolerance);
            outcome_free(&whole);
            outcome_free(&one);
            outcome_free(&other);
        }
    problem_free(&second);
    problem_free(&first);
    problem_free(&p);
}

static void a_state_set_anew_goes_on(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_restored);
}

/* A length of 0 leaves the starting state, bit for bit. */
static void check_empty(stpn_unit form, int index)
{
    problem_plan plan = one_unit(form, 4, STEPS, BATCH);
    problem p;
    problem_make(&p, &plan, (uint64_t)index);
    for (int b = 0; b < BATCH; b += 2) memset(p.live + b * STEPS, 0, STEPS);
    for (int k = 0; use_kernel(k); k++) {
        run r = {.real = (stpn_real)(index % 2), .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
        outcome o;
        library_outcome(&p, &r, &o);
        for (int i = 0; i < p.state_count; i++) {
            size_t n = p.states[i].count / BATCH;
            for (size_t b = 0; b < BATCH; b += 2)
                for (size_t j = b * n; j < (b + 1) * n; j++) {
                    assert_true(o.states[i].values[j] == p.states[i].values[j]);
                    assert_true(o.dstates[i].values[j] == p.dstates[i].values[j]);
                }
        }
        outcome_free(&o);
    }
    problem_free(&p);
}

static void a_sample_without_steps_keeps_its_state(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_empty);
}

/* ------------------------------------------------------------------------------------------------------- read-outs */

/* Logits and their way back, over outputs that hold NaN before. */
static void check_readout(stpn_unit form, int index)
{
    enum { ROWS = 6, CLASSES = 3 };
    stpn_net *net = NULL;
    stpn_state *s = NULL;
    stpn_head head = {"readout", CLASSES};
    stpn_net_desc desc = {
        .real = STPN_DOUBLE, .inputs = 2, .units = &form, .unit_count = 1, .heads = &head, .head_count = 1};
    double x[ROWS * 2], y[ROWS * WIDTH], logits[ROWS * CLASSES], losses[ROWS], dlogits[ROWS * CLASSES],
        dy[ROWS * WIDTH];
    int32_t labels[ROWS] = {0, 1, 2, 0, 1, 2};
    for (int i = 0; i < ROWS * 2; i++) x[i] = (i % 5 - 2) / 2.0;
    double *outputs[] = {y, logits, losses, dlogits, dy};
    const size_t counts[] = {ROWS * WIDTH, ROWS * CLASSES, ROWS, ROWS * CLASSES, ROWS * WIDTH};
    for (int k = 0; use_kernel(k); k++) {
        for (int i = 0; i < 5; i++) memset(outputs[i], 0xff, counts[i] * sizeof(double));
        assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
        stpn_net_init(net, (uint64_t)index);
        assert_int_equal(stpn_state_create(&s, net, ROWS, NULL), STPN_OK);
        stpn_step(net, s, x, y);
        stpn_head_forward(net, 0, ROWS, y, logits);
        stpn_cross_entropy(net, ROWS, CLASSES, logits, labels, 1, losses, dlogits);
        stpn_head_backward(net, 0, ROWS, y, dlogits, NULL, dy);
        for (int i = 0; i < 5; i++)
            for (size_t j = 0; j < counts[i]; j++) assert_true(isfinite(outputs[i][j]));
        stpn_state_free(s);
        stpn_net_free(net);
    }
}

static void readouts_write_everything(void **state)
{
    (void)state;
    for_every_form(WIDTH, check_readout);
}

/* --------------------------------------------------------------------------------------------------------- options */

static void assert_refused(const stpn_unit *form, const char *word)
{
    stpn_net *net = NULL;
    stpn_error error = {""};
    stpn_net_desc desc = {.real = STPN_FLOAT, .inputs = 3, .units = form, .unit_count = 1};
    stpn_status status = stpn_net_create(&net, &desc, &error);
    if (status != STPN_ERROR_INPUT || net || !strstr(error.message, word) || !strstr(error.message, "units[0]"))
        fail_msg("%s: status %d, message \"%s\", expected units[0] and \"%s\"", form->name, (int)status, error.message,
                 word);
}

static void check_option(const stpn_unit *form, const option *o)
{
    stpn_unit bad = *form;
    char word[64];
    snprintf(word, sizeof word, ".%s ", o->name);
    if (o->kind == OPTION_NUMBER) {
        const double numbers[] = {NAN, INFINITY, -INFINITY, o->maximum * 2 + 1, o->minimum - 1};
        for (int i = 0; i < 5; i++) {
            option_set_number(o, &bad, numbers[i]);
            assert_refused(&bad, word);
        }
        return;
    }
    int least = o->kind == OPTION_INTEGER ? (int)o->minimum : 0, most = 1, length;
    if (o->kind == OPTION_INTEGER) most = (int)o->maximum;
    for (int i = 0; o->kind == OPTION_CHOICE && option_choice(o->choices, i, &length); i++) most = i;
    const int integers[] = {least - 1, most + 1, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        option_set_integer(o, &bad, integers[i]);
        assert_refused(&bad, word);
    }
}

static void a_bad_option_is_named(void **state)
{
    (void)state;
    const unit_type *type;
    for (int i = 0; (type = unit_at(i)); i++) {
        stpn_unit form = stpn_unit_default(type->name, WIDTH);
        assert_true(type->option_count >= 1);
        assert_string_equal(type->options[0].name, "hidden");
        for (int k = 0; k < type->option_count; k++) {
            assert_true(strlen(type->options[k].help) > 3);
            check_option(&form, &type->options[k]);
        }
    }
}

/* A retroactive trace takes up m T, which is no rate to decay by. */
static void modul_has_no_decay(void **state)
{
    (void)state;
    stpn_unit form = stpn_unit_default("modul", WIDTH);
    form.trace = STPN_TRACE_DECAY;
    assert_refused(&form, ".trace ");
}

/* Fields that a unit has no option for are not looked at. */
static void options_of_others_have_no_effect(void **state)
{
    (void)state;
    const unit_type *type;
    for (int i = 0; (type = unit_at(i)); i++) {
        problem_plan plan = one_unit(stpn_unit_default(type->name, WIDTH), 3, 4, 2);
        problem p;
        problem_make(&p, &plan, 1);
        stpn_unit *u = &p.plan.units[0], other = {.name = type->name};
        memset((char *)&other + sizeof other.name, 0x7f, sizeof other - sizeof other.name);
        for (int k = 0; k < type->option_count; k++) {
            const option *o = &type->options[k];
            if (o->kind == OPTION_NUMBER) option_set_number(o, &other, option_number(o, u));
            else option_set_integer(o, &other, option_integer(o, u));
        }
        run r = {.real = STPN_DOUBLE, .kernel = stpn_kernel_name(0), .backward = RUN_DENSE};
        outcome one, two;
        library_outcome(&p, &r, &one);
        p.plan.units[0] = other;
        library_outcome(&p, &r, &two);
        assert_forward_same_bits(&p, &r, &two, &one);
        assert_gradient_same_bits(&p, &r, &two, &one);
        outcome_free(&one);
        outcome_free(&two);
        problem_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_forward_pass),
        cmocka_unit_test(a_nan_stays_in_its_sample),
        cmocka_unit_test(a_nan_in_padding_is_not_seen),
        cmocka_unit_test(a_reset_ends_a_nan),
        cmocka_unit_test(large_values_stay_finite),
        cmocka_unit_test(a_state_set_anew_goes_on),
        cmocka_unit_test(a_sample_without_steps_keeps_its_state),
        cmocka_unit_test(readouts_write_everything),
        cmocka_unit_test(a_bad_option_is_named),
        cmocka_unit_test(modul_has_no_decay),
        cmocka_unit_test(options_of_others_have_no_effect),
    };
    return cmocka_run_group_tests_name("net/every_unit", tests, NULL, NULL);
}
