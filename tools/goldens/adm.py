"""Networks and sampling paths of openai/guided-diffusion in float64: tests/golden/adm/, adm_classifier/, adm_guided/.

    GUIDED_DIFFUSION=/path/to/guided-diffusion python -m tools.goldens.adm

The checkout is commit 22e0df8183507e13a7813f8d38d51b072ca1e67c. The weights are drawn (drawn.py) and not stored.
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch as th

from tools.goldens.drawn import draw

sys.path.insert(0, os.environ["GUIDED_DIFFUSION"])
from guided_diffusion import unet  # noqa: E402
from guided_diffusion.script_util import create_gaussian_diffusion  # noqa: E402

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "adm"
SIZE = 8
IMAGES = 2
CLASSES = 5

# The arguments of `UNetModel`, and of the diffusion process.
NETWORKS = {
    # As at 64 x 64: classes, a learned variance, the new order of attention, residual blocks that resize, cosine.
    "imagenet": dict(
        model=dict(image_size=SIZE, in_channels=3, model_channels=32, out_channels=6, num_res_blocks=1,
                   attention_resolutions=(2,), channel_mult=(1, 2), num_classes=CLASSES, num_head_channels=16,
                   use_scale_shift_norm=True, resblock_updown=True, use_new_attention_order=True),
        process=dict(learn_sigma=True, noise_schedule="cosine"),
    ),
    # As improved-diffusion: convolutions resize, the old order of attention, heads by their number, no variance.
    "plain": dict(
        model=dict(image_size=SIZE, in_channels=3, model_channels=32, out_channels=3, num_res_blocks=1,
                   attention_resolutions=(2, 4), channel_mult=(1, 1, 2), num_heads=4),
        process=dict(learn_sigma=False, noise_schedule="linear"),
    ),
    # Means and neighbours resize, heads of two channels, more of them on the way up, another level of 1.5 times.
    "pooled": dict(
        model=dict(image_size=SIZE, in_channels=1, model_channels=64, out_channels=2, num_res_blocks=1,
                   attention_resolutions=(1,), channel_mult=(0.5, 1), num_heads=16, num_heads_upsample=8,
                   conv_resample=False, use_scale_shift_norm=True),
        process=dict(learn_sigma=True, noise_schedule="linear"),
    ),
}

# The arguments of `EncoderUNetModel`.
CLASSIFIERS = {
    # As the published ones: an attention over mean and pixels, residual blocks that resize, the old order.
    "attention": dict(image_size=SIZE, in_channels=3, model_channels=32, out_channels=CLASSES, num_res_blocks=1,
                      attention_resolutions=(2,), channel_mult=(1, 2), num_head_channels=16,
                      use_scale_shift_norm=True, resblock_updown=True, pool="attention"),
    # The mean over all pixels, a time embedding that is added, heads of two channels.
    "adaptive": dict(image_size=SIZE, in_channels=1, model_channels=32, out_channels=6, num_res_blocks=2,
                     attention_resolutions=(1,), channel_mult=(1, 1), num_heads=16, resblock_updown=True,
                     pool="adaptive"),
}


# The scale of the guidance by the classifier `attention`, for these networks of three channels.
GUIDED = {"imagenet": 40.0, "plain": 40.0}


def in_float64():
    """The original casts to float32 in places; here it stays in float64."""
    th.Tensor.float = lambda self: self.double()

    def timestep_embedding(timesteps, dim, max_period=10000):
        half = dim // 2
        freqs = th.exp(-math.log(max_period) * th.arange(half, dtype=th.float64) / half)
        args = timesteps[:, None].double() * freqs[None]
        return th.cat([th.cos(args), th.sin(args)], dim=-1)

    unet.timestep_embedding = timestep_embedding


def build(cls, arguments):
    model = cls(**arguments).double().eval()
    model.dtype = th.float64
    model.load_state_dict(draw({name: value.shape for name, value in model.state_dict().items()}))
    return model


def save(path, array):
    np.save(path, np.ascontiguousarray(array))


def path_of(model, process, shape, noise, draws, labels, spacing, ddim, cond_fn=None):
    """The states after each step, with the normals in `draws` as the noise of the steps."""
    diffusion = create_gaussian_diffusion(**process, timestep_respacing=spacing)
    left = [th.from_numpy(draw) for draw in draws]
    th.randn_like = lambda _: left.pop(0)
    kwargs = {} if labels is None else {"y": labels}
    loop = diffusion.ddim_sample_loop_progressive if ddim else diffusion.p_sample_loop_progressive
    states = loop(model, shape, noise=noise, clip_denoised=True, model_kwargs=kwargs, device="cpu", cond_fn=cond_fn)
    path = np.stack([state["sample"].numpy() for state in states])
    return path, diffusion.timestep_map[::-1]


def guided():
    """Paths guided by a classifier as in `scripts/classifier_sample.py`, from the noise and the draws in adm/."""
    classifier = build(unet.EncoderUNetModel, CLASSIFIERS["attention"])
    labels = np.array([1, 4])
    y = th.from_numpy(labels)
    for name, scale in GUIDED.items():
        folder = HERE.parent / "adm_guided" / name
        folder.mkdir(parents=True, exist_ok=True)
        parts = NETWORKS[name]
        model = build(unet.UNetModel, parts["model"])
        has_classes = "num_classes" in parts["model"]

        def cond_fn(x, t, y=None):
            with th.enable_grad():
                x_in = x.detach().requires_grad_(True)
                logits = classifier(x_in, t)
                log_probs = th.nn.functional.log_softmax(logits, dim=-1)
                selected = log_probs[range(len(logits)), y.view(-1)]
                return th.autograd.grad(selected.sum(), x_in)[0] * scale

        def model_fn(x, t, y=None):
            return model(x, t, y if has_classes else None)

        noise = th.from_numpy(np.load(HERE / name / "noise.npy")).double()
        draws = np.load(HERE / name / "draws.npy").astype(np.float64)
        runs = {}
        for run, spacing, ddim in [("ddim", "ddim5", True), ("ancestral", "5", False)]:
            with th.no_grad():
                path, runs[run] = path_of(model_fn, parts["process"], noise.shape, noise, draws, y, spacing, ddim,
                                          cond_fn)
            save(folder / f"{run}.npy", path.astype(np.float32))
            plain = np.load(HERE / name / f"{run}.npy")
            apart = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(path, plain)]
            print(name, run, "guided and not, apart:", apart)
        (folder / "golden.json").write_text(json.dumps(
            {"network": name, "classifier": "attention", "labels": labels.tolist(), "scale": scale,
             "timesteps": runs}, indent=2) + "\n")


def main():
    th.set_num_threads(1)
    in_float64()
    random = np.random.default_rng(18)
    for name, parts in NETWORKS.items():
        folder = HERE / name
        folder.mkdir(parents=True, exist_ok=True)
        model = build(unet.UNetModel, parts["model"])
        arguments = parts["model"]
        shape = (IMAGES, arguments["in_channels"], SIZE, SIZE)
        x = random.standard_normal(shape).astype(np.float32)
        t = np.array([7.0, 901.0])
        labels = np.array([1, 4]) if "num_classes" in arguments else None
        y = None if labels is None else th.from_numpy(labels)
        with th.no_grad():
            out = model(th.from_numpy(x).double(), th.from_numpy(t), y).numpy()
        save(folder / "x.npy", x)
        save(folder / "t.npy", t)
        save(folder / "out.npy", out)
        if labels is not None:
            save(folder / "labels.npy", labels.astype(np.float64))
        noise = random.standard_normal(shape).astype(np.float32)
        save(folder / "noise.npy", noise)
        draws = random.standard_normal((5, *shape)).astype(np.float32)
        save(folder / "draws.npy", draws)
        runs = {}
        for run, spacing, ddim in [("ddim", "ddim5", True), ("ddim_linspace", "5", True), ("ancestral", "5", False)]:
            with th.no_grad():
                path, timesteps = path_of(model, parts["process"], shape, th.from_numpy(noise).double(),
                                          draws.astype(np.float64), y, spacing, ddim)
            save(folder / f"{run}.npy", path.astype(np.float32))
            runs[run] = timesteps
        (folder / "golden.json").write_text(json.dumps(
            {"model": arguments, "process": parts["process"], "timesteps": runs,
             "parameters": sum(value.numel() for value in model.state_dict().values())}, indent=2) + "\n")
        print(name, sum(value.numel() for value in model.state_dict().values()), np.abs(out).max())

    for name, arguments in CLASSIFIERS.items():
        folder = HERE.parent / "adm_classifier" / name
        folder.mkdir(parents=True, exist_ok=True)
        model = build(unet.EncoderUNetModel, arguments)
        shape = (IMAGES, arguments["in_channels"], SIZE, SIZE)
        x = random.standard_normal(shape).astype(np.float32)
        t = np.array([11.0, 640.0])
        labels = np.array([2, 4])
        images = th.from_numpy(x).double().requires_grad_(True)
        logits = model(images, th.from_numpy(t))
        chosen = th.nn.functional.log_softmax(logits, dim=-1)[range(IMAGES), labels]
        gradient = th.autograd.grad(chosen.sum(), images)[0]
        for file, array in [("x", x), ("t", t), ("labels", labels.astype(np.float64)),
                            ("logits", logits.detach().numpy()), ("gradient", gradient.numpy())]:
            save(folder / f"{file}.npy", array)
        (folder / "golden.json").write_text(json.dumps(
            {"model": arguments, "parameters": sum(value.numel() for value in model.state_dict().values())},
            indent=2) + "\n")
        print(name, np.abs(gradient.numpy()).max())
    guided()


if __name__ == "__main__":
    main()
