/* stpn info: what this build is and runs on. */
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/gif.h"
#include "cli/ranks.h"
#include "io/json.h"
#include "kernels/kernels.h"
#include "tasks/env.h"
#include "tasks/pendulum.h"
#include "tasks/task.h"
#include "units/unit.h"

#include <stdio.h>

/* A table of options with the default, the type and the meaning of each. */
static json_t *options_json(const option *table, int count, const void *defaults)
{
    json_t *values = json_object(), *list = json_array();
    int failed = !options_to_json(table, count, defaults, values);
    for (int i = 0; i < count && !failed; i++) {
        char expected[256];
        option_expectation(&table[i], expected, sizeof expected);
        json_t *entry = json_object();
        failed |= json_object_set_new(entry, "name", json_string(table[i].name));
        failed |= json_object_set_new(entry, "expected", json_string(expected));
        failed |= json_object_set(entry, "default", json_object_get(values, table[i].name));
        failed |= json_object_set_new(entry, "help", json_string(table[i].help));
        failed |= json_array_append_new(list, entry);
    }
    json_decref(values);
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

static json_t *named_options(const char *name, const option *table, int count, const void *defaults)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", json_string(name));
    failed |= json_object_set_new(object, "options", options_json(table, count, defaults));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *describe(const char *kernel)
{
    char processor[128], system[128];
    machine_processor(processor, sizeof processor);
    machine_system(system, sizeof system);
    json_t *root = json_object(), *kernels = json_array(), *units = json_array(), *tasks = json_array(),
           *environments = json_array();
    int failed = json_object_set_new(root, "version", json_string(stpn_version()));
    failed |= json_object_set_new(root, "kernel", json_string(kernel));
    for (int i = 0; stpn_kernel_name(i); i++)
        failed |= json_array_append_new(kernels, json_string(stpn_kernel_name(i)));
    for (int i = 0; unit_at(i); i++) {
        const unit_type *u = unit_at(i);
        failed |= json_array_append_new(units, named_options(u->name, u->options, u->option_count, &u->defaults));
    }
    for (int i = 0; task_at(i); i++) {
        const task_type *t = task_at(i);
        failed |= json_array_append_new(tasks, named_options(t->name, t->options, t->option_count, &t->defaults));
    }
    for (int i = 0; env_at(i); i++) {
        const env_type *e = env_at(i);
        failed |=
            json_array_append_new(environments, named_options(e->name, e->options, e->option_count, &e->defaults));
    }
    failed |= json_object_set_new(root, "kernels", kernels);
    failed |= json_object_set_new(root, "units", units);
    failed |= json_object_set_new(root, "tasks", tasks);
    failed |= json_object_set_new(root, "environments", environments);
    failed |= json_object_set_new(root, "processor", json_string(processor));
    failed |= json_object_set_new(root, "system", json_string(system));
    failed |= json_object_set_new(root, "threads", json_integer(machine_processors()));
    int engine = pendulum_engine();
    json_t *mujoco = engine ? json_sprintf("%d.%d.%d", engine / 100, engine / 10 % 10, engine % 10) : json_null();
    failed |= json_object_set_new(root, "mujoco", mujoco);
    failed |= json_object_set_new(root, "gif", json_boolean(gif_check(NULL) == STPN_OK));
    failed |= json_object_set_new(root, "mpi", json_boolean(ranks_possible()));
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

static void print_named(const char *what, const json_t *list)
{
    size_t index;
    const json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, index, entry)
    {
        const json_t *options = json_object_get(entry, "options");
        printf("%-11s%s:", what, json_string_value(json_object_get(entry, "name")));
        for (size_t i = 0; i < json_array_size(options); i++)
            printf(" %s", json_string_value(json_object_get(json_array_get(options, i), "name")));
        printf("\n");
    }
}

static void print_text(const json_t *root)
{
    printf("%-11s%s\n", "version", json_string_value(json_object_get(root, "version")));
    printf("%-11s%s (available:", "kernel", json_string_value(json_object_get(root, "kernel")));
    for (int i = 0; stpn_kernel_name(i); i++) printf("%s %s", i ? "," : "", stpn_kernel_name(i));
    printf(")\n");
    print_named("unit", json_object_get(root, "units"));
    print_named("task", json_object_get(root, "tasks"));
    print_named("task", json_object_get(root, "environments"));
    printf("%-11s%s\n", "processor", json_string_value(json_object_get(root, "processor")));
    printf("%-11s%s\n", "system", json_string_value(json_object_get(root, "system")));
    printf("%-11s%lld\n", "threads", (long long)json_integer_value(json_object_get(root, "threads")));
    const char *mujoco = json_string_value(json_object_get(root, "mujoco"));
    printf("%-11s%s\n", "mujoco", mujoco ? mujoco : "no");
    printf("%-11s%s\n", "gif", json_is_true(json_object_get(root, "gif")) ? "yes" : "no");
    printf("%-11s%s\n", "mpi", json_is_true(json_object_get(root, "mpi")) ? "yes" : "no");
}

static int run_info(const arguments *a)
{
    const kernel_table *kernel;
    stpn_error error;
    stpn_status status = kernel_choose(&kernel, STPN_FLOAT, &error);
    if (status) return complain(status, &error);
    json_t *root = describe(kernel->name);
    if (arguments_have(a, "--json")) return print_json(root);
    if (!root) return complain_of_memory();
    print_text(root);
    json_decref(root);
    return EXIT_DONE;
}

static const argument_option options[] = {
    {"--json", NULL, 0, "prints one JSON document and nothing else; units and tasks with types, defaults and meanings"},
};

const command command_info = {
    .table = {"info", options, sizeof options / sizeof *options, "", 0, 0},
    .summary = "tell the version, the kernels, the units and the tasks",
    .text =
        "Tells what this build is: its version, the kernel in use and those that this processor runs, the units with\n"
        "their options, the tasks, the processor and its number of threads, MuJoCo's version, and whether it draws\n"
        "animations and trains over the ranks of mpirun.\n",
    .run = run_info,
};
