#!/usr/bin/env python3
"""Principal components of data in files, in shards and in one pass, beside scikit-learn's `IncrementalPCA`.

    cargo build --release --all-features
    sh scripts/with-adapter.sh python tools/compare_incremental_pca.py                  # 10^6 x 784: 3 GB of files
    sh scripts/with-adapter.sh python tools/compare_incremental_pca.py --rows 100000    # a tenth

Rows of a Gaussian whose variances decay as a power of their number, in random directions, are written to 16 `.npy`
files of float32. Then, one after the other: `downhill moments --shard I/16` for each I, two at a time, `downhill merge`
and `downhill linear pca` on what they leave; the same in one process that reads all rows in one pass; and
`IncrementalPCA.partial_fit` over the same files. Printed are seconds, the most memory that a process held, and how far
eigenvalues (relative) and subspaces (sine of the largest angle) are apart. The exit code is 1 if shards and one pass
are more than 1e-6 apart.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARDS = 16


def write_rows(folder, rows, values, seed):
    """Writes the rows to files, a file for each shard, and returns their paths."""
    random = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(random.standard_normal((values, values)))
    spread = (directions * (1.0 + np.arange(values)) ** -0.75).astype(np.float32)
    mean = random.standard_normal(values).astype(np.float32)
    paths = []
    for shard in range(SHARDS):
        count = rows * (shard + 1) // SHARDS - rows * shard // SHARDS
        path = folder / f"rows-{shard:02}.npy"
        np.save(path, random.standard_normal((count, values), dtype=np.float32) @ spread.T + mean)
        paths.append(path)
    return paths


class Clock:
    """Seconds of the wall since it was made, and the most memory that a process under it held."""

    def __init__(self):
        self.began, self.most = time.monotonic(), 0

    def run(self, *commands, at_once=1):
        """Runs programs, `at_once` at a time."""
        waiting, running = list(commands), []
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(subprocess.Popen(list(map(str, waiting.pop(0))), stderr=subprocess.PIPE))
            process = running.pop(0)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(process.stderr.read().decode())
            self.most = max(self.most, usage.ru_maxrss * 1024)

    def seconds(self):
        return time.monotonic() - self.began


def components(folder):
    return np.load(folder / "eigenvalues.npy"), np.load(folder / "eigenvectors.npy").astype(np.float64)


def apart(first, second):
    """Returns how far eigenvalues are apart, relatively, and the sine of the largest angle of the subspaces."""
    values = np.abs(first[0] / second[0] - 1).max()
    a, b = (np.linalg.qr(vectors.T)[0] for _, vectors in (first, second))
    return values, np.linalg.norm(a - b @ (b.T @ a), 2)


def incremental(paths, count):
    """Fits scikit-learn's estimator to the files; returns eigenvalues of X'X / n around the mean, and the vectors."""
    from sklearn.decomposition import IncrementalPCA
    found, rows = IncrementalPCA(n_components=count), 0
    for path in paths:
        data = np.load(path, mmap_mode="r")
        batch = 5 * data.shape[1]
        for first in range(0, len(data), batch):
            # It takes no batch of fewer rows than components.
            last = len(data) if len(data) - first - batch < count else first + batch
            found.partial_fit(data[first:last])
            rows += last - first
            if last == len(data):
                break
    return found.explained_variance_ * (rows - 1) / rows, found.components_


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--values", type=int, default=784, metavar="P")
    parser.add_argument("-k", "--components", type=int, default=8, metavar="K")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--downhill", type=pathlib.Path, default=ROOT / "target/release/downhill", metavar="FILE")
    parser.add_argument("--no-sklearn", action="store_true", help="without the peer")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    program, count = arguments.downhill, arguments.components
    results = {"rows": arguments.rows, "values": arguments.values, "components": count}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "rows").mkdir()
        paths = write_rows(folder / "rows", arguments.rows, arguments.values, arguments.seed)
        data, pca = folder / "rows/*.npy", ["-k", count, "--center"]

        clock = Clock()
        parts = [folder / f"part-{shard}.npz" for shard in range(SHARDS)]
        clock.run(*([program, "moments", data, "--shard", f"{shard}/{SHARDS}", "-o", part]
                    for shard, part in enumerate(parts)), at_once=2)
        results["moments_seconds"] = clock.seconds()
        clock.run([program, "merge", *parts, "-o", folder / "all.npz"])
        results["merge_seconds"] = clock.seconds() - results["moments_seconds"]
        clock.run([program, "linear", "pca", "--data", folder / "all.npz", *pca, "-o", folder / "sharded"])
        results["sharded"] = {"seconds": clock.seconds(), "most_bytes": clock.most}
        results["part_bytes"] = [part.stat().st_size for part in parts]

        clock = Clock()
        clock.run([program, "linear", "pca", "--data", data, "--stream", *pca, "-o", folder / "whole"])
        results["one_pass"] = {"seconds": clock.seconds(), "most_bytes": clock.most}
        sharded, whole = components(folder / "sharded"), components(folder / "whole")
        results["apart"] = dict(zip(("values", "subspace"), map(float, apart(sharded, whole))))

        if not arguments.no_sklearn:
            began = time.monotonic()
            theirs = incremental(paths, count)
            results["sklearn"] = {"seconds": time.monotonic() - began}
            results["ratio"] = results["sharded"]["seconds"] / results["sklearn"]["seconds"]
            results["apart_from_sklearn"] = dict(zip(("values", "subspace"), map(float, apart(sharded, theirs))))
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))
    sys.exit(int(max(results["apart"].values()) > 1e-6))


if __name__ == "__main__":
    main()
