"""What was measured, in Markdown."""
import cases

ROW_PARTS = ("kernels", "peers", "layer", "overhead", "recurrent", "sweep")


def reasons(document, word):
    """Why rows have no times: word is wrong, failed or missing."""
    return list(dict.fromkeys(row[word] for part in ROW_PARTS for row in document.get(part, []) if word in row))


def table(heading, rows):
    lines = ["| " + " | ".join(heading) + " |", "|" + " --- |" * len(heading)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def megabytes(size):
    return "%.1f" % (size / 1e6)


def instead(row):
    """What stands in place of a time."""
    return next((word for word in ("wrong", "failed", "missing") if word in row), None)


def ceilings(found):
    if "missing" in found:
        return found["missing"]
    rates = {}
    for row in found["rows"]:
        if row["what"] == "multiply_add":
            rates.setdefault("multiply-add, %s, GFLOP/s" % row["kernel"], {})[row["threads"]] = row["gflops"]
        else:
            name = row["level"]
            if name in found["caches"]:
                name += ", %d kB" % (found["caches"][name] // 1024)
            for what, key in ("read", "read_gb_s"), ("read and written", "update_gb_s"), ("two read, one written", "triad_gb_s"):
                rates.setdefault("%s, %s, GB/s" % (name, what), {})[row["threads"]] = row[key]
    counts = sorted({threads for rate in rates.values() for threads in rate})
    heading = ["ceiling"] + ["%d thread%s" % (count, "s"[:count > 1]) for count in counts]
    return table(heading, [[name] + ["%.1f" % rate[count] for count in counts] for name, rate in rates.items()])


def kernels(rows):
    lines = []
    for row in rows:
        begin = [row["unit"], row["size"], row["kernel"], str(row["threads"])]
        if instead(row):
            lines.append(begin + [instead(row), instead(row), ""])
        else:
            lines.append(begin + ["%.3f" % row["forward_ns"], "%.3f" % row["training_ns"], megabytes(row["peak_bytes"])])
    return table(["unit", "size", "kernel", "threads", "forward ns", "training ns", "peak MB"], lines)


def peers(rows):
    heading = ["unit", "size", "B, T, I, H", "peer", "stpn ms", "least", "peer ms", "least", "peer / stpn", "lowest to highest",
               "stpn MB", "peer MB"]
    lines = []
    for row in rows:
        sides = "%d, %d, %d, %d" % (row["batch"], row["steps"], row["inputs"], row["hidden"])
        begin = [row["unit"], row["size"], sides, row["peer"]]
        if "peer_seconds" not in row:
            lines.append(begin + ["", "", instead(row) or "right", "", "", "", "", ""])
            continue
        times = ["%.3f" % (1e3 * row[key]) for key in ("stpn_seconds", "stpn_seconds_least", "peer_seconds", "peer_seconds_least")]
        lines.append(begin + times + ["**%.2f**" % row["ratio"], "%.2f to %.2f" % (row["ratio_least"], row["ratio_most"]),
                                      megabytes(row["stpn_peak_bytes"]), megabytes(row["peer_peak_bytes"])])
    return table(heading, lines)


def overhead(rows):
    lines = []
    for row in rows:
        sides = "%d, %d, %d, %d" % (row["batch"], row["steps"], row["inputs"], row["hidden"])
        if instead(row):
            lines.append([sides, instead(row)] + [""] * 5)
            continue
        of = {name: 1e6 * row[name] for name in ("forward", "c_forward", "backward", "c_backward")}
        values = [of["forward"], of["c_forward"], of["forward"] - of["c_forward"],
                  of["backward"], of["c_backward"], of["backward"] - of["c_backward"]]
        lines.append([sides] + ["%.1f" % value for value in values])
    return table(["B, T, I, H", "forward us", "C calls us", "overhead us", "backward us", "C calls us", "overhead us"], lines)


def sweep(rows):
    """Of ours: the least and the greatest cost of an axis, and memory at both ends; of peers the costs."""
    lines = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        along = [row for row in rows if row["axis"] == axis]
        for who in ["stpn"] + [kind for kind in cases.KINDS if any(row.get("peer") == kind for row in along)]:
            own = [row for row in along if row.get("peer", "stpn") == who]
            costs = [row["training_ns"] for row in own if "training_ns" in row]
            line = [axis, "%d to %d" % (own[0]["value"], own[-1]["value"]), who, str(len(costs))]
            if costs:
                line += ["%.3f" % min(costs), "%.3f" % max(costs), "%.2f" % (max(costs) / min(costs))]
            lines.append(line if costs else line + [instead(own[0]), "", ""])
    return table(["axis", "values", "of", "points", "least ns", "greatest ns", "greatest / least"], lines)


def text(document):
    about = ", ".join("%s %s" % pair for pair in document["machine"].items())
    parts = [about + ", threads %d, rounds %d" % (document["threads"], document["rounds"])]
    if document["quick"]:
        parts.append("Quick: small sizes, one round. These times say nothing.")
    if "missing" in document:
        parts.append("Missing: " + document["missing"])
    writers = {"ceilings": ceilings, "kernels": kernels, "peers": peers, "layer": peers, "overhead": overhead,
               "recurrent": peers, "sweep": sweep}
    parts += [write(document[part]) for part, write in writers.items() if document.get(part)]
    for word in "missing", "failed", "wrong":
        parts += ["%s: %s" % (word.capitalize(), reason.replace("\n", " ")) for reason in reasons(document, word)]
    return "\n\n".join(parts)
