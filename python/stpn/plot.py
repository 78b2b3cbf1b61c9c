"""python -m stpn.plot RUN... [--out DIR] [--format png,svg]: figures of runs (docs/figures.md)."""
import argparse
import os
import sys

FORMATS = ("png", "svg")
EXIT_DONE, EXIT_CHECK_FAILED, EXIT_WRONG_USE, EXIT_SYSTEM_FAILED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


def say(message):
    print(f"stpn.plot: {message}", file=sys.stderr)


def _formats(text):
    kinds = list(dict.fromkeys(text.split(",")))
    wrong = [kind for kind in kinds if kind not in FORMATS]
    if wrong:
        raise argparse.ArgumentTypeError(f'"{wrong[0]}" is none of {", ".join(FORMATS)}')
    return kinds


class _Parser(argparse.ArgumentParser):
    """One line for wrong use, as the command stpn has it."""

    def error(self, message):
        say(message)
        raise SystemExit(EXIT_WRONG_USE)


def _arguments(words):
    parser = _Parser(prog="python -m stpn.plot", description="Draws figures of runs.", allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, folder of such folders, or a file of stpn trace")
    parser.add_argument("--out", default="figures", metavar="DIR", help="folder of the figures (default figures)")
    parser.add_argument("--format", type=_formats, default=list(FORMATS), metavar="LIST",
                        help="png, svg or both: png,svg (default)")
    return parser.parse_args(words)


def collect(paths):
    """Runs, traces and problems (messages) of all paths; each run once."""
    from .run_files import TRACE, RunError, find_runs, load_run
    from .tensors import TensorFileError

    from .plot_synapses import read_trace

    runs, traces, problems, seen = [], [], [], set()
    for path in paths:
        if not os.path.exists(path):
            problems.append(f"{path}: there is no such folder or file")
            continue
        folders = find_runs(path) if os.path.isdir(path) else []
        if os.path.isdir(path) and not folders:
            problems.append(f"{path}: no run is in this folder")
        files = [os.path.join(folder, TRACE) for folder in folders] if folders else [path] * (not os.path.isdir(path))
        for folder in folders:
            if os.path.realpath(folder) in seen:
                continue
            seen.add(os.path.realpath(folder))
            try:
                runs.append(load_run(folder))
            except RunError as problem:
                problems.append(str(problem))
        for file in files:
            if (folders and not os.path.exists(file)) or os.path.realpath(file) in seen:
                continue
            seen.add(os.path.realpath(file))
            try:
                traces.append(read_trace(file))
            except TensorFileError as problem:
                problems.append(str(problem))
            except OSError as problem:
                problems.append(f"{file}: {problem.strerror}")
    return runs, traces, problems


def read_sweeps(paths, runs, problems):
    from .run_files import RunError, read_sweep

    found = []
    for path in paths:
        try:
            sweep = read_sweep(path, runs) if os.path.isdir(path) else None
        except RunError as problem:
            problems.append(str(problem))
            continue
        if sweep:
            found.append(sweep)
    return found


def figures(runs, traces, sweeps, notes, problems):
    """(name, figure) of everything that the runs, traces and sweeps have to show; what they have not goes to `notes`, what is
    wrong with them to `problems`."""
    from . import plot_runs, plot_sweep
    from .plot_synapses import NoFastComponent, synapses
    from .run_files import group_runs
    from .tensors import TensorFileError

    # A legend of all the settings of a sweep would leave no room for what it explains.
    swept = {run.folder for sweep in sweeps for run in sweep.runs}
    groups = group_runs([run for run in runs if run.folder not in swept])
    for run in runs:
        if run.summary is None:
            where = "no figure" if run.folder in swept else "the learning curves alone"
            notes.append(f"{run.folder}: is not finished: it is in {where}")
    for name in ("learning_curves", "accuracy_energy", "energy_steps", "generalisation"):
        figure = getattr(plot_runs, name)(groups)
        if figure:
            yield name, figure
    for sweep in sweeps:
        figure = plot_sweep.sweep_panels(sweep)
        if figure:
            yield "sweep" if len(sweeps) == 1 else f"sweep-{os.path.basename(os.path.abspath(sweep.folder))}", figure
    for trace in traces:
        # runs/NAME/trace.safetensors is NAME's; any other file has its own name.
        stem = os.path.splitext(os.path.basename(trace.path))[0]
        own = os.path.basename(os.path.dirname(os.path.abspath(trace.path))) if stem == "trace" else stem
        for unit in range(len(trace.units)):
            try:
                yield f"synapses-{own}" + (f"-unit{unit}" if len(trace.units) > 1 else ""), synapses(trace, unit)
            except NoFastComponent as note:
                notes.append(str(note))
            except TensorFileError as problem:
                problems.append(str(problem))


def draw(options):
    from .plot_style import save, style

    runs, traces, problems = collect(options.runs)
    notes, count, names = [], 0, {}
    sweeps = read_sweeps(options.runs, runs, problems)
    with style():
        for name, figure in figures(runs, traces, sweeps, notes, problems):
            count += 1
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:  # of folders of the same name
                name += f"-{names[name]}"
            for path in save(figure, options.out, name, options.format):
                print(path)
    for message in problems + notes:
        say(message)
    if not count:
        if not problems:
            say("there is nothing to draw")
        return EXIT_WRONG_USE
    return EXIT_CHECK_FAILED if problems else EXIT_DONE


def main(words=None):
    options = _arguments(words)
    try:
        return draw(options)
    except ImportError as problem:
        say(f"{problem}: figures need NumPy and Matplotlib")
    except OSError as problem:
        say(f"{problem.filename or options.out}: {problem.strerror}")
    except MemoryError:
        say("out of memory")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_SYSTEM_FAILED


if __name__ == "__main__":
    sys.exit(main())
