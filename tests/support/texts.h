/* Experiments as they stand in tests, and what is said of those that are refused. Include after cmocka.h. */
#ifndef STPN_TESTS_TEXTS_H
#define STPN_TESTS_TEXTS_H

#include "stpn/stpn.h"

#include <stdlib.h>
#include <string.h>

/* A text that has ' in place of ", with these; to be freed. */
static inline char *quoted(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    for (char *c = copy; *c; c++)
        if (*c == '\'') *c = '"';
    return copy;
}

static inline void assert_input_error(stpn_status status, const stpn_error *told, const char *words)
{
    if (status != STPN_ERROR_INPUT || !strstr(told->message, words))
        fail_msg("status %d, \"%s\", expected \"%s\"", (int)status, told->message, words);
}

#endif
