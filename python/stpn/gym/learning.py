"""The loops of an agent over a whole environment: to learn, and to be measured."""
import os
import time

import numpy as np

from .course import SKIPPED, Course


class _Bar:
    """tqdm's, or none."""

    def __init__(self, wanted, total):
        self.bar = None
        if wanted:
            try:
                from tqdm.auto import tqdm
            except ImportError as problem:
                raise ImportError("the progress bar needs tqdm: pip install tqdm") from problem
            self.bar = tqdm(total=total, unit="step", unit_scale=True)

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        if self.bar is not None:
            self.bar.close()

    def tell(self, steps, statistics):
        if self.bar is not None:
            self.bar.update(steps)
            if statistics["episodes"]:
                self.bar.set_postfix(reward=f"{statistics['reward']:.4g}")


class _Events:
    """Event files for TensorBoard, or none."""

    def __init__(self, folder):
        self.writer = None
        if folder is not None:
            try:
                from tensorboard.compat.proto import event_pb2, summary_pb2
                from tensorboard.summary.writer.event_file_writer import EventFileWriter
            except ImportError as problem:
                raise ImportError("event files need tensorboard: pip install tensorboard") from problem
            self.event, self.summary = event_pb2.Event, summary_pb2.Summary
            self.writer = EventFileWriter(os.fspath(folder))

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        if self.writer is not None:
            self.writer.close()

    def tell(self, step, statistics):
        if self.writer is not None:
            values = [self.summary.Value(tag=name, simple_value=value) for name, value in statistics.items()
                      if np.isfinite(value)]
            self.writer.add_event(self.event(wall_time=time.time(), step=step, summary=self.summary(value=values)))


def _rollout(agent):
    """A rollout and the update from it. One that is broken off cannot be gone on with: the next begins in new episodes."""
    env = agent.env
    try:
        for _ in range(agent.rollout):
            agent.observations = agent.course.begin_anew(env, agent.observations)
            step = env.step(agent.act(agent.observations))
            agent.record(*step)
            agent.observations = step[0]
        return agent.update()
    except BaseException:
        agent.restart()
        agent.observations = None
        raise


def learn(agent, total, callback, progress_bar, tensorboard):
    done, statistics = 0, None
    with _Bar(progress_bar, total) as bar, _Events(tensorboard) as events:
        if agent.observations is None:
            agent.observations, _ = agent.env.reset(seed=agent._seed_of_reset())
            agent.restart()
        while done < total:
            statistics = _rollout(agent)
            taken = agent.rollout * agent.copies
            done += taken
            bar.tell(min(taken, total - done + taken), statistics)
            events.tell(agent.steps, statistics)
            if callback is not None and callback(agent, statistics) is False:
                break
    return statistics


def evaluate(actor, env, spaces, episodes, deterministic, seed):
    each, course = -(-episodes // spaces.copies), Course(spaces)
    sums, lengths = np.zeros(spaces.copies), np.zeros(spaces.copies, int)
    played = [[] for _ in range(spaces.copies)]  # (reward, steps) of each copy's episodes
    observations, _ = env.reset(seed=seed)
    while min(map(len, played)) < each:
        observations = course.begin_anew(env, observations)
        step = env.step(actor.act(observations, deterministic))
        observations = step[0]
        _, rewards, ends, _ = course.took(*step)
        actor._record(rewards, ends, None)
        taken = ends != SKIPPED
        sums[taken] += np.asarray(step[1], float)[taken]
        lengths[taken] += 1
        for copy in np.flatnonzero(course.over):
            if len(played[copy]) < each:  # what a copy plays while it waits for the others does not count
                played[copy].append((sums[copy], lengths[copy]))
            sums[copy], lengths[copy] = 0, 0
    rewards, steps = np.array([episode for copy in played for episode in copy], float).T
    error = rewards.std(ddof=1) / len(rewards) ** 0.5 if len(rewards) > 1 else float("nan")
    return {"reward": float(rewards.mean()), "reward_error": float(error), "length": float(steps.mean()),
            "energy": actor.statistics()["energy"], "episodes": len(rewards)}
