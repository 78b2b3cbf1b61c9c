"""The synapse picture: G of each unit against a computation of its own, what is drawn where, damaged files."""
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from plot_support import PlotTest  # noqa: E402  (goes on in .venv)

import numpy as np  # noqa: E402
from support import read, read_tensors, write, write_tensors  # noqa: E402

from stpn import plot, plot_synapses, tensors  # noqa: E402

SEQUENCE = "c9k8j3??k"
TYPES = {np.dtype("f4"): "F32", np.dtype("f8"): "F64", np.dtype("i4"): "I32"}


def write_arrays(path, arrays, metadata=None):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, array in arrays.items():
        bytes_ = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": TYPES[array.dtype], "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    return write_tensors(path, header, data)


class TraceTest(PlotTest):
    def traced(self, *settings, out="run", sequence=SEQUENCE):
        words = [word for setting in settings for word in ("--set", setting)]
        self.train(out, "--set", "task.train=512", "--set", "train.epochs=2", "--set", "train.learning_rate=0.02", *words)
        self.succeed("trace", out, "--sequence", sequence)
        return plot_synapses.read_trace(self.path(out, "trace.safetensors"))

    def invented(self, unit, states, parameters, steps=4, inputs=5, **metadata):
        """A trace of a unit with random tensors of these shapes."""
        draw = np.random.default_rng(1)
        arrays = {"energy": draw.uniform(size=steps).astype("f4")}
        arrays.update({"units.0." + k: draw.normal(size=(steps + 1, *shape)).astype("f4") for k, shape in states.items()})
        arrays.update({"units.0." + k: draw.normal(size=shape).astype("f4") for k, shape in parameters.items()})
        experiment = {"name": "x", "units": [{"name": unit, "hidden": 3}]}
        path = write_arrays(self.path("invented.safetensors"), arrays, {"experiment": json.dumps(experiment), **metadata})
        return plot_synapses.read_trace(path), {name.replace("units.0.", ""): array for name, array in arrays.items()}


class Efficacies(TraceTest):
    def test_every_norm(self):
        """G of a step times its input gives the step's output; its energy is that of the file."""
        for norm in ("pre", "post", "output", "none"):
            for unit in ("stpn_r", "stpn_f"):
                with self.subTest(norm=norm, unit=unit):
                    trace = self.traced("units.0.norm=" + norm, "units.0.name=" + unit, out=norm + unit)
                    e = plot_synapses.efficacies(trace)
                    h = np.concatenate([np.zeros((1, 11)), trace.tensors["y"]])
                    for t, token in enumerate(trace.tensors["tokens"]):
                        z = np.concatenate([np.eye(37)[token], h[t]]) if unit == "stpn_r" else np.eye(37)[token]
                        output = np.tanh(e.total[t] @ z + trace.tensors["units.0.bias"])
                        np.testing.assert_allclose(output, h[t + 1], atol=2e-6)
                        self.assertAlmostEqual((z**2 * np.abs(e.total[t])).sum() / trace.tensors["energy"][t], 1, 5)
                    self.assertFalse(e.fast[0].any())
                    self.assertTrue(e.fast[1].any())
                    groups = [("keys", 26), ("values", 10), ("?", 1)]
                    self.assertEqual(e.groups, groups + [("recurrent", 11)] if unit == "stpn_r" else groups)

    def test_the_fast_part_is_what_is_not_slow(self):
        trace = self.traced()
        e, W, F = plot_synapses.efficacies(trace), trace.tensors["units.0.weight"], trace.tensors["units.0.F"]
        for t in range(9):
            for j in range(11):
                n = np.sqrt(sum((float(w) + float(f)) ** 2 for w, f in zip(W[j], F[t][j])))
                np.testing.assert_allclose(e.fast[t][j], F[t][j] / n, rtol=1e-6, atol=1e-12)
                np.testing.assert_allclose(e.total[t][j] - e.fast[t][j], W[j] / n, rtol=1e-5, atol=1e-6)

    def test_hebbff(self):
        trace, a = self.invented("hebbff", {"A": (3, 5)}, {"weight": (3, 5)})
        e = plot_synapses.efficacies(trace)
        np.testing.assert_allclose(e.total, a["weight"].astype(float) + a["A"][:-1])
        self.assertEqual(e.groups, [("inputs", 5)])

    def test_fast_weights(self):
        """A' of a step, which its inner loop uses, is the state after the step."""
        trace, a = self.invented("fast_weights", {"h": (3,), "A": (3, 3)}, {"weight": (3, 8)})
        e = plot_synapses.efficacies(trace)
        np.testing.assert_allclose(e.total[:, :, 8:], a["A"][1:])
        np.testing.assert_allclose(e.total[2, :, :8], a["weight"])
        self.assertFalse(e.fast[:, :, :8].any())
        self.assertEqual(e.groups, [("inputs", 5), ("recurrent", 3), ("inner loop", 3)])

    def test_plastic(self):
        for unit in ("plastic", "modplast", "modul"):
            trace, a = self.invented(unit, {"h": (3,), "E": (3, 3)}, {"weight_in": (3, 5), "w": (3, 3), "alpha": (3, 3)})
            e = plot_synapses.efficacies(trace)
            np.testing.assert_allclose(e.total[1], np.hstack([a["weight_in"], a["w"] + a["alpha"].astype(float) * a["E"][1]]))
            np.testing.assert_allclose(e.fast[1][:, 5:], a["alpha"].astype(float) * a["E"][1])

    def assert_energy(self, trace, e):
        """The energy of a step is that of the efficacies and their inputs; the inner loop's inputs are not in a trace."""
        if trace.units[0]["name"] == "fast_weights":
            return
        for t, token in enumerate(trace.tensors["tokens"]):
            h = trace.tensors["y"][t - 1] if t else np.zeros(6)
            z = np.concatenate([np.eye(37)[token], h])[:e.total.shape[2]]
            np.testing.assert_allclose((z**2 * np.abs(e.total[t])).sum(), trace.tensors["energy"][t], rtol=1e-5)

    def test_all_units_there_are(self):
        """Either there is a picture or it is said why there is none."""
        drawn = 0
        for unit in [entry["name"] for entry in self.document("info", "--json")["units"]]:
            trace = self.traced("units.0.name=" + unit, "units.0.hidden=6", out=unit)
            fast = [name for name, array in trace.tensors.items() if array.ndim == 3]
            try:
                e = plot_synapses.efficacies(trace)
                self.assertTrue(fast)
                self.assertEqual(sum(width for _, width in e.groups), e.total.shape[2])
                self.assertTrue(np.isfinite(e.total).all())
                self.assert_energy(trace, e)
                drawn += 1
            except plot_synapses.NoFastComponent:
                self.assertEqual(fast, [])
        self.assertGreaterEqual(drawn, 2)


class Picture(TraceTest):
    def test_what_is_drawn(self):
        trace = self.traced()
        e = plot_synapses.efficacies(trace)
        figure = plot_synapses.synapses(trace)
        panels, bar = figure.axes[:-1], figure.axes[-1]
        self.assertEqual(len(panels), 18)
        for t in range(9):
            for values, axes in zip((e.total, e.fast), panels[2 * t:2 * t + 2]):
                image, = axes.images
                np.testing.assert_array_equal(image.get_array(), values[t])
                self.assertEqual(-image.norm.vmin, image.norm.vmax)
                self.assertEqual(image.norm.vmax, plot_synapses.colour_limit(e.total))
            self.assertEqual(panels[2 * t].get_title(loc="left"), "step %d: %s" % (t + 1, SEQUENCE[t]))
            self.assertEqual(panels[2 * t].lines[-1].get_xdata(), [trace.tensors["tokens"][t]])
        self.assertEqual([label.get_text() for label in panels[-1].get_xticklabels()], ["keys", "values", "?", "recurrent"])
        self.assertEqual({label.get_text() for label in panels[-1].get_xticklabels(minor=True)}, set("cjk389"))
        self.assertIn("dimensionless", bar.get_ylabel())

    def test_long_sequences_in_part(self):
        shown = plot_synapses._shown_steps(5000)
        self.assertEqual((len(shown), shown[0], shown[-1]), (12, 0, 4999))
        figure = plot_synapses.synapses(self.traced(sequence="a1" * 20))
        self.assertEqual(len(figure.axes), 25)

    def test_a_few_large_values_do_not_make_the_rest_pale(self):
        values = np.full((4, 50, 50), 0.1)
        values[0, 0, 0] = 1e6
        self.assertEqual(plot_synapses.colour_limit(values), 0.1)
        self.assertEqual(plot_synapses.colour_limit(np.zeros((1, 1, 1))), 1)
        self.assertEqual(plot_synapses.colour_limit(np.full((1, 1, 1), np.nan)), 1)

    def test_names_of_the_files(self):
        self.traced(out="here")
        self.traced("units.0.name=stpn_f", "units.0.hidden=5", out="there")
        os.rename(self.path("there", "trace.safetensors"), self.path("mine.safetensors"))
        result = self.plot("here", "mine.safetensors", "--format", "svg")
        pictures = [name for name in result.stdout.split() if "synapses" in name]
        self.assertEqual(pictures, ["figures/synapses-here.svg", "figures/synapses-mine.svg"])
        self.plot("here", "mine.safetensors", "--format", "svg", "--out", "again")
        self.assertEqual(read(self.path(pictures[0])), read(self.path("again", "synapses-here.svg")))


class Damaged(TraceTest):
    def setUp(self):
        super().setUp()
        self.traced()
        os.rename(self.path("run", "trace.safetensors"), self.path("good"))

    def refused(self, path, says):
        with self.assertRaises(tensors.TensorFileError) as caught:
            plot_synapses.efficacies(plot_synapses.read_trace(path))
        self.assertIn(says, str(caught.exception))
        self.assertIn(str(path), str(caught.exception))
        result = self.plot(path, code=2)
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def changed(self, change):
        header, data = read_tensors(self.path("good"))
        return write_tensors(self.path("bad"), change(header) or header, data)

    def test_no_safetensors_file(self):
        good = read(self.path("good"))
        for content in (b"", b"abc", b"\0" * 8, b"\xff" * 100, good[:-1], good + b"x"[:0] + b"", good[:200], struct.pack("<Q", 2) + b"[]",
                        struct.pack("<Q", 3) + b'{"a', struct.pack("<Q", 10 ** 9) + b"{}"):
            if content != good:
                with self.subTest(content=content[:20]):
                    self.refused(write(self.path("bad"), content), "bad")

    def test_wrong_entries(self):
        for key, value in (("dtype", "F16"), ("dtype", 3), ("shape", [-1, 11]), ("shape", [1 << 62, 1 << 62]), ("shape", [2.0]), ("shape", 7),
                           ("data_offsets", [0]), ("data_offsets", [0, 1 << 40]), ("data_offsets", [-4, 0])):
            with self.subTest(key=key, value=value):
                self.refused(self.changed(lambda header: header["units.0.F"].update({key: value})), "units.0.F")
        self.refused(self.changed(lambda header: header.update({"units.0.F": 3})), "units.0.F")
        self.refused(self.changed(lambda header: header.update({"__metadata__": 3})), "__metadata__")

    def test_another_kind_of_file(self):
        self.refused(self.path("run", "last.safetensors"), "is no file of stpn trace")
        for text in ("{", "[]", "{}", '{"units": 3}', '{"units": [{}]}'):
            path = self.changed(lambda header: header["__metadata__"].update({"experiment": text}))
            self.refused(path, "is no file of stpn trace")

    def test_tensors_that_do_not_fit(self):
        self.refused(self.changed(lambda header: header.pop("units.0.weight") and None), "units.0.weight")
        self.refused(self.changed(lambda header: header["units.0.F"].update(shape=[5, 22, 48])), "units.0.F")
        self.refused(self.changed(lambda header: header["units.0.F"].update(shape=[10, 48, 11])), "do not fit")
        self.refused(self.changed(lambda header: header.pop("units.0.F") and None), "units.0.F")
        self.refused(self.changed(lambda header: header["tokens"].update(shape=[3, 3])), "tokens")

    def test_collect_names_them(self):
        write(self.path("run", "trace.safetensors"), "nonsense")
        result = self.plot("run", "--format", "svg", code=1)
        self.assertIn("trace.safetensors", result.stderr)
        self.assertEqual(len(result.stdout.split()), 3)
        runs, traces, problems = plot.collect([self.path("run")])
        self.assertEqual((len(runs), len(traces), len(problems)), (1, 0, 1))


if __name__ == "__main__":
    unittest.main()
