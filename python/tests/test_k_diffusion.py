"""Models of downhill in the samplers of k-diffusion."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from diffusers import UNet2DModel

import downhill
from downhill.interop.k_diffusion import Denoiser

# The package imports its training and evaluation, too, which need packages that do not work with NumPy 2 (dctorch) or
# present setuptools (CLIP). Its samplers need neither: they are imported from their own files, without `__init__.py`.
_found = importlib.util.find_spec("k_diffusion")
assert _found is not None, "pip install --no-deps -r python/tests/requirements-no-deps.txt"
_package = types.ModuleType("k_diffusion")
_package.__path__ = list(_found.submodule_search_locations or [])
sys.modules["k_diffusion"] = _package
from k_diffusion import external, sampling  # noqa: E402


class Network(torch.nn.Module):
    """A `UNet2DModel` as k-diffusion's wrapper of networks of eps takes one."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, z: torch.Tensor, t: torch.Tensor, **extra: torch.Tensor) -> torch.Tensor:
        return self.unet(z, t, **extra).sample


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[external.DiscreteEpsDDPMDenoiser, Denoiser]:
    """A network in k-diffusion's own wrapper, and the same network on downhill."""
    folder = tmp_path_factory.mktemp("unet")
    unet, model = tiny.unet2d(folder), downhill.open(folder)
    alphas = torch.from_numpy(model.alphas_cumprod).float()
    return external.DiscreteEpsDDPMDenoiser(Network(unet), alphas, quantize=False), Denoiser(model)


SIGMAS = sampling.get_sigmas_karras(7, 0.05, 40.0)


def start(seed: int = 1) -> torch.Tensor:
    return SIGMAS[0] * tiny.normals(2, 3, 8, 8, seed=seed)


def test_one_call(pair: tuple[Callable[..., torch.Tensor], Denoiser]) -> None:
    original, ours = pair
    x, sigma = 3 * tiny.normals(3, 3, 8, 8), torch.tensor([3.0, 0.7, 12.0])
    with torch.no_grad():
        expected = original(x, sigma)
    found = ours(x, sigma)
    assert isinstance(found, torch.Tensor) and found.dtype == x.dtype
    assert tiny.distance(found, expected) < 1e-4
    assert ours(x.double(), sigma.double()).dtype == torch.float64


def test_levels(pair: tuple[external.DiscreteEpsDDPMDenoiser, Denoiser]) -> None:
    original, ours = pair
    assert torch.allclose(ours.sigmas, original.sigmas, rtol=1e-4)
    assert torch.allclose(ours.sigma_min, original.sigma_min, rtol=1e-4)
    assert torch.allclose(ours.sigma_max, original.sigma_max, rtol=1e-4)
    for n in (None, 5):
        assert torch.allclose(ours.get_sigmas(n), original.get_sigmas(n), rtol=1e-3)
    t = torch.tensor([3.5, 500.25, 900.0])
    assert torch.allclose(ours.t_to_sigma(t), original.t_to_sigma(t), rtol=1e-3)
    assert torch.allclose(ours.sigma_to_t(original.t_to_sigma(t)), t, atol=1e-2)


@pytest.mark.parametrize(
    "name",
    ["sample_euler", "sample_heun", "sample_dpm_2", "sample_lms", "sample_dpmpp_2m", "sample_euler_ancestral",
     "sample_dpmpp_2s_ancestral"],
)  # fmt: skip
def test_their_samplers_on_our_network(pair: tuple[Callable[..., torch.Tensor], Denoiser], name: str) -> None:
    original, ours = pair
    sampler, results = getattr(sampling, name), []
    for model in pair:
        torch.manual_seed(5)
        results.append(sampler(model, start(), SIGMAS, disable=True))
    expected, found = results
    assert tiny.distance(found, expected) < 1e-3
    assert tiny.distance(sampler(ours, start(2), SIGMAS, disable=True), expected) > 1e-2


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("sample_euler", "euler"), ("sample_heun", "heun"), ("sample_dpmpp_2m", "dpm++2m"), ("sample_lms", "lms"),
     ("sample_dpm_2", "kdpm2")],
)  # fmt: skip
def test_our_samplers_are_theirs(pair: tuple[Callable[..., torch.Tensor], Denoiser], theirs: str, ours: str) -> None:
    original, denoiser = pair
    expected = getattr(sampling, theirs)(original, start(), SIGMAS, disable=True)
    arguments = dict(sampler=ours, sigmas=SIGMAS, start=start())
    # Our sampler on our network, and on theirs.
    assert tiny.distance(denoiser.model.sample(clip=False, **arguments).samples, expected) < 1e-3
    assert tiny.distance(downhill.sample(original, takes="torch", **arguments), expected) < 1e-3


def test_conditions(tmp_path: Path) -> None:
    unet = tiny.unet2d(tmp_path, seed=12, num_class_embeds=4)
    model = downhill.open(tmp_path)
    original = external.DiscreteEpsDDPMDenoiser(
        Network(unet), torch.from_numpy(model.alphas_cumprod).float(), quantize=False
    )
    labels = torch.tensor([3, 0])
    expected = sampling.sample_heun(original, start(), SIGMAS, extra_args={"class_labels": labels}, disable=True)
    for name in ("labels", "class_cond", "y"):
        found = sampling.sample_heun(Denoiser(model), start(), SIGMAS, extra_args={name: labels}, disable=True)
        assert tiny.distance(found, expected) < 1e-3
    always = sampling.sample_heun(Denoiser(model, labels=labels), start(), SIGMAS, disable=True)
    assert tiny.distance(always, expected) < 1e-3
    other = sampling.sample_heun(Denoiser(model, labels=[1, 1]), start(), SIGMAS, disable=True)
    assert tiny.distance(other, expected) > 1e-2
    with pytest.raises(downhill.ArgumentError, match="`aug_cond`"):
        Denoiser(model)(start(), torch.ones(2), aug_cond=labels)
    with pytest.raises(downhill.ArgumentError, match="twice"):
        Denoiser(model)(start(), torch.ones(2), y=labels, labels=labels)


def test_closed_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", tiny.normals(30, 1, 5, 4).numpy())
    wiener = Denoiser(downhill.open(f"wiener:{tmp_path / 'x.npy'}"))
    sigmas = sampling.get_sigmas_exponential(6, 0.1, 30.0)
    x = sigmas[0] * tiny.normals(2, 1, 5, 4)
    theirs = sampling.sample_euler(wiener, x, sigmas, disable=True)
    ours = wiener.model.sample(start=x, sigmas=sigmas, sampler="euler", clip=False)
    assert tiny.distance(theirs, ours.pixels) < 1e-4
    assert wiener.sigma_max > wiener.sigma_min > 0
    with pytest.raises(downhill.ArgumentError, match="gradient"):
        wiener(x.requires_grad_(), torch.ones(2))
    with pytest.raises(downhill.ArgumentError, match="closed form"):
        wiener.get_sigmas(3)
