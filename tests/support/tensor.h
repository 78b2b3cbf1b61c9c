/* Named arrays of doubles, and the memory of a test. Include after cmocka.h. */
#ifndef STPN_TESTS_TENSOR_H
#define STPN_TESTS_TENSOR_H

#include "base/random.h"

#include <stddef.h>

/* Zeroed blocks that are freed together. */
typedef struct shelf {
    void *blocks[192];
    int count;
} shelf;

void *shelf_keep(shelf *s, size_t bytes);
void shelf_clear(shelf *s);

typedef struct tensor {
    char name[32];
    int rank, shape[3];
    size_t count;
    double *values;
} tensor;

tensor tensor_new(shelf *s, const char *name, int rank, int a, int b, int c);
tensor tensor_like(shelf *s, const tensor *model);
tensor tensor_copy(shelf *s, const tensor *t);
/* Uniform in [low, high), rounded to floats. */
void tensor_fill(tensor *t, random_stream *stream, double low, double high);

/* Of a name "units.N.NAME": N, and whether NAME is this one. */
int tensor_unit(const tensor *t);
int tensor_is(const tensor *t, const char *name);

/* Appends to a text as far as there is room. */
void text_append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
