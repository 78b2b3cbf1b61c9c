/* What a problem comes to; by the reference here, by the library in library.h. */
#ifndef STPN_TESTS_OUTCOME_H
#define STPN_TESTS_OUTCOME_H

#include "support/problem.h"

typedef struct outcome {
    tensor y, energy; // (T, B, H), (T, B)
    tensor states[PROBLEM_STATES];
    tensor dparameters[PROBLEM_TENSORS], dx, dstates[PROBLEM_STATES]; // where the run went backward
    shelf shelf;
} outcome;

/* Room for the forward results, then for the gradients. */
void outcome_new(const problem *p, outcome *o);
void outcome_add_gradient(const problem *p, outcome *o);
void outcome_free(outcome *o);

/* max |a - b| / max(1e-3, max |b|); NaN where a value is. */
double tensor_error(const tensor *a, const tensor *b);

/* Forward by the reference; also how close the problem is to its kinks. */
void reference_outcome(problem *p, outcome *o);
/* And gradients by central differences of it (fourth order). */
void reference_gradient(problem *p, outcome *o);
/* The same for one value that the problem holds and that samples [first, last) depend on. */
double reference_difference(const problem *p, double *value, int first, int last);

#endif
