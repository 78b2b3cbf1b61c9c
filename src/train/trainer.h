/* A run under way, and its folder: what stpn_run_train is made of. */
#ifndef STPN_TRAIN_TRAINER_H
#define STPN_TRAIN_TRAINER_H

#include "io/events.h"
#include "train/checkpoint.h"
#include "train/run.h"

/* Least time between two checkpoints at the ends of epochs or iterations, which may take milliseconds while their files take tens to
 * sync, and between two in the middle of one, which may take hours; and how many times as long as the latest took to write. */
enum { EPOCH_SECONDS = 5, MIDDLE_SECONDS = 60, SAVE_TIMES = 50 };

/* Two readings of the clock may be the same. */
static const double CLOCK_LEAST = 1e-9;

/* Where the run stood at the end of an epoch or iteration that no file holds yet. */
typedef struct epoch_end {
    int waits;
    progress_counts counts;
    int64_t updates;                   // Adam's
    void *parameters, *first, *second; // blocks
    int64_t *copies;                   // (B, S) state of an environment's copies
} epoch_end;

typedef struct trainer {
    run run;
    profile *profile;   // or NULL
    profile_lane *lane; // of the thread that runs the loop
    const stpn_run_options *options;
    char folder[RUN_PATH];
    int lock;
    char *text; // resolved experiment
    progress_counts counts;
    metrics metrics;
    events events;        // the same for TensorBoard
    void *best;           // block: parameters of the best evaluation of this process
    scaling best_scaling; // that its observations were scaled by
    int best_waits;       // they are not written yet
    int rows_wait;        // nor are rows of metrics
    epoch_end end;
    int stops, saves;    // as decided when all ranks met
    double saved;        // clock of the latest checkpoint
    double save_seconds; // that it took
    double reported;     // clock of the latest report
    double lap;          // clock when the latest row of metrics was added, or training began
    double rate;         // training sequences, or iterations, per second up to the latest row
    int64_t lap_updates; // updates, or iterations, made since
    int64_t made;        // and in all, by this process
    /* With a data set. */
    int32_t *order;        // (train.count) of the epoch, or NULL
    evaluation validation; // the latest
    int windows;           // of a batch
    int64_t updates;       // of an epoch: batches * windows
} trainer;

/* The two kinds of training, from where the checkpoint stands to the last epoch or iteration (run_epochs.c,
 * run_iterations.c). */
stpn_status trainer_plan_epochs(trainer *t, stpn_error *error);
stpn_status trainer_run_epochs(trainer *t, stpn_error *error);
stpn_status trainer_run_iterations(trainer *t, stpn_error *error);

/* What both are made of (run.c). */
double trainer_seconds(const trainer *t);
/* Whether it is time to tell the progress: always where something has `ended`. */
int trainer_reports(trainer *t, int ended);
/* A point that all ranks come to, one of them maybe with an error, which then is everyone's. Rank 0 decides: t->stops where it
 * is asked to stop, t->saves where the latest checkpoint is so many seconds old. */
stpn_status trainer_meet(trainer *t, stpn_status status, double seconds, stpn_error *error);
/* The latest evaluation, at the end of epoch or iteration counts.epoch, of these parameters (a block), is the best so far,
 * or it is not. */
void trainer_keep_best(trainer *t, int is_better, const void *parameters);
/* Adds the row of an evaluation, which gets its epoch, updates, rates and times here; `done`: sequences or iterations
 * since the one before. */
stpn_status trainer_add_row(trainer *t, metrics_row *row, double done, stpn_error *error);
int trainer_is_finished(const trainer *t);

/* Names the run's folder; makes it and takes its lock. */
stpn_status trainer_name_folder(trainer *t, const experiment *e, stpn_error *error);
stpn_status trainer_open_folder(trainer *t, stpn_error *error);
/* The experiment of an interrupted run has to be the one asked for. *exists: there was one. */
stpn_status trainer_compare(const trainer *t, const experiment *e, int *exists, stpn_error *error);
/* Text with a newline into a file of the folder. */
stpn_status trainer_save_text(const trainer *t, const char *name, const char *text, stpn_error *error);
/* Takes up the checkpoint and the rows of metrics where there are any. */
stpn_status trainer_load(trainer *t, stpn_error *error);
/* Ranks have to train the same thing with the same kernel. */
stpn_status trainer_check_ranks(const trainer *t, stpn_error *error);

/* Everything that files do not hold yet. */
stpn_status trainer_save(trainer *t, stpn_error *error);
/* All ranks meet at the end of an epoch or an iteration, and save; where it is not yet time, it keeps what an error later on
 * would lose. */
stpn_status trainer_end_epoch(trainer *t, stpn_status status, stpn_error *error);
/* Memory for that. */
stpn_status trainer_open_end(trainer *t, stpn_error *error);
/* After a loss that is not finite: saves the evaluations and the latest end of an epoch or iteration, of PPO the former
 * alone, and hides no error. */
void trainer_rescue(trainer *t);
void trainer_free(trainer *t);

#endif
