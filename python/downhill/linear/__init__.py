"""The theory of linear diffusion, and denoisers that data determine.

Closed forms of an array are denoisers like networks: `ideal`, `wiener`, `sequential` and `pca` return models with
`denoise`, `eps`, `jvp` and `sample`. Chains of projections, the angles and the energies of their components are
measured on samples, and beside them stand the formulas: Nadler's for a component under noise, gains of chains, and the
noise schedules that are best for a spectrum.

Sources: Weitzner et al. 2024, arXiv 2410.14730 (chains); Nadler 2008, Ann. Stat. 36:2791 (components under noise).
"""

from ._chains import (
    Angles,
    Chain,
    Energies,
    angles,
    chain,
    energies,
    injected_variance,
    participation_ratio,
    step_sigmas,
)
from ._closed_forms import ClosedForm, ideal, pca, sequential, wiener
from ._theory import (
    Best,
    Spectrum,
    best_recovery,
    concentration,
    cos_squared,
    gain,
    geodesic,
    leading_eigenvalue,
    most_concentrated,
    shortfall,
    small_noise_sine_squared,
    spacing,
    spectrum,
    squared_cosines,
    threshold,
)

__all__ = [
    "Angles",
    "Best",
    "Chain",
    "ClosedForm",
    "Energies",
    "Spectrum",
    "angles",
    "best_recovery",
    "chain",
    "concentration",
    "cos_squared",
    "energies",
    "gain",
    "geodesic",
    "ideal",
    "injected_variance",
    "leading_eigenvalue",
    "most_concentrated",
    "participation_ratio",
    "pca",
    "sequential",
    "shortfall",
    "small_noise_sine_squared",
    "spacing",
    "spectrum",
    "squared_cosines",
    "step_sigmas",
    "threshold",
    "wiener",
]


def __dir__() -> list[str]:
    return __all__
