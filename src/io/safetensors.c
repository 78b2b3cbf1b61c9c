#include "io/safetensors.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json_reader.h"
#include "io/safetensors_file.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are read and written as they lie in memory");

enum { DATA_ALIGNMENT = 64 /* of the data within a file written here */ };

size_t tensor_type_size(tensor_type type)
{
    static const size_t sizes[] = {4, 8, 4, 8, 1};
    return sizes[type];
}

const char *tensor_type_name(tensor_type type)
{
    static const char *const names[] = {"F32", "F64", "I32", "I64", "U8"};
    return names[type];
}

stpn_status tensor_file_complain(const tensor_file *file, const char *tensor, stpn_error *error, const char *format,
                                 ...)
{
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set(error, STPN_ERROR_INPUT, "%.*s: tensor \"%.*s\": %s", text_shown(file->name, TENSOR_SHOWN_PATH),
                     file->name, text_shown(tensor, TENSOR_SHOWN_NAME), tensor, what);
}

/* ------------------------------------------------------------------------------------------------ tensors and pairs */

/* The list of pointers with room for one more, or NULL. */
static void *with_room(void *list, int count, int *capacity)
{
    if (count < *capacity) return list;
    int larger = *capacity ? 2 * *capacity : 16;
    list = memory_resize(list, (size_t)count * sizeof(void *), (size_t)larger * sizeof(void *));
    if (list) *capacity = larger;
    return list;
}

tensor_item *tensor_file_add_item(tensor_file *file, const char *name)
{
    void *list = with_room(file->items, file->count, &file->capacity);
    if (!list) return NULL;
    file->items = list;
    size_t bytes = strlen(name) + 1;
    tensor_item *added = memory_zeroed(1, sizeof *added + bytes);
    if (!added) return NULL;
    memcpy(added->name, name, bytes);
    added->entry.name = added->name;
    file->items[file->count++] = added;
    return added;
}

static void free_item(tensor_item *unwanted)
{
    memory_free(unwanted->copy);
    memory_free(unwanted);
}

/* Puts a tensor_pair at `place` of the metadata and moves those behind it up. */
int tensor_file_add_pair(tensor_file *file, int place, const char *key, const char *value)
{
    void *list = with_room(file->metadata, file->metadata_count, &file->metadata_capacity);
    if (!list) return 0;
    file->metadata = list;
    size_t key_bytes = strlen(key) + 1, value_bytes = strlen(value) + 1;
    tensor_pair *added = memory_zeroed(1, sizeof *added + key_bytes + value_bytes);
    if (!added) return 0;
    memcpy(added->key, key, key_bytes);
    memcpy(added->key + key_bytes, value, value_bytes);
    added->value = added->key + key_bytes;
    for (int i = file->metadata_count++; i > place; i--) file->metadata[i] = file->metadata[i - 1];
    file->metadata[place] = added;
    return 1;
}

int tensor_entry_count(tensor_entry *entry, size_t *bytes)
{
    entry->count = 1;
    for (int i = 0; i < entry->rank; i++)
        if (__builtin_mul_overflow(entry->count, entry->shape[i], &entry->count)) return 0;
    return !__builtin_mul_overflow(entry->count, tensor_type_size(entry->type), bytes) && *bytes <= PTRDIFF_MAX;
}

stpn_status tensor_file_new(tensor_file **file, const char *name, stpn_error *error)
{
    *file = memory_zeroed(1, sizeof **file);
    if (*file) (*file)->name = memory_string(name);
    if (*file && (*file)->name) return STPN_OK;
    tensor_file_free(*file);
    *file = NULL;
    return error_memory(error, "a file of tensors");
}

void tensor_file_free(tensor_file *file)
{
    if (!file) return;
    for (int i = 0; i < file->count; i++) free_item(file->items[i]);
    for (int i = 0; i < file->metadata_count; i++) memory_free(file->metadata[i]);
    memory_free(file->items);
    memory_free(file->metadata);
    memory_free(file->bytes);
    memory_free(file->name);
    memory_free(file);
}

const tensor_entry *tensor_file_find(const tensor_file *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->items[i]->name, name) == 0) return &file->items[i]->entry;
    return NULL;
}

const tensor_entry *tensor_file_entry(const tensor_file *file, int index)
{
    return index >= 0 && index < file->count ? &file->items[index]->entry : NULL;
}

const char *tensor_file_metadata(const tensor_file *file, const char *key)
{
    for (int i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i]->key, key) == 0) return file->metadata[i]->value;
    return NULL;
}

const char *tensor_file_name(const tensor_file *file)
{
    return file->name;
}

/* ---------------------------------------------------------------------------------------------------------- writing */

stpn_status tensor_file_create(tensor_file **file, stpn_error *error)
{
    return tensor_file_new(file, "new file", error);
}

stpn_status tensor_file_add(tensor_file *file, const char *name, tensor_type type, int rank, const int64_t *shape,
                            const void *data, stpn_error *error)
{
    if (!text_is_utf8(name)) return tensor_file_complain(file, name, error, "the name is not UTF-8, expected UTF-8");
    if (strcmp(name, TENSOR_METADATA) == 0)
        return tensor_file_complain(file, name, error, "the name is reserved, expected another");
    if (tensor_file_find(file, name))
        return tensor_file_complain(file, name, error, "found the name twice, expected it once");
    if (rank < 0 || rank > TENSOR_MAX_RANK)
        return tensor_file_complain(file, name, error, "rank is %d, expected 0 to %d", rank, (int)TENSOR_MAX_RANK);
    tensor_entry entry = {.type = type, .rank = rank};
    for (int i = 0; i < rank; i++) {
        entry.shape[i] = shape[i];
        if (shape[i] < 0)
            return tensor_file_complain(file, name, error, "shape[%d] is %lld, expected at least 0", i,
                                        (long long)shape[i]);
    }
    size_t bytes;
    if (!tensor_entry_count(&entry, &bytes))
        return tensor_file_complain(file, name, error, "the shape's product overflows, expected at most %zu bytes",
                                    TENSOR_FILE_LIMIT);
    void *copy = memory_zeroed(bytes, 1);
    tensor_item *added = copy ? tensor_file_add_item(file, name) : NULL;
    if (!added) {
        memory_free(copy);
        return error_memory(error, "a tensor's values");
    }
    if (bytes) memcpy(copy, data, bytes);
    entry.name = added->name;
    entry.data = added->copy = copy;
    added->entry = entry;
    added->end = bytes;
    return STPN_OK;
}

stpn_status tensor_file_set_metadata(tensor_file *file, const char *key, const char *value, stpn_error *error)
{
    if (!text_is_utf8(key) || !text_is_utf8(value))
        return error_set(error, STPN_ERROR_INPUT, "%.*s: metadata \"%.*s\" is not UTF-8, expected UTF-8",
                         text_shown(file->name, TENSOR_SHOWN_PATH), file->name, text_shown(key, TENSOR_SHOWN_NAME),
                         key);
    int place = 0;
    while (place < file->metadata_count && strcmp(file->metadata[place]->key, key) < 0) place++;
    if (!tensor_file_add_pair(file, place, key, value)) return error_memory(error, "metadata");
    int next = place + 1;
    if (next == file->metadata_count || strcmp(file->metadata[next]->key, key) != 0) return STPN_OK;
    /* The older value makes way. */
    memory_free(file->metadata[next]);
    file->metadata_count--;
    for (int i = next; i < file->metadata_count; i++) file->metadata[i] = file->metadata[i + 1];
    return STPN_OK;
}

/* Jansson's "set_new" calls take NULL for a value that could not be made, and fail. */
static json_t *describe_tensor(const tensor_item *tensor, size_t begin)
{
    json_t *description = json_object(), *shape = json_array(), *offsets = json_array();
    json_int_t first = (json_int_t)begin, bytes = (json_int_t)(tensor->end - tensor->begin);
    int failed = 0;
    for (int i = 0; i < tensor->entry.rank; i++)
        failed |= json_array_append_new(shape, json_integer(tensor->entry.shape[i]));
    failed |= json_array_append_new(offsets, json_integer(first));
    failed |= json_array_append_new(offsets, json_integer(first + bytes));
    failed |= json_object_set_new(description, "dtype", json_string(tensor_type_name(tensor->entry.type)));
    failed |= json_object_set_new(description, "shape", shape);
    failed |= json_object_set_new(description, "data_offsets", offsets);
    if (!failed) return description;
    json_decref(description);
    return NULL;
}

static json_t *describe_file(const tensor_file *file)
{
    json_t *root = json_object(), *metadata = file->metadata_count ? json_object() : NULL;
    size_t begin = 0;
    int failed = !root;
    for (int i = 0; i < file->metadata_count; i++)
        failed |= json_object_set_new(metadata, file->metadata[i]->key, json_string(file->metadata[i]->value));
    if (file->metadata_count) failed |= json_object_set_new(root, TENSOR_METADATA, metadata);
    for (int i = 0; i < file->count && !failed; i++) {
        const tensor_item *tensor = file->items[i];
        failed |= json_object_set_new(root, tensor->name, describe_tensor(tensor, begin));
        begin += tensor->end - tensor->begin;
    }
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

/* Length, JSON and the spaces that bring the data to its alignment, as one block. */
static stpn_status make_header(const tensor_file *file, const char *path, char **block, size_t *size, stpn_error *error)
{
    *block = NULL;
    json_t *root = describe_file(file);
    size_t length = root ? json_dumpb(root, NULL, 0, JSON_COMPACT) : 0;
    *size = (TENSOR_LENGTH_BYTES + length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    uint64_t padded = *size - TENSOR_LENGTH_BYTES;
    stpn_status status = STPN_OK;
    if (length && padded <= TENSOR_HEADER_LIMIT) {
        *block = memory_zeroed(*size, 1);
        if (*block) memset(*block, ' ', *size);
        if (*block) memcpy(*block, &padded, TENSOR_LENGTH_BYTES);
        if (*block && json_dumpb(root, *block + TENSOR_LENGTH_BYTES, length, JSON_COMPACT) != length) length = 0;
    }
    if (padded > TENSOR_HEADER_LIMIT)
        status = error_set(error, STPN_ERROR_INPUT, "%s: would have a header of %llu bytes, expected at most %d", path,
                           (unsigned long long)padded, (int)TENSOR_HEADER_LIMIT);
    else if (!length || !*block) status = error_memory(error, "a header");
    json_decref(root);
    return status;
}

stpn_status tensor_file_save(const tensor_file *file, const char *path, stpn_error *error)
{
    size_t size, total = 0, count = (size_t)file->count;
    char *header;
    file_part *parts = memory_zeroed(count + 1, sizeof *parts);
    if (!parts) return error_memory(error, "a list of tensors");
    stpn_status status = make_header(file, path, &header, &size, error);
    parts[0] = (file_part){header, size};
    for (size_t i = 0; i < count; i++) {
        const tensor_item *tensor = file->items[i];
        parts[i + 1] = (file_part){tensor->entry.data, tensor->end - tensor->begin};
        total += parts[i + 1].size;
    }
    if (!status && total > TENSOR_FILE_LIMIT - size)
        status = error_set(error, STPN_ERROR_INPUT, "%s: would have %zu bytes of data, expected at most %zu", path,
                           total, TENSOR_FILE_LIMIT - size);
    if (!status) status = file_replace(path, parts, file->count + 1, error);
    memory_free(parts);
    memory_free(header);
    return status;
}
