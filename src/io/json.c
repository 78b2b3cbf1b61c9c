#include "io/json.h"

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/words.h"
#include "io/json_reader.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 256 };

const char *json_kind(const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    default: return "null";
    }
}

stpn_status json_read(json_t **object, const char *name, const char *text, size_t size, stpn_error *error)
{
    *object = NULL;
    json_t *value;
    stpn_status status = json_parse(&value, name, text, size, error);
    if (status) return status;
    if (!json_is_object(value)) {
        status = error_set(error, STPN_ERROR_INPUT, "%s: holds %s, expected an object", name, json_kind(value));
        json_decref(value);
        return status;
    }
    *object = value;
    return STPN_OK;
}

stpn_status json_read_file(json_t **object, const char *path, stpn_error *error)
{
    char *text;
    size_t size;
    *object = NULL;
    stpn_status status = file_read(path, JSON_FILE_LIMIT, &text, &size, error);
    if (status) return status;
    status = json_read(object, path, text, size, error);
    memory_free(text);
    return status;
}

/* Steps from `at` into member `part`; a new member of an object is NULL. */
static stpn_status step_into(json_t *at, const char *assignment, const char *part, json_t **member, stpn_error *error)
{
    if (json_is_object(at)) {
        *member = json_object_get(at, part);
        return STPN_OK;
    }
    if (json_is_array(at)) {
        char *end;
        unsigned long index = strtoul(part, &end, 10);
        if (*part >= '0' && *part <= '9' && *end == 0 && index < json_array_size(at)) {
            *member = json_array_get(at, index);
            return STPN_OK;
        }
        return error_set(error, STPN_ERROR_INPUT, "--set %s: \"%s\" is not an index from 0 to %d", assignment, part,
                         (int)json_array_size(at) - 1);
    }
    return error_set(error, STPN_ERROR_INPUT, "--set %s: \"%s\" is inside %s, expected an object or an array",
                     assignment, part, json_kind(at));
}

stpn_status json_set_path(json_t *object, const char *assignment, stpn_error *error)
{
    const char *equals = strchr(assignment, '=');
    char path[PATH_SIZE];
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof path)
        return error_set(error, STPN_ERROR_INPUT, "--set %s: expected KEY=VALUE, such as train.epochs=40", assignment);
    if (!text_is_utf8(assignment))
        return error_set(error, STPN_ERROR_INPUT, "--set %s: is no text in UTF-8", assignment);
    memcpy(path, assignment, (size_t)(equals - assignment));
    path[equals - assignment] = 0;
    json_t *at = object;
    char *part = path;
    for (char *dot = strchr(part, '.'); dot; part = dot + 1, dot = strchr(part, '.')) {
        *dot = 0;
        json_t *member = NULL;
        stpn_status status = step_into(at, assignment, part, &member, error);
        if (status) return status;
        if (!member)
            return error_set(error, STPN_ERROR_INPUT, "--set %s: there is no \"%s\" in the experiment", assignment,
                             part);
        at = member;
    }
    json_t *value;
    if (json_parse(&value, "", equals + 1, strlen(equals + 1), NULL) == STPN_ERROR_MEMORY)
        return error_memory(error, "a setting");
    if (!value) value = json_string(equals + 1);
    if (!value) return error_memory(error, "a setting");
    json_t *member = NULL;
    stpn_status status = step_into(at, assignment, part, &member, error);
    if (status) {
        json_decref(value);
        return status;
    }
    int failed = json_is_object(at) ? json_object_set_new(at, part, value)
                                    : json_array_set_new(at, strtoul(part, NULL, 10), value);
    return failed ? error_memory(error, "a setting") : STPN_OK;
}

static stpn_status unknown_key(const char *place, const char *key, const option *table, int count,
                               const char *const *others, stpn_error *error)
{
    enum { MOST = 64 };
    const char *known[MOST];
    int words = 0;
    for (int i = 0; i < count && words < MOST; i++) known[words++] = table[i].name;
    for (; others && *others && words < MOST; others++) known[words++] = *others;
    const char *nearest = words_nearest(key, known, words);
    return error_set(error, STPN_ERROR_INPUT, "%s%s%.100s is not a known key; the nearest is \"%s\"", place,
                     *place ? "." : "", key, nearest ? nearest : "none");
}

static int take_list(const option *o, const json_t *value, void *fields)
{
    option_list list = {0};
    if (!json_is_array(value) || json_array_size(value) > OPTION_LIST_MOST) return 0;
    for (; list.count < (int)json_array_size(value); list.count++) {
        const json_t *entry = json_array_get(value, (size_t)list.count);
        json_int_t number = json_integer_value(entry);
        if (!json_is_integer(entry) || number < INT_MIN || number > INT_MAX) return 0;
        list.values[list.count] = (int)number;
    }
    return option_set_list(o, fields, &list);
}

/* Into the field; 0 where the value's type or, for a choice, its word is wrong. */
static int take_value(const option *o, const json_t *value, void *fields)
{
    switch (o->kind) {
    case OPTION_BOOLEAN:
        if (!json_is_boolean(value)) return 0;
        option_set_integer(o, fields, json_is_true(value));
        return 1;
    case OPTION_CHOICE: {
        int index = json_is_string(value) ? option_choice_index(o->choices, json_string_value(value)) : -1;
        if (index < 0) return 0;
        option_set_integer(o, fields, index);
        return 1;
    }
    case OPTION_INTEGER: {
        if (!json_is_integer(value)) return 0;
        json_int_t number = json_integer_value(value);
        if ((double)number < o->minimum || (double)number > o->maximum) return 0;
        option_set_integer(o, fields, (int)number);
        return 1;
    }
    case OPTION_NUMBER: {
        if (!json_is_number(value)) return 0;
        double number = json_number_value(value);
        if (!isfinite(number) || number < o->minimum || number > o->maximum) return 0;
        option_set_number(o, fields, number);
        return 1;
    }
    case OPTION_TEXT: return json_is_string(value) && option_set_text(o, fields, json_string_value(value));
    case OPTION_LIST: return take_list(o, value, fields);
    }
    return 0;
}

stpn_status options_from_json(const json_t *object, const char *place, const option *table, int count,
                              const char *const *others, void *fields, stpn_error *error)
{
    const char *key;
    json_t *value;
    const char *dot = *place ? "." : "";
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const option *found = NULL;
        for (int i = 0; i < count && !found; i++)
            if (strcmp(table[i].name, key) == 0) found = &table[i];
        int elsewhere = 0;
        for (const char *const *o = others; o && *o && !elsewhere; o++) elsewhere = strcmp(*o, key) == 0;
        if (elsewhere) continue;
        if (!found) return unknown_key(place, key, table, count, others, error);
        if (take_value(found, value, fields)) continue;
        char expectation[128], shown[80];
        option_expectation(found, expectation, sizeof expectation);
        size_t length = json_dumpb(value, shown, sizeof shown - 1, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
        shown[length < sizeof shown ? length : 0] = 0;
        return error_set(error, STPN_ERROR_INPUT, "%s%s%s is %s, expected %s", place, dot, key,
                         *shown ? shown : json_kind(value), expectation);
    }
    return STPN_OK;
}

static json_t *list_to_json(const option *o, const void *fields)
{
    const option_list *list = option_list_of(o, fields);
    json_t *array = json_array();
    for (int i = 0; i < list->count; i++)
        if (json_array_append_new(array, json_integer(list->values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

int options_to_json(const option *table, int count, const void *fields, json_t *object)
{
    for (int i = 0; i < count; i++) {
        const option *o = &table[i];
        json_t *value = NULL;
        int length;
        if (o->kind == OPTION_NUMBER) {
            value = json_real(option_number(o, fields));
        } else if (o->kind == OPTION_CHOICE) {
            const char *word = option_choice(o->choices, option_integer(o, fields), &length);
            value = json_stringn(word, (size_t)length);
        } else if (o->kind == OPTION_TEXT) {
            value = json_string(option_text(o, fields));
        } else if (o->kind == OPTION_LIST) {
            value = list_to_json(o, fields);
        } else {
            int number = option_integer(o, fields);
            value = o->kind == OPTION_BOOLEAN ? json_boolean(number) : json_integer(number);
        }
        if (json_object_set_new(object, o->name, value) != 0) return 0;
    }
    return 1;
}

typedef struct dump {
    buffer text;
    int failed;
} dump;

/* Jansson 2.14 goes on after some pieces that could not be taken: the first one lost is remembered. */
static int take_piece(const char *data, size_t size, void *context)
{
    dump *d = context;
    if (!d->failed && !buffer_append(&d->text, data, size)) d->failed = 1;
    return d->failed ? -1 : 0;
}

char *json_to_text(const json_t *value, size_t flags)
{
    dump d = {.failed = 0};
    if (json_dump_callback(value, take_piece, &d, flags) == 0 && !d.failed) return d.text.data;
    buffer_free(&d.text);
    return NULL;
}

stpn_status json_text(const json_t *object, const char *place, const char *key, const char **text, stpn_error *error)
{
    const json_t *value = json_object_get(object, key);
    const char *dot = *place ? "." : "";
    *text = NULL;
    if (!value) return error_set(error, STPN_ERROR_INPUT, "%s%s%s is missing, expected a string", place, dot, key);
    if (!json_is_string(value))
        return error_set(error, STPN_ERROR_INPUT, "%s%s%s is %s, expected a string", place, dot, key, json_kind(value));
    *text = json_string_value(value);
    return STPN_OK;
}

static int differs_at(char *path, size_t size, size_t used, const char *separator, const char *key)
{
    snprintf(path + used, size - used, "%s%s", used ? separator : "", key);
    return 1;
}

static int difference_below(const json_t *a, const json_t *b, char *path, size_t size, size_t used)
{
    if (json_is_object(a) && json_is_object(b)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)a, key, value)
        {
            const json_t *other = json_object_get(b, key);
            if (other && json_equal(value, other)) continue;
            differs_at(path, size, used, ".", key);
            if (other) difference_below(value, other, path, size, strlen(path));
            return 1;
        }
        json_object_foreach((json_t *)(uintptr_t)b, key,
                            value) if (!json_object_get(a, key)) return differs_at(path, size, used, ".", key);
        return 0;
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            if (json_equal(json_array_get(a, i), json_array_get(b, i))) continue;
            char index[32];
            snprintf(index, sizeof index, "%zu", i);
            differs_at(path, size, used, ".", index);
            difference_below(json_array_get(a, i), json_array_get(b, i), path, size, strlen(path));
            return 1;
        }
    }
    return 0;
}

int json_difference(const json_t *a, const json_t *b, char *path, size_t size)
{
    path[0] = 0;
    if (json_equal(a, b)) return 0;
    difference_below(a, b, path, size, 0);
    return 1;
}
