/* Retroactive neuromodulation (Miconi et al. 2019): E' = rule(E, m T), T' = (1 - eta) T + eta h' h^T, with the T before
 * the step and m = modulation(Wm h' + bm). */
#include "units/trace.h"

#include "base/error.h"

#include <stddef.h>

static const option options[] = {
    UNIT_OPTION_HIDDEN,
    {"trace", OPTION_CHOICE, offsetof(stpn_unit, trace), "clip|soft|add|decay", 0, 0,
     "E' of E and the change d = m T. clip: clip(E + d, -1, 1); soft: clip(E + d - E |d|, -1, 1); add: E + d; decay: "
     "not for this unit"},
    TRACE_MODULATION,
};

/* The eligibility trace T decays on its own; a decay of E by the same eta has no meaning. */
static stpn_status check(const stpn_unit *o, int inputs, const char *place, stpn_error *error)
{
    (void)inputs;
    if (o->trace == STPN_TRACE_DECAY)
        return error_set(error, STPN_ERROR_INPUT,
                         "%s.trace is \"decay\", which modul does not have: expected clip, soft "
                         "or add",
                         place);
    return STPN_OK;
}

static void plan(unit *u)
{
    trace_plan(u, TRACE_ETA | TRACE_M | TRACE_T);
}

const unit_type unit_modul = {
    .name = "modul",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = {.name = "modul"},
    .check = check,
    .plan = plan,
    .tape_values = trace_tape_values,
    .forward_bytes = trace_forward_bytes,
    .backward_bytes = trace_backward_bytes,
    .forward = trace_forward,
    .backward = trace_backward,
    .operations = trace_operations,
    .source = trace_source,
};
