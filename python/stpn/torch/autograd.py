"""The forward and backward of kernel.py and plain.py as one differentiable function, `sequence`.

Outside of torch.compile it is an autograd.Function, whose overhead is small; under torch.compile it is the custom operator
stpn::sequence, which the compiler does not look into.
"""
from typing import List, Optional

import torch
from torch.autograd import Function, forward_ad

from . import kernel, plain
from .spec import spec

SECOND = "stpn.torch has no second derivatives: the gradient of a gradient through an stpn layer is not available"
TRANSFORMS = ("stpn.torch does not work under torch.func transforms (vmap, grad, jvp, ...), batched gradients and forward-mode "
              "differentiation: layers take batches, and torch.autograd goes back through them")
TRACED = "stpn.torch does not work under torch.jit.trace, which would record nothing of it: torch.compile and torch.export take it"
COPIED = ("what stpn.torch saves for the backward pass stays where it is: copies of it, as saved_tensors_hooks such as "
          "save_on_cpu make them, are not taken")


def _explained(problem):
    """The error to raise for one that PyTorch has for a tensor inside of a transform."""
    inside = "setup_context" in str(problem) or "doesn't have storage" in str(problem)
    return RuntimeError(TRANSFORMS) if inside else problem


class _Once(Function):
    """apply(count, *inputs, *gradients) passes the gradients on; a gradient of them with respect to any input is refused."""

    @staticmethod
    def forward(ctx, count, *tensors):
        return tuple(None if g is None else g.view_as(g) for g in tensors[count:])

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(SECOND)


def _once(inputs, gradients):
    """What a backward returns: where it is itself recorded (create_graph), gradients that can be used but not differentiated."""
    if not torch.is_grad_enabled():
        return gradients
    return _Once.apply(len(inputs), *inputs, *gradients)


class _Kernel(Function):
    """apply(call, x, *states, *parameters); `call` is the rest: the spec, is_step, lengths, reset, the number of states."""

    @staticmethod
    def forward(ctx, call, x, *tensors):
        told, is_step, lengths, reset, count = call
        ctx.set_materialize_grads(False)
        y, finals, ticket = kernel.forward(told, is_step, x, lengths, reset, tensors[:count], tensors[count:], True)
        ctx.told, ctx.count, ctx.inputs = (told, is_step), count, (x, *tensors)
        # Saved, so that it is freed with the graph and a second way back is refused as PyTorch does.
        ctx.save_for_backward(ticket)
        return (y, *finals)

    @staticmethod
    def backward(ctx, dy, *dstates):
        wants, parameters = ctx.needs_input_grad, 2 + ctx.count
        space, shape = kernel.space_of(ctx.saved_tensors[0]), ctx.inputs[0].shape
        if space is None and 0 not in shape[:2]:
            raise RuntimeError(COPIED)
        try:
            dx, passed, dparameters = kernel.backward(*ctx.told, space, shape, dy, dstates, wants[1], any(wants[2:parameters]),
                                                      wants[parameters:])
        except RuntimeError as problem:
            raise _explained(problem) from None
        return _once(ctx.inputs, (None, dx, *passed[:ctx.count], *dparameters))


class _Plain(Function):
    """The same in plain PyTorch."""

    @staticmethod
    def forward(ctx, call, x, *tensors):
        told, is_step, lengths, reset, count = call
        ctx.set_materialize_grads(False)
        y, finals, kept = plain.forward(told, is_step, x, lengths, reset, tensors[:count], tensors[count:], True)
        ctx.call, ctx.inputs = call, (x, *tensors)
        ctx.save_for_backward(x, *tensors[count:], *kept)
        return (y, *finals)

    @staticmethod
    def backward(ctx, dy, *dstates):
        (x, *rest), (told, is_step, lengths, reset, count) = ctx.saved_tensors, ctx.call
        width = len(told.shapes)
        with torch.no_grad():
            dx, passed, dparameters = plain.backward(told, is_step, x, lengths, reset, rest[width:], rest[:width], dy, dstates)
        return _once(ctx.inputs, (None, dx, *passed[:count], *dparameters))


# ------------------------------------------------------------------------------------------------- under torch.compile


@torch.library.custom_op("stpn::sequence", mutates_args=())
def _sequence(text: str, is_step: bool, keep: bool, x: torch.Tensor, lengths: Optional[torch.Tensor],
              reset: Optional[torch.Tensor], states: List[torch.Tensor], parameters: List[torch.Tensor]) -> List[torch.Tensor]:
    """Outputs, the final state's tensors, a ticket."""
    y, finals, ticket = kernel.forward(spec(text), is_step, x.contiguous(), lengths, reset, states, parameters, keep)
    return [y, *finals, kernel.no_ticket() if ticket is None else ticket]


@_sequence.register_fake
def _(text, is_step, keep, x, lengths, reset, states, parameters):
    told, (T, B), new = spec(text), kernel.shape_of(x, is_step), parameters[0].new_empty
    lead = () if is_step else (1,)
    return [new((B, told.hidden) if is_step else (T, B, told.hidden)),
            *[new((*lead, B, *shape)) for shape in told.state_shapes.values()], torch.empty(1, dtype=torch.int64, device="cpu")]


@torch.library.custom_op("stpn::sequence_backward", mutates_args=())
def _sequence_backward(text: str, is_step: bool, ticket: torch.Tensor, x: torch.Tensor, lengths: Optional[torch.Tensor],
                       reset: Optional[torch.Tensor], states: List[torch.Tensor], parameters: List[torch.Tensor],
                       dy: Optional[torch.Tensor], dstates: List[Optional[torch.Tensor]]) -> List[torch.Tensor]:
    """dx (nothing for tokens and bytes), the starting state's gradients, the parameters'."""
    told, x, space = spec(text), x.contiguous(), kernel.space_of(ticket)
    if space is None:  # the compiler has copied the ticket or kept it for later: forward once more
        ticket = kernel.forward(told, is_step, x, lengths, reset, states, parameters, True)[2]
        space = kernel.space_of(ticket)
    dx, passed, dparameters = kernel.backward(told, is_step, space, x.shape, dy, dstates, x.is_floating_point(), True,
                                              [True] * len(parameters))
    return [x.new_empty(0) if dx is None else dx, *passed, *dparameters]


@_sequence_backward.register_fake
def _(text, is_step, ticket, x, lengths, reset, states, parameters, dy, dstates):
    told, new = spec(text), parameters[0].new_empty
    lead = (*(() if is_step else (1,)), kernel.shape_of(x, is_step)[1])
    dx = new(x.shape) if x.is_floating_point() else x.new_empty(0)
    return [dx, *[new((*lead, *shape)) for shape in told.state_shapes.values()], *[new(p.shape) for p in parameters]]


def _remember(ctx, inputs, output):
    text, is_step, _, x, lengths, reset, states, parameters = inputs
    ctx.set_materialize_grads(False)
    ctx.told, ctx.states, ctx.parameters = (text, is_step), len(states), len(parameters)
    ctx.save_for_backward(x, lengths, reset, output[-1], *states, *parameters)


def _gradients(ctx, gradients):
    x, lengths, reset, ticket, *rest = ctx.saved_tensors
    dy, *dstates = gradients[:-1]
    found = _sequence_backward(*ctx.told, ticket, x, lengths, reset, rest[:ctx.states], rest[ctx.states:], dy, dstates)
    dx = found[0] if x.is_floating_point() else None
    return None, None, None, dx, None, None, found[1:1 + ctx.states], found[len(found) - ctx.parameters:]


_sequence.register_autograd(_gradients, setup_context=_remember)


def sequence(text, in_plain, is_step, x, lengths, reset, states, parameters):
    """Runs a unit over a sequence.

    Args:
        text: the unit (spec.text_of).
        in_plain: in plain PyTorch, else through the C library (tensors of the CPU).
        is_step, x, lengths, reset, states, parameters: as for kernel.forward.

    Returns the outputs and the final state's tensors, differentiable.
    """
    if in_plain:
        return _in_plain(text, is_step, x, lengths, reset, states, parameters)
    if torch.compiler.is_compiling():
        keep = torch.is_grad_enabled() and _any_requires_grad(x, states, parameters)
        y, *finals = _sequence(text, is_step, keep, x, lengths, reset, list(states), list(parameters))
        return y, finals[:-1]
    if torch.jit.is_tracing():
        raise RuntimeError(TRACED)
    return _outside(_Kernel, kernel.forward, text, is_step, x, lengths, reset, states, parameters)


@torch.compiler.disable
def _in_plain(text, is_step, x, lengths, reset, states, parameters):
    return _outside(_Plain, plain.forward, text, is_step, x, lengths, reset, states, parameters)


def _outside(function, forward, text, is_step, x, lengths, reset, states, parameters):
    if x.layout is not torch.strided:
        raise TypeError(f"x is {x.layout}, expected a dense tensor")
    if not x.is_contiguous():
        x = x.contiguous()
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(each).tangent is not None for each in (x, *states, *parameters)):
        raise RuntimeError(TRANSFORMS)  # else the tangent would be lost
    try:
        if not (torch.is_grad_enabled() and _any_requires_grad(x, states, parameters)):
            return forward(spec(text), is_step, x, lengths, reset, states, parameters, False)[:2]
        y, *finals = function.apply((spec(text), is_step, lengths, reset, len(states)), x, *states, *parameters)
    except RuntimeError as problem:
        raise _explained(problem) from None
    return y, finals


def _any_requires_grad(x, states, parameters):
    for tensor in parameters:
        if tensor.requires_grad:
            return True
    return x.requires_grad or any(state.requires_grad for state in states)
