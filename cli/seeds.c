#include "cli/seeds.h"

#include "base/memory.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

enum { SEEDS_MOST = 10000 };

static int complain_of_seeds(const char *place, const char *text)
{
    say("%s is \"%s\", expected seeds such as 0-4 or 0,2,5", place, text);
    return EXIT_WRONG_USE;
}

static int add_seed(seed_list *list, int64_t seed, const char *place)
{
    for (int i = 0; i < list->count; i++) {
        if (list->seeds[i] != (uint64_t)seed) continue;
        say("%s names seed %" PRId64 " twice", place, seed);
        return EXIT_WRONG_USE;
    }
    if (list->count == SEEDS_MOST) {
        say("%s names more than %d seeds", place, (int)SEEDS_MOST);
        return EXIT_WRONG_USE;
    }
    if (list->count == list->capacity) {
        int capacity = 2 * list->capacity + 16;
        uint64_t *larger =
            memory_resize(list->seeds, (size_t)list->count * sizeof *larger, (size_t)capacity * sizeof *larger);
        if (!larger) return complain_of_memory();
        list->seeds = larger;
        list->capacity = capacity;
    }
    list->seeds[list->count++] = (uint64_t)seed;
    return EXIT_DONE;
}

int read_seeds(seed_list *list, const char *text, const char *place)
{
    char part[64];
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        int64_t first, last;
        if (length >= sizeof part) break;
        memcpy(part, at, length);
        part[length] = 0;
        char *dash = strchr(part, '-');
        if (dash) *dash = 0;
        if (!read_integer(part, 0, INT64_MAX - 1, &first)) break;
        last = first;
        if (dash && !read_integer(dash + 1, first, INT64_MAX - 1, &last)) break;
        for (int64_t seed = first; seed <= last; seed++) {
            int code = add_seed(list, seed, place);
            if (code) return code;
        }
        at += length;
        if (!*at) return EXIT_DONE;
    }
    return complain_of_seeds(place, text);
}

void seeds_free(seed_list *list)
{
    memory_free(list->seeds);
    *list = (seed_list){0};
}
