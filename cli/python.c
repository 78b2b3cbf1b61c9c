#include "cli/python.h"

#include "base/memory.h"
#include "base/python.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

/* In the child. Returns 0 where memory is out. */
static int set_package_path(void)
{
    char *value;
    if (!python_package_path(&value)) return 0;
    int failed = value && setenv("PYTHONPATH", value, 1);
    memory_free(value);
    return !failed;
}

int python_run(const char *module, const char *const *words)
{
    char path[PYTHON_PATH_SIZE];
    const char *python = python_find(path);
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
