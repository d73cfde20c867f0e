"""Small random Stable Diffusion folders with the output of every stage, and of whole runs, in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/latent/NAME` that diffusers' `StableDiffusionPipeline` loads.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from . import exact
from .unets import randomise, relative_error

START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 77

# What the byte-pair merges are learnt from: the field's own words, so that prompts become whole words and pieces.
CORPUS = """a photograph of an astronaut riding a horse on the moon, a watercolour of a lighthouse at night in the rain,
a photograph of a cat and a dog sleeping in the sun, an oil painting of the mountains by the sea, the noise is removed step
by step until the image is there, a portrait of a woman reading a letter, low quality, blurry, distorted, a small red house
on a hill under a large blue sky, the quick brown fox jumps over the lazy dog, denoising is projection and sampling is
iterating it, gradient descent on the distance to the data, a bowl of fruit on a table, a sketch of a city street with people
walking, it's the photographer's best picture, they're here, we've seen that, i'm here, you'll see, he'd come"""

PROMPTS = [
    "a photograph of an astronaut riding a horse",
    "",
    "A  Photograph\tof an\n ASTRONAUT,   riding!!! a horse...",
    "it's the photographer's picture; they're here, we've, I'm, you'll, he'd",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u00dcberma\u00df \u0130stanbul",
    "cafe\u0301 A\u030angstrom",
    "\u5bcc\u58eb\u5c71\u306e\u5199\u771f \u041c\u043e\u0441\u043a\u0432\u0430 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u05e9\u05dc\u05d5\u05dd",
    "a cat \U0001f431 and \U0001f469\u200d\U0001f680 1234 5.6 x10^3 (masterpiece:1.2) [blurry]",
    "<|startoftext|> the <|endoftext|> cat",
    "!!!! ???? ---- ____ ~~ \u00ab\u00bb",
    "one two three four five six seven eight nine ten " * 12,
    " leading and trailing ",
    "\u00a0non\u2003breaking\u3000spaces\u00a0",
    "don't stop'Til",
]


def text_config(hidden, heads, layers, inner, activation, vocabulary, pad=None):
    return CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=TOKENS, hidden_act=activation, projection_dim=hidden,
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1 if pad is None else pad,
    )


SCALED = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

# name: what it touches, text (hidden, heads, layers, inner, activation), merges, U-Net fields, VAE fields, scheduler,
# latent (height, width), options
CASES = {
    "sd1-like": dict(
        touches="Stable Diffusion 1.5 in small: three levels with cross-attention and one without, attention_head_dim as "
        "the number of heads, 1x1 convolutions around the transformers, quick_gelu, PNDM with steps_offset 1, "
        "vocab.json and merges.txt, text keys with the prefix text_model",
        text=(16, 4, 2, 32, "quick_gelu"), merges=120,
        unet=dict(block_out_channels=(8, 16, 16, 16), layers_per_block=2, attention_head_dim=4, cross_attention_dim=16,
                  down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
                  up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, norm_num_groups=4, sample_size=16),
        vae=dict(block_out_channels=(4, 8, 8, 8), layers_per_block=2, norm_num_groups=2, scaling_factor=0.18215),
        scheduler=PNDMScheduler(**SCALED, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
        size=(8, 8), dtype=torch.float16, layout="legacy",
    ),
    "sd2-like": dict(
        touches="Stable Diffusion 2.1 in small: heads a block, linear projections around the transformers, gelu, three text "
        "layers, v-prediction, pad token `!`, tokenizer.json, float32 weights",
        text=(24, 3, 3, 40, "gelu"), merges=60,
        unet=dict(block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=[2, 4], cross_attention_dim=24,
                  down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), use_linear_projection=True,
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=4, sample_size=12,
                  transformer_layers_per_block=2),
        vae=dict(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, scaling_factor=0.18215),
        scheduler=DDIMScheduler(**SCALED, steps_offset=1, set_alpha_to_one=False, clip_sample=False,
                                prediction_type="v_prediction"),
        size=(12, 12), dtype=torch.float32, layout="fast", pad="!",
    ),
    "odd-sizes": dict(
        touches="heads of 6 and 5 channels, a GEGLU of inner width 48 and 80 over 12 and 20 channels, a context of 10, "
        "latents of 5 x 7 that are halved upwards to 3 x 4, three channels of latents, no quant convolutions, another "
        "scaling factor, cos after sin, bfloat16 weights",
        text=(10, 2, 1, 22, "gelu"), merges=20,
        unet=dict(block_out_channels=(12, 20), layers_per_block=1, attention_head_dim=[2, 4], cross_attention_dim=10,
                  down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), norm_eps=1e-6, in_channels=3,
                  out_channels=3, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=4,
                  sample_size=7, flip_sin_to_cos=False, freq_shift=1, downsample_padding=0),
        vae=dict(block_out_channels=(6, 9, 9, 9), layers_per_block=1, norm_num_groups=3, scaling_factor=0.5,
                 latent_channels=3, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=DDIMScheduler(**SCALED, set_alpha_to_one=True, clip_sample=False, steps_offset=1,
                                timestep_spacing="trailing"),
        size=(5, 7), dtype=torch.bfloat16, layout="fast",
    ),
}


def make_tokenizer(merges, pad):
    """A CLIP tokenizer with few merges: 256 bytes, the same at the end of a word, merges, two special tokens."""
    alphabet = [*byte_alphabet(), *(letter + "</w>" for letter in byte_alphabet())]
    pairs = learn_merges(merges)
    vocabulary = [*alphabet, *("".join(pair) for pair in pairs), START, END]
    assert len(set(vocabulary)) == len(vocabulary)
    ids = {token: at for at, token in enumerate(vocabulary)}
    return CLIPTokenizer(vocab=ids, merges=[tuple(pair) for pair in pairs], model_max_length=TOKENS,
                         pad_token=pad or END), ids, pairs


def byte_alphabet():
    """The 256 letters that stand for bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]


def learn_merges(count):
    """The most frequent pairs of pieces in `CORPUS`, one after the other; ties in alphabetical order."""
    words = [[*word[:-1], word[-1] + "</w>"] for word in CORPUS.replace(",", " ").replace("'", " '").split()]
    pairs = []
    for _ in range(count):
        counts = {}
        for word in words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        pairs.append(best)
        words = [merged(word, best) for word in words]
    return pairs


def merged(word, pair):
    out = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return out


def save_tokenizer(tokenizer, ids, pairs, folder, layout):
    """As transformers 5 saves it, or the two files and two configurations of the published pipelines."""
    tokenizer.save_pretrained(folder)
    if layout == "legacy":
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs))
        special = {"bos_token": START, "eos_token": END, "pad_token": tokenizer.pad_token, "unk_token": END}
        (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
        loaded = CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=TOKENS)
        assert loaded("a photograph").input_ids == tokenizer("a photograph").input_ids


class Text(torch.nn.Module):
    """`CLIPTextModel` answering what the pipeline uses: the hidden states after the final normalisation."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids).last_hidden_state


def text_keys(folder, prefixed):
    """The names of the published checkpoints, which transformers 5 no longer writes, or its own."""
    path = folder / "model.safetensors"
    bare = {key.removeprefix("text_model."): tensor for key, tensor in load_file(path).items()}
    prefix = "text_model." if prefixed else ""
    save_file({prefix + key: tensor for key, tensor in bare.items()}, path, metadata={"format": "pt"})


@torch.no_grad()
def predict(network, x, t, context):
    """The U-Net's output in float64."""
    with exact.float64_embeddings():
        return network(x.double(), t, context.double()).sample


@torch.no_grad()
def run(network, vae, scheduler, context, noise, guidance, steps, image=None, strength=1.0):
    """`StableDiffusionPipeline`'s loop in float64: the latents after each step, and the image in 0..1.

    With `image`, `StableDiffusionImg2ImgPipeline`'s, from the mean of the encoder's posterior.
    """
    scheduler = exact.scheduler_in_float64(scheduler)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[steps - min(int(steps * strength), steps) :]
    latents, path = noise.double() * scheduler.init_noise_sigma, []
    if image is not None:
        clean = vae.encode(image.double()).latent_dist.mean * vae.config.scaling_factor
        signal = scheduler.alphas_cumprod[timesteps[0]]
        latents = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    for t in timesteps:
        both = torch.cat([latents] * 2)
        unconditional, conditional = predict(network, both, t, context.repeat_interleave(len(noise), 0)).chunk(2)
        eps = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(eps, t, latents, return_dict=False)[0]
        path.append(latents)
    return torch.stack(path), to_image(vae, latents)


@torch.no_grad()
def to_image(vae, latents):
    return (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def run_ge(network, alpha_bar, context, noise, guidance, timesteps):
    """Gradient estimation (gamma 2) by the paper's formula over the given timesteps; the last is where the state ends."""
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x, previous, path = noise.double() / alpha_bar[timesteps[0]].sqrt(), None, []
    for t, end in zip(timesteps, timesteps[1:]):
        z = x * alpha_bar[t].sqrt()
        both = torch.cat([z] * 2)
        unconditional, conditional = predict(
            network, both, torch.tensor(t), context.repeat_interleave(len(noise), 0)).chunk(2)
        eps = unconditional + guidance * (conditional - unconditional)
        mixed = eps if previous is None else 2 * eps - previous
        x, previous = x + (sigma[end] - sigma[t]) * mixed, eps
        path.append(x * alpha_bar[end].sqrt())
    return torch.stack(path)


GE_TIMESTEPS = [901, 751, 566, 353, 166, 0]
PROMPT, NEGATIVE, GUIDANCE, STEPS, STRENGTH = "a photograph of an astronaut riding a horse", "blurry, low quality", 7.5, 5, 0.6


def save32(path, tensor):
    np.save(path, tensor.numpy().astype(np.float32))


@torch.no_grad()
def write_case(folder, seed, touches, text, merges, unet, vae, scheduler, size, dtype, layout, pad=None):
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer, ids, pairs = make_tokenizer(merges, pad)
    encoder = CLIPTextModel(text_config(*text, len(ids), ids.get(pad)))
    network = UNet2DConditionModel(**unet)
    blocks = len(vae["block_out_channels"])
    autoencoder = AutoencoderKL(**{"down_block_types": ("DownEncoderBlock2D",) * blocks,
                                   "up_block_types": ("UpDecoderBlock2D",) * blocks, "sample_size": 64, **vae})
    networks = [encoder, network, autoencoder]
    for at, part in enumerate(networks):
        randomise(part.eval(), seed + at)
        part.to(dtype)
    pipeline = StableDiffusionPipeline(vae=autoencoder, text_encoder=encoder, tokenizer=tokenizer, unet=network,
                                       scheduler=scheduler, safety_checker=None, feature_extractor=None,
                                       requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    save_tokenizer(tokenizer, ids, pairs, folder / "tokenizer", layout)
    text_keys(folder / "text_encoder", prefixed=layout == "legacy")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)

    generator = np.random.default_rng(seed + 9)
    draw = lambda *shape: torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    stages = folder / "stages"
    stages.mkdir()
    encode = lambda prompt: tokenizer(prompt, padding="max_length", max_length=TOKENS, truncation=True).input_ids
    tokens = [{"text": prompt, "ids": encode(prompt)} for prompt in PROMPTS]
    (stages / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=True) + "\n")

    pair = torch.tensor([encode(NEGATIVE), encode(PROMPT)])
    channels = network.config.in_channels
    x, t, context = draw(3, channels, *size), torch.tensor([981, 1, 460]), draw(3, TOKENS, network.config.cross_attention_dim)
    factor = 2 ** (blocks - 1)
    latent, image = draw(1, channels, *size), draw(1, 3, factor * size[0], factor * size[1]).clamp(-1, 1)
    single = [Text(encoder.float())(pair), network.float()(x, t, context).sample,
              autoencoder.float().decode(latent).sample, autoencoder.encode(image).latent_dist.mean]

    encoder.double().eval()
    exact.to_float64(network)
    exact.to_float64(autoencoder)
    with exact.OnlyFloat64():
        embeddings = Text(encoder)(pair)
        eps = predict(network, x, t, context)
        decoded = autoencoder.decode(latent.double()).sample
        posterior = autoencoder.encode(image.double()).latent_dist
    double = [embeddings, eps, decoded, posterior.mean]
    for name, value in [("embeddings", embeddings), ("x", x), ("context", context), ("eps", eps), ("latent", latent),
                        ("decoded", decoded), ("image", image), ("mean", posterior.mean), ("logvar", posterior.logvar)]:
        save32(stages / f"{name}.npy", value)
    np.save(stages / "t.npy", t.numpy())

    noise = draw(2, channels, *size)
    runs = folder / "runs"
    runs.mkdir()
    save32(runs / "init_noise.npy", noise)
    path, final = run(network, autoencoder, scheduler, embeddings, noise, GUIDANCE, STEPS)
    save32(runs / "path.npy", path)
    save32(runs / "images.npy", final)
    if isinstance(scheduler, DDIMScheduler):
        bytes = ((image[0] + 1) * 127.5).round().to(torch.uint8)
        Image.fromarray(bytes.permute(1, 2, 0).numpy()).save(runs / "from.png")
        start = bytes[None].double() / 127.5 - 1
        path, _ = run(network, autoencoder, scheduler, embeddings, noise, GUIDANCE, STEPS, start, STRENGTH)
        save32(runs / "from_image_path.npy", path)
    if scheduler.config.prediction_type == "epsilon":
        alpha_bar = exact.float64_alphas_cumprod(scheduler.config)
        save32(runs / "ge_path.npy", run_ge(network, alpha_bar, embeddings, noise, GUIDANCE, GE_TIMESTEPS))
    golden = {
        "touches": touches,
        "prompt": PROMPT, "negative": NEGATIVE, "guidance": GUIDANCE, "steps": STEPS, "strength": STRENGTH,
        "ge_timesteps": GE_TIMESTEPS,
        "parameters": {name: sum(p.numel() for p in part.parameters())
                       for name, part in zip(["text_encoder", "unet", "vae"], networks)},
        "output_std": [round(float(value.std()), 4) for value in double],
        "float32_error": [float(f"{relative_error(a, b):.2e}") for a, b in zip(single, double)],
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def check_pipeline(folder):
    """What diffusers itself makes of the folder, from the same noise, is what was written (in float32)."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.from_numpy(np.load(folder / "runs" / "init_noise.npy"))
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    for at in range(len(noise)):
        image = pipeline(PROMPT, negative_prompt=NEGATIVE, guidance_scale=GUIDANCE, num_inference_steps=STEPS,
                         latents=noise[at : at + 1], height=factor * noise.shape[2], width=factor * noise.shape[3],
                         output_type="np").images[0]
        expected = np.load(folder / "runs" / "images.npy")[at].transpose(1, 2, 0)
        print(f"  image {at}: {np.abs(image - expected).max():.1e} from diffusers' own float32 run")
        assert np.abs(image - expected).max() < 5e-3, folder


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        golden = write_case(Path(folder) / name, 5000 * (seed + 1), **case)
        files = [file for file in (Path(folder) / name).rglob("*") if file.is_file()]
        print(f"{name:12} {sum(file.stat().st_size for file in files) / 1000:6.0f} kB {golden['parameters']} "
              f"std {golden['output_std']} float32 error {golden['float32_error']}")
        check_pipeline(Path(folder) / name)
