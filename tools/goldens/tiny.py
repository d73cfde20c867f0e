"""Small random `AutoencoderTiny` folders (TAESD) with diffusers' output in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/tiny/NAME`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from . import exact
from .unets import randomise, relative_error

# name: what it touches, config, latent (height, width)
CASES = {
    "taesd-like": (
        "four levels of the published shape with few channels; latents beyond the clamp",
        dict(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4),
        (3, 4),
    ),
    "other-fields": (
        "two levels, other channels in each half and in latents, images of one channel in and two out, gelu, scale and "
        "shift of latents",
        dict(encoder_block_out_channels=(6, 6), decoder_block_out_channels=(5, 5), num_encoder_blocks=(2, 1),
             num_decoder_blocks=(1, 2), act_fn="gelu", in_channels=1, out_channels=2, latent_channels=3,
             scaling_factor=0.7, shift_factor=0.2),
        (5, 3),
    ),
}


@torch.no_grad()
def write_case(folder, seed, touches, fields, size):
    shutil.rmtree(folder, ignore_errors=True)
    network = AutoencoderTiny(**fields).eval()
    randomise(network, seed)
    network = network.half()
    network.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    generator = np.random.default_rng(seed + 1)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    factor = 2 ** (len(network.config.encoder_block_out_channels) - 1)
    latent = 3 * draw(2, network.config.latent_channels, *size)
    image = draw(2, network.config.in_channels, factor * size[0], factor * size[1]).clamp(-1, 1)
    network.float()
    single = [network.decode(latent).sample, network.encode(image).latents]
    exact.to_float64(network)
    found = [network.decode(latent.double()).sample, network.encode(image.double()).latents]
    for name, value in zip(("latent", "image", "decoded", "encoded"), (latent, image, *found)):
        np.save(folder / f"{name}.npy", value.numpy().astype(np.float32))
    golden = {
        "touches": touches,
        "parameters": sum(p.numel() for p in network.parameters()),
        "output_std": [round(float(value.std()), 4) for value in found],
        "float32_error": [float(f"{relative_error(a, b):.2e}") for a, b in zip(single, found)],
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        print(name, write_case(Path(folder) / name, 17000 * (seed + 1), *case))
