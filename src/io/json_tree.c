/* JSON text to a Jansson tree, by our own reader: where memory runs out, Jansson's parser (2.14) loses bytes of strings and
 * numbers or ends the process. */
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "io/json.h"
#include "io/json_reader.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 200, SHOWN = 40 };

static stpn_status read_value(json_reader *r, int depth, json_t **value);

static stpn_status out_of_memory(const json_reader *r)
{
    return error_memory(r->error, r->place);
}

static int shown_length(size_t length)
{
    return length > SHOWN ? SHOWN : (int)length;
}

static size_t skip_digits(json_reader *r)
{
    const char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return (size_t)(r->at - start);
}

static int skip_one_of(json_reader *r, const char *set)
{
    if (r->at == r->end || !*r->at || !strchr(set, *r->at)) return 0;
    r->at++;
    return 1;
}

/* The text ends with a zero byte, so that strtod and strtoll stop. */
static stpn_status read_number(json_reader *r, json_t **value)
{
    const char *start = r->at;
    int is_real = 0, valid;
    skip_one_of(r, "-");
    const char *digits = r->at;
    size_t count = skip_digits(r);
    valid = count == 1 || (count > 1 && *digits != '0');
    if (valid && skip_one_of(r, ".")) {
        is_real = 1;
        valid = skip_digits(r) > 0;
    }
    if (valid && skip_one_of(r, "eE")) {
        is_real = 1;
        skip_one_of(r, "+-");
        valid = skip_digits(r) > 0;
    }
    int length = shown_length((size_t)(r->at - start));
    if (!valid) return reader_complain(r, start, "found %.*s, expected a number", length, start);
    errno = 0;
    if (!is_real) {
        long long number = strtoll(start, NULL, 10);
        if (errno) return reader_complain(r, start, "found %.*s, expected an integer of 64 bits", length, start);
        *value = json_integer(number);
    } else {
        double number = strtod(start, NULL);
        if (!isfinite(number))
            return reader_complain(r, start, "found %.*s, expected a number that a double holds", length, start);
        *value = json_real(number);
    }
    return *value ? STPN_OK : out_of_memory(r);
}

static stpn_status read_word(json_reader *r, json_t **value)
{
    static const char *const words[] = {"true", "false", "null"};
    json_t *const values[] = {json_true(), json_false(), json_null()};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(r->end - r->at) < length || memcmp(r->at, words[i], length) != 0) continue;
        r->at += length;
        *value = values[i];
        return STPN_OK;
    }
    return reader_unexpected(r, "a value");
}

static stpn_status read_array(json_reader *r, int depth, json_t *array)
{
    if (reader_next_is(r, ']')) return STPN_OK;
    do {
        json_t *member;
        stpn_status status = read_value(r, depth + 1, &member);
        if (status) return status;
        if (json_array_append_new(array, member) != 0) return out_of_memory(r);
    } while (reader_next_is(r, ','));
    return reader_next_is(r, ']') ? STPN_OK : reader_unexpected(r, "',' or ']'");
}

static stpn_status read_object(json_reader *r, int depth, json_t *object)
{
    if (reader_next_is(r, '}')) return STPN_OK;
    do {
        const char *key, *start = reader_skip_space(r);
        json_t *member;
        size_t used = r->used;
        stpn_status status = reader_key(r, &key);
        if (status) return status;
        if (json_object_get(object, key))
            return reader_complain(r, start, "found the key \"%.*s\" twice, expected it once", text_shown(key, SHOWN),
                                   key);
        status = read_value(r, depth + 1, &member);
        if (status) return status;
        if (json_object_set_new(object, key, member) != 0) return out_of_memory(r);
        r->used = used;
    } while (reader_next_is(r, ','));
    return reader_next_is(r, '}') ? STPN_OK : reader_unexpected(r, "',' or '}'");
}

static stpn_status read_value(json_reader *r, int depth, json_t **value)
{
    stpn_status status;
    const char *start = reader_skip_space(r);
    *value = NULL;
    if (depth > DEPTH_MOST) return reader_complain(r, start, "found more than %d levels", (int)DEPTH_MOST);
    if (r->at == r->end) return reader_unexpected(r, "a value");
    if (*r->at == '"') {
        const char *text;
        size_t used = r->used;
        status = reader_string(r, "a string", &text);
        if (status) return status;
        *value = json_string(text);
        r->used = used;
        return *value ? STPN_OK : out_of_memory(r);
    }
    if (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')) return read_number(r, value);
    int is_array = reader_next_is(r, '[');
    if (!is_array && !reader_next_is(r, '{')) return read_word(r, value);
    json_t *container = is_array ? json_array() : json_object();
    if (!container) return out_of_memory(r);
    status = is_array ? read_array(r, depth, container) : read_object(r, depth, container);
    if (status) json_decref(container);
    else *value = container;
    return status;
}

stpn_status json_parse(json_t **value, const char *name, const char *text, size_t size, stpn_error *error)
{
    *value = NULL;
    /* The text with a zero byte behind, then room for decoded strings, which are never longer. */
    char *work = size > (size_t)JSON_FILE_LIMIT ? NULL : memory_zeroed(2 * size + 2, 1);
    locale_t plain, before = work ? number_plain(&plain) : (locale_t)0;
    if (!before) {
        memory_free(work);
        return error_memory(error, name);
    }
    if (size) memcpy(work, text, size);
    json_reader r = {
        .place = name, .start = work, .at = work, .end = work + size, .scratch = work + size + 1, .error = error};
    stpn_status status = read_value(&r, 0, value);
    if (!status) {
        reader_skip_space(&r);
        if (r.at < r.end) status = reader_unexpected(&r, "the end");
    }
    number_restore(before, plain);
    memory_free(work);
    if (status) {
        json_decref(*value);
        *value = NULL;
    }
    return status;
}
