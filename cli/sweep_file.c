#include "cli/sweep_file.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "cli/cli.h"
#include "cli/plan.h"
#include "io/json.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { PLACE_SIZE = 160, DIGITS = 4, NUMBER_SIZE = 32 };

#define FIELD(name) offsetof(sweep_options, name)

static const option table[] = {
    {"search", OPTION_CHOICE, FIELD(search), "grid|random|halving", 0, 0, "how the values are chosen"},
    {"runs", OPTION_INTEGER, FIELD(runs), NULL, 1, PLAN_RUNS_MOST, "random, halving: how many settings are drawn"},
    {"seed", OPTION_INTEGER, FIELD(seed), NULL, 0, 2147483647, "decides what is drawn"},
    {"budget", OPTION_LIST, FIELD(budget), NULL, 1, 2000000000, "halving: what the first and the last round train for"},
    {"factor", OPTION_INTEGER, FIELD(factor), NULL, 2, 100,
     "halving: a round keeps one in so many, for so much longer"},
    {"rank", OPTION_CHOICE, FIELD(rank), "auto|validation.accuracy|validation.loss|test.reward", 0, 0,
     "what is best: auto: the reward, the accuracy or the loss, whichever there is first"},
};

enum { TABLE = sizeof table / sizeof *table };

static const char *const kinds[SWEEP_KINDS] = {"values", "uniform", "log", "integer", "log_integer"};

static int is_logarithmic(const sweep_key *key)
{
    return key->kind == SWEEP_LOG || key->kind == SWEEP_LOG_INTEGER;
}

static int is_integer(const sweep_key *key)
{
    return key->kind == SWEEP_INTEGER || key->kind == SWEEP_LOG_INTEGER;
}

/* -------------------------------------------------------------------------------------------------------------- keys */

static stpn_status take_values(sweep_key *key, const json_t *values, const char *place, stpn_error *error)
{
    key->kind = SWEEP_VALUES;
    key->values = values;
    if (!json_is_array(values) || json_array_size(values) == 0)
        return error_set(error, STPN_ERROR_INPUT, "%s is %s, expected an array of values", place,
                         json_is_array(values) ? "empty" : json_kind(values));
    for (size_t i = 0; i < json_array_size(values); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(values, i), json_array_get(values, k)))
                return error_set(error, STPN_ERROR_INPUT, "%s has the same value twice, places %zu and %zu", place, k,
                                 i);
    return STPN_OK;
}

static stpn_status take_range(sweep_key *key, const json_t *range, const char *place, stpn_error *error)
{
    const json_t *low = json_array_get(range, 0), *high = json_array_get(range, 1);
    int fits = json_array_size(range) == 2 && json_is_number(low) && json_is_number(high);
    if (fits && is_integer(key)) fits = json_is_integer(low) && json_is_integer(high);
    key->low = json_number_value(low);
    key->high = json_number_value(high);
    fits = fits && isfinite(key->low) && isfinite(key->high) && key->low < key->high &&
           (!is_logarithmic(key) || key->low > 0) && (!is_integer(key) || key->high - key->low < 2e9);
    if (fits) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s.%s: expected [LOW, HIGH], two %s with %sLOW < HIGH", place,
                     kinds[key->kind], is_integer(key) ? "integers" : "numbers", is_logarithmic(key) ? "0 < " : "");
}

/* {"log": [1e-4, 1e-2], "steps": 5}, or an array of values. */
static stpn_status take_key(sweep_key *key, const json_t *value, const char *place, int grid, stpn_error *error)
{
    static const char *const known[] = {"values", "uniform", "log", "integer", "log_integer", "steps", NULL};
    if (json_is_array(value)) return take_values(key, value, place, error);
    if (!json_is_object(value))
        return error_set(error, STPN_ERROR_INPUT,
                         "%s is %s, expected an array of values or an object such as {\"log\": [1e-4, 1e-2]}", place,
                         json_kind(value));
    stpn_status status = options_from_json(value, place, NULL, 0, known, NULL, error);
    if (status) return status;
    int found = 0;
    for (int kind = 0; kind < SWEEP_KINDS; kind++)
        if (json_object_get(value, kinds[kind])) {
            key->kind = (sweep_kind)kind;
            found++;
        }
    if (found != 1)
        return error_set(error, STPN_ERROR_INPUT,
                         "%s says %d of values, uniform, log, integer and log_integer, expected one", place, found);
    const json_t *steps = json_object_get(value, "steps"), *range = json_object_get(value, kinds[key->kind]);
    int is_range = key->kind != SWEEP_VALUES;
    status = is_range ? take_range(key, range, place, error) : take_values(key, range, place, error);
    if (status) return status;
    if (steps && !(grid && is_range))
        return error_set(error, STPN_ERROR_INPUT, "%s.steps has an effect on a range in a grid alone", place);
    if (!grid || !is_range) return STPN_OK;
    json_int_t count = json_integer_value(steps);
    if (!json_is_integer(steps) || count < 2 || count > PLAN_RUNS_MOST)
        return error_set(
            error, STPN_ERROR_INPUT, "%s.steps is %s, expected an integer from 2 to %d: values of the grid", place,
            steps ? json_is_integer(steps) ? "out of bounds" : json_kind(steps) : "missing", (int)PLAN_RUNS_MOST);
    key->steps = (int)count;
    return STPN_OK;
}

static stpn_status take_keys(sweep *s, stpn_error *error)
{
    const json_t *keys = json_object_get(s->document, "keys");
    const char *name;
    json_t *value;
    if (!json_is_object(keys) || json_object_size(keys) == 0 || json_object_size(keys) > SWEEP_KEYS_MOST)
        return error_set(error, STPN_ERROR_INPUT, "keys is %s, expected an object of 1 to %d keys of the experiment",
                         !keys                  ? "missing"
                         : json_is_object(keys) ? json_object_size(keys) ? "too large" : "empty"
                                                : json_kind(keys),
                         (int)SWEEP_KEYS_MOST);
    json_object_foreach((json_t *)(uintptr_t)keys, name, value)
    {
        char place[PLACE_SIZE];
        sweep_key *key = &s->keys[s->key_count++];
        key->name = name;
        snprintf(place, sizeof place, "keys.%.120s", name);
        if (strcmp(name, "seed") == 0 || strcmp(name, "name") == 0)
            return error_set(error, STPN_ERROR_INPUT, "%s: %s", place,
                             *name == 's' ? "the seeds of the runs are given by \"seeds\""
                                          : "the runs of a sweep are of one experiment");
        if (!*name || strchr(name, '='))
            return error_set(error, STPN_ERROR_INPUT, "%s is no key, expected one such as train.learning_rate", place);
        stpn_status status = take_key(key, value, place, s->options.search == SWEEP_GRID, error);
        if (status) return status;
    }
    return STPN_OK;
}

/* -------------------------------------------------------------------------------------------------------- the search */

static int level_count(const sweep_key *key)
{
    return key->kind == SWEEP_VALUES ? (int)json_array_size(key->values) : key->steps;
}

static stpn_status plan_grid(sweep *s, stpn_error *error)
{
    double count = 1;
    if (s->options.runs)
        return error_set(error, STPN_ERROR_INPUT, "runs has no effect with search \"grid\": all settings are tried");
    for (int i = 0; i < s->key_count; i++) count *= level_count(&s->keys[i]);
    if (count > PLAN_RUNS_MOST)
        return error_set(error, STPN_ERROR_INPUT, "the grid has %.0f settings, expected at most %d", count,
                         (int)PLAN_RUNS_MOST);
    s->configurations = (int)count;
    return STPN_OK;
}

/* Rounds until the last budget is reached. */
static stpn_status plan_halving(sweep *s, stpn_error *error)
{
    const option_list *budget = &s->options.budget;
    if (budget->count != 2 || budget->values[0] >= budget->values[1])
        return error_set(
            error, STPN_ERROR_INPUT,
            "budget is %s, expected [FIRST, LAST], what the first and the last round train for, FIRST < LAST",
            budget->count == 0   ? "missing"
            : budget->count == 2 ? "the wrong way round"
                                 : "no pair");
    for (int i = 0; i < s->key_count; i++)
        if (strcmp(s->keys[i].name, s->budget_key) == 0)
            return error_set(error, STPN_ERROR_INPUT, "keys.%s: halving sets it to the budget of each round",
                             s->budget_key);
    while (sweep_budget(s, s->rounds - 1) < budget->values[1]) s->rounds++;
    return STPN_OK;
}

static stpn_status plan_search(sweep *s, stpn_error *error)
{
    const sweep_options *o = &s->options;
    int halving = o->search == SWEEP_HALVING;
    s->rounds = 1;
    for (int i = 0; i < 2 && !halving; i++) {
        static const char *const own[] = {"budget", "factor"};
        if (json_object_get(s->document, own[i]))
            return error_set(error, STPN_ERROR_INPUT, "%s has an effect with search \"halving\" alone", own[i]);
    }
    if (o->search == SWEEP_GRID) return plan_grid(s, error);
    if (!o->runs)
        return error_set(error, STPN_ERROR_INPUT, "runs is missing, expected an integer from 1 to %d: settings to draw",
                         (int)PLAN_RUNS_MOST);
    s->configurations = o->runs;
    return halving ? plan_halving(s, error) : STPN_OK;
}

/* What the experiment says: what a budget counts, and what there is to rank by. */
static stpn_status look_at_experiment(sweep *s, stpn_error *error)
{
    experiment e;
    stpn_status status = experiment_read(&e, s->experiment, s->set, s->set_count, NULL, error);
    if (status) return status;
    s->budget_key = !e.env ? "train.epochs" : e.train.rollout ? "train.steps" : "train.iterations";
    int has_accuracy = !e.env && e.shape.loss != LOSS_SQUARED;
    int wrong = (s->options.rank == SWEEP_REWARD && !e.env) || (s->options.rank == SWEEP_LOSS && e.env) ||
                (s->options.rank == SWEEP_ACCURACY && !has_accuracy);
    if (wrong)
        status = error_set(error, STPN_ERROR_INPUT, "rank is \"%s\", which the runs of %s do not have",
                           sweep_measure(s, NULL), s->experiment);
    if (s->options.rank == SWEEP_AUTO)
        s->options.rank = e.env ? SWEEP_REWARD : has_accuracy ? SWEEP_ACCURACY : SWEEP_LOSS;
    experiment_free(&e);
    return status;
}

/* -------------------------------------------------------------------------------------------------------------- file */

static stpn_status take_set(sweep *s, const char *const *set, int set_count, stpn_error *error)
{
    const json_t *own = json_object_get(s->document, "set");
    size_t count = json_array_size(own);
    s->set = memory_zeroed(count + (size_t)set_count + 1, sizeof *s->set);
    if (!s->set) return error_memory(error, "the sweep");
    for (size_t i = 0; i < count; i++) s->set[s->set_count++] = json_string_value(json_array_get(own, i));
    for (size_t i = 0; i < count; i++)
        if (!s->set[i]) count = 0;
    if (own && !count)
        return error_set(error, STPN_ERROR_INPUT, "set is not an array of strings such as \"task.pairs=2\"");
    for (int i = 0; i < set_count; i++) s->set[s->set_count++] = set[i];
    const char *seed = setting_of_seed(s->set, s->set_count);
    if (!seed) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%.100s has no effect: a sweep's runs have its \"seeds\"", seed);
}

/* Beside the file of the sweep, unless its path starts at the root. */
static stpn_status find_experiment(sweep *s, const char *path, stpn_error *error)
{
    const char *name, *slash = strrchr(path, '/');
    stpn_status status = json_text(s->document, "", "experiment", &name, error);
    if (status) return status;
    size_t folder = *name == '/' || !slash ? 0 : (size_t)(slash - path) + 1, size = folder + strlen(name) + 1;
    s->experiment = memory_zeroed(size, 1);
    if (!s->experiment) return error_memory(error, "the sweep");
    snprintf(s->experiment, size, "%.*s%s", (int)folder, path, name);
    return STPN_OK;
}

static stpn_status take_document(sweep *s, const char *path, const char *const *set, int set_count, stpn_error *error)
{
    static const char *const others[] = {"experiment", "keys", "seeds", "set", "note", NULL};
    const char *text;
    s->options.factor = 3;
    stpn_status status = options_from_json(s->document, "", table, TABLE, others, &s->options, error);
    if (!status) status = find_experiment(s, path, error);
    if (!status) status = take_set(s, set, set_count, error);
    if (!status && json_object_get(s->document, "seeds")) status = json_text(s->document, "", "seeds", &text, error);
    if (!status) status = take_keys(s, error);
    return status;
}

int sweep_read(sweep *s, const char *path, const char *const *set, int set_count)
{
    stpn_error error, inner;
    char place[RUN_PATH];
    *s = (sweep){0};
    stpn_status status = json_read_file(&s->document, path, &error);
    if (status) return complain(status, &error);
    status = take_document(s, path, set, set_count, &inner);
    if (status) error_set(&error, status, "%s: %s", path, inner.message);
    /* What the experiment's own file says wrong is told under its name. */
    if (!status) status = look_at_experiment(s, &error);
    if (!status) {
        status = plan_search(s, &inner);
        if (status) error_set(&error, status, "%s: %s", path, inner.message);
    }
    if (status) return complain(status, &error);
    const char *seeds = json_string_value(json_object_get(s->document, "seeds"));
    snprintf(place, sizeof place, "%.4000s: seeds", path);
    int code = read_seeds(&s->seeds, seeds ? seeds : "0", place);
    int64_t runs = (int64_t)s->configurations * s->seeds.count;
    if (!code && runs > PLAN_RUNS_MOST) {
        say("%s: there are %lld runs, expected at most %d", path, (long long)runs, (int)PLAN_RUNS_MOST);
        code = EXIT_WRONG_USE;
    }
    return code;
}

void sweep_free(sweep *s)
{
    json_decref(s->document);
    memory_free(s->experiment);
    memory_free((void *)s->set);
    seeds_free(&s->seeds);
    *s = (sweep){0};
}

/* ------------------------------------------------------------------------------------------------------------ values */

/* At `share` of the way through the range, in few digits: nobody means more. */
static void range_text(const sweep_key *key, double share, char text[NUMBER_SIZE])
{
    double low = key->low, high = key->high;
    double value = is_logarithmic(key) ? low * pow(high / low, share) : low + share * (high - low);
    if (is_integer(key)) {
        snprintf(text, NUMBER_SIZE, "%.0f", fmin(fmax(floor(value + 0.5), low), high));
        return;
    }
    snprintf(text, NUMBER_SIZE, "%.*g", DIGITS, value);
    double rounded = strtod(text, NULL);
    if (rounded < low || rounded > high) snprintf(text, NUMBER_SIZE, "%.17g", rounded < low ? low : high);
}

static int put(buffer *text, const char *words)
{
    return buffer_append(text, words, strlen(words));
}

static int put_json(buffer *text, const json_t *value)
{
    char *dump = json_to_text(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    int done = dump && put(text, dump);
    memory_free(dump);
    return done;
}

/* A key's draw depends on the sweep's seed, the configuration and the key's name: not on the other keys. */
static random_stream stream_of(const sweep *s, int index, const sweep_key *key)
{
    uint64_t name = crc32(0, (const Bytef *)key->name, (uInt)strlen(key->name));
    return random_open((uint64_t)s->options.seed, RANDOM_SWEEP, (uint64_t)index << 32 | name);
}

int sweep_setting(const sweep *s, int index, int place, buffer *text)
{
    const sweep_key *key = &s->keys[place];
    random_stream stream = stream_of(s, index, key);
    char number[NUMBER_SIZE];
    int level = -1;
    if (s->options.search == SWEEP_GRID) { // the last key goes through its values first
        for (int k = s->key_count - 1; k > place; k--) index /= level_count(&s->keys[k]);
        level = index % level_count(key);
    }
    if (!put(text, key->name) || !put(text, "=")) return 0;
    if (key->kind == SWEEP_VALUES) {
        size_t count = json_array_size(key->values);
        size_t at = level >= 0 ? (size_t)level : random_below(&stream, (uint32_t)count);
        return put_json(text, json_array_get(key->values, at));
    }
    if (level >= 0) range_text(key, (double)level / (key->steps - 1), number);
    else if (key->kind == SWEEP_INTEGER)
        snprintf(number, sizeof number, "%.0f", key->low + random_below(&stream, (uint32_t)(key->high - key->low) + 1));
    else range_text(key, random_unit(&stream), number);
    return put(text, number);
}

int sweep_budget(const sweep *s, int round)
{
    double budget = s->options.budget.values[0] * pow(s->options.factor, round);
    int last = s->options.budget.values[1];
    return budget < last ? (int)budget : last;
}

int sweep_kept(const sweep *s, int round)
{
    int count = s->configurations;
    for (int i = 0; i < round; i++) count /= s->options.factor;
    return count > 0 ? count : 1;
}

const char *sweep_measure(const sweep *s, int *ascending)
{
    static const char *const paths[] = {"auto", "validation.accuracy", "validation.loss", "test.reward"};
    if (ascending) *ascending = s->options.rank == SWEEP_LOSS;
    return paths[s->options.rank];
}

json_t *sweep_resolved(const sweep *s)
{
    json_t *root = json_object(), *set = json_array();
    int failed = !root || !set || !options_to_json(table, TABLE, &s->options, root);
    for (int i = 0; i < s->set_count && !failed; i++) failed |= json_array_append_new(set, json_string(s->set[i]));
    const json_t *seeds = json_object_get(s->document, "seeds");
    failed |= json_object_set_new(root, "seeds", json_string(seeds ? json_string_value(seeds) : "0"));
    failed |= json_object_set_new(root, "set", set);
    failed |= json_object_set(root, "keys", json_object_get(s->document, "keys"));
    for (int i = 0; i < 2 && s->options.search != SWEEP_HALVING; i++) json_object_del(root, i ? "budget" : "factor");
    if (s->options.search == SWEEP_GRID) {
        json_object_del(root, "runs");
        json_object_del(root, "seed");
    }
    if (!failed) return root;
    json_decref(root);
    return NULL;
}
