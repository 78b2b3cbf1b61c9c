#!/usr/bin/env python3
"""Usage: scripts/update-notebooks.py [--check]: writes examples/notebooks/NAME.ipynb of every examples/python/NAME.py.

A line "# %%" begins a cell of code, "# %% [markdown]" one of text, whose lines are comments. With --check nothing is
written; exit code 1 where a notebook is another than would be.
"""
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS, NOTEBOOKS = (os.path.join(ROOT, "examples", folder) for folder in ("python", "notebooks"))
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def cells(path):
    """(is text, lines) of each cell."""
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("# %%"):
                if line not in ("# %%", "# %% [markdown]"):
                    sys.exit(f'{path}: "{line}" begins no cell, expected "# %%" or "# %% [markdown]"')
                found.append((line != "# %%", []))
            elif found:
                found[-1][1].append(line)
            elif line.strip():
                sys.exit(f'{path}: "{line}" stands before the first cell')
    return found


def notebook(path):
    """The text of the notebook of a script; no outputs."""
    made = []
    for index, (is_text, lines) in enumerate(cells(path)):
        if is_text:
            wrong = [line for line in lines if line.strip() and not line.startswith("#")]
            if wrong:
                sys.exit(f'{path}: "{wrong[0]}" is in a cell of text and no comment')
            lines = [line[2:] for line in lines]
        source = "\n".join(lines).strip("\n").splitlines(keepends=True)
        cell = {"cell_type": "markdown" if is_text else "code", "id": f"cell-{index}", "metadata": {}, "source": source}
        made.append(cell if is_text else {**cell, "execution_count": None, "outputs": []})
    document = {"cells": made, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(words):
    if words not in ([], ["--check"]):
        sys.exit("usage: scripts/update-notebooks.py [--check]")
    os.makedirs(NOTEBOOKS, exist_ok=True)
    wanted = {name[:-3] + ".ipynb": notebook(os.path.join(SCRIPTS, name)) for name in os.listdir(SCRIPTS) if name.endswith(".py")}
    there = {}
    for name in os.listdir(NOTEBOOKS):
        with open(os.path.join(NOTEBOOKS, name), encoding="utf-8") as file:
            there[name] = file.read()
    stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if words:
        for name in stale:
            print(f"examples/notebooks/{name} is another than its script: run scripts/update-notebooks.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        path = os.path.join(NOTEBOOKS, name)
        if name in wanted:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted[name])
        else:
            os.remove(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
