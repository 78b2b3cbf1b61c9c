#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/checks.h"

#include <math.h>

/* Differentiable plasticity, neuromodulated and retroactive, with every rule and modulation, against their references (tests/support/checks.h). */

static const char names[] = "plastic modplast modul";

/* One neuron that starts at h = 0 (modul: T = 0), so that the change of E is exactly 0, with E at, inside and outside of
 * its bounds. A tie of a clip passes the gradient; at a change of 0 `soft` passes both branches: (1 - E) + (E + 1). */
static void check_tie(const stpn_unit *unit, double E)
{
    problem_plan plan = {
        .units = {*unit}, .unit_count = 1, .inputs = 1, .steps = 1, .batch = 1, .rough = 1, .started = 1};
    problem p;
    outcome o, expected;
    problem_make(&p, &plan, 3);
    int retroactive = variant_is_of(unit, "modul"), modulated = !variant_is_of(unit, "plastic");
    assert_string_equal(p.states[0].name, "units.0.h");
    assert_string_equal(p.states[1].name, "units.0.E");
    p.states[0].values[0] = retroactive ? 0.5 : 0;
    p.states[1].values[0] = E;
    if (retroactive) p.states[2].values[0] = 0;
    for (int i = 0; i < p.state_count; i++) p.dstates[i].values[0] = i == 1;
    p.dy.values[0] = 0;
    reference_outcome(&p, &expected);
    double h = expected.y.values[0], rate = 0, pass = unit->trace == STPN_TRACE_ADD || fabs(E) <= 1;
    for (int i = 0; i < p.parameter_count; i++) {
        double value = p.parameters[i].values[0];
        if (tensor_is(&p.parameters[i], "eta") && !modulated) rate = value;
        if (tensor_is(&p.parameters[i], "weight_mod")) rate += value * h;
        if (tensor_is(&p.parameters[i], "bias_mod")) rate += value;
    }
    if (modulated) rate = tanh(rate);
    double branches = unit->trace == STPN_TRACE_SOFT ? 2 : 1, dchange = pass * branches * rate * (retroactive ? 1 : h);
    for (int k = 0; use_kernel(k); k++)
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            run r = {.real = (stpn_real)real, .kernel = stpn_kernel_name(k), .backward = RUN_DENSE};
            double tolerance = real == STPN_DOUBLE ? 1e-12 : 1e-6;
            library_outcome(&p, &r, &o);
            assert_forward_close(&p, &r, &o, &expected, tolerance);
            double dE = o.dstates[1].values[0], darrived = o.dstates[retroactive ? 2 : 0].values[0];
            if (!(fabs(dE - pass) <= tolerance && fabs(darrived - dchange) <= tolerance))
                fail_msg("%s, E = %g: dE is %g, expected %g; gradient of the change arrives as %g, expected %g",
                         problem_text(&p), E, dE, pass, darrived, dchange);
            outcome_free(&o);
        }
    outcome_free(&expected);
    problem_free(&p);
}

static void ties_pass_the_gradient(void **state)
{
    (void)state;
    static const double starts[] = {1, -1, 0.5, -0.25, 0, 1.5, -1.5};
    for (int i = 0; i < VARIANT_COUNT; i++) {
        stpn_unit unit = variant(i, 1);
        if (!variant_is_of(&unit, names) || unit.trace == STPN_TRACE_DECAY || unit.modulation != STPN_MODULATION_TANH)
            continue;
        for (int k = 0; k < 7; k++) check_tie(&unit, starts[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ties_pass_the_gradient)};
    int failed = check_units("units/miconi", names);
    return failed + cmocka_run_group_tests_name("units/miconi ties", tests, NULL, NULL);
}
