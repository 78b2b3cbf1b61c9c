"""stpn train and stpn sweep under mpirun: the bytes of one process, whatever is killed; one message; a build without MPI."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import COMMAND, EXPERIMENT, SOURCE, CommandTest, default_signals, environment, read, read_tensors, write  # noqa: E402

POSSIBLE = json.loads(subprocess.run([COMMAND, "info", "--json"], capture_output=True, check=True).stdout)["mpi"]
MPIRUN = shutil.which("mpirun")
# Ranks wait by asking again and again, and there are more of them than processors.
LAUNCH = ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "--mca", "btl", "self,vader"]

RETRIEVAL = dict(EXPERIMENT, train=dict(EXPERIMENT["train"], batch=128, epochs=3))
MAZE = {"name": "maze", "seed": 3, "task": {"name": "maze", "size": 9, "steps": 30},
        "units": [{"name": "stpn_r", "hidden": 10, "norm": "post", "clamp": 1}],
        "train": {"method": "a2c", "iterations": 12, "batch": 100, "burn_in": 0, "learning_rate": 0.001, "evaluate_every": 4,
                  "test_iterations": 1}}
PENDULUM = {"name": "pendulum", "seed": 3, "task": {"name": "pendulum"}, "units": [{"name": "stpn_f", "hidden": 16}],
            "train": {"method": "ppo", "steps": 20000, "batch": 70, "rollout": 60, "minibatch": 1200, "learning_rate": 0.001,
                      "evaluate_every": 2, "test_iterations": 1}}


class RanksTest(CommandTest):
    def mpirun(self, ranks, *words, before=(), after=()):
        as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        process = subprocess.Popen([MPIRUN, *LAUNCH, "-n", str(ranks), *before, COMMAND, *words, *after], cwd=self.folder, text=True,
                                   env=environment(**as_root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, preexec_fn=default_signals)
        self.addCleanup(self.end, process)
        return process

    def together(self, ranks, *words, code=0):
        process = self.mpirun(ranks, *words)
        out, messages = process.communicate(timeout=300)
        self.assertEqual(process.returncode, code, messages)
        return out, messages


@unittest.skipUnless(POSSIBLE and MPIRUN, "this build is without MPI, or there is no mpirun")
class Ranks(RanksTest):
    def test_ranks_and_threads_make_no_difference(self):
        for content in (RETRIEVAL, MAZE, PENDULUM):
            name = content["name"]
            file = self.write_experiment(name + ".json", content)
            self.succeed("train", file, "--out", name, "--threads", "1")
            for ranks in (1, 2, 4):
                for threads in (1, 2):
                    with self.subTest(name=name, ranks=ranks, threads=threads):
                        out = "%s-%dx%d" % (name, ranks, threads)
                        printed, _ = self.together(ranks, "train", file, "--out", out, "--threads", str(threads))
                        self.assertEqual(printed.count("%s: %s, " % (out, name)), 1) # told once
                        self.assert_same_run(name, out)
                        for key in ("test", "test_best"):
                            self.assertEqual(self.summary(name).get(key), self.summary(out).get(key))

    def ranks_of(self, process):
        """Processes that mpirun has started, by rank."""
        found = {}
        for child in read("/proc/%d/task/%d/children" % (process.pid, process.pid)).split():
            try:
                variables = dict(part.split(b"=", 1) for part in read("/proc/%s/environ" % child.decode()).split(b"\0") if b"=" in part)
            except OSError:
                continue
            if b"OMPI_COMM_WORLD_RANK" in variables:
                found[int(variables[b"OMPI_COMM_WORLD_RANK"])] = int(child)
        return found

    def test_a_rank_killed_at_any_moment(self):
        seed = int(os.environ.get("STPN_TEST_SEED") or random.SystemRandom().randrange(2 ** 32))
        print("STPN_TEST_SEED=%d" % seed, file=sys.stderr)
        draw = random.Random(seed)
        killed = 0
        for content, longer in ((RETRIEVAL, {"epochs": 15}), (MAZE, {"iterations": 30})):
            name = content["name"]
            file = self.write_experiment(name + ".json", dict(content, train=dict(content["train"], **longer)))
            begin = time.monotonic()
            self.together(2, "train", file, "--out", name, "--threads", "1")
            taken = time.monotonic() - begin
            for turn in range(5):
                out, ranks = "%s%d" % (name, turn), draw.choice([2, 3, 4])
                process = self.mpirun(ranks, "train", file, "--out", out, "--threads", "1", "--resume")
                time.sleep(draw.uniform(0.2, 1) * taken)
                found = self.ranks_of(process)
                victim = draw.choice(sorted(found)) if found else None
                if victim is not None:
                    os.kill(found[victim], signal.SIGKILL)
                    killed += 1
                _, messages = process.communicate(timeout=60)
                if process.returncode:
                    self.assertEqual(len(re.findall("noticed that process rank|exited on signal", messages)) > 0, True, messages)
                self.together(draw.choice([1, 2, 3]), "train", file, "--out", out, "--threads", "1", "--resume")
                self.assert_same_run(name, out)
                self.assert_no_traces(out)
        self.assertGreater(killed, 0)

    def test_wrong_input_is_told_once(self):
        for words, code, says in ((["train", self.file, "--set", "train.batch=0"], 2, "train.batch is 0"),
                                  (["train", self.file, "--colour"], 2, "--colour"),
                                  (["train", "nothing.json"], 2, "nothing.json")):
            _, messages = self.together(3, *words, code=code)
            lines = [line for line in messages.splitlines() if line.startswith("stpn: ")]
            self.assertEqual(len(lines), 1, messages)
            self.assertIn(says, lines[0])

    def apart(self, first, second, code, before=()):
        """Two ranks with words of their own; what stpn says."""
        process = self.mpirun(1, *first, before=before, after=[":", "-n", "1", COMMAND, *second])
        _, messages = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, messages)
        return [line for line in messages.splitlines() if line.startswith("stpn: ")]

    def test_words_of_one_rank_alone_are_told_once(self):
        right = ["train", self.file, "--out", "run", "--quiet", "--threads", "1"]
        others = ["stpn: rank 1: is given other words than rank 0"]
        for wrong in ([*right[:-1], "999"], [*right, "--colour"], [*right, "--seeds", "0-"], [*right, "--seeds", "0-1"]):
            self.assertEqual(self.apart(right, wrong, 2), others, wrong)
            told = self.apart(wrong, right, 2)
            self.assertEqual(len(told), 1, (wrong, told))
        self.assertEqual(self.apart([*right, "--seeds", "0-1"], [*right, "--seeds", "0-2"], 2), others)

    def test_a_rank_that_starts_late_still_tells(self):
        late = ["sh", "-c", 'sleep 1; exec "$@"', "late"]
        told = self.apart(["train", self.file, "--colour"], ["train", self.file, "--colour"], 2, before=late)
        self.assertEqual(len(told), 1, told)
        self.assertIn("--colour", told[0])

    def test_a_signal_to_any_rank_stops_all(self):
        file = self.write_experiment("maze.json", dict(MAZE, train=dict(MAZE["train"], iterations=100000)))
        for rank in (0, 1, 2):
            out = "stopped%d" % rank
            process = self.mpirun(3, "train", file, "--out", out, "--threads", "1", "--quiet")
            self.wait_for(self.path(out, "last.safetensors"))
            os.kill(self.ranks_of(process)[rank], signal.SIGTERM)
            _, messages = process.communicate(timeout=60)
            self.assertIn("stopped after iteration", messages)
            self.assertIn("saved", messages)

    def wait_for(self, path):
        end = time.monotonic() + 60
        while not os.path.exists(path):
            self.assertLess(time.monotonic(), end, path)
            time.sleep(0.02)

    def test_a_rank_that_reads_other_data_is_refused(self):
        for name in ("a", "b"):
            shutil.copytree(os.path.join(SOURCE, "experiments", "own-data"), self.path(name))
        data = self.path("b", "greenhouse.csv")
        text = read(data).rstrip()
        write(data, text[:-1] + (b"1" if text.endswith(b"2") else b"2"))
        words = ["train", "greenhouse.json", "--out", self.path("run"), "--set", "train.epochs=1", "--threads", "1"]
        process = self.mpirun(1, *words, before=["-wdir", self.path("a")], after=[":", "-n", "1", "-wdir", self.path("b"), COMMAND, *words])
        _, messages = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 2, messages)
        self.assertEqual([line for line in messages.splitlines() if line.startswith("stpn: ")],
                         ["stpn: rank 1: reads other data than rank 0"])

    def test_what_stops_rank_0_after_training_stops_all(self):
        file = self.write_experiment("r.json", RETRIEVAL)
        os.makedirs(self.path("seeds", "s0", "summary.json.tmp"))
        _, messages = self.together(2, "train", file, "--seeds", "0-2", "--out", "seeds", "--threads", "1", "--quiet", code=3)
        self.assertEqual(len([line for line in messages.splitlines() if line.startswith("stpn: ")]), 1, messages)
        self.assertEqual(os.listdir(self.path("seeds")), ["s0"])

    def test_processes_that_mpi_does_not_join_are_refused(self):
        ranks = {"PMI_RANK": "0", "PMI_SIZE": "4", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        self.refuse(2, "train", self.file, "--out", "run", env=environment(**ranks), says="4 processes were started together, of which MPI joins 1")

    def test_profile_tells_what_was_exchanged(self):
        _, messages = self.together(2, "train", self.write_experiment("r.json", RETRIEVAL), "--out", "run", "--threads", "1", "--profile", "--quiet")
        found = re.search(r"^ranks: 2; rank 0 sent (\d+) bytes in (\d+) messages, received (\d+) bytes in (\d+) messages, "
                          r"([\d.]+) s in them, (\d+) updates$", messages, re.M)
        self.assertTrue(found, messages)
        sent, _, received, _, seconds, updates = map(float, found.groups())
        parameters = self.parameter_bytes("run")
        self.assertEqual(updates, 3 * (RETRIEVAL["task"]["train"] // 128))
        self.assertGreater(sent, updates * parameters)
        self.assertGreater(received, updates * parameters)
        self.assertGreater(seconds, 0)

    def parameter_bytes(self, out):
        header, _ = read_tensors(self.path(out, "best.safetensors"))
        return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__")

    def test_a_sweep_is_shared_by_ranks(self):
        os.mkdir(self.path("files"))
        self.write_experiment("files/base.json", dict(EXPERIMENT, train=dict(EXPERIMENT["train"], epochs=1)))
        sweep = self.write_experiment("files/s.json", {"experiment": "base.json", "keys": {"train.learning_rate": [0.001, 0.01, 0.1]}})
        self.together(2, "sweep", sweep, "--out", "shared", "--jobs", "1", "--quiet")
        self.succeed("sweep", sweep, "--out", "alone", "--quiet")
        runs = sorted(name for name in os.listdir(self.path("alone")) if os.path.isdir(self.path("alone", name)))
        self.assertEqual(len(runs), 3)
        for name in runs:
            self.assert_same_run(os.path.join("alone", name), os.path.join("shared", name))


@unittest.skipIf(POSSIBLE, "this build has MPI")
class WithoutMpi(CommandTest):
    def test_it_says_what_it_lacks(self):
        ranks = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
        self.refuse(2, "train", self.file, "--out", "run", env=environment(**ranks),
                    says=["4 ranks are to train together", "libopenmpi-dev"])
        ranks["OMPI_COMM_WORLD_RANK"] = "1"
        result = self.run_command("train", self.file, "--out", "run", env=environment(**ranks))
        self.assertEqual((result.returncode, result.stderr), (2, ""))
        self.assertFalse(os.path.exists(self.path("run")))


if __name__ == "__main__":
    unittest.main()
