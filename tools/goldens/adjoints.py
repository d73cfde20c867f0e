"""Vector-Jacobian products of the networks in `tests/golden/{unet,conditioned,latent,dit}`, by torch's autograd in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each of `CASES` becomes a folder `tests/golden/adjoint/NAME` with
the covector v, shaped like the output, and the product J' v, shaped like the images.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel

from . import dit, exact

# Between them: every activation, strided convolutions of either padding, means of 2 x 2, filters up and down, nearest neighbours at
# twice the size and at others, odd sides, attention of one and several heads to the map and to a context, gates, layer norms,
# modulated normalisations, coefficients before and after the network, learned variances, channels that are not denoised.
CASES = {
    "unet": [
        "cifar-like", "three-layers-wide", "groups-of-three", "head-dim-remainder", "odd-embedding", "resnet-blocks",
        "resnet-sampling", "mixed-sampling", "scale-shift", "fourier", "class-timestep", "class-identity", "one-level",
        "one-pixel", "ncsnpp-like", "skip-levels", "learned-variance", "learned-time",
    ],
    "conditioned": [
        "channels-without-head", "layers-in-lists", "other-kernels", "upscaler-like", "class-projection",
    ],
    "latent": ["sd1-like", "sd2-like", "sdxl-like", "odd-sizes"],
    "dit": ["dit-like", "another-size", "single-pixels"],
}
CLASSES = {"unet": UNet2DModel, "conditioned": UNet2DConditionModel, "latent": UNet2DConditionModel, "dit": DiTTransformer2DModel}


def call(part, folder):
    """The network as a function of its images in float64, and the images."""
    network = CLASSES[part].from_pretrained(folder / "unet" if part == "latent" else folder)
    stages = folder / "stages" if part == "latent" else folder
    read = lambda name: torch.from_numpy(np.load(stages / f"{name}.npy")) if (stages / f"{name}.npy").exists() else None
    double = lambda value: value.double() if value is not None and value.is_floating_point() else value
    x, t, labels = read("x").double(), double(read("t")), double(read("labels"))
    exact.to_float64(network)
    if part == "unet":
        return lambda x: network(x, t, labels).sample, x
    if part == "dit":
        dit.in_float64(network, x.shape[2:])
        return lambda x: network(x, timestep=t, class_labels=labels).sample, x
    added = {"text_embeds": double(read("pooled")), "time_ids": double(read("time_ids"))} if read("pooled") is not None else None
    context = double(read("context"))
    return lambda x: network(x, t, context, labels, added_cond_kwargs=added).sample, x


def write_case(part, source, folder, seed):
    answer, x = call(part, source)
    x.requires_grad_(True)
    with exact.float64_embeddings():
        output = answer(x)
        covector = np.random.default_rng(seed).standard_normal(output.shape).astype(np.float32)
        product, = torch.autograd.grad(output, x, torch.from_numpy(covector.astype(np.float64)))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "covector.npy", covector)
    np.save(folder / "product.npy", product.numpy())
    return float(product.std())


def write_all(golden):
    seed = 8000
    for part, names in CASES.items():
        for name in names:
            seed += 1
            spread = write_case(part, Path(golden) / part / name, Path(golden) / "adjoint" / f"{part}-{name}", seed)
            print(f"{part:12} {name:24} std of the products {spread:.3g}")
