"""A batch whose pixels would take too much memory is done in spans: of the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ..harness.device import Device
from .cases import REDUCTIONS, Case

MIB = 1 << 20
TALL = Case(batch=3, classes=3, low=(40, 5), high=(80, 11))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("high", "buffer_bytes"),
    # Two images at once and then one; two bands and then the rest; one band.
    [((80, 11), 8 * 2 * 80 * 11), ((80, 11), 8 * 70 * 11), ((160, 20), 0), ((23, 9), 8 * 16 * 9)],
)
def test_the_same_bits(
    device: Device, high: tuple[int, int], buffer_bytes: int, reduction: str, dtype: str
) -> None:
    whole = replace(TALL, dtype=dtype, high=high, reduction=reduction)
    cut = replace(whole, buffer_bytes=buffer_bytes)
    assert cut.workspace_bytes(device, True) < whole.workspace_bytes(device, True)
    for a, b in zip(whole.loss(device), cut.loss(device), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("batch", "classes", "low", "ratio"),
    [
        (16, 19, (256, 256), 4),
        (32, 150, (128, 128), 4),
        (1, 19, (256, 256), 4),
        (1, 19, (256, 512), 8),
        (8, 11, (90, 120), 4),
        (4, 1000, (64, 64), 2),
    ],
)
def test_memory(
    device: Device, dtype: str, batch: int, classes: int, low: tuple[int, int], ratio: int
) -> None:
    """At most 1.1 times the logits' bytes; without a gradient next to nothing."""
    high = (ratio * low[0], ratio * low[1])
    case = Case(dtype, batch=batch, classes=classes, low=low, high=high)
    logits = batch * classes * low[0] * low[1] * (4 if dtype == "float32" else 2)
    assert case.workspace_bytes(device, True) <= max(1.1 * logits, 4 * MIB + logits / 4)
    assert case.workspace_bytes(device, False) <= logits / classes * 1.5 + 64 * classes


def test_a_loss_needs_no_gradient(device: Device) -> None:
    """With the memory that is enough for it, and the same bits."""
    for reduction in ("mean", "sum"):
        case = replace(TALL, reduction=reduction)
        loss, _ = case.loss(device)
        alone, gradient = case.loss(device, differentiated=False)
        assert gradient is None
        assert np.array_equal(alone, loss)
