/* Rollouts of some steps, in which episodes end and begin. */
#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

#include <string.h>

enum { HALVES = 2 };

/* A turn is what belongs to a chunk between two steps of the environment: what came of the one before, then the next
 * actions. */
typedef struct steps_job {
    rollout *r;
    act_choice choice;
    int first;   // chunk of the half, or of this rank
    int ends;    // a step is to be taken in
    int goes_on; // another one is to be taken
} steps_job;

/* Chunks of half `half`, of which the second may be empty. */
static int half_begin(const rollout *r, int half)
{
    rank_share own = rollout_own(r);
    return own.first + (own.last - own.first + 1) / 2 * half;
}

static int half_end(const rollout *r, int half)
{
    return half == 0 ? half_begin(r, 1) : rollout_own(r).last;
}

static void note_reward(rollout_latest *latest, double reward)
{
    latest->reward[latest->count++ % LATEST_EPISODES] = reward;
}

void rollout_count_episode(rollout *r, int chunk, int b)
{
    rollout_episodes *all = &r->finished[chunk];
    test_sums *test = r->tested ? &r->tested[b] : NULL;
    all->count++;
    all->steps += r->lengths[b];
    all->reward += r->sums[b];
    note_reward(&r->latest[chunk], r->sums[b]);
    if (test && test->episodes < r->wanted) {
        test->episodes++;
        test->steps += r->lengths[b];
        test->reward += r->sums[b];
        test->square += r->sums[b] * r->sums[b];
    }
    r->lengths[b] = 0;
    r->sums[b] = 0;
    r->fresh[b] = 1;
}

static stpn_status take_in(rollout *r, int chunk, int first, int last, stpn_error *error)
{
    stpn_status status = STPN_OK;
    for (int b = first; b < last; b++) {
        r->sums[b] += (double)r->rewards[b];
        r->lengths[b]++;
        r->fresh[b] = 0;
        rollout_scale_reward(r, chunk, b);
    }
    if (r->acting)
        status = actor_record(r->acting, first, last, r->rewards, r->ends, rollout_look(r, first, last), error);
    for (int b = first; b < last && !status; b++) {
        if (!r->ends[b]) continue;
        rollout_count_episode(r, chunk, b);
        status = env_reset(r->env, b, b + 1, r->observations, error);
    }
    return status;
}

static stpn_status act(rollout *r, act_choice choice, int chunk, stpn_error *error)
{
    int first = chunk * r->chunk, last = rollout_chunk_end(r, chunk);
    if (!r->acting) {
        r->policy->act(r->env, r->seed, r->notes, first, last, r->actions);
        return STPN_OK;
    }
    const void *seen = rollout_look(r, first, last);
    rollout_note_observations(r, chunk);
    stpn_status status = r->ppo ? ppo_act(r->ppo, first, last, seen, r->fresh, choice, r->actions, error)
                                : actor_act(r->acting, first, last, seen, r->fresh, choice, r->actions, error);
    for (int b = first; b < last && r->tested && !status; b++)
        if (r->tested[b].episodes < r->wanted)
            r->tested[b].energy += value_read(r->acting->net->kernel, r->acting->energy, (size_t)b);
    return status;
}

void rollout_settle(rollout *r, int chunk)
{
    actor_settle(r->acting, chunk);
    for (int b = chunk * r->chunk; b < rollout_chunk_end(r, chunk); b++) {
        if (r->fresh[b]) actor_restart(r->acting, b, b + 1);
        r->fresh[b] = 0;
    }
}

static stpn_status chunk_turn(const steps_job *job, int chunk, profile_lane *lane, stpn_error *error)
{
    rollout *r = job->r;
    int first = chunk * r->chunk, last = rollout_chunk_end(r, chunk);
    stpn_status status = STPN_OK;
    profile_enter(lane, PROFILE_FORWARD);
    if (job->ends) status = take_in(r, chunk, first, last, error);
    if (job->goes_on && !status) status = act(r, job->choice, chunk, error);
    if (!job->goes_on && !status && r->acting) rollout_settle(r, chunk);
    profile_enter(lane, PROFILE_DATA);
    if (r->acting)
        profile_move(lane, PROFILE_FORWARD, PROFILE_ENCODER, net_take_time(&r->acting->state->encoding[chunk]));
    if (job->goes_on && !status && !r->env->type->begin)
        status = env_step(r->env, first, last, r->actions, r->observations, r->rewards, r->ends, error);
    return status;
}

static void half_task(void *context, int task, int thread)
{
    const steps_job *job = context;
    int chunk = job->first + task;
    chunk_end *end = &job->r->results[chunk];
    profile_lane *lane = profile_lane_of(job->r->profile, thread);
    end->status = chunk_turn(job, chunk, lane, &end->error);
    profile_enter(lane, PROFILE_WAITING);
}

/* All turns of a chunk, whose copies step here: what belongs to it stays in the thread's cache. */
static void whole_task(void *context, int task, int thread)
{
    steps_job job = *(const steps_job *)context;
    int chunk = job.first + task;
    chunk_end *end = &job.r->results[chunk];
    profile_lane *lane = profile_lane_of(job.r->profile, thread);
    end->status = STPN_OK;
    for (int t = 0; t <= job.r->steps && !end->status; t++) {
        job.ends = t > 0;
        job.goes_on = t < job.r->steps;
        end->status = chunk_turn(&job, chunk, lane, &end->error);
    }
    profile_enter(lane, PROFILE_WAITING);
}

/* A turn of every chunk of a half, after its step has come to its end, and before the next one begins. */
static stpn_status half_turn(steps_job *job, int half, stpn_error *error)
{
    rollout *r = job->r;
    int begin = half_begin(r, half), end = half_end(r, half), elsewhere = r->env->type->begin != NULL;
    if (begin == end) return STPN_OK;
    job->first = begin;
    int first = begin * r->chunk, last = rollout_chunk_end(r, end - 1);
    stpn_status status = STPN_OK;
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_DATA);
    if (job->ends && elsewhere) status = env_finish(r->env, first, last, r->observations, r->rewards, r->ends, error);
    if (!status)
        status = rollout_run_chunks(r, begin, end, elsewhere ? r->step_workers : r->workers, half_task, job, error);
    if (!status && job->goes_on && elsewhere) status = r->env->type->begin(r->env, first, last, r->actions, error);
    profile_enter(lane, before);
    return status;
}

/* The first episodes begin, or those that have to begin anew where a run goes on. */
static stpn_status start(rollout *r, stpn_error *error)
{
    if (r->started) return STPN_OK;
    int B = r->env->batch;
    memset(r->fresh, 0, (size_t)B);
    memset(r->lengths, 0, (size_t)B * sizeof *r->lengths);
    memset(r->sums, 0, (size_t)B * sizeof *r->sums);
    if (r->discounted) memset(r->discounted, 0, (size_t)B * sizeof *r->discounted);
    if (r->acting) actor_restart(r->acting, 0, B);
    rank_share own = rollout_own(r);
    int first = own.first * r->chunk, last = own.last > own.first ? rollout_chunk_end(r, own.last - 1) : first;
    stpn_status status = last > first ? env_reset(r->env, first, last, r->observations, error) : STPN_OK;
    r->started = !status;
    return status;
}

/* Of a rollout without an end nothing more than that is told. */
static stpn_status gather_episodes(rollout *r, stpn_error *error)
{
    int64_t count = 0;
    stpn_status status = ranks_gather(r->ranks, r->finished, sizeof *r->finished, r->chunks, 1, error);
    for (int i = 0; i < r->chunks; i++) count += r->finished[i].count;
    if (status || count == 0) return status;
    return ranks_gather(r->ranks, r->latest, sizeof *r->latest, r->chunks, 1, error);
}

stpn_status rollout_play_steps(rollout *r, act_choice choice, stpn_error *error)
{
    steps_job job = {.r = r, .choice = choice};
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_DATA);
    stpn_status status = start(r, error);
    rollout_begin_scaling(r);
    int here = !r->env->type->begin;
    rank_share own = rollout_own(r);
    job.first = own.first;
    if (!status && here) status = rollout_run_chunks(r, own.first, own.last, r->workers, whole_task, &job, error);
    for (int t = 0; t <= r->steps && !status && !here; t++) {
        job.ends = t > 0;
        job.goes_on = t < r->steps;
        for (int half = 0; half < HALVES && !status; half++) status = half_turn(&job, half, error);
    }
    profile_enter(lane, PROFILE_RANKS);
    status = ranks_agree(r->ranks, status, error);
    if (!status) status = gather_episodes(r, error);
    if (!status) status = rollout_end_scaling(r, error);
    profile_enter(lane, before);
    return status;
}

const void *rollout_next(const rollout *r)
{
    if (r->steps == 0) return NULL;
    return r->observed.width ? r->seen : r->observations;
}

void rollout_sum_episodes(const rollout *r, rollout_episodes *sums)
{
    for (int i = 0; i < r->chunks; i++) {
        sums->count += r->finished[i].count;
        sums->steps += r->finished[i].steps;
        sums->reward += r->finished[i].reward;
    }
}

void rollout_forget_episodes(rollout *r)
{
    memset(r->finished, 0, (size_t)r->chunks * sizeof *r->finished);
    for (int i = 0; i < r->chunks; i++) r->latest[i].count = 0;
}

void rollout_add_episodes(rollout *r, rollout_episodes *sums, rollout_latest *latest)
{
    rollout_sum_episodes(r, sums);
    for (int i = 0; i < r->chunks && latest; i++) {
        const rollout_latest *from = &r->latest[i];
        int64_t first = from->count > LATEST_EPISODES ? from->count - LATEST_EPISODES : 0;
        for (int64_t n = first; n < from->count; n++) note_reward(latest, from->reward[n % LATEST_EPISODES]);
    }
    rollout_forget_episodes(r);
}

void rollout_resume(rollout *r)
{
    r->started = !r->env->shape.restarts;
    if (r->started) env_observe(r->env, 0, r->env->batch, r->observations);
}

/* ------------------------------------------------------------------------------------------------------------ to test */

static int is_complete(const rollout *r)
{
    for (int b = 0; b < r->env->batch; b++)
        if (r->tested[b].episodes < r->wanted) return 0;
    return 1;
}

/* Until every copy has had its episodes; what it plays while it waits for the others does not count. */
static stpn_status play_test(rollout *r, act_choice choice, const volatile int *stop, stpn_error *error)
{
    steps_job job = {.r = r, .choice = choice};
    stpn_status status = start(r, error);
    for (int64_t t = 0; !status; t++) {
        job.ends = t > 0;
        job.goes_on = !is_complete(r);
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            return error_set(error, STPN_STOPPED, "stopped in the test");
        for (int half = 0; half < HALVES && !status; half++) status = half_turn(&job, half, error);
        if (!job.goes_on) break;
    }
    return status;
}

stpn_status rollout_test_steps(rollout *r, int episodes, act_choice choice, const volatile int *stop,
                               rollout_result *result, stpn_error *error)
{
    test_sums all = {0};
    r->wanted = episodes;
    r->tested = memory_zeroed((size_t)r->env->batch, sizeof *r->tested);
    if (!r->tested) return error_memory(error, "a test");
    stpn_status status = play_test(r, choice, stop, error);
    for (int b = 0; b < r->env->batch; b++) {
        all.episodes += r->tested[b].episodes;
        all.steps += r->tested[b].steps;
        all.reward += r->tested[b].reward;
        all.square += r->tested[b].square;
        all.energy += r->tested[b].energy;
    }
    memory_free(r->tested);
    r->tested = NULL;
    return status ? status : rollout_conclude(r, &all, NULL, result, error);
}
