/* safetensors files: named tensors in one file (u64 header length, JSON header, raw little-endian data).
 * The format is that of https://github.com/huggingface/safetensors; see docs/file-formats.md for what stpn writes. */
#ifndef STPN_IO_SAFETENSORS_H
#define STPN_IO_SAFETENSORS_H

#include <stpn/stpn.h>

typedef enum tensor_type { TENSOR_F32, TENSOR_F64, TENSOR_I32, TENSOR_I64, TENSOR_U8 } tensor_type;

enum { TENSOR_MAX_RANK = 8 };

typedef struct tensor_entry {
    const char *name;
    tensor_type type;
    int rank;
    int64_t shape[TENSOR_MAX_RANK];
    size_t count;     /* product of shape */
    const void *data; /* (count) values of `type`, aligned for it */
} tensor_entry;

typedef struct tensor_file tensor_file;

/* Reads and checks a whole file: header size, JSON, types, shapes, offsets that tile the data exactly. */
stpn_status tensor_file_read(tensor_file **file, const char *path, stpn_error *error);
/* The same from memory; `name` stands in messages. The bytes are copied. */
stpn_status tensor_file_parse(tensor_file **file, const char *name, const void *data, size_t size, stpn_error *error);
void tensor_file_free(tensor_file *file);

/* NULL where there is none of that name. */
const tensor_entry *tensor_file_find(const tensor_file *file, const char *name);
/* Entry `index` in the order of the header; NULL past the last. */
const tensor_entry *tensor_file_entry(const tensor_file *file, int index);
/* A string of `__metadata__`, or NULL. */
const char *tensor_file_metadata(const tensor_file *file, const char *key);
const char *tensor_file_name(const tensor_file *file); /* path or name, for messages */

/* To write one: make an empty file, add, save. Entries are written in the order added, metadata in the order of their
 * keys, so that equal content gives equal bytes. */
stpn_status tensor_file_create(tensor_file **file, stpn_error *error);
/* Name and values are copied. A name twice is an input error. */
stpn_status tensor_file_add(tensor_file *file, const char *name, tensor_type type, int rank, const int64_t *shape,
                            const void *data, stpn_error *error);
stpn_status tensor_file_set_metadata(tensor_file *file, const char *key, const char *value, stpn_error *error);
/* Replaces `path` atomically (file_replace). */
stpn_status tensor_file_save(const tensor_file *file, const char *path, stpn_error *error);

size_t tensor_type_size(tensor_type type);
const char *tensor_type_name(tensor_type type); /* "F32", ... */

#endif
