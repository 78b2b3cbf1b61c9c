"""Parameters to and from safetensors files by the names that the command gives them, and from the authors' published code."""
from __future__ import annotations  # Python 3.9

import json
import os
import struct
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from torch.nn.utils import parametrize

from ..library import check_units, described, told_units
from ..net import version
from ..run_files import RunError, load_run
from ..tensors import TensorFileError, read_tensors
from .layers import STPN, STPNF, Layer, _Named

_TYPES = {torch.float32: "F32", torch.float64: "F64"}


def _sequence(layers):
    several = isinstance(layers, (torch.nn.ModuleList, torch.nn.Sequential)) or not isinstance(layers, torch.nn.Module)
    return list(layers) if several else [layers]


def _units(layers):
    return [layer.unit for layer in _sequence(layers) for _ in range(layer.num_layers)]


def _named(layers, heads):
    """{name in a file: (module, name of its parameter)} of layers one on the other and of read-outs."""
    named, unit = {}, 0
    for layer in _sequence(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{type(layer).__name__} is not one of stpn.torch's layers")
        for index in range(layer.num_layers):
            for name, own in layer.parameter_names(index).items():
                named[f"units.{unit}.{name}"] = layer, own
            unit += 1
    for head, linear in heads.items():
        if not isinstance(linear, torch.nn.Linear):
            raise TypeError(f"{head} is a {type(linear).__name__}, expected a torch.nn.Linear")
        named[f"{head}.weight"], named[f"{head}.bias"] = (linear, "weight"), (linear, "bias")
        if linear.bias is None:
            raise ValueError(f"{head} has no bias: a read-out of stpn has one")
    return named


def _can_be_set(module, own):
    if own in module._parameters:
        return not module._parameters[own].is_meta
    return parametrize.is_parametrized(module, own) and all(hasattr(each, "right_inverse") for each in module.parametrizations[own])


def save(path: str | os.PathLike[str], layers: Layer | Sequence[Layer], **heads: torch.nn.Linear) -> None:
    """Writes parameters to a safetensors file that `stpn eval`, Net.load and `load` read; the file is replaced atomically.

    Args:
        path: of the file; in the folder of a run, best.safetensors or last.safetensors.
        layers: a layer, or a sequence of them, the first one's units first.
        heads: nn.Linear by name: readout=linear, or policy= and value=.

    Raises TypeError for a layer that is none of stpn.torch's or a read-out that is no nn.Linear, ValueError for one without bias
    and for a value that is not finite, OSError where the system refuses.
    """
    named = _named(layers, heads)
    header = {"__metadata__": {"stpn_format": "1", "stpn": version(), "units": told_units(_units(layers))}}
    data, at = [], 0
    for name, place in named.items():
        parameter = getattr(*place)
        if parameter.dtype not in _TYPES:
            raise TypeError(f"{name} is {parameter.dtype}, expected torch.float32 or torch.float64")
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{name} has a value that is not finite")
        values = np.ascontiguousarray(parameter.detach().cpu().numpy())
        header[name] = {"dtype": _TYPES[parameter.dtype], "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        data.append(values.tobytes())
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path, part = os.fspath(path), os.fspath(path) + ".tmp"
    with open(part, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: str | os.PathLike[str], layers: Layer | Sequence[Layer], **heads: torch.nn.Linear) -> None:
    """Reads parameters by name from a safetensors file of `save`, of the command or of Net.save; see `save`.

    Changes nothing and raises ValueError where a name is missing, a shape differs, the file has more units than the layers, or is of
    units with other options; OSError where there is no file.
    """
    named = _named(layers, heads)
    try:
        tensors, metadata = read_tensors(path)
    except TensorFileError as problem:
        raise ValueError(str(problem)) from None
    check_units(path, metadata, _units(layers))
    for name in tensors:
        if name.startswith("units.") and name not in named:
            raise ValueError(f"{path}: {name}: the layers have no such parameter")
    for name, place in named.items():
        parameter = getattr(*place)
        if not _can_be_set(*place):
            raise ValueError(f"{name} is computed from something else, or on no device: it cannot be set")
        if name not in tensors:
            raise ValueError(f"{path}: {name} is missing")
        if tensors[name].shape != parameter.shape:
            raise ValueError(f"{path}: {name} has shape {tensors[name].shape}, expected {tuple(parameter.shape)}")
        if tensors[name].dtype.kind != "f":
            raise ValueError(f"{path}: {name} has values of type {tensors[name].dtype}, expected F32 or F64")
    with torch.no_grad():
        for name, (module, own) in named.items():
            values = torch.from_numpy(tensors[name].copy())
            if own in module._parameters:
                module._parameters[own].copy_(values)
            else:  # parametrised
                setattr(module, own, values.to(getattr(module, own)))


def from_run(folder: str | os.PathLike[str], which: str = "best") -> tuple[list[Layer], dict[str, torch.nn.Linear]]:
    """Layers and read-outs with the parameters of a run of the command, as its experiment describes them.

    Args:
        folder: of the run.
        which: "best", of the best evaluation, or "last".

    Returns (layers, read-outs): the layers one on the other, of one unit each, and {name: nn.Linear}. What comes before the
    network, as the scaling of observations by `normalise_observations`, is not in them. Raises stpn.RunError, whose message names
    the file and what is wrong with it.

    >>> (layer,), heads = stpn.torch.from_run("runs/retrieval-stpn_r-s0")
    """
    inputs, units, outputs, parameters = described(load_run(folder), which)
    kinds, layers = {kind._unit: kind for kind in (STPN, STPNF, *_Named.__subclasses__())}, []
    for unit in units:
        options = {"lambda_" if name == "lambda" else name: value for name, value in unit.given.items()}
        layers.append(kinds[unit.name](inputs, unit.hidden, dtype=torch.float32, **options))
        inputs = unit.hidden
    heads = {name: torch.nn.Linear(inputs, count, dtype=torch.float32) for name, count in outputs.items()}
    try:
        load(os.path.join(folder, which + ".safetensors"), layers, **heads)
    except ValueError as problem:
        raise RunError(str(problem)) from None
    return layers, heads


def from_reference(state_dict: Mapping[str, torch.Tensor], *, recurrent: bool = True,
                   **options: Any) -> tuple[STPN, torch.nn.Linear | None]:
    """A layer, and its read-out, with the parameters of a state_dict laid out as in the authors' published code.

    That is: weight (H, I + H), or (H, I) where the unit is feed-forward, the inputs' columns first; bias (H); weight_lambda and
    weight_gamma of weight's shape, (H, 1) or (H), or one value; hidden2tag.weight and hidden2tag.bias of the read-out. Names
    may have a prefix in common ("stpn.weight").

    Args:
        state_dict: the tensors.
        recurrent: whether the unit is stpn_r, else stpn_f.
        options: of STPN; `bias` and `granularity` are taken from the tensors.

    Returns (layer, read-out); the read-out is None where there is none. ValueError where tensors are missing or do not fit.
    """
    prefix = next((name[:-len("weight_lambda")] for name in state_dict if name.endswith("weight_lambda")), None)
    if prefix is None or prefix + "weight" not in state_dict or prefix + "weight_gamma" not in state_dict:
        raise ValueError(f"the state_dict has {', '.join(state_dict) or 'nothing'}, expected weight, weight_lambda, weight_gamma")
    weight, bias = state_dict[prefix + "weight"], state_dict.get(prefix + "bias")
    rates = {name: state_dict[f"{prefix}weight_{name}"] for name in ("lambda", "gamma")}
    if weight.dim() != 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (H, K)")
    hidden, columns = weight.shape
    inputs = columns - hidden if recurrent else columns
    if inputs < 1:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, which leaves no inputs to a recurrent unit")
    count = rates["lambda"].numel()
    sizes = {1: "scalar", hidden: "neuron", hidden * columns: "synapse"}
    if count not in sizes or rates["gamma"].numel() != count:
        raise ValueError(f"weight_lambda and weight_gamma have {count} and {rates['gamma'].numel()} values, "
                         f"expected {hidden * columns}, {hidden} or 1 each")
    shapes = {(hidden, columns), (hidden, 1), (hidden,)}
    for name, values in rates.items():
        if tuple(values.shape) not in shapes and values.numel() != 1:
            raise ValueError(f"weight_{name} has shape {tuple(values.shape)}, expected {(hidden, columns)}, {(hidden, 1)}, {(hidden,)} "
                             "or one value")
    granularity = "synapse" if rates["lambda"].shape == weight.shape else sizes[count]
    layer = (STPN if recurrent else STPNF)(inputs, hidden, bias=bias is not None, granularity=granularity, dtype=weight.dtype,
                                           device=weight.device, **options)
    own = {"weight_l0": weight, "lambda_l0": rates["lambda"], "gamma_l0": rates["gamma"]}
    if bias is not None:
        own["bias_l0"] = bias
    with torch.no_grad():
        for name, values in own.items():
            parameter = getattr(layer, name)
            parameter.copy_(values.reshape(parameter.shape))
    tag = next((name[:-len("weight")] for name in state_dict if name.endswith("hidden2tag.weight")), None)
    if tag is None:
        return layer, None
    read = torch.nn.Linear(hidden, state_dict[tag + "weight"].shape[0], dtype=weight.dtype, device=weight.device)
    read.load_state_dict({name: state_dict[tag + name] for name in ("weight", "bias")})
    return layer, read
