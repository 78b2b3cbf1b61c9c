/* Kind `a2c`: the maze's loss of given actions and rewards, and its gradient, through the learner itself. The returns are
 * those of a whole episode; the weight that the file calls entropy_weight is that of sum_a p_a^2. */
#include "base/error.h"
#include "base/memory.h"
#include "train/a2c_learner.h"
#include "train/golden_file.h"

#include <string.h>

enum { A2C_MOST = UNIT_MAX_TENSORS + GOLDEN_HEAD_TENSORS };

typedef struct episode {
    int outputs; // of the policy
    a2c_options options;
    const tensor_entry *x, *actions, *rewards, *values, *logits, *loss;
    const tensor_entry *start[A2C_MOST], *gradient[A2C_MOST]; // the unit's, then the heads'
    int32_t *taken;                                           // (T, B)
} episode;

static stpn_status find_tensors(golden *g, episode *e)
{
    int n = g->plan.tensor_count, A = e->outputs;
    unit_tensor heads[GOLDEN_HEAD_TENSORS];
    golden_shape inputs = {3, {g->steps, g->batch, g->inputs}}, scores = {3, {g->steps, g->batch, A}};
    golden_shape steps = {2, {g->steps, g->batch}}, one = {1, {1}};
    golden_heads(heads, A, g->hidden);
    stpn_status status = golden_find(g, &e->x, "", "x", GOLDEN_GIVEN, inputs);
    if (!status) status = golden_find(g, &e->actions, "", "actions", GOLDEN_INDEX, steps);
    if (!status) status = golden_find(g, &e->rewards, "", "rewards", GOLDEN_GIVEN, steps);
    if (!status) status = golden_find(g, &e->values, "", "values", GOLDEN_EXPECTED, steps);
    if (!status) status = golden_find(g, &e->logits, "", "logits", GOLDEN_EXPECTED, scores);
    if (!status) status = golden_find(g, &e->loss, "", "loss", GOLDEN_EXPECTED, one);
    for (int i = 0; i < n + GOLDEN_HEAD_TENSORS && !status; i++) {
        const unit_tensor *place = i < n ? &g->plan.tensors[i] : &heads[i - n];
        golden_shape shape = golden_shape_of(place, 0);
        status = golden_find(g, &e->start[i], i < n ? "param." : "", place->name, GOLDEN_GIVEN, shape);
        if (!status)
            status =
                golden_find(g, &e->gradient[i], i < n ? "grad.param." : "grad.", place->name, GOLDEN_EXPECTED, shape);
    }
    if (!status) status = golden_refuse_others(g);
    return status ? status : golden_limit_work(g, g->steps);
}

/* The episode, acted as the file says, and the update's gradient, which moves nothing. */
static stpn_status act_out(const golden *g, const episode *e, a2c *a, a2c_stats *stats, stpn_error *error)
{
    stpn_status status = STPN_OK;
    double *x = golden_values(e->x, STPN_DOUBLE, NULL);
    float *rewards = golden_values(e->rewards, STPN_FLOAT, NULL);
    if (!x || !rewards) status = error_memory(error, "a golden file");
    for (int t = 0; t < g->steps && !status; t++) {
        size_t at = (size_t)t * (size_t)g->batch;
        status = a2c_act(a, 0, g->batch, x + at * (size_t)g->inputs, NULL, ACT_GIVEN, e->taken + at, error);
        if (!status) status = a2c_record(a, 0, g->batch, rewards + at, NULL, NULL, error);
    }
    if (!status) status = a2c_update(a, NULL, stats, error);
    memory_free(x);
    memory_free(rewards);
    return status;
}

/* What the learner kept by sample (B, T, n), against a tensor (T, B, n). */
static stpn_status compare_steps(golden *g, const tensor_entry *expected, int n, const void *kept, golden_terms terms)
{
    size_t size = golden_real_size(terms.real), T = (size_t)g->steps, B = (size_t)g->batch, bytes = (size_t)n * size;
    char *values = memory_zeroed(expected->count, size);
    if (!values) return error_memory(g->error, "a tensor");
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            memcpy(values + (t * B + b) * bytes, (const char *)kept + (b * T + t) * bytes, bytes);
    golden_compare(g, expected, terms.real, values, terms, NULL);
    memory_free(values);
    return STPN_OK;
}

static stpn_status learn_from(golden *g, const episode *e, stpn_net *net, stpn_real real)
{
    const golden_terms value = {real, 1e-5}, gradient = {real, 1e-4};
    const train_options train = train_option_defaults();
    const learner_plan plan = {.batch = g->batch, .steps = g->steps, .type = STPN_INPUT_DOUBLE};
    a2c *a = NULL;
    a2c_stats stats = {0};
    stpn_error inner = {{0}};
    stpn_status status = STPN_OK;
    int tensors = g->plan.tensor_count + GOLDEN_HEAD_TENSORS;
    for (int i = 0; i < tensors && !status; i++) status = golden_set_parameter(g, net, i, e->start[i], real);
    if (status) return status;
    status = a2c_create(&a, net, &train, &e->options, &plan, NULL, 0, &inner);
    if (!status) status = act_out(g, e, a, &stats, &inner);
    if (status) {
        a2c_free(a);
        return error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    }
    status = compare_steps(g, e->values, 1, a->actor.values, value);
    if (!status) status = compare_steps(g, e->logits, e->outputs, a->actor.logits, value);
    /* The loss comes as double whatever it was computed in. */
    if (!status) golden_compare(g, e->loss, STPN_DOUBLE, &stats.loss, value, NULL);
    for (int i = 0; i < tensors && !status; i++)
        status = golden_compare_block(g, net, a->actor.tape->chunk_grad, i, e->gradient[i], gradient);
    a2c_free(a);
    return status;
}

static stpn_status run_episode(golden *g, const episode *e, stpn_real real)
{
    const stpn_head heads[2] = {{"policy", e->outputs}, {"value", 1}};
    const stpn_net_desc desc = {
        .real = real, .inputs = g->inputs, .units = &g->options, .unit_count = 1, .heads = heads, .head_count = 2};
    stpn_net *net = NULL;
    stpn_status status = stpn_net_create(&net, &desc, g->error);
    if (!status) status = learn_from(g, e, net, real);
    stpn_net_free(net);
    return status;
}

stpn_status golden_verify_a2c(golden *g)
{
    episode e = {.options = a2c_option_defaults()};
    stpn_status status = golden_read_size(g, "actions", &e.outputs);
    if (!status) status = golden_read_number(g, "discount", 0, &e.options.discount);
    if (!status) status = golden_read_number(g, "value_weight", 0, &e.options.value_weight);
    if (!status) status = golden_read_number(g, "entropy_weight", 0, &e.options.concentration_weight);
    if (!status) status = find_tensors(g, &e);
    if (!status) status = golden_read_indices(g, e.actions, e.outputs, &e.taken);
    if (!status) status = run_episode(g, &e, STPN_FLOAT);
    if (!status) status = run_episode(g, &e, STPN_DOUBLE);
    memory_free(e.taken);
    return status;
}
