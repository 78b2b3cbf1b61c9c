#include "support/variant.h"

#include <stdio.h>
#include <string.h>

enum { TRACES = 4, MODULATIONS = 3, INNER_STEPS = 3 };

static const char *const traces[TRACES] = {"clip", "soft", "add", "decay"};
static const char *const modulations[MODULATIONS] = {"tanh", "sigmoid", "linear"};

stpn_unit variant(int index, int hidden)
{
    static const char *const plain[] = {"mlp", "lstm", "gru", "hebbff", "rnn", "rnn"};
    stpn_unit unit;
    if (index < 6) {
        unit = stpn_unit_default(plain[index], hidden);
        if (index == 5) unit.init = STPN_START_MICONI;
        return unit;
    }
    index -= 6;
    if (index < INNER_STEPS) {
        unit = stpn_unit_default("fast_weights", hidden);
        unit.inner_steps = 1 + index;
        return unit;
    }
    index -= INNER_STEPS;
    if (index < TRACES) {
        unit = stpn_unit_default("plastic", hidden);
        unit.trace = (stpn_trace)index;
        return unit;
    }
    index -= TRACES;
    /* modul, the second, has no rule `decay`. */
    int retroactive = index >= TRACES * MODULATIONS;
    if (retroactive) index -= TRACES * MODULATIONS;
    unit = stpn_unit_default(retroactive ? "modul" : "modplast", hidden);
    unit.trace = (stpn_trace)(index / MODULATIONS);
    unit.modulation = (stpn_modulation)(index % MODULATIONS);
    return unit;
}

int variant_is_of(const stpn_unit *unit, const char *names)
{
    size_t length = strlen(unit->name);
    for (const char *at = names; (at = strstr(at, unit->name)); at++)
        if ((at == names || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return 1;
    return 0;
}

const char *variant_text(const stpn_unit *u, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s H=%d", u->name, u->hidden);
    if (used >= size) return text;
    if (variant_is_of(u, "fast_weights"))
        snprintf(text + used, size - used, " inner_steps=%d eta=%g lambda=%g", u->inner_steps, u->eta, u->lambda);
    if (variant_is_of(u, "plastic")) snprintf(text + used, size - used, " trace=%s", traces[u->trace]);
    if (variant_is_of(u, "modplast modul"))
        snprintf(text + used, size - used, " trace=%s modulation=%s", traces[u->trace], modulations[u->modulation]);
    return text;
}
