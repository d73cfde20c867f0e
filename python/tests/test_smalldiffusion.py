"""Models of downhill in `samples` of smalldiffusion, and its models in our samplers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import smalldiffusion
import tiny
import torch

import downhill
from downhill.interop.smalldiffusion import Model


def last(model: torch.nn.Module, sigmas: torch.Tensor, xt: torch.Tensor, **options: object) -> torch.Tensor:
    """The last state of their sampler."""
    *_, x = smalldiffusion.samples(model, sigmas, batchsize=len(xt), xt=xt, **options)
    return x


@pytest.mark.parametrize(("sampler", "gam"), [("ddim", 1.0), ("ge", 2.0), ("ge", 1.6)])
def test_their_sampler_on_our_network(digits: downhill.Model, sampler: str, gam: float) -> None:
    model = Model(digits)
    sigmas = model.schedule().sample_sigmas(6)
    xt = sigmas[0] * tiny.normals(2, 1, 28, 28)
    theirs = last(model, sigmas, xt, gam=gam)
    own = {"gamma": gam} if sampler == "ge" else {}
    ours = digits.sample(start=xt, sigmas=sigmas, sampler=sampler, clip=False, **own)
    # In the scale x = x0 + sigma eps, at the last noise level.
    x = ours.samples / digits.input_scale(sigmas[-1])
    assert tiny.distance(theirs, x) < 1e-3
    plain = last(model, sigmas, xt, gam=1.0 if gam != 1.0 else 2.0)
    assert tiny.distance(plain, theirs) > 1e-3


def test_noise_of_their_sampler(digits: downhill.Model) -> None:
    model = Model(digits)
    assert model.input_dims == (1, 28, 28) and model.rand_input(3).shape == (3, 1, 28, 28)
    sigmas = model.schedule().sample_sigmas(5)
    assert sigmas[0] == pytest.approx(digits.sigma_range[1], rel=1e-4)
    torch.manual_seed(0)
    one = last(model, sigmas, model.rand_input(2) * sigmas[0], gam=1.0, mu=0.5)

    class Written(torch.nn.Module, smalldiffusion.ModelMixin):
        """The same by `Model.denoise`."""

        input_dims = (1, 28, 28)

        def predict_eps(self, x: torch.Tensor, sigma: torch.Tensor, cond: object = None) -> torch.Tensor:
            return (x - digits.denoise(x, float(sigma), like=x)) / sigma

    torch.manual_seed(0)
    written = Written()
    other = last(written, sigmas, written.rand_input(2) * sigmas[0], gam=1.0, mu=0.5)
    assert tiny.distance(one, other) < 1e-3 and one.std() > 0.1


def test_levels_per_image(digits: downhill.Model) -> None:
    model, x = Model(digits), 2 * tiny.normals(3, 1, 28, 28)
    sigma = torch.tensor([2.0, 0.5, 9.0])
    eps = model(x, sigma.reshape(3, 1, 1, 1))
    assert torch.equal(eps, digits.eps(x, sigma=sigma, like="torch"))
    assert torch.equal(model(x, sigma[1])[1], eps[1])
    with pytest.raises(downhill.ArgumentError, match="gradient"):
        model(x.requires_grad_(), sigma[1])


def test_guidance(tmp_path: Path, digits: downhill.Model) -> None:
    tiny.dit(tmp_path)
    dit = downhill.open(tmp_path)
    model = Model(dit)
    sigmas = model.schedule().sample_sigmas(5)
    xt, labels = sigmas[0] * tiny.normals(2, 4, 8, 8), torch.tensor([7, 2])
    # Their scale adds s times the difference to the conditional estimate.
    theirs = last(model, sigmas, xt, gam=2.0, cond=labels, cfg_scale=3.0)
    ours = dit.sample(start=xt, sigmas=sigmas, sampler="ge", clip=False, labels=labels, guidance_scale=4.0)
    assert tiny.distance(theirs, ours.samples / dit.input_scale(sigmas[-1])) < 1e-3
    plain = last(model, sigmas, xt, gam=2.0, cond=labels)
    assert tiny.distance(plain, theirs) > 1e-2
    with pytest.raises(downhill.ArgumentError, match="null class"):
        last(Model(digits), sigmas, torch.zeros(2, 1, 28, 28), cond=labels, cfg_scale=1.0)


SIGMAS = smalldiffusion.ScheduleLogLinear(200, 0.02, 10.0).sample_sigmas(9)


def trained() -> smalldiffusion.TimeInputMLP:
    """A small network of theirs after a moment of their training on a spiral."""
    torch.manual_seed(1)
    model = smalldiffusion.TimeInputMLP(hidden_dims=(16, 32, 16))
    loader = torch.utils.data.DataLoader(smalldiffusion.Swissroll(np.pi / 2, 5 * np.pi, 100), batch_size=100)
    schedule = smalldiffusion.ScheduleLogLinear(200, 0.02, 10.0)
    for _ in smalldiffusion.training_loop(loader, model, schedule, epochs=20):
        pass
    return model.eval()


@pytest.mark.parametrize(("sampler", "gam"), [("ddim", 1.0), ("ge", 2.0)])
def test_our_sampler_on_their_mlp(sampler: str, gam: float) -> None:
    model = trained()
    xt = SIGMAS[0] * tiny.normals(5, 2)
    theirs = last(model, SIGMAS, xt, gam=gam)

    def eps(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return model.predict_eps(x.flatten(1), sigma).reshape(x.shape)

    own = {"gamma": gam} if sampler == "ge" else {}
    ours = downhill.sample(
        eps, gives="eps", takes="torch", start=xt.reshape(5, 2, 1, 1), sigmas=SIGMAS, sampler=sampler, like="torch",
        **own,
    )  # fmt: skip
    assert tiny.distance(ours.flatten(1), theirs) < 1e-4
    assert tiny.distance(ours.flatten(1), xt) > 0.1


def test_our_sampler_on_their_unet() -> None:
    torch.manual_seed(2)
    model = tiny.drawn(
        smalldiffusion.Unet(8, 1, 1, ch=32, ch_mult=(1, 2), attn_resolutions=(4,), num_res_blocks=1, dropout=0.0), 4
    )
    xt = SIGMAS[0] * tiny.normals(2, 1, 8, 8)
    theirs = last(model, SIGMAS, xt, gam=2.0)
    ours = downhill.sample(
        lambda x, sigma: model.predict_eps(x, sigma), gives="eps", takes="torch", start=xt, sigmas=SIGMAS,
        sampler="ge", gamma=2.0,
    )  # fmt: skip
    assert tiny.distance(ours, theirs) < 1e-4


def test_their_ideal_denoiser_is_ours() -> None:
    """One denoiser, written twice: the posterior mean over a set of images."""
    points = tiny.normals(30, 1, 4, 4)
    model = smalldiffusion.IdealDenoiser(points)
    x, sigma = 2 * tiny.normals(3, 1, 4, 4, seed=1), torch.tensor(0.8)
    theirs = x - sigma * model(x, sigma)
    distances = (x[:, None] - points[None]).square().flatten(2).sum(-1)
    weights = torch.softmax(-distances / (2 * sigma**2), 1)
    assert tiny.distance(torch.einsum("ij,jchw->ichw", weights, points), theirs) < 1e-4
    xt = SIGMAS[0] * tiny.normals(2, 1, 4, 4, seed=2)
    ours = downhill.sample(lambda x, s: x - s[0] * model(x, s[0]), takes="torch", start=xt, sigmas=SIGMAS,
                           sampler="ddim")  # fmt: skip
    assert tiny.distance(ours, last(model, SIGMAS, xt)) < 1e-4
