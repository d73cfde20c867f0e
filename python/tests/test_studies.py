"""Studies and plots: against NumPy where the denoiser is known, and through models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import downhill
from downhill import linear, studies

POINTS = np.random.default_rng(0).standard_normal((30, 1, 2, 3)).astype(np.float32)
RANGE: dict[str, Any] = {"shape": (1, 2, 3), "sigma_max": 8.0, "sigma_min": 0.05}


def posterior_mean(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The ideal denoiser of the points, in float64."""
    flat, points = x.reshape(len(x), 1, -1).astype(np.float64), POINTS.reshape(1, 30, -1)
    weights = -np.square(flat - points).sum(-1) / (2 * sigma[:, None] ** 2)
    weights = np.exp(weights - weights.max(1, keepdims=True))
    return ((weights @ points[0]) / weights.sum(1, keepdims=True)).reshape(x.shape)


def test_norms_along_trajectories() -> None:
    seen: list[int] = []
    found = studies.norms(posterior_mean, 5, steps=6, seed=2, progress=seen.append, **RANGE)
    assert found["norms"].shape == (6, 5) and found["norms.npy"] is found["norms"] and sum(seen) == 30
    norms: list[np.ndarray] = []

    def watched(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        x0 = posterior_mean(x, sigma)
        eps = (x - x0) / sigma[:, None, None, None]
        norms.append(np.linalg.norm(eps.reshape(len(x), -1), axis=1) / np.sqrt(6))
        return x0

    downhill.sample(watched, (1, 2, 3), 5, steps=6, sampler="ddim", seed=2, sigma_max=8.0, sigma_min=0.05)
    assert np.allclose(found["norms"], norms, atol=1e-4)
    low, high = np.sort(np.ravel(norms))[[14, 15]]
    assert low - 1e-5 < found.report["norms"]["median"] < high + 1e-5
    assert found.notes and "median" in found.notes[0] and not found.warnings
    table = found.tables["norms"]
    assert np.allclose(table["sigma"][0], 8.0) and len(table["sigma"]) == 6
    assert "norms (6, 5)" in repr(found)
    # A model of the same data is the same study.
    ideal = studies.norms(linear.ideal(POINTS), 5, steps=6, seed=2, sigma_max=8.0, sigma_min=0.05)
    assert ideal["norms"].shape == (6, 5)
    as_eps = studies.norms(
        lambda x, sigma: (x - posterior_mean(x, sigma)) / sigma[:, None, None, None], 5, steps=6, seed=2, gives="eps",
        **RANGE,
    )  # fmt: skip
    assert np.allclose(as_eps["norms"], found["norms"], atol=1e-4)


def test_errors_on_noisy_images() -> None:
    found = studies.error(posterior_mean, POINTS, 10, levels=4, **RANGE)
    errors = found["errors"]
    assert errors.shape == (4, 10)
    # At little noise the ideal denoiser of the points finds all of it; at much noise most of it, too.
    assert errors[-1].max() < 0.05 and errors[0].mean() < 0.5
    nothing = studies.error(lambda x, sigma: x, POINTS, 10, levels=4, **RANGE)["errors"]
    # eps is 0: the error is the norm of the noise.
    assert abs(np.square(nothing).mean() - 1) < 0.2
    assert np.allclose(found.tables["errors"]["sigma"], np.geomspace(8.0, 0.05, 4))


def test_projection_of_the_nearest_point() -> None:
    def nearest(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        distances = np.square(x[:, None] - POINTS[None]).sum((2, 3, 4))
        return POINTS[distances.argmin(1)]

    found = studies.projection(nearest, POINTS, 6, steps=8, **RANGE)
    assert found["relative_error"].shape == found["nu"].shape == (8, 6)
    assert np.abs(found["relative_error"]).max() < 1e-3
    assert np.all(found["end_distance"] < 0.1)
    ideal = studies.projection(linear.ideal(POINTS), POINTS, 6, steps=8)
    assert ideal["relative_error"][-1].max() < 1e-3 and ideal["nu"].shape == (8, 6)


def test_constancy_of_a_line() -> None:
    # Towards one point, directions never turn.
    found = studies.constancy(lambda x, sigma: np.zeros_like(x), 4, steps=5, **RANGE)
    assert np.nanmax(found["along_trajectories"]) < 1e-3 and found["along_segments"].shape[0] == 4
    turning = studies.constancy(posterior_mean, 4, steps=5, data=POINTS, **RANGE)
    assert np.nanmax(turning["along_trajectories"]) > 1e-2


def test_an_error_model_and_its_promise() -> None:
    found = studies.error_model(posterior_mean, 6, data=POINTS, steps=8, **RANGE)
    points = found["points"]
    assert points.shape[1] == 4 and np.isclose(points[:, 0].max(), 8.0)
    assert np.all(np.isclose(np.unique(points[:, 1])[:, None], [0.5, 0.5**0.5, 1, 2**0.5, 2], rtol=1e-6).any(1))
    curve = found.tables["curve"]
    assert set(curve) == {"nu", "eta"} and np.all(np.diff(curve["nu"]) >= 0)
    promise = studies.promise(0.1, 2.0, [8.0, 6.0, 4.5])
    assert promise.report["schedule"]["steps"] == 2 and promise.text is not None
    assert len(promise.tables["schedule"]["sigma"]) == 2
    with pytest.raises(downhill.ArgumentError):
        studies.promise(1.5, 2.0, [8.0, 6.0])


def test_eigenvectors_of_jacobians() -> None:
    covariance = np.diag([4.0, 2.0, 1.0, 0.5, 0.25, 0.1])
    wiener = linear.wiener(mean=np.zeros((1, 2, 3)), covariance=covariance)
    found = studies.jacobian(wiener, 2, components=3, steps=4)
    sigmas = found["sigmas"]
    expected = np.diag(covariance)[:3] / (np.diag(covariance)[:3] + sigmas[:, None] ** 2)
    assert np.allclose(found["eigenvalues"], np.broadcast_to(expected, (2, len(sigmas), 3)), atol=1e-3)
    assert np.nanmax(found["sines"]) < 0.05 and found["eigenvectors"].shape == (2, len(sigmas), 3, 6)
    # The same filter as a function.
    gains = np.diag(covariance).reshape(1, 1, 2, 3)

    def shrink(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        return x * gains / (gains + sigma[:, None, None, None] ** 2)

    again = studies.jacobian(shrink, 1, components=3, steps=3, whole=True, **RANGE)
    sigmas = again["sigmas"]
    expected = np.diag(covariance)[:3] / (np.diag(covariance)[:3] + sigmas[:, None] ** 2)
    assert np.allclose(again["eigenvalues"][0], expected, atol=2e-3)


def test_a_network(digits: downhill.Model) -> None:
    found = studies.norms(digits, 2, steps=3)
    assert found["norms"].shape == (3, 2) and 0.5 < np.median(found["norms"]) < 1.5
    samples = digits.sample(2, steps=3).samples
    assert studies.error(digits, samples, 2, levels=2)["errors"].shape == (2, 2)


def test_refusals(digits: downhill.Model) -> None:
    for call, message in [
        (lambda: studies.norms(posterior_mean, 2, steps=2, sigma_max=2.0, sigma_min=0.1), "`shape`"),
        (lambda: studies.norms(posterior_mean, 2, steps=2, shape=(1, 2, 3)), "range of noise"),
        (lambda: studies.norms(posterior_mean, 2, shape=(1, 2, 3), sigma_max=2.0), "one of `sigma_max`"),
        (lambda: studies.norms(posterior_mean, 0, **RANGE), "no images"),
        (lambda: studies.norms(posterior_mean, 2, gives="x", **RANGE), "`gives`"),
        (lambda: studies.norms(digits, 2, shape=(1, 28, 28)), "of a model"),
        (lambda: studies.projection(posterior_mean, POINTS[:, :, :1], 2, **RANGE), "3 values per sample"),
        (lambda: studies.error_model(posterior_mean, 2, share=0.0, **RANGE), "`share` of 0"),
        (lambda: studies.jacobian(posterior_mean, 1, components=7, **RANGE), "7 components"),
        (lambda: studies.norms(lambda x, sigma: x[:1], 2, steps=2, **RANGE), "returned shape"),
        (lambda: studies.transition(samples=1), "without data"),
        (lambda: studies.baseline(POINTS, 7), "7 components"),
    ]:
        with pytest.raises(downhill.ArgumentError, match=message):
            call()
    with pytest.raises(ZeroDivisionError):
        studies.norms(lambda x, sigma: 1 / 0, 2, steps=2, **RANGE)

    def stop(units: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        studies.norms(posterior_mean, 2, steps=2, progress=stop, **RANGE)
    with pytest.raises(downhill.NotFoundError, match="no array `norm`"):
        studies.norms(posterior_mean, 2, steps=2, **RANGE)["norm"]


def test_studies_of_data() -> None:
    X = np.random.default_rng(1).standard_normal((60, 5)) * [3.0, 2.0, 1.0, 0.5, 0.2]
    product = studies.product(X, 2, steps=3, eps=np.eye(5))
    chain = linear.chain(X, 2, steps=3)
    assert np.allclose(product["log_norm"], chain.log_norms, atol=1e-6)
    assert np.allclose(product["product"], chain.product(), atol=1e-6)
    assert np.allclose(product["energy"], chain.energy_of(np.eye(5)), atol=1e-6)
    angles, again = studies.angles(X, 2, steps=3, draws=2), linear.angles(X, 2, steps=3, draws=2)
    assert np.allclose(angles["sines"], again.sines, atol=1e-6) and "angles" in angles.figures
    energy = studies.energy(X, 2, steps=[2, 4], draws=2)
    assert energy["energy"].shape[1:] == (2, 2) and np.allclose(energy["energy"].sum(-1), 1, atol=1e-5)
    transition = studies.transition(samples=50, gammas=[0.2], ratios=[0.1, 8.0], draws=3)
    cosines = transition.tables["transition"]
    assert len(next(iter(cosines.values()))) == 2
    baseline = studies.baseline(X, 3, steps=[4], draws=8)
    values = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1][:3]
    assert np.allclose(baseline["eigenvalues"], values, rtol=1e-4)
    assert np.allclose(baseline["gains"], baseline["formulas"], atol=1e-4)
    schedules = studies.schedules(X, 2, steps=3, repeats=1, probes=2)
    assert schedules.tables and schedules.figures


def test_the_dimension_of_data() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 6))
    found = studies.dimension(X, queries=50, neighbours=8, neighbourhoods=5, drawn=4)
    assert found.report and found.tables


def test_plots() -> None:
    pytest.importorskip("matplotlib")
    from downhill.plots import plot

    X = np.random.default_rng(1).standard_normal((40, 5)) * [3.0, 2.0, 1.0, 0.5, 0.2]
    all_of_them = [
        studies.norms(posterior_mean, 3, steps=4, **RANGE),
        studies.product(X, 2, steps=3),
        studies.angles(X, 2, steps=3, draws=2),
        studies.energy(X, 2, steps=[2, 4], draws=2),
        studies.promise(0.1, 2.0, [8.0, 6.0, 4.5]),
        studies.transition(samples=30, gammas=[0.2], ratios=[0.5, 8.0], draws=2),
    ]
    for results in all_of_them:
        assert results.figures
        for name, picture in results.figures.items():
            figure = plot(results, name)
            panels = [axes for axes in figure.axes if axes.get_title() or axes.get_xlabel()]
            assert len(panels) >= len(picture["panels"])
            figure.canvas.draw()
    norms = all_of_them[0]
    heat, curves = norms.figures["norms"]["panels"]
    assert "values" in heat and heat["values"].shape[1] == 4 and "series" in curves
    figure = plot(norms)
    assert figure.get_suptitle() == norms.figures["norms"]["title"]
    axes = next(axes for axes in figure.axes if axes.get_title() == curves["title"])
    drawn = axes.get_lines()[0].get_xydata()
    assert np.allclose(drawn, curves["series"][0]["points"])
    with pytest.raises(downhill.NotFoundError, match="no figure `curve`"):
        plot(norms, "curve")
