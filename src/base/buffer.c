#include "base/buffer.h"

#include "base/memory.h"

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

void buffer_free(buffer *b)
{
    memory_free(b->data);
    *b = (buffer){0};
}
