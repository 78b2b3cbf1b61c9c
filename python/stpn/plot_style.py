"""How the figures look: size, colours, how they are written."""
from __future__ import annotations  # Python 3.9

import contextlib
import os
from collections.abc import Iterable

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

__all__ = ["style", "save"]

COLUMN, PAGE = 3.5, 7.0  # inches: one column of a paper, and two

# Okabe and Ito's colours without their yellow, which is pale on white, then grey and Tol's wine; dashes and markers tell
# apart what colours do not.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7F7F7F", "#882255"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p"]
DASHES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1))]

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "svg.hashsalt": "stpn",  # ids that do not change from one run to the next
}


def style() -> contextlib.AbstractContextManager[None]:
    """with style(): nothing but this module decides how a figure looks."""
    return matplotlib.style.context(["default", _STYLE])


def line_style(index):
    """Colour, marker and dashes of experiment `index`: no two of the first 495 are the same."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def new_figure(width, height):
    return Figure(figsize=(width, height), layout="constrained")


def label_columns(labels, width=COLUMN):
    """How many entries of a legend stand beside each other."""
    letters = max(len(label) for label in labels)
    return int(np.clip((width - 0.1) / (0.6 + 0.062 * letters), 1, 4))


def legend_below(figure, handles, labels, title):
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=label_columns(labels, figure.get_figwidth()),
                  columnspacing=1.2, borderaxespad=0.2)


def save(figure: Figure, folder: str | os.PathLike[str], name: str, formats: Iterable[str]) -> list[str]:
    """Writes FOLDER/NAME.FORMAT for each of `formats` ("png", "svg"), whole or not at all; equal figures give equal bytes. Returns the
    paths."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for kind in formats:
        path = os.path.join(folder, f"{name}.{kind}")
        metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
        try:
            with style():
                figure.savefig(path + ".tmp", format=kind, dpi=300, metadata=metadata)
            os.replace(path + ".tmp", path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(path + ".tmp")
            raise
        paths.append(path)
    return paths
