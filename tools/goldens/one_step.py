"""Sampling paths of consistency models, and of networks that give scores, as diffusers' pipelines walk them.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of the tables becomes a folder
`tests/golden/trajectory/NAME`. The networks are those of `tests/golden/unet`: what they were trained on does not matter
to the formulas.
"""

import math
import shutil

import torch
from diffusers import CMStochasticIterativeScheduler
from diffusers.schedulers import scheduling_consistency_models, scheduling_sde_ve
from diffusers.schedulers.scheduling_sde_ve import ScoreSdeVeScheduler

from .trajectories import OTHER_NETWORK, Writer, feed_noise

SCORES = "ncsnpp-like"
# name: (scheduler fields, steps, the places of diffusers' `timesteps`)
CONSISTENCY = {
    "consistency-one-step": (dict(), 1, None),
    "consistency": (dict(s_noise=1.003), 4, None),
    "consistency-plain": (dict(clip_denoised=False, sigma_min=0.05, sigma_max=20.0, rho=5.0, sigma_data=0.7), 3, None),
    "consistency-listed": (dict(clip_denoised=False), 3, [31, 22, 0]),
}
# name: (scheduler fields, steps)
SDE_VE = {
    "sde-ve": (dict(sigma_max=50.0), 6),
    "sde-ve-corrected-twice": (dict(sigma_max=20.0, snr=0.08, correct_steps=2, sampling_eps=1e-3), 5),
    "sde-ve-uncorrected": (dict(sigma_max=50.0, correct_steps=0, num_train_timesteps=100), 7),
}
# name: (sampler, sigmas, gamma): a network of scores by the samplers for denoisers.
BY_DENOISING = {
    "ve-ge": ("ge", [50.0, 14.0, 4.0, 1.2, 0.3, 0.05, 0.0], 2.0),
    "ve-ddim": ("ddim", [50.0, 14.0, 4.0, 1.2, 0.3, 0.05, 0.0], 1.0),
}


def write_consistency(writer, name, fields, steps, listed):
    scheduler = CMStochasticIterativeScheduler(**fields)
    if listed:
        scheduler.set_timesteps(timesteps=listed)
    else:
        scheduler.set_timesteps(steps)
    state, states = writer.noise.double() * scheduler.init_noise_sigma, []
    undo = feed_noise(scheduling_consistency_models, writer.draws)
    for t in scheduler.timesteps:
        output = writer.network(scheduler.scale_model_input(state, t), t)
        state = scheduler.step(output, t, state).prev_sample.double()
        states.append(state)
    undo()
    settings = {"sampler": name, "steps": steps, "scale": "x", "step_ends": list(range(steps))}
    if listed:
        # diffusers counts places from the most noise, in the order of calls from the last.
        last = scheduler.config.num_train_timesteps - 1
        settings["places"] = [last - place for place in reversed(listed)] + [-1]
    shutil.rmtree(writer.root / name, ignore_errors=True)
    writer.write(name, settings, states, scheduler)


def write_sde_ve(writer, name, fields, steps):
    """The loop of `ScoreSdeVePipeline`. Draw k of step i is `step_noise.npy[i + k * steps]`."""
    scheduler = ScoreSdeVeScheduler(**fields)
    scheduler.set_timesteps(steps)
    scheduler.set_sigmas(steps)
    corrections = scheduler.config.correct_steps
    draws = [writer.draws[i + k * steps] for i in range(steps) for k in range(corrections + 1)]
    undo = feed_noise(scheduling_sde_ve, draws)
    state, states = writer.noise.double() * scheduler.init_noise_sigma, []
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i].double()
        for _ in range(corrections):
            state = scheduler.step_correct(writer.network(state, sigma), state).prev_sample.double()
        output = scheduler.step_pred(writer.network(state, sigma), t, state)
        state = output.prev_sample.double()
        states.append(state)
    undo()
    states[-1] = output.prev_sample_mean.double()
    settings = {"sampler": name, "steps": steps, "scale": "x", "step_ends": list(range(steps))}
    shutil.rmtree(writer.root / name, ignore_errors=True)
    writer.write(name, settings, states, scheduler)


def write_by_denoising(writer, name, sampler, sigmas, gamma):
    """x' = x + (sigma' - sigma)(gamma eps + (1 - gamma) eps_previous) with eps = -sigma score."""
    scheduler = ScoreSdeVeScheduler(sigma_max=sigmas[0])
    start = math.hypot(1.0, sigmas[0])
    state, states, previous = writer.noise.double() * start, [], None
    for sigma, after in zip(sigmas, sigmas[1:]):
        eps = -sigma * writer.network(state, torch.tensor(sigma, dtype=torch.float64))
        average = eps if previous is None else gamma * eps + (1 - gamma) * previous
        state, previous = state + (after - sigma) * average, eps
        states.append(state)
    steps = len(sigmas) - 1
    settings = {"sampler": sampler, "steps": steps, "gamma": gamma if sampler == "ge" else None, "scale": "x",
                "clip": False, "step_ends": list(range(steps)), "levels": sigmas}
    shutil.rmtree(writer.root / name, ignore_errors=True)
    writer.write(name, settings, states, scheduler)


def write_all(golden):
    wide = Writer(golden, OTHER_NETWORK, images=1, steps=8, seed=3)
    for name, case in CONSISTENCY.items():
        write_consistency(wide, name, *case)
    scores = Writer(golden, SCORES, images=1, steps=15, seed=7)
    for name, case in SDE_VE.items():
        write_sde_ve(scores, name, *case)
    for name, case in BY_DENOISING.items():
        write_by_denoising(scores, name, *case)
