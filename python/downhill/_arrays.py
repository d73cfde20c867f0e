"""Arrays of other libraries in, NumPy arrays out.

The engine takes float32 in C order. An array that is so already is handed over as it is; every other one is converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core
from ._errors import ArgumentError

Floats: TypeAlias = npt.NDArray[np.float32]
"""An array of float32."""

ArrayLike: TypeAlias = Any
"""Anything with `__array__`, a buffer or DLPack: NumPy arrays, PyTorch tensors, JAX arrays on the host, lists."""


def numpy_of(values: ArrayLike) -> npt.NDArray[Any]:
    """Returns the values as a NumPy array, without a copy where their library allows it.

    A tensor of PyTorch is detached from its graph, and copied to the host from another device.
    """
    if isinstance(values, np.ndarray):
        return values  # pyright: ignore[reportUnknownVariableType]
    if type(values).__module__.partition(".")[0] == "torch":
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return values.numpy()
    if hasattr(values, "__array__") or not hasattr(values, "__dlpack__"):
        return np.asarray(values)
    return np.from_dlpack(values)


def floats(values: ArrayLike, name: str) -> Floats:
    """Returns the values as float32 in C order; no copy is made of an array that is so already.

    Raises:
        ArgumentError: for values that are not real numbers, and for bytes, whose range the caller has to choose.
    """
    array = numpy_of(values)
    if array.dtype == np.uint8:
        raise ArgumentError(
            f"`{name}` is an array of bytes",
            "networks take numbers from -1 to 1: `x.astype('float32') / 127.5 - 1`",
        )
    if array.dtype.kind not in "fiu":
        raise ArgumentError(f"`{name}` is an array of {array.dtype}", "give an array of real numbers")
    return np.ascontiguousarray(array, dtype=np.float32)


def images(values: ArrayLike, name: str = "x") -> tuple[Floats, bool]:
    """Returns images as (n, c, h, w), and whether the values were a single image (c, h, w)."""
    array = floats(values, name)
    if array.ndim == 3:
        return array[None], True
    if array.ndim == 4:
        return array, False
    raise ArgumentError(
        f"`{name}` of shape {array.shape}", "images are (n, channels, height, width), or one (channels, height, width)"
    )


def numbers(values: ArrayLike, name: str) -> list[float]:
    """Returns one or several numbers as a list, in float64."""
    given = numpy_of(values)
    if given.dtype.kind not in "fiu" or (given.ndim == 0 and isinstance(values, bool)):
        raise ArgumentError(f"`{name}` of {values!r}", "give one real number, or several")
    array = np.atleast_1d(given.astype(np.float64))
    if array.ndim != 1:
        raise ArgumentError(f"`{name}` of shape {array.shape}", "give one number, or one per image")
    return array.tolist()


def result_of(values: ArrayLike, name: str) -> Floats:
    """Returns the result of a function of the caller as float32 in C order.

    Raises:
        ArgumentError: for values that are not real numbers, or are bytes.
    """
    array = numpy_of(values)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize == 1:
        raise ArgumentError(f"{name} returned an array of {array.dtype}", "return an array of real numbers")
    return np.ascontiguousarray(array, dtype=np.float32)


def whole(number: Any, name: str, least: int = 1) -> int:
    """Returns a whole number from `least` on.

    Raises:
        ArgumentError: for anything else.
    """
    if hasattr(number, "__index__") and not isinstance(number, (bool, np.bool_)) and number.__index__() >= least:
        return int(number.__index__())
    raise ArgumentError(f"`{name}` of {number!r}", f"give a whole number of at least {least}")


def like(array: npt.NDArray[Any], other: Any) -> Any:
    """Returns an array in the library of `other`.

    Args:
        array: the NumPy array.
        other: `None` or `"numpy"` for NumPy; `"torch"`, or a tensor of PyTorch, whose device and dtype are followed.
    """
    if other is None or (isinstance(other, str) and other == "numpy") or isinstance(other, np.ndarray):
        return array
    if isinstance(other, str) and other == "torch":
        try:
            import torch  # pyright: ignore
        except ImportError:
            raise ArgumentError('"torch" needs PyTorch, which is not installed', "`pip install torch`") from None
        return torch.from_numpy(array)  # pyright: ignore
    if type(other).__module__.partition(".")[0] == "torch":
        import torch  # pyright: ignore

        return torch.from_numpy(array).to(device=other.device, dtype=other.dtype)  # pyright: ignore
    raise ArgumentError(
        f"the library {other!r}" if isinstance(other, str) else f"arrays like a {type(other).__name__}",
        'give "numpy", "torch", or an array of one of them',
    )


def shape_of_one(shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns (channels, height, width)."""
    if len(shape) != 3 or min(shape) < 1:
        raise ArgumentError(f"`shape` of {tuple(shape)}", "give (channels, height, width)")
    channels, height, width = (int(extent) for extent in shape)
    return channels, height, width


def shaped(array: Floats, shape: tuple[int, ...]) -> Floats:
    """Returns an array in another shape, without a copy."""
    return np.reshape(array, shape)


def data(source: str) -> Floats:
    """Returns the samples of a data set.

    Args:
        source: `digits` for the 10,000 embedded digits; an `.npy`, an `.npz`, an IDX file, several `.npy` as one
            ('FOLDER/*.npy') or a folder of images; or `spiked:...` for drawn samples, as in `pca:DATA` and
            `downhill linear`.

    Returns:
        (n, *sample_shape), float32. Bytes of images are from -1 to 1; other numbers are as they are.

    Raises:
        ArgumentError: for a name that is not one of these.
        ModelError: for files that cannot be used.
    """
    return _core.data(source)
