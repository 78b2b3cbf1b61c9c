/* What the actor-critic refuses: wrong use, options and networks. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "a2c_case.h"
#include "support/texts.h"

static void assert_refused(stpn_status status, const char *words)
{
    assert_input_error(status, &error, words);
}

static void wrong_use_is_refused(void **state)
{
    (void)state;
    agent_case c = agent_case_default();
    c.batch = 40;
    agent g = agent_start(&c);
    world_make(g.w, &c, 0);
    const double *x = g.w->x;
    int32_t *actions = g.w->actions;
    float *r = g.w->rewards;
    a2c_stats stats;
    static const int ranges[][2] = {{0, 15}, {3, 16}, {-16, 16}, {16, 16}, {32, 48}, {0, 41}, {32, 16}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        int first = ranges[i][0], last = ranges[i][1];
        assert_refused(a2c_act(g.a, first, last, x, NULL, ACT_SAMPLE, actions, &error), "whole chunks of 8");
        assert_refused(a2c_record(g.a, first, last, r, NULL, NULL, &error), "whole chunks of 8");
    }
    assert_refused(a2c_update(g.a, NULL, &stats, &error), "no step is recorded");
    assert_refused(a2c_record(g.a, 0, 16, r, NULL, NULL, &error), "is recorded already");
    actions[1] = CASE_ACTIONS;
    assert_refused(a2c_act(g.a, 0, 40, x, NULL, ACT_GIVEN, actions, &error),
                   "the action of copy 1 is 4, expected 0 to 3");
    actions[1] = -1;
    assert_refused(a2c_act(g.a, 0, 40, x, NULL, ACT_GIVEN, actions, &error), "the action of copy 1 is -1");
    assert_int_equal(a2c_act(g.a, 0, 16, x, NULL, ACT_SAMPLE, actions, &error), STPN_OK);
    assert_refused(a2c_act(g.a, 0, 16, x, NULL, ACT_SAMPLE, actions, &error), "is not recorded");
    assert_refused(a2c_update(g.a, NULL, &stats, &error), "no step is recorded");
    assert_int_equal(a2c_record(g.a, 0, 16, r, NULL, NULL, &error), STPN_OK);
    assert_refused(a2c_update(g.a, NULL, &stats, &error), "copy 16 has acted 0 times");
    assert_int_equal(a2c_act(g.a, 16, 40, x, NULL, ACT_SAMPLE, actions, &error), STPN_OK);
    assert_refused(a2c_update(g.a, NULL, &stats, &error), "0 of which are recorded");
    assert_int_equal(a2c_record(g.a, 16, 40, r, NULL, NULL, &error), STPN_OK);
    for (int t = 1; t < c.steps; t++) agent_step(&g, t, 0, 40, ACT_SAMPLE);
    assert_refused(a2c_act(g.a, 0, 40, x, NULL, ACT_SAMPLE, actions, &error), "room for 0 more steps");
    assert_refused(a2c_act(g.a, 0, 40, NULL, NULL, ACT_SAMPLE, actions, &error), "NULL");
    assert_int_equal(a2c_update(g.a, NULL, &stats, &error), STPN_OK);
    agent_end(&g);
}

static stpn_status create_with(stpn_net *net, const a2c_options *options, const learner_plan *plan)
{
    const train_options train = train_option_defaults();
    a2c *a = NULL;
    stpn_status status = a2c_create(&a, net, &train, options, plan, NULL, 0, &error);
    assert_true(status == STPN_OK || !a);
    a2c_free(a);
    return status;
}

static void wrong_learners_are_refused(void **state)
{
    (void)state;
    stpn_net *net = agent_net(STPN_FLOAT, 1);
    const a2c_options options = a2c_option_defaults();
    const learner_plan plan = {.batch = 2, .steps = 3};
    assert_int_equal(create_with(net, &options, &plan), STPN_OK);
    int count;
    const option *table = a2c_option_table(&count);
    assert_int_equal(count, 8);
    for (int i = 0; i < count; i++) {
        a2c_options wrong = options;
        if (table[i].kind == OPTION_NUMBER) option_set_number(&table[i], &wrong, -0.5);
        else option_set_integer(&table[i], &wrong, -1);
        assert_refused(create_with(net, &wrong, &plan), table[i].name);
    }
    a2c_options wrong = options;
    wrong.discount = NAN;
    assert_refused(create_with(net, &wrong, &plan), "discount");
    assert_refused(create_with(net, &options, &(learner_plan){.batch = 0, .steps = 3}), "batch is 0");
    assert_refused(create_with(net, &options, &(learner_plan){.batch = 2, .steps = -1}), "steps is -1");
    stpn_net_free(net);
    static const stpn_head heads[][2] = {
        {{"policy", 2}, {"values", 1}}, {{"readout", 2}, {"value", 1}}, {{"policy", 2}, {"value", 2}}};
    static const char *const words[] = {"no head \"value\"", "no head \"policy\"", "2 outputs, expected 1"};
    for (int i = 0; i < 3; i++) {
        const stpn_unit layer = stpn_unit_default("rnn", 3);
        const stpn_net_desc desc = {.inputs = 2, .units = &layer, .unit_count = 1, .heads = heads[i], .head_count = 2};
        assert_int_equal(stpn_net_create(&net, &desc, NULL), STPN_OK);
        assert_refused(create_with(net, &options, &plan), words[i]);
        stpn_net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_use_is_refused),
        cmocka_unit_test(wrong_learners_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
