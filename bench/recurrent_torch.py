"""PyTorch's own nn.LSTM, nn.GRU and nn.RNN, with the parameters of ours."""
import torch

UNITS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def states(unit):
    return ["h", "c"] if unit == "lstm" else ["h"]


def parameters_of(unit, model, value):
    """The unit's parameters, or their gradients, from PyTorch's: outside of a GRU the two biases are one sum."""
    matrices = [value(model.weight_ih_l0), value(model.weight_hh_l0)]
    biases = [value(model.bias_ih_l0), value(model.bias_hh_l0)]
    if unit == "gru":
        return dict(zip(["weight_ih", "weight_hh", "bias_ih", "bias_hh"], matrices + biases))
    return {"weight": torch.cat(matrices, 1), "bias": biases}


def take_parameters(unit, model, given):
    """The other way round, from a golden file; the one bias is PyTorch's first, its second is 0."""
    if unit != "gru":
        inputs = model.input_size
        given = {"weight_ih": given["weight"][:, :inputs], "weight_hh": given["weight"][:, inputs:], "bias_ih": given["bias"],
                 "bias_hh": torch.zeros_like(given["bias"])}
    with torch.no_grad():
        for name, values in given.items():
            getattr(model, name + "_l0").copy_(values)


def gradients_of(unit, model):
    gradients = parameters_of(unit, model, lambda p: p.grad)
    if unit != "gru":
        gradients["bias"] = gradients["bias"][0]
    return gradients


def golden(unit, inputs, hidden, x):
    """Tensors of a golden file, by automatic differentiation in double, from a zero state, as it is timed."""
    model = UNITS[unit](inputs, hidden).double()
    names = states(unit)
    first = [torch.zeros(1, x.shape[1], hidden, dtype=x.dtype, requires_grad=True) for _ in names]
    x.requires_grad_()
    y, last = model(x, tuple(first) if unit == "lstm" else first[0])
    last = last if unit == "lstm" else [last]
    dy = torch.randn_like(y)
    y.backward(dy)
    given = parameters_of(unit, model, lambda p: p.detach())
    if unit != "gru":
        given["bias"] = sum(given["bias"])
    before = torch.cat([first[0], y[:-1]]).detach()
    energy = x.detach() ** 2 @ model.weight_ih_l0.abs().sum(0) + before ** 2 @ model.weight_hh_l0.abs().sum(0)
    tensors = {"x": x, "dy": dy, "y": y, "energy": energy, "grad.x": x.grad}
    for name, value, end in zip(names, first, last):
        tensors.update({"state0." + name: value[0], "stateT." + name: end[0], "dstateT." + name: torch.zeros_like(end[0]),
                        "grad.state0." + name: value.grad[0]})
    tensors.update({"param." + name: value for name, value in given.items()})
    tensors.update({"grad.param." + name: value for name, value in gradients_of(unit, model).items()})
    return tensors
