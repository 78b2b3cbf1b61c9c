#include "train/scaling.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

/* Values that never change have no deviation, and stay within this all the same. */
static const double BOUND = 10, LEAST = 1e-8;

stpn_status scaling_open(scaling *s, int width, stpn_error *error)
{
    *s = (scaling){.width = width,
                   .mean = memory_zeroed((size_t)width, sizeof *s->mean),
                   .squares = memory_zeroed((size_t)width, sizeof *s->squares)};
    return s->mean && s->squares ? STPN_OK : error_memory(error, "the scaling");
}

void scaling_close(scaling *s)
{
    memory_free(s->mean);
    memory_free(s->squares);
    *s = (scaling){0};
}

void scaling_clear(scaling *s)
{
    s->count = 0;
    for (int i = 0; i < s->width; i++) s->mean[i] = s->squares[i] = 0;
}

void scaling_copy(scaling *to, const scaling *from)
{
    to->count = from->count;
    for (int i = 0; i < from->width; i++) {
        to->mean[i] = from->mean[i];
        to->squares[i] = from->squares[i];
    }
}

void scaling_add(scaling *s, const float *row)
{
    s->count++;
    for (int i = 0; i < s->width; i++) {
        double before = (double)row[i] - s->mean[i];
        s->mean[i] += before / (double)s->count;
        s->squares[i] += before * ((double)row[i] - s->mean[i]);
    }
}

void scaling_merge(scaling *s, const scaling *part)
{
    double a = (double)s->count, b = (double)part->count;
    if (part->count == 0) return;
    s->count += part->count;
    for (int i = 0; i < s->width; i++) {
        double gap = part->mean[i] - s->mean[i];
        s->mean[i] += gap * b / (a + b);
        s->squares[i] += part->squares[i] + gap * gap * a * b / (a + b);
    }
}

double scaling_mean(const scaling *s, int index)
{
    return s->count < 2 ? 0 : s->mean[index];
}

double scaling_bound(void)
{
    return BOUND;
}

double scaling_deviation(const scaling *s, int index)
{
    return s->count < 2 ? 1 : sqrt(s->squares[index] / (double)s->count + LEAST);
}

void scaling_apply(const scaling *s, const float *from, float *to)
{
    for (int i = 0; i < s->width; i++) {
        double value = ((double)from[i] - scaling_mean(s, i)) / scaling_deviation(s, i);
        to[i] = (float)fmin(fmax(value, -BOUND), BOUND);
    }
}
