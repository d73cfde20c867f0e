"""Adapters for the samplers and pipelines of other libraries, which call a model of downhill as one of theirs.

`downhill.interop.diffusers` has `UNet` and `UNetCondition` for the pipelines and schedulers of diffusers,
`downhill.interop.k_diffusion` has `Denoiser` for the samplers of k-diffusion, and `downhill.interop.smalldiffusion` has
`Model` for `samples` of smalldiffusion. Each needs PyTorch and is imported when it is first used.

The other way round, `downhill.sample` samples a denoiser that is a function, such as a network of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import diffusers, k_diffusion, smalldiffusion

_MODULES = ("diffusers", "k_diffusion", "smalldiffusion")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["diffusers", "k_diffusion", "smalldiffusion"]
