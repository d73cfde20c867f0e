"""Small random `DiTTransformer2DModel` folders, and a pipeline of one, with diffusers' output in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/dit/NAME`, `tests/golden/dit/pipeline` is a folder that `DiTPipeline` loads, and
`tests/golden/labels` is a sampling path of a class-conditional `UNet2DModel`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, UNet2DModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed_from_grid
from diffusers.pipelines.dit import pipeline_dit

from . import exact
from .unets import randomise, relative_error

# name: (what it touches, config, (height, width), timesteps, labels)
CASES = {
    "dit-like": (
        "the topology of DiT-XL/2 in small: patches of 2 x 2, tanh GELU, learned variance (twice the channels out), "
        "three heads; the last label is the null class",
        dict(num_attention_heads=3, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=3, sample_size=8,
             patch_size=2, activation_fn="gelu-approximate", num_embeds_ada_norm=10),
        (8, 8), [999, 3, 417], [7, 0, 10],
    ),
    "plain-output": (
        "as many channels out as in, patches of 4 x 4, attention without bias, exact GELU, float16 weights, head dim 8",
        dict(num_attention_heads=2, attention_head_dim=8, in_channels=3, num_layers=2, sample_size=12, patch_size=4,
             activation_fn="gelu", attention_bias=False, num_embeds_ada_norm=5),
        (12, 12), [0, 640], [5, 2],
    ),
    "single-pixels": (
        "patches of one pixel, 5 x 5 of them; GEGLU, five heads of 4; a second norm with weights and another epsilon",
        dict(num_attention_heads=5, attention_head_dim=4, in_channels=2, out_channels=4, num_layers=1, sample_size=5,
             patch_size=1, activation_fn="geglu", num_embeds_ada_norm=3, norm_elementwise_affine=True, norm_eps=1e-3),
        (5, 5), [12, 800], [1, 3],
    ),
    "another-size": (
        "images of 12 x 12 where `sample_size` is 8: positions are scaled to the trained grid; one head",
        dict(num_attention_heads=1, attention_head_dim=12, in_channels=2, out_channels=4, num_layers=2, sample_size=8,
             patch_size=2, num_embeds_ada_norm=4),
        (12, 12), [555], [4],
    ),
}
HALF = ("plain-output",)
GUIDANCE = 4.0


def randomise_transformer(network, seed):
    """Draw every parameter so that activations stay of order one. Names do not tell norms apart here: `norm1` holds the
    embeddings of timestep and class."""
    generator = np.random.default_rng(seed)
    for name, parameter in network.named_parameters():
        draw = torch.from_numpy(generator.standard_normal(tuple(parameter.shape)))
        if parameter.ndim == 1:
            value = 1 + 0.3 * draw if name.endswith("norm3.weight") else 0.2 * draw
        elif name.endswith("embedding_table.weight"):
            value = draw
        else:
            gain = 1.6 if ".to_q." in name or ".to_k." in name else 1.0
            value = gain * draw / np.sqrt(parameter[0].numel())
        parameter.data.copy_(value)


def in_float64(network, size):
    """The network in float64 for images of `size`, its table of positions too, which diffusers rounds to float32."""
    exact.to_float64(network)
    embed = network.pos_embed
    embed.height, embed.width = (side // embed.patch_size for side in size)
    counts = (embed.height, embed.width)
    rows, columns = (torch.arange(count, dtype=torch.float64) * embed.base_size / count for count in counts)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
    embed.pos_embed = get_2d_sincos_pos_embed_from_grid(embed.pos_embed.shape[-1], grid, output_type="pt")[None]
    return network


@torch.no_grad()
def predict(network, x, t, labels):
    with exact.float64_embeddings():
        return network(x, timestep=t, class_labels=labels).sample


def guided(network, x, t, labels, scale):
    """eps as `DiTPipeline` makes it: only the channels of the latents are guided, by the class after the last."""
    null = torch.full_like(labels, network.config.num_embeds_ada_norm)
    output = predict(network, torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, null]))
    conditional, unconditional = output[:, : x.shape[1]].chunk(2)
    return unconditional + scale * (conditional - unconditional)


def save(path, value):
    np.save(path, value.numpy() if isinstance(value, torch.Tensor) else value)


@torch.no_grad()
def write_case(folder, seed, touches, fields, size, timesteps, labels):
    shutil.rmtree(folder, ignore_errors=True)
    network = DiTTransformer2DModel(**fields).eval()
    randomise_transformer(network, seed)
    network = network.half() if folder.name in HALF else network
    network.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    generator = np.random.default_rng(seed + 1)
    shape = (len(timesteps), network.config.in_channels, *size)
    x = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    t, labels = torch.tensor(timesteps), torch.tensor(labels)
    loaded = DiTTransformer2DModel.from_pretrained(folder, dtype=torch.float32).eval()
    single = loaded(x, timestep=t, class_labels=labels).sample
    in_float64(network, size)
    output = predict(network, x.double(), t, labels)
    eps = guided(network, x.double(), t, labels, GUIDANCE)
    for name, value in [("x", x), ("t", t), ("labels", labels), ("eps", output), ("guided", eps)]:
        save(folder / f"{name}.npy", value)
    golden = {
        "touches": touches,
        "guidance": GUIDANCE,
        "parameters": sum(p.numel() for p in network.parameters()),
        "output_std": round(float(output.std()), 4),
        "float32_error": float(f"{relative_error(single, output):.2e}"),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


LABELS = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 207: "golden retriever", 360: "otter"}
CLASSES, STEPS = [207, 360], 5
GE_TIMESTEPS = [901, 751, 566, 353, 166, 0]


def sampled(scheduler, noise, eps):
    """The latents after each step of the pipeline's loop; `eps(z, t)` is guided or not."""
    scheduler = exact.scheduler_in_float64(scheduler)
    scheduler.set_timesteps(STEPS)
    latents, path = noise, []
    for t in scheduler.timesteps:
        latents = scheduler.step(eps(latents, t), t, latents, return_dict=False)[0]
        path.append(latents)
    return torch.stack(path)


def gradient_estimation(alpha_bar, noise, eps):
    """Gradient estimation (gamma 2) by the paper's formula over `GE_TIMESTEPS`; the path holds z."""
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x, previous, path = noise / alpha_bar[GE_TIMESTEPS[0]].sqrt(), None, []
    for t, end in zip(GE_TIMESTEPS, GE_TIMESTEPS[1:]):
        newest = eps(x * alpha_bar[t].sqrt(), torch.tensor(t))
        mixed = newest if previous is None else 2 * newest - previous
        x, previous = x + (sigma[end] - sigma[t]) * mixed, newest
        path.append(x * alpha_bar[end].sqrt())
    return torch.stack(path)


@torch.no_grad()
def write_pipeline(folder, seed):
    shutil.rmtree(folder, ignore_errors=True)
    # The published networks: 1000 classes, and the null class after them.
    network = DiTTransformer2DModel(
        num_attention_heads=3, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000).eval()
    vae = AutoencoderKL(block_out_channels=(4, 8), down_block_types=("DownEncoderBlock2D",) * 2, sample_size=16,
                        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=2,
                        scaling_factor=0.18215).eval()
    scheduler = DDIMScheduler(clip_sample=False)
    randomise_transformer(network, seed)
    randomise(vae, seed + 1)
    network, vae = network.half(), vae.half()
    DiTPipeline(network, vae, scheduler).save_pretrained(folder)
    # As the published folders have them; diffusers reads the field, and does not write it.
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {str(label): name for label, name in LABELS.items()}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)

    runs = folder / "runs"
    runs.mkdir()
    noise = torch.from_numpy(np.random.default_rng(seed + 2).standard_normal((2, 4, 8, 8)).astype(np.float32))
    save(runs / "init_noise.npy", noise)
    noise, labels = noise.double(), torch.tensor(CLASSES)
    in_float64(network, (8, 8))
    exact.to_float64(vae)

    def with_guidance(z, t):
        return guided(network, z, t.repeat(len(z)), labels, GUIDANCE)

    def without(z, t):
        return predict(network, z, t.repeat(len(z)), labels)[:, :4]

    path = sampled(scheduler, noise, with_guidance)
    images = (vae.decode(path[-1] / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    ge = gradient_estimation(exact.float64_alphas_cumprod(scheduler.config), noise, with_guidance)
    for name, value in [("path", path), ("images", images), ("unguided_path", sampled(scheduler, noise, without)),
                        ("ge_path", ge)]:
        save(runs / f"{name}.npy", value.numpy().astype(np.float32))
    golden = {"class_labels": CLASSES, "guidance": GUIDANCE, "steps": STEPS, "ge_timesteps": GE_TIMESTEPS}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")

    # What diffusers' own pipeline makes of the folder, in float32 from the same noise.
    pipeline = DiTPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.labels["golden retriever"] == 207, pipeline.labels
    original, pipeline_dit.randn_tensor = pipeline_dit.randn_tensor, lambda *_, **__: noise.float()
    made = pipeline(CLASSES, GUIDANCE, num_inference_steps=STEPS, output_type="np").images
    pipeline_dit.randn_tensor = original
    away = np.abs(made.transpose(0, 3, 1, 2) - images.numpy()).max()
    print(f"pipeline: path max {path.abs().max():.2f}, {away:.1e} from diffusers' own run")
    assert away < 5e-3


@torch.no_grad()
def write_labels(golden, seed):
    """DDIM on `unet/class-table`, one class per image."""
    folder = Path(golden) / "labels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    network = exact.to_float64(UNet2DModel.from_pretrained(Path(golden) / "unet" / "class-table"))
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    scheduler.save_pretrained(folder)
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((3, 3, 8, 8)).astype(np.float32))
    labels = [4, 9, 0]
    save(folder / "init_noise.npy", noise)
    path = sampled(scheduler, noise.double(), lambda z, t: exact.predict(network, z, t.repeat(3), torch.tensor(labels)))
    save(folder / "path.npy", path.numpy().astype(np.float32))
    golden = {"network": "unet/class-table", "class_labels": labels, "steps": STEPS, "sampler": "ddim"}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"labels: path max {path.abs().max():.2f}")


def write_all(golden):
    folder = Path(golden) / "dit"
    for seed, (name, case) in enumerate(CASES.items()):
        made = write_case(folder / name, 17000 * (seed + 1), *case)
        size = sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
        print(f"{name:16} {made['parameters']:6} parameters {size / 1000:6.0f} kB  std {made['output_std']:6} "
              f"float32 error {made['float32_error']}")
    write_pipeline(folder / "pipeline", 91000)
    write_labels(golden, 93000)
