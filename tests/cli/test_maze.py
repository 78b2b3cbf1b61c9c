"""The commands in an environment: trained, stopped, killed, evaluated, compared, and refused."""
import glob
import json
import os
import re
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import SHARE, SOURCE, CommandTest, environment, kernels, read, read_tensors  # noqa: E402

MAZE = {
    "name": "small",
    "seed": 4,
    "task": {"name": "maze", "size": 7, "steps": 25},
    "units": [{"name": "stpn_r", "hidden": 6, "norm": "post", "clamp": 1}],
    "train": {"method": "a2c", "iterations": 200 // SHARE, "batch": 40, "burn_in": 3, "learning_rate": 0.003,
              "evaluate_every": 20, "test_iterations": 3},
}
# A row, and with it the best network, after the first iteration.
EARLY = ["--set", "train.evaluate_every=1"]
LONG = [*EARLY, "--set", "train.iterations=100000"]
QUICK = ["--set", "train.iterations=8", "--set", "train.evaluate_every=3"]
MEASURES = ["reward", "reward_error", "goals", "return_steps", "energy", "energy_per_neuron", "episodes"]
FOLDER = os.path.join(SOURCE, "experiments", "maze")


class MazeTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.file = self.write_experiment("maze.json", MAZE)


class Train(MazeTest):
    def test_a_run_and_its_files(self):
        result = self.train("run", *QUICK)
        self.assertEqual(sorted(os.listdir(self.path("run"))),
                         ["best.safetensors", "events.out.tfevents.stpn", "experiment.json", "last.safetensors",
                          "metrics.csv", "summary.json"])
        summary = self.summary("run")
        for name in ("test", "test_best"):
            self.assertEqual(list(summary[name]), MEASURES)
            self.assertEqual(summary[name]["episodes"], 120)
            self.assertAlmostEqual(summary[name]["reward"], 10 * summary[name]["goals"])
        self.assertNotIn("validation", summary)
        self.assertEqual((summary["train"]["iterations"], summary["train"]["updates"]), (8, 5))
        self.assertIn("run: small, 8 iterations", result.stdout)
        self.assertIn("%.4f" % summary["test"]["reward"], result.stdout)
        self.assertNotIn("nan", result.stdout)
        first, *lines = result.stderr.splitlines()
        self.assertEqual(first, "small: stpn_r 6, %d trained parameters" % summary["parameters"])
        for line in lines:
            self.assertRegex(line, r"\Aiteration \d/8  loss -?[\d.]+  reward [\d.]+  \S+ iterations/s  [\d:]+ left\Z")
        heading, *rows = [line.split(",") for line in read(self.path("run", "metrics.csv")).decode().splitlines()]
        self.assertEqual(heading, ["iteration", "updates", "reward", "loss", "policy_loss", "value_loss", "concentration",
                                   "entropy", "gradient_norm", "energy", "learning_rate", "seconds",
                                   "iterations_per_second"])
        self.assertEqual([row[:2] for row in rows], [["3", "0"], ["6", "3"], ["8", "5"]])

    def test_the_bits_do_not_depend_on_threads(self):
        self.train("one", "--threads", "1")
        for threads in ("2", "3"):
            self.train(threads, "--threads", threads, "--profile")
            self.assert_same_run("one", threads)
            self.assertEqual(self.summary("one")["test"], self.summary(threads)["test"])

    def test_seeds(self):
        result = self.train("all", *QUICK, "--seeds", "0,1")
        self.assertRegex(result.stdout, r"(?m)^2 seeds: test reward [\d.]+ on average, [\d.]+ to [\d.]+$")
        self.assertNotEqual(read(self.path("all", "s0", "best.safetensors")), read(self.path("all", "s1", "best.safetensors")))

    def test_it_learns(self):
        """To keep off walls, which is soon learned, and to find the goal. Random actions earn about 0, four seeds 23 to 30."""
        self.train("run", "--set", "task.size=5", "--set", "task.wall_penalty=2", "--set", "train.learning_rate=0.01",
                   "--set", "train.clip_norm=4", "--set", "train.iterations=100", "--set", "train.burn_in=0")
        policy = self.document("eval", "run", "--policy", "random", "--json")["test"]
        self.assertGreater(self.summary("run")["test"]["reward"], policy["reward"] + 15)

    def test_profile(self):
        result = self.train("run", *QUICK, "--profile", "--threads", "1")
        for part in ("data", "forward", "read-out and loss", "backward", "evaluation"):
            self.assertRegex(result.stderr, r"(?m)^%s +\d" % part)

    def test_the_test_is_evaluation_for_every_thread(self):
        """How much of it the other thread takes is left to the system: where all processors are busy, nothing of a short one."""
        seconds = 0
        for iterations in ("100", "1000", "10000"):
            told = self.train("run " + iterations, *QUICK, "--set", "train.test_iterations=" + iterations, "--profile",
                              "--threads", "2").stderr
            seconds = float(re.search(r"(?m)^evaluation +[\d.]+ +[\d.]+ +([\d.]+) +[\d.]+$", told).group(1))
            if seconds:
                break
        self.assertGreater(seconds, 0)


class Interrupt(MazeTest):
    def test_a_signal_saves_and_says_how_to_go_on(self):
        self.assert_resumes_after_a_signal(*EARLY)

    def test_kills(self):
        self.assert_resumes_after_kills(8 // SHARE)

    def test_a_difference_is_named(self):
        self.interrupted_run("run", *LONG)
        for words, key in ((["--set", "task.size=9"], "task.size"), (["--set", "train.discount=0.5"], "train.discount"),
                           (["--set", "train.test_iterations=9"], "train.test_iterations")):
            self.refuse(2, "train", self.file, "--out", "run", "--resume", *LONG, *words,
                        says=key + " differs")

    def test_another_kernel_is_refused(self):
        if len(kernels()) < 2:
            self.skipTest("there is one kernel only")
        self.interrupted_run("run", *LONG, env=environment(STPN_KERNEL="portable"))
        self.refuse(2, "train", self.file, "--out", "run", "--resume", *LONG,
                    says="STPN_KERNEL=portable")

    def test_a_loss_that_is_not_finite(self):
        words = ["--set", "units.0.norm=none", "--set", "units.0.clamp=0", "--set", "train.learning_rate=1000", "--set",
                 "task.steps=200"]
        result = self.run_command("train", self.file, "--out", "run", *words, "--quiet")
        self.assert_refused(result, 1, ["in iteration ", "last.safetensors"])
        iteration = int(re.search(r"in iteration (\d+)", result.stderr).group(1))
        header, data = read_tensors(self.path("run", "last.safetensors"))
        begin, end = header["progress.iteration"]["data_offsets"]
        self.assertEqual(int.from_bytes(data[begin:end], "little"), iteration - 1)
        self.assertFalse(os.path.exists(self.path("run", "summary.json")))
        again = self.run_command("train", self.file, "--out", "run", *words, "--quiet", "--resume")
        self.assertEqual((again.returncode, again.stderr), (1, result.stderr))


class Evaluate(MazeTest):
    def setUp(self):
        super().setUp()
        self.train("run", *QUICK)

    def test_it_says_what_the_summary_says(self):
        summary = self.summary("run")
        document = self.document("eval", "run", "--json", "--threads", "1")
        self.assertEqual(document["test"], summary["test"])
        self.assertEqual((document["parameters"], document["actions"]), ("last", "sampled"))
        self.assertEqual(document["hardware"], summary["hardware"])
        document = self.document("eval", "run", "--json", "--best", "--threads", "2")
        self.assertEqual((document["test"], document["parameters"]), (summary["test_best"], "best"))
        self.assertIn("%.4f" % summary["test"]["reward"], self.succeed("eval", "run").stdout)

    def test_greedy_and_iterations(self):
        sampled = self.document("eval", "run", "--json", "--iterations", "5")
        greedy = self.document("eval", "run", "--json", "--iterations", "5", "--greedy")
        self.assertEqual((greedy["actions"], greedy["test"]["episodes"], sampled["test"]["episodes"]), ("greedy", 200, 200))
        self.assertNotEqual(greedy["test"]["energy"], sampled["test"]["energy"])

    def test_policies(self):
        """Of a run or of an experiment file, which has no parameters."""
        found = {}
        for name in ("random", "oracle"):
            document = self.document("eval", "run", "--policy", name, "--json")
            self.assertEqual(document["test"], self.document("eval", self.file, "--policy", name, "--json")["test"])
            self.assertEqual(document["policy"], name)
            self.assertNotIn("energy", document["test"])
            self.assertNotIn("parameters", document)
            found[name] = document["test"]
            self.assertIn("policy " + name, self.succeed("eval", "run", "--policy", name).stdout)
        self.assertGreater(found["oracle"]["reward"], 2 * found["random"]["reward"])
        self.assertLess(found["oracle"]["return_steps"], found["random"]["return_steps"])

    def test_a_signal_ends_it(self):
        process = self.start("eval", "run", "--iterations", "1000000")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=60)
        self.assertEqual((process.returncode, messages), (130, "stpn: stopped in the test\n"))

    def test_inspect_and_compare(self):
        self.assertIn("policy.weight", self.succeed("inspect", "run").stdout)
        self.train("other", *QUICK, "--set", "units.0.hidden=3", "--set", "name=other")
        table = self.succeed("compare", "run", "other").stdout
        self.assertIn("test reward", table)
        self.assertNotIn("accuracy", table)
        groups = self.document("compare", "run", "other", "--json")["experiments"]
        rewards = [group["reward"]["mean"] for group in groups]
        self.assertEqual(rewards, sorted(rewards, reverse=True))
        self.assertEqual(sorted(rewards), sorted(self.summary(name)["test"]["reward"] for name in ("run", "other")))

    def test_wrong_use(self):
        data = self.write_experiment("data.json", {"name": "data", "task": {"name": "retrieval"},
                                                   "units": [{"name": "stpn_r", "hidden": 3}]})
        for words, says in ((["run", "--policy", "none"], "expected random or oracle"),
                            (["run", "--examples", "3"], "--examples does not apply"),
                            (["run", "--policy", "random", "--greedy"], "--policy excludes"),
                            (["run", "--policy", "oracle", "--best"], "--policy excludes"),
                            (["run", "--iterations", "0"], "--iterations"),
                            ([self.file], "is no folder of a run"), (["nothing", "--policy", "random"], "nothing"),
                            ([data, "--policy", "random"], "retrieval is no environment")):
            self.refuse(2, "eval", *words, says=says)
        self.refuse(2, "trace", "run", "--index", "0", says="stpn play")


class Experiments(MazeTest):
    def test_bad_files(self):
        for key, value, says in (
                ("task.siz", 13, 'the nearest is "size"'), ("task.size", 12, "task.size is 12, expected an odd number"),
                ("task.start", "center", "expected one of centre|random"), ("train.discout", 1, 'the nearest is "discount"'),
                ("train.discount", 2, "train.discount is 2, expected a number from 0 to 1"),
                ("train.iterations", 0, "train.iterations is 0"), ("train.epochs", 3, "has no effect with this train.method"),
                ("train.shuffle", True, "has no effect with this train.method"),
                ("train.method", "supervised", 'expected "a2c" or "ppo" with task maze'),
                ("train.final_rate", 0.5, "has no effect with this train.schedule"),
                ("train.batch", 1 << 21, "train.batch is 2097152")):
            changed = json.loads(json.dumps(MAZE))
            place, name = key.split(".")
            changed[place][name] = value
            self.refuse(2, "train", self.write_experiment("bad.json", changed), "--out", "bad", says=[says, "bad.json"])
        self.assertFalse(os.path.exists(self.path("bad")))
        data = {"name": "data", "task": {"name": "retrieval"}, "units": [{"name": "stpn_r", "hidden": 3}]}
        for train, says in (({"discount": 0.5}, "train.discount has no effect with this train.method"),
                            ({"iterations": 3}, "train.iterations has no effect with this train.method"),
                            ({"method": "a2c"}, 'expected "supervised" with task retrieval')):
            self.refuse(2, "train", self.write_experiment("bad.json", {**data, "train": train}), "--out", "bad", says=says)

    def test_the_method_is_that_of_the_task(self):
        changed = json.loads(json.dumps(MAZE))
        del changed["train"]["method"]
        self.train("said", *QUICK)
        self.succeed("train", self.write_experiment("unsaid.json", changed), "--out", "unsaid", *QUICK)
        for name in ("experiment.json", "best.safetensors"):
            self.assertEqual(read(self.path("said", name)), read(self.path("unsaid", name)))

    def test_help_and_info_know_them(self):
        keys = self.succeed("help", "keys").stdout
        for word in ("`maze`, an environment", "`wall_penalty`", "`burn_in`", "`test_iterations`"):
            self.assertIn(word, keys)
        self.assertEqual([e["name"] for e in self.document("info", "--json")["environments"]],
                         ["maze", "pendulum", "gym", "pong"])
        self.assertIn("maze: size", self.succeed("info").stdout)

    def test_the_shipped_experiments(self):
        """The paper's sizes and settings, each trained once."""
        words = ["--iterations", "1", "--set", "train.batch=16", "--set", "train.test_iterations=1", "--set", "task.steps=9",
                 "--set", "train.evaluate_every=1", "--seeds", "0"]
        result = self.succeed("reproduce", "maze", "--experiments", os.path.dirname(FOLDER), *words)
        groups = json.loads(read(self.path("runs", "maze", "table.json")))["experiments"]
        self.assertIn("test reward", result.stdout)
        sizes = {group["experiment"]: group["parameters"] for group in groups}
        self.assertEqual(len(sizes), len(glob.glob(os.path.join(FOLDER, "*.json"))) - 1)
        large = {"maze-stpn_r", "maze-rnn", "maze-lstm", "maze-modplast"}
        for name, count in sizes.items():
            least, most = (12200, 12500) if name in large else (3900, 4450)
            self.assertTrue(least <= count <= most, (name, count))
        for path in glob.glob(os.path.join(FOLDER, "*.json")):
            content = json.loads(read(path))
            if "train" not in content:
                continue
            self.assertEqual(content["task"], {"name": "maze", "size": 13, "steps": 200, "reward": 10})
            self.assertEqual(content["train"], {"method": "a2c", "iterations": 50000, "batch": 512, "learning_rate": 1e-4,
                                                "epsilon": 1e-4, "clip_norm": 4, "evaluate_every": 20})


if __name__ == "__main__":
    unittest.main()
