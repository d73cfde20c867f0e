"""Times `downhill.PCA` beside the library's own time and scikit-learn's PCA, in one run.

    python python/benchmarks/pca.py                      # 60,000 x 784, 32 components
    python python/benchmarks/pca.py --data X.npy -k 16   # your samples

The solvers take turns, so that all of them see the same machine; the medians are printed. Errors are relative to
eigenpairs in float64 by LAPACK: of eigenvalues over each, of components the largest entry of the difference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

import downhill
from downhill import _core


def images(samples: int, features: int, seed: int) -> np.ndarray:
    """Samples whose variances decay as those of images, with a mean, float32."""
    rng = np.random.default_rng(seed)
    scales = (5.0 / (1 + np.arange(features)) ** 1.2).astype(np.float32)
    rotation, _ = np.linalg.qr(rng.standard_normal((features, features)))
    mixing = scales[:, None] * rotation.astype(np.float32)
    X = np.empty((samples, features), np.float32)
    for first in range(0, samples, 4096):
        block = X[first : first + 4096]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32) @ mixing + 0.5
    return X


def reference(X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading eigenpairs of the covariance in float64, signs as in scikit-learn."""
    mean = X.mean(0, dtype=np.float64)
    covariance = np.zeros((X.shape[1], X.shape[1]))
    for first in range(0, len(X), 4096):
        block = X[first : first + 4096] - mean
        covariance += block.T @ block
    values, vectors = np.linalg.eigh(covariance / (len(X) - 1))
    values, rows = values[::-1][:k], vectors[:, ::-1][:, :k].T
    return values, rows * np.sign(rows[np.arange(k), np.abs(rows).argmax(1)])[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--data", help="samples (n, ...), an .npy file")
    parser.add_argument("-k", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--full", action="store_true", help="time the solver `full`, too, which is slow")
    parser.add_argument("--adapter")
    options = parser.parse_args()
    X = images(options.samples, options.features, 0) if options.data is None else np.load(options.data)
    X = np.ascontiguousarray(X.reshape(len(X), -1), dtype=options.dtype)
    k, engine = options.k, _core.Engine(options.adapter, None)
    single = X.astype(np.float32)

    def ours() -> Any:
        return downhill.PCA(k, tol=options.tol, adapter=options.adapter, random_state=0).fit(X)

    def theirs(solver: str) -> Callable[[], Any]:
        return lambda: PCA(k, svd_solver=solver, random_state=0).fit(X)

    runs: dict[str, Callable[[], Any]] = {
        "library": lambda: _core.library_seconds(engine, single, k, options.tol),
        "the program's way": lambda: None,
        "downhill.PCA": ours,
        "sklearn covariance_eigh": theirs("covariance_eigh"),
        "sklearn randomized": theirs("randomized"),
        "sklearn arpack": theirs("arpack"),
    }
    if options.full:
        runs["sklearn full"] = theirs("full")
    values, components = reference(X, k)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Any] = {}
    for repeat in range(options.repeats + 1):
        for name, run in runs.items():
            begin = time.perf_counter()
            found[name] = run()
            elapsed = time.perf_counter() - begin
            # The library's own times are without the copy into its memory. The first round is for caches.
            own = {"library": 0, "the program's way": 1}.get(name)
            if repeat > 0:
                seconds[name].append(elapsed if own is None else found["library"][own])
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    print(f"{X.shape[0]} x {X.shape[1]} {X.dtype}, {k} components, medians of {options.repeats}")
    print(f"{'':26}{'seconds':>9}{'over library':>14}{'eigenvalues':>13}{'components':>12}")
    for name, median in medians.items():
        row = f"{name:26}{median:9.3f}{median / medians['library']:14.3f}"
        if name in ("downhill.PCA",) or name.startswith("sklearn"):
            pca = found[name]
            of_values = np.abs(pca.explained_variance_ / values - 1).max()
            row += f"{of_values:13.1e}{np.abs(pca.components_ - components).max():12.1e}"
        print(row)
    pca = found["downhill.PCA"]
    best = min((name for name in medians if name.startswith("sklearn")), key=medians.__getitem__)
    print(f"by the {pca.route_}, {pca.precision_} bits; {pca.seconds_:.3f} s in the library")
    print(f"downhill.PCA takes {medians['downhill.PCA'] / medians[best]:.2f} of the time of {best}")


if __name__ == "__main__":
    main()
