"""Studies of data: chains, components under noise, dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _core
from .._arrays import ArrayLike, Floats, floats, numbers
from .._data import SMALL, Count, Progress, engine_of, matrix_of
from ..linear import spectrum, threshold
from ..linear._chains import levels_of
from ._results import Results, results_of


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
    samples = matrix_of(X)
    normals = None if noise is None else floats(noise, "noise")
    levels = levels_of(sigmas, steps if normals is None else len(normals), schedule, variance, ratio)
    draws = None if eps is None else floats(eps, "eps")
    is_precise = samples.shape[1] <= SMALL if precise is None else precise
    with Count(progress, "levels") as advance:
        found = _core.study_product(
            engine_of(adapter), samples, levels, k, coupling, seed, center, is_precise, normals, draws, advance
        )
    return results_of("product", found)


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
    levels = levels_of(sigmas, steps, schedule, variance, ratio)
    with Count(progress, "levels") as advance:
        found = _core.study_angles(engine_of(adapter), matrix_of(X), levels, k, coupling, draws, seed, center, advance)
    return results_of("angles", found)


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
            engine_of(adapter), matrix_of(X), counts, variance, ratio, k, draws, seed, center, advance
        )
    return results_of("energy", found)


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
    return results_of("transition", found)


def baseline(
    X: ArrayLike,
    modes: int | None = None,
    *,
    steps: Sequence[int] = (10, 40, 120),
    sigma_max: float | None = None,
    draws: int = 64,
    seed: int = 0,
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
        progress: as in `norms`.
    """
    samples = matrix_of(X)
    count = min(32, samples.shape[1]) if modes is None else modes
    first = 10 * _distance(samples) if sigma_max is None else float(sigma_max)
    with Count(progress, "chains") as advance:
        found = _core.study_baseline(samples, count, [int(step) for step in steps], first, draws, seed, advance)
    return results_of("baseline", found)


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
    samples = matrix_of(X)
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
    return results_of("schedules", found)


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
            engine_of(adapter), matrix_of(X), name, queries, neighbours, neighbourhoods, drawn, seed, advance
        )
    return results_of("dimension", found)


def _distance(samples: Floats) -> float:
    """Returns the root mean square distance of samples from their mean."""
    return float(np.sqrt(samples.var(axis=0, dtype=np.float64).sum()))
