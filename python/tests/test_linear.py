"""Closed forms of arrays, chains and formulas, against NumPy and SciPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import downhill
from downhill import linear


def data(samples: int = 40, dimension: int = 6, seed: int = 0, rate: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    return (rng.standard_normal((samples, dimension)) * rate ** np.arange(dimension)) @ rotation + 0.5


def states(count: int, dimension: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return X.mean(0), np.cov(X.T, bias=True)


def check(model: linear.ClosedForm, x: np.ndarray, sigma: float, expected: np.ndarray, atol: float = 1e-5) -> None:
    x0 = model.denoise(x, sigma)
    assert x0.shape == x.shape and x0.dtype == np.float32 and np.allclose(x0, expected, atol=atol)
    assert np.allclose(model.eps(x, sigma=sigma), (x - expected) / sigma, atol=10 * atol)
    assert np.allclose(model.denoise(x[0], sigma), expected[0], atol=atol)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 20.0])
def test_the_ideal_denoiser_is_the_posterior_mean(sigma: float) -> None:
    X, x = data(), states(5, 6)
    weights = -np.square(x[:, None] - X.astype(np.float32)[None]).sum(-1) / (2 * sigma**2)
    weights = np.exp(weights - weights.max(1, keepdims=True))
    check(linear.ideal(X), x, sigma, weights @ X / weights.sum(1, keepdims=True), atol=2e-4)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 20.0])
def test_the_wiener_filter_is_that_of_the_moments(sigma: float) -> None:
    X, x = data(), states(5, 6)
    mean, covariance = moments(X)
    expected = mean + (x - mean) @ np.linalg.inv(covariance + sigma**2 * np.eye(6)) @ covariance
    check(linear.wiener(X), x, sigma, expected)
    check(linear.wiener(mean=mean, covariance=covariance), x, sigma, expected)
    # Outside of a walk, the next level is 0.
    check(linear.sequential(X), x, sigma, expected)
    # A walk telescopes, however many steps it has.
    start = 3.0 * x.reshape(5, 6, 1, 1)
    walked = linear.sequential(X).sample(start=start, sigmas=[3.0, 2.0, 0.5, 0.0], sampler="ddim", clip=False).samples
    ends = mean + (3.0 * x - mean) @ np.linalg.inv(covariance + 9 * np.eye(6)) @ covariance
    assert np.allclose(walked.reshape(5, 6), ends, atol=1e-5)


@pytest.mark.parametrize("k", [1, 4, 6])
def test_the_projection_is_on_the_leading_components(k: int) -> None:
    X, x = data(), states(5, 6)
    mean, covariance = moments(X)
    basis = np.linalg.eigh(covariance)[1][:, ::-1][:, :k]
    check(linear.pca(X, k), x, 0.4, mean + (x - mean) @ basis @ basis.T)


def test_images_keep_their_shape() -> None:
    X = data(30, 24).reshape(30, 2, 3, 4).astype(np.float32)
    for model in (linear.ideal(X), linear.wiener(X), linear.pca(X, 5), linear.pca(X, 3, noise="fresh", seed=2)):
        assert model.shape == (2, 3, 4) and model.sample_shape == (2, 3, 4) and model.kind == "closed form"
        assert model.denoise(X[:3], 0.5).shape == (3, 2, 3, 4)
        assert model.denoise(X[0], [0.5]).shape == (2, 3, 4)
        assert isinstance(model, downhill.Model)
    drawn = linear.wiener(X).draw(3, steps=6, seed=1)
    assert drawn.shape == (3, 2, 3, 4)
    flat = linear.wiener(X.reshape(30, 24))
    assert flat.draw(3, steps=6, seed=1).shape == (3, 24)
    x, v = states(2, 24).reshape(2, 2, 3, 4), states(2, 24, seed=5).reshape(2, 2, 3, 4)
    wiener = linear.wiener(X)
    assert np.allclose(wiener.jvp(x, v, 0.5), wiener.denoise(x + v, 0.5) - wiener.denoise(x, 0.5), atol=1e-3)


def test_samples_of_the_ideal_denoiser_are_the_samples() -> None:
    X = data(12, 5)
    drawn = linear.ideal(X).draw(20, steps=30, seed=3, clip=False)
    distances = np.linalg.norm(drawn[:, None] - X[None], axis=-1).min(1)
    assert np.all(distances < 1e-2)


@pytest.mark.parametrize(
    "call",
    [
        lambda X: linear.wiener(),
        lambda X: linear.wiener(X, mean=X[0], covariance=np.eye(6)),
        lambda X: linear.wiener(mean=X[0], covariance=np.eye(5)),
        lambda X: linear.wiener(mean=X[0], covariance=-np.eye(6)),
        lambda X: linear.wiener(mean=X[0], covariance=np.triu(np.ones((6, 6)))),
        lambda X: linear.pca(X, 7),
        lambda X: linear.pca(X, 2, noise="loose"),
        lambda X: linear.ideal(X[0]),
        lambda X: linear.ideal(X).denoise(np.zeros((3, 5)), 1.0),
        lambda X: linear.ideal(X).eps(np.zeros((3, 6)), 10),
        lambda X: linear.wiener(X).denoise(X, 1.0, labels=[1]),
        lambda X: linear.chain(X, 7),
        lambda X: linear.chain(X, 2, noise=np.zeros((3, 40, 5))),
        lambda X: linear.chain(X, 2, sigmas=[0.1], noise=np.zeros((3, 40, 6))),
        lambda X: linear.angles(X, 2, draws=0),
        lambda X: linear.step_sigmas(4, ratio=0.0),
        lambda X: linear.best_recovery([1.0, 0.0], 3, 2.0),
        lambda X: linear.most_concentrated([1.0], 3, 2.0, kept=1, samples=10),
        lambda X: linear.gain("euler", [1.0], [1.0, 0.0]),
        lambda X: linear.spacing("cosine", 3, 1.0),
    ],
)
def test_refusals(call: Any) -> None:
    with pytest.raises(downhill.ArgumentError):
        call(data())


def test_data_that_are_not_finite() -> None:
    X = data()
    X[4, 1] = np.inf
    with pytest.raises(downhill.NonFiniteError, match="value 1 of sample 4"):
        linear.ideal(X)


def reference(X: np.ndarray, k: int, sigmas: np.ndarray, noise: np.ndarray, coupling: str) -> list[np.ndarray]:
    """The components of each level as columns, in float64."""
    centred = X - X.mean(0)
    totals = np.sqrt(np.concatenate([[0], np.cumsum(sigmas**2)]))
    bases = []
    for t in range(len(sigmas) + 1):
        added = {
            "nested": sum(sigmas[s] * noise[s] for s in range(t)),
            "fresh": totals[t] * noise[max(t - 1, 0)],
            "shared": totals[t] * noise[0],
        }[coupling]
        x = centred + added
        bases.append(np.linalg.eigh(x.T @ x / len(x))[1][:, ::-1][:, :k])
    return bases


@pytest.mark.parametrize("coupling", ["nested", "fresh", "shared"])
def test_chains_are_those_of_numpy(coupling: str) -> None:
    rng = np.random.default_rng(2)
    X, sigmas = data(50, 7), np.array([0.2, 0.1, 0.3])
    noise = rng.standard_normal((3, 50, 7)).astype(np.float32)
    bases = reference(X, 3, sigmas, noise, coupling)
    product = np.eye(7)
    norms = []
    for basis in bases:
        product = product @ basis @ basis.T
        norms.append(np.log(np.linalg.norm(product)))
    found = linear.chain(X, 3, sigmas=sigmas, noise=noise, coupling=coupling)
    assert np.allclose(found.log_norms, norms, atol=1e-5)
    assert np.allclose(found.product(), product / np.linalg.norm(product), atol=1e-5)
    cosines = [np.abs(np.diag(a.T @ b)) for a, b in zip(bases, bases[1:], strict=False)]
    assert np.allclose(found.cos_adjacent, cosines, atol=1e-5)
    assert np.allclose(found.cos_to_first, [np.abs(np.diag(bases[0].T @ b)) for b in bases], atol=1e-5)
    assert np.allclose(found.mean, X.mean(0), atol=1e-6)
    energies = np.square(bases[0].T @ product).sum(1)
    assert np.allclose(found.energy[-1], energies / energies.sum(), atol=1e-5)
    assert np.isclose(found.participation_ratio[-1], linear.participation_ratio(energies), rtol=1e-4)
    eps = rng.standard_normal((9, 7))
    along = np.square(eps @ product.T @ bases[0]).sum(0)
    assert np.allclose(found.energy_of(eps), along / along.sum(), atol=1e-4)
    seen: list[int] = []
    again = linear.chain(X, 3, sigmas=sigmas, noise=noise, coupling=coupling, keep_bases=False, progress=seen.append)
    assert again.bases is None and np.array_equal(again.log_norms, found.log_norms) and sum(seen) == 4


def test_the_noise_of_steps() -> None:
    assert np.allclose(linear.step_sigmas(5, schedule="inverse"), 0.2)
    assert np.allclose(np.square(linear.step_sigmas(5, variance=3.0)), 0.6)
    squares = np.square(linear.step_sigmas(4, schedule="geometric", variance=2.0, ratio=0.5))
    assert np.isclose(squares.sum(), 2) and np.allclose(squares[1:] / squares[:-1], 0.5)


def test_angles_follow_the_expansion_where_noise_is_little() -> None:
    X = data(200, 5, rate=0.5)
    found = linear.angles(X, 2, steps=3, variance=1e-3, draws=30, seed=1)
    assert found.sines.shape == (30, 4, 2) and np.allclose(found.mean, found.sines.mean(0))
    assert np.all(found.sines[:, 0] < 1e-6) and np.allclose(found.variances, [0, 1e-3 / 3, 2e-3 / 3, 1e-3])
    values = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    assert np.allclose(found.eigenvalues, values[:2], rtol=1e-5)
    expansion = np.sqrt(linear.small_noise_sine_squared(values, 1e-3, 200)[:2])
    assert np.allclose(found.expansion[-1], expansion, rtol=1e-4)
    measured = np.sqrt(np.square(found.sines[:, -1]).mean(0))
    assert np.all(np.abs(measured / expansion - 1) < 0.35)
    gamma = 5 / 200
    nadler = np.sqrt(1 - linear.cos_squared(values[:2] / 1e-3, gamma))
    assert np.allclose(found.nadler[-1], nadler, rtol=1e-3)


def test_nadler() -> None:
    gamma, r = 0.5, np.array([0.2, 0.7, 1.0, 5.0, np.inf])
    expected = np.where(r**2 <= gamma, 0, (1 - gamma / r**2) / (1 + gamma / r))
    assert np.allclose(linear.cos_squared(r, gamma), expected)
    finite = r[:-1]
    eigenvalues = np.where(finite**2 <= gamma, (1 + np.sqrt(gamma)) ** 2, (finite + 1) * (1 + gamma / finite))
    assert np.allclose(linear.leading_eigenvalue(finite, gamma), eigenvalues)
    # The threshold is where r = sqrt(gamma).
    noise = linear.threshold(2.0, 400, 100)
    assert np.isclose(2.0 / noise**2, np.sqrt(100 / 400))
    above, below = (linear.cos_squared(2.0 / (factor * noise) ** 2, 0.25) for factor in (1.01, 0.99))
    assert above == 0 < below
    values, s2, n = np.array([4.0, 1.0, 0.0]), 0.01, 50
    gaps = [sum((s2 * (a + b) + s2**2) / (n * (a - b) ** 2) for b in values if b != a) for a in values]
    assert np.allclose(linear.small_noise_sine_squared(values, s2, n), gaps)


def test_energies_and_injected_noise() -> None:
    X = data(60, 6)
    found = linear.energies(X, 3, steps=5, variance=0.2, draws=2, seed=4)
    assert found.energy.shape == (2, 3) and np.allclose(found.energy.sum(1), 1)
    again = linear.chain(X, 3, steps=5, variance=0.2, coupling="fresh", seed=4, precise=False)
    assert np.allclose(found.energy[0], again.energy[-1], atol=1e-5)
    assert np.allclose(found.log_norm[0], again.log_norms[-1], atol=1e-5)
    assert np.allclose(found.sampled, found.energy, atol=0.1)
    ratios = [linear.participation_ratio(energy) for energy in found.energy]
    assert np.allclose(found.participation, ratios)
    covariance = 0.2 * np.eye(3)
    for overlap in again.overlaps[::-1]:
        covariance = overlap @ covariance @ overlap.T + found.eta[0] ** 2 * np.eye(3)
    assert np.allclose(found.injected[0], np.diag(covariance), rtol=1e-4)
    theory = [linear.injected_variance(c, 0.2, found.eta[0], 5) for c in found.cosines[0]]
    assert np.allclose(found.injected_theory[0], theory)
    variance = 2.0
    for _ in range(7):
        variance = 0.8**2 * variance + 0.3**2
    assert np.isclose(linear.injected_variance(0.8, 2.0, 0.3, 7), variance)


def test_spectrum() -> None:
    for samples, dimension in [(30, 8), (5, 8)]:
        X = data(samples, dimension)
        found = linear.spectrum(X)
        values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
        count = len(found.variances)
        assert np.allclose(found.variances, values[::-1][:count], atol=1e-6)
        rebuilt = (found.directions.T * found.variances) @ found.directions
        assert np.allclose(rebuilt, np.cov(X.T, bias=True), atol=1e-5)


def test_gains_and_spacings() -> None:
    v, sigmas = np.array([4.0, 0.3]), np.array([5.0, 2.0, 0.5, 0.0])
    ddim = np.prod([(v + s * r) / (v + s * s) for s, r in zip(sigmas, sigmas[1:], strict=False)], axis=0)
    assert np.allclose(linear.gain("ddim", v, sigmas), ddim)
    assert np.allclose(linear.gain("flow", v, sigmas), np.sqrt(v / (v + 25)))
    assert np.allclose(linear.gain("sequential", v, sigmas), v / (v + 25))
    assert np.allclose(linear.spacing("variance", 4, 2.0) ** 2, [4, 3, 2, 1, 0])
    assert np.allclose(linear.spacing("linear", 4, 2.0), [2, 1.5, 1, 0.5, 0])
    ratio = np.log(linear.gain("flow", v, sigmas) / ddim).mean()
    assert np.isclose(linear.shortfall(v, sigmas), ratio)


def test_best_schedules() -> None:
    # One mode is best served by equal angles.
    best = linear.best_recovery([2.0], 5, 30.0)
    angles = np.arctan(30 / np.sqrt(2)) * np.arange(5, -1, -1) / 5
    assert best.converged and np.allclose(best.levels, np.sqrt(2) * np.tan(angles), rtol=1e-4)
    optimize = pytest.importorskip("scipy.optimize")
    variances = 5 * 0.6 ** np.arange(8)
    best = linear.best_recovery(variances, 4, 20.0)

    def shortfall(logarithms: np.ndarray) -> float:
        return linear.shortfall(variances, [20.0, *np.sort(np.exp(logarithms))[::-1], 0.0])

    start = np.log(linear.geodesic(variances, 4, 20.0)[1:-1])
    found = optimize.minimize(shortfall, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert np.isclose(found.fun, best.value, rtol=1e-6)
    assert np.allclose(np.sort(np.exp(found.x))[::-1], best.levels[1:-1], rtol=1e-3)
    spectrum = [5.0, 4.0, 3.0] + [0.0] * 97
    arguments = {"kept": 3, "samples": 1000}
    most = linear.most_concentrated(spectrum, 6, 2.5, **arguments)
    share = linear.concentration(spectrum, most.levels, **arguments)[0]
    assert np.isclose(share, 1 / (1 + np.exp(most.value)), rtol=1e-6)
    for level in (0.5, 1.0, 1.5, 2.0, 2.5):
        assert linear.concentration(spectrum, [level] * 6, **arguments)[0] < share + 1e-9
    # One spike beside 99 silent directions is Nadler's formula, but for the chance of a lost direction.
    cosines = linear.squared_cosines([3.0], [1.0, 20.0], kept=1, samples=400, dimension=100)
    assert np.allclose(cosines[:, 0], [0.01 + 0.99 * linear.cos_squared(3.0, 99 / 400), 0.01])
