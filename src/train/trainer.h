/* A run under way, and its folder: what stpn_run_train is made of. */
#ifndef STPN_TRAIN_TRAINER_H
#define STPN_TRAIN_TRAINER_H

#include "io/events.h"
#include "train/checkpoint.h"
#include "train/run.h"

/* Least time between two checkpoints at the ends of epochs, which may take milliseconds while their files take tens to
 * sync, and between two in the middle of one, which may take hours. */
enum { EPOCH_SECONDS = 5, MIDDLE_SECONDS = 60 };

/* Where the run stood at the end of an epoch that no file holds yet. */
typedef struct epoch_end {
    int waits;
    progress_counts counts;
    int64_t updates;                   // Adam's
    void *parameters, *first, *second; // blocks, or NULL before the first
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
    events events;         // the same for TensorBoard
    int32_t *order;        // (train.count) of the epoch, or NULL
    evaluation validation; // the latest
    void *best;            // block: parameters of the best evaluation of this process
    int best_waits;        // they are not written yet
    int rows_wait;         // nor are rows of metrics
    epoch_end end;
    double saved;        // clock of the latest checkpoint
    double reported;     // clock of the latest report
    double lap;          // clock when the latest row of metrics was added, or training began
    double rate;         // training sequences per second up to the latest row
    int64_t lap_updates; // made since
    int windows;         // of a batch
    int64_t updates;     // of an epoch: batches * windows
} trainer;

/* Names the run's folder, makes it and takes its lock. */
stpn_status trainer_open_folder(trainer *t, const experiment *e, stpn_error *error);
/* The experiment of an interrupted run has to be the one asked for. *exists: there was one. */
stpn_status trainer_compare(const trainer *t, const experiment *e, int *exists, stpn_error *error);
/* Text with a newline into a file of the folder. */
stpn_status trainer_save_text(const trainer *t, const char *name, const char *text, stpn_error *error);
/* Takes up the checkpoint and the rows of metrics where there are any. */
stpn_status trainer_load(trainer *t, stpn_error *error);

/* Everything that files do not hold yet. */
stpn_status trainer_save(trainer *t, stpn_error *error);
/* The same where the last time is so long ago. */
stpn_status trainer_save_after(trainer *t, double seconds, stpn_error *error);
/* At the end of an epoch: the same, and where it is not yet time, keeps what an error later on would lose. */
stpn_status trainer_end_epoch(trainer *t, stpn_error *error);
/* After a loss that is not finite: saves the evaluations and the latest end of an epoch, and hides no error. */
void trainer_rescue(trainer *t);
void trainer_free(trainer *t);

#endif
