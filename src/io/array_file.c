#include "io/array_file.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_reader.h"
#include "io/npy.h"
#include "io/zip.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_PATH = 400, SHOWN_NAME = 160, MEMBERS_MOST = 4096 };
#define FILE_LIMIT (sizeof(size_t) > 4 ? (size_t)(UINT64_C(64) << 30) : SIZE_MAX / 2)

/* ------------------------------------------------------------------------------------------------------------ values */

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [ARRAY_F32] = {"float32", 4}, [ARRAY_F64] = {"float64", 8}, [ARRAY_I8] = {"int8", 1},   [ARRAY_I16] = {"int16", 2},
    [ARRAY_I32] = {"int32", 4},   [ARRAY_I64] = {"int64", 8},   [ARRAY_U8] = {"uint8", 1},  [ARRAY_U16] = {"uint16", 2},
    [ARRAY_U32] = {"uint32", 4},  [ARRAY_U64] = {"uint64", 8},  [ARRAY_BOOL] = {"bool", 1},
};

size_t array_type_size(array_type type)
{
    return types[type].size;
}

const char *array_type_name(array_type type)
{
    return types[type].name;
}

int array_is_integer(const array *a)
{
    return a->type != ARRAY_F32 && a->type != ARRAY_F64;
}

double array_real(const array *a, size_t i)
{
    switch (a->type) {
    case ARRAY_F32: return (double)((const float *)a->data)[i];
    case ARRAY_F64: return ((const double *)a->data)[i];
    case ARRAY_I8: return ((const int8_t *)a->data)[i];
    case ARRAY_I16: return ((const int16_t *)a->data)[i];
    case ARRAY_I32: return ((const int32_t *)a->data)[i];
    case ARRAY_I64: return (double)((const int64_t *)a->data)[i];
    case ARRAY_U8: return ((const uint8_t *)a->data)[i];
    case ARRAY_U16: return ((const uint16_t *)a->data)[i];
    case ARRAY_U32: return ((const uint32_t *)a->data)[i];
    case ARRAY_U64: return (double)((const uint64_t *)a->data)[i];
    case ARRAY_BOOL: return ((const uint8_t *)a->data)[i] != 0;
    }
    return NAN;
}

int array_whole(const array *a, size_t i, int64_t *value)
{
    /* Exact: beyond it a double does not tell one integer from the next. */
    static const double most = 0x1p53;
    if (a->type == ARRAY_I64) {
        *value = ((const int64_t *)a->data)[i];
        return 1;
    }
    double real = array_real(a, i);
    if (!(fabs(real) <= most) || real != floor(real)) return 0;
    *value = (int64_t)real;
    return 1;
}

void array_shape_text(const array *a, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int k = 0; k < a->rank && used < size; k++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", k ? ", " : "", (long long)a->shape[k]);
    if (used < size) snprintf(text + used, size - used, a->rank == 1 ? ",)" : ")");
}

/* -------------------------------------------------------------------------------------------------------------- npz */

/* "inputs.npy" is the array "inputs"; other members are none. */
static int array_name_length(const zip_member *m)
{
    static const char end[] = ".npy";
    int length = m->name_length - (int)(sizeof end - 1);
    return length > 0 && memcmp(m->name + length, end, sizeof end - 1) == 0 ? length : 0;
}

static stpn_status take_member(array_file *file, const zip_archive *zip, const zip_member *m, stpn_error *error)
{
    char place[SHOWN_PATH + SHOWN_NAME + 32], *bytes;
    int length = array_name_length(m);
    if (!length) return STPN_OK;
    array *a = &file->arrays[file->count++];
    a->name = memory_zeroed((size_t)length + 1, 1);
    if (!a->name) return error_memory(error, "an array");
    memcpy(a->name, m->name, (size_t)length);
    for (int i = 0; i + 1 < file->count; i++)
        if (strcmp(file->arrays[i].name, a->name) == 0)
            return error_set(error, STPN_ERROR_INPUT, "%.*s: array \"%.*s\" is there twice, expected once",
                             text_shown(file->name, SHOWN_PATH), file->name, text_shown(a->name, SHOWN_NAME), a->name);
    snprintf(place, sizeof place, "%.*s: array \"%.*s\"", text_shown(file->name, SHOWN_PATH), file->name,
             text_shown(a->name, SHOWN_NAME), a->name);
    stpn_status status = zip_unpack(zip, m, &bytes, error);
    if (status) return status;
    stpn_error inner;
    status = npy_parse(a, place, bytes, m->size, &inner);
    memory_free(bytes);
    if (status != STPN_ERROR_INPUT) return status ? error_set(error, status, "%s", inner.message) : STPN_OK;
    a->fault = memory_string(inner.message);
    return a->fault ? STPN_OK : error_memory(error, "an array");
}

stpn_status array_file_parse_npz(array_file *file, const char *name, const void *data, size_t size, stpn_error *error)
{
    zip_archive zip;
    zip_member member;
    int more = 1;
    *file = (array_file){.name = memory_string(name)};
    if (!file->name) return error_memory(error, name);
    stpn_status status = zip_open(&zip, file->name, data, size, error);
    if (!status && zip.left > MEMBERS_MOST)
        status = error_set(error, STPN_ERROR_INPUT, "%.*s: has %d members, expected at most %d",
                           text_shown(name, SHOWN_PATH), name, zip.left, (int)MEMBERS_MOST);
    if (!status) {
        file->arrays = memory_zeroed((size_t)zip.left, sizeof *file->arrays);
        if (!file->arrays) status = error_memory(error, name);
    }
    while (!status && more) {
        status = zip_next(&zip, &member, &more, error);
        if (!status && more) status = take_member(file, &zip, &member, error);
    }
    if (status) array_file_free(file);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- safetensors */

static array_type type_of_tensor(tensor_type type)
{
    switch (type) {
    case TENSOR_F32: return ARRAY_F32;
    case TENSOR_F64: return ARRAY_F64;
    case TENSOR_I32: return ARRAY_I32;
    case TENSOR_I64: return ARRAY_I64;
    case TENSOR_U8: return ARRAY_U8;
    }
    return ARRAY_U8;
}

static stpn_status read_safetensors(array_file *file, const char *path, stpn_error *error)
{
    const tensor_entry *entry;
    int count = 0;
    *file = (array_file){.name = memory_string(path)};
    if (!file->name) return error_memory(error, path);
    stpn_status status = tensor_file_read(&file->tensors, path, error);
    while (!status && tensor_file_entry(file->tensors, count)) count++;
    if (!status) {
        file->arrays = memory_zeroed((size_t)count, sizeof *file->arrays);
        if (!file->arrays) status = error_memory(error, path);
    }
    for (; !status && file->count < count; file->count++) {
        array *a = &file->arrays[file->count];
        entry = tensor_file_entry(file->tensors, file->count);
        *a = (array){.name = memory_string(entry->name),
                     .type = type_of_tensor(entry->type),
                     .rank = entry->rank,
                     .count = entry->count,
                     .data = entry->data};
        memcpy(a->shape, entry->shape, sizeof a->shape);
        if (!a->name) status = error_memory(error, path);
    }
    if (status) array_file_free(file);
    return status;
}

/* -------------------------------------------------------------------------------------------------------------- file */

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length > end_length && strcmp(text + length - end_length, end) == 0;
}

stpn_status array_file_read(array_file *file, const char *path, stpn_error *error)
{
    char *data;
    size_t size;
    *file = (array_file){0};
    if (ends_with(path, ".safetensors")) return read_safetensors(file, path, error);
    if (!ends_with(path, ".npz"))
        return error_set(error, STPN_ERROR_INPUT,
                         "%.*s: is of an unknown kind, expected .safetensors, .npz, .csv or .tsv",
                         text_shown(path, SHOWN_PATH), path);
    stpn_status status = file_read(path, FILE_LIMIT, &data, &size, error);
    if (status) return status;
    status = array_file_parse_npz(file, path, data, size, error);
    memory_free(data);
    return status;
}

void array_file_free(array_file *file)
{
    for (int i = 0; file->arrays && i < file->count; i++) {
        memory_free(file->arrays[i].name);
        memory_free(file->arrays[i].fault);
        memory_free(file->arrays[i].block);
    }
    memory_free(file->arrays);
    memory_free(file->name);
    tensor_file_free(file->tensors);
    *file = (array_file){0};
}

stpn_status array_file_find(const array_file *file, const char *name, const array **found, stpn_error *error)
{
    *found = NULL;
    for (int i = 0; i < file->count && !*found; i++)
        if (strcmp(file->arrays[i].name, name) == 0) *found = &file->arrays[i];
    if (!*found || !(*found)->fault) return STPN_OK;
    error_set(error, STPN_ERROR_INPUT, "%s", (*found)->fault);
    *found = NULL;
    return STPN_ERROR_INPUT;
}
