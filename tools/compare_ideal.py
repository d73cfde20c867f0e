"""The ideal denoiser of 60,000 samples of 784 values for 64 images, in downhill and in PyTorch, in one run.

    python3 tools/compare_ideal.py target/release/downhill [--samples 60000] [--values 784] [--sigma 1 10] [--device cuda]

Both have the data where they compute with them before the clock starts; images come from the host and answers go back to it.
downhill is timed as the difference of a call with many blocks of 64 images and a call with one, so that what is made once
(pipelines, buffers) does not count; that first call is shown too. Agreement is checked against NumPy in float64. Prints a row
a sigma: seconds, their ratio, the largest difference.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import numpy
import torch

from peers import device

# On a GPU a block takes less time than what is made once varies by.
BLOCKS = {"cpu": 5, "cuda": 101}
REPEATS = 5


def downhill(program, folder, sigma, queries):
    """Seconds of the call, and eps."""
    numpy.save(folder / "q.npy", queries)
    command = [program, "denoise", f"ideal:{folder / 'k.npy'}", "--sigma", str(sigma), "--input", folder / "q.npy"]
    subprocess.run([*command, "--output", folder / "eps.npy", "--json", folder / "run.json", "-q"], check=True)
    report = json.loads((folder / "run.json").read_text())
    return report["timings"]["phases"]["call"], numpy.load(folder / "eps.npy")


def in_torch(data, half_squares, queries, sigma):
    logs = (queries @ data.T - half_squares) / sigma**2
    return (queries - torch.softmax(logs, dim=1) @ data) / sigma


def in_numpy(data, queries, sigma, count=4):
    eps = []
    for query in queries[:count].astype(numpy.float64):
        squares = numpy.concatenate([((part.astype(numpy.float64) - query) ** 2).sum(1) for part in numpy.array_split(data, 60)])
        weights = numpy.exp((squares.min() - squares) / (2 * sigma**2))
        mean = sum(part.T.astype(numpy.float64) @ share for part, share in zip(numpy.array_split(data, 60), numpy.array_split(weights, 60)))
        eps.append((query - mean / weights.sum()) / sigma)
    return numpy.array(eps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--values", type=int, default=784)
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.1, 1.0, 3.0, 10.0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="PyTorch's (default: cpu)")
    arguments = parser.parse_args()
    on, blocks = device.chosen(arguments.device), BLOCKS[arguments.device]

    random = numpy.random.default_rng(0)
    # Images of a kind: smooth, in -1 to 1, with some 30 directions of much variance.
    basis = random.standard_normal((30, arguments.values)).astype(numpy.float32)
    data = numpy.tanh(random.standard_normal((arguments.samples, 30)).astype(numpy.float32) @ basis / 4)
    half_squares = torch.from_numpy((data.astype(numpy.float64) ** 2).sum(1) / 2).float().to(on)
    print("| sigma | downhill, first | downhill | torch | ratio | against float64 |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        numpy.save(folder / "k.npy", data)
        for sigma in arguments.sigma:
            picks = data[random.integers(len(data), size=64 * blocks)]
            queries = (picks + sigma * random.standard_normal(picks.shape)).astype(numpy.float32)
            singles, pairs, torches = [], [], []
            there, some = torch.from_numpy(data).to(on), torch.from_numpy(queries[:64])
            for _ in range(REPEATS):
                first, _ = downhill(arguments.program, folder, sigma, queries[:64])
                all_blocks, eps = downhill(arguments.program, folder, sigma, queries)
                singles.append(first)
                pairs.append((all_blocks - first) / (blocks - 1))
                begin = time.perf_counter()
                in_torch(there, half_squares, some.to(on), sigma).cpu()
                torches.append(time.perf_counter() - begin)
            expected = in_numpy(data, queries, sigma)
            off = numpy.abs(eps[: len(expected)] - expected).max() / numpy.abs(expected).max()
            first, ours, theirs = (float(numpy.median(values)) for values in (singles, pairs, torches))
            print(f"| {sigma} | {first:.3g} s | {ours:.3g} s | {theirs:.3g} s | {ours / theirs:.2f} | {off:.1e} |")


if __name__ == "__main__":
    main()
