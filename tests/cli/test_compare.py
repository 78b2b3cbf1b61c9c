"""stpn compare: what stands in its tables is what the runs' files say."""
import csv
import io
import json
import math
import os
import re
import shutil
import statistics
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import EXPERIMENT, QUICK, CommandTest, read, write  # noqa: E402

MEASURES = {"accuracy": ("test", "accuracy"), "accuracy_best": ("test_best", "accuracy"), "loss": ("test", "loss"),
            "loss_best": ("test_best", "loss"), "energy": ("test", "energy"),
            "energy_per_neuron": ("test", "energy_per_neuron"), "wall_seconds": ("train", "wall_seconds")}


class CompareTest(CommandTest):
    def make_run(self, folder, name="net", seed=0, accuracy=0.5, accuracies=(0.1, 0.4, 0.45, 0.5), hidden=11, epochs=4,
                 summary=True, **more):
        """A run folder without a run."""
        os.makedirs(self.path(folder))
        experiment = dict(EXPERIMENT, name=name, seed=seed, version="0.1.0",
                          units=[{"name": "stpn_r", "hidden": hidden, "granularity": "synapse"}])
        experiment["train"] = dict(experiment["train"], epochs=epochs)
        write(self.path(folder, "experiment.json"), json.dumps(experiment))
        rows = ["epoch,updates,train_loss,train_accuracy,validation_loss,validation_accuracy,validation_energy,seconds"]
        rows += ["%d,%d,1,0.1,1.5,%r,2,0.1" % (e + 1, e, a) for e, a in enumerate(accuracies)]
        write(self.path(folder, "metrics.csv"), "\n".join(rows) + "\n")
        test = {"accuracy": accuracy, "loss": 1 - accuracy, "energy": 2 + accuracy, "energy_per_neuron": 0.25}
        document = {"name": name, "seed": seed, "parameters": 2039, "test": test,
                    "test_best": {"accuracy": accuracy + 0.01, "loss": 0.3}, "train": {"wall_seconds": 10 + seed}}
        document.update(more)
        if summary:
            write(self.path(folder, "summary.json"), json.dumps(document))

    def groups(self, *words, code=0):
        result = self.run_command("compare", *words, "--json")
        self.assertEqual(result.returncode, code, result.stderr)
        return json.loads(result.stdout)["experiments"]

    def lines(self, *words):
        """The text table as rows of cells; cells are two blanks or more apart."""
        return [re.split(r" {2,}", line.strip()) for line in self.succeed("compare", *words).stdout.splitlines()]


class Numbers(CompareTest):
    def test_real_runs(self):
        """Means, deviations and epochs, computed again from the files."""
        self.train("all", *QUICK, "--set", "train.epochs=12", "--seeds", "0-3")
        group, = self.groups("all")
        runs = [json.loads(read(self.path("all", "s%d" % seed, "summary.json"))) for seed in range(4)]
        for key, path in MEASURES.items():
            values = [run[path[0]][path[1]] for run in runs]
            # The numbers are printed with ten digits.
            mean = statistics.mean(values)
            self.assertAlmostEqual(group[key]["mean"], mean, None, key, delta=1e-9 * max(1, abs(mean)))
            self.assertAlmostEqual(group[key]["deviation"], statistics.stdev(values), None, key,
                                   delta=1e-9 * max(1, abs(mean)))
            self.assertEqual(group[key]["seeds"], 4)
            self.assertEqual([run[key] for run in group["runs"]], values)
        epochs = []
        for seed in range(4):
            rows = list(csv.DictReader(read(self.path("all", "s%d" % seed, "metrics.csv")).decode().splitlines()))
            last = float(rows[-1]["validation_accuracy"])
            epochs.append(next(int(row["epoch"]) for row in rows if float(row["validation_accuracy"]) >= 0.9 * last))
        self.assertEqual(group["epochs_to_90"]["mean"], statistics.mean(epochs))
        self.assertEqual(group["parameters"], runs[0]["parameters"])
        self.assertEqual((group["experiment"], group["network"], group["finished"]), ("small", "stpn_r 11", 4))
        self.assertEqual([run["seed"] for run in group["runs"]], [0, 1, 2, 3])

    def test_epochs_to_90(self):
        self.make_run("a", accuracies=(0.3, 0.89, 0.9, 0.7, 1.0))
        self.make_run("b", name="b", accuracies=(0.5,))
        self.make_run("c", name="c", accuracies=())
        self.make_run("d", name="d", accuracies=(1.0, 0.2, 0.1))
        self.make_run("e", name="e", accuracies=(0.1, math.nan))
        found = {group["experiment"]: group["epochs_to_90"] and group["epochs_to_90"]["mean"]
                 for group in self.groups("a", "b", "c", "d", "e")}
        self.assertEqual(found, {"net": 3, "b": 1, "c": None, "d": 1, "e": None})
        os.remove(self.path("b", "metrics.csv"))
        self.assertIsNone(self.groups("b")[0]["epochs_to_90"])

    def test_one_seed_has_no_deviation(self):
        self.make_run("a", accuracy=0.25)
        group, = self.groups("a")
        self.assertEqual(group["accuracy"], {"mean": 0.25, "deviation": None, "seeds": 1})
        self.assertNotIn("±", self.succeed("compare", "a").stdout)

    def test_sorted_by_accuracy(self):
        for number, accuracy in enumerate((0.25, 0.75, 0.5)):
            self.make_run("r%d" % number, name="n%d" % number, accuracy=accuracy)
        self.make_run("open", name="a-open", summary=False)
        self.assertEqual([group["experiment"] for group in self.groups(".")], ["n1", "n2", "n0", "a-open"])
        self.assertEqual([row[0] for row in self.lines(".")], ["experiment", "n1", "n2", "n0", "a-open"])

    def test_losses_where_there_is_no_accuracy(self):
        self.make_run("a", name="a", test={"loss": 0.125, "energy": 3}, test_best={"loss": 0.1})
        self.make_run("b", name="b", test={"loss": 0.5, "energy": 3}, test_best={"loss": 0.25})
        rows = self.lines("b", "a")
        self.assertEqual([row[0] for row in rows], ["experiment", "a", "b"])
        self.assertIn("test loss", rows[0])
        self.assertIn("0.125", rows[1])
        self.assertNotIn("test accuracy", rows[0])
        self.make_run("c", name="c")
        self.assertIn("test accuracy", self.lines("a", "c")[0])
        self.assertNotIn("test loss", self.lines("c")[0])

    def test_picojoules_where_there_are_any(self):
        self.make_run("a", hardware={"picojoules": 7000.5})
        self.make_run("b", seed=1)
        group, = self.groups("a", "b")
        self.assertEqual(group["picojoules"], {"mean": 7000.5, "deviation": None, "seeds": 1})
        self.assertIn("pJ/step", self.succeed("compare", "a").stdout)
        self.assertNotIn("pJ/step", self.succeed("compare", "b").stdout)

    def test_probes(self):
        for seed in range(2):
            self.make_run("a%d" % seed, seed=seed, probes=[{"name": "R=1", "accuracy": 0.75 + seed / 8, "loss": 0.25},
                                                             {"name": "R=2", "accuracy": 0.5}])
        self.make_run("b", name="other", probes=[{"name": "R=3", "accuracy": 1}, {"accuracy": 0.5}, 7])
        text = self.succeed("compare", ".").stdout
        first, second = text.split("\n\n")
        rows = [re.split(r" {2,}", line.strip()) for line in second.splitlines()]
        self.assertEqual(rows[0], ["test accuracy", "R=1", "R=2", "R=3"])
        self.assertIn(["net", "0.812", "0.500", "-"], rows)
        self.assertIn(["other", "-", "-", "1.000"], rows)
        group = next(group for group in self.groups(".") if group["experiment"] == "net")
        self.assertEqual(group["probes"][0]["accuracy"]["mean"], 0.8125)
        self.assertEqual(group["probes"][0]["loss"], {"mean": 0.25, "deviation": 0.0, "seeds": 2})
        self.assertIsNone(group["probes"][2]["accuracy"])


class Groups(CompareTest):
    def test_what_differs_is_another_row(self):
        self.make_run("a", hidden=11)
        self.make_run("b", hidden=6, seed=1)
        self.make_run("c", hidden=6, seed=2)
        self.make_run("d", hidden=6, epochs=40)
        groups = {group["setting"]: group for group in self.groups(".")}
        self.assertEqual(sorted(groups), ["units.0.hidden=11, train.epochs=4", "units.0.hidden=6, train.epochs=4",
                                          "units.0.hidden=6, train.epochs=40"])
        self.assertEqual(groups["units.0.hidden=6, train.epochs=4"]["accuracy"]["seeds"], 2)
        self.assertIn("net (units.0.hidden=6, train.epochs=40)", [row[0] for row in self.lines(".")])

    def test_notes_and_versions_are_no_difference(self):
        self.make_run("a")
        self.make_run("b", seed=1)
        document = json.loads(read(self.path("b", "experiment.json")))
        document.update(note="another", version="0.0.9")
        write(self.path("b", "experiment.json"), json.dumps(document))
        self.assertEqual(len(self.groups("a", "b")), 1)

    def test_the_same_run_counts_once(self):
        self.make_run("all/a")
        os.symlink("all", self.path("link"))
        result = self.succeed("compare", "all", "all/a", "./all/", "link", "--json")
        self.assertEqual(result.stderr, "")
        self.assertEqual(len(json.loads(result.stdout)["experiments"][0]["runs"]), 1)

    def test_a_copy_is_left_out_and_named(self):
        self.make_run("all/a")
        self.make_run("all/b", accuracy=0.75)
        result = self.run_command("compare", "all")
        self.assert_refused(result, 0, ["all/b", "left out", "all/a"])
        self.make_run("all/0", summary=False)
        group, = self.groups("all")
        self.assertEqual([run["folder"] for run in group["runs"]], ["all/a"])

    def test_folders_below(self):
        self.make_run("x/y/z/deep")
        self.make_run("x/.hidden", name="hidden")
        self.make_run("x/one/inner", name="one")
        self.assertEqual(sorted(group["experiment"] for group in self.groups("x")), ["net", "one"])
        # A run's own folders are its own.
        self.make_run("x/one/inner/figures", name="inside")
        self.assertEqual(len(self.groups("x")), 2)

    def test_stacked_and_coarse_networks(self):
        self.make_run("a")
        document = json.loads(read(self.path("a", "experiment.json")))
        document["units"] = [{"name": "stpn_r", "hidden": 4, "granularity": "scalar"}, {"name": "lstm", "hidden": 3}]
        write(self.path("a", "experiment.json"), json.dumps(document))
        self.assertEqual(self.groups("a")[0]["network"], "stpn_r 4 scalar + lstm 3")


class Incomplete(CompareTest):
    def test_unfinished_runs(self):
        self.make_run("all/a", summary=False)
        self.make_run("all/b", seed=1)
        self.make_run("all/c", seed=2)
        self.make_run("all/d", name="none", summary=False)
        result = self.run_command("compare", "all")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr, "stpn: all/a: is not finished\nstpn: all/d: is not finished\n")
        rows = [re.split(r" {2,}", line.strip()) for line in result.stdout.splitlines()]
        self.assertEqual(rows[1][:4], ["net", "stpn_r 11", "2039", "2 of 3"])
        self.assertEqual(rows[2][3:5], ["0 of 1", "unfinished"])
        # Counted without a summary.
        self.assertEqual(rows[2][2], "2039")
        states = [run["state"] for group in self.groups("all") for run in group["runs"]]
        self.assertEqual(states, ["unfinished", "finished", "finished", "unfinished"])

    def test_unreadable_runs(self):
        self.make_run("all/good")
        whole = read(self.path("all", "good", "summary.json")).decode()
        spoiled = [("summary.json", "", "summary.json: line 1"), ("summary.json", whole[:-2], "summary.json: line 1"),
                   ("summary.json", "[]", "summary.json: holds an array"), ("summary.json", "{}", 'has no "test"'),
                   ("summary.json", '{"test": 3}', 'has no "test"'), ("summary.json", "\0" * 100, "summary.json: line 1"),
                   ("experiment.json", "{", "experiment.json: line 1"), ("experiment.json", "{}", "name is missing"),
                   ("experiment.json", '{"name": 3}', "name is an integer"), ("experiment.json", None, "No such file")]
        for number, (name, content, says) in enumerate(spoiled):
            folder = "all/bad%d" % number
            self.make_run(folder, name="bad%d" % number)
            if content is None:
                os.remove(self.path(folder, name))
            else:
                write(self.path(folder, name), content)
            with self.subTest(name=name, content=content):
                self.assert_refused(self.run_command("compare", "all"), 2, [folder, says])
                result = self.run_command("compare", "all", "--json")
                self.assertEqual(result.returncode, 2)
                groups = json.loads(result.stdout)["experiments"]
                self.assertEqual([group["finished"] for group in groups], [1, 0])
                self.assertEqual(groups[1]["runs"][0]["state"], "unreadable")
            shutil.rmtree(self.path(folder))

    def test_odd_values_are_none(self):
        self.make_run("a", test={"accuracy": "high", "loss": None, "energy": [3]}, train=7, test_best=[], parameters="2039",
                      probes={"name": "R=1"}, hardware=3)
        group, = self.groups("a")
        for key in MEASURES:
            self.assertIsNone(group[key])
        self.assertEqual(group["parameters"], 2039)
        self.assertNotIn("probes", group)
        document = json.loads(read(self.path("a", "experiment.json")))
        document["units"] = {"x": 1}
        write(self.path("a", "experiment.json"), json.dumps(document))
        self.assertEqual(self.groups("a")[0]["network"], "?")

    def test_a_hostile_metrics_file(self):
        self.make_run("a")
        for text in (b"", b"\n", b"epoch", b"epoch,validation_accuracy", b"epoch,validation_accuracy\n1", b",,,\n,,,\n",
                     b"epoch,validation_accuracy\n1,x\n", b"\xff" * 100, b"epoch,validation_accuracy\n\n\n",
                     b"epoch,validation_accuracy\n1,0.5\n2", b"validation_accuracy,epoch\r\n0.5,1\r\n"):
            write(self.path("a", "metrics.csv"), text)
            self.groups("a")

    def test_wrong_paths(self):
        self.make_run("a")
        os.mkdir(self.path("empty"))
        self.refuse(2, "compare", says="RUN is missing")
        self.refuse(2, "compare", "none", says=["none", "is no folder"])
        self.refuse(2, "compare", "a", "none", says="none")
        self.refuse(2, "compare", self.file, says=os.path.basename(self.file))
        self.refuse(2, "compare", "empty", says=["empty", "no run in it"])
        self.refuse(2, "compare", "x" * 5000, says="is no folder")
        self.refuse(2, "compare", "a", "--json", "--csv", says="--json and --csv exclude each other")


class Formats(CompareTest):
    def setUp(self):
        super().setUp()
        self.make_run("all/a", accuracy=0.25)
        self.make_run("all/b", seed=1, accuracy=0.5)
        self.make_run("all/c", name="other", accuracy=0.125, probes=[{"name": 'R|1, "odd"', "accuracy": 0.5}])
        self.make_run("all/d", name="open", summary=False)

    def test_csv(self):
        rows = list(csv.reader(io.StringIO(self.run_command("compare", "all", "--csv").stdout)))
        self.assertEqual({len(row) for row in rows}, {len(rows[0])})
        self.assertEqual(len(set(rows[0])), len(rows[0]))
        found = {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}
        self.assertEqual(float(found["net"]["accuracy"]), 0.375)
        self.assertAlmostEqual(float(found["net"]["accuracy_sd"]), statistics.stdev([0.25, 0.5]), 9)
        self.assertEqual((found["net"]["runs"], found["net"]["finished"], found["net"]["parameters"]), ("2", "2", "2039"))
        self.assertEqual((found["open"]["accuracy"], found["open"]["finished"]), ("", "0"))
        self.assertEqual(found["other"]['accuracy R|1, "odd"'], "0.5")

    def test_markdown(self):
        text = self.run_command("compare", "all", "--markdown").stdout
        for table in text.split("\n\n"):
            lines = table.splitlines()
            self.assertEqual({len(re.findall(r"(?<!\\)\|", line)) for line in lines},
                             {len(re.findall(r"(?<!\\)\|", lines[0]))})
            self.assertRegex(lines[1], r"^\|( -+:? \|)+$")
            for line in lines:
                self.assertTrue(line.startswith("| ") and line.endswith(" |"), line)
        self.assertIn("| net | stpn_r 11 | 2039 | 2 | 0.37500 ± 0.17678 |", text)
        self.assertIn('R\\|1, "odd"', text)

    def test_text_is_aligned(self):
        lines = self.run_command("compare", "all").stdout.split("\n\n")[0].splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1)

    def test_hostile_names_stay_in_their_cells(self):
        self.make_run("all/e", name="line\nbreak\x1b[31m,|", accuracy=0.0625)
        for words in ([], ["--markdown"]):
            text = self.run_command("compare", "all", *words).stdout
            self.assertIn("line?break?[31m", text)
            self.assertNotIn("\x1b", text)
        rows = list(csv.reader(io.StringIO(self.run_command("compare", "all", "--csv").stdout, newline="")))
        self.assertIn("line\nbreak\x1b[31m,|", [row[0] for row in rows])

    def test_an_output_that_is_full(self):
        with open("/dev/full", "w") as full:
            result = self.run_command("compare", "all/a", stdout=full)
        self.assert_refused(result, 3, "standard output")


if __name__ == "__main__":
    unittest.main()
