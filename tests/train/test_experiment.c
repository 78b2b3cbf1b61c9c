#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "support/scratch.h"
#include "support/texts.h"
#include "train/experiment.h"

static stpn_error error;

static stpn_status parse(experiment *e, const char *text, const char *set, const uint64_t *seed)
{
    char *copy = quoted(text), *setting = set ? quoted(set) : NULL;
    const char *const settings[] = {setting};
    error.message[0] = 0;
    stpn_status status = experiment_parse(e, "a.json", copy, strlen(copy), settings, set != NULL, seed, &error);
    free(copy);
    free(setting);
    return status;
}

static experiment parsed(const char *text, const char *set)
{
    experiment e;
    if (parse(&e, text, set, NULL)) fail_msg("%s: %s", text, error.message);
    assert_string_equal(error.message, "");
    return e;
}

#define LEAST "{'name': 'n', 'task': {'name': 'retrieval'}, 'units': [{'name': 'stpn_r', 'hidden': 7}]}"

/* --------------------------------------------------------------------------------------------------------- defaults */

static void every_key_has_its_default(void **state)
{
    (void)state;
    experiment e = parsed(LEAST, NULL);
    assert_string_equal(e.name, "n");
    assert_null(e.note);
    assert_true(e.seed == 0);
    assert_ptr_equal(e.task, &task_retrieval);
    assert_int_equal(e.task_options.pairs, 3);
    assert_int_equal(e.task_options.train, 100000);
    assert_int_equal(e.task_options.validation, 10000);
    assert_int_equal(e.task_options.test, 20000);
    assert_int_equal(e.unit_count, 1);
    const stpn_unit *u = &e.units[0];
    assert_string_equal(u->name, "stpn_r");
    assert_int_equal(u->hidden, 7);
    assert_int_equal(u->norm, STPN_NORM_PRE);
    assert_true(u->clamp == 0);
    assert_int_equal(u->plastic, STPN_PLASTIC_ALL);
    assert_int_equal(u->granularity, STPN_GRANULARITY_SYNAPSE);
    assert_int_equal(u->learn, 1);
    assert_true(u->lambda == 0.9 && u->gamma == 0.01);
    assert_int_equal(u->rule, STPN_RULE_HEBB);
    assert_int_equal(u->decay, STPN_DECAY_AFTER);
    assert_int_equal(u->activation, STPN_ACTIVATION_TANH);
    assert_int_equal(u->layer_norm, 0);
    assert_int_equal(u->bias, 1);
    assert_int_equal(u->presynaptic, STPN_PRESYNAPTIC_PREVIOUS);
    const train_options *t = &e.train;
    assert_int_equal(t->method, METHOD_SUPERVISED);
    assert_int_equal(t->epochs, 200);
    assert_int_equal(t->batch, 128);
    assert_true(t->learning_rate == 1e-3 && t->beta1 == 0.9 && t->beta2 == 0.999 && t->epsilon == 1e-8);
    assert_true(t->clip_value == 0 && t->clip_norm == 0 && t->weight_decay == 0 && t->final_rate == 0);
    assert_int_equal(t->truncate, 0);
    assert_int_equal(t->schedule, SCHEDULE_CONSTANT);
    assert_int_equal(t->warmup, 0);
    assert_int_equal(t->shuffle, 0);
    assert_int_equal(t->patience, 0);
    assert_int_equal(t->evaluate_every, 1);
    experiment_free(&e);
    assert_null(e.resolved);
    experiment_free(&e);
}

static void every_key_goes_to_its_field(void **state)
{
    (void)state;
    experiment e = parsed(
        "{'name': 'm', 'note': 'x', 'seed': 5, 'task': {'name': 'retrieval', 'pairs': 4, 'train': 901,"
        " 'validation': 902, 'test': 903}, 'units': [{'name': 'stpn_r', 'hidden': 7, 'norm': 'output',"
        " 'clamp': 0.5, 'plastic': 'input', 'granularity': 'neuron', 'rule': 'oja', 'decay': 'prompt',"
        " 'activation': 'sigmoid', 'layer_norm': true, 'bias': false, 'presynaptic': 'current'},"
        " {'name': 'stpn_f', 'hidden': 8, 'norm': 'none', 'learn': false, 'lambda': 0.7, 'gamma': 0.3}],"
        " 'train': {'epochs': 11, 'batch': 12, 'truncate': 21, 'learning_rate': 0.13, 'beta1': 0.14, 'beta2': 0.15,"
        " 'epsilon': 0.16, 'weight_decay': 0.22, 'schedule': 'step', 'warmup': 23, 'step_every': 24, 'step_factor': "
        "0.25, 'clip_value': 17, 'clip_norm': 18, 'shuffle': true, 'patience': 19,"
        " 'evaluate_every': 20}}",
        NULL);
    assert_string_equal(e.name, "m");
    assert_string_equal(e.note, "x");
    assert_true(e.seed == 5);
    assert_int_equal(e.task_options.pairs, 4);
    assert_int_equal(e.task_options.train, 901);
    assert_int_equal(e.task_options.validation, 902);
    assert_int_equal(e.task_options.test, 903);
    assert_int_equal(e.unit_count, 2);
    const stpn_unit *u = &e.units[0];
    assert_int_equal(u->hidden, 7);
    assert_int_equal(u->norm, STPN_NORM_OUTPUT);
    assert_true(u->clamp == 0.5);
    assert_int_equal(u->plastic, STPN_PLASTIC_INPUT);
    assert_int_equal(u->granularity, STPN_GRANULARITY_NEURON);
    assert_int_equal(u->rule, STPN_RULE_OJA);
    assert_int_equal(u->decay, STPN_DECAY_PROMPT);
    assert_int_equal(u->activation, STPN_ACTIVATION_SIGMOID);
    assert_int_equal(u->layer_norm, 1);
    assert_int_equal(u->bias, 0);
    assert_int_equal(u->presynaptic, STPN_PRESYNAPTIC_CURRENT);
    u = &e.units[1];
    assert_string_equal(u->name, "stpn_f");
    assert_int_equal(u->hidden, 8);
    assert_int_equal(u->norm, STPN_NORM_NONE);
    assert_int_equal(u->learn, 0);
    assert_true(u->lambda == 0.7 && u->gamma == 0.3);
    const train_options *t = &e.train;
    assert_int_equal(t->epochs, 11);
    assert_int_equal(t->batch, 12);
    assert_true(t->learning_rate == 0.13 && t->beta1 == 0.14 && t->beta2 == 0.15 && t->epsilon == 0.16);
    assert_int_equal(t->truncate, 21);
    assert_int_equal(t->schedule, SCHEDULE_STEP);
    assert_int_equal(t->warmup, 23);
    assert_int_equal(t->step_every, 24);
    assert_true(t->weight_decay == 0.22 && t->step_factor == 0.25);
    assert_true(t->clip_value == 17 && t->clip_norm == 18);
    assert_int_equal(t->shuffle, 1);
    assert_int_equal(t->patience, 19);
    assert_int_equal(t->evaluate_every, 20);
    experiment_free(&e);
}

/* The resolved document lists every key that has an effect, with what the fields hold. */
static void the_resolved_document_says_everything(void **state)
{
    (void)state;
    static const char expected[] =
        "{'name': 'n', 'seed': 0, 'version': '" STPN_VERSION "',"
        " 'task': {'name': 'retrieval', 'pairs': 3, 'train': 100000, 'validation': 10000, 'test': 20000},"
        " 'units': [{'name': 'stpn_r', 'hidden': 7, 'norm': 'pre', 'clamp': 0.0, 'plastic': 'all',"
        " 'granularity': 'synapse', 'learn': true, 'rule': 'hebb', 'decay': 'after', 'activation': 'tanh',"
        " 'layer_norm': false, 'bias': true, 'presynaptic': 'previous'}],"
        " 'train': {'method': 'supervised', 'epochs': 200, 'batch': 128, 'truncate': 0, 'learning_rate': 0.001, "
        "'beta1': 0.9,"
        " 'beta2': 0.999, 'epsilon': 1e-8, 'weight_decay': 0.0, 'schedule': 'constant', 'warmup': 0, 'clip_value': "
        "0.0, 'clip_norm': 0.0, 'shuffle': false, 'patience': 0,"
        " 'evaluate_every': 1}}";
    experiment e = parsed(LEAST, NULL);
    char *text = quoted(expected), path[128];
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    if (json_difference(e.resolved, document, path, sizeof path)) fail_msg("differs at %s", path);
    json_decref(document);
    free(text);
    experiment_free(&e);
    e = parsed("{'note': 'x', 'name': 'n', 'task': {'name': 'retrieval'}, 'seed': 9,"
               " 'units': [{'name': 'stpn_f', 'hidden': 7, 'learn': false, 'lambda': 1, 'gamma': -0.5}]}",
               NULL);
    const json_t *entry = json_array_get(json_object_get(e.resolved, "units"), 0);
    assert_null(json_object_get(entry, "granularity"));
    assert_true(json_real_value(json_object_get(entry, "lambda")) == 1);
    assert_true(json_real_value(json_object_get(entry, "gamma")) == -0.5);
    assert_string_equal(json_string_value(json_object_get(e.resolved, "note")), "x");
    assert_int_equal(json_integer_value(json_object_get(e.resolved, "seed")), 9);
    experiment_free(&e);
}

static void the_resolved_document_reads_as_itself(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LEAST,
        "{'name': 'A.b-c_9', 'note': '\\u00e4 \\\\n', 'seed': 9223372036854775807, 'version': '0.0.1',"
        " 'task': {'name': 'retrieval', 'pairs': 26, 'train': 128, 'validation': 1, 'test': 1}, 'units': ["
        "{'name': 'stpn_r', 'hidden': 3, 'norm': 'post', 'clamp': 0.1, 'plastic': 'hidden', 'granularity': 'scalar',"
        " 'rule': 'oja', 'decay': 'prompt', 'activation': 'sigmoid', 'layer_norm': true, 'bias': false,"
        " 'presynaptic': 'current'},"
        "{'name': 'stpn_f', 'hidden': 1, 'norm': 'none', 'learn': false, 'lambda': 0.3333333333333333, 'gamma': "
        "1e-300}],"
        " 'train': {'method': 'supervised', 'epochs': 1000000000, 'batch': 1, 'learning_rate': 0.1, 'beta1': 0,"
        " 'beta2': 0.1, 'epsilon': 1, 'clip_value': 1e30, 'clip_norm': 4, 'shuffle': true, 'patience': 5,"
        " 'evaluate_every': 10}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        experiment first = parsed(texts[i], NULL), second;
        char *text = json_dumps(first.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17)), path[128];
        assert_non_null(text);
        if (experiment_parse(&second, "resolved", text, strlen(text), NULL, 0, NULL, &error))
            fail_msg("%s", error.message);
        if (json_difference(first.resolved, second.resolved, path, sizeof path)) fail_msg("differs at %s", path);
        /* And is written with the same bytes, which stand in checkpoints. */
        char *again = json_dumps(second.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
        assert_string_equal(again, text);
        free(again);
        free(text);
        experiment_free(&second);
        experiment_free(&first);
    }
}

static void the_order_of_keys_does_not_matter(void **state)
{
    (void)state;
    experiment a =
        parsed("{'name': 'n', 'seed': 3, 'task': {'name': 'retrieval', 'train': 500, 'pairs': 2},"
               " 'units': [{'name': 'stpn_r', 'hidden': 7, 'norm': 'none'}], 'train': {'batch': 5, 'epochs': 2}}",
               NULL);
    experiment b =
        parsed("{'train': {'epochs': 2, 'batch': 5}, 'units': [{'norm': 'none', 'hidden': 7, 'name': 'stpn_r'}],"
               " 'task': {'pairs': 2, 'train': 500, 'name': 'retrieval'}, 'seed': 3, 'name': 'n'}",
               NULL);
    char *x = json_dumps(a.resolved, 0), *y = json_dumps(b.resolved, 0);
    assert_string_equal(x, y);
    free(x);
    free(y);
    experiment_free(&a);
    experiment_free(&b);
}

static void the_table_of_train_is_public(void **state)
{
    (void)state;
    int count;
    const option *rows = train_option_table(&count);
    train_options defaults = train_option_defaults();
    experiment e = parsed(LEAST, NULL);
    json_t *object = json_object();
    assert_int_equal(options_to_json(rows, count, &defaults, object), 1);
    for (int i = 0; i < count; i++)
        if (!train_option_applies(&defaults, rows[i].name)) json_object_del(object, rows[i].name);
    assert_int_equal(json_object_size(object), count - 9);
    assert_true(json_equal(object, json_object_get(e.resolved, "train")));
    json_decref(object);
    assert_int_equal(options_check(rows, count, &defaults, "train", &error), STPN_OK);
    for (int i = 0; i < count; i++) assert_true(rows[i].help && *rows[i].help);
    experiment_free(&e);
}

/* ---------------------------------------------------------------------------------------------------------- settings */

static void settings_and_the_seed_come_over_the_file(void **state)
{
    (void)state;
    experiment e = parsed(LEAST, "units.0.hidden=20");
    assert_int_equal(e.units[0].hidden, 20);
    experiment_free(&e);
    e = parsed(LEAST, "seed=5");
    assert_true(e.seed == 5);
    experiment_free(&e);
    e = parsed(LEAST, "name=other");
    assert_string_equal(e.name, "other");
    experiment_free(&e);
    e = parsed(LEAST, "train={'epochs': 3}");
    assert_int_equal(e.train.epochs, 3);
    experiment_free(&e);
    /* The seed that is given comes last, and stands in the resolved document. */
    static const uint64_t seeds[] = {0, 4, INT64_MAX};
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        assert_int_equal(parse(&e, LEAST, "seed=5", &seeds[i]), STPN_OK);
        assert_true(e.seed == seeds[i]);
        assert_true((uint64_t)json_integer_value(json_object_get(e.resolved, "seed")) == seeds[i]);
        experiment_free(&e);
    }
    const uint64_t large = (uint64_t)INT64_MAX + 1;
    assert_int_equal(parse(&e, LEAST, NULL, &large), STPN_ERROR_INPUT);
    assert_string_equal(error.message,
                        "a.json: seed is 9223372036854775808, expected an integer from 0 to 9223372036854775807");
    /* Several, in order. */
    const char *const set[] = {"train={}", "train.epochs=3", "train.batch=7", "train.epochs=4"};
    char *text = quoted(LEAST);
    assert_int_equal(experiment_parse(&e, "a.json", text, strlen(text), set, 4, NULL, &error), STPN_OK);
    assert_int_equal(e.train.epochs, 4);
    assert_int_equal(e.train.batch, 7);
    experiment_free(&e);
    /* `train` may be missing from the file. */
    assert_int_equal(experiment_parse(&e, "a.json", text, strlen(text), set + 1, 1, NULL, &error), STPN_OK);
    assert_int_equal(e.train.epochs, 3);
    experiment_free(&e);
    free(text);
}

/* ----------------------------------------------------------------------------------------------------------- errors */

#define TASK "'task': {'name': 'retrieval'}"
#define UNITS "'units': [{'name': 'stpn_r', 'hidden': 7}]"
#define WITH_TASK(text) "{'name': 'n', 'task': " text ", " UNITS "}"
#define WITH_UNIT(text) "{'name': 'n', " TASK ", 'units': [" text "]}"
#define WITH_TRAIN(text) "{'name': 'n', " TASK ", " UNITS ", 'train': " text "}"
#define WITH_SEED(text) "{'name': 'n', 'seed': " text ", " TASK ", " UNITS "}"
#define WITH_NAME(text) "{'name': " text ", " TASK ", " UNITS "}"

static const struct {
    const char *text, *message; /* behind "a.json: " */
} wrong[] = {
    /* the document */
    {"", "line 1, column 1: found the end, expected a value"},
    {"[]", "holds an array, expected an object"},
    {"{'name': 'n',\n 'name': 'n'}", "line 2, column 2: found the key \"name\" twice, expected it once"},
    {"{}", "name is missing, expected a string"},
    {"{'nam': 'n'}", "nam is not a known key; the nearest is \"name\""},
    {"{'name': 'n', 'unit': []}", "unit is not a known key; the nearest is \"units\""},
    {"{'name': 'n', 'tasks': {}}", "tasks is not a known key; the nearest is \"task\""},
    {"{'name': 'n', 'trian': {}}", "trian is not a known key; the nearest is \"train\""},
    {"{'name': 'n', 'Seed': 1}", "Seed is not a known key; the nearest is \"seed\""},
    {"{'name': 'n', 'epochs': 1}", "epochs is not a known key; the nearest is \""},
    {"{'name': 'n', 'note': 5, " TASK ", " UNITS "}", "note is an integer, expected a string"},
    {"{'name': 'n', " UNITS "}", "task is missing, expected an object"},
    {"{'name': 'n', " TASK "}", "units is missing, expected an array"},
    {"{'name': 'n', 'task': 'retrieval', " UNITS "}", "task is a string, expected an object"},
    {"{'name': 'n', " TASK ", 'units': {}}", "units is an object, expected an array"},
    {"{'name': 'n', " TASK ", 'units': []}", "units has 0 entries, expected 1 to 64"},
    {"{'name': 'n', " TASK ", " UNITS ", 'train': []}", "train is an array, expected an object"},
    {"{'name': 'n', " TASK ", " UNITS ", 'train': null}", "train is null, expected an object"},
    /* the name */
    {WITH_NAME("5"), "name is an integer, expected a string"},
    {WITH_NAME("''"), "name is \"\", expected 1 to 100 letters, digits, '-', '_' or '.', first a letter or a digit"},
    {WITH_NAME("'.n'"), "name is \".n\", expected 1 to 100 letters"},
    {WITH_NAME("'..'"), "name is \"..\", expected 1 to 100 letters"},
    {WITH_NAME("'-n'"), "name is \"-n\", expected 1 to 100 letters"},
    {WITH_NAME("'_n'"), "name is \"_n\", expected 1 to 100 letters"},
    {WITH_NAME("'a/b'"), "name is \"a/b\", expected 1 to 100 letters"},
    {WITH_NAME("'a b'"), "name is \"a b\", expected 1 to 100 letters"},
    {WITH_NAME("'a\\nb'"), "name is \"a?b\", expected 1 to 100 letters"},
    {WITH_NAME("'\xc3\xa4'"), "name is \"\xc3\xa4\", expected 1 to 100 letters"},
    {WITH_NAME(
         "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"),
     "name is \"aaaa"},
    /* the seed */
    {WITH_SEED("-1"), "seed is not an integer from 0 to 9223372036854775807"},
    {WITH_SEED("1.0"), "seed is not an integer from 0 to 9223372036854775807"},
    {WITH_SEED("'1'"), "seed is not an integer from 0 to 9223372036854775807"},
    {WITH_SEED("null"), "seed is not an integer from 0 to 9223372036854775807"},
    {WITH_SEED("9223372036854775808"), "line 1, column "},
    /* the task */
    {WITH_TASK("{}"), "task.name is missing, expected a string"},
    {WITH_TASK("{'name': 3}"), "task.name is an integer, expected a string"},
    {WITH_TASK("{'name': 'mase'}"), "task.name is \"mase\", expected one of retrieval, familiarity, sequences, maze"},
    {WITH_TASK("{'name': 'retrieval', 'pair': 3}"), "task.pair is not a known key; the nearest is \"pairs\""},
    {WITH_TASK("{'name': 'retrieval', 'pairs': 0}"), "task.pairs is 0, expected an integer from 1 to 26"},
    {WITH_TASK("{'name': 'retrieval', 'pairs': 27}"), "task.pairs is 27, expected an integer from 1 to 26"},
    {WITH_TASK("{'name': 'retrieval', 'pairs': 3.0}"), "task.pairs is 3.0, expected an integer from 1 to 26"},
    {WITH_TASK("{'name': 'retrieval', 'train': 0}"), "task.train is 0, expected an integer from 1 to 100000000"},
    {WITH_TASK("{'name': 'retrieval', 'test': -1}"), "task.test is -1, expected an integer from 1 to 100000000"},
    {WITH_TASK("{'name': 'retrieval', 'validation': '9'}"),
     "task.validation is \"9\", expected an integer from 1 to 100000000"},
    /* the units */
    {WITH_UNIT("3"), "units[0] is an integer, expected an object"},
    {WITH_UNIT("{'hidden': 7}"), "units[0].name is missing, expected a string"},
    {WITH_UNIT("{'name': 'stpn_r'}"), "units[0].hidden is missing, expected the number of neurons"},
    {WITH_UNIT("{'name': 'lsm', 'hidden': 7}"), "units[0].name is \"lsm\", expected one of stpn_r, stpn_f"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7}, {'name': 'stpn_f'}"),
     "units[1].hidden is missing, expected the number of neurons"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 0}"), "units[0].hidden is 0, expected an integer from 1 to 1048576"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 1048577}"),
     "units[0].hidden is 1048577, expected an integer from 1 to 1048576"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7.5}"), "units[0].hidden is 7.5, expected an integer from 1 to 1048576"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'lambada': 1}"),
     "units[0].lambada is not a known key; the nearest is \"lambda\""},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'norm': 'before'}"),
     "units[0].norm is \"before\", expected one of pre|post|output|none"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'norm': null}"),
     "units[0].norm is null, expected one of pre|post|output|none"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'clamp': -1}"),
     "units[0].clamp is -1, expected a number from 0 to 1000000"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'bias': 1}"), "units[0].bias is 1, expected true or false"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'lambda': 1}"),
     "units[0].lambda has no effect with the other options of this unit"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'gamma': 1}"),
     "units[0].gamma has no effect with the other options of this unit"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'learn': false, 'granularity': 'scalar'}"),
     "units[0].granularity has no effect with the other options of this unit"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7, 'learn': false, 'lambda': 1e7}"),
     "units[0].lambda is 10000000.0, expected a number from -1000000 to 1000000"},
    {WITH_UNIT("{'name': 'stpn_f', 'hidden': 7, 'plastic': 'hidden'}"),
     "units[0].plastic is \"hidden\", but stpn_f has no recurrent columns"},
    {WITH_UNIT("{'name': 'stpn_r', 'hidden': 7}, {'name': 'stpn_f', 'hidden': 7, 'presynaptic': 'current'}"),
     "units[1].presynaptic is \"current\", but stpn_f has no recurrent columns"},
    /* the training */
    {WITH_TRAIN("{'epoch': 1}"), "train.epoch is not a known key; the nearest is \"epochs\""},
    {WITH_TRAIN("{'lr': 1}"), "train.lr is not a known key; the nearest is \""},
    {WITH_TRAIN("{'method': 'dqn'}"), "train.method is \"dqn\", expected one of supervised"},
    {WITH_TRAIN("{'method': 'ppo'}"), "train.method is \"ppo\", expected \"supervised\" with task retrieval"},
    {WITH_TRAIN("{'epochs': 0}"), "train.epochs is 0, expected an integer from 1 to 1000000000"},
    {WITH_TRAIN("{'epochs': 1000000001}"), "train.epochs is 1000000001, expected an integer from 1 to 1000000000"},
    {WITH_TRAIN("{'batch': 0}"), "train.batch is 0, expected an integer from 1 to 1048576"},
    {WITH_TRAIN("{'batch': 1048577}"), "train.batch is 1048577, expected an integer from 1 to 1048576"},
    {WITH_TRAIN("{'batch': 100001}"), "train.batch is 100001, expected at most the 100000 sequences of task.train"},
    {WITH_TRAIN("{'learning_rate': 0}"), "train.learning_rate is 0, expected a number from 1e-12 to 1000"},
    {WITH_TRAIN("{'learning_rate': '1e-3'}"), "train.learning_rate is \"1e-3\", expected a number from 1e-12 to 1000"},
    {WITH_TRAIN("{'learning_rate': 1e999}"), "line 1, column "},
    {WITH_TRAIN("{'beta1': 1}"), "train.beta1 is 1, expected a number from 0 to 0.999999"},
    {WITH_TRAIN("{'beta2': 1}"), "train.beta2 is 1, expected a number from 0 to 0.99999999"},
    {WITH_TRAIN("{'epsilon': 0}"), "train.epsilon is 0, expected a number from 1e-30 to 1"},
    {WITH_TRAIN("{'clip_value': -1}"), "train.clip_value is -1, expected a number from 0 to 1e+30"},
    {WITH_TRAIN("{'clip_norm': true}"), "train.clip_norm is true, expected a number from 0 to 1e+30"},
    {WITH_TRAIN("{'truncate': -1}"), "train.truncate is -1, expected an integer from 0 to 16777216"},
    {WITH_TRAIN("{'weight_decay': -1}"), "train.weight_decay is -1, expected a number from 0 to 1000"},
    {WITH_TRAIN("{'schedule': 'cosinus'}"),
     "train.schedule is \"cosinus\", expected one of constant|linear|cosine|step"},
    {WITH_TRAIN("{'final_rate': 0.1}"), "train.final_rate has no effect with this train.schedule"},
    {WITH_TRAIN("{'schedule': 'linear', 'step_every': 9}"), "train.step_every has no effect with this train.schedule"},
    {WITH_TRAIN("{'schedule': 'step', 'final_rate': 0}"), "train.final_rate has no effect with this train.schedule"},
    {WITH_TRAIN("{'shuffle': 0}"), "train.shuffle is 0, expected true or false"},
    {WITH_TRAIN("{'patience': -1}"), "train.patience is -1, expected an integer from 0 to 1000000000"},
    {WITH_TRAIN("{'evaluate_every': 0}"), "train.evaluate_every is 0, expected an integer from 1 to 1000000000"},
    /* More sequences in an update than there are, also where the batch is the default. */
    {"{'name': 'n', 'task': {'name': 'retrieval', 'train': 100}, " UNITS ", 'train': {}}",
     "train.batch is 128, expected at most the 100 sequences of task.train"},
    {"{'name': 'n', 'task': {'name': 'retrieval', 'train': 100}, " UNITS "}",
     "train.batch is 128, expected at most the 100 sequences of task.train"},
};

static void every_error_says_what_and_where(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        experiment e;
        char expected[512];
        snprintf(expected, sizeof expected, "a.json: %s", wrong[i].message);
        stpn_status status = parse(&e, wrong[i].text, NULL, NULL);
        if (status == STPN_OK) experiment_free(&e);
        if (status == STPN_ERROR_INPUT && strncmp(error.message, expected, strlen(expected)) == 0) {
            assert_true(!e.name && !e.note && !e.units && !e.resolved);
            continue;
        }
        print_error("%s: status %d, \"%s\", expected \"%s\"\n", wrong[i].text, status, error.message, expected);
        failed = 1;
    }
    assert_false(failed);
}

static void the_same_values_by_setting_are_as_wrong(void **state)
{
    (void)state;
    static const char *const settings[][2] = {
        {"train={'epochs':0}", "a.json: train.epochs is 0, expected an integer from 1 to 1000000000"},
        {"units.0.hidden=many", "a.json: units[0].hidden is \"many\", expected an integer from 1 to 1048576"},
        {"units.0.hiden=5", "a.json: units[0].hiden is not a known key; the nearest is \"hidden\""},
        {"units.1.hidden=5", "--set units.1.hidden=5: \"1\" is not an index from 0 to 0"},
        {"sed=5", "a.json: sed is not a known key; the nearest is \"seed\""},
        {"seed=-5", "a.json: seed is not an integer from 0 to 9223372036854775807"},
        {"seed=18446744073709551615", "a.json: seed is not an integer from 0 to 9223372036854775807"},
        {"name=a/b", "a.json: name is \"a/b\", expected 1 to 100 letters"},
        {"task.train=127", "a.json: train.batch is 128, expected at most the 127 sequences of task.train"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        experiment e;
        stpn_status status = parse(&e, WITH_TRAIN("{'epochs': 1}"), settings[i][0], NULL);
        if (status != STPN_ERROR_INPUT || strncmp(error.message, settings[i][1], strlen(settings[i][1])) != 0)
            fail_msg("%s: status %d, \"%s\", expected \"%s\"", settings[i][0], status, error.message, settings[i][1]);
    }
}

static void up_to_64_units(void **state)
{
    (void)state;
    for (int count = 63; count <= 66; count++) {
        char text[4096] = "{'name': 'n', 'task': {'name': 'retrieval'}, 'units': [";
        for (int i = 0; i < count; i++) {
            char one[64];
            snprintf(one, sizeof one, "%s{'name': 'stpn_f', 'hidden': %d}", i ? "," : "", i + 1);
            strcat(text, one);
        }
        strcat(text, "]}");
        experiment e;
        stpn_status status = parse(&e, text, NULL, NULL);
        assert_int_equal(status, count <= 64 ? STPN_OK : STPN_ERROR_INPUT);
        if (status) continue;
        assert_int_equal(e.unit_count, count);
        for (int i = 0; i < count; i++) assert_int_equal(e.units[i].hidden, i + 1);
        experiment_free(&e);
    }
    assert_string_equal(error.message, "a.json: units has 66 entries, expected 1 to 64");
}

static void names_that_are_good(void **state)
{
    (void)state;
    char longest[101] = "";
    memset(longest, 'a', 100);
    const char *const names[] = {"a", "7", "retrieval-stpn_r", "A.B", "a..b", "x-", "Z_", longest};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[512];
        snprintf(text, sizeof text, WITH_NAME("'%s'"), names[i]);
        experiment e = parsed(text, NULL);
        assert_string_equal(e.name, names[i]);
        experiment_free(&e);
    }
}

static void bounds_are_inside(void **state)
{
    (void)state;
    static const char *const good[] = {
        WITH_TRAIN("{'batch': 100000}"),
        WITH_TRAIN("{'epochs': 1000000000, 'patience': 1000000000, 'evaluate_every': 1000000000}"),
        WITH_TRAIN("{'learning_rate': 1e-12, 'beta1': 0.999999, 'beta2': 0.99999999, 'epsilon': 1e-30}"),
        WITH_TRAIN("{'learning_rate': 1000, 'beta1': 0, 'beta2': 0, 'epsilon': 1, 'clip_value': 1e30, 'clip_norm': 0}"),
        WITH_TASK("{'name': 'retrieval', 'pairs': 26, 'train': 128, 'validation': 1, 'test': 1}"),
        WITH_UNIT("{'name': 'stpn_r', 'hidden': 1048576}"),
        WITH_UNIT("{'name': 'stpn_r', 'hidden': 1, 'clamp': 1000000}"),
        WITH_SEED("9223372036854775807"),
        WITH_SEED("0"),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        experiment e = parsed(good[i], NULL);
        experiment_free(&e);
    }
}

/* A resolved experiment names the version that wrote it; another one does not keep a run from going on. */
static void the_version_is_taken_and_replaced(void **state)
{
    (void)state;
    experiment e = parsed("{'version': '9.9.9', 'name': 'n', " TASK ", " UNITS "}", NULL);
    assert_string_equal(json_string_value(json_object_get(e.resolved, "version")), STPN_VERSION);
    experiment_free(&e);
}

/* ------------------------------------------------------------------------------------------------------------- files */

static void a_file_is_read_like_its_text(void **state)
{
    (void)state;
    char path[SCRATCH_PATH], *text = quoted(LEAST), expected[SCRATCH_PATH + 64];
    experiment e, f = parsed(LEAST, NULL);
    const uint64_t seed = 3;
    const char *const set[] = {"units.0.hidden=9"};
    scratch_write(scratch_path(path, "a.json"), text, strlen(text));
    assert_int_equal(experiment_read(&e, path, NULL, 0, NULL, &error), STPN_OK);
    assert_true(json_equal(e.resolved, f.resolved));
    experiment_free(&e);
    experiment_free(&f);
    assert_int_equal(experiment_read(&e, path, set, 1, &seed, &error), STPN_OK);
    assert_true(e.seed == 3);
    assert_int_equal(e.units[0].hidden, 9);
    experiment_free(&e);
    scratch_write(path, "{\"name\": 3}", 11);
    assert_int_equal(experiment_read(&e, path, NULL, 0, NULL, &error), STPN_ERROR_INPUT);
    snprintf(expected, sizeof expected, "%s: name is an integer, expected a string", path);
    assert_string_equal(error.message, expected);
    assert_int_equal(experiment_read(&e, scratch_path(path, "missing.json"), NULL, 0, NULL, &error), STPN_ERROR_INPUT);
    snprintf(expected, sizeof expected, "%s: cannot be opened: No such file or directory", path);
    assert_string_equal(error.message, expected);
    free(text);
}

static void the_experiments_of_the_tree_are_good(void **state)
{
    (void)state;
    char folder_path[SCRATCH_PATH], path[2 * SCRATCH_PATH];
    int files = 0;
    snprintf(folder_path, sizeof folder_path, "%s/experiments/retrieval", STPN_SOURCE_DIR);
    DIR *folder = opendir(folder_path);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (!strstr(entry->d_name, ".json") || strcmp(entry->d_name, "reproduce.json") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder_path, entry->d_name);
        experiment e;
        if (experiment_read(&e, path, NULL, 0, NULL, &error)) fail_msg("%s", error.message);
        experiment_free(&e);
        files++;
    }
    closedir(folder);
    assert_true(files > 0);
}

static void the_network_is_the_one_described(void **state)
{
    (void)state;
    experiment e = parsed(
        "{'name': 'n', " TASK ", 'units': [{'name': 'stpn_r', 'hidden': 11}, {'name': 'stpn_f', 'hidden': 5}]}", NULL);
    for (int real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
        stpn_net *net;
        stpn_tensor tensor;
        assert_int_equal(experiment_net(&net, &e, (stpn_real)real, &error), STPN_OK);
        assert_int_equal(stpn_net_tensor(net, 0, &tensor), 1);
        assert_string_equal(tensor.name, "units.0.weight");
        assert_int_equal(tensor.shape[0], 11);
        assert_int_equal(tensor.shape[1], 37 + 11);
        int last = 0;
        while (stpn_net_tensor(net, last + 1, &tensor)) last++;
        assert_string_equal(tensor.name, "readout.bias");
        assert_int_equal(tensor.count, 37);
        assert_int_equal(stpn_net_parameter_count(net), 11 * 48 * 3 + 11 + 5 * 11 * 3 + 5 + 37 * 5 + 37);
        stpn_net_free(net);
    }
    experiment_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_has_its_default),
        cmocka_unit_test(every_key_goes_to_its_field),
        cmocka_unit_test(the_resolved_document_says_everything),
        cmocka_unit_test(the_resolved_document_reads_as_itself),
        cmocka_unit_test(the_order_of_keys_does_not_matter),
        cmocka_unit_test(the_table_of_train_is_public),
        cmocka_unit_test(settings_and_the_seed_come_over_the_file),
        cmocka_unit_test(every_error_says_what_and_where),
        cmocka_unit_test(the_same_values_by_setting_are_as_wrong),
        cmocka_unit_test(up_to_64_units),
        cmocka_unit_test(names_that_are_good),
        cmocka_unit_test(bounds_are_inside),
        cmocka_unit_test(the_version_is_taken_and_replaced),
        cmocka_unit_test(a_file_is_read_like_its_text),
        cmocka_unit_test(the_experiments_of_the_tree_are_good),
        cmocka_unit_test(the_network_is_the_one_described),
    };
    return cmocka_run_group_tests_name("train/experiment", tests, scratch_make, scratch_remove);
}
