"""Writes tests/bad/: small malformed models and arrays, each with one fault, that the program must refuse by name.

    python3 tools/make_bad_inputs.py

Standard library only, deterministic: a second run changes nothing. tests/bad/README.md says what each input is and
which exit code it leads to. `sound/` and `sound.npy` are the control: the same network and array without a fault.
"""

import json
import math
import random
import shutil
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent / "tests" / "bad"
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = WEIGHTS + ".index.json"

CONFIG = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.42.1",
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": None,
    "block_out_channels": [4, 8],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 1,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 2,
    "out_channels": 1,
    "sample_size": 8,
    "time_embedding_type": "positional",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.42.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "variance_type": "fixed_small",
}


# The network, as diffusers' UNet2DModel names and shapes it.


def affine(name, *shape):
    return {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}


def resnet(name, inputs, outputs):
    shapes = affine(f"{name}.norm1", inputs) | affine(f"{name}.conv1", outputs, inputs, 3, 3)
    shapes |= affine(f"{name}.time_emb_proj", outputs, 16)
    shapes |= affine(f"{name}.norm2", outputs) | affine(f"{name}.conv2", outputs, outputs, 3, 3)
    if inputs != outputs:
        shapes |= affine(f"{name}.conv_shortcut", outputs, inputs, 1, 1)
    return shapes


def attention(name, channels):
    shapes = affine(f"{name}.group_norm", channels)
    for projection in ("to_q", "to_k", "to_v", "to_out.0"):
        shapes |= affine(f"{name}.{projection}", channels, channels)
    return shapes


def network():
    shapes = affine("conv_in", 4, 1, 3, 3)
    shapes |= affine("time_embedding.linear_1", 16, 4) | affine("time_embedding.linear_2", 16, 16)
    shapes |= resnet("down_blocks.0.resnets.0", 4, 4) | affine("down_blocks.0.downsamplers.0.conv", 4, 4, 3, 3)
    shapes |= resnet("down_blocks.1.resnets.0", 4, 8) | attention("down_blocks.1.attentions.0", 8)
    shapes |= resnet("mid_block.resnets.0", 8, 8) | resnet("mid_block.resnets.1", 8, 8)
    shapes |= attention("mid_block.attentions.0", 8)
    shapes |= resnet("up_blocks.0.resnets.0", 16, 8) | resnet("up_blocks.0.resnets.1", 12, 8)
    shapes |= attention("up_blocks.0.attentions.0", 8) | attention("up_blocks.0.attentions.1", 8)
    shapes |= affine("up_blocks.0.upsamplers.0.conv", 8, 8, 3, 3)
    shapes |= resnet("up_blocks.1.resnets.0", 12, 4) | resnet("up_blocks.1.resnets.1", 8, 4)
    shapes |= affine("conv_norm_out", 4) | affine("conv_out", 1, 4, 3, 3)
    return shapes


def sound_tensors():
    """name -> (dtype, shape, bytes), float16, seeded."""
    generator = random.Random(0)
    tensors = {}
    for name, shape in sorted(network().items()):
        scale = 0.2 if name.endswith("weight") else 0.02
        shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        values = [shift + generator.uniform(-scale, scale) for _ in range(math.prod(shape))]
        tensors[name] = ("F16", shape, struct.pack(f"<{len(values)}e", *values))
    return tensors


def few_tensors():
    """The first layer only, for faults that show before any layer is asked for."""
    return {name: tensor for name, tensor in sound_tensors().items() if name.startswith("conv_in.")}


# safetensors, sound and lying.


def described(tensors):
    """The header's entries and the data."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return header, data


def joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors(tensors):
    return joined(*described(tensors))


def lying(change):
    """The first layer with its header changed."""
    header, data = described(few_tensors())
    change(header)
    return joined(header, data)


def changed(name, tensor):
    """The whole network with one tensor changed, added, or (None) left out."""
    tensors = sound_tensors() | {name: tensor}
    return safetensors({key: value for key, value in sorted(tensors.items()) if value is not None})


def overlap(header):
    header["conv_in.weight"]["data_offsets"] = [4, 76]


def reach_beyond(header):
    header["conv_in.weight"]["data_offsets"] = [8, 1 << 40]


def other_shape(header):
    header["conv_in.weight"]["shape"] = [4, 1, 5, 5]


def huge_extents(header):
    header["conv_in.bias"] |= {"shape": [0, 1 << 32, 1 << 32], "data_offsets": [0, 0]}
    header["conv_in.weight"]["data_offsets"] = [0, 72]


def leave_hole(header):
    del header["conv_in.bias"]


def write_model(name, weights, config=CONFIG):
    folder = HERE / name
    folder.mkdir(parents=True)
    text = config if isinstance(config, str) else json.dumps(config, indent=2) + "\n"
    (folder / "config.json").write_text(text, newline="\n")
    (folder / "scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2) + "\n", newline="\n")
    for file, content in weights.items():
        (folder / file).write_bytes(content)


def without(config, field):
    return {key: value for key, value in config.items() if key != field}


def cases():
    few = {WEIGHTS: safetensors(few_tensors())}
    whole = sound_tensors()
    conv_in = whole["conv_in.weight"]
    conv1 = "mid_block.resnets.1.conv1.weight"
    nans = struct.pack("<4e", 0.5, math.nan, 0.25, math.inf)
    index = {"metadata": {"total_size": 80}, "weight_map": {
        "conv_in.bias": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "conv_in.weight": "diffusion_pytorch_model-00002-of-00002.safetensors"}}
    first_shard = {"conv_in.bias": few_tensors()["conv_in.bias"]}
    lie = {
        "header-longer-than-file": struct.pack("<Q", 1 << 20) + safetensors(few_tensors())[8:],
        "header-over-limit": struct.pack("<Q", 1 << 62) + safetensors(few_tensors())[8:],
        "header-not-json": joined(b"{'conv_in.bias': ...}", b""),
        "offsets-beyond-file": lying(reach_beyond),
        "offsets-overlap": lying(overlap),
        "offsets-leave-hole": lying(leave_hole),
        "length-against-shape": lying(other_shape),
        "empty-of-huge-extents": lying(huge_extents),
        "truncated": safetensors(few_tensors())[:-30],
        "truncated-header": safetensors(few_tensors())[:60],
        "trailing-bytes": safetensors(few_tensors()) + b"\0" * 16,
        "empty-file": b"",
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2243938\n",
        "wrong-dtype": changed("conv_in.weight", ("I64", conv_in[1], struct.pack("<36q", *range(36)))),
        "wrong-shape": changed("conv_in.weight", ("F16", [4, 3, 3, 3], conv_in[2] * 3)),
        "missing-key": changed(conv1, None),
        "unexpected-key": changed("mid_block.resnets.2.norm1.bias", ("F16", [8], b"\0" * 16)),
        "nan-weights": changed("conv_in.bias", ("F16", [4], nans)),
    }
    for name, weights in lie.items():
        write_model(name, {WEIGHTS: weights})
    write_model("sound", {WEIGHTS: safetensors(whole)})
    write_model("config-not-json", few, json.dumps(CONFIG)[:-40])
    write_model("config-without-class", few, without(CONFIG, "_class_name"))
    write_model("config-other-class", few, CONFIG | {"_class_name": "AutoencoderKL"})
    write_model("config-wrong-type", few, CONFIG | {"layers_per_block": "two"})
    write_model("config-unsupported-value", few, CONFIG | {"act_fn": "step"})
    write_model("missing-shard", {INDEX: json.dumps(index, indent=2).encode(),
                                  "diffusion_pytorch_model-00001-of-00002.safetensors": safetensors(first_shard)})
    hostile = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
    write_model("hostile-pickle", {"diffusion_pytorch_model.bin": hostile})
    write_model("damaged-pickle", {"diffusion_pytorch_model.bin": b"PK\x03\x04 not a zip archive\n"})
    write_model("no-weights", {})
    pipeline = HERE / "pipeline-without-unet"
    pipeline.mkdir()
    (pipeline / "model_index.json").write_text(
        json.dumps({"_class_name": "DiTPipeline", "transformer": ["diffusers", "DiTTransformer2DModel"],
                    "scheduler": ["diffusers", "DDIMScheduler"]}, indent=2) + "\n", newline="\n")


# npy


def npy(description, data, magic=b"\x93NUMPY\x01\x00"):
    text = repr(description).encode()
    text += b" " * (-(len(magic) + 2 + len(text) + 1) % 64) + b"\n"
    return magic + struct.pack("<H", len(text)) + text + data


def arrays():
    shape = (2, 1, 8, 8)
    count = math.prod(shape)
    data = struct.pack(f"<{count}f", *(math.sin(i) for i in range(count)))
    float32 = {"descr": "<f4", "fortran_order": False, "shape": shape}
    files = {
        "sound.npy": npy(float32, data),
        "bad-magic.npy": npy(float32, data, magic=b"\x93NUMPX\x01\x00"),
        "truncated.npy": npy(float32, data[:-100]),
        "object-dtype.npy": npy(float32 | {"descr": "|O"}, b"\x80\x04]\x94."),
        "wrong-rank.npy": npy(float32 | {"shape": (2, 64)}, data),
        "huge-shape.npy": npy(float32 | {"shape": (1 << 40, 1 << 40)}, data),
        "empty-of-huge-extents.npy": npy(float32 | {"shape": (0, 1 << 32, 1 << 32, 1)}, b""),
        "header-not-a-dictionary.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"[1, 2, 3]          \n" + data,
        "empty.npy": b"",
    }
    for name, content in files.items():
        (HERE / name).write_bytes(content)


def main():
    if HERE.exists():
        for path in HERE.iterdir():
            # What the fuzzer found is not made here.
            if path.is_dir() and path.name != "parsers":
                shutil.rmtree(path)
            elif path.suffix == ".npy":
                path.unlink()
    HERE.mkdir(parents=True, exist_ok=True)
    cases()
    arrays()


if __name__ == "__main__":
    main()
