/* A walk against stpn_forward over all it saw, and its strongest changes and their sources against a search of all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/play_walk.h"

enum { STEPS = 25, INPUTS = 17, ACTIONS = 4, LIST = 5 };

static run opened(const char *units)
{
    char text[1024];
    experiment e;
    run r;
    stpn_error error;
    snprintf(text, sizeof text,
             "{\"name\": \"small\", \"task\": {\"name\": \"maze\", \"size\": 5, \"steps\": %d},"
             " \"units\": [%s], \"train\": {\"method\": \"a2c\", \"batch\": 1}}",
             STEPS, units);
    if (experiment_parse(&e, "small", text, strlen(text), NULL, 0, NULL, &error)) fail_msg("%s", error.message);
    if (run_open(&r, &e, 1, NULL, &error)) fail_msg("%s", error.message);
    return r;
}

static void assert_near(float a, float b)
{
    if (fabsf(a - b) > 1e-6F * fmaxf(1, fabsf(b))) fail_msg("%g and %g", (double)a, (double)b);
}

/* What the heads say of outputs y. */
static void check_heads(const run *r, const walk *w, const float *y)
{
    float logits[ACTIONS], value, sum = 0;
    stpn_head_forward(r->net, 0, 1, y, logits);
    stpn_head_forward(r->net, 1, 1, y, &value);
    for (int a = 0; a < ACTIONS; a++) sum += expf(logits[a]);
    for (int a = 0; a < ACTIONS; a++) assert_near(w->policy[a], expf(logits[a]) / sum);
    assert_near(w->value, value);
}

static void check_changes(const walk *w)
{
    walk_change list[LIST];
    int count = walk_changes(w, LIST, list), changed = 0, larger = 0;
    for (int i = 0; i < count; i++) {
        const walk_synapses *s = &w->synapses[list[i].synapses];
        size_t at = (size_t)list[i].row * (size_t)s->columns + (size_t)list[i].column;
        assert_true(list[i].before == s->before[at] && list[i].after == s->after[at]);
        if (i) assert_true(fabsf(list[i].after - list[i].before) <= fabsf(list[i - 1].after - list[i - 1].before));
    }
    float least = count ? fabsf(list[count - 1].after - list[count - 1].before) : 0;
    for (int k = 0; k < w->synapses_count; k++) {
        const walk_synapses *s = &w->synapses[k];
        for (int at = 0; at < s->rows * s->columns; at++) {
            changed += s->after[at] != s->before[at];
            larger += fabsf(s->after[at] - s->before[at]) > least;
        }
    }
    assert_int_equal(count, changed < LIST ? changed : LIST);
    assert_true(count == 0 || larger < count);
    /* An output that comes back is 0 before the first step. */
    assert_true(count || !w->synapses_count || w->step == 1);
}

/* The states before and after a step are those of a forward pass that has gone so far. */
static void check_states(const walk *w, const stpn_state *before, const stpn_state *after)
{
    for (int k = 0; k < w->synapses_count; k++) {
        const walk_synapses *s = &w->synapses[k];
        size_t count = (size_t)s->rows * (size_t)s->columns;
        float *expected = malloc(count * sizeof *expected);
        stpn_state_get(before, s->index, expected);
        assert_memory_equal(expected, s->before, count * sizeof *expected);
        stpn_state_get(after, s->index, expected);
        assert_memory_equal(expected, s->after, count * sizeof *expected);
        free(expected);
    }
}

static void walk_through(const char *units, int synapses)
{
    run r = opened(units);
    walk w;
    stpn_state *before, *after;
    stpn_error error;
    float x[INPUTS], y[64];
    assert_int_equal(walk_open(&w, &r, 9, 0, &error), STPN_OK);
    assert_int_equal(w.synapses_count, synapses);
    assert_int_equal(stpn_state_create(&before, r.net, 1, &error), STPN_OK);
    assert_int_equal(stpn_state_create(&after, r.net, 1, &error), STPN_OK);
    for (int twice = 0; twice < 2; twice++) {
        stpn_state_zero(after);
        for (int t = 0; t < STEPS; t++) {
            const stpn_sequence q = {.steps = 1, .batch = 1, .type = STPN_INPUT_FLOAT, .x = x};
            memcpy(x, w.x, sizeof x);
            assert_near(x[11], (float)t / STEPS);
            stpn_state_copy(before, after);
            assert_int_equal(stpn_forward(r.net, after, &q, y, NULL, NULL, NULL, &error), STPN_OK);
            assert_int_equal(walk_step(&w, &error), STPN_OK);
            assert_int_equal(w.step, t + 1);
            check_heads(&r, &w, y);
            check_states(&w, before, after);
            check_changes(&w);
            assert_true(w.x[13 + w.action] == 1);
            assert_true(w.x[12] == w.reward);
        }
        assert_int_equal(walk_start(&w, &error), STPN_OK);
        assert_int_equal(w.step, 0);
        assert_true(w.total == 0 && w.goals == 0);
    }
    stpn_state_free(before);
    stpn_state_free(after);
    walk_close(&w);
    run_close(&r);
}

static void every_step_is_one_of_a_forward_pass(void **state)
{
    (void)state;
    walk_through("{\"name\": \"stpn_r\", \"hidden\": 9, \"norm\": \"post\", \"clamp\": 1}", 1);
    walk_through("{\"name\": \"stpn_f\", \"hidden\": 5}", 1);
    walk_through("{\"name\": \"modul\", \"hidden\": 6}", 2);
    walk_through("{\"name\": \"stpn_r\", \"hidden\": 3}, {\"name\": \"hebbff\", \"hidden\": 4}", 2);
    walk_through("{\"name\": \"lstm\", \"hidden\": 6}", 0);
}

static void assert_source(const walk *w, int synapses, int column, const char *expected)
{
    char text[64];
    walk_source(w, &w->synapses[synapses], column, text, sizeof text);
    assert_string_equal(text, expected);
}

static void sources_in_words(void **state)
{
    (void)state;
    stpn_error error;
    walk w;
    /* The second layer has as many inputs as neurons: whether it is recurrent decides what its columns are. */
    run r = opened("{\"name\": \"stpn_r\", \"hidden\": 4}, {\"name\": \"plastic\", \"hidden\": 4},"
                   "{\"name\": \"stpn_f\", \"hidden\": 4}");
    assert_int_equal(walk_open(&w, &r, 0, 0, &error), STPN_OK);
    assert_int_equal(w.synapses_count, 3);
    assert_source(&w, 0, 0, "wall above left");
    assert_source(&w, 0, 1, "wall above");
    assert_source(&w, 0, 3, "wall left");
    assert_source(&w, 0, 8, "wall below right");
    assert_source(&w, 0, 12, "reward");
    assert_source(&w, 0, 15, "chose left");
    assert_source(&w, 0, 16, "chose right");
    assert_source(&w, 0, 17, "neuron 0");
    assert_source(&w, 0, 20, "neuron 3");
    assert_source(&w, 1, 2, "neuron 2");
    assert_source(&w, 2, 2, "units.1 neuron 2");
    walk_close(&w);
    run_close(&r);
}

static void what_is_not_finite_is_an_error(void **state)
{
    (void)state;
    stpn_error error;
    walk w;
    run r = opened("{\"name\": \"rnn\", \"hidden\": 4}");
    float bias[ACTIONS] = {0, NAN, 0, 0};
    stpn_tensor tensor;
    int index = 0;
    while (stpn_net_tensor(r.net, index, &tensor) && strcmp(tensor.name, "policy.bias") != 0) index++;
    stpn_block_set(r.net, stpn_net_parameters(r.net), index, bias);
    assert_int_equal(walk_open(&w, &r, 0, 0, &error), STPN_OK);
    assert_int_equal(walk_step(&w, &error), STPN_ERROR_NUMERIC);
    assert_non_null(strstr(error.message, "step 1"));
    walk_close(&w);
    run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_one_of_a_forward_pass),
        cmocka_unit_test(sources_in_words),
        cmocka_unit_test(what_is_not_finite_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
