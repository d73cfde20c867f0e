"""The common part of the adapters: tensors of PyTorch in, tensors of the same dtype on the same device out."""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError(
        "`downhill.interop` needs the package torch, which is not installed: `pip install torch`"
    ) from error

from .._errors import ArgumentError


def without_gradient(*tensors: Any) -> None:
    """Checks that no gradient is asked for.

    Raises:
        ArgumentError: for a tensor that needs a gradient where gradients are recorded.
    """
    asked = (isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in tensors)
    if torch.is_grad_enabled() and any(asked):
        raise ArgumentError(
            "a gradient through a network of downhill",
            "call it under `torch.no_grad()`; `Model.jvp` has products with the Jacobian",
        )


def refuse(arguments: dict[str, Any], taken: str) -> None:
    """Checks that none of the arguments is set.

    Raises:
        ArgumentError: naming those that are.
    """
    names = ", ".join(f"`{name}`" for name, value in arguments.items() if value is not None and value != {})
    if names:
        raise ArgumentError(f"{names} cannot be honoured", taken)


__all__ = ["refuse", "torch", "without_gradient"]
