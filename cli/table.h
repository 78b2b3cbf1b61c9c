/* A table of texts, written for a terminal, as Markdown or as CSV. */
#ifndef STPN_CLI_TABLE_H
#define STPN_CLI_TABLE_H

#include "base/buffer.h"

typedef enum table_style { TABLE_TEXT, TABLE_MARKDOWN, TABLE_CSV } table_style;

typedef struct table {
    int columns;
    int left;     // columns that are aligned to the left; the others hold numbers
    char **cells; // (count) row by row, the heading first
    int count, capacity;
    int failed; // memory ran out; nothing more is added
} table;

/* Appends a cell. */
void table_add(table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Writes the rows behind what the buffer holds; returns 0 where memory is out, now or before. */
int table_write(const table *t, table_style style, buffer *out);
void table_free(table *t);

#endif
