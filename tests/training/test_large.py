"""Images in bands of rows: the same labels as of the whole, in the memory of a window's rows."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from scrn.cli import main
from scrn.data.errors import DataError
from scrn.engine import inference as inference_module
from scrn.engine import predict
from scrn.engine.inference import Inference
from scrn.engine.large import HeldRows, TiffRows, open_rows, segment_rows
from scrn.engine.outputs import PngRows, beside
from scrn.engine.prediction import segment, segment_labels
from scrn.engine.weights import SavedModel
from tests.models.helpers import build

from .command import ROOT


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    network = (
        build("timm:test_resnet", "bilinear", "f4").eval().to(memory_format=torch.channels_last)
    )
    return SavedModel(network, tuple("abcde"), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2)).fuse()


@pytest.fixture
def command(saved: SavedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory in which ``scrn predict`` uses that network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "load_model", lambda path, device: saved)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    return tmp_path


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize(
    ("window", "stride"),
    [((48, 64), None), ((64, 64), (64, 64)), ((40, 500), (27, 300)), ((500, 500), None)],
    ids=str,
)
@pytest.mark.parametrize("band", [None, 3000])
def test_bands_give_the_labels_of_the_whole(
    saved: SavedModel,
    window: tuple[int, int],
    stride: tuple[int, int] | None,
    flip: bool,
    band: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = torch.from_numpy(noise(3, 101, 147))
    inference = Inference(window, stride, flip=flip)
    expected = segment_labels(saved, image, inference, 0).numpy()
    shares = segment(saved, image, inference, 0).numpy()
    if band:
        monkeypatch.setattr(inference_module, "_BAND", band)
    parts = list(segment_rows(saved, HeldRows(image), inference, True))
    assert np.array_equal(np.concatenate([p[0] for p in parts]), image.permute(1, 2, 0).numpy())
    assert np.array_equal(np.concatenate([p[1] for p in parts]), expected)
    assert np.allclose(np.concatenate([p[2] for p in parts], 1), shares, atol=1e-6)
    assert len(np.unique(expected)) > 1


TIFFS: list[dict[str, Any]] = [
    {"tile": (32, 48)},
    {"tile": (32, 48), "compression": "zlib", "predictor": True},
    {"rowsperstrip": 7},
    {"rowsperstrip": 1, "compression": "zlib"},
    {},
]


@pytest.mark.parametrize("options", TIFFS, ids=str)
@pytest.mark.parametrize("shape", [(101, 147, 3), (101, 147, 4), (101, 147)], ids=str)
def test_a_tiff_is_read_in_bands(
    tmp_path: Path, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    image = noise(*shape)
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    extra = {"extrasamples": ["unassalpha"]} if shape[-1] == 4 else {}
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, image, photometric=photometric, metadata=None, **extra, **options)
    expected = image[..., :3] if len(shape) == 3 else np.dstack((image, image, image))
    with ExitStack() as files:
        rows = open_rows(path, None, files)
        assert isinstance(rows, TiffRows)
        parts = [rows.read(count) for count in (1, 50, 33, 17)]
    assert np.array_equal(np.concatenate(parts), expected)


def test_a_tiff_of_another_kind_is_read_whole(tmp_path: Path, capsys: Any) -> None:
    image = noise(40, 50, 3)
    Image.fromarray(image).save(tmp_path / "jpeg.tif", compression="tiff_lzw")
    Image.fromarray(image).quantize(256).save(tmp_path / "palette.tif")
    for name in ("jpeg.tif", "palette.tif"):
        with ExitStack() as files:
            rows = open_rows(tmp_path / name, None, files)
            assert rows.read(40).shape == (40, 50, 3)
    assert "palette.tif: of this kind of TIFF all is read at once" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_tiff_is_named(command: Path, damage: str, capsys: Any) -> None:
    options: Any = {"tile": (32, 32), "compression": "zlib"}
    tifffile.imwrite("image.tif", noise(160, 160, 3), photometric="rgb", **options)
    content = bytearray(Path("image.tif").read_bytes())
    middle = len(content) // 2
    content[middle:] = b"" if damage == "cut" else b"\xff" * (len(content) - middle)
    Path("image.tif").write_bytes(content)
    assert main(["predict", "image.tif", "--window", "64", "--device", "cpu"]) == 1
    assert "image.tif: expected an image, found" in capsys.readouterr().err
    assert not [path for path in Path("segmented").rglob("*") if path.is_file()]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_rows_is_read_by_others(tmp_path: Path, channels: int) -> None:
    content = noise(*((61, 83) if channels == 1 else (61, 83, 3)))
    with PngRows(tmp_path / "a.png", (61, 83), channels) as file:
        for top in (0, 1, 31):
            file.write(content[top : {0: 1, 1: 31, 31: 61}[top]])
    image = Image.open(tmp_path / "a.png")
    assert np.array_equal(np.array(image), content)


def test_a_png_that_lacks_rows_is_not_finished(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="rows: expected 5, got 4"),
        beside(tmp_path / "a.png") as path,
        PngRows(path, (5, 3), 1) as file,
    ):
        file.write(np.zeros((4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_the_command_slides_over_the_photo_in_its_own_size(
    command: Path, saved: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "short_side", 40)
    image = noise(101, 147, 3)
    tifffile.imwrite("a.tif", image, photometric="rgb", tile=(32, 32))
    Image.fromarray(image).save("b.png")
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    inference = Inference((64, 64), (50, 60))
    options = ["--window", "64", "--stride", "50", "60", "--device", "cpu", "--probabilities"]
    assert main(["predict", "a.tif", "b.png", *options]) == 0
    expected = segment_labels(saved, pixels, inference, 0).numpy()
    shares = segment(saved, pixels, inference, 0).half().numpy()
    for name in "ab":
        assert np.array_equal(np.array(Image.open(f"segmented/labels/{name}.png")), expected)
        assert Image.open(f"segmented/overlays/{name}.png").size == (147, 101)
        got = np.load(f"segmented/probabilities/{name}.npy")
        assert np.allclose(got.astype(np.float32), shares.astype(np.float32), atol=2e-3)
    hidden = [p for p in command.rglob("*") if p.name.startswith(".")]
    assert not hidden


def test_sixteen_bits_need_a_white(command: Path, saved: SavedModel, capsys: Any) -> None:
    image = noise(64, 97, dtype=np.uint16)
    Image.fromarray(image).save("grey.png")
    tifffile.imwrite("rgb.tif", np.dstack((image, image, image)), photometric="rgb")
    assert main(["predict", "grey.png", "--device", "cpu"]) == 1
    assert "grey.png: expected an image of 8 bits" in (error := capsys.readouterr().err)
    assert "--white 65535" in error
    for white in (65535, 4095):
        scaled = np.round(np.minimum(image / white, 1) * 255).astype(np.uint8)
        expected = segment_labels(saved, torch.from_numpy(scaled).expand(3, 64, 97)).numpy()
        options = ["--device", "cpu", "--white", str(white)]
        assert main(["predict", "grey.png", *options, "--no-overlays"]) == 0
        assert np.array_equal(np.array(Image.open("segmented/labels/grey.png")), expected)
        assert not Path("segmented/overlays").exists()
    windowed = ["--device", "cpu", "--window", "128", "--no-overlays"]
    assert main(["predict", "rgb.tif", *windowed, "--white", "4095"]) == 0
    assert np.array_equal(np.array(Image.open("segmented/labels/rgb.png")), expected)
    capsys.readouterr()
    for options, said in (([], "--white 65535"), (["--white", "-1"], "white: expected a number")):
        assert main(["predict", "rgb.tif", *windowed, *options]) == 1
        assert said in capsys.readouterr().err


def test_bands_that_are_no_photo_are_refused(command: Path, capsys: Any) -> None:
    tifffile.imwrite("a.tif", noise(64, 64, 4), photometric="minisblack", planarconfig="contig")
    assert main(["predict", "a.tif", "--window", "48", "--device", "cpu"]) == 1
    assert "a.tif: expected an image, found" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--white", "65535"]], ids=["", "white"])
def test_colours_of_sixteen_bits_are_not_cut_to_eight(
    command: Path, options: list[str], capsys: Any
) -> None:
    image = noise(40, 50, 3, dtype=np.uint16)
    tifffile.imwrite("a.tif", image, photometric="rgb")
    content = io.BytesIO()
    row = np.zeros((40, 1), np.uint8), image.astype(">u2").view(np.uint8).reshape(40, -1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 50, 40, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(np.hstack(row).tobytes())),
        (b"IEND", b""),
    )
    content.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in chunks:
        content.write(struct.pack(">I", len(data)) + kind + data)
        content.write(struct.pack(">I", zlib.crc32(kind + data)))
    Path("b.png").write_bytes(content.getvalue())
    assert Image.open("b.png").mode == "RGB"  # and no word of the rest
    for name in ("a.tif", "b.png"):
        assert main(["predict", name, "--device", "cpu", *options]) == 1
        assert f"{name}: expected an image, found colours of 16 bits" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--short-side", "0"], ["--window", "64"]], ids=str)
def test_an_image_too_small_for_the_network_is_named(
    command: Path, options: list[str], capsys: Any
) -> None:
    for name, size in (("a.png", (20, 40)), ("b.png", (40, 40))):
        Image.fromarray(noise(*size, 3)).save(name)
    assert main(["predict", "a.png", "b.png", "--device", "cpu", *options]) == 1
    error = "a.png: expected a height and a width of at least 32 pixels, found 20x40"
    assert error in capsys.readouterr().err
    assert Path("segmented/labels/b.png").is_file()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--window", "16"], "window: expected at least 32 pixels, got 16"),
        (["--white", "0"], "white: expected a number above 0, got 0.0"),
    ],
)
def test_options_are_checked_before_an_image_is(
    command: Path, options: list[str], error: str, capsys: Any
) -> None:
    Image.fromarray(noise(40, 40, 3)).save("a.png")
    assert main(["predict", "a.png", "--device", "cpu", *options]) == 1
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("place", ["segmented/labels/a.png", "segmented/overlays/a.png"])
def test_an_input_is_not_overwritten_by_its_result(command: Path, place: str, capsys: Any) -> None:
    Path(place).parent.mkdir(parents=True)
    Image.fromarray(noise(40, 40, 3)).save(place)
    before = Path(place).read_bytes()
    assert main(["predict", place, "--device", "cpu"]) == 1
    assert f"{place}: expected an input that is no result's place" in capsys.readouterr().err
    assert Path(place).read_bytes() == before


def test_white_bears_on_sixteen_bits_alone(tmp_path: Path) -> None:
    image = noise(40, 50, 3)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    with ExitStack() as files:
        assert np.array_equal(open_rows(tmp_path / "a.tif", 65535, files).read(40), image)


def test_a_broken_tiff_of_many_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no tiff")
    with ExitStack() as files, pytest.raises(DataError, match=r"a\.tif: expected a TIFF image"):
        open_rows(tmp_path / "a.tif", None, files)


PEAK = """
import resource, sys
import torch
torch.manual_seed(0)
from scrn import build_model
from scrn.cli import main
from scrn.engine import predict
from scrn.engine.weights import SavedModel
network = build_model("timm:test_resnet", upsampler="bilinear", context="f4", num_classes=11)
saved = SavedModel(network.eval(), tuple("abcdefghijk"), (0.4,) * 3, (0.2,) * 3)
predict.load_model = lambda path, device: saved
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
options = ["--window", "256", "--stride", "256", "--device", "cpu"]
assert main(["predict", "small.tif", *options]) == 0
before = peak()
assert main(["predict", "large.tif", *options]) == 0
print("grown by", peak() - before)
"""


@pytest.mark.slow
def test_memory_grows_with_a_windows_rows_and_not_with_the_image(tmp_path: Path) -> None:
    """The image has 50 MB and its logits 740 MB, a window's rows 57 MB in all."""
    row = noise(256, 4096, 3)
    for name, rows in (("small.tif", 256), ("large.tif", 4096)):
        image = np.tile(row, (rows // 256, 1, 1))
        if name == "small.tif":
            image = image[:, :512]
        tifffile.imwrite(
            tmp_path / name, image, photometric="rgb", tile=(256, 256), compression="zlib"
        )
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout.rpartition("grown by")[2])
    assert grown < 300
