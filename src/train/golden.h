/* Golden files: numbers that were computed elsewhere, and how far this build is from them. A file's `kind` says what it
 * holds: `unit`, one unit forward and backward; `training`, updates of a network that learns; `a2c`, one of an actor-critic.
 * docs/file-formats.md. */
#ifndef STPN_TRAIN_GOLDEN_H
#define STPN_TRAIN_GOLDEN_H

#include <stpn/stpn.h>

enum { GOLDEN_NAME = 64, GOLDEN_ROWS = 96 };

/* One tensor, computed in one type. error: max|a - b| / max(1e-3, max|b|), b as in the file. */
typedef struct golden_row {
    char name[GOLDEN_NAME]; // as in the file: "y", "grad.param.weight"
    stpn_real real;
    double error, tolerance;
} golden_row;

typedef struct golden_report {
    char kind[GOLDEN_NAME], unit[GOLDEN_NAME];
    const char *kernel;
    golden_row rows[GOLDEN_ROWS];
    int count;
} golden_report;

/* An error that is not a number does not pass. */
int golden_row_passes(const golden_row *row);
int golden_passes(const golden_report *report);

/* Computes what the file holds, in float and in double, on the kernel in use. STPN_ERROR_INPUT where the file cannot be
 * read or is of a kind or unit that this build does not know. */
stpn_status golden_verify(golden_report *report, const char *path, stpn_error *error);

/* "unit, training, a2c", for messages. */
void golden_kinds(char *text, size_t size);

#endif
