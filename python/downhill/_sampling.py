"""The common parts of all sampling: settings, samplers of Python, callbacks and progress bars."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import _core
from ._arrays import ArrayLike, Floats, numbers, result_of, whole
from ._errors import ArgumentError


@dataclass(frozen=True)
class SamplerInfo:
    """The facts about a sampler."""

    name: str
    """Its name."""
    order: str
    """Its order."""
    calls: int
    """Network calls per step."""
    steps: int
    """Steps, unless the caller or the model says otherwise."""
    source: str
    """The paper or the scheduler that it is from."""
    parameters: tuple[str, ...]
    """The keyword arguments that it takes besides those of all samplers."""


def samplers() -> list[SamplerInfo]:
    """Returns what is known about each sampler."""
    return [SamplerInfo(*row[:5], parameters=tuple(row[5])) for row in _core.samplers()]


def sampler_names() -> list[str]:
    """Returns the names of the samplers."""
    return [row[0] for row in _core.samplers()]


def schedule_names() -> list[str]:
    """Returns the names of the kinds of schedule."""
    return [name for name, _ in _core.schedules()]


class Schedule:
    """A descent through noise levels: N + 1 sigmas for N steps, from the most noise to the least.

    Sigma is the noise level of x = x0 + sigma eps. `Model.schedule` makes the schedule of a model; your own is a list
    of sigmas, or a function of the number of steps that returns one.

    Args:
        sigmas: N + 1 sigmas, none above the one before; only the last may be 0.

    Raises:
        ArgumentError: for fewer than two sigmas, and for sigmas that rise or are negative.
    """

    def __init__(self, sigmas: ArrayLike) -> None:
        self._core = _core.Schedule.from_sigmas(numbers(sigmas, "sigmas"))

    @classmethod
    def _of(cls, core: _core.Schedule) -> Schedule:
        schedule = cls.__new__(cls)
        schedule._core = core
        return schedule

    @property
    def sigmas(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The sigma of each level, (steps + 1,)."""
        return np.array(self._core.sigmas)

    @property
    def timesteps(self) -> list[float | None]:
        """The timestep of each level that is one of the model's own, else `None`."""
        return self._core.timesteps

    @property
    def notes(self) -> list[str]:
        """Sentences about what differs from the model's files."""
        return self._core.notes

    def __len__(self) -> int:
        """The number of steps."""
        return len(self._core)

    def __reduce__(self) -> tuple[type[Schedule], tuple[list[float]]]:
        return Schedule, (self._core.sigmas,)

    def __repr__(self) -> str:
        sigmas = self.sigmas
        return f"Schedule({len(self)} steps, sigma {sigmas[0]:.4g} to {sigmas[-1]:.4g})"


@dataclass(frozen=True)
class Step:
    """A step of a run, as a callback sees it. Arrays are float32, (n, c, h, w)."""

    index: int
    """Its index in the walk of its batch, from 0."""
    total: int
    """Steps of the run, over all batches."""
    images: list[int]
    """The images of the batch, by their index in the run."""
    sigma: float
    """The noise level before the step."""
    next_sigma: float
    """The noise level after it."""
    timestep: float | None
    """The timestep of `sigma`, if it is one of the model's."""
    before: Floats
    """x at `sigma`."""
    eps: Floats
    """The denoiser's estimate of the noise in `before`."""
    x0: Floats
    """The prediction of the clean images, clipped if the run clips."""
    x: Floats
    """x at `next_sigma`, in the scale x = x0 + sigma eps."""


Callback: TypeAlias = Callable[[Step], object]
"""A function that is called after every step. An exception stops the run."""

SamplerFunction: TypeAlias = Callable[..., Generator[ArrayLike, Floats, object]]
"""A sampler of your own: `sampler(x, sigmas, model)`, a generator that yields the state at every next level.

`x` is the state at `sigmas[0]`, (n, c, h, w) in the scale x = x0 + sigma eps. `model.denoise(x, sigma)` and
`model.eps(x, sigma)` call the denoiser, `model.noise()` draws standard normals from the seed of the run. The generator
yields one state for each of `sigmas[1:]`; the value of the `yield` is the state that the run goes on with, which
differs where a mask keeps a part of it.
"""


class StepModel:
    """The denoiser of a run, as a sampler of Python sees it within a step."""

    def __init__(self, core: _core.Estimator) -> None:
        self._core = core

    def denoise(self, x: ArrayLike, sigma: float) -> Floats:
        """Returns x0 of x = x0 + sigma eps, (n, c, h, w)."""
        return self._core.denoise(result_of(x, "the sampler"), float(sigma))

    def eps(self, x: ArrayLike, sigma: float) -> Floats:
        """Returns eps of x = x0 + sigma eps, (n, c, h, w)."""
        return self._core.eps(result_of(x, "the sampler"), float(sigma))

    def noise(self) -> Floats:
        """Returns standard normals from the seed of the run, in the shape of its states."""
        return self._core.noise()


def solver_of(function: SamplerFunction) -> Callable[..., Generator[Floats, Floats, None]]:
    """Returns a sampler whose states are arrays of float32, whatever `function` yields."""

    def solver(x: Floats, sigmas: list[float], core: _core.Estimator) -> Generator[Floats, Floats, None]:
        walk = function(x, np.array(sigmas), StepModel(core))
        if not hasattr(walk, "send"):
            raise ArgumentError(
                f"the sampler returned a {type(walk).__name__}", "a sampler is a generator: it yields states"
            )
        sent: Floats | None = None
        while True:
            try:
                next_state = walk.send(sent)  # pyright: ignore[reportArgumentType]
            except StopIteration:
                return
            sent = yield result_of(next_state, "the sampler")

    solver.__qualname__ = getattr(function, "__qualname__", type(function).__name__)
    return solver


def settings_of(
    sampler: str | SamplerFunction | None,
    schedule: str | Schedule | Callable[[int], ArrayLike] | Sequence[float] | None,
    steps: int | None,
    **others: Any,
) -> tuple[str, Callable[..., Any] | None]:
    """Returns the settings of the sampler as JSON, and the sampler if it is a function."""
    settings = {name: value for name, value in others.items() if value is not None}
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ArgumentError(f"`{name}` of {value}", "give a finite number")
    for name in ("sigmas", "timesteps"):
        if name in settings:
            settings[name] = numbers(settings[name], name)
            if not np.all(np.isfinite(settings[name])):
                raise ArgumentError(f"`{name}` of {settings[name]}", "levels are finite numbers")
    if "error_model" in settings:
        eta, nu = settings["error_model"]
        settings["error_model"] = {"eta": float(eta), "nu": float(nu)}
    solver = None
    if callable(sampler):
        # Only the schedule of the settings counts.
        solver = solver_of(sampler)
    elif sampler is not None:
        if sampler not in sampler_names():
            names = ", ".join(f"`{name}`" for name in sampler_names())
            raise ArgumentError(f"`{sampler}` is not a sampler", f"the samplers are {names}")
        settings["sampler"] = sampler
    if isinstance(schedule, str):
        if schedule not in schedule_names():
            names = ", ".join(f"`{name}`" for name in schedule_names())
            raise ArgumentError(f"`{schedule}` is not a schedule", f"the schedules are {names}")
        settings["schedule"] = schedule
    elif schedule is not None:
        if "sigmas" in settings:
            raise ArgumentError("both `schedule` and `sigmas` list levels", "give one of them")
        if isinstance(schedule, Schedule):
            sigmas = schedule.sigmas
        elif callable(schedule):
            if steps is None:
                raise ArgumentError("a `schedule` that is a function needs `steps`", "give the number of steps")
            sigmas = schedule(steps)
        else:
            sigmas = schedule
        settings["sigmas"] = numbers(sigmas, "schedule")
    if steps is not None:
        settings["steps"] = whole(steps, "steps", 0)
    return json.dumps(settings), solver


class Bar:
    """The progress of a run, by `tqdm` where it is installed.

    Args:
        wanted: `True` for a bar, `False` for none, `None` for one on terminals.
    """

    def __init__(self, wanted: bool | None) -> None:
        self._bar: Any = None
        if wanted is False or (wanted is None and not sys.stderr.isatty()):
            return
        try:
            from tqdm import tqdm  # pyright: ignore
        except ImportError:
            if wanted:
                raise ArgumentError(
                    "`progress` needs the package tqdm, which is not installed", "`pip install tqdm`"
                ) from None
            return
        self._bar = tqdm(desc="sampling", unit="step")  # pyright: ignore

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def watch(self, callback: Callback | None) -> Callable[[dict[str, Any]], None] | None:
        """Returns the function that sees every step; `None` if nothing is to be done there."""
        bar = self._bar
        if bar is None and callback is None:
            return None

        def watch(step: dict[str, Any]) -> None:
            if callback is not None:
                callback(Step(**step))
            if bar is not None:
                bar.total = step["total"]
                bar.update()

        return watch
