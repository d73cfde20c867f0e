"""Chains of projections: their products, the angles and the energies of their components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _core
from .._arrays import ArrayLike, Floats, floats, numbers, numpy_of
from .._data import SMALL, Count, Doubles, Progress, engine_of, matrix_of, whole


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


def step_sigmas(steps: int = 40, *, schedule: str = "constant", variance: float = 1.0, ratio: float = 0.9) -> Doubles:
    """Returns the standard deviations of the noise that each step of a chain adds, (steps,).

    Args:
        steps: the number of steps, T.
        schedule: `"constant"`, the same at each step, with a total of `variance`; `"geometric"`, variances that fall
            by `ratio` from step to step, with that total; `"inverse"`, 1 / T at each step, as in the paper's proof.
        variance: the total variance.
        ratio: the variance of a step over that of the step before.
    """
    return np.array(_core.step_sigmas(schedule, whole(steps, "steps"), float(variance), float(ratio)))


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
    samples = matrix_of(X)
    normals = None if noise is None else floats(noise, "noise")
    if sigmas is not None:
        levels = numbers(sigmas, "sigmas")
    else:
        count = whole(steps, "steps") if normals is None else len(normals)
        levels = step_sigmas(count, schedule=schedule, variance=variance, ratio=ratio).tolist()
    with Count(progress, "levels") as advance:
        found = _core.chain(
            engine_of(adapter),
            samples,
            levels,
            whole(k, "k"),
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
    levels = levels_of(sigmas, steps, schedule, variance, ratio)
    with Count(progress, "levels") as advance:
        found = _core.component_angles(
            engine_of(adapter), matrix_of(X), levels, whole(k, "k"), coupling, draws, seed, center, advance
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
            matrix_of(X),
            schedule,
            whole(steps, "steps"),
            float(variance),
            float(ratio),
            whole(k, "k"),
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
    return _core.injected_variance(float(cosine), float(total), float(eta), whole(steps, "steps"))


def levels_of(sigmas: ArrayLike | None, steps: int, schedule: str, variance: float, ratio: float) -> list[float]:
    """Returns the listed noise levels, or those of `step_sigmas`."""
    if sigmas is not None:
        return numbers(sigmas, "sigmas")
    return step_sigmas(steps, schedule=schedule, variance=variance, ratio=ratio).tolist()
