"""Parameters between stpn.torch, the command and the authors' layout; the pages about Python."""
import contextlib
import io
import json
import os
import re
import runpy
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import SOURCE, UNITS, largest_error  # noqa: E402  (goes on in .venv)

import torch  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from support import QUICK, CommandTest, read, write  # noqa: E402

import stpn  # noqa: E402
import stpn.torch as st  # noqa: E402
from stpn.tensors import read_tensors  # noqa: E402

SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789?"
TEST = 48


class CommandAndPython(CommandTest):
    """On the sequences that `stpn eval` shows, which are all of the test set."""

    def setUp(self):
        super().setUp()
        torch.manual_seed(0)
        self.succeed("train", os.path.join(SOURCE, "experiments", "retrieval", "stpn.json"), "--set", "task.train=512", "--set",
                     "task.validation=32", "--set", f"task.test={TEST}", "--set", "train.epochs=2", "--set",
                     "train.learning_rate=0.03", "--set", "units.0.hidden=9", "--out", "run", "--quiet")

    def succeed(self, *words):
        result = self.run_command(*words)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def evaluate(self, folder):
        return json.loads(self.succeed("eval", folder, "--json", "--examples", str(TEST)))

    def measures(self, document, layer, readout):
        """Accuracy and loss of the layer on the sequences of the document."""
        tokens = torch.tensor([[SYMBOLS.index(c) for c in each["sequence"]] for each in document["examples"]]).T
        answers = torch.tensor([SYMBOLS.index(each["expected"]) for each in document["examples"]])
        self.assertEqual(tokens.shape, (9, TEST))
        with torch.no_grad():
            logits = readout(layer(tokens)[0][-1])
        given = "".join(SYMBOLS[index] for index in logits.argmax(1))
        return given, float((logits.argmax(1) == answers).float().mean()), float(torch.nn.functional.cross_entropy(logits, answers))

    def same(self, document, layer, readout):
        given, accuracy, loss = self.measures(document, layer, readout)
        self.assertEqual(given, "".join(each["answer"] for each in document["examples"]))
        self.assertAlmostEqual(accuracy, document["test"]["accuracy"], 6)
        self.assertAlmostEqual(loss, document["test"]["loss"], 4)

    def test_both_ways(self):
        layer, readout = st.STPN(37, 9), torch.nn.Linear(9, 37)
        st.load(self.path("run", "last.safetensors"), layer, readout=readout)
        document = self.evaluate("run")
        self.same(document, layer, readout)
        (made,), heads = st.from_run(self.path("run"), "last")
        self.same(document, made, heads["readout"])
        for refuses in (lambda: st.load(self.path("run", "best.safetensors"), st.STPN(37, 9, norm="post"), readout=readout),
                        lambda: stpn.Net(37, stpn.Unit("stpn_r", 9, norm="post"), {"readout": 37}).load(
                            self.path("run", "best.safetensors"))):
            with self.assertRaisesRegex(ValueError, r'units\[0\].norm is "pre", but the (net|layer)\'s is "post"$'):
                refuses()

        optimiser = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
        tokens = torch.randint(37, (9, 64))
        for _ in range(20):
            loss = torch.nn.functional.cross_entropy(readout(layer(tokens)[0][-1]), tokens[1])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        os.mkdir(self.path("python"))
        shutil.copy(self.path("run", "experiment.json"), self.path("python"))
        st.save(self.path("python", "last.safetensors"), layer, readout=readout)
        changed = self.evaluate("python")
        self.assertNotEqual(changed["test"]["loss"], document["test"]["loss"])
        self.same(changed, layer, readout)


class Files(CommandTest):
    def setUp(self):
        super().setUp()
        torch.manual_seed(0)

    def test_round_trip_by_name(self):
        layers = [st.STPN(3, 5, 2, layer_norm=True, granularity="neuron"), st.GRU(5, 4)]
        heads = {"policy": torch.nn.Linear(4, 2), "value": torch.nn.Linear(4, 1)}
        st.save(self.path("a.safetensors"), layers, **heads)
        again = [st.STPN(3, 5, 2, layer_norm=True, granularity="neuron"), st.GRU(5, 4)]
        read_out = torch.nn.Linear(4, 2)
        st.load(self.path("a.safetensors"), again, policy=read_out)
        for first, second in zip([*layers, heads["policy"]], [*again, read_out]):
            for name, values in first.state_dict().items():
                self.assertTrue(torch.equal(values, second.state_dict()[name]))
        self.assertFalse([name for name in os.listdir(self.path()) if name.endswith(".tmp")])
        unit = stpn.Unit("stpn_r", 5, layer_norm=True, granularity="neuron")
        net = stpn.Net(3, [unit, unit, stpn.Unit("gru", 4)], {"policy": 2, "value": 1})
        net.load(self.path("a.safetensors"))
        x = torch.randn(6, 2, 3)
        y = layers[1](layers[0](x)[0])[0].detach()
        self.assertLessEqual(largest_error(net.forward(x.numpy()), y), 1e-5)
        net.save(self.path("b.safetensors"))
        st.load(self.path("b.safetensors"), again, **heads)
        found, expected = (read_tensors(self.path(name))[0] for name in ("a.safetensors", "b.safetensors"))
        self.assertEqual(found.keys(), expected.keys())
        told = [read_tensors(self.path(name))[1] for name in ("a.safetensors", "b.safetensors")]
        self.assertEqual(*[json.loads(metadata.pop("units")) for metadata in told])
        self.assertEqual(*told)
        for refuses in (lambda: st.load(self.path("b.safetensors"), [layers[0], st.LSTM(5, 4)]),
                        lambda: st.load(self.path("a.safetensors"), [st.STPN(3, 5, 2, layer_norm=True, granularity="neuron", clamp=2),
                                                                     st.GRU(5, 4)])):
            with self.assertRaisesRegex(ValueError, r"units\[2\] is a unit gru, but .* lstm$|units\[0\].clamp is 0.0, but .* 2.0$"):
                refuses()
        double = st.STPN(3, 5, dtype=torch.float64)
        st.save(self.path("d.safetensors"), double)
        self.assertEqual(str(read_tensors(self.path("d.safetensors"))[0]["units.0.gamma"].dtype), "float64")

    def test_the_network_of_a_run(self):
        """Of every unit, with another one on it: the parameters alone tell how many inputs and read-outs there are."""
        x, options = torch.randn(6, 2, 3), {"stpn_r": {"learn": False, "lambda_": 0.5}, "fast_weights": {"lambda_": 0.5}}
        for index, unit in enumerate(UNITS):
            folder = self.path(unit)
            units = [stpn.Unit(unit, 4, **options.get(unit, {})), stpn.Unit("gru", 5)]
            net = stpn.Net(3, units, {"policy": 2, "value": 1}).init(index)
            os.mkdir(folder)
            net.save(os.path.join(folder, "best.safetensors"))
            experiment = {"name": unit, "units": [{"name": each.name, "hidden": each.hidden, **each.given} for each in units]}
            write(os.path.join(folder, "experiment.json"), json.dumps(experiment).encode())
            again, ((first, second), heads) = stpn.Net.from_run(folder), st.from_run(folder)
            self.assertEqual((again.inputs, again.heads), (net.inputs, net.heads))
            y = net.forward(x.numpy())
            self.assertTrue((again.forward(x.numpy()) == y).all())
            self.assertLessEqual(largest_error(second(first(x)[0])[0].detach(), y), 1e-5)
            self.assertLessEqual(largest_error(heads["policy"](torch.tensor(y)).detach(), net.head("policy", y)), 1e-5)
        for call in stpn.Net.from_run, st.from_run:
            write(os.path.join(folder, "experiment.json"), json.dumps({**experiment, "encoder": [{}]}).encode())
            with self.assertRaisesRegex(stpn.RunError, "hebbff: has an encoder"):
                call(folder)
            write(os.path.join(folder, "experiment.json"), json.dumps(experiment).encode())
            stpn.Net(3, stpn.Unit("gru", 4)).save(os.path.join(folder, "best.safetensors"))
            with self.assertRaisesRegex(stpn.RunError, "hebbff: |hebbff/best.safetensors: "):
                call(folder)

    def test_what_does_not_fit_changes_nothing(self):
        path, layer = self.path("a.safetensors"), st.STPN(3, 5)
        st.save(path, st.STPN(3, 5, 2), readout=torch.nn.Linear(5, 2))
        before = layer.weight_l0.detach().clone()
        for layers, heads, says in [
                (layer, {}, r"units.1.\w+: the layers have no such"), (st.STPN(3, 5, 3), {}, "units.2.weight is missing"),
                (st.STPN(4, 5, 2), {}, r"units.0.weight has shape \(5, 8\), expected \(5, 9\)"),
                (st.STPN(3, 5, 2), {"value": torch.nn.Linear(5, 1)}, "value.weight is missing"),
                (st.STPN(3, 5, 2), {"readout": torch.nn.Linear(5, 2, bias=False)}, "has no bias")]:
            with self.assertRaisesRegex(ValueError, says):
                st.load(path, layers, **heads)
        write(path, b"nothing")
        with self.assertRaisesRegex(ValueError, "a.safetensors"):
            st.load(path, layer)
        with self.assertRaises(FileNotFoundError):
            st.load(self.path("b.safetensors"), layer)
        with self.assertRaisesRegex(TypeError, "LSTM is not one of"):
            st.save(path, torch.nn.LSTM(3, 5))
        write(path, struct.pack("<Q", 128) + json.dumps({name: {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]}
                                                        for name in ("units.0.weight",)}).encode().ljust(128))
        with self.assertRaisesRegex(ValueError, "units.0.weight has shape"):
            st.load(path, layer)
        self.assertTrue(torch.equal(layer.weight_l0, before))

    def test_parameters_that_are_computed(self):
        class Half(torch.nn.Module):
            def forward(self, x):
                return x / 2

            def right_inverse(self, x):
                return 2 * x

        path, layer, own = self.path("a.safetensors"), st.STPN(3, 5), st.STPN(3, 5)
        st.save(path, torch.nn.ModuleList([layer]))
        torch.nn.utils.parametrize.register_parametrization(own, "weight_l0", Half())
        st.load(path, own)
        self.assertTrue(torch.equal(own.weight_l0, layer.weight_l0))
        prune.l1_unstructured(own, "lambda_l0", 0.2)
        for layers in own, st.STPN(3, 5, device="meta"):
            with self.assertRaisesRegex(ValueError, "cannot be set"):
                st.load(path, layers)
        with torch.no_grad():
            layer.weight_l0[0, 0] = float("nan")
        with self.assertRaisesRegex(ValueError, "units.0.weight has a value that is not finite"):
            st.save(path, layer)
        st.load(path, st.STPN(3, 5))  # the file is as it was

    def test_layout_of_the_authors(self):
        x = torch.randn(6, 2, 3)
        for recurrent, columns in (True, 8), (False, 3):
            for shape, granularity in ((5, columns), "synapse"), ((5, 1), "neuron"), ((5,), "neuron"), ((1,), "scalar"), ((), "scalar"):
                for prefix in "", "stpn.":
                    given = {prefix + "weight": torch.randn(5, columns), prefix + "bias": torch.randn(5),
                             prefix + "weight_lambda": torch.rand(shape), prefix + "weight_gamma": 0.1 * torch.randn(shape),
                             "hidden2tag.weight": torch.randn(7, 5), "hidden2tag.bias": torch.randn(7)}
                    layer, readout = st.from_reference(given, recurrent=recurrent, presynaptic="previous")
                    self.assertEqual(layer.unit.options["granularity"], granularity)
                    self.assertTrue(torch.equal(readout.weight, given["hidden2tag.weight"]))
                    y, h, F = [], torch.zeros(2, 5), torch.zeros(2, 5, columns)
                    for step in x:  # the equations of the paper as they stand
                        z = torch.cat([step, h], 1) if recurrent else step
                        G = given[prefix + "weight"] + F
                        norm = G.norm(dim=2, keepdim=True)
                        h = torch.tanh((G / norm @ z.unsqueeze(2)).squeeze(2) + given[prefix + "bias"])
                        rates = [given[prefix + name] for name in ("weight_lambda", "weight_gamma")]
                        rates = [rate.unsqueeze(1) if rate.dim() == 1 and len(rate) == 5 else rate for rate in rates]
                        F = rates[0] * F / norm + rates[1] * h.unsqueeze(2) * z.unsqueeze(1)
                        y.append(h)
                    self.assertLessEqual(largest_error(layer(x)[0].detach(), torch.stack(y)), 1e-4)
        del given["hidden2tag.weight"], given[prefix + "bias"]
        layer, readout = st.from_reference(given, recurrent=False)
        self.assertTrue(readout is None and "bias_l0" not in layer.state_dict())
        for wrong, says in [({}, "nothing"), ({"weight_lambda": x}, "expected weight, weight_lambda"),
                            ({"weight": x, "weight_lambda": x, "weight_gamma": x}, r"expected \(H, K\)"),
                            ({"weight": x[0], "weight_lambda": x[0], "weight_gamma": x[0][:1]}, "6 and 3 values"),
                            ({"weight": torch.zeros(4, 9), **dict.fromkeys(("weight_lambda", "weight_gamma"), torch.zeros(9, 4))},
                             r"shape \(9, 4\), expected \(4, 9\)")]:
            with self.assertRaisesRegex(ValueError, says):
                st.from_reference(wrong)


class Pages(CommandTest):
    def test_the_reference_is_what_the_docstrings_say(self):
        names, said = runpy.run_path(os.path.join(SOURCE, "scripts", "update-reference.py")), io.StringIO()
        with contextlib.redirect_stderr(said):
            status = names["main"](["--check"])
        self.assertEqual((status, said.getvalue()), (0, ""))

    def test_pages_run(self):
        """Every block of Python in the pages, each page from its top to its end."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.path())
        self.train("runs/retrieval-stpn_r-s0", *QUICK)  # which a page reads
        for page in "README.md", "docs/python.md":
            found = re.findall(r"(?ms)^```python\n(.*?)^```$", read(os.path.join(SOURCE, page)).decode())
            self.assertTrue(found)
            names, said = {}, io.StringIO()
            with contextlib.redirect_stdout(said):
                for block in found:
                    exec(compile(block, page, "exec"), names)
        self.assertEqual(said.getvalue(), "torch.Size([11, 48])\n(11, 48) (11, 48)\nsmall 11 3\n")


if __name__ == "__main__":
    unittest.main()
