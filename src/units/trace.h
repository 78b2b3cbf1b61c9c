/* What the units with Hebbian traces share: plastic, modplast and modul differ in their options and in which of eta, m
 * and T they have. The equations stand in kernels/trace.h. */
#ifndef STPN_UNITS_TRACE_H
#define STPN_UNITS_TRACE_H

#include "units/unit.h"

typedef enum trace_parts {
    TRACE_ETA = 1, // `eta` is a parameter
    TRACE_M = 2,   // m = modulation(Wm h + bm)
    TRACE_T = 4    // E takes up m T
} trace_parts;

/* A row of option tables. */
#define TRACE_MODULATION                                                                           \
    {                                                                                              \
        "modulation", OPTION_CHOICE, offsetof(stpn_unit, modulation), "tanh|sigmoid|linear", 0, 0, \
            "of Wm h + bm, the one number m of a sample"                                           \
    }

void trace_plan(unit *u, int parts);
size_t trace_tape_values(const unit *u, int steps);
size_t trace_forward_bytes(const unit *u);
size_t trace_backward_bytes(const unit *u);
void trace_forward(const unit *u, const void *parameters, const unit_sweep *sweep, void *work);
void trace_backward(const unit *u, const void *parameters, void *gradient, const unit_back *back, void *work);
void trace_operations(const unit *u, unit_operations *count);
void trace_source(const unit *u, source_text *s);

#endif
