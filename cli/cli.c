#include "cli/cli.h"

#include "base/memory.h"
#include "base/words.h"
#include "io/json.h"
#include "train/hardware.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const command *const commands[] = {
    &command_train,  &command_eval,   &command_compare, &command_reproduce, &command_sweep,
    &command_verify, &command_bench,  &command_info,    &command_inspect,   &command_trace,
    &command_play,   &command_export, &command_help,
};

enum { COMMANDS = sizeof commands / sizeof *commands, LINE_SIZE = 4096 };

const command *command_at(int index)
{
    return index < 0 || index >= COMMANDS ? NULL : commands[index];
}

const command *command_find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->table.command, name) == 0) return commands[i];
    return NULL;
}

int complain_of_command(const char *name)
{
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i]->table.command;
    say("there is no command \"%s\"; the nearest is %s; see stpn help", name, words_nearest(name, names, COMMANDS));
    return EXIT_WRONG_USE;
}

static int says_nothing;

void say_nothing(void)
{
    says_nothing = 1;
}

void say_again(void)
{
    says_nothing = 0;
}

/* A name with line breaks or escape codes in it still makes one harmless line. */
static void print_line(const char *prefix, char *text)
{
    if (says_nothing) return;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    fprintf(stderr, "stpn: %s%s%s\n", prefix, *prefix ? ": " : "", text);
}

void say(const char *format, ...)
{
    char text[LINE_SIZE];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_line("", text);
}

int complain_of_use(const char *name, const char *format, ...)
{
    char text[LINE_SIZE];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_line(name, text);
    return EXIT_WRONG_USE;
}

int complain(stpn_status status, const stpn_error *error)
{
    say("%s", error->message);
    switch (status) {
    case STPN_OK: return EXIT_DONE;
    case STPN_ERROR_INPUT: return EXIT_WRONG_USE;
    case STPN_ERROR_NUMERIC: return EXIT_CHECK_FAILED;
    case STPN_STOPPED: return EXIT_INTERRUPTED;
    default: return EXIT_SYSTEM_FAILED;
    }
}

int complain_of_memory(void)
{
    say("out of memory");
    return EXIT_SYSTEM_FAILED;
}

int print_json(json_t *document)
{
    char *text = document ? json_to_text(document, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(document);
    if (!text) return complain_of_memory();
    puts(text);
    memory_free(text);
    return EXIT_DONE;
}

typedef struct measure {
    const char *key, *heading;
    int width, digits;
    char conversion; // f or g
    int always;      // a column even where there is none, but for a test in an environment
} measure;

static const measure measures[] = {
    {"accuracy", "accuracy", 11, 5, 'f', 0},
    {"true_positive_rate", "true pos.", 11, 5, 'f', 0},
    {"false_positive_rate", "false pos.", 12, 5, 'f', 0},
    {"loss", "loss", 12, 5, 'g', 1},
    {"reward", "reward", 11, 4, 'f', 0},
    {"reward_error", "+-", 9, 4, 'f', 0},
    {"goals", "goals", 9, 3, 'f', 0},
    {"return_steps", "return steps", 14, 2, 'f', 0},
    {"energy", "energy/step", 14, 5, 'g', 1},
    {"sequences", "sequences", 12, 0, 'f', 1},
    {"episodes", "episodes", 11, 0, 'f', 0},
};

enum { MEASURES = sizeof measures / sizeof *measures };

static int is_shown(const measure *m, const json_t *split)
{
    return json_object_get(split, m->key) || (m->always && !json_object_get(split, "reward"));
}

void print_measures_heading(const json_t *split)
{
    printf("%-14s", "");
    for (int i = 0; i < MEASURES; i++)
        if (is_shown(&measures[i], split)) printf("%*s", measures[i].width, measures[i].heading);
    printf("\n");
}

/* A hand-edited summary may lack a number. */
void print_measures(const char *name, const json_t *split)
{
    printf("%-14s", name);
    for (int i = 0; i < MEASURES; i++) {
        const measure *m = &measures[i];
        const json_t *value = json_object_get(split, m->key);
        if (!is_shown(m, split)) continue;
        double number = json_is_number(value) ? json_number_value(value) : NAN;
        printf(m->conversion == 'f' ? "%*.*f" : "%*.*g", m->width, m->digits, number);
    }
    printf("\n");
}

void print_probes(const json_t *probes)
{
    for (size_t i = 0; i < json_array_size(probes); i++) {
        const json_t *one = json_array_get(probes, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        print_measures(name ? name : "?", one);
    }
}

stpn_status hardware_table_of(const arguments *a, hardware_table *table, stpn_error *error)
{
    const char *path = arguments_value(a, "--energy-table");
    *table = hardware_default();
    return path ? hardware_read(table, path, error) : STPN_OK;
}

int shows_colour(int descriptor)
{
    const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(descriptor) && !(none && *none) && terminal && strcmp(terminal, "dumb") != 0;
}
