"""Pages of docs/ whose figures come from commands.

    python3 tools/pages.py run [PAGE ...]      # run the commands of pages, keep their figures and plots, write the pages
    python3 tools/pages.py write [PAGE ...]    # write the pages anew from the figures that are kept
    python3 tools/pages.py check [PAGE ...]    # exit 1 where a page is not what its text and its figures make
    python3 tools/pages.py small DIR [PAGE]    # run small versions of the commands: every figure must be in their files

A page `docs/NAME.md` has three sources in `docs/pages/`:

- `NAME.toml`, its commands. `[run.KEY]` has `command`, the arguments of `downhill`, to which `-o KEY` is added, or
  `-o OUTPUT` with `output`; with `json`, a report is asked for instead. `small` is the command of a small run; `needs`
  names outputs of other runs among the arguments; `plots` are files of the run that the page shows, by the path that
  they get in `docs/`.
  `[define]` has functions of Python for the expressions.
- `NAME.txt`, its text. `{{KEY EXPRESSION | FORMAT}}` is a figure: the expression is of Python, over the fields of the
  run's report.json, with `rows("FILE.csv", column=value, ...)` for rows of its tables and `near(rows, column, value)`
  for the nearest of them; the format is that of `format()`, and without one the figure stands as it is. `{{KEY}}` is
  the command itself.
- `NAME.json`, the figures, by expression: written by `run`, read by `write` and `check`.

Numbers with a decimal point that are in a text and not in braces are refused, unless they are in code or are listed
under `given` in `NAME.toml`, where it says what they are: a setting, a figure of a paper, a limit that a test holds.
"""

import csv
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SOURCES = DOCS / "pages"
RUNS = ROOT / "target" / "pages"
BRACES = re.compile(r"\{\{\s*([a-z][\w-]*)\s*(.*?)\s*\}\}", re.DOTALL)
WIDTH = 120


# What expressions may use beside the fields of a report.
PLAIN = {"__builtins__": {}, "math": math, "statistics": statistics}
PLAIN |= {f.__name__: f for f in (abs, len, max, min, sum, sorted, zip, enumerate, range, str)}


class Fields(dict):
    """Fields of a report, by attribute."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no field `{name}` among {', '.join(self)}") from None


def number(text):
    """The number that a cell of a table holds, or its text."""
    try:
        return float(text)
    except ValueError:
        return text


class Run:
    """A command of a page, and the files that it wrote."""

    def __init__(self, key, entry, defined):
        self.key, self.entry, self.defined = key, entry, defined
        self.folder = self.report = None

    def shown(self):
        """The output as the page names it."""
        return self.entry.get("output", self.key)

    def text(self):
        """The command as a reader types it."""
        output = "" if self.entry.get("json") else f" -o {self.shown()}"
        return f"downhill {self.entry['command']}{output}"

    def words(self, small, folder):
        """The words after `downhill`, with outputs in `folder`."""
        words = shlex.split(self.entry["small" if small and "small" in self.entry else "command"])
        for other in self.entry.get("needs", []):
            words = [str(folder / word) if word.split("/")[0] == other else word for word in words]
        option = ["--json", str(folder / f"{self.key}.json")] if self.entry.get("json") else None
        return words + (option or ["-o", str(folder / self.shown())])

    def execute(self, program, folder, small):
        """Run the command into `folder`. A run that stands there is kept, if its command was the same."""
        words = self.words(small, folder)
        kept = folder / f"{self.key}.command"
        said = shlex.join(words)
        if not (kept.exists() and kept.read_text() == said):
            print(f"downhill {said}", flush=True)
            done = subprocess.run([program, *words], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"`downhill {said}` ended with {done.returncode}:\n{done.stderr}")
            kept.write_text(said)
        self.folder, self.report = folder / self.shown(), folder / f"{self.key}.json"

    def value(self, expression):
        """The figure that `expression` is of this run."""
        report = self.report if self.entry.get("json") else self.folder / "report.json"
        fields = json.loads(report.read_text(), object_hook=Fields) if report.exists() else Fields()
        names = {
            "rows": self.rows,
            "near": near,
            "report": fields,
        }
        value = eval(expression, {**PLAIN, **self.defined, **fields, **names})
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value}")
        if callable(value):
            raise TypeError("a method of a dict, not a field: write it as [...]")
        return value

    def rows(self, name, **equal):
        """The rows of a table in which each named column has the given value."""
        with open(self.folder / name, newline="") as file:
            table = [Fields({k: number(v) for k, v in row.items()}) for row in csv.DictReader(file)]
        found = [row for row in table if all(row[column] == value for column, value in equal.items())]
        if not found:
            raise LookupError(f"no row of {name} has {equal}; its columns are {', '.join(table[0])}")
        return found


def near(rows, column, value):
    """The row whose `column` is nearest to `value`, in ratio."""
    return min(rows, key=lambda row: abs(math.log(max(row[column], 1e-300) / value)))


class Page:
    """A page and its sources."""

    def __init__(self, name):
        self.name = name
        self.settings = tomllib.loads((SOURCES / f"{name}.toml").read_text())
        self.template = (SOURCES / f"{name}.txt").read_text()
        self.runs = {key: Run(key, entry, self.defined()) for key, entry in self.settings["run"].items()}

    def defined(self):
        """The functions that the expressions of the page may call."""
        scope = dict(PLAIN)
        for name, text in self.settings.get("define", {}).items():
            scope[name] = eval(text, scope)
        return scope

    def figures(self):
        """Each figure of the text once: its run and its expression."""
        seen = {}
        for key, rest in BRACES.findall(self.template):
            expression = split(rest)[0]
            if expression:
                seen[f"{key} {expression}"] = (key, expression)
        return seen

    def kept(self):
        return json.loads((SOURCES / f"{self.name}.json").read_text())

    def measure(self, program, folder, small=False):
        """The figures, from runs of every command."""
        folder.mkdir(parents=True, exist_ok=True)
        for run in self.runs.values():
            run.execute(program, folder, small)
        values, missing = {}, []
        for name, (key, expression) in self.figures().items():
            try:
                values[name] = self.runs[key].value(expression)
            except Exception as error:
                missing.append(f"{self.name}: {{{{{name}}}}}: {type(error).__name__}: {error}")
        if missing:
            sys.exit("\n".join(missing))
        return values

    def text(self, values):
        """The page as it must stand in docs/."""

        def put(match):
            key = match.group(1)
            expression, form = split(match.group(2))
            if not expression:
                return f"`{self.runs[key].text()}`"
            return shown(values[f"{key} {expression}"], form)

        note = f"<!-- Written by scripts/regenerate-docs.sh from docs/pages/{self.name}.txt: edit that. -->\n"
        return note + filled(BRACES.sub(put, self.template))

    def strays(self):
        """Numbers of the text that come from no command and are not given."""
        given = {str(number) for number in self.settings.get("given", {})}
        text = BRACES.sub("", self.template)
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)
        return sorted({found for found in re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?", text) if found not in given})


def split(rest):
    expression, _, form = rest.partition("|")
    return " ".join(expression.split()), form.strip()


def shown(value, form):
    if isinstance(value, list):
        return ", ".join(shown(part, form) for part in value)
    if value is None:
        return "no bound"
    return plain(format(value, form))


def plain(text):
    """1e-05 as 1e-5, 5% as 5 %."""
    text = text.replace("%", " %")
    return re.sub(r"e([+-])0*(\d)", lambda match: f"e{match.group(1).replace('+', '')}{match.group(2)}", text)


def filled(text):
    """Paragraphs and items of lists filled to the width of the house; tables, headings and code as they are."""
    blocks, code = [], False
    for line in text.split("\n"):
        if line.startswith("```"):
            code = not code
            blocks.append([line, False])
        elif code or not line.strip() or line.startswith(("|", "#", "!", "<")):
            blocks.append([line, False])
        elif re.match(r"\s*(-|\*|\d+\.) ", line) or not (blocks and blocks[-1][1]):
            blocks.append([line, True])
        else:
            blocks[-1][0] += " " + line.strip()
    out = []
    for line, prose in blocks:
        if not prose:
            out.append(line)
            continue
        item = re.match(r"\s*(?:-|\*|\d+\.) ", line)
        indent = " " * (item.end() if item else 0)
        out += textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(out)


def pages(names):
    found = sorted(path.stem for path in SOURCES.glob("*.toml"))
    for name in names:
        if name not in found:
            sys.exit(f"`{name}` is not a page with commands: these are {', '.join(found)}")
    return [Page(name) for name in names or found]


def main(words):
    verb, *names = words or ["help"]
    program = os.environ.get("DOWNHILL_PROGRAM", str(ROOT / "target" / "release" / "downhill"))
    if verb == "run":
        for page in pages(names):
            folder = RUNS / page.name
            values = page.measure(program, folder)
            (SOURCES / f"{page.name}.json").write_text(json.dumps(values, indent=1) + "\n")
            for run in page.runs.values():
                for name, path in run.entry.get("plots", {}).items():
                    shutil.copyfile(run.folder / name if run.folder.is_dir() else run.folder, DOCS / path)
            (DOCS / f"{page.name}.md").write_text(page.text(values))
    elif verb == "write":
        for page in pages(names):
            (DOCS / f"{page.name}.md").write_text(page.text(page.kept()))
    elif verb == "check":
        faults = []
        for page in pages(names):
            if (DOCS / f"{page.name}.md").read_text() != page.text(page.kept()):
                faults.append(f"docs/{page.name}.md is not what its sources make: tools/pages.py write {page.name}")
            faults += [f"docs/pages/{page.name}.md: {stray} comes from no command" for stray in page.strays()]
        sys.exit("\n".join(faults) or None)
    elif verb == "small" and names:
        for page in pages(names[1:]):
            page.measure(program, Path(names[0]) / page.name, small=True)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
