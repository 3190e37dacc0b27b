"""Buffers and launches of the executed kernels, as numpy sees them."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# In the order of scrn::DType.
DTYPES = ("float32", "float64", "float16", "bfloat16")
# Distance from 1 to the next number.
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def storage(dtype: str) -> np.dtype[Any]:
    """numpy has no bfloat16: it is kept as the upper half of a float32's bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def encode(values: Array, dtype: str) -> Array:
    """Rounds to `dtype`, to the nearest and half to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype)
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet_nan = np.uint64(0x7FC0)
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def decode(raw: Array, dtype: str) -> Array:
    """The values as float64."""
    if dtype == "bfloat16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64)


def rounded(values: Array, dtype: str) -> Array:
    """The nearest values that `dtype` has, as float64."""
    return decode(encode(values, dtype), dtype)


@dataclass
class Tensor:
    """Device memory with a shape. A channels_last tensor has shape [B, C, H, W] all the same."""

    buffer: Any
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False

    def raw(self) -> Array:
        flat = self.buffer.bytes().view(storage(self.dtype))
        if not self.channels_last:
            return flat.reshape(self.shape)
        batch, channels, height, width = self.shape
        return flat.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)

    def numpy(self) -> Array:
        return decode(self.raw(), self.dtype)


@dataclass
class Device:
    """A compiled module; `placement` and `misalignment` apply to every buffer made from here on."""

    module: ModuleType
    placement: str = "end"
    misalignment: int = 0  # in elements
    workspace_bytes: int = 0  # of all workspaces so far

    def empty(
        self, name: str, shape: tuple[int, ...], dtype: str, channels_last: bool = False
    ) -> Tensor:
        """Every byte 0xff, which is NaN in each type."""
        item = storage(dtype).itemsize
        count = int(np.prod(shape, dtype=np.int64))
        offset = self.misalignment * item % 16
        buffer = self.module.Buffer(name, count * item, self.placement, offset)
        return Tensor(buffer, shape, dtype, channels_last)

    def upload(self, name: str, values: Array, dtype: str, channels_last: bool = False) -> Tensor:
        """An input: a kernel that writes to it is at fault."""
        tensor = self.empty(name, values.shape, dtype, channels_last)
        tensor.raw()[...] = encode(values, dtype)
        tensor.buffer.set_writable(False)
        return tensor

    def workspace(self, count: int) -> Any:
        self.workspace_bytes += count
        return self.module.Buffer("workspace", count, self.placement, 0)

    def call(self, name: str, **arguments: Any) -> int:
        """Calls an entry; tensors give their address, None gives null."""
        plain: dict[str, Any] = {}
        for key, value in arguments.items():
            if isinstance(value, Tensor):
                value = value.buffer
            elif isinstance(value, str):
                value = DTYPES.index(value)
            plain[key] = 0 if value is None else value
        return int(self.module.call(name, **plain))

    def launch(self, name: str, **arguments: Any) -> None:
        """Calls an entry that returns a cudaError_t, and expects no error."""
        error = self.call(name, **arguments)
        assert error == 0, f"{name} returned cudaError_t {error}"

    def set_order(self, threads: str = "forward", blocks: str = "forward", seed: int = 0) -> None:
        self.module.set_options(threads=threads, blocks=blocks, seed=seed)
