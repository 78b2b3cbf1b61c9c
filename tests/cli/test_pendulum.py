"""PPO from the command: in the pendulum, and in the maze, whose actions are discrete: trained, stopped, killed, evaluated,
compared, reproduced, and refused."""
import glob
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import SHARE, SOURCE, CommandTest, read, read_tensors  # noqa: E402

HAS_MUJOCO = os.environ.get("STPN_MUJOCO") == "1"
PENDULUM = {
    "name": "small",
    "seed": 4,
    "task": {"name": "pendulum", "steps": 60},
    "units": [{"name": "stpn_r", "hidden": 6, "norm": "none", "clamp": 0.1}],
    "train": {"method": "ppo", "steps": 16000 // SHARE, "batch": 3, "rollout": 50, "minibatch": 40, "passes": 3,
              "kl_weight": 0.1, "normalise_observations": True, "normalise_rewards": True, "learning_rate": 0.001, "evaluate_every": 3, "test_iterations": 4},
}
MAZE = {
    "name": "ways",
    "task": {"name": "maze", "size": 7, "steps": 25},
    "units": [{"name": "lstm", "hidden": 6}],
    "train": {"method": "ppo", "steps": 30000 // SHARE, "batch": 20, "rollout": 30, "minibatch": 200, "passes": 3,
              "learning_rate": 0.003, "evaluate_every": 5, "test_iterations": 3, "test_greedy": False},
}
# A row, and with it the best network, after the first iteration.
EARLY = ["--set", "train.evaluate_every=1"]
QUICK = ["--set", "train.steps=900"]
FOLDER = os.path.join(SOURCE, "experiments", "pendulum")


class PpoTest(CommandTest):
    experiment = MAZE

    def setUp(self):
        super().setUp()
        self.file = self.write_experiment("ppo.json", self.experiment)


class Discrete(PpoTest):
    """What every environment shares."""

    def test_a_run_and_its_files(self):
        result = self.train("run", *EARLY, *QUICK)
        summary = self.summary("run")
        batch, rollout = self.experiment["train"]["batch"], self.experiment["train"]["rollout"]
        iterations = -(-900 // (batch * rollout))
        self.assertEqual(summary["train"]["iterations"], iterations)
        self.assertEqual(summary["train"]["steps"], iterations * batch * rollout)
        for name in ("test", "test_best"):
            self.assertEqual(summary[name]["episodes"], batch * self.experiment["train"]["test_iterations"])
            self.assertLessEqual(summary[name]["steps"], self.experiment["task"]["steps"])
            self.assertGreater(summary[name]["energy"], 0)
        self.assertIn("run: %s, %d iterations" % (self.experiment["name"], iterations), result.stdout)
        heading, *rows = [line.split(",") for line in read(self.path("run", "metrics.csv")).decode().splitlines()]
        self.assertEqual(heading, ["iteration", "updates", "steps", "episodes", "reward", "length", "loss", "policy_loss",
                                   "value_loss", "entropy", "kl", "clip_fraction", "explained_variance",
                                   "gradient_norm", "energy", "learning_rate", "seconds", "iterations_per_second"])
        self.assertEqual([int(row[2]) for row in rows], [batch * rollout * (i + 1) for i in range(iterations)])
        for row in rows:
            values = dict(zip(heading, row))
            self.assertEqual(values["reward"] == "", values["episodes"] == "0")
            self.assertNotIn("nan", row)
        self.assertEqual(int(rows[-1][1]), summary["train"]["updates"])

    def test_the_bits_do_not_depend_on_threads(self):
        self.train("one", "--threads", "1")
        for threads in ("2", "3"):
            self.train(threads, "--threads", threads, "--profile")
            self.assert_same_run("one", threads)
            self.assertEqual(self.summary("one")["test"], self.summary(threads)["test"])

    def test_a_signal_saves_and_says_how_to_go_on(self):
        self.assert_resumes_after_a_signal(*EARLY)

    def test_kills(self):
        self.assert_resumes_after_kills(4 // SHARE)

    def test_every_iteration_resumes(self):
        """Wherever it stands: inside episodes, and between them."""
        words = ["--set", "train.steps=9000", *EARLY]
        messages = self.interrupted_run("run", *words)
        self.train("run", *words, "--resume")
        self.train("again", *words)
        self.assert_same_run("again", "run")
        self.assertIn("saved", messages)

    def latest(self, folder):
        """Mean of the latest hundred episodes; None of fewer."""
        header, data = read_tensors(self.path(folder, "last.safetensors"))

        def values(name, kind):
            begin, end = header["progress." + name]["data_offsets"]
            return struct.unpack("<%d%s" % ((end - begin) // 8, kind), data[begin:end])
        rewards = values("latest_rewards", "d")
        self.assertEqual(len(rewards), 100)
        return sum(rewards) / 100 if values("episodes_so_far", "q")[0] >= 100 else None

    def test_a_reward_to_stop_at(self):
        step = self.experiment["train"]["batch"] * self.experiment["train"]["rollout"]

        def steps(iterations):
            return ["--set", "train.steps=%d" % (iterations * step), "--set", "train.evaluate_every=2"]
        self.train("whole", *steps(10))
        above = ["--set", "train.stop_reward=%.17g" % (self.latest("whole") - 1e-9)]
        self.train("stopped", *steps(40), *above)
        summary = self.summary("stopped")["train"]
        iterations = summary["iterations"]
        self.assertTrue(summary["stopped_early"])
        self.assertLessEqual(iterations, 10)
        self.assertEqual(iterations % 2, 0)
        self.assertGreater(self.latest("stopped"), self.latest("whole") - 1e-9)
        self.train("before", *steps(iterations - 2))
        self.assertTrue(self.latest("before") is None or self.latest("before") <= self.latest("whole") - 1e-9)
        # Not before a row ends.
        self.train("low", *steps(40), "--set", "train.stop_reward=-1000", "--set", "train.evaluate_every=19")
        self.assertEqual(self.summary("low")["train"]["iterations"], 19)
        self.interrupted_run("parts", *steps(40), *above)
        self.train("parts", *steps(40), *above, "--resume")
        self.assert_same_run("stopped", "parts")
        self.train("parts", *steps(40), *above, "--resume")
        self.assertEqual(self.summary("parts")["train"]["iterations"], iterations)

    def test_a_state_that_cannot_be(self):
        self.train("run", *QUICK)
        os.remove(self.path("run", "summary.json"))
        whole = read(self.path("run", "last.safetensors"))
        for name in (b'"state.episode_rewards"', b'"state.episode_steps"', b'"state.kl_weight"', b'"state.environment"',
                     b'"progress.latest_rewards"'):
            self.assertEqual(whole.count(name), 1)
            with open(self.path("run", "last.safetensors"), "wb") as file:
                file.write(whole.replace(name, name[:7] + b"x" + name[8:]))
            self.refuse(2, "train", self.file, "--out", "run", "--resume", *QUICK, says="last.safetensors")


class Settings(PpoTest):
    def test_what_has_no_effect_is_refused(self):
        for key, value in (("iterations", 3), ("burn_in", 3), ("epochs", 3), ("reduction", "sum"), ("final_rate", 0.5)):
            self.refuse(2, "train", self.file, "--out", "run", "--set", "train.%s=%s" % (key, value),
                        says="train.%s has no effect" % key)
        changed = dict(MAZE, train={"method": "a2c", "clip": 0.1})
        self.refuse(2, "train", self.write_experiment("bad.json", changed), "--out", "run",
                    says="train.clip has no effect with this train.method")
        self.refuse(2, "train", self.file, "--out", "run", "--set", "train.clip=-1",
                    says="train.clip is -1, expected a number from 0 to 1000000")
        self.refuse(2, "train", self.file, "--out", "run", "--set", "train.rollout=1048576",
                    says="train.rollout is 1048576 of 20 copies each")

    def test_hidden_columns(self):
        for mask, says in (("[17]", "task.mask has column 17, expected 0 to 16"), ("[1,1]", "task.mask is [1, 1]"),
                           ("3", "task.mask is 3, expected an array")):
            self.refuse(2, "train", self.file, "--out", "run", "--set", "task.mask=" + mask, says=says)
        self.train("run", *QUICK, "--set", "task.mask=[16,0]")
        self.assertEqual(json.loads(read(self.path("run", "experiment.json")))["task"]["mask"], [16, 0])
        self.train("open", *QUICK)
        self.assertNotIn("mask", json.loads(read(self.path("open", "experiment.json")))["task"])
        self.refuse(2, "train", self.file, "--out", "run", "--resume", *QUICK, says="task.mask")


@unittest.skipUnless(HAS_MUJOCO, "this build has no MuJoCo")
class Continuous(Discrete):
    experiment = PENDULUM

    def test_evaluations(self):
        self.train("run", *QUICK)
        greedy = self.document("eval", "run", "--json")
        self.assertEqual(greedy["actions"], "greedy")
        self.assertEqual(greedy["test"], self.summary("run")["test"])
        self.assertEqual(self.document("eval", "run", "--best", "--json")["test"], self.summary("run")["test_best"])
        policy = self.document("eval", "run", "--policy", "random", "--json", "--iterations", "40")["test"]
        self.assertEqual(policy["reward"] + 1, policy["steps"])
        self.assertLess(policy["reward"], 15)
        table = self.succeed("compare", "run").stdout
        self.assertIn("small", table)
        self.refuse(2, "eval", "run", "--policy", "oracle", says="expected random")
        self.refuse(2, "play", "run", says="pendulum cannot be shown")

    def test_what_is_scaled(self):
        """The files hold it, and the network is tested with it: of all rollouts with the last parameters."""
        self.train("run", *QUICK)
        header, data = read_tensors(self.path("run", "last.safetensors"))
        begin, _ = header["scaling.count"]["data_offsets"]
        self.assertEqual(int.from_bytes(data[begin:begin + 8], "little"), 900)
        self.assertEqual(header["scaling.mean"]["shape"], [4])
        self.assertEqual(header["state.discounted"]["shape"], [3])
        self.assertIn("scaling.squares", read_tensors(self.path("run", "best.safetensors"))[0])
        self.assertNotIn("state.discounted", read_tensors(self.path("run", "best.safetensors"))[0])
        plain = ["--set", "train.normalise_observations=false", "--set", "train.normalise_rewards=false"]
        self.train("plain", *QUICK, *plain)
        header, _ = read_tensors(self.path("plain", "last.safetensors"))
        self.assertEqual([name for name in header if "scaling" in name or "discounted" in name], [])

    def test_a_loss_that_is_not_finite(self):
        words = ["--set", "train.learning_rate=1000", "--set", "train.value_weight=1000", "--set", "units.0.clamp=0",
                 "--set", "train.normalise_rewards=false", "--quiet"]
        result = self.run_command("train", self.file, "--out", "run", *words)
        self.assert_refused(result, 1, ["in iteration ", "last.safetensors"])
        self.assertFalse(os.path.exists(self.path("run", "summary.json")))
        again = self.run_command("train", self.file, "--out", "run", *words, "--resume")
        self.assertEqual((again.returncode, again.stderr), (1, result.stderr))

    def test_it_learns(self):
        """Random forces keep it up for about 6 steps; five seeds came to all of 60."""
        self.train("run", "--set", "train.steps=20000", "--set", "train.batch=1", "--set", "train.rollout=500", "--set",
                   "train.passes=10", "--set", "train.learning_rate=0.003")
        self.assertGreater(self.summary("run")["test"]["reward"], 25)

    def test_the_other_learner(self):
        """Random forces keep it up for about 6 steps; four seeds came to 46.7 and more."""
        described = dict(PENDULUM, units=[{"name": "lstm", "hidden": 8}],
                         train={"method": "a2c", "steps": 100000, "batch": 20, "rollout": 20, "learning_rate": 0.01,
                                "discount": 0.97, "value_weight": 0.05, "clip_norm": 5, "burn_in": 0, "evaluate_every": 50,
                                "test_iterations": 2, "test_greedy": True})
        self.file = self.write_experiment("a2c.json", described)
        self.train("run")
        self.assertGreater(self.summary("run")["test"]["reward"], 15)
        self.train("one", "--threads", "1", *QUICK)
        self.interrupted_run("parts", "--threads", "2", *QUICK, *EARLY)
        self.train("parts", *QUICK, *EARLY, "--resume")
        self.train("early", *QUICK, *EARLY)
        self.assert_same_run("early", "parts")
        self.assertEqual(self.summary("one")["test"], self.summary("early")["test"])
        self.refuse(2, "train", self.file, "--out", "no", "--set", "train.concentration_weight=0.1",
                    says="train.concentration_weight is 0.1, expected 0 with task pendulum, whose actions are continuous")

    def test_reproduce(self):
        self.succeed("reproduce", "pendulum", "--experiments", os.path.join(SOURCE, "experiments"), "--steps", "300",
                     "--seeds", "0", "--out", "all", "--set", "train.rollout=100", "--set", "task.steps=50", "--quiet")
        table = read(self.path("all", "table.csv")).decode()
        names = [os.path.basename(name)[:-5] for name in glob.glob(os.path.join(FOLDER, "*.json"))]
        names.remove("reproduce")
        self.assertEqual(len(names), 9)
        for name in names:
            self.assertIn("pendulum-" + name, table)


@unittest.skipIf(HAS_MUJOCO, "this build has MuJoCo")
class Without(PpoTest):
    experiment = PENDULUM

    def test_it_says_what_to_install(self):
        self.refuse(2, "train", self.file, "--out", "run", says="install libmujoco-dev")


if __name__ == "__main__":
    unittest.main()
