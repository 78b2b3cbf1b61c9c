/* The command `stpn`: one file per command, and what they share. */
#ifndef STPN_CLI_CLI_H
#define STPN_CLI_CLI_H

#include "cli/arguments.h"

#include <jansson.h>
#include <stpn/stpn.h>

typedef enum exit_code {
    EXIT_DONE = 0,
    EXIT_CHECK_FAILED = 1, // the work ran
    EXIT_WRONG_USE = 2,    // or wrong input
    EXIT_SYSTEM_FAILED = 3,
    EXIT_INTERRUPTED = 130 // and saved
} exit_code;

typedef struct command {
    argument_table table;
    const char *summary; // one line
    const char *text;    // paragraphs of its help
    int (*run)(const arguments *a);
} command;

extern const command command_train, command_eval, command_compare, command_reproduce, command_sweep, command_verify,
    command_bench, command_info, command_inspect, command_trace, command_play, command_export, command_help;

/* Where the words of stpn train cannot be read: ranks end together, after rank 0 has told. */
void train_refuse(int code);

/* NULL past the last. */
const command *command_at(int index);
const command *command_find(const char *name);
/* After "no command NAME", the nearest one. */
int complain_of_command(const char *name);

/* "stpn: ..." as one line on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on nothing is said: another rank says it. Or it is again. */
void say_nothing(void);
void say_again(void);
/* The same for an error of the library; returns the code to exit with. */
int complain(stpn_status status, const stpn_error *error);
/* Wrong use: "stpn COMMAND: ..."; returns EXIT_WRONG_USE. */
int complain_of_use(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
int complain_of_memory(void);

/* Prints a document, which it takes over; NULL means that memory ran out while it was made. Returns the code to exit
 * with, 0 unless that fails. */
int print_json(json_t *document);

/* What is told of an evaluation: a row from {"accuracy", "loss", "energy", "sequences", ...}, and the heading of rows
 * like it. */
void print_measures_heading(const json_t *split);
void print_measures(const char *name, const json_t *split);
/* A row for each of an array of {"name", ...}. */
void print_probes(const json_t *probes);

/* The table that --energy-table names, or the one for 45 nm. */
struct hardware_table;
stpn_status hardware_table_of(const arguments *a, struct hardware_table *table, stpn_error *error);

/* Whether this stream shows colours: a terminal, and neither NO_COLOR nor a dumb one. */
int shows_colour(int descriptor);

/* Help of one command, and of all. */
void print_command_help(const command *c);
void print_overview(void);

#endif
