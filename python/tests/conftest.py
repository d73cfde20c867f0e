"""What the tests share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import downhill

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def digits() -> downhill.Model:
    """The embedded network."""
    return downhill.open()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of references."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def program() -> str | None:
    """The program `downhill`, where it is built."""
    named = os.environ.get("DOWNHILL_PROGRAM")
    places = [Path(named)] if named else [ROOT / "target" / build / "downhill" for build in ("release", "debug")]
    found = [str(place) for place in places if place.is_file()]
    return found[0] if found else None


def run(program: str, *arguments: str) -> None:
    """Runs the program, quietly."""
    subprocess.run([program, *arguments], check=True, capture_output=True)
