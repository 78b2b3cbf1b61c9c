/* Experiment files whose task is an environment: every key, its default, and what is wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "train/experiment.h"

static stpn_error error;

/* The text with double quotes, in a buffer. */
static stpn_status parse(experiment *e, const char *text, const char *set)
{
    char quoted[2048];
    const char *const settings[] = {set};
    size_t length = strlen(text);
    assert_true(length < sizeof quoted);
    for (size_t i = 0; i <= length; i++) quoted[i] = text[i] == '\'' ? '"' : text[i];
    return experiment_parse(e, "a.json", quoted, length, settings, set != NULL, NULL, &error);
}

static experiment parsed(const char *text, const char *set)
{
    experiment e;
    if (parse(&e, text, set)) fail_msg("%s", error.message);
    return e;
}

#define LEAST "{'name': 'n', 'task': {'name': 'maze'}, 'units': [{'name': 'stpn_r', 'hidden': 7}]}"

static void every_key_has_its_default(void **state)
{
    (void)state;
    experiment e = parsed(LEAST, NULL);
    assert_null(e.task);
    assert_ptr_equal(e.env, &env_maze);
    assert_int_equal(e.env_options.size, 13);
    assert_int_equal(e.env_options.steps, 200);
    assert_true(e.env_options.reward == 10 && e.env_options.wall_penalty == 0 && e.env_options.start == 0);
    assert_int_equal(e.env_shape.actions, 4);
    assert_int_equal(e.shape.inputs, 17);
    assert_int_equal(e.shape.steps, 200);
    assert_int_equal(e.train.method, METHOD_A2C);
    assert_int_equal(e.train.iterations, 50000);
    assert_int_equal(e.train.batch, 128);
    assert_int_equal(e.train.evaluate_every, 1);
    assert_int_equal(e.train.test_iterations, 100);
    const a2c_options *a = &e.a2c;
    assert_true(a->discount == 0.9 && a->lambda == 1 && a->value_weight == 0.1 && a->concentration_weight == 0.03);
    assert_true(a->entropy_weight == 0 && a->reduction == A2C_MEAN && a->baseline == A2C_OWN && a->burn_in == 101);
    experiment_free(&e);
}

#define FULL                                                                                                           \
    "{'name': 'n', 'seed': 3, 'version': '" STPN_VERSION "',"                                                          \
    " 'task': {'name': 'maze', 'size': 9, 'steps': 11, 'reward': 1.5, 'wall_penalty': 0.25, 'start': 'random'},"       \
    " 'units': [{'name': 'lstm', 'hidden': 7}],"                                                                       \
    " 'train': {'method': 'a2c', 'iterations': 12, 'batch': 13, 'learning_rate': 0.125, 'beta1': 0.5, 'beta2': 0.75,"  \
    " 'epsilon': 0.5, 'weight_decay': 0.0625, 'schedule': 'cosine', 'warmup': 14, 'final_rate': 0.25,"                 \
    " 'clip_value': 15.0, 'clip_norm': 16.0, 'patience': 17, 'evaluate_every': 18, 'test_iterations': 19,"             \
    " 'test_greedy': true,"                                                                                            \
    " 'discount': 0.875, 'lambda': 0.375, 'value_weight': 20.0, 'concentration_weight': 21.0, 'entropy_weight': 22.0," \
    " 'reduction': 'steps', 'baseline': 'shared', 'burn_in': 23}}"

static void every_key_goes_to_its_field(void **state)
{
    (void)state;
    experiment e = parsed(FULL, NULL);
    assert_int_equal(e.env_options.size, 9);
    assert_int_equal(e.env_options.steps, 11);
    assert_true(e.env_options.reward == 1.5 && e.env_options.wall_penalty == 0.25 && e.env_options.start == 1);
    assert_int_equal(e.shape.steps, 11);
    assert_int_equal(e.train.iterations, 12);
    assert_int_equal(e.train.batch, 13);
    assert_int_equal(e.train.evaluate_every, 18);
    assert_int_equal(e.train.test_iterations, 19);
    assert_int_equal(e.train.test_greedy, 1);
    const a2c_options *a = &e.a2c;
    assert_true(a->discount == 0.875 && a->lambda == 0.375 && a->value_weight == 20 && a->concentration_weight == 21);
    assert_true(a->entropy_weight == 22 && a->reduction == A2C_STEPS && a->baseline == A2C_SHARED && a->burn_in == 23);
    experiment_free(&e);
}

/* All keys that have an effect, and no other: the file that names each of them is its own resolved document. */
static void the_resolved_document_says_everything(void **state)
{
    (void)state;
    char place[128];
    experiment e = parsed(FULL, NULL);
    char *text = json_dumps(e.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    experiment again = parsed(text, NULL);
    if (json_difference(e.resolved, again.resolved, place, sizeof place)) fail_msg("differs at %s", place);
    const json_t *train = json_object_get(e.resolved, "train");
    assert_int_equal(json_object_size(train), 25);
    assert_null(json_object_get(train, "epochs"));
    assert_null(json_object_get(train, "step_every"));
    assert_int_equal(json_object_size(json_object_get(e.resolved, "task")), 6);
    free(text);
    experiment_free(&again);
    experiment_free(&e);
}

static void the_network_has_two_heads(void **state)
{
    (void)state;
    experiment e = parsed(LEAST, NULL);
    stpn_net *net;
    stpn_tensor tensor;
    assert_int_equal(experiment_net(&net, &e, STPN_FLOAT, &error), STPN_OK);
    static const struct {
        const char *name;
        int rows;
    } heads[] = {{"policy.weight", 4}, {"policy.bias", 4}, {"value.weight", 1}, {"value.bias", 1}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int found = 0;
        for (int t = 0; stpn_net_tensor(net, t, &tensor) && !found; t++)
            found = strcmp(tensor.name, heads[i].name) == 0 && tensor.shape[0] == heads[i].rows;
        if (!found) fail_msg("%s is missing", heads[i].name);
    }
    assert_int_equal(stpn_net_parameter_count(net), 7 * 24 * 3 + 7 + 5 * 7 + 5);
    stpn_net_free(net);
    experiment_free(&e);
}

#define UNITS "'units': [{'name': 'stpn_r', 'hidden': 7}]"
#define WITH_TRAIN(train) "{'name': 'n', 'task': {'name': 'maze'}, " UNITS ", 'train': " train "}"
#define WITH_TASK(task) "{'name': 'n', 'task': {'name': 'maze', " task "}, " UNITS "}"
#define OF_DATA(train) "{'name': 'n', 'task': {'name': 'retrieval'}, " UNITS ", 'train': " train "}"

/* Its scale is for an encoder, and left out where a unit takes the bytes. */
static void images_need_no_encoder(void **state)
{
    (void)state;
    experiment e =
        parsed("{'name': 'n', 'task': {'name': 'pong'}, " UNITS ", 'train': {'method': 'ppo', 'rollout': 8}}", NULL);
    stpn_net *net;
    if (experiment_net(&net, &e, STPN_FLOAT, &error)) fail_msg("%s", error.message);
    stpn_net_free(net);
    experiment_free(&e);
}

static void every_error_says_what_and_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {WITH_TASK("'sise': 5"), "task.sise is not a known key; the nearest is \"size\""},
        {WITH_TASK("'size': 6"), "task.size is 6, expected an odd number"},
        {WITH_TASK("'size': 3"), "task.size is 3, expected an integer from 5 to 99"},
        {WITH_TASK("'pairs': 3"), "task.pairs is not a known key"},
        {WITH_TASK("'start': 'middle'"), "task.start is \"middle\", expected one of centre|random"},
        {WITH_TRAIN("{'discont': 1}"), "train.discont is not a known key; the nearest is \"discount\""},
        {WITH_TRAIN("{'epoch': 1}"), "train.epoch is not a known key; the nearest is \"epochs\""},
        {WITH_TRAIN("{'discount': 1.5}"), "train.discount is 1.5, expected a number from 0 to 1"},
        {WITH_TRAIN("{'burn_in': -1}"), "train.burn_in is -1, expected an integer from 0 to 1000000000"},
        {WITH_TRAIN("{'baseline': 'mine'}"), "train.baseline is \"mine\", expected one of own|shared"},
        {WITH_TRAIN("{'iterations': 0}"), "train.iterations is 0, expected an integer from 1 to 1000000000"},
        {WITH_TRAIN("{'test_iterations': 0}"), "train.test_iterations is 0, expected an integer from 1 to 1000000"},
        {WITH_TRAIN("{'epochs': 3}"), "train.epochs has no effect with this train.method"},
        {WITH_TRAIN("{'truncate': 3}"), "train.truncate has no effect with this train.method"},
        {WITH_TRAIN("{'shuffle': false}"), "train.shuffle has no effect with this train.method"},
        {WITH_TRAIN("{'final_rate': 0}"), "train.final_rate has no effect with this train.schedule"},
        {WITH_TRAIN("{'method': 'supervised'}"),
         "train.method is \"supervised\", expected \"a2c\" or \"ppo\" with task maze"},
        {OF_DATA("{'method': 'a2c'}"), "train.method is \"a2c\", expected \"supervised\" with task retrieval"},
        {OF_DATA("{'iterations': 3}"), "train.iterations has no effect with this train.method"},
        {OF_DATA("{'test_iterations': 3}"), "train.test_iterations has no effect with this train.method"},
        {OF_DATA("{'lambda': 1}"), "train.lambda has no effect with this train.method"},
        {"{'name': 'n', 'task': {'name': 'pong'}, " UNITS
         ", 'train': {'method': 'ppo', 'batch': 2, 'normalise_observations': true}}",
         "train.normalise_observations is true, expected false with task pong, which shows bytes"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        experiment e;
        char expected[256];
        snprintf(expected, sizeof expected, "a.json: %s", wrong[i].message);
        assert_int_equal(parse(&e, wrong[i].text, NULL), STPN_ERROR_INPUT);
        if (strncmp(error.message, expected, strlen(expected)) != 0)
            fail_msg("%s: \"%s\", expected \"%s\"", wrong[i].text, error.message, expected);
        assert_true(!e.name && !e.units && !e.resolved);
    }
}

static void settings_reach_both_tables(void **state)
{
    (void)state;
    experiment e = parsed(LEAST, "train.entropy_weight=0.5");
    assert_true(e.a2c.entropy_weight == 0.5);
    experiment_free(&e);
    e = parsed(LEAST, "train.iterations=9");
    assert_int_equal(e.train.iterations, 9);
    experiment_free(&e);
    e = parsed(LEAST, "task.wall_penalty=0.5");
    assert_true(e.env_options.wall_penalty == 0.5);
    experiment_free(&e);
}

static void the_tables_are_public(void **state)
{
    (void)state;
    int count;
    const option *rows = a2c_option_table(&count);
    const a2c_options defaults = a2c_option_defaults();
    assert_int_equal(options_check(rows, count, &defaults, "train", &error), STPN_OK);
    for (int i = 0; i < count; i++) assert_true(rows[i].help && *rows[i].help);
    /* Keys of the two tables are different ones. */
    int others;
    const option *train = train_option_table(&others);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < others; k++) assert_string_not_equal(rows[i].name, train[k].name);
}

#define PPO                                                                                                     \
    "{'name': 'n', 'task': {'name': 'pendulum', 'steps': 11, 'noise': 0.0625, 'mask': [3, 2]},"                 \
    " 'units': [{'name': 'lstm', 'hidden': 7}],"                                                                \
    " 'train': {'method': 'ppo', 'steps': 1000, 'batch': 13, 'rollout': 12, 'passes': 3, 'sequence': 4,"        \
    " 'minibatch': 5, 'discount': 0.875, 'lambda': 0.375, 'clip': 0.5, 'value_weight': 6.0, 'value_clip': 7.0," \
    " 'entropy_weight': 8.0, 'kl_weight': 9.0, 'kl_target': 10.0, 'normalise_advantages': false,"               \
    " 'normalise_observations': true, 'normalise_rewards': true, 'test_greedy': false}}"

/* A build without MuJoCo reads it too. */
static void every_key_of_ppo_goes_to_its_field(void **state)
{
    (void)state;
    experiment e = parsed("{'name': 'n', 'task': {'name': 'pendulum'}, 'units': [{'name': 'rnn', 'hidden': 7}]}", NULL);
    const ppo_options *p = &e.ppo;
    assert_int_equal(e.train.method, METHOD_PPO);
    assert_int_equal(e.train.steps, 1000000);
    assert_true(e.train.rollout == 2048 && p->passes == 10 && p->sequence == 20 && p->minibatch == 64);
    assert_true(p->discount == 0.99 && p->lambda == 0.95 && p->clip == 0.2 && p->value_weight == 1);
    assert_true(p->entropy_weight == 0.01 && p->kl_weight == 0 && p->kl_target == 0.01 && p->value_clip == 0);
    assert_true(p->normalise_advantages && !p->normalise_observations && !p->normalise_rewards && e.train.test_greedy);
    assert_true(e.env_options.noise == 0.01 && e.env_options.steps == 1000 && e.env_options.mask.count == 0);
    experiment_free(&e);
    e = parsed(PPO, NULL);
    assert_true(e.env_options.noise == 0.0625 && e.env_options.steps == 11);
    assert_true(e.env_options.mask.count == 2 && e.env_options.mask.values[0] == 3 &&
                e.env_options.mask.values[1] == 2);
    assert_true(e.train.rollout == 12 && p->passes == 3 && p->sequence == 4 && p->minibatch == 5);
    assert_true(p->discount == 0.875 && p->lambda == 0.375 && p->clip == 0.5 && p->value_weight == 6);
    assert_true(p->value_clip == 7 && p->entropy_weight == 8 && p->kl_weight == 9 && p->kl_target == 10);
    assert_true(!p->normalise_advantages && p->normalise_observations && p->normalise_rewards && !e.train.test_greedy);
    /* 13 copies of 12 steps each: 156 an iteration. */
    assert_int_equal(e.train.iterations, 7);
    experiment_free(&e);
    e = parsed(PPO, "train.steps=936");
    assert_int_equal(e.train.iterations, 6);
    stpn_net *net;
    assert_int_equal(experiment_net(&net, &e, STPN_FLOAT, &error), STPN_OK);
    assert_int_equal(net->heads[0].outputs, 2);
    stpn_net_free(net);
    /* Written and read again it is the same. */
    char *text = json_dumps(e.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    experiment again;
    assert_int_equal(experiment_parse(&again, "b.json", text, strlen(text), NULL, 0, NULL, &error), STPN_OK);
    assert_true(json_equal(e.resolved, again.resolved));
    free(text);
    experiment_free(&again);
    experiment_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_ppo_goes_to_its_field),
        cmocka_unit_test(every_key_has_its_default),
        cmocka_unit_test(every_key_goes_to_its_field),
        cmocka_unit_test(the_resolved_document_says_everything),
        cmocka_unit_test(the_network_has_two_heads),
        cmocka_unit_test(images_need_no_encoder),
        cmocka_unit_test(every_error_says_what_and_where),
        cmocka_unit_test(settings_reach_both_tables),
        cmocka_unit_test(the_tables_are_public),
    };
    return cmocka_run_group_tests_name("train/experiment_env", tests, NULL, NULL);
}
