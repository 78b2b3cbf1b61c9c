"""The examples in Python: every notebook is its script, its cells run from the first to the last, and do what they say."""
import contextlib
import glob
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import PACKAGE, SOURCE  # noqa: E402  (goes on in .venv)

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import stpn.torch  # noqa: E402

EXAMPLES = os.path.join(SOURCE, "examples")
# The constant that says how long each takes, what it is here, and what is printed then.
QUICK = {
    "01_retrieval": ("UPDATES", 3, r"update 3: loss \d\.\d+, right \d\.\d+\n"),
    "02_replace_lstm": ("UPDATES", 3, r"LSTM: right .*\nSTPN: right .*\n"),
    "03_synapses": (None, None, ""),
    "04_cartpole": ("AGENT_STEPS", 1024, r"stpn_r: .* after 1024 steps\nmlp: .* after 1024 steps\n"),
    "05_streaming": (None, None, r"c9k8j3\?\?k: .\nk1c2z3\?\?c: .\nz5x6c7\?\?z: .\n"),
    "06_recurrent_ppo": ("AGENT_STEPS", 128, r"[^$]*\d+ parameters in the STPN\n"),
}


def text_of(*names):
    with open(os.path.join(EXAMPLES, *names), encoding="utf-8") as file:
        return file.read()


def code_of(name):
    """The cells of code of a notebook, made quick."""
    cells = ["".join(cell["source"]) for cell in json.loads(text_of("notebooks", name + ".ipynb"))["cells"] if cell["cell_type"] == "code"]
    constant, value, _ = QUICK[name]
    if constant is None:
        return cells
    made = [re.subn(rf"(?m)^{constant} = [\d_]+$", f"{constant} = {value}", cell) for cell in cells]
    assert sum(count for _, count in made) == 1, name
    return [cell for cell, _ in made]


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """All in one folder and in their order: one reads what another has left."""
        matplotlib.use("Agg")
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.addClassCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        cls.names, cls.said = {}, {}
        for name in QUICK:
            cls.names[name], said = {"__name__": "__main__"}, io.StringIO()
            with contextlib.redirect_stdout(said):
                for cell in code_of(name):
                    exec(compile(cell, name, "exec"), cls.names[name])
            cls.said[name] = said.getvalue()

    def test_they_say_what_they_do(self):
        for name, (_, _, expected) in QUICK.items():
            self.assertRegex(self.said[name], rf"\A{expected}\Z", name)

    def test_notebooks_are_the_scripts(self):
        self.assertEqual([f"{name}.py" for name in QUICK], sorted(os.listdir(os.path.join(EXAMPLES, "python"))))
        told = subprocess.run([sys.executable, os.path.join(SOURCE, "scripts", "update-notebooks.py"), "--check"], check=False,
                              capture_output=True, text=True)
        self.assertEqual((told.returncode, told.stderr), (0, ""))

    def test_every_example_is_in_the_list(self):
        listed = re.findall(r"\]\(([^)]+)\)", text_of("README.md"))
        for kind in ("*.c", "python/*.py", "notebooks/*.ipynb"):
            for path in glob.glob(os.path.join(EXAMPLES, kind)):
                self.assertEqual(listed.count(os.path.relpath(path, EXAMPLES)), 1, path)

    def test_retrieval_is_short_and_runs_as_a_script(self):
        source = text_of("python", "01_retrieval.py")
        self.assertLessEqual(sum(bool(line.strip()) and not line.startswith("#") for line in source.splitlines()), 30)
        source = source.replace("UPDATES = 4000", "UPDATES = 2")
        environment = {**os.environ, **({"PYTHONPATH": PACKAGE} if PACKAGE else {})}
        with tempfile.TemporaryDirectory() as work:
            told = subprocess.run([sys.executable, "-c", source], cwd=work, capture_output=True, text=True, check=False, env=environment)
            self.assertRegex(told.stdout, r"\Aupdate 2: loss", told.stderr)
            layer, readout = stpn.torch.STPN(37, 20), torch.nn.Linear(20, 37)
            stpn.torch.load(os.path.join(work, "retrieval.safetensors"), layer, readout=readout)

    def test_synapses_learn_and_forget(self):
        """F of a symbol that is read grows, F of another decays by Lambda."""
        F, tokens, forgets = (self.names["03_synapses"][name] for name in ("F", "tokens", "LAMBDA"))
        self.assertEqual(F.shape, (60, 6, 4))
        size = F.norm(dim=1)
        for t in range(1, 60):
            for symbol in range(4):
                if symbol == tokens[t]:
                    self.assertGreater(size[t, symbol], size[t - 1, symbol])
                else:
                    torch.testing.assert_close(F[t, :, symbol], forgets * F[t - 1, :, symbol], rtol=1e-5, atol=0)
        drawn = self.names["03_synapses"]["above"].lines[0].get_ydata()
        np.testing.assert_array_equal(drawn, self.names["03_synapses"]["G"][:, 0, 0])
        with open("synapses.svg", encoding="utf-8") as file:
            self.assertIn("</svg>", file.read())

    def test_the_tutorials(self):
        """Each block of Python is a piece of the page's example, or runs after it and prints what stands below it."""
        pages = sorted(glob.glob(os.path.join(SOURCE, "docs", "tutorial", "*.md")))
        for page, name in zip(pages, QUICK):
            with open(page, encoding="utf-8") as file:
                text = file.read()
            self.assertIn(f"python/{name}.py", text)
            self.assertRegex(text.split("\n## ")[0].replace("\n", " "), "runs as it is; the blocks of Python on this page are excerpts of it")
            names, shown, run = dict(self.names[name]), 0, 0
            for language, block, output in re.findall(r"(?ms)^```(python|c)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text):
                source = text_of("python", name + ".py") if language == "python" else text_of("01_remember.c")
                if block in source:
                    shown += 1
                    continue
                self.assertEqual(language, "python", block)
                run += 1
                with contextlib.redirect_stdout(io.StringIO()) as said:
                    exec(compile(block, page, "exec"), names)
                self.assertEqual(said.getvalue(), output, page)
            self.assertTrue(shown and run, page)
        self.assertEqual(len(pages), 5)

    def test_clients_of_the_server_do_not_see_each_other(self):
        """Many that take turns at random, against each one's whole sequence at once; some leave early, one breaks the rules."""
        net, symbols, serve = (self.names["05_streaming"][name] for name in ("net", "SYMBOLS", "serve"))
        draw = np.random.default_rng(0)
        net.init(3)
        net.parameters["units.0.gamma"] = draw.normal(0, 0.3, (20, 57))  # so that answers depend on all that was before
        texts = [draw.integers(37, size=draw.integers(1, 30)) for _ in range(8)]
        server = serve()
        try:
            clients = [socket.create_connection(server.server_address, timeout=20) for _ in texts]
            turns = [index for index, text in enumerate(texts) for _ in text]
            random.Random(0).shuffle(turns)
            answers = [b""] * len(texts)
            for index in turns:
                at = len(answers[index])
                clients[index].sendall(bytes([symbols[texts[index][at]]]))
                answers[index] += clients[index].recv(1)
                if len(answers[index]) == len(texts[index]):
                    clients[index].close()
            with socket.create_connection(server.server_address, timeout=20) as client:
                client.sendall(b"!")
                self.assertEqual(client.recv(1), b"")
        finally:
            server.shutdown()
            server.server_close()
        for text, given in zip(texts, answers):
            expected = net.head("readout", net.forward(text[:, None])[:, 0]).argmax(1)
            self.assertEqual(list(given), [symbols[answer] for answer in expected])
        self.assertGreater(len(set(b"".join(answers))), 4)


if __name__ == "__main__":
    unittest.main()
