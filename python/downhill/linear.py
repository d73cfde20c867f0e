"""The theory of linear diffusion, and denoisers that data determine.

Closed forms of an array are denoisers like networks: `ideal`, `wiener`, `sequential` and `pca` return models with
`denoise`, `eps`, `jvp` and `sample`. Chains of projections, the angles and the energies of their components are
measured on samples, and beside them stand the formulas: Nadler's for a component under noise, gains of chains, and the
noise schedules that are best for a spectrum.

Sources: Weitzner et al. 2024, arXiv 2410.14730 (chains); Nadler 2008, Ann. Stat. 36:2791 (components under noise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core  # pyright: ignore[reportPrivateUsage]
from ._arrays import ArrayLike, Floats, floats, like as like_of, numbers, numpy_of
from ._engine import Count, engine_of, samples_of
from ._errors import ArgumentError
from ._model import Model

Doubles = npt.NDArray[np.float64]
Progress = bool | Callable[[int], object] | None

SMALL = 320
"""Values per sample up to which chains are in float64, which costs next to nothing there."""


class ClosedForm(Model):
    """A denoiser that an array determines. `ideal`, `wiener`, `sequential` and `pca` make it.

    Arrays are samples in the shape of the data, (n, *sample_shape), one sample, or images (n, c, h, w) as for every
    model. Data of one axis, (p,), count as p channels of one pixel.
    """

    def __init__(self, core: _core.Model, sample_shape: tuple[int, ...]) -> None:
        super().__init__(core)
        self.sample_shape = sample_shape
        """The shape of a sample of the data."""

    def denoise(self, x: ArrayLike, sigma: ArrayLike, *, like: Any = None, **conditions: Any) -> Any:
        """Returns x0(x, sigma), the estimate of the clean samples, in the shape of `x`, float32.

        Args:
            x: samples x = x0 + sigma eps, (n, *sample_shape), or one.
            sigma: the noise level, above 0: one, or one per sample.
            like: the library of the result, as in `Model.denoise`.
            conditions: those of a network; a closed form takes none.
        """
        images, shape = self._images(x)
        return like_of(np.reshape(super().denoise(images, sigma, **conditions), shape), like)

    def eps(
        self,
        x: ArrayLike,
        t: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        like: Any = None,
        **conditions: Any,
    ) -> Any:
        """Returns the estimate of the noise, (x - x0(x, sigma)) / sigma, in the shape of `x`, float32.

        Args:
            x, sigma, like, conditions: as in `denoise`.
            t: a timestep, which a closed form does not have.
        """
        images, shape = self._images(x)
        return like_of(np.reshape(super().eps(images, t, sigma=sigma, **conditions), shape), like)

    def draw(self, n: int = 16, **arguments: Any) -> Floats:
        """Returns samples of the denoiser in the shape of the data, (n, *sample_shape); arguments as in `sample`."""
        samples = self.sample(n, **arguments).samples
        return np.reshape(samples, (len(samples), *self.sample_shape))

    def _images(self, x: ArrayLike) -> tuple[Floats, tuple[int, ...]]:
        """Returns samples as images, and the shape that they came in."""
        array = floats(x, "x")
        image = self.shape
        assert image is not None
        if array.shape in (self.sample_shape, image) or array.shape[1:] in (self.sample_shape, image):
            return np.reshape(array, (-1, *image)), array.shape
        raise ArgumentError(
            f"`x` of shape {array.shape} for samples of shape {self.sample_shape}",
            f"give (n, {', '.join(str(extent) for extent in self.sample_shape)}), or one sample",
        )


def ideal(X: ArrayLike, *, adapter: str | int | None = None) -> ClosedForm:
    """Returns the ideal denoiser of samples: the posterior mean over the samples themselves.

    x0(x, sigma) = sum of w_i x_i, with w_i in proportion to exp(-|x - x_i|^2 / (2 sigma^2)): the minimiser of the
    denoising objective over all functions.

    Args:
        X: samples, (n, p), (n, h, w) or (n, c, h, w).
        adapter: the adapter of the device, as in `downhill.open`.
    """
    return _of_data("ideal", X, adapter)


def wiener(
    X: ArrayLike | None = None,
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    adapter: str | int | None = None,
) -> ClosedForm:
    """Returns the Wiener filter: the posterior mean of a Gaussian, x0 = m + S (S + sigma^2 I)^-1 (x - m).

    Args:
        X: samples whose mean m and covariance S (divisor n) are those of the Gaussian, (n, ...).
        mean: m, in the shape of a sample, in place of samples.
        covariance: S, (p, p), with `mean`.
        adapter: the adapter of the device, as in `downhill.open`.

    Raises:
        ArgumentError: for a matrix that is not a covariance, and unless either samples or moments are given.
    """
    return _of_gaussian("wiener", X, mean, covariance, adapter)


def sequential(
    X: ArrayLike | None = None,
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    adapter: str | int | None = None,
) -> ClosedForm:
    """Returns the sequential denoiser of a Gaussian: the posterior mean of the next level of a walk.

    Where x at level s is x at the level r below it and new noise, the estimate of the latter is
    m + (S + r^2 I)(S + s^2 I)^-1 (x - m). A chain of them telescopes to S (S + s_T^2 I)^-1. Outside of a walk it is the
    Wiener filter.

    Args:
        X, mean, covariance, adapter: as in `wiener`.
    """
    return _of_gaussian("sequential", X, mean, covariance, adapter)


def pca(
    X: ArrayLike,
    k: int | None = None,
    *,
    noise: str | None = None,
    seed: int = 0,
    adapter: str | int | None = None,
) -> ClosedForm:
    """Returns the projection on the mean and the leading k principal components of samples.

    Args:
        X: samples, (n, ...).
        k: the number of components; by default 32, or all.
        noise: the components are those of the samples under noise at each level, coupled across levels as
            `"fresh"`, `"nested"` or `"shared"`; by default those of the clean samples.
        seed: the seed of that noise.
        adapter: the adapter of the device, as in `downhill.open`.
    """
    samples = samples_of(X)
    return ClosedForm(
        _core.closed_form(engine_of(adapter), "pca", samples, k, noise, seed), tuple(samples.shape[1:])
    )


def _of_data(kind: str, X: ArrayLike, adapter: str | int | None) -> ClosedForm:
    samples = samples_of(X)
    return ClosedForm(_core.closed_form(engine_of(adapter), kind, samples), tuple(samples.shape[1:]))


def _of_gaussian(
    kind: str,
    X: ArrayLike | None,
    mean: ArrayLike | None,
    covariance: ArrayLike | None,
    adapter: str | int | None,
) -> ClosedForm:
    if X is not None and mean is None and covariance is None:
        return _of_data(kind, X, adapter)
    if X is not None or mean is None or covariance is None:
        raise ArgumentError(f"the Gaussian of `{kind}`", "give samples, or `mean` and `covariance`")
    centre = np.asarray(numpy_of(mean), dtype=np.float64)
    matrix = np.asarray(numpy_of(covariance), dtype=np.float64)
    if matrix.shape != (centre.size, centre.size):
        raise ArgumentError(
            f"`covariance` of shape {matrix.shape} for a mean of {centre.size} values",
            f"give ({centre.size}, {centre.size})",
        )
    core = _core.gaussian(
        engine_of(adapter), kind, list(centre.shape), centre.ravel().tolist(), matrix.ravel().tolist()
    )
    return ClosedForm(core, centre.shape)


# Chains


@dataclass(frozen=True)
class Chain:
    """A chain of projections P = U_0 U_0' ... U_T U_T' = U_0 C_T U_T' (arXiv 2410.14730, equations 10 and 11)."""

    sigmas: Doubles
    """The deviation of the noise of each step, (T,)."""
    levels: Doubles
    """s_t, that of all noise up to each level, (T + 1,)."""
    components: Doubles
    """U_0 as rows, (k, p)."""
    last_components: Doubles
    """U_T as rows, (k, p)."""
    bases: Floats | None
    """U_t of each level as rows, (T + 1, k, p), where they were kept."""
    eigenvalues: Doubles
    """The leading eigenvalues of x_t' x_t / n, (T + 1, k)."""
    cos_adjacent: Doubles
    """|cos| of each component at levels t and t + 1, (T, k)."""
    cos_to_first: Doubles
    """|cos| of each component at levels t and 0, (T + 1, k)."""
    partial_products: Doubles
    """C_t of the product up to each level, U_0 C_t U_t', of Frobenius norm 1, (T + 1, k, k)."""
    log_norms: Doubles
    """The natural logarithm of the Frobenius norm of each of these products, (T + 1,)."""
    overlaps: Doubles
    """U_t' U_(t+1), (T, k, k)."""
    energy: Doubles
    """The mean energy of P_t eps along each component of level 0 for white eps, over their sum, (T + 1, k).

    Equation 26."""
    participation_ratio: Doubles
    """The effective number of modes of `energy`, (sum e)^2 / sum e^2, (T + 1,)."""
    mean: Doubles | None
    """The mean that was subtracted from the samples, (p,)."""

    def product(self) -> Doubles:
        """Returns the whole product over its Frobenius norm, (p, p)."""
        return np.transpose(self.components) @ self.partial_products[-1] @ self.last_components

    def energy_of(self, eps: ArrayLike) -> Doubles:
        """Returns the energies of P eps along each component of level 0, over their sum, (k,). Equation 26.

        Args:
            eps: draws, (m, p).
        """
        draws = np.asarray(numpy_of(eps), np.float64)
        along = draws @ np.transpose(self.last_components) @ np.transpose(self.partial_products[-1])
        energies = np.square(along).sum(axis=0)
        return energies / energies.sum()


def step_sigmas(
    steps: int = 40, *, schedule: str = "constant", variance: float = 1.0, ratio: float = 0.9
) -> Doubles:
    """Returns the standard deviations of the noise that each step of a chain adds, (steps,).

    Args:
        steps: the number of steps, T.
        schedule: `"constant"`, the same at each step, with a total of `variance`; `"geometric"`, variances that fall
            by `ratio` from step to step, with that total; `"inverse"`, 1 / T at each step, as in the paper's proof.
        variance: the total variance.
        ratio: the variance of a step over that of the step before.
    """
    return np.array(_core.step_sigmas(schedule, _whole(steps, "steps"), float(variance), float(ratio)))


def chain(
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
    center: bool = True,
    precise: bool | None = None,
    keep_bases: bool = True,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = False,
) -> Chain:
    """Runs a chain of linear diffusion: samples under growing noise, the components of each level, their product.

    Args:
        X: samples x_0, (n, ...), of p values each.
        k: the number of components kept per level.
        steps, schedule, variance, ratio: the noise of the steps, as in `step_sigmas`.
        sigmas: the deviation of the noise of each step, in place of a schedule.
        coupling: of the noise of different levels: `"nested"`, x_t = x_(t-1) + sigma_t xi_t; `"fresh"`, x_t = x_0 +
            s_t xi_t; `"shared"`, x_t = x_0 + s_t xi_1.
        noise: standard normals xi, (T, n, p), in place of those of the seed.
        center: subtract the mean from the samples.
        precise: second moments in float64; by default where p is at most 320.
        keep_bases: keep the components of all levels.
        seed: the seed of the noise.
        adapter: the adapter of the device, as in `downhill.open`.
        progress: a bar by tqdm, or a function that is called with the levels done since its last call.

    Raises:
        ArgumentError: for arguments that contradict each other.
    """
    samples = _matrix(X)
    normals = None if noise is None else floats(noise, "noise")
    if sigmas is not None:
        levels = numbers(sigmas, "sigmas")
    else:
        count = _whole(steps, "steps") if normals is None else len(normals)
        levels = step_sigmas(count, schedule=schedule, variance=variance, ratio=ratio).tolist()
    with Count(progress, "levels") as advance:
        found = _core.chain(
            engine_of(adapter),
            samples,
            levels,
            _whole(k, "k"),
            coupling,
            seed,
            center,
            samples.shape[1] <= SMALL if precise is None else precise,
            normals,
            keep_bases,
            advance,
        )
    deviations = np.array(levels)
    return Chain(
        sigmas=deviations,
        levels=np.concatenate([[0.0], np.sqrt(np.cumsum(np.square(deviations)))]),
        components=found["first"],
        last_components=found["last"],
        bases=found.get("bases"),
        eigenvalues=found["eigenvalues"],
        cos_adjacent=found["cos_adjacent"],
        cos_to_first=found["cos_to_first"],
        partial_products=found["partial"],
        log_norms=found["log_norm"],
        overlaps=found["overlaps"],
        energy=found["energy"],
        participation_ratio=found["participation_ratio"],
        mean=found["mean"],
    )


@dataclass(frozen=True)
class Angles:
    """The turning of components as noise grows, over draws of the noise, beside theory."""

    sines: Doubles
    """The sine of the angle between each component at level t and at level 0, (draws, T + 1, k)."""
    mean: Doubles
    """Their mean over draws, (T + 1, k)."""
    half_width: Doubles
    """Half of the 95 % interval of the mean (Student), (T + 1, k)."""
    nadler: Doubles
    """By Nadler's formula for each component alone, (T + 1, k)."""
    expansion: Doubles
    """By the expansion for little noise over the whole spectrum, (T + 1, k)."""
    eigenvalues: Doubles
    """The leading eigenvalues at level 0, (k,)."""
    variances: Doubles
    """The variance of all noise up to each level, (T + 1,)."""


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
    progress: Progress = False,
) -> Angles:
    """Measures how components turn as noise grows (arXiv 2410.14730, figures 2 and 3).

    Args:
        X, k, steps, schedule, variance, ratio, sigmas, coupling, center, adapter, progress: as in `chain`.
        draws: draws of the noise, of the seeds `seed`, `seed` + 1, ...
        seed: the first seed.
    """
    levels = _levels(sigmas, steps, schedule, variance, ratio)
    with Count(progress, "levels") as advance:
        found = _core.component_angles(
            engine_of(adapter), _matrix(X), levels, _whole(k, "k"), coupling, draws, seed, center, advance
        )
    return Angles(**found)


@dataclass(frozen=True)
class Energies:
    """The modes that a chain generates, for each draw of its noise."""

    energy: Doubles
    """The mean energy along each component of level 0, over their sum, (draws, k). Equation 26."""
    sampled: Doubles
    """The same over a thousand generated samples, (draws, k)."""
    cosines: Doubles
    """The geometric mean of the cosines of each component from a level to the next, (draws, k)."""
    injected: Doubles
    """The variance of each mode with noise of deviation `eta` injected at each step, (draws, k)."""
    injected_theory: Doubles
    """The same by equation 25 with the mean cosines, (draws, k)."""
    participation: Doubles
    """The effective number of modes of `energy`, (draws,)."""
    log_norm: Doubles
    """The natural logarithm of the Frobenius norm of the product, (draws,)."""
    eta: Doubles
    """The deviation of the injected noise, (draws,)."""
    winner: npt.NDArray[np.intp]
    """The component with the most energy, (draws,)."""


def energies(
    X: ArrayLike,
    k: int = 8,
    *,
    steps: int = 40,
    schedule: str = "constant",
    variance: float = 0.3,
    ratio: float = 0.8,
    coupling: str = "fresh",
    draws: int = 3,
    center: bool = True,
    seed: int = 0,
    adapter: str | int | None = None,
    progress: Progress = False,
) -> Energies:
    """Measures the modes that a chain generates (arXiv 2410.14730, equations 25 and 26, figure 6).

    Args:
        X, k, steps, schedule, variance, ratio, coupling, center, adapter, progress: as in `chain`.
        draws: draws of the noise, of the seeds `seed`, `seed` + 1, ...
        seed: the first seed.
    """
    with Count(progress, "levels") as advance:
        found = _core.chain_energies(
            engine_of(adapter),
            _matrix(X),
            schedule,
            _whole(steps, "steps"),
            float(variance),
            float(ratio),
            _whole(k, "k"),
            coupling,
            draws,
            seed,
            center,
            advance,
        )
    winner = np.array(found.pop("winner"), np.intp)
    return Energies(winner=winner, **found)


def participation_ratio(energies: ArrayLike) -> float:
    """Returns the effective number of modes, (sum e)^2 / sum e^2: 1 when one has all energy, k when all have equal."""
    return _core.participation_ratio(numbers(energies, "energies"))


def injected_variance(cosine: float, total: float, eta: float, steps: int) -> float:
    """Returns s^2 c^(2T) + eta^2 (1 - c^(2T)) / (1 - c^2), the variance of a mode with injected noise. Equation 25.

    Args:
        cosine: c, the part of the mode that each step keeps.
        total: s^2, its variance at the beginning.
        eta: the deviation of the noise that each step injects.
        steps: T.
    """
    return _core.injected_variance(float(cosine), float(total), float(eta), _whole(steps, "steps"))


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
    return Spectrum(**_core.covariance_spectrum(_matrix(X)))


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
    return np.array(_core.small_noise_sine_squared(values, float(variance), _whole(samples, "samples")))


def threshold(variance: float, samples: int, dimension: int) -> float:
    """Returns the noise level at which the leading component of samples is lost, sqrt(l sqrt(n / p)).

    Args:
        variance: l, that along the component.
        samples, dimension: n and p.
    """
    return _core.threshold(float(variance), _whole(samples, "samples"), _whole(dimension, "dimension"))


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
    return np.array(_core.spacing(name, _whole(steps, "steps"), float(sigma_max)))


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
    count = _whole(steps, "steps")
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
    return _best(_core.best_recovery(numbers(variances, "variances"), _whole(steps, "steps"), float(sigma_max)))


def geodesic(variances: ArrayLike, steps: int, sigma_max: float) -> Doubles:
    """Returns levels at equal distances in the metric of all modes, sum of v / (v + s^2)^2, (steps + 1,).

    The limit of `best_recovery` for many steps.

    Args:
        variances, steps, sigma_max: as in `best_recovery`.
    """
    return np.array(_core.geodesic(numbers(variances, "variances"), _whole(steps, "steps"), float(sigma_max)))


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


def _matrix(X: ArrayLike) -> Floats:
    samples = samples_of(X)
    return np.reshape(samples, (len(samples), -1))


def _levels(sigmas: ArrayLike | None, steps: int, schedule: str, variance: float, ratio: float) -> list[float]:
    if sigmas is not None:
        return numbers(sigmas, "sigmas")
    return step_sigmas(steps, schedule=schedule, variance=variance, ratio=ratio).tolist()


def _whole(number: int | Sequence[int], name: str) -> int:
    if isinstance(number, (int, np.integer)) and not isinstance(number, bool) and number >= 1:
        return int(number)
    raise ArgumentError(f"`{name}` of {number!r}", "give a whole number of at least 1")
