#include "train/a2c.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/a2c_learner.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------- made and unmade */

static stpn_status find_heads(a2c *a, stpn_error *error)
{
    a->policy = a->value = -1;
    for (int i = 0; i < a->net->head_count; i++) {
        if (strcmp(a->net->heads[i].name, "policy") == 0) a->policy = i;
        if (strcmp(a->net->heads[i].name, "value") == 0) a->value = i;
    }
    if (a->policy < 0 || a->value < 0)
        return error_set(error, STPN_ERROR_INPUT, "the network has no head \"%s\"", a->policy < 0 ? "policy" : "value");
    a->actions = a->net->heads[a->policy].outputs;
    if (a->net->heads[a->value].outputs == 1) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "head \"value\" has %d outputs, expected 1",
                     a->net->heads[a->value].outputs);
}

static stpn_status check(const a2c *a, stpn_error *error)
{
    const a2c_plan *p = &a->plan;
    int count;
    const option *table = a2c_option_table(&count);
    stpn_status status = options_check(table, count, &a->options, "a2c", error);
    if (status) return status;
    if (p->batch < 1 || p->batch > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "batch is %d, expected 1 to %d", p->batch, 1 << 24);
    if (p->steps < 0 || p->steps > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "steps is %d, expected 0 to %d", p->steps, 1 << 24);
    return STPN_OK;
}

static size_t padded(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

/* What acting needs. */
static stpn_status open_acting(a2c *a, stpn_error *error)
{
    size_t B = (size_t)a->plan.batch, size = a->net->kernel->size, A = (size_t)a->actions;
    a->scratch_bytes = 2 * padded(CHUNK * A * size) + padded(CHUNK * size);
    a->acted = memory_zeroed((size_t)a->chunks, sizeof *a->acted);
    a->recorded = memory_zeroed((size_t)a->chunks, sizeof *a->recorded);
    a->scratch = memory_zeroed((size_t)a->chunks, a->scratch_bytes);
    a->y = memory_zeroed(B, (size_t)net_outputs(a->net) * size);
    a->energy = memory_zeroed(B, size);
    a->reset = memory_zeroed(B, 1);
    a->lengths = memory_zeroed(B, sizeof *a->lengths);
    a->reward_sums = memory_zeroed(B, sizeof *a->reward_sums);
    a->energy_sums = memory_zeroed(B, sizeof *a->energy_sums);
    if (!a->acted || !a->recorded || !a->scratch || !a->y || !a->energy || !a->reset || !a->lengths ||
        !a->reward_sums || !a->energy_sums)
        return error_memory(error, "the agent");
    return stpn_state_create(&a->state, a->net, a->plan.batch, error);
}

static stpn_status open_worker(const a2c *a, a2c_worker *w, stpn_error *error)
{
    size_t T = (size_t)a->plan.steps, size = a->net->kernel->size, H = (size_t)net_outputs(a->net);
    size_t samples = a->plan.batch < CHUNK ? (size_t)a->plan.batch : CHUNK;
    w->y = memory_zeroed(samples, H * size);
    w->values = memory_zeroed(samples, size);
    w->advantages = memory_zeroed(T, sizeof *w->advantages);
    w->shared = memory_zeroed(T, sizeof *w->shared);
    w->losses = memory_zeroed(T, size);
    w->dlogits = memory_zeroed(T, (size_t)a->actions * size);
    w->dvalues = memory_zeroed(T, size);
    w->dy = memory_zeroed(samples * T, row_values(a->net->kernel, (int)H) * size);
    if (!w->y || !w->values || !w->advantages || !w->shared || !w->losses || !w->dlogits || !w->dvalues || !w->dy)
        return error_memory(error, "the agent");
    return stpn_state_create(&w->state, a->net, (int)samples, error);
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
    memory_free(w->dvalues);
    memory_free(w->dy);
}

static stpn_status open_learning(a2c *a, stpn_error *error)
{
    const kernel_table *k = a->net->kernel;
    const train_options *o = &a->train;
    size_t B = (size_t)a->plan.batch, T = (size_t)a->plan.steps, H = row_values(k, net_outputs(a->net));
    a->bootstrap = memory_zeroed(B, sizeof *a->bootstrap);
    a->logits = memory_zeroed(B * T, (size_t)a->actions * k->size);
    a->values = memory_zeroed(B * T, k->size);
    a->taken = memory_zeroed(B * T, sizeof *a->taken);
    a->gains = memory_zeroed(B * T, sizeof *a->gains);
    a->over = memory_zeroed(B * T, 1);
    a->down[0] = memory_zeroed(H, row_values(k, a->actions) * k->size);
    a->down[1] = memory_zeroed(H, row_values(k, 1) * k->size);
    a->zeros = memory_zeroed(H, k->size);
    a->worker = memory_zeroed((size_t)a->workers, sizeof *a->worker);
    a->parts = memory_zeroed((size_t)a->chunks, sizeof *a->parts);
    if (!a->bootstrap || !a->logits || !a->values || !a->taken || !a->gains || !a->over || !a->down[0] || !a->down[1] ||
        !a->zeros || !a->worker || !a->parts)
        return error_memory(error, "the agent");
    stpn_status status = stpn_tape_create(&a->tape, a->net, a->plan.steps, a->plan.batch, a->workers, error);
    for (int i = 0; i < a->workers && !status; i++) status = open_worker(a, &a->worker[i], error);
    if (!status) status = stpn_adam_create(&a->adam, a->net, o->learning_rate, o->beta1, o->beta2, o->epsilon, error);
    return status ? status : stpn_adam_set_weight_decay(a->adam, o->weight_decay, error);
}

stpn_status a2c_create(a2c **out, stpn_net *net, const train_options *train, const a2c_options *options,
                       const a2c_plan *plan, stpn_pool *pool, uint64_t seed, stpn_error *error)
{
    error_clear(error);
    *out = NULL;
    a2c *a = memory_zeroed(1, sizeof *a);
    if (!a) return error_memory(error, "the agent");
    *a = (a2c){.net = net, .pool = pool, .train = *train, .options = *options, .plan = *plan, .seed = seed};
    int threads = stpn_pool_threads(pool);
    stpn_status status = find_heads(a, error);
    if (!status) status = check(a, error);
    if (!status) {
        a->chunks = (plan->batch - 1) / CHUNK + 1;
        a->workers = threads < a->chunks ? threads : a->chunks;
        status = open_acting(a, error);
    }
    if (!status && plan->steps > 0) status = open_learning(a, error);
    if (!status) *out = a;
    else a2c_free(a);
    return status;
}

void a2c_free(a2c *a)
{
    if (!a) return;
    for (int i = 0; i < a->workers && a->worker; i++) close_worker(&a->worker[i]);
    stpn_state_free(a->state);
    stpn_tape_free(a->tape);
    stpn_adam_free(a->adam);
    void *const blocks[] = {a->acted,       a->recorded,    a->scratch,   a->y,      a->energy, a->reset, a->lengths,
                            a->reward_sums, a->energy_sums, a->bootstrap, a->logits, a->values, a->taken, a->gains,
                            a->over,        a->down[0],     a->down[1],   a->zeros,  a->worker, a->parts};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) memory_free(blocks[i]);
    memory_free(a);
}

/* -------------------------------------------------------------------------------------------------------- accessors */

void a2c_set_profile(a2c *a, profile *p)
{
    for (int i = 0; i < a->workers && a->worker; i++) a->worker[i].lane = profile_lane_of(p, i);
    if (p) net_watch(a->state, a->tape);
}

void a2c_set_energy(a2c *a, int wanted)
{
    a->energy_wanted = wanted;
}

int64_t a2c_take_encoding(a2c *a, int chunk)
{
    return net_take_time(&a->state->encoding[chunk]);
}

double a2c_energy(const a2c *a, int copy)
{
    return value_read(a->net->kernel, a->energy, (size_t)copy);
}

stpn_adam *a2c_adam(a2c *a)
{
    return a->adam;
}

int64_t a2c_rollouts(const a2c *a)
{
    return a->rollouts;
}

void a2c_set_rollouts(a2c *a, int64_t rollouts)
{
    a->rollouts = rollouts;
}

stpn_state *a2c_state(a2c *a)
{
    return a->state;
}

void a2c_restart(a2c *a)
{
    a2c_restart_range(a, 0, a->plan.batch);
}

void a2c_restart_range(a2c *a, int first, int last)
{
    size_t values = a->net->state_values, size = a->net->kernel->size;
    memset((char *)a->state->values + (size_t)first * values * size, 0, (size_t)(last - first) * values * size);
}
