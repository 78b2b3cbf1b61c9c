/* The directory at the archive's end names the members (PKWARE's APPNOTE.TXT, 4.3); numbers are little-endian. */
#include "io/zip.h"

#include "base/error.h"
#include "base/memory.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

enum {
    LOCAL_MARK = 0x04034b50,
    LOCAL_BYTES = 30,
    ENTRY_MARK = 0x02014b50,
    ENTRY_BYTES = 46,
    END_MARK = 0x06054b50,
    END_BYTES = 22,
    COMMENT_MOST = 65535,
    ENCRYPTED = 1,
    STORED = 0,
    DEFLATED = 8,
    MOST_16 = 0xffff,
    /* No deflated byte stands for more. */
    RATIO_MOST = 1032,
    SHOWN_NAME = 160
};

static uint32_t number_at(const unsigned char *at, int bytes)
{
    uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static stpn_status damaged(const zip_archive *z, const char *what, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT, "%s: %s, expected a whole .npz archive", z->name, what);
}

static stpn_status complain(const zip_archive *z, const zip_member *m, const char *what, stpn_error *error)
{
    int shown = m->name_length < SHOWN_NAME ? m->name_length : SHOWN_NAME;
    return error_set(error, STPN_ERROR_INPUT, "%s: member \"%.*s\": %s", z->name, shown, m->name, what);
}

stpn_status zip_open(zip_archive *z, const char *name, const void *bytes, size_t size, stpn_error *error)
{
    *z = (zip_archive){.name = name, .bytes = bytes, .size = size};
    if (size < END_BYTES) return damaged(z, "it has too few bytes", error);
    size_t end = size - END_BYTES, least = end > COMMENT_MOST ? end - COMMENT_MOST : 0;
    while (end > least && number_at(z->bytes + end, 4) != END_MARK) end--;
    const unsigned char *record = z->bytes + end;
    if (number_at(record, 4) != END_MARK) return damaged(z, "it has no directory at its end", error);
    uint32_t count = number_at(record + 10, 2), directory_size = number_at(record + 12, 4);
    uint32_t first = number_at(record + 16, 4);
    if (count == MOST_16 || directory_size == UINT32_MAX || first == UINT32_MAX)
        return error_set(error, STPN_ERROR_INPUT,
                         "%s: is larger than an .npz of 4 GiB, expected less: .safetensors files may be larger", name);
    if (first > end || directory_size != end - first)
        return damaged(z, "its directory is not where it should be", error);
    z->left = (int)count;
    z->directory = z->first = first;
    return STPN_OK;
}

/* Where the values of a member lie: behind a heading of its own. */
static stpn_status find_data(zip_archive *z, zip_member *m, size_t offset, stpn_error *error)
{
    if (z->first < LOCAL_BYTES || offset > z->first - LOCAL_BYTES)
        return complain(z, m, "lies outside the archive", error);
    const unsigned char *local = z->bytes + offset;
    size_t start = offset + LOCAL_BYTES + number_at(local + 26, 2) + number_at(local + 28, 2);
    if (number_at(local, 4) != LOCAL_MARK || start > z->first || m->packed > z->first - start)
        return complain(z, m, "lies outside the archive, or its heading is damaged", error);
    m->data = z->bytes + start;
    z->packed += m->packed;
    /* A small file whose members are all the same bytes could otherwise ask for any amount of memory. */
    if (z->packed > z->size) return damaged(z, "its members overlap", error);
    return STPN_OK;
}

stpn_status zip_next(zip_archive *z, zip_member *m, int *more, stpn_error *error)
{
    *m = (zip_member){0};
    *more = 0;
    if (z->left == 0) return STPN_OK;
    size_t room = z->size - END_BYTES - z->directory;
    const unsigned char *entry = z->bytes + z->directory;
    if (room < ENTRY_BYTES || number_at(entry, 4) != ENTRY_MARK) return damaged(z, "its directory is damaged", error);
    size_t name_length = number_at(entry + 28, 2);
    size_t length = ENTRY_BYTES + name_length + number_at(entry + 30, 2) + number_at(entry + 32, 2);
    if (room < length) return damaged(z, "its directory is damaged", error);
    m->name = (const char *)entry + ENTRY_BYTES;
    m->name_length = (int)name_length;
    m->method = (int)number_at(entry + 10, 2);
    m->crc = number_at(entry + 16, 4);
    m->packed = number_at(entry + 20, 4);
    m->size = number_at(entry + 24, 4);
    uint32_t offset = number_at(entry + 42, 4);
    if (number_at(entry + 8, 2) & ENCRYPTED) return complain(z, m, "is encrypted, expected plain", error);
    if (m->method != STORED && m->method != DEFLATED)
        return complain(z, m, "is packed in an unknown way, expected stored or deflated", error);
    if (m->packed == UINT32_MAX || m->size == UINT32_MAX || offset == UINT32_MAX)
        return complain(z, m, "is larger than 4 GiB, expected less: .safetensors files may be larger", error);
    if (m->method == STORED ? m->size != m->packed : m->size / RATIO_MOST > m->packed)
        return complain(z, m, "has two sizes that cannot both be right", error);
    z->directory += length;
    z->left--;
    *more = 1;
    return find_data(z, m, offset, error);
}

static void *allocate(void *unused, unsigned count, unsigned size)
{
    (void)unused;
    return memory_zeroed(count, size);
}

static void release(void *unused, void *block)
{
    (void)unused;
    memory_free(block);
}

/* Returns 1 where the member's bytes are exactly `size`. */
static int inflate_all(const zip_member *m, unsigned char *out, stpn_status *status)
{
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)m->data,
                       .avail_in = (uInt)m->packed,
                       .next_out = out,
                       .avail_out = (uInt)m->size,
                       .zalloc = allocate,
                       .zfree = release};
    /* Negative: without the heading of zlib's own format. */
    int code = inflateInit2(&stream, -MAX_WBITS);
    if (code == Z_OK) {
        code = inflate(&stream, Z_FINISH);
        inflateEnd(&stream);
    }
    if (code == Z_MEM_ERROR) *status = STPN_ERROR_MEMORY;
    return code == Z_STREAM_END && stream.avail_out == 0;
}

stpn_status zip_unpack(const zip_archive *z, const zip_member *m, char **bytes, stpn_error *error)
{
    stpn_status status = STPN_OK;
    *bytes = memory_zeroed(m->size + 1, 1);
    if (!*bytes) return error_memory(error, "an array");
    int whole = 1;
    if (m->method == STORED) {
        if (m->size) memcpy(*bytes, m->data, m->size);
    } else {
        whole = inflate_all(m, (unsigned char *)*bytes, &status);
    }
    if (status) error_memory(error, "an array");
    else if (!whole || crc32(0, (const Bytef *)*bytes, (uInt)m->size) != m->crc)
        status = complain(z, m, "is damaged: its bytes do not fit its checksum", error);
    if (!status) return STPN_OK;
    memory_free(*bytes);
    *bytes = NULL;
    return status;
}
