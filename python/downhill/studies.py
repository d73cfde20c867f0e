"""The experiments of the papers, as arrays.

Each function measures and returns `Results`: arrays, tables and figures by the names of the files that the program
writes (`downhill inspect NAME`, `downhill linear NAME`), the numbers of its report, and its findings as sentences.
`downhill.plots.plot` draws the figures.

Studies of denoisers take a `downhill.Model`, or a function `(x, sigma)` of images x = x0 + sigma eps, (n, c, h, w), and
noise levels, (n,), that returns x0, with the shape of its images and the noise that it is for.

>>> import downhill
>>> found = downhill.studies.norms(downhill.open(), n=4, steps=10)
>>> found["norms"].shape
(10, 4)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _core  # pyright: ignore[reportPrivateUsage]
from ._arrays import ArrayLike, Floats, floats, numbers, shape_of_one
from ._denoiser import function_of
from ._engine import Count, engine_of, samples_of
from ._errors import ArgumentError, NotFoundError
from ._model import Model
from ._sampling import Schedule, settings_of
from .linear import SMALL, Progress, spectrum, step_sigmas, threshold

Denoiser: TypeAlias = Model | Callable[..., ArrayLike]
"""A model, or a function `(x, sigma)` that returns x0."""


@dataclass(frozen=True)
class Results:
    """The results of a study."""

    study: str
    """The name of the study."""
    arrays: dict[str, Floats]
    """Arrays by name, float32: the `.npy` files of the program's folder."""
    tables: dict[str, dict[str, npt.NDArray[Any]]]
    """Tables by name: their columns by name, as numbers where they are numbers."""
    figures: dict[str, dict[str, Any]]
    """Figures as data by name, for `downhill.plots.plot`."""
    report: dict[str, Any]
    """The sections of the report: settings and findings as numbers."""
    notes: list[str]
    """Findings, each a sentence."""
    warnings: list[str]
    """Reasons to doubt the results."""
    text: str | None = None
    """The result as text, where a study has one."""
    texts: dict[str, str] = field(default_factory=dict[str, str])
    """Text files by name."""

    def __getitem__(self, name: str) -> Floats:
        """Returns an array by its name, with or without `.npy`."""
        stem = name.removesuffix(".npy")
        if stem not in self.arrays:
            names = ", ".join(f"`{name}`" for name in self.arrays) or "none"
            raise NotFoundError(f"no array `{name}` in the results of `{self.study}`", f"its arrays are {names}")
        return self.arrays[stem]

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"Results({self.study}: {arrays or ', '.join(self.tables)})"


def _results(study: str, found: dict[str, Any]) -> Results:
    def column(cells: list[str]) -> npt.NDArray[Any]:
        try:
            return np.array([float(cell) for cell in cells])
        except ValueError:
            return np.array(cells)

    tables: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, (columns, rows) in found["tables"].items():
        tables[name] = {title: column([row[at] for row in rows]) for at, title in enumerate(columns)}
    messages: list[tuple[str, str]] = found["messages"]
    return Results(
        study=study,
        arrays=found["arrays"],
        tables=tables,
        figures=found["figures"],
        report=json.loads(found["report"]),
        notes=[text for kind, text in messages if kind == "note"],
        warnings=[text for kind, text in messages if kind == "warning"],
        text=found["text"],
        texts=found["texts"],
    )


# Of denoisers


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
        "levels": int(levels),
        "data_name": data_name,
    }
    if is_model and study == "error" and (sigma_max is not None or sigma_min is not None):
        raise ArgumentError("`sigma_max` and `sigma_min` of a model", "leave them out: its levels are over its range")
    if is_model and (shape is not None or gives != "x0" or takes is not None):
        raise ArgumentError("`shape`, `gives` or `takes` of a model", "leave them out: they describe a function")
    samples = None if data is None else samples_of(data, "data")
    with Count(progress, study) as advance:
        found = _core.study_denoiser(
            engine_of(adapter), study, subject, asked, samples, progress=advance, **others
        )
    return _results(study, found)


def promise(eta: float, nu: float, sigmas: ArrayLike) -> Results:
    """Checks falling noise levels against an error model: whether each step keeps within the factor nu.

    Tables: `schedule`. Source: Permenter and Yuan, ICML 2024, theorem 2.

    Args:
        eta: the error of the denoiser over the distance to the data, from 0 to below 1.
        nu: the factor by which the noise level may misjudge the distance, at least 1.
        sigmas: noise levels, from the most to the least.
    """
    return _results("promise", _core.study_promise(float(eta), float(nu), numbers(sigmas, "sigmas")))


# Of data


def product(
    X: ArrayLike,
    k: int = 8,
    *,
    steps: int = 40,
    schedule: str = "constant",
    variance: float = 1.0,
    ratio: float = 0.9,
    sigmas: ArrayLike | None = None,
    coupling: str = "nested",
    noise: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    center: bool = True,
    precise: bool | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Multiplies the projections of a chain of noise levels, as `downhill linear product` does.

    For the numbers in float64 without figures, see `downhill.linear.chain`, whose arguments are these.

    Args:
        eps: draws, (m, p), whose energies along each component are `energy`.
    """
    samples = _matrix(X)
    normals = None if noise is None else floats(noise, "noise")
    levels = _levels(sigmas, steps if normals is None else len(normals), schedule, variance, ratio)
    draws = None if eps is None else floats(eps, "eps")
    is_precise = samples.shape[1] <= SMALL if precise is None else precise
    with Count(progress, "levels") as advance:
        found = _core.study_product(
            engine_of(adapter), samples, levels, k, coupling, seed, center, is_precise, normals, draws, advance
        )
    return _results("product", found)


def angles(
    X: ArrayLike,
    k: int = 8,
    *,
    steps: int = 40,
    schedule: str = "constant",
    variance: float = 1.0,
    ratio: float = 0.9,
    sigmas: ArrayLike | None = None,
    coupling: str = "nested",
    draws: int = 5,
    center: bool = True,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures how components turn as noise grows, as `downhill linear angles` does.

    For the numbers in float64 without figures, see `downhill.linear.angles`, whose arguments are these.
    """
    levels = _levels(sigmas, steps, schedule, variance, ratio)
    with Count(progress, "levels") as advance:
        found = _core.study_angles(
            engine_of(adapter), _matrix(X), levels, k, coupling, draws, seed, center, advance
        )
    return _results("angles", found)


def energy(
    X: ArrayLike,
    k: int = 8,
    *,
    steps: Sequence[int] = (10, 40, 120),
    variance: float = 0.3,
    ratio: float = 0.8,
    draws: int = 3,
    center: bool = True,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures the modes that chains generate over couplings, schedules and numbers of steps.

    As `downhill linear energy`. Arrays: `energy` and `injected`, (cases, draws, k). For one case, see
    `downhill.linear.energies`.

    Args:
        X: samples, (n, ...).
        k: the number of components kept per level.
        steps: numbers of steps.
        variance, ratio: the total variance of the noise, and that of a step over that of the step before.
        draws, center, seed, adapter: as in `downhill.linear.angles`.
        progress: as in `norms`.
    """
    counts = [int(count) for count in steps]
    with Count(progress, "levels") as advance:
        found = _core.study_energy(
            engine_of(adapter), _matrix(X), counts, variance, ratio, k, draws, seed, center, advance
        )
    return _results("energy", found)


def transition(
    *,
    samples: int = 400,
    gammas: ArrayLike = (0.1, 0.5, 1.0, 2.0),
    ratios: ArrayLike = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 3.0, 4.0, 6.0, 10.0),
    draws: int = 10,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Measures the signal-to-noise ratio at which a component finds its direction, against Nadler's theory.

    Tables: `transition`.

    Args:
        samples: n, samples per data set.
        gammas: values over samples, p / n, one curve for each.
        ratios: signal-to-noise ratios.
        draws: data sets per point.
        seed: the first seed.
        adapter, progress: as in `norms`.
    """
    with Count(progress, "points") as advance:
        found = _core.study_transition(
            engine_of(adapter),
            samples,
            sorted(set(numbers(gammas, "gammas"))),
            sorted(set(numbers(ratios, "ratios"))),
            draws,
            seed,
            advance,
        )
    return _results("transition", found)


def baseline(
    X: ArrayLike,
    modes: int | None = None,
    *,
    steps: Sequence[int] = (10, 40, 120),
    sigma_max: float | None = None,
    draws: int = 64,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Walks chains that keep the spectrum of data, beside their closed forms.

    Arrays: `eigenvalues`, (modes,); `gains` and `formulas`, (chains, spacings, steps, modes).

    Args:
        X: samples, (n, ...).
        modes: leading modes, and components of the projection; by default 32, or all.
        steps: numbers of steps.
        sigma_max: the first level; by default ten times the data's root mean square distance from their mean.
        draws: states drawn from the Gaussian under noise and denoised with the Wiener filter; 0 for none.
        seed: the seed of the draws.
        adapter, progress: as in `norms`.
    """
    samples = _matrix(X)
    count = min(32, samples.shape[1]) if modes is None else modes
    first = 10 * _distance(samples) if sigma_max is None else float(sigma_max)
    with Count(progress, "chains") as advance:
        found = _core.study_baseline(
            engine_of(adapter), samples, count, [int(step) for step in steps], first, draws, seed, advance
        )
    return _results("baseline", found)


def schedules(
    X: ArrayLike,
    modes: int | None = None,
    *,
    steps: int = 20,
    sigma_max: float | None = None,
    chain_sigma_max: float | None = None,
    repeats: int = 2,
    probes: int = 12,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Finds the noise schedules that are best for the spectrum of data, and measures them beside the usual ones.

    For the schedules alone, by closed forms, see `downhill.linear.most_concentrated` and `best_recovery`.

    Args:
        X: samples, (n, ...).
        modes: components of a projection, and modes to recover; by default 16, or all.
        steps: steps of each schedule.
        sigma_max: the first level of sampling; by default ten times the data's root mean square distance from their
            mean.
        chain_sigma_max: the highest level of a chain of projections; by default half the variance at which the first
            component is lost.
        repeats: chains with independent noise per schedule.
        probes: noise levels at which the share that projections keep is measured.
        seed: the seed of the noise.
        adapter, progress: as in `norms`.
    """
    samples = _matrix(X)
    count = min(16, samples.shape[1]) if modes is None else modes
    first = 10 * _distance(samples) if sigma_max is None else float(sigma_max)
    highest = chain_sigma_max
    if highest is None:
        largest = float(spectrum(samples).variances[0])
        highest = threshold(largest, *samples.shape) * np.sqrt(0.5)
    with Count(progress, "schedules") as advance:
        found = _core.study_schedules(
            engine_of(adapter), samples, count, steps, float(highest), first, repeats, probes, seed, advance
        )
    return _results("schedules", found)


def dimension(
    X: ArrayLike,
    *,
    queries: int = 2000,
    neighbours: int = 64,
    neighbourhoods: int = 100,
    drawn: int = 512,
    name: str = "data",
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = None,
) -> Results:
    """Estimates the dimension of data, and measures samplers on data of known dimension.

    By the spectrum of their covariance, by the ratio of the distances to the two nearest neighbours (Facco et al.
    2017), and by the spectra of neighbourhoods.

    Args:
        X: samples, (n, ...).
        queries: samples whose two nearest neighbours are searched.
        neighbours, neighbourhoods: samples per neighbourhood, and their number.
        drawn: samples drawn on each synthetic manifold, by each sampler.
        name: what the data are called in figures.
        seed: the seed of the draws.
        adapter, progress: as in `norms`.
    """
    with Count(progress, "searches") as advance:
        found = _core.study_dimension(
            engine_of(adapter), _matrix(X), name, queries, neighbours, neighbourhoods, drawn, seed, advance
        )
    return _results("dimension", found)


def _matrix(X: ArrayLike) -> Floats:
    samples = samples_of(X)
    return np.reshape(samples, (len(samples), -1))


def _levels(sigmas: ArrayLike | None, steps: int, schedule: str, variance: float, ratio: float) -> list[float]:
    if sigmas is not None:
        return numbers(sigmas, "sigmas")
    return step_sigmas(steps, schedule=schedule, variance=variance, ratio=ratio).tolist()


def _distance(samples: Floats) -> float:
    """Returns the root mean square distance of samples from their mean."""
    return float(np.sqrt(samples.var(axis=0, dtype=np.float64).sum()))
