/* A step of an agent as a page of text: the map, what it chose from, and the synapses that changed most. */
#ifndef STPN_CLI_PLAY_TEXT_H
#define STPN_CLI_PLAY_TEXT_H

#include "cli/play_walk.h"
#include "cli/screen.h"

void play_text(screen *s, const walk *w);

#endif
