#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/library.h"

#include <string.h>

/* Small layers that go from zero through one segment have a backward sweep of their own, as long as nothing is wanted but
 * the parameters' gradient. It is that of the general sweep, which also gives the adjoints of inputs and states. */

enum { SETTINGS = 120, MOST_NEURONS = 17, MOST_STEPS = 66 };

static void setting(problem *p, int index)
{
    random_stream stream = random_open(11, RANDOM_BENCH, (uint64_t)index);
    problem_plan plan = {.unit_count = 1,
                         .inputs = 1 + (int)random_below(&stream, 20),
                         .steps = index % 5 == 0 ? MOST_STEPS - index % 4 : 1 + (int)random_below(&stream, 12),
                         .batch = 4 + (int)random_below(&stream, 6),
                         .input = (plan_input)(index % 4),
                         .resets = index % 7 == 6,
                         .lengths = index % 11 == 10,
                         .started = index % 13 == 12,
                         .rough = 1};
    plan.units[0] = stpn_unit_default("stpn_r", 1 + (int)random_below(&stream, MOST_NEURONS));
    plan.units[0].activation = index % 3 ? STPN_ACTIVATION_TANH : STPN_ACTIVATION_SIGMOID;
    plan.units[0].bias = index % 5 != 1;
    problem_make(p, &plan, (uint64_t)index);
    for (int i = 0; i < p->state_count; i++) memset(p->dstates[i].values, 0, p->dstates[i].count * sizeof(double));
    /* One neuron's ||G|| is 0 until its F is not. */
    if (index % 9 == 8) memset(p->parameters[0].values, 0, (size_t)p->parameters[0].shape[1] * sizeof(double));
}

static void the_gradient_is_that_of_the_general_sweep(void **state)
{
    (void)state;
    for (int i = 0; i < SETTINGS; i++) {
        problem p;
        setting(&p, i);
        for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            run sparse = {.real = (stpn_real)real, .backward = RUN_SPARSE};
            run dense = {.real = (stpn_real)real, .backward = RUN_DENSE};
            for (int k = 0; (sparse.kernel = dense.kernel = stpn_kernel_name(k)); k++) {
                outcome narrow, general;
                library_outcome(&p, &sparse, &narrow);
                library_outcome(&p, &dense, &general);
                assert_forward_same_bits(&p, &sparse, &narrow, &general);
                for (int j = 0; j < p.parameter_count; j++)
                    assert_close(&p, &sparse, &narrow.dparameters[j], &general.dparameters[j],
                                 real == STPN_FLOAT ? 1e-4 : 1e-11);
                outcome_free(&narrow);
                outcome_free(&general);
            }
        }
        problem_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_gradient_is_that_of_the_general_sweep)};
    return cmocka_run_group_tests_name("units/stpn_narrow", tests, NULL, NULL);
}
