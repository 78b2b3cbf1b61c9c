#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stpn/stpn.h>
#include <string.h>

/* What a program that knows no unit by itself learns of them. */

static void units_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"stpn_r",       "stpn_f",  "rnn",      "lstm",  "gru",   "mlp",
                                        "fast_weights", "plastic", "modplast", "modul", "hebbff"};
    int count = sizeof names / sizeof *names;
    for (int i = 0; i < count; i++) assert_string_equal(stpn_unit_name(i), names[i]);
    assert_null(stpn_unit_name(count));
    assert_null(stpn_unit_name(-1));
}

static void options_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *unit, *options;
    } expected[] = {
        {"stpn_r", "hidden norm clamp plastic granularity learn lambda gamma rule decay activation layer_norm bias "
                   "presynaptic "},
        {"stpn_f", "hidden norm clamp plastic granularity learn lambda gamma rule decay activation layer_norm bias "
                   "presynaptic "},
        {"rnn", "hidden init "},
        {"gru", "hidden "},
        {"fast_weights", "hidden lambda eta inner_steps "},
        {"modul", "hidden trace modulation "},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char found[256] = "";
        size_t used = 0;
        const char *name;
        for (int index = 0; (name = stpn_unit_option(expected[i].unit, index)); index++)
            used += (size_t)snprintf(found + used, sizeof found - used, "%s ", name);
        assert_string_equal(found, expected[i].options);
        assert_null(stpn_unit_option(expected[i].unit, -1));
    }
    assert_null(stpn_unit_option("stpn", 0));
    assert_null(stpn_unit_option(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_by_name),
        cmocka_unit_test(options_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
