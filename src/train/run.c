/* stpn_run_train, and what the loops over epochs and over iterations share. */
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "train/origin.h"
#include "train/summary.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

double trainer_seconds(const trainer *t)
{
    return t->metrics.seconds + machine_seconds() - t->lap;
}

int trainer_reports(trainer *t, int ended)
{
    enum { REPORTS_PER_SECOND = 20 };
    if (!t->options->progress) return 0;
    double now = machine_seconds();
    if (!ended && now - t->reported < 1.0 / REPORTS_PER_SECOND) return 0;
    t->reported = now;
    return 1;
}

static int stop_is_asked(const trainer *t)
{
    /* A signal may come to another thread. */
    return t->options->stop && __atomic_load_n(t->options->stop, __ATOMIC_RELAXED);
}

stpn_status trainer_meet(trainer *t, stpn_status status, double seconds, stpn_error *error)
{
    enum { STOPS = 1, SAVES = 2 };
    int32_t decision = (stop_is_asked(t) ? STOPS : 0) | (machine_seconds() - t->saved >= seconds ? SAVES : 0);
    profile_part before = profile_enter(t->lane, PROFILE_RANKS);
    status = ranks_decide(t->run.ranks, status, &decision, STOPS, error);
    profile_enter(t->lane, before);
    t->stops = decision & STOPS;
    t->saves = decision & SAVES;
    return status;
}

void trainer_keep_best(trainer *t, int is_better, const void *parameters)
{
    progress_counts *c = &t->counts;
    const stpn_net *net = t->run.net;
    c->waited++;
    if (!is_better) return;
    c->best_epoch = c->epoch;
    c->waited = 0;
    if (!ranks_is_first(t->run.ranks)) return;
    memcpy(t->best, parameters, net->block_values * net->kernel->size);
    t->best_waits = 1;
}

stpn_status trainer_add_row(trainer *t, metrics_row *row, double done, stpn_error *error)
{
    const stpn_adam *adam = run_adam(&t->run);
    double now = machine_seconds();
    t->rate = done / fmax(now - t->lap, CLOCK_LEAST);
    row->epoch = t->counts.epoch;
    row->updates = adam->updates;
    row->learning_rate = adam->learning_rate;
    row->seconds = trainer_seconds(t);
    row->sequences_per_second = row->env.iterations_per_second = t->rate;
    t->lap = now;
    t->lap_updates = 0;
    if (!ranks_is_first(t->run.ranks)) return STPN_OK;
    t->rows_wait = 1;
    return metrics_add(&t->metrics, row, error);
}

/* With a row of metrics, so that all iterations are in one. */
static int has_reached_reward(const trainer *t)
{
    const rollout_latest *latest = &t->counts.latest;
    if (t->counts.since > 0 || latest->count < LATEST_EPISODES) return 0;
    double sum = 0;
    for (int i = 0; i < LATEST_EPISODES; i++) sum += latest->reward[i];
    return sum / LATEST_EPISODES > t->run.experiment.train.stop_reward;
}

int trainer_is_finished(const trainer *t)
{
    const experiment *e = &t->run.experiment;
    const train_options *train = &e->train;
    return t->counts.epoch >= (e->env ? train->iterations : train->epochs) ||
           (train->patience > 0 && t->counts.waited >= train->patience) || (e->env && has_reached_reward(t));
}

static double seconds_elsewhere(const run *r)
{
    const env *e = r->rollout ? rollout_env(r->rollout) : NULL;
    return e && e->type->elsewhere ? e->type->elsewhere(e) : 0;
}

static stpn_status finish(trainer *t, stpn_error *error)
{
    char best[RUN_PATH];
    stpn_status status = run_path(best, t->folder, RUN_BEST, error);
    char *text = NULL;
    const progress_counts *c = &t->counts;
    const experiment *e = &t->run.experiment;
    summary_times times = {.seconds = trainer_seconds(t), .updates = run_adam(&t->run)->updates};
    if (e->task) times.sequences = c->epoch * (t->updates / t->windows) * e->train.batch;
    if (!status) status = trainer_save(t, error);
    if (status) return status;
    stpn_ranks *ranks = t->run.ranks;
    if (!ranks_is_first(ranks)) return ranks_agree(ranks, STPN_OK, error);
    run_set_ranks(&t->run, NULL); // the test is this rank's alone
    const summary_test how = {.told = t->profile, .stop = t->options->stop};
    status = summary_make(&t->run, c, best, &times, &how, &text, error);
    if (status == STPN_STOPPED) error_set(error, status, "%s: stopped in the test, saved", t->folder);
    if (!status) status = trainer_save_text(t, RUN_SUMMARY, text, error);
    memory_free(text);
    return ranks_agree(ranks, status, error);
}

static stpn_status train(trainer *t, stpn_error *error)
{
    profile_enter(t->lane, PROFILE_REST);
    t->lap = machine_seconds();
    t->saved = t->lap - EPOCH_SECONDS; // the first epoch can be looked at
    t->save_seconds = 0;
    t->best = stpn_block_create(t->run.net);
    stpn_status status = t->best ? trainer_open_end(t, error) : error_memory(error, "the best parameters");
    status = ranks_agree(t->run.ranks, status, error);
    if (status) return status;
    const env_type *type = t->run.experiment.env;
    status = type ? trainer_run_iterations(t, error) : trainer_run_epochs(t, error);
    if (!status) return finish(t, error);
    /* An environment elsewhere may fail at any time. */
    if (status == STPN_ERROR_NUMERIC || (type && env_is_elsewhere(type) && status != STPN_STOPPED)) trainer_rescue(t);
    return status;
}

/* Whether the folder holds this run already, and it is finished. */
static stpn_status open_folder(trainer *t, const experiment *e, int *exists, int *finished, stpn_error *error)
{
    char summary[RUN_PATH];
    stpn_status status = trainer_open_folder(t, error);
    if (!status) status = trainer_compare(t, e, exists, error);
    if (!status) status = run_path(summary, t->folder, RUN_SUMMARY, error);
    if (!status) *finished = *exists && file_exists(summary);
    return status;
}

static stpn_status open_run(trainer *t, experiment *e, stpn_error *error)
{
    t->text = json_to_text(e->resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!t->text) return error_memory(error, "the experiment");
    stpn_status status = run_open(&t->run, e, t->options->threads, t->profile, error);
    if (!status && t->run.experiment.env) status = run_open_rollout(&t->run, t->profile, error);
    if (!status && t->run.experiment.task) status = trainer_plan_epochs(t, error);
    return status;
}

static stpn_status save_experiment(const trainer *t, stpn_error *error)
{
    stpn_status status = origin_save(&t->run.experiment.task_options, t->folder, error);
    return status ? status : trainer_save_text(t, RUN_EXPERIMENT, t->text, error);
}

/* The experiment's run, in its folder; *finished: nothing is left to do. */
static stpn_status run_experiment(trainer *t, experiment *e, int *finished, stpn_error *error)
{
    enum { EXISTS = 1, FINISHED = 2 };
    stpn_ranks *ranks = t->options->ranks;
    int exists = 0, first = ranks_is_first(ranks);
    stpn_status status = first ? open_folder(t, e, &exists, finished, error) : STPN_OK;
    int32_t found = (exists ? EXISTS : 0) | (*finished ? FINISHED : 0);
    status = ranks_decide(ranks, status, &found, 0, error);
    *finished = found & FINISHED;
    if (status || *finished) return status;
    status = ranks_agree(ranks, open_run(t, e, error), error);
    if (status) return status;
    run_set_ranks(&t->run, ranks);
    status = trainer_check_ranks(t, error);
    if (!status && first && !(found & EXISTS)) status = save_experiment(t, error);
    status = ranks_agree(ranks, status, error);
    if (!status) status = trainer_load(t, error);
    return status ? status : train(t, error);
}

/* The first thing that ranks tell each other, in a form that no version changes: another one may not even be understood. */
static stpn_status check_version(stpn_ranks *r, stpn_error *error)
{
    char first[32] = {0};
    if (!r) return STPN_OK;
    snprintf(first, sizeof first, "%s", stpn_version());
    stpn_status status = ranks_broadcast(r, first, sizeof first, error);
    first[sizeof first - 1] = 0;
    if (status || strcmp(first, stpn_version()) == 0) return status;
    r->lost = 1;
    return error_set(error, STPN_ERROR_INPUT, "rank %d runs stpn %s, rank 0 %s", r->rank, stpn_version(), first);
}

stpn_status stpn_run_train(const stpn_run_options *options, char *folder, size_t folder_size, stpn_error *error)
{
    error_clear(error);
    stpn_status status = error_given(error, {options, "options"});
    if (!status) status = error_given(error, {options->file, "options.file"});
    for (int i = 0; i < (status ? 0 : options->set_count); i++)
        if (!options->set || !options->set[i])
            return error_set(error, STPN_ERROR_INPUT, "options.set has NULL, expected %d words", options->set_count);
    if (status) return status;
    const stpn_ranks *r = options->ranks;
    if (r && (r->rank < 0 || r->rank >= r->count || !r->send || !r->receive))
        return error_set(error, STPN_ERROR_INPUT, "ranks: rank is %d of %d, expected 0 to count - 1, send and receive",
                         r->rank, r->count);
    trainer t = {.options = options, .lock = -1};
    experiment e = {0};
    int finished = 0;
    if (folder && folder_size) folder[0] = 0;
    status = check_version(options->ranks, error);
    if (status) return status;
    status = experiment_read(&e, options->file, options->set, options->set_count,
                             options->has_seed ? &options->seed : NULL, error);
    if (!status && options->profile) status = profile_create(&t.profile, options->threads, error);
    t.lane = profile_lane_of(t.profile, 0);
    if (!status) status = trainer_name_folder(&t, &e, error);
    if (folder && folder_size) snprintf(folder, folder_size, "%s", t.folder);
    status = ranks_agree(options->ranks, status, error);
    if (!status) status = run_experiment(&t, &e, &finished, error);
    if (t.profile && !finished && (status == STPN_OK || status == STPN_STOPPED))
        profile_tell(t.profile, seconds_elsewhere(&t.run), t.made, options);
    experiment_free(&e);
    trainer_free(&t);
    return status;
}
