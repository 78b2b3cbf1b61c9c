#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64, PAGES = 1 << 20, MUCH = 1 << 30 };

/* The system promises more than it has, and kills who uses it: what cannot fit is refused here. */
static size_t physical_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : SIZE_MAX;
}

/* Pages that go back to the system read as zeros, and take memory only once they are written, which a rank does to its own
 * rows alone. */
static void make_zero(char *block, size_t bytes)
{
    long size = sysconf(_SC_PAGESIZE);
    if (bytes >= PAGES && size > 0) {
        size_t page = (size_t)size, head = (page - (uintptr_t)block % page) % page,
               whole = (bytes - head) / page * page;
        char *from = block + head, *last = from + whole - 1;
        *from = *last = 1; // emulators and huge pages may take the call for done and leave the bytes
        if (madvise(from, whole, MADV_DONTNEED) == 0 && *(volatile char *)from == 0 && *(volatile char *)last == 0) {
            memset(block, 0, head);
            memset(last + 1, 0, bytes - head - whole);
            return;
        }
    }
    memset(block, 0, bytes);
}

void *memory_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - ALIGNMENT) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT;
    if (bytes > MUCH && bytes > physical_memory()) return NULL;
    void *block = aligned_alloc(ALIGNMENT, bytes);
    if (block) make_zero(block, bytes);
    return block;
}

void *memory_resize(void *block, size_t old_bytes, size_t new_bytes)
{
    void *larger = memory_zeroed(new_bytes, 1);
    if (!larger) return NULL;
    if (old_bytes) memcpy(larger, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    memory_free(block);
    return larger;
}

void memory_free(void *block)
{
    free(block);
}

char *memory_string(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = memory_zeroed(bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}
