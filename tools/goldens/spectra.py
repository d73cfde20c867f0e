"""Spectra of second moments by scipy and principal components by scikit-learn, in float64.

Used by `tools/make_goldens.py`; has no command of its own.
"""

import numpy as np
import scipy.linalg
from sklearn.decomposition import PCA

COUNT = 6
CASES = {
    # name: (samples, values, standard deviations of the leading directions, of the noise, mean)
    "tall": (60, 17, [5, 4, 3, 2, 1.5, 1.2], 0.1, 0.0),
    "wide": (19, 42, [5, 4, 3, 2, 1.5, 1.2], 0.1, 0.0),
    "uncentred": (50, 24, [5, 4, 3, 2, 1.5, 1.2], 0.1, 3.0),
    "rank-three": (40, 21, [5, 4, 3], 0.0, 0.0),
}


def write_all(folder):
    for seed, (name, (samples, values, deviations, noise, mean)) in enumerate(CASES.items()):
        random = np.random.default_rng(seed)
        directions, _ = np.linalg.qr(random.standard_normal((values, len(deviations))))
        signal = random.standard_normal((samples, len(deviations))) * deviations
        x = signal @ directions.T + noise * random.standard_normal((samples, values)) + mean
        x = x.astype(np.float32)
        write(folder / name, x)
    write_large_column(folder / "one-large-column")


def write_large_column(folder):
    """Samples with one value 10,000 times the others, and their leading eigenvalues without the mean."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(11).standard_normal((24, 96))
    x[:, 0] *= 1e4
    x = x.astype(np.float32)
    np.save(folder / "x.npy", x)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    lengths = scipy.linalg.svdvals(centred)[:4]
    np.save(folder / "centred_eigenvalues.npy", lengths**2 / len(x))


def write(folder, x):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "x.npy", x)
    x = x.astype(np.float64)
    eigenvalues, eigenvectors = scipy.linalg.eigh(x.T @ x / len(x))
    np.save(folder / "eigenvalues.npy", eigenvalues[::-1][:COUNT].copy())
    np.save(folder / "eigenvectors.npy", eigenvectors.T[::-1][:COUNT].copy())
    pca = PCA(COUNT, svd_solver="full").fit(x)
    # scikit-learn divides by n - 1.
    np.save(folder / "centred_eigenvalues.npy", pca.explained_variance_ * (len(x) - 1) / len(x))
    np.save(folder / "centred_eigenvectors.npy", np.ascontiguousarray(pca.components_))
