#include "base/python.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *python_find(char path[PYTHON_PATH_SIZE])
{
    const char *named = getenv("STPN_PYTHON");
    if (named && *named) return named;
    if (place_beside(path, PYTHON_PATH_SIZE, ".venv/bin/python") && file_exists(path)) return path;
    /* It need not be the active one. */
    int virtual = place_beside(path, PYTHON_PATH_SIZE, "pyvenv.cfg") && file_exists(path);
    return virtual && place_beside(path, PYTHON_PATH_SIZE, "bin/python3") && file_exists(path) ? path : "python3";
}

int python_package_path(char **value)
{
    static const char *const places[] = {"python", "share/stpn/python"};
    char folder[PYTHON_PATH_SIZE], package[PYTHON_PATH_SIZE + 8];
    *value = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!place_beside(folder, sizeof folder, places[i])) continue;
        snprintf(package, sizeof package, "%s/stpn", folder);
        if (!file_is_folder(package)) continue;
        const char *before = getenv("PYTHONPATH");
        size_t size = strlen(folder) + (before ? strlen(before) : 0) + 2;
        *value = memory_zeroed(size, 1);
        if (*value) snprintf(*value, size, "%s%s%s", folder, before && *before ? ":" : "", before ? before : "");
        return *value != NULL;
    }
    return 1;
}
