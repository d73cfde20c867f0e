"""Chains of projections on the principal components of noisy data, in float64 by NumPy.

Used by `tools/make_goldens.py`; has no command of its own.
"""

import numpy as np

CASES = {
    # name: (samples, values, standard deviations of the leading directions, of the noise, mean, sigmas, components)
    "tall": (60, 14, [5, 4, 3, 2], 0.1, 0.0, [0.5, 0.5, 1.0, 0.25, 0.0, 1.5], 3),
    "wide": (12, 20, [6, 4, 2.5], 0.05, 0.0, [0.2, 0.4, 0.8], 2),
    "uncentred": (30, 9, [3, 2, 1], 0.2, 2.0, [0.3, 0.3, 0.3, 0.3], 4),
}
COUPLINGS = ("nested", "fresh", "shared")


def write_all(folder):
    for seed, (name, (samples, values, deviations, noise, mean, sigmas, k)) in enumerate(CASES.items()):
        random = np.random.default_rng(100 + seed)
        directions, _ = np.linalg.qr(random.standard_normal((values, len(deviations))))
        x = random.standard_normal((samples, len(deviations))) * deviations @ directions.T
        x = (x + noise * random.standard_normal((samples, values)) + mean).astype(np.float32)
        xi = random.standard_normal((len(sigmas), samples, values)).astype(np.float32)
        eps = random.standard_normal((5, values)).astype(np.float32)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, array in {"x": x, "noise": xi, "eps": eps, "sigmas": np.array(sigmas)}.items():
            np.save(folder / name / f"{file}.npy", array)
        for coupling in COUPLINGS:
            write(folder / name / coupling, levels(x, xi, sigmas, coupling), k, eps.astype(np.float64))


def levels(x, xi, sigmas, coupling):
    """x_0 ... x_T."""
    x, xi = x.astype(np.float64), xi.astype(np.float64)
    total = np.sqrt(np.cumsum(np.square(sigmas)))
    yield x
    nested = x
    for t, sigma in enumerate(sigmas):
        nested = nested + sigma * xi[t]
        yield {"nested": nested, "fresh": x + total[t] * xi[t], "shared": x + total[t] * xi[0]}[coupling]


def write(folder, levels, k, eps):
    folder.mkdir(exist_ok=True)
    bases = []
    for x in levels:
        _, vectors = np.linalg.eigh(x.T @ x / len(x))
        bases.append(vectors[:, ::-1][:, :k])
    cosines = lambda a, b: np.abs(np.sum(a * b, axis=0))
    # The product as it is defined, (p, p) at a time.
    product, log_norm = np.eye(len(bases[0])), []
    for u in bases:
        product = product @ (u @ u.T)
        log_norm.append(np.log(np.linalg.norm(product)))
    energies = np.square(eps @ product.T @ bases[0]).sum(axis=0)
    arrays = {
        "basis": np.stack([u.T for u in bases]),
        "cos_adjacent": np.stack([cosines(a, b) for a, b in zip(bases, bases[1:])]),
        "cos_to_first": np.stack([cosines(bases[0], u) for u in bases]),
        "product": product / np.linalg.norm(product),
        "log_norm": np.array(log_norm),
        "energy": energies / energies.sum(),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
