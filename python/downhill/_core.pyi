from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

__version__: str

class Engine:
    def __new__(cls, adapter: str | None = None, family: str | None = None, checked: bool = False) -> Engine: ...
    def adapter(self) -> str: ...
    def family(self) -> str: ...

def adapters() -> list[str]: ...
def data(source: str) -> Floats: ...
def samplers() -> list[tuple[str, str, int, int, str, list[str]]]: ...
def schedules() -> list[tuple[str, str]]: ...

class Schedule:
    @staticmethod
    def from_sigmas(sigmas: list[float]) -> Schedule: ...
    @property
    def sigmas(self) -> list[float]: ...
    @property
    def timesteps(self) -> list[float | None]: ...
    @property
    def notes(self) -> list[str]: ...
    def __len__(self) -> int: ...

class Estimator:
    def denoise(self, x: Floats, sigma: float) -> Floats: ...
    def eps(self, x: Floats, sigma: float) -> Floats: ...
    @staticmethod
    def noise() -> Floats: ...

class Images:
    def __len__(self) -> int: ...
    @property
    def indices(self) -> list[int]: ...
    @property
    def sigmas(self) -> list[float]: ...
    @property
    def report(self) -> str: ...
    def samples(self) -> Floats: ...
    def pixels(self) -> Floats: ...
    def bytes(self) -> Bytes: ...
    def grid(self, columns: int | None = None) -> Bytes: ...
    def path(self) -> Floats | None: ...
    def predictions(self) -> Floats | None: ...
    def save(
        self,
        output: str | None = None,
        floats: str | None = None,
        samples: str | None = None,
        path: str | None = None,
        steps: str | None = None,
        sheet: str | None = None,
        animation: str | None = None,
    ) -> list[PathLike[str]]: ...

class Model:
    @staticmethod
    def open(
        engine: Engine,
        name: str | None = None,
        dtype: str = "f32",
        exact: bool = False,
        prediction: str | None = None,
    ) -> Model: ...
    def lora(self, file: str, weight: float) -> Model: ...
    def embedding(self, file: str, token: str | None = None) -> Model: ...
    def autoencoder(self, name: str) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int] | None: ...
    @property
    def sigma_range(self) -> tuple[float, float]: ...
    @property
    def engine(self) -> Engine: ...
    def facts(self) -> str: ...
    def sigmas(self) -> Doubles: ...
    def sigma_of(self, timesteps: list[float]) -> list[float]: ...
    def timestep_of(self, sigmas: list[float]) -> list[float]: ...
    def input_scale(self, sigmas: list[float]) -> list[float]: ...
    def schedule(self, settings: str) -> Schedule: ...
    def release(self) -> None: ...
    def denoise(
        self,
        x: Floats,
        sigma: list[float],
        context: Floats | None = None,
        labels: list[float] | None = None,
        pooled: Floats | None = None,
        time_ids: Floats | None = None,
    ) -> Floats: ...
    def eps_at_sigma(
        self,
        x: Floats,
        sigma: list[float],
        context: Floats | None = None,
        labels: list[float] | None = None,
        pooled: Floats | None = None,
        time_ids: Floats | None = None,
    ) -> Floats: ...
    def predict(
        self,
        z: Floats,
        t: list[float],
        as_eps: bool,
        context: Floats | None = None,
        labels: list[float] | None = None,
        pooled: Floats | None = None,
        time_ids: Floats | None = None,
    ) -> Floats: ...
    def time_call(self, x: Floats, sigma: list[float], rounds: int) -> list[float]: ...
    def jvp(
        self,
        x: Floats,
        v: Floats,
        sigma: list[float],
        context: Floats | None = None,
        labels: list[float] | None = None,
    ) -> Floats: ...
    def sample(self, arguments: dict[str, Any], watch: Callable[[dict[str, Any]], None] | None = None) -> Images: ...
    def encode_text(self, texts: list[str], batch: int | None = None) -> tuple[Floats, Floats | None]: ...
    def decode(self, latents: Floats, scaled: bool = True, batch: int | None = None) -> Floats: ...
    def encode(
        self, pixels: Floats, scaled: bool = True, seed: int | None = None, batch: int | None = None
    ) -> Floats: ...

def sample(
    denoise: Callable[[Floats, Doubles], Floats],
    shape: tuple[int, int, int],
    gives_eps: bool,
    settings: str,
    sigma_range: tuple[float, float],
    n: int,
    seed: int,
    batch: int,
    rng: str | None = None,
    noise: Floats | None = None,
    state: Floats | None = None,
    mean: Sequence[float] | None = None,
    solver: Callable[..., Any] | None = None,
    watch: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[Floats, list[float]]: ...
def grid_of_pixels(pixels: Floats, columns: int | None = None) -> Bytes: ...
def principal_components(
    engine: Engine,
    x: npt.NDArray[Any],
    count: int,
    tolerance: float,
    seed: int,
    route: str | None = None,
) -> dict[str, Any]: ...
def library_seconds(engine: Engine, x: Floats, count: int, tolerance: float) -> tuple[float, float]: ...
def chain(
    engine: Engine,
    x: Floats,
    sigmas: list[float],
    count: int,
    coupling: str,
    seed: int,
    centre: bool,
    precise: bool,
    noise: Floats | None = None,
    keep_bases: bool = True,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def component_angles(
    engine: Engine,
    x: Floats,
    sigmas: list[float],
    count: int,
    coupling: str,
    draws: int,
    seed: int,
    centre: bool,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def chain_energies(
    engine: Engine,
    x: Floats,
    schedule: str,
    steps: int,
    variance: float,
    ratio: float,
    count: int,
    coupling: str,
    draws: int,
    seed: int,
    centre: bool,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def covariance_spectrum(x: Floats) -> dict[str, Any]: ...
def closed_form(
    engine: Engine,
    kind: str,
    x: Floats,
    components: int | None = None,
    coupling: str | None = None,
    seed: int = 0,
) -> Model: ...
def gaussian(
    engine: Engine, kind: str, sample_shape: list[int], mean: list[float], covariance: list[float]
) -> Model: ...
def participation_ratio(energies: list[float]) -> float: ...
def cos_squared(ratios: list[float], gamma: float) -> list[float]: ...
def leading_eigenvalue(ratios: list[float], gamma: float) -> list[float]: ...
def small_noise_sine_squared(spectrum: list[float], variance: float, samples: int) -> list[float]: ...
def threshold(variance: float, samples: int, dimension: int) -> float: ...
def injected_variance(cosine: float, total: float, eta: float, steps: int) -> float: ...
def gain(chain: str, variances: list[float], sigmas: list[float]) -> list[float]: ...
def spacing(name: str, steps: int, first: float) -> list[float]: ...
def step_sigmas(schedule: str, steps: int, variance: float, ratio: float) -> list[float]: ...
def squared_cosines(
    variances: list[float], kept: int, samples: int, dimension: int, sigmas: list[float]
) -> Doubles: ...
def concentration(
    variances: list[float], kept: int, samples: int, dimension: int, levels: list[float]
) -> list[float]: ...
def most_concentrated(
    variances: list[float], kept: int, samples: int, dimension: int, steps: int, highest: float
) -> tuple[list[float], float, int, bool]: ...
def best_recovery(variances: list[float], steps: int, first: float) -> tuple[list[float], float, int, bool]: ...
def geodesic(variances: list[float], steps: int, first: float) -> list[float]: ...
def shortfall(variances: list[float], sigmas: list[float]) -> float: ...
def study_denoiser(
    engine: Engine,
    study: str,
    denoiser: Model | Callable[[Floats, Doubles], Floats],
    asked: dict[str, Any],
    data: Floats | None = None,
    segments: int = 10,
    share: float = 0.95,
    components: int = 8,
    whole: bool = False,
    tolerance: float = 0.01,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_promise(eta: float, nu: float, sigmas: list[float]) -> dict[str, Any]: ...
def study_product(
    engine: Engine,
    x: Floats,
    sigmas: list[float],
    count: int,
    coupling: str,
    seed: int,
    centre: bool,
    precise: bool,
    noise: Floats | None = None,
    eps: Floats | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_angles(
    engine: Engine,
    x: Floats,
    sigmas: list[float],
    count: int,
    coupling: str,
    draws: int,
    seed: int,
    centre: bool,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_energy(
    engine: Engine,
    x: Floats,
    steps: list[int],
    variance: float,
    ratio: float,
    count: int,
    draws: int,
    seed: int,
    centre: bool,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_transition(
    engine: Engine,
    samples: int,
    gammas: list[float],
    ratios: list[float],
    draws: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_baseline(
    x: Floats,
    modes: int,
    steps: list[int],
    sigma_max: float,
    draws: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_schedules(
    engine: Engine,
    x: Floats,
    modes: int,
    steps: int,
    chain_sigma_max: float,
    sigma_max: float,
    repeats: int,
    probes: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def study_dimension(
    engine: Engine,
    x: Floats,
    name: str,
    queries: int,
    neighbours: int,
    neighbourhoods: int,
    drawn: int,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
