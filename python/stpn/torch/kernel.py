"""Forward and backward through the C library, on tensors of the CPU.

A call borrows a work space (a net with its state and tape) from its unit's idle ones. What a forward pass leaves for the
backward pass stays in its work space, so it holds the parameters of that pass whatever becomes of them meanwhile; a ticket
stands for it, a tensor that autograd saves and frees with the graph, which gives the work space back.
"""
import itertools
import weakref

import torch

from ..library import NULL, borrowed_pool, check, ffi, lib, made, new_error

CHUNK = 16  # samples that one thread takes
IDLE_MOST = 4  # work spaces of a unit that are kept for later calls
_KINDS = {torch.float32: lib.STPN_INPUT_FLOAT, torch.float64: lib.STPN_INPUT_DOUBLE, torch.uint8: lib.STPN_INPUT_BYTE,
          torch.int32: lib.STPN_INPUT_TOKEN}
_BYTES, _INTS, _VALUES = ffi.typeof("uint8_t *"), ffi.typeof("int32_t *"), ffi.typeof("void *")


def _values(tensor):
    return ffi.cast(_VALUES, tensor.data_ptr())


class WorkSpace:
    """A net with what it needs: used by one call after the other."""

    def __init__(self, spec):
        self.spec, self.error, self.sequence = spec, ffi.new(new_error), ffi.new("stpn_sequence *")
        self.net = spec.create_net()
        self.parameters = lib.stpn_net_parameters(self.net)
        self.batch = self.tape_batch = self.tape_steps = self.tape_threads = 0
        self.state = self.adjoint = self.tape = self.gradient = None

    def set_parameters(self, parameters):
        for index, (tensor, shape) in enumerate(zip(parameters, self.spec.parameter_shapes.values())):
            if tensor.shape != shape or tensor.dtype is not self.spec.dtype:
                raise ValueError(f"{list(self.spec.parameter_shapes)[index]} is {tensor.dtype} {tuple(tensor.shape)}, "
                                 f"expected {self.spec.dtype} {shape}")
            lib.stpn_block_set(self.net, self.parameters, index, _values(tensor.contiguous()))

    def _state(self):
        return made(lib.stpn_state_create, lib.stpn_state_free, self.net, self.batch)

    def start(self, batch, states):
        if batch != self.batch:
            self.batch, self.adjoint = batch, None
            self.state = self._state()
        else:
            lib.stpn_state_zero(self.state)
        if states:
            self._set(self.state, states)

    def _set(self, state, tensors):
        for place, tensor in zip(self.spec.state_places.values(), tensors):
            if tensor is not None:
                check(lib.stpn_state_set(state, place, _values(tensor.contiguous()), self.error), self.error)

    def _get(self, state):
        spec, batch = self.spec, self.batch
        found = [torch.empty((batch, *shape), dtype=spec.dtype) for shape in spec.state_shapes.values()]
        for place, tensor in zip(spec.state_places.values(), found):
            lib.stpn_state_get(state, place, _values(tensor))
        return found

    def threads(self):
        """No more than there are chunks of samples."""
        return min(torch.get_num_threads(), (self.batch + CHUNK - 1) // CHUNK, 256)

    def forward(self, x, lengths, reset, keep, energy=None):
        """Runs the sequence from the state; returns outputs and the final state's tensors."""
        T, B = x.shape[:2]
        y, threads = torch.empty((T, B, self.spec.hidden), dtype=self.spec.dtype), self.threads()
        if keep:
            if self.tape_batch != B or self.tape_steps < T or self.tape_threads < threads:
                self.tape = None
                self.tape = made(lib.stpn_tape_create, lib.stpn_tape_free, self.net, T, B, threads)
                self.tape_batch, self.tape_steps, self.tape_threads = B, T, threads
            else:
                lib.stpn_tape_rewind(self.tape)
        q = self.sequence
        q.steps, q.batch, q.type, q.x = T, B, _KINDS[x.dtype], _values(x)
        q.reset = NULL if reset is None else ffi.cast(_BYTES, reset.data_ptr())
        q.lengths = NULL if lengths is None else ffi.cast(_INTS, lengths.data_ptr())
        with borrowed_pool(threads) as pool:
            check(lib.stpn_forward(self.net, self.state, q, _values(y), NULL if energy is None else _values(energy),
                                   self.tape if keep else NULL, pool, self.error), self.error)
        return y, self._get(self.state)

    def backward(self, steps, dy, dstates, wants_x, wants_states, wanted):
        """Gradients of inputs, of the starting state (or None each), and of the parameters that are wanted."""
        spec, B = self.spec, self.batch
        if self.gradient is None:
            self.gradient = ffi.gc(lib.stpn_block_create(self.net), lib.stpn_block_free)
            if self.gradient == NULL:
                raise MemoryError("no memory for a gradient")
        else:
            size = lib.stpn_net_block_size(self.net) * spec.dtype.itemsize
            ffi.memmove(self.gradient, bytes(size), size)
        dy = torch.zeros((steps, B, spec.hidden), dtype=spec.dtype) if dy is None else dy.contiguous()
        adjoint = NULL
        if wants_states or any(gradient is not None for gradient in dstates):
            if self.adjoint is None:
                self.adjoint = self._state()
            else:
                lib.stpn_state_zero(self.adjoint)
            adjoint = self.adjoint
            self._set(adjoint, [self._plastic_only(name, g) for name, g in zip(spec.state_shapes, dstates)])
        dx = torch.empty((steps, B, spec.inputs), dtype=spec.dtype) if wants_x else None
        with borrowed_pool(min(self.threads(), self.tape_threads)) as pool:
            check(lib.stpn_backward(self.net, self.tape, _values(dy), adjoint, self.gradient,
                                    NULL if dx is None else _values(dx), pool, self.error), self.error)
        dparameters = []
        for index, shape in enumerate(spec.parameter_shapes.values()):
            dparameters.append(torch.empty(shape, dtype=spec.dtype) if wanted[index] else None)
            if wanted[index]:
                lib.stpn_block_get(self.net, self.gradient, index, _values(dparameters[-1]))
        return dx, self._get(adjoint) if wants_states else [None] * len(spec.state_shapes), dparameters

    def _plastic_only(self, name, gradient):
        """Columns without plasticity hold zeros: what flows to them ends there."""
        begin, end = self.spec.plain_columns
        if name != "F" or gradient is None or begin == end:
            return gradient
        gradient = gradient.clone()
        gradient[..., begin:end] = 0
        return gradient


class _Ticket(bytearray):
    """The memory of a ticket; when the last tensor over it goes, the work space is idle again."""

    def __del__(self):
        idle = self.space.spec.idle
        if len(idle) < IDLE_MOST:
            idle.append(self.space)


_tickets = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


def _ticket(space):
    number = next(_numbers)
    memory = _Ticket(number.to_bytes(8, "little"))
    memory.space = space
    _tickets[number] = memory
    return torch.frombuffer(memory, dtype=torch.int64)


def no_ticket():
    """Where there is nothing to go back through."""
    return torch.zeros(1, dtype=torch.int64)


def forward(spec, x, lengths, reset, states, parameters, keep, energy=None):
    """Outputs (T, B, H), the final state's tensors, and a ticket (None without `keep`).

    x is (T, B, I) of float32, float64 or uint8, or (T, B) of int32; lengths (B) int32 or None; reset (T, B) uint8 or None;
    all in one piece. `states` is empty for zeros.
    """
    if x.shape[0] == 0 or x.shape[1] == 0:
        shape = x.shape[0], x.shape[1]
        finals = [state.clone() for state in states] or [
            torch.zeros((shape[1], *size), dtype=spec.dtype) for size in spec.state_shapes.values()]
        return torch.zeros((*shape, spec.hidden), dtype=spec.dtype), finals, no_ticket() if keep else None
    try:
        space = spec.idle.pop()
    except IndexError:
        space = WorkSpace(spec)
    try:
        space.set_parameters(parameters)
        space.start(x.shape[1], states)
        y, finals = space.forward(x, lengths, reset, keep, energy)
    except ValueError:
        spec.idle.append(space)
        raise
    if keep:
        return y, finals, _ticket(space)
    spec.idle.append(space)
    return y, finals, None


def backward(spec, ticket, shape, again, dy, dstates, wants_x, wants_states, wanted):
    """The gradient that a ticket stands for: dx, the starting state's, the parameters'.

    `shape` is (T, B); `again` runs the forward pass anew where the ticket's work space is gone, and returns another ticket.
    """
    if shape[0] == 0 or shape[1] == 0:
        dx = torch.zeros((*shape, spec.inputs), dtype=spec.dtype) if wants_x else None
        passed = [torch.zeros((shape[1], *size), dtype=spec.dtype) if g is None else g.clone()
                  for size, g in zip(spec.state_shapes.values(), dstates)]
        return dx, passed, [torch.zeros(size, dtype=spec.dtype) for size in spec.parameter_shapes.values()]
    memory = _tickets.get(ticket.item())
    if memory is None:
        ticket = again()
        memory = _tickets[ticket.item()]
    return memory.space.backward(shape[0], dy, dstates, wants_x, wants_states, wanted)

