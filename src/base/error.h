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
/* Empties the message; called where a public call starts. */
void error_clear(stpn_error *error);

#endif
