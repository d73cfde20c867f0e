"""Formulas of linear diffusion: spectra, components under noise, gains of chains, best schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _core
from .._arrays import ArrayLike, numbers, numpy_of
from .._data import Doubles, matrix_of, whole


@dataclass(frozen=True)
class Spectrum:
    """The covariance of samples, by its eigenvalues and eigenvectors."""

    variances: Doubles
    """Eigenvalues of X'X / n around the mean, largest first, (r,)."""
    directions: Doubles
    """Orthonormal eigenvectors as rows, (r, p)."""
    mean: Doubles
    """The mean, (p,)."""


def spectrum(X: ArrayLike) -> Spectrum:
    """Returns the whole spectrum of the covariance of samples, in float64.

    Args:
        X: samples, (n, ...); n or p at most 4096. For the leading components of larger data, see `downhill.PCA`.
    """
    return Spectrum(**_core.covariance_spectrum(matrix_of(X)))


# Nadler's formulas


def cos_squared(ratio: ArrayLike, gamma: float) -> Doubles:
    """Returns cos^2 of the angle between the leading component of noisy samples and the direction of their signal.

    (1 - gamma / r^2) / (1 + gamma / r) above the threshold r = sqrt(gamma), 0 below: in the limit of many samples and
    values. Source: Nadler 2008, Ann. Stat. 36:2791.

    Args:
        ratio: r, the variance of the signal over that of the white noise.
        gamma: p / n, values over samples.
    """
    return _map(lambda ratios: _core.cos_squared(ratios, float(gamma)), ratio, "ratio")


def leading_eigenvalue(ratio: ArrayLike, gamma: float) -> Doubles:
    """Returns the leading eigenvalue of noisy samples over the variance of the noise.

    (r + 1)(1 + gamma / r) above the threshold r = sqrt(gamma), (1 + sqrt(gamma))^2 below. Source: Nadler 2008.

    Args:
        ratio, gamma: as in `cos_squared`.
    """
    return _map(lambda ratios: _core.leading_eigenvalue(ratios, float(gamma)), ratio, "ratio")


def small_noise_sine_squared(spectrum: ArrayLike, variance: float, samples: int) -> Doubles:
    """Returns sin^2 of the angle of each component of samples to itself after white noise was added to them.

    To first order: the sum over j of (s^2 (l_i + l_j) + s^4) / (n (l_i - l_j)^2). Source: Nadler 2008.

    Args:
        spectrum: all p eigenvalues l of X'X / n, zeros included.
        variance: s^2, that of the noise.
        samples: n.
    """
    values = numbers(spectrum, "spectrum")
    return np.array(_core.small_noise_sine_squared(values, float(variance), whole(samples, "samples")))


def threshold(variance: float, samples: int, dimension: int) -> float:
    """Returns the noise level at which the leading component of samples is lost, sqrt(l sqrt(n / p)).

    Args:
        variance: l, that along the component.
        samples, dimension: n and p.
    """
    return _core.threshold(float(variance), whole(samples, "samples"), whole(dimension, "dimension"))


# Gains and schedules


def gain(chain: str, variances: ArrayLike, sigmas: ArrayLike) -> Doubles:
    """Returns the factor by which a chain changes the part of a state along each mode of a Gaussian, (modes,).

    Args:
        chain: `"ddim"`, DDIM with the Wiener filter: the product of (v + s r) / (v + s^2) over its levels s and the
            next ones r; `"flow"`, its limit for many steps, sqrt((v + to^2) / (v + from^2)); `"sequential"`, a chain of
            estimates of the next level, the square of the flow's.
        variances: v of each mode.
        sigmas: falling noise levels.
    """
    return np.array(_core.gain(chain, numbers(variances, "variances"), numbers(sigmas, "sigmas")))


def spacing(name: str, steps: int, sigma_max: float) -> Doubles:
    """Returns noise levels that fall from `sigma_max` to 0, (steps + 1,).

    Args:
        name: `"exponential"`, even in the logarithm down to 1e-4 of the first; `"karras"`, even in the seventh root;
            `"linear"`, even in sigma; `"variance"`, even in sigma^2.
        steps: the number of steps.
        sigma_max: the first level.
    """
    return np.array(_core.spacing(name, whole(steps, "steps"), float(sigma_max)))


def squared_cosines(
    variances: ArrayLike, sigmas: ArrayLike, *, kept: int, samples: int, dimension: int | None = None
) -> Doubles:
    """Returns the part of each leading direction that lies within the leading components of noisy samples.

    A closed form between Nadler's formula for a spike and the first order of little noise for any spectrum.

    Args:
        variances: the spectrum of the samples, largest first.
        sigmas: noise levels.
        kept: the number of components.
        samples: n.
        dimension: p; by default the number of variances.

    Returns:
        squared cosines, (levels, kept).
    """
    values, levels = numbers(variances, "variances"), numbers(sigmas, "sigmas")
    return _core.squared_cosines(values, kept, samples, dimension or len(values), levels)


def concentration(
    variances: ArrayLike, levels: ArrayLike, *, kept: int, samples: int, dimension: int | None = None
) -> Doubles:
    """Returns mean energies along each component of white noise that went through a chain, over their sum, (kept,).

    The chain projects on `kept` components of samples with fresh noise at each level.

    Args:
        variances, kept, samples, dimension: as in `squared_cosines`.
        levels: rising noise levels.
    """
    values, sigmas = numbers(variances, "variances"), numbers(levels, "levels")
    return np.array(_core.concentration(values, kept, samples, dimension or len(values), sigmas))


@dataclass(frozen=True)
class Best:
    """Noise levels that are best by a closed form, and how the search for them went."""

    levels: Doubles
    """The levels."""
    value: float
    """The least value of the closed form."""
    steps: int
    """Steps of the search."""
    converged: bool
    """`True` if the search ended at a minimum."""


def most_concentrated(
    variances: ArrayLike, steps: int, sigma_max: float, *, kept: int, samples: int, dimension: int | None = None
) -> Best:
    """Returns the rising levels of a chain at which its first component gets the greatest share of the energy.

    `value` is ln of the energy of all others over that of the first.

    Args:
        variances, kept, samples, dimension: as in `squared_cosines`; `kept` is at least 2.
        steps: the number of levels.
        sigma_max: a bound of the levels.
    """
    values = numbers(variances, "variances")
    count = whole(steps, "steps")
    return _best(_core.most_concentrated(values, kept, samples, dimension or len(values), count, float(sigma_max)))


def best_recovery(variances: ArrayLike, steps: int, sigma_max: float) -> Best:
    """Returns the falling levels with which DDIM with the Wiener filter comes nearest to the probability flow.

    `value` is the `shortfall` there. One mode of variance v is best served by sigma = sqrt(v) tan of equal parts of an
    angle.

    Args:
        variances: those of the modes to recover, each above 0.
        steps: the number of steps.
        sigma_max: the first level.

    Returns:
        steps + 1 levels, from `sigma_max` to 0.
    """
    return _best(_core.best_recovery(numbers(variances, "variances"), whole(steps, "steps"), float(sigma_max)))


def geodesic(variances: ArrayLike, steps: int, sigma_max: float) -> Doubles:
    """Returns levels at equal distances in the metric of all modes, sum of v / (v + s^2)^2, (steps + 1,).

    The limit of `best_recovery` for many steps.

    Args:
        variances, steps, sigma_max: as in `best_recovery`.
    """
    return np.array(_core.geodesic(numbers(variances, "variances"), whole(steps, "steps"), float(sigma_max)))


def shortfall(variances: ArrayLike, sigmas: ArrayLike) -> float:
    """Returns the mean over modes of -ln(gain of DDIM / gain of the probability flow) down falling levels.

    Args:
        variances: those of the modes, each above 0.
        sigmas: falling noise levels.
    """
    return _core.shortfall(numbers(variances, "variances"), numbers(sigmas, "sigmas"))


def _best(found: tuple[list[float], float, int, bool]) -> Best:
    levels, value, steps, converged = found
    return Best(np.array(levels), value, steps, converged)


def _map(function: Callable[[list[float]], list[float]], values: ArrayLike, name: str) -> Doubles:
    array = np.asarray(numpy_of(values), np.float64)
    return np.reshape(np.array(function(numbers(array.ravel(), name))), array.shape)
