"""The page of the results of many machines, from their files.

    python3 tools/results.py write         # write docs/results/README.md from docs/results/*.json
    python3 tools/results.py check         # exit 1 where the page is not what the files make, or a file is bad
    python3 tools/results.py write DIR     # the same for another folder
    python3 tools/results.py check DIR

A file is the output of `downhill bench -o json`. One whose figures come from a document has the field `source`, which
names it and its date.
"""

import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PAGE = "README.md"
TEXTS = ("version", "date", "adapter", "driver", "family")
SUITES = ("matmul", "conv", "norm", "attention", "copy", "unet", "lanczos")
UNKNOWN = "-"
HEAD = """<!-- Written by tools/results.py from the files beside it: edit those. -->
# Results of machines

The figures of `downhill bench` on each machine that a file in this folder describes, those with the highest float32
roof first. A file whose source is its samples is the output of `downhill bench -o json`; the others have the figures
of the documents that they name, whose notes on each machine hold here too. `-` is unknown, and an empty cell was not
measured.

To add a machine, run this on it while nothing else does, then open a pull request with the file and the page:

```sh
downhill bench -o json > docs/results/NAME.json
python3 tools/results.py write
```

`NAME` says which machine it is, by its adapter or processor. The file holds the names of processor, adapter, driver
and system, the clocks, temperatures and power that the system reports, and the figures; nothing else about the machine.
`downhill bench compare docs/results/A.json docs/results/B.json` sets two machines side by side.
"""


class Fault(Exception):
    """A file that is not a result."""


def positive(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


class Result:
    """The result of a machine."""

    def __init__(self, file):
        self.name = file.stem
        try:
            self.run = json.loads(file.read_text())
        except ValueError as error:
            raise Fault(f"{file.name}: {error}") from None
        self.check(file.name)

    def check(self, name):
        run = self.run
        if not isinstance(run, dict) or not isinstance(run.get("rows"), list):
            raise Fault(f"{name}: not the output of `downhill bench -o json`")
        for field in TEXTS:
            if not isinstance(run.get(field), str):
                raise Fault(f"{name}: no text `{field}`")
        seen = set()
        for row in run["rows"]:
            case = f"{row.get('suite')} {row.get('case')}"
            if case in seen:
                raise Fault(f"{name}: {case} stands twice")
            seen.add(case)
            if row.get("status") == "failed":
                raise Fault(f"{name}: {case} has failed: {row.get('reason')}")
            timing = row.get("timing")
            if timing is not None and not positive(timing.get("median")):
                raise Fault(f"{name}: {case} has no median")
            if timing is not None and not timing.get("samples") and not run.get("source"):
                raise Fault(f"{name}: {case} has no samples, and the file no `source`")

    def machine(self, field):
        return (self.run.get("machine") or {}).get(field)

    def roof(self, field):
        return (self.run.get("roofs") or {}).get(field)

    def time(self, suite, case):
        """Milliseconds of a case, and its rate."""
        row = next((row for row in self.run["rows"] if (row["suite"], row["case"]) == (suite, case)), None)
        if row is None or row.get("timing") is None:
            return None
        milliseconds = significant(row["timing"]["median"] * 1e3)
        rate = row.get("rate")
        return f"{milliseconds} ({significant(rate['value'])} {rate['unit']})" if rate else milliseconds


def significant(value):
    """Three significant digits, without an exponent."""
    digits = 0 if value == 0 else 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(digits, 0), 9)}f}"


def cell(value):
    return UNKNOWN if value in (None, "") else str(value).replace("|", "\\|").replace("\n", " ")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def figure(value, factor=1):
    return UNKNOWN if value is None else significant(value * factor)


def machines(results):
    """The table of machines."""
    head = ["machine", "adapter", "processor", "driver", "kernels", "date", "version", "float32 roof, GFLOP/s",
            "copies, GB/s", "dispatch, us", "submission, us", "source"]
    rows = []
    for result in results:
        processor, count = result.machine("processor"), result.machine("processors")
        processor = f"{processor}, {count} processors" if processor and count else processor
        fields = [result.run["adapter"], processor, result.run["driver"], result.run["family"], result.run["date"],
                  result.run["version"]]
        roofs = [figure(result.roof("arithmetic")), figure(result.roof("memory")),
                 figure(result.roof("dispatch_seconds"), 1e6), figure(result.roof("submission_seconds"), 1e6)]
        source = result.run.get("source") or "its samples"
        rows.append([f"[{result.name}]({result.name}.json)", *map(cell, fields), *roofs, cell(source)])
    return table(head, rows)


def suites(results):
    """A table for each suite: a row for each machine, a column for each case."""
    text = ""
    for suite in SUITES:
        cases = []
        for result in results:
            for row in result.run["rows"]:
                if row["suite"] == suite and row.get("timing") and row["case"] not in cases:
                    cases.append(row["case"])
        measured = [result for result in results if any(result.time(suite, case) for case in cases)]
        if measured:
            cases.sort(key=natural)
            rows = [[result.name, *(result.time(suite, case) or "" for case in cases)] for result in measured]
            text += f"\n## {suite}, ms\n\n" + table(["machine", *map(cell, cases)], rows)
    return text


def natural(case):
    """A case by its words and numbers, so that 64 stands before 256."""
    parts, number = [], ""
    for character in case + " ":
        if character.isdigit():
            number += character
            continue
        if number:
            parts.append((0, int(number), ""))
            number = ""
        parts.append((1, 0, character))
    return parts


def page(folder):
    """The page that the files of a folder make."""
    results = [Result(file) for file in sorted(folder.glob("*.json"))]
    if not results:
        raise Fault(f"{folder}: no results")
    results.sort(key=lambda result: (-(result.roof("arithmetic") or 0), result.name))
    return HEAD + "\n## Machines\n\n" + machines(results) + suites(results)


def main(words):
    if len(words) not in (1, 2) or words[0] not in ("write", "check"):
        sys.exit(__doc__)
    folder = Path(words[1]) if len(words) == 2 else RESULTS
    try:
        text = page(folder)
    except Fault as fault:
        sys.exit(str(fault))
    file = folder / PAGE
    if words[0] == "write":
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit(f"{file} is not what the files beside it make: tools/results.py write")


if __name__ == "__main__":
    main(sys.argv[1:])
