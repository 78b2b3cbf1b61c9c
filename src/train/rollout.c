#include "train/rollout_inside.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>

static stpn_status open_rollout(rollout **out, const experiment *e, random_purpose purpose, stpn_pool *pool,
                                stpn_error *error)
{
    *out = NULL;
    rollout *r = memory_zeroed(1, sizeof *r);
    if (!r) return error_memory(error, "the episodes");
    size_t B = (size_t)e->train.batch;
    int threads = stpn_pool_threads(pool);
    r->pool = pool;
    r->seed = e->seed;
    r->chunks = (e->train.batch - 1) / CHUNK + 1;
    r->workers = threads < r->chunks ? threads : r->chunks;
    r->steps = e->train.rollout;
    r->observations = memory_zeroed(B, env_observation_bytes(&e->env_shape));
    r->rewards = memory_zeroed(B, sizeof *r->rewards);
    r->sums = memory_zeroed(B, sizeof *r->sums);
    r->actions = memory_zeroed(B, env_action_bytes(&e->env_shape));
    r->ends = memory_zeroed(B, sizeof *r->ends);
    r->results = memory_zeroed((size_t)r->chunks, sizeof *r->results);
    r->fresh = memory_zeroed(B, 1);
    r->lengths = memory_zeroed(B, sizeof *r->lengths);
    r->finished = memory_zeroed((size_t)r->chunks, sizeof *r->finished);
    int done = r->fresh && r->lengths && r->finished && r->observations && r->rewards && r->sums && r->actions &&
               r->ends && r->results;
    stpn_status status = done ? STPN_OK : error_memory(error, "the episodes");
    if (!status) status = env_create(&r->env, e->env, &e->env_options, e->train.batch, purpose, e->seed, error);
    if (status) rollout_free(r);
    else *out = r;
    return status;
}

stpn_status rollout_create(rollout **out, const experiment *e, stpn_net *net, int learns, stpn_pool *pool,
                           stpn_error *error)
{
    stpn_status status = open_rollout(out, e, learns ? RANDOM_TRAIN : RANDOM_TEST, pool, error);
    if (status) return status;
    const a2c_plan plan = {.batch = e->train.batch,
                           .steps = !learns            ? 0
                                    : e->train.rollout ? e->train.rollout
                                                       : e->env_shape.steps,
                           .type = e->env_shape.type,
                           .updates = e->train.iterations};
    status = a2c_create(&(*out)->agent, net, &e->train, &e->a2c, &plan, pool, e->seed, error);
    if (status) {
        rollout_free(*out);
        *out = NULL;
        return status;
    }
    a2c_set_energy((*out)->agent, !learns);
    return STPN_OK;
}

stpn_status rollout_create_policy(rollout **out, const experiment *e, const env_policy *policy, stpn_pool *pool,
                                  stpn_error *error)
{
    stpn_status status = open_rollout(out, e, RANDOM_TEST, pool, error);
    if (status) return status;
    rollout *r = *out;
    r->policy = policy;
    r->notes = memory_zeroed((size_t)e->train.batch, policy->notes(r->env));
    if (r->notes) return STPN_OK;
    rollout_free(r);
    *out = NULL;
    return error_memory(error, "the episodes");
}

void rollout_free(rollout *r)
{
    if (!r) return;
    a2c_free(r->agent);
    env_free(r->env);
    memory_free(r->notes);
    memory_free(r->observations);
    memory_free(r->rewards);
    memory_free(r->sums);
    memory_free(r->actions);
    memory_free(r->ends);
    memory_free(r->results);
    memory_free(r->fresh);
    memory_free(r->lengths);
    memory_free(r->finished);
    memory_free(r);
}

void rollout_set_profile(rollout *r, profile *p)
{
    r->profile = p;
    if (r->agent) a2c_set_profile(r->agent, p);
}

a2c *rollout_agent(const rollout *r)
{
    return r->agent;
}

env *rollout_env(const rollout *r)
{
    return r->env;
}

/* ------------------------------------------------------------------------------------------------------------ to play */

typedef struct play_job {
    rollout *r;
    a2c_choice choice;
} play_job;

static stpn_status play_step(const play_job *job, int first, int last, profile_lane *lane, stpn_error *error)
{
    rollout *r = job->r;
    stpn_status status = STPN_OK;
    profile_enter(lane, PROFILE_FORWARD);
    if (r->agent) status = a2c_act(r->agent, first, last, r->observations, NULL, job->choice, r->actions, error);
    else r->policy->act(r->env, r->seed, r->notes, first, last, r->actions);
    profile_enter(lane, PROFILE_DATA);
    if (!status) status = env_step(r->env, first, last, r->actions, r->observations, r->rewards, r->ends, error);
    if (!status && r->agent) status = a2c_record(r->agent, first, last, r->rewards, r->ends, NULL, error);
    for (int b = first; b < last && !status; b++) r->sums[b] += (double)r->rewards[b];
    return status;
}

static void play_turn(void *context, int chunk, int thread)
{
    const play_job *job = context;
    rollout *r = job->r;
    chunk_end *end = &r->results[chunk];
    profile_lane *lane = profile_lane_of(r->profile, thread);
    int first = chunk * CHUNK, last = first + CHUNK < r->env->batch ? first + CHUNK : r->env->batch;
    profile_enter(lane, PROFILE_DATA);
    end->status = env_reset(r->env, first, last, r->observations, &end->error);
    /* A reset in the first step would leave the bits to what was in the state before. */
    if (r->agent) a2c_restart_range(r->agent, first, last);
    for (int b = first; b < last; b++) r->sums[b] = 0;
    for (int t = 0; t < r->env->shape.steps && !end->status; t++)
        end->status = play_step(job, first, last, lane, &end->error);
    profile_enter(lane, PROFILE_WAITING);
}

stpn_status rollout_play(rollout *r, a2c_choice choice, stpn_error *error)
{
    if (r->steps) return rollout_play_steps(r, choice, error);
    play_job job = {r, choice};
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_WAITING);
    pool_run(r->pool, r->chunks, r->workers, play_turn, &job);
    profile_enter(lane, before);
    for (int i = 0; i < r->chunks; i++)
        if (r->results[i].status) return error_set(error, r->results[i].status, "%s", r->results[i].error.message);
    return STPN_OK;
}

/* ------------------------------------------------------------------------------------------------------------ to test */

/* Sums over episodes, in an order that depends on nothing else. */
typedef struct test_sums {
    double reward, square; // of episodes
    double energy;         // of iterations
    env_goals goals;
} test_sums;

static void add_episodes(const rollout *r, test_sums *sums)
{
    a2c_stats stats;
    for (int b = 0; b < r->env->batch; b++) {
        sums->reward += r->sums[b];
        sums->square += r->sums[b] * r->sums[b];
    }
    if (r->env->type->goals) r->env->type->goals(r->env, 0, r->env->batch, &sums->goals);
    if (!r->agent) return;
    a2c_drop(r->agent, &stats);
    sums->energy += stats.energy;
}

stpn_status rollout_test(rollout *r, int iterations, a2c_choice choice, const volatile int *stop,
                         rollout_result *result, stpn_error *error)
{
    if (r->steps) return rollout_test_steps(r, iterations, choice, stop, result, error);
    test_sums sums = {0};
    stpn_status status = STPN_OK;
    for (int i = 0; i < iterations && !status; i++) {
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            return error_set(error, STPN_STOPPED, "stopped in the test");
        status = rollout_play(r, choice, error);
        if (!status) add_episodes(r, &sums);
    }
    if (status) return status;
    double n = (double)iterations * r->env->batch, mean = sums.reward / n, spread = sums.square / n - mean * mean;
    int has_goals = r->env->type->goals != NULL;
    *result = (rollout_result){.episodes = (int64_t)n,
                               .reward = mean,
                               .reward_error = n > 1 ? sqrt(fmax(spread, 0) / (n - 1)) : NAN,
                               .steps = r->env->shape.steps,
                               .energy = r->agent ? sums.energy / iterations : NAN,
                               .goals = has_goals ? (double)sums.goals.reached / n : NAN,
                               .return_steps = has_goals && sums.goals.returns
                                                   ? (double)sums.goals.return_steps / (double)sums.goals.returns
                                                   : NAN};
    if (isfinite(mean) && !isinf(result->energy) && (!r->agent || !isnan(result->energy))) return STPN_OK;
    return error_set(error, STPN_ERROR_NUMERIC, "the %s of a test is not finite", isfinite(mean) ? "energy" : "reward");
}
