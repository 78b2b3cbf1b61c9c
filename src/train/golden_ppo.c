/* Kind `ppo`: the loss of given actions, advantages and returns, and its gradient, through the learner itself: every
 * sample of the file is a sequence of one minibatch, replayed from the state that the file gives. */
#include "base/error.h"
#include "base/memory.h"
#include "train/golden_file.h"
#include "train/ppo_learner.h"

#include <string.h>

enum { PPO_MOST = UNIT_MAX_TENSORS + GOLDEN_HEAD_TENSORS };

typedef struct minibatch {
    int actions;
    ppo_options options;
    const tensor_entry *x, *taken, *old_log, *advantages, *returns, *values, *loss;
    const tensor_entry *states[UNIT_MAX_STATES];
    const tensor_entry *start[PPO_MOST], *gradient[PPO_MOST]; // the unit's, then the heads'
} minibatch;

static stpn_status find_tensors(golden *g, minibatch *m)
{
    int n = g->plan.tensor_count, A = m->actions;
    unit_tensor read_outs[GOLDEN_HEAD_TENSORS];
    golden_shape inputs = {3, {g->steps, g->batch, g->inputs}}, actions = {3, {g->steps, g->batch, A}};
    golden_shape steps = {2, {g->steps, g->batch}}, one = {1, {1}};
    golden_heads(read_outs, 2 * A, g->hidden);
    stpn_status status = golden_find(g, &m->x, "", "x", GOLDEN_GIVEN, inputs);
    if (!status) status = golden_find(g, &m->taken, "", "actions", GOLDEN_GIVEN, actions);
    if (!status) status = golden_find(g, &m->old_log, "", "old_log_prob", GOLDEN_GIVEN, steps);
    if (!status) status = golden_find(g, &m->advantages, "", "advantages", GOLDEN_GIVEN, steps);
    if (!status) status = golden_find(g, &m->returns, "", "returns", GOLDEN_GIVEN, steps);
    if (!status) status = golden_find(g, &m->values, "", "values", GOLDEN_EXPECTED, steps);
    if (!status) status = golden_find(g, &m->loss, "", "loss", GOLDEN_EXPECTED, one);
    for (int i = 0; i < g->plan.state_count && !status; i++)
        status = golden_find(g, &m->states[i], "state0.", g->plan.states[i].name, GOLDEN_GIVEN,
                             golden_shape_of(&g->plan.states[i], g->batch));
    for (int i = 0; i < n + GOLDEN_HEAD_TENSORS && !status; i++) {
        const unit_tensor *place = i < n ? &g->plan.tensors[i] : &read_outs[i - n];
        golden_shape shape = golden_shape_of(place, 0);
        status = golden_find(g, &m->start[i], i < n ? "param." : "", place->name, GOLDEN_GIVEN, shape);
        if (!status)
            status =
                golden_find(g, &m->gradient[i], i < n ? "grad.param." : "grad.", place->name, GOLDEN_EXPECTED, shape);
    }
    if (!status) status = golden_refuse_others(g);
    return status ? status : golden_limit_work(g, g->steps);
}

/* A tensor (T, B, n) of doubles into (B, T, n). */
static stpn_status by_sample(const golden *g, const tensor_entry *entry, int n, double *out)
{
    size_t T = (size_t)g->steps, B = (size_t)g->batch, N = (size_t)n;
    double *values = golden_values(entry, STPN_DOUBLE, NULL);
    if (!values) return error_memory(g->error, "a tensor");
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++) memcpy(out + (b * T + t) * N, values + (t * B + b) * N, N * sizeof *out);
    memory_free(values);
    return STPN_OK;
}

/* The rollout as the file has it, in place of one that was acted. */
static stpn_status fill_rollout(const golden *g, const minibatch *m, ppo *p, stpn_real real)
{
    actor *a = &p->actor;
    stpn_error inner = {{0}};
    stpn_status status = by_sample(g, m->x, g->inputs, p->x);
    if (!status) status = by_sample(g, m->taken, m->actions, a->taken_values);
    if (!status) status = by_sample(g, m->old_log, 1, p->old_log);
    if (!status) status = by_sample(g, m->advantages, 1, p->advantages);
    if (!status) status = by_sample(g, m->returns, 1, a->gains);
    for (int i = 0; i < g->plan.state_count && !status; i++) {
        void *values = golden_values(m->states[i], real, NULL);
        if (!values) return error_memory(g->error, "a state");
        status = stpn_state_set(a->state, i, values, &inner);
        memory_free(values);
        if (status) error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    }
    if (!status) memcpy(p->starts, a->state->values, (size_t)g->batch * a->net->state_values * a->net->kernel->size);
    return status;
}

/* Values of the sequences as the update saw them. */
static stpn_status compare_values(golden *g, const minibatch *m, const ppo *p, golden_terms terms)
{
    const stpn_net *net = p->actor.net;
    const kernel_table *k = net->kernel;
    size_t row = net->units[net->unit_count - 1].row, B = (size_t)g->batch;
    void *values = memory_zeroed(m->values->count, k->size);
    if (!values) return error_memory(g->error, "a tensor");
    for (int b = 0; b < g->batch; b++)
        for (int t = 0; t < g->steps; t++)
            net_head_forward(net, p->actor.value, 1, tape_output(p->tape, b, t), row,
                             value_at(k, values, (size_t)t * B + (size_t)b));
    golden_compare(g, m->values, terms.real, values, terms, NULL);
    memory_free(values);
    return STPN_OK;
}

static stpn_status learn_from(golden *g, const minibatch *m, ppo *p, stpn_real real)
{
    const golden_terms value = {real, 1e-5}, gradient = {real, 1e-4};
    ppo_sums sums;
    double loss;
    stpn_error inner = {{0}};
    stpn_status status = fill_rollout(g, m, p, real);
    if (status) return status;
    for (int b = 0; b < g->batch; b++) p->sequences[b] = (ppo_sequence){b, 0, g->steps};
    status = ppo_gradient(p, p->sequences, g->batch, &sums, &loss, &inner);
    if (status) return error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    status = compare_values(g, m, p, value);
    /* The loss comes as double whatever it was computed in. */
    if (!status) golden_compare(g, m->loss, STPN_DOUBLE, &loss, value, NULL);
    for (int i = 0; i < g->plan.tensor_count + GOLDEN_HEAD_TENSORS && !status; i++)
        status = golden_compare_block(g, p->actor.net, p->tape->chunk_grad, i, m->gradient[i], gradient);
    return status;
}

static stpn_status run_minibatch(golden *g, const minibatch *m, stpn_real real)
{
    const stpn_head list[2] = {{"policy", 2 * m->actions}, {"value", 1}};
    const stpn_net_desc desc = {
        .real = real, .inputs = g->inputs, .units = &g->options, .unit_count = 1, .heads = list, .head_count = 2};
    const train_options train = train_option_defaults();
    const learner_plan plan = {
        .batch = g->batch, .steps = g->steps, .continuous = m->actions, .type = STPN_INPUT_DOUBLE};
    stpn_net *net = NULL;
    ppo *p = NULL;
    stpn_status status = stpn_net_create(&net, &desc, g->error);
    for (int i = 0; i < g->plan.tensor_count + GOLDEN_HEAD_TENSORS && !status; i++)
        status = golden_set_parameter(g, net, i, m->start[i], real);
    if (!status) {
        stpn_error inner = {{0}};
        status = ppo_create(&p, net, &train, &m->options, &plan, NULL, 0, &inner);
        if (status) error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    }
    if (!status) status = learn_from(g, m, p, real);
    ppo_free(p);
    stpn_net_free(net);
    return status;
}

stpn_status golden_verify_ppo(golden *g)
{
    minibatch m = {.options = ppo_option_defaults()};
    stpn_status status = golden_read_size(g, "actions", &m.actions);
    if (!status) status = golden_read_number(g, "clip", 0, &m.options.clip);
    if (!status) status = golden_read_number(g, "value_weight", 0, &m.options.value_weight);
    if (!status) status = golden_read_number(g, "entropy_weight", 0, &m.options.entropy_weight);
    if (!status) status = find_tensors(g, &m);
    m.options.sequence = g->steps < 1 << 16 ? g->steps : 1 << 16;
    m.options.minibatch = 1 << 24;
    if (!status && m.options.sequence < g->steps)
        status = golden_complain(g, "has %d steps, expected at most 65536", g->steps);
    if (!status) status = run_minibatch(g, &m, STPN_FLOAT);
    if (!status) status = run_minibatch(g, &m, STPN_DOUBLE);
    return status;
}
