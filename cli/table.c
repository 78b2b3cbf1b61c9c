#include "cli/table.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CELL_SIZE = 4096 };

static int add_text(table *t, const char *text)
{
    if (t->count == t->capacity) {
        int capacity = 2 * t->capacity + 64;
        char **larger = memory_resize(t->cells, (size_t)t->count * sizeof *larger, (size_t)capacity * sizeof *larger);
        if (!larger) return 0;
        t->cells = larger;
        t->capacity = capacity;
    }
    t->cells[t->count] = memory_string(text);
    return t->cells[t->count] != NULL && ++t->count;
}

void table_add(table *t, const char *format, ...)
{
    char text[CELL_SIZE];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    t->failed = t->failed || !add_text(t, text);
}

/* Columns on a terminal: characters of UTF-8, not bytes. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static int pad(buffer *out, int count)
{
    int done = 1;
    for (int i = 0; i < count && done; i++) done = buffer_append(out, " ", 1);
    return done;
}

/* A line break would end the row, and an escape code reach the terminal. */
static int put_shown(buffer *out, const char *cell, const char *escaped)
{
    int done = 1;
    for (const char *c = cell; *c && done; c++) {
        int control = (unsigned char)*c < 0x20 || *c == 0x7f;
        if (strchr(escaped, *c)) done = buffer_append(out, "\\", 1);
        if (done) done = buffer_append(out, control ? "?" : c, 1);
    }
    return done;
}

/* RFC 4180: quoted where it has to be. */
static int put_csv(buffer *out, const char *cell)
{
    if (!strpbrk(cell, ",\"\r\n")) return buffer_append(out, cell, strlen(cell));
    int done = buffer_append(out, "\"", 1);
    for (const char *c = cell; *c && done; c++) {
        if (*c == '"') done = buffer_append(out, "\"", 1);
        if (done) done = buffer_append(out, c, 1);
    }
    return done && buffer_append(out, "\"", 1);
}

static int put_cell(const table *t, table_style style, int column, const char *cell, int width, buffer *out)
{
    int last = column + 1 == t->columns, done = 1;
    switch (style) {
    case TABLE_TEXT: {
        int space = width - width_of(cell), to_the_left = column < t->left;
        if (column) done = pad(out, 2);
        if (done && !to_the_left) done = pad(out, space);
        if (done) done = put_shown(out, cell, "");
        return done && (!to_the_left || last || pad(out, space));
    }
    case TABLE_MARKDOWN:
        done = buffer_print(out, column ? " | " : "| ") && put_shown(out, cell, "|\\");
        return done && (!last || buffer_print(out, " |"));
    default: return (!column || buffer_append(out, ",", 1)) && put_csv(out, cell);
    }
}

static int put_rule(const table *t, buffer *out)
{
    int done = 1;
    for (int i = 0; i < t->columns && done; i++) done = buffer_print(out, "%s", i < t->left ? "| --- " : "| ---: ");
    return done && buffer_print(out, "|\n");
}

int table_write(const table *t, table_style style, buffer *out)
{
    int *widths = memory_zeroed((size_t)t->columns, sizeof *widths), done = widths && !t->failed;
    for (int i = 0; i < t->count && done; i++) {
        int width = width_of(t->cells[i]), *widest = &widths[i % t->columns];
        if (width > *widest) *widest = width;
    }
    for (int i = 0; i < t->count && done; i++) {
        int column = i % t->columns;
        done = put_cell(t, style, column, t->cells[i], widths[column], out);
        if (done && column + 1 == t->columns) done = buffer_append(out, "\n", 1);
        if (done && style == TABLE_MARKDOWN && i + 1 == t->columns) done = put_rule(t, out);
    }
    memory_free(widths);
    return done;
}

void table_free(table *t)
{
    for (int i = 0; i < t->count; i++) memory_free(t->cells[i]);
    memory_free((void *)t->cells);
    *t = (table){0};
}
