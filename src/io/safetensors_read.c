/* The reading side of safetensors.h: nothing in a file is trusted. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_reader.h"
#include "io/safetensors_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- the header */

static stpn_status read_type(json_reader *r, tensor_type *type)
{
    const char *start = reader_skip_space(r), *name;
    stpn_status status = reader_string(r, "the name of a type in double quotes", &name);
    if (status) return status;
    for (int i = TENSOR_F32; i <= TENSOR_U8; i++) {
        *type = (tensor_type)i;
        if (strcmp(name, tensor_type_name(*type)) == 0) return STPN_OK;
    }
    return reader_complain(r, start, "dtype %.*s is not supported, expected one of F32, F64, I32, I64, U8",
                           text_shown(name, TENSOR_SHOWN_NAME), name);
}

static stpn_status read_offsets(json_reader *r, tensor_item *tensor, size_t data_size)
{
    int64_t offsets[2];
    int count;
    const char *start = reader_skip_space(r);
    stpn_status status = reader_integers(r, 2, offsets, &count);
    if (status) return status;
    if (count != 2) return reader_complain(r, start, "found %d data_offsets, expected 2", count);
    if (offsets[0] > offsets[1] || (uint64_t)offsets[1] > data_size)
        return reader_complain(r, start, "data_offsets are [%lld, %lld], expected begin <= end <= %zu, the data's size",
                               (long long)offsets[0], (long long)offsets[1], data_size);
    tensor->begin = (size_t)offsets[0];
    tensor->end = (size_t)offsets[1];
    return STPN_OK;
}

/* The members of a tensor's description, in any order. */
static stpn_status read_members(json_reader *r, tensor_item *tensor, size_t data_size, int seen[3])
{
    if (!reader_next_is(r, '{')) return reader_unexpected(r, "'{'");
    if (reader_next_is(r, '}')) return STPN_OK;
    do {
        const char *start = reader_skip_space(r), *key;
        stpn_status status = reader_key(r, &key);
        if (status) return status;
        int which = strcmp(key, "dtype") == 0 ? 0 : strcmp(key, "shape") == 0 ? 1 : 2;
        if (which == 2 && strcmp(key, "data_offsets") != 0)
            return reader_complain(r, start, "found key \"%.*s\", expected dtype, shape or data_offsets",
                                   text_shown(key, TENSOR_SHOWN_NAME), key);
        if (seen[which]++) return reader_complain(r, start, "found key %s again, expected it once", key);
        if (which == 0) status = read_type(r, &tensor->entry.type);
        if (which == 1) status = reader_integers(r, TENSOR_MAX_RANK, tensor->entry.shape, &tensor->entry.rank);
        if (which == 2) status = read_offsets(r, tensor, data_size);
        if (status) return status;
    } while (reader_next_is(r, ','));
    return reader_next_is(r, '}') ? STPN_OK : reader_unexpected(r, "',' or '}'");
}

static stpn_status read_tensor(json_reader *r, tensor_item *tensor, size_t data_size)
{
    const char *start = reader_skip_space(r);
    int seen[3] = {0};
    stpn_status status = read_members(r, tensor, data_size, seen);
    if (status) return status;
    if (!seen[0] || !seen[1] || !seen[2])
        return reader_complain(r, start, "%s is missing, expected dtype, shape and data_offsets",
                               !seen[0]   ? "dtype"
                               : !seen[1] ? "shape"
                                          : "data_offsets");
    size_t bytes;
    if (!tensor_entry_count(&tensor->entry, &bytes))
        return reader_complain(r, start, "the shape's product overflows, expected at most %zu bytes", data_size);
    if (tensor->end - tensor->begin != bytes)
        return reader_complain(r, start, "data_offsets span %zu bytes, expected %zu for this dtype and shape",
                               tensor->end - tensor->begin, bytes);
    return STPN_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(tensor_pair *const *)a)->key, (*(tensor_pair *const *)b)->key);
}

static stpn_status read_metadata(json_reader *r, tensor_file *file)
{
    const char *start = reader_skip_space(r);
    if (!reader_next_is(r, '{')) return reader_unexpected(r, "'{' of __metadata__");
    if (reader_next_is(r, '}')) return STPN_OK;
    do {
        const char *key, *value;
        r->used = 0;
        stpn_status status = reader_key(r, &key);
        if (!status) status = reader_string(r, "a string: __metadata__ holds strings only", &value);
        if (status) return status;
        if (!tensor_file_add_pair(file, file->metadata_count, key, value)) return error_memory(r->error, "metadata");
    } while (reader_next_is(r, ','));
    if (!reader_next_is(r, '}')) return reader_unexpected(r, "',' or '}'");
    qsort(file->metadata, (size_t)file->metadata_count, sizeof *file->metadata, compare_keys);
    for (int i = 1; i < file->metadata_count; i++)
        if (compare_keys(&file->metadata[i - 1], &file->metadata[i]) == 0)
            return reader_complain(r, start, "found key \"%.*s\" twice in __metadata__, expected it once",
                                   text_shown(file->metadata[i]->key, TENSOR_SHOWN_NAME), file->metadata[i]->key);
    return STPN_OK;
}

static stpn_status read_member(json_reader *r, tensor_file *file, size_t data_size, int *metadata_seen)
{
    const char *start = reader_skip_space(r), *name;
    r->used = 0;
    stpn_status status = reader_key(r, &name);
    if (status) return status;
    if (strcmp(name, TENSOR_METADATA) == 0) {
        if ((*metadata_seen)++) return reader_complain(r, start, "found %s again, expected it once", TENSOR_METADATA);
        return read_metadata(r, file);
    }
    tensor_item *tensor = tensor_file_add_item(file, name);
    if (!tensor) return error_memory(r->error, "a tensor's description");
    char place[TENSOR_SHOWN_PATH + TENSOR_SHOWN_NAME + 32];
    snprintf(place, sizeof place, "%.*s: tensor \"%.*s\": header", text_shown(file->name, TENSOR_SHOWN_PATH),
             file->name, text_shown(name, TENSOR_SHOWN_NAME), name);
    const char *kept = r->place;
    r->place = place;
    status = read_tensor(r, tensor, data_size);
    r->place = kept;
    return status;
}

static stpn_status read_header(tensor_file *file, const char *header, size_t size, size_t data_size, stpn_error *error)
{
    char place[TENSOR_SHOWN_PATH + 16];
    snprintf(place, sizeof place, "%.*s: header", text_shown(file->name, TENSOR_SHOWN_PATH), file->name);
    json_reader r = {.place = place, .start = header, .at = header, .end = header + size, .error = error};
    /* The format wants the brace at once, without white space in front. */
    if (size == 0 || *header != '{') return reader_unexpected(&r, "'{'");
    r.scratch = memory_zeroed(size, 1);
    if (!r.scratch) return error_memory(error, "a header");
    int metadata_seen = 0;
    stpn_status status = STPN_OK;
    r.at++;
    if (!reader_next_is(&r, '}')) {
        do status = read_member(&r, file, data_size, &metadata_seen);
        while (!status && reader_next_is(&r, ','));
        if (!status && !reader_next_is(&r, '}')) status = reader_unexpected(&r, "',' or '}'");
    }
    if (!status && reader_skip_space(&r) != r.end) status = reader_unexpected(&r, "only spaces behind the object");
    memory_free(r.scratch);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------- reading */

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(tensor_item *const *)a)->name, (*(tensor_item *const *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    const tensor_item *x = *(tensor_item *const *)a, *y = *(tensor_item *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Every name once, and every byte of the data in exactly one tensor. */
static stpn_status check_items(const tensor_file *file, size_t data_size, stpn_error *error)
{
    size_t count = (size_t)file->count, covered = 0;
    tensor_item **sorted = memory_zeroed(count, sizeof(tensor_item *));
    if (!sorted) return error_memory(error, "a list of tensors");
    stpn_status status = STPN_OK;
    for (size_t i = 0; i < count; i++) sorted[i] = file->items[i];
    qsort(sorted, count, sizeof(tensor_item *), compare_names);
    for (size_t i = 1; i < count && !status; i++)
        if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
            status = tensor_file_complain(file, sorted[i]->name, error, "found the name twice, expected it once");
    qsort(sorted, count, sizeof(tensor_item *), compare_offsets);
    for (size_t i = 0; i < count && !status; i++) {
        if (sorted[i]->begin != covered)
            status =
                tensor_file_complain(file, sorted[i]->name, error,
                                     "its values start at byte %zu of the data, expected %zu, where those before end",
                                     sorted[i]->begin, covered);
        covered = sorted[i]->end;
    }
    if (!status && covered != data_size)
        status = error_set(error, STPN_ERROR_INPUT, "%.*s: the data has %zu bytes, expected %zu, the tensors' size",
                           text_shown(file->name, TENSOR_SHOWN_PATH), file->name, data_size, covered);
    memory_free(sorted);
    return status;
}

/* Values stay where they lie in the file's bytes if that suits their type. */
static stpn_status place_values(tensor_file *file, const char *data, stpn_error *error)
{
    for (int i = 0; i < file->count; i++) {
        tensor_item *tensor = file->items[i];
        size_t bytes = tensor->end - tensor->begin;
        tensor->entry.data = data + tensor->begin;
        if ((uintptr_t)tensor->entry.data % tensor_type_size(tensor->entry.type) == 0) continue;
        tensor->copy = memory_zeroed(bytes, 1);
        if (!tensor->copy) return error_memory(error, "a tensor's values");
        memcpy(tensor->copy, data + tensor->begin, bytes);
        tensor->entry.data = tensor->copy;
    }
    return STPN_OK;
}

/* Everything about file->bytes, which are `size`. */
static stpn_status read_bytes(tensor_file *file, size_t size, stpn_error *error)
{
    int shown = text_shown(file->name, TENSOR_SHOWN_PATH);
    uint64_t length;
    if (size < TENSOR_LENGTH_BYTES)
        return error_set(error, STPN_ERROR_INPUT,
                         "%.*s: is no safetensors file: has %zu bytes, expected at least the %d of a header's length",
                         shown, file->name, size, (int)TENSOR_LENGTH_BYTES);
    memcpy(&length, file->bytes, TENSOR_LENGTH_BYTES);
    if (length > TENSOR_HEADER_LIMIT || length > size - TENSOR_LENGTH_BYTES)
        return error_set(
            error, STPN_ERROR_INPUT,
            "%.*s: is no%s safetensors file: byte 0: the header's length is %llu, expected at most %zu, %s", shown,
            file->name, length > TENSOR_HEADER_LIMIT ? "" : " whole", (unsigned long long)length,
            length > TENSOR_HEADER_LIMIT ? (size_t)TENSOR_HEADER_LIMIT : size - TENSOR_LENGTH_BYTES,
            length > TENSOR_HEADER_LIMIT ? "the limit of the format" : "what the file holds");
    const char *header = file->bytes + TENSOR_LENGTH_BYTES, *data = header + length;
    size_t data_size = size - TENSOR_LENGTH_BYTES - (size_t)length;
    stpn_status status = read_header(file, header, (size_t)length, data_size, error);
    if (!status) status = check_items(file, data_size, error);
    if (!status) status = place_values(file, data, error);
    return status;
}

stpn_status tensor_file_read(tensor_file **file, const char *path, stpn_error *error)
{
    size_t size;
    stpn_status status = tensor_file_new(file, path, error);
    if (!status) status = file_read(path, TENSOR_FILE_LIMIT, &(*file)->bytes, &size, error);
    if (!status) status = read_bytes(*file, size, error);
    if (status) {
        tensor_file_free(*file);
        *file = NULL;
    }
    return status;
}

stpn_status tensor_file_parse(tensor_file **file, const char *name, const void *data, size_t size, stpn_error *error)
{
    stpn_status status = tensor_file_new(file, name, error);
    if (status) return status;
    (*file)->bytes = memory_zeroed(size, 1);
    if ((*file)->bytes) {
        if (size) memcpy((*file)->bytes, data, size);
        status = read_bytes(*file, size, error);
    } else {
        status = error_memory(error, "a file's bytes");
    }
    if (status) {
        tensor_file_free(*file);
        *file = NULL;
    }
    return status;
}
