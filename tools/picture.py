"""Draws docs/descent.svg, the picture of the README: sampling as descent to the data.

    python3 tools/picture.py docs/descent.svg

`downhill sample` walks from noise to digits by gradient estimation, and `downhill denoise` gives the prediction of x0 at
each state. The distance of a state or a prediction is the smallest |a - d| / sqrt(n) over the digits d that the network
was trained on, for n pixels between -1 and 1. A line shows the median of that distance for digits that it has not seen.
DOWNHILL_PROGRAM names the program; the built release program by default. Needs NumPy.
"""

import base64
import gzip
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data" / "digits" / "digits-images-idx3-ubyte.gz"
DIGITS, STEPS, SEED = 6, 6, 3
# The network was trained on the first of the digits, and has not seen the others.
TRAINED = 8000

# The card, in pixels of the SVG.
WIDTH, LEFT, RIGHT, CELL, GAP, TOP = 1280, 128, 24, 70, 3, 64
ROWS, COLUMNS = 3, 2
BLOCK = ROWS * CELL + (ROWS - 1) * GAP
BETWEEN, PLOT, BOTTOM = 26, 250, 58
HEIGHT = TOP + 2 * BLOCK + 2 * BETWEEN + PLOT + BOTTOM
# The axis of distances.
LEAST, MOST = 0.1, 60.0
INK, FAINT, LINES, CARD = "#e6edf3", "#9aa7b4", "#2a3440", "#0d1420"
STATE, PREDICTION = "#58a6ff", "#ffa657"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"


def program() -> str:
    """Returns the path of the program."""
    build = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return os.environ.get("DOWNHILL_PROGRAM") or str(build / "release" / "downhill")


def walk(folder: Path) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Samples; returns sigmas (levels), and states x and predictions of x0 (levels, digits, pixels)."""
    noise = np.random.default_rng(SEED).standard_normal((DIGITS, 1, 28, 28)).astype("float32")
    np.save(folder / "noise.npy", noise)

    def run(*words: str) -> None:
        subprocess.run([program(), *words, "-q"], cwd=folder, check=True)

    run(
        *f"sample -n {DIGITS} --steps {STEPS} --init-noise noise.npy --save-path path.npy".split(),
        *"--json run.json -o samples.png".split(),
    )
    schedule = json.loads((folder / "run.json").read_text())["schedule"]
    sigmas = [level["sigma"] for level in schedule["levels"]]
    # The path is z = x / sqrt(1 + sigma^2), from the first step on.
    later = [z * math.sqrt(1 + sigma**2) for z, sigma in zip(np.load(folder / "path.npy"), sigmas[1:])]
    states = [noise * np.float32(sigmas[0]), *later]
    predictions = []
    for x, sigma in zip(states, sigmas):
        np.save(folder / "x.npy", x.astype("float32"))
        run(*f"denoise -i x.npy --sigma {sigma!r} -o eps.npy".split())
        predictions.append(np.clip(x - sigma * np.load(folder / "eps.npy"), -1, 1))
    flat = (len(sigmas), DIGITS, 28 * 28)
    return sigmas, np.reshape(states, flat), np.reshape(predictions, flat)


def digits() -> np.ndarray:
    """Returns the digits of the data (digits, pixels), between -1 and 1."""
    pixels = np.frombuffer(gzip.decompress(DATA.read_bytes()), "uint8", offset=16)
    return pixels.reshape(-1, 28 * 28).astype("float64") / 127.5 - 1


def distances(points: np.ndarray) -> np.ndarray:
    """Returns the distance of each point (..., pixels) from the nearest digit that the network was trained on."""
    data = digits()[:TRAINED]
    rows = points.reshape(-1, 28 * 28).astype("float64")
    squares = (rows**2).sum(1)[:, None] - 2 * rows @ data.T + (data**2).sum(1)
    return np.sqrt(squares.min(1) / data.shape[1]).reshape(points.shape[:-1])


def png(pixels: np.ndarray) -> str:
    """Returns an address that holds grey pixels (height, width) as a PNG."""
    height, width = pixels.shape
    grey = np.clip((pixels + 1) * 127.5 + 0.5, 0, 255).astype("uint8")
    lines = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def text(x: float, y: float, words: str, size: int = 17, colour: str = INK, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{more}>{words}</text>'


def across(column: int, columns: int) -> float:
    """Returns the middle of a column."""
    pitch = (WIDTH - LEFT - RIGHT) / columns
    return LEFT + pitch * (column + 0.5)


def down(distance: float) -> float:
    """Returns the height at which a distance is drawn."""
    top = TOP + 2 * BLOCK + 2 * BETWEEN
    share = math.log(distance / LEAST) / math.log(MOST / LEAST)
    return top + PLOT * (1 - share)


def blocks(images: np.ndarray, top: float, label: str, colour: str) -> list[str]:
    """Draws a block of digits per column: images (columns, digits, pixels)."""
    drawn = []
    for column, digits in enumerate(images):
        left = across(column, len(images)) - (COLUMNS * CELL + (COLUMNS - 1) * GAP) / 2
        for index, pixels in enumerate(digits):
            x, y = left + index % COLUMNS * (CELL + GAP), top + index // COLUMNS * (CELL + GAP)
            drawn.append(
                f'<image x="{x:.1f}" y="{y:.1f}" width="{CELL}" height="{CELL}" style="image-rendering:pixelated" '
                f'preserveAspectRatio="none" href="{png(pixels.reshape(28, 28))}"/>'
            )
    for line, words in enumerate(label.split("|")):
        drawn.append(text(20, top + BLOCK / 2 - 4 + 22 * line, words, 17, colour if line == 0 else FAINT, "start"))
    return drawn


def curves(values: np.ndarray, colour: str) -> list[str]:
    """Draws a line per digit, and the median over them: values (columns, digits)."""
    drawn = []
    for line, width, opacity in [*((row, 1.4, 0.4) for row in values.T), (np.median(values, 1), 3.2, 1)]:
        points = " ".join(f"{across(c, len(line)):.1f},{down(v):.1f}" for c, v in enumerate(line))
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity}" '
            'stroke-linejoin="round"/>'
        )
    for column, value in enumerate(np.median(values, 1)):
        drawn.append(f'<circle cx="{across(column, len(values)):.1f}" cy="{down(value):.1f}" r="5" fill="{colour}"/>')
    return drawn


def draw(sigmas: list[float], states: np.ndarray, predictions: np.ndarray) -> str:
    """Returns the picture."""
    columns = len(sigmas)
    # States have the variance of the data and of the noise; they are drawn at the variance of the data.
    shown = states / np.sqrt(1 + np.square(sigmas))[:, None, None]
    far, near = distances(states), distances(predictions)
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="{CARD}"/>']
    for column in range(columns):
        parts.append(text(across(column, columns), 40, "noise" if column == 0 else f"after {column} call{'s' * (column > 1)}", 18))
    parts += blocks(shown, TOP, "state x|scaled", STATE)
    parts += blocks(predictions, TOP + BLOCK + BETWEEN, "prediction|of the clean|image", PREDICTION)

    for tick in (0.1, 1, 10):
        y = down(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINES}"/>')
        parts.append(text(LEFT - 10, y + 5, f"{tick:g}", 15, FAINT, "end"))
    new = down(float(np.median(distances(digits()[TRAINED:]))))
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{new:.1f}" y2="{new:.1f}" stroke="{FAINT}" stroke-dasharray="8 6"/>'
    )
    parts.append(text(across(0, columns) - 66, new + 24, "dashed: real digits that the network has not seen", 15, FAINT, "start"))
    middle = down(math.sqrt(LEAST * MOST))
    for line, words in enumerate(["distance", "to the data"]):
        parts.append(text(20, middle - 8 + 22 * line, words, 16, INK if line == 0 else FAINT, "start"))
    points = " ".join(f"{across(c, columns):.1f},{down(max(s, LEAST)):.1f}" for c, s in enumerate(sigmas) if s > LEAST)
    parts.append(
        f'<polyline points="{points}" fill="none" stroke="{FAINT}" stroke-width="1.6" stroke-dasharray="2 6" '
        'stroke-linecap="round"/>'
    )
    parts += curves(far, STATE) + curves(near, PREDICTION)
    for column, sigma in enumerate(sigmas):
        said = f"sigma {sigma:.0f}" if sigma > 9.95 else f"sigma {sigma:.1f}" if sigma > 0.95 else f"sigma {sigma:.2f}"
        parts.append(text(across(column, columns), HEIGHT - 22, said, 15, FAINT))
    key = across(2, columns) + 60
    parts.append(text(key, down(26), "state", 17, STATE, "start"))
    parts.append(text(key + 58, down(26), "prediction", 17, PREDICTION, "start"))
    parts.append(text(key + 158, down(26), "dotted: sigma, the noise level", 17, FAINT, "start"))
    title = "Six digits by gradient estimation: states, predictions, and their distance to the data at each call"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{FONT}" role="img"><title>{title}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("error: one file\nhint: python3 tools/picture.py docs/descent.svg")
    with tempfile.TemporaryDirectory() as folder:
        picture = draw(*walk(Path(folder)))
    Path(sys.argv[1]).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
