"""``SavedModel.predict``: what goes in, and the result that a notebook shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scrn
from scrn.engine import report
from scrn.engine.inference import Inference
from scrn.engine.prediction import Prediction, segment_labels
from scrn.engine.weights import SavedModel
from tests.models.helpers import build

ROOT = Path(__file__).parents[2]
SIZE = (64, 97)
NAMES = tuple("abcde")


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    network = (
        build("timm:test_resnet", "bilinear", "f4").eval().to(memory_format=torch.channels_last)
    )
    return SavedModel(network, NAMES, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2)).fuse()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def test_every_kind_of_image_gives_the_same(
    saved: SavedModel, pixels: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    opaque = np.dstack((pixels, np.full(SIZE, 255, np.uint8)))
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = segment_labels(saved, tensor).numpy()
    assert len(np.unique(expected)) > 1
    for image in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        Image.fromarray(pixels),
        pixels,
        pixels[::-1].copy()[::-1],  # of negative strides
        opaque,
        tensor,
    ):
        result = saved.predict(image)
        assert np.array_equal(result.image, pixels), type(image)
        assert np.array_equal(result.labels, expected), type(image)


def test_grey_is_of_three_equal_channels(saved: SavedModel, pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    expected = saved.predict(np.dstack((grey, grey, grey))).labels
    for image in (grey, grey[..., None], Image.fromarray(grey)):
        assert np.array_equal(saved.predict(image).labels, expected)


def test_the_result_keeps_its_image(saved: SavedModel, pixels: np.ndarray) -> None:
    mine = pixels.copy()
    result = saved.predict(mine)
    mine[:] = 0
    assert np.array_equal(result.image, pixels)


def test_settings_reach_the_network(saved: SavedModel, pixels: np.ndarray) -> None:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    inference = Inference(flip=True)
    got = saved.predict(pixels, inference=inference, short_side=48).labels
    assert np.array_equal(got, segment_labels(saved, tensor, inference, 48).numpy())
    assert not np.array_equal(got, saved.predict(pixels).labels)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (3, TypeError, "image: expected a path, .* got int"),
        (None, TypeError, "got NoneType"),
        (np.zeros((64, 64, 3)), TypeError, "image: expected uint8 from 0 to 255, got float64"),
        (np.zeros((64, 64, 2), np.uint8), ValueError, r"got \[64, 64, 2\]"),
        (np.zeros((1, 64, 64, 3), np.uint8), ValueError, r"got \[1, 64, 64, 3\]"),
        (np.zeros((0, 64, 3), np.uint8), ValueError, r"got \[0, 64, 3\]"),
        (torch.zeros(3, 64, 64), TypeError, "expected uint8 .* got torch.float32"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), ValueError, r"\[3, H, W\], got \[64, 64, 3\]"),
        (Image.new("I;16", (64, 64)), ValueError, "expected 8 bits a channel, .* 'I;16'"),
        ("none.png", ValueError, "none.png: expected an image, found no such file"),
        (np.zeros((8, 64, 3), np.uint8), ValueError, "at least 32, got 8x64"),
    ],
    ids=lambda value: "" if isinstance(value, type | str) else type(value).__name__,
)
def test_what_is_no_image(
    saved: SavedModel, image: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        saved.predict(image)


def test_settings_of_another_type(saved: SavedModel, pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="inference: expected an Inference, got str"):
        saved.predict(pixels, inference="flip")
    with pytest.raises(TypeError, match="opacity: expected a number, got 'half'"):
        saved.predict(pixels).overlay(opacity="half")
    with pytest.raises(ValueError, match="expected an image, found a folder"):
        saved.predict(tmp_path)


def result_of(labels: np.ndarray) -> Prediction:
    image = np.full((*labels.shape, 3), 100, np.uint8)
    return Prediction(image, labels, NAMES, tuple((50 * i, 0, 250) for i in range(5)))


def test_classes_are_those_that_occur_the_largest_first() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:7] = 3
    result = result_of(labels)
    assert result.classes == {"d": 0.7, "a": 0.3}
    assert list(result.classes) == ["d", "a"]
    assert {type(share) for share in result.classes.values()} == {float}
    assert repr(result) == "Prediction(10x10: d 70%, a 30%)"


def test_overlay_mixes_image_and_colours() -> None:
    result = result_of(np.full((40, 200), 2, np.uint8))
    for opacity, expected in ((0.0, (100, 100, 100)), (1.0, (100, 0, 250)), (0.5, (100, 50, 175))):
        picture = result.overlay(opacity)
        assert picture.size == (200, 40)
        assert picture.getextrema() == tuple((v, v) for v in expected)
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="opacity: expected a number from 0 to 1, got"):
            result.overlay(opacity)
    assert result.overlay(legend=True).height == 40 + result.legend.height


def test_bands_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (37, 20), dtype=np.uint8)
    whole = result_of(labels)
    picture, classes = np.array(whole.overlay()), whole.classes
    monkeypatch.setattr(report, "_BAND", 50)
    assert np.array_equal(np.array(whole.overlay()), picture)
    assert whole.classes == classes


@pytest.mark.parametrize("width", [1, 40, 300, 3000])
def test_a_legend_has_the_colours_of_what_occurs(width: int) -> None:
    labels = np.zeros((5, width), np.uint8)
    labels[0], labels[1] = 1, 4
    strip = np.array(result_of(labels).legend)
    assert strip.shape[1] == width
    colors = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    if width >= 40:
        assert {(0, 0, 250), (50, 0, 250), (200, 0, 250)} <= colors
        assert not {(100, 0, 250), (150, 0, 250)} & colors


def test_a_notebook_gets_a_picture_of_bearable_size() -> None:
    for shape in ((32, 40), (3000, 2000)):
        picture = Image.open(io.BytesIO(result_of(np.zeros(shape, np.uint8))._repr_png_()))
        assert picture.format == "PNG"
        assert picture.width <= 900
        assert picture.height < 1100


def test_the_packaged_model_is_at_hand() -> None:
    model = scrn.load_model()
    result = model.predict(np.full((64, 64, 3), 200, np.uint8), short_side=0)
    assert set(result.classes) <= set(model.classes)
    assert sum(result.classes.values()) == pytest.approx(1)


def test_the_readmes_photo_is_a_street():
    shares = scrn.load_model().predict(ROOT / "examples/street.jpg").classes
    assert shares["road"] > 0.2
    assert shares["building"] > 0.15
    assert 0.002 < shares["car"] < 0.1
    assert shares["bicyclist"] > 0.002
