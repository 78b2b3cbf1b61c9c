/* What every form (variant.h) of the units `names` ("rnn lstm") is checked for, against the references (reference.h) in
 * both real types on every kernel. Outputs hold NaN before each run, so that what is not written shows. */
#ifndef STPN_TESTS_CHECKS_H
#define STPN_TESTS_CHECKS_H

#include "support/library.h"
#include "support/variant.h"

/* Runs all of them as a group of tests; returns how many failed. */
int check_units(const char *group, const char *names);

#endif
