"""Films: every frame, or some, with the classes' colours laid over it, and their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..data.classes import Color
from ..data.errors import DataError
from . import report
from .outputs import beside

if TYPE_CHECKING:
    from av.container import InputContainer

FILM_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
_CODEC = "libx264"
_OPTIONS = {"crf": "18", "preset": "veryfast"}


def require_pyav() -> Any:
    """PyAV, or an ImportError that says which extra brings it."""
    try:
        import av
    except ImportError as error:
        raise ImportError("films need PyAV: pip install 'scrn[video]' brings it") from error
    return av


class Film:
    """The frames of a film, one by one. After the last, ``broken`` says why it ended early.

    Attributes:
        rate: frames a second.
        time_base: seconds of one unit of the frames' times.
        declared: how many frames the file says it has; 0 where it does not say.
        broken: why no more could be read, or None.
    """

    def __init__(self, path: Path, container: InputContainer) -> None:
        if not container.streams.video:
            raise DataError(path, "a film", "no pictures in it")
        self.container, self.path = container, path
        self.stream = container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.rate = Fraction(self.stream.average_rate or self.stream.base_rate or 25)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)
        self.declared = self.stream.frames
        self.broken: str | None = None

    def _declared_seconds(self) -> float:
        """Matroska says how long a stream is and not how many frames it has; 0 if unknown."""
        text = self.stream.metadata.get("DURATION")
        if not text:
            return 0
        try:
            hours, minutes, seconds = (float(part) for part in text.split(":"))
        except ValueError:
            return 0
        return 3600 * hours + 60 * minutes + seconds

    def _lasts_until(self, end: int) -> bool:
        """Whether the stream says that it ends then. One that was cut without encoding anew has
        frames that are not shown, and counts them."""
        if not self.stream.duration or self.container.format.name == "avi":
            return False
        shown = (end - (self.stream.start_time or 0)) * self.time_base
        return bool(shown > self.stream.duration * self.time_base - Fraction(3, 2) / self.rate)

    def frames(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Number, time and pixels ``[H, W, 3]`` of each frame, in the order in which it is shown.

        A frame is turned as the film says, and times rise even where the file's do not.
        """
        errors = require_pyav().error.FFmpegError
        step = max(1, round(1 / (self.rate * self.time_base)))
        number, last = 0, -step
        try:
            for frame in self.container.decode(self.stream):
                # AVI stores no times, and those that are guessed are out of order.
                time = None if self.container.format.name == "avi" else frame.pts
                last = time if time is not None and time > last else last + step
                yield number, last, upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                number += 1
        except errors as error:
            self.broken = f"{number} frames and then {error.strerror or error}"
        if self.broken is None and number < self.declared and not self._lasts_until(last + step):
            self.broken = f"{number} frames of {self.declared}"
        end, declared = float((last + step) * self.time_base), self._declared_seconds()
        # A frame may be shown for longer than usual, hence the margin.
        if self.broken is None and declared and end < declared - 0.5:
            self.broken = f"{number} frames, {end:.1f} of {declared:.1f} seconds"


def upright(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """The frame turned counter-clockwise to the nearest quarter, as a phone's film asks for."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90)))


def segment_film(
    path: Path,
    overlay: Path | None,
    labels: Path | None,
    segment: Callable[[np.ndarray], np.ndarray],
    colors: tuple[Color, ...],
    every: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, str | None]:
    """Writes a film with the classes laid over it, and a label map of each of its frames.

    Args:
        path: the film.
        overlay: the film to write (H.264, without sound), of the same size, with each frame at its
            time; None writes none.
        labels: a folder for ``<number of the frame, from 0>.png``; None writes none.
        segment: the classes ``[H, W]`` of a frame ``[H, W, 3]``.
        every: takes the first frame and every so many after it.
        progress: is told the number of the frame and how many there are, 0 if nobody knows.

    Returns:
        The count of frames written, and why the film could not be read to its end, or None.

    Raises:
        DataError: not a single frame could be read.
        ImportError: PyAV is not installed.
    """
    if every < 1:
        raise ValueError(f"every: expected at least 1, got {every}")
    av = require_pyav()
    with ExitStack() as files:
        try:
            film = Film(path, files.enter_context(av.open(str(path))))
        except av.error.FFmpegError as error:
            reason = f"a broken file ({error.strerror or error})"
            raise DataError(path, "a film", reason) from error
        sink: _Sink | None = None
        count = 0
        # The threads end before the files that they use are closed.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            for number, time, pixels in _ahead(reader, film, every):
                classes = segment(pixels)
                if overlay is not None and sink is None:
                    partly = files.enter_context(beside(overlay))
                    sink = files.enter_context(_Sink(partly, film, pixels.shape[:2], every))
                if writing is not None:
                    writing.result()
                target = labels / f"{number:06}.png" if labels is not None else None
                writing = writer.submit(_write, sink, target, time, pixels, classes, colors)
                count += 1
                progress(number + 1, film.declared)
            if writing is not None:
                writing.result()
        if not count:
            raise DataError(path, "a film", film.broken or "no frames")
    return count, film.broken


def _ahead(
    pool: ThreadPoolExecutor, film: Film, every: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Every so many frames; the next one is decoded while one is in use."""
    frames = film.frames()

    def following() -> tuple[int, int, np.ndarray] | None:
        return next((frame for frame in frames if frame[0] % every == 0), None)

    awaited = pool.submit(following)
    while (frame := awaited.result()) is not None:
        awaited = pool.submit(following)
        yield frame


class _Sink:
    """The film that is written; its end is written when the context is left without an error."""

    def __init__(self, path: Path, film: Film, size: tuple[int, ...], every: int) -> None:
        self.av = require_pyav()
        self.container = self.av.open(str(path), "w")
        self.stream = self.container.add_stream(_CODEC, rate=film.rate / every, options=_OPTIONS)
        self.stream.height, self.stream.width = size
        # H.264 halves the colours' resolution in even sizes alone.
        self.stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        self.stream.codec_context.time_base = film.time_base
        self.time_base = film.time_base

    def write(self, pixels: np.ndarray, time: int) -> None:
        frame = self.av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = time, self.time_base
        self.container.mux(self.stream.encode(frame))

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.container:
            if kind is None:
                self.container.mux(self.stream.encode(None))


def _write(
    sink: _Sink | None,
    target: Path | None,
    time: int,
    pixels: np.ndarray,
    classes: np.ndarray,
    colors: tuple[Color, ...],
) -> None:
    if sink is not None:
        sink.write(report.overlay(pixels, classes, colors), time)
    if target is not None:
        with beside(target) as partly:
            Image.fromarray(classes).save(partly)
