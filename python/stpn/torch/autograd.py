"""The forward and backward of kernel.py and plain.py as one differentiable function, `sequence`.

Outside of torch.compile it is an autograd.Function, whose overhead is small; under torch.compile it is the custom operator
stpn::sequence, which the compiler does not look into.
"""
from typing import List, Optional

import torch
from torch.autograd import Function

from . import kernel, plain
from .spec import spec

SECOND = "stpn.torch has no second derivatives: the gradient of a gradient through an stpn layer is not available"
TRANSFORMS = ("stpn.torch does not work under torch.func transforms (vmap, grad, jvp, ...): layers take batches, and "
              "torch.autograd gives their gradient")


class _Once(Function):
    """Passes gradients on; a gradient of them is refused."""

    @staticmethod
    def forward(ctx, anchor, *gradients):
        return tuple(None if g is None else g.view_as(g) for g in gradients)

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(SECOND)


def _once(gradients):
    """What a backward returns: where it is itself recorded (create_graph), gradients that can be used but not differentiated."""
    if not torch.is_grad_enabled():
        return gradients
    return _Once.apply(torch.zeros((), requires_grad=True), *gradients)


class _Kernel(Function):
    @staticmethod
    def forward(ctx, told, x, lengths, reset, count, *tensors):
        ctx.set_materialize_grads(False)
        ctx.told, ctx.shape, ctx.count = told, x.shape[:2], count
        y, finals, ticket = kernel.forward(told, x, lengths, reset, tensors[:count], tensors[count:], True)
        # Saved, so that it is freed with the graph and a second way back is refused as PyTorch does.
        ctx.save_for_backward(ticket)
        return (y, *finals)

    @staticmethod
    def backward(ctx, dy, *dstates):
        wants, count = ctx.needs_input_grad, ctx.count
        with torch.no_grad():
            dx, passed, dparameters = kernel.backward(ctx.told, ctx.saved_tensors[0], ctx.shape, None, dy, dstates, wants[1],
                                                      any(wants[5:5 + count]), wants[5 + count:])
        return _once((None, dx, None, None, None, *passed[:count], *dparameters))


class _Plain(Function):
    @staticmethod
    def forward(ctx, told, x, lengths, reset, count, *tensors):
        ctx.set_materialize_grads(False)
        ctx.told, ctx.count = told, count
        y, finals, kept = plain.forward(told, x, lengths, reset, tensors[:count], tensors[count:], True)
        ctx.save_for_backward(x, lengths, reset, *tensors[count:], *kept)
        return (y, *finals)

    @staticmethod
    def backward(ctx, dy, *dstates):
        x, lengths, reset, *rest = ctx.saved_tensors
        width = len(ctx.told.parameter_shapes)
        with torch.no_grad():
            dx, passed, dparameters = plain.backward(ctx.told, x, lengths, reset, rest[width:], rest[:width], dy, dstates)
        return _once((None, dx, None, None, None, *passed[:ctx.count], *dparameters))


# ------------------------------------------------------------------------------------------------- under torch.compile


@torch.library.custom_op("stpn::sequence", mutates_args=())
def _sequence(text: str, in_plain: bool, keep: bool, x: torch.Tensor, lengths: Optional[torch.Tensor],
              reset: Optional[torch.Tensor], states: List[torch.Tensor], parameters: List[torch.Tensor]) -> List[torch.Tensor]:
    """Outputs, the final state's tensors, a ticket."""
    told, x = spec(text), x.contiguous()
    if in_plain:
        y, finals, _ = plain.forward(told, x, lengths, reset, states, parameters, False)
        return [y, *[final.clone() for final in finals], kernel.no_ticket()]
    y, finals, ticket = kernel.forward(told, x, lengths, reset, states, parameters, keep)
    return [y, *finals, kernel.no_ticket() if ticket is None else ticket]


@_sequence.register_fake
def _(text, in_plain, keep, x, lengths, reset, states, parameters):
    told, (T, B) = spec(text), x.shape[:2]
    new = parameters[0].new_empty
    return [new((T, B, told.hidden)), *[new((B, *shape)) for shape in told.state_shapes.values()],
            torch.empty(1, dtype=torch.int64, device="cpu")]


@torch.library.custom_op("stpn::sequence_backward", mutates_args=())
def _sequence_backward(text: str, in_plain: bool, ticket: torch.Tensor, x: torch.Tensor, lengths: Optional[torch.Tensor],
                       reset: Optional[torch.Tensor], states: List[torch.Tensor], parameters: List[torch.Tensor],
                       dy: Optional[torch.Tensor], dstates: List[Optional[torch.Tensor]]) -> List[torch.Tensor]:
    """dx (nothing for tokens and bytes), the starting state's gradients, the parameters'."""
    told, x = spec(text), x.contiguous()
    if in_plain:
        kept = plain.forward(told, x, lengths, reset, states, parameters, True)[2]
        dx, passed, dparameters = plain.backward(told, x, lengths, reset, kept, parameters, dy, dstates)
    else:
        # The compiler may have copied the ticket or kept it for later: then its work space is gone.
        dx, passed, dparameters = kernel.backward(
            told, ticket, x.shape[:2], lambda: kernel.forward(told, x, lengths, reset, states, parameters, True)[2], dy, dstates,
            x.is_floating_point(), True, [True] * len(parameters))
    return [x.new_empty(0) if dx is None else dx, *passed, *dparameters]


@_sequence_backward.register_fake
def _(text, in_plain, ticket, x, lengths, reset, states, parameters, dy, dstates):
    told, new = spec(text), parameters[0].new_empty
    dx = new(x.shape) if x.is_floating_point() else x.new_empty(0)
    return [dx, *[new((x.shape[1], *shape)) for shape in told.state_shapes.values()], *[new(p.shape) for p in parameters]]


def _remember(ctx, inputs, output):
    text, in_plain, _, x, lengths, reset, states, parameters = inputs
    ctx.set_materialize_grads(False)
    ctx.text, ctx.in_plain, ctx.states, ctx.parameters = text, in_plain, len(states), len(parameters)
    ctx.save_for_backward(x, lengths, reset, output[-1], *states, *parameters)


def _gradients(ctx, gradients):
    x, lengths, reset, ticket, *rest = ctx.saved_tensors
    dy, *dstates = gradients[:-1]
    found = _sequence_backward(ctx.text, ctx.in_plain, ticket, x, lengths, reset, rest[:ctx.states], rest[ctx.states:], dy, dstates)
    dx = found[0] if x.is_floating_point() else None
    dparameters = found[len(found) - ctx.parameters:]
    return None, None, None, dx, None, None, found[1:1 + ctx.states], dparameters


_sequence.register_autograd(_gradients, setup_context=_remember)


def sequence(text, in_plain, x, lengths, reset, states, parameters):
    """Runs a unit over a sequence.

    Args:
        text: the unit (spec.text_of).
        in_plain: in plain PyTorch, else through the C library (tensors of the CPU).
        x, lengths, reset, states, parameters: as for kernel.forward.

    Returns the outputs (T, B, H) and the final state's tensors, differentiable.
    """
    tensors = [*states, *parameters]
    keep = torch.is_grad_enabled() and (x.requires_grad or any(tensor.requires_grad for tensor in tensors))
    if torch.compiler.is_compiling():
        y, *finals = _sequence(text, in_plain, keep, x, lengths, reset, list(states), list(parameters))
        return y, finals[:-1]
    x = x.contiguous()
    if not keep:
        return (plain if in_plain else kernel).forward(spec(text), x, lengths, reset, states, parameters, False)[:2]
    try:
        y, *finals = (_Plain if in_plain else _Kernel).apply(spec(text), x, lengths, reset, len(states), *tensors)
    except RuntimeError as problem:
        if "setup_context" not in str(problem):
            raise
        raise RuntimeError(TRANSFORMS) from None
    return y, finals
