"""Peers from outside: whether their results are right, then their time in turns with ours, and their memory."""
import contextlib
import json
import os
import subprocess
import tempfile

import common

# What is checked in place of a case: at its I and H more than one chunk of samples and a rest (few samples where a state is
# large), and a small size.
REAL, LARGE, LARGE_STATE = {"batch": 19, "steps": 9}, {"batch": 2, "steps": 9}, 100000
SMALL = {"batch": 5, "steps": 6, "inputs": 5, "hidden": 4, "tokens": False}


class Missing(Exception):
    """What the peer needs is not installed."""


def words(kind, case, threads, *action):
    program = os.path.join(common.ROOT, "bench", "peer.py")
    return [common.PYTHON, program, kind, str(threads), json.dumps(case), *action]


def environment(threads):
    """The package of the build folder, for the layer, is found where PYTHONPATH leads."""
    return dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONDONTWRITEBYTECODE="1", TF_CPP_MIN_LOG_LEVEL="2")


def heard(process, line, kind):
    """A message of a peer's process, or why there is none."""
    if not line:
        code = process.wait()
        raise common.Failed("%s was ended by signal %d" % (kind, -code) if code < 0 else "%s failed, exit code %d" % (kind, code))
    message = json.loads(line)
    if isinstance(message, dict) and "missing" in message:
        raise Missing(message["missing"])
    return message


def ask(kind, case, threads, *action):
    with subprocess.Popen(words(kind, case, threads, *action), stdout=subprocess.PIPE, text=True,
                          env=environment(threads)) as process:
        return heard(process, process.stdout.readline(), kind)


class Checker:
    """Compares ours and the peers with golden files, each once: outputs and gradients, at a small size and at the case's I
    and H."""

    def __init__(self, command, threads):
        self.command, self.threads = command, threads
        self.folder = tempfile.TemporaryDirectory()
        self.goldens, self.answers = {}, {}

    def close(self):
        self.folder.cleanup()

    @staticmethod
    def key(kind, case):
        """The writer of the golden file and what else tells it from others."""
        writer = kind if kind in ("lstm", "gru", "rnn") else "eager"
        return writer, *(case[name] for name in ("batch", "steps", "inputs", "hidden", "tokens", "norm"))

    def golden(self, kind, case):
        """The path of a golden file, and None or what stpn has to say against it."""
        key = self.key(kind, case)
        if key not in self.goldens:
            path = os.path.join(self.folder.name, "%d.safetensors" % len(self.goldens))
            ask(key[0], case, self.threads, "golden", path)
            self.goldens[key] = path, common.verify(self.command, path)
        return self.goldens[key]

    def check(self, kind, case):
        """Raises Wrong where something differs."""
        large = case["hidden"] * (case["inputs"] + case["hidden"]) > LARGE_STATE
        for sized in dict(case, **SMALL), dict(case, **(LARGE if large else REAL)):
            key = kind, self.key(kind, sized)
            if key not in self.answers:
                path, differs = self.golden(kind, sized)
                self.answers[key] = differs and "stpn and PyTorch in double differ: " + differs
                if not differs:
                    self.answers[key] = ask(kind, sized, self.threads, "check", path)["wrong"]
            if self.answers[key]:
                raise common.Wrong("%s beside %s: %s" % (case["size"], kind, self.answers[key]))


class Timed:
    """A peer's process that makes passes on demand."""

    def __init__(self, kind, case, threads):
        self.kind = kind
        self.process = subprocess.Popen(words(kind, case, threads, "serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment(threads))

    def __enter__(self):
        self.hear()
        return self

    def hear(self):
        return heard(self.process, self.process.stdout.readline(), self.kind)

    def passes(self, seconds, least):
        """Median and least, in seconds."""
        with contextlib.suppress(BrokenPipeError):
            print(seconds, least, file=self.process.stdin, flush=True)
        return self.hear()

    def peak(self):
        self.process.stdin.close()
        return self.hear()["peak_bytes"]

    def __exit__(self, *what):
        if what[0]:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def describe(kind, case):
    row = {key: case[key] for key in ("size", "unit", "batch", "steps", "inputs", "hidden", "tokens", "norm")}
    return dict(row, peer=kind)


def measured(row, run):
    """The row with what run() found, or with why there is none: `wrong`, `failed`, `missing`."""
    try:
        return dict(row, **run())
    except Missing as missing:
        return dict(row, missing=str(missing))
    except common.Wrong as wrong:
        return dict(row, wrong=str(wrong))
    except common.Failed as failed:
        return dict(row, failed=str(failed))


def compare(checker, kind, case, options):
    """A row: the peer and ours in turns."""
    def run():
        checker.check(kind, case)
        if options.check_only:
            return {"right": True}
        peak = 0

        def ours():
            nonlocal peak
            row = common.run_stpn_bench(options.stpn, case["stpn_size"], case["unit"], options.threads,
                                        case["tokens"] and "," in case["stpn_size"])[0]
            peak = row["peak_bytes"]
            return common.seconds_of(row)

        with Timed(kind, case, options.threads) as peer:
            least = 1 if options.rounds > 1 else 3
            row = common.take_turns(ours, lambda: peer.passes(options.seconds, least), options.rounds, options.pause)
            return dict(row, right=True, stpn_peak_bytes=peak, peer_peak_bytes=peer.peak())
    return measured(dict(describe(kind, case), threads=options.threads), run)


def compare_layer(checker, kind, case, options):
    """A row: stpn.torch.STPN and the peer in turns in one process, the memory of each in one of its own."""
    def run():
        checker.check("layer", case)
        checker.check(kind, case)
        if options.check_only:
            return {"right": True}
        row = ask(kind, case, options.threads, "turns", str(options.rounds), str(options.seconds), str(options.pause),
                  "1" if options.rounds > 1 else "3")
        for name, who in ("stpn_peak_bytes", "layer"), ("peer_peak_bytes", kind):
            with Timed(who, case, options.threads) as peer:
                peer.passes(0, 2)
                row[name] = peer.peak()
        return dict(row, right=True)
    return measured(dict(describe(kind, case), threads=options.threads, unit="STPN"), run)


def overhead(checker, case, options):
    """A row: what a call of the layer takes beyond the C calls that do the same, on one thread."""
    def run():
        checker.check("layer", case)
        return dict(ask("layer", case, 1, "overhead", "20" if options.quick else "3000"), right=True)
    return measured(dict(describe("layer", case), threads=1), run)


def once(checker, kind, case, threads, seconds):
    """A row of the peer alone."""
    def run():
        checker.check(kind, case)
        with Timed(kind, case, threads) as peer:
            median, least = peer.passes(seconds, 5)
            return {"right": True, "peer_seconds": median, "peer_seconds_least": least, "peer_peak_bytes": peer.peak()}
    return measured(dict(describe(kind, case), threads=threads), run)
