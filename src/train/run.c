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
    double reported;       // clock of the latest report
    double lap;            // clock when the latest row of metrics was added, or training began
    double rate;           // training sequences per second up to the latest row
    int64_t lap_sequences; // trained on since
    int64_t updates;       // of an epoch
} trainer;

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

static stpn_status save_last(const trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = run_path(path, t->folder, RUN_LAST, error);
    if (status) return status;
    return checkpoint_save(path, t->run.net, supervised_adam(t->run.learner), &t->counts, t->text, error);
}

static stpn_status save_best(const trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    stpn_status status = run_path(path, t->folder, RUN_BEST, error);
    return status ? status : checkpoint_save_best(path, t->run.net, t->text, error);
}

static stpn_status load_last(trainer *t, stpn_error *error)
{
    char path[RUN_PATH];
    const experiment *e = &t->run.experiment;
    stpn_status status = run_path(path, t->folder, RUN_LAST, error);
    if (!status && file_exists(path)) {
        status = checkpoint_load(path, t->run.net, supervised_adam(t->run.learner), &t->counts,
                                 t->options->any_kernel ? NULL : stpn_net_kernel(t->run.net), error);
        const progress_counts *c = &t->counts;
        int within = c->epoch <= e->train.epochs && c->update < t->updates;
        int64_t done = within ? c->epoch * t->updates + c->update : -1;
        if (!status && (!within || c->waited > c->epoch || c->correct > c->update * e->train.batch ||
                        supervised_adam(t->run.learner)->updates != done))
            status = error_set(error, STPN_ERROR_INPUT,
                               "%s: its counts do not fit an experiment of %d epochs of %" PRId64 " updates", path,
                               e->train.epochs, t->updates);
    } else if (!status) {
        status = save_last(t, error);
    }
    if (!status) status = run_path(path, t->folder, RUN_METRICS, error);
    if (!status) status = metrics_resume(&t->metrics, path, t->counts.epoch, error);
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

static void report(trainer *t, int epoch_ended)
{
    enum { REPORTS_PER_SECOND = 20 };
    if (!t->options->progress) return;
    double now = machine_seconds();
    if (!epoch_ended && now - t->reported < 1.0 / REPORTS_PER_SECOND) return;
    t->reported = now;
    const train_options *train = &t->run.experiment.train;
    double rate = t->lap_sequences ? (double)t->lap_sequences / fmax(now - t->lap, CLOCK_LEAST) : t->rate;
    int64_t done = t->counts.epoch * t->updates + t->counts.update, all = t->updates * train->epochs;
    int64_t seen = epoch_ended ? t->updates : t->counts.update;
    stpn_progress p = {.epoch = (int)(t->counts.epoch + (epoch_ended ? 0 : 1)),
                       .epochs = train->epochs,
                       .updates_done = seen,
                       .updates = t->updates,
                       .loss = seen ? t->counts.loss_sum / (double)seen : NAN,
                       .accuracy = t->validation.accuracy,
                       .sequences_per_second = rate,
                       .seconds_left = rate > 0 ? (double)((all - done) * train->batch) / rate : NAN,
                       .epoch_ended = epoch_ended};
    t->options->progress(t->options->context, &p);
}

static int stop_asked(const trainer *t)
{
    return t->options->stop && *t->options->stop;
}

static stpn_status stopped(const trainer *t, stpn_error *error)
{
    stpn_status status = save_last(t, error);
    if (status) return status;
    return error_set(error, STPN_STOPPED, "%s: stopped after update %" PRId64 " of epoch %" PRId64 ", saved", t->folder,
                     t->counts.update, t->counts.epoch + 1);
}

static stpn_status end_epoch(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    char path[RUN_PATH];
    double loss = c->loss_sum / (double)t->updates;
    double accuracy = (double)c->correct / (double)(t->updates * train->batch);
    c->epoch++;
    c->update = 0;
    stpn_status status = STPN_OK;
    if (c->epoch % train->evaluate_every == 0 || c->epoch == train->epochs) {
        stpn_error inner = {{0}};
        status = supervised_evaluate(t->run.learner, &t->run.data.validation, &t->validation, NULL, NULL, &inner);
        if (status)
            return error_set(error, status, "%s: %s after epoch %" PRId64 "; %s is from before", t->folder,
                             inner.message, c->epoch, RUN_LAST);
        double now = machine_seconds();
        t->rate = (double)t->lap_sequences / fmax(now - t->lap, CLOCK_LEAST);
        metrics_row row = {.epoch = c->epoch,
                           .updates = c->epoch * t->updates,
                           .train_loss = loss,
                           .train_accuracy = accuracy,
                           .validation_loss = t->validation.loss,
                           .validation_accuracy = t->validation.accuracy,
                           .validation_energy = t->validation.energy,
                           .seconds = seconds_so_far(t),
                           .sequences_per_second = t->rate};
        t->lap = now;
        t->lap_sequences = 0;
        status = metrics_add(&t->metrics, &row, error);
        if (!status) status = run_path(path, t->folder, RUN_METRICS, error);
        if (!status) status = metrics_save(&t->metrics, path, error);
        c->waited++;
        if (!status && (c->best_epoch == 0 || t->validation.accuracy > c->best_accuracy)) {
            c->best_epoch = c->epoch;
            c->best_accuracy = t->validation.accuracy;
            c->waited = 0;
            status = save_best(t, error);
        }
    }
    if (status) return status;
    report(t, 1);
    c->loss_sum = 0;
    c->correct = 0;
    return save_last(t, error);
}

static int is_finished(const trainer *t)
{
    const train_options *train = &t->run.experiment.train;
    return t->counts.epoch >= train->epochs || (train->patience > 0 && t->counts.waited >= train->patience);
}

static stpn_status train_epoch(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    if (t->order) shuffle(t);
    while (c->update < t->updates) {
        if (stop_asked(t)) return stopped(t, error);
        int first = (int)c->update * train->batch, correct;
        double loss;
        stpn_error inner = {{0}};
        stpn_status status = supervised_update(t->run.learner, &t->run.data.train, t->order ? t->order + first : NULL,
                                               first, train->batch, &loss, &correct, &inner);
        if (status)
            return error_set(error, status, "%s: %s in update %" PRId64 " of epoch %" PRId64 "; %s is from before",
                             t->folder, inner.message, c->update + 1, c->epoch + 1, RUN_LAST);
        c->update++;
        c->loss_sum += loss;
        c->correct += correct;
        t->lap_sequences += train->batch;
        report(t, 0);
    }
    return end_epoch(t, error);
}

static stpn_status finish(trainer *t, stpn_error *error)
{
    char best[RUN_PATH];
    stpn_status status = run_path(best, t->folder, RUN_BEST, error);
    char *text = NULL;
    summary_times times = {.seconds = seconds_so_far(t), .updates_per_epoch = t->updates};
    if (!status) status = summary_make(&t->run, &t->counts, best, &times, &text, error);
    if (!status) status = save_text(t, RUN_SUMMARY, text, error);
    memory_free(text);
    return status;
}

static stpn_status train(trainer *t, stpn_error *error)
{
    stpn_status status = STPN_OK;
    t->lap = machine_seconds();
    if (t->run.experiment.train.shuffle) {
        t->order = memory_zeroed((size_t)t->run.data.train.count, sizeof *t->order);
        if (!t->order) return error_memory(error, "the order of training");
    }
    t->validation.accuracy = NAN;
    while (!status && !is_finished(t)) status = train_epoch(t, error);
    return status ? status : finish(t, error);
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
            t.updates = t.run.data.train.count / t.run.experiment.train.batch;
            if (!exists) status = save_text(&t, RUN_EXPERIMENT, t.text, error);
        }
        if (!status) status = load_last(&t, error);
        if (!status) status = train(&t, error);
    }
    experiment_free(&e);
    run_close(&t.run);
    metrics_free(&t.metrics);
    memory_free(t.order);
    memory_free(t.text);
    file_unlock(t.lock);
    return status;
}
