"""Sampling denoisers that are functions of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._arrays import ArrayLike, Floats, floats, result_of, shape_of_one, whole
from ._arrays import like as like_of
from ._errors import ArgumentError
from ._model import Model
from ._sampling import Bar, Callback, SamplerFunction, Schedule, settings_of


def without_graph(takes: Any) -> AbstractContextManager[Any]:
    """Returns a context in which PyTorch records no gradients, where a denoiser takes its tensors."""
    if takes is None or isinstance(takes, np.ndarray) or takes == "numpy":
        return nullcontext()
    try:
        import torch  # pyright: ignore
    except ImportError:
        raise ArgumentError(
            f"`takes` of {takes!r}", 'a denoiser takes arrays of NumPy, or `takes="torch"` with PyTorch installed'
        ) from None
    return torch.no_grad()  # pyright: ignore


def function_of(denoiser: Callable[..., ArrayLike], takes: Any = None) -> Callable[..., Floats]:
    """Returns a denoiser `(x, sigma)` of NumPy arrays for one of arrays of another library.

    Args:
        denoiser: a function of images (n, c, h, w) and noise levels (n,).
        takes: the library of its arguments: `"torch"`, a tensor of it, or `None` for NumPy.
    """

    def call(x: Floats, sigma: npt.NDArray[np.float64]) -> Floats:
        with without_graph(takes):
            result = denoiser(like_of(x, takes), like_of(sigma.astype(np.float32), takes))
        return result_of(result, "the denoiser")

    return call


def sample(
    denoiser: Callable[..., ArrayLike] | Model,
    shape: Sequence[int] | None = None,
    n: int = 16,
    *,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    gives: str = "x0",
    takes: Any = None,
    steps: int | None = None,
    sampler: str | SamplerFunction | None = None,
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    seed: int = 0,
    rng: str | None = None,
    start: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    batch: int | None = None,
    gamma: float | None = None,
    mu: float | None = None,
    eta: float | None = None,
    callback: Callback | None = None,
    progress: bool | None = None,
    like: Any = None,
) -> Any:
    """Samples a denoiser of your own with the samplers of the engine.

    Args:
        denoiser: a function `(x, sigma)` of images x = x0 + sigma eps, (n, c, h, w), and noise levels, (n,), that
            returns x0 in the shape of x; or a model.
        shape: (channels, height, width) of an image.
        n: the number of images.
        sigma_max, sigma_min: the first and the last noise level, needed unless `schedule` or `sigmas` lists them.
        gives: `"x0"`, or `"eps"` for a denoiser that returns the noise.
        takes: the library of the denoiser's arguments: `"torch"`, or a tensor of the device and dtype that it takes.
        steps, sampler, schedule, sigmas, seed, rng, gamma, mu, eta, callback, progress: as in `Model.sample`.
        start: states x (n, c, h, w) at the first noise level.
        noise: standard normals (n, c, h, w) in place of noise from the seed.
        batch: images per call; by default all, at most 64.
        like: the library of the result.

    Returns:
        x at the last noise level, (n, c, h, w), float32.

    Raises:
        ArgumentError: for arguments that contradict each other.
        Exception: what the denoiser raises.
    """
    if gives not in ("x0", "eps"):
        raise ArgumentError(f"`gives` of {gives!r}", 'give "x0" or "eps"')
    given = start if start is not None else noise
    state = None if start is None else floats(start, "start")
    normals = None if noise is None else floats(noise, "noise")
    if shape is None and given is not None:
        shape = (state if state is not None else normals).shape[1:]  # pyright: ignore[reportOptionalMemberAccess]
    if isinstance(denoiser, Model):
        model = denoiser
        shape = model.shape if shape is None else shape
        least, most = model.sigma_range
        sigma_max, sigma_min = sigma_max or most, sigma_min or least
        denoise: Callable[..., ArrayLike] = model.denoise
        gives, takes = "x0", None
    else:
        denoise = denoiser
    if shape is None:
        raise ArgumentError("a denoiser without the shape of its images", "give `shape`: (channels, height, width)")
    settings, solver = settings_of(
        sampler,
        schedule,
        steps,
        gamma=gamma,
        mu=mu,
        eta=eta,
        sigmas=sigmas,
        sigma_max=sigma_max if sigmas is None and (schedule is None or isinstance(schedule, str)) else None,
        sigma_min=sigma_min if sigmas is None and (schedule is None or isinstance(schedule, str)) else None,
    )
    has_levels = sigmas is not None or not (schedule is None or isinstance(schedule, str))
    if not has_levels and (sigma_max is None or sigma_min is None):
        raise ArgumentError(
            "a denoiser without its range of noise", "give `sigma_max` and `sigma_min`, or list `sigmas`"
        )
    sigma_range = (1.0, 1.0) if has_levels else (float(sigma_max or 0), float(sigma_min or 0))
    count = whole(n, "n") if given is None else len(floats(given, "start"))
    with Bar(progress) as bar:
        x, _ = _core.sample(
            function_of(denoise, takes),
            shape_of_one(shape),
            gives == "eps",
            settings,
            sigma_range,
            count,
            whole(seed, "seed", 0),
            min(count, 64) if batch is None else whole(batch, "batch"),
            rng,
            normals,
            state,
            None,
            solver,
            bar.watch(callback),
        )
    return like_of(x, like)
