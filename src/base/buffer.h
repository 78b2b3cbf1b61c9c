/* Text that grows. */
#ifndef STPN_BASE_BUFFER_H
#define STPN_BASE_BUFFER_H

#include <stddef.h>

typedef struct buffer {
    char *data; // (size), a zero byte behind once something was appended
    size_t size, capacity;
} buffer;

/* Returns 0, with the buffer as it was, where memory is out. */
int buffer_append(buffer *b, const char *data, size_t size);
void buffer_free(buffer *b);

#endif
