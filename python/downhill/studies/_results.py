"""The results of studies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arrays import Floats
from .._errors import NotFoundError


@dataclass(frozen=True)
class Results:
    """The results of a study."""

    study: str
    """The name of the study."""
    arrays: dict[str, Floats]
    """Arrays by name, float32: the `.npy` files of the program's folder."""
    tables: dict[str, dict[str, npt.NDArray[Any]]]
    """Tables by name: their columns by name, as numbers where they are numbers."""
    figures: dict[str, dict[str, Any]]
    """Figures as data by name, for `downhill.plots.plot`."""
    report: dict[str, Any]
    """The sections of the report: settings and findings as numbers."""
    notes: list[str]
    """Findings, each a sentence."""
    warnings: list[str]
    """Reasons to doubt the results."""
    text: str | None = None
    """The result as text, where a study has one."""
    texts: dict[str, str] = field(default_factory=dict[str, str])
    """Text files by name."""

    def __getitem__(self, name: str) -> Floats:
        """Returns an array by its name, with or without `.npy`."""
        stem = name.removesuffix(".npy")
        if stem not in self.arrays:
            names = ", ".join(f"`{name}`" for name in self.arrays) or "none"
            raise NotFoundError(f"no array `{name}` in the results of `{self.study}`", f"its arrays are {names}")
        return self.arrays[stem]

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"Results({self.study}: {arrays or ', '.join(self.tables)})"


def results_of(study: str, found: dict[str, Any]) -> Results:
    def column(cells: list[str]) -> npt.NDArray[Any]:
        try:
            return np.array([float(cell) for cell in cells])
        except ValueError:
            return np.array(cells)

    tables: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, (columns, rows) in found["tables"].items():
        tables[name] = {title: column([row[at] for row in rows]) for at, title in enumerate(columns)}
    messages: list[tuple[str, str]] = found["messages"]
    return Results(
        study=study,
        arrays=found["arrays"],
        tables=tables,
        figures=found["figures"],
        report=json.loads(found["report"]),
        notes=[text for kind, text in messages if kind == "note"],
        warnings=[text for kind, text in messages if kind == "warning"],
        text=found["text"],
        texts=found["texts"],
    )


# Of denoisers
