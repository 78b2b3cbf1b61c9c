"""Runs that are interrupted, killed, resumed, spoiled, or have no room: nothing is lost, and the bits are the same."""
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import (COMMAND, QUICK, SHARE, CommandTest, default_signals, environment, kernels, read,  # noqa: E402
                     read_tensors, write, write_tensors)


def snapshot(folder):
    """Names, bytes and times of change."""
    return {name: (read(os.path.join(folder, name)), os.stat(os.path.join(folder, name)).st_mtime_ns)
            for name in os.listdir(folder)}


class Interrupt(CommandTest):
    def setUp(self):
        super().setUp()
        self.train("whole")

    def resumed_as_told(self, messages):
        """Runs the command line that a message ends with."""
        line = re.search(r"go on with: (.*)\n\Z", messages).group(1)
        return subprocess.run(["sh", "-c", line], cwd=self.folder, env=environment(), capture_output=True, text=True)

    def test_a_signal_saves_and_says_how_to_go_on(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            out = "it's %d" % number
            messages = self.interrupted_run(out, number=number)
            self.assertRegex(messages, r"stopped after update \d+ of epoch \d+, saved; go on with: ")
            result = self.resumed_as_told(messages)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("small, 30 epochs", result.stdout)
            self.assert_same_run("whole", out)
            self.assert_no_traces(out)

    def test_the_kernel_is_part_of_how_to_go_on(self):
        messages = self.interrupted_run("run", env=environment(STPN_KERNEL="portable"))
        self.assertIn("go on with: STPN_KERNEL=portable ", messages)
        self.assertEqual(self.resumed_as_told(messages).returncode, 0)

    def test_quiet_still_says_it(self):
        messages = self.interrupted_run("run", "--quiet")
        self.assertRegex(messages, r"\Astpn: [^\n]*--resume[^\n]*\n\Z")

    def test_several_seeds_go_on_where_they_were(self):
        long = ["--set", "train.epochs=200"]  # else the second may be over before the signal
        process, _, messages = self.interrupt("all", "all/s4/last.safetensors", "train", self.file, "--seeds", "3-5",
                                              "--out", "all", *long)
        self.assertEqual(process.returncode, 130, messages)
        before = snapshot(self.path("all", "s3"))
        self.assertFalse(os.path.exists(self.path("all", "s5")))
        result = self.resumed_as_told(messages)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(before, snapshot(self.path("all", "s3")))
        for seed in (3, 4):
            self.train("alone%d" % seed, "--seed", str(seed), *long)
            self.assert_same_run("alone%d" % seed, "all/s%d" % seed)
        self.assertTrue(os.path.exists(self.path("all", "s5", "summary.json")))

    def test_a_signal_that_comes_twice_at_once_is_one(self):
        """As from timeout, which sends it to its child and to the group."""
        for number in (signal.SIGINT, signal.SIGTERM):
            out = "twice%d" % number
            process = self.start("train", self.file, "--out", out, "--set", "train.epochs=100000")
            self.wait_for(out + "/last.safetensors", process)
            process.send_signal(number)
            time.sleep(0.01)
            process.send_signal(number)
            messages = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 130, messages)
            self.assertIn("saved; go on with", messages)

    def test_a_second_signal_kills_at_once(self):
        slow = ["--set", "task.train=16384", "--set", "train.batch=16384", "--set", "units.0.hidden=200"]
        words = ["train", self.file, "--out", "slow", *slow, "--threads", "1"]
        process = self.start(*words)
        self.wait_for("slow/experiment.json", process)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT)

    def test_a_folder_with_the_best_parameters_alone(self):
        shutil.copytree(self.path("whole"), self.path("model"))
        os.remove(self.path("model", "last.safetensors"))
        self.refuse(2, "eval", "model", says="model: has no last.safetensors; --best takes its best.safetensors")
        self.succeed("eval", "model", "--best")

    def test_a_finished_run_is_left_as_it_is(self):
        before = snapshot(self.path("whole"))
        result = self.train("whole", "--resume")
        self.assertEqual(before, snapshot(self.path("whole")))
        self.assertIn("small, 30 epochs", result.stdout)
        self.assertEqual(result.stderr, "")

    def test_resume_without_a_checkpoint_starts_afresh(self):
        self.train("fresh", "--resume")
        self.assert_same_run("whole", "fresh")


class Resume(CommandTest):
    def test_a_difference_is_named(self):
        self.interrupted_run("run")
        before = snapshot(self.path("run"))
        for words, key in ((["--set", "train.learning_rate=0.5"], "train.learning_rate"), (["--seed", "9"], "seed"),
                           (["--set", "units.0.hidden=12"], "units.0.hidden"), (["--set", "task.pairs=4"], "task.pairs"),
                           (["--set", "train.epochs=31"], "train.epochs"), (["--set", "note=x"], "note")):
            self.refuse(2, "train", self.file, "--out", "run", "--resume", *words,
                        says=[key + " differs", "experiment.json", "--out"])
        self.assertEqual(before, snapshot(self.path("run")))
        self.train("run", "--resume", "--threads", "2")

    def test_another_kernel_is_refused_with_the_way_out(self):
        if len(kernels()) < 2:
            self.skipTest("there is one kernel only")
        self.interrupted_run("run", env=environment(STPN_KERNEL="portable"))
        self.refuse(2, "train", self.file, "--out", "run", "--resume",
                    says=["portable", kernels()[0], "STPN_KERNEL=portable", "--any-kernel"])
        shutil.copytree(self.path("run"), self.path("other"))
        self.train("other", "--resume", "--any-kernel")
        self.train("run", "--resume", env=environment(STPN_KERNEL="portable"))
        self.train("whole", env=environment(STPN_KERNEL="portable"))
        self.assert_same_run("whole", "run")

    def test_a_checkpoint_without_its_experiment(self):
        self.train("run", *QUICK)
        os.remove(self.path("run", "experiment.json"))
        os.remove(self.path("run", "summary.json"))
        before = snapshot(self.path("run"))
        for words in ([], ["--resume"]):
            self.refuse(2, "train", self.file, *QUICK, "--out", "run", *words, says="run")
        self.assertEqual(before, snapshot(self.path("run")))

    def test_one_process_at_a_time(self):
        words = ["train", self.file, "--out", "run", "--set", "train.epochs=1000000"]
        first = self.start(*words)
        self.wait_for("run/last.safetensors", first)
        self.refuse(2, *words, "--resume", says=["run", "another process"])
        self.refuse(2, *words, says="run")
        self.assertIsNone(first.poll())
        first.kill()
        first.communicate()
        second = self.start(*words, "--resume")
        time.sleep(0.3)
        self.assertIsNone(second.poll(), "a killed run left a lock")
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=60)
        self.assertEqual(second.returncode, 130)

    def test_patience(self):
        words = ["--set", "train.patience=2", "--set", "train.learning_rate=1e-9"]
        result = self.train("run", *words)
        self.assertIn("stopped early", result.stdout)
        before = snapshot(self.path("run"))
        self.train("run", *words, "--resume")
        self.assertEqual(before, snapshot(self.path("run")))


class Kill(CommandTest):
    def test_twenty_kills(self):
        seed = int(os.environ.get("STPN_TEST_SEED") or random.SystemRandom().randrange(2 ** 32))
        print("STPN_TEST_SEED=%d" % seed, file=sys.stderr)
        draw = random.Random(seed)
        words = ["--set", "task.train=%d" % (1024 // SHARE), "--set", "train.epochs=20"]
        begin = time.monotonic()
        self.train("whole", *words)
        taken = time.monotonic() - begin
        kills = run = 0
        while kills < 20:
            # Some runs are killed once, some again and again.
            out = "run%d" % run
            run += 1
            for _ in range(draw.choice([1, 1, 3])):
                process = self.start("train", self.file, "--out", out, *words, "--resume")
                time.sleep(draw.uniform(0, taken))
                process.kill()
                process.communicate()
                kills += process.returncode == -signal.SIGKILL
                if os.path.exists(self.path(out, "last.safetensors")):
                    self.succeed("eval", out)
                if os.path.exists(self.path(out, "best.safetensors")):
                    self.succeed("inspect", out, "--best")
            self.train(out, *words, "--resume")
            self.assert_same_run("whole", out)
            self.assert_no_traces(out)


class NotANumber(CommandTest):
    # Without a norm F grows by Lambda in each of 55 steps: an update or a few, and it is beyond what a float holds.
    words = ["--set", "task.pairs=26", "--set", "task.train=256", "--set", "train.batch=128", "--set", "train.epochs=200",
             "--set", "units.0.norm=none", "--threads", "1"]

    def test_the_last_good_checkpoint_is_kept(self):
        env = environment(STPN_KERNEL="portable")
        result = self.run_command("train", self.file, "--out", "run", *self.words, "--set", "train.learning_rate=1", env=env)
        self.assertEqual(result.returncode, 1, result.stderr)
        message = result.stderr.splitlines()[-1]
        update, epoch = map(int, re.search(r"update (\d+) of epoch (\d+)", message).groups())
        self.assertIn(update, (1, 2))
        self.assertGreaterEqual(epoch, 2)
        self.assertFalse(os.path.exists(self.path("run", "summary.json")))
        header, data = read_tensors(self.path("run", "last.safetensors"))
        begin, _ = header["progress.epoch"]["data_offsets"]
        self.assertEqual(struct.unpack_from("<q", data, begin)[0], epoch - 1)
        document = self.document("eval", "run", "--json", env=env)
        self.assertTrue(math.isfinite(document["validation"]["loss"]))
        self.succeed("inspect", "run", "--best")
        before = read(self.path("run", "last.safetensors"))
        again = self.run_command("train", self.file, "--out", "run", *self.words, "--set", "train.learning_rate=1",
                                 "--resume", env=env)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(again.stderr.splitlines()[-1], message)
        self.assertEqual(before, read(self.path("run", "last.safetensors")))

    def test_in_the_first_epoch(self):
        result = self.run_command("train", self.file, "--out", "run", *self.words, "--set", "train.learning_rate=1000",
                                  "--quiet")
        self.assert_refused(result, 1, "update 2 of epoch 1")
        # What the message points to is there.
        if "last.safetensors" in result.stderr:
            self.succeed("eval", "run")

    def test_in_an_evaluation(self):
        """The loss of an epoch's updates is finite, that of the validation after it is not."""
        result = self.run_command("train", self.file, "--out", "run", *self.words, "--set", "train.learning_rate=1000",
                                  "--set", "train.batch=256", "--quiet")
        self.assert_refused(result, 1, "epoch 1")
        if os.path.exists(self.path("run", "metrics.csv")):
            self.assertNotIn(b"nan", read(self.path("run", "metrics.csv")))
        if os.path.exists(self.path("run", "last.safetensors")):
            self.document("eval", "run", "--json")


class Spoiled(CommandTest):
    """Checkpoints that were cut or made to mislead: one clear message, and the file stays."""

    def setUp(self):
        super().setUp()
        self.train("run", *QUICK)
        # Without its summary the run counts as interrupted.
        os.remove(self.path("run", "summary.json"))
        self.good = read(self.path("run", "last.safetensors"))
        self.header, self.data = read_tensors(self.path("run", "last.safetensors"))

    def spoil(self, content, says=(), commands=("train", "eval", "inspect")):
        path = self.path("run", "last.safetensors")
        write(path, content)
        before = snapshot(self.path("run"))
        for name in commands:
            words = ["train", self.file, *QUICK, "--out", "run", "--resume", "--quiet"] if name == "train" else [name, "run"]
            self.refuse(2, *words, says=["last.safetensors", *says])
        self.assertEqual(before, snapshot(self.path("run")))

    def rewritten(self, change):
        header, data = json.loads(json.dumps(self.header)), bytearray(self.data)
        change(header, data)
        write_tensors(self.path("spoiled"), header, bytes(data))
        return read(self.path("spoiled"))

    def with_value(self, tensor, packed, at=0):
        def change(header, data):
            begin = header[tensor]["data_offsets"][0] + at
            data[begin:begin + len(packed)] = packed
        return self.rewritten(change)

    def test_truncated(self):
        size = len(self.good)
        for length in (0, 1, 7, 8, 9, 200, size // 2, size - 1):
            self.spoil(self.good[:length])
        self.spoil(self.good + b"\0")

    def test_hostile_headers(self):
        for length in (2 ** 64 - 1, 2 ** 63, 2 ** 32, len(self.good), 0):
            self.spoil(struct.pack("<Q", length) + self.good[8:])
        self.spoil(b"\xff" * len(self.good))
        for text in (b"{", b"[]", b"null", b'{"a": 3}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
                     b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}}',
                     b'{"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}', b'{"a":' * 20000):
            self.spoil(struct.pack("<Q", len(text)) + text + b"\0" * 4)

    def test_another_network(self):
        def rename(header, _):
            header["units.0.other"] = header.pop("units.0.lambda")
        self.spoil(self.rewritten(rename), says=["units.0."])

        def transpose(header, _):
            header["units.0.weight"]["shape"].reverse()
        self.spoil(self.rewritten(transpose), says=["units.0.weight", "(48, 11)", "(11, 48)"])

        def retype(header, _):
            header["units.0.weight"]["dtype"] = "I32"
        self.spoil(self.rewritten(retype), says=["units.0.weight", "I32"])
        self.spoil(self.with_value("units.0.weight", struct.pack("<f", math.nan), 8), says=["units.0.weight", "finite"])
        self.spoil(self.with_value("readout.bias", struct.pack("<f", math.inf)), says=["readout.bias", "finite"])

    def test_progress_that_cannot_be(self):
        for tensor, packed in (("progress.epoch", struct.pack("<q", -1)), ("progress.epoch", struct.pack("<q", 10 ** 15)),
                               ("progress.update", struct.pack("<q", 4)), ("progress.update", struct.pack("<q", -4)),
                               ("progress.best_epoch", struct.pack("<q", 99)), ("progress.waited", struct.pack("<q", -1)),
                               ("progress.best_accuracy", struct.pack("<d", math.nan)),
                               ("progress.loss_sum", struct.pack("<d", math.inf)),
                               ("adam.updates", struct.pack("<q", -1)),
                               ("adam.second.readout.bias", struct.pack("<f", math.nan))):
            with self.subTest(tensor=tensor):
                self.spoil(self.with_value(tensor, packed), commands=["train"])

        def drop(header, _):
            header["progress.other"] = header.pop("progress.waited")
        self.spoil(self.rewritten(drop), says=["progress.waited", "missing"], commands=["train"])

        def future(header, _):
            header["__metadata__"]["stpn_format"] = "99"
        self.spoil(self.rewritten(future), says=["format", "99"], commands=["train"])

    def test_what_is_no_file(self):
        path = self.path("run", "last.safetensors")
        os.remove(path)
        os.mkdir(path)
        for name in ("eval", "inspect"):
            self.refuse(2, name, "run", says=["last.safetensors", "regular file"])
        self.refuse((2, 3), "train", self.file, *QUICK, "--out", "run", "--resume", "--quiet", says="last.safetensors")

    def test_a_good_one_still_resumes(self):
        write(self.path("run", "last.safetensors"), self.good)
        self.train("run", *QUICK, "--resume")
        self.train("whole", *QUICK)
        self.assert_same_run("whole", "run")

    def test_a_spoiled_summary(self):
        write(self.path("run", "summary.json"), "{")
        self.refuse(2, "train", self.file, *QUICK, "--out", "run", "--resume", says=["summary.json", "line 1"])
        write(self.path("run", "summary.json"), "{}")
        self.train("run", *QUICK, "--resume")


class NoRoom(CommandTest):
    def test_folders_that_cannot_be_made(self):
        # root may write anywhere, but not below a file, nor into /proc.
        below = os.path.join(self.file, "run")
        self.refuse(3, "train", self.file, *QUICK, "--out", below, says=[os.path.basename(self.file), "cannot be made"])
        self.refuse(3, "train", self.file, *QUICK, "--out", "/proc/stpn/run", says=["/proc/stpn", "cannot be made"])
        self.refuse(2, "train", self.file, *QUICK, "--out", self.file, says=[self.file, "not a folder"])
        self.refuse(2, "train", self.file, *QUICK, "--out", "x" * 5000, says="long")
        self.refuse((2, 3), "train", self.file, *QUICK, "--out", "x" * 300, says="x" * 300)
        self.refuse((2, 3), "train", self.file, *QUICK, "--out", "/proc", says="/proc/")

    def resume_without_room(self, **more):
        """It fails and says so; what was saved stays, and goes on once there is room."""
        before = {name: read(self.path("run", name)) for name in ("last.safetensors", "best.safetensors")}
        result = self.refuse(3, "train", self.file, "--out", "run", "--resume", "--quiet", says="run/", **more)
        for name, content in before.items():
            self.assertEqual(content, read(self.path("run", name)))
        self.assert_no_traces("run")
        return result

    def test_a_limit_on_file_sizes(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        self.train("whole")
        self.interrupted_run("run")
        self.assertIn("File too large", self.resume_without_room(preexec_fn=limit).stderr)
        self.train("run", "--resume")
        self.assert_same_run("whole", "run")
        self.refuse(3, "train", self.file, *QUICK, "--out", "fresh", "--quiet", says="fresh/", preexec_fn=limit)

    def test_a_full_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode != 0:
            self.skipTest("a small disk cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        self.train("whole")
        os.mkdir(self.path("disk", "run"))
        os.symlink(self.path("disk", "run"), self.path("run"))
        self.interrupted_run("run")
        with open(self.path("disk", "filler"), "wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        self.assertIn("No space left", self.resume_without_room().stderr)
        os.remove(self.path("disk", "filler"))
        self.train("run", "--resume")
        self.assert_same_run("whole", "run")


class Terminal(CommandTest):
    def shown(self, *words, window=None, **env):
        return self.terminal("train", self.file, *words, window=(24, window) if window else None, **env)

    def test_one_line_is_redrawn_and_fits(self):
        for number, (columns, window) in enumerate([("120", None), ("80", 20), ("40", None), ("14", None), (None, 33)]):
            env = {"COLUMNS": columns} if columns else {}
            text = self.shown("--out", "run%d" % number, window=window, **env)
            width = int(columns or window)
            self.assertEqual(text.count("\n"), 2)
            first, text = text.split("\r\n", 1)
            self.assertEqual(first, "small: stpn_r 11, 2039 trained parameters")
            lines = text.rstrip("\r\n").split("\r")
            self.assertGreater(len(lines), 3)
            for line in lines:
                self.assertLess(len(line), width)
                self.assertNotIn("\x1b", line)
            self.assertIn("epoch 30/30", lines[-1])
            if width >= 80:
                self.assertRegex(lines[-1], r"^epoch 30/30  loss [\d.]+  accuracy [\d.]+  \d+ sequences/s  0:00 left *$")

    def test_several_seeds_take_a_line_each(self):
        text = self.shown("--seeds", "0-1", "--out", "all")
        self.assertEqual(text.count("\n"), 4)
        self.assertIn("seed 1  epoch 30/30", text)

    def test_quiet(self):
        self.assertEqual(self.shown("--out", "run", "--quiet"), "")


if __name__ == "__main__":
    unittest.main()
