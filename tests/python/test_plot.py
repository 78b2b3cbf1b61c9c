"""python -m stpn.plot on runs: what is drawn is what the files say, the files are reproducible, bad runs are named."""
import json
import os
import shutil
import subprocess
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plot_support import COLUMNS, PROBES, SOURCE, PlotTest, invent_run  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
from support import read, write  # noqa: E402

from stpn import plot, plot_runs, plot_style, plot_sweep  # noqa: E402


class Sweeps(PlotTest):
    def sweep(self, search="random", **more):
        """Runs of six settings in sweep/, with two seeds each; [(learning rate, norm, validation accuracy)]."""
        points = []
        for i in range(12):
            rate, norm, folder = 10 ** (-4 + i // 2 / 3), ("pre", "output")[i // 2 % 2], self.path("sweep", "c%03d-s%d" % (i // 2, i % 2))
            invent_run(folder, "a", i % 2, epochs=(4, 12)[i // 6], summary=i != 11)
            for name, content in (("experiment", {"units": [{"name": "stpn_r", "norm": norm}]}), ("summary", {})):
                if name == "summary" and i == 11:
                    continue
                document = json.loads(read(os.path.join(folder, name + ".json")))
                document.update(content)
                if name == "experiment":
                    document["train"]["learning_rate"] = rate
                else:
                    document["validation"] = {"accuracy": i / 12}
                    points.append((rate, norm, i / 12))
                write(os.path.join(folder, name + ".json"), json.dumps(document))
        document = {"search": search, "rank": "validation.accuracy",
                    "keys": {"train.learning_rate": {"log": [1e-4, 1e-2]}, "units.0.norm": ["pre", "output"], "task.none": [1]}}
        write(self.path("sweep", "sweep.json"), json.dumps({**document, **more}))
        return points

    def panels(self):
        runs, _, problems = plot.collect([self.path("sweep")])
        return plot_sweep.sweep_panels(*plot.read_sweeps([self.path("sweep")], runs, problems)).axes

    def test_a_panel_for_each_key(self):
        points = self.sweep()
        rates, norms = self.panels()
        self.assertEqual([axes.get_xlabel() for axes in (rates, norms)], ["train.learning_rate", "units.0.norm"])
        self.assertEqual(rates.get_xscale(), "log")
        np.testing.assert_allclose(rates.lines[0].get_xydata(), [(rate, result) for rate, _, result in points], rtol=1e-12)
        words = [label.get_text() for label in norms.get_xticklabels()]
        drawn = [(words[int(place)], result) for place, result in norms.lines[0].get_xydata()]
        self.assertEqual(sorted(drawn), sorted((norm, result) for _, norm, result in points))

    def test_rounds_look_different(self):
        points = self.sweep("halving")
        rates, _ = self.panels()
        self.assertEqual([len(line.get_xdata()) for line in rates.lines], [6, len(points) - 6])
        self.assertEqual([text.get_text() for text in rates.figure.legends[0].get_texts()], ["4", "12"])

    def test_files(self):
        self.sweep()
        result = self.plot("sweep", "--out", "f", "--format", "svg")
        self.assertEqual((result.stdout, result.stderr.count("is not finished: it is in no figure")), ("f/sweep.svg\n", 1))
        write(self.path("sweep", "sweep.json"), "{}")
        self.assertIn("sweep.json: expected keys and a rank", self.plot("sweep", "--out", "f", code=1).stderr)


class Drawn(PlotTest):
    def test_learning_curves(self):
        self.invent()
        figure = plot_runs.learning_curves(self.groups("runs"))
        for axes, column in zip(figure.axes, ("validation_accuracy", "validation_loss")):
            self.assertEqual([line.get_label() for line in axes.lines], ["lstm", "rnn"])
            for line in axes.lines:
                curves = np.array([self.column("retrieval-" + line.get_label(), seed, column) for seed in range(3)])
                np.testing.assert_array_equal(line.get_xdata(), range(1, 13))
                np.testing.assert_allclose(line.get_ydata(), curves.mean(0), rtol=1e-12)
            band = axes.collections[1].get_paths()[0].vertices
            self.assertAlmostEqual(band[:, 1].min(), curves.min(), 9)
            self.assertAlmostEqual(band[:, 1].max(), curves.max(), 9)
        for draw in plot_runs.learning_curves, plot_runs.accuracy_energy, plot_runs.energy_steps, plot_runs.generalisation:
            runs = [run for group in self.groups("runs") for run in group.runs]
            found, expected = draw(runs), draw(self.groups("runs"))
            self.assertEqual(found and len(found.axes[0].lines), expected and len(expected.axes[0].lines))
        self.assertEqual([axes.get_ylabel() for axes in figure.axes], ["validation accuracy (fraction)", "validation loss (nats)"])
        self.assertEqual(figure.axes[1].get_xlabel(), "epoch")
        self.assertIn("minimum to maximum", figure.legends[0].get_title().get_text())
        self.assertIn("3 seeds", figure.legends[0].get_title().get_text())

    def test_only_epochs_of_all_seeds(self):
        invent_run(self.path("runs", "a"), "a", 0, rows=8)
        invent_run(self.path("runs", "b"), "a", 1, rows=5)
        group, = self.groups("runs")
        epochs, curves = plot_runs.learning_data(group, "validation_loss")
        self.assertEqual((list(epochs), curves.shape), ([1, 2, 3, 4, 5], (2, 5)))

    def test_regression_has_a_loss_alone(self):
        self.invent(accuracy=False)
        groups = self.groups("runs")
        axes, = plot_runs.learning_curves(groups).axes
        self.assertEqual(axes.get_ylabel(), "validation loss\n(mean squared error)")
        self.assertEqual(plot_runs.accuracy_energy(groups).axes[0].get_ylabel(), "test loss")

    def test_accuracy_and_energy(self):
        summaries = self.invent()
        axes, = plot_runs.accuracy_energy(self.groups("runs")).axes
        self.assertEqual(len(axes.lines), 4)
        for name, (seeds, mean) in (("retrieval-lstm", axes.lines[:2]), ("retrieval-rnn", axes.lines[2:])):
            points = [[summaries[name, seed]["test"][key] for key in ("energy", "accuracy")] for seed in range(3)]
            np.testing.assert_allclose(seeds.get_xydata(), points, rtol=1e-12)
            np.testing.assert_allclose(mean.get_xydata(), [np.mean(points, 0)], rtol=1e-12)

    def test_energy_over_the_steps(self):
        summaries = self.invent()
        axes, = plot_runs.energy_steps(self.groups("runs")).axes
        for line in axes.lines:
            curves = [summaries["retrieval-" + line.get_label(), seed]["test"]["energy_steps"] for seed in range(3)]
            np.testing.assert_array_equal(line.get_xdata(), range(1, 10))
            np.testing.assert_allclose(line.get_ydata(), np.mean(curves, 0), rtol=1e-12)
        self.assertEqual([label.get_text().split("\n")[1] for label in axes.get_xticklabels()],
                         ["key", "value"] * 3 + ["?", "?", "query"])

    def test_many_steps_are_means(self):
        summaries = self.invent(names=["x"], steps=5000, task={"name": "familiarity"})
        line, = plot_runs.energy_steps(self.groups("runs")).axes[0].lines
        curve = np.mean([summaries["x", seed]["test"]["energy_steps"] for seed in range(3)], 0)
        np.testing.assert_allclose(line.get_ydata(), curve.reshape(250, 20).mean(1), rtol=1e-12)
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 5001).reshape(250, 20).mean(1), rtol=1e-12)

    def test_generalisation(self):
        summaries = self.invent(probes=True, task={"name": "familiarity", "distance": 3})
        axes, = plot_runs.generalisation(self.groups("runs")).axes
        for line in [line for line in axes.lines if line.get_label() in ("rnn", "lstm")]:
            curves = [[probe["accuracy"] for probe in summaries["retrieval-" + line.get_label(), seed]["probes"]] for seed in range(3)]
            np.testing.assert_array_equal(line.get_xdata(), PROBES)
            np.testing.assert_allclose(line.get_ydata(), np.mean(curves, 0), rtol=1e-12)
        self.assertEqual(axes.get_xlabel(), "repeat distance R (steps)")
        self.invent(names=["y"])
        self.assertIsNone(plot_runs.generalisation(self.groups("runs/y-s0")))

    def test_nine_networks_look_different(self):
        looks = [plot_style.line_style(i) for i in range(9)]
        for key in ("color", "marker"):
            self.assertEqual(len({look[key] for look in looks}), 9)
        self.assertEqual(len({str(plot_style.line_style(i)) for i in range(495)}), 495)


class Groups(PlotTest):
    def labels(self):
        return [group.label for group in self.groups("runs")]

    def test_seeds_are_together_and_in_order(self):
        self.invent(count=11, names=["a-x", "a-y"])
        groups = self.groups("runs")
        self.assertEqual([[run.seed for run in group.runs] for group in groups], [list(range(11))] * 2)

    def test_what_differs_is_told(self):
        for hidden in (6, 11):
            for seed in (0, 1):
                invent_run(self.path("runs", "%d-%d" % (hidden, seed)), "retrieval-x", seed, units=[{"name": "rnn", "hidden": hidden}])
        self.assertEqual(self.labels(), ["retrieval-x (hidden 6)", "retrieval-x (hidden 11)"])

    def test_a_common_beginning_goes(self):
        self.invent(count=1, names=["retrieval-stpn_r", "retrieval-stpn_f"])
        self.assertEqual(self.labels(), ["stpn_f", "stpn_r"])
        self.invent(count=1, names=["other"])
        self.assertEqual(self.labels(), ["other", "retrieval-stpn_f", "retrieval-stpn_r"])

    def test_folders_of_folders(self):
        """As train --seeds and reproduce leave them."""
        for name in ("p/a/s0", "p/a/s1", "p/b/s0"):
            invent_run(self.path(name), name[2], int(name[-1]))
        self.assertEqual([group.label for group in self.groups("p")], ["a", "b"])
        self.assertEqual(len(self.groups("p", "p/a/s0", "p/b")[0].runs), 2)


class Files(PlotTest):
    def test_the_same_bytes_and_whole_svg(self):
        self.invent(probes=True)
        names = ["learning_curves", "accuracy_energy", "energy_steps", "generalisation"]
        for out in ("one", "two"):
            result = self.plot("runs", "--out", out, process=out == "two")
            self.assertEqual(result.stdout.split(), ["%s/%s.%s" % (out, name, kind) for name in names for kind in ("png", "svg")])
        for name in names:
            for kind in ("png", "svg"):
                content = read(self.path("one", name + "." + kind))
                self.assertEqual(content, read(self.path("two", name + "." + kind)), name)
            root = xml.etree.ElementTree.fromstring(content)
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
            self.assertNotIn(b"<dc:date>", content)
            self.assertTrue(read(self.path("one", name + ".png")).startswith(b"\x89PNG\r\n"))
        self.assertEqual(len(os.listdir(self.path("one"))), 8)

    def test_the_users_own_style_changes_nothing(self):
        self.invent()
        self.plot("runs", "--out", "one", "--format", "svg")
        write(self.path("matplotlibrc"), "font.size: 30\naxes.grid: False\nlines.linewidth: 9\nsvg.hashsalt: x\n")
        self.plot("runs", "--out", "two", "--format", "svg", process=True)
        self.assertEqual(read(self.path("one", "learning_curves.svg")), read(self.path("two", "learning_curves.svg")))

    def test_a_real_run(self):
        for seed in ("0", "1"):
            self.train("real-s" + seed, "--seed", seed, "--set", "task.train=256", "--set", "train.epochs=3")
        self.plot("real-s0", "real-s1", "--format", "png")
        self.assertEqual(sorted(os.listdir(self.path("figures"))), ["accuracy_energy.png", "energy_steps.png", "learning_curves.png"])
        group, = self.groups("real-s0", "real-s1")
        epochs, curves = plot_runs.learning_data(group, "validation_accuracy")
        rows = [line.split(",") for line in read(self.path("real-s1", "metrics.csv")).decode().split()[1:]]
        self.assertEqual(list(epochs), [1, 2, 3])
        self.assertEqual(list(curves[1]), [float(row[5]) for row in rows])

    def test_a_run_in_an_environment(self):
        self.file = self.write_experiment("maze.json", {
            "name": "maze", "task": {"name": "maze", "steps": 9, "size": 5}, "units": [{"name": "stpn_r", "hidden": 3}],
            "train": {"iterations": 6, "batch": 16, "evaluate_every": 2, "test_iterations": 1}})
        for seed in ("0", "1"):
            self.train("maze-s" + seed, "--seed", seed)
        self.plot("maze-s0", "maze-s1", "--format", "svg")
        self.assertEqual(sorted(os.listdir(self.path("figures"))), ["accuracy_energy.svg", "learning_curves.svg"])
        group, = self.groups("maze-s0", "maze-s1")
        iterations, curves = plot_runs.learning_data(group, "reward")
        rows = [line.split(",") for line in read(self.path("maze-s1", "metrics.csv")).decode().split()[1:]]
        self.assertEqual(list(iterations), [2, 4, 6])
        self.assertEqual(list(curves[1]), [float(row[2]) for row in rows])
        rewards = [run.measure("test", "reward") for run in group.runs]
        self.assertEqual(list(plot_runs.energy_data(group, "reward")[:, 1]), rewards)

    def test_it_needs_nothing_compiled(self):
        """A copy of the folder somewhere else is enough."""
        shutil.copytree(os.path.join(SOURCE, "python", "stpn"), self.path("copy", "stpn"))
        result = subprocess.run([sys.executable, "-c", "import stpn, stpn.plot_runs, stpn.plot_synapses, sys; "
                                 "print(stpn.plot.FORMATS, [m for m in sys.modules if m.endswith(('pyplot', 'torch'))])\n"
                                 "sys.modules['torch'] = None\ntry:\n    stpn.torch\nexcept ImportError as problem:\n    print(problem)"],
                                cwd=self.path("copy"), env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, text=True,
                                capture_output=True)
        self.assertRegex(result.stdout, r"^\('png', 'svg'\) \[\]\nstpn.torch needs PyTorch 2.4 or newer .*: pip install torch\n$")
        self.assertEqual(result.stderr, "")


class Refused(PlotTest):
    def test_wrong_use(self):
        self.invent(count=1)
        for words, says in (([], "RUN"), (["runs", "--format", "pdf"], '"pdf" is none of png, svg'), (["runs", "--fromat", "png"], "--fromat"),
                            (["nowhere"], "nowhere: there is no such folder or file"), (["runs", "--out"], "--out")):
            result = self.plot(*words, code=2, process=not words)
            self.assertIn(says, result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        os.mkdir(self.path("empty"))
        self.assertIn("empty: no run is in this folder", self.plot("empty", code=2).stderr)
        self.assertFalse(os.path.exists(self.path("figures")))

    def test_broken_runs_are_named(self):
        """The others are drawn all the same."""
        self.invent(count=1)
        good = self.path("runs", "retrieval-rnn-s0")

        def damage(name, file, content):
            shutil.copytree(good, self.path("runs", name))
            path = self.path("runs", name, file)
            os.remove(path) if content is None else write(path, content)

        table = read(os.path.join(good, "metrics.csv")).decode()
        damage("cut", "summary.json", '{"name": ')
        damage("list", "summary.json", "[]")
        damage("deep", "summary.json", "[" * 100000)
        damage("binary", "experiment.json", b"\xff\xfe\x00")
        damage("lost", "experiment.json", None)
        damage("nameless", "experiment.json", '{"seed": 1}')
        damage("word", "metrics.csv", table.replace(",1000\n", ",many\n"))
        damage("short", "metrics.csv", table[:-9])
        damage("other", "metrics.csv", "a,b\n1,2\n")
        damage("nothing", "metrics.csv", "")
        result = self.plot("runs", "--format", "svg", code=1)
        lines = result.stderr.splitlines()
        for name in ("cut", "list", "deep", "binary", "lost", "nameless", "word", "short", "other", "nothing"):
            self.assertEqual(len([line for line in lines if "runs/%s/" % name in line]), 1, name)
        self.assertEqual(len(lines), 10)
        self.assertIn("metrics.csv: line 2", result.stderr)
        self.assertEqual(len(result.stdout.split()), 3)
        self.plot("runs/cut", code=2)

    def test_strange_numbers_leave_things_out(self):
        """What a run lacks is missing in the picture; nothing else is."""
        self.invent(count=2)
        path = self.path("runs", "retrieval-rnn-s0", "summary.json")
        for test in ({}, [], {"accuracy": "high", "energy": None, "energy_steps": ["x"]}, {"accuracy": True, "energy_steps": 7}):
            write(path, json.dumps({"test": test, "probes": [1, {"name": 3}, {"name": "R=x"}, {"name": "R=1"}]}))
            self.plot("runs", "--format", "png")
            rnn = [group for group in self.groups("runs") if group.label == "rnn"][0]
            self.assertEqual((len(plot_runs.energy_data(rnn)), len(plot_runs.energy_steps_data(rnn))), (1, 1))

    def test_a_run_under_way(self):
        self.invent(count=2, summary=False)
        result = self.plot("runs", "--format", "png")
        self.assertEqual(result.stdout.split(), ["figures/learning_curves.png"])
        self.assertEqual(result.stderr.count("is not finished"), 4)
        write(self.path("runs", "retrieval-rnn-s0", "metrics.csv"), ",".join(COLUMNS) + "\n")
        self.plot("runs", "--format", "png")
        for name in os.listdir(self.path("runs")):
            os.remove(self.path("runs", name, "metrics.csv"))
        self.assertIn("nothing to draw", self.plot("runs", code=2).stderr)

    def test_where_nothing_can_be_written(self):
        self.invent(count=1)
        write(self.path("file"), "mine")
        self.assertIn("file", self.plot("runs", "--out", "file", code=3).stderr)
        self.assertEqual(read(self.path("file")), b"mine")
        os.makedirs(self.path("taken", "learning_curves.png"))
        self.plot("runs", "--out", "taken", code=3)
        self.assertEqual(os.listdir(self.path("taken")), ["learning_curves.png"])


if __name__ == "__main__":
    unittest.main()
