"""The figure of a sweep: what it ranks by, against each key that it varies."""
import json

import numpy as np
from matplotlib.ticker import NullFormatter, ScalarFormatter

from .plot_style import COLUMN, COLOURS, MARKERS, legend_below, new_figure
from .run_files import setting

BUDGETS = ("train.epochs", "train.iterations", "train.steps")
LABELS = {"validation.accuracy": "validation accuracy\n(fraction)", "validation.loss": "validation loss",
          "test.reward": "test reward\nof an episode"}


def sweep_data(sweep, key):
    """Of each finished run: the value of the key, what it is ranked by, and what it trained for (halving)."""
    points = []
    for run in sweep.runs:
        value, result = setting(run.experiment, key), run.measure(*sweep.document["rank"].split("."))
        if value is None or not np.isfinite(result):
            continue
        budgets = [setting(run.experiment, name) for name in BUDGETS]
        budget = next((b for b in budgets if b is not None), 0) if sweep.document.get("search") == "halving" else 0
        points.append((value, result, budget))
    return points


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_logarithmic(spec, numbers):
    if isinstance(spec, dict):
        return "log" in spec or "log_integer" in spec
    return min(numbers) > 0 and max(numbers) >= 10 * min(numbers)


def _word(value):
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= 20 else text[:19] + "\N{HORIZONTAL ELLIPSIS}"


def sweep_panels(sweep):
    """A panel for each key with a point for each run, of halving in the look of its round."""
    keys = {key: sweep_data(sweep, key) for key in sweep.document["keys"]}
    keys = {key: points for key, points in keys.items() if points}
    if not keys:
        return None
    rounds = sorted({budget for points in keys.values() for *_, budget in points})
    figure = new_figure(COLUMN, 0.3 + 1.75 * len(keys) + 0.2 * (len(rounds) > 1))
    all_axes = figure.subplots(len(keys), 1, squeeze=False)[:, 0]
    handles = {}
    for axes, (key, points) in zip(all_axes, keys.items()):
        values = [value for value, *_ in points]
        places = values
        if all(_is_number(value) for value in values):
            if _is_logarithmic(sweep.document["keys"][key], values):
                axes.set_xscale("log")
                if min(values) >= 1:  # neurons, say: 4 to 32, not powers
                    axes.xaxis.set_major_formatter(ScalarFormatter())
                axes.xaxis.set_minor_formatter(ScalarFormatter() if max(values) < 10 * min(values) else NullFormatter())
        else:
            words = list(dict.fromkeys(sorted(_word(value) for value in values)))
            places = [words.index(_word(value)) for value in values]
            axes.set_xticks(range(len(words)), words)
            axes.set_xlim(-0.5, len(words) - 0.5)
        for index, budget in enumerate(rounds):
            own = [(place, result) for place, (_, result, its) in zip(places, points) if its == budget]
            if own:
                handles[budget], = axes.plot(*zip(*own), MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)],
                                             markersize=4, markeredgecolor="white", markeredgewidth=0.4, alpha=0.9)
        axes.set_xlabel(key)
        axes.set_ylabel(LABELS.get(sweep.document["rank"], sweep.document["rank"]))
    if len(rounds) > 1:
        legend_below(figure, [handles[budget] for budget in rounds], [str(budget) for budget in rounds], "trained for")
    return figure
