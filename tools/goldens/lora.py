"""LoRA files in several dialects, and the weights that diffusers and PEFT merge them to.

Used by `tools/make_goldens.py`; has no command of its own. The base is `tests/golden/latent/sd1-like`, read as float32.
Each dialect is a file or a folder in `tests/golden/lora`; `NAME.merged.safetensors` holds the merged tensors that
differ from the base, and `cases.json` names the files and the weights of each case. `original-names.json` pairs names
of kohya in the layout of the original authors with those of diffusers, by diffusers' own conversion, for a network with
the blocks of SDXL.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_unet_lora_key, _maybe_map_sgm_blocks_to_diffusers
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

BASE = "latent/sd1-like"
# Linear layers of attention and of the feed-forward part, and convolutions of 1 x 1, 3 x 3 and 3 x 3 that halve.
NETWORK = [
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.resnets.1.conv1",
    "down_blocks.0.downsamplers.0.conv",
    "mid_block.resnets.0.time_emb_proj",
    "up_blocks.1.resnets.0.conv_shortcut",
    "up_blocks.1.upsamplers.0.conv",
    "up_blocks.3.attentions.1.transformer_blocks.0.attn2.to_v",
]
TEXT = ["layers.0.self_attn.q_proj", "layers.1.self_attn.out_proj", "layers.1.mlp.fc1"]


def pipeline(golden):
    folder = golden / BASE
    return StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, safety_checker=None, feature_extractor=None)


def randomise_factors(network, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def with_adapter(golden, rank, alpha, seed, text=True, **fields):
    """The pipeline with an adapter of random factors, not merged."""
    pipe = pipeline(golden)
    pipe.unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=NETWORK, **fields))
    randomise_factors(pipe.unet, seed)
    if text:
        pipe.text_encoder.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=TEXT))
        randomise_factors(pipe.text_encoder, seed + 1)
    return pipe


def factors(network):
    return get_peft_model_state_dict(network)


def tensors(pipe):
    """The weights of network and text encoder by their name in the folder."""
    found = {}
    for part, module in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder)):
        for name, tensor in module.state_dict().items():
            name = name.replace(".base_layer.", ".").removeprefix("text_model.")
            if "lora_" not in name and "position_ids" not in name:
                found[f"{part}/{name}"] = tensor.detach().float().clone()
    return found


def merged(golden, loaded):
    """The tensors that differ from the base after `loaded` are merged by diffusers: (file, weight) pairs."""
    pipe = pipeline(golden)
    before = tensors(pipe)
    for at, (file, weight) in enumerate(loaded):
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=f"a{at}")
    pipe.set_adapters([f"a{at}" for at in range(len(loaded))], [weight for _, weight in loaded])
    pipe.fuse_lora(adapter_names=[f"a{at}" for at in range(len(loaded))])
    pipe.unload_lora_weights()
    after = tensors(pipe)
    assert before.keys() == after.keys()
    changed = {name: value for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    return changed


def write_kohya(path, pipe, alphas, original=False):
    """The factors under kohya's names. `alphas` are by part; the scale of kohya is alpha / rank."""
    state = {f"unet.{name}": value for name, value in factors(pipe.unet).items()}
    kohya = {}
    for name, value in state.items():
        module, factor = name.removeprefix("unet.").rsplit(".lora_", 1)
        module = f"lora_unet_{module.replace('.', '_')}"
        kohya[f"{module}.lora_{'down' if factor.startswith('A') else 'up'}.weight"] = value
        kohya[f"{module}.alpha"] = torch.tensor(float(alphas["unet"]))
    for name, value in factors(pipe.text_encoder).items():
        module, factor = name.rsplit(".lora_", 1)
        if not module.startswith("text_model."):
            module = f"text_model.{module}"
        module = f"lora_te_{module.replace('.', '_')}"
        kohya[f"{module}.lora_{'down' if factor.startswith('A') else 'up'}.weight"] = value
        kohya[f"{module}.alpha"] = torch.tensor(float(alphas["text_encoder"]))
    kohya = {name: value.contiguous() for name, value in kohya.items()}
    save_file(kohya, path, metadata={"ss_network_dim": "3", "ss_base_model_version": "sd_v1"})


def write_old(path, pipe):
    """The factors of attention under the names of diffusers before 0.20."""
    state = {}
    for name, value in factors(pipe.unet).items():
        if ".attn" not in name:
            continue
        module, factor = name.rsplit(".lora_", 1)
        owner, projection = module.removesuffix(".0").rsplit(".", 1)
        way = "down" if factor.startswith("A") else "up"
        state[f"unet.{owner}.processor.{projection}_lora.{way}.weight"] = value.contiguous()
    save_file(state, path)


def original_names():
    """Pairs of names of SDXL's network: in the layout of the original authors, and in diffusers'."""
    network = UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8, 8), layers_per_block=2, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3), attention_head_dim=2, cross_attention_dim=6, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=2, projection_class_embeddings_input_dim=18,
    )
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()
              if name.endswith(".weight") and value.ndim in (2, 4)}
    pairs = {}
    # input_blocks 4, 5, 7, 8, the middle and output_blocks 0 to 5 have attention in SDXL.
    attentions = [f"input_blocks_{at}_1" for at in (4, 5, 7, 8)] + ["middle_block_1"]
    attentions += [f"output_blocks_{at}_1" for at in range(6)]
    inside = ("proj_in", "proj_out", "transformer_blocks_0_attn1_to_q", "transformer_blocks_0_attn2_to_out_0",
              "transformer_blocks_1_ff_net_0_proj", "transformer_blocks_2_attn2_to_k")
    candidates = [f"{block}_{rest}" for block in attentions for rest in inside]
    candidates += [f"{block}_{rest}"
                   for block in ("input_blocks_1_0", "input_blocks_7_0", "middle_block_2", "output_blocks_8_0")
                   for rest in ("in_layers_2", "emb_layers_1", "out_layers_3", "skip_connection")]
    candidates += ["input_blocks_3_0_op", "input_blocks_6_0_op", "output_blocks_2_2_conv", "output_blocks_5_2_conv",
                   "input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2", "label_emb_0_0", "label_emb_0_2"]
    by_flat_name = {name.removesuffix(".weight").replace(".", "_"): name.removesuffix(".weight") for name in shapes}
    for candidate in candidates:
        theirs = f"lora_unet_{candidate}"
        mapped = _maybe_map_sgm_blocks_to_diffusers({f"{theirs}.alpha": torch.zeros(1)}, network.config)
        module = _convert_unet_lora_key(next(iter(mapped)).removesuffix(".alpha")).removeprefix("unet.")
        flat = module.replace(".processor", "").replace(".", "_")
        if flat in by_flat_name:  # not every block has a shortcut
            pairs[theirs] = by_flat_name[flat]
    assert len(pairs) > 80, len(pairs)
    return {"weights": shapes, "pairs": pairs}


def write_all(golden):
    root = golden / "lora"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    # diffusers' own writer, with an alpha that its metadata keep.
    pipe = with_adapter(golden, rank=2, alpha=3, seed=1)
    StableDiffusionPipeline.save_lora_weights(
        root, unet_lora_layers=factors(pipe.unet), text_encoder_lora_layers=factors(pipe.text_encoder),
        weight_name="diffusers.safetensors", unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=pipe.text_encoder.peft_config["default"].to_dict())
    # kohya's names, another rank, an alpha in each module.
    write_kohya(root / "kohya.safetensors", with_adapter(golden, rank=3, alpha=1, seed=3),
                {"unet": 1.5, "text_encoder": 2.0})
    write_old(root / "old.safetensors", with_adapter(golden, rank=1, alpha=1, seed=5, text=False))
    cases = {
        "diffusers": [["diffusers.safetensors", 1.0]],
        "kohya": [["kohya.safetensors", 0.7]],
        "both": [["kohya.safetensors", -0.4], ["diffusers.safetensors", 0.9]],
        "old": [["old.safetensors", 1.0]],
    }
    for name, files in cases.items():
        changed = merged(golden, [(root / file, weight) for file, weight in files])
        save_file(changed, root / f"{name}.merged.safetensors")
    # PEFT's own writer and merge: other alphas and ranks for some modules, alpha over the root of the rank.
    network = pipeline(golden).unet
    before = {name: value.clone() for name, value in network.state_dict().items()}
    adapted = get_peft_model(network, LoraConfig(
        r=2, lora_alpha=4, target_modules=NETWORK, use_rslora=True, rank_pattern={"proj_in": 3},
        alpha_pattern={"to_q": 1.5}))
    randomise_factors(adapted, 7)
    adapted.save_pretrained(root / "peft")
    (root / "peft" / "README.md").unlink(missing_ok=True)
    after = adapted.merge_and_unload().state_dict()
    changed = {f"unet/{name}": value for name, value in after.items() if not torch.equal(value, before[name])}
    assert len(changed) == len(NETWORK)
    save_file(changed, root / "peft.merged.safetensors")
    cases["peft"] = [["peft", 1.0]]
    (root / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    (root / "original-names.json").write_text(json.dumps(original_names(), indent=0) + "\n")
