"""Files that are whole or absent, and PNG files that are written row by row."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # PNG's colour types
_UP = 2  # PNG's filter of a row: what the row above says is subtracted


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Where to write ``target``: a hidden file beside it, which takes its name at the end and is
    removed after an error or an interrupt."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partly = target.with_name(f".{target.name}.tmp{target.suffix}")
    try:
        yield partly
        partly.replace(target)
    finally:
        partly.unlink(missing_ok=True)


class PngRows:
    """A PNG file of 8 bits a channel that is never held whole.

    Args:
        path: the file.
        size: (height, width).
        channels: 1 for grey, 3 for RGB.
    """

    def __init__(self, path: Path, size: tuple[int, int], channels: int) -> None:
        self.shape = (*size, channels)
        self.written = 0
        self.above = np.zeros((1, size[1] * channels), np.uint8)
        # Labels shrink to little by any level, and a photo hardly more by a higher one.
        self.deflate = zlib.compressobj(6 if channels == 1 else 1)
        self.file = path.open("wb")
        self.file.write(_SIGNATURE)
        color = _GREY if channels == 1 else _RGB
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, color, 0, 0, 0))

    def write(self, rows: np.ndarray) -> None:
        """Appends uint8 rows, ``[n, W]`` or ``[n, W, 3]``."""
        flat = np.ascontiguousarray(rows).reshape(rows.shape[0], -1)
        filtered = np.empty((flat.shape[0], flat.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[:, 1:] = flat - np.concatenate((self.above, flat[:-1]))
        self.above = flat[-1:].copy()
        self.written += flat.shape[0]
        self._chunk(b"IDAT", self.deflate.compress(filtered.tobytes()))

    def _chunk(self, kind: bytes, content: bytes) -> None:
        if content or kind == b"IEND":
            check = zlib.crc32(content, zlib.crc32(kind))
            self.file.write(struct.pack(">I", len(content)) + kind + content)
            self.file.write(struct.pack(">I", check))

    def __enter__(self) -> PngRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.file:
            if kind is None:
                if self.written != self.shape[0]:
                    raise ValueError(f"rows: expected {self.shape[0]}, got {self.written}")
                self._chunk(b"IDAT", self.deflate.flush())
                self._chunk(b"IEND", b"")
