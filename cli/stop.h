/* Ctrl-C and SIGTERM: the first asks to save and stop, the second kills. */
#ifndef STPN_CLI_STOP_H
#define STPN_CLI_STOP_H

#include "cli/arguments.h"

#include <signal.h>

/* Set by a signal; the library looks at it between two updates. Several threads may: stop_is_asked. */
extern volatile sig_atomic_t stop_asked;
int stop_is_asked(void);

void catch_signals(void);
/* Tells the command line that goes on, on the same kernel: that of `a` with `option` ("--resume"), which may be NULL. */
void say_how_to_resume(const arguments *a, const char *option, const char *what);

#endif
