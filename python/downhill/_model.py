"""Models: denoising networks, pipelines and closed forms of data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._arrays import ArrayLike, floats, images, numbers, shaped, whole
from ._arrays import like as like_of
from ._device import engine
from ._errors import ArgumentError
from ._images import Images
from ._pictures import Pictures
from ._sampling import Bar, Callback, SamplerFunction, Schedule, settings_of


def open(
    name: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "f32",
    adapter: str | int | None = None,
    family: str | None = None,
    exact: bool = False,
    prediction: str | None = None,
) -> Model:
    """Opens a model and the device that it runs on.

    Args:
        name: a diffusers folder; a single file of weights in the layout of Stable Diffusion or of other code bases; a
            `.safetensors` beside its `config.json`; `org/name` in the local cache of the hub (nothing is downloaded);
            a closed form of data: `pca:DATA[,k=N]`, `gaussian:DATA` (or `wiener:DATA`), `sequential:DATA`,
            `mixture:DATA,k=K`, `ideal:DATA`, `local:DATA,patch=P`. By default the embedded network of handwritten
            digits, 28 x 28.
        dtype: the precision of a network's weights on the device: `f32`, `f16`, or `f16-maps` for GPUs, where the maps
            between layers are halves, too. Arithmetic is in float32.
        adapter: an index of `downhill.adapters()`, `cpu` for a software adapter, or a part of a name; by default the
            best one. An adapter stays open until the process ends.
        family: the kernels, `tile`, `lanes` or `matrix`, in place of those that fit the adapter.
        exact: compute each convolution by its definition.
        prediction: what the network predicts, whatever its files say: `epsilon`, `v_prediction`, `sample` or
            `flow_prediction`.

    Returns:
        The model. Nothing of it is on the device before the first call.

    Raises:
        ArgumentError: for a name that is not one of these, or an argument that does not fit the model.
        ModelError: for files that cannot be used, naming file, key and shape.
        AdapterError: without an adapter, or without one that fits.
    """
    device = engine(None if adapter is None else str(adapter), family)
    return Model(_core.Model.open(device, None if name is None else os.fspath(name), dtype, exact, prediction))


class Model:
    """A model on a device: a network, a pipeline of latents, or a closed form of data. `downhill.open` makes it.

    A model is a denoiser in the papers' notation: x = x0 + sigma eps, where x0 is a clean image of about -1 to 1, eps
    standard normal noise, and sigma the noise level. Calls release the interpreter's lock while the device works; calls
    of one model wait for each other.
    """

    def __init__(self, core: _core.Model) -> None:
        self._core = core

    # What it is

    @property
    def name(self) -> str:
        """The name that it was opened by; `digits` for the embedded network."""
        return self._core.name

    @property
    def kind(self) -> str:
        """`network`, `latent` for a pipeline of latents, or `closed form`."""
        return self._core.kind

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of what it denoises, images or latents; `None` without a usual size."""
        return self._core.shape

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The least and the most noise that it was made for."""
        return self._core.sigma_range

    @property
    def sigmas(self) -> npt.NDArray[np.float64]:
        """The noise levels of a network's training, by timestep."""
        return self._core.sigmas()

    @property
    def alphas_cumprod(self) -> npt.NDArray[np.float64]:
        """alpha bar = 1 / (1 + sigma^2) of a network's training, by timestep, as diffusers calls it."""
        return 1.0 / (1.0 + self.sigmas**2)

    @property
    def facts(self) -> dict[str, Any]:
        """The facts in its files: class, parameters, configuration and scheduler."""
        return json.loads(self._core.facts())

    @property
    def config(self) -> dict[str, Any]:
        """The values of a network's `config.json`; empty for a closed form."""
        return self.facts.get("config_values", {})

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The values of a network's `scheduler_config.json`; empty if there is none."""
        return self.facts.get("scheduler_values") or {}

    @property
    def adapter(self) -> dict[str, Any]:
        """The adapter that it runs on."""
        return json.loads(self._core.engine.adapter())

    def sigma_of(self, t: ArrayLike) -> npt.NDArray[np.float64]:
        """Returns the noise level of timesteps of a network, between its own by interpolation."""
        return np.array(self._core.sigma_of(numbers(t, "t")))

    def timestep_of(self, sigma: ArrayLike) -> npt.NDArray[np.float64]:
        """Returns the timesteps of noise levels of a network, between its own by interpolation."""
        return np.array(self._core.timestep_of(numbers(sigma, "sigma")))

    def input_scale(self, sigma: ArrayLike) -> npt.NDArray[np.float64]:
        """Returns c of the input z = c x of a network at noise levels: sqrt(alpha bar) for most."""
        return np.array(self._core.input_scale(numbers(sigma, "sigma")))

    # Changes

    def lora(self, file: str | os.PathLike[str], weight: float = 1.0) -> Model:
        """Returns the model with the changes of a LoRA file, times `weight`, merged into its weights."""
        return Model(self._core.lora(os.fspath(file), float(weight)))

    def embedding(self, file: str | os.PathLike[str], token: str | None = None) -> Model:
        """Returns the pipeline with a learned token of a file (textual inversion)."""
        return Model(self._core.embedding(os.fspath(file), token))

    def autoencoder(self, name: str | os.PathLike[str]) -> Model:
        """Returns the pipeline with another autoencoder, such as a small one that is fast."""
        return Model(self._core.autoencoder(os.fspath(name)))

    # Single calls

    def denoise(
        self,
        x: ArrayLike,
        sigma: ArrayLike,
        *,
        context: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        pooled: ArrayLike | None = None,
        time_ids: ArrayLike | None = None,
        like: Any = None,
    ) -> Any:
        """Returns x0(x, sigma) = x - sigma eps(x, sigma), the estimate of the clean images.

        Args:
            x: images or latents x = x0 + sigma eps, (n, c, h, w), or one (c, h, w).
            sigma: the noise level, above 0: one, or one per image.
            context: embeddings of texts, (n, tokens, channels), or (1, tokens, channels) for all images.
            labels: class labels by number: one, or one per image.
            pooled: the embeddings of whole texts, (n, channels), for SDXL; with `time_ids`, (n, 6).
            time_ids: see `pooled`.
            like: the library of the result: `"torch"`, or an array of it; NumPy by default.

        Returns:
            x0 in the shape of `x`, float32.

        Raises:
            ArgumentError: for arrays that do not fit the model.
            OutOfMemoryError: if the device does not hold the call.
            DeviceError: if the device fails.
        """
        x, is_one = images(x)
        x0 = self._core.denoise(x, numbers(sigma, "sigma"), *_conditions(context, labels, pooled, time_ids))
        return like_of(x0[0] if is_one else x0, like)

    def eps(
        self,
        x: ArrayLike,
        t: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        context: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        pooled: ArrayLike | None = None,
        time_ids: ArrayLike | None = None,
        like: Any = None,
    ) -> Any:
        """Returns the estimate of the noise eps.

        Give a timestep or a noise level. At a timestep `t`, `x` is the network's own input, z = sqrt(alpha bar) x0 +
        sqrt(1 - alpha bar) eps for most networks, as in diffusers. At a noise level `sigma` it is x = x0 + sigma eps.

        Args:
            x: images or latents, (n, c, h, w), or one (c, h, w).
            t: the timestep: one, or one per image.
            sigma: the noise level, above 0: one, or one per image.
            context, labels, pooled, time_ids, like: as in `denoise`.

        Returns:
            eps in the shape of `x`, float32, whatever form the network predicts.

        Raises:
            ArgumentError: for arrays that do not fit the model, and unless one of `t` and `sigma` is given.
        """
        conditions = _conditions(context, labels, pooled, time_ids)
        x, is_one = images(x)
        if (t is None) == (sigma is None):
            raise ArgumentError("`eps` at one of `t` and `sigma`", "give a timestep, or a noise level")
        if t is not None:
            eps = self._core.predict(x, numbers(t, "t"), True, *conditions)
        else:
            eps = self._core.eps_at_sigma(x, numbers(sigma, "sigma"), *conditions)
        return like_of(eps[0] if is_one else eps, like)

    def predict(
        self,
        z: ArrayLike,
        t: ArrayLike,
        *,
        context: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        pooled: ArrayLike | None = None,
        time_ids: ArrayLike | None = None,
        like: Any = None,
    ) -> Any:
        """Returns the output of a network for its own input z at timesteps, in the form that it predicts.

        The same as `unet(z, t).sample` of diffusers, with the channels of a learned variance if the network has them.

        Args:
            z: images or latents in the scale of the network, (n, c, h, w), or one (c, h, w).
            t: the timestep: one, or one per image.
            context, labels, pooled, time_ids, like: as in `denoise`.

        Raises:
            ArgumentError: for arrays that do not fit the network, and for a closed form.
        """
        z, is_one = images(z, "z")
        conditions = _conditions(context, labels, pooled, time_ids)
        output = self._core.predict(z, numbers(t, "t"), False, *conditions)
        return like_of(output[0] if is_one else output, like)

    def jvp(
        self,
        x: ArrayLike,
        v: ArrayLike,
        sigma: ArrayLike,
        *,
        context: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        like: Any = None,
    ) -> Any:
        """Returns J v, the product of the Jacobian of x0(x, sigma) in x and vectors.

        Exact for networks, by the tangents of their graph; for closed forms by central differences, which are exact but
        for rounding where x0 is linear in x.

        Args:
            x: images, (n, c, h, w), or one (c, h, w).
            v: one vector per image in the shape of `x`; or k vectors per image, (n, k, c, h, w), and (k, c, h, w) for
                one image.
            sigma: the noise level, above 0: one, or one per image.
            context, labels: the condition, one for all images.
            like: as in `denoise`.

        Returns:
            J v in the shape of `v`, float32.

        Raises:
            ArgumentError: for arrays that do not fit each other or the model.
        """
        x, _ = images(x)
        v = floats(v, "v")
        if v.ndim not in (3, 4, 5) or v.shape[-3:] != x.shape[-3:] or v.size % x.size:
            raise ArgumentError(
                f"`v` of shape {v.shape} for `x` of shape {x.shape}",
                "give a vector per image, (n, c, h, w), or k of them, (n, k, c, h, w)",
            )
        rows = shaped(v, (x.shape[0], v.size // x.size, *x.shape[1:]))
        context, labels, _, _ = _conditions(context, labels, None, None)
        products = self._core.jvp(x, rows, numbers(sigma, "sigma"), context, labels)
        return like_of(shaped(products, v.shape), like)

    # Sampling

    def schedule(
        self,
        steps: int | None = None,
        *,
        sampler: str | None = None,
        schedule: str | None = None,
        sigma_max: float | None = None,
        sigma_min: float | None = None,
    ) -> Schedule:
        """Returns the noise levels that `sample` walks down under the same arguments."""
        settings, _ = settings_of(sampler, schedule, steps, sigma_max=sigma_max, sigma_min=sigma_min)
        return Schedule._of(self._core.schedule(settings))

    def sample(
        self,
        n: int | None = None,
        *,
        steps: int | None = None,
        sampler: str | SamplerFunction | None = None,
        schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
        seed: int = 0,
        rng: str | None = None,
        start: Any = None,
        noise: ArrayLike | None = None,
        strength: float | None = None,
        mask: Any = None,
        inpaint: str | None = None,
        paste: bool = True,
        prompt: str | None = None,
        negative: str | None = None,
        prompt_weights: bool = False,
        long_prompts: bool = False,
        clip_skip: int | None = None,
        labels: ArrayLike | None = None,
        guidance_scale: float | None = None,
        guidance_mode: str | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float | None = None,
        size: tuple[int, int] | None = None,
        batch: int | None = None,
        images: Sequence[int] | None = None,
        gamma: float | None = None,
        mu: float | None = None,
        eta: float | None = None,
        clip: bool | None = None,
        sigma_max: float | None = None,
        sigma_min: float | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: ArrayLike | None = None,
        error_model: tuple[float, float] | None = None,
        memory: int | None = None,
        pixels: bool = True,
        keep_path: bool = False,
        keep_predictions: bool = False,
        trace_nonfinite: bool = False,
        callback: Callback | None = None,
        progress: bool | None = None,
    ) -> Images:
        """Samples images. What is not given follows the model's files, as in `downhill sample`.

        Image i of a seed is the same image, bit for bit, in any batch and in any part of a run. The weights stay on the
        device for the next run; Ctrl-C stops between steps.

        Args:
            n: the number of images; by default one per start state or label, or 16, or 1 from a text.
            steps: the number of steps.
            sampler: a name of `downhill.sampler_names()`, or a generator of your own: see `downhill.SamplerFunction`.
            schedule: a name of `downhill.schedule_names()`, a `Schedule`, N + 1 sigmas, or a function of the number of
                steps that returns them.
            seed: the seed of all noise.
            rng: the generator of all noise, `philox` or `torch` (the noise of PyTorch's CPU generator).
            start: what to start from: an image (a path, or an image of Pillow) under noise of `strength`, or states
                x (n, c, h, w) at the first noise level.
            noise: standard normals (n, c, h, w) in place of noise from the seed.
            strength: the share of the steps that is walked from an image, above 0 to 1.
            mask: the part of the image `start` that is painted: a path, an image of Pillow, or an array (h, w) that is
                not zero there.
            inpaint: how what is painted is made to fit the rest: `project` or `repaint`.
            paste: put the known pixels of the image into decoded ones.
            prompt, negative: the text to follow, and the text to move away from.
            prompt_weights: read brackets in texts as weights, `(word:1.3)`.
            long_prompts: read texts of any length in chunks.
            clip_skip: blocks at the end of the text encoder that are left out.
            labels: class labels: one per image; after the last, images begin with the first again.
            guidance_scale: s of classifier-free guidance, eps_u + s (eps_c - eps_u).
            guidance_mode: "cfg", or "cfg++", which renoises with eps_u and takes a scale from 0 to 1.
            guidance_interval: (low, high), the sigmas at which guidance acts: low < sigma <= high.
            guidance_rescale: share of the guided output that is rescaled, as in diffusers.
            size: (height, width) in pixels, in place of the size of the training.
            batch: images per call of the network; it changes no bit of any image.
            images: only these images of the run, by their index.
            gamma, mu, eta: parameters of samplers: see `downhill.samplers()`.
            clip: clip predictions of x0.
            sigma_max, sigma_min: the range of a schedule that has one.
            timesteps, sigmas: N + 1 levels in place of a schedule.
            error_model: (eta, nu), for the longest steps that this error of the denoiser admits: the schedule
                `admissible`.
            memory: bytes of device memory that a pipeline stays within, 8 GiB by default.
            pixels: `False` leaves latents undecoded.
            keep_path: keep the state after each step, in `Images.path`.
            keep_predictions: keep the prediction of x0 at each step, in `Images.predictions`.
            trace_nonfinite: name the operation that makes a value that is not finite.
            callback: a function that is called with a `Step` after every step.
            progress: a bar by tqdm; by default on terminals where tqdm is installed.

        Returns:
            The images and their report.

        Raises:
            ArgumentError: for arguments that contradict each other or the model.
            OutOfMemoryError: for what the device or `memory` does not hold.
            NonFiniteError: for NaN or infinity, naming the step.
            KeyboardInterrupt: after Ctrl-C, between steps.
        """
        settings, solver = settings_of(
            sampler,
            schedule,
            steps,
            gamma=gamma,
            mu=mu,
            eta=eta,
            clip=clip,
            sigma_max=sigma_max,
            sigma_min=sigma_min,
            timesteps=timesteps,
            sigmas=sigmas,
            error_model=error_model,
            strength=strength,
        )
        if strength is not None and start is None:
            raise ArgumentError("`strength` without an image to start from", "give `start`, or leave out `strength`")
        if size is not None:
            try:
                height, width = size
            except (TypeError, ValueError):
                raise ArgumentError(f"`size` of {size!r}", "give (height, width)") from None
            size = whole(height, "size"), whole(width, "size")
        with Pictures() as pictures:
            state, picture = pictures.start(start)
            arguments: dict[str, Any] = {
                "settings": settings,
                "solver": solver,
                "n": None if n is None else whole(n, "n"),
                "seed": whole(seed, "seed", 0),
                "rng": rng,
                "state": state,
                "picture": picture,
                "mask": pictures.mask(mask),
                "noise": None if noise is None else floats(noise, "noise"),
                "inpaint": inpaint,
                "paste": paste,
                "prompt": prompt,
                "negative": negative,
                "prompt_weights": prompt_weights,
                "long_prompts": long_prompts,
                "clip_skip": clip_skip,
                "labels": None if labels is None else numbers(labels, "labels"),
                "guidance_scale": guidance_scale,
                "guidance_mode": guidance_mode,
                "guidance_interval": guidance_interval,
                "guidance_rescale": guidance_rescale,
                "size": size,
                "batch": None if batch is None else whole(batch, "batch"),
                "images": None if images is None else [whole(image, "images", 0) for image in images],
                "memory": memory,
                "pixels": pixels,
                "keep_path": keep_path,
                "keep_predictions": keep_predictions,
                "trace_nonfinite": trace_nonfinite,
            }
            with Bar(progress) as bar:
                return Images(self._core.sample(arguments, bar.watch(callback)))

    # The stages of a pipeline

    def encode_text(self, texts: str | Sequence[str], *, batch: int | None = None, like: Any = None) -> Any:
        """Returns the embeddings of texts, as the network of a pipeline takes them as `context`.

        Args:
            texts: one text or several.
            batch: texts per call.
            like: as in `denoise`.

        Returns:
            (n, tokens, channels); for SDXL a pair of that and the pooled embeddings, (n, channels).
        """
        self._expect_stages("text encoder")
        hidden, pooled = self._core.encode_text([texts] if isinstance(texts, str) else list(texts), batch)
        if pooled is None:
            return like_of(hidden, like)
        return like_of(hidden, like), like_of(pooled, like)

    def decode(self, latents: ArrayLike, *, scaled: bool = True, batch: int | None = None, like: Any = None) -> Any:
        """Returns the images of latents, about -1 to 1, (n, c, h, w).

        Args:
            latents: (n, c, h, w), or one (c, h, w).
            scaled: the latents are those of the network; otherwise those of the autoencoder.
            batch: images per call.
            like: as in `denoise`.
        """
        self._expect_stages("autoencoder")
        latents, is_one = images(latents, "latents")
        pixels = self._core.decode(latents, scaled, batch)
        return like_of(pixels[0] if is_one else pixels, like)

    def encode(
        self,
        pixels: ArrayLike,
        *,
        scaled: bool = True,
        seed: int | None = None,
        batch: int | None = None,
        like: Any = None,
    ) -> Any:
        """Returns the latents of images, (n, c, h, w).

        Args:
            pixels: about -1 to 1, (n, c, h, w), or one (c, h, w).
            scaled: return the latents of the network; otherwise those of the autoencoder.
            seed: draw the latents with the noise of a seed; by default they are the mean.
            batch: images per call.
            like: as in `denoise`.
        """
        self._expect_stages("autoencoder")
        pixels, is_one = images(pixels, "pixels")
        latents = self._core.encode(pixels, scaled, seed, batch)
        return like_of(latents[0] if is_one else latents, like)

    def _expect_stages(self, stage: str) -> None:
        """Refuses a model without the stages of a pipeline."""
        if self.kind != "latent":
            raise ArgumentError(f"`{self.name}` does not have the stage `{stage}`", "open a pipeline of latents")

    def release(self) -> None:
        """Frees what calls and runs of this model have left on the device.

        Raises:
            ArgumentError: within a run, in its callback or in another thread.
        """
        self._core.release()

    def __reduce__(self) -> str:
        raise TypeError(f"the model {self.name!r} is on a device and cannot be pickled: open it again by its name")

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.kind}, {self.shape})"


def _conditions(
    context: ArrayLike | None, labels: ArrayLike | None, pooled: ArrayLike | None, time_ids: ArrayLike | None
) -> tuple[Any, Any, Any, Any]:
    return (
        None if context is None else floats(context, "context"),
        None if labels is None else numbers(labels, "labels"),
        None if pooled is None else floats(pooled, "pooled"),
        None if time_ids is None else floats(time_ids, "time_ids"),
    )
