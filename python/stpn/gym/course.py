"""What a vector environment's steps mean to an agent, in each of Gymnasium's modes of starting episodes anew."""
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from ..library import lib

TERMINATED, TRUNCATED, SKIPPED = lib.STPN_TERMINATED, lib.STPN_TRUNCATED, lib.STPN_SKIPPED


class Spaces:
    """The spaces of a vector environment's copies: box observations, discrete or box actions."""

    def __init__(self, env):
        if not isinstance(env, gymnasium.vector.VectorEnv):
            raise TypeError(f"env is a {type(env).__name__}, expected a gymnasium.vector.VectorEnv: gymnasium.make_vec makes one")
        self.copies, self.seen, self.done = env.num_envs, env.single_observation_space, env.single_action_space
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self.name = env.spec.id if env.spec else type(env.unwrapped).__name__
        if not isinstance(self.seen, gymnasium.spaces.Box):
            raise TypeError(f"observations of {self.name} are {self.seen}, expected a Box")
        if not isinstance(self.done, (gymnasium.spaces.Discrete, gymnasium.spaces.Box)):
            raise TypeError(f"actions of {self.name} are {self.done}, expected Discrete or a Box")
        self.inputs = int(np.prod(self.seen.shape))
        self.continuous = int(np.prod(self.done.shape)) if isinstance(self.done, gymnasium.spaces.Box) else 0

    def task(self):
        """The key `task` of an experiment."""
        done = {"continuous": self.continuous} if self.continuous else {"actions": int(self.done.n)}
        return {"name": "gym", "id": self.name[:255], "observations": self.inputs, **done}

    def rows(self, observations, copies=None):
        """Observations (B, ...) as C reads them, (B, I)."""
        copies = self.copies if copies is None else copies
        values = np.asarray(observations)
        if values.shape != (copies, *self.seen.shape):
            raise ValueError(f"observations have shape {values.shape}, expected {(copies, *self.seen.shape)}")
        return np.ascontiguousarray(values.reshape(copies, self.inputs), np.float32)

    def new_actions(self, copies):
        """Room for actions of C."""
        return np.zeros((copies, self.continuous), np.float32) if self.continuous else np.zeros(copies, np.int32)

    def outside(self, actions):
        """Actions of C as the environment takes them, within its bounds."""
        if not self.continuous:
            return actions.astype(np.int64) + int(self.done.start)
        values = actions.reshape(-1, *self.done.shape)
        return np.clip(values, self.done.low, self.done.high).astype(self.done.dtype)


class Course:
    """Keeps up with the copies' episodes: what came of a step, for stpn_agent_record."""

    def __init__(self, spaces):
        self.spaces, self.over = spaces, np.zeros(spaces.copies, bool)

    def restart(self):
        self.over[:] = False

    def took(self, observations, rewards, terminations, truncations, infos):
        """What env.step gave, as: next observations (B, I), rewards (B), ends (B), last observations (B, I)."""
        copies, mode = self.spaces.copies, self.spaces.mode
        seen = self.spaces.rows(observations)
        flags = [np.asarray(flag, bool) for flag in (terminations, truncations)]
        rewards = np.ascontiguousarray(rewards, np.float32)
        for name, array in zip(("rewards", "terminations", "truncations"), (rewards, *flags)):
            if array.shape != (copies,):
                raise ValueError(f"{name} have shape {array.shape}, expected ({copies},)")
        ends = (flags[0] * TERMINATED + flags[1] * TRUNCATED).astype(np.uint8)
        last = seen
        if mode == AutoresetMode.NEXT_STEP:
            ends[self.over] = SKIPPED  # the step after an end only begins the next episode
        elif mode == AutoresetMode.SAME_STEP and ends.any():
            last = seen.copy()
            finals = infos.get("final_obs")
            for copy in np.flatnonzero(ends):
                if finals is None or finals[copy] is None:
                    raise ValueError(f"copy {copy}: its episode is over, and infos have no final_obs of it")
                last[copy] = np.asarray(finals[copy], np.float32).ravel()
        self.over = (ends & (TERMINATED | TRUNCATED)) != 0
        return seen, rewards, ends, last

    def begin_anew(self, env, observations):
        """Observations to act on: copies that nobody else resets are reset."""
        if self.spaces.mode != AutoresetMode.DISABLED or not self.over.any():
            return observations
        fresh, _ = env.reset(options={"reset_mask": self.over.copy()})
        observations = np.array(observations)
        observations[self.over] = np.asarray(fresh)[self.over]
        self.over[:] = False
        return observations
