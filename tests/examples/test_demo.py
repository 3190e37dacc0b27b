"""The demonstration: its model, data and verdict."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.common import camvid
from examples.demo import __main__ as demo
from examples.demo import data, picture, train
from examples.demo.model import STRIDE, LabelRefiner, bilinear, thin_out
from scrn.metrics import Scores


def test_thin_out_keeps_every_eighth_pixel():
    labels = torch.full((1, 16, 24), 2, dtype=torch.uint8)
    labels[0, 4, 12], labels[0, 12, 20] = 1, 3  # the latter is void
    maps = thin_out(labels, classes=3)
    assert maps.shape == (1, 3, 2, 3)
    assert maps[0, :, 0, 1].tolist() == [0, 1, 0]
    assert maps[0, :, 1, 2].tolist() == [0, 0, 0]
    assert maps.sum() == 5


def steered(classes):
    """A refiner whose offsets are large and differ from pixel to pixel."""
    torch.manual_seed(0)
    model = LabelRefiner(classes).double().eval()
    for step in model.steps:
        torch.nn.init.normal_(step.offset[3].weight, std=0.3)
        torch.nn.init.normal_(step.offset[3].bias, std=0.5)
    return model


def test_untrained_refiner_is_bilinear():
    torch.manual_seed(0)
    model = LabelRefiner(4).eval()
    maps = torch.rand(1, 4, 8, 9)
    once = bilinear(maps)
    with torch.no_grad():
        refined = model(torch.rand(1, 3, 64, 72), maps)
    # Three doublings weigh the neighbours a little differently than one step of eight.
    assert refined.shape == once.shape
    assert (refined - once).abs().mean() < 0.05
    with torch.no_grad():
        flat = model(torch.rand(1, 3, 64, 72), torch.ones(1, 4, 8, 9))
    torch.testing.assert_close(flat, torch.ones(1, 4, 64, 72))


def test_displacement_is_where_the_labels_come_from():
    """A map that holds its own coordinates shows from where every pixel was fetched."""
    model = steered(classes=2)
    size = 96
    position = torch.arange(size // STRIDE, dtype=torch.float64) * STRIDE + (STRIDE - 1) / 2
    y, x = torch.meshgrid(position, position, indexing="ij")
    maps = torch.stack((x, y))[None] / size
    photo = torch.rand(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        fetched = model(photo, maps)
        moved = model.displacement(photo, maps)
    pixel = torch.arange(size, dtype=torch.float64)
    rows, columns = torch.meshgrid(pixel, pixel, indexing="ij")
    inner = slice(28, -28)  # bilinear upsampling is not linear at the border
    expected = fetched[0] * size - torch.stack((columns, rows))
    assert moved[0, :, inner, inner].abs().max() > 2
    torch.testing.assert_close(
        moved[0, :, inner, inner], expected[:, inner, inner], rtol=1e-6, atol=1e-6
    )


def test_field_colours():
    field = np.zeros((2, 1, 5))
    field[:, 0, 1] = 4, 0
    field[:, 0, 2] = -2, 0
    field[:, 0, 3] = 0, 4
    field[:, 0, 4] = 8, 0
    colours = picture.field_colours(field, reach=4.0)[0]
    assert colours[0].tolist() == [255, 255, 255]
    assert colours[1].tolist() == [255, 0, 0]
    assert colours[2].tolist() == [128, 255, 255]  # the opposite colour, half as strong
    assert colours[4].tolist() == colours[1].tolist()
    assert len({tuple(each) for each in colours.tolist()}) == 4


def test_busiest_window():
    edge = torch.zeros(60, 90, dtype=torch.bool)
    edge[40:44, 70:75] = True
    left, top, right, bottom = picture.busiest(edge)
    assert (right - left, bottom - top) == (24, 16)
    assert left <= 70 < 75 <= right
    assert top <= 40 < 44 <= bottom


@pytest.fixture
def no_camvid(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRN_CAMVID", raising=False)
    monkeypatch.setattr(camvid, "ROOT", tmp_path / "repository")


def test_bundled_photos_without_camvid(no_camvid, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(train, "CROP", 64)
    monkeypatch.setattr(train, "BATCH", 1)
    status = demo.main(["--steps", "2", "--out", str(tmp_path / "demo.png")])
    text = capsys.readouterr().out
    assert status == 0
    assert "nothing is judged" in text
    assert "boundary F, 1 px" in text
    with Image.open(tmp_path / "demo.png") as image:
        assert image.width > 5 * picture.PANEL
        assert len(image.convert("P").getcolors()) > 50


def test_bundled_labels_follow_the_photo(no_camvid):
    photos = data.load()
    assert not photos.judged
    for photo, labels in photos.train + photos.unseen:
        assert photo.shape[1:] == labels.shape
        assert all(size % STRIDE == 0 and size >= train.CROP for size in labels.shape)
        assert len(labels.unique()) >= 3
        assert labels.max() < photos.classes


def test_camvid_is_where_the_recipe_looks_for_it(no_camvid, monkeypatch, tmp_path):
    """And nowhere that README does not name."""
    (tmp_path / "shared/camvid/valannot").mkdir(parents=True)
    assert camvid.camvid_root() is None
    folder = tmp_path / "repository/data/camvid"
    (folder / "valannot").mkdir(parents=True)
    assert camvid.camvid_root() == folder
    elsewhere = tmp_path / "shared/camvid"
    monkeypatch.setenv("SCRN_CAMVID", str(elsewhere))
    assert camvid.camvid_root() == elsewhere


def test_named_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRN_CAMVID", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="SCRN_CAMVID"):
        data.load()


def outcome(accuracy, boundary_f):
    """Scores with these values."""
    plain, refined = (
        Scores(0.5, each, boundary, [], torch.empty(0, 0))
        for each, boundary in ((0.96, 0.5), (accuracy, boundary_f))
    )
    return train.Outcome(plain, refined, seconds=1.0, losses=[])


def test_verdict_on_camvid_asks_for_both():
    assert demo.better(outcome(0.97, 0.6))
    assert not demo.better(outcome(0.97, 0.5))
    assert not demo.better(outcome(0.96, 0.6))
    assert demo.difference(outcome(0.97, 0.6), outcome(0.974, 0.6)) == pytest.approx(0.4)
    assert demo.difference(outcome(0.97, 0.6), outcome(0.97, 0.59)) == pytest.approx(1.0)


@pytest.fixture
def judged(monkeypatch):
    """Nothing is trained or drawn: the verdict on the results put into it is what counts."""
    results = {}
    photos = data.PhotoSet("test", True, np.zeros((2, 3), np.uint8), [], [], ())
    monkeypatch.setattr(data, "load", lambda: photos)
    monkeypatch.setattr(demo, "run", lambda _photos, _steps, name, _report: (None, results[name]))
    monkeypatch.setattr(picture, "draw", lambda *_: Image.new("RGB", (4, 4)))
    return results


@pytest.mark.parametrize(("result", "status"), [((0.97, 0.6), 0), ((0.97, 0.4), 1)])
def test_exit_status_where_it_is_judged(judged, tmp_path, result, status):
    judged["fused"] = outcome(*result)
    assert demo.main(["--out", str(tmp_path / "new" / "demo.png")]) == status
    assert (tmp_path / "new" / "demo.png").exists()


def test_exit_status_where_eager_ends_elsewhere(judged, tmp_path):
    judged["fused"] = outcome(0.97, 0.6)
    judged["eager"] = outcome(0.98, 0.6)
    arguments = ["--check-eager", "--out", str(tmp_path / "demo.png")]
    assert demo.main(arguments) == 1
    judged["eager"] = outcome(0.974, 0.6)
    assert demo.main(arguments) == 0


@pytest.mark.camvid
def test_camvid_is_read_as_it_is():
    if camvid.camvid_root() is None:
        pytest.skip("CamVid is not present (data/camvid, or SCRN_CAMVID)")
    photos = data.load()
    assert photos.judged
    assert (len(photos.train), len(photos.unseen)) == (367, 21)
    assert photos.classes == 11
    for photo, labels in photos.unseen:
        assert photo.shape == (3, 360, 480)
        assert set(labels.unique().tolist()) <= {*range(11), 255}
    assert len(torch.cat([labels.flatten() for _, labels in photos.unseen]).unique()) == 12
