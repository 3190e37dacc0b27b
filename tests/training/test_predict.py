"""What ``scrn predict`` does beside writing files."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scrn.cli import main
from scrn.engine import predict
from scrn.engine.inference import multiplies_bfloat16
from scrn.engine.inputs import collect
from scrn.engine.weights import SavedModel
from scrn.models.network import FusedSCRN
from tests.models.helpers import build

from .command import ROOT


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SavedModel:
    network = build("mscan_t", "bilinear", "f4").eval().to(memory_format=torch.channels_last)
    saved = SavedModel(network, tuple("abcde"), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    monkeypatch.setattr(predict, "load_model", lambda path, device: saved)
    return saved


@pytest.mark.parametrize(
    ("options", "kept"), [([], 1), (["--keep-memory"], 1), (["--no-keep-memory"], 0)], ids=str
)
def test_memory_is_kept_and_the_network_fused(
    options: list[str],
    kept: int,
    model: SavedModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    calls = []
    monkeypatch.setattr(predict, "keep_freed_memory", lambda: calls.append(1))
    original = model.model
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    photo, output = str(tmp_path / "photo.png"), str(tmp_path / "out")
    assert main(["predict", photo, "--device", "cpu", "--output", output, *options]) == 0
    assert len(calls) == kept
    assert isinstance(model.model, FusedSCRN)
    labels = torch.from_numpy(np.array(Image.open(tmp_path / "out" / "labels" / "photo.png")))
    model.model = original
    expected = predict.segment_labels(model, torch.from_numpy(pixels).permute(2, 0, 1))
    assert (labels == expected).float().mean() > 0.99  # but where two classes are as probable


@pytest.mark.parametrize(
    ("options", "multiplies", "dtype"),
    [
        ([], True, torch.float32),
        (["--precision", "float32"], True, torch.float32),
        (["--precision", "bfloat16"], False, torch.bfloat16),
        (["--precision", "auto"], False, torch.float32),
        (["--precision", "auto"], True, torch.bfloat16),
    ],
    ids=str,
)
def test_precision(
    options: list[str],
    multiplies: bool,
    dtype: torch.dtype,
    model: SavedModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        predict, "multiplies_bfloat16", lambda device: multiplies if device == "cpu" else None
    )
    Image.fromarray(np.full((64, 96, 3), 99, dtype=np.uint8)).save(tmp_path / "photo.png")
    photo, output = str(tmp_path / "photo.png"), str(tmp_path / "out")
    assert main(["predict", photo, "--device", "cpu", "--output", output, *options]) == 0
    assert next(model.model.parameters()).dtype == dtype


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, False),
        ({}, False),
    ],
    ids=str,
)
def test_which_processors_multiply_bfloat16(
    found: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform.machine() == "x86_64":
        assert {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert multiplies_bfloat16("cpu") is expected
    assert not multiplies_bfloat16("mps")


@pytest.mark.parametrize("supported", [True, False])
def test_which_gpu_multiplies_bfloat16(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is asked for."""
    asked: list[torch.device] = []

    @contextmanager
    def entered(device: torch.device) -> Iterator[None]:
        asked.append(device)
        yield

    def answer(including_emulation: bool) -> bool:
        assert asked == [torch.device("cuda:1")]
        return supported and not including_emulation

    monkeypatch.setattr(torch.cuda, "device", entered)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
    assert multiplies_bfloat16("cuda:1") is supported


def test_a_tree_of_photos_one_of_them_broken(
    model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The results keep the tree, the others go on, and a second run does not take its results."""
    monkeypatch.chdir(tmp_path)
    numbers = np.random.default_rng(0)
    for name in ("a.png", "sub/a.jpg", "sub/deeper/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(name)
    Path("sub/c.png").write_bytes(Path("a.png").read_bytes()[:99])
    written = {
        f"{k}/{n}.png" for k in ("labels", "overlays") for n in ("a", "sub/a", "sub/deeper/b")
    }
    for _ in range(2):
        model.model = build("mscan_t", "bilinear", "f4").eval()
        assert main(["predict", ".", "--device", "cpu"]) == 1
        files = {
            str(p.relative_to("segmented")) for p in Path("segmented").rglob("*") if p.is_file()
        }
        assert files == written
        shown = capsys.readouterr()
        assert "[4/4] sub/deeper/b.png: " in shown.out
        assert "3 image(s) -> segmented" in shown.out
        errors = [line for line in shown.err.splitlines() if line.startswith("scrn predict: ")]
        assert errors[0].startswith(
            "scrn predict: sub/c.png: expected an image, found a broken file"
        )
        assert errors[1] == (
            "scrn predict: segmented: expected results of 4 images, found 3, see above"
        )


def test_hidden_files_of_a_folder_are_no_photos(tmp_path: Path) -> None:
    for name in ("photo.png", ".photo.png", "._photo.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert list(collect([str(tmp_path)], tmp_path / "out").values()) == [tmp_path / "photo.png"]


def test_an_output_that_cannot_be_made_is_told_first(
    model: SavedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, file = tmp_path / "photo.png", tmp_path / "file"
    Image.new("RGB", (40, 40)).save(photo)
    file.write_bytes(b"")
    command = ["predict", str(photo), "--device", "cpu", "--output", str(file / "out")]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "output: expected a folder that can be made, got" in printed.err
    assert printed.out == ""


def test_what_stops_while_writing_leaves_nothing_half_written(
    model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Image.Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    labels = np.zeros((2, 2), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        predict._write({"labels": tmp_path / "labels/a.png"}, {"labels": labels})
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_an_interrupt_leaves_whole_files_alone(tmp_path: Path) -> None:
    """A process that is told to stop in the middle of many photos, by Ctrl-C's signal."""
    pixels = np.random.default_rng(0).integers(0, 256, (500, 600, 3), dtype=np.uint8)
    for number in range(200):
        Image.fromarray(pixels).save(tmp_path / f"{number:03}.bmp")
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "scrn.cli", "predict", ".", "--device", "cpu", "--short-side", "64"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "street scenes, 11 classes of CamVid" in process.stdout.readline()
    process.stdout.readline()  # the first photo is segmented, and is being written
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "scrn predict: interrupted"
    written = [path for path in (tmp_path / "segmented").rglob("*") if path.is_file()]
    assert len(written) < 400
    for path in written:
        assert not path.name.startswith(".")
        Image.open(path).load()


def test_an_overlay_has_a_legend_below_unless_told(model: SavedModel, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    pictures = {}
    network = model.model
    for option in ("--legend", "--no-legend"):
        model.model = network
        command = ["predict", str(tmp_path / "photo.png"), "--device", "cpu", option]
        assert main([*command, "--output", str(tmp_path / option)]) == 0
        pictures[option] = np.array(Image.open(tmp_path / option / "overlays/photo.png"))
    assert pictures["--no-legend"].shape == (64, 96, 3)
    assert pictures["--legend"].shape[0] > 70
    assert np.array_equal(pictures["--legend"][:64], pictures["--no-legend"])
