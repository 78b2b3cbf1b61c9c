"""stpn.load_run: what it gives is what the command has left; what cannot be read is named. Nothing compiled is there."""
import csv
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plot_support import PlotTest, invent_run  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
from support import EXPERIMENT, QUICK, read, read_tensors, write  # noqa: E402

import stpn  # noqa: E402

COUNTS = {"epoch", "iteration", "updates", "steps", "episodes"}
MAZE = {"name": "maze", "task": {"name": "maze", "size": 5, "steps": 30}, "units": [{"name": "gru", "hidden": 5}],
        "train": {"method": "a2c", "rollout": 20, "steps": 400, "batch": 4, "burn_in": 0, "test_iterations": 1}}


class Load(PlotTest):
    def check(self, folder):
        run = stpn.load_run(self.path(folder))
        self.assertEqual(run.experiment, json.loads(read(self.path(folder, "experiment.json"))))
        self.assertEqual(run.summary, self.summary(folder))
        self.assertEqual((run.name, run.seed), (run.experiment["name"], run.experiment["seed"]))
        with open(self.path(folder, "metrics.csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(list(run.metrics), list(rows[0]))
        for name, values in run.metrics.items():
            expected = [float(row[name] or "nan") for row in rows]
            np.testing.assert_array_equal(values, expected)
            self.assertEqual(values.dtype, np.int64 if name in COUNTS else np.float64, name)
        for which in ("best", "last"):
            header, data = read_tensors(self.path(folder, which + ".safetensors"))
            tensors = run.parameters(which)
            for name, values in tensors.items():
                begin, end = header[name]["data_offsets"]
                self.assertEqual(values.tobytes(), data[begin:end])
                self.assertEqual(list(values.shape), header[name]["shape"])
            self.assertEqual(sum(values.size for values in tensors.values()), run.summary["parameters"])
        return run

    def test_runs_of_the_command(self):
        self.train("run", *QUICK)
        run = self.check("run")
        self.assertEqual((len(run.metrics["updates"]), run.metrics["epoch"][-1]), (3, 3))
        self.assertEqual(run.parameters()["units.0.weight"].shape, (11, 48))
        self.assertTrue((run.parameters("last")["units.0.weight"] != 0).all())
        self.file = self.write_experiment("maze.json", MAZE)
        self.train("mazes/s0")
        self.check("mazes/s0")
        self.assertEqual(stpn.find_runs(self.path("mazes")), [self.path("mazes", "s0")])
        self.assertNotIn("stpn.library", sys.modules)

    def test_unfinished_runs(self):
        invent_run(self.path("run"), "x", 3, summary=False, rows=2)
        run = stpn.load_run(self.path("run"))
        self.assertEqual((run.summary, len(run.metrics["epoch"])), (None, 2))
        os.remove(self.path("run", "metrics.csv"))
        run = stpn.load_run(self.path("run"))
        self.assertEqual((run.metrics, len(run.epochs)), ({}, 0))

    def test_refusals(self):
        def refuse(says, folder, which=None):
            with self.assertRaisesRegex(stpn.RunError, says) as caught:
                run = stpn.load_run(self.path(folder))
                run.parameters(which)
            self.assertTrue(str(caught.exception).startswith(self.path()))
            self.assertNotIn("\n", str(caught.exception))

        for seed in range(3):
            invent_run(self.path("runs", f"s{seed}"), "x", seed)
        refuse("none/experiment.json: No such file", "none")
        refuse("runs: is no run itself, runs are in it: s0, s1, s2$", "runs")
        refuse("s0/best.safetensors: No such file", "runs/s0", "best")
        write(self.path("runs", "s1", "last.safetensors"), b"damaged")
        refuse("s1/last.safetensors: is no safetensors file", "runs/s1", "last")
        write(self.path("runs", "s1", "metrics.csv"), "epoch,loss\n1,2\n2\n")
        refuse("metrics.csv: line 3: expected 2 numbers", "runs/s1")
        write(self.path("runs", "s1", "metrics.csv"), "epoch,loss\n1,2\n2,2\n2,2\n")
        refuse("metrics.csv: line 4: expected a later epoch than in the line before", "runs/s1")
        write(self.path("runs", "s1", "experiment.json"), json.dumps({**EXPERIMENT, "seed": "1"}))
        refuse("experiment.json: expected a name and a seed", "runs/s1")
        with self.assertRaisesRegex(ValueError, 'expected "best" or "last"'):
            stpn.load_run(self.path("runs", "s0")).parameters("first")


if __name__ == "__main__":
    unittest.main()
