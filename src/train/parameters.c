#include "train/parameters.h"

#include "base/error.h"

#include <math.h>

stpn_status parameters_update(stpn_net *net, stpn_adam *adam, const train_options *options, void *gradient, double loss,
                              double *norm, stpn_error *error)
{
    if (!isfinite(loss)) return error_set(error, STPN_ERROR_NUMERIC, "the loss is %g", loss);
    /* Before the limit, which would make an infinite value look like any other. */
    double length = sqrt(net->kernel->sum_squares(net->block_values, gradient));
    if (isfinite(length) && (options->clip_value > 0 || options->clip_norm > 0))
        length = stpn_clip_gradient(net, gradient, options->clip_value, options->clip_norm);
    if (!isfinite(length)) return error_set(error, STPN_ERROR_NUMERIC, "the gradient's norm is %g", length);
    if (norm) *norm = length;
    if (adam) stpn_adam_update(adam, net, gradient);
    return STPN_OK;
}
