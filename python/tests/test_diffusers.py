"""Networks of downhill in pipelines and schedulers of diffusers, and stages against diffusers and transformers."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import tiny
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DModel,
)

import downhill
from downhill.interop.diffusers import UNet, UNetCondition


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[UNet2DModel, UNet]:
    """A network of diffusers, and the same network on downhill."""
    folder = tmp_path_factory.mktemp("unet")
    return tiny.unet2d(folder), UNet(downhill.open(folder))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> UNet2DModel:
    """Another network of diffusers."""
    return tiny.unet2d(tmp_path_factory.mktemp("other"), seed=31)


@pytest.fixture(scope="module")
def painters(tmp_path_factory: pytest.TempPathFactory) -> tuple[StableDiffusionPipeline, downhill.Model]:
    """A Stable Diffusion of diffusers, and the same on downhill."""
    folder = tmp_path_factory.mktemp("stable-diffusion")
    return tiny.stable_diffusion(folder), downhill.open(folder)


def test_the_call_of_a_unet(pair: tuple[UNet2DModel, UNet]) -> None:
    original, ours = pair
    x = tiny.normals(3, 3, 8, 8)
    for t in (500, 37.25, torch.tensor(999), torch.tensor([3, 500, 998])):
        with torch.no_grad():
            expected = original(x, t).sample if not isinstance(t, float) else original(x, torch.tensor(t)).sample
            found = ours(x, t)
        assert isinstance(found.sample, torch.Tensor) and found.sample.dtype == x.dtype
        assert tiny.distance(found.sample, expected) < 1e-5
        assert torch.equal(ours(x, t, return_dict=False)[0], found.sample)
    assert ours(x.double(), 5).sample.dtype == torch.float64
    assert ours(x.half(), 5).sample.dtype == torch.float16


def test_the_configuration_of_a_unet(pair: tuple[UNet2DModel, UNet]) -> None:
    original, ours = pair
    for name, value in original.config.items():
        if not name.startswith("_"):
            assert ours.config[name] == value or tuple(ours.config[name]) == tuple(value), name
    assert ours.config.in_channels == ours.config["in_channels"] == 3
    assert (ours.dtype, ours.device.type) == (torch.float32, "cpu")
    assert UNet(ours.downhill).to(torch.float16).dtype == torch.float16
    assert not list(ours.parameters()) and isinstance(ours.eval(), UNet)


def test_refusals_of_adapters(pair: tuple[UNet2DModel, UNet], tmp_path: Path) -> None:
    _, ours = pair
    x = tiny.normals(1, 3, 8, 8)
    with pytest.raises(downhill.ArgumentError, match="gradient"):
        ours(x.requires_grad_(), 5)
    with torch.no_grad():
        assert not ours(x, 5).sample.requires_grad
    with pytest.raises(downhill.ArgumentError, match="not a UNet2DConditionModel"):
        UNetCondition(ours.downhill)
    with pytest.raises(downhill.ArgumentError, match="closed form"):
        UNet(downhill.open("wiener:digits"))
    with pytest.raises(downhill.ArgumentError, match="cannot be saved"):
        DDPMPipeline(unet=ours, scheduler=DDPMScheduler()).save_pretrained(tmp_path / "saved")
    with pytest.raises(downhill.ArgumentError, match="labels"):
        ours(x.detach(), 5, class_labels=torch.tensor([1]))


def images_of(kind: type, unet: object, scheduler: object, **options: object) -> np.ndarray:
    pipeline = kind(unet=unet, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    return pipeline(batch_size=2, generator=generator, output_type="np", **options).images


@pytest.mark.parametrize(
    ("kind", "scheduler", "options"),
    [
        (DDPMPipeline, DDPMScheduler(), {"num_inference_steps": 12}),
        (DDPMPipeline, DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
         {"num_inference_steps": 7}),
        (DDIMPipeline, DDIMScheduler(), {"num_inference_steps": 9, "eta": 0.5}),
        (DDIMPipeline, DDIMScheduler(clip_sample=False), {"num_inference_steps": 5}),
    ],
)  # fmt: skip
def test_pipelines_of_pixels(
    pair: tuple[UNet2DModel, UNet], other: UNet2DModel, kind: type, scheduler: object, options: dict[str, object]
) -> None:
    expected, found = (images_of(kind, unet, scheduler, **options) for unet in pair)
    assert expected.shape == (2, 8, 8, 3) and 0.05 < expected.std()
    assert np.abs(found - expected).max() < 1e-4
    # The images depend on the network.
    assert np.abs(images_of(kind, other, scheduler, **options) - expected).max() > 1e-2


def test_a_pipeline_of_digits(digits: downhill.Model) -> None:
    scheduler = DDIMScheduler.from_config(digits.scheduler_config, clip_sample=False)
    pipeline = DDIMPipeline(unet=UNet(digits), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        batch_size=2, num_inference_steps=8, generator=torch.Generator().manual_seed(7), output_type="np"
    ).images  # fmt: skip
    noise = tiny.normals(2, 1, 28, 28, seed=7)
    ours = digits.sample(noise=noise, steps=8, sampler="ddim", clip=False).pixels
    assert np.abs((ours / 2 + 0.5).clip(0, 1).transpose(0, 2, 3, 1) - theirs).max() < 1e-4
    assert theirs.std() > 0.1


def walk(unet: object, scheduler: object, steps: int, **options: object) -> torch.Tensor:
    """The usual loop of diffusers."""
    scheduler.set_timesteps(steps)
    x = tiny.normals(2, 3, 8, 8, seed=4) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = unet(scheduler.scale_model_input(x, t), t, **options).sample
        x = scheduler.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDIMScheduler", {"clip_sample": False}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
        ("UniPCMultistepScheduler", {}),
        ("LMSDiscreteScheduler", {}),
        ("PNDMScheduler", {"skip_prk_steps": True}),
    ],
)
def test_schedulers(
    pair: tuple[UNet2DModel, UNet], other: UNet2DModel, name: str, options: dict[str, object]
) -> None:
    expected, found, another = (walk(unet, getattr(diffusers, name)(**options), 8) for unet in (*pair, other))
    assert torch.isfinite(expected).all()
    assert tiny.distance(found, expected) < 1e-4 < 1e-2 < tiny.distance(another, expected)


def test_labels_and_learned_variance(tmp_path: Path) -> None:
    original = tiny.unet2d(tmp_path, seed=8, num_class_embeds=4, out_channels=6,
                           scheduler=DDPMScheduler(variance_type="learned_range"))  # fmt: skip
    model = downhill.open(tmp_path)
    ours = UNet(model)
    x, labels = tiny.normals(3, 3, 8, 8), torch.tensor([0, 3, 2])
    with torch.no_grad():
        expected = original(x, 420, class_labels=labels).sample
    found = ours(x, 420, class_labels=labels).sample
    assert found.shape == (3, 6, 8, 8) and tiny.distance(found, expected) < 1e-5
    assert tiny.distance(model.predict(x, 420, labels=labels), expected) < 1e-5
    scheduler = DDPMScheduler(variance_type="learned_range")
    paths = []
    for unet in (original, ours):
        torch.manual_seed(0)
        paths.append(walk(unet, scheduler, 5, class_labels=torch.tensor([1, 2])))
    assert tiny.distance(paths[1], paths[0]) < 1e-4
    # eps has no variance beside it.
    assert tiny.distance(model.eps(x, 420, labels=labels), expected[:, :3]) < 1e-5
    assert tiny.distance(model.eps(x, 420, labels=[0, 3, 2]), model.eps(x, 420, labels=[1, 1, 1])) > 1e-3


def test_sampling_with_labels_is_that_of_diffusers(tmp_path: Path) -> None:
    scheduler = DDIMScheduler(clip_sample=False)
    original = tiny.unet2d(tmp_path, seed=9, num_class_embeds=4, scheduler=scheduler)
    model = downhill.open(tmp_path)
    noise, labels = tiny.normals(2, 3, 8, 8, seed=6), torch.tensor([3, 1])
    scheduler.set_timesteps(6)
    x = noise
    for t in scheduler.timesteps:
        with torch.no_grad():
            x = scheduler.step(original(x, t, class_labels=labels).sample, t, x).prev_sample
    found = model.sample(noise=noise, labels=labels, steps=6, sampler="ddim", clip=False)
    assert tiny.distance(found.pixels, x) < 1e-4
    assert tiny.distance(model.sample(noise=noise, labels=[0, 0], steps=6, clip=False).pixels, x) > 1e-3


def test_diffusion_transformers(tmp_path: Path) -> None:
    original = tiny.dit(tmp_path)
    model = downhill.open(tmp_path)
    x, labels = tiny.normals(2, 4, 8, 8), torch.tensor([7, 10])
    with torch.no_grad():
        expected = original(x, timestep=torch.tensor([300, 300]), class_labels=labels).sample
    assert expected.shape == (2, 8, 8, 8)
    assert tiny.distance(model.predict(x, 300, labels=labels), expected) < 1e-5
    assert tiny.distance(model.eps(x, 300, labels=labels), expected[:, :4]) < 1e-5
    sigma = model.sigma_of(300)[0]
    z = x * model.input_scale(sigma)[0]
    with torch.no_grad():
        eps = original(z, timestep=torch.tensor([300, 300]), class_labels=labels).sample[:, :4]
    assert tiny.distance(model.denoise(x, sigma, labels=labels), x - sigma * eps) < 1e-4


PROMPTS = ["a cat on a red re-entry", "A  Cat, cat;  caf\u00e9 42!"]


def test_texts_are_those_of_transformers(painters: tuple[StableDiffusionPipeline, downhill.Model]) -> None:
    pipeline, model = painters
    ids = pipeline.tokenizer(PROMPTS, padding="max_length", max_length=tiny.TOKENS, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = pipeline.text_encoder(ids).last_hidden_state
    found = model.encode_text(PROMPTS, like="torch")
    assert isinstance(found, torch.Tensor) and tiny.distance(found, expected) < 1e-5
    assert tiny.distance(found[0], found[1]) > 1e-2


def test_autoencoders_are_those_of_diffusers(
    painters: tuple[StableDiffusionPipeline, downhill.Model], tmp_path: Path
) -> None:
    pipeline, model = painters
    latents, scale = tiny.normals(2, 4, 8, 8), pipeline.vae.config.scaling_factor
    with torch.no_grad():
        expected = pipeline.vae.decode(latents / scale).sample
    assert tiny.distance(model.decode(latents), expected) < 1e-5
    assert tiny.distance(model.decode(latents / scale, scaled=False), expected) < 1e-5
    pixels = tiny.normals(2, 3, 16, 16).clamp(-1, 1)
    with torch.no_grad():
        mean = pipeline.vae.encode(pixels).latent_dist.mean
    assert tiny.distance(model.encode(pixels), scale * mean) < 1e-5
    assert tiny.distance(model.encode(pixels[0], scaled=False), mean[0]) < 1e-5
    drawn = model.encode(pixels, seed=1)
    assert np.array_equal(drawn, model.encode(pixels, seed=1)) and not np.array_equal(drawn, model.encode(pixels))
    # Another autoencoder in its place.
    other = tiny.autoencoder(77, scaling_factor=0.5)
    other.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = other.decode(latents / 0.5).sample
    assert tiny.distance(model.autoencoder(tmp_path).decode(latents), expected) < 1e-5


def test_learned_tokens_are_in_texts(
    painters: tuple[StableDiffusionPipeline, downhill.Model], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    pipeline, model = painters
    vector = tiny.normals(1, 16, seed=3)
    save_file({"<new>": vector}, tmp_path / "new.safetensors")
    learned = model.embedding(tmp_path / "new.safetensors")
    text = "a cat <new> on"
    found, before = learned.encode_text(text), model.encode_text(text)
    assert tiny.distance(found, before) > 1e-3
    ids = pipeline.tokenizer("a cat on", padding="max_length", max_length=tiny.TOKENS, return_tensors="pt").input_ids
    place = pipeline.tokenizer("a cat", return_tensors="pt").input_ids.shape[1] - 1
    ids = torch.cat([ids[:, :place], torch.tensor([[0]]), ids[:, place:-1]], 1)
    table = pipeline.text_encoder.get_input_embeddings().weight
    kept = table[0].clone()
    try:
        table[0] = vector[0]
        with torch.no_grad():
            expected = pipeline.text_encoder(ids).last_hidden_state
    finally:
        table[0] = kept
    assert tiny.distance(found, expected) < 1e-5


def test_a_unet_with_a_context(painters: tuple[StableDiffusionPipeline, downhill.Model]) -> None:
    pipeline, model = painters
    ours = UNetCondition(model)
    x, context = tiny.normals(2, 4, 8, 8), tiny.normals(2, 5, 16, seed=1)
    with torch.no_grad():
        expected = pipeline.unet(x, 321, context).sample
    found = ours(x, 321, encoder_hidden_states=context)
    assert tiny.distance(found.sample, expected) < 1e-5
    assert tiny.distance(model.eps(x, 321, context=context), expected) < 1e-5
    assert ours.config.cross_attention_dim == 16 and ours.config.time_cond_proj_dim is None
    with pytest.raises(downhill.ArgumentError, match="attention_mask"):
        ours(x, 321, context, attention_mask=torch.ones(2, 5))
    with pytest.raises(downhill.ArgumentError, match="image_embeds"):
        ours(x, 321, context, added_cond_kwargs={"image_embeds": context})


def test_stable_diffusion_on_our_network(painters: tuple[StableDiffusionPipeline, downhill.Model]) -> None:
    pipeline, model = painters
    ours = StableDiffusionPipeline(
        **(pipeline.components | {"unet": UNetCondition(model)}), requires_safety_checker=False
    )
    ours.set_progress_bar_config(disable=True)
    images = [
        painter(
            PROMPTS[0], negative_prompt="on", num_inference_steps=6, guidance_scale=4.0, output_type="np",
            generator=torch.Generator().manual_seed(1), num_images_per_prompt=2,
        ).images
        for painter in (pipeline, ours)
    ]  # fmt: skip
    assert images[0].shape == (2, 16, 16, 3) and images[0].std() > 0.05
    assert np.abs(images[1] - images[0]).max() < 1e-3


def test_text_to_image_is_that_of_diffusers(painters: tuple[StableDiffusionPipeline, downhill.Model]) -> None:
    pipeline, model = painters
    assert model.kind == "latent" and model.facts["takes_prompt"]
    noise = tiny.normals(2, 4, 8, 8, seed=2)
    arguments = dict(num_inference_steps=6, guidance_scale=4.0, negative_prompt="on", latents=noise)
    expected = pipeline(PROMPTS[0], num_images_per_prompt=2, output_type="np", **arguments).images
    latents = pipeline(PROMPTS[0], num_images_per_prompt=2, output_type="latent", **arguments).images
    found = model.sample(prompt=PROMPTS[0], negative="on", steps=6, guidance_scale=4.0, noise=noise, sampler="ddim")
    assert tiny.distance(found.samples, latents) < 1e-3
    assert np.abs((found.pixels / 2 + 0.5).clip(0, 1).transpose(0, 2, 3, 1) - expected).max() < 1e-3
    without = model.sample(prompt=PROMPTS[0], steps=6, guidance_scale=4.0, noise=noise, sampler="ddim", pixels=False)
    assert tiny.distance(without.samples, latents) > 1e-2


def test_stable_diffusion_xl(tmp_path: Path) -> None:
    pipeline = tiny.stable_diffusion_xl(tmp_path)
    model = downhill.open(tmp_path)
    assert model.kind == "latent" and model.facts["added"]
    with torch.no_grad():
        hidden, _, pooled, _ = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    ours = model.encode_text(PROMPTS, like="torch")
    assert tiny.distance(ours[0], hidden) < 1e-5 and tiny.distance(ours[1], pooled) < 1e-5

    # One call of the network.
    x, time_ids = tiny.normals(2, 4, 8, 8), torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    with torch.no_grad():
        expected = pipeline.unet(x, 321, hidden, added_cond_kwargs=added).sample
    unet = UNetCondition(model)
    assert tiny.distance(unet(x, 321, hidden, added_cond_kwargs=added).sample, expected) < 1e-5
    assert tiny.distance(model.eps(x, 321, context=hidden, pooled=pooled, time_ids=time_ids), expected) < 1e-5
    added["time_ids"] = time_ids / 2
    assert tiny.distance(unet(x, 321, hidden, added_cond_kwargs=added).sample, expected) > 1e-4

    # The whole pipeline, with our network in theirs, and ours.
    noise = tiny.normals(1, 4, 8, 8, seed=2)
    arguments = dict(
        prompt=PROMPTS[0], negative_prompt="on", num_inference_steps=5, guidance_scale=3.0, latents=noise,
        output_type="latent", height=16, width=16,
    )  # fmt: skip
    expected = pipeline(**arguments).images
    on_ours = StableDiffusionXLPipeline(**(pipeline.components | {"unet": unet}), add_watermarker=False)
    assert tiny.distance(on_ours(**arguments).images, expected) < 1e-3
    found = model.sample(prompt=PROMPTS[0], negative="on", steps=5, guidance_scale=3.0, noise=noise, sampler="ddim",
                         size=(16, 16))  # fmt: skip
    assert tiny.distance(found.samples, expected) < 1e-3
    with torch.no_grad():
        pixels = pipeline.vae.decode(expected / pipeline.vae.config.scaling_factor).sample
    assert tiny.distance(found.pixels, pixels) < 1e-3


def test_inpainting_on_our_network(tmp_path: Path) -> None:
    pipeline = tiny.inpainting(tmp_path)
    model = downhill.open(tmp_path)
    assert model.shape == (4, 8, 8)
    unet = UNetCondition(model)
    x, context = tiny.normals(3, 9, 8, 8), tiny.normals(3, 5, 16, seed=1)
    for at in (slice(0, 3), slice(1, 2), slice(0, 3)):
        with torch.no_grad():
            expected = pipeline.unet(x[at], 321, context[at]).sample
        assert tiny.distance(unet(x[at], 321, context[at]).sample, expected) < 1e-5
    with pytest.raises(downhill.ModelError, match="in_channels"):
        model.eps(x, 321, context=context)
    with pytest.raises(downhill.ArgumentError, match="shape"):
        model.predict(x[:, :4], 321, context=context)
    ours = StableDiffusionInpaintPipeline(**(pipeline.components | {"unet": unet}), requires_safety_checker=False)
    ours.set_progress_bar_config(disable=True)
    image, mask = tiny.normals(1, 3, 16, 16, seed=3).clamp(-1, 1), torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    images = [
        painter(
            PROMPTS[0], image=image, mask_image=mask, num_inference_steps=4, guidance_scale=3.0, output_type="np",
            generator=torch.Generator().manual_seed(1), height=16, width=16,
        ).images
        for painter in (pipeline, ours)
    ]  # fmt: skip
    assert images[0].std() > 0.05 and np.abs(images[1] - images[0]).max() < 1e-3
