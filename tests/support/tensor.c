#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *shelf_keep(shelf *s, size_t bytes)
{
    assert_in_range(s->count, 0, sizeof s->blocks / sizeof *s->blocks - 1);
    void *block = calloc(bytes ? bytes : 1, 1);
    assert_non_null(block);
    return s->blocks[s->count++] = block;
}

void shelf_clear(shelf *s)
{
    while (s->count > 0) free(s->blocks[--s->count]);
}

tensor tensor_new(shelf *s, const char *name, int rank, int a, int b, int c)
{
    tensor t = {.rank = rank, .shape = {a, b, c}, .count = (size_t)a};
    for (int i = 1; i < rank; i++) t.count *= (size_t)t.shape[i];
    snprintf(t.name, sizeof t.name, "%s", name);
    t.values = shelf_keep(s, t.count * sizeof *t.values);
    return t;
}

tensor tensor_like(shelf *s, const tensor *model)
{
    return tensor_new(s, model->name, model->rank, model->shape[0], model->shape[1], model->shape[2]);
}

tensor tensor_copy(shelf *s, const tensor *t)
{
    tensor copy = tensor_like(s, t);
    if (t->count) memcpy(copy.values, t->values, t->count * sizeof *t->values);
    return copy;
}

void tensor_fill(tensor *t, random_stream *stream, double low, double high)
{
    for (size_t i = 0; i < t->count; i++) t->values[i] = (float)random_range(stream, low, high);
}

int tensor_unit(const tensor *t)
{
    return t->name[6] - '0';
}

int tensor_is(const tensor *t, const char *name)
{
    return strcmp(strrchr(t->name, '.') + 1, name) == 0;
}

void text_append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    if (used < size) vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}
