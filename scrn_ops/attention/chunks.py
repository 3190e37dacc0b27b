"""Scores for some of the queries at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

Part = tuple[slice, slice]


def parts(batch: int, rows: int, columns: int, limit: int) -> Iterator[Part]:
    """Slices of images and rows with at most ``limit`` scores, but a row at least."""
    images = min(max(1, limit // (rows * columns)), batch)
    step = rows if images > 1 else min(max(1, limit // columns), rows)
    for image in range(0, batch, max(images, 1)):
        for row in range(0, rows, step):
            yield slice(image, min(image + images, batch)), slice(row, min(row + step, rows))


def chunks(
    batch: int, rows: int, columns: int, limit: int, buffers: int, like: Tensor
) -> Iterator[tuple[Part, list[Tensor]]]:
    """The parts, and as many buffers for scores of ``like``'s type, always in the same memory."""
    memory = None
    for part in parts(batch, rows, columns, limit):
        many, tall = (taken.stop - taken.start for taken in part)
        size = many * tall * columns
        if memory is None:  # no later part is larger
            memory = like.new_empty(buffers, size)
        yield part, list(memory[:, :size].view(buffers, many, tall, columns))
