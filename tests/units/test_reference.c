#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/safetensors.h"
#include "support/outcome.h"

#include <stdio.h>
#include <string.h>

/* The references that the units are tested against, against the golden files, which were computed elsewhere: outputs,
 * energy, final states, and gradients by the differences that the tests take. */

typedef struct golden {
    const char *file, *unit;
    int inner_steps;
    stpn_trace trace;
    stpn_modulation modulation;
} golden;

static const golden files[] = {
    {.file = "rnn", .unit = "rnn"},
    {.file = "lstm", .unit = "lstm"},
    {.file = "gru", .unit = "gru"},
    {.file = "mlp", .unit = "mlp"},
    {.file = "hebbff", .unit = "hebbff"},
    {.file = "fast_weights", .unit = "fast_weights", .inner_steps = 1},
    {.file = "fast_weights-3", .unit = "fast_weights", .inner_steps = 3},
    {.file = "plastic-clip", .unit = "plastic", .trace = STPN_TRACE_CLIP},
    {.file = "plastic-soft", .unit = "plastic", .trace = STPN_TRACE_SOFT},
    {.file = "plastic-add", .unit = "plastic", .trace = STPN_TRACE_ADD},
    {.file = "plastic-decay", .unit = "plastic", .trace = STPN_TRACE_DECAY},
    {.file = "modplast-clip", .unit = "modplast", .trace = STPN_TRACE_CLIP},
    {.file = "modplast-soft-sigmoid",
     .unit = "modplast",
     .trace = STPN_TRACE_SOFT,
     .modulation = STPN_MODULATION_SIGMOID},
    {.file = "modul-clip", .unit = "modul", .trace = STPN_TRACE_CLIP},
};

/* Values of tensor "PREFIX" + what follows "units.0." in the name. */
static const double *find(const tensor_file *file, const char *prefix, const tensor *t)
{
    char name[64];
    const char *own = strncmp(t->name, "units.0.", 8) == 0 ? t->name + 8 : t->name;
    snprintf(name, sizeof name, "%s%s", prefix, own);
    const tensor_entry *entry = NULL;
    for (int i = 0; (entry = tensor_file_entry(file, i)); i++)
        if (strcmp(entry->name, name) == 0) break;
    if (!entry) fail_msg("no tensor %s", name);
    assert_int_equal(entry->count, t->count);
    return (const double *)entry->data;
}

static void take(const tensor_file *file, const char *prefix, tensor *t)
{
    memcpy(t->values, find(file, prefix, t), t->count * sizeof *t->values);
}

static void compare(const tensor_file *file, const char *prefix, const tensor *t, const golden *g, double tolerance)
{
    tensor expected = *t;
    shelf own = {0};
    expected = tensor_copy(&own, t);
    take(file, prefix, &expected);
    double error = tensor_error(t, &expected);
    if (!(error <= tolerance)) fail_msg("%s: %s%s is off by %g", g->file, prefix, t->name, error);
    shelf_clear(&own);
}

static void references_give_the_golden_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const golden *g = &files[i];
        char path[1024];
        snprintf(path, sizeof path, "%s/tests/golden/%s.safetensors", STPN_SOURCE_DIR, g->file);
        tensor_file *file;
        assert_int_equal(tensor_file_read(&file, path, NULL), STPN_OK);
        problem_plan plan = {.unit_count = 1, .inputs = 5, .steps = 6, .batch = 3, .started = 1, .rough = 1};
        plan.units[0] = (stpn_unit){.name = g->unit,
                                    .hidden = 4,
                                    .inner_steps = g->inner_steps,
                                    .trace = g->trace,
                                    .modulation = g->modulation};
        problem p;
        outcome o;
        problem_make(&p, &plan, 1);
        p.plan.units[0].lambda = 0.9;
        p.plan.units[0].eta = 0.5;
        for (int k = 0; k < p.parameter_count; k++) take(file, "param.", &p.parameters[k]);
        for (int k = 0; k < p.state_count; k++) take(file, "state0.", &p.states[k]);
        for (int k = 0; k < p.state_count; k++) take(file, "dstateT.", &p.dstates[k]);
        take(file, "", &p.x);
        take(file, "", &p.dy);
        reference_gradient(&p, &o);
        compare(file, "", &o.y, g, 1e-13);
        compare(file, "", &o.energy, g, 1e-13);
        for (int k = 0; k < p.state_count; k++) compare(file, "stateT.", &o.states[k], g, 1e-13);
        for (int k = 0; k < p.parameter_count; k++) compare(file, "grad.param.", &o.dparameters[k], g, 1e-8);
        for (int k = 0; k < p.state_count; k++) compare(file, "grad.state0.", &o.dstates[k], g, 1e-8);
        compare(file, "grad.", &o.dx, g, 1e-8);
        outcome_free(&o);
        problem_free(&p);
        tensor_file_free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(references_give_the_golden_values)};
    return cmocka_run_group_tests_name("units/reference", tests, NULL, NULL);
}
