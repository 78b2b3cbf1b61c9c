/* What this machine can do at most: fused multiply-adds, and bytes read, and read and written, in each cache and in memory,
 * on one thread and on several. Usage: bench_ceilings [--threads N] [--quick]; one JSON document.
 *
 * Every thread has a buffer of its own. A rate is that of all threads together, from the first one's begin to the last
 * one's end, and the best of ROUNDS: a ceiling is what can be reached, not what is usual. */
#include "bench/ceilings.h"

#include "base/machine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 25, THREADS_MOST = 256 };

typedef enum job_kind { MULTIPLY_ADD, READ, UPDATE, TRIAD } job_kind;

extern const ceiling_loops ceiling_loops_portable;
#ifdef STPN_HAVE_AVX2
extern const ceiling_loops ceiling_loops_avx2;
#endif
#ifdef STPN_HAVE_AVX512
extern const ceiling_loops ceiling_loops_avx512;
#endif
#ifdef STPN_HAVE_NEON
extern const ceiling_loops ceiling_loops_neon;
#endif

/* The index-th that this processor runs, the widest first, or NULL. */
static const ceiling_loops *loops_at(int index)
{
    int seen = 0;
#ifdef STPN_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && seen++ == index)
        return &ceiling_loops_avx512;
#endif
#ifdef STPN_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && seen++ == index) return &ceiling_loops_avx2;
#endif
#ifdef STPN_HAVE_NEON
    if (seen++ == index) return &ceiling_loops_neon;
#endif
    return seen == index ? &ceiling_loops_portable : NULL;
}

/* ----------------------------------------------------------------------------------------------------------- caches */

/* Bytes of the data or unified cache of `level`, 0 where there is none or nobody knows. */
static size_t cache_bytes(int level)
{
    for (int index = 0; index < 16; index++) {
        char path[96], type[32] = "", unit = 'K';
        int found = 0;
        unsigned long size = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", index);
        FILE *file = fopen(path, "re");
        if (!file) break;
        int read = fscanf(file, "%d", &found);
        fclose(file);
        if (read != 1 || found != level) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", index);
        if ((file = fopen(path, "re"))) {
            read = fscanf(file, "%31s", type);
            fclose(file);
        }
        if (read != 1 || strcmp(type, "Instruction") == 0) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        if (!(file = fopen(path, "re"))) continue;
        read = fscanf(file, "%lu%c", &size, &unit);
        fclose(file);
        if (read >= 1) return size * (unit == 'M' ? (size_t)1 << 20 : (size_t)1 << 10);
    }
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    long size = sysconf(names[level - 1]);
    if (size > 0) return (size_t)size;
#endif
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------ threads */

typedef struct job {
    const ceiling_loops *loops;
    job_kind kind;
    size_t bytes;  // of one thread's buffer
    int64_t turns; // passes over it, or turns of the multiply-add
    pthread_barrier_t *barrier;
    double begin[ROUNDS], end[ROUNDS]; // seconds
    float kept;                        // so that no sum is left out
    int failed;
} job;

static void run_once(job *j, float *values)
{
    size_t count = j->bytes / sizeof *values;
    if (j->kind == MULTIPLY_ADD) j->kept += j->loops->multiply_add(j->turns);
    else if (j->kind == READ) j->kept += j->loops->read(values, count, j->turns);
    else if (j->kind == UPDATE) j->loops->update(values, count, j->turns);
    else j->loops->triad(values, count, j->turns);
}

/* Pages of the buffer come from its own thread, and large ones where they are to be had: a page's address is no part of
 * a bandwidth. */
static void *run_job(void *context)
{
    job *j = context;
    float *values = NULL;
    if (j->bytes) {
        void *pages = mmap(NULL, j->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) j->failed = 1;
        else {
#ifdef MADV_HUGEPAGE
            (void)madvise(pages, j->bytes, MADV_HUGEPAGE);
#endif
            memset(pages, 0, j->bytes);
            values = pages;
        }
    }
    for (int round = -1; round < ROUNDS; round++) {
        pthread_barrier_wait(j->barrier);
        double begin = machine_seconds();
        if (!j->failed) run_once(j, values);
        if (round < 0) continue; // the first warms up
        j->begin[round] = begin;
        j->end[round] = machine_seconds();
    }
    if (values) munmap(values, j->bytes);
    return NULL;
}

/* Seconds of the best round of `threads` threads. */
static double best_round(const job *like, int threads)
{
    job jobs[THREADS_MOST];
    pthread_t handles[THREADS_MOST];
    pthread_barrier_t barrier;
    double best = 0;
    if (pthread_barrier_init(&barrier, NULL, (unsigned)threads) != 0) {
        fprintf(stderr, "bench_ceilings: threads cannot be brought together\n");
        exit(3);
    }
    for (int i = 0; i < threads; i++) {
        jobs[i] = *like;
        jobs[i].barrier = &barrier;
        if (i > 0 && pthread_create(&handles[i], NULL, run_job, &jobs[i]) != 0) {
            /* Those that wait at the barrier would wait for ever. */
            fprintf(stderr, "bench_ceilings: thread %d cannot be started\n", i);
            exit(3);
        }
    }
    run_job(&jobs[0]);
    for (int i = 1; i < threads; i++) pthread_join(handles[i], NULL);
    pthread_barrier_destroy(&barrier);
    for (int i = 0; i < threads; i++)
        if (jobs[i].failed) {
            fprintf(stderr, "bench_ceilings: no memory for %zu bytes\n", like->bytes);
            exit(3);
        }
    for (int round = 0; round < ROUNDS; round++) {
        double begin = jobs[0].begin[round], end = jobs[0].end[round];
        for (int i = 1; i < threads; i++) {
            if (jobs[i].begin[round] < begin) begin = jobs[i].begin[round];
            if (jobs[i].end[round] > end) end = jobs[i].end[round];
        }
        if (round == 0 || end - begin < best) best = end - begin;
    }
    return best;
}

/* What `threads` threads do in a nanosecond, `per_turn` each in a turn. */
static double rate(job like, int threads, double per_turn, double seconds)
{
    double taken = 0;
    like.turns = 1;
    while ((taken = best_round(&like, threads)) < seconds / 16) like.turns *= 4;
    like.turns = (int64_t)((double)like.turns * seconds / taken) + 1;
    taken = best_round(&like, threads);
    return 1e-9 * per_turn * (double)like.turns * threads / taken;
}

/* ------------------------------------------------------------------------------------------------------------- report */

typedef struct level {
    const char *name;
    size_t bytes; // of all threads' buffers; of each one's where `own`
    int own;      // a cache of each core
} level;

static void report_bandwidths(const level *levels, int count, int threads, double seconds)
{
    for (int i = 0; i < count; i++) {
        if (!levels[i].bytes) continue;
        size_t bytes = levels[i].own ? levels[i].bytes : levels[i].bytes / (size_t)threads;
        job like = {.loops = loops_at(0), .bytes = bytes / CEILING_STRIDE * CEILING_STRIDE};
        like.kind = READ;
        double read = rate(like, threads, (double)like.bytes, seconds);
        like.kind = UPDATE;
        double update = rate(like, threads, 2.0 * (double)like.bytes, seconds);
        like.kind = TRIAD;
        size_t part = like.bytes / 3 / CEILING_STRIDE * CEILING_STRIDE;
        double triad = rate(like, threads, 3.0 * (double)part, seconds);
        printf(",\n    {\"what\": \"bandwidth\", \"level\": \"%s\", \"threads\": %d, \"bytes\": %zu, "
               "\"read_gb_s\": %.2f, \"update_gb_s\": %.2f, \"triad_gb_s\": %.2f}",
               levels[i].name, threads, like.bytes, read, update, triad);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    int threads = 2, quick = 0, right = 1;
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--quick") == 0) quick = 1;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            long given = strtol(argv[++i], &end, 10);
            right &= *end == 0 && given >= 1 && given <= THREADS_MOST;
            threads = (int)given;
        } else right = 0;
    }
    if (!right) {
        fprintf(stderr, "usage: bench_ceilings [--threads N] [--quick], N from 1 to %d\n", THREADS_MOST);
        return 2;
    }
    double seconds = quick ? 0.0005 : 0.004;
    size_t l1 = cache_bytes(1), l2 = cache_bytes(2), l3 = cache_bytes(3);
    size_t outside = 4 * (l3 ? l3 : l2), least = (size_t)(quick ? 8 : 256) << 20;
    /* Half of a cache of one's own; a quarter of the shared one, of which others use their part, but more than fits into
     * the second level. */
    size_t shared = l3 / 4 > 2 * l2 * (size_t)threads ? l3 / 4 : 2 * l2 * (size_t)threads;
    const level levels[] = {{"L1", l1 / 2, 1},
                            {"L2", l2 / 2, 1},
                            {"L3", l3 >= shared ? shared : 0, 0},
                            {"memory", quick || outside < least ? least : outside, 0}};
    printf("{\n  \"caches\": {\"L1\": %zu, \"L2\": %zu, \"L3\": %zu},\n  \"rows\": [", l1, l2, l3);
    int counts[] = {1, threads};
    for (int c = 0; c < (threads > 1 ? 2 : 1); c++) {
        for (int i = 0; loops_at(i); i++) {
            const ceiling_loops *loops = loops_at(i);
            job like = {.loops = loops, .kind = MULTIPLY_ADD};
            double operations = 2.0 * loops->sums * loops->width;
            printf("%s\n    {\"what\": \"multiply_add\", \"kernel\": \"%s\", \"threads\": %d, \"gflops\": %.2f}",
                   c || i ? "," : "", loops->name, counts[c], rate(like, counts[c], operations, seconds));
            fflush(stdout);
        }
        report_bandwidths(levels, sizeof levels / sizeof *levels, counts[c], seconds);
    }
    printf("\n  ]\n}\n");
    return 0;
}
