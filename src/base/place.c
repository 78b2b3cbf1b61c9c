#include "base/place.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int place_beside(char *path, size_t size, const char *name)
{
    char own[4096];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length <= 0) return 0;
    own[length] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(own, '/');
        if (!slash) return 0;
        *slash = 0;
    }
    int written = snprintf(path, size, "%s/%s", own, name);
    return written > 0 && (size_t)written < size;
}
