"""Sampling paths of one small network under many schedulers, from one stored noise.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of the tables below becomes a folder
`tests/golden/trajectory/NAME`; `init_noise.npy` and `step_noise.npy` beside them serve all of them. DDIM, DDPM, PNDM
and gradient estimation run in float64 throughout; the samplers that diffusers keeps in sigma space cast to float32
inside, so their paths carry float32 rounding.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete

from . import exact

NETWORK = "cifar-like"
IMAGES = 2
STEPS = 10
SD_BETAS = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)

# name: (scheduler fields, steps, eta)
DDIM = {
    "ddim-leading-clip": (dict(), STEPS, 0.0),
    "ddim-leading": (dict(clip_sample=False), STEPS, 0.0),
    "ddim-offset-alpha-first": (dict(clip_sample=False, steps_offset=1, set_alpha_to_one=False), STEPS, 0.0),
    "ddim-offset-clip-range": (dict(steps_offset=1, clip_sample_range=2.0), STEPS, 0.0),
    "ddim-trailing-alpha-first": (
        dict(clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=False), STEPS, 0.0),
    "ddim-trailing-clip": (dict(timestep_spacing="trailing"), STEPS, 0.0),
    "ddim-linspace": (dict(clip_sample=False, timestep_spacing="linspace"), STEPS, 0.0),
    "ddim-leading-7": (dict(), 7, 0.0),
    "ddim-trailing-7": (dict(clip_sample=False, timestep_spacing="trailing"), 7, 0.0),
    "ddim-scaled-linear": (dict(clip_sample=False, timestep_spacing="trailing", **SD_BETAS), STEPS, 0.0),
    "ddim-cosine": (dict(beta_schedule="squaredcos_cap_v2"), STEPS, 0.0),
    "ddim-thresholding": (dict(thresholding=True, sample_max_value=3.0), STEPS, 0.0),
    "ddim-v-prediction": (dict(prediction_type="v_prediction"), STEPS, 0.0),
    "ddim-v-zero-snr": (
        dict(prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True,
             clip_sample=False), STEPS, 0.0),
    "ddim-sample-prediction": (dict(prediction_type="sample", clip_sample=False), STEPS, 0.0),
    "ddim-eta-half": (dict(), STEPS, 0.5),
    "ddim-eta-one-trailing": (dict(clip_sample=False, timestep_spacing="trailing"), STEPS, 1.0),
}
DDPM = {
    "ddpm-fixed-small": (dict(), STEPS),
    "ddpm-fixed-large": (dict(variance_type="fixed_large"), STEPS),
    "ddpm-fixed-large-trailing": (
        dict(variance_type="fixed_large", clip_sample=False, timestep_spacing="trailing"), STEPS),
    "ddpm-fixed-large-7": (dict(variance_type="fixed_large", timestep_spacing="trailing"), 7),
    "ddpm-fixed-small-offset": (dict(steps_offset=1), STEPS),
    "ddpm-v-prediction": (dict(prediction_type="v_prediction"), STEPS),
    "ddpm-sample-prediction": (dict(prediction_type="sample", clip_sample=False), STEPS),
}
# The paper's timesteps for sigma_max = 40, the last being where the state ends.
PAPER = {
    5: [853, 652, 380, 116, 22, 0],
    10: [853, 765, 665, 549, 415, 270, 148, 73, 33, 14, 0],
}
# name: (steps, sigma_max, gamma, mu, prediction type). The paper's settings for CIFAR-10 (sigma_max 40) and, tuned for
# each N, for CelebA; mu adds noise and is of the authors' code, not of the paper's tables.
GRADIENT_ESTIMATION = {
    "ge-paper-5": (5, None, 2.0, 0.0, "epsilon"),
    "ge-paper-10": (10, None, 2.0, 0.0, "epsilon"),
    "ge-paper-10-gamma-1.6": (10, None, 1.6, 0.0, "epsilon"),
    "ge-paper-10-gamma-1": (10, None, 1.0, 0.0, "epsilon"),
    "ge-paper-10-v-prediction": (10, None, 2.0, 0.0, "v_prediction"),
    "ge-paper-10-sample-prediction": (10, None, 2.0, 0.0, "sample"),
    "ge-celeba-10": (10, 80.0, 2.0, 0.0, "epsilon"),
    "ge-celeba-20": (20, 100.0, 2.4, 0.0, "epsilon"),
    "ge-celeba-50": (50, 120.0, 2.8, 0.0, "epsilon"),
    "ge-paper-10-mu-0.5-gamma-1": (10, None, 1.0, 0.5, "epsilon"),
    "ge-paper-10-mu-0.3": (10, None, 2.0, 0.3, "epsilon"),
}
LINEAR = dict(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
# name: (scheduler class, fields)
OTHERS = {
    "pndm": (PNDMScheduler, dict(skip_prk_steps=True, **LINEAR)),
    "pndm-prk": (PNDMScheduler, dict(skip_prk_steps=False, **LINEAR)),
    "pndm-sd": (PNDMScheduler, dict(skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False, **SD_BETAS)),
    "euler": (EulerDiscreteScheduler, LINEAR),
    "euler-trailing": (EulerDiscreteScheduler, dict(timestep_spacing="trailing", **LINEAR)),
    "euler-karras": (EulerDiscreteScheduler, dict(use_karras_sigmas=True, **LINEAR)),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, LINEAR),
    "heun": (HeunDiscreteScheduler, LINEAR),
    "lms": (LMSDiscreteScheduler, LINEAR),
    "dpmpp-2m": (DPMSolverMultistepScheduler, LINEAR),
    "dpmpp-2m-karras": (DPMSolverMultistepScheduler, dict(use_karras_sigmas=True, **LINEAR)),
    "unipc": (UniPCMultistepScheduler, LINEAR),
    "deis": (DEISMultistepScheduler, LINEAR),
}


# Settings of those schedulers. Those of another prediction type run on another network, whose random weights would not
# denoise as eps.
# name: (scheduler class, fields, steps)
OTHER_NETWORK = "three-layers-wide"
DPM, UNIPC, DEIS = DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler
SETTINGS = {
    "euler-leading-offset": (EulerDiscreteScheduler, dict(timestep_spacing="leading", steps_offset=1, **SD_BETAS), 7),
    "euler-linspace-7": (EulerDiscreteScheduler, dict(final_sigmas_type="sigma_min"), 7),
    "euler-karras-trailing": (
        EulerDiscreteScheduler, dict(use_karras_sigmas=True, timestep_spacing="trailing", sigma_min=0.05), 6),
    "euler-exponential": (EulerDiscreteScheduler, dict(use_exponential_sigmas=True, prediction_type="sample"), 6),
    "euler-log-linear": (EulerDiscreteScheduler, dict(interpolation_type="log_linear"), 6),
    "euler-v-prediction": (EulerDiscreteScheduler, dict(prediction_type="v_prediction"), 6),
    "euler-ancestral-leading": (
        EulerAncestralDiscreteScheduler, dict(timestep_spacing="leading", prediction_type="v_prediction"), 6),
    "heun-clip": (HeunDiscreteScheduler, dict(clip_sample=True, clip_sample_range=2.0, timestep_spacing="trailing"), 5),
    "heun-karras-leading": (HeunDiscreteScheduler, dict(use_karras_sigmas=True, timestep_spacing="leading"), 5),
    "lms-karras": (LMSDiscreteScheduler, dict(use_karras_sigmas=True, prediction_type="v_prediction"), 6),
    "lms-leading": (LMSDiscreteScheduler, dict(timestep_spacing="leading", prediction_type="sample"), 6),
    "lms-exponential": (LMSDiscreteScheduler, dict(use_exponential_sigmas=True), 6),
    "pndm-linspace": (PNDMScheduler, dict(skip_prk_steps=True, timestep_spacing="linspace", set_alpha_to_one=True), 7),
    "pndm-prk-trailing": (PNDMScheduler, dict(timestep_spacing="trailing", prediction_type="v_prediction"), 7),
    "pndm-v-prediction": (PNDMScheduler, dict(skip_prk_steps=True, prediction_type="v_prediction"), 6),
    "dpmpp-order-1": (DPM, dict(solver_order=1, timestep_spacing="trailing"), 5),
    "dpmpp-2m-heun": (DPM, dict(solver_type="heun", timestep_spacing="leading", steps_offset=1, **SD_BETAS), 6),
    "dpmpp-3m": (DPM, dict(solver_order=3, prediction_type="v_prediction"), 7),
    "dpmpp-3m-long": (DPM, dict(solver_order=3, final_sigmas_type="sigma_min", timestep_spacing="trailing"), 16),
    "dpmpp-2m-plain-end": (DPM, dict(lower_order_final=False, final_sigmas_type="sigma_min"), 6),
    "dpmpp-euler-at-final": (
        DPM, dict(lower_order_final=False, euler_at_final=True, final_sigmas_type="sigma_min"), 6),
    "dpmpp-lu": (DPM, dict(use_lu_lambdas=True), 6),
    "dpmpp-exponential": (DPM, dict(use_exponential_sigmas=True, prediction_type="sample"), 6),
    "dpmpp-clipped-cosine": (
        DPM, dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1, use_karras_sigmas=False), 6),
    "dpmpp-2m-sde": (DPM, dict(algorithm_type="sde-dpmsolver++"), 6),
    "dpmpp-2m-sde-heun": (DPM, dict(algorithm_type="sde-dpmsolver++", solver_type="heun"), 6),
    "dpmpp-3m-sde": (DPM, dict(algorithm_type="sde-dpmsolver++", solver_order=3, use_karras_sigmas=True), 7),
    "dpm-2m": (DPM, dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min"), 6),
    "dpm-2m-heun": (
        DPM, dict(algorithm_type="dpmsolver", solver_type="heun", final_sigmas_type="sigma_min",
                  prediction_type="v_prediction"), 6),
    "dpm-3m": (DPM, dict(algorithm_type="dpmsolver", solver_order=3, final_sigmas_type="sigma_min"), 7),
    "dpm-2m-sde": (DPM, dict(algorithm_type="sde-dpmsolver", final_sigmas_type="sigma_min"), 6),
    "dpm-2m-sde-heun": (
        DPM, dict(algorithm_type="sde-dpmsolver", solver_type="heun", final_sigmas_type="sigma_min"), 6),
    "unipc-order-1": (UNIPC, dict(solver_order=1), 5),
    "unipc-order-3": (UNIPC, dict(solver_order=3, prediction_type="v_prediction"), 7),
    "unipc-bh1": (UNIPC, dict(solver_type="bh1", solver_order=3, timestep_spacing="trailing", final_sigmas_type="sigma_min"), 7),
    "unipc-eps": (UNIPC, dict(predict_x0=False, final_sigmas_type="sigma_min", **SD_BETAS), 7),
    "unipc-eps-3-bh1": (
        UNIPC, dict(predict_x0=False, solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min"), 7),
    "unipc-plain-end": (
        UNIPC, dict(lower_order_final=False, final_sigmas_type="sigma_min", timestep_spacing="leading"), 6),
    "unipc-some-uncorrected": (UNIPC, dict(disable_corrector=[0, 2], prediction_type="sample"), 6),
    "unipc-karras": (UNIPC, dict(use_karras_sigmas=True), 6),
    "unipc-karras-sigma-min": (UNIPC, dict(use_karras_sigmas=True, final_sigmas_type="sigma_min"), 6),
    "unipc-exponential": (UNIPC, dict(use_exponential_sigmas=True), 6),
    "deis-order-1": (DEIS, dict(solver_order=1), 5),
    "deis-order-3": (DEIS, dict(solver_order=3, prediction_type="v_prediction"), 7),
    "deis-plain-end": (DEIS, dict(solver_order=3, lower_order_final=False, timestep_spacing="trailing"), 7),
    "deis-karras": (DEIS, dict(use_karras_sigmas=True), 6),
    "deis-exponential-leading": (DEIS, dict(use_exponential_sigmas=True, timestep_spacing="leading"), 6),
}


class Network:
    """The small network in float64, counting its calls."""

    def __init__(self, folder):
        self.model = exact.to_float64(UNet2DModel.from_pretrained(folder))
        self.calls = []

    def __call__(self, z, t):
        self.calls.append(float(t))
        timesteps = torch.as_tensor(t).repeat(len(z))
        return exact.predict(self.model, z, timesteps.double() if timesteps.is_floating_point() else timesteps)


def standard_normals(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def feed_noise(module, noise):
    """Let `module.randn_tensor` hand out `noise` in order, one draw a step; returns the undo function."""
    original, draws = module.randn_tensor, iter(noise)
    module.randn_tensor = lambda *_, **__: next(draws).double()
    return lambda: setattr(module, "randn_tensor", original)


def ddim_path(network, noise, scheduler, eta, draws):
    z, path = noise.double(), []
    for i, t in enumerate(scheduler.timesteps):
        drawn = draws[i].double() if eta > 0 else None
        z = scheduler.step(network(z, t), int(t), z, eta=eta, variance_noise=drawn).prev_sample
        path.append(z)
    return path


def ddpm_path(network, noise, scheduler, draws):
    z, path = noise.double(), []
    undo = feed_noise(scheduling_ddpm, draws)
    for t in scheduler.timesteps:
        z = scheduler.step(network(z, t), int(t), z).prev_sample
        path.append(z)
    undo()
    return path


def eps_from(prediction_type, output, z, alpha_bar):
    """The noise prediction behind a network output at signal level `alpha_bar`."""
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * z
    if prediction_type == "sample":
        return (z - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()
    return output


def paper_timesteps(steps, sigma_max, scheduler):
    """The paper's "Linear" schedule: N log-spaced sigmas, each snapped to the first timestep with as much noise, then 0.
    Snapped on diffusers' own float32 table, as the authors do: some sigmas lie within its rounding of a timestep."""
    if sigma_max is None:
        return PAPER[steps]
    alpha_bar = scheduler.alphas_cumprod.double()
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt().numpy()
    ddim = np.linspace(999, 0, steps + 1).astype(int)
    last = np.sqrt(sigma[0] * sigma[ddim[-2]])
    grid = np.exp(np.linspace(np.log(sigma_max), np.log(last), steps))
    return [int(np.searchsorted(sigma, value)) for value in grid] + [0]


def gradient_estimation_path(network, noise, timesteps, gamma, mu, prediction_type, alpha_bar, draws):
    """Permenter and Yuan, algorithm 2, in x = z / sqrt(alpha_bar); the path holds z. With mu above 0, the step of the
    authors' code: down to sigma_p, and noise up to sigma'."""
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    x, previous, path = noise.double() / alpha_bar[timesteps[0]].sqrt(), None, []
    for i, (t, t_next) in enumerate(zip(timesteps, timesteps[1:])):
        z = x * alpha_bar[t].sqrt()
        eps = eps_from(prediction_type, network(z, t), z, alpha_bar[t])
        average = eps if previous is None else gamma * eps + (1 - gamma) * previous
        down = (sigma[t_next] / sigma[t] ** mu) ** (1 / (1 - mu))
        x, previous = x + (down - sigma[t]) * average, eps
        if mu > 0:
            x = x + (sigma[t_next] ** 2 - down**2).sqrt() * draws[i].double()
        path.append(x * alpha_bar[t_next].sqrt())
    return path


def other_path(network, noise, scheduler, draws):
    """The loop of a diffusers pipeline. The state is in the scheduler's own scale."""
    state, path = noise.double() * float(scheduler.init_noise_sigma), []
    drawing = (scheduling_euler_ancestral_discrete, scheduling_dpmsolver_multistep)
    undo = [feed_noise(module, draws) for module in drawing]
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(state, t)
        state = scheduler.step(network(scaled, t), t, state).prev_sample.double()
        path.append(state)
    for each in undo:
        each()
    return path


class Writer:
    """Writes paths of one network; those of another than the usual have noise of their own, named after it."""

    def __init__(self, golden, network=NETWORK, images=IMAGES, steps=STEPS, seed=1):
        self.root = Path(golden) / "trajectory"
        self.root.mkdir(parents=True, exist_ok=True)
        self.name = network
        self.network = Network(Path(golden) / "unet" / network)
        self.shape = (images, *np.load(Path(golden) / "unet" / network / "x.npy").shape[1:])
        self.noise = standard_normals(self.shape, seed=seed)
        self.draws = standard_normals((steps, *self.shape), seed=seed + 1)
        suffix = "" if network == NETWORK else f"-{network}"
        np.save(self.root / f"init_noise{suffix}.npy", self.noise.numpy())
        np.save(self.root / f"step_noise{suffix}.npy", self.draws.numpy())

    def write(self, name, settings, path, scheduler):
        folder = self.root / name
        folder.mkdir()
        scheduler.save_pretrained(folder)
        settings = {"network": f"unet/{self.name}", **settings, "network_calls": self.network.calls}
        (folder / "timesteps.json").write_text(json.dumps(settings, indent=1) + "\n")
        stacked = torch.stack(path).numpy()
        np.save(folder / "path.npy", stacked.astype(np.float32))
        np.save(folder / "final.npy", stacked[-1])
        inside = float((np.abs(stacked[-1]) < 0.999).mean())
        print(f"{name:32} {len(self.network.calls):3} calls, final std {stacked[-1].std():8.4f}, "
              f"path max {np.abs(stacked).max():9.3f}, |final| < 1: {inside:.2f}")
        assert np.isfinite(stacked).all()
        self.network.calls = []


def levels(scheduler, ends, final):
    """Start and end of each step, as timestep and as signal level."""
    starts = scheduler.timesteps.tolist()
    return {
        "timesteps": starts,
        "end_timesteps": ends,
        "alpha_bar": [float(scheduler.alphas_cumprod[t]) for t in starts],
        "end_alpha_bar": [float(scheduler.alphas_cumprod[t] if t >= 0 else final) for t in ends],
    }


def write_ddim(writer):
    for name, (fields, steps, eta) in DDIM.items():
        scheduler = exact.scheduler_in_float64(DDIMScheduler(**fields))
        scheduler.set_timesteps(steps)
        # diffusers steps by T // steps whatever the spacing: an end below zero means `final_alpha_cumprod`.
        ends = [t - 1000 // steps for t in scheduler.timesteps.tolist()]
        settings = {"sampler": "ddim", "steps": steps, "eta": eta,
                    **levels(scheduler, ends, scheduler.final_alpha_cumprod)}
        path = ddim_path(writer.network, writer.noise, scheduler, eta, writer.draws)
        writer.write(name, settings, path, scheduler)


def write_ddpm(writer):
    for name, (fields, steps) in DDPM.items():
        scheduler = exact.scheduler_in_float64(DDPMScheduler(**fields))
        scheduler.set_timesteps(steps)
        ends = [int(scheduler.previous_timestep(t)) for t in scheduler.timesteps]
        settings = {"sampler": "ddpm", "steps": steps, **levels(scheduler, ends, scheduler.one)}
        writer.write(name, settings, ddpm_path(writer.network, writer.noise, scheduler, writer.draws), scheduler)


def write_gradient_estimation(writer):
    for name, (steps, sigma_max, gamma, mu, prediction_type) in GRADIENT_ESTIMATION.items():
        scheduler = DDPMScheduler(prediction_type=prediction_type, clip_sample=False)
        alpha_bar = exact.float64_alphas_cumprod(scheduler.config)
        timesteps = paper_timesteps(steps, sigma_max, scheduler)
        # One image is enough for the long ones.
        noise = writer.noise if steps <= STEPS else writer.noise[:1]
        path = gradient_estimation_path(
            writer.network, noise, timesteps, gamma, mu, prediction_type, alpha_bar, writer.draws[:, : len(noise)])
        settings = {"sampler": "ge", "gamma": gamma, "mu": mu, "sigma_max": sigma_max, "steps": len(timesteps) - 1, "timesteps": timesteps[:-1],
                    "end_timesteps": timesteps[1:], "alpha_bar": alpha_bar[timesteps[:-1]].tolist(),
                    "end_alpha_bar": alpha_bar[timesteps[1:]].tolist()}
        writer.write(name, settings, path, scheduler)


def write_others(writer, cases):
    for name, (kind, fields, steps) in cases.items():
        scheduler = exact.scheduler_in_float64(kind(**fields))
        scheduler.set_timesteps(steps)
        settings = {"sampler": name, "steps": steps, "timesteps": scheduler.timesteps.tolist(),
                    "init_noise_sigma": float(scheduler.init_noise_sigma)}
        if getattr(scheduler, "sigmas", None) is not None:
            settings["sigmas"] = scheduler.sigmas.tolist()
        # One image is enough here: the loops are those of the cases above.
        # diffusers draws noise in the last step too, and adds none of it.
        draws = torch.cat([writer.draws[:, :1]] * 2)
        path = other_path(writer.network, writer.noise[:1], scheduler, draws)
        writer.write(name, settings, path, scheduler)


def write_all(golden):
    shutil.rmtree(Path(golden) / "trajectory", ignore_errors=True)
    writer = Writer(golden)
    write_ddim(writer)
    write_ddpm(writer)
    write_gradient_estimation(writer)
    write_others(writer, {name: (kind, fields, STEPS) for name, (kind, fields) in OTHERS.items()})
    other = Writer(golden, OTHER_NETWORK, images=1, steps=8, seed=3)
    for name, case in SETTINGS.items():
        write_others(other if "prediction_type" in case[1] else writer, {name: case})
