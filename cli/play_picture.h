/* A step of an agent as a picture: the map, what it chose from, and how large the fast component of every synapse is. */
#ifndef STPN_CLI_PLAY_PICTURE_H
#define STPN_CLI_PLAY_PICTURE_H

#include "cli/canvas.h"
#include "cli/gif.h"
#include "cli/play_walk.h"

typedef struct picture {
    canvas canvas;
    double largest; // |F| that has the brightest colour
    int cell;       // pixels of a side of a cell of the map
    int dot;        // of a dot of the heat map, which stands for
    int block;      // so many rows and columns of synapses, by the largest of them
    int heat_left;  // where the heat map begins
} picture;

/* The walk's synapses[0] is drawn, where there is any. */
stpn_status picture_open(picture *p, const walk *w, double largest, stpn_error *error);
void picture_close(picture *p);
void picture_palette(gif_colour palette[GIF_COLOURS]);
void picture_draw(picture *p, const walk *w);

#endif
