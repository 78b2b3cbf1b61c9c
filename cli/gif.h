/* An animation of frames of one size, as a GIF file; by giflib, where the build found it. */
#ifndef STPN_CLI_GIF_H
#define STPN_CLI_GIF_H

#include <stpn/stpn.h>

enum { GIF_COLOURS = 32, GIF_SIDE_MOST = 8192 };

typedef struct gif_colour {
    unsigned char red, green, blue;
} gif_colour;

typedef struct gif gif;

/* An input error where the build has no giflib; says what to install. */
stpn_status gif_check(stpn_error *error);

/* Colour 0 stands for a pixel that is as it was: no frame has it. */
stpn_status gif_create(gif **out, int width, int height, const gif_colour palette[GIF_COLOURS], stpn_error *error);
void gif_free(gif *g);
/* The next frame, `pixels` (height, width) of indices, which stands for so many hundredths of a second. */
stpn_status gif_add(gif *g, const unsigned char *pixels, int hundredths, stpn_error *error);
/* Replaces `path`; nothing can be added afterwards. */
stpn_status gif_save(gif *g, const char *path, stpn_error *error);

#endif
