#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "support/scratch.h"
#include "support/small_net.h"

/* A tape is of the parameters that made it: after any call that changes them it goes neither on nor back. */

enum { MOST = 64 };

static const char changed[] = "the parameters have changed since the forward pass on this tape";

static char path[SCRATCH_PATH];

static small_net open_net(void)
{
    small_net b = small_net_open(H, 4 * T, B);
    assert_int_equal(stpn_net_save(b.net, scratch_path(path, "net"), NULL), STPN_OK);
    return b;
}

/* T steps of samples [first, last). */
static stpn_status forward(small_net *b, int first, int last, stpn_error *error)
{
    static const float x[T * B * I] = {1, 0, -1, 0.5F};
    const stpn_sequence q = {.steps = T, .batch = B, .first = first, .last = last, .x = x};
    return stpn_forward(b->net, b->state, &q, NULL, NULL, b->tape, NULL, error);
}

static stpn_status backward(small_net *b, stpn_error *error)
{
    static const float dy[4 * T * B * H] = {1, 1, 1, 1, 1, 1, 1, 1};
    return stpn_backward(b->net, b->tape, dy, NULL, b->grad, NULL, NULL, error);
}

static void by_init(small_net *b)
{
    stpn_net_init(b->net, 2);
}

static void by_load(small_net *b)
{
    assert_int_equal(stpn_net_load(b->net, path, NULL), STPN_OK);
}

static void by_set(small_net *b)
{
    static const float values[MOST] = {0};
    stpn_block_set(b->net, stpn_net_parameters(b->net), 0, values);
}

static void by_adam(small_net *b)
{
    stpn_adam_update(b->adam, b->net, b->grad);
}

static void a_tape_of_other_parameters_is_refused(void **state)
{
    (void)state;
    static void (*const ways[])(small_net *) = {by_init, by_load, by_set, by_adam};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        small_net b = open_net();
        stpn_error error;
        assert_int_equal(forward(&b, 0, B, &error), STPN_OK);
        ways[i](&b);
        float before[MOST], after[MOST];
        stpn_block_get(b.net, b.grad, 0, before);
        assert_int_equal(backward(&b, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, changed);
        stpn_block_get(b.net, b.grad, 0, after);
        assert_memory_equal(before, after, sizeof(float) * H * (I + H));
        assert_int_equal(forward(&b, 0, B, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, changed);
        for (int sample = 0; sample < B; sample++) assert_int_equal(stpn_tape_steps(b.tape, sample), T);
        /* The tape anew. */
        stpn_tape_rewind(b.tape);
        assert_int_equal(forward(&b, 0, B, &error), STPN_OK);
        assert_int_equal(forward(&b, 0, B, &error), STPN_OK);
        assert_int_equal(backward(&b, &error), STPN_OK);
        assert_int_equal(backward(&b, &error), STPN_OK);
        small_net_close(&b);
    }
}

static void so_are_samples_that_began_before_the_others(void **state)
{
    (void)state;
    small_net b = open_net();
    stpn_error error;
    assert_int_equal(forward(&b, 0, 1, &error), STPN_OK);
    stpn_net_init(b.net, 2);
    assert_int_equal(forward(&b, 1, 2, &error), STPN_OK); // of its own parameters
    assert_int_equal(backward(&b, &error), STPN_ERROR_INPUT);
    assert_string_equal(error.message, changed);
    small_net_close(&b);
}

static void what_changes_no_unit_leaves_a_tape_as_it_is(void **state)
{
    (void)state;
    small_net b = open_net();
    stpn_error error;
    static const float values[MOST] = {0};
    assert_int_equal(forward(&b, 0, B, &error), STPN_OK);
    stpn_tensor tensor;
    int last = 0;
    while (stpn_net_tensor(b.net, last + 1, &tensor)) last++;
    assert_int_equal(stpn_net_tensor(b.net, last, &tensor), 1);
    assert_string_equal(tensor.name, "answer.bias");
    stpn_block_set(b.net, stpn_net_parameters(b.net), last, values);
    stpn_block_set(b.net, stpn_net_parameters(b.net), last - 1, values);
    stpn_block_set(b.net, b.grad, 0, values);
    assert_int_equal(stpn_net_load(b.net, "/no/such/file", &error), STPN_ERROR_INPUT);
    assert_int_equal(forward(&b, 0, B, &error), STPN_OK);
    assert_int_equal(backward(&b, &error), STPN_OK);
    small_net_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tape_of_other_parameters_is_refused),
        cmocka_unit_test(so_are_samples_that_began_before_the_others),
        cmocka_unit_test(what_changes_no_unit_leaves_a_tape_as_it_is),
    };
    return cmocka_run_group_tests_name("net/changed", tests, scratch_make, scratch_remove);
}
