"""Forward and backward through the C library, on tensors of the CPU.

A call borrows a work space (a net with its state and tape) from its unit's idle ones. What a forward pass leaves for the
backward pass stays in its work space, so it holds the parameters of that pass whatever becomes of them meanwhile; a ticket
stands for it, a tensor that autograd saves and frees with the graph, which gives the work space back.
"""
import functools

import torch

from ..library import NULL, borrowed_pool, check, ffi, lib, made, new_error
from .spec import DTYPES

IDLE_MOST = 4  # work spaces of a unit that are kept for later calls
_KINDS = {torch.float32: lib.STPN_INPUT_FLOAT, torch.float64: lib.STPN_INPUT_DOUBLE, torch.uint8: lib.STPN_INPUT_BYTE,
          torch.int32: lib.STPN_INPUT_TOKEN}
_BYTES, _INTS, _VALUES = ffi.typeof("uint8_t *"), ffi.typeof("int32_t *"), ffi.typeof("void *")
# Looked up once: they are called for every tensor.
_cast = ffi.cast
# C writes to them, so they are on the CPU whatever PyTorch's default device is.
_empty, _zeros, _full = (functools.partial(make, device="cpu") for make in (torch.empty, torch.zeros, torch.full))
# The way to a new tensor that takes PyTorch least time: new(2, 3).
_new = {dtype: _empty(0, dtype=dtype).new_empty for dtype in DTYPES}
_block_set, _block_get, _state_get = lib.stpn_block_set, lib.stpn_block_get, lib.stpn_state_get


def _values(tensor):
    return _cast(_VALUES, tensor.data_ptr())


def _solid(tensor):
    """The values as they lie in memory: in one piece, and not to be negated when they are read (tensor.is_neg())."""
    return tensor.resolve_neg().contiguous()


def _new_states(spec, lead):
    new = _new[spec.dtype]
    return [new(*lead, *shape) for shape in spec.state_shapes.values()]


class WorkSpace:
    """A net with what it needs: used by one call after the other."""

    def __init__(self, spec):
        self.spec, self.error, self.sequence = spec, ffi.new(new_error), ffi.new("stpn_sequence *")
        self.finals = self.sequence.finals = ffi.new("void *[]", len(spec.places))
        self.net = spec.create_net()
        self.parameters = lib.stpn_net_parameters(self.net)
        self.batch = self.tape_batch = self.tape_steps = self.tape_threads = 0
        self.state = self.adjoint = self.tape = self.gradient = None

    def set_parameters(self, parameters):
        net, block, dtype, index = self.net, self.parameters, self.spec.dtype, 0
        for tensor, shape in zip(parameters, self.spec.shapes):
            if tensor.shape != shape or tensor.dtype is not dtype:
                raise ValueError(f"{list(self.spec.parameter_shapes)[index]} is {tensor.dtype} {tuple(tensor.shape)}, "
                                 f"expected {dtype} {shape}")
            if tensor.is_neg() or not tensor.is_contiguous():
                tensor = _solid(tensor)
            _block_set(net, block, index, _cast(_VALUES, tensor.data_ptr()))
            index += 1

    def _state(self):
        return made(lib.stpn_state_create, lib.stpn_state_free, self.net, self.batch)

    def start(self, batch, states):
        if batch != self.batch:
            self.batch, self.adjoint = batch, None
            self.state = self._state()
        self.sequence.fresh = not states
        if states:
            self._set(self.state, states)

    def _set(self, state, tensors):
        for place, tensor in zip(self.spec.places, tensors):
            if tensor is not None:
                tensor = _solid(tensor)  # a name: it must live as long as the call
                check(lib.stpn_state_set(state, place, _values(tensor), self.error), self.error)

    def _get(self, state, lead):
        found = _new_states(self.spec, (*lead, self.batch))
        for place, tensor in zip(self.spec.places, found):
            _state_get(state, place, _values(tensor))
        return found

    def threads(self):
        """No more than there are chunks of samples."""
        chunks = (self.batch - 1) // lib.stpn_chunk_size(self.batch) + 1
        return 1 if chunks == 1 else min(torch.get_num_threads(), chunks, 256)

    def forward(self, T, x, lengths, reset, keep, y, finals):
        """Runs the sequence from the state, outputs to `y`, the state after it to the tensors `finals`."""
        B, threads = self.batch, self.threads()
        if keep:
            if self.tape_batch != B or self.tape_steps < T or self.tape_threads < threads:
                self.tape = None
                self.tape = made(lib.stpn_tape_create, lib.stpn_tape_free, self.net, T, B, threads)
                self.tape_batch, self.tape_steps, self.tape_threads = B, T, threads
            else:
                lib.stpn_tape_rewind(self.tape)
        q = self.sequence
        q.steps, q.batch, q.type, q.x = T, B, _KINDS[x.dtype], _values(x)
        for place, tensor in zip(self.spec.places, finals):
            self.finals[place] = _values(tensor)
        q.reset = NULL if reset is None else ffi.cast(_BYTES, reset.data_ptr())
        q.lengths = NULL if lengths is None else ffi.cast(_INTS, lengths.data_ptr())
        arguments = (self.net, self.state, q, _values(y), NULL, self.tape if keep else NULL)
        if threads == 1:
            status = lib.stpn_forward(*arguments, NULL, self.error)
        else:
            with borrowed_pool(threads) as pool:
                status = lib.stpn_forward(*arguments, pool, self.error)
        if status:
            check(status, self.error)

    def backward(self, steps, dy, dstates, dx, wants_states, wanted, lead):
        """Gradients of the starting state (or None each) and of the parameters that are wanted; that of the inputs to `dx`
        where that is a tensor."""
        spec, B = self.spec, self.batch
        if self.gradient is None:
            self.gradient = ffi.gc(lib.stpn_block_create(self.net), lib.stpn_block_free)
            if self.gradient == NULL:
                raise MemoryError("no memory for a gradient")
            self.zeros = bytes(lib.stpn_net_block_size(self.net) * spec.dtype.itemsize)
        else:
            ffi.memmove(self.gradient, self.zeros, len(self.zeros))
        dy = _zeros((steps, B, spec.hidden), dtype=spec.dtype) if dy is None else _solid(dy)
        adjoint = NULL
        if wants_states or any(gradient is not None for gradient in dstates):
            if self.adjoint is None:
                self.adjoint = self._state()
            else:
                lib.stpn_state_zero(self.adjoint)
            adjoint = self.adjoint
            if any(g is not None and bool(torch.isnan(g).any()) for g in dstates):
                return self._not_a_number(dx, wants_states, wanted, lead)
            self._set(adjoint, [self._plastic_only(name, g) for name, g in zip(spec.state_shapes, dstates)])
        arguments = (self.net, self.tape, _values(dy), adjoint, self.gradient, NULL if dx is None else _values(dx))
        threads = min(self.threads(), self.tape_threads)
        if threads == 1:
            status = lib.stpn_backward(*arguments, NULL, self.error)
        else:
            with borrowed_pool(threads) as pool:
                status = lib.stpn_backward(*arguments, pool, self.error)
        if status:
            check(status, self.error)
        dparameters, index, net, block, new = [], 0, self.net, self.gradient, _new[spec.dtype]
        for shape in spec.shapes:
            tensor = None
            if wanted[index]:
                tensor = new(*shape)
                _block_get(net, block, index, _cast(_VALUES, tensor.data_ptr()))
            dparameters.append(tensor)
            index += 1
        return self._get(adjoint, lead) if wants_states else [None] * len(spec.places), dparameters

    def _not_a_number(self, dx, wants_states, wanted, lead):
        """What a gradient that is not a number leads to; the library takes none into a state."""
        nan = float("nan")
        if dx is not None:
            dx.fill_(nan)
        dstates = [_full((*lead, self.batch, *shape), nan, dtype=self.spec.dtype) if wants_states else None
                   for shape in self.spec.state_shapes.values()]
        return dstates, [_full(shape, nan, dtype=self.spec.dtype) if want else None
                         for shape, want in zip(self.spec.shapes, wanted)]

    def _plastic_only(self, name, gradient):
        """Columns without plasticity hold zeros: what flows to them ends there."""
        begin, end = self.spec.plain_columns
        if name != "F" or gradient is None or begin == end:
            return gradient
        gradient = gradient.clone()
        gradient[..., begin:end] = 0
        return gradient


_held = {}  # work spaces by the address of their tickets


class _Ticket(bytearray):
    """The memory of a ticket; when the last tensor over it goes, the work space is idle again."""

    __slots__ = ("address",)

    def __del__(self):
        space = _held.pop(self.address)
        if len(space.spec.idle) < IDLE_MOST:
            space.spec.idle.append(space)


def _ticket(space):
    """A tensor that holds the work space."""
    memory = _Ticket(8)
    ticket = torch.frombuffer(memory, dtype=torch.int64)
    memory.address = ticket.data_ptr()
    _held[memory.address] = space
    return ticket


def no_ticket():
    """Where there is nothing to go back through."""
    return _zeros(1, dtype=torch.int64)


def space_of(ticket):
    """The work space that a ticket stands for; None where it is gone, or the tensor is a copy of one."""
    return _held.get(ticket.data_ptr())


def shape_of(x, is_step):
    """T and B of inputs."""
    return (1, x.shape[0]) if is_step else x.shape[:2]


def forward(spec, is_step, x, lengths, reset, states, parameters, keep):
    """Outputs, the final state's tensors, and with `keep` a ticket (else None).

    x is (T, B, I) of float32, float64 or uint8, or (T, B) of int32; lengths (B) int32 or None; reset (T, B) uint8 or None;
    all in one piece. `states` is empty for zeros. Outputs are (T, B, H), states (1, B, ...). In a single step (`is_step`) x, the
    outputs and the states lack the first dimension.
    """
    T, B = shape_of(x, is_step)
    lead = () if is_step else (1,)
    if x.is_neg():
        x = x.resolve_neg()
    new = _new[spec.dtype]
    y = new(B, spec.hidden) if is_step else new(T, B, spec.hidden)
    if T == 0 or B == 0:
        finals = [state.clone() for state in states] or [
            _zeros((*lead, B, *size), dtype=spec.dtype) for size in spec.state_shapes.values()]
        return y, finals, no_ticket() if keep else None
    try:
        space = spec.idle.pop()
    except IndexError:
        space = WorkSpace(spec)
    try:
        space.set_parameters(parameters)
        space.start(B, states)
        finals = _new_states(spec, (*lead, B))
        space.forward(T, x, lengths, reset, keep, y, finals)
    except ValueError:
        spec.idle.append(space)
        raise
    if keep:
        return y, finals, _ticket(space)
    spec.idle.append(space)
    return y, finals, None


def backward(spec, is_step, space, x_shape, dy, dstates, wants_x, wants_states, wanted):
    """The gradient of what `space` has done: dx (or None), the starting state's, the parameters'. `x_shape` is that of x."""
    T, B = (1, x_shape[0]) if is_step else x_shape[:2]
    lead = () if is_step else (1,)
    if T == 0 or B == 0:
        passed = [_zeros((*lead, B, *size), dtype=spec.dtype) if g is None else g.clone()
                  for size, g in zip(spec.state_shapes.values(), dstates)]
        dx = _zeros(x_shape, dtype=spec.dtype) if wants_x else None
        return dx, passed, [_zeros(size, dtype=spec.dtype) for size in spec.shapes]
    dx = _new[spec.dtype](*x_shape) if wants_x else None
    return (dx, *space.backward(T, dy, dstates, dx, wants_states, wanted, lead))
