/* The words of a command line: options by a table, everything else an operand. */
#ifndef STPN_CLI_ARGUMENTS_H
#define STPN_CLI_ARGUMENTS_H

#include <stdint.h>

typedef struct argument_option {
    const char *name;  // "--set"
    const char *value; // what its value is called; NULL: it has none
    int repeats;       // may be given more than once
    const char *help;
} argument_option;

typedef struct argument_table {
    const char *command; // in front of messages: "train"
    const argument_option *options;
    int option_count;
    const char *operand; // what an operand is called: "RUN"
    int operand_least, operand_most;
} argument_table;

typedef struct argument_given {
    const argument_option *option;
    const char *value; // or NULL
} argument_given;

typedef struct arguments {
    const argument_table *table;
    int word_count;
    char **words;          // the whole command line, the program's name first
    argument_given *given; // (given_count) in order
    int given_count;
    const char **operands; // (operand_count)
    int operand_count;
    int wants_help; // --help or -h came; nothing after it was looked at
} arguments;

/* Words from the third on (program, command, ...). 0, or the code to exit with after a message. Frees nothing on failure:
 * arguments_free does, always. */
int arguments_read(arguments *a, const argument_table *table, int word_count, char **words);
void arguments_free(arguments *a);

int arguments_have(const arguments *a, const char *name);
/* NULL where the option is not given. */
const char *arguments_value(const arguments *a, const char *name);
/* All of --set, in order, into `settings`, which has room for as many as were given; returns how many. */
int arguments_settings(const arguments *a, const char **settings);
/* The setting that is of the seed, which has no effect where seeds are given in another way; or NULL. */
const char *setting_of_seed(const char *const *settings, int count);
/* The option's value into *number, which keeps its default where it is not given. 0, or the code to exit with. */
int arguments_number(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *number);

/* The whole of a text as an integer. */
int read_integer(const char *text, int64_t least, int64_t most, int64_t *number);

#endif
