"""Models: opening, single calls, sampling, errors."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import run

import downhill


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_facts(digits: downhill.Model) -> None:
    assert (digits.name, digits.kind, digits.shape) == ("digits", "network", (1, 28, 28))
    assert digits.config["_class_name"] == "UNet2DModel"
    assert digits.facts["parameters"] > 10_000
    least, most = digits.sigma_range
    assert 0 < least < 0.1 < 10 < most
    assert digits.sigmas.shape == digits.alphas_cumprod.shape == (1000,)
    assert np.allclose(digits.sigma_of([0, 999]), [least, most])
    assert np.allclose(digits.timestep_of(digits.sigma_of([3, 500])), [3, 500])
    assert np.allclose(digits.input_scale(digits.sigmas[[7]]), np.sqrt(digits.alphas_cumprod[[7]]))
    assert "llvmpipe" in digits.adapter["name"] or digits.adapter["type"] != "software"
    assert downhill.adapters()


def test_denoise_and_eps_are_one_estimate(digits: downhill.Model) -> None:
    x = 3 * noise(3, 1, 28, 28)
    sigma = np.array([3.0, 1.0, 0.5])
    x0, eps = digits.denoise(x, sigma), digits.eps(x, sigma=sigma)
    assert x0.dtype == eps.dtype == np.float32 and x0.shape == x.shape
    assert np.allclose(x - sigma[:, None, None, None] * eps, x0, atol=1e-5)
    # One image, and one level for all.
    assert np.array_equal(digits.denoise(x[1], 1.0), x0[1])
    # At a timestep, the network's own input.
    t = 400
    z = digits.input_scale(digits.sigma_of(t)) * x
    eps_at_t = digits.eps(z, t)
    assert np.allclose(eps_at_t, digits.eps(x, sigma=digits.sigma_of(t)), atol=1e-5)
    assert np.array_equal(eps_at_t, digits.predict(z, t))


def test_arrays_of_others_are_converted(digits: downhill.Model) -> None:
    x = noise(2, 1, 28, 28)
    expected = digits.denoise(x, 1.0)
    for other in (x.astype(np.float64), np.asfortranarray(x), x.tolist(), memoryview(x), x[:, :, ::-1][:, :, ::-1]):
        assert np.array_equal(digits.denoise(other, 1.0), expected)
    with pytest.raises(downhill.ArgumentError, match="array of bytes") as caught:
        digits.denoise(np.zeros((1, 1, 28, 28), np.uint8), 1.0)
    assert caught.value.hint and "127.5" in caught.value.hint
    with pytest.raises(downhill.ArgumentError, match="complex"):
        digits.denoise(x.astype(np.complex64), 1.0)
    before = x.copy()
    digits.denoise(x, 1.0)
    assert np.array_equal(x, before)


def test_torch_in_and_out(digits: downhill.Model) -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 1, 28, 28, requires_grad=True)
    x0 = digits.denoise(x, torch.tensor([1.0, 2.0]), like=x)
    assert isinstance(x0, torch.Tensor) and x0.dtype == x.dtype
    assert np.array_equal(x0.numpy(), digits.denoise(x.detach().numpy(), [1.0, 2.0]))
    assert digits.denoise(x.to(torch.bfloat16), 1.0, like="torch").dtype == torch.float32

    class OnlyDlpack:
        def __dlpack__(self, **options: object) -> object:
            return x.detach().__dlpack__()

        def __dlpack_device__(self) -> object:
            return x.detach().__dlpack_device__()

    assert np.array_equal(digits.denoise(OnlyDlpack(), [1.0, 2.0]), x0.numpy())


def test_jvp_is_the_derivative(digits: downhill.Model) -> None:
    x, v = 2 * noise(2, 1, 28, 28), noise(2, 1, 28, 28, seed=1)
    sigma = [2.0, 1.0]
    products = digits.jvp(x, v, sigma)
    step = 1e-2
    above, below = digits.denoise(x + step * v, sigma), digits.denoise(x - step * v, sigma)
    differences = (above - below) / (2 * step)
    assert np.linalg.norm(products - differences) < 0.02 * np.linalg.norm(differences)
    several = np.stack([v, 2 * v], axis=1)
    both = digits.jvp(x, several, sigma)
    assert both.shape == (2, 2, 1, 28, 28)
    assert np.allclose(both[:, 0], products, atol=1e-5) and np.allclose(both[:, 1], 2 * products, atol=1e-5)
    assert digits.jvp(x[0], several[0], 2.0).shape == (2, 1, 28, 28)


def test_the_picture_is_that_of_the_program(digits: downhill.Model, program: str | None, tmp_path: Path) -> None:
    images = digits.sample(16, steps=10)
    assert [file.name for file in images.save(tmp_path / "digits.png")] == ["digits.png"]
    assert images.bytes.shape == (16, 28, 28, 1) and images.bytes.std() > 20
    if program is None:
        pytest.fail("build the program: `cargo build` or set DOWNHILL_PROGRAM")
    run(program, "sample", "--steps", "10", "-o", str(tmp_path / "program.png"))
    assert (tmp_path / "digits.png").read_bytes() == (tmp_path / "program.png").read_bytes()
    images.save(tmp_path / "one" / "%02d.png", floats=tmp_path / "x.npy", samples=tmp_path / "z.npy")
    assert len(list((tmp_path / "one").iterdir())) == 16
    assert np.array_equal(np.load(tmp_path / "z.npy"), images.samples)
    assert np.allclose(np.load(tmp_path / "x.npy"), images.pixels / 2 + 0.5, atol=1e-6) or images.pixels.max() > 1


def test_a_seed_is_an_image_in_any_batch(digits: downhill.Model) -> None:
    whole = digits.sample(5, steps=3, seed=9, batch=5).samples
    assert np.array_equal(digits.sample(5, steps=3, seed=9, batch=2).samples, whole)
    assert np.array_equal(digits.sample(5, steps=3, seed=9, images=[1, 4]).samples, whole[[1, 4]])
    assert not np.array_equal(digits.sample(5, steps=3, seed=8).samples, whole)


def test_reports_and_steps(digits: downhill.Model) -> None:
    seen: list[downhill.Step] = []
    images = digits.sample(2, steps=4, sampler="ddim", clip=False, keep_path=True, keep_predictions=True,
                          callback=seen.append)
    assert [step.index for step in seen] == list(range(len(seen))) and seen[-1].total == len(seen)
    report = images.report
    assert report["method"]["sampler"] == "ddim" and report["count"] == 2 and report["schedule"]["steps"] == len(seen)
    assert report["adapter"]["name"] == digits.adapter["name"]
    assert images.path is not None and images.path.shape == (len(seen), 2, 1, 28, 28)
    assert images.predictions is not None and images.predictions.shape == images.path.shape
    for step, after in zip(seen, seen[1:], strict=False):
        assert np.array_equal(step.x, after.before) and step.next_sigma == after.sigma
        assert np.allclose(step.before - step.sigma * step.eps, step.x0, atol=2e-3 * max(1.0, step.sigma))
    assert np.allclose(images.sigmas, [step.sigma for step in seen] + [seen[-1].next_sigma])
    with pytest.raises(ZeroDivisionError):
        digits.sample(2, steps=4, callback=lambda step: 1 / 0)
    # A run that was stopped leaves the model usable.
    assert np.array_equal(digits.sample(2, steps=4, sampler="ddim", clip=False).samples, images.samples)


def test_runs_within_runs(digits: downhill.Model) -> None:
    expected = digits.sample(1, steps=2, seed=3).samples
    inner: list[np.ndarray] = []
    digits.sample(2, steps=3, callback=lambda step: inner.append(digits.sample(1, steps=2, seed=3).samples))
    assert inner and all(np.array_equal(samples, expected) for samples in inner)


def test_starts(digits: downhill.Model) -> None:
    normals = noise(3, 1, 28, 28)
    a = digits.sample(noise=normals, steps=3)
    assert len(a) == 3
    first = digits.schedule(3).sigmas[0]
    state = digits.sample(start=first * normals, steps=3)
    assert np.allclose(a.pixels, state.pixels, atol=0.2)
    Image = pytest.importorskip("PIL.Image")
    picture = Image.fromarray(digits.sample(1, steps=4).bytes[0, ..., 0])
    near = digits.sample(4, steps=10, start=picture, strength=0.3, seed=3)
    far = digits.sample(4, steps=10, start=picture, strength=1.0, seed=3)
    original = np.asarray(picture, np.float32) / 127.5 - 1
    distance = [np.square(images.pixels - original).mean() for images in (near, far)]
    assert distance[0] < 0.6 * distance[1]
    mask = np.zeros((28, 28), bool)
    mask[:14] = True
    kept = digits.sample(2, steps=5, start=picture, mask=mask)
    assert np.array_equal(kept.bytes[:, 14:, :, 0], np.stack([np.asarray(picture)[14:]] * 2))


def test_own_samplers(digits: downhill.Model) -> None:
    def euler(x, sigmas, model) -> Iterator[np.ndarray]:
        for sigma, after in zip(sigmas, sigmas[1:], strict=False):
            x = x + (after - sigma) * model.eps(x, sigma)
            x = yield x

    sigmas = [20.0, 5.0, 1.0, 0.3, 0.0]
    own = digits.sample(3, sampler=euler, sigmas=sigmas, seed=5)
    ours = digits.sample(3, sampler="ddim", sigmas=sigmas, clip=False, seed=5)
    assert np.allclose(own.samples, ours.samples, atol=1e-4)
    assert own.report["method"]["function"].endswith("euler")

    def ancestral(x, sigmas, model) -> Iterator[np.ndarray]:
        for sigma, after in zip(sigmas, sigmas[1:], strict=False):
            x = yield model.denoise(x, sigma) + after * model.noise()

    one, two = (digits.sample(4, sampler=ancestral, sigmas=sigmas, batch=batch).samples for batch in (4, 3))
    assert np.array_equal(one, two)

    def short(x, sigmas, model) -> Iterator[np.ndarray]:
        yield x

    with pytest.raises(downhill.ArgumentError, match="ended after 1 of 4 steps"):
        digits.sample(1, sampler=short, sigmas=sigmas)

    def long(x, sigmas, model) -> Iterator[np.ndarray]:
        yield x
        for _ in sigmas[1:]:
            yield x

    with pytest.raises(downhill.ArgumentError, match="more than 4 states"):
        digits.sample(1, sampler=long, sigmas=sigmas)
    with pytest.raises(downhill.ArgumentError, match="returned a ndarray"):
        digits.sample(1, sampler=lambda x, sigmas, model: x, sigmas=sigmas)

    def bytes_of(x, sigmas, model) -> Iterator[np.ndarray]:
        for _ in sigmas[1:]:
            yield x.astype(np.uint8)

    with pytest.raises(downhill.ArgumentError, match="the sampler returned an array of uint8"):
        digits.sample(1, sampler=bytes_of, sigmas=sigmas)

    def wrong(x, sigmas, model) -> Iterator[np.ndarray]:
        yield x[:, :, :3]

    with pytest.raises(downhill.ArgumentError, match="yielded shape"):
        digits.sample(1, sampler=wrong, sigmas=sigmas)

    def failing(x, sigmas, model) -> Iterator[np.ndarray]:
        yield 1 / 0

    with pytest.raises(ZeroDivisionError):
        digits.sample(1, sampler=failing, sigmas=sigmas)


def test_own_denoisers(digits: downhill.Model) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, 2)).astype(np.float32)

    def posterior_mean(x, sigma):
        flat = x.reshape(len(x), 1, -1)
        weights = -np.square(flat - points[None]).sum(-1) / (2 * sigma[:, None] ** 2)
        weights = np.exp(weights - weights.max(1, keepdims=True))
        mean = (weights[..., None] * points).sum(1) / weights.sum(1, keepdims=True)
        return mean.reshape(x.shape)

    x = downhill.sample(posterior_mean, (2, 1, 1), 30, sigma_max=20, sigma_min=1e-3, steps=40, seed=2)
    distance = np.linalg.norm(x.reshape(30, 1, 2) - points, axis=-1).min(1)
    assert np.all(distance < 1e-2)
    as_eps = downhill.sample(
        lambda x, sigma: (x - posterior_mean(x, sigma)) / sigma[:, None, None, None],
        (2, 1, 1), 30, sigma_max=20, sigma_min=1e-3, steps=40, seed=2, gives="eps",
    )  # fmt: skip
    assert np.allclose(x, as_eps, atol=1e-3)
    with pytest.raises(downhill.ArgumentError, match="range of noise"):
        downhill.sample(posterior_mean, (2, 1, 1), 3)
    with pytest.raises(downhill.ArgumentError, match="returned shape"):
        downhill.sample(lambda x, sigma: x[:1], (2, 1, 1), 3, sigmas=[2.0, 1.0])
    with pytest.raises(KeyError):
        downhill.sample(lambda x, sigma: {}["x"], (2, 1, 1), 3, sigmas=[2.0, 1.0])
    # The embedded network as a function is the network.
    levels = [30.0, 3.0, 0.0]
    x = 30 * noise(2, 1, 28, 28)
    own = downhill.sample(digits.denoise, start=x, sigmas=levels, sampler="ddim")
    assert np.allclose(own, digits.sample(start=x, sigmas=levels, sampler="ddim", clip=False).samples, atol=1e-4)


def test_torch_denoisers() -> None:
    torch = pytest.importorskip("torch")

    def shrink(x, sigma):
        assert isinstance(x, torch.Tensor) and x.dtype == torch.float32
        return x / (1 + sigma[:, None, None, None] ** 2)

    x = downhill.sample(shrink, (1, 4, 4), 5, sigma_max=10, sigma_min=0.01, steps=20, takes="torch", like="torch")
    assert isinstance(x, torch.Tensor) and x.shape == (5, 1, 4, 4)
    numbers = downhill.sample(lambda x, s: x / (1 + s[:, None, None, None] ** 2), (1, 4, 4), 5, sigma_max=10,
                              sigma_min=0.01, steps=20)  # fmt: skip
    assert np.allclose(x.numpy(), numbers, atol=1e-5)


def test_data(tmp_path: Path) -> None:
    digits = downhill.data("digits")
    assert digits.shape == (10_000, 28, 28) and digits.min() == -1 and digits.max() == 1
    np.save(tmp_path / "x.npy", noise(5, 3))
    assert np.array_equal(downhill.data(str(tmp_path / "x.npy")), noise(5, 3))
    with pytest.raises(downhill.Error):
        downhill.data("digit")


def test_schedules(digits: downhill.Model) -> None:
    schedule = digits.schedule(8)
    assert len(schedule.sigmas) == len(schedule) + 1 and np.all(np.diff(schedule.sigmas) <= 0)
    usual = digits.sample(2, steps=8).samples
    assert np.allclose(digits.sample(2, timesteps=schedule.timesteps).samples, usual, atol=1e-4) or (
        None in schedule.timesteps
    )
    own = downhill.Schedule([9.0, 3.0, 1.0, 0.0])
    listed = digits.sample(2, schedule=own).samples
    assert np.array_equal(listed, digits.sample(2, sigmas=own.sigmas).samples)
    halving = digits.sample(2, steps=3, schedule=lambda steps: [9.0 / 3.0**k for k in range(steps)] + [0.0])
    assert np.allclose(halving.samples, listed, atol=1e-6)
    with pytest.raises(downhill.ArgumentError):
        downhill.Schedule([1.0, 2.0])
    with pytest.raises(downhill.ArgumentError, match="needs `steps`"):
        digits.sample(2, schedule=lambda steps: [1.0])
    assert "ge" in downhill.sampler_names() and "karras" in downhill.schedule_names()
    ge = next(info for info in downhill.samplers() if info.name == "ge")
    assert ge.order == "2" and "gamma" in ge.parameters and ge.calls == 1


def test_closed_forms(digits: downhill.Model) -> None:
    wiener = downhill.open("wiener:digits")
    assert wiener.kind == "closed form" and wiener.shape == (1, 28, 28)
    x, v = noise(2, 1, 28, 28), noise(2, 1, 28, 28, seed=3)
    # Linear but for the mean, so that its Jacobian is a difference.
    difference = wiener.denoise(x + v, 0.5) - wiener.denoise(x, 0.5)
    assert np.allclose(wiener.jvp(x, v, 0.5), difference, atol=2e-3)
    assert wiener.sample(2, steps=5).pixels.shape == (2, 1, 28, 28)
    with pytest.raises(downhill.ArgumentError, match="is a closed form and has no network"):
        wiener.predict(x, 10)
    with pytest.raises(downhill.ArgumentError, match="`dtype`"):
        downhill.open("wiener:digits", dtype="f16")


def test_local_closed_forms(tmp_path: Path) -> None:
    images = noise(5, 6, 7)
    np.save(tmp_path / "k.npy", images)
    local = downhill.open(f"local:{tmp_path / 'k.npy'},patch=3")
    assert local.kind == "closed form" and local.shape == (1, 6, 7)
    x, sigma = noise(1, 1, 6, 7, seed=4), 0.8
    # The definition at a place that no edge cuts off.
    patches = np.lib.stride_tricks.sliding_window_view(images.astype(np.float64), (3, 3), (1, 2)).reshape(-1, 9)
    around = x[0, 0, 1:4, 2:5].astype(np.float64).reshape(9)
    weights = np.exp(-((patches - around) ** 2).sum(1) / (2 * sigma**2))
    assert abs(local.denoise(x, sigma)[0, 0, 2, 3] - weights @ patches[:, 4] / weights.sum()) < 1e-5
    with pytest.raises(downhill.ArgumentError, match="odd number"):
        downhill.open(f"local:{tmp_path / 'k.npy'},patch=4")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"sampler": "gee"}, downhill.ArgumentError, "`gee` is not a sampler"),
        ({"schedule": "karass"}, downhill.ArgumentError, "`karass` is not a schedule"),
        ({"steps": 0}, downhill.ArgumentError, "0 steps"),
        ({"prompt": "a cat"}, downhill.ArgumentError, "`prompt` has no meaning"),
        ({"labels": [3]}, downhill.ArgumentError, "`labels` has no meaning"),
        ({"guidance_scale": 2.0}, downhill.ArgumentError, "`guidance_scale` has no meaning"),
        ({"eta": 0.5, "sampler": "heun"}, downhill.ArgumentError, "`eta` has no meaning"),
        ({"start": "nowhere.png"}, downhill.NotFoundError, "`nowhere.png` does not exist"),
        ({"start": np.zeros((2, 3, 28, 28))}, downhill.ArgumentError, "start states of shape"),
        ({"inpaint": "paint"}, downhill.ArgumentError, "`inpaint` of `paint`"),
        ({"rng": "mt"}, downhill.ArgumentError, "no generator `mt`"),
    ],
)
def test_refusals(digits: downhill.Model, arguments: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        digits.sample(2, **arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, downhill.Error)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(downhill.ArgumentError, match="nothing` does not exist") as missing:
        downhill.open(tmp_path / "nothing")
    assert missing.value.hint and "diffusers folder" in missing.value.hint
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet9DModel"}))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(downhill.ModelError) as caught:
        downhill.open(folder)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(downhill.AdapterError):
        downhill.open(adapter="no such adapter")
    with pytest.raises(downhill.ArgumentError, match="`dtype` of `f8`"):
        downhill.open(dtype="f8")


def test_files_that_cannot_be_written(digits: downhill.Model, tmp_path: Path) -> None:
    images = digits.sample(1, steps=2)
    with pytest.raises(downhill.ArgumentError):
        images.save(tmp_path / "x.bmp")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(downhill.Error):
        images.save(blocked / "x.png")
    with pytest.raises(downhill.ArgumentError, match="keep_path"):
        images.save(path=tmp_path / "path.npy")
    with pytest.raises(downhill.ArgumentError, match="`floats`"):
        images.save(floats=tmp_path / "x.npz")


def test_other_threads_run_while_the_device_works(digits: downhill.Model) -> None:
    digits.sample(16, steps=2)
    ticks = 0
    done = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.002)

    thread = threading.Thread(target=count)
    thread.start()
    begun = time.perf_counter()
    digits.denoise(noise(64, 1, 28, 28), 1.0)
    elapsed = time.perf_counter() - begun
    done.set()
    thread.join()
    # A call that kept the lock would leave a tick or two.
    assert ticks > 5, (ticks, elapsed)


def test_models_from_several_threads(digits: downhill.Model) -> None:
    x = noise(4, 1, 28, 28)
    expected = digits.denoise(x, 1.0)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(digits.denoise(x, 1.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(np.array_equal(result, expected) for result in results)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_stops_between_steps() -> None:
    code = (
        "import downhill, sys\n"
        "m = downhill.open()\n"
        "m.sample(1, steps=1)\n"
        "def seen(step):\n"
        "    if step.index == 2: print('ready', flush=True)\n"
        "try:\n"
        "    m.sample(64, steps=900, sampler='ddim', callback=seen)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)\n"
        "print(m.sample(1, steps=2).bytes.shape)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    begun = time.perf_counter()
    output, _ = process.communicate(timeout=120)
    assert output == "stopped\n(1, 28, 28, 1)\n", output
    assert time.perf_counter() - begun < 60


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_devices_do_not_survive_a_fork(digits: downhill.Model) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            digits.denoise(noise(1, 1, 28, 28), 1.0)
            os.write(writing, b"no error")
        except downhill.DeviceError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"forked after a device was opened" in os.read(reading, 1000)


def test_numbers_that_are_none(digits: downhill.Model) -> None:
    for arguments in (
        {"n": 0}, {"n": -1}, {"n": 2.0}, {"n": 10**12}, {"n": 2**62}, {"n": 1, "steps": 2.5}, {"n": 1, "seed": -1},
        {"n": 1, "seed": None}, {"n": 1, "batch": 0}, {"n": 1, "size": 28}, {"n": 1, "strength": 0.5},
        {"n": 1, "sigma_max": float("nan")}, {"n": 1, "sigmas": [float("inf"), 1.0]}, {"n": 1, "images": [-1]},
    ):  # fmt: skip
        with pytest.raises(downhill.ArgumentError):
            digits.sample(**arguments)  # pyright: ignore
    for call in (
        lambda: downhill.sample(lambda x, sigma: x, (1, 4, 4), 10**13, sigmas=[3.0, 1.0]),
        lambda: downhill.sample(lambda x, sigma: x, (10**6, 10**6, 10**6), 2, sigmas=[3.0, 1.0]),
        lambda: downhill.sample(lambda x, sigma: x.astype("u1"), (1, 4, 4), 2, sigmas=[3.0, 1.0]),
        lambda: downhill.sample(lambda x, sigma: x, (1, 4, 4), 2, sigmas=[3.0, 1.0], takes="jax"),
        lambda: digits.denoise(noise(1, 1, 28, 28), 3j),
        lambda: digits.denoise(noise(1, 1, 28, 28), "3"),
        lambda: digits.decode(noise(1, 4, 4, 4)),
    ):
        with pytest.raises(downhill.ArgumentError):
            call()


def test_release_within_a_run(digits: downhill.Model) -> None:
    with pytest.raises(downhill.ArgumentError, match="is sampling"):
        digits.sample(1, steps=2, callback=lambda step: digits.release())
    digits.release()
    assert len(digits.sample(1, steps=2)) == 1


def test_copies(digits: downhill.Model) -> None:
    schedule = pickle.loads(pickle.dumps(digits.schedule(4)))
    assert np.array_equal(schedule.sigmas, digits.schedule(4).sigmas)
    with pytest.raises(TypeError, match="open it again"):
        pickle.dumps(digits)
    assert {"PCA", "linear", "open"} <= set(dir(downhill)) and "Any" not in dir(downhill)


def test_admissible_schedules(digits: downhill.Model) -> None:
    images = digits.sample(1, error_model=(0.1, 1.5), sampler="ddim", steps=6)
    assert images.report["schedule"]["name"] == "admissible"


def test_pictures(digits: downhill.Model) -> None:
    pytest.importorskip("PIL")
    images = digits.sample(3, steps=2)
    assert len(images) == 3 and images[0].size == (28, 28)
    assert np.asarray(images).shape == (3, 28, 28, 1) and [it.size for it in images[:2]] == [(28, 28)] * 2
    images.pixels[:] = 0
    assert not images.pixels.any()
    png = images._repr_png_()
    assert png is not None and png.startswith(b"\x89PNG")
    again = digits.sample(3, steps=2)
    assert np.array_equal(downhill.grid(again.pixels), images.grid())
