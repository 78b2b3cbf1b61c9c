/* Inverted pendulum on MuJoCo (Todorov et al. 2012): a pole stands on a cart that a motor pushes along a rail. An episode
 * is over once the pole leans more than 0.2 rad, and cut off after T steps; every step that leaves it standing is worth 1.
 *
 * An observation is 0 the cart's place, 1 the pole's angle, 2 and 3 their velocities. The action is what the motor is
 * set to, cut to -3 to 3, and held for two steps of the engine of 0.02 s. Places and velocities start uniformly within
 * `noise` around 0. */
#include "tasks/pendulum.h"

#include "base/error.h"

#include <string.h>

static const double REACH = 3; // of the motor
enum { INNER_STEPS = 2, COORDINATES = 2, OBSERVATIONS = 2 * COORDINATES };
/* Behind the velocities: where the engine's search for the forces of the joints' limits begins. */
enum { WARM = PENDULUM_SPEED + COORDINATES, STATE = WARM + COORDINATES };

#define FIELD(name) offsetof(env_options, name)

static const option options[] = {
    {"steps", OPTION_INTEGER, FIELD(steps), NULL, 1, 1 << 24, "T, steps after which an episode is cut off"},
    {"noise", OPTION_NUMBER, FIELD(noise), NULL, 0, 0.1, "bound of places and velocities at an episode's start"},
    ENV_MASK,
};

static stpn_status describe(const env_options *o, env_shape *shape, stpn_error *error)
{
    (void)error;
    *shape = (env_shape){
        .observations = OBSERVATIONS, .type = STPN_INPUT_FLOAT, .continuous = 1, .steps = o->steps, .state = STATE};
    return STPN_OK;
}

static void bounds(const env *e, int index, float *low, float *high)
{
    (void)e;
    (void)index;
    *low = (float)-REACH;
    *high = (float)REACH;
}

static const char *observation_name(int index)
{
    static const char *const names[OBSERVATIONS] = {"cart place", "pole angle", "cart velocity", "pole velocity"};
    return names[index];
}

#if STPN_HAVE_MUJOCO

#include "base/memory.h"

#include <math.h>
#include <mujoco/mujoco.h>

static const double UPRIGHT = 0.2; // rad

/* Nothing touches: the rail only shows where the cart runs. */
static const char model_text[] =
    "<mujoco model='pendulum'>"
    "<option timestep='0.02' integrator='RK4' gravity='0 0 -9.81'><flag contact='disable'/></option>"
    "<size njmax='8' nconmax='1'/>"
    "<worldbody>"
    "<geom name='rail' type='capsule' fromto='-1 0 0 1 0 0' size='0.02'/>"
    "<body name='cart'>"
    "<joint name='slider' type='slide' axis='1 0 0' limited='true' range='-1 1' damping='1'/>"
    "<geom name='cart' type='capsule' fromto='-0.1 0 0 0.1 0 0' size='0.1'/>"
    "<body name='pole'>"
    "<joint name='hinge' type='hinge' axis='0 1 0' limited='true' range='-90 90' damping='1'/>"
    "<geom name='pole' type='capsule' fromto='0 0 0 0.001 0 0.6' size='0.049'/>"
    "</body>"
    "</body>"
    "</worldbody>"
    "<actuator><motor name='motor' joint='slider' gear='100' ctrllimited='true' ctrlrange='-3 3'/></actuator>"
    "</mujoco>";

typedef struct pendulum_copy {
    int64_t episode;
    int step;
    uint8_t end; // STPN_TERMINATED, STPN_TRUNCATED
    mjData *data;
} pendulum_copy;

typedef struct pendulum {
    env head;
    mjModel *model;
    pendulum_copy *copies; // (B)
} pendulum;

int pendulum_engine(void)
{
    return mj_version();
}

int pendulum_body(const env *e, int body, double *mass, double inertia[3])
{
    const mjModel *m = ((const pendulum *)e)->model;
    /* Body 0 is the world. */
    *mass = m->body_mass[body + 1];
    for (int i = 0; i < 3; i++) inertia[i] = m->body_inertia[3 * (body + 1) + i];
    return 1;
}

static void start(pendulum *p, int copy, int64_t episode)
{
    pendulum_copy *c = &p->copies[copy];
    random_stream stream = random_open(p->head.seed, p->head.purpose, (uint64_t)copy << 44 | (uint64_t)episode);
    double noise = p->head.options.noise;
    c->episode = episode;
    c->step = 0;
    c->end = 0;
    mj_resetData(p->model, c->data);
    for (int i = 0; i < COORDINATES; i++) c->data->qpos[i] = random_range(&stream, -noise, noise);
    for (int i = 0; i < COORDINATES; i++) c->data->qvel[i] = random_range(&stream, -noise, noise);
}

static int stands(const mjData *d)
{
    for (int i = 0; i < COORDINATES; i++)
        if (!isfinite(d->qpos[i]) || !isfinite(d->qvel[i])) return 0;
    return fabs(d->qpos[1]) <= UPRIGHT;
}

static float move(pendulum *p, pendulum_copy *c, double action)
{
    c->data->ctrl[0] = fmin(fmax(action, -REACH), REACH);
    for (int i = 0; i < INNER_STEPS; i++) mj_step(p->model, c->data);
    c->step++;
    if (!stands(c->data)) c->end |= STPN_TERMINATED;
    if (c->step >= p->head.options.steps) c->end |= STPN_TRUNCATED;
    return c->end & STPN_TERMINATED ? 0 : 1;
}

static void observe(const env *e, int first, int last, void *observations)
{
    const pendulum *p = (const pendulum *)e;
    for (int b = first; b < last; b++) {
        float *x = (float *)observations + (size_t)b * OBSERVATIONS; // (I)
        const mjData *d = p->copies[b].data;
        for (int i = 0; i < COORDINATES; i++) {
            x[i] = (float)d->qpos[i];
            x[COORDINATES + i] = (float)d->qvel[i];
        }
    }
}

static stpn_status reset(env *e, int first, int last, void *observations, stpn_error *error)
{
    (void)error;
    pendulum *p = (pendulum *)e;
    for (int b = first; b < last; b++) start(p, b, p->copies[b].episode + 1);
    observe(e, first, last, observations);
    return STPN_OK;
}

static stpn_status step(env *e, int first, int last, const void *chosen, void *observations, float *rewards,
                        uint8_t *ends, stpn_error *error)
{
    pendulum *p = (pendulum *)e;
    const float *actions = chosen; // (B, 1)
    for (int b = first; b < last; b++)
        if (isnan(actions[b]))
            return error_set(error, STPN_ERROR_INPUT, "copy %d of pendulum: the action is not a number", b);
    for (int b = first; b < last; b++) {
        pendulum_copy *c = &p->copies[b];
        rewards[b] = c->end ? 0 : move(p, c, (double)actions[b]);
        ends[b] = c->end;
    }
    observe(e, first, last, observations);
    return STPN_OK;
}

static void save(const env *e, int64_t *state)
{
    const pendulum *p = (const pendulum *)e;
    for (int b = 0; b < e->batch; b++) {
        const pendulum_copy *c = &p->copies[b];
        int64_t *s = state + (size_t)b * STATE; // (S)
        s[PENDULUM_EPISODE] = c->episode;
        s[PENDULUM_STEP] = c->step;
        s[PENDULUM_END] = c->end;
        memcpy(s + PENDULUM_PLACE, c->data->qpos, COORDINATES * sizeof *s);
        memcpy(s + PENDULUM_SPEED, c->data->qvel, COORDINATES * sizeof *s);
        memcpy(s + WARM, c->data->qacc_warmstart, COORDINATES * sizeof *s);
    }
}

/* No run comes near the bound, past which the engine would refuse the state. */
static int is_possible(const env *e, const int64_t *s /* (S) */)
{
    int T = e->options.steps;
    for (int i = PENDULUM_PLACE; i < STATE; i++) {
        double value;
        memcpy(&value, &s[i], sizeof value);
        if (!(fabs(value) <= 1e9)) return 0;
    }
    int cut = (s[PENDULUM_END] & STPN_TRUNCATED) != 0;
    return s[PENDULUM_EPISODE] >= 0 && s[PENDULUM_EPISODE] < (int64_t)1 << 44 && s[PENDULUM_STEP] >= 0 &&
           s[PENDULUM_STEP] <= T && s[PENDULUM_END] >= 0 && s[PENDULUM_END] <= (STPN_TERMINATED | STPN_TRUNCATED) &&
           cut == (s[PENDULUM_STEP] == T);
}

static stpn_status restore(env *e, const int64_t *state, const char *place, stpn_error *error)
{
    pendulum *p = (pendulum *)e;
    for (int b = 0; b < e->batch; b++)
        if (!is_possible(e, state + (size_t)b * STATE))
            return error_set(error, STPN_ERROR_INPUT, "%s: copy %d is in a state that this pendulum does not have",
                             place, b);
    for (int b = 0; b < e->batch; b++) {
        pendulum_copy *c = &p->copies[b];
        const int64_t *s = state + (size_t)b * STATE;
        mj_resetData(p->model, c->data);
        c->episode = s[PENDULUM_EPISODE];
        c->step = (int)s[PENDULUM_STEP];
        c->end = (uint8_t)s[PENDULUM_END];
        memcpy(c->data->qpos, s + PENDULUM_PLACE, COORDINATES * sizeof *s);
        memcpy(c->data->qvel, s + PENDULUM_SPEED, COORDINATES * sizeof *s);
        memcpy(c->data->qacc_warmstart, s + WARM, COORDINATES * sizeof *s);
    }
    return STPN_OK;
}

static void close_pendulum(env *e)
{
    pendulum *p = (pendulum *)e;
    for (int b = 0; b < e->batch && p->copies; b++)
        if (p->copies[b].data) mj_deleteData(p->copies[b].data);
    if (p->model) mj_deleteModel(p->model);
    memory_free(p->copies);
    memory_free(p);
}

/* The engine reads models from files only; this one is in memory. */
static stpn_status compile(mjModel **model, stpn_error *error)
{
    static const char name[] = "pendulum.xml";
    const int size = (int)sizeof model_text - 1;
    char message[200] = "";
    mjVFS *files = memory_zeroed(1, sizeof *files);
    if (!files) return error_memory(error, "the pendulum");
    mj_defaultVFS(files);
#if mjVERSION_HEADER >= 310
    int failed = mj_addBufferVFS(files, name, model_text, size);
#else
    int failed = mj_makeEmptyFileVFS(files, name, size);
    if (!failed) memcpy(files->filedata[mj_findFileVFS(files, name)], model_text, (size_t)size);
#endif
    *model = failed ? NULL : mj_loadXML(name, files, message, (int)sizeof message);
    mj_deleteVFS(files);
    memory_free(files);
    if (*model) return STPN_OK;
    return error_set(error, STPN_ERROR_SYSTEM, "MuJoCo %d cannot make the pendulum: %s", mj_version(),
                     *message ? message : "no memory");
}

static stpn_status open_pendulum(env **out, const env *head, stpn_error *error)
{
    pendulum *p = memory_zeroed(1, sizeof *p);
    if (!p) return error_memory(error, "the pendulums");
    p->head = *head;
    p->copies = memory_zeroed((size_t)head->batch, sizeof *p->copies);
    stpn_status status = p->copies ? compile(&p->model, error) : error_memory(error, "the pendulums");
    for (int b = 0; b < head->batch && !status; b++) {
        p->copies[b].data = mj_makeData(p->model);
        if (!p->copies[b].data) status = error_memory(error, "the pendulums");
        else start(p, b, 0);
    }
    if (status) close_pendulum(&p->head);
    else *out = &p->head;
    return status;
}

#else

int pendulum_engine(void)
{
    return 0;
}

int pendulum_body(const env *e, int body, double *mass, double inertia[3])
{
    (void)e;
    (void)body;
    (void)mass;
    (void)inertia;
    return 0;
}

static stpn_status open_pendulum(env **out, const env *head, stpn_error *error)
{
    (void)out;
    (void)head;
    return error_set(
        error, STPN_ERROR_INPUT,
        "task pendulum takes MuJoCo, which this build of stpn is without: install libmujoco-dev (Debian), or "
        "name the folder of another with -DSTPN_MUJOCO=FOLDER, and build again");
}

#endif

const env_type env_pendulum = {
    .name = "pendulum",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.steps = 1000, .noise = 0.01},
    .describe = describe,
    .open = open_pendulum,
    .bounds = bounds,
    .observation_name = observation_name,
#if STPN_HAVE_MUJOCO
    .close = close_pendulum,
    .reset = reset,
    .step = step,
    .observe = observe,
    .save = save,
    .restore = restore,
#endif
};
