/* Any Gymnasium environment with box observations and discrete or box actions. */
#include "tasks/gym.h"

#include "base/error.h"
#include "base/memory.h"
#include "units/unit.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FIELD(name) offsetof(env_options, name)

enum { SPACE_MOST = 1 << 20 };

static const option options[] = {
    {"id", OPTION_TEXT, FIELD(id), NULL, 1, ENV_TEXT,
     "what gymnasium.make knows it by: CartPole-v1, or MODULE:NAME to import MODULE first"},
    {"arguments", OPTION_TEXT, FIELD(arguments), NULL, 0, ENV_TEXT,
     "more arguments of gymnasium.make, as the text of a JSON object; empty: none"},
    {"observations", OPTION_INTEGER, FIELD(observations), NULL, 0, SPACE_MOST,
     "values of an observation; where these three are 0 the environment is asked, and a run keeps what it says"},
    {"actions", OPTION_INTEGER, FIELD(actions), NULL, 0, SPACE_MOST, "number of discrete actions, or 0"},
    {"continuous", OPTION_INTEGER, FIELD(continuous), NULL, 0, SPACE_MOST, "values of a continuous action, or 0"},
    {"time_limit", OPTION_NUMBER, FIELD(time_limit), NULL, 0.01, 1e6,
     "seconds that the worker process may take to start, and for a step of its copies"},
    ENV_MASK,
};

static env_shape shape_of(int observations, int bytes, int actions, int continuous)
{
    return (env_shape){.observations = observations,
                       .type = bytes ? STPN_INPUT_BYTE : STPN_INPUT_FLOAT,
                       .actions = actions,
                       .continuous = continuous,
                       .state = GYM_STATE,
                       .restarts = 1};
}

/* ------------------------------------------------------------------------------------------------ made and unmade */

static env_shape shape_told(const worker *w)
{
    const worker_space *s = worker_space_of(w);
    return shape_of(s->observations, s->bytes, s->actions, s->continuous);
}

stpn_status gym_ask(const worker_plan *plan, env_shape *shape, stpn_error *error)
{
    worker *w;
    stpn_status status = worker_start(&w, plan, error);
    if (status) return status;
    *shape = shape_told(w);
    worker_end(w);
    return STPN_OK;
}

void gym_close(env *e)
{
    gym *g = (gym *)e;
    worker_end(g->worker);
    memory_free(g->episodes);
    memory_free(g->ended);
    memory_free(g);
}

static stpn_status check_shape(const gym *g, stpn_error *error)
{
    const env_shape *expected = &g->head.shape;
    const env_shape told = shape_told(g->worker);
    if (told.observations == expected->observations && told.type == expected->type &&
        told.actions == expected->actions && told.continuous == expected->continuous)
        return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT,
                     "%s has %d observations, %d actions, %d continuous ones; the experiment says %d, %d, %d", g->id,
                     told.observations, told.actions, told.continuous, expected->observations, expected->actions,
                     expected->continuous);
}

/* The worker steps and resets chunks of Atari games as a whole. */
static stpn_status check_range(const gym *g, int first, int last, stpn_error *error)
{
    int B = g->head.batch, chunk = stpn_chunk_size(B);
    if (g->head.type != &env_pong || (first % chunk == 0 && (last % chunk == 0 || last == B))) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d) of %s: expected whole chunks of %d copies", first, last,
                     g->head.type->name, chunk);
}

/* Starts the episode of each copy of the range that its count names. Copies are not started when they are made: the caller
 * resets them anyway, and a reset may take long. */
static stpn_status start(gym *g, int first, int last, stpn_error *error)
{
    const worker_arrays *a = worker_arrays_of(g->worker);
    for (int b = first; b < last; b++) {
        random_stream stream = random_open(g->head.seed, g->head.purpose, (uint64_t)b << 44 | (uint64_t)g->episodes[b]);
        a->seeds[b] = random_below(&stream, (uint32_t)1 << 31);
        g->ended[b] = 0;
    }
    stpn_status status = worker_send(g->worker, WORKER_RESET, first, last, error);
    return status ? status : worker_wait(g->worker, WORKER_RESET, first, last, error);
}

stpn_status gym_open(env **out, const env *head, const char *kind, const char *id, const char *arguments,
                     stpn_error *error)
{
    gym *g = memory_zeroed(1, sizeof *g);
    if (!g) return error_memory(error, "the environment");
    g->head = *head;
    g->id = *g->head.options.id ? g->head.options.id : id;
    const worker_plan plan = {kind, g->id, arguments, head->batch, head->options.time_limit};
    g->episodes = memory_zeroed((size_t)head->batch, sizeof *g->episodes);
    g->ended = memory_zeroed((size_t)head->batch, 1);
    stpn_status status = g->episodes && g->ended ? STPN_OK : error_memory(error, "the environment");
    if (!status) status = worker_start(&g->worker, &plan, error);
    if (!status) status = check_shape(g, error);
    if (status) gym_close(&g->head);
    else *out = &g->head;
    return status;
}

/* ------------------------------------------------------------------------------------------------------- episodes */

static void copy_rows(const gym *g, int first, int last, const void *from, void *to)
{
    size_t row = env_observation_bytes(&g->head.shape);
    memcpy((char *)to + (size_t)first * row, (const char *)from + (size_t)first * row, (size_t)(last - first) * row);
}

/* Bytes are what they are. */
static stpn_status check_rows(const gym *g, int first, int last, const void *rows, stpn_error *error)
{
    size_t I = (size_t)g->head.shape.observations;
    const float *values = rows;
    if (g->head.shape.type != STPN_INPUT_FLOAT) return STPN_OK;
    for (size_t i = (size_t)first * I; i < (size_t)last * I; i++)
        if (!isfinite(values[i]))
            return error_set(error, STPN_ERROR_INPUT, "%s: copy %zu: value %zu of its observation is %g", g->id, i / I,
                             i % I, (double)values[i]);
    return STPN_OK;
}

void gym_observe(const env *e, int first, int last, void *observations)
{
    const gym *g = (const gym *)e;
    copy_rows(g, first, last, worker_arrays_of(g->worker)->observations, observations);
}

/* A copy whose episode has ended is in its next one already. */
stpn_status gym_reset(env *e, int first, int last, void *observations, stpn_error *error)
{
    gym *g = (gym *)e;
    const worker_arrays *a = worker_arrays_of(g->worker);
    stpn_status status = STPN_OK;
    /* Neighbours that have the same to do. */
    for (int begin = first, end; begin < last && !status; begin = end) {
        int ended = g->ended[begin];
        for (end = begin + 1; end < last && g->ended[end] == ended;) end++;
        if (!ended) status = check_range(g, begin, end, error);
        for (int b = begin; b < end && !status; b++) g->episodes[b]++;
        if (status) return status;
        if (ended) {
            copy_rows(g, begin, end, a->starts, a->observations);
            memset(g->ended + begin, 0, (size_t)(end - begin));
        } else {
            status = start(g, begin, end, error);
        }
    }
    if (!status) status = check_rows(g, first, last, a->observations, error);
    if (!status) gym_observe(e, first, last, observations);
    return status;
}

static stpn_status check_actions(const gym *g, int first, int last, const void *actions, stpn_error *error)
{
    const char *name = g->head.type->name;
    size_t A = (size_t)g->head.shape.continuous;
    for (int b = first; b < last; b++) {
        if (g->ended[b]) return error_set(error, STPN_ERROR_INPUT, "copy %d of %s: its episode is over", b, name);
        int32_t action = A ? 0 : ((const int32_t *)actions)[b];
        if (!A && (action < 0 || action >= g->head.shape.actions))
            return error_set(error, STPN_ERROR_INPUT, "copy %d of %s: action %d, expected 0 to %d", b, name,
                             (int)action, g->head.shape.actions - 1);
    }
    for (size_t i = (size_t)first * A; i < (size_t)last * A; i++)
        if (isnan(((const float *)actions)[i]))
            return error_set(error, STPN_ERROR_INPUT, "copy %zu of %s: an action is not a number", i / A, name);
    return STPN_OK;
}

static float cut(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

stpn_status gym_begin(env *e, int first, int last, const void *actions, stpn_error *error)
{
    gym *g = (gym *)e;
    const worker_arrays *a = worker_arrays_of(g->worker);
    const worker_space *s = worker_space_of(g->worker);
    stpn_status status = check_range(g, first, last, error);
    if (!status) status = check_actions(g, first, last, actions, error);
    if (status) return status;
    size_t A = (size_t)g->head.shape.continuous;
    for (size_t b = (size_t)first; b < (size_t)last; b++) {
        if (!A) ((int32_t *)a->actions)[b] = ((const int32_t *)actions)[b];
        for (size_t i = 0; i < A; i++)
            ((float *)a->actions)[b * A + i] = cut(((const float *)actions)[b * A + i], s->low[i], s->high[i]);
    }
    return worker_send(g->worker, WORKER_STEP, first, last, error);
}

stpn_status gym_finish(env *e, int first, int last, void *observations, float *rewards, uint8_t *ends,
                       stpn_error *error)
{
    gym *g = (gym *)e;
    const worker_arrays *a = worker_arrays_of(g->worker);
    stpn_status status = worker_wait(g->worker, WORKER_STEP, first, last, error);
    if (!status) status = check_rows(g, first, last, a->observations, error);
    for (int b = first; b < last && !status; b++) {
        if (!isfinite(a->rewards[b]))
            return error_set(error, STPN_ERROR_INPUT, "%s: copy %d: its reward is %g", g->id, b, (double)a->rewards[b]);
        if (a->ends[b] > (STPN_TERMINATED | STPN_TRUNCATED))
            return error_set(error, STPN_ERROR_SYSTEM, "%s: copy %d: its end is %d, expected 0 to 3", g->id, b,
                             (int)a->ends[b]);
        rewards[b] = a->rewards[b];
        ends[b] = g->ended[b] = a->ends[b];
    }
    if (!status) gym_observe(e, first, last, observations);
    return status;
}

stpn_status gym_step(env *e, int first, int last, const void *actions, void *observations, float *rewards,
                     uint8_t *ends, stpn_error *error)
{
    stpn_status status = gym_begin(e, first, last, actions, error);
    return status ? status : gym_finish(e, first, last, observations, rewards, ends, error);
}

double gym_elsewhere(const env *e)
{
    return 1e-9 * (double)*worker_arrays_of(((const gym *)e)->worker)->busy;
}

stpn_status gym_film(env *e, const char *path, stpn_error *error)
{
    return worker_film(((gym *)e)->worker, path, error);
}

void gym_bounds(const env *e, int index, float *low, float *high)
{
    const worker_space *s = worker_space_of(((const gym *)e)->worker);
    *low = s->low[index];
    *high = s->high[index];
}

void gym_save(const env *e, int64_t *state)
{
    const gym *g = (const gym *)e;
    memcpy(state, g->episodes, (size_t)e->batch * sizeof *state);
}

stpn_status gym_restore(env *e, const int64_t *state, const char *place, stpn_error *error)
{
    gym *g = (gym *)e;
    for (int b = 0; b < e->batch; b++)
        if (state[b] < 0 || state[b] >= (int64_t)1 << 44)
            return error_set(error, STPN_ERROR_INPUT, "%s: copy %d is in an episode that there is not", place, b);
    memcpy(g->episodes, state, (size_t)e->batch * sizeof *state);
    return STPN_OK;
}

/* ------------------------------------------------------------------------------------------------------------ gym */

static stpn_status describe(const env_options *o, env_shape *shape, stpn_error *error)
{
    *shape = shape_of(o->observations, 0, o->actions, o->continuous);
    int none = !o->actions && !o->continuous, both = o->actions && o->continuous;
    if (o->observations && !none && !both) return STPN_OK;
    if (o->observations || !none)
        return error_set(error, STPN_ERROR_INPUT,
                         "task.observations, task.actions and task.continuous are %d, %d, %d, expected all 0, or "
                         "observations and one of the others",
                         o->observations, o->actions, o->continuous);
    const worker_plan plan = {"gym", o->id, o->arguments, 1, o->time_limit};
    return gym_ask(&plan, shape, error);
}

static void resolve(env_options *o, const env_shape *shape)
{
    o->observations = shape->observations;
    o->actions = shape->actions;
    o->continuous = shape->continuous;
}

static stpn_status open_gym(env **out, const env *head, stpn_error *error)
{
    return gym_open(out, head, "gym", head->options.id, head->options.arguments, error);
}

const env_type env_gym = {
    .name = "gym",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.time_limit = 60},
    .describe = describe,
    .resolve = resolve,
    .open = open_gym,
    .close = gym_close,
    .reset = gym_reset,
    .step = gym_step,
    .begin = gym_begin,
    .finish = gym_finish,
    .elsewhere = gym_elsewhere,
    .film = gym_film,
    .observe = gym_observe,
    .bounds = gym_bounds,
    .save = gym_save,
    .restore = gym_restore,
};
