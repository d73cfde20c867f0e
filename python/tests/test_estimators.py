"""The estimators against scikit-learn and NumPy."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import downhill

decomposition = pytest.importorskip("sklearn.decomposition")

from sklearn.base import clone  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402


def decaying(samples: int, features: int, seed: int = 0, rate: float = 0.85) -> np.ndarray:
    """Samples with well-separated variances and a mean, float64."""
    rng = np.random.default_rng(seed)
    scales = rate ** np.arange(features)
    rotation, _ = np.linalg.qr(rng.standard_normal((features, features)))
    return (rng.standard_normal((samples, features)) * scales) @ rotation + rng.standard_normal(features)


@parametrize_with_checks([downhill.PCA(), downhill.PCA(n_components=1, whiten=True), downhill.LinearDiffusion(steps=3)])
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


SHAPES = [(40, 7, 3), (7, 40, 3), (33, 33, 5), (5, 2, 1), (2, 5, 1), (130, 65, 9), (64, 1, 1), (301, 17, 17)]
SHAPES += [(300, 40, 5), (1100, 130, 16)]


@pytest.mark.parametrize(("samples", "features", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pca_is_that_of_scikit_learn(samples: int, features: int, k: int, dtype: type) -> None:
    X = decaying(samples, features).astype(dtype)
    ours = downhill.PCA(k, random_state=0).fit(X)
    theirs = decomposition.PCA(k, svd_solver="full").fit(X.astype(np.float64))
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-5)
    assert np.allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-5)
    assert np.allclose(ours.singular_values_, theirs.singular_values_, rtol=1e-5)
    assert np.allclose(ours.components_, theirs.components_, atol=1e-5)
    assert np.allclose(ours.mean_, theirs.mean_, rtol=1e-6)
    largest = theirs.explained_variance_[0]
    assert np.isclose(ours.noise_variance_, theirs.noise_variance_, rtol=1e-5, atol=2e-7 * largest)
    assert np.allclose(ours.get_covariance(), theirs.get_covariance(), atol=1e-5 * largest)
    if theirs.noise_variance_ > 1e-9 * largest:
        precision = theirs.get_precision()
        assert np.allclose(ours.get_precision(), precision, atol=1e-4 * np.abs(precision).max())
    assert (ours.n_components_, ours.n_features_in_, ours.n_samples_) == (k, features, samples)
    assert ours.components_.dtype == ours.mean_.dtype == dtype
    along = ours.transform(X)
    assert along.dtype == dtype and np.allclose(along, theirs.transform(X), atol=2e-5 * np.sqrt(largest))
    assert np.allclose(ours.inverse_transform(along), theirs.inverse_transform(theirs.transform(X)), atol=1e-4)
    assert np.allclose(ours.fit_transform(X), along, atol=1e-5)
    assert list(ours.get_feature_names_out()) == [f"pca{i}" for i in range(k)]
    assert np.all(ours.residuals_ < 1e-5)


@pytest.mark.parametrize("route", ["moment", "gram", "matrix-free"])
def test_all_routes_find_the_same_components(route: str) -> None:
    X = decaying(60, 24)
    ours = downhill.PCA(4, route=route, random_state=1).fit(X)
    theirs = decomposition.PCA(4, svd_solver="full").fit(X)
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-5)
    assert np.allclose(ours.components_, theirs.components_, atol=1e-5)
    assert ours.route_.startswith({"moment": "second", "gram": "Gram", "matrix-free": "matrix"}[route])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_few_components_of_many_rows_are_refined_in_place(dtype: type) -> None:
    # More rows than one block of any kind, and variances of which float32 alone would miss the tolerance.
    X = decaying(5000, 33, rate=0.5).astype(dtype)
    ours = downhill.PCA(4, tol=1e-9, random_state=0).fit(X)
    theirs = decomposition.PCA(4, svd_solver="full").fit(X.astype(np.float64))
    assert (ours.route_, ours.precision_) == ("second-moment matrix", 64) and ours.residuals_.max() < 1e-9
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-9)
    assert np.allclose(ours.components_, theirs.components_, atol=2e-7)
    assert np.isclose(ours.noise_variance_, theirs.noise_variance_, rtol=1e-5)
    # Beside a large mean, and far from one.
    for scale, mean in [(1.0, 1e3), (1e-12, 0.0), (1e12, 0.0)]:
        scaled = X.astype(np.float64) * scale + mean
        moved = downhill.PCA(4, random_state=0).fit(scaled)
        assert np.allclose(moved.explained_variance_, theirs.explained_variance_ * scale**2, rtol=1e-6)
        assert np.allclose(moved.components_, theirs.components_, atol=1e-5)


def test_pca_of_repeated_variances_finds_their_subspace() -> None:
    rng = np.random.default_rng(3)
    rotation, _ = np.linalg.qr(rng.standard_normal((20, 20)))
    signs = np.concatenate([np.eye(20), -np.eye(20)]) * np.repeat([3.0, 3.0, 3.0, 1.0], 5)
    X = signs @ rotation
    ours = downhill.PCA(15).fit(X)
    theirs = decomposition.PCA(15).fit(X)
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-5)
    projections = [pca.components_.T @ pca.components_ for pca in (ours, theirs)]
    assert np.allclose(*projections, atol=1e-5)
    assert np.allclose(ours.components_ @ ours.components_.T, np.eye(15), atol=1e-5)


def test_pca_of_a_large_mean_and_small_variances() -> None:
    X = 1e3 + 1e-3 * decaying(50, 6, rate=0.5)
    ours, theirs = downhill.PCA().fit(X), decomposition.PCA(svd_solver="full").fit(X)
    assert np.allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-5)
    assert np.allclose(ours.components_, theirs.components_, atol=1e-5)
    constant = downhill.PCA(2).fit(np.full((5, 3), 7.0))
    assert np.array_equal(constant.explained_variance_, [0, 0]) and np.array_equal(constant.mean_, [7, 7, 7])


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_share_of_the_variance(share: float) -> None:
    X = decaying(80, 12)
    ours, theirs = downhill.PCA(share).fit(X), decomposition.PCA(share, svd_solver="full").fit(X)
    assert ours.n_components_ == theirs.n_components_
    assert np.allclose(ours.noise_variance_, theirs.noise_variance_, rtol=1e-5)


def test_whitening() -> None:
    X = decaying(90, 10)
    ours, theirs = downhill.PCA(4, whiten=True).fit(X), decomposition.PCA(4, whiten=True, svd_solver="full").fit(X)
    along = ours.transform(X)
    assert np.allclose(along, theirs.transform(X), atol=1e-4)
    assert np.allclose(np.cov(along.T), np.eye(4), atol=1e-4)
    assert np.allclose(ours.inverse_transform(along), theirs.inverse_transform(theirs.transform(X)), atol=1e-4)


def test_pca_in_the_company_of_scikit_learn() -> None:
    X = decaying(70, 9)
    pipeline = make_pipeline(StandardScaler(), downhill.PCA(3, random_state=0)).fit(X)
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.transform(X), pipeline.transform(X))
    assert clone(pipeline[-1]).get_params()["n_components"] == 3
    # The same seed, the same bits.
    first, second = (downhill.PCA(3, random_state=5).fit(X).components_ for _ in range(2))
    assert np.array_equal(first, second)
    X.flags.writeable = False
    before = X.copy()
    downhill.PCA(2).fit_transform(X)
    assert np.array_equal(X, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, "n_components=0"),
        ({"n_components": 9}, "n_components=9"),
        ({"n_components": 1.5}, "n_components=1.5"),
        ({"n_components": True}, "n_components=True"),
        ({"route": "shortest"}, "`route` of `shortest`"),
        ({"tol": 0.0}, "a tolerance of 0"),
    ],
)
def test_pca_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        downhill.PCA(**arguments).fit(decaying(20, 8))


def test_values_that_are_not_finite_are_refused_in_the_words_of_scikit_learn() -> None:
    X = decaying(20, 8)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN.\nPCA does not accept"):
        downhill.PCA().fit(X)


def test_linear_diffusion_applies_the_product_of_projections() -> None:
    X = decaying(60, 12, rate=0.7)
    sigmas = np.array([0.1, 0.2, 0.1])
    model = downhill.LinearDiffusion(3, sigmas=sigmas, random_state=4).fit(X)
    assert model.bases_.shape == (4, 3, 12) and model.partial_products_.shape == (4, 3, 3)
    # The bases are those of some draw of the noise; their product follows from them.
    product = np.eye(12)
    for basis in model.bases_.astype(np.float64):
        product = product @ basis.T @ basis
    assert np.isclose(np.log(np.linalg.norm(product)), model.log_norms_[-1], atol=1e-6)
    assert np.allclose(model.product(), product / np.linalg.norm(product), atol=1e-6)
    centred = X - X.mean(0)
    back = model.inverse_transform(model.transform(X)) - X.mean(0)
    assert np.allclose(back, centred @ product.T, atol=1e-5)
    normalised = downhill.LinearDiffusion(3, sigmas=sigmas, random_state=4, normalised=True).fit(X)
    assert np.allclose(normalised.transform(X) * np.linalg.norm(product), model.transform(X), atol=1e-5)
    # Level 0 has no noise.
    pca = decomposition.PCA(3, svd_solver="full").fit(X)
    assert np.allclose(model.components_ * np.sign((model.components_ * pca.components_).sum(1))[:, None],
                       pca.components_, atol=1e-5)  # fmt: skip
    assert np.allclose(model.explained_variance_, pca.explained_variance_ * 59 / 60, rtol=1e-5)
    assert np.allclose(model.levels_, [0, 0.1, np.sqrt(0.05), np.sqrt(0.06)])
    overlaps = np.einsum("tip,tjp->tij", model.bases_[:-1], model.bases_[1:])
    assert np.allclose(model.overlaps_, overlaps, atol=1e-6)
    assert np.allclose(model.cos_adjacent_, np.abs(np.einsum("tii->ti", overlaps)), atol=1e-6)
    assert np.allclose(model.energy_.sum(1), 1)


@pytest.mark.parametrize("coupling", ["nested", "fresh", "shared"])
def test_samples_of_linear_diffusion_have_the_covariance_of_its_product(coupling: str) -> None:
    X = decaying(50, 8, rate=0.6)
    model = downhill.LinearDiffusion(3, steps=4, variance=0.5, coupling=coupling, random_state=0).fit(X)
    product = model.product() * np.exp(model.log_norms_[-1])
    samples = model.sample(20_000, random_state=1)
    assert samples.shape == (20_000, 8) and np.allclose(samples.mean(0), X.mean(0), atol=0.05)
    covariance = 0.5 * product @ product.T
    assert np.allclose(np.cov(samples.T), covariance, atol=0.03 * np.abs(covariance).max())
    assert np.array_equal(samples, model.sample(20_000, random_state=1))
    # Injected noise adds to every kept mode.
    injected = np.cov(model.sample(20_000, eta=0.3, random_state=1).T)
    assert np.trace(injected) > np.trace(covariance) + 3 * 0.3**2


def test_linear_diffusion_refuses() -> None:
    X = decaying(20, 8)
    for arguments, message in [
        ({"n_components": 9}, "n_components=9"),
        ({"coupling": "loose"}, "`loose`"),
        ({"schedule": "steep"}, "`steep`"),
        ({"variance": -1.0}, "`variance` of -1"),
        ({"sigmas": [0.1, -0.2]}, "-0.2"),
        ({"steps": 0}, "`steps` of 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            downhill.LinearDiffusion(**arguments).fit(X)
