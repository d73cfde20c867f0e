"""Time the leading principal components of data in downhill, scikit-learn and scipy, and print residuals and ratios.

    cargo build --release
    python tools/compare_spectra.py                           # four sizes of generated data, then Fashion-MNIST
    python tools/compare_spectra.py --only 60000x784          # one of them
    python tools/compare_spectra.py --images train-images-idx3-ubyte.gz --only fashion-mnist

Generated data have variances that fall as i^(-3/2) over a floor of noise, as `downhill bench lanczos` has them. Fashion-MNIST is
Debian's package `dataset-fashion-mnist`; where it is not installed, that case is left out.

Every peer gets the data as a float32 matrix in memory, not centred, and is timed to eigenpairs in memory: `downhill linear
pca` says itself how long it took. In each round all of them take their turn. Residuals |X'X v / n - lambda v| over the largest lambda
are computed here in float64 for all alike. `randomized_svd` is asked twice: as it comes, and with as many power
iterations as bring its residual under that of the table. `eigsh` gets X'(Xv) as an operator and a tolerance.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy
import scipy
import sklearn
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import randomized_svd

from peers import machine, table

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
FASHION = "fashion-mnist"
SIZES = ("10000x784", "60000x784", "20000x3072", "8000x12288")
COUNT = 32
# Rows up to which X'X is formed for the route "X'X, eigh": beyond, it takes minutes.
LARGEST = 4096
# Power iterations tried for `randomized_svd` until its residual is small enough.
ITERATIONS = (4, 7, 10, 15, 20, 30, 45, 60, 90)


def generated(samples, dimension):
    """Variances of directions i^(-3/2), noise of 0.02 beside a first direction of 1."""
    random = numpy.random.default_rng(7)
    directions = min(256, dimension)
    scale = dimension**-0.5
    basis = random.standard_normal((directions, dimension), dtype=numpy.float32)
    basis *= (scale * numpy.arange(1, directions + 1)[:, None] ** -0.75).astype(numpy.float32)
    data = random.standard_normal((samples, directions), dtype=numpy.float32) @ basis
    data += random.standard_normal((samples, dimension), dtype=numpy.float32) * numpy.float32(0.02 * scale)
    return data


def fashion(path):
    """Pixels from 0 to 1 of an IDX file of images."""
    with gzip.open(path) as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16)
    return (pixels.reshape(-1, 784) / numpy.float32(255)).astype(numpy.float32)


def worst_residual(data, values, vectors):
    """The largest |X'X v / n - lambda v| over the largest lambda, vectors as rows, in float64 a few samples at a time."""
    vectors = vectors.astype(numpy.float64)
    image = numpy.zeros_like(vectors.T)
    for first in range(0, len(data), 4096):
        some = data[first:first + 4096].astype(numpy.float64)
        image += some.T @ (some @ vectors.T)
    apart = image / len(data) - vectors.T * numpy.asarray(values, numpy.float64)
    return float(numpy.linalg.norm(apart, axis=0).max() / max(values))


class Downhill:
    def __init__(self, binary, adapter):
        self.binary, self.rest = str(binary), ["--adapter", adapter] if adapter else []
        self.said = {}

    def solve(self, _data, file, tolerance):
        """Seconds, eigenvalues, eigenvectors as rows."""
        with tempfile.TemporaryDirectory() as folder:
            command = [self.binary, "linear", "pca", "--data", file, "-k", str(COUNT), "--tolerance", str(tolerance),
                       "-o", folder, "-q", *self.rest]
            subprocess.run(command, check=True)
            self.said = json.loads((Path(folder) / "report.json").read_text())
            found = self.said["components"]
            values, vectors = (numpy.load(Path(folder) / f"{name}.npy") for name in ("eigenvalues", "eigenvectors"))
        return found["prepare_seconds"] + found["solve_seconds"], values, vectors

    def route(self):
        return f"{self.said['components']['route']}, {self.said['components']['solver']}"


def timed(solve):
    begin = time.perf_counter()
    values, vectors = solve()
    return time.perf_counter() - begin, values, vectors


def by_eigsh(data, tolerance):
    apply = LinearOperator((data.shape[1],) * 2, dtype=numpy.float32, matvec=lambda v: data.T @ (data @ v) / len(data))
    values, vectors = eigsh(apply, COUNT, tol=tolerance, v0=numpy.ones(data.shape[1], numpy.float32))
    return values[::-1], vectors.T[::-1]


def by_randomized(data, iterations):
    _, singular, vectors = randomized_svd(data, COUNT, n_iter=iterations, random_state=0)
    return singular.astype(numpy.float64) ** 2 / len(data), vectors


def by_moment(data):
    side = data.shape[1]
    values, vectors = eigh(data.T @ data / len(data), subset_by_index=(side - COUNT, side - 1))
    return values[::-1], vectors.T[::-1]


def enough_iterations(data, tolerance):
    """Power iterations that bring the residual of `randomized_svd` under `tolerance`; none of those tried may do."""
    for iterations in ITERATIONS:
        if worst_residual(data, *by_randomized(data, iterations)) <= tolerance:
            return iterations
    return None


def measure(case, data, downhill, rounds, tolerance):
    """Rows of (peer, seconds of each round, residual)."""
    iterations = enough_iterations(data, tolerance)
    peers = {"eigsh": lambda: timed(lambda: by_eigsh(data, tolerance)),
             "randomized_svd": lambda: timed(lambda: by_randomized(data, "auto"))}
    if iterations:
        peers[f"randomized_svd, {iterations} iterations"] = lambda: timed(lambda: by_randomized(data, iterations))
    if data.shape[1] <= LARGEST:
        peers["X'X, eigh"] = lambda: timed(lambda: by_moment(data))
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/x.npy"
        numpy.save(file, data)
        peers = {"downhill": lambda: downhill.solve(data, file, tolerance), **peers}
        seconds, residuals = {peer: [] for peer in peers}, {}
        for _ in range(rounds):
            for peer, solve in peers.items():
                taken, values, vectors = solve()
                seconds[peer].append(taken)
                residuals.setdefault(peer, worst_residual(data, values, vectors))
    print(f"{case}: done", file=sys.stderr)
    return [{"case": case, "peer": peer, "seconds": seconds[peer], "residual": residuals[peer],
             "route": downhill.route() if peer == "downhill" else None} for peer in peers]


def cells(row, own):
    ratios = [ours / theirs for ours, theirs in zip(own["seconds"], row["seconds"])]
    ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if row is not own else "-"
    name = f"downhill ({row['route']})" if row is own else row["peer"]
    return [row["case"], name, f"{median(row['seconds']):.2f}", f"{row['residual']:.1e}", ratio]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=(*SIZES, FASHION), default=[*SIZES, FASHION], metavar="CASE")
    parser.add_argument("--images", type=Path, default=IMAGES, metavar="FILE", help="Fashion-MNIST's images, IDX")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--tolerance", type=float, default=1e-4, metavar="R", help="residual that is asked for")
    parser.add_argument("--downhill", type=Path, default=ROOT / "target" / "release" / "downhill", metavar="FILE")
    parser.add_argument("--adapter", help="downhill's adapter")
    parser.add_argument("-o", "--format", choices=("md", "json"), default="md")
    arguments = parser.parse_args()
    if FASHION in arguments.only and not arguments.images.is_file():
        print(f"warning: `{arguments.images}` is not there, and {FASHION} left out", file=sys.stderr)
        arguments.only.remove(FASHION)
    others, downhill = machine.Others(), Downhill(arguments.downhill.resolve(), arguments.adapter)
    rows = []
    for case in arguments.only:
        data = fashion(arguments.images) if case == FASHION else generated(*map(int, case.split("x")))
        rows += measure(case, data, downhill, arguments.rounds, arguments.tolerance)
    share = others.share()
    if arguments.format == "json":
        print(json.dumps(rows, indent=1))
        return
    print(f"{machine.processor()}; numpy {numpy.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}; "
          f"{COUNT} eigenpairs, tolerance {arguments.tolerance:.0e}, {arguments.rounds} rounds"
          + (f"; other processes took {share:.0%} of the processors" if share is not None else ""), end="\n\n")
    head = ["case", "peer", "seconds", "worst residual", "downhill / peer"]
    body = [cells(row, next(own for own in rows if own["case"] == row["case"])) for row in rows]
    print("\n".join(table.aligned([head, *body])))


if __name__ == "__main__":
    main()
