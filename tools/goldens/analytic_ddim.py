"""Variances and coefficients of Analytic-DDIM by the authors' code, in float64.

    git clone https://github.com/baofff/Analytic-DPM
    python tools/goldens/analytic_ddim.py Analytic-DPM/cifar_imagenet_codes

`reverse_ddim_ms_eps` runs with an eps_model that returns its input, and reports the variance of each step. The
coefficient of eps follows from the difference of two steps.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
from core.inference.sampler import reverse_ddim  # noqa: E402

torch.set_default_dtype(torch.float64)
BETAS = np.append(0.0, np.linspace(1e-4, 0.02, 1000))
CUM = (1.0 - BETAS).cumprod()


def case(steps: int, eta: float, variance: float) -> dict:
    sigma2 = (1.0 - CUM) / CUM
    ms_eps = sigma2 / (sigma2 + variance)
    reported = []
    reverse_ddim._report_statistics = lambda s, r, statistics: reported.append((s, r, statistics))
    # A state of zeros, and an eps of ones: x_mean is the coefficient of eps once x0 is clamped to -1 or 1.
    means = []
    noise = torch.randn_like
    torch.randn_like = lambda x: torch.zeros_like(x)

    def eps_model(x, t):
        means.append(x.flatten()[0].item())
        return torch.full_like(x, 1e6)

    last = reverse_ddim.reverse_ddim_ms_eps(
        torch.zeros(1, 1, 1, 1), BETAS, False, eta=eta, eps_model=eps_model, ms_eps=ms_eps, sample_steps=steps,
        clip_sigma_idx=1, clip_pixel=1,
    )
    torch.randn_like = noise
    ends = means[1:] + [last.flatten()[0].item()]
    coefficients = []
    for end, (s, _, _) in zip(ends, reported):
        # x0 is clamped to -1.
        coefficients.append((end + math.sqrt(CUM[s])) / 1e6)
    return {
        "eta": eta,
        "timesteps": [r - 1 for _, r, _ in reported] + [-1],
        "ms_eps": [ms_eps[r] for _, r, _ in reported],
        "coefficients": coefficients,
        "variances": [float(statistics.get("sigma2", 0.0)) for _, _, statistics in reported],
    }


golden = [case(5, 0.0, 0.2), case(10, 0.0, 0.2), case(8, 0.7, 0.05), case(4, 1.0, 0.9)]
folder = Path(__file__).parent.parent.parent / "tests/golden/analytic"
folder.mkdir(parents=True, exist_ok=True)
(folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
