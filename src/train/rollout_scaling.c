/* Observations and rewards of PPO's rollouts, scaled by choice. What they are scaled by changes between rollouts only, and
 * is added up in the order of the chunks, so that it depends on no thread. */
#include "base/error.h"
#include "base/memory.h"
#include "train/rollout_inside.h"

#include <string.h>

/* Of what a chunk adds: counts, which doubles hold exactly, means and squares. */
static size_t part_values(const rollout *r)
{
    size_t observed = (size_t)r->observed.width, returns = (size_t)r->returns.width;
    return (observed ? 2 * observed + 1 : 0) + (returns ? 2 * returns + 1 : 0);
}

static double *pack(const scaling *s, double *to)
{
    size_t n = (size_t)s->width;
    if (n == 0) return to;
    *to = (double)s->count;
    memcpy(to + 1, s->mean, n * sizeof *to);
    memcpy(to + 1 + n, s->squares, n * sizeof *to);
    return to + 1 + 2 * n;
}

static const double *unpack(scaling *s, const double *from)
{
    size_t n = (size_t)s->width;
    if (n == 0) return from;
    s->count = (int64_t)*from;
    memcpy(s->mean, from + 1, n * sizeof *from);
    memcpy(s->squares, from + 1 + n, n * sizeof *from);
    return from + 1 + 2 * n;
}

/* What every chunk adds comes to all ranks. */
static stpn_status gather_parts(rollout *r, stpn_error *error)
{
    size_t values = part_values(r);
    rank_share own = rollout_own(r);
    if (!r->ranks || values == 0) return STPN_OK;
    for (int i = own.first; i < own.last; i++)
        pack(&r->results[i].returns, pack(&r->results[i].observations, r->parts + (size_t)i * values));
    stpn_status status = ranks_gather(r->ranks, r->parts, values * sizeof *r->parts, r->chunks, 1, error);
    for (int i = 0; i < r->chunks && !status; i++)
        unpack(&r->results[i].returns, unpack(&r->results[i].observations, r->parts + (size_t)i * values));
    return status;
}

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
    size_t values = part_values(r);
    if (status || values == 0) return status;
    r->parts = memory_zeroed((size_t)r->chunks, values * sizeof *r->parts);
    return r->parts ? STPN_OK : error_memory(error, "the episodes");
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
    memory_free(r->parts);
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
    for (size_t b = (size_t)chunk * (size_t)r->chunk; b < (size_t)rollout_chunk_end(r, chunk) && part->width; b++)
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

stpn_status rollout_end_scaling(rollout *r, stpn_error *error)
{
    stpn_status status = gather_parts(r, error);
    if (status) return status;
    rollout_look(r, 0, r->env->batch); // what comes next belongs to this rollout
    if (r->before.width) scaling_copy(&r->before, &r->observed);
    for (int i = 0; i < r->chunks; i++) {
        scaling_merge(&r->observed, &r->results[i].observations);
        scaling_merge(&r->returns, &r->results[i].returns);
    }
    return STPN_OK;
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
