"""Small random folders of SDXL, SD-Turbo and latent consistency models, with the output of every stage and of runs.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/latent/NAME` that the pipeline of its class in diffusers loads. Everything is computed in float64 by
diffusers' own modules and schedulers; the generator checks that diffusers' float32 pipelines make the same images.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import diffusers.schedulers.scheduling_euler_ancestral_discrete as euler_ancestral
import diffusers.schedulers.scheduling_lcm as lcm
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from . import exact
from .latent import NEGATIVE, PROMPT, PROMPTS, SCALED, TOKENS, make_tokenizer, save32, save_tokenizer, text_keys
from .unets import randomise, relative_error

GE_TIMESTEPS = [901, 566, 166, 0]
TINY_VAE = dict(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2,
                down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16)
TINY_UNET = dict(layers_per_block=1, norm_num_groups=4, sample_size=8, use_linear_projection=True)

# name: what it touches; pipeline; text encoders (hidden, heads, layers, inner, activation, projection or None, pad);
# U-Net, autoencoder and scheduler; runs: flags of `downhill sample`, which `settings` reads
CASES = {
    "sdxl-like": dict(
        touches="SDXL in small: two text encoders of 12 and 20 channels before their last block, the projection of the "
        "second to 14 channels, tokenizers that pad with the end and with `!`, transformers of several blocks without any "
        "at the highest resolution, text_time with six numbers, latents with a mean and a deviation per channel, Euler",
        pipeline=StableDiffusionXLPipeline,
        texts=[(12, 3, 3, 24, "quick_gelu", None, None), (20, 2, 3, 28, "gelu", 14, "!")], merges=60,
        unet=dict(TINY_UNET, block_out_channels=(8, 16, 16), attention_head_dim=[2, 4, 4], cross_attention_dim=32,
                  down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                  transformer_layers_per_block=[1, 1, 2], addition_embed_type="text_time", addition_time_embed_dim=8,
                  projection_class_embeddings_input_dim=14 + 6 * 8, upcast_attention=None),
        vae=dict(TINY_VAE, scaling_factor=0.13025, latents_mean=[0.1, -0.2, 0.3, 0.05], latents_std=[1.1, 0.8, 0.9, 1.2]),
        scheduler=EulerDiscreteScheduler(**SCALED, steps_offset=1, timestep_spacing="leading"),
        runs={
            "guided": ["--negative", NEGATIVE, "--steps", "4"],
            "zeros": ["--steps", "3", "--original-size", "96x80", "--crop", "8,4", "--target-size", "48x64",
                      "--clip-skip", "1"],
            "image": ["--steps", "5", "--init-image", "from.png", "--strength", "0.6", "--cfg-scale", "3"],
            "turbo": ["--sampler", "euler-a", "--schedule", "trailing", "--rng", "torch", "--seed", "7", "--cfg-scale",
                      "0", "--steps", "2"],
            "ge": ["--sampler", "ge", "--timesteps", ",".join(map(str, GE_TIMESTEPS))],
        },
    ),
    "sd-turbo-like": dict(
        touches="SD-Turbo in small: Stable Diffusion 2 that predicts eps, ancestral Euler with trailing timesteps, no "
        "guidance; further runs with guidance and with a block of the text encoder left out",
        pipeline=StableDiffusionPipeline,
        texts=[(16, 2, 3, 24, "gelu", None, "!")], merges=60,
        unet=dict(TINY_UNET, block_out_channels=(8, 16), attention_head_dim=[2, 4], cross_attention_dim=16,
                  down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")),
        vae=dict(TINY_VAE, scaling_factor=0.18215),
        scheduler=EulerAncestralDiscreteScheduler(**SCALED, steps_offset=1, timestep_spacing="trailing"),
        runs={
            "one": ["--rng", "torch", "--seed", "3", "--cfg-scale", "0", "--steps", "1"],
            "turbo": ["--rng", "torch", "--seed", "5", "--cfg-scale", "1", "--steps", "3"],
            "skip": ["--sampler", "ddim", "--schedule", "leading", "--steps", "3", "--negative", NEGATIVE, "--cfg-scale",
                     "3", "--clip-skip", "1"],
        },
    ),
    "lcm-like": dict(
        touches="a latent consistency model in small: the scale of guidance is embedded by 6 channels and projected, "
        "LCMScheduler",
        pipeline=LatentConsistencyModelPipeline,
        texts=[(16, 4, 2, 24, "quick_gelu", None, None)], merges=60,
        unet=dict(TINY_UNET, block_out_channels=(8, 16), attention_head_dim=4, cross_attention_dim=16,
                  down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), time_cond_proj_dim=6,
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), use_linear_projection=False),
        vae=dict(TINY_VAE, scaling_factor=0.18215),
        scheduler=LCMScheduler(**SCALED, original_inference_steps=50, timestep_scaling=10.0, set_alpha_to_one=True,
                               clip_sample=False, steps_offset=0, timestep_spacing="leading"),
        runs={
            "lcm": ["--rng", "torch", "--seed", "11", "--steps", "3"],
            "image": ["--rng", "torch", "--seed", "2", "--steps", "2", "--init-image", "from.png", "--strength", "0.5",
                      "--cfg-scale", "4"],
            "ge": ["--sampler", "ge", "--timesteps", ",".join(map(str, GE_TIMESTEPS))],
        },
    ),
}
SCALES = {StableDiffusionXLPipeline: 5.0, StableDiffusionPipeline: 7.5, LatentConsistencyModelPipeline: 8.5}


def settings(flags):
    """Flags as a dictionary by name."""
    return {name.removeprefix("--").replace("-", "_"): value for name, value in zip(flags[::2], flags[1::2])}


def make_encoder(hidden, heads, layers, inner, activation, projection, pad, ids):
    config = CLIPTextConfig(
        vocab_size=len(ids), hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=TOKENS, hidden_act=activation,
        projection_dim=projection or hidden, bos_token_id=len(ids) - 2,
        # As published: the second encoder of SDXL has the wrong id, which means the largest one.
        eos_token_id=2 if projection else len(ids) - 1, pad_token_id=ids[pad] if pad else len(ids) - 1)
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


class Model:
    """The networks of a case in float64."""

    def __init__(self, pipeline, size):
        self.pipeline, self.size = pipeline, size
        self.network, self.vae, self.is_xl = pipeline.unet, pipeline.vae, hasattr(pipeline, "text_encoder_2")
        self.texts = [(pipeline.tokenizer, pipeline.text_encoder)]
        if self.is_xl:
            self.texts.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)

    def encode(self, prompt, skip=0):
        """Context (1, tokens, channels) and the embedding of the whole text, as the pipeline makes them."""
        contexts, pooled = [], None
        for tokenizer, encoder in self.texts:
            ids = tokenizer(prompt, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
            output = encoder(ids, output_hidden_states=True)
            if self.is_xl:
                pooled = output[0] if output[0].ndim == 2 else pooled
                contexts.append(output.hidden_states[-(skip + 2)])
            elif skip == 0:
                contexts.append(output[0])
            else:
                norm = getattr(encoder, "text_model", encoder).final_layer_norm
                contexts.append(norm(output.hidden_states[-(skip + 1)]))
        return torch.cat(contexts, dim=-1), pooled

    def predict(self, z, t, context, pooled=None, ids=None, scale=None):
        """The U-Net's output in float64."""
        extra = {} if pooled is None else dict(added_cond_kwargs=dict(text_embeds=pooled.double(), time_ids=ids.double()))
        condition = None if scale is None else guidance_embedding(scale, self.network.config.time_cond_proj_dim, len(z))
        with exact.float64_embeddings():
            return self.network(z.double(), t.double(), context.double(), timestep_cond=condition, **extra).sample

    def predictor(self, given):
        """From (z, t) to the guided prediction, for the settings of a run."""
        scale = float(given.get("cfg_scale", SCALES[type(self.pipeline)]))
        context, pooled = self.encode(PROMPT, int(given.get("clip_skip", 0)))
        ids = None
        if self.is_xl:
            size = [self.factor * side for side in self.size]
            pair = lambda name, default, by: [int(side) for side in given[name].split(by)] if name in given else default
            ids = pair("original_size", size, "x") + pair("crop", [0, 0], ",") + pair("target_size", size, "x")
            ids = torch.tensor([ids], dtype=torch.float64)
        if self.network.config.time_cond_proj_dim is not None:
            return lambda z, t: self.predict(z, t, context, pooled, ids, scale)
        if scale <= 1:
            return lambda z, t: self.predict(z, t, context, pooled, ids)
        if self.is_xl and "negative" not in given:
            other, other_pooled = torch.zeros_like(context), torch.zeros_like(pooled)
        else:
            other, other_pooled = self.encode(given.get("negative", ""))

        def guided(z, t):
            conditional = self.predict(z, t, context, pooled, ids)
            unconditional = self.predict(z, t, other, other_pooled, ids)
            return unconditional + scale * (conditional - unconditional)

        return guided

    def shift(self):
        """Mean and deviation of the latents by channel."""
        config = self.vae.config
        of = lambda numbers, default: torch.tensor(numbers or [default] * config.latent_channels).double().view(1, -1, 1, 1)
        return of(config.latents_mean, 0.0), of(config.latents_std, 1.0)

    def to_image(self, latents):
        mean, deviation = self.shift()
        decoded = self.vae.decode(latents * deviation / self.vae.config.scaling_factor + mean).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    def to_latents(self, image):
        mean, deviation = self.shift()
        return (self.vae.encode(image.double()).latent_dist.mean - mean) * self.vae.config.scaling_factor / deviation


def guidance_embedding(scale, channels, count):
    """`get_guidance_scale_embedding` of w = scale - 1 in float64."""
    half = channels // 2
    angles = 1000 * (scale - 1) * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / (half - 1))
    row = torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, channels % 2))
    return row[None].repeat(count, 1)


def scheduler_of(model, given):
    """The scheduler of a run, and its timesteps."""
    own = model.pipeline.scheduler
    kinds = {None: type(own), "euler-a": EulerAncestralDiscreteScheduler, "ddim": DDIMScheduler}
    changes = {"timestep_spacing": given["schedule"]} if "schedule" in given else {}
    if given.get("sampler") == "ddim":
        changes |= dict(clip_sample=False)
    scheduler = exact.scheduler_in_float64(kinds[given.get("sampler")].from_config(own.config, **changes))
    steps, strength = int(given["steps"]), float(given.get("strength", 1))
    if isinstance(scheduler, LCMScheduler):
        scheduler.set_timesteps(steps, strength=strength)
        return scheduler, scheduler.timesteps
    scheduler.set_timesteps(steps)
    first = steps - min(int(steps * strength), steps)
    if first:
        scheduler.set_begin_index(first)
    return scheduler, scheduler.timesteps[first:]


def signal_of(scheduler):
    """The factor from the scheduler's state after a step to z = sqrt(alpha bar) x."""
    if not hasattr(scheduler, "sigmas"):
        return 1.0
    return (1 + scheduler.sigmas[scheduler.step_index].double() ** 2) ** -0.5


@torch.no_grad()
def run(model, flags, noise, image):
    """The latents z after each step, and the image in 0..1."""
    given = settings(flags)
    predict = model.predictor(given)
    generator = torch.Generator().manual_seed(int(given.get("seed", 0)))
    draw = lambda *_, **__: torch.randn(noise.shape, generator=generator).double()
    start = draw() if given.get("rng") == "torch" else noise.double()
    if given.get("sampler") == "ge":
        path = ge(predict, exact.float64_alphas_cumprod(model.pipeline.scheduler.config), start)
        return torch.stack(path), model.to_image(path[-1])
    originals = {module: module.randn_tensor for module in (lcm, euler_ancestral)}
    for module in originals:
        module.randn_tensor = draw
    scheduler, timesteps = scheduler_of(model, given)
    if "init_image" in given:
        clean = model.to_latents(image)
        latents = scheduler.add_noise(clean, start, timesteps[:1])
    else:
        latents = start * scheduler.init_noise_sigma
    path = []
    for t in timesteps:
        z = scheduler.scale_model_input(latents, t)
        latents = scheduler.step(predict(z, t), t, latents, return_dict=False)[0].double()
        path.append(latents * signal_of(scheduler))
    for module, original in originals.items():
        module.randn_tensor = original
    return torch.stack(path), model.to_image(latents)


def ge(predict, alpha_bar, noise):
    """Gradient estimation (gamma 2) by the paper's formula over `GE_TIMESTEPS`."""
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x, previous, path = noise / alpha_bar[GE_TIMESTEPS[0]].sqrt(), None, []
    for t, end in zip(GE_TIMESTEPS, GE_TIMESTEPS[1:]):
        eps = predict(x * alpha_bar[t].sqrt(), torch.tensor(t))
        mixed = eps if previous is None else 2 * eps - previous
        x, previous = x + (sigma[end] - sigma[t]) * mixed, eps
        path.append(x * alpha_bar[end].sqrt())
    return path


@torch.no_grad()
def write_case(folder, seed, touches, pipeline, texts, merges, unet, vae, scheduler, runs):
    shutil.rmtree(folder, ignore_errors=True)
    parts, tokenizers = {}, []
    for at, text in enumerate(texts):
        tokenizer, ids, pairs = make_tokenizer(merges, text[-1])
        suffix = "" if at == 0 else f"_{at + 1}"
        parts |= {f"text_encoder{suffix}": make_encoder(*text, ids), f"tokenizer{suffix}": tokenizer}
        tokenizers.append((f"tokenizer{suffix}", tokenizer, ids, pairs))
    parts |= dict(unet=UNet2DConditionModel(**unet), vae=AutoencoderKL(**vae))
    networks = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    for at, part in enumerate(networks.values()):
        randomise(part.eval(), seed + at)
        part.half()
    if pipeline is not StableDiffusionXLPipeline:
        parts |= dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made = pipeline(**parts, scheduler=scheduler)
    made.save_pretrained(folder)
    for name, tokenizer, ids, pairs in tokenizers:
        save_tokenizer(tokenizer, ids, pairs, folder / name, "legacy" if name == "tokenizer" else "fast")
    for name in networks:
        if name.startswith("text_encoder"):
            # The published checkpoints of both have the prefix, the projection none.
            path = folder / name
            prefixed(path) if hasattr(networks[name], "text_projection") else text_keys(path, prefixed=True)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)

    generator = np.random.default_rng(seed + 9)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    stages, size, channels = folder / "stages", (8, 8), 4
    stages.mkdir()
    tokens = [{"text": prompt, **{name: tokenizer(prompt, padding="max_length", max_length=TOKENS,
                                                  truncation=True).input_ids for name, tokenizer, _, _ in tokenizers}}
              for prompt in PROMPTS[:4]]
    (stages / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=True) + "\n")
    for name, part in networks.items():
        exact.to_float64(part) if name in ("unet", "vae") else part.double().eval()
    model = Model(made, size)

    network = made.unet.config
    x, t, context = draw(3, channels, *size), torch.tensor([981, 1, 460]), draw(3, TOKENS, network.cross_attention_dim)
    latent, image = draw(1, channels, *size), draw(1, 3, *(model.factor * side for side in size)).clamp(-1, 1)
    extra, pooled, numbers, scale = {}, None, None, None
    if network.addition_embed_type:
        pooled = draw(3, texts[-1][5])
        numbers = torch.tensor([[16, 16, 0, 0, 16, 16], [1024, 832, 3, 5, 512, 640], [7, 9, 128, 0, 2048, 1]]).float()
        extra = dict(pooled=pooled, time_ids=numbers)
    if network.time_cond_proj_dim:
        scale = 8.5
    both = [model.encode(text) for text in (NEGATIVE, PROMPT)]
    embeddings = torch.cat([context for context, _ in both])
    eps = model.predict(x, t, context, pooled, numbers, scale)
    posterior = model.vae.encode(image.double()).latent_dist
    for name, value in dict(x=x, context=context, eps=eps, embeddings=embeddings, latent=latent, image=image,
                            decoded=model.vae.decode(latent.double()).sample, mean=posterior.mean,
                            logvar=posterior.logvar, **extra).items():
        save32(stages / f"{name}.npy", value)
    np.save(stages / "t.npy", t.numpy())
    if both[0][1] is not None:
        save32(stages / "text_pooled.npy", torch.cat([pooled for _, pooled in both]))

    folder_of_runs = folder / "runs"
    folder_of_runs.mkdir()
    noise = draw(1, channels, *size)
    save32(folder_of_runs / "init_noise.npy", noise)
    pixels = (draw(*(model.factor * side for side in size), 3).numpy() * 50 + 128).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder_of_runs / "from.png")
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 127.5 - 1
    spreads = {}
    for name, flags in runs.items():
        path, images = run(model, flags, noise, picture)
        save32(folder_of_runs / f"{name}_path.npy", path)
        save32(folder_of_runs / f"{name}_images.npy", images)
        spreads[name] = round(float(path[-1].std()), 4)
    golden = {
        "touches": touches, "prompt": PROMPT, "negative": NEGATIVE, "embedded_guidance": scale, "runs": runs,
        "parameters": {name: sum(p.numel() for p in part.parameters()) for name, part in networks.items()},
        "eps_std": round(float(eps.std()), 4), "latents_std": spreads,
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def prefixed(folder):
    """The names of the published second encoder of SDXL."""
    path = folder / "model.safetensors"
    named = lambda key: key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"
    save_file({named(key): tensor for key, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def check_pipeline(folder, case):
    """What diffusers itself makes of the folder is what was written (in float32)."""
    runs = folder / "runs"
    noise = torch.from_numpy(np.load(runs / "init_noise.npy"))
    for name, flags in case["runs"].items():
        given = settings(flags)
        if given.get("sampler") == "ge":
            continue
        kind = case["pipeline"]
        from_image = {StableDiffusionXLPipeline: StableDiffusionXLImg2ImgPipeline,
                      LatentConsistencyModelPipeline: LatentConsistencyModelImg2ImgPipeline}
        kind = from_image[kind] if "init_image" in given else kind
        pipeline = kind.from_pretrained(folder, torch_dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        if given.get("sampler"):
            changes = dict(timestep_spacing=given["schedule"])
            sampler = dict(ddim=DDIMScheduler)
            kinds = sampler | {"euler-a": EulerAncestralDiscreteScheduler}
            changes |= dict(clip_sample=False) if given["sampler"] == "ddim" else {}
            pipeline.scheduler = kinds[given["sampler"]].from_config(pipeline.scheduler.config, **changes)
        if not hasattr(pipeline.text_encoder, "text_model"):
            # transformers 5 has no such part, and diffusers reads it where blocks are left out.
            object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
        generator = torch.Generator().manual_seed(int(given.get("seed", 0)))
        options = dict(guidance_scale=float(given.get("cfg_scale", SCALES[case["pipeline"]])), generator=generator,
                       num_inference_steps=int(given["steps"]), output_type="np")
        pair = lambda name, by: {name: tuple(int(side) for side in given[name].split(by))} if name in given else {}
        options |= pair("original_size", "x") | pair("target_size", "x")
        options |= {"crops_coords_top_left": value for value in pair("crop", ",").values()}
        options |= {"negative_prompt": given["negative"]} if "negative" in given else {}
        options |= {"clip_skip": int(given["clip_skip"])} if "clip_skip" in given else {}
        if "init_image" in given:
            # The pipeline draws from the posterior: the mean alone here.
            pipeline.vae.encode = mean_only(pipeline.vae.encode)
            options |= dict(image=Image.open(runs / "from.png"), strength=float(given["strength"]))
            if given.get("rng") != "torch":
                replace_noise(pipeline, noise)
        else:
            options |= dict(height=16, width=16)
            options |= {} if given.get("rng") == "torch" else dict(latents=noise)
        image = pipeline(PROMPT, **options).images[0]
        expected = np.load(runs / f"{name}_images.npy")[0].transpose(1, 2, 0)
        print(f"  {name}: {np.abs(image - expected).max():.1e} from diffusers' own float32 run")
        assert np.abs(image - expected).max() < 5e-3, (folder, name)


def mean_only(encode):
    class Mean:
        def __init__(self, mean):
            self.mean = mean

        def sample(self, generator=None):
            return self.mean

    def encoded(image):
        class Output:
            latent_dist = Mean(encode(image).latent_dist.mean)
        return Output()

    return encoded


def replace_noise(pipeline, noise):
    module = sys.modules[type(pipeline).__module__]
    module.randn_tensor = lambda *_, **__: noise


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        golden = write_case(Path(folder) / name, 90000 + 1000 * seed, **case)
        files = [file for file in (Path(folder) / name).rglob("*") if file.is_file()]
        print(f"{name:14} {sum(file.stat().st_size for file in files) / 1000:6.0f} kB {golden['parameters']} "
              f"eps {golden['eps_std']} latents {golden['latents_std']}")
        check_pipeline(Path(folder) / name, case)
