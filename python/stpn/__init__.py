"""Short-term-plasticity neurons (Garcia Rodriguez, Guo, Moraitis, ICML 2022), fast and exact.

stpn.torch    layers for PyTorch: stpn.torch.STPN where nn.LSTM stood
stpn.Net      the same networks in NumPy, with stpn.Unit, stpn.State, stpn.Tape, stpn.Adam
stpn.gym      agents in Gymnasium environments, and the maze and the pendulum as such
stpn.plot     figures of runs: python -m stpn.plot RUN...

The modules for figures (stpn.plot, stpn.run_files, stpn.tensors) need NumPy and Matplotlib and nothing that is compiled.
"""

_NET = ("Adam", "Block", "Net", "State", "Tape", "Unit", "kernels", "version")
__all__ = list(_NET)


def __getattr__(name):
    if name in _NET:
        from . import net

        return getattr(net, name)
    raise AttributeError(f"module stpn has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_NET])
