#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

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
    r->chunk = stpn_chunk_size(e->train.batch);
    r->chunks = (e->train.batch - 1) / r->chunk + 1;
    r->workers = threads < r->chunks ? threads : r->chunks;
    r->steps = e->train.rollout;
    r->observations = memory_zeroed(B, env_observation_bytes(&e->env_shape));
    r->rewards = memory_zeroed(B, sizeof *r->rewards);
    r->sums = memory_zeroed(B, sizeof *r->sums);
    r->lengths = memory_zeroed(B, sizeof *r->lengths);
    r->actions = memory_zeroed(B, env_action_bytes(&e->env_shape));
    r->ends = memory_zeroed(B, sizeof *r->ends);
    r->fresh = memory_zeroed(B, sizeof *r->fresh);
    r->finished = memory_zeroed((size_t)r->chunks, sizeof *r->finished);
    r->latest = memory_zeroed((size_t)r->chunks, sizeof *r->latest);
    r->results = memory_zeroed((size_t)r->chunks, sizeof *r->results);
    int done = r->observations && r->rewards && r->sums && r->lengths && r->actions && r->ends && r->fresh &&
               r->finished && r->latest && r->results;
    stpn_status status = done ? STPN_OK : error_memory(error, "the episodes");
    if (!status) status = env_create(&r->env, e->env, &e->env_options, e->train.batch, purpose, e->seed, error);
    if (status) rollout_free(r);
    else *out = r;
    return status;
}

static stpn_status open_learner(rollout *r, const experiment *e, stpn_net *net, stpn_error *error)
{
    const learner_plan plan = {.batch = e->train.batch,
                               .steps = e->train.rollout ? e->train.rollout : e->env_shape.steps,
                               .continuous = e->env_shape.continuous,
                               .type = e->env_shape.type,
                               .updates = e->train.iterations};
    if (e->train.method == METHOD_PPO) {
        stpn_status status = ppo_create(&r->ppo, net, &e->train, &e->ppo, &plan, r->pool, e->seed, error);
        if (!status) r->acting = &r->ppo->actor;
        if (!status) status = rollout_open_scaling(r, &e->ppo, error);
        return status;
    }
    stpn_status status = a2c_create(&r->a2c, net, &e->train, &e->a2c, &plan, r->pool, e->seed, error);
    if (!status) r->acting = &r->a2c->actor;
    return status;
}

static stpn_status open_actor(rollout *r, const experiment *e, stpn_net *net, stpn_error *error)
{
    const actor_plan plan = {
        .batch = e->train.batch, .continuous = e->env_shape.continuous, .type = e->env_shape.type, .seed = e->seed};
    stpn_status status = actor_open(&r->own, net, &plan, error);
    r->own.energy_wanted = 1;
    if (!status) r->acting = &r->own;
    return status;
}

stpn_status rollout_create(rollout **out, const experiment *e, stpn_net *net, int learns, stpn_pool *pool,
                           stpn_error *error)
{
    stpn_status status = open_rollout(out, e, learns ? RANDOM_TRAIN : RANDOM_TEST, pool, error);
    if (status) return status;
    rollout *r = *out;
    r->copies = learns ? memory_zeroed((size_t)e->train.batch, (size_t)e->env_shape.state * sizeof *r->copies) : NULL;
    if (learns && !r->copies) status = error_memory(error, "the episodes");
    if (!status) status = learns ? open_learner(r, e, net, error) : open_actor(r, e, net, error);
    r->step_workers = net_worth(net, ((size_t)e->train.batch + 1) / 2, r->workers);
    if (status) {
        rollout_free(r);
        *out = NULL;
    }
    return status;
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
    a2c_free(r->a2c);
    ppo_free(r->ppo);
    actor_close(&r->own);
    if (r->results) rollout_close_scaling(r);
    env_free(r->env);
    memory_free(r->copies);
    memory_free(r->notes);
    memory_free(r->observations);
    memory_free(r->rewards);
    memory_free(r->sums);
    memory_free(r->lengths);
    memory_free(r->actions);
    memory_free(r->ends);
    memory_free(r->fresh);
    memory_free(r->finished);
    memory_free(r->latest);
    memory_free(r->results);
    memory_free(r);
}

void rollout_set_profile(rollout *r, profile *p)
{
    r->profile = p;
    if (r->a2c) a2c_set_profile(r->a2c, p);
    if (r->ppo) ppo_set_profile(r->ppo, p);
    if (p && r->acting) net_watch(r->acting->state, r->acting->tape);
}

void rollout_set_ranks(rollout *r, stpn_ranks *ranks)
{
    r->ranks = ranks;
    if (r->a2c) a2c_set_ranks(r->a2c, ranks);
    if (r->ppo) ppo_set_ranks(r->ppo, ranks);
}

a2c *rollout_agent(const rollout *r)
{
    return r->a2c;
}

ppo *rollout_ppo(const rollout *r)
{
    return r->ppo;
}

env *rollout_env(const rollout *r)
{
    return r->env;
}

/* ------------------------------------------------------------------------------------------------------------ to play */

typedef struct play_job {
    rollout *r;
    act_choice choice;
    int first; // chunk
} play_job;

static stpn_status play_step(const play_job *job, int first, int last, profile_lane *lane, stpn_error *error)
{
    rollout *r = job->r;
    stpn_status status = STPN_OK;
    profile_enter(lane, PROFILE_FORWARD);
    if (r->acting)
        status = actor_act(r->acting, first, last, rollout_look(r, first, last), NULL, job->choice, r->actions, error);
    else r->policy->act(r->env, r->seed, r->notes, first, last, r->actions);
    profile_enter(lane, PROFILE_DATA);
    for (int b = first; b < last && !status; b++) r->lengths[b] += r->ends[b] == 0;
    if (!status) status = env_step(r->env, first, last, r->actions, r->observations, r->rewards, r->ends, error);
    if (!status && r->acting) status = actor_record(r->acting, first, last, r->rewards, r->ends, NULL, error);
    for (int b = first; b < last && !status; b++) r->sums[b] += (double)r->rewards[b];
    return status;
}

/* A learner's copies all take the steps of a whole episode. */
static int goes_on(const rollout *r, int first, int last, int t)
{
    if (r->a2c) return t < r->env->shape.steps;
    for (int b = first; b < last; b++)
        if (!r->ends[b]) return 1;
    return 0;
}

static void play_turn(void *context, int turn, int thread)
{
    const play_job *job = context;
    int chunk = job->first + turn;
    rollout *r = job->r;
    chunk_end *end = &r->results[chunk];
    profile_lane *lane = profile_lane_of(r->profile, thread);
    int first = chunk * r->chunk, last = rollout_chunk_end(r, chunk);
    profile_enter(lane, PROFILE_DATA);
    end->status = env_reset(r->env, first, last, r->observations, &end->error);
    /* A reset in the first step would leave the bits to what was in the state before. */
    if (r->acting) actor_restart(r->acting, first, last);
    for (int b = first; b < last; b++) {
        r->sums[b] = 0;
        r->lengths[b] = 0;
        r->ends[b] = 0;
    }
    for (int t = 0; !end->status && goes_on(r, first, last, t); t++)
        end->status = play_step(job, first, last, lane, &end->error);
    profile_enter(lane, PROFILE_WAITING);
}

stpn_status rollout_run_chunks(rollout *r, int first, int last, int workers, pool_task turn, void *job,
                               stpn_error *error)
{
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_WAITING);
    pool_run(r->pool, last - first, workers, turn, job);
    profile_enter(lane, before);
    for (int i = first; i < last; i++)
        if (r->results[i].status) return error_set(error, r->results[i].status, "%s", r->results[i].error.message);
    return STPN_OK;
}

static stpn_status play_episodes(rollout *r, act_choice choice, stpn_error *error)
{
    rank_share own = rollout_own(r);
    play_job job = {r, choice, own.first};
    return rollout_run_chunks(r, own.first, own.last, r->workers, play_turn, &job, error);
}

stpn_status rollout_play(rollout *r, act_choice choice, stpn_error *error)
{
    if (r->steps) return rollout_play_steps(r, choice, error);
    stpn_status status = play_episodes(r, choice, error);
    profile_lane *lane = profile_lane_of(r->profile, 0);
    profile_part before = profile_enter(lane, PROFILE_RANKS);
    status = ranks_agree(r->ranks, status, error);
    profile_enter(lane, before);
    return status;
}

stpn_state *rollout_state(const rollout *r)
{
    return actor_state(r->acting);
}

double *rollout_rewards(rollout *r)
{
    return r->sums;
}

int64_t *rollout_copies(rollout *r)
{
    return r->copies;
}

int64_t *rollout_lengths(rollout *r)
{
    return r->lengths;
}

/* ------------------------------------------------------------------------------------------------------------ to test */

/* In an order that depends on nothing else. */
static void add_episodes(rollout *r, test_sums *sums, env_goals *goals)
{
    int64_t steps = 0;
    for (int b = 0; b < r->env->batch; b++) {
        sums->reward += r->sums[b];
        sums->square += r->sums[b] * r->sums[b];
        steps += r->lengths[b];
    }
    sums->episodes += r->env->batch;
    sums->steps += steps;
    if (r->env->type->goals) r->env->type->goals(r->env, 0, r->env->batch, goals);
    if (!r->acting) return;
    sums->energy += (double)steps * actor_end_rollout(r->acting).energy;
    r->acting->rollouts++;
}

stpn_status rollout_conclude(const rollout *r, const test_sums *sums, const env_goals *goals, rollout_result *result,
                             stpn_error *error)
{
    double n = (double)sums->episodes, mean = sums->reward / n, spread = sums->square / n - mean * mean;
    *result = (rollout_result){
        .episodes = sums->episodes,
        .reward = mean,
        .reward_error = n > 1 ? sqrt(fmax(spread, 0) / (n - 1)) : NAN,
        .steps = (double)sums->steps / n,
        .energy = r->acting ? sums->energy / (double)sums->steps : NAN,
        .goals = goals && r->env->type->goals ? (double)goals->reached / n : NAN,
        .return_steps = goals && goals->returns ? (double)goals->return_steps / (double)goals->returns : NAN};
    if (isfinite(mean) && (!r->acting || isfinite(result->energy))) return STPN_OK;
    return error_set(error, STPN_ERROR_NUMERIC, "the %s of a test is not finite", isfinite(mean) ? "energy" : "reward");
}

stpn_status rollout_test(rollout *r, int iterations, act_choice choice, const volatile int *stop,
                         rollout_result *result, stpn_error *error)
{
    if (r->env->shape.steps == 0) return rollout_test_steps(r, iterations, choice, stop, result, error);
    test_sums sums = {0};
    env_goals goals = {0};
    stpn_status status = STPN_OK;
    for (int i = 0; i < iterations && !status; i++) {
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            return error_set(error, STPN_STOPPED, "stopped in the test");
        status = play_episodes(r, choice, error);
        if (!status) add_episodes(r, &sums, &goals);
    }
    return status ? status : rollout_conclude(r, &sums, &goals, result, error);
}
