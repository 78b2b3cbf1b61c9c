"""stpn trace: its numbers against a computation of its own in plain Python, what it prints, what it refuses."""
import json
import math
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import CommandTest, read, read_tensors, write, write_tensors  # noqa: E402

SEQUENCE = "c9k8j3??k"
SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789?"
SMALL = ["--set", "task.train=512", "--set", "train.epochs=2", "--set", "train.learning_rate=0.02"]


class Tensors:
    """Nested lists of the tensors of a file."""

    def __init__(self, path):
        header, data = read_tensors(path)
        self.metadata = header.pop("__metadata__")
        self.names = list(header)
        self.shapes = {name: entry["shape"] for name, entry in header.items()}
        self.values = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            flat = struct.unpack("<%d%s" % ((end - begin) // 4, {"F32": "f", "I32": "i"}[entry["dtype"]]), data[begin:end])
            self.values[name] = self.nest(list(flat), entry["shape"])

    def nest(self, flat, shape):
        if len(shape) < 2:
            return flat
        size = len(flat) // shape[0]
        return [self.nest(flat[i * size:(i + 1) * size], shape[1:]) for i in range(shape[0])]

    def __getitem__(self, name):
        return self.values[name]


def forward(t, recurrent):
    """STPN with norm pre, by docs/mathematics.md: F before each step and after the last, h likewise, energy."""
    W, b, Lambda, Gamma = (t["units.0." + name] for name in ("weight", "bias", "lambda", "gamma"))
    H, K = len(W), len(W[0])
    F, h = [[0.0] * K for _ in range(H)], [0.0] * H
    fasts, outputs, energies = [F], [h], []
    for token in t["tokens"]:
        z = [float(i == token) for i in range(len(SYMBOLS))] + (h if recurrent else [])
        G = [[W[j][k] + F[j][k] for k in range(K)] for j in range(H)]
        n = [math.sqrt(sum(g * g for g in row)) + 1e-16 for row in G]
        energies.append(sum(z[k] ** 2 * abs(G[j][k]) / n[j] for j in range(H) for k in range(K)))
        h = [math.tanh(sum(G[j][k] * z[k] for k in range(K)) / n[j] + b[j]) for j in range(H)]
        F = [[Lambda[j][k] * F[j][k] / n[j] + Gamma[j][k] * z[k] * h[j] for k in range(K)] for j in range(H)]
        fasts.append(F)
        outputs.append(h)
    return fasts, outputs, energies


class Numbers(CommandTest):
    def assert_close(self, a, b, place=""):
        if isinstance(a, list):
            self.assertEqual(len(a), len(b), place)
            for i, (x, y) in enumerate(zip(a, b)):
                self.assert_close(x, y, "%s[%d]" % (place, i))
        else:
            self.assertLess(abs(a - b), 2e-5 * max(1, abs(b)), place)

    def test_against_plain_python(self):
        for unit in ("stpn_r", "stpn_f"):
            self.train(unit, *SMALL, "--set", "units.0.name=" + unit)
            document = self.document("trace", unit, "--sequence", SEQUENCE, "--json")
            t = Tensors(self.path(unit, "trace.safetensors"))
            self.assertEqual([SYMBOLS[token] for token in t["tokens"]], list(SEQUENCE))
            fasts, outputs, energies = forward(t, unit == "stpn_r")
            logits = [[sum(w * x for w, x in zip(row, h)) + b for row, b in zip(t["readout.weight"], t["readout.bias"])]
                      for h in outputs[1:]]
            self.assert_close(t["units.0.F"], fasts, unit + " F")
            self.assert_close(t["y"], outputs[1:], unit + " y")
            if unit == "stpn_r":
                self.assert_close(t["units.0.h"], outputs, unit + " h")
            self.assert_close(t["energy"], energies, unit + " energy")
            self.assert_close(t["logits"], logits, unit + " logits")
            self.assert_table(document, fasts, energies, logits)

    def assert_table(self, document, fasts, energies, logits):
        for step, told in enumerate(document["steps"]):
            self.assertEqual((told["step"], told["symbol"]), (step + 1, SEQUENCE[step]))
            self.assert_close(told["energy"], energies[step])
            self.assert_close(told["fast_norm"], math.sqrt(sum(f * f for row in fasts[step + 1] for f in row)))
            change = told["strongest_change"]
            changes = [[b - a for a, b in zip(*rows)] for rows in zip(fasts[step], fasts[step + 1])]
            self.assertEqual(change["tensor"], "units.0.F")
            self.assert_close(change["change"], changes[change["row"]][change["column"]])
            self.assert_close(abs(change["change"]), max(abs(c) for row in changes for c in row))
            weights = [math.exp(value) for value in logits[step]]
            best = sorted(range(len(weights)), key=lambda i: -weights[i])[:3]
            self.assertEqual([answer["label"] for answer in told["answer"]], [SYMBOLS[i] for i in best])
            self.assert_close([answer["probability"] for answer in told["answer"]], [weights[i] / sum(weights) for i in best])

    def test_a_test_sequence_and_its_answer(self):
        self.train("run", *SMALL)
        examples = self.document("eval", "run", "--json", "--examples", "4")["examples"]
        for index, example in enumerate(examples):
            document = self.document("trace", "run", "--index", str(index), "--json", "--out", "t.safetensors")
            self.assertEqual("".join(step["symbol"] for step in document["steps"]), example["sequence"])
            self.assertEqual(document["steps"][-1]["expected"], example["expected"])
            self.assertEqual(document["steps"][-1]["answer"][0]["label"], example["answer"])
            self.assertNotIn("expected", document["steps"][0])
        t = Tensors(self.path("t.safetensors"))
        self.assertEqual(t.metadata["sequence"], examples[-1]["sequence"])
        self.assertEqual(SYMBOLS[t["labels"][0]], examples[-1]["expected"])
        short = self.document("trace", "run", "--index", "0", "--steps", "4", "--json")
        self.assertEqual(len(short["steps"]), 4)
        self.assertNotIn("labels", Tensors(self.path("run", "trace.safetensors")).names)

    def test_every_unit(self):
        """Its states, whatever they are, its parameters, and the parameters asked for."""
        for unit in [entry["name"] for entry in self.document("info", "--json")["units"]]:
            with self.subTest(unit=unit):
                self.train(unit, *SMALL, "--set", "units.0.name=" + unit, "--set", "units.0.hidden=6")
                self.succeed("trace", unit, "--sequence", SEQUENCE)
                t = Tensors(self.path(unit, "trace.safetensors"))
                header, _ = read_tensors(self.path(unit, "best.safetensors"))
                parameters = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
                self.assertEqual({name: t.shapes[name] for name in parameters}, parameters)
                states = set(t.names) - set(parameters) - {"tokens", "y", "logits", "energy"}
                for name in states:
                    self.assertRegex(name, r"^units\.0\.\w+$")
                    self.assertEqual(t.shapes[name][0], 10)
                    first = t[name][0]
                    self.assertEqual({x for row in first for x in (row if isinstance(row, list) else [row])}, {0.0})
                self.assertEqual((t.shapes["y"], t.shapes["logits"], t.shapes["energy"]), ([9, 6], [9, 37], [9]))
                self.assertEqual(json.loads(t.metadata["experiment"]), json.loads(read(self.path(unit, "experiment.json"))))
                self.assertEqual((t.metadata["symbols"], t.metadata["sequence"], t.metadata["kind"], t.metadata["parameters"]),
                                 (SYMBOLS, SEQUENCE, "trace", "last"))

    def test_best_and_last(self):
        """Three epochs at a high rate of learning: the best is not the last."""
        self.train("run", "--set", "task.train=2048", "--set", "train.epochs=4", "--set", "train.learning_rate=0.3")
        for which in ("last", "best"):
            self.succeed("trace", "run", "--sequence", SEQUENCE, "--out", which, *(["--best"] if which == "best" else []))
            header, data = read_tensors(self.path("run", which + ".safetensors"))
            begin, end = header["readout.weight"]["data_offsets"]
            count = (end - begin) // 4
            flat = list(struct.unpack("<%df" % count, data[begin:end]))
            t = Tensors(self.path(which))
            self.assertEqual([x for row in t["readout.weight"] for x in row], flat)
            self.assertEqual(t.metadata["parameters"], which)

    def test_the_same_bytes_each_time(self):
        self.train("run", *SMALL)
        for name in ("a", "b"):
            self.succeed("trace", "run", "--sequence", SEQUENCE, "--out", name)
        self.assertEqual(read(self.path("a")), read(self.path("b")))
        self.assertFalse(os.path.exists(self.path("run", "trace.safetensors")))


class Words(CommandTest):
    def setUp(self):
        super().setUp()
        self.train("run", *SMALL)
        self.files = {name: read(self.path("run", name)) for name in os.listdir(self.path("run"))}

    def tearDown(self):
        """Nothing of the run is touched by whatever goes wrong."""
        for name, content in self.files.items():
            self.assertEqual(read(self.path("run", name)), content, name)

    def test_the_table(self):
        lines = self.succeed("trace", "run", "--sequence", SEQUENCE).stdout.splitlines()
        self.assertEqual(lines[0], "run: small, last parameters")
        self.assertEqual([line.split()[1] for line in lines[2:11]], list(SEQUENCE))
        for line in lines[2:11]:
            self.assertRegex(line, r"^ +[0-9]+ +\S +[0-9.e+-]+ +[0-9.e+-]+ +[+-][0-9.]+ at +[0-9]+, *[0-9]+ +(\S 0\.[0-9]{3} *){3}$")
        self.assertEqual(lines[11:], ["the numbers: run/trace.safetensors"])

    def test_a_long_sequence_is_printed_in_part(self):
        text = "a1" * 30
        lines = self.succeed("trace", "run", "--sequence", text).stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines[2:-1]],
                         [str(i) for i in range(1, 21)] + ["..."] + [str(i) for i in range(41, 61)])
        self.assertEqual(len(self.document("trace", "run", "--sequence", text, "--json")["steps"]), 60)

    def test_wrong_use(self):
        for words, says in (
                (["--sequence", ""], "empty"),
                (["--sequence", "c9K"], '"K", symbol 3'),
                (["--sequence", "c9 "], '" ", symbol 3'),
                (["--sequence", "c\u00e9"], '"\\xc3", symbol 2'),
                (["--sequence", "a\nb"], '"\\x0a", symbol 2'),
                (["--sequence"], "--sequence needs a value"),
                ([], "--sequence TEXT or --index N is missing"),
                (["--sequence", "a", "--index", "1"], "both given"),
                (["--sequence", "a", "--steps", "1"], "--steps goes with --index"),
                (["--index", "96"], "expected 0 to 95"),
                (["--index", "-1"], "expected an integer from 0"),
                (["--index", "x"], "expected an integer"),
                (["--index", "1", "--steps", "0"], "expected an integer from 1"),
                (["--sequence", "a", "--out", ""], "--out is empty"),
                (["--sequnce", "a"], "the nearest is --sequence")):
            with self.subTest(words=words):
                self.refuse(2, "trace", "run", *words, says=says)
        self.refuse(2, "trace", says="RUN is missing")
        self.refuse(2, "trace", "nowhere", "--sequence", "a", says="is no folder of a run")
        os.mkdir(self.path("empty"))
        self.refuse(2, "trace", "empty", "--sequence", "a", says="is no run")
        self.assertEqual(set(os.listdir(self.path("run"))), set(self.files))

    def test_a_sequence_too_long(self):
        self.train("wide", *SMALL, "--set", "units.0.hidden=600", "--set", "task.train=32",
                   "--set", "train.epochs=1", "--set", "task.validation=2", "--set", "task.test=2")
        self.refuse(2, "trace", "wide", "--sequence", "a1" * 100, says=["has 200 steps", "expected at most 175"])
        self.assertFalse(os.path.exists(self.path("wide", "trace.safetensors")))

    def test_only_traces_are_replaced(self):
        for name in ("last.safetensors", "experiment.json", "metrics.csv"):
            self.refuse(2, "trace", "run", "--sequence", "a", "--out", os.path.join("run", name), says="is no trace")
        write(self.path("mine"), "my notes")
        self.refuse(2, "trace", "run", "--sequence", "a", "--out", "mine", says="is no trace")
        self.assertEqual(read(self.path("mine")), b"my notes")
        os.mkdir(self.path("folder"))
        self.refuse(2, "trace", "run", "--sequence", "a", "--out", "folder", says="is no trace")
        for _ in range(2):
            self.succeed("trace", "run", "--sequence", "a", "--out", "t")

    def test_where_nothing_can_be_written(self):
        self.refuse(3, "trace", "run", "--sequence", "a", "--out", "nowhere/t", says="nowhere/t")
        self.assertEqual(sorted(os.listdir(self.path("run"))), sorted(self.files))

    def test_a_damaged_run(self):
        header, data = read_tensors(self.path("run", "last.safetensors"))
        del header["units.0.bias"]
        write_tensors(self.path("run", "last.safetensors"), header, data)
        self.refuse(2, "trace", "run", "--sequence", "a", says="last.safetensors")
        self.succeed("trace", "run", "--sequence", "a", "--best")
        self.files["last.safetensors"] = read(self.path("run", "last.safetensors"))


if __name__ == "__main__":
    unittest.main()
