#include "train/experiment.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/origin.h"

#include <stdio.h>
#include <string.h>

enum { MAX_UNITS = 64, NAME_MOST = 100 };

#define FIELD(name) offsetof(train_options, name)

static const option train_table[] = {
    {"method", OPTION_CHOICE, FIELD(method), "supervised", 0, 0, "how the network learns"},
    {"epochs", OPTION_INTEGER, FIELD(epochs), NULL, 1, 1e9, "passes over the training sequences"},
    {"batch", OPTION_INTEGER, FIELD(batch), NULL, 1, 1 << 20,
     "sequences of an update; a last partial batch is dropped"},
    {"truncate", OPTION_INTEGER, FIELD(truncate), NULL, 0, 1 << 24,
     "steps of a window, each an update of its own, the state carried on; 0: whole sequences"},
    {"learning_rate", OPTION_NUMBER, FIELD(learning_rate), NULL, 1e-12, 1e3, "of Adam"},
    {"beta1", OPTION_NUMBER, FIELD(beta1), NULL, 0, 0.999999, "Adam's decay of the mean"},
    {"beta2", OPTION_NUMBER, FIELD(beta2), NULL, 0, 0.99999999, "Adam's decay of the square"},
    {"epsilon", OPTION_NUMBER, FIELD(epsilon), NULL, 1e-30, 1, "Adam's, outside the root"},
    {"weight_decay", OPTION_NUMBER, FIELD(weight_decay), NULL, 0, 1e3,
     "AdamW: fraction of every parameter, times the learning rate, that an update takes away"},
    {"schedule", OPTION_CHOICE, FIELD(schedule), "constant|linear|cosine|step", 0, 0, "course of the learning rate"},
    {"warmup", OPTION_INTEGER, FIELD(warmup), NULL, 0, 1e9, "first updates, over which the learning rate grows"},
    {"final_rate", OPTION_NUMBER, FIELD(final_rate), NULL, 0, 1,
     "linear, cosine: learning rate of the last update, as a fraction of learning_rate"},
    {"step_every", OPTION_INTEGER, FIELD(step_every), NULL, 1, 1e9, "step: updates between two steps"},
    {"step_factor", OPTION_NUMBER, FIELD(step_factor), NULL, 0, 1, "step: what a step multiplies the learning rate by"},
    {"clip_value", OPTION_NUMBER, FIELD(clip_value), NULL, 0, 1e30, "bound of every value of the gradient; 0: none"},
    {"clip_norm", OPTION_NUMBER, FIELD(clip_norm), NULL, 0, 1e30, "bound of the gradient's norm; 0: none"},
    {"shuffle", OPTION_BOOLEAN, FIELD(shuffle), NULL, 0, 0, "a new order in every epoch"},
    {"patience", OPTION_INTEGER, FIELD(patience), NULL, 0, 1e9,
     "evaluations without a better one before the run ends; 0: never"},
    {"evaluate_every", OPTION_INTEGER, FIELD(evaluate_every), NULL, 1, 1e9, "epochs between evaluations"},
};

enum { TRAIN_OPTIONS = sizeof train_table / sizeof *train_table };

const option *train_option_table(int *count)
{
    *count = TRAIN_OPTIONS;
    return train_table;
}

train_options train_option_defaults(void)
{
    return (train_options){.epochs = 200,
                           .batch = 128,
                           .learning_rate = 1e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .step_every = 1000,
                           .step_factor = 0.1,
                           .evaluate_every = 1};
}

int train_option_applies(const train_options *o, const char *name)
{
    if (strcmp(name, "final_rate") == 0) return o->schedule == SCHEDULE_LINEAR || o->schedule == SCHEDULE_COSINE;
    if (strncmp(name, "step_", 5) == 0) return o->schedule == SCHEDULE_STEP;
    return 1;
}

void experiment_free(experiment *e)
{
    memory_free(e->name);
    memory_free(e->note);
    memory_free(e->units);
    json_decref(e->resolved);
    *e = (experiment){0};
}

/* Names become folder names. */
static stpn_status check_name(const char *name, stpn_error *error)
{
    size_t length = strlen(name);
    int valid = length > 0 && length <= NAME_MOST && !strchr("-_.", name[0]);
    for (const char *c = name; *c && valid; c++)
        valid = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_.", *c);
    if (valid) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "name is \"%.120s\", expected 1 to %d letters, digits, '-', '_' or '.', first a letter or a digit",
                     name, (int)NAME_MOST);
}

static stpn_status member(const json_t *root, const char *key, int is_array, const json_t **value, stpn_error *error)
{
    *value = json_object_get(root, key);
    const char *expected = is_array ? "an array" : "an object";
    if (!*value) return error_set(error, STPN_ERROR_INPUT, "%s is missing, expected %s", key, expected);
    if (is_array ? json_is_array(*value) : json_is_object(*value)) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s is %s, expected %s", key, json_kind(*value), expected);
}

/* What has no effect is an error: the file would not say what was done. */
static stpn_status check_effect(const json_t *object, const unit_type *type, const stpn_unit *options,
                                const char *place, stpn_error *error)
{
    for (int i = 0; i < type->option_count; i++) {
        const char *key = type->options[i].name;
        if (json_object_get(object, key) && !unit_applies(options, key))
            return error_set(error, STPN_ERROR_INPUT, "%s.%s has no effect with the other options of this unit", place,
                             key);
    }
    return STPN_OK;
}

stpn_status unit_from_json(stpn_unit *options, const json_t *object, const char *name_key, const char *place,
                           stpn_error *error)
{
    const char *name;
    char known[256];
    if (!json_is_object(object))
        return error_set(error, STPN_ERROR_INPUT, "%s is %s, expected an object", place, json_kind(object));
    stpn_status status = json_text(object, place, name_key, &name, error);
    if (status) return status;
    const unit_type *type = unit_find(name);
    unit_names(known, sizeof known);
    if (!type)
        return error_set(error, STPN_ERROR_INPUT, "%s.%s is \"%.100s\", expected one of %s", place, name_key, name,
                         known);
    const char *const others[] = {name_key, NULL};
    *options = stpn_unit_default(type->name, 0);
    status = options_from_json(object, place, type->options, type->option_count, others, options, error);
    return status ? status : check_effect(object, type, options, place, error);
}

static stpn_status read_units(experiment *e, const json_t *root, stpn_error *error)
{
    const json_t *list;
    stpn_status status = member(root, "units", 1, &list, error);
    if (status) return status;
    size_t count = json_array_size(list);
    if (count < 1 || count > MAX_UNITS)
        return error_set(error, STPN_ERROR_INPUT, "units has %zu entries, expected 1 to %d", count, (int)MAX_UNITS);
    e->units = memory_zeroed(count, sizeof *e->units);
    if (!e->units) return error_memory(error, "the experiment");
    for (size_t i = 0; i < count && !status; i++) {
        char place[32];
        snprintf(place, sizeof place, "units[%zu]", i);
        const json_t *object = json_array_get(list, i);
        status = unit_from_json(&e->units[i], object, "name", place, error);
        if (!status && !json_object_get(object, "hidden"))
            status = error_set(error, STPN_ERROR_INPUT, "%s.hidden is missing, expected the number of neurons", place);
        if (!status) status = unit_check(&e->units[i], i ? e->units[i - 1].hidden : e->shape.inputs, place, error);
        e->unit_count++;
    }
    return status;
}

static stpn_status read_task(experiment *e, const json_t *root, const char *folder, stpn_error *error)
{
    const json_t *object;
    const char *name;
    char known[256];
    stpn_status status = member(root, "task", 0, &object, error);
    if (!status) status = json_text(object, "task", "name", &name, error);
    if (status) return status;
    e->task = task_find(name);
    task_names(known, sizeof known);
    if (!e->task) return error_set(error, STPN_ERROR_INPUT, "task.name is \"%.100s\", expected one of %s", name, known);
    const char *const others[] = {"name", NULL};
    e->task_options = e->task->defaults;
    snprintf(e->task_options.folder, sizeof e->task_options.folder, "%s", folder);
    status =
        options_from_json(object, "task", e->task->options, e->task->option_count, others, &e->task_options, error);
    return status ? status : e->task->describe(&e->task_options, &e->shape, error);
}

static stpn_status read_train(experiment *e, const json_t *root, stpn_error *error)
{
    e->train = train_option_defaults();
    const json_t *object = json_object_get(root, "train");
    stpn_status status = object ? member(root, "train", 0, &object, error) : STPN_OK;
    if (object && !status)
        status = options_from_json(object, "train", train_table, TRAIN_OPTIONS, NULL, &e->train, error);
    for (int i = 0; i < TRAIN_OPTIONS && !status; i++)
        if (json_object_get(object, train_table[i].name) && !train_option_applies(&e->train, train_table[i].name))
            status = error_set(error, STPN_ERROR_INPUT, "train.%s has no effect with this train.schedule",
                               train_table[i].name);
    if (!status && e->task_options.train > 0 && e->train.batch > e->task_options.train)
        status =
            error_set(error, STPN_ERROR_INPUT, "train.batch is %d, expected at most the %d sequences of task.train",
                      e->train.batch, e->task_options.train);
    return status;
}

static stpn_status read_top(experiment *e, const json_t *root, const uint64_t *seed, stpn_error *error)
{
    static const char *const known[] = {"name", "note", "seed", "version", "task", "units", "train", NULL};
    const char *text;
    stpn_status status = options_from_json(root, "", NULL, 0, known, NULL, error);
    if (!status) status = json_text(root, "", "name", &text, error);
    if (!status) status = check_name(text, error);
    if (status) return status;
    e->name = memory_string(text);
    if (!e->name) return error_memory(error, "the experiment");
    if (json_object_get(root, "note")) {
        status = json_text(root, "", "note", &text, error);
        if (status) return status;
        e->note = memory_string(text);
        if (!e->note) return error_memory(error, "the experiment");
    }
    const json_t *number = json_object_get(root, "seed");
    if (number && (!json_is_integer(number) || json_integer_value(number) < 0))
        return error_set(error, STPN_ERROR_INPUT, "seed is not an integer from 0 to %lld", (long long)INT64_MAX);
    e->seed = seed ? *seed : (uint64_t)json_integer_value(number);
    if (e->seed > INT64_MAX)
        return error_set(error, STPN_ERROR_INPUT, "seed is %llu, expected an integer from 0 to %lld",
                         (unsigned long long)e->seed, (long long)INT64_MAX);
    return STPN_OK;
}

/* Every value that has an effect, in the order of the tables. */
static json_t *resolve(const experiment *e)
{
    json_t *root = json_object(), *task = json_object(), *units = json_array(), *train = json_object();
    int failed = json_object_set_new(root, "name", json_string(e->name));
    if (e->note) failed |= json_object_set_new(root, "note", json_string(e->note));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)e->seed));
    failed |= json_object_set_new(root, "version", json_string(STPN_VERSION));
    failed |= json_object_set_new(task, "name", json_string(e->task->name));
    failed |= !options_to_json(e->task->options, e->task->option_count, &e->task_options, task);
    failed |= !options_to_json(train_table, TRAIN_OPTIONS, &e->train, train);
    for (int i = 0; i < TRAIN_OPTIONS; i++)
        if (!train_option_applies(&e->train, train_table[i].name)) json_object_del(train, train_table[i].name);
    for (int i = 0; i < e->unit_count && !failed; i++) {
        const unit_type *type = unit_find(e->units[i].name);
        json_t *entry = json_object();
        failed |= json_object_set_new(entry, "name", json_string(type->name));
        failed |= !options_to_json(type->options, type->option_count, &e->units[i], entry);
        for (int o = 0; o < type->option_count; o++)
            if (!unit_applies(&e->units[i], type->options[o].name)) json_object_del(entry, type->options[o].name);
        failed |= json_array_append_new(units, entry);
    }
    failed |= json_object_set_new(root, "task", task);
    failed |= json_object_set_new(root, "units", units);
    failed |= json_object_set_new(root, "train", train);
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

static stpn_status read_root(experiment *e, const json_t *root, const uint64_t *seed, const char *folder,
                             stpn_error *error)
{
    stpn_status status = read_top(e, root, seed, error);
    if (!status) status = read_task(e, root, folder, error);
    if (!status) status = read_units(e, root, error);
    if (!status) status = read_train(e, root, error);
    if (status) return status;
    e->resolved = resolve(e);
    return e->resolved ? STPN_OK : error_memory(error, "the experiment");
}

static stpn_status parse(experiment *e, const char *name, const char *text, size_t size, const char *const *set,
                         int set_count, const uint64_t *seed, const char *folder, stpn_error *error)
{
    *e = (experiment){0};
    json_t *root;
    stpn_status status = json_read(&root, name, text, size, error);
    /* `train` may be left out of a file, and its keys set all the same. */
    if (!status && !json_object_get(root, "train") && json_object_set_new(root, "train", json_object()) != 0)
        status = error_memory(error, name);
    for (int i = 0; i < set_count && !status; i++) status = json_set_path(root, set[i], error);
    if (!status) {
        stpn_error inner = {{0}};
        status = read_root(e, root, seed, folder, &inner);
        if (status) error_set(error, status, "%s: %s", name, inner.message);
    }
    json_decref(root);
    if (status) experiment_free(e);
    return status;
}

stpn_status experiment_parse(experiment *e, const char *name, const char *text, size_t size, const char *const *set,
                             int set_count, const uint64_t *seed, stpn_error *error)
{
    return parse(e, name, text, size, set, set_count, seed, "", error);
}

stpn_status experiment_read(experiment *e, const char *path, const char *const *set, int set_count,
                            const uint64_t *seed, stpn_error *error)
{
    *e = (experiment){0};
    char *text, folder[TASK_PATH];
    size_t size;
    stpn_status status = origin_find(folder, path, error);
    if (!status) status = file_read(path, JSON_FILE_LIMIT, &text, &size, error);
    if (status) return status;
    status = parse(e, path, text, size, set, set_count, seed, folder, error);
    memory_free(text);
    return status;
}

stpn_status experiment_net(stpn_net **net, const experiment *e, stpn_real real, stpn_error *error)
{
    stpn_head head = {"readout", e->shape.outputs};
    stpn_net_desc desc = {.real = real,
                          .inputs = e->shape.inputs,
                          .units = e->units,
                          .unit_count = e->unit_count,
                          .heads = &head,
                          .head_count = 1};
    return stpn_net_create(net, &desc, error);
}
