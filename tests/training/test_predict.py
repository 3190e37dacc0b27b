"""What ``scrn predict`` does beside writing files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scrn.cli import main
from scrn.engine import predict
from scrn.engine.weights import SavedModel
from scrn.models.network import FusedSCRN
from tests.models.helpers import build


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
