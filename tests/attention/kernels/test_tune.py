"""The tuner prints the fastest rows, and leaves the table as it was."""

from __future__ import annotations

from scrn_ops.attention import table, tune


def test_the_fastest_is_printed(device, monkeypatch):
    monkeypatch.setattr(tune, "WIDEST", 32)
    monkeypatch.setattr(table, "FLASH_WIDTH", 16)
    family = 90
    used = []
    original = table.tiles

    def time(call):
        """Runs it, and finds the tiles of 32 rows fast, whatever the kernel."""
        call()
        return 1e-6 if any(t.n == 32 for t in used) else 5e-6

    def tried(row):
        return [table.Tiles(16, 16, 16, 4, 1), table.Tiles(32, 16, 16, 4, 1)]

    using = tune.using

    def recorded(kernel, tiles):
        used[:] = [tiles]
        return using(kernel, tiles)

    monkeypatch.setattr(tune, "using", recorded)
    lines = list(tune.tune(device, family, time, tried, n=32))
    assert table.tiles is original
    rows = [line for line in lines if "Row(" in line]
    assert len(rows) == sum(
        len(table.rows(kernel, half, family)) for kernel in table.KERNELS for half in (True, False)
    )
    slow = [row for row in rows if "Tiles(n=32" not in row]
    assert not slow, slow


def test_candidates_have_sizes_that_dots_take():
    row = table.Row(64, 64, table.Tiles(64, 32, 16, 4, 2))
    found = list(tune.candidates(row))
    assert row.tiles in found
    assert all(16 <= size <= 256 for tiles in found for size in tiles[:3])
