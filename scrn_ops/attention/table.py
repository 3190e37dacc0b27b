"""Which path and which tiles a shape gets on a GPU: a fixed table, no tuning at run time.

The rows were chosen by compiling them: those here use no local memory and fit the shared memory
of every architecture of their column. ``python -m scrn_ops.attention.tune`` times rows on a
device and prints a table to put in their place.
"""

from __future__ import annotations

from typing import NamedTuple

PATHS = ("flash", "split_softmax")
FLASH_WIDTH = 256  # the widest embedding that the flash kernel holds
MANY = 0.75  # programs to a multiprocessor from which taller tiles of the flash kernel pay
CHUNK_BYTES = 16 << 20  # of scores: about a third of an H100's L2 cache
FAMILIES = (80, 90, 100, 120)
SHARED_BYTES = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}  # of a block


class Tiles(NamedTuple):
    """Sizes of a program's tile and its launch options.

    ``n`` and ``m`` are the output's rows and columns, or queries and keys; ``k`` is the depth of
    a step of a product, or for the kernels that end in values the channels of a tile.
    """

    n: int
    m: int
    k: int
    warps: int
    stages: int


class Row(NamedTuple):
    """Tiles for embeddings up to ``width`` and values up to ``channels`` wide."""

    width: int
    channels: int
    tiles: Tiles


def family(capability: tuple[int, int]) -> int:
    """The column of a compute capability: 8.6, 8.9 and 12.x have 99 KiB of shared memory, and what
    is not known may have no more."""
    major, minor = capability
    if major == 8:
        return 80 if minor == 0 else 120
    return {9: 90, 10: 100, 11: 100}.get(major, 120)


def choose_path(width: int, channels: int) -> str:
    """``"flash"`` for Dk and Dv up to 256, else ``"split_softmax"``: the flash kernel recomputes
    the scores for every tile of 256 channels."""
    if width <= FLASH_WIDTH and channels <= 256:
        return "flash"
    return "split_softmax"


_EVERY = 1 << 30


def _always(tiles: Tiles) -> tuple[Row, ...]:
    return (Row(_EVERY, _EVERY, tiles),)


def _everywhere(tiles: Tiles) -> dict[int, tuple[Row, ...]]:
    return dict.fromkeys(FAMILIES, _always(tiles))


# By kernel, for operands in half types; the interpreter takes the same tiles for any other.
_TABLE: dict[str, dict[int, tuple[Row, ...]]] = {
    "flash": {
        80: (
            Row(64, 64, Tiles(128, 64, 64, 4, 3)),  # with eight warps some Tritons spill
            Row(128, 128, Tiles(128, 64, 128, 8, 2)),
            Row(256, _EVERY, Tiles(64, 32, 256, 8, 2)),
        ),
        90: (
            Row(64, 64, Tiles(128, 64, 64, 4, 3)),
            Row(128, 128, Tiles(128, 64, 128, 8, 3)),
            Row(256, _EVERY, Tiles(64, 64, 256, 8, 2)),
        ),
        100: (
            Row(64, 64, Tiles(128, 64, 64, 4, 3)),
            Row(128, 128, Tiles(128, 64, 128, 8, 3)),
            Row(256, _EVERY, Tiles(64, 64, 256, 8, 2)),
        ),
        120: (
            Row(64, 64, Tiles(128, 64, 64, 8, 2)),
            Row(128, 128, Tiles(64, 32, 128, 4, 2)),
            Row(256, _EVERY, Tiles(64, 16, 256, 8, 2)),
        ),
    },
    # Where queries are many: half as many reads of keys and values.
    "flash_many": {
        **dict.fromkeys((90, 100), (Row(256, _EVERY, Tiles(128, 64, 256, 8, 2)),)),
        80: (Row(256, _EVERY, Tiles(64, 32, 256, 8, 2)),),
        120: (Row(256, _EVERY, Tiles(64, 16, 256, 8, 2)),),
    },
    "exponentials": {
        **_everywhere(Tiles(128, 128, 32, 8, 3)),
        **dict.fromkeys((80, 120), _always(Tiles(128, 64, 32, 8, 3))),
    },
    "weighted_values": {
        **_everywhere(Tiles(64, 32, 128, 8, 3)),
        90: _always(Tiles(128, 32, 128, 8, 3)),
    },
    "score_gradients": _everywhere(Tiles(128, 64, 32, 8, 3)),
    "products": _everywhere(Tiles(128, 128, 32, 8, 3)),
}
FUNCTIONS = {"flash_many": "flash"}  # what is another kernel's with tiles of its own
KERNELS = tuple(_TABLE)


def rows(kernel: str, family: int) -> tuple[Row, ...]:
    return _TABLE[kernel][family]


def tiles(kernel: str, width: int, channels: int, family: int) -> Tiles:
    for row in rows(kernel, family):
        if width <= row.width and channels <= row.channels:
            return row.tiles
    raise ValueError(f"width: expected at most {FLASH_WIDTH} for {kernel}, got {width}")


def key_splits(programs: int, m: int, block: int, processors: int) -> tuple[int, int]:
    """How many parts the keys are split into, and how many keys each has: enough for every
    multiprocessor to have a program, but two blocks of keys at least in each part."""
    blocks = -(-m // block)
    wanted = max(1, min(processors // max(programs, 1), blocks // 2))
    keys = -(-blocks // wanted) * block
    return -(-m // keys), keys
