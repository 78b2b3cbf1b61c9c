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

static const count_row count_table[] = {
    {"progress.epoch", offsetof(progress_counts, epoch), TENSOR_I64},
    {"progress.update", offsetof(progress_counts, update), TENSOR_I64},
    {"progress.loss_sum", offsetof(progress_counts, loss_sum), TENSOR_F64},
    {"progress.answers", offsetof(progress_counts, answers), TENSOR_I64},
    {"progress.correct", offsetof(progress_counts, correct), TENSOR_I64},
    {"progress.best_epoch", offsetof(progress_counts, best_epoch), TENSOR_I64},
    {"progress.best_loss", offsetof(progress_counts, best_loss), TENSOR_F64},
    {"progress.best_accuracy", offsetof(progress_counts, best_accuracy), TENSOR_F64},
    {"progress.waited", offsetof(progress_counts, waited), TENSOR_I64},
};

enum { COUNTS = sizeof count_table / sizeof *count_table, NAME_SIZE = 160 };

static stpn_status set_metadata(tensor_file *file, const stpn_net *net, const char *text, stpn_error *error)
{
    stpn_status status = net_file_mark(file, error);
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

stpn_status checkpoint_save(const char *path, supervised *learner, const progress_counts *counts, const char *text,
                            stpn_error *error)
{
    const stpn_net *net = supervised_net(learner);
    const stpn_adam *adam = supervised_adam(learner);
    tensor_file *file;
    stpn_status status = tensor_file_create(&file, error);
    if (status) return status;
    status = set_metadata(file, net, text, error);
    if (!status) status = net_block_to_file(net, net->parameters, "", file, error);
    if (!status) status = net_block_to_file(net, adam->first, "adam.first.", file, error);
    if (!status) status = net_block_to_file(net, adam->second, "adam.second.", file, error);
    if (!status) status = tensor_file_add(file, "adam.updates", TENSOR_I64, 0, NULL, &adam->updates, error);
    for (int i = 0; i < COUNTS && !status; i++)
        status = tensor_file_add(file, count_table[i].name, count_table[i].type, 0, NULL,
                                 (const char *)counts + count_table[i].offset, error);
    if (!status && is_within(learner, counts)) status = add_state(file, learner, error);
    if (!status) status = tensor_file_save(file, path, error);
    tensor_file_free(file);
    return status;
}

stpn_status checkpoint_save_best(const char *path, const stpn_net *net, const void *parameters, const char *text,
                                 stpn_error *error)
{
    tensor_file *file;
    stpn_status status = tensor_file_create(&file, error);
    if (status) return status;
    status = set_metadata(file, net, text, error);
    if (!status) status = net_block_to_file(net, parameters, "", file, error);
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

static stpn_status check_counts(const tensor_file *file, const progress_counts *c, int64_t updates, stpn_error *error)
{
    int valid = c->epoch >= 0 && c->update >= 0 && c->correct >= 0 && c->answers >= c->correct && c->best_epoch >= 0 &&
                c->best_epoch <= c->epoch && c->waited >= 0 && isfinite(c->loss_sum) && isfinite(c->best_loss) &&
                c->best_accuracy >= 0 && c->best_accuracy <= 1 && updates >= 0;
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

stpn_status checkpoint_load(const char *path, stpn_net *net, supervised *learner, progress_counts *counts,
                            const char *kernel, stpn_error *error)
{
    stpn_adam *adam = supervised_adam(learner);
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
    for (int i = 0; i < 3 && !status; i++) status = net_block_from_file(net, blocks[i], prefixes[i], file, error);
    if (!status) status = read_scalar(file, "adam.updates", TENSOR_I64, &updates, error);
    for (int i = 0; i < COUNTS && !status; i++)
        status =
            read_scalar(file, count_table[i].name, count_table[i].type, (char *)&read + count_table[i].offset, error);
    if (!status) status = check_counts(file, &read, updates, error);
    if (!status && is_within(learner, &read)) status = read_state(file, learner, error);
    if (!status) {
        size_t bytes = net->block_values * net->kernel->size;
        memcpy(net->parameters, blocks[0], bytes);
        memcpy(adam->first, blocks[1], bytes);
        memcpy(adam->second, blocks[2], bytes);
        adam->updates = updates;
        *counts = read;
    }
    for (int i = 0; i < 3; i++) stpn_block_free(blocks[i]);
    tensor_file_free(file);
    return status;
}
