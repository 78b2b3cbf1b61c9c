/* An update: returns and advantages of the rollout, then passes over its sequences in minibatches, each of them replayed,
 * its gradient summed over chunks of sequences, and a step of the optimiser. */
#include "base/error.h"
#include "base/random.h"
#include "train/parameters.h"
#include "train/ppo_learner.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------ what it comes to */

/* log p of the actions taken, from what the policy put out then. */
static void old_logs(ppo *p, int b, int steps)
{
    const actor *a = &p->actor;
    const kernel_table *k = a->net->kernel;
    const policy_kind distribution = ppo_policy(p);
    size_t T = (size_t)a->plan.steps, O = (size_t)a->outputs, A = (size_t)a->actions;
    double *row = p->worker[0].space;
    for (size_t at = (size_t)b * T; at < (size_t)b * T + (size_t)steps; at++) {
        policy_action action = {.choice = a->taken ? a->taken[at] : 0,
                                .values = a->taken ? NULL : a->taken_values + at * A};
        for (size_t i = 0; i < O; i++) row[i] = value_read(k, a->logits, at * O + i);
        p->old_log[at] = policy_log(&distribution, row, action, NULL);
    }
}

/* Over the steps that were not skipped. */
static double mean_of(const ppo *p, int steps, const double *values)
{
    double sum = 0;
    int64_t count = 0;
    size_t T = (size_t)p->actor.plan.steps, B = (size_t)p->actor.plan.batch;
    for (size_t b = 0; b < B; b++)
        for (size_t at = b * T; at < b * T + (size_t)steps; at++) {
            if (p->actor.over[at] & STPN_SKIPPED) continue;
            sum += values[at];
            count++;
        }
    return sum / (double)count;
}

static double variance_of(const ppo *p, int steps, const double *values)
{
    double sum = 0, mean = mean_of(p, steps, values);
    int64_t count = 0;
    size_t T = (size_t)p->actor.plan.steps, B = (size_t)p->actor.plan.batch;
    for (size_t b = 0; b < B; b++)
        for (size_t at = b * T; at < b * T + (size_t)steps; at++) {
            double difference = values[at] - mean;
            if (p->actor.over[at] & STPN_SKIPPED) continue;
            sum += difference * difference;
            count++;
        }
    return sum / (double)count;
}

static void standardise(const ppo *p, int steps, double *values)
{
    const double least = 1e-8;
    double mean = mean_of(p, steps, values), deviation = sqrt(variance_of(p, steps, values));
    size_t T = (size_t)p->actor.plan.steps, B = (size_t)p->actor.plan.batch;
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < (size_t)steps; t++) {
            double *value = &values[b * T + t];
            *value = (*value - mean) / (deviation + least);
        }
}

static stpn_status look_ahead(ppo *p, const void *next_observations, stpn_error *error)
{
    actor *a = &p->actor;
    rank_share own = actor_own(a);
    stpn_status status = STPN_OK;
    for (int chunk = own.first; chunk < own.last && !status; chunk++)
        status = actor_look_ahead(a, chunk, next_observations, p->ahead, p->ahead_y, p->ahead_value, error);
    return status;
}

/* What minibatches are made of, which take their sequences from anywhere. */
static stpn_status gather_rollout(ppo *p, stpn_error *error)
{
    actor *a = &p->actor;
    size_t T = (size_t)a->plan.steps, size = a->net->kernel->size, A = (size_t)a->actions;
    const struct {
        void *rows;
        size_t bytes;
    } all[] = {{p->x, T * actor_observation_bytes(a)},
               {p->resets, T},
               {p->starts, (size_t)p->pieces * a->net->state_values * size},
               {a->logits, T * (size_t)a->outputs * size},
               {a->values, T * size},
               {a->taken, T * sizeof *a->taken},
               {a->taken_values, T * A * sizeof *a->taken_values},
               {a->gains, T * sizeof *a->gains},
               {a->over, T},
               {a->bootstrap, sizeof *a->bootstrap}};
    stpn_status status = STPN_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && !status; i++)
        if (all[i].rows) status = actor_gather(a, all[i].rows, all[i].bytes, error);
    return status;
}

static stpn_status take_returns(ppo *p, const void *next_observations, int steps, ppo_stats *stats, stpn_error *error)
{
    actor *a = &p->actor;
    const kernel_table *k = a->net->kernel;
    size_t T = (size_t)a->plan.steps;
    (void)actor_state(a);
    stpn_status status = next_observations ? look_ahead(p, next_observations, error) : STPN_OK;
    profile_part before = profile_enter(p->worker[0].lane, PROFILE_RANKS);
    status = ranks_agree(a->ranks, status, error);
    if (!status) status = gather_rollout(p, error);
    profile_enter(p->worker[0].lane, before);
    if (status) return status;
    for (int b = 0; b < a->plan.batch; b++) {
        size_t at = (size_t)b * T;
        actor_returns(k, p->options.discount, p->options.lambda, steps, value_at(k, a->values, at),
                      next_observations ? a->bootstrap[b] : 0, a->over + at, a->gains + at);
        for (size_t t = at; t < at + (size_t)steps; t++) p->advantages[t] = a->gains[t] - value_read(k, a->values, t);
        old_logs(p, b, steps);
    }
    double spread = variance_of(p, steps, a->gains);
    stats->explained_variance = spread > 0 ? 1 - variance_of(p, steps, p->advantages) / spread : 0;
    if (p->options.normalise_advantages) standardise(p, steps, p->advantages);
    return STPN_OK;
}

/* ------------------------------------------------------------------------------------------------------ a minibatch */

typedef struct gradient_job {
    ppo *p;
    const ppo_sequence *sequences;
    int count, chunks;
    rank_share own; // of the chunks
    ppo_terms terms;
} gradient_job;

/* Sequence i of the minibatch from the rollout to where the net reads it. */
static void fetch(const gradient_job *job, int i)
{
    ppo *p = job->p;
    const ppo_sequence *s = &job->sequences[i];
    const stpn_net *net = p->actor.net;
    size_t item = actor_observation_bytes(&p->actor), state = net->state_values * net->kernel->size;
    size_t at = (size_t)s->copy * (size_t)p->actor.plan.steps + (size_t)s->begin, N = (size_t)p->most, n = (size_t)i;
    size_t piece = (size_t)s->copy * (size_t)p->pieces + (size_t)(s->begin / p->length);
    memcpy((char *)p->state->values + n * state, (const char *)p->starts + piece * state, state);
    p->batch_steps[i] = s->steps;
    for (size_t t = 0; t < (size_t)s->steps; t++) {
        memcpy((char *)p->batch_x + (t * N + n) * item, (const char *)p->x + (at + t) * item, item);
        p->batch_reset[t * N + n] = p->resets[at + t];
    }
}

static void sequence_back(const gradient_job *job, ppo_worker *w, int i, void *dy, void *grad, ppo_sums *sums)
{
    const ppo *p = job->p;
    const actor *a = &p->actor;
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    const ppo_sequence *s = &job->sequences[i];
    const policy_kind distribution = ppo_policy(p);
    size_t at = (size_t)s->copy * (size_t)a->plan.steps + (size_t)s->begin, O = (size_t)a->outputs;
    size_t row = net->units[net->unit_count - 1].row;
    const void *y = tape_output(p->tape, i, 0);
    net_head_forward(net, a->policy, s->steps, y, row, w->logits);
    net_head_forward(net, a->value, s->steps, y, row, w->values);
    const ppo_rows rows = {.steps = s->steps,
                           .logits = w->logits,
                           .values = w->values,
                           .old_logits = value_at(k, a->logits, at * O),
                           .taken = a->taken ? a->taken + at : NULL,
                           .taken_values = a->taken ? NULL : a->taken_values + at * (size_t)a->actions,
                           .old_log = p->old_log + at,
                           .advantages = p->advantages + at,
                           .returns = a->gains + at,
                           .over = a->over + at,
                           .dlogits = w->dlogits,
                           .dvalues = w->dvalues,
                           .space = w->space};
    ppo_rows_back(k, &job->terms, &distribution, &rows, sums);
    const heads_rows back = {.count = s->steps, .y = y, .dlogits = w->dlogits, .dvalues = w->dvalues, .dy = dy};
    heads_backward(&p->heads, &back, grad);
}

static void gradient_turn(void *context, int turn, int thread)
{
    const gradient_job *job = context;
    int chunk = job->own.first + turn;
    ppo *p = job->p;
    const stpn_net *net = p->actor.net;
    const kernel_table *k = net->kernel;
    ppo_worker *w = &p->worker[thread];
    ppo_part *part = &p->parts[chunk];
    int begin = chunk * p->chunk, end = begin + p->chunk < job->count ? begin + p->chunk : job->count;
    size_t L = (size_t)p->length, H = row_values(k, net_outputs(net));
    void *grad = value_at(k, p->tape->chunk_grad, (size_t)chunk * net->block_values);
    *part = (ppo_part){.status = STPN_OK};
    profile_enter(w->lane, PROFILE_FORWARD);
    memset(grad, 0, net->block_values * k->size);
    for (int i = begin; i < end; i++) fetch(job, i);
    const stpn_sequence q = {.steps = p->length,
                             .batch = p->most,
                             .first = begin,
                             .last = end,
                             .type = p->actor.plan.type,
                             .x = p->batch_x,
                             .reset = p->batch_reset,
                             .lengths = p->batch_steps};
    part->status = stpn_forward(net, p->state, &q, NULL, NULL, p->tape, NULL, &p->errors[chunk]);
    profile_enter(w->lane, PROFILE_READ_OUT);
    for (int i = begin; i < end && !part->status; i++)
        sequence_back(job, w, i, value_at(k, w->dy, (size_t)(i - begin) * L * H), grad, &part->sums);
    profile_enter(w->lane, PROFILE_BACKWARD);
    const net_back back = {
        .first = begin, .last = end, .dy = w->dy, .dy_sample = L * H, .dy_step = H, .grad = grad, .worker = thread};
    if (!part->status) net_backward_chunk(net, p->tape, &back);
    profile_enter(w->lane, PROFILE_SUM);
    net_join_block(net, p->tape->chunk_grad, job->chunks, job->own, chunk, p->tape->ready);
    profile_enter(w->lane, PROFILE_WAITING);
}

stpn_status ppo_gradient(ppo *p, const ppo_sequence *sequences, int count, ppo_sums *sums, double *loss,
                         stpn_error *error)
{
    int64_t steps = 0;
    for (int i = 0; i < count; i++) {
        const ppo_sequence *s = &sequences[i];
        steps += actor_count_taken(&p->actor, s->copy, s->begin, s->begin + s->steps);
    }
    gradient_job job = {.p = p,
                        .sequences = sequences,
                        .count = count,
                        .chunks = (count - 1) / p->chunk + 1,
                        .terms = {&p->options, p->kl_weight, 1 / (double)steps}};
    stpn_ranks *ranks = p->actor.ranks;
    job.own = ranks_share(ranks, job.chunks);
    *sums = (ppo_sums){0};
    stpn_tape_rewind(p->tape);
    heads_transpose(&p->heads);
    int workers = net_worth(p->actor.net, (size_t)steps, p->workers);
    pool_run(p->pool, job.own.last - job.own.first, workers, gradient_turn, &job);
    profile_enter(p->worker[0].lane, PROFILE_RANKS);
    stpn_status status = ranks_gather(ranks, p->parts, sizeof *p->parts, job.chunks, 1, error);
    if (!status) status = ranks_check(ranks, job.chunks, &p->parts->status, sizeof *p->parts, p->errors, error);
    if (!status) status = net_join_ranks(p->actor.net, p->tape->chunk_grad, job.chunks, ranks, error);
    for (int c = 0; c < job.chunks; c++) ppo_sums_add(sums, &p->parts[c].sums);
    *loss = ppo_loss(&job.terms, sums);
    profile_enter(p->worker[0].lane, PROFILE_REST);
    return status;
}

/* ----------------------------------------------------------------------------------------------------------- passes */

/* All sequences of the rollout, in an order that depends on the seed, the rollout and the pass alone. */
static int shuffle(const ppo *p, int steps, int pass)
{
    int count = 0;
    uint64_t stream = (uint64_t)p->actor.rollouts << 24 | (uint64_t)pass;
    random_stream random = random_open(p->actor.plan.seed, RANDOM_SHUFFLE, stream);
    for (int b = 0; b < p->actor.plan.batch; b++)
        for (int t = 0; t < steps; t += p->length) {
            int end = steps - t < p->length ? steps : t + p->length;
            if (actor_count_taken(&p->actor, b, t, end) > 0) p->sequences[count++] = (ppo_sequence){b, t, end - t};
        }
    for (int i = count - 1; i > 0; i--) {
        int other = (int)random_below(&random, (uint32_t)(i + 1));
        ppo_sequence swap = p->sequences[i];
        p->sequences[i] = p->sequences[other];
        p->sequences[other] = swap;
    }
    return count;
}

/* As many sequences from `first` on as fit, at least one. */
static int fill(const ppo *p, int first, int count)
{
    int n = 1, steps = p->sequences[first].steps;
    while (n < p->most && first + n < count && steps + p->sequences[first + n].steps <= p->options.minibatch)
        steps += p->sequences[first + n++].steps;
    return n;
}

/* What an update has summed up. */
typedef struct update_sums {
    ppo_sums all, last; // of every pass, of the last one
    double loss, norm;  // over minibatches, the loss times its steps
    int64_t minibatches;
} update_sums;

static stpn_status pass(ppo *p, int steps, int index, update_sums *u, stpn_error *error)
{
    profile_lane *lane = p->worker[0].lane;
    int count = shuffle(p, steps, index);
    stpn_status status = STPN_OK;
    u->last = (ppo_sums){0};
    for (int first = 0, n; first < count && !status; first += n) {
        ppo_sums sums;
        double loss = 0, norm = 0;
        n = fill(p, first, count);
        status = ppo_gradient(p, p->sequences + first, n, &sums, &loss, error);
        if (status) break;
        profile_enter(lane, PROFILE_OPTIMISER);
        status = parameters_update(p->actor.net, p->adam, &p->train, p->tape->chunk_grad, loss, &norm, error);
        ppo_sums_add(&u->all, &sums);
        ppo_sums_add(&u->last, &sums);
        u->loss += loss * (double)sums.steps;
        u->norm += norm;
        u->minibatches++;
    }
    return status;
}

static stpn_status set_rate(ppo *p, stpn_error *error)
{
    int64_t at = p->actor.rollouts, last = p->updates - 1;
    if (last >= 0 && at > last) at = last;
    return stpn_adam_set_learning_rate(p->adam, schedule_rate(&p->train, at, p->updates), error);
}

/* Towards a distance of about the target between the policies of one rollout and the next. */
static void adapt(ppo *p, const update_sums *u)
{
    const double least = 1e-9; // from 0 there would be no way back
    double distance = u->last.distance / (double)u->last.steps, target = p->options.kl_target;
    if (distance > 2 * target) p->kl_weight *= 1.5;
    else if (distance < target / 2) p->kl_weight = fmax(0.5 * p->kl_weight, least);
}

static void conclude(const update_sums *u, ppo_stats *stats)
{
    double steps = (double)u->all.steps, last = (double)u->last.steps;
    stats->loss = u->loss / steps;
    stats->policy_loss = u->all.policy / steps;
    stats->value_loss = u->all.value / steps;
    stats->entropy = u->all.entropy / steps;
    stats->kl = u->last.kl / last;
    stats->clip_fraction = u->last.clipped / last;
    stats->gradient_norm = u->norm / (double)u->minibatches;
}

static void keep_blocks(const ppo *p, int restore)
{
    const stpn_net *net = p->actor.net;
    void *const blocks[3] = {net->parameters, p->adam->first, p->adam->second};
    size_t bytes = net->block_values * net->kernel->size;
    for (int i = 0; i < 3; i++) memcpy(restore ? blocks[i] : p->kept[i], restore ? p->kept[i] : blocks[i], bytes);
    if (restore) net_changed(net);
}

static stpn_status learn(ppo *p, const void *next_observations, ppo_stats *stats, stpn_error *error)
{
    int steps = p->actor.recorded[0];
    int64_t updates = p->adam->updates;
    update_sums u = {{0}, {0}, 0, 0, 0};
    stpn_status status = set_rate(p, error);
    if (!status) status = take_returns(p, next_observations, steps, stats, error);
    if (status) return status;
    keep_blocks(p, 0);
    for (int i = 0; i < p->options.passes && !status; i++) status = pass(p, steps, i, &u, error);
    if (status) {
        keep_blocks(p, 1);
        p->adam->updates = updates;
        return status;
    }
    conclude(&u, stats);
    if (p->kl_weight > 0) adapt(p, &u);
    return STPN_OK;
}

stpn_status ppo_update(ppo *p, const void *next_observations, ppo_stats *stats, stpn_error *error)
{
    error_clear(error);
    *stats = (ppo_stats){0};
    profile_enter(p->worker[0].lane, PROFILE_RANKS);
    stpn_status status = actor_meet(&p->actor, error);
    profile_enter(p->worker[0].lane, PROFILE_REST);
    if (status) return status;
    ppo_stats learned = {0};
    profile_enter(p->worker[0].lane, PROFILE_READ_OUT);
    status = learn(p, next_observations, &learned, error);
    if (status == STPN_ERROR_NUMERIC) actor_blame_rewards(&p->actor, error);
    learned.energy = actor_end_rollout(&p->actor).energy;
    profile_enter(p->worker[0].lane, PROFILE_REST);
    if (status) return status;
    *stats = learned;
    p->actor.rollouts++;
    return STPN_OK;
}

void ppo_drop(ppo *p)
{
    actor_end_rollout(&p->actor);
    p->actor.rollouts++;
}
