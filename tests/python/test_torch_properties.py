"""Whatever a layer of stpn.torch is given, it answers right or says what is wrong."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import UNITS, largest_error  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from hypothesis import given, settings, strategies  # noqa: E402

import stpn  # noqa: E402
import stpn.torch as st  # noqa: E402

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")
TYPES = [torch.float32, torch.float64, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bool, torch.complex64]


@strategies.composite
def inputs(draw, inputs_=3):
    """A tensor (T, B, 3) of any layout, and its values in one piece."""
    T, B, seed = draw(strategies.integers(0, 5)), draw(strategies.integers(0, 4)), draw(strategies.integers(0, 999))
    whole = torch.randn(2 * T, 2 * B, 2 * inputs_, generator=torch.Generator().manual_seed(seed))
    layout = draw(strategies.sampled_from(["plain", "strided", "transposed", "permuted", "expanded", "read-only", "offset"]))
    x = {"plain": lambda: whole[:T, :B, :inputs_].contiguous(), "strided": lambda: whole[::2, ::2, ::2],
         "transposed": lambda: whole[:T, :B, :inputs_].transpose(0, 1).contiguous().transpose(0, 1),
         "permuted": lambda: whole[:T, :B, :inputs_].permute(2, 0, 1).contiguous().permute(1, 2, 0),
         "expanded": lambda: whole[:1, :B, :inputs_].expand(T if T and len(whole) else 0, B, inputs_) if T else whole[:0, :B, :inputs_],
         "read-only": lambda: torch.from_numpy(np.lib.stride_tricks.as_strided(
             whole[:T, :B, :inputs_].contiguous().numpy(), writeable=True)),
         "offset": lambda: whole.flatten()[1:1 + T * B * inputs_].view(T, B, inputs_) if T * B else whole[:T, :B, :inputs_]}[layout]()
    return x, x.clone(memory_format=torch.contiguous_format)


class Properties(unittest.TestCase):
    @given(inputs(), strategies.sampled_from(UNITS), strategies.booleans(), strategies.booleans(), strategies.integers(1, 2))
    def test_both_implementations_and_numpy_agree(self, pair, unit, with_lengths, with_reset, layers):
        x, meant = pair
        T, B = x.shape[:2]
        torch.manual_seed(0)
        layer = st.Layer(unit, 3, 4, layers)
        lengths = torch.arange(B) % (T + 1) if with_lengths else None
        reset = torch.arange(T * B).reshape(T, B) % 3 == 0 if with_reset else None
        found = []
        for implementation, own in ("c", x), ("plain", meant):
            layer.implementation = implementation
            own = own.detach().requires_grad_()
            layer.zero_grad()
            y, state = layer(own, lengths=lengths, reset=reset)
            self.assertEqual(y.shape, (T, B, 4))
            again, _ = layer(own, layer.detach_state(state))
            (y.square().sum() + again.sum()).backward()
            found.append([y, again, own.grad, *[values.grad for values in layer.parameters()]])
        for ours, plain in zip(*found):
            self.assertLessEqual(largest_error(ours.detach(), plain.detach()), 1e-3)
        net = stpn.Net(3, [stpn.Unit(unit, 4)] * layers)
        for index in range(layers):
            net.parameters.update({f"units.{index}.{name}": getattr(layer, own).detach().numpy()
                                   for name, own in layer.parameter_names(index).items()})
        y = net.forward(x.numpy(), lengths=None if lengths is None else lengths.numpy(), reset=None if reset is None else reset.numpy())
        self.assertLessEqual(largest_error(y, found[0][0].detach()), 1e-5)

    @given(strategies.lists(strategies.integers(0, 4), max_size=4), strategies.sampled_from(TYPES), strategies.sampled_from(TYPES),
           strategies.lists(strategies.integers(0, 5), max_size=3))
    def test_anything_is_an_answer_or_an_error(self, shape, kind, other, second):
        layer, cell = st.STPN(3, 4), st.STPNCell(3, 4)
        x, more, good = torch.zeros(shape, dtype=kind), torch.zeros(second, dtype=other), torch.zeros(2, 2, 3)
        for call in (lambda: layer(x), lambda: cell(x), lambda: layer(good, x), lambda: layer(good, (x, more)),
                     lambda: cell(good[0], (x, more)), lambda: layer(good, reset=x), lambda: layer(good, lengths=x),
                     lambda: layer.double()(x), lambda: st.Layer("hebbff", 3, 4, 2)(good, (x, more))):
            try:
                call()
            except (TypeError, ValueError, RuntimeError, IndexError) as problem:
                self.assertTrue(str(problem))
            layer.float()

    @given(inputs(), strategies.integers(0, 4))
    def test_sequences_may_be_cut_anywhere(self, pair, cut):
        x, layer = pair[0], st.STPN(3, 4)
        whole, last = layer(x)
        first, state = layer(x[:cut])
        second, state = layer(x[cut:], state)
        self.assertLessEqual(largest_error(torch.cat([first, second]).detach(), whole.detach()), 1e-5)
        for ours, right in zip(state, last):
            self.assertLessEqual(largest_error(ours.detach(), right.detach()), 1e-5)


if __name__ == "__main__":
    unittest.main()
