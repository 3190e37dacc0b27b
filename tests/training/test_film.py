"""Films: count, size, rate and order of the frames, what is cut off, and what is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scrn.cli import main
from scrn.engine import predict
from scrn.engine.film import Film, segment_film, upright
from scrn.engine.prediction import segment_labels
from scrn.engine.weights import SavedModel
from tests.models.helpers import build

from .command import ROOT

av: Any = pytest.importorskip("av", reason="films need PyAV")

COLORS = ((0, 0, 0), (255, 255, 255))
FRAMES = 24


def write_film(path: Path, size: tuple[int, int] = (64, 96), options: Any = None) -> None:
    """Frames that grow brighter, at 30000 / 1001 a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001), options={"crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p"
        stream.gop_size = 4
        noise = np.random.default_rng(0).integers(0, 8, (*size, 3))
        for number in range(FRAMES):
            pixels = (noise + 10 * number).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def brightness(pixels: np.ndarray) -> int:
    """The number of a frame of such a film."""
    return round((float(pixels.mean()) - 3.5) / 10)


def read_film(path: Path) -> tuple[list[np.ndarray], list[float], Any]:
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        frames = list(container.decode(stream))
        pixels = [frame.to_ndarray(format="rgb24") for frame in frames]
        return pixels, [float(frame.time) for frame in frames], stream.average_rate


def numbered(pixels: np.ndarray) -> np.ndarray:
    """A stand-in for the network: the frame's number everywhere."""
    return np.full(pixels.shape[:2], brightness(pixels), np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)], ids=str)
@pytest.mark.parametrize("every", [1, 5])
def test_count_size_rate_and_order_are_kept(
    tmp_path: Path, suffix: str, size: tuple[int, int], every: int
) -> None:
    path, target, labels = tmp_path / f"clip{suffix}", tmp_path / "out.mp4", tmp_path / "labels"
    write_film(path, size)
    greys = tuple((10 * i, 10 * i, 10 * i) for i in range(FRAMES))
    seen: list[int] = []
    count, broken = segment_film(
        path, target, labels, numbered, greys, every, lambda number, _: seen.append(number)
    )
    numbers = list(range(0, FRAMES, every))
    assert (count, broken) == (len(numbers), None)
    assert seen == [number + 1 for number in numbers]
    pixels, times, rate = read_film(target)
    assert [brightness(frame) for frame in pixels] == numbers
    assert {frame.shape for frame in pixels} == {(*size, 3)}
    assert float(rate) == pytest.approx(30000 / 1001 / every, rel=0.05)
    assert np.allclose(np.diff(times), every * 1001 / 30000, atol=1.1e-3)  # Matroska's unit
    assert sorted(p.name for p in labels.iterdir()) == [f"{n:06}.png" for n in numbers]
    for number in numbers:
        assert np.array(Image.open(labels / f"{number:06}.png")).max() == number


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_keep_their_times(tmp_path: Path, suffix: str) -> None:
    """A phone's film, whose frames come when there was light enough."""
    expected = [0, 40, 80, 200, 240, 500, 533, 1000]
    with av.open(str(tmp_path / f"clip{suffix}"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width = 64, 96
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(expected):
            frame = av.VideoFrame.from_ndarray(
                np.full((64, 96, 3), 10 * number, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path, target = tmp_path / f"clip{suffix}", tmp_path / "out.mp4"
    assert segment_film(path, target, None, numbered, COLORS * 20) == (8, None)
    _, times, _ = read_film(target)
    assert np.allclose(np.array(times) - times[0], np.array(expected) / 1000, atol=1e-3)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".mp4", {"movflags": "faststart"}), (".mkv", None), (".avi", None)],
    ids=[".mp4", ".mkv", ".avi"],
)
def test_of_a_film_cut_off_the_readable_part_is_written(
    tmp_path: Path, suffix: str, options: Any
) -> None:
    path, target = tmp_path / f"clip{suffix}", tmp_path / "out.mp4"
    write_film(path, options=options)
    cut(path, 0.4)
    count, broken = segment_film(path, target, None, numbered, COLORS * 20)
    assert 4 <= count < FRAMES
    assert broken is not None
    assert broken.startswith(f"{count} frames")
    pixels, _, _ = read_film(target)
    assert len(pixels) == count


def test_what_an_edit_list_leaves_out_is_not_missing(tmp_path: Path) -> None:
    """A film that was cut without encoding anew holds more frames than it shows."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_film(whole)
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        step = round(1 / (source.streams.video[0].average_rate * source.streams.video[0].time_base))
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is None:
                continue
            packet.pts -= 10 * step
            packet.dts -= 10 * step
            packet.stream = stream
            target.mux(packet)
    shown, _, _ = read_film(path)
    assert 0 < len(shown) < FRAMES
    count, broken = segment_film(path, tmp_path / "out.mp4", None, numbered, COLORS * 20)
    assert (count, broken) == (len(shown), None)


def test_a_length_that_nobody_can_read_is_none(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as container:
        film = Film(tmp_path / "a.mkv", container)
        assert film._declared_seconds() > 0.5
        film.stream = SimpleNamespace(metadata={"DURATION": "unknown"})
        assert film._declared_seconds() == 0


def test_a_film_of_which_nothing_is_written_is_refused(command: SavedModel, capsys: Any) -> None:
    write_film(Path("clip.mp4"))
    assert main(["predict", "clip.mp4", "--no-overlays", "--device", "cpu"]) == 1
    assert "labels: expected --labels for films" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SavedModel:
    """A working directory in which ``scrn predict`` uses a small network."""
    network = (
        build("timm:test_resnet", "bilinear", "f4").eval().to(memory_format=torch.channels_last)
    )
    saved = SavedModel(network, tuple("abcde"), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    monkeypatch.setattr(predict, "load_model", lambda path, device: saved)
    monkeypatch.chdir(tmp_path)
    return saved


def test_the_command_writes_film_and_labels(command: SavedModel, capsys: Any) -> None:
    write_film(Path("clip.mp4"))
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("photo.png")
    options = ["--every", "12", "--device", "cpu", "--no-legend"]
    assert main(["predict", "clip.mp4", "photo.png", *options]) == 0
    assert "1 image(s) and 2 frame(s) of 1 film(s) -> segmented, " in capsys.readouterr().out
    pixels, _, _ = read_film(Path("segmented/overlays/clip.mp4"))
    assert len(pixels) == 2
    assert not Path("segmented/labels/clip").exists()
    assert Path("segmented/labels/photo.png").is_file()
    assert main(["predict", "clip.mp4", *options, "--labels"]) == 0
    frames, _, _ = read_film(Path("clip.mp4"))
    for number in (0, 12):
        image = torch.from_numpy(frames[number]).permute(2, 0, 1)
        labels = np.array(Image.open(f"segmented/labels/clip/{number:06}.png"))
        assert np.array_equal(labels, segment_labels(command, image).numpy())


def test_the_command_says_what_of_a_film_could_not_be_read(
    command: SavedModel, capsys: Any
) -> None:
    write_film(Path("clip.mp4"), options={"movflags": "faststart"})
    cut(Path("clip.mp4"), 0.6)
    assert main(["predict", "clip.mp4", "--every", "4", "--device", "cpu"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("scrn predict: clip.mp4: expected a whole film, found ")
    assert error.endswith("what could be read is written")
    assert read_film(Path("segmented/overlays/clip.mp4"))[0]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"no film", [], "clip.mp4: expected a film, found a broken file"),
        (b"", [], "clip.mp4: expected a film, found a broken file"),
        (b"", ["--every", "0"], "every: expected at least 1, got 0"),
    ],
)
def test_what_is_no_film(
    command: SavedModel, content: bytes, options: list[str], message: str, capsys: Any
) -> None:
    Path("clip.mp4").write_bytes(content)
    assert main(["predict", "clip.mp4", "--device", "cpu", *options]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"scrn predict: {message}")
    assert not [path for path in Path("segmented").rglob("*") if path.is_file()]


def test_an_error_leaves_no_half_film(tmp_path: Path) -> None:
    write_film(tmp_path / "clip.mp4")

    def stops(count: int) -> Callable[[np.ndarray], np.ndarray]:
        left = iter(range(count))

        def segment(pixels: np.ndarray) -> np.ndarray:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return numbered(pixels)

        return segment

    for count in (0, 1, 9):
        target = tmp_path / "out" / "clip.mp4"
        with pytest.raises(KeyboardInterrupt):
            segment_film(tmp_path / "clip.mp4", target, None, stops(count), COLORS * 20)
        assert not [path for path in tmp_path.rglob("*") if "out" in path.parts and path.is_file()]


@pytest.mark.parametrize(("degrees", "corner"), [(0, 0), (90, 1), (-90, 2), (180, 3), (-180, 3)])
def test_a_phones_film_is_turned_upright(degrees: int, corner: int) -> None:
    """Counter-clockwise; the corner that comes to be the upper left one."""
    pixels = np.array([[0, 1], [2, 3]], np.uint8)[..., None]
    assert upright(pixels, degrees)[0, 0, 0] == corner


def test_without_pyav_one_line_says_what_brings_it(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    script = f"""
import sys
sys.modules["av"] = None  # as if it were not installed
from scrn.cli import main
sys.exit(main(["predict", {str(tmp_path / "clip.mp4")!r}, "--device", "cpu"]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "scrn predict: films need PyAV: pip install 'scrn[video]' brings it"
