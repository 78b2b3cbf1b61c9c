/* What every form (variant.h) of the units `names` ("rnn lstm") is checked for, against the references (reference.h) in
 * both real types on every kernel. Outputs hold NaN before each run, so that what is not written shows. */
#ifndef STPN_TESTS_CHECKS_H
#define STPN_TESTS_CHECKS_H

#include "support/library.h"
#include "support/variant.h"

/* Every pair of widths, every pair of batch and steps, with all kinds of inputs and uses of a sequence in turn. */
void check_forward_of_every_size(const char *names);
/* Every kind of input with each of starting states, resets, lengths. */
void check_forward_of_every_sequence(const char *names);
void check_no_steps(const char *names);
/* Bytes, floats and doubles of the same values give the same bits. */
void check_types_of_input(const char *names);
/* Plasticity matters in the problems that are drawn, and bounds are met where the unit has them. */
void check_problems_are_not_empty(const char *names);

/* The backward pass against central differences of the reference: parameters, inputs and starting states, with gradients
 * coming in at every output and at the final state. Without dx and dstate against with them; in float. */
void check_gradient(const char *names);
/* Rows on both sides of a vector and of a panel; several chunks of samples. */
void check_gradient_of_every_width(const char *names);
/* Over several segments, filled in several calls. */
void check_gradient_of_long_runs(const char *names);
/* Samples that end in one call and go on in a later one. */
void check_gradient_of_pauses(const char *names);
/* Layers so wide that their segments are short, over two chunks of samples: some of the gradient's values. */
void check_gradient_of_short_segments(const char *names);
/* Wide layers and large batches: every kernel against the doubles of the first, and in float. */
void check_gradient_of_wide_layers(const char *names);

#endif
