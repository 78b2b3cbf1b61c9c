#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A hostile file's names may hold line breaks or escape codes: a message stays one harmless line. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

stpn_status error_set(stpn_error *error, stpn_status status, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        make_printable(error->message);
    }
    return status;
}

stpn_status error_system(stpn_error *error, int code, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        size_t used = length < 0 ? 0 : (size_t)length;
        char reason[128];
        if (used < sizeof error->message)
            snprintf(error->message + used, sizeof error->message - used, ": %s",
                     strerror_r(code, reason, sizeof reason) == 0 ? reason : "unknown system error");
        make_printable(error->message);
    }
    return code == ENOMEM ? STPN_ERROR_MEMORY : STPN_ERROR_SYSTEM;
}

stpn_status error_check_given(stpn_error *error, const error_pointer *given)
{
    for (; given->name; given++)
        if (!given->value) return error_set(error, STPN_ERROR_INPUT, "%s is NULL", given->name);
    return STPN_OK;
}

void error_clear(stpn_error *error)
{
    if (error) error->message[0] = 0;
}

const char *stpn_version(void)
{
    return STPN_VERSION;
}
