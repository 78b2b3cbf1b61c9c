"""The peers that are JAX: stpn_r under jit and lax.scan (jax), with jax.checkpoint on the step (jax-checkpoint)."""
import jax
import numpy
import stpn_jax

jax.config.update("jax_platforms", "cpu")
NAMES = ("weight", "bias", "lambda", "gamma")


class Peer:
    def __init__(self, kind, case, precision="float"):
        if precision == "double":
            jax.config.update("jax_enable_x64", True)
        self.case, self.dtype = case, numpy.float64 if precision == "double" else numpy.float32
        self.one_pass = stpn_jax.make_pass(case["norm"], case["clamp"], checkpoint=kind == "jax-checkpoint")

    def draw(self):
        random, case = numpy.random.default_rng(0), self.case
        rows, inputs, hidden = (case["steps"], case["batch"]), case["inputs"], case["hidden"]
        columns, bound = inputs + hidden, hidden ** -0.5
        if case["tokens"]:
            x = numpy.eye(inputs)[random.integers(inputs, size=rows)]
        else:
            x = random.standard_normal((*rows, inputs))
        uniform = random.uniform
        self.place([uniform(-bound, bound, (hidden, columns)), uniform(-bound, bound, hidden), uniform(0, 1, (hidden, columns)),
                    uniform(-0.001 * bound, 0.001 * bound, (hidden, columns))], x, random.standard_normal((*rows, hidden)))

    def take(self, golden):
        tensors = {name: numpy.array(values).reshape(shape) for name, (shape, values) in golden.items()}
        self.place([tensors["param." + name] for name in NAMES], tensors["x"], tensors["dy"])

    def place(self, parameters, x, dy):
        self.arguments = jax.device_put((tuple(p.astype(self.dtype) for p in parameters), x.astype(self.dtype),
                                         dy.astype(self.dtype)))

    def run(self):
        self.y, self.gradients = jax.block_until_ready(self.one_pass(*self.arguments))

    def results(self):
        found = {"grad.param." + name: values for name, values in zip(NAMES, self.gradients)}
        found["y"] = self.y
        return {name: numpy.asarray(values, dtype=numpy.float64).ravel().tolist() for name, values in found.items()}
