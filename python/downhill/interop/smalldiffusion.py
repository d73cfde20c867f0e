"""Models of downhill in `samples` of smalldiffusion.

>>> model = downhill.interop.smalldiffusion.Model(downhill.open())
>>> *_, x = smalldiffusion.samples(model, model.schedule().sample_sigmas(20), gam=2, batchsize=16)

Source: `smalldiffusion.ModelMixin`, whose methods `samples` calls, and arXiv:2306.04848, section 4.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportUntypedBaseClass=false
# pyright: reportMissingTypeStubs=false, reportArgumentType=false

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from .._errors import ArgumentError
from .._model import Model as Denoiser
from ._tensors import torch, without_gradient

try:
    from smalldiffusion.diffusion import Schedule
    from smalldiffusion.model import ModelMixin
except ImportError as error:
    raise ImportError(
        "`downhill.interop.smalldiffusion` needs the package smalldiffusion, which is not installed: "
        "`pip install smalldiffusion`"
    ) from error


class Model(torch.nn.Module, ModelMixin):
    """A model of downhill as a model of smalldiffusion: eps of x = x0 + sigma eps.

    Args:
        model: a model of any kind.
        null: the class label that stands for no class, for guidance; by default the null class of a diffusion
            transformer.
    """

    input_dims: tuple[int, ...]
    """(channels, height, width)."""

    def __init__(self, model: Denoiser, null: float | None = None) -> None:
        super().__init__()
        if model.shape is None:
            raise ArgumentError(
                f"`{model.name}` has no usual size, so that no noise can be drawn for it", "give `xt` to a sampler"
            )
        self.downhill = model
        self.input_dims = model.shape
        if null is None and model.config.get("_class_name") == "DiTTransformer2DModel":
            null = model.config.get("num_embeds_ada_norm")
        self.cond_embed = None if null is None else SimpleNamespace(null_cond=null)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the estimate of the noise.

        Args:
            x: images x = x0 + sigma eps, (n, c, h, w).
            sigma: the noise level, above 0: a scalar, or (n, 1, 1, 1).
            cond: class labels, (n,), or embeddings of texts, (n, tokens, channels).

        Returns:
            eps, (n, c, h, w), in the dtype and on the device of `x`.

        Raises:
            ArgumentError: for tensors that do not fit the model, and for a gradient.
        """
        without_gradient(x, sigma, cond)
        conditions = {} if cond is None else {"labels" if cond.ndim == 1 else "context": cond}
        with torch.no_grad():
            return self.downhill.eps(x, sigma=sigma.reshape(-1), like=x, **conditions)

    def predict_eps_cfg(
        self, x: torch.Tensor, sigma: torch.Tensor, cond: torch.Tensor | None, cfg_scale: float
    ) -> torch.Tensor:
        """Returns eps under guidance: eps_c + s (eps_c - eps_u), where u is the null class.

        The scale s of smalldiffusion is 1 less than `guidance_scale`.

        Raises:
            ArgumentError: for guidance of a model without a null class, and as `forward`.
        """
        if cond is not None and cfg_scale != 0 and self.cond_embed is None:
            raise ArgumentError(
                f"`cfg_scale` of {cfg_scale} for `{self.downhill.name}`, whose null class is unknown",
                "give the label that stands for no class: `Model(model, null=...)`",
            )
        return super().predict_eps_cfg(x, sigma, cond, cfg_scale)

    def schedule(self) -> Any:
        """Returns the noise levels of a network's training as a `Schedule` of smalldiffusion.

        Raises:
            ArgumentError: for a closed form, which has none.
        """
        return Schedule(torch.from_numpy(self.downhill.sigmas.astype(np.float32)))


__all__ = ["Model"]
