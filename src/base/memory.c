#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

void *memory_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - ALIGNMENT) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, bytes);
    if (block) memset(block, 0, bytes);
    return block;
}

void *memory_resize(void *block, size_t old_bytes, size_t new_bytes)
{
    void *larger = memory_zeroed(new_bytes, 1);
    if (!larger) return NULL;
    if (old_bytes) memcpy(larger, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    memory_free(block);
    return larger;
}

void memory_free(void *block)
{
    free(block);
}

char *memory_string(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_zeroed(bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}
