/* Training with a data set: the loop over epochs. */
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "train/schedule.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>

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
    if (!trainer_reports(t, epoch_ended)) return;
    const train_options *train = &t->run.experiment.train;
    double rate = t->lap_updates ? lap_sequences(t) / fmax(t->reported - t->lap, CLOCK_LEAST) : t->rate;
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
                       .validation_loss = t->validation.loss,
                       .reward = NAN};
    t->options->progress(t->options->context, &p);
}

static stpn_status stopped(trainer *t, stpn_error *error)
{
    stpn_status status = trainer_save(t, error);
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
    int better = is_better(t);
    if (better) {
        c->best_loss = t->validation.loss;
        c->best_accuracy = isnan(t->validation.accuracy) ? 0 : t->validation.accuracy;
    }
    trainer_keep_best(t, better, t->run.net->parameters);
}

/* A row of metrics; the epoch's counts still stand. */
static stpn_status add_row(trainer *t, stpn_error *error)
{
    const progress_counts *c = &t->counts;
    /* An epoch may have asked for nothing. */
    double answers = c->answers ? (double)c->answers : NAN;
    metrics_row row = {.train_loss = c->loss_sum / answers,
                       .train_accuracy = (double)c->correct / answers,
                       .validation_loss = t->validation.loss,
                       .validation_accuracy = t->validation.accuracy,
                       .validation_true_positive_rate = t->validation.true_positive_rate,
                       .validation_false_positive_rate = t->validation.false_positive_rate,
                       .validation_energy = t->validation.energy};
    return trainer_add_row(t, &row, lap_sequences(t), error);
}

static stpn_status end_epoch(trainer *t, stpn_error *error)
{
    const train_options *train = &t->run.experiment.train;
    progress_counts *c = &t->counts;
    stpn_status status = STPN_OK;
    c->epoch++;
    c->update = 0;
    if (c->epoch % train->evaluate_every == 0 || c->epoch == train->epochs) {
        stpn_error inner = {{0}};
        status = supervised_evaluate(t->run.learner, &t->run.data.validation, &t->validation, NULL, NULL, &inner);
        if (status)
            return error_set(error, status, "%s: %s after epoch %" PRId64 "; %s is from before", t->folder,
                             inner.message, c->epoch, RUN_LAST);
        status = add_row(t, error);
        if (!status) keep_best(t);
    }
    if (!status) report(t, 1);
    c->loss_sum = 0;
    c->answers = 0;
    c->correct = 0;
    return trainer_end_epoch(t, status, error);
}

static stpn_status start_epoch(trainer *t, stpn_error *error)
{
    const experiment *e = &t->run.experiment;
    int renewed = 0;
    stpn_status status = STPN_OK;
    profile_part before = profile_enter(t->lane, PROFILE_DATA);
    if (t->order) shuffle(t);
    if (e->task->renew)
        status = e->task->renew(&e->task_options, e->seed, t->counts.epoch, &t->run.data.train, &renewed, error);
    profile_enter(t->lane, before);
    return status;
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
    t->made++;
    return STPN_OK;
}

static stpn_status train_epoch(trainer *t, stpn_error *error)
{
    stpn_status status = start_epoch(t, error);
    int64_t begin = t->counts.update;
    while (t->counts.update < t->updates) {
        status = trainer_meet(t, status, MIDDLE_SECONDS, error);
        if (status) return status;
        if (t->stops) return stopped(t, error);
        if (t->saves && t->counts.update > begin) status = trainer_save(t, error);
        if (!status) status = update(t, error);
        if (status) return status;
        report(t, 0);
    }
    return end_epoch(t, error);
}

/* How the data fit the experiment, which the file alone does not tell. */
stpn_status trainer_plan_epochs(trainer *t, stpn_error *error)
{
    const experiment *e = &t->run.experiment;
    int64_t batches = t->run.data.train.count / e->train.batch;
    t->windows = supervised_windows(t->run.learner);
    t->updates = batches * t->windows;
    if (t->updates <= INT64_MAX / e->train.epochs) return STPN_OK;
    return error_set(error, STPN_ERROR_INPUT, "train.epochs is %d, too many of %" PRId64 " updates", e->train.epochs,
                     t->updates);
}

stpn_status trainer_run_epochs(trainer *t, stpn_error *error)
{
    stpn_status status = STPN_OK;
    if (t->run.experiment.train.shuffle) {
        t->order = memory_zeroed((size_t)t->run.data.train.count, sizeof *t->order);
        if (!t->order) status = error_memory(error, "the order of training");
    }
    status = ranks_agree(t->run.ranks, status, error);
    t->validation.accuracy = t->validation.loss = NAN;
    while (!status && !trainer_is_finished(t)) status = train_epoch(t, error);
    return status;
}
