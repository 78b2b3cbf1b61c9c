/* What is inside a tensor_file: shared by safetensors.c (building, writing) and safetensors_read.c. */
#ifndef STPN_IO_SAFETENSORS_FILE_H
#define STPN_IO_SAFETENSORS_FILE_H

#include "io/safetensors.h"

enum {
    TENSOR_LENGTH_BYTES = 8,         /* of the header's length, in front of the header */
    TENSOR_HEADER_LIMIT = 100000000, /* as in the reference implementation */
    TENSOR_SHOWN_PATH = 400,         /* bytes of a path and of a name in a message */
    TENSOR_SHOWN_NAME = 160
};
#define TENSOR_FILE_LIMIT (sizeof(size_t) > 4 ? (size_t)(UINT64_C(64) << 30) : SIZE_MAX / 2)
#define TENSOR_METADATA "__metadata__"

typedef struct tensor_item {
    tensor_entry entry;
    size_t begin, end; /* bytes of the values within the file's data */
    void *copy;        /* the values, where they do not lie in tensor_file.bytes */
    char name[];
} tensor_item;

typedef struct tensor_pair {
    const char *value; /* stands behind the key */
    char key[];
} tensor_pair;

struct tensor_file {
    char *name;
    char *bytes;         /* the whole file that was read, or NULL */
    tensor_item **items; // (count) in the order of the header
    int count, capacity;
    tensor_pair **metadata; // (metadata_count) in the order of their keys
    int metadata_count, metadata_capacity;
};

/* An empty file; sets *file to NULL where memory is out. */
stpn_status tensor_file_new(tensor_file **file, const char *name, stpn_error *error);
/* Appends a tensor of which only the name is set; NULL where memory is out. */
tensor_item *tensor_file_add_item(tensor_file *file, const char *name);
/* Puts a pair at `place` of the metadata and moves those behind it up; 0 where memory is out. */
int tensor_file_add_pair(tensor_file *file, int place, const char *key, const char *value);
/* Sets entry->count from its shape; 0 where that or the number of bytes overflows. */
int tensor_entry_count(tensor_entry *entry, size_t *bytes);
/* "FILE: tensor "NAME": ...", as STPN_ERROR_INPUT. */
stpn_status tensor_file_complain(const tensor_file *file, const char *tensor, stpn_error *error, const char *format,
                                 ...) __attribute__((format(printf, 4, 5)));

#endif
