/* The units that the STP neuron is compared with, in every form that their options give them. */
#ifndef STPN_TESTS_VARIANT_H
#define STPN_TESTS_VARIANT_H

#include <stddef.h>
#include <stpn/stpn.h>

enum { VARIANT_COUNT = 34 };

/* Form `index`; a problem draws the rates of fast weights. */
stpn_unit variant(int index, int hidden);
/* Whether unit `name` is one of "a b c". */
int variant_is_of(const stpn_unit *unit, const char *names);
/* "plastic H=3 trace=soft": what counts for the unit. */
const char *variant_text(const stpn_unit *unit, char *text, size_t size);

#endif
