/* Compiled once per instruction set and real type; KERNEL_TABLE names the table that this build fills. */
#include "kernels/cells.h"
#include "kernels/dense.h"
#include "kernels/fast_weights.h"
#include "kernels/hebbff.h"
#include "kernels/product.h"
#include "kernels/stpn_narrow_backward.h"
#include "kernels/trace_backward.h"

extern const kernel_table KERNEL_TABLE;

const kernel_table KERNEL_TABLE = {
    .name = KERNEL_NAME,
    .real = KERNEL_DOUBLE ? STPN_DOUBLE : STPN_FLOAT,
    .size = sizeof(real),
    .lanes = LANES,
    .stpn_forward_bytes = forward_bytes,
    .stpn_backward_bytes = backward_bytes,
    .stpn_active_values = signals_values,
    .stpn_pending_values = pending_values,
    .stpn_activate_all = activate_all,
    .stpn_forward = stpn_forward_either,
    .stpn_backward = stpn_backward_either,
    .stpn_finish = stpn_finish_gradient,
    .product = product,
    .product_gradient = product_gradient,
    .transpose = transpose,
    .tanh_forward = tanh_forward,
    .tanh_backward = tanh_backward,
    .lstm_forward = lstm_forward,
    .lstm_backward = lstm_backward,
    .gru_forward = gru_forward,
    .gru_backward = gru_backward,
    .accumulate = accumulate,
    .absolute_sums = absolute_sums,
    .add_energy = add_energy,
    .trace_forward_bytes = trace_forward_bytes,
    .trace_backward_bytes = trace_backward_bytes,
    .trace_forward = trace_forward_sweep,
    .trace_backward = trace_backward_segment,
    .hebbff_forward_bytes = hebbff_forward_bytes,
    .hebbff_backward_bytes = hebbff_backward_bytes,
    .hebbff_forward = hebbff_forward_sweep,
    .hebbff_backward = hebbff_backward_segment,
    .fast_step_values = fast_step_values,
    .fast_forward_bytes = fast_forward_bytes,
    .fast_backward_bytes = fast_backward_bytes,
    .fast_forward = fast_forward_sweep,
    .fast_backward = fast_backward_segment,
    .fold = fold,
    .convert = convert,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .shift_scale = shift_scale,
    .relu_forward = relu_forward,
    .relu_backward = relu_backward,
    .cross_entropy = cross_entropy,
    .add = add_block,
    .sum_squares = sum_squares,
    .scale = scale_block,
    .limit = limit_block,
    .adam = adam_block,
};
