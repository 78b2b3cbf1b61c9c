/* Tables: a heading, then one row per line; cells between commas, semicolons or tabs, whichever the heading has. A cell
 * may stand in double quotes. Nothing in a file is trusted. */
#ifndef STPN_IO_CSV_H
#define STPN_IO_CSV_H

#include <stpn/stpn.h>

typedef struct csv_table {
    char *name;   // path or name, for messages
    char *text;   // the file, cut into cells
    char **cells; // (1 + rows, columns), the heading first; each ends with a zero byte
    size_t rows;
    int columns;
} csv_table;

stpn_status csv_read(csv_table *table, const char *path, stpn_error *error);
/* From memory; `name` stands in messages. */
stpn_status csv_parse(csv_table *table, const char *name, const char *text, size_t size, stpn_error *error);
void csv_free(csv_table *table);

/* Place of the column of that heading, or -1. */
int csv_column(const csv_table *table, const char *heading);
/* Row from 0. */
const char *csv_cell(const csv_table *table, size_t row, int column);
/* All numbers of a column into out[0], out[stride], ...: NaN for an empty cell; an error where one is no number. */
stpn_status csv_numbers(const csv_table *table, int column, double *out, size_t stride, stpn_error *error);
/* "FILE: line 7, column "x": ...", as STPN_ERROR_INPUT. */
stpn_status csv_complain(const csv_table *table, size_t row, int column, stpn_error *error, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
