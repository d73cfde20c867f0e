"""Timesteps, sigmas and sums of diffusers' schedulers, torch's random numbers, and time embeddings.

Used by `tools/make_goldens.py`; has no command of its own.
"""

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import torch

from . import exact

STEPS = (5, 10, 20, 50)
SPACINGS = ("leading", "trailing", "linspace")
BETAS = {
    "linear": dict(beta_schedule="linear", beta_start=0.0001, beta_end=0.02),
    "scaled_linear": dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "squaredcos_cap_v2": dict(beta_schedule="squaredcos_cap_v2", beta_start=0.0001, beta_end=0.02),
}
# name: (class, extra fields)
SCHEDULERS = {
    "ddim": ("DDIMScheduler", {}),
    "ddim-offset-1": ("DDIMScheduler", {"steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "pndm-prk": ("PNDMScheduler", {"skip_prk_steps": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp-2m-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
}
SEEDS = (0, 1, 2**40 + 3)
COUNTS = (5, 15, 16, 17, 100, 784)
EMBEDDING_DIMS = (8, 32, 33)
EMBEDDING_TIMESTEPS = (0.0, 1.0, 17.5, 500.0, 999.0)


def short(values):
    """Numbers with the fewest digits that still name the same float32."""
    numbers = [float(np.format_float_positional(np.float32(value), unique=True)) for value in values]
    return [int(number) if number == int(number) else number for number in numbers]


def shared_or_by_betas(by_betas):
    """One list where the beta schedule makes no difference, else a list for each."""
    lists = list(by_betas.values())
    return lists[0] if all(each == lists[0] for each in lists) else by_betas


def schedule_tables():
    """{scheduler: {fields, spacings: {spacing: {steps: {timesteps, sigmas}}}}}"""
    tables = {}
    for name, (kind, fields) in SCHEDULERS.items():
        tables[name] = {"class": kind, "fields": fields, "spacings": {}}
        for spacing in SPACINGS:
            rows = tables[name]["spacings"][spacing] = {}
            for steps in STEPS:
                timesteps, sigmas = {}, {}
                for schedule, betas in BETAS.items():
                    scheduler = getattr(diffusers, kind)(timestep_spacing=spacing, **betas, **fields)
                    scheduler.set_timesteps(steps)
                    timesteps[schedule] = short(scheduler.timesteps)
                    if isinstance(getattr(scheduler, "sigmas", None), torch.Tensor):
                        sigmas[schedule] = short(scheduler.sigmas)
                rows[str(steps)] = {"timesteps": shared_or_by_betas(timesteps)}
                if sigmas:
                    rows[str(steps)]["sigmas"] = shared_or_by_betas(sigmas)
    return tables


def dummy_sample():
    return torch.arange(768).reshape(3, 8, 8, 4).div(768).permute(3, 0, 1, 2)


def dummy_model(sample, t):
    return sample * t / (t + 1)


def plain_loop(scheduler, steps, **step_options):
    scheduler.set_timesteps(steps)
    sample = dummy_sample() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        # The tests step from the scaled input, not from the state as a pipeline does; their sums depend on it.
        sample = scheduler.scale_model_input(sample, t)
        sample = scheduler.step(dummy_model(sample, t), t, sample, **step_options).prev_sample
    return sample


def ddpm_loop(scheduler):
    """All 1000 steps with torch's generator, as diffusers' own test runs them."""
    generator, sample = torch.manual_seed(0), dummy_sample()
    for t in reversed(range(1000)):
        sample = scheduler.step(dummy_model(sample, t), t, sample, generator=generator).prev_sample
    return sample


def pndm_loop(scheduler, steps):
    scheduler.set_timesteps(steps)
    scheduler.ets = []
    sample = dummy_sample()
    for t in scheduler.prk_timesteps:
        sample = scheduler.step_prk(dummy_model(sample, t), t, sample).prev_sample
    for t in scheduler.plms_timesteps:
        sample = scheduler.step_plms(dummy_model(sample, t), t, sample).prev_sample
    return sample


LINEAR = BETAS["linear"]
LINEAR_1100 = dict(num_train_timesteps=1100, **LINEAR)
# name: (class, fields, loop); settings and loops are those of diffusers' tests/schedulers.
SUMS = {
    "ddim": ("DDIMScheduler", dict(clip_sample=True, **LINEAR), lambda s: plain_loop(s, 10, eta=0.0)),
    "ddim-v-prediction": (
        "DDIMScheduler", dict(prediction_type="v_prediction", **LINEAR), lambda s: plain_loop(s, 10, eta=0.0)),
    "ddim-alpha-one": (
        "DDIMScheduler", dict(LINEAR, beta_start=0.01, set_alpha_to_one=True), lambda s: plain_loop(s, 10, eta=0.0)),
    "ddim-alpha-first": (
        "DDIMScheduler", dict(LINEAR, beta_start=0.01, set_alpha_to_one=False), lambda s: plain_loop(s, 10, eta=0.0)),
    "ddpm": ("DDPMScheduler", dict(variance_type="fixed_small", clip_sample=True, **LINEAR), ddpm_loop),
    "pndm": ("PNDMScheduler", LINEAR, lambda s: pndm_loop(s, 10)),
    "pndm-alpha-one": (
        "PNDMScheduler", dict(LINEAR, beta_start=0.01, set_alpha_to_one=True), lambda s: pndm_loop(s, 10)),
    "pndm-alpha-first": (
        "PNDMScheduler", dict(LINEAR, beta_start=0.01, set_alpha_to_one=False), lambda s: pndm_loop(s, 10)),
    "euler": ("EulerDiscreteScheduler", LINEAR_1100, lambda s: plain_loop(s, 10)),
    "euler-karras": (
        "EulerDiscreteScheduler", dict(use_karras_sigmas=True, **LINEAR_1100), lambda s: plain_loop(s, 10)),
    "heun": ("HeunDiscreteScheduler", LINEAR_1100, lambda s: plain_loop(s, 10)),
    "lms": ("LMSDiscreteScheduler", LINEAR_1100, lambda s: plain_loop(s, 10)),
    "lms-karras": ("LMSDiscreteScheduler", dict(use_karras_sigmas=True, **LINEAR_1100), lambda s: plain_loop(s, 10)),
    "dpmpp-2m": (
        "DPMSolverMultistepScheduler",
        dict(solver_order=2, algorithm_type="dpmsolver++", solver_type="midpoint", lower_order_final=False,
             final_sigmas_type="sigma_min", **LINEAR),
        lambda s: plain_loop(s, 10)),
    "unipc": (
        "UniPCMultistepScheduler", dict(solver_order=2, solver_type="bh2", final_sigmas_type="sigma_min", **LINEAR),
        lambda s: plain_loop(s, 10)),
    "deis": ("DEISMultistepScheduler", dict(solver_order=2, **LINEAR), lambda s: plain_loop(s, 10)),
}


def sum_tables():
    sums = {}
    for name, (kind, fields, loop) in SUMS.items():
        sample = loop(getattr(diffusers, kind)(**fields)).double()
        sums[name] = {
            "class": kind,
            "fields": fields,
            "steps": 1000 if name == "ddpm" else 10,
            "sum_abs": round(float(sample.abs().sum()), 5),
            "mean_abs": round(float(sample.abs().mean()), 8),
        }
    return sums


def write_schedulers(golden):
    tables = {"diffusers": diffusers.__version__, "betas": BETAS, "schedulers": schedule_tables(), "sums": sum_tables()}
    for name, row in tables["sums"].items():
        print(f"{name:20} sum {row['sum_abs']:12.4f} mean {row['mean_abs']:.6f}")
    # One scheduler a line keeps differences readable without spreading numbers over thousands of lines.
    parts = []
    for key, value in tables.items():
        if isinstance(value, dict):
            rows = [f"  {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in value.items()]
            value = "{\n" + ",\n".join(rows) + "\n }"
        else:
            value = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {value}")
    (golden / "schedulers.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def write_randn(folder):
    """torch.randn after torch.manual_seed, and one run of draws that share the generator's state."""
    for seed in SEEDS:
        for count in COUNTS:
            torch.manual_seed(seed)
            np.save(folder / f"randn_seed{seed}_n{count}.npy", torch.randn(count).numpy())
    torch.manual_seed(0)
    np.save(folder / "randn_seed0_draws_5_17_3_16.npy", torch.cat([torch.randn(n) for n in (5, 17, 3, 16)]).numpy())


def write_embeddings(folder):
    """Float64 positional embeddings, shape (flip, freq_shift, timestep, dim)."""
    timesteps = torch.tensor(EMBEDDING_TIMESTEPS, dtype=torch.float64)
    np.save(folder / "timesteps.npy", timesteps.numpy())
    for dim in EMBEDDING_DIMS:
        grid = [[exact.timestep_embedding(timesteps, dim, flip, shift) for shift in (0, 1)] for flip in (False, True)]
        np.save(folder / f"embedding_{dim}.npy", torch.stack([torch.stack(row) for row in grid]).numpy())


def write_all(golden):
    for name, write in (("randn", write_randn), ("timestep_embedding", write_embeddings)):
        folder = Path(golden) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
    write_schedulers(Path(golden))
