"""Reads safetensors files (docs/file-formats.md) into NumPy arrays."""
from __future__ import annotations  # Python 3.9

import json
import os
import struct

import numpy as np

__all__ = ["read_tensors", "TensorFileError"]

_TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1"}
_HEADER_MOST = 100_000_000


class TensorFileError(Exception):
    """A file that is no safetensors file, or a damaged one."""


def _product(shape):
    count = 1  # Python's integers: a product cannot overflow
    for length in shape:
        count *= length
    return count


def _tensor(path, name, entry, data):
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        lengths = [*shape, begin, end]
    except (TypeError, KeyError, ValueError):
        raise TensorFileError(f"{path}: {name}: its entry is not made of dtype, shape and data_offsets") from None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise TensorFileError(f"{path}: {name}: is of type {kind}, expected one of {', '.join(_TYPES)}")
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise TensorFileError(f"{path}: {name}: its shape and offsets must be integers from 0 on")
    if end > len(data) or end - begin != _product(shape) * np.dtype(_TYPES[kind]).itemsize:
        raise TensorFileError(f"{path}: {name}: bytes {begin} to {end} of {len(data)} do not hold {kind} {shape}")
    return np.frombuffer(data[begin:end], _TYPES[kind]).reshape(shape)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """({name: array}, metadata) of a safetensors file: F32, F64, I32, I64 and U8 as NumPy has them, and a dictionary of strings. The
    arrays are read-only: `copy()` makes one to write to.

    Raises TensorFileError where the content is wrong, OSError where the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _HEADER_MOST):
            raise TensorFileError(f"{path}: is no safetensors file: its header does not fit")
        text = file.read(length)
        data = file.read()
    try:
        header = json.loads(text.decode())
        if not isinstance(header, dict):
            raise ValueError("it is no object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("__metadata__ must hold strings")
    except (ValueError, RecursionError) as problem:
        raise TensorFileError(f"{path}: its header is wrong: {problem}") from None
    return {name: _tensor(path, name, entry, data) for name, entry in header.items()}, metadata
