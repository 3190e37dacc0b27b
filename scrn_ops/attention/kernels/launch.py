"""What forward and backward launch alike."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from .. import table
from ..layout import dense_axis

LOG2_E = 1.4426950408889634
BLOCK = 64  # rows, and columns, of the tiles of what is not a product
_SPLITS = 32


def family(tensor: Tensor) -> int:
    return _family(tensor.get_device()) if tensor.is_cuda else 90


def processors(tensor: Tensor) -> int:
    return _processors(tensor.get_device()) if tensor.is_cuda else 1


@functools.cache
def _family(device: int) -> int:
    return table.family(torch.cuda.get_device_capability(device))


@functools.cache
def _processors(device: int) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


class Scale(NamedTuple):
    """scale * log2(e) = sign * rest: queries are multiplied by ``sign``, which rounds nothing, and
    their products with keys by ``rest``, which is positive."""

    sign: float
    rest: float

    @classmethod
    def of(cls, scale: float) -> Scale:
        size = abs(scale) * LOG2_E
        # Less than that is 0 in float32, and 0 times the -inf of a masked key would be NaN.
        if size < torch.finfo(torch.float32).tiny:
            return cls(0.0, 1.0)
        return cls(math.copysign(1.0, scale), size)


class Splits(NamedTuple):
    """How the rows of a sum are divided among programs."""

    rows: int
    parts: int
    power: int  # of two, and not below ``parts``

    @classmethod
    def of(cls, n: int) -> Splits:
        rows = triton.cdiv(triton.cdiv(n, _SPLITS), BLOCK) * BLOCK
        parts = triton.cdiv(n, rows)
        return cls(rows, parts, triton.next_power_of_2(parts))

    def programs(self, batch: int, channels: int) -> int:
        return int(triton.cdiv(channels, BLOCK) * self.parts * batch)


def blocks(n: int, size: int = BLOCK) -> int:
    return int(triton.cdiv(n, size))


def axes(**tensors: Tensor) -> dict[str, int | bool]:
    """The constants NAME_ROWS and NAME_ALIGN of the kernels."""
    constants: dict[str, int | bool] = {}
    for name, tensor in tensors.items():
        rows, align = dense_axis(tensor)
        constants[f"{name.upper()}_ROWS"] = rows
        constants[f"{name.upper()}_ALIGN"] = align
    return constants
