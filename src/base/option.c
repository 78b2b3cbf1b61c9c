#include "base/option.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *option_choice(const char *choices, int index, int *length)
{
    while (index-- > 0) {
        choices = strchr(choices, '|');
        if (!choices) return NULL;
        choices++;
    }
    *length = (int)strcspn(choices, "|");
    return choices;
}

int option_choice_index(const char *choices, const char *word)
{
    int length;
    for (int i = 0;; i++) {
        const char *choice = option_choice(choices, i, &length);
        if (!choice) return -1;
        if (strlen(word) == (size_t)length && memcmp(choice, word, (size_t)length) == 0) return i;
    }
}

double option_number(const option *o, const void *fields)
{
    double value;
    memcpy(&value, (const char *)fields + o->offset, sizeof value);
    return value;
}

int option_integer(const option *o, const void *fields)
{
    int value;
    memcpy(&value, (const char *)fields + o->offset, sizeof value);
    return value;
}

void option_set_number(const option *o, void *fields, double value)
{
    memcpy((char *)fields + o->offset, &value, sizeof value);
}

void option_set_integer(const option *o, void *fields, int value)
{
    memcpy((char *)fields + o->offset, &value, sizeof value);
}

const char *option_text(const option *o, const void *fields)
{
    return (const char *)fields + o->offset;
}

int option_set_text(const option *o, void *fields, const char *text)
{
    size_t length = strlen(text);
    if ((double)length < o->minimum || (double)length > o->maximum) return 0;
    memcpy((char *)fields + o->offset, text, length + 1);
    return 1;
}

const option_list *option_list_of(const option *o, const void *fields)
{
    return (const option_list *)(const void *)((const char *)fields + o->offset);
}

static int is_valid_list(const option *o, const option_list *list)
{
    if (list->count < 0 || list->count > OPTION_LIST_MOST) return 0;
    for (int i = 0; i < list->count; i++) {
        if (list->values[i] < o->minimum || list->values[i] > o->maximum) return 0;
        for (int k = 0; k < i; k++)
            if (list->values[k] == list->values[i]) return 0;
    }
    return 1;
}

int option_set_list(const option *o, void *fields, const option_list *list)
{
    if (!is_valid_list(o, list)) return 0;
    memcpy((char *)fields + o->offset, list, sizeof *list);
    return 1;
}

void option_expectation(const option *o, char *text, size_t size)
{
    if (o->kind == OPTION_BOOLEAN) snprintf(text, size, "true or false");
    else if (o->kind == OPTION_CHOICE) snprintf(text, size, "one of %s", o->choices);
    else if (o->kind == OPTION_TEXT && o->minimum > 0)
        snprintf(text, size, "a string of %.10g to %.10g bytes", o->minimum, o->maximum);
    else if (o->kind == OPTION_TEXT) snprintf(text, size, "a string of at most %.10g bytes", o->maximum);
    else if (o->kind == OPTION_LIST)
        snprintf(text, size, "an array of at most %d different integers from %.10g to %.10g", (int)OPTION_LIST_MOST,
                 o->minimum, o->maximum);
    else
        snprintf(text, size, "%s from %.10g to %.10g", o->kind == OPTION_INTEGER ? "an integer" : "a number",
                 o->minimum, o->maximum);
}

static int is_valid(const option *o, const void *fields)
{
    int length;
    switch (o->kind) {
    case OPTION_NUMBER: {
        double value = option_number(o, fields);
        return isfinite(value) && value >= o->minimum && value <= o->maximum;
    }
    case OPTION_INTEGER: {
        int value = option_integer(o, fields);
        return value >= o->minimum && value <= o->maximum;
    }
    case OPTION_BOOLEAN: return option_integer(o, fields) == 0 || option_integer(o, fields) == 1;
    case OPTION_CHOICE: {
        int value = option_integer(o, fields);
        return value >= 0 && option_choice(o->choices, value, &length) != NULL;
    }
    case OPTION_TEXT: {
        const char *end = memchr(option_text(o, fields), 0, (size_t)o->maximum + 1);
        return end && (double)(end - option_text(o, fields)) >= o->minimum;
    }
    case OPTION_LIST: return is_valid_list(o, option_list_of(o, fields));
    }
    return 0;
}

stpn_status options_check(const option *table, int count, const void *fields, const char *place, stpn_error *error)
{
    for (int i = 0; i < count; i++) {
        const option *o = &table[i];
        if (is_valid(o, fields)) continue;
        char expectation[128];
        option_expectation(o, expectation, sizeof expectation);
        if (o->kind == OPTION_TEXT)
            return error_set(error, STPN_ERROR_INPUT, "%s.%s is too short or too long, expected %s", place, o->name,
                             expectation);
        if (o->kind == OPTION_LIST)
            return error_set(error, STPN_ERROR_INPUT, "%s.%s is another list, expected %s", place, o->name,
                             expectation);
        double value = o->kind == OPTION_NUMBER ? option_number(o, fields) : option_integer(o, fields);
        return error_set(error, STPN_ERROR_INPUT, "%s.%s is %.10g, expected %s", place, o->name, value, expectation);
    }
    return STPN_OK;
}
