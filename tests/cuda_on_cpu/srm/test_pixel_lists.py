"""The scan of the pixel lists by itself, with more tiles than a block has threads."""

from __future__ import annotations

import numpy as np
import pytest

from ..harness.device import Device


@pytest.mark.parametrize("index64", [False, True])
@pytest.mark.parametrize("tiles", [1, 31, 128, 129, 300])
@pytest.mark.parametrize("max_blocks", [0, 2])
def test_scan(device: Device, index64: bool, tiles: int, max_blocks: int) -> None:
    rows, storage, kind = 5, "float64" if index64 else "float32", "int64" if index64 else "int32"
    counts = np.random.default_rng(tiles).integers(0, 2048, (rows, tiles))
    histogram = device.empty("histogram", (rows, tiles), storage)
    histogram.raw().view(kind)[...] = counts
    totals = device.empty("totals", (rows,), storage)
    device.launch(
        "list_scan",
        histogram=histogram,
        totals=totals,
        rows=rows,
        tiles=tiles,
        index64=index64,
        max_blocks=max_blocks,
    )
    before = np.cumsum(counts, axis=1) - counts
    assert (histogram.raw().view(kind) == before).all()
    assert (totals.raw().view(kind) == counts.sum(axis=1)).all()
