/* stpn_env of the public header: an environment as experiment files describe it. */
#include "base/error.h"
#include "base/memory.h"
#include "tasks/env_json.h"

#include <math.h>
#include <string.h>

struct stpn_env {
    env *env;
};

static stpn_status read_task(const json_t *task, const env_type **type, env_options *options, stpn_error *error)
{
    const char *name;
    char known[128];
    env_shape shape;
    stpn_status status = json_text(task, "task", "name", &name, error);
    if (status) return status;
    *type = env_find(name);
    env_names(known, sizeof known);
    if (*type) return env_from_json(*type, task, options, &shape, error);
    return error_set(error, STPN_ERROR_INPUT, "task.name is \"%.100s\", expected one of %s", name, known);
}

stpn_status stpn_env_create(stpn_env **out, const char *task, int batch, uint64_t seed, stpn_error *error)
{
    const env_type *type = NULL;
    env_options options;
    json_t *object = NULL;
    error_clear(error);
    if (!out) return error_set(error, STPN_ERROR_INPUT, "env is NULL");
    *out = NULL;
    stpn_status status = error_given(error, {task, "task"});
    if (!status) status = json_read(&object, "task", task, strlen(task), error);
    if (!status) status = read_task(object, &type, &options, error);
    json_decref(object);
    if (status) return status;
    stpn_env *e = memory_zeroed(1, sizeof *e);
    if (!e) return error_memory(error, "the environment");
    status = env_create(&e->env, type, &options, batch, RANDOM_TRAIN, seed, error);
    if (status) stpn_env_free(e);
    else *out = e;
    return status;
}

void stpn_env_free(stpn_env *e)
{
    if (!e) return;
    env_free(e->env);
    memory_free(e);
}

void stpn_env_describe(const stpn_env *e, stpn_env_shape *shape)
{
    const env_shape *s = &e->env->shape;
    *shape = (stpn_env_shape){.observations = s->observations,
                              .bytes = s->type == STPN_INPUT_BYTE,
                              .actions = s->actions,
                              .continuous = s->continuous,
                              .steps = s->steps};
}

void stpn_env_bounds(const stpn_env *e, int index, float *low, float *high)
{
    *low = -INFINITY;
    *high = INFINITY;
    if (index >= 0 && index < e->env->shape.continuous) e->env->type->bounds(e->env, index, low, high);
}

static stpn_status check_range(const stpn_env *e, int first, int last, stpn_error *error)
{
    if (first >= 0 && first <= last && last <= e->env->batch) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): expected a range of %d copies", first, last,
                     e->env->batch);
}

stpn_status stpn_env_reset(stpn_env *e, int first, int last, void *observations, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {e, "env"});
    if (!status) status = check_range(e, first, last, error);
    if (!status && first < last) status = error_given(error, {observations, "observations"});
    return status || first == last ? status : env_reset(e->env, first, last, observations, error);
}

stpn_status stpn_env_step(stpn_env *e, int first, int last, const void *actions, void *observations, float *rewards,
                          uint8_t *ends, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {e, "env"});
    if (!status) status = check_range(e, first, last, error);
    if (!status && first < last)
        status = error_given(error, {actions, "actions"}, {observations, "observations"}, {rewards, "rewards"},
                             {ends, "ends"});
    if (status || first == last) return status;
    return env_step(e->env, first, last, actions, observations, rewards, ends, error);
}

size_t stpn_env_draw(const stpn_env *e, int copy, char *text, size_t size)
{
    if (size > 0) *text = 0;
    if (!e->env->type->draw || copy < 0 || copy >= e->env->batch) return 0;
    return e->env->type->draw(e->env, copy, text, size);
}
