/* Mean and deviation of values that come in, and values brought to mean 0 and deviation 1 by them. */
#ifndef STPN_TRAIN_SCALING_H
#define STPN_TRAIN_SCALING_H

#include <stpn/stpn.h>

typedef struct scaling {
    int width; // n; 0: nothing is scaled
    int64_t count;
    double *mean, *squares; // (n) and sums of (value - mean)^2
} scaling;

/* Fills what was zeros; after an error too, scaling_close frees what there is. */
stpn_status scaling_open(scaling *s, int width, stpn_error *error);
void scaling_close(scaling *s);
void scaling_clear(scaling *s);
void scaling_copy(scaling *to, const scaling *from);

/* Takes in a row (n); or all that another of the same width has taken in. */
void scaling_add(scaling *s, const float *row);
void scaling_merge(scaling *s, const scaling *part);

/* 0 and 1 until two rows have come in. */
double scaling_mean(const scaling *s, int index);
double scaling_deviation(const scaling *s, int index);
/* (value - mean) / deviation, within plus and minus scaling_bound(). `to` may be `from`. */
double scaling_bound(void);
void scaling_apply(const scaling *s, const float *from, float *to);

#endif
