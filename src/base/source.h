/* The text of a C file as it is put together. Memory is all that can fail here; that is kept, and told at the end. */
#ifndef STPN_BASE_SOURCE_H
#define STPN_BASE_SOURCE_H

#include "base/buffer.h"

typedef struct source_text {
    buffer text;
    size_t rows; // floats that source_row has declared since the caller last set this
    int failed;  // memory was out; what is put after that is dropped
} source_text;

void source_put(source_text *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A constant of type float with the value (float)value, in the fewest digits that read back as it. */
enum { SOURCE_NUMBER = 32 };
const char *source_number(char text[SOURCE_NUMBER], double value);

/* "static const float NAME[SIZE] = {...};" of `count` values, at the head of a function. */
void source_constants(source_text *s, const char *name, const char *size, const float *values, size_t count);

/* "float NAME[COUNT];", a row that lives on the stack of the function. */
void source_row(source_text *s, const char *name, int count);

void source_free(source_text *s);

#endif
