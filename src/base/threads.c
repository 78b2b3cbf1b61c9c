#include "base/threads.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 10000, SPINS_ALONE = 2000, SPINS_APART = 100 };

/* What a worker takes first, so that neighbouring turns mostly meet in one cache; the others take from it when they have
 * done their own. */
typedef struct share {
    alignas(64) atomic_int next; // no two threads' cache lines
    int end;
} share;

typedef struct helper {
    stpn_pool *pool;
    pthread_t thread;
    int worker;
    atomic_int asleep; // or about to be
    pthread_cond_t wake;
} helper;

struct stpn_pool {
    int threads;
    int started; /* helpers that run in this process */
    pid_t process;
    helper *helpers; // (threads - 1)
    share *shares;   // (threads)
    pthread_mutex_t mutex;
    pthread_cond_t done;
    int quit; /* under mutex */
    /* The job. `call` is its number, and below CALL_STEP who takes part: a change is the signal to start. The rest is
     * written before, and stays until all who take part are done. */
    atomic_uint_fast64_t call;
    pool_task task;
    void *context;
    int workers;
    atomic_int active;  // helpers that are not done
    atomic_int waiting; // the caller is asleep, or about to be
};

enum { CALL_STEP = 2 * MAX_THREADS };

static void take_turns(stpn_pool *pool, int worker)
{
    for (int i = 0; i < pool->workers; i++) {
        share *from = &pool->shares[(worker + i) % pool->workers];
        for (;;) {
            int turn = atomic_fetch_add(&from->next, 1);
            if (turn >= from->end) break;
            pool->task(pool->context, turn, worker);
        }
    }
}

/* After a while another thread may have the processor: there may be more of them than processors. */
static void relax(int spin)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spin >= SPINS_ALONE && spin % SPINS_APART == 0) sched_yield();
}

/* The next call after `seen`, or 0 where there is none any more. Who goes to sleep says so before looking once more, and who
 * calls looks for sleepers afterwards: one of the two sees the other. */
static uint_fast64_t next_call(helper *self, uint_fast64_t seen)
{
    stpn_pool *pool = self->pool;
    /* Updates of a small network follow each other within microseconds, forward and backward of PyTorch's layer within a hundred:
     * a short spin saves the sleep. */
    for (int spin = 0; spin < SPINS; spin++) {
        uint_fast64_t call = atomic_load(&pool->call);
        if (call != seen) return call;
        relax(spin);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&self->asleep, 1);
    while (atomic_load(&pool->call) == seen && !pool->quit) pthread_cond_wait(&self->wake, &pool->mutex);
    atomic_store(&self->asleep, 0);
    uint_fast64_t call = pool->quit ? 0 : atomic_load(&pool->call);
    pthread_mutex_unlock(&pool->mutex);
    return call;
}

static void *helper_main(void *argument)
{
    helper *self = argument;
    stpn_pool *pool = self->pool;
    for (uint_fast64_t call = next_call(self, CALL_STEP); call != 0; call = next_call(self, call)) {
        if (self->worker >= (int)(call % CALL_STEP)) continue; // its job may be over already
        take_turns(pool, self->worker);
        if (atomic_fetch_sub(&pool->active, 1) == 1 && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
    return NULL;
}

static int start_helpers(stpn_pool *pool)
{
    pool->process = getpid();
    pool->started = 0;
    pool->quit = 0;
    atomic_store(&pool->call, CALL_STEP);
    atomic_store(&pool->active, 0);
    atomic_store(&pool->waiting, 0);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < pool->threads - 1; i++) {
        helper *h = &pool->helpers[i];
        *h = (helper){.pool = pool, .worker = i + 1};
        pthread_cond_init(&h->wake, NULL);
        int code = pthread_create(&h->thread, NULL, helper_main, h);
        if (code) {
            pthread_cond_destroy(&h->wake);
            return code;
        }
        pool->started++;
    }
    return 0;
}

static void stop_helpers(stpn_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->quit = 1;
    for (int i = 0; i < pool->started; i++) pthread_cond_signal(&pool->helpers[i].wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) {
        pthread_join(pool->helpers[i].thread, NULL);
        pthread_cond_destroy(&pool->helpers[i].wake);
    }
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->done);
}

stpn_status stpn_pool_create(stpn_pool **out, int threads, stpn_error *error)
{
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "pool is NULL");
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
    pool->shares = memory_zeroed((size_t)threads, sizeof *pool->shares);
    if (!pool->helpers || !pool->shares) {
        memory_free(pool->helpers);
        memory_free(pool->shares);
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
    memory_free(pool->shares);
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
    if (workers > pool->started + 1) workers = pool->started + 1;
    if (workers > count) workers = count;
    pool->task = task;
    pool->context = context;
    pool->workers = workers;
    for (int i = 0; i < workers; i++) {
        atomic_store_explicit(&pool->shares[i].next, (int)((int64_t)count * i / workers), memory_order_relaxed);
        pool->shares[i].end = (int)((int64_t)count * (i + 1) / workers);
    }
    atomic_store(&pool->active, workers - 1);
    uint_fast64_t before = atomic_load(&pool->call);
    atomic_store(&pool->call, before - before % CALL_STEP + CALL_STEP + (uint_fast64_t)workers);
    for (int i = 0; i < workers - 1; i++) {
        if (!atomic_load(&pool->helpers[i].asleep)) continue;
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->helpers[i].wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    take_turns(pool, 0);
    for (int spin = 0; spin < SPINS && atomic_load(&pool->active) > 0; spin++) relax(spin);
    if (atomic_load(&pool->active) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->waiting, 1);
    while (atomic_load(&pool->active) > 0) pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->waiting, 0);
    pthread_mutex_unlock(&pool->mutex);
}
