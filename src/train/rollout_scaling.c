/* Observations and rewards of PPO's rollouts, scaled by choice. What they are scaled by changes between rollouts only, and
 * is added up in the order of the chunks, so that it depends on no thread. */
#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

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

const void *rollout_look(rollout *r, int first, int last)
{
    size_t I = (size_t)r->env->shape.observations;
    if (r->observed.width == 0) return r->observations;
    for (size_t b = (size_t)first; b < (size_t)last; b++)
        scaling_apply(&r->observed, (const float *)r->observations + b * I, r->seen + b * I);
    return r->seen;
}

void rollout_note_observations(rollout *r, int chunk)
{
    scaling *part = &r->results[chunk].observations;
    size_t I = (size_t)r->env->shape.observations;
    for (size_t b = (size_t)chunk * CHUNK; b < (size_t)rollout_chunk_end(r, chunk) && part->width; b++)
        scaling_add(part, (const float *)r->observations + b * I);
}

/* By the deviation of returns, so that values are of the order of 1; the mean, which the policy does not see, stays. */
void rollout_scale_reward(rollout *r, int chunk, int copy)
{
    scaling *part = &r->results[chunk].returns;
    if (part->width == 0) return;
    r->discounted[copy] = r->discount * r->discounted[copy] + (double)r->rewards[copy];
    float sum = (float)r->discounted[copy];
    scaling_add(part, &sum);
    r->rewards[copy] = (float)((double)r->rewards[copy] / scaling_deviation(&r->returns, 0));
    if (r->ends[copy]) r->discounted[copy] = 0;
}

void rollout_begin_scaling(rollout *r)
{
    for (int i = 0; i < r->chunks; i++) {
        scaling_clear(&r->results[i].observations);
        scaling_clear(&r->results[i].returns);
    }
}

void rollout_end_scaling(rollout *r)
{
    rollout_look(r, 0, r->env->batch); // what comes next belongs to this rollout
    if (r->before.width) scaling_copy(&r->before, &r->observed);
    for (int i = 0; i < r->chunks; i++) {
        scaling_merge(&r->observed, &r->results[i].observations);
        scaling_merge(&r->returns, &r->results[i].returns);
    }
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
