"""Train the small classifier of digits whose features `downhill inspect compare` measures samples by.

    python tools/train_classifier.py --data data/digits --out weights/digits-classifier
    python tools/train_classifier.py --data data/digits --out weights/digits-classifier --evaluate

A plain convolutional network (no normalisation, so that an image's features never depend on its batch): pixels in
-1..1, four 3 x 3 convolutions with SiLU, means of 2 x 2 after the first two, the last convolution over the whole
3 x 3 map: 64 features; one linear layer on them: 10 logits. The last `HELD_OUT` images of the data set, whose order is
shuffled, are never trained on; the accuracy on them is that of the weights as saved, in float16.

Training images are turned, scaled and shifted at random; AdamW, cosine rate, label smoothing, dropout on the features.
"""

import argparse
import gzip
import json
import math
import os
import time
from pathlib import Path

# On a shared machine a thread that spins at a barrier takes the core its partner waits for.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

HELD_OUT = 2000
CONFIG = {
    "_class_name": "DigitsClassifier",
    "act_fn": "silu",
    "channels": [32, 64, 96],
    "classes": 10,
    "features": 64,
    "in_channels": 1,
    "sample_size": 28,
}
WEIGHTS = "model.safetensors"


class Classifier(nn.Module):
    """Answers (features, logits) of images (n, 1, 28, 28)."""

    def __init__(self, config=CONFIG, dropout=0.0):
        super().__init__()
        first, second, third = config["channels"]
        self.conv_in = nn.Conv2d(config["in_channels"], first, 3, padding=1)
        self.conv_mid = nn.Conv2d(first, second, 3, padding=1)
        self.conv_down = nn.Conv2d(second, third, 3, stride=2)
        self.conv_features = nn.Conv2d(third, config["features"], 3)
        self.classify = nn.Linear(config["features"], config["classes"])
        self.dropout = dropout

    def forward(self, x):
        x = functional.avg_pool2d(functional.silu(self.conv_in(x)), 2)
        x = functional.avg_pool2d(functional.silu(self.conv_mid(x)), 2)
        x = functional.silu(self.conv_down(x))
        features = functional.silu(self.conv_features(x)).flatten(1)
        return features, self.classify(functional.dropout(features, self.dropout, self.training))


def read_idx(path, header):
    raw = gzip.decompress(Path(path).read_bytes())
    return np.frombuffer(raw, np.uint8, offset=header)


def read_digits(folder):
    """Images (n, 1, 28, 28) in -1..1 and their labels."""
    pixels = read_idx(Path(folder) / "digits-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read_idx(Path(folder) / "digits-labels-idx1-ubyte.gz", 8)
    return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1.0), torch.from_numpy(labels.astype(np.int64))


def distorted(images, generator):
    """Turned by up to 12 degrees, scaled by up to a tenth, shifted by up to 2 pixels; the background is -1."""

    def spread(limit):
        return (2 * torch.rand(len(images), generator=generator) - 1) * limit

    angle, scale = spread(math.pi / 15), 1 + spread(0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack([cos, -sin, spread(2 / 14), sin, cos, spread(2 / 14)], 1).view(-1, 2, 3)
    grid = functional.affine_grid(rows, images.shape, align_corners=False)
    return functional.grid_sample(images + 1, grid, align_corners=False) - 1


@torch.no_grad()
def accuracy(network, images, labels):
    network.eval()
    right = sum((network(x)[1].argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500)))
    return right / len(labels)


def train(arguments, images, labels):
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    network = Classifier(dropout=0.3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = len(images) // arguments.batch
    start = time.monotonic()
    for epoch in range(arguments.epochs):
        network.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for step in range(steps):
            progress = (epoch * steps + step) / (arguments.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = arguments.rate * min(1.0, (epoch * steps + step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
            chosen = order[step * arguments.batch : (step + 1) * arguments.batch]
            _, logits = network(distorted(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1} loss {total / steps:.4f} {time.monotonic() - start:.0f} s", flush=True)
    return network


def save(network, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(halves, folder / f".{WEIGHTS}")
    os.replace(folder / f".{WEIGHTS}", folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def load(folder):
    """The classifier in a folder, its float16 weights widened to `float32`."""
    config = json.loads((Path(folder) / "config.json").read_text())
    network = Classifier(config)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(Path(folder) / WEIGHTS).items()})
    return network.eval()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the digits' IDX files")
    parser.add_argument("--out", required=True, help="folder to write, or to evaluate")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate", action="store_true", help="only measure the accuracy of --out")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    images, labels = read_digits(arguments.data)
    if not arguments.evaluate:
        save(train(arguments, images[:-HELD_OUT], labels[:-HELD_OUT]), arguments.out)
    network = load(arguments.out)
    print(f"accuracy on the {len(images) - HELD_OUT} images trained on: "
          f"{accuracy(network, images[:-HELD_OUT], labels[:-HELD_OUT]):.4f}")
    print(f"accuracy on the {HELD_OUT} held-out images: {accuracy(network, images[-HELD_OUT:], labels[-HELD_OUT:]):.4f}")
