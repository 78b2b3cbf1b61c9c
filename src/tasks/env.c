#include "tasks/env.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const env_type *const registry[] = {
    &env_maze,
    &env_pendulum,
    &env_gym,
    &env_pong,
};

enum { ENV_COUNT = sizeof registry / sizeof *registry };

const env_type *env_at(int index)
{
    return index < 0 || index >= ENV_COUNT ? NULL : registry[index];
}

const env_type *env_find(const char *name)
{
    for (int i = 0; i < ENV_COUNT; i++)
        if (strcmp(registry[i]->name, name) == 0) return registry[i];
    return NULL;
}

void env_names(char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < ENV_COUNT && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", registry[i]->name);
}

stpn_status env_describe(const env_type *type, const env_options *options, env_shape *shape, stpn_error *error)
{
    stpn_status status = options_check(type->options, type->option_count, options, "task", error);
    if (!status) status = type->describe(options, shape, error);
    for (int i = 0; i < options->mask.count && !status; i++)
        if (options->mask.values[i] >= shape->observations)
            status = error_set(error, STPN_ERROR_INPUT, "task.mask has column %d, expected 0 to %d",
                               options->mask.values[i], shape->observations - 1);
    return status;
}

stpn_status env_create(env **out, const env_type *type, const env_options *options, int batch, random_purpose purpose,
                       uint64_t seed, stpn_error *error)
{
    *out = NULL;
    env head = {.type = type, .options = *options, .batch = batch, .seed = seed, .purpose = purpose};
    stpn_status status = env_describe(type, options, &head.shape, error);
    if (!status && (batch < 1 || batch > ENV_COPIES))
        status = error_set(error, STPN_ERROR_INPUT, "%d copies of %s, expected 1 to %d", batch, type->name, ENV_COPIES);
    return status ? status : type->open(out, &head, error);
}

void env_free(env *e)
{
    if (e) e->type->close(e);
}

static void hide(const env *e, int first, int last, void *observations)
{
    const option_list *mask = &e->options.mask;
    size_t row = env_observation_bytes(&e->shape), size = row / (size_t)e->shape.observations;
    for (int b = first; b < last; b++)
        for (int i = 0; i < mask->count; i++)
            memset((char *)observations + (size_t)b * row + (size_t)mask->values[i] * size, 0, size);
}

stpn_status env_reset(env *e, int first, int last, void *observations, stpn_error *error)
{
    stpn_status status = e->type->reset(e, first, last, observations, error);
    if (!status) hide(e, first, last, observations);
    return status;
}

stpn_status env_step(env *e, int first, int last, const void *actions, void *observations, float *rewards,
                     uint8_t *ends, stpn_error *error)
{
    stpn_status status = e->type->step(e, first, last, actions, observations, rewards, ends, error);
    if (!status) hide(e, first, last, observations);
    return status;
}

stpn_status env_finish(env *e, int first, int last, void *observations, float *rewards, uint8_t *ends,
                       stpn_error *error)
{
    stpn_status status = e->type->finish(e, first, last, observations, rewards, ends, error);
    if (!status) hide(e, first, last, observations);
    return status;
}

void env_observe(const env *e, int first, int last, void *observations)
{
    e->type->observe(e, first, last, observations);
    hide(e, first, last, observations);
}

size_t env_observation_bytes(const env_shape *shape)
{
    return (size_t)shape->observations * (shape->type == STPN_INPUT_BYTE ? 1 : sizeof(float));
}

size_t env_action_bytes(const env_shape *shape)
{
    return shape->continuous ? (size_t)shape->continuous * sizeof(float) : sizeof(int32_t);
}

/* The notes are the number of a copy's draws so far. */
static size_t random_notes(const env *e)
{
    (void)e;
    return sizeof(uint64_t);
}

static float random_value(random_stream *stream, float low, float high)
{
    if (!isfinite(low) || !isfinite(high)) return (float)random_normal(stream);
    return (float)random_range(stream, (double)low, (double)high);
}

static void random_act(const env *e, uint64_t seed, void *notes, int first, int last, void *actions)
{
    uint64_t *draws = notes; // (B)
    int A = e->shape.continuous;
    for (int b = first; b < last; b++) {
        random_stream stream = random_open(seed, RANDOM_POLICY, (uint64_t)b << 44 | draws[b]++);
        if (A == 0) ((int32_t *)actions)[b] = (int32_t)random_below(&stream, (uint32_t)e->shape.actions);
        float *values = (float *)actions + (size_t)b * (size_t)A;
        for (int i = 0; i < A; i++) {
            float low, high;
            e->type->bounds(e, i, &low, &high);
            values[i] = random_value(&stream, low, high);
        }
    }
}

const env_policy env_random = {.name = "random", .notes = random_notes, .act = random_act};
