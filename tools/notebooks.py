"""Executes the notebooks of docs/notebooks and writes them with their outputs:  python tools/notebooks.py [NAME ...]

The source of a notebook is the file NAME.py, in the percent format of jupytext; NAME.ipynb is made from it. Needs the
package and python/tests/requirements.txt. python/tests/test_notebooks.py checks that the two agree.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def sources() -> list[Path]:
    """Returns the sources of all notebooks."""
    return sorted(FOLDER.glob("*.py"))


def made(source: Path) -> Any:
    """Returns the notebook of a source, without outputs."""
    notebook: Any = jupytext.read(source)
    notebook.metadata.pop("jupytext", None)
    for at, cell in enumerate(notebook.cells):
        # Random identifiers would differ from run to run.
        cell.id = f"cell-{at}"
    return notebook


def execute(notebook: Any) -> list[float]:
    """Executes a notebook in its folder, and returns the seconds that each of its cells took.

    Raises:
        nbclient.exceptions.CellExecutionError: for a cell that fails.
    """
    seconds: list[float] = []
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}, record_timing=False
    )
    with client.setup_kernel():
        for at, cell in enumerate(notebook.cells):
            begun = time.perf_counter()
            client.execute_cell(cell, at)
            seconds.append(time.perf_counter() - begun)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # Chatter of drivers and libraries, and the addresses of objects, which differ from run to run.
            if "data" in output and "image/png" in output["data"]:
                output["data"].pop("text/plain", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    return seconds


def main() -> None:
    for source in sources():
        if sys.argv[1:] and source.stem not in sys.argv[1:]:
            continue
        notebook = made(source)
        seconds = execute(notebook)
        notebook.metadata.get("language_info", {}).pop("version", None)
        nbformat.validate(notebook)
        target = source.with_suffix(".ipynb")
        text = nbformat.writes(notebook)
        target.write_text(text + "\n", "utf-8")
        slowest = max(seconds)
        code = re.sub(r"\s+", " ", notebook.cells[seconds.index(slowest)].source)[:60]
        print(f"{target.name}: {len(text) / 1e3:.0f} kB, {sum(seconds):.1f} s, slowest cell {slowest:.1f} s: {code}")


if __name__ == "__main__":
    main()
