"""Reads run folders (docs/file-formats.md): experiment.json, metrics.csv, summary.json, and the parameters."""
from __future__ import annotations  # Python 3.9

import csv
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .tensors import TensorFileError, read_tensors

__all__ = ["group_runs", "Group", "read_metrics"]  # and what `stpn` exports: load_run, find_runs, Run, RunError

EXPERIMENT, METRICS, SUMMARY, TRACE, SWEEP = "experiment.json", "metrics.csv", "summary.json", "trace.safetensors", "sweep.json"
# What tells that a folder was a run, even where its experiment.json is lost.
_MARKS = (EXPERIMENT, METRICS, SUMMARY, "last.safetensors")
_COUNTS = ("epoch", "iteration", "updates", "steps", "episodes")
# What checkpoints hold beside the parameters.
_OTHER_TENSORS = ("adam.", "progress.", "state.", "scaling.")


class RunError(Exception):
    """A run that cannot be read; the message names the file and what is wrong."""


@dataclass
class Run:
    """One run folder.

    Attributes:
        folder: its path.
        name, seed: of the experiment.
        experiment: experiment.json as a dictionary: every key that had an effect.
        metrics: {column: array} of metrics.csv, all of the same length, so that pandas.DataFrame(run.metrics) is a table:
            counts ("epoch", "updates", ...) int64, the others float64 with NaN for what there was none of; {} before the first
            evaluation.
        summary: summary.json as a dictionary; None where the run is not finished.
    """

    folder: str
    name: str
    seed: int
    experiment: dict
    metrics: dict[str, np.ndarray]
    summary: dict | None

    def __repr__(self) -> str:
        state = "under way" if self.summary is None else "finished"
        return f"Run({os.fspath(self.folder)!r}, {self.name}, seed {self.seed}, {len(self.epochs)} evaluations, {state})"

    def parameters(self, which: str = "best") -> dict[str, np.ndarray]:
        """{name: array} of the trained parameters ("units.0.weight" (H, K), ...; docs/file-formats.md), read at each call.

        Args:
            which: "best", of the best evaluation, or "last".

        Raises RunError where there is no such file, or a damaged one.
        """
        if which not in ("best", "last"):
            raise ValueError(f'which is {which!r}, expected "best" or "last"')
        path = os.path.join(self.folder, which + ".safetensors")
        try:
            tensors, _ = read_tensors(path)
        except OSError as problem:
            raise RunError(f"{path}: {problem.strerror}") from None
        except TensorFileError as problem:
            raise RunError(str(problem)) from None
        return {name: values for name, values in tensors.items() if not name.startswith(_OTHER_TENSORS)}

    @property
    def epochs(self) -> np.ndarray:
        """The column epoch of metrics, in an environment iteration; empty where there is none."""
        return self.metrics.get("epoch", self.metrics.get("iteration", np.zeros(0)))

    def measure(self, *keys: str) -> float:
        """The number at summary[keys[0]][keys[1]]..., or NaN where there is none."""
        value = self.summary
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else np.nan


@dataclass
class Group:
    """The runs of one experiment, which differ in their seeds alone.

    Attributes:
        label: stands in legends.
        runs: in the order of their seeds.
    """

    label: str
    runs: list = field(default_factory=list)


def _document(path):
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as problem:
        raise RunError(f"{path}: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise RunError(f"{path}: is no JSON: {problem}") from None
    if not isinstance(document, dict):
        raise RunError(f"{path}: holds no JSON object")
    return document


def read_metrics(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """{column: array} of a metrics.csv: counts int64, the others float64 with NaN for an empty field. RunError where it is none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as problem:
        raise RunError(f"{path}: {problem.strerror}") from None
    except (ValueError, csv.Error) as problem:
        raise RunError(f"{path}: {problem}") from None
    if not rows or not {"epoch", "iteration"} & set(rows[0]):
        raise RunError(f"{path}: line 1 is no heading with a column epoch or iteration")
    heading, values = rows[0], []
    for line, row in enumerate(rows[1:], 2):
        try:
            if len(row) != len(heading):
                raise ValueError
            values.append([float(text) if text.strip() else np.nan for text in row])
        except ValueError:
            raise RunError(f"{path}: line {line}: expected {len(heading)} numbers") from None
    table = np.array(values, dtype=float).reshape(len(values), len(heading)).T.copy()
    clock = "epoch" if "epoch" in heading else "iteration"
    later = np.diff(table[heading.index(clock)]) > 0
    if not later.all():
        raise RunError(f"{path}: line {int(np.argmin(later)) + 3}: expected a later {clock} than in the line before")
    return {name: _counts(column) if name in _COUNTS else column for name, column in zip(heading, table)}


def _counts(column):
    whole = np.isfinite(column).all() and (column == np.floor(column)).all()
    return column.astype(np.int64) if whole else column


def load_run(folder: str | os.PathLike[str]) -> Run:
    """The Run in `folder`, as `stpn train` leaves it; one that is under way has no summary, and perhaps no metrics yet.

    Raises RunError, whose message names the file and what is wrong with it.

    >>> run = stpn.load_run("runs/retrieval-stpn_r-s0")
    >>> run.metrics["validation_accuracy"].max(), run.parameters()["units.0.weight"].shape
    """
    folder = os.fspath(folder)
    if os.path.isdir(folder) and not is_run(folder):
        inside = [name for name in sorted(os.listdir(folder), key=natural) if is_run(os.path.join(folder, name))]
        if inside:
            raise RunError(f"{folder}: is no run itself, runs are in it: {', '.join(inside[:5])}{', ...' * (len(inside) > 5)}")
    path = os.path.join(folder, EXPERIMENT)
    experiment = _document(path)
    name, seed = experiment.get("name"), experiment.get("seed", 0)
    if not isinstance(name, str) or type(seed) is not int:
        raise RunError(f"{path}: expected a name and a seed")
    path = os.path.join(folder, METRICS)
    metrics = read_metrics(path) if os.path.exists(path) else {}
    path = os.path.join(folder, SUMMARY)
    summary = _document(path) if os.path.exists(path) else None
    return Run(folder, name, seed, experiment, metrics, summary)


def is_run(folder):
    """Whether a run has left something in `folder`."""
    return any(os.path.exists(os.path.join(folder, name)) for name in _MARKS)


def find_runs(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of runs: `folder` itself, or all folders of runs below it in the order of their names, s10 after s9.

    >>> runs = [stpn.load_run(path) for path in stpn.find_runs("runs")]
    """
    folder = os.fspath(folder)
    if is_run(folder):
        return [folder]
    found = []
    for path, below, _ in os.walk(folder):
        below.sort(key=natural)
        for name in list(below):
            if is_run(os.path.join(path, name)):
                found.append(os.path.join(path, name))
                below.remove(name)
    return sorted(found, key=natural)


@dataclass
class Sweep:
    """The folder of a stpn sweep: what it varies, and its runs."""

    folder: str
    document: dict
    runs: list


def read_sweep(folder, runs):
    """The sweep in `folder` with those of the runs that are its own; None where the folder is of no sweep."""
    path = os.path.join(folder, SWEEP)
    if not os.path.exists(path):
        return None
    document = _document(path)
    if not isinstance(document.get("keys"), dict) or not isinstance(document.get("rank"), str):
        raise RunError(f"{path}: expected keys and a rank")
    here = os.path.realpath(folder)
    return Sweep(folder, document, [run for run in runs if os.path.dirname(os.path.realpath(run.folder)) == here])


def setting(experiment, path):
    """What stands at a path such as units.0.hidden; None where nothing does."""
    for part in path.split("."):
        if isinstance(experiment, list) and part.isdigit() and int(part) < len(experiment):
            experiment = experiment[int(part)]
        elif isinstance(experiment, dict):
            experiment = experiment.get(part)
        else:
            return None
    return experiment


def natural(text):
    """A key by which s10 comes after s9."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", text)]


def _flat(value, place=""):
    """{"units": [{"hidden": 11}]} as {"units.0.hidden": 11}."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {place: value}
    flat = {}
    for key, inner in items:
        flat.update(_flat(inner, f"{place}.{key}" if place else str(key)))
    return flat


def _settings(run):
    """All that makes the experiment, as hashable pairs."""
    kept = {key: value for key, value in run.experiment.items() if key not in ("seed", "note", "version")}
    return _flat(kept)


def _short(labels):
    """Without what stands before a dash in all of them: retrieval-rnn and retrieval-lstm are rnn and lstm."""
    common = os.path.commonprefix(labels)
    cut = common.rfind("-") + 1
    return [label[cut:] for label in labels] if len(labels) > 1 and all(len(label) > cut for label in labels) else labels


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Groups of runs with the same experiment but for the seed, in the order in which they first come.

    Experiments of one name are told apart by the settings in which they differ.
    """
    groups, settings = {}, {}
    for run in runs:
        flat = _settings(run)
        key = json.dumps(flat, sort_keys=True)
        settings[key] = flat
        groups.setdefault(key, Group(run.name)).runs.append(run)
    for group in groups.values():
        group.runs.sort(key=lambda run: run.seed)
    names = list(dict.fromkeys(group.runs[0].name for group in groups.values()))
    shorts = dict(zip(names, _short(names)))
    for key, group in groups.items():
        name, own = group.runs[0].name, settings[key]
        others = [settings[other] for other in groups if other != key and groups[other].runs[0].name == name]
        differing = [place for place in own if any(other.get(place) != own[place] for other in others)]
        tail = ", ".join(f"{place.split('.')[-1]} {own[place]}" for place in differing[:3])
        group.label = f"{shorts[name]} ({tail})" if tail else shorts[name]
    labels = [group.label for group in groups.values()]
    for group in groups.values():
        if labels.count(group.label) > 1:
            group.label = os.path.normpath(group.runs[0].folder)
    return list(groups.values())
