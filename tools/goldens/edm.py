"""Small networks of NVlabs' edm with random weights, their outputs and the paths of `edm_sampler`, in float64.

Used by `tools/make_goldens.py --edm DIR`, where DIR is a checkout of https://github.com/NVlabs/edm at commit
008a4e5316c8e3bfe61a62f874bddba254295afb; has no command of its own. Each entry of `NETWORKS` becomes a folder
`tests/golden/unet/NAME`, by way of a pickle and of `tools/convert_edm.py`, and each of `PATHS` a folder
`tests/golden/trajectory/NAME`. The networks and the sampler are the original code; where it casts to float32 whatever
it is given (the frequencies, the softmax, the preconditioning), the same formulas stand here in float64.
"""

import ast
import json
import pickle
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import convert_edm

from . import exact
from .trajectories import Writer, standard_normals

SONG = dict(model_type="SongUNet", img_channels=3, model_channels=8, num_blocks=1, dropout=0.1)
# name: (what it touches, arguments of `EDMPrecond`, (height, width), sigmas, labels)
NETWORKS = {
    "edm-ddpmpp": (
        "NVlabs' DDPM++: positional embedding, means of 2 x 2, labels of augmentations in training",
        dict(img_resolution=8, augment_dim=3, channel_mult=[1, 2], attn_resolutions=[4], **SONG),
        (8, 8), [80.0, 0.5, 0.002], None,
    ),
    "edm-ncsnpp": (
        "NVlabs' NCSN++: Fourier embedding, residual encoder, the filter (1, 3, 3, 1), classes and no class",
        dict(img_resolution=8, label_dim=4, label_dropout=0.1, channel_mult=[1, 2], attn_resolutions=[8],
             embedding_type="fourier", encoder_type="residual", channel_mult_noise=2, resample_filter=[1, 3, 3, 1],
             sigma_data=0.7, **SONG),
        (8, 8), [40.0, 1.5, 0.01], [3, 0, 4],
    ),
    "edm-skip": (
        "NVlabs' SongUNet with skip encoder and decoder, three levels, 8 x 16 pixels where 16 x 16 were trained",
        dict(img_resolution=16, channel_mult=[1, 1, 2], attn_resolutions=[], embedding_type="fourier",
             encoder_type="skip", decoder_type="skip", channel_mult_emb=2, resample_filter=[1, 3, 3, 1], **SONG),
        (8, 16), [3.0, 0.1], None,
    ),
    "edm-residual-box": (
        "NVlabs' SongUNet with residual encoder, skip decoder and means of 2 x 2",
        dict(img_resolution=8, channel_mult=[1, 1], attn_resolutions=[8], encoder_type="residual",
             decoder_type="skip", **SONG),
        (8, 8), [10.0, 0.3], None,
    ),
    "edm-adm": (
        "NVlabs' ADM: DhariwalUNet with classes, a head of 64",
        dict(model_type="DhariwalUNet", img_resolution=4, img_channels=3, label_dim=3, model_channels=8,
             channel_mult=[1, 8], num_blocks=1, attn_resolutions=[2], channel_mult_emb=1),
        (4, 4), [20.0, 0.2], [2, 0],
    ),
}
# name: (network, steps, settings of `edm_sampler`)
PATHS = {
    "edm-heun": ("edm-ddpmpp", 6, dict()),
    "edm-heun-churn": ("edm-ddpmpp", 6, dict(S_churn=2.0, S_min=0.05, S_max=30.0, S_noise=1.007)),
    "edm-heun-most-churn": ("edm-skip", 5, dict(S_churn=40.0, rho=5.0, sigma_max=20.0, sigma_min=0.01)),
}
IMAGES, STEPS = 1, 8


def original(code):
    """The module of networks, in float64 throughout, and `edm_sampler`."""
    sys.path.insert(0, str(code))
    from training import networks

    def embedding(self, x):
        half = self.num_channels // 2
        exponent = torch.arange(half, dtype=torch.float64) / (half - (1 if self.endpoint else 0))
        angles = x.ger((1 / self.max_positions) ** exponent)
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    class Attention:
        @staticmethod
        def apply(q, k):
            return torch.einsum("ncq,nck->nqk", q, k / np.sqrt(k.shape[1])).softmax(dim=2)

    networks.PositionalEmbedding.forward = embedding
    networks.AttentionOp = Attention
    tree = ast.parse((Path(code) / "generate.py").read_text())
    wanted = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "edm_sampler"]
    scope = {"torch": torch, "np": np}
    exec(compile(ast.Module(wanted, []), "generate.py", "exec"), scope)
    return networks, scope["edm_sampler"]


def randomise(network, seed):
    """Draw every parameter so that activations stay of order one, in few values, which float16 holds."""
    generator = np.random.default_rng(seed)
    for name, parameter in network.named_parameters():
        draw = torch.from_numpy(generator.standard_normal(tuple(parameter.shape)))
        if "norm" in name:
            value = 1 + 0.3 * draw if name.endswith("weight") else 0.2 * draw
        elif parameter.ndim == 1:
            value = 0.2 * draw
        else:
            value = (2 * draw).round() / 2 / np.sqrt(parameter[0].numel())
        parameter.data.copy_(value.half())
    for name, buffer in network.named_buffers():
        if name.endswith("freqs"):
            buffer.copy_(torch.from_numpy(generator.standard_normal(tuple(buffer.shape))).half())


class Exact:
    """`EDMPrecond` in float64 as `edm_sampler` calls it, with a note of each call."""

    sigma_min, sigma_max = 0, float("inf")

    def __init__(self, network):
        self.model, self.data, self.calls = network.model.double().eval(), float(network.sigma_data), []

    def round_sigma(self, sigma):
        return torch.as_tensor(sigma)

    @torch.no_grad()
    def inner(self, x, noise, labels):
        with exact.OnlyFloat64():
            return self.model(x, noise, labels)

    def __call__(self, x, sigma, labels=None):
        sigma = torch.as_tensor(sigma, dtype=torch.float64)
        noise = sigma.log() / 4
        self.calls.append(float(noise))
        total = sigma**2 + self.data**2
        output = self.inner(x / total.sqrt(), noise.repeat(len(x)), labels)
        return self.data**2 / total * x + sigma * self.data / total.sqrt() * output


def one_hot(labels, classes):
    """Rows of the labels; the label after the last class is none."""
    return torch.eye(classes + 1, dtype=torch.float64)[torch.as_tensor(labels)][:, :classes]


def write_network(networks, folder, seed, touches, fields, size, sigmas, labels):
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    network = networks.EDMPrecond(**fields).eval()
    randomise(network, seed)
    # As users have them: a pickle that carries the code of its classes.
    with tempfile.NamedTemporaryFile(suffix=".pkl") as file:
        pickle.dump({"ema": network}, file)
        file.flush()
        loaded = convert_edm.load(file.name)
    convert_edm.convert(loaded, folder, torch.float16)
    (folder / "scheduler_config.json").unlink()

    generator = np.random.default_rng(seed + 1)
    x = generator.standard_normal((len(sigmas), network.img_channels, *size)).astype(np.float32)
    noise = (np.log(np.array(sigmas)) / 4).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "t.npy", noise)
    classes = None
    if labels is not None:
        np.save(folder / "labels.npy", np.array(labels, np.int64))
        classes = one_hot(labels, network.label_dim)
    output = Exact(network).inner(torch.from_numpy(x).double(), torch.from_numpy(noise).double(), classes)
    np.save(folder / "eps.npy", output.numpy())
    golden = {"touches": touches, "parameters": sum(p.numel() for p in network.parameters()),
              "output_std": round(float(output.std()), 4)}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{folder.name:20} {golden}")
    return network


class Settings:
    """The settings of `edm_sampler` in the place of a scheduler."""

    def __init__(self, fields):
        self.fields = fields

    def save_pretrained(self, folder):
        config = {"_class_name": "edm_sampler", **self.fields}
        (Path(folder) / "scheduler_config.json").write_text(json.dumps(config, indent=2) + "\n")


class EdmWriter(Writer):
    """Writes paths of one of these networks."""

    def __init__(self, golden, name, network, size):
        self.root, self.name, self.network = Path(golden) / "trajectory", name, Exact(network)
        self.shape = (IMAGES, network.img_channels, *size)
        seed = sum(name.encode())
        self.noise, self.draws = (standard_normals(self.shape, seed), standard_normals((STEPS, *self.shape), seed + 1))
        np.save(self.root / f"init_noise-{name}.npy", self.noise.numpy())
        np.save(self.root / f"step_noise-{name}.npy", self.draws.numpy())


def write_path(writer, name, edm_sampler, steps, settings):
    states, draws = [], iter(writer.draws)

    def randn_like(x):
        # Called once a step, with the state before it.
        states.append(x.clone())
        return next(draws).double()

    final = edm_sampler(writer.network, writer.noise, randn_like=randn_like, num_steps=steps, **settings)
    shutil.rmtree(writer.root / name, ignore_errors=True)
    about = {"sampler": name, "steps": steps, "scale": "x", "step_ends": list(range(steps))}
    writer.write(name, about, states[1:] + [final], Settings({"sigma_data": writer.network.data, **settings}))


def write_all(golden, code):
    networks, edm_sampler = original(code)
    made = {}
    for seed, (name, case) in enumerate(NETWORKS.items()):
        made[name] = write_network(networks, Path(golden) / "unet" / name, 7000 + 10 * seed, *case), case[2]
    writers = {}
    for name, (network, steps, settings) in PATHS.items():
        if network not in writers:
            writers[network] = EdmWriter(golden, network, *made[network])
        write_path(writers[network], name, edm_sampler, steps, settings)
