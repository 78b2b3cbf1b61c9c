"""The peers that are PyTorch: stpn_r by hand (eager), under torch.compile a step at a time or as a whole (compile,
compile-whole), its own nn.LSTM, nn.GRU and nn.RNN (lstm, gru, rnn); and our own layer for it (layer)."""
import statistics
import time

import common
import recurrent_torch
import stpn_torch
import torch

NAMES = {"weight": "weight", "bias": "bias", "lambda": "decay", "gamma": "rate"}  # of stpn_r's parameters: ours, theirs


def draw_inputs(case, batch, steps, dtype):
    if case["tokens"]:
        return torch.nn.functional.one_hot(torch.randint(case["inputs"], (steps, batch)), case["inputs"]).to(dtype)
    return torch.randn(steps, batch, case["inputs"], dtype=dtype)


class Peer:
    """A model with its inputs; run() is one pass."""

    def __init__(self, kind, case, precision="float"):
        torch.manual_seed(0)
        self.kind, self.case, self.dtype = kind, case, torch.float64 if precision == "double" else torch.float32
        if kind in recurrent_torch.UNITS:
            model = recurrent_torch.UNITS[kind](case["inputs"], case["hidden"])
        elif kind == "layer":
            import stpn.torch  # where it is built
            model = stpn.torch.STPN(case["inputs"], case["hidden"], norm=case["norm"], clamp=case["clamp"])
        else:
            sizes = case["inputs"], case["hidden"], case["norm"], case["clamp"]
            model = stpn_torch.compiled_whole(*sizes) if kind == "compile-whole" else stpn_torch.STPN(*sizes)
            if kind == "compile":
                stpn_torch.compiled_steps(model)
        self.model = model.to(self.dtype)
        self.names = {name: name + "_l0" for name in NAMES} if kind == "layer" else NAMES

    def inputs(self, x):
        """One-hot inputs as the peer takes them: the layer as tokens."""
        return x.argmax(2).to(torch.int32) if self.kind == "layer" and self.case["tokens"] else x

    def draw(self):
        """The case's own size."""
        steps, batch = self.case["steps"], self.case["batch"]
        x = draw_inputs(self.case, batch, steps, self.dtype)
        self.x, self.dy = self.inputs(x), torch.randn(steps, batch, self.case["hidden"])

    def take(self, golden):
        tensors = {name: torch.tensor(values, dtype=torch.float64).reshape(shape).to(self.dtype)
                   for name, (shape, values) in golden.items()}
        self.x, self.dy = self.inputs(tensors["x"]), tensors["dy"]
        given = {name[6:]: values for name, values in tensors.items() if name.startswith("param.")}
        if self.kind in recurrent_torch.UNITS:
            recurrent_torch.take_parameters(self.kind, self.model, given)
            return
        with torch.no_grad():
            for name, values in given.items():
                getattr(self.model, self.names[name]).copy_(values)

    def run(self):
        self.model.zero_grad(set_to_none=True)
        self.y, _ = self.model(self.x)
        self.y.backward(self.dy)

    def results(self):
        """Flat lists by the names of a golden file, after run()."""
        if self.kind in recurrent_torch.UNITS:
            gradients = recurrent_torch.gradients_of(self.kind, self.model)
        else:
            gradients = {name: getattr(self.model, theirs).grad for name, theirs in self.names.items()}
        found = {"grad.param." + name: values for name, values in gradients.items()}
        found["y"] = self.y.detach()
        return {name: values.flatten().tolist() for name, values in found.items()}


def turns(kind, case, rounds, seconds, pause, least):
    """Our layer and a peer in this process, in turns."""
    layer, peer = Peer("layer", case), Peer(kind, case)
    for each in layer, peer:
        each.draw()
        each.run()
    return common.take_turns(lambda: common.time_passes(layer.run, seconds, least),
                             lambda: common.time_passes(peer.run, seconds, least), rounds, pause)


def overhead(case, passes):
    """Seconds of the layer's forward and backward, and of the C calls that do the same with memory that is there: parameters in,
    forward from zero, state out; gradient to zero, backward, gradients out. Medians of passes in turns."""
    from stpn.library import NULL, borrowed_pool, ffi, lib
    from stpn.torch import kernel
    from stpn.torch.spec import spec, text_of
    peer = Peer("layer", case)
    peer.draw()
    told = spec(text_of(peer.model.unit, case["inputs"], peer.dtype))
    parameters = list(peer.model.parameters())
    space, y = kernel.WorkSpace(told), torch.empty(case["steps"], case["batch"], case["hidden"])
    space.set_parameters(parameters)
    space.start(case["batch"], ())
    states = [torch.empty(case["batch"], *shape) for shape in told.state_shapes.values()]
    space.forward(case["steps"], peer.x, None, None, True, y, states)
    space.backward(case["steps"], peer.dy, (None,) * len(told.places), None, False, [False] * len(parameters), ())
    values = {each: ffi.cast("void *", each.data_ptr()) for each in (*parameters, y, peer.dy)}
    keep = [torch.empty_like(each) for each in parameters]
    gradients = [ffi.cast("void *", each.data_ptr()) for each in keep]
    net, error, clock = space.net, space.error, time.perf_counter
    times = {"forward": [], "backward": [], "c_forward": [], "c_backward": []}
    with borrowed_pool(space.threads()) as pool:
        for _ in range(passes):
            start = clock()
            for index, each in enumerate(parameters):
                lib.stpn_block_set(net, space.parameters, index, values[each])
            lib.stpn_tape_rewind(space.tape)
            lib.stpn_forward(net, space.state, space.sequence, values[y], NULL, space.tape, pool, error)
            middle = clock()
            ffi.memmove(space.gradient, space.zeros, len(space.zeros))
            lib.stpn_backward(net, space.tape, values[peer.dy], NULL, space.gradient, NULL, pool, error)
            for index, gradient in enumerate(gradients):
                lib.stpn_block_get(net, space.gradient, index, gradient)
            end = clock()
            times["c_forward"].append(middle - start)
            times["c_backward"].append(end - middle)
            peer.model.zero_grad(set_to_none=True)
            start = clock()
            found, state = peer.model(peer.x)
            middle = clock()
            found.backward(peer.dy)
            end = clock()
            times["forward"].append(middle - start)
            times["backward"].append(end - middle)
            del found, state
    return {name: statistics.median(values) for name, values in times.items()}


def stpn_golden(case, x):
    """Automatic differentiation through the eager model in double, from a zero state, as it is timed. Gamma has the size of
    the weights: at its start it is too small to be seen."""
    model = stpn_torch.STPN(case["inputs"], case["hidden"], case["norm"], case["clamp"]).double()
    with torch.no_grad():
        model.rate.mul_(1000)
    batch, columns = x.shape[1], case["inputs"] + case["hidden"]
    h = torch.zeros(batch, case["hidden"], dtype=torch.float64, requires_grad=True)
    F = torch.zeros(batch, case["hidden"], columns, dtype=torch.float64, requires_grad=True)
    x.requires_grad_()
    y, last = model(x, (h, F))
    dy = torch.randn_like(y)
    y.backward(dy)
    tensors = {"x": x, "dy": dy, "y": y, "grad.x": x.grad, "energy": energy(model, x.detach())}
    for name, first, end in ("h", h, last[0]), ("F", F, last[1]):
        tensors.update({"state0." + name: first, "stateT." + name: end, "dstateT." + name: torch.zeros_like(end),
                        "grad.state0." + name: first.grad})
    for name, theirs in NAMES.items():
        values = getattr(model, theirs)
        tensors.update({"param." + name: values, "grad.param." + name: values.grad})
    return tensors


@torch.no_grad()
def energy(model, x):
    """(T, B), docs/energy.md."""
    h, F = x.new_zeros(x.shape[1], model.hidden), x.new_zeros(x.shape[1], *model.weight.shape)
    values = []
    for step in x.unbind():
        z, G = torch.cat([step, h], 1), model.weight + F
        n = torch.linalg.vector_norm(G, dim=2)
        values.append((torch.bmm(G.abs(), (z * z).unsqueeze(2)).squeeze(2) / n).sum(1))
        h, F = model.step(step, h, F)
    return torch.stack(values)


def golden(kind, case):
    """NumPy's tensors of a golden file of the case's batch and steps."""
    torch.manual_seed(1)
    x = draw_inputs(case, case["batch"], case["steps"], torch.float64)
    if kind in recurrent_torch.UNITS:
        tensors = recurrent_torch.golden(kind, case["inputs"], case["hidden"], x)
    else:
        tensors = stpn_golden(case, x)
    return {name: values.detach().numpy() for name, values in tensors.items()}
