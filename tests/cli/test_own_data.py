"""Data of one's own: the same numbers from every kind of file, the example, and where files are looked for."""
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest
import zlib

sys.path[1:1] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")]
import python_env  # noqa: E402

python_env.use()

import numpy as np  # noqa: E402
from support import SOURCE, CommandTest, read, write, write_tensors  # noqa: E402

EXAMPLE = os.path.join(SOURCE, "experiments", "own-data")


def save_safetensors(path, arrays):
    names = {"f4": "F32", "f8": "F64", "i4": "I32", "i8": "I64", "u1": "U8"}
    header, data = {}, b""
    for name, values in arrays.items():
        header[name] = {"dtype": names[values.dtype.str[1:]], "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    write_tensors(path, header, data)


class OwnData(CommandTest):
    def setUp(self):
        super().setUp()
        draw = np.random.default_rng(1)
        inputs = draw.normal(size=(40, 12, 3)).astype("f4")
        self.arrays = {"inputs": inputs, "labels": (np.cumsum(inputs[:, :, 0], axis=1) > 0).astype("i8"),
                       "lengths": draw.integers(3, 13, 40).astype("i4"), "split": (np.arange(40) % 4).clip(0, 2).astype("i4")}

    def experiment(self, name, file, folder=".", **more):
        task = dict({"name": "sequences", "file": file}, **more)
        content = {"name": "own", "seed": 1, "task": task, "units": [{"name": "stpn_r", "hidden": 6}],
                   "train": {"epochs": 3, "batch": 8, "shuffle": True}}
        os.makedirs(self.path(folder), exist_ok=True)
        return self.write_experiment(os.path.join(folder, name), content)

    def save_csv(self, path):
        a = self.arrays
        with open(path, "w") as file:
            file.write("id,when,x,y,z,split,label\n")
            for n in range(40):
                for t in range(a["lengths"][n]):
                    x, y, z = (repr(float(v)) for v in a["inputs"][n, t])
                    file.write("dev%d,day %d,%s,%s,%s,%d,%d\n" % (n, t, x, y, z, a["split"][n], a["labels"][n, t]))

    def parameters_of(self, folder):
        return read(self.path(folder, "best.safetensors"))[-400:]

    def test_every_kind_of_file_gives_the_same_bits(self):
        a = self.arrays
        save_safetensors(self.path("data.safetensors"), a)
        np.savez(self.path("data.npz"), **a)
        np.savez_compressed(self.path("packed.npz"), **{k: v.astype(v.dtype.newbyteorder(">")) for k, v in a.items()})
        np.savez(self.path("order.npz"), **{k: np.asfortranarray(v) for k, v in a.items()})
        self.save_csv(self.path("data.csv"))
        parameters = set()
        for file in ("data.safetensors", "data.npz", "packed.npz", "order.npz", "data.csv"):
            more = {"sequence": "id", "inputs": "x,y,z", "label": "label"} if file.endswith("csv") else {}
            self.file = self.experiment(file + ".json", file, **more)
            self.train(file + ".run")
            parameters.add(self.parameters_of(file + ".run"))
            summary = json.loads(read(self.path(file + ".run", "summary.json")))
            self.assertEqual((summary["test"]["sequences"], summary["validation"]["sequences"]), (20, 10))
        self.assertEqual(len(parameters), 1)

    def test_a_file_is_found_from_everywhere(self):
        self.file = self.experiment("own.json", "../data/own.npz", "here/experiments")
        os.makedirs(self.path("here", "data"))
        np.savez(self.path("here", "data", "own.npz"), **self.arrays)
        self.train("run")
        first = self.document("eval", "run", "--json")
        data = read(self.path("here", "data", "own.npz"))
        self.assertEqual(read(self.path("run", "origin.txt")).decode(), "%s\n%d bytes, CRC32 %08x\n" % (
            os.path.realpath(self.path("here", "experiments")), len(data), zlib.crc32(data)))
        for name in ("experiment.json", "last.safetensors", "best.safetensors", "metrics.csv"):
            self.assertNotIn(os.path.realpath(self.folder).encode(), read(self.path("run", name)), name)
        self.assertIn(b"../data/own.npz", read(self.path("run", "last.safetensors")))
        # From another folder, and the run moved.
        os.makedirs(self.path("elsewhere", "runs"))
        shutil.move(self.path("run"), self.path("elsewhere", "runs", "moved"))
        kept, self.folder = self.folder, self.path("elsewhere")
        self.assertEqual(self.document("eval", "runs/moved", "--json")["test"], first["test"])
        self.train("runs/moved", "--resume")
        # What a run leaves is an experiment file too.
        self.file = "runs/moved/experiment.json"
        self.train("again")
        self.assertEqual(self.parameters_of("again"), self.parameters_of("runs/moved"))
        self.folder = kept

    def test_an_interrupted_run_goes_on(self):
        np.savez(self.path("own.npz"), **self.arrays)
        self.file = self.experiment("own.json", "own.npz")
        long = ["--set", "train.epochs=3000"]
        self.train("whole", *long)
        self.interrupted_run("broken", *long)
        self.train("broken", "--resume", *long)
        self.assertEqual(read(self.path("whole", "last.safetensors")), read(self.path("broken", "last.safetensors")))

    def test_other_data_are_not_gone_on_with(self):
        np.savez(self.path("own.npz"), **self.arrays)
        self.file = self.experiment("own.json", "own.npz")
        long = ["--set", "train.epochs=3000"]
        self.interrupted_run("run", *long)
        self.arrays["inputs"][0, 0, 0] += 1
        np.savez(self.path("own.npz"), **self.arrays)
        self.refuse(2, "train", self.file, "--out", "run", "--resume", *long, says=["own.npz: has", "started with"])
        # Moved data, and who says so by hand.
        self.arrays["inputs"][0, 0, 0] -= 1
        os.mkdir(self.path("moved"))
        np.savez(self.path("moved", "own.npz"), **self.arrays)
        os.remove(self.path("own.npz"))
        write(self.path("run", "origin.txt"), self.path("moved") + "\n")
        self.document("eval", "run", "--json")
        write(self.path("run", "origin.txt"), "")
        self.refuse(2, "eval", "run", says=["origin.txt", "folder of the data"])

    def test_damaged_files_are_refused_and_leave_no_run(self):
        np.savez(self.path("own.npz"), **self.arrays)
        whole = read(self.path("own.npz"))
        self.file = self.experiment("own.json", "own.npz")
        write(self.path("own.npz"), whole[:-30])
        self.refuse(2, "train", self.file, "--out", "run", says=["own.npz", "directory"])
        write(self.path("own.npz"), whole[:300] + b"\0\0\0\0" + whole[304:])
        self.refuse(2, "train", self.file, "--out", "run", says=["own.npz", "checksum"])
        broken = dict(self.arrays, inputs=np.where(np.arange(3) == 1, np.nan, self.arrays["inputs"]))
        np.savez(self.path("own.npz"), **broken)
        self.refuse(2, "train", self.file, "--out", "run", says=['own.npz: array "inputs" at [0, 0, 1]', "nan"])
        os.remove(self.path("own.npz"))
        self.refuse(2, "train", self.file, "--out", "run", says=["own.npz", "cannot be opened"])
        self.assertFalse(os.path.exists(self.path("run", "experiment.json")))

    def test_a_batch_larger_than_the_data_is_refused(self):
        np.savez(self.path("own.npz"), **self.arrays)
        self.file = self.experiment("own.json", "own.npz")
        self.refuse(2, "train", self.file, "--out", "run", "--set", "train.batch=11", says=["train.batch is 11", "10"])

    def test_streams_in_windows_of_the_learner(self):
        write(self.path("stream.csv"), "x\n" + "".join("%d\n" % (t // 3 % 2) for t in range(3000)))
        self.file = self.experiment("own.json", "stream.csv", inputs="x", target="x", ahead=2)
        self.train("run", "--set", "train.batch=1", "--set", "train.truncate=50", "--set", "train.epochs=20",
                   "--set", "train.learning_rate=0.01")
        self.assertLess(json.loads(read(self.path("run", "summary.json")))["test"]["loss"], 0.1)


class Example(CommandTest):
    def test_the_table_is_what_its_program_writes(self):
        shutil.copy(os.path.join(EXAMPLE, "make_greenhouse.py"), self.folder)
        subprocess.run([sys.executable, self.path("make_greenhouse.py")], check=True)
        self.assertEqual(read(self.path("greenhouse.csv")), read(os.path.join(EXAMPLE, "greenhouse.csv")))

    def test_the_example_learns(self):
        """Loss 1 would be the mean of the training data; the page says what comes out."""
        self.succeed("train", os.path.join(EXAMPLE, "greenhouse.json"), "--out", "run")
        summary = json.loads(read(self.path("run", "summary.json")))
        self.assertLess(summary["test"]["loss"], 0.5)


class Page(CommandTest):
    def test_what_the_page_shows_works(self):
        """docs/your-own-data.md from its top to its end, in one folder."""
        os.symlink(os.path.join(SOURCE, "experiments"), self.path("experiments"))
        page = read(os.path.join(SOURCE, "docs", "your-own-data.md")).decode()
        blocks = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", page)
        self.assertEqual([language for language, _ in blocks], ["text", "sh", "text", "python", "json", "sh", "sh"])
        example = read(os.path.join(EXAMPLE, "greenhouse.json")).decode()
        heading = read(os.path.join(EXAMPLE, "greenhouse.csv")).decode().splitlines(keepends=True)[:2]
        self.assertEqual(blocks[0][1], "".join(heading))
        self.assertIn(" ".join(blocks[2][1].split()), " ".join(example.split()))
        for language, text in blocks:
            if language == "python":
                subprocess.run([sys.executable, "-c", text], cwd=self.folder, check=True)
            if language == "json":
                write(self.path("mine.json"), text)
            for line in text.splitlines() if language == "sh" else []:
                words = shlex.split(line)
                self.assertEqual(words[0], "stpn")
                self.succeed(*words[1:])
        losses = {name: json.loads(read(self.path("runs", name, "summary.json")))["test"] for name in ("greenhouse", "mine-s0")}
        said = float(re.search(r"test loss of about ([0-9.]+)\.", page).group(1))
        self.assertAlmostEqual(losses["greenhouse"]["loss"], said, delta=0.15)
        self.assertGreater(losses["mine-s0"]["accuracy"], 0.8)


class Familiarity(CommandTest):
    def test_every_experiment_file_trains(self):
        files = [f for f in sorted(glob.glob(os.path.join(SOURCE, "experiments", "familiarity", "*.json")))
                 if not f.endswith("reproduce.json")]
        self.assertEqual(len(files), 6)
        for file in files:
            for regime in ("fixed", "fresh"):
                name = os.path.basename(file) + regime
                with self.subTest(file=name):
                    self.succeed("train", file, "--out", name, "--set", "train.epochs=2", "--set", "task.steps=60", "--set",
                                 "task.regime=" + regime)
                    probes = json.loads(read(self.path(name, "summary.json")))["probes"]
                    self.assertEqual([p["name"] for p in probes], ["R=%d" % r for r in range(1, 21)])
                    for probe in probes:
                        for key in ("accuracy", "true_positive_rate", "false_positive_rate"):
                            self.assertIn(key, probe)


if __name__ == "__main__":
    unittest.main()
