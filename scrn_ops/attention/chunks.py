"""Scores for some of the queries at a time."""

from __future__ import annotations

from collections.abc import Iterator

Part = tuple[slice, slice]


def parts(batch: int, rows: int, columns: int, limit: int, multiple: int = 1) -> Iterator[Part]:
    """Slices of images and rows with at most ``limit`` scores, but ``multiple`` rows at least,
    and a multiple of it unless they are the last ones."""
    images = min(max(1, limit // (rows * columns)), batch)
    step = rows
    if images == 1:
        step = min(max(limit // columns // multiple, 1) * multiple, rows)
    for image in range(0, batch, max(images, 1)):
        for row in range(0, rows, step):
            yield slice(image, min(image + images, batch)), slice(row, min(row + step, rows))
