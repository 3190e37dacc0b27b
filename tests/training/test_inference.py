"""Multi-scale, flipped and sliding-window evaluation against averages computed by hand."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scrn import build_model
from scrn.engine.inference import Inference, predicted_labels, probabilities


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.GELU(), nn.Conv2d(8, 4, 3, padding=1))


def test_multi_scale_and_flip_is_the_mean_by_hand(model):
    image = torch.randn(2, 3, 30, 41)
    parts = []
    for height, width in ((15, 20), (30, 41), (52, 72)):
        scaled = F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
        for mirror in (False, True):
            logits = model(torch.flip(scaled, [3]) if mirror else scaled)
            logits = torch.flip(logits, [3]) if mirror else logits
            up = F.interpolate(logits, size=(30, 41), mode="bilinear", align_corners=False)
            parts.append(up.softmax(1))
    got = probabilities(model, image, Inference(scales=(0.5, 1.0, 1.75), flip=True))
    assert torch.allclose(got, torch.stack(parts).mean(0), atol=1e-6)
    assert torch.allclose(got.sum(1), torch.ones(2, 30, 41), atol=1e-5)


@pytest.mark.parametrize("window", [(30, 41), (64, 64)])
def test_a_window_as_large_as_the_image_is_the_whole_image(model, window):
    image = torch.randn(1, 3, 30, 41)
    whole = probabilities(model, image)
    assert torch.equal(probabilities(model, image, Inference(window=window)), whole)


def test_sliding_window_is_the_mean_of_the_overlapping_logits(model):
    image = torch.randn(1, 3, 20, 33)
    total, count = torch.zeros(1, 4, 20, 33), torch.zeros(20, 33)
    for top in (0, 8):
        for left in (0, 10, 17):
            area = (slice(None), slice(None), slice(top, top + 12), slice(left, left + 16))
            total[area] += model(image[area])
            count[area[2:]] += 1
    got = probabilities(model, image, Inference(window=(12, 16), stride=(9, 10)))
    assert count.min() == 1
    assert count.max() > 1
    assert torch.allclose(got, (total / count).softmax(1), atol=1e-6)


def test_rows_under_three_windows_are_their_mean(model):
    image = torch.randn(1, 3, 25, 16)
    total, count = torch.zeros(1, 4, 25, 16), torch.zeros(25, 1)
    for top in (0, 5, 10, 13):
        rows = slice(top, top + 12)
        total[:, :, rows] += model(image[:, :, rows])
        count[rows] += 1
    got = probabilities(model, image, Inference(window=(12, 16), stride=(5, 16)))
    assert count.unique().tolist() == [1, 2, 3]
    assert torch.allclose(got, (total / count).softmax(1), atol=1e-6)


def test_size_of_the_result(model):
    assert probabilities(model, torch.randn(1, 3, 16, 16), size=(20, 31)).shape == (1, 4, 20, 31)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scales": ()},
        {"scales": (0.0,)},
        {"stride": (4, 4)},
        {"window": (4, 4), "stride": (5, 4)},
        {"window": (0, 4)},
    ],
)
def test_bad_settings(arguments):
    with pytest.raises(ValueError, match=r"scales|stride|window"):
        Inference(**arguments)


@pytest.mark.parametrize("arguments", [{"window": 512}, {"scales": 1.5}, {"stride": "a"}], ids=str)
def test_settings_of_another_type(arguments):
    with pytest.raises(TypeError, match=r"scales|stride|window"):
        Inference(**({"window": (4, 4)} | arguments))


def test_many_scales_are_added_up_and_not_kept(model, monkeypatch):
    """Larger maps than the result's are folded into it, with the same mean."""
    inference = Inference(scales=(0.5, 1.0, 1.5, 2.0), flip=True)
    image = torch.randn(1, 3, 30, 41)
    size = (30, 41)
    hand = torch.zeros(1, 4, *size)
    for scale in inference.scales:
        scaled = F.interpolate(image, size=[round(n * scale) for n in size], mode="bilinear")
        if scale == 1:
            scaled = image
        for flip in (False, True):
            logits = model(scaled.flip(-1) if flip else scaled)
            logits = logits.flip(-1) if flip else logits
            if scale != 1:
                logits = F.interpolate(logits, size=size, mode="bilinear")
            hand += logits.softmax(1) / 8
    monkeypatch.setattr("scrn.engine.inference._BAND", 4 * 41 * 7)  # rows
    held, most = [], []

    def counted(x):
        logits = model(x)
        alive = [each for each in held if each() is not None]
        held[:] = [*alive, weakref.ref(logits)]
        most.append(len(held))
        return logits

    assert torch.allclose(probabilities(counted, image, inference), hand, atol=1e-6)
    assert max(most) <= 4


@pytest.mark.parametrize(
    "inference",
    [
        Inference(),
        Inference(window=(24, 32)),
        Inference(scales=(0.5, 1.0)),
        Inference(flip=True),
    ],
    ids=["plain", "window", "scales", "flip"],
)
@pytest.mark.parametrize("size", [None, (57, 71)], ids=["own size", "other size"])
def test_labels_are_the_most_probable_classes(model, inference, size):
    image = torch.randn(2, 3, 30, 41)
    best = probabilities(model, image, inference, size).topk(2, 1)
    labels = predicted_labels(model, image, inference, size)
    clear = best.values[:, 0] - best.values[:, 1] > 1e-5
    assert labels.shape == clear.shape
    assert clear.float().mean() > 0.99
    assert torch.equal(labels[clear], best.indices[:, 0][clear])


@pytest.mark.parametrize("size", [None, (50, 77)], ids=["own size", "other size"])
def test_labels_of_the_network(size):
    torch.manual_seed(0)
    network = build_model("timm:test_resnet", num_classes=5).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        best = probabilities(network, image, None, size).topk(2, 1)
        labels = predicted_labels(network, image, None, size)
    clear = best.values[:, 0] - best.values[:, 1] > 1e-5
    assert torch.equal(labels[clear], best.indices[:, 0][clear])
