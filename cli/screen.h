/* A page of characters in styles, shown again and again at the same place of a terminal, or as plain text. */
#ifndef STPN_CLI_SCREEN_H
#define STPN_CLI_SCREEN_H

#include <stdio.h>

typedef enum screen_style {
    SCREEN_PLAIN,
    SCREEN_DIM,
    SCREEN_STRONG,
    SCREEN_WALL,
    SCREEN_VISITED,
    SCREEN_PATH,
    SCREEN_GOAL,
    SCREEN_AGENT,
    SCREEN_MORE,
    SCREEN_LESS
} screen_style;

enum { SCREEN_ROWS = 128, SCREEN_COLUMNS = 384 };

typedef struct screen {
    char text[SCREEN_ROWS][SCREEN_COLUMNS];
    unsigned char style[SCREEN_ROWS][SCREEN_COLUMNS];
    int rows;     // in use
    int terminal; // redrawn in place, cut to its size
    int colour;
    int drawn; // lines that stand on the terminal
} screen;

void screen_clear(screen *s);
/* Writes at a place; what has no room there is left out. */
void screen_put(screen *s, int row, int column, screen_style style, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Shows the page; it has been written when this returns. */
void screen_show(screen *s, FILE *file);
/* Gives the terminal back as it was. */
void screen_close(screen *s, FILE *file);

#endif
