#include "cli/sweep_plan.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/runs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sweep_settings_text(const sweep *s, int configuration, buffer *text)
{
    int done = 1;
    for (int i = 0; i < s->key_count && done; i++)
        done = (i == 0 || buffer_append(text, ", ", 2)) && sweep_setting(s, configuration, i, text);
    return done;
}

int sweep_plan_open(sweep_plan *p, const sweep *s, const char *out)
{
    int64_t entries = 0, runs;
    *p = (sweep_plan){.sweep = s, .out = out};
    for (int round = 0; round < s->rounds; round++) entries += sweep_kept(s, round);
    runs = entries * s->seeds.count;
    p->all.entries = memory_zeroed((size_t)entries, sizeof *p->all.entries);
    p->all.runs = memory_zeroed((size_t)runs, sizeof *p->all.runs);
    p->rounds = memory_zeroed((size_t)s->rounds, sizeof *p->rounds);
    return p->all.entries && p->all.runs && p->rounds ? EXIT_DONE : complain_of_memory();
}

void sweep_plan_free(sweep_plan *p)
{
    for (int i = 0; p->rounds && i < p->sweep->rounds; i++) memory_free(p->rounds[i].results);
    memory_free(p->rounds);
    plan_free(&p->all);
    *p = (sweep_plan){0};
}

/* ----------------------------------------------------------------------------------------------------------- rounds */

/* Whether an earlier configuration has the same settings, of which `texts` are kept. */
static int is_repeated(const sweep *s, int configuration, buffer *texts)
{
    buffer *own = &texts[configuration];
    if (!sweep_settings_text(s, configuration, own)) return -1;
    for (int i = 0; i < configuration; i++)
        if (texts[i].size == own->size && memcmp(texts[i].data, own->data, own->size) == 0) return 1;
    return 0;
}

/* Of a first round: all, those that were drawn before left out. */
static int draw_configurations(sweep_plan *p, sweep_round *r)
{
    const sweep *s = p->sweep;
    buffer *texts = memory_zeroed((size_t)s->configurations, sizeof *texts);
    int failed = !texts;
    for (int i = 0; i < s->configurations && !failed; i++) {
        int repeated = is_repeated(s, i, texts);
        failed = repeated < 0;
        if (repeated == 0) r->results[r->count++].configuration = i;
    }
    p->dropped = s->configurations - r->count;
    for (int i = 0; i < s->configurations && texts; i++) buffer_free(&texts[i]);
    memory_free(texts);
    return !failed;
}

static int by_configuration(const void *left, const void *right)
{
    const sweep_result *a = left, *b = right;
    return (a->configuration > b->configuration) - (a->configuration < b->configuration);
}

static void keep_best(const sweep_plan *p, sweep_round *r)
{
    const sweep_round *before = &p->rounds[p->round_count - 1];
    r->count = sweep_kept(p->sweep, p->round_count);
    if (r->count > before->count) r->count = before->count;
    for (int i = 0; i < r->count; i++) r->results[i].configuration = before->results[i].configuration;
    qsort(r->results, (size_t)r->count, sizeof *r->results, by_configuration);
}

/* The settings of a configuration in a round, as an entry of the plan. */
static stpn_status add_entry(sweep_plan *p, int round, int configuration, stpn_error *error)
{
    const sweep *s = p->sweep;
    int keys = s->key_count, count = s->set_count;
    char budget[64];
    buffer texts[SWEEP_KEYS_MOST] = {{0}};
    stpn_error inner;
    stpn_status status = STPN_OK;
    const char **set = memory_zeroed((size_t)(count + keys) + 1, sizeof *set);
    if (!set) return error_memory(error, "the sweep");
    for (int i = 0; i < count; i++) set[i] = s->set[i];
    for (int i = 0; i < keys && !status; i++) {
        if (!sweep_setting(s, configuration, i, &texts[i])) status = error_memory(error, "the sweep");
        set[count++] = texts[i].data;
    }
    snprintf(budget, sizeof budget, "%s=%d", s->budget_key, sweep_budget(s, round));
    if (s->options.search == SWEEP_HALVING) set[count++] = budget;
    if (!status) {
        status = plan_add_entry(&p->all, s->experiment, set, count, &inner);
        if (status == STPN_ERROR_MEMORY) error_memory(error, "the sweep");
        else if (status) error_set(error, status, "configuration %d: %s", configuration, inner.message);
    }
    for (int i = 0; i < keys; i++) buffer_free(&texts[i]);
    memory_free((void *)set);
    return status;
}

static stpn_status add_runs(sweep_plan *p, sweep_result *result, stpn_error *error)
{
    const sweep *s = p->sweep;
    int round = p->round_count - 1;
    stpn_status status = add_entry(p, round, result->configuration, error);
    result->first_run = p->all.run_count;
    for (int i = 0; i < s->seeds.count && !status; i++) {
        char name[64], prefix[16] = "", path[RUN_PATH];
        if (s->options.search == SWEEP_HALVING) snprintf(prefix, sizeof prefix, "r%d-", round);
        snprintf(name, sizeof name, "%sc%03d-s%" PRIu64, prefix, result->configuration, s->seeds.seeds[i]);
        const plan_entry *entry = &p->all.entries[p->all.entry_count - 1];
        status = plan_add_run(&p->all, entry, s->seeds.seeds[i], p->out, name, error);
        plan_run *r = &p->all.runs[p->all.run_count - 1];
        if (!status) status = run_path(path, r->folder, SWEEP_DIVERGED, error);
        if (!status && file_exists(path)) r->finished = 1;
    }
    return status;
}

int sweep_plan_add_round(sweep_plan *p)
{
    stpn_error error;
    sweep_round *r = &p->rounds[p->round_count];
    stpn_status status = STPN_OK;
    r->results = memory_zeroed((size_t)sweep_kept(p->sweep, p->round_count), sizeof *r->results);
    if (!r->results) return complain_of_memory();
    if (p->round_count) keep_best(p, r);
    else if (!draw_configurations(p, r)) return complain_of_memory();
    p->round_count++;
    for (int i = 0; i < r->count && !status; i++) status = add_runs(p, &r->results[i], &error);
    return status ? complain(status, &error) : EXIT_DONE;
}

/* ---------------------------------------------------------------------------------------------------------- results */

/* A run's value; NaN where it has diverged or is not finished. */
static int read_value(const sweep_plan *p, const plan_run *r, double *value, int *finished)
{
    char path[RUN_PATH];
    json_t *summary;
    stpn_error error;
    *value = NAN;
    *finished = 0;
    stpn_status status = run_path(path, r->folder, RUN_SUMMARY, &error);
    if (!status && file_exists(path)) {
        status = json_read_file(&summary, path, &error);
        if (status) return complain(status, &error);
        *value = number_at(summary, sweep_measure(p->sweep, NULL));
        *finished = 1;
        json_decref(summary);
        return EXIT_DONE;
    }
    if (!status) status = run_path(path, r->folder, SWEEP_DIVERGED, &error);
    if (status) return complain(status, &error);
    *finished = file_exists(path);
    return EXIT_DONE;
}

static int better_first(const void *left, const void *right)
{
    const sweep_result *a = left, *b = right;
    if (isnan(a->value) || isnan(b->value)) {
        int order = !!isnan(a->value) - !!isnan(b->value);
        return order ? order : by_configuration(left, right);
    }
    int order = (a->value < b->value) - (a->value > b->value);
    return order ? order : by_configuration(left, right);
}

static int lower_first(const void *left, const void *right)
{
    const sweep_result *a = left, *b = right;
    if (isnan(a->value) || isnan(b->value)) return better_first(left, right);
    int order = (a->value > b->value) - (a->value < b->value);
    return order ? order : by_configuration(left, right);
}

int sweep_plan_rank(sweep_plan *p, int *ended)
{
    sweep_round *r = &p->rounds[p->round_count - 1];
    int seeds = p->sweep->seeds.count, ascending;
    sweep_measure(p->sweep, &ascending);
    *ended = 1;
    for (int i = 0; i < r->count; i++) {
        sweep_result *result = &r->results[i];
        result->value = 0;
        result->finished = 0;
        for (int k = 0; k < seeds; k++) {
            double value;
            int finished, code = read_value(p, &p->all.runs[result->first_run + k], &value, &finished);
            if (code) return code;
            result->value += value / seeds;
            result->finished += finished;
        }
        if (result->finished < seeds) *ended = 0;
    }
    if (*ended) qsort(r->results, (size_t)r->count, sizeof *r->results, ascending ? lower_first : better_first);
    return EXIT_DONE;
}
