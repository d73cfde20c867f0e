"""Sampling paths that begin in mid-schedule, as image to image does, and paths on unusual noise levels.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of the tables becomes a folder
`tests/golden/trajectory/NAME`, which starts from the noise of `trajectories.py`. A path that begins in mid-schedule
starts from an image under that noise: 0.5 tanh of the last draw of `step_noise.npy`.
"""

import shutil

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    TCDScheduler,
)

from . import exact
from .trajectories import LINEAR, NETWORK, OTHER_NETWORK, SD_BETAS, Writer
from .trajectories_more import (
    EDM,
    EDM_DPM,
    FLOW,
    FLOW_HEUN,
    IN_X,
    KDPM2,
    KDPM2_ANCESTRAL,
    MULTI,
    SA,
    SDE,
    SINGLE,
    TWO_CALLS,
    UNIPC,
    V,
    path,
)

DDIM, DDPM, DEIS, PNDM, EULER, EULER_ANCESTRAL, HEUN, LMS, LCM, TCD = (
    DDIMScheduler, DDPMScheduler, DEISMultistepScheduler, PNDMScheduler, EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, LCMScheduler, TCDScheduler)
PLAIN = dict(clip_sample=False)
ZERO = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")
ZERO_V = dict(**ZERO, **V)
DYNAMIC = dict(thresholding=True, sample_max_value=3.0)
BETA = dict(use_beta_sigmas=True)
SIGMA_MIN = dict(final_sigmas_type="sigma_min")

# name: (scheduler class, fields, N, share of the steps that is walked, arguments of its `step`)
BEGUN = {
    "ddim": (DDIM, PLAIN, 20, 0.6, {}),
    "ddpm": (DDPM, PLAIN, 16, 0.5, {}),
    "pndm": (PNDM, dict(skip_prk_steps=True, steps_offset=1, **SD_BETAS), 20, 0.6, {}),
    "pndm-second": (PNDM, dict(skip_prk_steps=True, **LINEAR), 10, 0.9, {}),
    "pndm-last": (PNDM, dict(skip_prk_steps=True, **LINEAR), 10, 0.1, {}),
    "pndm-linspace": (PNDM, dict(skip_prk_steps=True, timestep_spacing="linspace"), 7, 0.6, {}),
    "euler-karras": (EULER, dict(use_karras_sigmas=True), 20, 0.6, {}),
    "euler-ancestral": (EULER_ANCESTRAL, dict(timestep_spacing="leading"), 16, 0.5, {}),
    "heun": (HEUN, LINEAR, 12, 0.5, {}),
    "lms": (LMS, LINEAR, 20, 0.6, {}),
    "kdpm2": (KDPM2, LINEAR, 12, 0.5, {}),
    "kdpm2-ancestral": (KDPM2_ANCESTRAL, LINEAR, 10, 0.5, {}),
    "dpm-sde": (SDE, LINEAR, 10, 0.5, {}),
    "dpmpp-2m": (MULTI, SD_BETAS, 20, 0.6, {}),
    "dpmpp-3m": (MULTI, dict(solver_order=3, **SD_BETAS), 20, 0.6, {}),
    "dpmpp-3m-sigma-min": (MULTI, dict(solver_order=3, **SIGMA_MIN), 20, 0.3, {}),
    "dpmpp-2m-sde": (MULTI, dict(algorithm_type="sde-dpmsolver++", **SIGMA_MIN), 16, 0.5, {}),
    "single": (SINGLE, dict(lower_order_final=True), 20, 0.55, {}),
    "single-3": (SINGLE, dict(lower_order_final=True, solver_order=3), 20, 0.6, {}),
    "single-3-late": (SINGLE, dict(lower_order_final=True, solver_order=3), 15, 0.7, {}),
    "unipc": (UNIPC, dict(solver_order=3), 20, 0.6, {}),
    "unipc-some-uncorrected": (UNIPC, dict(disable_corrector=[1, 10, 12]), 20, 0.6, {}),
    "deis": (DEIS, SD_BETAS, 20, 0.6, {}),
    "deis-3": (DEIS, dict(solver_order=3), 20, 0.6, {}),
    "sa": (SA, dict(predictor_order=3, corrector_order=3), 16, 0.5, {}),
    "lcm": (LCM, LINEAR, 6, 0.5, {}),
    "tcd": (TCD, LINEAR, 6, 0.5, dict(eta=0.3)),
    "edm-euler": (EDM, dict(), 20, 0.6, {}),
    "edm-dpmpp-3": (EDM_DPM, dict(solver_order=3), 20, 0.6, {}),
    "flow-euler": (FLOW, dict(shift=3.0), 20, 0.6, {}),
    "flow-heun": (FLOW_HEUN, dict(), 12, 0.5, {}),
}
# The betas of a model that learnt them: T of them, with and without signal at the end.
TRAINED = [round(float(beta), 6) for beta in np.linspace(0.02, 0.3, 40) ** 1.5]
# name: (scheduler class, fields, N, arguments of its `step`)
LEVELS = {
    "ddpm-cosine": (DDPM, dict(beta_schedule="squaredcos_cap_v2"), 8, {}),
    "euler-cosine": (EULER, dict(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading", **V), 7, {}),
    "unipc-cosine": (UNIPC, dict(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading", **V), 7, {}),
    "ddpm-sigmoid": (DDPM, dict(beta_schedule="sigmoid"), 8, {}),
    "ddpm-laplace": (DDPM, dict(beta_schedule="laplace"), 8, {}),
    "ddim-trained": (DDIM, dict(trained_betas=TRAINED, num_train_timesteps=40), 8, {}),
    "ddim-trained-zero-snr": (
        DDIM, dict(trained_betas=[*TRAINED[:-1], 1.0], num_train_timesteps=40, timestep_spacing="trailing", **V), 8,
        {}),
    "dpmpp-trained": (MULTI, dict(trained_betas=TRAINED, num_train_timesteps=40), 8, {}),
    "ddim-zero-snr-eta": (DDIM, ZERO_V, 8, dict(eta=0.5)),
    "ddim-zero-snr-cosine": (DDIM, dict(beta_schedule="squaredcos_cap_v2", **ZERO_V), 7, {}),
    "ddim-zero-snr-sample": (
        DDIM, dict(prediction_type="sample", **ZERO), 8, {}),
    "ddpm-zero-snr": (DDPM, ZERO_V, 8, {}),
    "ddpm-zero-snr-large": (DDPM, dict(variance_type="fixed_large", **PLAIN, **ZERO_V), 8, {}),
    "euler-zero-snr": (EULER, ZERO_V, 8, {}),
    "euler-zero-snr-karras": (EULER, dict(use_karras_sigmas=True, **ZERO_V), 8, {}),
    "euler-ancestral-zero-snr": (EULER_ANCESTRAL, ZERO_V, 8, {}),
    "dpmpp-zero-snr": (MULTI, ZERO_V, 8, {}),
    "dpmpp-zero-snr-beta": (MULTI, dict(**BETA, **ZERO_V), 8, {}),
    "unipc-zero-snr": (UNIPC, ZERO_V, 8, {}),
    "lcm-zero-snr": (LCM, ZERO_V, 4, {}),
    "tcd-zero-snr": (TCD, ZERO_V, 4, dict(eta=0.3)),
    "ddpm-thresholding": (DDPM, DYNAMIC, 8, {}),
    "dpmpp-thresholding": (MULTI, DYNAMIC, 7, {}),
    "dpm-thresholding": (MULTI, dict(algorithm_type="dpmsolver", **SIGMA_MIN, **DYNAMIC), 6, {}),
    "single-thresholding": (SINGLE, dict(lower_order_final=True, dynamic_thresholding_ratio=0.9, **DYNAMIC), 6, {}),
    "deis-thresholding": (DEIS, DYNAMIC, 7, {}),
    "unipc-thresholding": (UNIPC, dict(thresholding=True), 7, {}),
    "unipc-eps-thresholding": (UNIPC, dict(predict_x0=False, **SIGMA_MIN, **DYNAMIC), 7, {}),
    "sa-thresholding": (SA, DYNAMIC, 7, {}),
    "lcm-thresholding": (LCM, dict(**DYNAMIC, **LINEAR), 4, {}),
    "edm-dpmpp-thresholding": (EDM_DPM, DYNAMIC, 7, {}),
    "euler-beta": (EULER, dict(**BETA, **SIGMA_MIN), 6, {}),
    "heun-beta": (HEUN, dict(timestep_spacing="trailing", **BETA, **LINEAR), 5, {}),
    "lms-beta": (LMS, BETA, 6, {}),
    "kdpm2-beta": (KDPM2, dict(**BETA, **LINEAR), 6, {}),
    "kdpm2-ancestral-beta": (KDPM2_ANCESTRAL, dict(**BETA, **LINEAR), 6, {}),
    "dpm-sde-beta": (SDE, dict(**BETA, **LINEAR), 5, {}),
    "dpmpp-beta": (MULTI, dict(**BETA, **SIGMA_MIN), 6, {}),
    "single-beta": (SINGLE, dict(lower_order_final=True, **BETA), 6, {}),
    "unipc-beta": (UNIPC, BETA, 6, {}),
    "unipc-beta-sigma-min": (UNIPC, dict(**BETA, **SIGMA_MIN), 6, {}),
    "deis-beta": (DEIS, BETA, 6, {}),
    "sa-beta": (SA, BETA, 6, {}),
    "flow-euler-beta": (FLOW, dict(shift=2.0, **BETA), 6, {}),
    "dpmpp-karras-sigma-min": (MULTI, dict(use_karras_sigmas=True, **SIGMA_MIN), 6, {}),
    "single-karras-sigma-min": (SINGLE, dict(use_karras_sigmas=True, **SIGMA_MIN), 6, {}),
    "ddim-500": (DDIM, dict(num_train_timesteps=500), 7, {}),
    "ddpm-4000": (DDPM, dict(num_train_timesteps=4000, beta_end=0.005, timestep_spacing="linspace"), 7, {}),
    "pndm-250": (PNDM, dict(num_train_timesteps=250, beta_end=0.08, skip_prk_steps=True), 7, {}),
    "euler-500": (EULER, dict(num_train_timesteps=500), 7, {}),
    "heun-250-karras": (HEUN, dict(num_train_timesteps=250, beta_end=0.08, use_karras_sigmas=True), 5, {}),
    "dpmpp-250": (MULTI, dict(num_train_timesteps=250, beta_end=0.08, timestep_spacing="trailing"), 7, {}),
    "unipc-500-leading": (UNIPC, dict(num_train_timesteps=500, timestep_spacing="leading"), 7, {}),
    "deis-500": (DEIS, dict(num_train_timesteps=500), 7, {}),
    "sa-500": (SA, dict(num_train_timesteps=500), 7, {}),
    "lcm-500": (LCM, dict(num_train_timesteps=500, **LINEAR), 4, {}),
    "tcd-500": (TCD, dict(num_train_timesteps=500, **LINEAR), 4, dict(eta=0.3)),
    "single-500": (SINGLE, dict(num_train_timesteps=500, lower_order_final=True), 7, {}),
    "flow-euler-500": (FLOW, dict(num_train_timesteps=500, shift=3.0), 6, {}),
}


def begin(scheduler, steps, strength, image, noise):
    """The timesteps that a pipeline's image to image keeps (its `get_timesteps`), and the image under noise there."""
    first = (steps - int(steps * strength)) * scheduler.order
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    if hasattr(scheduler, "scale_noise"):
        return timesteps, scheduler.scale_noise(image, timesteps[:1], noise)
    if isinstance(scheduler, (EDM, EDM_DPM)):
        return timesteps, image + noise * scheduler.sigmas[first]
    return timesteps, scheduler.add_noise(image, noise, timesteps[:1])


def write(writer, name, kind, fields, steps, strength, arguments):
    scheduler = kind(**fields)
    if hasattr(scheduler, "alphas_cumprod"):
        scheduler = exact.scheduler_in_float64(scheduler)
    scheduler.set_timesteps(steps)
    noise, timesteps, start = writer.noise[:1], scheduler.timesteps, None
    draws = torch.cat([writer.draws[:, :1]] * 2)
    if strength is not None:
        image = 0.5 * writer.draws[-1, :1].double().tanh()
        timesteps, start = begin(scheduler, steps, strength, image, noise.double())
    walked = steps if strength is None else int(steps * strength)
    calls = len(timesteps)
    if kind in TWO_CALLS or kind is HEUN:
        ends = [min(2 * step + 1, calls - 1) for step in range(walked)]
    else:
        ends = [step + calls - walked for step in range(walked)]
    scale = "x" if kind in (*IN_X, EULER, EULER_ANCESTRAL, HEUN, LMS) else "flow" if kind in (FLOW, FLOW_HEUN) else "z"
    sampler = {DDIM: "ddim", DDPM: "ddpm"}.get(kind, name)
    settings = {"sampler": sampler, "steps": steps, "strength": strength, **arguments, "scale": scale,
                "step_ends": ends, "timesteps": timesteps.tolist()}
    shutil.rmtree(writer.root / name, ignore_errors=True)
    states = path(writer.network, noise, scheduler, draws, walked, arguments, start, timesteps)
    writer.write(name, settings, states, scheduler)


def write_all(golden):
    usual, wide = Writer(golden, NETWORK), Writer(golden, OTHER_NETWORK, images=1, steps=8, seed=3)
    cases = {f"begun-{name}": case for name, case in BEGUN.items()}
    cases |= {f"edge-{name}": (kind, fields, steps, None, arguments) for name, (kind, fields, steps, arguments) in LEVELS.items()}
    for name, (kind, fields, steps, strength, arguments) in cases.items():
        is_eps = fields.get("prediction_type", "epsilon") == "epsilon" and kind not in (FLOW, FLOW_HEUN)
        write(usual if is_eps else wide, name, kind, fields, steps, strength, arguments)
