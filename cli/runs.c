#include "cli/runs.h"

#include "base/file.h"
#include "base/memory.h"
#include "io/json.h"
#include "train/run.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { METRICS_LIMIT = 1 << 28, DEPTH_MOST = 3 };

/* ------------------------------------------------------------------------------------------------------- documents */

const json_t *json_at(const json_t *root, const char *path)
{
    char part[256];
    for (const char *at = path; root; at++) {
        size_t length = strcspn(at, ".");
        if (length >= sizeof part) return NULL;
        memcpy(part, at, length);
        part[length] = 0;
        root = json_is_array(root) ? json_array_get(root, strtoul(part, NULL, 10)) : json_object_get(root, part);
        at += length;
        if (!*at) break;
    }
    return root;
}

double number_at(const json_t *root, const char *path)
{
    const json_t *value = json_at(root, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void network_text(const json_t *document, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "?");
    const json_t *units = json_object_get(document, "units");
    for (size_t i = 0; i < json_array_size(units) && used < size; i++) {
        const json_t *entry = json_array_get(units, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *granularity = json_string_value(json_object_get(entry, "granularity"));
        int coarse = granularity && strcmp(granularity, "synapse") != 0;
        if (i == 0) used = 0;
        used += (size_t)snprintf(text + used, size - used, "%s%s %lld%s%s", i ? " + " : "", name ? name : "?",
                                 (long long)json_integer_value(json_object_get(entry, "hidden")), coarse ? " " : "",
                                 coarse ? granularity : "");
    }
}

/* The field of a line of CSV that stands in `column`; NaN where it is no number. */
static double field(const char *line, int column)
{
    for (; column > 0; column--) {
        line += strcspn(line, ",\n");
        if (*line++ != ',') return NAN;
    }
    char *end;
    double value = strtod(line, &end);
    return end == line || !strchr(",\r\n", *end) ? NAN : value;
}

static int column_of(const char *heading, const char *name)
{
    size_t length = strlen(name);
    for (int column = 0;; column++) {
        size_t here = strcspn(heading, ",\r\n");
        if (here == length && memcmp(heading, name, length) == 0) return column;
        heading += here;
        if (*heading++ != ',') return -1;
    }
}

double epochs_to_90(const char *metrics)
{
    const double share = 0.9;
    int epoch = column_of(metrics, "epoch"), accuracy = column_of(metrics, "validation_accuracy");
    double last = NAN;
    if (epoch < 0 || accuracy < 0) return NAN;
    for (const char *line = strchr(metrics, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
        last = field(line + 1, accuracy);
    for (const char *line = strchr(metrics, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
        if (field(line + 1, accuracy) >= share * last) return field(line + 1, epoch);
    return NAN;
}

/* --------------------------------------------------------------------------------------------------------- one run */

static int is_run(const char *folder)
{
    static const char *const names[] = {RUN_EXPERIMENT, RUN_SUMMARY, RUN_LAST};
    char path[RUN_PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (run_path(path, folder, names[i], NULL) == STPN_OK && file_exists(path)) return 1;
    return 0;
}

/* Of an unfinished run too, if this version knows all that its experiment names. */
static int64_t count_parameters(const char *path)
{
    experiment e;
    stpn_net *net;
    if (experiment_read(&e, path, NULL, 0, NULL, NULL) != STPN_OK) return -1;
    int64_t count = -1;
    if (experiment_net(&net, &e, STPN_FLOAT, NULL) == STPN_OK) {
        count = (int64_t)stpn_net_parameter_count(net);
        stpn_net_free(net);
    }
    experiment_free(&e);
    return count;
}

static void complain_of_run(run_list *list, run_record *r, stpn_status status, const stpn_error *error)
{
    int code = complain(status, error);
    if (code > list->code) list->code = code;
    r->state = RUN_UNREADABLE;
}

static void read_experiment(run_list *list, run_record *r)
{
    char path[RUN_PATH];
    stpn_error error;
    const char *name;
    stpn_status status = run_path(path, r->folder, RUN_EXPERIMENT, &error);
    if (!status) status = json_read_file(&r->experiment, path, &error);
    if (!status) status = json_text(r->experiment, path, "name", &name, &error);
    if (!status) {
        r->parameters = count_parameters(path);
        return;
    }
    json_decref(r->experiment);
    r->experiment = NULL;
    complain_of_run(list, r, status, &error);
}

static void read_summary(run_list *list, run_record *r)
{
    char path[RUN_PATH];
    stpn_error error = {{0}};
    stpn_status status = run_path(path, r->folder, RUN_SUMMARY, &error);
    if (!status && !file_exists(path)) {
        say("%s: is not finished", r->folder);
        r->state = RUN_UNFINISHED;
        return;
    }
    if (!status) status = json_read_file(&r->summary, path, &error);
    if (!status && !json_is_object(json_object_get(r->summary, "test"))) {
        status = STPN_ERROR_INPUT;
        snprintf(error.message, sizeof error.message, "%.900s: has no \"test\" with the results of the test set", path);
    }
    if (status) {
        json_decref(r->summary);
        r->summary = NULL;
        complain_of_run(list, r, status, &error);
        return;
    }
    const json_t *count = json_object_get(r->summary, "parameters");
    if (json_is_integer(count)) r->parameters = json_integer_value(count);
}

static void read_metrics(run_record *r)
{
    char path[RUN_PATH], *text;
    size_t size;
    r->epochs_to_90 = NAN;
    if (run_path(path, r->folder, RUN_METRICS, NULL) != STPN_OK || !file_exists(path)) return;
    if (file_read(path, METRICS_LIMIT, &text, &size, NULL) != STPN_OK) return;
    r->epochs_to_90 = epochs_to_90(text);
    memory_free(text);
}

static int add_record(run_list *list, const run_record *r)
{
    if (list->count == list->capacity) {
        int capacity = 2 * list->capacity + 16;
        run_record *larger =
            memory_resize(list->runs, (size_t)list->count * sizeof *larger, (size_t)capacity * sizeof *larger);
        if (!larger) return 0;
        list->runs = larger;
        list->capacity = capacity;
    }
    list->runs[list->count++] = *r;
    return 1;
}

static void free_record(run_record *r)
{
    memory_free(r->folder);
    json_decref(r->experiment);
    json_decref(r->summary);
}

int runs_add(run_list *list, const char *folder)
{
    struct stat info;
    list->met++;
    if (stat(folder, &info) != 0) return complain_of_use("compare", "%.1000s: there is no such folder", folder);
    /* A run that is named twice is one run. */
    for (int i = 0; i < list->count; i++)
        if (list->runs[i].device == info.st_dev && list->runs[i].inode == info.st_ino) return EXIT_DONE;
    run_record r = {.folder = memory_string(folder), .device = info.st_dev, .inode = info.st_ino, .parameters = -1};
    if (!r.folder) return complain_of_memory();
    read_experiment(list, &r);
    if (r.state != RUN_UNREADABLE) read_summary(list, &r);
    read_metrics(&r);
    if (add_record(list, &r)) return EXIT_DONE;
    free_record(&r);
    return complain_of_memory();
}

void runs_free(run_list *list)
{
    for (int i = 0; i < list->count; i++) free_record(&list->runs[i]);
    memory_free(list->runs);
    *list = (run_list){0};
}

/* --------------------------------------------------------------------------------------------------------- folders */

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int find_below(run_list *list, const char *folder, int depth)
{
    struct dirent **entries;
    if (is_run(folder)) return runs_add(list, folder);
    if (depth == DEPTH_MOST) return EXIT_DONE;
    int count = scandir(folder, &entries, not_hidden, alphasort), code = EXIT_DONE;
    if (count < 0) return complain_of_use("compare", "%.1000s: the folder cannot be read", folder);
    for (int i = 0; i < count; i++) {
        char path[RUN_PATH];
        if (!code && run_path(path, folder, entries[i]->d_name, NULL) == STPN_OK && file_is_folder(path))
            code = find_below(list, path, depth + 1);
        free(entries[i]);
    }
    free((void *)entries);
    return code;
}

int runs_find(run_list *list, const char *path)
{
    int before = list->met;
    size_t length = strlen(path);
    char folder[RUN_PATH];
    if (length >= sizeof folder || !file_is_folder(path))
        return complain_of_use("compare", "%.1000s: is no folder of a run or of runs", path);
    while (length > 1 && path[length - 1] == '/') length--;
    memcpy(folder, path, length);
    folder[length] = 0;
    int code = find_below(list, folder, 0);
    if (!code && list->met == before)
        return complain_of_use("compare", "%.1000s: there is no run in it, nor in the folders below", path);
    return code;
}
