"""Short-term-plasticity neurons, and every unit they are compared with, as layers for PyTorch (docs/python.md).

>>> layer = stpn.torch.STPN(37, 11)              # where nn.LSTM(37, 11) stood
>>> y, (h, F) = layer(torch.randn(9, 128, 37))

On the CPU they run through the C library: forward, and the exact gradient without F of every step. On other devices plain
PyTorch computes the same.
"""
try:
    import torch  # noqa: F401
except ImportError as problem:
    raise ImportError(f"stpn.torch needs PyTorch 2.4 or newer ({problem}): pip install torch") from problem

from .cells import Cell, STPNCell
from .files import from_reference, from_run, load, save
from .layers import GRU, LSTM, MLP, RNN, STPN, STPNF, FastWeights, HebbFF, Layer, ModPlast, Modul, Plastic
from .spec import empty_cache

__all__ = ["Layer", "STPN", "STPNF", "RNN", "LSTM", "GRU", "MLP", "FastWeights", "Plastic", "ModPlast", "Modul", "HebbFF", "Cell",
           "STPNCell", "save", "load", "from_run", "from_reference", "empty_cache"]
