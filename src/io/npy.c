/* "\x93NUMPY", version (2 bytes), length of the header (2 bytes, from version 2 on 4), the header, the values. The header
 * is a dictionary as Python writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } */
#include "io/npy.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { MAGIC_BYTES = 8, HEADER_MOST = 1 << 20, DESCRIPTION_MOST = 8 };

typedef struct header {
    const char *at, *end;
    char description[DESCRIPTION_MOST + 1];
    int fortran_order;
    int seen[3]; // description, order, shape
} header;

static stpn_status complain(const char *place, const char *what, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT, "%s: %s", place, what);
}

/* ------------------------------------------------------------------------------------------------------------ header */

static void skip_space(header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n')) h->at++;
}

static int next_is(header *h, char c)
{
    skip_space(h);
    if (h->at == h->end || *h->at != c) return 0;
    h->at++;
    return 1;
}

/* A text in quotes without escapes; 0 where there is none. */
static int read_text(header *h, const char **text, size_t *length)
{
    char quote = '\'';
    if (!next_is(h, quote)) {
        quote = '"';
        if (!next_is(h, quote)) return 0;
    }
    *text = h->at;
    const char *close = memchr(h->at, quote, (size_t)(h->end - h->at));
    if (!close || memchr(h->at, '\\', (size_t)(close - h->at))) return 0;
    *length = (size_t)(close - h->at);
    h->at = close + 1;
    return 1;
}

static int is_word(header *h, const char *word)
{
    size_t length = strlen(word);
    skip_space(h);
    if ((size_t)(h->end - h->at) < length || memcmp(h->at, word, length) != 0) return 0;
    h->at += length;
    return 1;
}

static int read_size(header *h, int64_t *size)
{
    skip_space(h);
    const char *start = h->at;
    for (*size = 0; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (__builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, *h->at - '0', size)) return 0;
    return h->at > start;
}

/* (3, 4), (3,) or (). */
static int read_shape(header *h, array *a)
{
    a->rank = 0;
    if (!next_is(h, '(')) return 0;
    while (!next_is(h, ')')) {
        if (a->rank == TENSOR_MAX_RANK || !read_size(h, &a->shape[a->rank++])) return 0;
        if (!next_is(h, ',')) return a->rank > 1 && next_is(h, ')');
    }
    return 1;
}

static int read_member(header *h, array *a)
{
    const char *key, *text;
    size_t length, text_length;
    if (!read_text(h, &key, &length) || !next_is(h, ':')) return 0;
    if (length == 5 && memcmp(key, "descr", length) == 0) {
        /* A list of fields has no room here: it is no array of numbers. */
        h->seen[0]++;
        if (!read_text(h, &text, &text_length)) return 0;
        snprintf(h->description, sizeof h->description, "%.*s",
                 (int)(text_length <= DESCRIPTION_MOST ? text_length : DESCRIPTION_MOST), text);
        return 1;
    }
    if (length == 13 && memcmp(key, "fortran_order", length) == 0) {
        h->seen[1]++;
        h->fortran_order = is_word(h, "True");
        return h->fortran_order || is_word(h, "False");
    }
    if (length != 5 || memcmp(key, "shape", length) != 0) return 0;
    h->seen[2]++;
    return read_shape(h, a);
}

static int read_header(header *h, array *a)
{
    if (!next_is(h, '{')) return 0;
    while (!next_is(h, '}')) {
        if (!read_member(h, a)) return 0;
        if (next_is(h, ',')) continue;
        if (next_is(h, '}')) break;
        return 0;
    }
    return h->seen[0] == 1 && h->seen[1] == 1 && h->seen[2] == 1;
}

/* ------------------------------------------------------------------------------------------------------------ values */

/* "<f4": order of bytes, kind, bytes; *swap where the order is not the machine's (little-endian). */
static int read_type(const char *description, array_type *type, int *swap)
{
    static const struct {
        char name[3];
        array_type type;
    } known[] = {{"f4", ARRAY_F32}, {"f8", ARRAY_F64}, {"i1", ARRAY_I8},  {"i2", ARRAY_I16},
                 {"i4", ARRAY_I32}, {"i8", ARRAY_I64}, {"u1", ARRAY_U8},  {"u2", ARRAY_U16},
                 {"u4", ARRAY_U32}, {"u8", ARRAY_U64}, {"b1", ARRAY_BOOL}};
    *swap = description[0] == '>';
    if (!description[0] || !strchr("<>|=", description[0])) return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(description + 1, known[i].name) != 0) continue;
        *type = known[i].type;
        return 1;
    }
    return 0;
}

static void swap_bytes(char *values, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < width / 2; k++) {
            char *value = values + i * width, kept = value[k];
            value[k] = value[width - 1 - k];
            value[width - 1 - k] = kept;
        }
}

/* From the first index fastest to the last index fastest. */
static void reorder(const array *a, const char *from, char *to, size_t width)
{
    int64_t index[TENSOR_MAX_RANK] = {0};
    for (size_t i = 0; i < a->count; i++) {
        size_t place = 0;
        for (int k = a->rank - 1; k >= 0; k--) place = place * (size_t)a->shape[k] + (size_t)index[k];
        memcpy(to + i * width, from + place * width, width);
        for (int k = a->rank - 1; k >= 0 && ++index[k] == a->shape[k]; k--) index[k] = 0;
    }
}

static stpn_status take_values(array *a, const header *h, int swap, const char *values, const char *place,
                               stpn_error *error)
{
    size_t width = array_type_size(a->type);
    char *block = memory_zeroed(a->count, width);
    if (!block) return error_memory(error, place);
    if (h->fortran_order && a->rank > 1) reorder(a, values, block, width);
    else if (a->count) memcpy(block, values, a->count * width);
    if (swap) swap_bytes(block, a->count, width);
    a->block = block;
    a->data = block;
    return STPN_OK;
}

stpn_status npy_parse(array *a, const char *place, const char *bytes, size_t size, stpn_error *error)
{
    size_t start = 0, length = 0;
    int swap = 0;
    if (size < MAGIC_BYTES + 4 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return complain(place, "is no .npy array, expected its mark at the start", error);
    int major = (unsigned char)bytes[6], digits = major == 1 ? 2 : 4;
    if (major < 1 || major > 3) return complain(place, "has an unknown version of .npy, expected 1 to 3", error);
    for (int i = digits - 1; i >= 0; i--) length = length << 8 | (unsigned char)bytes[MAGIC_BYTES + i];
    start = MAGIC_BYTES + (size_t)digits;
    if (length > HEADER_MOST || length > size - start)
        return complain(place, "ends within its .npy header, or that is too long", error);
    header h = {.at = bytes + start, .end = bytes + start + length};
    int readable = read_header(&h, a);
    if (h.seen[0] && !read_type(h.description, &a->type, &swap))
        return error_set(error, STPN_ERROR_INPUT,
                         "%s: its values are of type \"%s\", expected f4, f8, i1 to i8, u1 to u8 or b1 (bool)", place,
                         *h.description ? h.description : "several fields");
    if (!readable)
        return complain(
            place, "its .npy header is damaged, expected descr, fortran_order and a shape of at most 8 sizes", error);
    size_t values = size - start - length, expected = array_type_size(a->type);
    int fits = 1;
    for (int k = 0; k < a->rank; k++) fits &= !__builtin_mul_overflow(expected, (size_t)a->shape[k], &expected);
    char shape[128];
    array_shape_text(a, shape, sizeof shape);
    if (!fits || expected != values)
        return error_set(error, STPN_ERROR_INPUT, "%s: holds %zu bytes of values, expected those of %s %s", place,
                         values, array_type_name(a->type), shape);
    a->count = expected / array_type_size(a->type);
    return take_values(a, &h, swap, bytes + start + length, place, error);
}
