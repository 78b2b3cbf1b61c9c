/* Problems run by the library, in all the ways it has, and compared with other outcomes. What goes wrong fails the test. */
#ifndef STPN_TESTS_LIBRARY_H
#define STPN_TESTS_LIBRARY_H

#include "support/outcome.h"

typedef enum run_backward { RUN_FORWARD, RUN_TAPE, RUN_SPARSE, RUN_DENSE } run_backward;

/* How the library is to run a problem. Start from zeros. */
typedef struct run {
    stpn_real real;
    const char *kernel;
    run_backward backward; // forward; with a tape; backward without dstate and dx; with both
    const int *calls;      // (call_count) steps of each call; NULL: one call
    int call_count;
    const int *cuts; // (cut_count) samples where a call's range ends and the next one's begins
    int cut_count;
    int threads;    // 0: no pool
    int by_step;    // 1: stpn_step; no energy
    int no_energy;  // 1: energy is not asked for
    int as_doubles; // 1: x is given as double to a net of floats
    int leave;      // 1: a call leaves its last update to the next one (net_leave)
} run;

/* Forward, and backward, by the library. What a run does not give has a NULL `values`. */
void library_outcome(const problem *p, const run *r, outcome *o);

/* Fails where `a` is further from `b` than the tolerance. */
void assert_close(const problem *p, const run *r, const tensor *a, const tensor *b, double tolerance);
void assert_same_bits(const problem *p, const run *r, const tensor *a, const tensor *b);
/* y, energy and final states. */
void assert_forward_close(const problem *p, const run *r, const outcome *a, const outcome *b, double tolerance);
void assert_forward_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b);
/* Parameters, x and starting states; with `parameters_only`, the first of these. */
void assert_gradient_close(const problem *p, const run *r, const outcome *a, const outcome *b, int parameters_only,
                           double tolerance);
void assert_gradient_same_bits(const problem *p, const run *r, const outcome *a, const outcome *b);

/* Kernel `index` of those that this machine runs, NULL past the last; makes it the one that nets take. */
const char *use_kernel(int index);

#endif
