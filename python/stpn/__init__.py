"""Short-term-plasticity neurons (Garcia Rodriguez, Guo, Moraitis, ICML 2022), fast and exact.

stpn.torch     layers for PyTorch: stpn.torch.STPN where nn.LSTM stood
stpn.Net       the same networks in NumPy, with stpn.Unit, stpn.State, stpn.Tape, stpn.Adam
stpn.gym       agents in Gymnasium environments, and the maze and the pendulum as such
stpn.load_run  a run of the command: its experiment, metrics, summary and parameters
stpn.plot      figures of runs: python -m stpn.plot RUN...

What reads runs (stpn.load_run, stpn.plot, stpn.tensors) needs NumPy, figures Matplotlib, and nothing that is compiled.
"""
from __future__ import annotations  # Python 3.9

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors: nothing is imported before it is asked for
    from . import gym, plot, plot_runs, plot_synapses, run_files, tensors, torch  # noqa: F401
    from .net import Adam, Block, Net, State, Tape, Unit, kernels, version  # noqa: F401
    from .run_files import Run, RunError, find_runs, load_run  # noqa: F401

    __version__: str

# Where each name comes from, once it is asked for.
_HOMES = {**dict.fromkeys(("Net", "Unit", "State", "Tape", "Block", "Adam", "kernels", "version"), "net"),
          **dict.fromkeys(("load_run", "find_runs", "Run", "RunError"), "run_files")}
_MODULES = ("torch", "gym", "plot", "plot_runs", "plot_synapses", "run_files", "tensors")
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module("." + _HOMES[name], __name__), name)
    if name in _MODULES:  # `import stpn` is enough for stpn.torch
        return importlib.import_module("." + name, __name__)
    if name == "__version__":
        return __getattr__("version")()
    raise AttributeError(f"module stpn has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES, "__version__"})
