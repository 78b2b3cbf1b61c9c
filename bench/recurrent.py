#!/usr/bin/env python3
"""Training with lstm, gru and rnn beside PyTorch's nn.LSTM, nn.GRU and nn.RNN: the same sizes, the same run, both on the
same number of threads. See bench/README.md.

Each unit is first held against PyTorch's own numbers in double at its size (`stpn verify`); what is wrong is not timed.
A pass is forward over all steps and backward from a gradient at every output to the parameters."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENT = os.path.join(ROOT, ".venv-bench")


def enter_environment():
    """Goes on with the Python of .venv-bench, which is made where it is missing."""
    if os.path.realpath(sys.prefix) == os.path.realpath(ENVIRONMENT):
        return
    made = subprocess.run([os.path.join(ROOT, "scripts", "python-env.sh"), ".venv-bench", "bench/requirements.txt"])
    if made.returncode:
        sys.exit(made.returncode)
    python = os.path.join(ENVIRONMENT, "bin", "python")
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


enter_environment()

import numpy  # noqa: E402
import torch  # noqa: E402

UNITS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}

# Name, B, T, I, H of each unit, whether inputs are one-hot.
SIZES = [
    ("retrieval", 128, 9, 37, {"lstm": 9, "gru": 11, "rnn": 20}, False),
    ("retrieval-tokens", 128, 9, 37, {"lstm": 9, "gru": 11, "rnn": 20}, True),
    ("maze", 512, 200, 17, {"lstm": 47, "gru": 55, "rnn": 100}, False),
    ("h128", 64, 50, 128, dict.fromkeys(UNITS, 128), False),
    ("h512", 64, 50, 128, dict.fromkeys(UNITS, 512), False),
]

# The check's samples and steps at most: more than two chunks of samples and two blocks of steps, with a rest of both.
CHECK_BATCH, CHECK_STEPS = 37, 19


class Case:
    def __init__(self, unit, size):
        self.unit = unit
        self.size, self.batch, self.steps, self.inputs, hidden, self.tokens = size
        self.hidden = hidden[unit]

    def shape(self):
        return "%d,%d,%d,%d" % (self.batch, self.steps, self.inputs, self.hidden)


def draw_inputs(case, batch, steps, dtype):
    if case.tokens:
        return torch.nn.functional.one_hot(torch.randint(case.inputs, (steps, batch)), case.inputs).to(dtype)
    return torch.randn(steps, batch, case.inputs, dtype=dtype)


# --------------------------------------------------------------------------------------------------------------- check

def write_safetensors(path, tensors, metadata):
    header, place = {"__metadata__": metadata}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F64", "shape": list(values.shape), "data_offsets": [place, place + values.nbytes]}
        place += values.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(numpy.ascontiguousarray(values, dtype="<f8").tobytes())


def parameters_of(unit, model, value):
    """The unit's parameters, or their gradients, from PyTorch's: outside of a GRU the two biases are one sum."""
    matrices = [value(model.weight_ih_l0), value(model.weight_hh_l0)]
    biases = [value(model.bias_ih_l0), value(model.bias_hh_l0)]
    if unit == "gru":
        return dict(zip(["weight_ih", "weight_hh", "bias_ih", "bias_hh"], matrices + biases))
    return {"weight": torch.cat(matrices, 1), "bias": biases}


def golden_tensors(case, batch, steps):
    """Kind `unit` of docs/file-formats.md, by PyTorch's automatic differentiation in double."""
    torch.manual_seed(0)
    model = UNITS[case.unit](case.inputs, case.hidden).double()
    names = ["h", "c"] if case.unit == "lstm" else ["h"]
    x = draw_inputs(case, batch, steps, torch.float64).requires_grad_()
    first = [torch.randn(1, batch, case.hidden, dtype=torch.float64).mul(0.5).requires_grad_() for _ in names]
    y, last = model(x, tuple(first) if case.unit == "lstm" else first[0])
    last = last if case.unit == "lstm" else [last]
    dy, dlast = torch.randn_like(y), [torch.randn_like(value) for value in last]
    torch.autograd.backward([y, *last], [dy, *dlast])
    given = parameters_of(case.unit, model, lambda p: p.detach())
    gradients = parameters_of(case.unit, model, lambda p: p.grad)
    if case.unit != "gru":
        given["bias"], gradients["bias"] = sum(given["bias"]), gradients["bias"][0]
    before = torch.cat([first[0], y[:-1]]).detach()
    energy = (x.detach() ** 2 @ model.weight_ih_l0.abs().sum(0) + before ** 2 @ model.weight_hh_l0.abs().sum(0)).detach()
    tensors = {"x": x, "dy": dy, "y": y, "energy": energy, "grad.x": x.grad}
    for name, value, end, dend in zip(names, first, last, dlast):
        tensors.update({"state0." + name: value[0], "stateT." + name: end[0], "dstateT." + name: dend[0],
                        "grad.state0." + name: value.grad[0]})
    tensors.update({"param." + name: value for name, value in given.items()})
    tensors.update({"grad.param." + name: value for name, value in gradients.items()})
    return {name: value.detach().numpy() for name, value in tensors.items()}


def check(case, options):
    """None where stpn agrees with PyTorch, else what is wrong."""
    batch, steps = min(case.batch, CHECK_BATCH), min(case.steps, CHECK_STEPS)
    metadata = {"kind": "unit", "unit": json.dumps({"unit": case.unit}), "inputs": case.inputs, "hidden": case.hidden,
                "batch": batch, "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "%s-%s.safetensors" % (case.unit, case.size))
        write_safetensors(path, golden_tensors(case, batch, steps), {key: str(word) for key, word in metadata.items()})
        result = subprocess.run([options.stpn, "verify", path], capture_output=True, text=True)
    return None if result.returncode == 0 else (result.stdout + result.stderr).strip()


# -------------------------------------------------------------------------------------------------------------- timing

class Peer:
    """One pass of PyTorch."""

    def __init__(self, case):
        torch.manual_seed(0)
        self.model = UNITS[case.unit](case.inputs, case.hidden)
        self.x = draw_inputs(case, case.batch, case.steps, torch.float32)
        self.dy = torch.randn(case.steps, case.batch, case.hidden)

    def train(self):
        self.model.zero_grad(set_to_none=True)
        y, _ = self.model(self.x)
        y.backward(self.dy)

    def measure(self, seconds):
        """Median and least of the passes of a round."""
        self.train()
        times = []
        while len(times) < 3 or sum(times) < seconds:
            start = time.perf_counter()
            self.train()
            times.append(time.perf_counter() - start)
        return statistics.median(times), min(times)


def measure_ours(case, options):
    """The same of `stpn bench`, and its peak of memory."""
    words = [options.stpn, "bench", "--unit", case.unit, "--size", case.shape(), "--threads", str(options.threads), "--json"]
    result = subprocess.run(words + (["--tokens"] if case.tokens else []), capture_output=True, text=True)
    if result.returncode:
        sys.exit("%s failed: %s" % (" ".join(words), result.stderr.strip()))
    row = json.loads(result.stdout)[0]
    return (row["training_seconds"], row["training_seconds_least"]), row["peak_bytes"]


def resident_peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def peer_peak(case, options):
    """Growth of the largest resident size, in a process of its own; what importing PyTorch takes is not in it."""
    words = [sys.executable, os.path.abspath(__file__), "--threads", str(options.threads), "--peak", case.unit, case.size]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def print_peak(case):
    before = resident_peak()
    peer = Peer(case)
    for _ in range(2):
        peer.train()
    print(resident_peak() - before)


def measure(case, options):
    peer, ours, theirs = Peer(case), [], []
    peak = 0

    def run_ours():
        nonlocal peak
        # OpenMP's threads go on spinning for a while after PyTorch's last pass.
        time.sleep(options.pause)
        times, peak = measure_ours(case, options)
        ours.append(times)

    def run_theirs():
        time.sleep(options.pause)
        theirs.append(peer.measure(options.seconds))

    for index in range(options.rounds):
        # Who begins changes from round to round.
        for run in (run_ours, run_theirs) if index % 2 == 0 else (run_theirs, run_ours):
            run()
    ratios = [their[0] / our[0] for our, their in zip(ours, theirs)]
    return {
        "unit": case.unit, "size": case.size, "batch": case.batch, "steps": case.steps, "inputs": case.inputs,
        "hidden": case.hidden, "tokens": case.tokens, "checked": True,
        "stpn_seconds": statistics.median(t[0] for t in ours), "stpn_seconds_least": min(t[1] for t in ours),
        "torch_seconds": statistics.median(t[0] for t in theirs), "torch_seconds_least": min(t[1] for t in theirs),
        "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
        "stpn_peak_bytes": peak, "torch_peak_bytes": peer_peak(case, options),
    }


# -------------------------------------------------------------------------------------------------------------- report

def machine(options):
    def said(*words):
        result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
        return result.stdout.strip() if result.returncode == 0 else ""
    info = json.loads(said(options.stpn, "info", "--json") or "{}")
    commit = said("git", "rev-parse", "--short", "HEAD")
    with open("/proc/cpuinfo") as lines:
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": processor, "processors": os.cpu_count(), "kernel": info.get("kernel"),
        "threads": options.threads, "rounds": options.rounds,
        "commit": commit + (" with changes" if said("git", "status", "--porcelain", "-uno") else ""),
        "stpn": info.get("version"), "torch": torch.__version__, "numpy": numpy.__version__,
        "python": sys.version.split()[0], "load_before": os.getloadavg()[0],
    }


HEADING = """\
| unit | size | B, T, I, H | stpn ms | least | PyTorch ms | least | PyTorch / stpn | lowest to highest | stpn MB | PyTorch MB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def print_row(row):
    print("| %s | %s | %d, %d, %d, %d | %.3f | %.3f | %.3f | %.3f | **%.2f** | %.2f to %.2f | %.1f | %.1f |" % (
        row["unit"], row["size"], row["batch"], row["steps"], row["inputs"], row["hidden"],
        1e3 * row["stpn_seconds"], 1e3 * row["stpn_seconds_least"], 1e3 * row["torch_seconds"],
        1e3 * row["torch_seconds_least"], row["ratio"], row["ratio_least"], row["ratio_most"],
        row["stpn_peak_bytes"] / 1e6, row["torch_peak_bytes"] / 1e6), flush=True)


def parse():
    def names(known):
        def split(text):
            words = text.split(",")
            for word in words:
                if word not in known:
                    raise argparse.ArgumentTypeError("%r is not one of %s" % (word, ", ".join(known)))
            return words
        return split

    sizes = [size[0] for size in SIZES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=names(UNITS), default=list(UNITS), metavar="NAME,...", help=", ".join(UNITS))
    parser.add_argument("--sizes", type=names(sizes), default=sizes, metavar="NAME,...", help=", ".join(sizes))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="of stpn and PyTorch in turn (default 7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="PyTorch's passes of a round, at least (default 0.5)")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds before each measurement (default 0.3)")
    parser.add_argument("--stpn", default=os.path.join(ROOT, "build", "stpn"), help="the command (default build/stpn)")
    parser.add_argument("--check-only", action="store_true", help="compares results, measures nothing")
    parser.add_argument("--json", action="store_true", help="prints one JSON document and nothing else")
    parser.add_argument("--peak", nargs=2, metavar=("UNIT", "SIZE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    by_name = {size[0]: size for size in SIZES}
    if options.peak:
        print_peak(Case(options.peak[0], by_name[options.peak[1]]))
        return 0
    if not os.access(options.stpn, os.X_OK):
        print("there is no %s: run make first" % options.stpn, file=sys.stderr)
        return 2
    about, rows, failed = machine(options), [], 0
    if about["load_before"] > 0.5 and not options.check_only:
        print("the machine is busy (load %.1f): these times mean little" % about["load_before"], file=sys.stderr)
    if not options.json and not options.check_only:
        print(", ".join("%s %s" % pair for pair in about.items()), HEADING, sep="\n\n", flush=True)
    for name in options.sizes:
        for unit in options.units:
            case = Case(unit, by_name[name])
            print("%s %s" % (unit, name), file=sys.stderr, flush=True)
            wrong = check(case, options)
            if wrong:
                failed += 1
                print("%s %s differs from PyTorch and is not measured:\n%s" % (unit, name, wrong), file=sys.stderr)
                rows.append({"unit": unit, "size": name, "checked": False})
            elif options.check_only:
                rows.append({"unit": unit, "size": name, "checked": True})
            else:
                rows.append(measure(case, options))
                if not options.json:
                    print_row(rows[-1])
    if options.json:
        print(json.dumps({"machine": about, "rows": rows}, indent=2))
    elif options.check_only:
        print("%d of %d agree with PyTorch" % (len(rows) - failed, len(rows)))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
