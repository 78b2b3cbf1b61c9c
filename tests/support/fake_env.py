"""An environment for the tests of the worker: fake_env:Fake-v0. A copy that `does` something wrong does it after `at` of its
own steps, unless the file that FAKE_ENV_GOOD names is there. FAKE_ENV_PID names a file that gets the worker's process id."""
import os
import time

import gymnasium
import numpy

STEPS = 9  # of an episode that is cut off; one whose last action was 1 ends by itself after 5


class Fake(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, does="", at=25, continuous=False, render_mode=None):
        self.does, self.at, self.taken, self.t, self.render_mode = does, at, 0, 0, render_mode
        self.observation_space = gymnasium.spaces.Box(-1, 1, (3,))
        if does == "dictionary":
            self.observation_space = gymnasium.spaces.Dict({"a": self.observation_space})
        self.action_space = gymnasium.spaces.Box(-2, 2, (2,)) if continuous else gymnasium.spaces.Discrete(2, start=1)
        if does == "actions":
            self.action_space = gymnasium.spaces.MultiDiscrete([2, 3])
        if os.environ.get("FAKE_ENV_PID"):
            with open(os.environ["FAKE_ENV_PID"] + ".tmp", "w", encoding="utf-8") as file:
                file.write(str(os.getpid()))
            os.replace(file.name, os.environ["FAKE_ENV_PID"])

    def look(self):
        return numpy.array([self.t / STEPS, self.target, 1], numpy.float32)

    def render(self):
        """One colour, whose green is the step and whose blue is the target."""
        if self.does == "blind":
            return None
        return numpy.full((8, 12, 3), (200, 20 * self.t, 255 * self.target), numpy.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.target = float(self.np_random.integers(0, 2))
        return self.look(), {}

    def step(self, action):
        assert action in (1, 2)  # Discrete(2, start=1)
        self.t += 1
        self.taken += 1
        reward = float(action - 1 == self.target)
        value = self.look()
        if self.taken >= self.at and not os.path.exists(os.environ.get("FAKE_ENV_GOOD", "")):
            value, reward = self.misbehave(value, reward)
        return value, reward, self.t == 5 and action == 2, self.t == STEPS, {}

    def misbehave(self, value, reward):
        if self.does == "dies":
            os._exit(7)
        if self.does == "hangs":
            time.sleep(1e6)
        if self.does == "slow":
            time.sleep(0.001)
        if self.does == "raises":
            raise RuntimeError("the motor\nis on fire")
        if self.does == "nonsense":
            os.write(3, b"hello")
        if self.does == "shape":
            value = value[:2]
        if self.does == "nan":
            value[1] = numpy.nan
        if self.does == "reward":
            reward = numpy.inf
        if self.does == "rewards":
            reward = numpy.ones(2)
        return value, reward


gymnasium.register("Fake-v0", entry_point=Fake)
