/* Whole files: read with a limit, written so that a kill at any instant leaves the old file or the new one. */
#ifndef STPN_BASE_FILE_H
#define STPN_BASE_FILE_H

#include <stpn/stpn.h>

/* Reads a regular file into a new block (free with memory_free) with a zero byte after its end. */
stpn_status file_read(const char *path, size_t limit, char **data, size_t *size, stpn_error *error);

/* CRC32 and size of a regular file of any size. */
stpn_status file_checksum(const char *path, uint32_t *crc, uint64_t *size, stpn_error *error);

/* One part of a file to write. */
typedef struct file_part {
    const void *data;
    size_t size;
} file_part;

/* Writes the parts to "PATH.tmp", syncs, renames it to PATH and syncs the folder. On failure the temporary file is
 * removed and what stood at PATH stays; only where the folder cannot be synced does the new file stand there, whole. What
 * stands there must be a regular file, or a link to one, which stays a link. */
stpn_status file_replace(const char *path, const file_part *parts, int count, stpn_error *error);

/* Adds to the end of a regular file and syncs it; a kill can leave a part of what was to be added. *appended is 0, and
 * the file as it was, where it is not there or has not `size` bytes. */
stpn_status file_append(const char *path, size_t size, const void *data, size_t bytes, int *appended,
                        stpn_error *error);

/* Makes a folder and its parents; one that exists is no error. */
stpn_status file_make_folder(const char *path, stpn_error *error);
int file_exists(const char *path);
int file_is_regular(const char *path);
int file_is_folder(const char *path);

/* Takes a lock on a folder that ends with the process or with file_unlock; *lock is -1 on failure. */
stpn_status file_lock_folder(const char *path, int *lock, stpn_error *error);
void file_unlock(int lock);

#endif
