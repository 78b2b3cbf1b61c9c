"""python -m stpn.envs.worker KIND ID ARGUMENTS COPIES CHUNK: holds copies of an environment for a process that steps them.

src/tasks/worker.c starts it, with a socket of packets as descriptor 3 and memory without a name as descriptor 4. A packet
is four 32-bit numbers (command, first, last, failed) and what the command needs; the answer repeats the numbers. The first
answer, to no command, tells what the environment is. Observations, rewards, ends, actions and seeds lie in the memory.

An episode that ends starts anew at once: `observations` keeps its last observation, `starts` has the first of the next.
"""

import json
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time

import numpy

SOCKET, MEMORY = 3, 4
HEAD = struct.Struct("<4i")
MAP, RESET, STEP, FILM = 1, 2, 3, 4
PLACES = struct.Struct("<8q")
TERMINATED, TRUNCATED = 1, 2
TEXT_MOST, PATH_MOST = 800, 4096


class Refused(Exception):
    """The environment is none that a network can act in, or did something that it may not."""


class Arrays:
    """The shared arrays; their order is that of worker_arrays in src/tasks/worker.h."""

    def __init__(self, memory, places, copies, kind):
        row = numpy.uint8 if kind["bytes"] else numpy.float32
        action = (copies, kind["continuous"]) if kind["continuous"] else (copies,)
        shapes = (
            ("observations", row, (copies, kind["observations"])),
            ("starts", row, (copies, kind["observations"])),
            ("rewards", numpy.float32, (copies,)),
            ("ends", numpy.uint8, (copies,)),
            ("actions", numpy.float32 if kind["continuous"] else numpy.int32, action),
            ("seeds", numpy.int64, (copies,)),
            ("busy", numpy.int64, (1,)),
        )
        for (name, dtype, shape), place in zip(shapes, places):
            setattr(self, name, numpy.ndarray(shape, dtype, memory, place))


def bounds_of(values):
    """JSON has no infinity."""
    return [float(value) if numpy.isfinite(value) else None for value in values.ravel()]


class Film:
    """Pictures of the first episode of copy 0, (rows, columns, 3) bytes each, as a file: .gif by Pillow, .mp4 by imageio-ffmpeg."""

    SUFFIXES = (".gif", ".mp4")

    def __init__(self, path, rate):
        self.path, self.rate, self.frames, self.goes_on = path, rate, [], True
        self.suffix = os.path.splitext(path)[1]
        if self.suffix not in self.SUFFIXES:
            raise Refused(f"{path}: expected a name that ends in {' or '.join(self.SUFFIXES)}")
        self.part = f"{path}.tmp{self.suffix}"
        package = "PIL" if self.suffix == ".gif" else "imageio_ffmpeg"
        try:
            __import__(package)
        except ImportError as problem:
            raise Refused(f"a {self.suffix} needs the package {'pillow' if package == 'PIL' else 'imageio-ffmpeg'}") from problem
        with open(self.part, "wb"):  # what cannot be written is not played
            pass
        os.remove(self.part)

    def add(self, frame):
        if not isinstance(frame, numpy.ndarray) or frame.ndim != 3 or frame.shape[2] != 3:
            raise Refused(f"its picture is {type(frame).__name__} {numpy.shape(frame)}, expected (rows, columns, 3)")
        self.frames.append(self.kept(numpy.asarray(frame, numpy.uint8)))

    def kept(self, frame):
        """A GIF's pictures have a palette each, a third of the size."""
        if self.suffix != ".gif":
            return frame.copy()
        from PIL import Image

        return Image.fromarray(frame).quantize(256)

    def write(self):
        try:
            if self.suffix == ".gif":
                first, *rest = self.frames
                first.save(self.part, save_all=True, append_images=rest, duration=max(20, round(1000 / self.rate)), loop=0)
            else:
                import imageio_ffmpeg

                rows, columns, _ = self.frames[0].shape
                writer = imageio_ffmpeg.write_frames(self.part, (columns, rows), fps=self.rate, macro_block_size=2)
                writer.send(None)
                for frame in self.frames:
                    writer.send(frame)
                writer.close()
            os.replace(self.part, self.path)
        finally:
            if os.path.exists(self.part):
                os.remove(self.part)


class Gym:
    """Copies of any Gymnasium environment with box observations and discrete or box actions."""

    def __init__(self, name, arguments, copies):
        import gymnasium

        self.name, self.arguments, self.recorded = name, arguments, None
        self.copies = [gymnasium.make(name, **arguments) for _ in range(copies)]
        self.observation = self.copies[0].observation_space
        self.action = self.copies[0].action_space
        if not isinstance(self.observation, gymnasium.spaces.Box):
            raise Refused(f"its observations are {self.observation}, expected a Box")
        self.discrete = isinstance(self.action, gymnasium.spaces.Discrete)
        if not self.discrete and not isinstance(self.action, gymnasium.spaces.Box):
            raise Refused(f"its actions are {self.action}, expected Discrete or a Box")

    def kind(self):
        size = int(numpy.prod(self.observation.shape))
        if self.discrete:
            return {"observations": size, "bytes": 0, "actions": int(self.action.n), "continuous": 0}
        count = int(numpy.prod(self.action.shape))
        low, high = bounds_of(self.action.low), bounds_of(self.action.high)
        return {"observations": size, "bytes": 0, "actions": 0, "continuous": count, "low": low, "high": high}

    def film(self, path):
        import gymnasium

        self.copies[0].close()
        self.copies[0] = gymnasium.make(self.name, render_mode="rgb_array", **self.arguments)
        self.recorded = Film(path, self.copies[0].metadata.get("render_fps", 30))

    def picture(self, copy):
        if copy == 0 and self.recorded and self.recorded.goes_on:
            self.recorded.add(self.copies[0].render())

    def put(self, rows, copy, value, when):
        shape = numpy.shape(value)
        if shape != self.observation.shape:
            expected = self.observation.shape
            raise Refused(f"copy {copy}: the observation {when} has the shape {shape}, expected {expected}")
        rows[copy] = numpy.asarray(value, numpy.float32).ravel()

    def reset(self, arrays, first, last):
        for copy in range(first, last):
            value, _ = self.copies[copy].reset(seed=int(arrays.seeds[copy]))
            self.put(arrays.observations, copy, value, "of a reset")
            self.picture(copy)

    def step(self, arrays, first, last):
        for copy in range(first, last):
            action = arrays.actions[copy]
            if self.discrete:
                action = int(action) + int(self.action.start)
            else:
                # Bounds of 64 bits lie between numbers of 32.
                action = numpy.clip(action.reshape(self.action.shape), self.action.low, self.action.high).astype(self.action.dtype)
            value, reward, terminated, truncated, _ = self.copies[copy].step(action)
            self.put(arrays.observations, copy, value, "of a step")
            if numpy.ndim(reward) != 0:
                raise Refused(f"copy {copy}: the reward has the shape {numpy.shape(reward)}, expected a number")
            arrays.rewards[copy] = reward
            arrays.ends[copy] = TERMINATED * bool(terminated) + TRUNCATED * bool(truncated)
            self.picture(copy)
            if copy == 0 and self.recorded and arrays.ends[0]:
                self.recorded.goes_on = False
            if terminated or truncated:
                value, _ = self.copies[copy].reset()
                self.put(arrays.starts, copy, value, "of a reset")


def area_weights(size, target):
    """(target, size): each of `target` pixels is the mean of the part of `size` pixels that it covers."""
    edges = numpy.linspace(0, size, target + 1)
    pixels = numpy.arange(size)
    overlap = numpy.minimum(edges[1:, None], pixels + 1) - numpy.maximum(edges[:-1, None], pixels)
    return (numpy.clip(overlap, 0, None) * target / size).astype(numpy.float32)


class Pong:
    """Pong of the Arcade Learning Environment, 84 x 84 grey bytes, preprocessed in one of two ways."""

    SIDE, ROWS, COLUMNS, CUT = 84, 210, 160, 25

    def __init__(self, arguments, copies, chunk):
        from ale_py.vector_env import AtariVectorEnv

        self.copies, self.chunk, self.recorded = copies, chunk, None  # chunk: so many step together
        self.paper = arguments["preprocessing"] == "paper"
        common = {"stack_num": 1, "autoreset_mode": "SameStep", "num_threads": 1, "reward_clipping": True}
        if self.paper:
            whole = {"img_height": self.ROWS, "img_width": self.COLUMNS, "grayscale": False}
            common.update(whole, frameskip=1, maxpool=False, noop_max=0, use_fire_reset=False)
            rows = self.ROWS - 2 * self.CUT
            self.down = area_weights(rows, self.SIDE)
            self.across = area_weights(self.COLUMNS, self.SIDE).T.copy()
        else:
            common.update(frameskip=4, maxpool=True, noop_max=30, use_fire_reset=True)
        self.common = common
        counts = [min(chunk, copies - first) for first in range(0, copies, chunk)]
        self.groups = [AtariVectorEnv("pong", count, **common) for count in counts]

    def kind(self):
        return {"observations": self.SIDE * self.SIDE, "bytes": 1, "actions": 6, "continuous": 0}

    def film(self, path):
        """The same game once more, in colour."""
        from ale_py.vector_env import AtariVectorEnv

        whole = {"img_height": self.ROWS, "img_width": self.COLUMNS, "grayscale": False}
        self.recorded = Film(path, 60 // self.common["frameskip"])
        self.colour = AtariVectorEnv("pong", 1, **{**self.common, **whole})

    def picture(self, frames):
        self.recorded.add(frames[0, 0])

    def film_step(self, arrays):
        frames, rewards, terminated, truncated, info = self.colour.step(arrays.actions[:1].copy())
        ends = TERMINATED * int(terminated[0]) + TRUNCATED * int(truncated[0])
        if (rewards[0], ends) != (arrays.rewards[0], arrays.ends[0]):
            raise Refused("the game that is filmed went another way")
        self.picture(info["final_obs"] if ends else frames)
        self.recorded.goes_on = not ends

    def groups_of(self, first, last):
        """The vectors of a range, each with its first copy."""
        chunk = self.chunk
        if first % chunk or (last % chunk and last < self.copies):
            raise Refused(f"copies [{first}, {last}): expected whole chunks of {chunk}")
        return [(self.groups[at], at * chunk) for at in range(first // chunk, (last - 1) // chunk + 1)]

    def put(self, rows, first, frames):
        count = len(frames)
        if self.paper:
            grey = frames[:, 0, self.CUT : self.ROWS - self.CUT].mean(axis=3, dtype=numpy.float32)
            frames = numpy.rint(self.down @ grey @ self.across)
        rows[first : first + count] = frames.reshape(count, -1)

    def reset(self, arrays, first, last):
        for group, begin in self.groups_of(first, last):
            frames, _ = group.reset(seed=arrays.seeds[begin : begin + group.num_envs].copy())
            self.put(arrays.observations, begin, frames)
        if first == 0 and self.recorded and self.recorded.goes_on:
            self.picture(self.colour.reset(seed=arrays.seeds[:1].copy())[0])

    def step(self, arrays, first, last):
        groups = self.groups_of(first, last)
        for group, begin in groups:
            group.send(arrays.actions[begin : begin + group.num_envs].copy())
        for group, begin in groups:
            frames, rewards, terminated, truncated, info = group.recv()
            end = begin + group.num_envs
            ends = TERMINATED * terminated.astype(numpy.uint8) + TRUNCATED * truncated.astype(numpy.uint8)
            arrays.rewards[begin:end] = rewards
            arrays.ends[begin:end] = ends
            if ends.any():
                self.put(arrays.starts, begin, frames)
                frames = info["final_obs"]
            self.put(arrays.observations, begin, frames)
        if first == 0 and self.recorded and self.recorded.goes_on:
            self.film_step(arrays)


def watch(connection):
    """Ends the process with the one that started it, whatever the environment is at."""
    poll = select.poll()
    poll.register(connection, 0)
    poll.poll()
    os._exit(1)


def one_line(error):
    text = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:TEXT_MOST].encode()


def serve(connection, environment, arrays):
    commands = {RESET: environment.reset, STEP: environment.step}
    while True:
        packet = connection.recv(HEAD.size + PATH_MOST)
        if not packet:
            return
        begin = time.perf_counter_ns()
        command, first, last, _ = HEAD.unpack(packet[: HEAD.size])
        if command != FILM:
            commands[command](arrays, first, last)
        elif path := os.fsdecode(packet[HEAD.size :]):
            environment.film(path)
        else:
            environment.recorded.write()
        arrays.busy[0] += time.perf_counter_ns() - begin
        connection.send(HEAD.pack(command, first, last, 0))


def main():
    kind, name, arguments = sys.argv[1:4]
    copies, chunk = map(int, sys.argv[4:])
    connection = socket.socket(fileno=SOCKET)
    threading.Thread(target=watch, args=(connection,), daemon=True).start()
    try:
        arguments = json.loads(arguments or "{}")
        environment = Pong(arguments, copies, chunk) if kind == "pong" else Gym(name, arguments, copies)
        described = environment.kind()
        connection.send(HEAD.pack(0, 0, copies, 0) + json.dumps(described).encode())
        packet = connection.recv(HEAD.size + PLACES.size)
        if not packet:
            return
        size, *places = PLACES.unpack(packet[HEAD.size :])
        memory = mmap.mmap(MEMORY, size)
        os.close(MEMORY)
        connection.send(HEAD.pack(MAP, 0, copies, 0))
        serve(connection, environment, Arrays(memory, places, copies, described))
    except Exception as error:  # what an environment may raise is open
        try:
            connection.send(HEAD.pack(0, 0, 0, 1) + one_line(error))
        except OSError:
            pass
        sys.exit(1)


if __name__ == "__main__":
    main()
