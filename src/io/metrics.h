/* metrics.csv: one row per evaluation, kept as text and written whole, so that a kill leaves a readable file. */
#ifndef STPN_IO_METRICS_H
#define STPN_IO_METRICS_H

#include "base/buffer.h"

#include <stpn/stpn.h>

typedef struct metrics {
    buffer text;
    double seconds; // of the last row
} metrics;

typedef struct metrics_row {
    int64_t epoch, updates;
    double train_loss, train_accuracy, validation_loss, validation_accuracy, validation_energy;
    double seconds, sequences_per_second;
} metrics_row;

stpn_status metrics_start(metrics *m, stpn_error *error);
/* Takes over the rows of epochs up to `epoch`; a file that is missing gives none. */
stpn_status metrics_resume(metrics *m, const char *path, int64_t epoch, stpn_error *error);
stpn_status metrics_add(metrics *m, const metrics_row *row, stpn_error *error);
stpn_status metrics_save(const metrics *m, const char *path, stpn_error *error);
void metrics_free(metrics *m);

#endif
