"""The same in plain PyTorch, for devices that the C library does not run on.

Backward recomputes: of the states only those at every S-th step are kept, S about the root of T; the steps between two of
them are run once more, segment by segment, and automatic differentiation goes through one segment at a time. So memory has
no factor (H, K) per step.
"""
import contextlib
import math

import torch

from .equations import STEPS


def _inputs(spec, x):
    if x.dtype == torch.int32:
        if x.numel() and not x.is_meta and not (0 <= int(x.min()) and int(x.max()) < spec.inputs):
            raise ValueError(f"tokens are from {int(x.min())} to {int(x.max())}, expected 0 to {spec.inputs - 1}")
        return torch.nn.functional.one_hot(x.long(), spec.inputs).to(spec.dtype)
    return x.to(spec.dtype)


def _full_precision(device):
    """Autocast would compute products in half precision, and not those of the way back."""
    try:
        casts = torch.is_autocast_enabled(device)
    except RuntimeError:  # a device that has none
        casts = False
    return torch.autocast(device, enabled=False) if casts else contextlib.nullcontext()


def _run(spec, x, lengths, reset, states, parameters, begin=0):
    """Steps of x from `states` on; the first of them is step `begin` of the sequence."""
    step, named = STEPS[spec.unit.name], dict(zip(spec.parameter_shapes, parameters))
    outputs = []
    with _full_precision(x.device.type):
        for t in range(x.shape[0]):
            before = states
            if reset is not None:
                cut = reset[t].bool()
                before = [torch.where(_by_sample(cut, s), 0.0, s) for s in states]
            y, after = step(spec.options, x[t], dict(zip(spec.state_shapes, before)), named)
            if lengths is not None:
                live = begin + t < lengths
                y = torch.where(_by_sample(live, y), y, 0.0)
                after = [torch.where(_by_sample(live, new), new, old) for new, old in zip(after, states)]
            outputs.append(y)
            states = after
    return torch.stack(outputs), states


def _by_sample(mask, tensor):
    return mask.reshape(-1, *[1] * (tensor.dim() - 1))


def _zeros(spec, x):
    return [torch.zeros((x.shape[1], *shape), dtype=spec.dtype, device=x.device) for shape in spec.state_shapes.values()]


def segment_length(steps):
    return max(1, math.isqrt(steps))


def forward(spec, is_step, x, lengths, reset, states, parameters, keep):
    """As kernel.forward: outputs, the final state's tensors; and the states at the start of every segment (without `keep`:
    none)."""
    if is_step:
        y, finals, kept = forward(spec, False, x.unsqueeze(0), lengths, reset, states, parameters, keep)
        return y.squeeze(0), [final.squeeze(0) for final in finals], kept
    x = _inputs(spec, x)
    begin, end = spec.plain_columns
    if begin < end and states and bool(states[list(spec.state_shapes).index("F")][..., begin:end].any()):
        raise ValueError(f"F of the state has a value other than 0 in one of columns {begin} to {end - 1}, but that has no plasticity")
    states = [state.reshape(x.shape[1], *shape) for state, shape in zip(states, spec.state_shapes.values())] or _zeros(spec, x)
    if x.shape[0] == 0 or x.shape[1] == 0:
        return x.new_zeros((*x.shape[:2], spec.hidden)), [state.unsqueeze(0).clone() for state in states], []
    kept, outputs, S = [], [], segment_length(x.shape[0])
    with torch.no_grad():
        for begin in range(0, x.shape[0], S):
            kept += states if keep else []
            part = slice(begin, begin + S)
            y, states = _run(spec, x[part], lengths, None if reset is None else reset[part], states, parameters, begin)
            outputs.append(y)
    return torch.cat(outputs), [state.unsqueeze(0) for state in states], kept


def backward(spec, is_step, x, lengths, reset, kept, parameters, dy, dstates):
    """Gradients of inputs (None for tokens and bytes), of the starting state and of the parameters."""
    if is_step:
        dx, passed, dparameters = backward(spec, False, x.unsqueeze(0), lengths, reset, kept, parameters,
                                           None if dy is None else dy.unsqueeze(0), dstates)
        return None if dx is None else dx.squeeze(0), [state.squeeze(0) for state in passed], dparameters
    has_dx, x, S = x.is_floating_point(), _inputs(spec, x), segment_length(x.shape[0])
    dstates = [state if g is None else g.reshape(state.shape) for state, g in zip(_zeros(spec, x), dstates)]
    dx, dparameters = torch.zeros_like(x), [torch.zeros_like(p) for p in parameters]
    if x.shape[0] == 0 or x.shape[1] == 0:
        return dx if has_dx else None, [state.unsqueeze(0) for state in dstates], dparameters
    own = [p.detach().requires_grad_() for p in parameters]
    width = len(spec.state_shapes)
    for index in reversed(range(-(-x.shape[0] // S))):
        part = slice(index * S, index * S + S)
        with torch.enable_grad():
            rows = x[part].detach().requires_grad_()
            states = [state.detach().requires_grad_() for state in kept[index * width:(index + 1) * width]]
            y, after = _run(spec, rows, lengths, None if reset is None else reset[part], states, own, part.start)
            results = [(out, g) for out, g in zip([y, *after], [None if dy is None else dy[part], *dstates])
                       if g is not None and out.requires_grad]
            wanted = [rows, *states, *own]
            found = torch.autograd.grad([out for out, _ in results], wanted, [g for _, g in results], allow_unused=True) \
                if results else [None] * len(wanted)
        if found[0] is not None:
            dx[part] = found[0]
        dstates = [torch.zeros_like(state) if g is None else g for state, g in zip(states, found[1:])]
        for total, g in zip(dparameters, found[1 + width:]):
            if g is not None:
                total += g
    return dx if has_dx else None, [state.unsqueeze(0) for state in dstates], dparameters
