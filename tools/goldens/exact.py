"""Run diffusers networks and schedulers in float64, with every internal cast to float32 removed.

Used by `tools/make_goldens.py`; has no command of its own.
"""

import contextlib
import math

import diffusers.models.embeddings as embeddings
import diffusers.models.resnet as resnet
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.downsampling import FirDownsample2D
from diffusers.models.upsampling import FirUpsample2D, upfirdn2d_native
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch.utils._python_dispatch import TorchDispatchMode


# Those that keep a little signal at the last timestep where none is left.
LITTLE_SIGNAL = (
    DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler)


def timestep_embedding(timesteps, embedding_dim, flip_sin_to_cos=False, downscale_freq_shift=1, scale=1, max_period=10000):
    """diffusers' `get_timestep_embedding` in float64; the original computes in float32 whatever it is given."""
    half = embedding_dim // 2
    exponent = -math.log(max_period) * torch.arange(half, dtype=torch.float64) / (half - downscale_freq_shift)
    angles = scale * timesteps[:, None].double() * exponent.exp()[None, :]
    parts = [angles.cos(), angles.sin()] if flip_sin_to_cos else [angles.sin(), angles.cos()]
    return torch.nn.functional.pad(torch.cat(parts, dim=-1), (0, embedding_dim % 2))


def filtered(x, kernel, up):
    """diffusers' `upsample_2d` and `downsample_2d` by 2 in float64; the originals make their filter in float32."""
    taps = torch.tensor(kernel, dtype=torch.float64)
    taps = torch.outer(taps, taps) / taps.sum() ** 2 * (4 if up else 1)
    rest = len(kernel) - 2
    if up:
        return upfirdn2d_native(x, taps, up=2, pad=((rest + 1) // 2 + 1, rest // 2))
    return upfirdn2d_native(x, taps, down=2, pad=((rest + 1) // 2, rest // 2))


class OnlyFloat64(TorchDispatchMode):
    """Fails when any operation inside it makes a tensor of a smaller floating type."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                assert tensor.dtype == torch.float64, f"{function} made {tensor.dtype}"
        return result


def to_float64(network):
    """The network in float64. The eager attention processor is used, without its float32 softmax."""
    network = network.double().eval()
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())
            module.upcast_softmax = module.upcast_attention = False
    return network


@contextlib.contextmanager
def float64_embeddings():
    """diffusers' timestep embeddings and filters in float64, and nothing smaller anywhere."""
    replaced = [
        (embeddings, "get_timestep_embedding", timestep_embedding),
        (resnet, "upsample_2d", lambda x, kernel: filtered(x, kernel, up=True)),
        (resnet, "downsample_2d", lambda x, kernel: filtered(x, kernel, up=False)),
        (FirUpsample2D, "forward", lambda self, x: filtered(x, self.fir_kernel, up=True)),
        (FirDownsample2D, "forward", lambda self, x: filtered(x, self.fir_kernel, up=False)),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        with OnlyFloat64():
            yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


@torch.no_grad()
def predict(network, x, timesteps, labels=None):
    """Output in float64 of a network made by `to_float64`."""
    with float64_embeddings():
        return network(x.double(), timesteps, labels).sample


def float64_alphas_cumprod(config):
    """The cumulative product of 1 - beta in float64 for a diffusers scheduler config."""
    steps, start, end = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    schedule = config["beta_schedule"]
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif schedule == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    elif schedule == "squaredcos_cap_v2":
        bar = torch.cos((torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    elif schedule == "sigmoid":
        betas = torch.linspace(-6, 6, steps, dtype=torch.float64).sigmoid() * (end - start) + start
    elif schedule == "laplace":
        time = torch.arange(steps + 1, dtype=torch.float64) / steps
        log = -0.5 * torch.copysign(torch.ones_like(time), 0.5 - time) * (1 - 2 * (0.5 - time).abs() + 1e-6).log()
        bar = log.sigmoid().sqrt()
        betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    else:
        raise ValueError(schedule)
    if config.get("rescale_betas_zero_snr"):
        betas = rescale_zero_terminal_snr(betas)
    return torch.cumprod(1 - betas, dim=0)


def scheduler_in_float64(scheduler):
    """Replace the float32 tables of a scheduler, before `set_timesteps`."""
    alpha_bar = float64_alphas_cumprod(scheduler.config)
    if scheduler.config.get("rescale_betas_zero_snr") and isinstance(scheduler, LITTLE_SIGNAL):
        alpha_bar[-1] = 2**-24
    scheduler.alphas_cumprod = alpha_bar
    scheduler.alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    if hasattr(scheduler, "one"):
        scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    if hasattr(scheduler, "final_alpha_cumprod"):
        to_one = scheduler.config.set_alpha_to_one
        scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64) if to_one else alpha_bar[0]
    if hasattr(scheduler, "lambda_t"):
        scheduler.alpha_t = alpha_bar.sqrt()
        scheduler.sigma_t = (1 - alpha_bar).sqrt()
        scheduler.lambda_t = scheduler.alpha_t.log() - scheduler.sigma_t.log()
    return scheduler
