"""The page of the trained network: its figures are those of the scores and of the log."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.common import pages
from experiments.camvid import page as camvid_page
from scrn.data.classes import CAMVID_CLASSES
from scrn.engine.task import Segmentation
from scrn.engine.weights import SavedModel, save_model

HEAD = "epoch,step,train/cross_entropy,val/boundary_f,val/miou\n"


@pytest.fixture
def run(tmp_path):
    """A run that was interrupted in step 20 and went on from step 10."""
    for name, rows in (("0", "0,9,2.0,,\n0,19,9.0,,\n"), ("1", "1,19,1.0,,\n1,19,,0.4,0.5\n")):
        folder = tmp_path / "run/csv" / name
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(HEAD + rows)
    return tmp_path / "run"


def test_log_of_a_run_and_its_continuation(run):
    log = camvid_page.read_log(run)
    assert log["train/cross_entropy"] == {9: 2.0, 19: 1.0}
    assert log["val/miou"] == {19: 0.5}
    (run / "csv/1/metrics.csv").unlink()
    with pytest.raises(ValueError, match="--run: expected logs with val/miou"):
        camvid_page.read_log(run)
    with pytest.raises(FileNotFoundError, match=r"--run: expected a last\.ckpt"):
        camvid_page.newest(run)


def test_page_is_filled_between_its_marks(run, tmp_path):
    iou = {name: 0.1 * (i + 1) for i, name in enumerate(CAMVID_CLASSES[:9])} | {"car": None}
    scores = {"miou": 0.73456, "pixel_accuracy": 0.9, "boundary_f": 0.6, "iou": iou}
    page = tmp_path / "camvid.md"
    begin, end = pages.marks(camvid_page.SECTION)
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    text = camvid_page.figures(scores, {"steps": 3220}, camvid_page.read_log(run), "camvid")
    for _ in range(2):
        page.write_text(pages.filled(page.read_text(), camvid_page.SECTION, text))
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert written.count("**73.46**") == 1
    assert "After 3220 steps (2 epochs)" in written
    early = camvid_page.figures(scores, {"steps": 10}, camvid_page.read_log(run), "camvid")
    assert "After 10 steps (1 epochs)" in early
    assert re.search(r"\| +10\.0 \| +20\.0 \|", written)


def test_pictures(run, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for folder, content in (
        ("val", rng.integers(0, 256, (48, 64, 3))),
        ("valannot", rng.integers(0, 12, (48, 64))),
    ):
        (tmp_path / folder).mkdir()
        Image.fromarray(content.astype(np.uint8)).save(tmp_path / folder / "a.png")
    task = Segmentation("timm:tf_efficientnet_lite0", num_classes=11)
    half = (0.5, 0.5, 0.5)
    save_model(SavedModel(task.model, CAMVID_CLASSES, half, half, 48), tmp_path / "weights")
    camvid_page.draw_frames(tmp_path / "weights", tmp_path, tmp_path / "frames.jpg")
    assert Image.open(tmp_path / "frames.jpg").size == (3 * 304, 3 * 229)
    camvid_page.draw_curve(camvid_page.read_log(run), tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").width > 800


def test_everything_in_its_order(run, tmp_path, monkeypatch):
    page, weights = tmp_path / "camvid.md", tmp_path / "weights"
    weights.mkdir()
    page.write_text("".join(pages.marks(camvid_page.SECTION)))
    (run / "last.ckpt").touch()
    calls = []

    def export(arguments):
        calls.append(arguments)
        (weights / "inference.json").write_text(json.dumps({"about": {"steps": 7}}))
        return 0

    def evaluate(*_args):
        calls.append("evaluate")
        scores = {"miou": 0.5, "pixel_accuracy": 0.5, "boundary_f": 0.5, "iou": {"sky": 0.5}}
        (weights / "scores.json").write_text(json.dumps(scores))

    monkeypatch.setattr(camvid_page, "scrn", export)
    monkeypatch.setattr(camvid_page, "evaluate", evaluate)
    monkeypatch.setattr(camvid_page, "draw_frames", lambda *_: calls.append("frames"))
    options = {"run": run, "page": page, "weights": weights, "root": tmp_path}
    assert camvid_page.main([f"--{key}={value}" for key, value in options.items()]) == 0
    assert calls[0][:3] == ["export", "--checkpoint", str(run / "last.ckpt")]
    assert calls[1:] == ["evaluate", "frames"]
    assert "After 7 steps" in page.read_text()
    monkeypatch.setattr(camvid_page, "scrn", lambda _: 1)
    assert camvid_page.main([f"--{key}={value}" for key, value in options.items()]) == 1
