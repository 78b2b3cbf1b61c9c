/* Errors are values: a status and, where the caller gave a buffer, one message. */
#ifndef STPN_BASE_ERROR_H
#define STPN_BASE_ERROR_H

#include <stpn/stpn.h>

/* Writes the message (cut to fit, control characters shown as '?') and returns `status`. `error` may be NULL. */
stpn_status error_set(stpn_error *error, stpn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "WHAT: the system's words for `code`", as STPN_ERROR_SYSTEM (STPN_ERROR_MEMORY for ENOMEM). */
stpn_status error_system(stpn_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "out of memory while allocating WHAT". Inline, so that an analyser sees that it is never STPN_OK. */
static inline stpn_status error_memory(stpn_error *error, const char *what)
{
    error_set(error, STPN_ERROR_MEMORY, "out of memory while allocating %s", what);
    return STPN_ERROR_MEMORY;
}
/* What a caller must give; its name in the message. */
typedef struct error_pointer {
    const void *value;
    const char *name;
} error_pointer;
/* Of these (up to one without a name) the first that is NULL: "NAME is NULL", as STPN_ERROR_INPUT. */
stpn_status error_check_given(stpn_error *error, const error_pointer *given);
/* The same of pointers written out: error_given(error, {net, "net"}, {path, "path"}). */
#define error_given(error, ...) error_check_given(error, (const error_pointer[]){__VA_ARGS__, {NULL, NULL}})
/* Empties the message; called where a public call starts. */
void error_clear(stpn_error *error);

#endif
