#include "base/buffer.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

int buffer_append(buffer *b, const char *data, size_t size)
{
    if (b->size + size + 1 > b->capacity) {
        size_t capacity = 2 * (b->size + size) + 1024;
        char *larger = memory_resize(b->data, b->size, capacity);
        if (!larger) return 0;
        b->data = larger;
        b->capacity = capacity;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = 0;
    return 1;
}

int buffer_print_list(buffer *b, const char *format, va_list list)
{
    va_list again;
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length < 0 ? NULL : memory_zeroed((size_t)length + 1, 1);
    if (!text) return 0;
    vsnprintf(text, (size_t)length + 1, format, list);
    int done = buffer_append(b, text, (size_t)length);
    memory_free(text);
    return done;
}

int buffer_print(buffer *b, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int done = buffer_print_list(b, format, list);
    va_end(list);
    return done;
}

void buffer_free(buffer *b)
{
    memory_free(b->data);
    *b = (buffer){0};
}
