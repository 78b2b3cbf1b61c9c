/* stpn help: the commands, and the keys of experiment files, from the tables that their parsers use. */
#include "cli/cli.h"
#include "tasks/env.h"
#include "tasks/task.h"
#include "train/experiment.h"
#include "units/unit.h"

#include <stdio.h>
#include <string.h>

enum { INDENT = 22, WIDTH = 100 };

/* Words of `text` from column `indent` on, over as many lines as it takes. */
static void print_wrapped(const char *text, int indent)
{
    int column = indent;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > indent && column + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        if (column > indent) column += printf(" ");
        column += printf("%.*s", length, text);
        text += length;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void print_option(const char *name, const char *value, const char *help)
{
    int column = printf("  %s%s%s", name, value ? " " : "", value ? value : "");
    if (column >= INDENT) column = printf("\n") - 1;
    printf("%*s", INDENT - column, "");
    print_wrapped(help, INDENT);
}

void print_command_help(const command *c)
{
    const argument_table *t = &c->table;
    int several = t->operand_most > 1;
    printf("usage: stpn %s", t->command);
    if (*t->operand) printf(t->operand_least ? " %s%s" : " [%s%s]", t->operand, several ? " ..." : "");
    for (int i = 0; i < t->option_count; i++) {
        const argument_option *o = &t->options[i];
        printf(" [%s%s%s%s]", o->name, o->value ? " " : "", o->value ? o->value : "", o->repeats ? " ..." : "");
    }
    printf("\n\n%s\n", c->text);
    for (int i = 0; i < t->option_count; i++) print_option(t->options[i].name, t->options[i].value, t->options[i].help);
    print_option("--help", NULL, "prints this");
}

void print_overview(void)
{
    const command *c;
    printf("stpn %s: short-term-plasticity neurons, fast and exact\n\nusage: stpn COMMAND ...\n\n", stpn_version());
    for (int i = 0; (c = command_at(i)); i++) printf("  %-12s%s\n", c->table.command, c->summary);
    printf("\nstpn help COMMAND explains one, stpn help keys the keys of experiment files. Results go to standard "
           "output,\n"
           "progress and messages to standard error. Exit codes: 0 done, 1 a check failed, 2 wrong use or input\n"
           "(also a file that may not be read), 3 the system failed (memory, disk, a file that may not be written),\n"
           "130 interrupted and saved. The environment variable STPN_KERNEL forces a kernel.\n");
}

/* ------------------------------------------------------------------------------------------------------------- keys */

/* A bar would end the cell of a table. */
static void print_expected(const option *o)
{
    char text[128];
    int length;
    const char *word;
    if (o->kind != OPTION_CHOICE) {
        option_expectation(o, text, sizeof text);
        printf("%s", text);
        return;
    }
    for (int i = 0; (word = option_choice(o->choices, i, &length)); i++)
        printf("%s`\"%.*s\"`", i ? ", " : "", length, word);
}

static void print_default(const option *o, const void *defaults)
{
    int length;
    const char *word;
    switch (o->kind) {
    case OPTION_NUMBER: printf("`%.10g`", option_number(o, defaults)); break;
    case OPTION_INTEGER: printf("`%d`", option_integer(o, defaults)); break;
    case OPTION_BOOLEAN: printf("`%s`", option_integer(o, defaults) ? "true" : "false"); break;
    case OPTION_TEXT:
        word = option_text(o, defaults);
        if (*word) printf("`\"%s\"`", word);
        else printf("none");
        break;
    case OPTION_LIST: printf("none"); break;
    case OPTION_CHOICE:
        word = option_choice(o->choices, option_integer(o, defaults), &length);
        printf("`\"%.*s\"`", length, word ? word : "");
        break;
    }
}

static void print_heading(const char *title)
{
    printf("## %s\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n", title);
}

static void print_row(const char *key, const char *expected, const char *fallback, const char *help)
{
    printf("| `%s` | %s | %s | %s |\n", key, expected, fallback, help);
}

/* A default below the least value allowed is none: the key has to be there. */
static void print_table(const option *table, int count, const void *defaults)
{
    for (int i = 0; i < count; i++) {
        const option *o = &table[i];
        int required = (o->kind == OPTION_INTEGER && option_integer(o, defaults) < o->minimum) ||
                       (o->kind == OPTION_TEXT && (double)strlen(option_text(o, defaults)) < o->minimum);
        printf("| `%s` | ", o->name);
        print_expected(o);
        printf(" | ");
        if (required) printf("required");
        else print_default(o, defaults);
        /* Absolute values would read as the bars of the table. */
        printf(" | ");
        for (const char *c = o->help; *c; c++) {
            if (*c == '|') putchar('\\');
            putchar(*c);
        }
        printf(" |\n");
    }
    printf("\n");
}

/* The keys of what is chosen by its name in `place`; `kind`: what to add to the heading. */
static void print_named(const char *place, const char *name, const char *kind, const char *what, const option *table,
                        int count, const void *defaults)
{
    char title[128], value[128];
    snprintf(title, sizeof title, "`%s`: `%s`%s", place, name, kind);
    print_heading(title);
    snprintf(value, sizeof value, "`\"%s\"`", name);
    print_row("name", value, "required", what);
    print_table(table, count, defaults);
}

static void print_keys(void)
{
    int count;
    print_heading("The file");
    print_row("name", "a string", "required", "name of the experiment; letters, digits, `-`, `_`, `.`");
    print_row("note", "a string", "none", "free text");
    print_row("seed", "an integer from 0 to 2^63 - 1", "`0`", "decides every random draw: data, initial values, order");
    print_row("version", "any", "none", "the version that resolved the file; ignored");
    print_row("task", "an object", "required", "what is learned");
    print_row("encoder", "an array of 1 to 16 objects", "none", "convolutions of an image, before the units");
    print_row("units", "an array of 1 to 64 objects", "required", "the network, from the input to the read-out");
    print_row("train", "an object", "all defaults", "how it is learned");
    printf("\n");
    for (int i = 0; task_at(i); i++) {
        const task_type *t = task_at(i);
        print_named("task", t->name, "", "the task", t->options, t->option_count, &t->defaults);
    }
    for (int i = 0; env_at(i); i++) {
        const env_type *e = env_at(i);
        print_named("task", e->name, ", an environment", "the task", e->options, e->option_count, &e->defaults);
    }
    for (int i = 0; unit_at(i); i++) {
        const unit_type *u = unit_at(i);
        print_named("units", u->name, "", "the unit", u->options, u->option_count, &u->defaults);
    }
    print_heading("`encoder`, each layer");
    const stpn_conv layer = {0};
    const option *table = encoder_option_table(&count);
    print_table(table, count, &layer);
    print_heading("`train`");
    table = train_option_table(&count);
    train_options defaults = train_option_defaults();
    print_table(table, count, &defaults);
    print_heading("`train` where `method` is `a2c`");
    table = a2c_option_table(&count);
    const a2c_options a2c = a2c_option_defaults();
    print_table(table, count, &a2c);
    print_heading("`train` where `method` is `ppo`");
    table = ppo_option_table(&count);
    const ppo_options ppo = ppo_option_defaults();
    print_table(table, count, &ppo);
}

static int run_help(const arguments *a)
{
    if (a->operand_count == 0) {
        print_overview();
        return EXIT_DONE;
    }
    const char *topic = a->operands[0];
    if (strcmp(topic, "keys") == 0) {
        print_keys();
        return EXIT_DONE;
    }
    const command *c = command_find(topic);
    if (!c) return complain_of_command(topic);
    print_command_help(c);
    return EXIT_DONE;
}

const command command_help = {
    .table = {"help", NULL, 0, "COMMAND", 0, 1},
    .summary = "explain the commands",
    .text =
        "Explains the commands, or one of them. stpn help keys prints every key of an experiment file with its type,\n"
        "default and meaning, as Markdown.\n",
    .run = run_help,
};
