"""bench/scaling.py: what it reads and what its model says; bench/namespaces.py: two hosts on one, and nothing left of them."""
import argparse
import json
import os
import subprocess
import sys
import unittest

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STPN_BUILD") or os.path.join(SOURCE, "build")
BENCH = os.path.join(SOURCE, "bench")
sys.path.insert(0, BENCH)

import common  # noqa: E402
import namespaces  # noqa: E402
import scaling  # noqa: E402

SWITCH, PING = os.path.join(BUILD, "bench_delay_switch"), os.path.join(BUILD, "bench_ping")
PROFILE = """runs/a: where the time went
part                      seconds      %
start                       0.500    4.3
data                        1.000   10.0
read-out and loss           2.000    3.2
sum of gradients            0.500    3.2
optimiser                   0.250    0.0
evaluation                  0.750    6.9
files                       0.250    0.7
all                         5.250  100.0
the environment's process   1.000   20.0
"""
COUNTS = "ranks: 2; rank 0 sent 4000 bytes in 30 messages, received 4000 bytes in 30 messages, 0.0900 s in them, 10 updates\n"


def run_of(network, ranks, exchanging=0.0):
    parts, counts = scaling.read_profile(PROFILE + COUNTS.replace("ranks: 2", "ranks: %d" % ranks), ranks)
    if counts:
        counts["seconds"] = exchanging
    return {"workload": "retrieval", "network": network, "ranks": ranks, "parts": parts, "seconds": 3.75, "exchange": counts}


def ping_of(latency):
    return [{"bytes": 8, "seconds_least": latency}, {"bytes": 4096, "seconds_least": latency + 4088e-9}]


class Profile(unittest.TestCase):
    def test_parts_and_counts(self):
        parts, counts = scaling.read_profile(PROFILE + COUNTS, 2)
        self.assertEqual(parts["read-out and loss"], 2)
        self.assertEqual(parts["all"], 5.25)
        self.assertEqual(counts, {"ranks": 2, "sent": 4000, "sends": 30, "received": 4000, "receives": 30, "seconds": 0.09,
                                  "updates": 10})
        self.assertIsNone(scaling.read_profile(PROFILE, 1)[1])

    def test_what_is_not_there(self):
        for text, ranks, says in (("", 1, "no profile"), (PROFILE, 2, "built with MPI"), (PROFILE + COUNTS, 4, "4 ranks were started")):
            with self.assertRaisesRegex(common.Failed, says):
                scaling.read_profile(text, ranks)


class Model(unittest.TestCase):
    def test_whole_chunks(self):
        self.assertEqual([scaling.chunks_share(8, ranks) for ranks in (1, 2, 3, 8, 64)], [1, 1 / 2, 3 / 8, 1 / 8, 1 / 8])

    def test_the_line_through_two_sizes(self):
        ping = ping_of(1e-4) + [{"bytes": 65536, "seconds_least": 1}]
        latency, bandwidth = scaling.line(ping, 400)
        self.assertEqual(latency, 1e-4)
        self.assertAlmostEqual(bandwidth, 1e9, delta=1)
        self.assertLess(scaling.line(ping, 5000)[1], 1e5)
        self.assertEqual(scaling.line(ping, 1 << 30), scaling.line(ping, 5000))

    def test_a_document(self):
        delays = {"host": None, "100 us": 100, "1000 us": 1000}
        waits = {"host": 1e-5, "100 us": 6.1e-4, "1000 us": 6.01e-3}  # six latencies an update
        document = {"machine": {"processors": 2}, "ping": {name: ping_of(1e-6 * (delay or 0)) for name, delay in delays.items()},
                    "runs": [run_of("host", 1)] + [run_of(name, ranks, 10 * waits[name] * (1 if ranks == 2 else 2))
                                                   for name in delays for ranks in (2, 4)]}
        scaling.conclude(document, delays)
        work = document["workloads"]["retrieval"]
        self.assertEqual((work["chunks"], work["messages"], work["bytes"]), (8, 6, 800))
        self.assertAlmostEqual(work["shared"], 0.35)
        self.assertAlmostEqual(work["repeated"], 0.025)
        self.assertAlmostEqual(work["waits"], 6)
        runs = {(run["network"], run["ranks"]): run for run in document["runs"]}
        self.assertAlmostEqual(runs["1000 us", 4]["model_exchanging"], 2 * (6e-3 + 800e-9))
        self.assertAlmostEqual(runs["1000 us", 4]["added"], 0.012)
        self.assertAlmostEqual(runs["1000 us", 2]["model_added"], 6e-3)
        self.assertAlmostEqual(runs["100 us", 2]["model"], 0.2 + 6e-4 + 800e-9)
        slow = next(row for row in document["model"] if row["network"] == "1000 us")
        self.assertEqual(len(slow["seconds"]), len(document["ranks_modelled"]))
        self.assertAlmostEqual(slow["seconds"][0], 0.375)
        text = scaling.report(document)
        self.assertIn("| retrieval | host | 4 |  |  |  | 0.020 |", text)  # no time of more ranks than processors
        self.assertIn("2 processors: more ranks", text)
        json.dumps(document)

    def test_ranks(self):
        self.assertEqual(scaling.ranks_list("4,1,2"), [2, 4])
        for text in "4", "1", "2,65":
            with self.assertRaises(argparse.ArgumentTypeError):
                scaling.ranks_list(text)


class Namespaces(unittest.TestCase):
    def run_program(self, *words):
        program = [sys.executable, os.path.join(BENCH, "namespaces.py"), "--switch", SWITCH, *words]
        return subprocess.run(program, capture_output=True, text=True)

    def test_processors_are_dealt(self):
        count = len(os.sched_getaffinity(0))
        dealt = [word for number in range(1, count + 1) for word in namespaces.share(number, count).split(",")]
        self.assertEqual(sorted(map(int, dealt)), sorted(os.sched_getaffinity(0)))
        self.assertIn(int(namespaces.share(count + 1, count + 1)), os.sched_getaffinity(0))

    def test_what_is_missing_is_said(self):
        with self.assertRaisesRegex(namespaces.Missing, "/nowhere/switch .make bench-programs"):
            namespaces.require("/nowhere/switch")
        result = subprocess.run([sys.executable, os.path.join(BENCH, "namespaces.py"), "--switch", "/nowhere", "true"],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 3)
        self.assertIn("/nowhere (make bench-programs)", result.stderr)
        self.assertNotIn("Traceback", result.stderr)

    def test_two_hosts(self):
        try:
            with namespaces.Network(2, 0, switch=SWITCH):
                pass
        except namespaces.Missing as missing:
            self.skipTest(str(missing))
        result = self.run_program("--delay", "20000", "--", "sh", "-c", 'hostname; echo "a  b"')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(sorted(result.stdout.splitlines()), ["a  b", "a  b", "stpn-bench-1", "stpn-bench-2"])
        self.assertEqual(self.run_program("--", "sh", "-c", "exit 7").returncode, 7)
        if os.access(PING, os.X_OK):
            result = self.run_program("--delay", "2000", "--", PING, "0.001")
            for row in json.loads(result.stdout):
                self.assertGreater(row["seconds_least"], 0.00199, row)
        self.assertNotIn(namespaces.PREFIX, namespaces.ip("netns", "list"))
        self.assertFalse(os.path.exists(namespaces.FOLDER))


if __name__ == "__main__":
    unittest.main()
