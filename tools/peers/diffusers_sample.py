"""The job of `downhill sample` in diffusers: load the digits, sample 16 of them in 10 steps, write a grid as PNG.

Started by `tools/compare_peers.py` with the file and the device, which times the whole process. The steps are DDIM's: gradient estimation, which
diffusers does not have, makes the same network calls and adds three tensors more a step.
"""

import sys

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

import cases
import device

SIDE = 4


@torch.inference_mode()
def main(output, name):
    on = device.chosen(name)
    network = UNet2DModel.from_pretrained(cases.DIGITS).eval().to(on)
    scheduler = DDIMScheduler.from_pretrained(cases.DIGITS)
    scheduler.set_timesteps(cases.STEPS)
    size = network.config.sample_size
    sample = torch.randn(cases.IMAGES, 1, size, size, generator=torch.manual_seed(0)).to(on)
    for timestep in scheduler.timesteps:
        sample = scheduler.step(network(sample, timestep).sample, timestep, sample).prev_sample
    grid = (sample.clamp(-1, 1) + 1).mul(127.5).round().reshape(SIDE, SIDE, size, size).permute(0, 2, 1, 3)
    Image.fromarray(grid.reshape(SIDE * size, SIDE * size).cpu().numpy().astype(np.uint8)).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
