"""Small random models of diffusers and transformers, and files of them that downhill opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiTTransformer2DModel,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 77
SCALED = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def drawn(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Draws every parameter so that activations stay of order one, and returns the network for inference."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        value = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            is_scale = "norm" in name and name.endswith("weight")
            value = 1 + 0.2 * value if is_scale else 0.1 * value
        elif "embedding" in name:
            value = 0.5 * value
        else:
            value = value / parameter[0].numel() ** 0.5
        parameter.data.copy_(value)
    return network.eval().requires_grad_(False)


def unet2d(folder: Path, seed: int = 1, scheduler: object = None, **fields: object) -> UNet2DModel:
    """Writes a pipeline of a `UNet2DModel` of 8 x 8 images, and returns the network."""
    usual = dict(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=8, attention_head_dim=8, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    network = drawn(UNet2DModel(**(usual | fields)), seed)
    network.save_pretrained(folder)
    (scheduler or DDPMScheduler(clip_sample=False)).save_pretrained(folder)
    return network


def dit(folder: Path, seed: int = 2) -> DiTTransformer2DModel:
    """Writes a `DiTTransformer2DModel` of 8 x 8 images and 10 classes, and returns it."""
    network = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=10,
    )  # fmt: skip
    drawn(network, seed).save_pretrained(folder)
    return network


def tokenizer() -> tuple[CLIPTokenizer, int]:
    """Returns a tokenizer of CLIP without merges, and the size of its vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable] + [chr(256 + at) for at in range(256 - len(printable))]
    pairs = [("a", "t</w>"), ("c", "at</w>"), ("r", "e"), ("o", "n</w>")]
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in pairs), START, END]
    ids = {token: at for at, token in enumerate(words)}
    return CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=TOKENS, pad_token=END), len(words)


def text_config(vocabulary: int, hidden: int) -> CLIPTextConfig:
    """Returns the configuration of a text encoder of two layers."""
    return CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TOKENS, hidden_act="quick_gelu", projection_dim=hidden, bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
    )  # fmt: skip


def unet_condition(seed: int, **fields: object) -> UNet2DConditionModel:
    """Returns a network of 8 x 8 latents."""
    usual = dict(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=2, cross_attention_dim=16,
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    return drawn(UNet2DConditionModel(**(usual | fields)), seed)


def autoencoder(seed: int, scaling_factor: float = 0.18215) -> AutoencoderKL:
    """Returns an autoencoder whose latents have half the height and width of images."""
    network = AutoencoderKL(
        block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, scaling_factor=scaling_factor,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return drawn(network, seed)


def scheduler() -> DDIMScheduler:
    """Returns the schedule of Stable Diffusion, walked by DDIM."""
    return DDIMScheduler(**SCALED, steps_offset=1, set_alpha_to_one=False, clip_sample=False)


def stable_diffusion(folder: Path, seed: int = 5) -> StableDiffusionPipeline:
    """Writes a Stable Diffusion of 8 x 8 latents, 16 x 16 pixels, and returns the pipeline."""
    words, vocabulary = tokenizer()
    pipeline = StableDiffusionPipeline(
        text_encoder=drawn(CLIPTextModel(text_config(vocabulary, 16)), seed), unet=unet_condition(seed + 1),
        vae=autoencoder(seed + 2), tokenizer=words, scheduler=scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    return written(pipeline, folder)


def inpainting(folder: Path, seed: int = 25) -> StableDiffusionInpaintPipeline:
    """Writes a Stable Diffusion whose network takes a mask and the image under it, and returns the pipeline."""
    words, vocabulary = tokenizer()
    pipeline = StableDiffusionInpaintPipeline(
        text_encoder=drawn(CLIPTextModel(text_config(vocabulary, 16)), seed),
        unet=unet_condition(seed + 1, in_channels=9), vae=autoencoder(seed + 2), tokenizer=words,
        scheduler=scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return written(pipeline, folder)


def stable_diffusion_xl(folder: Path, seed: int = 15) -> StableDiffusionXLPipeline:
    """Writes a Stable Diffusion XL of 8 x 8 latents, 16 x 16 pixels, and returns the pipeline."""
    words, vocabulary = tokenizer()
    unet = unet_condition(
        seed, cross_attention_dim=20, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 12,
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        text_encoder=drawn(CLIPTextModel(text_config(vocabulary, 8)), seed + 1),
        text_encoder_2=drawn(CLIPTextModelWithProjection(text_config(vocabulary, 12)), seed + 2), tokenizer=words,
        tokenizer_2=tokenizer()[0], unet=unet, vae=autoencoder(seed + 3), scheduler=scheduler(),
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip
    return written(pipeline, folder)


def written(pipeline: Any, folder: Path) -> Any:
    """Writes a pipeline, and returns it without a progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    """Returns standard normals, float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distance(found: object, expected: object) -> float:
    """Returns the largest difference of two arrays or tensors, over the largest absolute value of the second."""
    found, expected = (
        np.asarray(values.detach().float() if isinstance(values, torch.Tensor) else values, np.float64)
        for values in (found, expected)
    )
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())
