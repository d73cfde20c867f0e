"""The notebooks of docs/notebooks: each runs from start to end, in time, and is the one that its source makes.

The findings that their text states are assertions in their cells. A cell may take ten seconds on two cores without a
GPU; `DOWNHILL_SLOWNESS` multiplies that on machines that are slower or busy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import notebooks

SECONDS = 10.0 * float(os.environ.get("DOWNHILL_SLOWNESS", "1"))
BYTES = 1_000_000

sources = pytest.mark.parametrize("source", notebooks.sources(), ids=lambda source: source.stem)


def test_there_are_two() -> None:
    assert [source.stem for source in notebooks.sources()] == [
        "linear-diffusion-is-power-iteration",
        "sampling-is-descent",
    ]


@sources
def test_it_runs_from_start_to_end(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel finds the package where the tests do.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    notebook = notebooks.made(source)
    checks = [cell for cell in notebook.cells if cell.cell_type == "code" and "assert " in cell.source]
    assert len(checks) >= 5, "each finding is an assertion"
    seconds = notebooks.execute(notebook)
    slow = {cell.source[:60]: taken for cell, taken in zip(notebook.cells, seconds, strict=True) if taken > SECONDS}
    assert not slow


@sources
def test_the_committed_one_is_of_its_source(source: Path) -> None:
    target = source.with_suffix(".ipynb")
    assert target.stat().st_size < BYTES
    committed = nbformat.read(target, as_version=4)
    nbformat.validate(committed)
    made = notebooks.made(source)
    hint = f"python tools/notebooks.py {source.stem}"
    assert [(cell.cell_type, cell.source) for cell in committed.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ], hint
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), hint
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs), hint
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5, hint


def test_a_failing_finding_is_found(tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\nassert 1 + 1 == 3\n")
    with pytest.raises(Exception, match="AssertionError"):
        notebooks.execute(notebooks.made(source))
