"""Estimators of scikit-learn: principal components, and chains of linear diffusion.

They need scikit-learn 1.6 or newer: `pip install "downhill[sklearn]"`.
"""

from __future__ import annotations

from operator import index
from typing import Any, TypeAlias

import numpy as np

from . import _core
from ._data import engine_of
from ._errors import ArgumentError, NonFiniteError

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin  # pyright: ignore
    from sklearn.utils import assert_all_finite, check_random_state  # pyright: ignore
    from sklearn.utils.validation import check_is_fitted, validate_data  # pyright: ignore
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "the estimators of downhill need scikit-learn 1.6 or newer: `pip install scikit-learn`"
    ) from error

Array: TypeAlias = Any
"""An array of NumPy."""


def whole(number: Any) -> int | None:
    """Returns a whole number as `int`; `None` for anything else, and for `True`."""
    return index(number) if hasattr(number, "__index__") and not isinstance(number, bool) else None


class _Linear(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # pyright: ignore
    """The common part of the estimators: components, a mean, and what scikit-learn asks about them."""

    n_features_in_: int
    components_: Array

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # pyright: ignore
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]  # pyright: ignore
        return tags  # pyright: ignore

    def _seed(self, random_state: Any) -> int:
        seed = whole(random_state)
        if seed is not None and seed >= 0:
            return seed
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))  # pyright: ignore

    def _checked(self, X: Any, **rules: Any) -> Array:
        return validate_data(self, X, dtype=[np.float64, np.float32], **rules)  # pyright: ignore

    def _coordinates(self, X: Any) -> Array:
        along: Array = np.asarray(X)
        count = self.components_.shape[0]
        if along.ndim != 2 or along.shape[1] != count:
            raise ArgumentError(f"coordinates of shape {along.shape}", f"give (n_samples, {count})")
        return along


class PCA(_Linear):
    """Principal component analysis: the leading eigenvectors of the covariance of samples.

    The eigenpairs are found by the cheapest of three routes: from the covariance, from the inner products of the
    samples, or by block Lanczos on the device with neither matrix formed (`route` chooses one). Samples are read in
    place where the covariance of up to 1024 features gives a few components, and copied once otherwise. The mean and
    the differences from it are in float64, rounded to float32 where products are in float32; where these do not hold
    the eigenvalues beside the largest one, or miss `tol`, eigenpairs are brought to float64. Variances below about
    1e-12 of the largest values' squares are rounding.

    Parameters, attributes and signs are those of `sklearn.decomposition.PCA`.

    Args:
        n_components: the number of components; `None` for min(n_samples, n_features); a number between 0 and 1 for the
            fewest components whose variance is above that share of the total.
        whiten: divide the coordinates by their standard deviations.
        tol: the residual |C v - lambda v| of each eigenpair, over its eigenvalue, at which it counts as found.
        random_state: the seed of a solver's first vectors.
        route: `"moment"`, `"gram"` or `"matrix-free"`, in place of the cheapest one.
        adapter: the adapter of the device, as in `downhill.open`.

    Attributes:
        components_: orthonormal directions, (n_components, n_features), by variance, largest first. The entry of the
            largest magnitude of each is positive.
        explained_variance_: the variance along each, (n_components,), with the divisor n_samples - 1.
        explained_variance_ratio_: the same over the total variance.
        singular_values_: those of the centred samples, sqrt((n_samples - 1) variance).
        mean_: the mean of the samples, (n_features,).
        n_components_, n_features_in_, n_samples_: numbers.
        noise_variance_: the mean variance along the directions that were left out.
        residuals_: |C v - lambda v| of each eigenpair over its eigenvalue, measured with products in float64.
        route_, precision_: the route taken, and the bits of its products, 32 or 64.
        seconds_: the seconds that the library took.

    Raises:
        ValueError: for data or parameters that cannot be used.

    Source: the routes and their costs are those of `downhill linear pca`.
    """

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        whiten: bool = False,
        tol: float = 1e-6,
        random_state: Any = None,
        route: str | None = None,
        adapter: str | int | None = None,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.tol = tol
        self.random_state = random_state
        self.route = route
        self.adapter = adapter

    def fit(self, X: Any, y: Any = None) -> PCA:
        """Finds the components of samples X, (n_samples, n_features), float64 or float32."""
        samples = self._checked(X, order="C", ensure_min_samples=2, ensure_all_finite=False)
        count = self._count(samples.shape)
        seed = self._seed(self.random_state)
        try:
            found = _core.principal_components(
                engine_of(self.adapter), samples, count, float(self.tol), seed, self.route
            )
        except NonFiniteError:
            # In the words of scikit-learn, which name the estimator.
            assert_all_finite(samples, estimator_name=type(self).__name__, input_name="X")
            raise
        n, features = samples.shape
        scale = n / (n - 1)
        variances = np.maximum(found["values"], 0.0) * scale
        total = found["variance"] * scale
        kept = self._kept(variances, total)
        vectors = found["vectors"][:kept]
        # As `svd_flip` of scikit-learn has them.
        signs = np.sign(vectors[np.arange(kept), np.argmax(np.abs(vectors), axis=1)])
        self.components_ = (vectors * np.where(signs == 0, 1, signs)[:, None]).astype(samples.dtype, copy=False)
        self.explained_variance_ = variances[:kept]
        self.explained_variance_ratio_ = variances[:kept] / total if total > 0 else np.zeros(kept)
        self.singular_values_ = np.sqrt(variances[:kept] * (n - 1))
        self.mean_ = found["mean"].astype(samples.dtype)
        self.n_components_ = kept
        self.n_samples_ = n
        rest = min(n, features) - kept
        self.noise_variance_ = max(total - float(variances[:kept].sum()), 0.0) / rest if rest else 0.0
        self.residuals_ = found["residuals"][:kept]
        self.route_ = found["route"]
        self.precision_ = found["arithmetic"]
        self.seconds_ = found["seconds"]
        return self

    def _count(self, shape: tuple[int, ...]) -> int:
        """Returns the number of eigenpairs to find."""
        most = min(shape)
        given: Any = self.n_components
        count = whole(given)
        if given is None or (isinstance(given, float) and 0 < given < 1):
            return most
        if count is not None and 1 <= count <= most:
            return count
        raise ArgumentError(
            f"n_components={given!r} of samples of shape {shape}",
            f"give a whole number from 1 to min(n_samples, n_features)={most}, a share between 0 and 1, or None",
        )

    def _kept(self, variances: Array, total: float) -> int:
        """Returns the number of components that are kept of those found."""
        given: Any = self.n_components
        if given is None or whole(given) is not None:
            return len(variances)
        shares = np.cumsum(variances) / total if total > 0 else np.ones(len(variances))
        return min(int(np.searchsorted(shares, float(given), side="right")) + 1, len(variances))

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Array:
        """Finds the components of samples and returns their coordinates, (n_samples, n_components)."""
        if fit_params:
            raise TypeError(f"fit_transform() got an unexpected keyword argument {next(iter(fit_params))!r}")
        return self.fit(X, y).transform(X)

    def transform(self, X: Any) -> Array:
        """Returns the coordinates of samples along the components, (n_samples, n_components)."""
        check_is_fitted(self)
        along = self._checked(X, reset=False) @ self.components_.T
        along -= (self.mean_[None] @ self.components_.T).astype(along.dtype)
        if self.whiten:
            along /= self._deviations().astype(along.dtype)
        return along

    def inverse_transform(self, X: Any) -> Array:
        """Returns the samples of coordinates, (n_samples, n_features): the projections of the samples they are of."""
        check_is_fitted(self)
        along = self._coordinates(X)
        if self.whiten:
            along = along * self._deviations()
        return along @ self.components_ + self.mean_

    def _deviations(self) -> Array:
        deviations = np.sqrt(self.explained_variance_)
        return np.maximum(deviations, np.finfo(self.components_.dtype).eps)

    def get_covariance(self) -> Array:
        """Returns the covariance of the model, (n_features, n_features), float64.

        It is W' diag(lambda - s) W + s I, with the components W, their variances lambda and `noise_variance_` s.

        Source: Tipping and Bishop 1999, probabilistic principal component analysis.
        """
        check_is_fitted(self)
        directions = self.components_.astype(np.float64)
        above = np.maximum(self.explained_variance_ - self.noise_variance_, 0.0)
        covariance = (directions.T * above) @ directions
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self) -> Array:
        """Returns the inverse of `get_covariance`."""
        return np.linalg.inv(self.get_covariance())  # pyright: ignore


class LinearDiffusion(_Linear):
    """Linear diffusion: a chain of projections on principal components, from much noise to none.

    At level t the samples x_0 are under noise of variance s_t^2, and U_t are the leading components of x_t. The chain
    of denoisers, each the projection on the components of its level, is the product

        P = U_0 U_0' U_1 U_1' ... U_T U_T' = U_0 C_T U_T'

    `transform` applies it, `sample` samples with it.

    Args:
        n_components: the number of components kept per level; `None` for 8, or fewer where data have fewer.
        steps: the number of steps, T.
        schedule: the noise that steps add: `"constant"`, the same at each step, with a total of `variance`;
            `"geometric"`, variances that fall by `ratio` from step to step; `"inverse"`, 1 / T at each step.
        variance: the total variance of the noise.
        ratio: the variance of a step over that of the step before.
        sigmas: standard deviations of the noise of each step, in place of a schedule.
        coupling: of the noise of different levels: `"nested"`, each level adds its part to the level before;
            `"fresh"`, independent noise on x_0 at each level; `"shared"`, one draw on x_0, scaled.
        normalised: apply P over its Frobenius norm in `transform`. P itself is small after many levels.
        random_state: the seed of the noise.
        adapter: the adapter of the device, as in `downhill.open`.

    Attributes:
        components_: U_0 as rows, (n_components, n_features), orthonormal.
        last_components_: U_T as rows.
        bases_: U_t of all levels, (steps + 1, n_components, n_features), float32.
        eigenvalues_: the leading eigenvalues of x_t' x_t / n, (steps + 1, n_components).
        explained_variance_: those of level 0.
        cos_adjacent_: |cos| of each component at levels t and t + 1, (steps, n_components).
        cos_to_first_: |cos| of each component at levels t and 0, (steps + 1, n_components).
        partial_products_: C_t of Frobenius norm 1, (steps + 1, n_components, n_components).
        log_norms_: the natural logarithm of the Frobenius norm of the product up to each level, (steps + 1,).
        overlaps_: U_t' U_(t+1), (steps, n_components, n_components).
        energy_: the mean energy of P_t eps along each component of level 0 for white eps, over their sum,
            (steps + 1, n_components).
        participation_ratio_: the effective number of modes of `energy_`, (steps + 1,).
        sigmas_: the noise of each step, (steps,).
        levels_: s_t, the deviation of all noise up to each level, (steps + 1,).
        mean_: the mean of the samples, (n_features,).
        n_components_, n_features_in_, n_samples_: numbers.

    Source: Weitzner et al. 2024, arXiv 2410.14730, equations 10, 11, 13, 25 and 26.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        steps: int = 40,
        schedule: str = "constant",
        variance: float = 1.0,
        ratio: float = 0.9,
        sigmas: Any = None,
        coupling: str = "nested",
        normalised: bool = False,
        random_state: Any = None,
        adapter: str | int | None = None,
    ) -> None:
        self.n_components = n_components
        self.steps = steps
        self.schedule = schedule
        self.variance = variance
        self.ratio = ratio
        self.sigmas = sigmas
        self.coupling = coupling
        self.normalised = normalised
        self.random_state = random_state
        self.adapter = adapter

    def fit(self, X: Any, y: Any = None) -> LinearDiffusion:
        """Runs the chain on samples X, (n_samples, n_features), around their mean."""
        from .linear import chain

        samples = self._checked(X, ensure_min_samples=2)
        most = samples.shape[1]
        count = min(8, *samples.shape) if self.n_components is None else whole(self.n_components)
        if count is None or not 1 <= count <= most:
            raise ArgumentError(
                f"n_components={self.n_components!r} of samples of {most} features",
                f"give a whole number from 1 to {most}, or None",
            )
        found = chain(
            samples,
            count,
            steps=self.steps,
            schedule=self.schedule,
            variance=self.variance,
            ratio=self.ratio,
            sigmas=self.sigmas,
            coupling=self.coupling,
            center=True,
            seed=self._seed(self.random_state),
            adapter=self.adapter,
        )
        self.components_ = found.components.astype(samples.dtype, copy=False)
        self.last_components_ = found.last_components.astype(samples.dtype, copy=False)
        self.bases_ = found.bases
        self.eigenvalues_ = found.eigenvalues
        self.explained_variance_ = found.eigenvalues[0]
        self.cos_adjacent_ = found.cos_adjacent
        self.cos_to_first_ = found.cos_to_first
        self.partial_products_ = found.partial_products
        self.log_norms_ = found.log_norms
        self.overlaps_ = found.overlaps
        self.energy_ = found.energy
        self.participation_ratio_ = found.participation_ratio
        self.sigmas_ = found.sigmas
        self.levels_ = found.levels
        assert found.mean is not None
        self.mean_ = found.mean.astype(samples.dtype)
        self.n_components_ = count
        self.n_samples_ = samples.shape[0]
        return self

    def transform(self, X: Any) -> Array:
        """Returns P (x - mean) of samples as coordinates along `components_`, (n_samples, n_components)."""
        check_is_fitted(self)
        samples = self._checked(X, reset=False)
        norm = 1.0 if self.normalised else float(np.exp(self.log_norms_[-1]))
        matrix = norm * (self.partial_products_[-1] @ self.last_components_)
        along = samples @ matrix.T.astype(samples.dtype)
        along -= (self.mean_[None].astype(np.float64) @ matrix.T).astype(along.dtype)
        return along

    def inverse_transform(self, X: Any) -> Array:
        """Returns mean + U_0 x for coordinates x along `components_`, (n_samples, n_features)."""
        check_is_fitted(self)
        return self._coordinates(X) @ self.components_ + self.mean_

    def product(self) -> Array:
        """Returns P over its Frobenius norm, (n_features, n_features), float64."""
        check_is_fitted(self)
        left = self.components_.astype(np.float64).T @ self.partial_products_[-1]
        return left @ self.last_components_.astype(np.float64)

    def sample(self, n_samples: int = 1, *, eta: float = 0.0, random_state: Any = None) -> Array:
        """Returns samples of the chain, (n_samples, n_features), float64.

        A sample begins as noise of deviation s_T around the mean, a_T = U_T' x, and goes down the levels,
        a_t = U_t' U_(t+1) a_(t+1) + eta w with white w; it ends as mean + U_0 a_0. Without `eta` it is mean + P x.

        Args:
            n_samples: the number of samples.
            eta: the deviation of the noise that is injected at each level.
            random_state: the seed of all of its noise.
        """
        check_is_fitted(self)
        random = check_random_state(random_state)  # pyright: ignore
        shape = (n_samples, self.n_components_)
        along = self.levels_[-1] * random.standard_normal(shape)  # pyright: ignore
        for overlap in self.overlaps_[::-1]:
            along = along @ overlap.T
            if eta:
                along = along + eta * random.standard_normal(shape)  # pyright: ignore
        return along @ self.components_.astype(np.float64) + self.mean_


__all__ = ["PCA", "LinearDiffusion"]
