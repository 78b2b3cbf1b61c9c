"""Gymnasium: agents of this library in any vector environment, and its environments for anybody's agents (docs/gymnasium.md).

stpn.gym.Agent      a network and its learner, A2C or PPO, in C
stpn/Maze-v0        the maze, known to gymnasium.make and gymnasium.make_vec once this module is imported
stpn/Pendulum-v0    a pole on a cart, likewise, where the library was built with MuJoCo

>>> import gymnasium, stpn.gym
>>> envs = gymnasium.make_vec("stpn/Maze-v0", num_envs=16)
>>> stpn.gym.Agent(envs, unit="stpn_r", hidden=32, method="a2c", rollout=20)
Agent(stpn/Maze-v0, 16 copies, a2c, 4901 parameters)
"""
try:
    import gymnasium
    from gymnasium.vector import AutoresetMode  # noqa: F401  (of 1.1)
except ImportError as problem:
    raise ImportError(f"stpn.gym needs Gymnasium 1.1 or newer ({problem}): pip install gymnasium") from problem

from .agent import Actor, Agent
from .environments import TaskEnv, TaskVectorEnv

__all__ = ["Agent", "Actor", "TaskEnv", "TaskVectorEnv"]

for _name, _task in (("Maze", "maze"), ("Pendulum", "pendulum")):
    gymnasium.register(f"stpn/{_name}-v0", entry_point="stpn.gym.environments:TaskEnv",
                       vector_entry_point="stpn.gym.environments:TaskVectorEnv", kwargs={"task": _task})
