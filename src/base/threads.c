#include "base/threads.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 2000 };

typedef struct helper {
    stpn_pool *pool;
    pthread_t thread;
    int worker;
} helper;

struct stpn_pool {
    int threads;
    int started; /* helpers that run in this process */
    pid_t process;
    helper *helpers; // (threads - 1)
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    atomic_uint round; /* counts jobs; a change is the signal to start */
    int quit;          /* under mutex */
    /* The job; written before `round` changes, read after. */
    pool_task task;
    void *context;
    int count, workers;
    atomic_int next, active;
};

static void take_turns(stpn_pool *pool, int worker)
{
    for (;;) {
        int turn = atomic_fetch_add(&pool->next, 1);
        if (turn >= pool->count) return;
        pool->task(pool->context, turn, worker);
    }
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void *helper_main(void *argument)
{
    helper *self = argument;
    stpn_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        /* Updates of a small network follow each other within microseconds: a short spin saves the sleep. */
        for (int spin = 0; spin < SPINS && atomic_load(&pool->round) == seen; spin++) relax();
        pthread_mutex_lock(&pool->mutex);
        while (atomic_load(&pool->round) == seen && !pool->quit) pthread_cond_wait(&pool->wake, &pool->mutex);
        int quit = pool->quit;
        pthread_mutex_unlock(&pool->mutex);
        if (quit) return NULL;
        seen++;
        if (self->worker < pool->workers) take_turns(pool, self->worker);
        if (atomic_fetch_sub(&pool->active, 1) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static int start_helpers(stpn_pool *pool)
{
    pool->process = getpid();
    pool->started = 0;
    pool->quit = 0;
    atomic_store(&pool->round, 0);
    atomic_store(&pool->active, 0);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < pool->threads - 1; i++) {
        pool->helpers[i] = (helper){.pool = pool, .worker = i + 1};
        int code = pthread_create(&pool->helpers[i].thread, NULL, helper_main, &pool->helpers[i]);
        if (code) return code;
        pool->started++;
    }
    return 0;
}

static void stop_helpers(stpn_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->quit = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) pthread_join(pool->helpers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
}

stpn_status stpn_pool_create(stpn_pool **out, int threads, stpn_error *error)
{
    error_clear(error);
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return error_set(error, STPN_ERROR_INPUT, "threads is %d, expected 0 (one per processor) to %d", threads,
                         (int)MAX_THREADS);
    if (threads == 0) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        threads = processors < 1 ? 1 : processors > MAX_THREADS ? MAX_THREADS : (int)processors;
    }
    stpn_pool *pool = memory_zeroed(1, sizeof *pool);
    if (!pool) return error_memory(error, "a thread pool");
    pool->threads = threads;
    pool->helpers = memory_zeroed((size_t)threads, sizeof *pool->helpers);
    if (!pool->helpers) {
        memory_free(pool);
        return error_memory(error, "a thread pool");
    }
    int code = start_helpers(pool);
    if (code) {
        stpn_pool_free(pool);
        return error_system(error, code, "cannot start %d threads", threads);
    }
    *out = pool;
    return STPN_OK;
}

void stpn_pool_free(stpn_pool *pool)
{
    if (!pool) return;
    /* After a fork the helpers live in the parent only: there is nothing to stop here. */
    if (pool->process == getpid()) stop_helpers(pool);
    memory_free(pool->helpers);
    memory_free(pool);
}

int stpn_pool_threads(const stpn_pool *pool)
{
    return pool ? pool->threads : 1;
}

void pool_run(stpn_pool *pool, int count, int workers, pool_task task, void *context)
{
    if (!pool || pool->threads == 1 || workers <= 1 || count <= 1) {
        for (int turn = 0; turn < count; turn++) task(context, turn, 0);
        return;
    }
    /* In a forked child start anew; with fewer helpers than wished the work still gets done. */
    if (pool->process != getpid()) (void)start_helpers(pool);
    pool->task = task;
    pool->context = context;
    pool->count = count;
    pool->workers = workers;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->active, pool->started);
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->round, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    take_turns(pool, 0);
    for (int spin = 0; spin < SPINS && atomic_load(&pool->active) > 0; spin++) relax();
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->active) > 0) pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
