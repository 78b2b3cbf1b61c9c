"""What a call needs to know of one unit with its inputs: names and shapes, told by the C library."""
from __future__ import annotations  # Python 3.9

import json

import torch

from ..library import Unit, create_net, ffi, lib, made, tensors_of

DTYPES = {torch.float32: False, torch.float64: True}
_PREFIX = len("units.0.")


def text_of(unit, inputs, dtype):
    """A unit as a text, which is what goes through torch.compile; `spec` reads it."""
    return json.dumps([unit.name, unit.hidden, unit.given, inputs, DTYPES[dtype]])


class Spec:
    """One unit with its inputs and its type of values; shapes without the batch."""

    def __init__(self, text):
        name, hidden, options, self.inputs, self.double = json.loads(text)
        self.text, self.unit, self.hidden = text, Unit(name, hidden, **options), hidden
        self.options = self.unit.options
        self.dtype = torch.float64 if self.double else torch.float32
        net = self.create_net()
        self.parameter_shapes = {tensor[_PREFIX:]: shape for tensor, shape in tensors_of(
            lambda index, tensor: lib.stpn_net_tensor(net, index, tensor)).items()}
        state = made(lib.stpn_state_create, lib.stpn_state_free, net, 1)
        shapes = {tensor[_PREFIX:]: shape[1:] for tensor, shape in tensors_of(
            lambda index, tensor: lib.stpn_state_tensor(state, index, tensor)).items()}
        # h first, as in nn.LSTM; places are those in the C library.
        self.state_places = {tensor: list(shapes).index(tensor) for tensor in sorted(shapes, key=lambda word: word != "h")}
        self.state_shapes = {tensor: shapes[tensor] for tensor in self.state_places}
        self.shapes, self.places = list(self.parameter_shapes.values()), list(self.state_places.values())
        self.plain_columns = self._plain_columns()
        self.idle = []  # work spaces (kernel.py) that no call holds

    def create_net(self):
        try:
            return create_net(self.inputs, [self.unit], double=self.double)
        except ValueError as problem:  # there is no other unit
            raise ValueError(str(problem).replace("units[0].", "").replace("units[0]", "the unit")) from None

    def _plain_columns(self):
        """Columns [begin, end) of F without plasticity."""
        columns = self.state_shapes["F"][1] if "F" in self.state_shapes else 0
        return {"input": (self.inputs, columns), "hidden": (0, self.inputs)}.get(self.options.get("plastic"), (0, 0))

    def initial(self, seed):
        """The initial parameters of a seed, by name."""
        net, values = self.create_net(), {}
        lib.stpn_net_init(net, seed)
        for index, (name, shape) in enumerate(self.parameter_shapes.items()):
            values[name] = torch.empty(shape, dtype=self.dtype, device="cpu")
            lib.stpn_block_get(net, lib.stpn_net_parameters(net), index, ffi.cast("void *", values[name].data_ptr()))
        return values


_specs: dict[str, Spec] = {}


def spec(text):
    """The Spec of a text; the same object for the same text."""
    found = _specs.get(text)
    if found is None:
        found = _specs.setdefault(text, Spec(text))
    return found


def empty_cache() -> None:
    """Frees the memory that is kept for later calls: work spaces that no graph holds."""
    for each in list(_specs.values()):
        each.idle.clear()
