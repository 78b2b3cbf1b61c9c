"""README.md and docs/*.md say what is true: their commands run, their links and paths lead somewhere, their tables are those
of the command, and the folders include each other as the map says."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import COMMAND, SOURCE, CommandTest, environment, read  # noqa: E402

PAGES = ["README.md", "examples/README.md"] + sorted(os.path.relpath(path, SOURCE) for path in glob.glob(
    os.path.join(SOURCE, "docs", "**", "*.md"), recursive=True))
# One epoch over two batches.
QUICK = ["--set", "train.epochs=1", "--set", "task.train=256", "--set", "task.validation=64", "--set", "task.test=64"]
# Other tasks are quick in other ways.
QUICK_TASKS = {"familiarity": ["--set", "train.epochs=1", "--set", "task.steps=60", "--set", "task.test=1"],
               "sequences": ["--set", "train.epochs=1"],
               "maze": ["--set", "train.iterations=2", "--set", "train.batch=16", "--set", "train.test_iterations=1"],
                "pendulum": ["--set", "train.steps=300", "--set", "train.rollout=100", "--set", "task.steps=50"],
                "gym": ["--set", "train.steps=512", "--set", "train.test_iterations=1"]}
# What it shows stands on what it leaves: tests/cli/test_own_data.py walks through it.
WALKED = "docs/your-own-data.md"
FOLDERS = ("include", "src", "cli", "tests", "docs", "examples", "experiments", "scripts", "share", "cmake", "python", "models", "unfinished", ".ci")
ROOT_FILE = r"(?:[A-Z][A-Za-z]+\.(?:md|txt|cff)|LICENSE|Makefile)"


def text_of(page):
    return read(os.path.join(SOURCE, page)).decode()


def blocks(page, language):
    return re.findall(r"(?ms)^```%s\n(.*?)^```$" % language, text_of(page))


def prose(page):
    """The page without its code blocks, white space as single blanks."""
    return " ".join(re.sub(r"(?ms)^```.*?^```$", "", text_of(page)).split())


def command_lines(page):
    """Words of each line of the sh blocks, with what they set in the environment in front."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield line, words


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class Commands(CommandTest):
    def setUp(self):
        super().setUp()
        for name in ("experiments", "tests"):
            os.symlink(os.path.join(SOURCE, name), self.path(name))

    def quick(self, words):
        files = [self.path(word) for word in words if word.endswith(".json")]
        if words[0] == "sweep":
            return QUICK
        task = json.loads(read(files[0]))["task"]["name"] if files else words[1]
        return QUICK_TASKS.get(task, QUICK)

    def run_words(self, words, changes):
        """The command as it stands there, but quick."""
        if words[0] in ("train", "reproduce", "sweep"):
            words = words + self.quick(words)
        if words[0] == "bench" and "retrieval" not in words:
            self.assertNotIn("--size", words)
            words = words + ["--size", "16,4,5,6"]
        expanded = []
        for word in words:
            found = sorted(glob.glob(self.path(word))) if "*" in word else [word]
            self.assertTrue(found, "%s matches nothing" % word)
            expanded += found
        result = self.run_command(*expanded, env=environment(**changes))
        self.assertEqual(result.returncode, 0, "%s: %s" % (" ".join(words), result.stderr))
        return result

    def run_line(self, words):
        changes = {}
        while re.match(r"[A-Z_]+=", words[0]):
            name, changes[name] = words[0].split("=", 1)[0], words[0].split("=", 1)[1]
            words = words[1:]
        if words[0] == "make":
            self.assertRegex(read(os.path.join(SOURCE, "Makefile")).decode(), r"(?m)^%s:" % words[1])
            if words[1] == "demo":
                self.run_words(["train", "experiments/retrieval/stpn.json", "--out", "runs/demo"], {})
            return
        if "--gif" in words and os.environ.get("STPN_GIF") == "0":
            return
        if os.environ.get("STPN_MUJOCO") == "0" and any("pendulum" in word for word in words):
            return
        if words[0] == "scripts/python-env.sh":
            self.assertTrue(os.path.exists(self.path(".venv", "complete")), "run scripts/python-env.sh")
            return
        if words[:3] == [".venv/bin/python", "-m", "stpn.plot"]:
            result = subprocess.run(words, env=environment(**changes), cwd=self.folder, capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotIn("", [result.stdout, *map(read, map(self.path, result.stdout.split()))])
            return
        self.assertIn(words[0], ("stpn", "build/stpn"), "this test knows only stpn, make and stpn.plot")
        self.run_words(words[1:], changes)

    def test_every_command_runs(self):
        count = 0
        for page in set(PAGES) - {WALKED}:
            # A page is read from its top to its end; what one leaves is not another's.
            self.folder = os.path.join(self.folder, page.replace("/", "-") + ".runs")
            os.mkdir(self.folder)
            for name in ("experiments", "models", "tests", "python", ".venv"):
                os.symlink(os.path.join(SOURCE, name), self.path(name))
            for line, words in command_lines(page):
                with self.subTest(page=page, line=line):
                    self.run_line(words)
                count += 1
            self.folder = os.path.dirname(self.folder)
        self.assertGreater(count, 12)

    def test_every_experiment_shown_trains(self):
        count = 0
        for page in set(PAGES) - {WALKED}:
            for block in blocks(page, "json"):
                experiment = json.loads(block)
                if "task" not in experiment:
                    continue
                if os.environ.get("STPN_MUJOCO") == "0" and experiment["task"]["name"] == "pendulum":
                    continue
                count += 1
                with self.subTest(page=page, name=experiment.get("name")):
                    file = self.write_experiment("shown%d.json" % count, experiment)
                    self.succeed("train", file, "--out", "shown%d" % count,
                                 *QUICK_TASKS.get(experiment["task"]["name"], QUICK))
        self.assertGreaterEqual(count, 2)

    def test_keys_are_those_of_the_command(self):
        shown = re.search(r"(?s)<!-- keys: begin [^\n]*-->\n(.*)<!-- keys: end -->", text_of("docs/experiments.md")).group(1)
        self.assertEqual(shown, self.succeed("help", "keys").stdout)

    def test_the_demo_is_the_main_experiment(self):
        script = read(os.path.join(SOURCE, "scripts", "demo.sh")).decode()
        self.assertIn("run=runs/demo\n", script)
        self.assertIn("file=experiments/retrieval/stpn.json\n", script)


class Truth(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                file = os.path.normpath(os.path.join(SOURCE, os.path.dirname(page), path)) if path else os.path.join(SOURCE, page)
                with self.subTest(page=page, link=target):
                    self.assertTrue(os.path.exists(file))
                    if anchor:
                        headings = re.findall(r"(?m)^#+ (.*)$", read(file).decode())
                        self.assertIn(anchor, [slug(heading) for heading in headings])

    def test_every_page_is_in_the_index(self):
        listed = {os.path.normpath(os.path.join("docs", link)) for link in re.findall(r"\]\(([^)\s#]+)", text_of("docs/README.md"))}
        for page in PAGES[2:]:
            if page != "docs/README.md":
                self.assertTrue({page, os.path.dirname(page)} & listed, page)

    def test_paths_exist(self):
        """Where a name stands in capitals, at least one file is called so."""
        count = 0
        for page in PAGES:
            for quoted in set(re.findall(r"`([^`\s]+)`", prose(page))):
                bare = re.fullmatch(r"[a-z_0-9]+\.[ch]", quoted)
                if re.search(r"leaky\.\w+$", quoted):  # what a reader of adding-a-unit.md writes
                    continue
                if not (quoted.startswith(tuple(folder + "/" for folder in FOLDERS)) or re.fullmatch(ROOT_FILE, quoted) or bare):
                    continue
                pattern = re.sub(r"\b(NAME|FOLDER)\b|(?<=_)NAME", "*", quoted)
                places = ["src/*/", "cli/", "include/*/"] if bare else [""]
                with self.subTest(page=page, path=quoted):
                    self.assertTrue(any(glob.glob(os.path.join(SOURCE, place + pattern)) for place in places))
                count += 1
        self.assertGreater(count, 40)

    def test_functions_are_in_the_files_named(self):
        """`FILE` (`name`, `name`)."""
        count = 0
        for page in PAGES:
            for file, names in re.findall(r"`([a-z_/0-9.]+\.[ch])` \(((?:`\w+`(?:, )?)+)\)", prose(page)):
                source = read(os.path.join(SOURCE, file)).decode()
                for name in re.findall(r"`(\w+)`", names):
                    with self.subTest(page=page, file=file, name=name):
                        self.assertRegex(source, r"\b%s\b" % name)
                    count += 1
        self.assertGreater(count, 40)

    def test_folders_include_each_other_as_the_map_says(self):
        chart, = blocks("docs/architecture.md", "mermaid")
        edges = {}
        for above, below in re.findall(r"(?m)^ *(\w+) --> (\w+)$", chart):
            edges.setdefault(above, set()).add(below)
        reach = {}
        for start in re.findall(r"(?m)^ *(\w+)\[", chart):
            seen, open_ends = {start}, [start]
            while open_ends:
                for below in edges.get(open_ends.pop(), ()):
                    if below not in seen:
                        seen.add(below)
                        open_ends.append(below)
            reach[start] = seen
        folders = {os.path.basename(path.rstrip("/")) for path in glob.glob(os.path.join(SOURCE, "src", "*/"))} | {"cli"}
        self.assertEqual(folders, set(reach))
        for path in glob.glob(os.path.join(SOURCE, "src", "*", "*.[ch]")) + glob.glob(os.path.join(SOURCE, "cli", "*.[ch]")):
            own = os.path.basename(os.path.dirname(path))
            for other in re.findall(r'(?m)^#include "(\w+)/', read(path).decode()):
                with self.subTest(file=os.path.relpath(path, SOURCE)):
                    self.assertIn(other, reach[own])

    def test_the_example_shown_is_the_example(self):
        example = [line.strip() for line in read(os.path.join(SOURCE, "examples", "01_remember.c")).decode().splitlines()]
        shown = [line.strip() for block in blocks("README.md", "c") for line in block.splitlines()]
        for line in shown:
            if line and not line.startswith("/*"):
                self.assertIn(line, example)
        self.assertGreater(len(shown), 10)


if __name__ == "__main__":
    unittest.main()
