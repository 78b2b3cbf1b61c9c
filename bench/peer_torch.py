"""The peers that are PyTorch: stpn_r by hand (eager), under torch.compile a step at a time or as a whole (compile,
compile-whole), its own nn.LSTM, nn.GRU and nn.RNN (lstm, gru, rnn)."""
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
        else:
            sizes = case["inputs"], case["hidden"], case["norm"], case["clamp"]
            model = stpn_torch.compiled_whole(*sizes) if kind == "compile-whole" else stpn_torch.STPN(*sizes)
            if kind == "compile":
                stpn_torch.compiled_steps(model)
        self.model = model.to(self.dtype)

    def draw(self):
        """The case's own size."""
        steps, batch = self.case["steps"], self.case["batch"]
        self.x, self.dy = draw_inputs(self.case, batch, steps, self.dtype), torch.randn(steps, batch, self.case["hidden"])

    def take(self, golden):
        tensors = {name: torch.tensor(values, dtype=torch.float64).reshape(shape).to(self.dtype)
                   for name, (shape, values) in golden.items()}
        self.x, self.dy = tensors["x"], tensors["dy"]
        given = {name[6:]: values for name, values in tensors.items() if name.startswith("param.")}
        if self.kind in recurrent_torch.UNITS:
            recurrent_torch.take_parameters(self.kind, self.model, given)
            return
        with torch.no_grad():
            for name, values in given.items():
                getattr(self.model, NAMES[name]).copy_(values)

    def run(self):
        self.model.zero_grad(set_to_none=True)
        self.y, _ = self.model(self.x)
        self.y.backward(self.dy)

    def results(self):
        """Flat lists by the names of a golden file, after run()."""
        if self.kind in recurrent_torch.UNITS:
            gradients = recurrent_torch.gradients_of(self.kind, self.model)
        else:
            gradients = {name: getattr(self.model, theirs).grad for name, theirs in NAMES.items()}
        found = {"grad.param." + name: values for name, values in gradients.items()}
        found["y"] = self.y.detach()
        return {name: values.flatten().tolist() for name, values in found.items()}


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
