"""The synapse picture: what a network's synapses are, step by step, while it reads a sequence (a file of stpn trace)."""
from __future__ import annotations  # Python 3.9

import json
import os
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .plot_style import PAGE, new_figure
from .tensors import TensorFileError, read_tensors

__all__ = ["read_trace", "Trace", "efficacies", "NoFastComponent", "synapses"]

STEPS = 12  # more steps than this are shown in part


class NoFastComponent(Exception):
    """The unit's synapses do not change while a sequence runs."""


@dataclass
class Efficacies:
    """What acts in each step: `total` (T, H, K), and `fast` (T, H, K), the part of it that is due to the fast component."""

    total: np.ndarray
    fast: np.ndarray
    groups: list  # (name, columns), from left to right
    names: tuple  # of the two, in the paper's letters


@dataclass
class Trace:
    """A file of stpn trace (docs/figures.md#the-file-of-a-trace).

    Attributes:
        path: of the file.
        tensors: {name: array}.
        metadata: {key: text}: the sequence, the symbols, the kernel, ...
        experiment: the run's, as a dictionary.
    """

    path: str | os.PathLike[str]
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]
    experiment: dict

    @property
    def steps(self) -> int:
        """T, how many it has."""
        return len(self.tensors["energy"])

    @property
    def units(self) -> list[dict]:
        """The units of the experiment, dictionaries."""
        return self.experiment["units"]

    def tensor(self, unit: int, name: str) -> np.ndarray:
        """The tensor `name` of a unit, counted from 0: a parameter, or a state (T + 1, ...) before the first step and after each.
        TensorFileError where there is none."""
        try:
            return self.tensors[f"units.{unit}.{name}"]
        except KeyError:
            raise TensorFileError(f"{self.path}: has no tensor units.{unit}.{name}") from None


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """The Trace of a file. TensorFileError where it is none of stpn trace, OSError where it cannot be read."""
    tensors, metadata = read_tensors(path)
    try:
        experiment = json.loads(metadata["experiment"])
        units = experiment["units"]
        known = all(isinstance(unit["name"], str) for unit in units) and tensors["energy"].ndim == 1
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        raise TensorFileError(f"{path}: is no file of stpn trace: it lacks the experiment or the energy of the steps")
    trace = Trace(path, tensors, metadata, experiment)
    for place in range(len(units)):
        for name in "hFAEcT":
            state = tensors.get(f"units.{place}.{name}")
            if state is not None and state.shape[:1] != (trace.steps + 1,):
                raise TensorFileError(f"{path}: units.{place}.{name} is of shape {state.shape}, expected {trace.steps + 1} rows")
    if "tokens" in tensors and tensors["tokens"].shape != (trace.steps,):
        raise TensorFileError(f"{path}: tokens is of shape {tensors['tokens'].shape}, expected ({trace.steps},)")
    return trace


# ------------------------------------------------------------------------------------------------------------ efficacies


def _input_groups(trace, unit, inputs):
    """Keys, values, separator, where the first unit reads symbols; else the inputs as one group."""
    symbols = trace.metadata.get("symbols", "")
    if unit > 0 or len(symbols) != inputs:
        return [("inputs" if unit == 0 else f"unit {unit - 1}", inputs)]
    groups = []
    for symbol in symbols:
        name = "keys" if symbol.isalpha() else "values" if symbol.isdigit() else symbol
        if groups and groups[-1][0] == name:
            groups[-1][1] += 1
        else:
            groups.append([name, 1])
    return [tuple(group) for group in groups]


def _stpn(trace, unit):
    W, F = trace.tensor(unit, "weight").astype(float), trace.tensor(unit, "F")[:-1].astype(float)
    n = np.ones((len(F), len(W), 1))
    if trace.units[unit].get("norm", "pre") != "none":
        n = np.linalg.norm(W + F, axis=2, keepdims=True) + 1e-16
    recurrent = len(W) if trace.units[unit]["name"] == "stpn_r" else 0
    groups = _input_groups(trace, unit, W.shape[1] - recurrent) + ([("recurrent", recurrent)] if recurrent else [])
    if (n == 1).all():
        return Efficacies(W + F, F, groups, ("G = W + F", "F"))
    return Efficacies((W + F) / n, F / n, groups, ("G = (W + F) / n", "F / n"))


def _hebbff(trace, unit):
    W, A = trace.tensor(unit, "weight").astype(float), trace.tensor(unit, "A")[:-1].astype(float)
    return Efficacies(W + A, A, _input_groups(trace, unit, W.shape[1]), ("G = W + A", "A"))


def _fast_weights(trace, unit):
    """A step first makes A' of the h before it; A' acts in the step's inner loop, the slow W on x and the h before."""
    W, A = trace.tensor(unit, "weight").astype(float), trace.tensor(unit, "A")[1:].astype(float)
    slow = np.broadcast_to(W, (len(A), *W.shape))
    groups = _input_groups(trace, unit, W.shape[1] - len(W)) + [("recurrent", len(W)), ("inner loop", len(W))]
    return Efficacies(np.concatenate([slow, A], 2), np.concatenate([0 * slow, A], 2), groups, ("W and A", "A"))


def _plastic(trace, unit):
    W, w, alpha = (trace.tensor(unit, name).astype(float) for name in ("weight_in", "w", "alpha"))
    fast = alpha * trace.tensor(unit, "E")[:-1].astype(float)
    slow = np.broadcast_to(W, (len(fast), *W.shape))
    groups = _input_groups(trace, unit, W.shape[1]) + [("recurrent", len(w))]
    return Efficacies(np.concatenate([slow, w + fast], 2), np.concatenate([0 * slow, fast], 2), groups,
                      (r"$W_i$ and $w + \alpha E$", r"$\alpha E$"))


_EFFICACIES = {"stpn_r": _stpn, "stpn_f": _stpn, "hebbff": _hebbff, "fast_weights": _fast_weights, "plastic": _plastic,
               "modplast": _plastic, "modul": _plastic}


def efficacies(trace: Trace, unit: int = 0) -> Efficacies:
    """The synapses of unit `unit` that act in each step of the trace, as an object with

        total: (T, H, K), the efficacies.
        fast: (T, H, K), the part of them that is due to the fast component.
        groups: [(name, columns)] from left to right.
        names: of the two, in the paper's letters.

    NoFastComponent where the unit's synapses do not change, TensorFileError where its tensors do not fit each other.
    """
    name = trace.units[unit]["name"]
    if name not in _EFFICACIES:
        raise NoFastComponent(f"{trace.path}: the synapses of {name} (units.{unit}) do not change while a sequence runs")
    try:
        return _EFFICACIES[name](trace, unit)
    except (ValueError, TypeError, IndexError):  # shapes that do not fit each other
        raise TensorFileError(f"{trace.path}: the tensors of units.{unit} do not fit each other") from None


# --------------------------------------------------------------------------------------------------------------- picture


def _shown_steps(steps):
    """All of them, or STEPS of them, the first and the last among them."""
    return np.unique(np.linspace(0, steps - 1, min(steps, STEPS)).round().astype(int))


def _frame(axes, groups, rows):
    """No ticks, and a line between the groups of columns; returns the groups' edges."""
    edges = np.cumsum([0] + [width for _, width in groups])
    for edge in edges[1:-1]:
        axes.axvline(edge - 0.5, color="black", linewidth=0.5)
    axes.spines[:].set_visible(True)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(-0.5, edges[-1] - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    return edges


def _label_columns(axes, groups, edges, read):
    """The groups by name, and above that the symbols of the sequence ({column: symbol}) where they stand."""
    axes.set_xticks((edges[:-1] + edges[1:] - 1) / 2, [name for name, _ in groups])
    axes.tick_params(length=0, pad=11 if read else 3)
    axes.set_xticks(list(read), list(read.values()), minor=True, fontsize=6)
    axes.tick_params(which="minor", length=0, pad=3)
    axes.set_xlabel("presynaptic", labelpad=2)


def colour_limit(total):
    """Where the colours end: few values lie beyond, and do not make all others pale."""
    sizes = np.abs(total[np.isfinite(total)])
    return (np.quantile(sizes, 0.995) or sizes.max() or 1.0) if sizes.size else 1.0


def synapses(trace: Trace, unit: int = 0) -> Figure:
    """Two columns of small multiples, a row for each step: the efficacy that acts in it, and its fast part, in one scale.

    A triangle marks the column of the symbol that the step reads. Returns a matplotlib.figure.Figure; errors are those of
    `efficacies`.
    """
    e = efficacies(trace, unit)
    text, tokens = trace.metadata.get("sequence", ""), trace.tensors.get("tokens")
    has_text = len(text) == len(e.total)
    shown = _shown_steps(len(e.total))
    rows, columns = e.total.shape[1:]
    limit = colour_limit(e.total[shown])
    beyond = (np.abs([e.total[shown], e.fast[shown]]) > limit).any()
    read = {} if tokens is None or unit > 0 else {int(token): text[t] for t, token in enumerate(tokens) if has_text}
    groups = {name for name, width in e.groups if width == 1}  # have their symbol for a name already
    read = {column: symbol for column, symbol in read.items() if symbol not in groups}
    panel = min(np.clip(0.05 * rows, 0.4, 1.0), 8 / len(shown) - 0.19)  # a page is not much higher
    figure = new_figure(PAGE, len(shown) * (panel + 0.19) + 0.7)
    grid = figure.subplots(len(shown), 2, squeeze=False)
    for row, step in enumerate(shown):
        for axes, values in zip(grid[row], (e.total, e.fast)):
            image = axes.imshow(values[step], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
            edges = _frame(axes, e.groups, rows)
            if tokens is not None and unit == 0:
                axes.plot(tokens[step], rows - 0.5, "^", color="black", markersize=3, clip_on=False, zorder=5)
            if row == len(shown) - 1:
                _label_columns(axes, e.groups, edges, read)
        grid[row, 0].set_title(f"step {step + 1}" + (f": {text[step]}" if has_text else ""), fontsize=8, loc="left", pad=2)
        grid[row, 0].set_ylabel("neurons" if rows > 1 else "neuron", fontsize=7)
    for column in range(2):
        grid[0, column].set_title(e.names[column], fontsize=8, pad=2)
    figure.colorbar(image, ax=grid, location="right", fraction=0.03, aspect=45, extend="both" if beyond else "neither", extendfrac=0.02,
                    label="efficacy (dimensionless)")
    return figure
