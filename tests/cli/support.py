"""What the tests of the command share: running it, small experiments, safetensors files from Python."""
import fcntl
import glob
import json
import os
import pty
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = os.environ.get("STPN_COMMAND") or os.path.join(SOURCE, "build", "stpn")
GOLDEN = os.path.join(SOURCE, "tests", "golden")
COMMANDS = ["train", "eval", "compare", "reproduce", "sweep", "verify", "bench", "info", "inspect", "trace", "play", "export", "help"]

# Under a sanitizer a run takes ten times as long: a fourth of the sequences is still enough to meet it at work.
SHARE = 4 if os.environ.get("STPN_TEST_FLAGS") else 1
# Some tenths of a second, so that a signal finds it at work.
EXPERIMENT = {
    "name": "small",
    "seed": 3,
    "task": {"name": "retrieval", "pairs": 3, "train": 2048 // SHARE, "validation": 128, "test": 96},
    "units": [{"name": "stpn_r", "hidden": 11}],
    "train": {"epochs": 30, "batch": 32, "shuffle": True, "learning_rate": 0.003},
}
# A few hundredths.
QUICK = ["--set", "task.train=128", "--set", "train.epochs=3"]


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("STPN_KERNEL", "COLUMNS", "NO_COLOR", "TERM")}
    kept.update({"TERM": "xterm", **changes})
    return kept


def default_signals():
    """A shell may have started the tests with signals ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def kernels():
    return json.loads(subprocess.run([COMMAND, "info", "--json"], env=environment(), capture_output=True,
                                     check=True).stdout)["kernels"]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    return path


def read_tensors(path):
    """A safetensors file as its header and its data."""
    data = read(path)
    length, = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + length]), data[8 + length:]


def write_tensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return write(path, struct.pack("<Q", len(text)) + text + data)


def read_terminal(master, look=None):
    """What a terminal receives until nobody writes to it any more; closes it. look(text so far) sees every part."""
    text = b""
    try:
        while chunk := os.read(master, 65536):
            text += chunk
            if look:
                look(text.decode(errors="replace"))
    except OSError:
        pass
    os.close(master)
    return text


class CommandTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="stpn-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.file = self.write_experiment("experiment file.json", EXPERIMENT)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write_experiment(self, name, content):
        return write(self.path(name), json.dumps(content))

    def run_command(self, *words, env=None, timeout=300, **more):
        return subprocess.run([COMMAND, *words], env=env or environment(), cwd=self.folder, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL, stdout=more.pop("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, **more)

    def start(self, *words, env=None):
        process = subprocess.Popen([COMMAND, *words], env=env or environment(), cwd=self.folder, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=default_signals)
        self.addCleanup(self.end, process)
        return process

    def terminal(self, *words, window=None, until=None, **env):
        """What a terminal of (rows, columns) receives on standard error, line by line as it is redrawn: to the command's
        end, or with `until` to a Ctrl-C that follows once until(text) holds."""
        master, slave = pty.openpty()
        if window:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *window, 0, 0))
        process = subprocess.Popen([COMMAND, *words], cwd=self.folder, env=environment(**env),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                                   preexec_fn=default_signals)
        self.addCleanup(self.end, process)
        os.close(slave)
        interrupted = []

        def look(text):
            if until and not interrupted and until(text):
                interrupted.append(True)
                process.send_signal(signal.SIGINT)

        text = read_terminal(master, look)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130 if until else 0, text)
        return text.decode()

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    def succeed(self, *words, **more):
        result = self.run_command(*words, **more)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def document(self, *words, **more):
        """One JSON document and nothing else."""
        return json.loads(self.succeed(*words, **more).stdout)

    def refuse(self, code, *words, says=(), **more):
        """It exits with `code` after one line that says what is wrong."""
        result = self.run_command(*words, **more)
        self.assert_refused(result, code, says)
        return result

    def assert_refused(self, result, code, says):
        self.assertIn(result.returncode, code if isinstance(code, tuple) else (code,), result.stderr)
        self.assertRegex(result.stderr, r"\Astpn: [^\n]+\n\Z")
        for part in [says] if isinstance(says, str) else says:
            self.assertIn(part, result.stderr)

    def train(self, out, *words, **more):
        return self.succeed("train", self.file, "--out", out, *words, **more)

    def summary(self, *names):
        return json.loads(read(self.path(*names, "summary.json")))

    def assert_resumes_after_a_signal(self, *words):
        """A run in an environment, interrupted once it can be."""
        self.train("whole", *words)
        messages = self.interrupted_run("run", *words)
        self.assertRegex(messages, r"stopped (after iteration \d+|in the test), saved; go on with: ")
        self.succeed("eval", "run")
        self.train("run", *words, "--resume", "--threads", "2")
        self.assert_same_run("whole", "run")
        self.assertEqual(self.summary("whole")["test"], self.summary("run")["test"])

    def assert_resumes_after_kills(self, runs):
        """Runs in an environment, each killed at one or three random moments."""
        seed = int(os.environ.get("STPN_TEST_SEED") or random.SystemRandom().randrange(2 ** 32))
        print("STPN_TEST_SEED=%d" % seed, file=sys.stderr)
        draw = random.Random(seed)
        begin = time.monotonic()
        self.train("whole")
        taken = time.monotonic() - begin
        for run in range(runs):
            out = "run%d" % run
            for _ in range(draw.choice([1, 1, 3])):
                process = self.start("train", self.file, "--out", out, "--resume")
                time.sleep(draw.uniform(0, taken))
                process.kill()
                process.communicate()
                if os.path.exists(self.path(out, "last.safetensors")):
                    self.succeed("eval", out, "--iterations", "1")
            self.train(out, "--resume")
            self.assert_same_run("whole", out)
            self.assert_no_traces(out)

    def wait_for(self, pattern, process, seconds=60):
        """Until a file is there that the pattern fits."""
        limit = time.monotonic() + seconds
        while not glob.glob(self.path(pattern)):
            if process.poll() is not None:
                self.fail("it ended early: %s" % process.communicate()[1])
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.002)

    def interrupt(self, out, pattern, *words, env=None, number=signal.SIGINT):
        """Sends a signal once a file is there that the pattern fits; the process and its two outputs. On a busy machine it
        may end first: then it runs again, from nothing."""
        for _ in range(10):
            process = self.start(*words, env=env)
            self.wait_for(pattern, process)
            process.send_signal(number)
            output, messages = process.communicate(timeout=60)
            if process.returncode != 0:
                break
            shutil.rmtree(self.path(out))
        return process, output, messages

    def interrupted_run(self, out, *words, env=None, number=signal.SIGINT):
        """A run that was stopped by a signal after its first epoch; its standard error."""
        process, _, messages = self.interrupt(out, os.path.join(out, "best.safetensors"), "train", self.file, "--out", out,
                                              *words, env=env, number=number)
        self.assertEqual(process.returncode, 130, messages)
        self.assertFalse(os.path.exists(self.path(out, "summary.json")))
        return messages

    def assert_same_run(self, one, other):
        """The same bytes, and the same metrics but for the clock."""
        for name in ("last.safetensors", "best.safetensors"):
            self.assertEqual(read(self.path(one, name)), read(self.path(other, name)), name)
        rows = [[line.split(",")[:-2] for line in read(self.path(folder, "metrics.csv")).decode().splitlines()]
                for folder in (one, other)]
        self.assertEqual(rows[0], rows[1])

    def assert_no_traces(self, folder):
        self.assertEqual([name for name in os.listdir(self.path(folder)) if name.endswith(".tmp")], [])


def options_of(help_text):
    return [name for name in re.findall(r"^  (--[a-z-]+)", help_text, re.MULTILINE) if name != "--help"]
