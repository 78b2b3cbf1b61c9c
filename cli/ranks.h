/* The processes that mpirun has started, for stpn train; and who this one is among them. */
#ifndef STPN_CLI_RANKS_H
#define STPN_CLI_RANKS_H

#include <stpn/stpn.h>

/* As the launcher says in the environment: 0 of 1 where there is none. */
typedef struct rank_place {
    int rank, count;
} rank_place;

rank_place ranks_in_environment(void);

/* This process's place among them, and what it has handed over since it was opened. */
typedef struct rank_link {
    stpn_ranks ranks; // count 1: it is alone
    int64_t sent, received, sends, receives;
    double seconds; // in them, waiting for others among it
    int opened;
} rank_link;

/* Whether this build can open a link to others. */
int ranks_possible(void);
/* Returns the code to exit with, 0 unless it fails. After ranks_close no rank can be reached. */
int ranks_open(rank_link *link);
void ranks_count_anew(rank_link *link);
void ranks_close(rank_link *link);

#endif
