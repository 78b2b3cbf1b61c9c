"""The command's words: help, options, experiment files, results and where they go."""
import glob
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import (COMMAND, COMMANDS, EXPERIMENT, GOLDEN, QUICK, SOURCE, CommandTest, environment, kernels,  # noqa: E402
                     options_of, read, read_tensors, read_terminal, write, write_tensors)


class Help(CommandTest):
    def test_version(self):
        header = read(os.path.join(SOURCE, "include", "stpn", "stpn.h")).decode()
        version = re.search(r'#define STPN_VERSION "([^"]+)"', header).group(1)
        self.assertEqual(self.succeed("--version").stdout, "stpn %s\n" % version)

    def test_overview_names_every_command(self):
        for words in (["help"], ["--help"], ["-h"]):
            text = self.succeed(*words).stdout
            for name in COMMANDS:
                self.assertRegex(text, r"(?m)^  %s +[a-z]" % name)

    def test_every_command_has_its_help(self):
        for name in COMMANDS:
            text = self.succeed("help", name).stdout
            self.assertIn("usage: stpn %s" % name, text)
            self.assertEqual(text, self.succeed(name, "--help").stdout)
            self.assertEqual(text, self.succeed(name, "-h").stdout)
            self.assertLessEqual(max(map(len, text.splitlines()[1:])), 120)

    def test_manual_and_completions_know_every_option(self):
        share = os.path.join(SOURCE, "share")
        manual = read(os.path.join(share, "man", "stpn.1")).decode().replace("\\-", "-")
        others = [read(os.path.join(share, "completions", name)).decode() for name in ("stpn.bash", "_stpn")]
        fish = read(os.path.join(share, "completions", "stpn.fish")).decode()
        for name in COMMANDS:
            section = re.search(r"(?ms)^\.SS stpn %s.*?(?=^\.S[SH] )" % name, manual).group(0)
            for option in options_of(self.succeed("help", name).stdout):
                with self.subTest(command=name, option=option):
                    self.assertIn(option, section)
                    for text in others:
                        self.assertIn(option, text)
                    self.assertIn("-l " + option[2:] + " ", fish)

    def test_keys_are_those_of_a_resolved_experiment(self):
        text = self.succeed("help", "keys").stdout
        self.assertTrue(text.startswith("## "))
        sections = dict(re.findall(r"(?ms)^## (.*?)\n(.*?)(?=^## |\Z)", text))
        self.train("run", *QUICK, "--set", "note=text", "--set", "units.0.learn=false")
        resolved = json.loads(read(self.path("run", "experiment.json")))
        pairs = [("The file", resolved), ("`task`: `retrieval`", resolved["task"]),
                 ("`units`: `stpn_r`", resolved["units"][0]), ("`train`", resolved["train"])]
        for title, values in pairs:
            for key in values:
                self.assertIn("| `%s` |" % key, sections[title])
        for line in text.splitlines():
            if line.startswith("|"):
                self.assertEqual(len(re.findall(r"(?<!\\)\|", line)), 5, line)

    def test_keys_defaults_are_those_that_take_effect(self):
        text = self.succeed("help", "keys").stdout
        section = re.search(r"(?ms)^## `train`\n(.*)", text).group(1)
        defaults = dict(re.findall(r"(?m)^\| `([a-z_0-9]+)` \| [^|]+ \| `([^`]+)` \|", section))
        bare = dict(EXPERIMENT, train={"epochs": 1})
        self.file = self.write_experiment("bare.json", bare)
        self.train("run")
        for key, value in json.loads(read(self.path("run", "experiment.json")))["train"].items():
            if key != "epochs":
                self.assertEqual(json.loads(defaults[key]), value, key)

    def test_wrong_topics(self):
        self.refuse(2, says="a command is missing")
        self.refuse(2, "trian", says=['"trian"', "nearest is train"])
        self.refuse(2, "help", "evla", says=['"evla"', "nearest is eval"])
        self.refuse(2, "--json", says="--json stands where a command is expected")
        self.refuse(2, "help", "train", "eval", says="one word too many")


class Arguments(CommandTest):
    def test_unknown_options_name_the_nearest(self):
        for name in COMMANDS:
            self.refuse(2, name, "--hlep", says=["there is no option --hlep", "the nearest is --help"])
        self.refuse(2, "train", self.file, "--sead", "4", says="the nearest is --seed")
        self.refuse(2, "bench", "--threds", "4", says="the nearest is --threads")
        self.refuse(2, "eval", "x", "-j", says="there is no option -j")
        self.refuse(2, "eval", "x", "--jso", says="the nearest is --json")

    def test_missing_and_superfluous_values(self):
        self.refuse(2, "train", self.file, "--out", says="--out needs a value: --out DIR")
        self.refuse(2, "train", self.file, "--out", "--resume", says="--out needs a value")
        self.refuse(2, "train", self.file, "--resume=yes", says="--resume takes no value")
        self.refuse(2, "train", self.file, "--seed", "1", "--seed", "2", says="--seed is given twice")
        self.refuse(2, "train", self.file, "--out=", says="--out is empty")

    def test_operands(self):
        self.refuse(2, "train", says="FILE is missing")
        self.refuse(2, "eval", says="RUN is missing")
        self.refuse(2, "verify", says="FILE is missing")
        self.refuse(2, "train", self.file, "another", says='"another" is one word too many')
        self.refuse(2, "info", "more", says='"more" is one word too many')

    def test_numbers(self):
        for word in ("", "x", "1.5", "-1", "+1", " 1", "1 ", "257", "99999999999999999999", "0x2", "1e1"):
            self.refuse(2, "train", self.file, "--threads=" + word, says=["--threads", "from 0 to 256"])
        for word in ("-1", "9223372036854775808", "one"):
            self.refuse(2, "train", self.file, "--seed", word, says=["--seed", "expected an integer"])
        for word in ("", "x", "4-1", "1,,2", "1-", "-3", "1,2,", "1-2-3", "0.5", "a-b"):
            self.refuse(2, "train", self.file, "--seeds=" + word, says="--seeds is")
        self.refuse(2, "train", self.file, "--seeds", "0-2,1", says="names seed 1 twice")
        self.refuse(2, "train", self.file, "--seeds", "0-99999", says="more than 10000")
        self.refuse(2, "train", self.file, "--seeds", "0-1", "--seed", "0", says="exclude each other")
        self.assertEqual(os.listdir(self.folder), [os.path.basename(self.file)])

    def test_two_dashes_end_the_options(self):
        shutil.copy(self.file, self.path("--odd.json"))
        self.refuse(2, "train", "--odd.json", says="there is no option --odd.json")
        self.succeed("train", "--out=run", *QUICK, "--", "--odd.json")
        self.assertTrue(os.path.exists(self.path("run", "summary.json")))

    def test_a_hostile_word_stays_one_line(self):
        self.refuse(2, "eval", "no\nsuch\x1b[31m", says="no?such?[31m")


class Experiments(CommandTest):
    def refuse_file(self, content, *says, code=2, words=()):
        path = write(self.path("bad.json"), content if isinstance(content, (bytes, str)) else json.dumps(content))
        self.refuse(code, "train", path, "--out", "bad", *words, says=["bad.json", *says])
        self.assertFalse(os.path.exists(self.path("bad")))

    def changed(self, *path, **value):
        copy = json.loads(json.dumps(EXPERIMENT))
        at = copy
        for part in path:
            at = at[part]
        at.update(value)
        return copy

    def test_missing_and_unreadable(self):
        self.refuse(2, "train", "none.json", says=["none.json", "No such file"])
        self.refuse(2, "train", self.folder, says="is not a regular file")
        os.mkfifo(self.path("pipe"))
        self.refuse(2, "train", "pipe", says="is not a regular file")

    def test_malformed(self):
        self.refuse_file("", "line 1")
        self.refuse_file('{"name": "x",\n  "seed": }', "line 2", "column")
        self.refuse_file("[]", "an array", "expected an object")
        self.refuse_file('{"name": "x", "name": "y"}', "twice")
        self.refuse_file(b'{"name": "\xff"}', "line 1")
        self.refuse_file(b"\x00" * 64, "line 1")
        self.refuse_file("[" * 100000, "line 1")
        self.refuse_file(json.dumps(EXPERIMENT)[:-1], "line")

    def test_unknown_keys_name_the_nearest(self):
        self.refuse_file(self.changed(sead=1), 'sead', '"seed"')
        self.refuse_file(self.changed("task", pair=1), "task.pair", '"pairs"')
        self.refuse_file(self.changed("units", 0, nrom="pre"), "units[0].nrom", '"norm"')
        self.refuse_file(self.changed("train", learning_rat=1), "train.learning_rat", '"learning_rate"')

    def test_wrong_types(self):
        self.refuse_file(self.changed(name=3), "name is an integer, expected a string")
        self.refuse_file(self.changed(seed="1"), "seed is not an integer")
        self.refuse_file(self.changed(units={}), "units is an object, expected an array")
        self.refuse_file(self.changed(task=[]), "task is an array, expected an object")
        self.refuse_file(self.changed(train=1), "train is an integer, expected an object")
        self.refuse_file(self.changed("train", epochs=1.5), "train.epochs is 1.5, expected an integer")
        self.refuse_file(self.changed("train", epochs="1"), 'train.epochs is "1", expected an integer')
        self.refuse_file(self.changed("train", shuffle=1), "train.shuffle is 1, expected true or false")
        self.refuse_file(self.changed("units", 0, hidden=None), "units[0].hidden is null, expected an integer")
        self.refuse_file(self.changed(units=[3]), "units[0] is an integer, expected an object")

    def test_out_of_range(self):
        self.refuse_file(self.changed("units", 0, norm="pree"), 'units[0].norm is "pree"', "pre|post")
        self.refuse_file(self.changed("units", 0, hidden=0), "units[0].hidden is 0", "from 1 to")
        self.refuse_file(self.changed("train", learning_rate=-1), "train.learning_rate is -1", "a number from")
        self.refuse_file(self.changed("train", batch=10 ** 30), "bad.json")
        self.refuse_file(self.changed("train", batch=4096), "train.batch is 4096", "%d sequences" % EXPERIMENT["task"]["train"])
        self.refuse_file(self.changed("task", pairs=27), "task.pairs is 27", "from 1 to 26")
        self.refuse_file(self.changed(seed=-1), "seed is not an integer from 0")
        self.refuse_file(self.changed(name="../up"), 'name is "../up"')
        self.refuse_file(self.changed(units=[]), "units has 0 entries")
        self.refuse_file(self.changed("task", name="retrieva"), 'task.name is "retrieva"', "retrieval")
        self.refuse_file(self.changed("units", 0, name="lstmm"), 'units[0].name is "lstmm"', "stpn_r")
        self.refuse_file(self.changed("units", 0, gamma=0.5), "units[0].gamma has no effect")

    def test_settings(self):
        for word, says in (("train.epochs", "expected KEY=VALUE"), ("=3", "expected KEY=VALUE"),
                           ("trian.epochs=3", 'there is no "trian"'), ("units.1.hidden=3", '"1" is not an index'),
                           ("name.first=3", "is inside a string"), ("train.epoch=3", 'the nearest is "epochs"'),
                           ("train.epochs=three", 'train.epochs is "three"'), ("units.x=3", '"x" is not an index')):
            self.refuse(2, "train", self.file, "--set", word, "--out", "bad", says=says)
        self.assertFalse(os.path.exists(self.path("bad")))
        self.train("run", *QUICK, "--set=name=other", "--set", "units.0.hidden=7")
        resolved = json.loads(read(self.path("run", "experiment.json")))
        self.assertEqual((resolved["name"], resolved["units"][0]["hidden"], resolved["train"]["epochs"]), ("other", 7, 3))

    def test_the_shipped_experiments(self):
        for path in glob.glob(os.path.join(SOURCE, "experiments", "retrieval", "*.json")):
            if os.path.basename(path) == "reproduce.json":
                continue
            self.succeed("train", path, "--set", "task.train=256", "--set", "task.test=16", "--set", "task.validation=16",
                         "--set", "train.epochs=1", "--out", os.path.basename(path))


class Train(CommandTest):
    def test_a_run_and_its_files(self):
        result = self.train("run", *QUICK)
        self.assertEqual(sorted(os.listdir(self.path("run"))),
                         ["best.safetensors", "events.out.tfevents.stpn", "experiment.json", "last.safetensors",
                          "metrics.csv", "summary.json"])
        summary = json.loads(read(self.path("run", "summary.json")))
        self.assertIn("%.5f" % summary["test"]["accuracy"], result.stdout)
        self.assertIn("run: small, 3 epochs", result.stdout)
        self.assertEqual(len(read(self.path("run", "metrics.csv")).splitlines()), 4)
        first, *lines = result.stderr.splitlines()
        self.assertEqual(first, "small: stpn_r 11, %d trained parameters" % summary["parameters"])
        for line in lines:
            self.assertRegex(line, r"^epoch \d+/3  loss ")
        self.assertRegex(result.stderr, r"(?m)^epoch 3/3 ")
        self.assertNotIn("\r", result.stderr)

    def test_quiet(self):
        result = self.train("run", *QUICK, "--quiet")
        self.assertEqual((result.stdout, result.stderr), ("", ""))

    def test_plain_progress_is_at_most_a_line_an_epoch(self):
        result = self.train("run")
        self.assertLessEqual(len(result.stderr.splitlines()), 31)
        self.assertRegex(result.stderr, r"(?m)^epoch 30/30 .* left$")

    def test_the_default_folder(self):
        self.succeed("train", self.file, *QUICK, "--seed", "12")
        self.assertTrue(os.path.exists(self.path("runs", "small-s12", "summary.json")))
        self.assertEqual(json.loads(read(self.path("runs", "small-s12", "experiment.json")))["seed"], 12)

    def test_several_seeds(self):
        result = self.succeed("train", self.file, *QUICK, "--seeds", "0-1,7", "--out", "all")
        self.assertEqual(sorted(os.listdir(self.path("all"))), ["s0", "s1", "s7"])
        self.assertIn("3 seeds: test accuracy", result.stdout)
        self.assertIn("seed 7  epoch 3/3", result.stderr)
        self.train("one", *QUICK, "--seed", "7")
        self.assert_same_run("all/s7", "one")
        self.succeed("train", self.file, *QUICK, "--seeds", "7")
        self.assertTrue(os.path.exists(self.path("runs", "small-s7", "summary.json")))

    def test_a_run_is_not_overwritten(self):
        self.train("run", *QUICK)
        before = {name: read(self.path("run", name)) for name in os.listdir(self.path("run"))}
        self.refuse(2, "train", self.file, *QUICK, "--out", "run", says=["holds a run already", "--resume"])
        self.assertEqual(before, {name: read(self.path("run", name)) for name in os.listdir(self.path("run"))})

    def test_same_bits_on_any_number_of_threads(self):
        for threads in ("1", "2", "3"):
            self.train("t" + threads, "--set", "train.epochs=4", "--threads", threads)
        self.assert_same_run("t1", "t2")
        self.assert_same_run("t1", "t3")

    def test_an_unknown_kernel(self):
        env = environment(STPN_KERNEL="sse9")
        for words in (["train", self.file], ["info"], ["bench"], ["verify", *glob.glob(GOLDEN + "/stpn_r-pre.*")]):
            self.refuse(2, *words, env=env, says=['STPN_KERNEL is "sse9"', "portable"])


class Results(CommandTest):
    def setUp(self):
        super().setUp()
        self.train("run", *QUICK)
        self.summary = json.loads(read(self.path("run", "summary.json")))

    def test_eval_measures_what_the_summary_says(self):
        last, best = self.document("eval", "run", "--json"), self.document("eval", "run", "--json", "--best")
        for key in ("accuracy", "loss", "energy", "energy_per_neuron", "sequences"):
            self.assertEqual(last["test"][key], self.summary["test"][key])
            self.assertEqual(last["validation"][key], self.summary["validation"][key])
            self.assertEqual(best["test"][key], self.summary["test_best"][key])
        self.assertEqual((last["parameters"], best["parameters"]), ("last", "best"))

    def test_eval_examples(self):
        document = self.document("eval", "run", "--json", "--examples", "96")
        self.assertEqual(len(document["examples"]), 96)
        right = sum(e["right"] for e in document["examples"])
        self.assertAlmostEqual(right / 96, document["test"]["accuracy"])
        for e in document["examples"]:
            self.assertRegex(e["sequence"], r"^([a-z]\d){3}\?\?[a-z]$")
            self.assertEqual(e["sequence"][e["sequence"].index(e["sequence"][-1]) + 1], e["expected"])
            self.assertEqual(e["right"], e["answer"] == e["expected"])
        text = self.succeed("eval", "run").stdout
        lines = re.findall(r"(?m)^  (\S+) -> (.)   (right|wrong, it is .)$", text)
        self.assertEqual(len(lines), 8)
        for (sequence, answer, mark), e in zip(lines, document["examples"]):
            self.assertEqual((sequence, answer), (e["sequence"], e["answer"]))
            self.assertEqual(mark, "right" if e["right"] else "wrong, it is " + e["expected"])
        self.assertIn("%.5f" % self.summary["test"]["accuracy"], text)
        self.assertNotIn(" -> ", self.succeed("eval", "run", "--examples", "0").stdout)
        self.assertNotIn("\x1b", text)

    def colours(self, **env):
        master, slave = pty.openpty()
        subprocess.run([COMMAND, "eval", "run"], cwd=self.folder, env=environment(**env), stdout=slave, check=True)
        os.close(slave)
        return b"\x1b[" in read_terminal(master)

    def test_colours_only_where_they_are_wanted(self):
        self.assertTrue(self.colours())
        self.assertFalse(self.colours(NO_COLOR="1"))
        self.assertFalse(self.colours(TERM="dumb"))

    def test_inspect(self):
        text = self.succeed("inspect", "run").stdout
        for part in ("units.0.weight", "11 x 48", "2039", "lambda: 528 values", "gamma: 528 values", "decay times",
                     "do not decay"):
            self.assertIn(part, text)
        document = self.document("inspect", "run", "--json", "--best")
        self.assertEqual(document["parameter_count"], 2039)
        self.assertEqual(sum(t["count"] for t in document["tensors"]), 2039)
        unit = document["units"][0]
        for name in ("lambda", "gamma"):
            self.assertEqual(sum(unit[name]["counts"]), 528)
            self.assertEqual(len(unit[name]["edges"]), len(unit[name]["counts"]) + 1)
        self.assertLessEqual(unit["decay"]["not_decaying"], 528)
        steps = list(unit["decay"]["steps"].values())
        self.assertEqual(steps, sorted(steps))

    def test_inspect_leaves_out_what_has_no_plasticity(self):
        self.train("hidden", *QUICK, "--set", "units.0.plastic=hidden")
        self.assertEqual(self.document("inspect", "hidden", "--json")["units"][0]["lambda"]["count"], 11 * 11)
        self.train("input", *QUICK, "--set", "units.0.plastic=input")
        self.assertEqual(self.document("inspect", "input", "--json")["units"][0]["lambda"]["count"], 11 * 37)
        self.train("forward", *QUICK, "--set", 'units.0={"name": "stpn_f", "hidden": 4, "plastic": "input"}')
        self.assertEqual(self.document("inspect", "forward", "--json")["units"][0]["lambda"]["count"], 4 * 37)
        self.train("scalar", *QUICK, "--set", "units.0.granularity=scalar")
        self.assertEqual(self.document("inspect", "scalar", "--json")["units"][0]["decay"]["values"], 1)
        self.train("held", *QUICK, "--set", "units.0.learn=false", "--set", "units.0.lambda=0.75")
        self.assertNotIn("lambda", self.document("inspect", "held", "--json")["units"][0])
        self.assertIn("lambda held at 0.75", self.succeed("inspect", "held").stdout)

    def test_what_is_no_run(self):
        os.mkdir(self.path("empty"))
        shutil.copytree(self.path("run"), self.path("bare"))
        os.remove(self.path("bare", "last.safetensors"))
        os.remove(self.path("bare", "best.safetensors"))
        shutil.copytree(self.path("run"), self.path("broken"))
        write(self.path("broken", "experiment.json"), "{")
        for name in ("eval", "inspect"):
            for words in (["none"], [self.file], ["empty"], ["bare"], ["bare", "--best"], ["broken"]):
                self.refuse(2, name, *words, says=words[0])


class Verify(CommandTest):
    def setUp(self):
        super().setUp()
        self.golden = sorted(glob.glob(os.path.join(GOLDEN, "*.safetensors")))
        self.assertGreaterEqual(len(self.golden), 17)

    def changed(self, name, tensor):
        """A copy with another first value."""
        header, data = read_tensors(os.path.join(GOLDEN, name))
        begin = header[tensor]["data_offsets"][0]
        return write_tensors(self.path("changed.safetensors"), header, data[:begin] + b"\x11" * 6 + b"\xe0\x3f" + data[begin + 8:])

    def test_all_pass_on_every_kernel(self):
        for kernel in kernels():
            text = self.succeed("verify", *self.golden, "--kernel", kernel).stdout
            self.assertEqual(text.count("passed"), len(self.golden))
            self.assertEqual(text.count("kernel %s:" % kernel), len(self.golden))
            document = self.document("verify", *self.golden, "--json", env=environment(STPN_KERNEL=kernel))
            self.assertTrue(document["passed"])
            for file in document["files"]:
                self.assertEqual(file["kernel"], kernel)
                for row in file["quantities"]:
                    self.assertTrue(row["passed"])
                    self.assertLessEqual(row["error"], row["tolerance"])

    def test_a_changed_value(self):
        path = self.changed("stpn_r-pre.safetensors", "grad.param.bias")
        result = self.run_command("verify", path)
        self.assertEqual((result.returncode, result.stderr), (1, ""))
        self.assertIn("FAILED", result.stdout)
        self.assertEqual([line.split()[0] for line in result.stdout.splitlines() if line.endswith(" !")],
                         ["grad.param.bias"])
        document = json.loads(self.run_command("verify", path, "--json").stdout)
        self.assertFalse(document["passed"])
        self.assertEqual({r["name"] for r in document["files"][0]["quantities"] if not r["passed"]}, {"grad.param.bias"})

    def test_not_a_number_is_a_failure_and_the_document_still_json(self):
        header, data = read_tensors(os.path.join(GOLDEN, "stpn_r-pre.safetensors"))
        begin = header["y"]["data_offsets"][0]
        path = write_tensors(self.path("nan.safetensors"), header, data[:begin] + b"\xff" * 8 + data[begin + 8:])
        result = self.run_command("verify", path, "--json")
        self.assertEqual(result.returncode, 1)
        rows = json.loads(result.stdout)["files"][0]["quantities"]
        self.assertEqual([r["error"] for r in rows if r["name"] == "y"], [None, None])

    def test_what_cannot_be_read(self):
        pre = os.path.join(GOLDEN, "stpn_r-pre.safetensors")
        short = write(self.path("short.safetensors"), read(pre)[:-1])
        self.refuse(2, "verify", short, says="short.safetensors")
        self.refuse(2, "verify", "none.safetensors", says="none.safetensors")
        self.refuse(2, "verify", pre, "--kernel", "sse9", says='"sse9"')
        header, data = read_tensors(pre)
        header["__metadata__"]["kind"] = "a3c"
        kind = write_tensors(self.path("kind.safetensors"), header, data)
        self.refuse(2, "verify", kind, says=['"a3c"', "unit, training, a2c"])
        header["__metadata__"].update(kind="unit", unit='{"unit": "lsm"}')
        unit = write_tensors(self.path("unit.safetensors"), header, data)
        self.refuse(2, "verify", unit, says=['"lsm"', "stpn_r, stpn_f"])
        # The others are looked at all the same.
        result = self.run_command("verify", short, pre, self.changed("stpn_r-pre.safetensors", "y"), "--json")
        self.assertEqual(result.returncode, 2)
        files = json.loads(result.stdout)["files"]
        self.assertEqual([f["passed"] for f in files], [False, True, False])
        self.assertIn("short.safetensors", files[0]["error"])


class BenchAndInfo(CommandTest):
    def test_bench(self):
        rows = self.document("bench", "--size", "6,5,4,3", "--all-kernels", "--json")
        self.assertEqual([row["kernel"] for row in rows], kernels())
        for row in rows:
            self.assertEqual(set(row), {"size", "unit", "kernel", "threads", "forward_ns", "training_ns", "peak_bytes",
                                        "training_seconds", "training_seconds_least"})
            self.assertEqual((row["size"], row["unit"], row["threads"]), ("6,5,4,3", "stpn_r", 1))
            self.assertGreater(row["training_ns"], row["forward_ns"])
            self.assertGreater(row["forward_ns"], 0)
            self.assertGreater(row["training_seconds_least"], 0)
            self.assertGreaterEqual(row["training_seconds"], row["training_seconds_least"])
            self.assertAlmostEqual(row["training_seconds"] * 1e9, row["training_ns"] * 6 * 5 * 3 * 7, delta=1)
        last = kernels()[-1]
        text = self.succeed("bench", "--size", "retrieval", "--unit", "stpn_f", "--threads", "2",
                            env=environment(STPN_KERNEL=last)).stdout
        self.assertRegex(text, r"(?m)^retrieval +stpn_f +%s +2 +[\d.]+ +[\d.]+ +[\d.]+$" % last)

    def test_bench_counts_the_same_synapses_for_every_unit(self):
        for unit, columns in ("lstm", 7), ("gru", 7), ("rnn", 7), ("mlp", 4), ("stpn_f", 4):
            row, = self.document("bench", "--size", "6,5,4,3", "--unit", unit, "--tokens", "--json")
            self.assertAlmostEqual(row["training_seconds"] * 1e9, row["training_ns"] * 6 * 5 * 3 * columns, delta=1)

    def test_bench_memory_is_that_of_the_size(self):
        row, = self.document("bench", "--size", "512,50,17,55", "--json")
        # x and dy alone are 7 million bytes.
        self.assertGreater(row["peak_bytes"], 7e6)
        self.assertLess(row["peak_bytes"], 150e6)

    def test_bench_refusals(self):
        for word in ("", "labyrinth", "1,2,3", "1,2,3,4,5", "0,1,1,1", "1,1,1,x", "1,1,1,", "1,1,1,1048577"):
            self.refuse(2, "bench", "--size=" + word, says=["--size is", "retrieval, maze, maze-post"])
        self.refuse(2, "bench", "--size", "1048576,1048576,1,1", says="more memory than there is")
        self.refuse(2, "bench", "--tokens", says="--tokens needs --size")
        self.refuse(2, "bench", "--unit", "stpn", says=["--unit", "stpn_r, stpn_f"])

    def test_info(self):
        document = self.document("info", "--json")
        self.assertEqual(document["kernel"], document["kernels"][0])
        self.assertIn("portable", document["kernels"])
        self.assertEqual([u["name"] for u in document["units"]][:2], ["stpn_r", "stpn_f"])
        for name in ("rnn", "lstm", "gru", "mlp"):
            self.assertIn(name, [u["name"] for u in document["units"]])
        self.assertEqual(document["tasks"][0]["name"], "retrieval")
        self.assertEqual(document["units"][0]["options"][1]["default"], "pre")
        self.assertGreaterEqual(document["threads"], 1)
        text = self.succeed("info", env=environment(STPN_KERNEL="portable")).stdout
        self.assertIn("portable (available: ", text)
        for part in (document["version"], "stpn_f", "retrieval", document["processor"]):
            self.assertIn(part, text)


class Output(CommandTest):
    """A result that nobody received is no success."""
    commands = [["info"], ["info", "--json"], ["help"], ["help", "keys"], ["--version"], ["--help"],
                ["verify", os.path.join(GOLDEN, "stpn_r-pre.safetensors")], ["eval", "run"], ["inspect", "run", "--json"]]

    def setUp(self):
        super().setUp()
        self.train("run", *QUICK)

    def test_a_full_disk(self):
        for words in self.commands:
            with open("/dev/full", "w") as full:
                self.refuse(3, *words, stdout=full, says=["standard output", "No space left"])

    def test_a_closed_pipe(self):
        for words in self.commands:
            ends = os.pipe()
            os.close(ends[0])
            self.refuse(3, *words, stdout=ends[1], says=["standard output", "Broken pipe"])
            os.close(ends[1])

    def test_a_missing_stream(self):
        for words in self.commands:
            result = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", COMMAND, *words], cwd=self.folder,
                                    env=environment(), stderr=subprocess.PIPE, text=True)
            self.assert_refused(result, 3, "standard output")
        words = ["train", self.file, "--out", "closed", *QUICK]
        result = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", COMMAND, *words], cwd=self.folder,
                                env=environment())
        self.assertEqual(result.returncode, 3)
        self.assert_same_run("run", "closed")
        self.assertEqual(read(self.path("run", "experiment.json")), read(self.path("closed", "experiment.json")))


if __name__ == "__main__":
    unittest.main()
