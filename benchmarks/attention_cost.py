"""What the attention has to compute and to move, and the time below which no H200 can do it."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Measured on an H200: bytes read plus written by a copy, and bf16 products.
BYTES_PER_SECOND = 4.3e12
HALF_FLOPS_PER_SECOND = 788e12
# Of its data sheet.
FLOAT_FLOPS_PER_SECOND = 67e12


@dataclass(frozen=True)
class Cost:
    """FLOPs of matrix products; bytes of memory beyond the caches."""

    flops: int
    bytes: int

    def floor(self, itemsize: int) -> float:
        """Seconds."""
        rate = HALF_FLOPS_PER_SECOND if itemsize == 2 else FLOAT_FLOPS_PER_SECOND
        return max(self.flops / rate, self.bytes / BYTES_PER_SECOND)


def forward(
    path: str, batch: int, n: int, m: int, width: int, channels: int, itemsize: int
) -> Cost:
    """``path`` is "flash", "split_softmax" or "eager".

    Inputs are read once and results written once. Of the scores, those of split_softmax stay in
    the cache, by chunks; the formula writes and reads them twice.
    """
    tiles = math.ceil(channels / 256) if path == "flash" else 1
    flops = 2 * batch * m * (n * (width * tiles + channels) + channels)
    moved = batch * itemsize * (n * width + m * width + m + m * channels + n * channels)
    moved += batch * 2 * itemsize * (n + m) * width  # whitened: written and read
    if path == "eager":
        moved += batch * 4 * n * m * 4
    return Cost(flops, moved)


def backward(
    path: str, batch: int, n: int, m: int, width: int, channels: int, itemsize: int
) -> Cost:
    """The kernels compute the scores again; the formula has kept its probabilities."""
    products = 2 * width + 2 * channels + (0 if path == "eager" else width)
    flops = 2 * batch * m * (n * products + 2 * channels)
    embeddings = (n + m) * width
    values = 2 * m * channels + 2 * n * channels  # value and its gradient, output and its gradient
    moved = batch * itemsize * (4 * embeddings + values + 2 * m)
    moved += batch * 2 * 4 * n * width  # the queries' gradient, before it is projected
    if path == "eager":
        moved += batch * 5 * n * m * 4
    return Cost(flops, moved)
