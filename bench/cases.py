"""What is measured: sizes, peers and sweeps. A case is a dictionary that a peer's process is given as it is."""

KINDS = {
    "eager": "PyTorch, eager", "compile": "PyTorch, torch.compile of a step",
    "compile-whole": "PyTorch, torch.compile of all steps",
    "jax": "JAX, jit + scan", "jax-checkpoint": "JAX, the same with checkpoint",
    "layer": "stpn.torch.STPN", "lstm": "PyTorch, nn.LSTM", "gru": "PyTorch, nn.GRU", "rnn": "PyTorch, nn.RNN",
}


def case(name, batch, steps, inputs, hidden, tokens=False, norm="pre", clamp=None, unit="stpn_r", stpn_size=None):
    """`unit` is ours, `stpn_size` what stpn bench calls the size."""
    return {"size": name, "batch": batch, "steps": steps, "inputs": inputs, "hidden": hidden, "tokens": tokens, "norm": norm,
            "clamp": clamp, "unit": unit, "stpn_size": stpn_size or "%d,%d,%d,%d" % (batch, steps, inputs, hidden)}


def synapse_steps(c):
    """B T H K of a recurrent unit."""
    return c["batch"] * c["steps"] * c["hidden"] * (c["inputs"] + c["hidden"])


# Of stpn_r, with the kinds of peer.
PEERS = [
    (case("retrieval", 128, 9, 37, 11, tokens=True, stpn_size="retrieval"),
     ["eager", "compile", "compile-whole", "jax", "jax-checkpoint", "lstm"]),
    (case("maze", 512, 200, 17, 55, stpn_size="maze"), ["eager", "compile", "jax", "jax-checkpoint", "lstm"]),
    (case("maze-post", 512, 200, 17, 55, norm="post", clamp=1.0, stpn_size="maze-post"), ["compile", "jax-checkpoint"]),
]
QUICK_PEERS = [(case("quick", 16, 4, 5, 6, tokens=True), ["eager", "jax", "lstm"])]

# Of the layer for PyTorch, stpn.torch.STPN, in one process with each kind; and sizes at which its own share is measured: next
# to nothing to compute, and retrieval.
LAYER = [(case("retrieval", 128, 9, 37, 11, tokens=True), ["eager", "compile", "compile-whole", "lstm"]),
         (case("maze", 512, 200, 17, 55), ["eager", "compile", "lstm"])]
QUICK_LAYER = [(case("quick", 16, 4, 5, 6, tokens=True), ["eager", "lstm"])]
OVERHEAD = [case("step", 1, 1, 37, 11), LAYER[0][0]]
QUICK_OVERHEAD = [QUICK_LAYER[0][0]]

# Of lstm, gru and rnn beside PyTorch's own; H of each.
RECURRENT_SIZES = [
    ("retrieval", 128, 9, 37, {"lstm": 9, "gru": 11, "rnn": 20}, False),
    ("retrieval-tokens", 128, 9, 37, {"lstm": 9, "gru": 11, "rnn": 20}, True),
    ("maze", 512, 200, 17, {"lstm": 47, "gru": 55, "rnn": 100}, False),
    ("h128", 64, 50, 128, dict.fromkeys(("lstm", "gru", "rnn"), 128), False),
    ("h512", 64, 50, 128, dict.fromkeys(("lstm", "gru", "rnn"), 512), False),
]
RECURRENT = [(case(name, batch, steps, inputs, hidden[unit], tokens, unit=unit), [unit])
             for name, batch, steps, inputs, hidden, tokens in RECURRENT_SIZES for unit in ("lstm", "gru", "rnn")]
QUICK_RECURRENT = [(case("quick", 16, 4, 5, 6, unit=unit), [unit]) for unit in ("lstm", "gru", "rnn")]

# Our kernels: name, size of stpn bench, threads (None: those of the run), every kernel or the one in use.
STPN_SIZES = ["retrieval", "maze", "maze-post"]
LARGE_SIZES = ["128,9,37,11", "16,20,512,256", "16,10,2592,1024"]  # the first: retrieval with normal inputs
STREAM_SIZE = "1,1,37,11"

# Axis, and the values of B, T, I, H along it. Two decades of each; all else stays.
SWEEPS = {
    "B": [(batch, 20, 17, 55) for batch in (16, 32, 64, 128, 256, 512, 1024, 1600)],
    "T": [(32, steps, 17, 55) for steps in (10, 20, 50, 100, 200, 500, 1000)],
    "H": [(16, 10, 1024 - hidden, hidden) for hidden in (10, 16, 32, 64, 128, 256, 512, 1000)],
    "K": [(16, 10, columns - 55, 55) for columns in (64, 128, 256, 512, 1024, 2048, 4096, 6400)],
}
SWEEP_PEERS = ["eager", "compile", "jax-checkpoint"]
QUICK_SWEEPS = {"B": [(16, 4, 5, 6), (32, 4, 5, 6)]}


def sweep_value(axis, shape):
    batch, steps, inputs, hidden = shape
    return {"B": batch, "T": steps, "H": hidden, "K": inputs + hidden}[axis]

# The figure's roofline. Of one synapse and step, counted from the equations: operations (a multiply-add is two; F that is
# rebuilt is not counted again) and bytes between registers and the first-level cache of one sample alone, 4 for each load
# and store of a value (F rebuilt is counted): bench/README.md. Sizes with one-hot inputs have no place in it: most columns
# carry no signal and cost nothing.
WORK = {
    ("pre", "forward"): (10, 4 * (6 + 1)), ("pre", "training"): (31, 4 * (2 * (6 + 1) + 10 + 5)),
    ("post", "forward"): (15, 4 * (6 + 2)), ("post", "training"): (41, 4 * (2 * (6 + 2) + 13 + 6)),
}
ROOFLINE_SIZES = dict({"maze": "pre", "maze-post": "post"}, **dict.fromkeys(LARGE_SIZES, "pre"))
