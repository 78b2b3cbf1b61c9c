#include "io/csv.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number.h"
#include "io/json_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_PATH = 400, SHOWN_CELL = 100, COLUMNS_MOST = 1 << 14 };
#define FILE_LIMIT (sizeof(size_t) > 4 ? (size_t)(UINT64_C(16) << 30) : SIZE_MAX / 2)

static stpn_status complain_of_line(const csv_table *t, size_t line, const char *what, stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT, "%.*s: line %zu: %s", text_shown(t->name, SHOWN_PATH), t->name, line,
                     what);
}

stpn_status csv_complain(const csv_table *t, size_t row, int column, stpn_error *error, const char *format, ...)
{
    char what[512];
    const char *heading = t->cells[column];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    return error_set(error, STPN_ERROR_INPUT, "%.*s: line %zu, column \"%.*s\": %s", text_shown(t->name, SHOWN_PATH),
                     t->name, row + 2, text_shown(heading, SHOWN_CELL), heading, what);
}

/* ------------------------------------------------------------------------------------------------------------- cells */

static size_t line_length(const char *line, const char *end)
{
    const char *close = memchr(line, '\n', (size_t)(end - line));
    return (size_t)((close ? close : end) - line);
}

/* A cell in quotes, which go, as does the second of two in a row; returns what stands behind, NULL where it does not end
 * on its line. */
static char *unquote(char *cell, const char *end)
{
    char *to = cell;
    for (char *at = cell + 1; at < end; at++) {
        if (*at != '"') {
            *to++ = *at;
        } else if (at + 1 < end && at[1] == '"') {
            *to++ = *at++;
        } else {
            *to = 0;
            return at + 1;
        }
    }
    return NULL;
}

/* Cuts the cell at `at` off the line that ends at `end`; returns where the next one starts, NULL where the cell is damaged;
 * *last where none follows. */
static char *cut_cell(char *at, char *end, char separator, char **cell, int *last)
{
    while (at < end && (*at == ' ' || (*at == '\t' && separator != '\t'))) at++;
    *cell = at;
    if (at < end && *at == '"') {
        at = unquote(at, end);
        while (at && at < end && *at == ' ') at++;
        if (!at || (at < end && *at != separator)) return NULL;
    } else {
        char *close = memchr(at, separator, (size_t)(end - at));
        at = close ? close : end;
        for (char *space = at; space > *cell && strchr(" \t", space[-1]); space--) space[-1] = 0;
    }
    *last = at == end;
    *at = 0;
    return at + 1;
}

static char separator_of(const char *heading, size_t length)
{
    static const char known[] = ",;\t";
    for (const char *c = known; *c; c++)
        if (memchr(heading, *c, length)) return *c;
    return ',';
}

/* Cells of the line at `line` into `cells` (most); *count may be one more than that, where there are too many. */
static stpn_status cut_line(const csv_table *t, char *line, size_t length, size_t number, char separator, char **cells,
                            int most, int *count, stpn_error *error)
{
    char *end = line + length, *at = line, *cell;
    if (length > 0 && end[-1] == '\r') *--end = 0;
    int last = 0;
    for (*count = 0; !last && *count <= most; (*count)++) {
        at = cut_cell(at, end, separator, &cell, &last);
        if (!at) return complain_of_line(t, number, "a cell in quotes does not end where it should", error);
        if (*count < most) cells[*count] = cell;
    }
    return STPN_OK;
}

/* How many cells a line has at most. */
static size_t count_cells(const char *line, size_t length, char separator)
{
    size_t count = 1;
    for (size_t i = 0; i < length; i++) count += line[i] == separator;
    return count;
}

static stpn_status check_heading(const csv_table *t, stpn_error *error)
{
    for (int i = 0; i < t->columns; i++)
        for (int k = 0; k < i; k++)
            if (*t->cells[i] && strcmp(t->cells[i], t->cells[k]) == 0)
                return error_set(
                    error, STPN_ERROR_INPUT, "%.*s: line 1: the heading has \"%.*s\" twice, expected it once",
                    text_shown(t->name, SHOWN_PATH), t->name, text_shown(t->cells[i], SHOWN_CELL), t->cells[i]);
    return STPN_OK;
}

/* Lines that get room: no more than cells of a byte each can fill, and one that is too short. The heading is cut already,
 * its line's end with it. */
static size_t count_lines(const char *text, size_t size, size_t columns)
{
    size_t lines = 2, most = (size + 1) / columns + 1;
    for (size_t i = 0; i < size && lines < most; i++) lines += text[i] == '\n';
    return lines;
}

/* Sets the heading, and makes room for all lines. */
static stpn_status cut_heading(csv_table *t, char *line, size_t length, char separator, size_t size, stpn_error *error)
{
    size_t most = count_cells(line, length, separator);
    int count;
    if (most > COLUMNS_MOST) return complain_of_line(t, 1, "the heading has too many columns", error);
    char **heading = memory_zeroed(most, sizeof *heading);
    if (!heading) return error_memory(error, "a table");
    stpn_status status = cut_line(t, line, length, 1, separator, heading, (int)most, &count, error);
    if (!status && count > 0) {
        size_t columns = (size_t)count;
        t->columns = count;
        t->cells = memory_zeroed(count_lines(line, size, columns) * columns, sizeof *t->cells);
        if (t->cells) memcpy(t->cells, heading, (size_t)count * sizeof *heading);
        else status = error_memory(error, "a table");
    }
    memory_free(heading);
    return status ? status : check_heading(t, error);
}

static stpn_status cut_rows(csv_table *t, char *line, const char *end, char separator, stpn_error *error)
{
    for (size_t number = 2; line < end; number++) {
        size_t length = line_length(line, end);
        int count, columns = t->columns;
        stpn_status status = cut_line(t, line, length, number, separator, t->cells + (1 + t->rows) * (size_t)columns,
                                      columns, &count, error);
        if (status) return status;
        if (count != columns)
            return error_set(error, STPN_ERROR_INPUT, "%.*s: line %zu: has %s%d cells, expected %d as in the heading",
                             text_shown(t->name, SHOWN_PATH), t->name, number, count > columns ? "more than " : "",
                             count > columns ? columns : count, columns);
        t->rows++;
        line += length + 1;
    }
    return STPN_OK;
}

/* The text has a zero byte behind its end. */
static stpn_status cut_text(csv_table *t, size_t size, stpn_error *error)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some programs start a file in UTF-8 with it */
    char *start = t->text, *end = t->text + size;
    const char *zero = memchr(t->text, 0, size);
    if (zero) {
        size_t line = 1;
        for (const char *c = t->text; c < zero; c++) line += *c == '\n';
        return complain_of_line(t, line, "has a zero byte, expected text", error);
    }
    if (size >= 3 && memcmp(start, mark, 3) == 0) start += 3;
    while (end > start && (end[-1] == '\n' || end[-1] == '\r')) *--end = 0;
    if (start == end) return complain_of_line(t, 1, "is empty, expected a heading", error);
    size_t length = line_length(start, end);
    char separator = separator_of(start, length);
    stpn_status status = cut_heading(t, start, length, separator, (size_t)(end - start), error);
    if (!status && start + length == end) status = complain_of_line(t, 2, "is missing, expected the first row", error);
    return status ? status : cut_rows(t, start + length + 1, end, separator, error);
}

static stpn_status own_text(csv_table *t, const char *name, char *text, size_t size, stpn_error *error)
{
    *t = (csv_table){.name = memory_string(name), .text = text};
    stpn_status status = t->name ? cut_text(t, size, error) : error_memory(error, name);
    if (status) csv_free(t);
    return status;
}

stpn_status csv_read(csv_table *t, const char *path, stpn_error *error)
{
    char *text;
    size_t size;
    *t = (csv_table){0};
    stpn_status status = file_read(path, FILE_LIMIT, &text, &size, error);
    return status ? status : own_text(t, path, text, size, error);
}

stpn_status csv_parse(csv_table *t, const char *name, const char *text, size_t size, stpn_error *error)
{
    *t = (csv_table){0};
    char *copy = memory_zeroed(size + 1, 1);
    if (!copy) return error_memory(error, name);
    if (size) memcpy(copy, text, size);
    return own_text(t, name, copy, size, error);
}

void csv_free(csv_table *t)
{
    memory_free(t->name);
    memory_free(t->text);
    memory_free(t->cells);
    *t = (csv_table){0};
}

/* ----------------------------------------------------------------------------------------------------------- reading */

int csv_column(const csv_table *t, const char *heading)
{
    for (int i = 0; i < t->columns; i++)
        if (strcmp(t->cells[i], heading) == 0) return i;
    return -1;
}

const char *csv_cell(const csv_table *t, size_t row, int column)
{
    return t->cells[(1 + row) * (size_t)t->columns + (size_t)column];
}

stpn_status csv_numbers(const csv_table *t, int column, double *out, size_t stride, stpn_error *error)
{
    locale_t plain, before = number_plain(&plain);
    if (!before) return error_memory(error, "a table");
    stpn_status status = STPN_OK;
    for (size_t row = 0; row < t->rows && !status; row++) {
        const char *cell = csv_cell(t, row, column);
        char *after = (char *)(uintptr_t)cell;
        double value = *cell ? strtod(cell, &after) : NAN;
        out[row * stride] = value;
        /* What only programmers write as a number is none. */
        if (*after || strpbrk(cell, "xX("))
            status = csv_complain(t, row, column, error, "\"%.*s\" is no number", text_shown(cell, SHOWN_CELL), cell);
    }
    number_restore(before, plain);
    return status;
}
