"""Networks of downhill in the pipelines and with the schedulers of diffusers.

>>> unet = downhill.interop.diffusers.UNet(downhill.open("google/ddpm-cifar10-32"))
>>> DDIMPipeline(unet=unet, scheduler=DDIMScheduler.from_pretrained("google/ddpm-cifar10-32"))(num_inference_steps=20)

Source: `UNet2DModel` and `UNet2DConditionModel` of diffusers, whose calls and configurations these classes have.
"""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportUntypedBaseClass=false
# pyright: reportIncompatibleMethodOverride=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from .._arrays import ArrayLike
from .._errors import ArgumentError
from .._model import Model
from ._tensors import refuse, torch, without_gradient

try:
    from diffusers.configuration_utils import ConfigMixin
    from diffusers.models.modeling_utils import ModelMixin
    from diffusers.models.unets.unet_2d import UNet2DModel, UNet2DOutput
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel, UNet2DConditionOutput
except ImportError as error:
    raise ImportError(
        "`downhill.interop.diffusers` needs the package diffusers, which is not installed: `pip install diffusers`"
    ) from error


class _Network(ModelMixin, ConfigMixin):
    """A network of downhill in the shape of a model of diffusers.

    It has no parameters. Its `dtype` and `device`, set by `to`, are those of the noise that a pipeline draws; the
    network computes on the device and in the precision that the model was opened with.
    """

    config_name = "config.json"

    def __init__(self, model: Model, original: type) -> None:
        if not model.config:
            raise ArgumentError(
                f"`{model.name}` is a closed form and is not called at timesteps",
                "`downhill.interop.k_diffusion.Denoiser` takes noise levels",
            )
        names = model.config.get("_class_name"), original.__name__
        if names[0] != names[1]:
            raise ArgumentError(
                f"`{model.name}` is a {names[0] or 'network of another code base'}, not a {names[1]}",
                "give a network of that class; `downhill.interop.k_diffusion.Denoiser` takes any network",
            )
        super().__init__()
        self.register_buffer("_place", torch.empty(0), persistent=False)
        parameters = inspect.signature(original.__init__).parameters.values()
        usual = {item.name: item.default for item in parameters if item.default is not item.empty}
        self.register_to_config(**(usual | model.config))
        self.downhill = model

    def save_pretrained(self, *arguments: Any, **options: Any) -> None:
        """Refuses: the weights are in the files that the model was opened from.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(
            f"`{self.downhill.name}` cannot be saved from here", "copy the files that it was opened from"
        )

    @torch.no_grad()
    def _output(self, sample: torch.Tensor, timestep: ArrayLike, **conditions: Any) -> torch.Tensor:
        return self.downhill.predict(sample, timestep, like=sample, **conditions)


class UNet(_Network):
    """A network of downhill as a `UNet2DModel`.

    Args:
        model: a model whose network is a `UNet2DModel`.

    Raises:
        ArgumentError: for another kind of model.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model, UNet2DModel)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: ArrayLike,
        class_labels: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Returns the output of the network, as `UNet2DModel` does.

        Args:
            sample: images in the scale of the network, (n, c, h, w).
            timestep: the timestep: one, or one per image.
            class_labels: class labels by number, (n,).
            return_dict: return an object with `sample`, else a tuple of it.

        Returns:
            An object whose `sample` is the output, (n, channels, h, w), in the dtype and on the device of the input.

        Raises:
            ArgumentError: for tensors that do not fit the network, and for a gradient.
        """
        without_gradient(sample)
        output = self._output(sample, timestep, labels=class_labels)
        return UNet2DOutput(sample=output) if return_dict else (output,)


class UNetCondition(_Network):
    """The network of a pipeline of downhill as a `UNet2DConditionModel`.

    Args:
        model: a pipeline from text, whose network is a `UNet2DConditionModel`.

    Raises:
        ArgumentError: for another kind of model.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model, UNet2DConditionModel)
        width = self.config["projection_class_embeddings_input_dim"]
        if width is not None:
            # The pipelines of SDXL check the width of what is added to the time embedding at this place.
            self.add_embedding = SimpleNamespace(linear_1=SimpleNamespace(in_features=width))

    def forward(
        self,
        sample: torch.Tensor,
        timestep: ArrayLike,
        encoder_hidden_states: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        timestep_cond: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        added_cond_kwargs: dict[str, torch.Tensor] | None = None,
        down_block_additional_residuals: tuple[torch.Tensor, ...] | None = None,
        mid_block_additional_residual: torch.Tensor | None = None,
        down_intrablock_additional_residuals: tuple[torch.Tensor, ...] | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Returns the output of the network, as `UNet2DConditionModel` does.

        Args:
            sample: latents in the scale of the network, (n, c, h, w).
            timestep: the timestep: one, or one per image.
            encoder_hidden_states: embeddings of texts, (n, tokens, channels).
            class_labels: class labels by number, (n,).
            added_cond_kwargs: `text_embeds`, (n, channels), and `time_ids`, (n, 6), of SDXL.
            return_dict: return an object with `sample`, else a tuple of it.
            timestep_cond, attention_mask, cross_attention_kwargs, down_block_additional_residuals,
                mid_block_additional_residual, down_intrablock_additional_residuals, encoder_attention_mask: refused
                unless `None`.

        Returns:
            An object whose `sample` is the output, (n, channels, h, w), in the dtype and on the device of the input.

        Raises:
            ArgumentError: for tensors that do not fit the network, for a gradient, and for arguments that it does not
                honour.
        """
        without_gradient(sample, encoder_hidden_states)
        refused = {
            "timestep_cond": timestep_cond,
            "attention_mask": attention_mask,
            "cross_attention_kwargs": cross_attention_kwargs,
            "down_block_additional_residuals": down_block_additional_residuals,
            "mid_block_additional_residual": mid_block_additional_residual,
            "down_intrablock_additional_residuals": down_intrablock_additional_residuals,
            "encoder_attention_mask": encoder_attention_mask,
        }
        refuse(refused, "leave them out, or use the network of diffusers")
        added = dict(added_cond_kwargs or {})
        pooled, time_ids = added.pop("text_embeds", None), added.pop("time_ids", None)
        refuse(added, "`added_cond_kwargs` has `text_embeds` and `time_ids`")
        output = self._output(
            sample, timestep, context=encoder_hidden_states, labels=class_labels, pooled=pooled, time_ids=time_ids
        )
        return UNet2DConditionOutput(sample=output) if return_dict else (output,)


__all__ = ["UNet", "UNetCondition"]
