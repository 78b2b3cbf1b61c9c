/* stpn export: a run's network as a C file and its header, for a device. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "io/net_source.h"
#include "train/run.h"

#include <stdio.h>
#include <string.h>

enum { ORIGIN = 256, MOST_BYTES = 1 << 30 };

typedef struct export_files {
    char code[RUN_PATH], header[RUN_PATH];
} export_files;

/* Only what was exported earlier is replaced. */
static stpn_status may_replace(const char *path, stpn_error *error)
{
    char *text;
    size_t size;
    if (!file_exists(path)) return STPN_OK;
    stpn_status status = file_read(path, MOST_BYTES, &text, &size, error);
    if (status) return status;
    int is_ours = strncmp(text, NET_SOURCE_MARK, strlen(NET_SOURCE_MARK)) == 0;
    memory_free(text);
    if (is_ours) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: is there already and was not written by stpn export: take another --name or --out", path);
}

static stpn_status save(const char *path, const source_text *text, stpn_error *error)
{
    file_part part = {text->text.data, text->text.size};
    return file_replace(path, &part, 1, error);
}

/* Both files, or, where the first cannot be written, none. */
static stpn_status save_both(const net_source *s, const char *folder, export_files *files, stpn_error *error)
{
    char name[NET_SOURCE_NAME + 2];
    snprintf(name, sizeof name, "%s.c", s->name);
    stpn_status status = run_path(files->code, folder, name, error);
    snprintf(name, sizeof name, "%s.h", s->name);
    if (!status) status = run_path(files->header, folder, name, error);
    if (!status) status = may_replace(files->code, error);
    if (!status) status = may_replace(files->header, error);
    if (!status) status = file_make_folder(folder, error);
    if (!status) status = save(files->header, &s->header, error);
    return status ? status : save(files->code, &s->code, error);
}

/* How an agent's observations were scaled: (2, n) means, then deviations. */
static double *scaling_values(const scaling *from)
{
    size_t n = (size_t)from->width;
    double *values = memory_zeroed(2 * n, sizeof *values);
    for (int i = 0; i < from->width && values; i++) {
        values[i] = scaling_mean(from, i);
        values[n + (size_t)i] = scaling_deviation(from, i);
    }
    return values;
}

static stpn_status export(const run *r, const char *folder, net_source *s, export_files *files, stpn_error *error)
{
    double *scaled = NULL;
    if (r->scaling.width) {
        scaled = scaling_values(&r->scaling);
        if (!scaled) return error_memory(error, "the scaling");
        s->mean = scaled;
        s->deviation = scaled + r->scaling.width;
        s->bound = scaling_bound();
    }
    stpn_status status = net_source_write(r->net, s, error);
    if (!status) status = save_both(s, folder, files, error);
    memory_free(scaled);
    return status;
}

static json_t *describe(const run *r, const char *folder, int best, const net_source *s, const export_files *files)
{
    json_t *root = json_object(), *path = json_string(folder), *code = json_string(files->code),
           *header = json_string(files->header);
    int failed = json_object_set_new(root, "run", path ? path : json_string("?"));
    failed |= json_object_set_new(root, "parameters", json_string(best ? "best" : "last"));
    failed |= json_object_set_new(root, "name", json_string(s->name));
    failed |= json_object_set_new(root, "code", code ? code : json_string("?"));
    failed |= json_object_set_new(root, "header", header ? header : json_string("?"));
    failed |= json_object_set_new(root, "inputs", json_integer(r->net->inputs));
    failed |= json_object_set_new(root, "outputs", json_integer(s->outputs));
    failed |= json_object_set_new(root, "parameter_bytes", json_integer((json_int_t)s->parameter_bytes));
    failed |= json_object_set_new(root, "state_bytes", json_integer((json_int_t)s->state_bytes));
    failed |= json_object_set_new(root, "stack_bytes", json_integer((json_int_t)s->stack_bytes));
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

static int run_export(const arguments *a)
{
    const char *folder = a->operands[0], *out = arguments_value(a, "--out"), *chosen = arguments_value(a, "--name");
    int best = arguments_have(a, "--best"), code = EXIT_DONE;
    char name[NET_SOURCE_NAME], origin[ORIGIN];
    export_files files;
    stpn_error error;
    run r;
    if (chosen && !net_source_is_name(chosen))
        return complain_of_use("export",
                               "--name is \"%.100s\", expected a letter, then letters, digits or _, less than %d in "
                               "all, and no word of C",
                               chosen, (int)NET_SOURCE_NAME);
    stpn_status status = run_open_folder(&r, folder, best, 1, &error);
    if (status) return complain(status, &error);
    if (chosen) snprintf(name, sizeof name, "%s", chosen);
    else net_source_name_of(r.experiment.name, name);
    snprintf(origin, sizeof origin, "%.100s, seed %llu, %s parameters", r.experiment.name,
             (unsigned long long)r.experiment.seed, best ? "best" : "last");
    net_source s = {.name = name, .origin = origin};
    status = export(&r, out ? out : ".", &s, &files, &error);
    if (status) code = complain(status, &error);
    else if (arguments_have(a, "--json")) code = print_json(describe(&r, folder, best, &s, &files));
    else
        printf("%s, %s: %zu bytes of parameters, a state of %zu bytes, rows of %zu on the stack\n", files.code,
               files.header, s.parameter_bytes, s.state_bytes, s.stack_bytes);
    net_source_free(&s);
    run_close(&r);
    return code;
}

static const argument_option options[] = {
    {"--name", "NAME", 0, "name of the files and of what they declare (default: that of the experiment)"},
    {"--out", "DIR", 0, "folder of the two files (default: the current one)"},
    {"--best", NULL, 0, "takes the parameters of the best evaluation in place of the last ones"},
    {"--json", NULL, 0, "prints one JSON document and nothing else"},
};

const command command_export = {
    .table = {"export", options, sizeof options / sizeof *options, "RUN", 1, 1},
    .summary = "write a run's network as a C file for a device",
    .text =
        "Writes the network of the folder RUN, its parameters included, as NAME.c and NAME.h: C99 without any library\n"
        "but libm, which allocates nothing and takes one step at a time. docs/exporting.md shows how to use it.\n",
    .run = run_export,
};
