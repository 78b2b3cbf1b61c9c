"""maze_figure.py FOLDER, the rows of maze.py as JSON on standard input: maze_cost, PNG and SVG."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from stpn import plot_style  # noqa: E402

from figures import FORMATS, plain_logarithmic  # noqa: E402

LABELS = {"agents": "agents, of 200 steps", "steps": "steps, of 512 agents"}


def main():
    rows = json.load(sys.stdin)
    with plot_style.style():
        figure = plot_style.new_figure(plot_style.PAGE, 4.6)
        for place, (column, label) in enumerate((("seconds", "seconds an iteration"), ("peak", "peak memory, MB"))):
            for side, axis in enumerate(LABELS):
                axes = figure.add_subplot(2, 2, 1 + 2 * place + side)
                own = [row for row in rows if row["axis"] == axis]
                values, heights = [row["value"] for row in own], [row[column] / (1e6 if place else 1) for row in own]
                axes.plot(values, heights, **plot_style.line_style(0))
                # In proportion, through the middle one.
                middle = len(own) // 2
                axes.plot(values, [heights[middle] * value / values[middle] for value in values], color="#7F7F7F",
                          linewidth=0.8, linestyle=(0, (1, 2)))
                plain_logarithmic(axes)
                axes.set_xlabel(LABELS[axis])
                if side == 0:
                    axes.set_ylabel(label)
        for path in plot_style.save(figure, sys.argv[1], "maze_cost", FORMATS):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
