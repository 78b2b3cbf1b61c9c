#include "cli/progress.h"

#include "base/machine.h"
#include "cli/arguments.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_SIZE = 512, PARTS = 5, PART_SIZE = 64, DEFAULT_COLUMNS = 80, DEFAULT_ROWS = 24 };

void progress_open(progress *p, const char *label)
{
    *p = (progress){.terminal = isatty(STDERR_FILENO), .printed = -INFINITY};
    snprintf(p->label, sizeof p->label, "%s", label);
}

/* COLUMNS is the user's word; a shell does not hand its own on. */
static int terminal_side(const char *variable, int reported, int otherwise)
{
    const char *text = getenv(variable);
    int64_t side;
    if (text && read_integer(text, 1, 10000, &side)) return (int)side;
    return reported > 0 ? reported : otherwise;
}

void progress_terminal(int *rows, int *columns)
{
    struct winsize window = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0) window = (struct winsize){0};
    *columns = terminal_side("COLUMNS", window.ws_col, DEFAULT_COLUMNS);
    *rows = terminal_side("LINES", window.ws_row, DEFAULT_ROWS);
}

void progress_duration(char *text, size_t size, double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(text, size, "?");
        return;
    }
    long all = lround(seconds);
    long days = all / 86400, hours = all / 3600 % 24, minutes = all / 60 % 60, rest = all % 60;
    if (days) snprintf(text, size, "%ld d %ld h", days, hours);
    else if (hours) snprintf(text, size, "%ld:%02ld:%02ld", hours, minutes, rest);
    else snprintf(text, size, "%ld:%02ld", minutes, rest);
}

void progress_line(char *text, size_t size, const char *label, const stpn_progress *r, int columns)
{
    /* The order in which parts are left out, from the last to the first. */
    static const int importance[PARTS] = {0, 4, 2, 1, 3};
    char parts[PARTS][PART_SIZE] = {"", "loss ?", "accuracy ?", "", ""}, left[32];
    const char *unit = r->environment ? "iterations" : "sequences";
    snprintf(parts[0], PART_SIZE, "%s %d/%d", r->environment ? "iteration" : "epoch", r->epoch, r->epochs);
    if (isfinite(r->loss)) snprintf(parts[1], PART_SIZE, "loss %.4f", r->loss);
    if (r->environment) snprintf(parts[2], PART_SIZE, "reward %.3f", r->reward);
    else if (isfinite(r->accuracy)) snprintf(parts[2], PART_SIZE, "accuracy %.4f", r->accuracy);
    else if (isfinite(r->validation_loss) && r->validation_loss > 0)
        snprintf(parts[2], PART_SIZE, "validation loss %.4f", r->validation_loss);
    snprintf(parts[3], PART_SIZE, r->sequences_per_second < 100 ? "%.3g %s/s" : "%.0f %s/s", r->sequences_per_second,
             unit);
    progress_duration(left, sizeof left, r->seconds_left);
    snprintf(parts[4], PART_SIZE, "%s left", left);
    for (int kept = PARTS; kept > 0; kept--) {
        size_t used = (size_t)snprintf(text, size, "%s", label);
        for (int i = 0; i < PARTS && used < size; i++) {
            int place = 0;
            while (importance[place] != i) place++;
            if (place < kept) used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "  " : "", parts[i]);
        }
        if (used <= (size_t)columns) return;
    }
    if (columns >= 0 && (size_t)columns < size) text[columns] = 0;
}

static void redraw(progress *p, const stpn_progress *report)
{
    char line[LINE_SIZE];
    int rows, columns;
    progress_terminal(&rows, &columns);
    /* A terminal wraps when its last column is written. */
    progress_line(line, sizeof line, p->label, report, columns - 1);
    size_t length = strlen(line), rest = p->drawn > length ? p->drawn - length : 0;
    fprintf(stderr, "\r%s%*s", line, (int)rest, "");
    fflush(stderr);
    p->drawn = length;
}

void progress_show(void *context, const stpn_progress *report)
{
    const double least_seconds = 0.5;
    progress *p = context;
    if (p->terminal) {
        redraw(p, report);
        return;
    }
    double now = machine_seconds();
    int last = report->epoch == report->epochs;
    if (!report->epoch_ended || (now - p->printed < least_seconds && !last)) return;
    char line[LINE_SIZE];
    progress_line(line, sizeof line, p->label, report, LINE_SIZE);
    fprintf(stderr, "%s\n", line);
    p->printed = now;
}

void progress_close(progress *p)
{
    if (p->drawn) fputc('\n', stderr);
    p->drawn = 0;
}
