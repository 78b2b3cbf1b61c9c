"""What all of the binding shares: the compiled library, its errors as exceptions, descriptions of units, arrays as pointers.

The interface is include/stpn/stpn.h; names and values of options are read from the compiled library, not kept here.
"""
from __future__ import annotations  # Python 3.9

import functools
import json
import math
from typing import Any

import numpy as np

from .run_files import Run, RunError

try:
    from ._native import ffi, lib
except ImportError as problem:
    raise ImportError(f"the compiled part of stpn cannot be loaded ({problem}): install the package with pip, or build it "
                      "with -DSTPN_BUILD_PYTHON=ON. stpn.load_run, stpn.plot and stpn.tensors work without it") from problem

INT_MOST = 2**31 - 1
NULL = ffi.NULL
new_error = ffi.typeof("stpn_error *")


def check(status, error):
    """Raises the exception of a status of the library: ValueError, MemoryError, OSError or ArithmeticError."""
    if status == lib.STPN_OK:
        return
    message = ffi.string(error.message).decode(errors="replace")
    kinds = {lib.STPN_ERROR_INPUT: ValueError, lib.STPN_ERROR_MEMORY: MemoryError, lib.STPN_ERROR_SYSTEM: OSError,
             lib.STPN_ERROR_NUMERIC: ArithmeticError}
    raise kinds.get(status, RuntimeError)(message)


def made(create, free, *arguments):
    """What `create` of the C interface makes, freed with its last reference."""
    error, slot = ffi.new(new_error), ffi.new(ffi.typeof(create).args[0])
    check(create(slot, *arguments, error), error)
    return ffi.gc(slot[0], free)


def _texts(name_at):
    names = []
    while (name := name_at(len(names))) != NULL:
        names.append(ffi.string(name).decode())
    return names


def _choices(kind):
    prefix = kind.cname.split()[-1].upper() + "_"
    return {name[len(prefix):].lower(): value for value, name in sorted(kind.elements.items())}


# Options that each unit reads, beside `hidden`; the fields of stpn_unit with their types; what a choice may be.
OPTIONS = {unit: tuple(option for option in _texts(lambda index, name=unit: lib.stpn_unit_option(name.encode(), index))
                       if option != "hidden") for unit in _texts(lib.stpn_unit_name)}
FIELDS = {name: field.type for name, field in ffi.typeof("stpn_unit").fields}
CHOICES = {name: _choices(kind) for name, kind in FIELDS.items() if kind.kind == "enum"}


def integer(name, value, low=0, high=INT_MOST):
    """`value` as an int in [low, high]; TypeError or ValueError otherwise."""
    try:
        number = value.__index__()
        if isinstance(value, bool):
            raise TypeError
    except (AttributeError, TypeError):
        raise TypeError(f"{name} is {value!r}, expected an integer") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}, expected {low} to {high}")
    return number


def number(name, value, low=-math.inf):
    """`value` as a float, `low` or more; TypeError or ValueError otherwise."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, expected a number") from None
    if not low <= found <= math.inf:
        raise ValueError(f"{name} is {found:g}, expected " + ("a number" if low == -math.inf else f"{low:g} or more"))
    return found


def _plain(value):
    if isinstance(value, np.generic):  # numbers of NumPy
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}, expected what JSON has")


def json_text(keys):
    """A dictionary as C reads it, bytes; TypeError or ValueError, with the key, for what JSON has not."""
    for key, value in keys.items():
        try:
            json.dumps(value, default=_plain, allow_nan=False)
        except TypeError as problem:
            raise TypeError(f"{key}: {problem}") from None
        except ValueError:
            raise ValueError(f"{key} is {value!r}, expected finite numbers") from None
    return json.dumps(keys, default=_plain).encode()


def checked_unit(unit):
    """A unit as an experiment has it, a dictionary, with all the defaults that have an effect; ValueError for what C refuses in
    it. The reader of experiments decides, which an agent of one step asks."""
    json_text(unit)  # so that a wrong value is named by its key
    experiment = {"name": "unit", "task": {"name": "gym", "id": "unit", "observations": 1, "actions": 2}, "units": [unit],
                  "train": {"method": "a2c", "batch": 1, "rollout": 1}}
    try:
        agent = made(lib.stpn_agent_create, lib.stpn_agent_free, json_text(experiment), 1)
    except ValueError as problem:
        raise ValueError(str(problem).replace("experiment: units[0].", "")) from None
    return json.loads(ffi.string(lib.stpn_agent_experiment(agent)))["units"][0]


@functools.cache
def flags():
    """Options that are 0 or 1 in stpn_unit, and false or true in experiments."""
    units = [checked_unit({"name": unit, "hidden": 1}) for unit in OPTIONS]
    return {name for unit in units for name, value in unit.items() if isinstance(value, bool)}


def _option_value(name, value):
    kind = FIELDS[name]
    if name in flags():
        if not isinstance(value, (bool, np.bool_, int, np.integer)) or value not in (0, 1):
            raise TypeError(f"{name} is {value!r}, expected True or False")
        return bool(value)
    if name in CHOICES:
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}, expected one of {', '.join(CHOICES[name])}")
        if value not in CHOICES[name]:
            raise ValueError(f'{name} is "{value}", expected one of {", ".join(CHOICES[name])}')
        return value
    if kind.cname == "int":
        return integer(name, value, -INT_MOST)
    if value is None and name == "clamp":
        return 0.0
    return number(name, value)


class Unit:
    """One layer of a network: the name of a unit, its neurons, its options (docs/experiments.md#the-units-options).

    Args:
        name: "stpn_r", "stpn_f", "rnn", "lstm", "gru", "mlp", "fast_weights", "plastic", "modplast", "modul" or "hebbff"; what each
            computes is in docs/units/.
        hidden: H, the number of neurons.
        options: of the unit, the others keep their defaults. `lambda` is a word of Python's: write `lambda_`.

    Attributes:
        name, hidden: as above.
        given: {option: value} of those that were given.

    Raises TypeError for an option that the unit does not have or of a wrong type, ValueError for a value that is none, and for an
    option that is not the default and has no effect with the others: `lambda_` where Lambda is learned.

    >>> Unit("stpn_r", 11, norm="post", clamp=1.0)
    Unit('stpn_r', 11, norm='post', clamp=1.0)
    """

    def __init__(self, name: str, hidden: int, **options: Any) -> None:
        if name not in OPTIONS:
            raise ValueError(f"there is no unit {name!r}, expected one of {', '.join(OPTIONS)}")
        self.name, self.hidden = name, integer("hidden", hidden, 1)
        self.given: dict[str, Any] = {}
        for word, value in options.items():
            option = word[:-1] if word == "lambda_" else word
            if option not in OPTIONS[name]:
                raise TypeError(f"unit {name} has no option {option!r}, it has {', '.join(OPTIONS[name]) or 'none'}")
            self.given[option] = _option_value(option, value)
        if changed := self._changed():
            checked_unit({"name": name, "hidden": 1, **changed})

    def __repr__(self) -> str:
        words = [repr(self.name), repr(self.hidden)]
        words += [f"{'lambda_' if name == 'lambda' else name}={value!r}" for name, value in self.given.items()]
        return f"Unit({', '.join(words)})"

    @property
    def options(self) -> dict[str, Any]:
        """{option: value} of every option that the unit reads, given or not."""
        return {**self._defaults(), **self.given}

    def _changed(self):
        """{option: value} of those that were given and are not the default."""
        defaults = self._defaults()
        return {name: value for name, value in self.given.items() if value != defaults[name]}

    def _defaults(self):
        unit = lib.stpn_unit_default(self.name.encode(), self.hidden)
        named = {name: {value: text for text, value in kind.items()} for name, kind in CHOICES.items()}
        named.update(dict.fromkeys(flags(), (False, True)))
        values = {name: getattr(unit, name) for name in OPTIONS[self.name]}
        return {name: named[name][value] if name in named else value for name, value in values.items()}

    def _fill(self, unit, keep):
        """Writes the description to `unit`, a stpn_unit; `keep` takes what it points to."""
        keep.append(ffi.new("char[]", self.name.encode()))
        unit[0] = lib.stpn_unit_default(keep[-1], self.hidden)
        for name, value in self.given.items():
            setattr(unit, name, CHOICES[name][value] if name in CHOICES else value)


def create_net(inputs, units, heads=(), double=False):
    """A stpn_net with `inputs` inputs, a sequence of Unit and of (name, outputs)."""
    keep = []
    described, read_outs = ffi.new("stpn_unit[]", len(units)), ffi.new("stpn_head[]", len(heads))
    for index, unit in enumerate(units):
        unit._fill(described + index, keep)
    for index, (name, outputs) in enumerate(heads):
        keep.append(ffi.new("char[]", str(name).encode()))
        read_outs[index] = {"name": keep[-1], "outputs": integer(f"outputs of {name}", outputs)}
    desc = ffi.new("stpn_net_desc *", {
        "real": lib.STPN_DOUBLE if double else lib.STPN_FLOAT, "inputs": integer("inputs", inputs), "units": described,
        "unit_count": len(units), "heads": read_outs, "head_count": len(heads)})
    return made(lib.stpn_net_create, lib.stpn_net_free, desc)


def tensors_of(ask):
    """{name: shape} of what `ask(index, tensor)` tells, in its order."""
    tensor, found = ffi.new("stpn_tensor *"), {}
    while ask(len(found), tensor):
        found[ffi.string(tensor.name).decode()] = tuple(tensor.shape[0:tensor.rank])
    return found


def units_of(experiment: dict[str, Any]) -> list[Unit]:
    """The units of an experiment as Unit has them."""
    units = []
    for keys in experiment["units"]:
        options = {name: value for name, value in keys.items() if name in OPTIONS[keys["name"]]}
        units.append(Unit(keys["name"], keys["hidden"], **options))
    return units


def check_units(path, metadata, units):
    """ValueError where a file's parameters are of units with other options than `units`: they would compute something else.
    `metadata` is the file's: `units`, or as it was before there was one, a run's experiment."""
    try:
        told = units_of({"units": json.loads(metadata["units"])} if "units" in metadata else json.loads(metadata["experiment"]))
    except (KeyError, TypeError, ValueError):
        return  # parameters alone: nothing is known of them
    for index, (theirs, ours) in enumerate(zip(told, units)):
        place, has = f"{path}: units[{index}]", ours.options
        if theirs.name != ours.name:
            raise ValueError(f"{place} is a unit {theirs.name}, but the layer's is a unit {ours.name}")
        for name, value in theirs.given.items():  # those that had an effect
            if name != "init" and has[name] != value:
                raise ValueError(f"{place}.{name} is {json.dumps(value)}, but the layer's is {json.dumps(has[name])}")


def told_units(units):
    """What a file of parameters tells of its units in its metadata, as check_units and C read it."""
    return json.dumps([checked_unit({"name": unit.name, "hidden": unit.hidden, **unit._changed()}) for unit in units])


def described(run: Run, which: str) -> tuple[int, list[Unit], dict[str, int], dict[str, np.ndarray]]:
    """The network of a run: its inputs, units, heads, and parameters ("best" or "last")."""
    parameters = run.parameters(which)
    if run.experiment.get("encoder"):
        raise RunError(f"{run.folder}: has an encoder of images, which networks in Python have not")
    try:
        units = units_of(run.experiment)
        heads = {name[:-len(".weight")]: len(values) for name, values in parameters.items()
                 if name.endswith(".weight") and not name.startswith("units.")}
        one, two = (create_net(inputs, units[:1]) for inputs in (1, 2))
        shapes = [tensors_of(lambda index, tensor, net=net: lib.stpn_net_tensor(net, index, tensor)) for net in (one, two)]
        name = next(name for name in shapes[0] if shapes[0][name] != shapes[1][name])  # one as wide as there are inputs
        return parameters[name].shape[1] - shapes[0][name][1] + 1, units, heads, parameters
    except (KeyError, TypeError, ValueError, IndexError, StopIteration) as problem:
        raise RunError(f"{run.folder}: its experiment and its parameters are not of one network: {problem}") from None


# --------------------------------------------------------------------------------------------------------------- threads

_idle_pools = {}  # by number of threads; a pool serves one call at a time


class borrowed_pool:
    """with borrowed_pool(threads) as pool: a stpn_pool that nobody else uses meanwhile; NULL for one thread."""

    def __init__(self, threads):
        self.threads = threads

    def __enter__(self):
        self.pool = NULL
        if self.threads != 1:
            try:
                self.pool = _idle_pools.setdefault(self.threads, []).pop()
            except IndexError:
                self.pool = made(lib.stpn_pool_create, lib.stpn_pool_free, self.threads)
        return self.pool

    def __exit__(self, *problem):
        if self.threads != 1:
            _idle_pools[self.threads].append(self.pool)


# ---------------------------------------------------------------------------------------------------------------- arrays


def reading(name, array, dtype, shape):
    """An array for C to read: `array` itself where it lies in one piece, else a copy. TypeError for another type of values,
    ValueError for another shape."""
    array = np.asarray(array)
    if array.dtype != dtype:
        raise TypeError(f"{name} has values of type {array.dtype}, expected {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return np.require(array, requirements=["C", "A"])


def writing(name, array, dtype, shape, *others):
    """An array for C to write: a new one for None, else `array`, which must have the type, the shape, lie in one piece, be
    writable and share no memory with `others`."""
    if array is None:
        return np.empty(shape, dtype)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is a {type(array).__name__}, expected a NumPy array")
    if array.dtype != dtype:
        raise TypeError(f"{name} has values of type {array.dtype}, expected {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name} does not lie in memory in one piece: its strides are {array.strides}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    for other in others:
        if other is not None and np.may_share_memory(array, other):
            raise ValueError(f"{name} shares memory with another argument")
    return array


def pointer(array):
    """What C gets for an array, or for None."""
    return NULL if array is None else ffi.cast("void *", array.ctypes.data)
