#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/failing.h"
#include "support/library.h"
#include "support/registered.h"

#include <math.h>

/* What runs inside a loop allocates nothing: every allocation is counted, and would fail. Those that fail elsewhere are
 * told as such and leave nothing behind. */

enum { INPUTS = 3, BATCH = 20, STEPS = 5, STPN_NETS = 20 };

/* Random combinations of STPN options, then every registered unit in every form. NULL past the last. */
static stpn_net *stacked_net(int index)
{
    stpn_unit units[2] = {combination(combination_systematic() + index, 9), stpn_unit_default("stpn_f", 5)};
    units[0].lambda = 0.5;
    units[0].gamma = 0.1;
    if (index >= STPN_NETS && !registered(index - STPN_NETS, 9, &units[0])) return NULL;
    if (index >= STPN_NETS && !registered((index - STPN_NETS) / 2, 5, &units[1])) return NULL;
    stpn_head head = {"readout", 2};
    stpn_net_desc desc = {
        .real = STPN_FLOAT, .inputs = INPUTS, .units = units, .unit_count = 2, .heads = &head, .head_count = 1};
    stpn_net *net = NULL;
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
    stpn_net_init(net, 1);
    return net;
}

static void steps_and_passes_allocate_nothing(void **state)
{
    (void)state;
    enum { ROWS = STEPS * BATCH };
    static float x[ROWS * INPUTS], y[ROWS * 5], energy[ROWS], out[ROWS * 2], dy[ROWS * 5], dx[ROWS * INPUTS];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (float)(i % 7) / 4 - 0.5F;
    int nets = STPN_NETS + registered_count();
    for (int i = 0; i < nets; i++)
        for (int k = 0; use_kernel(k); k++) {
            stpn_net *net = stacked_net(i);
            assert_non_null(net);
            stpn_state *s = NULL, *dstate = NULL;
            stpn_tape *tape = NULL;
            stpn_adam *adam = NULL;
            float *grad = stpn_block_create(net);
            assert_int_equal(stpn_state_create(&s, net, BATCH, NULL), STPN_OK);
            assert_int_equal(stpn_state_create(&dstate, net, BATCH, NULL), STPN_OK);
            assert_int_equal(stpn_tape_create(&tape, net, STEPS, BATCH, 1, NULL), STPN_OK);
            assert_int_equal(stpn_adam_create(&adam, net, 1e-3, 0.9, 0.999, 1e-8, NULL), STPN_OK);
            failing_set_allocations_from(1);
            for (int t = 0; t < 100; t++) stpn_step(net, s, x, y);
            stpn_sequence q = {.steps = STEPS, .batch = BATCH, .x = x};
            assert_int_equal(stpn_forward(net, s, &q, y, energy, tape, NULL, NULL), STPN_OK);
            stpn_head_forward(net, 0, ROWS, y, out);
            stpn_head_backward(net, 0, ROWS, y, out, grad, dy);
            assert_int_equal(stpn_backward(net, tape, dy, dstate, grad, dx, NULL, NULL), STPN_OK);
            stpn_clip_gradient(net, grad, 1, 1);
            stpn_adam_update(adam, net, grad);
            assert_int_equal(failing_allocations(), 0);
            failing_reset();
            for (size_t j = 0; j < sizeof y / sizeof *y; j++) assert_true(isfinite(y[j]));
            stpn_adam_free(adam);
            stpn_block_free(grad);
            stpn_tape_free(tape);
            stpn_state_free(dstate);
            stpn_state_free(s);
            stpn_net_free(net);
        }
}

/* Each allocation of each creation in turn, of a net over whose stpn_f stands one of the registered units. */
static void check_failed_allocations(int index)
{
    stpn_unit units[2] = {stpn_unit_default("stpn_f", 9)};
    registered(index, 5, &units[1]);
    stpn_head head = {"readout", 2};
    stpn_net_desc desc = {
        .real = STPN_FLOAT, .inputs = INPUTS, .units = units, .unit_count = 2, .heads = &head, .head_count = 1};
    stpn_net *net = NULL;
    assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
    int failures[4] = {0};
    for (int kind = 0; kind < 4; kind++)
        for (long n = 1;; n++) {
            stpn_net *made = NULL;
            stpn_state *s = NULL;
            stpn_tape *tape = NULL;
            stpn_adam *adam = NULL;
            stpn_error error = {""};
            long live = failing_live();
            failing_set_allocation(n);
            stpn_status status = kind == 0   ? stpn_net_create(&made, &desc, &error)
                                 : kind == 1 ? stpn_state_create(&s, net, BATCH, &error)
                                 : kind == 2 ? stpn_tape_create(&tape, net, STEPS, BATCH, 2, &error)
                                             : stpn_adam_create(&adam, net, 1, 0.9, 0.9, 1e-8, &error);
            failing_reset();
            if (status == STPN_OK) {
                stpn_net_free(made);
                stpn_state_free(s);
                stpn_tape_free(tape);
                stpn_adam_free(adam);
                assert_int_equal(failing_live(), live);
                break;
            }
            assert_int_equal(status, STPN_ERROR_MEMORY);
            assert_memory_equal(error.message, "out of memory", 13);
            assert_true(!made && !s && !tape && !adam);
            assert_int_equal(failing_live(), live);
            failures[kind]++;
        }
    for (int kind = 0; kind < 4; kind++) assert_true(failures[kind] >= 2);
    failing_set_allocation(1);
    assert_null(stpn_block_create(net));
    failing_reset();
    stpn_net_free(net);
}

static void failed_allocations_are_told(void **state)
{
    (void)state;
    for (int i = 0; i < registered_count(); i++) check_failed_allocations(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_and_passes_allocate_nothing),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests_name("net/step_failures", tests, NULL, NULL);
}
