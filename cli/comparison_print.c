/* A comparison as text, Markdown, CSV and JSON. */
#include "base/memory.h"
#include "cli/comparison.h"
#include "cli/table.h"
#include "io/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct column {
    const char *key;       // in CSV and JSON
    const char *heading;   // in text and Markdown
    const char *mean;      // how a person reads them
    const char *deviation; // NULL: not shown there
} column;

static const column columns[MEASURES] = {
    [MEASURE_REWARD] = {"reward", "test reward", "%.3f", "%.3f"},
    [MEASURE_REWARD_BEST] = {"reward_best", "with the best", "%.3f", "%.3f"},
    [MEASURE_GOALS] = {"goals", "goals", "%.3f", NULL},
    [MEASURE_RETURN_STEPS] = {"return_steps", "return steps", "%.2f", NULL},
    [MEASURE_ACCURACY] = {"accuracy", "test accuracy", "%.5f", "%.5f"},
    [MEASURE_ACCURACY_BEST] = {"accuracy_best", "with the best", "%.5f", "%.5f"},
    [MEASURE_LOSS] = {"loss", "test loss", "%.5g", "%.2g"},
    [MEASURE_LOSS_BEST] = {"loss_best", "loss with the best", "%.5g", "%.2g"},
    [MEASURE_EPOCHS] = {"epochs_to_90", "epochs to 90 %", "%.1f", NULL},
    [MEASURE_ENERGY] = {"energy", "energy/step", "%.4g", "%.2g"},
    [MEASURE_ENERGY_PER_NEURON] = {"energy_per_neuron", "per neuron", "%.4g", NULL},
    [MEASURE_PICOJOULES] = {"picojoules", "pJ/step", "%.4g", NULL},
    [MEASURE_SECONDS] = {"wall_seconds", "seconds", "%.1f", NULL},
};

/* ------------------------------------------------------------------------------------------------- text and Markdown */

/* `format` is one of the formats of the tables here. */
static void print_number(char *text, size_t size, const char *format, double value)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, size, format, value);
#pragma GCC diagnostic pop
}

static void add_statistic(table *t, const column *how, const statistic *s)
{
    char mean[64] = "-", deviation[64];
    if (s->count) print_number(mean, sizeof mean, how->mean, s->mean);
    if (!how->deviation || isnan(s->deviation)) {
        table_add(t, "%s", mean);
        return;
    }
    print_number(deviation, sizeof deviation, how->deviation, s->deviation);
    table_add(t, "%s ± %s", mean, deviation);
}

/* A loss matters where there is no accuracy; a column without a value does not at all. */
static void choose_columns(const comparison *c, int shown[MEASURES])
{
    int without_accuracy = 0;
    memset(shown, 0, MEASURES * sizeof *shown);
    for (int i = 0; i < c->count; i++) {
        const group *g = &c->groups[i];
        without_accuracy |= g->finished && !g->measures[MEASURE_ACCURACY].count && !g->measures[MEASURE_REWARD].count;
        for (int m = 0; m < MEASURES; m++) shown[m] |= g->measures[m].count > 0;
    }
    shown[MEASURE_LOSS] &= without_accuracy;
    shown[MEASURE_LOSS_BEST] &= without_accuracy;
    if (!shown[MEASURE_LOSS] && !shown[MEASURE_REWARD]) shown[MEASURE_ACCURACY] = 1;
}

static void add_name(table *t, const group *g)
{
    if (*g->setting) table_add(t, "%s (%s)", g->name, g->setting);
    else table_add(t, "%s", g->name);
}

static void add_group(const comparison *c, table *t, const group *g, const int shown[MEASURES])
{
    int64_t parameters = group_parameters(c, g);
    const char *missing = "unfinished";
    add_name(t, g);
    table_add(t, "%s", g->network);
    if (parameters < 0) table_add(t, "-");
    else table_add(t, "%" PRId64, parameters);
    if (g->finished == g->count) table_add(t, "%d", g->count);
    else table_add(t, "%d of %d", g->finished, g->count);
    for (int m = 0; m < MEASURES; m++) {
        if (!shown[m]) continue;
        if (g->finished) add_statistic(t, &columns[m], &g->measures[m]);
        else table_add(t, "%s", missing);
        missing = "-";
    }
}

static int write_main(const comparison *c, table_style style, buffer *out)
{
    int shown[MEASURES];
    table t = {.columns = 4, .left = 2};
    choose_columns(c, shown);
    table_add(&t, "experiment");
    table_add(&t, "network");
    table_add(&t, "parameters");
    table_add(&t, "seeds");
    for (int m = 0; m < MEASURES; m++) {
        if (!shown[m]) continue;
        table_add(&t, "%s", columns[m].heading);
        t.columns++;
    }
    for (int i = 0; i < c->count; i++) add_group(c, &t, &c->groups[i], shown);
    int done = table_write(&t, style, out);
    table_free(&t);
    return done;
}

/* Rows networks, columns further test sets: the mean accuracy, or the loss where there is none. There may be many. */
static int write_probes(const comparison *c, table_style style, buffer *out)
{
    static const column how = {.mean = "%.3f"};
    table t = {.columns = 1 + c->probe_count, .left = 1};
    table_add(&t, "test accuracy");
    for (int p = 0; p < c->probe_count; p++) table_add(&t, "%s", c->probes[p]);
    for (int i = 0; i < c->count; i++) {
        add_name(&t, &c->groups[i]);
        for (int p = 0; p < c->probe_count; p++) {
            statistic s = group_probe(c, &c->groups[i], c->probes[p], "accuracy");
            if (!s.count) s = group_probe(c, &c->groups[i], c->probes[p], "loss");
            add_statistic(&t, &how, &s);
        }
    }
    int done = buffer_append(out, "\n", 1) && table_write(&t, style, out);
    table_free(&t);
    return done;
}

/* -------------------------------------------------------------------------------------------------------------- CSV */

static void add_values(table *t, const statistic *s)
{
    if (s->count) table_add(t, "%.10g", s->mean);
    else table_add(t, "%s", "");
    if (isnan(s->deviation)) table_add(t, "%s", "");
    else table_add(t, "%.10g", s->deviation);
}

static int write_csv(const comparison *c, buffer *out)
{
    static const char *const first[] = {"experiment", "setting", "network", "parameters", "runs", "finished"};
    enum { FIRST = sizeof first / sizeof *first };
    table t = {.columns = FIRST + 2 * (MEASURES + c->probe_count)};
    for (int i = 0; i < FIRST; i++) table_add(&t, "%s", first[i]);
    for (int m = 0; m < MEASURES; m++) {
        table_add(&t, "%s", columns[m].key);
        table_add(&t, "%s_sd", columns[m].key);
    }
    for (int p = 0; p < c->probe_count; p++) {
        table_add(&t, "accuracy %s", c->probes[p]);
        table_add(&t, "accuracy %s_sd", c->probes[p]);
    }
    for (int i = 0; i < c->count; i++) {
        const group *g = &c->groups[i];
        int64_t parameters = group_parameters(c, g);
        table_add(&t, "%s", g->name);
        table_add(&t, "%s", g->setting);
        table_add(&t, "%s", g->network);
        if (parameters < 0) table_add(&t, "%s", "");
        else table_add(&t, "%" PRId64, parameters);
        table_add(&t, "%d", g->count);
        table_add(&t, "%d", g->finished);
        for (int m = 0; m < MEASURES; m++) add_values(&t, &g->measures[m]);
        for (int p = 0; p < c->probe_count; p++) {
            statistic s = group_probe(c, g, c->probes[p], "accuracy");
            add_values(&t, &s);
        }
    }
    int done = table_write(&t, TABLE_CSV, out);
    table_free(&t);
    return done;
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

/* JSON has no number for what there is none of, and its strings are UTF-8, as names of folders need not be. */
static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *string_json(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("?");
}

static json_t *statistic_json(const statistic *s)
{
    if (!s->count) return json_null();
    json_t *object = json_object();
    int failed = json_object_set_new(object, "mean", number_json(s->mean));
    failed |= json_object_set_new(object, "deviation", number_json(s->deviation));
    failed |= json_object_set_new(object, "seeds", json_integer(s->count));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *run_json(const run_record *r)
{
    static const char *const states[] = {"finished", "unfinished", "unreadable"};
    int64_t seed = run_seed(r);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "folder", string_json(r->folder));
    failed |= json_object_set_new(object, "seed", seed < 0 ? json_null() : json_integer(seed));
    failed |= json_object_set_new(object, "state", json_string(states[r->state]));
    for (int m = 0; m < MEASURES; m++)
        failed |= json_object_set_new(object, columns[m].key, number_json(run_measure(r, (measure)m)));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *probes_json(const comparison *c, const group *g)
{
    static const char *const members[] = {"accuracy", "loss"};
    json_t *list = json_array();
    int failed = list == NULL;
    for (int p = 0; p < c->probe_count; p++) {
        json_t *object = json_object();
        failed |= json_object_set_new(object, "name", string_json(c->probes[p]));
        for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
            statistic s = group_probe(c, g, c->probes[p], members[i]);
            failed |= json_object_set_new(object, members[i], statistic_json(&s));
        }
        failed |= json_array_append_new(list, object);
    }
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

static json_t *group_json(const comparison *c, const group *g)
{
    int64_t parameters = group_parameters(c, g);
    json_t *object = json_object(), *runs = json_array();
    int failed = json_object_set_new(object, "experiment", string_json(g->name));
    failed |= json_object_set_new(object, "setting", string_json(g->setting));
    failed |= json_object_set_new(object, "network", string_json(g->network));
    failed |= json_object_set_new(object, "parameters", parameters < 0 ? json_null() : json_integer(parameters));
    failed |= json_object_set_new(object, "finished", json_integer(g->finished));
    for (int m = 0; m < MEASURES; m++)
        failed |= json_object_set_new(object, columns[m].key, statistic_json(&g->measures[m]));
    if (c->probe_count) failed |= json_object_set_new(object, "probes", probes_json(c, g));
    for (int i = 0; i < g->count; i++) failed |= json_array_append_new(runs, run_json(&c->runs->runs[g->members[i]]));
    failed |= json_object_set_new(object, "runs", runs);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static int write_json(const comparison *c, buffer *out)
{
    json_t *root = json_object(), *list = json_array();
    int failed = root == NULL;
    for (int i = 0; i < c->count; i++) failed |= json_array_append_new(list, group_json(c, &c->groups[i]));
    failed |= json_object_set_new(root, "experiments", list);
    char *text = failed ? NULL : json_to_text(root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    int done = text && buffer_append(out, text, strlen(text)) && buffer_append(out, "\n", 1);
    memory_free(text);
    json_decref(root);
    return done;
}

int comparison_write(const comparison *c, comparison_style style, buffer *out)
{
    if (style == COMPARISON_JSON) return write_json(c, out);
    if (style == COMPARISON_CSV) return write_csv(c, out);
    table_style shown = style == COMPARISON_MARKDOWN ? TABLE_MARKDOWN : TABLE_TEXT;
    return write_main(c, shown, out) && (!c->probe_count || write_probes(c, shown, out));
}
