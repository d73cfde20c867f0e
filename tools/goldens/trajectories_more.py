"""Sampling paths under the schedulers that take several calls per step, draw noise twice, or know other noise levels.

Used by `tools/make_goldens.py`; has no command of its own. Each entry of `CASES` becomes a folder
`tests/golden/trajectory/NAME`, which starts from the noise of `trajectories.py`. The networks are those of
`tests/golden/unet`: what they were trained on does not matter to the formulas.
"""

import shutil
import sys
import types
from pathlib import Path

import torch
from diffusers import (
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    SASolverScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from . import exact
from .trajectories import LINEAR, NETWORK, OTHER_NETWORK, SD_BETAS, Writer, feed_noise, levels

# Only draws the noise, which `BrownianPath` does here.
sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
from diffusers.schedulers.scheduling_dpmsolver_sde import DPMSolverSDEScheduler  # noqa: E402

SINGLE, MULTI, UNIPC = DPMSolverSinglestepScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
KDPM2, KDPM2_ANCESTRAL, SDE, SA = (
    KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler, DPMSolverSDEScheduler, SASolverScheduler)
EDM, EDM_DPM = EDMEulerScheduler, EDMDPMSolverMultistepScheduler
FLOW, FLOW_HEUN = FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
V = dict(prediction_type="v_prediction")
VELOCITY = dict(prediction_type="flow_prediction", use_flow_sigmas=True)

# The network whose output holds a variance.
LEARNED = "learned-variance"

# name: (scheduler class, fields, steps, arguments of its `step`)
CASES = {
    "ddpm-learned": (DDPMScheduler, dict(variance_type="learned"), 8, {}),
    "ddpm-learned-range": (DDPMScheduler, dict(variance_type="learned_range"), 8, {}),
    "ddpm-learned-range-trailing": (
        DDPMScheduler, dict(variance_type="learned_range", timestep_spacing="trailing", **V), 7, {}),
    "ddpm-fixed-large-log": (DDPMScheduler, dict(variance_type="fixed_large_log"), 8, {}),
    "single-1": (SINGLE, dict(solver_order=1), 5, {}),
    "single": (SINGLE, dict(lower_order_final=True), 6, {}),
    "single-odd": (SINGLE, dict(lower_order_final=True), 7, {}),
    "single-heun": (SINGLE, dict(lower_order_final=True, solver_type="heun", **SD_BETAS), 8, {}),
    "single-3": (SINGLE, dict(lower_order_final=True, solver_order=3), 7, {}),
    "single-3-heun": (SINGLE, dict(lower_order_final=True, solver_order=3, solver_type="heun"), 8, {}),
    "single-3-v-prediction": (SINGLE, dict(lower_order_final=True, solver_order=3, **V), 9, {}),
    "single-karras": (SINGLE, dict(lower_order_final=True, use_karras_sigmas=True), 7, {}),
    "single-exponential": (SINGLE, dict(lower_order_final=True, use_exponential_sigmas=True), 6, {}),
    "single-plain-end": (SINGLE, dict(final_sigmas_type="sigma_min"), 6, {}),
    "single-eps": (SINGLE, dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min"), 6, {}),
    "single-eps-3": (
        SINGLE, dict(algorithm_type="dpmsolver", final_sigmas_type="sigma_min", solver_order=3, solver_type="heun"), 6,
        {}),
    "single-sde": (SINGLE, dict(lower_order_final=True, algorithm_type="sde-dpmsolver++"), 6, {}),
    "single-clipped-cosine": (
        SINGLE, dict(lower_order_final=True, beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), 6, {}),
    "kdpm2": (KDPM2, LINEAR, 6, {}),
    "kdpm2-karras": (KDPM2, dict(use_karras_sigmas=True, **LINEAR), 6, {}),
    "kdpm2-exponential-leading": (
        KDPM2, dict(use_exponential_sigmas=True, timestep_spacing="leading", steps_offset=1), 5, {}),
    "kdpm2-v-trailing": (KDPM2, dict(timestep_spacing="trailing", **V), 6, {}),
    "kdpm2-ancestral": (KDPM2_ANCESTRAL, LINEAR, 6, {}),
    "kdpm2-ancestral-karras": (KDPM2_ANCESTRAL, dict(use_karras_sigmas=True, **LINEAR), 6, {}),
    "kdpm2-ancestral-v-leading": (KDPM2_ANCESTRAL, dict(timestep_spacing="leading", **V), 6, {}),
    "dpm-sde": (SDE, LINEAR, 5, {}),
    "dpm-sde-karras": (SDE, dict(use_karras_sigmas=True, **LINEAR), 5, {}),
    "dpm-sde-v-trailing": (SDE, dict(timestep_spacing="trailing", **V), 4, {}),
    "sa": (SA, dict(), 7, {}),
    "sa-1": (SA, dict(predictor_order=1, corrector_order=1), 6, {}),
    "sa-3": (SA, dict(predictor_order=3, corrector_order=3, timestep_spacing="trailing"), 8, {}),
    "sa-corrector-3": (SA, dict(predictor_order=2, corrector_order=3, **V), 7, {}),
    "sa-eps": (SA, dict(algorithm_type="noise_prediction"), 7, {}),
    "sa-eps-3": (SA, dict(algorithm_type="noise_prediction", predictor_order=3, corrector_order=3), 8, {}),
    "sa-karras": (SA, dict(use_karras_sigmas=True, **V), 7, {}),
    "sa-plain-end-leading": (SA, dict(lower_order_final=False, timestep_spacing="leading", **V), 7, {}),
    "lcm": (LCMScheduler, LINEAR, 4, {}),
    "lcm-latents": (LCMScheduler, dict(), 6, {}),
    "lcm-clip": (LCMScheduler, dict(clip_sample=True, clip_sample_range=1.5, **LINEAR), 5, {}),
    "lcm-scaled": (LCMScheduler, dict(timestep_scaling=0.003, original_inference_steps=30, **V), 7, {}),
    "tcd": (TCDScheduler, LINEAR, 4, dict(eta=0.3)),
    "tcd-latents": (TCDScheduler, dict(), 6, dict(eta=0.3)),
    "tcd-plain": (TCDScheduler, dict(original_inference_steps=30, **LINEAR), 7, dict(eta=0.0)),
    "tcd-eta-one": (TCDScheduler, V, 5, dict(eta=1.0)),
    "edm-euler": (EDM, dict(), 8, {}),
    "edm-euler-exponential": (EDM, dict(sigma_schedule="exponential", sigma_data=1.0, sigma_max=40.0), 6, {}),
    "edm-euler-v-prediction": (EDM, dict(rho=5.0, sigma_min=0.05, **V), 6, {}),
    "edm-euler-plain-end": (EDM, dict(final_sigmas_type="sigma_min"), 5, {}),
    "edm-dpmpp": (EDM_DPM, dict(), 8, {}),
    "edm-dpmpp-1-v-prediction": (EDM_DPM, dict(solver_order=1, **V), 5, {}),
    "edm-dpmpp-3": (EDM_DPM, dict(solver_order=3, sigma_data=0.7), 8, {}),
    "edm-dpmpp-heun-exponential": (
        EDM_DPM, dict(solver_type="heun", sigma_schedule="exponential", final_sigmas_type="sigma_min"), 7, {}),
    "edm-dpmpp-sde": (EDM_DPM, dict(algorithm_type="sde-dpmsolver++", solver_type="heun"), 6, {}),
    "ipndm": (IPNDMScheduler, dict(), 6, {}),
    "ipndm-10": (IPNDMScheduler, dict(), 10, {}),
    "flow-euler": (FLOW, dict(), 6, {}),
    "flow-euler-shift": (FLOW, dict(shift=3.0), 8, {}),
    "flow-euler-karras": (FLOW, dict(use_karras_sigmas=True), 6, {}),
    "flow-euler-exponential": (FLOW, dict(use_exponential_sigmas=True, shift=1.5), 6, {}),
    "flow-euler-terminal": (FLOW, dict(shift=2.0, shift_terminal=0.1), 5, {}),
    "flow-euler-stochastic": (FLOW, dict(stochastic_sampling=True, shift=3.0), 5, {}),
    "flow-euler-inverted": (FLOW, dict(invert_sigmas=True, shift=3.0), 6, {}),
    "flow-heun": (FLOW_HEUN, dict(), 6, {}),
    "flow-heun-shift": (FLOW_HEUN, dict(shift=3.0), 5, {}),
    "dpmpp-flow": (MULTI, dict(flow_shift=3.0, **VELOCITY), 7, {}),
    "dpmpp-flow-3": (MULTI, dict(solver_order=3, **VELOCITY), 8, {}),
    "unipc-flow": (UNIPC, dict(flow_shift=3.0, **VELOCITY), 7, {}),
    "unipc-flow-3": (UNIPC, dict(solver_order=3, **VELOCITY), 8, {}),
    "deis-flow": (DEISMultistepScheduler, dict(flow_shift=3.0, **VELOCITY), 7, {}),
    "single-flow": (SINGLE, dict(lower_order_final=True, flow_shift=3.0, **VELOCITY), 7, {}),
    "sa-flow": (SA, dict(flow_shift=3.0, **VELOCITY), 7, {}),
}
# Those that call the network 2 N - 1 times: all but the last step take two calls.
TWO_CALLS = (KDPM2, KDPM2_ANCESTRAL, SDE, FLOW_HEUN)
# Those whose state is x = x0 + sigma eps; flow matching holds (1 - s) x0 + s eps, the others sqrt(alpha_bar) x.
IN_X = (KDPM2, KDPM2_ANCESTRAL, SDE, EDM, EDM_DPM)


class BrownianPath:
    """The noise of DPM-Solver SDE from two normals per step: one for each half of it, in sigma."""

    def __init__(self, draws, steps):
        self.draws, self.steps, self.calls = draws.double(), steps, 0

    def __call__(self, sigma, sigma_next):
        step, half = divmod(self.calls, 2)
        self.calls += 1
        first, second = self.draws[step], self.draws[self.steps + step]
        if half == 0:
            self.middle = sigma_next
            return first
        whole = (sigma - self.middle).sqrt() * first + (self.middle - sigma_next).sqrt() * second
        return whole / (sigma - sigma_next).sqrt()


def path(network, noise, scheduler, draws, steps, arguments, start=None, timesteps=None):
    """The loop of a diffusers pipeline, from noise, or from `start` over `timesteps`. The state is in the scheduler's own scale."""
    state, states = noise.double() * float(getattr(scheduler, "init_noise_sigma", 1.0)), []
    if start is not None:
        state = start.double()
    module = sys.modules[type(scheduler).__module__]
    undo = feed_noise(module, draws) if hasattr(module, "randn_tensor") else lambda: None
    if isinstance(scheduler, SDE):
        scheduler.noise_sampler = BrownianPath(draws, steps)
    for t in scheduler.timesteps if timesteps is None else timesteps:
        scaled = scheduler.scale_model_input(state, t) if hasattr(scheduler, "scale_model_input") else state
        state = scheduler.step(network(scaled, t), t, state, **arguments).prev_sample.double()
        states.append(state)
    undo()
    return states


def made(kind, fields, steps):
    scheduler = kind(**fields)
    if hasattr(scheduler, "alphas_cumprod"):
        scheduler = exact.scheduler_in_float64(scheduler)
    scheduler.set_timesteps(steps)
    return scheduler


def write(writer, name, kind, fields, steps, arguments):
    scheduler = made(kind, fields, steps)
    is_flow = kind in (FLOW, FLOW_HEUN) or "use_flow_sigmas" in fields
    calls = len(scheduler.timesteps)
    ends = [min(2 * step + 1, calls - 1) for step in range(steps)] if kind in TWO_CALLS else list(range(calls))
    scale = "x" if kind in IN_X else "flow" if is_flow else "z"
    sampler = "ddpm" if kind is DDPMScheduler else name
    settings = {"sampler": sampler, "steps": steps, **arguments, "scale": scale,
                "step_ends": ends, "timesteps": scheduler.timesteps.tolist()}
    if kind is DDPMScheduler:
        ends = [int(scheduler.previous_timestep(t)) for t in scheduler.timesteps]
        settings.update(levels(scheduler, ends, scheduler.one))
    if getattr(scheduler, "sigmas", None) is not None:
        settings["sigmas"] = scheduler.sigmas.tolist()
    # Draw k of step i is `step_noise.npy[i + k * steps]`. Some draw in the last step too, and add none of it.
    draws = torch.cat([writer.draws[:, :1]] * 2)
    shutil.rmtree(writer.root / name, ignore_errors=True)
    walked = scheduler
    if fields.get("variance_type") == "fixed_large_log":
        # diffusers takes the root of log(beta), which is not a number; the variance meant is that of `fixed_large`.
        states = path(writer.network, writer.noise[:1], scheduler, draws, steps, arguments)
        assert not torch.isfinite(states[0]).all()
        writer.network.calls = []
        walked = made(kind, {**fields, "variance_type": "fixed_large"}, steps)
    states = path(writer.network, writer.noise[:1], walked, draws, steps, arguments)
    writer.write(name, settings, states, scheduler)


def write_all(golden):
    usual, wide = Writer(golden, NETWORK), Writer(golden, OTHER_NETWORK, images=1, steps=8, seed=3)
    learned = Writer(golden, LEARNED, images=1, steps=8, seed=5)
    for name, (kind, fields, steps, arguments) in CASES.items():
        if fields.get("variance_type", "").startswith("learned"):
            write(learned, name, kind, fields, steps, arguments)
            continue
        is_eps = fields.get("prediction_type", "epsilon") == "epsilon" and kind not in (FLOW, FLOW_HEUN, IPNDMScheduler)
        write(usual if is_eps else wide, name, kind, fields, steps, arguments)
