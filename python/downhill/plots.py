"""Figures of studies, drawn with matplotlib: `pip install "downhill[plot]"`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import ArgumentError, NotFoundError
from .studies import Results

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#5b5b5b")
"""Eight colours that are easy to tell apart."""


def plot(results: Results, name: str | None = None, *, size: tuple[float, float] = (4.8, 3.4)) -> Any:
    """Draws a figure of a study with matplotlib.

    Args:
        results: the results of a study of `downhill.studies`.
        name: the name of the figure, a key of `results.figures`; by default the first one.
        size: inches of one panel, (width, height).

    Returns:
        The `matplotlib.figure.Figure`, its panels as axes.

    Raises:
        ArgumentError: if matplotlib is not installed.
        NotFoundError: for a name that the results do not have.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore
    except ImportError:
        raise ArgumentError(
            "plots need the package matplotlib, which is not installed", "`pip install matplotlib`"
        ) from None
    if name is None:
        name = next(iter(results.figures), "")
    if name not in results.figures:
        names = ", ".join(f"`{name}`" for name in results.figures) or "none"
        raise NotFoundError(f"no figure `{name}` in the results of `{results.study}`", f"its figures are {names}")
    picture = results.figures[name]
    panels, columns = picture["panels"], max(min(picture["columns"], len(picture["panels"])), 1)
    rows = -(-len(panels) // columns)
    figure: Any = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    if picture["title"]:
        figure.suptitle(picture["title"])
    for at, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, at + 1)
        axes.set_title(panel["title"], fontsize="medium")
        if "series" in panel:
            _curves(figure, axes, panel)
        else:
            _heat(figure, axes, panel)
    return figure


def _curves(figure: Any, axes: Any, panel: dict[str, Any]) -> None:
    from matplotlib import colormaps  # pyright: ignore
    from matplotlib.cm import ScalarMappable  # pyright: ignore
    from matplotlib.colors import Normalize  # pyright: ignore

    shades: Any = colormaps["viridis"]

    def colour_of(kind: str, place: float) -> Any:
        if kind == "cycle":
            return COLOURS[int(place) % len(COLOURS)]
        # The brightest end is hard to see on white.
        return shades(0.9 * place) if kind == "shade" else {"black": "black", "grey": "0.6"}[kind]

    for series in panel["series"]:
        x, y = series["points"].T
        colour = colour_of(*series["colour"])
        label = series["name"] or "_nolegend_"
        band = series["band"]
        if series["mark"] == "bars":
            width = 0.8 * min(np.diff(np.sort(x)).tolist()) if len(x) > 1 else 0.8
            axes.bar(x, y, width=width, color=colour, label=label)
        elif series["mark"] == "ticks":
            axes.plot(x, y, "_", color=colour, label=label, markersize=9)
        elif series["mark"] == "points":
            axes.plot(x, y, ".", color=colour, label=label, markersize=4)
            if band is not None:
                axes.vlines(x, band[:, 0], band[:, 1], color=colour, linewidth=1)
        else:
            axes.plot(x, y, "--" if series["mark"] == "dashed" else "-", color=colour, label=label, linewidth=1.5)
            if band is not None:
                axes.fill_between(x, band[:, 0], band[:, 1], color=colour, alpha=0.2, linewidth=0)
    _axis(axes, "x", panel["x"])
    _axis(axes, "y", panel["y"])
    if any(series["name"] for series in panel["series"]):
        axes.legend(fontsize="small")
    if panel["shades"] is not None:
        label, darkest, brightest = panel["shades"]
        scale = ScalarMappable(Normalize(darkest, brightest), shades)
        figure.colorbar(scale, ax=axes, label=label)


def _heat(figure: Any, axes: Any, panel: dict[str, Any]) -> None:
    from matplotlib.colors import LogNorm, Normalize  # pyright: ignore

    values = panel["values"]
    colours = panel["colours"]
    low, high = colours["range"] or (None, None)
    rows, columns = values.shape
    norm: Any = LogNorm(low, high) if colours["log"] else Normalize(low, high)

    def edges(axis: dict[str, Any], cells: int) -> Any:
        if axis["range"] is None:
            return np.linspace(-0.5, cells - 0.5, cells + 1)
        first, last = axis["range"]
        spaced: Any = np.geomspace if axis["log"] else np.linspace
        return spaced(first, last, cells + 1)

    mesh = axes.pcolormesh(
        edges(panel["x"], columns), edges(panel["y"], rows), np.ma.masked_invalid(values), norm=norm, cmap="viridis"
    )
    axes.set_facecolor("0.85")
    _axis(axes, "x", panel["x"])
    _axis(axes, "y", panel["y"])
    if panel["is_matrix"]:
        axes.invert_yaxis()
        if panel["x"]["range"] is None and panel["y"]["range"] is None:
            axes.set_aspect("equal")
    figure.colorbar(mesh, ax=axes, label=colours["label"])


def _axis(axes: Any, side: str, axis: dict[str, Any]) -> None:
    axes.set(**{f"{side}label": axis["label"]})
    if axis["log"]:
        axes.set(**{f"{side}scale": "log"})
    if axis["range"] is not None:
        axes.set(**{f"{side}lim": tuple(axis["range"])})
