"""stpn.gym: environments that are those of the library and pass Gymnasium's checker; agents in each of its modes."""
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import SOURCE  # noqa: E402  (goes on in .venv)

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode, SyncVectorEnv  # noqa: E402

import stpn  # noqa: E402
import stpn.gym  # noqa: E402
from stpn.gym.course import SKIPPED, TERMINATED, TRUNCATED, Course, Spaces  # noqa: E402
from stpn.gym.environments import _Copies  # noqa: E402
from stpn.library import check, ffi, lib  # noqa: E402
from stpn.tensors import read_tensors  # noqa: E402

MODES = list(AutoresetMode)
HAS_MUJOCO = os.environ.get("STPN_MUJOCO") == "1"


class Script(gymnasium.Env):
    """Episodes of 2, 3, 2, 3, ... steps, by turns terminated and truncated, that show which and where they are; a reward of 1
    where the action is 5, the first there is."""

    observation_space = gymnasium.spaces.Box(-100, 100, (1, 2), np.float64)
    action_space = gymnasium.spaces.Discrete(3, start=5)

    def __init__(self, first=0):
        self.episode, self.t = first - 1, 0

    def look(self):
        return np.array([[self.episode, self.t]], float)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.look(), {}

    def step(self, action):
        assert self.action_space.contains(np.int64(action)), action
        self.t += 1
        over = self.t == 2 + self.episode % 2
        return self.look(), float(action == 5), over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}


def scripts(mode=AutoresetMode.NEXT_STEP, copies=1):
    return SyncVectorEnv([lambda first=first: Script(first) for first in range(copies)], autoreset_mode=mode)


class Environments(unittest.TestCase):
    def names(self):
        return ["stpn/Maze-v0"] + ["stpn/Pendulum-v0"] * HAS_MUJOCO

    def test_gymnasiums_checker(self):
        for name in self.names():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about bounds that are infinite
                check_env(gymnasium.make(name, steps=20).unwrapped)

    def test_without_mujoco_the_pendulum_says_so(self):
        if not HAS_MUJOCO:
            with self.assertRaisesRegex(ValueError, "MuJoCo"):
                gymnasium.make("stpn/Pendulum-v0")

    def step_directly(self, direct, copy, action):
        error = ffi.new("stpn_error *")
        array = np.zeros((direct.count, *np.shape(action)), np.int32 if np.ndim(action) == 0 else np.float32)
        array[copy] = action
        check(lib.stpn_env_step(direct.handle, copy, copy + 1, ffi.cast("void *", array.ctypes.data),
                                ffi.cast("void *", direct.observations.ctypes.data),
                                ffi.cast("float *", direct.rewards.ctypes.data),
                                ffi.cast("uint8_t *", direct.ends.ctypes.data), error), error)

    def test_the_librarys_episodes_in_every_mode(self):
        """Against stpn_env itself and the single environment: the same numbers, whoever begins the episodes."""
        for name in self.names():
            task, copies, steps = name[5:-3].lower(), 3, 4
            for mode in MODES:
                envs = gymnasium.make_vec(name, num_envs=copies, steps=steps, autoreset_mode=mode)
                single = gymnasium.make(name, steps=steps)
                direct = _Copies(task, {"steps": steps}, copies, 11)
                seen, _ = envs.reset(seed=11)
                alone, _ = single.reset(seed=11)
                direct.reset(0, copies)
                envs.action_space.seed(3)
                over, ended = np.zeros(copies, bool), 0
                for _ in range(14):
                    np.testing.assert_array_equal(seen, direct.observations)
                    np.testing.assert_array_equal(alone, direct.observations[0])
                    self.assertTrue(envs.observation_space.contains(seen))
                    if mode == AutoresetMode.DISABLED and over.any():
                        seen, _ = envs.reset(options={"reset_mask": over})
                    waits = over & (mode == AutoresetMode.NEXT_STEP)
                    actions = envs.action_space.sample()
                    seen, rewards, terminated, truncated, infos = envs.step(actions)
                    for copy in range(copies):
                        if over[copy] and mode != AutoresetMode.SAME_STEP:
                            direct.reset(copy, copy + 1)
                            if copy == 0:
                                alone, _ = single.reset()
                        if waits[copy]:
                            direct.rewards[copy] = direct.ends[copy] = 0
                            continue
                        self.step_directly(direct, copy, actions[copy])
                        if copy == 0:
                            alone, reward, *flags, _ = single.step(actions[0])
                            self.assertEqual((reward, *flags), (direct.rewards[0], terminated[0], truncated[0]))
                    over = terminated | truncated
                    ended += over.sum()
                    np.testing.assert_array_equal(rewards, direct.rewards)
                    np.testing.assert_array_equal(terminated, direct.ends & TERMINATED != 0)
                    np.testing.assert_array_equal(truncated, direct.ends & TRUNCATED != 0)
                    for copy in np.flatnonzero(over) if mode == AutoresetMode.SAME_STEP else ():
                        np.testing.assert_array_equal(infos["final_obs"][copy], direct.observations[copy])
                        direct.reset(int(copy), int(copy) + 1)
                        if copy == 0:
                            alone, _ = single.reset()
                self.assertGreater(ended, 5)
                envs.close(), single.close()

    def test_seeds(self):
        envs = gymnasium.make_vec("stpn/Maze-v0", num_envs=8, start="random")
        first, again, next_one, other = (envs.reset(seed=seed)[0] for seed in (1, 1, None, 2))
        np.testing.assert_array_equal(first, again)
        self.assertTrue((first != next_one).any() and (first != other).any())

    def test_drawing_and_refusals(self):
        maze = gymnasium.make("stpn/Maze-v0", render_mode="ansi", size=7).unwrapped
        with self.assertRaises(gymnasium.error.ResetNeeded):
            maze.step(0)
        maze.reset(seed=0)
        self.assertGreaterEqual(len(maze.render().splitlines()), 7)
        envs = gymnasium.make_vec("stpn/Maze-v0", num_envs=2, autoreset_mode="Disabled", steps=1, render_mode="ansi")
        envs.reset(seed=0)
        self.assertEqual(len(envs.render()), 2)
        for actions, says in [([0, 4], "expected 0 to 3"), ([0], "expected .2,. integers"), ([0.0, 1.0], "integers")]:
            with self.assertRaisesRegex(ValueError, says):
                envs.step(np.array(actions))
        envs.step(np.array([0, 1]))
        with self.assertRaisesRegex(ValueError, r"copies \[0 1\] are over"):
            envs.step(np.array([0, 1]))
        with self.assertRaisesRegex(ValueError, "reset_mask"):
            envs.reset(options={"reset_mask": np.array([1, 0])})
        for words in ({"sise": 3}, {"size": 4}, {"num_envs": 0}, {"render_mode": "human"}):
            with self.assertRaises(ValueError):
                gymnasium.make_vec("stpn/Maze-v0", **{"num_envs": 2, **words})


class Modes(unittest.TestCase):
    def test_what_a_step_means(self):
        """An episode's last observation, and which steps are none, whichever mode the environment has."""
        for mode in MODES:
            envs = scripts(mode, 2)
            course, told = Course(Spaces(envs)), []
            observations, _ = envs.reset(seed=0)
            for _ in range(12):
                observations = course.begin_anew(envs, observations)
                before = Spaces(envs).rows(observations)
                seen, rewards, ends, last = course.took(*envs.step(np.array([5, 6])))
                observations = np.asarray(seen, float).reshape(2, 1, 2)
                for copy in range(2):
                    if ends[copy] != SKIPPED:
                        told.append((copy, tuple(before[copy]), rewards[copy], ends[copy], tuple(last[copy])))
            for copy in range(2):
                expected, episode, t = [], copy, 0
                mine = [each[1:] for each in told if each[0] == copy]
                while len(expected) < len(mine):
                    over = t + 1 == 2 + episode % 2
                    kind = (TRUNCATED if episode % 2 else TERMINATED) if over else 0
                    expected.append(((episode, t), 1.0 - copy, kind, (episode, t + 1)))
                    episode, t = (episode + 1, 0) if over else (episode, t + 1)
                self.assertEqual(mine, expected, mode)
                # Of 12 steps those are none that follow an end: episodes have 2 and 3 steps by turns.
                self.assertEqual(len(mine), 9 if mode == AutoresetMode.NEXT_STEP else 12, mode)

    def test_modes_that_waste_no_step_learn_the_same(self):
        agents = [stpn.gym.Agent(scripts(mode, 4), hidden=4, method="ppo", rollout=16) for mode in MODES]
        for agent in agents:
            agent.learn(3 * 4 * 16)
        values = [np.concatenate([tensor.ravel() for _, tensor in agent.parameters.items()]) for agent in agents]
        by_mode = dict(zip(MODES, values))
        np.testing.assert_array_equal(by_mode[AutoresetMode.SAME_STEP], by_mode[AutoresetMode.DISABLED])
        self.assertTrue((by_mode[AutoresetMode.SAME_STEP] != by_mode[AutoresetMode.NEXT_STEP]).any())

    def test_it_learns_the_one_right_action_in_every_mode(self):
        for mode in MODES:
            for method in ("a2c", "ppo"):
                keys = {"burn_in": 0, "concentration_weight": 0.0} if method == "a2c" else {"entropy_weight": 0.0}
                agent = stpn.gym.Agent(scripts(mode, 4), "gru", hidden=8, method=method, rollout=16, learning_rate=0.02, **keys)
                agent.learn(4 * 16 * 40)
                result = agent.evaluate(scripts(mode, 4), episodes=8, deterministic=False)
                self.assertGreater(result["reward"], 0.9 * result["length"], (mode, method))
                self.assertEqual((result["length"], result["episodes"]), (2.5, 8), (mode, method))
                self.assertGreater(result["energy"], 0)


class Agents(unittest.TestCase):
    def test_a_loop_of_ones_own_is_that_of_learn(self):
        one, two = (stpn.gym.Agent(gymnasium.make_vec("CartPole-v1", num_envs=3), hidden=5, method="a2c", rollout=10, burn_in=0,
                                   threads=threads, seed=4) for threads in (1, 2))
        told = one.learn(2 * 30)
        envs = two.env
        observations, _ = envs.reset(seed=4)
        for _ in range(2):
            for _ in range(two.rollout):
                step = envs.step(two.act(observations))
                two.record(*step)
                observations = step[0]
            statistics = two.update()
        self.assertEqual(repr(told), repr(statistics))
        self.assertEqual((one.steps, two.steps), (60, 60))
        for name, values in one.parameters.items():
            np.testing.assert_array_equal(values, two.parameters[name])
        self.assertIn("CartPole-v1, 3 copies, a2c", repr(one))

    def test_saved_and_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "last.safetensors")
            agent = stpn.gym.Agent(gymnasium.make_vec("CartPole-v1", num_envs=3), [stpn.Unit("stpn_r", 5, learn=False, lambda_=0.5),
                                   stpn.Unit("mlp", 4)], method="ppo", rollout=8, normalise_observations=True)
            agent.learn(48)
            agent.save(path)
            other = stpn.gym.Agent.load(path, gymnasium.make_vec("CartPole-v1", num_envs=3))
            self.assertEqual(other.experiment, agent.experiment)
            agent.restart()
            for each in (agent, other):
                each.observations = None
                each.learn(24)
            for name, values in agent.parameters.items():
                np.testing.assert_array_equal(values, other.parameters[name])
            for envs, says in [(gymnasium.make_vec("CartPole-v1", num_envs=2), "3 copies, expected 2"),
                               (scripts(copies=3), "observations 4, expected 2")]:
                with self.assertRaisesRegex(ValueError, says):
                    stpn.gym.Agent.load(path, envs)
            with self.assertRaises(FileNotFoundError):
                stpn.gym.Agent.load(os.path.join(folder, "none"), agent.env)
            # The command reads it as the checkpoint of a run.
            with open(os.path.join(folder, "experiment.json"), "w", encoding="utf-8") as file:
                json.dump({**agent.experiment, "train": {**agent.experiment["train"], "test_iterations": 1}}, file)
            told = subprocess.run([os.environ["STPN_COMMAND"], "eval", folder, "--json"], capture_output=True, text=True,
                                  env={**os.environ, "STPN_PYTHON": sys.executable}, check=False)
            self.assertEqual(told.returncode, 0, told.stderr)
            self.assertEqual(json.loads(told.stdout)["test"]["episodes"], 3)
            # And the reverse.
            run = os.path.join(folder, "run")
            told = subprocess.run([os.environ["STPN_COMMAND"], "train", os.path.join(folder, "experiment.json"), "--out", run,
                                   "--quiet", "--set", "train.steps=48"], capture_output=True, text=True, check=False,
                                  env={**os.environ, "STPN_PYTHON": sys.executable})
            self.assertEqual(told.returncode, 0, told.stderr)
            other = stpn.gym.Agent.load(os.path.join(run, "last.safetensors"), gymnasium.make_vec("CartPole-v1", num_envs=3))
            self.assertEqual(other.experiment["train"]["steps"], 48)
            values, _ = read_tensors(os.path.join(run, "last.safetensors"))
            for name, expected in other.parameters.items():
                np.testing.assert_array_equal(values[name], expected)
            other.learn(24)

    def test_no_episodes_twice(self):
        """After an evaluation in the same environment, and after a file, learning sees others than before."""
        seeds, envs = [], gymnasium.make_vec("CartPole-v1", num_envs=3)
        reset = envs.reset
        envs.reset = lambda *, seed=None, options=None: (seeds.append(seed), reset(seed=seed, options=options))[1]
        agent = stpn.gym.Agent(envs, "stpn_r", 4, method="a2c", rollout=8, seed=7)
        for _ in range(3):
            agent.learn(24)
            agent.evaluate(episodes=3)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "last.safetensors")
            agent.save(path)
            stpn.gym.Agent.load(path, envs).learn(24)
        self.assertEqual(seeds[0], 7)
        trained, tested = [*seeds[0:6:2], seeds[6]], set(seeds[1:6:2])
        self.assertEqual(len(set(trained)), 4)
        self.assertEqual(len(tested), 1)
        self.assertTrue(all(abs(seed - test) >= 3 for seed in trained for test in tested))

    def test_an_interruption_forgets_the_rollout(self):
        envs = scripts(copies=2)
        agent, step, left = stpn.gym.Agent(envs, "stpn_r", 4, method="a2c", rollout=8), envs.step, [5]

        def interrupted(actions):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return step(actions)
        envs.step = interrupted
        with self.assertRaises(KeyboardInterrupt):
            agent.learn(16)
        with tempfile.TemporaryDirectory() as folder:
            agent.save(os.path.join(folder, "last.safetensors"))
        self.assertTrue(np.isfinite(agent.learn(16)["loss"]))

    def test_continuous_actions_stay_within_their_bounds(self):
        envs = gymnasium.make_vec("Pendulum-v1", num_envs=4)
        agent = stpn.gym.Agent(envs, "stpn_f", hidden=5, method="ppo", rollout=8, normalise_rewards=True)
        observations, _ = envs.reset(seed=0)
        actions = agent.act(observations)
        self.assertTrue(envs.action_space.contains(actions))
        agent.parameters["policy.bias"] = np.array([50, 0], np.float32)
        agent.restart()
        np.testing.assert_array_equal(agent.act(observations, deterministic=True), np.full((4, 1), 2, np.float32))
        agent.restart()
        self.assertTrue(np.isfinite(agent.learn(64)["loss"]))

    def test_progress_bar_events_and_callback(self):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        seen = []

        def callback(agent, statistics):
            seen.append((agent.steps, statistics))
            return len(seen) < 3

        agent = stpn.gym.Agent(scripts(copies=2), hidden=3, method="a2c", rollout=5)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as shown:
            told = agent.learn(100, callback=callback, progress_bar=True, tensorboard=folder)
            events = EventAccumulator(folder).Reload()
            self.assertEqual([event.step for event in events.Scalars("loss")], [10, 20, 30])
            self.assertAlmostEqual(events.Scalars("reward")[-1].value, told["reward"], 5)
        self.assertEqual([steps for steps, _ in seen], [10, 20, 30])
        self.assertIs(seen[-1][1], told)
        self.assertIn("30.0/100", shown.getvalue())
        self.assertIn("reward=", shown.getvalue())

    def test_an_actor(self):
        agent = stpn.gym.Agent(scripts(copies=4), hidden=3, method="a2c", rollout=5)
        actor = agent.actor(2)
        before = agent.evaluate(episodes=4)
        self.assertEqual(agent.steps, 0)
        seen = np.ones((2, 1, 2))
        first = actor.act(seen, deterministic=True)
        self.assertEqual((first.shape, first.dtype), ((2,), np.int64))
        self.assertTrue(((5 <= first) & (first <= 7)).all())
        with self.assertRaisesRegex(ValueError, "not recorded"):
            actor.act(seen)
        actor.record([1, 2], [True, False])
        actor.act(seen)
        actor.record(3.0, True)
        self.assertEqual({name: actor.statistics()[name] for name in ("episodes", "reward", "length")},
                         {"episodes": 3, "reward": 3.0, "length": 4 / 3})
        agent.learn(20)
        self.assertNotEqual(repr(before), repr(agent.evaluate(episodes=4, deterministic=False)))

    def test_refusals(self):
        envs = scripts()
        for make, kind, says in [
                (lambda: stpn.gym.Agent(Script()), TypeError, "expected a gymnasium.vector.VectorEnv"),
                (lambda: stpn.gym.Agent(envs, method="dqn"), ValueError, "train.method"),
                (lambda: stpn.gym.Agent(envs, batch=3), TypeError, "batch is the number"),
                (lambda: stpn.gym.Agent(envs, rollouts=3), TypeError, "an unexpected argument rollouts; did you mean rollout[?]"),
                (lambda: stpn.gym.Agent(envs, hiden=3), TypeError, "Agent got an unexpected argument hiden; did you mean hidden[?]"),
                (lambda: stpn.gym.Agent(envs, units="gru"), TypeError, "unexpected argument units; did you mean unit[?]"),
                (lambda: stpn.gym.Agent(envs, "stpm"), ValueError, "there is no unit"),
                (lambda: stpn.gym.Agent(envs, ["gru"]), TypeError, "expected stpn.Unit"),
                (lambda: stpn.gym.Agent(envs, seed=-1), ValueError, "seed is -1"),
                (lambda: stpn.gym.Agent(envs, gamma=float("nan")), ValueError, "gamma is nan, expected finite numbers"),
                (lambda: stpn.gym.Agent(envs, rollout={1}), TypeError, r"rollout: \{1\} is a set"),
                (lambda: stpn.gym.Agent(envs).learn(8, callback=3), TypeError, "callback is 3, expected a function"),
                (lambda: stpn.gym.Agent(gymnasium.make_vec("FrozenLake-v1", num_envs=1)), TypeError, "expected a Box")]:
            with self.assertRaisesRegex(kind, says):
                make()
        given = stpn.Unit("stpn_r", 3, lambda_=0.9, norm="post")  # the default, which has no effect there, is no error
        self.assertEqual(stpn.gym.Agent(envs, given).experiment["units"][0]["norm"], "post")
        agent = stpn.gym.Agent(envs, hidden=3, method="a2c", rollout=np.int64(2), learning_rate=np.float32(0.5))
        self.assertEqual((agent.rollout, agent.experiment["train"]["learning_rate"]), (2, 0.5))
        seen = np.zeros((1, 1, 2))
        for call, says in [(agent.update, "no step is recorded"), (lambda: agent.act(seen[0]), "expected .1, 1, 2."),
                           (lambda: agent.act(seen * np.nan), "expected a finite number"),
                           (lambda: agent.record(seen, [0], [False], [False], {}), "no action was taken"),
                           (lambda: agent.evaluate(scripts(copies=2), episodes=0), "episodes is 0")]:
            with self.assertRaisesRegex(ValueError, says):
                call()
        agent.act(seen)
        for step, says in [((seen, [0, 0], [False], [False], {}), "rewards have shape"),
                           ((seen, [np.inf], [False], [False], {}), "its reward is inf")]:
            with self.assertRaisesRegex(ValueError, says):
                agent.record(*step)
        with self.assertRaisesRegex(ValueError, "1 steps are recorded"), tempfile.TemporaryDirectory() as folder:
            agent.save(os.path.join(folder, "agent"))
        same = stpn.gym.Agent(scripts(AutoresetMode.SAME_STEP), hidden=3, method="a2c", rollout=2)
        same.act(seen)
        with self.assertRaisesRegex(ValueError, "no final_obs"):
            same.record(seen, [0], [True], [False], {})


class Page(unittest.TestCase):
    def test_the_page_runs(self):
        """Every block of Python in docs/gymnasium.md, from its top to its end."""
        with open(os.path.join(SOURCE, "docs", "gymnasium.md"), encoding="utf-8") as file:
            blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", file.read())
        names, said, before = {}, io.StringIO(), os.getcwd()
        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(said):
            os.chdir(work)
            try:
                for block in blocks:
                    exec(compile(block, "docs/gymnasium.md", "exec"), names)
            finally:
                os.chdir(before)
        self.assertEqual(said.getvalue(), "Agent(CartPole-v1, 8 copies, ppo, 1027 parameters)\n"
                                          "['energy', 'episodes', 'length', 'reward', 'reward_error']\n")
        self.assertEqual(names["mazes"].reset(seed=0)[0].shape, (16, 17))
        self.assertGreater(len(names["text"].splitlines()), 8)


if __name__ == "__main__":
    unittest.main()
