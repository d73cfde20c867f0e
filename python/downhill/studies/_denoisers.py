"""Studies of denoisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .. import _core
from .._arrays import ArrayLike, numbers, shape_of_one
from .._data import Count, Progress, engine_of, samples_of, whole
from .._denoiser import function_of
from .._errors import ArgumentError
from .._model import Model
from .._sampling import Schedule, settings_of
from ._results import Results, results_of

Denoiser: TypeAlias = Model | Callable[..., ArrayLike]
"""A model, or a function `(x, sigma)` that returns x0."""


def norms(
    denoiser: Denoiser,
    n: int = 32,
    *,
    steps: int | None = None,
    sampler: str = "ddim",
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures |eps| / sqrt(n) along the denoiser's trajectories: near 1 where eps is the noise in the image.

    Arrays: `norms`, (steps, images). Source: Permenter and Yuan, ICML 2024, their assumption on the norm.

    Args:
        denoiser: a model, or a function `(x, sigma)` that returns x0.
        n: the number of trajectories.
        steps: steps per trajectory, 50 by default.
        sampler: `"ddim"`, gradient descent on the distance to the data, or `"ge"`, gradient estimation.
        schedule, sigmas: the noise levels, as in `Model.sample`.
        sigma_max, sigma_min: the range of a schedule; needed for a function unless `sigmas` lists levels.
        shape: (channels, height, width) of the images of a function.
        gives: `"x0"`, or `"eps"` for a function that returns the noise.
        takes: the library of a function's arrays, as in `downhill.sample`.
        name: what a function is called in figures.
        label: the class of all images, by number or by name, for networks that take class labels.
        batch: images per call; it does not change the results.
        seed: the seed of the start states.
        adapter: the adapter of searches in data, for a function; a model has its own.
        progress: a bar by tqdm, by default on terminals; or a function that is called with the units done.

    Raises:
        ArgumentError: for arguments that contradict each other or the denoiser.
        Exception: what a function raises.
    """
    return _study("norms", 50, **{key: value for key, value in locals().items()})


def error(
    denoiser: Denoiser,
    data: ArrayLike,
    n: int = 48,
    *,
    levels: int = 25,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    data_name: str = "data",
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures |eps(x, sigma) - w| / sqrt(n) on images x = k + sigma w: 0 where the denoiser finds all of the noise.

    Arrays: `errors`, (levels, images). Source: Permenter and Yuan, ICML 2024, their assumption on the error.

    Args:
        data: images k to add noise to, (m, ...), of as many values as the images of the denoiser, about -1 to 1.
        n: the number of images, evenly spaced in the data.
        levels: noise levels, even in log sigma over the denoiser's range.
        data_name: what the data are called in figures.
        denoiser, sigma_max, sigma_min, shape, gives, takes, name, label, batch, seed, adapter, progress: as in `norms`.
    """
    return _study("error", 1, **{key: value for key, value in locals().items()})


def constancy(
    denoiser: Denoiser,
    n: int = 32,
    *,
    data: ArrayLike | None = None,
    segments: int = 10,
    steps: int | None = None,
    sampler: str = "ddim",
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    data_name: str = "data",
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures how the gradient of the distance, eps up to its length, turns from step to step.

    A turn is |u - v| of unit vectors. Arrays: `along_trajectories`, (steps, images); `along_segments`, from x to its
    prediction, (fractions, levels, images). Source: Permenter and Yuan, ICML 2024, gradient estimation.

    Args:
        data: samples, (m, ...), for the turn of the exact gradient x - proj(x).
        segments: segments per trajectory.
        steps: 20 by default.
        denoiser, n, sampler, schedule, sigmas, sigma_max, sigma_min, shape, gives, takes, name, data_name, label,
            batch, seed, adapter, progress: as in `norms` and `error`.
    """
    return _study("constancy", 20, **{key: value for key, value in locals().items()})


def projection(
    denoiser: Denoiser,
    data: ArrayLike,
    n: int = 32,
    *,
    steps: int | None = None,
    sampler: str = "ddim",
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    data_name: str = "data",
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures the denoiser beside the exact projection on data, the sample nearest to x, along its trajectories.

    Arrays: `relative_error`, |x0 - proj(x)| / dist(x), and `nu`, sqrt(n) sigma / dist(x), both (steps, images);
    `end_distance`, the distance from the data at the end over sqrt(n), (images,). Source: Permenter and Yuan, ICML
    2024, section 3.

    Args:
        data: the samples, (m, ...).
        steps: 50 by default.
        denoiser, n, sampler, schedule, sigmas, sigma_max, sigma_min, shape, gives, takes, name, data_name, label,
            batch, seed, adapter, progress: as in `norms` and `error`.
    """
    return _study("projection", 50, **{key: value for key, value in locals().items()})


def error_model(
    denoiser: Denoiser,
    n: int = 32,
    *,
    data: ArrayLike | None = None,
    share: float = 0.95,
    steps: int | None = None,
    sampler: str = "ddim",
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    data_name: str = "data",
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures eta and nu of the error model of a denoiser.

    The assumption: where sqrt(n) sigma is the distance to the data within a factor nu, |sigma eps - (x - proj(x))| is
    at most eta times the distance. Arrays: `points`, (points, 4): sigma, its factor, sqrt(n) sigma / dist(x), error.
    Source: Permenter and Yuan, ICML 2024, assumption 1.

    Args:
        data: samples, (m, ...), to project on; without them the projection is the end of the trajectory.
        share: the share of the points that the model covers.
        steps: 20 by default.
        denoiser, n, sampler, schedule, sigmas, sigma_max, sigma_min, shape, gives, takes, name, data_name, label,
            batch, seed, adapter, progress: as in `norms` and `error`.
    """
    return _study("error-model", 20, **{key: value for key, value in locals().items()})


def jacobian(
    denoiser: Denoiser,
    n: int = 4,
    *,
    components: int = 8,
    whole: bool = False,
    tolerance: float = 0.01,
    steps: int | None = None,
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Finds the leading eigenvectors of the Jacobian of x0(x, sigma) along DDIM trajectories, and how they turn.

    The symmetric part (J + J') / 2 is diagonalised; products with J are exact for networks, central differences for
    closed forms and functions. Arrays, with k components: `sigmas`, (levels,); `sines` of the angles to the end,
    `shares` and `eigenvalues`, (images, levels, k); `eigenvectors`, (images, levels, k, p); `asymmetry`,
    (images, levels); `slopes`, (images, k).

    Args:
        components: k.
        whole: form the whole Jacobian: exact, for as many products as an image has values.
        tolerance: the norm of J times an eigenvector outside the basis, over the largest eigenvalue.
        steps: 12 by default; the usual schedule is `loglinear`, for networks from sigma 40.
        denoiser, n, schedule, sigmas, sigma_max, sigma_min, shape, gives, takes, name, label, batch, seed, adapter,
            progress: as in `norms`.
    """
    arguments = {key: value for key, value in locals().items()}
    if schedule is None and sigmas is None:
        arguments["schedule"] = "loglinear"
        if isinstance(denoiser, Model) and denoiser.kind != "closed form" and sigma_max is None:
            arguments["sigma_max"] = 40.0
    return _study("jacobian", 12, sampler="ddim", **arguments)


def _study(
    study: str,
    usual_steps: int,
    *,
    denoiser: Denoiser,
    n: int,
    data: ArrayLike | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    schedule: Any = None,
    sigmas: ArrayLike | None = None,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    shape: Sequence[int] | None = None,
    gives: str = "x0",
    takes: Any = None,
    name: str | None = None,
    data_name: str = "data",
    label: str | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
    levels: int = 2,
    **others: Any,
) -> Results:
    if gives not in ("x0", "eps"):
        raise ArgumentError(f"`gives` of {gives!r}", 'give "x0" or "eps"')
    is_model = isinstance(denoiser, Model)
    subject: Any = denoiser._core if is_model else function_of(denoiser, takes)  # pyright: ignore
    given_range = None
    if sigma_max is not None and sigma_min is not None:
        given_range = (float(sigma_min), float(sigma_max))
    elif not is_model and (sigma_max is not None or sigma_min is not None):
        raise ArgumentError("one of `sigma_max` and `sigma_min`", "give both: the range of noise of the function")
    settings, _ = settings_of(
        sampler,
        schedule,
        steps,
        sigmas=sigmas,
        sigma_max=sigma_max if is_model and study != "error" else None,
        sigma_min=sigma_min if is_model and study != "error" else None,
    )
    asked = {
        "shape": None if shape is None else shape_of_one(shape),
        "gives_eps": gives == "eps",
        "sigma_range": None if is_model else given_range,
        "name": name,
        "label": None if label is None else str(label),
        "settings": settings,
        "steps": usual_steps,
        "count": int(n),
        "batch": batch,
        "seed": int(seed),
        "levels": whole(levels, "levels"),
        "data_name": data_name,
    }
    if is_model and study == "error" and (sigma_max is not None or sigma_min is not None):
        raise ArgumentError("`sigma_max` and `sigma_min` of a model", "leave them out: its levels are over its range")
    if is_model and (shape is not None or gives != "x0" or takes is not None):
        raise ArgumentError("`shape`, `gives` or `takes` of a model", "leave them out: they describe a function")
    samples = None if data is None else samples_of(data, "data")
    with Count(progress, study) as advance:
        found = _core.study_denoiser(engine_of(adapter), study, subject, asked, samples, progress=advance, **others)
    return results_of(study, found)


def promise(eta: float, nu: float, sigmas: ArrayLike) -> Results:
    """Checks falling noise levels against an error model: whether each step keeps within the factor nu.

    Tables: `schedule`. Source: Permenter and Yuan, ICML 2024, theorem 2.

    Args:
        eta: the error of the denoiser over the distance to the data, from 0 to below 1.
        nu: the factor by which the noise level may misjudge the distance, at least 1.
        sigmas: noise levels, from the most to the least.
    """
    return results_of("promise", _core.study_promise(float(eta), float(nu), numbers(sigmas, "sigmas")))


# Of data
