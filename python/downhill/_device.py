"""Adapters and the devices that are open."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Generator
from typing import Any

from . import _core


@contextlib.contextmanager
def _without_driver_chatter() -> Generator[None, None, None]:
    """Points standard error at nothing while adapters are listed on Linux without a display.

    Mesa's device-selection layer looks for a Wayland display there, and reports the failure, although no surface is
    ever requested. The program `downhill` does the same.
    """
    if sys.platform != "linux" or os.path.isabs(os.environ.get("XDG_RUNTIME_DIR", "")):
        yield
        return
    try:
        saved = os.dup(2)
    except OSError:
        # There is no standard error.
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@functools.cache
def engine(adapter: str | None = None, family: str | None = None) -> _core.Engine:
    """Returns the device of an adapter; it stays open until the process ends."""
    with _without_driver_chatter():
        return _core.Engine(adapter, family)


def adapters() -> list[dict[str, Any]]:
    """Returns the adapters of this machine with their properties, best first."""
    with _without_driver_chatter():
        return [json.loads(text) for text in _core.adapters()]
