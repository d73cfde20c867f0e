"""The images of a run."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from . import _core
from ._arrays import ArrayLike, Floats, images, like
from ._errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def pil_of(pixels: npt.NDArray[np.uint8]) -> Picture:
    """Returns one image (h, w, c) in 8 bits as an image of Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(
            "images of Pillow need the package pillow, which is not installed", "`pip install pillow`"
        ) from None
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid(pixels: ArrayLike, columns: int | None = None) -> npt.NDArray[np.uint8]:
    """Returns images as one picture, as `downhill sample` lays them out.

    Args:
        pixels: (n, c, h, w) with 1, 3 or 4 channels, about -1 to 1.
        columns: images per row; by default about as many as rows.

    Returns:
        The picture, (h, w, c) in 8 bits.
    """
    return _core.grid_of_pixels(images(pixels, "pixels")[0], columns)


class Images:
    """Images of a run, with its report. In a notebook, their grid is shown.

    Image i is `images[i]`, an image of Pillow; `np.asarray(images)` is `images.bytes`.
    """

    def __init__(self, core: _core.Images) -> None:
        self._core = core

    @cached_property
    def pixels(self) -> Floats:
        """The images, about -1 to 1, (n, c, h, w)."""
        return self._core.pixels()

    @cached_property
    def bytes(self) -> npt.NDArray[np.uint8]:
        """The images in 8 bits, (n, h, w, c)."""
        return self._core.bytes()

    @cached_property
    def samples(self) -> Floats:
        """The samples in the scale of the model, z = sqrt(alpha bar) x, (n, c, h, w): images, or latents."""
        return self._core.samples()

    @property
    def path(self) -> Floats | None:
        """The state after each step, (steps, n, c, h, w), if it was kept.

        z for schedules of timesteps, x for those of sigmas.
        """
        return self._core.path()

    @property
    def predictions(self) -> Floats | None:
        """The prediction of x0 at each step as pixels, (steps, n, c, h, w), if it was kept."""
        return self._core.predictions()

    @property
    def indices(self) -> list[int]:
        """The index of each image in the whole run."""
        return self._core.indices

    @property
    def sigmas(self) -> npt.NDArray[np.float64]:
        """The noise levels of the run, (steps + 1,)."""
        return np.array(self._core.sigmas)

    @property
    def report(self) -> dict[str, Any]:
        """The report of the run, with the sections of `downhill sample --json`: model, seed, schedule, timings."""
        return json.loads(self._core.report)

    @property
    def notes(self) -> list[str]:
        """Sentences about what differs from the model's files, and what was cut off."""
        return self.report["notes"]

    def grid(self, columns: int | None = None) -> npt.NDArray[np.uint8]:
        """Returns all images as one picture, (h, w, c) in 8 bits."""
        return self._core.grid(columns)

    def to_pil(self) -> list[Picture]:
        """Returns the images as images of Pillow."""
        return [pil_of(image) for image in self.bytes]

    def torch(self) -> Any:
        """Returns `pixels` as a tensor of PyTorch."""
        return like(self.pixels, "torch")

    def save(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        floats: str | os.PathLike[str] | None = None,
        samples: str | os.PathLike[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        steps: str | os.PathLike[str] | None = None,
        sheet: str | os.PathLike[str] | None = None,
        animation: str | os.PathLike[str] | None = None,
    ) -> list[Path]:
        """Writes files, the same bytes as `downhill sample` with the same settings.

        Files appear whole or not at all. PNGs hold what determines their pixels as metadata.

        Args:
            output: `x.png` for one grid, `folder/%05d.png` for one file per image, `x.npz` for one array.
            floats: an `.npy` of the images as numbers from 0 to 1, (n, c, h, w).
            samples: an `.npy` of `samples`.
            path: an `.npy` of `path`, if the run kept it.
            steps: a folder for a grid of the predictions at each step, if the run kept them.
            sheet: a PNG of the predictions, a column per step.
            animation: an animated PNG of the predictions, a frame per step.

        Returns:
            The files that were written.

        Raises:
            ArgumentError: for an ending that is not one of these, and for what the run did not keep.
            FileError: for files that cannot be written.
            NonFiniteError: for values that are not finite.
        """
        if path is not None and self.path is None:
            raise ArgumentError("`path` of a run that did not keep it", "sample with `keep_path=True`")
        if (steps or sheet or animation) and self.predictions is None:
            raise ArgumentError("predictions of a run that did not keep them", "sample with `keep_predictions=True`")
        endings = [
            (".npy", {"floats": floats, "samples": samples, "path": path}),
            (".png", {"sheet": sheet, "animation": animation}),
        ]
        for ending, files in endings:
            for name, file in files.items():
                if file is not None and Path(file).suffix.lower() != ending:
                    raise ArgumentError(f"`{name}` of `{os.fspath(file)}`", f"name the file `*{ending}`")
        texts = [None if item is None else os.fspath(item) for item in (floats, samples, path, steps, sheet, animation)]
        written = self._core.save(None if output is None else os.fspath(output), *texts)
        return [Path(file) for file in written]

    def __len__(self) -> int:
        return len(self._core)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [pil_of(image) for image in self.bytes[index]]
        return pil_of(self.bytes[index])

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.to_pil())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.bytes if dtype is None else self.bytes.astype(dtype)

    def _repr_png_(self) -> bytes | None:
        """Returns the grid as a PNG, for notebooks; small images are shown larger."""
        try:
            picture = pil_of(self.grid())
        except ArgumentError:
            return None
        times = max(1, 512 // max(picture.size))
        file = io.BytesIO()
        picture.resize((picture.width * times, picture.height * times), 0).save(file, "PNG")
        return file.getvalue()

    def __reduce__(self) -> str:
        raise TypeError("images of a run cannot be pickled: pickle their `pixels`, or `save` them")

    def __repr__(self) -> str:
        pixels = self._core.pixels()
        return f"Images({len(self)} of {pixels.shape[1]} x {pixels.shape[2]} x {pixels.shape[3]})"
