#include "train/origin.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGIN_MOST = TASK_PATH + 128 };
#define ORIGIN "origin.txt"
#define RUN_FILE "experiment.json"

/* FOLDER/origin.txt; an error where that is too long. */
static stpn_status origin_path(char path[PATH_MAX], const char *folder, stpn_error *error)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, ORIGIN);
    if (length >= 0 && length < PATH_MAX) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%.200s...: the path is too long", folder);
}

stpn_status origin_find(char folder[TASK_PATH], const char *path, stpn_error *error)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length + 1 >= TASK_PATH) return error_set(error, STPN_ERROR_INPUT, "%.200s...: the path is too long", path);
    if (slash && length == 0) length = 1; /* the root */
    memcpy(folder, slash ? path : ".", slash ? length : 1);
    folder[slash ? length : 1] = 0;
    char origin[PATH_MAX], *text;
    size_t size;
    stpn_status status = origin_path(origin, folder, error);
    if (status || strcmp(name, RUN_FILE) != 0 || !file_exists(origin)) return status;
    status = file_read(origin, ORIGIN_MOST, &text, &size, error);
    if (status) return status;
    length = strcspn(text, "\n");
    if (length == 0 || length >= TASK_PATH || text[length] != '\n')
        status = error_set(error, STPN_ERROR_INPUT, "%s: expected the folder of the data in the first line", origin);
    else snprintf(folder, TASK_PATH, "%.*s", (int)length, text);
    memory_free(text);
    return status;
}

stpn_status origin_print(const task_options *o, char print[ORIGIN_PRINT], stpn_error *error)
{
    char path[TASK_PATH + TASK_TEXT];
    uint32_t crc;
    uint64_t size;
    *print = 0;
    if (!*o->file) return STPN_OK;
    task_file_path(o, path);
    stpn_status status = file_checksum(path, &crc, &size, error);
    if (!status) snprintf(print, ORIGIN_PRINT, "%" PRIu64 " bytes, CRC32 %08" PRIx32, size, crc);
    return status;
}

stpn_status origin_check(const task_options *o, const char *run_folder, stpn_error *error)
{
    char origin[PATH_MAX], print[ORIGIN_PRINT], *text;
    size_t size;
    if (!*o->file) return STPN_OK;
    stpn_status status = origin_path(origin, run_folder, error);
    if (status || !file_exists(origin)) return status;
    status = origin_print(o, print, error);
    if (!status) status = file_read(origin, ORIGIN_MOST, &text, &size, error);
    if (status) return status;
    /* Who changed the first line may have left out the second. */
    char *line = strchr(text, '\n');
    line = line ? line + 1 : text + size;
    line[strcspn(line, "\n")] = 0;
    if (*line && strcmp(line, print) != 0)
        status = error_set(error, STPN_ERROR_INPUT, "%s: has %s, expected the file the run was started with: %.60s",
                           o->file, print, line);
    memory_free(text);
    return status;
}

stpn_status origin_save(const task_options *o, const char *run_folder, stpn_error *error)
{
    char origin[PATH_MAX], folder[PATH_MAX], print[ORIGIN_PRINT];
    if (!*o->file) return STPN_OK;
    stpn_status status = origin_path(origin, run_folder, error);
    if (status) return status;
    if (!realpath(*o->folder ? o->folder : ".", folder))
        return error_system(error, errno, "%s: the folder cannot be found", *o->folder ? o->folder : ".");
    status = origin_print(o, print, error);
    if (status) return status;
    file_part parts[4] = {{folder, strlen(folder)}, {"\n", 1}, {print, strlen(print)}, {"\n", 1}};
    return file_replace(origin, parts, 4, error);
}
