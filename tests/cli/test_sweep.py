"""stpn sweep: the settings that a file means, the runs of train, what is best; whatever interrupts it; bad files."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import EXPERIMENT, SHARE, CommandTest, environment, read, write  # noqa: E402

KEYS = {"train.learning_rate": {"log": [1e-3, 1e-1]}, "units.0.hidden": {"integer": [3, 9]}, "units.0.norm": ["pre", "output"]}
GRID = {"experiment": "base.json", "keys": {"train.learning_rate": {"log": [0.001, 0.1], "steps": 3}, "units.0.norm": ["pre", "output"]}}
RANDOM = {"experiment": "base.json", "search": "random", "runs": 6, "keys": KEYS}
HALVING = {"experiment": "base.json", "search": "halving", "runs": 9, "budget": [1, 5], "factor": 3, "keys": KEYS}


class SweepTest(CommandTest):
    def setUp(self):
        super().setUp()
        base = json.loads(json.dumps(dict(EXPERIMENT, name="base")))
        base["task"].update(train=512 // SHARE, validation=64, test=32)
        base["train"].update(epochs=2)
        os.mkdir(self.path("files"))
        write(self.path("files", "base.json"), json.dumps(base))

    def write_sweep(self, content, name="s"):
        write(self.path("files", name + ".json"), content if isinstance(content, str) else json.dumps(content))
        return "files/%s.json" % name

    def sweep(self, content, *words, **more):
        return self.succeed("sweep", self.write_sweep(content), *words, **more)

    def settings(self, content, *words):
        """{configuration: [settings]}."""
        lines = self.sweep(content, "--list", *words).stdout.splitlines()
        self.assertFalse(os.path.exists(self.path("runs")))
        return {line.split()[0]: re.split(r", (?=\w+\.)", line.split(None, 1)[1]) for line in lines}

    def runs(self, out):
        return sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(self.path(out, "*", "summary.json")))

    def value(self, *names):
        return self.summary(*names)["validation"]["accuracy"]

    def snapshot(self, out):
        files = glob.glob(self.path(out, "*", "*"))
        return {path: (read(path), os.stat(path).st_mtime_ns) for path in files if os.path.isfile(path)}

    def assert_same_runs(self, one, other):
        self.assertEqual(self.runs(one), self.runs(other))
        for name in self.runs(one):
            self.assert_same_run(os.path.join(one, name), os.path.join(other, name))


class Settings(SweepTest):
    def test_grid(self):
        listed = self.settings(GRID)
        expected = [["train.learning_rate=%s" % rate, 'units.0.norm="%s"' % norm] for rate in ("0.001", "0.01", "0.1")
                    for norm in ("pre", "output")]
        self.assertEqual(list(listed.values()), expected)
        self.assertEqual(list(listed), ["c%03d" % i for i in range(6)])
        ranges = {"a": {"uniform": [0, 1], "steps": 3}, "b": {"log_integer": [4, 64], "steps": 3}, "c": {"values": [[1, 2], {"x": "y"}]}}
        lines = self.refuse(2, "sweep", self.write_sweep(dict(GRID, keys=ranges)), "--list", says="a is not a known key").stderr
        self.assertIn("configuration 0", lines)

    def test_draws_are_a_function_of_seed_number_and_key(self):
        many = self.settings(dict(RANDOM, runs=400))
        self.assertEqual(self.settings(dict(RANDOM, runs=50)), {name: many[name] for name in list(many)[:50]})
        turned = self.settings(dict(RANDOM, runs=400, keys=dict(reversed(KEYS.items()))))
        self.assertEqual({name: sorted(s) for name, s in many.items()}, {name: sorted(s) for name, s in turned.items()})
        alone = self.settings(dict(RANDOM, runs=400, keys={"train.learning_rate": KEYS["train.learning_rate"]}))
        for name, setting in alone.items():
            self.assertEqual(setting, many[name][:1])
        other = self.settings(dict(RANDOM, runs=400, seed=1))
        self.assertLess(len(set(map(str, many.values())) & set(map(str, other.values()))), 3)
        drawn = [dict(s.split("=") for s in setting) for setting in many.values()]
        rates = [float(d["train.learning_rate"]) for d in drawn]
        self.assertTrue(all(1e-3 <= rate <= 1e-1 for rate in rates))
        self.assertLess(abs(sum(rate < 1e-2 for rate in rates) / len(rates) - 0.5), 0.1)
        counts = [sum(d["units.0.hidden"] == str(n) for d in drawn) / len(drawn) for n in range(2, 11)]
        self.assertEqual((counts[0], counts[-1]), (0, 0))
        self.assertTrue(all(abs(count - 1 / 7) < 0.07 for count in counts[1:-1]), counts)
        self.assertLess(abs(sum(d["units.0.norm"] == '"pre"' for d in drawn) / len(drawn) - 0.5), 0.1)

    def test_what_was_drawn_before_is_left_out(self):
        few = dict(RANDOM, runs=40, keys={"units.0.hidden": [3, 4, 5]})
        result = self.sweep(few, "--list")
        self.assertEqual(len(result.stdout.splitlines()), 3)
        self.assertIn("37 of 40 settings were drawn before", result.stderr)


class Results(SweepTest):
    def test_the_runs_are_those_of_train(self):
        result = self.sweep(dict(GRID, seeds="0-1", set=["task.test=40"]), "--out", "grid", "--jobs", "3", "--set", "train.epochs=1")
        names = ["c%03d-s%d" % (i, seed) for i in range(6) for seed in (0, 1)]
        self.assertEqual(self.runs("grid"), names)
        self.assertRegex(result.stderr, r"(?m)^12 runs in [\d.]+ s: [\d.]+ at a time, [\d.]+ processors busy$")
        self.succeed("train", "files/base.json", "--seed", "1", "--set", "train.learning_rate=0.01", "--set", "units.0.norm=output",
                     "--set", "train.epochs=1", "--set", "task.test=40", "--out", "alone")
        self.assert_same_run("grid/c003-s1", "alone")
        table, best = result.stdout.rsplit("\n\n", 1)
        self.assertEqual(table + "\n", self.succeed("compare", "grid").stdout)
        self.assertEqual(table + "\n", read(self.path("grid", "table.md")).decode() and self.succeed("compare", "grid").stdout)
        means = {i: sum(self.value("grid", "c%03d-s%d" % (i, seed)) for seed in (0, 1)) / 2 for i in range(6)}
        first = max(means, key=lambda i: (means[i], -i))
        self.assertRegex(best, r"best by validation.accuracy, %.5g over the seeds: train.learning_rate=.* \(grid/c%03d-s0\)"
                         % (means[first], first))

    def test_halving(self):
        result = self.sweep(HALVING)
        kept, budgets = list(range(9)), [1, 3, 5]
        for number, budget in enumerate(budgets):
            names = ["r%d-c%03d-s0" % (number, i) for i in sorted(kept)]
            self.assertEqual([name for name in self.runs("runs/sweep-s") if name.startswith("r%d" % number)], names)
            for name in names:
                self.assertEqual(self.summary("runs/sweep-s", name)["train"]["epochs"], budget)
            values = {i: self.value("runs/sweep-s", "r%d-c%03d-s0" % (number, i)) for i in kept}
            kept = sorted(kept, key=lambda i: (-values[i], i))[:max(1, len(kept) // 3)]
        self.assertIn("(runs/sweep-s/r2-c%03d-s0)" % kept[0], result.stdout)
        before = self.snapshot("runs/sweep-s")
        again = self.sweep(HALVING)
        self.assertEqual((again.stdout, again.stderr), (result.stdout, ""))
        self.assertEqual(before, self.snapshot("runs/sweep-s"))

    def test_a_loss_is_better_when_it_is_less(self):
        result = self.sweep(dict(GRID, rank="validation.loss"), "--jobs", "2")
        losses = [self.summary("runs/sweep-s", name)["validation"]["loss"] for name in self.runs("runs/sweep-s")]
        self.assertIn("best by validation.loss, %.5g: " % min(losses), result.stdout)

    def test_what_diverges_is_told_once_and_nobodys_best(self):
        bad = {"experiment": "base.json", "keys": {"train.learning_rate": [1000, 0.01]}, "set": ["units.0.norm=none", "task.pairs=26"]}
        result = self.sweep(bad)
        self.assertRegex(result.stderr, r"(?m)^stpn: runs/sweep-s/c000-s0: .* in update \d+ of epoch")
        self.assertIn("in update", read(self.path("runs", "sweep-s", "c000-s0", "diverged.txt")).decode())
        self.assertIn("(runs/sweep-s/c001-s0)", result.stdout)
        before = self.snapshot("runs/sweep-s")
        again = self.sweep(bad)
        self.assertNotIn("in update", again.stderr)
        self.assertEqual(before, self.snapshot("runs/sweep-s"))
        halved = dict(bad, search="halving", runs=20, budget=[1, 2], factor=2)
        self.assertIn("train.learning_rate=0.01 (runs/h/r1-", self.sweep(halved, "--out", "runs/h").stdout)


class Interrupted(SweepTest):
    LONG = ["--set", "train.epochs=30", "--jobs", "2"]

    def start_sweep(self, content, out, *words):
        """A sweep that has finished a run and is in the midst of others."""
        process = self.start("sweep", self.write_sweep(content), "--out", out, *words)
        limit = time.monotonic() + 60
        while not self.runs(out) or not glob.glob(self.path(out, "*", "best.safetensors")):
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.002)
        return process

    def test_killed_it_goes_on_and_leaves_finished_runs(self):
        self.sweep(RANDOM, "--out", "whole", *self.LONG)
        process = self.start_sweep(RANDOM, "run", *self.LONG)
        process.kill()
        process.communicate()
        finished = {path: kept for path, kept in self.snapshot("run").items() if os.path.basename(os.path.dirname(path)) in self.runs("run")}
        self.assertLess(len(self.runs("run")), 6)
        self.sweep(RANDOM, "--out", "run", *self.LONG)  # nothing holds the folder any more
        self.assert_same_runs("whole", "run")
        after = self.snapshot("run")
        self.assertEqual(finished, {path: after[path] for path in finished})

    def test_a_signal_saves_all_and_the_same_command_goes_on(self):
        process = self.start_sweep(RANDOM, "run", *self.LONG)
        process.send_signal(signal.SIGINT)
        output, messages = process.communicate(timeout=60)
        self.assertEqual((process.returncode, output), (130, ""), messages)
        line = re.search(r"all runs saved; go on with: (.*)\n\Z", messages).group(1)
        result = subprocess.run(["sh", "-c", line], cwd=self.folder, env=environment(), capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.runs("run")), 6)

    def test_an_array_is_the_same_sweep(self):
        self.sweep(HALVING, "--out", "whole")
        for _ in range(3):  # a round each
            members = [self.start("sweep", "files/s.json", "--out", "array", "--array", "%d/3" % i) for i in range(3)]
            ends = [member.communicate(timeout=60) + (member.returncode,) for member in members]
            self.assertEqual([code for *_, code in ends], [0] * 3, ends)
        self.assert_same_runs("whole", "array")
        self.assertEqual(read(self.path("whole", "table.csv")).count(b"\n"), read(self.path("array", "table.csv")).count(b"\n"))
        first = self.succeed("sweep", self.write_sweep(RANDOM), "--out", "part", "--array", "1/4")
        self.assertIn("4 runs are still to be finished by other members", first.stderr)
        self.assertEqual((first.stdout, self.runs("part")), ("", ["c001-s0", "c005-s0"]))

    def test_a_folder_is_of_one_sweep(self):
        self.sweep(RANDOM, "--set", "train.epochs=1")
        before = self.snapshot("runs/sweep-s")
        for content, key in ((dict(RANDOM, seed=3), "seed"), (dict(RANDOM, set=["task.pairs=2"]), "set"), (GRID, "search"),
                             (dict(RANDOM, keys={"units.0.hidden": [3]}), "keys")):
            self.refuse(2, "sweep", self.write_sweep(content), "--set", "train.epochs=1", says=["sweep.json: %s" % key, "differs"])
        self.assertEqual(before, self.snapshot("runs/sweep-s"))
        self.sweep(dict(RANDOM, runs=7, seeds="0-1"), "--set", "train.epochs=1")  # more of the same
        self.assertEqual(len(self.runs("runs/sweep-s")), 14)
        after = self.snapshot("runs/sweep-s")
        self.assertEqual(before, {path: after[path] for path in before})
        process = self.start_sweep(RANDOM, "long", "--set", "train.epochs=100000", "--set", "train.patience=1")
        process.send_signal(signal.SIGSTOP)  # else its runs may be over first
        self.refuse(2, "sweep", self.write_sweep(RANDOM), "--out", "long", "--set", "train.epochs=100000", "--set", "train.patience=1",
                    says="another process")
        process.kill()


class Refused(SweepTest):
    def test_files(self):
        def keys(**more):
            return dict(RANDOM, keys=more)

        def rate(value):
            return dict(RANDOM, keys={"train.learning_rate": value})
        for content, says in (("", "line 1"), ("[]", "an array"), ({}, "experiment is missing"), ({"experiment": 3}, "experiment is an integer"),
                              ({"experiment": "none.json", "keys": KEYS, "search": "random", "runs": 1}, "none.json"),
                              ({"experiment": "base.json"}, "keys is missing"), (dict(RANDOM, keys={}), "keys is empty"),
                              (dict(RANDOM, keys=[1]), "keys is an array"), (dict(RANDOM, run=3), 'the nearest is "runs"'),
                              (dict(RANDOM, search="best"), "search is"), (dict(RANDOM, runs=0), "runs is 0"),
                              (dict(RANDOM, runs=2.5), "runs is 2.5"), (dict(RANDOM, seed=-1), "seed is -1"),
                              ({k: v for k, v in RANDOM.items() if k != "runs"}, "runs is missing"),
                              (dict(GRID, runs=3), "runs has no effect"), (dict(RANDOM, factor=2), "factor has an effect with search"),
                              (dict(RANDOM, budget=[1, 2]), "budget has an effect with search"),
                              (dict(RANDOM, seeds=3), "seeds is an integer"), (dict(RANDOM, seeds="4-1"), 'seeds is "4-1"'),
                              (dict(RANDOM, runs=9999, seeds="0-9"), "99990 runs, expected at most 10000"),
                              (dict(RANDOM, set="a=1"), "set is not an array of strings"), (dict(RANDOM, set=[1]), "set is not an array"),
                              (dict(RANDOM, rank="test.accuracy"), "rank is"), (dict(RANDOM, rank="test.reward"), 'rank is "test.reward"'),
                              (keys(seed=[1, 2]), "seeds"), (keys(name=["a", "b"]), "one experiment"), (keys(**{"a=b": [1]}), "is no key"),
                              (rate(0.1), "keys.train.learning_rate is a number"), (rate([]), "is empty"), (rate([1, 1]), "same value twice"),
                              (rate({}), "says 0 of values"), (rate({"log": [1, 2], "uniform": [1, 2]}), "says 2 of values"),
                              (rate({"lag": [1, 2]}), 'the nearest is "log"'), (rate({"log": [2, 1]}), "LOW < HIGH"),
                              (rate({"log": [0, 1]}), "0 < LOW"), (rate({"log": [1]}), "[LOW, HIGH]"), (rate({"log": ["a", "b"]}), "numbers"),
                              (rate({"integer": [1, 2.5]}), "integers"), (rate({"log": [1e-3, 1], "steps": 3}), "steps has an effect"),
                              (dict(GRID, keys={"train.learning_rate": {"log": [1e-3, 1]}}), "steps is missing"),
                              (dict(GRID, keys={"train.learning_rate": {"log": [1e-3, 1], "steps": 1}}), "steps is out of bounds"),
                              (dict(GRID, keys={k: {"uniform": [0, 1], "steps": 200} for k in "abc"}), "8000000 settings"),
                              (rate([0.1, "x"]), ["configuration", "learning_rate is"]), (rate({"log": [1e-3, 1e9]}), "learning_rate is"),
                              (keys(**{"train.learnin_rate": [1]}), '"learning_rate"'), (keys(**{"units.3.hidden": [1]}), "index"),
                              ({k: v for k, v in HALVING.items() if k != "budget"}, "budget is missing"),
                              (dict(HALVING, budget=[4]), "budget is no pair"), (dict(HALVING, budget=[9, 4]), "wrong way round"),
                              (dict(HALVING, factor=1), "factor is 1"), (dict(HALVING, keys={"train.epochs": [1, 2]}), "halving sets it")):
            with self.subTest(content=content):
                self.refuse(2, "sweep", self.write_sweep(content), says=says)
        self.assertFalse(os.path.exists(self.path("runs")))

    def test_words(self):
        for words, says in ((["--array", "3/3"], "--array is"), (["--array", "1"], "--array is"), (["--array", "-1/3"], "--array is"),
                            (["--array", "1/x"], "--array is"), (["--jobs", "0"], "--jobs"), (["--threads", "0"], "--threads"),
                            (["--out="], "--out is empty"), (["--set", "train.epoch=1"], '"epochs"'),
                            (["--set", "seed=9"], "seed=9 has no effect")):
            self.refuse(2, "sweep", self.write_sweep(RANDOM), *words, says=says)
        self.refuse(2, "sweep", says="FILE is missing")
        self.refuse(2, "sweep", "none.json", says="none.json")
        self.refuse(3, "sweep", self.write_sweep(RANDOM), "--out", "/proc/stpn/x", says="cannot be made")


if __name__ == "__main__":
    unittest.main()
