/* Where the time of a run went, kept when the library tells it and printed once the run's other lines are out. */
#ifndef STPN_CLI_PROFILE_H
#define STPN_CLI_PROFILE_H

#include <stpn/stpn.h>

enum { PROFILE_ROWS = 16 };

typedef struct profile_record {
    stpn_profile told; // threads 0: nothing was told
    stpn_profile_part parts[PROFILE_ROWS];
} profile_record;

void profile_keep(profile_record *record, const stpn_profile *told);
/* A table on standard error, or nothing where nothing was told. */
void profile_print(const profile_record *record, const char *folder);

#endif
