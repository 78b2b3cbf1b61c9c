/* What is made of the runs of a plan: the table that compares them, and figures. */
#ifndef STPN_CLI_RESULTS_H
#define STPN_CLI_RESULTS_H

#include "cli/plan.h"

/* The table of stpn compare on standard output, and as table.md, table.csv and table.json in the folder `out`; rows that are
 * equal in the plan's order. 0, or the code to exit with after a message. */
int results_compare(const plan *p, const char *out, int quiet);
/* Figures of the finished runs into OUT/figures, by Python; `p` NULL: of all that is in OUT. */
int results_draw(const plan *p, const char *out);

#endif
