/* The folder of a run: what is saved when, so that a kill at any instant leaves a run that goes on to the same bits. */
#include "train/trainer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "train/origin.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { RANK_TEXT = 80 };

static stpn_status holds_a_run(const trainer *t, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: holds a run already: go on with --resume, or name another folder with --out", t->folder);
}

stpn_status trainer_name_folder(trainer *t, const experiment *e, stpn_error *error)
{
    const stpn_run_options *o = t->options;
    int length = o->out ? snprintf(t->folder, sizeof t->folder, "%s", o->out)
                        : snprintf(t->folder, sizeof t->folder, "runs/%s-s%" PRIu64, e->name, e->seed);
    if (length < 0 || (size_t)length >= sizeof t->folder || (o->out && !*o->out))
        return error_set(error, STPN_ERROR_INPUT, "the run's folder has an empty or too long name");
    return STPN_OK;
}

stpn_status trainer_open_folder(trainer *t, stpn_error *error)
{
    const stpn_run_options *o = t->options;
    char path[RUN_PATH];
    stpn_status status = run_path(path, t->folder, RUN_EXPERIMENT, error);
    if (!status && !o->resume && file_exists(path)) return holds_a_run(t, error);
    if (!status) status = file_make_folder(t->folder, error);
    if (!status) status = file_lock_folder(t->folder, &t->lock, error);
    return status;
}

stpn_status trainer_compare(const trainer *t, const experiment *e, int *exists, stpn_error *error)
{
    char path[RUN_PATH], last[RUN_PATH], place[256];
    stpn_status status = run_path(path, t->folder, RUN_EXPERIMENT, error);
    *exists = !status && file_exists(path);
    if (*exists && !t->options->resume) return holds_a_run(t, error);
    if (!status) status = run_path(last, t->folder, RUN_LAST, error);
    if (!status && !*exists && file_exists(last))
        return error_set(error, STPN_ERROR_INPUT,
                         "%s: holds a checkpoint without its %s: name another folder with --out", t->folder,
                         RUN_EXPERIMENT);
    if (status || !*exists) return status;
    experiment before;
    status = experiment_read(&before, path, NULL, 0, NULL, error);
    if (status) return status;
    if (json_difference(before.resolved, e->resolved, place, sizeof place))
        status = error_set(error, STPN_ERROR_INPUT,
                           "%s: %s differs from the run's %s: resume with the same file and settings, or name another "
                           "folder with --out",
                           t->folder, place, RUN_EXPERIMENT);
    if (!status) status = origin_check(&e->task_options, t->folder, error);
    experiment_free(&before);
    return status;
}

stpn_status trainer_save_text(const trainer *t, const char *name, const char *text, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = run_path(path, t->folder, name, error);
    if (status) return status;
    file_part parts[2] = {{text, strlen(text)}, {"\n", 1}};
    profile_part before = profile_enter(t->lane, PROFILE_FILES);
    status = file_replace(path, parts, 2, error);
    profile_enter(t->lane, before);
    return status;
}

/* What evaluations left: rows, and the best parameters. */
static stpn_status save_evaluations(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = t->rows_wait ? run_path(path, t->folder, RUN_METRICS, error) : STPN_OK;
    if (!status && t->rows_wait) status = metrics_save(&t->metrics, path, error);
    if (!status && t->rows_wait) status = run_path(path, t->folder, RUN_EVENTS, error);
    if (!status && t->rows_wait) status = events_save(&t->events, &t->metrics, path, error);
    if (!status) t->rows_wait = 0;
    if (status || !t->best_waits) return status;
    status = run_path(path, t->folder, RUN_BEST, error);
    if (!status) status = checkpoint_save_best(path, t->run.net, t->best, &t->best_scaling, t->text, error);
    if (!status) t->best_waits = 0;
    return status;
}

/* Rank 0's bytes on all ranks, which have as many. */
static stpn_status check_same(stpn_ranks *r, const char *own, size_t size, const char *what, stpn_error *error)
{
    char first[RANK_TEXT] = {0};
    memcpy(first, own, size);
    stpn_status status = ranks_broadcast(r, first, size, error);
    if (!status && memcmp(first, own, size) != 0) status = error_set(error, STPN_ERROR_INPUT, "%s than rank 0", what);
    return ranks_agree(r, status, error);
}

/* FNV-1a. */
static uint64_t digest(const void *data, size_t size)
{
    uint64_t value = 0xcbf29ce484222325;
    for (const unsigned char *c = data; size > 0; c++, size--) value = (value ^ *c) * 0x100000001b3;
    return value;
}

/* Each rank makes the updates by itself, with its own C library. */
static stpn_status check_parameters(const trainer *t, stpn_error *error)
{
    const stpn_net *net = t->run.net;
    char own[RANK_TEXT] = {0};
    if (!t->run.ranks) return STPN_OK;
    snprintf(own, sizeof own, "%016" PRIx64, digest(net->parameters, net->block_values * net->kernel->size));
    return check_same(t->run.ranks, own, sizeof own, "has come, by another C library maybe, to other parameters",
                      error);
}

/* In this order, so that a kill in between leaves a checkpoint that is behind the rest. */
stpn_status trainer_save(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    profile_part before = profile_enter(t->lane, PROFILE_FILES);
    double begin = machine_seconds();
    stpn_status status = run_path(path, t->folder, RUN_LAST, error);
    if (!status && ranks_is_first(t->run.ranks)) status = save_evaluations(t, error);
    status = ranks_agree(t->run.ranks, status, error);
    if (!status) status = check_parameters(t, error);
    if (!status) status = checkpoint_gather(&t->run, &t->counts, error);
    if (!status && ranks_is_first(t->run.ranks)) status = checkpoint_save(path, &t->run, &t->counts, t->text, error);
    status = ranks_agree(t->run.ranks, status, error);
    t->saved = machine_seconds();
    t->save_seconds = t->saved - begin;
    t->end.waits = 0;
    profile_enter(t->lane, before);
    return status;
}

/* Episodes of rollouts go on where they are, with all that is remembered there. */
static int keeps_end(const run *r)
{
    return !r->rollout || !r->experiment.train.rollout || r->experiment.env_shape.restarts;
}

stpn_status trainer_open_end(trainer *t, stpn_error *error)
{
    epoch_end *end = &t->end;
    if (!keeps_end(&t->run)) return STPN_OK;
    const env *e = t->run.rollout ? rollout_env(t->run.rollout) : NULL;
    end->parameters = stpn_block_create(t->run.net);
    end->first = stpn_block_create(t->run.net);
    end->second = stpn_block_create(t->run.net);
    if (e) end->copies = memory_zeroed((size_t)e->batch, (size_t)e->shape.state * sizeof *end->copies);
    if (end->parameters && end->first && end->second && (end->copies || !e)) return STPN_OK;
    return error_memory(error, e ? "the end of an iteration" : "the end of an epoch");
}

/* Epochs may be shorter than it takes to sync a file. */
stpn_status trainer_end_epoch(trainer *t, stpn_status status, stpn_error *error)
{
    epoch_end *end = &t->end;
    status = trainer_meet(t, status, fmax(EPOCH_SECONDS, SAVE_TIMES * t->save_seconds), error);
    if (status) return status;
    if (t->saves) return trainer_save(t, error);
    if (!keeps_end(&t->run)) return STPN_OK;
    const stpn_net *net = t->run.net;
    const stpn_adam *adam = run_adam(&t->run);
    size_t bytes = net->block_values * net->kernel->size;
    memcpy(end->parameters, net->parameters, bytes);
    memcpy(end->first, adam->first, bytes);
    memcpy(end->second, adam->second, bytes);
    if (t->run.rollout) rollout_env(t->run.rollout)->type->save(rollout_env(t->run.rollout), end->copies);
    end->waits = 1;
    end->counts = t->counts;
    end->updates = adam->updates;
    return STPN_OK;
}

void trainer_rescue(trainer *t)
{
    const epoch_end *end = &t->end;
    stpn_net *net = t->run.net;
    stpn_adam *adam = run_adam(&t->run);
    size_t bytes = net->block_values * net->kernel->size;
    if (ranks_is_first(t->run.ranks)) save_evaluations(t, NULL);
    if (!end->waits) return;
    memcpy(net->parameters, end->parameters, bytes);
    net_changed(net);
    memcpy(adam->first, end->first, bytes);
    memcpy(adam->second, end->second, bytes);
    adam->updates = end->updates;
    t->counts = end->counts;
    if (t->run.rollout) {
        env *e = rollout_env(t->run.rollout);
        size_t state = (size_t)e->shape.state * sizeof *end->copies;
        int chunk = stpn_chunk_size(e->batch);
        stpn_status status = ranks_gather(t->run.ranks, end->copies, state, e->batch, chunk, NULL);
        if (!status) status = e->type->restore(e, end->copies, t->folder, NULL);
        if (ranks_agree(t->run.ranks, status, NULL)) return;
    }
    trainer_save(t, NULL);
}

/* Whether they fit the experiment. */
static stpn_status check_counts(const trainer *t, const char *path, stpn_error *error)
{
    const experiment *e = &t->run.experiment;
    const progress_counts *c = &t->counts;
    int64_t all = e->env ? e->train.iterations : e->train.epochs, each = e->env ? 1 : t->updates;
    int within = c->epoch <= all && c->update < each && c->since < e->train.evaluate_every;
    int64_t done = within ? c->epoch * each + c->update : -1;
    int64_t updates = run_adam(&t->run)->updates;
    /* PPO makes many of an iteration. */
    if (within && c->waited <= c->epoch && (updates <= done || (done > 0 && e->train.method == METHOD_PPO)))
        return STPN_OK;
    if (e->env)
        return error_set(error, STPN_ERROR_INPUT, "%s: its counts do not fit an experiment of %d iterations", path,
                         e->train.iterations);
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: its counts do not fit an experiment of %d epochs of %" PRId64 " updates", path,
                     e->train.epochs, t->updates);
}

stpn_status trainer_check_ranks(const trainer *t, stpn_error *error)
{
    stpn_ranks *r = t->run.ranks;
    char own[RANK_TEXT] = {0};
    if (!r) return STPN_OK;
    snprintf(own, sizeof own, "%s", stpn_net_kernel(t->run.net));
    stpn_status status = check_same(
        r, own, sizeof own, "would use another kernel, whose bits differ (STPN_KERNEL sets it for all),", error);
    if (status) return status;
    snprintf(own, sizeof own, "%016" PRIx64, digest(t->text, strlen(t->text)));
    status = check_same(r, own, sizeof own, "reads another experiment", error);
    if (status) return status;
    memset(own, 0, sizeof own);
    status = ranks_agree(r, origin_print(&t->run.experiment.task_options, own, error), error);
    return status ? status : check_same(r, own, sizeof own, "reads other data", error);
}

/* A folder that one machine alone has would start anew on the others. */
static stpn_status check_place(const trainer *t, stpn_error *error)
{
    const progress_counts *c = &t->counts;
    char own[RANK_TEXT] = {0};
    if (!t->run.ranks) return STPN_OK;
    snprintf(own, sizeof own, "%" PRId64 " %" PRId64 " %" PRId64, c->epoch, c->update, run_adam(&t->run)->updates);
    return check_same(t->run.ranks, own, sizeof own, "reads another checkpoint", error);
}

stpn_status trainer_load(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    const experiment *e = &t->run.experiment;
    stpn_status status = run_path(path, t->folder, RUN_LAST, error);
    int32_t exists = !status && file_exists(path);
    status = ranks_decide(t->run.ranks, status, &exists, 0, error);
    if (!status && exists) {
        status = checkpoint_load(path, &t->run, &t->counts, t->options->any_kernel ? NULL : stpn_net_kernel(t->run.net),
                                 error);
        if (!status) status = check_counts(t, path, error);
        status = ranks_agree(t->run.ranks, status, error);
        if (!status) status = check_place(t, error);
    } else if (!status) {
        status = trainer_save(t, error);
    }
    int learning = e->train.method == METHOD_PPO ? METRICS_PPO : METRICS_REWARD;
    int measures = e->env                          ? learning | (e->train.rollout ? METRICS_EPISODES : 0)
                   : e->shape.loss == LOSS_SQUARED ? 0
                   : e->shape.loss == LOSS_BINARY  ? METRICS_ACCURACY | METRICS_RATES
                                                   : METRICS_ACCURACY;
    if (!status) status = run_path(path, t->folder, RUN_METRICS, error);
    if (!status && ranks_is_first(t->run.ranks))
        status = metrics_resume(&t->metrics, measures, path, t->counts.epoch, error);
    return ranks_agree(t->run.ranks, status, error);
}

void trainer_free(trainer *t)
{
    stpn_block_free(t->best);
    scaling_close(&t->best_scaling);
    stpn_block_free(t->end.parameters);
    stpn_block_free(t->end.first);
    stpn_block_free(t->end.second);
    memory_free(t->end.copies);
    run_close(&t->run);
    profile_free(t->profile);
    metrics_free(&t->metrics);
    events_free(&t->events);
    memory_free(t->order);
    memory_free(t->text);
    file_unlock(t->lock);
}
