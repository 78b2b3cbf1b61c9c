"""bench/: what is wrong gets no time, and a run ends with what it says. Needs no PyTorch; with .venv-bench more is tested."""
import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STPN_BUILD") or os.path.join(SOURCE, "build")
COMMAND = os.environ.get("STPN_COMMAND") or os.path.join(BUILD, "stpn")
BENCH = os.path.join(SOURCE, "bench")
sys.path.insert(0, BENCH)

import cases  # noqa: E402
import common  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402

CASE, _ = cases.QUICK_PEERS[0]
TIMES = ("stpn_seconds", "peer_seconds", "ratio", "training_ns", "forward_ns")


class Results(unittest.TestCase):
    def test_largest_error_is_relative_to_the_largest_value(self):
        self.assertEqual(common.largest_error([1.0, 2.0], [1.0, 2.0]), 0)
        self.assertAlmostEqual(common.largest_error([1.0, 4.1], [1.0, 4.0]), 0.1 / 4)
        self.assertAlmostEqual(common.largest_error([2e-5], [1e-5]), 1e-5 / 1e-3)  # tiny ones to a thousandth

    def test_what_is_no_number_or_missing_is_wrong(self):
        for values in [math.nan, 1.0], [1.0, math.nan], [1.0, math.inf], [1.0], [1.0, 1.0, 1.0], []:
            self.assertEqual(common.largest_error(values, [1.0, 1.0]), math.inf, values)

    def test_judge(self):
        expected = {"y": [1.0, -2.0], "grad.param.weight": [3.0]}
        self.assertIsNone(common.judge(dict(expected, more=[1]), expected, "double"))
        near = {"y": [1.0, -2.0 + 1e-6], "grad.param.weight": [3.0 + 1e-4]}
        self.assertIsNone(common.judge(near, expected, "float"))
        self.assertIn("y in double is off by", common.judge(near, expected, "double"))
        far = dict(near, **{"grad.param.weight": [3.01]})
        self.assertIn("grad.param.weight in float is off", common.judge(far, expected, "float"))
        self.assertIn("y in float is off", common.judge(dict(near, y=[1.0, -2.0001]), expected, "float"))
        self.assertIn("y in float is off", common.judge(dict(near, y=[1.0, math.nan]), expected, "float"))
        self.assertIn("no grad.param.weight", common.judge({"y": [1.0, -2.0]}, expected, "float"))


class Turns(unittest.TestCase):
    def test_a_ratio_is_with_ours_before_and_after(self):
        ours, theirs, calls = iter([1.0, 3.0, 1.0]), iter([4.0, 8.0]), []

        def take(name, values):
            calls.append(name)
            value = next(values)
            return value, value / 2
        row = common.take_turns(lambda: take("ours", ours), lambda: take("theirs", theirs), 2, 0)
        self.assertEqual(calls, ["ours", "theirs", "ours", "theirs", "ours"])
        self.assertEqual(row, {"stpn_seconds": 1.0, "stpn_seconds_least": 0.5, "peer_seconds": 6.0, "peer_seconds_least": 2.0,
                               "ratio": 3.0, "ratio_least": 2.0, "ratio_most": 4.0})


class Refusals(unittest.TestCase):
    """Whatever differs is a row without a time, and an exit code."""
    options = argparse.Namespace(stpn=COMMAND, threads=1, rounds=1, seconds=0, pause=0, check_only=False)

    def compare(self, verified, checked):
        checker = peers.Checker(COMMAND, 1)
        self.addCleanup(checker.close)
        with mock.patch.object(common, "verify", return_value=verified), mock.patch.object(peers, "ask", side_effect=checked), \
                mock.patch.object(peers, "Timed", side_effect=AssertionError("it was timed")), \
                mock.patch.object(common, "run_stpn_bench", side_effect=AssertionError("ours was timed")):
            return peers.compare(checker, "jax", CASE, self.options)

    def refused(self, row, word, says):
        self.assertIn(says, row[word])
        self.assertFalse(set(TIMES) & set(row), row)
        text = report.text({"machine": {}, "threads": 1, "rounds": 1, "quick": True, "peers": [row]})
        self.assertRegex(text, r"\| jax \|  \|  \| %s \|  \|" % word)
        self.assertIn("%s: " % word.capitalize(), text)
        self.assertEqual(len(report.reasons({"peers": [row]}, word)), 1)

    def test_a_peer_that_differs(self):
        def answers(kind, case, threads, action, path):
            return {"golden": {"written": True}, "check": {"wrong": "y in float is off by 1"}}[action]
        self.refused(self.compare(None, answers), "wrong", "quick beside jax: y in float is off by 1")

    def test_one_that_differs_at_its_own_size_only(self):
        def answers(kind, case, threads, action, path):
            return {"wrong": "y is off" if action == "check" and case["hidden"] == CASE["hidden"] else None}
        self.refused(self.compare(None, answers), "wrong", "y is off")

    def test_ours_that_differs_from_pytorch(self):
        self.refused(self.compare("y float 0.5 of 1e-05 !", lambda *words: {"written": True}), "wrong", "stpn and PyTorch")

    def test_layers_of_wrong_results(self):
        """The layer itself, or the peer beside it."""
        for wrong in "layer", "eager":
            def answers(kind, case, threads, action, *rest, wrong=wrong):
                self.assertIn(action, ("golden", "check"), "it was timed")
                return {"wrong": "y in float is off" if action == "check" and kind == wrong else None}
            checker = peers.Checker(COMMAND, 1)
            self.addCleanup(checker.close)
            with mock.patch.object(common, "verify", return_value=None), mock.patch.object(peers, "ask", side_effect=answers):
                row = peers.compare_layer(checker, "eager", CASE, self.options)
                self.assertIn("quick beside %s: y in float is off" % wrong, row["wrong"])
                self.assertFalse(set(TIMES) & set(row), row)
                if wrong == "layer":
                    self.assertIn("off", peers.overhead(checker, CASE, argparse.Namespace(quick=True))["wrong"])

    def test_one_that_does_not_run_or_is_not_there(self):
        self.refused(self.compare(None, common.Failed("jax was ended by signal 9")), "failed", "signal 9")
        self.refused(self.compare(None, peers.Missing("No module named 'jax'")), "missing", "No module")


def drawn_document():
    """One with all that figures show, and rows that have nothing to show."""
    rows = [{"what": "multiply_add", "kernel": "portable", "threads": 1, "gflops": 50.0}]
    rows += [{"what": "bandwidth", "level": level, "threads": 1, "bytes": 1, "read_gb_s": rate, "update_gb_s": 2 * rate,
              "triad_gb_s": rate} for level, rate in (("L1", 100.0), ("memory", 10.0))]
    kernels = [{"size": "maze", "unit": "stpn_r", "kernel": "portable", "threads": 1, "forward_ns": 0.5, "training_ns": 2.0,
                "peak_bytes": 10**7},
               {"size": "maze-post", "unit": "stpn_r", "kernel": "portable", "threads": 1, "wrong": "kernel portable is wrong"}]
    sweep = []
    for axis, shapes in cases.SWEEPS.items():
        for shape in shapes:
            row = {"axis": axis, "value": cases.sweep_value(axis, shape), "size": "%d,%d,%d,%d" % shape}
            sweep += [dict(row, training_ns=2.0, peak_bytes=10**7), dict(row, peer="jax-checkpoint", wrong="y is off"),
                      dict(row, peer="eager", training_ns=20.0, peer_peak_bytes=10**9)]
    return {"machine": {"kernel": "portable"}, "threads": 1, "rounds": 5, "quick": False, "kernels": kernels, "sweep": sweep,
            "ceilings": {"caches": {"L1": 32768, "L2": 1048576, "L3": 0}, "rows": rows}}


class Figures(unittest.TestCase):
    @unittest.skipUnless(common.figure_python(), "run scripts/python-env.sh")
    def test_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bench.json")
            with open(path, "w") as file:
                json.dump(drawn_document(), file)
            found = []
            for name in "first", "second":
                words = [sys.executable, os.path.join(BENCH, "bench.py"), "--from", path, "--figures", os.path.join(folder, name)]
                result = subprocess.run(words, capture_output=True, text=True)
                self.assertEqual(result.returncode, 1, result.stderr)  # of the wrong rows
                self.assertNotIn("Traceback", result.stderr)
                found.append({})
                for file_name in sorted(os.listdir(os.path.join(folder, name))):
                    with open(os.path.join(folder, name, file_name), "rb") as file:
                        found[-1][file_name] = file.read()
        self.assertEqual(sorted(found[0]), sorted("bench_%s.%s" % (name, kind) for name in ("roofline", "cost", "memory")
                                                  for kind in ("png", "svg")))
        self.assertEqual(found[0], found[1])
        texts = {"roofline": ["maze, training", "L1, 200 GB/s", "multiply-add, portable", "operations per byte"],
                 "cost": ["stpn", "PyTorch, eager", "samples B", "F = L2", "training, ns per synapse and step, one thread"],
                 "memory": ["peak memory above the idle process, MB", "steps T"]}
        for name in texts:
            written = {text.strip() for text in re.findall("<!-- (.*?) -->", found[0]["bench_%s.svg" % name].decode())}
            self.assertLessEqual(set(texts[name]), written)
            self.assertFalse([text for text in written if "maze-post" in text or "JAX" in text])


class Command(unittest.TestCase):
    def run_bench(self, *words, code=0, **changes):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bench.json")
            program = [sys.executable, os.path.join(BENCH, "bench.py"), "--quick", "--json", path, "--threads", "1"]
            result = subprocess.run([*program, *words], capture_output=True, text=True, env=dict(os.environ, **changes))
            self.assertEqual(result.returncode, code, result.stderr)
            with open(path) as file:
                return result, json.load(file)

    def test_ours_and_the_ceilings(self):
        result, document = self.run_bench("--only", "ceilings,kernels,sweep", "--stpn", COMMAND)
        info = json.loads(subprocess.run([COMMAND, "info", "--json"], capture_output=True, check=True).stdout)
        self.assertEqual([row["unit"] for row in document["kernels"]], [unit["name"] for unit in info["units"]])
        for row in document["kernels"]:
            self.assertGreater(row["training_ns"], 0)
            self.assertIn("| %s | %s | %s | 1 | " % (row["unit"], row["size"], row["kernel"]), result.stdout)
        self.assertEqual({row["axis"] for row in document["sweep"]}, set(cases.QUICK_SWEEPS))
        self.assertEqual(document["machine"]["kernel"], info["kernel"])
        if not os.access(os.path.join(os.path.dirname(COMMAND), "bench_ceilings"), os.X_OK):
            self.assertIn("bench_ceilings", document["ceilings"]["missing"])
            return
        rows = document["ceilings"]["rows"]
        self.assertEqual([row["kernel"] for row in rows if row["what"] == "multiply_add"], info["kernels"])
        self.assertIn("memory", [row["level"] for row in rows if row["what"] == "bandwidth"])
        for row in rows:
            for key in row:
                if key == "gflops" or key.endswith("gb_s"):
                    self.assertGreater(row[key], 0.01, row)

    def test_a_wrong_kernel_has_no_time(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "stpn")
            with open(path, "w") as file:
                file.write('#!/bin/sh\n[ "$1" = bench ] || exec "%s" "$@"\n' % COMMAND)
                file.write('[ "$3" != gru ] || { echo "stpn: kernel x is wrong" >&2; exit 1; }\n')
                file.write('echo \'[{"size": "1,1,1,1", "unit": "\'"$3"\'", "kernel": "x", "threads": 1, "forward_ns": 1, '
                           '"training_ns": 2, "peak_bytes": 3}]\'\n')
            os.chmod(path, 0o755)
            result, document = self.run_bench("--only", "kernels", "--stpn", path, code=1)
        for row in document["kernels"]:
            self.assertEqual("wrong" in row, row["unit"] == "gru")
            self.assertEqual("training_ns" in row, row["unit"] != "gru")
        self.assertRegex(result.stdout, r"\| gru \| [0-9,]+ \| \w+ \| 1 \| wrong \| wrong \|  \|")
        self.assertIn("kernel x is wrong", result.stderr)

    def test_bad_use(self):
        refusals = [(("--only", "kernel"), "'kernel' is not one of ceilings, kernels"), (("--threads", "0"), "--threads is 0"),
                    (("--stpn", "/nowhere/stpn"), "there is no /nowhere/stpn"), (("--rounds", "0"), "--rounds is 0"),
                    (("--from", "/nowhere.json"), "/nowhere.json"), (("--sizes", "labyrinth"), "labyrinth")]
        for words, says in refusals:
            result = subprocess.run([sys.executable, os.path.join(BENCH, "bench.py"), *words], capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, words)
            self.assertIn(says, result.stderr)
            self.assertNotIn("Traceback", result.stderr)

    def test_a_document_that_cannot_be_written(self):
        words = ("--only", "kernels", "--threads", "1", "--quick", "--stpn", COMMAND, "--json", "/proc/nothing/bench.json")
        result = subprocess.run([sys.executable, os.path.join(BENCH, "bench.py"), *words], capture_output=True, text=True)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("/proc/nothing", result.stderr)
        self.assertNotIn("stpn_r", result.stderr)

    @unittest.skipUnless(os.path.exists(os.path.join(common.ENVIRONMENT, "complete")), "make bench has not made .venv-bench")
    def test_peers(self):
        words = ("--only", "peers", "--stpn", COMMAND)
        _, document = self.run_bench(*words)
        for row in document["peers"]:
            self.assertTrue(row["right"], row)
            self.assertGreater(row["ratio"], 0)
            self.assertGreater(row["peer_peak_bytes"], 0)
        result, document = self.run_bench(*words, "--kinds", "jax,lstm", code=1, STPN_BENCH_SPOIL="jax")
        for row in document["peers"]:
            self.assertEqual("wrong" in row, row["peer"] == "jax", row)
            self.assertEqual("peer_seconds" in row, row["peer"] != "jax", row)
        self.assertIn("quick beside jax: y in float is off by 0.01", result.stderr)


if __name__ == "__main__":
    unittest.main()
