"""Jacobian-vector products of the networks in `tests/golden/unet`, by torch's forward-mode differentiation in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each of `CASES` becomes a folder `tests/golden/tangent/NAME`.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel

from . import exact

# Between them: every activation, attention of one and several heads, heads that fill no texel, modulated normalisations, means of
# 2 x 2 pixels and strided convolutions, odd channels, coefficients an image before and after the network, class embeddings.
CASES = [
    "cifar-like", "three-layers-wide", "groups-of-three", "head-dim-remainder", "odd-embedding", "resnet-blocks",
    "resnet-sampling", "mixed-sampling", "scale-shift", "fourier", "class-timestep", "class-identity", "one-level",
    "one-pixel",
]
REPEATS = 2


def products(network, x, timesteps, labels, tangents):
    """J v for each image of `x` (n, c, h, w) and each of its tangents (n, repeats, c, h, w)."""
    def answer(x):
        return network(x, timesteps, labels).sample

    original = exact.embeddings.get_timestep_embedding
    exact.embeddings.get_timestep_embedding = exact.timestep_embedding
    try:
        with torch.no_grad():
            columns = [torch.func.jvp(answer, (x,), (tangents[:, at],))[1] for at in range(tangents.shape[1])]
    finally:
        exact.embeddings.get_timestep_embedding = original
    return torch.stack(columns, dim=1)


def write_case(unet, folder, seed):
    network = exact.to_float64(UNet2DModel.from_pretrained(unet))
    x = torch.from_numpy(np.load(unet / "x.npy")).double()
    timesteps = torch.from_numpy(np.load(unet / "t.npy"))
    labels = torch.from_numpy(np.load(unet / "labels.npy")) if (unet / "labels.npy").exists() else None
    double = (lambda value: value.double() if value is not None and value.is_floating_point() else value)
    shape = (x.shape[0], REPEATS, *x.shape[1:])
    tangents = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    moved = products(network, x, double(timesteps), double(labels), torch.from_numpy(tangents).double())
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "tangent.npy", tangents.reshape(-1, *tangents.shape[2:]))
    np.save(folder / "product.npy", moved.reshape(-1, *moved.shape[2:]).numpy())
    return float(moved.std())


def write_all(golden):
    for seed, name in enumerate(CASES):
        spread = write_case(Path(golden) / "unet" / name, Path(golden) / "tangent" / name, 5000 + seed)
        print(f"{name:20} std of the products {spread:.3g}")
