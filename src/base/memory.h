/* The one allocator: tests wrap these three to make any allocation fail and to count what is left. */
#ifndef STPN_BASE_MEMORY_H
#define STPN_BASE_MEMORY_H

#include <stddef.h>

/* `count` elements of `size` bytes, zeroed and aligned to 64 bytes; NULL where that overflows, memory is out or the machine has less. A count
 * of 0 gives a pointer that may be freed. */
void *memory_zeroed(size_t count, size_t size);
/* A growing byte buffer's realloc; keeps the old block on failure. */
void *memory_resize(void *block, size_t old_bytes, size_t new_bytes);
void memory_free(void *block);
/* A copy of a string. */
char *memory_string(const char *text);

#endif
