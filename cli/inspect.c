/* stpn inspect: what a run has learned: its parameters, how Lambda and Gamma are spread, how fast synapses forget. */
#include "base/memory.h"
#include "cli/cli.h"
#include "train/hardware.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 16, BAR = 40 };

static const double quantiles[] = {0.05, 0.25, 0.5, 0.75, 0.95};

enum { QUANTILES = sizeof quantiles / sizeof *quantiles };

/* Values of a tensor, in order of size. */
typedef struct spread {
    double *values; // (count)
    size_t count;
} spread;

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Tensor `index` of a run's net, without the columns that carry no F: nothing depends on what stands there. */
static int spread_of(const run *r, int index, int place, spread *s)
{
    stpn_tensor tensor;
    stpn_net_tensor(r->net, index, &tensor);
    float *all = memory_zeroed(tensor.count, sizeof *all);
    *s = (spread){.values = memory_zeroed(tensor.count, sizeof *s->values)};
    if (!all || !s->values) {
        memory_free(all);
        memory_free(s->values);
        return 0;
    }
    stpn_block_get(r->net, stpn_net_parameters(r->net), index, all);
    int columns = tensor.rank == 2 ? tensor.shape[1] : 1, begin = 0, end = columns;
    stpn_plastic plastic = r->experiment.units[place].plastic;
    int inputs = r->net->units[place].inputs;
    if (tensor.rank == 2 && plastic == STPN_PLASTIC_INPUT) end = inputs;
    if (tensor.rank == 2 && plastic == STPN_PLASTIC_HIDDEN) begin = inputs;
    for (size_t i = 0; i < tensor.count; i++) {
        int column = (int)(i % (size_t)columns);
        if (column >= begin && column < end) s->values[s->count++] = (double)all[i];
    }
    memory_free(all);
    qsort(s->values, s->count, sizeof *s->values, compare_numbers);
    return 1;
}

/* By the nearest rank. */
static double quantile(const spread *s, double share)
{
    return s->values[(size_t)lround(share * (double)(s->count - 1))];
}

static json_t *quantiles_json(const spread *s)
{
    json_t *object = json_object();
    int failed = 0;
    for (int i = 0; i < QUANTILES && s->count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%g", quantiles[i]);
        failed |= json_object_set_new(object, key, json_real(quantile(s, quantiles[i])));
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *spread_json(const spread *s)
{
    double least = s->values[0], most = s->values[s->count - 1], mean = 0;
    double width = (most - least) / BINS;
    json_int_t counts[BINS] = {0};
    for (size_t i = 0; i < s->count; i++) {
        int bin = width > 0 ? (int)((s->values[i] - least) / width) : 0;
        counts[bin < BINS ? bin : BINS - 1]++;
        mean += s->values[i] / (double)s->count;
    }
    json_t *object = json_object(), *edges = json_array(), *heights = json_array();
    int failed = 0;
    for (int i = 0; i <= BINS; i++) failed |= json_array_append_new(edges, json_real(least + i * width));
    for (int i = 0; i < BINS; i++) failed |= json_array_append_new(heights, json_integer(counts[i]));
    failed |= json_object_set_new(object, "count", json_integer((json_int_t)s->count));
    failed |= json_object_set_new(object, "minimum", json_real(least));
    failed |= json_object_set_new(object, "mean", json_real(mean));
    failed |= json_object_set_new(object, "maximum", json_real(most));
    failed |= json_object_set_new(object, "quantiles", quantiles_json(s));
    failed |= json_object_set_new(object, "edges", edges);
    failed |= json_object_set_new(object, "counts", heights);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* Lambda to the power of t is exp(-t / time). */
static json_t *decay_json(const spread *lambda)
{
    spread times = {.values = memory_zeroed(lambda->count, sizeof *times.values)};
    if (!times.values) return NULL;
    for (size_t i = 0; i < lambda->count; i++)
        if (fabs(lambda->values[i]) < 1) times.values[times.count++] = -1 / log(fabs(lambda->values[i]));
    qsort(times.values, times.count, sizeof *times.values, compare_numbers);
    json_t *object = json_object();
    int failed = json_object_set_new(object, "steps", quantiles_json(&times));
    failed |= json_object_set_new(object, "values", json_integer((json_int_t)lambda->count));
    failed |= json_object_set_new(object, "not_decaying", json_integer((json_int_t)(lambda->count - times.count)));
    memory_free(times.values);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static int index_of(const run *r, int place, const char *name)
{
    char full[64];
    stpn_tensor tensor;
    snprintf(full, sizeof full, "units.%d.%s", place, name);
    for (int i = 0; stpn_net_tensor(r->net, i, &tensor); i++)
        if (strcmp(tensor.name, full) == 0) return i;
    return -1;
}

/* A unit that has no such tensor gets no such member. */
static json_t *unit_json(const run *r, int place)
{
    static const char *const names[] = {"lambda", "gamma"};
    const stpn_unit *options = &r->experiment.units[place];
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", json_string(options->name));
    failed |= json_object_set_new(object, "hidden", json_integer(options->hidden));
    for (int i = 0; i < 2 && !failed; i++) {
        spread s;
        int index = index_of(r, place, names[i]);
        if (index < 0) continue;
        if (!spread_of(r, index, place, &s)) {
            failed = 1;
            break;
        }
        failed |= json_object_set_new(object, names[i], spread_json(&s));
        if (i == 0) failed |= json_object_set_new(object, "decay", decay_json(&s));
        memory_free(s.values);
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *describe(const run *r, const char *folder, int best, const hardware_table *table)
{
    unit_operations count = hardware_operations(r->net);
    json_t *root = json_object(), *tensors = json_array(), *units = json_array(), *path = json_string(folder);
    int failed = json_object_set_new(root, "run", path ? path : json_string("?"));
    failed |= json_object_set_new(root, "name", json_string(r->experiment.name));
    failed |= json_object_set_new(root, "seed", json_integer((json_int_t)r->experiment.seed));
    failed |= json_object_set_new(root, "parameters", json_string(best ? "best" : "last"));
    failed |= json_object_set_new(root, "parameter_count", json_integer((json_int_t)stpn_net_parameter_count(r->net)));
    stpn_tensor tensor;
    for (int i = 0; stpn_net_tensor(r->net, i, &tensor); i++) {
        json_t *entry = json_object(), *shape = json_array();
        for (int d = 0; d < tensor.rank; d++) failed |= json_array_append_new(shape, json_integer(tensor.shape[d]));
        failed |= json_object_set_new(entry, "name", json_string(tensor.name));
        failed |= json_object_set_new(entry, "shape", shape);
        failed |= json_object_set_new(entry, "count", json_integer((json_int_t)tensor.count));
        failed |= json_array_append_new(tensors, entry);
    }
    for (int i = 0; i < r->experiment.unit_count; i++) failed |= json_array_append_new(units, unit_json(r, i));
    failed |= json_object_set_new(root, "tensors", tensors);
    failed |= json_object_set_new(root, "units", units);
    failed |= json_object_set_new(root, "hardware", hardware_to_json(&count, table));
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------------- text */

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_tensors(const json_t *root)
{
    const json_t *list = json_object_get(root, "tensors");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *shape = json_object_get(entry, "shape");
        char text[64] = "";
        for (size_t d = 0; d < json_array_size(shape); d++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld", d ? " x " : "",
                     (long long)json_integer_value(json_array_get(shape, d)));
        printf("  %-24s%-16s%10.0f\n", json_string_value(json_object_get(entry, "name")), text, number(entry, "count"));
    }
    printf("  %-40s%10.0f\n", "all", number(root, "parameter_count"));
}

static void print_spread(const char *name, const json_t *values)
{
    const json_t *edges = json_object_get(values, "edges"), *counts = json_object_get(values, "counts");
    double tallest = 1;
    for (size_t i = 0; i < BINS; i++) tallest = fmax(tallest, json_number_value(json_array_get(counts, i)));
    printf("\n  %s: %.0f values, %.4g to %.4g, mean %.4g\n", name, number(values, "count"), number(values, "minimum"),
           number(values, "maximum"), number(values, "mean"));
    for (size_t i = 0; i < BINS; i++) {
        double height = json_number_value(json_array_get(counts, i));
        int bar = (int)ceil(height / tallest * BAR);
        printf("  %11.4f  %-*.*s %.0f\n", json_number_value(json_array_get(edges, i)), BAR, bar,
               "########################################", height);
    }
}

static void print_decay(const json_t *decay)
{
    const json_t *steps = json_object_get(decay, "steps"), *value;
    const char *share;
    printf("\n  decay times, -1 / ln |lambda|, in steps:");
    json_object_foreach((json_t *)(uintptr_t)steps, share, value)
    {
        printf("  %g%%: %.3g", 100 * strtod(share, NULL), json_number_value(value));
    }
    printf("\n  %.0f of %.0f do not decay (|lambda| >= 1)\n", number(decay, "not_decaying"), number(decay, "values"));
}

static void print_hardware(const json_t *hardware)
{
    printf("\na step takes %.0f multiply-accumulates, %.0f multiplications, %.0f additions, %.0f functions,\n"
           "reads %.0f bytes and writes %.0f: %.4g pJ by the table %s\n",
           number(hardware, "multiply_accumulates"), number(hardware, "multiplies"), number(hardware, "accumulates"),
           number(hardware, "functions"), number(hardware, "bytes_read"), number(hardware, "bytes_written"),
           number(hardware, "picojoules"), json_string_value(json_object_get(hardware, "table")));
}

static void print_text(const json_t *root, const run *r)
{
    printf("%s: %s, seed %.0f, %s parameters\n", json_string_value(json_object_get(root, "run")),
           json_string_value(json_object_get(root, "name")), number(root, "seed"),
           json_string_value(json_object_get(root, "parameters")));
    print_tensors(root);
    for (int i = 0; i < r->experiment.unit_count; i++) {
        const stpn_unit *options = &r->experiment.units[i];
        const json_t *entry = json_array_get(json_object_get(root, "units"), (size_t)i);
        const json_t *lambda = json_object_get(entry, "lambda"), *gamma = json_object_get(entry, "gamma");
        printf("\nunits.%d: %s, %d neurons\n", i, options->name, options->hidden);
        if (lambda) print_spread("lambda", lambda);
        if (lambda) print_decay(json_object_get(entry, "decay"));
        if (gamma) print_spread("gamma", gamma);
        if (!lambda && unit_has_option(options->name, "learn"))
            printf("  lambda held at %g, gamma at %g\n", options->lambda, options->gamma);
    }
    print_hardware(json_object_get(root, "hardware"));
}

static int run_inspect(const arguments *a)
{
    const char *folder = a->operands[0];
    run r;
    stpn_error error;
    int best = arguments_have(a, "--best"), code = EXIT_DONE;
    hardware_table table;
    stpn_status status = hardware_table_of(a, &table, &error);
    if (!status) status = run_open_folder(&r, folder, best, 1, &error);
    if (status) return complain(status, &error);
    json_t *root = describe(&r, folder, best, &table);
    if (arguments_have(a, "--json")) {
        code = print_json(root);
    } else if (!root) {
        code = complain_of_memory();
    } else {
        print_text(root, &r);
        json_decref(root);
    }
    run_close(&r);
    return code;
}

static const argument_option options[] = {
    {"--json", NULL, 0, "prints one JSON document and nothing else"},
    {"--best", NULL, 0, "takes the parameters of the best evaluation in place of the last ones"},
    {"--energy-table", "FILE", 0, "takes the picojoules of an operation from FILE (docs/energy.md)"},
};

const command command_inspect = {
    .table = {"inspect", options, sizeof options / sizeof *options, "RUN", 1, 1},
    .summary = "describe a run: parameters, Lambda, Gamma, decay times",
    .text =
        "Lists the parameters of the folder RUN, draws how Lambda and Gamma are spread, and tells how fast the fast\n"
        "components decay. Columns without plasticity are left out of both.\n",
    .run = run_inspect,
};
