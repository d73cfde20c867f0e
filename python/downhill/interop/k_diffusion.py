"""Models of downhill in the samplers of k-diffusion.

>>> model = downhill.interop.k_diffusion.Denoiser(downhill.open())
>>> sigmas = k_diffusion.sampling.get_sigmas_karras(20, *model.model.sigma_range)
>>> k_diffusion.sampling.sample_dpmpp_2m(model, sigmas[0] * torch.randn(16, 1, 28, 28), sigmas)

The package k-diffusion itself is not needed: its samplers, and those written like them, call a denoiser with tensors.
Source: `k_diffusion.external.DiscreteEpsDDPMDenoiser`, whose methods the adapter has.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import ArrayLike
from .._errors import ArgumentError
from .._model import Model
from ._tensors import torch, without_gradient

_NAMES = {"cond": "context", "class_cond": "labels", "y": "labels"}
"""The names of conditions in k-diffusion's models, and those of `Model.denoise`."""


class Denoiser:
    """A model of downhill as a denoiser of k-diffusion: x0 of x = x0 + sigma eps.

    Args:
        model: a model of any kind.
        conditions: `context`, `labels`, `pooled` and `time_ids` as in `Model.denoise`, for every call.
    """

    def __init__(self, model: Model, **conditions: ArrayLike) -> None:
        self.model = model
        self._conditions = _renamed(conditions)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: ArrayLike) -> torch.Tensor:
        """Returns the estimate of the clean images.

        Args:
            x: images or latents x = x0 + sigma eps, (n, c, h, w).
            sigma: the noise level, above 0, per image: (n,).
            extra: the conditions of `Model.denoise` for this call, from `extra_args` of the sampler; `cond` is another
                name of `context`, `class_cond` and `y` are other names of `labels`.

        Returns:
            x0, (n, c, h, w), in the dtype and on the device of `x`.

        Raises:
            ArgumentError: for tensors that do not fit the model, other conditions, and a gradient.
        """
        without_gradient(x, sigma)
        with torch.no_grad():
            return self.model.denoise(x, sigma, like=x, **(self._conditions | _renamed(extra)))

    @property
    def sigma_min(self) -> torch.Tensor:
        """The least noise that the model was made for."""
        return torch.tensor(self.model.sigma_range[0])

    @property
    def sigma_max(self) -> torch.Tensor:
        """The most noise that the model was made for."""
        return torch.tensor(self.model.sigma_range[1])

    @property
    def sigmas(self) -> torch.Tensor:
        """The noise levels of a network's training, by timestep."""
        return torch.from_numpy(self.model.sigmas.astype(np.float32))

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        """Returns the noise levels at `n` timesteps that are evenly spaced from the last to the first, and 0.

        Args:
            n: the number of steps; by default all timesteps of the training.

        Returns:
            n + 1 noise levels, float32.

        Raises:
            ArgumentError: for a closed form, which has no timesteps.
        """
        last = len(self.model.sigmas) - 1
        t = np.linspace(last, 0, last + 1 if n is None else n)
        return torch.from_numpy(np.append(self.model.sigma_of(t), 0.0).astype(np.float32))

    def sigma_to_t(self, sigma: torch.Tensor) -> torch.Tensor:
        """Returns the timesteps of noise levels of a network."""
        return torch.from_numpy(self.model.timestep_of(sigma.reshape(-1))).to(sigma).reshape(sigma.shape)

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        """Returns the noise levels of timesteps of a network."""
        return torch.from_numpy(self.model.sigma_of(t.reshape(-1))).to(t.device, torch.float32).reshape(t.shape)


def _renamed(conditions: dict[str, Any]) -> dict[str, Any]:
    """Returns conditions under the names of `Model.denoise`."""
    found: dict[str, Any] = {}
    for name, value in conditions.items():
        keyword = _NAMES.get(name, name)
        if keyword not in ("context", "labels", "pooled", "time_ids"):
            raise ArgumentError(
                f"`{name}` is not a condition of a model", "give `context`, `labels`, `pooled` or `time_ids`"
            )
        if keyword in found:
            raise ArgumentError(f"`{name}` is given twice", f"`{keyword}` has another name here; give one of them")
        found[keyword] = value
    return found


__all__ = ["Denoiser"]
