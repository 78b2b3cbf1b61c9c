/* Options as a table: one row per key gives its place in a struct, its type, its bounds and its help. The parser of
 * experiment files, the checks of the C interface and the documentation all read the same rows. */
#ifndef STPN_BASE_OPTION_H
#define STPN_BASE_OPTION_H

#include <stddef.h>
#include <stpn/stpn.h>

typedef enum option_kind {
    OPTION_INTEGER, // int
    OPTION_NUMBER,  // double
    OPTION_BOOLEAN, // int, 0 or 1
    OPTION_CHOICE,  // int, place of a word in `choices`
    OPTION_TEXT,    // char[maximum + 1], `minimum` to `maximum` bytes and a zero byte
    OPTION_LIST     // option_list, of integers, none of them twice
} option_kind;

enum { OPTION_LIST_MOST = 256 };

typedef struct option_list {
    int count;
    int values[OPTION_LIST_MOST];
} option_list;

typedef struct option {
    const char *name;
    option_kind kind;
    size_t offset;       // of the field in its struct
    const char *choices; // OPTION_CHOICE: "pre|post|output|none", in the order of the enum
    double minimum, maximum;
    const char *help;
} option;

/* Word `index` of "a|b|c" as its start and length; NULL past the last. */
const char *option_choice(const char *choices, int index, int *length);
/* Index of a word, or -1. */
int option_choice_index(const char *choices, const char *word);

double option_number(const option *o, const void *fields);
int option_integer(const option *o, const void *fields);
void option_set_number(const option *o, void *fields, double value);
void option_set_integer(const option *o, void *fields, int value);
const char *option_text(const option *o, const void *fields);
/* 0, with the field as it was, where the text is too short or too long. */
int option_set_text(const option *o, void *fields, const char *text);
const option_list *option_list_of(const option *o, const void *fields);
/* 0, with the field as it was, where the list is too long, or a value out of bounds or there twice. */
int option_set_list(const option *o, void *fields, const option_list *list);

/* Checks every field of `fields` against its row; `place` starts the message ("units[0]"). */
stpn_status options_check(const option *table, int count, const void *fields, const char *place, stpn_error *error);

/* "an integer from 1 to 100", for messages and documentation. */
void option_expectation(const option *o, char *text, size_t size);

#endif
