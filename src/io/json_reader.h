/* Reads JSON of a known shape from memory, token by token, without allocating: for files that may be hostile.
 *
 * Not by Jansson, which holds the trees: where an allocation fails, the parser of Jansson 2.14 drops a byte of the string
 * or number at hand and goes on, or ends the process, and a hostile text of brackets takes ninety times its size of
 * memory. */
#ifndef STPN_IO_JSON_READER_H
#define STPN_IO_JSON_READER_H

#include <stpn/stpn.h>

typedef struct json_reader {
    const char *place;            /* stands in front of every message: file, part of it */
    const char *start, *at, *end; /* the text and the next byte to read */
    char *scratch;                /* decoded strings go here, from `used` on; needs end - start bytes at most where */
    size_t used;                  /* `used` goes back to 0 now and then, and never while a string is needed */
    stpn_error *error;
} json_reader;

/* "PLACE: line L, column C: ...", as STPN_ERROR_INPUT; `at` is the byte that the message is about. */
stpn_status reader_complain(const json_reader *r, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Complains about the next byte: "found X, expected EXPECTED". */
stpn_status reader_unexpected(const json_reader *r, const char *expected);

/* Steps over white space; returns where the next token starts. */
const char *reader_skip_space(json_reader *r);
/* Steps over white space and then over `c`, if that comes next. */
int reader_next_is(json_reader *r, char c);
/* A string, decoded into the scratch; UTF-8 without NUL. `expected` is for the message where there is none. */
stpn_status reader_string(json_reader *r, const char *expected, const char **text);
/* A string and the colon behind it. */
stpn_status reader_key(json_reader *r, const char **key);
/* An array of at most `limit` integers from 0 to 2^63 - 1. */
stpn_status reader_integers(json_reader *r, int limit, int64_t *values, int *count);

/* 1 where the text is well-formed UTF-8 (no overlong forms, no surrogates). */
int text_is_utf8(const char *text);
/* Bytes of `text` to show in a message: all, or at most `limit` without cutting a character in two. */
int text_shown(const char *text, int limit);

#endif
