"""The guide, docs/python.md: its blocks run in order, as one program, and its comments `# -> value` hold."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

GUIDE = ROOT / "docs" / "python.md"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"# -> (.*)$")

FILES = {
    "stable-diffusion": "latent/sd1-like",
    "style.safetensors": "lora/kohya.safetensors",
    "cat-toy.safetensors": "prompts/learned_embeds.safetensors",
}
"""The files that the guide opens, and the small random ones of tests/golden that take their places."""


def run(block: str, line: int, names: dict[str, Any]) -> int:
    """Runs a block that begins at a line of the guide, and returns the number of values that it states.

    Raises:
        AssertionError: for a value that is not the stated one.
    """
    # So that the lines of tracebacks are those of the guide.
    text = "\n" * line + block
    lines = text.splitlines()
    checked = 0
    for statement in ast.parse(text).body:
        stated = ARROW.search(lines[(statement.end_lineno or 1) - 1])
        if stated is None:
            exec(compile(ast.Module([statement], []), GUIDE, "exec"), names)
            continue
        assert isinstance(statement, ast.Expr), f"{GUIDE.name}:{statement.lineno}: `# ->` stands beside an expression"
        value = repr(eval(compile(ast.Expression(statement.value), GUIDE, "eval"), names))
        assert value == stated[1], f"{GUIDE.name}:{statement.lineno}: {value}"
        checked += 1
    return checked


def without_training(name: str) -> None:
    """Makes the parts of a package importable without its `__init__.py`, which imports packages for training."""
    found = importlib.util.find_spec(name)
    assert found is not None, "pip install --no-deps -r python/tests/requirements-no-deps.txt"
    package = types.ModuleType(name)
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules[name] = package


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, file in FILES.items():
        (tmp_path / place).symlink_to(ROOT / "tests" / "golden" / file)
    if "k_diffusion" not in sys.modules:
        without_training("k_diffusion")
    monkeypatch.chdir(tmp_path)
    guide = GUIDE.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "guide"}
    checked = sum(run(block[1], guide.count("\n", 0, block.start(1)), names) for block in FENCE.finditer(guide))
    assert checked == guide.count("# -> ") - 1, "the introduction has one `# -> `, and each other one is checked"
    made = {path.name for path in tmp_path.iterdir()} - set(FILES)
    assert made == {"digits.png", "one", "z.npy", "steps.png", "steps-moving.png", "norms.png"}


def test_a_wrong_value_is_found() -> None:
    assert run("x = 3\nx + 1  # -> 4\n", 0, {}) == 1
    with pytest.raises(AssertionError, match="python.md:12: 4"):
        run("x = 3\nx + 1  # -> 5\n", 10, {})
