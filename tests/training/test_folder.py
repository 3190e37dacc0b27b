"""A data set of one's own: what is read, and what is said of files that cannot be used."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from scrn.cli import main
from scrn.data import CamVid, DataError, Folder
from scrn.data.classes import CAMVID_CLASSES
from scrn.engine.task import Segmentation
from scrn.engine.weights import PACKAGED, load_model
from scrn.losses import SegmentationLoss, balanced_weights

from .command import tiny_camvid
from .shapes import COLORS, shapes, write_shapes

SIZE = (48, 64)


@pytest.fixture
def data(tmp_path):
    write_shapes(tmp_path / "data", train=3, val=2, size=SIZE)
    return tmp_path / "data"


def test_coloured_masks_are_classes_and_white_is_ignored(data):
    numbers = np.random.default_rng(0)
    first, labels = shapes(SIZE, numbers)
    mask = data / "train/masks/000.png"
    drawn = np.array(Image.open(mask))
    drawn[:4] = 255
    Image.fromarray(drawn).save(mask)
    labels[:4] = 255
    train = Folder(data, "train")
    image, read = train[0]
    assert train.classes == ("ground", "disc", "box")
    assert train.colors == tuple(COLORS.values())
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), first)
    np.testing.assert_array_equal(read.numpy(), labels)


def test_ids_palettes_and_sixteen_bits(data):
    (data / "classes.yaml").write_text(
        "classes:\n- {name: a, id: 7}\n- {name: b, id: 0, color: [1, 2, 3]}\nignore: [9]\n"
    )
    stored = np.array([[7, 0, 9], [255, 7, 7]], np.uint8)
    expected = [[0, 1, 255], [255, 0, 0]]
    palette = Image.fromarray(stored, "P")
    palette.putpalette(list(range(256)) * 3)
    kinds = {
        "000": Image.fromarray(stored),
        "001": palette,
        "002": Image.fromarray(stored.astype(np.uint16)),
    }
    for name, mask in kinds.items():
        mask.save(data / f"train/masks/{name}.png")
        Image.new("RGB", (3, 2)).save(data / f"train/images/{name}.png")
    train = Folder(data, "train")
    assert all(train[i][1].tolist() == expected for i in range(3))
    assert train.colors[1] == (1, 2, 3)
    assert train.count().tolist() == [9, 3]


def as_folder(camvid, root):
    """CamVid's folders as a data set of one's own."""
    for split in ("train", "val"):
        for kind, source in (("images", split), ("masks", f"{split}annot")):
            (root / split).mkdir(parents=True, exist_ok=True)
            (root / split / kind).symlink_to(camvid.resolve() / source)
    entries = "".join(f"- {{name: {name}, id: {i}}}\n" for i, name in enumerate(CAMVID_CLASSES))
    (root / "classes.yaml").write_text(f"classes:\n{entries}ignore: [11]\n")


def test_camvid_as_a_folder_is_camvid(tmp_path):
    tiny_camvid(tmp_path)
    root = tmp_path / "own"
    as_folder(tmp_path / "set", root)
    for split in ("train", "val"):
        ours, published = Folder(root, split), CamVid(tmp_path / "set", split)
        assert len(ours) == len(published)
        assert ours.colors == published.colors
        for mine, theirs in zip(ours, published, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.camvid
def test_camvid_as_a_folder_has_camvids_scores(camvid_root, tmp_path, monkeypatch):
    """To the last digit, by the packaged weights, as ``scrn validate`` writes them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scrn"])
    as_folder(camvid_root, tmp_path / "own")
    scores = []
    for name, root in (("camvid", camvid_root), ("folder", "own")):
        options = {
            "data.name": name, "data.root": root, "data.workers": 0, "model.weights": "packaged",
            "model.pretrained": "null", "model.output": name, "trainer.logger": "false",
            "trainer.accelerator": "cpu",
        }  # fmt: skip
        arguments = [f"--{key}={value}" for key, value in options.items()]
        assert main(["validate", "--config", "camvid.yaml", *arguments]) == 0
        scores.append(json.loads((tmp_path / name / "scores.json").read_text()))
    assert scores[0] == scores[1]
    assert scores[0]["miou"] > 0.7
    assert sum(map(sum, scores[0]["confusion"])) > 100 * 360 * 480 * 0.9


def remove_masks(data):
    for mask in (data / "train/masks").iterdir():
        mask.unlink()
    (data / "train/masks").rmdir()


def other_stems(data):
    (data / "train/masks/001.png").rename(data / "train/masks/one.png")


def other_size(data):
    Image.new("RGB", (10, 10)).save(data / "train/masks/001.png")


def unknown_color(data):
    Image.new("RGB", SIZE[::-1], (1, 2, 3)).save(data / "train/masks/001.png")


def truncated(data):
    mask = data / "train/masks/001.png"
    mask.write_bytes(mask.read_bytes()[:100])


def truncated_image(data):
    image = data / "val/images/000.png"
    image.write_bytes(image.read_bytes()[:100])


def color_twice(data):
    text = (data / "classes.yaml").read_text()
    (data / "classes.yaml").write_text(text.replace("[30, 60, 220]", "[220, 30, 30]"))


def empty_split(data):
    for image in (data / "val/images").iterdir():
        image.unlink()


def twice(data):
    (data / "classes.yaml").write_text("classes: [{name: a}, {name: b}, {name: a}]")


def no_classes(data):
    (data / "classes.yaml").unlink()


def sixteen_bits(data):
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(data / "train/masks/001.png")


def id_too_large(data):
    (data / "classes.yaml").write_text("classes: [{name: a, id: 1}, {name: b, id: 256}]")


def value_too_large(data):
    (data / "classes.yaml").write_text("classes: [{name: a}, {name: b}]")
    for split in ("train", "val"):
        for mask in (data / split / "masks").iterdir():
            Image.fromarray(np.zeros(SIZE, np.uint8)).save(mask)
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(data / "train/masks/001.png")


MALFORMED = {
    remove_masks: r"train/masks: expected a folder of masks, found no such folder",
    other_stems: r"001\.png: (no mask has this name|expected the labels of .*, found no such file)",
    other_size: r"train/masks/001\.png: expected labels of the image's size \(48, 64\).*\(10, 10\)",
    unknown_color: r"train/masks/001\.png: expected the colours of classes.yaml, found \(1, 2, 3\)",
    sixteen_bits: r"train/masks/001\.png: expected colours of 8 bits a channel, found mode I",
    truncated: r"train/masks/001\.png: expected .*, found a broken file",
    truncated_image: r"val/images/000\.png: expected an image, found a broken file",
    color_twice: r"classes\.yaml: expected an id or a colour of its own .* found .* twice",
    empty_split: r"val/images: expected images .*, found none",
    twice: r"classes\.yaml: expected each class once, found 'a' 2 times",
    no_classes: r"data: expected classes.txt or classes.yaml, .*, found neither",
    id_too_large: r"classes\.yaml: expected ids from 0 to 255, found 256",
    value_too_large: r"train/masks/001\.png: expected label values among 0, 1, 255, found 300",
}


@pytest.mark.parametrize("spoil", MALFORMED, ids=lambda spoil: spoil.__name__)
def test_one_line_names_the_file(data, spoil, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    spoil(data)

    def read_all():
        for split in ("train", "val"):
            list(Folder(data, split))

    with pytest.raises(DataError, match=MALFORMED[spoil]) as raised:
        read_all()
    assert "\n" not in str(raised.value)
    assert main(["data", str(data)]) == 1
    shown = capsys.readouterr()
    assert re.search(MALFORMED[spoil], shown.out + shown.err)
    assert "Traceback" not in shown.err


def test_what_is_found_before_a_training(data, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    extra = data / "val/masks/lonely.png"
    Image.new("RGB", SIZE[::-1]).save(extra)
    for mask in (data / "val/masks").iterdir():
        Image.new("RGB", SIZE[::-1], COLORS["disc"]).save(mask)
    assert main(["data", str(data), "--sheet", "sheet.foo"]) == 1
    assert "sheet: expected a name that ends with .png or .jpg" in capsys.readouterr().err
    assert main(["data", str(data), "--sheet", "sheet.png"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"train\W+3\W+3\W+48x64", text)
    assert f"remark: {extra}: no image has this name" in text
    assert "remark: never occurs in val: ground, box" in text
    pixels = Folder(data, "train").count()
    share, weight = 100 * pixels / pixels.sum(), balanced_weights(pixels)
    assert re.search(rf"disc\W+{share[1]:.2f}\W+100.00\W+{weight[1]:.3g}", text)
    sheet = np.array(Image.open("sheet.png"))
    assert (sheet == np.array(COLORS["disc"])).all(-1).sum() > 2 * 48 * 64


def test_balanced_weights_by_hand():
    weights = balanced_weights(torch.tensor([6, 0, 2]))
    torch.testing.assert_close(weights, torch.tensor([8 / 2 / 6, 1.0, 8 / 2 / 2]))
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("ops", ["fused", "reference"])
def test_the_weighted_loss_is_torch_s(ops):
    torch.manual_seed(0)
    weights = [0.2, 3.0, 0.0, 1.0]
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    labels = torch.randint(0, 4, (2, 10, 12))
    labels[0, :3] = 255
    ours = SegmentationLoss(0, backend=ops, class_weights=weights)(logits, labels.byte())["loss"]
    large = F.interpolate(logits, (10, 12), mode="bilinear", align_corners=False)
    theirs = F.cross_entropy(large, labels, torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
    )


def test_weights_of_another_class_count_start_all_but_the_last_layer():
    found = load_model(PACKAGED).model.state_dict()
    task = Segmentation(
        "timm:tf_efficientnet_lite0", context="crm_shortcut", num_classes=3, weights=PACKAGED
    )
    for name, value in task.model.state_dict().items():
        same = value.shape == found[name].shape and torch.equal(value, found[name])
        assert same == (not name.startswith("head.3."))
    with pytest.raises(ValueError, match=r"weights: expected a model of 3 classes.*got packaged"):
        task.on_validation_start()
    task.on_load_checkpoint({})
    task.on_validation_start()
    with pytest.raises(ValueError, match="weights: packaged is of another network"):
        Segmentation("timm:test_resnet", num_classes=3, weights=PACKAGED)
    with pytest.raises(ValueError, match="class_weights: expected 3, one a class, got 2"):
        Segmentation("timm:test_resnet", num_classes=3, class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="class_weights: expected a list, 'balanced' or None"):
        Segmentation("timm:test_resnet", num_classes=3, class_weights="balance")
    for nothing in ([], [0.0, 0.0], [1.0, -1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="class_weights: expected numbers of at least 0"):
            SegmentationLoss(class_weights=nothing)


def test_from_a_folder_to_a_model(tmp_path, monkeypatch, capsys):
    """One step of training, and a model that knows the folder's classes without the folder."""
    write_shapes(tmp_path / "data", train=2, val=2, size=SIZE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scrn"])
    monkeypatch.setattr("scrn.engine.task.keep_freed_memory", lambda: None)
    small = (
        "--data.root=data", "--data.batch_size=2", "--data.crop=[32,32]", "--data.workers=0",
        "--model.weights=packaged", "--model.class_weights=balanced", "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
    )  # fmt: skip
    assert main(["fit", "--config", "own.yaml", *small]) == 0
    printed = "".join(capsys.readouterr())
    assert "new, for another number of classes: head.3.weight, head.3.bias" in printed
    assert "class_weights: ground " in printed
    (checkpoint,) = tmp_path.glob("outputs/**/last.ckpt")
    again = ("--config", "own.yaml", "--ckpt_path", str(checkpoint), *small)
    capsys.readouterr()
    assert main(["validate", *again]) == 0
    printed = "".join(capsys.readouterr())
    for words in ("WeightAveraging", "dirpath has changed", "nothing has trained"):
        assert words not in printed
    assert main(["validate", "--config", "own.yaml", *small]) == 1
    assert "as nothing trained its last layer" in capsys.readouterr().err
    classes = tmp_path / "data/classes.yaml"
    kept = classes.read_text()
    classes.write_text(kept.replace("disc", "plate"))
    assert main(["validate", *again]) == 1
    assert (
        "expected the checkpoint's ground, disc, box, got ground, plate" in capsys.readouterr().err
    )
    lines = kept.splitlines(keepends=True)
    classes.write_text("".join(line for line in lines if "disc" not in line))
    assert main(["validate", *again]) == 1
    printed = capsys.readouterr().err
    assert "classes: expected the checkpoint's ground, disc, box, got ground, box" in printed
    assert "nothing has trained" not in printed
    classes.write_text(kept)
    assert main(["export", "--checkpoint", str(checkpoint), "--output", "model"]) == 0
    text = " ".join((tmp_path / "model/README.md").read_text().split())
    assert "for the classes ground, disc, box (step 1 of the training" in text
    assert "which began with the weights that come with scrn, learned from ImageNet and" in text
    card = json.loads((tmp_path / "model/inference.json").read_text())
    assert card["classes"] == list(COLORS)
    (tmp_path / "data/classes.yaml").unlink()
    saved = load_model("model")
    assert saved.classes == tuple(COLORS)
    assert saved.colors == tuple(COLORS.values())
