"""Gymnasium environments through a worker process: trained, resumed; what a worker may do wrong, and kills of both sides."""
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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import python_env  # noqa: E402

python_env.use()
from support import COMMAND, SHARE, SOURCE, CommandTest, environment, read, read_tensors, write  # noqa: E402

FAKE = {
    "name": "fake",
    "seed": 2,
    # The environment need not be asked what it is: that would be another process.
    "task": {"name": "gym", "id": "fake_env:Fake-v0", "observations": 3, "actions": 2, "continuous": 0},
    "units": [{"name": "lstm", "hidden": 4}],
    "train": {"steps": 40 * 6 * 10, "batch": 40, "rollout": 6, "learning_rate": 0.01, "evaluate_every": 2,
              "test_iterations": 2, "burn_in": 0},
}
LONG = ["--set", "train.steps=2000000000", "--set", "train.evaluate_every=1"]


ASK = ["--set", "task.observations=0", "--set", "task.actions=0"]


def quoted(**arguments):
    """A string of the experiment file that holds an object."""
    return json.dumps(json.dumps(arguments))


def shared_memory():
    return {name for name in os.listdir("/dev/shm") if name.startswith("stpn") and not name.startswith("stpn-test-")}


class GymTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.file = self.write_experiment("gym.json", FAKE)
        self.pid = self.path("pid")
        self.good = self.path("good")
        self.before = shared_memory()
        self.env = environment(STPN_PYTHON=sys.executable, FAKE_ENV_PID=self.pid, FAKE_ENV_GOOD=self.good,
                               PYTHONPATH=os.path.join(SOURCE, "tests", "support"))
        self.addCleanup(lambda: self.assertEqual(shared_memory(), self.before))

    def run_command(self, *words, **more):
        return super().run_command(*words, **{"env": self.env, **more})

    def wrong(self, does, **more):
        arguments = json.dumps({"does": does, **more})
        return self.write_experiment(does + ".json", {**FAKE, "task": {**FAKE["task"], "arguments": arguments}})

    def worker(self):
        return int(read(self.pid).decode())

    def wait_until_gone(self, pid, seconds=30):
        limit = time.monotonic() + seconds
        while os.path.exists("/proc/%d" % pid):
            self.assertLess(time.monotonic(), limit, "the worker outlives the command")
            time.sleep(0.01)

    def kill_both(self, process, pid):
        """The command is killed; the worker has to follow, and does so at the latest when the test ends."""
        def end():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

        self.addCleanup(end)
        process.kill()
        process.wait()
        self.wait_until_gone(pid)

    def iterations(self, out):
        header, data = read_tensors(self.path(out, "last.safetensors"))
        begin, end = header["progress.iteration"]["data_offsets"]
        return int.from_bytes(data[begin:end], "little")


class Train(GymTest):
    def test_a_run_and_its_files(self):
        result = self.train("run", *ASK)
        self.assertIn("run: fake, 10 iterations", result.stdout)
        task = json.loads(read(self.path("run", "experiment.json")))["task"]
        self.assertEqual((task["observations"], task["actions"], task["continuous"]), (3, 2, 0))
        summary = json.loads(read(self.path("run", "summary.json")))
        self.assertEqual(summary["test"]["episodes"], 80)
        self.assertTrue(5 <= summary["test"]["steps"] <= 9)
        self.assertEqual((summary["train"]["steps"], summary["train"]["updates"]), (2400, 10))
        heading, *rows = [line.split(",") for line in read(self.path("run", "metrics.csv")).decode().splitlines()]
        rows = [dict(zip(heading, row)) for row in rows]
        self.assertEqual([row["iteration"] for row in rows], ["2", "4", "6", "8", "10"])
        self.assertEqual([row["steps"] for row in rows], ["480", "960", "1440", "1920", "2400"])
        for row in rows:
            self.assertTrue(5 <= float(row["length"]) <= 9)
            self.assertTrue(0 <= float(row["reward"]) <= float(row["length"]))
        # Every step of the copies belongs to an episode that has ended, or to one of at most 8 steps under way.
        counted = sum(int(row["episodes"]) * float(row["length"]) for row in rows)
        self.assertTrue(2400 - 40 * 8 <= counted + 1e-3 <= 2400)

    def test_threads_change_nothing(self):
        for threads in ("1", "3"):
            self.train("t" + threads, "--threads", threads)
        self.assert_same_run("t1", "t3")
        self.assertEqual(json.loads(read(self.path("t1", "summary.json")))["test"],
                         json.loads(read(self.path("t3", "summary.json")))["test"])

    def test_the_profile_has_the_time_of_the_worker(self):
        self.file = self.wrong("slow", at=1)
        result = self.train("run", "--set", "train.steps=480", "--profile")
        rows = {line.split("  ")[0]: line[len(line.split("  ")[0]):].split() for line in result.stderr.splitlines()}
        busy = float(rows["the environment's process"][0])
        self.assertTrue(480 * 0.001 <= busy <= float(rows["all"][0]), rows)

    def test_it_learns(self):
        self.train("run", "--set", "train.steps=%d" % (40 * 6 * 200), "--set", "train.learning_rate=0.02",
                   "--set", "train.evaluate_every=20", "--set", "train.test_greedy=true")
        test = json.loads(read(self.path("run", "summary.json")))["test"]
        self.assertGreater(test["reward"], 0.9 * test["steps"])

    def test_a_row_in_which_no_episode_ends(self):
        self.train("run", "--set", "train.rollout=2", "--set", "train.steps=80", "--set", "train.evaluate_every=1")
        heading, row = [line.split(",") for line in read(self.path("run", "metrics.csv")).decode().splitlines()]
        row = dict(zip(heading, row))
        self.assertEqual((row["episodes"], row["length"], row["reward"]), ("0", "", ""))
        summary = json.loads(read(self.path("run", "summary.json")))
        self.assertNotIn("best_reward", summary["train"])
        self.assertEqual(summary["test"], summary["test_best"])

    def test_a_film(self):
        from PIL import Image

        self.train("run", "--set", "train.steps=480")
        for words in ([], ["--seed", "9"], ["--greedy"]):
            out = self.succeed("play", "run", "--video", "film.gif", *words).stdout
            steps, reward = re.fullmatch(r"(\d+) steps, reward (\S+): film.gif\n", out).groups()
            self.assertTrue(5 <= int(steps) <= 9 and 0 <= float(reward) <= int(steps), out)
            with Image.open(self.path("film.gif")) as film:
                self.assertEqual((film.n_frames, film.size, film.info["duration"]), (int(steps) + 1, (12, 8), 100))
                for t in range(film.n_frames):
                    film.seek(t)
                    red, green, blue = film.convert("RGB").getpixel((5, 5))
                    self.assertEqual((red, green), (200, 20 * t))
                    self.assertIn(blue, (0, 255))
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("film")], ["film.gif"])
        before = read(self.path("film.gif"))
        self.refuse(2, "play", "run", says="--video makes a film")
        self.refuse(2, "play", "run", "--video", "film.avi", says="film.avi: expected a name that ends in .gif or .mp4")
        self.refuse(2, "play", "run", "--video", "film.gif", "--fps", "3", says="--fps does not go with --video")
        self.refuse(2, "play", "run", "--video", "none/film.gif", says="No such file")
        write(self.path("mine.gif"), b"not a film")
        self.refuse(2, "play", "run", "--video", "mine.gif", says="mine.gif: is there and is no film")
        self.file = self.wrong("blind")
        self.train("blind", "--set", "train.steps=480")
        result = self.run_command("play", "blind", "--video", "film.gif")  # gymnasium warns as well
        self.assertEqual(result.returncode, 2)
        self.assertIn("stpn: fake_env:Fake-v0: its picture is NoneType (), expected (rows, columns, 3)\n", result.stderr)
        self.assertEqual(read(self.path("film.gif")), before)

    def test_policies_and_eval(self):
        self.train("run")
        shown = self.document("eval", "run", "--json")
        self.assertEqual(shown["test"], json.loads(read(self.path("run", "summary.json")))["test"])
        policy = self.document("eval", self.file, "--policy", "random", "--json")
        self.assertTrue(1 <= policy["test"]["reward"] <= 6)

    def test_what_the_mask_hides(self):
        self.train("run", "--set", "task.mask=[1]", "--set", "train.steps=%d" % (40 * 6 * 100),
                   "--set", "train.test_greedy=true")
        test = json.loads(read(self.path("run", "summary.json")))["test"]
        self.assertLess(test["reward"], 0.8 * test["steps"])

    def test_cartpole(self):
        file = os.path.join(SOURCE, "experiments", "gym", "cartpole.json")
        self.succeed("train", file, "--out", "run", "--set", "train.steps=%d" % (120000 if SHARE == 1 else 60000 // SHARE),
                     "--set", "train.test_iterations=1")
        test = json.loads(read(self.path("run", "summary.json")))["test"]
        # Without learning about 22 steps, of 10 where one action is taken all the time.
        self.assertGreater(test["reward"], 60 if SHARE == 1 else 12)


    def test_pong(self):
        self.file = os.path.join(SOURCE, "experiments", "pong", "lstm.json")
        self.train("run", "--set", "train.batch=2", "--set", "train.rollout=5", "--set", "train.steps=30")
        summary = json.loads(read(self.path("run", "summary.json")))
        self.assertEqual((summary["train"]["updates"], summary["parameters"]), (3, 516679))
        self.assertTrue(-21 <= summary["test"]["reward"] <= 21)
        # 21 points take a time, at 4 frames a step.
        self.assertGreater(summary["test"]["steps"], 300)
        header, _ = read_tensors(self.path("run", "last.safetensors"))
        self.assertEqual(header["encoder.0.weight"]["shape"], [16, 64])
        self.assertEqual(header["encoder.1.weight"]["shape"], [32, 256])
        self.assertEqual(header["units.0.weight"]["shape"], [4 * 48, 2592 + 48])


class Refused(GymTest):
    def test_experiments(self):
        for settings, says in (
            (["task.id=Nothing-v0"], "Nothing-v0: NameNotFound"),
            (["task.id=fake_env:Fake-v0", "task.arguments={"], "JSONDecodeError"),
            (["task.arguments=" + quoted(does="dictionary")], "its observations are Dict"),
            (["task.arguments=" + quoted(does="actions")], "its actions are MultiDiscrete"),
            (["task.arguments=" + quoted(continuous=True)], "train.burn_in has no effect with this train.method"),
            (["task.observations=4", "task.actions=2"], "has 3 observations, 2 actions, 0 continuous ones"),
            (["task.observations=4", "task.actions=0"], "task.observations, task.actions and task.continuous are 4, 0, 0"),
            (["task.mask=[3]"], "task.mask has column 3, expected 0 to 2"),
            (["train.rollout=0"], "train.rollout is 0"),
            (["train.iterations=5"], "train.iterations has no effect with train.rollout"),
        ):
            words = [word for setting in settings for word in ("--set", setting)]
            if not any("task.observations" in setting for setting in settings):
                words = [*ASK, *words]
            self.refuse(2, "train", self.file, "--out", "run", *words, says=says)

    def test_no_python(self):
        self.refuse(3, "train", self.file, "--out", "run", env={**self.env, "STPN_PYTHON": "/nowhere/python"},
                    says="/nowhere/python cannot be started")
        result = self.run_command("train", self.file, "--out", "run", env={**self.env, "STPN_PYTHON": "/bin/false"})
        self.assert_refused(result, 3, "has ended with exit status 1")
        self.assertIn("it was started by /bin/false", result.stderr)

    def test_a_worker_that_does_wrong(self):
        for does, code, says in (
            ("dies", 3, "was ended"), ("hangs", 3, "has not answered for 3 seconds (task.time_limit)"),
            ("raises", 2, "RuntimeError: the motor is on fire"), ("nonsense", 3, "answered 5 bytes that are no answer"),
            ("shape", 2, "copy 0: the observation of a step has the shape (2,), expected (3,)"),
            ("nan", 2, "copy 0: value 1 of its observation is nan"), ("reward", 2, "copy 0: its reward is inf"),
            ("rewards", 2, "copy 0: the reward has the shape (2,)"),
        ):
            with self.subTest(does):
                file = self.wrong(does)
                words = ["train", file, "--out", does, "--set", "task.time_limit=%d" % (3 if does == "hangs" else 60)]
                result = self.run_command(*words)
                self.assertEqual(result.returncode, code, result.stderr)
                last = result.stderr.splitlines()[-1]
                self.assertIn(says.replace("was ended", "has ended with exit status 7"), last)
                self.assertIn("in iteration 5; last.safetensors is from before", last)
                self.wait_until_gone(self.worker())
                self.assertEqual(self.iterations(does), 4)
                if does not in ("hangs", "nan"):
                    continue
                write(self.good, "")
                self.succeed(*words, "--resume")
                self.assertEqual(self.iterations(does), 10)
                os.remove(self.good)


class Installed(GymTest):
    def test_the_python_of_its_own_environment(self):
        """Of a virtual environment that is not the active one."""
        os.makedirs(self.path("venv", "bin"))
        own, python = self.path("venv", "bin", "stpn"), self.path("venv", "bin", "python3")
        shutil.copy(COMMAND, own)
        write(python, "#!/bin/sh\nexit 9\n")
        os.chmod(python, 0o755)
        env = {name: value for name, value in self.env.items() if name != "STPN_PYTHON"}
        for has in (False, True):
            if has:
                write(self.path("venv", "pyvenv.cfg"), "")
            result = subprocess.run([own, "train", self.file, "--out", "run"], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60)
            self.assertEqual("exit status 9: see its own words above; it was started by %s" % python in result.stderr, has, result.stderr)
            shutil.rmtree(self.path("run"), ignore_errors=True)


class Killed(GymTest):
    def test_workers_killed_at_random(self):
        place = random.Random(5)
        reached = 0
        for _ in range(10):
            if os.path.exists(self.pid):
                os.remove(self.pid)
            process = self.start("train", self.file, "--out", "run", "--resume", *LONG, env=self.env)
            self.wait_for("run/last.safetensors", process)
            self.wait_for("pid", process)
            time.sleep(place.uniform(0, 0.6))
            os.kill(self.worker(), signal.SIGKILL)
            _, messages = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 3, messages)
            self.assertIn("was ended by signal 9", messages.splitlines()[-1])
            self.assertGreaterEqual(self.iterations("run"), reached)
            reached = self.iterations("run")
        self.assertGreater(reached, 0)

    def test_the_command_killed(self):
        process = self.start("train", self.file, "--out", "run", *LONG, env=self.env)
        self.wait_for("run/best.safetensors", process)
        pid = self.worker()
        self.kill_both(process, pid)

    def test_the_command_killed_while_the_environment_hangs(self):
        process = self.start("train", self.wrong("hangs"), "--out", "run", *LONG, env=self.env)
        self.wait_for("run/last.safetensors", process)
        self.wait_for("pid", process)
        pid = self.worker()
        time.sleep(1)
        self.kill_both(process, pid)

    def test_stopped_and_resumed(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start("train", self.file, "--out", "run%d" % number, *LONG, env=self.env)
            self.wait_for("run%d/best.safetensors" % number, process)
            pid = self.worker()
            process.send_signal(number)
            _, messages = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, messages)
            self.assertIn("saved", messages)
            self.wait_until_gone(pid)
            header, _ = read_tensors(self.path("run%d" % number, "last.safetensors"))
            self.assertFalse([name for name in header if name.startswith("state.units")])  # of episodes that end here
            done = self.iterations("run%d" % number)
            again = self.start("train", self.file, "--out", "run%d" % number, "--resume", *LONG, env=self.env)
            self.wait_for("pid", again)
            while again.poll() is None and self.iterations("run%d" % number) <= done:
                time.sleep(0.1)
            again.send_signal(number)
            again.communicate(timeout=60)
            self.assertEqual(again.returncode, 130)
            self.assertGreater(self.iterations("run%d" % number), done)


if __name__ == "__main__":
    unittest.main()
