/* Rollouts of some steps, in which episodes end and begin. */
#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

#include <math.h>
#include <string.h>

enum { HALVES = 2 };

/* A turn is what belongs to a chunk between two steps of the environment: what came of the one before, then the next
 * actions. */
typedef struct steps_job {
    rollout *r;
    a2c_choice choice;
    int first;   // chunk of the half
    int ends;    // a step is to be taken in
    int goes_on; // another one is to be taken

} steps_job;

/* Chunks of half `half`, of which the second may be empty. */
static int half_begin(const rollout *r, int half)
{
    return (r->chunks + 1) / 2 * half;
}

static int half_end(const rollout *r, int half)
{
    return half == 0 ? half_begin(r, 1) : r->chunks;
}

/* An episode of a test counts while its copy has not had all of its own. */
static void count_episode(rollout *r, int chunk, int b)
{
    rollout_episodes *all = &r->finished[chunk];
    rollout_test_sums *test = r->tested ? &r->tested[b] : NULL;
    all->count++;
    all->steps += r->lengths[b];
    all->reward += r->sums[b];
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
    if (r->agent) status = a2c_record(r->agent, first, last, r->rewards, r->ends, r->observations, error);
    for (int b = first; b < last && !status; b++) {
        r->sums[b] += (double)r->rewards[b];
        r->lengths[b]++;
        r->fresh[b] = 0;
        if (!r->ends[b]) continue;
        count_episode(r, chunk, b);
        status = env_reset(r->env, b, b + 1, r->observations, error);
    }
    return status;
}

static stpn_status act(const steps_job *job, int first, int last, stpn_error *error)
{
    rollout *r = job->r;
    if (!r->agent) {
        r->policy->act(r->env, r->seed, r->notes, first, last, r->actions);
        return STPN_OK;
    }
    stpn_status status = a2c_act(r->agent, first, last, r->observations, r->fresh, job->choice, r->actions, error);
    for (int b = first; b < last && r->tested && !status; b++)
        if (r->tested[b].episodes < r->wanted) r->tested[b].energy += a2c_energy(r->agent, b);
    return status;
}

static void steps_turn(void *context, int task, int thread)
{
    const steps_job *job = context;
    rollout *r = job->r;
    int chunk = job->first + task, first = chunk * CHUNK, last = rollout_chunk_end(r, chunk);
    chunk_end *end = &r->results[chunk];
    profile_lane *lane = profile_lane_of(r->profile, thread);
    *end = (chunk_end){.status = STPN_OK};
    profile_enter(lane, PROFILE_FORWARD);
    if (job->ends) end->status = take_in(r, chunk, first, last, &end->error);
    if (job->goes_on && !end->status) end->status = act(job, first, last, &end->error);
    profile_enter(lane, PROFILE_DATA);
    if (r->agent) profile_move(lane, PROFILE_FORWARD, PROFILE_ENCODER, a2c_take_encoding(r->agent, chunk));
    if (job->goes_on && !end->status && !r->env->type->begin)
        end->status = env_step(r->env, first, last, r->actions, r->observations, r->rewards, r->ends, &end->error);
    profile_enter(lane, PROFILE_WAITING);
}

/* A turn of every chunk of a half, after its step has come to its end, and before the next one begins. */
static stpn_status half_turn(steps_job *job, int half, stpn_error *error)
{
    rollout *r = job->r;
    int chunks = half_end(r, half) - half_begin(r, half), elsewhere = r->env->type->begin != NULL;
    if (chunks == 0) return STPN_OK;
    job->first = half_begin(r, half);
    int first = job->first * CHUNK, last = rollout_chunk_end(r, half_end(r, half) - 1);
    stpn_status status = STPN_OK;
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_DATA);
    if (job->ends && elsewhere) status = env_finish(r->env, first, last, r->observations, r->rewards, r->ends, error);
    profile_enter(lane, PROFILE_WAITING);
    if (!status) pool_run(r->pool, chunks, r->workers, steps_turn, job);
    for (int i = job->first; i < job->first + chunks && !status; i++)
        if (r->results[i].status) status = error_set(error, r->results[i].status, "%s", r->results[i].error.message);
    profile_enter(lane, PROFILE_DATA);
    if (!status && job->goes_on && elsewhere) status = r->env->type->begin(r->env, first, last, r->actions, error);
    profile_enter(lane, before);
    return status;
}

/* The first episodes begin, or those that have to begin anew where a run goes on. */
static stpn_status start(rollout *r, stpn_error *error)
{
    if (r->started) return STPN_OK;
    size_t B = (size_t)r->env->batch;
    memset(r->fresh, 1, B);
    memset(r->lengths, 0, B * sizeof *r->lengths);
    memset(r->sums, 0, B * sizeof *r->sums);
    stpn_status status = env_reset(r->env, 0, r->env->batch, r->observations, error);
    r->started = !status;
    return status;
}

stpn_status rollout_play_steps(rollout *r, a2c_choice choice, stpn_error *error)
{
    steps_job job = {.r = r, .choice = choice};
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_DATA);
    stpn_status status = start(r, error);
    for (int t = 0; t <= r->steps && !status; t++) {
        job.ends = t > 0;
        job.goes_on = t < r->steps;
        for (int half = 0; half < HALVES && !status; half++) status = half_turn(&job, half, error);
    }
    profile_enter(lane, before);
    return status;
}

const void *rollout_next(const rollout *r)
{
    return r->steps ? r->observations : NULL;
}

rollout_episodes rollout_take_episodes(rollout *r)
{
    rollout_episodes all = {0};
    for (int i = 0; i < r->chunks; i++) {
        all.count += r->finished[i].count;
        all.steps += r->finished[i].steps;
        all.reward += r->finished[i].reward;
        r->finished[i] = (rollout_episodes){0};
    }
    return all;
}

/* ------------------------------------------------------------------------------------------------------------ to test */

static int is_complete(const rollout *r)
{
    for (int b = 0; b < r->env->batch; b++)
        if (r->tested[b].episodes < r->wanted) return 0;
    return 1;
}

/* Until every copy has had its episodes; what it plays while it waits for the others does not count. */
static stpn_status play_test(rollout *r, a2c_choice choice, const volatile int *stop, stpn_error *error)
{
    steps_job job = {.r = r, .choice = choice};
    stpn_status status = start(r, error);
    for (int64_t t = 0; !status; t++) {
        job.ends = t > 0;
        job.goes_on = !is_complete(r);
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED)) {
            error_set(error, STPN_STOPPED, "stopped in the test");
            return STPN_STOPPED;
        }
        for (int half = 0; half < HALVES && !status; half++) status = half_turn(&job, half, error);
        if (!job.goes_on) break;
    }
    return status;
}

stpn_status rollout_test_steps(rollout *r, int episodes, a2c_choice choice, const volatile int *stop,
                               rollout_result *result, stpn_error *error)
{
    rollout_test_sums all = {0};
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
    if (status) return status;
    double n = (double)all.episodes, mean = all.reward / n, spread = all.square / n - mean * mean;
    *result = (rollout_result){.episodes = all.episodes,
                               .reward = mean,
                               .reward_error = n > 1 ? sqrt(fmax(spread, 0) / (n - 1)) : NAN,
                               .steps = (double)all.steps / n,
                               .energy = r->agent ? all.energy / (double)all.steps : NAN,
                               .goals = NAN,
                               .return_steps = NAN};
    if (isfinite(mean) && (!r->agent || isfinite(result->energy))) return STPN_OK;
    return error_set(error, STPN_ERROR_NUMERIC, "the %s of a test is not finite", isfinite(mean) ? "energy" : "reward");
}
