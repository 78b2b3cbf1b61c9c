"""stpn reproduce: every run of a manifest, whatever interrupts it, and the table over them."""
import csv
import glob
import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import (COMMAND, EXPERIMENT, SHARE, SOURCE, CommandTest, default_signals, environment, kernels,  # noqa: E402
                     read, write)


def experiment(called, **changes):
    made = json.loads(json.dumps(dict(EXPERIMENT, name=called)))
    made["task"].update(train=1024 // SHARE)
    made["train"].update(epochs=6)
    made["units"][0].update(changes)
    return made


class ReproduceTest(CommandTest):
    def setUp(self):
        super().setUp()
        os.makedirs(self.path("experiments", "small"))
        self.write_manifest({"experiments": ["one.json", "two.json"], "seeds": "0-1"})
        for name, changes in (("one", {}), ("two", {"name": "stpn_f", "norm": "output", "bias": False})):
            write(self.path("experiments", "small", name + ".json"), json.dumps(experiment("small-" + name, **changes)))

    def write_manifest(self, content):
        write(self.path("experiments", "small", "reproduce.json"),
              content if isinstance(content, str) else json.dumps(content))

    def reproduce(self, *words, **more):
        return self.succeed("reproduce", "small", *words, **more)

    def runs(self, out="runs/small"):
        return sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(self.path(out, "*", "summary.json")))

    def snapshot(self, out):
        files = [path for path in glob.glob(self.path(out, "**"), recursive=True) if os.path.isfile(path)]
        return {path: (read(path), os.stat(path).st_mtime_ns) for path in files if "table" not in path}

    def assert_same_runs(self, one, other):
        self.assertEqual(self.runs(one), self.runs(other))
        for name in self.runs(one):
            self.assert_same_run(os.path.join(one, name), os.path.join(other, name))


class Table(ReproduceTest):
    def test_the_table_is_that_of_the_runs(self):
        result = self.reproduce("--seeds", "0-2", "--out", "here")
        names = ["small-%s-s%d" % (name, seed) for name in ("one", "two") for seed in range(3)]
        self.assertEqual(self.runs("here"), names)
        groups = {group["experiment"]: group for group in json.loads(read(self.path("here", "table.json")))["experiments"]}
        self.assertEqual(sorted(groups), ["small-one", "small-two"])
        for name, group in groups.items():
            values = [self.summary("here", "%s-s%d" % (name, seed))["test"]["accuracy"] for seed in range(3)]
            self.assertAlmostEqual(group["accuracy"]["mean"], statistics.mean(values), 9)
            self.assertAlmostEqual(group["accuracy"]["deviation"], statistics.stdev(values), 9)
            shown = "%.5f ± %.5f" % (statistics.mean(values), statistics.stdev(values))
            self.assertIn(shown, re.search(r"(?m)^%s .*$" % name, result.stdout).group(0))
        # The same as the command beside it says.
        self.assertEqual(result.stdout, self.succeed("compare", "here").stdout)
        for option, file in (("--csv", "table.csv"), ("--markdown", "table.md"), ("--json", "table.json")):
            self.assertEqual(self.succeed("compare", "here", option).stdout, read(self.path("here", file)).decode())
        rows = list(csv.DictReader(read(self.path("here", "table.csv")).decode().splitlines()))
        self.assertEqual(len(rows), 2)

    def test_runs_are_those_of_train(self):
        """The same bytes as one by one, whatever the number of runs and threads."""
        self.reproduce("--jobs", "4", "--out", "four", "--epochs", "3")
        self.reproduce("--jobs", "1", "--threads", "2", "--out", "one", "--epochs", "3")
        self.assert_same_runs("four", "one")
        for out, threads in (("four", 1), ("one", 2)):
            self.assertEqual(self.summary(out, "small-two-s1")["machine"]["threads"], threads)
        file = self.path("experiments", "small", "two.json")
        self.succeed("train", file, "--seed", "1", "--set", "train.epochs=3", "--out", "alone")
        self.assert_same_run("four/small-two-s1", "alone")

    def test_variations(self):
        self.write_manifest({"experiments": ["one.json", "two.json"], "note": "text", "variations": [
            {"suffix": "two", "set": ["task.pairs=2", "train.epochs=2"]}, {"suffix": "plain"}], "seeds": "3"})
        self.reproduce("--set", "task.train=256", "--set", "train.learning_rate=0.01")
        names = ["small-%s-%s" % (name, suffix) for name in ("one", "two") for suffix in ("plain", "two")]
        self.assertEqual(self.runs(), [name + "-s3" for name in names])
        for name in names:
            resolved = json.loads(read(self.path("runs", "small", name + "-s3", "experiment.json")))
            two = name.endswith("-two")
            self.assertEqual((resolved["name"], resolved["seed"]), (name, 3))
            self.assertEqual((resolved["task"]["pairs"], resolved["train"]["epochs"]), (2, 2) if two else (3, 6))
            self.assertEqual((resolved["task"]["train"], resolved["train"]["learning_rate"]), (256, 0.01))
        groups = json.loads(read(self.path("runs", "small", "table.json")))["experiments"]
        self.assertEqual(sorted(group["experiment"] for group in groups), names)

    def test_the_command_line_counts_for_more_than_the_manifest(self):
        self.write_manifest({"experiments": ["one.json"], "variations": [{"suffix": "x", "set": ["train.epochs=5"]}]})
        self.reproduce("--epochs", "2", "--seeds", "7", "--set", "task.train=128")
        self.assertEqual(self.runs(), ["small-one-x-s7"])
        self.assertEqual(self.summary("runs", "small", "small-one-x-s7")["train"]["epochs"], 2)
        self.reproduce("--epochs", "2", "--set", "train.epochs=1", "--seeds", "7", "--set", "task.train=128", "--out", "b")
        self.assertEqual(self.summary("b", "small-one-x-s7")["train"]["epochs"], 1)

    def test_default_seeds(self):
        self.write_manifest({"experiments": ["one.json"]})
        self.reproduce("--set", "task.train=64", "--epochs", "1")
        self.assertEqual(self.runs(), ["small-one-s%d" % seed for seed in range(5)])


class Again(ReproduceTest):
    def test_finished_runs_are_left_as_they_are(self):
        first = self.reproduce()
        before = self.snapshot("runs/small")
        begin = time.monotonic()
        again = self.reproduce()
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(before, self.snapshot("runs/small"))
        self.assertEqual((again.stdout, again.stderr), (first.stdout, ""))

    def test_more_seeds_later(self):
        self.reproduce()
        before = self.snapshot("runs/small")
        result = self.reproduce("--seeds", "0-2")
        self.assertEqual(len(self.runs()), 6)
        self.assertEqual(len(result.stderr.splitlines()), 2)
        after = self.snapshot("runs/small")
        self.assertEqual(before, {path: after[path] for path in before})

    def test_signals_save_and_the_same_command_goes_on(self):
        self.reproduce("--out", "whole", "--epochs", "40")
        for number in (signal.SIGINT, signal.SIGTERM):
            process, output, messages = self.interrupt("runs/small", "runs/small/*/best.safetensors", "reproduce", "small",
                                                       "--epochs", "40", "--jobs", "2", number=number)
            self.assertEqual((process.returncode, output), (130, ""), messages)
            line = re.search(r"all runs saved; go on with: (.*)\n\Z", messages).group(1)
            self.assertFalse(os.path.exists(self.path("runs", "small", "table.md")))
            self.assertLess(len(self.runs()), 4)
            result = subprocess.run(["sh", "-c", line], cwd=self.folder, env=environment(), capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assert_same_runs("whole", "runs/small")
            for name in self.runs():
                self.assert_no_traces("runs/small/" + name)
            subprocess.run(["rm", "-r", self.path("runs")], check=True)

    def test_kills(self):
        seed = int(os.environ.get("STPN_TEST_SEED") or random.SystemRandom().randrange(2 ** 32))
        print("STPN_TEST_SEED=%d" % seed, file=sys.stderr)
        draw = random.Random(seed)
        words = ["--epochs", "20", "--jobs", "3"]
        begin = time.monotonic()
        self.reproduce("--out", "whole", *words)
        taken = time.monotonic() - begin
        for _ in range(6):
            process = self.start("reproduce", "small", *words)
            time.sleep(draw.uniform(0, taken / 2))
            process.kill()
            process.communicate()
        self.reproduce(*words)
        self.assert_same_runs("whole", "runs/small")

    def test_other_settings_are_refused_before_anything_runs(self):
        self.reproduce("--seeds", "0", "--epochs", "2")
        before = self.snapshot("runs/small")
        for words, key in ((["--epochs", "3"], "train.epochs"), (["--set", "units.0.hidden=5"], "units.0.hidden")):
            self.refuse(2, "reproduce", "small", *words, says=["small-", key + " differs", "--out"])
        self.assertEqual(before, self.snapshot("runs/small"))

    def test_one_process_at_a_time(self):
        first = self.start("reproduce", "small", "--epochs", "1000000")
        self.wait_for("runs/small/small-one-s0/last.safetensors", first)
        self.refuse(2, "reproduce", "small", "--epochs", "1000000", says=["runs/small", "another process"])
        first.kill()
        first.communicate()

    def test_another_kernel(self):
        if len(kernels()) < 2:
            self.skipTest("there is one kernel only")
        messages = self.interrupt("runs/small", "runs/small/small-one-s0/best.safetensors", "reproduce", "small",
                                  "--epochs", "40", "--jobs", "1", env=environment(STPN_KERNEL="portable"))[2]
        self.assertIn("go on with: STPN_KERNEL=portable ", messages)
        result = self.run_command("reproduce", "small", "--epochs", "40")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--any-kernel", result.stderr)
        self.reproduce("--epochs", "40", "--any-kernel")


class Failures(ReproduceTest):
    # Without a norm F grows beyond what a float holds.
    diverging = ["units.0.norm=none", "task.pairs=26", "train.learning_rate=1000"]

    def test_a_run_that_fails_does_not_stop_the_others(self):
        self.write_manifest({"experiments": ["one.json"], "variations": [{"suffix": "bad", "set": self.diverging},
                                                                          {"suffix": "good"}], "seeds": "0-1"})
        for _ in range(2):
            result = self.run_command("reproduce", "small", "--jobs", "1")
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertEqual(self.runs(), ["small-one-good-s0", "small-one-good-s1"])
            for seed in range(2):
                self.assertRegex(result.stderr, r"(?m)^stpn: runs/small/small-one-bad-s%d: .* in update \d+ of epoch" % seed)
            self.assertRegex(result.stderr, r"(?m)^stpn: 2 of 4 runs failed$")
            self.assertRegex(result.stdout, r"(?m)^small-one-bad .* 0 of 2 +unfinished")
        self.assertEqual(json.loads(read(self.path("runs", "small", "table.json")))["experiments"][0]["finished"], 2)

    def test_manifests(self):
        good = {"experiments": ["one.json"]}
        for content, says in (("", "line 1"), ("{", "line 1"), ("[]", "an array"), ({}, "experiments names no file"),
                              ({"experiments": []}, "experiments names no file"),
                              ({"experiments": "one.json"}, "experiments is not an array of strings"),
                              ({"experiments": [3]}, "experiments is not an array of strings"),
                              ({"experiments": ["none.json"]}, "none.json"),
                              (dict(good, experiment=1), 'experiment is not a known key; the nearest is "experiments"'),
                              (dict(good, seeds=3), "seeds is an integer"), (dict(good, seeds="4-1"), 'is "4-1"'),
                              (dict(good, seeds=""), 'is ""'),
                              (dict(good, variations={}), "variations is not an array of objects"),
                              (dict(good, variations=["x"]), "variations is not an array of objects"),
                              (dict(good, variations=[{}]), "variations[0].suffix is missing"),
                              (dict(good, variations=[{"suffix": "x", "set": "a=1"}]), "variations[0].set is not an array"),
                              (dict(good, variations=[{"suffix": "x", "sets": []}]), "variations[0].sets"),
                              (dict(good, variations=[{"suffix": "x", "set": ["task.pair=2"]}]), '"pairs"'),
                              (dict(good, variations=[{"suffix": "x/y"}]), "x/y"),
                              (dict(good, variations=[{"suffix": "x"}, {"suffix": "x"}]), "both called small-one-x"),
                              ({"experiments": ["one.json", "one.json"]}, "both called small-one")):
            with self.subTest(content=content):
                self.write_manifest(content)
                self.refuse(2, "reproduce", "small", says=says)
        self.assertFalse(os.path.exists(self.path("runs")))

    def test_folders_of_experiments(self):
        os.mkdir(self.path("empty"))
        self.refuse(2, "reproduce", "smal", says=["experiments/smal", "reproduce.json", "small"])
        self.refuse(2, "reproduce", "small", "--experiments", "none", says=["none", "no such folder"])
        self.refuse(2, "reproduce", "small", "--experiments", "empty", says=["empty/small", "have one: none"])
        self.refuse(2, "reproduce", "experiments/small", says=["experiments/small", "--experiments DIR"])
        self.refuse(2, "reproduce", "", says="no name of experiments")
        self.refuse(2, "reproduce", says="NAME is missing")
        os.rename(self.path("experiments"), self.path("other"))
        self.reproduce("--experiments", "other", "--epochs", "1", "--set", "task.train=64", "--seeds", "0")

    def test_wrong_words(self):
        for words, says in ((["--seeds", "x"], "reproduce: --seeds is"), (["--epochs", "0"], "--epochs"),
                            (["--jobs", "0"], "--jobs"), (["--threads", "0"], "--threads"),
                            (["--out="], "--out is empty"), (["--set", "train.epoch=1"], '"epochs"'),
                            (["--set", "name=x"], "both called x"), (["--seeds", "0-9999"], "at most")):
            self.refuse(2, "reproduce", "small", *words, says=says)
        self.assertFalse(os.path.exists(self.path("runs")))

    def test_no_room(self):
        self.refuse(3, "reproduce", "small", "--out", "/proc/stpn/x", says=["/proc/stpn", "cannot be made"])
        self.refuse(2, "reproduce", "small", "--out", self.file, says="not a folder")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        result = self.run_command("reproduce", "small", "--epochs", "1", preexec_fn=limit)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("File too large", result.stderr)
        self.assertIn("4 of 4 runs failed", result.stderr)
        self.reproduce("--epochs", "1")
        self.assertEqual(len(self.runs()), 4)
        # The table cannot be written, and says so.
        for name in glob.glob(self.path("runs", "small", "table.*")):
            os.remove(name)
        os.mkdir(self.path("runs", "small", "table.csv"))
        self.refuse(3, "reproduce", "small", "--epochs", "1", says="table.csv")

    def test_a_full_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode != 0:
            self.skipTest("a small disk cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        result = self.run_command("reproduce", "small", "--out", "disk", "--epochs", "2")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("No space left", result.stderr)

    def test_a_spoiled_run(self):
        self.reproduce("--epochs", "2")
        write(self.path("runs", "small", "small-one-s0", "summary.json"), "{")
        result = self.run_command("reproduce", "small", "--epochs", "2")
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, r"\Astpn: [^\n]*small-one-s0/summary.json: line [^\n]*\n\Z")
        self.assertRegex(result.stdout, r"(?m)^small-one .* 1 of 2 ")
        write(self.path("runs", "small", "small-one-s0", "experiment.json"), "{")
        self.refuse(2, "reproduce", "small", "--epochs", "2", says="small-one-s0/experiment.json")


class Shown(ReproduceTest):
    def test_lines(self):
        result = self.reproduce()
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 4)
        for number, line in enumerate(lines):
            self.assertRegex(line, r"^%d of 4: small-(one|two)-s[01] done after 6 epochs, [\d:]+, accuracy 0\.\d+"
                             r"(; [\d:]+ left)?$" % (number + 1))

    def test_quiet(self):
        result = self.reproduce("--quiet")
        self.assertEqual((result.stdout, result.stderr), ("", ""))
        self.assertTrue(os.path.exists(self.path("runs", "small", "table.json")))

    def shown(self, *words, window=(24, 80), **env):
        return self.terminal("reproduce", "small", *words, window=window, **env)

    def test_a_block_is_redrawn_and_fits(self):
        """With three runs under way, however fast they are: they go on until they have been seen."""
        def frames(text):
            return re.split(r"\x1b\[\d+A", text)

        for number, (window, lines) in enumerate([((24, 80), 4), ((4, 30), 2), ((24, 12), 4)]):
            def until(text, lines=lines):
                return any(frame.count("\n") == lines for frame in frames(text)[1:])

            text = self.shown("--jobs", "3", "--epochs", "20000", "--out", "r%d" % number, window=window, until=until)
            self.assertEqual(max(frame.count("\n") for frame in frames(text)), lines)
            for line in re.sub(r"\x1b\[[0-9]*[A-Z]", "", text).replace("\r", "").splitlines():
                if not line.startswith("stpn: "):
                    self.assertLess(len(line), window[1])
            self.assertNotRegex(text, r"\x1b\[[0-9;]*m")
            if window[1] == 80:
                self.assertRegex(text, r"small: 0 of 4 runs done, 3 under way, ")
                self.assertRegex(text, r"small-(one|two)-s[01]  epoch \d+/20000  loss")

    def test_a_block_tells_the_end(self):
        self.assertIn("small: 4 of 4 runs done, 0 under way", self.shown())

    def test_a_dumb_terminal_gets_lines(self):
        text = self.shown(TERM="dumb")
        self.assertNotIn("\x1b", text)
        self.assertEqual(text.count("\n"), 4)


class Figures(ReproduceTest):
    def fake_python(self, code):
        """Writes down how it was called."""
        path = write(self.path("python"), '#!/bin/sh\nprintf "%%s\\n" "$PYTHONPATH" "$@" >called\necho drawn\nexit %d\n' % code)
        os.chmod(path, 0o755)
        return environment(STPN_PYTHON=path, PYTHONPATH="/elsewhere")

    def test_called_with_the_finished_runs(self):
        result = self.reproduce("--figures", "--epochs", "1", env=self.fake_python(0))
        place, *words = read(self.path("called")).decode().splitlines()
        self.assertEqual(words[:2], ["-m", "stpn.plot"])
        self.assertEqual(sorted(words[2:-2]), ["runs/small/" + name for name in self.runs()])
        self.assertEqual(words[-2:], ["--out", "runs/small/figures"])
        self.assertTrue(place.endswith("/elsewhere"))
        if os.path.isdir(os.path.join(SOURCE, "python", "stpn")):
            self.assertEqual(place, "%s:/elsewhere" % os.path.join(SOURCE, "python"))
        self.assertIn("drawn\n", result.stderr)
        self.assertNotIn("drawn", result.stdout)

    def test_a_failure_leaves_the_table(self):
        result = self.run_command("reproduce", "small", "--figures", "--epochs", "1", env=self.fake_python(2))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"(?m)^stpn: the figures could not be drawn; the tables are in runs/small$")
        self.assertIn("small-one", result.stdout)
        result = self.run_command("reproduce", "small", "--figures", "--epochs", "1",
                                  env=environment(STPN_PYTHON="/no/such/python"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("/no/such/python cannot be started", result.stderr)
        self.assertTrue(os.path.exists(self.path("runs", "small", "table.md")))


class Shipped(CommandTest):
    """The manifests in experiments/."""

    def test_every_experiment_is_in_its_manifest(self):
        for manifest in glob.glob(os.path.join(SOURCE, "experiments", "*", "reproduce.json")):
            content = json.loads(read(manifest))
            files = {os.path.basename(path) for path in glob.glob(os.path.join(os.path.dirname(manifest), "*.json"))}
            self.assertEqual(sorted(content["experiments"]), sorted(files - {"reproduce.json"}))

    def test_retrieval_is_the_papers(self):
        """Sizes and training of spec: the paper's table, about 2,000 parameters each."""
        sizes = {"stpn": 11, "stpn_f": 13, "stpn_r-scalar": 20, "stpn_f-scalar": 26, "rnn": 20, "lstm": 9, "fast_weights": 20,
                 "modplast": 17, "hebbff": 26}
        folder = os.path.join(SOURCE, "experiments", "retrieval")
        for name, hidden in sizes.items():
            content = json.loads(read(os.path.join(folder, name + ".json")))
            self.assertEqual(content["units"][0]["hidden"], hidden)
            self.assertEqual(len(content["units"]), 1)
            self.assertEqual(content["task"], {"name": "retrieval", "pairs": 3, "train": 100000, "validation": 10000,
                                               "test": 20000})
            self.assertEqual(content["train"], {"method": "supervised", "epochs": 200, "batch": 128, "learning_rate": 0.001})

    def test_retrieval_runs(self):
        result = self.succeed("reproduce", "retrieval", "--experiments", os.path.join(SOURCE, "experiments"), "--seeds", "0",
                              "--epochs", "1", "--set", "task.train=256", "--set", "task.validation=64", "--set", "task.test=64")
        groups = json.loads(read(self.path("runs", "retrieval", "table.json")))["experiments"]
        self.assertEqual(len(groups), 9)
        page = read(os.path.join(SOURCE, "docs", "comparing.md")).decode()
        for group in groups:
            file = "stpn" if group["experiment"] == "retrieval-stpn_r" else group["experiment"].split("-", 1)[1]
            self.assertRegex(page, r"(?m)^\| `%s\.json` \| .* \| %d \|$" % (file, group["parameters"]))
        self.assertEqual(len(result.stdout.splitlines()), 10)


if __name__ == "__main__":
    unittest.main()
