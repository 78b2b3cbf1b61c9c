/* stpn bench: nanoseconds per synapse and step. */
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/measure.h"
#include "units/unit.h"

#include <stdio.h>
#include <string.h>

enum { THREADS_MOST = 256, SIDE_MOST = 1 << 20 };

/* The sizes of the paper's tasks. */
static const measure_case sizes[] = {
    {.name = "retrieval", .batch = 128, .steps = 9, .inputs = 37, .hidden = 11, .tokens = 1, .norm = STPN_NORM_PRE},
    {.name = "maze", .batch = 512, .steps = 200, .inputs = 17, .hidden = 55, .norm = STPN_NORM_PRE},
    {.name = "maze-post", .batch = 512, .steps = 200, .inputs = 17, .hidden = 55, .norm = STPN_NORM_POST, .clamp = 1},
    {.name = "pong", .batch = 64, .steps = 50, .inputs = 2592, .hidden = 64, .norm = STPN_NORM_PRE},
};

/* Pong is measured where it is asked for: it is large. */
enum { SIZES = sizeof sizes / sizeof *sizes, USUAL_SIZES = 3 };

/* A problem of this many input or output values does not fit into a memory. */
static const double most_values = 1e11;

/* A name, or "B,T,I,H". */
static int read_size(const char *text, measure_case *c)
{
    int64_t sides[4];
    char copy[128];
    for (int i = 0; i < SIZES; i++)
        if (strcmp(text, sizes[i].name) == 0) {
            *c = sizes[i];
            return EXIT_DONE;
        }
    int count = 0;
    size_t length = strlen(text);
    if (length < sizeof copy) {
        memcpy(copy, text, length + 1);
        for (char *part = copy; part && count < 5; count++) {
            char *comma = strchr(part, ',');
            if (comma) *comma = 0;
            if (count == 4 || !read_integer(part, 1, SIDE_MOST, &sides[count])) break;
            part = comma ? comma + 1 : NULL;
            if (!part && count == 3) {
                *c = (measure_case){.name = text,
                                    .batch = (int)sides[0],
                                    .steps = (int)sides[1],
                                    .inputs = (int)sides[2],
                                    .hidden = (int)sides[3],
                                    .norm = STPN_NORM_PRE};
                double values = (double)c->batch * c->steps * (c->inputs + 3.0 * c->hidden);
                if (values <= most_values) return EXIT_DONE;
                return complain_of_use("bench", "--size is %s, which takes more memory than there is", text);
            }
        }
    }
    return complain_of_use(
        "bench", "--size is \"%s\", expected retrieval, maze, maze-post, pong, or four integers B,T,I,H", text);
}

static int check_unit(const char *name)
{
    char known[256];
    if (unit_find(name)) return EXIT_DONE;
    unit_names(known, sizeof known);
    return complain_of_use("bench", "--unit is \"%s\", expected one of %s", name, known);
}

static int add_row(json_t *rows, const measure_case *c, const char *unit_name, const char *kernel, int threads,
                   const measurement *m)
{
    json_t *row = json_object(), *name = json_string(c->name);
    int failed = json_object_set_new(row, "size", name);
    failed |= json_object_set_new(row, "unit", json_string(unit_name));
    failed |= json_object_set_new(row, "kernel", json_string(kernel));
    failed |= json_object_set_new(row, "threads", json_integer(threads));
    failed |= json_object_set_new(row, "forward_ns", json_real(m->forward_ns));
    failed |= json_object_set_new(row, "training_ns", json_real(m->training_ns));
    failed |= json_object_set_new(row, "training_seconds", json_real(m->training_seconds));
    failed |= json_object_set_new(row, "training_seconds_least", json_real(m->training_seconds_least));
    failed |= json_object_set_new(row, "peak_bytes", json_integer((json_int_t)m->peak_bytes));
    failed |= json_array_append_new(rows, row);
    return failed ? complain_of_memory() : EXIT_DONE;
}

static void print_row(const measure_case *c, const char *unit_name, const char *kernel, int threads,
                      const measurement *m)
{
    printf("%-18s%-14s%-10s%7d%12.3f%12.3f%10.1f\n", c->name, unit_name, kernel, threads, m->forward_ns, m->training_ns,
           (double)m->peak_bytes / 1e6);
    fflush(stdout);
}

typedef struct request {
    const measure_case *cases;
    int case_count;
    const char *unit;
    const char *kernel; // NULL: every one
    int threads;
    json_t *rows; // NULL: print text
} request;

static int measure_all(const request *r)
{
    if (!r->rows)
        printf("%-18s%-14s%-10s%7s%12s%12s%10s\n", "size", "unit", "kernel", "threads", "forward ns", "training ns",
               "peak MB");
    for (int i = 0; i < r->case_count; i++)
        for (int k = 0; k == 0 || (!r->kernel && stpn_kernel_name(k)); k++) {
            const char *kernel = r->kernel ? r->kernel : stpn_kernel_name(k);
            measurement m;
            stpn_error error;
            stpn_status status = measure_kernel(&m, &r->cases[i], r->unit, kernel, r->threads, &error);
            if (status) return complain(status, &error);
            if (!r->rows) {
                print_row(&r->cases[i], r->unit, kernel, r->threads, &m);
                continue;
            }
            int code = add_row(r->rows, &r->cases[i], r->unit, kernel, r->threads, &m);
            if (code) return code;
        }
    return EXIT_DONE;
}

static int run_bench(const arguments *a)
{
    const char *size = arguments_value(a, "--size"), *unit_name = arguments_value(a, "--unit");
    int64_t threads = 1;
    measure_case own;
    request r = {.cases = sizes, .case_count = USUAL_SIZES, .unit = unit_name ? unit_name : "stpn_r"};
    int code = arguments_number(a, "--threads", 0, THREADS_MOST, &threads);
    if (!code && size) {
        code = read_size(size, &own);
        r.cases = &own;
        r.case_count = 1;
    }
    if (!code && arguments_have(a, "--tokens")) {
        if (!size) return complain_of_use("bench", "--tokens needs --size");
        own.tokens = 1;
    }
    if (!code) code = check_unit(r.unit);
    if (code) return code;
    const kernel_table *kernel;
    stpn_error error;
    stpn_status status = kernel_choose(&kernel, STPN_FLOAT, &error);
    if (status) return complain(status, &error);
    if (!arguments_have(a, "--all-kernels")) r.kernel = kernel->name;
    r.threads = threads ? (int)threads : machine_processors();
    if (!arguments_have(a, "--json")) return measure_all(&r);
    r.rows = json_array();
    if (!r.rows) return complain_of_memory();
    code = measure_all(&r);
    if (!code) return print_json(r.rows);
    json_decref(r.rows);
    return code;
}

static const argument_option options[] = {
    {"--size", "SIZE", 0,
     "retrieval (one-hot inputs), maze (normal inputs), maze-post (norm post, clamp 1), pong, or B,T,I,H: "
     "samples, steps, inputs, neurons (default: the three)"},
    {"--tokens", NULL, 0, "one-hot inputs at the size that --size gives"},
    {"--unit", "NAME", 0, "the unit (default stpn_r)"},
    {"--threads", "N", 0, "number of threads (default 1; 0: one per processor)"},
    {"--all-kernels", NULL, 0, "measures every kernel that this processor runs"},
    {"--json", NULL, 0, "prints one JSON array and nothing else"},
};

const command command_bench = {
    .table = {"bench", options, sizeof options / sizeof *options, "", 0, 0},
    .summary = "measure the speed",
    .text =
        "Measures a forward pass, and a training pass (forward with a tape, then backward), in nanoseconds per "
        "synapse\n"
        "and step: median time / (B T H K). Peak memory is what the process takes beyond what it had before the net\n"
        "was made. Before a kernel is measured its results are compared with the portable kernel's in double; one "
        "that\n"
        "is wrong is not measured, and the exit code is 1.\n",
    .run = run_bench,
};
