"""Times PyTorch, in float32: one case asked a line on stdin, one answer a line on stdout, both JSON.

Started by `tools/compare_peers.py`, one process for each instruction set, because PyTorch chooses at its start.
"""

import argparse
import json
import math
import sys
import time

import diffusers
import torch
from diffusers import UNet2DModel

import cases
import device

# A sample lasts as long at least, in seconds: that of `downhill bench`.
SAMPLE_SECONDS = 0.05
TIMESTEP = 500


def matmul(case, on, _layout):
    rows, k, columns = cases.extents(case)
    a = torch.randn(rows, k, device=on)
    if case.endswith("weights"):
        layer = torch.nn.Linear(k, columns, bias=False, device=on)
        return lambda: layer(a), 0
    b, product = torch.randn(k, columns, device=on) / k**0.5, torch.empty(rows, columns, device=on)
    return lambda: torch.mm(a, b, out=product), 0


def conv(case, on, layout):
    images, channels, height, width = cases.extents(case)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=on).to(memory_format=layout)
    x = torch.randn(images, channels, height, width, device=on).contiguous(memory_format=layout)
    return lambda: layer(x), 0


def unet(case, on, layout):
    name, batch = cases.net(case)
    if name == "digits":
        network = UNet2DModel.from_pretrained(cases.DIGITS)
    else:
        network = UNet2DModel(**cases.CONFIGS[name])
    network = network.eval().to(on, memory_format=layout)
    config = network.config
    x = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size).contiguous(memory_format=layout)
    timesteps = torch.full((batch,), TIMESTEP)
    # Fed and read back, as a call of downhill is; on the processor these are no copies.
    return lambda: network(x.to(on), timesteps.to(on)).sample.cpu(), sum(parameter.numel() for parameter in network.parameters())


MAKERS = {"matmul": matmul, "conv": conv, "unet": unet}


def time_calls(call, count, on):
    """Seconds of a call, of `count` one after the other, waited for at the end."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    device.wait(on)
    return (time.perf_counter() - begin) / count


def calls_of_sample(call, on):
    """How many calls last as long as a sample: a single one that is waited for takes longer than one among many."""
    count = 1
    while (taken := count * time_calls(call, count, on)) < SAMPLE_SECONDS:
        count = math.ceil(1.1 * count * SAMPLE_SECONDS / taken)
    return count


def prepare(suite, case, on, layout):
    """The call, warm, with how many of it a sample holds."""
    torch.manual_seed(0)
    call, parameters = MAKERS[suite](case, on, layout)
    time_calls(call, 2, on)
    return call, calls_of_sample(call, on), parameters


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--channels-last", action="store_true")
    arguments = parser.parse_args()
    on = device.chosen(arguments.device)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    say({"torch": torch.__version__, "diffusers": diffusers.__version__, **device.about(on)})
    ready = {}
    with torch.inference_mode():
        for line in sys.stdin:
            asked = json.loads(line)
            key = asked["suite"], asked["case"]
            try:
                if key not in ready:
                    ready[key] = prepare(*key, on, layout)
                call, count, parameters = ready[key]
                # The other peers have had the caches since, and a GPU that idled has lowered its clock.
                time_calls(call, 1 if on.type == "cpu" else count, on)
                samples = [time_calls(call, count, on) for _ in range(asked["samples"])]
                say({"samples": samples, "calls": count, "parameters": parameters})
            except RuntimeError as error:
                # Out of memory, most likely: the other cases need not suffer.
                say({"reason": str(error).splitlines()[0]})


if __name__ == "__main__":
    main()
