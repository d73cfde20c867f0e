"""The common parts of functions of data: the device, samples as matrices, whole numbers, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core
from ._arrays import ArrayLike, Floats, floats, whole
from ._device import engine
from ._errors import ArgumentError

__all__ = ["SMALL", "Count", "Doubles", "Progress", "engine_of", "matrix_of", "samples_of", "whole"]

Doubles: TypeAlias = npt.NDArray[np.float64]
Progress: TypeAlias = bool | Callable[[int], object] | None
"""A bar or none, or a function of the units of work that were done."""

SMALL = 320
"""Values per sample up to which chains are in float64, which costs next to nothing there."""


def engine_of(adapter: str | int | None) -> _core.Engine:
    """Returns the device that is open on an adapter; it stays open until the process ends."""
    return engine(None if adapter is None else str(adapter))


def samples_of(values: ArrayLike, name: str = "X") -> Floats:
    """Returns samples (n, ...) as float32 in C order.

    Raises:
        ArgumentError: for an array without samples.
    """
    array = floats(values, name)
    if array.ndim < 2 or array.size == 0:
        raise ArgumentError(f"`{name}` of shape {array.shape}", "give samples (n, ...), at least one")
    return array


def matrix_of(X: ArrayLike) -> Floats:
    """Returns samples as the rows of a matrix, (n, p)."""
    samples = samples_of(X)
    return np.reshape(samples, (len(samples), -1))


class Count:
    """Progress of a study over units of its work, by `tqdm` where it is installed.

    Args:
        wanted: `True` for a bar, `False` for none, `None` for one on terminals; or a function that is called with the
            number of units that were done since its last call.
    """

    def __init__(self, wanted: bool | Callable[[int], object] | None, title: str) -> None:
        self._bar: Any = None
        self.advance: Callable[[int], object] | None = wanted if callable(wanted) else None
        if callable(wanted) or wanted is False or (wanted is None and not sys.stderr.isatty()):
            return
        try:
            from tqdm import tqdm  # pyright: ignore
        except ImportError:
            if wanted:
                raise ArgumentError(
                    "`progress` needs the package tqdm, which is not installed", "`pip install tqdm`"
                ) from None
            return
        self._bar = tqdm(desc=title)  # pyright: ignore
        self.advance = self._bar.update

    def __enter__(self) -> Callable[[int], object] | None:
        return self.advance

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
