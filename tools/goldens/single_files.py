"""Single files in the layout of the original Stable Diffusion code, by their names and shapes.

Used by `tools/make_goldens.py`; has no command of its own. Nothing of a file but its names, shapes and the place of each
tensor in a diffusers folder is kept, in `tests/golden/single_files/NAME.json.gz`; the test puts the file together from the
folder. Each table is checked before it is written: diffusers' own `loaders/single_file_utils.py` turns the file that it
describes back into the folder's tensors, bit for bit.

`PUBLISHED` are the models that people have, at their full size: names, shapes and the configurations of diffusers, which
the test compares with those derived from the shapes. `SMALL` are folders of `tests/golden/latent` and `tests/golden/inpaint`.
"""

import gzip
import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as diffusers_tables
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
OUTSIDE = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
           "conv_norm_out": "out.0", "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0",
           "add_embedding.linear_2": "label_emb.0.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(key, config):
    """The original name of a tensor of a U-Net."""
    for ours, theirs in OUTSIDE.items():
        if key.startswith(ours + "."):
            return theirs + key[len(ours):]
    rows = config["layers_per_block"] + 1
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        kind, at, rest = found.groups()
        return f"middle_block.{2 * int(at)}.{resnet(rest)}" if kind == "resnets" else f"middle_block.1.{rest}"
    way, level, kind, at, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key).groups()
    first = int(level) * rows + (1 if way == "down" else 0)
    blocks = "input_blocks" if way == "down" else "output_blocks"
    if kind == "resnets":
        return f"{blocks}.{first + int(at)}.0.{resnet(rest)}"
    if kind == "attentions":
        return f"{blocks}.{first + int(at)}.1.{rest}"
    if kind == "downsamplers":
        return f"{blocks}.{first + rows - 1}.0.op.{rest.removeprefix('conv.')}"
    attends = config["up_block_types"][int(level)].startswith("CrossAttn")
    return f"{blocks}.{first + rows - 1}.{2 if attends else 1}.{rest}"


def resnet(rest):
    name, leaf = rest.rsplit(".", 1)
    return f"{RESNET[name]}.{leaf}"


def vae_name(key, levels):
    """The original name of a tensor of an autoencoder."""
    key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
    for ours, theirs in VAE_ATTENTION.items():
        key = key.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    key = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{levels - 1 - int(found[1])}.block", key)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{levels - 1 - int(found[1])}.upsample", key)


def open_clip_name(key):
    """The original name of a tensor of a text encoder that OpenCLIP trained, and its place in a joined one."""
    key = key.removeprefix("text_model.")
    whole = {"embeddings.token_embedding.weight": "token_embedding.weight",
             "embeddings.position_embedding.weight": "positional_embedding", "text_projection.weight": "text_projection"}
    if key in whole:
        return whole[key], None
    if key.startswith("final_layer_norm"):
        return key.replace("final_layer_norm", "ln_final"), None
    key = key.replace("encoder.layers.", "transformer.resblocks.").replace("layer_norm", "ln_")
    key = key.replace(".fc1.", ".c_fc.").replace(".fc2.", ".c_proj.").replace(".self_attn.", ".attn.")
    if found := re.fullmatch(r"(.*\.attn)\.([qkv])_proj\.(\w+)", key):
        return f"{found[1]}.in_proj_{found[3]}", "qkv".index(found[2])
    return key, None


def table(components, prefixes):
    """The tensors of a single file: name -> how it is made of those of a folder, and its shape.

    `components` maps the name of a component to (configuration, tensors). How: `whole` with the shape of the file, `joined`
    along the first axis, or `transposed`.
    """
    entries = {}
    for component, (config, tensors) in components.items():
        prefix = prefixes[component]
        for key, tensor in tensors.items():
            shape, how, place = list(tensor.shape), "whole", None
            if component == "unet":
                name = unet_name(key, config)
            elif component == "vae":
                name = vae_name(key, len(config["block_out_channels"]))
                if ".attn_1." in name and len(shape) == 2:
                    shape += [1, 1]
            elif prefix.endswith(".model."):
                name, place = open_clip_name(key)
                if name == "text_projection":
                    how, shape = "transposed", shape[::-1]
            else:
                name = key if key.startswith(("text_model.", "text_projection")) else f"text_model.{key}"
            entry = entries.setdefault(prefix + name, {"how": how, "shape": shape, "from": []})
            if place is None:
                assert not entry["from"], name
                entry["from"].append([component, key])
            else:
                entry["how"] = "joined"
                entry["from"].append((place, [component, key]))
    for entry in entries.values():
        if entry["how"] == "joined":
            assert len(entry["from"]) == 3
            entry["from"] = [source for _, source in sorted(entry["from"])]
            entry["shape"] = [3 * entry["shape"][0], *entry["shape"][1:]]
    return dict(sorted(entries.items()))


def assembled(entries, components):
    """The tensors of the file that a table describes."""
    file = {}
    for name, entry in entries.items():
        parts = [components[component][1][key] for component, key in entry["from"]]
        tensor = torch.cat(parts) if entry["how"] == "joined" else parts[0]
        tensor = tensor.T.contiguous() if entry["how"] == "transposed" else tensor
        file[name] = tensor.reshape(entry["shape"])
    return file


def check(entries, components, prefixes):
    """Diffusers turns the file back into the folder."""
    file = assembled(entries, components)
    for component, (config, tensors) in components.items():
        prefix = prefixes[component]
        if component == "unet":
            found = diffusers_tables.convert_ldm_unet_checkpoint(file, config)
        elif component == "vae":
            found = diffusers_tables.convert_ldm_vae_checkpoint(file, config)
        elif prefix.endswith(".model."):
            model = type("Model", (), {"config": type("Config", (), config)()})()
            found = diffusers_tables.convert_open_clip_checkpoint(model, file, prefix=prefix)
        else:
            found = diffusers_tables.convert_ldm_clip_checkpoint({k: v for k, v in file.items() if k.startswith(prefix)})
        plain = lambda named: {key.removeprefix("text_model."): value for key, value in named.items()}  # noqa: E731
        found, tensors = plain(found), plain(tensors)
        assert sorted(found) == sorted(tensors), (component, set(found) ^ set(tensors))
        for key, tensor in tensors.items():
            assert tensor.is_meta or torch.equal(found[key].reshape(tensor.shape), tensor), key
            assert found[key].shape == tensor.shape or component == "vae", key


# The prefixes of the components, in files of either family.
OF_ONE = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model.transformer."}
OF_TWO = {**OF_ONE, "text_encoder": "cond_stage_model.model."}
OF_XL = {"unet": "model.diffusion_model.", "vae": "first_stage_model.",
         "text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."}

# Folders of tests/golden/latent and tests/golden/inpaint, with what their shapes do not say: they are smaller than any
# published model.
SMALL = {
    "sd1-like": (OF_ONE, {"unet": ["attention_head_dim", "norm_num_groups", "sample_size"], "vae": ["norm_num_groups"],
                          "text_encoder": ["num_attention_heads"]}),
    "sd2-like": (OF_TWO, {"unet": ["attention_head_dim", "norm_num_groups", "sample_size"], "vae": ["norm_num_groups"],
                          "text_encoder": ["num_attention_heads"]}),
    "nine-channels": (OF_ONE, {"unet": ["attention_head_dim", "norm_num_groups", "sample_size"], "vae": ["norm_num_groups"],
                               "text_encoder": ["num_attention_heads"], "scheduler": ["_class_name"]}),
    "sdxl-like": (OF_XL, {"unet": ["attention_head_dim", "norm_num_groups", "sample_size", "addition_time_embed_dim"],
                          "vae": ["norm_num_groups", "scaling_factor", "latents_mean", "latents_std"],
                          "text_encoder": ["num_attention_heads", "eos_token_id"],
                          "text_encoder_2": ["num_attention_heads", "eos_token_id"]}),
}

VAE = dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2, down_block_types=["DownEncoderBlock2D"] * 4,
           up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4)
TEXT_L = dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
              hidden_act="quick_gelu", max_position_embeddings=77, eos_token_id=2, projection_dim=768)
TEXT_H = dict(vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
              hidden_act="gelu", max_position_embeddings=77, eos_token_id=2, projection_dim=512)
TEXT_G = dict(vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
              hidden_act="gelu", max_position_embeddings=77, eos_token_id=2, projection_dim=1280)
SCALED = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)

# The configurations of published models, by their repositories on the hub.
PUBLISHED = {
    "stable-diffusion-v1-5": (OF_ONE, dict(
        unet=dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        vae=VAE, text_encoder=TEXT_L)),
    "stable-diffusion-inpainting": (OF_ONE, dict(
        unet=dict(sample_size=64, in_channels=9, cross_attention_dim=768, attention_head_dim=8),
        vae=VAE, text_encoder=TEXT_L)),
    "stable-diffusion-2-1": (OF_TWO, dict(
        unet=dict(sample_size=96, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True),
        vae=VAE, text_encoder=TEXT_H)),
    "stable-diffusion-xl-base-1.0": (OF_XL, dict(
        unet=dict(sample_size=128, cross_attention_dim=2048, attention_head_dim=[5, 10, 20], use_linear_projection=True,
                  block_out_channels=[320, 640, 1280], transformer_layers_per_block=[1, 2, 10],
                  down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                  addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816),
        vae={**VAE, "scaling_factor": 0.13025}, text_encoder=TEXT_L, text_encoder_2=TEXT_G)),
}


def published(fields):
    """The components of a published model, without values."""
    components = {}
    with torch.device("meta"):
        for component, config in fields.items():
            if component == "unet":
                model = UNet2DConditionModel(**config)
            elif component == "vae":
                model = AutoencoderKL(**config)
            else:
                kind = CLIPTextModelWithProjection if component == "text_encoder_2" else CLIPTextModel
                model = kind(CLIPTextConfig(**config))
            tensors = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("position_ids")}
            components[component] = (dict(model.config) if component in ("unet", "vae") else config, tensors)
    return components


def folder_of(root):
    """The components of a diffusers folder."""
    components = {}
    for component in ("unet", "vae", "text_encoder", "text_encoder_2"):
        files = [root / component / f"{stem}.safetensors" for stem in ("diffusion_pytorch_model", "model")]
        for file in filter(Path.exists, files):
            config = json.loads((root / component / "config.json").read_text())
            components[component] = (config, load_file(file))
    return components


def write(folder, name, entries, **more):
    text = json.dumps({**more, "tensors": entries}, separators=(",", ":")).encode()
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"single_files/{name}: {len(entries)} tensors")


def write_all(golden):
    folder = golden / "single_files"
    folder.mkdir(exist_ok=True)
    for name, (prefixes, stated) in SMALL.items():
        root = next(golden / place / name for place in ("latent", "inpaint") if (golden / place / name).exists())
        components = folder_of(root)
        entries = table(components, prefixes)
        check(entries, components, prefixes)
        configs = {component: config for component, (config, _) in components.items()}
        configs["scheduler"] = json.loads((root / "scheduler" / "scheduler_config.json").read_text())
        settings = {component: {field: configs[component][field] for field in fields} for component, fields in stated.items()}
        write(folder, name, entries, settings=settings)
    for name, (prefixes, fields) in PUBLISHED.items():
        components = published(fields)
        entries = table(components, prefixes)
        check(entries, components, prefixes)
        for entry in entries.values():
            del entry["how"], entry["from"]
        write(folder, name, entries, configs={component: config for component, (config, _) in components.items()})


def write_tokens(golden, wheel):
    """Ids of tokens by transformers' `CLIPTokenizer` on the published vocabulary, for either padding."""
    import tempfile

    import check_tokenizer
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as root:
        made = {folder.name: CLIPTokenizer.from_pretrained(folder) for folder in check_tokenizer.folders(wheel, Path(root))}
    ids = lambda tokenizer, text: tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids  # noqa: E731
    cases = {pad: [[text, ids(made[name], text)] for text in check_tokenizer.TEXTS]
             for name, pad in (("sd1", "<|endoftext|>"), ("sd2", "!"))}
    text = json.dumps(cases, separators=(",", ":")).encode()
    (golden / "single_files" / "clip-tokens.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"single_files/clip-tokens: {len(check_tokenizer.TEXTS)} texts")
