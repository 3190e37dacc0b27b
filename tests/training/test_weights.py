"""Saved models: from a checkpoint to a folder and back, prediction without a network, and the
weights that come with the package."""

import argparse
import json
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
import torch
from PIL import ExifTags, Image

from scrn import build_model, export
from scrn.cli import main
from scrn.data import DataError
from scrn.data.classes import CAMVID_CLASSES
from scrn.data.module import SegmentationData
from scrn.engine.prediction import segment
from scrn.engine.task import Segmentation
from scrn.engine.weights import PACKAGED_FOLDER, load_model, save_model
from scrn.metrics import SegmentationScores


def test_exported_folder_equals_the_checkpoint(checkpoint, folder):
    trained, saved = load_model(checkpoint), load_model(folder)
    assert saved.classes == trained.classes == CAMVID_CLASSES
    assert (saved.mean, saved.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert (trained.short_side, saved.short_side) == (None, 48)
    assert saved.about["steps"] == 12
    assert saved.about["averaged"] is True
    assert "elsewhere" not in json.dumps(saved.about)
    assert "lightning" not in json.dumps(saved.about)
    assert "research" in saved.about["terms"]
    assert "research" in (folder / "README.md").read_text()
    expected = trained.model.state_dict()
    for name, value in saved.model.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name].to(value.dtype).half().to(value.dtype)), name
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 12e6


@pytest.mark.parametrize(("device", "last"), [("cpu", True), ("meta", False)])
def test_a_model_comes_in_the_layout_of_its_device(folder, device, last):
    kernel = load_model(folder, device).model.decoder.convs[1][0].weight
    assert kernel.device.type == device
    assert kernel.is_contiguous(memory_format=torch.channels_last) is last


def test_full_precision_keeps_every_bit(checkpoint, tmp_path):
    save_model(load_model(checkpoint), tmp_path, half=False)
    expected = load_model(checkpoint).model.state_dict()
    for name, value in load_model(tmp_path).model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_weights_beyond_half_precision_are_refused(checkpoint, tmp_path):
    saved = load_model(checkpoint)
    with torch.no_grad():
        saved.model.head[0].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"half precision's range: head\.0\.weight"):
        save_model(saved, tmp_path)


def test_prediction_sees_the_photo_at_the_models_size(folder):
    saved = load_model(folder)
    seen = []
    saved.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    photo = torch.randint(0, 256, (3, 96, 130), dtype=torch.uint8)
    shares = segment(saved, photo)
    assert shares.shape == (11, 96, 130)
    segment(saved, photo, short_side=0)
    assert [tuple(x.shape) for x in seen] == [(1, 3, 48, 65), (1, 3, 96, 130)]
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    expected = (photo / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(seen[1][0], expected, atol=1e-5)


def test_a_photo_is_segmented_upright(folder, tmp_path, monkeypatch):
    """A phone's photo, stored on its side."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    photo = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save("upright.png")
    Image.fromarray(np.rot90(photo, -1)).save("lying.png", exif=exif)
    assert main(["predict", ".", "--model", str(folder), "--device", "cpu", "--no-legend"]) == 0
    for kind in ("labels", "overlays"):
        upright, lying = (Image.open(f"segmented/{kind}/{n}.png") for n in ("upright", "lying"))
        assert lying.size == (64, 96)
        assert np.array_equal(np.array(lying), np.array(upright))


def test_evaluation_starts_from_a_saved_folder(folder, checkpoint):
    task = Segmentation("timm:tf_efficientnet_lite0", num_classes=11, weights=str(folder))
    expected = load_model(folder).model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in task.model.state_dict().items())
    with pytest.raises(ValueError, match=r"weights: .*exported is of another network"):
        Segmentation("timm:test_resnet", num_classes=11, weights=str(folder))


def test_a_folder_without_its_card(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"inference.json: expected .*, found no such file"):
        load_model(tmp_path)
    with pytest.raises(DataError, match="training checkpoint, found no such file"):
        load_model(tmp_path / "none")


def test_a_photo_is_segmented_at_once(tmp_path, monkeypatch):
    """By the packaged weights, with no network and nothing but the photo named."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("prediction opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    # Photos that scikit-image ships: a man in front of a lawn, and a rocket between its towers.
    folder = Path(skimage.__file__).parent / "data"
    assert main(["predict", str(folder / "camera.png"), str(folder / "rocket.jpg")]) == 0
    lawn, rocket = (np.array(Image.open(f"segmented/labels/{n}.png")) for n in ("camera", "rocket"))
    assert (lawn.shape, rocket.shape) == ((512, 512), (427, 640))
    sky, road, sidewalk = (CAMVID_CLASSES.index(name) for name in ("sky", "road", "sidewalk"))
    assert (lawn[:60] == sky).mean() > 0.9
    # CamVid has no class for grass.
    assert np.isin(lawn[-80:, 400:], (road, sidewalk)).mean() > 0.9
    assert (rocket[:120, 130:520] == sky).mean() > 0.9
    assert (rocket[-20:] == sky).mean() < 0.5
    width, height = Image.open("segmented/overlays/rocket.png").size
    assert (width, height > 427) == (640, True)  # with the legend below


def test_packaged_weights_are_small_and_say_what_they_are():
    files = {f.name: f for f in PACKAGED_FOLDER.iterdir()}
    assert set(files) == {
        "README.md", "config.json", "inference.json", "model.safetensors", "scores.json"
    }  # fmt: skip
    assert sum(f.stat().st_size for f in files.values()) <= 12e6
    about = json.loads(files["inference.json"].read_text())["about"]
    assert about["averaged"] is True
    for text in (about["terms"], files["README.md"].read_text()):
        assert "research" in text
    page = Path(__file__).parents[2] / "docs/camvid.md"
    miou = json.loads(files["scores.json"].read_text())["miou"]
    assert f"{100 * miou:.2f}" in page.read_text()


@pytest.mark.slow
@pytest.mark.camvid
def test_packaged_weights_hold_the_published_score(camvid_root):
    """Evaluated anew, as ``scrn validate`` does: the figure beside them and in docs/camvid.md."""
    saved = load_model("packaged")
    data = SegmentationData("camvid", str(camvid_root), mean=saved.mean, std=saved.std, workers=0)
    data.setup("validate")
    scores = SegmentationScores(len(saved.classes))
    for image, labels in data.val_dataloader():
        with torch.inference_mode():
            logits = saved.model(image.contiguous(memory_format=torch.channels_last))
        scores.update(logits.argmax(1), labels)
    published = json.loads((PACKAGED_FOLDER / "scores.json").read_text())
    assert len(data.val_set) == 101
    assert scores.compute().miou == pytest.approx(published["miou"], abs=5e-4)


def test_an_option_of_another_format_is_refused(monkeypatch, tmp_path):
    formats = {"folder": "a", "other": "b"}
    parser = argparse.ArgumentParser()
    module = SimpleNamespace(
        add_arguments=lambda options: options.add_argument("--two-words", type=int),
        run=lambda args, saved: (args.output / "done").touch(),
    )
    real = export._module
    monkeypatch.setattr(export, "FORMATS", formats)
    monkeypatch.setattr(export, "_module", lambda n: module if n == "other" else real(n))
    export.add_arguments(parser)
    given = ["--output", str(tmp_path), "--two-words", "3"]
    with pytest.raises(ValueError, match="--two-words: expected with --format other, got --f"):
        export.run(parser.parse_args(given))
    export.run(parser.parse_args(["--format", "other", *given]))
    assert (tmp_path / "done").exists()


def test_a_folder_without_a_recipe_is_no_checkpoint(tmp_path, capsys):
    model = build_model("timm:test_resnet", num_classes=2, context="none")
    model.save_pretrained(tmp_path / "own", classes=("a", "b"), mean=(0, 0, 0), std=(1, 1, 1))
    command = ["export", "--model", str(tmp_path / "own"), "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "expected a checkpoint of scrn fit, got" in capsys.readouterr().err
