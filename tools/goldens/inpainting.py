"""Filling in parts of images: RePaint on a small network, and inpainting with small random Stable Diffusion folders.

Used by `tools/make_goldens.py`; has no command of its own. `tests/golden/inpaint/repaint-*` hold the paths of diffusers'
`RePaintScheduler`, `four-channels` the runs of `StableDiffusionInpaintPipeline` on `latent/sd2-like`, and
`nine-channels` a folder of its own with a network that takes mask and masked image, and runs of it.
"""

import contextlib
import json
import shutil
from pathlib import Path

import diffusers.models.embeddings as embeddings
import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint as pipeline_module
import diffusers.schedulers.scheduling_repaint as repaint_module
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    RePaintScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from transformers import CLIPTextModel

from . import exact, latent
from .unets import randomise, relative_error

# name: training timesteps, steps, jump, resampling, eta, betas
REPAINT = {
    "repaint-ddim": dict(trained=20, steps=20, jump=4, resample=2, eta=0.0, beta_start=0.005, beta_end=0.3),
    "repaint-ddpm": dict(trained=20, steps=20, jump=2, resample=3, eta=1.0, beta_start=0.005, beta_end=0.3),
    "repaint-strided": dict(trained=1000, steps=10, jump=3, resample=2, eta=1.0, beta_start=0.0001, beta_end=0.02),
}


class Undone(RePaintScheduler):
    """`undo_step` with the betas between the level of the state and `timestep`.

    diffusers takes those of `timestep` and later, which are others where there are fewer steps than timesteps.
    """

    def undo_step(self, sample, timestep, generator=None):
        n = self.config.num_train_timesteps // self.num_inference_steps
        for at in range(max(timestep - n + 1, 0), timestep + 1):
            beta = self.betas[at]
            noise = repaint_module.randn_tensor(sample.shape)
            sample = (1 - beta) ** 0.5 * sample + beta**0.5 * noise
        return sample


@torch.no_grad()
def write_repaint(golden, name, trained, steps, jump, resample, eta, beta_start, beta_end):
    folder = golden / "inpaint" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network = exact.to_float64(UNet2DModel.from_pretrained(golden / "unet" / "cifar-like"))
    config = dict(num_train_timesteps=trained, beta_start=beta_start, beta_end=beta_end, beta_schedule="linear")
    # Where each step is one timestep, diffusers' own undo_step is exact.
    scheduler = (RePaintScheduler if trained == steps else Undone)(**config, clip_sample=True)
    scheduler.betas = torch.linspace(beta_start, beta_end, trained, dtype=torch.float64)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(steps, jump, resample)
    scheduler.eta = eta

    generator = np.random.default_rng(len(name))
    draw = lambda: torch.from_numpy(generator.standard_normal((2, 3, 8, 8)).astype(np.float32)).double()
    image = torch.from_numpy(generator.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)).double()
    painted = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    painted[..., 2:7, 3:] = 1

    # One draw for each step that does not end clean, and one for each jump: the sum of a jump's normals is one.
    noise, draws, path, given = draw(), [], [], []
    original = repaint_module.randn_tensor
    repaint_module.randn_tensor = lambda shape, **_: given.pop(0)
    try:
        state, last = noise, int(scheduler.timesteps[0]) + 1
        timesteps = [int(t) for t in scheduler.timesteps]
        stride, at = trained // steps, 0
        while at < len(timesteps):
            t = timesteps[at]
            if t < last:
                if t - stride >= 0:
                    draws.append(draw())
                    given.append(draws[-1])
                else:
                    given.append(torch.zeros_like(noise))
                output = exact.predict(network, state, torch.tensor(t))
                state = scheduler.step(output, t, state, image, 1 - painted).prev_sample
                path.append(state)
                last, at = t, at + 1
                continue
            # A whole jump, up to the next descent.
            draws.append(draw())
            kept = torch.tensor(1.0, dtype=torch.float64)
            levels = []
            while at < len(timesteps) and timesteps[at] >= last:
                low = last - stride + 1 if trained != steps else last
                levels.append([beta for beta in scheduler.betas[max(low, 0) : last + 1]])
                last, at = timesteps[at], at + 1
            betas = [beta for level in levels for beta in level]
            for beta in betas:
                kept = kept * (1 - beta)
            given.extend([torch.zeros_like(noise)] * (len(betas) - 1))
            given.append(draws[-1] * ((1 - kept) / betas[-1]).sqrt())
            up = last - stride * len(levels)
            for _ in levels:
                state = scheduler.undo_step(state, up)
                up += stride
            assert not given
    finally:
        repaint_module.randn_tensor = original
    save = lambda file, tensor: np.save(folder / file, tensor.numpy().astype(np.float32))
    save("image.npy", image)
    save("painted.npy", painted[0, 0])
    save("init_noise.npy", noise)
    save("draws.npy", torch.stack(draws))
    save("path.npy", torch.stack(path))
    DDIMScheduler(**config, clip_sample=True, steps_offset=0, set_alpha_to_one=True).save_pretrained(folder)
    settings = dict(steps=steps, jump=jump, resample=resample, eta=eta)
    (folder / "golden.json").write_text(json.dumps(settings) + "\n")
    assert (path[-1] - image)[:, :, 0].abs().max() == 0


@contextlib.contextmanager
def in_float64(noise):
    """diffusers' pipeline in float64, from the mean of the encoder's posterior and from given noise."""
    originals = embeddings.get_timestep_embedding, DiagonalGaussianDistribution.sample, pipeline_module.randn_tensor
    embeddings.get_timestep_embedding = exact.timestep_embedding
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    pipeline_module.randn_tensor = lambda shape, **_: noise.double()
    try:
        yield
    finally:
        (embeddings.get_timestep_embedding, DiagonalGaussianDistribution.sample,
         pipeline_module.randn_tensor) = originals


def picture(generator, height, width):
    """A smooth image and a mask with a border off the grid of latents, in greys on both sides of the threshold."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 3.0 + phase) * np.cos(y / 4.0 - phase) for phase in (0.0, 1.0, 2.0)]
    image = np.stack(waves, -1) * 90 + 128 + generator.normal(0, 12, (height, width, 3))
    mask = np.zeros((height, width), np.uint8)
    mask[5 : height - 4, 7 : width - 1] = 255
    mask[5:9, 7:12] = 128
    mask[height - 8 : height - 4, 12:20] = 127
    return Image.fromarray(image.clip(0, 255).astype(np.uint8)), Image.fromarray(mask)


RUNS = {"whole": dict(strength=1.0), "half": dict(strength=0.6)}
STEPS = 5


@torch.no_grad()
def write_runs(pipeline, folder, seed):
    generator = np.random.default_rng(seed)
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    side = pipeline.unet.config.sample_size
    shape = (2, pipeline.vae.config.latent_channels, side, side)
    noise = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    image, mask = picture(generator, side * factor, side * factor)
    image.save(folder / "image.png")
    mask.save(folder / "mask.png")
    clear = image.copy()
    clear.putalpha(Image.fromarray(255 - np.asarray(mask)))
    clear.save(folder / "clear.png")
    latent.save32(folder / "init_noise.npy", noise)
    pipeline.set_progress_bar_config(disable=True)
    for name, options in RUNS.items():
        path = []
        keep = lambda pipe, step, t, kwargs: path.append(kwargs["latents"]) or kwargs
        with in_float64(noise):
            images = pipeline(
                latent.PROMPT, image, mask, negative_prompt=latent.NEGATIVE, num_images_per_prompt=len(noise),
                num_inference_steps=STEPS, guidance_scale=latent.GUIDANCE, output_type="pt",
                callback_on_step_end=keep, **options).images
        latent.save32(folder / f"{name}_path.npy", torch.stack(path))
        latent.save32(folder / f"{name}_images.npy", images)
    golden = {"prompt": latent.PROMPT, "negative": latent.NEGATIVE, "guidance": latent.GUIDANCE, "steps": STEPS,
              "runs": RUNS}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def double(pipeline):
    pipeline.text_encoder.double().eval()
    exact.to_float64(pipeline.unet)
    exact.to_float64(pipeline.vae)
    pipeline.scheduler = exact.scheduler_in_float64(pipeline.scheduler)
    return pipeline


def write_four_channels(golden):
    folder = golden / "inpaint" / "four-channels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        golden / "latent" / "sd2-like", safety_checker=None, torch_dtype=torch.float32)
    write_runs(double(pipeline), folder, 31)


@torch.no_grad()
def write_nine_channels(golden):
    folder = golden / "inpaint" / "nine-channels"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer, ids, pairs = latent.make_tokenizer(20, None)
    encoder = CLIPTextModel(latent.text_config(12, 2, 1, 20, "quick_gelu", len(ids), None))
    network = UNet2DConditionModel(
        block_out_channels=(8, 12), layers_per_block=1, attention_head_dim=2, cross_attention_dim=12, in_channels=9,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4, sample_size=12)
    vae = AutoencoderKL(
        block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, sample_size=24,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.18215)
    for at, part in enumerate([encoder, network, vae]):
        randomise(part.eval(), 700 + at)
        part.half()
    scheduler = DDIMScheduler(**latent.SCALED, steps_offset=1, set_alpha_to_one=False, clip_sample=False)
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=network, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    latent.save_tokenizer(tokenizer, ids, pairs, folder / "tokenizer", "fast")
    latent.text_keys(folder / "text_encoder", prefixed=False)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    stages = folder / "stages"
    stages.mkdir()
    generator = np.random.default_rng(77)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    x, t, context = draw(2, 9, 12, 12), torch.tensor([981, 21]), draw(2, 77, 12)
    single = network.float()(x, t, context).sample
    pipeline = double(pipeline)
    eps = latent.predict(pipeline.unet, x, t, context)
    for name, value in [("x", x), ("context", context), ("eps", eps)]:
        latent.save32(stages / f"{name}.npy", value)
    np.save(stages / "t.npy", t.numpy())
    print(f"nine channels: float32 {relative_error(single, eps):.1e}")
    runs = folder / "runs"
    runs.mkdir()
    write_runs(pipeline, runs, 32)


def write_all(golden):
    golden = Path(golden)
    for name, case in REPAINT.items():
        write_repaint(golden, name, **case)
    write_four_channels(golden)
    write_nine_channels(golden)
