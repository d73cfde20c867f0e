"""The work that downhill and its peers are timed at, under the names that `downhill bench` gives it.

Used by `tools/compare_peers.py` and the processes it starts; has no command of its own.
"""

from pathlib import Path

DIGITS = Path(__file__).resolve().parents[2] / "weights" / "digits"

SUITES = ("matmul", "conv", "unet", "sample")

SIDES = (768, 1024)
# Images, channels, height, width; 3x3, stride 1, padding 1, as many channels out as in.
MAPS = ((1, 128, 32, 32), (1, 256, 16, 16), (1, 512, 8, 8), (1, 64, 64, 64), (8, 256, 16, 16), (8, 512, 8, 8))
# Those of `downhill bench unet`: the embedded network and two published topologies, whose configurations must be those
# of src/bench/unet.rs (the count of parameters is compared).
NETS = (("digits", 1), ("digits", 16), ("cifar10-32", 1), ("cifar10-32", 8), ("celeba-64", 1))
SHARED = dict(in_channels=3, out_channels=3, layers_per_block=2, attention_head_dim=None, norm_eps=1e-6,
              norm_num_groups=32, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1)
CONFIGS = {
    "cifar10-32": dict(
        SHARED, sample_size=32, block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D")),
    "celeba-64": dict(
        SHARED, sample_size=64, block_out_channels=(128, 256, 256, 256, 512),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D")),
}

# Images and network calls of the whole job, from the start of a process to a PNG.
IMAGES, STEPS = 16, 10
SAMPLE = f"{IMAGES} digits, {STEPS} steps, to PNG"

# Beside those, on a GPU: its cores are not all busy before.
LARGER_SIDES = (2048, 4096, 8192)
LARGER_MAPS = ((8, 128, 64, 64), (16, 256, 32, 32), (8, 320, 64, 64))
LARGER_NETS = (("cifar10-32", 64), ("celeba-64", 8))


def named(sides, maps, nets):
    """{suite: [case]}"""
    return {
        "matmul": [f"{side}x{side}x{side} {form}" for side in sides for form in ("weights", "data")],
        "conv": ["x".join(map(str, extents)) + " 3x3" for extents in maps],
        "unet": [f"{name}, batch {batch}" for name, batch in nets],
        "sample": [SAMPLE],
    }


CASES = {
    "cpu": named(SIDES, MAPS, NETS),
    "cuda": named(SIDES + LARGER_SIDES, MAPS + LARGER_MAPS, NETS + LARGER_NETS),
}


def extents(case):
    """The numbers of `MxKxN FORM` or `NxCxHxW 3x3`."""
    return [int(part) for part in case.split()[0].split("x")]


def net(case):
    """Name and batch of `NAME, batch N`."""
    name, batch = case.split(", batch ")
    return name, int(batch)


def sizes(suite, asked):
    """The cases as `--sizes` has them, of downhill and of burn."""
    if suite == "unet":
        return ",".join("{}:{}".format(*net(case)) for case in asked)
    # One size a product: it is measured with weights and with data.
    return ",".join(dict.fromkeys(case.split()[0] for case in asked))


def burn_case(suite, case):
    """burn's name of the case: it makes no difference between weights and data."""
    return case.split()[0] if suite == "matmul" else case
