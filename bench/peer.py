"""A peer in a process of its own, run by bench.py: peer.py KIND THREADS CASE ACTION ARGUMENT... CASE is a JSON object; messages
are lines of JSON.

golden FILE    writes the kind's results in double (kind eager, lstm, gru or rnn)
check FILE     says what of its results, in double and in float, is not what FILE has
turns ROUNDS SECONDS PAUSE LEAST    stpn.torch.STPN and the kind in turns, in this process
overhead PASSES                     of kind layer: its forward and backward, and the C calls that do the same
serve          one pass that warms up; then a line "SECONDS LEAST" of the input asks for at least so many passes in at least
               so many seconds, and gets their median and least; at the end of the input, the peak of memory

STPN_BENCH_SPOIL=KIND makes that kind's results wrong, for the tests of the refusal."""
import json
import os
import shutil
import sys

import common


def spoiled(kind):
    return 1.01 if os.environ.get("STPN_BENCH_SPOIL") == kind else 1


def load(kind, threads):
    """The module of the kind; ImportError says what is missing."""
    if kind.startswith("compile") and not shutil.which(os.environ.get("CXX", "g++")):
        raise ImportError("torch.compile needs a C++ compiler")
    if kind.startswith("jax"):
        import peer_jax as peers
    else:
        import peer_torch as peers
        import torch
        if kind == "layer":
            import stpn.torch  # noqa: F401  before memory is looked at
        torch.set_num_threads(threads)
    return peers


def write_golden(peers, kind, case, path):
    tensors = peers.golden(kind, case)
    tensors["y"] = spoiled(kind) * tensors["y"]
    unit = {"unit": kind}
    if kind == "eager":
        unit = {"unit": "stpn_r", "norm": case["norm"], "clamp": case["clamp"] or 0}
    common.write_golden(path, tensors, unit, case["inputs"], case["hidden"], case["batch"], case["steps"])


def check(peers, kind, case, path):
    golden = common.read_golden(path)
    expected = {name: list(values) for name, (_, values) in golden.items() if name == "y" or name.startswith("grad.param.")}
    for precision in "float", "double":
        peer = peers.Peer(kind, case, precision)
        peer.take(golden)
        peer.run()
        found = peer.results()
        found["y"] = [spoiled(kind) * value for value in found["y"]]
        wrong = common.judge(found, expected, precision)
        if wrong:
            return wrong
    return None


def serve(peers, kind, case, say):
    before = common.resident("VmHWM")
    peer = peers.Peer(kind, case)
    peer.draw()
    peer.run()
    say({"ready": True})
    for line in sys.stdin:
        seconds, least = line.split()
        say(common.time_passes(peer.run, float(seconds), int(least)))
    say({"peak_bytes": common.resident("VmHWM") - before})


def main():
    # What libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message):
        print(json.dumps(message), file=answers, flush=True)

    kind, threads, case, action, *rest = sys.argv[1:]
    case = json.loads(case)
    try:
        peers = load(kind, int(threads))
    except ImportError as error:
        say({"missing": str(error)})
        return
    if action == "golden":
        write_golden(peers, kind, case, rest[0])
        say({"written": True})
    elif action == "check":
        say({"wrong": check(peers, kind, case, rest[0])})
    elif action == "turns":
        rounds, seconds, pause, least = rest
        say(peers.turns(kind, case, int(rounds), float(seconds), float(pause), int(least)))
    elif action == "overhead":
        say(peers.overhead(case, int(rest[0])))
    else:
        serve(peers, kind, case, say)


if __name__ == "__main__":
    main()
