"""Scores for some of the queries at a time, in memory that is used again for the next."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

Part = tuple[slice, slice]


def chunks(
    batch: int, rows: int, columns: int, limit: int, buffers: int, like: Tensor
) -> Iterator[tuple[Part, list[Tensor]]]:
    """Slices of images and rows with at most ``limit`` scores (but a row at least), and as many
    buffers for scores of ``like``'s type, always in the same memory."""
    images = min(max(1, limit // (rows * columns)), batch)
    step = rows if images > 1 else min(max(1, limit // columns), rows)
    memory = like.new_empty(buffers, images * step * columns)
    for image in range(0, batch, max(images, 1)):
        many = min(images, batch - image)
        for row in range(0, rows, step):
            tall = min(step, rows - row)
            part = (slice(image, image + many), slice(row, row + tall))
            used = memory[:, : many * tall * columns].view(buffers, many, tall, columns)
            yield part, list(used)
