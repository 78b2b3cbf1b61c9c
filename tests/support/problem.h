/* Random problems for nets of any units. They are drawn from Philox: the same on every machine. All values are floats, so
 * that both real types see the same ones. */
#ifndef STPN_TESTS_PROBLEM_H
#define STPN_TESTS_PROBLEM_H

#include "support/combination.h"
#include "support/reference.h"
#include "support/tensor.h"

enum {
    PROBLEM_UNITS = 3,
    PROBLEM_TENSORS = REFERENCE_TENSORS * PROBLEM_UNITS,
    PROBLEM_STATES = REFERENCE_STATES * PROBLEM_UNITS
};

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
    int smooth;  // 1: kept away from the corners of clamps and rules, for finite differences
    int rough;   // 1: however ill-conditioned, where only bits are compared; for units without a reference too
} problem_plan;

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

/* Inputs of a unit, and what the last one puts out. */
int plan_inputs(const problem_plan *plan, int unit);
int plan_outputs(const problem_plan *plan);

#endif
