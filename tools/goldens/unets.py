"""Small random `UNet2DModel` folders with diffusers' output in float64.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/unet/NAME`; together they touch every field of `UNet2DModel`.
"""

import inspect
import json
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from . import exact

WEIGHTS = "diffusion_pytorch_model.safetensors"


def config(downs, ups, channels, groups, **fields):
    """A UNet2DModel config from one-letter blocks: D(own), A(ttention), R(esnet-sampled)."""
    names = {"D": "{}Block2D", "A": "Attn{}Block2D", "R": "Resnet{}sampleBlock2D"}
    return dict(
        down_block_types=tuple(names[letter].format("Down") for letter in downs),
        up_block_types=tuple(names[letter].format("Up") for letter in ups),
        block_out_channels=channels,
        norm_num_groups=groups,
        **fields,
    )


# Fields common to the published ddpm-cifar10-32 and ddpm-celebahq-256.
DDPM_FIELDS = dict(
    attention_head_dim=None, norm_eps=1e-6, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1
)

# name: (what it touches, config, (height, width), timesteps, options of `write_case`)
CASES = {
    "cifar-like": (
        "the topology of ddpm-cifar10-32 in small: three levels, attention at the second and in the middle, one head, "
        "sin before cos, asymmetric padding; briefly trained, so that it denoises and sampling with it converges",
        config("DAD", "DAD", (8, 8, 12), 4, sample_size=8, layers_per_block=2, **DDPM_FIELDS),
        (8, 8), [999, 3], {"train_steps": 600},
    ),
    "sparse-config": (
        "config.json without the keys that equal the class defaults: head dim 8, cos before sin, freq_shift 0, "
        "padding 1, eps 1e-5",
        config("DA", "AD", (8, 16), 4, sample_size=12, layers_per_block=1),
        (12, 12), [0, 421], {"sparse": True, "dtype": torch.float16},
    ),
    "three-layers-wide": (
        "layers_per_block 3, head dim 4, one channel, 12x20 pixels halved to 3x5, freq_shift 0 with sin first",
        config("DDA", "ADD", (4, 8, 8), 2, sample_size=(12, 20), in_channels=1, out_channels=1, layers_per_block=3,
               attention_head_dim=4, flip_sin_to_cos=False, freq_shift=0),
        (12, 20), [17, 640], {"dtype": torch.float16},
    ),
    "groups-of-three": (
        "12 channels in 4 groups of 3, head dim 6, 14x14 halved to 7x7, time_embedding_dim 20, act_fn swish",
        config("AA", "AA", (12, 12), 4, sample_size=14, layers_per_block=1, attention_head_dim=6,
               time_embedding_dim=20, act_fn="swish", freq_shift=1),
        (14, 14), [55, 999], {"dtype": torch.float16},
    ),
    "head-dim-remainder": (
        "6 and 10 channels, 5 in and 2 out, head dim 4 that does not divide them (heads * dim < channels), cos first "
        "with freq_shift 1",
        config("AA", "AA", (6, 10), 2, sample_size=(10, 6), in_channels=5, out_channels=2, layers_per_block=2,
               attention_head_dim=4, freq_shift=1, norm_eps=1e-3),
        (10, 6), [1, 250, 700], {"dtype": torch.float16},
    ),
    "odd-embedding": (
        "9 and 15 channels: an odd positional embedding is padded with a zero; relu, head dim 3, time_embedding_dim 10",
        config("DA", "AD", (9, 15), 3, sample_size=(8, 12), in_channels=2, out_channels=3, layers_per_block=1,
               attention_head_dim=3, act_fn="relu", time_embedding_dim=10, downsample_padding=0),
        (8, 12), [5, 900], {"dtype": torch.bfloat16},
    ),
    "resnet-blocks": (
        "ResnetDownsampleBlock2D and ResnetUpsampleBlock2D, gelu; they ignore downsample_padding, downsample_type and "
        "upsample_type",
        config("RR", "RR", (8, 12), 4, sample_size=12, layers_per_block=1, attention_head_dim=None, act_fn="gelu",
               downsample_padding=0, time_embedding_dim=16),
        (12, 12), [100, 998], {"dtype": torch.bfloat16},
    ),
    "resnet-sampling": (
        "AttnDownBlock2D with downsample_type resnet, AttnUpBlock2D with upsample_type resnet, mish, scale_shift, "
        "attn_norm_num_groups 2 in the middle",
        config("AD", "DA", (8, 8), 4, sample_size=(8, 4), layers_per_block=1, downsample_type="resnet",
               upsample_type="resnet", act_fn="mish", resnet_time_scale_shift="scale_shift", attn_norm_num_groups=2,
               attention_head_dim=4, time_embedding_dim=16),
        (8, 4), [33, 512], {},
    ),
    "mixed-sampling": (
        "attention blocks sampled by resnets beside plain ones that ignore *_type, downsample_padding 0, three levels",
        config("ADA", "DAA", (4, 8, 8), 4, sample_size=8, layers_per_block=1, downsample_type="resnet",
               upsample_type="resnet", downsample_padding=0, attention_head_dim=2, time_embedding_dim=12),
        (8, 8), [77, 801], {},
    ),
    "scale-shift": (
        "scale_shift without attn_norm_num_groups: the middle attention has no group norm, the others do",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=1, resnet_time_scale_shift="scale_shift",
               attention_head_dim=4, time_embedding_dim=16),
        (8, 8), [2, 450], {"dtype": torch.float16},
    ),
    "fourier": (
        "time_embedding_type fourier: log(t) projected, sin before cos whatever flip_sin_to_cos, output divided by t",
        config("DA", "AD", (8, 12), 4, sample_size=8, layers_per_block=1, time_embedding_type="fourier",
               attention_head_dim=None, flip_sin_to_cos=True, time_embedding_dim=16),
        (8, 8), [0.0625, 1.5, 48.0], {"dtype": torch.float16, "float_timesteps": True},
    ),
    "learned-time": (
        "time_embedding_type learned with num_train_timesteps 40",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=1, time_embedding_type="learned",
               num_train_timesteps=40, attention_head_dim=4),
        (8, 8), [0, 39, 11], {"dtype": torch.float16},
    ),
    "class-table": (
        "class_embed_type null with num_class_embeds: a learned table; mid_block_type null",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=2, num_class_embeds=10, mid_block_type=None,
               attention_head_dim=4, time_embedding_dim=16),
        (8, 8), [9, 640, 9], {"labels": np.array([3, 0, 9], np.int64), "dtype": torch.float16},
    ),
    "class-timestep": (
        "class_embed_type timestep, center_input_sample, add_attention false, mid_block_scale_factor sqrt(2)",
        config("DD", "DD", (4, 8), 2, sample_size=8, layers_per_block=1, class_embed_type="timestep",
               center_input_sample=True, add_attention=False, mid_block_scale_factor=2**0.5),
        (8, 8), [10, 900], {"labels": np.array([7.0, 123.5], np.float32), "dtype": torch.float16},
    ),
    "class-identity": (
        "class_embed_type identity (labels are vectors added to the time embedding), 4 channels in and out, "
        "mid_block_scale_factor 2 around attention, dropout (ignored in evaluation)",
        config("DA", "AD", (4, 8), 2, sample_size=8, in_channels=4, out_channels=4, layers_per_block=1,
               class_embed_type="identity", mid_block_scale_factor=2.0, dropout=0.3, time_embedding_dim=16,
               attention_head_dim=4),
        (8, 8), [400, 20], {"labels": "vectors", "dtype": torch.float16},
    ),
    "float16": (
        "float16 weights, timesteps that are not integers",
        config("DA", "AD", (8, 16), 4, sample_size=12, layers_per_block=1, in_channels=1, out_channels=1,
               attention_head_dim=8, time_embedding_dim=24),
        (12, 12), [0.25, 17.5, 998.75], {"dtype": torch.float16, "float_timesteps": True},
    ),
    "bfloat16": (
        "bfloat16 weights, up and down blocks that differ in kind",
        config("DA", "DD", (8, 16), 8, sample_size=(4, 12), layers_per_block=1, attention_head_dim=8,
               time_embedding_dim=24),
        (4, 12), [8, 321], {"dtype": torch.bfloat16},
    ),
    "deprecated-names": (
        "attention keys query/key/value/proj_attn, in the middle as 1x1 convolutions [C,C,1,1]; block names "
        "UNetResAttnDownBlock2D and UNetResAttnUpBlock2D; num_class_embeds absent",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=1, attention_head_dim=None,
               time_embedding_dim=16),
        (8, 8), [44, 777], {"names": "deprecated", "dtype": torch.float16},
    ),
    "ermongroup-names": (
        "the keys of the PNDM and ddim repositories (temb.dense.0, down.0.block.0, mid.attn_1.q, up.0 = the finest "
        "level), attention as 1x1 convolutions",
        config("DAD", "DAD", (8, 12, 16), 4, sample_size=8, layers_per_block=1, time_embedding_dim=32, **DDPM_FIELDS),
        (8, 8), [6, 853], {"names": "ermongroup", "dtype": torch.float16},
    ),
    "sharded": (
        "weights in several safetensors files with an index",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=1, attention_head_dim=4, time_embedding_dim=16),
        (8, 8), [30, 600], {"shard_size": "6KB", "dtype": torch.float16},
    ),
    "pipeline-layout": (
        "model_index.json with unet/ and scheduler/ folders",
        config("DA", "AD", (4, 8), 2, sample_size=8, layers_per_block=1, attention_head_dim=4, time_embedding_dim=16),
        (8, 8), [60, 940], {"pipeline": True, "dtype": torch.float16},
    ),
    "one-level": (
        "a single block with attention, nothing halved, 5x7 pixels, a batch of one",
        config("A", "A", (8,), 2, sample_size=(5, 7), layers_per_block=1, attention_head_dim=8, time_embedding_dim=16),
        (5, 7), [123], {},
    ),
    "one-pixel": (
        "4x4 pixels halved to a single one, a batch of five, one channel a group",
        config("DDA", "ADD", (4, 4, 4), 4, sample_size=4, layers_per_block=1, attention_head_dim=2,
               time_embedding_dim=16, **{k: DDPM_FIELDS[k] for k in ("norm_eps", "downsample_padding")}),
        (4, 4), [0, 250, 500, 750, 999], {},
    ),
    "learned-variance": (
        "twice as many channels out as in: the second half parametrises a variance, here from 0.3 to 0.7",
        config("DA", "AD", (8, 8), 4, sample_size=8, out_channels=6, layers_per_block=1, attention_head_dim=4,
               time_embedding_dim=16),
        (8, 8), [999, 400, 0], {"dtype": torch.float16, "variance": True},
    ),
    "ncsnpp-like": (
        "the topology of google/ncsnpp-* in small: blocks with Skip, with and without attention, filters of (1, 3, 3, 1), "
        "Fourier embedding, 2x - 1, output divided by sigma, norm_num_groups null, mid_block_scale_factor sqrt(2)",
        dict(down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
             up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"), block_out_channels=(32, 32), norm_num_groups=None,
             sample_size=8, layers_per_block=1, time_embedding_type="fourier", attention_head_dim=None, norm_eps=1e-6,
             mid_block_scale_factor=2**0.5, center_input_sample=True),
        (8, 8), [0.01, 1.5, 300.0], {"dtype": torch.float16, "float_timesteps": True, "few_values": True},
    ),
    "skip-levels": (
        "blocks with Skip of several widths: groups by channels, scale_shift, another nonlinearity, three levels",
        dict(down_block_types=("SkipDownBlock2D",) * 3, up_block_types=("SkipUpBlock2D",) * 3,
             block_out_channels=(8, 16, 16), norm_num_groups=4, sample_size=(8, 16), layers_per_block=1,
             resnet_time_scale_shift="scale_shift", act_fn="mish", add_attention=False),
        (8, 16), [7, 640], {"dtype": torch.float16},
    ),
    "consistency-like": (
        "the fields of openai/diffusers-cd_imagenet64_* in small: ResnetDownsampleBlock2D beside attention, resampled by "
        "residual blocks, scale_shift, classes, attn_norm_num_groups; called at 250 log(sigma), also below 0",
        config("RAA", "AAR", (8, 8, 12), 4, sample_size=8, layers_per_block=1, downsample_type="resnet",
               upsample_type="resnet", resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
               num_class_embeds=5, attention_head_dim=4, time_embedding_dim=16),
        (8, 8), [1095.5, -1553.5, 17.25],
        {"labels": np.array([4, 0, 2], np.int64), "dtype": torch.float16, "float_timesteps": True},
    ),
}


def randomise(network, seed, few_values=False):
    """Draw every parameter, so that none is trivially zero or one and activations stay of order one. Few values of
    weights make a large file that packs well."""
    generator = np.random.default_rng(seed)
    for name, parameter in network.named_parameters():
        draw = torch.from_numpy(generator.standard_normal(tuple(parameter.shape)))
        if "norm" in name:
            value = 1 + 0.3 * draw if name.endswith("weight") else 0.2 * draw
        elif name == "time_proj.weight":
            value = 16 * draw if parameter.ndim == 1 else draw
        elif name == "class_embedding.weight":
            value = draw
        elif parameter.ndim == 1:
            value = 0.2 * draw
        else:
            draw = (2 * draw).round() / 2 if few_values else draw
            gain = 1.6 if re.search(r"to_[qk]\.", name) else 1.0
            value = gain * draw / np.sqrt(parameter[0].numel())
        parameter.data.copy_(value)


def coloured_squares(count, channels, size, generator):
    """Images with one bright rectangle on a flat dark background, in -1..1."""
    corner = generator.integers(0, size - 2, (count, 2))
    extent = generator.integers(2, size, (count, 2))
    rows, columns = np.arange(size)[None, :, None], np.arange(size)[None, None, :]
    inside = (rows >= corner[:, :1, None]) & (rows < (corner + extent)[:, :1, None])
    inside = inside & (columns >= corner[:, 1:, None]) & (columns < (corner + extent)[:, 1:, None])
    front, back = generator.uniform(0, 1, (count, channels, 1, 1)), generator.uniform(-1, -0.5, (count, channels, 1, 1))
    return torch.from_numpy(np.where(inside[:, None], front, back)).float()


def train(network, steps, seed, batch=128):
    """Teach the network to predict the noise in `coloured_squares`, roughly."""
    generator = np.random.default_rng(seed)
    alpha_bar = exact.float64_alphas_cumprod(DDPMScheduler().config).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        clean = coloured_squares(batch, network.config.in_channels, network.config.sample_size, generator)
        noise = torch.from_numpy(generator.standard_normal(clean.shape)).float()
        t = torch.from_numpy(generator.integers(0, len(alpha_bar), batch))
        signal = alpha_bar[t].view(-1, 1, 1, 1)
        loss = torch.nn.functional.mse_loss(network(signal.sqrt() * clean + (1 - signal).sqrt() * noise, t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    print(f"trained for {steps} steps, loss {loss.item():.4f}")


def deprecated_names(state):
    """Attention keys as diffusers wrote them before 0.12; the middle block's as 1x1 convolutions."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, tensor in state.items():
        match = re.search(r"attentions\.\d+\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)$", key)
        if match:
            if key.startswith("mid_block") and match[2] == "weight":
                tensor = tensor[:, :, None, None].contiguous()
            key = key.replace(match[1], old[match[1]])
        renamed[key] = tensor
    return renamed


def ermongroup_names(state):
    """Keys of `Model` in ermongroup/ddim and luping-liu/PNDM; `up` counts from the finest level."""
    levels = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("up_blocks"))
    rules = [
        (r"^time_embedding\.linear_1", "temb.dense.0"),
        (r"^time_embedding\.linear_2", "temb.dense.1"),
        (r"^conv_norm_out", "norm_out"),
        (r"^down_blocks", "down"),
        (r"^up_blocks\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}"),
        (r"^mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}"),
        (r"^mid_block\.attentions\.0", "mid.attn_1"),
        (r"(down|up)samplers\.0\.conv", r"\1sample.conv"),
        (r"\.resnets\.", ".block."),
        (r"\.attentions\.", ".attn."),
        (r"time_emb_proj", "temb_proj"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"group_norm", "norm"),
        (r"to_out\.0", "proj_out"),
        (r"to_([qkv])", r"\1"),
    ]
    renamed = {}
    for key, tensor in state.items():
        if re.search(r"to_(q|k|v|out\.0)\.weight$", key):
            tensor = tensor[:, :, None, None].contiguous()
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def rewrite_config(path, change):
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(change(fields), indent=2, sort_keys=True) + "\n")


def without_defaults(fields):
    defaults = {name: p.default for name, p in inspect.signature(UNet2DModel.__init__).parameters.items()}
    as_json = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    return {name: value for name, value in fields.items() if name not in as_json or as_json[name] != value}


def with_old_block_names(fields):
    for key in ("down_block_types", "up_block_types"):
        fields[key] = ["UNetRes" + name for name in fields[key]]
    del fields["num_class_embeds"]
    return fields


def save_network(network, folder, options):
    """Write the diffusers folder in the layout that the options ask for."""
    network.save_pretrained(folder, max_shard_size=options.get("shard_size", "10GB"))
    names = options.get("names")
    if names:
        rename = {"deprecated": deprecated_names, "ermongroup": ermongroup_names}[names]
        save_file(rename(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    if names == "deprecated":
        rewrite_config(folder / "config.json", with_old_block_names)
    if options.get("sparse"):
        rewrite_config(folder / "config.json", without_defaults)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)


def relative_error(value, reference):
    """The largest over the images of max|value - reference| / max|reference|."""
    error = (value.double() - reference).abs().flatten(1).amax(1)
    return float((error / reference.abs().flatten(1).amax(1)).max())


@torch.no_grad()
def write_case(folder, seed, touches, fields, size, timesteps, options):
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    network = UNet2DModel(**fields).eval()
    randomise(network, seed, options.get("few_values", False))
    if options.get("variance"):
        half = network.config.out_channels // 2
        network.conv_out.weight.data[half:] *= 0.05
        network.conv_out.bias.data[half:] = 0.5
    if "train_steps" in options:
        with torch.enable_grad():
            train(network, options["train_steps"], seed)
    network = network.to(options.get("dtype", torch.float32))
    model_folder = folder / "unet" if options.get("pipeline") else folder
    save_network(network, model_folder, options)
    if options.get("pipeline"):
        DDPMScheduler(variance_type="fixed_large").save_pretrained(folder / "scheduler")
        index = {"_class_name": "DDPMPipeline", "_diffusers_version": network.config["_diffusers_version"],
                 "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")

    generator = np.random.default_rng(seed + 1)
    x = generator.standard_normal((len(timesteps), network.config.in_channels, *size)).astype(np.float32)
    t = np.array(timesteps, np.float32 if options.get("float_timesteps") else np.int64)
    labels = options.get("labels")
    if isinstance(labels, str):
        labels = generator.standard_normal((len(timesteps), fields["time_embedding_dim"])).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "t.npy", t)
    if labels is not None:
        np.save(folder / "labels.npy", labels)

    x, t = torch.from_numpy(x), torch.from_numpy(t)
    labels = None if labels is None else torch.from_numpy(labels)
    # What diffusers can load itself must be the network just written.
    loaded = network if options.get("names") else UNet2DModel.from_pretrained(model_folder)
    single = network.float()(x, t, labels).sample
    assert relative_error(loaded.float().eval()(x, t, labels).sample, single) < 1e-5, folder
    double = (lambda value: value.double() if value is not None and value.is_floating_point() else value)
    eps = exact.predict(exact.to_float64(network), x, double(t), double(labels))
    np.save(folder / "eps.npy", eps.numpy())
    golden = {
        "touches": touches,
        "parameters": sum(p.numel() for p in network.parameters()),
        "output_std": round(float(eps.std()), 4),
        "float32_error": float(f"{relative_error(single, eps):.2e}"),
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    return golden


def write_all(folder):
    for seed, (name, case) in enumerate(CASES.items()):
        golden = write_case(Path(folder) / name, 1000 * (seed + 1), *case)
        size = sum(file.stat().st_size for file in (Path(folder) / name).rglob("*") if file.is_file())
        print(f"{name:20} {golden['parameters']:6} parameters {size / 1000:6.0f} kB  std {golden['output_std']:6} "
              f"float32 error {golden['float32_error']}")


# Published topologies. Their weights here are random: the point is the shape and the size.
PUBLISHED = {
    "cifar10": (
        config("DADD", "DDAD", (128, 256, 256, 256), 32, sample_size=32, layers_per_block=2, **DDPM_FIELDS), 35_746_307,
    ),
    "celeba64": (
        config("DDADD", "DDADD", (128, 256, 256, 256, 512), 32, sample_size=64, layers_per_block=2, **DDPM_FIELDS),
        78_700_803,
    ),
    "celebahq": (
        config("DDDDAD", "DADDDD", (128, 128, 256, 256, 512, 512), 32, sample_size=256, layers_per_block=2,
               **DDPM_FIELDS),
        113_673_219,
    ),
}


def write_published(name, folder):
    fields, parameters = PUBLISHED[name]
    size = fields["sample_size"]
    golden = write_case(folder, 7, f"the topology of {name} with random weights", fields, (size, size), [500], {})
    assert golden["parameters"] == parameters, golden
    DDPMScheduler(variance_type="fixed_large").save_pretrained(folder)
    print(name, golden)
