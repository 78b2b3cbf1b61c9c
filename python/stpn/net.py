"""Networks in NumPy: the C interface's nets, states, tapes and optimiser as classes (docs/python.md).

Arrays have the shapes of stpn.h: T steps, B samples, I inputs, H neurons; sequences are (T, B, ...). Arrays that C reads are
taken as they are where they lie in one piece, and copied otherwise; C writes straight into the arrays it is given. Python's
global lock is free while C works. One state, tape or gradient serves one call at a time; the calls say so where they meet.
"""
from __future__ import annotations  # Python 3.9

import os
import threading
from collections.abc import Iterator, KeysView, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from .library import (INT_MOST, NULL, Unit, borrowed_pool, check, create_net, described, ffi, integer, lib, made, new_error,
                      number, pointer, reading, tensors_of, writing)
from .run_files import RunError, load_run

__all__ = ["Adam", "Block", "Net", "State", "Tape", "Unit", "kernels", "version"]

Array = npt.NDArray[Any]  # of the net's type, where nothing else is said


def version() -> str:
    """The library's version, "MAJOR.MINOR.PATCH"."""
    return ffi.string(lib.stpn_version()).decode()


def kernels() -> list[str]:
    """Names of the kernels that this processor runs, first the one that is taken: ["avx2", "portable"]. The environment variable
    STPN_KERNEL forces another."""
    names = []
    while (name := lib.stpn_kernel_name(len(names))) != NULL:
        names.append(ffi.string(name).decode())
    return names


class _Used:
    """with used(a, b): nobody else's call works on them meanwhile; RuntimeError where one does."""

    def __init__(self, *objects):
        self.locks = [thing.lock for thing in objects if thing is not None]

    def __enter__(self):
        for index, lock in enumerate(self.locks):
            if not lock.acquire(blocking=False):
                for held in self.locks[:index]:
                    held.release()
                raise RuntimeError("a state, tape or block of parameters serves one call at a time, and one is under way")

    def __exit__(self, *problem):
        for lock in self.locks:
            lock.release()


class _Tensors:
    """Named tensors inside the library: reading one gives a copy, which is read-only; setting one copies it in."""

    def __init__(self, net: Any, shapes: dict[str, tuple[int, ...]]) -> None:
        self.net, self.shapes, self.lock = net, shapes, threading.Lock()
        self._index = {name: index for index, name in enumerate(shapes)}

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def keys(self) -> KeysView[str]:
        """The tensors' names."""
        return self.shapes.keys()

    def values(self) -> list[Array]:
        """[array], read-only copies of the values."""
        return [self[name] for name in self.shapes]

    def items(self) -> list[tuple[str, Array]]:
        """[(name, array)], read-only copies of the values."""
        return list(zip(self.shapes, self.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name} {shape}' for name, shape in self.shapes.items())})"

    def _place(self, name):
        if name not in self._index:
            raise KeyError(f"there is no tensor {name!r}, there are {', '.join(self.shapes) or 'none'}")
        return self._index[name]

    def __getitem__(self, name: str) -> Array:
        index = self._place(name)
        values = np.empty(self.shapes[name], self.net.dtype)
        with _Used(self):
            self._get(index, pointer(values))
        values.flags.writeable = False  # values[:] = 0 would change the copy alone, and nobody would notice
        return values

    def __setitem__(self, name: str, values: npt.ArrayLike) -> None:
        index = self._place(name)
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name} has values of type {array.dtype}, expected numbers")
        array = reading(name, array.astype(self.net.dtype, copy=False), self.net.dtype, self.shapes[name])
        with _Used(self):
            self._set(index, pointer(array))

    def update(self, values: Mapping[str, npt.ArrayLike]) -> None:
        """Sets the tensors that `values`, a mapping from names to arrays, has; the others stay."""
        for name in values:
            self[name] = values[name]


class Block(_Tensors):
    """Parameters, or a gradient: a mapping from the names of tensors ("units.0.weight") to arrays of the net's type.

    Made by Net.gradient; Net.parameters is one. Reading a tensor (`block["units.0.weight"]`) gives a copy, which is read-only;
    setting one (`block["units.0.weight"] = values`) copies it in. So `block[name] = 2 * block[name]`, and not `block[name] *= 2`.

    Attributes:
        shapes: {name: shape}.

    Raises KeyError for a name that there is not, ValueError for another shape, TypeError for values that are no numbers.
    """

    def __init__(self, net: Any, block: Any) -> None:
        super().__init__(net, tensors_of(lambda index, tensor: lib.stpn_net_tensor(net.handle, index, tensor)))
        self.handle = block

    def _get(self, index, values):
        lib.stpn_block_get(self.net.handle, self.handle, index, values)

    def _set(self, index, values):
        lib.stpn_block_set(self.net.handle, self.handle, index, values)

    def zero(self) -> None:
        """Sets every value to 0."""
        if self.handle == lib.stpn_net_parameters(self.net.handle):
            # The library must see that a tape's parameters change.
            self.update({name: np.zeros(shape, self.net.dtype) for name, shape in self.shapes.items()})
            return
        with _Used(self):
            ffi.buffer(self.handle, self.net.block_bytes)[:] = bytes(self.net.block_bytes)


class State(_Tensors):
    """What a sequence changes, for B samples: a mapping from names ("units.0.F", (B, H, K)) to arrays of the net's type. Zeros at
    first.

    Made by Net.state. Reading a tensor gives a copy, which is read-only, setting one copies it in, with the errors of Block;
    ValueError too for a NaN, and for an F that is not 0 in a column without plasticity.

    Attributes:
        batch: B.
        shapes: {name: shape}.
    """

    def __init__(self, net: Net, batch: int) -> None:
        self.batch = integer("batch", batch, 1)
        self.handle = made(lib.stpn_state_create, lib.stpn_state_free, net.handle, self.batch)
        super().__init__(net, tensors_of(lambda index, tensor: lib.stpn_state_tensor(self.handle, index, tensor)))

    def _get(self, index, values):
        lib.stpn_state_get(self.handle, index, values)

    def _set(self, index, values):
        error = ffi.new(new_error)
        check(lib.stpn_state_set(self.handle, index, values, error), error)

    def zero(self) -> None:
        """Sets every value to 0: the start of a sequence."""
        with _Used(self):
            lib.stpn_state_zero(self.handle)

    def copy(self) -> State:
        """Another state with the same values, which goes on to the same bits."""
        other = State(self.net, self.batch)
        with _Used(self):
            lib.stpn_state_copy(other.handle, self.handle)
        return other

    __copy__ = copy


class Tape:
    """What a forward pass leaves for the backward pass. F of every step is not in it: it is computed anew
    (docs/mathematics.md#4-rebuilding-f).

    Made by Net.tape. Several forward passes may follow each other on one tape; MemoryError where there is no room for it.
    ValueError where the parameters of units have changed between them, or before `backward`.

    Attributes:
        steps, batch: what it has room for.
    """

    def __init__(self, net: Net, steps: int, batch: int) -> None:
        self.net, self.steps, self.batch = net, integer("steps", steps, 1), integer("batch", batch, 1)
        self.lock = threading.Lock()
        with borrowed_pool(net.threads) as pool:
            threads = 1 if pool == NULL else lib.stpn_pool_threads(pool)
        self.handle = made(lib.stpn_tape_create, lib.stpn_tape_free, net.handle, self.steps, self.batch, threads)

    def rewind(self) -> None:
        """Forgets what was recorded."""
        with _Used(self):
            lib.stpn_tape_rewind(self.handle)

    def recorded(self) -> npt.NDArray[np.int32]:
        """Steps recorded of each sample, (B) int32."""
        return np.array([lib.stpn_tape_steps(self.handle, sample) for sample in range(self.batch)], np.int32)


class Net:
    """A network: units one after the other, then linear read-outs. Its parameters are 0 until `init`, `load` or `parameters`
    sets them.

    Args:
        inputs: I of the first unit; the number of symbols where the inputs are tokens.
        units: a Unit or a sequence of them, from the input to the output.
        heads: {name: outputs} of the read-outs of the last unit; their tensors are NAME.weight and NAME.bias.
        dtype: float32 or float64, of every value.
        threads: that share the samples of a call; 0: one per processor. The results have the same bits on any number.

    Attributes:
        inputs, units, heads, dtype, threads: as above.
        outputs: H, the neurons of the last unit.
        parameters: the Block of all parameters; setting one (`net.parameters["units.0.bias"] = values`) changes the network.

    Raises TypeError and ValueError for a description that is wrong, MemoryError where there is no room. A Net may be used by several
    threads at once; what changes in a call (State, Tape, Block) serves one call at a time, RuntimeError otherwise.

    >>> net = stpn.Net(37, stpn.Unit("stpn_r", 11), {"answer": 37}).init(0)
    >>> y = net.forward(tokens)                     # (T, B) integers to (T, B, 11)
    >>> logits = net.head("answer", y[-1])          # (B, 37)
    """

    def __init__(self, inputs: int, units: Unit | Sequence[Unit], heads: Mapping[str, int] | None = None,
                 dtype: npt.DTypeLike = np.float32, threads: int = 1) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}, expected float32 or float64")
        self.units = [units] if isinstance(units, Unit) else list(units)
        for unit in self.units:
            if not isinstance(unit, Unit):
                raise TypeError(f"units has a {type(unit).__name__} in it, expected Unit")
        if not (heads is None or isinstance(heads, Mapping)):
            raise TypeError(f"heads is {heads!r}, expected a dictionary: {{name: outputs}}")
        self.heads = dict(heads or {})
        self.threads = integer("threads", threads, 0, 256)
        self.handle = create_net(inputs, self.units, list(self.heads.items()), self.dtype == np.float64)
        self.inputs, self.outputs = integer("inputs", inputs), self.units[-1].hidden
        self.block_bytes = lib.stpn_net_block_size(self.handle) * self.dtype.itemsize
        self.parameters = Block(self, lib.stpn_net_parameters(self.handle))

    def __repr__(self) -> str:
        return f"Net({self.inputs}, {self.units}, {self.heads}, dtype={self.dtype}, threads={self.threads})"

    def __reduce__(self):
        """Copies and pickles: the same description and parameters."""
        return _net, ((self.inputs, self.units, self.heads, self.dtype, self.threads), dict(self.parameters.items()))

    @property
    def kernel(self) -> str:
        """Name of the kernel in use: which instructions the inner loops are compiled for."""
        return ffi.string(lib.stpn_net_kernel(self.handle)).decode()

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters."""
        return lib.stpn_net_parameter_count(self.handle)

    def init(self, seed: int) -> Net:
        """Draws the initial parameters of the paper (docs/units/). Returns the net.

        Args:
            seed: 0 to 2**64 - 1; gives the same values on every machine.
        """
        with _Used(self.parameters):
            lib.stpn_net_init(self.handle, integer("seed", seed, 0, 2**64 - 1))
        return self

    @classmethod
    def from_run(cls, folder: str | os.PathLike[str], which: str = "best", *, threads: int = 1) -> Net:
        """The network that a run of the command has trained, as its experiment describes it.

        Args:
            folder: of the run.
            which: "best", of the best evaluation, or "last".
            threads: as of Net.

        What comes before the network, as the scaling of observations by `normalise_observations`, is not in it. Raises RunError,
        whose message names the file and what is wrong with it.
        """
        inputs, units, heads, parameters = described(load_run(folder), which)
        try:
            net = cls(inputs, units, heads, threads=threads)
            net.parameters.update(parameters)
        except (KeyError, TypeError, ValueError) as problem:
            raise RunError(f"{os.fspath(folder)}: {problem}") from None
        return net

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the parameters to a safetensors file, atomically. OSError where the system refuses, ValueError where a value is not
        finite."""
        self._file(lib.stpn_net_save, path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Reads the parameters from a safetensors file by name: of `save`, of stpn.torch.save, or a run's best.safetensors or
        last.safetensors. Float32 and float64 are both taken.

        Raises FileNotFoundError where there is no such file, ValueError where a tensor is missing or wrong, or is of units with other
        options; the net then is as it was.
        """
        if not os.path.exists(path):
            raise FileNotFoundError(f"{os.fspath(path)}: there is no such file")
        self._file(lib.stpn_net_load, path)

    def _file(self, call, path):
        error = ffi.new(new_error)
        with _Used(self.parameters):
            check(call(self.handle, os.fsencode(path), error), error)

    def state(self, batch: int) -> State:
        """A State of `batch` samples, all zero."""
        return State(self, batch)

    def tape(self, steps: int, batch: int) -> Tape:
        """A Tape with room for `steps` steps of `batch` samples."""
        return Tape(self, steps, batch)

    def gradient(self) -> Block:
        """A Block of zeros, for `backward` and `head_backward` to add to."""
        block = lib.stpn_block_create(self.handle)
        if block == NULL:
            raise MemoryError("no memory for a gradient")
        return Block(self, ffi.gc(block, lib.stpn_block_free))

    # ------------------------------------------------------------------------------------------------ forward, backward

    def _inputs(self, x):
        x = np.asarray(x)
        kinds = {np.dtype(np.float32): lib.STPN_INPUT_FLOAT, np.dtype(np.float64): lib.STPN_INPUT_DOUBLE,
                 np.dtype(np.uint8): lib.STPN_INPUT_BYTE}
        if x.dtype in kinds:
            if x.ndim != 3 or x.shape[2] != self.inputs:
                raise ValueError(f"x has shape {x.shape}, expected (T, B, {self.inputs})")
            return np.require(x, requirements=["C", "A"]), kinds[x.dtype]
        if x.dtype.kind not in "iu":
            raise TypeError(f"x has values of type {x.dtype}, expected float32, float64, uint8, or integers as tokens")
        if x.ndim != 2:
            raise ValueError(f"x has shape {x.shape}, expected (T, B) tokens")
        if x.size and not (0 <= x.min() and x.max() <= INT_MOST):
            raise ValueError(f"x has tokens from {x.min()} to {x.max()}, expected 0 to {self.inputs - 1}")
        return np.require(x.astype(np.int32, copy=False), requirements=["C", "A"]), lib.STPN_INPUT_TOKEN

    def _own(self, kind, thing, name):
        if not isinstance(thing, kind):
            raise TypeError(f"{name} is a {type(thing).__name__}, expected {kind.__name__}")
        if thing.net is not self:
            raise ValueError(f"{name} belongs to another network")
        return thing

    @overload
    def forward(self, x: npt.ArrayLike, state: State | None = None, *, reset: npt.ArrayLike | None = None,
                lengths: npt.ArrayLike | None = None, tape: Tape | None = None, energy: Literal[False] | None = None,
                out: Array | None = None) -> Array: ...

    @overload
    def forward(self, x: npt.ArrayLike, state: State | None = None, *, reset: npt.ArrayLike | None = None,
                lengths: npt.ArrayLike | None = None, tape: Tape | None = None, energy: Literal[True] | Array,
                out: Array | None = None) -> tuple[Array, Array]: ...

    def forward(self, x: npt.ArrayLike, state: State | None = None, *, reset: npt.ArrayLike | None = None,
                lengths: npt.ArrayLike | None = None, tape: Tape | None = None, energy: bool | Array | None = None,
                out: Array | None = None) -> Array | tuple[Array, Array]:
        """Runs T steps of B samples through all units.

        Args:
            x: inputs (T, B, I) of float32, float64 or uint8 (as 0 to 255), or tokens (T, B) of an integer type.
            state: State of B samples (of more the first B), read as the start and left as the end; None: one of zeros.
            reset: (T, B), not 0 zeroes the sample's state before that step.
            lengths: (B), steps in [0, T] that each sample has.
            tape: Tape that the steps are appended to.
            energy: True, or an array (T, B): energy of all units (docs/energy.md), as a second result.
            out: array (T, B, H) for the outputs.

        Returns the last unit's outputs (T, B, H), or (outputs, energy), of the net's type; 0 beyond a sample's `lengths`.

        Raises TypeError and ValueError for an argument of another type or shape, for a token that there is not, and where the tape
        has no room for so many steps.
        """
        x, kind = self._inputs(x)
        T, B = x.shape[:2]
        integer("steps", T), integer("batch", B)
        if tape is not None:
            self._own(Tape, tape, "tape")
        y = writing("out", out, self.dtype, (T, B, self.outputs), x)
        told = None if energy is None or energy is False else writing(
            "energy", None if energy is True else energy, self.dtype, (T, B), x, y)
        if reset is not None:
            reset = np.ascontiguousarray(reading("reset", np.asarray(reset), np.asarray(reset).dtype, (T, B)) != 0)
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.dtype.kind not in "iu":
                raise TypeError(f"lengths has values of type {lengths.dtype}, expected integers")
            if lengths.size and not (0 <= lengths.min() and lengths.max() <= T):
                raise ValueError(f"lengths are from {lengths.min()} to {lengths.max()}, expected 0 to {T}")
            lengths = reading("lengths", lengths.astype(np.int32), np.int32, (B,))
        if B:
            state = State(self, B) if state is None else self._own(State, state, "state")
            sequence = ffi.new("stpn_sequence *", {"steps": T, "batch": B, "type": kind, "x": pointer(x)})
            if reset is not None:
                sequence.reset = ffi.cast("uint8_t *", reset.ctypes.data)
            if lengths is not None:
                sequence.lengths = ffi.cast("int32_t *", lengths.ctypes.data)
            error = ffi.new(new_error)
            with _Used(state, tape), borrowed_pool(self.threads) as pool:
                check(lib.stpn_forward(self.handle, state.handle, sequence, pointer(y), pointer(told),
                                       NULL if tape is None else tape.handle, pool, error), error)
        return y if told is None else (y, told)

    def step(self, x: npt.ArrayLike, state: State, out: Array | None = None) -> Array:
        """One step of streaming, with the same bits as `forward` over the whole sequence.

        Args:
            x: inputs (B, I) of the net's type.
            state: State of B samples, which goes on by a step.
            out: array (B, H) for the outputs: nothing is allocated then.

        Returns the last unit's outputs (B, H).
        """
        self._own(State, state, "state")
        x = reading("x", x, self.dtype, (state.batch, self.inputs))
        y = writing("out", out, self.dtype, (state.batch, self.outputs), x)
        with _Used(state):
            lib.stpn_step(self.handle, state.handle, pointer(x), pointer(y))
        return y

    def backward(self, tape: Tape, dy: npt.ArrayLike, gradient: Block, *, dstate: State | None = None,
                 dx: bool | Array | None = None) -> Array | None:
        """The exact gradient over everything that the tape has recorded.

        Args:
            tape: Tape of forward.
            dy: (T, B, H) gradient with respect to the outputs, T the tape's longest recording.
            gradient: Block that the parameters' gradient is added to; read-outs are untouched.
            dstate: State of B samples; in: gradient with respect to the final state; out: to the starting one.
            dx: True, or an array (T, B, I) of the net's type: the gradient with respect to the inputs is wanted.

        Returns that gradient, or None.

        Source: docs/mathematics.md#3-the-gradient. Raises TypeError and ValueError for an argument of another type or shape.
        """
        self._own(Tape, tape, "tape"), self._own(Block, gradient, "gradient")
        if gradient is self.parameters:
            raise ValueError("gradient is the network's parameters")
        if dstate is not None and self._own(State, dstate, "dstate").batch != tape.batch:
            raise ValueError(f"dstate has {dstate.batch} samples, expected the tape's {tape.batch}")
        T = int(tape.recorded().max())
        dy = reading("dy", dy, self.dtype, (T, tape.batch, self.outputs))
        if dx is not None and dx is not False:
            dx = writing("dx", None if dx is True else dx, self.dtype, (T, tape.batch, self.inputs), dy)
        else:
            dx = None
        error = ffi.new(new_error)
        with _Used(tape, gradient, dstate), borrowed_pool(self.threads) as pool:
            check(lib.stpn_backward(self.handle, tape.handle, pointer(dy), NULL if dstate is None else dstate.handle,
                                    gradient.handle, pointer(dx), pool, error), error)
        return dx

    # ------------------------------------------------------------------------------------------------ read-outs, losses

    def _head(self, name, y):
        if name not in self.heads:
            raise KeyError(f"there is no head {name!r}, there are {', '.join(self.heads) or 'none'}")
        y = np.asarray(y)
        if y.ndim == 0 or y.shape[-1] != self.outputs:
            raise ValueError(f"y has shape {y.shape}, expected (..., {self.outputs})")
        y = reading("y", y, self.dtype, y.shape)
        return list(self.heads).index(name), y, integer("rows", y.size // self.outputs), (*y.shape[:-1], self.heads[name])

    def head(self, name: str, y: npt.ArrayLike, out: Array | None = None) -> Array:
        """The read-out `name`, W y + b: outputs y (..., H) of the last unit to (..., outputs). KeyError where there is none."""
        index, y, rows, shape = self._head(name, y)
        out = writing("out", out, self.dtype, shape, y)
        if rows:
            lib.stpn_head_forward(self.handle, index, rows, pointer(y), pointer(out))
        return out

    def head_backward(self, name: str, y: npt.ArrayLike, dout: npt.ArrayLike, gradient: Block | None = None) -> Array:
        """Adds the read-out's gradient to the Block `gradient` and returns dy (..., H); `dout` is (..., outputs)."""
        index, y, rows, shape = self._head(name, y)
        dout, dy = reading("dout", dout, self.dtype, shape), np.empty(y.shape, self.dtype)
        if gradient is not None:
            self._own(Block, gradient, "gradient")
        if rows:
            with _Used(gradient):
                lib.stpn_head_backward(self.handle, index, rows, pointer(y), pointer(dout),
                                       NULL if gradient is None else gradient.handle, pointer(dy))
        return dy

    def cross_entropy(self, logits: npt.ArrayLike, labels: npt.ArrayLike, scale: float = 1.0) -> tuple[Array, Array]:
        """Softmax cross-entropy of logits (..., classes) and labels (...) in [0, classes).

        Returns the losses (...) in nats, and the gradient of `scale` times their sum with respect to the logits.
        """
        logits = np.asarray(logits)
        if logits.ndim == 0 or logits.shape[-1] == 0:
            raise ValueError(f"logits has shape {logits.shape}, expected (..., classes)")
        logits, labels = reading("logits", logits, self.dtype, logits.shape), np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels has values of type {labels.dtype}, expected integers")
        classes = logits.shape[-1]
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            raise ValueError(f"labels are from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
        labels = reading("labels", labels.astype(np.int32, copy=False), np.int32, logits.shape[:-1])
        losses, dlogits = np.empty(labels.shape, self.dtype), np.empty(logits.shape, self.dtype)
        scale = number("scale", scale)
        if labels.size:
            lib.stpn_cross_entropy(self.handle, integer("rows", labels.size), classes, pointer(logits),
                                   ffi.cast("int32_t *", labels.ctypes.data), scale, pointer(losses), pointer(dlogits))
        return losses, dlogits

    def clip_gradient(self, gradient: Block, value: float = 0.0, norm: float = 0.0) -> float:
        """Limits a gradient in place: every value to [-value, value], then its Euclidean norm to `norm`; 0 leaves that out.
        Returns the norm after the values were limited, before it was. ValueError for a bound below 0."""
        self._own(Block, gradient, "gradient")
        value, norm = number("value", value, 0), number("norm", norm, 0)
        with _Used(gradient):
            return lib.stpn_clip_gradient(self.handle, gradient.handle, value, norm)

    def adam(self, learning_rate: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
             weight_decay: float = 0.0) -> Adam:
        """An Adam for this network; the arguments are those of Adam."""
        return Adam(self, learning_rate, betas, epsilon, weight_decay)


def _net(description, parameters):
    net = Net(*description)
    net.parameters.update(parameters)
    return net


class Adam:
    """Adam (Kingma and Ba 2015) with bias correction; with `weight_decay` AdamW (Loshchilov and Hutter 2019).

    Args:
        net: whose parameters it updates.
        learning_rate, betas, epsilon, weight_decay: ValueError where one is out of its bounds.
    """

    def __init__(self, net: Net, learning_rate: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
                 weight_decay: float = 0.0) -> None:
        self.net, self.lock = net, threading.Lock()
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas is {betas!r}, expected two numbers")
        self.handle = made(lib.stpn_adam_create, lib.stpn_adam_free, net.handle, number("learning_rate", learning_rate),
                           *(number("betas", beta) for beta in betas), number("epsilon", epsilon))
        self._set(lib.stpn_adam_set_weight_decay, number("weight_decay", weight_decay))

    def _set(self, call, value):
        error = ffi.new(new_error)
        check(call(self.handle, value, error), error)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Sets the learning rate of the updates from here on."""
        self._set(lib.stpn_adam_set_learning_rate, number("learning_rate", learning_rate))

    def update(self, gradient: Block) -> None:
        """One update of the network's parameters from the Block `gradient`."""
        self.net._own(Block, gradient, "gradient")
        if gradient is self.net.parameters:
            raise ValueError("gradient is the network's parameters")
        with _Used(self, self.net.parameters, gradient):
            lib.stpn_adam_update(self.handle, self.net.handle, gradient.handle)
