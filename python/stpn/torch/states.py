"""What a layer's state looks like outside: tensors h first, each (num_layers, B, ...)."""
from typing import Any, Tuple, Union

import torch

State = Union[torch.Tensor, Tuple[Any, ...]]  # of a layer, as a user sees it


class StateLayout:
    """The tensors of a state: one by itself, several as a tuple, none as ().

    A tensor whose shape depends on a layer's inputs (F of the STP neuron, A of HebbFF) is a tuple of (B, H, K) where there are
    several layers; every other is stacked, (num_layers, B, ...).
    """

    def __init__(self, specs):
        self.names = list(specs[0].state_shapes)
        self.shapes = [list(each.state_shapes.values()) for each in specs]
        self.layers = len(specs)
        by_input = {"stpn_r": "F", "stpn_f": "F", "hebbff": "A"}.get(specs[0].unit.name)
        self.stacked = [self.layers == 1 or name != by_input for name in self.names]

    def __str__(self):
        if len(self.names) == 1:
            return self._text(self.names[0], self.stacked[0])
        return f"({', '.join(self._text(name, stacked) for name, stacked in zip(self.names, self.stacked))})"

    def _text(self, name, stacked):
        return f"{name} ({self.layers}, B, ...)" if stacked else f"{name} a tuple of {self.layers}"

    def pack(self, parts):
        """A state of its parts, one for each name."""
        return parts[0] if len(parts) == 1 else tuple(parts)

    def parts(self, state):
        """The other way round; ValueError where the state is something else."""
        if len(self.names) == 1 and (isinstance(state, torch.Tensor) or not self.stacked[0]):
            state = (state,)
        if not isinstance(state, (tuple, list)) or len(state) != len(self.names):
            raise ValueError(f"the state is something else than {self}")
        for part, name, stacked in zip(state, self.names, self.stacked):
            if stacked and not isinstance(part, torch.Tensor):
                raise TypeError(f"{name} of the state is a {type(part).__name__}, expected a tensor")
            if not stacked and not (isinstance(part, (tuple, list)) and all(isinstance(each, torch.Tensor) for each in part)):
                raise TypeError(f"{name} of the state must be a tuple of {self.layers} tensors, one a layer")
            if len(part) != self.layers:
                raise ValueError(f"{name} of the state is of {len(part)} layers, expected {self.layers}")
        return state

    def mapped(self, state, change):
        """`change(tensor, dimension of the batch)` of every tensor; None of None."""
        if state is None:
            return None
        return self.pack([change(part, 1) if isinstance(part, torch.Tensor) else tuple(change(each, 0) for each in part)
                          for part in self.parts(state)])

    def check_batch(self, state, batch=None):
        """ValueError where the state is without a batch, as its neurons would be taken for samples, or of other than `batch`."""
        if state is None:
            return
        for name, shape, part in zip(self.names, self.shapes[0], self.parts(state)):
            for tensor, at in [(part, 1)] if isinstance(part, torch.Tensor) else [(each, 0) for each in part]:
                if tensor.dim() != at + 1 + len(shape):
                    raise ValueError(f"{name} of the state has {tensor.dim()} dimensions, expected {at + 1 + len(shape)}: a batch")
                if batch is not None and tensor.shape[at] != batch:
                    raise ValueError(f"{name} of the state is of {tensor.shape[at]} samples, expected {batch}")

    def by_layer(self, state, batch, like):
        """For each layer its tensors (1, B, ...), of the type and on the device of `like`; none where the state is None."""
        if state is None:
            return [()] * self.layers
        parts, found = self.parts(state), []
        for layer, shapes in enumerate(self.shapes):
            tensors = []
            for name, shape, part in zip(self.names, shapes, parts):
                if self.layers > 1:
                    part = part[layer].unsqueeze(0)
                tensors.append(checked(f"{name} of layer {layer} of the state", part, (1, batch, *shape), like))
            found.append(tensors)
        return found

    def join(self, finals):
        """A state of each layer's tensors (1, B, ...)."""
        if self.layers == 1:
            return self.pack(finals[0])
        return self.pack([torch.cat(part) if stacked else tuple(each.squeeze(0) for each in part)
                          for stacked, part in zip(self.stacked, zip(*finals))])


def one_state(state, hx):
    """The state by either of its names."""
    if hx is None:
        return state
    if state is not None:
        raise TypeError("state and hx are given, expected one of them: they are two names of the same")
    return hx


def checked(name, tensor, shape, like):
    """A tensor of that shape, and of the type and on the device of `like`."""
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
    if tensor.dtype is not like.dtype:
        raise TypeError(f"{name} is {tensor.dtype}, the parameters are {like.dtype}")
    if tensor.device != like.device:
        raise RuntimeError(f"{name} is on {tensor.device}, the parameters are on {like.device}")
    return tensor
