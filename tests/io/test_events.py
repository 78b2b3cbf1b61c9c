"""The event files of a run, read back by tensorboard."""
import csv
import os
import signal
import sys
import time
import unittest

sys.path[1:1] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), folder) for folder in ("support", "cli")]
import python_env  # noqa: E402

python_env.use()

from support import QUICK, CommandTest, read, write  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: E402

NAME = "events.out.tfevents.stpn"
# Seconds, so that a signal finds it at work on a busy machine too.
LONG = ["--set", "train.epochs=100"]


def tag_of(column):
    """train_loss is shown as loss/train."""
    part, _, what = column.partition("_")
    return "%s/%s" % (what, part) if part in ("train", "validation") else column


class Events(CommandTest):
    def events_of(self, folder):
        events = EventAccumulator(self.path(folder), size_guidance={"scalars": 0})
        events.Reload()
        return events

    def assert_metrics(self, folder):
        """Every number of metrics.csv is there, and nothing else."""
        rows = list(csv.DictReader(read(self.path(folder, "metrics.csv")).decode().splitlines()))
        events = self.events_of(folder)
        clock = "epoch" if "epoch" in rows[0] else "iteration"
        columns = [column for column in rows[0] if column != clock]
        self.assertEqual(sorted(events.Tags()["scalars"]), sorted(tag_of(column) for column in columns))
        start = None
        for column in columns:
            scalars = events.Scalars(tag_of(column))
            self.assertEqual([s.step for s in scalars], [int(row[clock]) for row in rows])
            for scalar, row in zip(scalars, rows):
                self.assertAlmostEqual(scalar.value, float(row[column]), delta=1e-6 * abs(float(row[column])))
                start = start or scalar.wall_time - float(row["seconds"])
                self.assertAlmostEqual(scalar.wall_time - float(row["seconds"]), start, places=3)
        self.assertLess(abs(time.time() - start), 600)
        return rows

    def test_all_metrics_are_there(self):
        self.train("run", *QUICK)
        self.assertEqual(len(self.assert_metrics("run")), 3)

    def test_in_an_environment(self):
        self.file = self.write_experiment("maze.json", {
            "name": "maze", "task": {"name": "maze", "steps": 9}, "units": [{"name": "stpn_r", "hidden": 3}],
            "train": {"iterations": 5, "batch": 4, "evaluate_every": 2, "test_iterations": 1}})
        self.train("run")
        self.assertEqual([row["iteration"] for row in self.assert_metrics("run")], ["2", "4", "5"])

    def test_a_stopped_and_resumed_run_has_each_row_once(self):
        self.interrupted_run("run", *LONG)
        before = self.assert_metrics("run")
        self.assertLess(len(before), 100)
        self.train("run", "--resume", *LONG)
        self.assertEqual(len(self.assert_metrics("run")), 100)

    def test_a_killed_run_is_readable_and_goes_on(self):
        process = self.start("train", self.file, "--out", "run", *LONG)
        self.wait_for(os.path.join("run", NAME), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.events_of("run")
        self.train("run", "--resume", *LONG)
        self.assertEqual(len(self.assert_metrics("run")), 100)

    def test_a_torn_file_is_mended(self):
        self.interrupted_run("run", *LONG)
        path = self.path("run", NAME)
        write(path, read(path)[:-7])
        self.train("run", "--resume", *LONG)
        self.assertEqual(len(self.assert_metrics("run")), 100)

    def test_who_follows_a_file_sees_what_comes(self):
        process = self.start("train", self.file, "--out", "run", "--set", "train.epochs=100000")
        self.wait_for(os.path.join("run", NAME), process)
        loader = EventFileLoader(self.path("run", NAME))
        steps = [event.step for event in loader.Load() if event.summary.value]
        limit = time.monotonic() + 60
        while len(steps) < 3 or steps[-1] < steps[0] + 2:
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.05)
            steps += [event.step for event in loader.Load() if event.summary.value]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        steps += [event.step for event in loader.Load() if event.summary.value]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        self.assertEqual(len(steps), len(self.assert_metrics("run")))


if __name__ == "__main__":
    unittest.main()
