"""figures.py FOLDER, the document of bench.py on standard input: bench_roofline, bench_cost and bench_memory, PNG and SVG."""
import json
import os
import statistics
import sys

import cases

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python"))
from stpn import plot_style  # noqa: E402
from matplotlib.ticker import LogFormatter  # noqa: E402

FORMATS = ("png", "svg")
AXES = {"B": "samples B", "T": "steps T", "H": "neurons H, K = 1024", "K": "columns K, H = 55"}
STPN = "stpn"
# Colour, marker and dashes of whom a curve belongs to.
WHO = [STPN, "eager", "compile", "jax", "jax-checkpoint"]
LABELS = dict(cases.KINDS, stpn="stpn")



def plain_logarithmic(axes):
    """Both logarithmic, with 10 and 100 rather than powers."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for side in axes.xaxis, axes.yaxis:
        side.set_major_formatter("{x:g}")
        side.set_minor_formatter(LogFormatter())


# ------------------------------------------------------------------------------------------------------------ roofline

def roofline_points(document, threads):
    """Size, pass, operations per byte, 10^9 operations per second, of the kernel in use."""
    kernel = document["machine"]["kernel"]
    for row in document.get("kernels", []):
        norm = cases.ROOFLINE_SIZES.get(row["size"])
        if not norm or row["unit"] != "stpn_r" or row["kernel"] != kernel or row["threads"] != threads or "training_ns" not in row:
            continue
        for name in "forward", "training":
            operations, moved = cases.WORK[norm, name]
            yield row["size"], name, operations / moved, operations / row[name + "_ns"]


def size_label(size):
    return size if "," not in size else "I %s, H %s" % tuple(size.split(",")[2:])


def draw_roofs(axes, document, threads, left, right):
    rows = [row for row in document["ceilings"]["rows"] if row["threads"] == threads]
    peaks = {row["kernel"]: row["gflops"] for row in rows if row["what"] == "multiply_add"}
    highest = max(peaks.values())
    drawn = []
    for kernel, peak in peaks.items():
        # Where two are the same (AVX-512 in two halves) one line has both names.
        twin = next((other for other in drawn if abs(other[1] / peak - 1) < 0.05), None)
        if twin:
            twin[0] += ", " + kernel
        else:
            drawn.append([kernel, peak])
    for kernel, peak in drawn:
        axes.plot([left, right], [peak, peak], color="black", linewidth=0.9)
        axes.text(right, peak * 1.04, "multiply-add, " + kernel, ha="right", va="bottom", fontsize=6)
    lines = []
    for row in rows:
        if row["what"] == "bandwidth":
            width = max(row[key] for key in ("read_gb_s", "update_gb_s", "triad_gb_s"))
            lines += axes.plot([left, highest / width], [left * width, highest], color="#7F7F7F", linewidth=1,
                               linestyle=plot_style.DASHES[len(lines)], label="%s, %.0f GB/s" % (row["level"], width))
    axes.legend(handles=lines, loc="lower right")
    return highest


def draw_roofline(document):
    counts = sorted({row["threads"] for row in document["ceilings"]["rows"]})
    figure = plot_style.new_figure(plot_style.PAGE, 3.9)
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    sizes = [size for size in cases.ROOFLINE_SIZES if any(p[0] == size for n in counts for p in roofline_points(document, n))]
    left, right = 0.05, 4
    handles = {}
    for axes, threads in zip(panels, counts):
        plain_logarithmic(axes)
        axes.set_xlim(left, right)
        highest = draw_roofs(axes, document, threads, left, right)
        axes.set_ylim(0.8, 2.2 * highest)
        for size, name, intensity, rate in roofline_points(document, threads):
            index = sizes.index(size)
            look = plot_style.line_style(index)
            handle = axes.plot([intensity], [rate], marker=look["marker"], color=look["color"], linestyle="none", markersize=5,
                               markerfacecolor=look["color"] if name == "training" else "white", zorder=3)[0]
            handles.setdefault("%s, %s" % (size_label(size), name), handle)
        axes.set_title("%d thread%s" % (threads, "s"[:threads > 1]), fontsize=8)
        axes.set_xlabel("operations per byte")
    panels[0].set_ylabel("10⁹ operations per second")
    if handles:
        plot_style.legend_below(figure, list(handles.values()), list(handles), None)
    return figure


# --------------------------------------------------------------------------------------------------------------- sweep

def curves(document, axis, value):
    """Of whom, values of the axis, and what value(row) gives of each."""
    rows = [row for row in document["sweep"] if row["axis"] == axis and "training_ns" in row]
    for who in WHO:
        own = [row for row in rows if row.get("peer", STPN) == who]
        if own:
            yield who, [row["value"] for row in own], [value(row) for row in own]


def mark_caches(axes, document, axis):
    """Where the F of a sample fills a cache."""
    caches = document.get("ceilings", {}).get("caches", {})
    row = next(row for row in document["sweep"] if row["axis"] == axis)
    if axis not in "HK" or "size" not in row:
        return
    inputs, hidden = (int(side) for side in row["size"].split(",")[2:])
    other = inputs + hidden if axis == "H" else hidden
    lowest, highest = axes.get_xlim()
    for level in "L1", "L2":
        place = caches.get(level, 0) / 4 / other
        if lowest < place < highest:
            axes.axvline(place, color="#7F7F7F", linewidth=0.8, linestyle=(0, (1, 2)))
            axes.text(place, 0.98, " F = " + level, transform=axes.get_xaxis_transform(), va="top", fontsize=6, color="#555555")


def draw_sweep(document, value, label, band):
    figure = plot_style.new_figure(plot_style.PAGE, 5.2)
    panels = figure.subplots(2, 2, sharey=True).ravel()
    handles = {}
    present = [axis for axis in AXES if any(row["axis"] == axis for row in document["sweep"])]
    for axes, axis in zip(panels, present):
        plain_logarithmic(axes)
        for who, values, heights in curves(document, axis, value):
            look = plot_style.line_style(WHO.index(who))
            handles.setdefault(LABELS[who], axes.plot(values, heights, **look)[0])
            if band and who == STPN:
                middle = statistics.median(heights)
                axes.axhspan(0.75 * middle, 1.25 * middle, color=look["color"], alpha=0.15, linewidth=0)
        mark_caches(axes, document, axis)
        axes.set_xlabel(AXES[axis])
    for axes in panels[len(present):]:
        axes.set_visible(False)
    figure.supylabel(label, fontsize=8)
    if handles:
        plot_style.legend_below(figure, list(handles.values()), list(handles), None)
    return figure


def main():
    folder, document = sys.argv[1], json.load(sys.stdin)
    with plot_style.style():
        figures = {}
        if "rows" in document.get("ceilings", {}):
            figures["bench_roofline"] = draw_roofline(document)
        if document.get("sweep"):
            figures["bench_cost"] = draw_sweep(document, lambda row: row["training_ns"],
                                               "training, ns per synapse and step, one thread", True)
            figures["bench_memory"] = draw_sweep(document, lambda row: row.get("peer_peak_bytes", row.get("peak_bytes")) / 1e6,
                                                 "peak memory above the idle process, MB", False)
        for name, figure in figures.items():
            for path in plot_style.save(figure, folder, name, FORMATS):
                print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
