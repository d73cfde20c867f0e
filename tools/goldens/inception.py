"""InceptionV3 of pytorch-fid and torch-fidelity in float64, and the distances of both packages and of prdc.

Used by `tools/make_goldens.py`; has no command of its own. Writes `tests/golden/inception`. Nothing large is committed:
weights and arrays are a function of a name and a place (`numbers`), which the tests compute, too.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from pytorch_fid.inception import InceptionV3, fid_inception_v3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from train_classifier import read_digits  # noqa: E402

SMALL = 107
SET = 16


def fnv(name):
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) & 0xFFFFFFFF
    return seed


def numbers(name, count):
    """Numbers from -1 to 1 of 24 bits, each a function of a name and a place."""
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + fnv(name)).astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x = (x.astype(np.uint64) * factor).astype(np.uint32)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float64) / 2**23 - 1


def weight(name, shape):
    """A tensor of the network: it keeps the scale of what passes through it."""
    values = numbers(name, int(np.prod(shape))).reshape(shape)
    if name.endswith("conv.weight"):
        values = values * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith("bn.weight"):
        values = 1 + 0.2 * values
    elif name.endswith("running_var"):
        values = 1 + 0.5 * values
    else:
        values = 0.1 * values
    return torch.from_numpy(values.astype(np.float32))


def state_dict():
    shapes = {name: tuple(value.shape) for name, value in _untrained().state_dict().items()}
    return {name: weight(name, shape) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def _untrained():
    """pytorch-fid's network before it downloads its weights."""
    original = torch.hub.load_state_dict_from_url
    import pytorch_fid.inception as module

    class Enough(Exception):
        pass

    kept = []

    def keep(*_, **__):
        raise Enough

    module.load_state_dict_from_url = keep
    frames = module._inception_v3

    def remember(*args, **kwargs):
        kept.append(frames(*args, **kwargs))
        return kept[-1]

    module._inception_v3 = remember
    try:
        fid_inception_v3()
    except Enough:
        pass
    finally:
        module._inception_v3, module.load_state_dict_from_url = frames, original
    return kept[0]


def network():
    """pytorch-fid's network with these weights, in float64."""
    import pytorch_fid.inception as module

    state = state_dict()
    full = _untrained()
    missing = {name: value for name, value in full.state_dict().items() if name.endswith("num_batches_tracked")}
    module.load_state_dict_from_url = lambda *_, **__: {**state, **missing}
    return InceptionV3(resize_input=False, normalize_input=False).double().eval()


def images(count):
    """Bytes (count, 3, 28, 28): three digits of the embedded set, one in each channel."""
    pixels, _ = read_digits(ROOT / "data" / "digits")
    digits = ((pixels[: count + 2, 0] + 1) * 127.5).round()
    return torch.stack([digits[at : at + 3] for at in range(count)]).double()


def fashion(count):
    """Bytes (count, 3, 28, 28): three images of Fashion-MNIST, one in each channel."""
    pixels = torch.from_numpy(np.load(ROOT / "tests" / "golden" / "inception" / "fashion.npy"))
    return torch.stack([pixels[at : at + 3] for at in range(count)]).double()


def prepared(pixels, side, preparation):
    if preparation == "pytorch-fid":
        unit = F.interpolate(pixels / 255, size=(side, side), mode="bilinear", align_corners=False)
        return 2 * unit - 1
    resized = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(side, side), align_corners=False)
    return (resized - 128) / 128


@torch.no_grad()
def features(net, pixels, side, preparation):
    parts = [net(prepared(part, side, preparation))[0] for part in pixels.split(4)]
    return torch.cat(parts).flatten(1)


def measures(first, second, k, subset):
    """`first` are the samples, `second` the data."""
    statistics = [fid_features_to_statistics(rows) for rows in (first, second)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fid = calculate_frechet_distance(*[s[name] for s in statistics for name in ("mu", "sigma")])
    settings = {"kid_subsets": 10, "kid_subset_size": subset, "verbose": False}
    kid = kid_features_to_metric(first, second, **settings)
    return {
        "pytorch_fid": float(fid),
        "torch_fidelity_fid": fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"],
        "kid_mean": kid["kernel_inception_distance_mean"],
        "kid_deviation": kid["kernel_inception_distance_std"],
        **{name: float(value) for name, value in compute_prdc(second.numpy(), first.numpy(), k).items()},
    }


def of_fashion(net, folder, digits):
    """The same of Fashion-MNIST: among themselves, and digits as samples of them."""
    all_images = fashion(2 * SET)
    for preparation in ("pytorch-fid", "torch-fidelity"):
        rows = features(net, all_images[:2], SMALL, preparation)
        np.save(folder / f"fashion-{preparation}-{SMALL}.npy", rows.float().numpy())
    rows = features(net, all_images, SMALL, "pytorch-fid")
    return {
        "fashion": measures(rows[:SET], rows[SET:], 3, 12),
        "digits_of_fashion": measures(digits[:SET], rows, 3, 12),
    }


def write(golden):
    folder = Path(golden) / "inception"
    folder.mkdir(parents=True, exist_ok=True)
    net = network()
    two = images(2)
    for preparation in ("pytorch-fid", "torch-fidelity"):
        np.save(folder / f"{preparation}-{SMALL}.npy", features(net, two, SMALL, preparation).float().numpy())
    np.save(folder / "pytorch-fid-299.npy", features(net, two, 299, "pytorch-fid").float().numpy())
    np.save(folder / "torch-fidelity-299.npy", features(net, two, 299, "torch-fidelity").float().numpy())
    all_images = images(2 * SET)
    of_images = features(net, all_images, SMALL, "pytorch-fid")
    rows = torch.from_numpy(numbers("samples", 300 * 24).reshape(300, 24))
    shifted = torch.from_numpy(0.9 * numbers("data", 400 * 24).reshape(400, 24) + 0.05)
    result = {
        "images": measures(of_images[:SET], of_images[SET:], 3, 12),
        "arrays": measures(rows, shifted, 5, 100),
    }
    result.update(of_fashion(net, folder, of_images))
    (folder / "golden.json").write_text(json.dumps(result, indent=1) + "\n")
    print((folder / "golden.json").read_text())
