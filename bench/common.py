"""What the measurements share: the Python environment, safetensors files, how far two results are apart, stpn bench, rounds
of two in turn, the machine. Imports nothing but Python's own library."""
import array
import json
import math
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENT = os.path.join(ROOT, ".venv-bench")
PYTHON = os.path.join(ENVIRONMENT, "bin", "python")

# Of stpn verify (docs/file-formats.md#golden-files): outputs and states; gradients.
TOLERANCES = {"double": (1e-10, 1e-10), "float": (1e-5, 1e-4)}


def make_environment():
    """.venv-bench as bench/requirements.txt has it; the exit code of what makes it, 0 where it is there."""
    return subprocess.run([os.path.join(ROOT, "scripts", "python-env.sh"), ".venv-bench", "bench/requirements.txt"],
                          stdout=sys.stderr).returncode


def figure_python():
    """A Python that has Matplotlib: of .venv-bench, or of the tree's .venv; None where there is neither."""
    for folder in ENVIRONMENT, os.path.join(ROOT, ".venv"):
        if os.path.exists(os.path.join(folder, "complete")):
            return os.path.join(folder, "bin", "python")
    return None


# ------------------------------------------------------------------------------------------------------------- results

def write_golden(path, tensors, unit, inputs, hidden, batch, steps):
    """Kind `unit` of docs/file-formats.md. `unit` is a dictionary, tensors are NumPy's."""
    metadata = {"kind": "unit", "unit": json.dumps(unit), "inputs": str(inputs), "hidden": str(hidden), "batch": str(batch),
                "steps": str(steps)}
    header, place = {"__metadata__": metadata}, 0
    for name, values in tensors.items():
        size = 8 * values.size
        header[name] = {"dtype": "F64", "shape": list(values.shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(values.astype("<f8").tobytes())


def read_golden(path):
    """Inputs, parameters, outputs and their gradients by name, each a shape and a flat array of doubles; no states."""
    tensors = {}
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        for name, entry in json.loads(file.read(size)).items():
            if name in ("x", "y", "dy") or name.startswith(("param.", "grad.param.")):
                first, last = entry["data_offsets"]
                file.seek(8 + size + first)
                values = array.array("d", file.read(last - first))
                if sys.byteorder == "big":
                    values.byteswap()
                tensors[name] = (tuple(entry["shape"]), values)
    return tensors


def verify(command, path):
    """None where stpn's own results are those of the golden file, else what is wrong."""
    result = subprocess.run([command, "verify", path], capture_output=True, text=True)
    if result.returncode == 0:
        return None
    lines = [" ".join(line.split()) for line in result.stdout.splitlines() if "!" in line]
    return "; ".join(lines) or (result.stdout + result.stderr).strip()


def largest_error(values, expected):
    """The error of stpn verify, of flat lists; infinite where one is not a number or something is missing."""
    if len(values) != len(expected):
        return math.inf
    largest, scale = 0.0, 1e-3
    for value, wanted in zip(values, expected):
        difference = abs(value - wanted)
        if not difference <= largest:
            largest = difference if difference >= 0 else math.inf
        scale = max(scale, abs(wanted))
    return largest / scale


def judge(found, expected, precision):
    """What is wrong with results (flat lists by name), in words, or None. Every expected one must be there."""
    output, gradient = TOLERANCES[precision]
    for name, wanted in expected.items():
        if name not in found:
            return "there is no %s" % name
        error, most = largest_error(found[name], wanted), gradient if name.startswith("grad.") else output
        if not error <= most:
            return "%s in %s is off by %.2g, allowed are %.0e" % (name, precision, error, most)
    return None


# -------------------------------------------------------------------------------------------------------------- timing

class Wrong(Exception):
    """What was to be measured computes other results."""


class Failed(Exception):
    """What was to be measured does not run."""


def run_stpn_bench(command, size, unit="stpn_r", threads=1, tokens=False, every_kernel=False):
    """Rows of stpn bench, which compares a kernel's results before it is timed."""
    words = [command, "bench", "--unit", unit, "--size", size, "--threads", str(threads), "--json"]
    words += ["--tokens"] * tokens + ["--all-kernels"] * every_kernel
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode < 0 or result.returncode == 130:
        raise KeyboardInterrupt
    if result.returncode:
        failure = Wrong if result.returncode == 1 else Failed
        raise failure("%s: %s" % (" ".join(words[1:]), result.stderr.strip()))
    return json.loads(result.stdout)


def seconds_of(row):
    """Median and least of a row of stpn bench."""
    return row["training_seconds"], row["training_seconds_least"]


def take_turns(ours, theirs, rounds, pause):
    """Ours, theirs, ours, theirs, ..., ours; each call gives the median and the least of its passes in seconds. A ratio is
    theirs over the mean of ours just before and just after."""
    def rested(run):
        time.sleep(pause)  # threads of OpenMP go on spinning for a while after a pass
        return run()
    our, their = [rested(ours)], []
    for _ in range(rounds):
        their.append(rested(theirs))
        our.append(rested(ours))
    ratios = [2 * t[0] / (a[0] + b[0]) for t, a, b in zip(their, our, our[1:])]
    return {
        "stpn_seconds": statistics.median(t[0] for t in our), "stpn_seconds_least": min(t[1] for t in our),
        "peer_seconds": statistics.median(t[0] for t in their), "peer_seconds_least": min(t[1] for t in their),
        "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
    }


def time_passes(run, seconds, least):
    """Median and least of at least `least` passes in at least `seconds`."""
    times = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), min(times)


def resident(field):
    """Bytes that /proc says this process has: VmRSS now, VmHWM at most."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) * 1024


# ------------------------------------------------------------------------------------------------------------- machine

def said(*words):
    try:
        result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def versions(python):
    """Of the packages that the peers are, where they are installed."""
    program = "import importlib.metadata as m, json, sys\nfound = {'python': sys.version.split()[0]}\n" \
              "for name in ('torch', 'jax', 'numpy'):\n" \
              "    try: found[name] = m.version(name)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    return json.loads(said(python, "-c", program) or "{}")


def machine(command, python):
    """What the numbers belong to. Nothing here is a date."""
    info = json.loads(said(command, "info", "--json") or "{}")
    commit = said("git", "rev-parse", "--short", "HEAD")
    about = {
        "processor": info.get("processor"), "processors": len(os.sched_getaffinity(0)), "system": info.get("system"),
        "kernel": info.get("kernel"), "commit": commit + (" with changes" if said("git", "status", "--porcelain", "-uno") else ""),
        "stpn": info.get("version"),
    }
    about.update(versions(python))
    about["load_before"] = round(os.getloadavg()[0], 2)
    return about


def name_list(known):
    """The type of an argument that is a list of names."""
    import argparse

    def split(text):
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError("%r is not one of %s" % (word, ", ".join(known)))
        return words
    return split
