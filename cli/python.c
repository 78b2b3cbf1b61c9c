#include "cli/python.h"

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, NOT_STARTED = 127 };

static const char *find_python(char path[PATH_SIZE])
{
    const char *named = getenv("STPN_PYTHON");
    if (named && *named) return named;
    return place_beside(path, PATH_SIZE, ".venv/bin/python") && file_exists(path) ? path : "python3";
}

/* In the child: the folder with the package goes in front of what the user has. Returns 0 where memory is out. */
static int set_package_path(void)
{
    static const char *const places[] = {"python", "share/stpn/python"};
    char folder[PATH_SIZE], package[PATH_SIZE + 8];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!place_beside(folder, sizeof folder, places[i])) continue;
        snprintf(package, sizeof package, "%s/stpn", folder);
        if (!file_is_folder(package)) continue;
        const char *before = getenv("PYTHONPATH");
        size_t size = strlen(folder) + (before ? strlen(before) : 0) + 2;
        char *all = memory_zeroed(size, 1);
        if (!all) return 0;
        snprintf(all, size, "%s%s%s", folder, before && *before ? ":" : "", before ? before : "");
        int failed = setenv("PYTHONPATH", all, 1);
        memory_free(all);
        return !failed;
    }
    return 1;
}

int python_run(const char *module, const char *const *words)
{
    char path[PATH_SIZE];
    const char *python = find_python(path);
    int count = 0;
    while (words[count]) count++;
    const char **line = memory_zeroed((size_t)count + 4, sizeof *line);
    if (!line) {
        complain_of_memory();
        return -1;
    }
    line[0] = python;
    line[1] = "-m";
    line[2] = module;
    for (int i = 0; i < count; i++) line[i + 3] = words[i];
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        /* The results on standard output stay alone. */
        if (!set_package_path() || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) _exit(NOT_STARTED);
        execvp(python, (char *const *)(uintptr_t)line);
        _exit(NOT_STARTED);
    }
    int status = 0;
    pid_t ended = child;
    while (child > 0 && (ended = waitpid(child, &status, 0)) < 0 && errno == EINTR) {}
    memory_free((void *)line);
    if (child < 0 || ended < 0) {
        say("%s cannot be started: %s", python, strerror(errno));
        return -1;
    }
    if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    if (WEXITSTATUS(status) != NOT_STARTED) return WEXITSTATUS(status);
    say("%s cannot be started; STPN_PYTHON names another Python", python);
    return -1;
}
