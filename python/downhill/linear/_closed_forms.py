"""Denoisers that an array determines."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._arrays import ArrayLike, Floats, floats, numpy_of
from .._arrays import like as like_of
from .._data import engine_of, samples_of
from .._errors import ArgumentError
from .._model import Model


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

    def jvp(self, x: ArrayLike, v: ArrayLike, sigma: ArrayLike, *, like: Any = None, **conditions: Any) -> Any:
        """Returns J v, the product of the Jacobian of x0(x, sigma) in x and one vector per sample.

        Args:
            x: samples, (n, *sample_shape), or one.
            v: vectors in the shape of `x`; k of them per sample are images, as in `Model.jvp`.
            sigma: the noise level, above 0: one, or one per sample.
            like: the library of the result, as in `Model.denoise`.
            conditions: those of a network; a closed form takes none.
        """
        array = floats(v, "v")
        if array.ndim == 5:
            return super().jvp(x, v, sigma, like=like, **conditions)
        points, shape = self._images(x)
        vectors, of_vectors = self._images(array)
        if shape != of_vectors:
            raise ArgumentError(f"`v` of shape {of_vectors} for `x` of shape {shape}", "give a vector per sample")
        return like_of(np.reshape(super().jvp(points, vectors, sigma, **conditions), shape), like)

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
    return ClosedForm(_core.closed_form(engine_of(adapter), "pca", samples, k, noise, seed), tuple(samples.shape[1:]))


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
