"""stpn train --profile: a table whose parts add up, and a run with the same bits."""
import os
import re
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import QUICK, CommandTest, read  # noqa: E402

PARTS = ["start", "data", "encoder", "forward", "read-out and loss", "backward", "sum of gradients", "ranks", "optimiser", "evaluation",
         "files", "waiting", "rest", "all"]
HEADING = re.compile(r"^(.*): where the time went$", re.MULTILINE)


class Profile(CommandTest):
    def table(self, text):
        """Rows of numbers by part, out of the lines that follow a heading."""
        heading, *lines = text[HEADING.search(text).start():].splitlines()
        self.assertRegex(lines[0], r"\Apart +seconds +%( +(the other thread|each of \d+ others) +%)?\Z")
        rows = {}
        for line in lines[1:len(PARTS) + 1]:
            name, numbers = re.fullmatch(r"(\S+(?: \S+)*)  +(\d.*)", line).groups()
            rows[name] = [float(number) for number in numbers.split()]
        self.assertEqual(list(rows), PARTS)
        for row in rows.values():
            self.assertEqual(len(row), 4 if "other" in lines[0] else 2)
        return rows

    def assert_adds_up(self, rows):
        *parts, whole = rows.values()
        for column, digits in enumerate([0.001, 0.1] * (len(whole) // 2)):
            self.assertTrue(all(row[column] >= 0 for row in parts))
            self.assertAlmostEqual(sum(row[column] for row in parts), whole[column], delta=digits * len(PARTS) / 2)
        # Every thread was at something all the time.
        self.assertEqual(len({whole[column] for column in range(0, len(whole), 2)}), 1)
        self.assertEqual({whole[column] for column in range(1, len(whole), 2)}, {100.0})

    def test_the_parts_add_up_to_the_time_of_the_run(self):
        for threads in ("1", "2", "5"):
            result = self.train("run " + threads, "--threads", threads, "--profile")
            rows = self.table(result.stderr)
            self.assert_adds_up(rows)
            self.assertEqual(len(rows["all"]), 2 if threads == "1" else 4)
            seconds = float(re.search(r"epochs in ([\d.]+) s", result.stdout).group(1))
            self.assertGreaterEqual(rows["all"][0], seconds - 0.1)
            # Thirty epochs; which thread takes how much of them is left to the system.
            for part in ("forward", "read-out and loss", "backward", "evaluation"):
                self.assertGreater(max(rows[part][::2]), 0, part)
            self.assertGreater(rows["files"][0], 0)
            self.assertLess(rows["rest"][0], rows["all"][0])

    def test_threads_do_not_count_as_at_work_where_they_have_none(self):
        """A batch of two chunks leaves all but two threads waiting in updates."""
        rows = self.table(self.train("run", "--threads", "9", "--profile").stderr)
        self.assert_adds_up(rows)
        self.assertGreater(rows["waiting"][2], rows["forward"][2])
        for part in ("start", "data", "optimiser", "files", "rest"):
            self.assertEqual(rows[part][2:], [0, 0], part)

    def test_the_bits_are_those_without(self):
        for threads in ("1", "2"):
            self.train("plain " + threads, *QUICK, "--threads", threads)
            self.train("told " + threads, *QUICK, "--threads", threads, "--profile")
            self.assert_same_run("plain 1", "told " + threads)
        self.assertEqual(read(self.path("plain 1", "experiment.json")), read(self.path("told 2", "experiment.json")))

    def test_the_result_stands_on_standard_output_alone(self):
        plain = self.train("plain", *QUICK)
        told = self.train("told", *QUICK, "--profile")
        tidy = [re.sub(r"\A\w+: |in [\d.]+ s", "", result.stdout) for result in (plain, told)]
        self.assertEqual(*tidy)
        self.assertNotIn("where the time went", plain.stderr)
        self.assertEqual(HEADING.findall(told.stderr), ["told"])

    def test_quiet_prints_the_table_alone(self):
        result = self.train("run", *QUICK, "--quiet", "--profile")
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("run: where the time went\n"))
        self.assertEqual(len(result.stderr.splitlines()), 2 + len(PARTS))

    def test_every_seed_has_its_table(self):
        result = self.train("all", *QUICK, "--seeds", "0,2", "--profile")
        self.assertEqual(HEADING.findall(result.stderr), ["all/s0", "all/s2"])

    def test_a_finished_run_has_none(self):
        self.train("run", *QUICK)
        self.assertNotIn("where the time went", self.train("run", *QUICK, "--resume", "--profile").stderr)

    def test_a_stopped_run_has_one_before_it_says_how_to_go_on(self):
        messages = self.interrupted_run("run", "--profile", number=signal.SIGTERM)
        self.assert_adds_up(self.table(messages))
        self.assertRegex(messages, r"go on with: [^\n]*--profile[^\n]*\n\Z")

    def test_a_run_that_fails_has_its_message_alone(self):
        self.train("run", *QUICK)
        self.refuse(2, "train", self.file, "--out", "run", *QUICK, "--profile", says="holds a run already")


if __name__ == "__main__":
    unittest.main()
