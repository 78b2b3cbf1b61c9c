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
    int steps; // of the rollout
    double scale;
} update_job;

/* ---------------------------------------------------------------------------------------------------------- returns */

/* v_T, by a step of a copy of the state. */
static stpn_status look_ahead(const update_job *job, int chunk, a2c_worker *w, stpn_error *error)
{
    const a2c *a = job->a;
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * CHUNK, count = a2c_chunk_end(a, chunk) - begin;
    size_t item = a->plan.type == STPN_INPUT_TOKEN ? sizeof(int32_t) : (size_t)net->inputs;
    if (a->plan.type == STPN_INPUT_FLOAT) item *= sizeof(float);
    if (a->plan.type == STPN_INPUT_DOUBLE) item *= sizeof(double);
    memcpy(w->state->values, value_at(k, a->state->values, (size_t)begin * net->state_values),
           (size_t)count * net->state_values * k->size);
    const stpn_sequence q = {.steps = 1,
                             .batch = count,
                             .type = a->plan.type,
                             .x = (const char *)job->next_observations + (size_t)begin * item};
    stpn_status status = stpn_forward(net, w->state, &q, w->y, NULL, NULL, NULL, error);
    if (status) return status;
    net_head_forward(net, a->value, count, w->y, (size_t)net_outputs(net), w->values);
    for (int i = 0; i < count; i++) a->bootstrap[begin + i] = value_read(k, w->values, (size_t)i);
    return STPN_OK;
}

/* Values that the advantages of copy b are taken against. */
static const void *baseline(const a2c *a, int b)
{
    size_t copy = a->options.baseline == A2C_SHARED ? 0 : (size_t)b;
    return value_at(a->net->kernel, a->values, copy * (size_t)a->plan.steps);
}

static void returns_turn(void *context, int chunk, int thread)
{
    const update_job *job = context;
    a2c *a = job->a;
    a2c_worker *w = &a->worker[thread];
    a2c_part *part = &a->parts[chunk];
    size_t T = (size_t)a->plan.steps;
    profile_enter(w->lane, PROFILE_READ_OUT);
    *part = (a2c_part){.status = STPN_OK};
    if (job->next_observations) part->status = look_ahead(job, chunk, w, &part->error);
    for (int b = chunk * CHUNK; b < a2c_chunk_end(a, chunk) && !part->status; b++)
        a2c_returns(a->net->kernel, &a->options, job->steps, baseline(a, b),
                    job->next_observations ? a->bootstrap[b] : 0, a->over + (size_t)b * T, a->gains + (size_t)b * T);
    profile_enter(w->lane, PROFILE_WAITING);
}

/* --------------------------------------------------------------------------------------------------------- gradient */

/* The gradient of the value of copy b, in w->dvalues, from its advantages. */
static void value_rows(const update_job *job, a2c_worker *w, int b, a2c_sums *sums)
{
    const a2c *a = job->a;
    const kernel_table *k = a->net->kernel;
    size_t T = (size_t)a->plan.steps, n = (size_t)job->steps, B = (size_t)a->plan.batch;
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
        for (size_t t = 0; t < n; t++) w->shared[t] += a->gains[i * T + t] - value_read(k, a->values, t);
    for (size_t t = 0; t < n; t++) value_write(k, w->dvalues, t, factor * w->shared[t]);
}

/* Through the heads: their gradients, and dy (T, Hp) of the sample. */
static void heads_back(const update_job *job, const a2c_worker *w, int b, void *grad, void *dy)
{
    const a2c *a = job->a;
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    size_t row = net->units[net->unit_count - 1].row, H = row_values(k, net_outputs(net));
    const void *y = tape_output(a->tape, b, 0);
    const int heads[2] = {a->policy, a->value};
    void *const dout[2] = {w->dlogits, w->dvalues};
    const row_list down = {.values = dy, .rows = job->steps, .inner = job->steps, .inner_step = H};
    for (int i = 0; i < 2; i++) {
        int outputs = net->heads[heads[i]].outputs;
        const row_list up = {.values = dout[i], .rows = job->steps, .inner = job->steps, .inner_step = (size_t)outputs};
        const panel_matrix weight = {.values = a->down[i],
                                     .panels = (int)H / k->lanes,
                                     .columns = outputs,
                                     .panel_step = row_values(k, outputs) * (size_t)k->lanes};
        net_head_backward(net, heads[i], job->steps, y, row, dout[i], grad, NULL);
        k->product(&up, &weight, i == 0 ? a->zeros : NULL, &down);
    }
}

static void transpose_heads(const a2c *a)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    const int heads[2] = {a->policy, a->value};
    for (int i = 0; i < 2; i++) {
        const net_head *h = &net->heads[heads[i]];
        const panel_matrix weight = {.values = value_at(k, net->parameters, h->weight.offset),
                                     .panels = (int)row_values(k, h->outputs) / k->lanes,
                                     .columns = net_outputs(net),
                                     .panel_step = (size_t)net_outputs(net) * (size_t)k->lanes};
        k->transpose(&weight, a->down[i]);
    }
}

static void gradient_turn(void *context, int chunk, int thread)
{
    const update_job *job = context;
    a2c *a = job->a;
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    a2c_worker *w = &a->worker[thread];
    int begin = chunk * CHUNK, end = a2c_chunk_end(a, chunk);
    size_t T = (size_t)a->plan.steps, A = (size_t)a->actions, H = row_values(k, net_outputs(net));
    void *grad = value_at(k, a->tape->chunk_grad, (size_t)chunk * net->block_values);
    profile_enter(w->lane, PROFILE_READ_OUT);
    memset(grad, 0, net->block_values * k->size);
    for (int b = begin; b < end; b++) {
        size_t at = (size_t)b * T;
        const void *values = baseline(a, b);
        a2c_sums *sums = &a->parts[chunk].sums;
        for (size_t t = 0; t < (size_t)job->steps; t++) w->advantages[t] = a->gains[at + t] - value_read(k, values, t);
        a2c_policy_rows(k, &a->options, job->scale, job->steps, a->actions, value_at(k, a->logits, at * A),
                        a->taken + at, w->advantages, w->losses, w->dlogits, sums);
        value_rows(job, w, b, sums);
        heads_back(job, w, b, grad, value_at(k, w->dy, (size_t)(b - begin) * T * H));
    }
    profile_enter(w->lane, PROFILE_BACKWARD);
    const net_back back = {
        .first = begin, .last = end, .dy = w->dy, .dy_sample = T * H, .dy_step = H, .grad = grad, .worker = thread};
    net_backward_chunk(net, a->tape, &back);
    profile_enter(w->lane, PROFILE_SUM);
    profile_move(w->lane, PROFILE_BACKWARD, PROFILE_ENCODER, net_take_time(&a->tape->encoding[thread]));
    net_join_block(net, a->tape->chunk_grad, a->chunks, chunk, a->tape->ready);
    profile_enter(w->lane, PROFILE_WAITING);
}

/* ----------------------------------------------------------------------------------------------------------- update */

/* The states are as they would come back from a checkpoint: without what a unit keeps beside their values. */
static void settle(const a2c *a)
{
    const stpn_net *net = a->net;
    for (int b = 0; b < a->plan.batch; b++)
        for (int i = 0; i < net->state_count; i++) {
            const net_state *entry = &net->states[i];
            const unit *u = &net->units[entry->unit];
            size_t at = (size_t)b * net->state_values + net->unit_state[entry->unit];
            if (u->type->state_changed)
                u->type->state_changed(u, entry->index, value_at(net->kernel, a->state->values, at));
        }
}

/* What the rollout's own sums say, and an end to it. */
static void close_rollout(a2c *a, a2c_stats *stats)
{
    double B = a->plan.batch, steps = a->recorded[0];
    *stats = (a2c_stats){.loss = NAN,
                         .policy_loss = NAN,
                         .value_loss = NAN,
                         .concentration = NAN,
                         .entropy = NAN,
                         .gradient_norm = NAN,
                         .energy = a->energy_wanted && steps > 0 ? 0 : NAN};
    for (int b = 0; b < a->plan.batch; b++) {
        stats->reward += a->reward_sums[b] / B;
        stats->energy += a->energy_sums[b] / (B * steps);
        a->reward_sums[b] = a->energy_sums[b] = 0;
    }
    memset(a->acted, 0, (size_t)a->chunks * sizeof *a->acted);
    memset(a->recorded, 0, (size_t)a->chunks * sizeof *a->recorded);
    if (a->tape) stpn_tape_rewind(a->tape);
    settle(a);
}

void a2c_drop(a2c *a, a2c_stats *stats)
{
    close_rollout(a, stats);
    a->rollouts++;
}

static stpn_status check_rollout(const a2c *a, stpn_error *error)
{
    if (!a->tape) return error_set(error, STPN_ERROR_INPUT, "an agent that only acts has nothing to learn from");
    if (a->recorded[0] == 0) return error_set(error, STPN_ERROR_INPUT, "no step is recorded to learn from");
    for (int c = 0; c < a->chunks; c++)
        if (a->acted[c] != a->recorded[0] || a->recorded[c] != a->recorded[0])
            return error_set(
                error, STPN_ERROR_INPUT,
                "copy %d has acted %d times, %d of which are recorded; copy 0 has %d: expected equal counts", c * CHUNK,
                a->acted[c], a->recorded[c], a->recorded[0]);
    return STPN_OK;
}

static double scale_of(const a2c *a, int steps)
{
    switch (a->options.reduction) {
    case A2C_STEPS: return 1 / (double)a->plan.batch;
    case A2C_SUM: return 1;
    default: return 1 / ((double)a->plan.batch * steps);
    }
}

static stpn_status set_rate(a2c *a, stpn_error *error)
{
    int64_t at = a->rollouts, last = a->plan.updates - 1;
    if (last >= 0 && at > last) at = last;
    return stpn_adam_set_learning_rate(a->adam, schedule_rate(&a->train, at, a->plan.updates), error);
}

static stpn_status learn(a2c *a, const void *next_observations, a2c_stats *stats, stpn_error *error)
{
    int steps = (int)stpn_tape_steps(a->tape, 0);
    update_job job = {a, next_observations, steps, scale_of(a, steps)};
    a2c_sums sums = {0};
    stpn_status status = set_rate(a, error);
    if (status) return status;
    transpose_heads(a);
    profile_enter(a->worker[0].lane, PROFILE_WAITING);
    pool_run(a->pool, a->chunks, a->workers, returns_turn, &job);
    for (int c = 0; c < a->chunks; c++)
        if (a->parts[c].status) return error_set(error, a->parts[c].status, "%s", a->parts[c].error.message);
    pool_run(a->pool, a->chunks, a->workers, gradient_turn, &job);
    for (int c = 0; c < a->chunks; c++) a2c_sums_add(&sums, &a->parts[c].sums);
    double rows = (double)a->plan.batch * steps;
    stats->loss = a2c_loss(&a->options, job.scale, &sums);
    stats->policy_loss = sums.policy / rows;
    stats->value_loss = sums.value / rows;
    stats->concentration = sums.concentration / rows;
    stats->entropy = sums.entropy / rows;
    profile_enter(a->worker[0].lane, PROFILE_OPTIMISER);
    stpn_adam *adam = a->rollouts < a->options.burn_in ? NULL : a->adam;
    return parameters_update(a->net, adam, &a->train, a->tape->chunk_grad, stats->loss, &stats->gradient_norm, error);
}

/* Says more of a loss that is not finite, where the environment is the reason. */
static void blame_rewards(const a2c *a, stpn_error *error)
{
    for (int b = 0; b < a->plan.batch; b++) {
        if (isfinite(a->reward_sums[b])) continue;
        error_set(error, STPN_ERROR_NUMERIC, "the rewards of copy %d add up to %g", b, a->reward_sums[b]);
        return;
    }
}

stpn_status a2c_update(a2c *a, const void *next_observations, a2c_stats *stats, stpn_error *error)
{
    error_clear(error);
    a2c_stats learned = {0};
    *stats = learned;
    stpn_status status = check_rollout(a, error);
    if (status) return status;
    status = learn(a, next_observations, &learned, error);
    if (status == STPN_ERROR_NUMERIC) blame_rewards(a, error);
    close_rollout(a, stats);
    profile_enter(a->worker[0].lane, PROFILE_REST);
    if (status) return status;
    learned.reward = stats->reward;
    learned.energy = stats->energy;
    *stats = learned;
    a->rollouts++;
    return STPN_OK;
}
