/* Lists of seeds: "0-4", "0,2,5", "0-2,7". */
#ifndef STPN_CLI_SEEDS_H
#define STPN_CLI_SEEDS_H

#include <stdint.h>

typedef struct seed_list {
    uint64_t *seeds; // (count)
    int count, capacity;
} seed_list;

/* 0, or the code to exit with after a message that `place` starts ("train: --seeds"). seeds_free in any case. */
int read_seeds(seed_list *list, const char *text, const char *place);
void seeds_free(seed_list *list);

#endif
