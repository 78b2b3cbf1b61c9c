#!/usr/bin/env python3
"""Training over ranks: what stpn train exchanges under mpirun, what it takes on one host and between network namespaces with a
set delay (bench/namespaces.py), and a model of it for up to 64 ranks, held against what was measured. Needs root, and stpn
built with MPI.

A table in Markdown goes to standard output, progress to standard error, all that was measured with --json FILE into a file.
Every rank has one thread. docs/scaling.md has the formulas."""
import argparse
import json
import math
import os
import re
import sys
import tempfile

import common
import namespaces

CHUNK = 16  # samples of which one rank computes all or none, in batches of 64 and more
WORKLOADS = {  # the experiment, what of it is changed, and the samples of an update
    "retrieval": ("retrieval/stpn.json", {"train.epochs": 1, "task.validation": 160, "task.test": 160}, 128),
    "maze": ("maze/stpn.json", {"train.iterations": 6, "train.test_iterations": 1}, 512),
    # As the file has it an update is of 3 sequences, less than a chunk: ranks cannot share it.
    "pendulum": ("pendulum/stpn_f.json", {"train.steps": 8192, "train.test_iterations": 1}, 3),
    "pendulum-128": ("pendulum/stpn_f.json", {
        "train.steps": 61440, "train.batch": 128, "train.rollout": 120, "train.minibatch": 2560, "train.test_iterations": 1}, 128),
}
NETWORKS = {"host": None, "100 us": 100, "1000 us": 1000}  # microseconds one way
NOT_UPDATES = ("start", "evaluation", "files")
SHARED = ("data", "encoder", "forward", "read-out and loss", "backward", "sum of gradients")  # the rest every rank does
RANKS_MOST = 64

COUNTS = re.compile(r"^ranks: (?P<ranks>\d+); rank 0 sent (?P<sent>\d+) bytes in (?P<sends>\d+) messages, received "
                    r"(?P<received>\d+) bytes in (?P<receives>\d+) messages, (?P<seconds>[0-9.]+) s in them, "
                    r"(?P<updates>\d+) updates$", re.M)
PART = re.compile(r"^(?P<name>[a-z][a-z -]*?)  +(?P<seconds>[0-9]+\.[0-9]{3})  +[0-9.]+", re.M)


# ---------------------------------------------------------------------------------------------------------- what is run

def read_profile(text, ranks):
    """Of what --profile has printed: seconds of each part of rank 0, and with several ranks what it exchanged."""
    parts = {found["name"]: float(found["seconds"]) for found in PART.finditer(text)}
    counts = COUNTS.search(text)
    if "all" not in parts:
        raise common.Failed("stpn printed no profile: %s" % text.strip()[-500:])
    if ranks == 1:
        return parts, None
    if not counts:
        raise common.Failed("stpn said nothing of ranks: is it built with MPI?")
    if int(counts["ranks"]) != ranks or not int(counts["updates"]):
        raise common.Failed("%d ranks were started, stpn says %r" % (ranks, counts[0]))
    return parts, {key: float(value) if key == "seconds" else int(value) for key, value in counts.groupdict().items()}


class Place:
    """One host, or the namespaces of a network; for `with`."""

    def __init__(self, delay, ranks, options):
        self.first = options.first
        self.network = None if delay is None else namespaces.Network(ranks, delay, options.rate, options.switch)

    def __enter__(self):
        if self.network:
            self.network.__enter__()
        return self

    def __exit__(self, *what):
        if self.network:
            self.network.__exit__(*what)

    def run(self, words, ranks):
        if self.first and ranks <= len(os.sched_getaffinity(0)):  # ranks that share one would keep it from each other
            words = ["chrt", "-r", "1"] + words
        if self.network:
            words = self.network.command(words, ranks)
        elif ranks > 1:
            words = namespaces.mpirun(ranks, "--oversubscribe", "--mca", "pml", "ob1") + words
        result = namespaces.run(words, stdout=-1, stderr=-1, text=True)
        if result.returncode:
            raise common.Failed("%s: exit code %d: %s" % (" ".join(words), result.returncode, result.stderr.strip()[-1000:]))
        return result


def measure(place, stpn, name, ranks, rounds):
    """The least of several runs: what else the machine does only adds."""
    file, settings, _ = WORKLOADS[name]
    changes = [word for key, value in settings.items() for word in ("--set", "%s=%s" % (key, value))]
    best = None
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            result = place.run([stpn, "train", os.path.join(common.ROOT, "experiments", file), "--threads", "1", "--quiet",
                                "--profile", "--out", os.path.join(folder, "run")] + changes, ranks)
        parts, counts = read_profile(result.stderr, ranks)
        row = {"workload": name, "ranks": ranks, "parts": parts,
               "seconds": parts["all"] - sum(parts.get(part, 0) for part in NOT_UPDATES), "exchange": counts}
        if best and counts:  # by itself, as the run that computes least need not wait least
            least = min(counts["seconds"], best["exchange"]["seconds"])
            counts["seconds"] = best["exchange"]["seconds"] = least
        if not best or row["seconds"] < best["seconds"]:
            best = row
    return best


# ------------------------------------------------------------------------------------------------------------ the model

def line(ping, size):
    """Latency in seconds and bytes per second, through the smallest message and the first that is as large as `size`."""
    small = ping[0]
    large = next((row for row in ping[1:] if row["bytes"] >= size), ping[-1])
    more = large["seconds_least"] - small["seconds_least"]
    return small["seconds_least"], (large["bytes"] - small["bytes"]) / more if more > 0 else math.inf


def chunks_share(chunks, ranks):
    """Of an update's chunks what the rank with most of them has."""
    return math.ceil(chunks / ranks) / chunks


def model(work, network, ranks):
    """Seconds of an update: computing, exchanging."""
    computing = work["shared"] * chunks_share(work["chunks"], ranks) + work["repeated"]
    exchanging = math.ceil(math.log2(ranks)) * (work["waits"] * network["latency"] + work["bytes"] / network["bandwidth"])
    return computing, exchanging


def describe(name, alone, two):
    """What the model knows of a workload: computing from one rank, messages and bytes from two, one round of a tree."""
    counts = two["exchange"]
    updates = counts["updates"]
    shared = sum(alone["parts"].get(part, 0) for part in SHARED)
    return {"chunks": math.ceil(WORKLOADS[name][2] / CHUNK), "updates": updates, "shared": shared / updates,
            "repeated": (alone["seconds"] - shared) / updates, "messages": (counts["sends"] + counts["receives"]) / updates,
            "bytes": (counts["sent"] + counts["received"]) / updates, "largest": max(counts["sent"], counts["received"]) / updates}


def off(measured, said):
    return "%+.0f" % (100 * (measured / said - 1)) if said > 0 else ""


# ----------------------------------------------------------------------------------------------------------- the tables

def table(columns, rows):
    lines = ["| %s |" % " | ".join(columns), "|%s" % (" --- |" * len(columns))]
    return "\n".join(lines + ["| %s |" % " | ".join(row) for row in rows]) + "\n"


def report(document):
    processors, runs = document["machine"]["processors"], document["runs"]
    text = [table(["network", "latency us", "4 kB us", "48 kB us"], [
        [name] + ["%.1f" % (1e6 * row["seconds_least"]) for row in ping if row["bytes"] in (8, 4096, 49152)]
        for name, ping in document["ping"].items()])]
    text.append(table(["workload", "chunks", "updates", "computing ms, shared", "repeated", "messages an update", "of them waited for", "bytes an update"], [
        [name, "%(chunks)d" % work, "%(updates)d" % work, "%.3f" % (1e3 * work["shared"]), "%.3f" % (1e3 * work["repeated"]),
         "%(messages).1f" % work, "%(waits).1f" % work, "%(bytes).0f" % work] for name, work in document["workloads"].items()]))
    rows = []
    for run in runs:
        if run["ranks"] == 1:
            continue
        own = [run["workload"], run["network"], str(run["ranks"])]
        if run["ranks"] <= processors:
            own += ["%.3f" % (1e3 * run["update"]), "%.3f" % (1e3 * run["model"]), off(run["update"], run["model"])]
        else:
            own += ["", "", ""]
        own += ["%.3f" % (1e3 * run["exchanging"]), "%.3f" % (1e3 * run["model_exchanging"]),
                off(run["exchanging"], run["model_exchanging"])]
        if "added" in run:
            own += ["%.3f" % (1e3 * run["added"]), "%.3f" % (1e3 * run["model_added"]), off(run["added"], run["model_added"])]
        rows.append(own + [""] * (12 - len(own)))
    text.append(table(["workload", "network", "ranks", "ms an update", "model", "off %", "exchanging ms", "model", "off %",
                       "more than on one host, ms", "model", "off %"], rows))
    if any(run["ranks"] > processors for run in runs):
        text.append("%d processors: more ranks than that share them, so that their time says nothing, and what they wait for each "
                    "other is in their exchanging; what a network adds to it is not.\n" % processors)
    text.append("Modelled: ms an update, and how many times as fast as one rank.\n")
    text.append(table(["workload", "network"] + ["R = %d" % count for count in document["ranks_modelled"]], [
        [row["workload"], row["network"]] + ["%.3f, %.2f" % (1e3 * seconds, row["seconds"][0] / seconds)
                                             for seconds in row["seconds"]] for row in document["model"]]))
    return "\n".join(text)


def conclude(document, delays):
    """Everything that is computed from what was measured."""
    runs = {(run["workload"], run["network"], run["ranks"]): run for run in document["runs"]}
    names = list(dict.fromkeys(run["workload"] for run in document["runs"]))
    networks = list(document["ping"])
    document["workloads"], document["model"] = {}, []
    document["ranks_modelled"] = [1 << i for i in range(RANKS_MOST.bit_length())]
    for name in names:
        work = document["workloads"][name] = describe(name, runs[name, "host", 1], runs[name, networks[0], 2])
        lines = {network: dict(zip(("latency", "bandwidth"), line(document["ping"][network], work["largest"])))
                 for network in networks}
        # Of messages that follow each other the same way only the first is waited for, which their number does not say.
        slow = max((network for network in networks if delays[network]), key=delays.get, default=None)
        work["waits"] = work["messages"]
        if slow and "host" in networks:
            more = (runs[name, slow, 2]["exchange"]["seconds"] - runs[name, "host", 2]["exchange"]["seconds"]) / work["updates"]
            work["waits"] = max(more, 0) / (lines[slow]["latency"] - lines["host"]["latency"])
        for (workload, network, ranks), run in runs.items():
            if workload != name or ranks == 1:
                continue
            computing, exchanging = model(work, lines[network], ranks)
            run.update(update=run["seconds"] / work["updates"], model=computing + exchanging, model_exchanging=exchanging,
                       exchanging=run["exchange"]["seconds"] / work["updates"])
        for (workload, network, ranks), run in runs.items():
            host = runs.get((workload, "host", ranks))
            if workload == name and ranks > 1 and host and host is not run:
                run.update(added=run["exchanging"] - host["exchanging"],
                           model_added=run["model_exchanging"] - host["model_exchanging"])
        document["model"] += [{"workload": name, "network": network, **lines[network], "seconds": [
            sum(model(work, lines[network], ranks)) for ranks in document["ranks_modelled"]]} for network in networks]


def collect(options):
    document = {"machine": common.machine(options.stpn, sys.executable), "rounds": options.rounds, "rate": options.rate, "ping": {}, "runs": []}
    for network, delay in NETWORKS.items():
        with Place(delay, max(options.ranks), options) as place:
            print("%s: ping" % network, file=sys.stderr, flush=True)
            document["ping"][network] = json.loads(place.run([options.ping], 2).stdout)
            for name in options.only:
                for ranks in ([1] if network == "host" else []) + options.ranks:
                    print("%s: %s, ranks: %d" % (network, name, ranks), file=sys.stderr, flush=True)
                    row = measure(place, options.stpn, name, ranks, options.rounds)
                    document["runs"].append(dict(row, network=network))
    return document


def ranks_list(text):
    ranks = sorted({int(word) for word in text.split(",")} - {1})
    if not ranks or ranks[0] != 2 or ranks[-1] > namespaces.MOST:
        raise argparse.ArgumentTypeError("2 has to be among them, and none above %d" % namespaces.MOST)
    return ranks


def main():
    build = os.path.join(common.ROOT, "build")
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--stpn", default=os.path.join(build, "stpn"))
    parser.add_argument("--switch", default=os.path.join(build, "bench_delay_switch"))
    parser.add_argument("--ping", default=os.path.join(build, "bench_ping"))
    parser.add_argument("--only", type=common.name_list(WORKLOADS), default=list(WORKLOADS), help="of " + ",".join(WORKLOADS))
    parser.add_argument("--ranks", type=ranks_list, default=[2, 4], help="beside one (default 2,4)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the least counts (default 3)")
    parser.add_argument("--rate", type=float, default=0, help="bytes a second of each namespace's link (default 0: no limit)")
    parser.add_argument("--first", action="store_true", help="ranks come before other programs, on a machine that has some")
    parser.add_argument("--json", metavar="FILE", help="writes everything that was measured")
    options = parser.parse_args()
    if options.rounds < 1 or options.rate < 0:
        parser.error("--rounds has to be 1 or more, --rate 0 or more")
    options.stpn, options.switch, options.ping = map(os.path.abspath, (options.stpn, options.switch, options.ping))
    namespaces.end_on_signals()
    try:
        namespaces.require(options.switch, options.ping, options.stpn)
        document = collect(options)
        conclude(document, NETWORKS)
    except (namespaces.Missing, common.Failed) as error:
        print("bench/scaling.py: %s" % error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    print(report(document))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
