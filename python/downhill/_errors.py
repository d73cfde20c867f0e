"""Exceptions of the package."""

from __future__ import annotations


class Error(Exception):
    """The base class of all exceptions of the package.

    The message says what went wrong and where: file, key, shape, argument. Names in backticks are keyword arguments,
    or fields of a file. `hint` says what to do about it, if there is something to say.
    """

    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.hint = hint


class ArgumentError(Error, ValueError):
    """An argument that cannot be used, or contradicts another one or the model."""


class NotFoundError(Error, FileNotFoundError):
    """A path that does not exist."""


class AdapterError(Error, RuntimeError):
    """No adapter, or none that fits the request."""


class FileError(Error, OSError):
    """A file that cannot be read or written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelError(Error, ValueError):
    """A file that cannot be used: malformed, of another network, or with a field that is not supported."""


class OutOfMemoryError(Error, MemoryError):
    """Not enough memory on the device, or a limit of it that is exceeded."""


class DeviceError(Error, RuntimeError):
    """A device that was lost, timed out or rejected a command."""


class NonFiniteError(Error, ArithmeticError):
    """NaN or infinity in the values."""
