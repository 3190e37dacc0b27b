"""Eqs. 3 and 4 and their gradients in float64, written down from the definition in numpy.

Shares nothing with the kernels: the upsampling is a dense matrix for each dimension and is formed,
the four corners of a cell are read one by one with zero outside, and the gradients are the
adjoints of just that. numpy alone, because torch is not at home under ThreadSanitizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclass(frozen=True)
class Ratio:
    """Output index i lies at (i * mul + add) / den on the input's grid."""

    mul: int
    add: int
    den: int


IDENTITY = Ratio(1, 0, 1)


def resize_ratio(in_size: int, out_size: int, align_corners: bool) -> Ratio:
    if align_corners:
        return Ratio(in_size - 1, 0, out_size - 1) if out_size > 1 else Ratio(0, 0, 1)
    return Ratio(2 * in_size, in_size - out_size, 2 * out_size)


def upsampling(in_size: int, out_size: int, ratio: Ratio) -> Array:
    """[out_size, in_size]: bilinear, the border replicated."""
    matrix = np.zeros((out_size, in_size))
    for i in range(out_size):
        numerator = max(i * ratio.mul + ratio.add, 0)
        low = min(numerator // ratio.den, in_size - 1)
        part = numerator / ratio.den - low
        matrix[i, low] += 1 - part
        matrix[i, min(low + 1, in_size - 1)] += part
    return matrix


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def shifted(plane: Array, dy: int, dx: int) -> Array:
    """out[..., y, x] = plane[..., y + dy, x + dx], zero outside."""
    height, width = plane.shape[-2:]
    padded = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [(1, 1), (1, 1)])
    return padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def aggregate(offset: Array, mask: Array, logits: bool) -> Array:
    weights = softmax(mask) if logits else mask
    terms = [weights[:, k : k + 1] * shifted(offset, *n) for k, n in enumerate(NEIGHBOURS)]
    return np.sum(terms, axis=0)


def aggregate_gradients(
    offset: Array, mask: Array, grad: Array, logits: bool
) -> tuple[Array, Array]:
    """Of offset and mask, for the gradient `grad` of the aggregated offset."""
    weights = softmax(mask) if logits else mask
    grad_offset = np.zeros_like(offset)
    grad_mask = np.zeros_like(mask)
    for k, (dy, dx) in enumerate(NEIGHBOURS):
        grad_offset += shifted(weights[:, k : k + 1] * grad, -dy, -dx)
        grad_mask[:, k] = (grad * shifted(offset, dy, dx)).sum(axis=1)
    if logits:
        mean = (weights * grad_mask).sum(axis=1, keepdims=True)
        grad_mask = weights * (grad_mask - mean)
    return grad_offset, grad_mask


@dataclass(frozen=True)
class Axis:
    """Where every output pixel samples along one dimension of the map that is sampled."""

    cell: NDArray[Any]
    fraction: Array
    inside: NDArray[np.bool_]
    slope: float  # of the coordinate by the offset


def axis(offset: Array, size: int, ratio: Ratio, dim: int) -> Axis:
    """`offset` [B, H, W]; `size` of the sampled map along `dim`."""
    index = np.arange(offset.shape[dim]) * ratio.mul + ratio.add
    base = index // ratio.den
    shape = (1, -1, 1) if dim == 1 else (1, 1, -1)
    base, part = base.reshape(shape), ((index - base * ratio.den) / ratio.den).reshape(shape)
    slope = ratio.mul / ratio.den
    with np.errstate(invalid="ignore"):
        shift = part + offset * slope
        inside = (shift >= -1 - base) & (shift < size - base)
    shift = np.where(inside, shift, 0.0)
    whole = np.floor(shift)
    return Axis(base + whole.astype(np.int64), shift - whole, inside, slope)


@dataclass(frozen=True)
class Sampler:
    """Eq. 4 of one input shape, offset and choice of options."""

    rows: Axis
    columns: Axis
    up_y: Array | None  # the upsampling in front, if there is one
    up_x: Array | None

    @classmethod
    def of(
        cls, offset: Array, in_size: tuple[int, int], upsample: bool, align_corners: bool
    ) -> Sampler:
        height, width = offset.shape[2:]
        ratios = [
            IDENTITY if i == o and not upsample else resize_ratio(i, o, align_corners)
            for i, o in zip(in_size, (height, width), strict=True)
        ]
        if upsample:
            up_y = upsampling(in_size[0], height, ratios[0])
            up_x = upsampling(in_size[1], width, ratios[1])
            rows = axis(offset[:, 1], height, IDENTITY, 1)
            return cls(rows, axis(offset[:, 0], width, IDENTITY, 2), up_y, up_x)
        rows = axis(offset[:, 1], in_size[0], ratios[0], 1)
        return cls(rows, axis(offset[:, 0], in_size[1], ratios[1], 2), None, None)

    def sampled_map(self, values: Array) -> Array:
        if self.up_y is None or self.up_x is None:
            return values
        return np.einsum("yi,bcij,xj->bcyx", self.up_y, values, self.up_x)

    def corners(self, size: tuple[int, int]) -> Any:
        """(dy, dx, valid, y, x) of the four corners, indices clamped into the map."""
        inside = self.rows.inside & self.columns.inside
        for dy in (0, 1):
            for dx in (0, 1):
                y, x = self.rows.cell + dy, self.columns.cell + dx
                valid = inside & (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
                yield dy, dx, valid, y.clip(0, size[0] - 1), x.clip(0, size[1] - 1)

    def weights(self, dy: int, dx: int) -> tuple[Array, Array]:
        fy, fx = self.rows.fraction, self.columns.fraction
        return (fy if dy else 1 - fy), (fx if dx else 1 - fx)

    def forward(self, values: Array) -> Array:
        field = self.sampled_map(values)
        batch, channels = field.shape[:2]
        out = np.zeros((batch, channels, *self.rows.fraction.shape[1:]))
        b = np.arange(batch)[:, None, None]
        for dy, dx, valid, y, x in self.corners(field.shape[2:]):
            wy, wx = self.weights(dy, dx)
            corner = np.where(valid[..., None], field[b, :, y, x], 0.0)
            out += (wy * wx)[:, None] * corner.transpose(0, 3, 1, 2)
        return out

    def backward(self, values: Array, grad: Array) -> tuple[Array, Array]:
        """Gradients of the input and of the offset."""
        field = self.sampled_map(values)
        batch = field.shape[0]
        grad_field = np.zeros_like(field)
        grad_offset = np.zeros((batch, 2, *grad.shape[2:]))
        b = np.arange(batch)[:, None, None]
        moved = np.moveaxis(grad_field, 1, -1)
        for dy, dx, valid, y, x in self.corners(field.shape[2:]):
            wy, wx = self.weights(dy, dx)
            product = np.where(valid[..., None], field[b, :, y, x], 0.0).transpose(0, 3, 1, 2)
            dot = (product * grad).sum(axis=1)
            grad_offset[:, 0] += (1 if dx else -1) * wy * self.columns.slope * dot
            grad_offset[:, 1] += (1 if dy else -1) * wx * self.rows.slope * dot
            share = np.where(valid, wy * wx, 0.0)[:, None] * grad
            np.add.at(moved, (b, y, x), share.transpose(0, 2, 3, 1))
        if self.up_y is None or self.up_x is None:
            return grad_field, grad_offset
        return np.einsum("yi,bcyx,xj->bcij", self.up_y, grad_field, self.up_x), grad_offset
