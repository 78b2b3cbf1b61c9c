/* What stpn bench measures: a problem of a given size, whether a kernel computes it rightly, and how fast. */
#ifndef STPN_CLI_MEASURE_H
#define STPN_CLI_MEASURE_H

#include <stddef.h>
#include <stpn/stpn.h>

typedef struct measure_case {
    const char *name;
    int batch, steps, inputs, hidden; // B, T, I, H
    int tokens;                       // 1: one-hot inputs, 0: normal ones
    stpn_norm norm;
    double clamp;
} measure_case;

typedef struct measurement {
    double forward_ns, training_ns;                  // of a synapse and step: time / (B T H K)
    double training_seconds, training_seconds_least; // of one pass: median, minimum
    size_t peak_bytes;                               // beyond the process before the net was made
} measurement;

/* Runs in a process of its own, so that its memory is its own: first the kernel's outputs and gradients at a small size
 * against the portable kernel in double (STPN_ERROR_NUMERIC where they are off), then the measurement. */
stpn_status measure_kernel(measurement *m, const measure_case *c, const char *unit, const char *kernel, int threads,
                           stpn_error *error);

#endif
