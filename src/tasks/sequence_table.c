/* Own data in a table: a row per step, columns chosen by the experiment. Rows one after the other with the same text in
 * column task.sequence, and in `split` where there is one, form a sequence. */
#include "tasks/sequence_source.h"

#include "base/error.h"
#include "base/memory.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static stpn_status find_column(const sequence_source *s, const char *key, const char *heading, int *column,
                               stpn_error *error)
{
    *column = csv_column(&s->table, heading);
    if (*column >= 0) return STPN_OK;
    char known[256];
    size_t used = 0;
    for (int i = 0; i < s->table.columns && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", s->table.cells[i]);
    return error_set(error, STPN_ERROR_INPUT, "task.%s names \"%.100s\", expected columns of %.400s: %s", key, heading,
                     s->path, known);
}

/* "temperature, pressure" as places of columns. */
static stpn_status find_columns(const sequence_source *s, const char *key, const char *list, value_rows *rows,
                                stpn_error *error)
{
    size_t most = 1;
    for (const char *c = list; *c; c++) most += *c == ',';
    rows->headings = memory_zeroed(most, sizeof *rows->headings);
    if (!rows->headings) return error_memory(error, "the columns");
    for (const char *at = list;; at++) {
        char heading[TASK_TEXT];
        at += strspn(at, " ");
        int length = (int)strcspn(at, ","), whole = length;
        while (length > 0 && at[length - 1] == ' ') length--;
        snprintf(heading, sizeof heading, "%.*s", length, at);
        stpn_status status = find_column(s, key, heading, &rows->headings[rows->columns], error);
        if (status) return status;
        rows->columns++;
        at += whole;
        if (!*at) return STPN_OK;
    }
}

/* Room for the values of all rows. */
static stpn_status make_rows(const sequence_source *s, value_rows *rows, double **values, stpn_error *error)
{
    *values = memory_zeroed(s->table.rows, (size_t)rows->columns * sizeof **values);
    if (!*values) return error_memory(error, "the values of a table");
    rows->values = (array){.type = ARRAY_F64,
                           .rank = 2,
                           .shape = {(int64_t)s->table.rows, rows->columns},
                           .count = s->table.rows * (size_t)rows->columns,
                           .data = *values,
                           .block = *values};
    return STPN_OK;
}

static stpn_status take_numbers(const sequence_source *s, value_rows *rows, stpn_error *error)
{
    double *values;
    stpn_status status = make_rows(s, rows, &values, error);
    for (int i = 0; i < rows->columns && !status; i++)
        status = csv_numbers(&s->table, rows->headings[i], values + i, (size_t)rows->columns, error);
    return status;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Words become the numbers of their places in the order of the bytes; an empty cell asks for no answer. */
static stpn_status take_words(const sequence_source *s, value_rows *rows, stpn_error *error)
{
    size_t count = 0, distinct = 0;
    double *values = (double *)(uintptr_t)rows->values.data;
    const char **words = memory_zeroed(s->table.rows, sizeof *words);
    if (!words) return error_memory(error, "the labels of a table");
    for (size_t row = 0; row < s->table.rows; row++) {
        const char *cell = csv_cell(&s->table, row, rows->headings[0]);
        if (*cell) words[count++] = cell;
    }
    qsort(words, count, sizeof *words, compare_words);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(words[i], words[i - 1]) != 0) words[distinct++] = words[i];
    for (size_t row = 0; row < s->table.rows; row++) {
        const char *cell = csv_cell(&s->table, row, rows->headings[0]);
        const char **word = *cell ? bsearch(&cell, words, distinct, sizeof *words, compare_words) : NULL;
        values[row] = word ? (double)(word - words) : NAN;
    }
    memory_free(words);
    return STPN_OK;
}

static stpn_status take_answers(sequence_source *s, const task_options *o, stpn_error *error)
{
    if (!*o->label == !*o->target)
        return error_set(error, STPN_ERROR_INPUT, "%s, expected one of them for %.400s",
                         *o->label ? "there are task.label and task.target"
                                   : "there is neither task.label nor task.target",
                         s->path);
    value_rows *rows = &s->answers;
    s->per_step = o->answers != ANSWERS_SEQUENCE;
    if (*o->target) {
        s->loss = LOSS_SQUARED;
        stpn_status status = find_columns(s, "target", o->target, rows, error);
        return status ? status : take_numbers(s, rows, error);
    }
    s->loss = LOSS_CROSS_ENTROPY;
    stpn_status status = find_columns(s, "label", o->label, rows, error);
    if (status) return status;
    if (rows->columns != 1)
        return error_set(error, STPN_ERROR_INPUT, "task.label names %d columns, expected one", rows->columns);
    double *values;
    stpn_error inner;
    status = make_rows(s, rows, &values, error);
    if (status) return status;
    status = csv_numbers(&s->table, rows->headings[0], values, 1, &inner);
    if (status == STPN_ERROR_INPUT) return take_words(s, rows, error);
    return status ? error_set(error, status, "%s", inner.message) : STPN_OK;
}

static int same_cell(const csv_table *t, size_t row, int column)
{
    return column < 0 || strcmp(csv_cell(t, row - 1, column), csv_cell(t, row, column)) == 0;
}

static stpn_status read_split(const csv_table *t, size_t row, int column, int *split, stpn_error *error)
{
    *split = SPLIT_OPEN;
    if (column < 0) return STPN_OK;
    const char *cell = csv_cell(t, row, column);
    if (cell[0] < '0' || cell[0] >= '0' + SPLITS || cell[1])
        return csv_complain(t, row, column, error, "is \"%.100s\", expected 0 (training), 1 (validation) or 2 (test)",
                            cell);
    *split = cell[0] - '0';
    return STPN_OK;
}

static stpn_status make_pieces(sequence_source *s, const task_options *o, stpn_error *error)
{
    const csv_table *t = &s->table;
    int sequence = -1, split = csv_column(t, "split");
    stpn_status status = *o->sequence ? find_column(s, "sequence", o->sequence, &sequence, error) : STPN_OK;
    if (status) return status;
    size_t count = 1;
    for (size_t row = 1; row < t->rows; row++) count += !(same_cell(t, row, sequence) && same_cell(t, row, split));
    if (t->rows > INT_MAX)
        return error_set(error, STPN_ERROR_INPUT, "%.400s: has %zu rows, expected at most %d", s->path, t->rows,
                         INT_MAX);
    s->pieces = memory_zeroed(count, sizeof *s->pieces);
    if (!s->pieces) return error_memory(error, "the sequences");
    for (size_t row = 0; row < t->rows && !status; row++) {
        if (row == 0 || !(same_cell(t, row, sequence) && same_cell(t, row, split))) {
            piece *p = &s->pieces[s->count++];
            *p = (piece){.first = (int64_t)row};
            status = read_split(t, row, split, &p->split, error);
        }
        piece *p = &s->pieces[s->count - 1];
        p->steps++;
        p->answer = (int64_t)row;
        p->end = (int64_t)row + 1;
    }
    return status;
}

stpn_status sequence_table_read(sequence_source *s, const task_options *o, stpn_error *error)
{
    s->is_table = 1;
    if (!*o->inputs)
        return error_set(error, STPN_ERROR_INPUT, "task.inputs is missing, expected headings of columns of %.400s",
                         s->path);
    stpn_status status = csv_read(&s->table, s->path, error);
    if (!status) status = find_columns(s, "inputs", o->inputs, &s->inputs, error);
    if (!status) status = take_numbers(s, &s->inputs, error);
    if (!status) status = take_answers(s, o, error);
    return status ? status : make_pieces(s, o, error);
}
