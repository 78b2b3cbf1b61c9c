/* The rows of metrics.csv for TensorBoard: one file of records that its reader follows while a run is under way. The
 * records are made from the metrics alone, so that a torn or missing file is mended by the next evaluation. */
#ifndef STPN_IO_EVENTS_H
#define STPN_IO_EVENTS_H

#include "io/metrics.h"

/* Starts as {0}. */
typedef struct events {
    buffer records; // the whole file
    size_t taken;   // bytes of the metrics that are in it
    size_t on_file; // bytes that were written; 0: the file has not been looked at
    double start;   // seconds since 1970; a row's time is this and its own seconds
} events;

/* Adds the rows of `m` that came since the last call to the file; where that holds anything but the rows before, it is
 * replaced. Rows once taken stay as they are: the metrics may only grow. */
stpn_status events_save(events *e, const metrics *m, const char *path, stpn_error *error);
void events_free(events *e);

#endif
