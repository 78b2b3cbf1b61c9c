"""Agents: a network with a policy and a value, and its learner, A2C or PPO, in any Gymnasium vector environment."""
from __future__ import annotations  # Python 3.9

import difflib
import inspect
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from ..library import Unit, check, ffi, integer, json_text, lib, made, new_error, pointer
from ..net import Block, _Used
from ..tensors import read_tensors
from .course import Course, Spaces
from .learning import evaluate, learn


def _units(unit, hidden):
    """`units` of an experiment."""
    if isinstance(unit, str):
        unit = Unit(unit, hidden)
    units = [unit] if isinstance(unit, Unit) else list(unit)
    for each in units:
        if not isinstance(each, Unit):
            raise TypeError(f"unit has a {type(each).__name__} in it, expected stpn.Unit")
    return [{"name": each.name, "hidden": each.hidden, **each._changed()} for each in units]


def _made(experiment, threads):
    """A stpn_agent. What `train` does not know is an argument that Agent does not have: one of its own may be meant."""
    try:
        return made(lib.stpn_agent_create, lib.stpn_agent_free, json_text(experiment), threads)
    except ValueError as problem:
        unknown = re.search(r'train\.(.*) is not a known key; the nearest is "(.*)"', str(problem))
        if unknown is None:
            raise
        own = [name for name in inspect.signature(Agent).parameters if name != "train"]
        nearest = difflib.get_close_matches(unknown[1], [*own, unknown[2]], 1, 0)[0]
        raise TypeError(f"Agent got an unexpected argument {unknown[1]}; did you mean {nearest}?") from None


class _Acting:
    """A stpn_agent. It serves one call at a time."""

    def __init__(self, handle, spaces, copies):
        self.handle, self.spaces, self.copies, self.lock = handle, spaces, copies, threading.Lock()

    def _call(self, call, *arguments):
        error = ffi.new(new_error)
        with _Used(self):
            check(call(self.handle, *arguments, error), error)

    def act(self, observations: npt.ArrayLike, deterministic: bool = False) -> npt.NDArray[Any]:
        """An action for every copy, as the environment takes it: (B) integers, or (B, ...) within the bounds.

        Args:
            observations: (B, ...), of a copy's observation space.
            deterministic: the most probable action, or the mean, in place of one drawn from the policy.

        Raises ValueError for another shape, for a value that is not finite, and where `record` or `update` is to be called first.
        """
        rows, actions = self.spaces.rows(observations, self.copies), self.spaces.new_actions(self.copies)
        choice = lib.STPN_CHOICE_GREEDY if deterministic else lib.STPN_CHOICE_SAMPLE
        self._call(lib.stpn_agent_act, pointer(rows), choice, pointer(actions))
        return self.spaces.outside(actions)

    def _record(self, rewards, ends, last):
        self._call(lib.stpn_agent_record, ffi.cast("float *", rewards.ctypes.data), ffi.cast("uint8_t *", ends.ctypes.data),
                   pointer(last))

    def restart(self) -> None:
        """All copies begin new episodes: to be called after env.reset(). Steps that no update has seen are forgotten."""
        with _Used(self):
            lib.stpn_agent_restart(self.handle)

    def statistics(self) -> dict[str, float]:
        """{name: value} of the latest update, of an Actor up to now; NaN where there is none. `episodes` that ended, the mean
        `reward` and `length` of those, and the columns of metrics.csv (docs/file-formats.md#metricscsv)."""
        name, value, found = ffi.new("const char **"), ffi.new("double *"), {}
        with _Used(self):
            while lib.stpn_agent_statistic(self.handle, len(found), name, value):
                found[ffi.string(name[0]).decode()] = value[0]
        return found


class Actor(_Acting):
    """Copies that act with an agent's network, as it is and as it becomes, and do not learn: Agent.actor(copies).

    The agent must not update while `act` runs.
    """

    def __init__(self, agent: Agent, copies: int = 1, threads: int = 1) -> None:
        copies = integer("copies", copies, 1)
        handle = made(lib.stpn_agent_create_actor, lib.stpn_agent_free, agent.handle, copies, integer("threads", threads, 0, 256))
        super().__init__(handle, agent.spaces, copies)
        self.agent = agent  # whose network it is

    def record(self, rewards: npt.ArrayLike = 0.0, ends: npt.ArrayLike = 0) -> None:
        """To be called after every step, before the next `act`.

        Args:
            rewards: (B) or one number, for the statistics.
            ends: (B) bool or one: the episode is over, and the next `act` begins another one.
        """
        rewards = np.ascontiguousarray(np.broadcast_to(rewards, (self.copies,)), np.float32)
        ends = np.ascontiguousarray(np.broadcast_to(ends, (self.copies,)), np.uint8)
        self._call(lib.stpn_agent_record, ffi.cast("float *", rewards.ctypes.data), ffi.cast("uint8_t *", ends.ctypes.data),
                   ffi.NULL)


class Agent(_Acting):
    """A network and its learner in a vector environment with box observations and discrete or box actions.

    Args:
        env: gymnasium.vector.VectorEnv; its copies are the learner's `batch`.
        unit: name of a unit ("stpn_r", "lstm", ...), a stpn.Unit, or a sequence of them.
        hidden: H, its neurons, where `unit` is a name.
        seed: of initial values, actions and episodes: an integer from 0 to 2**63 - 1.
        threads: 0: one per processor. The results have the same bits on any number.
        train: the keys of `train` of an experiment file (docs/experiments.md#every-key) but `batch`: method ("a2c", "ppo"), rollout (T,
            steps of every copy between two updates), steps (over which a schedule of the learning rate goes), learning_rate,
            entropy_weight, ...

    Attributes:
        env: as above.
        copies: B, of the environment.
        experiment: a dictionary, every key that has an effect.
        steps: agent steps of all copies that updates have seen, since this object was made.

    Equations: docs/mathematics.md#9-actor-critic, docs/mathematics.md#10-proximal-policy-optimisation.

    Raises TypeError for spaces that are none of those and for an argument that there is not, ValueError for a value that is wrong.
    Other calls of the same agent while one is under way are a RuntimeError.
    """

    def __init__(self, env: VectorEnv, unit: str | Unit | Sequence[Unit] = "stpn_r", hidden: int = 32, *, seed: int = 0,
                 threads: int = 1, **train: Any) -> None:
        spaces = Spaces(env)
        if "batch" in train:
            raise TypeError("batch is the number of the environment's copies, and not to be given")
        json_text(train)  # so that a wrong value is named by its key
        experiment = {"name": "agent", "seed": integer("seed", seed, 0, 2**63 - 1), "task": spaces.task(),
                      "units": _units(unit, hidden), "train": {**train, "batch": spaces.copies}}
        self._open(env, spaces, _made(experiment, integer("threads", threads, 0, 256)))

    def _open(self, env, spaces, handle):
        super().__init__(handle, spaces, spaces.copies)
        self.env, self.course = env, Course(spaces)
        self._updates = 0
        self.observations = self._next = None  # that `learn` goes on from; what the copies see after the latest step
        self.steps = 0
        self._recorded = 0
        self.experiment = json.loads(ffi.string(lib.stpn_agent_experiment(handle)))
        # As stpn.Net has them.
        self.net = lib.stpn_agent_net(handle)

    @property
    def rollout(self) -> int:
        """T, the steps of every copy between two updates."""
        return self.experiment["train"]["rollout"]

    @property
    def parameters(self) -> Block:
        """The network's parameters, a stpn.Block: a mapping from names ("units.0.weight", "policy.weight", "value.weight") to arrays,
        which it can be set from too."""
        return Block(_Net(self), lib.stpn_net_parameters(self.net))

    def __repr__(self) -> str:
        train, count = self.experiment["train"], lib.stpn_net_parameter_count(self.net)
        return f"Agent({self.spaces.name}, {self.copies} copies, {train['method']}, {count} parameters)"

    # ---------------------------------------------------------------------------------------------- a loop of one's own

    def record(self, observations: npt.ArrayLike, rewards: npt.ArrayLike, terminations: npt.ArrayLike, truncations: npt.ArrayLike,
               infos: dict[str, Any]) -> None:
        """What came of the actions: agent.record(*env.step(actions)).

        The environment's mode is respected. NextStep: the step in which a copy only begins its next episode is not learned
        from. SameStep: infos["final_obs"] has the last observations. Disabled: whoever calls resets the copies whose episode is
        over before the next `act`. Where an episode was truncated, and not terminated, the value of its last observation
        stands for what would have come.

        Args: what env.step returns, (B, ...), (B), (B), (B) and a dictionary.

        Raises ValueError for a shape that is wrong, a value that is not finite, and where no `act` was before.
        """
        seen, rewards, ends, last = self.course.took(observations, rewards, terminations, truncations, infos)
        self._record(rewards, ends, last)
        self._next = seen
        self._recorded += self.copies

    def update(self) -> dict[str, float]:
        """One update from what was recorded since the one before, up to `rollout` steps. Returns its `statistics`.

        Raises ValueError where nothing was recorded; ArithmeticError where a loss or a gradient is not finite: the steps then are
        forgotten, the network is as before.
        """
        if self._next is None:
            raise ValueError("no step is recorded to learn from")
        steps, self._recorded = self._recorded, 0
        self._call(lib.stpn_agent_update, pointer(self._next))
        self.steps += steps
        self._updates += 1
        return self.statistics()

    def restart(self) -> None:
        super().restart()
        self.course.restart()
        self._next, self._recorded = None, 0

    restart.__doc__ = _Acting.restart.__doc__

    # ------------------------------------------------------------------------------------------------------ whole loops

    def _seed_of_reset(self):
        """The agent's seed; after updates one that depends on their number too, so that it does not see the same episodes again."""
        seed = self.experiment["seed"]
        if self._updates:
            seed = zlib.crc32(f"{seed} {self._updates}".encode())
        return seed % 2**31

    def learn(self, total_steps: int, *, callback: Callable[[Agent, dict[str, float]], Any] | None = None,
              progress_bar: bool = False, tensorboard: str | os.PathLike[str] | None = None) -> dict[str, float]:
        """Acts and learns for `total_steps` agent steps of all copies together, rounded up to whole rollouts.

        Args:
            total_steps: 1 or more.
            callback: called after every update as callback(agent, statistics); False ends it.
            progress_bar: a bar of tqdm's, which has to be installed.
            tensorboard: a folder for event files, which need the package tensorboard; the step is Agent.steps.

        The first call resets the environment with the agent's seed; the next goes on where it was. After `evaluate` in the same
        environment, and after `load`, it is reset with a seed that depends on the number of updates. Where it ends in an error or by
        Ctrl-C, the steps since the latest update are forgotten, and it can be called again. Returns the statistics of
        the latest update.
        """
        if not (callback is None or callable(callback)):
            raise TypeError(f"callback is {callback!r}, expected a function")
        return learn(self, integer("total_steps", total_steps, 1), callback, progress_bar, tensorboard)

    def evaluate(self, env: VectorEnv | None = None, episodes: int = 100, *, deterministic: bool = True,
                 seed: int | None = None) -> dict[str, float]:
        """Plays `episodes` episodes, rounded up to as many of every copy; nothing is learned.

        Args:
            env: a vector environment with the same spaces; None: the agent's own, which `learn` then resets.
            deterministic: as of `act`.
            seed: of env.reset; None: one apart from the agent's.

        Returns {"reward": mean of an episode, "reward_error": its standard error, NaN of one episode, "length": mean steps,
        "energy": per step (docs/energy.md), "episodes": how many}.
        """
        own = env is None
        env = self.env if own else env
        if env is None:
            raise ValueError("the agent has no environment: give one")
        if own or env is self.env:
            self.restart()
            self.observations = None
        spaces = Spaces(env)
        if (spaces.inputs, spaces.done) != (self.spaces.inputs, self.spaces.done):
            raise ValueError(f"{spaces.name} has {spaces.inputs} observations and actions {spaces.done}, expected "
                             f"{self.spaces.inputs} and {self.spaces.done}")
        seed = self.experiment["seed"] + 2**30 if seed is None else seed
        return evaluate(self.actor(spaces.copies), env, spaces, integer("episodes", episodes, 1), deterministic, seed % 2**31)

    def actor(self, copies: int = 1, threads: int = 1) -> Actor:
        """An Actor of so many copies; threads as of Agent."""
        return Actor(self, copies, threads)

    # ------------------------------------------------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes everything to a safetensors file, atomically: the last.safetensors of a run (docs/file-formats.md). ValueError
        in the middle of a rollout, OSError where the system refuses."""
        self._call(lib.stpn_agent_save, os.fsencode(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], env: VectorEnv, *, threads: int = 1) -> Agent:
        """The agent that `save`, or a run of `stpn train` in a gym environment, has written; on the same kernel it goes on to
        the same bits. ValueError where `env` has other spaces or another number of copies than it was saved with, OSError
        where there is no file."""
        spaces = Spaces(env)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{os.fspath(path)}: there is no such file")
        handle = made(lib.stpn_agent_load, lib.stpn_agent_free, os.fsencode(path), integer("threads", threads, 0, 256))
        agent = cls.__new__(cls)
        agent._open(env, spaces, handle)
        agent._updates = int(read_tensors(path)[0]["progress.iteration"])
        saved, batch = agent.experiment["task"], agent.experiment["train"]["batch"]
        wrong = [f"{key} {saved.get(key)}, expected {value}" for key, value in spaces.task().items()
                 if key != "id" and saved.get(key) != value]
        if batch != spaces.copies:
            wrong.append(f"{batch} copies, expected {spaces.copies}")
        if wrong:
            raise ValueError(f"{os.fspath(path)} is of another environment than {spaces.name}: it has {', '.join(wrong)}")
        return agent


class _Net:
    """What a Block asks of its net."""

    def __init__(self, agent):
        self.agent, self.handle, self.dtype = agent, agent.net, np.dtype(np.float32)
        self.block_bytes = lib.stpn_net_block_size(agent.net) * 4
