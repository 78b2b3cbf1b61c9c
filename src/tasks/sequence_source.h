/* What a file of somebody's own data holds, the same for arrays and tables: rows of inputs, rows of answers, and pieces,
 * which are runs of rows. */
#ifndef STPN_TASKS_SEQUENCE_SOURCE_H
#define STPN_TASKS_SEQUENCE_SOURCE_H

#include "io/array_file.h"
#include "io/csv.h"
#include "tasks/task.h"

enum { ANSWERS_AUTO, ANSWERS_STEP, ANSWERS_SEQUENCE };
enum { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST, SPLITS, SPLIT_OPEN = -1 };
enum { CLASSES_MOST = 1 << 20 };

/* (rows, columns) values. */
typedef struct value_rows {
    array values; // a view of the file's, or with a block of its own
    int columns;
    int *headings; // (columns) of a table's columns; NULL for an array
} value_rows;

/* A sequence, or a part of one. */
typedef struct piece {
    int64_t first;  // row of its first inputs; with an answer at every step, of its first answer too
    int64_t end;    // row behind the last one that may be looked at for answers
    int64_t answer; // row of the only answer, where it has one
    int steps;
    int split; // SPLIT_TRAIN, ... or SPLIT_OPEN
} piece;

typedef struct sequence_source {
    char path[TASK_PATH + TASK_TEXT];
    array_file arrays;
    csv_table table; // or this one
    int is_table;
    value_rows inputs, answers;
    int is_tokens;
    task_loss loss; // LOSS_CROSS_ENTROPY or LOSS_SQUARED
    int per_step;
    piece *pieces; // (count)
    int count;
} sequence_source;

/* Starts from {0} but for `path`; what it has after a failure is freed by the caller. */
stpn_status sequence_arrays_read(sequence_source *s, const task_options *o, stpn_error *error);
stpn_status sequence_table_read(sequence_source *s, const task_options *o, stpn_error *error);
void sequence_source_free(sequence_source *s);

/* Says which value is wrong: "FILE: array "inputs" at [3, 0, 2]: ..." or "FILE: line 7, column "x": ...". */
stpn_status sequence_complain(const sequence_source *s, const value_rows *rows, size_t index, stpn_error *error,
                              const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
