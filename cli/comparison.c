#include "cli/comparison.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------- values of a run */

double run_measure(const run_record *r, measure m)
{
    static const char *const paths[MEASURES] = {
        [MEASURE_REWARD] = "test.reward",
        [MEASURE_REWARD_BEST] = "test_best.reward",
        [MEASURE_GOALS] = "test.goals",
        [MEASURE_RETURN_STEPS] = "test.return_steps",
        [MEASURE_ACCURACY] = "test.accuracy",
        [MEASURE_ACCURACY_BEST] = "test_best.accuracy",
        [MEASURE_LOSS] = "test.loss",
        [MEASURE_LOSS_BEST] = "test_best.loss",
        [MEASURE_ENERGY] = "test.energy",
        [MEASURE_ENERGY_PER_NEURON] = "test.energy_per_neuron",
        [MEASURE_PICOJOULES] = "hardware.picojoules",
        [MEASURE_SECONDS] = "train.wall_seconds",
    };
    if (!r->summary) return NAN;
    return m == MEASURE_EPOCHS ? r->epochs_to_90 : number_at(r->summary, paths[m]);
}

static const json_t *probes_of(const run_record *r)
{
    const json_t *list = json_object_get(r->summary, "probes");
    return json_is_array(list) ? list : json_at(r->summary, "test.probes");
}

static const char *probe_name(const json_t *probe)
{
    return json_string_value(json_object_get(probe, "name"));
}

double run_probe(const run_record *r, const char *probe, const char *member)
{
    const json_t *list = probes_of(r);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *name = probe_name(entry);
        const json_t *value = json_object_get(entry, member);
        if (name && strcmp(name, probe) == 0) return json_is_number(value) ? json_number_value(value) : NAN;
    }
    return NAN;
}

int64_t run_seed(const run_record *r)
{
    const json_t *seed = json_object_get(r->experiment, "seed");
    if (!seed) seed = json_object_get(r->summary, "seed");
    return json_is_integer(seed) ? json_integer_value(seed) : -1;
}

int64_t group_parameters(const comparison *c, const group *g)
{
    for (int i = 0; i < g->count; i++)
        if (c->runs->runs[g->members[i]].parameters >= 0) return c->runs->runs[g->members[i]].parameters;
    return -1;
}

/* ------------------------------------------------------------------------------------------------------- statistics */

typedef struct moments {
    int count;
    double mean, squares; // sum of squared differences from the mean (Welford)
} moments;

static void moments_add(moments *m, double value)
{
    if (isnan(value)) return;
    double before = value - m->mean;
    m->mean += before / ++m->count;
    m->squares += before * (value - m->mean);
}

static statistic statistic_of(const moments *m)
{
    return (statistic){.count = m->count,
                       .mean = m->count ? m->mean : NAN,
                       .deviation = m->count > 1 ? sqrt(m->squares / (m->count - 1)) : NAN};
}

statistic group_probe(const comparison *c, const group *g, const char *probe, const char *member)
{
    moments sum = {0};
    for (int i = 0; i < g->count; i++) moments_add(&sum, run_probe(&c->runs->runs[g->members[i]], probe, member));
    return statistic_of(&sum);
}

static void summarise(const comparison *c, group *g)
{
    for (int m = 0; m < MEASURES; m++) {
        moments sum = {0};
        for (int i = 0; i < g->count; i++) moments_add(&sum, run_measure(&c->runs->runs[g->members[i]], (measure)m));
        g->measures[m] = statistic_of(&sum);
    }
    for (int i = 0; i < g->count; i++) g->finished += c->runs->runs[g->members[i]].state == RUN_FINISHED;
}

/* ----------------------------------------------------------------------------------------------------------- groups */

/* What two runs of one experiment share: all but the seed, and what has no effect. NULL where memory is out. */
static json_t *identity_of(const run_record *r)
{
    static const char *const others[] = {"seed", "version", "note"};
    json_t *identity = r->experiment ? json_copy(r->experiment) : json_object();
    /* Without its experiment a run is alone. */
    if (!r->experiment && json_object_set_new(identity, "folder", json_integer((json_int_t)r->inode)) != 0) {
        json_decref(identity);
        return NULL;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others && identity; i++) json_object_del(identity, others[i]);
    return identity;
}

static char *name_of(const run_record *r)
{
    const char *name = json_string_value(json_object_get(r->experiment, "name"));
    if (!name) name = json_string_value(json_object_get(r->summary, "name"));
    return memory_string(name ? name : r->folder);
}

static int start_group(comparison *c, int run)
{
    group *g = &c->groups[c->count++];
    const run_record *r = &c->runs->runs[run];
    char network[256];
    network_text(r->experiment, network, sizeof network);
    g->members = memory_zeroed((size_t)c->runs->count, sizeof *g->members);
    g->name = name_of(r);
    g->network = memory_string(network);
    g->setting = memory_string("");
    if (!g->members || !g->name || !g->network || !g->setting) return 0;
    g->members[g->count++] = run;
    return 1;
}

/* In the order of seeds. The same experiment with the same seed is the same run: only one of two is counted. */
static void join_group(const comparison *c, group *g, int run)
{
    const run_record *runs = c->runs->runs, *r = &runs[run];
    int place = 0;
    while (place < g->count && run_seed(&runs[g->members[place]]) < run_seed(r)) place++;
    if (place < g->count && run_seed(&runs[g->members[place]]) == run_seed(r)) {
        const run_record *other = &runs[g->members[place]];
        int better = r->state == RUN_FINISHED && other->state != RUN_FINISHED;
        if (better) g->members[place] = run;
        say("%s: left out: the same experiment and seed as %s", better ? other->folder : r->folder,
            better ? r->folder : other->folder);
        return;
    }
    memmove(g->members + place + 1, g->members + place, (size_t)(g->count - place) * sizeof *g->members);
    g->members[place] = run;
    g->count++;
}

/* identities (run_count) are those of the runs. */
static int make_groups(comparison *c, json_t **identities)
{
    for (int i = 0; i < c->runs->count; i++) {
        int found = -1;
        identities[i] = identity_of(&c->runs->runs[i]);
        if (!identities[i]) return 0;
        for (int g = 0; g < c->count && found < 0; g++)
            if (json_equal(identities[c->groups[g].members[0]], identities[i])) found = g;
        if (found >= 0) join_group(c, &c->groups[found], i);
        else if (!start_group(c, i)) return 0;
    }
    return 1;
}

/* ---------------------------------------------------------------------------------------------- what tells them apart */

typedef struct place_list {
    char **paths; // (count)
    int count;
    int failed;
} place_list;

enum { PLACES_MOST = 32, PLACE_SIZE = 256 };

static void add_place(place_list *list, const char *path)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->paths[i], path) == 0) return;
    if (list->count == PLACES_MOST) return;
    list->paths[list->count] = memory_string(path);
    if (list->paths[list->count]) list->count++;
    else list->failed = 1;
}

/* Adds every path at which two documents differ. */
static void find_places(place_list *list, const json_t *a, const json_t *b, const char *path)
{
    char below[PLACE_SIZE];
    const char *dot = *path ? "." : "", *key;
    json_t *value;
    if (a && b && json_equal(a, b)) return;
    if (json_is_object(a) && json_is_object(b)) {
        const json_t *sides[2] = {a, b};
        for (int side = 0; side < 2; side++) {
            json_object_foreach((json_t *)(uintptr_t)sides[side], key, value)
            {
                snprintf(below, sizeof below, "%s%s%s", path, dot, key);
                find_places(list, json_object_get(a, key), json_object_get(b, key), below);
            }
        }
    } else if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            snprintf(below, sizeof below, "%s%s%zu", path, dot, i);
            find_places(list, json_array_get(a, i), json_array_get(b, i), below);
        }
    } else {
        add_place(list, path);
    }
}

/* "units.0.hidden=6, train.epochs=40". */
static char *setting_of(const place_list *list, const json_t *identity)
{
    buffer text = {0};
    int done = buffer_append(&text, "", 0);
    for (int i = 0; i < list->count && done; i++) {
        const json_t *value = json_at(identity, list->paths[i]);
        const char *word = json_string_value(value);
        char *dump =
            value && !word ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
        const char *parts[] = {i ? ", " : "", list->paths[i], "=", word ? word : dump ? dump : "none"};
        for (size_t p = 0; p < sizeof parts / sizeof *parts && done; p++)
            done = buffer_append(&text, parts[p], strlen(parts[p]));
        free(dump);
    }
    char *setting = done ? memory_string(text.data) : NULL;
    buffer_free(&text);
    return setting;
}

/* Groups that share a name get what they differ in. */
static int name_settings(comparison *c, json_t *const *identities, int first)
{
    char *paths[PLACES_MOST];
    place_list list = {.paths = paths};
    const group *own = &c->groups[first];
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->groups[i].name, own->name) == 0)
            find_places(&list, identities[own->members[0]], identities[c->groups[i].members[0]], "");
    for (int i = first; i < c->count && list.count && !list.failed; i++) {
        if (strcmp(c->groups[i].name, own->name) != 0) continue;
        char *setting = setting_of(&list, identities[c->groups[i].members[0]]);
        if (setting) {
            memory_free(c->groups[i].setting);
            c->groups[i].setting = setting;
        } else {
            list.failed = 1;
        }
    }
    for (int i = 0; i < list.count; i++) memory_free(list.paths[i]);
    return !list.failed;
}

static int name_all_settings(comparison *c, json_t *const *identities)
{
    for (int i = 0; i < c->count; i++) {
        int earlier = 0;
        for (int g = 0; g < i; g++) earlier |= strcmp(c->groups[g].name, c->groups[i].name) == 0;
        if (!earlier && !name_settings(c, identities, i)) return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------------------ probes */

static int add_probe(comparison *c, const char *name)
{
    for (int i = 0; i < c->probe_count; i++)
        if (strcmp(c->probes[i], name) == 0) return 1;
    size_t bytes = (size_t)c->probe_count * sizeof *c->probes;
    char **larger = memory_resize((void *)c->probes, bytes, bytes + sizeof *c->probes);
    if (!larger) return 0;
    c->probes = larger;
    c->probes[c->probe_count] = memory_string(name);
    return c->probes[c->probe_count] != NULL && ++c->probe_count;
}

static int find_probes(comparison *c)
{
    for (int i = 0; i < c->runs->count; i++) {
        const json_t *list = probes_of(&c->runs->runs[i]);
        for (size_t p = 0; p < json_array_size(list); p++) {
            const char *name = probe_name(json_array_get(list, p));
            if (name && !add_probe(c, name)) return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------------------- order */

/* What is better comes first; NaN last. */
static int order_of(double a, double b, int ascending)
{
    if (isnan(a) || isnan(b)) return isnan(a) - isnan(b);
    int order = (a > b) - (a < b);
    return ascending ? order : -order;
}

static int by_result(const void *left, const void *right)
{
    const group *a = left, *b = right;
    int order = (a->finished == 0) - (b->finished == 0);
    if (!order) order = order_of(a->measures[MEASURE_REWARD].mean, b->measures[MEASURE_REWARD].mean, 0);
    if (!order) order = order_of(a->measures[MEASURE_ACCURACY].mean, b->measures[MEASURE_ACCURACY].mean, 0);
    if (!order) order = order_of(a->measures[MEASURE_LOSS].mean, b->measures[MEASURE_LOSS].mean, 1);
    if (!order) order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->setting, b->setting);
}

int comparison_make(comparison *c, const run_list *runs)
{
    *c = (comparison){.runs = runs};
    c->groups = memory_zeroed((size_t)runs->count, sizeof *c->groups);
    json_t **identities = memory_zeroed((size_t)runs->count, sizeof *identities);
    int done =
        c->groups && identities && make_groups(c, identities) && name_all_settings(c, identities) && find_probes(c);
    for (int i = 0; i < runs->count && identities; i++) json_decref(identities[i]);
    memory_free((void *)identities);
    if (!done) return complain_of_memory();
    for (int i = 0; i < c->count; i++) summarise(c, &c->groups[i]);
    qsort(c->groups, (size_t)c->count, sizeof *c->groups, by_result);
    return EXIT_DONE;
}

void comparison_free(comparison *c)
{
    for (int i = 0; i < c->count; i++) {
        memory_free(c->groups[i].members);
        memory_free(c->groups[i].name);
        memory_free(c->groups[i].setting);
        memory_free(c->groups[i].network);
    }
    for (int i = 0; i < c->probe_count; i++) memory_free(c->probes[i]);
    memory_free(c->groups);
    memory_free((void *)c->probes);
    *c = (comparison){0};
}
