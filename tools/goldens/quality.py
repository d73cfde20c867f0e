"""Features of the classifier in float64, and Frechet distances by scipy.

Used by `tools/make_goldens.py`; has no command of its own. Writes `tests/golden/quality`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from scipy import linalg

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from train_classifier import HELD_OUT, load, read_digits  # noqa: E402

IMAGES = 16


def by_scipy(mu1, sigma1, mu2, sigma2):
    """pytorch-fid's formula, without its offset for singular products."""
    root = linalg.sqrtm(sigma1 @ sigma2)
    return float((mu1 - mu2) @ (mu1 - mu2) + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root).real)


def by_eigenvalues(mu1, sigma1, mu2, sigma2):
    """The same for singular covariances: the product is similar to a matrix without negative eigenvalues."""
    values = linalg.eigvals(sigma1 @ sigma2).real.clip(min=0)
    return float((mu1 - mu2) @ (mu1 - mu2) + np.trace(sigma1) + np.trace(sigma2) - 2 * np.sqrt(values).sum())


def statistics(rows):
    return rows.mean(0), np.cov(rows, rowvar=False)


@torch.no_grad()
def features_of(network, images):
    parts = [network(batch) for batch in images.double().split(500)]
    return tuple(torch.cat(part).numpy() for part in zip(*parts))


def write(golden):
    folder = Path(golden) / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    network = load(ROOT / "weights" / "digits-classifier").double()
    images, labels = read_digits(ROOT / "data" / "digits")
    features, logits = features_of(network, images)
    np.save(folder / "features.npy", features[-IMAGES:])
    np.save(folder / "logits.npy", logits[-IMAGES:])
    right = int((logits[-HELD_OUT:].argmax(1) == labels[-HELD_OUT:].numpy()).sum())
    halves = [statistics(half) for half in (features[:1500], features[1500:3000])]

    rng = np.random.default_rng(11)
    rows = [rng.standard_normal((200, 16)) @ rng.standard_normal((16, 16)) + rng.standard_normal(16) for _ in range(2)]
    few = rng.standard_normal((6, 16))
    sets = {"a": statistics(rows[0]), "b": statistics(rows[1]), "few": statistics(few)}
    for name, (mu, sigma) in sets.items():
        # As pytorch-fid writes its statistics: compressed.
        np.savez_compressed(folder / f"{name}.npz", mu=mu, sigma=sigma)
    left, right_rows = np.sort(rng.standard_normal(30)), np.sort(rng.standard_normal(45) * 1.5 + 0.3)
    np.save(folder / "left.npy", left[:, None])
    np.save(folder / "right.npy", right_rows[:, None])
    # 90 values each, of equal weight.
    transport = np.sqrt(np.mean((np.repeat(left, 3) - np.repeat(right_rows, 2)) ** 2))
    (folder / "golden.json").write_text(json.dumps({
        "held_out": HELD_OUT,
        "held_out_right": right,
        "frechet_digits_halves": by_scipy(*halves[0], *halves[1]),
        "frechet_a_b": by_scipy(*sets["a"], *sets["b"]),
        "frechet_a_few": by_eigenvalues(*sets["a"], *sets["few"]),
        "wasserstein_left_right": float(transport),
    }, indent=1) + "\n")
    print((folder / "golden.json").read_text())
