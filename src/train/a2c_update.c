/* An update: returns, then every chunk's gradient through its rollout, their sum, one step of the optimiser. */
#include "base/error.h"
#include "train/a2c_learner.h"
#include "train/parameters.h"
#include "train/schedule.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct update_job {
    a2c *a;
    const void *next_observations;
    int steps;      // of the rollout
    rank_share own; // chunks
    double scale;
} update_job;

/* ---------------------------------------------------------------------------------------------------------- returns */

/* Values that the advantages of copy b are taken against. */
static const void *baseline(const a2c *a, int b)
{
    size_t copy = a->options.baseline == A2C_SHARED ? 0 : (size_t)b;
    return value_at(a->actor.net->kernel, a->actor.values, copy * (size_t)a->actor.plan.steps);
}

/* The advantage of a step that was skipped is 0. */
static void leave_out(const a2c *a, int b, int steps)
{
    const void *values = baseline(a, b);
    size_t at = (size_t)b * (size_t)a->actor.plan.steps;
    for (size_t t = 0; t < (size_t)steps; t++)
        if (a->actor.over[at + t] & STPN_SKIPPED) a->actor.gains[at + t] = value_read(a->actor.net->kernel, values, t);
}

static void returns_turn(void *context, int turn, int thread)
{
    const update_job *job = context;
    int chunk = job->own.first + turn;
    a2c *a = job->a;
    a2c_worker *w = &a->worker[thread];
    a2c_part *part = &a->parts[chunk];
    size_t T = (size_t)a->actor.plan.steps;
    profile_enter(w->lane, PROFILE_READ_OUT);
    *part = (a2c_part){.status = STPN_OK};
    actor_settle(&a->actor, chunk);
    if (job->next_observations)
        part->status =
            actor_look_ahead(&a->actor, chunk, job->next_observations, w->state, w->y, w->values, &a->errors[chunk]);
    for (int b = chunk * a->actor.chunk; b < actor_chunk_end(&a->actor, chunk) && !part->status; b++)
        actor_returns(a->actor.net->kernel, a->options.discount, a->options.lambda, job->steps, baseline(a, b),
                      job->next_observations ? a->actor.bootstrap[b] : 0, a->actor.over + (size_t)b * T,
                      a->actor.gains + (size_t)b * T);
    for (int b = chunk * a->actor.chunk; b < actor_chunk_end(&a->actor, chunk) && !part->status; b++)
        leave_out(a, b, job->steps);
    for (int b = chunk * a->actor.chunk; b < actor_chunk_end(&a->actor, chunk); b++)
        part->taken += actor_count_taken(&a->actor, b, 0, job->steps);
    profile_enter(w->lane, PROFILE_WAITING);
}

/* --------------------------------------------------------------------------------------------------------- gradient */

/* The gradient of the value of copy b, in w->dvalues, from its advantages. */
static void value_rows(const update_job *job, a2c_worker *w, int b, a2c_sums *sums)
{
    const a2c *a = job->a;
    const kernel_table *k = a->actor.net->kernel;
    size_t T = (size_t)a->actor.plan.steps, n = (size_t)job->steps, B = (size_t)a->actor.plan.batch;
    const double factor = -2 * job->scale * a->options.value_weight;
    for (size_t t = 0; t < n; t++) sums->value += w->advantages[t] * w->advantages[t];
    if (a->options.baseline == A2C_OWN) {
        for (size_t t = 0; t < n; t++) value_write(k, w->dvalues, t, factor * w->advantages[t]);
        return;
    }
    /* The value of copy 0 has part in the error of every copy, those of the others in none. */
    memset(w->dvalues, 0, n * k->size);
    if (b > 0) return;
    memset(w->shared, 0, n * sizeof *w->shared);
    for (size_t i = 0; i < B; i++)
        for (size_t t = 0; t < n; t++) w->shared[t] += a->actor.gains[i * T + t] - value_read(k, a->actor.values, t);
    for (size_t t = 0; t < n; t++) value_write(k, w->dvalues, t, factor * w->shared[t]);
}

static void gradient_turn(void *context, int turn, int thread)
{
    const update_job *job = context;
    int chunk = job->own.first + turn;
    a2c *a = job->a;
    const stpn_net *net = a->actor.net;
    const kernel_table *k = net->kernel;
    a2c_worker *w = &a->worker[thread];
    int begin = chunk * a->actor.chunk, end = actor_chunk_end(&a->actor, chunk);
    size_t T = (size_t)a->actor.plan.steps, O = (size_t)a->actor.outputs, A = (size_t)a->actor.actions,
           H = row_values(k, net_outputs(net));
    void *grad = value_at(k, a->actor.tape->chunk_grad, (size_t)chunk * net->block_values);
    profile_enter(w->lane, PROFILE_READ_OUT);
    memset(grad, 0, net->block_values * k->size);
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * T;
        const void *values = baseline(a, b);
        a2c_sums *sums = &a->parts[chunk].sums;
        for (size_t t = 0; t < (size_t)job->steps; t++)
            w->advantages[t] = a->actor.gains[at + t] - value_read(k, values, t);
        const void *logits = value_at(k, a->actor.logits, at * O);
        const uint8_t *over = a->actor.over + at;
        if (a->actor.plan.continuous)
            a2c_policy_values(k, &a->options, job->scale, job->steps, a->actor.actions, logits,
                              a->actor.taken_values + at * A, over, w->advantages, w->space, w->dlogits, sums);
        else
            a2c_policy_rows(k, &a->options, job->scale, job->steps, a->actor.actions, logits, a->actor.taken + at, over,
                            w->advantages, w->losses, w->dlogits, sums);
        value_rows(job, w, b, sums);
        const heads_rows rows = {.count = job->steps,
                                 .y = tape_output(a->actor.tape, b, 0),
                                 .dlogits = w->dlogits,
                                 .dvalues = w->dvalues,
                                 .dy = value_at(k, w->dy, (size_t)(b - begin) * T * H)};
        heads_backward(&a->heads, &rows, grad);
    }
    profile_enter(w->lane, PROFILE_BACKWARD);
    const net_back back = {
        .first = begin, .last = end, .dy = w->dy, .dy_sample = T * H, .dy_step = H, .grad = grad, .worker = thread};
    net_backward_chunk(net, a->actor.tape, &back);
    profile_enter(w->lane, PROFILE_SUM);
    profile_move(w->lane, PROFILE_BACKWARD, PROFILE_ENCODER, net_take_time(&a->actor.tape->encoding[thread]));
    net_join_block(net, a->actor.tape->chunk_grad, a->actor.chunks, job->own, chunk, a->actor.tape->ready);
    profile_enter(w->lane, PROFILE_WAITING);
}

/* ----------------------------------------------------------------------------------------------------------- update */

/* What the rollout's own sums say, and an end to it. */
static void close_rollout(a2c *a, a2c_stats *stats)
{
    actor_sums sums = actor_end_rollout(&a->actor);
    *stats = (a2c_stats){.loss = NAN,
                         .policy_loss = NAN,
                         .value_loss = NAN,
                         .concentration = NAN,
                         .entropy = NAN,
                         .gradient_norm = NAN,
                         .reward = sums.reward,
                         .energy = sums.energy};
}

void a2c_drop(a2c *a, a2c_stats *stats)
{
    close_rollout(a, stats);
    a->actor.rollouts++;
}

static double scale_of(const a2c *a, double taken)
{
    switch (a->options.reduction) {
    case A2C_STEPS: return 1 / (double)a->actor.plan.batch;
    case A2C_SUM: return 1;
    default: return 1 / taken;
    }
}

/* Runs this rank's chunks; what all chunks have left comes to all ranks. */
static stpn_status run_chunks(a2c *a, pool_task turn, update_job *job, stpn_error *error)
{
    profile_lane *lane = a->worker[0].lane;
    profile_enter(lane, PROFILE_WAITING);
    size_t steps = (size_t)a->actor.plan.batch * (size_t)a->actor.plan.steps;
    int workers = net_worth(a->actor.net, steps, a->workers);
    pool_run(a->pool, job->own.last - job->own.first, workers, turn, job);
    profile_enter(lane, PROFILE_RANKS);
    stpn_status status = actor_gather_chunks(&a->actor, a->parts, sizeof *a->parts, error);
    profile_enter(lane, PROFILE_REST);
    if (status) return status;
    return ranks_check(a->actor.ranks, a->actor.chunks, &a->parts->status, sizeof *a->parts, a->errors, error);
}

static stpn_status set_rate(a2c *a, stpn_error *error)
{
    int64_t at = a->actor.rollouts, last = a->updates - 1;
    if (last >= 0 && at > last) at = last;
    return stpn_adam_set_learning_rate(a->adam, schedule_rate(&a->train, at, a->updates), error);
}

static stpn_status learn(a2c *a, const void *next_observations, a2c_stats *stats, stpn_error *error)
{
    update_job job = {
        .a = a, .next_observations = next_observations, .steps = a->actor.recorded[0], .own = actor_own(&a->actor)};
    a2c_sums sums = {0};
    double rows = 0;
    stpn_status status = tape_check(a->actor.tape, 0, a->actor.plan.batch, error);
    if (!status) status = set_rate(a, error);
    if (status) return status;
    heads_transpose(&a->heads);
    int shared = a->options.baseline == A2C_SHARED;
    size_t T = (size_t)a->actor.plan.steps;
    if (shared) status = ranks_broadcast(a->actor.ranks, a->actor.values, T * a->actor.net->kernel->size, error);
    if (!status) status = run_chunks(a, returns_turn, &job, error);
    if (!status && shared) status = actor_gather(&a->actor, a->actor.gains, T * sizeof *a->actor.gains, error);
    for (int c = 0; c < a->actor.chunks; c++) rows += (double)a->parts[c].taken;
    job.scale = scale_of(a, rows);
    if (!status) status = run_chunks(a, gradient_turn, &job, error);
    if (status) return status;
    for (int c = 0; c < a->actor.chunks; c++) a2c_sums_add(&sums, &a->parts[c].sums);
    profile_enter(a->worker[0].lane, PROFILE_RANKS);
    status = net_join_ranks(a->actor.net, a->actor.tape->chunk_grad, a->actor.chunks, a->actor.ranks, error);
    if (status) return status;
    stats->loss = a2c_loss(&a->options, job.scale, &sums);
    stats->policy_loss = sums.policy / rows;
    stats->value_loss = sums.value / rows;
    stats->concentration = sums.concentration / rows;
    stats->entropy = sums.entropy / rows;
    profile_enter(a->worker[0].lane, PROFILE_OPTIMISER);
    stpn_adam *adam = a->actor.rollouts < a->options.burn_in ? NULL : a->adam;
    return parameters_update(a->actor.net, adam, &a->train, a->actor.tape->chunk_grad, stats->loss,
                             &stats->gradient_norm, error);
}

stpn_status a2c_update(a2c *a, const void *next_observations, a2c_stats *stats, stpn_error *error)
{
    error_clear(error);
    a2c_stats learned = {0};
    *stats = learned;
    profile_lane *lane = a->worker ? a->worker[0].lane : NULL; // none where it only acts
    profile_enter(lane, PROFILE_RANKS);
    stpn_status status = actor_meet(&a->actor, error);
    profile_enter(lane, PROFILE_REST);
    if (status) return status;
    status = learn(a, next_observations, &learned, error);
    if (status == STPN_ERROR_NUMERIC) actor_blame_rewards(&a->actor, error);
    close_rollout(a, stats);
    profile_enter(a->worker[0].lane, PROFILE_REST);
    if (status) return status;
    learned.reward = stats->reward;
    learned.energy = stats->energy;
    *stats = learned;
    a->actor.rollouts++;
    return STPN_OK;
}
