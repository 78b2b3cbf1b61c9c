#!/usr/bin/env python3
"""One run: the machine's ceilings, the library's kernels, what else a user could pick, and cost against size. What is
compared, and how: bench/README.md. A table in Markdown goes to standard output, progress to standard error.

Nothing that computes other results than the library is timed: its row says "wrong", and the exit code is 1."""
import argparse
import json
import os
import subprocess
import sys

import cases
import common
import peers
import report


def progress(text):
    print("bench: " + text, file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------------------------------------- parts

def measure_ceilings(options):
    progress("ceilings of the machine")
    program = os.path.join(os.path.dirname(options.stpn), "bench_ceilings")
    if not os.access(program, os.X_OK):
        return {"missing": "there is no %s: make bench builds it" % program}
    result = subprocess.run([program, "--threads", str(options.threads)] + ["--quick"] * options.quick, capture_output=True,
                            text=True)
    if result.returncode:
        return {"missing": "bench_ceilings failed: " + result.stderr.strip()}
    return json.loads(result.stdout)


def kernel_plan(options):
    """Unit, size, threads, every kernel or one."""
    with_norm = [unit["name"] for unit in options.info["units"] if any(o["name"] == "norm" for o in unit["options"])]
    if options.quick:
        return [(unit["name"], "16,4,5,6", 1, False) for unit in options.info["units"]]
    both = sorted({1, options.threads})
    plan = [("stpn_r", size, threads, True) for threads in both for size in cases.STPN_SIZES]
    plan += [("stpn_r", size, threads, False) for threads in both for size in cases.LARGE_SIZES]
    plan.append(("stpn_r", cases.STREAM_SIZE, 1, False))
    for unit in options.info["units"]:
        # Without norms maze-post is maze.
        sizes = cases.STPN_SIZES if unit["name"] in with_norm else [size for size in cases.STPN_SIZES if size != "maze-post"]
        if unit["name"] != "stpn_r":
            plan += [(unit["name"], size, options.threads, False) for size in sizes]
    return plan


def measure_kernels(options):
    rows = []
    for unit, size, threads, every in kernel_plan(options):
        progress("%s %s, %d thread%s" % (unit, size, threads, "s"[:threads > 1]))
        found = peers.measured({}, lambda: {"rows": common.run_stpn_bench(options.stpn, size, unit, threads, every_kernel=every)})
        rows += found.get("rows") or [dict(found, size=size, unit=unit, kernel=options.info["kernel"], threads=threads)]
    return rows


def measure_peers(options, checker, plan):
    rows = []
    for case, kinds in plan:
        for kind in kinds:
            if kind not in options.kinds or not options.quick and case["size"] not in options.sizes:
                continue
            progress("%s %s beside %s" % (case["unit"], case["size"], kind))
            rows.append(peers.compare(checker, kind, case, options))
    return rows


def build_package(options):
    """The Python package into the build folder, where peers' processes find it; None, or why it is not there."""
    folder = os.path.dirname(os.path.abspath(options.stpn))
    words = [os.path.join(common.ROOT, "scripts", "build.sh"), folder, str(len(os.sched_getaffinity(0))),
             "-DCMAKE_BUILD_TYPE=Release", "-DSTPN_BUILD_PYTHON=ON", "-DPython_EXECUTABLE=" + common.PYTHON]
    progress("the Python package")
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode:
        return "stpn.torch cannot be built: " + (result.stderr or result.stdout).strip()[-500:]
    os.environ["PYTHONPATH"] = os.path.join(folder, "python")
    return None


def measure_layer(options, checker):
    """stpn.torch.STPN beside peers in one process, and what it takes beyond the C calls."""
    plan, alone = (cases.QUICK_LAYER, cases.QUICK_OVERHEAD) if options.quick else (cases.LAYER, cases.OVERHEAD)
    missing, rows, overhead = build_package(options), [], []
    for case, kinds in plan:
        for kind in kinds:
            if kind in options.kinds and (options.quick or case["size"] in options.sizes):
                progress("stpn.torch.STPN %s beside %s" % (case["size"], kind))
                rows.append(dict(peers.describe(kind, case), missing=missing) if missing else
                            peers.compare_layer(checker, kind, case, options))
    if not missing and not options.check_only:
        overhead = [peers.overhead(checker, case, options) for case in alone]
    return rows, overhead


def measure_sweep(options, checker):
    """Ours at every point; peers at the first, the middle and the last but one, which takes them long enough. On one thread."""
    rows = []
    for axis, shapes in (cases.QUICK_SWEEPS if options.quick else cases.SWEEPS).items():
        for index, shape in enumerate(shapes):
            case = cases.case("%d,%d,%d,%d" % shape, *shape)
            point = {"axis": axis, "value": cases.sweep_value(axis, shape)}
            progress("%s = %d" % (axis, point["value"]))
            rows.append(peers.measured(point, lambda: common.run_stpn_bench(options.stpn, case["size"])[0]))
            if checker and index in (0, len(shapes) // 2, len(shapes) - 2):
                for kind in cases.SWEEP_PEERS:
                    if kind not in options.kinds:
                        continue
                    progress("%s = %d: %s" % (axis, point["value"], kind))
                    row = peers.once(checker, kind, case, 1, options.seconds)
                    if "peer_seconds" in row:
                        row["training_ns"] = 1e9 * row["peer_seconds"] / cases.synapse_steps(case)
                    rows.append(dict(row, **point))
    return rows


PARTS = ["ceilings", "kernels", "peers", "layer", "sweep", "recurrent"]
USUAL = PARTS[:5]
SIZES = list(dict.fromkeys(case["size"] for case, _ in cases.PEERS + cases.RECURRENT))

# ---------------------------------------------------------------------------------------------------------------- main


def parse():
    allowed = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=common.name_list(PARTS), default=USUAL, metavar="PART,...",
                        help="%s (default: all but recurrent)" % ", ".join(PARTS))
    parser.add_argument("--kinds", type=common.name_list(list(cases.KINDS)), default=list(cases.KINDS), metavar="KIND,...",
                        help="of peers: %s (default all)" % ", ".join(cases.KINDS))
    parser.add_argument("--sizes", type=common.name_list(SIZES), default=SIZES, metavar="NAME,...",
                        help="of the parts peers, layer and recurrent: %s (default all)" % ", ".join(SIZES))
    parser.add_argument("--threads", type=int, default=min(2, allowed), help="of ours and of every peer (default 2)")
    parser.add_argument("--rounds", type=int, help="in which ours and a peer take turns (default 5)")
    parser.add_argument("--seconds", type=float, help="a peer's passes of a round, at least (default 0.5)")
    parser.add_argument("--pause", type=float, help="seconds of rest before each measurement (default 0.3)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run, not how fast it is")
    parser.add_argument("--check-only", action="store_true", help="compares the peers' results, measures nothing")
    parser.add_argument("--json", metavar="FILE", help="writes everything that was measured")
    parser.add_argument("--figures", metavar="FOLDER", help="draws roofline and cost against size there, PNG and SVG")
    parser.add_argument("--from", dest="source", metavar="FILE", help="measures nothing: table and figures of such a JSON file")
    parser.add_argument("--stpn", default=os.path.join(common.ROOT, "build", "stpn"), help="the command (default build/stpn)")
    options = parser.parse_args()
    if not 1 <= options.threads <= allowed:
        parser.error("--threads is %d, expected 1 to %d, the processors that this process may use" % (options.threads, allowed))
    for name, usual, quick in ("rounds", 5, 1), ("seconds", 0.5, 0.0), ("pause", 0.3, 0.0):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    if options.rounds < 1:
        parser.error("--rounds is %d, expected 1 or more" % options.rounds)
    if options.source:
        try:
            with open(options.source) as file:
                options.document = json.load(file)
        except (OSError, ValueError) as problem:
            parser.error("--from %s: %s" % (options.source, problem))
    elif not os.access(options.stpn, os.X_OK):
        parser.error("there is no %s: run make first" % options.stpn)
    return options


def measure(options):
    parts = ["peers"] if options.check_only and options.only == USUAL else options.only
    wants_python = options.figures or set(parts) & {"peers", "layer", "recurrent"}
    code = common.make_environment() if wants_python or "sweep" in parts and not options.quick else 0
    document = {"machine": common.machine(options.stpn, common.PYTHON), "threads": options.threads, "rounds": options.rounds,
                "quick": options.quick, "parts": parts}
    if code:
        document["missing"] = "the peers, as there is no .venv-bench: scripts/python-env.sh says above what failed"
        progress(document["missing"])
    if document["machine"]["load_before"] > 0.5 and not options.quick and not options.check_only:
        progress("the machine is busy (load %.1f): these times mean little" % document["machine"]["load_before"])
    # With fewer threads than processors everybody gets the same ones.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.threads])
    save(document, options)  # where nothing can be written, nothing is measured
    checker = None if code else peers.Checker(options.stpn, options.threads)
    try:
        if "ceilings" in parts:
            document["ceilings"] = measure_ceilings(options)
        if "kernels" in parts:
            document["kernels"] = measure_kernels(options)
        for part, full, quick in (("peers", cases.PEERS, cases.QUICK_PEERS), ("recurrent", cases.RECURRENT, cases.QUICK_RECURRENT)):
            if part in parts and checker:
                document[part] = measure_peers(options, checker, quick if options.quick else full)
                save(document, options)
        if "layer" in parts and checker:
            document["layer"], document["overhead"] = measure_layer(options, checker)
            save(document, options)
        if "sweep" in parts:
            document["sweep"] = measure_sweep(options, None if options.quick else checker)
    finally:
        if checker:
            checker.close()
    document["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    save(document, options)
    return document


def save(document, options):
    """After every part, as a run takes long."""
    if options.json:
        os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
        with open(options.json + ".tmp", "w") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        os.replace(options.json + ".tmp", options.json)


def draw(document, folder):
    """In a process of its own, as Matplotlib is in an environment of its own. None, or why there are no figures."""
    python = common.figure_python()
    if not python:
        return "there is no Matplotlib: run scripts/python-env.sh"
    code = subprocess.run([python, os.path.join(common.ROOT, "bench", "figures.py"), folder], input=json.dumps(document),
                          text=True).returncode
    return "drawing failed" if code else None


def main():
    options = parse()
    if options.source:
        document = options.document
    else:
        options.info = json.loads(common.said(options.stpn, "info", "--json"))
        document = measure(options)
    print(report.text(document))
    bad = report.reasons(document, "wrong") + report.reasons(document, "failed")
    for reason in bad:
        progress(reason)
    undrawn = draw(document, options.figures) if options.figures else None
    if undrawn:
        progress("no figures: " + undrawn)
    return 1 if bad else 3 if undrawn else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as problem:
        progress(str(problem))
        sys.exit(3)
