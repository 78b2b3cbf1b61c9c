/* Neuromodulated plasticity (Miconi et al. 2019): as plastic, with m = modulation(Wm h' + bm), one number per sample, in
 * place of eta. */
#include "units/trace.h"

#include <stddef.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
    {"trace", OPTION_CHOICE, offsetof(stpn_unit, trace), "clip|soft|add|decay", 0, 0,
     "E' of E and the change d = m h' h^T. clip: clip(E + d, -1, 1); soft: clip(E + d - E |d|, -1, 1); add: E + d; "
     "decay: (1 - m) E + d"},
    TRACE_MODULATION,
};

static void plan(unit *u)
{
    trace_plan(u, TRACE_M);
}

const unit_type unit_modplast = {
    .name = "modplast",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "modplast"},
    .plan = plan,
    .tape_values = trace_tape_values,
    .forward_bytes = trace_forward_bytes,
    .backward_bytes = trace_backward_bytes,
    .forward = trace_forward,
    .backward = trace_backward,
    .operations = trace_operations,
    .source = trace_source,
};
