"""The units and their gradients in float64, by numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MULTI_SCALE, LARGE_KERNEL, GELU = range(3)

_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Convolution:
    """Where in a unit's packed weights one of its convolutions is."""

    first: int
    height: int
    width: int
    dilation: int = 1

    @property
    def end(self) -> int:
        """Its bias."""
        return self.first + self.height * self.width

    def taps(self, height: int, width: int) -> list[tuple[int, slice, slice, slice, slice]]:
        """Of every tap its index, and the rows and columns of output and input that it joins."""
        found = []
        for k in range(self.height * self.width):
            dy = (k // self.width - self.height // 2) * self.dilation
            dx = (k % self.width - self.width // 2) * self.dilation
            rows, columns = (
                (slice(max(0, -d), min(n, n - d)), slice(max(0, d), min(n, n + d)))
                for d, n in ((dy, height), (dx, width))
            )
            if rows[0].start < rows[0].stop and columns[0].start < columns[0].stop:
                found.append((self.first + k, rows[0], columns[0], rows[1], columns[1]))
        return found

    def __call__(self, x: Array, weights: Array) -> Array:
        output = np.broadcast_to(weights[:, self.end, None, None], x.shape).copy()
        for k, oy, ox, iy, ix in self.taps(*x.shape[2:]):
            output[:, :, oy, ox] += weights[:, k, None, None] * x[:, :, iy, ix]
        return output

    def backward(self, grad: Array, x: Array, weights: Array, into: Array) -> Array:
        """The gradient of x; that of the weights is added to ``into``."""
        grad_x = np.zeros_like(x)
        into[:, self.end] += grad.sum((0, 2, 3))
        for k, oy, ox, iy, ix in self.taps(*x.shape[2:]):
            grad_x[:, :, iy, ix] += weights[:, k, None, None] * grad[:, :, oy, ox]
            into[:, k] += (grad[:, :, oy, ox] * x[:, :, iy, ix]).sum((0, 2, 3))
        return grad_x


def convolutions(unit: int, sizes: tuple[int, ...]) -> list[Convolution]:
    """In the order of the packed weights."""
    if unit == GELU:
        return [Convolution(0, sizes[0], sizes[0])]
    found = [Convolution(0, 5, 5)]
    if unit == LARGE_KERNEL:
        return [*found, Convolution(26, 7, 7, sizes[0])]
    for n in sizes:
        row = Convolution(found[-1].end + 1, 1, n)
        found += [row, Convolution(row.end + 1, n, 1)]
    return found


def forward(unit: int, sizes: tuple[int, ...], x: Array, weights: Array) -> Array:
    local, *rest = convolutions(unit, sizes)
    first = local(x, weights)
    if unit == GELU:
        return first * _below(first)
    if unit == LARGE_KERNEL:
        return rest[0](first, weights)
    total = first
    for row, column in zip(rest[::2], rest[1::2], strict=True):
        total = total + column(row(first, weights), weights)
    return total


def backward(
    unit: int, sizes: tuple[int, ...], grad: Array, x: Array, weights: Array
) -> tuple[Array, Array]:
    local, *rest = convolutions(unit, sizes)
    grad_weights = np.zeros_like(weights)
    first = local(x, weights)
    if unit == GELU:
        density = np.exp(-0.5 * first**2) / math.sqrt(2 * math.pi)
        grad_first = grad * (_below(first) + first * density)
    elif unit == LARGE_KERNEL:
        grad_first = rest[0].backward(grad, first, weights, grad_weights)
    else:
        grad_first = grad
        for row, column in zip(rest[::2], rest[1::2], strict=True):
            between = column.backward(grad, row(first, weights), weights, grad_weights)
            grad_first = grad_first + row.backward(between, first, weights, grad_weights)
    return local.backward(grad_first, x, weights, grad_weights), grad_weights


def _below(x: Array) -> Array:
    return 0.5 * (1 + _erf(x / math.sqrt(2))) if x.size else x
