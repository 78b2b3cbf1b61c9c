/* The members of a ZIP archive in memory, stored or deflated: what NumPy's savez and savez_compressed write. */
#ifndef STPN_IO_ZIP_H
#define STPN_IO_ZIP_H

#include <stpn/stpn.h>

typedef struct zip_archive {
    const char *name;           // for messages
    const unsigned char *bytes; // (size)
    size_t size;
    size_t directory; // where the entry of the next member stands
    size_t first;     // where the directory starts
    int left;         // members not yet read
    size_t packed;    // bytes of those read
} zip_archive;

typedef struct zip_member {
    const char *name; // (name_length), no zero byte behind
    int name_length;
    int method;
    uint32_t crc;
    size_t packed, size; // bytes in the archive, and unpacked
    const unsigned char *data;
} zip_member;

stpn_status zip_open(zip_archive *zip, const char *name, const void *bytes, size_t size, stpn_error *error);
/* *more is 0 past the last. */
stpn_status zip_next(zip_archive *zip, zip_member *member, int *more, stpn_error *error);
/* The unpacked bytes (free with memory_free), their checksum verified. */
stpn_status zip_unpack(const zip_archive *zip, const zip_member *member, char **bytes, stpn_error *error);

#endif
