"""The experiments of the papers, as arrays.

Each function measures and returns `Results`: arrays, tables and figures by the names of the files that the program
writes (`downhill inspect NAME`, `downhill linear NAME`), the numbers of its report, and its findings as sentences.
`downhill.plots.plot` draws the figures.

Studies of denoisers take a `downhill.Model`, or a function `(x, sigma)` of images x = x0 + sigma eps, (n, c, h, w), and
noise levels, (n,), that returns x0, with the shape of its images and the noise that it is for.

>>> import downhill
>>> found = downhill.studies.norms(downhill.open(), n=4, steps=10)
>>> found["norms"].shape
(10, 4)
"""

from ._data import angles, baseline, dimension, energy, product, schedules, transition
from ._denoisers import Denoiser, constancy, error, error_model, jacobian, norms, projection, promise
from ._results import Results

__all__ = [
    "Denoiser",
    "Results",
    "angles",
    "baseline",
    "constancy",
    "dimension",
    "energy",
    "error",
    "error_model",
    "jacobian",
    "norms",
    "product",
    "projection",
    "promise",
    "schedules",
    "transition",
]


def __dir__() -> list[str]:
    return __all__
