"""stpn play: its frames against the rules of the maze and against stpn eval, the GIF read back, what it refuses."""
import fcntl
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import COMMAND, CommandTest, default_signals, environment, read, read_terminal, write  # noqa: E402

HAS_GIF = os.environ.get("STPN_GIF", "1") == "1"
SIZE, STEPS = 7, 60
MAZE = {
    "name": "walker",
    "seed": 3,
    "task": {"name": "maze", "size": SIZE, "steps": STEPS},
    "units": [{"name": "stpn_r", "hidden": 6, "norm": "post", "clamp": 1}],
    "train": {"method": "a2c", "iterations": 2, "batch": 1, "test_iterations": 1},
}
MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
LEFT = 2 * SIZE + 3
SOURCE = r"(?:(?:wall (?:above|below|here|left|right)(?: left| right)?)|zero|one|time|reward|chose \w+|neuron \d+)"


def is_wall(row, column):
    edge = SIZE - 1
    return row in (0, edge) or column in (0, edge) or (row % 2 == 0 and column % 2 == 0 and (row, column) != (edge // 2,) * 2)


class Frame:
    """A frame of text, taken apart."""

    def __init__(self, lines):
        head = re.match(r"step (\d+)/(\d+) +reward (\S+) +(?:(\+\S+) +)?goals (\d+)$", lines[0])
        self.step, self.steps, self.reward, self.gain, self.goals = (
            int(head[1]), int(head[2]), float(head[3]), float(head[4] or 0), int(head[5]))
        cells = [[line.ljust(2 * SIZE)[2 * c:2 * c + 2] for c in range(SIZE)] for line in lines[1:SIZE + 1]]
        places = {cell: (r, c) for r, row in enumerate(cells) for c, cell in enumerate(row)}
        self.agent, self.goal = places.get("@@"), places.get("**")
        if "@*" in places:
            self.agent = self.goal = places["@*"]
        self.walls = {(r, c) for r, row in enumerate(cells) for c, cell in enumerate(row) if cell == "##"}
        self.marks = {(r, c): cell for r, row in enumerate(cells) for c, cell in enumerate(row) if cell in (" o", " .")}
        side = [line[LEFT:] for line in lines[1:]]
        self.value = re.match(r"policy(?: +value (\S+))?$", side[0])[1]
        self.policy, self.action = {}, None
        for line in side[1:5]:
            mark, name, p = re.match(r"(.) (\w+)(?: +([0-9.]+))?", line).groups()
            self.policy[name] = float(p) if p else None
            if mark == ">":
                self.action = name
        self.changes = [re.match(r"(%s) +-> (\d+) +(\S+) +(\S+) ?([+-]*)$" % SOURCE, line) for line in side[7:] if line]
        self.changes = [(m[1], int(m[2]), float(m[3]), float(m[4]), m[5]) for m in self.changes]


def frames_of(text):
    blocks = text.split("\n\n")
    return [Frame(block.splitlines()) for block in blocks[:-1]], blocks[-1]


# ------------------------------------------------------------------------------------------------------- reading a GIF


def unpack(data, bits, count):
    """What LZW packed."""
    clear, end = 1 << bits, (1 << bits) + 1
    table, width, previous, out = {}, bits + 1, None, []
    held = place = 0
    for byte in data:
        held |= byte << place
        place += 8
        while place >= width:
            code, held, place = held & ((1 << width) - 1), held >> width, place - width
            if code == clear:
                table, width, previous = {i: [i] for i in range(clear)}, bits + 1, None
                table[clear] = table[end] = []
                continue
            if code == end:
                assert len(out) == count, (len(out), count)
                return out
            entry = table[code] if code in table else previous + previous[:1]
            out += entry
            if previous is not None and len(table) < 4096:
                table[len(table)] = previous + entry[:1]
                if len(table) == 1 << width and width < 12:
                    width += 1
            previous = entry
    raise AssertionError("no end code")


class Gif:
    """Every frame of an animation as rows of colours; fails on anything that is not as it should be."""

    def __init__(self, data):
        self.data, self.at = data, 0
        assert self.take(6) == b"GIF89a"
        self.width, self.height, flags, _, _ = struct.unpack("<HHBBB", self.take(7))
        assert flags & 0x80
        count = 2 << (flags & 7)
        palette = self.take(3 * count)
        self.palette = [tuple(palette[3 * i:3 * i + 3]) for i in range(count)]
        self.shown = [[None] * self.width for _ in range(self.height)]
        self.frames, self.delays, self.loops = [], [], None
        while True:
            kind = self.take(1)
            if kind == b";":
                break
            {b"!": self.extension, b",": self.image}[kind]()
        assert self.at == len(data), "bytes behind the end"

    def take(self, count):
        assert self.at + count <= len(self.data), "cut short"
        self.at += count
        return self.data[self.at - count:self.at]

    def blocks(self):
        parts = []
        while size := self.take(1)[0]:
            parts.append(self.take(size))
        return parts

    def extension(self):
        kind, parts = self.take(1)[0], self.blocks()
        if kind == 0xFF:
            assert parts[0] == b"NETSCAPE2.0"
            self.loops = struct.unpack("<H", parts[1][1:])[0]
        else:
            assert kind == 0xF9
            self.flags, delay, self.transparent = struct.unpack("<BHB", parts[0])
            self.delays.append(delay)

    def image(self):
        left, top, width, height, flags = struct.unpack("<HHHHB", self.take(9))
        assert flags == 0 and left + width <= self.width and top + height <= self.height
        bits = self.take(1)[0]
        pixels = unpack(b"".join(self.blocks()), bits, width * height)
        for i, pixel in enumerate(pixels):
            if not (self.flags & 1 and pixel == self.transparent):
                self.shown[top + i // width][left + i % width] = pixel
        self.frames.append([row[:] for row in self.shown])
        assert not any(None in row for row in self.shown)

    def colour(self, frame, x, y):
        return self.palette[self.frames[frame][y][x]]


class PlayTest(CommandTest):
    trained = None

    def setUp(self):
        super().setUp()
        self.file = self.write_experiment("maze.json", MAZE)
        if not PlayTest.trained:
            self.train("run", "--quiet")
            PlayTest.trained = {name: read(self.path("run", name)) for name in os.listdir(self.path("run"))}
        self.restore("run")

    def restore(self, folder, *names, seed=None):
        os.makedirs(self.path(folder), exist_ok=True)
        for name in names or self.trained:
            write(self.path(folder, name), self.trained[name])
        if seed is not None:
            resolved = json.loads(self.trained["experiment.json"])
            write(self.path(folder, "experiment.json"), json.dumps(dict(resolved, seed=seed)))

    def tearDown(self):
        """Nothing of the run is touched, nothing is left."""
        self.assertEqual({name: read(self.path("run", name)) for name in os.listdir(self.path("run"))}, self.trained)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".tmp")], [])

    def play(self, *words, **more):
        return self.succeed("play", "run", *words, **more).stdout

    def on_terminal(self, *words, window=(30, 100), stop_after=None, code=0, **env):
        """What a terminal receives; with `stop_after` it is interrupted once so much has come."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *window, 0, 0))
        process = subprocess.Popen([COMMAND, "play", "run", *words], cwd=self.folder, env=environment(**env),
                                   stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, preexec_fn=default_signals)
        self.addCleanup(self.end, process)
        os.close(slave)
        text = b""
        while stop_after and stop_after not in text:
            text += os.read(master, 65536)
        if stop_after:
            process.send_signal(signal.SIGINT)
        text += read_terminal(master)
        process.wait(timeout=60)
        self.assertEqual(process.returncode, code, text)
        return text.decode()


class Frames(PlayTest):
    def test_the_rules_of_the_maze(self):
        """A goal that is found is what the frames say, and nothing else moves the agent but its action."""
        found = 0
        for seed in range(6):
            frames, result = frames_of(self.play("--seed", str(seed)))
            self.assertEqual([frame.step for frame in frames], list(range(STEPS + 1)))
            self.assertEqual(frames[0].agent, (SIZE // 2, SIZE // 2))
            self.assertEqual((frames[0].reward, frames[0].goals, frames[0].action, frames[0].changes), (0, 0, None, []))
            for before, after in zip(frames, frames[1:]):
                self.follow(before, after)
            self.assertEqual(result, "%d steps, reward %g, %d goals\n" % (STEPS, frames[-1].reward, frames[-1].goals))
            found += frames[-1].goals
        self.assertGreater(found, 0)

    def follow(self, before, after):
        self.assertEqual(after.walls, {(r, c) for r in range(SIZE) for c in range(SIZE) if is_wall(r, c)})
        self.assertEqual(after.steps, STEPS)
        if before.goal and after.goal:
            self.assertEqual(before.goal, after.goal)
        row, column = (a + b for a, b in zip(before.agent, MOVES[after.action]))
        target = before.agent if is_wall(row, column) else (row, column)
        if target == after.goal and after.gain:
            self.assertEqual((after.gain, after.goals), (10, before.goals + 1))
            self.assertNotEqual(after.agent, after.goal)
        else:
            self.assertEqual((after.agent, after.gain, after.goals), (target, 0, before.goals))
            if before.agent != target and before.agent != before.goal:
                self.assertEqual(after.marks[before.agent], " o")
        self.assertAlmostEqual(after.reward, before.reward + after.gain)
        self.assertAlmostEqual(sum(after.policy.values()), 1, delta=0.0021)
        self.assertGreater(float(after.value), -1e6)
        self.assertTrue(1 <= len(after.changes) <= 6)
        sizes = [abs(new - old) for _, _, old, new, _ in after.changes]
        for i, (_, neuron, old, new, bar) in enumerate(after.changes):
            self.assertLess(neuron, MAZE["units"][0]["hidden"])
            self.assertLessEqual(sizes[i], sizes[max(i - 1, 0)] + 0.0011)
            if abs(new - old) > 0.001 and bar:
                self.assertEqual(bar[0], "+" if new > old else "-")

    def test_the_way_since_the_goal_and_before(self):
        for seed in range(20):
            frames, _ = frames_of(self.play("--seed", str(seed)))
            hits = [frame for frame in frames if frame.gain]
            if hits:
                break
        self.assertNotIn(" o", hits[0].marks.values())
        self.assertIn(" .", hits[0].marks.values())
        self.assertNotIn(" .", frames[hits[0].step - 1].marks.values())

    def test_eval_says_the_same(self):
        """The first episode of the test, sampled and greedy."""
        rewards = set()
        for seed in range(8):
            self.restore("other", seed=seed)
            for words in ([], ["--greedy"]):
                test = self.document("eval", "other", "--json", "--iterations", "1", *words)["test"]
                for folder, more in (("other", []), ("run", ["--seed", str(seed)])):
                    line = self.succeed("play", folder, "--quiet", *words, *more).stdout
                    self.assertEqual(line, "%d steps, reward %g, %d goals\n" % (STEPS, test["reward"], test["goals"]))
                rewards.add(test["reward"])
        self.assertGreater(len(rewards), 1)

    def test_the_same_seed_gives_the_same_frames(self):
        default = self.play()
        self.assertEqual(default, self.play("--seed", "3"))
        self.assertEqual(default, self.play("--fps", "0", env=environment(NO_COLOR="1")))
        self.assertNotEqual(default, self.play("--seed", "4"))
        self.assertNotIn("\033", default)
        short, result = frames_of(self.play("--steps", "7"))
        self.assertEqual(len(short), 8)
        self.assertTrue(default.startswith("\n\n".join(self.play("--steps", "7").split("\n\n")[:-1])))
        self.assertTrue(result.startswith("7 steps, "))

    def test_greedy_takes_the_most_probable(self):
        frames, _ = frames_of(self.play("--greedy"))
        for frame in frames[1:]:
            self.assertAlmostEqual(frame.policy[frame.action], max(frame.policy.values()), delta=0.0011)
        sampled, _ = frames_of(self.play())
        self.assertTrue(any(frame.policy[frame.action] < max(frame.policy.values()) for frame in sampled[1:]))

    def test_quiet(self):
        self.assertRegex(self.play("--quiet"), r"\A60 steps, reward \d+, \d+ goals\n\Z")

    def test_every_unit(self):
        """With synapses that change, and without; from inputs, from neurons, in a second layer."""
        for units, source in (
                ([{"name": "stpn_f", "hidden": 6}], r"(?!neuron)"),
                ([{"name": "stpn_f", "hidden": 17}], r"(?!neuron)"),
                ([{"name": "hebbff", "hidden": 17}], r"(?!neuron)"),
                ([{"name": "plastic", "hidden": 6}], "neuron"),
                ([{"name": "modul", "hidden": 17}], "neuron"),
                ([{"name": "fast_weights", "hidden": 6}], "neuron"),
                ([{"name": "mlp", "hidden": 5}, {"name": "stpn_f", "hidden": 4}], "units.0 neuron"),
                ([{"name": "lstm", "hidden": 6}], None),
                ([{"name": "rnn", "hidden": 6}], None)):
            with self.subTest(units=units):
                self.file = self.write_experiment("unit.json", dict(MAZE, units=units))
                self.train("unit", "--quiet")
                text = self.succeed("play", "unit", "--steps", "20").stdout
                rows = re.findall(r"(?m)^.{%d}(\S.*?) +-> " % LEFT, text)
                self.assertEqual(bool(rows), source is not None)
                self.assertEqual("synapses that changed most" in text, source is not None)
                for row in rows:
                    self.assertRegex(row, source)
                if HAS_GIF:
                    self.succeed("play", "unit", "--steps", "3", "--gif", "unit.gif")
                    self.assertEqual(len(Gif(read(self.path("unit.gif"))).frames), 4)
                shutil.rmtree(self.path("unit"))

    def test_folders_that_hold_two_files(self):
        for name in ("best.safetensors", "last.safetensors"):
            self.restore("kept", "experiment.json", name)
            words = ["--best"] if name.startswith("best") else []
            self.assertEqual(self.succeed("play", "kept").stdout, self.play(*words))
            self.assertEqual(sorted(os.listdir(self.path("kept"))), sorted(["experiment.json", name]))
            shutil.rmtree(self.path("kept"))


class Terminal(PlayTest):
    def test_frames_are_drawn_in_place(self):
        text = self.on_terminal("--fps", "0", "--steps", "5")
        self.assertEqual(text.count("\033[?25l"), 1)
        self.assertEqual(text.count("\033[?25h"), 1)
        self.assertRegex(text, r"\033\[\?25h5 steps, reward [^\n]*\r\n\Z")
        frames = re.split(r"\033\[\d+A\r", text.replace("\r\n", "\n"))
        self.assertEqual(len(frames), 6)
        ups = [int(n) for n in re.findall(r"\033\[(\d+)A", text)]
        self.assertEqual([frame.split("\033[J")[0].count("\n") for frame in frames[:-1]], ups)
        self.assertIn("\033[0;38;5;240;48;5;240m##", text)
        plain = re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", "\n".join(frame.split("\033[J")[0] + "\n" for frame in frames))
        self.assertEqual([line.rstrip() for line in plain.strip().split("\n") if line],
                         [line for line in self.play("--steps", "5").split("\n")[:-2] if line])

    def test_no_color(self):
        text = self.on_terminal("--fps", "0", "--steps", "5", NO_COLOR="1")
        self.assertNotRegex(text, r"\033\[[0-9;]*m")
        self.assertIn("\033[?25h", text)
        dumb = self.on_terminal("--fps", "0", "--steps", "5", TERM="dumb")
        self.assertEqual(dumb.replace("\r\n", "\n"), self.play("--steps", "5"))

    def test_a_small_terminal(self):
        text = self.on_terminal("--fps", "0", "--steps", "5", window=(6, 40))
        for line in re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n")[:-2]:
            self.assertLess(len(line), 40)
        self.assertEqual({int(n) for n in re.findall(r"\033\[(\d+)A", text)}, {5})

    def test_an_interrupt_gives_the_terminal_back(self):
        text = self.on_terminal("--fps", "1", stop_after=b"policy", code=130)
        self.assertRegex(text, r"\033\[\?25hstpn: stopped after step \d+\r\n\Z")
        self.assertNotIn("\033", text[text.rindex("\033[?25h") + 6:])


class Refusals(PlayTest):
    def test_wrong_use(self):
        for words, says in (
                (["--steps", "61"], "--steps is 61, expected at most the 60 steps"),
                (["--steps", "0"], "expected an integer from 1"),
                (["--fps", "51"], "expected an integer from 0 to 50"),
                (["--seed", "-1"], "expected an integer from 0"),
                (["--sed", "1"], "the nearest is --seed"),
                (["--gif"], "--gif needs a value")):
            with self.subTest(words=words):
                self.refuse(2, "play", "run", *words, says=says)
        self.refuse(2, "play", says="RUN is missing")

    def test_what_is_no_agent(self):
        self.refuse(2, "play", "nowhere", says="is no folder of a run")
        os.mkdir(self.path("empty"))
        self.refuse(2, "play", "empty", says="is no run")
        self.restore("bare", "experiment.json")
        self.refuse(2, "play", "bare", says="best.safetensors")
        self.restore("last", "experiment.json", "last.safetensors")
        self.refuse(2, "play", "last", "--best", says="best.safetensors")
        write(self.path("last", "last.safetensors"), self.trained["last.safetensors"][:-9])
        self.refuse(2, "play", "last", says="last.safetensors")
        retrieval = {"name": "small", "task": {"name": "retrieval", "train": 32, "validation": 4, "test": 4},
                     "units": [{"name": "stpn_r", "hidden": 5}], "train": {"epochs": 1, "batch": 32}}
        self.file = self.write_experiment("retrieval.json", retrieval)
        self.train("supervised", "--quiet")
        self.refuse(2, "play", "supervised", says=["retrieval has no agent", "stpn trace"])


@unittest.skipIf(HAS_GIF, "this build has giflib")
class WithoutGif(PlayTest):
    def test_it_says_what_is_missing(self):
        self.refuse(2, "play", "run", "--gif", "walk.gif", says="install libgif-dev")


@unittest.skipUnless(HAS_GIF, "this build has no giflib")
class Animation(PlayTest):
    def gif(self, *words):
        out = self.play(*words, "--gif", "walk.gif")
        self.assertRegex(out, r"\A\d+ steps, reward \S+, \d+ goals: walk\.gif\n\Z")
        return Gif(read(self.path("walk.gif")))

    def test_it_shows_what_the_text_shows(self):
        for words in (["--seed", "1"], ["--seed", "5", "--steps", "12", "--fps", "20"]):
            gif = self.gif(*words)
            frames, _ = frames_of(self.play(*words))
            steps = frames[-1].step
            self.assertEqual(len(gif.frames), steps + 1)
            self.assertEqual(gif.loops, 0)
            self.assertEqual(gif.delays, [5 if "--fps" in words else 12] * steps + [200])
            cell = 208 // SIZE
            wall, seen = gif.colour(0, 16 + cell // 2, 40 + cell // 2), set()
            for i, frame in enumerate(frames):
                middle = {(r, c): gif.colour(i, 16 + c * cell + cell // 2, 40 + r * cell + cell // 2)
                          for r in range(SIZE) for c in range(SIZE)}
                self.assertEqual({at for at, colour in middle.items() if colour == wall}, frame.walls)
                seen.add(middle[frame.agent])
                alike = [at for at, colour in middle.items() if colour == middle[frame.agent]]
                self.assertEqual(alike, [frame.agent])
                if frame.goal and frame.goal != frame.agent:
                    self.assertEqual([at for at, c in middle.items() if c == middle[frame.goal]], [frame.goal])
            self.assertEqual(len(seen), 1)

    def test_the_heat_map_moves(self):
        """Before the first step no synapse has a fast component; then they differ, and change."""
        gif = self.gif()
        left, dot = 16 + 208 + 24, 320 // 23
        maps = [[row[left:left + 17 * dot] for row in frame[40:40 + 6 * dot]] for frame in gif.frames]
        self.assertEqual(len({pixel for row in maps[0] for pixel in row}), 1)
        self.assertGreater(len({pixel for row in maps[-1] for pixel in row}), 5)
        self.assertEqual(len({str(m) for m in maps}), len(maps))

    def test_the_same_bytes_each_time(self):
        self.gif()
        first = read(self.path("walk.gif"))
        self.gif()
        self.assertEqual(read(self.path("walk.gif")), first)

    def test_only_gifs_are_replaced(self):
        write(self.path("mine"), "my notes")
        self.refuse(2, "play", "run", "--gif", "mine", says="mine: is there and is no GIF")
        self.assertEqual(read(self.path("mine")), b"my notes")
        self.refuse(2, "play", "run", "--gif", "run/last.safetensors", says="is no GIF")
        os.mkdir(self.path("folder"))
        self.refuse(2, "play", "run", "--gif", "folder", says="is no GIF")
        self.refuse(2, "play", "run", "--gif=", says="--gif is empty")
        self.refuse(2, "play", "run", "--video", "walk.gif", says="maze has no pictures for --video")

    def test_where_it_cannot_be_written(self):
        self.refuse(3, "play", "run", "--gif", "nowhere/walk.gif", says="nowhere/walk.gif")

    def test_a_full_disk(self):
        """A limit on the size of files: what stood there stays."""
        self.gif("--steps", "3")
        before = read(self.path("walk.gif"))
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
        result = self.run_command("play", "run", "--gif", "walk.gif", preexec_fn=limit)
        self.assert_refused(result, 3, "walk.gif")
        self.assertEqual(read(self.path("walk.gif")), before)


if __name__ == "__main__":
    unittest.main()
