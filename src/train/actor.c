/* Acting, and what came of it: range by range, each on any thread. */
#include "train/actor.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "net/learn.h"
#include "train/policy.h"

#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------- made and unmade */

static stpn_status find_heads(actor *a, stpn_error *error)
{
    a->policy = a->value = -1;
    for (int i = 0; i < a->net->head_count; i++) {
        if (strcmp(a->net->heads[i].name, "policy") == 0) a->policy = i;
        if (strcmp(a->net->heads[i].name, "value") == 0) a->value = i;
    }
    if (a->policy < 0 || a->value < 0)
        return error_set(error, STPN_ERROR_INPUT, "the network has no head \"%s\"", a->policy < 0 ? "policy" : "value");
    a->outputs = a->net->heads[a->policy].outputs;
    a->actions = a->plan.continuous ? a->plan.continuous : a->outputs;
    if (a->plan.continuous && a->outputs != 2 * a->plan.continuous)
        return error_set(error, STPN_ERROR_INPUT,
                         "head \"policy\" has %d outputs, expected %d means and as many scales", a->outputs,
                         a->plan.continuous);
    if (a->net->heads[a->value].outputs == 1) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "head \"value\" has %d outputs, expected 1",
                     a->net->heads[a->value].outputs);
}

static size_t padded(size_t bytes)
{
    return (bytes + PANEL_BYTES - 1) / PANEL_BYTES * PANEL_BYTES;
}

static stpn_status open_rollout(actor *a, stpn_error *error)
{
    size_t rows = (size_t)a->plan.batch * (size_t)a->plan.steps, size = a->net->kernel->size;
    a->logits = memory_zeroed(rows, (size_t)a->outputs * size);
    a->values = memory_zeroed(rows, size);
    if (a->plan.continuous) a->taken_values = memory_zeroed(rows, (size_t)a->actions * sizeof *a->taken_values);
    else a->taken = memory_zeroed(rows, sizeof *a->taken);
    a->gains = memory_zeroed(rows, sizeof *a->gains);
    a->over = memory_zeroed(rows, 1);
    if (a->logits && a->values && (a->taken || a->taken_values) && a->gains && a->over) return STPN_OK;
    return error_memory(error, "the agent");
}

stpn_status actor_open(actor *a, stpn_net *net, const actor_plan *plan, stpn_error *error)
{
    *a = (actor){.net = net, .plan = *plan};
    stpn_status status = find_heads(a, error);
    if (status) return status;
    if (plan->batch < 1 || plan->batch > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "batch is %d, expected 1 to %d", plan->batch, 1 << 24);
    if (plan->steps < 0 || plan->steps > 1 << 24)
        return error_set(error, STPN_ERROR_INPUT, "steps is %d, expected 0 to %d", plan->steps, 1 << 24);
    size_t B = (size_t)plan->batch, size = net->kernel->size, O = (size_t)a->outputs;
    a->chunk = stpn_chunk_size(plan->batch);
    a->chunks = (plan->batch - 1) / a->chunk + 1;
    a->scratch_bytes = 2 * padded((size_t)a->chunk * O * size) + padded((size_t)a->chunk * size);
    a->acted = memory_zeroed((size_t)a->chunks, sizeof *a->acted);
    a->recorded = memory_zeroed((size_t)a->chunks, sizeof *a->recorded);
    a->scratch = memory_zeroed((size_t)a->chunks, a->scratch_bytes);
    a->y = memory_zeroed(B, (size_t)net_outputs(net) * size);
    a->energy = memory_zeroed(B, size);
    a->reset = memory_zeroed(B, 1);
    a->ended = memory_zeroed(B, 1);
    a->lengths = memory_zeroed(B, sizeof *a->lengths);
    a->counted = memory_zeroed(B, sizeof *a->counted);
    a->reward_sums = memory_zeroed(B, sizeof *a->reward_sums);
    a->energy_sums = memory_zeroed(B, sizeof *a->energy_sums);
    a->bootstrap = memory_zeroed(B, sizeof *a->bootstrap);
    if (!a->acted || !a->recorded || !a->scratch || !a->y || !a->energy || !a->reset || !a->ended || !a->lengths ||
        !a->counted || !a->reward_sums || !a->energy_sums || !a->bootstrap)
        return error_memory(error, "the agent");
    status = stpn_state_create(&a->state, net, plan->batch, error);
    if (!status) net_leave(a->state);
    return status || plan->steps == 0 ? status : open_rollout(a, error);
}

void actor_close(actor *a)
{
    void *const blocks[] = {a->acted,        a->recorded,  a->scratch, a->y,       a->energy,
                            a->reset,        a->ended,     a->lengths, a->counted, a->reward_sums,
                            a->energy_sums,  a->bootstrap, a->logits,  a->values,  a->taken,
                            a->taken_values, a->gains,     a->over};
    stpn_state_free(a->state);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) memory_free(blocks[i]);
    *a = (actor){0};
}

stpn_status actor_check_range(const actor *a, int first, int last, stpn_error *error)
{
    int B = a->plan.batch;
    if (first >= 0 && first < last && last <= B && first % a->chunk == 0 && (last % a->chunk == 0 || last == B))
        return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): expected whole chunks of %d among %d copies", first,
                     last, a->chunk, B);
}

/* ----------------------------------------------------------------------------------------------------------- to act */

static random_stream draws(const actor *a, int copy)
{
    random_purpose purpose = a->logits ? RANDOM_ACTION : RANDOM_TEST_ACTION;
    uint64_t stream = ((uint64_t)a->rollouts << 32) + (uint64_t)a->acted[copy / a->chunk];
    random_stream random = random_open(a->plan.seed, purpose, stream);
    random.block = (uint32_t)copy;
    return random;
}

/* The first action up to which the probabilities add up to more than a part u of their sum. */
static int32_t draw_action(const kernel_table *k, int actions, const void *p, double u)
{
    double total = 0, reached = 0;
    int32_t last = 0;
    for (int i = 0; i < actions; i++) total += value_read(k, p, (size_t)i);
    for (int32_t i = 0; i < actions; i++) {
        double term = value_read(k, p, (size_t)i);
        reached += term;
        if (u * total < reached) return i;
        if (term > 0) last = i;
    }
    return last;
}

/* Of a categorical policy; `p` (chunk, O) is work space. */
static void choose_discrete(const actor *a, int chunk, const void *logits, void *p, act_choice choice, int32_t *actions)
{
    static const int32_t firsts[CHUNK] = {0};
    const kernel_table *k = a->net->kernel;
    int begin = chunk * a->chunk, count = actor_chunk_end(a, chunk) - begin, A = a->actions;
    int32_t greedy[CHUNK];
    /* The gradient of the cross-entropy with label 0: p, less 1 for action 0. */
    k->cross_entropy(count, A, logits, firsts, 1, NULL, p, greedy);
    for (int i = 0; i < count; i++) {
        size_t row = (size_t)i * (size_t)A;
        random_stream random = draws(a, begin + i);
        value_write(k, p, row, value_read(k, p, row) + 1);
        actions[begin + i] =
            choice == ACT_GREEDY ? greedy[i] : draw_action(k, A, value_at(k, p, row), random_unit(&random));
    }
}

/* Of a normal one. */
static void choose_continuous(const actor *a, int chunk, const void *logits, act_choice choice, float *actions)
{
    const kernel_table *k = a->net->kernel;
    int begin = chunk * a->chunk, count = actor_chunk_end(a, chunk) - begin, A = a->actions;
    for (int i = 0; i < count; i++) {
        random_stream random = draws(a, begin + i);
        float *values = actions + (size_t)(begin + i) * (size_t)A;
        for (int n = 0; n < A; n++) {
            size_t at = (size_t)i * (size_t)a->outputs + (size_t)n;
            double mean = value_read(k, logits, at), scale = policy_softplus(value_read(k, logits, at + (size_t)A));
            values[n] = (float)(choice == ACT_GREEDY ? mean : mean + scale * random_normal(&random));
        }
    }
}

/* Into the rollout: by sample, as the backward pass goes. */
static void keep(const actor *a, int chunk, const void *logits, const void *values, const void *actions)
{
    const kernel_table *k = a->net->kernel;
    int begin = chunk * a->chunk, count = actor_chunk_end(a, chunk) - begin;
    size_t O = (size_t)a->outputs, A = (size_t)a->actions, T = (size_t)a->plan.steps, t = (size_t)a->acted[chunk];
    for (int i = 0; i < count; i++) {
        size_t b = (size_t)begin + (size_t)i, at = b * T + t;
        memcpy(value_at(k, a->logits, at * O), value_at(k, logits, (size_t)i * O), O * k->size);
        memcpy(value_at(k, a->values, at), value_at(k, values, (size_t)i), k->size);
        if (a->taken) a->taken[at] = ((const int32_t *)actions)[b];
        for (size_t n = 0; n < A && !a->taken; n++)
            a->taken_values[at * A + n] = (double)((const float *)actions)[b * A + n];
    }
}

/* What may be told to it as done. */
stpn_status actor_check_given(const actor *a, int first, int last, const void *actions, stpn_error *error)
{
    for (int b = first; b < last; b++) {
        const int32_t *choices = actions;
        if (a->plan.continuous == 0 && (choices[b] < 0 || choices[b] >= a->actions))
            return error_set(error, STPN_ERROR_INPUT, "the action of copy %d is %d, expected 0 to %d", b,
                             (int)choices[b], a->actions - 1);
        for (size_t n = 0; n < (size_t)a->plan.continuous; n++)
            if (!isfinite(((const float *)actions)[(size_t)b * (size_t)a->actions + n]))
                return error_set(error, STPN_ERROR_INPUT, "the action of copy %d is not finite", b);
    }
    return STPN_OK;
}

static stpn_status act_chunk(actor *a, int chunk, const void *observations, const uint8_t *reset, act_choice choice,
                             void *actions, stpn_error *error)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * a->chunk, end = actor_chunk_end(a, chunk), count = end - begin, t = a->acted[chunk];
    size_t H = (size_t)net_outputs(net), T = (size_t)a->plan.steps, row = net->units[net->unit_count - 1].row;
    if (a->recorded[chunk] != t)
        return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): what came of step %d is not recorded", begin, end,
                         t - 1);
    /* A tape says so itself. */
    if (a->logits && !a->tape && t >= a->plan.steps)
        return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): the rollout has all of its %d steps", begin, end,
                         a->plan.steps);
    for (size_t b = (size_t)begin; b < (size_t)end; b++) {
        int cut = a->logits && t > 0 && (a->over[b * T + (size_t)t - 1] & ACT_CUT);
        a->reset[b] = (uint8_t)(cut || (reset && reset[b]));
        if (a->reset[b]) a->ended[b] = 0;
    }
    const stpn_sequence q = {.steps = 1,
                             .batch = a->plan.batch,
                             .first = begin,
                             .last = end,
                             .type = a->plan.type,
                             .x = observations,
                             .reset = a->reset};
    stpn_status status = stpn_forward(net, a->state, &q, a->tape ? NULL : a->y, a->energy_wanted ? a->energy : NULL,
                                      a->tape, NULL, error);
    if (status) return status;
    char *scratch = (char *)a->scratch + (size_t)chunk * a->scratch_bytes;
    void *values = scratch, *logits = scratch + PANEL_BYTES * (((size_t)a->chunk * k->size - 1) / PANEL_BYTES + 1);
    void *p = value_at(k, logits, (size_t)a->chunk * (size_t)a->outputs);
    const void *y = a->tape ? tape_output(a->tape, begin, t) : value_at(k, a->y, (size_t)begin * H);
    size_t y_step = a->tape ? (T + 1) * row : H;
    net_head_forward(net, a->policy, count, y, y_step, logits);
    if (a->logits) net_head_forward(net, a->value, count, y, y_step, values);
    if (choice != ACT_GIVEN && a->plan.continuous) choose_continuous(a, chunk, logits, choice, actions);
    else if (choice != ACT_GIVEN) choose_discrete(a, chunk, logits, p, choice, actions);
    if (a->logits) keep(a, chunk, logits, values, actions);
    for (int b = begin; b < end; b++) {
        if (a->ended[b]) continue;
        a->counted[b]++;
        if (a->energy_wanted) a->energy_sums[b] += value_read(k, a->energy, (size_t)b);
    }
    a->acted[chunk]++;
    return STPN_OK;
}

stpn_status actor_act(actor *a, int first, int last, const void *observations, const uint8_t *reset, act_choice choice,
                      void *actions, stpn_error *error)
{
    error_clear(error);
    stpn_status status = actor_check_range(a, first, last, error);
    if (!status && choice == ACT_GIVEN) status = actor_check_given(a, first, last, actions, error);
    for (int chunk = first / a->chunk; chunk * a->chunk < last && !status; chunk++)
        status = act_chunk(a, chunk, observations, reset, choice, actions, error);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- to record */

/* The values of the last observations of copies whose episodes were cut off. Their states are at their end, so that these
 * may take the step, which no tape sees. */
static stpn_status value_cut(actor *a, int chunk, const uint8_t *ends, const void *last_observations, stpn_error *error)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * a->chunk, end = actor_chunk_end(a, chunk), any = 0;
    size_t H = (size_t)net_outputs(net), T = (size_t)a->plan.steps, t = (size_t)a->recorded[chunk];
    for (int b = begin; b < end; b++) {
        a->lengths[b] = ends[b] == STPN_TRUNCATED;
        any |= a->lengths[b];
    }
    if (!any) return STPN_OK;
    actor_settle(a, chunk);
    const stpn_sequence q = {.steps = 1,
                             .batch = a->plan.batch,
                             .first = begin,
                             .last = end,
                             .type = a->plan.type,
                             .x = last_observations,
                             .lengths = a->lengths};
    stpn_status status = stpn_forward(net, a->state, &q, a->y, NULL, NULL, NULL, error);
    if (status) return status;
    void *values = (char *)a->scratch + (size_t)chunk * a->scratch_bytes;
    net_head_forward(net, a->value, end - begin, value_at(k, a->y, (size_t)begin * H), H, values);
    for (int b = begin; b < end; b++) {
        if (!a->lengths[b]) continue;
        a->gains[(size_t)b * T + t] += a->plan.discount * value_read(k, values, (size_t)(b - begin));
        a->over[(size_t)b * T + t] |= ACT_CUT;
        memset(value_at(k, a->state->values, (size_t)b * net->state_values), 0, net->state_values * k->size);
    }
    return STPN_OK;
}

/* The step just made was none. */
static void uncount(actor *a, int b)
{
    if (a->ended[b]) return;
    a->counted[b]--;
    if (a->energy_wanted) a->energy_sums[b] -= value_read(a->net->kernel, a->energy, (size_t)b);
}

static stpn_status record_chunk(actor *a, int chunk, const float *rewards, const uint8_t *ends,
                                const void *last_observations, stpn_error *error)
{
    int begin = chunk * a->chunk, end = actor_chunk_end(a, chunk);
    size_t T = (size_t)a->plan.steps, t = (size_t)a->recorded[chunk];
    if (a->recorded[chunk] == a->acted[chunk])
        return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): step %d is recorded already", begin, end,
                         a->recorded[chunk] - 1);
    for (size_t b = (size_t)begin; b < (size_t)end && a->logits; b++) {
        int skipped = ends && ends[b] == STPN_SKIPPED;
        a->gains[b * T + t] = (double)rewards[b];
        a->over[b * T + t] = (uint8_t)(skipped ? ACT_OVER | STPN_SKIPPED : ends && ends[b] ? ACT_OVER : 0);
    }
    stpn_status status = STPN_OK;
    if (a->logits && ends && last_observations) status = value_cut(a, chunk, ends, last_observations, error);
    if (status) return status;
    for (int b = begin; b < end; b++) {
        if (ends && ends[b] == STPN_SKIPPED) uncount(a, b);
        else a->reward_sums[b] += (double)rewards[b];
        if (ends && ends[b]) a->ended[b] = 1;
    }
    a->recorded[chunk]++;
    return STPN_OK;
}

stpn_status actor_record(actor *a, int first, int last, const float *rewards, const uint8_t *ends,
                         const void *last_observations, stpn_error *error)
{
    error_clear(error);
    stpn_status status = actor_check_range(a, first, last, error);
    for (int chunk = first / a->chunk; chunk * a->chunk < last && !status; chunk++)
        status = record_chunk(a, chunk, rewards, ends, last_observations, error);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- of a rollout */

size_t actor_observation_bytes(const actor *a)
{
    size_t I = (size_t)a->net->inputs;
    switch (a->plan.type) {
    case STPN_INPUT_TOKEN: return sizeof(int32_t);
    case STPN_INPUT_BYTE: return I;
    case STPN_INPUT_FLOAT: return I * sizeof(float);
    default: return I * sizeof(double);
    }
}

void actor_settle(const actor *a, int chunk)
{
    net_settle(a->state, chunk * a->chunk, actor_chunk_end(a, chunk), a->tape);
}

stpn_state *actor_state(const actor *a)
{
    rank_share own = actor_own(a);
    for (int chunk = own.first; chunk < own.last; chunk++) actor_settle(a, chunk);
    return a->state;
}

stpn_status actor_look_ahead(actor *a, int chunk, const void *observations, stpn_state *ahead, void *y, void *values,
                             stpn_error *error)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * a->chunk, count = actor_chunk_end(a, chunk) - begin;
    memcpy(ahead->values, value_at(k, a->state->values, (size_t)begin * net->state_values),
           (size_t)count * net->state_values * k->size);
    const stpn_sequence q = {.steps = 1,
                             .batch = count,
                             .type = a->plan.type,
                             .x = (const char *)observations + (size_t)begin * actor_observation_bytes(a)};
    stpn_status status = stpn_forward(net, ahead, &q, y, NULL, NULL, NULL, error);
    if (status) return status;
    net_head_forward(net, a->value, count, y, (size_t)net_outputs(net), values);
    for (int i = 0; i < count; i++) a->bootstrap[begin + i] = value_read(k, values, (size_t)i);
    return STPN_OK;
}

int actor_count_taken(const actor *a, int copy, int begin, int end)
{
    int count = 0;
    const uint8_t *over = a->over + (size_t)copy * (size_t)a->plan.steps;
    for (int t = begin; t < end; t++) count += !(over[t] & STPN_SKIPPED);
    return count;
}

stpn_status actor_check_rollout(const actor *a, stpn_error *error)
{
    if (!a->logits) return error_set(error, STPN_ERROR_INPUT, "an agent that only acts has nothing to learn from");
    rank_share own = actor_own(a);
    if (own.first == own.last) return STPN_OK;
    int taken = 0, steps = a->recorded[own.first];
    if (steps == 0) return error_set(error, STPN_ERROR_INPUT, "no step is recorded to learn from");
    for (int b = own.first * a->chunk; b < actor_chunk_end(a, own.last - 1) && !taken; b++)
        taken = actor_count_taken(a, b, 0, steps);
    if (!taken) return error_set(error, STPN_ERROR_INPUT, "every step of the rollout was skipped");
    for (int c = own.first; c < own.last; c++)
        if (a->acted[c] != steps || a->recorded[c] != steps)
            return error_set(
                error, STPN_ERROR_INPUT,
                "copy %d has acted %d times, %d of which are recorded; copy %d has %d: expected equal counts",
                c * a->chunk, a->acted[c], a->recorded[c], own.first * a->chunk, steps);
    return STPN_OK;
}

/* The states are as they would come back from a checkpoint: without what a unit keeps beside their values. */
static void forget_beside(const actor *a)
{
    const stpn_net *net = a->net;
    (void)actor_state(a);
    for (int b = 0; b < a->plan.batch; b++)
        for (int i = 0; i < net->state_count; i++) {
            const net_state *entry = &net->states[i];
            const unit *u = &net->units[entry->unit];
            size_t at = (size_t)b * net->state_values + net->unit_state[entry->unit];
            if (u->type->state_changed)
                u->type->state_changed(u, entry->index, value_at(net->kernel, a->state->values, at));
        }
}

stpn_status actor_gather(const actor *a, void *rows, size_t bytes, stpn_error *error)
{
    return ranks_gather(a->ranks, rows, bytes, a->plan.batch, a->chunk, error);
}

stpn_status actor_gather_chunks(const actor *a, void *parts, size_t bytes, stpn_error *error)
{
    return ranks_gather(a->ranks, parts, bytes, a->chunks, 1, error);
}

stpn_status actor_meet(actor *a, stpn_error *error)
{
    stpn_status status = ranks_agree(a->ranks, actor_check_rollout(a, error), error);
    if (!status) status = actor_gather_chunks(a, a->recorded, sizeof *a->recorded, error);
    if (!status) status = actor_gather(a, a->reward_sums, sizeof *a->reward_sums, error);
    if (status || !a->energy_wanted) return status;
    status = actor_gather(a, a->energy_sums, sizeof *a->energy_sums, error);
    return status ? status : actor_gather(a, a->counted, sizeof *a->counted, error);
}

double actor_energy(const actor *a)
{
    double energy = 0;
    int64_t steps = 0;
    for (int b = 0; b < a->plan.batch; b++) {
        energy += a->energy_sums[b];
        steps += a->counted[b];
    }
    return a->energy_wanted && steps > 0 ? energy / (double)steps : NAN;
}

actor_sums actor_end_rollout(actor *a)
{
    double B = a->plan.batch;
    actor_sums sums = {.energy = actor_energy(a)};
    for (int b = 0; b < a->plan.batch; b++) {
        sums.reward += a->reward_sums[b] / B;
        a->reward_sums[b] = a->energy_sums[b] = 0;
        a->counted[b] = 0;
    }
    memset(a->acted, 0, (size_t)a->chunks * sizeof *a->acted);
    memset(a->recorded, 0, (size_t)a->chunks * sizeof *a->recorded);
    forget_beside(a);
    if (a->tape) stpn_tape_rewind(a->tape);
    return sums;
}

void actor_restart(actor *a, int first, int last)
{
    size_t values = a->net->state_values, size = a->net->kernel->size;
    memset((char *)a->state->values + (size_t)first * values * size, 0, (size_t)(last - first) * values * size);
    memset(a->ended + first, 0, (size_t)(last - first));
}

void actor_blame_rewards(const actor *a, stpn_error *error)
{
    for (int b = 0; b < a->plan.batch; b++) {
        if (isfinite(a->reward_sums[b])) continue;
        error_set(error, STPN_ERROR_NUMERIC, "the rewards of copy %d add up to %g", b, a->reward_sums[b]);
        return;
    }
}

void actor_returns(const kernel_table *k, double discount, double lambda, int steps, const void *values,
                   double bootstrap, const uint8_t *over, double *rewards)
{
    double next_value = bootstrap, next_return = bootstrap;
    for (int t = steps - 1; t >= 0; t--) {
        /* Chosen, not multiplied by 0: what does not count may be anything. */
        if (!over[t]) rewards[t] += discount * ((1 - lambda) * next_value + lambda * next_return);
        next_return = rewards[t];
        next_value = value_read(k, values, (size_t)t);
    }
}
