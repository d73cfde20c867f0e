"""Paths of a small `DiTPipeline` under CFG++, guidance in an interval of noise, and rescaled guidance, in float64.

The network and its start noise are those of `dit.py`; what is written goes into `tests/golden/guidance`. CFG++ is
algorithm 2 of Chung et al. (2024) for DDIM, and for DPM-Solver++ 2M the step of the authors' code, in sigma. Rescaling
is diffusers' own `rescale_noise_cfg`.
"""

import json
import shutil

import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from . import exact
from .dit import CLASSES, GE_TIMESTEPS, in_float64, predict

PLUS, SCALE, INTERVAL, RESCALE = 0.6, 4.0, (0.3, 3.0), 0.7


def both(network, z, t, labels):
    """The outputs with the labels and with the null class."""
    t = torch.as_tensor(t).repeat(len(z))
    null = torch.full_like(labels, network.config.num_embeds_ada_norm)
    return tuple(predict(network, z, t, some)[:, : z.shape[1]] for some in (labels, null))


def ddim(alpha_bar, noise, parts):
    """DDIM over `GE_TIMESTEPS` in the variance-preserving scale; `parts(z, t)` is x0 to go to, and eps to bring back."""
    z, path = noise, []
    for t, end in zip(GE_TIMESTEPS, GE_TIMESTEPS[1:]):
        clean, eps = parts(z, t)
        z = alpha_bar[end].sqrt() * clean + (1 - alpha_bar[end]).sqrt() * eps
        path.append(z)
    return torch.stack(path)


def clean_and_noise(alpha_bar, t, z, output, prediction="epsilon"):
    signal, spread = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    eps = output if prediction == "epsilon" else signal * output + spread * z
    return (z - spread * eps) / signal, eps


def dpm(alpha_bar, noise, denoised):
    """DPM-Solver++ 2M with CFG++ as the authors' code has it; the first and the last step are of order 1."""
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x, before, path = noise / alpha_bar[GE_TIMESTEPS[0]].sqrt(), None, []
    for at, (t, end) in enumerate(zip(GE_TIMESTEPS, GE_TIMESTEPS[1:])):
        guided, without = denoised(x, t)
        h = (sigma[t] / sigma[end]).log()
        if before is None or at == len(GE_TIMESTEPS) - 2:
            x = guided + (x - without) / sigma[t] * sigma[end]
        else:
            r = (sigma[GE_TIMESTEPS[at - 1]] / sigma[t]).log() / h
            momentum = -(-h).exp() * without - (-h).expm1() * (without - before) / (2 * r)
            x = guided + momentum + (-h).exp() * x
        before = without
        path.append(x * alpha_bar[end].sqrt())
    return torch.stack(path)


@torch.no_grad()
def write_all(golden):
    folder = golden / "guidance"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source = golden / "dit" / "pipeline"
    network = in_float64(DiTTransformer2DModel.from_pretrained(source / "transformer", dtype=torch.float32).eval(), (8, 8))
    scheduler = DDIMScheduler.from_pretrained(source / "scheduler")
    alpha_bar = exact.float64_alphas_cumprod(scheduler.config)
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    noise = torch.from_numpy(np.load(source / "runs" / "init_noise.npy")).double()
    labels = torch.tensor(CLASSES)

    def plus(z, t):
        conditional, unconditional = both(network, z, t, labels)
        clean, _ = clean_and_noise(alpha_bar, t, z, unconditional + PLUS * (conditional - unconditional))
        return clean, unconditional

    def plus_in_sigma(x, t):
        z = x * alpha_bar[t].sqrt()
        conditional, unconditional = both(network, z, t, labels)
        return (x - sigma[t] * (unconditional + PLUS * (conditional - unconditional)), x - sigma[t] * unconditional)

    def within(z, t):
        conditional, unconditional = both(network, z, t, labels)
        acts = INTERVAL[0] < sigma[t] <= INTERVAL[1]
        output = unconditional + SCALE * (conditional - unconditional) if acts else conditional
        return clean_and_noise(alpha_bar, t, z, output)

    def rescaled(prediction):
        def parts(z, t):
            conditional, unconditional = both(network, z, t, labels)
            output = unconditional + SCALE * (conditional - unconditional)
            return clean_and_noise(alpha_bar, t, z, rescale_noise_cfg(output, conditional, RESCALE), prediction)

        return parts

    paths = {
        "plus_ddim": ddim(alpha_bar, noise, plus),
        "plus_dpm": dpm(alpha_bar, noise, plus_in_sigma),
        "interval": ddim(alpha_bar, noise, within),
        "rescaled_epsilon": ddim(alpha_bar, noise, rescaled("epsilon")),
        "rescaled_v": ddim(alpha_bar, noise, rescaled("v_prediction")),
    }
    for name, path in paths.items():
        np.save(folder / f"{name}.npy", path.numpy().astype(np.float32))
    about = {
        "plus": PLUS, "scale": SCALE, "interval": INTERVAL, "rescale": RESCALE, "timesteps": GE_TIMESTEPS,
        "sigmas": [round(float(sigma[t]), 4) for t in GE_TIMESTEPS],
    }
    (folder / "golden.json").write_text(json.dumps(about, indent=1) + "\n")
    return {name: {"std": round(float(path[-1].std()), 4)} for name, path in paths.items()}
