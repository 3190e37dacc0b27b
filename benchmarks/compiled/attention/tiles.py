"""Calls that take every row of the table of tiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from scrn_ops.attention import table

from .calls import DTYPES, LAYOUTS, Case

WIDEST = 1024  # channels where a row has no end
FORWARD, BACKWARD = ("forward", "split_softmax"), ("backward", None)
CALLS = {
    **dict.fromkeys(("flash", "flash_many"), ("forward", "flash")),
    **dict.fromkeys(("exponentials", "weighted_values"), FORWARD),
    **dict.fromkeys(("score_gradients", "products"), BACKWARD),
}
# Images and rows. What splits the keys, what does not, and what has many programs depends on the
# device and the tiles: between them these have all three of it.
SIZES = {"flash": ((1, 64), (1, 512)), "flash_many": ((64, 512),)}
SIZE = ((1, 512),)
NARROWEST = 32


def _cases(family: int, dtype: str, layout: str) -> Iterator[Case]:
    for kernel in table.KERNELS:
        direction, path = CALLS[kernel]
        narrowest, flash = NARROWEST, path == "flash"
        for row in table.rows(kernel, family):
            width = min(row.width, table.FLASH_WIDTH)
            channels = min(row.channels, table.FLASH_WIDTH if flash else WIDEST)
            # The kernel's embeddings are as wide as the next power of two.
            for dk in {min(narrowest, width), width} if flash else {width}:
                for batch, n in SIZES.get(kernel, SIZE):
                    yield Case(family, (batch, n, dk, channels), direction, dtype, layout, path)
            narrowest = 2 * width


def cases(
    families: Iterable[int] = table.FAMILIES,
    dtypes: Iterable[str] = DTYPES,
    layouts: Iterable[str] = LAYOUTS,
) -> Iterator[Case]:
    for each in itertools.product(families, dtypes, layouts):
        # Rows of several kernels may be those of one call.
        yield from dict.fromkeys(_cases(*each))
