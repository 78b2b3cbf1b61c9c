/* Random problems for nets of STPN units, what the reference and the library answer, and how far apart that is. A problem
 * is drawn from Philox: the same on every machine. All its values are floats, so that both real types see the same ones.
 * Include after cmocka.h: what goes wrong on the way fails the test. */
#ifndef STPN_TESTS_PROBLEM_H
#define STPN_TESTS_PROBLEM_H

#include "base/random.h"
#include "support/reference.h"

#include <stddef.h>

/* ------------------------------------------------------------------------------------------ combinations of options */

enum { COMBINATION_FACTORS = 12 };

/* Combination `index` of: the default, every option alone, every pair of options, then random ones without end; those
 * that no unit has are left out. A problem draws the numbers of held rates. */
stpn_unit combination(int index, int hidden);
/* Number of combinations before the random ones. */
int combination_systematic(void);
/* "stpn_r H=3 norm=post clamp=0.3 ...": what differs from the default. */
const char *combination_text(const stpn_unit *unit, char *text, size_t size);

/* --------------------------------------------------------------------------------------------------------- problems */

enum { PROBLEM_UNITS = 3, PROBLEM_TENSORS = 6 * PROBLEM_UNITS, PROBLEM_STATES = 2 * PROBLEM_UNITS };

typedef enum plan_input { PLAN_DENSE, PLAN_SPARSE, PLAN_TOKENS, PLAN_BYTES } plan_input;

/* What to draw. Start from zeros. */
typedef struct problem_plan {
    stpn_unit units[PROBLEM_UNITS];
    int unit_count, inputs, steps, batch;
    plan_input input;
    int resets;  // 1: at random steps of random samples
    int lengths; // 1: random, 0 and the full one among them
    int gaps;    // 1: samples pause, too (needs calls that end where a pause starts)
    int started; // 1: a starting state
    int smooth;  // 1: kept away from the corners of the clamp, for finite differences
    int rough;   // 1: however ill-conditioned, where only bits are compared
} problem_plan;

typedef struct tensor {
    char name[32];
    int rank, shape[3];
    size_t count;
    double *values;
} tensor;

typedef struct shelf {
    void *blocks[192];
    int count;
} shelf;

typedef struct problem {
    problem_plan plan;
    tensor parameters[PROBLEM_TENSORS]; // names and shapes as the library must give them
    int parameter_count;
    tensor states[PROBLEM_STATES];  // starting state (B, ...)
    tensor dstates[PROBLEM_STATES]; // gradient with respect to the final state
    int state_count;
    tensor x, dy;          // (T, B, I), (T, B, H)
    int32_t *tokens;       // (T, B), for PLAN_TOKENS
    uint8_t *bytes;        // (T, B, I), for PLAN_BYTES
    uint8_t *live, *reset; // (B, T)
    reference_closeness closeness;
    int rounded; // 1: the reference keeps its state as floats
    shelf shelf;
} problem;

void problem_make(problem *p, const problem_plan *plan, uint64_t seed);
/* Samples [first, last) of a problem by themselves. */
void problem_take(problem *p, const problem *whole, int first, int last);
void problem_free(problem *p);
/* The plan and where it came from, for messages. */
const char *problem_text(const problem *p);

/* --------------------------------------------------------------------------------------------------------- outcomes */

typedef struct outcome {
    tensor y, energy; // (T, B, H), (T, B)
    tensor states[PROBLEM_STATES];
    tensor dparameters[PROBLEM_TENSORS], dx, dstates[PROBLEM_STATES]; // where the run went backward
    shelf shelf;
} outcome;

void outcome_free(outcome *o);

/* Forward by the reference. */
void reference_outcome(problem *p, outcome *o);
/* Gradients by central differences of the reference (fourth order). */
void reference_gradient(problem *p, outcome *o);

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
} run;

/* Forward, and backward, by the library. What a run does not give has a NULL `values`. */
void library_outcome(const problem *p, const run *r, outcome *o);

/* ------------------------------------------------------------------------------------------------------- comparisons */

/* max |a - b| / max(1e-3, max |b|); NaN where one value is. */
double tensor_error(const tensor *a, const tensor *b);
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
