#include "train/ppo.h"

#include "base/error.h"
#include "base/memory.h"
#include "train/ppo_learner.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------- made and unmade */

static stpn_status check(const ppo *p, const learner_plan *plan, stpn_error *error)
{
    int count;
    const option *table = ppo_option_table(&count);
    stpn_status status = options_check(table, count, &p->options, "ppo", error);
    if (status || plan->steps > 0) return status;
    return error_set(error, STPN_ERROR_INPUT, "steps is %d, expected 1 to %d", plan->steps, 1 << 24);
}

static stpn_status open_worker(const ppo *p, ppo_worker *w, stpn_error *error)
{
    size_t L = (size_t)p->length, size = p->actor.net->kernel->size, O = (size_t)p->actor.outputs;
    w->logits = memory_zeroed(L, O * size);
    w->dlogits = memory_zeroed(L, O * size);
    w->values = memory_zeroed(L, size);
    w->dvalues = memory_zeroed(L, size);
    w->dy = memory_zeroed((size_t)p->chunk * L, row_values(p->actor.net->kernel, net_outputs(p->actor.net)) * size);
    w->space = memory_zeroed(ppo_rows_space(p->actor.outputs), sizeof *w->space);
    if (w->logits && w->dlogits && w->values && w->dvalues && w->dy && w->space) return STPN_OK;
    return error_memory(error, "the agent");
}

static void close_worker(ppo_worker *w)
{
    memory_free(w->logits);
    memory_free(w->dlogits);
    memory_free(w->values);
    memory_free(w->dvalues);
    memory_free(w->dy);
    memory_free(w->space);
}

/* A rollout in sequences of L steps, the last one of each copy maybe shorter, and how many fit into a minibatch. */
static void plan_sequences(ppo *p, const learner_plan *plan)
{
    int64_t all, shortest, most;
    p->length = p->options.sequence < plan->steps ? p->options.sequence : plan->steps;
    p->pieces = (plan->steps - 1) / p->length + 1;
    all = (int64_t)plan->batch * p->pieces;
    shortest = plan->steps % p->length ? plan->steps % p->length : p->length;
    most = p->options.minibatch / shortest;
    if (most < 1) most = 1;
    p->most = (int)(most < all ? most : all);
    p->chunk = stpn_chunk_size(p->most);
}

static stpn_status open_rollout(ppo *p, stpn_error *error)
{
    const stpn_net *net = p->actor.net;
    size_t B = (size_t)p->actor.plan.batch, T = (size_t)p->actor.plan.steps, pieces = (size_t)p->pieces;
    p->x = memory_zeroed(B * T, actor_observation_bytes(&p->actor));
    p->resets = memory_zeroed(B * T, 1);
    p->starts = memory_zeroed(B * pieces, net->state_values * net->kernel->size);
    p->old_log = memory_zeroed(B * T, sizeof *p->old_log);
    p->advantages = memory_zeroed(B * T, sizeof *p->advantages);
    p->sequences = memory_zeroed(B * pieces, sizeof *p->sequences);
    size_t samples = (size_t)p->actor.chunk;
    p->ahead_y = memory_zeroed(samples, (size_t)net_outputs(net) * net->kernel->size);
    p->ahead_value = memory_zeroed(samples, net->kernel->size);
    if (!p->x || !p->resets || !p->starts || !p->old_log || !p->advantages || !p->sequences || !p->ahead_y ||
        !p->ahead_value)
        return error_memory(error, "the agent");
    return net_state_create(&p->ahead, net, p->actor.chunk, p->actor.chunk, error);
}

static stpn_status open_learning(ppo *p, stpn_error *error)
{
    const train_options *o = &p->train;
    stpn_net *net = p->actor.net;
    size_t L = (size_t)p->length, N = (size_t)p->most;
    int chunks = (p->most - 1) / p->chunk + 1, threads = stpn_pool_threads(p->pool);
    p->workers = threads < chunks ? threads : chunks;
    p->batch_x = memory_zeroed(L * N, actor_observation_bytes(&p->actor));
    p->batch_reset = memory_zeroed(L * N, 1);
    p->batch_steps = memory_zeroed(N, sizeof *p->batch_steps);
    p->worker = memory_zeroed((size_t)p->workers, sizeof *p->worker);
    p->parts = memory_zeroed((size_t)chunks, sizeof *p->parts);
    p->errors = memory_zeroed((size_t)chunks, sizeof *p->errors);
    if (!p->batch_x || !p->batch_reset || !p->batch_steps || !p->worker || !p->parts || !p->errors)
        return error_memory(error, "the agent");
    stpn_status status = stpn_state_create(&p->state, net, p->most, error);
    if (!status) status = stpn_tape_create(&p->tape, net, p->length, p->most, p->workers, error);
    if (!status) status = heads_open(&p->heads, net, p->actor.policy, p->actor.value, error);
    for (int i = 0; i < p->workers && !status; i++) status = open_worker(p, &p->worker[i], error);
    if (!status) status = stpn_adam_create(&p->adam, net, o->learning_rate, o->beta1, o->beta2, o->epsilon, error);
    if (!status) status = stpn_adam_set_weight_decay(p->adam, o->weight_decay, error);
    for (int i = 0; i < 3 && !status; i++) {
        p->kept[i] = stpn_block_create(net);
        if (!p->kept[i]) status = error_memory(error, "the agent");
    }
    return status;
}

stpn_status ppo_create(ppo **out, stpn_net *net, const train_options *train, const ppo_options *options,
                       const learner_plan *plan, stpn_pool *pool, uint64_t seed, stpn_error *error)
{
    error_clear(error);
    *out = NULL;
    ppo *p = memory_zeroed(1, sizeof *p);
    if (!p) return error_memory(error, "the agent");
    *p = (ppo){
        .pool = pool, .train = *train, .options = *options, .updates = plan->updates, .kl_weight = options->kl_weight};
    const actor_plan acting = actor_plan_of(plan, options->discount, seed);
    stpn_status status = check(p, plan, error);
    if (!status) status = actor_open(&p->actor, net, &acting, error);
    if (!status) {
        plan_sequences(p, plan);
        status = open_rollout(p, error);
    }
    if (!status) status = open_learning(p, error);
    if (!status) *out = p;
    else ppo_free(p);
    return status;
}

void ppo_free(ppo *p)
{
    if (!p) return;
    void *const blocks[] = {p->x,         p->resets,  p->starts,      p->old_log,     p->advantages,
                            p->sequences, p->batch_x, p->batch_reset, p->batch_steps, p->parts,
                            p->errors,    p->ahead_y, p->ahead_value};
    for (int i = 0; i < p->workers && p->worker; i++) close_worker(&p->worker[i]);
    memory_free(p->worker);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) memory_free(blocks[i]);
    for (int i = 0; i < 3; i++) stpn_block_free(p->kept[i]);
    stpn_adam_free(p->adam);
    heads_close(&p->heads);
    stpn_tape_free(p->tape);
    stpn_state_free(p->state);
    stpn_state_free(p->ahead);
    actor_close(&p->actor);
    memory_free(p);
}

/* ----------------------------------------------------------------------------------------------------------- to act */

/* What the replay of the step about to be made begins with. */
static void keep(ppo *p, int chunk, const void *observations)
{
    const actor *a = &p->actor;
    const stpn_net *net = a->net;
    size_t T = (size_t)a->plan.steps, t = (size_t)a->acted[chunk], item = actor_observation_bytes(a);
    size_t state = net->state_values * net->kernel->size, L = (size_t)p->length;
    if (t < T && t % L == 0) actor_settle(a, chunk);
    for (size_t b = (size_t)chunk * (size_t)a->chunk; b < (size_t)actor_chunk_end(a, chunk) && t < T; b++) {
        memcpy((char *)p->x + (b * T + t) * item, (const char *)observations + b * item, item);
        if (t % L) continue;
        memcpy((char *)p->starts + (b * (size_t)p->pieces + t / L) * state, (const char *)a->state->values + b * state,
               state);
    }
}

stpn_status ppo_act(ppo *p, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                    void *actions, stpn_error *error)
{
    actor *a = &p->actor;
    stpn_status status = actor_check_range(a, first, last, error);
    if (status) return status;
    for (int chunk = first / a->chunk; chunk * a->chunk < last && !status; chunk++) {
        int begin = chunk * a->chunk, end = actor_chunk_end(a, chunk);
        size_t T = (size_t)a->plan.steps, t = (size_t)a->acted[chunk];
        keep(p, chunk, observations);
        status = actor_act(a, begin, end, observations, reset, choice, actions, error);
        for (size_t b = (size_t)begin; b < (size_t)end && !status; b++) p->resets[b * T + t] = a->reset[b];
    }
    return status;
}

stpn_status ppo_record(ppo *p, int first, int last, const float *rewards, const uint8_t *ends,
                       const void *last_observations, stpn_error *error)
{
    return actor_record(&p->actor, first, last, rewards, ends, last_observations, error);
}

/* -------------------------------------------------------------------------------------------------------- accessors */

policy_kind ppo_policy(const ppo *p)
{
    return (policy_kind){p->actor.actions, p->actor.plan.continuous > 0};
}

void ppo_set_profile(ppo *p, profile *told)
{
    for (int i = 0; i < p->workers; i++) p->worker[i].lane = profile_lane_of(told, i);
}

void ppo_set_energy(ppo *p, int wanted)
{
    p->actor.energy_wanted = wanted;
}

void ppo_set_ranks(ppo *p, stpn_ranks *ranks)
{
    p->actor.ranks = ranks;
}

stpn_adam *ppo_adam(ppo *p)
{
    return p->adam;
}

int64_t ppo_rollouts(const ppo *p)
{
    return p->actor.rollouts;
}

void ppo_set_rollouts(ppo *p, int64_t rollouts)
{
    p->actor.rollouts = rollouts;
}

double ppo_kl_weight(const ppo *p)
{
    return p->kl_weight;
}

void ppo_set_kl_weight(ppo *p, double weight)
{
    p->kl_weight = weight;
}

stpn_state *ppo_state(ppo *p)
{
    return actor_state(&p->actor);
}

void ppo_restart_range(ppo *p, int first, int last)
{
    actor_restart(&p->actor, first, last);
}

const void *ppo_parameters_before(const ppo *p)
{
    return p->kept[0];
}
