#include "train/experiment.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/unit_json.h"
#include "net/encoder.h"
#include "tasks/env_json.h"
#include "train/origin.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { MAX_UNITS = 64, NAME_MOST = 100, OPTIONS_MOST = 128 };
enum { ENCODER_MOST = 16 };
enum { ROLLOUT_A2C = 50, ROLLOUT_PPO = 2048 }; // steps, where the file does not say

void experiment_free(experiment *e)
{
    memory_free(e->name);
    memory_free(e->note);
    memory_free(e->encoder);
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

static const option encoder_table[] = {
    {"filters", OPTION_INTEGER, offsetof(stpn_conv, filters), NULL, 16, 1024, "number of filters, a multiple of 16"},
    {"size", OPTION_INTEGER, offsetof(stpn_conv, size), NULL, 1, 64, "rows and columns of a filter"},
    {"stride", OPTION_INTEGER, offsetof(stpn_conv, stride), NULL, 1, 64, "pixels from a place of a filter to the next"},
};

const option *encoder_option_table(int *count)
{
    *count = sizeof encoder_table / sizeof *encoder_table;
    return encoder_table;
}

/* What experiment_net makes. */
static stpn_net_desc describe_net(const experiment *e)
{
    const env_shape *s = &e->env_shape;
    int encoded = e->encoder_count > 0;
    return (stpn_net_desc){.inputs = e->shape.inputs,
                           .units = e->units,
                           .unit_count = e->unit_count,
                           .encoder = e->encoder,
                           .encoder_count = e->encoder_count,
                           .height = s->height,
                           .width = s->width,
                           .channels = s->channels,
                           .offset = encoded ? s->offset : 0,
                           .scale = encoded ? s->scale : 0};
}

static stpn_status read_encoder(experiment *e, const json_t *root, stpn_error *error)
{
    const json_t *list;
    stpn_net_desc desc = describe_net(e);
    e->features = e->shape.inputs;
    if (!json_object_get(root, "encoder")) return STPN_OK;
    stpn_status status = member(root, "encoder", 1, &list, error);
    if (status) return status;
    if (!e->env || e->env_shape.height == 0)
        return error_set(error, STPN_ERROR_INPUT, "encoder has no effect with task %s, whose inputs are no images",
                         e->env ? e->env->name : e->task->name);
    size_t count = json_array_size(list);
    if (count < 1 || count > ENCODER_MOST)
        return error_set(error, STPN_ERROR_INPUT, "encoder has %zu layers, expected 1 to %d", count, (int)ENCODER_MOST);
    e->encoder = memory_zeroed(count, sizeof *e->encoder);
    if (!e->encoder) return error_memory(error, "the experiment");
    for (size_t i = 0; i < count && !status; i++) {
        char place[32];
        const char *const others[] = {NULL};
        const json_t *object = json_array_get(list, i);
        snprintf(place, sizeof place, "encoder[%zu]", i);
        if (!json_is_object(object))
            return error_set(error, STPN_ERROR_INPUT, "%s is %s, expected an object", place, json_kind(object));
        e->encoder[i] = (stpn_conv){0};
        int known;
        const option *table = encoder_option_table(&known);
        status = options_from_json(object, place, table, known, others, &e->encoder[i], error);
        e->encoder_count++;
    }
    desc = describe_net(e);
    return status ? status : encoder_check(&desc, &e->features, error);
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
        if (!status) status = unit_check(&e->units[i], i ? e->units[i - 1].hidden : e->features, place, error);
        e->unit_count++;
    }
    return status;
}

static stpn_status read_environment(experiment *e, const json_t *object, stpn_error *error)
{
    stpn_status status = env_from_json(e->env, object, &e->env_options, &e->env_shape, error);
    e->shape = (task_shape){
        .inputs = e->env_shape.observations, .steps = e->env_shape.steps, .type = e->env_shape.type, .per_step = 1};
    return status;
}

static stpn_status read_task(experiment *e, const json_t *root, const char *folder, stpn_error *error)
{
    const json_t *object;
    const char *name;
    char known[256], environments[128];
    stpn_status status = member(root, "task", 0, &object, error);
    if (!status) status = json_text(object, "task", "name", &name, error);
    if (status) return status;
    e->task = task_find(name);
    e->env = env_find(name);
    if (e->env) return read_environment(e, object, error);
    task_names(known, sizeof known);
    env_names(environments, sizeof environments);
    if (!e->task)
        return error_set(error, STPN_ERROR_INPUT, "task.name is \"%.100s\", expected one of %s, %s", name, known,
                         environments);
    const char *const others[] = {"name", NULL};
    e->task_options = e->task->defaults;
    snprintf(e->task_options.folder, sizeof e->task_options.folder, "%s", folder);
    status =
        options_from_json(object, "task", e->task->options, e->task->option_count, others, &e->task_options, error);
    return status ? status : e->task->describe(&e->task_options, &e->shape, error);
}

static const char *const methods[] = {[METHOD_SUPERVISED] = "supervised", [METHOD_A2C] = "a2c", [METHOD_PPO] = "ppo"};
enum { METHODS = sizeof methods / sizeof *methods };

/* The options that only one method has, and their place; NULL where there are none. */
static const option *method_table(experiment *e, int method, int *count, void **fields)
{
    *count = 0;
    *fields = method == METHOD_PPO ? (void *)&e->ppo : (void *)&e->a2c;
    if (method == METHOD_PPO) return ppo_option_table(count);
    return method == METHOD_A2C ? a2c_option_table(count) : NULL;
}

static int has_name(const option *table, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return 1;
    return 0;
}

/* The names of all tables of `train` but one, as options_from_json takes them; those of the method's own table come once. */
static void names_beside(experiment *e, const option *but, const char *names[OPTIONS_MOST])
{
    int used = 0, count, other_count;
    void *fields;
    const option *own = method_table(e, e->train.method, &other_count, &fields), *table = train_option_table(&count);
    for (int i = 0; i < count && table != but; i++) names[used++] = table[i].name;
    for (int method = 0; method < METHODS; method++) {
        table = method_table(e, method, &count, &fields);
        for (int i = 0; i < count && table != but; i++)
            if (table == own || !has_name(own, other_count, table[i].name)) names[used++] = table[i].name;
    }
    names[used] = NULL;
}

static stpn_status check_train(experiment *e, const json_t *object, stpn_error *error)
{
    int count, own_count;
    void *fields;
    const option *table = train_option_table(&count), *own = method_table(e, e->train.method, &own_count, &fields);
    for (int i = 0; i < count; i++) {
        const char *key = table[i].name;
        int elsewhere = 0;
        if (!json_object_get(object, key) || train_option_applies(&e->train, key)) continue;
        for (int method = 0; method < METHODS; method++) {
            train_options other = e->train;
            other.method = method;
            elsewhere |= train_option_applies(&other, key);
        }
        if (e->train.method == METHOD_A2C && (strcmp(key, "iterations") == 0 || strcmp(key, "steps") == 0))
            return error_set(error, STPN_ERROR_INPUT, "train.%s has no effect with train.rollout %d", key,
                             e->train.rollout);
        return error_set(error, STPN_ERROR_INPUT, "train.%s has no effect with this train.%s", key,
                         elsewhere ? "method" : "schedule");
    }
    for (int method = 0; method < METHODS; method++) {
        table = method_table(e, method, &count, &fields);
        for (int i = 0; i < count; i++)
            if (json_object_get(object, table[i].name) && !has_name(own, own_count, table[i].name))
                return error_set(error, STPN_ERROR_INPUT, "train.%s has no effect with this train.method",
                                 table[i].name);
    }
    if (e->task_options.train > 0 && e->train.batch > e->task_options.train)
        return error_set(error, STPN_ERROR_INPUT, "train.batch is %d, expected at most the %d sequences of task.train",
                         e->train.batch, e->task_options.train);
    return STPN_OK;
}

static stpn_status check_method(const experiment *e, int fallback, stpn_error *error)
{
    int method = e->train.method;
    if (method == fallback || (e->env && method != METHOD_SUPERVISED)) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "train.method is \"%s\", expected %s with task %s", methods[method],
                     e->env ? "\"a2c\" or \"ppo\"" : "\"supervised\"", e->env ? e->env->name : e->task->name);
}

/* A density has no sum of squares to weigh. */
static stpn_status check_concentration(const experiment *e, stpn_error *error)
{
    int applies = e->env && e->train.method == METHOD_A2C && e->env_shape.continuous;
    if (!applies || e->a2c.concentration_weight == 0) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "train.concentration_weight is %g, expected 0 with task %s, whose actions are continuous",
                     e->a2c.concentration_weight, e->env->name);
}

/* What is not given is the method's own. */
static void default_rollouts(experiment *e, int method)
{
    int by_ppo = method == METHOD_PPO;
    e->train.rollout = by_ppo ? ROLLOUT_PPO : e->env_shape.steps == 0 ? ROLLOUT_A2C : 0;
    e->train.test_greedy = by_ppo;
}

/* Whole rollouts; a2c also learns from whole episodes, where they have one length. */
static stpn_status plan_rollouts(experiment *e, stpn_error *error)
{
    train_options *o = &e->train;
    int64_t each = (int64_t)o->rollout * o->batch;
    if (each == 0 && o->method == METHOD_A2C && e->env_shape.steps > 0) return STPN_OK;
    if (each == 0)
        return error_set(error, STPN_ERROR_INPUT, "train.rollout is 0, expected 1 or more with task %s and \"%s\"",
                         e->env->name, methods[o->method]);
    if (each > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "train.rollout is %d of %d copies each, expected at most %d steps",
                         o->rollout, o->batch, 1 << 24);
    if (o->method == METHOD_PPO && e->ppo.normalise_observations && e->env_shape.type != STPN_INPUT_FLOAT)
        return error_set(error, STPN_ERROR_INPUT,
                         "train.normalise_observations is true, expected false with task %s, which shows bytes",
                         e->env->name);
    o->iterations = (int)((o->steps - 1) / each + 1);
    return STPN_OK;
}

static stpn_status read_train(experiment *e, const json_t *root, stpn_error *error)
{
    const char *names[OPTIONS_MOST];
    int count, method = !e->env ? METHOD_SUPERVISED : e->env_shape.continuous ? METHOD_PPO : METHOD_A2C;
    void *fields;
    const json_t *object = json_object_get(root, "train");
    e->train = train_option_defaults();
    e->a2c = a2c_option_defaults();
    e->ppo = ppo_option_defaults();
    e->train.method = method;
    if (e->env) default_rollouts(e, method);
    if (e->env && e->env_shape.continuous) e->a2c.concentration_weight = 0;
    stpn_status status = object ? member(root, "train", 0, &object, error) : STPN_OK;
    const option *table = train_option_table(&count);
    if (!status && object) {
        const json_t *named = json_object_get(object, "method");
        const char *word = json_is_string(named) ? json_string_value(named) : methods[method];
        if (e->env) default_rollouts(e, strcmp(word, methods[METHOD_PPO]) == 0 ? METHOD_PPO : METHOD_A2C);
        names_beside(e, table, names);
        status = options_from_json(object, "train", table, count, names, &e->train, error);
        if (!status) status = check_method(e, method, error);
        table = method_table(e, e->train.method, &count, &fields);
        names_beside(e, table, names);
        if (!status) status = options_from_json(object, "train", table, count, names, fields, error);
        if (!status) status = check_concentration(e, error);
    }
    if (!status && e->env) status = plan_rollouts(e, error);
    return status || !object ? status : check_train(e, object, error);
}

static stpn_status read_top(experiment *e, const json_t *root, const uint64_t *seed, stpn_error *error)
{
    static const char *const known[] = {"name", "note", "seed", "version", "task", "encoder", "units", "train", NULL};
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

static int resolve_task(const experiment *e, json_t *task)
{
    int failed = json_object_set_new(task, "name", json_string(e->env ? e->env->name : e->task->name));
    if (e->env) {
        failed |= !options_to_json(e->env->options, e->env->option_count, &e->env_options, task);
        if (e->env_options.mask.count == 0) json_object_del(task, "mask");
        return failed;
    }
    return failed | !options_to_json(e->task->options, e->task->option_count, &e->task_options, task);
}

static int resolve_train(experiment *e, json_t *train)
{
    int count;
    void *fields;
    const option *table = train_option_table(&count);
    int failed = !options_to_json(table, count, &e->train, train);
    for (int i = 0; i < count; i++)
        if (!train_option_applies(&e->train, table[i].name)) json_object_del(train, table[i].name);
    table = method_table(e, e->train.method, &count, &fields);
    return failed | !options_to_json(table, count, fields, train);
}

static json_t *resolve_encoder(const experiment *e)
{
    int count;
    const option *table = encoder_option_table(&count);
    json_t *list = json_array();
    for (int i = 0; i < e->encoder_count; i++) {
        json_t *layer = json_object();
        int done = options_to_json(table, count, &e->encoder[i], layer);
        if (json_array_append_new(list, layer) == 0 && done) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* Every value that has an effect, in the order of the tables. */
static json_t *resolve(experiment *e)
{
    json_t *root = json_object(), *task = json_object(), *units = json_array(), *train = json_object();
    int failed = json_object_set_new(root, "name", json_string(e->name));
    if (e->note) failed |= json_object_set_new(root, "note", json_string(e->note));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)e->seed));
    failed |= json_object_set_new(root, "version", json_string(STPN_VERSION));
    failed |= resolve_task(e, task);
    failed |= resolve_train(e, train);
    for (int i = 0; i < e->unit_count && !failed; i++)
        failed |= json_array_append_new(units, unit_to_json(&e->units[i]));
    failed |= json_object_set_new(root, "task", task);
    if (e->encoder_count) failed |= json_object_set_new(root, "encoder", resolve_encoder(e));
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
    if (!status) status = read_encoder(e, root, error);
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
    /* A mean and a scale for each value of a continuous action. */
    int outputs = e->env_shape.continuous ? 2 * e->env_shape.continuous : e->env_shape.actions;
    const stpn_head heads[2] = {{e->env ? "policy" : "readout", e->env ? outputs : e->shape.outputs}, {"value", 1}};
    stpn_net_desc desc = describe_net(e);
    desc.real = real;
    desc.heads = heads;
    desc.head_count = e->env ? 2 : 1;
    return stpn_net_create(net, &desc, error);
}
