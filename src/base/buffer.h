/* Text that grows. */
#ifndef STPN_BASE_BUFFER_H
#define STPN_BASE_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

typedef struct buffer {
    char *data; // (size), a zero byte behind once something was appended
    size_t size, capacity;
} buffer;

/* Returns 0, with the buffer as it was, where memory is out. */
int buffer_append(buffer *b, const char *data, size_t size);
int buffer_print(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buffer_print_list(buffer *b, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
void buffer_free(buffer *b);

#endif
