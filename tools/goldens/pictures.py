"""Small image files of every format that is read, by Pillow, and what a viewer shows of each.

    python tools/goldens/pictures.py

writes tests/golden/pictures: the files, and what is shown of them, upright and over white: shown.json has the height and
the width of each, shown.npy the uint8 values (H, W, 3) of all, one after the other.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).parents[2] / "tests/golden/pictures"
HEIGHT, WIDTH = 6, 10
ORIENTATION = 0x0112


def colours():
    """A ramp in each direction, with one corner that tells how the image is turned."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([20 + x * 20, 40 + y * 30, 200 - x * 8 - y * 9], -1)
    image[0:2, 0:3] = (250, 10, 10)
    return Image.fromarray(image.astype(np.uint8))


def exif(orientation):
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


def shown(path):
    """The first image of a file as viewers show it."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("I;16", "I;16B", "I"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    colour = colours()
    grey = colour.convert("L")
    alpha = Image.fromarray((np.mgrid[0:HEIGHT, 0:WIDTH][1] * 255 // (WIDTH - 1)).astype(np.uint8))
    clear = colour.copy()
    clear.putalpha(alpha)
    grey_clear = grey.copy()
    grey_clear.putalpha(alpha)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257 + 3)
    few = colour.quantize(12)
    frames = [colour.quantize(32), ImageOps.mirror(colour).quantize(32)]

    def save(name, image, **options):
        image.save(FOLDER / name, **options)

    save("rgb.png", colour)
    save("rgba.png", clear)
    save("grey.png", grey)
    save("grey-alpha.png", grey_clear)
    save("grey16.png", deep)
    save("palette.png", few)
    save("palette-clear.png", few, transparency=3)
    save("bits.png", grey.convert("1"))
    save("animated.png", colour, save_all=True, append_images=[ImageOps.mirror(colour)], duration=100)
    for orientation in range(2, 9):
        save(f"turned-{orientation}.png", colour, exif=exif(orientation))
    save("turned-6.jpg", colour.resize((WIDTH * 4, HEIGHT * 4)), exif=exif(6), quality=95, subsampling=0)
    save("grey.jpg", grey.resize((WIDTH * 4, HEIGHT * 4)), quality=95)
    save("lossless.webp", colour, lossless=True)
    save("clear.webp", clear, lossless=True, exact=True)
    save("turned-6.webp", colour, lossless=True, exif=exif(6))
    save("lossy.webp", colour.resize((WIDTH * 4, HEIGHT * 4)), quality=95)
    save("animated.webp", colour, save_all=True, append_images=[ImageOps.mirror(colour)], duration=100, lossless=True)
    save("rgb.bmp", colour)
    save("palette.bmp", few)
    save("grey.bmp", grey)
    save("still.gif", few)
    save("clear.gif", few, transparency=3)
    save("animated.gif", frames[0], save_all=True, append_images=frames[1:], duration=100)
    save("rgb.tif", colour)
    save("lzw.tif", clear, compression="tiff_lzw")
    save("deflate.tif", grey, compression="tiff_adobe_deflate")
    save("grey16.tif", deep)
    save("bits.tif", grey.convert("1"))
    save("turned-8.tif", colour, tiffinfo={ORIENTATION: 8})
    save("pages.tif", colour, save_all=True, append_images=[ImageOps.mirror(colour)])
    files = sorted(path for path in FOLDER.iterdir() if path.stem != "shown")
    images = {path.name: shown(path) for path in files}
    (FOLDER / "shown.json").write_text(json.dumps({name: image.shape[:2] for name, image in images.items()}) + "\n")
    np.save(FOLDER / "shown.npy", np.concatenate([image.ravel() for image in images.values()]))
    print(f"{len(files)} files, {sum(path.stat().st_size for path in FOLDER.iterdir())} bytes")


if __name__ == "__main__":
    main()
