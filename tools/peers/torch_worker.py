"""Times PyTorch on the CPU, in float32: one case asked a line on stdin, one answer a line on stdout, both JSON.

Started by `tools/compare_peers.py`, one process for each instruction set, because PyTorch chooses at its start.
"""

import argparse
import json
import sys
import time

import diffusers
import torch
from diffusers import UNet2DModel

import cases

# A sample lasts as long at least, in seconds: that of `downhill bench`.
SAMPLE_SECONDS = 0.05
TIMESTEP = 500


def matmul(case, _layout):
    rows, k, columns = cases.extents(case)
    a = torch.randn(rows, k)
    if case.endswith("weights"):
        layer = torch.nn.Linear(k, columns, bias=False)
        return lambda: layer(a), 0
    b, product = torch.randn(k, columns) / k**0.5, torch.empty(rows, columns)
    return lambda: torch.mm(a, b, out=product), 0


def conv(case, layout):
    images, channels, height, width = cases.extents(case)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=layout)
    x = torch.randn(images, channels, height, width).contiguous(memory_format=layout)
    return lambda: layer(x), 0


def unet(case, layout):
    name, batch = cases.net(case)
    if name == "digits":
        network = UNet2DModel.from_pretrained(cases.DIGITS)
    else:
        network = UNet2DModel(**cases.CONFIGS[name])
    network = network.eval().to(memory_format=layout)
    config = network.config
    x = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size).contiguous(memory_format=layout)
    timesteps = torch.full((batch,), TIMESTEP)
    return lambda: network(x, timesteps).sample, sum(parameter.numel() for parameter in network.parameters())


MAKERS = {"matmul": matmul, "conv": conv, "unet": unet}


def time_calls(call, count):
    """Seconds of a call, of `count` one after the other."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def prepare(suite, case, layout):
    """The call, warm, with how many of it a sample holds."""
    torch.manual_seed(0)
    call, parameters = MAKERS[suite](case, layout)
    time_calls(call, 2)
    return call, max(1, round(SAMPLE_SECONDS / time_calls(call, 1) + 0.5)), parameters


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels-last", action="store_true")
    layout = torch.channels_last if parser.parse_args().channels_last else torch.contiguous_format
    say({
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    })
    ready = {}
    with torch.inference_mode():
        for line in sys.stdin:
            asked = json.loads(line)
            key = asked["suite"], asked["case"]
            if key not in ready:
                ready[key] = prepare(*key, layout)
            call, count, parameters = ready[key]
            # The other peers have had the caches since.
            time_calls(call, 1)
            samples = [time_calls(call, count) for _ in range(asked["samples"])]
            say({"samples": samples, "calls": count, "parameters": parameters})


if __name__ == "__main__":
    main()
