#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* The linker gives the wrapped calls' originals these names, and sends calls of them to the __wrap functions. */
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
ssize_t __real_write(int fd, const void *data, size_t size);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_close(int fd);
int __real_open(const char *path, int flags, ...);

void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_close(int fd);
int __wrap_open(const char *path, int flags, ...);

/* Live blocks, open addressing. Stored inverted: as pointers they would hide leaks from LeakSanitizer. */
enum { SLOT_BITS = 20, SLOTS = 1 << SLOT_BITS, EMPTY = 0, DELETED = 1 };
static _Atomic uintptr_t slots[SLOTS];
static atomic_long live;

static atomic_long allocations, fail_from, fail_until; /* fails where fail_from <= number <= fail_until */
static atomic_long calls[FAILING_CALL_COUNT], fail_call[FAILING_CALL_COUNT];
static atomic_int fail_code[FAILING_CALL_COUNT];
static atomic_size_t short_writes;
static atomic_long disk = -1;

/* --------------------------------------------------------------------------------------------------------- settings */

static void set_allocations(long from, long until)
{
    atomic_store(&allocations, 0);
    atomic_store(&fail_from, from);
    atomic_store(&fail_until, until);
}

void failing_set_allocation(long n)
{
    set_allocations(n, n);
}

void failing_set_allocations_from(long n)
{
    set_allocations(n, INT32_MAX);
}

long failing_allocations(void)
{
    return atomic_load(&allocations);
}

long failing_live(void)
{
    return atomic_load(&live);
}

void failing_set_call(failing_call kind, long n, int code)
{
    atomic_store(&calls[kind], 0);
    atomic_store(&fail_code[kind], code);
    atomic_store(&fail_call[kind], n);
}

long failing_calls(failing_call kind)
{
    return atomic_load(&calls[kind]);
}

void failing_set_short_writes(size_t bytes)
{
    atomic_store(&short_writes, bytes);
}

void failing_set_disk(long bytes)
{
    atomic_store(&disk, bytes);
}

void failing_reset(void)
{
    set_allocations(0, 0);
    for (int kind = 0; kind < FAILING_CALL_COUNT; kind++) failing_set_call((failing_call)kind, 0, 0);
    failing_set_short_writes(0);
    failing_set_disk(-1);
}

void failing_use_for_jansson(void)
{
    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
}

/* ------------------------------------------------------------------------------------------------------ allocations */

static size_t first_slot(uintptr_t key)
{
    return (size_t)((uint64_t)key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SLOT_BITS));
}

static void *remember(void *block)
{
    if (!block) return NULL;
    uintptr_t key = ~(uintptr_t)block;
    for (size_t i = 0, slot = first_slot(key); i < SLOTS; i++, slot = (slot + 1) % SLOTS) {
        uintptr_t found = atomic_load(&slots[slot]);
        if (found != EMPTY && found != DELETED) continue;
        if (!atomic_compare_exchange_strong(&slots[slot], &found, key)) continue;
        atomic_fetch_add(&live, 1);
        return block;
    }
    fputs("failing.c: more live blocks than it can count\n", stderr);
    abort();
}

/* A block from inside a shared library is in no slot. */
static void forget(void *block)
{
    uintptr_t key = ~(uintptr_t)block;
    for (size_t i = 0, slot = first_slot(key); i < SLOTS; i++, slot = (slot + 1) % SLOTS) {
        uintptr_t found = atomic_load(&slots[slot]);
        if (found == EMPTY) return;
        if (found != key) continue;
        atomic_store(&slots[slot], DELETED);
        atomic_fetch_sub(&live, 1);
        return;
    }
}

static int allocation_fails(void)
{
    long number = atomic_fetch_add(&allocations, 1) + 1;
    long from = atomic_load(&fail_from);
    if (from == 0 || number < from || number > atomic_load(&fail_until)) return 0;
    errno = ENOMEM;
    return 1;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : remember(__real_aligned_alloc(alignment, size));
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : remember(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : remember(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size)
{
    if (allocation_fails()) return NULL;
    /* Forgotten first: once freed, its address may be another thread's next block. */
    if (block) forget(block);
    void *moved = __real_realloc(block, size);
    if (!moved && size) remember(block);
    return remember(moved);
}

void __wrap_free(void *block)
{
    if (block) forget(block);
    __real_free(block);
}

/* ----------------------------------------------------------------------------------------------------- system calls */

static int call_fails(failing_call kind)
{
    if (atomic_fetch_add(&calls[kind], 1) + 1 != atomic_load(&fail_call[kind])) return 0;
    errno = atomic_load(&fail_code[kind]);
    return 1;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (call_fails(FAILING_WRITE)) return -1;
    size_t most = atomic_load(&short_writes);
    if (most && size > most) size = most;
    long room = atomic_load(&disk);
    if (room >= 0) {
        if (room == 0 && size > 0) {
            errno = ENOSPC;
            return -1;
        }
        if (size > (size_t)room) size = (size_t)room;
        atomic_fetch_sub(&disk, (long)size);
    }
    return __real_write(fd, data, size);
}

int __wrap_fsync(int fd)
{
    return call_fails(FAILING_FSYNC) ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    return call_fails(FAILING_RENAME) ? -1 : __real_rename(from, to);
}

int __wrap_close(int fd)
{
    int fails = call_fails(FAILING_CLOSE), code = errno;
    int result = __real_close(fd);
    if (!fails) return result;
    errno = code;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return call_fails(FAILING_OPEN) ? -1 : __real_open(path, flags, mode);
}
