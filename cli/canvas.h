/* Pixels of a few colours, rectangles, and text in small letters. */
#ifndef STPN_CLI_CANVAS_H
#define STPN_CLI_CANVAS_H

#include <stpn/stpn.h>

enum { CANVAS_LETTER = 6, CANVAS_LINE = 13 }; // pixels from a letter to the next, from a line to the next

typedef struct canvas {
    int width, height;
    unsigned char *pixels; // (height, width) indices of colours
} canvas;

stpn_status canvas_open(canvas *c, int width, int height, stpn_error *error);
void canvas_close(canvas *c);

/* What lies outside is left out. */
void canvas_fill(canvas *c, int x, int y, int width, int height, unsigned char colour);
/* Its top left corner is at (x, y); characters without a glyph are blanks. Returns the x behind it. */
int canvas_text(canvas *c, int x, int y, unsigned char colour, const char *text);

#endif
