"""The cost of a call through Python, beside the same call inside Rust.

    python python/benchmarks/overhead.py [--adapter NAME] [--rounds N] [--model FOLDER]

The network is that of google/ddpm-cifar10-32 with random weights, at one image of 32 x 32, or the one of FOLDER. A
round is one call of `Model.denoise` and one of the same denoiser within Rust (`_core.Model.time_call`), in an order
that alternates. Both wait for the device and read x0 back. Prints the medians, their ratio, and the median of the
rounds' own ratios; then the same for a closed form of digits.

Copies of the array in a call of `Model.denoise`, besides those between host and device, which a call within Rust makes,
too:

* in: float32 in C order (NumPy, a tensor on the host, DLPack) is handed to Rust as it is; its values are copied once,
  into the tensor that the library owns;
* out: the values of the library's tensor move into the NumPy array; `like="torch"` shares their memory.

The script checks that the array handed over shares its memory with the argument, and that the memory of the result is
that of Rust's vector.

Needs a release build of the package, and diffusers for the random network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import downhill
from downhill._arrays import floats

SIGMA = 1.0
# That of tools/peers/cases.py.
CIFAR10_32 = dict(
    sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=None, norm_eps=1e-6,
    norm_num_groups=32, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
)  # fmt: skip


def written(folder: str) -> str:
    """Writes the network with random weights to a folder, and returns the folder."""
    import torch
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    UNet2DModel(**CIFAR10_32).save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    return folder


def seconds(call: Callable[[], object]) -> float:
    """Returns the seconds of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def compared(model: downhill.Model, x: np.ndarray, rounds: int) -> tuple[list[float], list[float]]:
    """Returns the seconds of each round's call through Python, and of its call in Rust."""

    def through_python() -> float:
        return seconds(lambda: model.denoise(x, SIGMA))

    def in_rust() -> float:
        return model._core.time_call(x, [SIGMA], 1)[0]

    through_python(), in_rust()
    python, rust = [], []
    for at in range(rounds):
        for measured in (python, rust) if at % 2 == 0 else (rust, python):
            measured.append(through_python() if measured is python else in_rust())
    return python, rust


def report(name: str, python: list[float], rust: list[float]) -> None:
    """Prints the medians and their ratio."""
    medians = statistics.median(python), statistics.median(rust)
    ratios = statistics.median(one / other for one, other in zip(python, rust, strict=True))
    print(
        f"{name}: {1e3 * medians[0]:.3f} ms through Python, {1e3 * medians[1]:.3f} ms in Rust, "
        f"ratio of medians {medians[0] / medians[1]:.4f}, median ratio {ratios:.4f} ({len(python)} rounds)"
    )


def check_copies(model: downhill.Model, x: np.ndarray) -> None:
    """Checks that no array is copied on the way in to Rust and out of it, and prints so."""
    assert np.shares_memory(floats(x, "x"), x), "the argument was copied"
    x0 = model.denoise(x, SIGMA)
    assert not x0.flags.owndata, "the result was copied"
    print("copies of the array: 1 in (into the library's tensor), 0 out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--adapter", help="the adapter, as in `downhill.open`")
    parser.add_argument("--rounds", type=int, default=41, help="calls of each kind")
    parser.add_argument("--model", type=Path, help="a folder of a network, in place of one with random weights")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = downhill.open(arguments.model or written(folder), adapter=arguments.adapter)
        assert model.shape is not None
        x = np.random.default_rng(0).standard_normal((1, *model.shape)).astype(np.float32)
        print(f"{model.adapter['name']}, {model.shape}, {model.facts['parameters']} parameters")
        check_copies(model, x)
        report("network, batch 1", *compared(model, x, arguments.rounds))
    form = downhill.open("wiener:digits", adapter=arguments.adapter)
    digits = np.random.default_rng(0).standard_normal((1, 1, 28, 28)).astype(np.float32)
    report("closed form, batch 1", *compared(form, digits, arguments.rounds))


if __name__ == "__main__":
    main()
