"""Tensors of PyTorch in and out, and denoisers that are functions of tensors."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

import downhill
from downhill._arrays import floats, like, numpy_of


def test_tensors_in_float32_are_not_copied() -> None:
    for tensor in (torch.randn(2, 3, 4, 4), torch.randn(6, 3, 4, 4)[2:4], torch.randn(2, 3, 4, 4).requires_grad_()):
        array = floats(tensor, "x")
        assert np.shares_memory(array, tensor.detach().numpy()) and array.flags.c_contiguous
        assert array.dtype == np.float32 and array.shape == tuple(tensor.shape)
    through_dlpack = torch.randn(4, 4)

    class Other:
        def __dlpack__(self, **options: object) -> object:
            return through_dlpack.__dlpack__()

        def __dlpack_device__(self) -> object:
            return through_dlpack.__dlpack_device__()

    assert np.shares_memory(floats(Other(), "x"), through_dlpack.numpy())
    result = np.arange(6, dtype=np.float32)
    assert np.shares_memory(like(result, "torch").numpy(), result)


def test_other_tensors_are_converted(digits: downhill.Model) -> None:
    x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = digits.denoise(x.float().numpy(), 1.0)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        found = digits.denoise(x.to(dtype), torch.tensor(1.0, dtype=dtype), like=x.to(dtype))
        assert found.dtype == dtype
        # Half precision holds x here, and rounds the result once.
        assert torch.equal(found, torch.from_numpy(expected).to(dtype)) or dtype == torch.float16
        assert tiny.distance(found, expected) < 1e-2
    for view in (
        x.float().to(memory_format=torch.channels_last),
        x.float().flip(3).flip(3),
        x.float().transpose(2, 3).contiguous().transpose(2, 3),
        x.float().expand(2, 1, 28, 28),
    ):
        assert np.array_equal(digits.denoise(view, 1.0), expected)
    with pytest.raises(downhill.ArgumentError, match="array of bytes"):
        digits.denoise(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), 1.0)
    with pytest.raises(downhill.ArgumentError, match="complex64"):
        digits.denoise(torch.zeros(1, 1, 28, 28, dtype=torch.complex64), 1.0)
    assert numpy_of(x).dtype == np.float32


def test_the_library_of_results(digits: downhill.Model) -> None:
    x = torch.randn(2, 1, 28, 28)
    assert isinstance(digits.denoise(x, 1.0), np.ndarray)
    for target in ("torch", x):
        results = digits.denoise(x, 1.0, like=target), digits.eps(x, 3, like=target), digits.jvp(x, x, 1.0, like=target)
        for found in results:
            assert isinstance(found, torch.Tensor) and found.dtype == torch.float32 and not found.requires_grad
    with pytest.raises(downhill.ArgumentError, match="the library .jax."):
        digits.denoise(x, 1.0, like="jax")
    assert isinstance(digits.sample(2, steps=2).torch(), torch.Tensor)


class Shrink(torch.nn.Module):
    """The posterior mean for standard normal data, with a parameter that would record a graph."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones((), dtype=dtype))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert isinstance(x, torch.Tensor) and x.dtype == self.one.dtype == sigma.dtype
        assert sigma.shape == (len(x),)
        result = self.one * x / (1 + sigma[:, None, None, None] ** 2)
        self.seen.append(result)
        return result


@pytest.mark.parametrize("sampler", downhill.sampler_names())
def test_our_samplers_on_a_network_of_torch(sampler: str) -> None:
    network = Shrink()
    sigmas = np.geomspace(10.0, 0.01, 13)
    arguments = dict(sampler=sampler, sigmas=sigmas, seed=3)
    found = downhill.sample(network, (1, 3, 2), 4, takes="torch", like="torch", **arguments)
    assert isinstance(found, torch.Tensor) and found.shape == (4, 1, 3, 2) and torch.isfinite(found).all()
    numbers = downhill.sample(lambda x, s: x / (1 + s[:, None, None, None] ** 2), (1, 3, 2), 4, **arguments)
    assert np.allclose(found.numpy(), numbers, atol=1e-5)
    # No graph was recorded, and gradients are on again.
    assert network.seen and not any(result.requires_grad for result in network.seen)
    assert torch.is_grad_enabled()


def test_denoisers_of_another_dtype() -> None:
    network = Shrink(torch.float64)
    takes = torch.empty(0, dtype=torch.float64)
    found = downhill.sample(network, (1, 3, 2), 4, takes=takes, sigma_max=10, sigma_min=0.01, steps=9)
    numbers = downhill.sample(Shrink(), (1, 3, 2), 4, takes="torch", sigma_max=10, sigma_min=0.01, steps=9)
    assert found.dtype == np.float32 and np.allclose(found, numbers, atol=1e-5)


def test_the_flow_of_standard_normals() -> None:
    """x at sigma is the start times sqrt((1 + sigma^2) / (1 + sigma_max^2)), for a fine schedule."""
    start = 10 * tiny.normals(3, 1, 4, 4)
    sigmas = torch.cat([torch.logspace(1, -2, 60, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    found = downhill.sample(Shrink(), start=start, sigmas=sigmas, sampler="heun", takes="torch", like=start)
    assert tiny.distance(found, start / (1 + 10.0**2) ** 0.5) < 1e-2


def test_exceptions_of_networks() -> None:
    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x.reshape(7)

    with pytest.raises(RuntimeError):
        downhill.sample(broken, (1, 3, 2), 2, takes="torch", sigmas=[2.0, 1.0])
    with pytest.raises(downhill.ArgumentError, match="jax"):
        downhill.sample(broken, (1, 3, 2), 2, takes="jax", sigmas=[2.0, 1.0])
