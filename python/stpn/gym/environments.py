"""The environments of the library as Gymnasium's: the same episodes as `stpn train` has them."""
from __future__ import annotations  # Python 3.9

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from ..library import NULL, check, ffi, integer, json_text, lib, made, new_error, pointer

TERMINATED, TRUNCATED = lib.STPN_TERMINATED, lib.STPN_TRUNCATED
_SEED_MOST = 2**63 - 1


class _Copies:
    """A stpn_env: copies of an environment that step together."""

    def __init__(self, task, options, copies, seed):
        text = json_text({"name": task, **options})
        self.count = copies
        self.handle = made(lib.stpn_env_create, lib.stpn_env_free, text, copies, seed)
        self.shape = ffi.new("stpn_env_shape *")
        lib.stpn_env_describe(self.handle, self.shape)
        self.observations = np.zeros((copies, self.shape.observations), np.uint8 if self.shape.bytes else np.float32)
        self.rewards, self.ends = np.zeros(copies, np.float32), np.zeros(copies, np.uint8)

    def reset(self, first, last):
        error = ffi.new(new_error)
        check(lib.stpn_env_reset(self.handle, first, last, pointer(self.observations), error), error)

    def step(self, actions):
        error = ffi.new(new_error)
        check(lib.stpn_env_step(self.handle, 0, self.count, pointer(actions), pointer(self.observations),
                                ffi.cast("float *", self.rewards.ctypes.data), ffi.cast("uint8_t *", self.ends.ctypes.data),
                                error), error)

    def actions(self, actions):
        """As C takes them, (B) or (B, A)."""
        values = np.asarray(actions)
        if self.shape.continuous:
            if values.dtype.kind not in "fiu" or values.shape != (self.count, self.shape.continuous):
                raise ValueError(f"actions have shape {values.shape} and type {values.dtype}, expected "
                                 f"({self.count}, {self.shape.continuous}) numbers")
            return np.ascontiguousarray(values, np.float32)
        if values.dtype.kind not in "iu" or values.shape != (self.count,):
            raise ValueError(f"actions have shape {values.shape} and type {values.dtype}, expected ({self.count},) integers")
        if values.min() < 0 or values.max() >= self.shape.actions:
            raise ValueError(f"actions are from {values.min()} to {values.max()}, expected 0 to {self.shape.actions - 1}")
        return np.ascontiguousarray(values, np.int32)

    def spaces(self):
        """Of a copy: what is seen, what is done."""
        if self.shape.bytes:
            seen = gymnasium.spaces.Box(0, 255, (self.shape.observations,), np.uint8)
        else:
            seen = gymnasium.spaces.Box(-np.inf, np.inf, (self.shape.observations,), np.float32)
        if not self.shape.continuous:
            return seen, gymnasium.spaces.Discrete(self.shape.actions)
        low, high = ffi.new("float *"), ffi.new("float *")
        bounds = np.empty((2, self.shape.continuous), np.float32)
        for index in range(self.shape.continuous):
            lib.stpn_env_bounds(self.handle, index, low, high)
            bounds[:, index] = low[0], high[0]
        return seen, gymnasium.spaces.Box(bounds[0], bounds[1], dtype=np.float32)

    def text(self, copy):
        size = lib.stpn_env_draw(self.handle, copy, NULL, 0) + 1
        text = ffi.new("char[]", size)
        lib.stpn_env_draw(self.handle, copy, text, size)
        return ffi.string(text).decode()


def _check_mode(render_mode):
    if render_mode not in (None, "ansi"):
        raise ValueError(f"render_mode is {render_mode!r}, expected None or 'ansi'")


class TaskEnv(gymnasium.Env):
    """One copy of an environment of the library: "stpn/Maze-v0", "stpn/Pendulum-v0".

    Args:
        task: its name, "maze" or "pendulum".
        render_mode: "ansi": `render` gives the maze as lines of text.
        options: the keys of `task` of an experiment file (docs/experiments.md): size, steps, mask, ...

    `reset(seed=s)` begins the first episode of the seed s, which is that of copy 0 of a TaskVectorEnv, and of the training of
    `stpn train` with that seed; `reset()` the next one. ValueError for an option that is wrong or not known; where the
    library was built without MuJoCo the pendulum says so.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 8}

    def __init__(self, task: str = "maze", render_mode: str | None = None, **options: Any) -> None:
        _check_mode(render_mode)
        self.task, self.options, self.render_mode = task, options, render_mode
        self._copies = _Copies(task, options, 1, 0)
        self._seeded = False
        self.observation_space, self.action_space = self._copies.spaces()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Begins an episode. Returns the observation (I,) and {}."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            chosen = int(self.np_random.integers(_SEED_MOST)) if seed is None else integer("seed", seed, 0, _SEED_MOST)
            self._copies = _Copies(self.task, self.options, 1, chosen)
            self._seeded = True
        self._copies.reset(0, 1)
        return self._copies.observations[0].copy(), {}

    def step(self, action: Any) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Takes an action. Returns the observation (I,), reward, terminated, truncated, {}. Raises ValueError for an action that is
        none, gymnasium.error.ResetNeeded before the first reset."""
        if not self._seeded:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        copies = self._copies
        copies.step(copies.actions(np.asarray(action)[None]))
        end = int(copies.ends[0])
        return copies.observations[0].copy(), float(copies.rewards[0]), bool(end & TERMINATED), bool(end & TRUNCATED), {}

    def render(self) -> str | None:  # type: ignore[override]
        """The copy as lines of text, where render_mode is "ansi", else None."""
        return self._copies.text(0) if self.render_mode == "ansi" else None


class TaskVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` copies of an environment of the library, that step together in C.

    Args:
        num_envs: B, copies.
        task, render_mode, options: as of TaskEnv.
        autoreset_mode: gymnasium.vector.AutoresetMode, or its value: "NextStep", "SameStep", "Disabled".

    `reset(seed=s)` begins the first episodes of the seed s: those of the training of `stpn train` with that seed;
    `reset()` the next ones; with options={"reset_mask": (B,) bool} those of some copies.
    """

    def __init__(self, num_envs: int = 1, task: str = "maze", autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
                 render_mode: str | None = None, **options: Any) -> None:
        _check_mode(render_mode)
        self.num_envs = integer("num_envs", num_envs, 1)
        self.task, self.options, self.render_mode = task, options, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["ansi"], "render_fps": 8, "autoreset_mode": self.autoreset_mode}
        self._copies = _Copies(task, options, self.num_envs, 0)
        self._seeded, self._over = False, np.zeros(self.num_envs, bool)
        self.single_observation_space, self.single_action_space = self._copies.spaces()
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)

    def _mask(self, options):
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return None
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask is {mask}, expected ({self.num_envs},) bool, one of them true")
        return mask

    def _begin(self, mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
        for first, last in edges.reshape(-1, 2):  # stretches of copies that lie side by side
            self._copies.reset(int(first), int(last))
        self._over[mask] = False

    def reset(  # type: ignore[override]
            self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Begins episodes. Returns the observations (B, I) and {}."""
        super().reset(seed=seed)
        mask = self._mask(options)
        if mask is not None and self._seeded and seed is None:
            self._begin(mask)
            return self._copies.observations.copy(), {}
        if seed is not None or not self._seeded:
            chosen = int(self.np_random.integers(_SEED_MOST)) if seed is None else integer("seed", seed, 0, _SEED_MOST)
            self._copies = _Copies(self.task, self.options, self.num_envs, chosen)
            self._seeded = True
        self._copies.reset(0, self.num_envs)
        self._over[:] = False
        return self._copies.observations.copy(), {}

    def step(self, actions: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.bool_],
                                                     npt.NDArray[np.bool_], dict[str, Any]]:
        """Takes actions, (B) integers or (B, A). Returns observations (B, I), rewards (B) float64, terminated (B), truncated (B), infos:
        "final_obs" where copies begin anew in the same step. Raises ValueError for an action that is none, and in mode "Disabled" for
        a copy whose episode is over; gymnasium.error.ResetNeeded before the first reset."""
        if not self._seeded:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        copies, mode, infos, over = self._copies, self.autoreset_mode, {}, self._over.copy()
        if mode == AutoresetMode.DISABLED and over.any():
            raise ValueError(f"the episodes of copies {np.flatnonzero(over)} are over, and were not reset")
        copies.step(copies.actions(actions))
        rewards, ends = copies.rewards.astype(np.float64), copies.ends.copy()
        if over.any():  # this step was their reset
            self._begin(over)
            rewards[over], ends[over] = 0, 0
        self._over = ends != 0
        if mode == AutoresetMode.SAME_STEP and self._over.any():
            for copy in np.flatnonzero(self._over):
                final = {"final_obs": copies.observations[copy].copy(), "final_info": {}}
                infos = self._add_info(infos, final, int(copy))
            self._begin(self._over.copy())
        return copies.observations.copy(), rewards, (ends & TERMINATED) != 0, (ends & TRUNCATED) != 0, infos

    def render(self) -> tuple[str, ...] | None:
        """Each copy as lines of text, where render_mode is "ansi", else None."""
        return tuple(self._copies.text(copy) for copy in range(self.num_envs)) if self.render_mode == "ansi" else None

    def close_extras(self, **kwargs):
        """Frees the copies."""
        self._copies, self._seeded = None, False
