"""Small random `AutoencoderKL` folders with diffusers' output in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/autoencoder/NAME`; together with `tests/golden/latent` they touch every supported field.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from . import exact
from .unets import randomise, relative_error

# name: what it touches, config, latent (height, width)
CASES = {
    "attention-everywhere": (
        "attention in every level, gelu in the residual blocks, one channel in and two out, no quant convolution but a "
        "post-quant one, shift, means and deviations of the latents",
        dict(down_block_types=("AttnDownEncoderBlock2D",) * 2, up_block_types=("AttnUpDecoderBlock2D",) * 2,
             block_out_channels=(4, 8), layers_per_block=1, act_fn="gelu", in_channels=1, out_channels=2, latent_channels=5,
             norm_num_groups=2, use_quant_conv=False, scaling_factor=0.7, shift_factor=0.1,
             latents_mean=[0.1, 0.2, 0.3, 0.4, 0.5], latents_std=[1.0, 1.5, 2.0, 0.5, 3.0]),
        (3, 6),
    ),
    "no-attention": (
        "no attention in the middle, two levels of different channels over three, relu",
        dict(down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
             block_out_channels=(6, 4, 8), layers_per_block=1, act_fn="relu", mid_block_add_attention=False,
             norm_num_groups=2),
        (4, 3),
    ),
    "old-names": (
        "query, key, value and proj_attn as 1 x 1 convolutions, as early diffusers saved them; a configuration of few fields",
        dict(down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), block_out_channels=(8,),
             norm_num_groups=4),
        (5, 4),
    ),
}
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def to_old(folder):
    path = folder / "diffusion_pytorch_model.safetensors"
    renamed = {}
    for key, tensor in load_file(path).items():
        for new, old in OLD.items():
            if f".attentions.0.{new}." in key:
                key = key.replace(new, old)
                tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        renamed[key] = tensor.contiguous()
    save_file(renamed, path, metadata={"format": "pt"})
    fields = json.loads((folder / "config.json").read_text())
    kept = ("_class_name", "block_out_channels", "norm_num_groups")
    (folder / "config.json").write_text(json.dumps({name: fields[name] for name in kept}, indent=2) + "\n")


@torch.no_grad()
def write_case(folder, seed, touches, fields, size):
    shutil.rmtree(folder, ignore_errors=True)
    network = AutoencoderKL(**fields).eval()
    randomise(network, seed)
    network = network.half()
    network.save_pretrained(folder)
    if folder.name == "old-names":
        to_old(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)

    generator = np.random.default_rng(seed + 1)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    factor = 2 ** (len(fields["block_out_channels"]) - 1)
    latent = draw(2, network.config.latent_channels, *size)
    image = draw(2, network.config.in_channels, factor * size[0], factor * size[1]).clamp(-1, 1)
    network.float()
    single = [network.decode(latent).sample, network.encode(image).latent_dist.mean]
    if folder.name != "old-names":  # of which today's diffusers reads the names, but not the 1 x 1 kernels
        loaded = AutoencoderKL.from_pretrained(folder).float().eval()
        assert relative_error(loaded.decode(latent).sample, single[0]) < 1e-5, folder
    exact.to_float64(network)
    decoded, posterior = network.decode(latent.double()).sample, network.encode(image.double()).latent_dist
    for name, value in [("latent", latent), ("decoded", decoded), ("image", image), ("mean", posterior.mean),
                        ("logvar", posterior.logvar)]:
        np.save(folder / f"{name}.npy", value.numpy().astype(np.float32))
    golden = {
        "touches": touches,
        "parameters": sum(p.numel() for p in network.parameters()),
        "output_std": [round(float(value.std()), 4) for value in (decoded, posterior.mean)],
        "float32_error": [float(f"{relative_error(a, b):.2e}") for a, b in zip(single, (decoded, posterior.mean))],
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        golden = write_case(Path(folder) / name, 11000 * (seed + 1), *case)
        size = sum(file.stat().st_size for file in (Path(folder) / name).rglob("*") if file.is_file())
        print(f"{name:24} {golden['parameters']:6} parameters {size / 1000:6.0f} kB  std {golden['output_std']} "
              f"float32 error {golden['float32_error']}")
