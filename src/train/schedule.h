/* The learning rate of each update: a function of its place alone, so that a run goes on as if it had never stopped. */
#ifndef STPN_TRAIN_SCHEDULE_H
#define STPN_TRAIN_SCHEDULE_H

#include "train/experiment.h"

/* Rate of update `update` (from 0) of `updates`. It grows linearly over the first `warmup` ones; then, with p from 0 at
 * the first of the others to 1 at the last of all, f = final_rate:
 *   constant  1      linear  1 - (1 - f) p      cosine  f + (1 - f) (1 + cos(pi p)) / 2
 *   step      step_factor ^ floor(others before / step_every) */
double schedule_rate(const train_options *options, int64_t update, int64_t updates);

#endif
