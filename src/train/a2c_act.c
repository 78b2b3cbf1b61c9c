/* Acting, and what came of it: range by range, each on any thread. */
#include "base/error.h"
#include "base/random.h"
#include "train/a2c_learner.h"

#include <string.h>

static stpn_status check_range(const a2c *a, int first, int last, stpn_error *error)
{
    int B = a->plan.batch;
    if (first >= 0 && first < last && last <= B && first % CHUNK == 0 && (last % CHUNK == 0 || last == B))
        return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): expected whole chunks of %d among %d copies", first,
                     last, (int)CHUNK, B);
}

/* ----------------------------------------------------------------------------------------------------------- to act */

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

static void choose_actions(const a2c *a, int chunk, const void *logits, void *p, a2c_choice choice, int32_t *actions)
{
    static const int32_t firsts[CHUNK] = {0};
    const kernel_table *k = a->net->kernel;
    int begin = chunk * CHUNK, count = a2c_chunk_end(a, chunk) - begin, A = a->actions;
    if (choice == A2C_GIVEN) return;
    int32_t greedy[CHUNK];
    /* The gradient of the cross-entropy with label 0: p, less 1 for action 0. */
    k->cross_entropy(count, A, logits, firsts, 1, NULL, p, greedy);
    random_purpose purpose = a->tape ? RANDOM_ACTION : RANDOM_TEST_ACTION;
    uint64_t stream = ((uint64_t)a->rollouts << 32) + (uint64_t)a->acted[chunk];
    for (int i = 0; i < count; i++) {
        size_t row = (size_t)i * (size_t)A;
        random_stream random = random_open(a->seed, purpose, stream);
        random.block = (uint32_t)(begin + i);
        value_write(k, p, row, value_read(k, p, row) + 1);
        actions[begin + i] =
            choice == A2C_GREEDY ? greedy[i] : draw_action(k, A, value_at(k, p, row), random_unit(&random));
    }
}

/* Into the rollout: by sample, as the backward pass goes. */
static void keep(const a2c *a, int chunk, const void *logits, const void *values, const int32_t *actions)
{
    const kernel_table *k = a->net->kernel;
    int begin = chunk * CHUNK, count = a2c_chunk_end(a, chunk) - begin;
    size_t A = (size_t)a->actions, T = (size_t)a->plan.steps, t = (size_t)a->acted[chunk];
    for (int i = 0; i < count; i++) {
        size_t b = (size_t)begin + (size_t)i, at = b * T + t;
        memcpy(value_at(k, a->logits, at * A), value_at(k, logits, (size_t)i * A), A * k->size);
        memcpy(value_at(k, a->values, at), value_at(k, values, (size_t)i), k->size);
        a->taken[at] = actions[b];
    }
}

static stpn_status act_chunk(a2c *a, int chunk, const void *observations, const uint8_t *reset, a2c_choice choice,
                             int32_t *actions, stpn_error *error)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * CHUNK, end = a2c_chunk_end(a, chunk), count = end - begin, t = a->acted[chunk];
    size_t H = (size_t)net_outputs(net), T = (size_t)a->plan.steps, row = net->units[net->unit_count - 1].row;
    if (a->recorded[chunk] != t)
        return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): what came of step %d is not recorded", begin, end,
                         t - 1);
    for (size_t b = (size_t)begin; b < (size_t)end; b++) {
        int cut = a->tape && t > 0 && (a->over[b * T + (size_t)t - 1] & A2C_CUT);
        a->reset[b] = (uint8_t)(cut || (reset && reset[b]));
        if (choice == A2C_GIVEN && (actions[b] < 0 || actions[b] >= a->actions))
            return error_set(error, STPN_ERROR_INPUT, "the action of copy %zu is %d, expected 0 to %d", b,
                             (int)actions[b], a->actions - 1);
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
    void *values = scratch, *logits = scratch + PANEL_BYTES * ((CHUNK * k->size - 1) / PANEL_BYTES + 1);
    void *p = value_at(k, logits, (size_t)CHUNK * (size_t)a->actions);
    const void *y = a->tape ? tape_output(a->tape, begin, t) : value_at(k, a->y, (size_t)begin * H);
    size_t y_step = a->tape ? (T + 1) * row : H;
    net_head_forward(net, a->policy, count, y, y_step, logits);
    if (a->tape) net_head_forward(net, a->value, count, y, y_step, values);
    choose_actions(a, chunk, logits, p, choice, actions);
    if (a->tape) keep(a, chunk, logits, values, actions);
    for (int b = begin; b < end && a->energy_wanted; b++) a->energy_sums[b] += value_read(k, a->energy, (size_t)b);
    a->acted[chunk]++;
    return STPN_OK;
}

stpn_status a2c_act(a2c *a, int first, int last, const void *observations, const uint8_t *reset, a2c_choice choice,
                    int32_t *actions, stpn_error *error)
{
    error_clear(error);
    stpn_status status = check_range(a, first, last, error);
    for (int chunk = first / CHUNK; chunk * CHUNK < last && !status; chunk++)
        status = act_chunk(a, chunk, observations, reset, choice, actions, error);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- to record */

/* The values of the last observations of copies whose episodes were cut off. Their states are at their end, so that these
 * may take the step, which no tape sees. */
static stpn_status value_cut(a2c *a, int chunk, const uint8_t *ends, const void *last_observations, stpn_error *error)
{
    const stpn_net *net = a->net;
    const kernel_table *k = net->kernel;
    int begin = chunk * CHUNK, end = a2c_chunk_end(a, chunk), any = 0;
    size_t H = (size_t)net_outputs(net), T = (size_t)a->plan.steps, t = (size_t)a->recorded[chunk];
    for (int b = begin; b < end; b++) {
        a->lengths[b] = ends[b] == A2C_TRUNCATED;
        any |= a->lengths[b];
    }
    if (!any) return STPN_OK;
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
        a->gains[(size_t)b * T + t] += a->options.discount * value_read(k, values, (size_t)(b - begin));
        a->over[(size_t)b * T + t] |= A2C_CUT;
        memset(value_at(k, a->state->values, (size_t)b * net->state_values), 0, net->state_values * k->size);
    }
    return STPN_OK;
}

static stpn_status record_chunk(a2c *a, int chunk, const float *rewards, const uint8_t *ends,
                                const void *last_observations, stpn_error *error)
{
    int begin = chunk * CHUNK, end = a2c_chunk_end(a, chunk);
    size_t T = (size_t)a->plan.steps, t = (size_t)a->recorded[chunk];
    if (a->recorded[chunk] == a->acted[chunk])
        return error_set(error, STPN_ERROR_INPUT, "copies [%d, %d): step %d is recorded already", begin, end,
                         a->recorded[chunk] - 1);
    for (size_t b = (size_t)begin; b < (size_t)end && a->tape; b++) {
        a->gains[b * T + t] = (double)rewards[b];
        a->over[b * T + t] = ends && ends[b] ? A2C_OVER : 0;
    }
    stpn_status status = STPN_OK;
    if (a->tape && ends && last_observations) status = value_cut(a, chunk, ends, last_observations, error);
    if (status) return status;
    for (int b = begin; b < end; b++) a->reward_sums[b] += (double)rewards[b];
    a->recorded[chunk]++;
    return STPN_OK;
}

stpn_status a2c_record(a2c *a, int first, int last, const float *rewards, const uint8_t *ends,
                       const void *last_observations, stpn_error *error)
{
    error_clear(error);
    stpn_status status = check_range(a, first, last, error);
    for (int chunk = first / CHUNK; chunk * CHUNK < last && !status; chunk++)
        status = record_chunk(a, chunk, rewards, ends, last_observations, error);
    return status;
}
