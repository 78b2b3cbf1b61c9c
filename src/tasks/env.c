#include "tasks/env.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const env_type *const registry[] = {
    &env_maze,
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

stpn_status env_create(env **out, const env_type *type, const env_options *options, int batch, random_purpose purpose,
                       uint64_t seed, stpn_error *error)
{
    *out = NULL;
    env head = {.type = type, .options = *options, .batch = batch, .seed = seed, .purpose = purpose};
    stpn_status status = options_check(type->options, type->option_count, options, "task", error);
    if (!status) status = type->describe(options, &head.shape, error);
    if (!status && (batch < 1 || batch > ENV_COPIES))
        status = error_set(error, STPN_ERROR_INPUT, "%d copies of %s, expected 1 to %d", batch, type->name, ENV_COPIES);
    return status ? status : type->open(out, &head, error);
}

void env_free(env *e)
{
    if (e) e->type->close(e);
}

/* The notes are the number of a copy's draws so far. */
static size_t random_notes(const env *e)
{
    (void)e;
    return sizeof(uint64_t);
}

static void random_act(const env *e, uint64_t seed, void *notes, int first, int last, int32_t *actions)
{
    uint64_t *draws = notes; // (B)
    for (int b = first; b < last; b++) {
        random_stream stream = random_open(seed, RANDOM_POLICY, (uint64_t)b << 44 | draws[b]++);
        actions[b] = (int32_t)random_below(&stream, (uint32_t)e->shape.actions);
    }
}

const env_policy env_random = {.name = "random", .notes = random_notes, .act = random_act};
