/* The rollouts that PPO learns from: steps across episodes, by choice with observations and rewards scaled. What they are
 * scaled by changes between rollouts only, and is added up in the order of the chunks, so that it depends on no thread. */
#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

#include <math.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------- scaling */

stpn_status rollout_open_scaling(rollout *r, const ppo_options *o, stpn_error *error)
{
    int I = r->env->shape.observations, B = r->env->batch;
    stpn_status status = STPN_OK;
    r->discount = o->discount;
    if (o->normalise_observations) {
        status = scaling_open(&r->observed, I, error);
        if (!status) status = scaling_open(&r->before, I, error);
        r->seen = memory_zeroed((size_t)B * (size_t)I, sizeof *r->seen);
        if (!r->seen && !status) status = error_memory(error, "the episodes");
    }
    if (o->normalise_rewards && !status) {
        status = scaling_open(&r->returns, 1, error);
        r->discounted = memory_zeroed((size_t)B, sizeof *r->discounted);
        if (!r->discounted && !status) status = error_memory(error, "the episodes");
    }
    for (int i = 0; i < r->chunks && !status; i++) {
        if (r->observed.width) status = scaling_open(&r->results[i].observations, I, error);
        if (r->returns.width && !status) status = scaling_open(&r->results[i].returns, 1, error);
    }
    return status;
}

void rollout_close_scaling(rollout *r)
{
    for (int i = 0; i < r->chunks; i++) {
        scaling_close(&r->results[i].observations);
        scaling_close(&r->results[i].returns);
    }
    scaling_close(&r->observed);
    scaling_close(&r->before);
    scaling_close(&r->returns);
    memory_free(r->seen);
    memory_free(r->discounted);
}

stpn_status rollout_set_scaling(rollout *r, const scaling *s, stpn_error *error)
{
    size_t B = (size_t)r->env->batch, I = (size_t)r->env->shape.observations;
    stpn_status status = scaling_open(&r->observed, s->width, error);
    if (status) return status;
    scaling_copy(&r->observed, s);
    r->seen = memory_zeroed(B * I, sizeof *r->seen);
    return r->seen ? STPN_OK : error_memory(error, "the episodes");
}

const float *rollout_look(rollout *r, int first, int last)
{
    size_t I = (size_t)r->env->shape.observations;
    if (r->observed.width == 0) return r->observations;
    for (size_t b = (size_t)first; b < (size_t)last; b++)
        scaling_apply(&r->observed, r->observations + b * I, r->seen + b * I);
    return r->seen;
}

/* By the deviation of returns, so that values are of the order of 1; the mean, which the policy does not see, stays. */
static void scale_reward(rollout *r, int b, scaling *part)
{
    float sum;
    if (r->returns.width == 0) return;
    r->discounted[b] = r->discount * r->discounted[b] + (double)r->rewards[b];
    sum = (float)r->discounted[b];
    scaling_add(part, &sum);
    r->rewards[b] = (float)((double)r->rewards[b] / scaling_deviation(&r->returns, 0));
    if (r->ends[b]) r->discounted[b] = 0;
}

static void take_in(rollout *r)
{
    if (r->observed.width) scaling_copy(&r->before, &r->observed);
    for (int i = 0; i < r->chunks; i++) {
        scaling_merge(&r->observed, &r->results[i].observations);
        scaling_merge(&r->returns, &r->results[i].returns);
    }
}

/* ------------------------------------------------------------------------------------------------------- to collect */

/* Ends of the step that was made: their last observations are kept, and new episodes started. */
static stpn_status turn_over(rollout *r, int first, int last, chunk_end *end)
{
    size_t I = (size_t)r->env->shape.observations;
    stpn_status status = STPN_OK;
    for (int b = first; b < last && !status; b++) {
        float *seen_last = r->last + (size_t)b * I;
        r->sums[b] += (double)r->rewards[b];
        r->lengths[b]++;
        r->starts[b] = r->ends[b] != 0;
        scale_reward(r, b, &end->returns);
        if (!r->ends[b]) continue;
        end->ended.count++;
        end->ended.reward += r->sums[b];
        end->ended.steps += r->lengths[b];
        r->sums[b] = 0;
        r->lengths[b] = 0;
        memcpy(seen_last, r->observations + (size_t)b * I, I * sizeof *seen_last);
        scaling_apply(&r->observed, seen_last, seen_last);
        status = env_reset(r->env, b, b + 1, r->observations, &end->error);
    }
    return status;
}

static stpn_status collect_step(rollout *r, int first, int last, profile_lane *lane, chunk_end *end)
{
    stpn_error *error = &end->error;
    profile_enter(lane, PROFILE_FORWARD);
    const float *seen = rollout_look(r, first, last);
    for (size_t b = (size_t)first; b < (size_t)last && r->observed.width; b++)
        scaling_add(&end->observations, r->observations + b * (size_t)r->env->shape.observations);
    stpn_status status = ppo_act(r->ppo, first, last, seen, r->starts, ACT_SAMPLE, r->actions, error);
    profile_enter(lane, PROFILE_DATA);
    if (!status) status = env_step(r->env, first, last, r->actions, r->observations, r->rewards, r->ends, error);
    if (!status) status = turn_over(r, first, last, end);
    if (!status) status = ppo_record(r->ppo, first, last, r->rewards, r->ends, r->last, error);
    return status;
}

static void collect_turn(void *context, int chunk, int thread)
{
    rollout *r = context;
    chunk_end *end = &r->results[chunk];
    profile_lane *lane = profile_lane_of(r->profile, thread);
    int first = chunk * CHUNK, last = rollout_chunk_end(r, chunk);
    end->status = STPN_OK;
    end->ended = (rollout_episodes){0};
    scaling_clear(&end->observations);
    scaling_clear(&end->returns);
    for (int t = 0; t < r->acting->plan.steps && !end->status; t++)
        end->status = collect_step(r, first, last, lane, end);
    /* Between rollouts a new episode starts from a state of zeros, as it would from a checkpoint. */
    for (int b = first; b < last; b++) {
        if (r->starts[b]) ppo_restart_range(r->ppo, b, b + 1);
        r->starts[b] = 0;
    }
    profile_enter(lane, PROFILE_WAITING);
}

stpn_status rollout_collect(rollout *r, rollout_episodes *ended, stpn_error *error)
{
    stpn_status status = rollout_run_chunks(r, collect_turn, r, error);
    if (status) return status;
    for (int i = 0; i < r->chunks; i++) {
        ended->count += r->results[i].ended.count;
        ended->steps += r->results[i].ended.steps;
        ended->reward += r->results[i].ended.reward;
    }
    /* What comes next belongs to this rollout. */
    rollout_look(r, 0, r->env->batch);
    take_in(r);
    return STPN_OK;
}

const float *rollout_observations(const rollout *r)
{
    return r->observed.width ? r->seen : r->observations;
}

double *rollout_rewards(rollout *r)
{
    return r->sums;
}

int64_t *rollout_steps(rollout *r)
{
    return r->lengths;
}

double *rollout_discounted(rollout *r)
{
    return r->discounted;
}

scaling *rollout_scaling(rollout *r)
{
    return &r->observed;
}

const scaling *rollout_scaling_before(const rollout *r)
{
    return &r->before;
}

scaling *rollout_return_scaling(rollout *r)
{
    return &r->returns;
}

void rollout_resume(rollout *r)
{
    env_observe(r->env, 0, r->env->batch, r->observations);
    if (!r->env->shape.restarts) return;
    ppo_restart_range(r->ppo, 0, r->env->batch);
    for (int b = 0; b < r->env->batch; b++) {
        r->sums[b] = 0;
        r->lengths[b] = 0;
        if (r->discounted) r->discounted[b] = 0;
    }
}
