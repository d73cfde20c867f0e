"""Compares a picture with a golden one:  python3 golden.py PICTURE GOLDEN

Fails when a pixel differs by more than 1 of 255. Drivers and processors round float32 differently in the last place,
which moves few pixels, and those by 1. Needs Pillow, as Debian's python3-pil.
"""

import sys

from PIL import Image, ImageChops

LARGEST = 1

names = sys.argv[1:]
if len(names) != 2:
    sys.exit("usage: golden.py PICTURE GOLDEN")
picture, golden = (Image.open(name) for name in names)
if (picture.mode, picture.size) != (golden.mode, golden.size):
    sys.exit(f"{names[0]} is {picture.mode} of {picture.size}, {names[1]} is {golden.mode} of {golden.size}")
difference = ImageChops.difference(picture, golden)
counts = [0] * 256
for band in difference.split():
    counts = [before + more for before, more in zip(counts, band.histogram())]
largest = max(value for value, count in enumerate(counts) if count)
print(f"{sum(counts) - counts[0]} of {sum(counts)} values differ, the largest by {largest}")
if largest > LARGEST:
    sys.exit(f"{names[0]} is not {names[1]}: {largest} is more than {LARGEST}")
