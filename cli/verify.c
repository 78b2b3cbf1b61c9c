/* stpn verify: how far this build is from golden files. */
#include "cli/cli.h"
#include "train/golden.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *real_name(stpn_real real)
{
    return real == STPN_DOUBLE ? "double" : "float";
}

static const golden_row *row_of(const golden_report *report, const char *name, stpn_real real)
{
    for (int i = 0; i < report->count; i++)
        if (report->rows[i].real == real && strcmp(report->rows[i].name, name) == 0) return &report->rows[i];
    return NULL;
}

/* A line per quantity, float beside double. */
static void print_report(const char *path, const golden_report *report)
{
    printf("%s: %s %s, kernel %s: %s\n", path, report->kind, report->unit, report->kernel,
           golden_passes(report) ? "passed" : "FAILED");
    for (int i = 0; i < report->count; i++) {
        const char *name = report->rows[i].name;
        if (report->rows[i].real != STPN_FLOAT) continue;
        printf("  %-24s", name);
        for (stpn_real real = STPN_FLOAT; real <= STPN_DOUBLE; real++) {
            const golden_row *row = row_of(report, name, real);
            if (row)
                printf("  %s %-8.1e of %-6.0e%s", real_name(real), row->error, row->tolerance,
                       golden_row_passes(row) ? "" : " !");
        }
        printf("\n");
    }
}

/* JSON has no number for an error that is none. */
static json_t *error_number(double error)
{
    return isfinite(error) ? json_real(error) : json_null();
}

static json_t *report_json(const char *path, const golden_report *report, const stpn_error *error)
{
    json_t *object = json_object(), *file = json_string(path);
    int failed = json_object_set_new(object, "file", file ? file : json_string("?"));
    if (error) {
        json_t *message = json_string(error->message);
        failed |= json_object_set_new(object, "passed", json_false());
        failed |= json_object_set_new(object, "error", message ? message : json_string("?"));
    } else {
        json_t *rows = json_array();
        for (int i = 0; i < report->count; i++) {
            const golden_row *r = &report->rows[i];
            json_t *row = json_object();
            failed |= json_object_set_new(row, "name", json_string(r->name));
            failed |= json_object_set_new(row, "real", json_string(real_name(r->real)));
            failed |= json_object_set_new(row, "error", error_number(r->error));
            failed |= json_object_set_new(row, "tolerance", json_real(r->tolerance));
            failed |= json_object_set_new(row, "passed", json_boolean(golden_row_passes(r)));
            failed |= json_array_append_new(rows, row);
        }
        failed |= json_object_set_new(object, "kind", json_string(report->kind));
        failed |= json_object_set_new(object, "unit", json_string(report->unit));
        failed |= json_object_set_new(object, "kernel", json_string(report->kernel));
        failed |= json_object_set_new(object, "passed", json_boolean(golden_passes(report)));
        failed |= json_object_set_new(object, "quantities", rows);
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

/* Every file is looked at; the gravest outcome is the exit code. */
static int verify_file(const char *path, json_t *files, int *out_of_memory)
{
    golden_report report;
    stpn_error error;
    stpn_status status = golden_verify(&report, path, &error);
    if (files) *out_of_memory |= json_array_append_new(files, report_json(path, &report, status ? &error : NULL));
    if (status) return complain(status, &error);
    if (!files) print_report(path, &report);
    return golden_passes(&report) ? EXIT_DONE : EXIT_CHECK_FAILED;
}

static int run_verify(const arguments *a)
{
    const char *kernel = arguments_value(a, "--kernel");
    int json = arguments_have(a, "--json"), worst = EXIT_DONE, out_of_memory = 0;
    /* What the library looks at when a net is made; one that it does not have is reported then. */
    if (kernel && setenv("STPN_KERNEL", kernel, 1) != 0) return complain_of_memory();
    json_t *files = json ? json_array() : NULL;
    if (json && !files) return complain_of_memory();
    for (int i = 0; i < a->operand_count; i++) {
        int code = verify_file(a->operands[i], files, &out_of_memory);
        if (code > worst) worst = code;
    }
    if (!json) return worst;
    json_t *document = json_object();
    out_of_memory |= json_object_set_new(document, "passed", json_boolean(worst == EXIT_DONE));
    out_of_memory |= json_object_set_new(document, "files", files);
    if (out_of_memory) {
        json_decref(document);
        document = NULL;
    }
    int code = print_json(document);
    return code > worst ? code : worst;
}

static const argument_option options[] = {
    {"--json", NULL, 0, "prints one JSON document and nothing else"},
    {"--kernel", "NAME", 0, "takes this kernel, as STPN_KERNEL=NAME does"},
};

const command command_verify = {
    .table = {"verify", options, sizeof options / sizeof *options, "FILE", 1, INT_MAX},
    .summary = "check the computation against golden files",
    .text =
        "Computes what golden files hold, in float and in double, and prints the largest error of every tensor beside\n"
        "its tolerance: max|a - b| / max(1e-3, max|b|). Exits with 1 where an error is beyond its tolerance, with 2\n"
        "where a file cannot be read or is of a kind or unit that this build does not know.\n",
    .run = run_verify,
};
