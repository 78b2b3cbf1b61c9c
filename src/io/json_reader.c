#include "io/json_reader.h"

#include "base/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_NUMBER = 40 };

int text_shown(const char *text, int limit)
{
    int length = (int)strnlen(text, (size_t)limit + 1);
    if (length <= limit) return length;
    length = limit;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
    return length;
}

int text_is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        unsigned lead = *at;
        int more = lead < 0x80 ? 0 : lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : -1;
        /* The second byte's bounds rule out overlong forms, surrogates and what lies past U+10FFFF. */
        unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (more < 0 || (more > 0 && (at[1] < low || at[1] > high))) return 0;
        for (at++; more > 0; more--, at++)
            if ((*at & 0xc0) != 0x80) return 0;
    }
    return 1;
}

stpn_status reader_complain(const json_reader *r, const char *at, const char *format, ...)
{
    if (!r->error) return STPN_ERROR_INPUT;
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    size_t line = 1, column = 1;
    for (const char *c = r->start; c < at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    return error_set(r->error, STPN_ERROR_INPUT, "%s: line %zu, column %zu: %s", r->place, line, column, what);
}

stpn_status reader_unexpected(const json_reader *r, const char *expected)
{
    if (r->at == r->end) return reader_complain(r, r->at, "found the end, expected %s", expected);
    unsigned byte = (unsigned char)*r->at;
    if (byte > 0x20 && byte < 0x7f) return reader_complain(r, r->at, "found '%c', expected %s", (int)byte, expected);
    return reader_complain(r, r->at, "found byte 0x%02x, expected %s", byte, expected);
}

const char *reader_skip_space(json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
    return r->at;
}

int reader_next_is(json_reader *r, char c)
{
    reader_skip_space(r);
    if (r->at == r->end || *r->at != c) return 0;
    r->at++;
    return 1;
}

/* Place of the next byte in `set`, -1 where it is none of them. */
static int next_of(const json_reader *r, const char *set)
{
    const char *found = r->at < r->end && *r->at ? strchr(set, *r->at) : NULL;
    return found ? (int)(found - set) : -1;
}

static int read_hex(json_reader *r, unsigned *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int digit = next_of(r, "0123456789abcdefABCDEF");
        if (digit < 0) return 0;
        *code = *code << 4 | (unsigned)(digit > 15 ? digit - 6 : digit);
    }
    return 1;
}

static char *put_utf8(char *to, unsigned code)
{
    static const unsigned leads[] = {0, 0xc0, 0xe0, 0xf0};
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *to++ = (char)(leads[more] | code >> (6 * more));
    while (more-- > 0) *to++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
    return to;
}

/* What stands behind a backslash. */
static stpn_status read_escape(json_reader *r, char **to)
{
    const char *start = r->at - 1;
    int letter = next_of(r, "\"\\/bfnrtu");
    if (letter < 0) return reader_complain(r, start, "found a malformed escape, expected one of JSON's");
    r->at++;
    if (letter < 8) {
        *(*to)++ = "\"\\/\b\f\n\r\t"[letter];
        return STPN_OK;
    }
    unsigned code, low;
    if (!read_hex(r, &code)) return reader_complain(r, start, "found a malformed escape, expected four digits");
    if (code == 0) return reader_complain(r, start, "found \\u0000, expected a string without NUL");
    if (code >= 0xd800 && code < 0xe000) {
        int paired = code < 0xdc00 && r->end - r->at >= 2 && r->at[0] == '\\' && r->at[1] == 'u';
        if (paired) r->at += 2;
        if (!paired || !read_hex(r, &low) || low < 0xdc00 || low >= 0xe000)
            return reader_complain(r, start, "found half a surrogate pair, expected a character");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, code);
    return STPN_OK;
}

stpn_status reader_string(json_reader *r, const char *expected, const char **text)
{
    if (!reader_next_is(r, '"')) return reader_unexpected(r, expected);
    const char *start = r->at - 1;
    char *to = r->scratch + r->used;
    *text = to;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < 0x20) return reader_unexpected(r, "a string without control characters");
        char c = *r->at++;
        if (c == '\\') {
            stpn_status status = read_escape(r, &to);
            if (status) return status;
        } else {
            *to++ = c;
        }
    }
    if (r->at == r->end) return reader_unexpected(r, "the end of a string");
    r->at++;
    *to++ = 0;
    r->used = (size_t)(to - r->scratch);
    if (!text_is_utf8(*text)) return reader_complain(r, start, "found a string that is not UTF-8, expected UTF-8");
    return STPN_OK;
}

stpn_status reader_key(json_reader *r, const char **key)
{
    stpn_status status = reader_string(r, "a key in double quotes", key);
    if (!status && !reader_next_is(r, ':')) status = reader_unexpected(r, "':'");
    return status;
}

static stpn_status read_integer(json_reader *r, int64_t *value)
{
    const char *start = reader_skip_space(r);
    int fits = 1;
    *value = 0;
    for (; next_of(r, "+-.0123456789eE") >= 0; r->at++) {
        int digit = *r->at - '0';
        fits = fits && digit >= 0 && digit <= 9 && !__builtin_mul_overflow(*value, 10, value) &&
               !__builtin_add_overflow(*value, digit, value);
    }
    ptrdiff_t length = r->at - start;
    if (length == 0) return reader_unexpected(r, "an integer");
    if (!fits || (*start == '0' && length > 1))
        return reader_complain(r, start, "found %.*s, expected an integer from 0 to %lld",
                               (int)(length > SHOWN_NUMBER ? SHOWN_NUMBER : length), start, (long long)INT64_MAX);
    return STPN_OK;
}

stpn_status reader_integers(json_reader *r, int limit, int64_t *values, int *count)
{
    *count = 0;
    if (!reader_next_is(r, '[')) return reader_unexpected(r, "an array of integers");
    if (reader_next_is(r, ']')) return STPN_OK;
    do {
        const char *start = reader_skip_space(r);
        if (*count == limit) return reader_complain(r, start, "found a further number, expected at most %d", limit);
        stpn_status status = read_integer(r, &values[*count]);
        if (status) return status;
        ++*count;
    } while (reader_next_is(r, ','));
    return reader_next_is(r, ']') ? STPN_OK : reader_unexpected(r, "',' or ']'");
}
