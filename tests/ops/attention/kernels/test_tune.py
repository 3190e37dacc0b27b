"""The tuner prints the fastest rows, and leaves the table as it was."""

from __future__ import annotations

import pytest
import torch

import scrn_ops
from scrn_ops import reference
from scrn_ops.attention import table, tune
from scrn_ops.attention.kernels import replay

from ...common.maps import F32
from ..cases import Shape, inputs


def test_the_fastest_is_printed(device, monkeypatch):
    monkeypatch.setattr(tune, "WIDEST", 32)
    monkeypatch.setattr(table, "FLASH_WIDTH", 16)
    # Of one image the programs are few, of four they are many.
    monkeypatch.setattr(tune, "BATCHES", {"flash_many": 4})
    monkeypatch.setattr(table, "MANY", 4)
    family = 90
    original = table.tiles

    def time(work, function):
        """Runs it, and finds the tiles of 32 rows fast, whatever the kernel."""
        launched = []
        call = tune.call_of(work, device)
        launch = replay.Tape.launch
        with monkeypatch.context() as patched:
            patched.setattr(
                replay.Tape,
                "launch",
                lambda tape, kernel, *args, **options: (
                    launched.append((kernel.fn.__name__, options.get("BLOCK_N"))),
                    launch(tape, kernel, *args, **options),
                ),
            )
            replay.record(*call)
        rows = {n for name, n in launched if name == function}
        assert len(rows) == 1, "a kernel that the call does not launch"
        return 1e-6 if rows == {32} else 5e-6

    def tried(row):
        return [table.Tiles(16, 16, 16, 4, 1), table.Tiles(32, 16, 16, 4, 1)]

    lines = list(tune.tune(family, time, tried, n=32))
    assert table.tiles is original
    rows = [line for line in lines if "Row(" in line]
    assert len(rows) == sum(len(table.rows(kernel, family)) for kernel in table.KERNELS)
    slow = [row for row in rows if "Tiles(n=32" not in row]
    assert not slow, slow


@pytest.mark.parametrize(("first", "second"), [(16, 32), (32, 64), (64, 16)])
def test_any_two_tiles_go_together(device, widest, monkeypatch, first, second):
    """The tuner finds those of the softmax and those of its product one by one."""
    values = "huge" if widest == F32 else "normal"  # rounded queries would choose other keys
    shape = Shape(1, 40, 100, 16, 32)
    tensors = [t.detach() for t in inputs(shape, widest, device, values=values)]
    expected = reference.whitened_attention(*tensors)
    sizes = {"exponentials": first, "weighted_values": second}
    original = table.tiles

    def tiles(kernel, *rest):
        found = original(kernel, *rest)
        return found._replace(m=sizes.get(kernel, found.m))

    monkeypatch.setattr(table, "tiles", tiles)
    output = scrn_ops.whitened_attention(*tensors, path="split_softmax")
    torch.testing.assert_close(output, expected, rtol=2e-3, atol=2e-3)


def test_unknown_devices_get_the_smallest_tiles():
    assert [table.family(c) for c in ((8, 0), (8, 6), (9, 0), (10, 3), (11, 0), (12, 1))] == [
        80, 120, 90, 100, 100, 120
    ]  # fmt: skip
    assert table.family((7, 5)) == table.family((13, 0)) == 120


def test_candidates_have_sizes_that_dots_take():
    row = table.Row(64, 64, table.Tiles(64, 32, 16, 4, 2))
    found = list(tune.candidates(row))
    assert row.tiles in found
    assert all(16 <= size <= 256 for tiles in found for size in tiles[:3])


def test_tiles_without_room_are_not_compiled():
    """Within a block's shared memory, and with sums that a thread's registers hold."""
    work = tune.Workload("flash", 256, 256, 1, 2048)
    assert tune.fits("flash", table.Tiles(128, 64, 256, 8, 2), work, 90)
    assert not tune.fits("flash", table.Tiles(128, 64, 256, 8, 2), work, 120)  # 192 KiB
    assert not tune.fits("flash", table.Tiles(128, 64, 256, 4, 2), work, 90)  # 320 sums a thread
    for kernel in table.KERNELS:
        for family in table.FAMILIES:
            for row in table.rows(kernel, family):
                own = tune.workload(kernel, row)
                assert tune.fits(kernel, row.tiles, own, family), (kernel, family, row)
