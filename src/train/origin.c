#include "train/origin.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    status = file_read(origin, TASK_PATH, &text, &size, error);
    if (status) return status;
    length = strcspn(text, "\n");
    if (length == 0 || length >= TASK_PATH || text[length] != '\n')
        status = error_set(error, STPN_ERROR_INPUT, "%s: expected one line, the folder of the data", origin);
    else snprintf(folder, TASK_PATH, "%.*s", (int)length, text);
    memory_free(text);
    return status;
}

stpn_status origin_save(const task_options *o, const char *run_folder, stpn_error *error)
{
    char origin[PATH_MAX], folder[PATH_MAX];
    if (!*o->file) return STPN_OK;
    stpn_status status = origin_path(origin, run_folder, error);
    if (status) return status;
    if (!realpath(*o->folder ? o->folder : ".", folder))
        return error_system(error, errno, "%s: the folder cannot be found", *o->folder ? o->folder : ".");
    file_part parts[2] = {{folder, strlen(folder)}, {"\n", 1}};
    return file_replace(origin, parts, 2, error);
}
