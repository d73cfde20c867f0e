"""Weights that need no file: the same numbers here and in tests/networks/drawn.rs, exact in float32."""

import numpy as np
import torch


def mixed(numbers):
    """splitmix64 of an array of uint64."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(index, count):
    """`count` numbers in [-1, 1), multiples of 2^-15, for the tensor number `index`."""
    start = np.uint64(index) << np.uint64(32)
    bits = mixed(start + np.arange(count, dtype=np.uint64)) >> np.uint64(48)
    return bits.astype(np.float64) / 2.0**15 - 1.0


def values(index, name, shape):
    """Norms near 1, small biases, kernels that keep the size of what they read."""
    u = uniform(index, int(np.prod(shape)))
    if len(shape) == 1:
        return 1.0 + u / 4 if name.endswith("weight") else u / 8
    fan_in = int(np.prod(shape[1:]))
    return u * 2.0 ** -np.floor(np.log2(np.sqrt(fan_in)))


def draw(shapes):
    """Tensors by their names, which number them in their order."""
    drawn = {}
    for index, name in enumerate(sorted(shapes)):
        shape = tuple(shapes[name])
        drawn[name] = torch.from_numpy(values(index, name, shape).reshape(shape)).to(torch.float64)
    return drawn
