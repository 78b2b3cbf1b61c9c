#!/usr/bin/env python3
"""Usage: PYTHONPATH=build/python .venv/bin/python scripts/update-reference.py [--check]: writes docs/reference/*.md, the
reference of the Python package, from its signatures and docstrings.

Public is what a module's __all__ names, in its order. A class whose docstring has "Made by" is shown without its
arguments. With --check nothing is written; exit code 1 where a page is another than would be, or something public has no
docstring or a function lacks types (for editors and type checkers: the package has a py.typed).
"""
import enum
import importlib
import inspect
import os
import re
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "docs", "reference")
PAGES = {"stpn": ["stpn"], "torch": ["stpn.torch"], "gym": ["stpn.gym"],
         "plot": ["stpn.plot_runs", "stpn.plot_synapses", "stpn.plot_style", "stpn.run_files", "stpn.tensors"]}
HOOKS = ("extra_repr", "close_extras")  # which PyTorch and Gymnasium call
WIDTH = 100
BEGIN = "<!-- made by scripts/update-reference.py from the docstrings -->\n"

ITEM = re.compile(r"(\*{0,2}`?[\w.\" ]+`?(?:, \*{0,2}`?[\w.\" ]+`?)*): (.*)")
missing, untyped = [], []


# -------------------------------------------------------------------------------------------------- docstrings to Markdown


def inline(text):
    """A line of text: pages become links, and what is in code stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    for index in range(0, len(parts), 2):
        part = parts[index].replace("*", r"\*").replace("<", "&lt;").replace("|", r"\|")
        parts[index] = re.sub(r"docs/([\w/-]+(?:\.md)?)(#[\w-]+)?", r"[\1](../\1\2)", part)
    return "".join(parts)


def indent_of(line):
    return len(line) - len(line.lstrip())


def items(lines):
    """A bullet for each "name: text", whose next lines stand deeper; None where the lines are something else."""
    made, left = [], min(indent_of(line) for line in lines)
    for line in lines:
        match = ITEM.fullmatch(line.strip()) if indent_of(line) == left else None
        if match:
            names = ", ".join(f"`{name.strip('`')}`" for name in match[1].split(", "))
            made.append(f"- {names}: {inline(match[2])}")
        elif made and indent_of(line) > left:
            made.append(f"  {inline(line.strip())}")
        else:
            return None
    return made


def markdown(text):
    lines, made, at = inspect.cleandoc(text).splitlines(), [], 0
    while at < len(lines):
        line, end = lines[at], at + 1
        if line.startswith(">>>"):
            while end < len(lines) and lines[end].strip():
                end += 1
            made += ["", "```pycon", *lines[at:end], "```", ""]
        elif line.startswith(" "):
            while end < len(lines) and (lines[end].startswith(" ") or not lines[end].strip() and
                                        lines[end + 1:end + 2] and lines[end + 1].startswith(" ")):
                end += 1
            block = [each for each in lines[at:end] if each.strip()]
            made += ["", *(items(block) or ["```text", *textwrap.dedent("\n".join(lines[at:end])).splitlines(), "```"]), ""]
        else:
            row = re.fullmatch(r"([\w./-]+) {2,}(\S.*)", line)  # of a table: a name, and what it is
            made.append(f"- `{row[1]}`: {inline(row[2])}" if row else inline(line))
        at = end
    return re.sub(r"\n{3,}", "\n\n", "\n".join(made)).strip("\n")


# ------------------------------------------------------------------------------------------------------- what is described


def value_text(value):
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def signature(name, thing, skipped=0):
    """NAME(parameters) without the first `skipped`, in lines of at most WIDTH."""
    known = inspect.signature(thing)
    parameters, words, starred = list(known.parameters.values())[skipped:], [], False
    if any(each.annotation is each.empty for each in parameters) or not (
            inspect.isclass(thing) or known.return_annotation is not known.empty):
        untyped.append(f"{thing.__module__}.{thing.__qualname__}")
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not starred:
            words.append("*")
        starred = starred or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        words.append(f"{stars}{each.name}" + ("" if each.default is each.empty else f"={value_text(each.default)}"))
    text = f"{name}({', '.join(words)})"
    return "\n".join(textwrap.wrap(text, WIDTH, subsequent_indent=" " * (len(name) + 1), break_long_words=False,
                                   break_on_hyphens=False))


def documented(place, thing):
    text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if not text:
        missing.append(place)
    return markdown(text or "")


def code(text):
    return f"```python\n{text}\n```"


def members(cls, public):
    """(name, member) of a class and of its private bases in the package, without those that a public base is described with."""
    found, told = {}, {each for base in cls.__mro__[1:] if base in public for each in base.__mro__}
    for base in cls.__mro__:
        if base.__module__.startswith("stpn.") and base not in told:
            for name, member in base.__dict__.items():
                if not name.startswith("_") and name not in HOOKS:
                    found.setdefault(name, member)
    return found.items()


def described(module, name, thing, public):
    parts = [f"## {name}"]
    if not inspect.isclass(thing):
        return parts + [code(signature(f"{module}.{name}", thing)), documented(name, thing)]
    if not (hasattr(thing, "__dataclass_fields__") or issubclass(thing, Exception) or "Made by" in thing.__doc__):
        parts.append(code(signature(f"{module}.{name}", thing)))
    bases = [base.__name__ for base in thing.__mro__[1:] if base in public]
    parts += [f"A [{bases[0]}](#{bases[0].lower()})."] if bases else []
    parts.append(documented(name, thing))
    for member, value in members(thing, public):
        place = f"{name}.{member}"
        if isinstance(value, property):
            parts += [f"### {place}", documented(place, value)]
        elif isinstance(value, (classmethod, staticmethod)) or inspect.isfunction(value):
            bound = isinstance(value, staticmethod)
            function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            parts += [f"### {place}", code(signature(member, function, 0 if bound else 1)), documented(place, function)]
    return parts


def page(modules):
    parts = []
    for name in modules:
        module = importlib.import_module(name)
        things = {each: getattr(module, each) for each in module.__all__}
        links = ", ".join(f"[{each}](#{each.lower()})" for each in things)
        parts += [f"# {name}", documented(name, module), links]
        for each, thing in things.items():
            parts += described(name, each, thing, list(things.values()))
    return BEGIN + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def main(words):
    if words not in ([], ["--check"]):
        sys.exit("usage: scripts/update-reference.py [--check]")
    wanted = {f"{name}.md": page(modules) for name, modules in PAGES.items()}
    problems = [f"{place} is public and has no docstring" for place in missing]
    problems += [f"{place} is public and lacks types" for place in untyped]
    os.makedirs(FOLDER, exist_ok=True)
    for name in sorted(wanted.keys() | set(os.listdir(FOLDER))):
        path, text = os.path.join(FOLDER, name), None
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
        if text == wanted.get(name):
            continue
        if words:
            problems.append(f"docs/reference/{name} is another than the docstrings: run scripts/update-reference.py")
        elif name in wanted:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted[name])
        else:
            os.remove(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
