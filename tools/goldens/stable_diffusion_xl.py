"""Stable Diffusion XL in its real size with random float16 weights, and what PyTorch makes of it in float32.

Used by `tools/make_goldens.py --stable-diffusion-xl DIR`; has no command of its own. Writes 7 GB, not committed:
`tests/networks/stable_diffusion_xl.rs` reads it. The topology is that of the published base model; the byte-pair merges
are few, so that token ids are others. Weights go to the disk tensor by tensor, and networks are in memory one at a time:
the U-Net takes 10 GB in float32.
"""

import gc
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .latent import NEGATIVE, PROMPT, SCALED, TOKENS, save_tokenizer
from .stable_diffusion import VOCABULARY, make_tokenizer, timed

GUIDANCE, STEPS, SIDES = 5.0, 10, (8, 64)
UNET = dict(
    sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2, attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048, transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time",
    addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)
VAE = dict(
    sample_size=1024, block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=0.13025,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, force_upcast=True,
)


def text_config(hidden, heads, layers, activation, end):
    return CLIPTextConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=TOKENS, hidden_act=activation, projection_dim=hidden,
        bos_token_id=VOCABULARY - 2, eos_token_id=end, pad_token_id=VOCABULARY - 1)


PARTS = {
    "text_encoder": lambda: CLIPTextModel(text_config(768, 12, 12, "quick_gelu", VOCABULARY - 1)),
    "text_encoder_2": lambda: CLIPTextModelWithProjection(text_config(1280, 20, 32, "gelu", 2)),
    "unet": lambda: UNet2DConditionModel(**UNET),
    "vae": lambda: AutoencoderKL(**VAE),
}
PARAMETERS = dict(text_encoder=123_060_480, text_encoder_2=694_659_840, unet=2_567_463_684, vae=83_653_863)


def drawn(name, shape, generator):
    """A tensor in float16, as `unets.randomise` draws it but in float32."""
    draw = generator.standard_normal(shape, dtype=np.float32)
    if "norm" in name:
        value = 1 + 0.3 * draw if name.endswith("weight") else 0.2 * draw
    elif len(shape) == 1:
        value = 0.2 * draw
    else:
        gain = 1.6 if re.search(r"to_[qk]\.", name) else 1.0
        value = gain * draw / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float16)


def stream(path, shapes, seed):
    """Writes a safetensors file, one tensor in memory at a time."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(drawn(name, shape, generator).tobytes())


def write_weights(folder):
    for seed, (name, make) in enumerate(PARTS.items()):
        with init_empty_weights(include_buffers=False):
            part = make()
        shapes = {key: tuple(value.shape) for key, value in part.named_parameters()}
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == PARAMETERS[name], name
        target = folder / name
        target.mkdir(parents=True)
        if name.startswith("text_encoder"):
            part.config.architectures = [type(part).__name__]
            part.config.save_pretrained(target)
            # As published: all names but that of the projection have the prefix.
            named = lambda key: key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"
            shapes = {named(key): shape for key, shape in shapes.items()}
            stream(target / "model.safetensors", shapes, seed)
        else:
            part.save_config(target)
            stream(target / "diffusion_pytorch_model.safetensors", shapes, seed)
        print(f"{name}: {PARAMETERS[name]:,} parameters", flush=True)


def write_rest(folder):
    """Scheduler, tokenizers and index. Returns the tokenizers."""
    EulerDiscreteScheduler(**SCALED, steps_offset=1, timestep_spacing="leading").save_pretrained(folder / "scheduler")
    tokenizer, ids, pairs = make_tokenizer()
    save_tokenizer(tokenizer, ids, pairs, folder / "tokenizer", "legacy")
    second = CLIPTokenizer(vocab=ids, merges=pairs, model_max_length=TOKENS, pad_token="!")
    second.save_pretrained(folder / "tokenizer_2")
    index = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    for name in ("text_encoder", "text_encoder_2"):
        index[name] = ["transformers", "CLIPTextModelWithProjection" if name[-1] == "2" else "CLIPTextModel"]
    for name in ("tokenizer", "tokenizer_2"):
        index[name] = ["transformers", "CLIPTokenizer"]
    for name, kind in dict(unet="UNet2DConditionModel", vae="AutoencoderKL", scheduler="EulerDiscreteScheduler").items():
        index[name] = ["diffusers", kind]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return tokenizer, second


def loaded(folder, name):
    """A network in float32."""
    with init_empty_weights(include_buffers=False):
        part = PARTS[name]()
    file = folder / name / ("model.safetensors" if name.startswith("text") else "diffusion_pytorch_model.safetensors")
    known = dict(part.named_parameters())
    weights = {}
    with safe_open(file, "pt") as tensors:
        for key in tensors.keys():
            weights[key if key in known else key.removeprefix("text_model.")] = tensors.get_tensor(key).float()
    part.load_state_dict(weights, assign=True)
    return part.eval()


@torch.no_grad()
def write(folder):
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    write_weights(folder)
    tokenizers = write_rest(folder)
    reference = folder / "reference"
    reference.mkdir()
    save = lambda name, value: np.save(reference / f"{name}.npy", value.numpy().astype(np.float32))
    seconds, contexts, pooled = {}, [], None
    for name, tokenizer in zip(("text_encoder", "text_encoder_2"), tokenizers):
        encoder = loaded(folder, name)
        encode = lambda text: tokenizer(text, padding="max_length", max_length=TOKENS, truncation=True).input_ids
        ids = torch.tensor([encode(NEGATIVE), encode(PROMPT)])
        output, seconds[name] = timed(f"{name}, two texts", lambda: encoder(ids, output_hidden_states=True))
        contexts.append(output.hidden_states[-2])
        pooled = output[0] if output[0].ndim == 2 else pooled
        del encoder, output
        gc.collect()
    context = torch.cat(contexts, dim=-1)
    save("embeddings", context)
    save("pooled", pooled)

    unet = loaded(folder, "unet")
    scheduler = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    generator = np.random.default_rng(9)
    for side in SIDES:
        noise = torch.from_numpy(generator.standard_normal((1, 4, side, side)).astype(np.float32))
        scheduler.set_timesteps(STEPS)
        t = scheduler.timesteps[0]
        ids = torch.tensor([[8.0 * side, 8 * side, 0, 0, 8 * side, 8 * side]]).repeat(2, 1)
        state = noise * scheduler.init_noise_sigma
        both = torch.cat([scheduler.scale_model_input(state, t)] * 2)
        call = lambda: unet(both, t, context, added_cond_kwargs=dict(text_embeds=pooled, time_ids=ids)).sample
        halves, seconds[f"unet_{side}"] = timed(f"U-Net, two halves, latents {side} x {side}", call)
        eps = halves[0] + GUIDANCE * (halves[1] - halves[0])
        after = scheduler.step(eps, t, state).prev_sample
        # In the scale z of the model: the state over sqrt(1 + sigma^2).
        latents = after / (1 + scheduler.sigmas[1] ** 2) ** 0.5
        for name, value in dict(noise=noise, halves=halves, latents=latents).items():
            save(f"{name}_{side}", value)
    del unet
    gc.collect()
    vae = loaded(folder, "vae")
    latent = torch.from_numpy(np.load(reference / "noise_64.npy"))
    image, seconds["decode"] = timed("decoder, 512 x 512", lambda: vae.decode(latent).sample)
    save("decoded", image[:, :, 192:320, 192:320])
    about = {"prompt": PROMPT, "negative": NEGATIVE, "guidance": GUIDANCE, "timestep": float(t), "steps": STEPS,
             "sides": SIDES, "crop": [192, 320], "torch": torch.__version__, "threads": torch.get_num_threads(),
             "seconds": seconds}
    (reference / "about.json").write_text(json.dumps(about, indent=1) + "\n")
