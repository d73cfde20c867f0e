"""Small random `UNet2DConditionModel` folders with diffusers' output in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/conditioned/NAME`; together with `tests/golden/latent` they touch every supported field.
"""

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from . import exact
from .unets import randomise, relative_error, rewrite_config


def config(downs, ups, channels, **fields):
    """A config from one-letter blocks: D(own), C(ross-attention)."""
    names = {"D": "{}Block2D", "C": "CrossAttn{}Block2D"}
    return dict(
        down_block_types=tuple(names[letter].format("Down") for letter in downs),
        up_block_types=tuple(names[letter].format("Up") for letter in ups),
        block_out_channels=channels,
        **{"norm_num_groups": 2, "layers_per_block": 1, "cross_attention_dim": 6, "attention_head_dim": 2,
           "time_embedding_dim": 8, **fields},
    )


# name: what it touches, config, (height, width), tokens of context, class labels
CASES = {
    "channels-without-head": (
        "three heads over 4 channels, which leave one out; only_cross_attention, layers and transformer layers a "
        "level; 7 x 10 pixels halved upwards to 4 x 5",
        config("CC", "CC", (4, 4), attention_head_dim=3, only_cross_attention=[True, False], layers_per_block=[2, 1],
               transformer_layers_per_block=[1, 2]),
        (7, 10), 5, None,
    ),
    "layers-in-lists": (
        "transformer layers a layer, none among them, others on the way up; heads a level; a list of one context dim; one "
        "token of context; three levels down to a pixel of 3 x 1",
        config("CDC", "CCD", (4, 4, 4), attention_head_dim=[1, 2, 4], cross_attention_dim=[5, 5, 5],
               transformer_layers_per_block=[[1], [1], [2]],
               reverse_transformer_layers_per_block=[[0, 1], [1, 0], [1, 1]], use_linear_projection=True,
               upcast_attention=True),
        (3, 1), 1, None,
    ),
    "other-kernels": (
        "kernels of 5 x 5 and 1 x 1 at the ends, gelu, further nonlinearities of the time embedding, 2x - 1, scale and "
        "shift, a middle without attention",
        config("CD", "DC", (4, 8), conv_in_kernel=5, conv_out_kernel=1, act_fn="gelu", time_embedding_act_fn="silu",
               timestep_post_act="mish", center_input_sample=True, mid_block_scale_factor=1.5,
               mid_block_type="UNetMidBlock2D", resnet_time_scale_shift="scale_shift", in_channels=2, out_channels=3),
        (6, 4), 3, None,
    ),
    "upscaler-like": (
        "a table of class embeddings, seven channels in and four out, no middle block; config.json without the keys that "
        "equal the class defaults, block names of early releases",
        config("DC", "CD", (4, 8), num_class_embeds=5, in_channels=7, mid_block_type=None),
        (4, 6), 4, np.array([4, 0]),
    ),
    "class-timestep": (
        "class labels embedded like timesteps, with the network's nonlinearity; mish",
        config("C", "C", (6,), class_embed_type="timestep", act_fn="mish", norm_num_groups=3),
        (3, 3), 2, np.array([3.5, 20.0], np.float32),
    ),
    "class-projection": (
        "class vectors through two layers",
        config("D", "D", (4,), class_embed_type="projection", projection_class_embeddings_input_dim=3, act_fn="relu"),
        (2, 5), 2, (2, 3),
    ),
    "class-simple-projection": (
        "class vectors through one layer",
        config("D", "C", (4,), class_embed_type="simple_projection", projection_class_embeddings_input_dim=5),
        (4, 4), 2, (2, 5),
    ),
    "class-identity": (
        "class vectors as they are; no cross-attention anywhere",
        config("D", "D", (4,), class_embed_type="identity", mid_block_type="UNetMidBlock2D"),
        (3, 2), 2, (2, 8),
    ),
}


def sparse_and_old(fields):
    defaults = {name: p.default for name, p in inspect.signature(UNet2DConditionModel.__init__).parameters.items()}
    for key in ("down_block_types", "up_block_types"):
        fields[key] = ["UNetRes" + name for name in fields[key]]
    return {name: value for name, value in fields.items() if name not in defaults or defaults[name] != value}


@torch.no_grad()
def write_case(folder, seed, touches, fields, size, tokens, labels):
    shutil.rmtree(folder, ignore_errors=True)
    network = UNet2DConditionModel(**fields).eval()
    randomise(network, seed)
    network = network.half()
    network.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    if folder.name == "upscaler-like":
        rewrite_config(folder / "config.json", sparse_and_old)

    generator = np.random.default_rng(seed + 1)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    dim = network.config.cross_attention_dim
    x, t = draw(2, network.config.in_channels, *size), torch.tensor([999, 37])
    context = draw(2, tokens, dim if isinstance(dim, int) else dim[0])
    if labels is not None:
        labels = draw(*labels) if isinstance(labels, tuple) else torch.from_numpy(labels)
        np.save(folder / "labels.npy", labels.numpy())
    for name, value in [("x", x), ("t", t), ("context", context)]:
        np.save(folder / f"{name}.npy", value.numpy())

    loaded = UNet2DConditionModel.from_pretrained(folder).float().eval()
    single = network.float()(x, t, context, labels).sample
    assert relative_error(loaded(x, t, context, labels).sample, single) < 1e-5, folder
    double = None if labels is None else labels.double() if labels.is_floating_point() else labels
    exact.to_float64(network)
    with exact.float64_embeddings():
        eps = network(x.double(), t, context.double(), double).sample
    np.save(folder / "eps.npy", eps.numpy().astype(np.float32))
    golden = {
        "touches": touches,
        "parameters": sum(p.numel() for p in network.parameters()),
        "output_std": round(float(eps.std()), 4),
        "float32_error": float(f"{relative_error(single, eps):.2e}"),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        golden = write_case(Path(folder) / name, 7000 * (seed + 1), *case)
        size = sum(file.stat().st_size for file in (Path(folder) / name).rglob("*") if file.is_file())
        print(f"{name:24} {golden['parameters']:6} parameters {size / 1000:6.0f} kB  std {golden['output_std']:6} "
              f"float32 error {golden['float32_error']}")
