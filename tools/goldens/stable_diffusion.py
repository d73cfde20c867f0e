"""Stable Diffusion 1.5 in its real size with random float16 weights, and what PyTorch makes of it in float32.

Used by `tools/make_goldens.py --stable-diffusion DIR`; has no command of its own. Writes 2.1 GB, not committed:
`tests/networks/stable_diffusion.rs` reads it. The topology is that of the published checkpoint; the byte-pair merges are few, so that
token ids are others.
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .latent import END, GUIDANCE, NEGATIVE, PROMPT, SCALED, START, TOKENS, Text, byte_alphabet, learn_merges
from .latent import save_tokenizer, text_keys
from .unets import randomise

VOCABULARY = 49408
UNET = dict(
    sample_size=64, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, attention_head_dim=8,
    cross_attention_dim=768, down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
)
VAE = dict(
    sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=0.18215,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
)
TEXT = dict(
    vocab_size=VOCABULARY, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    max_position_embeddings=TOKENS, hidden_act="quick_gelu", projection_dim=768,
    bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1, pad_token_id=VOCABULARY - 1,
)
PARAMETERS = dict(text_encoder=123_060_480, unet=859_520_964, vae=83_653_863)


def make_tokenizer():
    """Few merges, with the special tokens where the published vocabulary has them."""
    alphabet = [*byte_alphabet(), *(letter + "</w>" for letter in byte_alphabet())]
    pairs = learn_merges(120)
    ids = {token: at for at, token in enumerate([*alphabet, *("".join(pair) for pair in pairs)])}
    ids |= {START: VOCABULARY - 2, END: VOCABULARY - 1}
    return CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=TOKENS), ids, pairs


def timed(label, work):
    begun = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begun
    print(f"{label}: {seconds:.2f} s", flush=True)
    return result, seconds


@torch.no_grad()
def write(folder):
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer, ids, pairs = make_tokenizer()
    parts = dict(text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)), unet=UNet2DConditionModel(**UNET),
                 vae=AutoencoderKL(**VAE))
    for seed, (name, part) in enumerate(parts.items()):
        assert sum(p.numel() for p in part.parameters()) == PARAMETERS[name], name
        randomise(part.eval(), seed)
        part.half()
    scheduler = PNDMScheduler(**SCALED, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    StableDiffusionPipeline(**parts, tokenizer=tokenizer, scheduler=scheduler, safety_checker=None,
                            feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)
    save_tokenizer(tokenizer, ids, pairs, folder / "tokenizer", "legacy")
    text_keys(folder / "text_encoder", prefixed=True)

    for part in parts.values():
        part.float()
    noise = torch.from_numpy(np.random.default_rng(9).standard_normal((1, 4, 64, 64)).astype(np.float32))
    encode = lambda prompt: tokenizer(prompt, padding="max_length", max_length=TOKENS, truncation=True).input_ids
    prompts = torch.tensor([encode(NEGATIVE), encode(PROMPT)])
    text, unet, vae = Text(parts["text_encoder"]), parts["unet"], parts["vae"]
    seconds = {}
    context, seconds["text"] = timed("text encoder, two prompts", lambda: text(prompts))
    scheduler = DDIMScheduler.from_config(scheduler.config, clip_sample=False)
    scheduler.set_timesteps(10)
    t = scheduler.timesteps[0]
    halves = lambda: unet(torch.cat([noise] * 2), t, context).sample
    timed("U-Net, first call", halves)
    both, seconds["unet"] = timed("U-Net, two halves of one image", halves)
    eps = both[0] + GUIDANCE * (both[1] - both[0])
    latents = scheduler.step(eps, t, noise).prev_sample
    image, seconds["decode"] = timed("decoder, 512 x 512", lambda: vae.decode(noise).sample)
    reference = folder / "reference"
    reference.mkdir()
    for name, value in [("noise", noise), ("embeddings", context), ("halves", both), ("latents", latents),
                        ("decoded", image[:, :, 192:320, 192:320])]:
        np.save(reference / f"{name}.npy", value.numpy().astype(np.float32))
    about = {"prompt": PROMPT, "negative": NEGATIVE, "guidance": GUIDANCE, "timestep": int(t), "steps": 10,
             "crop": [192, 320], "torch": torch.__version__, "threads": torch.get_num_threads(), "seconds": seconds}
    (reference / "about.json").write_text(json.dumps(about, indent=1) + "\n")
