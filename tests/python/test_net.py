"""stpn.Net: golden files through NumPy, and every misuse a clear error."""
import copy
import os
import pickle
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import UNITS, golden_files, largest_error  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
from hypothesis import given, settings, strategies  # noqa: E402

import stpn  # noqa: E402
from stpn import library  # noqa: E402

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")


def net_of(golden, dtype, threads=1):
    net = stpn.Net(golden.inputs, stpn.Unit(golden.unit, golden.hidden, **golden.options), dtype=dtype, threads=threads)
    net.parameters.update({"units.0." + name: values for name, values in golden.part("param.").items()})
    return net


class GoldenFiles(unittest.TestCase):
    def check(self, golden, dtype, tolerance, gradient_tolerance):
        net = net_of(golden, dtype)
        T, B = golden["x"].shape[:2]
        state, dstate = net.state(B), net.state(B)
        state.update({"units.0." + name: values for name, values in golden.part("state0.").items()})
        dstate.update({"units.0." + name: values for name, values in golden.part("dstateT.").items()})
        tape, gradient, energy = net.tape(T, B), net.gradient(), np.empty((T, B), dtype)
        y, same = net.forward(golden["x"].astype(dtype), state, tape=tape, energy=energy)
        self.assertIs(same, energy)
        found = {"y": (y, tolerance), "energy": (energy, tolerance)}
        found.update({"stateT." + name[8:]: (values, tolerance) for name, values in state.items()})
        dx = net.backward(tape, golden["dy"].astype(dtype), gradient, dstate=dstate, dx=True)
        found["grad.x"] = dx, gradient_tolerance
        found.update({"grad.param." + name[8:]: (values, gradient_tolerance) for name, values in gradient.items()})
        found.update({"grad.state0." + name[8:]: (values, gradient_tolerance) for name, values in dstate.items()})
        self.assertEqual(set(found), {name for name in golden.tensors
                                      if not name.startswith(("param.", "state0.", "dstateT.")) and name not in ("x", "dy")})
        for name, (values, most) in found.items():
            self.assertLessEqual(largest_error(values, golden[name]), most, (golden.name, name, dtype))

    def test_golden_files(self):
        for golden in golden_files():
            self.check(golden, np.float64, 1e-10, 1e-10)
            self.check(golden, np.float32, 1e-5, 1e-4)


class Interface(unittest.TestCase):
    def test_versions_and_names(self):
        self.assertRegex(stpn.version(), r"^\d+\.\d+\.\d+$")
        self.assertEqual(list(library.OPTIONS), UNITS)
        self.assertIn(stpn.Net(3, stpn.Unit("gru", 2)).kernel, stpn.kernels())
        self.assertEqual(stpn.kernels()[-1], "portable")
        self.assertEqual(stpn.__version__, stpn.version())
        self.assertRaisesRegex(AttributeError, "no attribute 'nett'", getattr, stpn, "nett")

    def test_options(self):
        unit = stpn.Unit("stpn_r", 4, norm="post", clamp=1, lambda_=0.5, learn=False)
        self.assertEqual(unit.options["norm"], "post")
        self.assertEqual(unit.options["lambda"], 0.5)
        self.assertEqual(unit.options["rule"], "hebb")
        self.assertEqual(eval(repr(unit), {"Unit": stpn.Unit}).options, unit.options)
        for words, kind, says in [
                (("stpn", 4), ValueError, "there is no unit 'stpn', expected one of stpn_r"),
                (("stpn_r", 0), ValueError, "hidden is 0"), (("stpn_r", 2.0), TypeError, "hidden is 2.0, expected an integer")]:
            with self.assertRaisesRegex(kind, says):
                stpn.Unit(*words)
        for options, kind, says in [
                ({"norm": "before"}, ValueError, "expected one of pre, post, output, none"), ({"norm": 1}, TypeError, "norm is 1"),
                ({"eta": 1}, TypeError, "has no option 'eta'"), ({"clamp": "x"}, TypeError, "clamp is 'x', expected a number")]:
            with self.assertRaisesRegex(kind, says):
                stpn.Unit("stpn_r", 4, **options)
        self.assertEqual(repr(stpn.Unit("stpn_r", 4, bias=np.bool_(False), learn=1)), "Unit('stpn_r', 4, bias=False, learn=True)")

    def test_options_that_a_unit_refuses(self):
        """As the command does, and by the same words; the defaults are there whether they are written or not."""
        for unit, options, kind, says in [
                ("stpn_r", {"lambda_": 0.5}, ValueError, "^lambda has no effect with the other options of this unit$"),
                ("stpn_f", {"gamma": 0.5, "learn": True}, ValueError, "^gamma has no effect with the other options"),
                ("stpn_r", {"learn": False, "granularity": "neuron"}, ValueError, "^granularity has no effect"),
                ("stpn_r", {"clamp": -1}, ValueError, "^clamp is -1.0, expected a number from 0"),
                ("stpn_r", {"clamp": float("inf")}, ValueError, "^clamp is inf, expected finite numbers"),
                ("modul", {"trace": "decay"}, ValueError, '^trace is "decay"'),
                ("stpn_r", {"bias": 2}, TypeError, "^bias is 2, expected True or False"),
                ("stpn_r", {"learn": "no"}, TypeError, "^learn is 'no', expected True or False")]:
            with self.assertRaisesRegex(kind, says):
                stpn.Unit(unit, 4, **options)
        for options in ({"lambda_": 0.9, "gamma": 0.01}, {"learn": False, "lambda_": 0.5, "granularity": "synapse"}):
            self.assertEqual(stpn.Net(3, stpn.Unit("stpn_r", 4, **options)).outputs, 4)

    def test_descriptions_that_are_wrong(self):
        unit = stpn.Unit("stpn_r", 4)
        for arguments, kind, says in [
                ((0, unit), ValueError, "has 0 inputs"), ((3, []), ValueError, "units has 0 entries"), ((3, ["stpn_r"]), TypeError, "str"),
                ((3, unit, {"": 2}), ValueError, r"heads\[0\].name"), ((3, unit, {"a": 0}), ValueError, "outputs is 0"),
                ((3, unit, None, "float16"), TypeError, "float16"), ((3, unit, None, "float32", 257), ValueError, "threads is 257"),
                ((2**40, unit), ValueError, "inputs is"), ((3, unit, ["a"]), TypeError, r"heads is \['a'\], expected a dictionary")]:
            with self.assertRaisesRegex(kind, says):
                stpn.Net(*arguments)

    def test_training_learns(self):
        """The first symbol of three is asked for after the last."""
        draw = np.random.default_rng(0)
        net = stpn.Net(5, stpn.Unit("stpn_r", 8), {"answer": 5}, threads=2).init(1)
        adam, gradient, tape = net.adam(0.01), net.gradient(), net.tape(3, 32)
        for _ in range(150):
            tokens = draw.integers(5, size=(3, 32))
            tape.rewind(), gradient.zero()
            y = net.forward(tokens, tape=tape)
            losses, dlogits = net.cross_entropy(net.head("answer", y[-1]), tokens[0], 1 / 32)
            dy = np.zeros_like(y)
            dy[-1] = net.head_backward("answer", y[-1], dlogits, gradient)
            net.backward(tape, dy, gradient)
            norm = net.clip_gradient(gradient, norm=1.0)
            adam.update(gradient)
        self.assertGreater(norm, 0)
        self.assertLess(losses.mean(), 0.3)

    def test_streaming_has_the_same_bits(self):
        net = stpn.Net(3, [stpn.Unit("stpn_r", 5), stpn.Unit("lstm", 4)], threads=2).init(2)
        x = np.random.default_rng(0).standard_normal((7, 20, 3)).astype(np.float32)
        y, state, out = net.forward(x), net.state(20), np.empty((20, 4), np.float32)
        for t in range(7):
            self.assertIs(net.step(x[t], state, out), out)
            np.testing.assert_array_equal(out, y[t])
        other = state.copy()
        np.testing.assert_array_equal(net.step(x[0], state), net.step(x[0], other))

    def test_files(self):
        net, other = (stpn.Net(3, stpn.Unit("gru", 4), {"readout": 2}).init(seed) for seed in (1, 2))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.safetensors")
            net.save(path)
            other.load(path)
            for name, values in net.parameters.items():
                np.testing.assert_array_equal(values, other.parameters[name])
            with self.assertRaisesRegex(OSError, "nowhere"):
                net.save(os.path.join(folder, "nowhere", "net.safetensors"))
            with self.assertRaisesRegex(ValueError, "units.0"):
                stpn.Net(3, stpn.Unit("gru", 5), {"readout": 2}).load(path)
            with self.assertRaisesRegex(FileNotFoundError, "nothing.safetensors: there is no such file"):
                net.load(os.path.join(folder, "nothing.safetensors"))
        self.assertEqual(net.parameter_count, sum(values.size for values in net.parameters.values()))

    def test_copies_and_texts(self):
        net = stpn.Net(3, stpn.Unit("stpn_r", 4, learn=False, lambda_=0.5), {"readout": 2}, np.float64).init(1)
        self.assertEqual(repr(net), "Net(3, [Unit('stpn_r', 4, learn=False, lambda_=0.5)], {'readout': 2}, dtype=float64, "
                                    "threads=1)")
        self.assertEqual(repr(net.state(2)), "State(units.0.F (2, 4, 7), units.0.h (2, 4))")
        x = np.random.default_rng(0).standard_normal((5, 2, 3))
        for other in copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
            self.assertEqual(repr(other), repr(net))
            np.testing.assert_array_equal(other.head("readout", other.forward(x)), net.head("readout", net.forward(x)))
            other.init(2)
            self.assertFalse(np.array_equal(other.forward(x), net.forward(x)))
        state = net.state(2)
        copied = copy.copy(state)
        net.forward(x, copied)
        self.assertFalse(state["units.0.h"].any())

    def test_nothing_is_copied_that_fits(self):
        array = np.zeros((2, 3), np.float32)
        self.assertIs(library.reading("x", array, np.float32, (2, 3)), array)
        self.assertIs(library.writing("x", array, np.float32, (2, 3)), array)
        array.flags.writeable = False
        self.assertIs(library.reading("x", array, np.float32, (2, 3)), array)

    def test_one_call_at_a_time(self):
        net = stpn.Net(3, stpn.Unit("stpn_r", 4)).init(0)
        state, x = net.state(2), np.zeros((1, 2, 3), np.float32)
        with state.lock, self.assertRaisesRegex(RuntimeError, "one call at a time"):
            net.forward(x, state)
        net.forward(x, state)

    def test_threads_of_python(self):
        net = stpn.Net(3, stpn.Unit("stpn_r", 8), threads=2).init(0)
        x = np.random.default_rng(0).standard_normal((20, 40, 3)).astype(np.float32)
        expected, results = net.forward(x), [None] * 4

        def work(index):
            for _ in range(10):
                results[index] = net.forward(x)
        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            np.testing.assert_array_equal(result, expected)


    def test_others_run_while_c_works(self):
        """While one long call is under way this thread goes on: it would stand still if the call held Python's lock."""
        net = stpn.Net(64, stpn.Unit("stpn_r", 128)).init(0)
        x, call, seen = np.zeros((2000, 16, 64), np.float32), [], []

        def work():
            call.append(time.perf_counter())
            net.forward(x)
            call.append(time.perf_counter())
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            seen.append(time.perf_counter())
            time.sleep(0.001)
        edge = (call[1] - call[0]) / 10
        self.assertTrue(any(call[0] + edge < now < call[1] - edge for now in seen))


class Misuse(unittest.TestCase):
    def setUp(self):
        self.net = stpn.Net(3, stpn.Unit("stpn_r", 4, plastic="input"), {"readout": 2}).init(0)
        self.other = stpn.Net(3, stpn.Unit("stpn_r", 4)).init(0)
        self.x = np.zeros((5, 2, 3), np.float32)

    def refuses(self, kind, says, call, *arguments, **named):
        with self.assertRaisesRegex(kind, says):
            call(*arguments, **named)

    def test_forward(self):
        net, x = self.net, self.x
        self.refuses(ValueError, r"x has shape \(5, 2, 4\), expected \(T, B, 3\)", net.forward, np.zeros((5, 2, 4), np.float32))
        self.refuses(TypeError, "float16", net.forward, x.astype(np.float16))
        self.refuses(TypeError, ">f4", net.forward, x.astype(">f4"))
        self.refuses(TypeError, "bool", net.forward, x > 0)
        self.refuses(TypeError, "complex", net.forward, x.astype(complex))
        self.refuses(TypeError, "object", net.forward, [[None]])
        self.refuses(ValueError, r"expected \(T, B\) tokens", net.forward, x.astype(np.int64))
        self.refuses(ValueError, "token of step 1, sample 0 is 3", net.forward, np.array([[0], [3]]))
        self.refuses(ValueError, "tokens from -1", net.forward, np.array([[-1]]))
        self.refuses(ValueError, "tokens from", net.forward, np.array([[2**40]]))
        self.refuses(ValueError, "another network", net.forward, x, self.other.state(2))
        self.refuses(TypeError, "state is a dict", net.forward, x, {})
        self.refuses(ValueError, "batch is 2", net.forward, x, net.state(1))
        self.refuses(ValueError, "room for 4 more steps", net.forward, x, tape=net.tape(4, 2))
        self.refuses(ValueError, "lengths are from 0 to 6", net.forward, x, lengths=[0, 6])
        self.refuses(ValueError, "lengths has shape", net.forward, x, lengths=[1])
        self.refuses(TypeError, "lengths", net.forward, x, lengths=[1.0, 2.0])
        self.refuses(ValueError, "reset has shape", net.forward, x, reset=np.zeros((2, 5)))

    def test_outputs(self):
        net, x, good = self.net, self.x, np.zeros((5, 2, 4), np.float32)
        self.refuses(TypeError, "out is a list", net.forward, x, out=[])
        self.refuses(TypeError, "float64", net.forward, x, out=good.astype(np.float64))
        self.refuses(ValueError, "out has shape", net.forward, x, out=good[:4])
        self.refuses(ValueError, "strides", net.forward, x, out=np.zeros((2, 5, 4), np.float32).transpose(1, 0, 2))
        good.flags.writeable = False
        self.refuses(ValueError, "read-only", net.forward, x, out=good)
        both = np.zeros((5, 2, 4), np.float32)
        self.refuses(ValueError, "shares memory", stpn.Net(4, stpn.Unit("rnn", 4)).forward, both, out=both)

    def test_states_and_blocks(self):
        net, state = self.net, self.net.state(2)
        self.refuses(KeyError, "units.0.F, units.0.h", state.__getitem__, "h")
        self.refuses(ValueError, "is not a number", state.__setitem__, "units.0.h", np.full((2, 4), np.nan))
        self.refuses(ValueError, "has no plasticity", state.__setitem__, "units.0.F", np.ones((2, 4, 7)))
        self.refuses(ValueError, "has shape", state.__setitem__, "units.0.h", np.ones((3, 4)))
        self.refuses(TypeError, "values of type", state.__setitem__, "units.0.h", [["a"] * 4] * 2)
        self.refuses(KeyError, "units.0.weight", net.parameters.__getitem__, "weight")
        self.refuses(ValueError, "batch is 0", net.state, 0)
        self.refuses(ValueError, "steps is 0", net.tape, 0, 2)
        self.refuses(ValueError, "seed is -1", net.init, -1)

    def test_writing_into_what_was_read(self):
        """It is a copy: what is written there would never reach the library."""
        net, state = self.net, self.net.state(2)
        for tensors, name in (net.parameters, "units.0.weight"), (net.gradient(), "readout.weight"), (state, "units.0.h"):
            for values in tensors[name], dict(tensors.items())[name], tensors.values()[list(tensors).index(name)]:
                self.refuses(ValueError, "read-only", values.__setitem__, slice(None), 1.0)
            self.refuses(ValueError, "read-only", exec, "tensors[name] *= 2", {"tensors": tensors, "name": name})
            tensors[name] = tensors[name] + 1
            tensors.update({name: tensors[name].copy()})
            self.assertTrue(tensors[name].any())

    def test_backward(self):
        net, tape, gradient = self.net, self.net.tape(5, 2), self.net.gradient()
        dy = np.zeros(net.forward(self.x, tape=tape).shape, np.float32)
        self.refuses(ValueError, "dy has shape", net.backward, tape, dy[:4], gradient)
        self.refuses(TypeError, "dy has values", net.backward, tape, dy.astype(float), gradient)
        self.refuses(TypeError, "gradient is a ndarray", net.backward, tape, dy, dy)
        self.refuses(ValueError, "the network's parameters", net.backward, tape, dy, net.parameters)
        self.refuses(ValueError, "another network", net.backward, self.other.tape(5, 2), dy, gradient)
        self.refuses(ValueError, "dstate has 3 samples", net.backward, tape, dy, gradient, dstate=net.state(3))
        self.refuses(ValueError, "dx has shape", net.backward, tape, dy, gradient, dx=dy)
        self.assertEqual(net.backward(tape, dy, gradient, dx=True).shape, self.x.shape)
        for change in (lambda: net.parameters.update(net.parameters), net.parameters.zero, lambda: net.init(1),
                       lambda: net.adam().update(gradient)):
            tape.rewind()
            net.forward(self.x, tape=tape)
            change()
            self.refuses(ValueError, "the parameters have changed since the forward pass", net.backward, tape, dy, gradient)
        net.parameters.zero()
        self.assertFalse(any(values.any() for values in net.parameters.values()))
        self.refuses(ValueError, "another network", net.adam().update, self.other.gradient())
        self.refuses(ValueError, "learning_rate|learning rate", net.adam, -1.0)
        self.refuses(TypeError, "learning_rate is 'x'", net.adam, "x")
        self.refuses(TypeError, "betas is 0.9, expected two numbers", net.adam, betas=0.9)
        self.refuses(ValueError, "norm is nan, expected 0 or more", net.clip_gradient, gradient, norm=float("nan"))
        self.refuses(ValueError, "value is -1, expected 0 or more", net.clip_gradient, gradient, -1)

    def test_heads(self):
        net, y = self.net, np.zeros((6, 4), np.float32)
        self.refuses(KeyError, "there are readout", net.head, "policy", y)
        self.refuses(ValueError, "y has shape", net.head, "readout", y[:, :3])
        self.refuses(ValueError, "dout has shape", net.head_backward, "readout", y, y)
        logits = net.head("readout", y)
        self.refuses(ValueError, "labels are from 0 to 2", net.cross_entropy, logits, [0, 1, 2, 0, 0, 0])
        self.refuses(TypeError, "labels", net.cross_entropy, logits, np.zeros(6))
        self.refuses(ValueError, "labels has shape", net.cross_entropy, logits, [0])
        self.assertEqual(net.head("readout", np.zeros((0, 4), np.float32)).shape, (0, 2))


@strategies.composite
def arrays(draw):
    """An input of a 3-input net, laid out in any way, and what it is as (T, B, 3) float64."""
    T, B = draw(strategies.integers(0, 4)), draw(strategies.integers(0, 3))
    kind = draw(strategies.sampled_from(["f4", "f8", "u1", "i4", "i8", "i2", "u2"]))
    random = np.random.default_rng(draw(strategies.integers(0, 1000)))
    if kind in ("f4", "f8", "u1"):
        whole = random.integers(0, 3, (2 * T, 2 * B, 6)).astype(kind)
        array = whole[:T, :B, :3]
        layout = draw(strategies.sampled_from(["plain", "strided", "fortran", "reversed", "transposed"]))
        array = {"plain": np.ascontiguousarray, "strided": lambda a: whole[::2, ::2, ::2], "fortran": np.asfortranarray,
                 "reversed": lambda a: a[::-1], "transposed": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2)
                 }[layout](array)
        meant = array.astype(float)
    else:
        whole = random.integers(0, 3, (2 * T, 2 * B)).astype(kind)
        array = draw(strategies.sampled_from([whole[:T, :B], whole[::2, ::2], whole.T[:B, :T].T]))
        meant = np.eye(3)[array]
    if draw(strategies.booleans()):
        array = array.copy(order="K")
        array.flags.writeable = False
    return array, meant


class Properties(unittest.TestCase):
    @given(arrays(), strategies.sampled_from(UNITS), strategies.booleans(), strategies.booleans())
    def test_any_layout_means_the_same(self, given_, unit, with_lengths, with_reset):
        array, meant = given_
        net = stpn.Net(3, stpn.Unit(unit, 4), dtype=np.float64).init(0)
        T, B = meant.shape[:2]
        lengths = np.arange(B) % (T + 1) if with_lengths else None
        reset = np.arange(T * B).reshape(T, B) % 3 == 0 if with_reset else None
        y = net.forward(array, lengths=lengths, reset=reset)
        self.assertEqual(y.shape, (T, B, 4))
        np.testing.assert_array_equal(y, net.forward(np.ascontiguousarray(meant), lengths=lengths, reset=reset))
        if lengths is not None:
            for b in range(B):
                self.assertFalse(y[lengths[b]:, b].any())

    @given(strategies.lists(strategies.integers(0, 4), max_size=4), strategies.sampled_from(["f4", "f8", "i4", "i8", "u1", "b1", "c8", "O", "U3"]))
    def test_anything_is_an_answer_or_an_error(self, shape, kind):
        net = stpn.Net(3, stpn.Unit("stpn_r", 2)).init(0)
        x = np.zeros(shape, kind)
        for call in (lambda: net.forward(x), lambda: net.step(x, net.state(2)), lambda: net.head("readout", x),
                     lambda: net.cross_entropy(x, np.zeros(shape[:-1], int)),
                     lambda: net.forward(np.zeros((2, 2, 3), np.float32), reset=x),
                     lambda: net.forward(np.zeros((2, 2, 3), np.float32), lengths=x),
                     lambda: net.parameters.__setitem__("units.0.weight", x), lambda: net.state(2).__setitem__("units.0.h", x)):
            try:
                call()
            except (TypeError, ValueError, KeyError) as problem:
                self.assertTrue(str(problem))


if __name__ == "__main__":
    unittest.main()
