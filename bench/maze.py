#!/usr/bin/env python3
"""Seconds and memory of one iteration of the maze's learner (acting, forward, backward, update; experiments/maze/stpn.json)
against the number of agents and the number of steps. Times are of metrics.csv: the median of a run's iterations but for its
first, which touches memory for the first time. A table in Markdown goes to standard output; with --figures FOLDER a figure,
maze_cost, into that folder."""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile

import common

EXPERIMENT = os.path.join(common.ROOT, "experiments", "maze", "stpn.json")
BATCH, STEPS = 512, 200
AXES = {"agents": ("train.batch", (64, 128, 256, 512, 1024, 2048, 4096)),
        "steps": ("task.steps", (50, 100, 200, 500, 1000, 2000))}


def measure(stpn, threads, seconds, key, value):
    """The median iteration's seconds, its bytes at the peak, and how many iterations were taken."""
    scale = value / (BATCH if key == "train.batch" else STEPS)
    iterations = 1 + max(5, round(seconds / (0.3 * scale)))
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        settings = {key: value, "train.iterations": iterations, "train.evaluate_every": 1, "train.test_iterations": 1}
        options = [word for name, chosen in settings.items() for word in ("--set", "%s=%s" % (name, chosen))]
        subprocess.run([stpn, "train", EXPERIMENT, "--out", run, "--threads", str(threads), "--quiet"] + options, check=True,
                       stdout=subprocess.DEVNULL)
        with open(os.path.join(run, "metrics.csv")) as file:
            clock = [float(row["seconds"]) for row in csv.DictReader(file)]
        with open(os.path.join(run, "summary.json")) as file:
            peak = json.load(file)["train"]["peak_memory_bytes"]
    times = [after - before for before, after in zip(clock, clock[1:])]
    return statistics.median(times), peak, len(times)


def draw(rows, folder):
    """In a Python that has Matplotlib."""
    python = common.figure_python()
    if not python:
        print("bench/maze.py: no figure: there is no .venv and no .venv-bench", file=sys.stderr)
        return
    program = os.path.join(common.ROOT, "bench", "maze_figure.py")
    subprocess.run([python, program, folder], input=json.dumps(rows), text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--stpn", default=os.path.join(common.ROOT, "build", "stpn"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6, help="of iterations at each place, at least 5 of them")
    parser.add_argument("--figures", metavar="FOLDER")
    options = parser.parse_args()
    rows = []
    print("| axis | value | seconds an iteration | ns an agent and step | peak MB | bytes an agent and step | iterations |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for axis, (key, values) in AXES.items():
        for value in values:
            seconds, peak, count = measure(options.stpn, options.threads, options.seconds, key, value)
            total = value * (STEPS if axis == "agents" else BATCH)
            rows.append({"axis": axis, "value": value, "seconds": seconds, "peak": peak, "total": total})
            print("| %s | %d | %.4f | %.0f | %.1f | %.0f | %d |" % (axis, value, seconds, 1e9 * seconds / total, peak / 1e6,
                                                                 peak / total, count), flush=True)
    if options.figures:
        draw(rows, options.figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
