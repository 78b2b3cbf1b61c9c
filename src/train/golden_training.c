/* Kind `training`: updates by Adam on the cross-entropy of the last output, through the trainer itself. */
#include "base/error.h"
#include "base/memory.h"
#include "train/golden_file.h"
#include "train/supervised.h"

enum { TRAINED_MOST = UNIT_MAX_TENSORS + 2 };

typedef struct training {
    int updates, classes;
    double learning_rate;
    const tensor_entry *tokens, *labels, *losses;
    const tensor_entry *start[TRAINED_MOST], *end[TRAINED_MOST]; // the unit's, the read-out's weight, its bias
    task_split split;
} training;

static stpn_status find_tensors(golden *g, training *t)
{
    int n = g->plan.tensor_count;
    unit_tensor readout[2] = {
        {.name = "weight", .layout = LAYOUT_MATRIX, .rows = t->classes, .columns = g->hidden, .groups = 1},
        {.name = "bias", .layout = LAYOUT_VECTOR, .rows = t->classes, .columns = 1, .groups = 1}};
    golden_shape tokens = {3, {t->updates, g->batch, g->steps}}, labels = {2, {t->updates, g->batch}};
    golden_shape losses = {1, {t->updates}};
    stpn_status status = golden_find(g, &t->tokens, "", "tokens", GOLDEN_INDEX, tokens);
    if (!status) status = golden_find(g, &t->labels, "", "labels", GOLDEN_INDEX, labels);
    if (!status) status = golden_find(g, &t->losses, "", "losses", GOLDEN_EXPECTED, losses);
    for (int i = 0; i < n + 2 && !status; i++) {
        const unit_tensor *place = i < n ? &g->plan.tensors[i] : &readout[i - n];
        golden_shape shape = golden_shape_of(place, 0);
        status = golden_find(g, &t->start[i], i < n ? "param." : "readout.", place->name, GOLDEN_GIVEN, shape);
        if (!status)
            status =
                golden_find(g, &t->end[i], i < n ? "end.param." : "end.readout.", place->name, GOLDEN_EXPECTED, shape);
    }
    if (!status) status = golden_refuse_others(g);
    return status ? status : golden_limit_work(g, (double)g->steps * t->updates);
}

static stpn_status run_updates(const golden *g, const training *t, stpn_net *net, stpn_real real, double *losses)
{
    train_options options = train_option_defaults();
    options.batch = g->batch;
    options.learning_rate = t->learning_rate;
    supervised *learner = NULL;
    stpn_error inner = {{0}};
    for (int i = 0; i < g->plan.tensor_count + 2; i++) {
        stpn_status status = golden_set_parameter(g, net, i, t->start[i], real);
        if (status) return status;
    }
    const task_shape shape = {.inputs = g->inputs,
                              .outputs = t->classes,
                              .steps = g->steps,
                              .type = STPN_INPUT_TOKEN,
                              .loss = LOSS_CROSS_ENTROPY};
    stpn_status status = supervised_create(&learner, net, &options, &shape, NULL, &inner);
    for (int i = 0; i < t->updates && !status; i++) {
        const supervised_batch batch = {.split = &t->split, .first = i * g->batch, .count = g->batch};
        loss_sums sums;
        status = supervised_update(learner, &batch, 0, &sums, &inner);
        losses[i] = sums.loss / g->batch;
    }
    supervised_free(learner);
    if (status) return error_set(g->error, status, "%s: %s", tensor_file_name(g->file), inner.message);
    return STPN_OK;
}

static stpn_status run_training(golden *g, const training *t, stpn_real real)
{
    const golden_terms terms = {real, 1e-5};
    stpn_head head = {"readout", t->classes};
    stpn_net_desc desc = {
        .real = real, .inputs = g->inputs, .units = &g->options, .unit_count = 1, .heads = &head, .head_count = 1};
    stpn_net *net = NULL;
    double *losses = memory_zeroed((size_t)t->updates, sizeof *losses);
    if (!losses) return error_memory(g->error, "a golden file");
    stpn_status status = stpn_net_create(&net, &desc, g->error);
    if (!status) status = run_updates(g, t, net, real, losses);
    /* Losses come as double whatever they were computed in. */
    if (!status) golden_compare(g, t->losses, STPN_DOUBLE, losses, terms, NULL);
    for (int i = 0; i < g->plan.tensor_count + 2 && !status; i++)
        status = golden_compare_block(g, net, stpn_net_parameters(net), i, t->end[i], terms);
    stpn_net_free(net);
    memory_free(losses);
    return status;
}

stpn_status golden_verify_training(golden *g)
{
    training t = {0};
    stpn_status status = golden_read_size(g, "classes", &t.classes);
    if (!status) status = golden_read_size(g, "updates", &t.updates);
    if (!status) status = golden_read_number(g, "learning_rate", 1, &t.learning_rate);
    if (!status) status = find_tensors(g, &t);
    if (!status) status = golden_read_indices(g, t.tokens, g->inputs, &t.split.tokens);
    if (!status) status = golden_read_indices(g, t.labels, t.classes, &t.split.labels);
    if (!status) {
        t.split.steps = g->steps;
        t.split.count = t.updates * g->batch;
        status = run_training(g, &t, STPN_FLOAT);
    }
    if (!status) status = run_training(g, &t, STPN_DOUBLE);
    memory_free(t.split.tokens);
    memory_free(t.split.labels);
    return status;
}
