/* Named arrays of numbers from a file that somebody made: .safetensors, or .npz as NumPy writes it. Nothing in a file is
 * trusted. */
#ifndef STPN_IO_ARRAY_FILE_H
#define STPN_IO_ARRAY_FILE_H

#include "io/safetensors.h"

typedef enum array_type {
    ARRAY_F32,
    ARRAY_F64,
    ARRAY_I8,
    ARRAY_I16,
    ARRAY_I32,
    ARRAY_I64,
    ARRAY_U8,
    ARRAY_U16,
    ARRAY_U32,
    ARRAY_U64,
    ARRAY_BOOL
} array_type;

typedef struct array {
    char *name;
    array_type type;
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    size_t count;     // product of shape
    const void *data; // (count) values of the machine's own byte order, the last index fastest
    char *fault;      // NULL, or what is wrong with it: then there is no data
    void *block;      // what is freed with it
} array;

typedef struct array_file {
    char *name;    // path or name, for messages
    array *arrays; // (count)
    int count;
    tensor_file *tensors; // where they lie in it
} array_file;

/* The file's kind is that of its name's end. An array that cannot be used is only an error where it is asked for. */
stpn_status array_file_read(array_file *file, const char *path, stpn_error *error);
/* An .npz from memory; `name` stands in messages. */
stpn_status array_file_parse_npz(array_file *file, const char *name, const void *data, size_t size, stpn_error *error);
void array_file_free(array_file *file);

/* *found is NULL where there is none of that name; an error where it has a fault. */
stpn_status array_file_find(const array_file *file, const char *name, const array **found, stpn_error *error);

size_t array_type_size(array_type type);
const char *array_type_name(array_type type); /* "float32", ... */
int array_is_integer(const array *a);         /* integers or truth values */
double array_real(const array *a, size_t index);
/* 0 where the value is no integer or out of range. */
int array_whole(const array *a, size_t index, int64_t *value);
/* "(100, 24, 3)" */
void array_shape_text(const array *a, char *text, size_t size);

#endif
