/* How far the runs of stpn reproduce are: on a terminal a line for all and one for each run under way, redrawn in place;
 * elsewhere a line for each run that ends. */
#include "base/buffer.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/jobs.h"
#include "cli/progress.h"
#include "cli/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE = 512 };

void jobs_display_open(jobs_display *d, const jobs_options *options)
{
    const char *terminal = getenv("TERM");
    *d = (jobs_display){.title = options->title, .quiet = options->quiet};
    d->terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
}

static int count_state(const jobs *s, job_state state)
{
    int count = 0;
    for (int i = 0; i < s->count; i++) count += s->jobs[i].state == state;
    return count;
}

/* "retrieval: 12 of 45 runs done, 2 under way, 41:10 left". */
static void head_line(const jobs_display *d, const jobs *s, char line[LINE_SIZE])
{
    char left[32];
    int done = s->before + count_state(s, JOB_DONE), failed = count_state(s, JOB_FAILED);
    size_t used = (size_t)snprintf(line, LINE_SIZE, "%.100s: %d of %d runs done, %d under way", d->title, done,
                                   s->before + s->count, count_state(s, JOB_RUNNING));
    if (failed) used += (size_t)snprintf(line + used, LINE_SIZE - used, ", %d failed", failed);
    progress_duration(left, sizeof left, jobs_seconds_left(s, machine_seconds()));
    snprintf(line + used, LINE_SIZE - used, ", %s left", left);
}

/* The cursor goes up to where the block starts; every line is written over and its rest erased. */
static void redraw(jobs_display *d, const jobs *s)
{
    int rows, columns, lines = 1, widest = 0;
    char line[LINE_SIZE], label[LINE_SIZE];
    buffer text = {0};
    progress_terminal(&rows, &columns);
    head_line(d, s, line);
    int done = 1;
    if (d->lines) done = buffer_print(&text, "\033[%dA", d->lines);
    /* A terminal wraps when its last column is written. */
    done = done && buffer_print(&text, "\r%.*s\033[K\n", columns - 1, line);
    for (int i = 0; i < s->count; i++)
        if (s->jobs[i].state == JOB_RUNNING && (int)strlen(s->jobs[i].run->name) > widest)
            widest = (int)strlen(s->jobs[i].run->name);
    for (int i = 0; i < s->count && done && lines < rows - 2; i++) {
        const job *j = &s->jobs[i];
        if (j->state != JOB_RUNNING) continue;
        snprintf(label, sizeof label, "  %-*s", widest, j->run->name);
        if (j->reports) progress_line(line, sizeof line, label, &j->report, columns - 1);
        else snprintf(line, sizeof line, "%.*s", columns - 1, label);
        done = buffer_print(&text, "%s\033[K\n", line);
        lines++;
    }
    /* What stood below goes. */
    done = done && buffer_print(&text, "\033[J");
    if (done) fwrite(text.data, 1, text.size, stderr);
    fflush(stderr);
    buffer_free(&text);
    d->lines = lines;
}

static void tell_end(const jobs *s, const job *j)
{
    char line[LINE_SIZE], took[32], left[32];
    int ended = s->before;
    for (int i = 0; i < s->count; i++) ended += s->jobs[i].told; // several may have ended since the last look
    const char *how = j->state == JOB_DONE ? "done" : j->state == JOB_STOPPED ? "stopped" : "failed";
    progress_duration(took, sizeof took, j->seconds);
    progress_duration(left, sizeof left, jobs_seconds_left(s, machine_seconds()));
    size_t used =
        (size_t)snprintf(line, sizeof line, "%d of %d: %s %s after %d %s, %s", ended, s->before + s->count,
                         j->run->name, how, j->report.epoch, j->report.environment ? "iterations" : "epochs", took);
    if (isfinite(j->report.accuracy))
        used += (size_t)snprintf(line + used, sizeof line - used, ", accuracy %.4f", j->report.accuracy);
    if (j->report.environment)
        used += (size_t)snprintf(line + used, sizeof line - used, ", reward %.3f", j->report.reward);
    if (ended < s->before + s->count) snprintf(line + used, sizeof line - used, "; %s left", left);
    fprintf(stderr, "%s\n", line);
}

void jobs_display_show(jobs_display *d, jobs *s)
{
    if (d->quiet) return;
    if (d->terminal) {
        redraw(d, s);
        return;
    }
    for (int i = 0; i < s->count; i++) {
        job *j = &s->jobs[i];
        if (j->told || j->state == JOB_WAITING || j->state == JOB_RUNNING) continue;
        j->told = 1;
        tell_end(s, j);
    }
}

void jobs_display_close(jobs_display *d, jobs *s)
{
    jobs_display_show(d, s);
    d->lines = 0;
}
