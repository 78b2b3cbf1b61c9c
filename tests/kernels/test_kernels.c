#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* Which kernels there are and which one a net takes. */

static stpn_status make(stpn_real real, stpn_net **net, stpn_error *error)
{
    stpn_unit unit = stpn_unit_default("stpn_r", 3);
    stpn_net_desc desc = {.real = real, .inputs = 2, .units = &unit, .unit_count = 1};
    return stpn_net_create(net, &desc, error);
}

static void names_are_known_and_different(void **state)
{
    (void)state;
    static const char *const known[] = {"portable", "avx2", "avx512", "neon"};
    int count = 0;
    for (; stpn_kernel_name(count); count++) {
        int found = 0;
        for (int i = 0; i < 4; i++) found += strcmp(stpn_kernel_name(count), known[i]) == 0;
        assert_int_equal(found, 1);
        for (int i = 0; i < count; i++) assert_string_not_equal(stpn_kernel_name(i), stpn_kernel_name(count));
    }
    assert_in_range(count, 1, 3);
    assert_string_equal(stpn_kernel_name(count - 1), "portable"); // the last resort
    assert_null(stpn_kernel_name(count + 1));
    assert_null(stpn_kernel_name(-1));
}

/* Widest first. */
static void the_best_one_comes_first(void **state)
{
    (void)state;
#if defined(__x86_64__)
    int index = 0;
    if (stpn_kernel_name(index) && strcmp(stpn_kernel_name(index), "avx512") == 0) {
        assert_true(__builtin_cpu_supports("avx512f"));
        index++;
    }
    if (stpn_kernel_name(index) && strcmp(stpn_kernel_name(index), "avx2") == 0) {
        assert_true(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
        index++;
    }
    assert_string_equal(stpn_kernel_name(index), "portable");
#endif
}

static void tables_are_whole(void **state)
{
    (void)state;
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
        for (int k = 0; stpn_kernel_name(k); k++) {
            const kernel_table *table = kernel_at((stpn_real)real, k);
            assert_non_null(table);
            assert_string_equal(table->name, stpn_kernel_name(k)); // one list for both types
            assert_int_equal(table->real, real);
            assert_int_equal(table->size, real == STPN_DOUBLE ? sizeof(double) : sizeof(float));
            assert_int_equal((size_t)table->lanes * table->size, PANEL_BYTES);
        }
}

static void a_net_takes_the_first_or_the_forced_one(void **state)
{
    (void)state;
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++)
        for (int k = -2; k < 0 || stpn_kernel_name(k); k++) {
            stpn_net *net = NULL;
            stpn_error error;
            if (k == -2) assert_int_equal(unsetenv("STPN_KERNEL"), 0);
            else assert_int_equal(setenv("STPN_KERNEL", k < 0 ? "" : stpn_kernel_name(k), 1), 0);
            assert_int_equal(make((stpn_real)real, &net, &error), STPN_OK);
            assert_string_equal(stpn_net_kernel(net), stpn_kernel_name(k < 0 ? 0 : k));
            stpn_net_free(net);
        }
}

/* The choice is made when the net is, and stays. */
static void a_net_keeps_its_kernel(void **state)
{
    (void)state;
    stpn_net *net = NULL;
    assert_int_equal(setenv("STPN_KERNEL", "portable", 1), 0);
    assert_int_equal(make(STPN_FLOAT, &net, NULL), STPN_OK);
    assert_int_equal(setenv("STPN_KERNEL", "no such kernel", 1), 0);
    assert_string_equal(stpn_net_kernel(net), "portable");
    stpn_state *s = NULL;
    assert_int_equal(stpn_state_create(&s, net, 1, NULL), STPN_OK);
    float x[2] = {1, 2}, y[3];
    stpn_step(net, s, x, y);
    stpn_state_free(s);
    stpn_net_free(net);
}

static void an_unknown_one_is_refused_with_the_known_ones(void **state)
{
    (void)state;
    static const char *const unknown[] = {"sse9", "AVX2", "portable ", "neon,portable"};
    char known[128] = "";
    for (int i = 0; stpn_kernel_name(i); i++) strcat(strcat(known, i ? ", " : ""), stpn_kernel_name(i));
    for (int i = 0; i < 4; i++) {
        stpn_net *net = (stpn_net *)(uintptr_t)1;
        stpn_error error;
        char expected[256];
        assert_int_equal(setenv("STPN_KERNEL", unknown[i], 1), 0);
        snprintf(expected, sizeof expected, "STPN_KERNEL is \"%s\", expected one that this processor runs: %s",
                 unknown[i], known);
        assert_int_equal(make(STPN_FLOAT, &net, &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, expected);
        assert_null(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_known_and_different),
        cmocka_unit_test(the_best_one_comes_first),
        cmocka_unit_test(tables_are_whole),
        cmocka_unit_test(a_net_takes_the_first_or_the_forced_one),
        cmocka_unit_test(a_net_keeps_its_kernel),
        cmocka_unit_test(an_unknown_one_is_refused_with_the_known_ones),
    };
    return cmocka_run_group_tests_name("kernels/kernels", tests, NULL, NULL);
}
