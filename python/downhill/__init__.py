"""Diffusion models as iterated projection: denoising is projection, sampling is iterating it.

>>> import downhill
>>> digits = downhill.open()
>>> digits.sample(16, steps=10).save("digits.png")

`open` opens a model: a pretrained network from a diffusers folder or a single file, a pipeline from text, a closed form
of data, or the embedded network of handwritten digits. `Model.denoise`, `Model.eps` and `Model.jvp` call it,
`Model.sample` samples it. `sample` samples a denoiser of your own. `PCA` and `LinearDiffusion` are estimators of
scikit-learn; `downhill.linear` has the theory of linear diffusion, `downhill.studies` the experiments of the papers,
`downhill.interop` adapters for diffusers, k-diffusion and smalldiffusion.

Everything runs on any Vulkan, Metal or DX12 GPU, or on the CPU through a software Vulkan driver; there is no PyTorch
and no CUDA behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._arrays import data
from ._core import __version__
from ._denoiser import sample
from ._device import adapters
from ._errors import (
    AdapterError,
    ArgumentError,
    DeviceError,
    Error,
    FileError,
    ModelError,
    NonFiniteError,
    NotFoundError,
    OutOfMemoryError,
)
from ._images import Images, grid
from ._model import Model, open
from ._sampling import SamplerFunction, SamplerInfo, Schedule, Step, sampler_names, samplers, schedule_names

if TYPE_CHECKING:
    from . import interop, linear, plots, studies
    from .estimators import PCA, LinearDiffusion

_LAZY = {"PCA": "estimators", "LinearDiffusion": "estimators"}
"""Names that need scikit-learn, and the module of each."""
_MODULES = ("estimators", "interop", "linear", "plots", "studies")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "PCA",
    "AdapterError",
    "ArgumentError",
    "DeviceError",
    "Error",
    "FileError",
    "Images",
    "LinearDiffusion",
    "Model",
    "ModelError",
    "NonFiniteError",
    "NotFoundError",
    "OutOfMemoryError",
    "SamplerFunction",
    "SamplerInfo",
    "Schedule",
    "Step",
    "__version__",
    "adapters",
    "data",
    "grid",
    "interop",
    "linear",
    "open",
    "plots",
    "sample",
    "sampler_names",
    "samplers",
    "schedule_names",
    "studies",
]


def __dir__() -> list[str]:
    return __all__
