#include "base/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MOST = 140, INDENT = 8 };

void source_put(source_text *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (!s->failed && !buffer_print_list(&s->text, format, list)) s->failed = 1;
    va_end(list);
}

const char *source_number(char text[SOURCE_NUMBER], double value)
{
    float exact = (float)value;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, SOURCE_NUMBER, "%.*g", digits, (double)exact);
        if (strtof(text, NULL) == exact) break;
    }
    size_t length = strlen(text);
    snprintf(text + length, SOURCE_NUMBER - length, strpbrk(text, ".e") ? "f" : ".0f");
    return text;
}

void source_constants(source_text *s, const char *name, const char *size, const float *values, size_t count)
{
    int column = 0;
    source_put(s, "    static const float %s[%s] = {", name, size);
    for (size_t i = 0; i < count; i++) {
        char number[SOURCE_NUMBER + 4];
        int length = (int)strlen(source_number(number, (double)values[i])) + 2;
        int breaks = i == 0 || column + length > LINE_MOST;
        if (breaks) column = INDENT;
        source_put(s, "%s%s,", breaks ? "\n        " : " ", number);
        column += length;
    }
    source_put(s, "\n    };\n");
}

void source_row(source_text *s, const char *name, int count)
{
    source_put(s, "    float %s[%d];\n", name, count);
    s->rows += (size_t)count;
}

void source_free(source_text *s)
{
    buffer_free(&s->text);
    *s = (source_text){0};
}
