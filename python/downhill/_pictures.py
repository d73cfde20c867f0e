"""Pictures and masks that a run begins from."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from ._arrays import floats
from ._errors import ArgumentError
from ._images import pil_of


class Pictures:
    """Pictures and masks as files, which the library reads: those in memory are written for the time of a run."""

    def __init__(self) -> None:
        self._folder: Any = None

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def start(self, start: Any) -> tuple[Any, str | None]:
        """Returns the start states, or the file of a picture."""
        if start is None:
            return None, None
        if isinstance(start, (str, os.PathLike)):
            return None, os.fspath(start)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if hasattr(start, "save") and hasattr(start, "mode"):
            return None, self._write(start, "start.png")
        return floats(start, "start"), None

    def mask(self, mask: Any) -> str | None:
        """Returns the file of a mask."""
        if mask is None or isinstance(mask, (str, os.PathLike)):
            return None if mask is None else os.fspath(mask)  # pyright: ignore
        if hasattr(mask, "save") and hasattr(mask, "mode"):
            return self._write(mask, "mask.png")
        values = np.asarray(mask)
        if values.ndim != 2:
            raise ArgumentError(f"`mask` of shape {values.shape}", "a mask is (height, width)")
        painted = np.where(values != 0, 255, 0).astype(np.uint8)
        return self._write(pil_of(painted[..., None]), "mask.png")

    def _write(self, picture: Any, name: str) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="downhill-")
        file = os.path.join(self._folder.name, name)
        picture.save(file)
        return file
