"""torch.autograd.gradcheck of every unit and option, to inputs, states and parameters; plain PyTorch computes the same."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import UNITS  # noqa: E402  (goes on in .venv)

import torch  # noqa: E402

import stpn.torch as st  # noqa: E402
from stpn import library  # noqa: E402

DOUBLE = torch.float64
T, B, I, H = 4, 2, 2, 3


def variants():
    """(unit, options): every unit as it is, every value of every option, and some at once."""
    for unit in UNITS:
        yield unit, {}
        for option in library.OPTIONS[unit]:
            given = "lambda_" if option == "lambda" else option
            if option in library.CHOICES:
                values = list(library.CHOICES[option])
            else:
                values = {"clamp": [0.2], "lambda": [0.6], "gamma": [0.3], "learn": [False], "layer_norm": [True], "bias": [False],
                          "eta": [0.3], "inner_steps": [3]}[option]
            for value in values:
                also = {"learn": False} if unit.startswith("stpn") and option in ("lambda", "gamma") else {}
                refused = (unit, option, value) in {("stpn_f", "plastic", "hidden"), ("stpn_f", "presynaptic", "current"),
                                                    ("modul", "trace", "decay")}
                if not refused and option != "init":
                    yield unit, {given: value, **also}
    for norm in "pre", "post", "output", "none":
        yield "stpn_r", {"norm": norm, "clamp": 0.3, "rule": "oja", "presynaptic": "current", "decay": "prompt", "plastic": "hidden",
                         "granularity": "neuron", "layer_norm": True, "activation": "sigmoid", "bias": False}
        yield "stpn_f", {"norm": norm, "clamp": 0.3, "rule": "oja", "decay": "prompt", "granularity": "scalar"}


class Checked:
    """A layer with random values as a function of inputs, states and parameters."""

    def __init__(self, unit, options, **named):
        self.layer, self.named = st.Layer(unit, I, H, dtype=DOUBLE, **options), named
        layout = self.layer.states
        self.names = [name for name, _ in self.layer.named_parameters()]
        self.masks = [torch.ones(1, B, *shape, dtype=DOUBLE) for shape in layout.shapes[0]]
        plain = self.layer.unit.options.get("plastic", "all")
        if plain != "all":  # what has no plasticity must be 0
            self.masks[layout.names.index("F")][..., slice(I, None) if plain == "input" else slice(0, I)] = 0
        tensors = [torch.randn(T, B, I, dtype=DOUBLE)] + [0.3 * torch.randn_like(mask) for mask in self.masks]
        tensors += [torch.empty_like(values).uniform_(-0.8, 0.8) for values in self.layer.parameters()]
        self.tensors = [tensor.requires_grad_() for tensor in tensors]

    def __call__(self, x, *tensors):
        count, layout = len(self.masks), self.layer.states
        state = layout.pack([tensor * mask for tensor, mask in zip(tensors, self.masks)])
        y, last = torch.func.functional_call(self.layer, dict(zip(self.names, tensors[count:])), (x, state), self.named)
        return (y, *layout.parts(last))


class GradCheck(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)

    def check(self, unit, options, **named):
        checked = Checked(unit, options, **named)
        with self.subTest(unit=unit, **options):
            self.assertTrue(torch.autograd.gradcheck(checked, checked.tensors, eps=1e-6, atol=1e-7, rtol=1e-5))
            both = []
            for implementation in "c", "plain":
                checked.layer.implementation = implementation
                results = checked(*checked.tensors)
                torch.manual_seed(2)
                weights = [torch.randn_like(result) for result in results]
                both.append([*results, *torch.autograd.grad(results, checked.tensors, weights)])
            for ours, plain in zip(*both):
                self.assertLessEqual(float((ours - plain).detach().abs().max()), 1e-11 * max(1, float(plain.detach().abs().max())))

    def test_every_unit_and_option(self):
        count = 0
        for unit, options in variants():
            self.check(unit, options)
            count += 1
        self.assertGreater(count, 60)

    def test_with_lengths_and_resets(self):
        reset = torch.zeros(T, B, dtype=torch.bool)
        reset[2, 0] = reset[1, 1] = reset[3, 1] = True
        for unit in UNITS:
            self.check(unit, {}, lengths=torch.tensor([4, 3]), reset=reset)

    def test_layers_and_dropout(self):
        layer = st.STPN(I, H, num_layers=2, dropout=0.3, dtype=DOUBLE)
        names, values = zip(*[(name, value.detach().clone().requires_grad_()) for name, value in layer.named_parameters()])
        x = torch.randn(T, B, I, dtype=DOUBLE, requires_grad=True)

        def run(x, *values):
            torch.manual_seed(5)
            y, (h, F) = torch.func.functional_call(layer, dict(zip(names, values)), (x,))
            return y, h, *F
        self.assertTrue(torch.autograd.gradcheck(run, (x, *values), eps=1e-6, atol=1e-7))

    def test_cells(self):
        for unit in "stpn_r", "hebbff", "mlp":
            cell = st.Cell(unit, I, H, dtype=DOUBLE)
            states = [(0.3 * torch.randn(B, *shape, dtype=DOUBLE)).requires_grad_() for shape in cell.states.shapes[0]]
            x = torch.randn(B, I, dtype=DOUBLE, requires_grad=True)

            def run(x, *states):
                result = cell(x, states)
                return result if isinstance(result, torch.Tensor) else tuple(
                    part for each in result for part in ([each] if isinstance(each, torch.Tensor) else each))
            self.assertTrue(torch.autograd.gradcheck(run, (x, *states), eps=1e-6, atol=1e-7))

    def test_a_row_of_zeros(self):
        """Where ||G_j|| is 0 everything that divides by it is 0: no NaN, no 1e16."""
        for norm in "pre", "post", "output":
            both = []
            for implementation in "c", "plain":
                layer = st.STPN(I, H, norm=norm, dtype=DOUBLE, implementation=implementation)
                torch.manual_seed(1)
                with torch.no_grad():
                    layer.weight_l0[1] = 0
                    layer.gamma_l0.fill_(0.1)
                    layer.gamma_l0[1] = 0
                    for name in "bias_l0", "lambda_l0":
                        getattr(layer, name).fill_(0.5)
                    layer.weight_l0[0], layer.weight_l0[2] = 0.3, -0.2
                x = torch.ones(T, B, I, dtype=DOUBLE, requires_grad=True)
                y, state = layer(x)
                (y.sum() + state[1].square().sum()).backward()
                both.append([y.detach(), x.grad, *[values.grad for values in layer.parameters()]])
            for ours, plain in zip(*both):
                self.assertLess(float(plain.abs().max()), 1e6)
                self.assertLessEqual(float((ours - plain).abs().max()), 1e-11)


class Memory(unittest.TestCase):
    def test_plain_keeps_no_state_of_every_step(self):
        """Between forward and backward it holds the states of about the root of T steps."""
        layer = st.STPN(2, 8, implementation="plain")
        saved = {}

        def pack(tensor):
            saved[tensor.data_ptr(), tensor.shape] = tensor.numel()
            return tensor
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            layer(torch.randn(400, 1, 2))
        own = sum(values.numel() for values in layer.parameters()) + 400 * 2
        self.assertLessEqual(sum(saved.values()), own + 20 * (8 * 10 + 8))
        self.assertGreaterEqual(sum(saved.values()), 19 * 8 * 10)


if __name__ == "__main__":
    unittest.main()
