/* Segments of a backward pass: the steps between two checkpoints of a matrix that is a state, one sample at a time. */
#ifndef STPN_UNITS_SEGMENT_H
#define STPN_UNITS_SEGMENT_H

#include "units/unit.h"

/* What a segment should take, so that it stays in a second-level cache. */
enum { SEGMENT_BYTES = 512 * 1024 };
/* Steps between checkpoints of `values` values, so that a segment of them takes about `bytes`. */
int segment_length(const unit *u, size_t values, size_t bytes);
/* Checkpoints of a tape of `steps` steps. */
size_t segment_count(const unit *u, int steps);

/* Segment `index` of a sample. */
typedef struct back_segment {
    int sample, begin, steps;
    const uint8_t *flags;
    const void *out; // (steps + 1, Hp): row t is h before step t
    row_list x;      // (steps, I)
    const void *dy;  // (H) a row, the first of step dy_begin of the segment
    int dy_begin;
} back_segment;

back_segment segment_at(const unit *u, const unit_back *s, int sample, int index);

/* The input side of a unit with p = Wx x + b. */
typedef struct segment_inputs {
    panel_matrix weight, dweight;
    void *dbias;
    void *transposed; // (Ip, Hp) of weight
    void *ds;         // (segment, Hp) adjoints of p
    void *dx;         // (segment, Ip) what x gets on other ways; 0 where there are none
} segment_inputs;

/* Values of the last three. */
size_t segment_inputs_values(const unit *u);
/* Places them in `work`, and transposes the weight where dx is wanted; returns what follows. */
void *segment_inputs_open(const unit *u, const unit_back *s, segment_inputs *in, const void *work);
/* From ds: gradients of weight and bias, and dx. */
void segment_inputs_back(const unit *u, const unit_back *s, const back_segment *segment, const segment_inputs *in);

#endif
