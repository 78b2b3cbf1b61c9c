/* What a step costs on digital hardware: counts done by hand, and tables from files. */
#include "train/hardware.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/scratch.h"

static unit_operations count_of(stpn_unit options, int inputs)
{
    stpn_net *net;
    stpn_error error;
    stpn_net_desc desc = {.inputs = inputs, .units = &options, .unit_count = 1};
    assert_int_equal(stpn_net_create(&net, &desc, &error), STPN_OK);
    unit_operations count = hardware_operations(net);
    stpn_net_free(net);
    return count;
}

static void lstm(void **state)
{
    (void)state;
    unit_operations c = count_of(stpn_unit_default("lstm", 9), 37);
    assert_true(c.multiply_accumulates == 36 * 46 + 9); /* gates, and i g + f c */
    assert_true(c.multiplies == 18);                    /* f c, o tanh c */
    assert_true(c.accumulates == 36);                   /* biases */
    assert_true(c.functions == 45);
    assert_true(c.reads == 36 * 46 + 36 + 18);
    assert_true(c.writes == 18);
}

static void stpn(void **state)
{
    (void)state;
    unit_operations c = count_of(stpn_unit_default("stpn_r", 11), 37);
    int synapses = 11 * 48;
    assert_true(c.multiply_accumulates == 3 * synapses); /* G z, G^2, Lambda F + Gamma P */
    assert_true(c.multiplies == 3 * synapses + 11);      /* z h, Lambda F, F / n; u / n */
    assert_true(c.accumulates == synapses + 11);         /* W + F; bias */
    assert_true(c.functions == 33);
    assert_true(c.reads == 4 * synapses + 22);
    assert_true(c.writes == synapses + 11);
    stpn_unit inputs_only = stpn_unit_default("stpn_r", 11);
    inputs_only.plastic = STPN_PLASTIC_INPUT;
    inputs_only.norm = STPN_NORM_NONE;
    inputs_only.granularity = STPN_GRANULARITY_SCALAR;
    c = count_of(inputs_only, 37);
    assert_true(c.multiply_accumulates == synapses + 11 * 37);
    assert_true(c.multiplies == 2 * 11 * 37);
    assert_true(c.accumulates == 11 * 37 + 11);
    assert_true(c.reads == synapses + 11 * 37 + 2 + 22);
}

static void every_unit_counts(void **state)
{
    (void)state;
    for (int i = 0; unit_at(i); i++) {
        unit_operations c = count_of(stpn_unit_default(unit_at(i)->name, 5), 3);
        assert_true(c.multiply_accumulates >= 15);
        assert_true(c.functions >= 5);
        assert_true(c.reads >= 15);
    }
}

static void picojoules(void **state)
{
    (void)state;
    unit_operations c = {10, 20, 30, 40, 50, 60}, again;
    hardware_table table = hardware_default();
    assert_true(fabs(hardware_picojoules(&c, &table) - (10 * 4.6 + 20 * 3.7 + 30 * 0.9)) < 1e-9);
    json_t *object = hardware_to_json(&c, &table);
    assert_true(json_number_value(json_object_get(object, "bytes_read")) == 200);
    assert_true(hardware_from_json(object, &again));
    assert_memory_equal(&c, &again, sizeof c);
    json_object_del(object, "functions");
    assert_false(hardware_from_json(object, &again));
    json_decref(object);
}

static void refuses(const char *text, const char *message)
{
    hardware_table table;
    stpn_error error = {{0}};
    char path[SCRATCH_PATH];
    scratch_write(scratch_path(path, "table.json"), text, strlen(text));
    assert_int_equal(hardware_read(&table, path, &error), STPN_ERROR_INPUT);
    if (!strstr(error.message, message)) fail_msg("\"%s\" lacks \"%s\"", error.message, message);
}

static void tables(void **state)
{
    (void)state;
    hardware_table table;
    stpn_error error = {{0}};
    assert_int_equal(hardware_read(&table, STPN_SOURCE_DIR "/share/energy/45nm-sram.json", &error), STPN_OK);
    assert_string_equal(table.name, "45nm-sram");
    assert_true(table.read == 5);
    assert_int_equal(hardware_read(&table, "/none.json", &error), STPN_ERROR_INPUT);
    refuses("{\"name\": \"a\", \"raed\": 1}", "\"read\"");
    refuses("{\"name\": \"a\", \"read\": -1}", "read is -1");
    refuses("{\"name\": \"a\", \"read\": \"x\"}", "read");
    refuses("{\"read\": 1}", "name");
    refuses("{\"name\": \"a\"", "table.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lstm),       cmocka_unit_test(stpn),   cmocka_unit_test(every_unit_counts),
        cmocka_unit_test(picojoules), cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
