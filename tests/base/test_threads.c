#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/threads.h"
#include "support/effort.h"

enum { CAN_FORK = !LOOKS_FOR_RACES }; /* ThreadSanitizer knows no threads started in a forked child */

enum { MOST_TURNS = 5000 };

/* What a job did: how often each turn ran, and which workers took part. */
typedef struct record {
    atomic_int turns[MOST_TURNS];
    atomic_int workers[256];
    atomic_int strangers; /* turns or workers out of range */
    int count, most_workers;
} record;

static void note(void *context, int turn, int worker)
{
    record *seen = context;
    if (turn < 0 || turn >= seen->count || worker < 0 || worker >= seen->most_workers) {
        atomic_fetch_add(&seen->strangers, 1);
        return;
    }
    atomic_fetch_add(&seen->turns[turn], 1);
    atomic_fetch_add(&seen->workers[worker], 1);
}

/* 1 where every turn ran exactly once, by workers that may. */
static int run_once(stpn_pool *pool, record *seen, int count, int workers)
{
    int threads = stpn_pool_threads(pool);
    memset(seen, 0, sizeof *seen);
    seen->count = count;
    seen->most_workers = workers < 1 ? 1 : workers < threads ? workers : threads;
    pool_run(pool, count, workers, note, seen);
    if (atomic_load(&seen->strangers)) return 0;
    for (int i = 0; i < MOST_TURNS; i++)
        if (atomic_load(&seen->turns[i]) != (i < count)) return 0;
    return 1;
}

static stpn_pool *new_pool(int threads)
{
    stpn_pool *pool = NULL;
    stpn_error error = {""};
    assert_int_equal(stpn_pool_create(&pool, threads, &error), STPN_OK);
    assert_non_null(pool);
    assert_string_equal(error.message, "");
    return pool;
}

static void every_turn_runs_once(void **state)
{
    (void)state;
    static const int thread_counts[] = {1, 2, 3, 4, 7, 16, 33},
                     counts[] = {0, 1, 2, 3, 5, 16, 31, 100, 1000, MOST_TURNS};
    static record seen;
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++) {
        stpn_pool *pool = new_pool(thread_counts[t]);
        assert_int_equal(stpn_pool_threads(pool), thread_counts[t]);
        for (int round = 0; round < 5; round++)
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                assert_true(run_once(pool, &seen, counts[c], thread_counts[t]));
        stpn_pool_free(pool);
    }
}

static void at_most_the_given_workers_take_part(void **state)
{
    (void)state;
    static record seen;
    stpn_pool *pool = new_pool(6);
    for (int workers = -1; workers <= 9; workers++)
        for (int round = 0; round < 20; round++) assert_true(run_once(pool, &seen, 200, workers));
    stpn_pool_free(pool);
}

static void note_order(void *context, int turn, int worker)
{
    int *next = context;
    assert_int_equal(worker, 0);
    assert_int_equal(turn, *next);
    ++*next;
}

static void without_a_pool_turns_run_in_order(void **state)
{
    (void)state;
    int next = 0;
    pool_run(NULL, 1000, 8, note_order, &next);
    assert_int_equal(next, 1000);
    assert_int_equal(stpn_pool_threads(NULL), 1);
    pool_run(NULL, 0, 8, note_order, &next);
    assert_int_equal(next, 1000);
    stpn_pool *pool = new_pool(1);
    next = 0;
    pool_run(pool, 1000, 8, note_order, &next);
    assert_int_equal(next, 1000);
    stpn_pool_free(pool);
}

static void meet(void *context, int turn, int worker)
{
    (void)turn;
    (void)worker;
    pthread_barrier_wait(context);
}

/* Turns that wait for each other end only if each has a thread of its own. */
static void threads_run_at_the_same_time(void **state)
{
    (void)state;
    stpn_pool *pool = new_pool(4);
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
    alarm(60);
    for (int round = 0; round < 50; round++) pool_run(pool, 4, 4, meet, &barrier);
    alarm(0);
    pthread_barrier_destroy(&barrier);
    stpn_pool_free(pool);
}

typedef struct lateness {
    atomic_int started, ended;
} lateness;

/* Two turns that start together; the helper's ends late. */
static void come_late(void *context, int turn, int worker)
{
    (void)turn;
    lateness *late = context;
    atomic_fetch_add(&late->started, 1);
    while (atomic_load(&late->started) < 2) usleep(10);
    if (worker != 0) usleep(30000);
    atomic_fetch_add(&late->ended, 1);
}

static void late_turns_are_waited_for(void **state)
{
    (void)state;
    stpn_pool *pool = new_pool(2);
    alarm(60);
    for (int round = 0; round < 5; round++) {
        lateness late = {0};
        pool_run(pool, 2, 2, come_late, &late);
        assert_int_equal(atomic_load(&late.ended), 2);
    }
    alarm(0);
    stpn_pool_free(pool);
}

typedef struct sum {
    long parts[8]; /* plain memory: the pool alone must order its reads and writes */
} sum;

static void add_turn(void *context, int turn, int worker)
{
    (void)worker;
    sum *total = context;
    total->parts[turn] += turn + 1;
}

static void thousands_of_small_jobs(void **state)
{
    (void)state;
    enum { JOBS = 20000 };
    stpn_pool *pool = new_pool(3);
    sum total = {{0}};
    alarm(120);
    for (int job = 0; job < JOBS; job++) {
        int count = job % 9;
        pool_run(pool, count, 3, add_turn, &total);
        /* Now and then long enough for the helpers to fall asleep. */
        if (job % 2000 == 0) usleep(2000);
    }
    alarm(0);
    for (int turn = 0; turn < 8; turn++) {
        long times = 0;
        for (int job = 0; job < JOBS; job++) times += job % 9 > turn;
        assert_int_equal(total.parts[turn], times * (turn + 1));
    }
    stpn_pool_free(pool);
}

static void pools_come_and_go(void **state)
{
    (void)state;
    static record seen;
    stpn_pool *kept = new_pool(2);
    alarm(120);
    for (int i = 0; i < 200; i++) {
        stpn_pool *pool = new_pool(1 + i % 5);
        if (i % 3) assert_true(run_once(pool, &seen, 50, 5));
        stpn_pool_free(pool);
        assert_true(run_once(kept, &seen, 7, 2));
    }
    alarm(0);
    stpn_pool_free(kept);
    stpn_pool_free(NULL);
}

/* ---------------------------------------------------------------------------------------------------------- forking */

/* The child's exit status: 0 where it could use, leave and make pools. */
static int use_in_child(stpn_pool *pool, int depth)
{
    static record seen;
    alarm(60);
    for (int round = 0; round < 100; round++)
        if (!run_once(pool, &seen, round * 7, 4)) return 1;
    if (depth > 0) {
        pid_t grandchild = fork();
        if (grandchild < 0) return 2;
        if (grandchild == 0) _exit(use_in_child(pool, depth - 1));
        int result = -1;
        if (waitpid(grandchild, &result, 0) != grandchild || result != 0) return 3;
        if (!run_once(pool, &seen, 300, 4)) return 4;
    }
    stpn_pool_free(pool);
    stpn_pool *own = NULL;
    if (stpn_pool_create(&own, 3, NULL) != STPN_OK) return 5;
    int good = run_once(own, &seen, 100, 3);
    stpn_pool_free(own);
    return good ? 0 : 6;
}

static void assert_child_succeeds(pid_t child)
{
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void a_forked_child_starts_the_pool_anew(void **state)
{
    (void)state;
    if (!CAN_FORK) skip();
    static record seen;
    stpn_pool *pool = new_pool(4);
    for (int round = 0; round < 10; round++) {
        assert_true(run_once(pool, &seen, 100, 4));
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) _exit(use_in_child(pool, 1));
        /* Both use their copy at the same time. */
        for (int job = 0; job < 50; job++) assert_true(run_once(pool, &seen, 100, 4));
        assert_child_succeeds(child);
        assert_true(run_once(pool, &seen, 100, 4));
    }
    stpn_pool_free(pool);
}

static void a_forked_child_may_free_an_unused_pool(void **state)
{
    (void)state;
    if (!CAN_FORK) skip();
    static record seen;
    stpn_pool *pool = new_pool(4);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        stpn_pool_free(pool);
        _exit(0);
    }
    assert_child_succeeds(child);
    assert_true(run_once(pool, &seen, 100, 4));
    stpn_pool_free(pool);
}

/* ----------------------------------------------------------------------------------------------------------- limits */

static void invalid_counts_are_told(void **state)
{
    (void)state;
    static const int wrong[] = {-1, -1000, 257, 100000};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        stpn_pool *pool = (stpn_pool *)&wrong;
        stpn_error error = {""};
        char expected[128];
        snprintf(expected, sizeof expected, "threads is %d, expected 0 (one per processor) to 256", wrong[i]);
        assert_int_equal(stpn_pool_create(&pool, wrong[i], &error), STPN_ERROR_INPUT);
        assert_string_equal(error.message, expected);
        assert_null(pool);
        assert_int_equal(stpn_pool_create(&pool, wrong[i], NULL), STPN_ERROR_INPUT);
    }
}

static void zero_means_one_per_processor(void **state)
{
    (void)state;
    stpn_pool *pool = new_pool(0);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    assert_int_equal(stpn_pool_threads(pool), processors > 256 ? 256 : processors);
    stpn_pool_free(pool);
}

static void the_largest_pool_works(void **state)
{
    (void)state;
    static record seen;
    stpn_pool *pool = new_pool(256);
    alarm(120);
    assert_true(run_once(pool, &seen, MOST_TURNS, 256));
    alarm(0);
    stpn_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_turn_runs_once),
        cmocka_unit_test(at_most_the_given_workers_take_part),
        cmocka_unit_test(without_a_pool_turns_run_in_order),
        cmocka_unit_test(threads_run_at_the_same_time),
        cmocka_unit_test(late_turns_are_waited_for),
        cmocka_unit_test(thousands_of_small_jobs),
        cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(a_forked_child_starts_the_pool_anew),
        cmocka_unit_test(a_forked_child_may_free_an_unused_pool),
        cmocka_unit_test(invalid_counts_are_told),
        cmocka_unit_test(zero_means_one_per_processor),
        cmocka_unit_test(the_largest_pool_works),
    };
    return cmocka_run_group_tests_name("base/threads", tests, NULL, NULL);
}
