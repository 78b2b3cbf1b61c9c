/* Combinations of a unit's options. */
#ifndef STPN_TESTS_COMBINATION_H
#define STPN_TESTS_COMBINATION_H

#include <stddef.h>
#include <stpn/stpn.h>

enum { COMBINATION_FACTORS = 12 };

/* Combination `index` of: the default, every option alone, every pair of options, then random ones without end; those
 * that no unit has are left out. A problem draws the numbers of held rates. */
stpn_unit combination(int index, int hidden);
/* Number of combinations before the random ones. */
int combination_systematic(void);
/* "stpn_r H=3 norm=post clamp=0.3 ...": what differs from the default. */
const char *combination_text(const stpn_unit *unit, char *text, size_t size);

#endif
