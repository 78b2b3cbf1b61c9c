"""stpn.torch: golden files, nn.LSTM's conventions, states, what is refused."""
import copy
import gc
import io
import os
import pickle
import sys
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import UNITS, golden_files, largest_error  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import stpn.torch as st  # noqa: E402
from stpn.torch import kernel  # noqa: E402
from stpn.torch.spec import spec  # noqa: E402

CLASSES = {"stpn_r": st.STPN, "stpn_f": st.STPNF, "rnn": st.RNN, "lstm": st.LSTM, "gru": st.GRU, "mlp": st.MLP,
           "fast_weights": st.FastWeights, "plastic": st.Plastic, "modplast": st.ModPlast, "modul": st.Modul, "hebbff": st.HebbFF}


def work_spaces(layer, dtype=torch.float32):
    return spec(layer._texts[dtype][0]).idle


class TorchTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def refuses(self, kind, says, call, *arguments, **named):
        with self.assertRaisesRegex(kind, says):
            call(*arguments, **named)

    def same(self, found, expected, most=0.0):
        self.assertEqual(found.shape, expected.shape)
        self.assertLessEqual(largest_error(found.detach(), expected.detach()), most)


class GoldenFiles(TorchTest):
    def check(self, golden, dtype, implementation, tolerance, gradient_tolerance):
        options = {"lambda_" if name == "lambda" else name: value for name, value in golden.options.items()}
        layer = CLASSES[golden.unit](golden.inputs, golden.hidden, dtype=dtype, implementation=implementation, **options)
        tensor = {name: torch.tensor(values).to(dtype) for name, values in golden.tensors.items()}
        with torch.no_grad():
            for name in golden.part("param."):
                getattr(layer, name + "_l0").copy_(tensor["param." + name])
        x = tensor["x"].requires_grad_()
        states = [tensor["state0." + name].unsqueeze(0).requires_grad_() for name in layer.states.names]
        y, last = layer(x, layer.states.pack(states))
        last = layer.states.parts(last)
        ends = [tensor["dstateT." + name].unsqueeze(0) for name in layer.states.names]
        torch.autograd.backward([y, *last], [tensor["dy"], *ends])
        found = {"y": (y, tolerance), "grad.x": (x.grad, gradient_tolerance)}
        for name, state, end in zip(layer.states.names, states, last):
            found["stateT." + name] = end[0], tolerance
            found["grad.state0." + name] = state.grad[0], gradient_tolerance
        for name in golden.part("param."):
            found["grad.param." + name] = getattr(layer, name + "_l0").grad, gradient_tolerance
        for name, (values, most) in found.items():
            self.assertLessEqual(largest_error(values.detach(), golden[name]), most, (golden.name, name, dtype, implementation))

    def test_golden_files(self):
        for golden in golden_files():
            for implementation in "c", "plain":
                self.check(golden, torch.float64, implementation, 1e-10, 1e-10)
                self.check(golden, torch.float32, implementation, 1e-5, 1e-4)


class Conventions(TorchTest):
    def test_where_a_lstm_stood(self):
        """Same call, same shapes: batched or not, batch first or not, one layer or two, state given or not."""
        for layers in 1, 2:
            for batch_first in False, True:
                ours = st.STPN(3, 5, layers, batch_first=batch_first)
                lstm = torch.nn.LSTM(3, 5, layers, batch_first=batch_first)
                for x in torch.randn(4, 6, 3), torch.randn(4, 3):
                    y, (h, F) = ours(x)
                    y1, (h1, _) = lstm(x)
                    self.assertEqual((y.shape, h.shape), (y1.shape, h1.shape))
                    self.same(ours(x, (h, F))[1][0], ours(x, (h, F))[1][0])
                    self.same(y[:, -1] if batch_first and x.dim() == 3 else y[-1], h[-1])
                    self.assertEqual(len(F), layers)
                self.assertEqual((ours.flatten_parameters(), ours.bidirectional), (lstm.flatten_parameters(), lstm.bidirectional))

    def test_the_state_by_the_name_that_nn_has(self):
        x, packed = torch.randn(4, 2, 3), pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
        for layer, each in (st.STPN(3, 5), x), (st.GRU(3, 5), x), (st.STPN(3, 5), packed), (st.STPNCell(3, 5), x[0]):
            state = layer(each)[1] if isinstance(layer, st.Layer) else layer(each)
            found = layer(each, hx=state)[0].data
            self.same(found, layer(each, state)[0].data)
            self.assertFalse(torch.equal(found, layer(each)[0].data))
            self.refuses(TypeError, "state and hx are given, expected one of them", layer, each, state, hx=state)

    def test_what_breaks_a_script_is_told(self):
        """What the page about nn.LSTM says of what is other than there."""
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        self.refuses(TypeError, "positional arguments", st.STPN, 3, 5, 1, True)
        self.assertFalse([name for name in ("bias", "proj_size", "mode", "all_weights") if hasattr(layer, name)])
        self.assertIs(layer.unit.options["bias"], True)
        self.assertEqual(layer(x.byte())[0].dtype, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            self.assertEqual(layer(x)[0].dtype, torch.float32)
            if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # else PyTorch's own fails
                self.assertEqual(torch.nn.LSTM(3, 5)(x)[0].dtype, torch.bfloat16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated
            self.refuses(Exception, "keyword-only", torch.jit.script, layer)

    def test_our_lstm_and_gru_compute_what_pytorch_does(self):
        x = torch.randn(4, 6, 3)
        ours, theirs = st.LSTM(3, 5, 2), torch.nn.LSTM(3, 5, 2)
        with torch.no_grad():
            for layer in range(2):
                weights = [getattr(theirs, f"weight_{kind}_l{layer}") for kind in ("ih", "hh")]
                getattr(ours, f"weight_l{layer}").copy_(torch.cat(weights, 1))
                getattr(ours, f"bias_l{layer}").copy_(getattr(theirs, f"bias_ih_l{layer}") + getattr(theirs, f"bias_hh_l{layer}"))
        for found, expected in zip((ours(x)[0], *ours(x)[1]), (theirs(x)[0], *theirs(x)[1])):
            self.same(found, expected, 1e-5)
        ours, theirs = st.GRU(3, 5), torch.nn.GRU(3, 5)
        ours.load_state_dict(theirs.state_dict())
        self.same(ours(x)[0], theirs(x)[0], 1e-5)
        self.same(ours(x)[1], theirs(x)[1], 1e-5)

    def test_parameters(self):
        layer = st.STPN(3, 5, num_layers=2, granularity="neuron", layer_norm=True)
        shapes = {name: tuple(values.shape) for name, values in layer.named_parameters()}
        self.assertEqual(shapes, {
            "weight_l0": (5, 8), "bias_l0": (5,), "lambda_l0": (5,), "gamma_l0": (5,), "ln_weight_l0": (5,), "ln_bias_l0": (5,),
            "weight_l1": (5, 10), "bias_l1": (5,), "lambda_l1": (5,), "gamma_l1": (5,), "ln_weight_l1": (5,), "ln_bias_l1": (5,)})
        self.assertEqual(list(st.STPN(3, 5, bias=False, learn=False).state_dict()), ["weight_l0"])
        torch.manual_seed(3)
        first = st.STPN(3, 5).state_dict()
        torch.manual_seed(3)
        again = st.STPN(3, 5)
        for name, values in again.state_dict().items():
            self.same(values, first[name])
        again.reset_parameters()
        self.assertFalse(torch.equal(again.weight_l0, first["weight_l0"]))
        self.assertLessEqual(float(again.weight_l0.detach().abs().max()), 5**-0.5)

    def test_what_is_shown(self):
        self.assertEqual(repr(st.STPN(3, 5, 2, bias=False, learn=False, gamma=0.5)),
                         "STPN(3, 5, num_layers=2, bias=False, learn=False, gamma=0.5)")
        self.assertEqual(repr(st.STPN(3, 5, bias=np.bool_(True), layer_norm=np.bool_(True))), "STPN(3, 5, layer_norm=True)")

    def test_names_of_the_states(self):
        names = {unit: CLASSES[unit](3, 5).states.names for unit in UNITS}
        self.assertEqual(names, {
            "stpn_r": ["h", "F"], "stpn_f": ["F"], "rnn": ["h"], "lstm": ["h", "c"], "gru": ["h"], "mlp": [],
            "fast_weights": ["h", "A"], "plastic": ["h", "E"], "modplast": ["h", "E"], "modul": ["h", "E", "T"], "hebbff": ["A"]})
        for unit in UNITS:
            for layers in 1, 2:
                layer = CLASSES[unit](3, 5, layers)
                x = torch.randn(4, 6, 3)
                y, state = layer(x)
                whole = layer(torch.cat([x, x]))[0]
                self.same(torch.cat([y, layer(x, state)[0]]), whole, 1e-5)

    def test_inputs_of_other_types(self):
        layer, tokens = st.STPN(5, 4), torch.randint(5, (6, 3))
        expected = layer(torch.nn.functional.one_hot(tokens, 5).float())[0]
        for implementation in "c", "plain":
            layer.implementation = implementation
            self.same(layer(tokens)[0], expected, 1e-6)
            self.same(layer(tokens.int())[0], expected, 1e-6)
            self.same(layer(tokens[:, 0])[0], expected[:, 0], 1e-6)
            bytes_ = torch.randint(256, (6, 3, 5), dtype=torch.uint8)
            self.same(layer(bytes_)[0], layer(bytes_.float())[0], 1e-6)
            layer(tokens)[0].sum().backward()
            self.refuses(ValueError, "expected 0 to 4", layer, tokens + 1 + 2**33)
            self.refuses(ValueError, "expected 0 to 4", layer, tokens - 5)
            self.refuses(ValueError, "-7|-6|-5", layer, tokens % 3 - 7)  # what was given, not something else
            self.refuses(ValueError, "taken for tokens: expected 2, or 1", layer, torch.nn.functional.one_hot(tokens, 5))

    def test_packed_sequences(self):
        for layers in 1, 2:
            layer, lengths = st.STPN(3, 5, layers), [2, 6, 4, 6]
            sequences = [torch.randn(length, 3) for length in lengths]
            _, start = layer(torch.randn(3, 4, 3))
            packed = pack_sequence(sequences, enforce_sorted=False)
            for state in None, start:
                y, (h, F) = layer(packed, state)
                padded, told = pad_packed_sequence(y)
                self.assertEqual(told.tolist(), lengths)
                for b, sequence in enumerate(sequences):
                    own = None if state is None else layer.select_samples(state, torch.tensor([b]))
                    one, (h1, F1) = layer(sequence.unsqueeze(1), own)
                    self.same(padded[:lengths[b], b], one[:, 0])
                    self.same(h[:, b], h1[:, 0])
                    for f, f1 in zip(F, F1):
                        self.same(f[b], f1[0])
        lstm = torch.nn.LSTM(3, 5)(packed)[0]
        self.assertTrue(torch.equal(lstm.sorted_indices, y.sorted_indices) and torch.equal(lstm.batch_sizes, y.batch_sizes))
        self.refuses(ValueError, "own lengths", layer, packed, lengths=lengths)
        in_order = pack_sequence(sorted(sequences, key=len, reverse=True))
        for layers in 1, 2:
            layer = st.STPN(3, 5, layers)
            for batch in 3, 5:
                _, state = layer(torch.randn(3, batch, 3))
                for each in packed, in_order:
                    self.refuses(ValueError, f"h of the state is of {batch} samples, expected 4", layer, each, state)
        self.refuses(ValueError, "h of the state has 2 dimensions, expected 3", layer, packed, layer(torch.randn(3, 3))[1])

    def test_lengths_and_resets(self):
        x, lengths = torch.randn(6, 3, 3), torch.tensor([6, 0, 4])
        reset = torch.zeros(6, 3, dtype=torch.bool)
        reset[3, 0] = reset[2, 2] = True
        for unit in UNITS:
            layer = CLASSES[unit](3, 5)
            for implementation in "c", "plain":
                layer.implementation = implementation
                _, start = layer(torch.randn(2, 3, 3))
                y, last = layer(x, start, lengths=lengths, reset=reset)
                first = CLASSES[unit](3, 5, batch_first=True, implementation=implementation)
                first.load_state_dict(layer.state_dict())
                self.same(first(x.transpose(0, 1), start, lengths=lengths, reset=reset.T)[0].transpose(0, 1), y)
                self.same(y[3:, 0], layer(x[3:, :1])[0][:, 0], 1e-5)
                self.same(y[2:4, 2], layer(x[2:4, 2:])[0][:, 0], 1e-5)
                self.assertFalse(y[4:, 2].any() or y[:, 1].any())
                for before, after in zip(layer.states.parts(start), layer.states.parts(last)):
                    self.same(after[:, 1], before[:, 1])

    def test_states_are_carried_detached_reset(self):
        layer = st.STPN(3, 5, num_layers=2)
        y, state = layer(torch.randn(4, 3, 3))
        self.assertTrue(all(part.requires_grad for part in (state[0], *state[1])))
        state = layer.detach_state(state)
        self.assertFalse(any(part.requires_grad for part in (state[0], *state[1])))
        self.assertIsNone(layer.reset_state(layer.detach_state(None), [True, False]))
        self.refuses(ValueError, r"mask has shape \(2,\), expected \(3,\)", layer.reset_state, state, [True, False])
        for one in layer, st.STPN(3, 5):
            alone = one(torch.randn(4, 3))[1]
            for mask in [True], [True] * 5:  # five neurons are not five samples
                self.refuses(ValueError, "h of the state has 2 dimensions, expected 3: a batch", one.reset_state, alone, mask)
            self.refuses(ValueError, "h of the state has 2 dimensions", one.select_samples, alone, torch.tensor([0]))
        h, F = layer.reset_state(state, torch.tensor([0, 1, 0]))
        for after, before, at in [(h, state[0], 1), *zip(F, state[1], (0, 0))]:
            self.assertFalse(after.select(at, 1).any())
            self.assertTrue(torch.equal(after.select(at, 2), before.select(at, 2)) and after.select(at, 2).any())

    def test_dropout_is_between_layers_in_training(self):
        layer = st.STPN(3, 50, num_layers=2, dropout=0.5)
        x, seen = torch.randn(4, 3, 3), []
        layer._run, run = lambda *words: (seen.append(words[2]), run(*words))[1], layer._run
        layer(x)
        self.assertTrue(seen[0] is x)
        share = float((seen[1] == 0).float().mean())
        self.assertTrue(0.3 < share < 0.7, share)
        layer.eval()
        self.assertFalse((layer(x), seen[-1])[1].eq(0).any())
        class Mine(st.GRU):
            pass
        for make in st.STPN, st.GRU, Mine, lambda *sizes, **named: st.Layer("lstm", *sizes, **named):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                make(3, 5, dropout=0.5)
            self.assertIn("between layers", str(told[0].message))
            self.assertEqual(told[0].filename, __file__)

    def test_cells(self):
        self.assertEqual(repr(st.STPNCell(3, 5, norm="post", learn=False, lambda_=0.5)),
                         "STPNCell(3, 5, norm='post', learn=False, lambda_=0.5)")
        for unit in UNITS:
            for implementation in "c", "plain":
                layer, cell = CLASSES[unit](3, 5), st.Cell(unit, 3, 5, implementation=implementation)
                names = zip(cell.parameter_names().values(), layer.parameter_names().values())
                cell.load_state_dict({own: layer.get_parameter(theirs) for own, theirs in names})
                x, state, outputs = torch.randn(4, 2, 3), None, []
                for step in x:
                    result = cell(step, state)
                    y, state = (result if isinstance(result, torch.Tensor) else result[0], result) if "h" in layer.states.names else result
                    outputs.append(y)
                whole = layer(x)[0]
                self.same(torch.stack(outputs), whole, 1e-5)
                torch.stack(outputs).square().sum().backward()
                whole.square().sum().backward()
                for name, values in cell.named_parameters():
                    self.same(values.grad, getattr(layer, name.rstrip("_") + "_l0").grad, 1e-4)
                one, many = cell(x[0, 0]), cell(x[0])
                state, batch = (one, many) if "h" in layer.states.names else (one[1], many[1])
                for part, whole in zip(*[(each,) if isinstance(each, torch.Tensor) else each for each in (state, batch)]):
                    self.same(part, whole[0], 1e-5)
        h, F = st.STPNCell(3, 5)(torch.randn(2, 3))
        self.assertEqual((h.shape, F.shape), ((2, 5), (2, 5, 8)))
        self.refuses(ValueError, "state must be tensors: h, F", st.STPNCell(3, 5), torch.randn(2, 3), h)

    def test_types_and_devices(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        expected = layer(x)[0]
        self.same(layer.double()(x.double())[0], expected.double(), 1e-5)
        self.refuses(TypeError, "x is torch.float32, the parameters are torch.float64", layer, x)
        self.refuses(TypeError, "float16", layer.half(), x.half())
        self.refuses(TypeError, "float16", st.STPN, 3, 5, dtype=torch.float16)
        with torch.autocast("cpu", torch.bfloat16):
            layer = st.STPN(3, 5)
            self.assertEqual(layer(torch.nn.Linear(3, 3)(x))[0].dtype, torch.float32)
        for unit in UNITS:
            plain = st.Layer(unit, 3, 5, implementation="plain")
            whole = plain(x)[0]
            with torch.autocast("cpu", torch.bfloat16):
                self.same(plain(x)[0], whole, 0)
        layer = st.STPN(3, 5)
        torch.set_default_device("meta")  # C writes into memory that is there
        try:
            layer(x)[0].sum().backward()
            self.assertFalse(st.STPN(3, 5, device="cpu").weight_l0.is_meta)
        finally:
            torch.set_default_device(None)
        self.assertTrue(layer.weight_l0.grad.abs().sum() > 0)
        meta = st.STPN(3, 5, device="meta")
        y, (h, F) = meta(x.to("meta"))
        self.assertEqual((y.shape, h.shape, F.shape), ((4, 2, 5), (1, 2, 5), (1, 2, 5, 8)))
        meta.implementation = "c"
        self.refuses(RuntimeError, "runs on the CPU", meta, x.to("meta"))


class Gradients(TorchTest):
    def gradients(self, layer, x, **named):
        layer.zero_grad()
        layer(x, **named)[0].square().sum().backward()
        return [values.grad.clone() for values in layer.parameters()]

    def test_in_place_changes_after_forward_do_no_harm(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        expected = self.gradients(layer, x)
        layer.zero_grad()
        loss = layer(x)[0].square().sum()
        x.zero_()
        with torch.no_grad():
            layer.weight_l0.zero_()
        loss.backward()
        for values, right in zip(layer.parameters(), expected):
            self.same(values.grad, right)

    def test_passes_that_overlap(self):
        """Each forward pass keeps its own tape, in whatever order the backward passes come."""
        layer, inputs = st.STPN(3, 5), [torch.randn(steps, 2, 3) for steps in (4, 7, 4)]
        expected = [self.gradients(layer, x) for x in inputs]
        losses = [layer(x)[0].square().sum() for x in inputs]
        for index in 1, 0, 2:
            layer.zero_grad()
            losses[index].backward()
            for values, right in zip(layer.parameters(), expected[index]):
                self.same(values.grad, right)

    def test_memory_is_given_back(self):
        layer, x = st.STPN(3, 6), torch.randn(4, 2, 3)
        st.empty_cache()
        for _ in range(5):
            loss = layer(x)[0].sum()
            loss.backward()  # `loss`, and so the graph, lives until the next one
        self.assertEqual(len(work_spaces(layer)), 1)
        graphs = [layer(x)[0] for _ in range(9)]
        self.assertEqual(len(kernel._held), 9)
        del graphs, loss
        gc.collect()
        self.assertEqual(len(kernel._held), 0)
        self.assertEqual(len(work_spaces(layer)), kernel.IDLE_MOST)
        st.empty_cache()
        self.assertEqual(len(work_spaces(layer)), 0)
        self.same(layer(x)[0], layer(x)[0])

    def test_a_second_way_back(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        expected = self.gradients(layer, x)
        layer.zero_grad()
        loss = layer(x)[0].square().sum()
        loss.backward(retain_graph=True)
        layer.zero_grad()
        loss.backward()
        for values, right in zip(layer.parameters(), expected):
            self.same(values.grad, right)
        self.refuses(RuntimeError, "second time", loss.backward)

    def test_some_gradients_only(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3, requires_grad=True)
        full = torch.autograd.grad(layer(x)[0].sum(), [x, layer.gamma_l0])
        for wanted in [x], [layer.gamma_l0]:
            for values in (x, *layer.parameters()):
                values.requires_grad_(any(values is each for each in wanted))
            found, = torch.autograd.grad(layer(x)[0].sum(), wanted)
            self.same(found, full[0] if wanted[0] is x else full[1])
            for values in (x, *layer.parameters()):
                values.requires_grad_()
        layer.requires_grad_(False)
        self.assertFalse(layer(x.detach())[0].requires_grad)
        with torch.inference_mode():
            self.same(layer(x.detach())[0], layer(x.detach())[0])

    def test_the_last_state_alone(self):
        layer, plain = st.STPN(3, 5), st.STPN(3, 5, implementation="plain")
        plain.load_state_dict(layer.state_dict())
        x = torch.randn(4, 2, 3)
        for each in layer, plain:
            each(x)[1][1].square().sum().backward()
        for values, right in zip(layer.parameters(), plain.parameters()):
            self.same(values.grad, right.grad if right.grad is not None else torch.zeros_like(right), 1e-4)

    def test_not_a_number_goes_through(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3, requires_grad=True)
        (layer(x)[1][1] * float("nan")).sum().backward()
        self.assertTrue(bool(layer.weight_l0.grad.isnan().all() and x.grad.isnan().all()))
        layer.zero_grad()
        layer(x.detach())[0].sum().backward()
        self.assertFalse(bool(layer.weight_l0.grad.isnan().any()))

    def test_checkpointing(self):
        first, second = st.STPN(5, 5), st.STPN(5, 5)
        x = torch.randn(4, 2, 5, requires_grad=True)
        wanted = [x, *first.parameters(), *second.parameters()]
        for run in (lambda x: checkpoint(lambda x: second(first(x)[0])[0], x, use_reentrant=False),
                    lambda x: checkpoint(lambda x: second(x)[0], checkpoint(lambda x: first(x)[0], x, use_reentrant=False),
                                         use_reentrant=False)):
            expected = torch.autograd.grad(second(first(x)[0])[0].square().sum(), wanted)
            for found, right in zip(torch.autograd.grad(run(x).square().sum(), wanted), expected):
                self.same(found, right)

    def test_parametrised_weights(self):
        layer = st.STPN(3, 5)
        torch.nn.utils.parametrizations.weight_norm(layer, "weight_l0")
        layer(torch.randn(4, 2, 3))[0].sum().backward()
        self.assertIsNotNone(layer.parametrizations.weight_l0.original0.grad)


class Copies(TorchTest):
    def test_copies(self):
        layer = st.STPN(3, 5, num_layers=2, norm="post", clamp=1.0, dropout=0.1, batch_first=True).eval()
        x, file = torch.randn(4, 6, 3), io.BytesIO()
        layer(x)[0].sum().backward()
        torch.save(layer, file)
        file.seek(0)
        for other in copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False):
            self.same(other(x)[0], layer(x)[0])
            self.assertEqual(repr(other), repr(layer))
        self.assertEqual(repr(layer), "STPN(3, 5, num_layers=2, norm='post', clamp=1.0, batch_first=True, dropout=0.1)")

    def test_tensors_that_are_negated_when_they_are_read(self):
        """As the imaginary part of a conjugate is: the memory has the values with the other sign."""
        layer, x, dy, state = st.STPN(3, 5), torch.randn(4, 2, 3), torch.randn(4, 2, 5), (torch.randn(1, 2, 5), torch.randn(1, 2, 5, 8))

        def run(turned):
            layer.zero_grad()
            weight = turned(layer.weight_l0.detach()).requires_grad_()
            y, (h, F) = torch.func.functional_call(layer, {"weight_l0": weight}, (turned(x), tuple(turned(part) for part in state)))
            dweight, dgamma = torch.autograd.grad(y, (weight, layer.gamma_l0), turned(dy))
            return y, h, F, dweight, dgamma
        for found, expected in zip(run(lambda tensor: torch._neg_view(-tensor)), run(torch.clone)):
            self.same(found, expected)
        self.refuses(TypeError, "x is torch.sparse_coo, expected a dense tensor", layer, x.to_sparse())

    def test_parameters_of_another_call(self):
        """torch.func.functional_call takes other tensors, and the layer's own stay."""
        layer, other, x = st.STPN(3, 5), st.STPN(3, 5), torch.randn(4, 2, 3)
        before = layer(x)[0]
        self.same(torch.func.functional_call(layer, dict(other.named_parameters()), (x,))[0], other(x)[0])
        self.same(layer(x)[0], before)
        turned = {name: values.detach().T.contiguous().T for name, values in other.named_parameters() if values.dim() == 2}
        self.assertFalse(turned["weight_l0"].is_contiguous())
        self.same(torch.func.functional_call(other, turned, (x,))[0], other(x)[0])


class Refused(TorchTest):
    def test_second_derivatives(self):
        for implementation in "c", "plain":
            layer, x = st.STPN(3, 5, implementation=implementation), torch.randn(4, 2, 3, requires_grad=True)
            first, = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
            self.same(first, torch.autograd.grad(layer(x)[0].sum(), x)[0])
            for target in x, layer.weight_l0:
                self.refuses(RuntimeError, "no second derivatives", torch.autograd.grad, first.sum(), target, retain_graph=True)
            self.refuses(RuntimeError, "no second derivatives", first.sum().backward)

    def test_transforms(self):
        layer, x = st.STPN(3, 5), torch.randn(7, 4, 2, 3)
        for call in (lambda: torch.func.vmap(lambda x: layer(x)[0])(x), lambda: torch.func.grad(lambda x: layer(x)[0].sum())(x[0]),
                     lambda: torch.func.jvp(lambda x: layer(x)[0], (x[0],), (x[0],))):
            self.refuses(RuntimeError, "torch.func transforms", call)

    def test_what_would_go_wrong_silently(self):
        """Where no parameter needs a gradient the C library is called at once: nothing there knows of transforms and tangents."""
        layer, x, rows = st.STPN(3, 5).requires_grad_(False), torch.randn(4, 2, 3), torch.randn(7, 4, 2, 3)
        for each in layer, st.STPN(3, 5), st.STPN(3, 5, implementation="plain"):
            with torch.autograd.forward_ad.dual_level():
                self.refuses(RuntimeError, "forward-mode", each, torch.autograd.forward_ad.make_dual(x, x))
                self.same(each(x)[0], each(x)[0])
        for call in (lambda: torch.vmap(lambda x: layer(x)[0])(rows), lambda: torch.func.jvp(lambda x: layer(x)[0], (x,), (x,)),
                     lambda: torch.autograd.functional.jacobian(lambda x: layer(x)[0], x, vectorize=True)):
            self.refuses(RuntimeError, "torch.func transforms", call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated
            self.refuses(RuntimeError, "torch.jit.trace", torch.jit.trace, layer, (x,))

    def test_saved_tensors_that_were_copied(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        with torch.autograd.graph.saved_tensors_hooks(torch.Tensor.clone, lambda tensor: tensor):
            y = layer(x)[0]
        self.refuses(RuntimeError, "copies of it", y.sum().backward)

    def test_constructors(self):
        self.refuses(ValueError, "bidirectional layers are not there", st.STPN, 3, 5, bidirectional=True)
        self.refuses(ValueError, "expected one of pre", st.STPN, 3, 5, norm="x")
        self.refuses(TypeError, "nrm", st.STPN, 3, 5, nrm="pre")
        self.refuses(TypeError, "no option 'norm'", st.LSTM, 3, 5, norm="pre")
        self.refuses(ValueError, "input_size is 0", st.STPN, 0, 5)
        self.refuses(ValueError, "num_layers is 0", st.STPN, 3, 5, 0)
        self.refuses(TypeError, "hidden_size is 5.0", st.STPN, 3, 5.0)
        self.refuses(TypeError, "input_size is True, expected an integer", st.STPN, True, 5)
        self.refuses(ValueError, "^hidden is 100000000, expected an integer from 1 to", st.STPN, 3, 10**8)
        self.refuses(ValueError, "^the unit has 100000000 inputs, expected 1 to", st.STPN, 10**8, 3)
        layer = st.STPN(np.int64(3), np.int64(5), np.int64(2))
        self.assertEqual((layer.weight_l0.shape, layer.weight_l1.shape, repr(layer)), ((5, 8), (5, 10), "STPN(3, 5, num_layers=2)"))
        self.refuses(ValueError, "dropout is 2", st.STPN, 3, 5, 2, dropout=2)
        self.refuses(ValueError, "^clamp is -1", st.STPN, 3, 5, clamp=-1)
        self.refuses(ValueError, "^lambda has no effect with the other options of this unit", st.STPN, 3, 5, lambda_=0.5)
        self.refuses(ValueError, "^granularity has no effect", st.STPN, 3, 5, learn=False, granularity="neuron")
        self.refuses(ValueError, "^gamma has no effect", st.STPNCell, 3, 5, gamma=0.5)
        self.refuses(ValueError, "recurrent columns", st.STPNF, 3, 5, plastic="hidden")
        self.refuses(ValueError, "there is no unit 'stp'", st.Layer, "stp", 3, 5)
        self.refuses(ValueError, "implementation", st.STPN, 3, 5, implementation="cuda")

    def test_calls(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 2, 3)
        _, (h, F) = layer(x)
        self.refuses(TypeError, "x is a list", layer, [1.0])
        self.refuses(ValueError, "x has 4 inputs a step", layer, torch.randn(4, 2, 4))
        self.refuses(ValueError, "x has 4 dimensions", layer, torch.randn(1, 4, 2, 3))
        self.refuses(TypeError, "x is torch.bool", layer, x > 0)
        self.refuses(ValueError, r"something else than \(h", layer, x, h)
        self.refuses(ValueError, r"something else than \(h", layer, x, (h, F, F))
        self.refuses(TypeError, "h of the state is a float", layer, x, (0.0, F))
        self.refuses(ValueError, r"expected \(1, 2, 5, 8\)", layer, x, (h, F[..., :5]))
        self.refuses(ValueError, "layers, expected 1", layer, x, (torch.cat([h, h]), F))
        self.refuses(TypeError, "float64", layer, x, (h.double(), F))
        self.refuses(ValueError, "is not a number", layer, x, (h * float("nan"), F))
        self.refuses(ValueError, "lengths are from 3 to 9", layer, x, lengths=[3, 9])
        self.refuses(ValueError, "lengths has shape", layer, x, lengths=[3])
        self.refuses(TypeError, "lengths", layer, x, lengths=[3.0, 4.0])
        self.refuses(ValueError, r"reset has shape \(2, 4\), expected \(4, 2\)", layer, x, reset=torch.zeros(2, 4))
        first = st.STPN(3, 5, batch_first=True)
        for reset, kind, says in [
                (np.zeros((4, 2)), TypeError, "reset is a ndarray, expected a tensor"),
                ([[0, 0]] * 4, TypeError, "reset is a list, expected a tensor"),
                (torch.zeros(4), ValueError, r"reset has shape \(4,\), expected \(4, 2\)"),
                (torch.zeros(2, 4), ValueError, r"reset has shape \(2, 4\), expected \(4, 2\)")]:
            self.refuses(kind, says, layer, x, reset=reset)
            self.refuses(kind, says, first, x, reset=reset)  # 4 samples there
        for reset, kind, says in [([0] * 4, TypeError, "reset is a list, expected a tensor"),
                                  (torch.zeros(4, 1), ValueError, r"reset has shape \(4, 1\), expected \(4,\)"),
                                  (torch.zeros(3), ValueError, r"reset has shape \(3,\), expected \(4,\)")]:
            self.refuses(kind, says, layer, x[:, 0], reset=reset)
        self.refuses(ValueError, r"lengths has shape \(2,\), expected \(\) or \(1,\)", layer, x[:, 0], lengths=[3, 4])
        reset = torch.tensor([0, 0, 1, 0])
        for lengths in 3, [3], torch.tensor(3):
            y, _ = layer(x[:, 0], reset=reset, lengths=lengths)
            self.same(y, layer(x[:, :1], reset=reset[:, None], lengths=[3])[0][:, 0])
        two = st.STPN(3, 5, 2)
        _, (h, F) = two(x)
        self.refuses(TypeError, "F of the state must be a tuple of 2", two, x, (h, F[0]))
        for implementation in "c", "plain":
            layer = st.STPN(3, 5, plastic="input", implementation=implementation)
            self.refuses(ValueError, "has no plasticity", layer, x, (h[:1], torch.ones(1, 2, 5, 8)))
        self.same(layer(x)[0], layer(x)[0])


if __name__ == "__main__":
    unittest.main()
