#include "train/checkpoint.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct count_row {
    const char *name;
    size_t offset;
    tensor_type type;
} count_row;

#define PLACE(name) "progress." #name, offsetof(progress_counts, name)
#define A2C_SUM(name) "progress." #name "_sum", offsetof(progress_counts, sums.name)
#define PPO_SUM(name) "progress." #name "_sum", offsetof(progress_counts, ppo.name)

static const count_row data_counts[] = {
    {PLACE(epoch), TENSOR_I64},     {PLACE(update), TENSOR_I64},        {PLACE(loss_sum), TENSOR_F64},
    {PLACE(answers), TENSOR_I64},   {PLACE(correct), TENSOR_I64},       {PLACE(best_epoch), TENSOR_I64},
    {PLACE(best_loss), TENSOR_F64}, {PLACE(best_accuracy), TENSOR_F64}, {PLACE(waited), TENSOR_I64},
};

static const count_row env_counts[] = {
    {"progress.iteration", offsetof(progress_counts, epoch), TENSOR_I64},
    {"progress.best_iteration", offsetof(progress_counts, best_epoch), TENSOR_I64},
    {PLACE(best_reward), TENSOR_F64},
    {PLACE(waited), TENSOR_I64},
    {PLACE(since), TENSOR_I64},
};

static const count_row a2c_rows[] = {
    {A2C_SUM(loss), TENSOR_F64},          {A2C_SUM(policy_loss), TENSOR_F64}, {A2C_SUM(value_loss), TENSOR_F64},
    {A2C_SUM(concentration), TENSOR_F64}, {A2C_SUM(entropy), TENSOR_F64},     {A2C_SUM(gradient_norm), TENSOR_F64},
    {A2C_SUM(reward), TENSOR_F64},
};

static const count_row ppo_rows[] = {
    {PPO_SUM(loss), TENSOR_F64},
    {PPO_SUM(policy_loss), TENSOR_F64},
    {PPO_SUM(value_loss), TENSOR_F64},
    {PPO_SUM(entropy), TENSOR_F64},
    {PPO_SUM(kl), TENSOR_F64},
    {PPO_SUM(clip_fraction), TENSOR_F64},
    {PPO_SUM(explained_variance), TENSOR_F64},
    {PPO_SUM(gradient_norm), TENSOR_F64},
};

/* Where the episodes of rollouts of some steps have come to. */
static const count_row episode_counts[] = {
    {"progress.episodes", offsetof(progress_counts, episodes.count), TENSOR_I64},
    {"progress.episode_steps", offsetof(progress_counts, episodes.steps), TENSOR_I64},
    {"progress.episode_reward_sum", offsetof(progress_counts, episodes.reward), TENSOR_F64},
    {"progress.episodes_so_far", offsetof(progress_counts, latest.count), TENSOR_I64},
};

enum { NAME_SIZE = 160 };

static const char env_state[] = "state.environment", episode_rewards[] = "state.episode_rewards",
                  episode_steps[] = "state.episode_steps", kl_weight[] = "state.kl_weight",
                  latest_rewards[] = "progress.latest_rewards";

static ppo *ppo_of(const run *r)
{
    return r->rollout ? rollout_ppo(r->rollout) : NULL;
}

/* Rollouts end in the middle of episodes. */
static int by_steps(const run *r)
{
    return r->rollout && r->experiment.train.rollout > 0;
}

/* The tables of a run, one after the other; NULL past the last. */
typedef struct count_table {
    const count_row *rows;
    int count;
} count_table;

static count_table counts_of(const run *r, int index)
{
    static const count_table of_data = {data_counts, (int)(sizeof data_counts / sizeof *data_counts)},
                             of_env = {env_counts, (int)(sizeof env_counts / sizeof *env_counts)},
                             of_a2c = {a2c_rows, (int)(sizeof a2c_rows / sizeof *a2c_rows)},
                             of_ppo = {ppo_rows, (int)(sizeof ppo_rows / sizeof *ppo_rows)},
                             of_episodes = {episode_counts, (int)(sizeof episode_counts / sizeof *episode_counts)};
    if (index == 0) return r->rollout ? of_env : of_data;
    if (index == 1 && r->rollout) return ppo_of(r) ? of_ppo : of_a2c;
    if (index == 2 && by_steps(r)) return of_episodes;
    return (count_table){NULL, 0};
}

static stpn_status set_metadata(tensor_file *file, const stpn_net *net, const char *text, stpn_error *error)
{
    stpn_status status = net_file_mark(file, net, error);
    if (!status) status = tensor_file_set_metadata(file, "kernel", net->kernel->name, error);
    if (!status) status = tensor_file_set_metadata(file, "experiment", text, error);
    return status;
}

static tensor_type type_of(const stpn_net *net)
{
    return net->kernel->real == STPN_DOUBLE ? TENSOR_F64 : TENSOR_F32;
}

static void state_name(char name[NAME_SIZE], const stpn_tensor *tensor)
{
    snprintf(name, NAME_SIZE, "state.%s", tensor->name);
}

/* Between two windows of a batch. */
static int is_within(const supervised *learner, const progress_counts *counts)
{
    return counts->update % supervised_windows(learner) != 0;
}

static stpn_status add_state(tensor_file *file, const supervised *learner, stpn_error *error)
{
    stpn_tensor tensor;
    const void *values;
    stpn_status status = STPN_OK;
    for (int i = 0; !status && (values = supervised_carried(learner, i, &tensor)); i++) {
        char name[NAME_SIZE];
        int64_t shape[3] = {tensor.shape[0], tensor.shape[1], tensor.shape[2]};
        state_name(name, &tensor);
        status = tensor_file_add(file, name, type_of(supervised_net(learner)), tensor.rank, shape, values, error);
    }
    return status;
}

/* Copies of the environment, all at their episodes' end. */
static stpn_status add_env(tensor_file *file, const run *r, stpn_error *error)
{
    const env *e = rollout_env(r->rollout);
    int64_t shape[2] = {e->batch, e->shape.state};
    return tensor_file_add(file, env_state, TENSOR_I64, 2, shape, rollout_copies(r->rollout), error);
}

static const char returns_prefix[] = "state.returns_", discounted_name[] = "state.discounted";

static stpn_status add_scaling(tensor_file *file, const char *prefix, const scaling *s, stpn_error *error)
{
    char name[NAME_SIZE];
    int64_t width = s->width;
    snprintf(name, sizeof name, "%scount", prefix);
    stpn_status status = tensor_file_add(file, name, TENSOR_I64, 0, NULL, &s->count, error);
    snprintf(name, sizeof name, "%smean", prefix);
    if (!status) status = tensor_file_add(file, name, TENSOR_F64, 1, &width, s->mean, error);
    snprintf(name, sizeof name, "%ssquares", prefix);
    return status ? status : tensor_file_add(file, name, TENSOR_F64, 1, &width, s->squares, error);
}

static stpn_status add_scalings(tensor_file *file, const run *r, stpn_error *error)
{
    const scaling *observations = rollout_scaling(r->rollout), *returns = rollout_return_scaling(r->rollout);
    int64_t batch = rollout_env(r->rollout)->batch;
    stpn_status status = observations->width ? add_scaling(file, "scaling.", observations, error) : STPN_OK;
    if (status || !returns->width) return status;
    status = add_scaling(file, returns_prefix, returns, error);
    if (status) return status;
    return tensor_file_add(file, discounted_name, TENSOR_F64, 1, &batch, rollout_discounted(r->rollout), error);
}

/* An environment in a process of its own begins new episodes when a run goes on: what the net remembers of the old ones has
 * no use. */
static int episodes_go_on(const run *r)
{
    return !env_is_elsewhere(rollout_env(r->rollout)->type);
}

/* In the middle of episodes: what the net remembers, and what the episodes have come to. */
static stpn_status add_episodes(tensor_file *file, const run *r, const progress_counts *counts, stpn_error *error)
{
    static const int64_t all = LATEST_EPISODES;
    stpn_state *state = rollout_state(r->rollout);
    stpn_tensor tensor;
    stpn_status status = STPN_OK;
    int64_t batch = rollout_env(r->rollout)->batch;
    for (int i = 0; !status && episodes_go_on(r) && stpn_state_tensor(state, i, &tensor); i++) {
        char name[NAME_SIZE];
        int64_t shape[3] = {tensor.shape[0], tensor.shape[1], tensor.shape[2]};
        void *values = memory_zeroed(tensor.count, r->net->kernel->size);
        if (!values) return error_memory(error, "a checkpoint");
        stpn_state_get(state, i, values);
        state_name(name, &tensor);
        status = tensor_file_add(file, name, type_of(r->net), tensor.rank, shape, values, error);
        memory_free(values);
    }
    if (!status)
        status = tensor_file_add(file, episode_rewards, TENSOR_F64, 1, &batch, rollout_rewards(r->rollout), error);
    if (!status)
        status = tensor_file_add(file, episode_steps, TENSOR_I64, 1, &batch, rollout_lengths(r->rollout), error);
    if (!status) status = tensor_file_add(file, latest_rewards, TENSOR_F64, 1, &all, counts->latest.reward, error);
    if (status || !ppo_of(r)) return status;
    double weight = ppo_kl_weight(ppo_of(r));
    status = tensor_file_add(file, kl_weight, TENSOR_F64, 0, NULL, &weight, error);
    return status ? status : add_scalings(file, r, error);
}

/* Rows (B) of something of the copies. */
static stpn_status gather_rows(const run *r, void *rows, size_t bytes, stpn_error *error)
{
    int batch = rollout_env(r->rollout)->batch;
    return rows ? ranks_gather(r->ranks, rows, bytes, batch, stpn_chunk_size(batch), error) : STPN_OK;
}

stpn_status checkpoint_gather(const run *r, const progress_counts *counts, stpn_error *error)
{
    if (r->learner) return is_within(r->learner, counts) ? supervised_gather_carried(r->learner, error) : STPN_OK;
    const env *e = rollout_env(r->rollout);
    int64_t *copies = rollout_copies(r->rollout);
    e->type->save(e, copies);
    stpn_status status = gather_rows(r, copies, (size_t)e->shape.state * sizeof *copies, error);
    if (status || !by_steps(r)) return status;
    double *rewards = rollout_rewards(r->rollout), *discounted = rollout_discounted(r->rollout);
    int64_t *steps = rollout_lengths(r->rollout);
    const stpn_state *state = rollout_state(r->rollout);
    if (episodes_go_on(r)) status = gather_rows(r, state->values, r->net->state_values * r->net->kernel->size, error);
    if (!status) status = gather_rows(r, rewards, sizeof *rewards, error);
    if (!status) status = gather_rows(r, steps, sizeof *steps, error);
    return status ? status : gather_rows(r, discounted, sizeof *discounted, error);
}

stpn_status checkpoint_save(const char *path, const run *r, const progress_counts *counts, const char *text,
                            stpn_error *error)
{
    const stpn_net *net = r->net;
    const stpn_adam *adam = run_adam(r);
    tensor_file *file;
    stpn_status status = tensor_file_create(&file, error);
    if (status) return status;
    status = set_metadata(file, net, text, error);
    if (!status) status = net_block_to_file(net, net->parameters, "", file, error);
    if (!status) status = net_block_to_file(net, adam->first, "adam.first.", file, error);
    if (!status) status = net_block_to_file(net, adam->second, "adam.second.", file, error);
    if (!status) status = tensor_file_add(file, "adam.updates", TENSOR_I64, 0, NULL, &adam->updates, error);
    count_table table;
    for (int index = 0; (table = counts_of(r, index)).rows; index++)
        for (int i = 0; i < table.count && !status; i++)
            status = tensor_file_add(file, table.rows[i].name, table.rows[i].type, 0, NULL,
                                     (const char *)counts + table.rows[i].offset, error);
    if (!status && r->rollout) status = add_env(file, r, error);
    if (!status && by_steps(r)) status = add_episodes(file, r, counts, error);
    if (!status && r->learner && is_within(r->learner, counts)) status = add_state(file, r->learner, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}

stpn_status checkpoint_save_best(const char *path, const stpn_net *net, const void *parameters,
                                 const scaling *observations, const char *text, stpn_error *error)
{
    tensor_file *file;
    stpn_status status = tensor_file_create(&file, error);
    if (status) return status;
    status = set_metadata(file, net, text, error);
    if (!status) status = net_block_to_file(net, parameters, "", file, error);
    if (!status && observations->width) status = add_scaling(file, "scaling.", observations, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}

/* A scalar of 8 bytes. */
static stpn_status read_scalar(const tensor_file *file, const char *name, tensor_type type, void *value,
                               stpn_error *error)
{
    const tensor_entry *entry = tensor_file_find(file, name);
    if (!entry || entry->type != type || entry->count != 1)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is %s, expected one value of type %s",
                         tensor_file_name(file), name, entry ? "of another type or size" : "missing",
                         tensor_type_name(type));
    memcpy(value, entry->data, 8);
    return STPN_OK;
}

static stpn_status check_writer(const tensor_file *file, const char *kernel, stpn_error *error)
{
    const char *writer = tensor_file_metadata(file, "kernel");
    if (!kernel || (writer && strcmp(writer, kernel) == 0)) return STPN_OK;
    if (!writer) writer = "unknown";
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: was written by kernel %.40s, this process uses %s, whose bits differ: set "
                     "STPN_KERNEL=%.40s, or allow it with --any-kernel",
                     tensor_file_name(file), writer, kernel, writer);
}

static int is_finite(const count_row *row, const progress_counts *c)
{
    double value;
    memcpy(&value, (const char *)c + row->offset, sizeof value);
    return row->type != TENSOR_F64 || isfinite(value);
}

static stpn_status read_counts(const tensor_file *file, const run *r, progress_counts *c, int64_t *updates,
                               stpn_error *error)
{
    int finite = 1;
    count_table table;
    stpn_status status = read_scalar(file, "adam.updates", TENSOR_I64, updates, error);
    for (int index = 0; (table = counts_of(r, index)).rows; index++)
        for (int i = 0; i < table.count && !status; i++) {
            const count_row *row = &table.rows[i];
            status = read_scalar(file, row->name, row->type, (char *)c + row->offset, error);
            finite = finite && is_finite(row, c);
        }
    if (status) return status;
    int valid = finite && c->epoch >= 0 && c->update >= 0 && c->correct >= 0 && c->answers >= c->correct &&
                c->best_epoch >= 0 && c->best_epoch <= c->epoch && c->waited >= 0 && c->best_accuracy >= 0 &&
                c->best_accuracy <= 1 && c->since >= 0 && c->since <= c->epoch && *updates >= 0 &&
                c->episodes.count >= 0 && c->episodes.steps >= c->episodes.count && c->latest.count >= 0;
    if (valid) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: a count of progress.* or adam.updates is out of range",
                     tensor_file_name(file));
}

static stpn_status read_state(const tensor_file *file, supervised *learner, stpn_error *error)
{
    const stpn_net *net = supervised_net(learner);
    stpn_tensor tensor;
    stpn_status status = STPN_OK;
    for (int i = 0; !status && supervised_carried(learner, i, &tensor); i++) {
        char name[NAME_SIZE];
        state_name(name, &tensor);
        const tensor_entry *entry = tensor_file_find(file, name);
        int fits = entry && entry->type == type_of(net) && entry->rank == tensor.rank;
        for (int d = 0; d < tensor.rank && fits; d++) fits = entry->shape[d] == tensor.shape[d];
        if (!fits)
            return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is %s, expected the state of %d sequences",
                             tensor_file_name(file), name, entry ? "of another type or shape" : "missing",
                             tensor.shape[0]);
        stpn_error inner = {{0}};
        status = supervised_set_carried(learner, i, entry->data, &inner);
        if (status) error_set(error, status, "%s: %s", tensor_file_name(file), inner.message);
    }
    return status;
}

static stpn_status read_env(const tensor_file *file, env *e, stpn_error *error)
{
    const tensor_entry *entry = tensor_file_find(file, env_state);
    if (!entry || entry->type != TENSOR_I64 || entry->rank != 2 || entry->shape[0] != e->batch ||
        entry->shape[1] != e->shape.state)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is %s, expected the state of %d copies of %s",
                         tensor_file_name(file), env_state, entry ? "of another type or shape" : "missing", e->batch,
                         e->type->name);
    int64_t *state = memory_zeroed(entry->count, sizeof *state);
    if (!state) return error_memory(error, "a checkpoint");
    memcpy(state, entry->data, entry->count * sizeof *state);
    stpn_status status = e->type->restore(e, state, tensor_file_name(file), error);
    memory_free(state);
    return status;
}

/* Values of 8 bytes, so many as `batch` says. */
static stpn_status read_copies(const tensor_file *file, const char *name, tensor_type type, int batch, void *values,
                               stpn_error *error)
{
    const tensor_entry *entry = tensor_file_find(file, name);
    if (!entry || entry->type != type || entry->rank != 1 || entry->shape[0] != batch)
        return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is %s, expected %d values of type %s",
                         tensor_file_name(file), name, entry ? "of another type or shape" : "missing", batch,
                         tensor_type_name(type));
    memcpy(values, entry->data, 8 * (size_t)batch);
    return STPN_OK;
}

static stpn_status read_scaling(const tensor_file *file, const char *prefix, scaling *s, stpn_error *error)
{
    char name[NAME_SIZE];
    int64_t count = 0;
    int valid = 1;
    snprintf(name, sizeof name, "%scount", prefix);
    stpn_status status = read_scalar(file, name, TENSOR_I64, &count, error);
    snprintf(name, sizeof name, "%smean", prefix);
    if (!status) status = read_copies(file, name, TENSOR_F64, s->width, s->mean, error);
    snprintf(name, sizeof name, "%ssquares", prefix);
    if (!status) status = read_copies(file, name, TENSOR_F64, s->width, s->squares, error);
    if (status) return status;
    for (int i = 0; i < s->width; i++)
        valid = valid && isfinite(s->mean[i]) && isfinite(s->squares[i]) && s->squares[i] >= 0;
    s->count = count;
    if (valid && count >= 0) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%s: a value of %s* is out of range", tensor_file_name(file), prefix);
}

static stpn_status read_scalings(const tensor_file *file, const run *r, stpn_error *error)
{
    scaling *observations = rollout_scaling(r->rollout), *returns = rollout_return_scaling(r->rollout);
    double *discounted = rollout_discounted(r->rollout);
    int batch = rollout_env(r->rollout)->batch, valid = 1;
    stpn_status status = observations->width ? read_scaling(file, "scaling.", observations, error) : STPN_OK;
    if (status || !returns->width) return status;
    status = read_scaling(file, returns_prefix, returns, error);
    if (!status) status = read_copies(file, discounted_name, TENSOR_F64, batch, discounted, error);
    for (int b = 0; b < batch && !status; b++) valid = valid && isfinite(discounted[b]);
    if (status || valid) return status;
    return error_set(error, STPN_ERROR_INPUT, "%s: a value of %s is out of range", tensor_file_name(file),
                     discounted_name);
}

stpn_status checkpoint_load_agent(run *r, const char *path, stpn_error *error)
{
    tensor_file *file;
    stpn_status status = stpn_net_load(r->net, path, error);
    if (status || !r->scaling.width) return status;
    status = tensor_file_read(&file, path, error);
    if (status) return status;
    status = read_scaling(file, "scaling.", &r->scaling, error);
    tensor_file_free(file);
    return status;
}

static stpn_status read_memory(const tensor_file *file, const run *r, stpn_error *error)
{
    stpn_state *state = rollout_state(r->rollout);
    stpn_tensor tensor;
    /* By episodes_go_on of what wrote the file; an agent, which takes it up too, has that environment's name alone. */
    const env_type *known = env_find(rollout_env(r->rollout)->type->name);
    int is_left_out = known && env_is_elsewhere(known);
    stpn_status status = STPN_OK;
    for (int i = 0; !status && stpn_state_tensor(state, i, &tensor); i++) {
        char name[NAME_SIZE];
        stpn_error inner = {{0}};
        state_name(name, &tensor);
        const tensor_entry *entry = tensor_file_find(file, name);
        if (!entry && is_left_out) continue;
        int fits = entry && entry->type == type_of(r->net) && entry->rank == tensor.rank;
        for (int d = 0; d < tensor.rank && fits; d++) fits = entry->shape[d] == tensor.shape[d];
        if (!fits)
            return error_set(error, STPN_ERROR_INPUT, "%s: tensor %s is %s, expected the state of %d copies",
                             tensor_file_name(file), name, entry ? "of another type or shape" : "missing",
                             tensor.shape[0]);
        status = stpn_state_set(state, i, entry->data, &inner);
        if (status) error_set(error, status, "%s: %s", tensor_file_name(file), inner.message);
    }
    return status;
}

static stpn_status read_episodes(const tensor_file *file, const run *r, progress_counts *c, stpn_error *error)
{
    double *rewards = rollout_rewards(r->rollout), weight = 0;
    int64_t *steps = rollout_lengths(r->rollout);
    int batch = rollout_env(r->rollout)->batch, valid = 1;
    stpn_status status = read_copies(file, episode_rewards, TENSOR_F64, batch, rewards, error);
    if (!status) status = read_copies(file, episode_steps, TENSOR_I64, batch, steps, error);
    if (!status) status = read_copies(file, latest_rewards, TENSOR_F64, LATEST_EPISODES, c->latest.reward, error);
    if (!status && ppo_of(r)) status = read_scalar(file, kl_weight, TENSOR_F64, &weight, error);
    if (!status) status = read_memory(file, r, error);
    if (!status && ppo_of(r)) status = read_scalings(file, r, error);
    if (status) return status;
    for (int b = 0; b < batch; b++) valid = valid && isfinite(rewards[b]) && steps[b] >= 0;
    for (int i = 0; i < LATEST_EPISODES; i++) valid = valid && isfinite(c->latest.reward[i]);
    if (!valid || !isfinite(weight) || weight < 0)
        return error_set(error, STPN_ERROR_INPUT, "%s: a value of %s, %s, %s or %s is out of range",
                         tensor_file_name(file), episode_rewards, episode_steps, latest_rewards, kl_weight);
    if (ppo_of(r)) ppo_set_kl_weight(ppo_of(r), weight);
    if (c->epoch > 0) rollout_resume(r->rollout); // before the first iteration there are no episodes yet
    return STPN_OK;
}

static stpn_status read_course(const tensor_file *file, run *r, progress_counts *c, stpn_error *error)
{
    if (r->rollout) {
        stpn_status status = read_env(file, rollout_env(r->rollout), error);
        return status || !by_steps(r) ? status : read_episodes(file, r, c, error);
    }
    return is_within(r->learner, c) ? read_state(file, r->learner, error) : STPN_OK;
}

stpn_status checkpoint_load(const char *path, run *r, progress_counts *counts, const char *kernel, stpn_error *error)
{
    stpn_net *net = r->net;
    stpn_adam *adam = run_adam(r);
    tensor_file *file;
    stpn_status status = tensor_file_read(&file, path, error);
    if (status) return status;
    void *blocks[3] = {stpn_block_create(net), stpn_block_create(net), stpn_block_create(net)};
    static const char *const prefixes[3] = {"", "adam.first.", "adam.second."};
    progress_counts read = {0};
    int64_t updates = 0;
    if (!blocks[0] || !blocks[1] || !blocks[2]) status = error_memory(error, "a checkpoint");
    if (!status) status = net_file_check_format(file, 1, error);
    if (!status) status = check_writer(file, kernel, error);
    if (!status) status = net_file_check_names(net, file, net_file_others, error);
    if (!status) status = net_file_check_units(net, file, error);
    for (int i = 0; i < 3 && !status; i++) status = net_block_from_file(net, blocks[i], prefixes[i], file, error);
    if (!status) status = read_counts(file, r, &read, &updates, error);
    if (!status) status = read_course(file, r, &read, error);
    if (!status) {
        size_t bytes = net->block_values * net->kernel->size;
        memcpy(net->parameters, blocks[0], bytes);
        net_changed(net);
        memcpy(adam->first, blocks[1], bytes);
        memcpy(adam->second, blocks[2], bytes);
        adam->updates = updates;
        if (ppo_of(r)) ppo_set_rollouts(ppo_of(r), read.epoch);
        else if (r->rollout) a2c_set_rollouts(rollout_agent(r->rollout), read.epoch);
        *counts = read;
    }
    for (int i = 0; i < 3; i++) stpn_block_free(blocks[i]);
    tensor_file_free(file);
    return status;
}
