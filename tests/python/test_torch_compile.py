"""stpn.torch under torch.compile: a custom operator, the same results, the same gradients."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import largest_error  # noqa: E402  (goes on in .venv)

import torch  # noqa: E402

import stpn.torch as st  # noqa: E402
from stpn.torch import kernel  # noqa: E402


class Model(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.layer, self.read = st.STPN(3, 5, 2, **options), torch.nn.Linear(5, 2)

    def forward(self, x, state=None, lengths=None, reset=None):
        y, state = self.layer(torch.tanh(x), state, lengths=lengths, reset=reset)
        return self.read(y), state


class Compiled(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        torch._dynamo.reset()

    def gradients(self, model, call, x, **named):
        model.zero_grad()
        x = x.clone().requires_grad_()
        y, (h, F) = call(x, **named)
        (y.square().sum() + h.sum() + F[1].sin().sum()).backward()
        return [y, h, *F, x.grad, *[values.grad for values in model.parameters()]]

    def same(self, found, expected):
        for ours, right in zip(found, expected):
            self.assertLessEqual(largest_error(ours.detach(), right.detach()), 1e-5)

    def test_whole_graphs(self):
        model = Model()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for steps in 6, 9:  # the second with sizes that are symbols
            x = torch.randn(steps, 4, 3)
            self.same(self.gradients(model, compiled, x), self.gradients(model, model, x))
        named = {"state": (0.1 * torch.randn(2, 4, 5), (0.1 * torch.randn(4, 5, 8), 0.1 * torch.randn(4, 5, 10))),
                 "lengths": torch.tensor([9, 0, 4, 5]), "reset": torch.rand(9, 4) < 0.2}
        self.same(self.gradients(model, compiled, x, **named), self.gradients(model, model, x, **named))
        with torch.no_grad():
            self.same([compiled(x)[0]], [model(x)[0]])
        self.assertEqual(len(kernel._held), 0)

    def test_inductor(self):
        model, x = Model(), torch.randn(6, 4, 3)
        try:
            compiled = torch.compile(model, fullgraph=True)
            found = self.gradients(model, compiled, x)
        except Exception as problem:  # it needs a C++ compiler of its own
            if "compiler" not in str(problem).lower():
                raise
            self.skipTest(str(problem).splitlines()[0])
        self.same(found, self.gradients(model, model, x))

    def test_exported(self):
        layer, batch = st.STPN(3, 5), torch.export.Dim("B")
        program = torch.export.export(layer, (torch.randn(6, 4, 3),), dynamic_shapes={"x": {1: batch}})
        x = torch.randn(6, 9, 3)
        self.same(program.module()(x)[0], layer(x)[0])

    def test_a_cell_exported(self):
        """The names of its parameters are attributes."""
        cell, x = st.STPNCell(3, 5), torch.randn(4, 3)
        program = torch.export.export(cell, (x,)).module()
        self.same(program(x), cell(x))
        self.assertIs(cell.lambda_, dict(cell.named_parameters())["lambda_"])

    def test_the_operator_keeps_its_promises(self):
        layer = st.STPN(3, 5)
        states = [torch.randn(1, 4, 5, requires_grad=True), torch.randn(1, 4, 5, 8, requires_grad=True)]
        x = torch.randn(6, 4, 3, requires_grad=True)
        torch.library.opcheck(torch.ops.stpn.sequence.default, (
            layer._texts[torch.float32][0], False, True, x, None, None, states, list(layer.parameters())))

    def test_a_lost_ticket_costs_a_forward_pass(self):
        layer, x = st.STPN(3, 5), torch.randn(6, 4, 3, requires_grad=True)
        words = layer._texts[torch.float32][0], False, True, x, None, None, [], list(layer.parameters())
        found = []
        for copies in False, True:
            y, h, F, ticket = torch.ops.stpn.sequence(*words)
            ticket = ticket.clone() if copies else ticket
            dy = torch.ones_like(y)
            found.append(torch.ops.stpn.sequence_backward(*words[:2], ticket, x, None, None, [], words[7], dy, [None, None]))
        for ours, right in zip(*found):
            self.assertTrue(torch.equal(ours, right))

    def test_plain_breaks_the_graph_and_is_right(self):
        model, x = Model(implementation="plain"), torch.randn(6, 4, 3)
        self.same(self.gradients(model, torch.compile(model, backend="aot_eager"), x), self.gradients(model, model, x))

    def test_cells(self):
        cell, x = st.STPNCell(3, 5), torch.randn(4, 2, 3)

        def run(x):
            state = None
            for step in x:
                state = cell(step, state)
            return state[1]
        compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
        found = []
        for call in compiled, run:
            cell.zero_grad()
            call(x).square().sum().backward()
            found.append([values.grad for values in cell.parameters()])
        self.same(*found)


if __name__ == "__main__":
    unittest.main()
