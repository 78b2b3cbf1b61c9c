#include "cli/plan.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/place.h"
#include "cli/cli.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_SIZE = 512 };

/* Three texts behind each other; NULL where memory is out. */
static char *text_make(const char *before, const char *between, const char *after)
{
    size_t size = strlen(before) + strlen(between) + strlen(after) + 1;
    char *text = memory_zeroed(size, 1);
    if (text) snprintf(text, size, "%s%s%s", before, between, after);
    return text;
}

/* ------------------------------------------------------------------------------------------------ where experiments lie */

static int has_manifest(const char *folder, const char *name)
{
    char path[RUN_PATH];
    int length = snprintf(path, sizeof path, "%s/%s/%s", folder, name, PLAN_MANIFEST);
    return length > 0 && (size_t)length < sizeof path && file_exists(path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* "familiarity, retrieval". */
static void list_names(const char *folder, char *text, size_t size)
{
    struct dirent **entries;
    size_t used = 0;
    int count = scandir(folder, &entries, NULL, by_name);
    snprintf(text, size, "none");
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (name[0] != '.' && has_manifest(folder, name) && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
        free(entries[i]);
    }
    if (count >= 0) free((void *)entries);
}

/* The folder that holds NAME with its manifest. */
static int find_experiments(const plan_options *o, char folder[RUN_PATH])
{
    static const char *const beside[] = {"share/stpn/experiments", "experiments"};
    char names[LIST_SIZE];
    if (!*o->name || o->name[strspn(o->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
        return complain_of_use(
            "reproduce", "\"%s\" is no name of experiments; with --experiments DIR it is a folder in DIR", o->name);
    snprintf(folder, RUN_PATH, "%s", o->folder ? o->folder : "experiments");
    if (has_manifest(folder, o->name)) return EXIT_DONE;
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !o->folder; i++) {
        char path[RUN_PATH];
        if (!place_beside(path, sizeof path, beside[i]) || !file_is_folder(path)) continue;
        if (!file_is_folder(folder)) snprintf(folder, RUN_PATH, "%s", path);
        if (!has_manifest(path, o->name)) continue;
        snprintf(folder, RUN_PATH, "%s", path);
        return EXIT_DONE;
    }
    if (!file_is_folder(folder))
        return complain_of_use("reproduce", "%s: there is no such folder of experiments; name one with --experiments",
                               folder);
    list_names(folder, names, sizeof names);
    return complain_of_use("reproduce", "%s/%s: has no %s; in this folder have one: %s", folder, o->name, PLAN_MANIFEST,
                           names);
}

/* ---------------------------------------------------------------------------------------------------------- manifest */

/* An array of strings, or of objects; a key that is not there is an empty one. */
static stpn_status array_of(const json_t *object, const char *place, const char *key, int strings, const json_t **array,
                            stpn_error *error)
{
    *array = json_object_get(object, key);
    if (!*array) return STPN_OK;
    int right = json_is_array(*array);
    for (size_t i = 0; i < json_array_size(*array); i++) {
        const json_t *entry = json_array_get(*array, i);
        right &= strings ? json_is_string(entry) : json_is_object(entry);
    }
    if (right) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s%s is not an array of %s", place, key,
                     strings ? "strings" : "objects");
}

static stpn_status check_variation(const json_t *variation, size_t index, stpn_error *error)
{
    static const char *const known[] = {"suffix", "set", NULL};
    char place[48];
    const char *suffix;
    const json_t *set;
    snprintf(place, sizeof place, "variations[%zu]", index);
    stpn_status status = options_from_json(variation, place, NULL, 0, known, NULL, error);
    if (!status) status = json_text(variation, place, "suffix", &suffix, error);
    snprintf(place, sizeof place, "variations[%zu].", index);
    return status ? status : array_of(variation, place, "set", 1, &set, error);
}

static stpn_status read_manifest(json_t **manifest, const char *path, stpn_error *error)
{
    static const char *const known[] = {"note", "experiments", "variations", "seeds", NULL};
    const json_t *files, *variations;
    const char *text;
    stpn_error inner;
    stpn_status status = json_read_file(manifest, path, error);
    if (status) return status;
    status = options_from_json(*manifest, "", NULL, 0, known, NULL, &inner);
    if (!status) status = array_of(*manifest, "", "experiments", 1, &files, &inner);
    if (!status) status = array_of(*manifest, "", "variations", 0, &variations, &inner);
    for (size_t i = 0; !status && i < json_array_size(variations); i++)
        status = check_variation(json_array_get(variations, i), i, &inner);
    if (!status && json_object_get(*manifest, "seeds")) status = json_text(*manifest, "", "seeds", &text, &inner);
    if (!status && !json_array_size(files)) status = error_set(&inner, STPN_ERROR_INPUT, "experiments names no file");
    return status ? error_set(error, status, "%s: %s", path, inner.message) : STPN_OK;
}

/* ----------------------------------------------------------------------------------------------------------- entries */

static stpn_status add_setting(plan_entry *entry, const char *key, const char *value, stpn_error *error)
{
    char *text = text_make(key, *key ? "=" : "", value);
    if (!text) return error_memory(error, "the plan");
    entry->set[entry->set_count++] = text;
    return STPN_OK;
}

/* Name and cost; the name takes the suffix before the command line's settings are made, which may change anything else. */
static stpn_status describe_entry(plan_entry *entry, const char *suffix, const plan_options *o, stpn_error *error)
{
    experiment e;
    stpn_net *net;
    stpn_status status =
        experiment_read(&e, entry->file, (const char *const *)entry->set, entry->set_count, NULL, error);
    if (!status && *suffix) {
        char *name = text_make(e.name, "-", suffix);
        status = name ? add_setting(entry, "name", name, error) : error_memory(error, "the plan");
        memory_free(name);
    }
    experiment_free(&e);
    for (int i = 0; i < o->set_count && !status; i++) status = add_setting(entry, "", o->set[i], error);
    if (!status)
        status = experiment_read(&e, entry->file, (const char *const *)entry->set, entry->set_count, NULL, error);
    if (status) return status;
    entry->name = memory_string(e.name);
    if (!entry->name) status = error_memory(error, "the plan");
    if (!status) status = experiment_net(&net, &e, STPN_FLOAT, error);
    if (!status) {
        /* Sequences that stand in a file are not counted here. */
        int sequences = e.env ? e.train.batch : e.task_options.train > 0 ? e.task_options.train : 1;
        int passes = e.env ? e.train.iterations : e.train.epochs;
        entry->cost = (double)stpn_net_parameter_count(net) * passes * sequences *
                      (e.train.method == METHOD_PPO ? e.train.rollout * e.ppo.passes
                       : e.train.rollout            ? e.train.rollout
                                                    : e.shape.steps);
        stpn_net_free(net);
    }
    experiment_free(&e);
    return status;
}

stpn_status plan_add_entry(plan *p, const char *file, const char *const *set, int set_count, stpn_error *error)
{
    static const plan_options none;
    plan_entry *entry = &p->entries[p->entry_count++];
    entry->file = memory_string(file);
    entry->set = memory_zeroed((size_t)set_count + 1, sizeof *entry->set);
    if (!entry->file || !entry->set) return error_memory(error, "the plan");
    stpn_status status = STPN_OK;
    for (int i = 0; i < set_count && !status; i++) status = add_setting(entry, "", set[i], error);
    return status ? status : describe_entry(entry, "", &none, error);
}

static stpn_status add_entry(plan *p, const char *folder, const char *file, const json_t *variation,
                             const plan_options *o, stpn_error *error)
{
    plan_entry *entry = &p->entries[p->entry_count++];
    const json_t *set = json_object_get(variation, "set");
    const char *suffix = json_string_value(json_object_get(variation, "suffix"));
    size_t count = json_array_size(set);
    entry->file = text_make(folder, "/", file);
    entry->set = memory_zeroed(count + (size_t)o->set_count + 1, sizeof *entry->set);
    if (!entry->file || !entry->set) return error_memory(error, "the plan");
    stpn_status status = STPN_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = add_setting(entry, "", json_string_value(json_array_get(set, i)), error);
    return status ? status : describe_entry(entry, suffix ? suffix : "", o, error);
}

static stpn_status add_entries(plan *p, const char *folder, const json_t *manifest, const plan_options *o,
                               stpn_error *error)
{
    const json_t *files = json_object_get(manifest, "experiments"),
                 *variations = json_object_get(manifest, "variations");
    size_t count = json_array_size(variations) ? json_array_size(variations) : 1;
    p->entries = memory_zeroed(json_array_size(files) * count, sizeof *p->entries);
    if (!p->entries) return error_memory(error, "the plan");
    for (size_t i = 0; i < json_array_size(files); i++) {
        for (size_t v = 0; v < count; v++) {
            const char *file = json_string_value(json_array_get(files, i));
            stpn_status status = add_entry(p, folder, file, json_array_get(variations, v), o, error);
            if (status) return status;
        }
    }
    return STPN_OK;
}

/* -------------------------------------------------------------------------------------------------------------- runs */

/* A run that is there already has to be the one that is asked for. */
static stpn_status check_run(plan_run *r, stpn_error *error)
{
    char path[RUN_PATH], summary[RUN_PATH], place[256];
    experiment before, wanted;
    stpn_status status = run_path(path, r->folder, RUN_EXPERIMENT, error);
    if (!status) status = run_path(summary, r->folder, RUN_SUMMARY, error);
    if (status || !file_exists(path)) return status;
    const plan_entry *entry = r->entry;
    status = experiment_read(&before, path, NULL, 0, NULL, error);
    if (status) return status;
    status = experiment_read(&wanted, entry->file, (const char *const *)entry->set, entry->set_count, &r->seed, error);
    if (!status && json_difference(before.resolved, wanted.resolved, place, sizeof place))
        status = error_set(error, STPN_ERROR_INPUT,
                           "%s: %s differs from the run's %s: name another folder with --out, or remove this one",
                           r->folder, place, RUN_EXPERIMENT);
    experiment_free(&wanted);
    experiment_free(&before);
    r->finished = !status && file_exists(summary);
    return status;
}

stpn_status plan_add_run(plan *p, const plan_entry *entry, uint64_t seed, const char *out, const char *name,
                         stpn_error *error)
{
    plan_run *r = &p->runs[p->run_count++];
    r->entry = entry;
    r->seed = seed;
    snprintf(r->name, sizeof r->name, "%s", name);
    stpn_status status = run_path(r->folder, out, r->name, error);
    for (int i = 0; i < p->run_count - 1 && !status; i++)
        if (strcmp(p->runs[i].name, r->name) == 0)
            status =
                error_set(error, STPN_ERROR_INPUT, "%s and %s are both called %s: experiments need different names",
                          p->runs[i].entry->file, entry->file, entry->name);
    return status ? status : check_run(r, error);
}

/* What takes longest starts first, so that the last runs to end are short; equal ones as they stand in the manifest. */
static int by_cost(const void *left, const void *right)
{
    const plan_run *a = left, *b = right;
    int order = (a->entry->cost < b->entry->cost) - (a->entry->cost > b->entry->cost);
    if (!order) order = (a->entry > b->entry) - (a->entry < b->entry);
    return order ? order : (a->seed > b->seed) - (a->seed < b->seed);
}

void plan_sort(plan *p)
{
    qsort(p->runs, (size_t)p->run_count, sizeof *p->runs, by_cost);
}

static stpn_status add_runs(plan *p, const seed_list *seeds, const char *out, stpn_error *error)
{
    int64_t count = (int64_t)p->entry_count * seeds->count;
    if (count > PLAN_RUNS_MOST)
        return error_set(error, STPN_ERROR_INPUT, "there are %" PRId64 " runs, expected at most %d", count,
                         (int)PLAN_RUNS_MOST);
    p->runs = memory_zeroed((size_t)count, sizeof *p->runs);
    if (!p->runs) return error_memory(error, "the plan");
    for (int i = 0; i < p->entry_count; i++) {
        for (int s = 0; s < seeds->count; s++) {
            char name[sizeof p->runs->name];
            snprintf(name, sizeof name, "%s-s%" PRIu64, p->entries[i].name, seeds->seeds[s]);
            stpn_status status = plan_add_run(p, &p->entries[i], seeds->seeds[s], out, name, error);
            if (status) return status;
        }
    }
    plan_sort(p);
    return STPN_OK;
}

int plan_make(plan *p, const plan_options *options)
{
    char all[RUN_PATH], folder[RUN_PATH], path[RUN_PATH];
    stpn_error error;
    json_t *manifest = NULL;
    seed_list seeds = {0};
    *p = (plan){0};
    int code = find_experiments(options, all);
    if (code) return code;
    stpn_status status = run_path(folder, all, options->name, &error);
    if (!status) status = run_path(path, folder, PLAN_MANIFEST, &error);
    if (!status) status = read_manifest(&manifest, path, &error);
    if (!status) {
        const char *own = json_string_value(json_object_get(manifest, "seeds"));
        code = options->seeds ? read_seeds(&seeds, options->seeds, "reproduce: --seeds")
                              : read_seeds(&seeds, own ? own : "0-4", path);
    }
    if (!status && !code) status = add_entries(p, folder, manifest, options, &error);
    if (!status && !code) status = add_runs(p, &seeds, options->out, &error);
    seeds_free(&seeds);
    json_decref(manifest);
    return status ? complain(status, &error) : code;
}

void plan_free(plan *p)
{
    for (int i = 0; i < p->entry_count; i++) {
        plan_entry *entry = &p->entries[i];
        for (int s = 0; s < entry->set_count; s++) memory_free(entry->set[s]);
        memory_free((void *)entry->set);
        memory_free(entry->file);
        memory_free(entry->name);
    }
    memory_free(p->entries);
    memory_free(p->runs);
    *p = (plan){0};
}
