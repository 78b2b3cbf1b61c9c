#include "units/segment.h"

#include <string.h>

enum { SEGMENT_LEAST = 8, SEGMENT_MOST = 64 };

int segment_length(const unit *u, size_t values, size_t bytes)
{
    size_t fit = bytes / (values * u->kernel->size);
    return fit < SEGMENT_LEAST ? SEGMENT_LEAST : fit > SEGMENT_MOST ? SEGMENT_MOST : (int)fit;
}

size_t segment_count(const unit *u, int steps)
{
    return (size_t)((steps + u->segment - 1) / u->segment);
}

back_segment segment_at(const unit *u, const unit_back *s, int sample, int index)
{
    const kernel_table *k = u->kernel;
    size_t b = (size_t)sample, begin = (size_t)index * (size_t)u->segment;
    int first = index * u->segment, left = s->steps[sample] - first, steps = left < u->segment ? left : u->segment;
    int dy_begin = (s->dy_begin ? s->dy_begin[sample] : 0) - first, skipped = dy_begin < 0 ? -dy_begin : 0;
    return (back_segment){
        .sample = sample,
        .begin = first,
        .steps = steps,
        .flags = s->flags + b * s->flags_sample + begin,
        .out = value_at(k, s->out, b * s->out_sample + begin * u->row),
        .x = {value_at(k, s->x, b * s->x_sample + begin * s->x_step), steps, steps, 0, s->x_step},
        .dy = value_at(k, s->dy, b * s->dy_sample + (size_t)skipped * s->dy_step),
        .dy_begin = dy_begin < 0 ? 0 : dy_begin,
    };
}

size_t segment_inputs_values(const unit *u)
{
    return unit_input_row(u) * u->row + (size_t)u->segment * (u->row + unit_input_row(u));
}

void *segment_inputs_open(const unit *u, const unit_back *s, segment_inputs *in, const void *work)
{
    const kernel_table *k = u->kernel;
    in->transposed = value_at(k, work, 0);
    in->ds = value_at(k, work, unit_input_row(u) * u->row);
    in->dx = value_at(k, in->ds, (size_t)u->segment * u->row);
    memset(in->dx, 0, (size_t)u->segment * unit_input_row(u) * k->size);
    if (s->dx) k->transpose(&in->weight, in->transposed);
    return value_at(k, work, segment_inputs_values(u));
}

void segment_inputs_back(const unit *u, const unit_back *s, const back_segment *segment, const segment_inputs *in)
{
    const kernel_table *k = u->kernel;
    size_t lanes = (size_t)k->lanes, ip = unit_input_row(u);
    int steps = segment->steps;
    row_list ds = {in->ds, steps, steps, 0, u->row}, dx = {in->dx, steps, steps, 0, ip};
    k->product_gradient(&ds, &segment->x, &in->dweight, in->dbias);
    if (!s->dx) return;
    panel_matrix back = {in->transposed, (int)(ip / lanes), (int)u->row, u->row * lanes};
    k->product(&ds, &back, NULL, &dx);
    /* Rows of the caller hold no more than I values. */
    for (int t = 0; t < steps; t++) {
        size_t at = (size_t)segment->sample * s->dx_sample + (size_t)(segment->begin + t) * s->dx_step;
        memcpy(value_at(k, s->dx, at), value_at(k, in->dx, (size_t)t * ip), (size_t)u->inputs * k->size);
    }
    memset(in->dx, 0, (size_t)steps * ip * k->size);
}
