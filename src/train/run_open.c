#include "base/error.h"
#include "base/file.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

stpn_status run_path(char path[RUN_PATH], const char *folder, const char *name, stpn_error *error)
{
    int length = snprintf(path, RUN_PATH, "%s/%s", folder, name);
    if (length >= 0 && length < RUN_PATH) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "%.200s...: the path is too long", folder);
}

/* A set that asks for nothing measures nothing, and a batch has to be full. */
static stpn_status check_split(const experiment *e, const task_split *split, const char *name, int least,
                               stpn_error *error)
{
    /* In their own order the last ones never fill a batch. */
    int used = least && !e->train.shuffle ? split->count / least * least : split->count;
    int64_t asked = 0;
    if (split->count < least)
        return error_set(error, STPN_ERROR_INPUT, "train.batch is %d, expected at most the %d training sequences",
                         least, split->count);
    for (int n = 0; n < used; n++) {
        int length = split->lengths ? split->lengths[n] : split->steps;
        asked += loss_asked(&e->shape, loss_wanted_at(split, &e->shape, n, 0), e->shape.per_step ? length : 1);
    }
    if (asked > 0) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "the %s set of %d sequences asks for no answer", name, used);
}

static stpn_status check_data(const experiment *e, const task_data *data, stpn_error *error)
{
    if (!task_shape_fits(&e->shape, data))
        return error_set(error, STPN_ERROR_INPUT, "%s: changed while it was read", e->task_options.file);
    stpn_status status = check_split(e, &data->train, "training", e->train.batch, error);
    if (!status) status = check_split(e, &data->validation, "validation", 0, error);
    if (!status) status = check_split(e, &data->test, "test", 0, error);
    return status;
}

static stpn_status open_data(run *r, profile_lane *lane, stpn_error *error)
{
    const experiment *e = &r->experiment;
    profile_part before = profile_enter(lane, PROFILE_DATA);
    stpn_status status = e->task->draw(&e->task_options, e->seed, &r->data, error);
    if (!status) status = check_data(e, &r->data, error);
    profile_enter(lane, before);
    return status ? status : supervised_create(&r->learner, r->net, &e->train, &e->shape, r->pool, error);
}

stpn_status run_open(run *r, experiment *e, int threads, profile *told, stpn_error *error)
{
    *r = (run){.experiment = *e};
    *e = (experiment){0};
    const experiment *own = &r->experiment;
    stpn_status status = experiment_net(&r->net, own, STPN_FLOAT, error);
    if (!status) {
        stpn_net_init(r->net, own->seed);
        status = stpn_pool_create(&r->pool, threads, error);
    }
    if (!status && own->train.method == METHOD_PPO && own->ppo.normalise_observations)
        status = scaling_open(&r->scaling, own->env_shape.observations, error);
    if (!status && own->task) status = open_data(r, profile_lane_of(told, 0), error);
    if (status) run_close(r);
    if (r->learner) supervised_set_profile(r->learner, told);
    return status;
}

stpn_status run_open_rollout(run *r, profile *told, stpn_error *error)
{
    stpn_status status = rollout_create(&r->rollout, &r->experiment, r->net, 1, r->pool, error);
    if (!status) rollout_set_profile(r->rollout, told);
    return status;
}

stpn_adam *run_adam(const run *r)
{
    if (!r->rollout) return supervised_adam(r->learner);
    ppo *p = rollout_ppo(r->rollout);
    return p ? ppo_adam(p) : a2c_adam(rollout_agent(r->rollout));
}

void run_set_ranks(run *r, stpn_ranks *ranks)
{
    r->ranks = ranks;
    if (r->learner) supervised_set_ranks(r->learner, ranks);
    if (r->rollout) rollout_set_ranks(r->rollout, ranks);
}

void run_close(run *r)
{
    supervised_free(r->learner);
    rollout_free(r->rollout);
    scaling_close(&r->scaling);
    task_data_free(&r->data);
    stpn_pool_free(r->pool);
    stpn_net_free(r->net);
    experiment_free(&r->experiment);
    *r = (run){0};
}

stpn_status run_open_folder(run *r, const char *folder, int best, int threads, stpn_error *error)
{
    char path[RUN_PATH];
    experiment e;
    *r = (run){0};
    if (!file_is_folder(folder)) return error_set(error, STPN_ERROR_INPUT, "%s: is no folder of a run", folder);
    stpn_status status = run_path(path, folder, RUN_EXPERIMENT, error);
    if (!status && access(path, F_OK) != 0 && errno == ENOENT)
        return error_set(error, STPN_ERROR_INPUT, "%s: is no run: it has no %s", folder, RUN_EXPERIMENT);
    if (!status) status = experiment_read(&e, path, NULL, 0, NULL, error);
    if (!status) status = run_open(r, &e, threads, NULL, error);
    if (status) return status;
    status = run_path(path, folder, RUN_BEST, error);
    int has_best = !status && file_exists(path);
    if (!status && !best) status = run_path(path, folder, RUN_LAST, error);
    if (!status && !best && has_best && !file_exists(path))
        status = error_set(error, STPN_ERROR_INPUT, "%s: has no %s; --best takes its %s", folder, RUN_LAST, RUN_BEST);
    if (!status) status = checkpoint_load_agent(r, path, error);
    if (status) run_close(r);
    return status;
}
