/* Makes chosen allocations and system calls fail, and counts what is left allocated.
 *
 * A test executable links tests/support/failing.c, the stpn objects (static, no -flto) and Jansson, with
 *
 *   -Wl,--wrap=aligned_alloc,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
 *   -Wl,--wrap=write,--wrap=fsync,--wrap=rename,--wrap=close,--wrap=open
 *
 * What it links statically then goes through here; calls inside shared libraries (libc, cmocka) do not, and a block of
 * theirs that is freed here is let through uncounted. Works under AddressSanitizer and its leak check. */
#ifndef STPN_TESTS_FAILING_H
#define STPN_TESTS_FAILING_H

#include <stddef.h>

typedef enum failing_call {
    FAILING_OPEN,
    FAILING_WRITE,
    FAILING_FSYNC,
    FAILING_RENAME,
    FAILING_CLOSE,
    FAILING_CALL_COUNT
} failing_call;

/* Nothing fails and every count but that of live blocks starts at 0. */
void failing_reset(void);

/* The n-th allocation from now fails, once; 0: none does. Counts anew. */
void failing_set_allocation(long n);
/* The n-th allocation from now fails and so does every one after it. Counts anew. */
void failing_set_allocations_from(long n);
/* Allocations tried since the last of the three calls above. */
long failing_allocations(void);
/* Blocks allocated here and not yet freed. */
long failing_live(void);

/* The n-th call of this kind from now fails, once, with errno `code`; a failing close has closed, like the system's.
 * 0: none does. Counts anew. */
void failing_set_call(failing_call kind, long n, int code);
/* Calls of this kind since failing_reset or failing_set_call. */
long failing_calls(failing_call kind);

/* Writes take at most `bytes` at a time, as a signal or a pipe makes them; 0: all. */
void failing_set_short_writes(size_t bytes);
/* After `bytes` more bytes the disk is full: a write is cut short there, the next one gives ENOSPC; -1: never. */
void failing_set_disk(long bytes);

/* Jansson's allocations go through here too, until the process ends. */
void failing_use_for_jansson(void);

#endif
