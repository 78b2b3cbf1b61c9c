#include "tasks/worker.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/python.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The two descriptors that the process inherits, under these numbers. */
enum { CHILD_SOCKET = 3, CHILD_MEMORY = 4, FIRST_FREE = 10 };
enum { TEXT_MOST = 1 << 16, ALIGNMENT = 64, END_PATIENCE = 1000 };
enum { SPACES_MOST = 1 << 24 }; // values of an observation or of actions

/* A command; an answer repeats it, and text follows: nothing, or what is wrong. */
typedef struct packet {
    int32_t command, first, last, failed;
} packet;

struct worker {
    worker_plan plan;
    pid_t process; // 0: none
    int socket, memory;
    int died; // it has been waited for, and how it ended
    int how;
    void *base; // shared
    size_t bytes;
    worker_space space;
    worker_arrays arrays;
    char text[sizeof(packet) + TEXT_MOST + 1];
};

const worker_space *worker_space_of(const worker *w)
{
    return &w->space;
}

const worker_arrays *worker_arrays_of(const worker *w)
{
    return &w->arrays;
}

/* -------------------------------------------------------------------------------------------------------- the process */

static int reap(worker *w, int flags)
{
    int how = 0;
    if (w->process == 0 || w->died) return 1;
    pid_t found;
    do found = waitpid(w->process, &how, flags);
    while (found < 0 && errno == EINTR);
    if (found == 0) return 0;
    w->died = 1;
    w->how = how;
    return 1;
}

static void pause_shortly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

void worker_end(worker *w)
{
    if (!w) return;
    if (w->socket >= 0) close(w->socket); // which tells the process to end
    for (int i = 0; i < END_PATIENCE && !reap(w, WNOHANG); i++) pause_shortly();
    if (!reap(w, WNOHANG)) {
        kill(w->process, SIGKILL);
        reap(w, 0);
    }
    if (w->base) munmap(w->base, w->bytes);
    if (w->memory >= 0) close(w->memory);
    memory_free(w->space.low);
    memory_free(w->space.high);
    memory_free(w);
}

/* The environment of the process: ours, with the package's folder in PYTHONPATH. */
static char **child_environment(char **entry)
{
    static const char name[] = "PYTHONPATH=";
    size_t count = 0, at = 0;
    char *value;
    *entry = NULL;
    if (!python_package_path(&value)) return NULL;
    while (environ[count]) count++;
    char **all = memory_zeroed(count + 2, sizeof *all);
    size_t size = value ? strlen(value) + sizeof name : 0;
    if (value && all) *entry = memory_zeroed(size, 1);
    int failed = !all || (value && !*entry);
    for (size_t i = 0; i < count && !failed; i++)
        if (!value || strncmp(environ[i], name, sizeof name - 1) != 0) all[at++] = environ[i];
    if (*entry) {
        snprintf(*entry, size, "%s%s", name, value);
        all[at] = *entry;
    }
    memory_free(value);
    if (!failed) return all;
    memory_free((void *)all);
    return NULL;
}

/* Its standard output goes to standard error; it has a process group of its own, so that Ctrl-C leaves it to us. */
static int spawn(worker *w, const char *python, char *const *line, char *const *environment, int child_socket)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int code = posix_spawn_file_actions_init(&actions);
    if (code) return code;
    code = posix_spawnattr_init(&attributes);
    if (code) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    sigset_t none, ordinary;
    sigemptyset(&none);
    sigemptyset(&ordinary);
    sigaddset(&ordinary, SIGINT);
    sigaddset(&ordinary, SIGTERM);
    sigaddset(&ordinary, SIGPIPE);
    code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!code) code = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    if (!code) code = posix_spawn_file_actions_adddup2(&actions, child_socket, CHILD_SOCKET);
    if (!code) code = posix_spawn_file_actions_adddup2(&actions, w->memory, CHILD_MEMORY);
    if (!code) code = posix_spawnattr_setsigmask(&attributes, &none);
    if (!code) code = posix_spawnattr_setsigdefault(&attributes, &ordinary);
    if (!code) code = posix_spawnattr_setpgroup(&attributes, 0);
    if (!code)
        code = posix_spawnattr_setflags(&attributes,
                                        POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!code) code = posix_spawnp(&w->process, python, &actions, &attributes, line, environment);
    if (code) w->process = 0;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* A descriptor out of the way of those that the process inherits. */
static int moved(int descriptor)
{
    if (descriptor < 0) return -1;
    int other = fcntl(descriptor, F_DUPFD_CLOEXEC, FIRST_FREE), code = errno;
    close(descriptor);
    errno = code;
    return other;
}

static stpn_status start_process(worker *w, stpn_error *error)
{
    char path[PYTHON_PATH_SIZE], copies[16], chunk[16], *entry;
    const char *python = python_find(path);
    int pair[2] = {-1, -1};
    snprintf(copies, sizeof copies, "%d", w->plan.copies);
    snprintf(chunk, sizeof chunk, "%d", stpn_chunk_size(w->plan.copies));
    const char *const line[] = {python, "-m", "stpn.envs.worker", w->plan.kind, w->plan.id, w->plan.arguments, copies,
                                chunk,  NULL};
    w->memory = moved(memfd_create("stpn", MFD_CLOEXEC));
    if (w->memory < 0) return error_system(error, errno, "memory to share with a worker");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_system(error, errno, "a socket for a worker");
    w->socket = moved(pair[0]);
    int other = moved(pair[1]);
    char **environment = child_environment(&entry);
    int code = w->socket < 0 || other < 0 ? errno : 0;
    if (!code && environment) code = spawn(w, python, (char *const *)(uintptr_t)line, environment, other);
    if (other >= 0) close(other);
    int failed = !environment;
    memory_free((void *)environment);
    memory_free(entry);
    if (failed) return error_memory(error, "a worker's environment");
    if (code) return error_system(error, code, "%s cannot be started (STPN_PYTHON names another Python)", python);
    return STPN_OK;
}

/* --------------------------------------------------------------------------------------------------------- exchange */

static stpn_status tell_death(worker *w, stpn_error *error)
{
    char path[PYTHON_PATH_SIZE], advice[PYTHON_PATH_SIZE + 160];
    snprintf(
        advice, sizeof advice,
        ": see its own words above; it was started by %s, which needs gymnasium, and ale-py for Atari; STPN_PYTHON "
        "names another Python",
        python_find(path));
    for (int i = 0; i < END_PATIENCE && !reap(w, WNOHANG); i++) pause_shortly();
    if (!w->died) return error_set(error, STPN_ERROR_SYSTEM, "the worker of %s has closed its connection", w->plan.id);
    if (WIFSIGNALED(w->how))
        return error_set(error, STPN_ERROR_SYSTEM, "the worker of %s was ended by signal %d", w->plan.id,
                         WTERMSIG(w->how));
    return error_set(error, STPN_ERROR_SYSTEM, "the worker of %s has ended with exit status %d%s", w->plan.id,
                     WEXITSTATUS(w->how), w->base ? "" : advice);
}

/* One packet into w->text, of which *size bytes are used. */
static stpn_status receive(worker *w, size_t *size, stpn_error *error)
{
    double until = machine_seconds() + w->plan.time_limit;
    for (;;) {
        double left = until - machine_seconds();
        struct pollfd wait = {.fd = w->socket, .events = POLLIN};
        int ready = left > 0 ? poll(&wait, 1, left < 1e6 ? (int)(left * 1000) + 1 : 1000000000) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return error_system(error, errno, "the worker of %s", w->plan.id);
        if (ready == 0)
            return error_set(error, STPN_ERROR_SYSTEM,
                             "the worker of %s has not answered for %g seconds (task.time_limit)", w->plan.id,
                             w->plan.time_limit);
        ssize_t got = recv(w->socket, w->text, sizeof w->text - 1, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return tell_death(w, error);
        *size = (size_t)got;
        w->text[got] = 0;
        return STPN_OK;
    }
}

stpn_status worker_wait(worker *w, worker_command command, int first, int last, stpn_error *error)
{
    size_t size = 0;
    packet answer;
    stpn_status status = receive(w, &size, error);
    if (status) return status;
    if (size >= sizeof answer) memcpy(&answer, w->text, sizeof answer);
    if (size >= sizeof answer && answer.failed == 1)
        return error_set(error, STPN_ERROR_INPUT, "%s: %s", w->plan.id, w->text + sizeof answer);
    if (size >= sizeof answer && answer.failed == 0 && answer.command == (int32_t)command && answer.first == first &&
        answer.last == last)
        return STPN_OK;
    return error_set(error, STPN_ERROR_SYSTEM,
                     "the worker of %s has answered %zu bytes that are no answer to command %d for copies [%d, %d)",
                     w->plan.id, size, (int)command, first, last);
}

static stpn_status give(worker *w, const void *bytes, size_t size, stpn_error *error)
{
    ssize_t sent;
    do sent = send(w->socket, bytes, size, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size ? STPN_OK : tell_death(w, error);
}

stpn_status worker_send(worker *w, worker_command command, int first, int last, stpn_error *error)
{
    const packet p = {(int32_t)command, first, last, 0};
    return give(w, &p, sizeof p, error);
}

stpn_status worker_film(worker *w, const char *path, stpn_error *error)
{
    char bytes[sizeof(packet) + WORKER_PATH];
    const packet p = {WORKER_FILM, 0, 1, 0};
    size_t length = path ? strlen(path) : 0;
    if (length >= WORKER_PATH) return error_set(error, STPN_ERROR_INPUT, "the film's file has too long a name");
    memcpy(bytes, &p, sizeof p);
    snprintf(bytes + sizeof p, WORKER_PATH, "%s", path ? path : "");
    stpn_status status = give(w, bytes, sizeof p + length, error);
    return status ? status : worker_wait(w, WORKER_FILM, 0, 1, error);
}

/* ---------------------------------------------------------------------------------------------------------- what it is */

static stpn_status nonsense(const worker *w, const char *what, stpn_error *error)
{
    return error_set(error, STPN_ERROR_SYSTEM, "the worker of %s says nothing sensible of its %s", w->plan.id, what);
}

/* `fallback`: what null stands for, as JSON has no infinity. */
static stpn_status read_bounds(const worker *w, const json_t *list, float fallback, float **bounds, stpn_error *error)
{
    size_t count = (size_t)w->space.continuous;
    if (!json_is_array(list) || json_array_size(list) != count) return nonsense(w, "actions", error);
    *bounds = memory_zeroed(count, sizeof **bounds);
    if (!*bounds) return error_memory(error, "a worker");
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_number(value) && !json_is_null(value)) return nonsense(w, "actions", error);
        (*bounds)[i] = json_is_null(value) ? fallback : (float)json_number_value(value);
    }
    return STPN_OK;
}

static int number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    return number < 0 || number > SPACES_MOST ? -1 : (int)number;
}

static stpn_status read_space(worker *w, stpn_error *error)
{
    worker_space *s = &w->space;
    json_t *object;
    stpn_status status = worker_wait(w, 0, 0, w->plan.copies, error);
    const char *text = w->text + sizeof(packet);
    if (!status) status = json_read(&object, "the worker", text, strlen(text), error);
    if (status) return status;
    s->observations = number_of(object, "observations");
    s->bytes = number_of(object, "bytes");
    s->actions = number_of(object, "actions");
    s->continuous = number_of(object, "continuous");
    if (s->observations < 1 || s->bytes < 0 || s->bytes > 1) status = nonsense(w, "observations", error);
    else if (s->actions < 0 || s->continuous < 0 || !s->actions == !s->continuous)
        status = nonsense(w, "actions", error);
    if (!status && s->continuous) status = read_bounds(w, json_object_get(object, "low"), -INFINITY, &s->low, error);
    if (!status && s->continuous) status = read_bounds(w, json_object_get(object, "high"), INFINITY, &s->high, error);
    json_decref(object);
    return status;
}

/* The arrays, one after the other; the process is told where each begins. */
static stpn_status share(worker *w, stpn_error *error)
{
    size_t B = (size_t)w->plan.copies, row = (size_t)w->space.observations * (w->space.bytes ? 1 : sizeof(float));
    size_t action = w->space.continuous ? (size_t)w->space.continuous * sizeof(float) : sizeof(int32_t);
    const size_t sizes[] = {B * row, B * row, B * sizeof(float), B, B * action, B * sizeof(int64_t), sizeof(int64_t)};
    enum { ARRAYS = sizeof sizes / sizeof *sizes };
    struct {
        packet head;
        int64_t bytes, places[ARRAYS];
    } map = {.head = {WORKER_MAP, 0, w->plan.copies, 0}};
    for (int i = 0; i < ARRAYS; i++) {
        map.places[i] = (int64_t)w->bytes;
        w->bytes += (sizes[i] + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    map.bytes = (int64_t)w->bytes;
    if (ftruncate(w->memory, (off_t)w->bytes) < 0) return error_system(error, errno, "memory to share with a worker");
    void *base = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w->memory, 0);
    if (base == MAP_FAILED) return error_system(error, errno, "memory to share with a worker");
    w->base = base;
    char *at = base;
    w->arrays = (worker_arrays){.observations = at + map.places[0],
                                .starts = at + map.places[1],
                                .rewards = (float *)(void *)(at + map.places[2]),
                                .ends = (uint8_t *)at + map.places[3],
                                .actions = at + map.places[4],
                                .seeds = (int64_t *)(void *)(at + map.places[5]),
                                .busy = (int64_t *)(void *)(at + map.places[6])};
    stpn_status status = give(w, &map, sizeof map, error);
    return status ? status : worker_wait(w, WORKER_MAP, 0, w->plan.copies, error);
}

stpn_status worker_start(worker **out, const worker_plan *plan, stpn_error *error)
{
    *out = NULL;
    worker *w = memory_zeroed(1, sizeof *w);
    if (!w) return error_memory(error, "a worker");
    w->plan = *plan;
    w->socket = w->memory = -1;
    stpn_status status = start_process(w, error);
    if (!status) status = read_space(w, error);
    if (!status) status = share(w, error);
    if (status) worker_end(w);
    else *out = w;
    return status;
}
