#include "train/profile.h"

#include "base/error.h"
#include "base/machine.h"
#include "base/memory.h"

#include <time.h>

struct profile {
    int threads;
    profile_lane *lane; // (threads)
};

static const char *const names[PROFILE_PARTS] = {
    "start", "data",      "encoder",    "forward", "read-out and loss", "backward", "sum of gradients",
    "ranks", "optimiser", "evaluation", "files",   "waiting",           "rest",
};

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

stpn_status profile_create(profile **out, int threads, stpn_error *error)
{
    *out = NULL;
    profile *p = memory_zeroed(1, sizeof *p);
    if (!p) return error_memory(error, "a profile");
    p->threads = threads > 0 ? threads : machine_processors();
    p->lane = memory_zeroed((size_t)p->threads, sizeof *p->lane);
    if (!p->lane) {
        memory_free(p);
        return error_memory(error, "a profile");
    }
    int64_t begin = now();
    for (int i = 0; i < p->threads; i++) {
        p->lane[i].since = begin;
        p->lane[i].part = i == 0 ? PROFILE_START : PROFILE_WAITING;
    }
    *out = p;
    return STPN_OK;
}

void profile_free(profile *p)
{
    if (!p) return;
    memory_free(p->lane);
    memory_free(p);
}

profile_lane *profile_lane_of(profile *p, int worker)
{
    return p && worker < p->threads ? &p->lane[worker] : NULL;
}

void profile_test(profile *p, int tests)
{
    for (int i = 0; p && i < p->threads; i++) p->lane[i].tests = tests;
}

static void change_at(profile_lane *lane, profile_part part, int64_t time)
{
    lane->spent[lane->part] += time - lane->since;
    lane->since = time;
    lane->part = lane->tests && part != PROFILE_WAITING ? PROFILE_EVALUATION : part;
}

void profile_change(profile_lane *lane, profile_part part)
{
    change_at(lane, part, now());
}

void profile_move(profile_lane *lane, profile_part from, profile_part to, int64_t time)
{
    if (!lane || lane->tests) return;
    lane->spent[from] -= time;
    lane->spent[to] += time;
}

void profile_tell(profile *p, double elsewhere, int64_t updates, const stpn_run_options *options)
{
    stpn_profile told = {
        .threads = p->threads, .part_count = PROFILE_PARTS, .updates = updates, .elsewhere = elsewhere};
    stpn_profile_part parts[PROFILE_PARTS];
    int64_t end = now();
    for (int i = 0; i < p->threads; i++) change_at(&p->lane[i], p->lane[i].part, end);
    for (int part = 0; part < PROFILE_PARTS; part++) {
        int64_t others = 0;
        for (int i = 1; i < p->threads; i++) others += p->lane[i].spent[part];
        double mean = p->threads > 1 ? (double)others / (p->threads - 1) : 0;
        parts[part] = (stpn_profile_part){names[part], 1e-9 * (double)p->lane[0].spent[part], 1e-9 * mean};
    }
    told.parts = parts;
    options->profile(options->context, &told);
}
