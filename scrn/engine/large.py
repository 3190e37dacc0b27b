"""Images that are segmented in bands of rows: read, run and written as the window slides down."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.errors import DataError, reading
from ..data.files import EIGHT_BITS, read_image, to_eight_bits
from ..models.network import MIN_SIZE
from . import report
from .inference import Inference, most_likely, sliding_logits
from .outputs import PngRows, beside
from .prediction import prepared
from .weights import SavedModel

_RGB, _BLACK_IS_ZERO, _INTERLEAVED, _UPRIGHT = 2, 1, 1, 1  # TIFF's numbers for them
# With transparency, or without: more are bands that a photo does not have.
_CHANNELS = {_RGB: (3, 4), _BLACK_IS_ZERO: (1, 2)}


class Rows(Protocol):
    """An image that is read from the top."""

    height: int
    width: int

    def read(self, count: int) -> np.ndarray:
        """The next rows, uint8 ``[count, W, 3]``."""


class HeldRows:
    """Those of an image that is held whole, uint8 ``[3, H, W]``."""

    def __init__(self, image: Tensor) -> None:
        self.image = image.permute(1, 2, 0).numpy()
        self.height, self.width = self.image.shape[:2]

    def read(self, count: int) -> np.ndarray:
        rows, self.image = self.image[:count], self.image[count:]
        return rows


class TiffRows:
    """Those of a TIFF file: one row of its tiles, or one of its strips, is decoded at a time.

    Args:
        page: tifffile's first page of the file.
        white: which value is white, for 16 bits a channel.
    """

    def __init__(self, path: Path, page: Any, white: float | None) -> None:
        if page.bitspersample == 16 and white is None:
            raise DataError(path, EIGHT_BITS, "one of 16")
        self.path, self.page, self.white = path, page, white
        self.height, self.width = page.imagelength, page.imagewidth
        self.step = page.tilelength if page.is_tiled else page.rowsperstrip
        self.across = -(-self.width // page.tilewidth) if page.is_tiled else 1
        self.top = 0
        self.rows = self._decoded()

    def _decoded(self) -> np.ndarray:
        """The next row of tiles or the next strip."""
        page, first = self.page, self.top // self.step * self.across
        count = min(self.step, self.height - self.top)
        rows = np.zeros((count, self.width, page.samplesperpixel), f"uint{page.bitspersample}")
        segments = range(first, first + self.across)
        with reading(self.path, "an image"):
            for content, index in page.parent.filehandle.read_segments(
                [page.dataoffsets[i] for i in segments],
                [page.databytecounts[i] for i in segments],
                segments,
            ):
                part, position, _ = page.decode(content, index, jpegtables=page.jpegtables)
                if part is None:
                    continue  # A tile that the file leaves out is black.
                left = position[-2]
                part = part[0, :count, : self.width - left]
                rows[: part.shape[0], left : left + part.shape[1]] = part
        self.top += count
        if self.white is not None and rows.dtype == np.uint16:
            rows = to_eight_bits(rows, self.white)
        return np.repeat(rows[..., :1], 3, 2) if page.photometric == _BLACK_IS_ZERO else rows

    def read(self, count: int) -> np.ndarray:
        parts = []
        while count > 0:
            if not len(self.rows):
                self.rows = self._decoded()
            parts.append(self.rows[:count, :, :3])
            self.rows = self.rows[count:]
            count -= len(parts[-1])
        return np.concatenate(parts)


def open_rows(path: Path, white: float | None, files: ExitStack) -> Rows:
    """A TIFF in bands where its kind allows it, any other image whole."""
    if path.suffix.lower() in (".tif", ".tiff") and path.is_file():
        import tifffile

        with reading(path, "a TIFF image"):
            page: Any = files.enter_context(tifffile.TiffFile(path)).pages.first
            orientation = page.tags.get("Orientation")
            plain = (
                page.samplesperpixel in _CHANNELS.get(page.photometric, ())
                and page.planarconfig == _INTERLEAVED
                and page.bitspersample in (8, 16)
                and page.sampleformat == 1  # unsigned integers
                and page.imagedepth == 1
                and (orientation is None or orientation.value == _UPRIGHT)
            )
        reason = "of this kind of TIFF"
        if plain:
            try:
                return TiffRows(path, page, white)
            except DataError as error:
                if "imagecodecs" not in str(error):
                    raise
                reason = f"of {page.compression.name} compression without the package imagecodecs"
        print(f"scrn predict: {path}: {reason} all is read at once", file=sys.stderr)
    return HeldRows(read_image(path, upright=True, white=white))


def check_size(path: Path, size: tuple[int, int]) -> None:
    """An image that is not resized must be one that the network takes."""
    if min(size) < MIN_SIZE:
        expected = f"a height and a width of at least {MIN_SIZE} pixels"
        raise DataError(path, expected, f"{size[0]}x{size[1]}")


@torch.inference_mode()
def segment_rows(
    saved: SavedModel, rows: Rows, inference: Inference, with_probabilities: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """From the top: pixels ``[n, W, 3]``, their classes ``[n, W]``, and on request the
    probabilities ``[classes, n, W]``. The image keeps its size."""
    size = rows.height, rows.width
    mirrored: deque[Tensor] = deque()

    def read(count: int) -> Tensor:
        pixels = torch.from_numpy(rows.read(count)).permute(2, 0, 1)[None]
        if inference.flip:
            mirrored.append(pixels.flip(-1))
        return pixels

    def run(window: Tensor) -> Tensor:
        logits: Tensor = saved.model(prepared(saved, window[0], 0))
        return logits

    bands = sliding_logits(run, read, size, inference)
    # Both read as much at the same time.
    flipped = (
        sliding_logits(run, lambda _: mirrored.popleft(), size, inference)
        if inference.flip
        else None
    )
    for pixels, logits in bands:
        shares = None
        if flipped is not None:
            _, other = next(flipped)
            shares = (logits.softmax(1) + other.flip(-1).softmax(1)).div_(2)
            labels = shares.argmax(1).byte()
        else:
            shape = logits.shape[2], logits.shape[3]
            labels = most_likely(saved.model, logits, shape, torch.uint8)
            if with_probabilities:
                shares = logits.softmax(1)
        yield (
            pixels[0].permute(1, 2, 0).numpy(),
            labels[0].cpu().numpy(),
            shares[0].cpu().numpy() if with_probabilities and shares is not None else None,
        )


def segment_file(
    saved: SavedModel,
    path: Path,
    targets: dict[str, Path],
    inference: Inference,
    white: float | None,
    progress: Callable[[float], None],
) -> list[tuple[int, float]]:
    """Writes an image's ``labels``, ``overlays`` and ``probabilities``, as far as they are among
    the targets, and returns the shares of the classes."""
    counts = np.zeros(256, np.int64)
    with ExitStack() as files:
        rows = open_rows(path, white, files)
        size = rows.height, rows.width
        check_size(path, size)
        partly = {kind: files.enter_context(beside(file)) for kind, file in targets.items()}
        sinks = {
            kind: files.enter_context(PngRows(partly[kind], size, channels))
            for kind, channels in (("labels", 1), ("overlays", 3))
            if kind in partly
        }
        values = None
        if "probabilities" in partly:
            shape = (len(saved.classes), *size)
            file = partly["probabilities"]
            values = np.lib.format.open_memmap(file, "w+", np.float16, shape)
        top = 0
        for pixels, labels, shares in segment_rows(saved, rows, inference, values is not None):
            counts += report.counts_of(labels)
            if "labels" in sinks:
                sinks["labels"].write(labels)
            if "overlays" in sinks:
                sinks["overlays"].write(report.overlay(pixels, labels, saved.colors))
            if values is not None and shares is not None:
                values[:, top : top + len(labels)] = shares
            top += len(labels)
            progress(top / rows.height)
        if values is not None:
            values.flush()
    return report.shares(counts)
