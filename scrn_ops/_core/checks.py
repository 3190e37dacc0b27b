"""Argument checks of every family and backend: cheap, and traceable by torch.compile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

import torch
from torch import Tensor, nn

BACKENDS = ("fused", "eager", "reference")
FEATURE_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
AUTOCAST_DEVICES = ("cpu", "cuda")
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)
_AUTOCAST_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_backend(backend: str | None) -> str:
    """The backend's name; ``None`` means the fused kernels."""
    if backend is None:
        return "fused"
    if backend not in BACKENDS:
        names = ", ".join(repr(name) for name in BACKENDS)
        raise ValueError(f"backend: expected None, {names}, got {backend!r}")
    return backend


def check_flag(name: str, flag: object) -> None:
    if not isinstance(flag, bool):
        raise TypeError(f"{name}: expected True or False, got {flag!r}")


def check_number(name: str, number: object, of_tensors: str = "") -> None:
    """Of an argument that is no tensor for the operators: none of these has a gradient.

    Args:
        of_tensors: what to say to who passes one.
    """
    if isinstance(number, bool) or not isinstance(number, _NUMBERS):
        more = of_tensors if isinstance(number, Tensor) else ""
        raise TypeError(f"{name}: expected a number, got {type(number).__name__}{more}")


def check_widths(widths: dict[str, int]) -> None:
    """Of a module."""
    for name, width in widths.items():
        # Numpy's integers count, too.
        if isinstance(width, bool) or not hasattr(width, "__index__"):
            raise TypeError(f"{name}: expected an int, got {width!r}")
        if width < 1:
            raise ValueError(f"{name}: expected at least 1, got {width}")


def check_map_channels(name: str, map: Tensor, channels: int, conv: nn.Module) -> None:
    """Of a module's input, which ``conv`` takes."""
    check_dense(name, map)
    if map.dim() != 4 or map.shape[1] != channels:
        raise ValueError(f"{name}: expected [B, {channels}, H, W], got {list(map.shape)}")
    check_not_empty(name, map.shape)
    # None of what users put in a convolution's place, for example several modules in a row.
    weight = getattr(conv, "weight", None)
    # The map's device, since weights may be kept elsewhere until they are used.
    device = map.device.type
    if isinstance(weight, Tensor) and autocast_dtype(map) != _cast(weight.dtype, device):
        raise TypeError(f"{name}: expected the module's dtype {weight.dtype}, got {map.dtype}")


def check_gradient(
    name: str, grad: Tensor, shape: Sequence[int], dtype: torch.dtype, device: torch.device
) -> None:
    """Of a gradient that comes in, or of what the forward saved."""
    check_dense(name, grad)
    if grad.shape != tuple(shape):
        raise ValueError(f"{name}: expected {list(shape)}, got {list(grad.shape)}")
    if grad.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {grad.dtype}")
    if grad.device != device:
        raise ValueError(f"{name}: expected device {device}, got {grad.device}")


def autocast_dtype(features: Tensor) -> torch.dtype:
    """The type that autocast, where it is on, gives to a map of features."""
    return _cast(features.dtype, features.device.type)


def _cast(dtype: torch.dtype, device: str) -> torch.dtype:
    if (
        dtype in _AUTOCAST_DTYPES
        and device in AUTOCAST_DEVICES
        and torch.is_autocast_enabled(device)
    ):
        return torch.get_autocast_dtype(device)
    return dtype


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Switches autocast off for a type of device. ``torch.autocast`` refuses meta tensors, which
    have no autocast; and torch 2.11 cannot compile a call that asks which devices have it."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def autocast_features(features: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``dtype``: that of :func:`autocast_dtype`, where it is known already."""
    return in_dtype(features, autocast_dtype(features) if dtype is None else dtype)


def in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Not `to` alone: where there is nothing to do it still goes all the way to torch's dispatcher,
    and leaves a node in traced graphs."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


class Unscriptable:
    """A module that ``torch.jit.script`` is told to leave alone."""

    def __prepare_scriptable__(self) -> NoReturn:
        raise NotImplementedError(
            f"torch.jit.script: TorchScript does not know the Python of {type(self).__name__}; "
            "torch.export.export, torch.compile and torch.jit.trace do"
        )


def refuse_symbolic_tracing(name: str, value: object) -> None:
    if isinstance(value, torch.fx.Proxy):
        raise NotImplementedError(
            f"{name}: torch.fx.symbolic_trace knows no sizes, on which this depends; "
            "torch.export.export and torch.compile do"
        )


def check_dense(name: str, tensor: Tensor) -> None:
    refuse_symbolic_tracing(name, tensor)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(tensor).__name__}")
    if tensor.dtype not in FEATURE_DTYPES:
        raise TypeError(
            f"{name}: expected dtype float32, float64, float16 or bfloat16, got {tensor.dtype}"
        )
    if tensor.layout != torch.strided:
        raise NotImplementedError(f"{name}: expected a dense tensor, got layout {tensor.layout}")


def check_map(name: str, tensor: Tensor) -> torch.Size:
    """The map's shape: to ask a tensor for it costs as much as several comparisons."""
    check_dense(name, tensor)
    shape = tensor.shape
    if len(shape) != 4:
        raise ValueError(
            f"{name}: expected 4 dimensions [B, C, H, W], got {len(shape)}: {list(shape)}"
        )
    check_not_empty(name, shape)
    return shape


def check_not_empty(name: str, shape: torch.Size) -> None:
    if shape[2] < 1 or shape[3] < 1:
        raise ValueError(f"{name}: expected a height and a width of at least 1, got {list(shape)}")


def check_channels(name: str, shape: torch.Size, channels: int) -> None:
    if shape[1] != channels:
        raise ValueError(f"{name}: expected {channels} channels, got {list(shape)}")


def check_same_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(
            f"{name}: expected {other_name}'s device {other.device}, got {tensor.device}"
        )


def check_companion(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    check_same_device(name, tensor, other_name, other)
    if tensor.shape[0] != other.shape[0]:
        raise ValueError(
            f"{name}: expected {other_name}'s batch of {other.shape[0]}, got {list(tensor.shape)}"
        )


def check_same_size(name: str, shape: torch.Size, other_name: str, other: torch.Size) -> None:
    if shape[2] != other[2] or shape[3] != other[3]:
        raise ValueError(
            f"{name}: expected {other_name}'s size {other[2]}x{other[3]}, got {shape[2]}x{shape[3]}"
        )


def check_same_dtype(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.dtype != other.dtype and autocast_dtype(tensor) != autocast_dtype(other):
        raise TypeError(f"{name}: expected {other_name}'s dtype {other.dtype}, got {tensor.dtype}")


def check_coordinate_dtype(name: str, tensor: Tensor, features_name: str, map: Tensor) -> None:
    if tensor.dtype != torch.float32 and tensor.dtype != (expected := autocast_dtype(map)):
        raise TypeError(
            f"{name}: expected dtype float32 or {features_name}'s {expected}, got {tensor.dtype}"
        )


def compute_dtype(features: Tensor) -> torch.dtype:
    """The type of coordinates, weights, statistics and sums."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32
