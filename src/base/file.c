#include "base/file.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* What the caller named wrongly is an input error; the rest is the system's. */
static stpn_status open_error(const char *path, int code, stpn_error *error)
{
    switch (code) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO: return error_set(error, STPN_ERROR_INPUT, "%s: cannot be opened: %s", path, strerror(code));
    default: return error_system(error, code, "%s: cannot be opened", path);
    }
}

stpn_status file_read(const char *path, size_t limit, char **data, size_t *size, stpn_error *error)
{
    *data = NULL;
    *size = 0;
    /* Without O_NONBLOCK the open itself would wait for a pipe's writer. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return open_error(path, errno, error);
    stpn_status status = STPN_OK;
    char *block = NULL;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = error_system(error, errno, "%s: cannot be read", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = error_set(error, STPN_ERROR_INPUT, "%s: is not a regular file", path);
    } else if ((uint64_t)info.st_size > limit) {
        status = error_set(error, STPN_ERROR_INPUT, "%s: has %lld bytes, expected at most %zu", path,
                           (long long)info.st_size, limit);
    } else {
        size_t expected = (size_t)info.st_size, have = 0;
        block = memory_zeroed(expected + 1, 1);
        if (!block) status = error_memory(error, path);
        while (!status && have < expected) {
            ssize_t got = read(fd, block + have, expected - have);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) status = error_system(error, errno, "%s: cannot be read", path);
            if (got <= 0) break;
            have += (size_t)got;
        }
        *size = have;
    }
    close(fd);
    if (status) {
        memory_free(block);
        return status;
    }
    *data = block;
    return STPN_OK;
}

stpn_status file_checksum(const char *path, uint32_t *crc, uint64_t *size, stpn_error *error)
{
    unsigned char part[1 << 14];
    stpn_status status = STPN_OK;
    *crc = 0;
    *size = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return open_error(path, errno, error);
    struct stat info;
    if (fstat(fd, &info) != 0) status = error_system(error, errno, "%s: cannot be read", path);
    else if (!S_ISREG(info.st_mode)) status = error_set(error, STPN_ERROR_INPUT, "%s: is not a regular file", path);
    while (!status) {
        ssize_t got = read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = error_system(error, errno, "%s: cannot be read", path);
        if (got <= 0) break;
        *crc = (uint32_t)crc32(*crc, part, (uInt)got);
        *size += (uint64_t)got;
    }
    close(fd);
    return status;
}

static int sync_all(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (put == 0) errno = ENOSPC;
            return -1;
        }
        data += put;
        size -= (size_t)put;
    }
    return 0;
}

static int open_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (!slash) {
        strcpy(folder, ".");
    } else if (length == 0) {
        strcpy(folder, "/");
    } else {
        memcpy(folder, path, length);
        folder[length] = 0;
    }
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What a link leads to is replaced, not the link; devices and pipes are none of ours. */
static stpn_status find_target(const char *path, char target[PATH_MAX], stpn_error *error)
{
    struct stat info;
    if (lstat(path, &info) != 0 || S_ISDIR(info.st_mode) || S_ISREG(info.st_mode)) {
        if (snprintf(target, PATH_MAX, "%s", path) < PATH_MAX) return STPN_OK;
        return error_set(error, STPN_ERROR_INPUT, "the path is too long: %s", path);
    }
    if (S_ISLNK(info.st_mode) && !realpath(path, target)) return open_error(path, errno, error);
    if (S_ISLNK(info.st_mode) && file_is_regular(target)) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: is not a regular file", path);
}

stpn_status file_replace(const char *path, const file_part *parts, int count, stpn_error *error)
{
    char target[PATH_MAX], temporary[PATH_MAX];
    stpn_status status = find_target(path, target, error);
    if (status) return status;
    path = target;
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return error_set(error, STPN_ERROR_INPUT, "the path is too long: %s", path);
    /* Opened first, so that after the rename only its sync is left to fail. */
    int folder = open_folder_of(path);
    if (folder < 0) return error_system(error, errno, "%s: its folder cannot be opened", path);
    int code = 0;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        code = errno;
        close(folder);
        return error_system(error, code, "%s: cannot be written", temporary);
    }
    for (int i = 0; i < count && !code; i++)
        if (write_all(fd, parts[i].data, parts[i].size) != 0) code = errno;
    if (!code && sync_all(fd) != 0) code = errno;
    if (close(fd) != 0 && !code) code = errno;
    if (!code && rename(temporary, path) != 0) code = errno;
    int renamed = !code;
    if (!renamed) unlink(temporary);
    /* A rename is only on disk once its folder is. */
    if (renamed && sync_all(folder) != 0) code = errno;
    close(folder);
    if (!code) return STPN_OK;
    return error_system(error, code, renamed ? "%s: its folder cannot be synced" : "%s: cannot be written", path);
}

stpn_status file_append(const char *path, size_t size, const void *data, size_t bytes, int *appended, stpn_error *error)
{
    *appended = 0;
    int fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC), code = 0;
    if (fd < 0) return errno == ENOENT ? STPN_OK : error_system(error, errno, "%s: cannot be written", path);
    struct stat info;
    if (fstat(fd, &info) != 0) code = errno;
    int fits = !code && S_ISREG(info.st_mode) && (uint64_t)info.st_size == size;
    if (fits && write_all(fd, data, bytes) != 0) code = errno;
    if (fits && !code && sync_all(fd) != 0) code = errno;
    if (close(fd) != 0 && !code) code = errno;
    if (code) return error_system(error, code, "%s: cannot be written", path);
    *appended = fits;
    return STPN_OK;
}

stpn_status file_make_folder(const char *path, stpn_error *error)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return error_set(error, STPN_ERROR_INPUT, "the folder's path is empty or too long");
    memcpy(partial, path, length + 1);
    for (char *end = partial + 1;; end++) {
        if (*end != '/' && *end != 0) continue;
        char kept = *end;
        *end = 0;
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            return error_system(error, errno, "%s: the folder cannot be made", partial);
        *end = kept;
        if (!kept) break;
    }
    if (!file_is_folder(path)) return error_set(error, STPN_ERROR_INPUT, "%s: is not a folder", path);
    return STPN_OK;
}

int file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

int file_is_regular(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

int file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

stpn_status file_lock_folder(const char *path, int *lock, stpn_error *error)
{
    *lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0) return open_error(path, errno, error);
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0) return STPN_OK;
    int code = errno;
    close(*lock);
    *lock = -1;
    if (code == EWOULDBLOCK) return error_set(error, STPN_ERROR_INPUT, "%s: another process is training into it", path);
    return error_system(error, code, "%s: cannot be locked", path);
}

void file_unlock(int lock)
{
    if (lock >= 0) close(lock);
}
