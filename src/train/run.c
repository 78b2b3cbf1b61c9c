/* stpn_run_train: the loop over epochs with its checkpoints, so that a kill at any instant leaves a run that goes on to
 * the same bits. */
#include "train/run.h"

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/random.h"
#include "io/metrics.h"
#include "train/checkpoint.h"
#include "train/schedule.h"
#include "train/summary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct trainer {
    run run;
    const stpn_run_options *options;
    char folder[RUN_PATH];
    int lock;
    char *text; // resolved experiment
    progress_counts counts;
    metrics metrics;
    int32_t *order;        // (train.count) of the epoch, or NULL
    evaluation validation; // the latest
    void *best;            // block: parameters of the best evaluation of this process
    int best_waits;        // they are not written yet
    int rows_wait;         // nor are rows of metrics
    double saved;          // clock of the latest checkpoint
    double reported;       // clock of the latest report
    double lap;            // clock when the latest row of metrics was added, or training began
    double rate;           // training sequences per second up to the latest row
    int64_t lap_updates;   // made since
    int windows;           // of a batch
    int64_t updates;       // of an epoch: batches * windows
} trainer;

/* At least so long between two checkpoints at the ends of epochs, and between two in the middle of one. */
static const double EPOCH_SECONDS = 1, MIDDLE_SECONDS = 60;

/* Two readings of the clock may be the same. */
static const double CLOCK_LEAST = 1e-9;

static double seconds_so_far(const trainer *t)
{
    return t->metrics.seconds + machine_seconds() - t->lap;
}

static stpn_status holds_a_run(const trainer *t, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT,
                     "%s: holds a run already: go on with --resume, or name another folder with --out", t->folder);
}

static stpn_status prepare_folder(trainer *t, const experiment *e, stpn_error *error)
{
    const stpn_run_options *o = t->options;
    char path[RUN_PATH];
    int length = o->out ? snprintf(t->folder, sizeof t->folder, "%s", o->out)
                        : snprintf(t->folder, sizeof t->folder, "runs/%s-s%" PRIu64, e->name, e->seed);
    if (length < 0 || (size_t)length >= sizeof t->folder || (o->out && !*o->out))
        return error_set(error, STPN_ERROR_INPUT, "the run's folder has an empty or too long name");
    stpn_status status = run_path(path, t->folder, RUN_EXPERIMENT, error);
    if (!status && !o->resume && file_exists(path)) return holds_a_run(t, error);
    if (!status) status = file_make_folder(t->folder, error);
    if (!status) status = file_lock_folder(t->folder, &t->lock, error);
    return status;
}

/* The experiment of an interrupted run has to be the one asked for. */
static stpn_status compare_experiment(const trainer *t, const experiment *e, int *exists, stpn_error *error)
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
    experiment_free(&before);
    return status;
}

static stpn_status save_text(const trainer *t, const char *name, const char *text, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = run_path(path, t->folder, name, error);
    if (status) return status;
    file_part parts[2] = {{text, strlen(text)}, {"\n", 1}};
    return file_replace(path, parts, 2, error);
}

/* What evaluations left: rows, and the best parameters. */
static stpn_status save_evaluations(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = t->rows_wait ? run_path(path, t->folder, RUN_METRICS, error) : STPN_OK;
    if (!status && t->rows_wait) status = metrics_save(&t->metrics, path, error);
    if (!status) t->rows_wait = 0;
    if (status || !t->best_waits) return status;
    status = run_path(path, t->folder, RUN_BEST, error);
    if (!status) status = checkpoint_save_best(path, t->run.net, t->best, t->text, error);
    if (!status) t->best_waits = 0;
    return status;
}

/* In this order, so that a kill in between leaves a checkpoint that is behind the rest. */
static stpn_status save(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = save_evaluations(t, error);
    if (!status) status = run_path(path, t->folder, RUN_LAST, error);
    if (!status) status = checkpoint_save(path, t->run.learner, &t->counts, t->text, error);
    t->saved = machine_seconds();
    return status;
}

/* Epochs may be shorter than it takes to sync a file, or so long that their updates should not be lost. */
static stpn_status save_in_time(trainer *t, double seconds, stpn_error *error)
{
    return machine_seconds() - t->saved >= seconds ? save(t, error) : STPN_OK;
}

static stpn_status load_last(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    const experiment *e = &t->run.experiment;
    stpn_status status = run_path(path, t->folder, RUN_LAST, error);
    if (!status && file_exists(path)) {
        status = checkpoint_load(path, t->run.net, t->run.learner, &t->counts,
                                 t->options->any_kernel ? NULL : stpn_net_kernel(t->run.net), error);
        const progress_counts *c = &t->counts;
        int within = c->epoch <= e->train.epochs && c->update < t->updates;
        int64_t done = within ? c->epoch * t->updates + c->update : -1;
        if (!status && (!within || c->waited > c->epoch || supervised_adam(t->run.learner)->updates > done))
            status = error_set(error, STPN_ERROR_INPUT,
                               "%s: its counts do not fit an experiment of %d epochs of %" PRId64 " updates", path,
                               e->train.epochs, t->updates);
    } else if (!status) {
        status = save(t, error);
    }
    int measures = e->shape.loss == LOSS_SQUARED  ? 0
                   : e->shape.loss == LOSS_BINARY ? METRICS_ACCURACY | METRICS_RATES
                                                  : METRICS_ACCURACY;
    if (!status) status = run_path(path, t->folder, RUN_METRICS, error);
    if (!status) status = metrics_resume(&t->metrics, measures, path, t->counts.epoch, error);
    return status;
}

/* The order of an epoch depends on the seed and the epoch alone. */
static void shuffle(trainer *t)
{
    int count = t->run.data.train.count;
    random_stream stream = random_open(t->run.experiment.seed, RANDOM_SHUFFLE, (uint64_t)t->counts.epoch);
    for (int i = 0; i < count; i++) t->order[i] = i;
    for (int i = count - 1; i > 0; i--) {
        int other = (int)random_below(&stream, (uint32_t)(i + 1));
        int32_t swap = t->order[i];
        t->order[i] = t->order[other];
        t->order[other] = swap;
    }
}

static double lap_sequences(const trainer *t)
{
    return (double)t->lap_updates * t->run.experiment.train.batch / t->windows;
}

static void report(trainer *t, int epoch_ended)
{
    enum { REPORTS_PER_SECOND = 20 };
    if (!t->options->progress) return;
    double now = machine_seconds();
    if (!epoch_ended && now - t->reported < 1.0 / REPORTS_PER_SECOND) return;
    t->reported = now;
    const train_options *train = &t->run.experiment.train;
    double rate = t->lap_updates ? lap_sequences(t) / fmax(now - t->lap, CLOCK_LEAST) : t->rate;
    int64_t done = t->counts.epoch * t->updates + t->counts.update, all = t->updates * train->epochs;
    int64_t seen = epoch_ended ? t->updates : t->counts.update;
    stpn_progress p = {.epoch = (int)(t->counts.epoch + (epoch_ended ? 0 : 1)),
                       .epochs = train->epochs,
                       .updates_done = seen,
                       .updates = t->updates,
                       .loss = t->counts.answers ? t->counts.loss_sum / (double)t->counts.answers : NAN,
                       .accuracy = t->validation.accuracy,
                       .sequences_per_second = rate,
                       .seconds_left = rate > 0 ? (double)(all - done) * train->batch / t->windows / rate : NAN,
                       .epoch_ended = epoch_ended,
                       .validation_loss = t->validation.loss};
    t->options->progress(t->options->context, &p);
}

static int stop_asked(const trainer *t)
{
    return t->options->stop && *t->options->stop;
}

static stpn_status stopped(trainer *t, stpn_error *error)
{
    stpn_status status = save(t, error);
    if (status) return status;
    return error_set(error, STPN_STOPPED, "%s: stopped after update %" PRId64 " of epoch %" PRId64 ", saved", t->folder,
                     t->counts.update, t->counts.epoch + 1);
}

static int is_better(const trainer *t)
{
    const progress_counts *c = &t->counts;
    if (c->best_epoch == 0) return 1;
    return t->run.experiment.shape.loss == LOSS_SQUARED ? t->validation.loss < c->best_loss
                                                        : t->validation.accuracy > c->best_accuracy;
}

static void keep_best(trainer *t)
{
    progress_counts *c = &t->counts;
    const stpn_net *net = t->run.net;
    c->waited++;
    if (!is_better(t)) return;
    c->best_epoch = c->epoch;
    c->best_loss = t->validation.loss;
    c->best_accuracy = isnan(t->validation.accuracy) ? 0 : t->validation.accuracy;
    c->waited = 0;
    memcpy(t->best, net->parameters, net->block_values * net->kernel->size);
    t->best_waits = 1;
}

/* A row of metrics; the epoch's counts still stand. */
static stpn_status add_row(trainer *t, stpn_error *error)
{
    const progress_counts *c = &t->counts;
    const stpn_adam *adam = supervised_adam(t->run.learner);
    double now = machine_seconds();
    t->rate = lap_sequences(t) / fmax(now - t->lap, CLOCK_LEAST);
    metrics_row row = {.epoch = c->epoch,
                       .updates = adam->updates,
                       .train_loss = c->loss_sum / (double)c->answers,
                       .train_accuracy = (double)c->correct / (double)c->answers,
                       .validation_loss = t->validation.loss,
                       .validation_accuracy = t->validation.accuracy,
                       .validation_true_positive_rate = t->validation.true_positive_rate,
                       .validation_false_positive_rate = t->validation.false_positive_rate,
                       .validation_energy = t->validation.energy,
                       .learning_rate = adam->learning_rate,
                       .seconds = seconds_so_far(t),
                       .sequences_per_second = t->rate};
    t->lap = now;
    t->lap_updates = 0;
    t->rows_wait = 1;
    return metrics_add(&t->metrics, &row, error);
}

static stpn_status end_epoch(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    c->epoch++;
    c->update = 0;
    if (c->epoch % train->evaluate_every == 0 || c->epoch == train->epochs) {
        stpn_error inner = {{0}};
        stpn_status status =
            supervised_evaluate(t->run.learner, &t->run.data.validation, &t->validation, NULL, NULL, &inner);
        if (status)
            return error_set(error, status, "%s: %s after epoch %" PRId64 "; %s is from before", t->folder,
                             inner.message, c->epoch, RUN_LAST);
        status = add_row(t, error);
        if (status) return status;
        keep_best(t);
    }
    report(t, 1);
    c->loss_sum = 0;
    c->answers = 0;
    c->correct = 0;
    return save_in_time(t, EPOCH_SECONDS, error);
}

static int is_finished(const trainer *t)
{
    const train_options *train = &t->run.experiment.train;
    return t->counts.epoch >= train->epochs || (train->patience > 0 && t->counts.waited >= train->patience);
}

static stpn_status start_epoch(trainer *t, stpn_error *error)
{
    const experiment *e = &t->run.experiment;
    int renewed = 0;
    if (t->order) shuffle(t);
    if (!e->task->renew) return STPN_OK;
    return e->task->renew(&e->task_options, e->seed, t->counts.epoch, &t->run.data.train, &renewed, error);
}

static stpn_status update(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    int first = (int)(c->update / t->windows) * train->batch, window = (int)(c->update % t->windows);
    const supervised_batch batch = {.split = &t->run.data.train,
                                    .order = t->order ? t->order + first : NULL,
                                    .first = first,
                                    .count = train->batch};
    double rate = schedule_rate(train, c->epoch * t->updates + c->update, train->epochs * t->updates);
    loss_sums sums;
    stpn_error inner = {{0}};
    stpn_status status = stpn_adam_set_learning_rate(supervised_adam(t->run.learner), rate, &inner);
    if (!status) status = supervised_update(t->run.learner, &batch, window, &sums, &inner);
    if (status)
        return error_set(error, status, "%s: %s in update %" PRId64 " of epoch %" PRId64 "; %s is from before",
                         t->folder, inner.message, c->update + 1, c->epoch + 1, RUN_LAST);
    c->update++;
    c->loss_sum += sums.loss;
    c->answers += sums.asked;
    c->correct += sums.correct;
    t->lap_updates++;
    return STPN_OK;
}

static stpn_status train_epoch(trainer *t, stpn_error *error)
{
    stpn_status status = start_epoch(t, error);
    while (!status && t->counts.update < t->updates) {
        if (stop_asked(t)) return stopped(t, error);
        status = update(t, error);
        if (!status) report(t, 0);
        if (!status && t->counts.update < t->updates) status = save_in_time(t, MIDDLE_SECONDS, error);
    }
    return status ? status : end_epoch(t, error);
}

static stpn_status finish(trainer *t, stpn_error *error)
{
    char best[RUN_PATH];
    stpn_status status = run_path(best, t->folder, RUN_BEST, error);
    char *text = NULL;
    const progress_counts *c = &t->counts;
    summary_times times = {.seconds = seconds_so_far(t),
                           .sequences = c->epoch * (t->updates / t->windows) * t->run.experiment.train.batch,
                           .updates = supervised_adam(t->run.learner)->updates};
    if (!status) status = save(t, error);
    if (!status) status = summary_make(&t->run, c, best, &times, &text, error);
    if (!status) status = save_text(t, RUN_SUMMARY, text, error);
    memory_free(text);
    return status;
}

static stpn_status train(trainer *t, stpn_error *error)
{
    stpn_status status = STPN_OK;
    t->lap = t->saved = machine_seconds();
    t->best = stpn_block_create(t->run.net);
    if (!t->best) return error_memory(error, "the best parameters");
    if (t->run.experiment.train.shuffle) {
        t->order = memory_zeroed((size_t)t->run.data.train.count, sizeof *t->order);
        if (!t->order) return error_memory(error, "the order of training");
    }
    t->validation.accuracy = t->validation.loss = NAN;
    while (!status && !is_finished(t)) status = train_epoch(t, error);
    if (!status) return finish(t, error);
    /* What led to the error is worth seeing; resuming drops what is ahead of the checkpoint. */
    if (status != STPN_STOPPED) save_evaluations(t, NULL);
    return status;
}

/* How the data fit the experiment, which the file alone does not tell. */
static stpn_status plan_epochs(trainer *t, stpn_error *error)
{
    const experiment *e = &t->run.experiment;
    int64_t batches = t->run.data.train.count / e->train.batch;
    t->windows = supervised_windows(t->run.learner);
    t->updates = batches * t->windows;
    if (t->updates <= INT64_MAX / e->train.epochs) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "train.epochs is %d, too many of %" PRId64 " updates", e->train.epochs,
                     t->updates);
}

stpn_status stpn_run_train(const stpn_run_options *options, char *folder, size_t folder_size, stpn_error *error)
{
    error_clear(error);
    trainer t = {.options = options, .lock = -1};
    experiment e;
    char summary[RUN_PATH];
    int exists = 0, finished = 0;
    if (folder && folder_size) folder[0] = 0;
    stpn_status status = experiment_read(&e, options->file, options->set, options->set_count,
                                         options->has_seed ? &options->seed : NULL, error);
    if (status) return status;
    status = prepare_folder(&t, &e, error);
    if (folder && folder_size) snprintf(folder, folder_size, "%s", t.folder);
    if (!status) status = compare_experiment(&t, &e, &exists, error);
    if (!status) status = run_path(summary, t.folder, RUN_SUMMARY, error);
    if (!status) finished = exists && file_exists(summary);
    if (!status && !finished) {
        t.text = json_to_text(e.resolved, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
        if (!t.text) status = error_memory(error, "the experiment");
        if (!status) status = run_open(&t.run, &e, options->threads, error);
        if (!status) {
            status = plan_epochs(&t, error);
            if (!status && !exists) status = save_text(&t, RUN_EXPERIMENT, t.text, error);
        }
        if (!status) status = load_last(&t, error);
        if (!status) status = train(&t, error);
    }
    experiment_free(&e);
    run_close(&t.run);
    metrics_free(&t.metrics);
    memory_free(t.order);
    stpn_block_free(t.best);
    memory_free(t.text);
    file_unlock(t.lock);
    return status;
}
