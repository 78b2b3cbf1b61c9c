/* Where a run's time goes. Each thread has a lane, which knows what its thread is at and since when: a clock is read
 * where that changes, so that the parts of a lane add up to the time of the run. A lane that is NULL reads no clock. */
#ifndef STPN_TRAIN_PROFILE_H
#define STPN_TRAIN_PROFILE_H

#include <stdalign.h>
#include <stdint.h>
#include <stpn/stpn.h>

/* In the order in which they are told; their names and meanings: docs/performance.md. */
typedef enum profile_part {
    PROFILE_START,
    PROFILE_DATA,
    PROFILE_ENCODER,
    PROFILE_FORWARD,
    PROFILE_READ_OUT,
    PROFILE_BACKWARD,
    PROFILE_SUM,
    PROFILE_RANKS,
    PROFILE_OPTIMISER,
    PROFILE_EVALUATION,
    PROFILE_FILES,
    PROFILE_WAITING,
    PROFILE_REST,
    PROFILE_PARTS
} profile_part;

typedef struct profile_lane {
    alignas(64) int64_t since; // nanoseconds; no two threads write the same cache line
    int64_t spent[PROFILE_PARTS];
    profile_part part; // what it is at
    int tests;         // all that is not waiting is evaluation
} profile_lane;

typedef struct profile profile;

/* From now on, for so many threads (0: one per processor); the calling one is at PROFILE_START, others wait. */
stpn_status profile_create(profile **out, int threads, stpn_error *error);
void profile_free(profile *p);
/* Lane of a worker of the pool; NULL where there is none, or no profile. */
profile_lane *profile_lane_of(profile *p, int worker);

/* While a test goes on its data, acting and the like are PROFILE_EVALUATION. Called while no other thread is at work. */
void profile_test(profile *p, int tests);

void profile_change(profile_lane *lane, profile_part part);

/* What comes next is `part`; returns what was before. */
static inline profile_part profile_enter(profile_lane *lane, profile_part part)
{
    if (!lane) return PROFILE_REST;
    profile_part before = lane->part;
    profile_change(lane, part);
    return before;
}

/* Nanoseconds of one part were another's. */
void profile_move(profile_lane *lane, profile_part from, profile_part to, int64_t time);

/* Tells the parts, once no other thread is at work; `elsewhere`: seconds that another process was at work. */
void profile_tell(profile *p, double elsewhere, int64_t updates, const stpn_run_options *options);

#endif
