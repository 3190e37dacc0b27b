"""Outputs of 8 MiB and more are written past the CPU's caches, in whole lines only: the same bits
as those of the images one by one, which are smaller and are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, DTYPES, F16, F32, generator, leaf, normal
from .cases import Size

STREAMED_BYTES = 8 * 1024 * 1024
SOURCE = Path(__file__).parents[3] / "csrc/srm/cpu/launch.cpp"
# Rows that are whole cache lines in both layouts, and wider than a tile; rows that are in neither.
WHOLE = Size(5, 32, (24, 144), (48, 288))
RAGGED = Size(5, 33, (24, 143), (48, 285))
CASES = [
    *((WHOLE, dtype, skipped) for dtype in DTYPES for skipped in (True, False)),
    *((RAGGED, dtype, True) for dtype in (F32, BF16)),
]


@pytest.mark.skipif(not SOURCE.is_file(), reason="tested without the sources")
def test_the_threshold_is_the_kernels():
    (product,) = re.findall(r"kStreamedBytes = ([\d *]+);", SOURCE.read_text())
    assert eval(product) == STREAMED_BYTES


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize(("size", "dtype", "skipped"), CASES, ids=str)
def test_the_same_bits_as_below_the_threshold(kernels, size, dtype, skipped, layout):
    images = 2 * size.batch if dtype in (F16, BF16) else size.batch
    numbers = generator(size)
    low, skip = (
        leaf(normal((images, size.channels, *hw), numbers), dtype, kernels, layout).detach()
        for hw in (size.low, size.high)
    )
    offset = (normal((images, 2, *size.high), numbers) * 3).to(kernels, F32)
    mask = normal((images, 9, *size.high), numbers).to(kernels, F32)
    skip = skip if skipped else None

    output = scrn_ops.semantic_refine(low, offset, mask, skip, mask_is_logits=True)
    assert output.nbytes > STREAMED_BYTES
    for i in range(images):
        one = slice(i, i + 1)
        alone = scrn_ops.semantic_refine(
            low[one], offset[one], mask[one], None if skip is None else skip[one],
            mask_is_logits=True,
        )  # fmt: skip
        assert alone.nbytes < STREAMED_BYTES
        assert torch.equal(output[one], alone)
