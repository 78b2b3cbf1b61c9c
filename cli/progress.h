/* How a run's progress is shown on standard error: one line redrawn in place on a terminal, plain lines elsewhere. */
#ifndef STPN_CLI_PROGRESS_H
#define STPN_CLI_PROGRESS_H

#include <stddef.h>
#include <stpn/stpn.h>

typedef struct progress {
    char label[64]; // in front of every line, may be empty
    int terminal;
    size_t drawn;   // columns of the line that stands on the terminal
    double printed; // clock of the latest plain line
} progress;

void progress_open(progress *p, const char *label);
/* The callback of stpn_run_options; `context` is a progress. */
void progress_show(void *context, const stpn_progress *report);
/* Ends the line on the terminal, so that what follows starts on its own. */
void progress_close(progress *p);

/* One line of at most `columns` columns; what matters least is left out where they are few. */
void progress_line(char *text, size_t size, const char *label, const stpn_progress *report, int columns);

/* "1:02:03"; "?" where it is not known. */
void progress_duration(char *text, size_t size, double seconds);
/* Size of the terminal; COLUMNS and LINES count for more than what it says. */
void progress_terminal(int *rows, int *columns);

#endif
