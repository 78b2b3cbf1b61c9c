#include "train/a2c.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/a2c_learner.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------- made and unmade */

static stpn_status check(const a2c *a, stpn_error *error)
{
    int count;
    const option *table = a2c_option_table(&count);
    stpn_status status = options_check(table, count, &a->options, "a2c", error);
    if (status || !a->actor.plan.continuous || a->options.concentration_weight == 0) return status;
    return error_set(error, STPN_ERROR_INPUT, "a2c.concentration_weight is %g, expected 0 with continuous actions",
                     a->options.concentration_weight);
}

static stpn_status open_worker(const a2c *a, a2c_worker *w, stpn_error *error)
{
    size_t T = (size_t)a->actor.plan.steps, size = a->actor.net->kernel->size, H = (size_t)net_outputs(a->actor.net);
    size_t samples = (size_t)a->actor.chunk;
    w->y = memory_zeroed(samples, H * size);
    w->values = memory_zeroed(samples, size);
    w->advantages = memory_zeroed(T, sizeof *w->advantages);
    w->shared = memory_zeroed(T, sizeof *w->shared);
    w->losses = memory_zeroed(T, size);
    w->dlogits = memory_zeroed(T, (size_t)a->actor.outputs * size);
    w->space = memory_zeroed(1, a2c_values_space(a->actor.actions) * sizeof *w->space);
    w->dvalues = memory_zeroed(T, size);
    w->dy = memory_zeroed(samples * T, row_values(a->actor.net->kernel, (int)H) * size);
    if (!w->y || !w->values || !w->advantages || !w->shared || !w->losses || !w->dlogits || !w->dvalues || !w->dy ||
        !w->space)
        return error_memory(error, "the agent");
    return net_state_create(&w->state, a->actor.net, a->actor.chunk, a->actor.chunk, error);
}

static void close_worker(a2c_worker *w)
{
    stpn_state_free(w->state);
    memory_free(w->y);
    memory_free(w->values);
    memory_free(w->advantages);
    memory_free(w->shared);
    memory_free(w->losses);
    memory_free(w->dlogits);
    memory_free(w->space);
    memory_free(w->dvalues);
    memory_free(w->dy);
}

static stpn_status open_learning(a2c *a, stpn_error *error)
{
    const train_options *o = &a->train;
    a->worker = memory_zeroed((size_t)a->workers, sizeof *a->worker);
    a->parts = memory_zeroed((size_t)a->actor.chunks, sizeof *a->parts);
    a->errors = memory_zeroed((size_t)a->actor.chunks, sizeof *a->errors);
    if (!a->worker || !a->parts || !a->errors) return error_memory(error, "the agent");
    stpn_status status = heads_open(&a->heads, a->actor.net, a->actor.policy, a->actor.value, error);
    if (!status)
        status =
            stpn_tape_create(&a->actor.tape, a->actor.net, a->actor.plan.steps, a->actor.plan.batch, a->workers, error);
    for (int i = 0; i < a->workers && !status; i++) status = open_worker(a, &a->worker[i], error);
    if (!status)
        status = stpn_adam_create(&a->adam, a->actor.net, o->learning_rate, o->beta1, o->beta2, o->epsilon, error);
    return status ? status : stpn_adam_set_weight_decay(a->adam, o->weight_decay, error);
}

stpn_status a2c_create(a2c **out, stpn_net *net, const train_options *train, const a2c_options *options,
                       const learner_plan *plan, stpn_pool *pool, uint64_t seed, stpn_error *error)
{
    error_clear(error);
    *out = NULL;
    a2c *a = memory_zeroed(1, sizeof *a);
    if (!a) return error_memory(error, "the agent");
    *a = (a2c){.pool = pool, .train = *train, .options = *options, .updates = plan->updates};
    const actor_plan acting = actor_plan_of(plan, options->discount, seed);
    int threads = stpn_pool_threads(pool);
    stpn_status status = actor_open(&a->actor, net, &acting, error);
    if (!status) status = check(a, error);
    if (!status) a->workers = threads < a->actor.chunks ? threads : a->actor.chunks;
    if (!status && plan->steps > 0) status = open_learning(a, error);
    if (!status) *out = a;
    else a2c_free(a);
    return status;
}

void a2c_free(a2c *a)
{
    if (!a) return;
    for (int i = 0; i < a->workers && a->worker; i++) close_worker(&a->worker[i]);
    stpn_tape_free(a->actor.tape);
    stpn_adam_free(a->adam);
    heads_close(&a->heads);
    actor_close(&a->actor);
    memory_free(a->worker);
    memory_free(a->parts);
    memory_free(a->errors);
    memory_free(a);
}

stpn_status a2c_act(a2c *a, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                    void *actions, stpn_error *error)
{
    return actor_act(&a->actor, first, last, observations, reset, choice, actions, error);
}

stpn_status a2c_record(a2c *a, int first, int last, const float *rewards, const uint8_t *ends,
                       const void *last_observations, stpn_error *error)
{
    return actor_record(&a->actor, first, last, rewards, ends, last_observations, error);
}

/* -------------------------------------------------------------------------------------------------------- accessors */

void a2c_set_profile(a2c *a, profile *p)
{
    for (int i = 0; i < a->workers && a->worker; i++) a->worker[i].lane = profile_lane_of(p, i);
}

void a2c_set_energy(a2c *a, int wanted)
{
    a->actor.energy_wanted = wanted;
}

void a2c_set_ranks(a2c *a, stpn_ranks *ranks)
{
    a->actor.ranks = ranks;
}

stpn_adam *a2c_adam(a2c *a)
{
    return a->adam;
}

int64_t a2c_rollouts(const a2c *a)
{
    return a->actor.rollouts;
}

void a2c_set_rollouts(a2c *a, int64_t rollouts)
{
    a->actor.rollouts = rollouts;
}

stpn_state *a2c_state(a2c *a)
{
    return actor_state(&a->actor);
}

void a2c_restart(a2c *a)
{
    a2c_restart_range(a, 0, a->actor.plan.batch);
}

void a2c_restart_range(a2c *a, int first, int last)
{
    actor_restart(&a->actor, first, last);
}
