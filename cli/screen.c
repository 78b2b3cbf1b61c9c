#include "cli/screen.h"

#include "cli/progress.h"

#include <stdarg.h>
#include <string.h>

/* Of 256 colours; a wall's characters are of the colour that they stand on. */
static const char *const codes[] = {
    [SCREEN_PLAIN] = "0",
    [SCREEN_DIM] = "0;2",
    [SCREEN_STRONG] = "0;1",
    [SCREEN_WALL] = "0;38;5;240;48;5;240",
    [SCREEN_VISITED] = "0;38;5;243",
    [SCREEN_PATH] = "0;38;5;80",
    [SCREEN_GOAL] = "0;1;38;5;16;48;5;214",
    [SCREEN_AGENT] = "0;1;38;5;16;48;5;80",
    [SCREEN_MORE] = "0;38;5;214",
    [SCREEN_LESS] = "0;38;5;75",
};

void screen_clear(screen *s)
{
    memset(s->text, ' ', sizeof s->text);
    memset(s->style, SCREEN_PLAIN, sizeof s->style);
    s->rows = 0;
}

void screen_put(screen *s, int row, int column, screen_style style, const char *format, ...)
{
    char text[SCREEN_COLUMNS];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (row < 0 || row >= SCREEN_ROWS || column < 0) return;
    for (int i = 0; text[i] && column + i < SCREEN_COLUMNS; i++) {
        s->text[row][column + i] = text[i];
        s->style[row][column + i] = (unsigned char)style;
    }
    if (row >= s->rows) s->rows = row + 1;
}

/* Without the blanks at its end. */
static void show_line(const screen *s, int row, int columns, FILE *file)
{
    int end = columns < SCREEN_COLUMNS ? columns : SCREEN_COLUMNS;
    unsigned char style = SCREEN_PLAIN;
    while (end > 0 && s->text[row][end - 1] == ' ') end--;
    for (int i = 0; i < end; i++) {
        if (s->colour && s->style[row][i] != style) fprintf(file, "\033[%sm", codes[s->style[row][i]]);
        style = s->style[row][i];
        fputc(s->text[row][i], file);
    }
    if (s->colour && style != SCREEN_PLAIN) fputs("\033[0m", file);
    if (s->terminal) fputs("\033[K", file);
    fputc('\n', file);
}

void screen_show(screen *s, FILE *file)
{
    int rows = s->rows, columns = SCREEN_COLUMNS;
    if (s->terminal) {
        progress_terminal(&rows, &columns);
        /* The cursor stands on a line of its own below; and a terminal wraps when its last column is written. */
        rows = rows - 1 < s->rows ? rows - 1 : s->rows;
        columns--;
        if (s->drawn) fprintf(file, "\033[%dA\r", s->drawn);
        else fputs("\033[?25l", file);
    }
    for (int row = 0; row < rows; row++) show_line(s, row, columns, file);
    if (s->terminal) fputs("\033[J", file);
    else fputc('\n', file);
    s->drawn = rows > 0 ? rows : 0;
    fflush(file);
}

void screen_close(screen *s, FILE *file)
{
    if (!s->terminal || !s->drawn) return;
    fputs("\033[?25h", file);
    fflush(file);
    s->drawn = 0;
}
