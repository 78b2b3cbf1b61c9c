"""Figures of runs: learning curves, accuracy or reward against energy, energy over the steps, generalisation.

Each function takes runs, or groups of them (stpn.run_files.group_runs), and returns a matplotlib.figure.Figure, or None where the
runs have nothing to show in it. The numbers it draws come from the function beside it that ends in _data.

>>> runs = [stpn.load_run(path) for path in stpn.find_runs("runs")]
>>> figure = stpn.plot_runs.learning_curves(runs)
>>> figure.savefig("curves.png")
"""
from __future__ import annotations  # Python 3.9

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from .plot_style import COLUMN, legend_below, line_style, new_figure
from .run_files import Group, Run, group_runs

__all__ = ["learning_curves", "learning_data", "accuracy_energy", "energy_data", "energy_steps", "energy_steps_data",
           "generalisation", "probe_data"]

ENERGY = r"energy per step, $\Sigma\, z^2 |G|$ (dimensionless)"
BINS = 250  # more steps than this are drawn as means over some of them


def _groups(groups):
    return group_runs(groups) if any(isinstance(each, Run) for each in groups) else groups


def band_title(groups):
    counts = sorted({len(group.runs) for group in groups})
    if counts == [1]:
        return "one seed" if len(groups) == 1 else "one seed each"
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean over {seeds} seeds, band: minimum to maximum"


def _band(curves):
    """Mean, least and most over the first axis; NaN only where all are."""
    curves = np.asarray(curves, dtype=float)
    known = ~np.isnan(curves)
    count = known.sum(0)
    mean = np.divide(np.where(known, curves, 0).sum(0), count, out=np.full(curves.shape[1:], np.nan), where=count > 0)
    least = np.where(count > 0, np.where(known, curves, np.inf).min(0), np.nan)
    most = np.where(count > 0, np.where(known, curves, -np.inf).max(0), np.nan)
    return mean, least, most


def _draw_band(axes, index, label, x, curves, crowd):
    """A line with its band; `crowd` lines are in the axes."""
    mean, least, most = _band(curves)
    look = line_style(index)
    # Markers at other places in each line, so that lines on top of each other show.
    every = max(1, len(x) // 6)
    line, = axes.plot(x, mean, label=label, markevery=(index * every // 4 % every, every), markeredgecolor="white",
                      markeredgewidth=0.4, **look)
    if len(curves) > 1:
        axes.fill_between(x, least, most, color=look["color"], alpha=0.2 if crowd <= 3 else 0.09, linewidth=0, zorder=1)
    return line


def _loss_label(groups):
    squared = [np.isnan(run.metrics.get("validation_accuracy", np.array([np.nan]))).all() for group in groups for run in group.runs]
    if all(squared):
        return "validation loss\n(mean squared error)"
    return "validation loss (nats)" if not any(squared) else "validation loss"


# ---------------------------------------------------------------------------------------------------- learning curves


def learning_data(group: Group, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs that every run of the group has evaluated, and the column of each run (runs, epochs) there.

    Nothing is drawn beyond: a mean over the seeds that happened to go on would not be that of the experiment.
    """
    runs = [run for run in group.runs if len(run.epochs)]
    if not runs or any(column not in run.metrics for run in runs):
        return np.zeros(0), np.zeros((len(runs), 0))
    epochs = runs[0].epochs
    for run in runs[1:]:
        epochs = np.intersect1d(epochs, run.epochs)
    return epochs, np.array([run.metrics[column][np.isin(run.epochs, epochs)] for run in runs])


def learning_curves(groups: Sequence[Group] | Sequence[Run]) -> Figure | None:
    """Reward, validation accuracy and validation loss, those that there are, against the epoch or iteration."""
    groups = _groups(groups)
    panels = []
    for column in ("reward", "validation_accuracy", "validation_loss"):
        data = [learning_data(group, column) for group in groups]
        if any(np.isfinite(curves).any() for _, curves in data):
            panels.append((column, data))
    if not panels:
        return None
    figure = new_figure(COLUMN, 0.9 + 1.75 * len(panels) + 0.13 * len(groups) / 2)
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    lines = {}
    for axes, (column, data) in zip(all_axes, panels):
        for index, (group, (epochs, curves)) in enumerate(zip(groups, data)):
            if np.isfinite(curves).any():
                lines[group.label] = _draw_band(axes, index, group.label, epochs, curves, len(groups))
        if column == "reward":
            axes.set_ylabel("reward of an episode")
        elif column == "validation_accuracy":
            axes.set_ylabel("validation accuracy (fraction)")
        else:
            axes.set_ylabel(_loss_label(groups))
            values = np.concatenate([curves[np.isfinite(curves)] for _, curves in data])
            if values.min() > 0 and values.max() > 10 * values.min():
                axes.set_yscale("log")
    clocks = {"iteration" if "iteration" in run.metrics else "epoch" for group in groups for run in group.runs if len(run.epochs)}
    all_axes[-1].set_xlabel(" or ".join(sorted(clocks)))
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, list(lines.values()), list(lines), band_title(groups))
    return figure


# ------------------------------------------------------------------------------------------------- accuracy and energy


def energy_data(group: Group, measure: str = "accuracy") -> np.ndarray:
    """(runs, 2): energy per step and `measure` of the test, with the final parameters."""
    points = np.array([[run.measure("test", "energy"), run.measure("test", measure)] for run in group.runs])
    return points[np.isfinite(points).all(1)]


def accuracy_energy(groups: Sequence[Group] | Sequence[Run]) -> Figure | None:
    """Test reward, accuracy or loss, the first that there is, against the energy per step."""
    groups = _groups(groups)
    measures = {"reward": "test reward of an episode", "accuracy": "test accuracy (fraction)", "loss": "test loss"}
    measure = next((name for name in measures if any(len(energy_data(group, name)) for group in groups)), "loss")
    shown = [(index, group, energy_data(group, measure)) for index, group in enumerate(groups)]
    shown = [entry for entry in shown if len(entry[2])]
    if not shown:
        return None
    figure = new_figure(COLUMN, 2.6 + 0.13 * len(shown) / 2)
    axes = figure.subplots()
    handles = []
    for index, group, points in shown:
        look = line_style(index)
        if len(points) > 1:
            axes.plot(*points.T, look["marker"], color=look["color"], markersize=3.5, markeredgecolor="white",
                      markeredgewidth=0.4, zorder=3)
        handles += axes.plot(*points.mean(0), look["marker"], color=look["color"], markersize=7, markeredgecolor="black",
                             markeredgewidth=0.6, label=group.label)
    energies = np.concatenate([points[:, 0] for _, _, points in shown])
    if energies.min() > 0 and energies.max() > 5 * energies.min():
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        low, high = np.log10(energies.min()), np.log10(energies.max())
        ticks = [n * 10.0**power for power in range(int(low) - 2, int(high) + 3) for n in (1, 2, 5)]
        axes.set_xticks([tick for tick in ticks if energies.min() * 0.85 <= tick <= energies.max() * 1.18])
    axes.margins(0.08)
    axes.set_xlabel(ENERGY)
    axes.set_ylabel(measures[measure])
    several = max(len(points) for _, _, points in shown) > 1
    legend_below(figure, handles, [group.label for _, group, _ in shown], "large: mean, small: one seed" if several else None)
    return figure


# ------------------------------------------------------------------------------------------------- energy over the steps


def energy_steps_data(group: Group) -> np.ndarray:
    """Energy of each step of the test sequences (runs, T) with the final parameters; runs without it are left out."""
    curves = []
    for run in group.runs:
        test = (run.summary or {}).get("test")
        steps = test.get("energy_steps") if isinstance(test, dict) else None
        if isinstance(steps, list) and steps and all(isinstance(value, (int, float)) for value in steps):
            curves.append(np.array(steps, dtype=float))
    longest = max((len(curve) for curve in curves), default=0)
    padded = [np.pad(curve, (0, longest - len(curve)), constant_values=np.nan) for curve in curves]
    return np.array(padded).reshape(len(curves), longest)


def _retrieval_pairs(groups):
    """The number of pairs where all runs are of the retrieval task with the same one, else 0."""
    found = set()
    for group in groups:
        task = group.runs[0].experiment.get("task")
        task = task if isinstance(task, dict) else {}
        found.add(task.get("pairs") if task.get("name") == "retrieval" else None)
    pairs = found.pop() if len(found) == 1 else None
    return pairs if isinstance(pairs, int) else 0


def energy_steps(groups: Sequence[Group] | Sequence[Run]) -> Figure | None:
    """Energy in each step of the test sequences; of more than BINS steps means over some."""
    groups = _groups(groups)
    shown = [(index, group, energy_steps_data(group)) for index, group in enumerate(groups)]
    shown = [entry for entry in shown if entry[2].size]
    if not shown:
        return None
    figure = new_figure(COLUMN, 2.6 + 0.13 * len(shown) / 2)
    axes = figure.subplots()
    longest = max(curves.shape[1] for _, _, curves in shown)
    width = -(-longest // BINS)
    handles = []
    for index, group, curves in shown:
        whole = curves.shape[1] // width
        means = curves[:, : whole * width].reshape(len(curves), whole, width).mean(2)
        steps = np.arange(whole) * width + (width + 1) / 2
        handles.append(_draw_band(axes, index, group.label, steps, means, len(shown)))
        if longest <= 24:
            handles[-1].set_markevery(1)
    axes.set_xlabel("step of the sequence" + (f" (means over {width})" if width > 1 else ""))
    axes.set_ylabel(ENERGY.replace(" (dim", "\n(dim"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    pairs = _retrieval_pairs([group for _, group, _ in shown])
    if 0 < pairs <= 8 and longest == 2 * pairs + 3:
        kinds = ["key", "value"] * pairs + ["?", "?", "query"]
        axes.set_xticks(range(1, longest + 1), [f"{step}\n{kind}" for step, kind in enumerate(kinds, 1)],
                        fontsize=7 if pairs <= 3 else 5)
    legend_below(figure, handles, [group.label for _, group, _ in shown], band_title([group for _, group, _ in shown]))
    return figure


# -------------------------------------------------------------------------------------------------------- generalisation


def probe_data(group: Group) -> tuple[str | None, np.ndarray, np.ndarray]:
    """Name of what the probes vary ("R"), its values in order, and the accuracy of each run there (runs, values)."""
    tables, what = [], None
    for run in group.runs:
        probes = (run.summary or {}).get("probes")
        table = {}
        for probe in probes if isinstance(probes, list) else ():
            name, accuracy = (probe.get("name"), probe.get("accuracy")) if isinstance(probe, dict) else (None, None)
            match = re.fullmatch(r"(\w+)=([0-9]+)", name) if isinstance(name, str) else None
            if match and isinstance(accuracy, (int, float)):
                what = what or match[1]
                table[int(match[2])] = float(accuracy)
        if table:
            tables.append(table)
    values = sorted(set().union(*tables))
    return what, np.array(values), np.array([[table.get(value, np.nan) for value in values] for table in tables])


def generalisation(groups: Sequence[Group] | Sequence[Run]) -> Figure | None:
    """Accuracy of the test sets with another distance than that of training."""
    groups = _groups(groups)
    shown = [(index, group, *probe_data(group)) for index, group in enumerate(groups)]
    shown = [entry for entry in shown if entry[2]]
    if not shown:
        return None
    figure = new_figure(COLUMN, 2.6 + 0.13 * len(shown) / 2)
    axes = figure.subplots()
    handles, what = [], shown[0][2]
    trained = [(group.runs[0].experiment.get("task") or {}).get("distance") for _, group, *_ in shown]
    note = ""
    if len(set(trained)) == 1 and isinstance(trained[0], int):
        axes.axvline(trained[0], color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        note = f"\ndotted: the {what} of training"
    for (index, group, _, values, curves), own in zip(shown, trained):
        handles.append(_draw_band(axes, index, group.label, values, curves, len(shown)))
        handles[-1].set_markevery(1)
        if not note and own in values:
            axes.plot(own, _band(curves)[0][list(values).index(own)], "o", markersize=9, fillstyle="none",
                      color=handles[-1].get_color(), markeredgewidth=1, clip_on=False)
    if not note and any(own in values for (*_, values, _), own in zip(shown, trained)):
        note = f"\nring: the {what} of training"
    axes.set_xlabel(f"repeat distance {what} (steps)" if what == "R" else what)
    axes.set_ylabel("accuracy (fraction)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, handles, [entry[1].label for entry in shown], band_title([entry[1] for entry in shown]) + note)
    return figure
