"""What the tests of the figures share: invented runs, and python -m stpn.plot. Importing it goes on in .venv."""
import contextlib
import csv
import io
import json
import os
import subprocess
import sys

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(SOURCE, "tests", "support"), os.path.join(SOURCE, "tests", "cli"), os.path.join(SOURCE, "python")]
import python_env  # noqa: E402

python_env.use()

import numpy as np  # noqa: E402
from support import CommandTest, write  # noqa: E402

from stpn import plot, run_files  # noqa: E402

COLUMNS = ["epoch", "updates", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "validation_energy",
           "seconds", "sequences_per_second"]
PROBES = (1, 2, 3, 5, 8)


def invent_run(folder, name, seed, epochs=12, rows=None, accuracy=True, summary=True, task=None, units=None, steps=9, probes=False):
    """A run folder as stpn train leaves it, with numbers that depend on name and seed; returns its measures."""
    draw = np.random.default_rng([seed, *name.encode()])
    os.makedirs(folder)
    experiment = {"name": name, "seed": seed, "version": "0.1.0", "task": task or {"name": "retrieval", "pairs": 3},
                  "units": units or [{"name": "stpn_r", "hidden": 11}], "train": {"epochs": epochs}}
    write(os.path.join(folder, "experiment.json"), json.dumps(experiment))
    table = [[e, 10 * e, *draw.uniform(0.1, 1, 5), 0.5 * e, 1000] for e in range(1, (rows or epochs) + 1)]
    text = [",".join(COLUMNS)]
    for row in table:
        text.append(",".join("" if not accuracy and "accuracy" in column else "%.9g" % value for column, value in zip(COLUMNS, row)))
    write(os.path.join(folder, "metrics.csv"), "\n".join(text) + "\n")
    energies = draw.uniform(1, 9, steps)
    test = {"accuracy": draw.uniform(0.5, 1), "loss": draw.uniform(), "energy": energies.mean(), "energy_steps": list(energies)}
    if not accuracy:
        del test["accuracy"]
    document = {"name": name, "seed": seed, "test": test}
    if probes:
        document["probes"] = [{"name": "R=%d" % R, "accuracy": draw.uniform(0.5, 1), "loss": 0.1} for R in PROBES]
    if summary:
        write(os.path.join(folder, "summary.json"), json.dumps(document))
    return document


class PlotTest(CommandTest):
    def plot(self, *words, code=0, process=False):
        """Output and messages of python -m stpn.plot, in this process or in one of its own."""
        if process:
            result = subprocess.run([sys.executable, "-m", "stpn.plot", *words], cwd=self.folder, text=True, capture_output=True,
                                    env={**os.environ, "PYTHONPATH": os.path.join(SOURCE, "python"), "PYTHONDONTWRITEBYTECODE": "1"})
        else:
            result = self.plot_here(words)
        self.assertEqual(result.returncode, code, result.stderr)
        for line in result.stderr.splitlines():
            self.assertRegex(line, r"^stpn\.plot: ")
        return result

    def plot_here(self, words):
        before, out, messages = os.getcwd(), io.StringIO(), io.StringIO()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(messages):
                code = plot.main(list(words))
        except SystemExit as end:
            code = end.code
        finally:
            os.chdir(before)
        return subprocess.CompletedProcess(words, code, out.getvalue(), messages.getvalue())

    def groups(self, *folders):
        runs, _, problems = plot.collect([self.path(folder) for folder in folders])
        self.assertEqual(problems, [])
        return run_files.group_runs(runs)

    def invent(self, count=3, names=("retrieval-rnn", "retrieval-lstm"), **more):
        """{(name, seed): summary}; the runs are in runs/."""
        return {(name, seed): invent_run(self.path("runs", "%s-s%d" % (name, seed)), name, seed, **more)
                for name in names for seed in range(count)}

    def column(self, name, seed, column):
        with open(self.path("runs", "%s-s%d" % (name, seed), "metrics.csv"), encoding="utf-8") as file:
            return [float(row[column]) for row in csv.DictReader(file)]
