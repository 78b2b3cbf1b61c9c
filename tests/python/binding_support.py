"""What the tests of the binding share: the package as it was built, golden files. Importing it goes on in .venv."""
import glob
import json
import os
import sys

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STPN_BUILD") or os.path.join(SOURCE, "build")
# The package of the build, or of STPN_TEST_PACKAGE: empty for the one that is installed.
PACKAGE = os.environ.get("STPN_TEST_PACKAGE", os.path.join(os.path.abspath(BUILD), "python"))
sys.path[:0] = [os.path.join(SOURCE, "tests", "support"), os.path.join(SOURCE, "tests", "cli")] + [PACKAGE] * bool(PACKAGE)
if PACKAGE:
    import python_env  # noqa: E402

    python_env.use()

import numpy as np  # noqa: E402

from stpn.tensors import read_tensors  # noqa: E402

UNITS = ["stpn_r", "stpn_f", "rnn", "lstm", "gru", "mlp", "fast_weights", "plastic", "modplast", "modul", "hebbff"]


class Golden:
    """A golden file of a unit: numbers that automatic differentiation has computed elsewhere, in double."""

    def __init__(self, path):
        self.name = os.path.basename(path)[:-len(".safetensors")]
        self.tensors, told = read_tensors(path)
        self.options = json.loads(told["unit"])
        self.unit = self.options.pop("unit")
        self.inputs, self.hidden = int(told["inputs"]), int(told["hidden"])

    def part(self, prefix):
        return {name[len(prefix):]: values for name, values in self.tensors.items() if name.startswith(prefix)}

    def __getitem__(self, name):
        return self.tensors[name]


def golden_files():
    found = []
    for path in sorted(glob.glob(os.path.join(SOURCE, "tests", "golden", "*.safetensors"))):
        if read_tensors(path)[1]["kind"] == "unit":
            found.append(Golden(path))
    assert {golden.unit for golden in found} == set(UNITS)
    return found


def largest_error(found, expected):
    """Relative to the largest value that is expected, at least a thousandth of 1."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    if found.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    error = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-3)
    return float("inf") if np.isnan(error) else error
