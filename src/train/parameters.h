/* What every learner ends an update with. */
#ifndef STPN_TRAIN_PARAMETERS_H
#define STPN_TRAIN_PARAMETERS_H

#include "net/learn.h"
#include "train/experiment.h"

/* Limits the gradient as the options say, `norm` (may be NULL): its norm as stpn_clip_gradient tells it; then one update
 * by `adam`, NULL: none. A loss or a gradient that is not finite is STPN_ERROR_NUMERIC and updates nothing. */
stpn_status parameters_update(stpn_net *net, stpn_adam *adam, const train_options *options, void *gradient, double loss,
                              double *norm, stpn_error *error);

#endif
